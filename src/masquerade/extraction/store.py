"""Clips on disk: one file of all clips of an extraction, and an index that says which is where.

Clips are appended; the index names a clip only when its bytes are on the disk, so that an
interrupted extraction goes on where it stopped. Several processes may write to one store.
"""

import math
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np
from torch import Tensor

from masquerade.errors import MasqueradeError
from masquerade.extraction.dataset import Digests, MappedClips, Shape, digests_of
from masquerade.extraction.region_cache import region_bytes
from masquerade.file_locks import wait_for_lock
from masquerade.pipeline.coverage import FrameCounts

KEY, DIGEST = 48, 32  # bytes of an entry of the index
COUNTS = struct.Struct("<5q")  # `FrameCounts` of the clip's video
ENTRY = KEY + DIGEST + COUNTS.size
COUNTED = [field.name for field in fields(FrameCounts)]
CLIPS, INDEX, DIGESTS = "clips.bin", "clips.index", "digests.index"
UNREADABLE = "unreadable.index"  # keys of clips that could not be made


def clip_key(video: bytes, first: int | None, last: int | None) -> bytes:
    """Return what names a clip in a store, of a video's digest (32 bytes) and its frames."""
    return video + struct.pack("<qq", first or 0, -1 if last is None else last)


@dataclass(frozen=True, kw_only=True)
class ClipCache:
    """Where clips are kept, and how much of them.

    Above the limit nothing more is written, and the same clips are made whenever they are read.
    """

    folder: Path | None = None  # of all stores; None: a temporary one, removed with the dataset
    limit: float = math.inf  # bytes that all clips and regions in the folder may take
    report: Callable[[str], None] | None = None  # told the clips' number and size before writing


