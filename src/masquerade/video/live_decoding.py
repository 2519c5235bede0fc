"""Decode live video and give the newest picture; those that nobody took in time are dropped.

This runs in the decoding process, see `live_source`, and imports no torch.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import av
from av import VideoFrame
from av.codec.context import Flags
from av.container import InputContainer

from masquerade.errors import VideoError
from masquerade.video.addresses import PROTOCOLS, Address
from masquerade.video.container import DEMUXERS, MAX_VIDEO_PIXELS, prepare_decoder
from masquerade.video.decoding import Decoded
from masquerade.video.live_backlog import MAX_BACKLOG, MAX_DROPPING, Backlog
from masquerade.video.pictures import is_before_start
from masquerade.video.probe import VideoInfo, check_size, describe, main_stream

TICKS = 90_000  # a second, of the clock that says when a picture arrived
MIN_WAIT = 0.01  # seconds for a packet, after which it is one that has only just come
SHORT_WAIT = 0.001  # the same of packets without times, where their reader is idle often enough
MIN_IDLE_SHARE = 0.05  # of the time, from which it is
STREAMED = "send MPEG-TS, Matroska, or MP4 in fragments (-movflags frag_keyframe+empty_moov)"
LIVE_DEMUXERS = f"rtsp,rtp,sdp,mpjpeg,video4linux2,v4l2,{DEMUXERS}"


@dataclass(slots=True, eq=False)
class Received(Decoded):
    """A picture of live video, and when its packet arrived.

    Its `pts` is when it was decoded, less the time for which its packet waited.
    """

    arrived: int  # tick at which its packet came, which the decoder may have held back


class LiveDecoder:
    """A camera, network stream or pipe that is decoded as it comes.

    Args:
        address: where it comes from.
        descriptor: the open pipe, if it is one.
        size: "WxH" that a camera is asked for; "": its own.
        rate: frames a second that a camera is asked for; 0: its own.
        seconds: after which a connection that does not answer is given up.
    """

    def __init__(
        self, address: Address, *, descriptor: int | None, size: str, rate: float, seconds: float
    ) -> None:
        self.address, self._descriptor = address, descriptor
        self._size, self._rate, self._seconds = size, rate, seconds
        self._changed = threading.Condition()
        self._newest: Received | None = None
        self._failure: str | None = None  # why there are no more pictures; "": it is the end
        self._closed = False
        self._count = 0  # pictures so far
        self._tick = -1  # of the last one; each tick is of one picture
        self._backlog = Backlog()
        self._idle = 0.0  # share of the time in which packets are waited for
        self._read_at = 0.0  # when the last packet was read
        self._left_out_since: float | None = None  # packets are, until a key frame; None: none is
        self._left_out = 0.0  # when the last one was
        self._container: InputContainer | None = None
        self._pipe: FileIO | None = None
        self._thread: threading.Thread | None = None
        self._catching_up = True  # with what came while the source was opened
        self._opening = 0.0  # seconds that this took

    def __enter__(self) -> Self:
        began = self._backlog.emptied = time.monotonic()
        self._container = self._open()
        self._opening = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        if self._thread is not None and self._thread.is_alive():
            return  # it reads on, for as long as it has to wait for a packet
        if self._container is not None:
            self._container.close()
        if self._pipe is not None:
            self._pipe.close()

    def start(self) -> VideoInfo:
        """Decode the first picture, and go on decoding in a thread; says what comes."""
        assert self._container is not None
        path = Path(self.address.name)
        stream = main_stream(self._container, path)
        stream.codec_context.thread_type = "SLICE"  # threads by frames would hold some back
        stream.codec_context.flags |= Flags.copy_opaque  # which tells each picture's packet
        prepare_decoder(stream, most=MAX_VIDEO_PIXELS)
        first = self._first_picture(stream, path)
        info = describe(self._container, stream, first, path)
        if not self.address.scheme.startswith("http") or self._container.size <= 0:
            info = replace(info, duration=None)  # MP4 in fragments tells how long these are so far
        self._put(first)
        self._thread = threading.Thread(target=self._decode, args=(stream, path), daemon=True)
        self._thread.start()
        return info

    def take(self) -> Received | None:
        """The newest picture, once there is one that was not taken; its times are `arrival_tick`s.

        None after half of `seconds` in which packets came and were left out: the source is there.
        What came while the source was opened is old when it is decoded. It is decoded, since later
        pictures are coded as changes of it, and replaced by the first that had to be waited for.

        Raises:
            EOFError: the stream has ended.
            VideoError: it cannot be read on.
        """
        with self._changed:
            while self._failure is None and (self._newest is None or self._catching_up):
                if not self._changed.wait(self._seconds / 2) and self._left_some_out():
                    return None
            if self._newest is None:
                if not self._failure:
                    raise EOFError
                raise VideoError(f"{self.address.name} {self._failure}.")
            taken, self._newest = self._newest, None
            return taken

    def _first_picture(self, stream: Any, path: Path) -> VideoFrame:
        """Whoever joins a stream may have to wait for its next key frame."""
        assert self._container is not None
        with suppress(av.FFmpegError, OSError, ValueError, IndexError):
            for packet in self._container.demux(stream):
                packet.opaque = arrival_tick()
                for picture in self._pictures(packet, path):
                    return picture
        hint = f": {STREAMED}" if self.address.kind == "pipe" else ""
        raise VideoError(f"{self.address.name} has no picture in it that can be decoded{hint}.")

    def _decode(self, stream: Any, path: Path) -> None:
        why = ""
        asked = self._read_at = time.monotonic()
        # a machine that is too slow for its source never waits, so that this has an end
        until = asked + self._opening
        try:
            assert self._container is not None
            for packet in self._container.demux(stream):
                if self._closed:
                    return
                came = time.monotonic()
                if came - asked > MIN_WAIT or came > until:
                    self._catching_up = False
                self._measure(packet, came, came - asked)
                if self._leaves_out(packet, stream, came):
                    self._count += bool(packet.size)
                    self._left_out = came
                    asked = time.monotonic()
                    continue
                for picture in self._pictures(packet, path):
                    self._put(picture)
                asked = time.monotonic()
        except VideoError as error:
            why = f"cannot be read on: {error}"
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            why = f"was lost ({str(getattr(error, 'strerror', None) or error).lower()})"
        with self._changed:
            self._failure = why
            self._changed.notify()

    def _measure(self, packet: Any, came: float, wait: float) -> None:
        """Update how far reading lags behind the source, and note when this packet arrived.

        A reader that is hardly fast enough, or whose source sends many pictures a second, waits
        for a short time before each packet, and has read all that came, too.

        Args:
            packet: that was read.
            came: when it was read, in seconds; it may have waited before.
            wait: seconds for which its reader waited for it.
        """
        sent, waited = None, wait > MIN_WAIT
        self._idle += (wait / max(came - self._read_at, SHORT_WAIT) - self._idle) / 25
        self._read_at = came
        if packet.dts is not None and packet.time_base:
            sent = float(packet.dts * packet.time_base)
        elif self._left_out_since is None:
            waited |= wait > SHORT_WAIT and self._idle > MIN_IDLE_SHARE
        self._backlog.add(sent, came, waited=waited)
        packet.opaque = round((came - self._backlog.seconds) * TICKS)

    def _leaves_out(self, packet: Any, stream: Any, now: float) -> bool:
        """Whether a packet is not decoded, as this machine is too slow for all of them.

        Pictures are coded as changes of earlier ones, so that it goes on with a key frame.
        """
        if self._catching_up:
            return False
        if self._left_out_since is None:
            if self._backlog.grows(now):
                self._left_out_since = now
        elif packet.is_keyframe:
            too_long = now - self._left_out_since > MAX_DROPPING
            if too_long:
                self._backlog.forget()
            if too_long or self._backlog.seconds <= MAX_BACKLOG / 2:
                stream.codec_context.flush_buffers()
                self._left_out_since = None
        return self._left_out_since is not None

    def _left_some_out(self) -> bool:
        """Whether packets are being dropped, the last one less than half of `seconds` ago."""
        left_out_just_now = time.monotonic() - self._left_out < self._seconds / 2
        return self._left_out_since is not None and left_out_just_now

    def _pictures(self, packet: Any, path: Path) -> Iterator[VideoFrame]:
        """Yield the pictures in a packet to show; none where it is damaged, as networks make it."""
        assert self._container is not None
        try:
            pictures: list[VideoFrame] = packet.decode()
        except (av.FFmpegError, ValueError):
            return
        for picture in pictures:
            check_size(picture.width, picture.height, path, most=MAX_VIDEO_PIXELS)
            cut = is_before_start(picture.pts, self._container.format.name)
            if not (cut or picture.is_corrupt):
                yield picture

    def _put(self, picture: VideoFrame) -> None:
        with self._changed:
            now = arrival_tick() - round(self._backlog.seconds * TICKS)
            self._tick = max(self._tick + 1, now)
            opaque: Any = picture.opaque
            arrived = now if opaque is None else opaque
            self._newest = Received(picture, self._tick, 1, self._count, arrived)
            self._count += 1
            self._changed.notify()

    def _open(self) -> InputContainer:
        address, options = self.address, {"format_whitelist": LIVE_DEMUXERS}
        options["analyzeduration"] = "1000000"  # microseconds
        source: Any = address.text
        form: str | None = None
        if address.kind == "network":
            options["protocol_whitelist"] = PROTOCOLS[address.scheme]
            if address.scheme.startswith("rtsp"):
                options |= {"rtsp_transport": "tcp", "allowed_media_types": "video"}
        elif address.kind == "camera":
            form = "v4l2"
            options["protocol_whitelist"] = "file"
            options |= {"video_size": self._size} if self._size else {}
            options |= {"framerate": str(self._rate)} if self._rate else {}
        else:
            assert self._descriptor is not None
            os.set_blocking(self._descriptor, True)  # else it would end where it is empty
            self._pipe = FileIO(self._descriptor)
            source = SimpleNamespace(name="input", read=self._pipe.read)
            options["protocol_whitelist"] = "none"  # there is no such protocol
        try:
            return av.open(
                source, format=form, container_options=options, timeout=(self._seconds, None)
            )
        except (av.FFmpegError, ValueError, OSError, MemoryError, RuntimeError) as error:
            why = str(getattr(error, "strerror", None) or error).lower()
            if address.kind == "pipe":
                says = f"what comes from {address.name} is no video that can be read ({why})"
                raise VideoError(f"{says}: {STREAMED}.") from None
            raise VideoError(f"{address.name} cannot be opened ({why}).") from None


def arrival_tick() -> int:
    """Now, in ticks of a clock that is the same for all processes of this machine."""
    return round(time.monotonic() * TICKS)
