"""Graphs: what of a method or a recognizer is exported, with its inputs and outputs by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import describe
from masquerade.errors import OutputError, UsageError

Axis = int | str
"""A length, or the name of one that every call may choose: batch, frames, height, width."""
Tensors = dict[str, Tensor]
Run = Callable[[Tensors], Tensors]
"""Runs an exported file: inputs by name to outputs by name."""
SIDES = ((24, 32), (33, 47), (40, 18))  # of frames that a graph of any size is compared on
TRIES = 32  # of clips, until one is clear of ties
LITTLE = 1e-4  # noise that a choice has to withstand: a fortieth of a level
TRACED = {"batch": 2, "frames": 3, "height": 40, "width": 56}


class Pair(NamedTuple):
    """One output of a file, and what PyTorch gives for the same inputs."""

    found: Tensor
    expected: Tensor
    quantization_step: float = 0.0  # by which rounding may move a few values; 0: none


@dataclass(frozen=True)
class Port:
    """An input or an output."""

    shape: tuple[Axis, ...]
    meaning: str
    first: float | str | None = None  # of a state, at a video's beginning


class Graph(nn.Module):
    """A network, or arithmetic, on tensors alone; a file holds what it does."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]
    about: dict[str, Any]
    """What the file says of itself."""
    trained: bool
    least: Mapping[str, int] = {}
    """The shortest length of an open axis, where 1 is too short."""
    least_scale: float = 1.0
    """Differences are relative to the largest output, or to this where that is more."""

    def example(self) -> Tensors:
        """Inputs that it is traced with."""
        raise NotImplementedError

    def compare(self, run: Run) -> Iterator[Pair]:
        """What the file gives, and what PyTorch does, on inputs of several sizes and kinds."""
        raise NotImplementedError

    def at(self, port: Port, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of an input or output at these lengths."""
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in port.shape)


class MethodGraph(Graph):
    """Clips, and masks where the method takes them, to anonymized clips.

    Args:
        anonymizer: the method.
        size: height and width of frames; None: any, where one graph can do that.
    """

    def __init__(self, anonymizer: Anonymizer, *, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.anonymizer, self.size = anonymizer, size
        self.about = {"kind": "method", **describe(anonymizer)}
        name = self.about["name"]
        if anonymizer.export_refusal:
            raise UsageError(f"{name} cannot be exported: {anonymizer.export_refusal}.")
        if size is None and not anonymizer.dynamic_size:
            raise UsageError(
                f"a file of {name} is for one size of frames: give it, as in --size 240x320."
            )
        self.about["card"] = anonymizer.card._asdict()
        self.trained = anonymizer.trained or not anonymizer.learned
        frames: Axis = anonymizer.window or "frames"
        sides: tuple[Axis, Axis] = size or ("height", "width")
        self._sizes = dict(TRACED)
        if size is not None:
            self._sizes |= {"height": size[0], "width": size[1]}
        pixels = Port(("batch", 3, frames, *sides), "RGB in [0, 1]")
        self.inputs, self.outputs = {"clip": pixels}, {"anonymized": pixels}
        if not anonymizer.full_frame:
            meaning = "how far to hide each pixel, in [0, 1]; 1 everywhere hides everything"
            self.inputs["mask"] = Port(("batch", 1, frames, *sides), meaning)
        clip = self._random("clip", self._sizes)
        state = anonymizer.graph_state(anonymizer.init_state(seed=0), clip)
        spec = anonymizer.graph_state_spec
        if spec is not None and state is not None:
            shape = tuple(
                self._axis(name, side) for name, side in zip(spec.axes, state.shape, strict=True)
            )
            self.inputs["state"] = Port(shape, spec.meaning, spec.first)
            if spec.changes:
                self.outputs["next_state"] = Port(shape, "the state of the window after this one")

    def _axis(self, name: str | None, side: int) -> Axis:
        return name if name == "batch" or (name is not None and self.size is None) else side

    def forward(self, clip: Tensor, mask: Tensor | None = None, state: Tensor | None = None) -> Any:
        out = self.anonymizer.graph(clip, mask=mask, state=state)
        return (out.clip, out.state) if "next_state" in self.outputs else (out.clip,)

    def example(self) -> Tensors:
        tensors = {name: self._random(name, self._sizes) for name in ("clip", "mask")}
        state = self._state(None, tensors["clip"])
        return {name: {**tensors, **state}[name] for name in self.inputs}

    def compare(self, run: Run) -> Iterator[Pair]:
        for at, (batch, frames) in enumerate(((1, 1), (3, 4), (2, 2), (1, 3))):
            height, width = self.size or SIDES[at % len(SIDES)]
            sizes = {"batch": batch, "frames": frames, "height": height, "width": width}
            seed = self.anonymizer.init_state(seed=at)
            state, state_tensors = seed, self._state(seed, self._random("clip", sizes))
            for window in range(2 if "state" in self.inputs else 1):
                clip, mask = self._pixels(at + window, sizes)
                masked = {} if mask is None else {"mask": mask}
                with torch.no_grad():
                    out = self.anonymizer(clip, mask=mask, state=state)
                outputs = run({"clip": clip, **masked, **state_tensors})
                yield Pair(outputs["anonymized"], out.clip, self.anonymizer.quantization_step)
                state = out.state
                if "next_state" in self.outputs:
                    yield Pair(outputs["next_state"], self._state(state, clip)["state"])
                    state_tensors = {"state": outputs["next_state"]}

    def _state(self, state: Any, clip: Tensor) -> Tensors:
        """What an anonymizer's state is for the graph; None: of a new video."""
        if "state" not in self.inputs:
            return {}
        state = self.anonymizer.init_state(seed=0) if state is None else state
        made = self.anonymizer.graph_state(state, clip)
        return {} if made is None else {"state": made}

    def _pixels(self, kind: int, sizes: Mapping[str, int]) -> tuple[Tensor, Tensor | None]:
        """A clip and a mask: noise, then pixels of 0 and 1, then black, then white.

        What ranks parts of a clip is given mostly dark and mostly light noise for the last two, of
        which rounding decides nothing.
        """
        if self.anonymizer.selects_by_rank:
            single = {**sizes, "batch": 1}
            clips = [self._decided(kind, 100 * kind + b, single) for b in range(sizes["batch"])]
            return torch.cat(clips), None
        clip = self._random("clip", sizes, kind)
        clip = (clip, clip.round(), torch.zeros_like(clip), torch.ones_like(clip))[kind % 4]
        if "mask" not in self.inputs:
            return clip, None
        mask = self._random("mask", sizes, kind)
        mask = (mask, mask.round(), torch.ones_like(mask), torch.zeros_like(mask))[kind % 4]
        return clip, mask

    def _decided(self, kind: int, seed: int, sizes: Mapping[str, int]) -> Tensor:
        """One clip that is hidden at the same places when it is changed by a little noise."""
        for attempt in range(TRIES):
            clip = self._random("clip", sizes, seed * TRIES + attempt)
            clip = (clip, clip.round(), clip**4, 1 - clip**4)[kind % 4]
            near = (clip + LITTLE * (self._random("clip", sizes, attempt) - 0.5)).clamp(0, 1)
            with torch.no_grad():
                first, second = (self.anonymizer(pixels).hidden for pixels in (clip, near))
            if first is None or second is None or torch.equal(first, second):
                return clip
        raise OutputError(
            f"{self.about['name']} ranks parts of a clip by numbers that are all alike, so that no "
            "file can be compared with it; nothing was written: train it first."
        )

    def _random(self, name: str, sizes: Mapping[str, int], seed: int = 0) -> Tensor:
        port = self.inputs.get(name)
        shape = (sizes["batch"], 1, sizes["frames"], sizes["height"], sizes["width"])
        drawn = torch.Generator().manual_seed(1000 + seed)
        return torch.rand(shape if port is None else self.at(port, sizes), generator=drawn)
