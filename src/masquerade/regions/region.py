"""What region sources read and return: a `Frame` comes in, a `Region` says what to hide in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Box
from masquerade.regions.masks import Mask


class Frame(Protocol):
    """An upright video frame that is converted to RGB on request, such as `video.frame.Frame`."""

    @property
    def width(self) -> int:
        """Width in pixels."""
        ...

    @property
    def height(self) -> int:
        """Height in pixels."""
        ...

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The pixels, (h, w, 3) RGB.

        Args:
            size: (w, h) of a scaled copy, which is cheaper than the full frame; None: full size.
        """
        ...


@dataclass(frozen=True, slots=True)
class Region:
    """What to hide in one frame.

    Args:
        boxes: in pixels of the frame, detected and interpolated.
        mask: (H, W), 255 on a silhouette; None: only boxes are known.
        strength: (H, W), 0 to 255: a soft mask that is applied unchanged on top of the boxes and
            the silhouette; None: none.
        everywhere: the whole frame is to be hidden.
        cut: a scene cut lies before this frame.
        detected: the detector ran on this frame; otherwise its boxes come from tracking.
    """

    boxes: tuple[Box, ...] = ()
    mask: Mask | None = None
    strength: Mask | None = None
    everywhere: bool = False
    cut: bool = False
    detected: bool = True


class RegionSource(Protocol):
    """Finds what to hide in the frames of one video."""

    name: str
    """Its name in `REGIONS`."""

    look_ahead: int
    """How many frames it reads at most beyond the one whose region it returns."""

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        """One region per frame, in order."""
        ...


def fit_size(frame: Frame, scale: tuple[int, int] | int | None) -> tuple[int, int]:
    """The size (w, h) at which a detector sees a frame: never enlarged, aspect ratio kept.

    Args:
        frame: the full-size frame.
        scale: (w, h) to fit into, or the longest side, in pixels; None: full size.
    """
    if scale is None:
        return frame.width, frame.height
    wide, high = scale if isinstance(scale, tuple) else (scale, scale)
    factor = min(1.0, wide / frame.width, high / frame.height)
    return max(1, round(frame.width * factor)), max(1, round(frame.height * factor))
