"""Read the image of `--region`, which limits where something is hidden to where it is not black.

It is read once and belongs to frames of its own size, of one video or of all of a data set.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.errors import UsageError


def read_region_image(path: Path) -> U8:
    """Read an image file as a mask (H, W): 0 where it is black, 255 elsewhere.

    Raises:
        UsageError: it is no image.
    """
    # A grey copy of 8 bits would round dark colours and labels below 256 of 16 bits down to black.
    exact = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    try:  # OpenCV opens no file whose name is not UTF-8, and raises where a picture is too large
        image: Any = cv2.imdecode(np.fromfile(path, np.uint8), exact)
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise UsageError(f"{path} is no image that can be read; give --region a PNG.")
    lit = (image != 0).reshape(*image.shape[:2], -1).any(axis=2)
    return lit.astype(np.uint8) * 255


def check_size(mask: U8, name: str, *, video: str, width: int, height: int) -> None:
    """Refuse an image of another size than a video's frames.

    Raises:
        UsageError: its size is another one.
    """
    if mask.shape != (height, width):
        raise UsageError(
            f"{name} is {mask.shape[1]}x{mask.shape[0]}, but {video} is {width}x{height}: give "
            "--region an image of its size."
        )
