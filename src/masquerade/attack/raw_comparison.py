"""Compare a published video with the raw one: who is shown there and was left as they were."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import cv2
import numpy as np

from masquerade.arrays import F32, F64, U8
from masquerade.attack.finders import (
    POSSIBLE_SCORES,
    SAME_IOU,
    UNCHANGED_LEVELS,
    Finders,
    at_size,
    crop,
)
from masquerade.attack.finding import Finding, Level, PartlyHiddenPerson, Proof, spans, surest
from masquerade.attack.raw_text import RawText, scale_of
from masquerade.attack.whole_frames import WholeFrames
from masquerade.regions.boxes import Box, box_pixels, corners, iou, scaled_box, to_boxes
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.region import ArrayFrame
from masquerade.regions.ssd_people import SsdPeople

SEEN_SCORE = 0.5  # score from which a face or a person is in a raw frame
# frames from one that is looked at to the next, over which somebody is still followed
MAX_FRAME_GAP = 3
LEAST_ALIKE = 0.15  # share of a picture that is as it was, below which the raw one may be another
OTHER_VIDEO_NOTE = (
    "; make sure that it is the raw video of this file, unless whole frames were changed"
)
BLUR_SIZE = 3  # pixels, by which both are smoothed: an encoder's own noise is no change
# share of a picture that is as it was but for a change of all its colours, at least
MIN_EXPLAINED_SHARE = 0.5
# by how much that share is larger, at least, than without that change; less where the rest is small
MIN_EXPLAINED_GAIN = 0.1
# levels by which a change of colours moves at least that share of pixels: an encoder's noise, which
# may have an average, moves few of them from one side of `UNCHANGED_LEVELS` to the other
LEAST_MOVED = UNCHANGED_LEVELS / 2
SIDE = 160  # pixels of the longer side, about, from which a change of colours is estimated
ROUNDS = 5  # of that estimate, each from the pixels that the one before explains best
CONTRASTS = 0.5, 2.0  # least and most by which grey contrast is multiplied, or a negative's
GREY = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue in it
DARKEST, BRIGHTEST = 3, 252  # levels beyond which a published colour may be cut off
# share of pixels with no such level, and their number, below which no change is estimated
LEAST_WITHIN, LEAST_PIXELS = 0.1, 16


@dataclass(eq=False)
class _Track:
    """Somebody over the frames that were looked at: where they were last, and when unchanged."""

    box: Box
    frames: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)


@dataclass(eq=False)
class _Seen:
    """What a detector found in raw frames, and whether it was changed in the published ones."""

    compared: int = 0
    too_small: int = 0  # under a pixel of the published frame, or outside of it: not compared
    changed_pixels: int = 0
    pixels: int = 0
    frames: dict[int, int] = field(default_factory=dict)  # how many were compared, by frame
    unchanged: dict[int, int] = field(default_factory=dict)  # how many of these, by frame
    proofs: list[Proof] = field(default_factory=list)  # the surest of the unchanged
    tracks: list[_Track] = field(default_factory=list)
    _now: list[_Track] = field(default_factory=list)  # of the frame before

    def add(self, number: int, boxes: Sequence[Box], published: U8, differs: Sequence[F32]) -> None:
        """Add what was found in one raw frame, and whether the published frame changed it.

        `differs` says how far the published frame is from each raw frame of its time, (H, W).
        """
        self.frames[number] = 0
        height, width = published.shape[:2]
        before, self._now = self._now, []
        for box in boxes:
            inside = box.clip(width, height)
            if inside is None or min(inside.width, inside.height) < 1:
                self.too_small += 1
                continue
            self.compared += 1
            self.frames[number] += 1
            parts = [difference[box_pixels(box)] for difference in differs]
            nearest = min(parts, key=lambda part: float(part.mean()))
            self.pixels += nearest.size
            self.changed_pixels += int((nearest > UNCHANGED_LEVELS).sum())
            track = _continued(before, box) or _Track(box)
            before = [earlier for earlier in before if earlier is not track]
            self.tracks += [] if track.frames else [track]
            track.box = box
            track.frames.append(number)
            self._now.append(track)
            if nearest.mean() <= UNCHANGED_LEVELS:
                track.unchanged.append(number)
                says = f"unchanged {box.label}, {box.width:.0f} x {box.height:.0f} pixels"
                picture = crop(published, box)
                proof = Proof(frame=number, score=box.score, says=says, picture=picture)
                self.proofs = surest([*self.proofs, proof])
                self.unchanged[number] = self.unchanged.get(number, 0) + 1

    def finding(self, attack: str, names: str, level: Level, extra: float) -> Finding:
        """Return the finding; `names` were compared, and `extra` seconds are in raw video alone."""
        missed = tuple(sorted(self.unchanged))
        shown = [number for number, count in self.frames.items() if count]
        says = f"Of {self.compared} {names} in {len(shown)} raw frames "
        says += f"{self.compared - sum(self.unchanged.values())} were changed"
        small = "under a pixel of the published frame"
        if self.too_small and not self.compared:
            says = f"The {self.too_small} {names} in raw frames are {small}, and were not compared"
        elif not self.compared:
            says = f"No {names} are seen in {len(self.frames)} raw frames, so none were compared"
        if self.pixels:
            percent = 100 * self.changed_pixels // self.pixels  # down: 100 % would be all
            says += f", and {percent:.0f}% of their pixels"
        if self.too_small and self.compared:
            says += f"; {self.too_small} more are {small}, and were not compared"
        if missed:
            gap = _longest_run([number in missed for number in shown])
            says += f"; unchanged {names} are in {len(missed)} frames ({spans(missed)}), at most "
            says += f"{gap} of those looked at in a row"
        gaps = [
            followed
            for followed in self.tracks
            if 0 < len(followed.unchanged) < len(followed.frames)
        ]
        if gaps:
            says += f"; {len(gaps)} of {len(self.tracks)} {names} followed over frames have gaps: "
            says += "they are changed in some and unchanged in others"
        looked = sorted(self.frames)
        apart = max((b - a for a, b in pairwise(looked)), default=1)
        if self.compared and apart > MAX_FRAME_GAP:
            says += f"; frames that were looked at are up to {apart} apart, over which nobody is "
            says += "followed surely: --frames takes more of them"
        if extra:
            says += f"; the raw video goes on for {extra:.1f} s, which were not compared"
        return Finding(
            attack=attack,
            level=level if missed else "nothing",
            says=f"{says}.",
            work=f"{len(self.frames)} frames beside the raw ones of the same time; unchanged is "
            f"what differs by {UNCHANGED_LEVELS:g} of 255 on average at most",
            frames=missed,
            proofs=tuple(self.proofs),
            gaps=tuple(
                PartlyHiddenPerson(
                    first=track.frames[0],
                    last=track.frames[-1],
                    looked=len(track.frames),
                    unchanged=tuple(track.unchanged),
                )
                for track in gaps
            ),
        )


@dataclass(eq=False)
class RawComparison:
    """Compares published frames with raw ones: tells which faces and people were changed.

    Args:
        extra_seconds: seconds of the raw video after the end of the published one, 0 or more.
        people: what it means that somebody is unchanged; None: look for no people.
        full_frame: whether all of every frame was to be hidden, so that any detail counts.
        text: finders, where lines of text were to be hidden; None: text is not compared.

    Raises:
        MissingError: a network is not installed.
    """

    extra_seconds: float = 0.0
    people: Level | None = "left"
    full_frame: bool = False
    text: Finders | None = None
    _frames: WholeFrames = field(default_factory=WholeFrames)
    _faces: _Seen = field(default_factory=_Seen)
    _people: _Seen = field(default_factory=_Seen)
    _alike: list[float] = field(default_factory=list)  # of each frame the share that is as it was
    _recoloured: int = 0  # frames whose levels or colours differ from the raw ones' throughout
    _turned: int = 0  # frames that are mirrored or turned

    def __post_init__(self) -> None:
        self._find_faces = CenterFace(threshold=SEEN_SCORE)
        self._text = None if self.text is None else RawText(self.text)
        if self.people is not None:
            self._find_people = SsdPeople(threshold=POSSIBLE_SCORES["person"])

    def compare(
        self, number: int, published: U8, raw: Sequence[U8], *, turned: bool = False
    ) -> None:
        """Compare one frame (H, W, 3) with the raw ones of its time, the nearest first.

        Frame rates may differ, so that a published frame may be any of several raw ones: what
        is as it is in one of them is unchanged. `turned` says that these were mirrored or turned
        as the published frame is.
        """
        height, width = published.shape[:2]
        sized = [at_size(frame, (width, height)) for frame in raw]
        recoloured, differs = self._without_colour_change(published, sized)
        if self.full_frame:
            self._frames.compare(number, published, recoloured)
        if self._text is not None:
            self._text.compare(number, published, sized, raw[0])
        # looked for at the raw frame's own size: who is small in the published one is still shown
        scale = scale_of(published, raw[0])
        faces = [scaled_box(box, scale) for box in self._find_faces(ArrayFrame(raw[0]))]
        self._faces.add(number, faces, published, differs)
        if self.people is not None:
            boxes = to_boxes(*self._find_people(raw[0], in_tiles=True), "person")
            # in a close-up the network is sure of nobody
            sure = [box for box in boxes if box.score >= SEEN_SCORE]
            people = [scaled_box(box, scale) for box in sure or boxes]
            self._people.add(number, people, published, differs)
        self._alike.append(max(_share_alike(difference) for difference in differs))
        self._turned += turned

    def _without_colour_change(
        self, published: U8, raw: Sequence[U8]
    ) -> tuple[Sequence[U8], list[F32]]:
        """Raw frames in the published one's colours, and how far each is from it, in raw levels.

        Behind them come those as they are, alone where one change of all colours does not explain
        most of the frame: where only the rest of it was recoloured, people are in theirs.
        Another brightness, white balance, grey or a negative changes everybody by more than
        `UNCHANGED_LEVELS`, and hides nobody.
        """
        differs = [_difference(published, frame) for frame in raw]
        alike = max(_share_alike(difference) for difference in differs)
        if alike == 1:  # there is nothing to explain
            return raw, differs
        gain = min(MIN_EXPLAINED_GAIN, (1 - alike) / 2)
        least = max(MIN_EXPLAINED_SHARE, alike + gain)
        recoloured, explained, moved = [], [], list[float]()
        for frame in raw:
            colours, contrast = _colour_map(frame, published)
            recoloured.append(np.asarray(cv2.transform(frame, colours), np.uint8))
            moved.append(1 - _share_alike(_difference(frame, recoloured[-1]), LEAST_MOVED))
            # less contrast would else make everything that is hidden more alike
            left = _difference(published, recoloured[-1]) / contrast
            explained.append(np.asarray(left, np.float32))
        if max(_share_alike(difference) for difference in explained) < least or max(moved) < gain:
            return raw, differs
        self._recoloured += 1
        return [*recoloured, *raw], [*explained, *differs]

    @property
    def looked(self) -> int:
        """How many frames were compared."""
        return len(self._alike)

    @property
    def nothing_unchanged(self) -> bool:
        """Whether faces or people were compared, and neither they nor the picture are as it was."""
        seen = [self._faces] if self.people is None else [self._faces, self._people]
        compared = any(group.pixels for group in seen) and not any(
            group.unchanged for group in seen
        )
        return compared and float(np.mean(self._alike)) < LEAST_ALIKE

    def findings(self) -> list[Finding]:
        """What was found in all frames that were compared."""
        findings = [self._faces.finding("raw", "faces", "recovered", self.extra_seconds)]
        if self._alike:
            alike = float(np.mean(self._alike))
            note = OTHER_VIDEO_NOTE if alike < LEAST_ALIKE else ""
            says = f"{alike:.0%} of the picture is as it was{note}."
            if self._recoloured:
                says += f" All levels or colours differ from the raw ones' in {self._recoloured} "
                says += "frames, as by another brightness or white balance, in grey or as a "
                says += "negative, and were compared without that change."
            if self._turned:
                says += f" {self._turned} frames are mirrored or turned, and were compared with "
                says += "raw ones that were, too."
            findings = [replace(findings[0], says=f"{findings[0].says} {says}")]
        if self.full_frame:
            findings.append(self._frames.finding())
        if self._text is not None:
            findings.append(self._text.finding())
        if self.people is None:
            return findings
        findings.append(
            self._people.finding("raw people", "people", self.people, self.extra_seconds)
        )
        return findings


def _continued(tracks: Sequence[_Track], box: Box) -> _Track | None:
    """Which of the last frame's tracks a box goes on with; None: with none."""
    if not tracks:
        return None
    overlaps = iou(corners([box]), corners([track.box for track in tracks]))[0]
    best = int(overlaps.argmax())
    return tracks[best] if overlaps[best] >= SAME_IOU else None


