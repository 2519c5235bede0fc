"""The 468 points of a face, by the face mesh network, where a pose says that the face is.

Kartynnik, Ablavatski, Grishchenko, Grundmann, "Real-time facial surface geometry from monocular
video on mobile GPUs" (2019).
"""

from pathlib import Path

import numpy as np

from masquerade.arrays import U8
from masquerade.regions.boxes import Array
from masquerade.regions.litert import LiteRtNetwork, sigmoid
from masquerade.regions.pose_detection import Square, crop
from masquerade.regions.pose_landmarks import Pose

POINTS = 468
EYES, MOUTH = (2, 5), (9, 10)  # landmarks of a pose
REACH = 2.2  # half side of what the network sees, in distances of eyes and mouth
MIN_SCORE = 0.5  # that there is a face
MIN_SIDE = 8.0  # pixels of half a side, below which nothing can be told apart


class FaceMesh:
    """The face mesh network; an instance serves one thread at a time.

    Args:
        folder: of the model files; None: the installed package.

    Raises:
        MissingError: LiteRT or the network is not installed.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        self._network = LiteRtNetwork("face landmarks", folder=folder)

    def __call__(self, pixels: U8, pose: Pose) -> Array | None:
        """(468, 2), the points of a person's face in a picture (h, w, 3); None: no face is seen."""
        square = face_square(pose)
        if square.half < MIN_SIDE:
            return None
        side = self._network.side
        values, score = self._network(crop(pixels, square, side) / np.float32(255))
        if float(sigmoid(score).reshape(-1)[0]) < MIN_SCORE:
            return None
        return square.to_picture(values.reshape(POINTS, 3)[:, :2], side)


def face_square(pose: Pose) -> Square:
    """The turned square around a person's face."""
    eyes = pose.landmarks[list(EYES), :2].mean(axis=0)
    mouth = pose.landmarks[list(MOUTH), :2].mean(axis=0)
    up = eyes - mouth
    half = REACH * max(float(np.hypot(*up)), 1.0)
    middle = (eyes + mouth) / 2
    return Square.upright(middle, up, half)
