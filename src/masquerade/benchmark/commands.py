"""Where a benchmark's commands run: processes of this machine, or tasks on a Ray cluster."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import dropwhile, islice, takewhile
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from masquerade.errors import MissingError
from masquerade.ray_cluster import RayExecutor

ENDED_AFTER = 20.0  # seconds that a command gets to end by itself when the benchmark is stopped
RETRIES = 2  # of a command whose worker on a cluster died
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Commands(Protocol):
    """What runs commands side by side."""

    def run(self, words: Sequence[str], log: Path, *, side_by_side: int) -> int | None:
        """Run `masquerade` with these words; returns its exit code, None where it was stopped."""
        ...

    def stop(self) -> None:
        """Ask the commands that run to end, and kill those that do not within seconds."""
        ...


@dataclass(kw_only=True)
class LocalCommands:
    """Each command is a process of this machine.

    Args:
        gpus: as CUDA_VISIBLE_DEVICES names them; each command sees the one that fewest others use.
            Without any, each sees what this process does.
    """

    gpus: Sequence[str] = ()
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _stopped: bool = False
    _used: Counter[str] = field(default_factory=Counter)

    def run(self, words: Sequence[str], log: Path, *, side_by_side: int) -> int | None:
        """Run `masquerade` in a process of this machine; see `Commands.run`."""
        threads = max(1, (os.cpu_count() or 1) // side_by_side)
        with self._lock:
            if self._stopped:
                return None
            gpu = min(self.gpus, key=lambda name: self._used[name], default=None)
            process = _start(words, log, threads, os.getcwd(), gpu)
            self._running.append(process)
            self._used[gpu or ""] += 1
        code = process.wait()
        with self._lock:
            self._running.remove(process)
            self._used[gpu or ""] -= 1
        return code

    def stop(self) -> None:
        """End the processes that run; see `Commands.stop`."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        _end(running)


@dataclass(kw_only=True)
class RayCommands:
    """Each command is a task on a Ray cluster, whose machines see the same folders."""

    ray: Any  # the module, connected
    gpu: bool  # whether each command is given a GPU
    _running: list[Any] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _stopped: bool = False

    def open_executor(self) -> RayExecutor:
        """Open an executor whose calls run as tasks on the cluster.

        Attackers run on the kind of device that this machine chose: without a GPU here they would
        keep those of the cluster from others, and not use them.
        """
        import torch

        return RayExecutor(self.ray, int(self.gpu and torch.cuda.is_available()))

    @property
    def cores(self) -> int:
        """How many cores the cluster has."""
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    @property
    def at_once(self) -> int:
        """How many commands run at a time: one for each core, or for each GPU if they use one."""
        return max(1, int(self.ray.cluster_resources().get("GPU", 1))) if self.gpu else self.cores

    def check_machines(self) -> None:
        """Refuse a cluster on which no task could ever run.

        Raises:
            MissingError: no machine has a core for tasks.
        """
        if not self._most_cores():
            raise MissingError(
                "no machine of the Ray cluster has a core for tasks; join one with `ray start "
                "--address=...`."
            )

    def _most_cores(self) -> int:
        """The cores of the machine that has most of them: a task that asks for more never runs."""
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return max((int(resources.get("CPU", 0)) for resources in alive), default=0)

    def run(self, words: Sequence[str], log: Path, *, side_by_side: int) -> int | None:
        """Run `masquerade` as a task on the cluster; see `Commands.run`."""
        threads = max(1, min(self.cores // side_by_side, self._most_cores()))
        resources = {"num_cpus": threads, "num_gpus": 1 if self.gpu else 0}
        task = self.ray.remote(max_retries=RETRIES, **resources)(run_command)
        with self._lock:
            if self._stopped:
                return None
            running = task.remote(tuple(words), str(log), threads, os.getcwd())
            self._running.append(running)
        try:
            return int(self.ray.get(running))
        except self.ray.exceptions.TaskCancelledError:
            return None
        except self.ray.exceptions.RayError:  # it died as often as it was tried
            return 1
        finally:
            with self._lock:
                self._running.remove(running)

    def stop(self) -> None:
        """Cancel the tasks that run; see `Commands.stop`."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for task in running:
            self.ray.cancel(task)
        if running:
            self.ray.wait(running, num_returns=len(running), timeout=ENDED_AFTER)


def run_command(words: Sequence[str], log: str, threads: int, folder: str) -> int:
    """Run one command in a folder of the machine where this is called; it ends with its caller."""
    process = _start(words, Path(log), threads, folder)
    try:
        return process.wait()
    except BaseException:  # the task was cancelled
        _end([process])
        raise


def reason_in(printed: str) -> str:
    """Why a command ended, of what it printed: its last line, or of wrong usage the first words.

    Empty where it printed nothing. Wrong usage is printed in a box, of dashes where lines cannot be
    drawn: under its title is what is wrong, and under a rule how to get help.
    """
    lines = [line.strip(" │") for line in printed.strip().splitlines()]
    if not any(line.startswith("For full helptext") for line in lines):
        return lines[-1].removeprefix("masquerade: ") if lines else ""
    under = dropwhile(lambda line: not line.startswith(("╭", "---")), lines)
    message = takewhile(lambda line: line.strip("─-"), islice(under, 1, None))
    return f"{' '.join(message).rstrip('.')}."


def visible_gpus(device: str) -> tuple[str, ...]:
    """The GPUs among which commands with this `--device` may be shared out.

    Of one that is named, as in cuda:1, and of other devices there are none to choose from.
    """
    import torch

    from masquerade.device import choose_device

    chosen = choose_device(device)
    if chosen.type != "cuda" or chosen.index is not None:
        return ()
    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return tuple(named[:count]) if named else tuple(map(str, range(count)))


def _start(
    words: Sequence[str], log: Path, threads: int, folder: str, gpu: str | None = None
) -> "subprocess.Popen[bytes]":
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "masquerade", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ
            | {"OMP_NUM_THREADS": str(threads)}
            | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}),
            start_new_session=True,  # a signal to the benchmark is passed on by `stop`
            # else the command of a worker that was killed would write beside its next try
            preexec_fn=(lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)) if prctl else None,
        )


def _end(running: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in running:
        with suppress(OSError):
            process.terminate()
    until = time.monotonic() + ENDED_AFTER
    for process in running:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
