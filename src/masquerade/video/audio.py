"""Audio: find its streams, copy them without their tags, or shift the pitch of voices."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av import AudioFrame, Packet
from av.container import OutputContainer
from av.filter import Graph
from av.stream import Stream
from numpy.typing import NDArray

from masquerade.errors import UsageError
from masquerade.video.encoding import IMAGES, suffix_of
from masquerade.video.probe import VideoInfo
from masquerade.video.stream_template import StreamTemplate

Audio = Literal["drop", "keep", "pitch"]
TEXT = {"matroska": "subrip", "webm": "webvtt"}
"""What mov_text, which only mp4 and mov hold, becomes elsewhere."""
# All others: aac. FFmpeg's mp3 encoder writes its name into the sound; mp2 plays wherever mp3 does.
_ENCODERS = {"webm": "libopus", "avi": "mp2"}


def audio_streams(info: VideoInfo) -> tuple[int, ...]:
    """Indices of every audio stream, found by type."""
    return tuple(stream.index for stream in info.streams if stream.kind == "audio")


def check_audio(info: VideoInfo, audio: Audio, container: str) -> None:
    """Refuse audio that the output's container cannot hold, before anything is written."""
    if audio == "drop" or not audio_streams(info):
        return
    if container in IMAGES:
        raise UsageError(f"{container} holds no sound; add --audio drop, or name the output .mp4.")
    if any(stream.kind == "audio" and stream.codec == "unknown" for stream in info.streams):
        raise UsageError("there is sound of a codec that is unknown here; add --audio drop.")
    if audio == "pitch":
        return
    for stream in info.streams:
        if stream.kind == "audio" and not can_hold(container, stream.codec):
            fits = [c for c in ("mp4", "mov", "matroska") if can_hold(c, stream.codec)]
            better = f"name the output {suffix_of(fits[0])}" if fits else "add --audio pitch"
            raise UsageError(f"{container} cannot hold {stream.codec} sound; {better}.")


def can_hold(container: str, codec: str) -> bool:
    """Whether a container takes a codec, by FFmpeg's own table."""
    if container == "mov" and codec in ("opus", "flac"):  # in the table, and refused: MP4 only
        return False
    with av.open(io.BytesIO(), "w", format=container) as out:
        known: set[str] = out.supported_codecs
    return bool(known & {codec, f"lib{codec}", f"{codec}float"})


