"""Optical flow by RAFT (Teed and Deng, ECCV 2020): torchvision's network, weights from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from masquerade.errors import MissingError, UsageError
from masquerade.models.optical_flow import F32, U8, flow_at_reduced_size
from masquerade.models.published_weights import read_weights

UPDATES = 12  # iterative updates of each pair (Ilic et al., CVPR 2024)
MIN_SIDE = 128  # pixels, which its correlation pyramid needs
STRIDE = 8  # of its features


class Raft(nn.Module):
    """Flow from frame t to t-1 by torchvision's RAFT, whose last output is the best."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    @torch.no_grad()
    def flow(self, now: U8, before: U8) -> F32:
        """(H, W, 2) in pixels of two RGB frames (H, W, 3), in `optical_flow`'s convention."""
        return flow_at_reduced_size(now, before, self._search)

    def _search(self, now: U8, before: U8) -> F32:
        height, width = now.shape[:2]
        device = next((x.device for x in self.parameters()), torch.device("cpu"))
        images = [_image(frame).to(device) for frame in (now, before)]
        flow: Tensor = self.network(*images, num_flow_updates=UPDATES)[-1]
        cropped: F32 = flow[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy()
        return cropped  # (H, W, 2)


def _image(frame: U8) -> Tensor:
    """(1, 3, h, w) in [-1, 1], padded below and to the right to a size that RAFT takes."""
    image = torch.tensor(frame).permute(2, 0, 1)[None] / 127.5 - 1
    height, width = frame.shape[:2]
    down, right = (max(MIN_SIDE, -(-side // STRIDE) * STRIDE) - side for side in (height, width))
    return pad(image, (0, right, 0, down), mode="replicate")


def load_raft(path: str | Path | None) -> Raft:
    """RAFT with torchvision's network and the weights of a file, small or large.

    Args:
        path: a state dict of `raft_small` or `raft_large`, .pth or .safetensors.

    Raises:
        MissingError: torchvision or the file is not here.
        UsageError: the file holds other weights.
    """
    try:
        from torchvision.models import optical_flow
    except (ImportError, RuntimeError) as error:  # beside another build of torch it raises either
        raise MissingError(
            'flow="raft" needs torchvision: pip install "masquerade[zoo]", or take flow="dis", '
            "which needs nothing."
        ) from error
    if path is None or not Path(path).is_file():
        raise MissingError(
            'flow="raft" needs a file with torchvision\'s weights of raft_small or raft_large, '
            f"named by --flow-weights FILE; {path or 'none'} is not there."
        )
    weights = read_weights(path)
    large = any(name.startswith("mask_predictor.") for name in weights)
    network = optical_flow.raft_large() if large else optical_flow.raft_small()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        name = Path(path).name
        raise UsageError(f"{name} holds no weights of raft_small or raft_large.") from error
    return Raft(network)
