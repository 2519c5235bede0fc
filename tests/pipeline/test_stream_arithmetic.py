"""What a stream does with numbers: queues, windows, masks, padding, and what a method is given."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.errors import MasqueradeError, UsageError
from masquerade.pipeline import stream
from masquerade.pipeline.config import PipelineConfig
from masquerade.pipeline.stream import (
    AnonymizedFrame,
    Cover,
    StageTimer,
    _bytes_of,
    _group_windows,
    _pad_to_window,
    _stack_window,
    _Window,
    anonymize,
    anonymize_stream,
    black_outside,
    closing_if_possible,
    cover_of,
    prefetch,
    region_mask,
    states_before,
)
from masquerade.regions.boxes import Box
from masquerade.regions.masks import rasterize
from masquerade.regions.region import Region

BOX = Box(5, 4, 15, 12, 1.0)


class Picture:
    """A frame of 32 x 24 pixels that all have its number."""

    width, height = 32, 24

    def __init__(self, index: int) -> None:
        self.index = index

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        return np.full((24, 32, 3), 10 * self.index, np.uint8)


class Noted(Anonymizer):
    """Adds one to each pixel and notes what it was given."""

    card = Card("", "", "", "")

    def __init__(self, window: int = 0, digest: bool = False) -> None:
        super().__init__()
        self.window, self.needs_source_digest = window, digest
        self.given: list[Any] = []
        self.began: list[dict[str, Any]] = []
        self.gradients: list[bool] = []

    def init_state(self, **given: Any) -> int:
        self.began.append(given)
        return 100

    def on_pixels(self, frames: Any, *, mask: Any = None, state: Any = None) -> Any:
        self.given.append((frames[:, 0, 0, 0].tolist(), None if mask is None else mask, state))
        self.gradients.append(torch.is_grad_enabled())
        return frames + 1, state + 1

    def forward(self, clip: Any, *, mask: Any = None, state: Any = None) -> Anonymized:
        self.given.append((clip[0, 0, :, 0, 0].tolist(), mask, state))
        self.gradients.append(torch.is_grad_enabled())
        return Anonymized(clip / 2, None, state + 1)


def found(*regions: Region) -> Any:
    """A region source that gives these."""

    def source(frames: Any) -> Iterator[Region]:
        for _, region in zip(frames, regions, strict=True):
            yield region

    return source


@pytest.mark.parametrize(
    ("count", "window", "order"),
    [
        (4, 4, [0, 1, 2, 3]),
        (5, 4, [0, 1, 2, 3, 4]),
        (1, 3, [0, 0, 0]),
        (2, 7, [0, 1, 0, 1, 0, 1, 0]),
        (3, 8, [0, 1, 2, 1, 0, 1, 2, 1]),
        (4, 9, [0, 1, 2, 3, 2, 1, 0, 1, 2]),
        (3, 0, [0, 1, 2]),
    ],
)
def test_a_short_window_is_played_back_and_forth(count: int, window: int, order: list[int]) -> None:
    frames = 7 + 2 * np.arange(count)
    assert _pad_to_window(frames, window).tolist() == [7 + 2 * i for i in order]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_black_outside_is_the_share_of_the_mask_rounded(kind: Any) -> None:
    top = np.iinfo(kind).max
    some = [0, 1, 2, 127, 128, 200, top - 1, top]
    values = np.arange(256, dtype=kind) if kind == np.uint8 else np.array(some, kind)
    pixels = np.repeat(values, 256).reshape(1, len(values), 256, 1).repeat(3, 3)
    mask = np.tile(np.arange(256, dtype=np.uint8), (len(values), 1))[None]
    out = black_outside(pixels, mask)
    exact = pixels.astype(float) * mask[..., None] / 255
    assert out.dtype == kind and np.array_equal(out, np.floor(exact + 127 / 255).astype(kind))
    assert np.abs(out - exact).max() <= 0.5
    assert np.array_equal(out[0, :, 255], pixels[0, :, 255]) and not out[0, :, 0].any()
    window = np.concatenate([pixels, pixels[:, ::-1]]), np.concatenate([mask, mask[:, ::-1]])
    assert np.array_equal(black_outside(*window), np.concatenate([out, out[:, ::-1]]))


def test_states_before_come_with_the_masks_that_the_method_is_given() -> None:
    method, cover = Noted(), Cover(shape="box", scale=1)
    regions = [Region(boxes=(BOX,)), Region(full_frame=True), Region()]
    items = ((Picture(t), region) for t, region in enumerate(regions))
    came = list(states_before(items, method, 100, cover, StageTimer()))
    assert [(frame.index, state) for frame, _, _, state in came] == [(0, 100), (1, 101), (2, 102)]
    for (levels, given, _), (frame, region, mask, _) in zip(method.given, came, strict=True):
        assert levels == [10 * frame.index]
        wanted = region_mask(region, cover, width=32, height=24)
        assert np.array_equal(mask, wanted)  # type: ignore[arg-type]
        assert (mask is None and given is None) or np.array_equal(mask[None], given)  # type: ignore[index]


def test_a_mask_is_kept_unchanged_where_the_image_of_a_region_is_not_black() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    within = np.zeros((16, 16), np.uint8)
    within[:, 5:9], within[3, 12] = 1, 255
    mask = region_mask(Region(strength=levels), Cover(within=within), width=16, height=16)
    assert np.array_equal(mask, np.where(within > 0, levels, 0))  # type: ignore[arg-type]


def test_the_bytes_of_what_waits_are_those_of_its_pixels() -> None:
    array = np.zeros((2, 5, 3), np.uint16)
    planes = SimpleNamespace(planes=[SimpleNamespace(buffer_size=n) for n in (100, 25, 26)])
    assert _bytes_of(array) == 60 and _bytes_of(planes) == 151
    assert _bytes_of(SimpleNamespace(picture=planes)) == 151
    assert _bytes_of(SimpleNamespace(picture=array)) == 60
    assert _bytes_of("text") == _bytes_of(None) == 0
    assert _bytes_of((array, [planes, 7, (array,)])) == 271


@pytest.mark.parametrize(
    ("region", "cover", "wanted"),
    [
        (Region(full_frame=True), Cover(), None),
        (Region(boxes=(BOX,)), Cover(), {"shape": "ellipse", "scale": 1.6, "feather": 0.0}),
        (
            Region(boxes=(BOX,)),
            Cover("box", 1.2, 3.0),
            {"shape": "box", "scale": 1.2, "feather": 3.0},
        ),
    ],
)
def test_a_region_becomes_the_mask_of_its_cover(
    region: Region, cover: Cover, wanted: dict[str, Any] | None
) -> None:
    mask = region_mask(region, cover, width=32, height=24)
    if wanted is None:
        assert mask is None
        return
    assert np.array_equal(mask, rasterize(region.boxes, width=32, height=24, **wanted))
    within = np.zeros((24, 32), np.uint8)
    within[6:, 3:], within[9:, 9:] = 1, 255
    for one in (region, Region(full_frame=True)):
        cut = region_mask(one, cover._replace(within=within), width=32, height=24)
        whole = np.full((24, 32), 255) if one.full_frame else mask
        assert cut is not None and cut.dtype == np.uint8
        assert np.array_equal(cut, np.where(within > 0, whole, 0))


def test_a_cover_is_a_large_ellipse_and_nothing_more() -> None:
    assert tuple(Cover()) == ("ellipse", 1.6, 0.0, None, "keep")


def test_silhouettes_and_strengths_are_drawn_too() -> None:
    outline = np.zeros((24, 32), np.uint8)
    outline[4:12, 20:25] = 255
    soft = np.zeros((24, 32), np.uint8)
    soft[2, :] = 77
    region = Region(boxes=(BOX,), mask=outline, strength=soft)
    cover = Cover("silhouette", 1.0)
    mask = region_mask(region, cover, width=32, height=24)
    drawn = rasterize(
        [BOX], width=32, height=24, shape="silhouette", scale=1, mask=outline, strength=soft
    )
    assert np.array_equal(mask, drawn) and mask[2, 0] == 77 and mask[6, 22] == 255
    assert mask[8, 10] == 255  # a box with no outline in it


def test_windows_hold_so_many_frames_and_what_comes_between() -> None:
    items = ["a", (1, "A"), "b", (2, "B"), "c", (3, "C"), "d"]
    for size, wanted in (
        (1, [([1], ["A"], ["a"]), ([2], ["B"], ["b"]), ([3], ["C"], ["c"]), ([], [], ["d"])]),
        (2, [([1, 2], ["A", "B"], ["a", "b"]), ([3], ["C"], ["c", "d"])]),
        (3, [([1, 2, 3], ["A", "B", "C"], ["a", "b", "c"]), ([], [], ["d"])]),
        (4, [([1, 2, 3], ["A", "B", "C"], ["a", "b", "c", "d"])]),
    ):
        assert [tuple(one) for one in _group_windows(iter(items), size)] == wanted
    assert list(_group_windows(iter([]), 2)) == []
    assert [len(one.frames) for one in _group_windows(iter(items[1:2] * 4), 2)] == [2, 2]


def test_masks_of_a_window_are_whole_where_all_is_hidden() -> None:
    regions = [Region(full_frame=True), Region(boxes=(BOX,))]
    window = _Window([Picture(1), Picture(2)], regions, [])
    pixels, masks = _stack_window(window, Cover())
    assert pixels.shape == (2, 24, 32, 3) and pixels[:, 0, 0, 0].tolist() == [10, 20]
    assert masks is not None and masks.shape == (2, 24, 32) and (masks[0] == 255).all()
    assert np.array_equal(masks[1], region_mask(regions[1], Cover(), width=32, height=24))
    assert _stack_window(_Window(window.frames, regions[:1] * 2, []), Cover())[1] is None
    one, mask = _stack_window(_Window(window.frames[:1], regions[1:], []), Cover())
    assert one.shape == (1, 24, 32, 3) and mask is not None and mask.shape == (1, 24, 32)


def test_a_timer_adds_what_is_spent_and_takes_away_what_is_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([10.0, 13.0, 20.0, 21.0, 30.0, 35.0, 40.0, 41.5, 50.0, 52.0])
    monkeypatch.setattr(stream.time, "perf_counter", lambda: next(clock))
    timer = StageTimer()
    with timer.measure("a"):
        pass
    with pytest.raises(ValueError, match="x"), timer.measure("a", sign=-1):
        raise ValueError("x")
    assert timer.seconds == {"a": 2}
    assert list(timer.measure_each("b", [7])) == [7]  # the end takes time, too
    assert timer.seconds == {"a": 2, "b": 6.5}
    assert list(timer.measure_each("b", [], sign=-1)) == []
    assert timer.seconds == {"a": 2, "b": 4.5}


def test_generators_are_closed_and_others_left() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    generator = items()
    with closing_if_possible(generator):
        next(generator)
    with closing_if_possible(iter([1])):
        pass
    assert closed == [True]
    held = items()  # or it would be closed as it is forgotten
    each = StageTimer().measure_each("x", held)
    next(each)
    each.close()  # type: ignore[attr-defined]
    assert closed == [True, True]


@pytest.mark.parametrize(
    ("given", "size", "ahead"),
    [
        ({}, 10, 4),
        ({"depth": 2}, 10, 2),
        ({"limit": 30}, 10, 3),
        ({}, 2**28, 2),
        ({}, 2**28 + 1, 1),
        ({}, 2**33, 1),
    ],
)
def test_a_queue_runs_ahead_by_its_depth_or_its_bytes(
    given: dict[str, int], size: int, ahead: int
) -> None:
    """One more is made and waits to be put there."""
    made, waits = [], threading.Semaphore(0)

    def items() -> Iterator[Any]:
        for number in range(20):
            made.append(number)
            waits.release()
            yield SimpleNamespace(number=number, planes=[SimpleNamespace(buffer_size=size)])

    taken = prefetch(items(), **given)
    assert next(taken).number == 0
    for _ in range(ahead + 2):
        assert waits.acquire(timeout=20)
    assert not waits.acquire(timeout=0.03) and len(made) == ahead + 2
    assert next(taken).number == 1
    assert waits.acquire(timeout=20) and not waits.acquire(timeout=0.03)
    assert [one.number for one in taken] == list(range(2, 20))


def test_nothing_may_be_an_item_and_an_error_of_any_kind_is_passed_on() -> None:
    assert list(prefetch([None, 1, None])) == [None, 1, None]

    def items() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    taken = prefetch(items())
    assert next(taken) == 1
    with pytest.raises(KeyboardInterrupt):
        next(taken)


@pytest.mark.parametrize(
    ("window", "batch", "sizes"), [(0, 0, [1] * 5), (0, 2, [2, 2, 1]), (3, 2, [3, 2])]
)
def test_a_method_is_given_its_window_or_a_batch(window: int, batch: int, sizes: list[int]) -> None:
    method, watched = Noted(window), []
    box, whole = Region(boxes=(BOX,)), Region(full_frame=True)
    regions = (box, whole, Region(), box, whole)
    timer = StageTimer()
    out = list(
        anonymize_stream(
            ["x", *map(Picture, range(5)), "y"],
            method,
            found(*regions),
            batch=batch,
            seed=9,
            digest=b"unused",
            timer=timer,
            watch=lambda made, source: watched.append((made, source)),
        )
    )
    assert out[0] == "x" and [one for one in out if isinstance(one, str)] == ["x", "y"]
    frames = [one for one in out if isinstance(one, AnonymizedFrame)]
    assert [one.frame.index for one in frames] == list(range(5))
    assert [one.pixels[0, 0, 0] for one in frames] == [1, 11, 21, 31, 41]
    assert [one.region for one in frames] == list(regions)
    mask = region_mask(box, Cover(), width=32, height=24)
    for one, region in zip(frames, regions, strict=True):
        if one.mask is None:
            assert region is whole
        elif region is whole:
            assert (one.mask == 255).all()
        else:
            assert np.array_equal(one.mask, mask if region is box else 0 * mask)
    assert method.began == [{"seed": 9}] and not any(method.gradients)
    assert [state for *_, state in method.given] == [100 + i for i in range(len(sizes))]
    padded = [max(window, size) for size in sizes]
    assert [len(numbers) for numbers, *_ in method.given] == padded
    for numbers, masks, _ in method.given:
        assert masks is None or masks.shape == (len(numbers), 24, 32)
    if window:
        assert method.given[-1][0] == [30, 40, 30]
        assert np.array_equal(method.given[-1][1][2], mask)
    assert [made for made, _ in watched] == frames
    assert [source[0, 0, 0] for _, source in watched] == [0, 10, 20, 30, 40]
    assert set(timer.seconds) == {"decode", "regions", "anonymize"}


def test_outside_is_black_only_where_it_is_asked_for() -> None:
    for cover, corner in ((Cover(), 11), (Cover(outside="black"), 0)):
        regions = found(Region(), Region(boxes=(BOX,)))
        _, one = anonymize_stream(map(Picture, range(2)), Noted(), regions, cover=cover)
        assert one.pixels[0, 0, 0] == corner and one.pixels[8, 10, 0] == 11
    (whole,) = anonymize_stream(
        [Picture(3)], Noted(), found(Region(full_frame=True)), cover=Cover(outside="black")
    )
    assert (whole.pixels == 31).all() and whole.mask is None


def test_a_digest_is_for_methods_that_ask_for_it() -> None:
    method = Noted(digest=True)
    list(anonymize_stream([Picture(0)], method, found(Region()), seed=3, digest=b"d"))
    clip = torch.rand(2, 3, 4, 6, 8)
    anonymize(clip, method, seed=5)
    digest = hashlib.sha256(clip.numpy().tobytes()).digest()
    assert method.began == [{"seed": 3, "source": b"d"}, {"seed": 5, "source": digest}]
    anonymize(clip.transpose(3, 4), method)
    assert method.began[-1]["source"] != digest and method.began[-1]["seed"] is None


def test_regions_that_do_not_fit_the_frames_are_refused() -> None:
    def run(says: str, source: Any, frames: int = 3) -> None:
        items = [*map(Picture, range(frames)), "end"]
        with pytest.raises(MasqueradeError, match=says):
            list(anonymize_stream(items, Noted(), source))

    run("gave no regions", lambda frames: None)
    run("gave no regions", lambda frames: 7)
    run("fewer regions", lambda frames: (Region() for _ in [*frames][1:]))
    run("more regions", lambda frames: (Region() for _ in [*frames, 1]))
    run("fewer regions", lambda frames: (Region() for _ in range(0)))  # it read nothing
    run("fewer", lambda frames: [Region() for one, _ in zip(frames, "ab", strict=False)])
    run("more regions", lambda frames: (Region() for _ in range(1)), frames=0)
    run("str instead of a region", lambda frames: ("no region" for _ in frames))
    small = np.zeros((3, 4), np.uint8)
    run("not of the frame's size", lambda frames: (Region(mask=small) for _ in frames))
    assert list(anonymize_stream(["end"], Noted(), found())) == ["end"]


def test_a_clip_is_taken_window_by_window() -> None:
    clip = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(2, 3, 7, 4, 5) / 10
    mask = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(2, 1, 7, 4, 5) / 7
    for window, wanted in ((0, [[0, 1, 2, 3, 4, 5, 6]]), (3, [[0, 1, 2], [3, 4, 5], [6, 6, 6]])):
        method = Noted(window)
        out = anonymize(clip, method, mask=mask, seed=4)
        assert torch.equal(out, clip / 2) and method.began == [{"seed": 4}]
        assert [[round(10 * x) for x in one] for one, *_ in method.given] == wanted
        for (frames, part, state), number in zip(method.given, range(9), strict=False):
            assert part.shape == (2, 1, len(frames), 4, 5) and state == 100 + number
            assert part[0, 0, :, 0, 0].tolist() == pytest.approx([10 * x / 7 for x in frames])
        assert not any(method.gradients)
    method = Noted(5)
    anonymize(clip, method)
    assert [part for _, part, _ in method.given] == [None, None]
    assert method.given[1][0] == pytest.approx([0.5, 0.6, 0.5, 0.6, 0.5])


def test_clips_and_masks_of_other_shapes_and_numbers_are_refused() -> None:
    clip = torch.rand(1, 3, 2, 4, 5)
    for wrong, says in (
        (clip[0], r"clips \(B, 3, T, H, W\)"),
        (clip[:, :2], r"clips \(B, 3, T, H, W\)"),
        (clip.byte(), "finite numbers"),
        (torch.where(clip > 2, clip, torch.nan), "finite numbers"),
        (torch.full_like(clip, torch.inf), "finite numbers"),
    ):
        with pytest.raises(UsageError, match=says):
            anonymize(wrong, Noted())
    fits = torch.rand(1, 1, 2, 4, 5)
    for mask in (fits, fits * 0, fits * 0 + 1):
        assert anonymize(clip, Noted(), mask=mask).shape == clip.shape
    high, low = fits.clone(), fits.clone()
    high[0, 0, 0, 0, 0], low[0, 0, 1, 3, 4] = 1.01, -0.01
    numbers = high, low, fits + 1, fits - 1, fits * torch.nan
    for mask in (*numbers, fits[:, :, :1], clip, fits[0]):
        with pytest.raises(UsageError, match="takes masks"):
            anonymize(clip, Noted(), mask=mask)


def test_a_configuration_and_its_source_say_how_boxes_become_a_mask() -> None:
    people, faces = SimpleNamespace(shape="silhouette"), SimpleNamespace()
    assert cover_of(PipelineConfig(), people) == Cover("silhouette")
    assert cover_of(PipelineConfig(), faces) == cover_of(PipelineConfig()) == Cover()
    assert cover_of(PipelineConfig(), SimpleNamespace(shape=None)) == Cover()
    chosen = PipelineConfig(shape="box", mask_scale=1.2, feather=3, outside="black")
    image = np.zeros((4, 6), np.uint8)
    assert cover_of(chosen, people, within=image) == Cover("box", 1.2, 3, image, "black")
