"""People by OpenCV's HOG detector, GrabCut and motion, and what moves alone.

Both need no weights, and a static camera: where it moves, or where there are too few frames to
estimate the background, the whole frame is hidden.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import tee

import numpy as np

from masquerade.regions.background_subtraction import BackgroundSubtraction, Foreground
from masquerade.regions.boxes import Box, area, corners, intersection
from masquerade.regions.grabcut import GrabCutInput, add_silhouettes
from masquerade.regions.person_detectors import HogPeople
from masquerade.regions.region import Frame, Region
from masquerade.regions.scene_cuts import MarkedFrame
from masquerade.regions.tracking import TrackingRules, select_keyframes, track_regions

MOTION_LOOKBACK = 25  # least frames that a track of motion is extrapolated before its first
# detection


class MovingPeople:
    """What moves in front of a static camera; a frame without a known background is hidden whole.

    Args:
        tracking: how what moves is tracked; None: not.
    """

    model_sha256: str | None = None

    def __init__(self, tracking: TrackingRules | None) -> None:
        self._subtraction = BackgroundSubtraction()
        self.look_ahead = self._subtraction.look_ahead
        # Whoever starts to move inside the frame was there before: extrapolate farther back.
        self._tracking = tracking and replace(
            tracking, lookback=max(tracking.lookback, MOTION_LOOKBACK), every=1
        )
        if self._tracking:
            self.look_ahead += self._tracking.look_ahead

    def __call__(self, frames: Iterable[MarkedFrame]) -> Iterator[Region]:
        """One region per frame; frames come with whether a cut lies before them."""
        return self.around((frame, Region(cut=cut)) for frame, cut in frames)

    def around(self, frames: Iterable[tuple[Frame, Region]]) -> Iterator[Region]:
        """The same for frames in which people are known, who do not become background."""
        ahead, behind = tee(frames)
        foregrounds = (
            (foreground, region.cut, True)
            for foreground, (_, region) in zip(self._subtraction(ahead), behind, strict=True)
        )
        for foreground, region in track_regions(
            foregrounds, lambda motion: (motion.boxes, motion.mask), self._tracking
        ):
            yield _whole_frame(foreground, region.cut) if foreground.background_unknown else region


class UprightPeople:
    """Upright people by HOG, segmented by GrabCut, and what moves.

    Args:
        detector: for single frames.
        every: the detector runs on every so many frames.
        tracking: how its boxes are tracked; None: not.
    """

    model_sha256: str | None = None

    def __init__(self, detector: HogPeople, *, every: int, tracking: TrackingRules | None) -> None:
        self._detector, self._every, self._tracking = detector, every, tracking
        self._moving = MovingPeople(tracking)
        own = 1 + (tracking.look_ahead if tracking else 0)
        self.look_ahead = own + every + self._moving.look_ahead  # silhouettes wait for a keyframe

    def __call__(self, frames: Iterable[MarkedFrame]) -> Iterator[Region]:
        """One region per frame; frames come with whether a cut lies before them."""
        return add_silhouettes(self._grabcut_inputs(frames))

    def _grabcut_inputs(self, frames: Iterable[MarkedFrame]) -> Iterator[GrabCutInput]:
        """Upright people and moving foreground, from which silhouettes are segmented."""
        keyframes = select_keyframes(frames, self._every)
        detect = self._detector
        upright = track_regions(keyframes, lambda frame: (detect(frame), None), self._tracking)
        ahead, behind = tee(upright)
        for (frame, region), motion in zip(behind, self._moving.around(ahead), strict=True):
            joined = _join(_without_upright(motion, region.boxes), region)
            yield GrabCutInput(frame, region.boxes, motion.mask, joined, region.detected)


def _whole_frame(foreground: Foreground, cut: bool) -> Region:
    # The box is for those who keep only boxes, such as a file of them.
    width, height = float(foreground.width), float(foreground.height)
    box = Box(0.0, 0.0, width, height, 1.0, label="frame")
    return Region(boxes=(box,), full_frame=True, cut=cut, detected=False)


def _without_upright(motion: Region, people: tuple[Box, ...]) -> Region:
    """Drop moving boxes that lie mostly in an upright person, whose silhouette is segmented."""
    if motion.full_frame:  # its box is the frame's, whatever a person covers of it
        return motion
    moving = corners(motion.boxes)
    inside = intersection(moving, corners(people)) > area(moving)[:, None] / 2
    apart = np.flatnonzero(~inside.any(axis=1))
    return replace(motion, boxes=tuple(motion.boxes[i] for i in apart))


def _join(a: Region, b: Region) -> Region:
    """The boxes of two regions in one; track numbers stay distinct, a's even and b's odd."""
    boxes = [replace(x, track=None if x.track is None else 2 * x.track) for x in a.boxes]
    boxes += [replace(x, track=None if x.track is None else 2 * x.track + 1) for x in b.boxes]
    return replace(a, boxes=tuple(boxes), detected=a.detected or b.detected)
