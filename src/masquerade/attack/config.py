"""How videos are attacked; it imports nothing that the command's help would wait for."""

from dataclasses import dataclass

from masquerade.errors import UsageError
from masquerade.ranges import Checked, PositiveInt

HIDDEN = ("faces", "people", "text", "frame")


@dataclass(frozen=True, kw_only=True)
class AttackConfig(Checked):
    """How videos are attacked.

    Args:
        frames: of a video that are looked at at most, spread evenly from the first to the last.
        quick: do not try to undo the anonymization, nor train a network to restore the raw
            picture, which take most of the time.
        hidden: what the publisher means to hide, beside faces: people, text or frame, or several,
            as in people+text; auto: what the receipt beside each file says, without one faces.
            People of the raw video who are unchanged, and people and poses that restored frames
            show, count as recovered where it is people or the frame, and else as left; text of the
            raw video that is still there, and text that restored frames show, where it is text or
            the frame.
    """

    frames: PositiveInt = 60
    quick: bool = False
    hidden: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden != "auto" and not {*self.hidden.split("+")} <= {*HIDDEN}:
            known = ", ".join(HIDDEN)
            raise UsageError(
                f"--hidden takes auto, or of {known} one or several joined by +, not "
                f"{self.hidden!r}."
            )
