"""A picture of what an anonymizer makes of a few clips, to be looked at while it learns."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.storage import atomic_write
from masquerade.training.held_out import published
from masquerade.training.sides import Feed

CLIPS, FRAMES = 4, 4
SIDE = 96  # pixels that a small frame is enlarged to at least


def write_samples(anonymizer: Anonymizer, feed: Feed, folder: Path, epoch: int) -> Path:
    """Write `folder/0007.png`: each held-out clip in two rows, raw above anonymized.

    It shows the original: it is for your eyes, not for release.

    Args:
        anonymizer: as it stands.
        feed: of held-out clips.
        folder: for the pictures.
        epoch: counted from 1.

    Returns:
        The picture's path.
    """
    batch = next(feed.held_out())
    with torch.no_grad():
        out, _ = published(anonymizer.eval(), batch.clips[:CLIPS])
    path = folder / f"{epoch:04d}.png"
    with atomic_write(path, overwrite=True) as part:
        done, png = cv2.imencode(".png", grid(batch.clips[:CLIPS], out)[..., ::-1])
        assert done
        part.write_bytes(png.tobytes())
    return path


def grid(raw: Tensor, out: Tensor) -> NDArray[np.uint8]:
    """(H, W, 3) of raw frames above their anonymized ones, clip under clip.

    Args:
        raw: (B, 3, T, H, W) in [0, 1].
        out: the same, anonymized.
    """
    frames = raw.shape[2]
    at = torch.linspace(0, frames - 1, min(FRAMES, frames)).round().long()
    both = torch.stack([raw, out], 1)[:, :, :, at.to(raw.device)]  # (B, 2, 3, t, H, W)
    pixels = (both.clamp(0, 1) * 255).round().byte().cpu().numpy()
    rows = [np.concatenate(list(row.transpose(1, 2, 3, 0)), 1) for pair in pixels for row in pair]
    picture = np.concatenate(rows, 0)
    times = max(1, round(SIDE / raw.shape[-2]))
    return np.asarray(picture.repeat(times, 0).repeat(times, 1), np.uint8)
