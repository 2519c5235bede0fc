"""Anonymize a stream of frames: regions are found ahead, windows follow, memory is bounded.

Each stage (decode, find regions, anonymize, and the caller's convert and encode) runs in a thread
of its own with a short queue to the next one. A video therefore takes as long as its slowest stage,
and its length does not change the memory that is needed.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import (
    Anonymizer,
    Pixels,
    Planes,
    back_and_forth,
    check_anonymized,
    check_anonymizer,
    check_clip_range,
    check_pixels,
    check_planes,
    eval_mode,
    first_state,
)
from masquerade.arrays import U8
from masquerade.device import half_precision
from masquerade.errors import MasqueradeError, UsageError
from masquerade.pipeline.config import RegionConfig
from masquerade.pipeline.track_methods import TrackMethod, TrackMethods
from masquerade.ranges import Seed, check_ranges
from masquerade.regions.masks import rasterize
from masquerade.regions.region import Region, check_region
from masquerade.storage import tensor_bytes
from masquerade.video.unhidden_samples import Unhidden, unhidden

T = TypeVar("T")
NO_PIXELS = np.empty((0, 0, 3), np.uint8)  # of a frame that is in planes, or only counted
QUEUE_LENGTH = 4  # frames between two stages: enough to bridge a delay, small in memory
QUEUE_BYTES = 2**29  # of pixels between two stages; a larger frame passes alone


class Cover(NamedTuple):
    """How a region's boxes become a mask."""

    # What is drawn into a box; silhouettes where the region source gives outlines.
    shape: Literal["ellipse", "box", "silhouette"] = "ellipse"
    scale: float = RegionConfig.mask_scale  # the box is grown by this factor about its centre
    feather: float = RegionConfig.feather  # pixels over which the mask fades, outwards only
    within: U8 | None = None  # (H, W), hide only where it is not 0; None: anywhere
    outside: Literal["keep", "black"] = "keep"  # what becomes of all that is not hidden

    def _parts(self) -> tuple[Any, ...]:
        within = self.within
        image = None if within is None else (within.shape, within.tobytes())
        return self.shape, self.scale, self.feather, image, self.outside

    def __eq__(self, other: object) -> bool:  # an image has no truth value to compare by
        return isinstance(other, Cover) and self._parts() == other._parts()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._parts())


def cover_of(config: RegionConfig, source: Any = None, *, within: U8 | None = None) -> Cover:
    """How a configuration turns boxes into a mask; a shape that it leaves out is the source's own.

    Args:
        config: with `shape`, `mask_scale`, `feather` and `outside`.
        source: the region source, which may have a `shape`.
        within: an image (H, W); nothing is hidden where it is black. None: anywhere.
    """
    shape = config.shape or getattr(source, "shape", None) or "ellipse"
    return Cover(shape, config.mask_scale, config.feather, within, config.outside)


class AnonymizedFrame(NamedTuple):
    """One anonymized frame."""

    frame: Any  # video.frame.Frame of the source: for its time stamps, never for its pixels
    pixels: Pixels  # (H, W, 3); NO_PIXELS if it is in planes
    region: Region
    mask: U8 | None  # (H, W); None: everywhere
    unhidden: Unhidden | None = None  # what of the source may stay as it is; None: nothing
    planes: Planes | None = None  # the frame, if it was hidden in them; then `mask` is None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.pixels.shape[:2] if self.planes is None else self.planes.y.shape
        return height, width


@dataclass
class StageTimer:
    """Seconds that each stage worked, without the time it waited for the others."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str, *, sign: int = 1) -> Iterator[None]:
        """Add the time spent inside to a stage. A stage belongs to one thread."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = sign * (time.perf_counter() - began)
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def measure_each(self, stage: str, items: Iterable[T], *, sign: int = 1) -> Iterator[T]:
        """Add the time that it takes to produce each item; with sign -1, subtract it."""
        source = iter(items)
        with closing_if_possible(source):
            while True:
                with self.measure(stage, sign=sign):
                    item = next(source, None)
                if item is None:
                    return
                yield item


@contextmanager
def closing_if_possible(source: Iterator[Any]) -> Iterator[None]:
    """Close an iterator on the way out if it is a generator.

    A generator that a traceback keeps alive would go on reading, in its own thread, from a
    container that is closed by then.
    """
    try:
        yield
    finally:
        close = getattr(source, "close", None)
        if close:
            close()


