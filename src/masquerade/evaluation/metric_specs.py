"""What is measured of each label, and its floors.

Predictions of several folds come from several networks, which have learned other base rates. So
binary labels are scored by how far the log odds lie above those of the fold's own training rate; a
constant guess then has exactly .5. A label of several values a clip is as many binary ones, scored
together by cMAP, and a constant guess then has exactly the mean rate of positives; so have binary
ones that are asked for by cMAP. F1 takes probabilities as they are: positive above a threshold.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.splits import is_of_people, own_name
from masquerade.errors import UsageError
from masquerade.evaluation.calibration import beyond_rate
from masquerade.evaluation.ground_truth import Probabilities, SplitTruth, is_known
from masquerade.evaluation.protocols import Protocol, action_column
from masquerade.metrics.classification import (
    THRESHOLDS,
    auroc,
    average_precision,
    balanced_accuracy,
    cmap_of_columns,
    f1,
    top_k,
)
from masquerade.metrics.floors import random_order
from masquerade.metrics.statistic import Floats, Statistic, average, mean, values_left_out

MEAN = "attributes"
COLUMNS = 64  # values of a label that are scored at once
ROUNDED = 9  # decimals of log odds, below which clips are said to be equal
F1_THRESHOLDS = {"F1": THRESHOLDS["default"], "F1 above .62": THRESHOLDS["spact-code"]}
"""The probability above which a clip counts as positive, by metric."""
KIND_METRICS = {"binary": "AUROC", "multi-label": "cMAP"}  # of other kinds top-1
METRICS = {"auroc": "AUROC", "cmap": "cMAP", "f1": "F1", "f1-spact": "F1 above .62"}
"""Metrics of binary attributes: what the command calls them, and what a finding does.

A constant guess has .5 in AUROC whatever the labels. In cMAP it has the mean rate of positives, and
guesses in random order somewhat more; in F1 the best one says yes to all: two figures are to be
compared on the same test labels alone.
"""


PLACES = frozenset({"scene", "place", "background", "location", "room", "object", "objects"})
"""First words of the names of labels that describe the place and not the people in it."""


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric of one label, or of the mean over several."""

    # the column, or `attributes` for the mean over the binary ones, or `attributes by F1` for
    # their mean in a metric that was asked for
    name: str
    columns: tuple[str, ...]  # what goes into it
    use: str  # utility or private
    metric: str  # top-1, AUROC, cMAP where a clip has several values or it was asked for, or F1
    protocol: str  # of its folds
    of_people: bool = False  # a trait of people, of which their background alone says nothing


def protocol_specs(
    manifest: Manifest, protocol: Protocol, *, more: Sequence[str] = ()
) -> tuple[MetricSpec, ...]:
    """What is reported under a protocol."""
    action = action_column(manifest)
    kinds = {name: manifest.column(name).kind for name in protocol.labels}
    reported: list[tuple[str, tuple[str, ...], str]] = [
        (name, (name,), KIND_METRICS.get(kind, "top-1")) for name, kind in kinds.items()
    ]
    binary = tuple(name for name, kind in kinds.items() if kind == "binary")
    means = [(MEAN, binary, "AUROC")] if len(binary) > 1 else []
    means += [(mean_name(metric), binary, metric) for metric in more if binary]
    named = {name for name in kinds if is_of_people(manifest.column(name))}
    at = 1 if action in kinds else 0  # the action comes first
    reported[at:at] = means
    return tuple(
        MetricSpec(
            name=name,
            columns=columns,
            use="utility" if name == action else "private",
            metric=metric,
            protocol=protocol.name,
            of_people=not any(map(_is_of_place, columns)) and not {action, *named} & set(columns),
        )
        for name, columns, metric in reported
    )


def _is_of_place(column: str) -> bool:
    return own_name(column).split("_")[0].lower() in PLACES


def metric_specs(
    manifest: Manifest, protocols: Sequence[Protocol], metrics: Sequence[str]
) -> dict[str, tuple[MetricSpec, ...]]:
    """What is reported under each protocol, by its name; `metrics` are names in METRICS."""
    for name in metrics:
        if name not in METRICS:
            raise UsageError(f"There is no metric {name!r}; choose of {', '.join(METRICS)}.")
    for name in (name for protocol in protocols for name in protocol.labels):
        if name == MEAN or name.startswith(mean_name("")):
            raise UsageError(
                f"Rename the column {name!r}, or leave it out with --labels: means over attributes "
                "are called so."
            )
    more = tuple(METRICS[name] for name in METRICS if name in metrics and name != "auroc")
    by_protocol = {
        protocol.name: protocol_specs(manifest, protocol, more=more) for protocol in protocols
    }
    if more and not any(
        _is_requested_mean(spec) for specs in by_protocol.values() for spec in specs
    ):
        raise UsageError(
            f"{' and '.join(more)} would be of binary attributes, and there is none to report: "
            "leave out --metrics."
        )
    return by_protocol


