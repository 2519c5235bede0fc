"""Re-identification across clips: which other clips show the same person, among unseen people.

An attacker who trained on other people's clips is given clips of people whom nobody trained on,
and finds for each (the probe) the most similar among many (the gallery): other published clips,
which links a person's videos with one another, or raw clips, which finds known people. No label of
the people who are compared is needed, as the attacker needs who names them. The feature to compare
by is chosen on training people alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray
from masquerade.datasets.splits import grouped_folds
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.person_metric import PersonMetric, cosine
from masquerade.evaluation.protocols import UNSEEN, Fold
from masquerade.evaluation.results import Reidentification, ReidentificationAttack, Row
from masquerade.metrics.intervals import (
    NO_QUANTILES,
    Quantiles,
    Score,
    max_t,
    score_over_runs,
)
from masquerade.metrics.leakage import exceeds_held_limit
from masquerade.metrics.reidentification import (
    equal_error_rate,
    identification_rate,
    known_auc,
    linkage_auc,
    pairs_alike,
    rank_k,
    retrieval_map,
    shuffled_map,
)
from masquerade.metrics.statistic import Floats, Statistic, average, mean_of_defined

Features = Mapping[str, Floats]
"""Feature to (N, D), a row for each of the manifest; nan where there is no such clip."""

FUSION = "all features"  # the mean of all similarities
LEAST_PEOPLE = 4  # with two clips or more, without whom nothing is measured
PARTS = 3  # of the training people, each of which is compared in turn to choose a feature
OPEN_PARTS = 3  # of the people of a test, each of which is left out of the gallery in turn
MOST_CLIPS = 400  # that are compared; of more some are drawn
LEAST_DRAWN = 4  # of each person, two for each half that is pooled; of more people some are drawn
RANK, MAP, LINKAGE, EER = "rank-1", "mAP", "linkage AUC", "EER"
MULTI, SINGLE = "rank-1, several clips pooled", "rank-1, one clip against the same gallery"
KNOWN, IDENTIFIED = "open set: known AUROC", "open set: identified at 10 % false alarms"


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Which clips are compared with which, and who is in them; the same for every row."""

    people: IntArray  # (N,) who is in each clip of the manifest, one or several; -1 unknown
    shown: IntArray  # (N, K) each of these, by whom clips of different `people` may be alike
    sources: IntArray  # (N,) the file that each was cut from: clips of one are not compared
    groups: IntArray  # (N,) people and sources that share something: what intervals are over
    folds: tuple[Fold, ...]  # people of a test are in no training clip
    seed: int = 0

    @cached_property
    def tested(self) -> tuple[IntArray, ...]:
        """The clips that are compared, by fold: people's who are in two recordings or more.

        Somebody who is alone in a fold could be mistaken for nobody, and is left out.
        """
        folds = [self._recurring(fold.test) for fold in self.folds]
        folds = [rows if len(np.unique(self.groups[rows])) > 1 else rows[:0] for rows in folds]
        drawn = self._drawn(np.concatenate(folds))
        return tuple(self._recurring(rows[np.isin(rows, drawn)]) for rows in folds)

    @property
    def clips(self) -> IntArray:
        """(n,) the clips that are compared, fold after fold."""
        return np.concatenate(self.tested)

    @property
    def fold(self) -> IntArray:
        """(n,) the fold of each clip that is compared."""
        return np.repeat(np.arange(len(self.folds)), [len(rows) for rows in self.tested])

    def alike(self, rows: IntArray) -> NDArray[np.bool_]:
        """(n, n): which pairs of these clips show somebody in common."""
        slots = self.shown[rows].T
        same = np.zeros((len(rows), len(rows)), bool)
        for first, second in product(slots, slots):
            same |= pairs_alike(first, second) & (first >= 0)[:, None]
        return same

    def learned(self, fold: int) -> IntArray:
        """The clips that a metric for a fold is learned on, and a feature chosen."""
        fold_clips = self.folds[fold]
        rows = np.union1d(fold_clips.train, fold_clips.validation)
        return np.asarray(rows[self.people[rows] >= 0], np.int64)

    def why_not(self) -> str | None:
        """Why nothing can be compared; None: it can."""
        recurring = np.concatenate([self._recurring(fold.test) for fold in self.folds])
        count = len(np.unique(self.people[recurring]))
        if count < LEAST_PEOPLE:
            return f"{count} people of the test are in two recordings, and {LEAST_PEOPLE} must be"
        compared = len(np.unique(self.people[self.clips]))
        if compared < LEAST_PEOPLE:
            return (
                f"{count - compared} of {count} people of the test are alone in their fold, so "
                "that they can be taken for nobody else"
            )
        if any(len(np.unique(self.groups[self.learned(k)])) < 4 for k in range(len(self.folds))):
            return "there are fewer than 4 people to learn from"
        for fold, rows in zip(self.folds, self.tested, strict=True):
            if np.isin(rows, fold.shared(self.groups)).any():
                return "people or source videos of test are in train, by the manifest's own split"
        return None

    def _drawn(self, rows: IntArray) -> IntArray:
        """Of these clips at most `MOST_CLIPS`, as many of each person, of too many people some."""
        if len(rows) <= MOST_CLIPS:
            return rows
        rng = np.random.default_rng(self.seed)
        people = rng.permutation(np.unique(self.people[rows]))
        most = max(LEAST_DRAWN, MOST_CLIPS // len(people))
        drawn: list[int] = []
        for person in people:
            clips = self._by_recording(rng.permutation(rows[self.people[rows] == person]))[:most]
            if len(drawn) + len(clips) <= MOST_CLIPS:
                drawn += clips.tolist()
        return np.array(drawn)

    def _by_recording(self, rows: IntArray) -> IntArray:
        """These clips, the first of each recording before the second of any."""
        order = np.argsort(self.sources[rows], kind="stable")
        sources = self.sources[rows][order]
        turn = np.empty(len(rows), np.int64)
        turn[order] = np.arange(len(rows)) - np.searchsorted(sources, sources)
        return np.asarray(rows[np.argsort(turn, kind="stable")], np.int64)

    def _recurring(self, rows: IntArray) -> IntArray:
        shown = self.shown[rows]
        sources = np.repeat(self.sources[rows], shown.shape[1])
        pairs = np.unique(np.stack([shown.ravel(), sources], axis=1), axis=0)
        people, counts = np.unique(pairs[:, 0], return_counts=True)
        recurring = people[(counts > 1) & (people >= 0)]
        return np.asarray(rows[np.isin(shown, recurring).any(axis=1)], np.int64)


def reidentify(
    comparison: Comparison,
    runs: Sequence[Sequence[Features]],
    *,
    raw: Features | None = None,
) -> Reidentification:
    """Re-identify people across clips of one row of the table.

    Args:
        comparison: what is compared.
        runs: the features of the clips for each training run and fold: `runs[run][fold]`; all
            folds of a method that is not trained have the same.
        raw: of the raw clips, among which people are looked for; None: among the clips themselves.
    """
    matches = [_match(comparison, run, raw) for run in runs]
    scenario = _Scenario(comparison)
    names = list(matches[0].similarity)
    groups = comparison.groups[comparison.clips]
    linked = {
        name: [linkage_auc(scenario.truth, match.similarity[name]) for match in matches]
        for name in names
    }
    ranked = {
        name: [rank_k(scenario.truth, match.similarity[name]) for match in matches]
        for name in names
    }
    averages = [average(ranks) for ranks in ranked.values()]
    wide = max_t(averages, list(ranked.values()), clusters=groups)
    chosen = [name for match in matches for name in match.chosen]
    chosen_ranks = [ranked[name] for name in dict.fromkeys(chosen)]
    rivals = max_t(list(map(average, chosen_ranks)), chosen_ranks, clusters=groups)
    statistics = [scenario.statistics(match.picked) for match in matches]
    scores = {
        name: _score([run[name] for run in statistics], scenario.clusters[name], rivals)
        for name in statistics[0]
    }
    highest = max(names, key=lambda name: average(ranked[name]).value)
    return Reidentification(
        gallery="anonymized" if raw is None else "raw",
        people=len(np.unique(comparison.people[comparison.clips])),
        probes=len(comparison.clips),
        chosen=tuple(chosen),
        scores=scores,
        floors=scenario.floors(),
        highest=highest,
        highest_score=_score(ranked[highest], groups, wide),
        attacks=tuple(
            ReidentificationAttack(
                name=name,
                validation=_mean([match.validation[name] for match in matches]),
                linkage=_score(linked[name], groups),
                rank_1=_score(ranked[name], groups, wide),
            )
            for name in names
        ),
    )


def compare_people(
    truth: GroundTruth, sources: IntArray, clips: IntArray, *, seed: int
) -> tuple[Comparison | None, str | None]:
    """What is compared of these clips, or why nothing is."""
    if UNSEEN not in truth.protocols:
        return None, "no people are held out of training"
    folds = truth.of_clips(clips).protocols[UNSEEN].folds
    comparison = Comparison(
        people=truth.people,
        shown=truth.shown,
        sources=sources,
        groups=truth.groups,
        folds=folds,
        seed=seed,
    )
    why = comparison.why_not()
    return (comparison, None) if why is None else (None, why)


def by_row(features: Floats, rows: IntArray, count: int) -> Floats:
    """(N, D), nan where a row of the manifest has no clip, from (n, D) of these rows."""
    filled = np.full((count, features.shape[1]), np.nan)
    filled[rows] = features
    return filled


def succeeds(result: Reidentification) -> bool:
    """Whether people are surely found again: the positive control, on raw video."""
    if RANK not in result.scores:
        return False
    rank, floor = result.scores[RANK], result.floors[RANK]
    return rank.low is not None and floor is not None and rank.low > floor


def surely_found(result: Reidentification) -> bool:
    """Whether people are surely found again, by one clip or by several pooled."""
    names = (RANK, MULTI)
    return any(exceeds_held_limit(result.scores.get(n), result.floors.get(n), 1.0) for n in names)


def against_raw(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, raw video first, without numbers that prove nothing.

    Where people are not surely found again in raw video, a method behind which they are not found
    either may hide nothing.
    """
    if all(map(succeeds, rows[0].reidentification)):
        return tuple(rows)
    why = "on raw video people are not surely found again either, so a low score says nothing"
    out = [rows[0]]
    for row in rows[1:]:
        checked = tuple(
            result
            if result.not_applicable or succeeds(result) or surely_found(result)
            else Reidentification(gallery=result.gallery, not_applicable=why)
            for result in row.reidentification
        )
        out.append(replace(row, reidentification=checked))
    return tuple(out)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Match:
    """Similarities of all clips that are compared, (n, n) with -inf for pairs that are not.

    Those of each fold have mean 0 and standard deviation 1: one threshold serves all folds, though
    each has a metric, and perhaps a feature, of its own.
    """

    similarity: Mapping[str, Floats]  # by feature
    validation: Mapping[str, float]  # by feature, the mean over folds of the linkage AUC
    chosen: tuple[str, ...]  # by fold
    picked: Floats  # by the chosen feature of each fold


def _match(comparison: Comparison, run: Sequence[Features], raw: Features | None) -> _Match:
    count = len(comparison.clips)
    names = [*run[0], *([FUSION] if len(run[0]) > 1 else [])]
    similarity = {name: np.full((count, count), -np.inf) for name in names}
    picked, chosen, strengths, start = np.full((count, count), -np.inf), [], [], 0
    for fold, rows in enumerate(comparison.tested):
        learned = comparison.learned(fold)
        strength = _strengths(comparison, run[fold], raw, learned)
        best = max(names, key=lambda name: np.nan_to_num(strength[name], nan=-1.0))
        similarities = _similarities(comparison, run[fold], raw, learned, rows)
        normalized = {name: _normalized(s) for name, s in similarities.items()}
        here = slice(start, start + len(rows))
        for name in names:
            similarity[name][here, here] = normalized[name]
        picked[here, here] = normalized[best]
        chosen.append(best)
        strengths.append(strength)
        start += len(rows)
    validation = {
        name: _mean([fold_strength[name] for fold_strength in strengths]) for name in names
    }
    return _Match(
        similarity=similarity,
        validation={name: np.nan if v is None else v for name, v in validation.items()},
        chosen=tuple(chosen),
        picked=picked,
    )


def _strengths(
    comparison: Comparison, features: Features, raw: Features | None, rows: IntArray
) -> dict[str, float]:
    """The linkage AUC of each feature on parts of the training people, learned on the others."""
    groups = comparison.groups[rows]
    parts = 2 if len(np.unique(groups)) < 2 * PARTS else PARTS
    part_of = grouped_folds(groups, parts, seed=comparison.seed)
    aucs: dict[str, list[float]] = {}
    for part in range(parts):
        held = rows[part_of == part]
        truth = comparison.alike(held)
        for name, s in _similarities(
            comparison, features, raw, rows[part_of != part], held
        ).items():
            # a part of one recording has no pair, and tells nothing
            auc = linkage_auc(truth, s).value if (s > -np.inf).any() else np.nan
            aucs.setdefault(name, []).append(auc)
    return {name: float(mean_of_defined(np.array(values))) for name, values in aucs.items()}


def _similarities(
    comparison: Comparison,
    features: Features,
    raw: Features | None,
    learned: IntArray,
    rows: IntArray,
) -> dict[str, Floats]:
    """(p, p) of each feature and of all together, by a metric learned on other people.

    Raw and anonymized clips are each centred at the training clips of their own kind, and the
    metric is learned on both, so that what differs between the kinds tells nobody apart.
    """
    apart = comparison.sources[rows][:, None] != comparison.sources[rows][None, :]
    people = comparison.people[learned]
    similarities = {}
    for name, feature in features.items():
        train, probes = feature[learned], feature[rows]
        if raw is None:
            metric = PersonMetric(train, people)
            a = b = metric.project(probes)
        else:
            middle, raw_train = train.mean(axis=0), raw[name][learned]
            raw_middle = raw_train.mean(axis=0)
            both = np.concatenate([train - middle, raw_train - raw_middle])
            metric = PersonMetric(both, np.concatenate([people, people]))
            a, b = metric.project(probes - middle), metric.project(raw[name][rows] - raw_middle)
        similarities[name] = np.where(apart, cosine(a, b), -np.inf)
    if len(similarities) > 1:
        similarities[FUSION] = np.mean([_normalized(s) for s in similarities.values()], axis=0)
    return similarities


def _normalized(similarity: Floats) -> Floats:
    """Similarities of mean 0 and standard deviation 1; all 0 where they are all the same."""
    known = similarity > -np.inf
    values = similarity[known]
    sd = float(values.std()) if len(values) else 0.0
    if sd < 1e-9:
        return np.where(known, 0.0, -np.inf)
    return np.where(known, (similarity - values.mean()) / sd, -np.inf)


class _Scenario:
    """What is asked of the similarities: closed set, open set, several clips pooled."""

    def __init__(self, comparison: Comparison) -> None:
        people, fold = comparison.people[comparison.clips], comparison.fold
        self.truth = comparison.alike(comparison.clips)
        apart = comparison.sources[comparison.clips]
        self._compared = (fold[:, None] == fold) & (apart[:, None] != apart)
        rng = np.random.default_rng(comparison.seed + 1)
        part, half = np.zeros_like(people), np.zeros_like(people)
        for k in np.unique(fold):
            for place, person in enumerate(rng.permutation(np.unique(people[fold == k]))):
                part[people == person] = place % OPEN_PARTS
        for person in np.unique(people):
            clips = rng.permutation(np.flatnonzero(people == person))
            half[clips] = np.arange(len(clips)) % 2
        self._part = part
        # each half of a person's clips against the other halves of all
        halves = [
            (h, np.flatnonzero((people == person) & (half == h)))
            for person in np.unique(people)
            for h in (0, 1)
        ]
        self._pooled = [(h, members) for h, members in halves if len(members)]
        self._half = half
        self._pooled_truth = np.stack([self.truth[members[0]] for _, members in self._pooled])
        groups = comparison.groups[comparison.clips]
        pooled_groups = np.array([groups[members[0]] for _, members in self._pooled])
        part_groups = np.tile(groups, OPEN_PARTS)
        self.clusters: dict[str, NDArray[np.generic]] = dict.fromkeys(
            (RANK, MAP, LINKAGE, EER, SINGLE), groups
        ) | {MULTI: pooled_groups, KNOWN: part_groups, IDENTIFIED: part_groups}

    def statistics(self, similarity: Floats) -> dict[str, Statistic]:
        """Every number of similarities (n, n) with -inf where clips are not compared."""
        truth = self.truth
        opened, open_truth = self._open(similarity), np.tile(truth, (OPEN_PARTS, 1))
        return {
            RANK: rank_k(truth, similarity),
            MAP: retrieval_map(truth, similarity),
            LINKAGE: linkage_auc(truth, similarity),
            EER: equal_error_rate(truth, similarity),
            SINGLE: rank_k(truth, self._other_half(similarity)),
            MULTI: rank_k(self._pooled_truth, self._pool(similarity)),
            KNOWN: known_auc(open_truth, opened),
            IDENTIFIED: identification_rate(open_truth, opened),
        }

    def floors(self) -> dict[str, float | None]:
        """What a similarity that tells nothing scores."""
        constant = np.where(self._compared, 0.0, -np.inf)
        scores = self.statistics(constant)
        scores[MAP] = shuffled_map(self.truth, constant)
        return {name: _mean([statistic.value]) for name, statistic in scores.items()}

    def _open(self, similarity: Floats) -> Floats:
        """(parts * n, n): in turn, each part of the people is not in the gallery."""
        gone = [np.where(self._part == part, -np.inf, similarity) for part in range(OPEN_PARTS)]
        return np.concatenate(gone)

    def _other_half(self, similarity: Floats) -> Floats:
        return np.where(self._half[:, None] != self._half[None, :], similarity, -np.inf)

    def _pool(self, similarity: Floats) -> Floats:
        """(2 * people, n): the mean similarity of half of a person's clips to other halves."""
        rows = []
        for half, members in self._pooled:
            similarities = similarity[members]
            known = similarities > -np.inf
            total, count = np.where(known, similarities, 0.0).sum(axis=0), known.sum(axis=0)
            mean = np.where(count > 0, total / np.maximum(count, 1), -np.inf)
            rows.append(np.where(self._half != half, mean.round(9), -np.inf))
        return np.stack(rows)


def _score(
    runs: Sequence[Statistic],
    clusters: NDArray[np.generic],
    quantiles: Quantiles = NO_QUANTILES,
) -> Score:
    return score_over_runs(average(runs), runs, clusters=clusters, quantiles=quantiles)


def _mean(values: Sequence[float]) -> float | None:
    """The mean of those that are defined; None: none is."""
    mean = float(mean_of_defined(np.array(values, dtype=float)))
    return None if np.isnan(mean) else mean
