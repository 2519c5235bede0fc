"""Residual detail: how much of the source's fine detail an output still shows where it was hidden.

A method, a mask or an encoder that returns what it was given hides nothing, whatever the receipt
says. So output and source are decoded once more, and compared under what the detector found, before
any mask grew it. Both are high-pass filtered; in a window around each pixel that has detail in the
source, detail is still there if both are correlated (else noise would do) and the output's has a
share of the source's amplitude (else the trace that a blur leaves would do).
"""

import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.errors import OutputError
from masquerade.pipeline.receipt import ResidualDetail
from masquerade.pipeline.stream import prefetch
from masquerade.regions.masks import Mask
from masquerade.regions.region import Region
from masquerade.video.frame import Frame

F32 = NDArray[np.float32]
MAX_LEFT = 0.1  # of the detail in one region: more is refused
SHORT = 360  # longest short side of the copies that are compared, in pixels
SIGMA = 1.0  # of the Gaussian below which detail counts as fine, in their pixels
WINDOW = 15  # side of the window in which detail is compared
MIN_DETAIL = 2.0  # root mean square of the source's detail in a window, in levels of 255
MIN_CORRELATION = 0.7  # of the two, from which detail is still there
MIN_GAIN = 0.4  # of the output's detail on the source's (regression coefficient)
MIN_PIXELS = 150  # with detail, below which chance correlates noise; smaller regions are pooled


class _Found(NamedTuple):
    """What a region source found in one frame, in pixels of the small copy."""

    boxes: NDArray[np.float32]  # (N, 4)
    silhouette: bytes | None  # packed and compressed (h, w)
    whole: bool


