"""Saliency: eq. 1 and 2 of Ilic et al. (CVPR 2024), and calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masquerade.errors import MasqueradeError, UsageError
from masquerade.regions.hog_keys import KeyGrid
from masquerade.regions.saliency import (
    KeyCalibration,
    SaliencyConfig,
    adjust,
    calibrate_key,
    paper,
    saliency,
    strength,
    upsample,
)


def grid_of(keys: np.ndarray, height: int, width: int) -> KeyGrid:
    rows, columns = keys.shape[:2]
    y = (np.arange(rows) + 0.5) * height / rows
    x = (np.arange(columns) + 0.5) * width / columns
    return KeyGrid(keys, y.astype(np.float32), x.astype(np.float32), height, width)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_eq_1_equals_a_loop(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(2, 3, 5)).astype(np.float32)
    templates = rng.normal(size=(count, 5)).astype(np.float32)
    mean, most = saliency(keys, templates), saliency(keys, templates, combine="max")
    for r in range(2):
        for c in range(3):
            found = []
            for template in templates:
                dot = sum(float(a) * float(b) for a, b in zip(keys[r, c], template, strict=True))
                lengths = math.hypot(*map(float, keys[r, c])) * math.hypot(*map(float, template))
                found.append(max(0.0, dot / lengths))
            assert mean[r, c] == pytest.approx(sum(found) / count, abs=1e-5)
            assert most[r, c] == pytest.approx(max(found), abs=1e-5)


def test_each_cosine_is_clipped_before_they_are_averaged() -> None:
    key = np.array([[1.0, 2.0]], np.float32)
    assert saliency(key, np.stack([key[0], -key[0]])) == pytest.approx(0.5)  # not 0
    assert saliency(key, np.stack([key[0], 3 * key[0]])) == pytest.approx(1)
    assert saliency(key, np.array([[2.0, -1.0], [-1.0, -2.0]], np.float32)) == pytest.approx(0)
    assert saliency(np.zeros((1, 2), np.float32), key) == 0


def test_paper_setting_is_eq_1_exactly() -> None:
    rng = np.random.default_rng(0)
    keys, templates = rng.normal(size=(4, 5, 6)), rng.normal(size=(3, 6))
    levels = [KeyCalibration(core=0.9, ground=0.2)] * 3
    plain = saliency(keys, templates)
    assert np.array_equal(strength(keys, templates, levels, paper()), plain)


def test_calibration_separates_a_part_from_the_rest() -> None:
    rng = np.random.default_rng(1)
    part, rest = rng.normal(size=(2, 16))
    keys = np.tile(rest, (12, 12, 1)) + rng.normal(size=(12, 12, 16)) * 0.3
    keys[3:7, 3:7] = part + rng.normal(size=(4, 4, 16)) * 0.3
    keys = keys.astype(np.float32)
    level = calibrate_key(grid_of(keys, 120, 120), 4, 4)
    assert 0 <= level.ground < level.core < 1
    found = strength(keys, keys[4, 4][None], [level], SaliencyConfig(grow=0))
    inside = np.zeros((12, 12), bool)
    inside[3:7, 3:7] = True
    assert (found[inside] == 1).all() and (found[~inside] == 0).all()
    assert strength(keys, keys[4, 4][None], [level], paper()).max() <= 1
    # more templates do not weaken it, as they do in the paper
    others = np.concatenate([keys[4, 4][None], rng.normal(size=(8, 16)).astype(np.float32)])
    far = KeyCalibration(core=1.0, ground=0.9)
    assert (strength(keys, others, [level] + [far] * 8)[inside] == 1).all()
    assert strength(keys, others, [level] * 9, paper())[inside].max() < 0.6


@pytest.mark.parametrize("rows", [4, 6, 10])  # of 12: 33, 50 and 83 %
def test_calibration_separates_a_part_that_fills_much_of_its_picture(rows: int) -> None:
    rng = np.random.default_rng(1)
    part, rest = rng.normal(size=(2, 16))
    keys = np.tile(rest, (12, 12, 1)) + rng.normal(size=(12, 12, 16)) * 0.3
    keys[:rows] = part + rng.normal(size=(rows, 12, 16)) * 0.3
    keys = keys.astype(np.float32)
    level = calibrate_key(grid_of(keys, 120, 120), 2, 4)
    found = strength(keys, keys[2, 4][None], [level], SaliencyConfig(grow=0))
    assert (found[:rows] == 1).all() and (found[rows:] == 0).all()


def test_what_cannot_be_computed_is_an_error() -> None:
    """As 0 it would hide nothing."""
    keys = np.full((2, 3, 4), np.nan, np.float32)
    with pytest.raises(MasqueradeError, match="no finite numbers"):
        saliency(
            keys, np.ones((1, 4), np.float32), calibrations=[KeyCalibration(core=0.9, ground=0.2)]
        )


def test_growth_gamma_threshold_floor() -> None:
    values = np.array([[0, 0.2, 0.5, 1]], np.float32)
    assert np.allclose(adjust(values, SaliencyConfig(grow=0, gamma=0.5)), np.sqrt(values))
    assert np.allclose(adjust(values, SaliencyConfig(grow=0, threshold=0.5)), [[0, 0, 0.5, 1]])
    assert np.allclose(adjust(values, SaliencyConfig(grow=0, floor=0.3)), [[0.3, 0.3, 0.5, 1]])
    assert np.allclose(adjust(values, SaliencyConfig()), [[0.2, 0.5, 1, 1]])
    assert np.allclose(adjust(values, SaliencyConfig(grow=2)), [[0.5, 1, 1, 1]])
    for wrong in ({"gamma": 0}, {"grow": -1}, {"threshold": 2}, {"floor": -1}, {"combine": "sum"}):
        with pytest.raises(UsageError):
            SaliencyConfig(**wrong)  # type: ignore[arg-type]


def test_upsampling_is_bilinear_between_grid_centres() -> None:
    grid = grid_of(np.zeros((3, 4, 1), np.float32), 30, 40)
    ramp = np.tile(grid.x, (3, 1)).astype(np.float32)
    found = upsample(ramp, grid)
    assert found.shape == (30, 40)
    middle = np.arange(40) + 0.5
    assert np.allclose(found[10], middle.clip(5, 35), atol=0.2)  # its own x, held at the edges
    half = upsample(ramp, grid, (15, 20))
    assert np.allclose(half[5], (np.arange(20) * 2 + 1).clip(5, 35), atol=0.2)
