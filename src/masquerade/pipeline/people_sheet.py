"""A sheet of who is in a video, with the IDs by which people are kept visible or hidden.

It shows people as they are, and is not for release. IDs are the numbers of tracks: the same video
with the same settings has the same IDs, whoever is then left visible.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.errors import UsageError
from masquerade.pipeline.config import BESIDE_CHOSEN, Pipeline, followed_label, source_names
from masquerade.pipeline.constant_frame_rate import exact_rate
from masquerade.pipeline.memory import check_memory
from masquerade.pipeline.single_file import OnProgress, expected_frames, within_preview
from masquerade.pipeline.source_file import check_source
from masquerade.regions.boxes import Box, covered_share
from masquerade.storage import atomic_write
from masquerade.video.decoding_process import probe
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

SIDE, TEXT = 160, 44  # pixels of a thumbnail, and of the lines below it
COLUMNS = 5
MOST = 400  # thumbnails; of more people, those of who was seen longest
PRIVATE = "PRIVATE: shows people as they are. Not for release."
LARGER = 1.1  # by how much a face or person must be larger for a new thumbnail

Pixels = NDArray[np.uint8]


@dataclass
class SeenPerson:
    """One track: when it was seen, and its largest picture."""

    id: int
    first: float  # in seconds from the first frame
    last: float
    frames: int = 0
    size: float = 0.0  # of the thumbnail in pixels of the frame, less where others are in it
    thumbnail: Pixels | None = None


def find_people(src: Path, pipeline: Pipeline, progress: OnProgress) -> list[SeenPerson]:
    """Everybody whom the region source of a pipeline follows in a video, by ID.

    `progress` is called with (frames done, about how many in all, or None).
    """
    config, source = pipeline.config, pipeline.regions
    kind, besides = followed_label(config), source_names(config)[1:]
    if kind is None or not config.track or not BESIDE_CHOSEN.issuperset(besides):
        raise UsageError(
            "--list-people is of faces or of people that are tracked, alone or before templates, "
            "text or boxes; name one."
        )
    if kind == "person" and config.detector not in (None, "pose"):
        raise UsageError(
            f"--detector {config.detector} follows nobody by number; leave it out, or "
            "--list-people."
        )
    check_source(src, sequence=config.sequence)
    seen: dict[int, SeenPerson] = {}
    start: float | None = None  # in seconds; players count from the first frame
    info = probe(src, rate=exact_rate(config.sequence))
    check_memory(info, source, window=1)
    total = expected_frames(info, config.preview)
    with Reader(
        src,
        info=info,
        salvage=config.salvage,
        force_8bit=config.force_8bit,
        threads=config.threads,
    ) as reader:
        items = within_preview(reader, config.preview)
        frames, pictures = tee(item for item in items if isinstance(item, Frame))
        both = zip(frames, source(pictures), strict=True)
        for done, (frame, region) in enumerate(both, 1):
            progress(done, total and max(total, done))
            start = frame.time if start is None else start
            boxes = [box for box in (*region.boxes, *region.visible) if box.label == kind]
            for box in boxes:
                if box.track is not None:
                    others = [other for other in boxes if other is not box]
                    _add(seen, frame, frame.time - start, box, others)
            pictured = [person for person in seen.values() if person.thumbnail is not None]
            if len(pictured) > 2 * MOST:  # who is seen again gets a new one
                for person in _by_frames(pictured)[MOST:]:
                    person.thumbnail = None
    return sorted(seen.values(), key=lambda person: person.id)


def _by_frames(people: Iterable[SeenPerson]) -> list[SeenPerson]:
    """Who was seen longest comes first."""
    return sorted(people, key=lambda person: -person.frames)


def _add(
    seen: dict[int, SeenPerson], frame: Frame, seconds: float, box: Box, others: list[Box]
) -> None:
    """Count a sighting, and take a new thumbnail if it shows more of this person alone."""
    assert box.track is not None
    person = seen.setdefault(box.track, SeenPerson(box.track, seconds, seconds))
    person.frames, person.last = person.frames + 1, seconds
    inside = box.clip(frame.width, frame.height)
    if inside is None or box.source != "detected":
        return
    shared = max((covered_share(inside, other) for other in others), default=0.0)
    size = inside.width * inside.height * (1 - shared) ** 4
    x0, y0, x1, y1 = map(round, (inside.x0, inside.y0, inside.x1, inside.y1))
    if x1 > x0 and y1 > y0 and (person.thumbnail is None or size > LARGER * person.size):
        person.size = size
        pixels = np.asarray(frame.rgb((frame.width, frame.height)), np.uint8)
        person.thumbnail = fit(pixels[y0:y1, x0:x1])


def fit(picture: Pixels) -> Pixels:
    """A picture within a square tile, (SIDE, SIDE, 3)."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    tile = np.zeros((SIDE, SIDE, 3), np.uint8)
    y, x = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    tile[y : y + size[1], x : x + size[0]] = small
    return tile


def write_sheet(people: list[SeenPerson], path: Path, *, overwrite: bool) -> int:
    """Write the thumbnails with their IDs as one PNG that only its owner can read.

    Returns how many people are not on it, as there are too many for one picture.
    """
    listed = sorted(_by_frames(people)[:MOST], key=lambda person: person.id)
    rows = max(1, -(-len(listed) // COLUMNS))
    sheet = np.full((30 + rows * (SIDE + TEXT), COLUMNS * (SIDE + 10), 3), 255, np.uint8)
    missing = len(people) - len(listed)
    more = f" {missing} more people are not on it." if missing else ""
    _write(sheet, PRIVATE + more, 6, 20, colour=(200, 0, 0))
    for number, person in enumerate(listed):
        x, y = number % COLUMNS * (SIDE + 10) + 5, 30 + number // COLUMNS * (SIDE + TEXT)
        if person.thumbnail is not None:
            sheet[y : y + SIDE, x : x + SIDE] = person.thumbnail
        _write(sheet, f"ID {person.id}", x, y + SIDE + 16)
        _write(sheet, f"{when(person)}", x, y + SIDE + 34, scale=0.4)
    done, data = cv2.imencode(".png", sheet[..., ::-1])
    assert done
    with atomic_write(path, overwrite=overwrite, private=True) as part:
        part.write_bytes(data.tobytes())
    return missing


def when(person: SeenPerson) -> str:
    """When a person is seen, in words."""
    clock = [
        f"{int(t) // 60}:{int(t) % 60:02d}" for t in (max(0, person.first), max(0, person.last))
    ]
    return f"{clock[0]} to {clock[1]}, {person.frames} frames"


def _write(
    sheet: Pixels,
    text: str,
    x: int,
    y: int,
    *,
    scale: float = 0.5,
    colour: tuple[int, int, int] = (0, 0, 0),
) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
