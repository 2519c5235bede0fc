"""Settings of supervised fitting, one a purpose: `fit(net, ..., **tiny().fit_arguments())`."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from masquerade.datasets.augmentation import NONE, Augmentation
from masquerade.models.recognizers import build_recognizer
from masquerade.training.views import ONE_VIEW, Views

FIT_ARGUMENTS = (
    "epochs",
    "batch",
    "lr",
    "weight_decay",
    "warmup",
    "patience",
    "amp",
    "augment",
    "views",
)


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Settings of one supervised fit: its clips, network, training and views.

    `extract_clips`, `fit` and `predict` describe them. Side and stride are in pixels and source
    frames; without a stride frames are spread over the video. The widths are of `tiny-3d` and
    `tiny-flow`; None: their own.
    """

    frames: int
    size: int
    stride: int | None = None
    widths: tuple[int, ...] | None = None
    epochs: int
    batch: int
    lr: float
    weight_decay: float = 0.05
    warmup: int = 3
    patience: int | None = None
    amp: bool = True
    augment: Augmentation = NONE
    views: Views = ONE_VIEW

    def network(self, name: str, *, heads: dict[str, int], modality: str = "frames") -> nn.Module:
        """Build a recognizer by its name in RECOGNIZERS and what it is fed, in MODALITIES."""
        return build_recognizer(name, heads=heads, modality=modality, widths=self.widths)

    def fit_arguments(self) -> dict[str, Any]:
        """Return the arguments of `fit`."""
        return {name: getattr(self, name) for name in FIT_ARGUMENTS}


def tiny() -> FitConfig:
    """From scratch on a hundred clips in seconds on one core.

    Small frames under a network that sees half of each at once (32 pixels, four layers), and many
    steps (batches of 8). What it reaches on UT-Interaction is in docs/results/uti.md. Clips are
    mirrored, since no action there has a side; where one has, take `flip` out.
    """
    return FitConfig(
        frames=16,
        size=32,
        widths=(16, 32, 64, 128),
        epochs=30,
        batch=8,
        lr=2e-3,
        augment=Augmentation(crop=(0.8, 1.0), flip=0.5),
    )
