"""Truncated files, in formats whose decoders do not notice that the end is missing."""

from collections.abc import Callable
from pathlib import Path


def is_truncated(path: Path, container: str) -> bool:
    """Whether the end of a file is missing; False too where its format cannot tell.

    `container` is FFmpeg's name of the format.
    """
    check = _CHECKS.get(container)
    return check is not None and check(path)


def _riff(path: Path) -> bool:
    """AVI and WebP: the first chunk says its size."""
    with path.open("rb") as file:
        head = file.read(8)
    return int.from_bytes(head[4:8], "little") + 8 > path.stat().st_size


def _matroska(path: Path) -> bool:
    """Matroska: the segment says its size, if it was known when it was written."""
    with path.open("rb") as file:
        data = file.read(4096)
    size, place = _ebml_size(data, 4)
    place = place + size if size is not None else len(data)
    if data[place : place + 4] != b"\x18\x53\x80\x67":
        return False
    segment, start = _ebml_size(data, place + 4)
    return segment is not None and start + segment > path.stat().st_size


def _ebml_size(data: bytes, place: int) -> tuple[int | None, int]:
    """A size of 1 to 8 bytes, and where it ends; None: all ones, which means unknown."""
    if place >= len(data) or not data[place]:
        return None, place
    length = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value, place + length


def _gif(path: Path) -> bool:
    """GIF: a semicolon ends it; zeros and line ends may follow."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        return not file.read().rstrip(b"\0\r\n").endswith(b";")


def _jpeg(path: Path) -> bool:
    """JPEG: an end marker follows the picture's own data, and maybe anything else."""
    data = path.read_bytes()
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return data.find(b"\xff\xd9", place) < 0


_CHECKS: dict[str, Callable[[Path], bool]] = {
    "avi": _riff,
    "webp_pipe": _riff,
    "matroska,webm": _matroska,
    "gif": _gif,
    "jpeg_pipe": _jpeg,
}
