"""Augmentation of training clips: one random draw a clip, the same for all its frames."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.models.stgcn import MIRROR

Range = tuple[float, float]
PIXEL_CHANNELS = 3
FLOW_CHANNELS = 2  # across and down
LUMA = (0.299, 0.587, 0.114)  # BT.601


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Strength of the augmentation; by default nothing is changed.

    A crop drawn from a range is resized to `size`; one of fixed size is cut out without resizing,
    and testing needs views of that crop.
    """

    crop: Range = (1.0, 1.0)  # height and width of a random crop, as shares of the frame's
    size: int | None = None  # side of the result; None: of a crop of fixed size, else the frame's
    flip: float = 0.0  # probability of a horizontal flip; left and right may be the action
    brightness: float = 0.0  # b: the factor is drawn from 1 - b to 1 + b
    contrast: float = 0.0  # the same, about the clip's mean grey
    saturation: float = 0.0  # the same
    hue: float = 0.0  # h: rotation of the hue, from -h to h of a full circle
    jitter: float = 1.0  # probability of each of the four
    grey: float = 0.0  # probability of a greyscale clip
    gamma: Range = (1.0, 1.0)  # of the exponent for greyscale clips
    erase: float = 0.0  # probability of a black box
    box: Range = (9 / 112, 19 / 112)  # of the box's sides, as shares of the frame's


NONE = Augmentation()
SPACT = Augmentation(
    crop=(0.6, 1.0),
    flip=0.5,
    brightness=0.1,
    contrast=0.1,
    saturation=0.1,
    hue=0.05,
    jitter=0.15,
    grey=0.1,
    gamma=(0.85, 1.15),
    erase=0.25,
)
"""As in SPAct's code (docs/papers.md 2.5), where however flip and erase share a draw, and except
contrast."""


def mirror(clips: Tensor) -> Tensor:
    """Mirror images of clips (..., 3, T, H, W), of flow (..., 2, T, H, W), or of pose sequences
    (..., 6, T, 33, M).

    Flow to the left is one to the right then, about the value of no motion. Poses change the sign
    of x, in the picture and in metres, and the body its sides.
    """
    if clips.shape[-4] == PIXEL_CHANNELS:
        return clips.flip(-1)
    if clips.shape[-4] == FLOW_CHANNELS:
        x, y = clips.flip(-1).unbind(-4)
        return torch.stack([(255 if clips.dtype == torch.uint8 else 1) - x, y], -4)
    sides = clips.new_tensor([-1, 1, 1, -1, 1, 1])[:, None, None, None]
    return clips[..., list(MIRROR), :] * sides


