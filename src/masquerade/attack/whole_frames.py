"""Measure the raw detail that is left in published frames which were to be hidden whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from masquerade.arrays import F32, U8
from masquerade.attack.finders import crop
from masquerade.attack.finding import Finding, Proof, spans, surest
from masquerade.regions.boxes import Box

CELL = 16  # pixels a side, of the cells in which detail is compared
AROUND = 9  # pixels a side, of the mean that is taken off: what is left is detail
LEAST_DETAIL = 4.0  # of a raw cell, in levels of 255 on average, to be compared
UNCHANGED = 0.4  # of a raw cell's detail that differs at most where it is as it was
LEAST_CELLS = 8  # with detail, of a frame to be compared
LEAST_SHARE = 0.25  # of these cells unchanged, from which a frame is not hidden


@dataclass(eq=False)
class WholeFrames:
    """The share of the raw frames' detail that is unchanged in the published frames."""

    looked: int = 0
    shares: dict[int, float] = field(default_factory=dict)  # of cells unchanged, by frame compared
    proofs: list[Proof] = field(default_factory=list)  # the surest

    def compare(self, number: int, published: U8, raw: Sequence[U8]) -> None:
        """Compare one frame (H, W, 3) with the raw ones of its time, of the same size."""
        self.looked += 1
        known = [share for frame in raw if (share := unchanged_share(published, frame)) is not None]
        if not known:
            return
        self.shares[number] = share = max(known)
        if share >= LEAST_SHARE:
            says = f"{share:.0%} of the raw picture's detail is as it was"
            whole = crop(published, Box(0, 0, published.shape[1], published.shape[0], score=share))
            proof = Proof(frame=number, score=share, says=says, picture=whole)
            self.proofs = surest([*self.proofs, proof])

    def finding(self) -> Finding:
        """Return the finding for all compared frames: recovered where one is not hidden."""
        shown = tuple(number for number, share in self.shares.items() if share >= LEAST_SHARE)
        says = f"In {len(shown)} of {len(self.shares)} frames, all of which were to be hidden, "
        says += f"{LEAST_SHARE:.0%} of the raw picture's detail or more is as it was"
        says += f" ({spans(shown)})" if shown else ""
        if not self.shares:
            says = f"None of {self.looked} raw frames, all of which were to be hidden, has detail "
            says += "enough to be compared"
        return Finding(
            attack="raw frame",
            level="recovered" if shown else "nothing",
            says=f"{says}.",
            work=f"{len(self.shares)} of {self.looked} frames, which have detail, in cells of "
            f"{CELL} pixels, beside the raw ones of the same time",
            frames=shown,
            proofs=tuple(self.proofs),
        )


def unchanged_share(published: U8, raw: U8) -> float | None:
    """The share of a raw frame's cells with detail whose detail is in the published frame.

    None: too few of its cells have any.
    """
    here, there = detail_of(published), detail_of(raw)
    strength = _means(np.abs(there))
    busy = strength >= LEAST_DETAIL
    if busy.sum() < LEAST_CELLS:
        return None
    return float((_means(np.abs(here - there))[busy] <= UNCHANGED * strength[busy]).mean())


def detail_of(frame: U8) -> F32:
    """(H, W): grey levels less their mean in the neighbourhood."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(grey - cv2.blur(grey, (AROUND, AROUND)), np.float32)


def _means(values: F32) -> F32:
    """(H // 16, W // 16): the mean of each cell."""
    rows, columns = (side // CELL for side in values.shape)
    cells = values[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    return np.asarray(cells.mean((1, 3)), np.float32)
