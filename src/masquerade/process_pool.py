"""A pool of worker processes that ends without tracebacks or orphans when it is interrupted.

On Linux workers are forked from a process that has imported what they need, which takes seconds,
and does nothing else: the program itself may have threads, and a fork of a process with threads may
hang. Elsewhere each worker imports all anew.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property, lru_cache, partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any, TypeVar

from masquerade.errors import MasqueradeError
from masquerade.freed_memory import keep_freed_memory
from masquerade.storage import TemporaryFolder

T = TypeVar("T")

OpenExecutor = Callable[[], AbstractContextManager[Executor]]
"""Opens an executor, perhaps of other machines, which see the same folders but no temporary files.
"""

TERMINAL = (signal.SIGINT, signal.SIGHUP)
"""What a terminal sends to all processes of a group."""
END_SIGNALS = (signal.SIGTERM, *TERMINAL)
"""What asks a process to end."""

IMPORTED = ("masquerade.pipeline.batch", "masquerade.extraction.extract_video")
"""Modules that are imported once, before workers are forked, since all of them need these."""
MOST_ADDRESS = 107  # bytes of the path of a socket on Linux

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
    """A pool of worker processes with some signals blocked and one thread of BLAS each.

    Each that heard what a terminal sends to all of a group would print a traceback of its own.
    """

    signals: Iterable[signal.Signals] = TERMINAL
    _files: ExitStack  # removes what its processes left behind

    @cached_property
    def scratch(self) -> Path:
        """A folder for files of its processes, which may be ended before they remove them."""
        return self._files.enter_context(TemporaryFolder())

    def submit(self, *task: Any, **more: Any) -> Future[Any]:
        """Submit a task, for which a process may be started."""
        with starting_worker(self, self.signals), environment_with(ONE_BLAS_THREAD):
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

    Blocking them is not enough, since another thread takes a signal and Python tells the main
    thread. Those that are ignored, as nohup sets it, stay so, which a child inherits.
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


def may_fork() -> bool:
    """Return whether workers are forked from a process that has imported what they need.

    Only on Linux, elsewhere that is not safe; and not where the temporary folder's path is too
    long for a socket in it.
    """
    socket = os.path.join(tempfile.gettempdir(), "pymp-12345678", "listener-12345678")
    return sys.platform == "linux" and len(os.fsencode(socket)) <= MOST_ADDRESS


def start_fork_server(imported: Iterable[str] = IMPORTED) -> None:
    """Start the process that workers are forked from, which imports these modules, unless it runs.

    This returns at once; the first worker waits until all is imported. Where workers are not forked
    nothing is started.
    """
    if may_fork():
        # with one thread of BLAS, so that it may be forked, and deaf to what ends its program
        with children_without(END_SIGNALS), environment_with(ONE_BLAS_THREAD):
            forkserver.set_forkserver_preload(list(imported))
            forkserver.ensure_running()


def worker_context() -> ForkServerContext | SpawnContext:
    """Return how worker processes are started here."""
    return ForkServerContext() if may_fork() else SpawnContext()


def compute_on_one_thread() -> None:
    """Set up a worker process: one thread for PyTorch and OpenCV, and it ends with its parent.

    Workers of `worker_pool` do this first, unless they are given another initializer.
    """
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    end_with_parent()


def worker_start(
    initializer: Callable[[], None], blocked: Collection[signal.Signals] = TERMINAL
) -> Callable[..., None]:
    """Return what a new worker process calls first: it sets it up, then calls the initializer.

    A forked worker has the settings of the process that it was forked from. It is given those of
    this process: the environment and the signals that are ignored. `blocked` signals wait in it.
    """
    with environment_with(ONE_BLAS_THREAD):
        environment = dict(os.environ)
    ignored = [number for number in END_SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    return partial(_start_worker, initializer, environment, ignored, blocked)


def _start_worker(
    initializer: Callable[[], None],
    environment: Mapping[str, str],
    ignored: Collection[signal.Signals],
    blocked: Collection[signal.Signals],
    *_: int,  # the number that PyTorch gives a worker of a DataLoader
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number in END_SIGNALS:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in ignored else default)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    initializer()


@contextmanager
def worker_pool(
    workers: int,
    *,
    initializer: Callable[[], None] = compute_on_one_thread,
    signals: Collection[signal.Signals] = TERMINAL,
) -> Iterator[LocalPool]:
    """Open a pool of fresh processes; an exception ends them at once, and no other children.

    Args:
        workers: how many.
        initializer: called in each before its first task; by default it leaves them one thread.
        signals: what they do not get until they ask for it.
    """
    start_fork_server()
    start = worker_start(initializer, signals)
    with children_without(signals):
        pool = LocalPool(workers, mp_context=worker_context(), initializer=start)
    pool.signals = signals
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


def loader_of(pool: Executor, value: T) -> Callable[[], T]:
    """Return a function to send to workers in place of a value: called there, it gives the value.

    A process of this machine unpickles plain bytes. Multiprocessing would move each weight into
    shared memory, which is small in a container, and keep a file open for each of each task.
    """
    if isinstance(pool, LocalPool):
        return partial(_unpickle, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    return partial(_itself, value)


@lru_cache(maxsize=1)  # tasks that follow one another have the same
def _unpickle(pickled: bytes) -> Any:
    return pickle.loads(pickled)


def _itself(value: T) -> T:
    return value


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
