"""Clips in memory: a dataset anonymized once and cut into small clips, for any number of fits.

The anonymizer is frozen and rewrites the whole video at its own rate and size, as it would a file;
then frames are chosen and made small (FACTS 6, #41 and #42). What cannot be read is left out and
told, never replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.datasets.sampling import Padding
from masquerade.errors import UsageError
from masquerade.extraction.cache import ClipCache, seen_by
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.extraction.extraction import Job, Pass, RegionFactory, passed_all
from masquerade.pipeline.stream import Cover

Progress = Callable[[int, int], None]


def extract_clips(
    manifest: Manifest,
    *,
    frames: int = 16,
    size: int | tuple[int, int] = 64,
    stride: int | None = None,
    padding: Padding = "repeat",
    method: Anonymizer | None = None,
    regions: RegionFactory | str | None = None,
    cover: Cover | None = None,
    outside: Literal["keep", "black"] = "keep",
    seed: int | None = None,
    cache: Path | None = None,
    through_file: bool = False,
    sample_first: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> ClipDataset:
    """Anonymize a dataset's videos once, and cut them into small clips.

    Args:
        manifest: the clips; rows with a range of frames get those frames of the rewritten video.
        frames: T of a clip.
        size: side, or (height, width), in pixels; by area, the frame is squeezed to it.
        stride: source frames from one frame of the clip to the next, from the video's start; None:
            the middles of T equal parts of the whole video.
        padding: of a video that is shorter than such a clip: its last frame again, or back and
            forth.
        method: an anonymizer, which is frozen; None: raw video.
        regions: what makes the region source of one video: a name in `REGIONS`, or a class or
            `functools.partial` of one; None: the whole frame.
        cover: how boxes become masks; None: the region source's own shape.
        outside: what becomes of all that is not hidden.
        seed: of the method's noise, another stream for each video; None: the system's entropy, so
            that a run without a cache differs from the one before.
        cache: a folder for what was cut before; None: nothing is kept.
        through_file: write each rewritten video to a file as a user would, and read it again.
        sample_first: rewrite only the frames of the clip (the papers' protocol).
        workers: processes; 1: none but this one. A script that asks for more does its work under
            `if __name__ == "__main__":`, since they import it.
        progress: called with (videos done, videos in all).

    Raises:
        UsageError: not a single clip could be read.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(frames, height, width, stride or 1) < 1:
        raise UsageError("Clips need at least one frame, one pixel and a stride of 1.")
    job = Pass(
        frames=frames,
        height=height,
        width=width,
        stride=stride,
        padding=padding,
        method=None if method is None else method.eval().requires_grad_(False),
        regions=regions,
        cover=cover,
        outside=outside,
        seed=seed,
        through_file=through_file,
        sample_first=sample_first,
    )
    if cache is not None:
        job = replace(job, seen=seen_by(cache, job))
    jobs = _jobs(manifest)
    found: dict[int, Tensor] = {}
    skipped: dict[int, str] = {}
    kept = ClipCache(cache, job) if cache is not None else None
    missing = [one for one in jobs if kept is None or not kept.recall(one, found)]
    if progress:
        progress(len(jobs) - len(missing), len(jobs))
    for at, (one, clips) in enumerate(passed_all(missing, job, workers=workers), 1):
        good = [clip for clip in clips if isinstance(clip, Tensor)]
        for row, clip in zip(one.rows, clips, strict=True):
            if isinstance(clip, Tensor):
                found[row] = clip
            else:
                skipped[row] = str(clip)
        if kept is not None and len(good) == len(clips):
            kept.keep(one, good)
        if progress:
            progress(len(jobs) - len(missing) + at, len(jobs))
    return _stored(found, skipped, passes=len(missing))


def _jobs(manifest: Manifest) -> list[Job]:
    """One a file, however many rows it has."""
    rows: dict[Path, list[int]] = {}
    for row, clip in enumerate(manifest.clips):
        rows.setdefault(manifest.path(clip), []).append(row)
    jobs = []
    for path, mine in rows.items():
        clips = [manifest.clips[row] for row in mine]
        jobs.append(Job(path, tuple(mine), tuple((clip.first, clip.last) for clip in clips)))
    return jobs


def _stored(found: Mapping[int, Tensor], skipped: Mapping[int, str], *, passes: int) -> ClipDataset:
    if not found:
        reason = next(iter(skipped.values()), "the manifest is empty")
        raise UsageError(f"Not one clip could be read; the first was left out because: {reason}")
    rows: Sequence[int] = sorted(found)
    whole = from_tensor(
        torch.stack([found[row] for row in rows]), rows=np.array(rows, dtype=np.int64)
    )
    return replace(whole, skipped=dict(sorted(skipped.items())), passes=passes)
