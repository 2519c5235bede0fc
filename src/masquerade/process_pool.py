"""A pool of worker processes that ends without tracebacks or orphans when it is interrupted."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import cv2
import torch


class _Pool(ProcessPoolExecutor):
    """Its children never hear Ctrl-C, which a terminal sends to all of a group: each would print a
    traceback of its own. Their parent hears it and ends them."""

    def submit(self, *task: Any, **more: Any) -> Future[Any]:
        """The same; a child that it starts inherits what is blocked meanwhile."""
        with children_without_interrupts():
            return super().submit(*task, **more)


@contextmanager
def children_without_interrupts() -> Iterator[None]:
    """Child processes that are started meanwhile never get Ctrl-C; their parent ends them."""
    resource_tracker.ensure_running()  # started later, it would unblock the signal
    with _deferred_interrupts():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _deferred_interrupts() -> Iterator[None]:
    """Ctrl-C waits until this is over: a child that is half started would be forgotten and stay.

    Blocking the signal is not enough, since another thread takes it and Python tells the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *given: heard.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of fresh processes of one thread each; an exception ends them at once."""
    fresh = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    others = set(multiprocessing.active_children())
    pool = _Pool(workers, mp_context=fresh, initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        # The pool's own thread may trip over tasks that were cancelled when its children die.
        hook, threading.excepthook = threading.excepthook, lambda _: None
        try:
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            pool.shutdown(cancel_futures=True)
        finally:
            threading.excepthook = hook
        raise
    pool.shutdown()


def _start_worker() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End a pool's process, which would wait for work forever, once its parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
