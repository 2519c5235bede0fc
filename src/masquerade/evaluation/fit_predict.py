"""One fit of one attacker: clips and labels in, predictions for each split out."""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import nn

from masquerade.datasets.augmentation import NONE, Augmentation
from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.ground_truth import is_known, multi_hot
from masquerade.evaluation.kernel_ridge import KernelRidge, feature_batches, stored_batches
from masquerade.evaluation.predictions import Block, Initialisation, PredictionKey, Split
from masquerade.evaluation.presets import AttackerModel, Preset
from masquerade.evaluation.protocols import Fold
from masquerade.evaluation.published_start import load_published
from masquerade.extraction.dataset import ClipDataset, clip_loader, from_tensor
from masquerade.metrics.statistic import Floats
from masquerade.models.recognizers import build_recognizer
from masquerade.storage import atomic_write, save_tensors
from masquerade.training.predict import predict
from masquerade.training.supervised import fit
from masquerade.training.views import ONE_VIEW, Views

SEED_WORDS = {"scratch": "fresh", "finetuned": "warm", "published": "published", "raw": "raw"}
"""Initialisations as seeds are made of them, so that the published tables are reproduced."""
MIRRORED = Views(mirror=True)
SHRUNK_BYTES = 64 << 20  # of shrunk clips that are kept in memory, so that each is shrunk once
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, kw_only=True, eq=False)
class FitTask:
    """One fit."""

    key: PredictionKey  # of its predictions; its seed is of weights, order and augmentation
    fold: Fold  # whose clips
    classes: Mapping[str, int]  # by label
    labels: Mapping[str, IntArray]  # label to (N,) classes, or (N, C) of 0 and 1; -1 unknown
    label_files: Mapping[str, Path] = field(default_factory=dict)  # of labels that are not in it
    weights: Path | None = None  # where the raw-trained weights are; None: nowhere
    saves_weights: bool = False  # whether this is a fit on raw video, which writes them
    # of a kernel machine: what `save_features` wrote of all clips; None: they are computed
    features: Path | None = None


def fit_predict(
    task: FitTask, clips: ClipDataset, preset: Preset, *, device: str = "cpu"
) -> dict[Split, Block]:
    """Fit one attacker and predict its validation and test clips; a raw-trained one train too."""
    began = time.process_time()
    model = preset.attackers[task.key.attacker]
    if model.network is None:
        clips = kernel_clips(clips, model, preset)
    parts = {split: clips.of_rows(task.fold.rows(split)) for split in SPLITS}
    if model.network is None:
        predicted = _fit_kernel(task, clips, parts, model)
    else:
        if model.side is not None:
            parts = {split: _shrink(part, model.side) for split, part in parts.items()}
        preset = preset.sampled(model.sampling)
        net = _fit_network(task, model, parts["train"], preset, device)
        views, frames = _views(model, preset)
        predicted = {
            split: _predict(net, parts[split], task, views, frames) for split in _predicted(task)
        }
    spent = time.process_time() - began
    return {
        split: Block(
            clips=parts[split].rows, probabilities=predicted.get(split, {}), cpu_seconds=spent
        )
        for split in SPLITS
    }


def _views(model: AttackerModel, preset: Preset) -> tuple[Views, int | None]:
    """The views of a clip that are predicted, and the frames of each; None: all of the clip."""
    number = math.prod(preset.views)
    # the background is not mirrored where it is learned (`_augmentation`)
    single_view = MIRRORED if preset.augment.flip and not model.background else ONE_VIEW
    if model.content != "frames":
        return ONE_VIEW if model.content == "flow" else single_view, None
    # several as the papers have them: without mirror images
    views = Views(times=number) if number > 1 else single_view
    if _is_cropped(model, preset):  # stills are not, as in SPAct's code (docs/papers.md 2.5)
        views = replace(views, crop=preset.test_crop, size=preset.test_side, whole_stills=True)
    return views, preset.frames if number > 1 else None


def _is_cropped(model: AttackerModel, preset: Preset) -> bool:
    """Whether a network sees crops; the background is above them."""
    return preset.test_crop < 1 and model.content == "frames" and not model.background


def _shrink(part: ClipDataset, side: int) -> ClipDataset:
    """Clips of side x side pixels; many of them are shrunk whenever they are read."""
    small = part.resize(side)
    if not len(part) or len(part) * math.prod(small.shape) > SHRUNK_BYTES:
        return small
    shrunk = torch.empty((len(part), *small.shape), dtype=torch.uint8)
    places = torch.split(torch.arange(len(part)), 64)
    for place, batch in zip(places, clip_loader(small, places), strict=True):
        shrunk[place] = batch
    return from_tensor(shrunk, rows=part.rows)


def _predicted(task: FitTask) -> tuple[Split, ...]:
    """Train too where raw-trained weights see other clips, to be recalibrated on them."""
    return SPLITS if task.key.initialisation == "raw" else ("validation", "test")


def _learning_rate(model: AttackerModel, preset: Preset, start: Initialisation) -> float:
    if start == "published":
        return model.published_lr or preset.lr
    return preset.lr / 3 if start == "finetuned" else preset.lr


