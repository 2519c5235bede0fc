"""Pictures of raw and anonymized held-out clips, one an epoch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.storage import atomic_write
from masquerade.training.data import AdversarialBatches
from masquerade.training.validation import inference_output

CLIPS, FRAMES = 4, 4
SIDE = 96  # pixels that a small frame is enlarged to at least


def write_samples(
    anonymizer: Anonymizer, batches: AdversarialBatches, folder: Path, epoch: int
) -> Path:
    """Write `folder/0007.png`: each held-out clip in two rows, raw above anonymized.

    It shows the originals: it is not for release.
    """
    batch = next(batches.held_out())
    with torch.no_grad():
        out, _ = inference_output(anonymizer.eval(), batch.clips[:CLIPS])
    path = folder / f"{epoch:04d}.png"
    with atomic_write(path, overwrite=True) as part:
        done, png = cv2.imencode(".png", grid(batch.clips[:CLIPS], out)[..., ::-1])
        assert done
        part.write_bytes(png.tobytes())
    return path


def grid(raw: Tensor, out: Tensor) -> NDArray[np.uint8]:
    """(H, W, 3), raw frames above anonymized ones, clip under clip; of two (B, 3, T, H, W)."""
    frames = raw.shape[2]
    at = torch.linspace(0, frames - 1, min(FRAMES, frames)).round().long()
    both = torch.stack([raw, out], 1)[:, :, :, at.to(raw.device)]  # (B, 2, 3, t, H, W)
    pixels = (both.clamp(0, 1) * 255).round().byte().cpu().numpy()
    rows = [np.concatenate(list(row.transpose(1, 2, 3, 0)), 1) for pair in pixels for row in pair]
    picture = np.concatenate(rows, 0)
    times = max(1, round(SIDE / raw.shape[-2]))
    return np.asarray(picture.repeat(times, 0).repeat(times, 1), np.uint8)
