"""Videos whose frames are told by their level, and a method that counts the frames it sees."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.extraction import extract_dataset
from masquerade.extraction.config import (
    ExtractionConfig,
)
from masquerade.extraction.dataset import ClipDataset
from masquerade.video.encoding import Encoding
from masquerade.video.write import write_video

STEP = 6  # grey levels from a frame to the next: more than the encoder moves them
QUICK = Encoding(preset="ultrafast", crf=5)


class Mark(Anonymizer):
    """Adds one level for each frame that it has seen of the video, and counts them all."""

    seen = 0

    def __init__(self, *, depth: float = 1 / 255) -> None:
        super().__init__()
        self.depth = depth
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def init_state(self, *, seed: int | None = None) -> int:
        return 0

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state=0) -> Anonymized:
        assert not self.training and not self.weight.requires_grad
        Mark.seen += clip.shape[2]
        Mark.size = clip.shape[3:]
        number = torch.arange(state, state + clip.shape[2])[:, None, None]
        return Anonymized((clip + number * self.depth).clamp(0, 1), None, state + clip.shape[2])


def counting(path: Path, frames: int, *, offset: int = 0) -> None:
    """A video whose frame i is of level STEP * i, or white where that is above 255."""
    levels = (offset + STEP * torch.arange(frames)).float().clamp(max=255) / 255
    write_video(
        path,
        levels[None, None, :, None, None].expand(1, 3, -1, 48, 64),
        encoding=QUICK,
        overwrite=True,
    )


def manifest_of(folder: Path, rows: list[tuple]) -> Manifest:
    with (folder / "data.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "action", "first", "last"])
        out.writerows(rows)
    return read_manifest(folder / "data.csv")


def extract_clips(
    data: Manifest, *, cache=None, workers=1, open_executor=None, progress=None, **config
) -> ClipDataset:
    return extract_dataset.extract_clips(
        data,
        ExtractionConfig(**config),
        cache=cache,
        workers=workers,
        open_executor=open_executor,
        progress=progress,
    )


def pixels(store: ClipDataset) -> Tensor:
    """(N, 3, T, H, W) int."""
    return torch.stack([*store]).int()


def numbers(clip: Tensor) -> list[int]:
    """Which frames of a counting video a clip holds."""
    return [round(float(level) / STEP) for level in clip.float().mean(dim=(0, 2, 3))]


def boxes(path: Path, x: int) -> Path:
    """A file of one box 16 pixels wide and as tall as the frame, in every frame."""
    box = {"box": [x, 0, x + 16, 48]}
    frames = {str(i): [box] for i in range(40)}
    path.write_text(json.dumps({"version": 1, "width": 64, "height": 48, "frames": frames}))
    return path


def grains(folder: Path, count: int) -> Manifest:
    """Videos that method noise and every frame make different."""
    for i in range(count):
        counting(folder / f"{i}.mp4", 8 + i)
    return manifest_of(folder, [(f"{i}.mp4", "x", "", "") for i in range(count)])
