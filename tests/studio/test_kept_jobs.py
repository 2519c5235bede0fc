"""Finished jobs after a restart: none is lost, and none gives a file that it did not make."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")
from starlette.testclient import TestClient

from masquerade.studio.jobs import Job, Jobs
from masquerade.studio.server import create_app
from masquerade.studio.studio import Studio

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


@pytest.mark.slow
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


NONE = {"error": "This job has no result, or it was moved away."}
ASKED = ("result", "receipt", "pictures", "frames/0.jpg")


@pytest.fixture
def ward(tmp_path: Path, short_clip: Path) -> Path:
    """A root with the result of a job, and a second one with another video of that name."""
    for root in ("ward", "other"):
        (tmp_path / root / "night").mkdir(parents=True)
        saved = tmp_path / root / "night" / "one_anonymized.mp4"
        saved.write_bytes(short_clip.read_bytes() + (b"raw" if root == "other" else b""))
        saved.with_name(f"{saved.name}.receipt.json").write_text("{}")
        shutil.copy(short_clip, saved.with_name("one.mp4"))
    digest = hashlib.sha256(short_clip.read_bytes()).hexdigest()
    saved_as = "night/one_anonymized.mp4"
    keep(tmp_path / "state" / "jobs", JOB, saved=saved_as, result_sha256=digest)
    return tmp_path / "ward"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Path | None], TestClient]]:
    """Clients of studios with the kept jobs, each started with a root."""
    begun: list[Studio] = []

    def starting(root: Path | None) -> TestClient:
        begun.append(Studio(root=root, state=tmp_path / "state"))
        return TestClient(create_app(begun[-1]), raise_server_exceptions=False)

    yield starting
    for studio in begun:
        studio.close()


def refuses(page: TestClient) -> bool:
    """Whether nothing of the job's result is given, and no attack on it begun."""
    video = page.post("/api/videos/open", json={"path": "night/one.mp4"}).json()
    body = {"kind": "attack", "job": ID}
    answers = [page.get(f"/api/jobs/{ID}/{path}") for path in ASKED]
    answers += [page.post(f"/api/videos/{video['id']}/jobs", json=body)]
    assert [job["id"] for job in page.get("/api/jobs").json()] == [ID]
    return all(one.status_code == 422 and one.json() == NONE for one in answers)


@pytest.mark.slow
def test_a_result_is_given_while_it_is_the_file_that_the_job_made(
    ward: Path, start: Callable[[Path | None], TestClient]
) -> None:
    page, saved = start(ward), ward / "night" / "one_anonymized.mp4"
    for path in ASKED:
        assert page.get(f"/api/jobs/{ID}/{path}").status_code == 200, path
    assert page.get(f"/api/jobs/{ID}/result").content == saved.read_bytes()
    assert refuses(start(ward.with_name("other")))
    moved = ward.rename(ward.with_name("moved"))
    assert start(moved).get(f"/api/jobs/{ID}/result").status_code == 200
    moved.rename(ward)
    about = saved.stat()
    changed = bytearray(saved.read_bytes())
    changed[-1] ^= 1
    saved.write_bytes(changed)
    os.utime(saved, ns=(about.st_atime_ns, about.st_mtime_ns))  # as a copy with its times
    assert refuses(page) and refuses(start(ward))


def test_a_job_of_an_older_version_gives_what_lies_in_its_own_folder_alone(
    ward: Path, start: Callable[[Path | None], TestClient], tmp_path: Path
) -> None:
    record = tmp_path / "state" / "jobs" / ID / "job.json"
    kept = json.loads(record.read_text())
    del kept["result_sha256"]
    record.write_text(json.dumps(kept))
    assert refuses(start(ward))
    record.write_text(json.dumps({**kept, "saved": None}))
    assert start(ward).get(f"/api/jobs/{ID}/result").content == b"hours of work"


def test_a_result_that_was_moved_away_is_said(
    ward: Path, start: Callable[[Path | None], TestClient], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    asked = f"/api/jobs/{ID}/result"
    for root in (None, tmp_path / "empty"):
        answer = start(root).get(asked)
        assert answer.status_code == 422 and answer.json() == NONE
    page, saved = start(ward), ward / "night" / "one_anonymized.mp4"
    there = saved.rename(tmp_path / "away.mp4")
    assert refuses(page)
    saved.symlink_to(there)  # which leads out of the root
    assert refuses(page)


def test_a_receipt_that_was_moved_away_is_said(
    ward: Path, start: Callable[[Path | None], TestClient]
) -> None:
    (ward / "night" / "one_anonymized.mp4.receipt.json").unlink()
    page = start(ward)
    answer = page.get(f"/api/jobs/{ID}/receipt")
    assert answer.status_code == 422
    assert answer.json() == {"error": "This job's receipt was moved away."}
    assert page.get(f"/api/jobs/{ID}/result").status_code == 200
