"""mimes, a synthetic benchmark: drawn clips of acting people with all labels and motion known."""

from masquerade.datasets.mimes.body_pieces import KEYPOINTS, PARTS
from masquerade.datasets.mimes.dataset import ACTION_SETS, ATTRIBUTE_SETS, Mime, Mimes
from masquerade.datasets.mimes.motion import ACTIONS
from masquerade.datasets.mimes.people import RATES
from masquerade.datasets.mimes.scenes import OBJECTS, SCENES
from masquerade.datasets.mimes.write import write_mimes

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
    "write_mimes",
]
