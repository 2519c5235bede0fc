"""Work that is shared among processes, and how it ends where it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from masquerade.process_pool import may_fork, starting_worker, worker_pool

HAD_TORCH = "torch" in sys.modules  # in a worker: before its first task

POOL = """
import os, signal, time
from masquerade.process_pool import worker_pool
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    with worker_pool(2) as pool:
        list(pool.map(os.write, [1, 1], [b"started\\n"] * 2))  # in one piece each
        list(pool.map(time.sleep, [600] * 9))
"""
IDLE = """
import os, time
from masquerade.process_pool import worker_pool
if __name__ == "__main__":
    with worker_pool(1) as pool:
        print(pool.submit(os.getpid).result())
        time.sleep(600)
"""
LOADER = """
import dataclasses, signal, torch
from masquerade.extraction.dataset import clip_loader, from_tensor
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    dataset = from_tensor(torch.zeros(4, 3, 1, 2, 2, dtype=torch.uint8))
    dataset = dataclasses.replace(dataset, workers=2)
    endless = iter(lambda: torch.tensor([0, 1]), None)
    for count, clips in enumerate(clip_loader(dataset, endless)):
        if count in (20, 21):
            print("started")
"""


def test_work_is_done_on_one_thread_of_blas_and_errors_come_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with pytest.raises(ZeroDivisionError), worker_pool(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]
        assert pool.submit(os.getpid).result() != os.getpid()
        assert pool.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"
        assert os.environ["OPENBLAS_NUM_THREADS"] == "3" and "MKL_NUM_THREADS" not in os.environ
        pool.submit(divmod, 1, 0).result()


def start_without_torch() -> None:
    pass


def imported_and_inherited() -> tuple[bool, str | None, bool, set[int]]:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    ignores = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return HAD_TORCH, os.environ.get("TOLD"), ignores, set(map(int, blocked))


def test_a_worker_has_imported_what_it_needs_and_is_as_its_program_is_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is forked from a process that began before."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where these tests run under nohup
    try:
        with worker_pool(1, initializer=start_without_torch) as pool:
            assert pool.submit(imported_and_inherited).result() == (
                *(may_fork(), None, False),
                {signal.SIGINT, signal.SIGHUP},
            )
        monkeypatch.setenv("TOLD", "just now")
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup sets it
        with worker_pool(1, initializer=start_without_torch, signals=()) as pool:
            assert pool.submit(imported_and_inherited).result() == (
                *(may_fork(), "just now", True),
                set(),
            )
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_while_a_process_starts_is_a_broken_pool_only_where_another_died() -> None:
    with worker_pool(2) as pool:
        with pytest.raises(ValueError, match="fds"), starting_worker(pool, ()):
            raise ValueError("bad value(s) in fds_to_keep")
        with pytest.raises(BrokenProcessPool):
            pool.submit(os._exit, 1).result()
        with pytest.raises(BrokenProcessPool, match="while another"), starting_worker(pool, ()):
            raise ValueError("bad value(s) in fds_to_keep")


def test_a_pool_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(IDLE)
    run = subprocess.Popen([sys.executable, "-u", script], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    child = int(run.stdout.readline())
    run.kill()
    run.communicate(timeout=60)
    for _ in range(300):
        status = Path(f"/proc/{child}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the child waits for work that nobody gives")


@pytest.mark.slow
@pytest.mark.parametrize("code", [POOL, LOADER])
def test_ctrl_c_ends_all_of_them_and_only_the_parent_speaks(tmp_path: Path, code: str) -> None:
    script = tmp_path / "work.py"
    script.write_text(code)
    run = subprocess.Popen(
        [sys.executable, "-u", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as of a terminal
    )
    assert run.stdout is not None
    for _ in range(2):
        assert run.stdout.readline() == "started\n"
    os.killpg(run.pid, signal.SIGINT)
    try:
        _, said = run.communicate(timeout=60)
    except subprocess.TimeoutExpired:  # Python drops one that falls into a finalizer: press again
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=240)
    assert run.returncode in (1, 130, -signal.SIGINT)
    assert "SpawnProcess" not in said and "Exception in thread" not in said, said
    assert "KeyboardInterrupt" in said, said  # the script's own, which catches nothing
    assert gone(run.pid)


def test_an_interruption_waits_until_a_new_child_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread takes the signal, and Python tells the main one, whatever that has blocked."""
    done, real = [], ProcessPoolExecutor.submit

    def slow(pool: ProcessPoolExecutor, *task: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(20):
            time.sleep(0.01)
        done.append(real(pool, *task, **more))
        return done[0]

    other = threading.Thread(target=time.sleep, args=(1,))
    other.start()
    monkeypatch.setattr(ProcessPoolExecutor, "submit", slow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job has none
    try:
        with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
            pool.submit(abs, -1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(done) == 1
    other.join()


def gone(group: int) -> bool:
    """Whether a group of processes has none left, soon."""
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
