"""Regions that a person drew by hand, hidden besides what a region source finds.

A region is a box in each of the frames in which it is hidden, as `regions.following` or a person
put them there. It is hidden whole, whatever silhouettes are found in it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from masquerade.regions.boxes import Box, Source
from masquerade.regions.region import Frame, Region, Sized
from masquerade.regions.region_sources import RegionSource, held_bytes

DRAWN_TRACKS = 900_000_000
"""The lowest track number of a drawn region; no detector's tracks come so far."""

Edges = tuple[float, float, float, float]  # left, upper, right and lower edge, in pixels


@dataclass(frozen=True)
class DrawnRegion:
    """One region that a person drew.

    Args:
        track: its number, from `DRAWN_TRACKS`.
        boxes: by frame, which counts from 0, in pixels of the upright frame.
        keys: the frames in which a person put the box; in the others it was followed.
    """

    track: int
    boxes: Mapping[int, Edges] = field(default_factory=dict)
    keys: tuple[int, ...] = ()

    def box(self, frame: int) -> Box | None:
        """Its box in a frame, if it has one there."""
        edges = self.boxes.get(frame)
        if edges is None:
            return None
        source: Source = "detected" if frame in self.keys else "interpolated"
        return Box(*edges, 1.0, self.track, source, "drawn")


class WithDrawn:
    """A region source, and regions drawn by hand besides.

    Args:
        source: what is found without them.
        drawn: the regions, of the same video.
    """

    def __init__(self, *, source: RegionSource, drawn: Sequence[DrawnRegion]) -> None:
        self.source, self.drawn = source, tuple(drawn)
        self.name, self.look_ahead = source.name, source.look_ahead
        self.model_sha256 = source.model_sha256
        self.sources = getattr(source, "sources", (source,))
        self.shape = getattr(source, "shape", None)

    def held_bytes(self, frame: Sized) -> int:
        """Bytes that the source holds for each frame read ahead, besides its picture."""
        return held_bytes(self.source, frame)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        for number, region in enumerate(self.source(frames)):
            here = tuple(box for drawing in self.drawn if (box := drawing.box(number)) is not None)
            yield replace(region, boxes=(*region.boxes, *here)) if here else region
