"""When a file says that its video begins and ends."""

import re

from av.container import InputContainer
from av.video.stream import VideoStream

FROM_ZERO = ("matroska,webm", "asf", "ogg")
"""Formats that state their duration from time 0 (Ogg with Opus alone), not from the first frame."""


def stated_start(container: InputContainer, stream: VideoStream) -> float:
    """The second at which a file says that a video stream begins; of an MP4 its edit list's."""
    if stream.start_time is not None and stream.time_base:
        start = float(stream.start_time * stream.time_base)
    else:
        start = (container.start_time or 0) / 1e6
    return max(0.0, start) if "mp4" in container.format.name else start  # see `is_before_start`


def stated_end(container: InputContainer) -> float:
    """The second at which a file says that its longest stream ends; 0: it does not say."""
    start = 0 if container.format.name in FROM_ZERO else container.start_time or 0
    return (container.duration or 0) / 1e6 + start / 1e6


def stated_duration(container: InputContainer, stream: VideoStream, start: float) -> float | None:
    """The length of a video in seconds, as its file states it; None: it does not.

    A container's own duration reaches to the end of its longest stream.
    """
    if stream.duration and stream.time_base:
        own, whole = float(stream.duration * stream.time_base), (container.duration or 0) / 1e6
        if "mp4" in container.format.name:  # less what an edit list cuts of fragments
            own += min(0.0, float((stream.start_time or 0) * stream.time_base))
            whole += min(0, container.start_time or 0) / 1e6
        # mp4 counts from the first decoding time, which B-frames at a varying rate put too early;
        # where no other stream can be meant, the file's length is the better one.
        alone = sum(s.type in ("video", "audio") for s in container.streams) == 1
        longest = max(own, whole) if alone else own
        return max(longest - start, 0.0) if container.format.name == "asf" else longest
    stated = re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", ""))
    if stated:  # Matroska's, counted from zero and not from the first frame
        hours, minutes, seconds = stated.groups()
        return max(int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start, 0.0)
    if container.duration and container.duration > 0:
        return max(stated_end(container) - start, 0.0)
    return None
