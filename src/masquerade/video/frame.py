"""Decoded frames, and the one conversion from YUV to upright RGB."""

from dataclasses import dataclass
from fractions import Fraction
from threading import Lock
from typing import Any

import cv2
import numpy as np
from av import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from masquerade.anonymizer import Pixels, Planes
from masquerade.video.color import FULL, LIMITED, has_alpha, matrix_for
from masquerade.video.probe import VideoInfo
from masquerade.video.shared_picture import plane_rows

PLANES = ("yuv420p", "yuvj420p")  # pixel formats of 8 bits with colour at half the size
MOST_SIZES = 12  # that tables are kept for; making them anew takes longer than scaling a picture


class YuvToRgb:
    """Converts decoded pictures of one video to upright RGB; several threads may share it.

    swscale's tables are kept between pictures, one set for each size that is asked for.
    `force_8bit` gives 8 bits even where the source has more; `opaque` the colours of transparent
    pixels, which are else blended over black.
    """

    def __init__(self, info: VideoInfo, *, force_8bit: bool = False, opaque: bool = False) -> None:
        self.info = info
        self._deep = info.bit_depth > 8 and not force_8bit
        self._opaque = opaque
        self._scalers: dict[object, tuple[Any, Lock]] = {}  # by size and kind of what is made
        self._adding = Lock()
        self._matrix = matrix_for(info.color, info.coded_size[1])
        self._range = FULL if info.color.full_range else LIMITED

    def rgb(self, picture: VideoFrame, size: tuple[int, int] | None) -> Pixels:
        """Upright RGB of a picture, (H, W, 3); see `Frame.rgb`."""
        pixels: Pixels
        if size is None:
            pixels = self._convert(None, picture, self.info.coded_size, deep=self._deep)
        else:
            coded = size[::-1] if self.info.rotation in (90, 270) else size
            pixels = self._convert(coded, picture, coded, deep=False)
        return upright(pixels, self.info.rotation, self.info.mirrored)

    def luma(self, picture: VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The brightness of a scaled copy, (h, w), upright and over 0..255."""
        if picture.format.is_rgb or self.info.has_alpha or has_alpha(picture):
            return np.asarray(cv2.cvtColor(self.rgb(picture, size), cv2.COLOR_RGB2GRAY), np.uint8)
        coded = size[::-1] if self.info.rotation in (90, 270) else size
        scaler, alone = self._scaler((coded, "luma"))
        with alone:
            out = scaler.reformat(
                picture,
                width=coded[0],
                height=coded[1],
                format="gray",
                src_color_range=self._range,
                dst_color_range=FULL,
            )
        return upright(out.to_ndarray(), self.info.rotation, self.info.mirrored)

    def planes(self, picture: VideoFrame) -> Planes | None:
        """The Y, Cb and Cr planes of a decoded picture, upright; None where `Frame.planes` says."""
        info, name = self.info, picture.format.name
        like = (picture.width, picture.height) == info.coded_size and name in PLANES
        odd = picture.width % 2 or picture.height % 2
        # what is tagged so is full range whatever the first picture was: some videos change
        other_range = name == "yuvj420p" and not info.color.full_range
        if not like or odd or other_range or info.has_alpha or picture.interlaced_frame:
            return None
        y, cb, cr = (
            upright(plane_rows(plane)[:, : plane.width], info.rotation, info.mirrored)
            for plane in picture.planes
        )
        for plane in (y, cb, cr):
            plane.flags.writeable = False
        return Planes(y, cb, cr, info.color.full_range)

    def _scaler(self, key: object) -> tuple[Any, Lock]:
        with self._adding:
            if key not in self._scalers and len(self._scalers) == MOST_SIZES:
                self._scalers.clear()
            return self._scalers.setdefault(key, (VideoReformatter(), Lock()))

    def _convert(
        self,
        key: tuple[int, int] | None,
        picture: VideoFrame,
        size: tuple[int, int],
        *,
        deep: bool,
    ) -> Any:  # Pixels
        """Also converts pictures of another size or format than the first: some videos change."""
        formats = ("rgb24", "rgb48le", "rgba", "rgba64le")
        alpha = self.info.has_alpha or has_alpha(picture)
        yuv = not picture.format.is_rgb and picture.format.name != "pal8"
        scaler, alone = self._scaler(key)
        with alone:
            out = scaler.reformat(
                picture,
                width=size[0],
                height=size[1],
                format=formats[2 * alpha + deep],
                src_colorspace=self._matrix if yuv else None,
                src_color_range=self._range if yuv else None,
            )
        pixels: Any = out.to_ndarray()
        if alpha:
            return np.ascontiguousarray(pixels[..., :3]) if self._opaque else over_black(pixels)
        return pixels


def over_black(pixels: Pixels) -> Pixels:
    """Blend RGBA (H, W, 4) over black: (H, W, 3) of the same type."""
    if pixels.dtype == np.uint8:
        *channels, alpha = cv2.split(pixels)
        shares = [cv2.multiply(channel, alpha, scale=1 / 255) for channel in channels]  # rounded
        return np.asarray(cv2.merge(shares), np.uint8)
    top = np.iinfo(pixels.dtype).max
    wide: NDArray[np.uint64] = pixels[..., :3].astype(np.uint64) * pixels[..., 3:]
    laid: Pixels = ((wide + top // 2) // top).astype(pixels.dtype)  # type: ignore[assignment]
    return laid


def upright(pixels: Any, rotation: int, mirrored: bool) -> Any:
    """(H, W, 3) or (H, W) turned clockwise by `rotation` degrees, then flipped if mirrored."""
    if not rotation and not mirrored:
        return pixels
    turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    # three times as fast as numpy's copy of a transposed view
    turned = cv2.rotate(pixels, turns[rotation]) if rotation else pixels
    return cv2.flip(turned, 1) if mirrored else turned


@dataclass(slots=True, eq=False)
class Frame:
    """One frame in display order: its time, and its pixels on demand.

    It holds the decoder's own picture, which is half the size of the RGB.
    """

    picture: VideoFrame
    _to_rgb: YuvToRgb
    pts: int  # ticks of `time_base`, strictly increasing over a video
    duration: int  # ticks until the next frame
    time_base: Fraction  # seconds a tick
    index: int  # 0 for the first frame

    @property
    def width(self) -> int:
        """Pixels, upright; the same for every frame of a video."""
        return self._to_rgb.info.width

    @property
    def height(self) -> int:
        """Pixels, upright; the same for every frame of a video."""
        return self._to_rgb.info.height

    @property
    def time(self) -> float:
        """Seconds."""
        return float(self.pts * self.time_base)

    def rgb(self, size: tuple[int, int] | None = None) -> Pixels:
        """Upright RGB, (H, W, 3): uint8, or uint16 over 0..65535 where the source has more bits.

        Given a `size`, (width, height) upright, it is scaled in one step from the decoder's picture
        and always uint8, as detectors want it.
        """
        return self._to_rgb.rgb(self.picture, size)

    def planes(self) -> Planes | None:
        """The Y, Cb and Cr planes as they were decoded, upright and read-only.

        None: it is not of 8 bits in 4:2:0, of odd size, interlaced, or unlike the video's first.
        """
        return self._to_rgb.planes(self.picture)

    def luma(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Upright luma of a copy scaled to `size`, (width, height), as (h, w) over 0..255.

        It comes from the decoder's own luma where there is one, five times as fast as from RGB.
        """
        return self._to_rgb.luma(self.picture, size)
