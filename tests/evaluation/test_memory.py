"""Fitting an attacker holds no data set in memory; benchmarks/memory_training.py measures more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys, threading, time
from pathlib import Path
import numpy as np, torch
from masquerade.evaluation import fit_predict as module
from masquerade.evaluation.fit_predict import FitTask, fit_predict
from masquerade.evaluation.predictions import PredictionKey
from masquerade.evaluation.presets import AttackerModel, Preset
from masquerade.evaluation.protocols import Fold
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.store import ClipStore, clip_key

module.SHRUNK_BYTES = 1 << 20  # these 246 MB stand for many times as much
CLIPS, SHAPE = 5000, (3, 16, 32, 32)
torch.set_num_threads(1)
store, rows = ClipStore(Path(sys.argv[1]), SHAPE), np.arange(CLIPS)
for numbers in np.split(rows, 50):
    pixels = np.random.default_rng(numbers[0]).integers(0, 255, (100, *SHAPE), dtype=np.uint8)
    keys = [clip_key(int(number).to_bytes(32, "big"), None, None) for number in numbers]
    store.append(dict(zip(keys, torch.from_numpy(pixels))))
clips = ClipDataset(source=store.mapped(), places=rows, rows=rows)
model = AttackerModel(modality="frames", network="tiny-3d", widths=(4, 8), side=8)
preset = Preset(
    frames=16, size=(32, 32), attackers={"tiny": model}, epochs=1, finetune_epochs=1, batch=10
)

def attack(count):
    half = count // 2
    fold = Fold(
        train=rows[:half], validation=rows[half : half + 50], test=rows[half + 50 : count]
    )
    key = PredictionKey("people unseen", "x", 0, "tiny", "scratch", 0, 0, "test")
    labels = {"action": rows % 2}
    task = FitTask(key=key, fold=fold, classes={"action": 2}, labels=labels)
    fit_predict(task, clips, preset)

def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    return max(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

def peak_of(count):
    peak, done = [0], threading.Event()
    def watch():
        while not done.wait(0.02):
            peak[0] = max(peak[0], memory())
    thread = threading.Thread(target=watch)
    thread.start()
    attack(count)
    done.set()
    thread.join()
    return peak[0]

small = peak_of(1200)  # reads in as large batches as the large one
print(peak_of(CLIPS) - small, CLIPS * store.clip_bytes)
"""


@pytest.mark.slow
def test_memory_grows_by_much_less_than_the_data(tmp_path: Path) -> None:
    # One arena for all threads: else the first allocation of each may reserve 64 MB. What is freed
    # goes back at once: else the heap keeps up to 32 MB of it, as the threads happen to run.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "store")],
        capture_output=True,
        env=environment,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    growth, data = map(int, run.stdout.split())
    assert data > 200e6 and growth < data / 20
