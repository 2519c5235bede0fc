"""Stacked pictures show more than one frame does: of noise, and of mosaics while things move."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.extraction.stacked_clip import (
    COLUMNS,
    ROWS,
    WINDOW,
    small_frame,
    stack_frames,
    stacked_clip,
    windows,
)
from masquerade.methods import build

HEIGHT, WIDTH, MIDDLE, EDGE = 96, 128, WINDOW // 2, 12


def scene() -> np.ndarray:
    """A wall of blots and letters, larger than the picture."""
    rng = np.random.default_rng(0)
    wall = np.zeros((2 * HEIGHT + 64, 2 * WIDTH + 64, 3))
    for sigma in (1.5, 3, 6, 12):
        blots = cv2.GaussianBlur(rng.normal(size=wall.shape), (0, 0), sigma)
        wall += blots / blots.std() * sigma**0.8
    wall = (255 * (wall - wall.min()) / np.ptp(wall)).astype(np.uint8)  # as letters need
    for line in range(8):
        place = (10 + 20 * (line % 3), 40 + 28 * line)
        cv2.putText(wall, f"ABCxyz{line}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (250, 20, 90), 2)
    return wall.astype(float)


WALL = scene()


def view(right: float, down: float) -> np.ndarray:
    """The picture of a camera that looks at the wall from there."""
    there = np.float32([[1, 0, right], [0, 1, down]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(WALL, there, (WIDTH, HEIGHT), flags=flags).clip(0, 255).astype(np.uint8)


PANNED = np.stack([view(20 + 1.37 * t, 30 + 0.73 * t) for t in range(WINDOW)])


def psnr(picture: np.ndarray, raw: np.ndarray) -> float:
    """Of all but the edges, where other frames do not show what the middle one shows."""
    error = (picture.astype(float) - raw)[EDGE:-EDGE, EDGE:-EDGE]
    return float(10 * np.log10(255**2 / (error**2).mean()))


@pytest.mark.parametrize(("factor", "gain"), [(2, 1.5), (4, 1.5), (8, 0.6)])
def test_stacking_shows_more_of_downsample_than_one_frame(factor: int, gain: float) -> None:
    shown = np.asarray(build("downsample", factor=factor).on_pixels(PANNED)[0], np.uint8)
    raw, one = PANNED[MIDDLE], shown[MIDDLE]
    small = cv2.resize(one, (WIDTH // factor, HEIGHT // factor), interpolation=cv2.INTER_AREA)
    cubic = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    stacked = psnr(stack_frames(list(shown)), raw)
    assert stacked > psnr(cubic, raw) + gain > psnr(one, raw) + gain


def test_stacking_shows_more_of_a_noisy_still_video_than_one_frame() -> None:
    rng, raw = np.random.default_rng(1), PANNED[0]
    drawn = raw + rng.normal(0, 40, (WINDOW, *raw.shape))
    noisy = list(drawn.clip(0, 255).astype(np.uint8))
    assert psnr(stack_frames(noisy), raw) > psnr(noisy[MIDDLE], raw) + 9


def test_stacking_takes_little_from_a_sharp_video() -> None:
    assert psnr(stack_frames(list(PANNED)), PANNED[MIDDLE]) > 28


def test_windows_are_spread_over_the_video_and_consecutive() -> None:
    found = windows(100, 4)
    assert found.shape == (4, WINDOW) and (np.diff(found) == 1).all()
    assert found[0, 0] == 4 and found[-1, -1] <= 99
    short = windows(5, 2)
    assert short.min() == 0 and short.max() == 4 and (np.abs(np.diff(short)) == 1).all()
    assert not windows(1, 2).any()


def test_the_part_that_moves_is_cut_out() -> None:
    frames = []
    for t in range(WINDOW):
        frame = np.full((64, 128, 3), 40, np.uint8)
        frame[16:48, 60 + t : 80 + t] = (250, 20, 20)
        frames.append(frame)
    clip = stacked_clip(frames)
    assert clip.shape == (3, 1, ROWS, COLUMNS) and clip.dtype == np.uint8
    assert clip[0, 0].mean() > 100  # of the whole frames the patch is a thirteenth
    still = stacked_clip([frames[0]] * WINDOW)
    assert still[0, 0].mean() < 60


def test_frames_of_all_sizes_are_stacked() -> None:
    assert small_frame(np.zeros((480, 640, 3), np.uint8)).shape == (240, 320, 3)
    assert small_frame(np.zeros((64, 64, 3), np.uint8)).shape == (64, 64, 3)
    for height, width in ((2, 3), (5, 40), (33, 7)):
        rng = np.random.default_rng(0)
        frames = rng.integers(0, 255, (WINDOW, height, width, 3)).astype(np.uint8)
        assert stacked_clip(list(frames)).shape == (3, 1, ROWS, COLUMNS)


def test_stacks_are_extracted_of_what_is_published(tmp_path: Path) -> None:
    write_mimes(tmp_path, Mimes(clips=2, frames=20, size=48))
    manifest = read_manifest(tmp_path / "manifest.csv")

    def extract(**given: object) -> np.ndarray:
        config = ExtractionConfig(content="stacked", frames=2, **given)
        clips = extract_clips(manifest, config, cache=tmp_path / "cache")
        assert clips.shape == (3, 2, ROWS, COLUMNS)
        return clips.batch(torch.arange(2)).numpy()

    raw = extract()
    assert np.array_equal(raw, extract()) and len(np.unique(raw)) > 50
    assert not extract(method=build("blacken")).any()
