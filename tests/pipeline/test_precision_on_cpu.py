"""`--amp` on a CPU: networks compute in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import masquerade
from masquerade.anonymizer import Anonymizer
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.device import check_half
from masquerade.errors import UsageError
from masquerade.methods import METHODS
from masquerade.pipeline.stream import precision_of
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

LEARNED = sorted(name for name, method in METHODS.items() if method.learned)


def pictures(path: Path) -> np.ndarray:
    with Reader(path) as reader:
        return np.stack([frame.rgb() for frame in reader if isinstance(frame, Frame)]).astype(int)


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = Mimes(size=64, frames=8, clips=8, people=4, actions=("walk", "squat"))
    manifest = write_mimes(tmp_path_factory.mktemp("drawn") / "mimes", drawn)
    return manifest.parent / "clips" / "000000.mp4"


@pytest.mark.filterwarnings("ignore:the noise comes from --seed")
@pytest.mark.parametrize("name", LEARNED)
def test_half_precision_hides_as_well(
    name: str, small_clip: Path, tmp_path: Path, made: Callable[[str], Anonymizer]
) -> None:
    given: dict[str, Any] = {"seed": 1, "lossless": True, "regions": "frame", "device": "cpu"}
    for amp in (False, True):
        masquerade.anonymize_file(small_clip, tmp_path / f"{amp}.mkv", made(name), amp=amp, **given)
    one, two = (pictures(tmp_path / f"{amp}.mkv") for amp in (False, True))
    raw = pictures(small_clip)
    assert np.abs(one - two).mean() < 2 and np.abs(two - raw).mean() > 20


def test_the_networks_of_a_method_compute_in_bfloat16(made: Callable[[str], Anonymizer]) -> None:
    one = torch.ones(2, 2)
    for name, amp, dtype in (
        ("spact", True, torch.bfloat16),
        ("spact", False, torch.float32),
        ("blur", True, torch.float32),  # has no network
    ):
        with precision_of(made(name), amp=amp):
            assert (one @ one).dtype == dtype


def test_devices_without_it_are_refused() -> None:
    check_half(torch.device("cpu"))
    with pytest.raises(UsageError, match="--amp needs a CUDA device or the CPU"):
        check_half(torch.device("mps"))
