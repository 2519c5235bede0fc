"""masquerade: anonymize any video, and measure how far that holds.

import masquerade

method = masquerade.build("selective")
masquerade.anonymize_file("in.mp4", "out.mp4", method, regions="faces")
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from masquerade.errors import MasqueradeError

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymized, Anonymizer
    from masquerade.checkpoint import load, save
    from masquerade.methods import METHODS, build
    from masquerade.pipeline.receipt import Receipt
    from masquerade.pipeline.single_file import anonymize_file
    from masquerade.pipeline.stream import anonymize
    from masquerade.video.read import Video, read_video
    from masquerade.video.write import write_video

# ONNX Runtime, from 1.29 on, tells its makers of each network that it loads, unless this is set
# before it is imported (its Privacy.md).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "Anonymized",
    "Anonymizer",
    "MasqueradeError",
    "Receipt",
    "Video",
    "anonymize",
    "anonymize_file",
    "build",
    "load",
    "read_video",
    "save",
    "write_video",
]

_HOMES = {
    "Anonymized": "anonymizer",
    "Anonymizer": "anonymizer",
    "METHODS": "methods",
    "build": "methods",
    "load": "checkpoint",
    "save": "checkpoint",
    "anonymize": "pipeline.stream",
    "anonymize_file": "pipeline.single_file",
    "Receipt": "pipeline.receipt",
    "Video": "video.read",
    "read_video": "video.read",
    "write_video": "video.write",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch alone takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'masquerade' has no attribute {name!r}")
    return getattr(import_module(f"masquerade.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The names that editors complete, including those that are imported on first use."""
    return sorted({*globals(), *__all__})