def without_void(
    specs: Mapping[str, Sequence[MetricSpec]], failed: Sequence[str]
) -> tuple[dict[str, tuple[MetricSpec, ...]], tuple[str, ...]]:
    """Means over the labels that attackers read in raw video, and notes on those left out."""
    by_protocol: dict[str, tuple[MetricSpec, ...]] = {}
    notes: list[str] = []
    for protocol, old_specs in specs.items():
        new_specs = []
        for spec in old_specs:
            left = tuple(name for name in spec.columns if name not in failed)
            if len(spec.columns) > 1 and left and left != spec.columns:
                gone = ", ".join(name for name in spec.columns if name in failed)
                notes.append(
                    f"{spec.name}: the mean over {', '.join(left)}; left out, since no attacker "
                    f"reads it in raw video: {gone}."
                )
                spec = replace(spec, columns=left)
            new_specs.append(spec)
        by_protocol[protocol] = tuple(new_specs)
    return by_protocol, tuple(notes)


def mean_name(metric: str) -> str:
    """What the mean over the binary labels is called in a metric besides AUROC."""
    return f"{MEAN} by {metric}"


def notes_on_mean(row: str, spec: MetricSpec, truth: SplitTruth) -> tuple[str, ...]:
    """How many attributes are in a mean that was asked for, or values in a cMAP that lacks some."""
    if not _is_requested_mean(spec):
        return _note_on_values(spec, truth)
    scored = [name for name in spec.columns if {0, 1} <= set(np.unique(truth.labels[name]))]
    names = ", ".join(scored) or "none"
    if len(scored) == len(spec.columns):
        return (f"{spec.name}: the mean over {len(scored)} binary attribute(s), {names}.",)
    return (
        f"{spec.name} of {row}: the mean over {len(scored)} of {len(spec.columns)} binary "
        f"attribute(s), {names}; the others have one value only among its test clips.",
    )


def _note_on_values(spec: MetricSpec, truth: SplitTruth) -> tuple[str, ...]:
    """How many values of a label of several values a clip are scored; nothing if all are."""
    labels = truth.labels[spec.columns[0]]
    if labels.ndim == 1:
        return ()
    shown = labels[is_known(labels)]
    scored = int((shown.any(axis=0) & ~shown.all(axis=0)).sum())
    if scored == labels.shape[1]:
        return ()
    return (
        f"{spec.name}: cMAP over {scored:,} of {labels.shape[1]:,} values; no test clip, or every "
        "one, has the others.",
    )


def measure(spec: MetricSpec, truth: SplitTruth, predicted: Probabilities) -> Statistic:
    """The score of predictions, with one weight a clip."""
    return average([_measure(spec.metric, truth, name, predicted) for name in spec.columns])


def highest_value(floors: Mapping[str, Statistic]) -> float | None:
    """The score of the best guess; None: none is defined."""
    return max(
        (floor.value for floor in floors.values() if not math.isnan(floor.value)), default=None
    )


def validation_score(spec: MetricSpec, truth: SplitTruth, predicted: Probabilities) -> float:
    """How attackers are compared on validation: AUROC, or balanced accuracy instead of top-1.

    Validation is a few groups, and may be nearly all of one class: by top-1 an attacker who always
    says that class would be chosen, and would find nothing on test. Of one class alone it is nan.
    """
    if spec.metric != "top-1":
        return measure(spec, truth, predicted).value
    (name,) = spec.columns
    known = is_known(truth.labels[name])
    labels = truth.labels[name][known]
    if len(np.unique(labels)) < 2:
        return math.nan
    return balanced_accuracy(labels, predicted[name][known].argmax(axis=1)).value


def constant_floors(spec: MetricSpec, truth: SplitTruth) -> dict[str, Statistic]:
    """Floors of attackers who say the same of all clips of a fold."""
    floors = {"constant": measure(spec, truth, truth.rates)}
    if spec.metric == "top-1":  # what is common in train is rare in the test of the same people
        floors["uniform guess"] = _uniform_guess(truth, spec.columns[0])
    if spec.metric == "cMAP":  # scores without ties do better in any order than one score for all
        parts = [
            _over_known(truth, name, partial(_random_cmap, truth, name)) for name in spec.columns
        ]
        floors["random order"] = average(parts)
    if spec.metric in F1_THRESHOLDS:  # rates below the threshold say no to all: F1 has a better one
        yes = {name: np.tile([0.0, 1.0], (len(truth.clips), 1)) for name in spec.columns}
        floors["all positive"] = measure(spec, truth, yes)
    return floors


