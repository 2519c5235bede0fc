"""Weights files as the world writes them, to tensors by name."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from masquerade.errors import MissingError, UsageError

NESTS = ("model_state", "state_dict", "model", "teacher")
"""Where PyTorchVideo, many trainers, DeiT and DINO keep the weights inside their files."""
PREFIXES = ("module.", "backbone.")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, without wrappers and prefixes of trainers.

    Args:
        path: .safetensors, or a PyTorch file; the latter is read without running any of its code.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"There is no weights file {path.name}; give the path of one you have.")
    try:
        return _bare(_safetensors(path) if path.suffix == ".safetensors" else _pickled(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UsageError(
            f"{path.name} is no file of tensors alone; save its state dict by itself and load that."
        ) from error


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError  # here, so that training runs where only torch is
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _pickled(path: Path) -> Any:
    with warnings.catch_warnings():  # of a newer pickle; what it cannot read, it refuses
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _bare(loaded: Any) -> dict[str, Tensor]:
    for nest in NESTS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(nest), Mapping):
            loaded = loaded[nest]
    if not isinstance(loaded, Mapping):
        raise ValueError("no mapping of names to tensors")
    weights = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError("no tensors")
    for prefix in PREFIXES:
        inside = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
        weights = inside or weights  # DINO's projection lies beside its backbone and is left
    return weights
