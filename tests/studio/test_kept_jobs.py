"""Finished jobs after a restart: none is lost, and none gives a file that it did not make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from masquerade.studio.jobs import Job, Jobs

ID = "0123456789abcdef"
JOB = Job(ID, None, "a.mp4", "anonymize", state="done", result="safe.mp4", content="5" * 64)


def keep(folder: Path, job: Job, **changed: Any) -> Path:
    """Write the folder of a job as it was kept, with its result and its receipt."""
    own = folder / ID
    own.mkdir(parents=True)
    kept = {key: value for key, value in asdict(job).items() if key != "video"}
    (own / "job.json").write_text(json.dumps({**kept, **changed}))
    (own / "safe.mp4").write_bytes(b"hours of work")
    (own / "safe.mp4.receipt.json").write_text("{}")
    return own


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'{"id": "0123456789abcdef"}',
        json.dumps({**asdict(JOB), "id": "f" * 16}).encode(),
        json.dumps({**asdict(JOB), "of_another_version": 1}).encode(),
        json.dumps({**asdict(JOB), "saved": 3}).encode(),
        json.dumps({**asdict(JOB), "state": "archived"}).encode(),
    ],
)
def test_a_job_whose_record_cannot_be_used_is_kept_aside_with_its_result(
    tmp_path: Path, text: bytes
) -> None:
    own = keep(tmp_path, JOB)
    (own / "job.json").write_bytes(text)
    before = contents(own)
    jobs = Jobs(tmp_path)
    aside = tmp_path / f"{ID}.unreadable"
    assert jobs.all() == [] and jobs.kept_aside == [aside] and contents(aside) == before
    jobs.close()
    assert Jobs(tmp_path).kept_aside == [] and contents(aside) == before  # it is said once
    keep(tmp_path, JOB, of_another_version=1)  # where the name is taken it stays where it is
    assert Jobs(tmp_path).all() == [] and (own / "safe.mp4").exists() and contents(aside) == before


def test_a_record_that_cannot_be_read_now_is_read_at_the_next_start(tmp_path: Path) -> None:
    own = keep(tmp_path, JOB)
    (own / "job.json").rename(own / "kept")
    (own / "job.json").mkdir()  # as any other error of the disk
    assert Jobs(tmp_path).all() == [] and (own / "safe.mp4").exists()
    (own / "job.json").rmdir()
    (own / "kept").rename(own / "job.json")
    assert Jobs(tmp_path).all() == [JOB]


def test_a_job_that_was_not_finished_is_removed_and_all_else_stays(tmp_path: Path) -> None:
    own = keep(tmp_path, JOB, state="running")
    (tmp_path / "notes").mkdir()
    Jobs(tmp_path)
    assert os.listdir(tmp_path) == ["notes"]
    keep(tmp_path, JOB)
    (own / "job.json").unlink()
    Jobs(tmp_path)
    assert os.listdir(tmp_path) == ["notes"]
    keep(tmp_path, JOB)
    (own / "safe.mp4").unlink()  # its receipt is still there
    assert Jobs(tmp_path).all() == [JOB]


def test_the_command_says_where_a_job_was_kept_aside(tmp_path: Path) -> None:
    folder = tmp_path / "masquerade" / "studio" / "jobs"
    keep(folder, JOB, of_another_version=1)
    words = [sys.executable, "-m", "masquerade", "studio", "--no-browser"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    given: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment, **given) as studio:
        assert studio.stderr is not None
        said = [studio.stderr.readline() for _ in range(2)]
        studio.terminate()
    assert str(folder / f"{ID}.unreadable") in said[-1]
