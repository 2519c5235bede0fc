"""What attackers on gait read of flow clips: the rhythm of each part of the body, and the outline.

Flow clips (`masquerade.extraction.flow_clip`) have no colour and no texture, and only the part of
the frame in which something moves.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.models.recognizers.modalities import MODALITIES

BANDS = 8  # from head to foot
PADDED, BINS = 128, 32  # points of the Fourier transform over time, of which the slowest are kept
FLOOR = 0.1  # of a spectrum, whose units are those of `VELOCITY`
CELLS = (16, 12)  # rows and columns of an outline
VELOCITY = 16.0  # percent of the frame's height a frame, of flow from 0 to 1


def flow_spectrum(clips: Tensor) -> Tensor:
    """The spectrum over time of each band's movement, from (B, 3, T, H, W) in [0, 1].

    Two people who walk alike at different rates differ in it, wherever in the frame they are.
    """
    flow = VELOCITY * (clips[:, :2] - 0.5)
    flow = torch.cat([flow, flow.abs()], dim=1)  # (B, 4, T, H, W); left as right in the last two
    bands = flow.reshape(*flow.shape[:3], BANDS, -1).mean(dim=4)  # (B, 4, T, bands)
    mean = bands.mean(dim=2, keepdim=True)
    window = torch.hann_window(bands.shape[2], periodic=False)[:, None]
    spectrum = torch.fft.rfft((bands - mean) * window, n=PADDED, dim=2)[:, :, 1:BINS].abs()
    share = spectrum / (spectrum.sum(dim=2, keepdim=True) + FLOOR)
    parts = (spectrum + FLOOR).log(), share, mean
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def gait_energy_image(clips: Tensor) -> Tensor:
    """The outline's mean over time and its standard deviation, coarse."""
    energy = MODALITIES["outline"].transform(clips)[:, :, 0]
    return F.adaptive_avg_pool2d(energy, CELLS).flatten(1)