def strip_comments(codec: str, header: bytes) -> bytes:
    """A codec's header (FFmpeg's extradata) without the tags that Vorbis and FLAC keep in it.

    Raises:
        UsageError: where a header of Vorbis keeps them cannot be told.
    """
    if codec == "flac" and header[:4] == b"fLaC":  # keep the first block, STREAMINFO, as the last
        return b"fLaC" + bytes([header[4] | 0x80]) + header[5:42]
    if codec != "vorbis":
        return header
    parts = _vorbis_parts(header)
    if [part[:7] for part in parts] != [b"\1vorbis", b"\3vorbis", b"\5vorbis"]:
        raise UsageError(
            "the header of the vorbis sound is damaged, so that its comments cannot be left out; "
            "add --audio pitch or --audio drop."
        )
    first, _, last = parts
    empty = b"\3vorbis" + bytes(4) + bytes(4) + b"\1"  # no vendor, no comment, framing bit
    laced = b"\xff" * (len(first) // 255) + bytes([len(first) % 255])
    return b"\2" + laced + bytes([len(empty)]) + first + empty + last


def _vorbis_parts(header: bytes) -> list[bytes]:
    """Split Vorbis extradata into identification, comment and setup header; fewer if damaged.

    FFmpeg reads two layouts: each with its size of 16 bits before it, where the first has 30 bytes
    as it should; and the sizes of two before all three, each a run of 255s and one smaller byte.
    """
    parts, sizes, rest = [], [], header[1:]
    if header[:2] == b"\0\x1e":
        rest = header
        for _ in range(3):
            end = 2 + int.from_bytes(rest[:2], "big")
            if end > len(rest):
                break
            parts.append(rest[2:end])
            rest = rest[end:]
    elif header[:1] == b"\2":
        for _ in range(2):
            full = len(rest) - len(rest.lstrip(b"\xff"))
            sizes.append(255 * full + sum(rest[full : full + 1]))
            rest = rest[full + 1 :]
        first, second = sizes
        parts = [rest[:first], rest[first : first + second], rest[first + second :]]
    return parts


class PitchShift:
    """Shifts the pitch of one audio stream by a random factor that is never stored.

    The factor, 3 to 6 half tones up or down, comes from the operating system's entropy for each
    file. Tempo, start and length stay. More than two channels become two.
    """

    def __init__(self, source: StreamTemplate, out: OutputContainer, container: str) -> None:
        if source.kind != "audio":
            raise UsageError(f"Stream {source.index} is no sound, so it has no pitch to shift.")
        self._rate = source.rate
        if self._rate < 4000:
            raise UsageError(f"Sound at {self._rate} Hz cannot be shifted; add --audio drop.")
        self._layout = "mono" if source.channels == 1 else "stereo"
        name = _ENCODERS.get(container, "aac")
        rates = av.Codec(name, "w").audio_rates or [self._rate]
        rates = [rate for rate in rates if rate >= 32_000] or rates  # mp2 holds fewer bits below
        self._out_rate = min(rates, key=lambda rate: (rate < self._rate, abs(rate - self._rate)))
        stream: Any = out.add_stream(name, rate=self._out_rate)
        self.stream = stream
        self.stream.layout = self._layout
        self.stream.codec_context.bit_rate = 96_000 * (1 if self._layout == "mono" else 2)
        self.stream.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT
        # 3 to 6 half tones, up or down
        tones = (3 + 3 * secrets.randbelow(10**6) / 10**6) * secrets.choice((-1, 1))
        self._played = round(self._rate * 2 ** (tones / 12))
        self._graph: Any = None
        self._kind: tuple[object, ...] = ()  # what the graph takes
        self._start = self._end = self._heard = Fraction(0)  # seconds
        self._given = 0

    def shift(self, sound: Iterable[AudioFrame]) -> list[Packet[Any]]:
        """The shifted packets that are ready once this sound of the source is in."""
        return [out for frame in sound for out in self._push(frame)]

    def flush(self) -> list[Packet[Any]]:
        """The remaining packets; the output is then exactly as long as the source's audio."""
        if self._graph is None:
            return []
        packets = self._end_graph()
        packets += self._fill(self._missing(self._end))
        lost = self._heard - Fraction(self._given, self._out_rate)
        if lost > 1:
            raise UsageError(
                f"{float(lost):.0f} seconds of the sound cannot be shifted, as its clock starts "
                "again; add --audio drop."
            )
        return packets + list(self.stream.encode(None))

    def _push(self, frame: AudioFrame) -> list[Packet[Any]]:
        base = frame.time_base or Fraction(1, self._rate)
        kind = frame.format.name, frame.layout.name, frame.sample_rate, base
        begins = self._end if frame.pts is None else frame.pts * base
        packets: list[Packet[Any]] = []
        if self._graph is None:
            self._start = begins
        elif kind != self._kind:  # a broadcast goes from stereo to 5.1, and back
            packets = self._end_graph()
            packets += self._fill(self._missing(begins))
        if kind != self._kind:
            self._graph, self._kind = self._build(frame), kind
        lasts = Fraction(frame.samples, frame.sample_rate)
        self._end, self._heard = begins + lasts, self._heard + lasts
        self._graph.push(frame)
        return packets + self._drain()

    def _end_graph(self) -> list[Packet[Any]]:
        """Flush the filter graph, and encode what it still held of the sound that it was given."""
        self._graph.push(None)
        return self._drain(most=self._missing(self._end))

    def _missing(self, second: Fraction) -> int:
        """The number of output samples that are missing up to a time of the source, in seconds."""
        return round((second - self._start) * self._out_rate) - self._given

    def _fill(self, missing: int) -> list[Packet[Any]]:
        """Encode that many samples of silence."""
        packets: list[Packet[Any]] = []
        while missing > 0:
            count = min(missing, self._out_rate)  # a second at once
            zeros = np.zeros((1 if self._layout == "mono" else 2, count), np.float32)
            packets += self._encode(self._frame(zeros))
            missing -= count
        return packets

    def _frame(self, samples: NDArray[np.float32]) -> AudioFrame:
        """An audio frame of the output from its samples (channels, N)."""
        frame = AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
        frame.sample_rate = self._out_rate
        return frame

    def _build(self, frame: AudioFrame) -> Any:
        """A filter graph that resamples, shifting pitch and tempo, and then undoes the tempo."""
        graph = Graph()
        graph.link_nodes(
            graph.add_abuffer(
                format=frame.format.name,
                sample_rate=frame.sample_rate,
                layout=frame.layout.name,
                time_base=frame.time_base or Fraction(1, frame.sample_rate),
            ),
            graph.add("aresample", f"{self._rate}:async=1"),  # silence where packets are missing
            graph.add("adelay", f"{_lost_by_atempo(self._played)}S:all=1"),
            graph.add("asetrate", str(self._played)),
            graph.add("atempo", f"{self._rate / self._played:.12f}"),
            graph.add("aresample", str(self._out_rate)),
            graph.add("aformat", f"sample_fmts=fltp:channel_layouts={self._layout}"),
            graph.add("abuffersink"),
        ).configure()
        return graph

    def _drain(self, most: int | None = None) -> list[Packet[Any]]:
        """Encode the frames that the filter graph has ready, at most `most` samples of them.

        At its end it may give a window too much, by which all that follows would be late.
        """
        packets: list[Packet[Any]] = []
        while True:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError, av.EOFError, av.BlockingIOError):
                return packets
            if most is not None and frame.samples > most:
                if most <= 0:
                    continue
                frame = self._frame(frame.to_ndarray()[:, :most])
            most = None if most is None else most - frame.samples
            packets += self._encode(frame)

    def _encode(self, frame: AudioFrame) -> list[Packet[Any]]:
        start = round(self._start * self._out_rate)
        frame.pts, frame.time_base = start + self._given, Fraction(1, self._out_rate)
        self._given += frame.samples
        return list(self.stream.encode(frame))


