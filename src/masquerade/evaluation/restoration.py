"""Restoration: an attacker's network restores the raw picture, and what it restored is attacked.

It learns from pairs (anonymized clip, raw clip) of training clips alone, as an attacker makes them
from own videos. Restored clips are then read by attackers that know raw video, and compared with
raw clips of test people by PSNR and SSIM, beside the anonymized clips themselves.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.protocols import Fold
from masquerade.evaluation.results import Restored
from masquerade.extraction.dataset import ClipDataset, ClipSource, Digests, clip_loader
from masquerade.metrics.intervals import score_over_runs
from masquerade.metrics.picture_quality import MOST_PSNR, psnr, ssim
from masquerade.metrics.statistic import Floats, Statistic, mean
from masquerade.models.restoration_net import RestorationNet
from masquerade.storage import atomic_write, save_tensors, weights_digest
from masquerade.training.restoration import RestorationConfig, fit_restoration, restore_frames

MOST_PAIRS = 4096  # frames that a network learns from, spread evenly over all clips
BATCH = 8  # frames a step: 16 restore weak blur better by .3 dB and take twice the time
CLIPS_AT_ONCE = 8
SHARED_SEEDS = 3  # seeds of attackers that share one network

FoldSeed = tuple[str, int, int]
"""Protocol, seed and fold: each has its own training people."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RestorationTask:
    """One network to be trained: on these clips, which have the same rows in the same order."""

    published: ClipDataset
    raw: ClipDataset
    steps: int
    seed: int


def why_not_comparable(published: ClipDataset, raw: ClipDataset) -> str | None:
    """Why anonymized clips have no raw ones to be compared with; None: they have."""
    if published.shape != raw.shape:
        return f"its clips are {published.shape}, and raw ones {raw.shape}"
    return None if np.isin(published.rows, raw.rows).all() else "not every clip has a raw one"


def shared_train(
    fold: Fold, seeds: Sequence[int], clips: IntArray
) -> list[tuple[tuple[int, ...], IntArray]]:
    """Groups of seeds that share a network, and the clips that are training clips of all of them.

    Each seed holds other people out for validation, whom its network must not have seen.
    """

    def shared(group: Sequence[int]) -> IntArray:
        rows = clips
        for seed in group:
            rows = np.intersect1d(rows, fold.for_seed(seed).train)
        return rows

    groups = [tuple(seeds[i : i + SHARED_SEEDS]) for i in range(0, len(seeds), SHARED_SEEDS)]
    if not all(len(shared(group)) for group in groups):  # of few people every seed holds half out
        groups = [(seed,) for seed in seeds]
    return [(group, shared(group)) for group in groups]


