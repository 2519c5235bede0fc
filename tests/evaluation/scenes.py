"""Tiny videos with known labels: the action is a motion, the person a colour of the scene."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.evaluation import EvaluationConfig
from masquerade.evaluation.presets import STILL_KERNELS, TEMPORAL_KERNELS, AttackerModel, Preset

FRAMES, SIDE = 8, 32
STEPS = {"down": (0, 2), "right": (2, 0)}
PEOPLE = 14
QUICK = Preset(
    frames=FRAMES,
    size=(SIDE, SIDE),
    attackers={**STILL_KERNELS, **TEMPORAL_KERNELS},
    epochs=1,
    finetune_epochs=1,
)
"""What learns in milliseconds."""
SMALL = Preset(
    frames=FRAMES,
    size=(SIDE, SIDE),
    attackers={
        "tiny-2d": AttackerModel(modality="stills", network="tiny-2d"),
        "kernel on motion": TEMPORAL_KERNELS["kernel on motion"],
    },
    epochs=1,
    finetune_epochs=1,
)
"""The same with one network, fitted for a moment."""
CONFIG = EvaluationConfig(preset="quick", folds=4, seeds=1, workers=1, device="cpu")
FAST = ["--preset", "quick", "--seeds", "1", "--workers", "1", "--device", "cpu", "--json"]
COPY = ["--method", "downsample", "--factor", "2"]


def frames(action: str, person: int, *, seed: int) -> NDArray[np.uint8]:
    """(T, H, W, 3): a bright square that moves through a scene of the person's colour."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 12, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
    tone = np.random.default_rng(1000 + person).integers(20, 200, 3)
    tone[0] = 30 if person % 2 else 160  # all even people are red
    out += tone.astype(np.uint8)
    x, y = rng.integers(2, 8, 2)
    for t in range(FRAMES):
        left, top = x + t * STEPS[action][0], y + t * STEPS[action][1]
        out[t, top : top + 8, left : left + 8] = 250
    return out


def write(path: Path, pictures: NDArray[np.uint8]) -> None:
    """A lossless video of these pictures; without the number that each file gets at random, since
    a method's noise follows from a file's bytes.
    """
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "bgr0"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def make(folder: Path, *, clips: int = 2) -> Path:
    """Write the videos and their manifest; `clips` of each person and action."""
    rows = []
    for person in range(PEOPLE):
        for action in STEPS:
            for take in range(clips):
                name = f"{action}_{person}_{take}.mkv"
                write(folder / name, frames(action, person, seed=97 * person + 7 * take))
                rows.append((name, action, f"p{person}", 1 - person % 2))
    return save(folder / "clips.csv", rows)


def save(path: Path, rows: Sequence[tuple[str, str, str, int]]) -> Path:
    """Write a manifest."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("path", "action", "identity", "red"))
        out.writerows(rows)
    return path


def manifest_of(folder: Path, **options: int) -> Manifest:
    """The same, read."""
    return read_manifest(make(folder, **options))


def note_process(file: Path) -> None:
    """Write which process did it."""
    file.write_text(str(os.getpid()))


def kill_process(file: Path) -> None:
    """End the process that is to do it, as the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
