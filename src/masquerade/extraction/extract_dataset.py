"""Anonymize the videos of a manifest once, and store a small clip of each row on disk."""

import copy
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.extraction.config import (
    ExtractionConfig,
    config_digest,
    region_cache_folder,
    region_names,
)
from masquerade.extraction.dataset import ClipDataset, ClipSource
from masquerade.extraction.extract_video import VideoRows, can_run_in_processes, extract_videos
from masquerade.extraction.on_the_fly import ClipsOnTheFly
from masquerade.extraction.region_cache import region_bytes
from masquerade.extraction.store import (
    ClipCache,
    ClipStore,
    check_space,
    clip_key,
    size_text,
    stored_bytes,
)
from masquerade.pipeline.coverage import FrameCounts, check_dataset_coverage
from masquerade.process_pool import OpenExecutor
from masquerade.storage import TemporaryFolder, make_private
from masquerade.video.probe import remembered_digest

Progress = Callable[[int, int], None]

WRITE_BYTES, WRITE_SECONDS = 64 << 20, 5.0  # of clips that wait in memory to be written together


def extract_clips(
    manifest: Manifest,
    config: ExtractionConfig,
    *,
    cache: Path | ClipCache | None = None,
    workers: int = 1,
    open_executor: OpenExecutor | None = None,
    progress: Progress | None = None,
) -> ClipDataset:
    """Anonymize a dataset's videos once, and cut them into small clips.

    The clips are written to a file as they are made, and read from it through a memory map; those
    that the cache holds already, of this or another manifest, are not made again.

    Args:
        manifest: the clips; rows with a range of frames get those frames of the anonymized video.
        config: the method, its regions, and how frames are chosen and resized.
        cache: a folder of clips, or one with a limit; None: a temporary one, which is removed with
            the dataset.
        workers: processes; 1: none but this one. A script that asks for more does its work under
            `if __name__ == "__main__":`, since they import it.
        open_executor: opens what reaches as many processes, which other work may share; None: new
            ones of this machine.
        progress: called with (videos done, videos in all).

    Raises:
        UsageError: clips through files are above the limit.
        OutputError: in some videos nothing was found, or in too few frames between the first and
            the last find, and the configuration does not allow it. Their clips are kept in the
            cache.
        MasqueradeError: not a single clip could be read; the clips do not fit on the disk, or the
            folder cannot be written.
    """
    if config.method is not None:
        config = replace(config, method=_as_after_training(config.method))
    clip_cache = cache if isinstance(cache, ClipCache) else ClipCache(folder=cache)
    temporary = TemporaryFolder() if clip_cache.folder is None else None
    folder = temporary.path if temporary else clip_cache.folder
    assert folder is not None
    name = "clips"
    if clip_cache.folder is not None:
        config = replace(config, region_cache=_kept_regions(folder, config, clip_cache.limit))
        name = store_name(config)
    videos = _videos(manifest, config, digests=clip_cache.folder is not None)
    store = ClipStore(folder / name, config.shape, dtype=config.dtype)
    new = _lacking(store, videos) * store.clip_bytes
    # packet clips are always kept: they are tiny, and an encoder need not give the same bytes again
    tiny = config.content == "packets"
    on_the_fly = new > 0 and not tiny and stored_bytes(folder) + new > clip_cache.limit
    line = _size_line(len(manifest), new, store, folder, clip_cache.limit if on_the_fly else None)
    if on_the_fly and config.through_file:
        raise UsageError(
            f"{line}, but a file that is encoded again need not be the same: give a larger "
            "--store-limit."
        )
    if new and clip_cache.report:
        clip_cache.report(line)
    if on_the_fly:
        config = replace(config, device="cpu")  # each reading gives the same clips
        if config.method is not None and config.seed is None:
            config = replace(config, seed=secrets.randbits(48))
            temporary = temporary or TemporaryFolder()
        index = (temporary.path if temporary else folder) / name
        store = ClipStore(index, config.shape, pixels=False, dtype=config.dtype)
    else:
        check_space(folder, new)
    if clip_cache.folder is not None:
        config = _with_region_limit(config, folder, clip_cache.limit, 0 if on_the_fly else new)
    make_private(folder)
    skipped, passes = _fill(
        [store],
        videos,
        [config],
        workers=workers,
        open_executor=open_executor,
        progress=progress,
    )
    stored = sorted(
        (row, place, number, i)
        for number, video in enumerate(videos)
        for i, (row, key) in enumerate(zip(video.rows, video.keys, strict=True))
        if (place := store.place(key)) is not None
    )
    if not stored:
        reason = next(iter(skipped.values()), "the manifest is empty")
        raise MasqueradeError(
            f"Not one clip could be read; the first was left out because: {reason}"
        )
    coverage = None
    if config.method is not None and config.content != "joints":  # no frame is anonymized for them
        coverage = check_dataset_coverage(
            {manifest.clips[row].path: store.counts(place) for row, place, *_ in stored},
            region_names(config.regions),
            allow_empty=config.allow_empty,
            allow_gaps=config.allow_gaps,
        )
    rows, places, *where = np.array(stored, dtype=np.int64).T
    source: ClipSource
    if on_the_fly:
        source = ClipsOnTheFly(config, tuple(videos), np.stack(where, 1), store.digests[places])
        places = np.arange(len(rows))
    else:
        source = store.mapped(owner=temporary)
    return ClipDataset(
        source=source,
        places=places,
        rows=rows,
        skipped=skipped,
        passes=passes,
        coverage=coverage,
        workers=workers if on_the_fly and workers > 1 and can_run_in_processes(config) else 0,
    )


