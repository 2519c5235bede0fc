"""The package's errors. Each message is one sentence that says what to do next.

MasqueradeError            exit 1 unless a child says otherwise
├── VideoError             an input cannot be read, or read only in part
├── UsageError             the request makes no sense as it stands (exit 2)
├── MissingError           a model, device or package that is needed is not here (exit 3)
└── OutputError            a run hid too little, or its output failed its check (exit 4)
"""

import traceback
from typing import ClassVar

from masquerade.text import escape


def traceback_of(error: BaseException) -> str:
    """An error's traceback as a terminal may show it: text, which keeps nothing of the run."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(map(escape, lines))


class MasqueradeError(Exception):
    """Anything that masquerade itself refuses or cannot do."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return escape(super().__str__())


class VideoError(MasqueradeError):
    """An input cannot be read as a video."""


class UsageError(MasqueradeError):
    """The arguments contradict each other or name something that does not exist."""

    exit_code = 2


class MissingError(MasqueradeError):
    """A model, a device or an optional package that is needed is not on this machine."""

    exit_code = 3


class OutputError(MasqueradeError):
    """Too little was found or hidden, or the output failed its own check; it was deleted."""

    exit_code = 4


def as_masquerade_error(error: Exception) -> Exception:
    """Turn an error of the system, as of memory, into a MasqueradeError; others stay as is."""
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return MasqueradeError(f"{place}{error.strerror or error}.")
    # torch says so in words, and on a GPU by a class of its own
    no_memory = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    if no_memory or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MasqueradeError(
            "there was not enough memory; close other programs, or ask for less at once."
        )
    return error
