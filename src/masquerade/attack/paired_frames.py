"""Read a published video's frames with their neighbours, and the raw frames of the same times."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.attack.finders import at_size
from masquerade.attack.undo import NEIGHBOURS
from masquerade.errors import VideoError
from masquerade.video.container import printable
from masquerade.video.decoding_process import probe
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

U8 = NDArray[np.uint8]

LEAST_REST = 0.5  # seconds of a raw video after the published one's end that are told of


class TimedFrame(NamedTuple):
    """A decoded frame, (H, W, 3), and its time in seconds after the video's first."""

    time: float
    pixels: U8
    duration: float  # seconds until the next one


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameWindow:
    """A frame of a published video among its neighbours, and the raw ones of its time."""

    number: int
    frames: Sequence[U8]  # (H, W, 3) each, in order
    at: int  # which of `frames` it is
    raw: Sequence[U8]  # the nearest first; empty: there is no raw video
    opaque: bool = False  # whether the first of `raw` has the colours of transparent pixels

    @property
    def published(self) -> U8:
        return self.frames[self.at]


def spread_numbers(count: int, most: int) -> list[int]:
    """At most so many frame numbers, evenly from the first to the last; a single one is between."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count // 2]
    return [i * (count - 1) // (most - 1) for i in range(most)]


def read_frames(
    stack: ExitStack, path: Path, *, salvage: bool = False, opaque: bool = False
) -> Iterator[TimedFrame]:
    """All frames of a video or image; with `salvage` those that can be read of a damaged one.

    With `opaque` transparent pixels have the colours that are in the file.
    """
    reader = stack.enter_context(Reader(path, force_8bit=True, salvage=salvage, opaque=opaque))
    first: float | None = None
    for item in reader:
        if isinstance(item, Frame):
            first = item.time if first is None else first
            duration = float(item.duration * item.time_base)
            yield TimedFrame(item.time - first, np.asarray(item.rgb(), np.uint8), duration)


def read_windows(
    path: Path, raw: Path | None, chosen: Sequence[int], *, salvage: bool = False
) -> Iterator[FrameWindow]:
    """The chosen frames of a published video, in order.

    With `salvage` a damaged raw video is read as far as it can be, as its output was made of it.
    Else it is refused: beside frames that are lost, published ones would look changed.

    Of a raw video with transparent pixels `raw` holds both what is seen of it over black, as
    `anonymize` makes its output of it, and the colours that are in the file, which others keep.
    First come those that the published frame is nearer to.

    Raises:
        VideoError: a video cannot be read, or the raw one ends before the published one.
    """
    wanted = deque(chosen)
    held = deque[tuple[int, U8, Sequence[U8], bool]](maxlen=2 * NEIGHBOURS + 1)

    def window(number: int) -> FrameWindow:
        near = [one for one in held if abs(one[0] - number) <= NEIGHBOURS]
        at = next(i for i, one in enumerate(near) if one[0] == number)
        frames = [one[1] for one in near]
        return FrameWindow(number=number, frames=frames, at=at, raw=near[at][2], opaque=near[at][3])

    with ExitStack() as stack:
        sources: list[_RawFrames] = []  # over black, and the colours of transparent pixels
        if raw is not None:
            for opaque in (False, True) if probe(raw).has_alpha else (False,):
                frames = read_frames(stack, raw, salvage=salvage, opaque=opaque)
                sources.append(_RawFrames(frames))
        before = 0.0
        for number, frame in enumerate(read_frames(stack, path, opaque=True)):
            both = [one.nearest(frame.time, within=frame.time - before) for one in sources]
            if raw is not None and not all(both):
                ended = f"{printable(raw)} ends at {frame.time:.2f} s"
                raise VideoError(f"{ended}, before {printable(path)} does.")
            before = frame.time
            clear = len(both) > 1 and _apart(frame.pixels, both[1]) < _apart(frame.pixels, both[0])
            near = [one for each in (reversed(both) if clear else both) for one in each]
            held.append((number, frame.pixels, near, clear))
            while wanted and wanted[0] <= number - NEIGHBOURS:
                yield window(wanted.popleft())
        while wanted and held and wanted[0] <= held[-1][0]:
            yield window(wanted.popleft())
    if wanted:
        fewer = f"{printable(path)} gives fewer frames than it says"
        raise VideoError(f"{fewer}: {wanted[0]} is missing.")


def rest_of_raw(path: Path, raw: Path) -> float:
    """Seconds by which a raw video is longer than the published one; 0: hardly, or unknown."""
    ours, theirs = probe(path).duration, probe(raw).duration
    if ours is None or theirs is None:
        return 0.0
    return theirs - ours if theirs - ours > LEAST_REST else 0.0


def _apart(published: U8, raw: Sequence[U8]) -> float:
    """How far a published frame is from the first of the raw ones, on average."""
    height, width = published.shape[:2]
    return float(cv2.absdiff(published, at_size(raw[0], (width, height))).mean())


class _RawFrames:
    """Frames of a raw video, asked for by increasing times.

    Published frames may be fewer or more than raw ones, where a video got another frame rate, so
    that numbers do not pair them.
    """

    def __init__(self, frames: Iterator[TimedFrame]) -> None:
        self._frames = frames
        self._near = deque[TimedFrame](maxlen=3)  # two up to the time asked for, and one after it
        self._step = 0.0  # seconds between the last two

    def nearest(self, time: float, *, within: float) -> Sequence[U8]:
        """The frame nearest to a time, and those before and after it, nearest first.

        Empty where the last one is earlier by more than its own step, by more than `within`, and by
        more than it lasts: at a constant rate it may be published many times.
        """
        while not self._near or self._near[-1].time <= time:
            following = next(self._frames, None)
            if following is None:
                break
            self._step = following.time - self._near[-1].time if self._near else 0.0
            self._near.append(following)
        if not self._near:
            return ()
        last = self._near[-1]
        if time - last.time > 1.5 * max(self._step, within, last.duration):
            return ()
        return [one.pixels for one in sorted(self._near, key=lambda one: abs(one.time - time))]
