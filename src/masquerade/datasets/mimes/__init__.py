"""mimes: procedural clips of acting people, with every label, mask, joint and motion known."""

from masquerade.datasets.mimes.dataset import ACTION_SETS, ATTRIBUTE_SETS, Mime, Mimes, mime
from masquerade.datasets.mimes.figure import KEYPOINTS, PARTS
from masquerade.datasets.mimes.files import write_mimes
from masquerade.datasets.mimes.motion import ACTIONS
from masquerade.datasets.mimes.people import RATES
from masquerade.datasets.mimes.scenes import OBJECTS, SCENES

__all__ = [
    "ACTIONS",
    "ACTION_SETS",
    "ATTRIBUTE_SETS",
    "KEYPOINTS",
    "OBJECTS",
    "PARTS",
    "RATES",
    "SCENES",
    "Mime",
    "Mimes",
    "mime",
    "write_mimes",
]
