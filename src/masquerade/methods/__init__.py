"""Anonymization methods: one file per published method, and `METHODS`, their table."""

from collections.abc import Callable
from functools import partial
from typing import Any

from masquerade.anonymizer import Anonymizer
from masquerade.errors import UsageError
from masquerade.methods.bdq import BDQ
from masquerade.methods.blacken import Blacken
from masquerade.methods.blur import Blur
from masquerade.methods.downsample import Downsample
from masquerade.methods.elr import ELR
from masquerade.methods.frame_difference import FrameDifference
from masquerade.methods.mannequin import Mannequin
from masquerade.methods.mask_mean import MaskMean
from masquerade.methods.noise_features import NoiseFeatures
from masquerade.methods.pixelate import Pixelate
from masquerade.methods.selective import Selective
from masquerade.methods.silhouette import Silhouette
from masquerade.methods.skeleton import Skeleton
from masquerade.methods.spact import SPAct
from masquerade.methods.stprivacy import STPrivacy
from masquerade.methods.vita import VITA

METHODS: dict[str, type[Anonymizer]] = {
    "selective": Selective,
    "blacken": Blacken,
    "mask-mean": MaskMean,
    "pixelate": Pixelate,
    "blur": Blur,
    "downsample": Downsample,
    "elr": ELR,
    "frame-difference": FrameDifference,
    "silhouette": Silhouette,
    "skeleton": Skeleton,
    "mannequin": Mannequin,
    "stprivacy": STPrivacy,
    "spact": SPAct,
    "vita": VITA,
    "bdq": BDQ,
    "noise-features": NoiseFeatures,
}

PRESETS: dict[str, dict[str, Callable[[], Anonymizer]]] = {
    name: {preset: partial(method, **arguments) for preset, arguments in method.presets.items()}
    for name, method in METHODS.items()
    if method.presets
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


def method_name(anonymizer: Anonymizer) -> str:
    """Return the name in `METHODS` of an anonymizer's class."""
    for name, method in METHODS.items():
        if type(anonymizer) is method:
            return name
    raise UsageError(f"{type(anonymizer).__name__} is not in METHODS; add it there first.")
