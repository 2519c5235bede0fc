"""`masquerade attack` of several videos: the same person or scene, and raw sources."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import cv2
import numpy as np
import pytest

from masquerade.attack import (
    AttackConfig,
    AttackReport,
    Finding,
    VideoAttack,
    across_videos,
    attack_files,
    run,
)
from masquerade.attack.across_videos import (
    COLOURS,
    SCENE,
    compare_videos,
    rank_sources,
)
from masquerade.attack.finding import Proof
from masquerade.cli import main
from masquerade.errors import VideoError
from masquerade.report.attack_page import render_attack_page

COUNT = 24
QUICK = AttackConfig(frames=1, quick=True)
ALONE = pytest.mark.usefixtures("nothing_undone")  # each video's own attacks are tried elsewhere


@pytest.fixture
def no_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for no poses, which takes most of the time and finds none in these pictures."""
    monkeypatch.setattr(across_videos, "_bones", lambda looked: None)


@pytest.fixture
def few_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at half as many frames of each video; none of these shows anybody."""
    monkeypatch.setattr(across_videos, "LOOKED", 6)


def pictures(place: int, *, take: int = 0) -> list[np.ndarray]:
    """A square that swings about in a place of its own, filmed with a little noise."""
    rng = np.random.default_rng(place)
    scene = cv2.resize(rng.integers(20, 235, (6, 8, 3)).astype(np.uint8), (160, 120))
    noise, out = np.random.default_rng(100 + take), []
    for number in range(COUNT):
        frame = scene + noise.normal(0, 4, scene.shape)
        left = int(60 + 40 * np.sin(0.4 * number + take))
        frame[40:80, left : left + 20] = 255 * (number % 8 > 3)
        out.append(frame.clip(0, 255).astype(np.uint8))
    return out


def write(path: Path, frames: list[np.ndarray]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "16", "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def of_folder(report: AttackReport, attack: str) -> Finding:
    return next(one for one in report.folder if one.attack == attack)


def blurred(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [cv2.GaussianBlur(frame, (0, 0), 8) for frame in frames]


@pytest.mark.slow
@ALONE
@pytest.mark.usefixtures("few_looked_at")
def test_two_videos_of_one_scene_are_said_to_show_a_scene_and_nobody(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", pictures(1))
    write(tmp_path / "b.mp4", pictures(1, take=1))
    write(tmp_path / "c.mp4", pictures(2))
    write(tmp_path / "d.mp4", [np.zeros_like(one) for one in pictures(3)])
    write(tmp_path / "e.mp4", [np.zeros_like(one) for one in pictures(3)])
    report = attack_files([tmp_path], QUICK)
    found = of_folder(report, "across")
    assert found.level == "left" and "a.mp4 and b.mp4 may show the same scene" in found.says
    assert "1 are alike" in found.says and "person" not in found.says
    assert not any(name in found.says for name in ("c.mp4", "d.mp4", "e.mp4"))
    assert report.exit_code == 0  # likeness recovers nothing
    assert [one.says for one in found.proofs] == ["a.mp4, scene", "b.mp4, scene"]
    assert all(one.picture.std() > 5 for one in found.proofs)
    folder = render_attack_page(report).partition("All videos together")[2]
    assert folder.count("<img") == 2 and "a.mp4, scene" in folder
    shared = render_attack_page(report, pictures=False)
    assert "<img" not in shared and "(b.mp4, scene)" in shared


@pytest.mark.slow
@ALONE
@pytest.mark.usefixtures("no_poses", "few_looked_at")
def test_published_videos_lead_to_their_raw_sources_or_do_not(tmp_path: Path) -> None:
    for place in range(5):
        frames = pictures(place)
        write(tmp_path / "raw" / f"{place}.mp4", frames)
        write(tmp_path / "blurred" / f"{place}_anonymized.mp4", blurred(frames))
        write(tmp_path / "black" / f"{place}.mp4", [np.zeros_like(one) for one in frames])
    shown = attack_files([tmp_path / "blurred"], QUICK, raw=tmp_path / "raw")
    source = of_folder(shown, "source")
    assert source.level == "left" and f"{SCENE}: 5 of 5" in source.says
    hidden = attack_files([tmp_path / "black"], QUICK, raw=tmp_path / "raw")
    assert of_folder(hidden, "source").level == "nothing"
    assert of_folder(hidden, "across").level == "nothing"


def write_transparent(path: Path, frames: list[np.ndarray]) -> Path:
    """A video of pixels that are transparent throughout, and have their colours all the same."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w", format="mov") as out:
        stream = out.add_stream("png", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgba"
        for frame in frames:
            pixels = np.dstack([frame, np.zeros(frame.shape[:2], np.uint8)])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kept", [True, False])
def test_transparent_videos_are_compared_by_what_was_published_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Others keep the colours of transparent pixels; `anonymize` makes its output over black."""

    class Describer:
        shown: ClassVar[dict[str, Proof]] = {}

        def describe(self, count: int, frames: Iterator[np.ndarray]) -> dict[str, np.ndarray]:
            looked.append(float(next(frames).mean()))
            return {}

    looked: list[float] = []
    monkeypatch.setattr(run, "VideoDescriber", Describer)
    beside: dict[Path, Path | None] = {}
    for name in "ab":
        frames = pictures(1)
        raw = write_transparent(tmp_path / "raw" / f"{name}.mov", frames)
        if kept:
            published = write_transparent(tmp_path / f"{name}.mov", blurred(frames))
        else:
            published = write(tmp_path / f"{name}.mp4", [np.zeros_like(one) for one in frames])
        beside[published] = raw
    videos = [VideoAttack(path=path, frames=COUNT) for path in beside]
    tracebacks: list[str] = []
    list(run._attack_folder(videos, beside, None, tracebacks))
    assert len(looked) == 4 and not tracebacks
    assert all(mean > 40 if kept else mean < 2 for mean in looked), looked


def described(shift: float, *names: str) -> dict[str, np.ndarray]:
    """Halves that are 1 apart, and of colours .1."""
    halves = np.array([[shift, 0.0], [shift, 1.0]])
    return {name: halves / 10 if name == COLOURS else halves for name in names}


OUTLINE = "the outline of what moves"
PEOPLE = (COLOURS, OUTLINE)


def test_a_person_is_named_by_colours_and_never_without_a_scene() -> None:
    def says(*names: str, shift: float = 0.0) -> str:
        pair = {Path("a"): described(0, *names), Path("b"): described(shift, *names)}
        return compare_videos(pair).says

    assert "may show the same person or scene, by" in says(*PEOPLE)
    assert "moves and the scene." in says(*PEOPLE, SCENE)
    assert "may show the same person or scene, by the colours of people." in says(COLOURS)
    assert "none is alike" in says(OUTLINE)  # it hardly tells people apart
    assert "none is alike" in says(*PEOPLE, shift=3.0)
    same_name = {Path("x/a.mp4"): described(0, COLOURS), Path("y/a.mp4"): described(0, COLOURS)}
    assert "x/a.mp4 and y/a.mp4 may show" in compare_videos(same_name).says


def test_colours_are_near_by_themselves_and_not_by_how_far_apart_halves_are() -> None:
    changing = {COLOURS: np.array([[0.0, 0.0], [2.0, 0.0]])}  # whose halves are far apart
    others = {COLOURS: np.array([[0.0, 1.0], [2.0, 1.0]])}
    assert compare_videos({Path("a"): changing, Path("b"): others}).level == "nothing"


@pytest.mark.parametrize(
    ("names", "shows"), [(PEOPLE, "person or scene"), ((SCENE,), "scene")], ids=["people", "scene"]
)
def test_what_makes_most_videos_alike_is_said_of_all_and_not_of_pairs(
    names: tuple[str, ...], shows: str
) -> None:
    """As where all videos show one person: none alike would be said in vain."""
    every = {Path(str(number)): described(0, *names) for number in range(4)}
    found = compare_videos(every)
    assert found.level == "left"
    assert found.says == (
        f"Of 6 pairs of videos most are alike by {names[0]}: they may show the same {shows}. "
        "This is likeness and no proof."
    )
    outlines = {path: described(0, OUTLINE) for path in every}
    assert compare_videos(outlines).says == "Of 6 pairs of videos none is alike."


def test_pairs_that_share_nothing_are_not_said_to_be_unlike() -> None:
    none: dict[str, np.ndarray] = {}
    black = {Path("a"): none, Path("b"): described(0, SCENE)}
    found = compare_videos(black)
    assert found.level == "nothing" and found.says == (
        "No pair of videos could be compared. Nothing of the same kind is seen in both videos of 1."
    )
    some = compare_videos({**black, Path("c"): described(90, SCENE)})
    assert some.says == (
        "Of 1 pairs of videos none is alike. Nothing of the same kind is seen in both videos of "
        "2 more."
    )
    alike = compare_videos({**black, Path("c"): described(0, SCENE)})
    assert alike.level == "left" and "likeness and no proof. Nothing of the same" in alike.says


def test_pairs_that_are_alike_by_more_than_most_are_said_beside() -> None:
    scenes = dict(zip("abcd", (0.0, 0.0, 90.0, 180.0), strict=True))
    every = {
        Path(name): {**described(0, COLOURS), **described(shift, SCENE)}
        for name, shift in scenes.items()
    }
    says = compare_videos(every).says
    assert "most are alike by the colours of people: " in says
    assert "Beside this 1 are alike: a and b may show the same scene. This is" in says


@ALONE
@pytest.mark.parametrize("damaged", [1, 2])
def test_a_video_that_cannot_be_compared_loses_no_report_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: int
) -> None:
    errors = [VideoError("it is cut short."), RuntimeError("odd")][:damaged]

    class Describer:
        shown: ClassVar[dict[str, Proof]] = {}

        def describe(self, count: int, frames: object) -> dict[str, np.ndarray]:
            if errors:
                raise errors.pop(0)
            return {}

    for name in "abc":
        write(tmp_path / f"{name}.mp4", [np.zeros_like(one) for one in pictures(0)])
    monkeypatch.setattr(run, "VideoDescriber", Describer)
    report = attack_files([tmp_path], QUICK)
    assert len(report.videos) == 3
    (found,) = report.folder
    assert found.says.startswith("No pair of videos could be compared. ")
    assert "a.mp4 was not compared: it is cut short." in found.says
    assert ("b.mp4 was not compared: an unexpected error" in found.says) == (damaged == 2)


@ALONE
@pytest.mark.usefixtures("no_poses", "few_looked_at")
def test_a_comparison_that_fails_takes_back_nothing_that_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, pictures(0))

    def too_many(described: dict[Path, object], *_: object) -> Finding:
        if described:
            raise MemoryError
        return compare_videos({})

    monkeypatch.setattr(run, "compare_videos", too_many)
    report = attack_files([tmp_path], QUICK)
    assert len(report.videos) == 2 and all(video.findings for video in report.videos)
    assert "could not be compared" in report.folder[0].says


def test_animated_pngs_are_videos_that_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stills, whose names may end alike, are not."""
    compared: list[int] = []

    class Describer:
        shown: ClassVar[dict[str, Proof]] = {}

        def describe(self, count: int, frames: object) -> dict[str, np.ndarray]:
            compared.append(count)
            return {}

    monkeypatch.setattr(run, "VideoDescriber", Describer)
    videos = [run.VideoAttack(path=tmp_path / f"{name}.png", frames=25) for name in "ab"]
    stills = [run.VideoAttack(path=tmp_path / f"{name}.png", frames=1) for name in "cd"]
    assert not list(run._attack_folder(stills, {}, None, []))
    monkeypatch.setattr(run, "read_frames", lambda *_, **__: [])
    assert len(list(run._attack_folder([*videos, *stills], {}, None, []))) == 1
    assert compared == [25, 25]


@ALONE
@pytest.mark.usefixtures("no_poses", "few_looked_at")
@pytest.mark.parametrize("good", [1, 2])
def test_a_video_that_is_too_short_or_broken_is_named_beside_the_others(
    tmp_path: Path, good: int
) -> None:
    for name in "bc"[:good]:
        write(tmp_path / f"{name}.mp4", [np.zeros_like(one) for one in pictures(0)])
    write(tmp_path / "short.mp4", pictures(0)[:10])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    cv2.imwrite(str(tmp_path / "still.png"), pictures(0)[0])
    report = attack_files([tmp_path], QUICK)
    (found,) = report.folder
    assert "short.mp4 was not compared: it has 10 frames, and 16 are needed." in found.says
    assert "broken.mp4 was not compared: it could not be attacked to its end." in found.says
    assert found.says.count("was not compared") == 2 and f"{2 * (good - 1)} videos" in found.work
    alone = attack_files([tmp_path / "short.mp4", tmp_path / "still.png"], QUICK)
    assert alone.folder == ()  # there is nothing to compare it with


def test_a_guess_of_sources_is_not_called_a_link() -> None:
    paths = [Path(str(number)) for number in range(6)]
    sources = {path: Path("raw") / path for path in paths}
    raw = {path: described(10.0 * k, SCENE) for k, path in enumerate(paths)}
    right = rank_sources(raw, raw, sources)
    assert right.level == "left" and "6 of 6" in right.says and "one of 6" in right.says
    turned = {path: raw[paths[(k + 1) % 6]] for k, path in enumerate(paths)}
    assert rank_sources(turned, raw, sources).level == "nothing"
    same = {path: described(0.0, SCENE) for path in paths}
    assert "0 of 6" in rank_sources(same, same, sources).says  # ties lead nowhere


def test_several_published_videos_of_one_raw_video_lead_to_it_and_are_no_more_trials() -> None:
    def ranked(count: int, *kinds: str) -> Finding:
        """Of each raw video one output of each kind; those that are `black` show no difference."""
        names = [(kind, number) for kind in kinds for number in range(count)]
        paths = {Path(f"{kind}/{number}.mp4"): (kind, number) for kind, number in names}
        raw = {path: described(10.0 * number, SCENE) for path, (_, number) in paths.items()}
        return rank_sources(
            {p: described(0.0, SCENE) if k == "black" else raw[p] for p, (k, _) in paths.items()},
            raw,
            {path: Path(f"raw/{number}.mp4") for path, (_, number) in paths.items()},
        )

    both = ranked(8, "face", "person")
    assert both.level == "left" and f"{SCENE}: 16 of 16" in both.says
    assert "one of 8" in both.says and "each among 8 raw ones" in both.work
    assert ranked(8, "black", "person").level == "left"
    assert ranked(3, "face").level == "nothing"  # a guess finds as many too often
    assert ranked(3, *"abcdef").level == "nothing"  # and copies make it no surer
    assert ranked(1, "face", "person").says.startswith("Nothing can be compared")


def test_copies_of_one_raw_video_are_one_source(
    videos: Path, raw_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would tie with its copy, and be found by nobody."""

    class Shown:
        shown: ClassVar[dict[str, Proof]] = {}

        def describe(self, count: int, frames: object) -> dict[str, np.ndarray]:
            return described(0, SCENE)

    monkeypatch.setattr(run, "VideoDescriber", Shown)
    beside: dict[Path, Path | None] = {
        one: raw_videos / one.name for one in sorted(videos.iterdir())
    }
    attacked = [VideoAttack(path=path, frames=20) for path in beside]
    assert [one.attack for one in run._attack_folder(attacked, beside, None, [])][1:] == ["source"]
    shutil.copy(raw_videos / "bad.mp4", raw_videos / "fine.mp4")
    assert len(list(run._attack_folder(attacked, beside, None, []))) == 1  # none to be told apart


@ALONE
@pytest.mark.usefixtures("no_poses", "few_looked_at")
def test_the_command_prints_what_all_videos_tell_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.mp4", [np.zeros_like(one) for one in pictures(0)])
    words = ["attack", str(tmp_path), "--quick", "--frames", "1"]
    assert main([*words, "-o", str(tmp_path / "page.html")]) == 0
    assert "All videos together:" in capsys.readouterr().out
    assert "All videos together" in (tmp_path / "page.html").read_text()
