"""Whether published frames can be laid onto raw ones, and how raw ones are turned for it.

Who publishes may pad, cut, turn or mirror what was anonymized. Laid onto raw frames as they are,
such frames would differ everywhere, so that nobody would seem to be left.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import U8
from masquerade.attack.file_facts import check_source, is_made_from
from masquerade.attack.finders import at_size
from masquerade.attack.whole_frames import detail_of
from masquerade.errors import VideoError
from masquerade.video.container import printable
from masquerade.video.decoding_process import count_frames, probe
from masquerade.video.probe import VideoInfo

ROUNDING = 2  # pixels of a published side, by which rounding, as to even sizes, changes it at most
SIDE = 160  # pixels of the longer side of the copies whose details are compared
LEAST_CORRELATION = 0.2  # of these details with those of a turned raw frame
LEAST_GAIN = 0.1  # of that correlation over that with the raw frame as it is
ORIENTATIONS = tuple(product((False, True), range(4)))
"""Whether a raw frame is mirrored, and how many quarters it is turned; first comes as it is."""


def check_pair(path: Path, raw: Path) -> None:
    """Refuse to compare a published video frame by frame with a raw one that does not fit it.

    Raises:
        VideoError: a file cannot be read, the receipt names another raw video, one of the two is a
            still picture, or they have not the same shape.
    """
    check_source(path, raw)
    ours, theirs = probe(path), probe(raw)
    name, source = printable(path), printable(raw)
    stills = [info.kind == "image" for info in (ours, theirs)]
    if stills[0] != stills[1] and count_frames(raw if stills[0] else path) > 1:
        words = [
            f"{called} is a {'still picture' if still else 'video'}"
            for called, still in zip((name, source), stills, strict=True)
        ]
        raise VideoError(
            f"{' and '.join(words)}, so that nobody knows which frames belong together: give --raw "
            "what it was made from."
        )
    # networks make strips, of more than 4 to 1, less long
    if not _have_one_shape(ours, theirs) and not is_made_from(path, raw):
        raise VideoError(
            f"{name} shows {_shape(ours)} and {source} {_shape(theirs)}, which is another shape: "
            "compare the published file before it was padded, cut or turned."
        )


def orient_raw(published: U8, raw: Sequence[U8]) -> tuple[Sequence[U8], bool]:
    """Mirror or turn raw frames as a published one is, if it is, and tell whether it is.

    It is where its detail follows that of the turned raw frame, or of its negative, and that of the
    raw frame as it is far less. All are (H, W, 3), and the nearest of `raw` is the first.
    """
    if not raw:
        return raw, False
    ratio = SIDE / max(published.shape[:2])
    height, width = (max(1, round(side * ratio)) for side in published.shape[:2])
    here = detail_of(at_size(published, (width, height)))
    fitting = [turn for turn in ORIENTATIONS if width == height or turn[1] % 2 == 0]
    lying = at_size(raw[0], (width, height))
    correlations = [abs(_correlation(here, detail_of(_oriented(lying, turn)))) for turn in fitting]
    best = int(np.argmax(correlations))
    if correlations[best] < LEAST_CORRELATION or correlations[best] - correlations[0] < LEAST_GAIN:
        return raw, False
    return [_oriented(frame, fitting[best]) for frame in raw], True


def _oriented(frame: U8, orientation: tuple[bool, int]) -> U8:
    mirrored, quarters = orientation
    return np.ascontiguousarray(np.rot90(frame[:, ::-1] if mirrored else frame, quarters))


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 1e-6 else 0.0


def _have_one_shape(published: VideoInfo, raw: VideoInfo) -> bool:
    """Whether two videos have the same aspect ratio, within the rounding of their sizes.

    By their pixels or as they are shown: some formats cannot say how wide a pixel is.
    """
    ours, theirs = (float(info.sample_aspect) for info in (published, raw))
    return any(
        _is_scaled((published.width * x, published.height), (raw.width * y, raw.height), max(1, x))
        for x, y in ((1.0, 1.0), (ours, theirs))
    )


def _is_scaled(size: tuple[float, int], raw: tuple[float, int], wide: float) -> bool:
    """Whether one scale leads from a raw size (w, h) to another one, but for its rounding."""
    slack = ROUNDING * wide, ROUNDING
    least = max(
        (side - off) / raw_side for side, off, raw_side in zip(size, slack, raw, strict=True)
    )
    most = min(
        (side + off) / raw_side for side, off, raw_side in zip(size, slack, raw, strict=True)
    )
    return least <= most


def _shape(info: VideoInfo) -> str:
    return f"{round(info.width * info.sample_aspect)}x{info.height}"
