"""Attackers who know which test clips show one person, and pool what they read of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from masquerade.evaluation.attacked_label import AttackedLabel
from masquerade.evaluation.attacker_choice import ScoredAttacker, ScoringInput, score_on_test
from masquerade.evaluation.calibration import link_functions
from masquerade.evaluation.ground_truth import Probabilities
from masquerade.evaluation.metric_specs import (
    MetricSpec,
    constant_floors,
    highest_value,
    measure,
    tuned_floors,
)
from masquerade.evaluation.predictions import ByLabel
from masquerade.evaluation.protocols import SAME
from masquerade.metrics.intervals import Score, max_t, score_over_runs
from masquerade.metrics.statistic import Floats, Statistic, average


def score_pooled(label: AttackedLabel) -> tuple[Score, float | None] | None:
    """The score where attackers know which test clips show one person; None: each shows another.

    Beside it stands the best guess of the same: a label that goes with actions is guessed from all
    that a person does.
    """
    spec, inputs, truth = label.spec, label.inputs, label.inputs.test
    pooled = _pooling(spec, inputs)
    if pooled is None:
        return None
    ((test, runs),) = _pool_attackers(spec, inputs, [label.best])
    floors = constant_floors(spec, truth)
    of_actions = pooled(truth.priors)
    floors["action prior"] = measure(spec, truth, of_actions)
    floors |= tuned_floors(spec, truth, of_actions)
    if label.predicted_actions:
        priors = [
            {name: truth.prior_of(name, actions) for name in spec.columns}
            for actions in label.predicted_actions
        ]
        floors["predicted action"] = average(
            [measure(spec, truth, pooled(prior)) for prior in priors]
        )
    result = score_over_runs(test, runs, clusters=label.groups)
    return result, highest_value(floors)


def pooled_ends(label: AttackedLabel) -> list[float | None]:
    """The upper ends of all attackers who know which clips show one person, at once."""
    pooled_scores = _pool_attackers(label.spec, label.inputs, label.rivals)
    quantiles = max_t(
        [test for test, _ in pooled_scores],
        [runs for _, runs in pooled_scores],
        clusters=label.groups,
    )
    return [
        score_over_runs(test, runs, clusters=label.groups, quantiles=quantiles).high
        for test, runs in pooled_scores
    ]


def _pooling(
    spec: MetricSpec, inputs: ScoringInput
) -> Callable[[Probabilities], Probabilities] | None:
    """A function that averages predictions over the clips of a person; None: nobody has two.

    A person's clips of one fold share the mean of their log probabilities. Who it is stays unknown:
    a folder of one patient's videos tells as much. Clips of which nobody knows who is in them are
    pooled by group.
    """
    test = inputs.test
    unseen = np.where(test.people < 0, -1 - test.groups, test.people)
    who = test.labels[spec.columns[0]] if spec.protocol == SAME else unseen
    pairs = np.stack([test.fold, who], axis=1)
    _, pool_index, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    if counts.max(initial=0) < 2:
        return None

    def pool(p: Floats, *, multi_label: bool) -> Floats:
        logit, probability = link_functions(multi_label or p.shape[1] == 2)
        sums = np.zeros((len(counts), p.shape[1]))
        np.add.at(sums, pool_index.ravel(), logit(p))
        return probability((sums / counts[:, None])[pool_index.ravel()])

    return lambda predicted: ByLabel(
        predicted, lambda label: pool(predicted[label], multi_label=test.labels[label].ndim == 2)
    )


def _pool_attackers(
    spec: MetricSpec, inputs: ScoringInput, attackers: Sequence[ScoredAttacker]
) -> list[tuple[Statistic, tuple[Statistic, ...]]]:
    """Score attackers on predictions pooled over a person's test clips, and each of their runs."""
    pooled = _pooling(spec, inputs)
    assert pooled is not None
    outputs = [
        replace(attacker.outputs, test=tuple(map(pooled, attacker.outputs.test)))
        for attacker in attackers
    ]
    return [score_on_test(spec, inputs, attacker) for attacker in outputs]
