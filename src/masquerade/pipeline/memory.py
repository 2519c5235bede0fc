"""The most memory that a run over one file may take, and how what it took is given back.

What is counted are the pictures and frames that the stages of `stream` and the region source hold
at once, what the method computes with, and what the detector takes. The process that decodes has
a limit of its own (`video.decoding_child.memory_limit`).
"""

import ctypes

from masquerade.errors import VideoError
from masquerade.pipeline.stream import QUEUE_BYTES, QUEUE_LENGTH
from masquerade.regions.face_detectors import MOST_PIXELS
from masquerade.regions.region_sources import held_bytes
from masquerade.video.container import printable
from masquerade.video.probe import VideoInfo

BASE_BYTES = 2**30  # libraries, networks, encoder
MOST_BYTES = 3 * 2**33  # of a run, 24 GiB; what would take more is refused
METHOD_BYTES = 60  # a pixel and frame of a window: five copies of it in floats
DETECTOR_BYTES = 300  # a pixel that a detector sees
QUEUES = 5  # between decoder, region source, method, conversion and encoder
_C = ctypes.CDLL(None)
_TRIM, _MALLOPT = (getattr(_C, name, None) for name in ("malloc_trim", "mallopt"))  # of glibc
_ARENA_MAX = -8  # mallopt's number of how many arenas there may be


def held_pictures(picture_bytes: int, look_ahead: int, window: int) -> int:
    """How many decoded pictures a run holds at most: in queues, in windows and in hand."""
    queue = max(1, min(QUEUE_LENGTH, QUEUE_BYTES // max(1, picture_bytes)))
    return QUEUES * (queue + 2) + look_ahead + 2 * max(1, window)


def most_bytes(info: VideoInfo, source: object, window: int) -> int:
    """The bytes that a run takes at most, without the process that decodes.

    Args:
        info: of the source.
        source: the region source, which reads `look_ahead` frames ahead.
        window: frames that the method is given at once.
    """
    pixels, look_ahead = info.width * info.height, getattr(source, "look_ahead", 0)
    rgb = pixels * (6 if info.bit_depth > 8 else 3)
    held = held_pictures(info.picture_bytes, look_ahead, window)
    frames = held_pictures(rgb, 0, window)  # anonymized, and those that they were made of
    method = pixels * METHOD_BYTES * max(1, window)
    detector = min(pixels, MOST_PIXELS) * DETECTOR_BYTES
    regions = look_ahead * held_bytes(source, info)
    return BASE_BYTES + held * info.picture_bytes + frames * rgb + method + detector + regions


def check_memory(info: VideoInfo, source: object, window: int) -> None:
    """Refuse a video whose run may take more than `MOST_BYTES`, before it is decoded.

    `source` and `window` are those of `most_bytes`.
    """
    most = most_bytes(info, source, window)
    if most > MOST_BYTES:
        raise VideoError(
            f"{printable(info.path)} at {info.width}x{info.height} may take "
            f"{most / 2**30:.0f} GiB of memory and {MOST_BYTES >> 30} are the most; make it "
            "smaller, or lower --batch-size, --every, --gap or the frame of --at."
        )


def use_one_malloc_arena() -> None:
    """Let all threads from now on allocate from one arena, where the C library is glibc.

    It has several for each core, and each keeps what was freed in it at its end: over many files
    all would grow to what the hungriest stage needs, though only one thread runs it at once.
    """
    if _MALLOPT is not None:
        _MALLOPT(_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Give memory that is free inside this process back to the system, if that is glibc's."""
    if _TRIM is not None:
        _TRIM(0)
