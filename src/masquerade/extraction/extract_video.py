"""Extract the clips of one video in memory: decode, anonymize, choose and resize frames.

A clip may also be the sequence of poses that is seen in the anonymized frames, at their full size.

The anonymizer is frozen and works at the video's own rate and size, as it would on a file; then
frames are chosen and made small. With `sample_first` only the chosen frames are anonymized, as the
papers' protocols do (`docs/papers.md` 6).
"""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import secrets
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import replace
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
    Content,
    ExtractionConfig,
    describe_factory,
    region_names,
    region_source,
)
from masquerade.extraction.flow_clip import flow_clip, flow_frame
from masquerade.extraction.packet_clip import packet_clip
from masquerade.extraction.poses import drawn_people, find_people, pose_sequence
from masquerade.extraction.region_cache import CachedRegions
from masquerade.extraction.stacked_clip import small_frame, stacked_clip
from masquerade.methods.drawn_people import DrawnPeople
from masquerade.pipeline.config import RegionConfig, encoding_for
from masquerade.pipeline.coverage import CoverageCounter, FrameCounts
from masquerade.pipeline.pictures import PictureMaker, output_info
from masquerade.pipeline.region_image import check_size
from masquerade.pipeline.stream import (
    NO_PIXELS,
    AnonymizedFrame,
    anonymize_stream,
    cover_of,
    hide_planes,
    hides_in_planes,
)
from masquerade.process_pool import (
    LocalPool,
    OpenExecutor,
    loader_of,
    naming_dead_workers,
    worker_pool,
)
from masquerade.regions.region import check_region
from masquerade.storage import TemporaryFolder
from masquerade.video.container import printable
from masquerade.video.decoding_process import count_frames
from masquerade.video.encoding import container_for, suffix_for
from masquerade.video.frame import Frame
from masquerade.video.probe import (
    FOLDER_RATE,
    PacketFacts,
    VideoInfo,
    images_in,
    list_packets_in_process,
    video_digest,
)
from masquerade.video.read import Reader
from masquerade.video.write import Writer

Frames = dict[int, NDArray[np.uint8]]  # frame number to (h, w, 3), or (crops, h, w, 3)
# (3, T, H, W) or a pose sequence, as numpy, which needs no shared memory to be sent; or why it is
# not there
ClipOrError = NDArray[Any] | MasqueradeError
ClipMaker = Callable[[IntArray], NDArray[Any]]  # a clip of the frames with these numbers

MIN_VIDEOS = 6  # below which starting processes costs more than it saves
GPU_PROCESSES = 8  # at most, that share a GPU: each takes half a gigabyte of it before it begins
AHEAD = 4  # videos for each process that are handed out at once
AHEAD_BYTES = 8 << 30  # of the clips of these videos; one is handed out however large its are


class ExtractedVideo(NamedTuple):
    """The clips of a video, one a row, and in how many of its frames something was hidden."""

    clips: list[ClipOrError]
    counts: FrameCounts  # of all frames that were anonymized; none of raw video


class ShownFrame(NamedTuple):
    """A frame as it is published, and the people that its region source found."""

    frame: Frame
    pixels: Pixels
    people: Sequence[Person] = ()
    hidden: AnonymizedFrame | None = None  # what hid it knows of it; None: it is raw


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
    videos: Sequence[VideoRows],
    configs: Sequence[ExtractionConfig],
    *,
    workers: int = 1,
    open_executor: OpenExecutor | None = None,
) -> Generator[tuple[VideoRows, list[ExtractedVideo]]]:
    """Yield each video, and for each content its clips or why there are none, in order.

    Processes share the work where there are enough videos and the method can be sent to them; those
    that `open_executor` reaches, or else of a pool that is opened here.
    """
    describe_factory(configs[0].regions)  # refuse what makes no sense before any work
    if configs[0].device != "cpu":
        workers = min(workers, GPU_PROCESSES)
    if workers < 2 or len(videos) < MIN_VIDEOS or not can_run_in_processes(configs[0]):
        configs = _on_device(configs)
        yield from ((video, extract_contents(video, configs)) for video in videos)
        return
    ahead = videos_ahead(videos, configs, workers)
    waiting: deque[tuple[VideoRows, Future[list[ExtractedVideo]]]] = deque()
    open_executor = open_executor or partial(worker_pool, workers)
    with naming_dead_workers(), open_executor() as pool:
        if isinstance(pool, LocalPool):
            configs = [replace(config, scratch=pool.scratch) for config in configs]
        load = loader_of(pool, configs)
        try:
            for video in videos:
                waiting.append((video, pool.submit(_extract_in_process, video, load)))
                if len(waiting) >= ahead:  # so that finished clips do not pile up in memory
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:  # the pool may have other work to do
            for _, future in waiting:
                future.cancel()


