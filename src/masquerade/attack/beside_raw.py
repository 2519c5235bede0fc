"""Compare a published video with the raw one: who is shown there and was left as they were."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.attack.finding import MOST_PROOFS, Finding, Proof, spans
from masquerade.attack.look_again import SURE, crop
from masquerade.extraction.poses import Picture
from masquerade.regions.boxes import Box
from masquerade.regions.face_detectors import CenterFace

U8 = NDArray[np.uint8]

SAME_LEVELS = 8.0  # mean difference in grey levels up to which a part of a frame is unchanged
SMOOTH = 3  # pixels, by which both are smoothed: an encoder's own noise is no change


@dataclass(eq=False)
class BesideRaw:
    """The faces of raw frames, and whether they were changed in the published ones.

    Raises:
        MissingError: the network for faces is not installed.
    """

    _faces: int = 0
    _frames: dict[int, int] = field(default_factory=dict)  # faces by frame
    _missed: list[Proof] = field(default_factory=list)
    _untouched: list[int] = field(default_factory=list)  # frames that are as they were, whole

    def __post_init__(self) -> None:
        self._detector = CenterFace(threshold=SURE)

    def look(self, number: int, published: U8, raw: U8) -> None:
        """Compare one frame (H, W, 3) with the raw one of the same number."""
        if raw.shape != published.shape:
            size = published.shape[1], published.shape[0]
            raw = np.asarray(cv2.resize(raw, size, interpolation=cv2.INTER_AREA), np.uint8)
        differs = _difference(published, raw)
        faces = self._detector(Picture(raw))
        self._faces += len(faces)
        self._frames[number] = len(faces)
        for box in faces:
            inside = _part(differs, box)
            if inside.size and inside.mean() <= SAME_LEVELS:
                says = f"unchanged face, {box.width:.0f} x {box.height:.0f} pixels"
                self._missed.append(
                    Proof(frame=number, score=box.score, says=says, picture=crop(published, box))
                )
        if differs.mean() <= SAME_LEVELS / 4 and not faces:
            self._untouched.append(number)

    def findings(self) -> list[Finding]:
        """What was found in all frames that were compared."""
        missed = tuple(sorted({one.frame for one in self._missed}))
        looked, shown = len(self._frames), sum(1 for count in self._frames.values() if count)
        changed = self._faces - len(self._missed)
        gap = _longest_run([number in missed for number, count in self._frames.items() if count])
        says = f"Of {self._faces} faces in {shown} raw frames {changed} were changed"
        if missed:
            says += f"; unchanged faces are in {len(missed)} frames ({spans(missed)}), at most "
            says += f"{gap} of those looked at in a row"
        return [
            Finding(
                attack="raw",
                level="recovered" if missed else "nothing",
                says=f"{says}.",
                work=f"{looked} frames beside the raw ones; a face counts as unchanged where the "
                f"mean difference is at most {SAME_LEVELS:g} of 255",
                frames=missed,
                proofs=_surest(self._missed),
            )
        ]


def _difference(a: U8, b: U8) -> NDArray[np.float32]:
    """(H, W), the mean difference over the colours."""
    kernel = (SMOOTH, SMOOTH)
    both = (cv2.blur(one, kernel).astype(np.float32) for one in (a, b))
    first, second = both
    return np.asarray(np.abs(first - second).mean(axis=2), np.float32)


def _part(values: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    top, left = max(0, int(box.y0)), max(0, int(box.x0))
    return values[top : max(top, int(box.y1)), left : max(left, int(box.x1))]


def _longest_run(flags: Sequence[bool]) -> int:
    longest = now = 0
    for flag in flags:
        now = now + 1 if flag else 0
        longest = max(longest, now)
    return longest


def _surest(proofs: Sequence[Proof]) -> tuple[Proof, ...]:
    return tuple(sorted(proofs, key=lambda one: -one.score)[:MOST_PROOFS])
