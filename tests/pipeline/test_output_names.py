"""What the name of an output decides: container, codec, and how masks are kept."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

import masquerade
from masquerade.errors import UsageError
from masquerade.pipeline.config import PipelineConfig, encoding_for
from masquerade.pipeline.outputs import FileTask, check_outputs
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.video.encoding import codec_for


def run(src: Path, dst: Path, **settings: object) -> masquerade.Receipt:
    """The first frames of a clip, blackened: quick."""
    return masquerade.anonymize_file(
        src, dst, masquerade.build("blacken"), regions="frame", preview=0.2, **settings
    )


def opened(path: Path) -> tuple[str, list[np.ndarray]]:
    """A video's codec and frames; what FFmpeg says against the file fails."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=False) as said, av.open(str(path)) as file:
            codec = file.streams.video[0].codec_context.name
            frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    finally:
        av.logging.set_level(before)
    assert not said, said
    return codec, frames


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.webm", "vp9"), ("a.MKV", "h264"), ("a.mov", "h264"), ("a.avi", "h264"), ("a", "h264")],
)
def test_the_name_chooses_the_codec(name: str, codec: str, clip: Path, tmp_path: Path) -> None:
    assert codec_for(name) == codec
    run(clip, tmp_path / name)
    found, frames = opened(tmp_path / name)
    assert codec in found and len(frames) == 5


def test_a_named_codec_is_kept(clip: Path, tmp_path: Path) -> None:
    run(clip, tmp_path / "a.mkv", codec="vp9", crf=60)
    assert "vp9" in opened(tmp_path / "a.mkv")[0]


def test_quality_is_judged_by_the_codec_of_the_name(tmp_path: Path) -> None:
    config = PipelineConfig(crf=60)
    check_outputs([FileTask(tmp_path / "a.mp4", tmp_path / "b.webm")], config)
    assert encoding_for(config, codec_for("b.webm")).crf == 60
    with pytest.raises(UsageError, match="crf of h264 goes from 0 to 51"):
        check_outputs([FileTask(tmp_path / "a.mp4", tmp_path / "b.mp4")], config)
    with pytest.raises(UsageError, match="No codec has a crf of 64: those of h264"):
        PipelineConfig(crf=64)
    with pytest.raises(UsageError, match="crf of av1 goes from 0 to 63"):
        PipelineConfig(crf=64, codec="av1")


@pytest.mark.parametrize(
    ("settings", "name", "says"),
    [
        ({}, "b.mpg", "No video is written as .mpg"),
        ({"codec": "vp9"}, "b.mov", "mov cannot hold vp9"),
        ({"encoder_preset": "slow"}, "b.webm", "vp9 has no presets"),
        ({"export_masks": Path("m.mpg")}, "b.mp4", "No video is written as .mpg"),
    ],
)
def test_a_container_that_cannot_hold_it_is_refused_before_any_work(
    settings: dict[str, object], name: str, says: str, tmp_path: Path
) -> None:
    config = PipelineConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=says):
        check_outputs([FileTask(tmp_path / "a.mp4", tmp_path / name)], config)


@pytest.mark.parametrize("name", ["m.mp4", "m.mkv", "m.webm", "m.mov", "m.avi"])
def test_masks_are_exact_in_every_container(name: str, clip: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    with av.open(str(clip)) as file:
        width, height = file.streams.video[0].width, file.streams.video[0].height
    with BoxWriter(boxes, width=width, height=height) as writer:
        for index in range(5):
            writer.add(index, [Box(10, 10, 50, 60, 1.0)])
    masquerade.anonymize_file(
        clip,
        tmp_path / "o.mp4",
        masquerade.build("blacken"),
        regions=f"boxes:{boxes}",
        preview=0.2,
        shape="box",
        export_masks=tmp_path / name,
        mask_scale=1.0,
    )
    _, frames = opened(tmp_path / name)
    assert len(frames) == 5
    for frame in frames:
        assert set(np.unique(frame)) == {0, 255}
        assert frame[30, 30].all() and not frame[100, 100].any()
