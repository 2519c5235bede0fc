"""Methods compared on the same clips, which intervals of a table row by row do not allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

import numpy as np

from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.evaluation.attacker_choice import choose, join_table, score_attackers, strengths
from masquerade.evaluation.config import EvaluatedMethod, EvaluationConfig
from masquerade.evaluation.evaluated_clips import regions_with_poses
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.executor import Progress
from masquerade.evaluation.metric_specs import without_void
from masquerade.metrics.intervals import (
    Score,
    Variance,
    max_t,
    score,
    t_quantile,
    variance_between_runs,
)
from masquerade.metrics.statistic import Statistic, difference


@dataclass(frozen=True, kw_only=True)
class PairedScores:
    """The scores of one label under every method, over the same test clips."""

    # by the row's name, of its strongest attacker, which is chosen on validation
    scores: Mapping[str, Statistic]
    groups: IntArray  # (n,) group of people of each test clip
    runs: Mapping[str, tuple[Statistic, ...]] = field(default_factory=dict)  # of trained rows

    def differences(self, pairs: Sequence[tuple[str, str]]) -> tuple[Score, ...]:
        """The first less the second of each pair of rows, for people and training runs alike.

        Intervals are so wide that 95 % of the time all of them hold at once (max-T): one method in
        twenty would otherwise seem to differ where none does.
        """
        gaps = [difference(self.scores[one], self.scores[other]) for one, other in pairs]
        runs = [self._runs(*pair) for pair in pairs]
        between = [self._between_runs(*pair, own) for pair, own in zip(pairs, runs, strict=True)]
        unpaired = [one for one, own in zip(between, runs, strict=True) if one and not own]
        at_once = [t_quantile(one.freedom, 0.05 / len(pairs)) for one in unpaired]  # Bonferroni
        quantiles = max_t(gaps, runs, clusters=self.groups)
        quantiles = quantiles._replace(runs=max([quantiles.runs, *at_once]))
        return tuple(
            score(gap, clusters=self.groups, quantiles=quantiles, between=one)
            for gap, one in zip(gaps, between, strict=True)
        )

    def _runs(self, one: str, other: str) -> list[Statistic]:
        """Return the difference of two methods in each run; empty if their run counts differ."""
        runs = self.runs.get(one, ()), self.runs.get(other, ())
        if len(runs[0]) != len(runs[1]):
            return []
        return [difference(mine, its) for mine, its in zip(*runs, strict=True)]

    def _between_runs(self, one: str, other: str, both: Sequence[Statistic]) -> Variance | None:
        """The variance of a difference over training runs, given that of each run.

        Without one (`both` is empty) the two rows have unlike numbers of runs, as raw video has
        one for each seed and a single training has none: their variances are added.
        """
        if both:
            return variance_between_runs(both, clusters=self.groups)
        runs = [self.runs.get(name, ()) for name in (one, other)]
        each = [variance_between_runs(some, clusters=self.groups) for some in runs]
        known = [one for one in each if one is not None]
        if not known:
            return None
        return Variance(
            sum(one.value for one in known),
            min(one.freedom for one in known),
            sum(one.shared for one in known),
        )


def paired_scores(
    manifest: Manifest,
    methods: Sequence[EvaluatedMethod],
    config: EvaluationConfig,
    *,
    folder: Path,
    void: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, PairedScores]:
    """By label the scores under raw video and each method, to be averaged and subtracted.

    Arguments are those of `evaluate`, which runs the controls: call it first, with the same folder,
    and nothing is done twice; `void` are the labels that it found nobody to read in raw video,
    which means over labels leave out. Where there are trained rows, whose scores are averaged over
    runs, all scores are averaged over seeds: an ensemble of three networks would score higher for
    being three.
    """
    evaluator = Evaluator(manifest, config, folder, progress, measure_quality=False)
    evaluator.clips.people = regions_with_poses(methods)
    specs, _ = without_void(evaluator.specs, void)
    attacked = [evaluator.raw, *map(evaluator.predict, methods)]
    names = [one.method.name for one in attacked]
    per_run = any(method.runs for method in methods)
    every = join_table([(one.method.name, one.inputs) for one in attacked])
    strength = strengths(every, specs)
    found = {}
    for protocol in evaluator.truth.protocols:
        read = {name: row[protocol] for name, row in zip(names, every, strict=True) if row}
        inputs = {  # those that stay keep the scores that were computed of them
            name: one if one.per_run == per_run else replace(one, per_run=per_run)
            for name, one in read.items()
        }
        clips = reduce(np.intersect1d, [one.clips for one in inputs.values()])
        shared = {name: one.of_clips(clips) for name, one in inputs.items()}
        for spec in specs[protocol]:
            ties = strength[protocol, spec.name]
            best = {
                name: choose(spec, one, score_attackers(spec, one), ties)
                for name, one in shared.items()
            }
            found[spec.name] = PairedScores(
                scores={name: one.test for name, one in best.items()},
                groups=shared["raw"].test.groups,
                runs={name: one.runs for name, one in best.items()},
            )
    return found
