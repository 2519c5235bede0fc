"""Fits that the processes which torchrun started share: the first lists them, each takes the next.

Only the first process evaluates. The others do nothing but fits, each on its own GPU if there are
any, and find clips, weights and predictions in the same files.
"""

import os
import pickle
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch

from masquerade.errors import UsageError
from masquerade.training.distributed import (
    is_main_process,
    torchrun_store,
    training_alone,
    under_torchrun,
)

POLL = 0.1  # seconds between two looks at what the others have done
LISTS = "masquerade/fits"  # before the number of a list, in what the processes know of one another
NO_MORE = "none"
Run = Callable[..., None]
Tasks = Sequence[tuple[Any, ...]]
_numbers = count()


def helps_with_fits() -> bool:
    """Whether this process is one of those that only take fits.

    Raises:
        UsageError: the processes are on several machines, which share no files for sure.
    """
    if not under_torchrun():
        return False
    if os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        raise UsageError(
            "`masquerade evaluate` shares fits among the processes of one machine: start torchrun "
            "with --nnodes 1."
        )
    return not is_main_process()


def share_fits(run: Run, tasks: Tasks) -> Iterator[None]:
    """Run tasks, shared with the other processes; yields once for each task that is done."""
    store, key = torchrun_store(), f"{LISTS}/{next(_numbers)}"
    store.set(f"{key}/tasks", b64encode(pickle.dumps((run, tasks))).decode())
    taken, reported = _take(key, run, tasks), 0
    while reported < len(tasks):
        if next(taken, NO_MORE) == NO_MORE:  # the last ones are done by the others
            time.sleep(POLL)
        done = store.add(f"{key}/done", 0)
        yield from [None] * (done - reported)
        reported = done


def end_sharing() -> None:
    """Tell the processes that wait for fits that there are no more, so that they end."""
    torchrun_store().set(f"{LISTS}/{next(_numbers)}/tasks", NO_MORE)


def help_with_fits() -> None:
    """Take fits of all lists, until the first process has no more."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    store = torchrun_store()
    for number in count():
        key = f"{LISTS}/{number}"
        while not store.check([f"{key}/tasks"]):
            time.sleep(POLL)
        message = store.get(f"{key}/tasks")
        if message == NO_MORE.encode():
            return
        for _ in _take(key, *pickle.loads(b64decode(message))):
            pass


def _take(key: str, run: Run, tasks: Tasks) -> Iterator[None]:
    """Run the next task that nobody has taken, until there is none; yields after each."""
    store = torchrun_store()
    while (at := store.add(f"{key}/next", 1) - 1) < len(tasks):
        with training_alone():
            run(*tasks[at])
        store.add(f"{key}/done", 1)
        yield
