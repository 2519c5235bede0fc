"""Optical flow by RAFT, where torchvision is installed and the user has its weights.

Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020, as
torchvision's `raft_small` and `raft_large`. Nothing is fetched: the weights are a file.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad

from masquerade.errors import MissingError, UsageError
from masquerade.models.optical_flow import F32, U8, reduced

UPDATES = 12  # refinements a pair, the authors' number
LEAST = 128  # pixels a side that its correlation pyramid needs
STEP = 8  # it works on an eighth of the size


class Raft(nn.Module):
    """Flow from frame t to t-1 by a RAFT network.

    Args:
        network: called with two (1, 3, h, w) images in [-1, 1] and `num_flow_updates`; gives a
            list of flows (1, 2, h, w) from the first image to the second, the best last.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    @torch.no_grad()
    def flow(self, now: U8, before: U8) -> F32:
        """(H, W, 2) in pixels of two RGB frames (H, W, 3), as `vision.flow` has it."""
        return reduced(now, before, self._searched)

    def _searched(self, now: U8, before: U8) -> F32:
        height, width = now.shape[:2]
        device = next((x.device for x in self.parameters()), torch.device("cpu"))
        images = [_image(frame).to(device) for frame in (now, before)]
        flow: Tensor = self.network(*images, num_flow_updates=UPDATES)[-1]
        found: F32 = flow[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy()
        return found


def _image(frame: U8) -> Tensor:
    """(1, 3, h, w) in [-1, 1], its edge repeated below and to the right up to a size it takes."""
    image = torch.tensor(frame).permute(2, 0, 1)[None] / 127.5 - 1
    height, width = frame.shape[:2]
    down, right = (max(LEAST, -(-side // STEP) * STEP) - side for side in (height, width))
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
    weights = _weights(Path(path))
    large = any(name.startswith("mask_predictor.") for name in weights)
    network = optical_flow.raft_large() if large else optical_flow.raft_small()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(f"{Path(path).name} holds no weights of raft_small or raft_large.") from (
            error
        )
    return Raft(network)


def _weights(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UsageError(f"{path.name} cannot be read as weights: {error}.") from error
    if not isinstance(weights, Mapping):
        raise UsageError(f"{path.name} holds no state dict; give one of torchvision's RAFT.")
    return weights
