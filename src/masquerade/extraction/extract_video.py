"""Extract the clips of one video in memory: decode, anonymize, choose and resize frames.

The anonymizer is frozen and works at the video's own rate and size, as it would on a file; then
frames are chosen and made small. With `sample_first` only the chosen frames are anonymized, as the
papers' protocols do (`docs/papers.md` 6).
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Pixels
from masquerade.datasets.manifest import IntArray
from masquerade.errors import MasqueradeError, VideoError
from masquerade.extraction.config import (
    ExtractionConfig,
    region_class,
    region_names,
    region_source,
)
from masquerade.extraction.region_cache import CachedRegions
from masquerade.pipeline.coverage import CoverageCounter, FrameCounts
from masquerade.pipeline.stream import Cover, anonymize_stream
from masquerade.process_pool import processes
from masquerade.storage import TemporaryFolder
from masquerade.video.decoding_process import count_frames
from masquerade.video.encoding import Encoding, container_for
from masquerade.video.frame import Frame
from masquerade.video.probe import images_in, video_digest
from masquerade.video.read import Reader
from masquerade.video.write import Writer

Frames = dict[int, NDArray[np.uint8]]  # frame number to (h, w, 3)
# (3, T, H, W), as numpy, which needs no shared memory to be sent; or why it is not there
ClipOrError = NDArray[np.uint8] | MasqueradeError

FOLDER_RATE = Fraction(25)  # frames a second of a folder of frames
MIN_VIDEOS = 6  # below which starting processes costs more than it saves


class ExtractedVideo(NamedTuple):
    """The clips of a video, one a row, and in how many of its frames something was hidden."""

    clips: list[ClipOrError]
    counts: FrameCounts  # of all frames that were anonymized; none of raw video


class VideoRows(NamedTuple):
    """A video (a file, or a folder of frames) and the rows of the manifest that are cut from it."""

    path: Path
    rows: tuple[int, ...]
    ranges: tuple[tuple[int | None, int | None], ...]  # first and last frame of each row
    digest: str | None = None  # of the content, where it is known
    keys: tuple[bytes, ...] = ()  # what names each row's clip in a store

    def take(self, places: Iterable[int]) -> VideoRows:
        """Return the same video with some of its rows."""
        at = tuple(places)
        return self._replace(
            rows=tuple(self.rows[i] for i in at),
            ranges=tuple(self.ranges[i] for i in at),
            keys=tuple(self.keys[i] for i in at),
        )


def extract_videos(
    videos: Sequence[VideoRows], config: ExtractionConfig, *, workers: int = 1
) -> Generator[tuple[VideoRows, ExtractedVideo]]:
    """Yield each video, and its clips or why there are none, in order.

    Processes share the work where there are enough videos and the method can be sent to them.
    """
    region_class(config.regions)  # refuse what makes no sense before any work
    if workers < 2 or len(videos) < MIN_VIDEOS or not can_run_in_processes(config):
        yield from ((video, extract_video(video, config)) for video in videos)
        return
    waiting: deque[tuple[VideoRows, Future[ExtractedVideo]]] = deque()
    # A process that is ended leaves its temporary files to this one.
    with TemporaryFolder() as scratch, processes(workers) as pool:
        config = replace(config, scratch=scratch)
        for video in videos:
            waiting.append((video, pool.submit(extract_video, video, config)))
            if len(waiting) > 4 * workers:  # so that finished clips do not pile up in memory
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def can_run_in_processes(config: ExtractionConfig) -> bool:
    """Return whether other processes can extract: `config` can be pickled, and no GPU is used."""
    method = config.method
    if method is not None and any(weight.device.type != "cpu" for weight in method.parameters()):
        return False
    try:
        pickle.dumps(config)
    except Exception:  # whatever a method of somebody else's raises
        return False
    return True


def extract_video(video: VideoRows, config: ExtractionConfig) -> ExtractedVideo:
    """Return a video's clips, one a row, or why there is none."""
    counter = CoverageCounter(region_names(config.regions))
    try:
        each = _frame_numbers(video, config)
        known = [numbers for numbers in each if not isinstance(numbers, MasqueradeError)]
        frames = _frames(video, np.unique(np.concatenate(known)), config, counter) if known else {}
    except MasqueradeError as error:
        return ExtractedVideo([error] * len(video.rows), FrameCounts())
    clips: list[ClipOrError] = []
    for numbers in each:
        if isinstance(numbers, MasqueradeError):
            clips.append(numbers)
        else:
            stacked = np.stack([frames[int(i)] for i in numbers])  # (T, H, W, 3)
            clips.append(np.ascontiguousarray(stacked.transpose(3, 0, 1, 2)))
    return ExtractedVideo(clips, counter.total())


