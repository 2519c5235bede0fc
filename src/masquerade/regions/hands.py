"""Hands by the palm and hand networks, and where a person's pose says that they are.

Zhang et al., "MediaPipe Hands: On-device Real-time Hand Tracking" (2020). The palm network finds
hands that fill a tenth of the picture or more, also where nobody's body is seen; the hands of
people who are small in it follow from their poses.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import tee
from pathlib import Path

import numpy as np

from masquerade.arrays import U8
from masquerade.regions.anchor_detection import AnchorDetector, Found
from masquerade.regions.boxes import Array, Box, check_array
from masquerade.regions.litert import LiteRtNetwork
from masquerade.regions.masks import draw_ellipses
from masquerade.regions.parts import Parts
from masquerade.regions.people import PoseSource
from masquerade.regions.pose_detection import Square, crop
from masquerade.regions.region import Frame, Region, fit_size
from masquerade.regions.region_sources import Every
from masquerade.regions.scene_cuts import mark_cuts
from masquerade.regions.tracking import Detections

STRIDES = ((8, 2), (16, 6))  # of the cells of the anchors, and anchors in each
WRIST, MIDDLE_FINGER = 0, 2  # points of a palm: the wrist, and where the middle finger begins
REACH = 1.3  # half side of a hand's square over the longer side of its palm
SHIFT = 0.5  # of the square's centre toward the fingers, in sides of the palm
MIN_PALM = 0.5  # score from which landmarks are looked for in a palm
MIN_HAND = 0.5  # and from which a hand is in its square
LANDMARKS = 21
ELLIPSE = (1.5, -0.25, 1.25)  # width, top and bottom of what is hidden, in parts of a hand's box


def palm_square(palm: Found) -> Square:
    """The turned square of a whole hand: the fingers, which a palm's box lacks, point up in it."""
    up = palm.points[MIDDLE_FINGER] - palm.points[WRIST]
    length = max(float(np.hypot(*up)), 1e-6)
    corners = palm.box.reshape(2, 2)
    side = float((corners[1] - corners[0]).max())
    middle = corners.mean(axis=0) + SHIFT * side * up / length
    return Square.upright(middle, up, REACH * side)


class HandNetworks:
    """Finds hands and their landmarks in a picture, by the palm network and the hand network.

    An instance serves one thread at a time.

    Args:
        threshold: lowest score of a palm, 0 to 1.
        folder: of the model files; None: the installed package.

    Raises:
        MissingError: LiteRT or a network is not installed.
    """

    def __init__(self, *, threshold: float = MIN_PALM, folder: Path | None = None) -> None:
        self._palms = AnchorDetector(
            "palm detection", strides=STRIDES, lowest=0.0, threshold=threshold, folder=folder
        )
        self._hands = LiteRtNetwork("hand landmarks", folder=folder)

    def __call__(self, pixels: U8) -> list[tuple[Array, float]]:
        """The landmarks (21, 2) of each hand of a picture (h, w, 3), and its score, 0 to 1."""
        hands = []
        for palm in self._palms(pixels):
            landmarks, score = self._landmarks(pixels, palm_square(palm))
            if score >= MIN_HAND:
                hands.append((landmarks, score))
        return hands

    def _landmarks(self, pixels: U8, square: Square) -> tuple[Array, float]:
        """Landmarks (21, 2) of the hand in a square, in pixels of the picture, and the score."""
        side = self._hands.side
        values, presence, *_ = self._hands(crop(pixels, square, side) / np.float32(255))
        points = check_array("The hand network", values.reshape(-1, 3), (LANDMARKS, 3))
        return square.to_picture(points[:, :2], side), float(presence.reshape(-1)[0].clip(0, 1))


@dataclass(kw_only=True, eq=False)
class Hands(PoseSource):
    """Hands, found by networks for palms and hands and by people's poses, and followed.

    Arguments that are not listed are those of `PoseSource`.

    Raises:
        MissingError: LiteRT or a network is not installed.
    """

    name = "hands"
    shape = "silhouette"
    min_best_score = 0.9  # of a track: chairs and lamps reach .8, hands .95

    every: Every = 2  # hands are quick

    def __post_init__(self) -> None:
        super().__post_init__()
        arguments = {field.name: getattr(self, field.name) for field in fields(self)}
        self._of_people = Parts(parts=("hands",), **arguments)
        threshold = MIN_PALM if self.threshold is None else self.threshold
        self._networks = HandNetworks(threshold=threshold, folder=self.models)
        self.look_ahead = max(self.look_ahead, self._of_people.look_ahead)
        self.model_sha256 = self._of_people.model_sha256

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        for_people, for_palms = tee(mark_cuts(frames))
        detections = self._detect_and_track(for_palms)
        for people, (frame, hands) in zip(
            self._of_people.of_marked_frames(for_people), detections, strict=True
        ):
            assert people.mask is not None
            size = frame.width, frame.height
            drawn = draw_ellipses(hands.boxes, part=ELLIPSE, frame=size, size=size)
            mask = np.maximum(people.mask, drawn)
            yield replace(people, boxes=people.boxes + hands.boxes, mask=mask)

    def _detect(self, frame: Frame) -> Detections:
        size = fit_size(frame, self.scale)
        scale = frame.width / size[0]
        boxes = []
        for landmarks, score in self._networks(frame.rgb(size)):
            (x0, y0), (x1, y1) = landmarks.min(axis=0) * scale, landmarks.max(axis=0) * scale
            boxes.append(Box(float(x0), float(y0), float(x1), float(y1), score, label="hand"))
        return boxes, None
