"""Prepare text for messages and files: escape characters, and shorten lists of names."""

from collections.abc import Sequence
from typing import Literal


def escape(text: object) -> str:
    """Escape characters that do not print, such as \\x1b, so that a terminal may show the text."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )


def readable(text: str) -> str:
    """Escape what UTF-8 cannot encode, such as the bytes of a file name in another encoding.

    So the name n\\xe9.mp4 in Latin-1 becomes `n\\udce9.mp4`.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def name_some(names: Sequence[str], most: int, *, separator: Literal[", ", "; "] = ", ") -> str:
    """Join the first `most` names with commas, and say how many more there are: `a, b and 3 more`.

    With semicolons, for names that hold commas: `a; b; and 3 more`.
    """
    more = len(names) - most
    last = " " if separator == ", " else separator
    return separator.join(names[:most]) + (f"{last}and {more} more" if more > 0 else "")
