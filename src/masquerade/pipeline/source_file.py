"""Refusal of sources that are no files: those that are not there, pipes and devices."""

import os
import stat
from pathlib import Path

from masquerade.errors import VideoError
from masquerade.object_store import refuse_no_store

_OPENED = "/proc/"  # where descriptors of this process have names, which no other one can open


def check_source(src: Path, *, sequence: float | None) -> None:
    """Refuse a source that is no file, and no folder of images where their rate is given.

    Pipes are refused, too: a source is read twice, by other processes.

    Args:
        src: the source.
        sequence: the rate in images a second, if it is a folder of images; None: it is a file.

    Raises:
        VideoError: it is neither, it is not there, or its folder cannot be read.
    """
    try:
        there = src.exists()
        mode = src.stat().st_mode if there else 0
    except OSError as error:
        says = f"{src} cannot be read: {error.strerror}; see who may read its folder."
        raise VideoError(says) from error
    if not there:
        refuse_no_store(src, VideoError)
        raise VideoError(f"{src} does not exist; check the name.")
    if stat.S_ISDIR(mode) and sequence is None:
        raise VideoError(f"{src} is a folder; give the files in it, or a frame rate for images.")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _is_descriptor(src):
        raise VideoError(
            f"{src} is a pipe, a device or the like, and anonymize needs a file: save the video to "
            "one, or let `masquerade live` read the pipe."
        )


def _is_descriptor(src: Path) -> bool:
    """Whether a path names what this process has opened, as /dev/stdin and /dev/fd/63 do."""
    link = os.readlink(src) if src.is_symlink() else ""
    return link.startswith(_OPENED) or os.path.realpath(src.parent).startswith(_OPENED)
