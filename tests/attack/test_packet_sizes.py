"""Sizes of packets tell when somebody moves behind any picture, unless the rate is constant."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from masquerade.attack.packet_sizes import (
    LEAST_PARTS,
    compare_packet_sizes,
    correlation,
    size_series,
)
from masquerade.video.probe import PacketFacts

COUNT, RATE = 150, 25
CONSTANT = {  # as docs/attack.md has it
    "x264-params": "nal-hrd=cbr:vbv-maxrate=2000:vbv-bufsize=80:bitrate=2000:keyint=1000",
    "preset": "veryfast",
    "tune": "zerolatency",
}
USUAL = {"crf": "20", "preset": "veryfast"}


def film(path: Path, *, sigma: float, options: dict[str, str], seed: int = 0) -> Path:
    """Something that moves now and then, all the more hidden the larger `sigma` is."""
    rng = np.random.default_rng(7)
    scene = rng.integers(0, 255, (120, 160, 3)).astype(np.uint8)
    thing = rng.integers(0, 255, (60, 60, 3)).astype(np.uint8)
    moves = np.random.default_rng(seed).random(COUNT // 10) < 0.5  # in each tenth frame's stretch
    left = 0
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(COUNT):
            left = (left + 3 * int(moves[number // 10])) % 100
            frame = scene.copy()
            frame[30:90, left : left + 60] = thing
            frame = cv2.GaussianBlur(frame, (0, 0), sigma) if sigma else frame
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("raw") / "raw.mp4", sigma=0, options=USUAL)


def test_packets_follow_what_moves_behind_a_strong_blur(raw: Path, tmp_path: Path) -> None:
    found = compare_packet_sizes(film(tmp_path / "a.mp4", sigma=6, options=USUAL), raw)
    assert found.level == "left" and "can tell when and how much somebody moves" in found.says


def test_packets_of_another_video_or_of_a_constant_rate_follow_nothing(
    raw: Path, tmp_path: Path
) -> None:
    other = film(tmp_path / "other.mp4", sigma=6, options=USUAL, seed=1)
    assert compare_packet_sizes(other, raw).level == "nothing"
    constant = film(tmp_path / "constant.mp4", sigma=6, options=CONSTANT)
    assert compare_packet_sizes(constant, raw).level == "nothing"


def test_too_short_a_video_is_said_to_be(raw: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    with av.open(str(raw)) as source, av.open(str(short), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number < 20:
                packet.stream = stream
                out.mux(packet)
    found = compare_packet_sizes(short, raw)
    assert found.level == "nothing" and f"{LEAST_PARTS} are needed" in found.says


def test_a_file_of_impossible_length_is_not_compared() -> None:
    """An MP4 may say of a frame that it is shown for years: a part each .2 s would fill memory."""
    packets = [PacketFacts(1000 + number, False, 0.04) for number in range(100)]
    assert len(size_series(packets)) == 20
    assert not len(size_series([*packets, PacketFacts(1000, False, 2.0**31)]))
    assert not len(size_series([*packets, PacketFacts(1000, False, float("inf"))]))


def test_what_changes_slowly_is_not_like_something_else_by_chance() -> None:
    """Two walks that have nothing to do with one another look alike in many trials."""
    rng = np.random.default_rng(0)
    walks = rng.normal(size=(400, 2, 60)).cumsum(axis=2)
    sure = [correlation(a, b) for a, b in walks]
    assert np.mean([abs(like) > 0.3 for like, _ in sure]) > 0.2
    assert np.mean([like > 0.3 and errors > 3 for like, errors in sure]) < 0.05