def _extract_in_process(
    video: VideoRows, load: Callable[[], Sequence[ExtractionConfig]]
) -> list[ExtractedVideo]:
    """`extract_contents` in a process of its own, which has to take the method to its device."""
    return extract_contents(video, _on_device(load()))


def _on_device(configs: Sequence[ExtractionConfig]) -> Sequence[ExtractionConfig]:
    """Replace the method of the configurations by a copy of it on their device.

    The caller's own stays on the CPU, whence it can be sent to processes.
    """
    first = configs[0]
    if first.device == "cpu" or first.method is None:
        return configs
    method = copy.deepcopy(first.method).to(first.device)
    return [replace(config, method=method) for config in configs]


def videos_ahead(
    videos: Sequence[VideoRows], configs: Sequence[ExtractionConfig], workers: int
) -> int:
    """Return how many videos may be worked on, or wait to be taken, at once."""
    largest = max(len(video.rows) for video in videos) * sum(
        config.clip_bytes for config in configs
    )
    return max(1, min(AHEAD * workers, AHEAD_BYTES // largest))


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
    return extract_contents(video, [config])[0]


def extract_contents(video: VideoRows, configs: Sequence[ExtractionConfig]) -> list[ExtractedVideo]:
    """Return a video's clips of several contents, for which it is anonymized once.

    The configurations differ in nothing but in what clips are made of the frames that are shown.
    """
    counter = CoverageCounter(region_names(configs[0].regions))
    try:
        numbers_by_content = _frame_numbers(video, configs)
        needed = [
            np.unique(np.concatenate(known))
            for numbers in numbers_by_content
            if (known := [row for row in numbers if not isinstance(row, MasqueradeError)])
        ]  # a row's frames are there for all contents or for none
        makers: list[ClipMaker] = []
        if needed:
            read = _read_frames(video, numbers_by_content, needed, configs, counter)
            for config, own, small in zip(configs, needed, read.small, strict=True):
                there, make = _clip_maker(config, read, small)
                _check_read(video, own, there)
                makers.append(make)
    except MasqueradeError as error:
        return [ExtractedVideo([error] * len(video.rows), FrameCounts()) for _ in configs]
    clips: list[list[ClipOrError]] = [[] for _ in configs]
    for i, numbers in enumerate(numbers_by_content):
        for row in numbers:
            clips[i].append(row if isinstance(row, MasqueradeError) else makers[i](row))
    return [ExtractedVideo(made, counter.total()) for made in clips]


def _frame_numbers(
    video: VideoRows, configs: Sequence[ExtractionConfig]
) -> list[list[IntArray | VideoError]]:
    """Return by content the frames of each row's clip, or why the video does not have them."""
    if not os.path.exists(video.path):  # unlike Path's, it bears a name that no file can have
        raise VideoError(f"{printable(video.path)} does not exist; check the manifest.")
    count = len(images_in(video.path)) if video.path.is_dir() else count_frames(video.path)
    numbers_by_content: list[list[IntArray | VideoError]] = [[] for _ in configs]
    for first, last in video.ranges:
        start, stop = first or 0, count - 1 if last is None else last
        inside = 0 <= start <= stop < count
        reason = f"{video.path.name} has {count} frames: frames {start} to {stop} are not in it."
        for numbers, config in zip(numbers_by_content, configs, strict=True):
            numbers.append(config.indices(start, stop) if inside else VideoError(reason))
    return numbers_by_content


class _ReadVideo(NamedTuple):
    """What was read of a video to make clips of it, by frame number."""

    small: Sequence[Frames]  # for each content: its frames at the size that it wants
    people: Mapping[int, Sequence[Person]] | None  # that a region source found; None: not asked
    seen: Mapping[bytes, dict[int, Sequence[Person]]]  # that pose networks saw, clip by clip
    packets: Mapping[int, PacketFacts]  # of the published file
    receipt: Mapping[int, tuple[float, int]]  # hidden share and number of regions; none of raw
    file_size: tuple[int, int]  # (width, height) of the published file
    shown_size: tuple[int, int]  # of the frames in which people are


def _read_frames(
    video: VideoRows,
    numbers_by_content: Sequence[Sequence[IntArray | VideoError]],
    needed: Sequence[IntArray],
    configs: Sequence[ExtractionConfig],
    counter: CoverageCounter,
) -> _ReadVideo:
    """Read the frames that the rows need, anonymized; `counter` counts what was hidden."""
    contents = [config.content for config in configs]
    config = configs[0]
    small: list[Frames] = [{} for _ in configs]
    people: Mapping[int, Sequence[Person]] | None = None
    seen: dict[bytes, dict[int, Sequence[Person]]] = {}
    packets: dict[int, PacketFacts] = {}
    receipt: dict[int, tuple[float, int]] = {}
    seed = _noise_seed(video, config)
    with ExitStack() as stack:
        reader = stack.enter_context(_open(video.path))
        made = output_info(reader.info, config.method, config.file)
        through = config.through_file and not _reads_people(config)
        writes = through or "packets" in contents
        items = _anonymized(video, reader, needed[0], config, counter, seed, writes)
        stack.enter_context(closing(items))
        if writes:
            folder = stack.enter_context(TemporaryFolder(config.scratch))
            suffix = suffix_for(encoding_for(config.file).codec)
            published, order = folder / f"anonymized{suffix}", list[int]()
            items = stack.enter_context(
                closing(_written(items, published, reader.info, order, config))
            )
        if _reads_people(config):
            people = {item.frame.index: item.people for item in items}
        else:
            shown: Iterator[tuple[int, Pixels]]
            shown = ((item.frame.index, item.pixels) for item in items)
            if through and contents != ["packets"]:
                deque(items, maxlen=0)
                shown = _read_again(published, order)
            shown = _kept(shown, configs, needed, small)
            if "poses" in contents:
                seen = _people_by_clip(shown, numbers_by_content[contents.index("poses")])
            else:
                deque(shown, maxlen=0)
        if "packets" in contents:
            packets = dict(zip(order, list_packets_in_process(published), strict=True))
            facts = zip(counter.share, counter.regions, strict=True)
            receipt = dict(zip(order, facts, strict=False))  # of raw video none
    if config.content == "joints":
        assert isinstance(config.method, DrawnPeople) and people is not None
        seed = secrets.randbits(48) if seed is None else seed
        people = dict(drawn_people(people.items(), config.method, seed=seed))
    file_size = made.width, made.height
    return _ReadVideo(
        small=small,
        people=people,
        seen=seen,
        packets=packets,
        receipt=receipt,
        file_size=file_size,
        shown_size=file_size if through else (reader.info.width, reader.info.height),
    )


def _clip_maker(
    config: ExtractionConfig, read: _ReadVideo, small: Frames
) -> tuple[Collection[int], ClipMaker]:
    """Return the numbers of the frames that were read, and what makes a clip of some of them."""
    if config.content in PIXELS:
        return small, partial(_CUT[config.content], small, config.frames)
    if config.content == "packets":
        make = partial(packet_clip, read.packets, read.receipt, size=read.file_size)
        return read.packets, make
    if read.people is not None:
        return read.people, partial(pose_sequence, read.people, size=read.shown_size)
    numbers = {n for people in read.seen.values() for n in people}
    return numbers, partial(_poses_of, read.seen, read.shown_size)


def _check_read(video: VideoRows, needed: IntArray, read: Collection[int]) -> None:
    if not set(needed.tolist()) <= set(read):
        raise VideoError(f"{video.path.name} gives fewer frames than its {needed[-1] + 1} packets.")


def _kept(
    shown: Iterator[tuple[int, Pixels]],
    configs: Sequence[ExtractionConfig],
    needed: Sequence[IntArray],
    small: Sequence[Frames],
) -> Iterator[tuple[int, Pixels]]:
    """Yield frames as they come, and keep in `small` those that contents of pixels need."""
    choices = [
        (set(numbers.tolist()), _shrinker(config), frames)
        for config, numbers, frames in zip(configs, needed, small, strict=True)
        if config.content in PIXELS
    ]
    for number, pixels in shown:
        for wanted, shrink, frames in choices:
            if number in wanted:
                frames[number] = shrink(pixels)
        yield number, pixels


def _shrinker(config: ExtractionConfig) -> Callable[[Pixels], NDArray[np.uint8]]:
    """Return the function that resizes frames for a content of pixels."""
    if config.content == "flow":
        return flow_frame
    return small_frame if config.content == "stacked" else partial(resize, config=config)


def _people_by_clip(
    shown: Iterator[tuple[int, Pixels]], clips: Iterable[IntArray | VideoError]
) -> dict[bytes, dict[int, Sequence[Person]]]:
    """Detect and track the people of each clip in its own frames alone.

    So a clip's poses do not depend on which other rows of the video are asked for. Frames are kept
    until the last clip that has them has ended.
    """
    ends: dict[int, list[IntArray]] = {}
    until: dict[int, int] = {}  # of each frame: the last one of the clips that have it
    for clip in clips:
        if not isinstance(clip, VideoError):
            own = np.unique(clip)
            ends.setdefault(int(own[-1]), []).append(own)
            until |= {n: max(int(own[-1]), until.get(n, 0)) for n in own.tolist()}
    people_by_clip: dict[bytes, dict[int, Sequence[Person]]] = {}
    frames: dict[int, Any] = {}
    for number, pixels in shown:
        if number in until:
            frames[number] = pixels
        for own in ends.get(number, ()):
            if own.tobytes() not in people_by_clip:
                people = find_people(frames[n] for n in own.tolist())
                people_by_clip[own.tobytes()] = dict(zip(own.tolist(), people, strict=True))
        if number in ends:
            frames = {n: frame for n, frame in frames.items() if until[n] > number}
    return people_by_clip


def _poses_of(
    seen: Mapping[bytes, dict[int, Sequence[Person]]], size: tuple[int, int], numbers: IntArray
) -> NDArray[np.float32]:
    return pose_sequence(seen[np.unique(numbers).tobytes()], numbers, size=size)


def _stack(frames: Frames, length: int, numbers: IntArray) -> NDArray[np.uint8]:
    """(3, T, H, W) of some frames; of crops one after another in each window of this length."""
    stacked = np.stack([frames[int(i)] for i in numbers])  # (T, H, W, 3) or (T, crops, H, W, 3)
    if stacked.ndim == 5:
        windows = stacked.reshape(-1, length, *stacked.shape[1:]).swapaxes(1, 2)
        stacked = windows.reshape(-1, *stacked.shape[2:])
    return np.ascontiguousarray(stacked.transpose(3, 0, 1, 2))


_CUT: dict[Content, Callable[[Frames, int, IntArray], NDArray[np.uint8]]] = {
    "frames": _stack,
    "flow": lambda frames, _, numbers: flow_clip([frames[int(i)] for i in numbers]),
    "stacked": lambda frames, _, numbers: stacked_clip([frames[int(i)] for i in numbers]),
}
"""What makes a clip of frames that were kept, their number, and their numbers in the video."""


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
    writes: bool,
) -> Generator[ShownFrame]:
    """Yield each frame as it is shown; of raw video only what is read later.

    The `counter` is told what was hidden. `writes`: whether frames are written to a file.
    """
    frames = (item for item in reader if isinstance(item, Frame))
    raw = config.method is None and not config.through_file and config.content in PIXELS
    sampled = config.sample_first and config.content != "packets"  # a file has all frames
    if sampled or raw:
        chosen = set(needed.tolist())
        frames = (frame for frame in frames if frame.index in chosen)
    source = region_source(config.regions)
    cover = config.cover or cover_of(RegionConfig(), source)
    if cover.within is not None:
        frames = _of_size(frames, video.path.name, cover.within)
    if config.region_cache is not None:
        read = needed.tobytes() if sampled else b""
        name = hashlib.sha256(_digest(video).encode() + read).hexdigest()[:40]
        path = config.region_cache / f"{name}.npz"
        source = CachedRegions(source, path, limit=config.region_limit)
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
    items = anonymize_stream(
        frames, config.method, source, cover=cover, seed=seed, keep_unhidden=writes
    )
    with closing(items):  # type: ignore[type-var]
        for item in items:
            counter.add(item.region, item.mask)
            yield ShownFrame(item.frame, item.pixels, item.region.people, item)


def _of_size(frames: Iterable[Frame], name: str, within: Any) -> Generator[Frame]:
    """Yield frames, and refuse one whose size is not that of the image of --region."""
    for frame in frames:
        size = {"width": frame.width, "height": frame.height}
        check_size(within, "the image of --region", video=name, **size)
        yield frame


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


def _written(
    items: Iterable[ShownFrame],
    out: Path,
    info: VideoInfo,
    order: list[int],
    config: ExtractionConfig,
) -> Generator[ShownFrame]:
    """Write frames to a file as `anonymize` does, and yield them; notes which each of them is."""
    encoding = encoding_for(config.file, threads=1)  # one thread gives the same bytes each time
    kind, method = container_for(out, encoding), config.method
    made = output_info(info, method, config.file)
    with Writer(
        out,
        info=made,
        container=kind,
        encoding=encoding,
        start=info.origin(),
        force_8bit=True,
    ) as writer:
        if method is not None:
            offset = config.file.noise_qoffset
            picture_of = PictureMaker(writer, info, method, noise_qoffset=offset)
            in_planes = made == info and writer.takes_planes and hides_in_planes(method)
        for item in items:
            if (hidden := item.hidden) is None or method is None:
                writer.write(item.pixels, item.frame)
            else:
                whole = hidden.mask is None
                if in_planes and whole and (both := hide_planes(method, item.frame)) is not None:
                    hidden = hidden._replace(planes=both[0])  # the file has these, and not RGB
                writer.write(picture_of(hidden), item.frame)
            order.append(item.frame.index)
            yield item


def _read_again(published: Path, order: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """Yield the pixels of a file that was written, each with its number in the source."""
    with Reader(published, force_8bit=True, threads=1, trusted=True) as again:
        for frame in again:
            if isinstance(frame, Frame):
                yield order[frame.index], frame.rgb()


def _digest(video: VideoRows) -> str:
    return video.digest or video_digest(video.path)
