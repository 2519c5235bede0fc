"""Boxes of the help that several verbs share: what finds people, what masks them, what encodes."""

from dataclasses import fields

from masquerade.pipeline.config import FileConfig

DETECTION = (
    "detector detector_weights models scale min_size max_size every track gap carry lookback"
)
TEMPLATE = "keys key_weights combine gamma floor grow calibrated"
MASK = "shape mask_scale feather"
FILE = " ".join(field.name for field in fields(FileConfig))
"""Names of options by what they are about, for `boxes_of` of `masquerade.cli.readable_help`."""


def flag(name: str) -> str:
    """The flag of an option."""
    return "--" + name.replace("_", "-")
