"""The counts of frames that were hidden, missed, or hidden whole."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import masquerade
from masquerade.cli.progress import summary
from masquerade.errors import OutputError
from masquerade.pipeline.coverage import (
    HALF,
    CoverageCounter,
    DatasetCoverage,
    FrameCounts,
    check_dataset_coverage,
    find_gaps,
)
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.regions.region import Region

FACE = Region(boxes=(Box(8, 8, 40, 40, 1.0),))


def counted(*sources: str, regions: list[Region]) -> FrameCounts:
    counter = CoverageCounter(sources)
    for region in regions:
        mask = np.zeros((48, 96), np.uint8)
        for box in region.boxes:
            mask[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = 255
        counter.add(region, None if region.full_frame else mask)
    return counter.total()


def test_frames_are_counted_by_what_was_hidden() -> None:
    none, whole = Region(), Region(full_frame=True)
    found = counted("faces", regions=[none, FACE, none, none, FACE, whole, none])
    assert (found.frames, found.empty, found.missed, found.span) == (7, 4, 2, 5)
    assert found.filled_whole == 1 and not found.hid_nothing
    assert counted("faces", "frame", regions=[whole]).filled_whole == 0
    assert counted("faces", regions=[none, none]).hid_nothing
    assert counted("faces", regions=[FACE]) + counted("faces", regions=[none]) == FrameCounts(
        frames=2, empty=1, span=1
    )


def test_one_who_is_lost_while_another_is_found_is_no_gap() -> None:
    """As the README says: frames are counted in which nothing at all was found."""
    one, other = (Box(x, 8, x + 20, 40, 1.0, label="person", track=x) for x in (8, 60))
    both, alone = Region(boxes=(one, other)), Region(boxes=(one,))
    found = counted("people", regions=[both, *[alone] * 10, both])
    assert found.missed == 0 and found.span == 12 and find_gaps(found, ["people"]) == []
    none = counted("people", regions=[both, *[Region()] * 10, both])
    assert none.missed == 10 and len(find_gaps(none, ["people"])) == 1


def test_a_single_pixel_of_a_large_frame_is_hidden() -> None:
    counter, mask = CoverageCounter(["faces"]), np.zeros((2000, 3000), np.uint8)
    mask[5, 5] = 255
    counter.add(Region(boxes=(Box(5, 5, 6, 6, 1.0),)), mask)
    assert counter.total().empty == 0 and counter.total().share == (1e-5,)


def test_a_single_pixel_of_a_large_frame_is_not_hidden() -> None:
    counter, mask = CoverageCounter(["frame"]), np.full((2160, 3840), 255, np.uint8)
    counter.add(Region(full_frame=True), mask)
    mask[5, 5] = 0
    counter.add(Region(full_frame=True), mask)
    assert counter.total().share == (1, 0.99999)
    printed = SimpleNamespace(
        coverage=counter.total(),
        source=SimpleNamespace(frames=2),
        hidden_by="blur",
        regions=[SimpleNamespace(name="frame")],
    )
    assert summary(printed).startswith("99.9% to 100.0% of the area")  # type: ignore[arg-type]


def test_what_hides_by_less_than_half_hides_nothing() -> None:
    """A weak match of a template dims the picture and leaves it to be seen."""
    counter, faint = CoverageCounter(["templates"]), np.full((48, 96), HALF - 1, np.uint8)
    counter.add(Region(strength=faint), faint)
    assert counter.total().hid_nothing and counter.total().regions == (0,)
    counter.add(Region(strength=faint), faint + 1)
    assert counter.total().empty == 1 and counter.total().regions == (0, 1)


def test_the_receipt_counts_the_frames_in_which_nothing_was_hidden(tmp_path: Path) -> None:
    with BoxWriter(tmp_path / "boxes.json", width=96, height=48) as writer:
        for number in (2, 3, 5):
            writer.add(number, FACE.boxes)
    masquerade.write_video(tmp_path / "in.mp4", torch.rand(1, 3, 9, 48, 96))
    masquerade.anonymize_file(
        tmp_path / "in.mp4",
        tmp_path / "out.mp4",
        masquerade.build("blacken"),
        regions=f"boxes:{tmp_path / 'boxes.json'}",
    )
    stored = json.loads((tmp_path / "out.mp4.receipt.json").read_text())["coverage"]
    assert [stored[name] for name in ("frames", "empty", "missed", "span")] == [9, 6, 1, 4]
    assert [share > 0 for share in stored["share"]] == [t in (2, 3, 5) for t in range(9)]


@pytest.mark.parametrize(
    ("last", "given", "told"),
    [(8, {}, False), (9, {}, True), (9, {"shadow": True}, True), (9, {"preview": 0.1}, False)],
)
@pytest.mark.parametrize("regions", ["boxes", "frame+boxes"])
def test_a_file_of_boxes_of_a_longer_video_is_told(
    tmp_path: Path, last: int, given: dict[str, Any], told: bool, regions: str
) -> None:
    with BoxWriter(tmp_path / "boxes.json", width=96, height=48) as writer:
        for number in range(last + 1):
            writer.add(number, FACE.boxes)
    masquerade.write_video(tmp_path / "in.mp4", torch.rand(1, 3, 9, 48, 96))
    receipt = masquerade.anonymize_file(
        tmp_path / "in.mp4",
        tmp_path / "out.mp4",
        masquerade.build("blacken"),
        regions=f"{regions}:{tmp_path / 'boxes.json'}",
        **given,
    )
    said = "the file of boxes goes on to frame 9, and the video ends with frame 8"
    assert [said in one for one in receipt.warnings if "boxes" in one] == [True] * told


def test_a_dataset_is_held_to_the_same_rule() -> None:
    videos = {
        "good": FrameCounts(frames=60, empty=10, missed=1, span=50),
        "empty": FrameCounts(frames=60, empty=60),
        "lost": FrameCounts(frames=60, empty=12, missed=2, span=50),
        "whole": FrameCounts(frames=60, span=60, filled_whole=1),
    }
    with pytest.raises(OutputError) as caught:
        check_dataset_coverage(videos, ["people"], allow_empty=False, allow_gaps=False)
    assert "1 of 4 videos (empty), which --allow-empty" in str(caught.value)
    assert "2 of 4 videos (lost, whole), which --allow-gaps" in str(caught.value)
    for allowed in ({"allow_empty": True, "allow_gaps": False}, {"allow_empty": False}):
        with pytest.raises(OutputError):
            check_dataset_coverage(videos, ["people"], **{"allow_gaps": True, **allowed})
    found = check_dataset_coverage(videos, ["people"], allow_empty=True, allow_gaps=True)
    assert isinstance(found, DatasetCoverage) and list(found.unpublished) == [
        "empty",
        "lost",
        "whole",
    ]
    assert found.counts.frames == 240 and "2 of the 50 frames" in found.unpublished["lost"]
    meant = {name: videos[name] for name in ("good", "lost")}  # gaps in boxes are their author's
    check_dataset_coverage(meant, ["boxes"], allow_empty=False, allow_gaps=False)