def _difference(a: U8, b: U8) -> F32:
    """(H, W), the mean difference over the colours."""
    kernel = (BLUR_SIZE, BLUR_SIZE)
    both = (cv2.blur(image, kernel).astype(np.float32) for image in (a, b))
    first, second = both
    return np.asarray(np.abs(first - second).mean(axis=2), np.float32)


def _share_alike(differs: F32, most: float = UNCHANGED_LEVELS) -> float:
    return float((differs <= most).mean())


def _colour_map(raw: U8, published: U8) -> tuple[F64, float]:
    """Fit the linear map (3, 4) from raw to published colours, and its factor on grey contrast.

    It is of the half of the pixels that it explains best, and of all that it explains: the others
    may be hidden. It changes nothing where contrast is changed too much, as by what hides a frame,
    or where most colours are cut off at black or white.
    """
    unchanged = np.eye(3, 4), 1.0
    step = max(1, max(raw.shape) // SIDE)
    x, y = (image[::step, ::step].reshape(-1, 3) for image in (raw, published))
    within = ((y >= DARKEST) & (y <= BRIGHTEST)).all(axis=1)
    count = np.count_nonzero(within)
    if count < max(LEAST_PIXELS, LEAST_WITHIN * within.size):
        return unchanged
    a = np.column_stack([x[within], np.ones(count)])
    b = y[within].astype(np.float64)
    best = np.ones(len(a), bool)
    for _ in range(ROUNDS):
        colours = np.linalg.lstsq(a[best], b[best], rcond=None)[0]
        far = np.abs(a @ colours - b).mean(axis=1)
        best = far <= max(float(np.median(far)), UNCHANGED_LEVELS)
    before, after = a[best, :3] @ GREY, (a[best] @ colours) @ GREY
    gain = np.cov(before, after)[0, 1] / max(float(before.var(ddof=1)), 1e-6)
    contrast = abs(float(gain))
    if not CONTRASTS[0] <= contrast <= CONTRASTS[1]:
        return unchanged
    return np.asarray(colours.T, np.float64), contrast


def _longest_run(flags: Sequence[bool]) -> int:
    longest = now = 0
    for flag in flags:
        now = now + 1 if flag else 0
        longest = max(longest, now)
    return longest
