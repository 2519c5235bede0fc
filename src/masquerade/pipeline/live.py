"""Anonymize live video: frames as they come, each checked before it is shown, or not shown at all.

A frame is shown only if it was anonymized in time and its check found nothing left of what had been
hidden. All others are dropped: when the machine falls behind, privacy stays and smoothness goes.
Nothing is known of the future, so that gaps between two sightings cannot be filled; where nobody is
found at all, the whole frame is hidden, unless `allow_empty` says that an empty scene may be seen.
Text, or whatever else is found beside people, does not stand for them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from masquerade.anonymizer import Pixels
from masquerade.errors import OutputError, UsageError
from masquerade.pipeline.config import Pipeline, source_names
from masquerade.pipeline.live_config import MAX_LATENCY
from masquerade.pipeline.residual_detail import (
    HIDDEN,
    LARGE,
    MAX_LEFT,
    MIN_PIXELS,
    MOST_POOLS,
    UNTRACKED,
    FrameDetail,
    RegionDetail,
    Remains,
    remaining_detail,
)
from masquerade.pipeline.stream import AnonymizedFrame, StageTimer, anonymize_stream, cover_of
from masquerade.regions.boxes import Box, box_pixels
from masquerade.regions.masks import drawn_boxes
from masquerade.regions.region import Region
from masquerade.video.frame import Frame
from masquerade.video.probe import VideoInfo

MOST_REFUSED = 50  # frames in a row that failed their check, after which the run ends
MAX_LATENCY_MS = 1000 * MAX_LATENCY  # milliseconds that the counts of latencies reach to
ALONE = 50  # pixels with detail, from which a small region is judged by itself, too
MOST_ALONE = 0.5  # of the detail in such a region: more is refused
OF_PEOPLE = {"faces": {"face"}, "people": {"person", "face"}, "parts": {"part"}}
"""The labels of what is found of people, by the region source that looks for it."""


class LiveFrame(NamedTuple):
    """One frame that may be shown."""

    pixels: Pixels  # (H, W, 3), anonymized
    frame: Frame  # of the source: for its time, never for its pixels
    latency: float  # seconds from its arrival until now


@dataclass
class LiveCounts:
    """What became of the frames so far."""

    shown: int = 0
    late: int = 0  # anonymized, but not in time
    refused: int = 0  # in which too much detail was left
    hidden_whole: int = 0  # shown, but hidden whole: nobody was found in them
    empty: int = 0  # shown though nothing was fully hidden in them, as --allow-empty permits
    sent_late: int = 0  # anonymized in time; encoding or the network took them beyond the bound
    unsent: int = 0  # shown, but the destination was gone
    latencies: Any = field(default_factory=lambda: np.zeros(MAX_LATENCY_MS + 1, np.int64))  # by ms

    def add_latency(self, seconds: float) -> None:
        """Count the latency of a frame that was sent on."""
        self.latencies[min(MAX_LATENCY_MS, max(0, round(1000 * seconds)))] += 1

    @property
    def sent(self) -> int:
        """How many frames were sent on."""
        return int(self.latencies.sum())

    def latency(self, share: float) -> float | None:
        """The seconds within which this share of the frames was sent on; None: there are none."""
        if not self.sent:
            return None
        return int(np.searchsorted(np.cumsum(self.latencies), share * self.sent)) / 1000


class _Track(NamedTuple):
    """What was found of one track that is not judged yet, in pixels, and how it was judged last."""

    detailed: int = 0
    left: int = 0
    refused: bool = False


class LiveJudge:
    """Judges each frame before it is shown: by its regions, and by those of their tracks before it.

    A small region is judged together with those of its track before it, as in files, and by itself
    where nearly all of it is still there. Whoever was refused stays so until a judgement says that
    they are hidden: else each new beginning would show a few frames more. Regions without a track
    are of different people: one that is large enough is judged alone, and says nothing of others.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}

    def refuses(self, regions: Iterable[RegionDetail], after: Any) -> bool:
        """Whether a frame may not be shown, given its regions and the luma (h, w) of its copy."""
        by_track = [(track, remaining_detail(own, after[place])) for track, place, own in regions]
        # All of them, also behind one that is refused.
        return any(
            [self._refuses(track, remains) for track, remains in by_track if remains.detailed]
        )

    def _refuses(self, track: int, remains: Remains) -> bool:
        before = self._tracks.pop(track, _Track())
        if track == UNTRACKED and remains.detailed >= MIN_PIXELS:
            refused = _too_much_left(remains)
            self._tracks[track] = before._replace(refused=before.refused or refused)
            return refused
        detailed, left = before.detailed + remains.detailed, before.left + remains.left_surely
        if remains.detailed >= LARGE:
            now = _Track(refused=_too_much_left(remains))
        elif detailed >= MIN_PIXELS:
            now = _Track(refused=left > MAX_LEFT * detailed)
        else:
            now = _Track(detailed, left, before.refused)
        if remains.detailed >= ALONE and remains.left_surely > MOST_ALONE * remains.detailed:
            now = now._replace(refused=True)
        self._tracks[track] = now
        if len(self._tracks) > MOST_POOLS:
            del self._tracks[next(iter(self._tracks))]  # the one not seen for longest
        return now.refused


