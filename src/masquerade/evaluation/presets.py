"""Presets of attackers: the models, the clips that they see, and how long they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from masquerade.datasets.augmentation import Augmentation
from masquerade.datasets.clip_sampling import Padding
from masquerade.errors import UsageError
from masquerade.extraction.config import Aspect, Content
from masquerade.extraction.dataset import ClipDataset
from masquerade.training.fit_config import tiny

Channel = Literal["appearance", "motion", "outline", "place", "side channel"]
"""What of a video tells a label: how people look, how they move, their outline and pose, where they
are, or how large the file is and what its receipt says."""
Seen = Content | Literal["restored"]
"""What an attacker's clips are: as they are extracted, or frames that a network restored."""
RESTORED = ", restored"  # behind the name of a model, the same one of restored clips
OUTLINES = ("gait energy image", "bone ratios")  # features that no movement is in

LIGHT = Augmentation(crop=(0.8, 1.0), flip=0.5)


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of published weights; it is the same one wherever it lies."""

    path: Path = field(repr=False, compare=False)  # fits are cached by the others
    digest: str  # SHA-256 of its content


class ClipSampling(NamedTuple):
    """How a network's clips are sampled where the preset's are not what it sees."""

    frames: int  # of a clip
    stride: int | None  # source frames from one to the next; None: spread over the whole video
    size: tuple[int, int]  # (height, width) in pixels


@dataclass(frozen=True, kw_only=True)
class AttackerModel:
    """A model that learns labels from clips."""

    modality: str  # its input, in MODALITIES
    # what its clips are: frames, pictures `stacked` of many frames each, `flow` of consecutive
    # frames, `packets` of the file, `poses` that networks find in the frames as they are published,
    # `joints` as methods that draw people draw them, which others do not have, or `restored`,
    # frames as a network restored them
    content: Seen = "frames"
    # in RECOGNIZERS; None: kernel ridge regression on `features`, which on few clips is often the
    # strongest, and costs nothing
    network: str | None = None
    widths: tuple[int, ...] | None = None  # of a `tiny-3d`; None: its own
    side: int | None = None  # in pixels, to which its clips are shrunk; None: they stay as they are
    # of a network of frames, as its published weights were trained; None: the preset's
    sampling: ClipSampling | None = None
    features: str = "picture"  # in FEATURES, where there is no network
    motion: bool = False  # whether it sees motion only
    background: bool = False  # whether it sees the background only
    published: WeightsFile | None = None  # what it starts from in the family `published`
    published_lr: float | None = None  # its learning rate there; None: the preset's

    @property
    def is_frame_network(self) -> bool:
        """Whether it is a network that sees frames whole, as those of published weights do."""
        return self.network is not None and self.content == "frames" and not self.background

    @property
    def channel(self) -> Channel:
        """The one channel that it reads, or else appearance: whoever sees pixels sees all."""
        if self.content == "packets":
            return "side channel"
        if self.background:
            return "place"
        if self.features in OUTLINES or self.modality == "outline":
            return "outline"
        sees_looks = self.content in ("frames", "stacked", "restored") and not self.motion
        return "appearance" if sees_looks else "motion"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How clips are cut and attackers trained."""

    frames: int  # of a clip
    size: tuple[int, int]  # (height, width) in pixels
    # source frames from one to the next; None: spread over the whole video
    stride: int | None = None
    # windows in time and crops in space of a video, whose predictions are averaged; networks learn
    # from one of them at random, and all else sees the middle one
    views: tuple[int, int] = (1, 1)
    aspect: Aspect = "squeeze"  # of the frame, squeezed to the size; or crop, kept and cut
    padding: Padding = "repeat"  # of a video that ends before a clip of this stride does
    # what networks of frames are tested on, the middle of a frame, as a share of its side; they
    # learn from crops of which that is the mean
    test_crop: float = 1.0
    # anonymize only the sampled frames (the papers' protocol), not whole videos
    sample_first: bool = False
    attackers: dict[str, AttackerModel]  # models by name
    pose_frames: int = 24  # of a sequence of poses, which are sampled as frames are
    stacked_pictures: int = 4  # each of many consecutive frames
    flow_frames: int = 48  # consecutive ones, in which flow is searched: at 25 a second two steps
    epochs: int  # of a network trained from scratch
    finetune_epochs: int  # of one that starts from raw-trained weights
    batch: int = 16  # clips a step
    lr: float = 3e-3  # AdamW's largest learning rate
    amp: bool = False  # whether networks learn in half precision
    restoration_steps: int = 400  # of 8 frames, of networks that restore clips
    weight_decay: float = 0.05  # of AdamW
    # of training clips; not for attackers that see the background only
    augment: Augmentation = LIGHT

    @property
    def test_side(self) -> int:
        """The side in pixels of what networks are tested on where they see a crop."""
        return round(self.test_crop * min(self.size))

    def frames_of(self, content: Seen) -> int:
        """T of a clip of this content."""
        if content == "flow":
            return self.flow_frames
        if content == "stacked":
            return self.stacked_pictures
        return self.frames if content in ("frames", "restored") else self.pose_frames

    def sampled(self, sampling: ClipSampling | None) -> Preset:
        """The preset with clips of frames by a network's own sampling; None: as they are."""
        return self if sampling is None else replace(self, **sampling._asdict())

    def middle_view(self, clips: ClipDataset) -> ClipDataset:
        """One view of each clip of frames, from the middle of the video and of the frame."""
        windows, crops = self.views
        middle = windows // 2 * crops + crops // 2
        return clips if windows * crops == 1 else clips.window(middle * self.frames, self.frames)


