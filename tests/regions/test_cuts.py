"""Scene cuts: a new scene is one; motion, light, flashes and noise are not."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from frames import clip, noise

from masquerade.regions.scene_cuts import THUMBNAIL, is_cut, thumbnail


def _cuts(frames: list[np.ndarray]) -> list[int]:
    small = [thumbnail(f) for f in frames]
    return [t + 1 for t, (a, b) in enumerate(pairwise(small)) if is_cut(a, b)]


def test_first_frame_is_no_cut() -> None:
    assert not is_cut(None, thumbnail(noise(64, 48)))


def test_new_scene_is_a_cut() -> None:
    one, two = noise(160, 120, 1, low=0, high=120), noise(160, 120, 2, low=100, high=255)
    assert _cuts([one, one, two, two]) == [2]


def test_noise_light_flash_and_pan_are_no_cuts() -> None:
    wide = noise(400, 120, 3)
    shaken = [np.roll(wide, 6 * t, axis=1)[:, :160] for t in range(8)]
    assert _cuts(shaken) == []
    scene = wide[:, :160]
    darker = [(scene * f).astype(np.uint8) for f in np.linspace(1, 0.3, 8)]
    assert _cuts(darker) == []
    flash = cv2.convertScaleAbs(scene, alpha=1.3, beta=60)
    assert _cuts([scene, flash, scene]) == []
    grain = np.random.default_rng(0).normal(0, 20, (6, *scene.shape))
    assert _cuts(list((scene + grain).clip(0, 255).astype(np.uint8))) == []


def test_black_and_grey_frames() -> None:
    black, grey = np.zeros((36, 64, 3), np.uint8), np.full((36, 64, 3), 128, np.uint8)
    assert thumbnail(black).shape == (THUMBNAIL[1], THUMBNAIL[0], 3)
    assert not is_cut(black, black)
    assert is_cut(black, grey)


@pytest.mark.parametrize(
    "size", [(1920, 1080), (640, 360), (639, 361), (256, 144), (64, 36), (50, 30)]
)
def test_a_thumbnail_is_the_mean_of_the_pixels_to_one_level(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    mean = cv2.resize(pixels, THUMBNAIL, interpolation=cv2.INTER_AREA)
    assert np.abs(thumbnail(pixels).astype(int) - mean).max() <= 1


def test_real_clips_have_cuts_only_between_them() -> None:
    names = ["face_car_176x144.mp4", "makeup_xvid_mp3.avi", "pancake_h264_opus.mkv"]
    scenes = [[p.rgb(THUMBNAIL) for p in clip(f"wild/{name}", 60)] for name in names]
    assert _cuts([frame for scene in scenes for frame in scene]) == [60, 120]


@pytest.mark.parametrize("name", ["crowd_mp4_named_avi.avi", "baseball_xvid_noaudio.avi"])
def test_moving_camera_is_no_cut(name: str) -> None:
    assert _cuts([p.rgb(THUMBNAIL) for p in clip(f"wild/{name}", 60)]) == []
