"""One pass over one video: decoded, rewritten whole, and a few of its frames kept small."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import Anonymizer, Pixels
from masquerade.datasets.manifest import IntArray
from masquerade.datasets.sampling import Padding, strided, uniform
from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.extraction.processes import processes
from masquerade.extraction.region_cache import Seen
from masquerade.pipeline.stream import Cover, anonymize_stream
from masquerade.regions import REGIONS, Union
from masquerade.video.encoding import Encoding, container_for
from masquerade.video.probe import count_frames, images_in
from masquerade.video.read import Frame, Reader
from masquerade.video.write import Writer

RegionFactory = Callable[[], Any]
Kept = dict[int, NDArray[np.uint8]]
Cut = Tensor | MasqueradeError  # (3, T, H, W) uint8, or why it is not there

RATE = Fraction(25)  # frames a second of a folder of frames
FEW = 6  # videos below which starting processes costs more than it saves


class Job(NamedTuple):
    """One file, and the rows of the manifest that are cut from it."""

    path: Path
    rows: tuple[int, ...]
    ranges: tuple[tuple[int | None, int | None], ...]  # first and last frame of each row


@dataclass(frozen=True, kw_only=True)
class Pass:
    """How videos become clips; see `masquerade.extraction.extract.extract_clips`."""

    frames: int
    height: int
    width: int
    stride: int | None
    method: Anonymizer | None
    regions: RegionFactory | str | None
    cover: Cover | None
    seed: int | None
    through_file: bool
    sample_first: bool
    outside: Literal["keep", "black"] = "keep"
    padding: Padding = "repeat"
    seen: Path | None = None  # where regions found before lie, named for this pass

    def indices(self, first: int, last: int) -> IntArray:
        """(T,) frames of the video that make a clip of frames first to last."""
        count = last - first + 1
        if self.stride is None:
            return first + uniform(count, self.frames)
        return first + strided(count, self.frames, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class Joined:
    """What makes several region sources that hide together, as in `--regions faces+people`.

    Args:
        parts: what makes each of them.
    """

    parts: tuple[RegionFactory, ...]

    def __call__(self) -> Union:
        """A fresh one."""
        return Union(sources=[make() for make in self.parts])

    @property
    def name(self) -> str:
        """Of all of them, joined by +."""
        plain = [part.func if isinstance(part, partial) else part for part in self.parts]
        return "+".join(str(getattr(part, "name", part.__name__)) for part in plain)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of the images in a folder.

    Raises:
        VideoError: it cannot be read.
    """
    if path.is_dir():
        told = [f"{image.name} {file_digest(image)}" for image in images_in(path)]
        return hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror}.") from error


def region_class(regions: RegionFactory | str | None) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of what makes a region source.

    Raises:
        UsageError: it is a finished source, which cannot be told from another; or an unknown name.
    """
    if regions is None:
        return "frame", {}
    if isinstance(regions, str):
        if regions not in REGIONS:
            raise UsageError(f"There are no regions {regions!r}; there are {', '.join(REGIONS)}.")
        return region_class(REGIONS[regions])
    if isinstance(regions, Joined):
        each = [region_class(part) for part in regions.parts]
        given = {f"{i} {key}": v for i, (_, one) in enumerate(each) for key, v in one.items()}
        return "+".join(name for name, _ in each), given
    if isinstance(regions, partial) and not regions.args:
        return region_class(regions.func)[0], dict(regions.keywords)
    name = getattr(regions, "__qualname__", None)
    if name is None:
        raise UsageError(
            f"{type(regions).__name__} is a finished region source; give what makes one, as in "
            f"functools.partial({type(regions).__name__}, ...): each video needs its own."
        )
    return f"{regions.__module__}.{name}", {}


def source_of(regions: RegionFactory | str | None) -> Any:
    """A fresh region source."""
    if regions is None or isinstance(regions, str):
        return REGIONS[regions or "frame"]()
    return regions()


def passed_all(jobs: list[Job], how: Pass, *, workers: int = 1) -> Iterator[tuple[Job, list[Cut]]]:
    """Each job, and for each of its rows the clip or why there is none.

    Args:
        jobs: the files.
        how: what becomes of them.
        workers: processes, where there are enough files and the method can be sent to them.
    """
    region_class(how.regions)  # refuse what makes no sense before any work
    if workers < 2 or len(jobs) < FEW or not _travels(how) or _on_gpu(how.method):
        yield from ((job, attempted(job, how)) for job in jobs)
        return
    with processes(workers) as pool:
        for job, clips in zip(jobs, pool.map(partial(_sent, how=how), jobs), strict=True):
            yield job, [torch.from_numpy(c) if isinstance(c, np.ndarray) else c for c in clips]


def attempted(job: Job, how: Pass) -> list[Cut]:
    """A job's clips, one a row, or why there is none."""
    try:
        wanted = _wanted(job, how)
        known = [indices for indices in wanted if not isinstance(indices, MasqueradeError)]
        kept = _frames(job.path, np.unique(np.concatenate(known)), how) if known else {}
    except MasqueradeError as error:
        return [error] * len(job.rows)
    return [i if isinstance(i, MasqueradeError) else _clip(kept, i) for i in wanted]


