"""Copies a video into pictures that can be read in any order, beside the page."""

import threading
from pathlib import Path

import numpy as np

from masquerade.errors import MasqueradeError, VideoError
from masquerade.video.decoding_process import probe
from masquerade.video.frame import Frame
from masquerade.video.read import Reader
from masquerade.video.segments import Picture, SegmentReader, SegmentWriter, copy_size


class Pictures:
    """The frames of one video, readable while it is still being copied.

    Args:
        source: the video.
        folder: an empty private folder for the copy.

    Raises:
        VideoError: it is no video that can be read.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.info = source, probe(source)
        self.size = copy_size(self.info.width, self.info.height)
        self.error: str | None = None
        self.done = False
        self._writer, self._reader = SegmentWriter(folder), SegmentReader(folder)
        self._first: Picture | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._copy, name="copy", daemon=True)
        self._thread.start()

    @property
    def frames(self) -> int:
        """How many can be read so far."""
        return max(self._writer.frames, int(self._first is not None))

    def read(self, frame: int) -> Picture:
        """One picture, (h, w, 3), RGB.

        Raises:
            VideoError: there is none, or not yet.
        """
        first = self._first
        if frame == 0 and first is not None and not self._writer.frames:
            return first
        return self._reader.read(frame)

    def close(self) -> None:
        """Stop copying."""
        self._stopped.set()
        self._thread.join()

    def _copy(self) -> None:
        try:
            with Reader(self.source, info=self.info, force_8bit=True) as reader:
                for item in reader:
                    if self._stopped.is_set():
                        return
                    if isinstance(item, Frame):
                        picture = np.asarray(item.rgb(self.size), np.uint8)
                        self._first = picture if self._first is None else self._first
                        self._writer.add(picture)
            self._writer.flush()
            if not self._writer.frames:
                raise VideoError("there is no frame in it.")
            self.done = True
        except MasqueradeError as error:
            self.error = str(error)
        except Exception as error:  # such as a full disk
            self.error = f"the video could not be copied: {error}."
