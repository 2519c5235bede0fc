"""A heat map of how strongly each place is hidden, drawn over the picture."""

import cv2
import numpy as np

from masquerade.arrays import U8


def draw_heatmap(pixels: U8, strength: U8) -> U8:
    """Blend a heat map with its picture (H, W, 3), which stays recognizable: not for release.

    `strength` (H, W) goes from 0 (violet: nothing is hidden) to 255 (yellow: all of it is).
    """
    colours = cv2.cvtColor(cv2.applyColorMap(strength, cv2.COLORMAP_PLASMA), cv2.COLOR_BGR2RGB)
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(grey, 0.45, colours, 0.55, 0), np.uint8)
