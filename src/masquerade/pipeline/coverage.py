"""Coverage: in how many frames of a video something was hidden, and when that is too few.

The rule is one for every verb that anonymizes files: `anonymize` and `demo` hold each file to it,
`evaluate` each video of a dataset.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from masquerade.errors import OutputError
from masquerade.pipeline.config import ID_LABELS
from masquerade.regions.boxes import box_pixels
from masquerade.regions.people_scores import UNSURE
from masquerade.regions.region import Region
from masquerade.text import name_some

MAX_MISSED = 0.02  # of the frames between the first and the last sighting; more is a gap
FINEST = 1e-5  # of a frame's hidden share in a receipt
HALF = 128  # of a mask over 0 to 255: below it the source shines through more than what hides it
MOST_NAMES = 20  # of videos or regions in one message
TEMPLATES_ALONE = (
    "only what looks like the points or templates that were named is hidden, and people stay "
    "visible: --regions people beside --at or --hide hides both."
)

Track = tuple[str, int]  # label and number: each kind of thing has numbers of its own


@dataclass(frozen=True, kw_only=True)
class FrameCounts:
    """In how many frames of a video, or of several, something was hidden or missed."""

    frames: int = 0
    empty: int = 0  # frames in which nothing was hidden, or all of it by less than half
    missed: int = 0  # frames between the first and the last sighting in which nothing was found
    span: int = 0  # frames from the first to the last sighting
    filled_whole: int = 0  # frames hidden whole because nothing could be told apart in them

    @property
    def hid_nothing(self) -> bool:
        """Whether nothing was hidden in any frame."""
        return self.empty == self.frames

    def __add__(self, other: "FrameCounts") -> "FrameCounts":
        """The counts of several videos together."""
        names = [f.name for f in fields(FrameCounts)]
        return FrameCounts(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class Coverage(FrameCounts):
    """How much of one video was hidden, frame by frame."""

    share: tuple[float, ...] = ()  # for each frame, the hidden part of its area, 0 to 1
    regions: tuple[int, ...] = ()  # for each frame, how many regions
    filled: int = 0  # regions that tracking filled in, without a detection in that frame
    seen: int = 0  # regions that a detector found in that frame
    unsure: int = 0  # of these, people of low confidence (regions/people_scores.py)
    tracks: int = 0  # of faces and of people, who have numbers of their own
    cuts: int = 0  # scene cuts
    longest_gap: int = 0  # most frames in a row over which one region was filled in


@dataclass(frozen=True, kw_only=True)
class DatasetCoverage:
    """How much of a dataset's videos was hidden."""

    videos: int
    counts: FrameCounts  # of all of them
    unpublished: Mapping[str, str]  # videos that `anonymize` would not publish, and why


@dataclass
class CoverageCounter:
    """Adds up the coverage frame by frame; `sources` are the names of the region sources.

    Detections of people count as `unsure` by their score only where the `detector` is pose, the
    default: scores of other detectors are no probabilities.
    """

    sources: Sequence[str]
    detector: str | None = None
    # of each frame; arrays take a quarter of what lists of numbers do, in videos of hours
    share: "array[float]" = field(default_factory=lambda: array("d"))
    regions: "array[int]" = field(default_factory=lambda: array("I"))
    empty: int = 0
    filled: int = 0
    seen: int = 0
    unsure: int = 0
    cuts: int = 0
    longest_gap: int = 0
    filled_whole: int = 0
    tracks: set[Track] = field(default_factory=set)
    drawn: set[int] = field(default_factory=set)  # tracks of regions drawn by hand that hide
    gaps: dict[Track, int] = field(default_factory=dict)

    def add(self, region: Region, mask: Any) -> None:
        """Count one frame by what was found and its mask (H, W); None: all of it is hidden."""
        share = 1.0 if mask is None else np.count_nonzero(mask >= HALF) / mask.size
        hidden = share > 0
        self.empty += not hidden
        self.share.append(_rounded(share))
        # What --region leaves out is found, too, and not hidden.
        boxes = [box for box in region.boxes if mask is None or mask[box_pixels(box)].any()]
        # Templates give a map of strengths and no boxes.
        self.regions.append(1 if region.full_frame else len(boxes) or int(hidden))
        self.cuts += region.cut
        # Hidden whole by request, and not for want of certainty, where a source is `frame`.
        self.filled_whole += region.full_frame and "frame" not in self.sources
        gaps: dict[Track, int] = {}
        for box in boxes:
            if box.track is not None:
                if box.label in ID_LABELS.values():
                    self.tracks.add((box.label, box.track))
                if box.label == "drawn":
                    self.drawn.add(box.track)
            if box.label == "drawn":  # by hand: nothing found it, and nobody was missed in it
                continue
            if box.source == "detected":
                self.seen += 1
                person = box.label == "person" and "people" in self.sources
                self.unsure += person and self.detector in (None, "pose") and box.score < UNSURE
                continue
            self.filled += 1
            if box.source == "interpolated" and box.track is not None:
                track = box.label, box.track
                gaps[track] = self.gaps.get(track, 0) + 1
        self.gaps = gaps
        self.longest_gap = max(self.longest_gap, *gaps.values(), 0)

    def total(self) -> Coverage:
        """The coverage of the frames so far."""
        sighted = [t for t, count in enumerate(self.regions) if count]
        span = sighted[-1] - sighted[0] + 1 if sighted else 0
        return Coverage(
            frames=len(self.share),
            empty=self.empty,
            missed=span - len(sighted),
            span=span,
            filled_whole=self.filled_whole,
            share=tuple(self.share),
            regions=tuple(self.regions),
            filled=self.filled,
            seen=self.seen,
            unsure=self.unsure,
            tracks=len(self.tracks),
            cuts=self.cuts,
            longest_gap=self.longest_gap,
        )


