"""Detectors of faces, people, poses and text, at low scores, as all attacks use them."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from masquerade.anonymizer import Pixels
from masquerade.arrays import U8
from masquerade.regions.boxes import Box, corners, iou, to_boxes
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.pose_detection import PoseDetector
from masquerade.regions.pose_landmarks import Pose, PoseLandmarks
from masquerade.regions.region import ArrayFrame
from masquerade.regions.rotated_faces import SCORE, SEARCH_SIDE
from masquerade.regions.ssd_people import SsdPeople
from masquerade.regions.text import FACE_SCORE, TextDetector, is_of_face

Kind = Literal["face", "person", "pose", "text"]

NAMES: dict[Kind, str] = {"face": "faces", "person": "people", "pose": "poses", "text": "text"}
WHY_IT_IDENTIFIES: dict[Kind, str] = {
    "person": "clothes, gait and place tell who",
    "pose": "how a body moves tells who",
    "text": "there may be names and plates in it",
}
"""What it means that somebody or something is seen."""
POSSIBLE_SCORES: dict[Kind, float] = {"face": 0.2, "person": 0.23, "pose": 0.3, "text": 0.35}
"""Scores from which a detection is taken for possible. Of people it is that from which `anonymize`
hides one; below, the network sees some in black."""
SURE_SCORES: dict[Kind, float] = {"face": 0.5, "person": 0.23, "pose": 0.5, "text": 0.5}
"""Scores from which a detection in a frame as it was filmed or published counts."""
BODY = 0.2  # score of the place of a body, whose landmarks then have a score of their own
SQUARE = 1.5  # one side over the other, below which detected text is no line
SAME_IOU = 0.3  # overlap from which two boxes are of one thing
UNCHANGED_LEVELS = 8.0  # mean difference in grey levels up to which a part of a frame is as it was
MARGIN = 0.4  # of a box, shown around it
SHOWN = 280  # pixels of the longer side of what is shown of it, twice what the page has
LARGEST = 1280  # pixels of the longer side of what is restored


class Finders:
    """The detectors; an instance serves one thread at a time.

    Args:
        kinds: what they find, faces first; others are not loaded.

    Raises:
        MissingError: a network is not installed.
    """

    def __init__(self, *, kinds: tuple[Kind, ...] = tuple(NAMES)) -> None:
        self.kinds = kinds
        self.face = CenterFace(threshold=POSSIBLE_SCORES["face"])
        self.small_face = CenterFace(threshold=SCORE, scale=SEARCH_SIDE)  # searches rotated copies
        if "person" in kinds:
            self._person = SsdPeople(threshold=POSSIBLE_SCORES["person"])
        if "pose" in kinds:
            self._pose, self._landmarks = PoseDetector(threshold=BODY), PoseLandmarks()
        if "text" in kinds:
            self._line = TextDetector(threshold=POSSIBLE_SCORES["text"])

    def find(
        self,
        kind: Kind,
        frame: U8,
        *,
        faces: Sequence[Box] | None = None,
        any_shape: bool = False,
    ) -> list[Box]:
        """What of one kind is in a frame (H, W, 3), from the lowest score that is looked at.

        `faces` are known to be in it, and what overlaps them is no text; None: text is what
        `anonymize` takes for text, also where it lies on a face. With `any_shape` text is also what
        is as high as it is long, such as a few letters or a line that lies diagonally: where drawn
        heads are not taken for it, as in a frame as it was filmed.
        """
        if kind == "person":
            return to_boxes(*self._person(frame, in_tiles=True), "person")
        if kind == "pose":
            return self._find_poses(frame)
        if kind == "face":
            return list(self.face(ArrayFrame(frame)))
        boxes = to_boxes(*self._line(frame), "text")
        lines = [box for box in boxes if any_shape or _is_line(box)]
        if faces is not None:
            return [box for box in lines if not overlaps(box, faces)]
        sure = [face for face in self.face(ArrayFrame(frame)) if face.score >= FACE_SCORE]
        return [box for box in lines if not any(is_of_face(box, face) for face in sure)]

    def _find_poses(self, frame: U8) -> list[Box]:
        """The bodies in a frame whose landmarks are found."""
        height, width = frame.shape[:2]
        poses = [self._landmarks(frame, square) for square, _ in self._pose(frame)]
        sure = [_around(pose) for pose in poses if pose.score >= POSSIBLE_SCORES["pose"]]
        boxes = [box.clip(width, height) for box in sure]
        return [box for box in boxes if box is not None]


def overlaps(box: Box, boxes: Sequence[Box]) -> bool:
    """Whether a box is of the same thing as one of the others."""
    return bool(boxes) and bool((iou(corners([box]), corners(boxes)) >= SAME_IOU).any())


def crop(frame: Pixels, box: Box) -> Pixels:
    """The part of a frame around a box, as large as a report shows it at most."""
    height, width = frame.shape[:2]
    x, y = MARGIN * box.width, MARGIN * box.height
    top, left = max(0, int(box.y0 - y)), max(0, int(box.x0 - x))
    top, left = min(top, height - 1), min(left, width - 1)  # at least a pixel of the frame
    bottom, right = max(top, int(box.y1 + y)) + 1, max(left, int(box.x1 + x)) + 1
    part = np.asarray(frame[top:bottom, left:right], np.uint8)
    ratio = min(1.0, SHOWN / max(part.shape[:2]))
    size = max(1, round(part.shape[1] * ratio)), max(1, round(part.shape[0] * ratio))
    return np.ascontiguousarray(at_size(part, size))


def shrink(frames: Sequence[U8]) -> tuple[Sequence[U8], float]:
    """Copies of at most LARGEST pixels a side, since many are held at once, and their scale."""
    height, width = frames[0].shape[:2]
    ratio = min(1.0, LARGEST / max(height, width))
    if ratio == 1.0:
        return frames, ratio
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return [at_size(frame, size) for frame in frames], ratio


def at_size(frame: U8, size: tuple[int, int]) -> U8:
    """A frame (H, W, 3) in (w, h) pixels."""
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _around(pose: Pose) -> Box:
    """The box of a body's landmarks."""
    (x0, y0), (x1, y1) = pose.landmarks[:, :2].min(axis=0), pose.landmarks[:, :2].max(axis=0)
    return Box(x0, y0, x1, y1, score=pose.score, label="person")


def _is_line(box: Box) -> bool:
    """Whether a box is long enough for a line of text.

    The network takes drawn heads without a face for characters, in boxes that are nearly square.
    """
    return not 1 / SQUARE < box.width / max(box.height, 1.0) < SQUARE
