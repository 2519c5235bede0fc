"""What a region source needs to know of a frame, and nothing more."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Picture(Protocol):
    """An upright frame that can be asked for its pixels; `video.Frame` is one."""

    @property
    def width(self) -> int:
        """Pixels across."""
        ...

    @property
    def height(self) -> int:
        """Pixels down."""
        ...

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The pixels, (h, w, 3) RGB.

        Args:
            size: (w, h) of a scaled copy, which costs less than the frame itself; None: as it is.
        """
        ...


def fitted(picture: Picture, scale: tuple[int, int] | int | None) -> tuple[int, int]:
    """The size (w, h) at which a picture is looked at: never enlarged, its aspect kept.

    Args:
        picture: the frame.
        scale: (w, h) to fit into, or the longest side, in pixels; None: the frame's own size.
    """
    if scale is None:
        return picture.width, picture.height
    wide, high = scale if isinstance(scale, tuple) else (scale, scale)
    factor = min(1.0, wide / picture.width, high / picture.height)
    return max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
