"""Look again for faces, people, poses and text in published frames, and for faces in what undoing
them gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Pixels
from masquerade.attack.finding import MOST_PROOFS, Finding, Proof, spans
from masquerade.attack.undo import UNDO
from masquerade.extraction.poses import Picture
from masquerade.regions.boxes import Box, corners, iou, to_boxes
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.pose_detection import PoseDetector
from masquerade.regions.pose_landmarks import Pose, PoseLandmarks
from masquerade.regions.ssd_people import SsdPeople
from masquerade.regions.text import TextDetector
from masquerade.regions.turned_faces import SCORE, SEARCH_SIDE, TurnedFaces

U8 = NDArray[np.uint8]

POSSIBLE, SURE = 0.2, 0.5  # scores from which a face is looked at, and from which it is one
SURE_UNDONE = 0.6  # of a face in a restored picture, whose noise may look like one
TWICE = 2  # frames in which a restored picture must show a face
SAME = 0.3  # overlap from which two boxes are of one face
PERSON = 0.23  # score from which `anonymize` hides one; below, the network sees some in black
TEXT, BODY = (0.35, 0.5), (0.3, 0.5)  # scores from which there may be one, and from which there is
POSE = 0.2  # score of the place of a pose, whose landmarks then have the score of the body
SQUARE = 1.5  # one side over the other, below which a find of text is no line
LARGEST = 1280  # pixels of the longer side of what is undone
MARGIN = 0.4  # of a box, shown around it
PUBLISHED = "as published"


@dataclass(eq=False)
class LookAgain:
    """Detectors, and what they found so far in one video's frames.

    Args:
        undo: which attempts to undo the anonymization are made, names in UNDO.
        faces_only: look for no people, poses and text.

    Raises:
        MissingError: a network is not installed.
    """

    undo: Sequence[str] = tuple(UNDO)
    faces_only: bool = False
    _faces: dict[str, list[Proof]] = field(default_factory=dict)  # by what was looked at
    _possible: list[Proof] = field(default_factory=list)
    _people: list[Proof] = field(default_factory=list)
    _poses: list[Proof] = field(default_factory=list)
    _text: list[Proof] = field(default_factory=list)
    _looked: int = 0

    def __post_init__(self) -> None:
        self._face = CenterFace(threshold=POSSIBLE)
        self._turned = TurnedFaces(self._face, CenterFace(threshold=SCORE, scale=SEARCH_SIDE))
        if self.faces_only:
            return
        self._person = SsdPeople(threshold=PERSON)
        self._pose, self._landmarks = PoseDetector(threshold=POSE), PoseLandmarks()
        self._line = TextDetector(threshold=TEXT[0])

    def look(self, number: int, frames: Sequence[U8], at: int) -> None:
        """Look at one frame (H, W, 3), which is at this place among its neighbours."""
        self._looked += 1
        frame = frames[at]
        seen, _ = self._turned(Picture(frame))
        sure = [box for box in seen if box.score >= SURE]
        self._faces.setdefault(PUBLISHED, []).extend(_proofs(number, frame, sure, "face"))
        unsure = [box for box in seen if box.score < SURE]
        self._possible.extend(_proofs(number, frame, unsure, "perhaps a face"))
        small, ratio = shrink(frames) if self.undo else (frames, 1.0)
        known = [
            replace(b, x0=ratio * b.x0, y0=ratio * b.y0, x1=ratio * b.x1, y1=ratio * b.y1)
            for b in sure
        ]
        for name in self.undo:
            restored = UNDO[name](small, at)
            boxes = [box for box in self._face(Picture(restored)) if box.score >= SURE_UNDONE]
            new = [box for box in boxes if not _is_known(box, known)]
            self._faces.setdefault(name, []).extend(_proofs(number, restored, new, "face"))
        if not self.faces_only:
            self._look_for_others(number, frame, seen)

    def _look_for_others(self, number: int, frame: U8, faces: Sequence[Box]) -> None:
        """Look for people, poses and text in one frame."""
        rows, scores = self._person(frame, in_tiles=True)
        people = to_boxes(rows, scores, "person")
        self._people.extend(_proofs(number, frame, people, "person"))
        self._poses.extend(_proofs(number, frame, self._find_poses(frame), "pose"))
        rows, scores = self._line(frame)
        lines = [box for box in to_boxes(rows, scores, "text") if _is_line(box)]
        text = [box for box in lines if not _is_known(box, faces)]
        self._text.extend(_proofs(number, frame, text, "text"))

    def _find_poses(self, frame: U8) -> list[Box]:
        """The bodies in a frame whose landmarks are found."""
        height, width = frame.shape[:2]
        poses = [self._landmarks(frame, square) for square, _ in self._pose(frame)]
        boxes = [_around(one).clip(width, height) for one in poses if one.score >= BODY[0]]
        return [box for box in boxes if box is not None]

    def findings(self) -> list[Finding]:
        """What was found in all frames that were looked at."""
        work = f"{self._looked} frames"
        found = [self._faces_again(work)]
        if self.undo:
            found.append(self._faces_undone(work))
        if self.faces_only:
            return found
        found.append(
            self._seen("people", self._people, (PERSON, PERSON), "clothes, gait and place tell who")
        )
        found.append(self._seen("poses", self._poses, BODY, "how a body moves tells who"))
        found.append(self._seen("text", self._text, TEXT, "there may be names and plates in it"))
        return found

    def _seen(
        self, attack: str, proofs: Sequence[Proof], scores: tuple[float, float], why: str
    ) -> Finding:
        possible, sure = scores
        found = [proof for proof in proofs if proof.score >= sure]
        frames, work = _frames(found), f"{self._looked} frames"
        says = f"No {attack} can be seen in {work}"
        if frames:
            says = f"{attack.capitalize()} can be seen in {len(frames)} of {work}: {why}"
        if others := {*_frames(proofs)} - {*frames}:
            says += f"; in {len(others)} more may be some, by scores below {sure}"
        return Finding(
            attack=attack,
            level="left" if frames else "nothing",
            says=f"{says}.",
            work=f"{work}, one network, scores from {possible}",
            frames=frames,
            proofs=_best(found or proofs),
        )

    def _faces_again(self, work: str) -> Finding:
        proofs, possible = self._faces.get(PUBLISHED, []), self._possible
        frames = _frames(proofs)
        also = f"; in {len(_frames(possible))} more may be one, by scores below {SURE}"
        if frames:
            says = f"Faces are seen in {len(frames)} of {work}: {spans(frames)}"
        else:
            says = f"No face is seen in {work}"
        return Finding(
            attack="faces",
            level="recovered" if frames else "nothing",
            says=says + (also if possible else "") + ".",
            work=f"{work}, CenterFace at full size, scores from {POSSIBLE}",
            frames=frames,
            proofs=_best(proofs or possible),
        )

    def _faces_undone(self, work: str) -> Finding:
        better = {
            name: proofs
            for name, proofs in self._faces.items()
            if name != PUBLISHED and len(_frames(proofs)) >= TWICE
        }
        every = [proof for proofs in better.values() for proof in proofs]
        counts = ", ".join(f"{name} ({len(_frames(p))} frames)" for name, p in better.items())
        return Finding(
            attack="undo",
            level="recovered" if better else "nothing",
            says=f"Faces that are not seen as published are seen in {counts}."
            if better
            else f"None of {len(self.undo)} attempts to undo the anonymization shows a face.",
            work=f"{work}: {'; '.join(self.undo)}; faces from a score of {SURE_UNDONE} in "
            f"{TWICE} frames or more",
            frames=_frames(every),
            proofs=_best(every),
        )


def shrink(frames: Sequence[U8]) -> tuple[Sequence[U8], float]:
    """Copies of at most LARGEST pixels a side, since many are held at once, and their scale."""
    height, width = frames[0].shape[:2]
    ratio = min(1.0, LARGEST / max(height, width))
    if ratio == 1.0:
        return frames, ratio
    size = round(width * ratio), round(height * ratio)
    return [
        np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        for frame in frames
    ], ratio


def _around(pose: Pose) -> Box:
    """The box of a body's landmarks."""
    (x0, y0), (x1, y1) = pose.landmarks[:, :2].min(axis=0), pose.landmarks[:, :2].max(axis=0)
    return Box(x0, y0, x1, y1, score=pose.score, label="person")


