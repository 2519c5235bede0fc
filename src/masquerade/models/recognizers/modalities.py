"""MODALITIES: what of a clip a recognizer is fed, such as frames, motion, flow or poses."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.optical_flow import dis_flow, grey
from masquerade.models.per_frame import resize_clip
from masquerade.models.recognizers.two_stream import flow_to_clip, with_flow

MOTION_GAIN = 4.0  # a change by a quarter of the range is full motion
BACKGROUND_SHARE = 12  # the background is the top twelfth of frames, above people's heads
STILLS = 5
CONTRAST_SHARE = 6  # the surroundings that local contrast is relative to, as a share of the height
CONTRAST_FLOOR = 0.25 / 255  # standard deviation below which nothing is there: less than rounding
CONTRAST_RANGE = 3.0  # standard deviations from the local mean that are black and white


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


def _local_mean(frames: Tensor, side: int) -> Tensor:
    """The mean of the square around each pixel of (N, C, H, W), or of its part in the frame."""
    for kernel in ((side, 1), (1, side)):
        half = (kernel[0] // 2, kernel[1] // 2)
        frames = F.avg_pool2d(frames, kernel, stride=1, padding=half, count_include_pad=False)
    return frames


def _contrast(clip: Tensor) -> Tensor:
    """Frames with local contrast normalised: what is a few grey levels off its surroundings shows.

    The local mean is subtracted, and the rest divided by the local standard deviation of all three
    colours, as in Jarrett et al. (ICCV 2009).
    """
    side = max(3, clip.shape[3] // CONTRAST_SHARE) // 2 * 2 + 1
    flat = clip.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
    off = flat - _local_mean(flat, side)
    sd = _local_mean(off.square().mean(dim=1, keepdim=True), side).sqrt()
    shown = (0.5 + off / (2 * CONTRAST_RANGE * (sd + CONTRAST_FLOOR))).clamp(0, 1)
    return shown.reshape(clip.shape[0], clip.shape[2], *flat.shape[1:]).transpose(1, 2)


def search_flow(clip: Tensor) -> Tensor:
    """Optical flow (B, 2, T - 1, H, W) from each frame to the next, in pixels, by DIS.

    It is searched on the CPU, and no gradient flows through it. A clip of one frame does not move.
    """
    frames = (clip.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 4, 1).cpu().numpy()
    flow = np.zeros((len(frames), max(1, clip.shape[2] - 1), *clip.shape[3:], 2), np.float32)
    for pictures, motion in zip(frames, flow, strict=True):
        shades = [grey(frame) for frame in pictures]
        for at, (before, now) in enumerate(pairwise(shades)):
            motion[at] = dis_flow(before, now)  # where a point of a frame is in the next
    return torch.from_numpy(flow).permute(0, 4, 1, 2, 3).to(clip)


def _flow(clip: Tensor) -> Tensor:
    """Flow alone, (B, 2, T - 1, H, W) in [0, 1]."""
    return flow_to_clip(search_flow(clip))


def _frames_and_flow(clip: Tensor) -> Tensor:
    """What two-stream networks read, (B, 5, T, H, W)."""
    return with_flow(clip, search_flow(clip))


def _poses(sequence: Tensor) -> Tensor:
    """Place and visibility (B, 3, T, V, M) of a pose sequence, without its joints in metres."""
    return sequence[:, :3]


def _outline(flow: Tensor) -> Tensor:
    """Gait energy images (B, 2, 1, H, W) of flow clips: the outline's mean over time, and its sd.

    The mean is Han and Bhanu's (TPAMI 2006), of what moves instead of a cut-out silhouette.
    """
    outline = flow[:, 2:]
    mean = outline.mean(dim=2)
    # The standard deviation; Tensor.std takes twice as long.
    sd = torch.linalg.vector_norm(outline - mean[:, :, None], dim=2) / outline.shape[2] ** 0.5
    energy = torch.cat([mean, sd], dim=1)
    return resize_clip(energy[:, :, None], (48, 36), antialias=False)


class Modality(NamedTuple):
    """A fixed transform of RGB clips, or of pose sequences, and how many channels it gives."""

    transform: Callable[[Tensor], Tensor]  # (B, 3, T, H, W) to (B, channels, T', H', W') in [0, 1]
    channels: int


MODALITIES: dict[str, Modality] = {
    "frames": Modality(lambda clip: clip, 3),
    "stills": Modality(_stills, 3),
    "contrast": Modality(_contrast, 3),
    "motion": Modality(_motion, 1),
    "both": Modality(_both, 4),
    "flow": Modality(_flow, 2),
    "frames and flow": Modality(_frames_and_flow, 5),
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

    def extra_repr(self) -> str:
        return f"modality={self.modality!r}"

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """The recognizer's output for (B, 3, T, H, W) in [0, 1]."""
        return self.net(MODALITIES[self.modality].transform(clip))

    def embed(self, clip: Tensor) -> Tensor:
        """The recognizer's features (B, width) for the same."""
        features: Tensor = self.net.embed(MODALITIES[self.modality].transform(clip))  # type: ignore[operator]
        return features
