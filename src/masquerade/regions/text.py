"""Text by PP-OCR's detector: plates, badges, screens and signs.

Liao et al., "Real-time scene text detection with differentiable binarization" (AAAI 2020). The
network gives for each pixel the probability that it lies in the core of a line of text; a line is
a connected part of that map, grown by its area over its perimeter (section 3.4, with the factor of
PP-OCR). It takes some faces for characters, so what a face detector finds as well is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from masquerade.ranges import PositiveInt, UnitInterval
from masquerade.regions.boxes import (
    Array,
    Box,
    area,
    check_array,
    check_detection_count,
    corners,
    intersection,
    scaled_boxes,
)
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.masks import Mask
from masquerade.regions.model_files import MODEL_FILES, model_file
from masquerade.regions.region import Frame, Region, fit_size
from masquerade.regions.region_sources import Every, TrackedSource
from masquerade.regions.scene_cuts import mark_cuts
from masquerade.regions.tracking import Detections

STEP = 32  # pixels that the sides of what the network sees are multiples of
CORE = 0.3  # probability from which a pixel belongs to the core of a line
GROWTH = 1.6  # of a core, in its area over its perimeter
MIN_SIDE = 3.0  # pixels of a core's shorter side
FACE_SCORE = 0.5  # of a face that is no text
ON_FACE = 0.5  # share of a face that a box covers, from which it is that face; of an eye in a face
LARGER = 3  # times a face's area: a larger box is a line of text with a face in it
EYE = 0.02  # of a face's area: a smaller box in it is an eye, where it is not as long as words are
WORD = 2  # times as wide as high


class TextDetector:
    """PP-OCR's detector of lines of text; an instance serves one thread at a time.

    Args:
        threshold: lowest mean probability of a line's core, 0 to 1.
        folder: of the model file; None: the installed package.

    Raises:
        MissingError: the network is not installed.
    """

    def __init__(self, *, threshold: float = 0.5, folder: Path | None = None) -> None:
        self.threshold = threshold
        file = model_file("text detection", folder)  # read here: its name may not be UTF-8
        self._network = cv2.dnn.readNetFromONNX(np.fromfile(file, np.uint8))

    def __call__(self, pixels: Mask) -> tuple[Array, Array]:
        """Boxes (n, 4) and scores (n,) of the lines in a picture (h, w, 3)."""
        height, width = pixels.shape[:2]
        h, w = (max(STEP, round(side / STEP) * STEP) for side in (height, width))
        small = cv2.resize(pixels, (w, h), interpolation=cv2.INTER_LINEAR)
        # Blue comes first; black is -1 and white 1.
        blob = cv2.dnn.blobFromImage(small, 1 / 127.5, mean=(127.5,) * 3, swapRB=True)
        self._network.setInput(blob)
        probability = check_array("the text detector", self._network.forward(), (1, 1, h, w))
        rows, scores = lines(np.asarray(probability[0, 0], np.float32), threshold=self.threshold)
        return rows * ([width / w, height / h] * 2), scores


def lines(probability: Array, *, threshold: float) -> tuple[Array, Array]:
    """Boxes (n, 4) and scores (n,) of the lines in a map of probabilities (h, w)."""
    core = np.asarray(probability > CORE, np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=8)
    rows, scores = [], []
    for part in range(1, count):  # also those in others, as a number in a round seal
        x, y, width, height, _ = stats[part].tolist()
        window = slice(y, y + height), slice(x, x + width)
        inside = np.asarray(parts[window] == part, np.uint8)
        contours, _ = cv2.findContours(
            inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y)
        )
        middle, (a, b), angle = cv2.minAreaRect(contours[0])
        score = float(probability[window][inside > 0].mean())
        if min(a, b) < MIN_SIDE or score < threshold:
            continue
        grown = GROWTH * a * b / (a + b)  # on both sides together: area over half the perimeter
        around = cv2.boxPoints((middle, (a + grown, b + grown), angle))
        rows.append([*around.min(axis=0), *around.max(axis=0)])
        scores.append(score)
    check_detection_count(len(rows))
    return np.array(rows, np.float64).reshape(-1, 4), np.array(scores, np.float64)


@dataclass(kw_only=True, eq=False)
class Text(TrackedSource):
    """Text on plates, badges, screens and signs, found in every N-th frame and tracked.

    Arguments that are not listed are those of `TrackedSource`.

    Args:
        models: folder of the network's file; None: the installed package.

    Raises:
        MissingError: a network is not installed.
    """

    name = "text"
    shape = "box"
    model_sha256: str | None = MODEL_FILES["text detection"].sha256

    threshold: UnitInterval = 0.5
    scale: tuple[PositiveInt, PositiveInt] | PositiveInt | None = 960
    every: Every = 5
    models: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._detector = TextDetector(threshold=self.threshold, folder=self.models)
        self._faces = CenterFace(threshold=FACE_SCORE, scale=self.scale)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        return (region for _, region in self._detect_and_track(mark_cuts(frames)))

    def _detect(self, frame: Frame) -> Detections:
        size = fit_size(frame, self.scale)
        rows, scores = self._detector(frame.rgb(size))
        boxes = scaled_boxes(rows, scores, size, (frame.width, frame.height), "text")
        faces = self._faces(frame) if boxes else []
        return [box for box in boxes if not any(is_of_face(box, face) for face in faces)], None


def is_of_face(box: Box, face: Box) -> bool:
    """Whether a box is of a face or an eye; what else lies on a face is text, as of a caption."""
    text_corners, face_corners = corners([box]), corners([face])
    shared = float(intersection(text_corners, face_corners)[0, 0])
    size, face_size = float(area(text_corners)[0]), float(area(face_corners)[0])
    short, long = sorted((box.x1 - box.x0, box.y1 - box.y0))
    is_eye = long < WORD * short and shared >= ON_FACE * size and size <= EYE * face_size
    return is_eye or (0 < shared >= ON_FACE * face_size and size <= LARGER * face_size)
