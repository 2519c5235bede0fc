"""The computer's camera, frame by frame as the page sends them, through the live loop."""

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.errors import MasqueradeError, UsageError
from masquerade.pipeline.levels import LevelName, build_level
from masquerade.pipeline.live import LiveFrame, LiveRun
from masquerade.pipeline.live_config import LiveConfig
from masquerade.pipeline.live_run import build_live_pipeline
from masquerade.regions.region import ArrayFrame
from masquerade.video.probe import VideoInfo

MOST_SIDE = 1920  # pixels of a camera's frame
IDLE = 20.0  # seconds without a frame after which a session ends by itself
RATE = Fraction(25)  # frames a second that a camera is taken to have


class CameraFrame(ArrayFrame):
    """One frame of the page's camera.

    Args:
        pixels: (h, w, 3) in RGB.
        time: when it came, in seconds.
        index: 0 for the first frame.
    """

    def __init__(self, pixels: U8, *, time: float, index: int) -> None:
        super().__init__(pixels)
        self.time, self.index = time, index


class Camera:
    """One session of the page's camera.

    Args:
        level: what is hidden.
        allow_empty: show the place where nobody is found.
        max_latency: seconds after which a frame is dropped instead of shown.

    Raises:
        MissingError: a network is not here.
    """

    def __init__(self, *, level: LevelName, allow_empty: bool, max_latency: float) -> None:
        config = LiveConfig(level=level, allow_empty=allow_empty, max_latency=max_latency)
        self._pipeline = build_live_pipeline(build_level(level), config)
        self._max_latency = max_latency
        self._size: tuple[int, int] | None = None
        self._given: SimpleQueue[CameraFrame | None] = SimpleQueue()
        self._done: SimpleQueue[LiveFrame | MasqueradeError | None] = SimpleQueue()
        self._one = threading.Lock()  # frame at a time
        self._count = 0
        self._closed = False
        self.touched = time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether no frame has come for long."""
        return time.monotonic() - self.touched > IDLE

    def offer(self, data: bytes) -> LiveFrame | None:
        """Give the next frame, a JPEG; return the newest that may be shown, if there is a new one.

        Region sources look one frame ahead, so that it is the frame before, as a rule.

        Raises:
            UsageError: it is no picture, or not of the first one's size.
            MasqueradeError: the method or the detector failed, after which the session is over.
        """
        pixels = _decoded(data)
        with self._one:
            if self._closed:
                raise UsageError("the camera was stopped; start it again.")
            self.touched = time.monotonic()
            height, width = pixels.shape[:2]
            if self._size is None:
                self._size = width, height
                self._begin(width, height)
            elif self._size != (width, height):
                raise UsageError("the camera's pictures have changed their size; start it again.")
            self._given.put(CameraFrame(pixels, time=time.monotonic(), index=self._count))
            self._count += 1
            newest: LiveFrame | None = None
            while (outcome := self._done.get()) is not None:
                if isinstance(outcome, MasqueradeError):
                    self._closed = True
                    raise outcome
                newest = outcome
            return newest

    def close(self) -> None:
        """End it; frames that are on their way are forgotten."""
        with self._one:
            if not self._closed:
                self._closed = True
                self._given.put(None)

    def _begin(self, width: int, height: int) -> None:
        info = VideoInfo(
            path=Path("camera"),
            kind="video",
            container="",
            width=width,
            height=height,
            rate=RATE,
        )
        run = LiveRun(
            self._pipeline,
            info=info,
            max_latency=self._max_latency,
            age=lambda frame: time.monotonic() - frame.time,
        )
        threading.Thread(target=self._work, args=(run,), daemon=True).start()

    def _frames(self) -> Iterator[Any]:
        """Each frame once it is given; before that whoever waits hears that no more comes of it."""
        first = True
        while True:
            if not first:
                self._done.put(None)
            first = False
            frame = self._given.get()
            if frame is None:
                return
            yield frame

    def _work(self, run: LiveRun) -> None:
        try:
            for live_frame in run(self._frames()):
                self._done.put(live_frame)
                run.sent(live_frame)
        except MasqueradeError as error:
            self._done.put(error)
        except Exception:  # a library's, whatever it is: the page must not wait for ever
            self._done.put(MasqueradeError("the camera's frames could not be anonymized."))


def _decoded(data: bytes) -> U8:
    try:
        picture: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise UsageError("this is no picture that can be read.")
    if max(picture.shape[:2]) > MOST_SIDE:
        raise UsageError(f"a camera's picture may have {MOST_SIDE} pixels a side; ask for less.")
    pixels: U8 = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return pixels
