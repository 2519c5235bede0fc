"""The package's errors. Each message is one sentence that says what to do next.

MasqueradeError            exit 1 unless a child says otherwise
├── VideoError             an input cannot be read, or read only in part
├── UsageError             the request makes no sense as it stands (exit 2)
├── MissingError           a model, device or package that is needed is not here (exit 3)
└── OutputError            a run hid too little, or its output failed its check (exit 4)
"""

import traceback
from collections.abc import Sequence
from typing import ClassVar, Literal


def escape(text: object) -> str:
    """Text as a terminal may show it: characters that do not print, such as \\x1b, are escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )


def readable(text: str) -> str:
    """Text of which all can be written as UTF-8; bytes of names that are not UTF-8 are escaped.

    So the name n\\xe9.mp4 in Latin-1 becomes `n\\udce9.mp4`.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def traceback_of(error: BaseException) -> str:
    """An error's traceback as a terminal may show it: text, which keeps nothing of the run."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(map(escape, lines))


def name_some(names: Sequence[str], most: int, *, separator: Literal[", ", "; "] = ", ") -> str:
    """Join names, `most` of them at most, and say how many more: `a, b and 3 more`.

    With semicolons, for names that hold commas: `a; b; and 3 more`.
    """
    more = len(names) - most
    last = " " if separator == ", " else separator
    return separator.join(names[:most]) + (f"{last}and {more} more" if more > 0 else "")


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
