"""Region sources: one region per frame, in order, with bounded look-ahead."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from frames import ArrayFrame, Counted, clip, noise, portrait

from masquerade.errors import UsageError
from masquerade.regions import (
    REGIONS,
    Boxes,
    Faces,
    WholeFrame,
)
from masquerade.regions.boxes import Box, BoxWriter, parse_boxes
from masquerade.regions.exported_boxes import exported_boxes
from masquerade.regions.masks import rasterize
from masquerade.regions.region import Region, check_region
from masquerade.regions.tracking import select_keyframes

W, H = 160, 120


def _moving_portrait(frames: int) -> tuple[list[ArrayFrame], list[tuple[int, int]]]:
    """A portrait that slides over a background, and where its corner is."""
    small = cv2.resize(portrait(), (64, 75), interpolation=cv2.INTER_AREA)
    pictures, places = [], []
    for t in range(frames):
        frame, (x, y) = noise(W, H, 1), (10 + 2 * t, 20 + t // 2)
        frame[y : y + 75, x : x + 64] = small
        pictures.append(ArrayFrame(frame))
        places.append((x, y))
    return pictures, places


def _face_at(x: int, y: int) -> tuple[int, int]:
    return x + 33, y + 22  # its middle, in the small portrait


def _source(name: str, tmp_path: Path) -> Any:
    if name == "boxes":
        with BoxWriter(tmp_path / "b.json", width=W, height=H) as writer:
            writer.add(3, [Box(1, 2, 30, 40, 0.5)])
    arguments: dict[str, dict[str, Any]] = {
        "parts": {"parts": ("head", "hands")},
        "boxes": {"file": tmp_path / "b.json"},
        "templates": {"at": ((0, 20, 30),)},
    }
    return REGIONS[name](**arguments.get(name, {}))


@pytest.mark.parametrize("name", list(REGIONS))
@pytest.mark.parametrize("count", [0, 1, 2, 8, "more than it looks ahead"])
def test_one_region_per_frame_with_bounded_look_ahead(
    name: str, count: Any, tmp_path: Path
) -> None:
    source = _source(name, tmp_path)
    assert source.look_ahead < 50
    count = count if isinstance(count, int) else source.look_ahead + 3
    assert isinstance(source, REGIONS[name])
    assert source.name == name
    pixels = np.full((H, W, 3), 90, np.uint8)
    pixels[20:40, 10:30] = 150  # around the point, which a picture of one colour would refuse
    pictures = Counted([ArrayFrame(pixels)] * count)
    regions = 0
    for regions, region in enumerate(source(pictures), start=1):
        assert pictures.taken <= regions + source.look_ahead
        assert isinstance(region.boxes, tuple)
        assert region.mask is None or region.mask.shape == (H, W)
    assert regions == count


@pytest.mark.parametrize("name", ["faces", "people", "parts", "hands", "text"])
def test_online_sources_read_one_frame_ahead_at_most(name: str) -> None:
    more = {"parts": ("head",)} if name == "parts" else {}
    source = REGIONS[name](online=True, **more)
    blank = ArrayFrame(np.full((H, W, 3), 90, np.uint8))
    pictures, regions = Counted([blank] * 5), 0
    for regions, _ in enumerate(source(pictures), start=1):
        assert pictures.taken <= regions + 1
    assert regions == 5


def test_online_faces_stay_hidden_after_their_last_sighting_and_not_before_the_first() -> None:
    seen = [[], [Box(10, 10, 40, 40, 0.9)], [Box(10, 10, 40, 40, 0.9)], *[[]] * 9]

    class Known(Faces):
        def _detector_of_a_video(self):  # type: ignore[no-untyped-def]
            answers = iter(seen)
            return lambda frame: (next(answers), None)

    blank = ArrayFrame(np.full((H, W, 3), 90, np.uint8))
    found = [bool(region.boxes) for region in Known(online=True, carry=6)([blank] * len(seen))]
    assert found == [False, *[True] * 8, *[False] * 3]


def test_whole_frame_hides_full_frames() -> None:
    blank = ArrayFrame(np.zeros((H, W, 3), np.uint8))
    assert [r.full_frame for r in WholeFrame()([blank] * 3)] == [True] * 3


def test_keyframes_are_first_and_last_of_shots_and_every_nth() -> None:
    picture = ArrayFrame(np.zeros((2, 2, 3), np.uint8))
    cuts = [t == 5 for t in range(13)]
    looks = [look for *_, look in select_keyframes([(picture, cut) for cut in cuts], 3)]
    assert [t for t, look in enumerate(looks) if look] == [0, 3, 4, 5, 8, 11, 12]


@pytest.mark.parametrize(
    ("rate", "every", "distance"),
    [(25, 3, 3), (24000 / 1001, 4, 4), (60, 3, 3), (12.5, 4, 2), (10, 3, 1), (0.5, 4, 1)],
)
def test_slow_videos_have_more_keyframes(rate: float, every: int, distance: int) -> None:
    pictures = [ArrayFrame(noise(8, 8, 0), t / rate) for t in range(13)]
    looks = [look for *_, look in select_keyframes([(one, False) for one in pictures], every)]
    assert np.flatnonzero(looks).tolist() == [*range(0, 13, distance)]


@pytest.mark.parametrize("every", [1, 2, 4])
def test_moving_face_is_covered_in_every_frame(every: int) -> None:
    pictures, places = _moving_portrait(30)
    regions = list(Faces(every=every, threshold=0.3)(pictures))
    for region, place in zip(regions, places, strict=True):
        x, y = _face_at(*place)
        mask = rasterize(region.boxes, width=W, height=H, scale=1.3)
        assert mask[y - 8 : y + 8, x - 6 : x + 6].all()
    assert [r.detected for r in regions] == [t % every == 0 or t == 29 for t in range(30)]
    assert len({box.track for region in regions for box in region.boxes}) == 1


def test_missed_frames_are_interpolated() -> None:
    pictures, places = _moving_portrait(30)
    for t in range(12, 20):
        pictures[t] = ArrayFrame(noise(W, H, 1))
    on, off = (list(Faces(every=1, track=k, threshold=0.3)(pictures)) for k in (True, False))
    for t in range(12, 20):
        x, y = _face_at(*places[t])
        assert not off[t].boxes
        assert rasterize(on[t].boxes, width=W, height=H, scale=1.3)[y, x] == 255
        assert on[t].boxes[0].source == "interpolated"


def test_cut_ends_the_tracks() -> None:
    pictures, _ = _moving_portrait(12)
    other = ArrayFrame(noise(W, H, 9, low=0, high=60))
    regions = list(Faces(every=4, threshold=0.3)([*pictures[:10], *[other] * 10]))
    assert [t for t, r in enumerate(regions) if r.cut] == [10]
    assert regions[10].detected
    assert all(r.boxes for r in regions[:10])
    assert not any(r.boxes for r in regions[10:])


def test_boxes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    box = Box(1, 2, 30, 40, 0.5, 7, "interpolated", "person")
    with BoxWriter(path, width=W, height=H) as writer:
        writer.add(1, [box])
    blank = ArrayFrame(np.zeros((H, W, 3), np.uint8))
    assert [r.boxes for r in Boxes(file=path)([blank] * 3)] == [(), (box,), ()]
    with pytest.raises(UsageError, match="160x120"):
        list(Boxes(file=path)([ArrayFrame(np.zeros((W, H, 3), np.uint8))]))
    with pytest.raises(UsageError):
        Boxes(file=tmp_path / "none.json")


@pytest.mark.parametrize(
    "later", [None, b'{"version": 1, "width": 8, "height": 6, "frames": {}}', b"{"]
)
def test_boxes_are_those_of_the_file_as_it_was_read(tmp_path: Path, later: bytes | None) -> None:
    """A file that is rewritten during a run changes neither its boxes nor their digest."""
    path, box = tmp_path / "boxes.json", Box(1, 2, 30, 40, 0.5)
    with BoxWriter(path, width=W, height=H) as writer:
        writer.add(0, [box])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = Boxes(file=path)
    path.unlink() if later is None else path.write_bytes(later)
    blank = ArrayFrame(np.zeros((H, W, 3), np.uint8))
    assert [r.boxes for r in source([blank])] == [(box,)] and source.content == digest
    with pytest.raises(UsageError, match=r"boxes\.json is for frames of 160x120.*120x160"):
        list(source([ArrayFrame(np.zeros((W, H, 3), np.uint8))]))


def test_boxes_are_written_of_what_has_none() -> None:
    strength = np.zeros((H, W), np.uint8)
    strength[10:20, 30:50], strength[60, 70], strength[80:90, 5:9] = 128, 255, 127
    own = Box(1, 2, 30, 40, 0.5, 7, "interpolated", "person")
    region, size = Region(boxes=(own,), strength=strength), {"width": W, "height": H}
    found = exported_boxes(region, **size)
    assert found[0] == own and {box.label for box in found[1:]} == {"template"}
    edges = {(box.x0, box.y0, box.x1, box.y1) for box in found[1:]}
    assert edges == {(30, 10, 50, 20), (70, 60, 71, 61)}
    mask = rasterize(found[1:], **size, shape="ellipse", scale=1.3)
    assert np.array_equal(mask > 0, strength >= 128)
    silhouettes = np.zeros((H, W), np.uint8)
    silhouettes[5:45, 3:25], silhouettes[90:99, 100:120] = 255, 1  # of `own`, and of who has no box
    found = exported_boxes(Region(boxes=(own,), mask=silhouettes), **size)
    assert found[0] == own and [box.label for box in found] == ["person"] * len(found)
    mask = rasterize(found, **size, shape="ellipse", scale=1.3)
    assert (mask[silhouettes > 0] == 255).all() and (mask > 0).sum() < 3 * (silhouettes > 0).sum()
    (whole,) = exported_boxes(Region(full_frame=True, detected=False), **size)
    assert (rasterize([whole], **size, shape="ellipse", scale=1) == 255).all()
    assert whole.source == "interpolated"
    assert exported_boxes(Region(boxes=(whole,), full_frame=True), **size) == (whole,)


def test_written_boxes_read_back_the_same(tmp_path: Path) -> None:
    pictures, _ = _moving_portrait(12)
    found = [r.boxes for r in Faces(threshold=0.3)(pictures)]
    with BoxWriter(tmp_path / "b.json", width=W, height=H) as writer:
        for t, boxes in enumerate(found):
            writer.add(t, boxes)
    assert [r.boxes for r in Boxes(file=tmp_path / "b.json")(pictures)] == found


def test_real_faces_stay_covered_with_a_keyframe_in_three() -> None:
    pictures = clip("wild/face_car_176x144.mp4", 60)
    dense = list(Faces(every=1, threshold=0.5, track=False)(pictures))
    sparse = list(Faces(every=3)(pictures))
    for a, b in zip(dense, sparse, strict=True):
        mask = rasterize(b.boxes, width=176, height=144, scale=1.3)
        true = rasterize(a.boxes, width=176, height=144, scale=1, shape="box")
        assert (mask[true > 0] > 0).mean() > 0.98


def test_boxes_are_those_of_the_frame_that_is_looked_at(tmp_path: Path) -> None:
    """Of a clip that is sampled before it is hidden only some frames come."""
    path = tmp_path / "boxes.json"
    with BoxWriter(path, width=W, height=H) as writer:
        for t in range(9):
            writer.add(t, [Box(t, 1, t + 5, 9, 1.0)])
    sampled = []
    for t in (2, 7):
        frame = ArrayFrame(np.zeros((H, W, 3), np.uint8))
        frame.index = t  # type: ignore[attr-defined]
        sampled.append(frame)
    assert [region.boxes[0].x0 for region in Boxes(file=path)(sampled)] == [2, 7]


def test_numbers_of_numpy_in_boxes_are_written_as_numbers(tmp_path: Path) -> None:
    edges = np.array([1, 2, 11, 12], np.float32)
    box = Box(*edges, np.float32(0.5), np.int64(3))  # type: ignore[arg-type]
    checked = check_region(Region(boxes=(box,)), ArrayFrame(np.zeros((H, W, 3), np.uint8)))
    with BoxWriter(tmp_path / "boxes.json", width=W, height=H) as writer:
        writer.add(0, checked.boxes)
    ((read,),) = parse_boxes((tmp_path / "boxes.json").read_bytes(), "boxes.json")[1].values()
    assert (read.x0, read.score, read.track) == (1, 0.5, 3)
