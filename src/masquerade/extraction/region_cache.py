"""Cache the regions of a video on disk, so that several methods cost one search for people."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Person
from masquerade.errors import MasqueradeError
from masquerade.regions import Frame, Region
from masquerade.regions.boxes import Box
from masquerade.storage import atomic_write

PLANES = ("mask", "strength")
U8 = NDArray[np.uint8]


class CachedRegions:
    """A region source of one video that reads regions from a file, or writes another source's.

    All that the regions depend on names the file.
    """

    def __init__(self, source: Any, path: Path) -> None:
        self.source, self.path = source, path
        self.look_ahead = source.look_ahead

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        """One region a frame."""
        stored = _read(self.path)
        if stored is not None:
            yield from (region for _, region in zip(frames, stored, strict=True))
            return
        found: list[Region] = []
        for region in self.source(frames):
            found.append(region)
            yield region
        _write(found, self.path)


def _write(regions: list[Region], path: Path) -> None:
    """Write regions, their planes compressed, as most of them are flat.

    A disk that is full, or what JSON does not hold (of a source of somebody else's), costs the time
    of another search, but no clip: the regions are right.
    """
    entries = []
    planes: dict[str, U8] = {}
    for i, region in enumerate(regions):
        flags = {"full_frame": region.full_frame, "cut": region.cut, "detected": region.detected}
        people = [
            {**one._asdict(), "landmarks": one.landmarks.tolist(), "world": one.world.tolist()}
            for one in region.people
        ]
        boxes = [asdict(box) for box in region.boxes]
        entries.append({"boxes": boxes, "people": people, **flags})
        for name in PLANES:
            plane = getattr(region, name)
            if plane is not None:
                planes[f"{name} {i}"] = plane
    try:
        content = json.dumps(entries, default=lambda number: number.tolist())  # as NumPy's have it
    except (AttributeError, TypeError, ValueError):
        return
    text = np.frombuffer(content.encode(), np.uint8)
    with (
        suppress(OSError, MasqueradeError),
        atomic_write(path, overwrite=True) as part,
        part.open("wb") as file,
    ):
        np.savez_compressed(file, entries=text, **planes)  # type: ignore[arg-type]


def _read(path: Path) -> list[Region] | None:
    """Read the regions in a file; None where there is none, or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file) as zipped:
            held = {name: zipped[name] for name in zipped.files}
        entries = json.loads(held["entries"].tobytes())
        return [
            Region(
                boxes=tuple(Box(**box) for box in one.pop("boxes")),
                people=tuple(_person(**person) for person in one.pop("people")),
                mask=held.get(f"mask {i}"),
                strength=held.get(f"strength {i}"),
                **one,
            )
            for i, one in enumerate(entries)
        ]
    except Exception:  # of a damaged file numpy raises much more than it says
        return None


def _person(landmarks: Any, world: Any, box: Any, **given: Any) -> Person:
    """A person as JSON holds one."""
    return Person(landmarks=np.array(landmarks), world=np.array(world), box=tuple(box), **given)
