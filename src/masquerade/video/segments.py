"""A small copy of a video in short pieces, from which any frame is read in a few milliseconds.

A source can be read in order only, as its key frames lie where its author put them. The copy has
frames of at most `LONGEST_SIDE` pixels, numbered as the source's, and a key frame every `GROUP`
frames. It is lossy, and for looking alone.
"""

import threading
from collections import OrderedDict
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from masquerade.errors import MasqueradeError, VideoError

Picture = NDArray[np.uint8]  # (h, w, 3), RGB

LENGTH = 32  # frames of a piece
GROUP = 8  # frames from one key frame to the next: what is decoded for one of them
LONGEST_SIDE = 960  # pixels
KEPT = 16  # decoded groups in memory
RATE = Fraction(25)  # frames a second of the copy, whatever the source's is
_OPTIONS = {"preset": "ultrafast", "crf": "14", "bf": "0", "x264-params": "cpu-independent=1"}


def copy_size(width: int, height: int) -> tuple[int, int]:
    """The size (w, h) of a copy's frames: even sides, at most `LONGEST_SIDE`, never enlarged."""
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    wide, high = (max(2, round(side * scale / 2) * 2) for side in (width, height))
    return wide, high


class SegmentWriter:
    """Writes the pieces of a copy, in order.

    Args:
        folder: where they go; it is private to whoever may see the video.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._waiting = folder, list[Picture]()
        self.frames = 0  # that can be read

    def add(self, picture: Picture) -> None:
        """Add the next frame, of the size that `copy_size` gave."""
        self._waiting.append(picture)
        if len(self._waiting) == LENGTH:
            self.flush()

    def flush(self) -> None:
        """Write the last piece, which may be shorter."""
        if not self._waiting:
            return
        height, width = self._waiting[0].shape[:2]
        number = self.frames // LENGTH
        part = self._folder / f"{number}.part"
        with av.open(str(part), "w", format="matroska") as file:
            stream = file.add_stream("libx264", rate=RATE, options=_OPTIONS)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.gop_size = GROUP
            for picture in self._waiting:
                file.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode(None))
        part.replace(piece(self._folder, number))
        self.frames += len(self._waiting)
        self._waiting.clear()


class SegmentReader:
    """Reads frames of a copy in any order; several threads may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._groups: OrderedDict[int, list[VideoFrame]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, frame: int) -> Picture:
        """One frame, (h, w, 3), RGB.

        Raises:
            VideoError: there is no such frame, or not yet.
        """
        number, place = divmod(frame, GROUP)
        with self._lock:
            pictures = self._groups.get(number)
            if pictures is None or place >= len(pictures):
                pictures = self._decode(number)
                self._groups[number] = pictures
            self._groups.move_to_end(number)
            while len(self._groups) > KEPT:
                self._groups.popitem(last=False)
            if frame < 0 or place >= len(pictures):
                raise VideoError(f"there is no frame {frame} yet.")
            # A picture's converter is its own, and two threads at once stop it for good.
            return np.asarray(pictures[place].to_ndarray(format="rgb24"), np.uint8)

    def _decode(self, number: int) -> list[VideoFrame]:
        """The frames of one group; fewer at the end of the copy."""
        first = number * GROUP
        path = piece(self._folder, first // LENGTH)
        if number < 0 or not path.exists():
            raise VideoError(f"there are no frames from {first} on yet.")
        start = Fraction(first % LENGTH) / RATE  # seconds, in the piece
        try:
            with av.open(str(path)) as file:
                stream = file.streams.video[0]
                assert stream.time_base is not None
                file.seek(int(start / stream.time_base), stream=stream)
                pictures = (
                    picture
                    for picture in file.decode(stream)
                    if picture.time is not None and picture.time > float(start) - 0.001
                )
                return list(islice(pictures, GROUP))
        except av.FFmpegError as error:
            raise MasqueradeError(f"the copy of the video is damaged: {error}.") from error


def piece(folder: Path, number: int) -> Path:
    """The path of the file that holds piece `number` of the frames."""
    return folder / f"{number}.mkv"
