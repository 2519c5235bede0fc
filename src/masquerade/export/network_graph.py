"""Graphs of networks that are neither a method nor a recognizer: frames in, a map out.

The key networks give what `templates:` and the studio compare. `restoration-net` is what an
attacker trains to undo a method.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from masquerade.errors import UsageError
from masquerade.export.graph import TRACED, Axis, Graph, Pair, Port, Run, Tensors
from masquerade.models.key_vit import KeyViT
from masquerade.models.published_weights import load_weights, read_weights
from masquerade.models.restoration_net import INPUTS, RestorationNet
from masquerade.regions.key_extractors import MEAN, NETWORKS, STD, select_weights
from masquerade.storage import weights_digest

RESTORATION = "restoration-net"
NETWORK_GRAPHS = (*NETWORKS, RESTORATION)
"""The names that `network_graph` takes."""
SIDES = ((56, 72), (64, 47), (91, 61))  # of frames that a graph of any size is compared on
RESTORABLE = 8  # pixels: the shortest side of frames that are restored


def network_graph(
    name: str,
    *,
    weights: Path | None = None,
    size: tuple[int, int] | None = None,
    stride: int | None = None,
) -> Graph:
    """The graph of a network in NETWORK_GRAPHS.

    Args:
        name: which.
        weights: a file of published weights, or one that an evaluation trained; None: the network
            stays untrained.
        size: height and width of frames; None: any, which key networks alone can do.
        stride: pixels from key to key, of key networks alone; None: the network's own.
    """
    if name in NETWORKS:
        return KeyGraph(name, weights=weights, size=size, stride=stride)
    return RestorationGraph(weights=weights, size=size)


class NetworkGraph(Graph):
    """Frames of one size, or of any, to a map."""

    def __init__(self, name: str, *, size: tuple[int, int] | None, least: int) -> None:
        super().__init__()
        if size is not None and min(size) < least:
            raise UsageError(f"{name} takes frames of {least} pixels a side or more.")
        self.name, self.size = name, size
        self.least = {"height": least, "width": least}
        self.sides: tuple[Axis, Axis] = size or ("height", "width")

    def example(self) -> Tensors:
        return self._frames(2, self.size or (TRACED["height"], TRACED["width"]), kind=0)

    def compare(self, run: Run) -> Iterator[Pair]:
        (name,) = self.outputs
        for kind, batch in enumerate((1, 3, 2, 1)):
            tensors = self._frames(batch, self.size or SIDES[kind % len(SIDES)], kind=kind)
            with torch.no_grad():
                yield Pair(run(tensors)[name], self(**tensors)[0])

    def _describe(self, arguments: dict[str, int | None]) -> None:
        """Set what the file says of the network: its name, arguments and digest of weights."""
        digest = weights_digest(self.state_dict())
        self.about = {"kind": "network", "name": self.name, "arguments": arguments}
        self.about["weights_sha256"] = digest
        self.eval()

    def _frames(self, batch: int, size: tuple[int, int], *, kind: int) -> Tensors:
        """Random frames to compare on, of one of four kinds: even, black and white, dark, light."""
        sizes = {"batch": batch, "height": size[0], "width": size[1]}
        drawn = torch.Generator().manual_seed(kind)
        frames = torch.rand(self.at(self.inputs["frames"], sizes), generator=drawn)
        return {"frames": (frames, frames.round(), frames**4, 1 - frames**4)[kind]}


class KeyGraph(NetworkGraph):
    """Frames (B, 3, H, W) to the keys of a DINO ViT's last layer, (B, rows, columns, D)."""

    least_scale = 1e-6  # keys have no unit

    def __init__(
        self,
        name: str,
        *,
        weights: Path | None = None,
        size: tuple[int, int] | None = None,
        stride: int | None = None,
    ) -> None:
        shape = NETWORKS[name]
        step = stride or shape.stride
        net = KeyViT(**{**asdict(shape), "stride": step})
        super().__init__(name, size=size, least=shape.patch + step)  # two rows of keys
        self.net, self.trained = net, weights is not None
        if weights is not None:
            net.load_state_dict(select_weights(read_weights(weights), net, name, weights.name))
        rows, columns = net.grid(*size) if size else ("rows", "columns")
        self.inputs = {"frames": Port(("batch", 3, *self.sides), "RGB in [0, 1]")}
        meaning = f"keys of patches of {shape.patch} pixels, {step} from patch to patch"
        self.outputs = {"keys": Port(("batch", rows, columns, shape.width), meaning)}
        self._describe({"stride": step})

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        mean, std = (frames.new_tensor(value)[:, None, None] for value in (MEAN, STD))
        return (self.net.keys((frames - mean) / std),)


class RestorationGraph(NetworkGraph):
    """Published frames beside the mean of those around each, (B, 6, H, W), to restored frames."""

    def __init__(self, *, weights: Path | None = None, size: tuple[int, int] | None = None) -> None:
        if size is None:  # its padding to even sides cannot be traced for all sizes at once
            raise UsageError(
                f"a file of {RESTORATION} is for one size of frames: give it, as in --size 240x320."
            )
        super().__init__(RESTORATION, size=size, least=RESTORABLE)
        self.net, self.trained = RestorationNet(), weights is not None
        if weights is not None:
            load_weights(self.net, weights)
        meaning = "RGB in [0, 1] of a published frame, then of the mean of those around it"
        self.inputs = {"frames": Port(("batch", INPUTS, *self.sides), meaning)}
        meaning = "RGB, which may lie a little beyond [0, 1]"
        self.outputs = {"restored": Port(("batch", 3, *self.sides), meaning)}
        self._describe({})

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        return (self.net(frames),)
