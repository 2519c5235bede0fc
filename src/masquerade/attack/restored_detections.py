"""Detections in restored pictures that count: the published frame shows nothing like them there.

A detector at a low score sees people and text in noise and in the ringing of a filter, too. So a
detection counts from a higher score on, where the published frame has none of its kind at any
score, and if it is confirmed: by a sure detection at that place of the raw frame or, without raw
frames, of the mirrored picture, in which many false ones vanish. People and poses always need the
mirrored picture, as masks look like bodies; beside a raw frame, the restored picture must also
correlate with it where the published one was changed. Several frames must show it, where several
were restored. A face counts as seen in the published frame if the mirrored frame confirms it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import cv2
import numpy as np

from masquerade.anonymizer import Pixels
from masquerade.arrays import U8
from masquerade.attack.finders import (
    NAMES,
    SURE_SCORES,
    UNCHANGED_LEVELS,
    WHY_IT_IDENTIFIES,
    Finders,
    Kind,
    at_size,
    crop,
    overlaps,
)
from masquerade.attack.finding import MOST_PROOFS, Level, Proof, surest_of_frames
from masquerade.regions.boxes import Box, area, box_pixels, corners, intersection, mirrored_box

RESTORED_SCORES: Mapping[Kind, float] = {"face": 0.6, "person": 0.5, "pose": 0.7, "text": 0.7}
"""Lowest detection scores that count in a restored picture, whose noise may look like anything.

