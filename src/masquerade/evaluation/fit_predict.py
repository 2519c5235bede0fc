"""One fit: clips and labels in, answers about validation and test out; weights kept for later."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from masquerade.datasets.augmentation import NONE
from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.features import FEATURES
from masquerade.evaluation.metric_specs import known, many_hot
from masquerade.evaluation.presets import Learner, Preset
from masquerade.evaluation.protocols import Fold
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.metrics.statistic import Floats
from masquerade.models.recognizers import build_recognizer
from masquerade.models.recognizers.modalities import MODALITIES
from masquerade.storage import atomic_write
from masquerade.training.fit import fit
from masquerade.training.predict import predict
from masquerade.training.views import Views

Start = Literal["fresh", "warm", "raw"]
"""From scratch on these clips; from raw-trained weights on these clips; raw-trained, untouched.

A kernel machine has no weights to start from: a warm one learns raw and these clips together.
"""

RIDGE = 0.01  # of a kernel whose diagonal is 1
NONE_APART = 1e-9  # squared distance below which two clips are one to a kernel
MIRRORED = Views(mirror=True)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One fit.

    Args:
        learner: its name in the preset.
        start: see `Start`.
        seed: of weights, order and augmentation.
        fold: whose clips.
        heads: classes by label.
        codes: label to (N,) classes by row of the manifest, or (N, C) of 0 and 1 where a clip has
            several; -1 unknown.
        weights: where the raw-trained weights lie; None: nowhere.
        keeps: whether this is the fit on raw video that puts them there.
    """

    learner: str
    start: Start
    seed: int
    fold: Fold
    heads: Mapping[str, int]
    codes: Mapping[str, IntArray]
    weights: Path | None = None
    keeps: bool = False


@dataclass(frozen=True, kw_only=True)
class Told:
    """Answers of one fit: label to (n, C) probabilities, in the order of the fold's rows.

    Args:
        train: only where raw-trained weights met other clips, to be recalibrated on them.
        validation: to choose by.
        test: to report.
        cpu_seconds: that it took.
    """

    train: dict[str, Floats]
    validation: dict[str, Floats]
    test: dict[str, Floats]
    cpu_seconds: float


def told(task: Task, clips: ClipDataset, preset: Preset, *, device: str = "cpu") -> Told:
    """Do one fit.

    Args:
        task: what to fit.
        clips: of one method; rows that were skipped are in no part of the fold.
        preset: how.
        device: where networks run.
    """
    began = time.process_time()
    learner = preset.learners[task.learner]
    parts = [
        clips.of_rows(rows) for rows in (task.fold.train, task.fold.validation, task.fold.test)
    ]
    if learner.network is None:
        answers = _kernel(task, learner, parts)
    else:
        parts = [part if learner.side is None else part.resize(learner.side) for part in parts]
        net = _network(task, learner, parts[0], preset, device)
        many = tuple(label for label in task.heads if task.codes[label].ndim == 2)
        answers = [_asked(net, part, many) for part in parts]
    spent = time.process_time() - began
    train = answers[0] if task.start == "raw" else {}
    return Told(train=train, validation=answers[1], test=answers[2], cpu_seconds=spent)


def _network(
    task: Task, learner: Learner, train: ClipDataset, preset: Preset, device: str
) -> nn.Module:
    torch.manual_seed(_seed(task))
    net = build_recognizer(
        learner.network or "", heads=task.heads, modality=learner.look, widths=learner.widths
    )
    if task.start != "fresh" and task.weights is not None:
        net.load_state_dict(torch.load(task.weights, weights_only=True))
    if task.start != "raw":
        epochs = preset.epochs if task.start == "fresh" else preset.warm_epochs
        # No validation clips: the last epoch is kept, and validation stays unseen to choose by.
        fit(
            net,
            train,
            None,
            targets=task.codes,
            epochs=epochs,
            batch=preset.batch,
            lr=preset.rate if task.start == "fresh" else preset.rate / 3,
            weight_decay=preset.decay,
            seed=_seed(task),
            device=device,
            augment=NONE if learner.place else preset.augment,
        )
        if task.keeps and task.weights is not None:
            with atomic_write(task.weights, overwrite=True) as part:
                torch.save({k: v.cpu() for k, v in net.state_dict().items()}, part)
    return net


def _asked(net: nn.Module, part: ClipDataset, many: tuple[str, ...]) -> dict[str, Floats]:
    if not len(part):
        return {}
    answers = predict(net, part, views=MIRRORED, many=many)
    return {label: np.asarray(p, np.float64) for label, p in answers.items()}


