"""Live video as an iterator of the newest frames, decoded in another process.

A frame that comes while another one is worked on replaces the one that waits, so that nobody ever
sees a late one for want of speed. A source that is lost is opened again.
"""

import mmap
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.video.addresses import Address
from masquerade.video.container import MAX_VIDEO_PIXELS
from masquerade.video.decoding_process import DecoderSession, Limits, share_memory
from masquerade.video.frame import Frame, YuvToRgb
from masquerade.video.live_decoding import TICKS, arrival_tick
from masquerade.video.messages import info_from_plain
from masquerade.video.probe import VideoInfo, check_size
from masquerade.video.shared_picture import Properties, SharedPictureReader, byte_count

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between two attempts to open a lost source


@dataclass(slots=True, eq=False)
class ReceivedFrame(Frame):
    """A frame of live video, and when its packet arrived."""

    arrived: int  # tick of `arrival_tick`'s clock at which its packet came


class LiveSource:
    """A camera, network stream or pipe as an iterator of frames, each the newest when it is read.

    A frame's `pts` is when it was decoded, less the time for which it waited before, in ticks of
    `arrival_tick`'s clock, and its `index` counts the pictures that came, so that a gap in it is of
    frames that were dropped.

    Args:
        address: where it comes from; see `addresses.parse_address`.
        size: "WxH" that a camera is asked for; None: its own.
        rate: frames a second that a camera is asked for; None: its own.
        stall: seconds without a picture after which the source is taken for lost.
        reconnect: seconds for which a lost network source or camera is opened again and again.
        say: what a sentence is given to when it is lost, and when it is back.

    Raises:
        VideoError: it cannot be opened, or was lost for longer than `reconnect`.
        UsageError: it is a recording on a web server.
    """

    def __init__(
        self,
        address: Address,
        *,
        size: str | None = None,
        rate: float | None = None,
        stall: float = 10.0,
        reconnect: float = 60.0,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        if address.kind == "file":
            raise UsageError(
                f"{address.name} is no camera, network stream or pipe; `masquerade anonymize` "
                "takes files."
            )
        self.address = address
        self._wanted = {"size": size or "", "rate": rate or 0.0, "seconds": stall}
        self._stall, self._reconnect = stall, reconnect if address.kind != "pipe" else 0.0
        self._say = say
        self._session: DecoderSession | None = None
        self._to_rgb: YuvToRgb | None = None
        self._stopped = False
        self._before = 0  # pictures of earlier connections
        self.reconnections = 0
        self.pictures = 0  # that came so far

    def __enter__(self) -> Self:
        try:
            self.info = self._connect()
            if self.address.scheme in ("http", "https") and self.info.duration:
                raise recording_refused(self.address.name, "download it, and name the file")
        except BaseException:
            self._disconnect()
            raise
        self._to_rgb = YuvToRgb(self.info, force_8bit=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def stop(self) -> None:
        """End the iteration at once, as a signal handler or a thread may."""
        self._stopped = True
        session = self._session  # which its own thread may give up meanwhile
        if session is not None:
            session.interrupt()

    def __iter__(self) -> Iterator[ReceivedFrame]:
        while not self._stopped:
            try:
                for frame in self._frames():
                    yield frame
                    if self._stopped:
                        return
                if self.address.kind == "pipe":
                    return
                raise VideoError(f"{self.address.name} has ended.")
            except VideoError as error:
                self._disconnect()
                if self._stopped:
                    return
                if not self._reconnect:
                    raise
                self._say(f"{str(error).removesuffix('.')}; it is opened again.")
            self._before = self.pictures
            self._connect_again()

    def _connect_again(self) -> None:
        """Open a lost source; its pictures are given in the size of the first ones."""
        until, pause = time.monotonic() + self._reconnect, FIRST_PAUSE
        while not self._stopped:
            try:
                self._connect()
                self.reconnections += 1
                self._say(f"{self.address.name} is back.")
                return
            except VideoError:
                self._disconnect()
                left = until - time.monotonic()
                if left <= 0:
                    raise
                self._wait(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < until:
            time.sleep(0.05)

    def _connect(self) -> VideoInfo:
        name = self.address.name
        # the decoder itself gives up a connection first, and says why
        try:
            self._session = DecoderSession(name, Limits(seconds=self._stall + 5))
        except MasqueradeError as error:  # so that it is tried again, and what was recorded is kept
            raise VideoError(str(error)) from error
        if self._stopped:  # while its process was started
            self._session.interrupt()
        self._session.send("watch", address=list(self.address), memory=None, **self._wanted)
        if self.address.kind == "pipe":
            self._hand_over_pipe()
        plain = self._session.receive()[0]["info"]
        self._session.wait_at_most(self._stall)
        info = info_from_plain(plain, Path(name))
        check_size(info.width, info.height, name, most=MAX_VIDEO_PIXELS)
        return info

    def _hand_over_pipe(self) -> None:
        assert self._session is not None
        if self.address.text == "-":
            self._session.send_file(sys.stdin.fileno())
            return
        descriptor = self._open_pipe()
        try:
            self._session.send_file(descriptor)
        finally:
            os.close(descriptor)

    def _open_pipe(self) -> int:
        """Open a named pipe, wait until something comes from it, and return its descriptor.

        Where nobody writes to it, opening it in the usual way would wait for that without an end.
        """
        name = self.address.name
        try:
            descriptor = os.open(self.address.text, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise VideoError(f"{name} cannot be opened: {error.strerror}.") from None
        comes, until = select.poll(), time.monotonic() + self._stall
        comes.register(descriptor, select.POLLIN)
        while not comes.poll(50):  # milliseconds
            if self._stopped or time.monotonic() >= until:
                os.close(descriptor)
                raise VideoError(
                    f"nothing came from {name} within {self._stall:g} s: start the program that "
                    "writes to it, or give a longer --stall."
                )
        return descriptor

    def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.closed:
            with suppress(VideoError):
                session.end()

    def _frames(self) -> Iterator[ReceivedFrame]:
        session, to_rgb = self._session, self._to_rgb
        assert session is not None and to_rgb is not None
        maker, slot = SharedPictureReader(), 0
        shared: mmap.mmap | None = None
        reported = False
        while True:
            message, _ = session.receive()
            if "closed" in message:
                return
            if "left out" in message:
                if not reported:
                    self._say(
                        f"{self.address.name} sends more than this machine decodes; it goes on "
                        "with the next key frame."
                    )
                reported = True
                continue
            if "room" in message:
                slot = message["room"]
                shared = share_memory(session, slot, most=1)
                continue
            reported = False
            of = Properties(*message["picture"])
            check_size(of.width, of.height, self.address.name, most=MAX_VIDEO_PIXELS)
            assert shared is not None and byte_count(*of[:3]) <= slot
            picture = maker.take(memoryview(shared)[:slot], of)
            number = self._before + message["index"]
            self.pictures = number + 1
            yield ReceivedFrame(
                picture,
                to_rgb,
                message["pts"],
                1,
                Fraction(1, TICKS),
                number,
                arrived=message["arrived"],
            )
            session.send("next", slot=0)


def recording_refused(name: str, how: str = "name the file itself") -> UsageError:
    """The refusal of a source that is all there at once, or is played anew each time it is read."""
    return UsageError(
        f"{name} is a recording, of which live video would leave most frames out; {how} to "
        "`masquerade anonymize`."
    )


def age(frame: Frame) -> float:
    """Seconds since a live frame arrived."""
    assert isinstance(frame, ReceivedFrame)
    return float((arrival_tick() - frame.arrived) * frame.time_base)
