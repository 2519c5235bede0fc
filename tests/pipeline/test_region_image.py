"""The image of --region: nothing is hidden where it is black, and nowhere else is it black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from masquerade.pipeline.region_image import read_region_image

H, W = 12, 16


def halves(left: Any, right: Any, kind: Any) -> Any:
    """A picture (H, W) or (H, W, 3) of two values, BGR."""
    picture = np.zeros((H, W, *np.shape(left)), kind)
    picture[:, : W // 2], picture[:, W // 2 :] = left, right
    return picture


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("labels.png", halves(1, 2, np.uint8)),
        ("labels16.png", halves(1, 300, np.uint16)),
        ("labels16.tif", halves(255, 65535, np.uint16)),
        ("shares.tif", halves(0.5, 1, np.float32)),
        ("dark.png", halves((4, 0, 0), (0, 0, 1), np.uint8)),
        ("dark16.png", halves((9, 0, 0), (0, 9, 0), np.uint16)),
        ("transparent.png", halves((255, 255, 255, 0), (0, 0, 1, 255), np.uint8)),
    ],
)
def test_what_is_not_black_may_be_hidden(tmp_path: Path, name: str, picture: Any) -> None:
    for columns in (slice(None), slice(W // 2), slice(W // 2, None)):
        shown = np.zeros_like(picture)
        shown[:, columns] = picture[:, columns]
        cv2.imwrite(str(tmp_path / name), shown)
        mask = read_region_image(tmp_path / name)
        wanted = np.zeros((H, W), bool)
        wanted[:, columns] = True
        assert mask.dtype == np.uint8 and np.array_equal(mask > 0, wanted)
