"""Attacks look with all networks; without them there is nothing to test."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from masquerade.attack.published_detection import PublishedDetection
from masquerade.errors import MissingError
from masquerade.regions.face_detectors import centerface_file
from masquerade.regions.model_files import model_file


@pytest.fixture(autouse=True, scope="session")
def networks() -> None:
    try:
        centerface_file()
        model_file("people detection")
        model_file("text detection")
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def nothing_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known noise and restoring networks are tried alone: undoing takes most of the time."""
    monkeypatch.setattr(PublishedDetection, "detect", lambda *_, **__: None)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of grey videos, each with noise of its own; nobody is in them."""
    folder = tmp_path / "published"
    folder.mkdir()
    for seed, name in enumerate(("bad", "fine")):
        rng = np.random.default_rng(seed)
        with av.open(str(folder / f"{name}.mp4"), "w") as out:
            stream = out.add_stream("libx264", rate=5)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(20):
                frame = rng.integers(120, 136, (48, 64, 3)).astype(np.uint8)
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, 5)
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
    return folder


@pytest.fixture
def raw_videos(videos: Path, tmp_path: Path) -> Path:
    """A folder of the same videos, as raw ones of theirs."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for video in videos.iterdir():
        (folder / video.name).write_bytes(video.read_bytes())
    return folder
