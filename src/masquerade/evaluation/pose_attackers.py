"""Attackers that see the poses of people only.

Poses are found again in the published frames by the networks that find people. Methods that draw
people are attacked by the joints that they draw, too: where networks see nobody in a drawing, a
reader of its joints still may. Kernel machines read the features here, `st-gcn` the poses.
"""

import torch
from torch import Tensor

from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.extraction.poses import VISIBILITY

LEAST_SEEN = 0.1  # share of frames with somebody in them, below which networks' poses are no attack
HARDLY_SEEN = LEAST_SEEN / 5  # share in a sample, below which nobody looks further
THIRTEEN = (0, *range(11, 17), *range(23, 29))  # joints: head, arms and legs without hands and feet
SPEED_GAIN = 4.0  # differences of places are this many times smaller than places
MEASURED_BONES = (
    *((11, 12), (23, 24), (11, 23), (12, 24)),  # the trunk
    *((11, 13), (12, 14), (13, 15), (14, 16)),  # arms
    *((23, 25), (24, 26), (25, 27), (26, 28)),  # legs
)
"""Pairs of landmarks whose distance is somebody's own."""
TRUNK = slice(0, 4)  # of MEASURED_BONES


def count_seen(poses: ClipDataset) -> tuple[int, int]:
    """In how many of the frames of pose sequences somebody is, and the frames in all."""
    seen = frames = 0
    for batch in clip_loader(poses, torch.split(torch.arange(len(poses)), 256)):
        visible = (batch[:, VISIBILITY] > 0).any(dim=3).any(dim=2)  # (B, T)
        seen, frames = seen + int(visible.sum()), frames + visible.numel()
    return seen, frames


def landmark_sequences(poses: Tensor) -> Tensor:
    """Where 13 joints are, and how fast they move.

    A joint that is not seen, as a drawing leaves it out, stands at the middle of those that are,
    and has no speed: at the middle of the frame it would seem to have leapt there.
    """
    joints = poses[:, :, :, list(THIRTEEN)]  # (B, C, T, 13, M)
    places, seen = joints[:, :2], joints[:, VISIBILITY : VISIBILITY + 1] > 0
    middle = (places * seen).sum(dim=3, keepdim=True) / seen.sum(dim=3, keepdim=True).clamp(min=1)
    places = torch.where(seen, places, middle)
    speed = SPEED_GAIN * (places[:, :, 1:] - places[:, :, :-1])
    speed = speed * (seen[:, :, 1:] & seen[:, :, :-1])
    return torch.cat([places.flatten(1), speed.flatten(1)], dim=1)


def bone_ratios(poses: Tensor) -> Tensor:
    """Lengths of bones over the trunk's, the median over the frames in which both are seen.

    Lengths in metres and in the picture; of several people the sum and the difference, so that it
    does not matter who stands where. A bone that is never seen, as a drawing leaves it out, is 0
    and takes nothing from the others.
    """
    places, world, seen = poses[:, :2], poses[:, 3:6], poses[:, 2] > 0  # (B, C, T, V, M)
    a, b = (list(ends) for ends in zip(*MEASURED_BONES, strict=True))
    visible = seen[:, :, a] & seen[:, :, b]  # (B, T, bones, M)
    ratios = []
    for joints in (world, places):
        length = (joints[:, :, :, a] - joints[:, :, :, b]).norm(dim=1)  # (B, T, bones, M)
        length = length.masked_fill(~visible, torch.nan)
        trunk = length[:, :, TRUNK].nanmean(dim=2, keepdim=True).clamp(min=1e-6)
        ratios.append((length / trunk).nanmedian(dim=1).values.nan_to_num(0.0))  # (B, bones, M)
    people = torch.cat(ratios, dim=1).sort(dim=2).values
    return torch.cat([people.sum(dim=2), people[..., -1] - people[..., 0]], dim=1)