def _lost_by_atempo(rate: int) -> int:
    """How many samples FFmpeg's `atempo` drops at its start: half of its first window.

    The window is a 24th of a second, rounded up to a power of two.
    """
    return (1 << (rate // 24 - 1).bit_length()) // 2


def subtitle_text(packet: Packet[Any]) -> Packet[Any]:
    """A packet of mov_text, which has its length before it and styles behind, as its text alone."""
    sample = bytes(packet)
    text = Packet(sample[2 : 2 + int.from_bytes(sample[:2], "big")])
    text.pts, text.dts, text.duration = packet.pts, packet.dts, packet.duration
    text.time_base = packet.time_base
    return text


def add_copied_stream(
    out: OutputContainer, template: StreamTemplate, container: str, codec: str
) -> Stream:
    """Add an output stream for packets of an input stream, without any of its tags."""
    if codec == "mov_text" and container in TEXT:
        text = out.add_mux_stream(TEXT[container])
        text.time_base = template.time_base
        return text
    try:
        if template.stream is None:
            raise ValueError
        copy = out.add_stream_from_template(template.stream)
        copy.time_base = template.time_base
    except (ValueError, av.FFmpegError):
        if template.kind == "audio" and can_hold(container, codec):  # such as TTA
            raise UsageError(
                f"{codec} sound cannot be copied from this file; add --audio pitch or --audio drop."
            ) from None
        better = "" if container == "matroska" else "name the output .mkv, or "
        raise UsageError(
            f"{container} cannot hold {'data of a kind that is ' * (codec == 'unknown')}{codec}; "
            f"{better}leave that stream out."
        ) from None
    context = copy.codec_context
    if context is not None and context.extradata:
        context.extradata = strip_comments(codec, context.extradata)
    return copy
