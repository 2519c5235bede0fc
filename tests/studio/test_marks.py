"""Where the strip asks a user to look."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from masquerade.pipeline.edits import EditedSource, Edits
from masquerade.regions.boxes import Box
from masquerade.regions.drawn import DRAWN_TRACKS, DrawnRegion, Edges
from masquerade.regions.region import Region
from masquerade.studio.scans import Scan

SIZE = 64, 48
FACE = Box(8.0, 8.0, 20.0, 20.0, 0.9, 0, "detected", "face")
PART = np.full(SIZE[::-1], 255, np.uint8)


def scan(folder: Path, regions: str) -> Scan:
    source = EditedSource(name="a.mp4", sha256="0" * 64, width=SIZE[0], height=SIZE[1])
    edits = Edits(source=source, settings={"regions": regions}, method="blacken")
    return Scan(edits, folder / "a.mp4", folder, SIZE, lambda: None)


def drawn(frames: Iterable[int], *keys: int, box: Edges = (4.0, 4.0, 9.0, 9.0)) -> DrawnRegion:
    return DrawnRegion(DRAWN_TRACKS, dict.fromkeys(frames, box), keys)


def test_a_region_that_was_followed_is_to_be_looked_at(tmp_path: Path) -> None:
    found = scan(tmp_path, "faces")
    for frame in range(12):
        found._add(Region(boxes=(FACE,) if frame < 4 else ()))
    (missed,) = found.marks()
    assert (missed["kind"], missed["first"], missed["last"]) == ("nothing", 4, 11)
    marks = found.marks([drawn(range(5, 9), 6)])
    assert [(one["kind"], one["first"], one["last"]) for one in marks] == [
        ("nothing", 4, 4),
        ("unsure", 5, 8),
        ("nothing", 9, 11),
    ]
    assert "still in its place" in marks[1]["text"]
    assert found.marks([drawn(range(12), *range(4, 12))]) == []


def test_a_mark_about_a_drawn_region_is_another_one_where_that_lies_elsewhere(
    tmp_path: Path,
) -> None:
    """One that was looked at stayed so after the region was moved out of its place."""
    found = scan(tmp_path, "faces")
    for _ in range(12):
        found._add(Region())
    one = drawn(range(3, 9), 5)
    there = {t: one.boxes[3] if t < 7 else (30.0, 30.0, 40.0, 40.0) for t in one.boxes}

    def asked(*regions: DrawnRegion) -> list[object]:
        return [mark["boxes"] for mark in found.marks(regions) if "boxes" in mark]

    (before,) = asked(one)
    assert [before] == asked(one) == asked(drawn(range(3, 9), 5))
    assert asked(DrawnRegion(DRAWN_TRACKS, there, (5,))) != [before]
    assert asked(one, drawn([8], 8, box=(40.0, 4.0, 50.0, 9.0))) != [before]
    first, second = asked(drawn([0, 1, 6, 7]))
    assert first != second
    assert asked(DrawnRegion(DRAWN_TRACKS, {**drawn([0, 1]).boxes, 7: there[8]}))[0] == first


def test_a_part_that_is_found_does_not_hide_that_no_face_is(tmp_path: Path) -> None:
    found = scan(tmp_path, "faces")
    found._add(Region(strength=PART))
    assert [one["kind"] for one in found.marks()] == ["nothing"]
