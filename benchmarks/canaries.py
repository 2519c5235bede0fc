"""Clips with canaries, and what is raw in whatever files a run left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

MARKS = ("CANARY-title-83e1", "CANARY-comment-5f07")  # in the tags of the source
FRAMES, WIDTH, HEIGHT = 8, 96, 64


def write_source(path: Path, shade: int = 0) -> None:
    """A clip with a drawn pattern, a tone, and canaries in its tags."""
    import av
    import numpy as np

    draw = np.random.default_rng(shade)
    blocks = draw.integers(0, 255, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    picture = np.kron(blocks, np.ones((4, 4, 1), np.uint8))
    with av.open(str(path), "w") as out:
        out.metadata.update(title=MARKS[0], comment=MARKS[1])
        video: Any = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.thread_count = 1
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 4 * number, 1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))


def canaries(sources: list[Path]) -> list[bytes]:
    """Byte strings of the sources: tags, pieces of packets, and rows of pixels as decoded."""
    import av

    found = [mark.encode(code) for mark in MARKS for code in ("utf-8", "utf-16-le")]
    for path in sources:
        with av.open(str(path)) as file:
            for packet in file.demux(video=0):
                data = bytes(packet)
                found += [data[at : at + 32] for at in range(64, len(data) - 32, 512)]
        with av.open(str(path)) as file:
            for frame in file.decode(video=0):
                luma = bytes(frame.planes[0])
                rgb = frame.to_ndarray(format="rgb24")
                for row in (10, 40):
                    found.append(luma[row * frame.planes[0].line_size :][:48])
                    found += [rgb[row, :24].tobytes(), rgb[row, :24, ::-1].tobytes()]
    return [piece for piece in dict.fromkeys(found) if len(set(piece)) > 8]


def pictures(path: Path, parameters: bytes = b"") -> list[Any]:
    """Whatever pictures can be decoded of a file, whole or not.

    An MP4 whose index was never written is decoded as H.264 with the `parameters` of a whole one.
    """
    import av

    try:
        with av.open(str(path)) as file:
            return list(_decoded(file.decode(video=0)))
    except (av.FFmpegError, IndexError, ValueError):
        pass
    data, stream = path.read_bytes(), parameters
    at = data.find(b"mdat") + 4
    while 4 <= at <= len(data) - 5:
        size = int.from_bytes(data[at : at + 4], "big")
        if not 0 < size <= len(data):
            break
        stream += b"\0\0\0\1" + data[at + 4 : at + 4 + size]
        at += 4 + size
    decoder: Any = av.CodecContext.create("h264", "r")
    found: list[Any] = []
    with suppress(av.FFmpegError):
        for packet in [*decoder.parse(stream), *decoder.parse(b""), None]:
            with suppress(av.FFmpegError):
                found += _decoded(decoder.decode(packet))
    return found


def _decoded(frames: Iterator[Any]) -> Iterator[Any]:
    import av

    with suppress(av.FFmpegError):
        for frame in frames:
            yield frame.to_ndarray(format="rgb24")


def raw(folders: list[Path], wanted: list[bytes], parameters: bytes, skip: str = "-") -> list[str]:
    """What is raw in any file of these folders: a canary among its bytes, or a picture of it."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        if not path.is_file() or skip in path.name or path.name == "filler":
            continue
        data = path.read_bytes()
        if any(piece in data for piece in wanted):
            found.append(f"a canary is in {path.name}")
        if path.suffix not in (".json", ".html") and any(
            picture.std() > 12 for picture in pictures(path, parameters)
        ):
            found.append(f"a picture of {path.name} shows the pattern")
    return found


def annex_b(extra: bytes) -> bytes:
    """The parameter sets of an avcC, each behind a start code."""
    found, at = b"", 5
    for mask in (31, 255):
        count, at = extra[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(extra[at : at + 2], "big")
            found += b"\0\0\0\1" + extra[at + 2 : at + 2 + size]
            at += 2 + size
    return found
