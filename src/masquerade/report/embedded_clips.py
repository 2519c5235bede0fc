"""Short videos and stills as data URLs, so that a page shows them without any other file."""

import base64
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from masquerade.errors import UsageError, VideoError
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
TOO_LARGE = "the page would become too large"
POSTER = 8  # frames from the beginning, of which the last one stands there before a video plays


class Clip(NamedTuple):
    """A short video or still that shows what a method does.

    It is of the output; of the source only where nobody in it is real.
    """

    name: str  # of the method, as the table calls it
    path: Path
    shows: str = ""  # what is done in it, alike for clips of one source


class OmittedClip(NamedTuple):
    """A short video or still that a page does not show, and why."""

    clip: Clip
    why: str


class EmbeddedClip(NamedTuple):
    """A short video or still whose bytes stand in the page itself."""

    name: str
    shows: str
    url: str
    video: bool
    poster: str  # a frame near its beginning; "" of a still


def embed_clips(
    clips: Sequence[Clip], *, limit: int = LIMIT
) -> tuple[list[EmbeddedClip], list[OmittedClip]]:
    """Clips as data URLs in their order until a limit is reached, and those that were left out.

    Raises:
        UsageError: a file is missing or of another type.
    """
    shown: list[EmbeddedClip] = []
    left_out: list[OmittedClip] = []
    for clip in clips:
        kind = TYPES.get(clip.path.suffix.lower())
        if kind is None:
            raise UsageError(f"{clip.path} cannot be shown in a page: give {', '.join(TYPES)}.")
        if not clip.path.is_file():
            raise UsageError(f"There is no file {clip.path} to show in the page.")
        is_video, size = kind.startswith("video"), clip.path.stat().st_size * 4 // 3
        if size > limit:  # not even read
            left_out.append(OmittedClip(clip, TOO_LARGE))
            continue
        try:
            poster = _poster(clip.path) if is_video else ""
        except VideoError:  # as a run that was killed may leave it; the others are shown
            left_out.append(OmittedClip(clip, f"{clip.path.name} cannot be decoded"))
            continue
        url = f"data:{kind};base64,{base64.b64encode(clip.path.read_bytes()).decode()}"
        if len(url) + len(poster) > limit:
            left_out.append(OmittedClip(clip, TOO_LARGE))
            continue
        limit -= len(url) + len(poster)
        shown.append(EmbeddedClip(clip.name, clip.shows, url, is_video, poster))
    return shown, left_out


def _poster(path: Path) -> str:
    """A frame near the beginning: the first one of a frame difference is black."""
    with Reader(path, force_8bit=True) as reader:
        frames = [frame for frame in islice(reader, POSTER) if isinstance(frame, Frame)]
    return embedded(frames[-1].rgb()) if frames else ""