STILL_KERNELS = {
    "kernel on the picture": AttackerModel(modality="frames", features="picture"),
    "kernel on colours": AttackerModel(modality="frames", features="colours"),
    "kernel on background": AttackerModel(modality="background", background=True),
    "kernel on background colours": AttackerModel(
        modality="background", features="colours", background=True
    ),
}
CONTRAST = {"kernel on contrast": AttackerModel(modality="contrast", features="picture")}
"""What sees remains of a few grey levels as well as strong ones."""
STACKED = {
    "kernel on stacked frames": AttackerModel(
        modality="frames", content="stacked", features="fine picture"
    ),
    "kernel on stacked colours": AttackerModel(
        modality="frames", content="stacked", features="colours"
    ),
}
"""What sees many neighbouring frames as one."""
SIDE_CHANNEL = {
    f"kernel on {features}": AttackerModel(modality="frames", content="packets", features=features)
    for features in ("packet sizes", "file facts", "receipt")
}
"""What sees the published file and its receipt, and no picture."""
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
POSES |= {
    f"{name}, drawn joints": replace(model, content="joints") for name, model in POSES.items()
}
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


def restored(models: Mapping[str, AttackerModel]) -> dict[str, AttackerModel]:
    """The same models, to read clips that a network restored; see `restoration`."""
    return {
        f"{name}{RESTORED}": replace(model, content="restored") for name, model in models.items()
    }


RESTORED_KERNELS = restored(
    {name: STILL_KERNELS[name] for name in ("kernel on the picture", "kernel on colours")}
)
RECIPE = tiny()
TINY_3D = AttackerModel(modality="both", network="tiny-3d", widths=RECIPE.widths, side=RECIPE.size)
TINY = Preset(
    frames=RECIPE.frames,
    size=(48, 64),
    attackers={
        "tiny-3d": TINY_3D,
        "tiny-3d on motion": replace(TINY_3D, modality="motion", motion=True),
        **STILL_KERNELS,
        **CONTRAST,
        **TEMPORAL_KERNELS,
        **STACKED,
        **POSES,
        **GAIT,
        **restored({"tiny-3d": TINY_3D}),
        **RESTORED_KERNELS,
        **SIDE_CHANNEL,
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
        **CONTRAST,
    },
    epochs=20,
    finetune_epochs=6,
    batch=32,
)
"""For frames whose order and spacing are not known: nothing that sees motion."""

R3D_18 = AttackerModel(modality="frames", network="r3d-18")
PAPER_BATCH = 8
PAPER = Preset(
    frames=16,
    size=(112, 112),
    stride=2,
    aspect="crop",
    sample_first=True,
    attackers={
        "r3d-18": R3D_18,
        "resnet-50": AttackerModel(modality="stills", network="resnet-50"),
        # STPrivacy's rule for a ViT from ImageNet, 1e-3 x batch / 512 (ICCV 4.3), at this batch
        "vit-s-video": AttackerModel(
            modality="frames", network="vit-s-video", published_lr=1e-3 * PAPER_BATCH / 512
        ),
        "r3d-18 on motion": AttackerModel(modality="motion", network="r3d-18", motion=True),
        "resnet-18 on background": AttackerModel(
            modality="background", network="resnet-18", background=True
        ),
        **STILL_KERNELS,
        **CONTRAST,
        **TEMPORAL_KERNELS,
        **STACKED,
        **POSES,
        **GAIT,
        **restored({"r3d-18": R3D_18}),
        **RESTORED_KERNELS,
    },
    pose_frames=16,  # the same ones
    epochs=100,
    finetune_epochs=30,
    batch=PAPER_BATCH,
    lr=3e-4,
)
"""Without the side channel, for which whole videos must be anonymized, not sampled frames alone."""

