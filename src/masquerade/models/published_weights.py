"""Published weights from a file: torchvision's, PyTorchVideo's, timm's, DeiT's, DINO's, SPAct's.

And those that this project's own recognizers save.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from masquerade.errors import MasqueradeError, MissingError, UsageError

NESTS = ("model_state", "state_dict", "model", "teacher")
"""Keys under which PyTorchVideo, many trainers, DeiT and DINO nest the state dict."""
PREFIXES = ("module.", "backbone.")
OWN = "net."  # under which a Recognizer saves its network, and one of a modality once more


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without the nesting and prefixes of trainers.

    The file is .safetensors, or PyTorch's, which is read without running any of its code.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file of weights, such as one in it.")
    if not path.is_file():
        raise MissingError(f"There is no weights file {path.name}; give the path of one you have.")
    try:
        return _unwrap(_load(path))
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", None) or str(error) or "memory is too short"
        raise MasqueradeError(f"{path.name} cannot be read: {why}.") from error
    except ValueError as error:
        raise UsageError(
            f"{path.name} is no file of tensors alone; save its state dict by itself and load that."
        ) from error


def _load(path: Path) -> Any:
    if path.suffix != ".safetensors":
        with warnings.catch_warnings():  # of newer pickles, refused by torch if it cannot read them
            warnings.simplefilter("ignore", UserWarning)
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except (OSError, MemoryError):  # which say nothing of the content
                raise
            except Exception as error:  # of half a dozen kinds, by what stands in the file
                raise ValueError(str(error)) from error
    from safetensors import SafetensorError  # here, so that training needs torch alone
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _unwrap(loaded: Any) -> dict[str, Tensor]:
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
        weights = inside or weights  # drops DINO's projection head beside its backbone
    while all(name.startswith(OWN) for name in weights):
        weights = {name.removeprefix(OWN): value for name, value in weights.items()}
    return weights


def load_weights(net: nn.Module, path: str | Path) -> tuple[str, ...]:
    """Load published weights; the head stays fresh where its classes differ.

    A network names its head in `head_names`; its `adapt`, if it has one, converts weights of
    another kind. Everything else must fit, or nothing is loaded. Returns the names that kept their
    values; none if the head was loaded too.
    """
    weights = read_weights(path)
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = getattr(net, "adapt", None)
    weights = adapt(weights) if adapt else weights
    own = net.state_dict()
    heads = tuple(f"{name}." for name in getattr(net, "head_names", ()))
    shapes = {n: v.shape for n, v in weights.items()}
    fresh = {n for n in own if n.startswith(heads) and shapes.get(n) != own[n].shape}
    loaded = {n: _for_channels(v, own.get(n)) for n, v in weights.items() if n not in fresh}
    counters = "num_batches_tracked"  # absent from files of before 2018, and unused
    extra = [n for n in loaded if n not in own and not (heads and n.startswith(heads))]
    kinds = {
        "lacks": [n for n in own if n not in {*loaded, *fresh} and not n.endswith(counters)],
        "has in excess": extra,
        "has in another shape": [n for n in loaded if n in own and loaded[n].shape != own[n].shape],
    }
    faults = [
        f"{kind} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for kind, names in kinds.items()
        if names
    ]
    if faults:
        raise UsageError(
            f"{Path(path).name} is not for this network, for it {', '.join(faults)}; load another."
        )
    net.load_state_dict(loaded, strict=False)
    return tuple(sorted(fresh))


def _for_channels(value: Tensor, own: Tensor | None) -> Tensor:
    """RGB's first layer for another number of channels: its mean over RGB in each of them."""
    if own is None or value.ndim < 4 or value.shape == own.shape or value.shape[1] != 3:
        return value
    alike = value.shape[:1] + value.shape[2:] == own.shape[:1] + own.shape[2:]
    return value.mean(dim=1, keepdim=True).expand_as(own) if alike else value
