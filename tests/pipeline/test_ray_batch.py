"""Files on a Ray cluster: as in one process, also where a worker is killed in the middle."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from live_command import free_port

import masquerade
from masquerade import ray_cluster
from masquerade.cli import main
from masquerade.errors import MissingError
from masquerade.object_store import path_of
from masquerade.pipeline import ray_batch
from masquerade.pipeline.config import Pipeline, PipelineConfig, build_pipeline
from masquerade.pipeline.file_outcome import FileOutcome
from masquerade.pipeline.outputs import FileTask, config_of_retry
from masquerade.pipeline.ray_batch import gpus_of, run_in_worker
from masquerade.ray_cluster import TRIES
from masquerade.storage import MARK
from masquerade.video.write import write_video

RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='needs Ray: pip install -e ".[ray]"'
)
WORDS = ("--method", "selective", "--regions", "frame", "--seed", "1", "--threads", "1")
COMMAND = (sys.executable, "-m", "masquerade", "anonymize")
ON_RAY = ("--engine", "ray", "--workers", "2", "--no-progress")


@pytest.fixture(scope="module")
def folder(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos and a file that is none."""
    made = tmp_path_factory.mktemp("many") / "in"
    made.mkdir()
    for name in ("a", "b", "c"):
        (made / f"{name}.mp4").write_bytes(clip.read_bytes())
    (made / "bad.mp4").write_bytes(b"no video")
    return made


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """What one process makes of them."""
    made = folder.parent / "alone"
    words = ["anonymize", str(folder), "-o", str(made), *WORDS, "-q", "--no-progress"]
    assert main([*words, "--record", str(made.with_suffix(".jsonl"))]) == 1
    return made


def recorded(made: Path) -> list[dict[str, Any]]:
    """The lines of a run's record in order of source, without its workers and output folder."""
    text = made.with_suffix(".jsonl").read_text()
    lines = sorted(map(json.loads, text.splitlines()), key=lambda line: str(line["source"]))
    for line in lines:
        assert line.pop("worker")
        line["output"] = Path(line["output"]).name
    return lines


def assert_same(made: Path, expected: Path) -> None:
    """The same files, the videos byte for byte, and receipts that say so."""
    assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in expected.iterdir())
    for path in expected.glob("*.mp4"):
        assert (made / path.name).read_bytes() == path.read_bytes()
        first, second = (
            json.loads((one / f"{path.name}.receipt.json").read_text()) for one in (made, expected)
        )
        for receipt in (first, second):
            del receipt["stage_seconds"]
            del receipt["seconds"]
        assert first == second


