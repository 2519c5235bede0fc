"""BDQ: Gaussian blur, temporal difference and quantisation with learned limits.

Kumawat and Nagahara, ECCV 2022. Hides most of what stands still and small changes of what moves;
keeps outlines and motion. The limits between levels are trained against an adversary (`masquerade
train bdq`).

Differs from the paper: differences lie in the fixed range [-1, 1] and are shown as (x + 1) / 2, so
that a clip depends neither on its batch nor on its window; a video's first frame is compared with
itself, so that none is lost; and the output is quantised hard, as the soft quantiser of the code
follows its input to a thirteenth of a level (docs/papers.md 4). At a cut or a flash, where the
difference is the picture itself, nothing is shown (not under `paper` and `code`). Training uses the
hard levels with the gradient of the soft ones (straight-through). Untrained limits are evenly
spaced, and differences are shifted by a quarter of a level (not under `soft`), so that an unchanged
pixel lies clear of the limits and sensor noise does not flicker; trained limits may come close to
it again.

Whole frames alone are rewritten: around a region the scene stays visible, and whoever knows a pixel
of it adds the differences that are shown there, and has the person who walks over it.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.anonymizer import (
    Anonymized,
    Anonymizer,
    Card,
    GraphStateSpec,
    Presets,
    TrainingOutput,
)
from masquerade.ranges import Share, above, at_least

KERNEL = 5
CHANGED = 0.06  # difference, of 1, from which a pixel counts for `most`
SHIFT = 0.25  # of a level, so that unchanged pixels lie clear of untrained limits


class BDQ(Anonymizer):
    """Show quantised differences of blurred frames; whatever stands still disappears.

    Args:
        sigma: standard deviation of the 5 x 5 Gaussian blur, in pixels at `short`.
        bits: the output has 2 to the power of `bits` levels; 4 in the paper.
        slope: steepness of the soft quantiser in training; 5 in the paper's code.
        short: shorter side in pixels that sigma refers to; larger frames are blurred more.
        soft: output of the soft quantiser, as in the paper's code, which hides less.
        most: largest share of pixels that may change; a frame above it is a cut or a flash, which
            would show the scene, and is shown as if nothing moved.
    """

    learned = full_frame = True
    resumable = state_from_last_frame = True
    graph_state_spec = GraphStateSpec(
        ("batch", None, None, "height", "width"), "the blurred frame before this window", -1.0
    )

    card = Card(
        hides="most of what stands still: changes between frames, at a few grey levels, are left; "
        "outlines and gait stay",
        undo="hardly, unless the empty scene is known from elsewhere; trained networks still "
        "recognize people by how they move",
        needs="training: masquerade train bdq",
        paper="BDQ, Kumawat & Nagahara ECCV 2022",
    )

    presets: ClassVar[Presets] = {
        # the paper's blur and 4 bits, quantised hard
        "paper": {"sigma": 3.0, "bits": 4, "slope": 5.0, "short": 224, "most": 1.0},
        # as its published code does it: the output of the soft quantiser, not whole levels
        "code": {
            "sigma": 3.0,
            "bits": 4,
            "slope": 5.0,
            "short": 224,
            "soft": True,
            "most": 1.0,
        },
        # for clips of 24 rows
        "tiny": {"sigma": 1.0, "short": 24},
    }

    def __init__(
        self,
        *,
        sigma: Annotated[float, above(0, 1000)] = 3.0,
        bits: Annotated[int, at_least(1, 8)] = 4,
        slope: Annotated[float, above(0, 1000)] = 5.0,
        short: Annotated[int, at_least(1, 16384)] = 112,
        soft: bool = False,
        most: Share = 0.5,
    ) -> None:
        super().__init__()
        self.sigma, self.bits, self.slope, self.short, self.soft = sigma, bits, slope, short, soft
        self.most = most
        self.quantization_step = 0.0 if soft else 1 / (2**bits - 1)
        # The limits between levels, in levels: the quantiser's learned parameters.
        self.limits = nn.Parameter(torch.arange(2**bits - 1) + 0.5)

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        blurred = torch.cat([self._blur(frame) for frame in torch.split(clip, 1, dim=2)], dim=2)
        return Anonymized(self._show(self._difference(blurred, state)), None, blurred[:, :, -1:])

    def graph(self, clip: Tensor, *, mask: Tensor | None, state: Tensor | None) -> Anonymized:
        blurred = self._blur(clip)
        return Anonymized(self._show(self._difference(blurred, state)), None, blurred[:, :, -1:])

    def graph_state(self, state: Any, clip: Tensor) -> Tensor:
        """The blurred frame before, (B, 3, 1, H, W); below 0 where there is none."""
        return clip[:, :, :1] * 0 - 1 if state is None else torch.as_tensor(state).to(clip)

    def training_output(self, clip: Tensor, *, class_token: Tensor | None = None) -> TrainingOutput:
        with torch.no_grad():  # a limit outside the range would get no gradient any more
            self.limits.clamp_(0, 2**self.bits - 1)
        steps = self._difference(self._blur(clip), None)
        shown = self._quantise(steps, hard=False)
        if not self.soft:  # straight-through: hard levels with the gradient of the soft ones
            shown = shown + (self._quantise(steps, hard=True) - shown).detach()
        return TrainingOutput(shown)

    def _blur(self, clip: Tensor) -> Tensor:
        """Separable Gaussian blur of (B, 3, T, H, W)."""
        height, width = clip.shape[-2:]
        scale = max(1.0, min(height, width) / self.short)
        reach = round((KERNEL // 2) * scale)
        at = torch.arange(-reach, reach + 1, dtype=clip.dtype, device=clip.device)
        weights = torch.exp(-0.5 * (at / (self.sigma * scale)) ** 2)
        weights = (weights / weights.sum()).reshape(1, 1, -1)
        frames = clip.transpose(1, 2).flatten(0, 2)  # (B * T * 3, H, W)
        for _ in range(2):  # along rows, then along columns
            lines = frames.flatten(0, 1)[:, None]  # (N, 1, length)
            padded = F.pad(lines, (reach, reach), mode="replicate")
            with _without_autocast(clip.device.type):
                done = F.conv1d(padded, weights)[:, 0].reshape(frames.shape)
            frames = done.transpose(1, 2)
        batch, _, count = clip.shape[:3]
        return frames.reshape(batch, count, 3, height, width).transpose(1, 2)

    def _difference(self, blurred: Tensor, state: Any) -> Tensor:
        first = blurred[:, :, :1]
        if state is not None:
            before = torch.as_tensor(state).to(blurred)
            first = torch.where(before < 0, first, before)
        return blurred - torch.cat([first, blurred[:, :, :-1]], dim=2)

    def _show(self, steps: Tensor) -> Tensor:
        """Quantise differences (B, 3, T, H, W), with none at cuts and flashes."""
        changed = (steps.abs().amax(1, keepdim=True) > CHANGED).to(steps)
        shown = changed.mean((3, 4), keepdim=True) <= self.most
        return self._quantise(steps * shown.to(steps), hard=not self.soft)

    def _quantise(self, steps: Tensor, *, hard: bool) -> Tensor:
        """Differences in [-1, 1] to levels in [0, 1]; no change is in the middle."""
        top = 2**self.bits - 1
        x = (steps + 1) / 2 * top  # 0 to top
        if not self.soft:  # which has no steps that could flicker
            x = x + SHIFT
        limits = self.limits.to(x.dtype)
        if hard:
            ordered = limits.detach().sort().values.contiguous()
            levels = torch.bucketize(x.contiguous(), ordered, right=True).to(x.dtype)
        else:
            levels = torch.zeros_like(x)
            for limit in limits:
                levels = levels + torch.sigmoid(self.slope * (x - limit))
        return levels.clamp(0, top) / top


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    """Switch autocast off: in half precision small differences would be rounded away.

    Where it is off already nothing is done, as an exported graph would hold the switch.
    """
    enabled = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if enabled else nullcontext()
