"""Colour as files tag it, and the one choice for files that do not tag it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import VideoFrame

RGB, BT709, UNSPECIFIED, BT601, SMPTE240M, BT2020 = 0, 1, 2, 6, 7, 9
LIMITED, FULL = 1, 2  # AVColorRange

# FFmpeg's matrix (AVColorSpace) -> swscale's (SWS_CS_*), for those that swscale knows.
_SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}


@dataclass(frozen=True)
class Color:
    """What a file says about its colours, as FFmpeg's numbers (2: it does not say).

    Args:
        primaries: AVColorPrimaries.
        transfer: AVColorTransferCharacteristic.
        matrix: AVColorSpace; 0 is RGB.
        full_range: whether black is 0 and white the largest value.
    """

    primaries: int
    transfer: int
    matrix: int
    full_range: bool


UNTAGGED = Color(UNSPECIFIED, UNSPECIFIED, UNSPECIFIED, full_range=False)


def frame_color(frame: VideoFrame) -> Color:
    """The colour tags of a decoded frame."""
    rgb = frame.format.is_rgb
    return Color(
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        matrix=RGB if rgb else int(frame.colorspace),
        full_range=rgb or int(frame.color_range) == FULL or frame.format.name.startswith("yuvj"),
    )


def matrix_for(color: Color, height: int) -> int:
    """The YUV matrix to compute with, as swscale's number, for reading and for writing alike.

    Untagged video is BT.601 below 720 lines and BT.709 from there, as most players take it. Since
    both ways use the same, a pixel that nobody touched keeps its YUV whatever the truth was.

    Args:
        color: the source's colour.
        height: lines of the source as coded, before rotation.
    """
    if color.matrix == RGB:
        return 1
    return _SWSCALE.get(color.matrix, 5 if height < 720 else 1)


def output_color(color: Color) -> Color:
    """The tags of a YUV output: the source's, or BT.709 in limited range where it was RGB."""
    if color.matrix != RGB:
        return color
    return Color(color.primaries, color.transfer, BT709, full_range=False)
