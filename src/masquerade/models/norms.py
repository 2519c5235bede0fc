"""Norms that know one clip at a time, where a game moves networks too fast for running averages."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

GROUPS = 8


def by_groups(net: nn.Module) -> nn.Module:
    """A network whose batch norms became group norms (Wu and He 2018), in its place.

    What one of them answers is the same while it learns and while it is asked. Averages over
    batches lag behind: an action network that reads .8 of held-out clips in one epoch reads .1 in
    the next, and so teaches the anonymizer nothing.

    Args:
        net: freshly made; widths that 8 does not divide get one group.
    """
    for name, child in net.named_children():
        if isinstance(child, _BatchNorm):
            width = child.num_features
            setattr(net, name, nn.GroupNorm(GROUPS if width % GROUPS == 0 else 1, width))
        else:
            by_groups(child)
    return net
