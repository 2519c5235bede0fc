"""What tests read of files of boxes."""

from __future__ import annotations

from pathlib import Path

from masquerade.regions.boxes import Box, parse_boxes, read_box_file


def read_boxes(path: Path) -> dict[int, list[Box]]:
    """The boxes of a file by frame number, without the frame size that it is for."""
    return parse_boxes(read_box_file(path), path.name)[1]
