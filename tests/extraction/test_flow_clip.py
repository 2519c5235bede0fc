"""Flow clips: how a video moves at its own rate, and what attackers on gait read of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.evaluation.gait_attackers import flow_spectrum, gait_energy_image
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.extraction.flow_clip import COLUMNS, ROWS, flow_clip, flow_frame
from masquerade.methods import build

STILL = 128
RNG = np.random.default_rng(3)
SCENE = RNG.integers(0, 60, (96, 128)).astype(np.uint8)
CLOTH = RNG.integers(120, 255, (24, 24)).astype(np.uint8)


def moving(steps: list[tuple[int, int]], *, at: tuple[int, int] = (30, 40)) -> list[np.ndarray]:
    """Frames of a patch before a still scene that moves by (right, down) from one to the next."""
    (y, x), frames = at, []
    for right, down in [(0, 0), *steps]:
        y, x = y + down, x + right
        frame = SCENE.copy()
        frame[y : y + 24, x : x + 24] = CLOTH
        frames.append(frame)
    return frames


def test_a_still_video_has_no_flow_and_no_outline() -> None:
    clip = flow_clip([SCENE] * 7)
    assert clip.shape == (3, 6, ROWS, COLUMNS) and clip.dtype == np.uint8
    assert (np.abs(clip[:2].astype(int) - STILL) <= 1).all() and not clip[2].any()


def test_flow_points_back_to_where_things_were() -> None:
    right = flow_clip(moving([(3, 0)] * 8))
    down = flow_clip(moving([(0, 2)] * 8))
    inside = np.s_[:, 12:20, 8:16]
    assert right[0][inside].mean() < STILL - 5 and abs(right[1][inside].mean() - STILL) < 3
    assert down[1][inside].mean() < STILL - 5 and abs(down[0][inside].mean() - STILL) < 3
    assert right[2].mean() > 20  # what moves differs from the still scene


def test_the_spectrum_does_not_tell_where_in_the_frame_somebody_moves() -> None:
    slow = [(0, 2), (0, 2), (0, 2), (0, -2), (0, -2), (0, -2)] * 4
    quick = [(0, 2), (0, -2)] * 12

    def spectrum(steps: list[tuple[int, int]], at: tuple[int, int]) -> torch.Tensor:
        clip = torch.from_numpy(flow_clip(moving(steps, at=at))).float() / 255
        return flow_spectrum(clip[None])[0]

    here, there = spectrum(slow, (30, 40)), spectrum(slow, (10, 90))
    other = spectrum(quick, (30, 40))
    assert (here - there).norm() < 0.5 * (here - other).norm()


def test_a_gait_energy_image_is_the_mean_outline() -> None:
    clips = torch.zeros(2, 3, 6, ROWS, COLUMNS)
    clips[1, 2, ::2, :16] = 1  # the upper half, in every other frame
    still, there = gait_energy_image(clips)
    assert not still.any()
    mean, sd = there.reshape(2, 16, 12)
    assert mean[:8].mean() == pytest.approx(0.5, abs=0.03) and not mean[9:].any()
    assert sd[:7].mean() == pytest.approx(0.5, abs=0.01)


def test_frames_are_made_small_and_keep_their_shape() -> None:
    assert flow_frame(np.zeros((480, 640, 3), np.uint8)).shape == (96, 128)
    assert flow_frame(np.zeros((64, 64, 3), np.uint8)).shape == (64, 64)
    assert flow_frame(np.zeros((9, 200, 3), np.uint8)).shape == (32, 128)


def test_flow_is_extracted_from_consecutive_frames_of_what_is_published(tmp_path: Path) -> None:
    write_mimes(tmp_path, Mimes(clips=2, frames=24, size=64))
    manifest = read_manifest(tmp_path / "manifest.csv")

    def extract(**given: object) -> np.ndarray:
        config = ExtractionConfig(content="flow", frames=16, **given)
        assert config.indices(100, 123).tolist() == list(range(103, 120))
        assert len(config.indices(0, 9)) == 17  # shorter videos are played back and forth
        clips = extract_clips(manifest, config, cache=tmp_path / "cache")
        assert clips.shape == (3, 16, ROWS, COLUMNS)
        return clips.batch(torch.arange(2)).numpy()

    raw, coarse = extract(), extract(method=build("pixelate", block=16))
    assert not np.array_equal(raw, coarse)
    assert np.array_equal(raw, extract())  # from the cache
    black = extract(method=build("blacken"))
    assert (np.abs(black[:, :2].astype(int) - STILL) <= 1).all() and not black[:, 2].any()