def prefetch(
    items: Iterable[T], *, depth: int = QUEUE_LENGTH, limit: int = QUEUE_BYTES
) -> Iterator[T]:
    """Run an iterator in a thread of its own, at most `depth` items or `limit` bytes ahead.

    An item that is larger than `limit` passes alone. An exception there is raised here. Closing
    this generator ends the thread and closes `items`.

    The main thread may be interrupted by a signal anywhere. In a `threading.Condition` that leaves
    its lock held, for which the other thread would wait forever; a `SimpleQueue` is whole then.
    """
    ready: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    taken: SimpleQueue[None] = SimpleQueue()  # one for each item that was
    ended: SimpleQueue[None] = SimpleQueue()
    ahead: deque[int] = deque()  # the sizes of the items that may still be in `ready`
    stopped = False

    def put(more: bool, item: Any) -> bool:
        size = _bytes_of(item)
        while not stopped and ahead and (len(ahead) >= depth or sum(ahead) + size > limit):
            taken.get()
            ahead.popleft()
        ahead.append(size)
        ready.put((more, item))
        return not stopped

    def work() -> None:
        source = iter(items)
        try:
            with closing_if_possible(source):
                for item in source:
                    if not put(True, item):
                        return
            put(False, None)
        except BaseException as error:
            put(False, error)
        finally:
            ended.put(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            more, item = ready.get()
            taken.put(None)
            if not more:
                if item is not None:
                    raise item
                return
            yield item
    finally:
        item = None  # an error that a frame of its own traceback names keeps all these frames
        stopped = True
        try:
            taken.put(None)
            thread.join()
        except BaseException:  # an interruption, after which `join` takes the thread for ended
            ended.get()
            raise


def _bytes_of(item: Any) -> int:
    """The bytes of pixels in an item of a queue: a frame, an array, or several of them."""
    if isinstance(item, tuple | list):
        return sum(_bytes_of(part) for part in item)
    picture = getattr(item, "picture", item)
    planes = getattr(picture, "planes", None)
    if planes is not None:
        return sum(plane.buffer_size for plane in planes)
    return int(getattr(picture, "nbytes", 0))


def anonymize_stream(
    items: Iterable[Any],
    anonymizer: Anonymizer,
    source: Callable[[Iterable[Any]], Iterator[Region]],
    *,
    cover: Cover | None = None,
    seed: int | None = None,
    digest: bytes | None = None,
    batch: int = 0,
    amp: bool = False,
    timer: StageTimer | None = None,
    watch: Callable[[AnonymizedFrame, Any], None] | None = None,
    track_methods: Sequence[TrackMethod] = (),
    threads: bool = True,
    state: Any = None,
    keep_unhidden: bool = False,
    in_planes: bool = False,
) -> Iterator[Any]:
    """Yield an `AnonymizedFrame` for each of a video's frames, which come in order.

    Whatever else comes (packets of other streams) passes through in its place. `source` is a region
    source, `seed` of the method's noise (None: the operating system's entropy), `digest` of the
    source's content, for methods that ask for it. Methods that take any number of frames are given
    `batch` at once. `amp` runs networks in half precision, `timer` adds up what stages take, and
    `watch` is called with each frame and the source's pixels or planes before it is yielded.
    `track_methods` are of people who are hidden by another method. Without `threads` the stages
    follow each other in the caller's, so that no frame waits in a queue. `state` is that of the
    method before the first of these frames; None: a video begins with it. With `keep_unhidden`
    frames know what of the source may stay as it is. With `in_planes` frames that are hidden whole
    may be yielded in planes as their source's.
    """
    timer = timer or StageTimer()
    queued: Callable[[Iterator[Any]], Iterator[Any]] = prefetch if threads else iter
    decoded = queued(timer.measure_each("decode", items))
    paired = queued(pair_with_regions(decoded, source, timer))
    in_planes = in_planes and not track_methods and hides_in_planes(anonymizer)
    # Which frames are in planes must not depend on others in their window.
    windows = _group_windows(paired, 1 if in_planes else anonymizer.window or batch or 1)
    if state is None:
        state = first_state(anonymizer, seed=seed, digest=digest)
    return queued(
        _anonymize_windows(
            windows,
            anonymizer,
            cover=cover or Cover(),
            state=state,
            track_methods=TrackMethods(track_methods, seed=seed, digest=digest),
            amp=amp,
            timer=timer,
            watch=watch,
            keep_unhidden=keep_unhidden,
            in_planes=in_planes,
        )
    )


def is_stateless(anonymizer: Anonymizer) -> bool:
    """Whether a method carries nothing from one frame to the next."""
    return anonymizer.framewise and type(anonymizer).init_state is Anonymizer.init_state


def hides_in_planes(anonymizer: Anonymizer) -> bool:
    """Whether a method has a way of its own to hide whole frames in planes.

    One that is derived from such a method, and hides pixels in another way, has it no more.
    """
    kind = type(anonymizer)

    def depth(name: str) -> int:
        return next(i for i, cls in enumerate(kind.__mro__) if name in vars(cls))

    depths = map(depth, ("forward", "on_bytes", "on_pixels"))
    own = kind.on_planes is not Anonymizer.on_planes and depth("on_planes") <= min(depths)
    return is_stateless(anonymizer) and own


def pair_with_regions(items: Iterator[Any], source: Any, timer: StageTimer) -> Iterator[Any]:
    """(frame, region) for each frame; other items keep their place among them."""
    pending: deque[Any] = deque()
    ended = False

    def frames() -> Iterator[Any]:
        nonlocal ended
        # Waiting for the decoder is no time of the region source.
        for item in timer.measure_each("regions", items, sign=-1):
            pending.append(item)
            if hasattr(item, "rgb"):
                yield item
        ended = True

    with closing_if_possible(items):
        reading = frames()
        regions = source(reading)
        if not isinstance(regions, Iterable):
            raise MasqueradeError("a region source gave no regions; nothing was written.")
        for region in timer.measure_each("regions", regions):
            while pending and not hasattr(pending[0], "rgb"):
                yield pending.popleft()
            if not pending:
                raise MasqueradeError(
                    "a region source gave more regions than frames; nothing was written."
                )
            frame = pending.popleft()
            yield frame, check_region(region, frame)
        unread = next(reading, None) is not None or not ended
        if unread or any(hasattr(item, "rgb") for item in pending):
            raise MasqueradeError(
                "a region source gave fewer regions than there are frames; nothing was written."
            )
        yield from pending


class _Window(NamedTuple):
    frames: list[Any]
    regions: list[Region]
    packets: list[Any]  # of other streams, that came between them


def _group_windows(items: Iterator[Any], size: int) -> Iterator[_Window]:
    """Group frames into windows of `size`."""
    window = _Window([], [], [])
    with closing_if_possible(items):
        for item in items:
            if not isinstance(item, tuple):
                window.packets.append(item)
                continue
            frame, region = item
            window.frames.append(frame)
            window.regions.append(region)
            if len(window.frames) >= size:
                yield window
                window = _Window([], [], [])
        if window.frames or window.packets:
            yield window


def region_mask(region: Region, cover: Cover, *, width: int, height: int) -> U8 | None:
    """The mask (H, W) of one frame, 0 to 255; None: everything is hidden."""
    if region.full_frame and cover.within is None:
        return None
    if region.full_frame:
        mask = np.full((height, width), 255, np.uint8)
    else:
        mask = rasterize(
            region.boxes,
            width=width,
            height=height,
            shape=cover.shape,
            scale=cover.scale,
            feather=cover.feather,
            mask=region.mask,
            strength=region.strength,
        )
    if cover.within is not None:
        mask = np.asarray(cv2.bitwise_and(mask, mask, mask=cover.within), np.uint8)
    return mask


def window_masks(regions: Sequence[Region], cover: Cover, *, width: int, height: int) -> U8 | None:
    """The masks (T, H, W) of a window's frames; None: all of every frame is hidden."""
    masks = [region_mask(region, cover, width=width, height=height) for region in regions]
    if all(mask is None for mask in masks):
        return None
    size = height, width
    return _stack([np.full(size, 255, np.uint8) if mask is None else mask for mask in masks])


def _anonymize_windows(
    windows: Iterator[_Window],
    anonymizer: Anonymizer,
    *,
    cover: Cover,
    state: Any,
    track_methods: TrackMethods,
    amp: bool,
    timer: StageTimer,
    watch: Callable[[AnonymizedFrame, Any], None] | None,
    keep_unhidden: bool,
    in_planes: bool,
) -> Iterator[Any]:
    # What is not in the regions is drawn anew by these, or made black.
    draws = anonymizer.full_frame or anonymizer.regions_only or cover.outside == "black"
    keeps = keep_unhidden and not draws
    precision = precision_of(anonymizer, amp=amp)
    with closing_if_possible(windows):
        for window in windows:
            yield from window.packets
            if not window.frames:
                continue
            if in_planes and (both := _hide_in_planes(window, anonymizer, cover, timer)):
                whole, planes = both
                if watch is not None:
                    watch(whole, planes)
                yield whole
                continue
            with timer.measure("anonymize"), torch.no_grad(), precision:
                pixels, mask = _stack_window(window, cover)
                count = len(pixels)
                pixels = _pad_to_window(pixels, anonymizer.window)
                masks = None if mask is None else _pad_to_window(mask, anonymizer.window)
                out, state = _anonymize_window(anonymizer, pixels, masks, window.regions, state)
                out = track_methods.apply(out, pixels, masks, window.regions)
                if masks is not None and cover.outside == "black":
                    out = black_outside(out, masks)
            for i in range(count):
                frame_mask, rest, frame = None if mask is None else mask[i], None, window.frames[i]
                if frame_mask is not None and keeps:
                    with timer.measure("anonymize"):
                        rest = unhidden(frame.picture, pixels[i], out[i], frame_mask)
                anonymized = AnonymizedFrame(frame, out[i], window.regions[i], frame_mask, rest)
                if watch is not None:
                    watch(anonymized, pixels[i])
                yield anonymized


def _hide_in_planes(
    window: _Window, anonymizer: Anonymizer, cover: Cover, timer: StageTimer
) -> tuple[AnonymizedFrame, Planes] | None:
    """Hide a whole frame in its YUV planes; returns it and its source, None where RGB is needed."""
    (frame,), (region,) = window.frames, window.regions
    if not region.full_frame or cover.within is not None:
        return None
    with timer.measure("anonymize"):
        both = hide_planes(anonymizer, frame)
    if both is None:
        return None
    hidden, source = both
    return AnonymizedFrame(frame, NO_PIXELS, region, None, None, hidden), source


def hide_planes(anonymizer: Anonymizer, frame: Any) -> tuple[Planes, Planes] | None:
    """A frame's planes hidden whole by a method that can, and as they were; None: it has none."""
    source: Planes | None = frame.planes()
    if source is None:
        return None
    return check_planes(anonymizer.on_planes(source), source), source


def precision_of(anonymizer: Anonymizer, *, amp: bool) -> AbstractContextManager[Any]:
    """A context in which a method's networks run: in half precision with `amp`, else in full."""
    weights = next(anonymizer.parameters(), None)
    return nullcontext() if weights is None or not amp else half_precision(weights.device)


def _anonymize_window(
    anonymizer: Anonymizer, pixels: Pixels, masks: U8 | None, regions: Sequence[Region], state: Any
) -> tuple[Pixels, Any]:
    """What a method makes of a window (T, H, W, 3), and its state after that."""
    poses: dict[str, Any] = {}
    if anonymizer.needs_people:
        at = _pad_to_window(np.arange(len(regions)), anonymizer.window)
        poses["people"] = [regions[i].people for i in at]
    returned = anonymizer.on_pixels(pixels, mask=masks, state=state, **poses)
    return check_pixels(returned, pixels)


def states_before(
    items: Iterator[tuple[Any, Region]],
    anonymizer: Anonymizer,
    state: Any,
    cover: Cover,
    timer: StageTimer,
    *,
    amp: bool = False,
) -> Iterator[tuple[Any, Region, U8 | None, Any]]:
    """(frame, region, mask, the method's state before it) of a method that takes single frames.

    `state` is that of the new video, and `amp` as in `anonymize_stream`. What the method makes of
    the frames is thrown away.
    """
    precision = precision_of(anonymizer, amp=amp)
    with closing_if_possible(items):
        for frame, region in items:
            mask = region_mask(region, cover, width=frame.width, height=frame.height)
            yield frame, region, mask, state
            with timer.measure("anonymize"), torch.no_grad(), precision:
                masks = None if mask is None else mask[None]
                arguments = frame.rgb()[None], masks, [region], state
                _, state = _anonymize_window(anonymizer, *arguments)


def black_outside(pixels: Pixels, mask: U8) -> Pixels:
    """(T, H, W, 3) times the mask (T, H, W): black where nothing is hidden."""
    if pixels.dtype == np.uint8:
        pairs = zip(pixels, mask, strict=True)
        black = [cv2.multiply(frame, cv2.merge((own,) * 3), scale=1 / 255) for frame, own in pairs]
        return _stack(black)
    share = mask[..., None].astype(np.uint32)
    return ((pixels * share + 127) // 255).astype(pixels.dtype)  # type: ignore[return-value]


def _stack_window(window: _Window, cover: Cover) -> tuple[Pixels, U8 | None]:
    """A window's frames (T, H, W, 3) and masks (T, H, W); None: all of every frame is hidden."""
    pixels = _stack([frame.rgb() for frame in window.frames])
    height, width = pixels.shape[1:3]
    return pixels, window_masks(window.regions, cover, width=width, height=height)


def _stack(frames: list[NDArray[Any]]) -> NDArray[Any]:
    """Frames as one array; a single one is not copied."""
    return frames[0][None] if len(frames) == 1 else np.stack(frames)


def _pad_to_window(frames: NDArray[Any], window: int) -> NDArray[Any]:
    """Lengthen a last window that is too short by playing it back and forth."""
    if len(frames) >= window:
        return frames
    return frames[back_and_forth(len(frames), window)]


def anonymize(
    clip: Tensor, anonymizer: Anonymizer, *, mask: Tensor | None = None, seed: Seed | None = None
) -> Tensor:
    """Anonymize a clip that is already in memory, window by window as a file would be.

    Args:
        clip: (B, 3, T, H, W), RGB in [0, 1].
        mask: (B, 1, T, H, W) in [0, 1], how far to hide each pixel; None: everywhere.
        seed: for science only: whoever knows it can undo the noise. None: the system's entropy.

    Returns:
        (B, 3, T, H, W), RGB in [0, 1].

    Raises:
        MissingError: the method is a learned one that was not trained.
        UsageError: the clip, the mask or the seed is not valid, or the method draws people by their
            poses.
    """
    check_anonymizer(anonymizer).check_trained()
    if anonymizer.needs_people:
        raise UsageError(
            f"{type(anonymizer).__name__} draws people by their poses, which nothing finds in a "
            "clip; use anonymize_file, or call the method itself with people=..."
        )
    check_ranges(anonymize, {"seed": seed})
    for name, value in (("clips", clip), ("masks", clip if mask is None else mask)):
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UsageError(f"anonymize takes {name} that are torch tensors, not {kind}.")
    if clip.ndim != 5 or clip.shape[1] != 3:
        raise UsageError(f"anonymize takes clips (B, 3, T, H, W), not {tuple(clip.shape)}.")
    if 0 in clip.shape:
        raise UsageError(f"anonymize takes clips with pixels in them, not {tuple(clip.shape)}.")
    check_clip_range(clip, "anonymize")
    own = (len(clip), 1, *clip.shape[2:])
    if mask is not None and (mask.shape != own or not ((mask >= 0) & (mask <= 1)).all()):
        raise UsageError(f"anonymize takes masks {own} in [0, 1].")
    mask = None if mask is None else mask.to(clip)
    frames = clip.shape[2]
    step = anonymizer.window or frames
    digest = None
    if anonymizer.needs_source_digest:
        digest = _clip_digest(clip, mask)
    state, parts = first_state(anonymizer, seed=seed, digest=digest), []
    with torch.no_grad(), eval_mode(anonymizer):
        for first in range(0, frames, step):
            at = _pad_to_window(np.arange(first, min(first + step, frames)), anonymizer.window)
            part = None if mask is None else mask[:, :, at]
            window = clip[:, :, at]
            out = check_anonymized(anonymizer(window, mask=part, state=state), window)
            parts.append(out.clip)
            state = out.state
    return torch.cat(parts, 2)[:, :, :frames]


def _clip_digest(clip: Tensor, mask: Tensor | None) -> bytes:
    """The SHA-256 of a clip and its mask.

    Two masks under one noise would be two mixtures of it with the clip, which give the clip.
    """
    both = (clip,) if mask is None else (clip, mask)
    digest = hashlib.sha256()
    for tensor in both:
        digest.update(tensor_bytes(tensor))
    return digest.digest()
