"""Processes that work for the page: each tells how far it is in lines of JSON."""

import atexit
import importlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection
from typing import Any

from masquerade.process_pool import (
    TERMINAL,
    children_without,
    environment_with,
    may_fork,
    start_fork_server,
    worker_context,
)

PATIENCE = 20.0  # seconds that a process has to end by itself
MOST_STDERR = 4000  # characters of its stderr that are kept
NICE = 19  # the lowest priority: the page must answer at once
IMPORTED = ["masquerade.studio.job_process", "masquerade.studio.scan_process"]
Pipes = tuple[Connection, ...]  # stdin, stdout and stderr of a child, and its exit code


def prepare_children() -> None:
    """Start the process that children are forked from, which imports what they need."""
    start_fork_server(IMPORTED)


class Child:
    """A Python module that runs in a process of its own and ends with this one.

    Args:
        module: its name; its `main` takes the arguments, calls `end_with_parent` first and
            returns the exit code.
        arguments: of its `main`.
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
        stdin, self._stdin = multiprocessing.Pipe(duplex=False)
        self._stdout, stdout = multiprocessing.Pipe(duplex=False)
        self._errors, stderr = multiprocessing.Pipe(duplex=False)
        self._exit_code, exit_code = multiprocessing.Pipe(duplex=False)
        pipes = stdin, stdout, stderr, exit_code
        with environment_with({}):  # no other thread changes it meanwhile
            environment = dict(os.environ)
        self._forked = may_fork()
        self._process = worker_context().Process(
            target=_run, args=(module, arguments, environment, pipes)
        )
        self._begun = threading.Event()  # or it could not be
        self._sending = threading.Lock()
        self._ended = False  # nothing more is sent to it
        self._stderr = ""
        atexit.register(self._stdin.close)  # multiprocessing waits for it at exit
        # in a thread: what it is forked from may still be importing
        self._thread = threading.Thread(target=self._work, args=(pipes, on_line, on_end))
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
        with self._sending, suppress(OSError):  # it just ended
            if not self._ended:  # else another file may have the pipe's number
                os.write(self._stdin.fileno(), b".")

    def _send(self, number: signal.Signals) -> None:
        self._begun.wait()
        with self._sending:
            if not self._ended and self._process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(self._process.pid, number)

    def _work(
        self,
        pipes: Pipes,
        on_line: Callable[[dict[str, Any]], None],
        on_end: Callable[[int, str], None],
    ) -> None:
        errors = threading.Thread(target=self._read_stderr, daemon=True)
        code = -1
        try:
            self._start(pipes)
            errors.start()
            with open(self._stdout.fileno(), encoding="utf-8", errors="backslashreplace",
                      closefd=False) as lines:  # fmt: skip
                for line in lines:
                    with suppress(ValueError):  # a line that a library printed
                        message = json.loads(line)
                        if isinstance(message, dict):
                            on_line(message)
            code = self._wait()
        except Exception as error:  # of this process, such as too many open files
            self._stderr += f"\n{error}"
            self._send(signal.SIGKILL)
            self._wait()
        finally:
            if errors.ident is not None:
                errors.join()
            atexit.unregister(self._stdin.close)
            for pipe in (self._stdin, self._stdout, self._errors, self._exit_code):
                pipe.close()
            on_end(code, self._stderr)

    def _start(self, pipes: Pipes) -> None:
        try:
            prepare_children()
            with nullcontext() if self._forked else children_without(TERMINAL):
                self._process.start()
        except OSError as error:
            raise OSError(f"it could not be started: {error.strerror or error}.") from error
        finally:
            self._begun.set()
            for pipe in pipes:
                pipe.close()

    def _wait(self) -> int:
        """Wait for its end, and return its exit code, below 0 if it was killed or never began."""
        with self._sending:
            self._ended = True
        if self._process.pid is None:
            return -1
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        code = self._process.exitcode or -1
        self._process.close()  # the pipes to what it was forked from
        with suppress(EOFError):  # it was killed
            # multiprocessing loses exit codes where two threads ask for them
            return int(self._exit_code.recv_bytes())
        return min(code, -1)

    def _read_stderr(self) -> None:
        with open(self._errors.fileno(), encoding="utf-8", errors="backslashreplace",
                  closefd=False) as lines:  # fmt: skip
            for line in lines:
                self._stderr = (self._stderr + line)[-MOST_STDERR:]


def _run(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], pipes: Pipes
) -> None:
    """Run a module's `main` as a program of its own does, in the environment of its parent."""
    code = 1
    *streams, exit_code = pipes
    try:
        os.setsid()  # Ctrl+C is for the process that started it, which then stops it
        for number, stream in enumerate(streams):
            os.dup2(stream.fileno(), number)
            stream.close()
        os.environ.clear()
        os.environ.update(environment)
        # it is ignored where a script started the studio by `&`
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        code = importlib.import_module(module).main(list(arguments))
    except KeyboardInterrupt:
        code = 130
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends without them
        exit_code.send_bytes(str(code).encode())


def end_with_parent(nudged: Callable[[], None] = lambda: None) -> None:
    """In a child: be interrupted when the process that started it is gone; hear its nudges."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 1):
                nudged()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def last_words(code: int, stderr: str) -> str:
    """Why a child failed: the last line of its stderr, or how it ended."""
    lines = stderr.strip().splitlines()
    if lines:
        return lines[-1]
    if code < 0:
        return "its process was killed, perhaps for want of memory"
    return f"it ended with exit code {code}"


def say(**what: object) -> None:
    """In a child: write one line for the page."""
    print(json.dumps(what), flush=True)
