"""Score predictions: a pure function of predictions, ground truth and metric specs.

Who is strongest is chosen for each test fold inside its own training part, and the test split is
read once. Beside that stands the highest score of all attackers on test, with intervals
that hold for all of them at once: no choice can miss more than that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attacker_choice import (
    Joined,
    ScoredAttacker,
    ScoringInput,
    Strength,
    Strengths,
    choose,
    counted,
    score_attacker,
    score_attackers,
    strengths,
    strongest_of,
)
from masquerade.evaluation.attackers import TOGETHER, TRANSFORMED, attack_outputs
from masquerade.evaluation.calibration import (
    LEAST,
    log_odds,
    mean_probabilities,
    sigmoid,
    softmax,
)
from masquerade.evaluation.chosen_recognizers import network_means
from masquerade.evaluation.ground_truth import (
    GroundTruth,
    Probabilities,
    join_validation,
    mean_over_seeds,
)
from masquerade.evaluation.metric_specs import (
    MetricSpec,
    compute_floors,
    constant_floors,
    measure,
)
from masquerade.evaluation.predictions import ByLabel, Predictions
from masquerade.evaluation.presets import AttackerModel, Channel
from masquerade.evaluation.protocols import SAME
from masquerade.evaluation.results import Attack, Finding
from masquerade.evaluation.trade_offs import Scored, trade_offs
from masquerade.metrics.intervals import (
    NO_QUANTILES,
    Quantiles,
    Score,
    max_t,
    score,
    score_over_runs,
    variance_between_runs,
)
from masquerade.metrics.leakage import (
    Leakage,
    at_least_chance,
    f_lambda,
    held_limit,
    leakage,
    least_counted,
)
from masquerade.metrics.statistic import Floats, Statistic, average, difference

LEAST_RUNS = 5  # training runs of a method without which it is not said to hold


def scoring_inputs(
    predictions: Predictions,
    truth: GroundTruth,
    families: Sequence[str],
    models: Mapping[str, AttackerModel],
    *,
    per_run: bool = False,
    learned: bool = False,
) -> dict[str, ScoringInput]:
    """The predictions of one method beside the truth, by protocol.

    Clips without predictions are left out of the folds. `families` are in ATTACKERS, and `models`
    those of the preset; `per_run` and `learned` are as in ScoringInput.
    """
    found = {}
    for name in truth.protocols:
        own = predictions.select(protocol=name)
        known = truth.of_clips(own.clips)
        seeds = sorted({key.seed for key in own.blocks})
        tests = {seed: known.split(name, "test", seed=seed) for seed in seeds}
        found[name] = ScoringInput(
            validation=join_validation(
                [known.split(name, "validation", seed=seed) for seed in seeds]
            ),
            test=mean_over_seeds(list(tests.values())),
            tests=tuple(tests.values()),
            outputs=attack_outputs(families, models, own, tests),
            prior="prior" in families,
            clips=own.clips,
            per_run=per_run,
            learned=learned,
        )
    return found


def score_table(
    every: Joined,
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
    *,
    void: Mapping[str, str] | None = None,
    unread: Sequence[Mapping[str, str]] | None = None,
    means_of: Mapping[str, AttackerModel] | None = None,
    lambdas: Sequence[float] = (),
) -> list[tuple[Finding, ...]]:
    """What is reported of all lines of a table, raw video first.

    Args:
        every: of each line, as `join_table` returns them; none where it was not run.
        truth: of all clips.
        specs: what is measured, by protocol.
        void: of labels, why their numbers are void.
        unread: of each line's labels, why it cannot be said to hold.
        means_of: attackers by name, over whose networks means are reported; None: no means.
        lambdas: weights of privacy at which f_lambda of each private label is reported.
    """
    raw, strength = every[0], strengths(every, specs)
    return [
        score_method(
            inputs,
            truth,
            specs,
            raw=raw if at else None,
            void=void,
            strength=strength,
            unread=unread[at] if unread else None,
            means_of=means_of,
            lambdas=lambdas,
        )
        for at, inputs in enumerate(every)
    ]


def as_attacked_behind_methods(
    alone: Sequence[Finding],
    every: Joined,
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
) -> tuple[Finding, ...]:
    """What is found of raw video, with the scores and floors that its line of the table has.

    Attackers may do first what a method does, and succeed where those of raw video alone do not.
    """
    strength, found = strengths(every, specs), []
    for name, one in every[0].items():
        actions = predict_actions(truth, name, one, strength.get((name, truth.action)))
        for spec in specs[name]:
            mine = next(each for each in alone if each.label == spec.name)
            best = choose(spec, one, score_attackers(spec, one), strength[name, spec.name])
            groups = one.test.groups
            floors = compute_floors(spec, one.test, actions)
            found.append(
                replace(
                    mine,
                    score=score(
                        best.test,
                        clusters=groups,
                        between=variance_between_runs(best.runs, clusters=groups),
                    ),
                    floors={key: score(floor, clusters=groups) for key, floor in floors.items()},
                )
            )
    return tuple(found)


def score_method(
    inputs: Mapping[str, ScoringInput],
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
    *,
    raw: Mapping[str, ScoringInput] | None = None,
    void: Mapping[str, str] | None = None,
    strength: Strengths | None = None,
    unread: Mapping[str, str] | None = None,
    means_of: Mapping[str, AttackerModel] | None = None,
    lambdas: Sequence[float] = (),
) -> tuple[Finding, ...]:
    """What is reported of a method, label by label.

    `inputs` and `specs` are by protocol; `raw` is of raw video, None where the method is that;
    `void` says of labels why their numbers are void, `unread` why a method cannot be said to hold.
    """
    utility = acted = None
    acted_means: dict[str, Scored] = {}  # by family
    found = []
    for name, one in inputs.items():
        actions = predict_actions(truth, name, one, (strength or {}).get((name, truth.action)))
        for spec in specs[name]:
            finding = score_label(
                spec,
                one,
                None if raw is None else raw[name],
                predicted_actions=actions,
                utility=utility,
                void=(void or {}).get(spec.name),
                strength=(strength or {}).get((name, spec.name)),
                unread=(unread or {}).get(spec.name),
            )
            where = one.test.clips, one.test.groups
            if means_of is not None:
                means = network_means(score_attackers(spec, one), means_of, one.test.groups)
                if spec.use == "utility" and not acted_means:
                    acted_means = {
                        each.family: Scored(mean, runs, *where)
                        for each, mean, runs in means
                        if each.reads == "clips"
                    }
                beside = acted_means if spec.use == "private" else {}
                about = tuple(
                    replace(
                        each,
                        trade_offs=trade_offs(
                            beside[each.family],
                            Scored(mean, runs, *where),
                            lambdas,
                            metric=spec.metric,
                        ),
                    )
                    if each.family in beside
                    else each
                    for each, mean, runs in means
                )
                finding = replace(finding, means=about)
            if lambdas and (acted is None or spec.use == "private"):
                best = choose(
                    spec, one, score_attackers(spec, one), (strength or {}).get((name, spec.name))
                )
                mine = Scored(best.test, best.runs, *where)
                if spec.use == "utility":
                    acted = mine
                elif acted is not None:
                    finding = replace(
                        finding, trade_offs=trade_offs(acted, mine, lambdas, metric=spec.metric)
                    )
            if spec.use == "utility":
                utility = finding.score.value  # the action is the first label
            found.append(finding)
    return tuple(found)


def score_label(
    spec: MetricSpec,
    inputs: ScoringInput,
    raw: ScoringInput | None,
    *,
    predicted_actions: Sequence[IntArray],
    utility: float | None,
    void: str | None,
    strength: Strength | None = None,
    unread: str | None = None,
) -> Finding:
    """What is reported of one label under one method; `utility` is the score of the action.

    `predicted_actions` are those of `predict_actions`; empty: none is guessed from.
    """
    scored = score_attackers(spec, inputs)
    best = choose(spec, inputs, scored, strength)
    floors = compute_floors(spec, inputs.test, predicted_actions)
    groups = inputs.test.groups
    between = variance_between_runs(best.runs, clusters=groups)
    result = score(best.test, clusters=groups, between=between)
    together = [best] if best.outputs.family == TOGETHER else []
    rivals = [*counted(spec, scored), *together]
    quantiles = max_t([one.test for one in rivals], [one.runs for one in rivals], clusters=groups)
    highest = max(
        rivals, key=lambda one: -math.inf if math.isnan(one.test.value) else one.test.value
    )
    scores = (result, _score(inputs, highest, quantiles))
    private = spec.use == "private"
    leaked = beyond_action = gain = f_half = None
    undecided = None
    defined = any(not math.isnan(one.value) for one in floors.values())  # else all are of one class
    if private and void is None and defined:
        on_raw = best
        if raw is not None:
            shared = raw.of_clips(inputs.clips)
            on_raw = choose(spec, shared, score_attackers(spec, shared), strength)
        leaked = leakage(best.test, on_raw.test, floors, clusters=groups, between=between)
        each = [_score(inputs, one, quantiles) for one in rivals]
        ends = [one.high for one in each]
        ends += [_highest_of_run(inputs, rivals, run, quantiles) for run in range(len(best.runs))]
        leaked = replace(leaked, protects=_holds(leaked, ends))
        runs = len(best.outputs.test) if inputs.per_run else 1
        few = (
            f"{runs} training run{'s' * (runs > 1)}, and {LEAST_RUNS} are needed: train "
            f"{LEAST_RUNS} with other seeds, and give them as --weights 'runs/{{seed}}' --seeds "
            f"{LEAST_RUNS}"
        )
        doubt = few if (inputs.per_run or inputs.learned) and runs < LEAST_RUNS else unread
        doubt = doubt or _doubt_below_chance(spec, rivals, each)
        if leaked.protects and doubt:
            leaked, undecided = replace(leaked, protects=None), doubt
        elif raw is not None and not (leaked.low or 0.0) > 0 and not _is_above(floors, scores):
            undecided = unread  # it may leak where none of these attackers can look
    pooled = _score_pooled(spec, inputs, best, predicted_actions) if private else None
    if leaked is not None and leaked.protects and pooled is not None:
        undecided = _doubt_together(leaked, *pooled, _pooled_ends(spec, inputs, rivals))
        leaked = replace(leaked, protects=None) if undecided else leaked
    informed = strongest_of(spec, inputs, scored, "prior")
    if informed and "action prior" in floors:
        prior = floors["action prior"]
        beyond_action = score_over_runs(
            difference(informed.test, prior),
            [difference(run, prior) for run in informed.runs],
            clusters=groups,
        )
    retrained = strongest_of(
        spec, inputs, scored, "scratch", "motion", "finetuned", "published", strength=strength
    )
    untrained = strongest_of(spec, inputs, scored, "raw", strength=strength)
    if retrained and untrained:
        gain = score_over_runs(
            difference(retrained.test, untrained.test),
            [difference(*both) for both in zip(retrained.runs, untrained.runs, strict=True)],
            clusters=groups,
        )
    if private and utility is not None and result.value is not None:
        f_half = f_lambda(utility, at_least_chance(result.value, spec.metric))
    chosen = Counter(name for names in best.chosen for name in names)
    found = Finding(
        label=spec.name,
        use=spec.use,
        metric=spec.metric,
        protocol=spec.protocol,
        floors={name: score(one, clusters=groups) for name, one in floors.items()},
        attacks=tuple(
            _attack(spec, inputs, one, quantiles, counts=one in rivals)
            for one in (*scored, *together)
            if one.outputs.family != TRANSFORMED
            or one.outputs.name in (*chosen, highest.outputs.name)
        ),
        strongest=chosen.most_common(1)[0][0],
        chosen=best.chosen,
        score=result,
        highest=highest.outputs.name,
        highest_score=scores[1],
        runs_sd=_spread([one.value for one in best.runs]),
        leakage=leaked,
        undecided=undecided,
        pooled=None if pooled is None else pooled[0],
        pooled_floor=None if pooled is None else pooled[1],
        beyond_action=beyond_action,
        retrained_gain=gain,
        retrained_holds=None if gain is None or gain.high is None else gain.high >= 0,
        f_half=f_half,
        void=void,
    )
    if found.told_together and leaked is not None and (leaked.protects or undecided):
        found = replace(found, leakage=replace(leaked, protects=False), undecided=None)
    return found


def predict_actions(
    truth: GroundTruth, protocol: str, inputs: ScoringInput, strength: Strength | None = None
) -> tuple[IntArray, ...]:
    """(n,) actions that the strongest recognizer predicts for the test clips, of each training run.

    Where a clip has several actions, the likeliest. `strength` breaks ties, as for the action's own
    score.
    """
    action = truth.action
    metric = "cMAP" if truth.labels[action].ndim == 2 else "top-1"
    spec = MetricSpec(
        name=action, columns=(action,), use="utility", metric=metric, protocol=protocol
    )
    best = choose(spec, inputs, score_attackers(spec, inputs), strength).outputs
    runs = best.test if inputs.per_run else (mean_probabilities(best.test),)
    return tuple(np.asarray(one[action].argmax(axis=1), np.int64) for one in runs)


def channel_scores(
    spec: MetricSpec, inputs: ScoringInput, channels: Collection[Channel]
) -> dict[Channel, Score]:
    """What attackers of one of these channels alone read, chosen among themselves, by channel."""
    found: dict[Channel, Score] = {}
    single = [one for one in inputs.outputs if one.eligible and len(one.channels) == 1]
    every = [one for one in single if one.channels <= set(channels)]
    for channel in dict.fromkeys(next(iter(one.channels)) for one in every):
        some = replace(
            inputs,
            outputs=tuple(one for one in every if one.channels == {channel}),
            prior=False,
        )
        best = choose(spec, some, score_attackers(spec, some))
        found[channel] = _score(some, best)
    return found


def _pooling(
    spec: MetricSpec, inputs: ScoringInput
) -> Callable[[Probabilities], Probabilities] | None:
    """A function that averages predictions over the clips of a person; None: nobody has two.

    A person's clips of one fold share the mean of their log probabilities. Who it is stays unknown:
    a folder of one patient's videos tells as much.
    """
    labels = inputs.test.labels
    who = labels[spec.columns[0]] if spec.protocol == SAME else inputs.test.groups
    pairs = np.stack([inputs.test.fold, who], axis=1)
    _, which, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    if counts.max(initial=0) < 2:
        return None

    def pool(p: Floats, *, several: bool) -> Floats:
        logs = log_odds(p) if several or p.shape[1] == 2 else np.log(np.clip(p, LEAST, None))
        sums = np.zeros((len(counts), p.shape[1]))
        np.add.at(sums, which.ravel(), logs)
        mean = (sums / counts[:, None])[which.ravel()]
        return sigmoid(mean) if several or p.shape[1] == 2 else softmax(mean)

    return lambda predicted: ByLabel(
        predicted, lambda label: pool(predicted[label], several=labels[label].ndim == 2)
    )


def _score_pooled(
    spec: MetricSpec,
    inputs: ScoringInput,
    best: ScoredAttacker,
    predicted_actions: Sequence[IntArray] = (),
) -> tuple[Score, float | None] | None:
    """The score where attackers know which test clips show one person; None: each shows another.

    Beside it stands the best guess of the same: a label that goes with actions is guessed from all
    that a person does.
    """
    pooled = _pooling(spec, inputs)
    if pooled is None:
        return None
    (one,) = _pool_attackers(spec, inputs, [best])
    floors, truth = constant_floors(spec, inputs.test), inputs.test
    floors["action prior"] = measure(spec, truth, pooled(truth.priors))
    if predicted_actions:
        priors = [
            {name: truth.prior_of(name, one) for name in spec.columns} for one in predicted_actions
        ]
        floors["predicted action"] = average([measure(spec, truth, pooled(one)) for one in priors])
    return _score(inputs, one), _highest_value(floors)


def _pool_attackers(
    spec: MetricSpec, inputs: ScoringInput, several: Sequence[ScoredAttacker]
) -> list[ScoredAttacker]:
    """Attackers who know which test clips show one person."""
    pooled = _pooling(spec, inputs)
    assert pooled is not None
    outputs = [replace(one.outputs, test=tuple(map(pooled, one.outputs.test))) for one in several]
    return [score_attacker(spec, inputs, one) for one in outputs]


def _pooled_ends(
    spec: MetricSpec, inputs: ScoringInput, rivals: Sequence[ScoredAttacker]
) -> list[float | None]:
    """The upper ends of all attackers who know which clips show one person, at once."""
    every = _pool_attackers(spec, inputs, rivals)
    runs, groups = [one.runs for one in every], inputs.test.groups
    quantiles = max_t([one.test for one in every], runs, clusters=groups)
    return [_score(inputs, one, quantiles).high for one in every]


def _doubt_together(
    leaked: Leakage, pooled: Score, floor: float | None, ends: Sequence[float | None]
) -> str | None:
    """Return why pooled clips of a person rule `held` out; None: all upper ends are low enough.

    Those of `pooled`, by the attackers that were chosen, and of all that count, `ends`.
    """
    raw = leaked.raw.value
    if pooled.value is None or floor is None or raw is None:
        return None
    limit = held_limit(floor, max(floor, raw))
    every = [pooled.high, *ends]
    known = [end for end in every if end is not None]
    if len(known) == len(every) and max(known) <= limit:
        return None
    most = "more" if len(known) < len(every) else f"{max(known):.2f}"
    return (
        f"all clips of a person together may tell {most}, where a guess has {floor:.2f}: more "
        "people would tell"
    )


def _holds(leaked: Leakage, ends: Sequence[float | None]) -> bool | None:
    """Whether all upper ends lie within a tenth of the way from the floor to raw video."""
    if leaked.protects is None or any(end is None for end in ends):
        return None
    floor, raw = leaked.floor.value or 0.0, leaked.raw.value or 0.0
    return max(end or 0.0 for end in ends) <= held_limit(floor, raw)


def _doubt_below_chance(
    spec: MetricSpec, rivals: Sequence[ScoredAttacker], scores: Sequence[Score]
) -> str | None:
    """A sentence on an attacker whose score is surely below chance; None: there is none."""
    chance = least_counted(spec.metric)
    for one, found in zip(rivals, scores, strict=True):
        if found.high is not None and found.high < chance:
            return (
                f"what {one.outputs.name} says is surely below chance ({spec.metric} "
                f"{found.value:.2f}, at most {found.high:.2f}): turned round, it would tell more "
                "than a guess"
            )
    return None


def _is_above(floors: Mapping[str, Statistic], scores: Sequence[Score]) -> bool:
    """Whether a score is surely above all guesses."""
    floor = _highest_value(floors)
    return any((one.low or 0.0) > (1.0 if floor is None else floor) for one in scores)


def _highest_value(floors: Mapping[str, Statistic]) -> float | None:
    """The score of the best guess; None: none is defined."""
    return max((one.value for one in floors.values() if not math.isnan(one.value)), default=None)


def _highest_of_run(
    inputs: ScoringInput, rivals: Sequence[ScoredAttacker], run: int, quantiles: Quantiles
) -> float | None:
    """The upper end of the strongest attacker of one training run."""
    groups = inputs.test.groups
    ends = [score(one.runs[run], clusters=groups, quantiles=quantiles).high for one in rivals]
    return None if any(end is None for end in ends) else max(end or 0.0 for end in ends)


def _score(inputs: ScoringInput, one: ScoredAttacker, quantiles: Quantiles = NO_QUANTILES) -> Score:
    return score_over_runs(one.test, one.runs, clusters=inputs.test.groups, quantiles=quantiles)


def _attack(
    spec: MetricSpec,
    inputs: ScoringInput,
    one: ScoredAttacker,
    quantiles: Quantiles,
    *,
    counts: bool,
) -> Attack:
    single = [
        measure(spec, inputs.of_seed(seed), predicted).value
        for seed, predicted in enumerate(one.outputs.test)
    ]
    return Attack(
        family=one.outputs.family,
        name=one.outputs.name,
        validation=None if math.isnan(one.validation) else one.validation,
        test=_score(inputs, one, quantiles),
        seed_sd=_spread(single),
        counts=counts,
    )


def _spread(values: Sequence[float]) -> float | None:
    """The standard deviation of several numbers; None of one, or where one is undefined."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return None if math.isnan(sd) else sd
