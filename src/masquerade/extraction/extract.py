"""Anonymize the videos of a manifest once, and keep a small clip of each row on disk."""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.clip_sampling import Padding
from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError, VideoError
from masquerade.extraction.config import (
    ExtractionConfig,
    RegionFactory,
    config_digest,
    region_cache_folder,
)
from masquerade.extraction.dataset import ClipDataset, ClipSource
from masquerade.extraction.on_the_fly import ClipsOnTheFly
from masquerade.extraction.store import (
    ClipCache,
    ClipStore,
    check_space,
    clip_key,
    size_text,
    stored_bytes,
)
from masquerade.extraction.video_clips import Video, can_be_sent, extract_videos
from masquerade.pipeline.stream import Cover
from masquerade.storage import TemporaryFolder
from masquerade.video.probe import video_digest

Progress = Callable[[int, int], None]

WRITE_BYTES, WRITE_SECONDS = 64 << 20, 5.0  # of clips that wait in memory to be written together


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
    cache: Path | ClipCache | None = None,
    through_file: bool = False,
    sample_first: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> ClipDataset:
    """Anonymize a dataset's videos once, and cut them into small clips.

    The clips are written to a file as they are made, and read from it through a memory map; those
    that the cache holds already, of this or another manifest, are not made again.

    Args:
        manifest: the clips; rows with a range of frames get those frames of the anonymized video.
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
        cache: a folder of clips, or one with a limit; None: a temporary one, which is removed with
            the dataset.
        through_file: write each anonymized video to a file as a user would, and read it again.
        sample_first: anonymize only the frames of the clip (the papers' protocol).
        workers: processes; 1: none but this one. A script that asks for more does its work under
            `if __name__ == "__main__":`, since they import it.
        progress: called with (videos done, videos in all).

    Raises:
        UsageError: not a single clip could be read; or clips through files are above the limit.
        MasqueradeError: the clips do not fit on the disk, or the folder cannot be written.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(frames, height, width, stride or 1) < 1:
        raise UsageError("Clips need at least one frame, one pixel and a stride of 1.")
    config = ExtractionConfig(
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
    kept = cache if isinstance(cache, ClipCache) else ClipCache(folder=cache)
    temporary = TemporaryFolder() if kept.folder is None else None
    folder = temporary.path if temporary else kept.folder
    assert folder is not None
    name = "clips"
    if kept.folder is not None:
        config = replace(config, region_cache=region_cache_folder(folder, config))
        name = store_name(config)
    videos = _videos(manifest, config, digests=kept.folder is not None)
    store = ClipStore(folder / name, config.shape)
    new = store.clip_bytes * sum(store.place(key) is None for _, keys in videos for key in keys)
    on_the_fly = new > 0 and stored_bytes(folder) + new > kept.limit
    line = _size_line(len(manifest), new, store, folder, kept.limit if on_the_fly else None)
    if on_the_fly and through_file:
        raise UsageError(
            f"{line}, but a file that is encoded again need not be the same: give a larger "
            "--store-limit."
        )
    if new and kept.report:
        kept.report(line)
    if on_the_fly:
        if method is not None and seed is None:  # each reading must give the same clips
            config = replace(config, seed=secrets.randbits(48))
            temporary = temporary or TemporaryFolder()
        index = (temporary.path if temporary else folder) / name
        store = ClipStore(index, config.shape, pixels=False)
    else:
        check_space(folder, new)
    skipped, passes = _fill(store, videos, config, workers=workers, progress=progress)
    return _dataset(
        store,
        videos,
        config,
        skipped,
        passes,
        workers=workers if on_the_fly else 0,
        owner=temporary,
    )


def _videos(
    manifest: Manifest, config: ExtractionConfig, *, digests: bool
) -> list[tuple[Video, list[bytes]]]:
    """Each file of the manifest, however many rows it has, and the keys of its clips.

    Without digests the keys are of the path, which is enough for a store of a single run.
    """
    rows: dict[Path, list[int]] = {}
    for row, clip in enumerate(manifest.clips):
        rows.setdefault(manifest.path(clip), []).append(row)
    videos = []
    for path, mine in rows.items():
        clips = [manifest.clips[row] for row in mine]
        video = Video(path, tuple(mine), tuple((clip.first, clip.last) for clip in clips))
        if digests:
            with suppress(VideoError):  # its extraction gives the reason
                video = video._replace(digest=video_digest(path))
        videos.append((video, clip_keys(video, config)))
    return videos


def clip_keys(video: Video, config: ExtractionConfig) -> list[bytes]:
    """What names each of a video's clips in a store.

    A clip of some frames does not depend on other rows of the same video, unless these frames alone
    are anonymized: then a method with a state has seen the other rows' frames too.
    """
    text = video.digest or f"path {video.path}"
    if config.sample_first:
        text += f" {video.ranges}"
    content = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return [clip_key(content, first, last) for first, last in video.ranges]


def store_name(config: ExtractionConfig) -> str:
    """The folder's name of an extraction's store, of all that changes its clips but the videos."""
    return f"clips-{config_digest(config)[:16]}"


def _size_line(count: int, new: int, store: ClipStore, folder: Path, limit: float | None) -> str:
    _, frames, height, width = store.shape
    whole = count * store.clip_bytes
    line = f"clips: {count:,} x {frames} x {height} x {width}, {size_text(whole)}"
    if limit is not None:
        over = f"{line}, more than the {size_text(limit)} that {folder} may hold"
        return f"{over}: they are made on the fly"
    return f"{line} in {folder}" + ("" if new == whole else f", {size_text(new)} of it new")


def _fill(
    store: ClipStore,
    videos: Sequence[tuple[Video, list[bytes]]],
    config: ExtractionConfig,
    *,
    workers: int,
    progress: Progress | None,
) -> tuple[dict[int, str], int]:
    """Extract the clips that the store lacks; gives why rows have none, and the videos read."""
    missing = []
    for video, keys in videos:
        lacks = [i for i, key in enumerate(keys) if store.place(key) is None]
        if lacks and config.sample_first:  # the clips depend on each other
            lacks = list(range(len(keys)))
        if lacks:
            missing.append((video.take(lacks), [keys[i] for i in lacks]))
    done = len(videos) - len(missing)
    if progress:
        progress(done, len(videos))
    skipped: dict[int, str] = {}
    writer = _Writer(store)
    found = extract_videos((video for video, _ in missing), config, workers=workers)
    try:
        with closing(found):  # after an exception its processes end at once
            for (video, clips), (_, keys) in zip(found, missing, strict=True):
                for row, key, clip in zip(video.rows, keys, clips, strict=True):
                    if isinstance(clip, Tensor):
                        writer.add(key, clip)
                    else:
                        skipped[row] = str(clip)
                done += 1
                if progress:
                    progress(done, len(videos))
    finally:
        writer.flush()
    return dict(sorted(skipped.items())), len(missing)


class _Writer:
    """Writes clips to a store, a few together: each writing waits for the disk."""

    def __init__(self, store: ClipStore) -> None:
        self._store = store
        self._waiting: dict[bytes, Tensor] = {}
        self._last = time.monotonic()

    def add(self, key: bytes, clip: Tensor) -> None:
        self._waiting[key] = clip
        full = len(self._waiting) * self._store.clip_bytes >= WRITE_BYTES
        if full or time.monotonic() - self._last >= WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if waiting:
            self._store.append(waiting)
        self._last = time.monotonic()


def _dataset(
    store: ClipStore,
    videos: Sequence[tuple[Video, list[bytes]]],
    config: ExtractionConfig,
    skipped: dict[int, str],
    passes: int,
    *,
    workers: int,
    owner: object,
) -> ClipDataset:
    """The rows that have a clip, in ascending order."""
    found = sorted(
        (row, place, number, i)
        for number, (video, keys) in enumerate(videos)
        for i, (row, key) in enumerate(zip(video.rows, keys, strict=True))
        if (place := store.place(key)) is not None
    )
    if not found:
        reason = next(iter(skipped.values()), "the manifest is empty")
        raise UsageError(f"Not one clip could be read; the first was left out because: {reason}")
    rows, places, *where = np.array(found, dtype=np.int64).T
    source: ClipSource
    if store.pixels:
        source = store.mapped(owner=owner)
    else:
        only = tuple(video for video, _ in videos)
        source = ClipsOnTheFly(config, only, np.stack(where, 1), store.digests[places])
        places = np.arange(len(rows))
    return ClipDataset(
        source=source,
        places=places,
        rows=rows,
        skipped=skipped,
        passes=passes,
        workers=workers if workers > 1 and can_be_sent(config) else 0,
    )
