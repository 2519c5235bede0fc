"""The `Frame` that a region source reads, and the `Region` that it returns: what to hide in it."""

from dataclasses import dataclass, replace
from math import isfinite
from numbers import Integral, Real
from typing import Any, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Person
from masquerade.errors import MasqueradeError
from masquerade.regions.boxes import CHOOSE_OTHER_REGIONS, FARTHEST, Box, Source
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
        """Return the RGB pixels (h, w, 3), scaled to `size` (w, h) if it is given."""
        ...


class ArrayFrame:
    """A `Frame` whose pixels are in memory.

    Args:
        pixels: (h, w, 3) in RGB.
        size: (w, h) of the frame, where the pixels are those of a smaller copy; None: theirs.
    """

    def __init__(self, pixels: NDArray[np.uint8], *, size: tuple[int, int] | None = None) -> None:
        self.pixels = pixels
        self.width: int = size[0] if size else pixels.shape[1]
        self.height: int = size[1] if size else pixels.shape[0]

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The pixels (h, w, 3) in RGB, of a scaled copy of size (w, h) or at full size."""
        size = size or (self.width, self.height)
        if size == self.pixels.shape[1::-1]:
            return self.pixels
        enlarged = size[0] > self.pixels.shape[1]
        how = cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA
        return np.asarray(cv2.resize(self.pixels, size, interpolation=how), np.uint8)


@dataclass(frozen=True, slots=True)
class Region:
    """What to hide in one frame: the union of boxes, silhouettes and a soft mask."""

    boxes: tuple[Box, ...] = ()  # in pixels of the frame, detected and interpolated
    mask: Mask | None = None  # (H, W), 255 on silhouettes
    strength: Mask | None = None  # (H, W), 0 to 255, a soft mask that is used unchanged
    full_frame: bool = False  # hide the whole frame
    cut: bool = False  # a scene cut lies before this frame
    detected: bool = True  # the detector ran on this frame; else its boxes come from tracking
    people: tuple[Person, ...] = ()  # with their poses, if the source finds them
    visible: tuple[Box, ...] = ()  # who is left visible on purpose


def check_region(region: Any, frame: Sized, *, of: str = "a region source") -> Region:
    """Return what was found in a frame, its boxes' numbers as Python's own, which JSON takes.

    Raises:
        MasqueradeError: it is no region of that frame.
    """
    wrong = None
    if not isinstance(region, Region):
        wrong = f"{type(region).__name__} instead of a region"
    elif not all(isinstance(x, tuple | list) for x in (region.boxes, region.visible)) or not all(
        map(_is_box, (*region.boxes, *region.visible))
    ):
        wrong = "boxes that are no finite rectangles"
    elif not all(map(_is_named, (*region.boxes, *region.visible))):
        wrong = "boxes whose track is no whole number, or whose source or label is none"
    elif not all(_is_mask(mask, frame) for mask in (region.mask, region.strength)):
        wrong = "a mask that is not of the frame's size, in bytes"
    elif not isinstance(region.people, tuple | list) or not all(map(_is_person, region.people)):
        wrong = "people without finite landmarks"
    elif not all(isinstance(x, bool) for x in (region.full_frame, region.cut, region.detected)):
        wrong = "answers that are neither true nor false"
    if wrong:
        raise MasqueradeError(f"{of} gave {wrong}; {CHOOSE_OTHER_REGIONS}")
    boxes, visible = (tuple(map(_of_plain_numbers, x)) for x in (region.boxes, region.visible))
    return replace(region, boxes=boxes, visible=visible)


def _of_plain_numbers(box: Box) -> Box:
    x0, y0, x1, y1, score = map(float, (box.x0, box.y0, box.x1, box.y1, box.score))
    track = None if box.track is None else int(box.track)
    return replace(box, x0=x0, y0=y0, x1=x1, y1=y1, score=score, track=track)


def _is_box(box: Any) -> bool:
    if not isinstance(box, Box):
        return False
    edges = (box.x0, box.y0, box.x1, box.y1)
    numbers = all(isinstance(x, Real) and isfinite(x) for x in (*edges, box.score))
    return numbers and max(map(abs, edges)) <= FARTHEST and box.x0 < box.x1 and box.y0 < box.y1


def _is_named(box: Box) -> bool:
    whole = isinstance(box.track, Integral) and not isinstance(box.track, bool)
    return (
        (box.track is None or whole)
        and box.source in get_args(Source)
        and isinstance(box.label, str)
    )


def _is_person(person: Any) -> bool:
    if not isinstance(person, Person):
        return False
    shapes = (person.landmarks, (33, 5)), (person.world, (33, 3))
    return all(
        isinstance(array, np.ndarray) and array.shape == shape and bool(np.isfinite(array).all())
        for array, shape in shapes
    )


def _is_mask(mask: Any, frame: Sized) -> bool:
    if mask is None:
        return True
    array = isinstance(mask, np.ndarray) and mask.dtype == np.uint8
    return array and mask.shape == (frame.height, frame.width)


def fit_size(
    frame: Sized, scale: tuple[int, int] | int | None, *, shortest: int = 0
) -> tuple[int, int]:
    """The size (w, h) at which a detector sees a frame: never enlarged, aspect ratio kept.

    `scale` is a size (w, h) to fit into, or the longest side, in pixels; None: full size. Of long
    frames the shorter side has at least `shortest` pixels, and the longer one is above its limit.
    """
    if scale is None:
        return frame.width, frame.height
    wide, high = scale if isinstance(scale, tuple) else (scale, scale)
    factor = min(wide / frame.width, high / frame.height)
    factor = min(1.0, max(factor, shortest / min(frame.width, frame.height)))
    return max(1, round(frame.width * factor)), max(1, round(frame.height * factor))
