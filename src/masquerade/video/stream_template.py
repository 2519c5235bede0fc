"""What an output needs to know of an input stream to copy its packets or to shift its sound.

An output stream can only be made from another stream. The process that decodes therefore sends a
skeleton: a file with one stream and no packet, which is opened here without any codec.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
from av.stream import Stream

SKELETONS = ("matroska", "mov", "mpegts", "nut", "asf")  # containers, tried in turn

_CLUSTER = bytes.fromhex("1f43b67583e78100")  # an empty one, without which Matroska is not read


@dataclass(frozen=True)
class StreamTemplate:
    """An input stream as the template of an output stream."""

    index: int  # of the input stream
    kind: str  # FFmpeg's type
    time_base: Fraction | None  # seconds a tick
    rate: int  # samples of sound a second; 0: it is no sound that can be decoded
    channels: int
    stream: Stream | None = None  # with its parameters; None: only its sound is wanted

    @classmethod
    def of(cls, stream: Stream) -> StreamTemplate:
        """The template of a stream of an open file."""
        context: Any = stream.codec_context
        sound = isinstance(stream, av.AudioStream) and context is not None
        rate, channels = (context.sample_rate, context.layout.nb_channels) if sound else (0, 0)
        return cls(stream.index, stream.type, stream.time_base, rate, channels, stream)


def write_skeleton(stream: Stream) -> bytes:
    """A file that holds a stream's parameters and no packet; empty: no container can."""
    for container in SKELETONS:
        target = io.BytesIO()
        # Without `seek` sizes that are known at the end only are left open.
        unseekable = SimpleNamespace(name="skeleton", write=target.write)
        options = {"movflags": "empty_moov"} if container == "mov" else {}
        try:
            with av.open(unseekable, "w", format=container, container_options=options) as out:
                out.add_stream_from_template(stream)
                out.start_encoding()
            data = target.getvalue() + (_CLUSTER if container == "matroska" else b"")
            with open_skeleton(data) as again:
                if _parameters(again.streams[0]) == _parameters(stream):
                    return data
        except (av.FFmpegError, ValueError, LookupError):
            continue
    return b""


def open_skeleton(data: bytes | bytearray) -> Any:
    """Open what `write_skeleton` wrote; no codec is opened for it."""
    options = {"codec_whitelist": "none", "format_whitelist": f"{','.join(SKELETONS)},webm,mp4"}
    return av.open(io.BytesIO(data), "r", container_options=options)


def _parameters(stream: Stream) -> tuple[Any, ...]:
    context: Any = stream.codec_context
    if context is None:
        return stream.type, getattr(stream, "name", None)
    own = stream.type, context.codec.canonical_name, bytes(context.extradata or b"")
    sound = stream.type == "audio"
    return (*own, context.sample_rate, context.layout.nb_channels) if sound else own
