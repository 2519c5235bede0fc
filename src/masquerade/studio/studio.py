"""All that one running studio holds: open videos, the queue of jobs, and where files lie.

Uploads and copies lie in a private folder that ends with the process; what a killed process left
is removed at the next start. Decisions and finished jobs lie in the user's state folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.pipeline.config import PipelineConfig
from masquerade.pipeline.edits import EditedSource, Edits
from masquerade.pipeline.folder_files import VIDEOS
from masquerade.pipeline.outputs import receipt_path
from masquerade.regions.template import Template
from masquerade.regions.template_library import Library
from masquerade.report.own_pages import linked_files, read_own_page
from masquerade.storage import TemporaryFolder, file_digest, file_signature
from masquerade.studio.children import prepare_children
from masquerade.studio.copying import Pictures
from masquerade.studio.decisions import template_names
from masquerade.studio.history import History
from masquerade.studio.jobs import Job, Jobs
from masquerade.studio.kept_edits import HELD_BACK, KeptEdits
from masquerade.studio.preview import FrameDetectors
from masquerade.studio.result_pictures import ResultPictures
from masquerade.studio.scans import ScanQueue, named_templates
from masquerade.studio.template_keys import TemplateKeys
from masquerade.studio.video_session import VideoSession
from masquerade.text import readable
from masquerade.video.container import printable
from masquerade.video.probe import OWN_SUFFIX
from masquerade.video.segments import Picture

LEFT_FREE = 2**30  # bytes of the disk that an upload leaves
MOST_OPEN = 50  # videos at once
MOST_OF_A_NAME = 200  # bytes of the name of a result; file systems take 255 with all endings
CONFIG = PipelineConfig()
TEMPLATES = "templates"  # the folder of a job's own
LOOKED_AT = (("done", 0), ("failed", 4))  # ends of runs that name all frames which need a look
PAGE = "index.html"  # of a benchmark
NO_RESULT = "this job has no result, or it was moved away."


def state_folder() -> Path:
    """Where decisions and finished jobs are kept."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "masquerade" / "studio"


class ClosedError(MasqueradeError):
    """No video with this id is open."""

    def __init__(self) -> None:
        super().__init__("there is no such video; it may have been closed.")


class Run:
    """A run as it was asked for: the decisions, and the templates that they name.

    Others may point at something else by a name before the run has its turn.

    Raises:
        MasqueradeError: a template is missing, or damaged.
    """

    def __init__(self, edits: Edits) -> None:
        self.edits = edits
        self.templates: list[Template] = [Library().load(name) for name in named_templates(edits)]
        keys = [template.digest() for template in self.templates]
        text = json.dumps([edits.digest(), keys])
        self.digest = hashlib.sha256(text.encode()).hexdigest()


