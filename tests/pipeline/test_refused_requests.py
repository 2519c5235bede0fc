"""Requests that contradict themselves are refused before the work; what is left out stays out."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import masquerade
from masquerade.cli import main
from masquerade.errors import MasqueradeError, OutputError, UsageError, VideoError
from masquerade.pipeline.config import PipelineConfig, region_arguments, with_default_regions
from masquerade.pipeline.receipt import ResidualDetail
from masquerade.pipeline.residual_detail import DetailCheck
from masquerade.pipeline.stream import AnonymizedFrame, anonymize, anonymize_stream
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.regions.region import Region
from masquerade.video.probe import probe_in_process
from masquerade.video.read import Reader


@pytest.mark.parametrize("given", [{"regions": "faces"}, {"region": Path("a.png")}])
def test_methods_that_rewrite_frames_take_no_regions(given: dict[str, Any], made: Any) -> None:
    whole = made("stprivacy")
    with pytest.raises(UsageError, match="rewrites whole frames; leave regions out"):
        with_default_regions(PipelineConfig(**given), whole)
    assert with_default_regions(PipelineConfig(regions="frame"), whole).regions == "frame"


@pytest.mark.parametrize("name", ["mannequin", "skeleton"])
@pytest.mark.parametrize("detector", ["motion", "hog", "torchvision"])
def test_people_are_not_drawn_by_a_detector_without_poses(name: str, detector: str) -> None:
    """Nobody was drawn, and the run was a success."""
    levels: list[dict[str, Any]] = [{}, {"level": "figure"}] if name == "mannequin" else [{}]
    for given in levels:
        config = PipelineConfig(detector=detector, **given)
        with pytest.raises(UsageError, match=f"--detector {detector} does not give"):
            with_default_regions(config, masquerade.build(name))
        config = PipelineConfig(detector="pose", **given)
        assert with_default_regions(config, masquerade.build(name)).regions == "people"


@pytest.mark.parametrize("name", ["mannequin", "skeleton"])
def test_figures_on_an_empty_ground_take_no_image_of_a_region(name: str) -> None:
    """It was ignored, or --regions were refused that nobody had given."""
    image = Path("a.png")
    levels: list[dict[str, Any]] = [{}, {"level": "figure"}] if name == "mannequin" else [{}]
    for given in ({"regions": "people"}, *levels):
        with pytest.raises(UsageError, match="leave --region out"):
            with_default_regions(PipelineConfig(region=image, **given), masquerade.build(name))
    scene = masquerade.build(name, ground="scene")
    assert with_default_regions(PipelineConfig(region=image), scene).regions == "people"


@pytest.mark.parametrize("name", ["mannequin", "skeleton"])
def test_people_are_not_drawn_into_a_clip_in_which_nothing_finds_them(name: str) -> None:
    with pytest.raises(UsageError, match="use anonymize_file"):
        anonymize(torch.rand(1, 3, 2, 32, 32), masquerade.build(name))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("blur", r"give masquerade\.build\('blur'\), not 'blur'\.$"),
        (masquerade.METHODS["selective"], r"give Selective\(\.\.\.\), not the class Selective\.$"),
        (7, r"give masquerade\.build\('blur'\), not int\.$"),
    ],
)
def test_a_method_is_built_before_it_is_used(
    given: Any, told: str, clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        masquerade.anonymize_file(clip, tmp_path / "o.mp4", given)
    with pytest.raises(UsageError, match=told):
        anonymize(torch.rand(1, 3, 2, 32, 32), given)
    assert not list(tmp_path.iterdir())


def test_regions_without_a_file_take_none() -> None:
    for regions in ("faces:x", "frame:1", "faces+people:x"):
        with pytest.raises(UsageError, match="only boxes:FILE, templates:NAME"):
            region_arguments(PipelineConfig(regions=regions))


@pytest.mark.parametrize("name", ["report", "export_boxes", "export_masks"])
def test_the_source_is_no_export(clip: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / "in.mkv"
    source.write_bytes(clip.read_bytes())
    (tmp_path / "alias.mkv").hardlink_to(source)
    for path in (source, tmp_path / "alias.mkv"):
        with pytest.raises(UsageError, match=r"would replace .* which is read; choose another"):
            masquerade.anonymize_file(
                *(source, tmp_path / "o.mp4", masquerade.build("blacken")),
                **{"regions": "frame", "overwrite": True, name: path},
            )
    assert source.read_bytes() == clip.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alias.mkv", "in.mkv"]


def test_two_exports_of_one_name_and_settings_of_no_name_are_refused(
    clip: Path, tmp_path: Path
) -> None:
    blacken, same = masquerade.build("blacken"), tmp_path / "same"
    with pytest.raises(UsageError, match="two outputs would be called"):
        masquerade.anonymize_file(
            clip, tmp_path / "o.mp4", blacken, regions="frame", report=same, export_boxes=same
        )
    with pytest.raises(UsageError, match="colour"):
        masquerade.anonymize_file(clip, tmp_path / "o.mp4", blacken, colour="red")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_rate_is_refused_as_a_folder(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="is a folder; give the files in it, or a frame rate"):
        masquerade.anonymize_file(clip.parent, tmp_path / "o.mp4", masquerade.build("blacken"))
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize("elsewhere", [True, False])
def test_the_receipt_of_an_output_that_is_replaced_goes_with_it(
    clip: Path, tmp_path: Path, elsewhere: bool
) -> None:
    """It names a source that is not to be named, and another method."""
    out, receipt = tmp_path / "safe.mp4", tmp_path / "safe.mp4.receipt.json"
    settings: dict[str, Any] = {"regions": "frame", "preview": 0.1, "overwrite": True}
    new = {"report": tmp_path / "new.json"} if elsewhere else {"receipt": False}
    masquerade.anonymize_file(clip, out, masquerade.build("blacken"), **settings)
    assert receipt.exists()
    masquerade.anonymize_file(clip, out, masquerade.build("pixelate"), **settings, **new)
    names = {"safe.mp4", "new.json"} if elsewhere else {"safe.mp4"}
    assert {path.name for path in tmp_path.iterdir()} == names
    receipt.write_text('{"mine": 1}')  # no receipt
    masquerade.anonymize_file(clip, out, masquerade.build("blacken"), **settings, **new)
    assert receipt.read_text() == '{"mine": 1}'


def test_without_a_receipt_the_output_is_alone(clip: Path, tmp_path: Path) -> None:
    blacken = masquerade.build("blacken")
    receipt = masquerade.anonymize_file(
        clip, tmp_path / "o.mp4", blacken, regions="frame", receipt=False
    )
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]
    assert receipt.output is not None and receipt.output.frames == 25


def test_a_region_image_must_be_one_of_the_frames_size(clip: Path, tmp_path: Path) -> None:
    blacken, image, out = masquerade.build("blacken"), tmp_path / "r.png", tmp_path / "o.mp4"
    image.write_bytes(b"no image")
    with pytest.raises(UsageError, match="is no image that can be read; give --region a PNG"):
        masquerade.anonymize_file(clip, out, blacken, regions="frame", region=image)
    cv2.imwrite(str(image), np.zeros((48, 64), np.uint8))
    with pytest.raises(UsageError, match=r"64x48, but the video is 640x480"):
        masquerade.anonymize_file(clip, out, blacken, regions="frame", region=image)
    assert not out.exists()


def test_kept_sound_goes_through_a_constant_rate(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    blacken = masquerade.build("blacken")
    masquerade.anonymize_file(clip, out, blacken, regions="frame", cfr=50, audio="keep")
    info = probe_in_process(out)
    assert [stream.kind for stream in info.streams] == ["video", "audio"]
    assert info.frames == 50 and info.rate == 50


def test_exported_masks_of_whole_frames_are_white(clip: Path, tmp_path: Path) -> None:
    masks = tmp_path / "m.mkv"
    blacken = masquerade.build("blacken")
    masquerade.anonymize_file(
        clip, tmp_path / "o.mp4", blacken, regions="frame", export_masks=masks
    )
    with Reader(masks) as reader:
        assert all(frame.rgb().min() == 255 for frame in reader)


@pytest.mark.parametrize("name", ["m.jpg", "m.webp", "m.png", "m.gif"])
def test_masks_keep_every_pixel_or_are_refused(tmp_path: Path, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), pixels)
    with BoxWriter(tmp_path / "b.json", width=96, height=64) as boxes:
        boxes.add(0, [Box(30, 20, 60, 50, 1.0)])

    def run() -> None:
        masquerade.anonymize_file(
            *(tmp_path / "in.png", tmp_path / "o.png", masquerade.build("blacken")),
            regions=f"boxes:{tmp_path / 'b.json'}",
            export_masks=tmp_path / name,
        )

    if name in ("m.jpg", "m.webp"):
        with pytest.raises(UsageError, match=r"every pixel of masks; name a picture \.png"):
            run()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "in.png"]
    else:
        run()
        with Reader(tmp_path / name) as reader:
            (mask,) = reader
        assert set(np.unique(mask.rgb())) == {0, 255}


def test_a_region_source_that_gives_nothing_ends_the_run(clip: Path) -> None:
    with Reader(clip) as reader, pytest.raises(MasqueradeError, match="gave no regions"):
        list(anonymize_stream(reader, masquerade.build("blacken"), lambda frames: None))  # type: ignore[arg-type, return-value]


def frames_of(clip: Path) -> list[Any]:
    with Reader(clip) as reader:
        return list(reader)


def compared(
    made: list[Any], region: Region, source: list[Any], output: list[Any], *, shape: str = "box"
) -> ResidualDetail:
    """What a check says of files that hold other frames than the black ones it saw being made."""
    with closing(DetailCheck(name="o.mp4", size=(640, 480), shape=shape)) as check:
        for frame in made:
            pixels = frame.rgb()
            check.watch(AnonymizedFrame(frame, np.zeros_like(pixels), region, None), pixels)
            check.wrote(frame.index)
        return check.compare(source, output)


BESIDE = Region(boxes=(Box(-90, -90, -10, -10, 1.0),))


def test_a_file_that_lost_or_won_frames_since_cannot_be_compared(clip: Path) -> None:
    frames = frames_of(clip)
    for source, output in ((frames[:9], frames), (frames, frames[:9])):
        with pytest.raises(OutputError, match=r"o\.mp4 holds fewer frames than were written"):
            compared(frames, BESIDE, source, output)
    with pytest.raises(OutputError, match=r"o\.mp4 holds more frames than were written"):
        compared(frames[:9], BESIDE, frames, frames)


def test_silhouettes_are_compared_and_boxes_beside_the_frame_are_not(clip: Path) -> None:
    frames = frames_of(clip)[:2]
    assert compared(frames, BESIDE, frames, frames).measured == 0
    drawn = np.zeros((480, 640), np.uint8)
    drawn[100:400, 200:500] = 255
    person = Region(boxes=(Box(0, 0, 640, 480, 1.0),), mask=drawn)
    with pytest.raises(OutputError, match="of the detail of a region in frame 0"):
        compared(frames, person, frames, frames, shape="silhouette")


def test_clips_in_memory_have_a_shape_and_finite_numbers() -> None:
    blacken, clip = masquerade.build("blacken"), torch.rand(1, 3, 2, 16, 16)
    for wrong in (clip[0], clip[:, :2], clip.byte(), clip / 0):
        with pytest.raises(UsageError, match="anonymize takes clips"):
            anonymize(wrong, blacken)
    for mask in (clip[:, :1, :1], clip[:, :1] + 1, clip[:, :1] * torch.nan):
        with pytest.raises(UsageError, match="anonymize takes masks"):
            anonymize(clip, blacken, mask=mask)
    assert anonymize(clip, blacken).shape == clip.shape


@pytest.mark.parametrize("metadata", ["stip", "keep:", "keep: ,", "drop:title"])
def test_what_metadata_takes_is_known_before_a_file_is_opened(metadata: str) -> None:
    with pytest.raises(UsageError, match="--metadata takes strip, keep or keep:KEY"):
        PipelineConfig(metadata=metadata)


def test_an_image_of_a_region_that_is_not_there_fails_no_file_of_many(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "in" / name).write_bytes(clip.read_bytes())
    words = ["anonymize", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--regions", "frame"]
    assert main([*words, "--region", str(tmp_path / "gone.png")]) == 2
    assert capsys.readouterr().err.count("is no image that can be read") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_source_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4 does not exist; check the name"):
        masquerade.anonymize_file(
            tmp_path / "gone.mp4", tmp_path / "o.mp4", masquerade.build("blacken")
        )


@pytest.mark.parametrize("flag", ["-o", "--report", "--export-boxes", "--export-masks"])
def test_a_dash_names_no_output(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
) -> None:
    """A folder called "-" was made, or a file."""
    monkeypatch.chdir(tmp_path)
    output = ["-o", "o.mp4"] if flag != "-o" else []
    words = ["anonymize", str(clip), "--regions", "frame", "--method", "blacken", flag, "-"]
    assert main([*words, *output]) == 2
    printed = capsys.readouterr()
    assert f"{flag} - would be standard output" in printed.err and not printed.out
    folders = (
        ("evaluate", "--method", "blur"),
        ("train", "spact"),
        ("benchmark", "quick"),
        ("demo",),
    )
    for verb in (("export", "blur"), *folders):
        assert main([*verb, "-o", "-"]) == 2
        assert "-o - would be standard output" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["pipe", "descriptor of a pipe", "descriptor of a file"])
def test_a_pipe_is_named_as_it_was_given(clip: Path, tmp_path: Path, kind: str) -> None:
    """The process that decodes has other descriptors: 63 did not exist, it said."""
    ends = os.pipe()
    with ExitStack() as stack, clip.open("rb") as file:
        for end in ends:
            stack.callback(os.close, end)
        source = Path(f"/dev/fd/{ends[0] if kind == 'descriptor of a pipe' else file.fileno()}")
        if kind == "pipe":
            source = tmp_path / "pipe"
            os.mkfifo(source)
        with pytest.raises(VideoError) as caught:
            masquerade.anonymize_file(
                source, tmp_path / "o.mp4", masquerade.build("blacken"), regions="frame"
            )
    said = str(caught.value)
    assert said.startswith(f"{source} is a pipe") and "`masquerade live` read" in said
    assert not (tmp_path / "o.mp4").exists()


def test_masks_of_a_video_are_no_picture(short_clip: Path, tmp_path: Path) -> None:
    """The output was blamed, which is a video, and after a part of the work."""
    blacken, done = masquerade.build("blacken"), list[int]()
    given: dict[str, Any] = {"regions": "frame", "export_masks": tmp_path / "m.png"}
    with pytest.raises(UsageError, match=r"--export-masks .*m\.png would hold one frame.*\.mkv"):
        masquerade.anonymize_file(
            short_clip,
            tmp_path / "o.mp4",
            blacken,
            progress=lambda frames, _: done.append(frames),
            **given,
        )
    assert not done and not list(tmp_path.iterdir())
    masquerade.anonymize_file(short_clip, tmp_path / "o.mp4", blacken, preview=0.01, **given)
    assert cv2.imread(str(tmp_path / "m.png")).all()
