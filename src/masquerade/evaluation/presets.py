"""What attackers are made of and how long they learn: one preset a purpose."""

from __future__ import annotations

from dataclasses import dataclass, replace

from masquerade.datasets.augmentation import Augmentation
from masquerade.errors import UsageError
from masquerade.training.recipes import tiny

LIGHT = Augmentation(crop=(0.8, 1.0), flip=0.5)


@dataclass(frozen=True, kw_only=True)
class Learner:
    """One thing that learns labels from clips.

    Args:
        look: what it is shown, in MODALITIES.
        network: in RECOGNIZERS; None: a kernel machine on `features`, which on few clips is often
            the strongest, and costs nothing.
        widths: of a `tiny-3d`; None: its own.
        side: in pixels, to which its clips are shrunk; None: they stay as they are.
        features: in FEATURES, where there is no network.
        motion: whether it is of the motion-only family (FACTS 9, A12).
        place: whether it is the place-only one.
    """

    look: str
    network: str | None = None
    widths: tuple[int, ...] | None = None
    side: int | None = None
    features: str = "picture"
    motion: bool = False
    place: bool = False


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How clips are cut and networks fitted.

    Args:
        frames: of a clip.
        size: (height, width) in pixels.
        stride: source frames from one to the next; None: spread over the whole video.
        sample_first: anonymize only the sampled frames (the papers' protocol), not whole videos.
        learners: by name.
        epochs: of a network from scratch.
        warm_epochs: of one that starts from raw-trained weights.
        batch: clips a step.
        rate: AdamW's largest learning rate.
        decay: AdamW's weight decay.
        augment: of training clips; the place-only attacker's are left as they are.
    """

    frames: int
    size: tuple[int, int]
    stride: int | None = None
    sample_first: bool = False
    learners: dict[str, Learner]
    epochs: int
    warm_epochs: int
    batch: int = 16
    rate: float = 3e-3
    decay: float = 0.05
    augment: Augmentation = LIGHT


KERNELS = {
    "kernel on the picture": Learner(look="frames", features="picture"),
    "kernel on colours": Learner(look="frames", features="colours"),
    "kernel on place": Learner(look="background", features="picture", place=True),
    "kernel on place colours": Learner(look="background", features="colours", place=True),
}
IN_TIME = {
    "kernel on frames": Learner(look="frames", features="course"),
    "kernel on motion": Learner(look="motion", features="course", motion=True),
}

SEEN = tiny()
TINY = Preset(
    frames=SEEN.frames,
    size=(48, 64),
    learners={
        "tiny-3d": Learner(look="both", network="tiny-3d", widths=SEEN.widths, side=SEEN.size),
        "tiny-3d on motion": Learner(
            look="motion", network="tiny-3d", widths=SEEN.widths, side=SEEN.size, motion=True
        ),
        **KERNELS,
        **IN_TIME,
    },
    epochs=SEEN.epochs,
    warm_epochs=SEEN.epochs // 3,
    batch=SEEN.batch,
    rate=SEEN.lr,
    decay=SEEN.weight_decay,
    augment=SEEN.augment,
)
"""The networks are fitted as in `masquerade.training.recipes.tiny`."""

MANY = replace(TINY, epochs=10, warm_epochs=3, batch=16)
"""For a thousand clips and more: as many steps from fewer passes."""

BAGS = Preset(
    frames=5,
    size=(56, 72),
    learners={"tiny-2d": Learner(look="stills", network="tiny-2d", side=36), **KERNELS},
    epochs=20,
    warm_epochs=6,
    batch=32,
)
"""For frames whose order and spacing are not known: nothing that sees motion."""

PAPER = Preset(
    frames=16,
    size=(112, 112),
    stride=2,
    sample_first=True,
    learners={
        "r3d-18": Learner(look="frames", network="r3d-18"),
        "resnet-50": Learner(look="stills", network="resnet-50"),
        "vit-s-video": Learner(look="frames", network="vit-s-video"),
        "r3d-18 on motion": Learner(look="motion", network="r3d-18", motion=True),
        "resnet-18 on place": Learner(look="background", network="resnet-18", place=True),
        **KERNELS,
        **IN_TIME,
    },
    epochs=100,
    warm_epochs=30,
    batch=8,
    rate=3e-4,
)

PRESETS = {"tiny": TINY, "many": MANY, "bags": BAGS, "paper": PAPER}


def preset_of(name: str) -> Preset:
    """A preset by its name.

    Args:
        name: in PRESETS.
    """
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
