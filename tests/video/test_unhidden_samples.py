"""Outside what is hidden, files have the samples of their source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from masquerade.methods import build
from masquerade.pipeline.single_file import anonymize_file
from masquerade.video.unhidden_samples import keep_unhidden

WIDTH, HEIGHT = 64, 48
BOX = [21, 13, 40, 30]  # odd edges: pixels that share colour with hidden ones


def planes(picture: av.VideoFrame) -> list[np.ndarray[Any, Any]]:
    kind = np.uint16 if picture.format.components[0].bits > 8 else np.uint8
    return [
        np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width]  # type: ignore[call-overload]
        for plane in picture.planes
    ]


def picture_of(format: str, seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> av.VideoFrame:
    rng = np.random.default_rng(seed)
    picture = av.VideoFrame(*size, format)
    top = 2 ** picture.format.components[0].bits
    for plane in picture.planes:
        rows = np.frombuffer(plane, np.uint8 if top == 256 else np.uint16)  # type: ignore[call-overload]
        rows[:] = rng.integers(top // 16, top - top // 12, rows.shape)
    return picture


def film(path: Path, format: str) -> Path:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, format
        for number in range(3):
            out.mux(stream.encode(picture_of(format, number)))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("format", "loss"), [("yuv420p", 0), ("yuv420p10le", 20)])
@pytest.mark.parametrize("method", ["blacken", "blur", "selective"])
def test_samples_outside_the_mask_are_the_sources(
    tmp_path: Path, format: str, loss: int, method: str
) -> None:
    video = film(tmp_path / "in.mkv", format)
    boxes = tmp_path / "boxes.json"
    frames = {str(t): [{"box": BOX, "track": 0}] for t in range(3)}
    boxes.write_text(json.dumps({"version": 1, "width": WIDTH, "height": HEIGHT, "frames": frames}))
    masks = tmp_path / "masks.mkv"
    anonymize_file(
        video,
        tmp_path / "out.mkv",
        build(method),
        regions=f"boxes:{boxes}",
        codec="h264",
        crf=0,  # not in RGB, as ffv1; of 8 bits without loss
        shape="box",
        export_masks=masks,
    )
    with (
        av.open(str(video)) as one,
        av.open(str(tmp_path / "out.mkv")) as two,
        av.open(str(masks)) as three,
    ):
        read = zip(one.decode(video=0), two.decode(video=0), three.decode(video=0), strict=True)
        for before, after, drawn in read:
            assert after.format.name == format
            hidden = drawn.to_ndarray(format="gray") > 20
            assert 0 < hidden.sum() < hidden.size / 2
            for own, given in zip(planes(after), planes(before), strict=True):
                down, across = HEIGHT // own.shape[0], WIDTH // own.shape[1]
                blocks = hidden.reshape(own.shape[0], down, own.shape[1], across)
                outside, inside = ~blocks.any((1, 3)), blocks.all((1, 3))
                assert np.abs(own.astype(int) - given)[outside].max() <= loss
                assert (own[inside] != given[inside]).mean() > 0.8


@pytest.mark.parametrize("format", ["yuv420p", "yuv422p", "yuv411p", "yuv444p10le"])
def test_colour_that_a_hidden_pixel_shares_is_not_the_sources(format: str) -> None:
    size = 37, 23  # whose last row and column share their colour with none
    picture, source = picture_of(format, 0, size), picture_of(format, 1, size)
    before = [plane.copy() for plane in planes(picture)]
    mask = np.zeros((23, 37), np.uint8)
    mask[7, 9] = mask[22, 36] = 1
    keep_unhidden(picture, source, mask)
    if format == "yuv411p":  # not among the formats that are known
        assert all(map(np.array_equal, planes(picture), before))
        return
    for own, given, made in zip(planes(picture), planes(source), before, strict=True):
        down, across = -(-23 // own.shape[0]), -(-37 // own.shape[1])
        expected = given.copy()
        for y, x in ((7, 9), (22, 36)):
            expected[y // down, x // across] = made[y // down, x // across]
        assert np.array_equal(own, expected)


@pytest.mark.parametrize("other", ["yuv422p", "rgb24", "yuv420p10le", "nv12", "yuva420p"])
def test_a_picture_of_another_layout_stays_as_it_is(other: str) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for first, second in ((other, "yuv420p"), ("yuv420p", other), ("nv12", "nv12")):
        picture = picture_of(first, 0)
        before = [bytes(plane) for plane in picture.planes]
        keep_unhidden(picture, picture_of(second, 1), mask)
        assert [bytes(plane) for plane in picture.planes] == before
    picture = picture_of("yuv420p", 0)
    before = [bytes(plane) for plane in picture.planes]
    keep_unhidden(picture, picture_of("yuv420p", 1, (WIDTH, HEIGHT + 2)), mask)
    keep_unhidden(picture, picture_of("yuv420p", 1), mask[:-2])
    assert [bytes(plane) for plane in picture.planes] == before
