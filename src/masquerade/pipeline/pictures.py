"""Conversion of anonymized frames to the pictures that the encoder gets.

Published files and the files that `evaluate --through-file` attacks are made by it alike.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from av import VideoFrame

from masquerade.anonymizer import Anonymizer, Pixels
from masquerade.pipeline.config import FileConfig
from masquerade.pipeline.stream import AnonymizedFrame
from masquerade.video.coarse_regions import COARSE, mark_coarse
from masquerade.video.probe import VideoInfo
from masquerade.video.unhidden_samples import has_same_samples, keep_unhidden
from masquerade.video.write import Writer


def output_info(info: VideoInfo, anonymizer: Anonymizer | None, config: FileConfig) -> VideoInfo:
    """A source as its output's video is to be: of its size, or of the method's."""
    if config.size == "source" or anonymizer is None:
        return info
    height, width = anonymizer.size(info.height, info.width)
    return replace(info, height=height, width=width)


def mask_picture(item: AnonymizedFrame) -> Pixels:
    """The mask of a frame in grey, (H, W, 3)."""
    mask = np.full(item.shape, 255, np.uint8) if item.mask is None else item.mask
    return np.asarray(cv2.merge((mask, mask, mask)), np.uint8)


class PictureMaker:
    """Makes the pictures that an encoder is given of anonymized frames.

    Args:
        writer: of the output.
        source: the input's video.
        anonymizer: what hid the frames.
        noise_qoffset: how much coarser noise is encoded; see `FileConfig`.
    """

    def __init__(
        self, writer: Writer, source: VideoInfo, anonymizer: Anonymizer, *, noise_qoffset: float
    ) -> None:
        self._writer, self._qoffset = writer, noise_qoffset
        encoding = writer.encoding
        known = encoding.codec in COARSE and not encoding.lossless
        self._coarse = anonymizer.noisy and noise_qoffset > 0 and known
        self._keeps = has_same_samples(source, writer.color)

    def __call__(self, item: AnonymizedFrame) -> VideoFrame:
        """Convert one anonymized frame to the picture that is encoded."""
        writer = self._writer
        if item.planes is not None:
            picture = writer.to_picture(item.planes)
        else:
            picture = writer.to_picture(_resize(item.pixels, writer.info))
        if self._keeps and item.unhidden is not None:
            keep_unhidden(picture, item.unhidden)
        if self._coarse and item.shape == (writer.info.height, writer.info.width):
            picture = mark_coarse(picture, item.mask, self._qoffset)
        return picture


def _resize(pixels: Pixels, info: VideoInfo) -> Pixels:
    if pixels.shape[:2] == (info.height, info.width):
        return pixels
    return cv2.resize(pixels, (info.width, info.height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
