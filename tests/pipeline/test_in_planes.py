"""Frames that are hidden whole go to the encoder in the planes of their source, without RGB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from masquerade.anonymizer import Planes
from masquerade.errors import MasqueradeError, OutputError
from masquerade.methods import METHODS, build
from masquerade.methods.blur import Blur
from masquerade.methods.pixelate import Pixelate
from masquerade.pipeline.single_file import anonymize_file
from masquerade.video.frame import Frame
from masquerade.video.shared_picture import plane_rows
from masquerade.video.write import Writer

WIDTH, HEIGHT = 96, 64
Pictures = list[list[np.ndarray[Any, Any]]]
CLIPS = [
    "asl_fullrange_yuvj420p.mkv",
    "baseball_xvid_noaudio.avi",
    "face_car_176x144.mp4",
    "golf_portrait_aac.mp4",
    "rotation_meta_90.mov",
    "talk_face_480_aac.mp4",
    "walk_vp9_in_mp4.mp4",
]


def film(path: Path, *, size: tuple[int, int] = (WIDTH, HEIGHT), format: str = "yuv420p") -> Path:
    """Three frames of noise."""
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as out:
        to: Any = out.add_stream("ffv1", rate=25)
        to.width, to.height, to.pix_fmt = *size, format
        for _ in range(3):
            picture = av.VideoFrame(*size, format)
            for plane in picture.planes:
                rows = plane_rows(plane)
                rows[:] = rng.integers(40, 200, rows.shape)
            out.mux(to.encode(picture))
        out.mux(to.encode(None))
    return path


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Pictures:
    """The planes of every picture that is given to an encoder."""
    pictures: Pictures = []
    original = Writer.write

    def write(self: Writer, picture: Any, frame: Any) -> None:
        if isinstance(picture, av.VideoFrame):
            rows = (plane_rows(plane)[:, : plane.width].copy() for plane in picture.planes)
            pictures.append(list(rows))
        original(self, picture, frame)

    monkeypatch.setattr(Writer, "write", write)
    return pictures


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, int]]:
    """How many frames a mosaic was asked for in planes, and in RGB, since it was asked before."""
    calls = {"planes": 0, "rgb": 0}

    def count(name: str, way: str) -> None:
        original: Any = getattr(Pixelate, name)

        def counting(self: Pixelate, given: Any, **more: Any) -> Any:
            calls[way] += 1
            return original(self, given, **more)

        monkeypatch.setattr(Pixelate, name, counting)

    def taken() -> dict[str, int]:
        found = dict(calls)
        calls.update(planes=0, rgb=0)
        return found

    count("on_planes", "planes")
    count("on_pixels", "rgb")
    return taken


def test_which_frames_are_hidden_in_planes(
    tmp_path: Path, counted: Callable[[], dict[str, int]]
) -> None:
    """Whole ones of 8 bits in 4:2:0, whose size is even and stays."""
    made = 0

    def ways(src: Path, suffix: str = ".mp4", **settings: Any) -> dict[str, int]:
        nonlocal made
        made += 1
        settings = {"regions": "frame", **settings}
        anonymize_file(src, tmp_path / f"out{made}{suffix}", Pixelate(), **settings)
        return counted()

    whole = film(tmp_path / "whole.mkv")
    boxes = tmp_path / "boxes.json"
    frames = {str(t): [{"box": [10, 10, 60, 50], "track": 0}] for t in range(3)}
    about = {"version": 1, "width": WIDTH, "height": HEIGHT, "frames": frames}
    boxes.write_text(json.dumps(about))
    part = np.zeros((HEIGHT, WIDTH), np.uint8)
    part[:, 20:] = 255
    cv2.imwrite(str(tmp_path / "part.png"), part)
    rgb, planes = {"planes": 0, "rgb": 3}, {"planes": 3, "rgb": 0}
    assert ways(whole) == planes
    assert ways(whole, batch_size=2) == planes
    assert ways(whole, ".webm", codec="vp9") == planes
    assert ways(whole, cfr=50) == planes
    assert ways(whole, export_masks=tmp_path / "masks.mkv") == planes
    assert ways(whole, regions=f"boxes:{boxes}") == rgb
    assert ways(whole, region=tmp_path / "part.png") == rgb
    assert ways(whole, ".mkv", codec="ffv1") == rgb  # which is written as RGB
    assert ways(whole, shadow=True, receipt=True) == rgb
    assert ways(film(tmp_path / "444.mkv", format="yuv444p")) == rgb
    assert ways(film(tmp_path / "deep.mkv", format="yuv420p10le")) != planes
    assert ways(film(tmp_path / "odd.mkv", size=(95, 63)), ".webm", codec="vp9") == rgb


@pytest.mark.parametrize("name", ["blur", "pixelate", "downsample", "elr", "blacken"])
@pytest.mark.parametrize("clip", CLIPS)
def test_real_clips_look_as_by_way_of_rgb(
    wild: Path,
    tmp_path: Path,
    name: str,
    clip: str,
    encoded: Pictures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planes and RGB differ by what FFmpeg's conversions change, and a level of rounding.

    `tests/methods/test_planes.py` holds each method within a level of exact arithmetic. Here the
    way by RGB is FFmpeg's, which rounds down: without any method, it makes brightness up to two
    levels darker, about one on average. It also clips colours that RGB cannot hold, so that a
    turned clip with whites above white is up to four levels apart at a few pixels.
    """
    settings: dict[str, Any] = {"regions": "frame", "preview": 0.1, "audio": "drop"}
    anonymize_file(wild / clip, tmp_path / "planes.mp4", build(name), **settings)
    in_planes = list(encoded)
    encoded.clear()
    monkeypatch.setattr(Frame, "planes", lambda self: None)
    anonymize_file(wild / clip, tmp_path / "rgb.mp4", build(name), **settings)
    assert len(in_planes) == len(encoded) > 0
    for ours, theirs in zip(in_planes, encoded, strict=True):
        for one, other, bright in zip(ours, theirs, (True, False, False), strict=True):
            assert one.shape == other.shape
            apart = one.astype(float) - other
            bias, darker = apart.mean(), bright and name != "blacken"
            assert apart.min() >= -2 and apart.max() <= (4 if darker else 2)
            assert abs(bias - darker) < 0.4 and np.abs(apart - bias).mean() < 0.5


