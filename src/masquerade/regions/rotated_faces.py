"""Detects faces that lie or hang in the picture, in rotated copies of it.

CenterFace finds few faces that are rotated by 90 or 180 degrees, as in a clip that was filmed on
its side. To detect in four rotations of every frame would cost four times as much, for nothing in
most videos. So small copies are searched at all angles now and then, and the detector runs on the
frame itself only at the angles at which they showed a face that the upright frame does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Box, corners, nms, unrotate_boxes
from masquerade.regions.face_detectors import NMS_IOU
from masquerade.regions.region import Frame
from masquerade.regions.scene_cuts import THUMBNAIL, is_cut, thumbnail
from masquerade.regions.tracking import Detections

Detect = Callable[[Frame], list[Box]]
ANGLES = (90, 180, 270)  # degrees clockwise
SEARCH_SIDE = 960  # longest side in pixels of the copies that are searched
SCORE = 0.2  # lowest of a face in them
EVIDENCE = 0.25  # sum of squared scores from which an angle shows faces: one of .5, two of .36; of
# 690 upright frames 1.5 % (UCF11) and 4.4 % (UT-Interaction) have as much at an angle
SURE = 0.5  # score of a face that is known
WAIT, WAIT_UNKNOWN = 10, 5  # keyframes between searches, while a face is known and while none is
MAX_FRAMES = 30  # between two searches, about a second, however far apart keyframes are
STAYS = 5  # searches in a row without a face after which an angle is given up


@dataclass(frozen=True, slots=True)
class RotatedFrame:
    """A frame rotated clockwise by 90, 180 or 270 degrees."""

    frame: Frame
    angle: int

    @property
    def width(self) -> int:
        """Pixels."""
        return self.frame.width if self.angle == 180 else self.frame.height

    @property
    def height(self) -> int:
        """Pixels."""
        return self.frame.height if self.angle == 180 else self.frame.width

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Return the RGB pixels (h, w, 3), scaled to `size` (w, h) if it is given."""
        size = size or (self.width, self.height)
        pixels = self.frame.rgb(size if self.angle == 180 else size[::-1])
        return np.ascontiguousarray(np.rot90(pixels, -self.angle // 90))

    def in_frame(self, box: Box) -> Box:
        """A box in this frame as a box in the one that was rotated."""
        size = self.frame.width, self.frame.height
        left, top, right, bottom = unrotate_boxes(corners([box]), self.angle, size)[0].tolist()
        return replace(box, x0=left, y0=top, x1=right, y1=bottom)


class RotatedFaces:
    """Detects upright faces in the keyframes of one video, and rotated ones where there are any.

    Args:
        detector: of faces.
        search: of faces in small copies.
        every: frames from keyframe to keyframe.
    """

    def __init__(self, detector: Detect, search: Detect, *, every: int = 1) -> None:
        self._detector, self._search = detector, search
        self._longest = max(1, MAX_FRAMES // every)
        self._angles: dict[int, int] = {}  # at which it detects: searches until it does not
        self._waited = WAIT  # keyframes since the last search
        self._before: NDArray[np.uint8] | None = None  # thumbnail of the keyframe before

    def __call__(self, frame: Frame) -> Detections:
        """The boxes of the faces in the next keyframe, without a mask."""
        upright = self._detector(frame)
        rotated = [detect_rotated(self._detector, frame, angle) for angle in self._angles]
        boxes = _joined([upright, *rotated])
        now = thumbnail(frame.rgb(THUMBNAIL))
        self._waited = WAIT if is_cut(self._before, now) else self._waited + 1
        self._before = now
        known = any(box.score >= SURE for box in boxes)
        if self._waited < min(self._longest, WAIT if known else WAIT_UNKNOWN):
            return boxes, None
        self._waited = 0
        angles = self._find(frame, upright)
        new = angles - self._angles.keys()
        more = [detect_rotated(self._detector, frame, angle) for angle in new]
        left = {angle: left - 1 for angle, left in self._angles.items() if left > 1}
        self._angles = left | dict.fromkeys(sorted(angles), STAYS)
        return _joined([boxes, *more]), None

    def _find(self, frame: Frame, upright: list[Box]) -> set[int]:
        """The angles that show faces better than the upright frame and other angles do."""
        by_angle = {angle: detect_rotated(self._search, frame, angle) for angle in ANGLES}
        best = _joined([upright, *by_angle.values()])
        evidence = {a: sum(b.score**2 for b in boxes if b in best) for a, boxes in by_angle.items()}
        return {angle for angle in ANGLES if evidence[angle] >= EVIDENCE}


def detect_rotated(detector: Detect, frame: Frame, angle: int) -> list[Box]:
    """Run a detector on a frame rotated by one of ANGLES: returns boxes of the frame itself."""
    rotated = RotatedFrame(frame, angle)
    return [rotated.in_frame(box) for box in detector(rotated)]


def _joined(lists: Sequence[Sequence[Box]]) -> list[Box]:
    """The boxes of several runs on a frame, without those that lie on a better one."""
    boxes = [box for run in lists for box in run]
    keep = nms(corners(boxes), np.array([box.score for box in boxes]), NMS_IOU)
    return [boxes[k] for k in keep]