def compute_floors(
    spec: MetricSpec, truth: SplitTruth, predicted_actions: Sequence[IntArray]
) -> dict[str, Statistic]:
    """The trivial attackers of a label: constant guesses and the action prior.

    `predicted_actions` (n,) are what a recognizer reads behind each training run: the guesses from
    them are averaged like an attacker's scores. Empty: there is no such guess.
    """
    floors = constant_floors(spec, truth)
    if spec.use == "utility":
        return floors
    floors["action prior"] = measure(spec, truth, truth.priors)
    floors |= tuned_floors(spec, truth, truth.priors)
    if predicted_actions:
        guesses = [
            measure(spec, truth, {name: truth.prior_of(name, actions) for name in spec.columns})
            for actions in predicted_actions
        ]
        floors["predicted action"] = average(guesses)
    return floors


def tuned_floors(
    spec: MetricSpec, truth: SplitTruth, priors: Probabilities
) -> dict[str, Statistic]:
    """The guess from the action with a threshold tuned on train; F1 alone depends on one.

    `priors` are the rates within the clips' actions, which may be pooled over a person's clips.
    """
    if spec.metric not in F1_THRESHOLDS:
        return {}
    tuned = {name: truth.tuned_guess(name, priors[name]) for name in spec.columns}
    return {"action prior, tuned on train": measure(spec, truth, tuned)}


def _uniform_guess(truth: SplitTruth, label: str) -> Statistic:
    """How often a class drawn at random is right, of those that are in train, in expectation."""
    labels, seen = truth.labels[label], truth.rates[label] > 0  # (n, C)
    known = np.flatnonzero(is_known(labels))
    right = seen[known, labels[known]] / np.maximum(seen[known].sum(axis=1), 1)
    return of_known(mean(right), known, len(truth.clips))


def _is_requested_mean(spec: MetricSpec) -> bool:
    return spec.name == mean_name(spec.metric)


def _measure(metric: str, truth: SplitTruth, name: str, predicted: Probabilities) -> Statistic:
    def score(known: IntArray) -> Statistic:
        labels = truth.labels[name]
        if labels.ndim == 2:
            return _cmap(truth, name, predicted, known)
        y, p, rate = labels[known], predicted[name][known], truth.rates[name][known]
        if metric == "top-1":
            return top_k(y, p)
        if metric in F1_THRESHOLDS:
            threshold = F1_THRESHOLDS[metric]
            return f1(y[:, None], p[:, 1:], threshold=threshold, undefined="one class")
        ranked = average_precision if metric == "cMAP" else auroc
        return ranked(y, np.round(beyond_rate(p, rate)[:, 1], ROUNDED))

    return _over_known(truth, name, score)


def _over_known(truth: SplitTruth, name: str, score: Callable[[IntArray], Statistic]) -> Statistic:
    """Score clips whose label is known, as a statistic of all clips; others weigh nothing."""
    known = np.flatnonzero(is_known(truth.labels[name]))
    if not len(known):
        none = np.zeros(len(truth.clips), dtype=bool)
        return Statistic(len(none), lambda w: np.full(len(w), np.nan), labelled=none)
    inner = score(known)
    return inner if len(known) == len(truth.clips) else of_known(inner, known, len(truth.clips))


def _random_cmap(truth: SplitTruth, name: str, known: IntArray) -> Statistic:
    """The expected cMAP of scores in random order, of clips whose label is known."""

    def columns() -> Iterator[Floats]:
        labels = truth.labels[name]
        for column in labels.T if labels.ndim == 2 else (labels,):
            yield column[known].astype(np.float64)

    return random_order(len(known), columns)


def _cmap(truth: SplitTruth, name: str, predicted: Probabilities, known: IntArray) -> Statistic:
    """cMAP of a label of several values a clip, column by column: there may be thousands."""

    def columns() -> Iterator[tuple[Floats, Floats]]:
        labels, p, rates = truth.labels[name], predicted[name], truth.rates_by_fold(name)
        for first in range(0, labels.shape[1], COLUMNS):
            block = slice(first, first + COLUMNS)
            above = beyond_rate(p[known, block], rates[truth.fold[known], block]).round(ROUNDED)
            yield from zip(labels[known, block].T.astype(np.float64), above.T, strict=True)

    positives = truth.labels[name][known].sum(axis=0, dtype=np.float64)
    return cmap_of_columns(len(known), columns, positives)


def of_known(inner: Statistic, known: IntArray, count: int) -> Statistic:
    """A statistic of some clips as one of all `count`, of which the others weigh nothing."""
    counted = known if inner.labelled is None else known[inner.labelled]
    labelled, rarest = np.isin(np.arange(count), counted), None
    if inner.rarest is not None:
        rarest = np.isin(np.arange(count), known[inner.rarest])

    def left_out(codes: IntArray) -> Floats:
        known_codes = codes[known]
        present, numbers = np.unique(known_codes, return_inverse=True)
        values = np.full(int(codes.max()) + 1, inner.value)  # without who is not in it
        values[present] = values_left_out(inner, numbers.astype(np.int64))
        return values

    return replace(
        inner,
        n=count,
        weighted=lambda w: inner.weighted(w[:, known]),
        rarest=rarest,
        left_out=None if inner.left_out is None else left_out,
        labelled=labelled,
    )
