"""Jobs: whole videos that are anonymized or attacked, one after the other, each in a process.

What a job is and how it ended lies beside its result in a folder of its own, so that a restart
loses no finished job. A job that was not finished is forgotten at the next start; one whose record
cannot be used is kept aside with all its files.
"""

import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from masquerade.errors import MasqueradeError, UsageError
from masquerade.file_locks import take_lock, wait_for_lock
from masquerade.storage import atomic_write, file_digest, file_signature
from masquerade.studio.children import Child, last_words
from masquerade.studio.kept_edits import UNREADABLE
from masquerade.text import readable

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Kind = Literal["anonymize", "attack"]
MOST_WAITING = 100
FILE, LOCK = "job.json", "lock"


@dataclass
class Job:
    """One job, as it is shown and kept."""

    id: str
    video: str | None
    name: str
    kind: Kind
    state: State = "waiting"
    done: int = 0
    total: int | None = None
    seconds: float = 0.0
    error: str | None = None
    summary: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    exit_code: int | None = None
    result: str | None = None  # the file's name in the job's folder
    saved: str | None = None  # where it lies on the server, under the root
    result_sha256: str | None = None  # None: an older version made it, or it is not finished
    facts: dict[str, str] = field(default_factory=dict)  # of its receipt, to be compared by
    # of a run beside another one: their group, which of them it is (first or second), its label,
    # and the setting that was asked for
    compared: dict[str, Any] | None = None
    content: str | None = None  # SHA-256 of its video, by which it is known when opened again
    edits: str | None = None  # digest of the decisions and templates that a run is by

    def shown(self) -> dict[str, Any]:
        """What the page is told."""
        values = {key: value for key, value in asdict(self).items() if key not in HIDDEN}
        files = {}
        if self.state == "done" and self.result:
            address = f"/api/jobs/{self.id}"
            if self.kind == "attack":
                files["page"] = f"{address}/page"
            else:
                files = {"result": f"{address}/result", "receipt": f"{address}/receipt"}
        return {
            **values,
            "files": {**files, **({"saved": readable(self.saved)} if self.saved else {})},
        }


HIDDEN = ("result", "saved", "content", "result_sha256", "edits")


