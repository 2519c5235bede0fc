"""How many pictures a file really holds, without decoding them."""

from __future__ import annotations

from pathlib import Path

from masquerade.video.opening import opened
from masquerade.video.probe import main_stream


def count_pictures(path: Path) -> int:
    """The packets of the video stream, counted one by one."""
    with opened(path) as container:
        return sum(1 for p in container.demux(main_stream(container, path)) if p.size)
