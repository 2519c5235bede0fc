"""What region sources read and return: a `Frame` comes in, a `Region` says what to hide in it."""

from collections.abc import Iterable, Iterator
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


class RegionSource(Protocol):
    """Finds what to hide in the frames of one video."""

    name: str  # in `REGIONS`
    look_ahead: int = 0  # how many frames it reads at most beyond the one whose region it returns
    model_sha256: str | None = None  # of the file of its detector's weights, if there is one

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        """One region per frame, in order."""
        ...


def fit_size(frame: Frame, scale: tuple[int, int] | int | None) -> tuple[int, int]:
    """The size (w, h) at which a detector sees a frame: never enlarged, aspect ratio kept.

    `scale` is a size (w, h) to fit into, or the longest side, in pixels; None: full size.
    """
    if scale is None:
        return frame.width, frame.height
    wide, high = scale if isinstance(scale, tuple) else (scale, scale)
    factor = min(1.0, wide / frame.width, high / frame.height)
    return max(1, round(frame.width * factor)), max(1, round(frame.height * factor))
