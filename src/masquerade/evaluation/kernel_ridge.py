"""Kernel ridge regression on simple features of clips: attackers that are strong on few clips."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.gait_attackers import flow_spectrum, gait_energy_image
from masquerade.evaluation.pose_attackers import bone_ratios, landmark_sequences
from masquerade.evaluation.presets import AttackerModel
from masquerade.evaluation.side_channel_attackers import file_facts, packet_sizes, receipt
from masquerade.extraction.config import PIXELS
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.metrics.statistic import Floats
from masquerade.models.recognizers.modalities import MODALITIES
from masquerade.storage import atomic_write

MOST_CLIPS = 20_000
"""Clips of the largest kernel matrix; kernel attackers of more are left out.

It grows with the square: 20,000 clips need 3.2 GB, and solving about three times that. A finetuned
kernel machine learns raw and anonymized clips together, which halves the training clips it takes.
"""
RIDGE = 0.01  # of a kernel whose diagonal is 1
SAME = 1e-9  # squared distance below which two clips are the same to the kernel
BINS = 6  # of each colour
CLIPS_AT_ONCE = 64
QUERIES_AT_ONCE = 4096


def coarse_mean_frame(clips: Tensor) -> Tensor:
    """The mean frame, coarse."""
    return F.adaptive_avg_pool2d(clips.mean(dim=2), (14, 18)).flatten(1)


def fine_mean_frame(clips: Tensor) -> Tensor:
    """The mean frame, at the size of pictures of people that are cut out."""
    return F.adaptive_avg_pool2d(clips.mean(dim=2), (32, 24)).flatten(1)


def coarse_frames(clips: Tensor) -> Tensor:
    """Every frame, coarser."""
    return F.adaptive_avg_pool3d(clips, (clips.shape[2], 7, 9)).flatten(1)


def colour_histogram(clips: Tensor) -> Tensor:
    """The square roots of a histogram of 6 x 6 x 6 colours."""
    bins = (clips * BINS).long().clamp(max=BINS - 1).flatten(2)  # (B, 3, T * H * W)
    codes = (bins[:, 0] * BINS + bins[:, 1]) * BINS + bins[:, 2]
    counts = torch.zeros(len(clips), BINS**3).scatter_add_(1, codes, torch.ones(codes.shape))
    return (counts / codes.shape[1]).sqrt()


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "picture": coarse_mean_frame,
    "fine picture": fine_mean_frame,
    "frames": coarse_frames,
    "colours": colour_histogram,
    "landmarks": landmark_sequences,
    "bone ratios": bone_ratios,
    "flow spectrum": flow_spectrum,
    "gait energy image": gait_energy_image,
    "packet sizes": packet_sizes,
    "file facts": file_facts,
    "receipt": receipt,
}
"""(B, C, T, H, W) of a modality, pose sequences (B, 6, T, 33, M) or packet clips to (B, D)."""


def extract_features(clips: ClipDataset, model: AttackerModel) -> Floats:
    """(n, D) of all clips."""
    parts = list(feature_batches(clips, model))
    return np.concatenate(parts) if parts else np.zeros((0, 1))


def feature_batches(clips: ClipDataset, model: AttackerModel) -> Iterator[Floats]:
    """(n, D) of some clips after one another."""
    for indices in torch.split(torch.arange(len(clips)), QUERIES_AT_ONCE):
        yield torch.cat(list(_computed(clips, model, indices))).double().numpy()


def _computed(clips: ClipDataset, model: AttackerModel, places: Tensor) -> Iterator[Tensor]:
    """Compute the features (n, D) of a few clips at a time, in a feature's own precision."""
    for batch in clip_loader(clips, torch.split(places, CLIPS_AT_ONCE)):
        if model.content in (*PIXELS, "restored"):
            batch = MODALITIES[model.modality].transform(batch.float() / 255)
        yield FEATURES[model.features](batch)


def save_features(file: Path, clips: ClipDataset, model: AttackerModel) -> None:
    """Compute the features (n, D) of all clips and write them to an .npy file."""
    features = torch.cat(list(_computed(clips, model, torch.arange(len(clips)))))
    with atomic_write(file, overwrite=True) as part, part.open("wb") as out:
        np.save(out, features.numpy())


def stored_batches(file: Path, places: IntArray) -> Iterator[Floats]:
    """Read the features (n, D) of clips from a file of `save_features`, by their places in it."""
    stored = np.load(file, mmap_mode="r")
    for first in range(0, len(places), QUERIES_AT_ONCE):
        yield stored[places[first : first + QUERIES_AT_ONCE]].astype(np.float64)


class KernelRidge:
    """Kernel ridge regression with a Gaussian kernel as wide as the median distance of its clips.

    Clips that are all the same to it (perfectly hidden ones) get the training rate. It learns from
    features (n, D), and labels (n, C) of 0 and 1 by name.
    """

    def __init__(self, features: Floats, labels: Mapping[str, Floats]) -> None:
        self._features = features
        kernel = _squared_distances(features, features)
        different = kernel[kernel > SAME]
        self._width = float(np.median(different)) if len(different) else 1.0
        self._apply(kernel)
        kernel[np.diag_indices(len(kernel))] += RIDGE
        self._rates = {label: y.mean(axis=0) for label, y in labels.items()}
        # all labels at once: the kernel is factorised once
        solved = np.linalg.solve(
            kernel, np.hstack([y - self._rates[label] for label, y in labels.items()])
        )
        ends = np.cumsum([y.shape[1] for y in labels.values()])[:-1]
        self._weights = dict(zip(labels, np.split(solved, ends, axis=1), strict=True))  # (n, C)

    def predict(self, features: Floats) -> dict[str, Floats]:
        """Label to (m, C), not yet normalised, from (m, D)."""
        kernel = self._apply(_squared_distances(features, self._features))
        return {
            label: np.clip(kernel @ weight + self._rates[label], 1e-3, None)
            for label, weight in self._weights.items()
        }

    def _apply(self, distances: Floats) -> Floats:
        np.divide(distances, -self._width, out=distances)
        return np.exp(distances, out=distances)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    """(n, m)."""
    distances = (-2 * a) @ b.T
    distances += (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
    return np.maximum(distances, 0.0, out=distances)