def _frame_numbers(video: VideoRows, config: ExtractionConfig) -> list[IntArray | VideoError]:
    """Return the frames of each row's clip, (T,), or why the video does not have them."""
    if not os.path.exists(video.path):  # unlike Path's, it bears a name that no file can have
        raise VideoError(f"{video.path} does not exist; check the manifest.")
    count = len(images_in(video.path)) if video.path.is_dir() else count_frames(video.path)
    each: list[IntArray | VideoError] = []
    for first, last in video.ranges:
        start, stop = first or 0, count - 1 if last is None else last
        inside = 0 <= start <= stop < count
        reason = f"{video.path.name} has {count} frames: frames {start} to {stop} are not in it."
        each.append(config.indices(start, stop) if inside else VideoError(reason))
    return each


def _frames(
    video: VideoRows, needed: IntArray, config: ExtractionConfig, counter: CoverageCounter
) -> Frames:
    """Return the resized frames that a video's rows need, by their number."""
    some = set(needed.tolist())
    with _open(video.path) as reader:
        items = _anonymized(video, reader, needed, config, counter)
        if config.through_file:
            frames = _through_file(reader, items, some, config)
        else:
            frames = {
                frame.index: resize(pixels, config)
                for frame, pixels in items
                if frame.index in some
            }
    if len(frames) < len(needed):
        raise VideoError(f"{video.path.name} gives fewer frames than its {needed[-1] + 1} packets.")
    return frames


def _open(path: Path) -> Reader:
    """Open a video, or a folder of frames, which has no rate of its own."""
    return Reader(path, force_8bit=True, threads=1, rate=FOLDER_RATE if path.is_dir() else None)


def _anonymized(
    video: VideoRows,
    reader: Iterable[Any],
    needed: IntArray,
    config: ExtractionConfig,
    counter: CoverageCounter,
) -> Iterator[tuple[Frame, Pixels]]:
    """Yield each frame and its pixels as they are shown; of raw video only what is read later.

    The `counter` is told what was hidden.
    """
    frames = (item for item in reader if isinstance(item, Frame))
    if config.sample_first or (config.method is None and not config.through_file):
        some = set(needed.tolist())
        frames = (frame for frame in frames if frame.index in some)
    if config.method is None:
        for frame in frames:
            yield frame, frame.rgb()
        return
    source = region_source(config.regions)
    cover = config.cover or Cover(shape=getattr(source, "shape", "ellipse"))
    cover = cover._replace(outside=config.outside)
    if config.region_cache is not None:
        read = needed.tobytes() if config.sample_first else b""
        name = hashlib.sha256(_digest(video).encode() + read).hexdigest()[:40]
        source = CachedRegions(source, config.region_cache / f"{name}.npz")
    seed = None
    if config.seed is not None:  # one for each video: repeated noise could be learned from others
        text = f"{config.seed} {_digest(video)}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:6], "big")
    items = anonymize_stream(frames, config.method, source, cover=cover, seed=seed)
    with closing(items):  # type: ignore[type-var]
        for item in items:
            counter.add(item.region, item.mask)
            yield item.frame, item.pixels


def resize(pixels: Pixels, config: ExtractionConfig) -> NDArray[np.uint8]:
    """Resize a frame (H, W, 3) without keeping its aspect, by area where it shrinks."""
    height, width = config.shape[2:]
    if pixels.shape[:2] == (height, width):
        return np.asarray(pixels, np.uint8)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _through_file(
    reader: Reader,
    items: Iterable[tuple[Frame, Pixels]],
    needed: set[int],
    config: ExtractionConfig,
) -> Frames:
    """Write the frames to a file as `anonymize` does, and return those that are read from it."""
    encoding = Encoding(threads=1)
    with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
        out = Path(folder) / "anonymized.mp4"
        kind = container_for(out, encoding)
        numbers = []  # in the source, of each frame of the file
        with Writer(
            out, info=reader.info, container=kind, encoding=encoding, force_8bit=True
        ) as writer:
            for frame, pixels in items:
                writer.write(pixels, frame)
                numbers.append(frame.index)
        with Reader(out, force_8bit=True, threads=1, trusted=True) as again:
            return {
                numbers[frame.index]: resize(frame.rgb(), config)
                for frame in again
                if isinstance(frame, Frame) and numbers[frame.index] in needed
            }


def _digest(video: VideoRows) -> str:
    return video.digest or video_digest(video.path)
