"""Read a published video's frames with their neighbours, and the raw frames of the same times."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.attack.aligned_frames import SIDE, orient_raw
from masquerade.attack.finders import at_size
from masquerade.attack.undo import NEIGHBOURS
from masquerade.errors import VideoError
from masquerade.video.container import printable
from masquerade.video.decoding_process import count_frames, list_packets, probe
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

LEAST_EXTRA = 0.5  # seconds of a raw video after the published one's end that are told of
# steps of the published video by which it may show a raw frame late: FFmpeg's -r is up to 1.6
MOST_LATE = 2.0
MOST_HELD = 2**29  # bytes of raw frames among which that of a published one is looked for
MOST_ALIKE = 3  # of these, which are compared


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
    raw: Sequence[U8]  # the most alike first; empty: there is no raw video, or it is lost
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
    First come those that the published frame is more like. Where the published frame is mirrored or
    turned, `raw` is, too.

    A published frame need not show the raw one of its time: of those that it may show, `raw` has
    the few that it is most like, and the nearest in time.

    With `on_lost`, what keeps the raw video from being read, or read on, is told to it, and frames
    from there on have no raw ones.

    Raises:
        VideoError: a video cannot be read, or the raw one ends before the published one.
    """
    wanted, asked = deque(chosen), set(chosen)
    held = deque[tuple[int, U8, Sequence[U8], bool]](maxlen=2 * NEIGHBOURS + 1)

    def window(number: int) -> FrameWindow:
        near = [item for item in held if abs(item[0] - number) <= NEIGHBOURS]
        at = next(i for i, item in enumerate(near) if item[0] == number)
        frames, (_, published, pictures, opaque) = [item[1] for item in near], near[at]
        pictures, turned = orient_raw(published, pictures)
        return FrameWindow(
            number=number, frames=frames, at=at, raw=pictures, opaque=opaque, turned=turned
        )

    with ExitStack() as stack:
        sources = _RawSources(stack, path, raw, salvage=salvage, on_lost=on_lost)
        before = 0.0
        for number, frame in enumerate(read_frames(stack, path, opaque=True)):
            both = sources.near(number, frame.time, within=frame.time - before)
            before = frame.time
            pictures, opaque = _most_alike(frame.pixels, both) if number in asked else ((), False)
            held.append((number, frame.pixels, pictures, opaque))
            while wanted and wanted[0] <= number - NEIGHBOURS:
                yield window(wanted.popleft())
        while wanted and held and wanted[0] <= held[-1][0]:
            yield window(wanted.popleft())
    if wanted:
        fewer = f"{printable(path)} gives fewer frames than it says"
        raise VideoError(f"{fewer}: {wanted[0]} is missing.")


def extra_raw_seconds(path: Path, raw: Path) -> float:
    """Seconds by which a raw video is longer than the published one; 0: hardly, or not."""
    extra = _length(raw) - _length(path)
    return extra if extra > LEAST_EXTRA else 0.0


def _length(path: Path) -> float:
    """Seconds that a video lasts: as it says, else by its packets; 0 of an image."""
    info = probe(path)
    if info.kind == "image" or info.duration is not None:
        return info.duration or 0.0
    seconds = [packet.seconds for packet in list_packets(path)]  # as of a stream that was recorded
    return sum(seconds) if all(seconds) else len(seconds) / float(info.rate)


def _most_alike(published: U8, both: Sequence[Sequence[U8]]) -> tuple[list[U8], bool]:
    """The raw frames most similar to a published one, and whether opaque ones are more similar.

    `both` are the raw frames by each way in which they were read: over black, and opaque where the
    video has transparent pixels. Those of the more similar way come first.
    """
    ratio = min(1.0, SIDE / max(published.shape[:2]))
    size = max(1, round(published.shape[1] * ratio)), max(1, round(published.shape[0] * ratio))
    here, by_way = at_size(published, size), list[tuple[float, list[U8]]]()
    for raw in both:
        there, _ = orient_raw(here, [at_size(frame, size) for frame in raw])
        apart = [float(cv2.absdiff(here, frame).mean()) for frame in there]
        order = sorted(range(len(raw)), key=lambda i: apart[i])  # of equal ones the nearest first
        nearest = order[:MOST_ALIKE] + [0] * (0 not in order[:MOST_ALIKE])
        by_way.append((apart[order[0]], [raw[i] for i in nearest]))
    first = min(range(len(by_way)), key=lambda i: by_way[i][0], default=0)
    by_way = by_way[first:] + by_way[:first]
    return [frame for _, nearest in by_way for frame in nearest], first > 0


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

        def have_one_count() -> bool:  # which says nothing of a damaged one
            return not salvage and count_frames(path) == count_frames(raw)

        try:
            for opaque in (False, True) if probe(raw).has_alpha else (False,):
                read = partial(read_frames, stack, raw, salvage=salvage, opaque=opaque)
                self._frames.append(_RawFrames(read, have_one_count))
        except Exception as error:  # of whatever kind: the published video is read all the same
            self._lose(error)

    def near(self, number: int, time: float, *, within: float) -> list[Sequence[U8]]:
        """Those that a frame may show, of each; none: there is no raw video, or it is lost."""
        try:
            both = [source.near(number, time, within=within) for source in self._frames]
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
    """Finds the raw frames that each published frame may show, in the order of the video.

    Published frames may be fewer or more than raw ones, where a video got another frame rate, so
    that times pair them. Or they are the same ones at other times, so that numbers do.

    Args:
        read: begins to read the raw video.
        have_one_count: whether both videos have equally many frames.
    """

    def __init__(
        self, read: Callable[[], Iterator[TimedFrame]], have_one_count: Callable[[], bool]
    ) -> None:
        self._read, self._have_one_count = read, have_one_count
        self._frames = enumerate(read())
        self._near = deque[tuple[int, TimedFrame]]()  # up to one after the time asked for
        self._step = 0.0  # seconds between the last two
        # once one was not near to the time of its number
        self._by_number: Iterator[tuple[int, TimedFrame]] | None = None

    def near(self, number: int, time: float, *, within: float) -> Sequence[U8]:
        """The frames that the published frame of a number and a time may show, nearest first.

        `within` is the time since the published frame before. The last one given is that of the
        same number, where both videos have equally many frames and it is not near in time.

        Empty where the last one is earlier by more than its own step, by more than `within`, and by
        more than it lasts: at a constant rate it may be published many times.
        """
        while not self._near or self._near[-1][1].time <= time:
            following = next(self._frames, None)
            if following is None:
                break
            before = self._near[-1][1].time if self._near else following[1].time
            self._step = following[1].time - before
            self._near.append(following)
            self._forget(time - MOST_LATE * within)
        last = self._near[-1][1] if self._near else None
        ended = last is None or time - last.time > MOST_LATE * max(
            self._step, within, last.duration
        )
        if self._by_number is None and (ended or all(n != number for n, _ in self._near)):
            self._by_number = enumerate(self._read() if self._have_one_count() else ())
        near = [] if ended else [frame for _, frame in self._near]
        near.sort(key=lambda frame: abs(frame.time - time))
        near += islice((frame for n, frame in self._by_number or () if n == number), 1)
        return [frame.pixels for frame in near]

    def _forget(self, time: float) -> None:
        """Drop frames before a time, or beyond the memory limit, but never the last three.

        These are two up to the time that is asked for, and one after it.
        """
        while len(self._near) > 3 and (
            self._near[0][1].time < time
            or sum(frame.pixels.nbytes for _, frame in self._near) > MOST_HELD
        ):
            self._near.popleft()
