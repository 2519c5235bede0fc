"""Noise that anybody can draw anew is found and subtracted; secret noise is not."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_attack import FEW, found, write

from masquerade.attack import AttackConfig, attack_files
from masquerade.attack.known_noise import MIN_CORRELATION, correlations, draw_noise, subtract
from masquerade.cli import main
from masquerade.cli.demo_clip import frames
from masquerade.methods.selective import Selective

pytestmark = pytest.mark.usefixtures("nothing_undone")


def hidden(share: float, seed: int | None) -> object:
    """A change that hides so much of each frame behind moving noise."""
    method = Selective(core=1.0)
    state = method.init_state(seed=seed)

    def change(frame: np.ndarray, number: int) -> np.ndarray:
        nonlocal state
        mask = np.full((1, *frame.shape[:2]), round(255 * share), np.uint8)
        out, state = method.on_bytes(frame[None], mask=mask, state=state)
        return out[0]

    return change


@pytest.mark.parametrize(
    ("share", "seed", "level"),
    [(0.8, 7, "recovered"), (1.0, 7, "left"), (0.8, None, "nothing")],
    ids=["soft", "whole", "secret"],
)
def test_a_face_behind_known_noise_is_recovered_where_it_is_not_covered_wholly(
    share: float, seed: int | None, level: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "published.mp4", hidden(share, seed), count=FEW)  # type: ignore[arg-type]
    (video,) = attack_files([path], AttackConfig(frames=1)).videos
    noise = found(video, "noise")
    assert noise.level == level, noise.says
    assert bool(noise.proofs) == (level == "recovered")
    assert ("seed 7" in noise.says) == (seed == 7)


def test_noise_is_found_in_transparent_pixels(tmp_path: Path) -> None:
    path, noise = tmp_path / "published.png", draw_noise(7, 128, 128)
    clear = np.zeros((128, 128), np.uint8)
    cv2.imwrite(str(path), np.dstack([cv2.cvtColor(noise, cv2.COLOR_RGB2BGR), clear]))
    (image,) = attack_files([path], AttackConfig(frames=1)).videos
    assert "seed 7" in found(image, "noise").says


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["code", None])
def test_a_published_picture_of_the_code_preset_is_inverted_and_of_the_default_is_not(
    preset: str | None, tmp_path: Path
) -> None:
    """The authors' code has one seed for all; the default draws a secret for each file."""
    raw, published = tmp_path / "raw.png", tmp_path / "published.png"
    cv2.imwrite(str(raw), cv2.cvtColor(next(iter(frames())), cv2.COLOR_RGB2BGR))
    words = ["anonymize", str(raw), "-o", str(published), "--regions", "faces", "-q"]
    words += ["--feather", "60", "--method", "selective"]
    assert main([*words, *(["--preset", preset, "--seed", "7"] if preset else [])]) == 0
    (image,) = attack_files([published], AttackConfig(), raw=raw).videos
    noise = found(image, "noise")
    decibels = re.search(r"from ([\d.]+) to ([\d.]+) dB of the raw picture", noise.says)
    if preset is None:
        assert noise.level == "nothing" and decibels is None, noise.says
        return
    assert noise.level == "recovered" and decibels is not None, noise.says
    before, after = map(float, decibels.groups())
    assert after > 30 and after > before + 10, noise.says


def test_the_strength_of_the_noise_is_that_of_the_mix() -> None:
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((16, 16, 1)))
    noise = draw_noise(3, 96, 128)
    mixed = (0.3 * picture + 0.7 * noise).round().astype(np.uint8)
    assert np.abs(subtract(mixed, noise)[8:-8, 8:-8] - picture[8:-8, 8:-8]).mean() < 12
    own, other = correlations(mixed, [noise, draw_noise(4, 96, 128)])
    assert (own > MIN_CORRELATION).all() and (other < MIN_CORRELATION / 2).all()