def test_a_turned_video_is_written_upright(wild: Path, tmp_path: Path, encoded: Pictures) -> None:
    anonymize_file(wild / "rotation_meta_90.mov", tmp_path / "out.mp4", Pixelate(), regions="frame")
    assert encoded[0][0].shape == (568, 320)


class Unchanged(Blur):
    """A method that says it hid a frame and did not."""

    def on_planes(self, planes: Planes) -> Planes:
        return planes._replace(y=planes.y.copy(), cb=planes.cb.copy(), cr=planes.cr.copy())


class ColourForgotten(Blur):
    """A method that hides brightness alone."""

    def on_planes(self, planes: Planes) -> Planes:
        return super().on_planes(planes)._replace(cb=planes.cb)


def test_planes_that_are_not_hidden_are_not_published(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "unchanged", Unchanged)
    monkeypatch.setitem(METHODS, "colour-forgotten", ColourForgotten)
    with pytest.raises(OutputError, match="of the detail of a region"):
        anonymize_file(clip, tmp_path / "out.mp4", Unchanged(), regions="frame")
    with pytest.raises(MasqueradeError, match="no new plane"):
        anonymize_file(clip, tmp_path / "out.mp4", ColourForgotten(), regions="frame")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_parts_have_the_pictures_of_one_run(clip: Path, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole.mp4", tmp_path / "parts.mp4"
    for more in ({}, {"batch_size": 4}):
        settings: dict[str, Any] = {"regions": "frame", "crf": 0, "overwrite": True, **more}
        anonymize_file(clip, whole, Blur(), **settings)  # without loss
        anonymize_file(clip, parted, Blur(), parts=3, **settings)
        assert pixels(whole) == pixels(parted)


def pixels(path: Path) -> list[bytes]:
    with av.open(str(path)) as source:
        return [picture.to_ndarray().tobytes() for picture in source.decode(video=0)]


def test_whole_frames_are_hidden_without_what_finds_people(tmp_path: Path) -> None:
    """In a process of its own, whose start the networks' libraries would make longer."""
    words = ["anonymize", str(film(tmp_path / "in.mkv")), "-o", str(tmp_path / "out.mp4"), "-q"]
    script = f"""
import sys
from masquerade.cli import main
assert main({[*words, "--method", "blur", "--regions", "frame"]!r}) == 0
assert not {{"onnxruntime", "onnx", "ai_edge_litert.interpreter", "matplotlib"}} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out.mp4").exists()
