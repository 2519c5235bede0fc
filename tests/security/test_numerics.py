"""An output depends on no other clip, no thread, no earlier video and no raw pixel."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from standing_people import passers_by

import masquerade
from masquerade.anonymizer import Anonymizer
from masquerade.methods import METHODS
from masquerade.methods.blacken import Blacken
from masquerade.methods.selective import Selective
from masquerade.pipeline.stream import anonymize, anonymize_stream
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.regions.region_sources import WholeFrame
from masquerade.video.read import Reader

METHOD = pytest.mark.parametrize("name", METHODS)
Made = Callable[[str], Anonymizer]


def clip_of(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 5, 48, 64, generator=torch.Generator().manual_seed(seed))


def rewritten(method: Anonymizer, *clips: int, seed: int) -> torch.Tensor:
    """What a method makes of a batch of clips, each of its own number, with its own people."""
    batch = torch.cat([clip_of(n) for n in clips])
    if not method.needs_people:  # whom nothing finds in a clip
        return anonymize(batch, method, seed=seed)
    people = [passers_by(5, 48, 64, seed=n) for n in clips]
    return method(batch, people=people, state=method.init_state(seed=seed)).clip


@METHOD
def test_batch_mates_leave_no_trace(made: Made, name: str) -> None:
    method = made(name)
    outs = [rewritten(method, 1, mate, seed=3) for mate in (2, 3)]
    assert torch.equal(outs[0][0], outs[1][0])
    if method.needs_people:
        assert not torch.equal(outs[0][1], outs[1][1]), "each clip shows its own people"


@METHOD
def test_earlier_videos_leave_no_trace(made: Made, name: str) -> None:
    used, fresh = made(name), made(name)
    for seed in (5, 6):
        rewritten(used, seed, seed=seed)
    assert torch.equal(rewritten(used, 1, seed=3), rewritten(fresh, 1, seed=3))


@METHOD
def test_the_number_of_threads_leaves_no_trace(made: Made, name: str) -> None:
    """Sums may round differently, by far less than a grey level."""
    method, before = made(name), torch.get_num_threads()
    outs = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            outs.append(rewritten(method, 1, seed=3))
    finally:
        torch.set_num_threads(before)
    assert (outs[0] - outs[1]).abs().max() < 1e-3


def entropy(values: np.ndarray) -> float:
    """Bits a value, by how often each one occurs."""
    share = np.unique(values, return_counts=True)[1] / values.size
    return float(-(share * np.log2(share)).sum())


def test_noise_has_all_the_entropy_of_its_range() -> None:
    """8 bits a byte as drawn; as shown, all of its range; nothing shared by two videos."""
    frames, method = np.zeros((1, 256, 256, 3), np.uint8), Selective()
    runs = [method.on_bytes(frames, state=method.init_state()) for _ in range(2)]
    for shown, state in runs:
        drawn = state[0].field.noise
        assert entropy(drawn) > 7.998  # of so many uniform bytes: 7.9991
        assert len(zlib.compress(drawn.tobytes(), 9)) >= drawn.size
        for channel in range(3):
            values = shown[0][..., channel]
            assert entropy(values) > np.log2(len(np.unique(values))) - 0.1 > 6.5
    one, other = (state[0].field.noise.ravel() >> 4 for _, state in runs)
    told = entropy(one) + entropy(other) - entropy(16 * one.astype(int) + other)
    assert told < 0.002  # bits that one tells of the other


def test_noise_does_not_depend_on_what_it_replaces() -> None:
    method, draw = Selective(), np.random.default_rng(0)
    outs = []
    for frame in (np.zeros((1, 64, 64, 3), np.uint8), np.full((1, 64, 64, 3), 255, np.uint8)):
        outs.append(method.on_bytes(frame, state=method.init_state(seed=4))[0])
    drawn = draw.integers(0, 256, (1, 64, 64, 3), np.uint8)
    outs.append(method.on_bytes(drawn, state=method.init_state(seed=4))[0])
    assert np.array_equal(outs[0], outs[1]) and np.array_equal(outs[0], outs[2])


class Windowed(Blacken):
    """Black, in windows of four frames."""

    window = 4


class White:
    """A frame in memory, white all over."""

    width, height = 65, 49

    def __init__(self, index: int) -> None:
        self.index = index

    def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
        width, height = size or (self.width, self.height)
        return np.full((height, width, 3), 255, np.uint8)


@pytest.mark.parametrize("frames", range(1, 10))
def test_a_last_window_that_is_filled_up_shows_nothing(frames: int) -> None:
    pictures: list[Any] = [White(i) for i in range(frames)]
    out = list(anonymize_stream(pictures, Windowed(), WholeFrame()))
    assert [one.frame.index for one in out] == list(range(frames))
    assert all((one.pixels == 0).all() for one in out)


KINDS = {  # pixel format, size, and FFmpeg's numbers of primaries, transfer, matrix and range
    "4:2:0": ("yuv420p", (96, 64), (2, 2, 2, 1)),
    "4:2:0, odd size": ("yuv420p", (95, 63), (2, 2, 2, 1)),
    "4:1:0": ("yuv410p", (96, 64), (2, 2, 2, 1)),
    "4:2:2, 10 bit": ("yuv422p10le", (96, 64), (1, 1, 1, 1)),
    "BT.709": ("yuv420p", (96, 64), (1, 1, 1, 1)),
    "BT.2020, full range": ("yuv420p10le", (96, 64), (9, 16, 9, 2)),
    "4:4:4": ("yuv444p", (96, 64), (1, 13, 5, 2)),
}
BOX = Box(33, 21, 62, 44, 1.0, track=0)  # neither edge lies on a colour sample
MARGIN = 2  # pixels around it: the filter that scales colour samples up reaches over an edge


def write_source(path: Path, kind: str, *, secret: int) -> None:
    """Six frames without loss, alike but for what lies in the box, which `secret` draws."""
    pixel_format, (width, height), tags = KINDS[kind]
    public, hidden = np.random.default_rng(0), np.random.default_rng(secret)
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        for t in range(6):
            frame = av.VideoFrame(width, height, pixel_format)
            frame.color_primaries, frame.color_trc = tags[:2]
            frame.colorspace, frame.color_range = tags[2:]
            for plane in frame.planes:
                deep = pixel_format.endswith("10le")
                row = plane.line_size // (1 + deep)
                top = 900 if deep else 230
                across, down = width / plane.width, height / plane.height
                values = public.integers(64, top, (plane.height, row))
                y0, y1 = -int(-BOX.y0 // down), int(BOX.y1 // down)
                x0, x1 = -int(-BOX.x0 // across), int(BOX.x1 // across)
                values[y0:y1, x0:x1] = hidden.integers(64, top, (y1 - y0, x1 - x0))
                plane.update(values.astype("<u2" if deep else np.uint8).tobytes())
            frame.pts, frame.time_base = t, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def pixels(path: Path) -> np.ndarray:
    with Reader(path) as reader:
        return np.stack([frame.rgb() for frame in reader])  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_sources_that_differ_in_the_region_alone_give_the_same_output(
    kind: str, tmp_path: Path
) -> None:
    """Nothing of it gets around the mask by colour samples, scaling, tags or depth."""
    _, (width, height), _ = KINDS[kind]
    box = Box(BOX.x0 - MARGIN, BOX.y0 - MARGIN, BOX.x1 + MARGIN, BOX.y1 + MARGIN, 1.0, track=0)
    with BoxWriter(tmp_path / "boxes.json", width=width, height=height) as writer:
        for t in range(6):
            writer.add(t, [box])
    outs = []
    for secret in (1, 2):
        write_source(tmp_path / f"in{secret}.mkv", kind, secret=secret)
        masquerade.anonymize_file(
            tmp_path / f"in{secret}.mkv",
            tmp_path / f"out{secret}.mkv",
            masquerade.build("blacken"),
            regions=f"boxes:{tmp_path / 'boxes.json'}",
            shape="box",
            mask_scale=1.0,
            lossless=True,
            codec="ffv1",
        )
        outs.append((tmp_path / f"out{secret}.mkv").read_bytes())
    assert not np.array_equal(pixels(tmp_path / "in1.mkv"), pixels(tmp_path / "in2.mkv"))
    assert outs[0] == outs[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_frame_leaves_no_raw_border(kind: str, tmp_path: Path) -> None:
    """Wherever sizes are rounded up to colour samples or blocks of the encoder."""
    write_source(tmp_path / "in.mkv", kind, secret=1)
    target = tmp_path / "out.mp4"
    method = masquerade.build("blacken")
    masquerade.anonymize_file(tmp_path / "in.mkv", target, method, regions="frame")
    shown = pixels(target)
    assert shown.max() <= np.iinfo(shown.dtype).max * 4 // 255
