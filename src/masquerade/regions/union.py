"""Several region sources as one: a pixel is hidden where any of them says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import tee
from typing import Any

import numpy as np

from masquerade.regions.masks import Mask
from masquerade.regions.picture import Picture
from masquerade.regions.region import Region

TRACKS = 1_000_000  # apart from each other, the tracks of two sources


class Together:
    """What any of several sources finds.

    Args:
        sources: region sources; each sees every picture.
    """

    def __init__(self, *, sources: Sequence[Any]) -> None:
        self.sources = tuple(sources)
        self.name = "+".join(source.name for source in sources)
        self.look_ahead = max(source.look_ahead for source in sources)

    def __call__(self, pictures: Iterable[Picture]) -> Iterator[Region]:
        """One region a picture."""
        copies = tee(pictures, len(self.sources))
        pairs = zip(self.sources, copies, strict=True)
        found = [_numbered(source(seen), i) for i, (source, seen) in enumerate(pairs)]
        for regions in zip(*found, strict=True):
            yield reduce(_union, regions)


def _numbered(regions: Iterator[Region], source: int) -> Iterator[Region]:
    """The same regions, their tracks numbered apart from those of other sources."""
    for region in regions:
        boxes = tuple(
            box if box.track is None else replace(box, track=box.track + source * TRACKS)
            for box in region.boxes
        )
        yield replace(region, boxes=boxes)


def _union(a: Region, b: Region) -> Region:
    return Region(
        boxes=a.boxes + b.boxes,
        mask=_most(a.mask, b.mask),
        strength=_most(a.strength, b.strength),
        everywhere=a.everywhere or b.everywhere,
        cut=a.cut or b.cut,
        seen=a.seen or b.seen,
    )


def _most(a: Mask | None, b: Mask | None) -> Mask | None:
    masks = [mask for mask in (a, b) if mask is not None]
    return reduce(np.maximum, masks) if masks else None
