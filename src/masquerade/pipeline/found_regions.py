"""What a region source found in each frame, stored compactly until the output is compared.

Of each frame a few bytes a box and a packed silhouette are kept, in memory up to a limit and then
in a temporary file that has no name and holds no picture.
"""

import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IN_MEMORY = 2**24  # bytes; what is more lies in the file


class FoundRegions(NamedTuple):
    """What was found in one frame, in pixels of a copy of it."""

    boxes: NDArray[np.float32]  # (N, 4), x0, y0, x1, y1
    tracks: NDArray[np.int64]  # (N,); -1: none
    silhouette: NDArray[np.bool_] | None  # (h, w)
    full_frame: bool  # all of it is hidden

    @property
    def empty(self) -> bool:
        """Whether nothing was found."""
        drawn = self.silhouette is not None and self.silhouette.any()
        return not (self.full_frame or drawn or len(self.boxes))


class FoundRegionsFile:
    """A sequence of `FoundRegions` of frames of `size` (w, h), which is written, then read once."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._width, self._height = size
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115

    def append(self, regions: FoundRegions) -> None:
        """Add what was found in the next frame."""
        packed = b""
        if regions.silhouette is not None:
            packed = zlib.compress(np.packbits(regions.silhouette).tobytes(), 1)
        head = np.array([len(regions.boxes), len(packed), regions.full_frame], np.int64)
        for part in (head, regions.tracks, regions.boxes):
            self._file.write(part.tobytes())
        self._file.write(packed)

    def save(self, path: Path) -> None:
        """Copy everything to a file."""
        self._file.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(self._file, file)

    def append_saved(self, path: Path) -> None:
        """Add what another such file saved, of the frames that follow."""
        with path.open("rb") as file:
            shutil.copyfileobj(file, self._file)

    def read(self) -> Iterator[FoundRegions]:
        """Yield what was found, in order."""
        self._file.seek(0)
        while head := self._file.read(24):
            boxes, size, full_frame = np.frombuffer(head, np.int64).tolist()
            tracks = np.frombuffer(self._file.read(8 * boxes), np.int64)
            corners = np.frombuffer(self._file.read(16 * boxes), np.float32).reshape(-1, 4)
            silhouette = None
            if packed := self._file.read(size):
                bits = np.frombuffer(zlib.decompress(packed), np.uint8)
                flat = np.unpackbits(bits, count=self._width * self._height)
                silhouette = flat.reshape(self._height, self._width) > 0
            yield FoundRegions(corners, tracks, silhouette, bool(full_frame))

    def close(self) -> None:
        """Forget everything."""
        self._file.close()
