"""Feature keys on a dense grid, which templates are compared with: networks and `colour-hog`.

Ilic et al., CVPR 2024, section 3.2: the keys of the last attention layer of a DINO ViT.
`colour-hog` needs no weights and is weaker; one is never substituted for the other.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from masquerade.arrays import F32, U8
from masquerade.errors import MasqueradeError, MissingError, UsageError
from masquerade.models.key_vit import KeyViT
from masquerade.models.published_weights import read_weights
from masquerade.regions import key_weights
from masquerade.regions.boxes import CHOOSE_OTHER_REGIONS, check_array
from masquerade.regions.hog_keys import ColourHog, KeyGrid
from masquerade.storage import file_digest, file_signature, weights_digest

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
MOST_ASPECT = 16  # times the short side; panoramas have 8, and keys grow by it, attention squared
SHORT = 224  # short side of the input in pixels (docs/papers.md 3.2)


@dataclass(frozen=True, kw_only=True)
class ViTShape:
    """The architecture of a published ViT-S."""

    patch: int  # side in pixels
    stride: int  # pixels from patch to patch by default
    size: int = 224  # side of the pictures that its position embedding was trained for
    scaled: bool = False  # DINOv2's layer scale
    width: int = 384  # of a token
    depth: int = 12
    heads: int = 6

    def build(self, stride: int) -> KeyViT:
        """The network, without weights."""
        with torch.device("meta"):  # initialising 22 million weights to discard them takes seconds
            return KeyViT(**{**asdict(self), "stride": stride})


NETWORKS = {
    "dino-s8": ViTShape(patch=8, stride=4),  # the paper's
    "dino-s16": ViTShape(patch=16, stride=8),
    "dinov2-s14": ViTShape(patch=14, stride=7, size=518, scaled=True),
}


@lru_cache(maxsize=2)
def _load_network(
    name: str, shape: ViTShape, stride: int, path: Path, device: str, signature: tuple[int, ...]
) -> tuple[KeyViT, str | None, str]:
    """A network with its weights, and the SHA-256 of the file and of the weights in it.

    Kept for the next source of regions, of which each video of an evaluation has its own: reading
    and hashing 85 MB takes longer than a short clip. A file that changed has another `signature`.
    """
    net = shape.build(stride)
    state = select_weights(read_weights(path), net, name, path.name)
    net.load_state_dict(state, assign=True)
    return net.eval().to(device), file_digest(path), weights_digest(state)


class ViTKeys:
    """Keys of the last layer of a DINO ViT; see `build_key_extractor` for the arguments.

    A template must match its `fingerprint`: name, stride, short side and digest of the weights.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: Path | None = None,
        stride: int | None = None,
        short: int = SHORT,
        device: str = "cpu",
    ) -> None:
        shape = NETWORKS[name]
        if short < shape.patch:
            raise UsageError(f"{name} needs a short side of {shape.patch} pixels or more.")
        self.name, self.short, self.device = name, short, device
        path = weights or key_weights.downloaded_file(name)
        if path is None:
            raise MissingError(
                f"the weights of {name} are not here: {key_weights.advice(name)}; --keys "
                "colour-hog and --regions boxes:FILE need none."
            )
        path = Path(path)
        signature = file_signature(path) if path.is_file() else ()  # reading it refuses it
        self.net, self.model_sha256, digest = _load_network(
            name, shape, stride or shape.stride, path, device, signature
        )
        self.fingerprint = f"{name} stride {self.net.stride} short {short} weights {digest[:16]}"

    def __call__(self, pixels: U8) -> KeyGrid:
        """The keys of a picture, (H, W, 3) RGB."""
        height, width = pixels.shape[:2]
        small = lanczos(pixels, *short_size(height, width, self.short))
        frame = torch.from_numpy(small).permute(2, 0, 1)[None].to(self.device) / 255
        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (MEAN, STD))
        with torch.inference_mode():
            keys = self.net.keys((frame - mean) / std)[0].float().cpu().numpy()
        rows, columns = keys.shape[:2]
        step, half = self.net.stride, self.net.patch / 2
        y = (np.arange(rows, dtype=np.float32) * step + half) * height / small.shape[0]
        x = (np.arange(columns, dtype=np.float32) * step + half) * width / small.shape[1]
        return KeyGrid(keys, y, x, height, width)