class LiveRun:
    """Anonymizes the frames of one live source.

    Args:
        pipeline: with a region source that is `online`; see `config.build_region_source`.
        info: of the source.
        max_latency: seconds after which a frame is dropped instead of shown.
        age: seconds since a frame arrived.

    Raises:
        UsageError: the method needs more frames at once than come within `max_latency`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        info: VideoInfo,
        max_latency: float,
        age: Callable[[Frame], float],
    ) -> None:
        self.pipeline, self.counts, self.timer = pipeline, LiveCounts(), StageTimer()
        self._max_latency, self._age = max_latency, age
        self._size = info.width, info.height
        method, config = pipeline.anonymizer, pipeline.config
        if method.needs_source_digest:
            raise UsageError("a key of the source's content is for files; leave it out.")
        needed = method.window / float(info.rate)
        if needed > max_latency:
            raise UsageError(
                f"{type(method).__name__} needs {method.window} frames at once, {needed:.1f} "
                f"seconds of this source: give --max-latency {2 * needed:.1f}, or another method."
            )
        self._cover = cover_of(config, pipeline.regions)
        shape, full_frame = self._cover.shape, method.full_frame
        self._detail = FrameDetail(size=self._size, shape=shape, full_frame=full_frame)
        # It draws the frame anew, whoever is found.
        self._draws = method.full_frame or method.regions_only
        self._judge = LiveJudge()
        names = source_names(config)
        labels = [OF_PEOPLE[name] for name in names if name in OF_PEOPLE]
        self._labels = set().union(*labels)  # of boxes that say that somebody is there; empty: all
        # Of all sources these alone give outlines of something else than people.
        self._outlines_of_people = not self._labels or "hands" not in names
        self._refused = False  # the frame that was anonymized last
        self._in_a_row = 0

    def __call__(self, frames: Iterable[Frame]) -> Iterator[LiveFrame]:
        """The frames that may be shown, each as soon as it is anonymized and checked.

        Raises:
            OutputError: the checks of many frames in a row failed.
        """
        stream = anonymize_stream(
            frames,
            self.pipeline.anonymizer,
            self._regions,
            cover=self._cover,
            seed=self.pipeline.config.seed,
            amp=self.pipeline.config.amp,
            timer=self.timer,
            watch=self._watch,
            threads=False,
        )
        with closing(stream):  # type: ignore[type-var]
            for anonymized in stream:
                if self._may_be_shown(anonymized):
                    yield LiveFrame(
                        anonymized.pixels, anonymized.frame, self._age(anonymized.frame)
                    )

    def sent(self, shown: LiveFrame, *, taken: bool = True) -> None:
        """Record the latency of a frame once it is encoded and sent on, or that nobody took it."""
        if not taken:
            self.counts.unsent += 1
            return
        latency = self._age(shown.frame)
        self.counts.add_latency(latency)
        self.counts.sent_late += latency > self._max_latency

    def _regions(self, frames: Iterable[Any]) -> Iterator[Region]:
        """What to hide in each frame: all of it where nobody was found."""
        for region in self.pipeline.regions(frames):
            if self._draws or self.pipeline.config.allow_empty or self._finds(region):
                yield region
            else:
                yield replace(region, full_frame=True, mask=None, strength=None)

    def _finds(self, region: Region) -> bool:
        """Whether something in the picture is to be hidden, and not only dimmed.

        Where people are looked for, something of them: a sign or a hand does not tell who was
        missed.
        """
        if region.full_frame:
            return True
        drawn = drawn_boxes(region.boxes, shape=self._cover.shape, mask=region.mask)
        if not self._labels:
            inside = any(box.clip(*self._size) for box in drawn)
            return inside or _hides(region.mask) or _hides(region.strength)
        if self._outlines_of_people and _hides(region.mask):
            return True
        return any(
            self._hides_box(box, region.mask, drawn)
            for box in region.boxes
            if box.label in self._labels
        )

    def _hides_box(self, box: Box, mask: Any, drawn: list[Box]) -> bool:
        """Whether something in a box is hidden, which is drawn or has outlines in a mask (H, W)."""
        inside = box.clip(*self._size)
        return inside is not None and (box in drawn or _hides(mask[box_pixels(inside)]))

    def _watch(self, anonymized: AnonymizedFrame, source: Pixels) -> None:
        """Compare a frame with its source (H, W, 3) before anybody sees it."""
        before, after = (self._detail.luma(pixels) for pixels in (source, anonymized.pixels))
        regions = self._detail.found_in(anonymized.region)
        self._refused = self._judge.refuses(self._detail.of_source(before, regions), after)

    def _may_be_shown(self, anonymized: AnonymizedFrame) -> bool:
        counts, region = self.counts, anonymized.region
        # What is drawn decides, whatever was found.
        empty = not self._draws and anonymized.mask is not None and not _hides(anonymized.mask)
        if self._refused or (empty and not self.pipeline.config.allow_empty):
            counts.refused += 1
            self._in_a_row += 1
            if self._in_a_row >= MOST_REFUSED:
                raise OutputError(
                    f"{MOST_REFUSED} frames in a row still showed detail of what was to be hidden; "
                    "choose a stronger method or a larger mask."
                )
            return False
        self._in_a_row = 0
        if self._age(anonymized.frame) > self._max_latency:
            counts.late += 1
            return False
        counts.shown += 1
        by_request = "frame" in source_names(self.pipeline.config)
        counts.hidden_whole += region.full_frame and not by_request
        counts.empty += empty
        return True


def _too_much_left(remains: Remains) -> bool:
    """Whether a region that is judged alone may not be shown."""
    left = remains.left if remains.detailed >= LARGE else remains.left_surely
    return left > MAX_LEFT * remains.detailed


def _hides(mask: Any) -> bool:
    """Whether a mask hides anything whole; what is weaker lets the source shine through."""
    return mask is not None and bool((mask >= HIDDEN).any())
