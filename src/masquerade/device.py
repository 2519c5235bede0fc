"""Choose the torch device that a name such as `auto` or `cuda:1` stands for, and its precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from masquerade.errors import MissingError, UsageError

DEVICES = "auto, cpu, cuda (an NVIDIA GPU), cuda:1 (the second one) or mps (Apple's)"


def choose_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is a CUDA GPU where there is one, else the CPU.

    Raises:
        MissingError: this machine has no such device.
        UsageError: the name is not that of a device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"there is no device {name!r}; say {DEVICES}.") from error
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in here:
        raise UsageError(f"there is no device {name!r}; say {DEVICES}.")
    if not here[device.type]:
        raise MissingError(f"device {name} is not on this machine; say --device cpu, or auto.")
    return device


HALF = {"cuda": torch.float16, "cpu": torch.bfloat16}  # the half-precision type of each device


def check_half(device: torch.device) -> None:
    """Refuse a device on which networks cannot be run in half precision.

    Raises:
        UsageError: the device is another than a CUDA GPU or the CPU.
    """
    if device.type not in HALF:
        raise UsageError(f"--amp needs a CUDA device or the CPU, not {device.type}: leave it out.")


def half_precision(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which networks run in half precision: float16 on CUDA, bfloat16 on the CPU.

    On a CPU it is faster where the processor computes in bfloat16 (AVX-512 BF16 or AMX), else not.
    """
    half = HALF.get(device.type)
    return nullcontext() if half is None else torch.autocast(device.type, half)
