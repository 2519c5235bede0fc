"""Where an output may be written: what is refused, and which paths name one file."""

import os
import stat
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from masquerade.errors import UsageError


def refuse_existing(
    destination: Path, *, overwrite: bool, flag: str = "-o", folders: bool = False
) -> None:
    """Refuse to put an output where a folder is, a link to nothing, or without `overwrite` a file.

    And where a device or a pipe is, under "-", and under a name that the file system does not take.
    `flag` is where another can be chosen, and `folders` whether it takes a folder, too.
    """
    refuse_standard_output(str(destination), flag)
    try:
        link = stat.S_ISLNK(destination.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        raise UsageError(
            f"{destination} cannot be reached: {error.strerror}; choose another {flag}."
        ) from error
    except (OSError, ValueError) as error:  # such as a name of 300 characters
        reason = getattr(error, "strerror", error)
        raise UsageError(
            f"{destination} cannot be a file's name: {reason}; choose a shorter {flag}."
        ) from error
    if link and not destination.exists():
        raise UsageError(
            f"{destination} is a link to nothing; remove it, or choose another {flag}."
        )
    if destination.is_dir():
        slash = ", or end the name with a slash" if folders else ""
        raise UsageError(f"{destination} is a folder; name a file{slash}.")
    # a rename would put an ordinary file in its place, for root also in that of /dev/null
    opened = link and os.readlink(destination).startswith("/proc/")  # such as /dev/stdout
    if opened or (destination.exists() and not destination.is_file()):
        raise UsageError(
            f"{destination} is a device, a pipe or the like, which no file may replace; choose "
            f"another {flag}."
        )
    if destination.exists() and not overwrite:
        raise UsageError(
            f"{destination} exists already; choose another {flag}, or give --overwrite."
        )


def refuse_standard_output(text: str, flag: str = "-o") -> None:
    """Refuse "-", by which other programs mean standard output."""
    if text == "-":
        raise UsageError(
            f"{flag} - would be standard output, and what is written is a file, which appears "
            "complete or not at all: name one; `masquerade live` alone writes to a pipe."
        )


def refuse_replacing(destination: Path, *read: Path | None, flag: str = "-o") -> None:
    """Refuse an output that is one of the files that are read, whatever names these have."""
    for source in filter(None, read):
        with suppress(OSError, ValueError):  # one of them is not there
            if os.path.samefile(destination, source):
                raise UsageError(
                    f"{destination} would replace {source}, which is read; choose another {flag}."
                )


def place_keys(paths: Iterable[Path]) -> list[str]:
    """Return a string for each path; two are equal if they name one file, there or to be made.

    Names that differ in case or in their composition of accents only are one where the file
    system says so.
    """
    exact = [os.path.join(os.path.realpath(path.parent), path.name) for path in paths]
    folded = [unicodedata.normalize("NFC", key.casefold()) for key in exact]
    alike = Counter(dict(zip(exact, folded, strict=True)).values())
    return [
        fold if alike[fold] > 1 and folds_case(Path(key).parent) else key
        for key, fold in zip(exact, folded, strict=True)
    ]


@cache
def folds_case(folder: Path) -> bool:
    """Whether a folder's file system ignores case; the folder need not exist yet.

    It is tried with an empty file. Where nothing can be written the answer is yes.
    """
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.NamedTemporaryFile(prefix=".masquerade-case-", dir=folder) as file:
            return os.path.exists(folder / os.path.basename(file.name).upper())
    except OSError:
        return True
