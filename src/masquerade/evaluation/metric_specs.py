"""From answers to scores: the metric of each kind of label, its floors, and who knows only those.

Answers of several folds come from several networks, which have learned other base rates. So binary
labels are scored by how far the log odds lie above those of the fold's own training rate; a
constant guess then has exactly .5. A label of several values a clip is as many binary ones, scored
together by cMAP, and a constant guess then has exactly the mean rate of positives; so have binary
ones that are asked for by cMAP. F1 takes probabilities as they are: it says yes above a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.evaluation.protocols import Fold, Protocol, action_column
from masquerade.metrics.classification import (
    THRESHOLDS,
    auroc,
    average_precision,
    balanced_accuracy,
    cmap,
    f1,
    top_k,
)
from masquerade.metrics.floors import ActionPrior, one_hot
from masquerade.metrics.statistic import Floats, Statistic, average

LEAST = 1e-4  # a probability of 0 is one that was never seen, not one that cannot be
FURTHEST = 4.0  # log odds that a recalibration moves: beyond it, sure answers would turn
DOUBT = 0.25  # in the action prior, of the attacker who adds it to what is seen
MEAN = "attributes"
F1_ABOVE = {"F1": THRESHOLDS["default"], "F1 above .62": THRESHOLDS["spact-code"]}
"""From which probability on a clip counts as positive, by metric."""

Answers = Mapping[str, Floats]
"""Label to (n, C) probabilities."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One line of findings.

    Args:
        name: the column, or `attributes` for the mean over the binary ones, or `attributes by F1`
            for their mean in a metric that was asked for.
        columns: what goes into it.
        use: utility or private.
        metric: top-1, AUROC, cMAP where a clip has several values or it was asked for, or F1.
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
        codes: label to (n,) classes, or (n, C) of 0 and 1; -1 unknown.
        rates: label to (n, C), the fold's training rates.
        priors: label to (n, C), the same within the clip's true action.
        actions: (n,) codes of the true action, or (n, A) of 0 and 1.
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


def targets_of(
    manifest: Manifest, protocol: Protocol, *, more: Sequence[str] = ()
) -> tuple[Target, ...]:
    """What is reported under a protocol.

    Args:
        manifest: the clips.
        protocol: whose labels.
        more: metrics in which the mean over binary labels is reported besides AUROC.
    """
    action = action_column(manifest)
    binary = tuple(n for n in protocol.labels if manifest.column(n).kind == "binary")
    found = []
    for name in protocol.labels:
        metric = "AUROC" if name in binary else "cMAP" if name in protocol.many else "top-1"
        use = "utility" if name == action else "private"
        found.append(
            Target(name=name, columns=(name,), use=use, metric=metric, protocol=protocol.name)
        )
    means = {MEAN: "AUROC"} if len(binary) > 1 else {}
    means |= {by_metric(metric): metric for metric in more if binary}
    at = 1 if found and found[0].use == "utility" else 0
    found[at:at] = [
        Target(name=name, columns=binary, use="private", metric=metric, protocol=protocol.name)
        for name, metric in means.items()
    ]
    return tuple(found)


def by_metric(metric: str) -> str:
    """What the mean over the binary labels is called in a metric besides AUROC."""
    return f"{MEAN} by {metric}"


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
        tables[label] = table
        priors[label] = _by_action(table[of], acted[rows], overall[label][of])
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


def known(codes: IntArray) -> NDArray[np.bool_]:
    """(n,) which clips have a label.

    Args:
        codes: (n,), or (n, C) of several values a clip; -1: unknown.
    """
    return np.asarray(codes >= 0 if codes.ndim == 1 else (codes >= 0).all(axis=1))


def many_hot(codes: IntArray, classes: int) -> Floats:
    """(n, C) of 0 and 1.

    Args:
        codes: (n,) or (n, C), all of them known.
        classes: C.
    """
    return one_hot(codes, classes=classes) if codes.ndim == 1 else codes.astype(np.float64)


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
    there = known(sheet.codes[name])
    if not there.any():
        return math.nan
    return balanced_accuracy(sheet.codes[name][there], answers[name][there].argmax(axis=1)).value


def guesses_of(target: Target, sheet: Sheet) -> dict[str, Statistic]:
    """Who looks at nothing and says the same of all clips of a fold.

    Args:
        target: the label.
        sheet: the truth.
    """
    found = {"constant": measured(target, sheet, sheet.rates)}
    if target.metric in F1_ABOVE:  # rates below the threshold say no to all: F1 has a better guess
        yes = {name: np.tile([0.0, 1.0], (len(sheet.rows), 1)) for name in target.columns}
        found["all positive"] = measured(target, sheet, yes)
    return found


def floors_of(target: Target, sheet: Sheet, predicted: IntArray | None) -> dict[str, Statistic]:
    """The trivial attackers of a label (FACTS 9, A0 and A1).

    Args:
        target: the label.
        sheet: the truth.
        predicted: (n,) actions that were recognised on the same clips; None: there are none.
    """
    found = guesses_of(target, sheet)
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
        if sheet.codes[label].ndim == 2:
            moved = _odds(p) + weight * (_odds(prior) - _odds(rate))
            found[label] = 1 / (1 + np.exp(-moved))
            continue
        told = np.log(_safe(prior)) - np.log(_safe(rate))
        found[label] = _normal(np.exp(np.log(_safe(p)) + weight * told))
    return found


