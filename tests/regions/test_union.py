"""Several region sources as one hide at least what each of them hides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from box_files import read_boxes
from hypothesis import given
from hypothesis import strategies as st

from masquerade.regions import REGIONS, Boxes, Region, Union
from masquerade.regions.boxes import TRACK_OFFSET, Box, BoxWriter
from masquerade.regions.masks import drawn_boxes, rasterize
from masquerade.regions.union import default_shape

SIZE = 60, 40  # width and height


@dataclass
class Found:
    """A region source that finds the same in every frame."""

    region: Region
    shape: str = "ellipse"
    name: str = "found"
    look_ahead: int = 0
    model_sha256: None = None

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        return (self.region for _ in frames)


def mask_of(source: Any, **given: Any) -> Any:
    """The mask of one frame, drawn as the source's boxes are."""
    (region,) = source([SimpleNamespace(width=SIZE[0], height=SIZE[1])])
    drawn = {"shape": source.shape, **given}
    return rasterize(
        region.boxes, width=SIZE[0], height=SIZE[1], mask=region.mask, scale=1.3, **drawn
    )


def outline(x0: int, y0: int, x1: int, y1: int) -> Any:
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[y0:y1, x0:x1] = 255
    return mask


edges = st.tuples(
    st.integers(0, 40), st.integers(0, 25), st.integers(4, 20), st.integers(4, 15)
).map(lambda e: (e[0], e[1], e[0] + e[2], e[1] + e[3]))
boxes = st.lists(
    st.builds(
        lambda at, label: Box(*at, 1, label=label),
        edges,
        st.sampled_from(["face", "person", "hand", "text", "part", "badge"]),
    ),
    max_size=3,
).map(tuple)
found = st.builds(
    lambda some, mask, shape: Found(
        Region(boxes=some, mask=None if mask is None else outline(*mask)),
        shape="silhouette" if mask else shape,
    ),
    boxes,
    st.none() | edges,
    st.sampled_from(["ellipse", "box", "silhouette"]),
)


@given(first=found, second=found)
def test_a_union_hides_what_is_in_each_source_alone(first: Found, second: Found) -> None:
    """All of its silhouettes, and of the boxes that it draws; around these shapes may differ."""
    both = mask_of(Union(sources=[first, second]))
    for one in (first, second):
        found = one.region
        own = outline(0, 0, 0, 0) if found.mask is None else found.mask.copy()
        for box in drawn_boxes(found.boxes, shape=one.shape, mask=found.mask):
            own |= outline(int(box.x0), int(box.y0), int(box.x1), int(box.y1))
        assert (mask_of(one)[own > 0] == 255).all()
        assert (both[own > 0] == 255).all()


def test_a_face_beside_all_silhouettes_is_hidden_as_high_as_by_faces_alone() -> None:
    face = Found(Region(boxes=(Box(20, 12, 32, 28, 1, label="face"),)), "ellipse")
    people = Found(Region(mask=outline(50, 5, 60, 40)), "silhouette")
    alone, both = mask_of(face), mask_of(Union(sources=[face, people]))
    assert alone.any() and (both[alone > 0] == 255).all()


def test_silhouettes_are_hidden_beside_sources_without_any() -> None:
    people = Found(
        Region(boxes=(Box(0, 0, 20, 20, 1, label="person"),), mask=outline(5, 0, 15, 40)),
        "silhouette",
    )
    faces = Found(Region(boxes=(Box(40, 0, 50, 10, 1),)))
    for sources in ([people, faces], [faces, people]):
        both = Union(sources=sources)
        for shape in (both.shape, "ellipse", "box"):
            assert (mask_of(both, shape=shape)[:, 5:15] == 255).all()


def test_a_box_of_another_source_is_not_replaced_by_a_silhouette() -> None:
    people = Found(Region(mask=outline(0, 0, 30, 40)), "silhouette")
    boxes = Found(Region(boxes=(Box(20, 5, 50, 35, 1, label="person"),)))
    assert (mask_of(Union(sources=[people, boxes]))[5:35, 20:50] == 255).all()


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        ("faces", "ellipse"),
        ("people", "silhouette"),
        ("text", "box"),
        ("faces text", "ellipse"),
        ("faces people", "silhouette"),
        ("text parts", "silhouette"),
    ],
)
def test_outlines_are_drawn_where_a_source_gives_them(names: str, shape: str) -> None:
    assert default_shape([REGIONS[name] for name in names.split()]) == shape


def test_tracks_of_sources_are_told_apart() -> None:
    first = Found(Region(boxes=(Box(0, 0, 9, 9, 1, track=3), Box(0, 0, 9, 9, 1))))
    (region,) = Union(sources=[first, first])([SimpleNamespace(width=60, height=40)])
    assert [box.track for box in region.boxes] == [3, None, 3 + TRACK_OFFSET, None]


@pytest.mark.parametrize("highest", [8 + TRACK_OFFSET, 10**9 - 1])
def test_boxes_of_a_union_can_be_read_beside_others_and_written_again(
    tmp_path: Path, highest: int
) -> None:
    first, again = tmp_path / "first.json", tmp_path / "again.json"
    boxes = [Box(0, 0, 9, 9, 1, track=track) for track in (8, highest, -2, None)]
    with BoxWriter(first, width=60, height=40) as writer:
        writer.add(0, boxes)
        writer.add(1, boxes[1:2])
    other = Found(Region(boxes=(Box(0, 0, 9, 9, 1, track=8 + TRACK_OFFSET // 2),)))
    source = Union(sources=[other, Boxes(file=first)])
    with BoxWriter(again, width=60, height=40) as writer:
        for number, region in enumerate(source([SimpleNamespace(width=60, height=40)] * 2)):
            writer.add(number, region.boxes)
    tracks = [[box.track for box in found] for found in read_boxes(again).values()]
    own = other.region.boxes[0].track
    read = [TRACK_OFFSET + number for number in range(3)]
    assert tracks == [[own, *read, None], [own, read[1]]]