def augment(clips: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Augment (B, 3, T, H, W) clips, uint8 or in [0, 1]; the result is float, in [0, 1].

    Pose sequences can be mirrored, and nothing else.

    The generator is on the CPU whatever the clips' device.
    """
    if how.flip:  # while clips of pixels are still bytes
        clips = clips.clone()
        for at in _hits(len(clips), how.flip, generator).nonzero()[:, 0].tolist():
            clips[at] = mirror(clips[at])
    clips = _crop(clips, how, generator)
    if clips.dtype == torch.uint8:
        clips = clips.float().div_(255)
    clips = _jitter_colours(clips, how, generator)
    return _erase(clips, how, generator) if how.erase else clips


def _crop(clips: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Crops of fixed or random size, each at a random place."""
    low, high = how.crop
    if not 0 < low <= high <= 1:
        raise UsageError(f"A crop of {low} to {high} of the side: give shares above 0, up to 1.")
    if low < high:
        return _resized_crop(clips, how, generator)
    height, width = clips.shape[-2:]
    tall, wide = (how.size, how.size) if how.size else (round(low * height), round(low * width))
    if (tall, wide) == (height, width):
        return clips
    if tall > height or wide > width:
        raise UsageError(f"A crop of {tall} x {wide} does not fit clips of {height} x {width}.")
    tops = torch.randint(height - tall + 1, (len(clips),), generator=generator).tolist()
    lefts = torch.randint(width - wide + 1, (len(clips),), generator=generator).tolist()
    places = zip(clips, tops, lefts, strict=True)
    return torch.stack([clip[..., y : y + tall, x : x + wide] for clip, y, x in places])


def _resized_crop(clips: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Crops of random size and place, resized to one size."""
    out = (how.size, how.size) if how.size else clips.shape[-2:]
    clips = clips.float().div_(255) if clips.dtype == torch.uint8 else clips
    share = _uniform(len(clips), how.crop, generator)
    theta = torch.zeros(len(clips), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = share
    theta[:, :, 2] = (2 * torch.rand(len(clips), 2, generator=generator) - 1) * (1 - share)[:, None]
    flat = clips.flatten(1, 2)
    grid = F.affine_grid(theta, [*flat.shape[:2], *out], align_corners=False).to(clips)
    stretched = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    return stretched.reshape(*clips.shape[:3], *out)


def _jitter_colours(clips: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """One 3 x 3 matrix a clip for brightness, saturation, hue and grey, then contrast and gamma."""
    if not (how.brightness or how.contrast or how.saturation or how.hue or how.grey):
        return clips
    batch = len(clips)

    def draw(reach: float) -> Tensor:
        """(B,) from -reach to reach, 0 where no jitter is drawn."""
        drawn = _uniform(batch, (-reach, reach), generator)
        return drawn * _hits(batch, how.jitter, generator)

    turn = draw(how.hue)
    colours = _colour_matrix(draw(how.saturation) + 1, turn)
    colours = colours * (draw(how.brightness) + 1)[:, None, None]
    grey = _hits(batch, how.grey, generator)
    luma = torch.tensor(LUMA).expand(3, 3)
    colours[grey] = luma @ colours[grey]
    contrast = draw(how.contrast) + 1
    gamma = torch.where(grey, _uniform(batch, how.gamma, generator), torch.ones(batch))
    flat = clips.reshape(batch, 3, -1)
    middle = (luma[0].to(clips) @ flat.mean(2).T).clamp(0, 1)  # (B,) mean grey
    scale = contrast.to(clips)
    shift = (middle * (1 - scale))[:, None, None]
    matrix = colours.to(clips) * scale[:, None, None]
    if how.saturation or how.hue or how.grey:
        out = flat[:, :1] * matrix[:, :, :1]  # faster than a matrix product of this size
        for c in (1, 2):
            out.addcmul_(flat[:, c : c + 1], matrix[:, :, c : c + 1])
    else:
        out = flat * matrix[:, :1, :1]
    out = out.add_(shift).clamp_(0, 1)
    if how.gamma != (1.0, 1.0) and bool(grey.any()):
        out = out ** gamma.to(clips)[:, None, None]
    return out.reshape(clips.shape)


def _colour_matrix(saturation: Tensor, turn: Tensor) -> Tensor:
    """(B, 3, 3): chroma scaled by the saturation and rotated about the grey axis."""
    grey = torch.tensor(LUMA).expand(3, 3)
    angle = 2 * math.pi * turn
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    third = torch.full((3, 3), 1 / 3)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    rotation = cos * torch.eye(3) + sin * cross + (1 - cos) * third  # Rodrigues, about (1, 1, 1)
    chroma = torch.eye(3) - grey
    return grey + saturation[:, None, None] * (chroma @ rotation @ chroma)


def _erase(clips: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Black boxes in some clips (random erasing)."""
    height, width = clips.shape[-2:]
    sides = _uniform((len(clips), 2), how.box, generator)
    places = torch.rand(len(clips), 2, generator=generator) * (1 - sides)
    clips, hit = clips.clone(), _hits(len(clips), how.erase, generator)
    for clip in hit.nonzero()[:, 0].tolist():
        top, left = int(places[clip, 0] * height), int(places[clip, 1] * width)
        tall, wide = (max(1, int(sides[clip, i] * n)) for i, n in enumerate((height, width)))
        clips[clip, ..., top : top + tall, left : left + wide] = 0
    return clips


def _uniform(shape: int | tuple[int, ...], range_: Range, generator: torch.Generator) -> Tensor:
    return range_[0] + (range_[1] - range_[0]) * torch.rand(shape, generator=generator)


def _hits(batch: int, chance: float, generator: torch.Generator) -> Tensor:
    return torch.rand(batch, generator=generator) < chance
