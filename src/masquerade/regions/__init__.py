"""Region sources: each finds what to hide in the frames of a video. `REGIONS` is their table."""

from masquerade.regions.hands import Hands
from masquerade.regions.parts import Parts
from masquerade.regions.people import People
from masquerade.regions.region import Frame, Region
from masquerade.regions.region_sources import Boxes, Faces, RegionSource, WholeFrame
from masquerade.regions.template_regions import Templates
from masquerade.regions.text import Text
from masquerade.regions.union import Union

__all__ = [
    "REGIONS",
    "Boxes",
    "Faces",
    "Frame",
    "Hands",
    "Parts",
    "People",
    "Region",
    "RegionSource",
    "Templates",
    "Text",
    "Union",
    "WholeFrame",
]

REGIONS: dict[str, type] = {
    "frame": WholeFrame,
    "faces": Faces,
    "people": People,
    "parts": Parts,
    "hands": Hands,
    "text": Text,
    "boxes": Boxes,
    "templates": Templates,
}
