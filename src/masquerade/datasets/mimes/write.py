"""Writing mimes as video files with a manifest and, if wanted, pixel-level ground truth."""

import stat
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from masquerade.datasets.manifest import write_manifest
from masquerade.datasets.mimes.dataset import Mimes, clip_path
from masquerade.errors import MasqueradeError, UsageError
from masquerade.storage import TemporaryFolder
from masquerade.video.encoding import Encoding
from masquerade.video.write import write_video

RATE = Fraction(12)
"""Frames a second at which the motions look natural."""


def write_mimes(folder: Path, mimes: Mimes, *, truth: bool = False, crf: int = 10) -> Path:
    """Write `manifest.csv` and `clips/000000.mp4` and so on, all or nothing; the manifest's path.

    Args:
        folder: a new or empty one.
        mimes: the clips.
        truth: also write `truth/000000.npz` with parts, keypoints and flow (half precision).
        crf: quality of H.264, lower is better.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already and not empty; name a new folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFolder(folder.parent) as part:
            _fill(part, mimes, truth=truth, encoding=Encoding(crf=crf, threads=1))
            part.chmod(stat.S_IMODE((part / "clips").stat().st_mode))  # as of any new folder
            part.replace(folder)
    except OSError as error:
        raise MasqueradeError(f"{folder} cannot be written: {error.strerror}.") from error
    return folder / "manifest.csv"


def _fill(folder: Path, mimes: Mimes, *, truth: bool, encoding: Encoding) -> None:
    (folder / "clips").mkdir()
    if truth:
        (folder / "truth").mkdir()
    for i in range(len(mimes)):
        drawn = mimes.clip(i) if truth else None
        pixels = mimes.pixels([i])[0] if drawn is None else drawn.clip
        clip = torch.from_numpy(pixels)[None] / 255  # (1, 3, T, H, W)
        write_video(folder / clip_path(i), clip, rate=RATE, encoding=encoding)
        if drawn is not None:
            np.savez_compressed(
                folder / "truth" / f"{i:06d}.npz",
                parts=drawn.parts,
                keypoints=drawn.keypoints,
                flow=drawn.flow.astype(np.float16),
            )
    write_manifest(replace(mimes.manifest, root=folder), folder / "manifest.csv")
