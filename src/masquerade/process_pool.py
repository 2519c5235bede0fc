"""A pool of worker processes that ends without tracebacks or orphans when it is interrupted."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import cv2
import torch

from masquerade.errors import MasqueradeError
from masquerade.freed_memory import keep_freed_memory
from masquerade.storage import TemporaryFolder

OpenExecutor = Callable[[], AbstractContextManager[Executor]]
"""Opens an executor, perhaps of other machines, which see the same folders but no temporary files.
"""

TERMINAL = (signal.SIGINT, signal.SIGHUP)
"""What a terminal sends to all processes of a group."""


BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Environment variables that limit the threads of numpy's matrix products, read at its import.

Several would wait for each other in loops that take all cores, which the processes share.
"""

ONE_BLAS_THREAD = dict.fromkeys(BLAS_THREADS, "1")

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Environment in which new Python processes import no module from the current folder.

The folder may hold files of strangers, and multiprocessing starts its processes by `python -c`.
"""


class LocalPool(ProcessPoolExecutor):
    """A pool whose processes start without some signals and with some environment variables.

    Each that heard what a terminal sends to all of a group would print a traceback of its own.
    """

    signals: Iterable[signal.Signals] = TERMINAL
    environment: Mapping[str, str] = ONE_BLAS_THREAD
    _files: ExitStack  # removes what its processes left behind

    @cached_property
    def scratch(self) -> Path:
        """A folder for files of its processes, which may be ended before they remove them."""
        return self._files.enter_context(TemporaryFolder())

    def submit(self, *task: Any, **more: Any) -> Future[Any]:
        """Submit a task, for which a process may be started."""
        with starting_worker(self, self.signals), environment_with(self.environment):
            return super().submit(*task, **more)


@contextmanager
def starting_worker(pool: ProcessPoolExecutor, signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Within this context a task is submitted to a pool, whose new processes do not get `signals`.

    Raises BrokenProcessPool where another of its processes dies meanwhile: the pool then closes
    the pipes that the new process is to inherit, which gives errors of other kinds.
    """
    with children_without(signals):
        try:
            yield
        except (OSError, TypeError, ValueError) as error:
            if pool._broken:
                raise BrokenProcessPool("a worker process died while another started") from error
            raise


@contextmanager
def children_without(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Child processes that are started meanwhile do not get these signals, unless they ask for
    them. Multiprocessing's own process for clean-up never gets SIGHUP, over which it would stumble.
    Neither runs code of the current folder, see `SAFE_PATH`.
    """
    with _deferred(signals), environment_with(SAFE_PATH):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            resource_tracker.ensure_running()  # started later, it would unblock other signals
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


_ENVIRONMENT = threading.RLock()  # two threads that set and restore it at once would lose a value


@contextmanager
def environment_with(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the block, for processes that are started in it."""
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def _deferred(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Signals wait until this is over: a child that is half started would be forgotten and stay.

    Blocking them is not enough, since another thread takes one and Python tells the main one.
    Those that are ignored, as nohup sets it, stay so, which a child inherits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: heard.append(got))
        for number in signals
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


def _start_worker() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    end_with_parent()


@contextmanager
def processes(
    workers: int,
    *,
    initializer: Callable[[], None] = _start_worker,
    signals: Iterable[signal.Signals] = TERMINAL,
    environment: Mapping[str, str] = ONE_BLAS_THREAD,
) -> Iterator[LocalPool]:
    """Open a pool of fresh processes; an exception ends them at once, and no other children.

    Args:
        workers: how many.
        initializer: called in each before its first task; by default it leaves them one thread.
        signals: what they do not get until they ask for it.
        environment: variables that are set where they start.
    """
    fresh = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with children_without(signals):
        pool = LocalPool(workers, mp_context=fresh, initializer=initializer)
    pool.signals, pool.environment = signals, environment
    with ExitStack() as pool._files:
        try:
            yield pool
        except BaseException:
            # The pool's own thread may trip over tasks that were cancelled when its children die.
            hook, threading.excepthook = threading.excepthook, lambda _: None
            try:
                # The program may have children that are none of the pool's, and start some
                # meanwhile.
                for child in list((pool._processes or {}).values()):
                    child.terminate()
                pool.shutdown(cancel_futures=True)
            finally:
                threading.excepthook = hook
            raise
        pool.shutdown()


@contextmanager
def naming_dead_workers() -> Iterator[None]:
    """Raise a MasqueradeError, in place of BrokenProcessPool, where a worker process dies."""
    try:
        yield
    except BrokenProcessPool as error:
        raise MasqueradeError(
            "a worker process died, perhaps for want of memory: give fewer --workers and run the "
            "command again, which goes on from what is on the disk."
        ) from error


def end_with_parent() -> None:
    """Let SIGTERM end this process of a pool, which would wait for work forever, once its parent
    was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
