"""Presets of attackers: the models, the clips that they see, and how long they are trained."""

from dataclasses import dataclass, replace
from typing import Literal

from masquerade.datasets.augmentation import Augmentation
from masquerade.errors import UsageError
from masquerade.extraction.config import Content
from masquerade.training.fit_config import tiny

Channel = Literal["appearance", "motion", "outline", "place"]
"""What of a video tells a label: how people look, how they move, their outline and pose, where."""
OUTLINES = ("gait energy image", "bone ratios")  # features that no movement is in

LIGHT = Augmentation(crop=(0.8, 1.0), flip=0.5)


@dataclass(frozen=True, kw_only=True)
class AttackerModel:
    """A model that learns labels from clips."""

    modality: str  # its input, in MODALITIES
    # what its clips are: frames, `flow` of consecutive frames, `poses` that networks find in the
    # frames as they are published, or `joints` as methods that draw people draw them, which others
    # do not have
    content: Content = "frames"
    # in RECOGNIZERS; None: kernel ridge regression on `features`, which on few clips is often the
    # strongest, and costs nothing
    network: str | None = None
    widths: tuple[int, ...] | None = None  # of a `tiny-3d`; None: its own
    side: int | None = None  # in pixels, to which its clips are shrunk; None: they stay as they are
    features: str = "picture"  # in FEATURES, where there is no network
    motion: bool = False  # whether it sees motion only
    background: bool = False  # whether it sees the background only

    @property
    def channel(self) -> Channel:
        """The one channel that it reads, or else appearance: whoever sees pixels sees all."""
        if self.background:
            return "place"
        if self.features in OUTLINES or self.modality == "outline":
            return "outline"
        return "motion" if self.motion or self.content != "frames" else "appearance"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How clips are cut and attackers trained."""

    frames: int  # of a clip
    size: tuple[int, int]  # (height, width) in pixels
    # source frames from one to the next; None: spread over the whole video
    stride: int | None = None
    # anonymize only the sampled frames (the papers' protocol), not whole videos
    sample_first: bool = False
    attackers: dict[str, AttackerModel]  # models by name
    pose_frames: int = 24  # of a sequence of poses, which are sampled as frames are
    flow_frames: int = 48  # consecutive ones, in which flow is searched: at 25 a second two steps
    epochs: int  # of a network trained from scratch
    finetune_epochs: int  # of one that starts from raw-trained weights
    batch: int = 16  # clips a step
    lr: float = 3e-3  # AdamW's largest learning rate
    weight_decay: float = 0.05  # of AdamW
    # of training clips; not for attackers that see the background only
    augment: Augmentation = LIGHT

    def frames_of(self, content: Content) -> int:
        """T of a clip of this content."""
        if content == "flow":
            return self.flow_frames
        return self.frames if content == "frames" else self.pose_frames


STILL_KERNELS = {
    "kernel on the picture": AttackerModel(modality="frames", features="picture"),
    "kernel on colours": AttackerModel(modality="frames", features="colours"),
    "kernel on background": AttackerModel(modality="background", background=True),
    "kernel on background colours": AttackerModel(
        modality="background", features="colours", background=True
    ),
}
TEMPORAL_KERNELS = {
    "kernel on frames": AttackerModel(modality="frames", features="frames"),
    "kernel on motion": AttackerModel(modality="motion", features="frames", motion=True),
}

POSE_KERNELS = {
    "kernel on landmarks": AttackerModel(modality="poses", content="poses", features="landmarks"),
    "kernel on bones": AttackerModel(modality="poses", content="poses", features="bone ratios"),
}
POSES = {"st-gcn": AttackerModel(modality="poses", content="poses", network="st-gcn")}
POSES |= POSE_KERNELS
POSES |= {f"{name}, drawn joints": replace(one, content="joints") for name, one in POSES.items()}
"""What sees sequences of poses only."""

GAIT = {
    "kernel on flow spectrum": AttackerModel(
        modality="frames", content="flow", features="flow spectrum"
    ),
    "kernel on outline": AttackerModel(
        modality="frames", content="flow", features="gait energy image"
    ),
    "tiny-2d on outline": AttackerModel(modality="outline", content="flow", network="tiny-2d"),
}
"""What sees how people move, and their outline."""

RECIPE = tiny()
TINY_3D = AttackerModel(modality="both", network="tiny-3d", widths=RECIPE.widths, side=RECIPE.size)
TINY = Preset(
    frames=RECIPE.frames,
    size=(48, 64),
    attackers={
        "tiny-3d": TINY_3D,
        "tiny-3d on motion": replace(TINY_3D, modality="motion", motion=True),
        **STILL_KERNELS,
        **TEMPORAL_KERNELS,
        **POSES,
        **GAIT,
    },
    epochs=RECIPE.epochs,
    finetune_epochs=RECIPE.epochs // 3,
    batch=RECIPE.batch,
    lr=RECIPE.lr,
    weight_decay=RECIPE.weight_decay,
    augment=RECIPE.augment,
)
"""The networks are fitted as in `masquerade.training.fit_config.tiny`."""

MANY = replace(TINY, epochs=10, finetune_epochs=3, batch=16)
"""For a thousand clips and more: as many steps from fewer passes."""

BAGS = Preset(
    frames=5,
    size=(56, 72),
    attackers={
        "tiny-2d": AttackerModel(modality="stills", network="tiny-2d", side=36),
        **STILL_KERNELS,
    },
    epochs=20,
    finetune_epochs=6,
    batch=32,
)
"""For frames whose order and spacing are not known: nothing that sees motion."""

PAPER = Preset(
    frames=16,
    size=(112, 112),
    stride=2,
    sample_first=True,
    attackers={
        "r3d-18": AttackerModel(modality="frames", network="r3d-18"),
        "resnet-50": AttackerModel(modality="stills", network="resnet-50"),
        "vit-s-video": AttackerModel(modality="frames", network="vit-s-video"),
        "r3d-18 on motion": AttackerModel(modality="motion", network="r3d-18", motion=True),
        "resnet-18 on background": AttackerModel(
            modality="background", network="resnet-18", background=True
        ),
        **STILL_KERNELS,
        **TEMPORAL_KERNELS,
        **POSES,
        **GAIT,
    },
    pose_frames=16,  # the same ones
    epochs=100,
    finetune_epochs=30,
    batch=8,
    lr=3e-4,
)

PRESETS = {"tiny": TINY, "many": MANY, "bags": BAGS, "paper": PAPER}


def get_preset(name: str) -> Preset:
    """A preset by its name in PRESETS."""
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
