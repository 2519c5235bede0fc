"""Residual detail: how much of the source's fine detail an output still shows where it was hidden.

A method, a mask or an encoder that returns what it was given hides nothing, whatever the receipt
says. So frames are compared with their source under what the detector found, before any mask grew
it: once as the method gives them, whatever the encoder makes of them then, and once as they are
decoded again (see `encoded_check`). Both sides are high-pass filtered; in a window around each
pixel that has detail in the source, detail is still there if both are correlated (else noise would
do) and the output's has a share of the source's amplitude (else the trace that a blur leaves would
do).
"""

import zlib
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Pixels, Planes
from masquerade.arrays import F32
from masquerade.errors import OutputError
from masquerade.pipeline.found_regions import FoundRegions, FoundRegionsFile
from masquerade.pipeline.receipt import ResidualDetail
from masquerade.pipeline.stream import AnonymizedFrame, prefetch
from masquerade.regions.boxes import Box
from masquerade.regions.masks import Mask, draw_ellipses, drawn_boxes
from masquerade.regions.region import Region
from masquerade.video.frame import Frame

HIDDEN = 250  # of a mask over 0 to 255: what is weaker is meant to let the source shine through
MAX_LEFT = 0.1  # of the detail in one region: more is refused
SHORT = 360  # longest short side of the copies that are compared, in pixels
SIGMA = 1.0  # of the Gaussian below which detail counts as fine, in their pixels
WINDOW = 15  # side of the window in which detail is compared
STEP = 3  # pixels from one window to the next where a whole frame is compared
WHOLE = 90  # shortest side of such a frame; of smaller ones every window is compared
MIN_DETAIL = 2.0  # root mean square of the source's detail in a window, in levels of 255
MIN_CORRELATION = 0.7  # of the two, from which detail is still there
MIN_GAIN = 0.4  # of the output's detail on the source's (regression coefficient)
LARGE = 400  # pixels with detail, from which a region is judged by itself and by these limits
MIN_PIXELS = 150  # below which chance correlates noise; what has fewer waits for more of its track
SURE_CORRELATION, SURE_GAIN = 0.9, 0.6  # the limits in regions that are not large
MOST_POOLS = 1000  # tracks whose small regions wait for more of them
FACE = 1.0, 0.0, 1.0  # the ellipse compared in a face: width, top and bottom in parts of its box
# Levels over 0 to 255 of those over 16 to 235, rounded; by a table this is a third of the time.
FULL_RANGE = ((np.arange(256.0).clip(16) - 16) * 255 / 219).round().clip(0, 255).astype(np.float32)
ALL_TRACKS, UNTRACKED = -2, -1  # the keys of what belongs to no box, and of boxes without a track


class Remains(NamedTuple):
    """What is left of one region, in pixels."""

    detailed: int  # pixels that have detail in the source
    left: int  # of these, pixels in which it is still there
    left_surely: int  # the same by the stricter limits of small regions


class SourceDetail(NamedTuple):
    """The detail of a region of the source, and what every comparison with it needs."""

    near: tuple[slice, slice]  # what of a copy's region the filters reach, (h, w)
    inside: F32 | None  # (h, w), 1 in the region and 0 around it; None: all of it
    step: int  # pixels from one window to the next
    detail: F32  # (h, w)
    power: F32  # (h // step, w // step), the mean of its square in each window
    detailed: NDArray[np.bool_]  # (h // step, w // step), windows that have detail


RegionDetail = tuple[int, tuple[slice, slice], SourceDetail | None]
"""The track of a region, its place in a copy of the frame, and its detail, if it has any."""


class _Pool(NamedTuple):
    """Regions of one track that are too small to be judged alone."""

    regions: int = 0
    detailed: int = 0
    left: int = 0


