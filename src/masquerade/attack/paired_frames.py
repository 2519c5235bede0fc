"""Read a published video's frames with their neighbours, and the raw frames of the same times."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.attack.aligned_frames import turn_raw
from masquerade.attack.finders import at_size
from masquerade.attack.undo import NEIGHBOURS
from masquerade.errors import VideoError
from masquerade.video.container import printable
from masquerade.video.decoding_process import list_packets, probe
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
    raw: Sequence[U8]  # the nearest first; empty: there is no raw video, or it is lost
    opaque: bool = False  # whether the first of `raw` has the colours of transparent pixels
    turned: bool = False  # whether `raw` was mirrored or turned as the published frame is

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
    path: Path,
    raw: Path | None,
    chosen: Sequence[int],
    *,
    salvage: bool = False,
    on_lost: Callable[[Exception], None] | None = None,
) -> Iterator[FrameWindow]:
    """The chosen frames of a published video, in order.

    With `salvage` a damaged raw video is read as far as it can be, as its output was made of it.
    Else it is refused: beside frames that are lost, published ones would look changed.

    Of a raw video with transparent pixels `raw` holds both what is seen of it over black, as
    `anonymize` makes its output of it, and the colours that are in the file, which others keep.
    First come those that the published frame is nearer to. Where the published frame is mirrored or
    turned, `raw` is, too.

    With `on_lost`, what keeps the raw video from being read, or read on, is told to it, and frames
    from there on have no raw ones.

    Raises:
        VideoError: a video cannot be read, or the raw one ends before the published one.
    """
    wanted = deque(chosen)
    held = deque[tuple[int, U8, Sequence[U8], bool]](maxlen=2 * NEIGHBOURS + 1)

    def window(number: int) -> FrameWindow:
        near = [one for one in held if abs(one[0] - number) <= NEIGHBOURS]
        at = next(i for i, one in enumerate(near) if one[0] == number)
        frames, (_, published, pictures, opaque) = [one[1] for one in near], near[at]
        pictures, turned = turn_raw(published, pictures)
        return FrameWindow(
            number=number, frames=frames, at=at, raw=pictures, opaque=opaque, turned=turned
        )

    with ExitStack() as stack:
        sources = _RawSources(stack, path, raw, salvage=salvage, on_lost=on_lost)
        before = 0.0
        for number, frame in enumerate(read_frames(stack, path, opaque=True)):
            both = sources.nearest(frame.time, within=frame.time - before)
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
    """Seconds by which a raw video is longer than the published one; 0: hardly, or not."""
    rest = _length(raw) - _length(path)
    return rest if rest > LEAST_REST else 0.0


def _length(path: Path) -> float:
    """Seconds that a video lasts: as it says, else by its packets; 0 of an image."""
    info = probe(path)
    if info.kind == "image" or info.duration is not None:
        return info.duration or 0.0
    seconds = [one.seconds for one in list_packets(path)]  # as of a stream that was recorded
    return sum(seconds) if all(seconds) else len(seconds) / float(info.rate)


def _apart(published: U8, raw: Sequence[U8]) -> float:
    """How far a published frame is from the first of the raw ones, on average."""
    height, width = published.shape[:2]
    return float(cv2.absdiff(published, at_size(raw[0], (width, height))).mean())


class _RawSources:
    """Reads a raw video over black and, if it has transparent pixels, with their own colours."""

    def __init__(
        self,
        stack: ExitStack,
        path: Path,
        raw: Path | None,
        *,
        salvage: bool,
        on_lost: Callable[[Exception], None] | None,
    ) -> None:
        self._path, self._raw, self._on_lost = path, raw, on_lost
        self._frames: list[_RawFrames] = []
        if raw is None:
            return
        try:
            for opaque in (False, True) if probe(raw).has_alpha else (False,):
                frames = read_frames(stack, raw, salvage=salvage, opaque=opaque)
                self._frames.append(_RawFrames(frames))
        except Exception as error:  # of whatever kind: the published video is read all the same
            self._lose(error)

    def nearest(self, time: float, *, within: float) -> list[Sequence[U8]]:
        """Those near to a time, of each; none: there is no raw video, or it is lost."""
        try:
            both = [one.nearest(time, within=within) for one in self._frames]
            if self._raw is not None and not all(both):
                ended = f"{printable(self._raw)} ends at {time:.2f} s"
                raise VideoError(f"{ended}, before {printable(self._path)} does.")
        except Exception as error:  # of whatever kind, as above
            self._lose(error)
            return []
        return both

    def _lose(self, error: Exception) -> None:
        if self._on_lost is None:
            raise error
        self._frames, self._raw = [], None
        self._on_lost(error)


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
