"""Colour tags of video files, the matrix to assume where a file has none, and transparency."""

from dataclasses import dataclass

from av import VideoFrame

RGB, BT709, UNSPECIFIED = 0, 1, 2  # AVColorSpace
FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020_NCL, BT2020_CL = 4, 5, 6, 7, 9, 10
LIMITED, FULL = 1, 2  # AVColorRange

# The matrices (AVColorSpace) that swscale knows, and its numbers of them (SWS_CS_*).
_SWSCALE = {
    BT709: 1,
    FCC: 4,
    BT470BG: 5,
    SMPTE170M: 5,
    SMPTE240M: 7,
    BT2020_NCL: 9,
    BT2020_CL: 9,
}


@dataclass(frozen=True)
class Color:
    """Colour tags as FFmpeg's numbers (AVColorPrimaries and so on); 2: untagged, matrix 0: RGB."""

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


def has_alpha(picture: VideoFrame) -> bool:
    """Whether a decoded picture may have transparent pixels, by an alpha channel or a palette."""
    return picture.format.name == "pal8" or any(c.is_alpha for c in picture.format.components)


def matrix_for(color: Color, height: int) -> int:
    """swscale's number of the YUV matrix to compute with, for reading and for writing alike.

    Untagged video is taken as BT.601 below 720 coded lines and as BT.709 from there, as most
    players do. Since both directions use the same matrix, pixels that are not changed keep their
    YUV values whatever the truth was.
    """
    if color.matrix == RGB:
        return 1
    return _SWSCALE.get(color.matrix, 5 if height < 720 else 1)
