"""What was decided about one video: saved at every step, and taken back step by step."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from masquerade.errors import MasqueradeError, UsageError
from masquerade.pipeline.edits import Edits, with_decision

MOST_STEPS = 200  # that can be taken back


class ChangedError(MasqueradeError):
    """Something was decided since the page was drawn."""


class Step(NamedTuple):
    """A decision in words, and the edits before it (to undo) or after it (to do it again)."""

    what: str
    edits: Edits


class History:
    """The edits of one video, in a file that is whole after every decision.

    Args:
        start: the edits where there is no file.
        file: where they are kept; what is there is taken up again.
        by: who decides, for the log; empty: it is not said.
    """

    def __init__(self, start: Edits, file: Path, *, by: str = "") -> None:
        self._file, self._by = file, by
        self.edits = start
        self._undo: list[Step] = []
        self._redo: list[Step] = []
        self._turn = threading.RLock()
        self.revision = 0
        if file.exists():
            self.edits = Edits.read(file)

    @property
    def undo_name(self) -> str | None:
        """What `undo` would take back, in words."""
        return self._undo[-1].what if self._undo else None

    @property
    def redo_name(self) -> str | None:
        """What `redo` would do again, in words."""
        return self._redo[-1].what if self._redo else None

    def decide(self, what: str, change: Callable[[Edits], Edits]) -> None:
        """Apply a change to the edits and save them; nothing happens where it raises."""
        with self._turn:
            before = self.edits
            after = change(before)
            if replace(after, log=()) == replace(before, log=()):
                return
            self._save(with_decision(after, what, at=_now(), by=self._by))
            self._undo = [*self._undo, Step(what, before)][-MOST_STEPS:]
            self._redo.clear()

    def undo(self, seen: int | None = None) -> None:
        """Take the last decision back; `seen` is the revision that it was the last in.

        Raises:
            UsageError: there is none.
        """
        with self._turn:
            self.check_seen(seen)
            if not self._undo:
                raise UsageError("there is nothing to take back.")
            what, before = self._undo[-1]
            after = self.edits
            self._save(_with_log(before, after, f"took back: {what}", self._by))
            self._undo.pop()
            self._redo.append(Step(what, after))

    def redo(self, seen: int | None = None) -> None:
        """Do again what was taken back last; `seen` as in `undo`.

        Raises:
            UsageError: there is nothing.
        """
        with self._turn:
            self.check_seen(seen)
            if not self._redo:
                raise UsageError("there is nothing to do again.")
            what, after = self._redo[-1]
            before = self.edits
            self._save(_with_log(after, before, what, self._by))
            self._redo.pop()
            self._undo.append(Step(what, before))

    def touch(self) -> None:
        """Count something that changes pictures and is no decision, as another template."""
        with self._turn:
            self.revision += 1

    def check_seen(self, seen: int | None) -> None:
        """Refuse to go on from what somebody saw, where something was decided since.

        Raises:
            ChangedError: it was.
        """
        if seen is not None and seen != self.revision:
            raise ChangedError(
                "this was changed in another tab meanwhile; look at it, and try again."
            )

    def _save(self, edits: Edits) -> None:
        edits.write(self._file)
        self.edits = edits
        self.revision += 1


def _with_log(edits: Edits, other: Edits, what: str, by: str) -> Edits:
    """Edits with the log of others, and a line more: the log is never taken back."""
    return with_decision(replace(edits, log=other.log), what, at=_now(), by=by)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
