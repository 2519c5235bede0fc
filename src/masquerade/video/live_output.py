"""Send frames to a live destination as they come: a network stream, a pipe or a virtual camera."""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any, Self

import av
from av.codec.context import Flags
from av.video.frame import PictureType

from masquerade.anonymizer import Pixels
from masquerade.errors import MasqueradeError, UsageError
from masquerade.video.addresses import MUXERS, Address, known_schemes
from masquerade.video.color import UNTAGGED
from masquerade.video.encoding import Encoding, encoder_for, open_encoder, pixel_format, without_sei
from masquerade.video.probe import VideoInfo
from masquerade.video.rgb_to_yuv import RgbToYuv
from masquerade.video.timestamps import FrameTime

CAMERA_FORMAT = "yuv420p"  # what programs that read a virtual camera understand
KEY_FRAMES = 2  # seconds from one to the next: whoever tunes in waits so long
LIVE_OPTIONS = {  # no frame waits in an encoder, and where it is asked for a key frame it makes one
    "libx264": {"tune": "zerolatency"},
    "libx265": {"tune": "zerolatency", "forced-idr": "1"},
    "libvpx-vp9": {"lag-in-frames": "0", "deadline": "realtime"},
    "libsvtav1": {"svtav1-params": "pred-struct=1:lookahead=0"},
    "h264_nvenc": {"delay": "0", "zerolatency": "1", "forced-idr": "1"},
    "hevc_nvenc": {"delay": "0", "zerolatency": "1", "forced-idr": "1"},
    "av1_nvenc": {"delay": "0", "zerolatency": "1", "forced-idr": "1"},
}
CARRIED = {
    "mpegts": ("h264", "h265"),
    "rtsp": ("h264", "h265"),
    "flv": ("h264", "h265", "vp9", "av1"),
}
"""Codecs of which each muxer makes a stream that is read again: others it sends as no video, or not
at all, and what RTP carries of MJPEG has bounded sizes."""
READER_EVERY = 0.02  # seconds between two looks whether a pipe has a reader
PAUSE = 1.0  # seconds between two attempts to open a destination that is gone
SECONDS = 10.0  # after which a server that does not take what is sent over TCP is given up


def check_codec(address: Address, codec: str) -> None:
    """Refuse a stream whose video nobody could read.

    Raises:
        UsageError: what is sent to such an address does not carry the codec, or nothing is.
    """
    carried = CARRIED.get(_muxer(address))
    if carried is not None and codec not in carried:
        raise UsageError(
            f"{address.name} cannot be sent {codec}; choose --codec {' or '.join(carried)}."
        )


