"""The files of decisions, one for each video; one that cannot be used is kept aside.

Whoever was left visible or hidden by it is not any more, so runs of its video are held back until
somebody has said that they know. What was acknowledged is told by the name of the file alone, and
so it is still known after a restart, and to other studios.
"""

import re
from pathlib import Path
from typing import NamedTuple

from masquerade.errors import UsageError
from masquerade.pipeline.edits import Edits
from masquerade.studio import decisions
from masquerade.studio.history import History

HELD_BACK = (
    "earlier decisions about this video cannot be used: their file is damaged, or of another "
    "version. It is kept, and everything begins anew. Look at who is hidden, then let runs begin."
)
UNREADABLE, ACKNOWLEDGED = "unreadable", "acknowledged"


class HeldBack(NamedTuple):
    """A file of decisions that nobody has said yet they know to be of no use."""

    file: str  # its name
    reason: str  # why it cannot be used


class KeptEdits:
    """The decisions about all videos.

    Args:
        folder: where their files lie, private to the user.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reasons: dict[Path, str] = {}
        folder.mkdir(mode=0o700, exist_ok=True)

    def history(self, start: Edits) -> History:
        """What was decided about a video; `start` where nothing was, or nothing that can be used.

        Raises:
            OSError: the file cannot be read now, which is not the file's fault.
        """
        sha256 = start.source.sha256
        file = self._folder / f"{sha256}.json"
        if file.exists():
            file.read_bytes()  # one that cannot be read now is no damaged one
        try:
            history = History(start, file)
            decisions.check(history.edits)
        except UsageError:  # of another version, or damaged
            file.replace(self._free(sha256, UNREADABLE))
            history = History(start, file)
        return history

    def held_back(self, sha256: str) -> HeldBack | None:
        """Why no run of a video may begin; None: one may."""
        aside = self._aside(sha256)
        return HeldBack(aside[0].name, self._reason(aside[0])) if aside else None

    def acknowledge(self, sha256: str) -> None:
        """Remember that somebody knows what cannot be used; the files stay, under another name."""
        for path in self._aside(sha256):
            path.replace(self._free(sha256, ACKNOWLEDGED))

    def _aside(self, sha256: str) -> list[Path]:
        return sorted(self._folder.glob(f"{sha256}.{UNREADABLE}*.json"))

    def _free(self, sha256: str, kind: str) -> Path:
        """A name that no file has."""
        number = 1
        while True:
            last = f"_{number}" if number > 1 else ""
            path = self._folder / f"{sha256}.{kind}{last}.json"
            if not path.exists():
                return path
            number += 1

    def _reason(self, path: Path) -> str:
        if path not in self._reasons:
            try:
                decisions.check(Edits.read(path))
                self._reasons[path] = "it was damaged, or of another version"
            except UsageError as error:
                reason = re.sub(r"^\S+ is not a file of edits: ", "", str(error))
                self._reasons[path] = reason.rstrip(".")
        return self._reasons[path]