@RAY
@pytest.mark.slow
def test_two_workers_put_each_file_of_a_bucket_once(
    folder: Path, alone: Path, s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store keeps all versions of a file, so that one which was put twice would show."""
    import s3fs

    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    bucket = s3fs.S3FileSystem(use_listings_cache=False)
    for name in ("ward", "safe"):
        bucket.mkdir(name)
    kept = {"Status": "Enabled"}
    bucket.call_s3("put_bucket_versioning", Bucket="safe", VersioningConfiguration=kept)
    bucket.put(f"{folder}/", "ward/2026/", recursive=True)
    words = [*COMMAND, "s3://ward/2026", "-o", "s3://safe/2026/", *WORDS, *ON_RAY]
    record = tmp_path / "made.jsonl"
    done = subprocess.run(
        [*words, "--record", str(record)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 1 and "bad.mp4 is not a video" in done.stderr, done.stderr
    made = tmp_path / "made"
    bucket.get("safe/2026/", f"{made}/", recursive=True)
    assert_same(made, alone)
    versions = bucket.call_s3("list_object_versions", Bucket="safe")
    keys = [version["Key"] for version in versions["Versions"]]
    assert sorted(keys) == [f"2026/{path.name}" for path in sorted(made.iterdir())]
    assert "DeleteMarkers" not in versions
    assert recorded(made) == [
        {**line, "source": f"s3://ward/2026/{Path(line['source']).name}"}
        for line in recorded(alone)
    ]


@RAY
@pytest.mark.slow
def test_two_workers_make_the_bytes_of_one_process_though_one_is_killed(
    folder: Path, alone: Path
) -> None:
    made = folder.parent / "killed"
    words = [*COMMAND, str(folder), "-o", str(made), *WORDS, *ON_RAY]
    words += ["--record", str(made.with_suffix(".jsonl"))]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert _kill_one_that_writes(made, run)
    out, said = run.communicate(timeout=300)
    assert run.returncode == 1, said
    assert [" -> " in line for line in out.splitlines()] == [True] * 3, out
    assert "bad.mp4 is not a video that can be read" in said
    others = [line for line in said.splitlines() if "--seed" not in line]
    assert len(others) == 1, said
    assert_same(made, alone)
    assert recorded(made) == recorded(alone)
    assert [line["status"] for line in recorded(made)] == ["done", "done", "failed", "done"]


@RAY
@pytest.mark.slow
def test_outputs_of_a_cluster_are_attacked_too(clip: Path, tmp_path: Path) -> None:
    """Without packages that Ray itself does not need.

    Those of Ray Data take seconds to load, in each process that does.
    """
    code = "import sys; sys.modules |= dict.fromkeys(('pyarrow', 'pandas', 'ray.data')); "
    code += "from masquerade.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "anonymize", str(clip), "-o", str(tmp_path / "o.mp4")]
    words += ["--regions", "faces", "--verify", "--method", "blur", "--preset", "weak"]
    words += ["--preview", "0.1", "--engine", "ray", "--no-progress"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 4, done.stderr
    assert "did not pass --verify" in done.stderr and not list(tmp_path.iterdir())


@RAY
@pytest.mark.slow
def test_an_interruption_leaves_nothing_half_made(folder: Path) -> None:
    made = folder.parent / "interrupted"
    words = [*COMMAND, str(folder), "-o", str(made), *WORDS, "--encoder-preset", "veryslow"]
    run = subprocess.Popen([*words, *ON_RAY], stderr=subprocess.PIPE, text=True)
    _wait_for_part(made, run)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 130 and "interrupted" in said, said
    assert len(said.splitlines()) <= 2, said  # a file that is none may have been told before
    names = {path.name for path in made.iterdir()}
    assert not {name for name in names if name.startswith(".")}
    assert {f"{name}.receipt.json" for name in names if name.endswith(".mp4")} <= names


INTERRUPTED = """
import sys, time
from contextlib import suppress
from pathlib import Path
from masquerade.ray_cluster import RayExecutor, ray_cluster

raw = Path(sys.argv[1])

def hold():
    raw.write_text("raw")
    try:
        for _ in range(2400):  # Ray interrupts between steps, as of frames, and none of them
            time.sleep(0.05)
    finally:
        raw.unlink()

with suppress(KeyboardInterrupt), ray_cluster(workers=1) as ray, RayExecutor(ray, 0) as executor:
    executor.submit(hold)
    deadline = time.monotonic() + 100
    while not raw.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    print("was there" if raw.exists() else "was never made", flush=True)
    raise KeyboardInterrupt
"""


@RAY
@pytest.mark.slow
def test_what_is_interrupted_on_a_cluster_removes_what_it_made(tmp_path: Path) -> None:
    """As the raw copy of a file of a store: a worker that is killed leaves it."""
    raw = tmp_path / "raw.mp4"
    words = [sys.executable, "-c", INTERRUPTED, str(raw)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert "was there" in run.stdout, run.stderr
    assert not raw.exists()


def _wait_for_part(folder: Path, run: subprocess.Popen[str]) -> Path | None:
    """The first temporary file of an output; None where the run ended before."""
    deadline = time.monotonic() + 120
    while run.poll() is None and time.monotonic() < deadline:
        for part in folder.glob(f".*{MARK}*"):
            return part
        time.sleep(0.005)
    return None


def _kill_one_that_writes(folder: Path, run: subprocess.Popen[str]) -> bool:
    """Kill the first process that has a temporary file of an output open."""
    while (part := _wait_for_part(folder, run)) is not None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                opened = [os.readlink(file) for file in (process / "fd").iterdir()]
            except OSError:  # it has ended, or is somebody else's
                continue
            if str(part) in opened:
                os.kill(int(process.name), signal.SIGKILL)
                return True
    return False


@RAY
@pytest.mark.slow
def test_machines_without_masquerade_are_told_apart_from_workers_that_die(
    clip: Path, tmp_path: Path
) -> None:
    """Fewer workers, which are the advice where they die, would change nothing."""
    other = tmp_path / "other" / "masquerade" / "__init__.py"
    other.parent.mkdir(parents=True)
    other.write_text("raise ImportError('another masquerade')")
    ray = Path(sys.executable).parent / "ray"
    port = free_port()
    start = [ray, "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    head = subprocess.Popen(
        [*start, "--include-dashboard=false", "--disable-usage-stats"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "other")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        asked = [ray, "status", f"--address=127.0.0.1:{port}"]
        while subprocess.run(asked, capture_output=True).returncode:
            assert head.poll() is None and time.monotonic() < deadline
        words = [*COMMAND, str(clip), "-o", str(tmp_path / "o.mp4"), *WORDS, *ON_RAY]
        words += ["--address", f"127.0.0.1:{port}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    finally:
        head.terminate()
        head.wait()
    assert done.returncode == 3 and "another masquerade); install" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("*.mp4"))


def test_a_later_try_may_replace_what_an_earlier_one_made(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else."""
    monkeypatch.chdir(tmp_path)
    own = build_pipeline(masquerade.build("blacken"), PipelineConfig(regions="frame", preview=0.1))
    (tmp_path / "there.mp4").write_bytes(b"somebody's")
    nameless = config_of_retry(FileTask(clip, Path("n" * 300)), own.config)
    assert not nameless.overwrite, "a name that the file system refuses stops no other file"
    tasks = [FileTask(clip, Path(name)) for name in ("new.mp4", "there.mp4")]
    retried = [config_of_retry(task, own.config) for task in tasks]
    (tmp_path / "new.mp4").write_bytes(b"an earlier try's")
    monkeypatch.chdir(clip.parent)  # a worker may begin anywhere

    def outcome(task: FileTask, config: PipelineConfig) -> FileOutcome:
        return run_in_worker(lambda: own, str(tmp_path), task, config)

    assert outcome(tasks[0], own.config).status == "failed", "it appeared meanwhile"
    assert outcome(tasks[0], retried[0]).status == "done"
    assert "exists already" in outcome(tasks[1], retried[1]).error
    assert (tmp_path / "there.mp4").read_bytes() == b"somebody's"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "new.mp4",
        "new.mp4.receipt.json",
        "there.mp4",
    ]