def _kernel(task: Task, learner: Learner, parts: list[ClipDataset]) -> list[dict[str, Floats]]:
    """Kernel ridge regression on one-hot labels, for each label alike."""
    features = [_features(part, learner) for part in parts]
    learned, rows = features[0], parts[0].rows
    if task.start != "fresh" and task.weights is not None:
        with np.load(task.weights) as file:
            raw, raw_rows = file["features"].astype(np.float64), file["rows"]
        own = (learned, rows) if task.start == "warm" else (raw[:0], raw_rows[:0])
        learned, rows = np.concatenate([raw, own[0]]), np.concatenate([raw_rows, own[1]])
    if task.keeps and task.weights is not None:
        with atomic_write(task.weights, overwrite=True) as part, part.open("wb") as out:
            np.savez(out, features=learned.astype(np.float32), rows=rows)
    found: list[dict[str, Floats]] = [{}, {}, {}]
    for label, size in task.heads.items():
        codes = np.asarray(task.codes[label])[rows]
        there = known(codes)
        hot, many = many_hot(codes[there], size), codes.ndim == 2
        answers = _regressed(learned[there], hot, features, many=many)
        for mine, p in zip(found, answers, strict=True):
            mine[label] = p
    return found


def _regressed(x: Floats, y: Floats, asked: list[Floats], *, many: bool) -> list[Floats]:
    """Answers of a Gaussian kernel as wide as the median distance; clips that are all alike to it
    (perfectly hidden ones) get the training rate."""
    apart, rate = _apart(x, x), y.mean(axis=0)
    width = float(np.median(apart[apart > NONE_APART])) if (apart > NONE_APART).any() else 1.0
    weight = np.linalg.solve(np.exp(-apart / width) + RIDGE * np.eye(len(x)), y - rate)  # (n, C)
    found = []
    for features in asked:
        p = np.clip(np.exp(-_apart(features, x) / width) @ weight + rate, 1e-3, None)
        found.append(np.minimum(p, 1 - 1e-3) if many else p / p.sum(axis=1, keepdims=True))
    return found


def _apart(a: Floats, b: Floats) -> Floats:
    """(n, m) squared distances."""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
    return np.maximum(squares - 2 * a @ b.T, 0.0)


def _features(part: ClipDataset, learner: Learner) -> Floats:
    """(n, D)."""
    found = []
    for clips in clip_loader(part, torch.split(torch.arange(len(part)), 64)):
        seen = MODALITIES[learner.look].transform(clips.float() / 255)
        found.append(FEATURES[learner.features](seen).double().numpy())
    return np.concatenate(found) if found else np.zeros((0, 1))


def _seed(task: Task) -> int:
    """Another stream for each fold and learner, the same for every method."""
    about = f"{task.seed} {task.learner} {task.start} {task.fold.test.tolist()}"
    return int.from_bytes(hashlib.sha256(about.encode()).digest()[:4], "big") >> 1


def save_told(answers: Told, path: Path) -> None:
    """Write answers, whole or not at all.

    Args:
        answers: of one fit.
        path: an .npz file.
    """
    held: dict[str, NDArray[np.float64]] = {"cpu_seconds": np.array(answers.cpu_seconds)}
    for name in ("train", "validation", "test"):
        held.update({f"{name}/{label}": p for label, p in getattr(answers, name).items()})
    with atomic_write(path, overwrite=True) as part, part.open("wb") as file:
        np.savez(file, **held)  # type: ignore[arg-type]


def load_told(path: Path) -> Told:
    """Answers that `save_told` wrote.

    Args:
        path: of the file.
    """
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    parts: dict[str, dict[str, Floats]] = {"train": {}, "validation": {}, "test": {}}
    for name, p in held.items():
        part, _, label = name.partition("/")
        if label:
            parts[part][label] = p
    return Told(**parts, cpu_seconds=float(held["cpu_seconds"]))


def shuffled(codes: Mapping[str, IntArray], *, seed: int) -> dict[str, IntArray]:
    """Labels dealt to other clips, all of a clip's together, for the negative control.

    Args:
        codes: label to (N,).
        seed: of the deal.
    """
    count = len(next(iter(codes.values())))
    deal = np.random.default_rng(seed).permutation(count)
    return {label: known[deal] for label, known in codes.items()}


def without(fold: Fold, rows: IntArray) -> Fold:
    """A fold without the clips that could not be read.

    Args:
        fold: of all clips.
        rows: that are there.
    """
    here = {
        name: np.intersect1d(getattr(fold, name), rows) for name in ("train", "validation", "test")
    }
    return replace(fold, **here)
