"""Detects faces that lie or hang in the picture, in turned copies of it.

CenterFace finds few faces that are turned by a quarter or a half, as in a clip that was filmed on
its side. To detect in four turns of every frame would cost four times as much, for nothing in most
videos. So small copies are searched in all turns now and then, and the frame itself is looked at
only in the turns in which they showed a face that the upright frame does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Box, corners, nms, turn_back
from masquerade.regions.face_detectors import NMS_IOU
from masquerade.regions.region import Frame
from masquerade.regions.scene_cuts import THUMBNAIL, is_cut, thumbnail
from masquerade.regions.tracking import Detections

Detect = Callable[[Frame], list[Box]]
TURNS = (90, 180, 270)  # degrees clockwise
SEARCH_SIDE = 960  # longest side in pixels of the copies that are searched
SCORE = 0.2  # lowest of a face in them
EVIDENCE = 0.25  # sum of squared scores from which a turn shows faces: one of .5, two of .36; of
# 690 upright frames 1.5 % (UCF11) and 4.4 % (UT-Interaction) have as much in a turn
SURE = 0.5  # score of a face that is known
WAIT, WAIT_UNKNOWN = 10, 5  # keyframes between searches, while a face is known and while none is
MAX_FRAMES = 30  # between two searches, about a second, however far apart keyframes are
STAYS = 5  # searches in a row without a face after which a turn is not looked at any more


@dataclass(frozen=True, slots=True)
class TurnedFrame:
    """A frame turned clockwise by 90, 180 or 270 degrees."""

    frame: Frame
    turn: int

    @property
    def width(self) -> int:
        """Pixels."""
        return self.frame.width if self.turn == 180 else self.frame.height

    @property
    def height(self) -> int:
        """Pixels."""
        return self.frame.height if self.turn == 180 else self.frame.width

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The pixels (h, w, 3) in RGB, of a scaled copy of size (w, h) or at full size."""
        size = size or (self.width, self.height)
        pixels = self.frame.rgb(size if self.turn == 180 else size[::-1])
        return np.ascontiguousarray(np.rot90(pixels, -self.turn // 90))

    def turned_back(self, box: Box) -> Box:
        """A box in this frame as a box in the one that was turned."""
        size = self.frame.width, self.frame.height
        left, top, right, bottom = turn_back(corners([box]), self.turn, size)[0].tolist()
        return replace(box, x0=left, y0=top, x1=right, y1=bottom)


class TurnedFaces:
    """Detects upright faces in the keyframes of one video, and turned ones where there are any.

    Args:
        detector: of faces.
        search: of faces in small copies.
        every: frames from keyframe to keyframe.
    """

    def __init__(self, detector: Detect, search: Detect, *, every: int = 1) -> None:
        self._detector, self._search = detector, search
        self._longest = max(1, MAX_FRAMES // every)
        self._turns: dict[int, int] = {}  # that are looked at: searches until they are not
        self._waited = WAIT  # keyframes since the last search
        self._before: NDArray[np.uint8] | None = None  # thumbnail of the keyframe before

    def __call__(self, frame: Frame) -> Detections:
        """The boxes of the faces in the next keyframe, without a mask."""
        upright = self._detector(frame)
        boxes = _joined([upright, *(look_turned(self._detector, frame, t) for t in self._turns)])
        now = thumbnail(frame.rgb(THUMBNAIL))
        self._waited = WAIT if is_cut(self._before, now) else self._waited + 1
        self._before = now
        known = any(box.score >= SURE for box in boxes)
        if self._waited < min(self._longest, WAIT if known else WAIT_UNKNOWN):
            return boxes, None
        self._waited = 0
        found = self._find(frame, upright)
        looks = [look_turned(self._detector, frame, turn) for turn in found - self._turns.keys()]
        left = {turn: left - 1 for turn, left in self._turns.items() if left > 1}
        self._turns = left | dict.fromkeys(sorted(found), STAYS)
        return _joined([boxes, *looks]), None

    def _find(self, frame: Frame, upright: list[Box]) -> set[int]:
        """The turns that show faces better than the upright frame and other turns do."""
        looks = {turn: look_turned(self._search, frame, turn) for turn in TURNS}
        best = _joined([upright, *looks.values()])
        evidence = {t: sum(b.score**2 for b in boxes if b in best) for t, boxes in looks.items()}
        return {turn for turn in TURNS if evidence[turn] >= EVIDENCE}


def look_turned(detector: Detect, frame: Frame, turn: int) -> list[Box]:
    """The boxes that a detector finds in a frame turned by one of TURNS, as boxes of the frame."""
    turned = TurnedFrame(frame, turn)
    return [turned.turned_back(box) for box in detector(turned)]


def _joined(looks: Sequence[Sequence[Box]]) -> list[Box]:
    """The boxes of several looks at a frame, without those that lie on a better one."""
    boxes = [box for look in looks for box in look]
    kept = nms(corners(boxes), np.array([box.score for box in boxes]), NMS_IOU)
    return [boxes[k] for k in kept]