def store_contents(
    manifest: Manifest,
    configs: Sequence[ExtractionConfig],
    *,
    cache: ClipCache,
    workers: int = 1,
    open_executor: OpenExecutor | None = None,
    progress: Progress | None = None,
) -> None:
    """Store clips of several contents for `extract_clips`, by anonymizing each video once.

    The configurations differ in nothing but in what clips are made of the frames that are shown.
    Nothing is done where the clips would be made on the fly, where frames are sampled before they
    are anonymized, and of raw video, of which the frames that are needed are read alone.

    Args:
        manifest: the clips.
        configs: one a content.
        cache: a folder of clips, and how much it may hold.
        workers: processes; 1: none but this one.
        open_executor: as of `extract_clips`.
        progress: called with (videos done, videos in all).

    Raises:
        MasqueradeError: the clips do not fit on the disk, or the folder cannot be written.
    """
    first = configs[0]
    if cache.folder is None or first.method is None or first.sample_first:
        return
    region_cache = _kept_regions(cache.folder, first, cache.limit)
    method = _as_after_training(first.method)
    configs = [replace(config, method=method, region_cache=region_cache) for config in configs]
    videos = _videos(manifest, first, digests=True)
    stores = [
        ClipStore(cache.folder / store_name(config), config.shape, dtype=config.dtype)
        for config in configs
    ]
    new = [_lacking(store, videos) * store.clip_bytes for store in stores]
    if stored_bytes(cache.folder) + sum(new) > cache.limit:
        return
    check_space(cache.folder, sum(new))
    configs = [_with_region_limit(each, cache.folder, cache.limit, sum(new)) for each in configs]
    lacking = [i for i, size in enumerate(new) if size]
    for i in lacking:
        if cache.report:
            cache.report(_size_line(len(manifest), new[i], stores[i], cache.folder, None))
    make_private(cache.folder)
    made = lacking or [0]  # nothing is made then, and progress is told so
    _fill(
        [stores[i] for i in made],
        videos,
        [configs[i] for i in made],
        workers=workers,
        open_executor=open_executor,
        progress=progress,
    )


def _lacking(store: ClipStore, videos: Sequence[VideoRows]) -> int:
    """Count the clips that are to be stored: those that could not be read take no space."""
    unreadable = store.unreadable()
    keys = (key for video in videos for key in video.keys)
    return sum(store.place(key) is None and key not in unreadable for key in keys)


def _kept_regions(folder: Path, config: ExtractionConfig, limit: float) -> Path | None:
    """Return the folder for found regions; None where the cache has reached its limit."""
    return region_cache_folder(folder, config) if stored_bytes(folder) < limit else None


def _with_region_limit(
    config: ExtractionConfig, folder: Path, limit: float, new: int
) -> ExtractionConfig:
    """Let regions take what the clips in a folder and `new` bytes of others leave of its limit."""
    return replace(config, region_limit=limit - new - stored_bytes(folder) + region_bytes(folder))


