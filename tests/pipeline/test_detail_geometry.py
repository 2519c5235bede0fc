"""Which pixels are compared with their source, and what is made of them, by exact numbers."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from masquerade.errors import OutputError
from masquerade.pipeline import residual_detail as module
from masquerade.pipeline.found_regions import FoundRegions
from masquerade.pipeline.receipt import ResidualDetail
from masquerade.pipeline.residual_detail import (
    ALL_TRACKS,
    DetailCheck,
    FrameDetail,
    RegionJudge,
    Remains,
    remaining_detail,
    source_detail,
    track_key,
)
from masquerade.pipeline.stream import AnonymizedFrame
from masquerade.regions.boxes import Box
from masquerade.regions.region import Region

SIZE = (60, 40)


def check(size: tuple[int, int] = SIZE, **given: Any) -> FrameDetail:
    return FrameDetail(**{"size": size, "shape": "box", **given})


@pytest.mark.parametrize(
    ("size", "copy"),
    [
        ((60, 40), (60, 40)),
        ((640, 360), (640, 360)),
        ((1280, 720), (640, 360)),
        ((720, 1280), (360, 640)),
        ((3600, 361), (3590, 360)),
        ((9, 1), (9, 1)),
    ],
)
def test_copies_have_a_short_side_of_360_at_most(
    size: tuple[int, int], copy: tuple[int, int]
) -> None:
    one = check(size)
    assert one.size == copy
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[..., 1] = 100
    luma = one.luma(picture)
    assert luma.shape == copy[::-1] and luma.dtype == np.float32
    assert (luma == 59).all()  # 0.587 of green


def test_luma_of_deep_pictures_is_that_of_their_upper_bytes() -> None:
    shallow = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    deep = shallow.astype(np.uint16) * 256 + 200
    one = check()
    luma = one.luma(shallow)
    assert np.array_equal(one.luma(deep), luma)
    wanted = shallow @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - wanted).max() <= 0.6
    half = check((720, 1440))
    wide = np.kron(shallow, np.ones((36, 12, 1), np.uint8))
    assert half.luma(wide).shape == (720, 360)


def pixels(one: FrameDetail, found: FoundRegions) -> list[tuple[int, NDArray[np.bool_]]]:
    """The regions as masks of the whole copy."""
    shown = []
    for track, place, mask in one._regions(found):
        whole = np.zeros(one.size[::-1], bool)
        assert mask.shape == whole[place].shape and mask.dtype == bool
        whole[place] = mask
        shown.append((track, whole))
    return shown


def inside(box: tuple[float, ...], shape: str) -> NDArray[np.bool_]:
    """The pixels that a box touches, or whose centres lie in its ellipse."""
    out = np.zeros(SIZE[::-1], bool)
    x0, y0, x1, y1 = box
    for y in range(SIZE[1]):
        for x in range(SIZE[0]):
            touched = x < x1 and y < y1 and x + 1 > x0 and y + 1 > y0
            a, b = (x1 - x0) / 2, (y1 - y0) / 2
            u, v = (x + 0.5 - x0 - a) / a, (y + 0.5 - y0 - b) / b
            out[y, x] = touched and (shape == "box" or u * u + v * v <= 1)
    return out


BOXES = [
    (3.0, 5.0, 20.0, 30.0),
    (3.25, 5.5, 20.5, 30.75),
    (-8.5, -4.0, 12.0, 9.5),
    (50.0, 30.0, 99.0, 77.0),
    (10.0, 10.0, 11.0, 11.0),
]


@pytest.mark.parametrize("shape", ["box", "ellipse"])
def test_a_box_is_compared_where_it_was_found(shape: str) -> None:
    within = np.zeros(SIZE[::-1], np.uint8)
    within[:, 7:] = 1
    rows = np.array(BOXES, np.float32)
    found = FoundRegions(rows, np.arange(5), None, False)
    one = check(shape=shape)
    cut = check(shape=shape, within=within)
    for k, (track, mask) in enumerate(pixels(one, found)):
        assert track == k and np.array_equal(mask, inside(BOXES[k], shape))
    for k, (track, mask) in enumerate(pixels(cut, found)):
        assert track == k and np.array_equal(mask, inside(BOXES[k], shape) & (within > 0))
    away = [(60, 0, 70, 9), (0, 40, 9, 50), (-9, 0, 0, 9), (0, -9, 9, 0), (5, 5, 5, 9)]
    gone = FoundRegions(np.array(away, np.float32), np.arange(5), None, False)
    assert pixels(one, gone) == []


def test_whole_frames_and_outlines_belong_to_no_track() -> None:
    outline = np.zeros(SIZE[::-1], bool)
    outline[4:9, 5:12] = True
    within = np.zeros(SIZE[::-1], np.uint8)
    within[:7] = 255
    boxes, tracks = np.array(BOXES[:1], np.float32), np.array([4])
    for shape in ("silhouette", "box"):  # boxes that silhouettes stand for are not among these
        one = check(shape=shape, within=within)
        ((track, mask),) = pixels(one, FoundRegions(boxes, tracks, outline, True))
        assert track == ALL_TRACKS and np.array_equal(mask, within > 0)
        shown = pixels(one, FoundRegions(boxes, tracks, outline, False))
        assert [track for track, _ in shown] == [ALL_TRACKS, 4]
        assert np.array_equal(shown[0][1], outline & (within > 0))
        ((track, _),) = pixels(one, FoundRegions(boxes, tracks, None, False))
        assert track == 4


def test_what_was_found_is_kept_in_pixels_of_the_copy() -> None:
    region = Region(
        boxes=(Box(8, 4, 60, 90, 1, track=3), Box(-2, 0, 5, 6, 1), Box(0, 0, 1, 1, 1, 0))
    )
    one = check((1440, 720))
    found = one.found_in(region)
    assert found.boxes.tolist() == [[4, 2, 30, 45], [-1, 0, 2.5, 3], [0, 0, 0.5, 0.5]]
    assert found.boxes.dtype == np.float32
    assert found.tracks.tolist() == [track_key(box) for box in region.boxes]
    assert found.silhouette is None and found.full_frame is False
    assert one.found_in(Region()).boxes.shape == (0, 4)
    assert one.found_in(Region(full_frame=True)).full_frame is True
    one = check(full_frame=True)
    assert one.found_in(region).full_frame is True


@pytest.mark.parametrize("shape", ["box", "silhouette"])
def test_outlines_and_strengths_count_where_they_are_nearly_full(shape: str) -> None:
    soft, outline = (np.zeros(SIZE[::-1], np.uint8) for _ in range(2))
    soft[3, :20], soft[4, :20], outline[4:6, 10:30] = 250, 249, 255
    one = check(shape=shape)
    for region, wanted in (
        (Region(strength=soft), soft >= 250),
        (Region(mask=outline), outline > 0),
        (Region(strength=soft, mask=outline), (soft >= 250) | (outline > 0)),
    ):
        found = one.found_in(region).silhouette
        assert found is not None and np.array_equal(found, wanted)
    assert one.found_in(Region(strength=soft, full_frame=True)).silhouette is None


def test_boxes_are_compared_that_no_silhouette_stands_for() -> None:
    outline = np.zeros(SIZE[::-1], np.uint8)
    outline[:, :30] = 255
    edges = (10, 0, 40, 40)  # two thirds of it lie on the silhouette
    boxes = tuple(
        Box(*edges, 1, track=number, label=label, always_drawn=whole)
        for number, (label, whole) in enumerate(
            [("text", False), ("person", False), ("person", True), ("part", False), ("face", False)]
        )
    )
    region, keys = Region(boxes=boxes, mask=outline), [track_key(box) for box in boxes]
    assert check(shape="silhouette").found_in(region).tracks.tolist() == [keys[0], keys[2]]
    assert check(shape="box").found_in(region).tracks.tolist() == keys


def test_a_small_face_is_not_judged_together_with_a_text_of_the_same_number() -> None:
    """Faces, people and texts are counted from 0 each."""
    rng, one, judge = np.random.default_rng(0), check(), RegionJudge()
    face, text = Box(2, 2, 8, 8, 1, track=0), Box(20, 5, 32, 15, 1, track=0, label="text")
    found = one.found_in(Region(boxes=(face, text)))
    for frame in range(6):
        before = rng.uniform(0, 255, SIZE[::-1]).astype(np.float32)
        after = before.copy()
        after[:, 15:] = 0  # the text is hidden, and the face is not
        one.judge(judge, frame, one.of_source(before, found), after)
    assert judge.left == 1


def test_the_measure_is_of_windows_in_the_mask() -> None:
    """Against sums over 15 x 15 pixels that are added up one by one."""
    rng = np.random.default_rng(3)
    before = (rng.normal(0, 1, (48, 64)) * np.linspace(0, 9, 64) + 100).astype(np.float32)
    noise = rng.normal(0, 5, (48, 64)).astype(np.float32)
    mask = np.zeros((48, 64), bool)
    mask[5:40, 8:61] = rng.random((35, 53)) < 0.8
    for gain, loud in ((1, 0), (1, 0.3), (0.5, 0.1), (0.45, 0.2), (0.63, 0.1), (1, 1), (0.3, 0)):
        after = (gain * before + loud * noise).astype(np.float32)
        a, b = ((x - cv2.GaussianBlur(x, (0, 0), 1.0)) * mask for x in (before, after))
        counts = [0, 0, 0]
        for y, x in np.argwhere(mask):
            window = np.s_[max(0, y - 7) : y + 8, max(0, x - 7) : x + 8]
            aa, ab, bb = ((p * q)[window].astype(float).sum() for p, q in ((a, a), (a, b), (b, b)))
            if aa <= 4 * mask[window].sum():
                continue
            counts[0] += 1
            counts[1] += ab > 0.7 * np.sqrt(aa * bb) and ab > 0.4 * aa
            counts[2] += ab > 0.9 * np.sqrt(aa * bb) and ab > 0.6 * aa
        found = remaining_detail(source_detail(before, mask), after)
        assert np.abs(np.array(found) - counts).max() <= 2
        assert 300 < counts[0] < mask.sum()
    assert remaining_detail(source_detail(before, np.zeros_like(mask)), after) == (0, 0, 0)


def plain_measure(
    before: Any, after: Any, mask: NDArray[np.bool_], *, step: int = 1
) -> tuple[int, ...]:
    """The measure by its formula, everywhere and without a thought for time.

    With a step it is of every third row and column, and each pixel there counts for nine.
    """
    inside = mask.astype(np.float32)
    a, b = ((x - cv2.GaussianBlur(x, (0, 0), 1.0)) * inside for x in (before, after))
    cut = tuple(slice(side // step * step) for side in mask.shape)
    ab, aa, bb, n = (
        cv2.boxFilter(x[cut], cv2.CV_32F, (15, 15), borderType=cv2.BORDER_CONSTANT)
        for x in (a * b, a * a, b * b, inside)
    )
    there = np.s_[step // 2 :: step, step // 2 :: step]
    mask, ab, aa, bb, n = (x[there] for x in (mask[cut], ab, aa, bb, n))
    detailed = mask & (aa > 4 * n)
    both = np.sqrt(np.maximum(aa * bb, 0))
    left = detailed & (ab > 0.7 * both) & (ab > 0.4 * aa)
    surely = detailed & (ab > 0.9 * both) & (ab > 0.6 * aa)
    return tuple(int(one.sum()) * step**2 for one in (detailed, left, surely))


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    contrast=st.sampled_from([0, 1, 2.2, 3, 20, 60]),
    gain=st.sampled_from([0, 0.2, 0.38, 0.4, 0.42, 0.6, 0.8, 1, -1]),
    loud=st.sampled_from([0, 0.3, 1, 10]),
    smooth=st.sampled_from([0, 0.5, 3]),
    share=st.sampled_from([0.3, 0.9, 1]),
    chequered=st.booleans(),
)
@example(  # the faintest output in which detail counts as left
    seed=0, size=(40, 40), contrast=2.2, gain=0.42, loud=0, smooth=0, share=1, chequered=True
)
def test_what_is_left_out_to_save_time_changes_no_count(
    seed: int,
    size: tuple[int, int],
    contrast: float,
    gain: float,
    loud: float,
    smooth: float,
    share: float,
    chequered: bool,
) -> None:
    rng = np.random.default_rng(seed)
    before, noise = (rng.normal(0, 1, size).astype(np.float32) for _ in range(2))
    if chequered:  # where detail is as faint as it may be everywhere
        before = np.asarray(np.indices(size).sum(0) % 2 * 2 - 1, np.float32)
    before *= contrast
    after = np.asarray(gain * before + loud * noise, np.float32)
    if smooth:
        after = np.asarray(cv2.GaussianBlur(after, (0, 0), smooth), np.float32)
    mask = rng.random(size) < share
    mask[0, 0] = mask[-1, -1] = True  # so that the formula sees what lies within its reach
    found = remaining_detail(source_detail(before, mask), after)
    assert found == plain_measure(before, after, mask)


@pytest.mark.parametrize("size", [(360, 480), (90, 91), (92, 200), (89, 200)])
@pytest.mark.parametrize("gain", [0.37, 0.43, 0.57, 0.63, 1])
def test_of_a_whole_frame_every_ninth_window_is_measured(
    size: tuple[int, int], gain: float
) -> None:
    rng = np.random.default_rng(0)
    before = (rng.normal(0, 1, size) * np.linspace(0, 6, size[1])).astype(np.float32)
    after = (gain * before + rng.normal(0, 0.5, size)).astype(np.float32)
    mask = np.ones(size, bool)
    expected = plain_measure(before, after, mask)
    found = remaining_detail(source_detail(before, mask), after)
    assert found == expected  # a box that fills the picture
    found = remaining_detail(source_detail(before, mask, full_frame=True), after)
    assert found == plain_measure(before, after, mask, step=3 if size[0] >= 90 else 1)
    if size[0] > 200:  # so that the shares are those of all windows
        assert 9000 < expected[0] < mask.size and expected[1] >= expected[2]
        shares = [np.array(one[1:]) / one[0] for one in (found, expected)]
        assert np.abs(shares[0] - shares[1]).max() < 0.01


def test_regions_are_judged_by_their_size() -> None:
    judge = RegionJudge()
    judge.add(1, 4, Remains(400, 100, 0))
    assert (judge.left, judge.frame, judge.measured) == (0.25, 4, 1)
    judge.add(1, 5, Remains(399, 399, 40))  # small, by the other limit
    assert (judge.left, judge.frame, judge.measured) == (0.25, 4, 2)
    judge.add(1, 6, Remains(150, 0, 75))  # alone, it is enough
    assert (judge.left, judge.frame, judge.measured) == (0.5, 6, 3)
    judge.add(1, 7, Remains(149, 0, 149))
    assert judge.measured == 3
    judge.add(2, 8, Remains(149, 0, 149))  # of another track
    assert judge.measured == 3
    judge.add(1, 9, Remains(1, 0, 0))
    assert (judge.left, judge.frame, judge.measured) == (149 / 150, 9, 5)
    judge.add(2, 9, Remains(0, 0, 0))
    assert judge.without_detail == 1
    judge.add(2, 10, Remains(1, 0, 1))
    assert (judge.left, judge.frame, judge.measured) == (1, 10, 7)
    judge.add(2, 11, Remains(400, 400, 400))  # as much as that, and later
    assert judge.frame == 10 and judge.without_detail == 1


@pytest.mark.parametrize(("detailed", "measured"), [(50, 3), (49, 0)])
def test_what_waits_at_the_end_is_judged_together(detailed: int, measured: int) -> None:
    judge = RegionJudge()
    for track in range(3):
        judge.add(track, track, Remains(detailed, detailed, 10))
    judge.end(12)
    assert (judge.measured, judge.without_detail) == (measured, 3 - measured)
    assert (judge.left, judge.frame) == ((0.2, 12) if measured else (0, 0))
    judge.end(13)
    assert (judge.measured, judge.without_detail) == (measured, 3 - measured)


def test_a_thousand_tracks_may_wait() -> None:
    judge = RegionJudge()
    for track in range(1000):
        judge.add(track, 7, Remains(1, 0, 1))
    assert (judge.measured, judge.left) == (0, 0)
    judge.add(1000, 8, Remains(1, 0, 1))
    assert (judge.measured, judge.left, judge.frame) == (1001, 1, 8)


class Picture:
    """A frame with a number, of one texture or of another."""

    def __init__(self, index: int, seed: int | None) -> None:
        self.index = index
        self.pixels = np.full((40, 60, 3), 90, np.uint8)
        if seed is not None:
            grey = np.random.default_rng(seed).integers(0, 256, (40, 60, 1))
            self.pixels[:] = grey

    def luma(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        assert size == SIZE
        return self.pixels[..., 0]


@pytest.fixture(autouse=True)
def frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Frame", Picture)


FACE = Region(boxes=(Box(10, 5, 40, 35, 1.0, track=1),))


def file_check(**given: Any) -> DetailCheck:
    return DetailCheck(**{"name": "o.mp4", "size": SIZE, "shape": "box", **given})


def watched(one: DetailCheck, source: list[Picture], made: list[Picture], region: Region) -> None:
    for before, after in zip(source, made, strict=True):
        one.watch(AnonymizedFrame(before, after.pixels, region, None), before.pixels)


def test_frames_are_compared_with_those_that_they_show() -> None:
    source = [Picture(i, i) for i in range(5)]
    for written in ([0, 1, 2, 3, 4], [0, 0, 2, 4, 4], [3], []):
        with closing(file_check()) as one:
            watched(one, source, [Picture(i, None) for i in range(5)], FACE)
            for index in written:
                one.wrote(index)
            black = ["packet", *(Picture(i, None) for i in written)]
            found = one.compare(["packet", *source], iter(black))
            assert found == ResidualDetail(
                left=0.0, frame=0, measured=len(written), without_detail=0
            )
        with closing(file_check()) as one:
            watched(one, source, [Picture(i, None) for i in range(5)], FACE)
            for index in written:
                one.wrote(index)
            if written:  # other frames' pictures are as good as noise, their own are not
                shown = [Picture(i, 50 + i) for i in written]
                assert one.compare(source, shown).left < 0.1
                shown[-1] = Picture(0, written[-1])
                with pytest.raises(OutputError, match=rf"^o\.mp4.* frame {written[-1]}\b"):
                    one.compare(source, shown)


def test_frames_that_are_too_many_or_too_few_are_refused() -> None:
    source, made = [Picture(i, i) for i in range(3)], [Picture(i, None) for i in range(3)]
    for before, after in ((source, made[:2]), (source, [*made, made[0]]), (source[:2], made)):
        with closing(file_check()) as one:
            watched(one, source, made, FACE)
            for index in range(3):
                one.wrote(index)
            with pytest.raises(OutputError, match=r"^o\.mp4 "):
                one.compare(before, after)
    with closing(file_check()) as one:  # nothing was remembered of the third
        watched(one, source[:2], made[:2], FACE)
        for index in range(3):
            one.wrote(index)
        with pytest.raises(OutputError):
            one.compare(source, made)


def test_what_a_method_left_is_refused_at_once_and_said_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = [Picture(7, 1), Picture(8, 2)]
    with closing(file_check()) as one, pytest.raises(OutputError, match=r"\b100%.* frame 7\b"):
        watched(one, source[:1], source[:1], FACE)
    with closing(file_check()) as one:
        half = Picture(8, 3)
        half.pixels[:18] = source[1].pixels[:18]  # the upper half of the face, nearly
        monkeypatch.setattr(module, "MAX_LEFT", 0.5)
        watched(one, source, [Picture(7, None), half], FACE)
        one.wrote(0)
        one.wrote(1)
        made = one.compare(source, [Picture(0, None)] * 2)
        assert 0.1 < made.left < 0.5 and made.left == round(made.left, 4)
        assert (made.frame, made.measured, made.without_detail) == (8, 2, 0)


def test_a_tenth_may_be_left_and_no_pixel_more() -> None:
    for left, refused in ((40, False), (41, True)):
        judge = RegionJudge()
        judge.add(1, 0, Remains(400, left, 0))
        with closing(file_check()) as one:
            if not refused:
                one._refuse(judge)
                continue
            with pytest.raises(OutputError):
                one._refuse(judge)


def test_what_waits_counts_in_the_last_frame_of_both() -> None:
    """Faces of 8 x 8 pixels: two of them are too few to be judged, and three are enough."""
    small = Region(boxes=(Box(10, 10, 18, 18, 1.0),))
    for count, measured in ((2, 0), (3, 3)):
        source, black = ([Picture(i, seed) for i in range(count)] for seed in (5, None))
        with closing(file_check()) as one:
            watched(one, source, black, small)
            for index in range(count):
                one.wrote(index)
            found = one.compare(source, black)
            assert (found.measured, found.without_detail) == (measured, count - measured)
    halves = Region(
        boxes=(Box(10, 10, 18, 18, 1.0, 1), Box(30, 10, 38, 18, 1.0, 2), Box(30, 25, 38, 33, 1, 3))
    )
    with closing(file_check()) as one:
        watched(one, source[:1], source[:1], halves)  # no track of its own has enough
        one.wrote(0)
        with pytest.raises(OutputError, match=r"frame 0\b"):
            one.compare(source[:1], black[:1])


def test_flat_regions_are_counted_and_pass() -> None:
    flat = [Picture(i, None) for i in range(2)]
    with closing(file_check()) as one:
        watched(one, flat, flat, FACE)
        one.wrote(0)
        one.wrote(1)
        assert one.compare(flat, flat) == ResidualDetail(
            left=0.0, frame=0, measured=0, without_detail=2
        )


def test_a_face_beside_a_silhouette_is_compared_too() -> None:
    outline = np.zeros((120, 160), np.uint8)
    outline[10:60, 10:50] = 255
    face = Box(90, 30, 140, 100, 1, track=3, label="face")
    person = Box(5, 5, 100, 115, 1, track=4, label="person")  # drawn as its silhouette alone
    region = Region(boxes=(face, person), mask=outline)
    source = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    with closing(file_check(size=(160, 120), shape="silhouette")) as one:
        silhouette = check((160, 120), shape="silhouette").found_in(region).silhouette
        assert silhouette is not None
        assert silhouette[30:60, 20:40].all() and silhouette[65, 115]
        assert not silhouette[65:70, 60:80].any() and not silhouette[110, 5:].any()
        bare = source.copy()
        bare[10:60, 10:50] = 128
        hidden = bare.copy()
        hidden[25:105, 85:145] = 128
        made = [AnonymizedFrame(SimpleNamespace(index=0), p, region, None) for p in (hidden, bare)]
        one.watch(made[0], source)
        with pytest.raises(OutputError, match="detail of a region in frame 0"):
            one.watch(made[1], source)
