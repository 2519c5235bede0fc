"""`masquerade train` and `masquerade evaluate` in two processes that torchrun started."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import masquerade
from masquerade.checkpoint import STATE, WEIGHTS
from masquerade.cli import main
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.evaluation.evaluator import PREDICTIONS
from masquerade.evaluation.predictions import Predictions

pytestmark = pytest.mark.slow

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
QUICK = ["--width", "2", "--short", "16", "--batch", "8", "--device", "cpu", "--no-adversary"]


@pytest.fixture(scope="module")
def mimes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = Mimes(size=32, frames=4, clips=40, people=10, actions=("walk", "squat"))
    return write_mimes(tmp_path_factory.mktemp("data") / "mimes", drawn)


def words(data: Path, run: Path, epochs: int = 1) -> list[str]:
    line = ["train", "spact", "--data", str(data), "-o", str(run), "--epochs", str(epochs)]
    return [*line, "--allow-chance", *QUICK]


@contextmanager
def started(line: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Two processes of a command, both of which are gone afterwards."""
    job = subprocess.Popen(
        [*TWO, "-m", "masquerade", *line],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield job
    finally:
        if job.poll() is None:
            job.terminate()  # it ends its processes
            job.communicate(timeout=60)


def run(line: list[str]) -> tuple[str, str]:
    """What two processes print on stdout and on stderr."""
    with started(line) as job:
        return job.communicate(timeout=300)  # far more than it takes where nothing hangs


def log_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def rank_of(job: subprocess.Popen[str], rank: int) -> int:
    """The process of a rank."""
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    wanted = f"RANK={rank}".encode()
    return next(
        int(pid)
        for pid in children
        if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    )


def await_file(path: Path, job: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_divided_networks_have_the_loss_curve_of_one_process(mimes: Path, tmp_path: Path) -> None:
    """To 1e-2, since Adam magnifies rounding; `training/test_training_processes.py` is stricter."""
    assert main([*words(mimes, tmp_path / "one"), "--json"]) in (0, 1)
    printed, said = run([*words(mimes, tmp_path / "two"), "--json", "--shard"])
    assert json.loads(printed)["epochs"] == 3, said
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    for alone, both in zip(one, two, strict=True):
        assert both == pytest.approx(alone, rel=1e-2, abs=1e-2, nan_ok=True)
    alone, both = (load_file(tmp_path / name / WEIGHTS) for name in ("one", "two"))
    assert {k: v.shape for k, v in alone.items()} == {k: v.shape for k, v in both.items()}
    assert masquerade.load(tmp_path / "two").trained
    lines = [line for line in said.splitlines() if line.startswith("masquerade: ")]
    assert len(lines) == len(set(lines))
    assert "Traceback" not in said.split("elastic")[0]


def test_a_lost_process_ends_the_other_and_one_alone_resumes(mimes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with started([*words(mimes, folder, epochs=2), "--shard"]) as job:
        await_file(folder / STATE, job)
        os.kill(rank_of(job, 1), signal.SIGKILL)
        _, said = job.communicate(timeout=60)
    assert job.returncode == 1
    sentences = [line for line in said.splitlines() if line.startswith("masquerade: ")]
    assert len(sentences) == 1 and "run the same command again to resume" in sentences[0]
    assert not (folder / WEIGHTS).exists()
    assert main(words(mimes, folder, epochs=2)) in (0, 1)
    assert [row["epoch"] for row in log_of(folder)] == list(range(1, len(log_of(folder)) + 1))
    assert masquerade.load(folder).trained and not (folder / STATE).exists()


def test_an_interruption_is_said_once(mimes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with started(words(mimes, folder, epochs=2)) as job:
        await_file(folder / STATE, job)
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=60)
    assert said.count("masquerade: interrupted; run the same command again to resume.") == 1
    assert (folder / STATE).exists() and not (folder / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            ["evaluate", "--data", "none.csv", "--method", "blur"],
            "There is no manifest at none.csv.",
        ),
        (["train", "spact", "--nonsense", "1"], "Unrecognized"),
    ],
)
def test_wrong_usage_is_said_once(line: list[str], sentence: str) -> None:
    printed, said = run(line)
    assert said.count(sentence) == 1 and not printed, said
    assert "exitcode: 2" in said


def test_attackers_are_shared_and_are_those_of_one_process(tmp_path: Path) -> None:
    drawn = Mimes(size=32, frames=4, clips=16, people=4, actions=("walk", "squat"))
    data = write_mimes(tmp_path / "mimes", drawn)
    words = ["evaluate", "--data", str(data), "--method", "pixelate", "--folds", "0"]
    words += ["--preset", "many", "--seeds", "1", "--device", "cpu"]
    words += ["--attackers", "raw,reconstruction", "--regions", "frame"]
    words += ["--no-reidentification", "--json", "-o"]
    printed, said = run([*words, str(tmp_path / "two")])
    assert "Traceback" not in said.split("elastic")[0] and printed, said  # it is void: exit code 1
    assert subprocess.run(
        [sys.executable, "-m", "masquerade", *words, str(tmp_path / "one"), "--workers", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
    ).stdout
    one, two = (Predictions.load(tmp_path / name / PREDICTIONS) for name in ("one", "two"))
    assert one.blocks.keys() == two.blocks.keys()
    for key, block in one.blocks.items():
        for label, values in block.probabilities.items():
            assert np.allclose(values, two.blocks[key].probabilities[label], atol=1e-5), key


def test_one_process_has_nobody_to_divide_a_network_with(
    mimes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(mimes, tmp_path / "run"), "--shard"]) == 2
    assert "leave out --shard" in capsys.readouterr().err
    assert not (tmp_path / "run" / WEIGHTS).exists()