def _fit_network(
    task: FitTask, model: AttackerModel, train: ClipDataset, preset: Preset, device: str
) -> nn.Module:
    torch.manual_seed(_seed(task))
    net = build_recognizer(
        model.network or "",
        heads=task.classes,
        modality=model.modality,
        widths=model.widths,
        masks_black=True,
    )
    start = task.key.initialisation
    if start == "published":
        load_published(net, model)
    elif start != "scratch" and task.weights is not None:
        net.load_state_dict(torch.load(task.weights, weights_only=True))
    if start != "raw":
        # No validation clips: the last epoch is kept, and validation stays unseen to choose by.
        fit(
            net,
            train,
            None,
            targets=task.labels,
            # what starts from published weights has a new head: it learns as long as a new one
            epochs=preset.finetune_epochs if start == "finetuned" else preset.epochs,
            batch=preset.batch,
            lr=_learning_rate(model, preset, start),
            weight_decay=preset.weight_decay,
            seed=_seed(task),
            device=device,
            amp=preset.amp,
            augment=_augmentation(model, preset),
            frames=_views(model, preset)[1],
            step=preset.frames,
        )
        if task.saves_weights and task.weights is not None:
            with atomic_write(task.weights, overwrite=True) as part:
                save_tensors({k: v.cpu() for k, v in net.state_dict().items()}, part)
    return net


def _augmentation(model: AttackerModel, preset: Preset) -> Augmentation:
    """What is done to training clips: poses are only mirrored, backgrounds left as they are."""
    if model.background:
        return NONE
    if model.content == "flow":  # the mirror image would move to the same side
        return replace(preset.augment, flip=0.0)
    if _is_cropped(model, preset):
        crops = (2 * preset.test_crop - 1, 1.0)
        return replace(preset.augment, crop=crops, size=preset.test_side)
    return preset.augment if model.content == "frames" else Augmentation(flip=preset.augment.flip)


def _predict(
    net: nn.Module, part: ClipDataset, task: FitTask, views: Views, frames: int | None
) -> dict[str, Floats]:
    if not len(part):
        return {}
    multi_label = tuple(label for label in task.classes if task.labels[label].ndim == 2)
    predicted = predict(net, part, views=views, frames=frames, multi_label=multi_label)
    return {label: np.asarray(p, np.float64) for label, p in predicted.items()}


def kernel_clips(clips: ClipDataset, model: AttackerModel, preset: Preset) -> ClipDataset:
    """Clips as attackers without a network read them: the middle view, where there are several."""
    return preset.middle_view(clips) if model.content == "frames" else clips


def _fit_kernel(
    task: FitTask, clips: ClipDataset, parts: Mapping[Split, ClipDataset], model: AttackerModel
) -> dict[Split, dict[str, Floats]]:
    """Kernel ridge regression on one-hot labels; labels that the same clips have share a kernel."""

    def batches(split: Split) -> Iterator[Floats]:
        if task.features is None:
            return feature_batches(parts[split], model)
        return stored_batches(task.features, np.searchsorted(clips.rows, parts[split].rows))

    learned = list(batches("train"))
    features = np.concatenate(learned) if learned else np.zeros((0, 1))
    rows = parts["train"].rows
    if task.key.initialisation != "scratch" and task.weights is not None:
        with np.load(task.weights) as file:
            raw, raw_rows = file["features"].astype(np.float64), file["rows"]
        if task.key.initialisation == "finetuned":
            raw, raw_rows = np.concatenate([raw, features]), np.concatenate([raw_rows, rows])
        features, rows = raw, raw_rows
    if task.saves_weights and task.weights is not None:
        with atomic_write(task.weights, overwrite=True) as part, part.open("wb") as out:
            np.savez(out, features=features.astype(np.float32), rows=rows)
    labels = {label: task.labels[label][rows] for label in task.classes}
    by_clips: dict[bytes, list[str]] = {}
    for label, codes in labels.items():
        by_clips.setdefault(is_known(codes).tobytes(), []).append(label)
    machines = []
    for names in by_clips.values():
        known = is_known(labels[names[0]])
        hot = {label: multi_hot(labels[label][known], task.classes[label]) for label in names}
        machines.append(KernelRidge(features[known], hot))
    predictions: dict[Split, dict[str, Floats]] = {}
    for split in _predicted(task):
        by_label: dict[str, list[Floats]] = {label: [] for label in task.classes}
        for batch in batches(split):
            for machine in machines:
                for label, p in machine.predict(batch).items():
                    multi_label = labels[label].ndim == 2
                    p = np.minimum(p, 1 - 1e-3) if multi_label else p / p.sum(axis=1, keepdims=True)
                    by_label[label].append(p)
        predictions[split] = {
            label: np.concatenate(blocks) for label, blocks in by_label.items() if blocks
        }
    return predictions


def _seed(task: FitTask) -> int:
    """Another stream for each fold and attacker, the same for every method."""
    about = f"{task.key.seed} {task.key.attacker} {SEED_WORDS[task.key.initialisation]} "
    about += f"{task.fold.test.tolist()}"
    return int.from_bytes(hashlib.sha256(about.encode()).digest()[:4], "big") >> 1
