"""The `Frame` that a region source reads, and the `Region` that it returns: what to hide in it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Box
from masquerade.regions.masks import Mask


class Sized(Protocol):
    """Anything with a width and a height in pixels."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...


class Frame(Sized, Protocol):
    """An upright video frame that is converted to RGB on request, such as `video.frame.Frame`."""

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The pixels (h, w, 3) in RGB, of a scaled copy of size (w, h) or at full size."""
        ...


@dataclass(frozen=True, slots=True)
class Region:
    """What to hide in one frame: the union of boxes, silhouettes and a soft mask."""

    boxes: tuple[Box, ...] = ()  # in pixels of the frame, detected and interpolated
    mask: Mask | None = None  # (H, W), 255 on silhouettes
    strength: Mask | None = None  # (H, W), 0 to 255, a soft mask that is used unchanged
    full_frame: bool = False  # hide the whole frame
    cut: bool = False  # a scene cut lies before this frame
    detected: bool = True  # the detector ran on this frame; else its boxes come from tracking


def fit_size(frame: Frame, scale: tuple[int, int] | int | None) -> tuple[int, int]:
    """The size (w, h) at which a detector sees a frame: never enlarged, aspect ratio kept.

    `scale` is a size (w, h) to fit into, or the longest side, in pixels; None: full size.
    """
    if scale is None:
        return frame.width, frame.height
    wide, high = scale if isinstance(scale, tuple) else (scale, scale)
    factor = min(1.0, wide / frame.width, high / frame.height)
    return max(1, round(frame.width * factor)), max(1, round(frame.height * factor))
