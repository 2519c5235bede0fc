"""MODALITIES: what of a clip a recognizer is fed, such as frames, motion, background or poses."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from masquerade.models.per_frame import resize_clip

MOTION_GAIN = 4.0  # a change by a quarter of the range is full motion
BACKGROUND_SHARE = 12  # the background is the top twelfth of frames, above people's heads
STILLS = 5


def _stills(clip: Tensor) -> Tensor:
    """At most five frames, spread over the clip."""
    count = clip.shape[2]
    if count <= STILLS:
        return clip
    # The odd ones of twice as many points and one: neither end, where clips often stand still.
    return clip[:, :, torch.linspace(0, count - 1, 2 * STILLS + 1).round().long()[1::2]]


def _motion(clip: Tensor) -> Tensor:
    """Frame difference (B, 1, T - 1, H, W): how much each pixel's grey value changes.

    It has no colour (docs/papers.md 9). A clip of one frame has no motion anywhere.
    """
    grey = clip.mean(dim=1, keepdim=True)
    grey = grey if clip.shape[2] > 1 else grey.expand(-1, -1, 2, -1, -1)
    return (MOTION_GAIN * (grey[:, :, 1:] - grey[:, :, :-1]).abs()).clamp(max=1)


def _both(clip: Tensor) -> Tensor:
    """Frames and motion, (B, 4, T - 1, H, W)."""
    motion = _motion(clip)
    return torch.cat([clip[:, :, -motion.shape[2] :], motion], dim=1)


def _background(clip: Tensor) -> Tensor:
    """The top twelfth of a few frames, enlarged: scenery without people."""
    rows = max(1, round(clip.shape[3] / BACKGROUND_SHARE))
    top = _stills(clip)[:, :, :, :rows]
    return resize_clip(top, (max(16, rows), top.shape[4]), antialias=False)


def _poses(sequence: Tensor) -> Tensor:
    """Place and visibility (B, 3, T, V, M) of a pose sequence, without its joints in metres."""
    return sequence[:, :3]


def _outline(flow: Tensor) -> Tensor:
    """Gait energy images (B, 2, 1, H, W) of flow clips: the outline's mean over time, and its sd.

    The mean is Han and Bhanu's (TPAMI 2006), of what moves instead of a cut-out silhouette.
    """
    outline = flow[:, 2:]
    energy = torch.cat([outline.mean(dim=2), outline.std(dim=2, correction=0)], dim=1)
    return resize_clip(energy[:, :, None], (48, 36), antialias=False)


class Modality(NamedTuple):
    """A fixed transform of RGB clips, or of pose sequences, and how many channels it gives."""

    transform: Callable[[Tensor], Tensor]  # (B, 3, T, H, W) to (B, channels, T', H', W') in [0, 1]
    channels: int


MODALITIES: dict[str, Modality] = {
    "frames": Modality(lambda clip: clip, 3),
    "stills": Modality(_stills, 3),
    "motion": Modality(_motion, 1),
    "both": Modality(_both, 4),
    "background": Modality(_background, 3),
    "poses": Modality(_poses, 3),
    "outline": Modality(_outline, 2),
}


class ModalityRecognizer(nn.Module):
    """A recognizer that is fed one modality of RGB clips.

    A small network does not learn to subtract frames from a hundred clips; given the differences,
    it learns the action from them in seconds.
    """

    def __init__(self, net: nn.Module, *, modality: str) -> None:
        super().__init__()
        self.net, self.modality = net, modality
        self.heads: dict[str, int] | None = getattr(net, "heads", None)

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """The recognizer's output for (B, 3, T, H, W) in [0, 1]."""
        return self.net(MODALITIES[self.modality].transform(clip))

    def embed(self, clip: Tensor) -> Tensor:
        """The recognizer's features (B, width) for the same."""
        features: Tensor = self.net.embed(MODALITIES[self.modality].transform(clip))  # type: ignore[operator]
        return features
