"""Extract the clips of one video in memory: decode, anonymize, choose and resize frames.

A clip may also be the sequence of poses that is seen in the anonymized frames, at their full size.

The anonymizer is frozen and works at the video's own rate and size, as it would on a file; then
frames are chosen and made small. With `sample_first` only the chosen frames are anonymized, as the
papers' protocols do (`docs/papers.md` 6).
"""

from __future__ import annotations

import hashlib
import os
import pickle
import secrets
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Person, Pixels
from masquerade.datasets.clip_sampling import aspect_crops
from masquerade.datasets.manifest import IntArray
from masquerade.errors import MasqueradeError, VideoError
from masquerade.extraction.config import (
    PIXELS,
    PUBLISHED,
    ExtractionConfig,
    region_class,
    region_names,
    region_source,
)
from masquerade.extraction.flow_clip import flow_clip, flow_frame
from masquerade.extraction.packet_clip import packet_clip
from masquerade.extraction.poses import drawn_people, find_people, pose_sequence
from masquerade.extraction.region_cache import CachedRegions
from masquerade.extraction.stacked_clip import small_frame, stacked_clip
from masquerade.methods.drawn_people import DrawnPeople
from masquerade.pipeline.coverage import CoverageCounter, FrameCounts
from masquerade.pipeline.stream import Cover, anonymize_stream
from masquerade.process_pool import processes
from masquerade.regions.region import check_region
from masquerade.storage import TemporaryFolder
from masquerade.video.decoding_process import count_frames
from masquerade.video.encoding import container_for
from masquerade.video.frame import Frame
from masquerade.video.probe import images_in, list_packets, video_digest
from masquerade.video.read import Reader
from masquerade.video.write import Writer

Frames = dict[int, NDArray[np.uint8]]  # frame number to (h, w, 3), or (crops, h, w, 3)
# (3, T, H, W) or a pose sequence, as numpy, which needs no shared memory to be sent; or why it is
# not there
ClipOrError = NDArray[Any] | MasqueradeError

FOLDER_RATE = Fraction(25)  # frames a second of a folder of frames
MIN_VIDEOS = 6  # below which starting processes costs more than it saves


NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


class ExtractedVideo(NamedTuple):
    """The clips of a video, one a row, and in how many of its frames something was hidden."""

    clips: list[ClipOrError]
    counts: FrameCounts  # of all frames that were anonymized; none of raw video


class ShownFrame(NamedTuple):
    """A frame as it is published, and the people that its region source found."""

    frame: Frame
    pixels: Pixels
    people: Sequence[Person] = ()


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
        cut = (
            _clip_maker(video, np.unique(np.concatenate(known)), config, counter) if known else None
        )
    except MasqueradeError as error:
        return ExtractedVideo([error] * len(video.rows), FrameCounts())
    clips: list[ClipOrError] = []
    for numbers in each:
        if isinstance(numbers, MasqueradeError):
            clips.append(numbers)
        elif cut is not None:
            clips.append(cut(numbers))
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


def _clip_maker(
    video: VideoRows, needed: IntArray, config: ExtractionConfig, counter: CoverageCounter
) -> Callable[[IntArray], NDArray[Any]]:
    """Read the frames that a video's rows need; returns what makes a clip of some of them."""
    people: dict[int, Sequence[Person]] = {}
    frames: dict[int, NDArray[np.uint8]] = {}  # resized, see `resize`, or for flow grey
    seed = _noise_seed(video, config)
    with _open(video.path) as reader:
        size = reader.info.width, reader.info.height
        items = _anonymized(video, reader, needed, config, counter, seed)
        if config.content == "packets":
            with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
                written, order = _write_file(reader, items, Path(folder))
                packets = dict(zip(order, list_packets(written), strict=True))
            said = zip(counter.share, counter.regions, strict=True)
            receipt = dict(zip(order, said, strict=False))  # of raw video none
            _check_read(video, needed, packets)
            return partial(packet_clip, packets, receipt, size=size)
        if _reads_people(config):
            people = {item.frame.index: item.people for item in items}
        else:
            shown: Iterator[tuple[int, Pixels]] = (
                _through_file(reader, items, config)
                if config.through_file
                else ((item.frame.index, item.pixels) for item in items)
            )
            if config.content == "poses":
                numbers: list[int] = []
                for persons in find_people(_numbered(shown, numbers)):
                    people[numbers[len(people)]] = persons
            else:
                some = set(needed.tolist())
                small: Callable[[Pixels], NDArray[np.uint8]] = partial(resize, config=config)
                small = {"flow": flow_frame, "stacked": small_frame}.get(config.content, small)
                frames = {i: small(pixels) for i, pixels in shown if i in some}
    if config.content == "joints":
        assert isinstance(config.method, DrawnPeople)
        seed = secrets.randbits(48) if seed is None else seed
        people = dict(drawn_people(people.items(), config.method, seed=seed))
    _check_read(video, needed, frames or people)
    if config.content == "frames":
        return partial(_stack, frames, length=config.frames)
    if config.content == "flow":
        return lambda numbers: flow_clip([frames[int(i)] for i in numbers])
    if config.content == "stacked":
        return lambda numbers: stacked_clip([frames[int(i)] for i in numbers])
    return partial(pose_sequence, people, size=size)


