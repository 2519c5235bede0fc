"""GrabCut silhouettes of upright people, propagated between keyframes."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from frames import ArrayFrame, clip, noise

from masquerade.regions import People
from masquerade.regions.boxes import Box
from masquerade.regions.grabcut import GrabCutInput, add_silhouettes
from masquerade.regions.region import Region

W, H = 240, 180
GROUND = cv2.GaussianBlur(noise(W, H, 3), (0, 0), 2)


def _figure(x: int) -> np.ndarray:
    """(H, W), 1 on a standing figure at x."""
    out = np.zeros((H, W), np.uint8)
    cv2.circle(out, (x, 35), 11, 1, cv2.FILLED)
    cv2.rectangle(out, (x - 16, 46), (x + 16, 100), 1, cv2.FILLED)
    cv2.rectangle(out, (x - 12, 100), (x + 12, 155), 1, cv2.FILLED)
    return out


def _grabcut_inputs(
    places: list[int], every: int, colour: tuple[int, int, int]
) -> Iterator[GrabCutInput]:
    stripes = np.where(np.arange(H)[:, None, None] % 12 < 6, 0, 40) + np.array(colour)
    for t, x in enumerate(places):
        pixels = np.where(_figure(x)[..., None] > 0, stripes, GROUND).astype(np.uint8)
        box = Box(x - 40.0, 8.0, x + 40.0, 172.0, 0.9)
        yield GrabCutInput(
            ArrayFrame(pixels), (box,), None, Region(boxes=(box,)), keyframe=t % every == 0
        )


def _shares(region: Region, x: int) -> tuple[float, float]:
    """Shares of the figure and of the rest of the frame that the silhouette covers."""
    assert region.mask is not None
    inside, figure = region.mask > 0, _figure(x) > 0
    return float(inside[figure].mean()), float(inside[~figure].mean())


@pytest.mark.parametrize("every", [1, 4])
def test_silhouette_matches_the_figure(every: int) -> None:
    places = [100 + 2 * t for t in range(13)]
    regions = list(add_silhouettes(_grabcut_inputs(places, every, (200, 30, 30))))
    for region, x in zip(regions, places, strict=True):
        covered, besides = _shares(region, x)
        assert covered > 0.95
        assert besides < 0.05


def test_figure_coloured_as_the_background_is_covered() -> None:
    mean = tuple(int(c) for c in GROUND.reshape(-1, 3).mean(axis=0))
    (region,) = add_silhouettes(_grabcut_inputs([120], 1, mean))
    assert _shares(region, 120)[0] > 0.6


def test_empty_frame_has_no_silhouette_and_moving_foreground_is_included() -> None:
    picture, moving = ArrayFrame(GROUND), np.zeros((H, W), np.uint8)
    (region,) = add_silhouettes([GrabCutInput(picture, (), None, Region(), keyframe=True)])
    assert region.mask is not None
    assert not region.mask.any()
    moving[40:80, 60:100] = 255
    (region,) = add_silhouettes([GrabCutInput(picture, (), moving, Region(), keyframe=True)])
    assert region.mask is not None
    assert region.mask[42:78, 62:98].all()
    assert (region.mask > 0).mean() < 0.06


def test_silhouettes_do_not_cross_a_cut() -> None:
    first = list(_grabcut_inputs([100] * 3, 4, (200, 30, 30)))
    scene = ArrayFrame(noise(W, H, 9))
    empty = [GrabCutInput(scene, (), None, Region(cut=not t), keyframe=not t) for t in range(3)]
    regions = list(add_silhouettes([*first, *empty]))
    assert [bool(r.mask is not None and r.mask.any()) for r in regions] == [True] * 3 + [False] * 3


def test_real_people_are_covered_and_the_background_is_not() -> None:
    regions = list(People(detector="hog")(clip("uti/punch/set1_0_1_4.mp4", 30)))
    assert len(regions) == 30
    for region in regions:
        assert region.mask is not None
        assert region.mask[40:260, 105:125].mean() > 0.95 * 255  # he who stands left
        assert region.mask[40:240, 352:366].mean() > 0.95 * 255  # he who stands right
        assert (region.mask[:, 180:260] > 0).mean() < 0.1  # what lies between them
