"""Open a file with FFmpeg: by its content, never by its name, and no other file with it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from masquerade.errors import VideoError

if TYPE_CHECKING:
    from av.container import InputContainer

STILLS = ("png_pipe", "jpeg_pipe", "bmp_pipe", "webp_pipe", "tiff_pipe")
VIDEOS = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "avi",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "gif",
    "apng",
    "ogg",
    "flv",
    "asf",
    "mjpeg",
    "h264",
    "hevc",
    "ivf",
)
MAX_PIXELS = 2**27  # 16384 x 8192; one such frame is 400 MB as RGB
_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:/")


class _Bytes:
    """A file object that hides its name from FFmpeg, which would interpret names as addresses."""

    name = "input"

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.read = self._file.read
        self.seek = self._file.seek
        self.tell = self._file.tell

    def close(self) -> None:
        self._file.close()


def printable(path: Path | str) -> str:
    """A path's last part for a message, printable whatever its bytes are."""
    name = os.path.basename(os.fspath(path).rstrip("/")) or os.fspath(path)
    return os.fsencode(name).decode("utf-8", "backslashreplace").replace("\n", "\\n")


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("a video may not open another file")


def _regular(path: Path) -> int:
    """The descriptor of a regular file; FIFOs and devices are refused without blocking."""
    name = printable(path)
    if _ADDRESS.match(str(path)) and not path.exists():
        raise VideoError(f"{path} is an address; download it and give the file.")
    try:
        # O_NONBLOCK: a FIFO without a writer must not hold us between this line and the check.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise VideoError(f"{name} does not exist.") from None
    except OSError as error:
        raise VideoError(f"{name} cannot be opened: {error.strerror}.") from None
    about = os.fstat(descriptor)
    if stat.S_ISREG(about.st_mode) and about.st_size:
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(about.st_mode):
        raise VideoError(f"{name} is a folder; give the files in it, or a frame rate for images.")
    if not stat.S_ISREG(about.st_mode):
        raise VideoError(f"{name} is not a regular file; copy the video to one.")
    raise VideoError(f"{name} is empty; copy it again from where it came.")


@contextmanager
def open_container(
    path: Path, *, formats: tuple[str, ...] = VIDEOS + STILLS
) -> Iterator[InputContainer]:
    """Open a file whose format is found by its content among an allow-list of demuxers.

    Args:
        path: a regular file.
        formats: FFmpeg's names of the demuxers that may read it.

    Raises:
        VideoError: it is no regular file, or no such video.
    """
    import av

    source = _Bytes(_regular(path))
    try:
        try:
            container: InputContainer = av.open(
                source,
                "r",
                container_options={
                    "format_whitelist": ",".join(formats),
                    "protocol_whitelist": "none",  # there is no such protocol
                    "export_xmp": "1",
                    "export_all": "1",
                },
                metadata_errors="replace",
                buffer_size=1 << 16,
                io_open=_refuse,
            )
        except (av.FFmpegError, ValueError, OSError, MemoryError, RuntimeError) as error:
            raise VideoError(
                f"{printable(path)} is not a video that can be read{_why(error)}."
            ) from None
        with container:
            yield container
    finally:
        source.close()


def _why(error: BaseException) -> str:
    """FFmpeg's reason, if it says more than that the data are invalid."""
    reason: Any = getattr(error, "strerror", None)
    known = {None, "Invalid data found when processing input", "Invalid argument"}
    return "" if reason in known else f" ({str(reason).lower()})"
