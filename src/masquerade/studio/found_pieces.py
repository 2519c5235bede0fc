"""What a region source found in each frame of a video, on the disk in pieces of some frames.

One process writes them while another reads, so a piece appears whole or not at all. Boxes and
poses are in pixels of the video, masks in those of its copy. Most of a mask is empty, so masks are
packed, on the disk and in memory, and only that of the frame that is asked for is unpacked.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np

from masquerade.anonymizer import Person
from masquerade.regions.boxes import Box, Source
from masquerade.regions.masks import resize_mask
from masquerade.regions.region import Region

LENGTH = 32  # frames of a piece
KEPT = 8  # pieces in memory
SOURCES = get_args(Source)


class FoundWriter:
    """Writes what was found, frame by frame; `size` (w, h) is that of the copy's pictures."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._folder, self._size = folder, size
        self._waiting: list[Region] = []
        self._written = 0

    def add(self, region: Region) -> None:
        """Add what was found in the next frame."""
        self._waiting.append(region)
        if len(self._waiting) == LENGTH:
            self.flush()

    def flush(self) -> None:
        """Write the last piece, which may be shorter."""
        if self._waiting:
            part = self._folder / "part"
            with part.open("wb") as file:
                np.savez(file, **_arrays(self._waiting, self._size))
            part.replace(piece(self._folder, self._written))
            self._waiting, self._written = [], self._written + 1


class FoundReader:
    """Reads what was found; several threads may share it."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._folder, self._size = folder, size
        self._pieces: OrderedDict[int, _Piece] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, frame: int) -> Region | None:
        """What was found in a frame, its masks at the copy's size; None: not yet known."""
        number, place = divmod(frame, LENGTH)
        loaded = self._piece(number)
        return loaded.region(place) if loaded is not None and place < len(loaded.regions) else None

    def read_piece(self, number: int) -> Iterator[Region] | None:
        """The regions of each frame of one piece, in order; None: not yet searched."""
        loaded = self._piece(number)
        return None if loaded is None else map(loaded.region, range(len(loaded.regions)))

    def _piece(self, number: int) -> _Piece | None:
        with self._lock:
            if number not in self._pieces:
                try:
                    with np.load(piece(self._folder, number), allow_pickle=False) as arrays:
                        self._pieces[number] = _Piece(dict(arrays), self._size)
                except FileNotFoundError:  # or it was removed, as another search took its place
                    return None
            self._pieces.move_to_end(number)
            while len(self._pieces) > KEPT:
                self._pieces.popitem(last=False)
            return self._pieces[number]


class _Piece:
    """The regions of one piece of a video, with their masks compressed."""

    def __init__(self, arrays: dict[str, Any], size: tuple[int, int]) -> None:
        self.regions, self._size = _regions(arrays), size
        self._packed = {
            name: arrays[name] for name in arrays if name.startswith(("mask", "strength"))
        }

    def region(self, place: int) -> Region:
        """What was found in one of its frames."""
        width, height = self._size
        mask, strength = (
            None if packed is None else np.frombuffer(bytearray(zlib.decompress(packed)), np.uint8)
            for packed in (self._packed.get(f"{name} {place}") for name in ("mask", "strength"))
        )
        if mask is not None:
            mask = np.unpackbits(mask, count=width * height).reshape(height, width) * np.uint8(255)
        if strength is not None:
            strength = strength.reshape(height, width)
        return replace(self.regions[place], mask=mask, strength=strength)


def piece(folder: Path, number: int) -> Path:
    """The path of the file that holds piece `number` of the frames."""
    return folder / f"{number}.npz"


def _arrays(regions: Sequence[Region], size: tuple[int, int]) -> dict[str, Any]:
    boxes = [(t, box) for t, region in enumerate(regions) for box in region.boxes]
    people = [(t, person) for t, region in enumerate(regions) for person in region.people]
    arrays: dict[str, Any] = {
        "flags": [(r.full_frame, r.cut, r.detected) for r in regions],
        "boxes": np.array(
            [(t, b.x0, b.y0, b.x1, b.y1, b.score) for t, b in boxes], np.float64
        ).reshape(-1, 6),
        "tracks": np.array([-1 if b.track is None else b.track for _, b in boxes], np.int64),
        "labels": np.array([b.label for _, b in boxes], "U8"),
        "sources": np.array([SOURCES.index(b.source) for _, b in boxes], np.int64),
        "whole": np.array([b.always_drawn for _, b in boxes], bool),
        "people": np.array([(t, p.track, p.score, *p.box) for t, p in people]).reshape(-1, 7),
        "landmarks": np.array([p.landmarks for _, p in people]).reshape(-1, 33, 5),
        "world": np.array([p.world for _, p in people]).reshape(-1, 33, 3),
    }
    for t, region in enumerate(regions):
        if region.mask is not None:
            arrays[f"mask {t}"] = _packed(np.packbits(resize_mask(region.mask, *size) > 0))
        if region.strength is not None:
            strength = cv2.resize(region.strength, size, interpolation=cv2.INTER_AREA)
            arrays[f"strength {t}"] = _packed(strength)
    return arrays


def _packed(values: Any) -> Any:
    return np.frombuffer(zlib.compress(values.tobytes(), level=1), np.uint8)


def _regions(arrays: dict[str, Any]) -> list[Region]:
    boxes: list[list[Box]] = [[] for _ in arrays["flags"]]
    people: list[list[Person]] = [[] for _ in arrays["flags"]]
    columns = (arrays[name] for name in ("boxes", "tracks", "labels", "sources", "whole"))
    for (t, x0, y0, x1, y1, score), track, label, source, drawn in zip(*columns, strict=True):
        own = None if track < 0 else int(track)
        edges = Box(float(x0), float(y0), float(x1), float(y1), float(score), own)
        boxes[int(t)].append(
            replace(edges, source=SOURCES[source], label=str(label), always_drawn=bool(drawn))
        )
    poses = zip(arrays["people"], arrays["landmarks"], arrays["world"], strict=True)
    for (t, track, score, *edges), landmarks, world in poses:
        left, top, right, bottom = map(float, edges)
        box = (left, top, right, bottom)
        people[int(t)].append(Person(int(track), float(score), box, landmarks, world))
    return [
        Region(
            boxes=tuple(boxes[t]),
            people=tuple(people[t]),
            full_frame=bool(full),
            cut=bool(cut),
            detected=bool(detected),
        )
        for t, (full, cut, detected) in enumerate(arrays["flags"])
    ]
