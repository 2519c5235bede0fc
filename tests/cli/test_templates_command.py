"""`masquerade templates` and `--hide`: mark a part of a picture, and hide it by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import masquerade
from masquerade.cli.anonymize import parse
from masquerade.cli.templates import main
from masquerade.errors import MissingError, UsageError
from masquerade.pipeline.config import region_arguments

SPOT = (96, 64)  # x, y of the middle of what is pointed at, in the first frame


@pytest.fixture
def moving(tmp_path: Path) -> Path:
    """A striped disc that drifts over a dull, textured ground."""
    import torch

    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(60, 120, (128, 192, 3)).astype(np.uint8), (0, 0), 2)
    frames = []
    for t in range(12):
        frame = ground.copy()
        x, y = SPOT[0] + 2 * t, SPOT[1]
        cv2.circle(frame, (x, y), 18, (230, 60, 40), -1)
        for dy in range(-12, 13, 6):
            cv2.line(frame, (x - 12, y + dy), (x + 12, y + dy), (40, 40, 230), 2)
        frames.append(frame)
    clip = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None].float() / 255
    path = tmp_path / "moving.mp4"
    masquerade.write_video(path, clip)
    return path


def test_a_template_is_added_shown_used_and_exported(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "mine"))
    at = f"0:{SPOT[0]},{SPOT[1]}"
    assert main(["add", "disc", "--image", str(moving), "--at", at]) == 0
    assert main(["list", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["name"] == "disc" and one["keys"].startswith("colour-hog")

    heat = tmp_path / "heat.mp4"
    assert main(["show", "disc", str(moving), "-o", str(heat)]) == 0
    assert heat.stat().st_mode & 0o077 == 0  # it shows the original
    last = masquerade.read_video(heat).clip[0, :, -1]  # yellow on the disc, violet elsewhere
    x, y = SPOT[0] + 2 * 11, SPOT[1]
    assert last[0, y, x] > last[2, y, x] and last[2, 100, 20] > last[1, 100, 20]

    assert main(["show", "disc", str(moving), "-o", str(tmp_path / "heat\x1b[2J.webm")]) == 0
    assert r"heat\x1b[2J.webm" in capsys.readouterr().err  # as a terminal may show it

    file, other = tmp_path / "mine.safetensors", tmp_path / "other"
    assert main(["export", "-o", str(file)]) == 0
    assert main(["import", str(file), "--library", str(other)]) == 0
    assert (other / "disc.json").is_file()
    assert main(["remove", "disc"]) == 0
    with pytest.raises(MissingError, match="no template disc"):
        main(["remove", "disc"])


def test_nothing_is_added_where_a_point_is_missing(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "mine"))
    add = ["add", "disc", "--image", str(moving)]
    assert main([*add, "--at", "0:96,64"]) == 0
    before = (tmp_path / "mine" / "disc.json").read_bytes()
    with pytest.raises(UsageError, match="say where disc is with --at"):
        main(add)
    with pytest.raises(UsageError, match="has no frame 999"):
        main([*add, "--at", "3:90,60", "--at", "999:1,1"])
    assert (tmp_path / "mine" / "disc.json").read_bytes() == before


def test_a_damaged_template_is_named_and_the_others_are_listed(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "mine"))
    for name in ("badge", "disc"):
        main(["add", name, "--image", str(moving), "--at", "0:96,64"])
    (tmp_path / "mine" / "badge.json").write_text("{")
    capsys.readouterr()
    assert main(["list", "--json"]) == 1
    said = capsys.readouterr()
    assert [one["name"] for one in json.loads(said.out)] == ["disc"]
    assert "template badge is damaged" in said.err and "remove and add it" in said.err


def test_a_long_name_is_listed_whole_as_hide_takes_it(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "mine"))
    monkeypatch.setenv("COLUMNS", "80")
    name = "the-badge-on-the-jacket-of-whoever-opens-the-door"
    assert main(["add", name, "--image", str(moving), "--at", "0:96,64"]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    assert name in capsys.readouterr().out


def test_what_a_template_of_somebody_else_says_is_shown_as_text(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "mine"))
    main(["add", "disc", "--image", str(moving), "--at", "0:96,64"])
    card = tmp_path / "mine" / "disc.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "extractor": "[/red]\x1b[2J"}))
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert "[/red]" in said and "\x1b" not in said


def test_an_import_says_plainly_that_no_file_is_there(tmp_path: Path) -> None:
    library = ["--library", str(tmp_path / "library")]
    for name, told in (("gone.st", "gone.st does not exist; name"), ("", "is a folder; name")):
        with pytest.raises(UsageError, match=f"{told} a file that `masquerade templates export`"):
            main(["import", str(tmp_path / name), *library])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["list"], ["remove", "disc"], ["export", "-o", "x.safetensors"]])
def test_a_library_that_is_a_file_is_not_an_empty_one(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is no folder; name a folder of templates"):
        main([*words, "--library", str(tmp_path / "file")])


def test_no_output_replaces_what_is_read_or_was_not_asked_to_go(
    moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(mine))
    main(["add", "disc", "--image", str(moving), "--at", f"0:{SPOT[0]},{SPOT[1]}"])
    (tmp_path / "link.mp4").hardlink_to(moving)
    for words, says in (
        (["show", "disc", str(moving), "-o", str(tmp_path / "link.mp4"), "-y"], "which is read"),
        (["export", "-o", str(moving)], "exists already"),
        (["export", "-o", str(mine / "disc.safetensors"), "-y"], "among the templates themselves"),
    ):
        before = {path: path.read_bytes() for path in (moving, mine / "disc.safetensors")}
        with pytest.raises(UsageError, match=says):
            main(words)
        assert all(path.read_bytes() == content for path, content in before.items())
    assert main(["list"]) == 0
    assert main(["export", "-o", str(tmp_path / "all.safetensors")]) == 0
    assert main(["export", "-o", str(tmp_path / "all.safetensors"), "-y"]) == 0


@pytest.mark.parametrize("by", ["name", "point"])
def test_what_the_points_mark_is_hidden_and_the_rest_stays(
    moving: Path,
    tmp_path: Path,
    by: str,
    called: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = f"0:{SPOT[0]},{SPOT[1]}"
    words = ["--at", at]
    if by == "name":
        mine = tmp_path / "lib" / "masquerade" / "templates"
        main(["add", "disc", "--image", str(moving), "--at", at, "--library", str(mine)])
        words = ["--hide", "disc"]
        shutil.copytree(mine, tmp_path / "copy")
    monkeypatch.setenv("MASQUERADE_TEMPLATES", "copy")
    words += ["--method", "blacken", "--lossless", "-o", "safe.mkv"]
    done = called("anonymize", moving, *words)
    assert done.returncode == 0, done.stderr
    before = masquerade.read_video(moving).clip[0]
    after = masquerade.read_video(tmp_path / "safe.mkv").clip[0]
    for t in (0, 11):
        x, y = SPOT[0] + 2 * t, SPOT[1]
        assert after[:, t, y - 8 : y + 9, x - 8 : x + 9].mean() < 0.05
        assert (after[:, t, 90:, :60] - before[:, t, 90:, :60]).abs().max() < 0.02
    receipt = json.loads((tmp_path / "safe.mkv.receipt.json").read_text())
    (record,) = receipt["regions"]
    assert record["name"] == "templates" and record["arguments"]["keys"] == "colour-hog"
    (warning,) = receipt["warnings"]
    assert warning.endswith(
        "people stay visible: --regions people beside --at or --hide hides both."
    )
    assert warning in done.stderr


def test_hide_is_short_for_regions() -> None:
    def regions(*words: str) -> list[str]:
        config = parse(["a.mp4", *words])[0].config()
        return [name for name, _ in region_arguments(config)]

    assert regions("--hide", "eye,hair") == ["templates"]
    assert regions("--regions", "people", "--hide", "eye") == ["people", "templates"]
    assert regions("--regions", "people", "--at", "3:10,20") == ["people", "templates"]
    config = parse(["a.mp4", "--at", "3:10,20", "--at", "4,5"])[0].config()
    assert region_arguments(config)[0][1]["at"] == ((3, 10, 20), (0, 4, 5))
    config = parse(["a.mp4", "--hide", "eye,hair"])[0].config()
    assert region_arguments(config)[0][1]["templates"] == ("eye", "hair")
    with pytest.raises(UsageError, match="once"):
        regions("--regions", "templates:eye", "--hide", "hair")
    assert regions("--regions", "people+boxes:a+b.json", "--at", "0:1,1") == [
        "people",
        "templates",
        "boxes",
    ]
    assert regions("--regions", "parts:head", "--at", "0:1,1") == ["templates", "parts"]
    with pytest.raises(UsageError, match=r"--hide and --regions boxes:b\.json both name something"):
        regions("--regions", "boxes:b.json", "--hide", "badge")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["add", "Eye!", "--at", "5,5"], UsageError, "cannot name a template"),
        (["add", "eye", "--at", "5;5"], UsageError, "a point is"),
        (["add", "eye", "--at", "500,5"], UsageError, "outside"),
        (["add", "eye", "--at", "40:5,5"], UsageError, "no frame 40"),
        (["add", "eye", "--at", "5,5", "--keys", "sift"], UsageError, "sift"),
        (["add", "eye", "--at", "5,5", "--keys", "dino-s8"], MissingError, "colour-hog"),
        (["fetch", "resnet"], UsageError, "resnet"),
        (["import", "nothing.safetensors"], UsageError, "nothing"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(
    moving: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "mine"))
    monkeypatch.setenv("MASQUERADE_WEIGHTS", str(tmp_path / "weights"))
    source = [] if words[0] != "add" else ["--image", str(moving)]
    with pytest.raises(error, match=message):
        main([*words, *source])
    assert not list(tmp_path.glob("mine/*"))
