"""How much of a private label leaks behind a method, and whether that may be said to hold.

A label is *held* where the upper end of every attacker's interval lies within a tenth of the way
from the floor to raw video. It is *undecided* where they do, but something else is missing, such as
five training runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from masquerade.evaluation.attacked_label import AttackedLabel
from masquerade.evaluation.attacker_choice import ScoringInput, choose, score_attackers
from masquerade.evaluation.metric_specs import highest_value
from masquerade.evaluation.pooled_clips import pooled_ends, score_pooled
from masquerade.metrics.intervals import Score, score
from masquerade.metrics.leakage import (
    Leakage,
    exceeds_held_limit,
    held_limit,
    leakage,
    least_counted,
)

LEAST_RUNS = 5  # training runs of a method without which it is not said to hold


class LabelLeakage(NamedTuple):
    """How much of a label leaks; None is not applicable."""

    leakage: Leakage | None = None  # whose `protects` is None where it is undecided
    undecided: str | None = None  # why a leakage within a tenth does not count as held
    pooled: Score | None = None  # as in LabelResult
    pooled_floor: float | None = None


NOT_PRIVATE = LabelLeakage()


def measure_label_leakage(
    label: AttackedLabel, raw: ScoringInput | None, *, void: str | None, unread: str | None
) -> LabelLeakage:
    """How much of a private label leaks.

    `raw` is of raw video, None where the method is that; `void` says why the numbers mean nothing,
    `unread` why the method cannot be said to hold.
    """
    pooled, pooled_floor = score_pooled(label) or (None, None)
    if void is not None or highest_value(label.floors) is None:  # all clips are of one class
        return LabelLeakage(None, None, pooled, pooled_floor)
    leaked = _leakage(label, raw)
    scores = [label.score_of(attacker) for attacker in label.rivals]
    ends = [attacker_score.high for attacker_score in scores]
    ends += [_highest_of_run(label, run) for run in range(len(label.best.runs))]
    holds, undecided = _holds(leaked, ends), None
    if holds:
        undecided = _too_few_runs(label) or unread or _below_chance(label, scores)
        if undecided is None and pooled is not None:
            undecided = _pooled_above_limit(leaked, pooled, pooled_floor, pooled_ends(label))
        holds = None if undecided else True
    elif raw is not None and not (leaked.low or 0.0) > 0 and not _is_above(label):
        undecided = unread  # it may leak where none of these attackers can look
    if (holds or undecided) and exceeds_held_limit(pooled, pooled_floor, leaked.raw.value):
        holds, undecided = False, None
    return LabelLeakage(replace(leaked, protects=holds), undecided, pooled, pooled_floor)


def _leakage(label: AttackedLabel, raw: ScoringInput | None) -> Leakage:
    """The leakage by the chosen attackers, beside those chosen on raw video of the same clips.

    With several training runs both are means over single runs: the mean prediction of all seeds is
    stronger than one, so that raw video's would make the method look better than it is.
    """
    on_raw = label.best
    if raw is not None:
        shared = replace(raw.of_clips(label.inputs.clips), per_run=label.inputs.per_run)
        on_raw = choose(label.spec, shared, score_attackers(label.spec, shared), label.strength)
    return leakage(
        label.best.test,
        on_raw.test,
        label.floors,
        clusters=label.groups,
        between=label.between,
    )


def _holds(leaked: Leakage, ends: Sequence[float | None]) -> bool | None:
    """Whether all upper ends lie within a tenth of the way from the floor to raw video."""
    if leaked.protects is None or any(end is None for end in ends):
        return None
    floor, raw = leaked.floor.value or 0.0, leaked.raw.value or 0.0
    return max(end or 0.0 for end in ends) <= held_limit(floor, raw)


def _highest_of_run(label: AttackedLabel, run: int) -> float | None:
    """The upper end of the strongest attacker of one training run."""
    ends = [
        score(attacker.runs[run], clusters=label.groups, quantiles=label.quantiles).high
        for attacker in label.rivals
    ]
    return None if any(end is None for end in ends) else max(end or 0.0 for end in ends)


def _too_few_runs(label: AttackedLabel) -> str | None:
    """A sentence on a trained method of too few training runs; None: it has enough, or none."""
    inputs = label.inputs
    runs = len(label.best.outputs.test) if inputs.per_run else 1
    if not (inputs.per_run or inputs.learned) or runs >= LEAST_RUNS:
        return None
    return (
        f"{runs} training run{'s' * (runs > 1)}, and {LEAST_RUNS} are needed: train "
        f"{LEAST_RUNS} with other seeds, and give them as --weights 'runs/{{seed}}' --seeds "
        f"{LEAST_RUNS}"
    )


def _below_chance(label: AttackedLabel, scores: Sequence[Score]) -> str | None:
    """A sentence on an attacker whose score is surely below chance; None: there is none."""
    metric, chance = label.spec.metric, _chance(label)
    for attacker, attacker_score in zip(label.rivals, scores, strict=True):
        if attacker_score.high is not None and attacker_score.high < chance:
            return (
                f"what {attacker.outputs.name} says is surely below chance ({metric} "
                f"{attacker_score.value:.2f}, at most {attacker_score.high:.2f}): turned round, "
                "it would tell more than a guess"
            )
    return None


def _chance(label: AttackedLabel) -> float:
    """The score below which an attacker's answers, turned round, tell more than a guess."""
    metric, floor = label.spec.metric, highest_value(label.floors) or 0.0
    if metric == "cMAP":
        return label.floors["constant"].value
    rates = label.inputs.test.rates
    if metric == "top-1" and all(rates[column].shape[1] == 2 for column in label.spec.columns):
        return 1 - floor
    return least_counted(metric)


def _pooled_above_limit(
    leaked: Leakage, pooled: Score, floor: float | None, ends: Sequence[float | None]
) -> str | None:
    """Return why pooled clips of a person rule `held` out; None: all upper ends are low enough.

    Those of `pooled`, by the attackers that were chosen, and of all that count, `ends`.
    """
    raw = leaked.raw.value
    if pooled.value is None or floor is None or raw is None:
        return None
    limit = held_limit(floor, max(floor, raw))
    all_ends = [pooled.high, *ends]
    known = [end for end in all_ends if end is not None]
    if len(known) == len(all_ends) and max(known) <= limit:
        return None
    most = "more" if len(known) < len(all_ends) else f"{max(known):.2f}"
    return (
        f"all clips of a person together may tell {most}, where a guess has {floor:.2f}: more "
        "people would tell"
    )


def _is_above(label: AttackedLabel) -> bool:
    """Whether a score is surely above all guesses."""
    floor = highest_value(label.floors)
    scores = (label.score_of_best, *map(label.score_of, label.rivals))
    return any(
        (attacker_score.low or 0.0) > (1.0 if floor is None else floor) for attacker_score in scores
    )