def fit_restoration_net(task: RestorationTask, *, device: str = "cpu") -> RestorationNet:
    """Train a network on pairs of frames."""
    count, frames = len(task.published), task.published.shape[1]
    clips = torch.linspace(0, count - 1, min(count, MOST_PAIRS)).round().long()
    per_clip = max(1, min(frames, MOST_PAIRS // max(1, count)))
    at = torch.linspace(0, frames - 1, per_clip).round().long()
    places = torch.split(clips, CLIPS_AT_ONCE)
    inputs, raws = [], []
    for published, raw in zip(
        clip_loader(task.published, places), clip_loader(task.raw, places), strict=True
    ):
        inputs.append(_with_mean(published)[:, at].flatten(0, 1))
        raws.append(raw.transpose(1, 2)[:, at].flatten(0, 1))
    shown, targets = torch.cat(inputs), torch.cat(raws)  # (N, 6, H, W) and (N, 3, H, W), bytes

    def sample(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch = torch.randint(len(shown), (BATCH,), generator=generator)
        return shown[batch].float() / 255, targets[batch].float() / 255

    config = RestorationConfig(steps=task.steps)
    return fit_restoration(sample, config=config, seed=task.seed, device=device)


def save_restoration_net(file: Path, task: RestorationTask, *, device: str = "cpu") -> None:
    """Train a network and write its weights."""
    net = fit_restoration_net(task, device=device)
    with atomic_write(file, overwrite=True) as part:
        save_tensors({name: weight.cpu() for name, weight in net.state_dict().items()}, part)


def load_restoration_net(file: Path, *, device: str = "cpu") -> RestorationNet:
    """Read what `save_restoration_net` wrote."""
    net = RestorationNet()
    net.load_state_dict(torch.load(file, weights_only=True))
    return net.to(device).eval().requires_grad_(False)


def restored_clips(clips: ClipDataset, net: RestorationNet) -> ClipDataset:
    """The same clips, restored when they are read."""
    return replace(clips, source=RestoredClipSource(clips.source, net))


class RestoredClipSource:
    """Clips of another source, restored by a network when they are read."""

    def __init__(self, source: ClipSource, net: RestorationNet) -> None:
        self._source, self._net = source, net
        self._about = weights_digest(net.state_dict()).encode()
        self.shape = source.shape

    def read(self, places: IntArray) -> Tensor:
        shown = _with_mean(self._source.read(places))  # (B, T, 6, H, W)
        frames = restore_frames(self._net, shown.flatten(0, 1).float() / 255)
        return frames.reshape(*shown.shape[:2], *frames.shape[1:]).transpose(1, 2).contiguous()

    def digests(self, places: IntArray) -> Digests:
        """Of the clips that these are made from, and of the network."""
        digests = [hashlib.sha256(d.tobytes() + self._about) for d in self._source.digests(places)]
        return np.frombuffer(b"".join(d.digest() for d in digests), np.uint8).reshape(-1, 32)


def _with_mean(clips: Tensor) -> Tensor:
    """(B, T, 6, H, W) in bytes of clips (B, 3, T, H, W): each frame, and the mean of its clip."""
    around = clips.float().mean(dim=2, keepdim=True).round().byte().expand_as(clips)
    return torch.cat([clips, around], dim=1).transpose(1, 2)


Quality = Mapping[int, tuple[float, float]]
"""PSNR and SSIM of a clip against the raw one, by its row of the manifest."""


def clip_quality(clips: ClipDataset, raw: ClipDataset) -> Quality:
    """How near clips are to the raw ones, which must hold all of their rows."""
    beside = raw.of_rows(clips.rows)
    places = torch.split(torch.arange(len(clips)), CLIPS_AT_ONCE)
    quality: dict[int, tuple[float, float]] = {}
    rows = iter(clips.rows.tolist())
    for batch, truth in zip(clip_loader(clips, places), clip_loader(beside, places), strict=True):
        for a, b in zip(batch, truth, strict=True):
            frames, raw_frames = (x.permute(1, 2, 3, 0).contiguous().numpy() for x in (a, b))
            alike = np.mean([ssim(x, y) for x, y in zip(frames, raw_frames, strict=True)])
            quality[next(rows)] = psnr(frames, raw_frames), float(alike)
    return quality


def compare(
    attacker: str,
    published: Quality,
    restored: Quality,
    groups: IntArray,
    *,
    runs: Sequence[tuple[Quality, Quality]] = (),
) -> Restored:
    """What is reported of an attacker: both qualities on the clips that it restored.

    Args:
        attacker: what restored them, as the table calls it.
        published: of the anonymized clips.
        restored: of those that the attacker made of them.
        groups: (N,), the group of people of each row of the manifest.
        runs: both qualities of single training runs, over which `published` and `restored` are
            means; none of a method that is not trained.
    """
    rows = sorted(restored)
    clusters = groups[rows]

    def values(quality: Quality, index: int) -> Floats:
        return np.array([quality[row][index] for row in rows])

    def statistics(before: Quality, after: Quality) -> dict[str, Statistic]:
        # a gain is one number a clip, so that its interval is that of a mean: a difference of two
        # means whose clips are all equal would get a width from the scale of 60 dB, which is meant
        # for shares
        gains = values(after, 0) - values(before, 0)
        return {
            "published_psnr": mean(values(before, 0), high=MOST_PSNR),
            "psnr": mean(values(after, 0), high=MOST_PSNR),
            "gained_psnr": mean(gains, low=-MOST_PSNR, high=MOST_PSNR),
            "published_ssim": mean(values(before, 1), low=-1.0),
            "ssim": mean(values(after, 1), low=-1.0),
        }

    run_statistics = [statistics(*run) for run in runs]
    scores = {
        name: score_over_runs(statistic, [run[name] for run in run_statistics], clusters=clusters)
        for name, statistic in statistics(published, restored).items()
    }
    return Restored(attacker=attacker, **scores)


def mean_of_both(pairs: Sequence[tuple[Quality, Quality]]) -> tuple[Quality, Quality]:
    """`mean_quality` of what was published, and of what was restored."""
    published, restored = [before for before, _ in pairs], [after for _, after in pairs]
    return mean_quality(published), mean_quality(restored)


def mean_quality(qualities: Sequence[Quality]) -> Quality:
    """The mean of each row over all that have it: of several seeds or training runs."""
    values: dict[int, list[tuple[float, float]]] = {}
    for quality in qualities:
        for row, value in quality.items():
            values.setdefault(row, []).append(value)
    return {
        row: (float(np.mean([a for a, _ in pairs])), float(np.mean([b for _, b in pairs])))
        for row, pairs in values.items()
    }
