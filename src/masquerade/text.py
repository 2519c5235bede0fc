"""Text for people: what a terminal may show, what UTF-8 can say, and lists of names."""

from collections.abc import Sequence
from typing import Literal


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


def name_some(names: Sequence[str], most: int, *, separator: Literal[", ", "; "] = ", ") -> str:
    """Join names, `most` of them at most, and say how many more: `a, b and 3 more`.

    With semicolons, for names that hold commas: `a; b; and 3 more`.
    """
    more = len(names) - most
    last = " " if separator == ", " else separator
    return separator.join(names[:most]) + (f"{last}and {more} more" if more > 0 else "")