KeyExtractor = ViTKeys | ColourHog
EXTRACTORS = (*NETWORKS, "colour-hog")


def key_width(fingerprint: str) -> int | None:
    """The length of a key vector, by its extractor's fingerprint; None: an unknown extractor."""
    name = fingerprint.partition(" ")[0]
    if name == ColourHog.name:
        return ColourHog.key_width
    return NETWORKS[name].width if name in NETWORKS else None


def build_key_extractor(
    name: str,
    *,
    weights: Path | None = None,
    stride: int | None = None,
    short: int = SHORT,
    device: str = "cpu",
) -> KeyExtractor:
    """Build an extractor of `EXTRACTORS`.

    A network's weights are a file in the published naming, .pth or .safetensors; None: the one that
    `fetch` downloaded. `stride`, in pixels from key to key at the input size, is None for the
    extractor's own, and `short` the input's short side.

    Raises:
        UsageError: no such extractor, arguments that it does not take, or another network's file.
        MissingError: its weights are missing.
    """
    if name not in EXTRACTORS:
        raise UsageError(f"there are no keys {name!r}; choose of {', '.join(EXTRACTORS)}.")
    if name not in NETWORKS:
        if weights is not None:
            raise UsageError(f"{name} takes no weights; leave them out or name a network.")
        return ColourHog(stride=stride, short=short)
    return ViTKeys(name, weights=weights, stride=stride, short=short, device=device)


def extract_keys(extractor: KeyExtractor, pixels: U8) -> KeyGrid:
    """Return the keys of a picture, (H, W, 3) RGB.

    Raises:
        UsageError: the picture is so thin that it would become huge, its short side being scaled.
        MasqueradeError: what comes is no keys of it.
    """
    height, width = pixels.shape[:2]
    if max(height, width) > MOST_ASPECT * min(height, width):
        raise UsageError(
            f"a picture of {width}x{height} pixels is too thin for templates and points, which "
            f"take one side up to {MOST_ASPECT} times the other; crop it, or give --regions "
            "boxes:FILE."
        )
    grid: Any = extractor(pixels)
    what = f"the keys {extractor.name}"
    if not isinstance(grid, KeyGrid) or (grid.height, grid.width) != pixels.shape[:2]:
        raise MasqueradeError(f"{what} are not of the picture; {CHOOSE_OTHER_REGIONS}")
    check_array(what, grid.y, (None,))
    check_array(what, grid.x, (None,))
    check_array(what, grid.keys, (len(grid.y), len(grid.x), None))
    return grid


def select_weights(
    weights: dict[str, Tensor], net: KeyViT, name: str, file: str
) -> dict[str, Tensor]:
    """The weights that the network has, without training heads; UsageError if they do not fit."""
    own = net.state_dict()
    loaded = {k: v.float() for k, v in weights.items() if not k.startswith(("head.", "fc."))}
    if "mask_token" in own:  # only training reads it
        loaded["mask_token"] = torch.zeros(own["mask_token"].shape)
    wrong = [k for k in own if k not in loaded]
    wrong += [k for k, v in loaded.items() if k not in own or own[k].shape != v.shape]
    if wrong:
        raise UsageError(f"{file} does not hold the weights of {name} ({wrong[0]}): give its own.")
    return loaded


def short_size(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) of a picture whose short side is made `short` pixels, its aspect kept."""
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def lanczos(pixels: U8, height: int, width: int) -> F32:
    """Resize (H, W, 3) by a Lanczos kernel of 3 lobes, antialiased; whole numbers 0 to 255."""
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.array(small, np.float32)
