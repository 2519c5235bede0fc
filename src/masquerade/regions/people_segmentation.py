"""Segments all people in a picture from the rest of it.

The network is MediaPipe's Selfie Segmentation, a MobileNetV3 with a decoder (Howard et al.,
"Searching for MobileNetV3", 2019), made for people near a camera.
"""

from pathlib import Path

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.regions.litert import LiteRtNetwork

PERSON = 0.3  # probability from which a pixel is a person's


class PeopleSegmentation:
    """A segmentation of people; an instance serves one thread at a time.

    Args:
        folder: of the model files; None: the installed package.

    Raises:
        MissingError: LiteRT or the network is not installed.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        self._network = LiteRtNetwork("people segmentation", folder=folder)

    def __call__(self, pixels: U8, width: int, height: int) -> U8:
        """(height, width), 255 on the people of a picture (h, w, 3)."""
        side = self._network.side
        small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
        (probability,) = self._network(small / np.float32(255))  # (side, side, 1), 0 to 1
        soft = cv2.resize(probability[..., 0].astype(np.float32), (width, height))
        return np.asarray((soft >= PERSON) * np.uint8(255), np.uint8)
