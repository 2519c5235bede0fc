"""Published weights from a file the user has: torchvision, PyTorchVideo, ViT, DeiT, DINO, SPAct."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from masquerade.models.recognizers.recognizer import Recognizer
from masquerade.models.weights_file import load_weights
from masquerade.models.weights_file import read_weights as read_weights


def load_published(recognizer: nn.Module, path: str | Path) -> tuple[str, ...]:
    """Load weights in the published naming; the head stays fresh where its classes differ.

    Everything else must fit, or nothing is loaded.

    Args:
        recognizer: a `Recognizer`, or the network of one.
        path: .safetensors, or a PyTorch file that holds nothing but tensors.

    Returns:
        The names that stayed as they were; empty if the head was loaded too.
    """
    return load_weights(recognizer.net if isinstance(recognizer, Recognizer) else recognizer, path)
