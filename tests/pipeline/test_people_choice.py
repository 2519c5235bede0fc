"""--list-people, --keep-visible and --hide-only: the same IDs, and nobody shown whom none named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from two_faces import LEFT, RIGHT, TwoFaces, black

from masquerade.cli import main
from masquerade.pipeline import memory, people_sheet
from masquerade.pipeline.people_sheet import SIDE, SeenPerson, when, write_sheet
from masquerade.regions import REGIONS
from masquerade.regions.boxes import Box
from masquerade.regions.region import Region


@pytest.fixture
def ran(
    called: Callable[..., Any], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Run `anonymize` on five frames in which two people are found."""
    monkeypatch.setitem(REGIONS, "faces", TwoFaces)
    (tmp_path / "in.mp4").write_bytes(clip.read_bytes())
    exact = ["--preview", "0.2", "--codec", "ffv1", "--method", "blacken", "--shape", "box"]
    exact += ["--regions", "faces", "--mask-scale", "1"]
    return lambda *words: called("anonymize", "in.mp4", *exact, *words)


def test_people_are_listed_with_ids_on_a_private_sheet(
    ran: Callable[..., Any], tmp_path: Path
) -> None:
    done = ran("--list-people")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ID 4: 0:00 to 0:00, 5 frames",
        "ID 7: 0:00 to 0:00, 3 frames",
    ]
    sheet = tmp_path / "in_people_private.png"
    assert sheet.stat().st_mode & 0o777 == 0o600 and "not for release" in done.stderr
    picture = cv2.imread(str(sheet))
    assert picture[30 : 30 + SIDE, 5 : 5 + SIDE].any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", sheet.name]
    again = ran("--list-people")
    assert again.returncode == 2 and "exists already" in again.stderr
    assert ran("--list-people", "-o", "people.mp4").returncode == 2
    found = json.loads(ran("--list-people", "-y", "--json").stdout)
    assert found == [{"id": 4, "frames": 5}, {"id": 7, "frames": 3}]


def test_people_are_listed_by_the_time_that_players_show(
    called: Callable[..., Any], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGIONS, "faces", TwoFaces)
    with av.open(str(clip)) as source, av.open(str(tmp_path / "late.mkv"), "w") as late:
        stream = late.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None and packet.dts is not None:
                hundred_seconds = round(100 / packet.time_base)
                packet.pts, packet.dts = packet.pts + hundred_seconds, packet.dts + hundred_seconds
                packet.stream = stream
                late.mux(packet)
    done = called(
        "anonymize", "late.mkv", "--preview", "0.2", "--regions", "faces", "--list-people"
    )
    assert done.stdout.startswith("ID 4: 0:00 to 0:00, "), done.stderr


def test_what_may_take_too_much_memory_is_not_listed(
    ran: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST_BYTES", 2**30)
    done = ran("--list-people")
    assert done.returncode == 1 and "GiB of memory" in done.stderr
    assert not (tmp_path / "in_people_private.png").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--regions", "people", "--detector", "hog"], "hog follows nobody by number"),
        (["--regions", "faces+people"], "alone or before templates, text or boxes"),
        (["--regions", "text"], "alone or before templates, text or boxes"),
    ],
)
def test_ids_that_nobody_could_choose_are_not_listed(
    ran: Callable[..., Any], tmp_path: Path, words: list[str], says: str
) -> None:
    done = ran("--list-people", *words)
    assert done.returncode == 2 and says in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_people_beside_other_regions_have_the_ids_that_are_chosen(
    ran: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGIONS, "text", Nothing)
    listed = ran("--list-people", "--regions", "faces+text")
    assert listed.returncode == 0 and [line[:5] for line in listed.stdout.splitlines()] == [
        "ID 4:",
        "ID 7:",
    ]
    kept = ran("-o", "o.mkv", "--regions", "faces+text", "--keep-visible", "4")
    assert kept.returncode == 0, kept.stderr
    assert not any(black(tmp_path / "o.mkv", LEFT))


class Nothing:
    """Finds no text."""

    name, look_ahead, model_sha256 = "text", 0, None

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        return (Region() for _ in frames)


def test_of_a_folder_of_frames_without_people_it_is_said_that_nobody_is_there(
    called: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        picture = np.full((96, 128, 3), 90, np.uint8)
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), picture)
    words = ["anonymize", "frames", "--sequence", "25", "--regions", "faces", "--list-people"]
    done = called(*words)
    assert done.returncode == 0, done.stderr
    assert "Nobody was found in frames" in done.stdout