def _as_after_training(method: Anonymizer) -> Anonymizer:
    """Copy a method for extraction, so that the caller's own keeps its training mode."""
    return copy.deepcopy(method).eval().requires_grad_(False)


def _videos(manifest: Manifest, config: ExtractionConfig, *, digests: bool) -> list[VideoRows]:
    """Return each file of the manifest once, however many rows it has.

    Without digests its clips' keys are of the path, which is enough for a store of a single run.
    """
    rows: dict[Path, list[int]] = {}
    for row, clip in enumerate(manifest.clips):
        rows.setdefault(manifest.path(clip), []).append(row)
    videos = []
    for path, rows_of_video in rows.items():
        clips = [manifest.clips[row] for row in rows_of_video]
        video = VideoRows(
            path, tuple(rows_of_video), tuple((clip.first, clip.last) for clip in clips)
        )
        if digests:
            with suppress(VideoError):  # its extraction gives the reason
                video = video._replace(digest=remembered_digest(path))
        videos.append(video._replace(keys=clip_keys(video, config)))
    return videos


def clip_keys(video: VideoRows, config: ExtractionConfig) -> tuple[bytes, ...]:
    """Return what names each of a video's clips in a store.

    A clip of some frames does not depend on other rows of the same video, unless these frames alone
    are anonymized: then a method with a state has seen the other rows' frames too.
    """
    text = video.digest or f"path {video.path}"
    if config.sample_first:
        text += f" {video.ranges}"
    content = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return tuple(clip_key(content, first, last) for first, last in video.ranges)


def store_name(config: ExtractionConfig) -> str:
    """Name the folder of an extraction's store by all that changes its clips but the videos."""
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
    stores: Sequence[ClipStore],
    videos: Sequence[VideoRows],
    configs: Sequence[ExtractionConfig],
    *,
    workers: int,
    open_executor: OpenExecutor | None,
    progress: Progress | None,
) -> tuple[dict[int, str], int]:
    """Extract the clips that the stores lack.

    Returns, by row, why a clip could not be made, and the number of videos read.
    """
    missing = []
    for video in videos:
        lacks = [
            i
            for i, key in enumerate(video.keys)
            if any(store.place(key) is None for store in stores)
        ]
        if lacks:  # frames that are sampled first depend on the video's other rows
            missing.append(video if configs[0].sample_first else video.take(lacks))
    done = len(videos) - len(missing)
    if progress:
        progress(done, len(videos))
    skipped: dict[int, str] = {}
    counts: dict[bytes, FrameCounts] = {}
    # by store; written a few together: each writing waits for the disk
    waiting: list[dict[bytes, Tensor]] = [{} for _ in stores]
    unreadable: list[set[bytes]] = [set() for _ in stores]
    written = time.monotonic()
    extractions = extract_videos(missing, configs, workers=workers, open_executor=open_executor)
    try:
        with closing(extractions):  # after an exception its processes end at once
            for video, extracted in extractions:
                for store, content, ready, failed in zip(
                    stores, extracted, waiting, unreadable, strict=True
                ):
                    for row, key, clip in zip(video.rows, video.keys, content.clips, strict=True):
                        counts[key] = content.counts
                        if isinstance(clip, MasqueradeError):
                            skipped[row] = str(clip)
                            failed.add(key)
                        elif store.place(key) is None:
                            # what another machine's process gave can only be read
                            ready[key] = torch.from_numpy(np.require(clip, requirements="W"))
                held = sum(
                    len(ready) * store.clip_bytes
                    for store, ready in zip(stores, waiting, strict=True)
                )
                if held >= WRITE_BYTES or time.monotonic() - written >= WRITE_SECONDS:
                    _append(stores, waiting, counts)
                    written = time.monotonic()
                done += 1
                if progress:
                    progress(done, len(videos))
    finally:
        _append(stores, waiting, counts)
    for store, failed in zip(stores, unreadable, strict=True):
        store.note_unreadable(failed)
    return dict(sorted(skipped.items())), len(missing)


def _append(
    stores: Sequence[ClipStore],
    waiting: list[dict[bytes, Tensor]],
    counts: Mapping[bytes, FrameCounts],
) -> None:
    """Write clips that wait to their stores, of which they are forgotten."""
    for i, store in enumerate(stores):
        ready, waiting[i] = waiting[i], {}
        store.append(ready, counts)
