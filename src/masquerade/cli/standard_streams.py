"""Standard streams that are closed, or whose reader has left, do not end the command."""

import io
import os
import sys

from masquerade.errors import UsageError


class _OutputText(io.TextIOWrapper):
    """A text stream whose reader may leave: what is written afterwards is dropped.

    So `masquerade attack ... | head -1` has the exit code of the whole attack.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Redirect all further output to the null device; raise errors but a broken pipe."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):  # such as a full disk
            raise error


def keep_standard_streams() -> None:
    """Make the standard streams usable, also closed ones and those whose reader leaves.

    A closed stream is opened on nothing, so that no file gets its number, into which a library
    would print; `refuse_closed` still knows.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest number that is free is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    for number, name in ((1, "stdout"), (2, "stderr")):
        original = getattr(sys, name)
        if original is None:
            nothing = io.BufferedWriter(io.FileIO(number, "wb", closefd=False))
            setattr(sys, name, _OutputText(nothing, "utf-8"))
        elif type(original) is io.TextIOWrapper:  # none of another kind, put in its place
            stream = _OutputText(
                original.buffer,
                original.encoding,
                errors="backslashreplace",
                line_buffering=original.line_buffering,
                write_through=original.write_through,
            )
            setattr(sys, name, stream)


def refuse_closed(name: str) -> None:
    """Refuse to read from or write to a standard stream, `stdin` or `stdout`, that is closed.

    Raises:
        UsageError: it was when the command began.
    """
    if getattr(sys, f"__{name}__") is None:
        word, do = ("input", "read from") if name == "stdin" else ("output", "written to")
        raise UsageError(f"- is standard {word}, which is closed: name what is to be {do} instead.")