class RegionJudge:
    """Adds up what is left of each region, and pools the small ones of a track."""

    def __init__(self) -> None:
        self.left, self.frame = 0.0, 0
        self.measured = self.without_detail = 0
        self._pools: dict[int, _Pool] = {}

    def add(self, track: int, frame: int, remains: Remains) -> None:
        """Judge a region; one with too few pixels waits for the next ones of its track."""
        if not remains.detailed:
            self.without_detail += 1
        elif remains.detailed >= LARGE:
            self._judge(_Pool(1, remains.detailed, remains.left), frame)
        else:
            waiting = self._pools.pop(track, _Pool())
            pool = _sum([waiting, _Pool(1, remains.detailed, remains.left_surely)])
            if pool.detailed >= MIN_PIXELS:
                self._judge(pool, frame)
            else:
                self._pools[track] = pool
            if len(self._pools) > MOST_POOLS:
                self.end(frame)

    def add_judged(self, other: "RegionJudge", frame: int) -> None:
        """Add the counts of another judge, of the frames that follow up to `frame`."""
        self.measured += other.measured
        self.without_detail += other.without_detail
        if other.left > self.left:
            self.left, self.frame = other.left, other.frame
        for track, pool in other._pools.items():
            both = _sum([self._pools.pop(track, _Pool()), pool])
            if both.detailed >= MIN_PIXELS:
                self._judge(both, frame)
            else:
                self._pools[track] = both

    def end(self, frame: int) -> None:
        """Judge what waits, all tracks together, in the last frame."""
        rest = _sum(self._pools.values())
        self._pools = {}
        if rest.detailed >= MIN_PIXELS:
            self._judge(rest, frame)
        else:
            self.without_detail += rest.regions

    def _judge(self, pool: _Pool, frame: int) -> None:
        self.measured += pool.regions
        share = pool.left / pool.detailed
        if share > self.left:
            self.left, self.frame = share, frame


def _sum(pools: Iterable[_Pool]) -> _Pool:
    return _Pool(*np.sum([_Pool(), *pools], axis=0).tolist())


def track_key(box: Box) -> int:
    """The number of a box's track among those of all labels, each of which counts from 0."""
    if box.track is None:
        return UNTRACKED
    return (zlib.crc32(box.label.encode()) >> 1 << 31) + box.track


