"""The torch device a name such as `auto` or `cuda:1` stands for on this machine."""

import torch

from masquerade.errors import MissingError, UsageError


def choose_device(name: str) -> torch.device:
    """The device that is asked for; `auto` takes a GPU where there is one.

    Raises:
        MissingError: it is not on this machine.
        UsageError: there is no such kind of device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"there is no device {name!r}; say auto, cpu, cuda:0 or mps.") from error
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in here:
        raise UsageError(f"there is no device {name!r}; say auto, cpu, cuda:0 or mps.")
    if not here[device.type]:
        raise MissingError(f"device {name} is not on this machine; say --device cpu, or auto.")
    return device