def _sent(job: Job, how: Pass) -> list[NDArray[np.uint8] | MasqueradeError]:
    """The same as numpy, which needs no shared memory to travel."""
    return [clip.numpy() if isinstance(clip, Tensor) else clip for clip in attempted(job, how)]


def _travels(how: Pass) -> bool:
    try:
        pickle.dumps(how)
    except Exception:  # whatever a stranger's method raises: then this process does the work
        return False
    return True


def _on_gpu(method: Anonymizer | None) -> bool:
    return method is not None and any(x.device.type != "cpu" for x in method.parameters())


def _clip(kept: Kept, indices: IntArray) -> Tensor:
    stacked = np.stack([kept[int(i)] for i in indices])  # (T, H, W, 3)
    return torch.from_numpy(np.ascontiguousarray(stacked.transpose(3, 0, 1, 2)))


def _wanted(job: Job, how: Pass) -> list[IntArray | VideoError]:
    """The frames of each row, or why the video does not have them."""
    if not os.path.exists(job.path):  # unlike Path's, it bears a name that no file can have
        raise VideoError(f"{job.path} does not exist; check the manifest.")
    count = len(images_in(job.path)) if job.path.is_dir() else count_frames(job.path)
    wanted: list[IntArray | VideoError] = []
    for first, last in job.ranges:
        start, stop = first or 0, count - 1 if last is None else last
        inside = 0 <= start <= stop < count
        said = f"{job.path.name} has {count} frames: frames {start} to {stop} are not in it."
        wanted.append(how.indices(start, stop) if inside else VideoError(said))
    return wanted


def _frames(path: Path, needed: IntArray, how: Pass) -> Kept:
    """The small frames that a file's rows need, by their number."""
    seed = _seed_of(path, how.seed)
    if how.through_file:
        kept = _by_file(path, needed, how, seed)
    else:
        with _reader(path) as reader:
            kept = _picked(_stream(path, reader, needed, how, seed), needed, how)
    if len(kept) < len(needed):
        raise VideoError(f"{path.name} gives fewer frames than its {needed[-1] + 1} packets.")
    return kept


def _reader(path: Path) -> Reader:
    """Of a video, or of a folder of frames; of the latter nobody knows the rate, nor needs it."""
    return Reader(path, force_8bit=True, threads=1, rate=RATE if path.is_dir() else None)


def _stream(
    path: Path, reader: Iterable[Any], needed: IntArray, how: Pass, seed: int | None
) -> Iterator[tuple[int, Any, Any]]:
    """(number, frame, rewritten pixels or None) of each frame."""
    frames = (item for item in reader if isinstance(item, Frame))
    if how.sample_first:
        some = set(needed.tolist())
        frames = (frame for frame in frames if frame.index in some)
    if how.method is None:
        for frame in frames:
            yield frame.index, frame, None
        return
    source = source_of(how.regions)
    cover = how.cover or Cover(shape=getattr(source, "shape", "ellipse"))
    cover = cover._replace(outside=how.outside)
    if how.seen is not None:
        frames_seen = needed.tobytes() if how.sample_first else b""
        about = hashlib.sha256(file_digest(path).encode() + frames_seen).hexdigest()[:40]
        source = Seen(source, how.seen / f"{about}.npz")
    items = anonymize_stream(frames, how.method, source, cover=cover, seed=seed)
    with closing(items):  # type: ignore[type-var]
        for item in items:
            yield item.frame.index, item.frame, item.pixels


def _picked(items: Iterator[tuple[int, Any, Any]], needed: IntArray, how: Pass) -> Kept:
    some = set(needed.tolist())
    kept: Kept = {}
    for number, frame, pixels in items:
        if number in some:
            kept[number] = small(frame.rgb() if pixels is None else pixels, how.height, how.width)
    return kept


def small(pixels: Pixels, height: int, width: int) -> NDArray[np.uint8]:
    """A frame (H, W, 3) squeezed to a size, by area where it shrinks."""
    if pixels.shape[:2] == (height, width):
        return np.asarray(pixels, np.uint8)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _by_file(path: Path, needed: IntArray, how: Pass, seed: int | None) -> Kept:
    """The same, by way of a file as `anonymize` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "anonymized.mp4"
        with _reader(path) as reader:
            numbers = _written(out, reader, _stream(path, reader, needed, how, seed))
        with _reader(out) as again:
            frames = (frame for frame in again if isinstance(frame, Frame))
            read = ((numbers[frame.index], frame, None) for frame in frames)
            return _picked(read, needed, how)


def _written(out: Path, reader: Reader, items: Iterator[tuple[int, Any, Any]]) -> list[int]:
    """Write what comes, and tell which frame of the source each frame of the file is."""
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


def _seed_of(path: Path, seed: int | None) -> int | None:
    """A stream of noise for each video: one that repeats could be learned from the others."""
    if seed is None:
        return None
    told = f"{seed} {file_digest(path)}".encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:6], "big")
