"""From answers to scores: the metric of each kind of label, its floors, and who knows only those.

Answers of several folds come from several networks, which have learned other base rates. So binary
labels are scored by how far the log odds lie above those of the fold's own training rate; a
constant guess then has exactly .5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from masquerade.data.manifest import IntArray, Manifest
from masquerade.evaluation.protocols import Fold, Protocol, action_column
from masquerade.metrics.classification import auroc, balanced_accuracy, top_k
from masquerade.metrics.priors import action_prior, one_hot
from masquerade.metrics.statistic import Floats, Statistic, average

LEAST = 1e-4  # a probability of 0 is one that was never seen, not one that cannot be
FURTHEST = 4.0  # log odds that a recalibration moves: beyond it, sure answers would turn
DOUBT = 0.25  # in the action prior, of the attacker who adds it to what is seen
MEAN = "attributes"

Answers = Mapping[str, Floats]
"""Label to (n, C) probabilities."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One line of findings.

    Args:
        name: the column, or `attributes` for the mean over the binary ones.
        columns: what goes into it.
        use: utility or private.
        metric: top-1 or AUROC.
        protocol: of its folds.
    """

    name: str
    columns: tuple[str, ...]
    use: str
    metric: str
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Clips in the order in which they are scored, and what is known of each.

    Args:
        rows: (n,) of the manifest; a clip may be there twice (validation of two folds).
        fold: (n,) whose networks answered.
        codes: label to (n,) classes, -1 unknown.
        rates: label to (n, C), the fold's training rates.
        priors: label to (n, C), the same within the clip's true action.
        actions: (n,) codes of the true action.
        tables: label to (F, A, C), rates by fold and action, for predicted actions.
        overall: label to (F, C), training rates by fold.
    """

    rows: IntArray
    fold: IntArray
    codes: Mapping[str, IntArray]
    rates: Answers
    priors: Answers
    actions: IntArray
    tables: Answers
    overall: Answers


def targets_of(manifest: Manifest, protocol: Protocol) -> tuple[Target, ...]:
    """What is reported under a protocol.

    Args:
        manifest: the clips.
        protocol: whose labels.
    """
    action = action_column(manifest)
    binary = tuple(n for n in protocol.labels if manifest.column(n).kind == "binary")
    found = []
    for name in protocol.labels:
        metric = "AUROC" if name in binary else "top-1"
        use = "utility" if name == action else "private"
        found.append(
            Target(name=name, columns=(name,), use=use, metric=metric, protocol=protocol.name)
        )
    if len(binary) > 1:
        every = Target(
            name=MEAN, columns=binary, use="private", metric="AUROC", protocol=protocol.name
        )
        found.insert(1 if found and found[0].use == "utility" else 0, every)
    return tuple(found)


def sheet_of(
    manifest: Manifest, protocol: Protocol, *, part: str, codes: Mapping[str, IntArray]
) -> Sheet:
    """What is known of the validation or test clips of all folds.

    Args:
        manifest: the clips.
        protocol: whose folds.
        part: `validation` or `test`.
        codes: label to (N,) classes of all clips; shuffled ones for the negative control.
    """
    sides: list[IntArray] = [getattr(fold, part) for fold in protocol.folds]
    rows = np.concatenate(sides)
    of = np.repeat(np.arange(len(sides)), [len(side) for side in sides])
    acted = manifest.targets(action_column(manifest))
    overall, priors, tables = {}, {}, {}
    for label in protocol.heads:
        known = [_tables(manifest, fold, label, codes[label], acted) for fold in protocol.folds]
        table = np.stack([by_action for _, by_action in known])  # (F, A, C)
        overall[label] = np.stack([rate for rate, _ in known])  # (F, C)
        # Of a clip whose action is unknown, one who knows actions knows the rate and no more.
        blind = (acted[rows] < 0)[:, None]
        priors[label] = np.where(blind, overall[label][of], table[of, acted[rows]])
        tables[label] = table
    return Sheet(
        rows=rows,
        fold=of,
        codes={label: codes[label][rows] for label in protocol.heads},
        rates={label: table[of] for label, table in overall.items()},
        priors=priors,
        actions=acted[rows],
        tables=tables,
        overall=overall,
    )


def classes_of(manifest: Manifest, label: str) -> int:
    """How many classes a label has.

    Args:
        manifest: the clips.
        label: its column.
    """
    column = manifest.column(label)
    return 2 if column.kind == "binary" else len(column.values)


def measured(target: Target, sheet: Sheet, answers: Answers) -> Statistic:
    """The score of some answers, one weight a clip of the sheet.

    Args:
        target: the metric and the columns.
        sheet: the truth.
        answers: by label.
    """
    parts = [_measured(target.metric, sheet, name, answers[name]) for name in target.columns]
    return parts[0] if len(parts) == 1 else average(parts)


