"""Hide some people by another method than the rest.

Where the mask lies in the boxes of chosen tracks, their method's pixels are put in place of the
main one's. Both hide: what lies outside of the boxes, scaled up, stays the main method's.
Faces that are found beside people have numbers of their own, so tracks go with a label.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from masquerade.anonymizer import Anonymizer, Pixels, check_pixels, first_state
from masquerade.arrays import U8
from masquerade.errors import UsageError
from masquerade.methods import method_name
from masquerade.regions.boxes import Box
from masquerade.regions.masks import rasterize
from masquerade.regions.region import Region

SCALE = 1.3  # factor on the boxes of chosen tracks: silhouettes are grown beyond theirs too


class TrackMethod(NamedTuple):
    """A method, and the tracks that are hidden by it."""

    anonymizer: Anonymizer
    tracks: frozenset[int]
    label: str | None  # of the boxes whose tracks these are; None: of all that the run has

    def hides(self, box: Box) -> bool:
        """Whether a box is of one of the tracks."""
        return box.track in self.tracks and (
            self.label is None or box.label in (self.label, "drawn")
        )


def hides_alone(method: Anonymizer) -> bool:
    """Whether a method changes no more than the people that it hides, frame by frame, untrained."""
    more = method.full_frame or method.regions_only or method.needs_people or method.learned
    return not (more or method.window)


def check_track_methods(main: Anonymizer, others: Iterable[Anonymizer]) -> None:
    """Refuse methods that cannot stand beside each other in one frame.

    Raises:
        UsageError: one draws people, shows regions alone, rewrites whole frames or was trained.
    """
    for method in (main, *others):
        if not hides_alone(method):
            raise UsageError(
                f"{method_name(method)} changes more than the people that it hides, so others "
                "cannot be hidden by another method beside it; choose such as blur, pixelate or "
                "selective."
            )


class TrackMethods:
    """Applies the methods of chosen tracks to the frames of one video, in their order."""

    def __init__(
        self, methods: Sequence[TrackMethod], *, seed: int | None, digest: bytes | None
    ) -> None:
        self._methods = methods
        self._states: list[Any] = []
        for number, method in enumerate(methods, 1):
            own = None if seed is None else seed + number  # else two would draw the same noise
            self._states.append(first_state(method.anonymizer, seed=own, digest=digest))

    def apply(
        self, out: Pixels, pixels: Pixels, masks: U8 | None, regions: Sequence[Region]
    ) -> Pixels:
        """A window's frames (T, H, W, 3), in which chosen tracks are hidden by their methods.

        Args:
            out: what the main method made.
            pixels: the source's.
            masks: (T, H, W), 0 to 255; None: everything is hidden.
            regions: of each frame.
        """
        height, width = pixels.shape[1:3]
        for number, method in enumerate(self._methods):
            own = np.stack(
                [_drawn(filter(method.hides, r.boxes), width=width, height=height) for r in regions]
            )
            own = own if masks is None else np.minimum(own, masks)
            returned = method.anonymizer.on_pixels(pixels, mask=own, state=self._states[number])
            hidden, self._states[number] = check_pixels(returned, pixels)
            out = np.where(own[..., None] > 0, hidden, out)
        return out


def _drawn(boxes: Iterable[Box], *, width: int, height: int) -> U8:
    return rasterize(boxes, width=width, height=height, shape="box", scale=SCALE)