def _rounded(share: float) -> float:
    """Round a share to five digits, to 0 or 1 only where it is exactly that."""
    return min(max(round(share, 5), FINEST), 1 - FINEST) if 0 < share < 1 else share


def find_gaps(counts: FrameCounts, sources: Sequence[str]) -> list[str]:
    """In how many frames nothing was found, or all was hidden for want of certainty, in words.

    A frame counts as found where anything was: who is lost while another is found is not noticed.
    """
    gaps = []
    # Gaps in a file of boxes are its author's word; a region source's are misses.
    if set(sources) != {"boxes"} and counts.missed > MAX_MISSED * counts.span:
        gaps.append(
            f"nothing was found in {counts.missed} of the {counts.span} frames between the "
            "first and the last sighting"
        )
    if counts.filled_whole:
        gaps.append(
            f"{counts.filled_whole} frames were hidden whole because nothing could be told apart "
            "in them"
        )
    return gaps


def coverage_warnings(
    counts: FrameCounts, sources: Sequence[str], *, regions: Any = None
) -> list[str]:
    """Warn where nothing was hidden, nothing found in many frames, or boxes do not fit the video.

    The first two are what `check_file_coverage` refuses, for a run in which they are allowed; a
    file of boxes may have been made for a shorter or a longer video.

    Args:
        counts: of the run.
        sources: the names of its region sources.
        regions: what they are, of a run over a whole video; None: it may go on behind the counts.
    """
    empty = ["nothing was found to hide: look at the output before it is released."]
    gaps = [
        f"{gap}: look at them before the output is released." for gap in find_gaps(counts, sources)
    ]
    if set(sources) == {"boxes"} and counts.empty and not counts.hid_nothing:
        gaps.append(
            f"no box hides anything in {counts.empty} of {counts.frames} frames: look whether the "
            "file of boxes is of this video."
        )
    ends = [
        getattr(source, "last_frame", None) for source in getattr(regions, "sources", (regions,))
    ]
    last = max((end for end in ends if end is not None), default=0)
    if last >= counts.frames > 0:
        gaps.append(
            f"the file of boxes goes on to frame {last}, and the video ends with frame "
            f"{counts.frames - 1}: look whether it is of this video."
        )
    return (empty if counts.hid_nothing else []) + gaps


def template_warnings(sources: Sequence[str], anonymizer: Any, *, outside: str) -> list[str]:
    """Warn where templates are all that is hidden, as `--at` and `--hide` replace the default.

    Args:
        sources: the names of the run's region sources.
        anonymizer: the run's.
        outside: what becomes of all else, keep or black.
    """
    visible = outside == "keep" and not anonymizer.shows_nobody
    return [TEMPLATES_ALONE] if set(sources) == {"templates"} and visible else []


def check_file_coverage(
    counts: FrameCounts, sources: Sequence[str], *, name: str, allow_empty: bool, allow_gaps: bool
) -> None:
    """Refuse to publish where nothing was found, or nothing in many frames between two finds.

    Raises:
        OutputError: so it is, and it is not allowed.
    """
    if counts.hid_nothing and not allow_empty:
        raise OutputError(
            f"nothing to hide was found in {name}, so there is no output; lower --threshold or "
            "choose other --regions, or give --allow-empty if nothing in it is to be hidden."
        )
    gaps = find_gaps(counts, sources)
    if gaps and not allow_gaps:
        raise OutputError(
            f"in {name} {' and '.join(gaps)}, so there is no output; lower --threshold, choose "
            "other --regions or correct boxes by hand, or give --allow-gaps after a look at them."
        )


def check_dataset_coverage(
    videos: Mapping[str, FrameCounts],
    sources: Sequence[str],
    *,
    allow_empty: bool,
    allow_gaps: bool,
) -> DatasetCoverage:
    """The coverage of a dataset's videos, given by their names.

    Raises:
        OutputError: `anonymize` would not publish some of them, and they are not allowed.
    """
    empty = {
        name: "nothing to hide was found" for name, counts in videos.items() if counts.hid_nothing
    }
    gaps = {
        name: " and ".join(sentences)
        for name, counts in videos.items()
        if (sentences := find_gaps(counts, sources))
    }
    refused = []
    if empty and not allow_empty:
        refused.append(
            f"nothing to hide was found in {len(empty)} of {len(videos)} videos ({_names(empty)}), "
            "which --allow-empty measures all the same"
        )
    if gaps and not allow_gaps:
        refused.append(
            f"nothing was found in too many frames between the first and the last sighting, or "
            f"frames were hidden whole because nothing could be told apart in them, in {len(gaps)} "
            f"of {len(videos)} videos ({_names(gaps)}), which --allow-gaps measures all the same"
        )
    if refused:
        raise OutputError(
            f"there are no results, as `anonymize` would not publish these videos: "
            f"{'; and '.join(refused)}."
        )
    return DatasetCoverage(
        videos=len(videos),
        counts=sum(videos.values(), FrameCounts()),
        unpublished={
            name: " and ".join(reasons[name] for reasons in (empty, gaps) if name in reasons)
            for name in sorted(empty | gaps)
        },
    )


def _names(videos: Mapping[str, str]) -> str:
    return name_some(list(videos), MOST_NAMES)
