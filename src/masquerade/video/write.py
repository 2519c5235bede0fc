"""Write one video stream with the size and times of its source, and none of its tags."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from mmap import mmap
from numbers import Rational, Real
from pathlib import Path
from typing import Any, Self
from zlib import crc32

import av
import numpy as np
from av import Packet, VideoFrame
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.stream import VideoStream
from torch import Tensor

from masquerade.anonymizer import Pixels, Planes, check_clip_range
from masquerade.errors import MasqueradeError, UsageError
from masquerade.storage import atomic_write, error_with_final_name
from masquerade.video.audio import TEXT, PitchShift, add_copied_stream, subtitle_text
from masquerade.video.color import UNTAGGED, Color
from masquerade.video.container import printable
from masquerade.video.decoding import StreamPacket
from masquerade.video.encoding import (
    CODECS,
    IMAGES,
    Encoding,
    check_encoder,
    codec_for,
    container_for,
    encoder_for,
    open_encoder,
    pixel_format,
    without_sei,
)
from masquerade.video.frame import Frame
from masquerade.video.metadata import MetadataSelection
from masquerade.video.probe import VideoInfo
from masquerade.video.read import Video
from masquerade.video.rgb_to_yuv import RgbToYuv, has_same_planes
from masquerade.video.stream_template import StreamTemplate
from masquerade.video.timestamps import FrameTime, nearest
from masquerade.video.truncation import ebml_size

MOST_LATE = 0.1  # seconds after the output's 0 at which a copied stream of an avi may begin
MOST_X265 = 16  # threads; it refuses more
MOST_RATE = 100_000  # frames a second of a clip
MOST_SECONDS = 2**32  # of a time; in ticks of any container less than 2**63
GIF_TICK = Fraction(1, 100)  # seconds: it shows each frame for whole ones
FINE = Fraction(1, 90_000)  # seconds of a tick, of times that no file gave
_QSCALE, _QUALITY = 1 << 1, 2 * 118  # AV_CODEC_FLAG_QSCALE, and JPEG's best but one


class Writer:
    """One output file with exactly one video stream; a file that is there is overwritten."""

    def __init__(
        self,
        path: Path | str,
        *,
        info: VideoInfo,  # the source, whose size, time base, colour and aspect the output gets
        container: str,  # as `container_for` names it
        encoding: Encoding,
        copies: Sequence[StreamTemplate] = (),  # input streams whose packets are copied
        voices: Sequence[StreamTemplate] = (),  # input audio streams whose pitch is shifted
        metadata: MetadataSelection | None = None,  # its tags and chapters
        start: Fraction = Fraction(0),  # the source's second that becomes the output's 0
        force_8bit: bool = False,  # write 8 bits even where the source has more
    ) -> None:
        self.path, self.info, self.encoding = Path(path), info, encoding
        self.kind = container
        self._deep = info.bit_depth > 8 and not force_8bit
        self._format = pixel_format(
            encoding, container, width=info.width, height=info.height, deep=self._deep
        )
        if container not in IMAGES:
            check_encoder(encoding, width=info.width, height=info.height, deep=self._deep)
        says_range = container in IMAGES or CODECS[encoding.codec].says_range
        self._to_yuv = RgbToYuv(info, self._format, says_range=says_range)
        metadata = metadata or MetadataSelection()
        self._out = self._open(metadata)
        # avi counts frames and has no place for two kinds of time
        self._rate = info.even_rate or info.rate if container == "avi" else info.rate
        self._base = 1 / self._rate if container == "avi" else info.time_base
        if container == "gif":
            self._base = GIF_TICK  # so that two frames within one are refused
        self._start = nearest(start / self._base)  # ticks
        self._last = -1
        self._video = self._video_stream()
        codecs = {stream.index: stream.codec for stream in info.streams}
        self._copies = {
            s.index: add_copied_stream(self._out, s, container, codecs[s.index]) for s in copies
        }
        texts = [s.index for s in copies if codecs[s.index] == "mov_text"]
        self._texts = texts if container in TEXT else []
        self._voices = {s.index: PitchShift(s, self._out, container) for s in voices}
        outputs = {**self._copies, **{index: v.stream for index, v in self._voices.items()}}
        for index, tags in metadata.stream_tags.items():
            outputs.get(index, self._video).metadata.update(tags)
        self.empty = set(outputs)  # input streams without a packet yet; MP4 leaves such out
        self._clean = without_sei(self._video)
        self.on_packet: Callable[[Packet[Any]], object] | None = None  # called with the encoder's
        self._durations: dict[int, int] = {}
        self._written = 0
        if metadata.chapters:
            self._out.set_chapters(list(map(self._chapter, metadata.chapters)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(Exception):  # the error that brought us here is the one to show
            self._out.close()

    @property
    def sources(self) -> list[int]:
        """Return the source's index of each stream in the finished file, in the file's order."""
        indices = [*self._copies, *self._voices]
        if self.kind in ("mp4", "mov"):
            indices = [index for index in indices if index not in self.empty]
        return [self.info.video_index, *indices]

    @property
    def color(self) -> Color:
        """The colour tags of its pictures."""
        return self._to_yuv.color

    @property
    def codec(self) -> str:
        """FFmpeg's name of the video's codec, whichever encoder writes it."""
        return self._video.codec_context.codec.canonical_name

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the format of the pictures that are encoded."""
        return self._format

    @property
    def takes_planes(self) -> bool:
        """Whether it may be given the planes of its source, instead of RGB."""
        return has_same_planes(self.info, self._format)

    def to_picture(self, pixels: Pixels | Planes) -> VideoFrame:
        """Convert pixels for the encoder, so that another thread than the encoder's can do it.

        They are (H, W, 3), RGB, upright, uint8 or uint16 over 0..65535; or upright planes, where it
        `takes_planes`.
        """
        if isinstance(pixels, Planes):
            return self._to_yuv.from_planes(pixels)
        return self._to_yuv.convert(pixels)

    def write(self, picture: Pixels | VideoFrame, frame: Frame | FrameTime) -> None:
        """Encode pixels, or what `to_picture` made of them, at the time of a frame."""
        if self._written and self.kind in IMAGES and not IMAGES[self.kind].moving:
            raise UsageError(f"{self.kind} holds one frame; name the output .mp4 or .gif.")
        self._written += 1
        if isinstance(picture, np.ndarray):
            picture = self.to_picture(picture)
        assert not isinstance(picture, np.ndarray)
        picture.pts, picture.time_base = self._ticks(frame), self._base
        self._durations[picture.pts] = max(1, round(frame.duration * frame.time_base / self._base))
        self._guard(lambda: self._send(picture))

    def copy(self, item: StreamPacket) -> None:
        """Write a packet of one of `copies`, or the shifted audio of one of `voices`."""
        packet = item.packet
        if self.kind == "avi" and item.index in self.empty:
            self._refuse_late(item)
        if packet is None:
            if item.sound:
                self.empty.discard(item.index)
            for sound in item.sound:
                sound.pts = self._earlier(sound.pts, sound.time_base)
            voice = self._voices[item.index]
            self._guard(lambda: self._out.mux(voice.shift(item.sound)))
            return
        if packet.dts is None:  # the end of the stream
            return
        self.empty.discard(item.index)
        if item.index in self._texts:
            packet = subtitle_text(packet)
            if not packet.size:  # a pause between two of them
                return
        packet.pts = self._earlier(packet.pts, packet.time_base)
        packet.dts = self._earlier(packet.dts, packet.time_base)
        packet.stream = self._copies[item.index]
        self._guard(lambda: self._out.mux(packet))

    def _refuse_late(self, first: StreamPacket) -> None:
        """Refuse a stream of an AVI that begins late: AVI has no start times, and players use 0."""
        begins = None if first.begins is None else first.begins - self._start * self._base
        if begins is not None and begins > MOST_LATE:
            raise UsageError(
                f"avi cannot hold a stream that begins {float(begins):.1f} seconds late; name the "
                "output .mkv."
            )

    @property
    def extradata(self) -> bytes | None:
        """The encoder's header, which all packets of the video share."""
        return self._video.codec_context.extradata

    def write_encoded(self, packet: Packet[Any]) -> None:
        """Write a packet of the video that another writer like this one encoded."""
        self._guard(lambda: self._put(packet))

    def close(self) -> None:
        """Encode what the encoder still holds and finish the file."""
        if self._written:  # else its packets were encoded elsewhere
            self._guard(lambda: self._send(None))
        for voice in self._voices.values():
            self._guard(lambda voice=voice: self._out.mux(voice.flush()))  # type: ignore[misc]
        self._guard(self._out.close)
        self._guard(lambda: _blank_muxer_names(self.path, self.kind))

    def _ticks(self, frame: Frame | FrameTime) -> int:
        """When a frame is shown, in the encoder's ticks."""
        pts = nearest(frame.pts * frame.time_base / self._base)
        if self._written > 1 and pts <= self._last:
            raise UsageError(f"{self.kind} cannot keep times this close; name the output .mkv.")
        self._last = pts
        return pts

    def _open(self, metadata: MetadataSelection) -> OutputContainer:
        tags = metadata.tags
        options = {"fflags": "+bitexact"}
        if self.kind in ("mp4", "mov"):
            options["movflags"] = "+faststart" + ("+use_metadata_tags" if tags else "")
            options["write_tmcd"] = "0"  # it would make one more track of a tag called timecode
            if not any(
                "handler_name" in stream_tags for stream_tags in metadata.stream_tags.values()
            ):
                options["empty_hdlr_name"] = "1"  # FFmpeg's own would say who wrote the file
        if self.info.start < 0:  # an edit list would hide what lies before 0
            options["avoid_negative_ts"] = "make_non_negative"
        muxer = IMAGES[self.kind].muxer if self.kind in IMAGES else self.kind
        out = av.open(self._target(), "w", format=muxer, container_options=options)
        out.metadata.update(tags)
        return out

    def _target(self) -> Any:
        # "file:" because a name may hold a colon, which FFmpeg would take for a protocol.
        return f"file:{os.fspath(self.path)}"

    def _video_stream(self) -> VideoStream:
        info, encoding = self.info, self.encoding
        wanted = info.bitrate if encoding.bitrate == "source" else encoding.bitrate
        name, options = encoder_for(encoding, bitrate=wanted)
        if self.kind in IMAGES:
            name, options, wanted = IMAGES[self.kind].encoder, {}, None
        stream: Any = self._out.add_stream(name, rate=self._rate, options=options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = info.width, info.height, self._format
        context.time_base = stream.time_base = self._base
        context.sample_aspect_ratio = info.sample_aspect
        most = MOST_X265 if name == "libx265" else encoding.threads
        context.thread_count = min(encoding.threads, most)
        context.flags |= Flags.bitexact
        context.bit_rate = wanted or 0
        if self.kind == "avi":
            context.max_b_frames = 0
        if encoding.codec == "h265" and self.kind in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # what Apple's players ask for
        if name == "mjpeg":
            context.flags |= _QSCALE
            context.global_quality = _QUALITY
        self._to_yuv.tag_encoder(context)
        self._guard(lambda: open_encoder(context))
        return stream

    def _send(self, picture: VideoFrame | None) -> None:
        for packet in self._video.encode(picture):
            packet.duration = self._durations.pop(packet.pts or 0, packet.duration or 0)
            for clean in self._clean(packet):
                self._put(clean)

    def _put(self, packet: Packet[Any]) -> None:
        if self.on_packet is not None:
            self.on_packet(packet)
        packet.pts = self._earlier(packet.pts, self._base)
        packet.dts = self._earlier(packet.dts, self._base)
        packet.stream = self._video
        self._out.mux(packet)

    def _earlier(self, ticks: int | None, base: Fraction | None) -> Any:
        """Convert a time of the source, in ticks, to one of the output, which begins at 0."""
        return (
            ticks - round(self._start * self._base / base) if ticks is not None and base else ticks
        )

    def _chapter(self, chapter: Any) -> Any:
        """Return a chapter of the source with its times converted to the output's."""
        first, last = (
            self._earlier(chapter[key], chapter["time_base"]) for key in ("start", "end")
        )
        return {**chapter, "start": max(0, first), "end": max(0, last)}

    def _guard(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MasqueradeError(f"{printable(self.path)} cannot be written: {reason}.") from error


def _blank_muxer_names(path: Path, container: str) -> None:
    """Overwrites the names by which FFmpeg's muxers call themselves whatever their options say."""
    if container not in ("mov", "matroska", "webm") or not path.stat().st_size:
        return  # an empty file is one that no frame was written to
    with path.open("r+b") as file, mmap(file.fileno(), 0) as data:
        if container == "mov":  # the vendor in the video's sample entry
            if (vendor := re.search(rb"stsd.{28}(?=FFMP)", data, re.DOTALL)) is not None:
                data[vendor.end() : vendor.end() + 4] = bytes(4)
            return
        # Matroska's segment information, not its entry in the index of elements: the names of the
        # muxer and of the application, which must be there and may be empty.
        information = re.search(rb"(?<!\x53\xab\x84)\x15\x49\xa9\x66", data)
        assert information is not None
        size, start = ebml_size(data, information.end())
        end = start + (size or 0)
        names = re.sub(rb"(\x4d\x80\x84|\x57\x41\x84)Lavf", rb"\1" + bytes(4), data[start:end])
        data[start:end] = names
        if data[start : start + 2] == b"\xbf\x84":  # Matroska's checksum; WebM has none
            data[start + 2 : start + 6] = crc32(data[start + 6 : end]).to_bytes(4, "little")


def write_video(
    path: Path | str,
    video: Video | Tensor,
    *,
    rate: Fraction | float = 25,
    encoding: Encoding | None = None,
    overwrite: bool = False,
) -> None:
    """Write a clip as a video file without sound or tags.

    Args:
        path: the file; its suffix chooses the container.
        video: a Video, which keeps its times, or (1, 3, T, H, W) in [0, 1].
        rate: frames a second of a tensor.
        encoding: how to compress; None: vp9 in a .webm, h264 in all else.
        overwrite: replace a file that is there, once the new one is complete.

    Raises:
        UsageError: the clip, its times or the rate is none, or the file exists.
        MasqueradeError: the file cannot be written.
    """
    path = Path(path)
    encoding = encoding or Encoding(codec=codec_for(path))
    if not overwrite and os.path.exists(path):  # of a name too long `Path.exists` is no answer
        raise UsageError(f"{printable(path)} is there already; pass overwrite=True to replace it.")
    if not (isinstance(rate, Real) and 0.001 <= rate <= MOST_RATE):
        raise UsageError(f"write_video takes a rate from 0.001 to {MOST_RATE}, not {rate!r}.")
    # NumPy's float32 is real, and no Fraction is made of it
    exact = Fraction(rate if isinstance(rate, Rational) else float(rate))
    clip, info, times = _timed(path, video, exact.limit_denominator(100_000))
    container = container_for(path, encoding)
    arguments: dict[str, Any] = {"info": info, "container": container, "encoding": encoding}
    try:
        with (
            atomic_write(path, overwrite=overwrite) as part,
            Writer(part, force_8bit=True, **arguments) as writer,
        ):
            for pixels, time in zip(clip[0].permute(1, 2, 3, 0), times, strict=True):
                writer.write((pixels * 255).round().clamp(0, 255).byte().cpu().numpy(), time)
    except MasqueradeError as error:
        raise error_with_final_name(error, path) from error


def _timed(
    path: Path, video: Video | Tensor, rate: Fraction
) -> tuple[Tensor, VideoInfo, list[FrameTime]]:
    """The clip, the info of the file to write, and the time of each frame."""
    if not isinstance(video, Video | Tensor):
        kind = type(video).__name__
        raise UsageError(f"write_video takes a Video or a torch tensor, not {kind}.")
    source = None if isinstance(video, Tensor) else video.info
    clip = video if isinstance(video, Tensor) else video.clip
    if not isinstance(clip, Tensor):
        kind = type(clip).__name__
        raise UsageError(f"write_video takes clips that are torch tensors, not {kind}.")
    if clip.ndim != 5 or clip.shape[:2] != (1, 3) or not clip.shape[2]:
        raise UsageError(f"A clip of shape {tuple(clip.shape)} is not (1, 3, T, H, W).")
    check_clip_range(clip, "write_video")
    if isinstance(video, Tensor):
        base, ticks = 1 / rate, list(range(clip.shape[2]))
    else:
        if not isinstance(video.times, Tensor):
            kind = type(video.times).__name__
            raise UsageError(f"write_video takes times that are a torch tensor (T,), not {kind}.")
        seconds = video.times.tolist()
        if video.times.shape != clip.shape[2:3] or not all(map(math.isfinite, seconds)):
            raise UsageError(
                f"{clip.shape[2]} frames have times {tuple(video.times.shape)}: give each one, a "
                "finite number."
            )
        if max(map(abs, seconds)) > MOST_SECONDS:
            raise UsageError(f"write_video takes times of up to {MOST_SECONDS} seconds.")
        rate = source.rate if source else _mean_rate(seconds) or rate
        base = source.time_base if source else FINE
        ticks = [nearest(Fraction(time) / base) for time in seconds]
    step = max(1, round(1 / rate / base))
    ends = [*ticks[1:], ticks[-1] + step]
    times = [FrameTime(a, b - a, base) for a, b in zip(ticks, ends, strict=True)]
    height, width = clip.shape[3:]
    info = VideoInfo(
        path=path,
        kind="video",
        container="",
        width=width,
        height=height,
        time_base=base,
        rate=rate,
        sample_aspect=source.sample_aspect if source else Fraction(1),
        start=float(ticks[0] * base),
        color=source.color if source else UNTAGGED,
    )
    return clip, info, times


def _mean_rate(seconds: list[float]) -> Fraction | None:
    """Frames a second by the times of all; None: they do not say."""
    lasted = seconds[-1] - seconds[0]
    return Fraction((len(seconds) - 1) / lasted).limit_denominator(1001) if lasted > 0 else None
