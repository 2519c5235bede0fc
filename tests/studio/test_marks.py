"""Where the strip asks a user to look."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from masquerade.pipeline.edits import EditedSource, Edits
from masquerade.regions.boxes import Box
from masquerade.regions.region import Region
from masquerade.studio.scans import Scan

SIZE = 64, 48
FACE = Box(8.0, 8.0, 20.0, 20.0, 0.9, 0, "detected", "face")
PART = np.full(SIZE[::-1], 255, np.uint8)


def scan(folder: Path, regions: str) -> Scan:
    source = EditedSource(name="a.mp4", sha256="0" * 64, width=SIZE[0], height=SIZE[1])
    edits = Edits(source=source, settings={"regions": regions}, method="blacken")
    return Scan(edits, folder / "a.mp4", folder, SIZE, lambda: None)


def test_a_region_that_was_followed_is_to_be_looked_at(tmp_path: Path) -> None:
    found = scan(tmp_path, "faces")
    for frame in range(12):
        found._add(Region(boxes=(FACE,) if frame < 4 else ()))
    (missed,) = found.marks()
    assert (missed["kind"], missed["first"], missed["last"]) == ("nothing", 4, 11)
    marks = found.marks(drawn=[6], followed=range(5, 9))
    assert [(one["kind"], one["first"], one["last"]) for one in marks] == [
        ("nothing", 4, 4),
        ("unsure", 5, 8),
        ("nothing", 9, 11),
    ]
    assert "still in its place" in marks[1]["text"]
    assert found.marks(drawn=range(4, 12), followed=range(12)) == []


def test_a_part_that_is_found_does_not_hide_that_no_face_is(tmp_path: Path) -> None:
    found = scan(tmp_path, "faces")
    found._add(Region(strength=PART))
    assert [one["kind"] for one in found.marks()] == ["nothing"]
