"""Detect faces, people, poses and text in published frames, and in what undoing them gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from masquerade.anonymizer import Pixels
from masquerade.arrays import U8
from masquerade.attack.finders import (
    NAMES,
    POSSIBLE_SCORES,
    SURE_SCORES,
    WHY_IT_IDENTIFIES,
    Finders,
    Kind,
    crop,
    overlaps,
    shrink,
)
from masquerade.attack.finding import Finding, Level, Proof, spans, surest_of_frames
from masquerade.attack.restored_detections import FrameComparison, RestoredDetections
from masquerade.attack.undo import UNDO
from masquerade.regions.boxes import Box, mirrored_box, scaled_box
from masquerade.regions.region import ArrayFrame
from masquerade.regions.rotated_faces import (
    ANGLES,
    WAIT,
    WAIT_UNKNOWN,
    RotatedFaces,
    detect_rotated,
)

Drawn = Literal["no", "surely", "said", "said, and changed", "said, and unchanged"]
"""Whether no pixel of the source is in a file, so that faces that are seen are drawn heads.

`surely`: who asks has made the file. `said`: by the receipt beside it, which anybody may have
written; it is believed where the raw video was compared, and all was changed."""
DRAWN: Mapping[Drawn, str] = {
    "no": "",
    "surely": ", which are drawn heads, as the method shows no pixel of the source",
    "said": "; the receipt beside the file says that they are drawn heads, which nobody checked: "
    "a receipt is not signed, and --raw tells whether it can be",
    "said, and changed": ", which are drawn heads by the receipt beside the file, and nothing of "
    "the raw video is as it was",
    "said, and unchanged": "; the receipt beside the file says that they are drawn heads, and the "
    "raw video does not bear it out",
}
RAW_LINES: Mapping[Kind, str] = {"person": "raw people", "pose": "raw people", "text": "raw text"}
"""The attack that compares what is seen of a kind with the raw video, by kind."""
SEARCHED = 20  # undone frames that are searched for all; the others for faces


@dataclass(eq=False)
class PublishedDetection:
    """Runs detectors on the published frames of one video, and tells what they found in all.

    Args:
        undo: which attempts to undo the anonymization are made, names in UNDO.
        hidden: what the publisher means to hide.
        finders: detectors; several videos may share them, one after another.
        kinds: which of these are looked for, faces first; None: all that the finders find.

    Raises:
        MissingError: a network is not installed.
    """

    undo: Sequence[str] = tuple(UNDO)
    hidden: frozenset[Kind] = frozenset(("face",))
    finders: Finders = field(default_factory=Finders)
    kinds: tuple[Kind, ...] | None = None
    # from the lowest scores on: the best of each frame, and the surest of all
    _seen: dict[Kind, dict[int, float]] = field(default_factory=dict)
    _shown: dict[Kind, list[Proof]] = field(default_factory=dict)
    _faces: list[int] = field(default_factory=list)  # frames with one that counts
    _shown_faces: list[Proof] = field(default_factory=list)  # of these
    _looked: int = 0
    _searched: int = 0  # undone frames, for all

    def __post_init__(self) -> None:
        self._kinds = self.finders.kinds if self.kinds is None else self.kinds
        self._rotated_faces = RotatedFaces(self.finders.face, self.finders.small_face)
        self._undone = RestoredDetections(hidden=self.hidden)

    def detect(
        self,
        number: int,
        frames: Sequence[U8],
        at: int,
        raw: U8 | None = None,
        *,
        search: bool = True,
    ) -> None:
        """Detect in one frame (H, W, 3), which is at this place among its neighbours.

        Args:
            number: of the frame.
            frames: it and its neighbours.
            at: which of them it is.
            raw: the raw frame, which says whether a detection in an undone frame is right.
            search: look for more than faces in undone frames.
        """
        self._looked += 1
        frame = frames[at]
        faces, _ = self._rotated_faces(ArrayFrame(frame))
        seen: dict[Kind, list[Box]] = {"face": list(faces)}
        for kind in self._kinds[1:]:
            seen[kind] = self.finders.find(kind, frame, faces=faces)
        for kind, boxes in seen.items():
            best = {number: max(box.score for box in boxes)} if boxes else {}
            self._seen.setdefault(kind, {}).update(best)
            self._shown[kind] = _added(self._shown.get(kind, ()), number, frame, boxes, kind)
        confirmed = self._confirmed(frame, faces)
        self._faces += [number] if confirmed else []
        self._shown_faces = _added(self._shown_faces, number, frame, confirmed, "face")
        if not self.undo:
            return
        # what does not count as published must not hide a detection in an undone frame
        seen["face"] = confirmed
        small, ratio = shrink(frames)
        scale = ratio, ratio
        known = {kind: [scaled_box(box, scale) for box in boxes] for kind, boxes in seen.items()}
        comparison = FrameComparison(
            number, small[at], self.finders, known, raw, same_size=ratio == 1.0
        )
        self._searched += search
        kinds = self._kinds if search else self._kinds[:1]
        for name in self.undo:
            self._undone.detect(comparison, name, UNDO[name](small, at), kinds)

    def _confirmed(self, frame: U8, faces: Sequence[Box]) -> list[Box]:
        """The faces of a frame that are sure and are found in the mirrored frame, too.

        What the network takes for a face in noise is not there when it is mirrored.
        """
        sure = [box for box in faces if box.score >= SURE_SCORES["face"]]
        if not sure:
            return []
        mirrored, width = ArrayFrame(np.ascontiguousarray(frame[:, ::-1])), frame.shape[1]
        expected = [mirrored_box(box, width) for box in sure]
        faces_mirrored = list(self.finders.face(mirrored))
        for angle in ANGLES:
            if all(overlaps(box, faces_mirrored) for box in expected):
                break
            faces_mirrored += detect_rotated(self.finders.face, mirrored, angle)
        return [
            box
            for box, there in zip(sure, expected, strict=True)
            if overlaps(there, faces_mirrored)
        ]

    def findings(self, drawn: Drawn = "no", beside: Sequence[Finding] = ()) -> list[Finding]:
        """What was found in all frames that were looked at; `beside` is of those and raw ones."""
        findings = [self._face_finding(drawn)]
        if self.undo:
            findings.append(self._undo_finding())
        compared = [finding.attack for finding in beside]
        return findings + [self._others(kind, compared) for kind in self._kinds[1:]]

    def _others(self, kind: Kind, compared: Sequence[str]) -> Finding:
        """The finding on people, poses or text that the published frames show."""
        attack, possible, sure = NAMES[kind], POSSIBLE_SCORES[kind], SURE_SCORES[kind]
        seen, proofs = self._seen.get(kind, {}), self._shown.get(kind, [])
        frames = tuple(number for number, score in seen.items() if score >= sure)
        work = f"{self._looked} frames"
        unsure = len(seen) - len(frames)
        says = f"No {attack} can be {'surely ' if unsure else ''}seen in {work}"
        if frames:
            says = f"{attack.capitalize()} can be seen in {len(frames)} of {work}: "
            says += WHY_IT_IDENTIFIES[kind]
        if unsure:
            says += f"; in {unsure} {'more' if frames else 'of them'} may be some, by scores "
            says += f"below {sure}"
        if frames and kind in self.hidden:
            were = "was" if kind == "text" else "were"
            line = RAW_LINES[kind]
            tells = f"the line on {line} says" if line in compared else "--raw tells"
            says += f"; {attack} {were} to be hidden, and {tells} whether this is some of it"
        return Finding(
            attack=attack,
            level="left" if frames else "nothing",
            says=f"{says}.",
            work=f"{work}, one network, scores from {possible}",
            frames=frames,
            proofs=tuple([proof for proof in proofs if proof.score >= sure] or proofs),
        )

    def _face_finding(self, drawn: Drawn) -> Finding:
        least, frames = SURE_SCORES["face"], tuple(self._faces)
        work = f"{self._looked} frames"
        possible = len(self._seen.get("face", {})) - len(frames)
        perhaps = [
            replace(proof, says=f"perhaps a {proof.says}") for proof in self._shown.get("face", ())
        ]
        also = (
            f"; in {possible} {'more' if frames else 'of them'} may be one, by scores below "
            f"{least} or not found again in the mirrored frame"
        )
        level: Level = "nothing"
        says = f"No face is {'surely ' if possible else ''}seen in {work}"
        if frames:
            level = "left" if drawn in ("surely", "said, and changed") else "recovered"
            says = f"Faces are seen in {len(frames)} of {work}: {spans(frames)}{DRAWN[drawn]}"
        return Finding(
            attack="faces",
            level=level,
            says=says + (also if possible else "") + ".",
            work=f"{work}, CenterFace at full size, scores from {POSSIBLE_SCORES['face']}; of "
            f"every {WAIT_UNKNOWN}th, every {WAIT}th while a face is seen, and after cuts small "
            f"copies are turned; a face counts from {least} on, if the mirrored frame shows it "
            f"from {POSSIBLE_SCORES['face']} on",
            frames=frames,
            proofs=tuple(self._shown_faces or perhaps),
        )

    def _undo_finding(self) -> Finding:
        """The finding on what undone frames show and published ones do not."""
        undone = self._undone
        ways = [
            f"{NAMES[kind]} in "
            + ", ".join(f"{how} ({len(frames)} frames)" for how, frames in hows.items())
            for kind, hows in undone.counted().items()
        ]
        looked_for = [NAMES[kind] for kind in filter(undone.looks_for, self._kinds)]
        names, other_names = " or ".join(looked_for), " and ".join(looked_for[1:])
        says = f"None of {len(self.undo)} attempts to undo the anonymization shows {names} that "
        says += "the published frames do not show"
        if ways:
            says = f"Undone frames show what is not seen as published: {'; '.join(ways)}"
        return Finding(
            attack="undo",
            level=undone.level(),
            says=f"{says}{undone.meaning()}.",
            work=f"{self._looked} frames: {'; '.join(self.undo)}; faces are looked for in all"
            + (f", {other_names} in {self._searched} of them" if other_names else "")
            + f"; {undone.rule()}",
            frames=undone.frames(),
            proofs=undone.proofs(),
        )


def _added(
    shown: Sequence[Proof], number: int, frame: Pixels, boxes: Sequence[Box], what: str
) -> list[Proof]:
    """The surest of what was shown so far and of what one more frame shows."""
    new = [
        Proof(
            frame=number,
            score=box.score,
            says=f"{what}, {box.width:.0f} x {box.height:.0f} pixels",
            picture=crop(frame, box),
        )
        for box in boxes
    ]
    return surest_of_frames([*shown, *new])
