"""Anonymization methods: one file per published method, and `METHODS`, their table."""

from collections.abc import Callable
from typing import Any

from masquerade.anonymizer import Anonymizer
from masquerade.errors import UsageError
from masquerade.methods import (
    bdq,
    blur,
    elr,
    noise_features,
    pixelate,
    selective,
    spact,
    stprivacy,
    vita,
)
from masquerade.methods.blacken import Blacken
from masquerade.methods.downsample import Downsample
from masquerade.methods.frame_difference import FrameDifference
from masquerade.methods.mask_mean import MaskMean
from masquerade.methods.silhouette import Silhouette

METHODS: dict[str, type[Anonymizer]] = {
    "selective": selective.Selective,
    "blacken": Blacken,
    "mask-mean": MaskMean,
    "pixelate": pixelate.Pixelate,
    "blur": blur.Blur,
    "downsample": Downsample,
    "elr": elr.ELR,
    "frame-difference": FrameDifference,
    "silhouette": Silhouette,
    "stprivacy": stprivacy.STPrivacy,
    "spact": spact.SPAct,
    "vita": vita.VITA,
    "bdq": bdq.BDQ,
    "noise-features": noise_features.NoiseFeatures,
}

PRESETS: dict[str, dict[str, Callable[[], Anonymizer]]] = {
    "selective": {"paper": selective.paper, "code": selective.code},
    "pixelate": {"fine": pixelate.fine, "coarse": pixelate.coarse},
    "spact": {"paper": spact.paper, "tiny": spact.tiny},
    "vita": {"paper": vita.paper, "tiny": vita.tiny},
    "bdq": {"paper": bdq.paper, "code": bdq.code, "tiny": bdq.tiny},
    "noise-features": {"paper": noise_features.paper, "tiny": noise_features.tiny},
    "elr": {"paper": elr.paper, "s16": elr.s16, "s32": elr.s32, "s64": elr.s64},
    "blur": {"weak": blur.weak, "strong": blur.strong},
    "stprivacy": {
        "paper": stprivacy.paper,
        "code": stprivacy.code,
        "vit-ti": stprivacy.vit_ti,
        "tiny": stprivacy.tiny,
    },
}


def build(name: str, **arguments: Any) -> Anonymizer:
    """Build an anonymizer from its name in `METHODS` and its constructor's arguments.

    Raises:
        UsageError: no such method, or an argument that it does not know.
    """
    if name not in METHODS:
        raise UsageError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}.")
    try:
        return METHODS[name](**arguments).eval()
    except TypeError as error:
        raise UsageError(f"{name}: {error}.") from error


def name_of(anonymizer: Anonymizer) -> str:
    """The name in `METHODS` of an anonymizer's class."""
    for name, method in METHODS.items():
        if type(anonymizer) is method:
            return name
    raise UsageError(f"{type(anonymizer).__name__} is not in METHODS; add it there first.")
