"""What attackers of the side channel read of packet clips: sizes of the file, and its receipt.

Packet clips (`masquerade.extraction.packet_clip`) tell what somebody knows who has the published
file and never sees its picture, such as who watches an encrypted connection: bytes of a video's
segments identify it (Schuster et al., USENIX Security 2017).
"""

import math

import torch
from torch import Tensor

from masquerade.extraction.packet_clip import FILE_FACTS

SIZES, KEYS, SPECTRUM, SHARES, REGIONS, GLOBALS = range(6)  # channels
SPECTRUM_WEIGHT = 0.5  # of the spectrum beside the sizes over time


def packet_sizes(clips: Tensor) -> Tensor:
    """Sizes over time, their mean apart from their course, the spectrum, and key frames."""
    sizes, keys, spectrum = (clips[:, at, :, 0, 0] for at in (SIZES, KEYS, SPECTRUM))
    mean = sizes.mean(dim=1, keepdim=True)
    parts = sizes - mean, keys, SPECTRUM_WEIGHT * spectrum
    return torch.cat([mean, *(part / math.sqrt(part.shape[1]) for part in parts)], dim=1)


def file_facts(clips: Tensor) -> Tensor:
    """Bytes, seconds, frames, width and height as logarithms, and the share of key frames."""
    return clips[:, GLOBALS, : len(FILE_FACTS), 0, 0]


def receipt(clips: Tensor) -> Tensor:
    """What the receipt says frame by frame: the share that is hidden, and how many regions.

    Beside them how much both change, which does not depend on when somebody comes.
    """
    shares, regions = clips[:, SHARES, :, 0, 0], clips[:, REGIONS, :, 0, 0]
    root = torch.cat([shares.clamp(min=0).sqrt(), regions], dim=1)
    facts = [part.std(dim=1, correction=0) for part in (shares.sqrt(), regions)]
    facts += [part.mean(dim=1) for part in (shares.sqrt(), regions)]
    return torch.cat([root / math.sqrt(root.shape[1]), torch.stack(facts, dim=1)], dim=1)
