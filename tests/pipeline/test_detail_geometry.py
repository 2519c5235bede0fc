"""Where residual detail is looked for, and how much of it counts, by exact numbers."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from masquerade.errors import OutputError
from masquerade.pipeline.residual_detail import (
    ALL_TRACKS,
    DetailCheck,
    RegionJudge,
    Remains,
    residual_detail,
)
from masquerade.pipeline.stream import AnonymizedFrame
from masquerade.regions.boxes import Box
from masquerade.regions.region import Region


class At:
    """The time of a frame."""

    def __init__(self, index: int) -> None:
        self.index = index


def places(region: Region, **given: Any) -> list[tuple[int, NDArray[np.bool_]]]:
    """The track and the pixels, in a whole frame, of each region that is compared."""
    settings: dict[str, Any] = {"name": "o", "size": (40, 30), "shape": "box", **given}
    check = DetailCheck(**settings)
    found = []
    with closing(check):
        for track, place, mask in check._regions(check._compact(region)):
            whole = np.zeros((check.size[1], check.size[0]), bool)
            whole[place] = mask
            found.append((track, whole))
    return found


def test_boxes_are_compared_where_they_are_in_the_frame() -> None:
    boxes = (
        Box(2.4, 3.6, 10.2, 9.0, 1.0, track=5),
        Box(-9, -9, 4, 5, 1.0),
        Box(35, 25, 99, 99, 1.0, track=0),
        Box(-9, 0, 0, 5, 1.0),  # outside
        Box(0, 30, 5, 40, 1.0),
        Box(40, 0, 50, 5, 1.0),
        Box(0, -5, 5, 0, 1.0),
    )
    found = places(Region(boxes=boxes))
    assert [track for track, _ in found] == [5, -1, 0]
    expected = [
        (slice(3, 9), slice(2, 11)),
        (slice(0, 5), slice(0, 4)),
        (slice(25, 30), slice(35, 40)),
    ]
    for (_, mask), place in zip(found, expected, strict=True):
        wanted = np.zeros((30, 40), bool)
        wanted[place] = True
        assert np.array_equal(mask, wanted)


def test_an_ellipse_touches_the_sides_of_its_box() -> None:
    ((_, mask),) = places(Region(boxes=(Box(4, 6, 24, 16, 1.0),)), shape="ellipse")
    y, x = np.mgrid[:30, :40] + 0.5
    assert np.array_equal(mask, ((x - 14) / 10) ** 2 + ((y - 11) / 5) ** 2 <= 1)
    assert mask.sum() == pytest.approx(np.pi * 10 * 5, abs=4)


def test_only_within_the_users_image() -> None:
    within = np.zeros((30, 40), np.uint8)
    within[:, 20:] = 9
    ((track, mask),) = places(Region(full_frame=True), within=within)
    assert track == ALL_TRACKS and np.array_equal(mask, within > 0)
    ((_, mask),) = places(Region(boxes=(Box(10, 10, 30, 20, 1.0),)), within=within)
    assert mask.sum() == 100 and mask[10:20, 20:30].all()


def test_a_silhouette_counts_where_it_is_nearly_whole() -> None:
    outline = np.zeros((30, 40), np.uint8)
    outline[5:10, 5:15], outline[10, 5:15], outline[11, 5:15] = 255, 250, 249
    strength = np.zeros((30, 40), np.uint8)
    strength[20:25, 20:25] = 255
    region = Region(boxes=(Box(30, 0, 40, 10, 1.0, track=1),), mask=outline)
    ((track, mask),) = places(region, shape="silhouette")
    assert track == ALL_TRACKS and np.array_equal(mask, outline >= 250)
    ((track, mask),) = places(region, shape="box")  # drawn as a box: the outline is not used
    assert track == 1 and mask.sum() == 100
    both = Region(boxes=region.boxes, mask=outline, strength=strength)
    ((_, mask),) = places(both, shape="silhouette")
    assert np.array_equal(mask, (outline >= 250) | (strength > 0))
    (_, mask), (track, boxed) = places(both, shape="box")
    assert np.array_equal(mask, strength > 0) and track == 1 and boxed.sum() == 100
    ((track, mask),) = places(Region(full_frame=True, strength=strength))
    assert track == ALL_TRACKS and mask.all()
    ((_, mask),) = places(both, whole=True)
    assert mask.all()


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((720, 480), (540, 360)),
        ((480, 960), (360, 720)),
        ((360, 9000), (360, 9000)),
        ((99, 1), (99, 1)),
    ],
)
def test_copies_have_a_short_side_of_360_pixels_at_most(
    size: tuple[int, int], small: tuple[int, int]
) -> None:
    with closing(DetailCheck(name="o", size=size, shape="box")) as check:
        assert check.size == small
        box = Box(0, 0, size[0] / 2, size[1] / 2, 1.0)
        found = check._compact(Region(boxes=(box,)))
        assert found.boxes.tolist() == [[0, 0, small[0] / 2, small[1] / 2]]


def test_sixteen_bits_are_compared_as_eight() -> None:
    eight = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    with closing(DetailCheck(name="o", size=(40, 30), shape="box")) as check:
        luma = check._luma(eight)
        assert luma.dtype == np.float32 and luma.shape == (30, 40)
        assert np.array_equal(luma, check._luma(eight.astype(np.uint16) * 257))
        grey = eight.astype(float) @ (0.299, 0.587, 0.114)
        assert np.abs(luma - grey).max() < 1


def test_detail_counts_from_its_limits_on() -> None:
    rng = np.random.default_rng(3)
    a, other = rng.normal(0, 20, (2, 80, 80)).astype(np.float32)
    mask = np.ones((80, 80), bool)

    def share(b: Any) -> tuple[float, float]:
        found = residual_detail(100 + a, np.asarray(100 + b, np.float32), mask)
        assert found.detailed == mask.sum()
        return found.left / found.detailed, found.left_surely / found.detailed

    # the gain: still there from 0.4 on, surely from 0.6 on
    assert share(0.39 * a) == (0, 0) and share(0.41 * a) == (1, 0)
    assert share(0.59 * a) == (1, 0) and share(0.61 * a) == (1, 1) and share(-a) == (0, 0)

    def mixed(correlation: float) -> tuple[float, float]:
        return share(correlation * a + np.sqrt(1 - correlation**2) * other)

    # the correlation: from about 0.7 on, surely from about 0.9 on
    assert mixed(0.5)[0] < 0.02 and 0.2 < mixed(0.7)[0] < 0.8 and mixed(0.85)[0] > 0.98
    assert mixed(0.82)[1] < 0.05 and 0.2 < mixed(0.9)[1] < 0.8 and mixed(0.96)[1] > 0.98


def test_faint_detail_is_none() -> None:
    fine = np.indices((60, 60)).sum(0) % 2 * 2 - 1.0  # a chequerboard, which no filter weakens much
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    kept = residual_detail(*[np.asarray(100 + 2.2 * fine, np.float32)] * 2, mask)
    assert kept == (400, 400, 400)
    assert residual_detail(*[np.asarray(100 + 1.9 * fine, np.float32)] * 2, mask) == (0, 0, 0)


def test_where_most_is_left_is_told() -> None:
    judge = RegionJudge()
    judge.add(1, 3, Remains(1000, 10, 0))
    judge.add(1, 4, Remains(1000, 50, 0))
    judge.add(1, 5, Remains(1000, 50, 0))
    judge.add(1, 6, Remains(1000, 20, 0))
    assert (judge.left, judge.frame, judge.measured, judge.without_detail) == (0.05, 4, 4, 0)
    judge.add(2, 7, Remains(399, 0, 399))  # not large: judged at once, by the stricter limits
    assert (judge.left, judge.frame, judge.measured) == (1, 7, 5)
    judge.add(3, 8, Remains(149, 149, 149))
    judge.add(4, 8, Remains(0, 0, 0))
    assert (judge.measured, judge.without_detail) == (5, 1)
    judge.end(8)
    assert (judge.measured, judge.without_detail) == (5, 2)
    judge.add(3, 9, Remains(150, 0, 0))
    assert judge.measured == 6


def test_a_frame_is_refused_as_soon_as_more_than_a_tenth_is_left() -> None:
    source = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    region = Region(boxes=(Box(0, 0, 80, 50, 1.0),))
    hidden = source.copy()
    hidden[:50] = 0
    with closing(DetailCheck(name="o.mp4", size=(80, 60), shape="box")) as check:
        check.watch(AnonymizedFrame(At(0), hidden, region, None), source)
        check.watch(AnonymizedFrame(At(6), source, Region(), None), source)
        hidden[:10] = source[:10]  # a fifth of what is compared
        with pytest.raises(OutputError) as caught:
            check.watch(AnonymizedFrame(At(7), hidden, region, None), source)
        assert "frame 7" in str(caught.value) and caught.value.exit_code == 4


def test_every_written_frame_is_compared_with_the_one_it_shows(monkeypatch: Any) -> None:
    from masquerade.pipeline import residual_detail as module

    class Shown:
        def __init__(self, pixels: Any) -> None:
            self.pixels = pixels

        def rgb(self, size: tuple[int, int] | None = None) -> Any:
            assert size == (80, 60)
            return self.pixels

    monkeypatch.setattr(module, "Frame", Shown)
    raw = np.random.default_rng(0).integers(0, 256, (4, 60, 80, 3), np.uint8)
    black = np.zeros_like(raw[0])
    region = Region(full_frame=True)

    def compare(written: list[int], output: list[Any], leak: float = 0.0) -> Any:
        with closing(DetailCheck(name="o", size=(80, 60), shape="box")) as check:
            for t in range(4):
                made = black.copy()
                made[: int(60 * leak * t)] = raw[t][: int(60 * leak * t)]
                check.watch(AnonymizedFrame(At(t), made, region, None), raw[t])
            for index in written:
                check.wrote(index)
            items = [object(), *map(Shown, raw), object()]  # packets of sound pass by
            return check.compare(items, map(Shown, output))

    found = compare([0, 1, 1, 3], [black] * 4)
    assert (found.left, found.frame, found.measured, found.without_detail) == (0, 0, 4, 0)
    found = compare([0, 3], [black] * 2, leak=0.03)
    assert found.frame == 3 and 0.01 < found.left < 0.1 and found.measured == 2
    assert found.left == round(found.left, 4)
    for shows in ([0, 1, 2], [0, 2, 3]):
        leaked = [black, raw[1], black] if shows[1] == 1 else [black, black, raw[3]]
        with pytest.raises(OutputError, match="still showed"):
            compare(shows, leaked)
    assert compare([0, 1, 2], [black, raw[3], black]).left == 0  # another frame's detail
    with pytest.raises(OutputError, match="fewer"):
        compare([0, 1, 2], [black] * 2)
    with pytest.raises(OutputError, match="more"):
        compare([0, 1], [black] * 3)
    with pytest.raises(OutputError, match="fewer"):
        compare([0, 4], [black] * 2)
