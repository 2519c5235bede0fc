"""Open a video or image with FFmpeg by its content, so that no other file is opened with it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import av
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.stream import VideoStream

from masquerade.errors import VideoError
from masquerade.object_store import refuse_no_store
from masquerade.text import escape
from masquerade.video.addresses import PROTOCOLS
from masquerade.video.truncation import mp4_end

STILLS = ("png_pipe", "jpeg_pipe", "bmp_pipe", "webp_pipe", "tiff_pipe")
DEMUXERS = (  # that may read a file, by FFmpeg's names
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,gif,apng,ogg,flv,asf,mjpeg,"
    f"h264,hevc,ivf,{','.join(STILLS)}"
)
JPEG = b"\xff\xd8\xff"  # as a picture begins
JPEG_VIDEO = (".mjpeg", ".mjpg")
"""Endings of names by which pictures of JPEG one after another are a video: nothing else tells."""
MAX_PIXELS = 2**27  # of an image, 16384 x 8192: 400 MB as RGB
MAX_VIDEO_PIXELS = 2**26  # of a video, 8192 x 8192: twice 8K, since dozens are held at once
_AS_STORED = {"ignore_chapters": "1", "ignore_editlist": "1", "fflags": "noparse+nofillin"}
_VAGUE = {"", "Invalid data found when processing input", "Invalid argument"}  # FFmpeg's reasons


def printable(path: Path | str) -> str:
    """A path's last part for a message, printable whatever its bytes are.

    The name of an address is given whole, also where a `Path` made one slash of its two.
    """
    scheme, _, place = os.fspath(path).partition(":/")
    if scheme in PROTOCOLS and "/" not in place.lstrip("/"):
        return escape(f"{scheme}://{place.lstrip('/')}")
    name = os.path.basename(os.fspath(path).rstrip("/")) or os.fspath(path)
    return escape(os.fsencode(name).decode("utf-8", "backslashreplace"))


def most_pixels(container: InputContainer) -> int:
    """How many pixels a picture of a file may have."""
    return MAX_PIXELS if container.format.name in STILLS else MAX_VIDEO_PIXELS


def prepare_decoder(stream: VideoStream, *, most: int) -> None:
    """Have a stream's decoder refuse pictures of more than `most` pixels, and cut coded borders."""
    context = stream.codec_context
    context.options = {"max_pixels": str(most)}
    context.flags |= Flags.unaligned  # else it shows up to 31 columns at the left


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("a video may not open another file")


def _regular(path: Path) -> int:
    """The descriptor of a regular file; FIFOs and devices are refused without blocking."""
    name = printable(path)
    try:
        # O_NONBLOCK: a FIFO without a writer must not hold us between this line and the check.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        refuse_no_store(path, VideoError)
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
    path: Path, *, hwaccel: HWAccel | None = None, as_stored: bool = False
) -> Iterator[InputContainer]:
    """Open a regular file whose format, found by its content, is one of `DEMUXERS`.

    JPEG is taken for one picture, unless the file's name ends as that of video.

    What `hwaccel`, a GPU, cannot decode is decoded on the CPU. With `as_stored` packets of an MP4
    are all that are in the file, and as they lie there.
    """
    with os.fdopen(_regular(path), "rb", buffering=0) as file:
        # FFmpeg would take the file's own name for an address.
        source = SimpleNamespace(name="input", read=file.read, seek=file.seek, tell=file.tell)
        jpeg = path.suffix.lower() in JPEG_VIDEO and file.read(3) == JPEG
        file.seek(0)
        try:
            container: InputContainer = av.open(
                source,
                "r",
                format="mjpeg" if jpeg else None,
                container_options={
                    "format_whitelist": DEMUXERS,
                    "protocol_whitelist": "none",  # there is no such protocol
                    "export_xmp": "1",
                    "export_all": "1",
                    **(_AS_STORED if as_stored else {}),
                },
                metadata_errors="replace",
                buffer_size=1 << 16,
                io_open=_refuse,
                hwaccel=hwaccel,
            )
        except (av.FFmpegError, ValueError, OSError, MemoryError, RuntimeError) as error:
            if not mp4_end(path)[1]:
                raise VideoError(
                    f"{printable(path)} is cut short or was never finished: the index, without "
                    "which no frame of an MP4 can be read, is missing; copy it again from where "
                    "it came."
                ) from None
            reason = str(getattr(error, "strerror", None) or "")
            why = "" if reason in _VAGUE else f" ({reason.lower()})"
            raise VideoError(f"{printable(path)} is not a video that can be read{why}.") from None
        with container:
            yield container