class FrameDetail:
    """Compares small copies of a frame before and after, in the regions that were found in it.

    Args:
        size: (width, height) of the upright frames.
        shape: what is drawn into a box: `ellipse`, `box` or `silhouette`.
        within: (H, W), nothing is hidden where it is 0; None: anywhere.
        full_frame: the method rewrites whole frames, whatever was found.
    """

    def __init__(
        self, *, size: tuple[int, int], shape: str, within: Any = None, full_frame: bool = False
    ) -> None:
        self._scale = min(1.0, SHORT / min(size))
        width, height = (max(1, round(side * self._scale)) for side in size)
        self.size = width, height
        self._shape, self._full_frame = shape, full_frame
        self._within = np.ones((height, width), bool)
        if within is not None:
            self._within = self._shrink(within) > 0

    def of_source(self, before: F32, regions: FoundRegions) -> list[RegionDetail]:
        """The detail of each region that was found in a frame, given the luma of its copy."""
        return [
            (track, place, source_detail(before[place], mask, full_frame=regions.full_frame))
            for track, place, mask in self._regions(regions)
        ]

    @staticmethod
    def judge(judge: RegionJudge, index: int, source: Iterable[RegionDetail], after: F32) -> None:
        """Add up what is left of each region of frame `index`, given the luma of the output."""
        for track, place, detail in source:
            judge.add(track, index, remaining_detail(detail, after[place]))

    def found_in(self, region: Region) -> FoundRegions:
        """What a detector found in a frame, at the size of the copies."""
        region_boxes = drawn_boxes(region.boxes, shape=self._shape, mask=region.mask)
        full_frame = self._full_frame or region.full_frame
        drawn = region.strength
        if region.mask is not None:
            drawn = region.mask if drawn is None else np.maximum(drawn, region.mask)
        silhouette = None if drawn is None or full_frame else self._shrink(drawn) >= HIDDEN
        if silhouette is not None and self._shape == "silhouette" and region.mask is not None:
            faces = [box for box in region_boxes if box.label == "face"]  # hidden beside people
            frame = region.mask.shape[1], region.mask.shape[0]
            silhouette |= draw_ellipses(faces, part=FACE, frame=frame, size=self.size) > 0
            region_boxes = [box for box in region_boxes if box.label != "face"]
        boxes = np.array([(b.x0, b.y0, b.x1, b.y1) for b in region_boxes], np.float32)
        tracks = np.array([track_key(box) for box in region_boxes], np.int64)
        return FoundRegions(
            boxes.reshape(-1, 4) * np.float32(self._scale), tracks, silhouette, full_frame
        )

    def _shrink(self, mask: Mask) -> Any:
        return cv2.resize(mask, self.size, interpolation=cv2.INTER_AREA)

    def luma(self, pixels: Pixels | Planes) -> F32:
        """The luma, over 0 to 255, of a small copy (h, w) of a frame (H, W, 3) or its planes."""
        if isinstance(pixels, Planes):
            return self.scaled(pixels.y, full_range=pixels.full_range)
        levels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
        return self.scaled(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY))

    def scaled(self, luma: Any, *, full_range: bool = True) -> F32:
        """A small copy (h, w) over 0 to 255 of a luma (H, W) over these, or over 16 to 235."""
        # Down to half the size bilinear scaling reads every pixel, in a fifth of the time.
        way = cv2.INTER_LINEAR if self._scale > 0.5 else cv2.INTER_AREA
        small: Any = cv2.resize(luma, self.size, interpolation=way)
        return np.asarray(small if full_range else cv2.LUT(small, FULL_RANGE), np.float32)

    def _regions(
        self, regions: FoundRegions
    ) -> Iterator[tuple[int, tuple[slice, slice], NDArray[np.bool_]]]:
        """The track of each region, where it lies, and its pixels there."""
        width, height = self.size
        everywhere = slice(0, height), slice(0, width)
        if regions.full_frame:
            yield ALL_TRACKS, everywhere, self._within
            return
        if regions.silhouette is not None:
            yield ALL_TRACKS, everywhere, regions.silhouette & self._within
        for track, (x0, y0, x1, y1) in zip(regions.tracks.tolist(), regions.boxes, strict=True):
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
            yield track, place, inside & self._within[place]


