"""The stream: order, look-ahead, windows, errors, threads that end, and bounded memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from interruptions import KNOWN, interrupted_at

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.errors import MasqueradeError, VideoError
from masquerade.methods.blacken import Blacken
from masquerade.pipeline import stream
from masquerade.pipeline.constant_frame_rate import exact_rate, to_constant_rate
from masquerade.pipeline.stream import AnonymizedFrame, Cover, anonymize, anonymize_stream, prefetch
from masquerade.regions import WholeFrame
from masquerade.regions.boxes import Box
from masquerade.regions.region import Region
from masquerade.regions.tracking import TrackingRules, track_boxes


class Picture:
    """A frame in memory."""

    width, height, time_base, duration = 64, 48, Fraction(1, 25), 1

    def __init__(self, index: int) -> None:
        self.index = self.pts = index

    def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
        return np.full((48, 64, 3), 40 + self.index % 200, np.uint8)


class Sum(Anonymizer):
    """A method with a window of four that shows each window's mean and counts windows."""

    window = 4
    card = Card("", "", "", "")

    def init_state(self, *, seed: int | None = None) -> int:
        return 0

    def forward(self, clip, *, mask=None, state=None) -> Anonymized:
        assert clip.shape[2] == 4
        return Anonymized(clip * 0 + state / 10, None, state + 1)


def test_prefetch_keeps_order_and_stays_within_its_depth() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    taken = prefetch(items(), depth=3)
    assert next(taken) == 0
    time.sleep(0.3)
    assert len(made) <= 6  # one out, three queued, one in hand, one being made
    assert [0, *taken] == list(range(50))


def test_prefetch_holds_no_more_bytes_than_its_limit() -> None:
    """Frames fill a queue by their size, and one that is larger than the limit passes alone."""
    for size, most in ((100, 4), (1000, 1), (5000, 1)):
        made: list[int] = []

        def items(size: int = size, made: list[int] = made) -> Iterator[Any]:
            for number in range(12):
                made.append(number)
                frame = Picture(number)
                frame.picture = np.zeros(size, np.uint8)
                yield frame, Region()

        taken = prefetch(items(), depth=4, limit=1500)
        seen = []
        for taken_one, _ in taken:
            time.sleep(0.02)  # for the other thread to go as far as it may
            seen.append(taken_one.index)
            assert len(made) - len(seen) <= most + 1
        assert seen == list(range(12))


@KNOWN
def test_an_interruption_anywhere_ends_the_thread_and_waits_for_nothing() -> None:
    point, reached = 0, True
    while reached:
        point += 1
        closed: list[bool] = []
        answers: list[bool] = []

        def items(closed: list[bool] = closed) -> Iterator[int]:
            try:
                yield from range(5)
            finally:
                closed.append(True)

        def work(taken: Iterator[int]) -> None:
            with closing(taken):
                list(taken)

        def interrupted(point: int = point, answers: list[bool] = answers) -> None:
            taken = prefetch(prefetch(items(), depth=1), depth=1)
            next(taken)
            try:
                code = (stream, threading, contextlib)
                answers.append(interrupted_at(point, partial(work, taken), *code))
            except RuntimeError:  # of threading, which was interrupted
                answers.append(True)

        run = threading.Thread(target=interrupted, daemon=True)
        run.start()
        run.join(20)
        assert answers and closed, f"it waits for ever where it was interrupted at {point}"
        (reached,) = answers


def test_prefetch_passes_on_exceptions() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise MasqueradeError("broken")

    taken = prefetch(items())
    assert next(taken) == 1
    with pytest.raises(MasqueradeError, match="broken"):
        next(taken)


def test_closing_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    taken = prefetch(items())
    next(taken)
    taken.close()
    assert closed.is_set() and threading.active_count() == before


@pytest.mark.parametrize("fails", ["decode", "regions", "anonymize", "write"])
def test_a_failure_anywhere_ends_every_stage(fails: str) -> None:
    """No thread may go on reading when the file under it is about to be closed."""
    running = threading.active_count()
    source = iter(lambda: Picture(0), None)  # endless

    def decode() -> Iterator[Any]:
        for i, picture in enumerate(source):
            if fails == "decode" and i == 20:
                raise MasqueradeError("decode")
            yield picture

    def look(pictures: Any) -> Iterator[Region]:
        for i, _ in enumerate(pictures):
            if fails == "regions" and i == 20:
                raise MasqueradeError("regions")
            yield Region(full_frame=True)

    class Failing(Blacken):
        def on_bytes(self, frames, *, mask=None, state=None):
            if fails == "anonymize":
                raise MasqueradeError("anonymize")
            return super().on_bytes(frames, mask=mask, state=state)

    with pytest.raises(MasqueradeError, match=fails) as caught:
        items = anonymize_stream(decode(), Failing(), look, batch=2)
        try:
            for i, _ in enumerate(items):
                if fails == "write" and i == 20:
                    raise MasqueradeError("write")
        finally:
            items.close()  # type: ignore[attr-defined]
            assert threading.active_count() == running
    assert caught.value.__traceback__  # held, as a caller may hold it


