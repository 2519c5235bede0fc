"""Outside what is hidden, files have the samples of their source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from clips import ffmpeg, needs_ffmpeg, video

from masquerade.methods import build
from masquerade.pipeline import stream
from masquerade.pipeline.single_file import anonymize_file
from masquerade.video.read import read_video
from masquerade.video.unhidden_samples import Unhidden, keep_unhidden, unhidden
from masquerade.video.write import Writer

WIDTH, HEIGHT = 64, 48
BOX = [21, 13, 40, 30]  # odd edges: pixels that share colour with hidden ones
FULL_RANGE = 2
NOTHING = np.zeros((HEIGHT, WIDTH), np.uint8)


def planes(picture: av.VideoFrame) -> list[np.ndarray[Any, Any]]:
    kind = np.uint16 if picture.format.components[0].bits > 8 else np.uint8
    return [
        np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width]  # type: ignore[call-overload]
        for plane in picture.planes
    ]


def samples(picture: av.VideoFrame) -> list[bytes]:
    return [bytes(plane) for plane in picture.planes]


def picture_of(format: str, seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> av.VideoFrame:
    rng = np.random.default_rng(seed)
    picture = av.VideoFrame(*size, format)
    top = 2 ** picture.format.components[0].bits
    for plane in picture.planes:
        rows = np.frombuffer(plane, np.uint8 if top == 256 else np.uint16)  # type: ignore[call-overload]
        rows[:] = rng.integers(top // 16, top - top // 12, rows.shape)
    return picture


def film(path: Path, format: str, *, frames: int) -> Path:
    with av.open(str(path), "w") as out:
        to: Any = out.add_stream("ffv1", rate=25)
        to.width, to.height, to.pix_fmt = WIDTH, HEIGHT, format
        for number in range(frames):
            out.mux(to.encode(picture_of(format, number)))
        out.mux(to.encode(None))
    return path


def anonymized(folder: Path, method: Any, *, format: str, frames: int, **settings: Any) -> Path:
    """The output of a film with a box in each frame; its masks are beside it."""
    boxes = {str(t): [{"box": BOX, "track": 0}] for t in range(frames)}
    about = {"version": 1, "width": WIDTH, "height": HEIGHT, "frames": boxes}
    (folder / "boxes.json").write_text(json.dumps(about))
    video = film(folder / "in.mkv", format, frames=frames)
    out = folder / "out.mkv"
    # crf 0 is not in RGB, as ffv1 is, and of 8 bits without loss
    settings |= {"regions": f"boxes:{folder / 'boxes.json'}", "codec": "h264", "crf": 0}
    anonymize_file(video, out, method, shape="box", **settings)
    return out


@pytest.mark.parametrize("format", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("method", ["blacken", "blur", "selective"])
def test_samples_outside_the_mask_are_the_sources(
    tmp_path: Path, format: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the pictures that are encoded, and of 8 bits, without loss, in the file."""
    encoded: list[list[np.ndarray[Any, Any]]] = []
    original = Writer.write

    def write(self: Writer, picture: Any, frame: Any) -> None:
        if isinstance(picture, av.VideoFrame):  # masks come as pixels
            encoded.append([plane.copy() for plane in planes(picture)])
        original(self, picture, frame)

    monkeypatch.setattr(Writer, "write", write)
    masks = tmp_path / "masks.mkv"
    out = anonymized(tmp_path, build(method), format=format, frames=3, export_masks=masks)
    with (
        av.open(str(tmp_path / "in.mkv")) as one,
        av.open(str(out)) as two,
        av.open(str(masks)) as three,
    ):
        read = zip(one.decode(video=0), two.decode(video=0), three.decode(video=0), strict=True)
        for pictures, (before, after, drawn) in zip(encoded, read, strict=True):
            assert after.format.name == format
            hidden = drawn.to_ndarray(format="gray") > 20
            assert 0 < hidden.sum() < hidden.size / 2
            if format == "yuv420p":
                assert all(map(np.array_equal, pictures, planes(after)))
            for own, given in zip(pictures, planes(before), strict=True):
                down, across = HEIGHT // own.shape[0], WIDTH // own.shape[1]
                blocks = hidden.reshape(own.shape[0], down, own.shape[1], across)
                outside, inside = ~blocks.any((1, 3)), blocks.all((1, 3))
                assert np.array_equal(own[outside], given[outside])
                assert (own[inside] != given[inside]).mean() > 0.8