class DetailCheck:
    """Compares frames with their source as they are made, and once more when they are decoded.

    Args:
        name: of the output, for messages.
        size: (width, height) of the upright frames.
        shape: what is drawn into a box: `ellipse`, `box` or `silhouette`.
        within: (H, W), nothing is hidden where it is 0; None: anywhere.
        full_frame: the method rewrites whole frames, whatever was found.
    """

    def __init__(
        self,
        *,
        name: str,
        size: tuple[int, int],
        shape: str,
        within: Any = None,
        full_frame: bool = False,
    ) -> None:
        self._name = name
        self._detail = FrameDetail(size=size, shape=shape, within=within, full_frame=full_frame)
        self.size = self._detail.size
        self._blank = np.zeros(self.size[::-1], np.float32)  # for frames in which nothing was found
        self._found = FoundRegionsFile(self.size)
        self._made, self._encoded = RegionJudge(), RegionJudge()
        self._written = array("L")
        self._compared = 0  # of the frames that were written
        self._sources: dict[int, list[RegionDetail]] | None = None  # of frames on their way

    def close(self) -> None:
        """Forget what was found."""
        self._found.close()

    def watch(self, anonymized: AnonymizedFrame, source: Pixels | Planes) -> None:
        """Compare the next frame with its source, and remember what was found in it.

        Args:
            made: the frame.
            source: its pixels (H, W, 3), or its planes if the frame is in planes.

        Raises:
            OutputError: detail that should have gone is still there.
        """
        regions, index = self._detail.found_in(anonymized.region), anonymized.frame.index
        self._found.append(regions)
        if regions.empty:
            before = after = self._blank
        else:
            shown = anonymized.pixels if anonymized.planes is None else anonymized.planes
            before, after = (self._detail.luma(pixels) for pixels in (source, shown))
        detail = self._detail.of_source(before, regions)
        sources = self._sources  # another thread may forget them
        if sources is not None:
            sources[index] = detail
        self._judge(self._made, index, detail, after)

    def keep_sources(self) -> None:
        """From now on keep the source's detail of each frame until `compare_next` needs it."""
        self._sources = {}

    def forget_sources(self) -> None:
        """Keep none of them any more."""
        self._sources = None

    def compare_next(self, luma: Any, *, full_range: bool) -> None:
        """Compare the next of the written frames with its source, as it is decoded again.

        Args:
            luma: (H, W), uint8.
            full_range: it is over 0 to 255 instead of 16 to 235.

        Raises:
            OutputError: detail that should have gone is still there.
        """
        assert self._sources is not None
        index = self._written[self._compared]
        for before in [i for i in list(self._sources) if i < index]:  # others add to it
            del self._sources[before]
        self._compared += 1
        after = self._detail.scaled(luma, full_range=full_range)
        self._judge(self._encoded, index, self._sources[index], after)

    def compared(self) -> ResidualDetail | None:
        """The sum of both comparisons, if `compare_next` had every frame that was written.

        Raises:
            OutputError: detail that should have gone is still there.
        """
        if not self._compared or self._compared != len(self._written):
            return None
        return self._result(self._encoded, self._written[-1])

    def hand_over(self, path: Path) -> RegionJudge:
        """Save what was found in the frames so far, and return the judgement of them."""
        self._found.save(path)
        return self._made

    def take_over(self, path: Path, judged: RegionJudge, frame: int) -> None:
        """Add what another check handed over of the frames that follow, up to a frame.

        Raises:
            OutputError: detail that should have gone is still there.
        """
        self._found.append_saved(path)
        self._made.add_judged(judged, frame)
        self._refuse(self._made)

    def wrote(self, index: int) -> None:
        """Remember that the next frame of the output shows this frame of the source."""
        self._written.append(index)

    def compare(self, source: Iterable[Any], output: Iterable[Any]) -> ResidualDetail:
        """Compare the frames of both files, and give the sum of both comparisons.

        Raises:
            OutputError: detail that should have gone is still there, or frames are missing.
        """
        judge, at = RegionJudge(), -1
        before: F32 | None = None
        frame_regions: FoundRegions | None = None
        regions = self._found.read()
        with (
            closing(prefetch(self._copies(source))) as sources,  # type: ignore[type-var]
            closing(prefetch(self._copies(output))) as outputs,  # type: ignore[type-var]
        ):
            for index in self._written:
                after = next(outputs, None)
                while at < index:
                    before, frame_regions, at = next(sources, None), next(regions, None), at + 1
                if before is None or after is None or frame_regions is None:
                    raise OutputError(f"{self._name} holds fewer frames than were written to it.")
                self._judge(judge, index, self._detail.of_source(before, frame_regions), after)
            if next(outputs, None) is not None:
                raise OutputError(f"{self._name} holds more frames than were written to it.")
        return self._result(judge, at)

    def _result(self, judge: RegionJudge, at: int) -> ResidualDetail:
        """Join both comparisons into what is reported; the last frame was `at`."""
        for comparison in (self._made, judge):
            comparison.end(at)
            self._refuse(comparison)
        most = max(self._made, judge, key=lambda comparison: comparison.left)
        return ResidualDetail(
            left=round(most.left, 4),
            frame=most.frame,
            measured=judge.measured,
            without_detail=judge.without_detail,
        )

    def _judge(
        self, judge: RegionJudge, index: int, source: Iterable[RegionDetail], after: F32
    ) -> None:
        self._detail.judge(judge, index, source, after)
        self._refuse(judge)

    def _refuse(self, judge: RegionJudge) -> None:
        if judge.left > MAX_LEFT:
            raise OutputError(
                f"{self._name} still showed {judge.left:.0%} of the detail of a region in frame "
                f"{judge.frame}, so it was deleted; choose a stronger method or a larger mask."
            )

    def _copies(self, frames: Iterable[Any]) -> Iterator[F32]:
        """The luma of small copies, (h, w)."""
        for frame in frames:
            if isinstance(frame, Frame):
                yield frame.luma(self.size).astype(np.float32)


