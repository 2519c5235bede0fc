"""Clips of a method that computes on another device than the CPU."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.extraction.store import ClipCache
from masquerade.video.encoding import Encoding
from masquerade.video.write import write_video

OTHER = "cpu:0"  # to torch a device like any other
VIDEOS = 6  # as many as processes are started for


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Some short videos of noise."""
    folder = tmp_path_factory.mktemp("videos")
    draw = torch.Generator().manual_seed(0)
    for number in range(VIDEOS):
        noise = torch.rand(1, 3, 8, 12, 16, generator=draw)
        clip = torch.nn.functional.interpolate(noise[0].transpose(0, 1), scale_factor=4)
        path = folder / f"{number}.mp4"
        write_video(path, clip.transpose(0, 1)[None], encoding=Encoding(preset="ultrafast"))
    with (folder / "data.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "action"])
        out.writerows([f"{number}.mp4", "wave"] for number in range(VIDEOS))
    return read_manifest(folder / "data.csv")


def clips_of(
    data: Manifest,
    method: Anonymizer,
    device: str,
    *,
    workers: int = 1,
    cache: ClipCache | None = None,
) -> np.ndarray:
    config = ExtractionConfig(frames=4, size=48, method=method, seed=1, device=device)
    found = extract_clips(data, config, workers=workers, cache=cache)
    return found.source.read(found.places).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_method_is_taken_to_the_device_and_the_callers_stays(
    workers: int, data: Manifest, made: Callable[[str], Anonymizer]
) -> None:
    method = made("bdq")
    before = list(method.parameters())
    here, there = (clips_of(data, method, where, workers=workers) for where in ("cpu", OTHER))
    assert np.array_equal(here, there)
    assert all(one is two for one, two in zip(before, method.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="no such device"):
        clips_of(data, method, "no such device", workers=workers)


def test_clips_made_on_the_fly_are_made_on_the_cpu(
    data: Manifest, tmp_path: Path, made: Callable[[str], Anonymizer]
) -> None:
    """A GPU may round otherwise the next time, and a clip has to be what it was."""
    none = ClipCache(folder=tmp_path, limit=0)
    found = clips_of(data, made("bdq"), "no such device", cache=none)
    assert np.array_equal(found, clips_of(data, made("bdq"), "cpu"))


@pytest.mark.cuda
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["bdq", "spact", "stprivacy"])
def test_a_gpu_gives_the_cpus_clips(
    name: str, workers: int, data: Manifest, made: Callable[[str], Anonymizer]
) -> None:
    method = made(name)
    one, two = (clips_of(data, method, where, workers=workers) for where in ("cpu", "cuda"))
    apart = np.abs(one.astype(int) - two.astype(int)) > 2
    assert apart.mean() <= 0.01  # rounding decides between two levels, or two tubelets
    assert all(weight.device.type == "cpu" for weight in method.parameters())