PRESETS = {"tiny": TINY, "many": MANY, "bags": BAGS, "paper": PAPER}


def with_sampling(
    preset: Preset,
    *,
    stride: int | None = None,
    views: tuple[int, int] | None = None,
    aspect: Aspect | None = None,
    padding: Padding | None = None,
    test_crop: float | None = None,
) -> tuple[Preset, tuple[str, ...]]:
    """The preset with frames sampled in another way, and a note on what is not its own.

    Args:
        preset: of attackers.
        stride: source frames from one of a clip to the next; None: the preset's.
        views: windows in time and crops in space of each video; None: the preset's.
        aspect: of the frame; None: the preset's.
        padding: of a video that ends before a clip does; None: the preset's.
        test_crop: share of a frame's side, its middle, that networks are tested on; None: the
            preset's.
    """
    notes: list[str] = []
    if preset.amp:
        notes.append("Networks that attack learn in half precision; those that restore do not.")
    if stride is not None:
        if stride < 1:
            raise UsageError(f"Frames of a clip are 1 or more apart: --stride cannot be {stride}.")
        preset = replace(preset, stride=stride)
        apart = "are consecutive" if stride == 1 else f"are {stride} source frames apart"
        notes.append(f"Frames of a clip {apart}, as was asked for.")
    if aspect is not None:
        preset = replace(preset, aspect=aspect)
        done = "squeezed to" if aspect == "squeeze" else "cropped to the aspect of"
        height, width = preset.size
        notes.append(f"Frames are {done} {width} x {height} pixels, as was asked for.")
    if views is not None:
        preset = replace(preset, views=views)
        notes.append(
            f"Networks' predictions are averaged over {views[0]} windows in time x {views[1]} "
            "crops of each video, as was asked for."
        )
    windows, crops = preset.views
    if min(windows, crops) < 1:
        raise UsageError("A video has one view or more: --views 5x3, or --views 5.")
    if windows > 1 and preset.stride is None:
        raise UsageError(
            "--views of several windows want a --stride, such as 2: without one a clip is spread "
            "over the whole video."
        )
    if padding is not None:
        if preset.stride is None:
            raise UsageError(
                "--padding wants a --stride, such as 2: without one a clip is spread over the "
                "whole video, however short."
            )
        preset = replace(preset, padding=padding)
        done = "their last frame again" if padding == "repeat" else "back and forth"
        notes.append(f"Videos shorter than a clip are played {done}, as was asked for.")
    if test_crop is not None:
        preset = _with_test_crop(preset, test_crop)
        notes.append(
            f"Networks are tested on the middle of a frame, {test_crop:g} of its side and "
            f"{preset.test_side} pixels, stills on all of it, and learn from crops of "
            f"{2 * test_crop - 1:g} to 1, as was asked for. All else sees whole frames of "
            f"{preset.size[0]} pixels."
        )
    if crops > 1 and preset.aspect != "crop":
        raise UsageError("--views of several crops want --aspect crop: a squeezed frame has none.")
    return preset, tuple(notes)


def _with_test_crop(preset: Preset, share: float) -> Preset:
    """The preset with frames so much larger that the crop has the size that frames had."""
    height, width = preset.size
    if not 0.5 < share <= 1:
        raise UsageError(f"--test-crop is a share above .5, up to 1, such as .8, not {share:g}.")
    if height != width or any(model.side for model in preset.attackers.values()):
        raise UsageError("--test-crop wants square frames that no network shrinks: --preset paper.")
    if preset.views[1] > 1:
        raise UsageError("--test-crop is the middle of a frame: give --views without crops, as 5.")
    side = round(height / share)
    return replace(preset, size=(side, side), test_crop=share)


def get_preset(name: str) -> Preset:
    """A preset by its name in PRESETS."""
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
