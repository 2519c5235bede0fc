"""Several region sources as one: a pixel is hidden where any of them hides it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import tee

import numpy as np

from masquerade.regions.masks import Mask
from masquerade.regions.region import Frame, Region, RegionSource

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

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        copies = tee(frames, len(self.sources))
        pairs = zip(self.sources, copies, strict=True)
        found = [_offset_tracks(source(copy), i) for i, (source, copy) in enumerate(pairs)]
        for regions in zip(*found, strict=True):
            yield reduce(_merge, regions)


def _offset_tracks(regions: Iterator[Region], source: int) -> Iterator[Region]:
    """Keep the track numbers of different sources distinct."""
    for region in regions:
        boxes = tuple(
            box if box.track is None else replace(box, track=box.track + source * TRACK_OFFSET)
            for box in region.boxes
        )
        yield replace(region, boxes=boxes)


def _merge(a: Region, b: Region) -> Region:
    return Region(
        boxes=a.boxes + b.boxes,
        mask=_maximum(a.mask, b.mask),
        strength=_maximum(a.strength, b.strength),
        full_frame=a.full_frame or b.full_frame,
        cut=a.cut or b.cut,
        detected=a.detected or b.detected,
    )


def _maximum(a: Mask | None, b: Mask | None) -> Mask | None:
    masks = [mask for mask in (a, b) if mask is not None]
    return reduce(np.maximum, masks) if masks else None
