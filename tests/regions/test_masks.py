"""Rasterization: full strength inside, zero outside, feathers that fade outwards."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masquerade.regions.boxes import Box
from masquerade.regions.exported_boxes import exported_boxes
from masquerade.regions.masks import Shape, rasterize
from masquerade.regions.region import Region

W, H = 96, 64
box_in_view = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h, 1.0),
    st.floats(-20, W),
    st.floats(-20, H),
    st.floats(0.5, 60),
    st.floats(0.5, 60),
)


def _covered(mask: np.ndarray, box: Box) -> bool:
    inside = box.clip(mask.shape[1], mask.shape[0])
    if inside is None:
        return True
    x0, x1 = int(inside.x0), int(np.ceil(inside.x1))
    y0, y1 = int(inside.y0), int(np.ceil(inside.y1))
    return bool((mask[y0:y1, x0:x1] == 255).all())


@given(box=box_in_view, shape=st.sampled_from(["ellipse", "box", "silhouette"]))
def test_a_scale_of_1_3_hides_every_pixel_a_box_touches(box: Box, shape: Shape) -> None:
    assert _covered(rasterize([box], width=W, height=H, shape=shape, scale=1.3), box)


@given(box=box_in_view, feather=st.floats(0.5, 20), shape=st.sampled_from(["ellipse", "box"]))
def test_feather_grows_outwards_only(
    box: Box, feather: float, shape: Literal["ellipse", "box"]
) -> None:
    box = Box(box.x0 + 100, box.y0 + 100, box.x1 + 100, box.y1 + 100, 1.0)  # no edge is near
    hard = rasterize([box], width=W + 200, height=H + 200, shape=shape, scale=1.3)
    soft = rasterize([box], width=W + 200, height=H + 200, shape=shape, feather=feather, scale=1.3)
    assert (soft[hard == 255] == 255).all()
    away = _distance_to(hard == 255)
    assert (soft[away > feather + 2] == 0).all()


def _distance_to(inside: np.ndarray) -> np.ndarray:
    if not inside.any():
        return np.zeros(inside.shape)
    return cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


@pytest.mark.parametrize("shape", ["ellipse", "box"])
def test_mask_is_zero_away_from_the_box_and_a_feather_has_levels(shape: Shape) -> None:
    box = Box(40, 20, 60, 40, 1)
    mask = rasterize([box], width=W, height=H, shape=shape, feather=6, scale=1.3)
    assert set(np.unique(mask[:, :20])) == {0}
    assert len(np.unique(mask)) > 4
    assert mask.dtype == np.uint8
    assert mask.shape == (H, W)


def test_a_scale_enlarges_the_shape() -> None:
    box = Box(30, 20, 60, 40, 1)
    areas = [(rasterize([box], width=W, height=H, scale=m) > 0).sum() for m in (1, 1.3, 1.6)]
    assert areas == sorted(set(areas))
    edges = rasterize([Box(30, 20, 60, 40, 1)], width=W, height=H, scale=1, shape="box")
    assert (np.nonzero(edges.any(axis=0))[0][[0, -1]] == [30, 59]).all()


@pytest.mark.parametrize("scale", [1.0, 1.1, 1.6])
def test_a_line_of_text_beside_faces_is_hidden_as_a_whole(scale: float) -> None:
    """As by its own source, however small the scale: an ellipse lacks its corners."""
    line = Box(40, 40, 160, 60, 1.0, 1, "detected", "text")
    alone = rasterize([line], width=200, height=100, shape="box", scale=scale)
    beside = rasterize([line], width=200, height=100, shape="ellipse", scale=scale)
    assert (beside >= alone).all()


def test_box_is_drawn_where_there_is_no_silhouette() -> None:
    outline = np.zeros((H, W), np.uint8)
    outline[20:40, 10:20] = 255
    seen, unseen = (Box(*edges, 1, label="person") for edges in ((8, 18, 22, 42), (60, 10, 80, 40)))
    mask = rasterize([seen, unseen], width=W, height=H, shape="silhouette", mask=outline, scale=1)
    assert (mask[outline > 0] == 255).all()
    assert mask[18, 8] == 0
    assert _covered(mask, unseen)
    soft = rasterize(
        [seen], width=W, height=H, shape="silhouette", mask=outline, scale=1, feather=5
    )
    assert (soft[outline > 0] == 255).all()
    assert 0 < soft[30, 22] < 255
    assert soft[30, 30] == 0


def test_frame_box_covers_everything_in_any_shape() -> None:
    box = Box(0, 0, W, H, 1, label="frame")
    assert (rasterize([box], width=W, height=H, shape="ellipse", scale=1) == 255).all()


def test_empty_mask() -> None:
    outside = [Box(200, 200, 220, 220, 1), Box(-50, -50, -20, -20, 1)]
    assert not rasterize(outside, width=W, height=H, scale=1.3).any()
    assert not rasterize([], width=W, height=H, mask=np.zeros((H, W), np.uint8), scale=1.3).any()


def test_a_face_beside_a_silhouette_is_hidden_and_a_part_is_not_filled_up() -> None:
    outline = np.zeros((H, W), np.uint8)
    outline[20:40, 10:20] = 255
    half = Box(14, 20, 26, 40, 1, label="face")  # half of it lies on the silhouette
    part = Box(30, 5, 60, 60, 1, label="part")
    mask = rasterize([half, part], width=W, height=H, shape="silhouette", mask=outline, scale=1.3)
    assert _covered(mask, half)
    assert not mask[:, 40:].any()


@pytest.mark.parametrize("label", ["person", "face"])
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_boxes_of_a_file_hide_what_the_silhouettes_they_were_made_of_hid(
    scale: float, label: str
) -> None:
    """Raised arms reach into the corners of a box, which an ellipse at scale 1 cuts."""
    silhouette = np.zeros((90, 80), np.uint8)
    silhouette[20:70, 30:50] = silhouette[20:26, 20:60] = 255
    boxes = (Box(20, 20, 60, 70, 0.9, label=label),)
    size: dict[str, Any] = {"width": 80, "height": 90}
    hidden = rasterize(boxes, **size, shape="silhouette", scale=scale, mask=silhouette)
    again = exported_boxes(Region(boxes=boxes, mask=silhouette), **size)
    assert (rasterize(again, **size, scale=scale)[hidden > 0] > 0).all()
