"""The numbers of a receipt: what was found and hidden, and what is said of the two files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from box_files import read_boxes
from numpy.typing import NDArray

import masquerade
from masquerade.errors import UsageError
from masquerade.pipeline.config import PipelineConfig, encoding_for, parse_scale, region_arguments
from masquerade.pipeline.coverage import HALF, CoverageCounter
from masquerade.pipeline.receipt import config_hash, noise_origin
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.regions.region import Region
from masquerade.storage import file_digest
from masquerade.video.probe import probe_in_process, tally_frames_in_process

OF_A_FILE = Box(2, 2, 12, 12, 0.9, track=1)
SEEN = Box(0, 0, 12, 1, 0.9, track=1)  # in the part that `hiding` hides
FILLED = replace(SEEN, source="interpolated")
CARRIED = replace(SEEN, source="extrapolated", track=2)


def hiding(pixels: int, size: int = 100) -> NDArray[np.uint8]:
    """A mask that hides so many pixels by half."""
    return ((np.arange(size) < pixels) * HALF).astype(np.uint8).reshape(1, size)


def test_every_frame_counts_as_what_it_is() -> None:
    counter = CoverageCounter(["faces"])
    for region, mask in (
        (Region(), hiding(0)),
        (Region(boxes=(SEEN,), cut=True), hiding(25)),
        (Region(boxes=(FILLED, CARRIED)), hiding(50)),
        (Region(boxes=(FILLED,)), hiding(10, 81)),
        (Region(), hiding(0)),
        (Region(boxes=(FILLED,)), hiding(25)),
        (Region(), hiding(30)),  # a map of strengths without boxes
        (Region(boxes=(SEEN, CARRIED, replace(FILLED, track=None))), hiding(1)),
        (Region(full_frame=True), None),
        (Region(cut=True), hiding(0)),
    ):
        counter.add(region, mask)
    found = counter.total()
    assert found.regions == (0, 1, 2, 1, 0, 1, 1, 3, 1, 0)
    assert found.share == (0, 0.25, 0.5, 0.12346, 0, 0.25, 0.3, 0.01, 1, 0)
    assert (found.seen, found.filled, found.tracks, found.cuts) == (2, 6, 2, 2)
    assert found.longest_gap == 2  # of one region, frames in a row; what is carried on is no gap
    assert (found.empty, found.missed, found.span, found.filled_whole) == (3, 1, 8, 1)
    assert found.frames == 10


def test_faces_and_people_are_counted_apart_and_nothing_else_as_one_of_them() -> None:
    """A face and a person of one number counted as one, and a region drawn by hand as a person."""
    counter = CoverageCounter(["people", "text"])
    for label in ("person", "face", "drawn", "text"):
        counter.add(Region(boxes=(replace(FILLED, label=label),)), hiding(10))
    counter.add(Region(boxes=(replace(SEEN, label="person"), SEEN)), hiding(10))
    assert counter.total().tracks == 2
    assert counter.total().longest_gap == 1  # each of these was filled in in one frame


def test_nothing_is_nothing_and_a_frame_asked_for_whole_is_not_uncertain() -> None:
    counter = CoverageCounter(["frame", "faces"])
    assert (counter.total().frames, counter.total().span) == (0, 0)
    counter.add(Region(), hiding(0))
    found = counter.total()
    assert (found.frames, found.empty, found.missed, found.span) == (1, 1, 0, 0)
    counter.add(Region(full_frame=True), None)
    assert counter.total().filled_whole == 0 and counter.total().span == 1


def film(path: Path) -> Path:
    """Twelve frames of noise, 64 x 48, 10 a second."""
    noise = np.random.default_rng(0).random((1, 3, 12, 48, 64), np.float32)
    masquerade.write_video(path, torch.from_numpy(noise), rate=10)
    return path


def test_what_is_said_of_source_and_output_is_what_a_reader_finds(tmp_path: Path) -> None:
    src, dst = film(tmp_path / "in.mkv"), tmp_path / "out.mp4"
    with BoxWriter(tmp_path / "b.json", width=64, height=48) as writer:
        for frame in range(12):
            writer.add(frame, [replace(OF_A_FILE, x1=34.0)])
    receipt = masquerade.anonymize_file(
        src,
        dst,
        masquerade.build("blacken"),
        regions=f"boxes:{tmp_path / 'b.json'}",
        export_boxes=tmp_path / "found.json",
        shape="box",
        mask_scale=1.0,
    )
    for facts, path in ((receipt.source, src), (receipt.output, dst)):
        info = probe_in_process(path)
        assert facts is not None
        assert (facts.name, facts.sha256) == (path.name, file_digest(path))
        assert facts.bytes == path.stat().st_size
        assert (facts.width, facts.height, facts.frames) == (
            64,
            48,
            tally_frames_in_process(path).shown,
        )
        assert (facts.container, facts.codec) == (info.container, info.codec)
        assert facts.seconds == info.duration == pytest.approx(1.2, abs=0.05)
    assert receipt.coverage.regions == (1,) * 12
    assert receipt.coverage.share == pytest.approx((32 * 10 / (64 * 48),) * 12, abs=1e-4)
    assert list(read_boxes(tmp_path / "found.json")) == list(range(12))
    written = json.loads((tmp_path / "out.mp4.receipt.json").read_text())
    assert written["coverage"]["regions"] == [1] * 12
    assert written["output"]["sha256"] == file_digest(dst)
    assert written["receipt"] == 1 and written["source"]["height"] == 48
    assert set(written["stage_seconds"]) >= {"decode", "regions", "anonymize"}


def test_a_shadow_run_counts_and_exports_the_same(tmp_path: Path) -> None:
    src = film(tmp_path / "in.mkv")
    with BoxWriter(tmp_path / "b.json", width=64, height=48) as writer:
        writer.add(3, [OF_A_FILE])
    given = {"regions": f"boxes:{tmp_path / 'b.json'}", "shadow": True}
    receipt = masquerade.anonymize_file(
        src,
        tmp_path / "out.mp4",
        masquerade.build("blacken"),
        export_boxes=tmp_path / "found.json",
        **given,
    )
    assert receipt.output is None and not (tmp_path / "out.mp4").exists()
    assert receipt.coverage.regions == (0, 0, 0, 1, *[0] * 8) and receipt.coverage.empty == 11
    assert list(read_boxes(tmp_path / "found.json")) == [3]


def test_where_noise_comes_from_is_said() -> None:
    assert "undoes" in noise_origin(3, keyed=True) and "undoes" in noise_origin(0, keyed=False)
    assert "key" in noise_origin(None, keyed=True)
    assert "operating system" in noise_origin(None, keyed=False)
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1}) != config_hash({"a": 1})


@pytest.mark.parametrize(
    ("text", "scale"),
    [("full", None), ("640x360", (640, 360)), ("640X16", (640, 16)), ("16", 16), ("99999", 99999)],
)
def test_a_scale_is_read(text: str, scale: object) -> None:
    assert parse_scale(text) == scale


@pytest.mark.parametrize("text", ["15", "640x15", "100000", "1x2x3", "16x16x16", "", "x", "6_4"])
def test_another_scale_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="scale is WxH"):
        parse_scale(text)


@pytest.mark.parametrize(
    ("text", "bits"),
    [("2M", 2_000_000), ("1.5m", 1_500_000), ("800k", 800_000), ("7K", 7000), ("1234", 1234)],
)
def test_a_bitrate_is_read(text: str, bits: int) -> None:
    encoding = encoding_for(PipelineConfig(bitrate=text, codec="h265", crf=None), threads=3)
    assert (encoding.bitrate, encoding.codec, encoding.threads) == (bits, "h265", 3)
    assert encoding_for(PipelineConfig(bitrate="source")).bitrate == "source"
    with pytest.raises(UsageError, match="bits a second"):
        encoding_for(PipelineConfig(bitrate=text + "b"))


def test_regions_take_what_is_theirs_alone() -> None:
    both = PipelineConfig(regions="faces+people", threshold=0.4, scale="320x200", max_size=90)
    faces, people = (arguments for _, arguments in region_arguments(both))
    assert (faces["threshold"], faces["scale"], faces["max_size"]) == (0.4, (320, 200), 90)
    assert people["threshold"] == 0.4 and "max_size" not in people
    assert [name for name, _ in region_arguments(PipelineConfig())] == ["people"]
    ((name, boxes),) = region_arguments(PipelineConfig(regions="boxes:a:b.json"))
    assert name == "boxes" and boxes == {"file": Path("a:b.json")}
    for wrong in ("boxes", "boxes+faces:x", "boxes+faces", "people:x", "frames", "faces+"):
        with pytest.raises(UsageError):
            region_arguments(PipelineConfig(regions=wrong))
    with pytest.raises(UsageError, match="--max-size"):
        region_arguments(PipelineConfig(regions="people", max_size=90))
