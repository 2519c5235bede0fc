"""Cache the regions of a video on disk, so that several methods cost one search for people."""

import json
import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Person
from masquerade.errors import MasqueradeError
from masquerade.regions import Frame, Region
from masquerade.regions.boxes import Box
from masquerade.storage import complete, publish, temporary_file

PLANES = ("mask", "strength")
FILES = "regions-*/[!.]*.npz"  # without hidden files, which another process is writing


def region_bytes(folder: Path) -> int:
    """The size of all regions that are kept in a folder of folders."""
    return sum(path.stat().st_size for path in folder.glob(FILES))


class CachedRegions:
    """A region source of one video that reads regions from a file, or writes another source's.

    All that the regions depend on names the file. One frame's planes are in memory at a time. No
    file is kept that, with those beside it, would be larger than `limit`, in bytes; processes that
    finish at once may exceed it by a file each.
    """

    def __init__(self, source: Any, path: Path, *, limit: float = math.inf) -> None:
        self.source, self.path, self.limit = source, path, limit
        self.look_ahead = source.look_ahead

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        """One region a frame."""
        with ExitStack() as stack:
            stored = _open(self.path, stack)
            if stored is not None:
                yield from (region for _, region in zip(frames, stored, strict=True))
                return
            writer = _RegionWriter(self.path, stack, limit=self.limit)
            for region in self.source(frames):
                writer.add(region)
                yield region
            writer.publish()


class _RegionWriter:
    """Writes regions as they are found, their planes compressed, as most of them are flat.

    A disk that is full, or what JSON does not hold (of a source of somebody else's), costs the time
    of another search, but no clip: the regions are right.
    """

    def __init__(self, path: Path, stack: ExitStack, *, limit: float) -> None:
        self.path, self.limit, self._entries = path, limit, list[str]()
        self._part: Path | None = None  # none: it cannot be written
        with suppress(OSError, MasqueradeError):
            part = stack.enter_context(temporary_file(path, overwrite=True))
            self._zip = ZipFile(part, "w", ZIP_DEFLATED)
            stack.callback(self._close)
            self._part = part

    def add(self, region: Region) -> None:
        """Write the next frame's region."""
        if self._part is None:
            return
        try:
            content = json.dumps(_entry(region), default=lambda number: number.tolist())
            for name in PLANES:
                plane = getattr(region, name)
                if plane is not None:
                    self._write(f"{name} {len(self._entries)}", plane)
            self._entries.append(content)
        except (AttributeError, TypeError, ValueError, OSError):
            self._part = None

    def publish(self) -> None:
        """Give the file its name, once all regions are in it."""
        if self._part is None:
            return
        text = f"[{', '.join(self._entries)}]"
        with suppress(OSError, MasqueradeError):
            self._write("entries", np.frombuffer(text.encode(), np.uint8))
            self._zip.close()
            if self.limit < math.inf:
                beside = region_bytes(self.path.parent.parent)
                if beside + self._part.stat().st_size > self.limit:
                    return
            complete(self._part, self.path)
            publish(self._part, self.path, overwrite=True)

    def _close(self) -> None:
        with suppress(OSError):
            self._zip.close()

    def _write(self, name: str, array: NDArray[Any]) -> None:
        with self._zip.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def _entry(region: Region) -> dict[str, Any]:
    """A region as JSON can hold it: without its mask and strength."""
    people = [
        {**person._asdict(), "landmarks": person.landmarks.tolist(), "world": person.world.tolist()}
        for person in region.people
    ]
    boxes = [asdict(box) for box in region.boxes]
    flags = {"full_frame": region.full_frame, "cut": region.cut, "detected": region.detected}
    return {"boxes": boxes, "people": people, **flags}


def _open(path: Path, stack: ExitStack) -> Iterator[Region] | None:
    """Read the regions in a file one by one; None where there is none, or it is damaged."""
    try:
        zipped = stack.enter_context(ZipFile(path))
        if zipped.testzip() is not None:  # all of it, as what was given cannot be taken back
            return None
        entries = json.loads(_array(zipped, "entries").tobytes())
        names = set(zipped.namelist())
        return (_region(zipped, names, i, entry) for i, entry in enumerate(entries))
    except Exception:  # a damaged file raises much more than is said
        return None


def _region(zipped: ZipFile, names: Collection[str], i: int, entry: dict[str, Any]) -> Region:
    mask, strength = (
        _array(zipped, f"{name} {i}") if f"{name} {i}.npy" in names else None for name in PLANES
    )
    return Region(
        boxes=tuple(Box(**box) for box in entry.pop("boxes")),
        people=tuple(_person(**person) for person in entry.pop("people")),
        mask=mask,
        strength=strength,
        **entry,
    )


def _array(zipped: ZipFile, name: str) -> NDArray[Any]:
    with zipped.open(f"{name}.npy") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _person(landmarks: Any, world: Any, box: Any, **fields: Any) -> Person:
    """A person as JSON holds one."""
    return Person(landmarks=np.array(landmarks), world=np.array(world), box=tuple(box), **fields)
