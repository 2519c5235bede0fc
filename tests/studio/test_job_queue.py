"""The queue of jobs where something fails before a job has begun: it is said, and others go on."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from masquerade.errors import UsageError
from masquerade.pipeline.edits import Edits
from masquerade.studio import children
from masquerade.studio.jobs import Job, Jobs
from masquerade.studio.studio import Studio


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    found = Jobs(tmp_path / "jobs")
    yield found
    found.close()


def add(jobs: Jobs, *words: str) -> Job:
    return jobs.add(
        video="v",
        content="c",
        name="a.mp4",
        kind="anonymize",
        arguments=lambda own: [*words],
        result="safe.mp4",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("multiprocessing.Pipe", "the run could not be begun: Too many open files."),
        ("prepare_children", "the run failed: it could not be started: Too many open files."),
    ],
)
def test_a_job_whose_process_does_not_start_fails_and_the_next_one_runs(
    jobs: Jobs,
    wait: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    said: str,
) -> None:
    begun: list[Any] = []
    real = {
        "multiprocessing.Pipe": children.multiprocessing.Pipe,
        "prepare_children": children.prepare_children,
    }[name]

    def starting(**options: Any) -> Any:
        begun.append(options)
        if len(begun) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(**options)

    monkeypatch.setattr(f"masquerade.studio.children.{name}", starting)
    none = str(tmp_path / "none.json")
    first, second = (add(jobs, none, "a.mp4", "safe.mp4") for _ in range(2))
    wait(lambda: first.state, lambda state: state not in ("waiting", "running"))
    assert first.state == "failed" and first.exit_code in (1, -1) and first.error == said
    wait(lambda: second.state, lambda state: state not in ("waiting", "running"))
    # The second one's process did begin: it is that one which says what it lacks.
    assert second.state == "failed" and "none.json is not a file of edits" in str(second.error)
    assert second.exit_code == 2
    jobs.remove(first.id)
    assert not jobs.folder(first).exists()


def test_a_run_that_is_done_while_the_studio_closes_keeps_its_result(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Callable[[], None]] = []

    class Finishing:
        """A child that has ended, and waits to say so until nobody holds the lock."""

        def __init__(self, *_: str, on_line: Any, on_end: Callable[[int, str], None]) -> None:
            ends.append(lambda: on_end(0, ""))

        def stop(self) -> None:
            pass

    class Lock:
        """The queue's lock, which the end of the run gets first of all."""

        def __init__(self) -> None:
            self.real = jobs._lock

        def __enter__(self) -> None:
            self.real.acquire()

        def __exit__(self, *_: object) -> None:
            self.real.release()
            if jobs._closed and ends:
                ends.pop()()

    monkeypatch.setattr("masquerade.studio.jobs.Child", Finishing)
    job = add(jobs, "edits.json", "a.mp4", "safe.mp4")
    (jobs.folder(job) / "safe.mp4").write_text("hours of work")
    monkeypatch.setattr(jobs, "_lock", Lock())
    jobs.close()
    assert job.state == "done" and (jobs.folder(job) / "safe.mp4").exists()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), UsageError("these do not fit.")]
)
def test_a_job_that_cannot_be_prepared_is_refused_and_leaves_nothing(
    jobs: Jobs, tmp_path: Path, error: Exception
) -> None:
    def arguments(own: Path) -> list[str]:
        (own / "half.json").write_text("{")
        raise error

    with pytest.raises(type(error)):
        jobs.add(
            video="v",
            content="c",
            name="a.mp4",
            kind="anonymize",
            arguments=arguments,
            result="x.mp4",
        )
    assert jobs.all() == [] and list((tmp_path / "jobs").iterdir()) == []
    assert jobs.of_video("v") == []  # so that the video may be closed, and the queue is free
    assert jobs._running is None and not jobs._locks


@pytest.mark.slow
def test_what_is_allowed_for_one_run_is_not_for_other_decisions(
    page: Any,
    opened: Callable[..., dict[str, Any]],
    studio: Studio,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only frames of the first run were looked at."""
    monkeypatch.setattr(Jobs, "_next", lambda self: None)
    own = f"/api/videos/{opened(scanned=False, level='person')['id']}"
    run = {"kind": "anonymize"}
    pair: dict[str, Any] = {"first": {}, "second": {"method": "blur"}}
    job = page.post(f"{own}/jobs", json=run).json()
    both = page.post(f"{own}/comparisons", json=pair).json()
    for one in studio.jobs.all():
        one.state, one.exit_code = "failed", 4
    again = {**run, "allow_empty": True, "looked_at": [job["id"]]}
    repeated = {**pair, "allow_empty": True, "looked_at": [one["id"] for one in both]}
    assert page.post(f"{own}/jobs", json=again).status_code == 201
    assert page.post(f"{own}/comparisons", json=repeated).status_code == 201
    page.put(f"{own}/settings", json={"level": "face"})
    for address, asked in ((f"{own}/jobs", again), (f"{own}/comparisons", repeated)):
        answer = page.post(address, json=asked)
        assert answer.status_code == 422
        assert "was decided since that run" in answer.json()["error"]


def test_a_disk_without_room_for_a_job_is_said_on_the_page(
    page: Any, opened: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    video = opened(scanned=False)

    def full(edits: Edits, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Edits, "write", full)
        answer = page.post(f"/api/videos/{video['id']}/jobs", json={"kind": "anonymize"})
    assert answer.status_code == 507
    assert answer.json()["error"] == "this could not be done: No space left on device."
    assert page.get("/api/jobs").json() == []
