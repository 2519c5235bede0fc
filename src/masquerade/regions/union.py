"""Several region sources as one: a pixel is hidden where any of them hides it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import tee
from typing import Any

import numpy as np

from masquerade.regions.boxes import TRACK_OFFSET, Box
from masquerade.regions.masks import OUTLINED_LABELS, Mask, Shape, is_outlined
from masquerade.regions.region import Frame, Region, Sized
from masquerade.regions.region_sources import RegionSource, held_bytes


def default_shape(sources: Sequence[Any]) -> Shape:
    """The shape of the masks of region sources, or of their classes, where --shape is left out."""
    shapes: list[Shape] = [getattr(source, "shape", "ellipse") for source in sources]
    if "silhouette" in shapes:
        return "silhouette"
    return shapes[0] if len(set(shapes)) == 1 else "ellipse"


class Union:
    """The union of what several region sources find.

    A box is always drawn unless the source that found it gives its silhouette, so that nothing is
    hidden less than by each source alone.

    Args:
        sources: region sources; each reads every frame.
    """

    def __init__(self, *, sources: Sequence[RegionSource]) -> None:
        self.sources = tuple(sources)
        self.name = "+".join(source.name for source in sources)
        self.look_ahead = max(source.look_ahead for source in sources)
        self.model_sha256: str | None = None  # each of the sources has its own
        self.shape = default_shape(self.sources)

    def held_bytes(self, frame: Sized) -> int:
        """Bytes held for each frame read ahead, besides its picture, in all sources together."""
        return sum(held_bytes(source, frame) for source in self.sources)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        copies = tee(frames, len(self.sources))
        pairs = zip(self.sources, copies, strict=True)
        by_source = [_as_one_of_several(source(copy), i) for i, (source, copy) in enumerate(pairs)]
        for regions in zip(*by_source, strict=True):
            yield Region(
                boxes=tuple(box for region in regions for box in region.boxes),
                mask=_maximum(region.mask for region in regions),
                strength=_maximum(region.strength for region in regions),
                people=tuple(person for region in regions for person in region.people),
                full_frame=any(region.full_frame for region in regions),
                cut=any(region.cut for region in regions),
                detected=any(region.detected for region in regions),
                visible=tuple(box for region in regions for box in region.visible),
            )


def _as_one_of_several(regions: Iterator[Region], source: int) -> Iterator[Region]:
    """Keep the track numbers of different sources distinct, and each one's boxes its own."""
    for region in regions:
        people = tuple(
            person._replace(track=person.track + source * TRACK_OFFSET) for person in region.people
        )
        boxes, visible = (
            tuple(_with_offset(box, source) for box in group)
            for group in (region.boxes, region.visible)
        )
        boxes = tuple(
            replace(box, always_drawn=True) if _is_without_silhouette(box, region.mask) else box
            for box in boxes
        )
        yield replace(region, boxes=boxes, people=people, visible=visible)


def _with_offset(box: Box, source: int) -> Box:
    return box if box.track is None else replace(box, track=box.track + source * TRACK_OFFSET)


def _is_without_silhouette(box: Box, mask: Mask | None) -> bool:
    """Whether a box has no silhouette of its own source, so that others' must not replace it."""
    return box.label in OUTLINED_LABELS and (mask is None or not is_outlined(box, mask))


def _maximum(masks: Iterable[Mask | None]) -> Mask | None:
    present = [mask for mask in masks if mask is not None]
    return reduce(np.maximum, present) if present else None
