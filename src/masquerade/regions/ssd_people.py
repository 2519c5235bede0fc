"""Finds people as boxes, by a single-shot detector that was trained on photographs of all kinds.

The network is the SSD with MobileNetV2 that MediaPipe's Objectron looks for objects with. Liu et
al., "SSD: Single shot multibox detector" (2016); Sandler et al., "MobileNetV2" (2018); trained on
Open Images. It also finds who rides, dives, is far away, seen from behind or cut by the frame, in
whom BlazePose's detector, made for people in front of a camera, sees nobody.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from masquerade.arrays import U8
from masquerade.regions.anchor_detection import letterbox
from masquerade.regions.boxes import Array, nms, unrotate_boxes
from masquerade.regions.litert import LiteRtNetwork, sigmoid

PERSON = 4  # among its 24 classes, of which class 0 is the ground
GRID = (19, 10, 5, 3, 2, 1)  # cells along a side, layer by layer
SIZES = np.linspace(0.2, 0.95, len(GRID)).tolist()  # of anchors, in sides of the picture
ASPECTS = (1.0, 2.0, 0.5, 3.0, 0.3333)  # width over height
COARSE = ((1.0, 0.1), (2.0, SIZES[0]), (0.5, SIZES[0]))  # the first layer has fewer anchors
SPREAD = 10.0, 5.0  # by which its offsets and logarithms of sizes are divided
NMS_IOU = 0.5
IN_TILES = 0.5  # lowest score in a tile, where pieces of things look like people
TILE = 0.6  # side of a tile over the frame's, in both directions
SURE = 0.5  # score of somebody in the upright picture, from which it is not rotated as well
ROTATED = 0.35  # lowest score in a rotated one
ANGLES = (270, 180, 90)  # degrees clockwise
SMALL = 0.4  # height of a person, over the frame's, below which there may be smaller ones


@cache
def ssd_anchors() -> Array:
    """(1917, 4): centre x, centre y, width and height, in sides of the picture."""
    rows = []
    for layer, cells in enumerate(GRID):
        larger = SIZES[layer + 1] if layer + 1 < len(GRID) else 1.0
        shapes = [(aspect, SIZES[layer]) for aspect in ASPECTS]
        shapes.append((1.0, float(np.sqrt(SIZES[layer] * larger))))
        for y, x in product(range(cells), range(cells)):
            for aspect, size in COARSE if layer == 0 else shapes:
                centre = (x + 0.5) / cells, (y + 0.5) / cells
                rows.append((*centre, size * np.sqrt(aspect), size / np.sqrt(aspect)))
    return np.array(rows)


class SsdPeople:
    """A detector of people's boxes; an instance serves one thread at a time.

    Args:
        threshold: lowest score, 0 to 1.
        folder: of the model files; None: where they are installed.

    Raises:
        MissingError: LiteRT or the network is not installed.
    """

    def __init__(self, *, threshold: float = 0.2, folder: Path | None = None) -> None:
        self.threshold = threshold
        self._network = LiteRtNetwork("people detection", folder=folder)

    def __call__(
        self, pixels: U8, *, in_tiles: bool = False, turned: bool = True
    ) -> tuple[Array, Array]:
        """The boxes (N, 4) of the people in a picture (h, w, 3), and their scores (N,), best first.

        With `in_tiles` the network runs on four overlapping tiles as well, in which people are
        larger, if the picture shows nobody or somebody small. With `turned` it runs on the picture
        rotated by 90, 180 and 270 degrees, too, if nobody in it is sure: who lies or falls, or was
        filmed sideways, is upright there.
        """
        runs = [self._detect(pixels, self.threshold)]
        heights = runs[0][0][:, 3] - runs[0][0][:, 1]
        small = heights.min(initial=np.inf) < SMALL * pixels.shape[0]
        if in_tiles and (small or not len(heights)):
            for left, top, part in _tiles(pixels):
                rows, scores = self._detect(part, max(self.threshold, IN_TILES))
                runs.append((rows + np.array([left, top] * 2), scores))
        if turned and runs[0][1].max(initial=0) < SURE:
            runs += [self._detect_rotated(pixels, angle) for angle in ANGLES]
        boxes, scores = (np.concatenate(arrays) for arrays in zip(*runs, strict=True))
        keep = nms(boxes, scores, NMS_IOU)
        return boxes[keep], scores[keep]

    def _detect_rotated(self, pixels: U8, angle: int) -> tuple[Array, Array]:
        """Run the network on a picture rotated clockwise: the boxes are those of the picture."""
        height, width = pixels.shape[:2]
        rotated = np.ascontiguousarray(np.rot90(pixels, -angle // 90))
        rows, scores = self._detect(rotated, max(self.threshold, ROTATED))
        return unrotate_boxes(rows, angle, (width, height)), scores

    def _detect(self, pixels: U8, threshold: float) -> tuple[Array, Array]:
        side, (height, width) = self._network.side, pixels.shape[:2]
        square, corner, scale = letterbox(pixels, side, lowest=-1, edge=-1)
        offsets, logits = self._network(square)  # (1917, 4), as y, x, height, width; (1917, 24)
        scores = sigmoid(logits[:, PERSON])
        keep = scores >= threshold
        anchors, moved = ssd_anchors()[keep], offsets[keep].astype(np.float64)[:, [1, 0, 3, 2]]
        centres = anchors[:, :2] + moved[:, :2] / SPREAD[0] * anchors[:, 2:]
        half = anchors[:, 2:] * np.exp(moved[:, 2:] / SPREAD[1]) / 2
        rows = np.concatenate([centres - half, centres + half], axis=1) * side
        rows = (rows - np.tile(corner, 2)) / scale
        rows, scores = rows.clip(0, [width, height] * 2), scores[keep]
        visible = (rows[:, 2:] - rows[:, :2] >= 1).all(axis=1)  # of what lies beside the picture
        return rows[visible], scores[visible]


def _tiles(pixels: U8) -> Iterator[tuple[int, int, U8]]:
    """The left and the upper edge of each tile of a picture, and its pixels."""
    height, width = pixels.shape[:2]
    h, w = round(TILE * height), round(TILE * width)
    for top, left in product((0, height - h), (0, width - w)):
        yield left, top, pixels[top : top + h, left : left + w]
