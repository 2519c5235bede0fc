"""Networks of timm and torchvision as recognizers, where those import (the `zoo` extra)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from masquerade.errors import MissingError, UsageError
from masquerade.models.recognizers.recognizer import IMAGENET, KINETICS, Recognizer, outputs


def from_zoo(
    name: str,
    *,
    classes: int | None = None,
    heads: Mapping[str, int] | None = None,
    video: bool = False,
) -> Recognizer:
    """A network that another package builds, under the contract of this one; weights are random.

    Args:
        name: `timm:NAME` or `torchvision:NAME`.
        classes: outputs of the one label.
        heads: outputs by label, instead of `classes`.
        video: whether it reads clips; else it reads frames and their logits are averaged.
    """
    package, _, model = name.partition(":")
    count = outputs(classes, heads)
    if package == "timm":
        net = _imported("timm").create_model(model, num_classes=count)
    elif package == "torchvision":
        net = _imported("torchvision").models.get_model(model, weights=None, num_classes=count)
    else:
        raise UsageError(f"{name} names no zoo; write timm:NAME or torchvision:NAME.")
    scale = KINETICS if video else IMAGENET
    return Recognizer(net, heads=heads, scale=scale, by_frame=not video)


def _imported(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except (
        ImportError,
        RuntimeError,
    ) as error:  # torchvision beside a CPU torch: no torchvision::nms
        raise MissingError(
            f"{package} does not import here; install masquerade[zoo] in an environment of its own."
        ) from error
