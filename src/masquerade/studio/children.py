"""Processes that work for the page: each tells how far it is in lines of JSON."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PATIENCE = 20.0  # seconds that a process has to end by itself
MOST_STDERR = 4000  # characters of its stderr that are kept
NICE = 19  # the lowest priority: the page must answer at once


class Child:
    """A Python module that runs in a process of its own and ends with this one.

    Args:
        module: its name; its `main` calls `end_with_parent` first.
        arguments: of its command line.
        on_line: called with each line that it says, in another thread.
        on_end: called with its exit code and the end of its stderr once it has ended.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        on_line: Callable[[dict[str, Any]], None],
        on_end: Callable[[int, str], None],
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,  # which it reads: `nudge`, and its end when this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,  # Ctrl+C is for this process, which then stops it
        )
        self._stderr = ""
        errors = threading.Thread(target=self._read_stderr, daemon=True)
        errors.start()
        self._thread = threading.Thread(target=self._read_stdout, args=(on_line, on_end, errors))
        self._thread.daemon = True
        self._thread.start()

    def stop(self) -> None:
        """Interrupt it, as Ctrl+C does, and wait until it has cleaned up."""
        self._send(signal.SIGINT)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._send(signal.SIGKILL)
            self._thread.join()

    def nudge(self) -> None:
        """Let the child's `nudged` be called."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it has ended
            os.write(self._process.stdin.fileno(), b".")

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _read_stdout(
        self,
        on_line: Callable[[dict[str, Any]], None],
        on_end: Callable[[int, str], None],
        errors: threading.Thread,
    ) -> None:
        assert self._process.stdout is not None and self._process.stdin is not None
        code = -1
        try:
            for line in self._process.stdout:
                with suppress(ValueError):  # a line that a library printed
                    found = json.loads(line)
                    if isinstance(found, dict):
                        on_line(found)
            code = self._process.wait()
        except Exception as error:  # of this process, such as too many open files
            self._stderr += f"\n{error}"
            self._process.kill()
            self._process.wait()
        finally:
            errors.join()
            with suppress(OSError):
                self._process.stdin.close()
            self._process.stdout.close()
            on_end(code, self._stderr)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._stderr = (self._stderr + line)[-MOST_STDERR:]
        self._process.stderr.close()


def end_with_parent(nudged: Callable[[], None] = lambda: None) -> None:
    """In a child: be interrupted when the process that started it is gone; hear its nudges."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 1):
                nudged()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def say(**what: object) -> None:
    """In a child: write one line for the page."""
    print(json.dumps(what), flush=True)
