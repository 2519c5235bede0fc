"""`benchmarks/faces_by_eye.json`: labels that are whole, inside the frame and of known words."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masquerade.regions.boxes import Box

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LABELS = runpy.run_path(str(BENCHMARKS / "face_labels.py"))
FRAMES = LABELS["read"]()


def inside(box: Box, width: int, height: int) -> bool:
    """Whether a box has a size and lies in the frame."""
    return 0 <= box.x0 < box.x1 <= width + 1e-6 and 0 <= box.y0 < box.y1 <= height + 1e-6


def test_every_box_lies_in_its_frame() -> None:
    for frame in FRAMES:
        boxes = [*(face.box for face in frame.faces), *frame.heads, *frame.unclear]
        assert all(inside(box, *frame.size) for box in boxes), (frame.path, frame.frame)


def test_labels_are_of_the_words_that_the_groups_are_made_of() -> None:
    words = {
        "view": LABELS["VIEWS"],
        "roll": LABELS["ROLLS"],
        "recognizable": LABELS["RECOGNIZABLE"],
        "skin": LABELS["SKIN"],
        "shown": LABELS["SHOWN"],
    }
    for face in (face for frame in FRAMES for face in frame.faces):
        assert all(getattr(face, name) in known for name, known in words.items())
        assert set(face.occluded) <= set(LABELS["OCCLUDED"])
        assert face.pixels >= 4


def test_no_frame_is_labelled_twice_and_frames_without_faces_are_kept() -> None:
    assert max(Counter((frame.path, frame.frame) for frame in FRAMES).values()) == 1
    assert len(FRAMES) >= 120 and any(not frame.faces for frame in FRAMES)
    sources = Counter(frame.path.partition("/")[0] for frame in FRAMES)
    assert min(sources[name] for name in ("wild", "uti", "ucf11")) >= 30


def test_frames_picked_by_eye_are_told_from_those_that_the_seed_drew() -> None:
    picked = [(frame.path, frame.frame) for frame in FRAMES if frame.chosen == "turned"]
    assert picked == LABELS["turned"]()
    assert {frame.chosen for frame in FRAMES} == {"seed", "turned"}


def test_the_file_holds_no_pixels_and_says_which_labels_are_which() -> None:
    by_eye, beside = (
        json.loads((BENCHMARKS / name).read_text("utf-8"))["about"]
        for name in ("faces_by_eye.json", "faces.json")
    )
    assert "No detector" in by_eye and "faces.json" in by_eye
    assert "faces_by_eye.json" in beside and "by construction" in beside


@pytest.mark.slow
def test_the_seed_draws_the_frames_that_were_labelled(wild: Path) -> None:
    assert LABELS["chosen"](wild.parent) == [(frame.path, frame.frame) for frame in FRAMES]


class Marked:
    """A frame of 64 x 48, black but for one rectangle."""

    width, height = 64, 48
    mark = Box(8, 4, 20, 36, 1.0)

    def rgb(self, size: tuple[int, int]) -> Any:
        factor = size[0] // self.width
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        x0, y0, x1, y1 = (factor * int(getattr(self.mark, k)) for k in ("x0", "y0", "x1", "y1"))
        pixels[y0:y1, x0:x1] = 255
        return pixels


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_box_found_in_a_turned_or_enlarged_picture_comes_back_to_its_place(
    turn: int, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    view = runpy.run_path(str(BENCHMARKS / "face_recall.py"))["View"](Marked(), turn, factor)
    pixels = view.rgb()
    assert pixels.shape == (view.height, view.width, 3)
    rows, columns = np.nonzero(pixels[..., 0])
    found = Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 1.0)
    assert view.back(found) == Marked.mark