def test_a_widened_outline_stays_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gait_jitter` covers more than the mask, so that an outline does not show a walk."""
    beyond: list[np.ndarray[Any, Any]] = []
    original = stream.unhidden

    def watch(picture: Any, before: Any, after: Any, mask: Any) -> Any:
        beyond.append((before != after).any(-1) & (mask == 0))
        return original(picture, before, after, mask)

    monkeypatch.setattr(stream, "unhidden", watch)
    out = anonymized(tmp_path, build("selective", gait_jitter=1.0), format="yuv420p", frames=12)
    widened = same = 0
    with av.open(str(tmp_path / "in.mkv")) as one, av.open(str(out)) as two:
        for before, after, there in zip(
            one.decode(video=0), two.decode(video=0), beyond, strict=True
        ):
            widened += int(there.sum())
            same += int((planes(before)[0] == planes(after)[0])[there].sum())
    assert widened > 1000 and same < 0.1 * widened


@pytest.mark.parametrize("rate", [50.0, 12.5])
def test_a_constant_rate_repeats_and_drops_frames_with_their_samples(
    tmp_path: Path, rate: float
) -> None:
    out = anonymized(tmp_path, build("blacken"), format="yuv420p", frames=8, cfr=rate)
    with av.open(str(tmp_path / "in.mkv")) as one, av.open(str(out)) as two:
        corners = [planes(frame)[0][:8, :8].copy() for frame in one.decode(video=0)]
        found = [planes(frame)[0][:8, :8].copy() for frame in two.decode(video=0)]
    assert len(found) == (16 if rate == 50 else 4)
    numbers = [next(n for n, c in enumerate(corners) if np.array_equal(c, f)) for f in found]
    assert numbers == sorted(numbers) and len(set(numbers)) == min(8, len(found))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_was_changed_outside_the_mask_does_not_stay(kind: type[np.integer]) -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(0, np.iinfo(kind).max, (HEIGHT, WIDTH, 3)).astype(kind)
    mask = (rng.random((HEIGHT, WIDTH)) < 0.1).astype(np.uint8)
    changed = rng.random((HEIGHT, WIDTH, 3)) < 0.05
    found = unhidden(picture_of("yuv420p", 0), before, before ^ changed.astype(kind), mask)
    assert np.array_equal(found.hidden > 0, (mask > 0) | changed.any(-1))


@pytest.mark.parametrize("format", ["yuv420p", "yuv422p", "yuv444p10le"])
def test_colour_that_a_hidden_pixel_shares_is_not_the_sources(format: str) -> None:
    size = 37, 23  # whose last row and column share their colour with none
    picture, source = picture_of(format, 0, size), picture_of(format, 1, size)
    before = [plane.copy() for plane in planes(picture)]
    mask = np.zeros((23, 37), np.uint8)
    mask[7, 9] = mask[22, 36] = 1
    keep_unhidden(picture, Unhidden(source, mask))
    for own, given, made in zip(planes(picture), planes(source), before, strict=True):
        down, across = -(-23 // own.shape[0]), -(-37 // own.shape[1])
        expected = given.copy()
        for y, x in ((7, 9), (22, 36)):
            expected[y // down, x // across] = made[y // down, x // across]
        assert np.array_equal(own, expected)


def interlaced() -> av.VideoFrame:
    """Of 4:2:0 its rows share their colour with the next but one."""
    graph = Graph()
    graph.link_nodes(
        graph.add("testsrc2", f"size={WIDTH}x{HEIGHT}"),
        graph.add("format", "pix_fmts=yuv420p"),
        graph.add("setparams", "field_mode=tff"),
        graph.add("buffersink"),
    ).configure()
    picture: Any = graph.vpull()
    assert picture.interlaced_frame
    return picture  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "other", ["yuv422p", "rgb24", "yuv420p10le", "nv12", "yuva420p", "yuv411p"]
)
def test_a_picture_of_another_layout_stays_as_it_is(other: str) -> None:
    for first, second in ((other, "yuv420p"), ("yuv420p", other), ("nv12", "nv12")):
        picture = picture_of(first, 0)
        before = samples(picture)
        keep_unhidden(picture, Unhidden(picture_of(second, 1), NOTHING))
        assert samples(picture) == before


def test_a_picture_of_another_size_order_or_range_stays_as_it_is() -> None:
    picture, full = picture_of("yuv420p", 0), picture_of("yuvj420p", 1)
    before = samples(picture)
    keep_unhidden(picture, Unhidden(picture_of("yuv420p", 1, (WIDTH, HEIGHT + 2)), NOTHING))
    keep_unhidden(picture, Unhidden(picture_of("yuv420p", 1), NOTHING[:-2]))
    keep_unhidden(picture, Unhidden(interlaced(), NOTHING))
    keep_unhidden(picture, Unhidden(full, NOTHING))
    assert samples(picture) == before
    picture.color_range = FULL_RANGE
    keep_unhidden(picture, Unhidden(full, NOTHING))
    assert samples(picture) == samples(full)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("format", "codec"), [("yuv420p", "libx264"), ("yuv422p10le", "libx264"), ("yuv420p", "mjpeg")]
)
def test_prores_keeps_the_contrast_of_a_source_of_full_range(
    tmp_path: Path, format: str, codec: str
) -> None:
    """It does not say its range, and whatever decodes it takes it for limited."""
    ramp = "gradients=s=64x48:r=25:d=0.12:c0=black:c1=white:x0=0:y0=0:x1=63:y1=0:speed=0.00001"
    best = ("-crf", 1) if codec == "libx264" else ("-q:v", 2, "-strict", -1)
    full = ("-vf", f"scale=out_range=pc,format={format}", "-color_range", "pc")
    source = tmp_path / "full.mkv"
    ffmpeg("-f", "lavfi", "-i", ramp, *full, "-c:v", codec, *best, source)
    output = tmp_path / "o.mov"
    boxes = {str(t): [{"box": BOX}] for t in range(3)}
    given = {"version": 1, "width": WIDTH, "height": HEIGHT, "frames": boxes}
    (tmp_path / "b.json").write_text(json.dumps(given))
    anonymize_file(
        source,
        output,
        build("blacken"),
        regions=f"boxes:{tmp_path / 'b.json'}",
        shape="box",
        codec="prores",
    )
    assert video(output).get("color_range", "tv") == "tv"
    before, after = (read_video(path).clip.numpy()[0] * 255 for path in (source, output))
    away = np.ones((HEIGHT, WIDTH), bool)
    away[4:40, 12:50] = False
    assert before.min() < 5 and before.max() > 250
    assert np.abs(before - after)[..., away].mean() < 2