DEADLY = """
import os, signal, sys
from pathlib import Path
import masquerade
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.ray_batch import run_on_ray
from masquerade.methods.blacken import Blacken

BEGUN = sys.argv[1]

class Deadly(Blacken):
    def __setstate__(self, state):
        masquerade.METHODS["deadly"] = Deadly  # in the worker, which unpickles it
        super().__setstate__(state)

    def on_planes(self, planes):
        if planes.y.shape[1] == 96:
            with open(BEGUN, "a") as begun:
                begun.write("again\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().on_planes(planes)

if __name__ == "__main__":
    own = build_pipeline(Deadly(), PipelineConfig(regions="frame"))
    files = [FileTask(Path(name), Path(name).with_suffix(".out.mp4")) for name in sys.argv[2:]]
    for one in run_on_ray([(file, own) for file in files], workers=1):
        print(one.task.src.name, one.status, one.error)
"""


@RAY
@pytest.mark.slow
def test_a_file_whose_worker_dies_each_time_fails_alone(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("deadly.mp4", "plain.mp4")]
    for file, width in zip(files, (96, 64), strict=True):
        write_video(file, torch.rand(1, 3, 5, 48, width))
    done = command(tmp_path / "begun", *files, code=DEADLY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2, done.stdout
    plain, deadly = sorted(done.stdout.splitlines(), reverse=True)
    assert plain.startswith("plain.mp4 done"), done.stdout
    assert deadly.startswith("deadly.mp4 failed its worker process died again"), done.stdout
    assert (tmp_path / "begun").read_text().count("again") == TRIES


def test_a_method_that_a_machine_lacks_fails_its_files_in_words(clip: Path, tmp_path: Path) -> None:
    def load() -> Pipeline:
        raise ModuleNotFoundError("No module named 'their_method'")

    task = FileTask(clip, tmp_path / "o.mp4")
    done = run_in_worker(load, str(tmp_path), task, PipelineConfig(regions="frame"))
    assert (done.status, done.exit_code) == ("failed", 3)
    assert "No module named 'their_method'" in done.error and not list(tmp_path.iterdir())


def test_workers_keep_freed_memory_as_those_of_the_command_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(ray_cluster, "keep_freed_memory", lambda: kept.append("a call's"))
    assert ray_cluster.call_in(str(tmp_path), len, ["abc"], {}) == (3, None)
    assert ray_cluster.call_in(None, os.getcwd, [], {}) == (os.getcwd(), None)
    assert kept == ["a call's"] * 2


def test_a_machine_without_the_folder_of_a_run_writes_into_no_other(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the output lay in the worker's own folder there, and the file counted as done."""
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe("/ward/a.mp4", clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    lacked = tmp_path / "project"
    own = build_pipeline(masquerade.build("blacken"), PipelineConfig(regions="frame", preview=0.1))
    source = path_of("memory://ward/a.mp4")

    def outcome(dst: Path, **changes: Any) -> FileOutcome:
        config = replace(own.config, **changes)
        return run_in_worker(lambda: own, str(lacked), FileTask(source, dst), config)

    for lost in (outcome(Path("o.mp4")), outcome(tmp_path / "o.mp4", export_boxes=Path("b.json"))):
        assert lost.status == "failed" and f"cannot use the folder {lacked}" in lost.error
    assert not list(tmp_path.iterdir())
    assert outcome(tmp_path / "o.mp4").status == "done"


def test_a_folder_that_one_machine_may_not_enter_fails_its_files_alone(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole paths need no folder to begin in; others say what is missing."""

    def refuse(folder: Any) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    own = build_pipeline(masquerade.build("blacken"), PipelineConfig(regions="frame", preview=0.1))
    monkeypatch.setattr(os, "chdir", refuse)
    whole = FileTask(clip, tmp_path / "o.mp4")
    assert run_in_worker(lambda: own, str(tmp_path), whole, own.config).status == "done"
    lost = run_in_worker(lambda: own, str(tmp_path), FileTask(clip, Path("o.mp4")), own.config)
    assert lost.status == "failed" and "(Permission denied)" in lost.error


def test_an_error_of_one_task_stops_no_other_file(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cluster:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __enter__(self) -> Cluster:
            return self

        def __exit__(self, *_: object) -> None: ...

        def submit(self, run: Any, task: FileTask, config: PipelineConfig) -> Future[Any]:
            future: Future[Any] = Future()
            if task.dst.name == "a.mp4":
                future.set_exception(PermissionError(13, "Permission denied"))
            else:
                future.set_result(FileOutcome(task, "done", "", 0))
            return future

    monkeypatch.setattr(ray_batch, "RayExecutor", Cluster)
    own = build_pipeline(masquerade.build("blacken"), PipelineConfig(regions="frame"))
    todo = [(FileTask(clip, Path(name)), own) for name in ("a.mp4", "b.mp4")]
    ray = SimpleNamespace(get=len, put=lambda value: None, cluster_resources=dict)
    outcomes = [one.status for one in ray_batch._outcomes(ray, todo, None)]
    assert outcomes == ["failed", "done"]


def test_without_ray_one_line_says_what_adds_it(
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["anonymize", str(clip), "-o", str(tmp_path / "o.mp4"), *WORDS, "--engine", "ray"]
    assert main(words) == 3
    assert 'pip install -e ".[ray]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--address", "10.0.0.5:6379"], "--engine ray"),
        (["--engine", "ray", "--device", "cuda:1"], "say --device cuda, and not cuda:1"),
    ],
)
def test_an_address_without_ray_and_the_number_of_a_gpu_with_it_are_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    """Each task of a cluster sees its own GPU alone."""
    assert main(["anonymize", str(clip), "-o", str(tmp_path / "o.mp4"), *flags, "--dry-run"]) == 2
    assert said in capsys.readouterr().err
    assert main(["benchmark", "quick", "-o", str(tmp_path / "made"), *flags]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("method", "changes", "gpus"),
    [
        ("blacken", {}, 0),
        ("selective", {"regions": "faces"}, 0),
        ("blacken", {"regions": "people", "detector": "torchvision"}, 1),
        ("blacken", {"decoder": "cuda"}, 1),
        ("blacken", {"device": "cuda"}, 1),  # it is hidden from a task that asks for none
        ("blacken", {"device": "cpu", "hwaccel": "cuda"}, 0),
        ("spact", {}, 1),
    ],
)
def test_a_gpu_is_asked_for_where_it_is_used(
    method: str, changes: dict[str, Any], gpus: int
) -> None:
    """Else 64 files would wait for one GPU that none of them uses."""

    class Cluster:
        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 64.0, "GPU": 1.0}

    pipeline = Pipeline(masquerade.build(method), PipelineConfig(**changes), None)
    assert gpus_of(Cluster(), pipeline) == gpus


def test_a_gpu_that_no_machine_has_is_not_waited_for() -> None:
    class Cluster:
        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 64.0}

    pipeline = Pipeline(masquerade.build("blacken"), PipelineConfig(device="cuda"), None)
    with pytest.raises(MissingError, match="no machine of the Ray cluster has a GPU"):
        gpus_of(Cluster(), pipeline)
    assert gpus_of(Cluster(), pipeline._replace(config=PipelineConfig())) == 0
