"""f_lambda of each method over the weight of privacy, as Fig. 7 of Ilic et al. (CVPR 2024).

Once as the strongest attackers read the action and a private label, and once, where means over
networks were asked for (`evaluate --average`), as the paper has it: by the mean over networks of
clips on the action, and over networks of single frames on the label.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from masquerade.evaluation.mask_only import shows_mask_alone
from masquerade.evaluation.results import Evaluation, LabelResult, NetworkMean, Reads, Row
from masquerade.metrics.intervals import Score
from masquerade.metrics.leakage import at_least_chance, f_lambda_sweep
from masquerade.report.numbers_and_columns import number
from masquerade.report.svg_charts import COLOURS, Series, lines
from masquerade.report.verdicts import headline_columns, privacy_value, title_of, void_mark

STEPS = 21  # weights of privacy in the sweep
BEST = 5  # methods that are listed at each weight
TRAINED = ("raw", "scratch", "published", "finetuned")  # families, the paper's first

READS: dict[Reads, str] = {"clips": "clips", "stills": "single frames"}
"""What networks see, in words."""

Curve = list[tuple[float, float]]  # (lambda, f)


class WeightSweep(NamedTuple):
    """Which method is best at which weight of privacy, for one private label."""

    found: LabelResult
    read_by: str  # who reads the action and the label
    chart: Markup
    ranges: tuple[tuple[str, str, str], ...]  # from, to, method
    best: str  # of every weight, as JSON


def weight_sweeps(evaluation: Evaluation, label: LabelResult) -> Iterator[WeightSweep]:
    """Yield f by the strongest attackers, then by means over networks if these were asked for."""
    utility = next((c for c in headline_columns(evaluation) if c.use == "utility"), None)
    if utility is None:
        return
    curves = _curves(evaluation, utility, label, _strongest)
    if curves:
        yield _sweep(evaluation, label, curves, "the strongest attackers")
    curves = _curves(evaluation, utility, label, _mean)
    if curves:
        yield _sweep(evaluation, label, curves, _networks(evaluation, utility, label))


def network_mean(row: Row, finding: LabelResult) -> NetworkMean | None:
    """The mean over networks that the paper prints of a label; None: none was asked for.

    Of the action it is that over networks of clips, of privacy over networks of single frames, if
    there are any, and as they attack after training on raw video alone, which those of raw video
    itself are that learned from published weights, if there are any, or from scratch.
    """
    reads = ("clips",) if finding.use == "utility" else ("stills", "clips")
    order = ("published", "scratch", *TRAINED) if row.method is None else TRAINED
    wanted = [(kind, family) for kind in reads for family in order]
    means = {(mean.reads, mean.family): mean for mean in finding.means}
    return next((means[key] for key in wanted if key in means), None)


def _strongest(row: Row, finding: LabelResult) -> float | None:
    return privacy_value(finding) if finding.use == "private" else finding.score.value


def _mean(row: Row, finding: LabelResult) -> float | None:
    mean = network_mean(row, finding)
    if mean is None or mean.score.value is None:
        return None
    return (
        at_least_chance(mean.score.value, finding.metric)
        if finding.use == "private"
        else mean.score.value
    )


def _curves(
    evaluation: Evaluation,
    utility: LabelResult,
    label: LabelResult,
    read: Callable[[Row, LabelResult], float | None],
) -> dict[str, Curve]:
    """f of every row whose two scores are known, and not void; nothing if none is of a method."""
    curves: dict[str, Curve] = {}
    methods = 0
    for row in evaluation.rows:
        private, action = row.finding(label.label), row.finding(utility.label)
        if private is None or action is None or private.void or action.void:
            continue
        if shows_mask_alone(row.name):  # no method, though nothing is read of a random mask
            continue
        action_value, private_value = read(row, action), read(row, private)
        if action_value is not None and private_value is not None:
            curves[row.name] = list(f_lambda_sweep(action_value, private_value, steps=STEPS))
            methods += row.method is not None
    return curves if methods else {}


def _networks(evaluation: Evaluation, utility: LabelResult, label: LabelResult) -> str:
    """Say how many networks are averaged, and whether they see clips or single frames."""
    counts = []
    for column, task in ((utility, "action"), (label, "privacy")):
        first_mean = next(
            mean
            for row in evaluation.rows
            if (finding := row.finding(column.label)) and (mean := network_mean(row, finding))
        )
        counts.append(f"{len(first_mean.networks)} of {READS[first_mean.reads]} ({task})")
    return f"the mean over networks: {' and '.join(counts)}"


def _sweep(
    evaluation: Evaluation, label: LabelResult, curves: Mapping[str, Curve], read_by: str
) -> WeightSweep:
    raw = next((row.name for row in evaluation.rows if row.method is None), "")
    methods = [name for name in curves if name != raw]
    order = [_best(curves, methods, i) for i in range(STEPS)]
    places = [weight for weight, _ in next(iter(curves.values()))]
    weights = [number(weight) for weight in places]
    ranges: list[tuple[str, str, str]] = []
    for weight, best in zip(weights, order, strict=True):
        if ranges and ranges[-1][2] == best[0]:
            ranges[-1] = (ranges[-1][0], weight, best[0])
        else:
            ranges.append((weight, weight, best[0]))
    winners = list(dict.fromkeys(name for _, _, name in ranges))
    kinds = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(winners)}
    kinds |= {raw: "raw"}
    series = [
        Series(
            name=name,
            values=tuple(Score(f, None, None, 0, 0) for _, f in curve),
            kind=kinds.get(name, "other"),
            shape="",
        )
        for name, curve in sorted(curves.items(), key=lambda pair: pair[0] in kinds)
    ]
    mark = void_mark(evaluation)
    chart = lines(
        places,
        series,
        title=f"f of each method over the weight of {title_of(label).lower()}, by {read_by}{mark}",
        across=f"weight λ of privacy{mark}",
        named=kinds,
        width=440,
        height=280,
    )
    listed = [[(name, number(curves[name][i][1])) for name in best] for i, best in enumerate(order)]
    table = json.dumps([weights, listed], ensure_ascii=False)
    return WeightSweep(label, read_by, chart, tuple(ranges), table.replace("<", "\\u003c"))


def _best(curves: Mapping[str, Curve], names: Sequence[str], step: int) -> list[str]:
    """The methods with the highest f at one weight, the best one first."""
    return sorted(names, key=lambda name: -curves[name][step][1])[:BEST]
