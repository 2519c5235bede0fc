"""Silhouette: white figures on black."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import masquerade
from masquerade.methods.silhouette import Silhouette
from masquerade.pipeline.config import PipelineConfig, with_default_regions
from masquerade.video.read import Reader


def test_output_depends_on_the_mask_alone() -> None:
    """Two videos with the same mask give the same output."""
    mask = torch.rand(1, 1, 2, 6, 8)
    outs = [Silhouette()(torch.rand(1, 3, 2, 6, 8), mask=mask).clip for _ in range(2)]
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], mask.expand(-1, 3, -1, -1, -1))


def test_bytes_are_the_mask_three_times() -> None:
    mask = np.random.default_rng(0).integers(0, 256, (2, 5, 8), np.uint8)
    out, _ = Silhouette().on_bytes(np.zeros((2, 5, 8, 3), np.uint8), mask=mask)
    assert out.dtype == np.uint8 and np.array_equal(out, np.stack([mask] * 3, axis=-1))


def test_default_regions_are_people() -> None:
    found = [
        with_default_regions(PipelineConfig(regions=regions), Silhouette()).regions
        for regions in (None, "frame", "faces", "boxes:a.json")
    ]
    assert found == ["people", "people", "faces", "boxes:a.json"]


def test_video_without_detections_is_black(tmp_path: Path) -> None:
    """Fails closed, where other methods would show every frame unchanged."""
    still = torch.linspace(0.2, 0.8, 192).expand(1, 3, 16, 160, -1)
    masquerade.write_video(tmp_path / "in.mp4", still)
    masquerade.anonymize_file(
        tmp_path / "in.mp4",
        tmp_path / "out.mkv",
        masquerade.build("silhouette"),
        lossless=True,
        allow_empty=True,
        allow_gaps=True,
    )
    with Reader(tmp_path / "out.mkv") as reader:
        frames = np.stack([frame.rgb() for frame in reader])
    assert len(frames) == 16
    assert frames.max() <= 2