class ClipStore:
    """The clips of one extraction, of one shape, in a folder that is made when they are written.

    Without `pixels` only digests are kept, for clips that are made again whenever they are read.
    """

    def __init__(
        self,
        folder: Path,
        shape: Shape,
        *,
        pixels: bool = True,
        dtype: type[np.uint8] | type[np.float32] = np.uint8,
    ) -> None:
        self.folder, self.shape, self.pixels, self.dtype = folder, shape, pixels, dtype
        self.clip_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        self._index = folder / (INDEX if pixels else DIGESTS)
        self._places: dict[bytes, int] = {}
        self._digests = bytearray()
        self._counts: list[FrameCounts] = []
        if self._index.exists():
            try:
                with self._locked(write=False) as index:
                    self._read(index)
            except OSError as error:
                raise MasqueradeError(f"{folder} cannot be read: {error.strerror}.") from error

    def place(self, key: bytes) -> int | None:
        """Return the place of a clip; None where it is not here."""
        return self._places.get(key)

    def counts(self, place: int) -> FrameCounts:
        """Return in how many frames of a clip's video something was hidden."""
        return self._counts[place]

    def unreadable(self) -> set[bytes]:
        """Return the keys of clips that could not be made by an earlier extraction."""
        path = self.folder / UNREADABLE
        try:
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise MasqueradeError(f"{path} cannot be read: {error.strerror}.") from error
        return {content[at : at + KEY] for at in range(0, len(content) - KEY + 1, KEY)}

    def note_unreadable(self, keys: Iterable[bytes]) -> None:
        """Note the keys of clips that could not be made, so that no space is kept for them.

        They are tried again all the same: a video may be read later, as from a disk that failed.
        """
        new = sorted(set(keys) - self.unreadable())
        if not new:
            return
        path = self.folder / UNREADABLE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(b"".join(new))
        except OSError as error:
            raise MasqueradeError(f"{path} cannot be written: {error.strerror}.") from error

    @property
    def digests(self) -> Digests:
        """(N, 32), the SHA-256 of each clip."""
        return np.frombuffer(bytes(self._digests), np.uint8).reshape(-1, DIGEST)

    def mapped(self, *, owner: object = None) -> MappedClips:
        """Return all clips, to be read; the owner is kept alive as long as they are."""
        path = self.folder / CLIPS
        return MappedClips(path, self.shape, self.digests, owner=owner, dtype=self.dtype)

    def append(
        self, clips: Mapping[bytes, Tensor], counts: Mapping[bytes, FrameCounts] | None = None
    ) -> None:
        """Write clips by their key, and the counts of their videos' frames.

        Those that are here already are left as they are.
        """
        if not clips:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked() as index:
                self._read(index)  # another process may have written meanwhile
                new = {key: clip for key, clip in clips.items() if key not in self._places}
                start = len(self._places)
                if self.pixels:
                    self._write(new, start)
                entries = b"".join(
                    key + digest.tobytes() + _packed((counts or {}).get(key, FrameCounts()))
                    for key, digest in zip(new, digests_of(new.values()), strict=True)
                )
                index.truncate(start * ENTRY)  # what was cut off by an interruption
                index.seek(start * ENTRY)
                index.write(entries)
                index.flush()
                os.fsync(index.fileno())
                self._read(index)
        except OSError as error:
            raise MasqueradeError(f"{self.folder} cannot be written: {error.strerror}.") from error

    def _write(self, clips: Mapping[bytes, Tensor], start: int) -> None:
        handle = os.open(self.folder / CLIPS, os.O_CREAT | os.O_WRONLY, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.seek(start * self.clip_bytes)
            for clip in clips.values():
                if tuple(clip.shape) != self.shape:
                    raise ValueError(f"a clip of {tuple(clip.shape)} in a store of {self.shape}")
                file.write(clip.contiguous().numpy().data)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self, *, write: bool = True) -> Iterator[BinaryIO]:
        """The index, which no other process writes meanwhile, nor reads if this one writes."""
        handle = os.open(self._index, os.O_CREAT | os.O_RDWR if write else os.O_RDONLY, 0o666)
        with os.fdopen(handle, "r+b" if write else "rb") as file:
            wait_for_lock(file.fileno(), shared=not write)
            yield file

    def _read(self, index: BinaryIO) -> None:
        """Take over the entries whose clips are whole."""
        count = os.fstat(index.fileno()).st_size // ENTRY
        if self.pixels:
            clips = self.folder / CLIPS
            held = clips.stat().st_size if clips.exists() else 0
            count = min(count, held // self.clip_bytes)
        known = len(self._places)
        if count < known:  # somebody removed or cut the files
            self._places, self._digests, self._counts, known = {}, bytearray(), [], 0
        index.seek(known * ENTRY)
        content = index.read((count - known) * ENTRY)
        for at in range(0, len(content), ENTRY):
            key, rest = content[at : at + KEY], content[at + KEY : at + ENTRY]
            if key in self._places:
                break  # such as zeros after a loss of power; what follows is made anew
            self._places[key] = len(self._places)
            self._digests += rest[:DIGEST]
            self._counts.append(
                FrameCounts(**dict(zip(COUNTED, COUNTS.unpack(rest[DIGEST:]), strict=True)))
            )


def _packed(counts: FrameCounts) -> bytes:
    return COUNTS.pack(*(getattr(counts, name) for name in COUNTED))


def stored_bytes(folder: Path) -> int:
    """Return the size of all clips in a folder, and of the regions that are kept beside them."""
    clips = sum(path.stat().st_size for path in folder.glob(f"*/{CLIPS}"))
    return clips + region_bytes(folder)


def check_space(folder: Path, size: int) -> None:
    """Refuse to write a number of bytes to a folder whose disk has less space left."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise MasqueradeError(
            f"The clips take {size_text(size)} and {folder} has {size_text(free)} left: free some, "
            "choose another folder, or make clips on the fly by a lower --store-limit."
        )


def size_text(size: float) -> str:
    """Write a number of bytes in GB, or in MB where it is small."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
