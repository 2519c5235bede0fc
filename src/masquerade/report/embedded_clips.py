"""Short videos and stills as data URLs, so that a page shows them without any other file."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from masquerade.errors import UsageError
from masquerade.report.page import embedded
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
LIMIT = 8_000_000  # characters of all data URLs of a page


class Clip(NamedTuple):
    """A short video or still that shows what a method does: of the output, never of the source."""

    name: str  # of the method, as the table calls it
    path: Path
    caption: str = ""


class EmbeddedClip(NamedTuple):
    """The same within the page."""

    name: str
    caption: str
    url: str
    video: bool
    poster: str  # the first frame; "" of a still


def embed_clips(
    clips: Sequence[Clip], *, limit: int = LIMIT
) -> tuple[list[EmbeddedClip], list[Clip]]:
    """Clips as data URLs in their order until a limit is reached, and those that were left out.

    Raises:
        UsageError: a file is missing or of another type.
        VideoError: a video cannot be decoded.
    """
    found: list[EmbeddedClip] = []
    left_out: list[Clip] = []
    for clip in clips:
        kind = TYPES.get(clip.path.suffix.lower())
        if kind is None:
            raise UsageError(f"{clip.path} cannot be shown in a page: give {', '.join(TYPES)}.")
        if not clip.path.is_file():
            raise UsageError(f"There is no file {clip.path} to show in the page.")
        is_video, size = kind.startswith("video"), clip.path.stat().st_size * 4 // 3
        if size > limit:  # not even read
            left_out.append(clip)
            continue
        poster = _first_frame(clip.path) if is_video else ""
        url = f"data:{kind};base64,{base64.b64encode(clip.path.read_bytes()).decode()}"
        if len(url) + len(poster) > limit:
            left_out.append(clip)
            continue
        limit -= len(url) + len(poster)
        found.append(EmbeddedClip(clip.name, clip.caption, url, is_video, poster))
    return found, left_out


def _first_frame(path: Path) -> str:
    with Reader(path, force_8bit=True) as reader:
        for frame in reader:
            if isinstance(frame, Frame):
                return embedded(frame.rgb())
    return ""
