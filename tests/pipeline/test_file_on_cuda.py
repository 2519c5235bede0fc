"""Files that are anonymized on an NVIDIA GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import masquerade
from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import save
from masquerade.regions.key_extractors import NETWORKS
from masquerade.video.encoding import Encoding
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("ignore:the noise comes from --seed")]
LEARNED = ("bdq", "noise-features", "spact", "stprivacy", "vita")
CASES = [*((name, "frame") for name in LEARNED), ("spact", "faces"), ("vita", "faces")]
FEW = 0.01  # of the numbers of a video, where rounding decides between two levels or tubelets


def pictures(path: Path) -> np.ndarray:
    with Reader(path) as reader:
        return np.stack([frame.rgb() for frame in reader if isinstance(frame, Frame)]).astype(int)


def anonymized(src: Path, dst: Path, method: Anonymizer, **given: Any) -> np.ndarray:
    receipt = masquerade.anonymize_file(
        src, dst, method, seed=1, lossless=True, allow_empty=True, allow_gaps=True, **given
    )
    assert receipt.device == given["device"]
    return pictures(dst)


@pytest.mark.parametrize(("name", "regions"), CASES)
def test_a_file_is_the_cpus_but_for_rounding(
    name: str, regions: str, short_clip: Path, tmp_path: Path, made: Callable[[str], Anonymizer]
) -> None:
    one, two = (
        anonymized(short_clip, tmp_path / f"{where}.mkv", made(name), device=where, regions=regions)
        for where in ("cpu", "cuda")
    )
    assert (np.abs(one - two) > 3).mean() <= FEW


@pytest.mark.parametrize("name", LEARNED)
def test_half_precision_hides_as_well(
    name: str, short_clip: Path, tmp_path: Path, made: Callable[[str], Anonymizer]
) -> None:
    given: dict[str, Any] = {"device": "cuda", "regions": "frame"}
    one, two = (
        anonymized(short_clip, tmp_path / f"{amp}.mkv", made(name), amp=amp, **given)
        for amp in (False, True)
    )
    assert np.abs(one - two).mean() < 4 and np.abs(two - pictures(short_clip)).mean() > 1


def test_keys_of_a_template_are_computed_on_a_gpu(short_clip: Path, tmp_path: Path) -> None:
    net = NETWORKS["dino-s16"].build(16).to_empty(device="cpu")
    draw = torch.Generator().manual_seed(0)
    for weights in (*net.parameters(), *net.buffers()):
        weights.data.normal_(std=0.02, generator=draw)
    torch.save(net.state_dict(), tmp_path / "random.pth")
    given: dict[str, Any] = {
        "regions": "templates",
        "at": ("40,40",),
        "keys": "dino-s16",
        "key_weights": tmp_path / "random.pth",
    }
    one, two = (
        anonymized(
            short_clip,
            tmp_path / f"{where}.mkv",
            masquerade.build("blacken"),
            device=where,
            **given,
        )
        for where in ("cpu", "cuda")
    )
    assert (np.abs(one - two) > 3).mean() <= 0.05  # a patch more or less at the threshold


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_anonymizes_a_folder_on_a_gpu(
    workers: str, short_clip: Path, tmp_path: Path, made: Callable[[str], Anonymizer]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "in" / f"{name}.mp4").write_bytes(short_clip.read_bytes() + name.encode())
    save(made("spact"), tmp_path / "spact.safetensors")
    words = ["anonymize", "in", "-o", "out", "--method", "spact", "--weights", "spact.safetensors"]
    words += ["--device", "cuda", "--amp", "--workers", workers, "--regions", "frame"]
    done = subprocess.run(
        [sys.executable, "-m", "masquerade", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.mp4")) == ["a", "b", "c"]


def test_a_file_is_encoded_on_a_gpu_where_it_can_or_not_at_all(
    short_clip: Path, tmp_path: Path
) -> None:
    dst = tmp_path / "out.mp4"
    try:
        masquerade.anonymize_file(
            short_clip, dst, masquerade.build("blacken"), regions="frame", hwaccel="cuda"
        )
    except masquerade.MasqueradeError as error:
        assert "nvenc" in str(error) and not dst.exists()
    else:
        assert pictures(dst).max() < 30 and Encoding().hwaccel == "none"
