"""Following a drawn box: it goes where the picture goes, and says where it was lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade.regions import Union
from masquerade.regions.boxes import Box, corners, iou
from masquerade.regions.drawn import DRAWN_TRACKS, DrawnRegion, WithDrawn
from masquerade.regions.following import CARRY, follow
from masquerade.regions.region import ArrayFrame, Region, Sized
from masquerade.regions.region_sources import held_bytes

SIZE = (160, 240)  # height and width


def scene(seed: int = 0) -> np.ndarray:
    """A textured background, (H, W, 3)."""
    noise = np.random.default_rng(seed).integers(0, 255, (SIZE[0] // 8, SIZE[1] // 8, 3))
    return np.repeat(np.repeat(noise, 8, 0), 8, 1).astype(np.uint8)


def moving(steps: int, dx: float, dy: float, *, seed: int = 1) -> list[np.ndarray]:
    """A patch of another texture that moves over the scene from (60, 60), 40 pixels large."""
    patch = scene(seed)[:40, :40]
    pictures = []
    for t in range(steps):
        picture = scene().copy()
        x, y = round(60 + dx * t), round(60 + dy * t)
        picture[y : y + 40, x : x + 40] = patch
        pictures.append(picture)
    return pictures


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    boxes = [corners([Box(*edges, 1.0)]) for edges in (one, other)]
    return float(iou(*boxes)[0, 0])


START = (60.0, 60.0, 100.0, 100.0)


@settings(max_examples=15)
@given(dx=st.integers(-4, 4), dy=st.integers(-3, 3))
def test_a_box_goes_with_what_is_in_it(dx: int, dy: int) -> None:
    found = follow(moving(10, dx, dy), START)
    assert not found.lost and len(found.boxes) == 9
    for t, box in enumerate(found.boxes, 1):
        x, y = 60 + dx * t, 60 + dy * t
        assert overlap(box, (x, y, x + 40, y + 40)) > 0.7


def test_a_box_grows_with_what_comes_nearer() -> None:
    import cv2

    patch, pictures = scene(1)[:40, :40], []
    for t in range(9):
        side = 40 + 2 * t
        picture = scene().copy()
        picture[60 : 60 + side, 60 : 60 + side] = cv2.resize(patch, (side, side))
        pictures.append(picture)
    found = follow(pictures, START)
    x0, _, x1, _ = found.boxes[-1]
    assert 50 < x1 - x0 < 62


def test_it_is_lost_where_a_scene_ends_and_carried_where_it_is_covered() -> None:
    pictures = moving(5, 2, 0)
    cut = [255 - scene(7) // 2] * 3
    assert follow([*pictures, *cut], START) == (follow(pictures, START).boxes, "a scene ends")
    rng = np.random.default_rng(3)
    pictures = moving(12, 0, 0)
    for picture in pictures[4:]:  # noise over the box and around
        picture[40:120, 40:120] = rng.integers(0, 255, (80, 80, 3))
    found = follow(pictures, START)
    assert "told apart" in found.lost and 3 < len(found.boxes) <= 3 + CARRY
    wide = [box[2] - box[0] for box in found.boxes[3:]]
    assert wide == sorted(wide) and wide[-1] > 40  # what is not known is hidden more widely


def test_it_ends_where_it_leaves_the_picture() -> None:
    wide = np.concatenate([scene(), scene(2)], axis=1)
    panned = [wide[:, 6 * t : 6 * t + SIZE[1]] for t in range(30)]
    found = follow(panned, START)
    # what was drawn over is outside from picture 17 on, and hidden until then and for a while
    assert found.lost and 16 <= len(found.boxes) <= 17 + CARRY
    for t, (x0, y0, x1, y1) in enumerate(found.boxes[:16], 1):
        left, right = max(0, START[0] - 6 * t), START[2] - 6 * t
        assert x0 <= left + 1 and x1 >= right - 1, t
        assert y0 <= START[1] + 1 and y1 >= START[3] - 1, t
    still = [scene()] * 5
    assert follow(still, START).boxes == [pytest.approx(START, abs=0.01)] * 4
    assert follow([scene()], START).boxes == []


@pytest.mark.parametrize(("speed", "down"), [(2, False), (6, False), (3, True), (1, False)])
def test_what_leaves_is_hidden_until_none_of_it_is_in_the_picture(speed: int, down: bool) -> None:
    """Less than a quarter of it cannot be followed any more, and was seen for up to 20 pictures."""
    side, thing = 40, scene(5)[:40, :40]
    start = (SIZE[0] if down else SIZE[1]) - side - 4
    pictures, seen = [], []
    for t in range(2 * side // speed + 8):
        picture, at = scene().copy(), start + speed * t
        part = max(0, (SIZE[0] if down else SIZE[1]) - at)
        if down and part:
            picture[at : at + side, 40:80] = thing[:part]
        elif part:
            picture[40:80, at : at + side] = thing[:, :part]
        pictures.append(picture)
        seen.append(part)
    box = (40, start, 80, start + side) if down else (start, 40, start + side, 80)
    found = follow(pictures, box)
    bare = [t for t, part in enumerate(seen) if part > 1 and t > len(found.boxes)]
    assert not bare and len(found.boxes) < len(pictures) - 1


class Nothing:
    name, look_ahead, model_sha256, shape = "people", 3, "x", "silhouette"

    def __call__(self, frames):  # type: ignore[no-untyped-def]
        for _ in frames:
            yield Region()


def test_drawn_regions_are_added_to_what_is_found() -> None:
    drawn = DrawnRegion(DRAWN_TRACKS, {1: START, 2: START}, keys=(1,))
    source = WithDrawn(source=Nothing(), drawn=[drawn])
    regions = list(source(range(4)))
    assert [len(one.boxes) for one in regions] == [0, 1, 1, 0]
    first, second = regions[1].boxes[0], regions[2].boxes[0]
    assert (first.source, second.source) == ("detected", "interpolated")
    assert first.label == "drawn" and first.track == DRAWN_TRACKS
    assert (source.name, source.look_ahead, source.shape) == ("people", 3, "silhouette")
    both = Union(sources=[Nothing(), Nothing()])  # such as faces, and parts that were pointed at
    source = WithDrawn(source=both, drawn=[drawn])
    assert [len(one.boxes) for one in source(range(4))] == [0, 1, 1, 0]
    assert source.model_sha256 is None and len(source.sources) == 2


def test_what_the_source_holds_is_counted_beside_drawn_regions() -> None:
    class Large(Nothing):
        def held_bytes(self, frame: Sized) -> int:
            return 3 * frame.width

    source = WithDrawn(source=Large(), drawn=[])
    assert held_bytes(source, ArrayFrame(np.zeros((4, 5, 3), np.uint8))) == 15
