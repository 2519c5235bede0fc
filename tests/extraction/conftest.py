"""Two short videos for the tests of extraction."""

from __future__ import annotations

from pathlib import Path

import pytest
from counting_videos import counting, manifest_of

from masquerade.datasets.manifest import Manifest


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    """Two videos of 40 and 20 frames, and the first one's frames 10 to 29."""
    counting(tmp_path / "a.mp4", 40)
    counting(tmp_path / "b.mp4", 20, offset=2)
    return manifest_of(
        tmp_path, [("a.mp4", "x", "", ""), ("b.mp4", "y", "", ""), ("a.mp4", "z", 10, 29)]
    )
