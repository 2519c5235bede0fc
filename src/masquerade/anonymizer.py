"""The `Anonymizer` base class of all methods, and what an anonymizer returns."""

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masquerade.arrays import U8
from masquerade.errors import MasqueradeError, MissingError, UsageError
from masquerade.ranges import checked

Pixels = U8 | NDArray[np.uint16]
CHOOSE_ANOTHER_METHOD = "nothing was written; choose another --method or --weights."


class Planes(NamedTuple):
    """The Y, Cb and Cr planes of a frame of even size: 8 bits, 4:2:0, as most files hold them."""

    y: U8  # (H, W)
    cb: U8  # (H / 2, W / 2)
    cr: U8  # (H / 2, W / 2)
    full_range: bool  # black is 0 in y, not 16, and white 255, not 235


class Person(NamedTuple):
    """One person in one frame, as a region source that finds poses gives them.

    Coordinates are in pixels of the frame, x to the right, y down; landmarks are in the order of
    Bazarevsky et al., "BlazePose" (2020).
    """

    track: int  # the same number in all frames of one person
    score: float  # 0 to 1, that a person is there
    box: tuple[float, float, float, float]  # left, upper, right and lower edge
    landmarks: NDArray[np.float64]  # (33, 5): x, y, depth; visibility and presence, 0 to 1
    world: NDArray[np.float64]  # (33, 3): x, y, depth in metres from the middle of the hips


People = Sequence[Sequence[Person]]
"""The people of each frame of a window, (T, N)."""


class Anonymized(NamedTuple):
    """What an anonymizer gives back.

    clip:   (B, 3, T, H, W), RGB in [0, 1], the shape that came in.
    hidden: (B, 1, T, H, W) in [0, 1], how far each pixel was hidden; None: everywhere alike.
    state:  handed back with the next window of the same video.
    """

    clip: Tensor
    hidden: Tensor | None = None
    state: Any = None


def check_anonymizer(method: Any) -> "Anonymizer":
    """Give back a method that was built; raise UsageError if it is a name, a class or none."""
    if isinstance(method, Anonymizer):
        return method
    what, example = type(method).__name__, "masquerade.build('blur')"
    if isinstance(method, type):
        what, example = f"the class {method.__name__}", f"{method.__name__}(...)"
    elif isinstance(method, str):
        what, example = reprlib.repr(method), f"masquerade.build({reprlib.repr(method)})"
    raise UsageError(f"a method must be built before it is used; give {example}, not {what}.")


def check_anonymized(out: Any, clip: Tensor) -> Anonymized:
    """Check that a method returned a valid `Anonymized` for this clip."""
    has_clip = isinstance(out, Anonymized) and isinstance(out.clip, Tensor)
    if not has_clip or out.clip.shape != clip.shape or not in_unit_range(out.clip):
        raise MasqueradeError(
            f"the method gave no clip {tuple(clip.shape)} in [0, 1]; {CHOOSE_ANOTHER_METHOD}"
        )
    own = (len(clip), 1, *clip.shape[2:])
    if out.hidden is not None and (out.hidden.shape != own or not in_unit_range(out.hidden)):
        raise MasqueradeError(
            f"the method did not say where it hides, {own}; {CHOOSE_ANOTHER_METHOD}"
        )
    return out


def check_pixels(returned: Any, frames: Pixels) -> tuple[Pixels, Any]:
    """Return what `on_pixels` made of frames; raise MasqueradeError if it is nothing like them."""
    out = returned[0] if isinstance(returned, tuple) and len(returned) == 2 else None
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (frames.shape, frames.dtype):
        raise MasqueradeError(
            f"the method gave no frames {frames.shape} of {frames.dtype}; {CHOOSE_ANOTHER_METHOD}"
        )
    return returned


def check_planes(returned: Any, planes: Planes) -> Planes:
    """Return what `on_planes` made of a frame; raise MasqueradeError if it is nothing like it.

    Planes that share memory with the source are refused: they were not hidden.
    """
    if not isinstance(returned, Planes) or returned.full_range != planes.full_range:
        raise MasqueradeError(f"the method gave no planes; {CHOOSE_ANOTHER_METHOD}")
    for plane, source in zip(returned[:3], planes[:3], strict=True):
        like = isinstance(plane, np.ndarray) and plane.shape == source.shape
        if not like or plane.dtype != source.dtype or np.may_share_memory(plane, source):
            raise MasqueradeError(
                f"the method made no new plane {source.shape}; {CHOOSE_ANOTHER_METHOD}"
            )
    return returned


