"""Skeleton: people as bones and joints.

Beyond the papers. Hides appearance and, unless it is kept, the scene. A person's proportions and
gait stay: Moon et al., "Anonymization for skeleton action recognition" (AAAI 2023), recognize
people from skeletons alone.
"""

from collections.abc import Sequence

from masquerade.anonymizer import Card, Person
from masquerade.arrays import U8
from masquerade.methods.drawn_people import DrawnPeople, Ground
from masquerade.methods.figure_drawing import draw_skeletons, drawn_landmarks
from masquerade.methods.pose_filter import Posed


class Skeleton(DrawnPeople):
    """Show people as bones and joints.

    Args:
        ground: `floor` (drawn), `black`, or `scene` (what was filmed, people painted out).
    """

    card = Card(
        hides="looks, clothes and, unless it is kept, the place: people are bones and joints; "
        "proportions and gait stay",
        undo="no pixel of a person is left, except of those who are not found, whom --ground scene "
        "shows; trained networks recognize people by how they move",
        needs="regions with poses (people); networks on the CPU",
        paper="beyond the papers",
    )
    regions_only = True

    def __init__(self, *, ground: Ground = "black") -> None:
        super().__init__(ground=ground)

    def _joints(self, posed: Posed) -> Person:
        return drawn_landmarks(posed.person)

    def _draw(self, canvas: U8, people: Sequence[Posed]) -> None:
        draw_skeletons(canvas, [posed.person for posed in people])
