"""mimes: procedural clips of acting people, with every label, mask, joint and motion known."""

from masquerade.data.mimes.analytic import Expected
from masquerade.data.mimes.dataset import ACTION_SETS, ATTRIBUTE_SETS, Mime, Mimes, mime
from masquerade.data.mimes.figure import KEYPOINTS, PARTS
from masquerade.data.mimes.files import write_mimes
from masquerade.data.mimes.motion import ACTIONS
from masquerade.data.mimes.people import RATES
from masquerade.data.mimes.scenes import OBJECTS, SCENES

__all__ = [
    "ACTIONS",
    "ACTION_SETS",
    "ATTRIBUTE_SETS",
    "KEYPOINTS",
    "OBJECTS",
    "PARTS",
    "RATES",
    "SCENES",
    "Expected",
    "Mime",
    "Mimes",
    "mime",
    "write_mimes",
]
