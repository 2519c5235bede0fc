"""What was decided about one video: saved at every step, and taken back step by step."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from masquerade.errors import MasqueradeError, UsageError
from masquerade.file_locks import lock_folder
from masquerade.pipeline.edits import Edits, with_decision
from masquerade.regions.drawn import DRAWN_TRACKS
from masquerade.storage import file_digest, file_signature

MOST_STEPS = 200  # that can be taken back


class ChangedError(MasqueradeError):
    """Something was decided since the page was drawn, or by another process."""


ELSEWHERE = (
    "another studio, or somebody by hand, has changed what was decided about this video: take over "
    "what the file says, then go on."
)


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
        self.last_drawn = DRAWN_TRACKS - 1  # the highest number that a drawn region ever had here
        self._hold(start)
        self._undo: list[Step] = []
        self._redo: list[Step] = []
        self._lock = threading.RLock()
        self.revision = 0
        self._digest: str | None = None  # of the file as it was read or written last
        self._seen: tuple[int, ...] = ()  # what the system says of the file of that digest
        if file.exists():
            self._hold(self._read())

    @property
    def undo_name(self) -> str | None:
        """What `undo` would take back, in words."""
        return self._undo[-1].what if self._undo else None

    @property
    def redo_name(self) -> str | None:
        """What `redo` would do again, in words."""
        return self._redo[-1].what if self._redo else None

    def now(self, seen: int | None = None) -> tuple[Edits, int]:
        """The edits and their revision, of one moment; read one by one they may not fit together.

        `seen` is the revision for which they are wanted.

        Raises:
            ChangedError: it is not the present one.
        """
        with self._lock:
            self.check_seen(seen)
            return self.edits, self.revision

    def decide(self, what: str, change: Callable[[Edits], Edits], seen: int | None = None) -> None:
        """Apply a change to the edits and save them; nothing happens where it raises.

        `seen` is the revision for which it is meant.
        """
        with self._lock:
            self.check_seen(seen)
            before = self.edits
            after = change(before)
            if replace(after, log=()) == replace(before, log=()):
                return
            self._save(with_decision(after, what, at=_now(), by=self._by))
            self._undo = [*self._undo, Step(what, before)][-MOST_STEPS:]
            self._redo.clear()

    def amend(self, what: str, change: Callable[[Edits], Edits]) -> None:
        """Apply and log a change to the edits that `undo` does not take back, and save them."""
        with self._lock:
            after = change(self.edits)
            if after != self.edits:
                self._save(with_decision(after, what, at=_now(), by=self._by))

    def undo(self, seen: int | None = None) -> None:
        """Take the last decision back; `seen` is the revision that it was the last in.

        Raises:
            UsageError: there is none.
        """
        with self._lock:
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
        with self._lock:
            self.check_seen(seen)
            if not self._redo:
                raise UsageError("there is nothing to do again.")
            what, after = self._redo[-1]
            before = self.edits
            self._save(_with_log(after, before, what, self._by))
            self._redo.pop()
            self._undo.append(Step(what, before))

    @property
    def changed_elsewhere(self) -> bool:
        """Whether the file is not the one that this process read or wrote last.

        One that is gone is not: nothing in it would be lost.
        """
        with self._lock:
            try:
                seen = file_signature(self._file)
                if seen == self._seen:
                    return False
                same = file_digest(self._file) == self._digest
            except FileNotFoundError:
                return False
            if same:
                self._seen = seen
            return not same

    def check_file(self) -> None:
        """Refuse to go on from older decisions than those in the file.

        Raises:
            ChangedError: another process wrote it.
        """
        if self.changed_elsewhere:
            raise ChangedError(ELSEWHERE)

    def reload(self, check: Callable[[Edits], None]) -> None:
        """Take over what another process decided; `undo` brings this process's decisions back.

        Raises:
            UsageError: the file cannot be read, or `check` refuses it.
        """
        with self._lock, lock_folder(self._file.parent):
            if not self.changed_elsewhere:
                return
            before, digest, seen = self.edits, self._digest, self._seen
            try:
                after = self._read()
                check(after)
            except BaseException:
                self._digest, self._seen = digest, seen
                raise
            self._hold(after)
            self._undo = [*self._undo, Step("take over what was decided elsewhere", before)]
            self._undo = self._undo[-MOST_STEPS:]
            self._redo.clear()
            self.revision += 1

    def touch(self) -> None:
        """Count something that changes pictures and is no decision, as another template."""
        with self._lock:
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

    def _read(self) -> Edits:
        # The digest first: what is written between the two is then taken for another's.
        self._seen, self._digest = file_signature(self._file), file_digest(self._file)
        return Edits.read(self._file)

    def _save(self, edits: Edits) -> None:
        with lock_folder(self._file.parent):
            self.check_file()
            edits.write(self._file)
            self._seen, self._digest = file_signature(self._file), file_digest(self._file)
        self._hold(edits)
        self.revision += 1

    def _hold(self, edits: Edits) -> None:
        self.edits = edits
        self.last_drawn = max([self.last_drawn, *(region.track for region in edits.drawn)])


def _with_log(edits: Edits, logged: Edits, what: str, by: str) -> Edits:
    """Return the edits with the log of `logged` and one more line, as undo removes none."""
    return with_decision(replace(edits, log=logged.log), what, at=_now(), by=by)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
