"""Several region sources as one: a pixel is hidden where any of them hides it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import tee

import numpy as np

from masquerade.regions.masks import Mask
from masquerade.regions.region import Frame, Region
from masquerade.regions.region_sources import RegionSource

TRACK_OFFSET = 1_000_000  # between the track numbers of two sources


class Union:
    """The union of what several region sources find.

    Args:
        sources: region sources; each reads every frame.
    """

    def __init__(self, *, sources: Sequence[RegionSource]) -> None:
        self.sources = tuple(sources)
        self.name = "+".join(source.name for source in sources)
        self.look_ahead = max(source.look_ahead for source in sources)
        self.model_sha256: str | None = None  # each of the sources has its own

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        copies = tee(frames, len(self.sources))
        pairs = zip(self.sources, copies, strict=True)
        found = [_offset_tracks(source(copy), i) for i, (source, copy) in enumerate(pairs)]
        for regions in zip(*found, strict=True):
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


def _offset_tracks(regions: Iterator[Region], source: int) -> Iterator[Region]:
    """Keep the track numbers of different sources distinct."""
    for region in regions:
        boxes, visible = (
            tuple(
                box if box.track is None else replace(box, track=box.track + source * TRACK_OFFSET)
                for box in some
            )
            for some in (region.boxes, region.visible)
        )
        people = tuple(
            person._replace(track=person.track + source * TRACK_OFFSET) for person in region.people
        )
        yield replace(region, boxes=boxes, people=people, visible=visible)


def _maximum(masks: Iterable[Mask | None]) -> Mask | None:
    given = [mask for mask in masks if mask is not None]
    return reduce(np.maximum, given) if given else None
