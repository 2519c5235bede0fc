"""Whether the sizes of a published file's packets still follow what moves in the raw video.

An encoder spends bytes where something changes. Whoever watches an encrypted connection sees how
large packets are and not what is in them, and learns from that when and how much somebody moves,
however well pictures are hidden. Here the sizes over time are compared with those of the raw file.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masquerade.attack.finding import Finding
from masquerade.video.decoding_process import list_packets
from masquerade.video.probe import PacketFacts

Series = NDArray[np.float64]

PART = 0.2  # seconds over which sizes are averaged: several frames, whose kinds differ in size
LEAST_PARTS = 12  # without which nothing can be compared
MOST_PARTS = 10**7  # 23 days, beyond which a file does not tell how long it lasts
LEAST_LIKE = 0.3  # correlation below which sizes tell hardly anything
LEAST_STANDARD_ERRORS = 3.0  # from which on a correlation is none by chance


def compare_packet_sizes(path: Path, raw: Path) -> Finding:
    """Test whether the packets of two files grow and shrink together over time.

    Raises:
        VideoError: a file cannot be read.
    """
    published, source = (size_series(list_packets(file)) for file in (path, raw))
    count = min(len(published), len(source))
    work = f"sizes of all packets but key frames, in {count} parts of {PART:g} s"
    if count < LEAST_PARTS or not all(series[:count].std() > 0 for series in (published, source)):
        why = f"there are {count} parts of {PART:g} s, and {LEAST_PARTS} are needed"
        if not count:
            why = "one of the files does not tell how long its frames are shown"
        elif count >= LEAST_PARTS:
            why = "in one of the files all packets are of one size, or key frames"
        return Finding(
            attack="sizes",
            level="nothing",
            says=f"Sizes of packets were not compared with those of the raw file: {why}.",
            work=work,
        )
    like, errors = correlation(published[:count], source[:count])
    follows = like >= LEAST_LIKE and errors >= LEAST_STANDARD_ERRORS
    return Finding(
        attack="sizes",
        level="left" if follows else "nothing",
        says=(
            "The sizes of the published file's packets follow those of the raw file (correlation "
            f"{like:.2f}): who sees only how much data is sent, as on an encrypted connection, can "
            "tell when and how much somebody moves. A constant bit rate would hide it."
        )
        if follows
        else (
            "The sizes of the published file's packets do not surely follow those of the raw file "
            f"(correlation {like:.2f})."
        ),
        work=f"{work}; they follow from a correlation of {LEAST_LIKE:g} and "
        f"{LEAST_STANDARD_ERRORS:g} standard errors on",
    )


def size_series(packets: Sequence[PacketFacts]) -> Series:
    """Logarithms of the packets' sizes to base 2, averaged over parts of the video.

    Key frames hold a whole picture and are left out, so that their rhythm is not taken for motion.
    Empty where the file does not tell how long its frames are shown, or what cannot be.
    """
    seconds = np.array([packet.seconds for packet in packets])
    ends = np.cumsum(seconds)
    if not len(packets) or not 0 < ends.max() < MOST_PARTS * PART:
        return np.zeros(0)
    part = ((ends - seconds / 2) / PART).astype(np.int64)
    not_key = np.array([not packet.key for packet in packets])
    sizes = np.log2([packet.bytes for packet in packets])
    counts = np.bincount(part[not_key], minlength=part[-1] + 1)
    sums = np.bincount(part[not_key], weights=sizes[not_key], minlength=part[-1] + 1)
    known = np.flatnonzero(counts)
    if not len(known):
        return np.zeros(len(counts))
    return np.interp(np.arange(len(counts)), known, sums[known] / counts[known])


def correlation(a: Series, b: Series) -> tuple[float, float]:
    """How far two series follow one another without their trends, and in how many standard errors.

    What lies near in time is alike, so that there are fewer independent parts than parts (Bayley
    and Hammersley, Supplement to the Journal of the Royal Statistical Society 1946).
    """
    first, second = (_without_trend(series) for series in (a, b))
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if spread <= 1e-9:
        return 0.0, 0.0
    like = float(first @ second) / spread
    lasting = max(0.0, _lag(first)) * max(0.0, _lag(second))
    independent = max(3.0, len(a) * (1 - lasting) / (1 + lasting))
    return like, like * math.sqrt((independent - 2) / max(1e-9, 1 - like**2))


def _without_trend(series: Series) -> Series:
    time = np.arange(len(series)) - (len(series) - 1) / 2
    centred = series - series.mean()
    return np.asarray(centred - time * float(time @ centred) / float(time @ time))


def _lag(series: Series) -> float:
    """The correlation of each part with the next."""
    square = float((series**2).sum())
    return float(series[:-1] @ series[1:]) / square if square else 0.0
