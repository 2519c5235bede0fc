"""The people found in one frame: their poses, silhouettes and boxes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import U8
from masquerade.models.optical_flow import MIN_SIDE, grey
from masquerade.regions.boxes import Box
from masquerade.regions.chosen_people import Earlier
from masquerade.regions.pose_landmarks import Pose
from masquerade.regions.region import Frame, fit_size

CANVAS = 480  # longest side of the silhouettes, in pixels
FLOW = 240  # longest side of the copies that flow is computed on, but of very long frames
INSIDE = 0.7  # share of a silhouette in a box, or of the box around what the silhouette takes, from
# which it is that box's person
FILLS = 0.2  # if it also fills this share of the box, and MIN_ROW_SHARE,
FILLS_PART = 0.5  # or this one where the box is of a part of it: whoever stands before somebody,
# as a child, leaves a hole in the silhouette that the box lies over
MIN_OUTLINE_SHARE = 0.3  # of a box, without the silhouettes in it, that the segmentation fills, so
# that its outline replaces it,
MIN_ROW_SHARE = 0.8  # and over this share of the box's rows: legs, too


@dataclass(slots=True, eq=False)
class FramePeople:
    """The people of one frame; squares and landmarks are in pixels of `pixels`."""

    frame: Frame
    cut: bool
    pixels: U8  # (h, w, 3), what the networks see
    detected: bool = False  # the detector ran
    poses: dict[int, Pose] = field(default_factory=dict)  # by track
    between: dict[int, Pose] = field(default_factory=dict)  # interpolated where they were lost
    carried: dict[int, U8] = field(default_factory=dict)  # silhouettes by flow, by track
    found: list[Box] = field(default_factory=list)  # by the detector of boxes, if it ran
    unposed: list[Box] = field(default_factory=list)  # followed boxes in which no silhouette is
    outlines: U8 | None = None  # (h, w) of the canvas, 255 on people, where a box has no pose
    earlier: Earlier = field(default_factory=dict)  # of all tracks and followed boxes
    _small: U8 | None = None
    _drawn: dict[Pose, U8] = field(default_factory=dict)  # what `draw` gave

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height of silhouettes."""
        return fit_size(self.frame, CANVAS)

    @property
    def scale(self) -> float:
        """Pixels of the canvas for one of `pixels`."""
        return self.canvas[0] / self.pixels.shape[1]

    def draw(self, pose: Pose) -> U8:
        """(h, w) of the canvas, 255 on a person in this frame; not to be written to."""
        if pose not in self._drawn:
            self._drawn[pose] = pose.silhouette(*self.canvas, scale=self.scale)
        return self._drawn[pose]

    def silhouettes(self) -> dict[int, U8]:
        """(h, w) of the canvas by track, as the network or else the flow gives it."""
        return self.carried | {track: self.draw(pose) for track, pose in self.poses.items()}

    def silhouette(self, track: int) -> U8 | None:
        """One of `silhouettes`; None: the person is not in this frame."""
        pose = self.poses.get(track)
        return self.carried.get(track) if pose is None else self.draw(pose)

    def mask(self, wanted: Callable[[int], bool] = lambda track: True) -> U8:
        """(h, w) of the canvas, 255 on all people whose tracks are wanted."""
        width, height = self.canvas
        out = np.zeros((height, width), np.uint8)
        drawn = ((track, self.draw(pose)) for track, pose in self.poses.items() if wanted(track))
        for track, part in (*drawn, *self.carried.items()):
            if wanted(track):
                np.maximum(out, part, out=out)
        return out

    def mask_with_boxes(self, wanted: Callable[[int | None], bool] = lambda track: True) -> U8:
        """(h, w) of the canvas, 255 on all people who are wanted, also on those without a pose."""
        boxes = [box for box in self.unposed if wanted(box.track)]
        return np.maximum(self.mask(wanted), self.draw_boxes(boxes))

    def without_silhouette(self, boxes: Iterable[Box]) -> list[Box]:
        """Those of some boxes in which no silhouette is."""
        silhouettes = list(self.silhouettes().values())
        return [
            box
            for box in boxes
            if not any(self.holds(box, silhouette) for silhouette in silhouettes)
        ]

    def edges(self, silhouette: U8) -> tuple[float, float, float, float] | None:
        """The box around a silhouette in pixels of the frame; None: it is empty."""
        x, y, width, height = cv2.boundingRect(silhouette)
        across = self.frame.width / self.canvas[0]
        edges = x * across, y * across, (x + width) * across, (y + height) * across
        return edges if width and height else None

    def holds(self, box: Box, silhouette: U8) -> bool:
        """Whether a box and a silhouette are of one person, by how much they overlap."""
        rows, columns = self._slices(box)
        part = silhouette[rows, columns]
        shared, size = cv2.countNonZero(part), part.size
        if shared < max(1, FILLS * size) or part.any(axis=1).mean() < MIN_ROW_SHARE:
            return False
        x, y, wide, high = cv2.boundingRect(silhouette)
        across = min(columns.stop, x + wide) - max(columns.start, x)
        down = min(rows.stop, y + high) - max(rows.start, y)
        if shared >= INSIDE * cv2.countNonZero(silhouette):
            return True
        return shared >= FILLS_PART * size and across * down >= INSIDE * size

    def _slices(self, box: Box) -> tuple[slice, slice]:
        """Return the rows and columns of a silhouette that lie in a box of the frame."""
        width, height = self.canvas
        x, y = width / self.frame.width, height / self.frame.height
        rows = slice(max(0, int(box.y0 * y)), min(height, int(box.y1 * y) + 1))
        return rows, slice(max(0, int(box.x0 * x)), min(width, int(box.x1 * x) + 1))

    def draw_boxes(self, boxes: Sequence[Box]) -> U8:
        """(h, w) of the canvas, 255 on the people in boxes, or on the boxes."""
        width, height = self.canvas
        out = np.zeros((height, width), np.uint8)
        if not boxes:  # as in most frames
            return out
        posed = self.mask() > 0
        for box in boxes:
            rows, columns = self._slices(box)
            outline = None if self.outlines is None else self.outlines[rows, columns]
            if outline is not None and _fills(outline, ~posed[rows, columns]):
                np.maximum(out[rows, columns], outline, out=out[rows, columns])
            else:
                out[rows, columns] = 255
        return out

    def flow_picture(self) -> U8:
        """(h, w), a small grey copy."""
        if self._small is None:
            size = fit_size(self.frame, FLOW, shortest=MIN_SIDE)
            small = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
            self._small = grey(np.asarray(small, np.uint8))
        return self._small


def _fills(outline: U8, free: NDArray[np.bool_]) -> bool:
    """Whether an outline (h, w) covers enough of a box, where this is `free` of other people."""
    own = (outline > 0) & free
    filled = own.sum() >= MIN_OUTLINE_SHARE * free.sum()
    return bool(filled and own.any(axis=1).sum() >= MIN_ROW_SHARE * free.any(axis=1).sum())