def source_detail(
    before: F32, mask: NDArray[np.bool_], *, full_frame: bool = False
) -> SourceDetail | None:
    """The detail of the source's luma (h, w) inside a mask of its shape; None: there is none.

    With `full_frame` only the windows around every third row and column are measured.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return None
    rows = slice(max(0, y - WINDOW), y + height + WINDOW)  # farther than any filter reaches
    near = rows, slice(max(0, x - WINDOW), x + width + WINDOW)
    mask = mask[near]
    coarse = full_frame and bool(mask.all()) and min(mask.shape) >= WHOLE
    inside, step = (None, STEP) if coarse else (mask.astype(np.float32), 1)
    a = _detail(before[near], inside)
    aa = _window_mean(a * a, step)
    n = _whole_window_mean(mask.shape, step) if inside is None else _window_mean(inside)
    detailed = aa > MIN_DETAIL**2 * n
    detailed = detailed if coarse else mask & detailed
    return SourceDetail(near, inside, step, a, aa, detailed) if detailed.any() else None


def remaining_detail(source: SourceDetail | None, after: F32) -> Remains:
    """How much of the detail of a region is still there in the output's luma (h, w).

    In windows of the region alone: r = Σab / √(Σa² Σb²), gain = Σab / Σa², of details a and b.
    """
    if source is None:
        return Remains(0, 0, 0)
    near, inside, step, a, aa, detailed = source
    count = int(np.count_nonzero(detailed)) * step**2
    b = _detail(after[near], inside)
    # Where there is detail, ab <= max|b| √(aa n) < max|b| aa / MIN_DETAIL (Cauchy and Schwarz).
    if cv2.norm(b, cv2.NORM_INF) < 0.99 * MIN_GAIN * MIN_DETAIL:
        return Remains(count, 0, 0)
    ab = _window_mean(a * b, step)
    strong = detailed & (ab > MIN_GAIN * aa)  # where alone the rest is worth its time
    if not strong.any():
        return Remains(count, 0, 0)
    bb = _window_mean(b * b, step)
    ab, aa, bb = ab[strong], aa[strong], bb[strong]
    both = np.sqrt(np.maximum(aa * bb, 0))
    left = ab > MIN_CORRELATION * both
    surely = (ab > SURE_CORRELATION * both) & (ab > SURE_GAIN * aa)
    return Remains(count, *(int(np.count_nonzero(mask)) * step**2 for mask in (left, surely)))


def _detail(luma: F32, inside: F32 | None) -> F32:
    """What a Gaussian takes away, in a region (h, w) of 0 and 1; None: everywhere."""
    fine = cv2.subtract(luma, cv2.GaussianBlur(luma, (0, 0), SIGMA))
    return np.asarray(fine if inside is None else cv2.multiply(fine, inside), np.float32)


@lru_cache(maxsize=4)
def _whole_window_mean(shape: tuple[int, int], step: int) -> F32:
    """The share of each window that lies in a frame (h, w)."""
    return _window_mean(np.ones(shape, np.float32), step)


def _window_mean(x: Any, step: int = 1) -> F32:
    """The means (h // step, w // step) of windows around every pixel (h, w), or every `step`-th."""
    if step > 1:  # a window is a number of whole squares
        height, width = (side // step for side in x.shape)
        whole = x[: height * step, : width * step]
        x = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    size, border = (WINDOW // step, WINDOW // step), cv2.BORDER_CONSTANT
    return np.asarray(cv2.boxFilter(x, cv2.CV_32F, size, borderType=border))
