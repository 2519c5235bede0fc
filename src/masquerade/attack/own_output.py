"""The quick part of the attacks on an output of our own, before it gets its name."""

from pathlib import Path

from masquerade.attack.config import AttackConfig
from masquerade.attack.finders import Finders
from masquerade.attack.finding import VideoAttack
from masquerade.attack.run import attack_file
from masquerade.errors import OutputError

CHECKED = ("faces", "raw", "raw people", "raw text")
"""What must be hidden in an output; tags and sound are kept where a user asks for them."""


def check_own_output(
    part: Path,
    source: Path | None,
    name: str,
    *,
    people: bool = False,
    text: bool = False,
    salvage: bool = False,
    drawn: bool = False,
) -> None:
    """Refuse an output in which faces are seen, or in which faces of its source are unchanged.

    Of a video as many frames are looked at as an attack takes by default: the first, the last, and
    those that are spread evenly between.

    Args:
        part: the finished output.
        source: the raw video; None: it is a folder of images.
        name: what the output will be called.
        salvage: the source is damaged, and the output was made of what is left of it.
        people: whole people are to be hidden: refuse it too where one of the source is unchanged.
        drawn: the method shows no pixel of the source, so that what looks like a face is none.
        text: text is to be hidden: refuse it too where a line of the source is still there.

    Raises:
        OutputError: something was recovered.
        MissingError: a network is not installed.
    """
    hidden = [name for name, wanted in (("people", people), ("text", text)) if wanted]
    config = AttackConfig(quick=True, hidden="+".join(hidden) or "faces")
    finders = Finders(kinds=("face", "text") if text else ("face",))
    attacked = attack_file(
        part, config, source, finders=finders, own_output=True, salvage=salvage, drawn=drawn
    )
    if attacked.error is not None:
        raise _not_attacked(name, attacked)  # a variable for it would keep the run
    for finding in attacked.findings:
        if finding.attack in CHECKED and finding.level == "recovered":
            raise OutputError(
                f"{name} did not pass --verify, and was deleted: {finding.says} Hide more, as with "
                f"{'' if people else '--regions people or '}a lower --threshold."
            )


def _not_attacked(name: str, attacked: VideoAttack) -> OutputError:
    """The error of an output that could not be attacked, with the traceback of its reason."""
    error = OutputError(f"{name} could not be attacked: {attacked.error}")
    if attacked.traceback:
        error.add_note(attacked.traceback)
    return error
