"""Ray, which runs work on many machines: the one place that joins a cluster, or starts one here."""

import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir, contextmanager, suppress
from typing import Any

from masquerade.core_dumps import forbid_core_dumps
from masquerade.errors import MissingError, UsageError
from masquerade.freed_memory import keep_freed_memory

RAY_INSTALL = 'pip install -e ".[ray]"'
TRIES = 3  # of one task whose worker process dies each time
ANSWERS_WITHIN = 10.0  # seconds; Ray itself would try for minutes
ENDS_WITHIN = 10.0  # seconds in which a call that is interrupted removes what it made
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def check_engine(engine: str, *, address: str | None, device: str) -> None:
    """Refuse the address of a cluster where none is used, and on one a GPU by its number.

    Raises:
        UsageError: there is one.
    """
    if engine != "ray":
        if address is not None:
            raise UsageError("--address is of a Ray cluster: give --engine ray, or leave it out.")
    elif device.startswith("cuda:"):  # a task sees none but its own, which is the first
        raise UsageError(f"Ray chooses the GPU of each task: say --device cuda, and not {device}.")


@contextmanager
def ray_cluster(address: str | None = None, *, workers: int | None = None) -> Iterator[Any]:
    """Join a cluster and leave it at the end, with whatever runs there for us; yields `ray`.

    Args:
        address: that of the cluster's head, as in 10.0.0.5:6379; None: $RAY_ADDRESS, or where that
            is not set, a cluster of this machine alone, which is ended with this process.
        workers: how many tasks such a cluster runs side by side; None: one for each core.

    Raises:
        MissingError: Ray is not installed, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray tells its makers of each run
    os.environ.setdefault("RAY_worker_niceness", "0")  # as our own processes, and not 15
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a change
    named = address or os.environ.get("RAY_ADDRESS") or "local"
    if named == "local" and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        # it listens on all networks of this machine, and whoever is let in runs code here
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ImportError as error:
        raise MissingError(f"--engine ray needs Ray: {RAY_INSTALL}") from error
    if ray.is_initialized():
        raise UsageError("this process uses a Ray cluster already; call ray.shutdown() first.")
    _check_answers(named)
    here: dict[str, Any] = {}
    if named == "local":  # by this address also where there is no network
        here = {"num_cpus": workers, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    quiet = logging.ERROR
    try:
        ray.init(address=named, logging_level=quiet, log_to_driver=False, **here)
    except Exception as error:  # of many kinds, as where versions differ or a start takes too long
        ray.shutdown()
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _no_cluster(named, lines[0][:200]) from error
    with _prints_nothing(ray):
        try:
            for number, handler in handlers.items():  # Ray's own would end us without a word
                signal.signal(number, handler)
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _prints_nothing(ray: Any) -> Iterator[None]:
    """Keep Ray from printing on the standard output, where results are, that a worker died.

    It has no setting for that: `log_to_driver` is of what workers print.
    """
    own, name = ray._private.worker, "print_to_stdstream"
    printed = getattr(own, name, None)  # which a later version may lack
    setattr(own, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(own, name, printed)


def wants_gpu(ray: Any, device: str) -> bool:
    """Whether each task is given a GPU; Ray hides all of them from a task that asks for none.

    Raises:
        MissingError: it wants one, for which it would wait without an end: no machine has any.
    """
    has_any = ray.cluster_resources().get("GPU", 0) >= 1
    if device == "cuda" and not has_any:
        raise MissingError("no machine of the Ray cluster has a GPU: leave --device cuda out.")
    return has_any and device in ("cuda", "auto")


class RayExecutor(Executor):
    """An executor whose calls run as tasks of a Ray cluster, again where a worker died.

    Args:
        ray: the module, joined to a cluster.
        gpus: that each task is given.
        tries: of a call whose worker dies each time.
        anywhere: whether calls are made in a worker's own folder, and not in this process's.
    """

    def __init__(self, ray: Any, gpus: int, *, tries: int = TRIES, anywhere: bool = False) -> None:
        self._ray, self._anywhere = ray, anywhere
        self._task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=tries - 1)(call_in)
        self._made: dict[Future[Any], Any] = {}  # those that have not ended

    def submit(self, call: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        """Make a call on some machine."""
        future: Future[Any] = Future()
        folder = None if self._anywhere else os.getcwd()
        self._made[future] = reference = self._task.remote(folder, call, arguments, named)
        reference.future().add_done_callback(lambda done: self._settle(future, done))
        return future

    def _settle(self, future: Future[Any], done: Future[Any]) -> None:
        """Give a future a task's outcome, which the cluster then need not keep any more.

        A task that Ray gave up raises BrokenProcessPool, and one that its worker cannot load, as
        where masquerade is not installed, MissingError.
        """
        self._made.pop(future, None)
        if (error := done.exception()) is not None:
            # not of the call itself, whose errors come back as its outcome
            unloaded = isinstance(error, self._ray.exceptions.RayTaskError)
            future.set_exception(not_loaded(error) if unloaded else BrokenProcessPool(str(error)))
            return
        value, raised = done.result()
        if raised is not None:
            future.set_exception(raised)
        else:
            future.set_result(value)

    def __exit__(self, kind: Any, *error: Any) -> None:
        """Leave what was not begun, and end what was: in time, so that it removes what it made.

        As the raw copy of a file of a store, which would stay on the worker's machine.
        """
        if kind is None:
            return
        running = list(self._made.values())
        try:
            self._cancel(running, force=False)
            if running:
                options = {"num_returns": len(running), "fetch_local": False}
                with suppress(self._ray.exceptions.RayError):  # it was interrupted, and says so
                    _, running = self._ray.wait(running, timeout=ENDS_WITHIN, **options)
        finally:  # also where somebody does not wait for that
            # not what has ended: Ray may end this process if a result arrives while it is cancelled
            self._cancel(running, force=True)

    def _cancel(self, references: Sequence[Any], *, force: bool) -> None:
        """Interrupt calls on the cluster, or with `force` end the processes that make them."""
        for reference in references:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=force)


def call_in(
    folder: str | None, call: Callable[..., Any], arguments: Sequence[Any], named: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """Make a call in a folder; returns its result and None, or None and the error that it raised.

    Without a folder it is made in that which this process is in.

    An error that leaves a task would come back with Ray's traceback as its text.
    """
    import cv2  # here: the help does not wait for it

    cv2.setNumThreads(1)
    forbid_core_dumps()
    keep_freed_memory()
    try:
        with chdir(folder or "."):
            return call(*arguments, **named), None
    except Exception as error:  # whatever it is, it is raised where the result is awaited
        return None, error


def not_loaded(error: BaseException) -> MissingError:
    """The error of a worker that cannot load what it is to run."""
    why = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return MissingError(
        f"a machine of the Ray cluster cannot run it ({why[:200]}); install masquerade in "
        "the same version on all of them."
    )


def _check_answers(address: str) -> None:
    """Refuse the address of a machine and port where nothing answers."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str, why: str) -> MissingError:
    if address == "local":
        return MissingError(f"Ray does not start on this machine ({why}); leave --engine out.")
    return MissingError(
        f"no Ray cluster can be joined at {address} ({why}); start its head with "
        "`ray start --head`, or leave --address out."
    )
