"""The clips of one video: decoded, anonymized whole, and a few of its frames resized.

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
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import Anonymizer, Pixels
from masquerade.datasets.manifest import IntArray
from masquerade.errors import MasqueradeError, VideoError
from masquerade.extraction.config import ExtractionConfig, region_class, region_source
from masquerade.extraction.processes import processes
from masquerade.extraction.region_cache import CachedRegions
from masquerade.pipeline.stream import Cover, anonymize_stream
from masquerade.storage import TemporaryFolder
from masquerade.video.encoding import Encoding, container_for
from masquerade.video.frame import Frame
from masquerade.video.probe import count_frames, images_in, video_digest
from masquerade.video.read import Reader
from masquerade.video.write import Writer

Frames = dict[int, NDArray[np.uint8]]  # frame number to (h, w, 3)
Clip = Tensor | MasqueradeError  # (3, T, H, W) uint8, or why it is not there

FOLDER_RATE = Fraction(25)  # frames a second of a folder of frames
MIN_VIDEOS = 6  # below which starting processes costs more than it saves


class Video(NamedTuple):
    """A file, or a folder of frames, and the rows of the manifest that are cut from it."""

    path: Path
    rows: tuple[int, ...]
    ranges: tuple[tuple[int | None, int | None], ...]  # first and last frame of each row
    digest: str | None = None  # of the content, where it is known

    def take(self, places: Iterable[int]) -> Video:
        """The same video with some of its rows."""
        at = tuple(places)
        return self._replace(
            rows=tuple(self.rows[i] for i in at), ranges=tuple(self.ranges[i] for i in at)
        )


def extract_videos(
    videos: Iterable[Video], config: ExtractionConfig, *, workers: int = 1
) -> Generator[tuple[Video, list[Clip]]]:
    """Each video, and for each of its rows the clip or why there is none, in order.

    Args:
        videos: to be read.
        config: of the extraction.
        workers: processes, where there are enough videos and the method can be sent to them.
    """
    region_class(config.regions)  # refuse what makes no sense before any work
    videos = list(videos)
    if workers < 2 or len(videos) < MIN_VIDEOS or not can_be_sent(config):
        yield from ((video, extract_video(video, config)) for video in videos)
        return
    waiting: deque[tuple[Video, Future[list[NDArray[np.uint8] | MasqueradeError]]]] = deque()
    # A process that is ended leaves its temporary files to this one.
    with TemporaryFolder() as scratch, processes(workers) as pool:
        config = replace(config, scratch=scratch)
        for video in videos:
            waiting.append((video, pool.submit(_as_arrays, video, config)))
            if len(waiting) > 4 * workers:  # so that finished clips do not pile up in memory
                yield _received(*waiting.popleft())
        while waiting:
            yield _received(*waiting.popleft())


def can_be_sent(config: ExtractionConfig) -> bool:
    """Whether other processes can do the work: it can be pickled, and needs no GPU."""
    if config.method is not None and _on_gpu(config.method):
        return False
    try:
        pickle.dumps(config)
    except Exception:  # whatever a method of somebody else's raises
        return False
    return True


def extract_video(video: Video, config: ExtractionConfig) -> list[Clip]:
    """A video's clips, one a row, or why there is none."""
    try:
        wanted = _wanted(video, config)
        known = [indices for indices in wanted if not isinstance(indices, MasqueradeError)]
        frames = _frames(video, np.unique(np.concatenate(known)), config) if known else {}
    except MasqueradeError as error:
        return [error] * len(video.rows)
    return [i if isinstance(i, MasqueradeError) else _clip(frames, i) for i in wanted]


def _as_arrays(video: Video, config: ExtractionConfig) -> list[NDArray[np.uint8] | MasqueradeError]:
    """The clips as numpy, which needs no shared memory to be sent."""
    clips = extract_video(video, config)
    return [clip.numpy() if isinstance(clip, Tensor) else clip for clip in clips]


def _received(
    video: Video, future: Future[list[NDArray[np.uint8] | MasqueradeError]]
) -> tuple[Video, list[Clip]]:
    found = future.result()
    return video, [torch.from_numpy(c) if isinstance(c, np.ndarray) else c for c in found]


def _on_gpu(method: Anonymizer) -> bool:
    return any(x.device.type != "cpu" for x in method.parameters())


def _clip(frames: Frames, indices: IntArray) -> Tensor:
    stacked = np.stack([frames[int(i)] for i in indices])  # (T, H, W, 3)
    return torch.from_numpy(np.ascontiguousarray(stacked.transpose(3, 0, 1, 2)))


