"""Keys: what each place of a picture looks like, as vectors that a template is compared with.

Ilic et al., CVPR 2024, 3.2: the last layer's keys of a DINO ViT on a dense grid. Beside the
networks stands `colour-hog`, which needs no weights and is weaker; nothing switches by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.errors import MissingError, UsageError
from masquerade.models.key_vit import KeyViT
from masquerade.models.published_weights import read_weights
from masquerade.regions import key_weights as fetching
from masquerade.regions.hog_keys import ColourHog, KeyGrid

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
SHORT = 224  # pixels of a picture's short side (FACTS 3.2)


class Extractor(Protocol):
    """Turns a picture into keys."""

    @property
    def name(self) -> str:
        """Its name in `EXTRACTORS`."""
        ...

    @property
    def identity(self) -> str:
        """What a template must match: name, stride, short side, digest of the weights."""
        ...

    @property
    def model_sha256(self) -> str | None:
        """Of the file of weights; None where there is none."""
        ...

    def __call__(self, pixels: U8) -> KeyGrid:
        """The keys of a picture, (H, W, 3) RGB."""
        ...


@dataclass(frozen=True, kw_only=True)
class Network:
    """The shape of a published ViT-S.

    Args:
        patch: side of a patch in pixels.
        stride: pixels from patch to patch unless told otherwise.
        size: side of the frames that its positions were learned for.
        scaled: DINOv2's layers.
        width: of a token.
        depth: layers.
        heads: of each layer.
    """

    patch: int
    stride: int
    size: int = 224
    scaled: bool = False
    width: int = 384
    depth: int = 12
    heads: int = 6

    def build(self, stride: int) -> KeyViT:
        """The network, without any weights yet."""
        with torch.device("meta"):  # drawing 22 million numbers to forget them takes seconds
            return KeyViT(**{**asdict(self), "stride": stride})


NETWORKS = {
    "dino-s8": Network(patch=8, stride=4),  # the paper's
    "dino-s16": Network(patch=16, stride=8),
    "dinov2-s14": Network(patch=14, stride=7, size=518, scaled=True),
}


class ViTKeys:
    """Keys of the last layer of a DINO ViT.

    Args:
        name: of `NETWORKS`.
        weights: a file in the published naming, .pth or .safetensors; None: the fetched one.
        stride: pixels from patch to patch at the size looked at; None: the network's own.
        short: pixels of the short side that a picture is looked at in.
        device: where the network runs, as torch spells it.

    Raises:
        MissingError: there are no weights.
        UsageError: the file is for another network, or the stride does not divide the patch.
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
        kind = NETWORKS[name]
        if short < kind.patch:
            raise UsageError(f"{name} needs a short side of {kind.patch} pixels or more.")
        self.name, self.short, self.device = name, short, device
        self.net = kind.build(stride or kind.stride)
        path = weights or fetched_or_missing(name)
        state = fitting(read_weights(path), self.net, name, Path(path).name)
        self.net.load_state_dict(state, assign=True)
        self.net.eval().to(device)
        self.model_sha256: str | None = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        self.identity = identity(name, self.net.stride, short, digest(state))

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


EXTRACTORS: dict[str, Callable[..., Extractor]] = {
    **{name: partial(ViTKeys, name) for name in NETWORKS},
    "colour-hog": ColourHog,
}


def extractor(
    name: str,
    *,
    weights: Path | None = None,
    stride: int | None = None,
    short: int = SHORT,
    device: str = "cpu",
) -> Extractor:
    """Make an extractor of keys.

    Args:
        name: of `EXTRACTORS`.
        weights: a file of the network's weights; None: the one that `fetch` brought.
        stride: pixels from key to key at the size looked at; None: the extractor's own.
        short: pixels of the short side that a picture is looked at in.
        device: where a network runs, as torch spells it.

    Raises:
        UsageError: no such extractor, or arguments that it does not take.
        MissingError: its weights are not here.
    """
    if name not in EXTRACTORS:
        raise UsageError(f"there are no keys {name!r}; choose of {', '.join(EXTRACTORS)}.")
    if name not in NETWORKS:
        if weights is not None:
            raise UsageError(f"{name} takes no weights; leave them out or name a network.")
        return EXTRACTORS[name](stride=stride, short=short)
    return EXTRACTORS[name](weights=weights, stride=stride, short=short, device=device)


def fetched_or_missing(name: str) -> Path:
    """The fetched file of a network's weights.

    Raises:
        MissingError: there is none.
    """
    path = fetching.fetched(name)
    if path is None:
        raise MissingError(
            f"the weights of {name} are not here: give --key-weights FILE, or run `masquerade "
            f"templates fetch {name}` once; --keys colour-hog and --regions boxes:FILE need none."
        )
    return path


def identity(name: str, stride: int, short: int, weights: str) -> str:
    """What two extractors share whose keys may be compared."""
    return f"{name} stride {stride} short {short} weights {weights}"


def digest(weights: dict[str, Tensor]) -> str:
    """16 hex digits that tell weights apart, whatever the format of their file."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode())
        found.update(weights[name].detach().float().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def fitting(weights: dict[str, Tensor], net: KeyViT, name: str, file: str) -> dict[str, Tensor]:
    """The weights that a network has; heads of other trainings are left out.

    Raises:
        UsageError: they are another network's.
    """
    own = net.state_dict()
    given = {k: v.float() for k, v in weights.items() if not k.startswith(("head.", "fc."))}
    if "mask_token" in own:  # only training reads it
        given["mask_token"] = torch.zeros(own["mask_token"].shape)
    wrong = [k for k in own if k not in given]
    wrong += [k for k, v in given.items() if k not in own or own[k].shape != v.shape]
    if wrong:
        raise UsageError(f"{file} does not hold the weights of {name} ({wrong[0]}): give its own.")
    return given


def short_size(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) of a picture whose short side is made `short` pixels, its aspect kept."""
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def lanczos(pixels: U8, height: int, width: int) -> F32:
    """Resize (H, W, 3) by a Lanczos kernel of 3 lobes, widened when shrinking; whole 0 to 255.

    Rounded and cut after each of its two passes, as imaging libraries do with 8 bits.
    """
    across = _weights(pixels.shape[1], width)  # (w, W)
    down = _weights(pixels.shape[0], height)  # (h, H)
    rows: Any = np.tensordot(across, pixels.astype(np.float32), (1, 1))  # (w, H, 3)
    out: Any = np.tensordot(down, np.rint(rows).clip(0, 255), (1, 1))  # (h, w, 3)
    return np.ascontiguousarray(np.rint(out).clip(0, 255), np.float32)


def _weights(before: int, after: int) -> F32:
    """(after, before), each row summing to 1."""
    scale = before / after
    reach = 3 * max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    away = (np.arange(before)[None] + 0.5 - centres[:, None]) / max(scale, 1.0)
    kernel = np.where(np.abs(away) * max(scale, 1.0) < reach, np.sinc(away) * np.sinc(away / 3), 0)
    return (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
