"""Compare a published video with the raw one: which lines of text are there as they were."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from masquerade.arrays import F32, U8
from masquerade.attack.finders import SURE_SCORES, Finders, crop, overlaps
from masquerade.attack.finding import Finding, Proof, spans, surest
from masquerade.attack.whole_frames import LEAST_DETAIL, UNCHANGED, detail_of
from masquerade.regions.boxes import Box, box_pixels, scaled_box


@dataclass(eq=False)
class RawText:
    """The lines of text in raw frames that were to be hidden, and whether they are still there.

    One is where its detail is as it was, which is what makes text readable (a faint line that was
    blurred away hardly differs in its levels), or where text is seen in its place. Large and faint
    letters have little such detail: of these the second alone tells.
    """

    finders: Finders
    lines: dict[int, int] = field(default_factory=dict)  # how many were compared, by frame
    faint: int = 0  # lines beside: too little detail, and nothing seen in their place
    there: dict[int, int] = field(default_factory=dict)  # how many are there, by frame
    proofs: list[Proof] = field(default_factory=list)  # the surest of these

    def compare(
        self, number: int, published: U8, raw: Sequence[U8], nearest: U8 | None = None
    ) -> None:
        """Compare one frame (H, W, 3) with the raw ones of its time, the nearest first.

        Text is looked for in `nearest`, the first of these at its own size; None: it has this size.
        """
        nearest = raw[0] if nearest is None else nearest
        scale = scale_of(published, nearest)
        boxes = [scaled_box(box, scale) for box in self._find(nearest)]
        self.lines[number] = 0
        if not boxes:
            return
        # of any shape, too: a drawn head would have to be where the text is
        seen = self._find(published)
        here, there = detail_of(published), [detail_of(frame) for frame in raw]
        for box in boxes:
            left = [share for detail in there if (share := _changed(here, detail, box)) is not None]
            is_seen = overlaps(box, seen)
            if not left and not is_seen:
                self.faint += 1
                continue
            self.lines[number] += 1
            if is_seen or min(left) <= UNCHANGED:
                says = f"text, {box.width:.0f} x {box.height:.0f} pixels"
                picture = crop(published, box)
                proof = Proof(frame=number, score=box.score, says=says, picture=picture)
                self.proofs = surest([*self.proofs, proof])
                self.there[number] = self.there.get(number, 0) + 1

    def _find(self, frame: U8) -> list[Box]:
        boxes = self.finders.find("text", frame, any_shape=True)
        return [box for box in boxes if box.score >= SURE_SCORES["text"]]

    def finding(self) -> Finding:
        """What was found in all frames that were compared: recovered where a line is there."""
        count = sum(self.lines.values()) + self.faint
        frames = tuple(sorted(self.there))
        says = f"Of {count} lines of text in {len(self.lines)} raw frames, which were to be "
        says += f"hidden, {sum(self.there.values())} are there in published ones"
        says += f": in {len(frames)} frames ({spans(frames)})" if frames else ""
        if self.faint:
            says += f"; {self.faint} have too little detail to be compared, and no text is seen in "
            says += "their place"
        if not count:
            says = f"No text is seen in {len(self.lines)} raw frames, so none was compared"
        return Finding(
            attack="raw text",
            level="recovered" if frames else "nothing",
            says=f"{says}.",
            work=f"{len(self.lines)} frames beside the raw ones of the same time; a line is there "
            f"where its detail differs by {UNCHANGED:.0%} at most, or where text is seen",
            frames=frames,
            proofs=tuple(self.proofs),
        )


def scale_of(published: U8, raw: U8) -> tuple[float, float]:
    """Return how many times as wide and as high a published frame is as the raw one."""
    return published.shape[1] / raw.shape[1], published.shape[0] / raw.shape[0]


def _changed(published: F32, raw: F32, box: Box) -> float | None:
    """The share of a line's raw detail that differs; None: there is too little to be compared."""
    part = box_pixels(box)
    strength = float(np.abs(raw[part]).mean()) if raw[part].size else 0.0
    if strength < LEAST_DETAIL:
        return None
    return float(np.abs(published[part] - raw[part]).mean()) / strength
