"""Packet clips: what a published file and its receipt tell without the picture being decoded.

A packet clip is (6, 64, 1, 1) in floats, and its channels are

0. the packets' sizes, as logarithms to base 2 of bytes, at 64 moments spread over the clip;
1. how many of the packets are key frames, at the same moments;
2. the spectrum of the sizes from no change to one in every other frame: what moves in a rhythm
   costs the encoder bytes in that rhythm;
3. of the receipt, the share of the frame that is hidden, at the same moments;
4. of the receipt, how many regions are hidden, as logarithms, at the same moments;
5. facts: see `FILE_FACTS`; then zeros.

Receipts say channels 3 and 4 of every frame, public ones too. Raw video has no receipt, and zeros
there. Packets are those of the file that `anonymize` would write by default, and of raw video those
of the same encoder.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import F32
from masquerade.datasets.manifest import IntArray
from masquerade.video.probe import PacketFacts

CHANNELS, POSITIONS = 6, 64
FLOOR = 0.05  # of a spectrum of logarithms, below which changes are no rhythm
FILE_FACTS = (
    "bytes",  # of all packets of the clip
    "bytes a second",
    "frames",
    "seconds",
    "frames a second",
    "width",
    "height",
    "share of key frames",  # all others are logarithms to base 2
)


def packet_clip(
    packets: Mapping[int, PacketFacts],
    receipt: Mapping[int, tuple[float, int]],
    numbers: IntArray,
    *,
    size: tuple[int, int],
) -> F32:
    """(6, 64, 1, 1) of some frames of a video.

    Args:
        packets: of each frame of the file, by its number.
        receipt: of each frame the share that is hidden and the number of regions; none of raw
            video.
        numbers: (T,) of the frames.
        size: (width, height) of the frames in pixels.
    """
    chosen = [packets[int(i)] for i in numbers]
    sizes = np.log2([packet.bytes for packet in chosen])
    key = np.array([packet.key for packet in chosen], np.float64)
    seconds = max(sum(packet.seconds for packet in chosen), 1e-3)
    total = float(sum(packet.bytes for packet in chosen))
    facts = [total, total / seconds, len(chosen), seconds, len(chosen) / seconds, *size]
    out = np.zeros((CHANNELS, POSITIONS), np.float32)
    out[0], out[1] = _resampled(sizes), _resampled(key)
    out[2] = _spectrum(np.where(key > 0, np.median(sizes), sizes))
    if receipt:
        share, regions = np.array([receipt[int(i)] for i in numbers], np.float64).T
        out[3], out[4] = _resampled(share), _resampled(np.log2(1 + regions))
    out[5, : len(FILE_FACTS)] = [*np.log2(facts), key.mean()]
    return out[:, :, None, None]


def _resampled(values: NDArray[np.float64]) -> F32:
    """(64,) of (n,): means of equal parts, or what lies between where there are fewer."""
    way = cv2.INTER_AREA if len(values) > POSITIONS else cv2.INTER_LINEAR
    row = np.asarray(values, np.float32)[None]
    return np.asarray(cv2.resize(row, (POSITIONS, 1), interpolation=way)[0], np.float32)


def _spectrum(sizes: NDArray[np.float64]) -> F32:
    """(64,) logarithms of the amplitudes from 0 to one change in two frames."""
    window = np.hanning(len(sizes) + 2)[1:-1]
    points = max(len(sizes), 2 * POSITIONS)
    amplitudes = np.abs(np.fft.rfft((sizes - sizes.mean()) * window, n=points)) / window.sum()
    return np.log2(_resampled(amplitudes[1:]) + FLOOR)
