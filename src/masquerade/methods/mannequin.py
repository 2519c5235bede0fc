"""Mannequin: everybody becomes the same figure, which moves as they do.

Beyond the papers. Hides appearance, proportions, outline and, unless it is kept, the scene; place,
size in the frame, posture and movement stay, and `gait_jitter` blurs their timing.
"""

from collections.abc import Sequence
from typing import Annotated

from masquerade.anonymizer import Card, Person
from masquerade.arrays import U8
from masquerade.methods.body import figure_landmarks, pose_figure
from masquerade.methods.drawn_people import DrawnPeople, Ground
from masquerade.methods.figure_drawing import draw_mannequins
from masquerade.methods.pose_filter import Posed
from masquerade.ranges import at_least


class Mannequin(DrawnPeople):
    """Show everybody as the same shaded figure of standard proportions.

    Args:
        ground: `floor` (drawn), `black`, or `scene` (what was filmed, people painted out).
        gait_jitter: frames by which a figure is late at most; how late changes at random, so that
            the rhythm of a gait is not kept.
    """

    card = Card(
        hides="looks, clothes, lengths of limbs and, unless it is kept, the place: everybody is "
        "the same figure; height in the picture, posture and movement stay, by which clothes and "
        "place are still guessed in part",
        undo="no pixel of a person is left, except of those who are not found, whom --ground scene "
        "shows; how somebody moves may still tell who it is",
        needs="regions with poses (people); networks on the CPU",
        paper="beyond the papers",
    )
    regions_only = True

    def __init__(
        self, *, ground: Ground = "floor", gait_jitter: Annotated[int, at_least(0, 100)] = 0
    ) -> None:
        super().__init__(ground=ground, jitter=gait_jitter)
        self.gait_jitter = gait_jitter

    def _joints(self, posed: Posed) -> Person:
        figure = pose_figure(posed.person, scale=posed.scale)
        return figure_landmarks(figure, posed.person)

    def _draw(self, canvas: U8, people: Sequence[Posed]) -> None:
        figures = [pose_figure(posed.person, scale=posed.scale) for posed in people]
        draw_mannequins(canvas, figures, shadows=self.ground == "floor")