def first_state(
    anonymizer: "Anonymizer", *, seed: int | None = None, digest: bytes | None = None
) -> Any:
    """The state of a new video, with the digest of its source for methods that ask for it.

    Args:
        anonymizer: the method.
        seed: for science only; None draws from the operating system's entropy.
        digest: of the source; other methods are not given it.
    """
    if anonymizer.needs_source_digest:
        return anonymizer.init_state(seed=seed, source=digest)
    return anonymizer.init_state(seed=seed)


def back_and_forth(count: int, length: int) -> list[int]:
    """Indices of `length` frames of `count`, played back and forth."""
    order = [*range(count), *range(count - 2, 0, -1)]
    return [order[i % len(order)] for i in range(length)]


def in_unit_range(values: Tensor) -> bool:
    """Whether all values are in [0, 1], but for rounding; NaN is not."""
    return bool(((values >= -1e-3) & (values <= 1 + 1e-3)).all())


def check_clip_range(clip: Tensor, taker: str) -> None:
    """Raise UsageError, in the name of what takes it, if a clip is not of numbers in [0, 1]."""
    if not clip.is_floating_point() or not in_unit_range(clip):
        raise UsageError(f"{taker} takes clips of finite numbers in [0, 1].")


_lock = Lock()
_modes_before: dict[nn.Module, tuple[int, list[tuple[nn.Module, bool]]]] = {}
"""How many use a module in evaluation mode, and the modes of its parts before the first did."""


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and restore the mode of each of its parts afterwards.

    Where several threads use one module, the last of them restores the modes.
    """
    with _lock:
        now = [(part, part.training) for part in module.modules()]
        users, before = _modes_before.get(module, (0, now))
        _modes_before[module] = users + 1, before
        module.eval()
    try:
        yield
    finally:
        with _lock:
            users, before = _modes_before.pop(module)
            if users > 1:
                _modes_before[module] = users - 1, before
            else:
                for part, training in before:
                    part.training = training


class TrainingOutput(NamedTuple):
    """What an anonymizer gives in training: its output, with gradients, and its own losses.

    clip:        (B, 3, T, H, W).
    losses:      name to scalar, such as STPrivacy's ratio loss; the recipe weighs them.
    metrics:     name to number, to be logged, such as the kept ratio of a block.
    keep:        (B, L, h, w), 1 where a tubelet of a grid is kept and 0 where it is dropped, with
                 the gradient of that decision; None: nothing is dropped.
    class_token: (B, D), a class token after the last layer; None: none was given.
    """

    clip: Tensor
    losses: Mapping[str, Tensor] = MappingProxyType({})
    metrics: Mapping[str, float] = MappingProxyType({})
    keep: Tensor | None = None
    class_token: Tensor | None = None


class GraphStateSpec(NamedTuple):
    """How an exported graph takes a method's state as an input.

    axes:    a name of each axis: batch, height, width, which follow those of the clip; None: fixed.
    meaning: in plain words.
    first:   the value of every element at a video's beginning; "normal": standard normal noise.
    changes: whether it is an output too, which the next window takes; else all windows take one.
    """

    axes: tuple[str | None, ...]
    meaning: str
    first: float | Literal["normal"]
    changes: bool = True


class Card(NamedTuple):
    """What a person choosing a method wants to know, in plain words."""

    hides: str
    undo: str
    needs: str
    paper: str


Presets = Mapping[str, Mapping[str, Any]]


class Anonymizer(nn.Module):
    """Turns frames, and how far to hide each of their pixels, into frames.

    State is a value: `init_state` makes the state of a new video, every call takes it and gives the
    next one back. The module itself never changes while it anonymizes.
    """

    window: int = 0
    """Frames it wants at once; 0: any number."""

    full_frame: ClassVar[bool] = False
    """Whether it rewrites the whole frame whatever `mask` says."""

    regions_only: bool = False
    """Whether it shows the regions alone, so that nothing else of a frame is left."""

    hides_beyond: bool = False
    """Whether it hides pixels beyond the mask too, so that the mask's own outline is not shown."""

    removed_channels: tuple[str, ...] = ()
    """What no output of it shows: `appearance` (colours and textures of people), `place`."""

    noisy: ClassVar[bool] = False
    """Whether it hides by noise, on which an encoder would spend most of a file's bits."""

    needs_people: ClassVar[bool] = False
    """Whether it draws people by their poses. `forward` then takes `people` as well, a sequence of
    B `People`, one for each clip, and regions must come from a source that finds poses."""

    trained: bool = False
    """Whether the weights were trained; set by training and by `load`."""

    warnings: tuple[str, ...] = ()
    """What its training said against itself, in words; `load` sets it, and so does training."""

    provenance: Mapping[str, Any] = MappingProxyType({})
    """Where its weights come from, as `read_provenance` gives it; `load` sets it, and `save` keeps
    it."""

    caution: ClassVar[str] = ""
    """What a user is told at every use of the method, and its receipts say."""

    inference_args: ClassVar[tuple[str, ...]] = ()
    """The arguments that may be changed on a trained method."""

    learned: ClassVar[bool] = False
    """Whether it hides nothing worth having until it was trained, and so wants a checkpoint."""

    framewise: ClassVar[bool] = False
    """Whether what becomes of a frame depends on no other frame."""

    resumable: bool = False
    """Whether another process may go on with its state, as `detach_state` and `attach_state`
    hand it over; of one with a `window`, whether no window needs another."""

    state_from_last_frame: ClassVar[bool] = False
    """Whether its state follows from the frame before alone, so that nothing else is handed over.
    """

    token_width: int = 0
    """Width of the class token that it takes in training; 0: it takes none."""

    needs_source_digest: bool = False
    """Whether `init_state` needs `source`, as its noise follows from a user's key and the video."""

    export_refusal: ClassVar[str] = ""
    """Why it cannot be exported, as no graph of tensors does what it does; empty: one does."""

    dynamic_size: ClassVar[bool] = False
    """Whether one graph takes frames of every size; else a graph is made for one size."""

    quantization_step: float = 0.0
    """How far apart the levels of its output are, as rounding may move a pixel by one; 0: it has
    none."""

    selects_by_rank: ClassVar[bool] = False
    """Whether it ranks parts of a clip; where all are alike, rounding decides which it takes."""

    graph_state_spec: ClassVar[GraphStateSpec | None] = None
    """What its state is in an exported graph; None: it has none."""

    card: ClassVar[Card]

    presets: ClassVar[Presets] = MappingProxyType({})
    """Named arguments of the constructor, such as those of a paper."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self) -> None:
        super().__init__()

    @property
    def shows_nobody(self) -> bool:
        """Whether nobody is shown as they were filmed, so that nobody can be left visible."""
        return self.full_frame or self.regions_only or self.needs_people

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that the output really carries for a frame of this size.

        Files may be written at it; `forward` always gives the shape that came in.
        """
        return height, width

    def check_trained(self) -> None:
        """Refuse to publish what random weights make of a video.

        Raises:
            MissingError: it is a learned method that was not trained.
        """
        if self.learned and not self.trained:
            raise MissingError(
                f"{type(self).__name__} has not been trained: train it with `masquerade train`, or "
                "give the folder or the weights of a finished run with --weights."
            )

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Any:
        """The state of a new video.

        Args:
            seed: for science only; None draws from the operating system's entropy.
            source: a digest of the video, if `needs_source_digest`.
        """
        return None

    def detach_state(self, state: Any) -> Any:
        """The state without pixels of the source, so that no copy of them leaves the process."""
        return None if self.state_from_last_frame else state

    def attach_state(self, state: Any, before: Pixels) -> Any:
        """The whole state, from a detached one and the frame that its pixels were taken from.

        Args:
            state: of `detach_state`.
            before: (H, W, 3), the source's frame before the next one.
        """
        return self.on_pixels(before[None])[1] if self.state_from_last_frame else state

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        """Anonymize one window of a video.

        Args:
            clip: (B, 3, T, H, W), RGB in [0, 1].
            mask: (B, 1, T, H, W) in [0, 1], how far to hide each pixel; None: everywhere.
            state: what the window before this one gave back, or `init_state()`.
        """
        raise NotImplementedError

    def graph(self, clip: Tensor, *, mask: Tensor | None, state: Tensor | None) -> Anonymized:
        """`forward` in operations on tensors alone, as an exported file holds them.

        It gives what `forward` gives, for any number of clips and, but for a `window`, of frames;
        a method overrides it where its `forward` cannot be traced. `mask` is None if `full_frame`;
        `state` is as in `graph_state_spec`, and so is what it gives back.
        """
        return self(clip, mask=mask, state=state)

    def graph_state(self, state: Any, clip: Tensor) -> Tensor | None:
        """What `forward` takes as the state of these clips, as the tensor that `graph` takes."""
        return None

    def training_output(self, clip: Tensor, *, class_token: Tensor | None = None) -> TrainingOutput:
        """The output in training, with gradients; by default that of `forward`.

        Args:
            clip: (B, 3, T, H, W), RGB in [0, 1].
            class_token: (1, 1, token_width), a class token that goes through its layers.
        """
        return TrainingOutput(self(clip, state=self.init_state(seed=None)).clip)

    def unhidden(self, clip: Tensor) -> Tensor:
        """The output if nothing were hidden, on which recognizers warm up before it is trained.

        Args:
            clip: (B, 3, T, H, W), RGB in [0, 1].
        """
        return clip

    def init_from_image_weights(self, path: str | Path) -> tuple[str, ...] | None:
        """Start from an image network's weights.

        Args:
            path: .safetensors, or a PyTorch file that holds nothing but tensors.

        Returns:
            The names of parameters that stayed random; None: it has no such network.
        """
        return None

    def expected_metrics(self) -> dict[str, float]:
        """The value that metrics of `training_output` should have once it is trained."""
        return {}

    def on_pixels(
        self,
        frames: Pixels,
        *,
        mask: U8 | None = None,
        people: People | None = None,
        state: Any = None,
    ) -> tuple[Pixels, Any]:
        """The same for frames as files hold them.

        Args:
            frames: (T, H, W, 3), RGB, uint8 or uint16 over their full range.
            mask: (T, H, W), 0 to 255, how far to hide each pixel; None: everywhere.
            people: of each frame, if `needs_people`.
            state: as in `forward`.
        """
        if self.needs_people:
            return self.forward_on_pixels(frames, mask=mask, people=people, state=state)
        if frames.dtype == np.uint8:
            return self.on_bytes(np.asarray(frames, np.uint8), mask=mask, state=state)
        return self.forward_on_pixels(frames, mask=mask, state=state)

    def on_bytes(
        self, frames: U8, *, mask: U8 | None = None, state: Any = None
    ) -> tuple[Pixels, Any]:
        """`on_pixels` for uint8; a method's own fast path overrides this.

        An override gives the pixels of `forward`, rounded, within one level of 255.
        """
        return self.forward_on_pixels(frames, mask=mask, state=state)

    def on_planes(self, planes: Planes) -> Planes:
        """Hide a whole frame in its Y, Cb and Cr planes, without converting it to RGB and back.

        A method may override this if it is `framewise` and has no state; others, and frames that
        are hidden in part, go by way of `on_pixels`. An override gives what `forward` makes of the
        frame in RGB, within one level of 255 in each plane wherever RGB holds the frame's colours.
        It returns new planes and leaves the given ones as they are.

        Args:
            planes: of the source; read-only.
        """
        raise NotImplementedError

    def forward_on_pixels(
        self,
        frames: Pixels,
        *,
        mask: U8 | None = None,
        people: People | None = None,
        state: Any = None,
    ) -> tuple[Pixels, Any]:
        """`on_pixels` by way of `forward`, on the device of the method's weights."""
        device = next((x.device for x in self.parameters()), torch.device("cpu"))
        top = np.iinfo(frames.dtype).max
        clip = torch.from_numpy(np.ascontiguousarray(frames).astype(np.float32)).to(device)
        clip = clip.permute(3, 0, 1, 2)[None] / top  # (1, 3, T, H, W)
        region = None
        if mask is not None:
            region = torch.tensor(mask, device=device)[None, None] / 255
        poses: dict[str, Any] = {"people": [people]} if people is not None else {}
        with torch.no_grad():
            out = check_anonymized(self(clip, mask=region, state=state, **poses), clip)
        clip = out.clip[0].float().permute(1, 2, 3, 0)  # (T, H, W, 3)
        pixels = (clip * top).round().clamp(0, top)
        return pixels.cpu().numpy().astype(frames.dtype), out.state  # type: ignore[return-value]