class Studio:
    """The open videos of one process and its jobs.

    Args:
        root: a folder on this machine that the page may browse; None: uploads alone.
        state: where decisions and finished jobs are kept; None: the user's.
        most_bytes: of one upload.
        keys: what templates are compared by; None: colour and shape, and fetched networks.
    """

    def __init__(
        self,
        *,
        root: Path | None = None,
        state: Path | None = None,
        most_bytes: int = 2**35,
        keys: TemplateKeys | None = None,
    ) -> None:
        if root is not None and not root.is_dir():
            raise UsageError(f"{root} is no folder; give --root one that holds videos.")
        self.root = root.resolve() if root is not None else None
        self.most_bytes = most_bytes
        self._state = state or state_folder()
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state.chmod(0o700)
        self._kept = KeptEdits(self._state / "edits")
        self._temporary = TemporaryFolder()
        self._results = ResultPictures(self._temporary.path)
        self.jobs = Jobs(self._state / "jobs")
        self.keys = keys or TemplateKeys()
        self._detectors, self._queue = FrameDetectors(self.keys), ScanQueue()
        self._videos: dict[str, VideoSession] = {}
        self._histories: dict[str, History] = {}
        # Where reports lie. Their pages are apart from the studio's, so that what they link to is
        # asked for without its cookie: this address, which nobody can guess, stands in for it.
        self.reports = f"/api/reports/{secrets.token_urlsafe(32)}/"
        self._lock, self._naming = threading.Lock(), threading.Lock()
        self._opening: dict[Path, threading.Lock] = {}  # one of a path opens it at a time
        prepare_children()

    def close(self) -> None:
        """End all work, and remove uploads and copies."""
        self.jobs.close()
        for video in list(self._videos.values()):
            video.close()
        self._results.close()
        self._temporary.__exit__()

    @property
    def folder(self) -> Path:
        """The private folder, which ends with the process."""
        return self._temporary.path

    # --- videos ---

    def videos(self) -> list[VideoSession]:
        """All that are open, in the order in which they were opened."""
        return list(self._videos.values())

    def video(self, id: str) -> VideoSession:
        """One that is open.

        Raises:
            ClosedError: none has this id.
        """
        session = self._videos.get(id)
        if session is None:
            raise ClosedError
        return session

    async def upload(self, name: str, parts: AsyncIterator[bytes]) -> VideoSession:
        """Take a video that comes in parts.

        Raises:
            MasqueradeError: it is too large, the disk is full, or it is no video.
        """
        self._check_room()  # and not after an hour of sending alone
        name = plain_name(name)
        folder = self._new_folder()
        # in a folder of its own under its own name, by which receipts and messages call it
        path = folder / "source" / (_stem(name) + Path(name).suffix[:8])
        content, size = hashlib.sha256(), 0
        try:
            path.parent.mkdir(mode=0o700)
            with path.open("xb") as file:
                async for part in parts:
                    size += len(part)
                    if size > self.most_bytes:
                        raise MasqueradeError(
                            f"{name} is larger than {self.most_bytes / 2**30:.0f} GB; open it by "
                            "--root instead."
                        )
                    if shutil.disk_usage(folder).free < LEFT_FREE:
                        raise MasqueradeError(f"there is no room for {name} on the disk.")
                    content.update(part)
                    file.write(part)
            if not size:
                raise VideoError(f"{name} is empty.")
            return await run_in_threadpool(self._open, name, path, content.hexdigest(), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def open(self, place: str) -> VideoSession:
        """Open a video under the root.

        Raises:
            UsageError: there is no root, or no such file under it.
        """
        path = self._under_root(place)
        if not path.is_file():
            raise UsageError(f"there is no video {place!r}.")
        with self._opening.setdefault(path, threading.Lock()):
            known = (path, file_signature(path))  # a file that replaced it is another video
            there = next((v for v in self.videos() if (v.source, v.signature) == known), None)
            if there is not None:
                return there
            self._check_room()
            folder = self._new_folder()
            try:
                name = readable(path.name)
                return self._open(name, path, file_digest(path), folder, saved_beside=True)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

    def browse(self, place: str) -> dict[str, object]:
        """The folders and videos in a folder under the root."""
        path = self._under_root(place)
        if not path.is_dir():
            raise UsageError(f"there is no folder {place!r}.")
        assert self.root is not None
        listed = sorted((p for p in path.iterdir() if not p.name.startswith(".")), key=_by_name)
        real = ((p, Path(os.path.realpath(p))) for p in listed)  # also of a link to itself
        inside = [p for p, target in real if target.is_relative_to(self.root)]
        return {
            "path": "" if path == self.root else readable(str(path.relative_to(self.root))),
            "folders": [readable(p.name) for p in inside if p.is_dir()],
            "videos": [
                {"name": readable(p.name), "bytes": p.stat().st_size}
                for p in inside
                if p.is_file() and p.suffix.lower() in VIDEOS
            ],
            "reports": [p.name for p in inside if _is_report(p)],
        }

    def report(self, place: str) -> Path:
        """The page of a `masquerade benchmark` under the root, or a file that it links to.

        Raises:
            UsageError: there is none.
        """
        path = self._under_root(place)
        assert self.root is not None
        folders = [folder for folder in path.parents if folder.is_relative_to(self.root)]
        if not _is_report(path) and not any(_links(folder / PAGE, path) for folder in folders):
            raise UsageError(f"there is no report {place!r}.")
        return path

    def forget(self, id: str) -> None:
        """Close a video; an upload is removed.

        Raises:
            ClosedError: none has this id.
            UsageError: a job needs it.
        """
        video = self.video(id)
        if self.jobs.of_video(id):
            raise UsageError(f"a job of {video.name} is not finished; cancel it first.")
        if self._videos.pop(id, None) is None:  # another request has closed it meanwhile
            raise ClosedError
        self.jobs.detach(id)
        content = video.edits.source.sha256
        if again := next((v for v in self.videos() if v.edits.source.sha256 == content), None):
            self.jobs.attach(content, again.id)
        video.close()
        shutil.rmtree(self._temporary.path / id, ignore_errors=True)

    # --- jobs ---

    def anonymize(
        self,
        id: str,
        *,
        allow_empty: bool,
        allow_gaps: bool,
        seen: int | None = None,
        looked_at: Sequence[str] = (),
    ) -> Job:
        """Anonymize a whole video by what was decided now; refused where `seen` is older.

        It is refused, too, where the runs that were looked at are by other decisions.
        """
        video, edits = self._checked(id, seen)
        run = Run(edits)
        self._refuse_not_looked_at(looked_at, [run])
        named, suffix = _stem(video.name) + OWN_SUFFIX, _suffix(video.name)
        flags = [*(["--allow-empty"] * allow_empty), *(["--allow-gaps"] * allow_gaps)]
        with self._naming:  # else two that are asked for at once would have one name
            taken = [str(j.saved) for j in self.jobs.all() if j.state in ("waiting", "running")]
            beside = None
            if video.saved_beside:
                assert self.root is not None
                beside = _free(video.source.parent, named, suffix, self.root, taken)
            return self._add_run(video, run, flags, named + suffix, beside=beside)

    def compare(
        self,
        id: str,
        settings: Sequence[Mapping[str, str]],
        *,
        allow_empty: bool,
        allow_gaps: bool,
        seen: int | None = None,
        looked_at: Sequence[str] = (),
    ) -> list[Job]:
        """Anonymize a whole video twice, so that both results can be looked at beside each other.

        Each setting is {"level": name}, {"method": name}, or {} for what was decided. The results
        stay in the studio, also those of a video under the root.

        Raises:
            UsageError: both settings are the same, or one is not valid.
        """
        video, now = self._checked(id, seen)
        edits = [video.with_setting(setting, now) for setting in settings]
        if len({edited.digest() for edited in edits}) < len(edits):
            raise UsageError("both sides are the same; choose another level or method for one.")
        runs = [Run(edited) for edited in edits]
        self._refuse_not_looked_at(looked_at, runs)
        flags = [*(["--allow-empty"] * allow_empty), *(["--allow-gaps"] * allow_gaps)]
        group, added = secrets.token_hex(8), list[Job]()
        for place, setting, run in zip(("first", "second"), settings, runs, strict=True):
            label = _label(setting, run.edits)
            about = {"group": group, "place": place, "label": label, "setting": dict(setting)}
            named = f"{_stem(video.name)}_{label.replace(', ', '_').replace(' ', '_')}"
            try:
                job = self._add_run(video, run, flags, named + _suffix(video.name), compared=about)
            except BaseException:
                for before in added:
                    self.jobs.remove(before.id)
                raise
            added.append(job)
        return added

    def attack(self, id: str, job: str) -> Job:
        """Try to recover from a result what was hidden."""
        video, result = self.video(id), self.result(job)
        if self.jobs.get(job).kind != "anonymize":
            raise UsageError("this job has no result that could be attacked.")
        return self.jobs.add(
            video=id,
            content=video.edits.source.sha256,
            name=video.name,
            kind="attack",
            arguments=lambda own: [str(result), str(own / "attack.html"), str(video.source)],
            result="attack.html",
        )

    def pictures(self, id: str) -> Pictures:
        """The frames of a finished job's result.

        Raises:
            UsageError: it made none.
        """
        return self._results.of(id, self._made_video(id))

    def picture(self, id: str, frame: int) -> Picture:
        """One frame of a finished job's result.

        Raises:
            MasqueradeError: there is none.
        """
        return self._results.read(id, self._made_video(id), frame)

    def remove(self, id: str) -> None:
        """Cancel a job, or forget a finished one with its files."""
        self.jobs.remove(id)
        self._results.forget(id)

    def result(self, id: str) -> Path:
        """The file that a finished job made.

        Raises:
            UsageError: it made none, or it is gone, or another file has its name.
        """
        job = self.jobs.get(id)
        path = self.jobs.folder(job) / str(job.result)
        if job.saved is not None:
            try:
                path = self._under_root(job.saved)
            except UsageError:  # it was moved away, or there is another root, or none
                raise UsageError(NO_RESULT) from None
        if job.state != "done" or not path.is_file() or not self.jobs.made(job, path):
            raise UsageError(NO_RESULT)
        return path

    def receipt(self, id: str) -> Path:
        """The receipt of a finished job's video.

        Raises:
            UsageError: the job made none, or it is gone.
        """
        path = receipt_path(self._made_video(id), CONFIG)
        if not path.is_file():
            raise UsageError("this job's receipt was moved away.")
        return path

    # --- parts of these ---

    def _made_video(self, job: str) -> Path:
        result = self.result(job)
        if self.jobs.get(job).kind != "anonymize":
            raise UsageError("this job made no video.")
        return result

    def _checked(self, id: str, seen: int | None) -> tuple[VideoSession, Edits]:
        """A video, and what was decided about it, which may be run."""
        video = self.video(id)
        edits, _ = video.history.now(seen)
        video.history.check_file()
        if video.held_back is not None:
            raise UsageError(HELD_BACK)
        return video, edits

    def _refuse_not_looked_at(self, jobs: Sequence[str], runs: Sequence[Run]) -> None:
        """Refuse a repeated run whose earlier runs named no frames, or had other decisions."""
        before = [self.jobs.get(job_id) for job_id in jobs]
        if not all((job.state, job.exit_code) in LOOKED_AT for job in before):
            raise UsageError(
                "a run that was looked at named no frames, as it is not finished, was cancelled or "
                "failed for another reason; run the video again."
            )
        if before and [job.edits for job in before] != [run.digest for run in runs]:
            raise UsageError(
                "something was decided since that run, whose frames alone were looked at; run the "
                "video again, and look at those that are named then."
            )

    def _add_run(
        self,
        video: VideoSession,
        run: Run,
        flags: Sequence[str],
        result: str,
        *,
        beside: Path | None = None,
        compared: dict[str, Any] | None = None,
    ) -> Job:
        """Queue a run; `beside` is where the result lies if it is not in the job's folder."""
        edits, weights = run.edits, self.keys.weights_of(run.edits)
        more = [] if weights is None else ["--key-weights", str(weights)]

        def arguments(own: Path) -> list[str]:
            edits.write(own / "edits.json")
            for template in run.templates:
                Library(folder=own / TEMPLATES).add(template)
            words = [str(own / "edits.json"), str(video.source), str(beside or own / result)]
            held = ["--templates", str(own / TEMPLATES)] if run.templates else []
            return [*words, *flags, *more, *held]

        return self.jobs.add(
            video=video.id,
            content=edits.source.sha256,
            name=video.name,
            kind="anonymize",
            arguments=arguments,
            result=result,
            saved=None if beside is None else str(beside.relative_to(self.root or "/")),
            compared=compared,
            edits=run.digest,
        )

    def _open(
        self, name: str, path: Path, sha256: str, folder: Path, *, saved_beside: bool = False
    ) -> VideoSession:
        (folder / "copy").mkdir(mode=0o700)
        try:
            pictures = Pictures(path, folder / "copy")
        except VideoError as error:  # which calls an upload by the name of its file here
            raise VideoError(f"{name} {str(error).removeprefix(f'{printable(path)} ')}") from error
        try:
            history = self._history(name, sha256, pictures)
        except BaseException:
            pictures.close()
            raise
        video = VideoSession(
            id=folder.name,
            name=name,
            source=path,
            folder=folder,
            pictures=pictures,
            history=history,
            kept=self._kept,
            detectors=self._detectors,
            keys=self.keys,
            queue=self._queue,
            template_changed=self._touch_template,
            saved_beside=saved_beside,
        )
        with self._lock:
            try:
                self._check_room()
            except UsageError:
                video.close()
                raise
            self._videos[video.id] = video
        self.jobs.attach(sha256, video.id)
        return video

    def _check_room(self) -> None:
        if len(self._videos) >= MOST_OPEN:
            raise UsageError(f"{MOST_OPEN} videos are open; close one first.")

    def _touch_template(self, name: str) -> None:
        """Have every page look anew at a video that hides what looks like a template."""
        with self._lock:
            histories = list(self._histories.values())
        for history in histories:
            if name in template_names(history.edits):
                history.touch()

    def _history(self, name: str, sha256: str, pictures: Pictures) -> History:
        """What was decided about a video, one for all who opened it."""
        info = pictures.info
        about = EditedSource(name=name, sha256=sha256, width=info.width, height=info.height)
        start = Edits(source=about, settings={"level": "person"})
        with self._lock:
            if sha256 not in self._histories:
                self._histories[sha256] = self._kept.history(start)
            return self._histories[sha256]

    def _new_folder(self) -> Path:
        folder = self._temporary.path / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        return folder

    def _under_root(self, place: str) -> Path:
        """A path under the root; links that lead out of it are refused."""
        if self.root is None:
            raise UsageError("the studio was started without --root, so there is nothing to open.")
        try:
            path = _named(self.root, place).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise UsageError("there is no such place.") from None
        if not path.is_relative_to(self.root):
            raise UsageError("there is no such place.")
        return path


def _named(folder: Path, place: str) -> Path:
    """The path that a place below a folder stands for, whose names are `readable`."""
    for part in Path(place).parts:
        if "\\" in part and not (folder / part).exists():
            part = next((p.name for p in folder.iterdir() if readable(p.name) == part), part)
        folder = folder / part
    return folder


def _is_report(path: Path) -> bool:
    """Whether a file is the page that `masquerade benchmark` writes beside its results."""
    return path.name == PAGE and path.is_file() and read_own_page(path) is not None


def _links(page: Path, file: Path) -> bool:
    """Whether a page is a report, and links to a file."""
    text = read_own_page(page) if page.is_file() else None
    return text is not None and any(page.parent / link == file for link in linked_files(text))


def _suffix(name: str) -> str:
    """The ending of the result of a video."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in (".mp4", ".mkv", ".mov", ".webm", ".avi") else ".mp4"


def _stem(name: str) -> str:
    """The name of a video without its ending, so short that its result and receipt can have it."""
    return Path(name).stem.encode()[:MOST_OF_A_NAME].decode(errors="ignore")


def _label(setting: Mapping[str, str], edits: Edits) -> str:
    """One side of a comparison in a word or three."""
    if setting:
        return str(setting.get("level") or setting.get("method"))
    return f"{edits.settings.get('level') or edits.method}, as set"


def plain_name(name: str) -> str:
    """The last part of a name that somebody gave, without what no file's name should have."""
    last = re.split(r"[/\\]", name)[-1]
    cleaned = "".join(char if char.isprintable() else "_" for char in last).strip(". ")
    return cleaned[-120:] or "video"


def _free(folder: Path, stem: str, suffix: str, root: Path, taken: Sequence[str]) -> Path:
    """A name in a folder that no file has, nor its receipt, nor a job under the root will."""
    number = 1
    while True:
        path = folder / f"{stem}{f'_{number}' if number > 1 else ''}{suffix}"
        own = str(path.relative_to(root))
        if not path.exists() and not receipt_path(path, CONFIG).exists() and own not in taken:
            return path
        number += 1


def _by_name(path: Path) -> str:
    return path.name.casefold()
