"""Rasterization to the pixel, against the formulas written out for one pixel at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from masquerade.regions.boxes import Box
from masquerade.regions.masks import Shape, binary, draw_ellipses, rasterize, resize_mask

W, H = 48, 36
BOX = Box(15.5, 11.2, 26.3, 19.4, 1)


def level(column: int, row: int, box: Box, scale: float, feather: float, *, ellipse: bool) -> int:
    """What one pixel of the mask should be: by the point of it that is nearest to the centre."""
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    factor = scale * math.sqrt(2) / 1.3 if ellipse else scale
    a, b = factor * box.width / 2, factor * box.height / 2
    dx, dy = (max(0.0, abs(p + 0.5 - c) - 0.5) for p, c in ((column, x), (row, y)))
    if ellipse:
        reach = math.sqrt((dx / a) ** 2 + (dy / b) ** 2)
        outside = math.hypot(dx, dy) * (1 - 1 / reach) if reach > 1 else 0.0
    else:
        outside = math.hypot(max(0.0, dx - a), max(0.0, dy - b))
    if outside == 0:
        return 255
    return round(255 * max(0.0, 1 - outside / feather)) if feather else 0


@pytest.mark.parametrize("shape", ["ellipse", "box"])
@pytest.mark.parametrize(("scale", "feather"), [(1.3, 0), (1.0, 0), (1.2, 3.5), (1.1, 0.7)])
@pytest.mark.parametrize("at", [(0, 0), (-14, 2), (20, -9), (15, 14)])
def test_every_pixel_is_what_its_distance_says(
    shape: Shape, scale: float, feather: float, at: tuple[int, int]
) -> None:
    box = Box(BOX.x0 + at[0], BOX.y0 + at[1], BOX.x1 + at[0], BOX.y1 + at[1], 1)
    mask = rasterize([box], width=W, height=H, shape=shape, scale=scale, feather=feather)
    wanted = [
        [level(x, y, box, scale, feather, ellipse=shape == "ellipse") for x in range(W)]
        for y in range(H)
    ]
    assert np.abs(mask.astype(int) - np.array(wanted)).max() <= 1
    assert ((mask == 255) == (np.array(wanted) == 255)).all()


def test_with_a_feather_a_pixel_that_the_edge_only_touches_is_covered() -> None:
    box = Box(10, 8, 20, 16, 1)
    mask = rasterize([box], width=W, height=H, shape="box", feather=0.5, scale=1)
    wanted = np.zeros((H, W), np.uint8)
    wanted[7:17, 9:21] = 255
    assert np.array_equal(mask, wanted) and mask.dtype == np.uint8


def test_an_ellipse_without_feather_is_drawn_unless_told_otherwise() -> None:
    plain = rasterize([BOX], width=W, height=H, scale=1.3)
    assert np.array_equal(
        plain, rasterize([BOX], width=W, height=H, shape="ellipse", scale=1.3, feather=0)
    )
    frame = Box(10, 10, 30, 20, 1, label="frame")  # a frame is no ellipse
    assert np.array_equal(
        rasterize([frame], width=W, height=H, scale=1.3),
        rasterize([frame], width=W, height=H, shape="box", scale=1.3),
    )


def test_a_soft_mask_is_added_unchanged_and_never_takes_away() -> None:
    soft = np.arange(H * W, dtype=np.int64).reshape(H, W).astype(np.uint8)
    alone = rasterize([], width=W, height=H, strength=soft, scale=1.3)
    assert np.array_equal(alone, soft)
    both = rasterize([BOX], width=W, height=H, strength=soft, scale=1.3)
    assert np.array_equal(both, np.maximum(soft, rasterize([BOX], width=W, height=H, scale=1.3)))


@pytest.mark.parametrize(("rows", "drawn"), [(14, True), (15, False)])
def test_a_box_with_less_than_15_in_100_of_silhouette_is_drawn_whole(
    rows: int, drawn: bool
) -> None:
    outline = np.zeros((120, 160), np.uint8)
    outline[10 : 10 + rows, 20:30] = 1
    box = Box(20, 10, 30, 110, 1, label="person")
    mask = rasterize([box], width=160, height=120, shape="silhouette", mask=outline, scale=1)
    assert bool(mask[60, 25]) is drawn
    half_outside = Box(-10, 10, 30, 110, 1, label="person")  # only what is in the frame counts
    outline[:] = 0
    outline[10 : 10 + 3 * rows, 0:10] = 1
    shown = rasterize(
        [half_outside], width=160, height=120, shape="silhouette", mask=outline, scale=1
    )
    assert bool(shown[60, 28]) is drawn


def test_a_silhouette_grows_by_a_share_of_a_tenth_of_the_frame() -> None:
    """At a scale of 1.6 in 100 rows: .3 of 10 pixels; the feather begins there."""
    outline = np.zeros((100, 80), np.uint8)
    outline[50, 40] = 9
    given = {"width": 80, "height": 100, "shape": "silhouette", "mask": outline, "scale": 1.6}
    hard, soft = rasterize([], **given), rasterize([], **given, feather=4)
    y, x = np.mgrid[:100, :80]
    away = np.hypot(y - 50, x - 40)
    assert np.array_equal(hard, np.where(away <= 3, 255, 0))
    fade = 255 * (1 - (np.maximum(away - 3, 0)) / 4).clip(0, 1)
    assert np.abs(soft - fade).max() <= 1
    same = rasterize([], **{**given, "scale": 0.5})  # a scale below 1 takes nothing away
    assert np.array_equal(same, np.where(away == 0, 255, 0))


def test_silhouettes_of_all_and_of_nothing() -> None:
    for value in (0, 1):
        outline = np.full((H, W), value, np.uint8)
        mask = rasterize(
            [], width=W, height=H, shape="silhouette", mask=outline, feather=2, scale=1.3
        )
        assert (mask == 255 * value).all()
    for shape in ("ellipse", "box"):  # what is drawn into boxes takes no silhouette away
        assert rasterize([], width=W, height=H, shape=shape, mask=outline, scale=1.3).all()


@pytest.mark.parametrize(
    ("label", "whole", "drawn"),
    [
        ("person", False, False),
        ("hand", False, False),
        ("part", False, False),
        ("person", True, True),
        ("part", True, True),
        ("text", False, True),
        ("frame", False, True),
        ("badge", False, True),
    ],
)
def test_silhouettes_stand_for_people_of_their_own_source_alone(
    label: str, whole: bool, drawn: bool
) -> None:
    outline = np.zeros((H, W), np.uint8)
    outline[10:30, 10:20] = 255
    box = Box(10, 10, 30, 30, 1, label=label, always_drawn=whole)
    mask = rasterize([box], width=W, height=H, shape="silhouette", mask=outline, scale=1)
    assert (mask[10:30, 10:20] == 255).all()
    assert (mask[10:30, 10:30] == 255).all() is np.bool_(drawn)


def test_ellipses_lie_in_their_part_of_the_box_on_a_copy_of_another_size() -> None:
    boxes = [Box(20, 40, 60, 120, 1), Box(200, 10, 202, 12, 1)]
    mask = draw_ellipses(boxes, part=(0.5, 0.25, 0.75), frame=(240, 160), size=(120, 40))
    first = mask.copy()
    first[:, 80:] = 0
    rows, columns = np.nonzero(first)
    # centre (40, 80), 20 wide and 40 high: halved across, a quarter of it down
    assert mask.dtype == np.uint8 and mask.shape == (40, 120)
    assert (columns.min(), columns.max()) == (15, 25) and (rows.min(), rows.max()) == (15, 25)
    assert first[20, 20] == 255 and first[15, 15] == 0 and set(np.unique(first)) == {0, 255}
    assert mask[3, 100] == 255 and np.count_nonzero(mask[:, 80:]) <= 9  # never less than a pixel


def test_an_ellipse_has_two_axes() -> None:
    mask = draw_ellipses([Box(10, 20, 110, 60, 1)], part=(1, 0, 1), frame=(120, 80), size=(120, 80))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 110, 20, 60)
    y, x = np.mgrid[:80, :120]
    away = np.hypot((x - 60) / 50, (y - 40) / 20)
    assert (mask[away < 0.97] == 255).all() and not mask[away > 1.06].any()


def test_a_pixel_of_a_resized_mask_is_covered_from_a_half() -> None:
    assert binary(np.array([[0, 1, 127, 128, 255]])).tolist() == [[0, 0, 0, 255, 255]]
    small = resize_mask(np.array([[255, 0, 0, 0], [255, 0, 255, 255]], np.uint8), 2, 1)
    assert small.dtype == np.uint8 and small.tolist() == [[255, 255]]
    assert resize_mask(np.array([[255, 0], [0, 0]], np.uint8), 1, 1).tolist() == [[0]]


@pytest.mark.parametrize("feather", [0, 2.5])
@pytest.mark.parametrize("level", [0, 255])
def test_a_silhouette_of_nothing_or_of_all_stays_so(level: int, feather: float) -> None:
    silhouette = np.full((H, W), level, np.uint8)
    drawn = rasterize(
        [], width=W, height=H, shape="silhouette", scale=1.6, feather=feather, mask=silhouette
    )
    assert drawn.dtype == np.uint8 and drawn.shape == (H, W) and (drawn == level).all()