def outputs(items: list[Any], method: Anonymizer, source: Any, **options: Any) -> list[Any]:
    return list(anonymize_stream(items, method, source, **options))


def test_packets_keep_their_place_among_frames() -> None:
    items = ["a", Picture(0), "b", "c", Picture(1), Picture(2), "d"]
    out = outputs(items, Blacken(), WholeFrame(), batch=1)
    assert [o.frame.index if isinstance(o, AnonymizedFrame) else o for o in out] == [
        "a",
        0,
        "b",
        "c",
        1,
        2,
        "d",
    ]
    assert all((o.pixels == 0).all() for o in out if isinstance(o, AnonymizedFrame))


@pytest.mark.parametrize("frames", [1, 3, 4, 5, 9])
def test_a_last_window_is_filled_up_and_cut(frames: int) -> None:
    out = outputs([Picture(i) for i in range(frames)], Sum(), WholeFrame())
    assert [o.frame.index for o in out] == list(range(frames))
    assert [round(o.pixels.mean() / 25.5) for o in out] == [i // 4 for i in range(frames)]
    clip = torch.rand(1, 3, frames, 8, 8)
    assert anonymize(clip, Sum()).shape == clip.shape


def test_a_source_that_skips_frames_is_an_error() -> None:
    def forgetful(pictures: Any) -> Iterator[Region]:
        for i, _ in enumerate(pictures):
            if i < 2:
                yield Region()

    with pytest.raises(MasqueradeError, match="fewer regions"):
        outputs([Picture(i) for i in range(6)], Blacken(), forgetful)


@pytest.mark.parametrize("missed", range(1, 11))
def test_missed_detections_leave_no_frame_visible(missed: int) -> None:
    """A moving face that the detector misses for 1 to 10 frames is black in every frame."""

    def source(pictures: Any) -> Iterator[Region]:
        def seen() -> Iterator[tuple[list[Box], bool]]:
            for i, _ in enumerate(pictures):
                gone = 12 <= i < 12 + missed
                yield ([] if gone else [Box(i, 10, i + 12, 26, 0.9)]), False

        for boxes in track_boxes(seen(), TrackingRules()):
            yield Region(boxes=tuple(boxes))

    out = outputs([Picture(i) for i in range(40)], Blacken(), source, cover=Cover())
    for o in out:
        i = o.frame.index
        assert (o.pixels[10:26, i : i + 12] == 0).all(), i
        assert o.pixels[:, -4:].min() > 0 or i > 30  # not by hiding everything


def test_whole_frames_and_boxes_mix_in_one_window() -> None:
    def source(pictures: Any) -> Iterator[Region]:
        for i, _ in enumerate(pictures):
            yield Region(full_frame=i == 1, boxes=() if i == 1 else (Box(8, 8, 20, 20, 1.0),))

    out = outputs([Picture(i) for i in range(3)], Blacken(), source, batch=3)
    assert (out[1].pixels == 0).all()
    assert out[0].pixels[0, 0, 0] == 40 and (out[0].pixels[8:20, 8:20] == 0).all()


def test_memory_does_not_grow_with_length() -> None:
    alive: list[int] = []
    gone: list[int] = []

    class Counted(Picture):
        def __init__(self, index: int) -> None:
            super().__init__(index)
            alive.append(index)

        def __del__(self) -> None:
            gone.append(self.index)

    most = 0
    for _ in anonymize_stream((Counted(i) for i in range(400)), Blacken(), WholeFrame(), batch=2):
        most = max(most, len(alive) - len(gone))
    assert most < 40


@pytest.mark.parametrize("name", masquerade.METHODS)
def test_a_stream_gives_the_pixels_of_the_clip(made, name: str) -> None:
    class Noisy(Picture):
        def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
            return np.random.default_rng(self.index // 3).integers(0, 256, (48, 64, 3), np.uint8)

    pictures, method = [Noisy(i) for i in range(7)], made(name)
    out = outputs(pictures, method, WholeFrame(), seed=4, batch=3)
    clip = torch.stack([torch.from_numpy(p.rgb()) for p in pictures], 1).permute(3, 1, 0, 2)
    clip = torch.stack([torch.from_numpy(p.rgb()) for p in pictures]).permute(3, 0, 1, 2)[None]
    if method.needs_people:  # whom nothing finds in a clip
        made_of = method(clip / 255, state=method.init_state(seed=4)).clip
    else:
        made_of = anonymize(clip / 255, method, seed=4)
    whole = made_of[0].permute(1, 2, 3, 0) * 255
    streamed = np.stack([o.pixels for o in out]).astype(float)
    assert np.abs(streamed - whole.numpy()).max() <= 1.5


def test_constant_rate_repeats_and_drops_frames() -> None:
    def item(index: int, pts: int, duration: int) -> AnonymizedFrame:
        stamp = Picture(index)
        stamp.pts, stamp.duration, stamp.time_base = pts, duration, Fraction(1, 10)
        return AnonymizedFrame(stamp, np.zeros((1, 1, 3), np.uint8), Region(), None)

    slow = [item(0, 0, 5), item(1, 5, 1), item(2, 6, 4)]  # 0.5 s, 0.1 s, 0.4 s
    out = list(to_constant_rate(slow, Fraction(5)))
    shown = [o for o in out if o.frame.duration]
    assert [o.frame.index for o in shown] == [0, 0, 0, 2, 2]
    assert [o.frame.pts for o in shown] == [0, 1, 2, 3, 4]
    assert [o.frame.index for o in out] == [0, 0, 0, 1, 2, 2]  # dropped, and told for counting


def test_a_constant_rate_keeps_one_frame_at_least() -> None:
    stamp = Picture(0)
    stamp.pts, stamp.duration, stamp.time_base = 6, 3, Fraction(1, 10)
    (kept,) = to_constant_rate(
        [AnonymizedFrame(stamp, np.zeros((1, 1, 3), np.uint8), Region(), None)], Fraction(1)
    )
    assert (kept.frame.pts, kept.frame.duration) == (1, 1)


def test_a_gap_is_filled_with_so_many_frames_and_no_more() -> None:
    def item(pts: int) -> AnonymizedFrame:
        stamp = Picture(0)
        stamp.pts, stamp.duration, stamp.time_base = pts, 1, Fraction(1, 10)
        return AnonymizedFrame(stamp, np.zeros((1, 1, 3), np.uint8), Region(), None)

    assert sum(1 for _ in to_constant_rate([item(0), item(40_000)], Fraction(25))) == 100_003
    for items in ([item(0), item(40_010)], [item(0), item(1 << 60)]):
        with pytest.raises(VideoError, match="leave --cfr out"):
            next(to_constant_rate(items, Fraction(25)))


@pytest.mark.parametrize(
    ("rate", "exact"),
    [
        (25, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (12.5, Fraction(25, 2)),
        (0.001, Fraction(1, 1000)),
    ],
)
def test_rounded_ntsc_rates_become_exact(rate: float, exact: Fraction) -> None:
    assert exact_rate(rate) == exact


def test_anonymize_refuses_other_shapes() -> None:
    with pytest.raises(MasqueradeError, match="B, 3, T, H, W"):
        anonymize(torch.rand(3, 8, 8), Blacken())


@pytest.mark.parametrize("method", ["mask-mean", "blur", "selective"])
def test_outside_black_leaves_only_the_hidden_regions(method: str) -> None:
    def left(pictures: Any) -> Iterator[Region]:
        for t, _ in enumerate(pictures):
            if t == 2:
                yield Region()  # nothing found: nothing shown
            else:
                yield Region(boxes=(Box(0, 0, 20, 48, 1.0),))

    def run(**given: Any) -> list[np.ndarray]:
        cover = Cover("box", 1.0, **given)
        items = anonymize_stream(
            map(Picture, range(5)), masquerade.build(method), left, cover=cover, seed=1
        )
        return [item.pixels for item in items]

    plain, alone = run(), run(outside="black")
    for t, (kept, shown) in enumerate(zip(plain, alone, strict=True)):
        assert (kept[:, 20:] == 40 + t).all()
        assert not shown[:, 20:].any()
        assert np.array_equal(shown[:, :20], kept[:, :20] if t != 2 else 0 * kept[:, :20])


def test_feathered_regions_fade_to_black() -> None:
    def left(pictures: Any) -> Iterator[Region]:
        for _ in pictures:
            yield Region(boxes=(Box(0, 0, 20, 48, 1.0),))

    cover = Cover("box", 1.0, feather=10, outside="black")
    (item,) = anonymize_stream([Picture(3)], masquerade.build("blur"), left, cover=cover)
    row = item.pixels[24, :, 0].astype(int)
    assert (np.diff(row[18:34]) <= 0).all() and row[18] == 43 and row[34] == 0
