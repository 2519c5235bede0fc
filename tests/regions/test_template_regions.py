"""The region source `templates`: propagation from keyframes, cuts, and points in the video."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from frames import ArrayFrame, Counted, noise

from masquerade.errors import MasqueradeError, MissingError, UsageError
from masquerade.regions import Union, template_regions
from masquerade.regions.hog_keys import ColourHog
from masquerade.regions.masks import rasterize
from masquerade.regions.region import Region
from masquerade.regions.region_sources import Faces
from masquerade.regions.template import make_template
from masquerade.regions.template_library import Library
from masquerade.regions.template_regions import (
    MAX_INTERVAL,
    MAX_POINT_FRAME,
    Templates,
    parse_point,
)

W, H, SIDE = 160, 120, 30


def scene(frames: int, *, step: float = 2.0, seed: int = 1) -> list[ArrayFrame]:
    """A red, textured square that moves over a grey background."""
    ground = noise(W, H, seed)
    ground = np.repeat(ground.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    patch = noise(SIDE, SIDE, 9, low=20, high=70)
    patch[..., 0] = 220
    pictures = []
    for t in range(frames):
        frame, (x, y) = ground.copy(), place(t, step)
        frame[y : y + SIDE, x : x + SIDE] = patch
        pictures.append(ArrayFrame(frame))
    return pictures


def place(t: int, step: float = 2.0) -> tuple[int, int]:
    return round(10 + step * t), 40 + round(10 * np.sin(t / 5))


def covered(region: Region, x: int, y: int) -> tuple[float, float]:
    """Share of the square's inside at full strength, and of its surroundings above zero."""
    assert region.strength is not None
    inside = region.strength[y + 5 : y + SIDE - 5, x + 5 : x + SIDE - 5]
    around = np.ones((H, W), bool)
    around[max(0, y - 10) : y + SIDE + 10, max(0, x - 10) : x + SIDE + 10] = False
    return float((inside == 255).mean()), float((region.strength[around] > 25).mean())


@pytest.mark.parametrize(("every", "least"), [(1, 0.99), (0, 0.98), (6, 0.95)])
def test_moving_patch_is_followed_before_and_after_its_point(every: int, least: float) -> None:
    frames, point = 40, 12
    x, y = place(point)
    source = Templates(at=((point, x + 15, y + 15),), every=every)
    assert source.look_ahead == point
    assert Templates(at=((0, x + 15, y + 15),), every=every).look_ahead == (every or 12) - 1
    regions = list(source(scene(frames)))
    assert len(regions) == frames
    for t, region in enumerate(regions):
        inside, outside = covered(region, *place(t))
        assert inside >= least and outside < (0.03 if every < 2 else 0.06), t
        assert region.boxes == () and region.mask is None and not region.full_frame
    keyframes = [t for t, region in enumerate(regions) if region.detected]
    assert keyframes[0] == 0
    if every:
        assert keyframes == sorted({*range(0, frames, every), frames - 1})
    else:
        assert 1 < len(keyframes) < frames and max(np.diff(keyframes)) <= MAX_INTERVAL


def test_more_motion_means_more_keyframes() -> None:
    def keyframes(step: float) -> int:
        source = Templates(at=((0, 25, 55),))
        return sum(region.detected for region in source(scene(26, step=step)))

    assert keyframes(4.0) > keyframes(0.5) >= 4  # one in 12 frames even so, and the last


@pytest.mark.parametrize(("seconds", "apart"), [(1 / 24, 12), (0.2, 2), (1.0, 1), (None, 12)])
def test_keyframes_of_slow_videos_are_half_a_second_apart(
    seconds: float | None, apart: int
) -> None:
    still = scene(1)[0].pixels
    times = (None if seconds is None else t * seconds for t in range(25))
    regions = Templates(at=((0, 25, 55),))(ArrayFrame(still, time) for time in times)
    assert [t for t, one in enumerate(regions) if one.detected] == [*range(0, 25, apart)]


@pytest.mark.parametrize("online", [False, True])
def test_nothing_is_propagated_where_every_frame_has_keys(
    monkeypatch: pytest.MonkeyPatch, online: bool
) -> None:
    def flow(*_: object) -> None:
        raise AssertionError("flow was computed")

    monkeypatch.setattr(template_regions, "dis_flow", flow)
    source = Templates(at=((0, 25, 55),), every=1, online=online)
    assert all(region.detected for region in source(scene(3)))


