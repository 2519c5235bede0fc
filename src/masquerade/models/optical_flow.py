"""Dense optical flow by DIS (Kroeger et al., ECCV 2016) or RAFT, and warping images by flow.

Convention (Ilic et al., CVPR 2024, eq. 4): flow[y, x] = (u, v) in pixels points from a pixel of
frame t to its position in frame t-1, so that before[y + v, x + u] shows the same point.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from masquerade.arrays import F32, U8
from masquerade.errors import MissingError, UsageError
from masquerade.models.published_weights import read_weights

NO_ARRAY: Any = None  # where OpenCV takes none, and its annotations say that it wants one
MIN_SIDE = 32  # DIS needs more patches than a shorter side holds
MAX_SIDE = 320  # larger frames are searched on a reduced copy: faster, and as good for the noise
RAFT_UPDATES = 12  # iterative updates of each pair (Ilic et al., CVPR 2024)
RAFT_MIN_SIDE = 128  # pixels, which its correlation pyramid needs
RAFT_STRIDE = 8  # of its features


def dis_flow(now: U8, before: U8) -> F32:
    """Dense inverse search flow (H, W, 2) from frame t to t-1, both (H, W) grey, on the CPU."""

    def search(now: U8, before: U8) -> F32:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        now, before = np.ascontiguousarray(now), np.ascontiguousarray(before)
        return np.asarray(dis.calc(now, before, NO_ARRAY), np.float32)

    return flow_at_reduced_size(now, before, search)


def flow_at_reduced_size(now: U8, before: U8, search: Callable[[U8, U8], F32]) -> F32:
    """Run `search` on copies of 32 to 320 pixels a side; flow (H, W, 2) in pixels of the full size.

    The images are (H, W) or (H, W, 3); flow is zero where a side is shorter than 32 pixels.
    """
    height, width = now.shape[:2]
    if min(height, width) < MIN_SIDE:
        return np.zeros((height, width, 2), np.float32)
    scale = max(1.0, min(max(height, width) / MAX_SIDE, min(height, width) / MIN_SIDE))
    size = (round(width / scale), round(height / scale))
    if size == (width, height):
        return search(now, before)
    small = [cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (now, before)]
    flow = search(np.asarray(small[0], np.uint8), np.asarray(small[1], np.uint8))
    ratio = np.array([width / size[0], height / size[1]], np.float32)
    # flow * ratio, but twenty times as fast as NumPy is with pairs
    flow = np.asarray(cv2.transform(flow, np.diag(ratio)), np.float32)
    return np.asarray(cv2.resize(flow, (width, height)), np.float32)


def grey(frame: U8) -> U8:
    """(H, W) of an RGB frame (H, W, 3)."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


def pixel_grid(height: int, width: int) -> F32:
    """(H, W, 2): every pixel's own (x, y)."""
    out = np.empty((height, width, 2), np.float32)
    out[..., 0] = np.arange(width)
    out[..., 1] = np.arange(height)[:, None]
    return out


def remap(
    image: U8 | F32, source: F32 | tuple[F32, ...], *, nearest: bool = False, wrap: bool = True
) -> NDArray[Any]:
    """out[y, x] = image at source[y, x] = (x', y') in pixels.

    The image is (H, W) or (H, W, C), `source` (h, w, 2), or x' and y' apart, (h, w) each;
    `nearest` does not interpolate. Beyond an edge it is wrapped around, or has the edge's own
    values.
    """
    mode = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REPLICATE
    x, y = source if isinstance(source, tuple) else (np.asarray(source, np.float32), NO_ARRAY)
    return cv2.remap(image, x, y, mode, borderMode=border)


def warp_along_flow(image: U8, *, source: U8, target: U8) -> U8:
    """An image (H, W) that belongs to one grey frame, moved to an adjacent one along the flow."""
    flow = dis_flow(target, source)
    return np.asarray(remap(image, pixel_grid(*flow.shape[:2]) + flow, wrap=False), np.uint8)


def warp(image: U8 | F32, flow: F32, *, nearest: bool = False) -> NDArray[Any]:
    """out[y, x] = image[y + v, x + u] for (H, W, 2) flow.

    Zero flow is the identity; in the authors' code it is not (docs/papers.md 3.5).
    """
    return remap(image, pixel_grid(*flow.shape[:2]) + flow, nearest=nearest)


class Raft(nn.Module):
    """RAFT (Teed and Deng, ECCV 2020), torchvision's network, whose last output is the best."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    @torch.no_grad()
    def flow(self, now: U8, before: U8) -> F32:
        """(H, W, 2) in pixels of two RGB frames (H, W, 3), in the convention above."""
        return flow_at_reduced_size(now, before, self._search)

    def _search(self, now: U8, before: U8) -> F32:
        height, width = now.shape[:2]
        device = next((x.device for x in self.parameters()), torch.device("cpu"))
        images = [_image(frame).to(device) for frame in (now, before)]
        flow: Tensor = self.network(*images, num_flow_updates=RAFT_UPDATES)[-1]
        cropped: F32 = flow[0, :, :height, :width].permute(1, 2, 0).float().cpu().numpy()
        return cropped  # (H, W, 2)


def _image(frame: U8) -> Tensor:
    """(1, 3, h, w) in [-1, 1], padded below and to the right to a size that RAFT takes."""
    image = torch.tensor(frame).permute(2, 0, 1)[None] / 127.5 - 1
    sides = frame.shape[:2]
    down, right = (max(RAFT_MIN_SIDE, -(-s // RAFT_STRIDE) * RAFT_STRIDE) - s for s in sides)
    return pad(image, (0, right, 0, down), mode="replicate")


def load_raft(path: str | Path | None) -> Raft:
    """Build RAFT of torchvision's network and a state dict of `raft_small` or `raft_large`."""
    try:
        from torchvision.models import optical_flow
    except (ImportError, RuntimeError) as error:  # beside another build of torch it raises either
        raise MissingError(
            'flow="raft" needs torchvision: pip install -e ".[zoo]", or take flow="dis", '
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
        network.load_state_dict(weights, assign=True)  # `load` first builds without memory
    except RuntimeError as error:
        name = Path(path).name
        raise UsageError(f"{name} holds no weights of raft_small or raft_large.") from error
    return Raft(network.float())
