"""The frames of finished results, each of which is copied when it is looked at first."""

import shutil
import threading
import time
from collections import OrderedDict
from pathlib import Path

from masquerade.studio.copying import Pictures
from masquerade.video.segments import Picture

KEPT = 4  # results whose copies stay: two comparisons
PATIENCE = 3.0  # seconds that somebody waits for a frame which is being copied


class ResultPictures:
    """Copies of results, of which those looked at last are kept.

    Args:
        folder: a private folder for the copies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, Pictures] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, job: str, result: Path) -> Pictures:
        """The frames of a job's result, readable while they are being copied.

        Raises:
            VideoError: it is no video that can be read.
        """
        with self._lock:
            if job not in self._open:
                own = self._folder / f"result-{job}"
                own.mkdir(mode=0o700)
                try:
                    self._open[job] = Pictures(result, own)
                except BaseException:
                    shutil.rmtree(own, ignore_errors=True)
                    raise
                while len(self._open) > KEPT:
                    self._drop(next(iter(self._open)))
            self._open.move_to_end(job)
            return self._open[job]

    def read(self, job: str, result: Path, frame: int) -> Picture:
        """One frame of a result; one that is being copied just now is waited for.

        Raises:
            VideoError: there is none, or not yet.
        """
        pictures, end = self.of(job, result), time.monotonic() + PATIENCE
        while frame >= pictures.frames and not pictures.done and pictures.error is None:
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        return pictures.read(frame)

    def forget(self, job: str) -> None:
        """Remove the copy of a result that was removed."""
        with self._lock:
            if job in self._open:
                self._drop(job)

    def close(self) -> None:
        """End all copying."""
        with self._lock:
            for job in list(self._open):
                self._drop(job)

    def _drop(self, job: str) -> None:
        self._open.pop(job).close()
        shutil.rmtree(self._folder / f"result-{job}", ignore_errors=True)
