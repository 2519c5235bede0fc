"""Where nothing is hidden, an output's pictures have the source's own samples.

A picture that is converted to RGB and back is about one level darker (FFmpeg's fast conversion
rounds down), and some of its colours differ by more. What is not hidden need not go that way.
"""

import re
from collections.abc import Iterator

import cv2
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from masquerade.video.color import Color
from masquerade.video.probe import VideoInfo

U8 = NDArray[np.uint8]
Samples = NDArray[np.uint8] | NDArray[np.uint16]

PLANAR = re.compile(r"yuvj?4(20|22|44)p(9le|10le|12le|14le|16le)?")
"""Pixel formats of three planes, each of whole bytes or of pairs of them."""


def has_same_samples(info: VideoInfo, color: Color) -> bool:
    """Whether samples of a source mean the same in an output with the tags of `color`.

    A turned or flipped source is written upright, with its samples in other places.
    """
    tags = info.color.matrix == color.matrix and info.color.full_range == color.full_range
    return tags and not info.rotation and not info.mirrored


def keep_unhidden(picture: VideoFrame, source: VideoFrame, mask: U8) -> None:
    """Give an encoder's picture the source's samples where the mask is 0.

    A sample of colour that several pixels share is the source's only where none of them is hidden.
    Pictures of other sizes or formats than the source's, or of formats without three planes, stay
    as they are.

    Args:
        picture: what was made of the anonymized frame.
        source: the decoder's picture of the same frame.
        mask: (H, W), 0 to 255, how far each pixel is hidden.
    """
    if not _are_alike(picture, source) or mask.shape != (picture.height, picture.width):
        return
    x, y, width, height = cv2.boundingRect(mask)
    for own, given in zip(_planes(picture), _planes(source), strict=True):
        down, across = (-(-a // b) for a, b in zip(mask.shape, own.shape, strict=True))
        top, left = y // down, x // across
        place = slice(top, -(-(y + height) // down)), slice(left, -(-(x + width) // across))
        hidden = _shared(mask[top * down : y + height, left * across : x + width], down, across)
        made = own[place].copy()
        own[:] = given  # most of a frame, usually
        np.copyto(own[place], made, where=hidden)


def _are_alike(picture: VideoFrame, source: VideoFrame) -> bool:
    """Whether two pictures have the same size, and planes of the same layout."""
    names = [one.format.name.replace("yuvj", "yuv") for one in (picture, source)]
    same = names[0] == names[1] and PLANAR.fullmatch(names[0]) is not None
    return same and (picture.width, picture.height) == (source.width, source.height)


def _planes(picture: VideoFrame) -> Iterator[Samples]:
    """The samples of each plane, (rows, columns), which can be written to."""
    deep = picture.format.components[0].bits > 8
    for plane in picture.planes:
        bytes_of = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)  # type: ignore[call-overload]
        if plane.line_size < 0:  # stored from the last row upwards
            bytes_of = bytes_of[::-1]
        samples = bytes_of.view(np.uint16) if deep else bytes_of
        yield samples[:, : plane.width]


def _shared(mask: U8, down: int, across: int) -> NDArray[np.bool_]:
    """For each sample that `down` x `across` pixels share, whether any of them is hidden."""
    hidden = mask > 0
    shared = hidden[::down, ::across].copy()
    for y in range(down):
        for x in range(across):
            part = hidden[y::down, x::across]
            shared[: part.shape[0], : part.shape[1]] |= part
    return shared