def chosen_by(target: Target, sheet: Sheet, answers: Answers) -> float:
    """How attackers are compared on validation: AUROC, or balanced accuracy instead of top-1.

    Validation is a few groups, and may be nearly all of one class: by top-1 an attacker who always
    says that class would be chosen, and would find nothing on test.

    Args:
        target: the metric and the columns.
        sheet: of the validation clips.
        answers: by label.
    """
    if target.metric != "top-1":
        return measured(target, sheet, answers).value
    (name,) = target.columns
    known = sheet.codes[name] >= 0
    if not known.any():
        return math.nan
    return balanced_accuracy(sheet.codes[name][known], answers[name][known].argmax(axis=1)).value


def floors_of(target: Target, sheet: Sheet, predicted: IntArray | None) -> dict[str, Statistic]:
    """The trivial attackers of a label (FACTS 9, A0 and A1).

    Args:
        target: the label.
        sheet: the truth.
        predicted: (n,) actions that were recognised on the same clips; None: there are none.
    """
    found = {"constant": measured(target, sheet, sheet.rates)}
    if target.use == "utility":
        return found
    found["action prior"] = measured(target, sheet, sheet.priors)
    if predicted is not None:
        guess = {name: sheet.tables[name][sheet.fold, predicted] for name in target.columns}
        found["predicted action"] = measured(target, sheet, guess)
    return found


def with_prior(answers: Answers, sheet: Sheet, weight: float) -> dict[str, Floats]:
    """Answers of one who knows the true action too (A5): log odds are added, the rate taken off.

    Args:
        answers: of an attacker on the sheet's clips.
        sheet: of the same clips.
        weight: of the action, 0 or more.
    """
    found = {}
    for label, p in answers.items():
        rate = sheet.rates[label]
        # Few clips of an action: what was never seen with it is rare, not impossible.
        prior = (1 - DOUBT) * sheet.priors[label] + DOUBT * rate
        told = np.log(_safe(prior)) - np.log(_safe(rate))
        found[label] = _normal(np.exp(np.log(_safe(p)) + weight * told))
    return found


def recalibrated(answers: Floats, told: Floats, rate: Floats) -> Floats:
    """Answers with a bias on each class, so that the mean answer is the training rate.

    Args:
        answers: (n, C) to correct.
        told: (m, C) of the same network on the anonymized training clips, whose labels it does not
            need.
        rate: (C,) of the training labels.
    """
    bias = np.zeros(told.shape[1])
    logs, wanted = np.log(_safe(told)), _safe(rate)
    for _ in range(50):
        mean = _normal(np.exp(logs + bias)).mean(axis=0)
        bias = np.clip(bias + np.log(wanted) - np.log(_safe(mean)), -FURTHEST, FURTHEST)
    return _normal(np.exp(np.log(_safe(answers)) + bias))


def mean_answers(many: Sequence[Answers]) -> dict[str, Floats]:
    """The mean of several networks' probabilities.

    Args:
        many: each of the same labels and clips.
    """
    return {label: np.mean([one[label] for one in many], axis=0) for label in many[0]}


def _measured(metric: str, sheet: Sheet, name: str, answers: Floats) -> Statistic:
    known = np.flatnonzero(sheet.codes[name] >= 0)
    if not len(known):
        return Statistic(len(sheet.rows), lambda w: np.full(len(w), np.nan))
    y, p, rate = sheet.codes[name][known], answers[known], sheet.rates[name][known]
    if metric == "top-1":
        inner = top_k(y, p)
    else:
        inner = auroc(y.astype(np.float64), np.round(_odds(p) - _odds(rate), 9))
    if len(known) == len(sheet.rows):
        return inner
    rarer = np.zeros(len(sheet.rows), dtype=bool)
    if inner.rarer is not None:
        rarer[known] = inner.rarer
    return Statistic(
        len(sheet.rows),
        lambda w: inner.of(w[:, known]),
        inner.low,
        inner.high,
        inner.kind,
        None if inner.rarer is None else rarer,
    )


def _tables(
    manifest: Manifest, fold: Fold, label: str, codes: IntArray, acted: IntArray
) -> tuple[Floats, Floats]:
    """(C,) rates of a label in train, and (A, C) by action.

    Not of validation too: rates that know its labels would flatter whoever uses them there.
    """
    learned = fold.train[codes[fold.train] >= 0]
    size = classes_of(manifest, label)
    hot = one_hot(codes[learned], classes=size)
    prior = action_prior(hot, acted[learned])
    every = np.arange(len(manifest.column(action_column(manifest)).values))
    return hot.mean(axis=0), prior.scores(every)


def _odds(p: Floats) -> Floats:
    yes = _safe(p[:, 1])
    return np.log(yes) - np.log(_safe(1 - p[:, 1]))


def _safe(p: Floats) -> Floats:
    return np.clip(p, LEAST, None)


def _normal(p: Floats) -> Floats:
    return p / p.sum(axis=-1, keepdims=True)