def _check_read(video: VideoRows, needed: IntArray, read: Mapping[int, Any]) -> None:
    if not set(needed.tolist()) <= read.keys():
        raise VideoError(f"{video.path.name} gives fewer frames than its {needed[-1] + 1} packets.")


def _numbered(shown: Iterator[tuple[int, Pixels]], numbers: list[int]) -> Iterator[Any]:
    """Yield pixels, and note the numbers of their frames."""
    for number, pixels in shown:
        numbers.append(number)
        yield pixels


def _stack(frames: Frames, numbers: IntArray, length: int) -> NDArray[np.uint8]:
    """(3, T, H, W) of some frames; of crops one after another in each window of this length."""
    stacked = np.stack([frames[int(i)] for i in numbers])  # (T, H, W, 3) or (T, crops, H, W, 3)
    if stacked.ndim == 5:
        windows = stacked.reshape(-1, length, *stacked.shape[1:]).swapaxes(1, 2)
        stacked = windows.reshape(-1, *stacked.shape[2:])
    return np.ascontiguousarray(stacked.transpose(3, 0, 1, 2))


def _open(path: Path) -> Reader:
    """Open a video, or a folder of frames, which has no rate of its own."""
    return Reader(path, force_8bit=True, threads=1, rate=FOLDER_RATE if path.is_dir() else None)


def _anonymized(
    video: VideoRows,
    reader: Iterable[Any],
    needed: IntArray,
    config: ExtractionConfig,
    counter: CoverageCounter,
    seed: int | None,
) -> Iterator[ShownFrame]:
    """Yield each frame as it is shown; of raw video only what is read later.

    The `counter` is told what was hidden.
    """
    frames = (item for item in reader if isinstance(item, Frame))
    raw = config.method is None and not config.through_file and config.content in PIXELS
    sampled = config.sample_first and config.content != "packets"  # a file has all frames
    if sampled or raw:
        some = set(needed.tolist())
        frames = (frame for frame in frames if frame.index in some)
    source = region_source(config.regions)
    cover = config.cover or Cover(shape=getattr(source, "shape", "ellipse"))
    if config.region_cache is not None:
        read = needed.tobytes() if sampled else b""
        name = hashlib.sha256(_digest(video).encode() + read).hexdigest()[:40]
        source = CachedRegions(source, config.region_cache / f"{name}.npz")
    if _reads_people(config):
        with_frames, for_regions = tee(frames)
        for frame, region in zip(with_frames, source(for_regions), strict=True):
            yield ShownFrame(frame, NO_PIXELS, check_region(region, frame).people)
        return
    if config.method is None:
        for frame in frames:
            yield ShownFrame(frame, frame.rgb())
        return
    cover = cover._replace(outside=config.outside)
    items = anonymize_stream(frames, config.method, source, cover=cover, seed=seed)
    with closing(items):  # type: ignore[type-var]
        for item in items:
            counter.add(item.region, item.mask)
            yield ShownFrame(item.frame, item.pixels, item.region.people)


def _reads_people(config: ExtractionConfig) -> bool:
    """Whether clips are made of the people that a region source finds, and pixels of nobody."""
    known = config.method is None and config.regions is not None
    return config.content == "joints" or (config.content == "poses" and known)


def _noise_seed(video: VideoRows, config: ExtractionConfig) -> int | None:
    """The seed of a method's noise in one video; None: the system's entropy.

    Each video has its own: noise that is repeated could be learned from others.
    """
    if config.seed is None:
        return None
    text = f"{config.seed} {_digest(video)}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")


def resize(pixels: Pixels, config: ExtractionConfig) -> NDArray[np.uint8]:
    """Resize a frame (H, W, 3) by area where it shrinks: the whole frame, or (crops, h, w, 3)."""
    height, width = config.shape[2:]
    if config.aspect == "crop":
        tall, wide = pixels.shape[:2]
        parts = aspect_crops(tall, wide, (height, width), number=config.crops)
        return np.stack(
            [_squeeze(pixels[y : y + h, x : x + w], height, width) for y, x, h, w in parts]
        )
    return _squeeze(pixels, height, width)


def _squeeze(pixels: Pixels, height: int, width: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (height, width):
        return np.asarray(pixels, np.uint8)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _through_file(
    reader: Reader,
    items: Iterable[ShownFrame],
    config: ExtractionConfig,
) -> Iterator[tuple[int, Pixels]]:
    """Write the frames to a file as `anonymize` does, and yield numbers and pixels read from it."""
    with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
        out, numbers = _write_file(reader, items, Path(folder))
        with Reader(out, force_8bit=True, threads=1, trusted=True) as again:
            for frame in again:
                if isinstance(frame, Frame):
                    yield numbers[frame.index], frame.rgb()


def _write_file(
    reader: Reader, items: Iterable[ShownFrame], folder: Path
) -> tuple[Path, list[int]]:
    """Write the frames to a file as `anonymize` does; which of the source's each of them is."""
    out, numbers = folder / "anonymized.mp4", []
    kind = container_for(out, PUBLISHED)
    with Writer(
        out, info=reader.info, container=kind, encoding=PUBLISHED, force_8bit=True
    ) as writer:
        for item in items:
            writer.write(item.pixels, item.frame)
            numbers.append(item.frame.index)
    return out, numbers


def _digest(video: VideoRows) -> str:
    return video.digest or video_digest(video.path)
