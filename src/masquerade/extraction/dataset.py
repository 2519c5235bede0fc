"""Clips of one size as a `torch.utils.data.Dataset`, read from a memory-mapped file.

A clip is (3, T, H, W) in bytes, or a pose sequence (C, T, V, M) in floats, see `extraction.poses`.

A `ClipDataset` is a view: places in a source of clips, and the manifest's row of each. Taking some
of its clips copies nothing, and sending it to another process sends the file's path and the places.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d
from torch.utils.data import DataLoader, Dataset

from masquerade.datasets.manifest import IntArray
from masquerade.errors import MasqueradeError
from masquerade.pipeline.coverage import DatasetCoverage
from masquerade.process_pool import (
    TERMINAL,
    children_without,
    start_fork_server,
    worker_context,
    worker_start,
)

Shape = tuple[int, int, int, int]
Digests = NDArray[np.uint8]  # (N, 32), the SHA-256 of each clip


WHOLE_AT_ONCE = 8  # clips that are read whole, to be cut: of many views each is megabytes


class ClipSource(Protocol):
    """Where clips are read from, each by its place."""

    shape: Shape

    def read(self, places: IntArray) -> Tensor:
        """(B, 3, T, H, W) uint8."""

    def digests(self, places: IntArray) -> Digests:
        """The SHA-256 of each of these clips' bytes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipDataset(Dataset[Tensor]):
    """Clips of one size, and which rows of a manifest they are."""

    source: ClipSource
    places: IntArray  # (N,), of each clip in the source
    rows: IntArray  # (N,), of the manifest, ascending as extracted
    skipped: Mapping[int, str] = field(default_factory=dict)  # row to why its clip is not here
    coverage: DatasetCoverage | None = None  # how much of its videos was hidden; None: raw
    passes: int = 0  # videos that were decoded and anonymized for this; the others were stored
    workers: int = 0  # processes that `clip_loader` reads ahead with; 0: this one reads

    @property
    def shape(self) -> Shape:
        """(3, T, H, W) of a clip."""
        return self.source.shape

    @property
    def digest(self) -> str:
        """SHA-256 of the shape and of the clips in their order, from the clips' own digests."""
        content = hashlib.sha256(str(self.shape).encode())
        content.update(self.source.digests(self.places).tobytes())
        return content.hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        """(3, T, H, W) uint8."""
        return self.source.read(self.places[[index]])[0]

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        """(B, 3, T, H, W) uint8; a `DataLoader` fetches a batch by this."""
        return self.source.read(self.places[np.asarray(indices, dtype=np.int64)])

    def batch(self, indices: Tensor) -> Tensor:
        """(B, 3, T, H, W) uint8, the clips at these places of the dataset."""
        return self.__getitems__(indices.tolist())

    def windows(self, indices: Tensor, starts: Tensor, frames: int) -> Tensor:
        """(B, 3, frames, H, W) uint8: of each of these clips the frames from its start on."""
        places = self.places[indices.numpy()]
        if isinstance(self.source, MappedClips):
            return self.source.read_windows(places, starts, frames)
        return cut_windows(self.source.read(places), starts, frames)

    def take(self, indices: Iterable[int] | IntArray) -> ClipDataset:
        """Return a view of these clips, by their place in the dataset."""
        at = np.asarray(list(indices), dtype=np.int64)
        return replace(self, places=self.places[at], rows=self.rows[at])

    def of_rows(self, rows: Iterable[int] | IntArray) -> ClipDataset:
        """Return a view of the clips of these rows of the manifest, without skipped ones."""
        place = {int(row): i for i, row in enumerate(self.rows)}
        return self.take(place[int(row)] for row in rows if int(row) in place)

    def resize(self, side: int) -> ClipDataset:
        """Shrink the clips to side x side pixels when they are read, by the mean of each area."""
        return replace(self, source=ResizedClips(self.source, side))

    def window(self, first: int, frames: int) -> ClipDataset:
        """Cut the clips to some frames in a row when they are read."""
        return replace(self, source=WindowedClips(self.source, first, frames))


class WindowedClips:
    """Clips of another source, of which some frames in a row are read."""

    def __init__(self, source: ClipSource, first: int, frames: int) -> None:
        self._source, self._first = source, first
        self.shape: Shape = (source.shape[0], frames, *source.shape[2:])

    def read(self, places: IntArray) -> Tensor:
        parts = [places[at : at + WHOLE_AT_ONCE] for at in range(0, len(places), WHOLE_AT_ONCE)]
        last = self._first + self.shape[1]
        return torch.cat([self._source.read(part)[:, :, self._first : last] for part in parts])

    def digests(self, places: IntArray) -> Digests:
        """The digests of the clips that these are cut from; how long they are is in the shape."""
        return self._source.digests(places)


class TensorClips:
    """Clips in memory."""

    def __init__(self, clips: Tensor) -> None:
        self._clips = clips  # (N, 3, T, H, W) uint8
        _, channels, frames, height, width = clips.shape
        self.shape: Shape = (channels, frames, height, width)

    def read(self, places: IntArray) -> Tensor:
        return self._clips[torch.from_numpy(places)]

    def digests(self, places: IntArray) -> Digests:
        return digests_of(self._clips[int(place)] for place in places)


