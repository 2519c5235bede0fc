"""Ground truth: the labels of the clips, who is in them, and the folds they are measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.splits import linked_groups, shown_people
from masquerade.errors import UsageError
from masquerade.evaluation.predictions import ByLabel, Split
from masquerade.evaluation.protocols import SAME, Protocol, action_column
from masquerade.metrics.floors import ActionPrior, one_hot
from masquerade.metrics.statistic import Floats

Probabilities = Mapping[str, Floats]
"""Label to (n, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitTruth:
    """What is known of the clips of one split, fold after fold, in the order of scoring."""

    # (n,) rows of the manifest; a clip may be twice in it (validation of two folds or seeds)
    clips: IntArray
    fold: IntArray  # (n,) of each
    people: IntArray  # (n,) who is in each, as in GroundTruth; -1 unknown
    groups: IntArray  # (n,) group of people and sources of each
    labels: Mapping[str, IntArray]  # label to (n,) classes, or (n, C) of 0 and 1; -1 unknown
    actions: IntArray  # (n,) true ones, or (n, A) of 0 and 1; -1 unknown
    fold_priors: Mapping[str, tuple[ActionPrior, ...]]  # label to the action prior of each fold

    @cached_property
    def rates(self) -> Probabilities:
        """Label to (n, C), the training rates of the clip's fold."""
        return ByLabel(self.fold_priors, lambda label: self.rates_by_fold(label)[self.fold])

    @cached_property
    def priors(self) -> Probabilities:
        """Label to (n, C), the training rates within the clip's true action."""
        return ByLabel(self.fold_priors, lambda label: self.prior_of(label, self.actions))

    def rates_by_fold(self, label: str) -> Floats:
        """(F, C) training rates of each fold."""
        return np.stack([prior.overall for prior in self.fold_priors[label]])

    def prior_of(self, label: str, actions: IntArray) -> Floats:
        """(n, C) training rates of a label within these actions of the clips."""
        rates = np.empty((len(self.clips), self.rates_by_fold(label).shape[1]))
        for fold, prior in enumerate(self.fold_priors[label]):
            rates[self.fold == fold] = prior.scores(actions[self.fold == fold])
        return rates

    def tuned_guess(self, label: str, rates: Floats) -> Floats:
        """(n, 2) of 0 and 1, the guess at a binary label from its `rates` (n, 2) of the clips.

        It is yes where a rate is above the threshold that has the best F1 on train, where clips are
        guessed from the label's rate within their action.
        """
        guesses = np.empty((len(self.clips), 2))
        for fold, prior in enumerate(self.fold_priors[label]):
            in_fold = self.fold == fold
            assert prior.thresholds is not None
            yes = (rates[in_fold] > prior.thresholds)[:, 1]
            guesses[in_fold] = np.stack([~yes, yes], axis=1)
        return guesses

    def at(self, selected: NDArray[np.bool_] | slice) -> SplitTruth:
        """The clips of a mask or a slice."""
        return replace(
            self,
            clips=self.clips[selected],
            fold=self.fold[selected],
            people=self.people[selected],
            groups=self.groups[selected],
            labels=ByLabel(self.labels, lambda label: self.labels[label][selected]),
            actions=self.actions[selected],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class NeededClips:
    """Clips of which one at least must be readable, for attackers to be trained or scored."""

    protocol: str
    what: str  # such a clip, in words
    clips: IntArray  # rows of the manifest
    label: str | None = None  # that is learned from them; None: attackers are scored on them


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundTruth:
    """Labels of all clips of a manifest, and the folds of each protocol."""

    labels: Mapping[str, IntArray]  # column to (N,) classes, or (N, C) of 0 and 1; -1 unknown
    classes: Mapping[str, int]  # column to C
    action: str  # the column of the action
    shown: IntArray  # (N, K) everybody who is in each clip; -1 once they are all named
    groups: IntArray  # (N,) group of people and sources that share something
    protocols: Mapping[str, Protocol]  # by name

    @classmethod
    def of(cls, manifest: Manifest, protocols: tuple[Protocol, ...]) -> GroundTruth:
        """Of a manifest and the folds of its labels."""
        names = dict.fromkeys(name for protocol in protocols for name in protocol.heads)
        columns = [manifest.column(name) for name in names]
        return cls(
            labels={name: manifest.targets(name) for name in names},
            classes={c.name: 2 if c.kind == "binary" else len(c.values) for c in columns},
            action=action_column(manifest),
            shown=shown_people(manifest),
            groups=linked_groups(manifest),
            protocols={protocol.name: protocol for protocol in protocols},
        )

    @cached_property
    def people(self) -> IntArray:
        """(N,) one number for the clips of the same person, or of the same several; -1 unknown."""
        codes = np.unique(self.shown, axis=0, return_inverse=True)[1].ravel()
        return np.where((self.shown < 0).all(axis=1), -1, codes)

    def of_clips(self, clips: IntArray) -> GroundTruth:
        """The folds without clips that are not among these."""
        return replace(
            self,
            protocols={name: protocol.of_clips(clips) for name, protocol in self.protocols.items()},
        )

    def needed_clips(self, seeds: int) -> Iterator[NeededClips]:
        """Each set of clips of which attackers of so many seeds need one at least."""
        for name, protocol in self.protocols.items():
            known = {label: is_known(self.labels[label]) for label in protocol.heads}
            of = f" of fold {{}} of {len(protocol.folds)}" if len(protocol.folds) > 1 else ""
            for seed in range(seeds):
                folds = [fold.for_seed(seed) for fold in protocol.folds]
                for split in ("validation", "test"):
                    clips = np.concatenate([fold.rows(split) for fold in folds])
                    yield NeededClips(protocol=name, what=f"{split} clip", clips=clips)
                for label, (at, fold) in product(protocol.heads, enumerate(folds, 1)):
                    what = f"training clip{of.format(at)} with a value of {label}"
                    clips = fold.train[known[label][fold.train]]
                    yield NeededClips(protocol=name, what=what, clips=clips, label=label)

    def without_unlearned(self, seeds: int) -> tuple[GroundTruth, tuple[str, ...]]:
        """Without labels that no training clip of a fold has, and notes on them.

        The same of identities of whom nobody in test is in train; where some are not, their clips
        are counted in a note.

        Raises:
            UsageError: the action is one of them, or nothing is left.
        """
        gone, notes = self._find_unlearned(seeds)
        todo = "give more clips a value, or choose other --folds"
        protocols = {}
        for name, protocol in self.protocols.items():
            if (name, self.action) in gone:
                raise UsageError(f"{gone[name, self.action]}, which attackers must learn: {todo}.")
            labels, heads = (
                tuple(label for label in columns if (name, label) not in gone)
                for columns in (protocol.labels, protocol.heads)
            )
            if labels:
                protocols[name] = replace(protocol, labels=labels, heads=heads)
        left_out = [f"{what}, so that label is left out: {todo}." for what in gone.values()]
        if not protocols:
            raise UsageError(left_out[0])
        return replace(self, protocols=protocols), (*left_out, *notes)

    def _find_unlearned(self, seeds: int) -> tuple[dict[tuple[str, str], str], list[str]]:
        """Find why labels cannot be learned, by (protocol, label), and note people not in train."""
        gone: dict[tuple[str, str], str] = {}
        for need in self.needed_clips(seeds):
            if need.label is not None and not len(need.clips):
                what = f"There is no {need.what} ({need.protocol})"
                gone.setdefault((need.protocol, need.label), what)
        notes = []
        for label in self.protocols[SAME].labels if SAME in self.protocols else ():
            tested = np.concatenate([fold.test for fold in self.protocols[SAME].folds])
            of, count = int(is_known(self.labels[label][tested]).sum()), len(self._unlearned(label))
            if count and count == of:
                what = f"No test clip has a value of {label} that a training clip of its fold has"
                gone.setdefault((SAME, label), f"{what} ({SAME})")
            elif count and (SAME, label) not in gone:
                notes.append(
                    f"{label}: {count} of {of} test clips are of somebody who is in no training "
                    "clip of their fold and cannot be recognised: they are left out."
                )
        return gone, notes

    def shuffled(self, seed: int) -> GroundTruth:
        """Labels moved to other clips, all of a clip's together, for the negative control.

        Each stays among the clips that have it, or a fold might have none to learn from. A copy of
        a clip in another row gets other labels, so that the control does not find it.
        """
        order = np.random.default_rng(seed).permutation(len(self.groups))
        labels = {}
        for name, codes in self.labels.items():
            known = is_known(codes)
            labels[name] = codes.copy()
            labels[name][known] = codes[order[known[order]]]
        return replace(self, labels=labels)

    def split(self, protocol: str, split: Split, *, seed: int = 0) -> SplitTruth:
        """The clips of one split of all folds of a protocol, as attackers of a seed see them."""
        protocol_of_seed = self.protocols[protocol]
        folds = tuple(fold.for_seed(seed) for fold in protocol_of_seed.folds)
        protocol_of_seed = replace(protocol_of_seed, folds=folds)
        parts = [fold.rows(split) for fold in folds]
        clips = np.concatenate(parts)
        return SplitTruth(
            clips=clips,
            fold=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
            people=self.people[clips],
            groups=self.groups[clips],
            labels=ByLabel(
                protocol_of_seed.heads, lambda label: self._codes(protocol, label, split)[clips]
            ),
            actions=self.labels[self.action][clips],
            fold_priors={
                label: self._fold_priors(protocol_of_seed, label, seed)
                for label in protocol_of_seed.heads
            },
        )

    def _codes(self, protocol: str, label: str, split: Split) -> IntArray:
        """(N,) or (N, C) of a label; nobody is asked for in test whom no attacker has learned."""
        codes = self.labels[label]
        if split == "test" and protocol == SAME and label in self.protocols[SAME].labels:
            codes = codes.copy()
            codes[self._unlearned(label)] = -1
        return codes

    def _unlearned(self, identity: str) -> IntArray:
        """Test clips of people who are in no training clip of the clip's fold."""
        codes = self.labels[identity]
        unlearned = []
        for fold in self.protocols[SAME].folds:
            known = fold.test[is_known(codes[fold.test])]
            unlearned.append(known[~np.isin(codes[known], codes[fold.train])])
        return np.concatenate(unlearned)

    @cached_property
    def _priors(self) -> dict[tuple[str, int, str], tuple[ActionPrior, ...]]:
        """Priors by protocol, seed and label: both splits of a seed have those of its train."""
        return {}

    def _fold_priors(self, protocol: Protocol, label: str, seed: int) -> tuple[ActionPrior, ...]:
        """Counted in train alone: rates that knew the labels of validation would flatter there."""
        key = protocol.name, seed, label
        if key not in self._priors:
            self._priors[key] = self._count_priors(protocol, label)
        return self._priors[key]

    def _count_priors(self, protocol: Protocol, label: str) -> tuple[ActionPrior, ...]:
        codes, actions = self.labels[label], self.labels[self.action]
        priors = []
        for fold in protocol.folds:
            clips = fold.train[is_known(codes[fold.train])]
            fold_codes = codes[clips]
            hot = fold_codes if fold_codes.ndim == 2 else multi_hot(fold_codes, self.classes[label])
            prior = ActionPrior.fit(hot, actions[clips])
            is_binary = fold_codes.ndim == 1 and self.classes[label] == 2
            priors.append(prior.tuned(hot, actions[clips]) if is_binary else prior)
        return tuple(priors)


def join_validation(parts: Sequence[SplitTruth]) -> SplitTruth:
    """The validation clips of several seeds one after another, each with the rates of its own.

    A fold of the k-th seed has the number k F + fold, where F is how many folds a seed has.
    """
    count = len(next(iter(parts[0].fold_priors.values())))
    return SplitTruth(
        clips=np.concatenate([part.clips for part in parts]),
        fold=np.concatenate([k * count + part.fold for k, part in enumerate(parts)]),
        people=np.concatenate([part.people for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
        labels=ByLabel(
            parts[0].labels, lambda label: np.concatenate([part.labels[label] for part in parts])
        ),
        actions=np.concatenate([part.actions for part in parts]),
        fold_priors={
            label: tuple(prior for part in parts for prior in part.fold_priors[label])
            for label in parts[0].fold_priors
        },
    )


def join_test(tests: Sequence[SplitTruth]) -> SplitTruth:
    """The test clips, which are the same for all seeds, with the mean of their action priors.

    The mean of several seeds' predictions is compared with its rates, so that a constant guess is
    exactly at chance; so is an action that tells nothing, as rates and priors have the same clips.
    """
    return replace(
        tests[0],
        fold_priors={
            label: tuple(
                map(
                    ActionPrior.mean, zip(*(test.fold_priors[label] for test in tests), strict=True)
                )
            )
            for label in tests[0].fold_priors
        },
    )


def is_known(codes: IntArray) -> NDArray[np.bool_]:
    """(n,) whether a clip has a label; `codes` are (n,), or (n, C) of several values a clip."""
    return np.asarray(codes >= 0 if codes.ndim == 1 else (codes >= 0).all(axis=1))


def multi_hot(codes: IntArray, classes: int) -> Floats:
    """(n, C) of 0 and 1, from known labels of one or several values a clip."""
    return one_hot(codes, classes=classes) if codes.ndim == 1 else codes.astype(np.float64)
