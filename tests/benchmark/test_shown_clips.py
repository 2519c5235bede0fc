"""Short clips for the page: of which videos, by which anonymizer, and what is never shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from masquerade.benchmark.shown_clips import LONGEST, choose_clips, show_clips
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig
from masquerade.extraction.store import ClipCache
from masquerade.methods import build
from masquerade.pipeline.config import FileConfig
from masquerade.regions import Region
from masquerade.video.frame import Frame

CONFIG = EvaluationConfig(folds=0, preset="many", allow_empty=True, allow_gaps=True)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("mimes")
    write_mimes(folder, Mimes(size=64, frames=8, clips=40, people=10, actions=("walk", "squat")))
    return read_manifest(folder / "manifest.csv")


def frames_of(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as video:
        return np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)])


def test_clips_are_of_test_people_and_of_several_actions(drawn: Manifest) -> None:
    chosen = choose_clips(drawn, CONFIG, 3)
    assert {drawn.cells("split")[row] for row, _ in chosen} == {"test"}
    assert {shows.split(" (")[0] for _, shows in chosen[:2]} == {"walk", "squat"}
    assert len({shows for _, shows in chosen}) == 3 and chosen[2][1].endswith("(2)")
    assert choose_clips(drawn, CONFIG, 0) == []
    folds = EvaluationConfig(folds=2, preset="many")
    assert len(choose_clips(drawn, folds, 999)) < len(drawn), "of the first fold alone"


def test_each_row_shows_the_same_clips_and_raw_video_of_drawn_people_alone(
    drawn: Manifest, tmp_path: Path
) -> None:
    lines = [
        EvaluatedMethod(name="black & white", anonymizer=build("blacken")),
        EvaluatedMethod(name="failed", not_applicable="training: no memory"),
    ]
    show = partial(show_clips, drawn, lines, CONFIG, tmp_path / "clips", number=2)
    cache = ClipCache(folder=tmp_path / "cache")
    found = show(drawn=True, cache=cache)
    assert [one.row for one in found.clips] == ["raw", "raw", "black & white", "black & white"]
    assert (tmp_path / "clips").stat().st_mode & 0o777 == 0o700
    assert found.clips[0].shows == found.clips[2].shows and found.left_out == ()
    frames = frames_of(tmp_path / "clips" / found.clips[2].file)
    assert len(frames) == 24 and max(frames.shape[1:3]) <= LONGEST and frames.max() < 20
    assert frames_of(tmp_path / "clips" / found.clips[0].file).max() > 100
    again = show(drawn=False, cache=cache)
    assert {one.row for one in again.clips} == {"black & white"}, "people may be real"
    left = {path.name for path in (tmp_path / "clips").iterdir()}
    assert left == {one.file for one in again.clips}, "older clips are removed"


def test_clips_go_through_the_file_where_attackers_see_it(drawn: Manifest, tmp_path: Path) -> None:
    """A picture that an encoder spoils says what attackers were given."""
    rough = FileConfig(crf=51, lossless=False)
    line = EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2), file=rough)
    shown = []
    for through in (False, True):
        config, folder = replace(CONFIG, through_file=through), tmp_path / str(through)
        cache = ClipCache(folder=tmp_path / "cache")
        found = show_clips(drawn, [line], config, folder, number=1, drawn=True, cache=cache)
        assert found.left_out == ()
        shown.append({one.row: frames_of(folder / one.file).astype(int) for one in found.clips})
    tensors, files = shown
    assert np.abs(tensors["copy"] - files["copy"]).mean() > 1


class Nobody:
    """A region source that looks for people and finds none."""

    name = "people"
    look_ahead = 0

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        for _ in frames:
            yield Region()


def test_real_people_who_were_not_found_are_not_shown(drawn: Manifest, tmp_path: Path) -> None:
    nobody = EvaluatedMethod(name="nobody", anonymizer=build("blacken"), regions=Nobody)
    show = partial(show_clips, drawn, [nobody], CONFIG, tmp_path / "clips", number=1)
    cache = ClipCache(folder=tmp_path / "cache")
    found = show(drawn=False, cache=cache)
    assert found.clips == () and found.left_out[0].startswith("nobody, ")
    assert {one.row for one in show(drawn=True, cache=cache).clips} == {"raw", "nobody"}


def test_noise_has_no_known_seed(drawn: Manifest, tmp_path: Path) -> None:
    noisy = [EvaluatedMethod(name="selective", anonymizer=build("selective"))]
    shown = []
    for name in ("a", "b"):
        cache = ClipCache(folder=tmp_path / name)
        found = show_clips(
            drawn, noisy, CONFIG, tmp_path / f"{name}-clips", number=1, drawn=False, cache=cache
        )
        shown.append(frames_of(tmp_path / f"{name}-clips" / found.clips[0].file))
    assert np.abs(shown[0].astype(int) - shown[1]).mean() > 5


def test_a_clip_that_is_a_folder_of_frames_is_shown(drawn: Manifest, tmp_path: Path) -> None:
    """As each take of SBU is."""
    clips = [replace(clip, path=f"{row:03d}") for row, clip in enumerate(drawn.clips)]
    takes = replace(drawn, root=tmp_path, clips=tuple(clips))
    ((row, _),) = choose_clips(takes, CONFIG, 1)
    takes.path(clips[row]).mkdir()
    for at in range(3):
        image = np.full((48, 64, 3), 90, np.uint8)
        assert cv2.imwrite(str(takes.path(clips[row]) / f"rgb_{at}.png"), image)
    cache = ClipCache(folder=tmp_path / "cache")
    found = show_clips(takes, [], CONFIG, tmp_path / "clips", number=1, drawn=True, cache=cache)
    assert found.left_out == ()
    assert len(frames_of(tmp_path / "clips" / found.clips[0].file)) == 24
