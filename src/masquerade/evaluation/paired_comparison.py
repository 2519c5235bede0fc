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
        gaps = [difference(self.scores[first], self.scores[second]) for first, second in pairs]
        runs = [self._runs(*pair) for pair in pairs]
        between = [
            self._between_runs(*pair, by_run) for pair, by_run in zip(pairs, runs, strict=True)
        ]
        unpaired = [
            variance
            for variance, by_run in zip(between, runs, strict=True)
            if variance and not by_run
        ]
        at_once = [
            t_quantile(variance.freedom, 0.05 / len(pairs)) for variance in unpaired
        ]  # Bonferroni
        quantiles = max_t(gaps, runs, clusters=self.groups)
        quantiles = quantiles._replace(runs=max([quantiles.runs, *at_once]))
        return tuple(
            score(gap, clusters=self.groups, quantiles=quantiles, between=variance)
            for gap, variance in zip(gaps, between, strict=True)
        )

    def _runs(self, first: str, second: str) -> list[Statistic]:
        """Return the difference of two methods in each run; empty if their run counts differ."""
        runs = self.runs.get(first, ()), self.runs.get(second, ())
        if len(runs[0]) != len(runs[1]):
            return []
        return [
            difference(first_run, second_run) for first_run, second_run in zip(*runs, strict=True)
        ]

    def _between_runs(self, first: str, second: str, both: Sequence[Statistic]) -> Variance | None:
        """The variance of a difference over training runs, given that of each run.

        Where `both` is empty, the two rows have unlike numbers of runs, as raw video has one for
        each seed and a single training has none: their variances are added.
        """
        if both:
            return variance_between_runs(both, clusters=self.groups)
        runs = [self.runs.get(name, ()) for name in (first, second)]
        variances = [variance_between_runs(row_runs, clusters=self.groups) for row_runs in runs]
        known = [variance for variance in variances if variance is not None]
        if not known:
            return None
        return Variance(
            sum(variance.value for variance in known),
            min(variance.freedom for variance in known),
            sum(variance.shared for variance in known),
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
    names = [attacked_method.method.name for attacked_method in attacked]
    per_run = any(method.runs for method in methods)
    joined = join_table(
        [(attacked_method.method.name, attacked_method.inputs) for attacked_method in attacked]
    )
    strength = strengths(joined, specs)
    paired = {}
    for protocol in evaluator.truth.protocols:
        read = {name: row[protocol] for name, row in zip(names, joined, strict=True) if row}
        inputs = {  # those that stay keep the scores that were computed of them
            name: row_inputs
            if row_inputs.per_run == per_run
            else replace(row_inputs, per_run=per_run)
            for name, row_inputs in read.items()
        }
        clips = reduce(np.intersect1d, [row_inputs.clips for row_inputs in inputs.values()])
        shared = {name: row_inputs.of_clips(clips) for name, row_inputs in inputs.items()}
        for spec in specs[protocol]:
            ties = strength[protocol, spec.name]
            best = {
                name: choose(spec, row_inputs, score_attackers(spec, row_inputs), ties)
                for name, row_inputs in shared.items()
            }
            paired[spec.name] = PairedScores(
                scores={name: attacker.test for name, attacker in best.items()},
                groups=shared["raw"].test.groups,
                runs={name: attacker.runs for name, attacker in best.items()},
            )
    return paired
