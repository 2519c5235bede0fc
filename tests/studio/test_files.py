"""What the studio keeps on the disk: copies in pieces, what was found, and decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from masquerade.anonymizer import Person
from masquerade.errors import UsageError, VideoError
from masquerade.pipeline.edits import EditedSource, Edits
from masquerade.regions.boxes import Box
from masquerade.regions.region import Region
from masquerade.studio.found_pieces import LENGTH, FoundReader, FoundWriter
from masquerade.studio.history import History
from masquerade.studio.studio import Studio
from masquerade.video.segments import SegmentReader, SegmentWriter, copy_size


def test_a_copy_is_read_in_any_order(tmp_path: Path) -> None:
    writer, reader = SegmentWriter(tmp_path), SegmentReader(tmp_path)
    frames = [np.full((48, 64, 3), 3 * t, np.uint8) for t in range(70)]
    for frame in frames[:40]:
        writer.add(frame)
    assert writer.frames == 32
    with pytest.raises(VideoError, match="no frame"):
        reader.read(39)
    for frame in frames[40:]:
        writer.add(frame)
    writer.flush()
    for t in (69, 0, 33, 64, 31, 5):
        assert np.abs(reader.read(t).astype(int) - 3 * t).max() <= 3
    for t in (70, 96, -1):
        with pytest.raises(VideoError, match="no frame"):
            reader.read(t)
    (tmp_path / "1.mkv").write_bytes(b"damaged")
    with pytest.raises(Exception, match="damaged"):
        SegmentReader(tmp_path).read(40)


@pytest.mark.parametrize(
    ("size", "small"), [((640, 480), (640, 480)), ((1920, 1080), (960, 540)), ((3, 5), (4, 4))]
)
def test_a_copy_is_never_enlarged(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert copy_size(*size) == small


def test_what_was_found_is_read_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask = ((rng.random((12, 16)) > 0.5) * 255).astype(np.uint8)
    person = Person(4, 0.5, (1.0, 2.0, 3.0, 4.0), rng.random((33, 5)), rng.random((33, 3)))
    regions = [
        Region(boxes=(Box(1, 2, 3, 4, 0.5, 7, "interpolated", "person"),), mask=mask, cut=True),
        Region(full_frame=True, detected=False),
        Region(boxes=(Box(0, 0, 5, 5, 1.0),), people=(person,), strength=mask // 2),
    ]
    writer, reader = FoundWriter(tmp_path, (16, 12)), FoundReader(tmp_path, (16, 12))
    for t in range(LENGTH + 3):
        writer.add(regions[t % 3])
    assert reader.read(LENGTH) is None
    writer.flush()
    for t in (LENGTH + 2, 0, 1, 2, LENGTH):
        found, meant = reader.read(t), regions[t % 3]
        assert found is not None and found.boxes == meant.boxes
        assert (found.full_frame, found.cut, found.detected) == (
            meant.full_frame,
            meant.cut,
            meant.detected,
        )
        for name in ("mask", "strength"):
            np.testing.assert_array_equal(getattr(found, name), getattr(meant, name))
        for one, other in zip(found.people, meant.people, strict=True):
            assert one[:3] == other[:3]
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
    assert reader.read(LENGTH + 3) is None


def test_what_is_mostly_empty_is_small_on_the_disk(tmp_path: Path) -> None:
    """Half a megabyte a frame filled the disk of whoever pointed at a part of a long video."""
    strength = np.zeros((540, 960), np.uint8)
    strength[100:160, 200:280] = np.random.default_rng(0).integers(0, 255, (60, 80))
    writer = FoundWriter(tmp_path, (960, 540))
    for _ in range(LENGTH):
        writer.add(Region(strength=strength, mask=np.where(strength > 0, 255, 0).astype(np.uint8)))
    (piece,) = tmp_path.iterdir()
    assert piece.stat().st_size < LENGTH * 16_000
    found = FoundReader(tmp_path, (960, 540)).read(LENGTH - 1)
    assert found is not None
    np.testing.assert_array_equal(found.strength, strength)
    np.testing.assert_array_equal(found.mask, np.where(strength > 0, 255, 0))


def edits(**decided: Any) -> Edits:
    source = EditedSource(name="a.mp4", sha256="0", width=4, height=4)
    return Edits(source=source, **decided)


def test_decisions_are_taken_back_and_done_again(tmp_path: Path) -> None:
    file = tmp_path / "edits.json"
    history = History(edits(), file, by="nurse")
    for track in (1, 2):
        history.decide(f"leave {track}", lambda e, track=track: edits(visible=(*e.visible, track)))
    assert history.undo_name == "leave 2" and Edits.read(file).visible == (1, 2)
    history.undo()
    assert Edits.read(file).visible == (1,) and history.redo_name == "leave 2"
    history.redo()
    history.undo()
    history.decide("leave 3", lambda e: edits(visible=(3,)))
    assert history.redo_name is None and history.revision == 6
    said = [(line.by, line.what) for line in Edits.read(file).log]
    assert said[-1] == ("nurse", "leave 3")
    with pytest.raises(UsageError, match="again"):
        history.redo()

    def refused(_: Edits) -> Edits:
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        history.decide("x", refused)
    history.decide("nothing", lambda e: e)
    assert Edits.read(file).visible == (3,) and history.revision == 6
    history.undo()
    history.undo()
    with pytest.raises(UsageError, match="take back"):
        history.undo()


def test_folders_are_private_and_end_with_the_process(tmp_path: Path) -> None:
    studio = Studio(state=tmp_path / "state")
    try:
        places = [tmp_path / "state", *(tmp_path / "state").iterdir(), studio._temporary.path]
        assert {path.stat().st_mode & 0o777 for path in places} == {0o700}
    finally:
        studio.close()
    assert not studio._temporary.path.exists()
    with pytest.raises(UsageError, match="no folder"):
        Studio(root=tmp_path / "none", state=tmp_path / "state")
