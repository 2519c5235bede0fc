"""Ground truth: the labels of the clips, who is in them, and the folds they are measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.splits import linked_groups
from masquerade.evaluation.predictions import Split
from masquerade.evaluation.protocols import Protocol, action_column
from masquerade.metrics.floors import ActionPrior, one_hot
from masquerade.metrics.statistic import Floats

Probabilities = Mapping[str, Floats]
"""Label to (n, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitTruth:
    """What is known of the clips of one split, fold after fold, in the order of scoring."""

    # (n,) rows of the manifest; a clip may be twice in it (validation of two folds)
    clips: IntArray
    fold: IntArray  # (n,) of each
    labels: Mapping[str, IntArray]  # label to (n,) classes, or (n, C) of 0 and 1; -1 unknown
    rates: Probabilities  # label to (n, C), the training rates of the clip's fold
    priors: Probabilities  # label to (n, C), the same within the clip's true action
    fold_priors: Mapping[str, tuple[ActionPrior, ...]]  # label to the action prior of each fold

    def rates_of(self, label: str, fold: int) -> Floats:
        """(C,) training rates of a fold."""
        return self.fold_priors[label][fold].overall

    def predicted_priors(self, label: str, actions: IntArray) -> Floats:
        """(n, C) rates within actions that were recognised on these clips."""
        priors = self.fold_priors[label]
        found = np.empty_like(self.rates[label])
        for fold, prior in enumerate(priors):
            found[self.fold == fold] = prior.scores(actions[self.fold == fold])
        return found

    def at(self, kept: NDArray[np.bool_]) -> SplitTruth:
        """The clips of a mask."""
        return replace(
            self,
            clips=self.clips[kept],
            fold=self.fold[kept],
            labels={label: codes[kept] for label, codes in self.labels.items()},
            rates={label: p[kept] for label, p in self.rates.items()},
            priors={label: p[kept] for label, p in self.priors.items()},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundTruth:
    """Labels of all clips of a manifest, and the folds of each protocol."""

    labels: Mapping[str, IntArray]  # column to (N,) classes, or (N, C) of 0 and 1; -1 unknown
    classes: Mapping[str, int]  # column to C
    action: str  # the column of the action
    people: IntArray  # (N,) person of each clip; -1 unknown
    groups: IntArray  # (N,) group of people and sources that share something
    protocols: Mapping[str, Protocol]  # by name

    @classmethod
    def of(cls, manifest: Manifest, protocols: tuple[Protocol, ...]) -> GroundTruth:
        """Of a manifest and the folds of its labels."""
        names = dict.fromkeys(name for one in protocols for name in one.heads)
        identity = [c.name for c in manifest.of_role("attribute") if c.kind == "identity"]
        unknown = np.full(len(manifest), -1, np.int64)
        return cls(
            labels={name: manifest.targets(name) for name in names},
            classes={name: count_classes(manifest, name) for name in names},
            action=action_column(manifest),
            people=manifest.targets(identity[0]) if identity else unknown,
            groups=linked_groups(manifest),
            protocols={one.name: one for one in protocols},
        )

    def of_clips(self, clips: IntArray) -> GroundTruth:
        """The folds without clips that are not among these."""
        return replace(
            self, protocols={name: one.of_clips(clips) for name, one in self.protocols.items()}
        )

    def of_protocol(self, name: str) -> GroundTruth:
        """The folds of one protocol alone."""
        return replace(self, protocols={name: self.protocols[name]})

    def shuffled(self, seed: int) -> GroundTruth:
        """Labels moved to other clips, all of a clip's together, for the negative control."""
        order = np.random.default_rng(seed).permutation(len(self.groups))
        return replace(self, labels={name: codes[order] for name, codes in self.labels.items()})

    def split(self, protocol: str, split: Split) -> SplitTruth:
        """The clips of one split of all folds of a protocol."""
        one, actions = self.protocols[protocol], self.labels[self.action]
        parts = [fold.rows(split) for fold in one.folds]
        clips = np.concatenate(parts)
        sizes = [len(part) for part in parts]
        priors = {label: self._fold_priors(one, label) for label in one.heads}
        return SplitTruth(
            clips=clips,
            fold=np.repeat(np.arange(len(parts)), sizes),
            labels={label: self.labels[label][clips] for label in one.heads},
            rates={
                label: np.repeat(np.stack([prior.overall for prior in mine]), sizes, axis=0)
                for label, mine in priors.items()
            },
            priors={
                label: np.concatenate(
                    [prior.scores(actions[part]) for prior, part in zip(mine, parts, strict=True)]
                )
                for label, mine in priors.items()
            },
            fold_priors=priors,
        )

    def _fold_priors(self, protocol: Protocol, label: str) -> tuple[ActionPrior, ...]:
        """Counted in train alone: rates that knew the labels of validation would flatter there."""
        codes, actions = self.labels[label], self.labels[self.action]
        found = []
        for fold in protocol.folds:
            clips = fold.train[is_known(codes[fold.train])]
            hot = multi_hot(codes[clips], self.classes[label])
            found.append(ActionPrior.fit(hot, actions[clips]))
        return tuple(found)


def count_classes(manifest: Manifest, label: str) -> int:
    """How many classes a column has."""
    column = manifest.column(label)
    return 2 if column.kind == "binary" else len(column.values)


def is_known(codes: IntArray) -> NDArray[np.bool_]:
    """(n,) whether a clip has a label; `codes` are (n,), or (n, C) of several values a clip."""
    return np.asarray(codes >= 0 if codes.ndim == 1 else (codes >= 0).all(axis=1))


def multi_hot(codes: IntArray, classes: int) -> Floats:
    """(n, C) of 0 and 1, from known labels of one or several values a clip."""
    return one_hot(codes, classes=classes) if codes.ndim == 1 else codes.astype(np.float64)
