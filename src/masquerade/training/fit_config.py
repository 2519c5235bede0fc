"""Settings of supervised fitting, one a purpose: `fit(net, ..., **tiny().fit_arguments())`."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from masquerade.datasets.augmentation import NONE, Augmentation
from masquerade.errors import UsageError
from masquerade.models.recognizers import build_recognizer
from masquerade.training.views import ONE_VIEW, PAPER_VIEWS, Views

# Ilic et al., CVPR 2024: epochs without a better validation score, and frames of a video whose
# predictions a frame recognizer averages. That SBU, whose clips are shortest, has the 16 is our
# reading of "32, 32 and 16"; their code does neither (docs/papers.md 3.5).
ILIC_PATIENCE = 100
ILIC_FRAMES = {"ipn": 32, "kth": 32, "sbu": 16}
FITTED = ("epochs", "batch", "lr", "weight_decay", "warmup", "patience", "amp", "augment", "views")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Arguments of `extract_clips`, `fit` and `predict`, which describe them.

    Side and stride are in pixels and source frames; without a stride frames are spread over the
    video. The widths are of `tiny-3d` and `tiny-flow`; None: their own.
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
        return {name: getattr(self, name) for name in FITTED}


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


def paper() -> FitConfig:
    """STPrivacy's clips, views and optimizer, Ilic et al.'s patience (docs/papers.md 1.10, 3.6)."""
    return FitConfig(
        frames=16,
        size=112,
        stride=2,
        epochs=80,
        batch=32,
        lr=6.25e-5,
        patience=ILIC_PATIENCE,
        views=PAPER_VIEWS,
    )


def ilic_stills(dataset: str) -> FitConfig:
    """Ilic et al.'s privacy networks: frames of 224 pixels, predictions averaged over a video.

    Frame recognizers average over the frames they are given, so a clip of as many is the protocol:
    32 on ipn and kth, 16 on sbu.
    """
    if dataset not in ILIC_FRAMES:
        raise UsageError(f"Ilic et al. have {', '.join(ILIC_FRAMES)}, and no {dataset!r}.")
    return FitConfig(
        frames=ILIC_FRAMES[dataset], size=224, epochs=500, batch=16, lr=3e-4, patience=ILIC_PATIENCE
    )
