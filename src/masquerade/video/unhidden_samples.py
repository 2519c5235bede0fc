"""Where nothing is hidden, pictures of the source's size and pixel format keep its own samples.

A picture that is converted to RGB and back is about one level darker (FFmpeg's fast conversion
rounds down), and some of its colours differ by more. What is not hidden need not go that way.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from masquerade.anonymizer import Pixels
from masquerade.arrays import U8
from masquerade.video.color import FULL, Color
from masquerade.video.probe import VideoInfo
from masquerade.video.shared_picture import plane_rows

Samples = NDArray[np.uint8] | NDArray[np.uint16]

PLANAR = re.compile(r"yuvj?4(20|22|44)p(9le|10le|12le|14le|16le)?")
"""Pixel formats of three planes, each of whole bytes or of pairs of them."""


def has_same_samples(info: VideoInfo, color: Color) -> bool:
    """Whether samples of a source mean the same in an output with the tags of `color`.

    A turned or flipped source is written upright, with its samples in other places.
    """
    tags = info.color.matrix == color.matrix and info.color.full_range == color.full_range
    return tags and not info.rotation and not info.mirrored


class Unhidden(NamedTuple):
    """A decoded picture of the source, and which of its pixels an output may not keep."""

    picture: VideoFrame  # of the decoder
    hidden: U8  # (H, W), 0 where nothing was to be hidden and nothing was changed


def unhidden(picture: VideoFrame, before: Pixels, after: Pixels, mask: U8) -> Unhidden:
    """Find which pixels of a source's frame its output may keep.

    Methods may change more than the mask: an outline that is widened hides the walk. Only what is
    outside the mask and has the source's very pixels stays.

    Args:
        picture: of the decoder.
        before: (H, W, 3), its pixels.
        after: (H, W, 3), what became of them.
        mask: (H, W), 0 to 255, how far each pixel was to be hidden.
    """
    same = cv2.inRange(cv2.absdiff(before, after), (0, 0, 0), (0, 0, 0))  # 255 in these pixels
    return Unhidden(picture, np.asarray(cv2.max(mask, cv2.bitwise_not(same)), np.uint8))


def keep_unhidden(picture: VideoFrame, source: Unhidden) -> None:
    """Give an encoder's picture the source's samples where nothing is hidden.

    A sample of colour that several pixels share is the source's only where none of them is hidden.
    Pictures of other sizes or formats than the source's, of formats without three planes, and
    interlaced ones, in which other pixels share their colour, stay as they are.

    Args:
        picture: what was made of the anonymized frame.
        source: the same frame.
    """
    mask = source.hidden
    if not _are_alike(picture, source.picture) or mask.shape != (picture.height, picture.width):
        return
    x, y, width, height = cv2.boundingRect(mask)
    for own, source_plane in zip(_planes(picture), _planes(source.picture), strict=True):
        down, across = (-(-a // b) for a, b in zip(mask.shape, own.shape, strict=True))
        top, left = y // down, x // across
        place = slice(top, -(-(y + height) // down)), slice(left, -(-(x + width) // across))
        hidden = _shared(mask[top * down : y + height, left * across : x + width], down, across)
        made = own[place].copy()
        own[:] = source_plane  # most of a frame, usually
        np.copyto(own[place], made, where=hidden)


def _are_alike(picture: VideoFrame, source: VideoFrame) -> bool:
    """Whether two pictures have the same size, and planes of the same layout and range."""
    if source.interlaced_frame:
        return False
    if source.format.name.startswith("yuvj") and int(picture.color_range) != FULL:
        return False  # some videos change
    names = [frame.format.name.replace("yuvj", "yuv") for frame in (picture, source)]
    same = names[0] == names[1] and PLANAR.fullmatch(names[0]) is not None
    return same and (picture.width, picture.height) == (source.width, source.height)


def _planes(picture: VideoFrame) -> Iterator[Samples]:
    """Each plane of a picture as an array of samples (rows, columns) that can be written to."""
    deep = picture.format.components[0].bits > 8
    for plane in picture.planes:
        rows = plane_rows(plane)
        yield (rows.view(np.uint16) if deep else rows)[:, : plane.width]


def _shared(mask: U8, down: int, across: int) -> NDArray[np.bool_]:
    """For each sample that `down` x `across` pixels share, whether any of them is hidden."""
    hidden = mask > 0
    shared = hidden[::down, ::across].copy()
    for y in range(down):
        for x in range(across):
            part = hidden[y::down, x::across]
            shared[: part.shape[0], : part.shape[1]] |= part
    return shared