class LiveWriter:
    """A video stream without sound or metadata to an address, without look-ahead of its encoder.

    Args:
        address: where it goes; see `addresses.parse_address`.
        info: of the source, whose size, rate, colour and aspect it gets.
        encoding: how it is compressed; of a virtual camera nothing is.

    Raises:
        UsageError: nothing can be sent to such an address.
        MasqueradeError: it cannot be opened.
    """

    def __init__(self, address: Address, *, info: VideoInfo, encoding: Encoding) -> None:
        self.address = address
        target, muxer, options = _destination(address)
        raw = address.kind == "camera"
        format = (
            CAMERA_FORMAT
            if raw
            else pixel_format(encoding, "mpegts", width=info.width, height=info.height, deep=False)
        )
        # A virtual camera carries no tags: it gets what programs assume then.
        self._to_yuv = RgbToYuv(replace(info, color=UNTAGGED) if raw else info, format)
        self._base = Fraction(1, 90_000)
        self._key_at: int | None = None  # tick of the last key frame that was asked for
        self._out: Any = self._guarded(
            lambda: av.open(target, "w", format=muxer, container_options=options)
        )
        if muxer == "mpegts":  # whose names are else FFmpeg's
            self._out.metadata.update(service_name="", service_provider="")
        name, encoder_options = (
            ("rawvideo", {}) if raw else encoder_for(encoding, bitrate=_bits(encoding))
        )
        own = LIVE_OPTIONS.get(name, {})
        self._stream: Any = self._guarded(
            lambda: self._out.add_stream(name, rate=info.rate, options={**encoder_options, **own})
        )
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = info.width, info.height, format
        context.time_base = self._stream.time_base = self._base
        context.sample_aspect_ratio = info.sample_aspect
        self._to_yuv.tag_encoder(context)
        context.thread_count = encoding.threads
        context.bit_rate = _bits(encoding) or 0
        if not raw:
            # The source's rate, of which few frames may be shown: `write` asks for key frames, too.
            context.gop_size = max(1, round(KEY_FRAMES * info.rate))
            context.max_b_frames = 0
            context.flags |= Flags.bitexact  # no version of the encoder in what it makes
        if muxer == "tee":
            context.flags |= Flags.global_header  # which FLV needs, and `tee` does not ask for
        self._clean = without_sei(self._stream)
        self._guarded(lambda: open_encoder(context))
        self._guarded(self._out.start_encoding)  # which connects: until then nobody was asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, pixels: Pixels, time: FrameTime) -> None:
        """Send one frame (H, W, 3), uint8 RGB.

        Raises:
            MasqueradeError: the destination is gone.
        """
        picture: Any = self._to_yuv.convert(pixels)
        picture.pts, picture.time_base = round(time.pts * time.time_base / self._base), self._base
        if self._key_at is None or (picture.pts - self._key_at) * self._base >= KEY_FRAMES:
            picture.pict_type, self._key_at = PictureType.I, picture.pts
        self._guarded(lambda: self._send(picture))

    def close(self) -> None:
        """Send what the encoder holds and close the connection, if it is still there."""
        try:
            self._send(None)
            self._out.close()
        except (av.FFmpegError, OSError, ValueError):
            pass  # whoever read it has gone

    def _send(self, picture: Any) -> None:
        for packet in self._stream.encode(picture):
            self._out.mux(self._clean(packet))

    def _guarded(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (av.FFmpegError, OSError, ValueError) as error:
            why = str(getattr(error, "strerror", None) or error).lower()
            raise MasqueradeError(f"{self.address.name} cannot be written to ({why}).") from error


class ReconnectingWriter:
    """A `LiveWriter` that is opened again when its destination is gone; frames are dropped then.

    Args:
        address: where it goes.
        info: of the source.
        encoding: how it is compressed.
        seconds: for which a destination that is gone is opened again; a pipe never is.
        say: what a sentence is given to when the destination is gone, and when it is back.

    Raises:
        MasqueradeError: it cannot be opened at first, or was gone for longer.
    """

    def __init__(
        self,
        address: Address,
        *,
        info: VideoInfo,
        encoding: Encoding,
        seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._open = partial(LiveWriter, address, info=info, encoding=encoding)
        self._seconds = 0.0 if address.kind == "pipe" else seconds
        self._writer: LiveWriter | None = self._open()
        self._gone_at: float | None = None  # when it was; None: it is there
        self._tried_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, pixels: Pixels, time: FrameTime) -> bool:
        """Send one frame (H, W, 3), uint8 RGB; False: it is dropped, as nobody is there to take it.

        Raises:
            MasqueradeError: the destination was gone for too long.
        """
        now = monotonic()
        try:
            if self._writer is None and now - self._tried_at >= PAUSE:
                self._tried_at = now
                self._writer = self._open()
            if self._writer is not None:
                self._writer.write(pixels, time)
                if self._gone_at is not None:
                    self._say("the destination is back.")
                self._gone_at = None
                return True
        except MasqueradeError as error:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if self._gone_at is None:
                self._gone_at = now
            if now - self._gone_at >= self._seconds:
                raise
            if self._gone_at == now:
                self._say(f"{error} It is tried again for {self._seconds:g} s.")
        return False


@contextmanager
def wait_for_reader(address: Address, stopped: Callable[[], bool]) -> Iterator[None]:
    """Wait until a program reads a named pipe, and hold it open; nothing else is waited for.

    FFmpeg would wait for the reader when it opens the pipe, and hear no signal meanwhile.

    Raises:
        MasqueradeError: the run was `stopped` before.
    """
    if address.text == "-" or address.kind != "pipe":
        yield
        return
    while True:
        try:
            handle = os.open(address.text, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:  # which says that there is no reader
                why = error.strerror
                raise MasqueradeError(f"{address.name} cannot be written to ({why}).") from error
        if stopped():
            raise MasqueradeError(f"{address.name} was read by no program until the run ended.")
        sleep(READER_EVERY)
    try:
        yield
    finally:
        os.close(handle)


def _destination(address: Address) -> tuple[Any, str, dict[str, str]]:
    """The URL or stream that FFmpeg opens, its muxer, and the options of the muxer.

    Of what is sent over TCP the options bound how long a server may take nothing. Nothing else ends
    this wait: PyAV's own bound is for sources alone, and no signal is heard meanwhile.
    """
    target: Any = address.text
    if target == "-":
        descriptor = sys.stdout.fileno()
        target = SimpleNamespace(name="output", write=partial(_write_all, descriptor))
    elif address.kind == "pipe":  # whose name may hold a colon, as of a protocol
        target = f"file:{target}"
    muxer, limit = _muxer(address), str(round(1_000_000 * SECONDS))  # microseconds
    options = {"fflags": "+bitexact", "flush_packets": "1"}
    if address.scheme == "rtsp":
        options |= {"rtsp_transport": "tcp", "timeout": limit}
    elif address.scheme == "tcp":
        target += f"{'&' if '?' in target else '?'}timeout={limit}"
    elif muxer == "flv":  # RTMP takes it as an option of the protocol, which `tee` alone hands on
        joined = "".join(f":{key}={value}" for key, value in options.items())
        target = f"[f=flv:rw_timeout={limit}{joined}]" + re.sub(r"([\\'|])", r"\\\1", target)
        muxer = "tee"
    return target, muxer, options


def _write_all(descriptor: int, data: bytes) -> int:
    """Write to an open file at once: what Python buffers would count as sent and still wait."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return len(data)


def _muxer(address: Address) -> str:
    if address.kind == "camera":
        return "v4l2"
    if address.kind == "pipe":
        return "mpegts"
    if address.scheme not in MUXERS:
        known = known_schemes(MUXERS)
        raise UsageError(f"nothing is sent to {address.scheme}://; choose one of {known}.")
    return MUXERS[address.scheme]


def _bits(encoding: Encoding) -> int | None:
    return encoding.bitrate if isinstance(encoding.bitrate, int) else None
