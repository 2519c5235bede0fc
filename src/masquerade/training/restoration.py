"""Train a network to restore raw frames from published ones, on pairs of both.

An attacker makes such pairs: whoever has the method, or can send videos to it, anonymizes videos of
their own. See `masquerade.evaluation.restoration` and `masquerade.attack.restore`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from masquerade.errors import MasqueradeError
from masquerade.models.restoration_net import RestorationNet

AT_ONCE = 64  # frames that are restored together
WARM_UP = 0.1  # of all steps, in which the learning rate rises

SamplePairs = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""A generator to published frames beside the mean of those around each, (B, 6, h, w), and raw ones,
(B, 3, h, w), all in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class RestorationConfig:
    """Training settings of a restoration network: steps, learning rate and weight decay."""

    steps: int = 400  # of a batch each, whose size is the sampler's: 16 of 48 x 64 take .06 s
    lr: float = 1.5e-3  # AdamW's largest learning rate; at twice that some runs stop learning
    weight_decay: float = 1e-4


def fit_restoration(
    sample: SamplePairs,
    *,
    config: RestorationConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> RestorationNet:
    """Fit a network to pairs by the mean absolute error, and return it in evaluation mode."""
    config = config or RestorationConfig()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = RestorationNet().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=config.weight_decay)
    warm_up = WARM_UP if config.steps * WARM_UP > 1 else 0.0  # one of one step divides by 0
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.lr, total_steps=config.steps, pct_start=warm_up, cycle_momentum=False
    )
    for _ in range(config.steps):
        published, raw = (part.to(device) for part in sample(generator))
        published = published.contiguous(memory_format=torch.channels_last)
        loss = (net(published) - raw).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rate.step()
    if not all(bool(weight.isfinite().all()) for weight in net.parameters()):
        raise MasqueradeError(  # it would restore black frames, in which nobody is recognised
            "The network that restores frames did not learn: its weights are not numbers; lower "
            "its learning rate."
        )
    return net.eval().requires_grad_(False)


@torch.no_grad()
def restore_frames(net: RestorationNet, inputs: Tensor) -> Tensor:
    """(B, 3, H, W) in bytes, restored from (B, 6, H, W); on the device of the network."""
    device = next(net.parameters()).device
    parts = []
    for part in torch.split(inputs, AT_ONCE):
        there = part.to(device).contiguous(memory_format=torch.channels_last)
        parts.append((net(there).clamp(0, 1) * 255).round().byte().cpu())
    return torch.cat(parts).contiguous()