Without raw frames, and of people with them, the mirrored picture must reach them too. The detector
of people gives mask shapes in noise less than .5 in one of both, and people behind a fine mosaic
often more."""
MIN_FRAMES = 2  # frames in which restored pictures must show it
BODIES: tuple[Kind, ...] = ("person", "pose")
MIN_BODY_FRAMES = 3  # the same for these, where they are looked for in MANY_FRAMES or more
MANY_FRAMES = 10
INSIDE = 0.5  # share of the smaller of two boxes in the other, from which both show one thing,
PART = 0.2  # unless it is smaller than this share of the other
ALIKE = 0.5  # correlation of a restored picture with the raw one where a pixel was hidden
LEAST_PIXELS = 30  # that were hidden, below which it says nothing
SHOWS: Mapping[Kind, tuple[Kind, ...]] = {
    "face": ("face",),
    "person": ("person", "pose"),
    "pose": ("pose", "person"),  # the pose of somebody who is seen is no recovery
    "text": ("text",),
}
"""What in the published frame shows each kind as well."""


@dataclass(eq=False)
class FrameComparison:
    """Compares detections in restored pictures of a frame with the published and the raw frame.

    Args:
        number: of the frame.
        published: (H, W, 3), as large as restored pictures are.
        finders: of all that is looked for.
        seen: what is known to be in the published frame, of faces those that its mirrored copy
            shows too; what is missing is looked for.
        raw: the raw frame; None: there is none.
        same_size: what is known was found in a frame of this size.
    """

    number: int
    published: U8
    finders: Finders
    seen: Mapping[Kind, Sequence[Box]] = field(default_factory=dict)
    raw: U8 | None = None
    same_size: bool = True
    _detected: dict[tuple[Kind, bool], list[Box]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.raw is not None:
            height, width = self.published.shape[:2]
            self.raw = at_size(self.raw, (width, height))

    def is_shown(self, kind: Kind, box: Box) -> bool:
        """Whether the published frame shows as much at a place; of faces, surely."""
        least = SURE_SCORES["face"] if kind == "face" else 0.0
        for shown in SHOWS[kind]:
            seen = list(self.seen.get(shown, ()))
            if shown not in self.seen or not (self.same_size or _covers(seen, box)):
                # a smaller copy may show what it does not
                seen += self._detect(shown, of_raw=False)
            if _covers([b for b in seen if b.score >= least], box):
                return True
        return False

    def confirmed(
        self, kind: Kind, boxes: Sequence[Box], restored: U8, *, sure: float
    ) -> list[Box]:
        """Return the detections that the raw frame or the mirrored picture confirms.

        `sure` is the score from which a detection in a restored picture counts, mirrored or not.
        """
        confirmed = list(boxes)
        if self.raw is not None and confirmed:
            there = [b for b in self._detect(kind, of_raw=True) if b.score >= SURE_SCORES[kind]]
            confirmed = [box for box in confirmed if overlaps(box, there)]
            if kind in BODIES:
                confirmed = [box for box in confirmed if self._goes_with_raw(restored, box)]
        if (self.raw is None or kind in BODIES) and confirmed:
            again = [b for b in self._detect_mirrored(kind, restored) if b.score >= sure]
            confirmed = [box for box in confirmed if overlaps(box, again)]
        return confirmed

    def is_changed(self, box: Box) -> bool:
        """Whether the published frame differs from the raw one at a place."""
        if self.raw is None:
            return False
        published, raw = (frame[box_pixels(box)] for frame in (self.published, self.raw))
        return bool(raw.size and cv2.absdiff(published, raw).mean() > UNCHANGED_LEVELS)

    def _goes_with_raw(self, restored: U8, box: Box) -> bool:
        """Whether a restored picture is like the raw frame where the published one was changed."""
        if self.raw is None:
            return False
        part = box_pixels(box)
        if not self.raw[part].size:  # it lies outside
            return False
        made, raw, published = (
            cv2.cvtColor(np.ascontiguousarray(frame[part]), cv2.COLOR_RGB2GRAY).astype(np.float64)
            for frame in (restored, self.raw, self.published)
        )
        changed = np.abs(published - raw) > UNCHANGED_LEVELS
        if changed.sum() < LEAST_PIXELS:
            return True
        a, b = made[changed], raw[changed]
        return a.std() > 0 < b.std() and bool(np.corrcoef(a, b)[0, 1] >= ALIKE)

    def crops_beside(self, restored: U8, box: Box) -> list[Pixels]:
        """Crops around a box of the published, the restored and, if given, the raw frame."""
        frames = [self.published, restored, *([] if self.raw is None else [self.raw])]
        return [crop(frame, box) for frame in frames]

    def _detect(self, kind: Kind, *, of_raw: bool) -> list[Box]:
        """Detections of one kind in the raw or the published frame, kept for the next call."""
        frame = self.raw if of_raw else self.published
        if frame is None:
            return []
        if (kind, of_raw) not in self._detected:
            boxes = self.finders.find(kind, frame)
            if kind == "face" and not of_raw and any(b.score >= SURE_SCORES[kind] for b in boxes):
                again = self._detect_mirrored(kind, frame)
                boxes = [box for box in boxes if overlaps(box, again)]
            self._detected[kind, of_raw] = boxes
        return self._detected[kind, of_raw]

    def _detect_mirrored(self, kind: Kind, frame: U8) -> list[Box]:
        """Detections of one kind in a mirrored frame, where they are in the frame itself."""
        mirrored, width = np.ascontiguousarray(frame[:, ::-1]), frame.shape[1]
        boxes = self.finders.find(kind, mirrored)
        return [mirrored_box(box, width) for box in boxes]


@dataclass(eq=False)
class RestoredDetections:
    """What restored pictures of one video show that its published frames do not.

    Args:
        hidden: what the publisher means to hide. What else is seen again counts as recovered only
            if the raw video shows that it was changed.
        least: frames in which something must be seen, or all where fewer were looked at.
        sure: scores from which a detection counts.
    """

    hidden: frozenset[Kind] = frozenset(("face",))
    least: int = MIN_FRAMES
    sure: Mapping[Kind, float] = field(default_factory=lambda: RESTORED_SCORES)
    refused: int = 0  # detections that were not confirmed
    has_raw: bool = False  # whether there are raw frames
    _found: dict[tuple[Kind, str], list[int]] = field(default_factory=dict)  # frames, of all
    _shown: dict[tuple[Kind, str], list[Proof]] = field(default_factory=dict)  # the surest
    _hidden: dict[tuple[Kind, str], set[int]] = field(default_factory=dict)  # frames
    _looked: set[int] = field(default_factory=set)  # frames
    _searched: set[int] = field(default_factory=set)  # frames in which bodies were looked for

    def detect(
        self, comparison: FrameComparison, how: str, restored: U8, kinds: Sequence[Kind]
    ) -> float:
        """Run the detectors on a restored picture; return the sum of the scores that count.

        The picture (H, W, 3) was restored in the way `how`, and has the published frame's size.
        """
        self.has_raw = comparison.raw is not None
        self._looked.add(comparison.number)
        if any(kind in BODIES for kind in kinds):
            self._searched.add(comparison.number)
        faces = comparison.finders.find("face", restored)
        total = 0.0
        for kind in filter(self.looks_for, kinds):
            boxes = (
                faces if kind == "face" else comparison.finders.find(kind, restored, faces=faces)
            )
            sure = [box for box in boxes if box.score >= self.sure[kind]]
            new = [box for box in sure if not comparison.is_shown(kind, box)]
            confirmed = comparison.confirmed(kind, new, restored, sure=self.sure[kind])
            self.refused += len(new) - len(confirmed)
            for box in confirmed:
                total += box.score
                self._add(comparison, kind, how, box, restored)
        return total

    def looks_for(self, kind: Kind) -> bool:
        """Whether a kind is looked for in restored pictures.

        Filters make what looks like text, in mirrored pictures too. So text is looked for only
        where there are raw frames, or where the user says that it is hidden.
        """
        return kind != "text" or self.has_raw or kind in self.hidden

    def _add(
        self, comparison: FrameComparison, kind: Kind, how: str, box: Box, restored: U8
    ) -> None:
        parts = comparison.crops_beside(restored, box)
        beside = "published, restored and raw" if len(parts) == 3 else "published and restored"
        proof = Proof(
            frame=comparison.number,
            score=box.score,
            says=f"{kind}, {box.width:.0f} x {box.height:.0f} pixels, {beside}",
            picture=np.ascontiguousarray(np.hstack(parts), np.uint8),
            parts=len(parts),
        )
        self._found.setdefault((kind, how), []).append(comparison.number)
        self._shown[kind, how] = surest_of_frames([*self._shown.get((kind, how), ()), proof])
        if kind in self.hidden or comparison.is_changed(box):
            self._hidden.setdefault((kind, how), set()).add(comparison.number)

    def _least_of(self, kind: Kind) -> int:
        """Frames in which one kind must be seen: a mask may look like a body in two."""
        least = min(self.least, max(1, len(self._looked)))  # an image has one frame
        many = kind in BODIES and len(self._searched) >= MANY_FRAMES
        return max(least, MIN_BODY_FRAMES) if many and least > 1 else least

    def counted(self) -> dict[Kind, dict[str, set[int]]]:
        """The frames in which something is seen, where they are enough, by kind and by way."""
        counted: dict[Kind, dict[str, set[int]]] = {}
        for (kind, how), numbers in self._found.items():
            if len(frames := set(numbers)) >= self._least_of(kind):
                counted.setdefault(kind, {})[how] = frames
        return {kind: counted[kind] for kind in NAMES if kind in counted}

    def level(self) -> Level:
        """Whether anything was recovered, or left."""
        ways = [(kind, how) for kind, hows in self.counted().items() for how in hows]
        if any(len(self._hidden.get(way, ())) >= self._least_of(way[0]) for way in ways):
            return "recovered"
        return "left" if ways else "nothing"

    def rule(self) -> str:
        """A sentence on which detections in restored pictures count."""
        scores = ", ".join(
            f"{NAMES[kind]} {score:g}" for kind, score in self.sure.items() if self.looks_for(kind)
        )
        where = "the mirrored picture shows again"
        if self.has_raw:
            where = f"the raw frame has there (of people {where}, too)"
        least, often = self._least_of("face"), self._least_of("person")
        frames = f" in {least} frames or more" if least > 1 else ""
        if often > least:
            frames += f" (people and poses {often})"
        return (
            f"a detection counts{frames} from a score on ({scores}) where the published frame "
            f"shows nothing like it and {where}"
        )

    def frames(self) -> tuple[int, ...]:
        """Numbers of the frames in which it is seen."""
        by_kind = (frames for hows in self.counted().values() for frames in hows.values())
        return tuple(sorted(set().union(*by_kind)))

    def proofs(self) -> tuple[Proof, ...]:
        """The surest of each kind in turn, each of another frame."""
        kinds = [
            surest_of_frames(chain.from_iterable(self._shown[kind, how] for how in hows))
            for kind, hows in self.counted().items()
        ]
        turns = chain.from_iterable(zip_longest(*kinds))
        return tuple([proof for proof in turns if proof is not None][:MOST_PROOFS])

    def meaning(self) -> str:
        """A sentence on what the detections mean, and on how many were not counted."""
        counted = self.counted()
        whys = [WHY_IT_IDENTIFIES[kind] for kind in counted if kind in WHY_IT_IDENTIFIES]
        says = f": {'; '.join(whys)}" if whys else ""
        if self.level() == "left":
            why = "whether it was to be hidden is not known: --hidden or --raw says so"
            says += f"; {'it is hardly changed there' if self.has_raw else why}"
        if self.refused:
            where = "as they are not found again in the mirrored picture"
            if self.has_raw:
                people = ", or, of people, in the mirrored picture" if self._searched else ""
                where = f"as nothing like them is seen in the raw frames{people}"
            says += f"; detections that were not counted, {where}: {self.refused}"
        few = sum(
            len(p) for (kind, how), p in self._found.items() if how not in counted.get(kind, ())
        )
        return says + (f"; detections in too few frames to be counted: {few}" if few else "")


def _covers(boxes: Sequence[Box], box: Box) -> bool:
    """Whether a box overlaps another one, or one of them lies mostly inside the other."""
    if not boxes:
        return False
    if overlaps(box, boxes):
        return True
    own_corners, their_corners = corners([box]), corners(boxes)
    sizes = area(own_corners)[:, None], area(their_corners)[None]
    smaller, larger = np.minimum(*sizes), np.maximum(*sizes)
    inside = intersection(own_corners, their_corners) >= INSIDE * np.maximum(smaller, 1.0)
    return bool((inside & (smaller >= PART * larger)).any())