def _is_line(box: Box) -> bool:
    """Whether a find is no square: drawn heads, which have no face, are taken for characters."""
    return not 1 / SQUARE < box.width / max(box.height, 1.0) < SQUARE


def _is_known(box: Box, known: Sequence[Box]) -> bool:
    return bool(known) and bool((iou(corners([box]), corners(known)) >= SAME).any())


def _frames(proofs: Sequence[Proof]) -> tuple[int, ...]:
    return tuple(sorted({proof.frame for proof in proofs}))


def _best(proofs: Sequence[Proof]) -> tuple[Proof, ...]:
    """The surest of each frame, of the frames with the surest."""
    best: Mapping[int, Proof] = {
        proof.frame: proof for proof in sorted(proofs, key=lambda one: one.score)
    }
    return tuple(sorted(best.values(), key=lambda one: -one.score)[:MOST_PROOFS])


def _proofs(number: int, frame: Pixels, boxes: Sequence[Box], what: str) -> list[Proof]:
    return [
        Proof(
            frame=number,
            score=box.score,
            says=f"{what}, {box.width:.0f} x {box.height:.0f} pixels",
            picture=crop(frame, box),
        )
        for box in boxes
    ]


def crop(frame: Pixels, box: Box) -> Pixels:
    """The part of a frame around a box."""
    height, width = frame.shape[:2]
    x, y = MARGIN * box.width, MARGIN * box.height
    top, bottom = max(0, int(box.y0 - y)), min(height, int(box.y1 + y) + 1)
    left, right = max(0, int(box.x0 - x)), min(width, int(box.x1 + x) + 1)
    return np.ascontiguousarray(frame[top:bottom, left:right], np.uint8)