class ResizedClips:
    """Clips of another source, shrunk when they are read."""

    def __init__(self, source: ClipSource, side: int) -> None:
        self._source = source
        self.shape: Shape = (*source.shape[:2], side, side)

    def read(self, places: IntArray) -> Tensor:
        clips = self._source.read(places).float()
        return adaptive_avg_pool3d(clips, self.shape[1:]).round().byte()

    def digests(self, places: IntArray) -> Digests:
        """The digests of the clips that these are made from; the side is in the dataset's shape."""
        return self._source.digests(places)


class MappedClips:
    """Clips of one shape in a file, one after another, mapped into memory where they are read.

    `digests` are of all clips in the file; `owner`, such as what removes a temporary file, is kept
    alive as long as this is.
    """

    def __init__(
        self,
        path: Path,
        shape: Shape,
        digests: Digests,
        *,
        owner: object = None,
        dtype: type[np.uint8] | type[np.float32] = np.uint8,
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self._digests, self._owner = digests, owner
        self._file: NDArray[Any] | None = None

    def read(self, places: IntArray) -> Tensor:
        return torch.from_numpy(np.asarray(self._open()[places]))  # indexing by an array copies

    def read_windows(self, places: IntArray, starts: Tensor, frames: int) -> Tensor:
        """(B, 3, frames, H, W): of each clip the frames from its start on, and nothing else."""
        file = self._open()
        pairs = zip(places.tolist(), starts.tolist(), strict=True)
        return torch.from_numpy(np.stack([file[at][:, s : s + frames] for at, s in pairs]))

    def _open(self) -> NDArray[Any]:
        if self._file is None:
            shape = (len(self._digests), *self.shape)
            self._file = np.memmap(self.path, self.dtype, mode="r", shape=shape)
        return self._file

    def digests(self, places: IntArray) -> Digests:
        return self._digests[places]

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle, without the memory map: the other process opens the file itself."""
        return {**self.__dict__, "_file": None, "_owner": None}


def from_tensor(clips: Tensor, *, rows: IntArray | None = None) -> ClipDataset:
    """Make a dataset of clips in memory, (N, 3, T, H, W), uint8 or in [0, 1], and their rows."""
    if clips.dtype != torch.uint8:
        clips = (clips * 255).round().clamp(0, 255).byte()
    places = np.arange(len(clips), dtype=np.int64)
    return ClipDataset(
        source=TensorClips(clips), places=places, rows=places if rows is None else rows
    )


def write_clips(path: Path, clips: ClipDataset) -> None:
    """Write clips to a file, one after another, for `mapped_clips`."""
    with path.open("wb") as file:
        for places in torch.split(torch.arange(len(clips)), WHOLE_AT_ONCE):
            file.write(clips.batch(places).contiguous().numpy().data)


def mapped_clips(path: Path, clips: ClipDataset, *, owner: object = None) -> ClipDataset:
    """The same clips, read from the file of `write_clips`; the owner is kept alive with them."""
    digests = clips.source.digests(clips.places)
    source = MappedClips(path, clips.shape, digests, owner=owner)
    return replace(clips, source=source, places=np.arange(len(clips)))


def cut_windows(clips: Tensor, starts: Tensor, frames: int) -> Tensor:
    """(B, C, frames, H, W): of each of (B, C, T, H, W) the frames from its start on."""
    pairs = zip(clips, starts.tolist(), strict=True)
    return torch.stack([clip[:, s : s + frames] for clip, s in pairs])


def digests_of(clips: Iterable[Tensor]) -> Digests:
    """Return (N, 32), the SHA-256 of each clip's bytes."""
    digests = [hashlib.sha256(clip.contiguous().numpy().data).digest() for clip in clips]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def clip_loader(dataset: ClipDataset, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Read (B, 3, T, H, W) uint8 batches of clips, by their places, through a `DataLoader`.

    Order and seeds stay the caller's: no random number of any other generator is drawn. The
    dataset's workers read ahead, but none in a process that is itself one of several.
    """
    workers = dataset.workers if multiprocessing.parent_process() is None else 0
    loader = DataLoader(
        _Batches(dataset) if workers else dataset,
        batch_sampler=(batch.tolist() for batch in batches),
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=worker_start(partial(cv2.setNumThreads, 1)) if workers else None,
        generator=torch.Generator(),  # for the workers' seeds; else they cost the caller a draw
        multiprocessing_context=worker_context() if workers else None,
    )
    if not workers:
        yield from loader
        return
    start_fork_server()
    with children_without(TERMINAL):
        iterator = iter(loader)
    try:
        for batch in iterator:
            if isinstance(batch, MasqueradeError):
                raise batch
            yield torch.from_numpy(batch)
    finally:  # after an exception its traceback would keep the iterator, and so the workers, alive
        iterator._shutdown_workers()  # type: ignore[attr-defined]


class _Batches(Dataset[Any]):
    """Batches as worker processes send them: as arrays, which need no shared memory, or the error
    of a clip that cannot be read, to which `DataLoader` would add a traceback."""

    def __init__(self, dataset: ClipDataset) -> None:
        self._dataset = dataset

    def __getitems__(self, indices: Sequence[int]) -> NDArray[Any] | MasqueradeError:
        try:
            return np.asarray(self._dataset.__getitems__(indices).numpy())
        except MasqueradeError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch
