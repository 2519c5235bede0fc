"""Writing mimes as video files with a manifest and, if wanted, pixel-level ground truth."""

import os
import stat
from contextlib import suppress
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
    there = os.path.lexists(folder)
    refusal = f"{folder} is there already and is no empty folder; name a new one."
    if there and not folder.is_dir():
        raise UsageError(refusal)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # an empty folder may be one that cannot be replaced, such as `.` or a mounted volume
        with TemporaryFolder(folder if there else folder.parent) as temporary:
            if there and any(path != temporary for path in folder.iterdir()):
                raise UsageError(refusal)
            part = temporary / "drawn"
            part.mkdir()
            _fill(part, mimes, truth=truth, encoding=Encoding(crf=crf, threads=1))
            if there:
                _move(part, folder)
            else:
                part.chmod(stat.S_IMODE((part / "clips").stat().st_mode))  # as of any new folder
                part.replace(folder)
    except OSError as error:
        raise MasqueradeError(f"{folder} cannot be written: {error.strerror}.") from error
    return folder / "manifest.csv"


def _move(part: Path, folder: Path) -> None:
    """Move what was drawn into an empty folder, the manifest last, or nothing of it."""
    names = sorted((path.name for path in part.iterdir()), key="manifest.csv".__eq__)
    try:
        for name in names:
            (part / name).rename(folder / name)
    except BaseException:
        for name in names:
            with suppress(FileNotFoundError):  # it was not moved yet
                (folder / name).rename(part / name)
        raise


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
