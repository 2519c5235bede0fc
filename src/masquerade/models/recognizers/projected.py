"""A recognizer whose answer is a point of an embedding: a trunk and two layers behind it.

SPAct's self-supervised adversary (CVPR 2022, 3.2): ResNet-50 without its last layer, then
2048 - 2048 - 128.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.models.recognizers.recognizer import Recognizer


class Projected(nn.Module):
    """Clips to {name: (B, width)}.

    Args:
        trunk: its own head is taken off.
        heads: the one name, and the width of the projection.
    """

    def __init__(self, trunk: Recognizer, *, heads: dict[str, int]) -> None:
        super().__init__()
        features = _beheaded(trunk.net)
        self.trunk, self.heads = trunk, heads
        ((self.name, width),) = heads.items()
        self.hidden, self.out = nn.Linear(features, features), nn.Linear(features, width)

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        """(B, C, T, H, W) in [0, 1] to the projection, not yet of unit length."""
        return {self.name: self.out(F.relu(self.hidden(self.trunk.embed(clip))))}


def _beheaded(net: nn.Module) -> int:
    """Take a network's last layer off; gives how many features came into it."""
    names: tuple[str, ...] = getattr(net, "head_names", ())
    layers = [name for name in names if isinstance(net.get_submodule(name), nn.Linear)]
    if len(layers) != 1:
        raise UsageError(f"{type(net).__name__} has no one head to replace by a projection.")
    parent, _, last = layers[0].rpartition(".")
    head = net.get_submodule(layers[0])
    setattr(net.get_submodule(parent) if parent else net, last, nn.Identity())
    return int(head.in_features)  # type: ignore[arg-type]