def _wanted(video: Video, config: ExtractionConfig) -> list[IntArray | VideoError]:
    """The frames of each row, or why the video does not have them."""
    if not os.path.exists(video.path):  # unlike Path's, it bears a name that no file can have
        raise VideoError(f"{video.path} does not exist; check the manifest.")
    count = len(images_in(video.path)) if video.path.is_dir() else count_frames(video.path)
    wanted: list[IntArray | VideoError] = []
    for first, last in video.ranges:
        start, stop = first or 0, count - 1 if last is None else last
        inside = 0 <= start <= stop < count
        reason = f"{video.path.name} has {count} frames: frames {start} to {stop} are not in it."
        wanted.append(config.indices(start, stop) if inside else VideoError(reason))
    return wanted


def _frames(video: Video, needed: IntArray, config: ExtractionConfig) -> Frames:
    """The resized frames that a video's rows need, by their number."""
    if config.through_file:
        frames = _through_file(video, needed, config)
    else:
        with _reader(video.path) as reader:
            frames = _resized(_stream(video, reader, needed, config), needed, config)
    if len(frames) < len(needed):
        raise VideoError(f"{video.path.name} gives fewer frames than its {needed[-1] + 1} packets.")
    return frames


def _reader(path: Path) -> Reader:
    """Of a video, or of a folder of frames, which has no rate of its own."""
    return Reader(path, force_8bit=True, threads=1, rate=FOLDER_RATE if path.is_dir() else None)


def _stream(
    video: Video, reader: Iterable[Any], needed: IntArray, config: ExtractionConfig
) -> Iterator[tuple[int, Any, Any]]:
    """(number, frame, anonymized pixels or None) of each frame."""
    frames = (item for item in reader if isinstance(item, Frame))
    if config.sample_first:
        some = set(needed.tolist())
        frames = (frame for frame in frames if frame.index in some)
    if config.method is None:
        for frame in frames:
            yield frame.index, frame, None
        return
    source = region_source(config.regions)
    cover = config.cover or Cover(shape=getattr(source, "shape", "ellipse"))
    cover = cover._replace(outside=config.outside)
    if config.region_cache is not None:
        read = needed.tobytes() if config.sample_first else b""
        name = hashlib.sha256(_digest(video).encode() + read).hexdigest()[:40]
        source = CachedRegions(source, config.region_cache / f"{name}.npz")
    seed = _noise_seed(video, config.seed)
    items = anonymize_stream(frames, config.method, source, cover=cover, seed=seed)
    with closing(items):  # type: ignore[type-var]
        for item in items:
            yield item.frame.index, item.frame, item.pixels


def _resized(
    items: Iterator[tuple[int, Any, Any]], needed: IntArray, config: ExtractionConfig
) -> Frames:
    some, frames = set(needed.tolist()), {}
    for number, frame, pixels in items:
        if number in some:
            full = frame.rgb() if pixels is None else pixels
            frames[number] = resize(full, config.height, config.width)
    return frames


def resize(pixels: Pixels, height: int, width: int) -> NDArray[np.uint8]:
    """A frame (H, W, 3) resized without keeping its aspect, by area where it shrinks."""
    if pixels.shape[:2] == (height, width):
        return np.asarray(pixels, np.uint8)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _through_file(video: Video, needed: IntArray, config: ExtractionConfig) -> Frames:
    """The same, read from a file that is written as `anonymize` writes it."""
    with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
        out = Path(folder) / "anonymized.mp4"
        with _reader(video.path) as reader:
            numbers = _write(out, reader, _stream(video, reader, needed, config))
        with _reader(out) as again:
            frames = (frame for frame in again if isinstance(frame, Frame))
            read = ((numbers[frame.index], frame, None) for frame in frames)
            return _resized(read, needed, config)


def _write(out: Path, reader: Reader, items: Iterator[tuple[int, Any, Any]]) -> list[int]:
    """Write frames to a file; gives the number in the source of each frame of the file."""
    encoding = Encoding(threads=1)
    kind = container_for(out, encoding)
    numbers = []
    with Writer(
        out, info=reader.info, container=kind, encoding=encoding, force_8bit=True
    ) as writer:
        for number, frame, pixels in items:
            writer.write(frame.rgb() if pixels is None else pixels, frame)
            numbers.append(number)
    return numbers


def _noise_seed(video: Video, seed: int | None) -> int | None:
    """A seed of its own for each video: repeated noise could be learned from the others."""
    if seed is None:
        return None
    text = f"{seed} {_digest(video)}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")


def _digest(video: Video) -> str:
    return video.digest or video_digest(video.path)