@pytest.mark.parametrize(
    ("words", "left", "right", "visible"),
    [
        ([], [True] * 5, [False] * 2 + [True] * 3, {}),
        (["--keep-visible", "7"], [True] * 5, [False] * 5, {"7": 3}),
        (["--hide-only", "7"], [False] * 5, [False] * 2 + [True] * 3, {"4": 5}),
        (["--hide-only", "4, 7"], [True] * 5, [False] * 2 + [True] * 3, {}),
    ],
)
def test_only_who_is_named_is_left_visible(
    ran: Callable[..., Any],
    tmp_path: Path,
    words: list[str],
    left: list[bool],
    right: list[bool],
    visible: dict[str, int],
) -> None:
    done = ran("-o", "o.mkv", *words)
    assert done.returncode == 0, done.stderr
    assert black(tmp_path / "o.mkv", LEFT) == left
    assert black(tmp_path / "o.mkv", RIGHT) == right
    receipt = json.loads((tmp_path / "o.mkv.receipt.json").read_text())
    assert receipt["left_visible"] == visible
    said = [line for line in receipt["warnings"] if "on purpose" in line]
    assert len(said) == len(visible) and all(f"ID {one}" in said[0] for one in visible)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--keep-visible", "7,9"], "nobody with ID 9: there are 4, 7; --list-people"),
        (["--hide-only", "0"], "nobody with ID 0: there are 4, 7"),
        (["--keep-visible", "x"], "IDs are numbers, as in 0,3"),
        (["--keep-visible", f"4,{'9' * 3000}"], f"and not '{'9' * 40}'; see"),
        (["--keep-visible", "4", "--hide-only", "7"], "exclude each other"),
        (["--keep-visible", "4", "--outside", "black"], "leave it out"),
        (["--keep-visible", "4", "--no-track"], "leave it out"),
        (["--keep-visible", "4", "--regions", "parts:head"], "give --regions faces"),
        (["--keep-visible", "4", "--regions", "faces+people"], "give --regions faces"),
        (["--keep-visible", "4", "--method", "mannequin"], "shows nobody as they are"),
        (["--keep-visible", "9", "--shadow"], "nobody with ID 9"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(
    ran: Callable[..., Any], tmp_path: Path, words: list[str], says: str
) -> None:
    (tmp_path / "in2.mp4").write_bytes((tmp_path / "in.mp4").read_bytes())
    done = ran("-o", "o.mkv", *words)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "in2.mp4"]


@pytest.mark.parametrize("words", [["--keep-visible", "4"], ["--list-people"]])
def test_ids_are_of_one_video(
    called: Callable[..., Any], ran: Callable[..., Any], tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "in2.mp4").write_bytes((tmp_path / "in.mp4").read_bytes())
    done = called("anonymize", "in.mp4", "in2.mp4", "-o", "out/", *words)
    assert done.returncode == 2 and "IDs of people are of one video" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--verify"],
        ["--record", "run.jsonl"],
        ["--resume"],
        ["--skip-existing"],
        ["--shadow"],
        ["--export-boxes", "b.json"],
        ["--export-masks", "m.mkv"],
        ["--report", "r.json"],
        ["--public-receipt"],
    ],
)
def test_what_is_of_an_output_is_refused_with_a_sheet(
    words: list[str], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "people.png"
    given = ["anonymize", str(clip), "--regions", "faces", "--list-people", "-o", str(sheet)]
    assert main([*given, *words]) == 2
    assert f"leave out {words[0]}" in capsys.readouterr().err
    assert not sheet.exists()


def test_a_dry_run_names_the_sheet_and_not_a_video(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, sheet = tmp_path / "one.mp4", tmp_path / "one_people_private.png"
    source.write_bytes(clip.read_bytes())
    words = ["anonymize", str(source), "--regions", "faces", "--list-people", "--dry-run"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{source} -> {sheet}\n" and not sheet.exists()
    assert main([*words, "-o", str(tmp_path / "people.mp4")]) == 2
    sheet.write_bytes(b"mine")
    assert main(words) == 2 and main([*words, "-y"]) == 0


def test_a_sheet_of_nobody_and_of_many_can_be_written(tmp_path: Path) -> None:
    tile = np.full((SIDE, SIDE, 3), 90, np.uint8)
    many = [SeenPerson(n, 61.5, 125.0, frames=9, thumbnail=tile) for n in range(12)]
    for people, name in (([], "none.png"), (many, "many.png")):
        write_sheet(people, tmp_path / name, overwrite=False)
        assert cv2.imread(str(tmp_path / name)).shape[1] == 5 * (SIDE + 10)
    assert when(many[0]) == "1:01 to 2:05, 9 frames"


class Crowd:
    """Nine faces in each frame that nobody had before, and one that comes late and stays."""

    name, look_ahead, model_sha256 = "faces", 0, None

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        for t, _ in enumerate(frames):
            ids = [*range(9 * t, 9 * t + 9), *[500] * (t >= 2)]
            yield Region(boxes=tuple(Box(*LEFT, 1.0, one) for one in ids))


def test_all_of_a_crowd_have_ids_and_who_is_seen_longest_is_on_the_sheet(
    called: Callable[..., Any], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGIONS, "faces", Crowd)
    monkeypatch.setattr(people_sheet, "MOST", 5)
    words = ["anonymize", clip, "--regions", "faces", "--preview", "0.2", "--list-people"]
    done = called(*words, "--json", "-o", "people.png")
    assert json.loads(done.stdout) == [{"id": n, "frames": 1} for n in range(45)] + [
        {"id": 500, "frames": 3}
    ]
    assert "41 of 46 people, those seen shortest, are not on it" in done.stderr
    sheet = cv2.imread(str(tmp_path / "people.png"))
    last = sheet[30 : 30 + SIDE, 4 * (SIDE + 10) + 5 :][:, :SIDE]  # of 500, behind four others
    assert last.min() < 255
    listed = called(*words, "-y", "-o", "people.png").stdout.splitlines()
    assert len(listed) == 46 and listed[-1] == "ID 500: 0:00 to 0:00, 3 frames"


def test_real_faces_have_the_ids_that_were_listed(
    called: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    faces = ["--regions", "faces"]
    listed = called("anonymize", clip, *faces, "--list-people", "--json", "-o", "people.png")
    ids = [one["id"] for one in json.loads(listed.stdout)]
    assert ids, listed.stderr
    words = ["--keep-visible", ",".join(map(str, ids)), "--allow-empty", "-o", "o.mp4"]
    done = called("anonymize", clip, *faces, *words)
    assert done.returncode == 0, done.stderr
    receipt = json.loads((tmp_path / "o.mp4.receipt.json").read_text())
    assert sorted(receipt["left_visible"]) == sorted(map(str, ids))
    assert receipt["coverage"]["empty"] == receipt["coverage"]["frames"]