@pytest.mark.parametrize("every", [0, 9])
def test_what_comes_in_between_keyframes_is_hidden_from_its_first_frame(every: int) -> None:
    """It is too small to make a keyframe of its frame, and is found in the next one."""
    still, come, part = scene(1)[0].pixels, 15, slice(40, 40 + SIDE)
    later = still.copy()
    later[part, 120 : 120 + 15] = still[part, 10 : 10 + 15]
    pictures = [ArrayFrame(still if t < come else later) for t in range(22)]
    regions = list(Templates(at=((0, 25, 55),), every=every)(pictures))
    assert not regions[come].detected and sum(region.detected for region in regions) <= 4
    for region in regions[come:]:
        assert region.strength is not None
        assert (region.strength[45:65, 123:132] == 255).mean() > 0.95
    assert regions[2].strength is not None and not regions[2].strength[45:65, 123:132].any()


def test_online_templates_have_keys_in_every_frame() -> None:
    source = Templates(at=((0, 25, 55),), every=6, online=True)
    assert source.look_ahead == 0 and all(region.detected for region in source(scene(3)))


def test_cut_is_a_keyframe_and_the_template_still_matches() -> None:
    shots = scene(15), scene(15, seed=3)
    other = [ArrayFrame(255 - p.pixels // 3) for p in shots[1]]
    for t, picture in enumerate(other):
        x, y = place(t)
        picture.pixels[y : y + SIDE, W - x - SIDE : W - x] = shots[1][t].pixels[
            y : y + SIDE, x : x + SIDE
        ]
        picture.pixels[y : y + SIDE, x : x + SIDE] = 200
    regions = list(Templates(at=((0, 25, 55),), every=30)([*shots[0], *other]))
    assert [t for t, region in enumerate(regions) if region.cut] == [15]
    assert [t for t, region in enumerate(regions) if region.detected] == [0, 14, 15, 29]
    x, y = place(0)
    assert covered(regions[15], W - x - SIDE, y)[0] > 0.9
    strength = regions[15].strength
    assert strength is not None and strength[y : y + SIDE, x : x + SIDE].max() < 128


def test_a_strength_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a byte it would be 0, which hides nothing."""
    monkeypatch.setattr(template_regions, "upsample", lambda *_: np.full((240, 320), np.nan, "f4"))
    with pytest.raises(MasqueradeError, match="no finite numbers"):
        list(Templates(at=((0, 25, 55),))(scene(1)))


def test_look_ahead_and_memory_are_bounded() -> None:
    pictures = Counted(scene(40))
    source = Templates(at=((5, *place(5)), (9, 25, 55)))
    for count, _ in enumerate(source(pictures), start=1):
        assert pictures.taken <= count + source.look_ahead
    assert count == 40
    assert list(source([])) == []


def test_templates_of_the_library_and_points_together(tmp_path: Path) -> None:
    pictures = scene(6)
    library = Library(folder=tmp_path)
    x, y = place(0)
    template = make_template(
        "cloth", pictures[0].pixels, [(x + 15, y + 15)], ColourHog(), image="a.png"
    )
    library.add(template)
    source = Templates(templates=("cloth",), library=tmp_path)
    for t, region in enumerate(source(pictures)):
        assert covered(region, *place(t))[0] > 0.9
    both = Templates(templates=("cloth",), at=((0, 120, 100),), library=tmp_path)
    (first, *_) = both(pictures)
    assert first.strength is not None
    assert first.strength[y + 15, x + 15] == first.strength[100, 120] == 255
    with pytest.raises(UsageError, match="made with keys colour-hog"):
        Templates(templates=("cloth",), library=tmp_path, stride=8)
    with pytest.raises(MissingError, match="no template hair"):
        Templates(templates=("cloth", "hair"), library=tmp_path)


def test_equal_keys_that_hide_otherwise_are_another_content(tmp_path: Path) -> None:
    """A key taken from another picture of the same thing is weighed by the rest of that picture."""
    template = make_template("cloth", scene(1)[0].pixels, [(25, 55)], ColourHog(), image="a.png")
    (pick,) = template.picks
    level = replace(pick.level, core=pick.level.core / 2)
    other = replace(template, picks=(replace(pick, level=level),))
    elsewhere = replace(template, picks=(replace(pick, image="b.png"),))
    found = []
    for number, one in enumerate((template, other, elsewhere)):
        library = Library(folder=tmp_path / str(number))
        library.add(one)
        found.append(Templates(templates=("cloth",), library=library.folder).content)
    assert found[0] != found[1] and found[0] == found[2]
    assert template.digest() != other.digest()  # by which the studio finds again, or runs again


def test_invalid_points_and_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="need a name"):
        Templates()
    with pytest.raises(
        UsageError, match=f"frames 0 to {MAX_POINT_FRAME}.*not in {MAX_POINT_FRAME + 1}"
    ):
        Templates(at=((MAX_POINT_FRAME + 1, 5, 5),))
    with pytest.raises(UsageError, match="frame 9 to point at: the video has 5"):
        list(Templates(at=((9, 5, 5),))(scene(5)))
    with pytest.raises(UsageError, match="outside frame 2, which has 160x120"):
        list(Templates(at=((2, 160, 5),))(scene(5)))
    with pytest.raises(UsageError, match="--every must be from 0"):
        Templates(at=((0, 5, 5),), every=-1)
    with pytest.raises(MissingError, match=r"no weights file none\.pth"):
        Templates(at=((0, 5, 5),), keys="dino-s8", key_weights=Path("none.pth"))


def test_source_can_be_pickled() -> None:
    source = Templates(at=((1, 25, 55),), combine="mean", every=2)
    twin = pickle.loads(pickle.dumps(source))
    pairs = zip(source(scene(5)), twin(scene(5)), strict=True)
    assert all(np.array_equal(a.strength, b.strength) for a, b in pairs)


def test_strengths_reach_the_mask_unchanged() -> None:
    ramp = np.tile(np.linspace(0, 255, W).astype(np.uint8), (H, 1))
    for shape in ("ellipse", "box", "silhouette"):
        mask = rasterize([], width=W, height=H, shape=shape, scale=1.6, feather=4, strength=ramp)
        assert np.array_equal(mask, ramp)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_part_that_fills_much_of_its_picture_is_hidden(share: float) -> None:
    """Beside people it would be published bare: they count as found."""
    ground = cv2.GaussianBlur(noise(W, H, 1), (0, 0), 3)
    part = cv2.GaussianBlur(noise(W, H, 9, low=20, high=70), (0, 0), 3)
    part[..., 0] = 220
    wide, high = round(W * share**0.5), round(H * share**0.5)
    x, y = (W - wide) // 2, (H - high) // 2
    ground[y : y + high, x : x + wide] = part[:high, :wide]
    both = Union(sources=[Faces(every=1), Templates(at=((0, W / 2, H / 2),))])
    (region,) = both([ArrayFrame(ground)])
    assert region.strength is not None
    assert (region.strength[y + 8 : y + high - 8, x + 8 : x + wide - 8] == 255).mean() > 0.9
    bare = np.ones((H, W), bool)
    bare[max(0, y - 12) : y + high + 12, max(0, x - 12) : x + wide + 12] = False
    assert not bare.any() or (region.strength[bare] > 128).mean() < 0.05


def test_a_point_that_cannot_be_told_from_the_rest_is_refused() -> None:
    wall = np.full((H, W, 3), (200, 190, 180), np.uint8)
    with pytest.raises(UsageError, match=r"the point 25,55 looks like most of frame 0"):
        next(Templates(at=((0, 25, 55),))([ArrayFrame(wall)]))


def test_union_of_strengths_is_their_maximum() -> None:
    both = Union(sources=[Templates(at=((0, 25, 55),)), Templates(at=((0, 120, 100),))])
    alone = [Templates(at=((0, *at),)) for at in ((25, 55), (120, 100))]
    parts = zip(both(scene(3)), *(source(scene(3)) for source in alone), strict=True)
    for region, a, b in parts:
        assert region.mask is None and a.strength is not None and b.strength is not None
        assert np.array_equal(region.strength, np.maximum(a.strength, b.strength))


def test_frames_of_16_bits_are_read_in_8_bits() -> None:
    class Deep(ArrayFrame):
        def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
            if size is None:
                return self.pixels.astype(np.uint16) * 257
            return cv2.resize(self.pixels, size)

    deep = [Deep(picture.pixels) for picture in scene(2)]
    source = Templates(at=((0, 25, 55),))
    pairs = zip(source(deep), source(scene(2)), strict=True)
    assert all(np.array_equal(a.strength, b.strength) for a, b in pairs)


def test_parse_point() -> None:
    assert parse_point("12:212,140.5") == (12, 212.0, 140.5)
    assert parse_point("212,140") == (0, 212.0, 140.0)
    many = "9" * 5000  # more digits than Python reads as a number
    for wrong in ("1:2", "a:1,2", "-1:2,3", "1:2,3,4", f"{many}:1,2", f"0:{many},2", "\u0663:1,2"):
        with pytest.raises(UsageError, match="FRAME:X,Y"):
            parse_point(wrong)