class Jobs:
    """The queue of jobs, and those that are finished.

    Args:
        folder: where jobs are kept, private to the user.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._jobs = folder, dict[str, Job]()
        self._waiting: list[tuple[Job, list[str]]] = []
        self._running: tuple[Job, Child] | None = None
        self._lock = threading.RLock()
        self._began = 0.0
        self._closed = False
        self._locks: dict[str, int] = {}  # of the folders of jobs that are not finished
        # by job: what the system says of the file that was compared last, and whether it is its own
        self._looked_at: dict[str, tuple[tuple[int, ...], bool]] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.kept_aside: list[Path] = []  # at this start: folders of jobs that cannot be used
        for own in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime):
            if re.fullmatch("[0-9a-f]{16}", own.name):  # else it was kept aside, or is no job's
                with suppress(OSError):  # another studio works at it, or it cannot be read now
                    self._load(own)

    def all(self) -> list[Job]:
        """All jobs, the oldest first."""
        with self._lock:
            if self._running is not None:
                self._running[0].seconds = round(time.monotonic() - self._began, 1)
            return list(self._jobs.values())

    def get(self, id: str) -> Job:
        """One job.

        Raises:
            UsageError: there is none of that name.
        """
        if id not in self._jobs:
            raise UsageError("there is no such job.")
        return self._jobs[id]

    def add(
        self,
        *,
        video: str,
        content: str,
        name: str,
        kind: Kind,
        arguments: Callable[[Path], list[str]],
        result: str,
        saved: str | None = None,
        compared: dict[str, Any] | None = None,
        edits: str | None = None,
    ) -> Job:
        """Add a job to the queue.

        Args:
            video: the id of its video.
            content: the SHA-256 of its video.
            name: of its video.
            kind: what is done.
            arguments: of `job_process`, given the job's folder.
            result: the name of the file that it makes in that folder.
            saved: where the result lies if it is not in the folder.
            compared: see `Job`.
            edits: see `Job`.
        """
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                raise UsageError(f"{MOST_WAITING} jobs wait already; let some finish.")
            job = Job(secrets.token_hex(8), video, name, kind, result=result, saved=saved)
            job.content, job.compared, job.edits = content, compared, edits
            own = self.folder(job)
            own.mkdir(mode=0o700)
            self._locks[job.id] = os.open(own / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            wait_for_lock(self._locks[job.id])  # else another studio took it for stale
            try:
                words = [kind, *arguments(own)]
            except BaseException:  # such as a full disk
                shutil.rmtree(own, ignore_errors=True)
                self._unlock(job)
                raise
            self._jobs[job.id] = job
            self._waiting.append((job, words))
        self._next()
        return job

    def folder(self, job: Job) -> Path:
        """The folder of a job."""
        return self._folder / job.id

    def made(self, job: Job, file: Path) -> bool:
        """Whether a file is the very one that a finished job made; it is read when it is new."""
        if job.result_sha256 is None:  # then what lies in the job's own folder is its own
            return job.saved is None
        seen = file_signature(file)
        last, same = self._looked_at.get(job.id, ((), False))
        if last != seen:
            same = file_digest(file) == job.result_sha256
            self._looked_at[job.id] = seen, same
        return same

    def cancel(self, id: str) -> bool:
        """Cancel a job; False: it is finished, and stays."""
        job = self.get(id)
        with self._lock:
            waiting = [entry for entry in self._waiting if entry[0] is job]
            running = self._running if self._running and self._running[0] is job else None
            self._waiting = [entry for entry in self._waiting if entry[0] is not job]
            if waiting or running is not None:
                job.state = "cancelled"
            if waiting:
                shutil.rmtree(self.folder(job), ignore_errors=True)
                self._unlock(job)
        if running is not None:
            running[1].stop()
        return bool(waiting) or running is not None

    def remove(self, id: str) -> None:
        """Cancel a job that is not finished, or forget a finished one with its files."""
        job = self.get(id)
        if not self.cancel(id):
            with self._lock:
                self._jobs.pop(id, None)
            shutil.rmtree(self.folder(job), ignore_errors=True)

    def of_video(self, video: str) -> list[Job]:
        """The jobs of a video that are not finished."""
        return [j for j in self.all() if j.video == video and j.state in ("waiting", "running")]

    def attach(self, content: str, video: str) -> None:
        """Give finished jobs back to their video, known by its SHA-256, when it is opened again."""
        with self._lock:
            for job in self._jobs.values():
                if job.video is None and job.content == content:
                    job.video = video

    def detach(self, video: str) -> None:
        """Leave finished jobs without a video, as theirs was closed."""
        with self._lock:
            for job in self._jobs.values():
                if job.video == video:
                    job.video = None

    def close(self) -> None:
        """End all work; finished jobs stay."""
        self._closed = True
        with self._lock:
            self._waiting.clear()
            running = self._running
            if running is not None:
                running[0].state = "cancelled"
        if running is not None:
            running[1].stop()
        for job in list(self._jobs.values()):
            if job.state != "done":
                shutil.rmtree(self.folder(job), ignore_errors=True)
            self._unlock(job)

    def _load(self, own: Path) -> None:
        """Load a finished job; keep one aside whose record cannot be used, and remove any other."""
        try:
            job = _read(own / FILE)
            if job is not None and job.state == "done":
                self._jobs[job.id] = job
                return
        except ValueError:
            with take_lock(own / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW):
                self.kept_aside.append(own.rename(own.with_name(f"{own.name}.{UNREADABLE}")))
            return
        with take_lock(own / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW):
            if job is not None or not (own / FILE).exists():  # else it was finished just now
                shutil.rmtree(own, ignore_errors=True)

    def _unlock(self, job: Job) -> None:
        lock = self._locks.pop(job.id, None)
        if lock is not None:
            os.close(lock)

    def _next(self) -> None:
        with self._lock:
            if self._closed or self._running is not None or not self._waiting:
                return
            job, arguments = self._waiting.pop(0)
            job.state, self._began = "running", time.monotonic()
            try:
                child = Child(
                    "masquerade.studio.job_process",
                    *arguments,
                    on_line=lambda line: self._hear(job, line),
                    on_end=lambda code, stderr: self._end(job, code, stderr),
                )
            except OSError as error:  # such as too many open files
                job.state, job.exit_code = "failed", 1
                job.error = f"the run could not be begun: {error.strerror}."
                self._unlock(job)
            else:
                self._running = job, child
                return
        self._next()

    def _hear(self, job: Job, line: dict[str, Any]) -> None:
        known = {f.name for f in fields(Job)} & {
            *("done", "total", "error", "exit_code", "summary", "warnings", "facts"),
            "result_sha256",
        }
        for key in known & set(line):
            setattr(job, key, line[key])

    def _end(self, job: Job, code: int, stderr: str) -> None:
        with self._lock:
            job.seconds = round(time.monotonic() - self._began, 1)
            if job.state == "cancelled" and code:
                shutil.rmtree(self.folder(job), ignore_errors=True)
            elif code:
                job.state, job.exit_code = "failed", job.exit_code or code
                job.error = job.error or f"the run failed: {last_words(code, stderr)}"
            else:
                job.state, job.exit_code = "done", job.exit_code or 0
                self._keep(job)
            self._unlock(job)
            self._running = None
        self._next()

    def _keep(self, job: Job) -> None:
        values = {key: value for key, value in asdict(job).items() if key != "video"}
        try:
            with atomic_write(self.folder(job) / FILE, private=True) as part:
                part.write_text(json.dumps(values, ensure_ascii=False), "utf-8", "backslashreplace")
        except (OSError, MasqueradeError) as error:
            job.warnings = [*job.warnings, f"save it now, it cannot be kept: {error}"]


def _read(file: Path) -> Job | None:
    """The job that a file tells of; None: there is no file, as of one that was not finished.

    Raises:
        ValueError: it is damaged, or of another version.
        OSError: it cannot be read now, which is not the file's fault.
    """
    try:
        job = Job(**{**json.loads(file.read_text("utf-8")), "video": None})
    except FileNotFoundError:
        return None
    except (TypeError, RecursionError) as error:
        raise ValueError("it does not tell of a job") from error
    texts = (
        job.name,
        job.result,
        job.saved or "",
        job.content or "",
        job.result_sha256 or "",
        job.edits or "",
    )
    usable = all(isinstance(text, str) for text in texts) and job.state in get_args(State)
    if job.id != file.parent.name or not usable:
        raise ValueError("it tells of another job, or says something that no job says")
    return job