class DetailCheck:
    """Remembers what was found in each frame, and compares the finished output with its source.

    Args:
        size: (width, height) of the upright frames.
        shape: what is drawn into a box: `ellipse`, `box` or `silhouette`.
        within: (H, W), nothing is hidden where it is 0; None: anywhere.
        whole: the method rewrites whole frames, whatever was found.
    """

    def __init__(
        self, *, size: tuple[int, int], shape: str, within: Any = None, whole: bool = False
    ) -> None:
        self._scale = min(1.0, SHORT / min(size))
        width, height = (max(1, round(side * self._scale)) for side in size)
        self.size = width, height
        self._shape, self._whole = shape, whole
        self._within = None if within is None else self._shrink(within) > 0
        self._found: list[_Found] = []
        self._written = array("L")

    def recording(self, source: Callable[[Any], Iterator[Region]]) -> Callable[[Any], Any]:
        """The region source, whose regions are remembered in the order of the frames."""

        def regions(frames: Any) -> Iterator[Region]:
            for region in source(frames):
                yield region  # which is checked before this goes on
                self._found.append(self._compact(region))

        return regions

    def wrote(self, index: int) -> None:
        """Remember that the next frame of the output shows this frame of the source."""
        self._written.append(index)

    def compare(self, source: Iterable[Any], output: Iterable[Any]) -> ResidualDetail:
        """Compare the frames of both files.

        Raises:
            OutputError: detail that should have gone is still there, or frames are missing.
        """
        left, frame, measured, passed, at = 0.0, 0, 0, 0, -1
        before: F32 | None = None
        with (
            closing(prefetch(self._copies(source))) as sources,  # type: ignore[type-var]
            closing(prefetch(self._copies(output))) as outputs,  # type: ignore[type-var]
        ):
            for index in self._written:
                after = next(outputs, None)
                while at < index:
                    before, at = next(sources, None), at + 1
                if before is None or after is None:
                    raise OutputError("the output holds fewer frames than were written to it.")
                for share in self._left(before, after, self._found[index]):
                    if share is None:
                        passed += 1
                        continue
                    measured += 1
                    left, frame = max((left, frame), (share, index), key=lambda most: most[0])
            if next(outputs, None) is not None:
                raise OutputError("the output holds more frames than were written to it.")
        return ResidualDetail(
            left=round(left, 4), frame=frame, measured=measured, without_detail=passed
        )

    def _compact(self, region: Region) -> _Found:
        boxes = np.array([(b.x0, b.y0, b.x1, b.y1) for b in region.boxes], np.float32)
        whole = self._whole or region.full_frame
        drawn = region.strength
        if self._shape == "silhouette" and region.mask is not None:
            drawn = region.mask if drawn is None else np.maximum(drawn, region.mask)
        packed = None
        if drawn is not None and not whole:
            packed = zlib.compress(np.packbits(self._shrink(drawn) >= 250).tobytes(), 1)
        return _Found(boxes.reshape(-1, 4) * np.float32(self._scale), packed, whole)

    def _shrink(self, mask: Mask) -> Any:
        return cv2.resize(mask, self.size, interpolation=cv2.INTER_AREA)

    def _copies(self, frames: Iterable[Any]) -> Iterator[F32]:
        """The luma of small copies, (h, w)."""
        for frame in frames:
            if isinstance(frame, Frame):
                grey = cv2.cvtColor(frame.rgb(self.size), cv2.COLOR_RGB2GRAY)
                yield np.asarray(grey, np.float32)

    def _left(self, before: F32, after: F32, found: _Found) -> Iterator[float | None]:
        """The share of detail that is left in each region; None where it has too little."""
        pooled = 0, 0
        for place, mask in self._regions(found):
            detailed, left = residual_detail(before[place], after[place], mask)
            if detailed >= MIN_PIXELS:
                yield left / detailed
            else:
                pooled = pooled[0] + detailed, pooled[1] + left
        if pooled[0] >= MIN_PIXELS:
            yield pooled[1] / pooled[0]
        elif pooled[0] or found.whole or len(found.boxes):
            yield None

    def _regions(self, found: _Found) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
        """Where each region lies, and its pixels there."""
        width, height = self.size
        everywhere = slice(0, height), slice(0, width)
        within = np.ones((height, width), bool) if self._within is None else self._within
        if found.whole:
            yield everywhere, within
            return
        silhouette = None
        if found.silhouette is not None:
            bits = np.frombuffer(zlib.decompress(found.silhouette), np.uint8)
            silhouette = np.unpackbits(bits, count=width * height).reshape(height, width) > 0
            yield everywhere, silhouette & within
        if silhouette is not None and self._shape == "silhouette":
            return
        for x0, y0, x1, y1 in found.boxes:
            left, top = max(0, int(x0)), max(0, int(y0))
            right, bottom = min(width, int(np.ceil(x1))), min(height, int(np.ceil(y1)))
            if left >= right or top >= bottom:
                continue
            place = slice(top, bottom), slice(left, right)
            inside = np.ones((bottom - top, right - left), bool)
            if self._shape == "ellipse":
                x = (np.arange(left, right) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
                y = (np.arange(top, bottom) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
                inside = x[None] ** 2 + y[:, None] ** 2 <= 1
            yield place, inside & within[place]


def residual_detail(before: F32, after: F32, mask: NDArray[np.bool_]) -> tuple[int, int]:
    """How many pixels of a mask had detail in the luma (h, w), and in how many it is still there.

    In windows of the mask alone: r = Σab / √(Σa² Σb²), gain = Σab / Σa², of details a and b.
    """
    inside = mask.astype(np.float32)
    a, b = (np.asarray(x - cv2.GaussianBlur(x, (0, 0), SIGMA)) * inside for x in (before, after))
    ab, aa, bb, n = (_window_mean(x) for x in (a * b, a * a, b * b, inside))
    detailed = mask & (aa > MIN_DETAIL**2 * n)
    correlated = ab > MIN_CORRELATION * np.sqrt(np.maximum(aa * bb, 0))
    left = detailed & correlated & (ab > MIN_GAIN * aa)
    return int(detailed.sum()), int(left.sum())


def _window_mean(x: Any) -> F32:
    border = cv2.BORDER_CONSTANT
    return np.asarray(cv2.boxFilter(x, cv2.CV_32F, (WINDOW, WINDOW), borderType=border))