def recalibrated(answers: Floats, told: Floats, rate: Floats, *, many: bool = False) -> Floats:
    """Answers with a bias on each class, so that the mean answer is the training rate.

    Args:
        answers: (n, C) to correct.
        told: (m, C) of the same network on the anonymized training clips, whose labels it does not
            need.
        rate: (C,) of the training labels.
        many: several values a clip, each with a probability of its own.
    """
    if many:
        return _shifted(answers, told, rate)
    bias = np.zeros(told.shape[1])
    logs, wanted = np.log(_safe(told)), _safe(rate)
    for _ in range(50):
        mean = _normal(np.exp(logs + bias)).mean(axis=0)
        bias = np.clip(bias + np.log(wanted) - np.log(_safe(mean)), -FURTHEST, FURTHEST)
    return _normal(np.exp(np.log(_safe(answers)) + bias))


def _shifted(answers: Floats, told: Floats, rate: Floats) -> Floats:
    """`recalibrated`, each value apart: its log odds are moved."""
    bias, odds = np.zeros(told.shape[1]), _odds(told)
    for _ in range(50):
        mean = (1 / (1 + np.exp(-odds - bias))).mean(axis=0)
        bias = np.clip(bias + _odds(rate) - _odds(mean), -FURTHEST, FURTHEST)
    return np.asarray(1 / (1 + np.exp(-_odds(answers) - bias)))


def mean_answers(many: Sequence[Answers]) -> dict[str, Floats]:
    """The mean of several networks' probabilities.

    Args:
        many: each of the same labels and clips.
    """
    return {label: np.mean([one[label] for one in many], axis=0) for label in many[0]}


def _measured(metric: str, sheet: Sheet, name: str, answers: Floats) -> Statistic:
    there = np.flatnonzero(known(sheet.codes[name]))
    if not len(there):
        return Statistic(len(sheet.rows), lambda w: np.full(len(w), np.nan))
    y, p, rate = sheet.codes[name][there], answers[there], sheet.rates[name][there]
    if metric == "top-1":
        inner = top_k(y, p)
    elif metric in F1_ABOVE:
        inner = f1(y[:, None], p[:, 1:], threshold=F1_ABOVE[metric], undefined="one class")
    else:
        above = np.round(_odds(p) - _odds(rate), 9)
        ranked = average_precision if metric == "cMAP" else auroc
        inner = cmap(y, above) if y.ndim == 2 else ranked(y, above[:, 1])
    if len(there) == len(sheet.rows):
        return inner
    rarest = np.zeros(len(sheet.rows), dtype=bool)
    if inner.rarest is not None:
        rarest[there] = inner.rarest
    return Statistic(
        len(sheet.rows),
        lambda w: inner.weighted(w[:, there]),
        inner.low,
        inner.high,
        inner.kind,
        None if inner.rarest is None else rarest,
    )


def _tables(
    manifest: Manifest, fold: Fold, label: str, codes: IntArray, acted: IntArray
) -> tuple[Floats, Floats]:
    """(C,) rates of a label in train, and (A, C) by action.

    Not of validation too: rates that know its labels would flatter whoever uses them there.
    """
    learned = fold.train[known(codes[fold.train])]
    hot = many_hot(codes[learned], classes_of(manifest, label))
    names, own = acted[learned], hot
    if acted.ndim == 2:  # a clip counts for each of its actions
        at, names = np.nonzero(names > 0)
        own = hot[at]
    every = np.arange(len(manifest.column(action_column(manifest)).values))
    if not len(own):
        return hot.mean(axis=0), np.tile(hot.mean(axis=0), (len(every), 1))
    prior = ActionPrior.fit(own, names)
    return hot.mean(axis=0), prior.scores(every)


def _by_action(table: Floats, acted: IntArray, overall: Floats) -> Floats:
    """(n, C): what the true action says; of several actions the mean of what each says.

    Of a clip whose action is unknown, one who knows actions knows the rate and no more.

    Args:
        table: (n, A, C).
        acted: (n,) or (n, A).
        overall: (n, C).
    """
    if acted.ndim == 1:
        return np.where((acted < 0)[:, None], overall, table[np.arange(len(acted)), acted])
    weight = (acted > 0).astype(np.float64)[:, None]  # (n, 1, A)
    count = weight.sum(axis=2)
    return np.where(count > 0, (weight @ table)[:, 0] / np.maximum(count, 1), overall)


def _odds(p: Floats) -> Floats:
    return np.asarray(np.log(_safe(p)) - np.log(_safe(1 - p)))


def _safe(p: Floats) -> Floats:
    return np.clip(p, LEAST, None)


def _normal(p: Floats) -> Floats:
    return p / p.sum(axis=-1, keepdims=True)
