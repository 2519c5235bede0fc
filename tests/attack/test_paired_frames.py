"""Frames of a published video are compared with the raw ones of their times."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import masquerade
from masquerade.attack.paired_frames import read_windows, spread_numbers
from masquerade.cli import main
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.single_file import run_file

LEVELS = (20, 80, 140, 200)


def slides(path: Path, *, last: float) -> Path:
    """Four grey pictures a tenth of a second apart, of which the last is shown for longer."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"tune": "zerolatency", "bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number, level in enumerate(LEVELS):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))
            for packet in video.encode(picture):
                seconds = last if number == len(LEVELS) - 1 else 0.1
                packet.duration = round(seconds / packet.time_base)
                out.mux(packet)
    return path


@pytest.mark.parametrize("rate", [7, 30])
def test_every_frame_at_a_constant_rate_has_its_raw_one(tmp_path: Path, rate: int) -> None:
    source, out = slides(tmp_path / "in.mp4", last=1), tmp_path / "out.mp4"
    seen = []

    def look(part: Path, raw: Path | None, name: str) -> None:
        with av.open(str(part)) as file:
            count = sum(packet.size > 0 for packet in file.demux(video=0))
        seen.extend(read_windows(part, raw, range(count)))

    config = PipelineConfig(regions="frame", cfr=rate)
    pipeline = build_pipeline(masquerade.build("blur"), config)
    receipt = run_file(source, out, pipeline._replace(check_output=look))
    assert receipt.verified and len(seen) == receipt.output.frames > rate
    for window in seen:  # the nearest in time, or a neighbour, as the attack looks at them
        shown = int(window.published.mean())
        assert min(abs(shown - int(raw.mean())) for raw in window.raw) < 8


def test_a_receipt_tells_that_a_folder_of_images_was_not_compared(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, level in enumerate(LEVELS):
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), np.full((48, 64), level, np.uint8))
    given = []
    pipeline = build_pipeline(
        masquerade.build("blacken"), PipelineConfig(regions="frame", sequence=10.0)
    )
    pipeline = pipeline._replace(check_output=lambda *args: given.append(args[1]))
    receipt = run_file(tmp_path / "in", tmp_path / "out.mp4", pipeline)
    assert given == [None] and receipt.verified
    assert "--verify looked at the output alone" in receipt.warnings[0]


def transparent(folder: Path, pixels: np.ndarray) -> tuple[Path, Path]:
    """Two files of one picture, all of whose pixels are transparent."""
    whole = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    paths = folder / "published.png", folder / "raw.png"
    for packing, path in enumerate(paths):
        cv2.imwrite(str(path), whole, [cv2.IMWRITE_PNG_COMPRESSION, packing])
    return paths


def test_transparent_raw_pixels_are_compared_as_they_are_and_over_black(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    published, raw = transparent(tmp_path, pixels)
    (copied,) = read_windows(published, raw, [0])
    assert copied.opaque and np.array_equal(copied.raw[0], copied.published)
    assert any(not one.any() for one in copied.raw)
    cv2.imwrite(str(published), np.zeros_like(pixels))  # as `anonymize` makes its output of it
    (over_black,) = read_windows(published, raw, [0])
    assert not over_black.opaque and np.array_equal(over_black.raw[0], over_black.published)
    assert any(one.any() for one in over_black.raw)


def test_a_transparent_picture_that_was_not_changed_is_recovered(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    published, raw = transparent(tmp_path, pixels)
    words = ["attack", str(published), "--raw", str(raw), "--hidden", "frame", "--quick"]
    assert main(words) == 4


@pytest.mark.parametrize("count", [61, 590, 600, 100_000])
def test_the_first_and_the_last_frame_are_looked_at_and_those_spread_between(count: int) -> None:
    chosen = spread_numbers(count, 60)
    steps = [after - before for before, after in pairwise(chosen)]
    assert len(chosen) == 60 and chosen[0] == 0 and chosen[-1] == count - 1
    assert min(steps) > 0 and max(steps) - min(steps) <= 1
    assert spread_numbers(60, 60) == list(range(60)) and spread_numbers(9, 1) == [4]
    assert spread_numbers(9, 2) == [0, 8]


def test_what_recurs_in_every_ten_frames_of_twenty_seconds_is_looked_at() -> None:
    for first in range(10):
        assert any(first <= number % 10 < first + 4 for number in spread_numbers(600, 60))
