"""Files on a Ray cluster: as in one process, also where a worker is killed in the middle."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import masquerade
from masquerade import ray_cluster
from masquerade.cli import main
from masquerade.object_store import path_of
from masquerade.pipeline import ray_batch
from masquerade.pipeline.config import Pipeline, PipelineConfig, build_pipeline
from masquerade.pipeline.file_outcome import FileOutcome
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.ray_batch import TRIES, gpus_of, row_of, row_runner
from masquerade.storage import MARK

RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "masquerade[ray]"'
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
def alone(folder: Path) -> Iterator[Path]:
    """What one process makes of them."""
    made = folder.parent / "alone"
    words = [*COMMAND, str(folder), "-o", str(made), *WORDS, "-q"]
    words += ["--record", str(made.with_suffix(".jsonl"))]
    assert subprocess.run(words, capture_output=True, timeout=300).returncode == 1
    yield made


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


def test_a_process_that_counts_begun_files_starts_without_torch(
    command: Callable[..., Any],
) -> None:
    code = "import sys, masquerade.ray_cluster; sys.exit(bool({'torch', 'cv2'} & set(sys.modules)))"
    assert command(code=code).returncode == 0


@RAY
@pytest.mark.slow
def test_two_workers_make_the_bytes_of_one_process(folder: Path, alone: Path) -> None:
    made = folder.parent / "ray"
    words = [*COMMAND, str(folder), "-o", str(made), *WORDS, *ON_RAY]
    words += ["--record", str(made.with_suffix(".jsonl"))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count(" -> ") == 3
    assert "bad.mp4 is not a video that can be read" in done.stderr
    others = [line for line in done.stderr.splitlines() if "--seed" not in line]
    assert len(others) == 1, done.stderr
    assert_same(made, alone)
    assert recorded(made) == recorded(alone)
    assert [line["status"] for line in recorded(made)] == ["done", "done", "failed", "done"]


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
def test_a_worker_that_is_killed_loses_and_doubles_nothing(folder: Path, alone: Path) -> None:
    made = folder.parent / "killed"
    words = [*COMMAND, str(folder), "-o", str(made), *WORDS, *ON_RAY]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert _kill_one_that_writes(made, run)
    out, said = run.communicate(timeout=300)
    assert run.returncode == 1, said
    assert out.count(" -> ") == 3, said
    assert_same(made, alone)


@RAY
@pytest.mark.slow
def test_outputs_of_a_cluster_are_attacked_too(clip: Path, tmp_path: Path) -> None:
    words = [*COMMAND, str(clip), "-o", str(tmp_path / "o.mp4"), "--regions", "faces", "--verify"]
    words += ["--method", "blur", "--preset", "weak", "--preview", "0.1"]
    done = subprocess.run([*words, *ON_RAY], capture_output=True, text=True, timeout=300)
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


def test_a_later_try_may_replace_what_an_earlier_one_made(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else; a file whose worker dies each time fails."""
    monkeypatch.chdir(tmp_path)
    own = build_pipeline(masquerade.build("blacken"), PipelineConfig(regions="frame", preview=0.1))
    (tmp_path / "there.mp4").write_bytes(b"somebody's")
    rows = [
        row_of(index, FileTask(Path(clip), Path(name)), own)
        for index, name in enumerate(("new.mp4", "there.mp4"))
    ]
    (tmp_path / "new.mp4").write_bytes(b"an earlier try's")
    monkeypatch.chdir(clip.parent)  # a worker may begin anywhere

    def outcome(row: dict[str, Any], before: int) -> FileOutcome:
        return pickle.loads(row_runner(own, str(tmp_path), lambda _: before)(row)["outcome"])

    assert outcome(rows[0], 0).status == "failed", "it appeared meanwhile"
    assert outcome(rows[0], 1).status == "done"
    assert "exists already" in outcome(rows[1], 1).error
    assert (tmp_path / "there.mp4").read_bytes() == b"somebody's"
    assert "died again and again" in outcome(rows[0], TRIES).error
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "new.mp4",
        "new.mp4.receipt.json",
        "there.mp4",
    ]


def test_workers_keep_freed_memory_as_those_of_the_command_do(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(ray_batch, "keep_freed_memory", lambda: kept.append("a file's"))
    monkeypatch.setattr(ray_cluster, "keep_freed_memory", lambda: kept.append("a part's"))
    own = build_pipeline(masquerade.build("blacken"), PipelineConfig(regions="frame"))
    row = row_of(0, FileTask(clip, tmp_path / "o.mp4"), own)
    row_runner(own, str(tmp_path), lambda _: TRIES)(row)
    assert ray_cluster.call_in(str(tmp_path), len, ["abc"], {}) == (3, None)
    assert kept == ["a file's", "a part's"]


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
        changed = own._replace(config=replace(own.config, **changes))
        run = row_runner(own, str(lacked), lambda _: 0)
        return pickle.loads(run(row_of(0, FileTask(source, dst), changed))["outcome"])

    for lost in (outcome(Path("o.mp4")), outcome(tmp_path / "o.mp4", export_boxes=Path("b.json"))):
        assert lost.status == "failed" and f"has no folder {lacked}" in lost.error
    assert not list(tmp_path.iterdir())
    assert outcome(tmp_path / "o.mp4").status == "done"


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_one_line_says_what_adds_it(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["anonymize", str(clip), "-o", str(tmp_path / "o.mp4"), *WORDS, "--engine", "ray"]
    assert main(words) == 3
    assert 'pip install "masquerade[ray]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@RAY
def test_ray_without_ray_data_is_one_line(clip: Path, tmp_path: Path) -> None:
    """As after a bare `pip install ray`."""
    code = "import sys; sys.modules['pyarrow'] = None; from masquerade.cli import main; "
    words = [sys.executable, "-c", f"{code} sys.exit(main(sys.argv[1:]))", "anonymize", str(clip)]
    words += ["-o", str(tmp_path / "o.mp4"), *WORDS, "--engine", "ray"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3 and 'pip install "masquerade[ray]"' in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_an_address_without_ray_is_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["anonymize", str(clip), "-o", str(tmp_path / "o.mp4"), "--address", "10.0.0.5:6379"]
    assert main(words) == 2
    assert "--engine ray" in capsys.readouterr().err


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
