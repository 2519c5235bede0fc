"""The choice among attackers: who is called the strongest, how sure that is, and what holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenes import CONFIG

from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.evaluation import EvaluatedMethod, evaluate
from masquerade.evaluation.attacked_label import attack_label
from masquerade.evaluation.attacker_choice import (
    MAX_ENSEMBLE_SIZE,
    ScoringInput,
    average_attackers,
    choosable_attackers,
    choose,
    join_table,
    score_attacker,
    score_attackers,
    strengths,
)
from masquerade.evaluation.attackers import TOGETHER_NAME, AttackOutputs
from masquerade.evaluation.calibration import sigmoid
from masquerade.evaluation.controls import (
    channel_controls,
    notes_on_places,
    positive_controls,
    unread_channels,
    void_labels,
)
from masquerade.evaluation.ground_truth import GroundTruth, SplitTruth, join_test
from masquerade.evaluation.label_leakage import LEAST_RUNS
from masquerade.evaluation.metric_specs import (
    MetricSpec,
    compute_floors,
    measure,
    protocol_specs,
    without_void,
)
from masquerade.evaluation.pooled_clips import score_pooled
from masquerade.evaluation.protocols import SAME, Protocol, protocols
from masquerade.evaluation.results import Control, from_json
from masquerade.evaluation.scoring import score_label, score_table
from masquerade.methods import build
from masquerade.metrics.floors import ActionPrior
from masquerade.metrics.intervals import Score

WHO = MetricSpec(name="who", columns=("who",), use="private", metric="top-1", protocol="x")
RED = MetricSpec(
    name="red", columns=("red",), use="private", metric="AUROC", protocol="x", of_people=True
)
CLIPS, FOLDS = 40, 2
FOLD = np.arange(CLIPS) // (CLIPS // FOLDS)
GIVEN = {"predicted_actions": (), "utility": None, "void": None}


def truth(labels: np.ndarray, clips: np.ndarray, fold: np.ndarray, name: str) -> SplitTruth:
    classes = int(labels.max()) + 1
    even = ActionPrior(
        np.arange(1), np.full((1, classes), 1 / classes), np.full(classes, 1 / classes)
    )
    return SplitTruth(
        clips=clips,
        fold=fold,
        people=clips,  # each of another person
        groups=clips,
        labels={name: labels[clips]},
        actions=np.zeros(len(clips), np.int64),
        fold_priors={name: (even,) * FOLDS},
    )


def told(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One-hot answers, wrong where `right` says so."""
    classes = int(labels.max()) + 1
    return np.eye(classes)[np.where(right, labels, (labels + 1) % classes)]


def given(
    spec: MetricSpec, *attackers: tuple[str, np.ndarray, np.ndarray], runs: int = 1, **more: object
) -> ScoringInput:
    """Attackers (name, right on validation, right on test); validation of a fold is the other."""
    labels = np.random.default_rng(0).permutation(
        np.arange(CLIPS) % (2 if spec.name == "red" else 4)
    )
    test, other = (
        np.arange(CLIPS),
        np.concatenate([np.flatnonzero(FOLD == 1), np.flatnonzero(FOLD == 0)]),
    )
    of_fold = np.repeat(np.arange(FOLDS), CLIPS // FOLDS)
    outputs = tuple(
        AttackOutputs(
            family="scratch",
            name=name,
            validation={spec.name: told(validation[other], labels[other])},
            test=({spec.name: told(right, labels)},) * runs,
            channels=frozenset({"appearance"}),
        )
        for name, validation, right in attackers
    )
    sheet = truth(labels, test, of_fold, spec.name)
    made = ScoringInput(
        validation=truth(labels, other, of_fold, spec.name),
        test=sheet,
        tests=(sheet,) * runs,
        outputs=outputs,
        prior=False,
        clips=test,
        per_run=runs > 1,
    )
    return replace(made, **more) if more else made


EVERY, NEVER = np.ones(CLIPS, bool), np.zeros(CLIPS, bool)


def test_each_fold_chooses_by_clips_that_are_not_in_it() -> None:
    """An attacker that is right in one half is chosen for the other, where it is wrong."""
    first, second = FOLD == 0, FOLD == 1
    mine = given(WHO, ("one", first, first), ("two", second, second))
    best = choose(WHO, mine, score_attackers(WHO, mine))
    assert best.chosen == (("two",), ("one",))
    assert best.test.value == 0  # and no better choice was possible without looking at test
    found = score_label(WHO, mine, None, **GIVEN)
    assert found.score.value == 0 and found.highest_score is not None
    assert found.highest_score.value == 0.5


def test_ties_are_broken_by_strength_over_the_whole_table() -> None:
    mine = given(WHO, ("weak", EVERY, NEVER), ("strong", EVERY, EVERY))
    scored = score_attackers(WHO, mine)
    assert choose(WHO, mine, scored).chosen == (("weak",),) * 2  # the first of equals
    strength = [{"weak": 0.3, "strong": 0.6}, {"weak": 0.7, "strong": 0.6}]  # of each fold
    assert choose(WHO, mine, scored, strength).chosen == (("strong",), ("weak",))


def test_a_fold_chooses_by_held_out_clips_of_its_own_training_part() -> None:
    """Whatever attackers say of clips that were held out of another fold's training part."""
    rng = np.random.default_rng(1)
    mine = given(WHO, ("one", FOLD == 1, EVERY), ("two", FOLD == 0, EVERY), prior=True)
    of_first = mine.validation.fold % FOLDS == 0

    def poisoned(one: AttackOutputs) -> AttackOutputs:
        p = one.validation["who"]
        noise = rng.dirichlet(np.ones(4), size=len(p))
        return replace(one, validation={"who": np.where(of_first[:, None], p, noise)})

    other = replace(mine, outputs=tuple(map(poisoned, mine.outputs)))
    by_fold = []
    for each in (mine, other):
        scored = score_attackers(WHO, each)
        (known, *_) = strengths([{"x": each}], {"x": [WHO]})["x", WHO.name]
        by_fold.append((choose(WHO, each, scored).chosen[0], known))
        assert [one.by_fold[0] for one in scored[:2]] == [1.0, 0.0]
    assert by_fold[0] == by_fold[1] and by_fold[0][0] == ("one",)


@pytest.mark.parametrize(("spec", "chance"), [(RED, 1 / 2), (WHO, 1 / 3)])
def test_clips_of_other_folds_stand_in_where_a_folds_own_are_of_one_class(
    spec: MetricSpec, chance: float
) -> None:
    """Who says that class of every clip is not chosen: it would seem to be always right."""
    name = spec.name
    mine = given(spec, ("same", NEVER, EVERY), ("wrong", NEVER, EVERY), ("right", EVERY, EVERY))
    test, labels = mine.test, mine.test.labels[name]
    always = np.eye(labels.max() + 1)[np.ones(CLIPS, int)]
    other = mine.validation.clips
    in_no_test = (test.clips >= 10) & (test.clips < 30)
    # of the first fold clips of one class alone, and of the second those that are in no test
    kept = np.where(mine.validation.fold == 0, labels[other] == 1, (other >= 10) & (other < 30))
    mine = replace(
        mine,
        validation=mine.validation.at(kept),
        test=test.at(~in_no_test),
        tests=(),
        outputs=tuple(
            replace(
                one,
                validation={name: (always if one.name == "same" else one.validation[name])[kept]},
                test=({name: one.test[0][name][~in_no_test]},),
            )
            for one in mine.outputs
        ),
    )
    scored = score_attackers(spec, mine)
    assert [one.by_fold for one in scored] == [(chance,) * 2, (0.0, 0.0), (1.0, 1.0)]
    assert choose(spec, mine, scored).chosen == (("right",),) * 2


def sure(rng: np.random.Generator, right: float, labels: np.ndarray) -> np.ndarray:
    """Answers of an attacker that tells the right class apart by `right` standard deviations."""
    z = rng.normal(size=(len(labels), 4)) + right * np.eye(4)[labels]
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def attackers(*right: float) -> ScoringInput:
    """Attackers that err on other clips each."""
    rng = np.random.default_rng(3)
    mine = given(WHO, *((str(at), EVERY, EVERY) for at in range(len(right))))
    return replace(
        mine,
        outputs=tuple(
            replace(
                one,
                validation={"who": sure(rng, each, mine.validation.labels["who"])},
                test=({"who": sure(rng, each, mine.test.labels["who"])},),
            )
            for one, each in zip(mine.outputs, right, strict=True)
        ),
    )


def test_attackers_that_are_nearly_equal_read_more_together() -> None:
    mine = attackers(*[1.0] * 12)
    scored = score_attackers(WHO, mine)
    best = choose(WHO, mine, scored)
    assert max(len(names) for names in best.chosen) > 1
    assert all(len(names) <= MAX_ENSEMBLE_SIZE for names in best.chosen)
    assert best.test.value > max(one.test.value for one in scored)
    found = score_label(WHO, mine, None, **GIVEN)
    assert found.highest == TOGETHER_NAME == found.attacks[-1].name  # it stands among the others
    assert found.highest_score == found.attacks[-1].test
    assert found.score.value == best.test.value and found.attacks[-1].validation is None


def test_one_that_is_far_stronger_is_not_watered_down() -> None:
    mine = attackers(0, 0, 0, 9, 0, 0)
    best = choose(WHO, mine, score_attackers(WHO, mine))
    assert best.test.value == 1.0 and set(best.chosen) == {("3",)}


def test_averaged_attackers_are_made_equally_sure_where_clips_are_ranked() -> None:
    """One that is wrong in a few clips, and a hundred times as sure, does not outvote two."""
    few = np.arange(CLIPS) % 5 == 0
    mine = given(RED, ("a", ~few, ~few), ("b", EVERY, EVERY), ("c", EVERY, EVERY))
    outputs = []
    for one, width in zip(mine.outputs, (0.499, 0.005, 0.005), strict=True):
        test, validation = (
            0.5 + 2 * width * (p["red"] - 0.5) for p in (one.test[0], one.validation)
        )
        outputs.append(replace(one, test=({"red": test},), validation={"red": validation}))
    mine = replace(mine, outputs=tuple(outputs))
    together = average_attackers(RED, mine, score_attackers(RED, mine))
    assert score_attacker(RED, mine, together).test.value == 1.0


def test_predictions_of_folds_that_choose_differently_are_put_together() -> None:
    """Ranked together although one attacker is a hundred times as sure as the other."""
    first, second = FOLD == 0, FOLD == 1
    mine = given(RED, ("one", second, first), ("two", first, second))
    outputs = []
    for one, sure in zip(mine.outputs, (0.4999, 0.005), strict=True):
        p, q = one.test[0]["red"], one.validation["red"]
        outputs.append(
            replace(
                one,
                test=({"red": 0.5 + 2 * sure * (p - 0.5)},),
                validation={"red": 0.5 + 2 * sure * (q - 0.5)},
            )
        )
    mine = replace(mine, outputs=tuple(outputs))
    best = choose(RED, mine, score_attackers(RED, mine))
    assert best.chosen == (("one",), ("two",)) and best.test.value == 1.0


@pytest.mark.parametrize("several", [False, True])  # values a clip
def test_predictions_of_folds_that_are_sure_of_one_class_are_put_together(several: bool) -> None:
    """One attacker says red of nearly all, the other of nearly none; both know who is redder."""
    first, second = FOLD == 0, FOLD == 1
    spec = replace(RED, metric="cMAP") if several else RED
    mine = given(RED, ("one", second, first), ("two", first, second))
    outputs = []
    for one, bias in zip(mine.outputs, (-4.0, 4.0), strict=True):
        test, validation = (
            sigmoid(np.array([-bias, bias]) + 2 * p["red"] - 1)
            for p in (one.test[0], one.validation)
        )
        outputs.append(replace(one, test=({"red": test},), validation={"red": validation}))
    mine = replace(mine, outputs=tuple(outputs))
    if several:
        test, validation = (
            replace(one, labels={"red": np.eye(2, dtype=np.int64)[one.labels["red"]]})
            for one in (mine.test, mine.validation)
        )
        mine = replace(mine, test=test, tests=(test,), validation=validation)
    best = choose(spec, mine, score_attackers(spec, mine))
    assert best.chosen == (("one",), ("two",)) and best.test.value == 1.0


def unlike(*rates: float) -> dict[str, tuple[ActionPrior, ...]]:
    """Training rates of red, by fold."""
    each = [np.array([1 - rate, rate]) for rate in rates]
    return {"red": tuple(ActionPrior(np.arange(1), one[None], one) for one in each)}


def test_a_fold_that_learned_of_one_class_alone_does_not_stand_out() -> None:
    """All who are red are in one fold's test: its train has none of them, or that of one seed."""
    red = (np.arange(CLIPS) < 6).astype(np.int64)
    mine = given(RED, ("blind", EVERY, EVERY))
    seeds = [
        replace(mine.test, labels={"red": red}, fold_priors=unlike(*rates))
        for rates in ((0.0, 0.3), (0.1, 0.3))
    ]
    lowest = [np.clip(one.rates["red"], 1e-3, 1 - 1e-3) for one in seeds]  # as attackers predict
    sheet = join_test(seeds)
    for tests, test in (([0], seeds[0]), ([0, 1], sheet)):
        blind = replace(
            mine.outputs[0],
            validation={"red": lowest[0]},
            test=tuple({"red": lowest[seed]} for seed in tests),
        )
        found = replace(
            mine,
            validation=seeds[0],
            test=test,
            tests=tuple(seeds[seed] for seed in tests),
            outputs=(blind,),
        )
        assert score_attacker(RED, found, blind).test.value == 0.5
        both = average_attackers(RED, found, score_attackers(RED, found) * 2)
        assert score_attacker(RED, found, both).test.value == 0.5
    several = replace(seeds[0], labels={"red": np.stack([1 - red, red], axis=1)})
    objects = replace(RED, metric="cMAP")
    rate_of_positives = measure(objects, several, several.rates).value
    assert measure(objects, several, {"red": lowest[0]}).value == rate_of_positives == 0.5


def test_attackers_of_raw_video_may_do_first_what_a_method_does() -> None:
    raw = given(WHO, ("eyes", NEVER, NEVER))
    drawn = given(WHO, ("joints", EVERY, EVERY))
    joined, same = join_table([("raw", {"x": raw}), ("skeleton", {"x": drawn})])
    assert same["x"] is drawn
    found = score_label(WHO, joined["x"], None, **GIVEN)
    assert found.score.value == 1 and found.strongest == "joints, behind skeleton"
    runs = given(WHO, ("joints", EVERY, EVERY), runs=2)  # and one seed of raw video
    fewer = drawn.of_clips(np.arange(30))
    for other in (runs, fewer):
        (alone, _) = join_table([("raw", {"x": raw}), ("skeleton", {"x": other})])
        assert len(alone["x"].outputs) == 1


def test_raw_video_is_read_where_attackers_succeed_behind_a_method_alone() -> None:
    """Else what they read behind it would be void, which is a leak shown."""
    few = np.random.default_rng(0).random(CLIPS) < 0.25
    raw, method = given(WHO, ("looks", few, few)), given(WHO, ("looks", EVERY, EVERY))
    known = GroundTruth(
        labels=raw.test.labels,
        classes={"who": 4},
        action="who",
        shown=np.arange(CLIPS)[:, None],
        groups=np.arange(CLIPS),
        protocols={},
    )
    specs = {"x": (WHO,)}
    alone = positive_controls({"x": raw}, [{"x": raw}], known, specs)
    assert [one.passed for one in alone.controls] == [False]
    every = join_table([("raw", {"x": raw}), ("difference", {"x": method})])
    (control,) = positive_controls({"x": raw}, every, known, specs).controls
    assert control.passed
    (row, _) = score_table(every, known, specs)
    assert control.score == row[0].score and control.floor == row[0].floors["constant"].value


def test_attackers_of_raw_video_may_do_first_what_each_run_of_a_trained_method_does() -> None:
    """One run for each seed; the answers of the runs are averaged, as those of seeds are."""
    raw = given(WHO, ("eyes", NEVER, NEVER), runs=2, per_run=False)
    trained = given(WHO, ("joints", EVERY, EVERY), runs=2)
    (joints,) = trained.outputs
    doubtful = {WHO.name: 0.3 * joints.test[0][WHO.name] + 0.175}
    trained = replace(trained, outputs=(replace(joints, test=(joints.test[0], doubtful)),))
    joined, _ = join_table([("raw", {"x": raw}), ("vita", {"x": trained})])
    found = score_label(WHO, joined["x"], None, **GIVEN)
    assert found.score.value == 1 and found.strongest == "joints, behind vita"
    assert found.runs_sd is None  # raw video is no trained method


def test_it_holds_only_where_every_attackers_upper_end_does() -> None:
    """A leak that validation does not show is no reason to say that nothing leaks."""
    raw = given(WHO, ("eyes", EVERY, EVERY))
    hidden = given(WHO, ("eyes", EVERY, NEVER))
    leaking = given(WHO, ("eyes", EVERY, NEVER), ("other", NEVER, FOLD == 0))
    held = score_label(WHO, hidden, raw, **GIVEN).leakage
    assert held is not None and held.protects
    leaked = score_label(WHO, leaking, raw, **GIVEN)
    assert leaked.score.value == 0 and leaked.leakage is not None
    assert leaked.leakage.protects is False


def test_it_does_not_hold_where_all_clips_of_a_person_together_may_tell_more() -> None:
    """Of few people nobody knows, whatever a single clip tells."""
    raw, hidden = (given(WHO, ("eyes", EVERY, right)) for right in (EVERY, NEVER))
    two = np.arange(CLIPS) // 2  # clips of each
    few = replace(hidden.test, people=two, groups=two)
    found = score_label(WHO, replace(hidden, test=few, tests=(few,)), raw, **GIVEN)
    assert found.leakage is not None and found.leakage.protects is None
    assert found.pooled is not None and found.pooled.value == 0.2 and not found.pooled_leaks
    assert found.undecided is not None and f"may tell {found.pooled.high:.2f}" in found.undecided


def test_it_does_not_hold_where_one_that_was_not_chosen_reads_all_clips_of_a_person() -> None:
    """Each clip by itself it takes for somebody else, and for another one each time."""
    spec, people = replace(WHO, protocol=SAME), np.arange(CLIPS) // 10 % 4
    raw, hidden = (
        given(spec, ("eyes", EVERY, EVERY), ("ears", right, EVERY)) for right in (EVERY, NEVER)
    )
    sheet = replace(hidden.test, labels={"who": people})
    wrong, close = told(NEVER, people), np.eye(4)[people] * 0.4
    close[np.arange(CLIPS), (people + 1 + np.arange(CLIPS) % 3) % 4] = 0.45
    eyes, ears = hidden.outputs
    for outputs, held in (((eyes,), True), ((eyes, ears), None)):
        answers = (wrong, close / close.sum(axis=1, keepdims=True))
        mine = replace(
            hidden,
            test=sheet,
            tests=(sheet,),
            outputs=tuple(
                replace(one, test=({"who": p},)) for one, p in zip(outputs, answers, strict=False)
            ),
        )
        seen = replace(raw.outputs[0], test=({"who": told(EVERY, people)},))
        found = score_label(
            spec, mine, replace(raw, test=sheet, tests=(sheet,), outputs=(seen,)), **GIVEN
        )
        assert found.strongest == "eyes" and found.highest_score.value == 0
        assert found.pooled is not None and found.pooled.value == 0
        assert found.leakage is not None and found.leakage.protects is held
    assert found.undecided is not None and "may tell 1.00" in found.undecided


def test_it_does_not_hold_where_one_that_may_not_be_chosen_reads_it() -> None:
    """Who learned raw video alone and is not recalibrated attacks all the same."""
    raw = given(WHO, ("eyes", EVERY, EVERY))
    hidden = given(WHO, ("eyes", EVERY, NEVER), ("raw eyes", EVERY, EVERY))
    eyes, other = hidden.outputs
    mine = replace(hidden, outputs=(eyes, replace(other, family="raw", eligible=False)))
    found = score_label(WHO, mine, raw, **GIVEN)
    assert found.strongest == "eyes" and found.score.value == 0
    assert found.leakage is not None and found.leakage.protects is False
    assert found.highest == "raw eyes" and found.highest_score.value == 1


def test_what_is_said_to_hold_lies_below_all_that_is_shown_to_count() -> None:
    """Of attributes not who sees the background alone, who is right by chance with few groups."""
    raw = given(RED, ("eyes", EVERY, EVERY))
    rates = {"red": np.full((CLIPS, 2), 0.5)}
    mine = given(RED, ("eyes", EVERY, EVERY), ("sky", EVERY, EVERY))
    eyes, sky = (replace(one, validation=rates, test=(rates,)) for one in mine.outputs)
    told = {"red": np.eye(2)[mine.test.labels["red"]]}
    sky = replace(sky, test=(told,), channels=frozenset({"place"}))
    found = score_label(RED, replace(mine, outputs=(eyes, sky)), raw, **GIVEN)
    assert found.leakage is not None and found.leakage.protects
    assert {one.name: one.counts for one in found.attacks} == {"eyes": True, "sky": False}
    assert next(one for one in found.attacks if one.name == "sky").test.value == 1


def test_training_runs_must_be_five_and_each_must_hold() -> None:
    raw = given(WHO, ("eyes", EVERY, EVERY))
    few, enough = (given(WHO, ("eyes", EVERY, NEVER), runs=n) for n in (LEAST_RUNS - 1, LEAST_RUNS))
    undecided = score_label(WHO, few, raw, **GIVEN)
    assert undecided.leakage is not None and undecided.leakage.protects is None
    assert undecided.undecided is not None
    assert undecided.undecided.startswith("4 training runs, and 5 are needed: train 5 with other")
    held = score_label(WHO, enough, raw, **GIVEN)
    assert held.leakage is not None and held.leakage.protects and held.undecided is None
    one_leaks = replace(
        enough,
        outputs=tuple(
            replace(one, test=(*one.test[:-1], raw.outputs[0].test[0])) for one in enough.outputs
        ),
    )
    leak = score_label(WHO, one_leaks, raw, **GIVEN)
    assert leak.leakage is not None and leak.leakage.protects is False
    assert leak.runs_sd == pytest.approx(np.std([0, 0, 0, 0, 1], ddof=1))


def test_answers_surely_below_chance_are_not_held_as_they_could_be_turned_round() -> None:
    raw = given(RED, ("eyes", EVERY, EVERY))
    wrong, half = np.arange(CLIPS) % 4 > 0, np.arange(CLIPS) // 2 % 2 == 0
    found = score_label(RED, given(RED, ("eyes", EVERY, ~wrong)), raw, **GIVEN)
    assert found.leakage is not None and found.leakage.protects is None
    assert found.undecided is not None and "turned round, it would tell more" in found.undecided
    assert found.undecided.startswith("what eyes says is surely below chance (AUROC 0.")
    near = score_label(RED, given(RED, ("eyes", EVERY, half)), raw, **GIVEN)
    assert near.undecided is None  # about as often right as wrong


def test_answers_of_two_classes_surely_below_a_guess_are_not_held_by_top_1() -> None:
    """As of a label of two words, such as Female and Male."""
    spec = replace(RED, metric="top-1")
    raw, right = given(spec, ("eyes", EVERY, EVERY)), np.arange(CLIPS) % 8 == 0
    found = score_label(spec, given(spec, ("eyes", EVERY, right)), raw, **GIVEN)
    assert found.leakage is not None and found.leakage.protects is None
    assert found.undecided is not None and "turned round, it would tell more" in found.undecided


def test_a_learned_method_of_one_file_is_one_run_however_many_attackers_there_are() -> None:
    """As of `--weights run/`: its attackers' seeds are no training runs."""
    raw, hidden = (given(WHO, ("eyes", EVERY, on_test), runs=6) for on_test in (EVERY, NEVER))
    plain = replace(hidden, per_run=False)
    fixed = score_label(WHO, plain, replace(raw, per_run=False), **GIVEN)
    assert fixed.leakage is not None and fixed.leakage.protects
    learned = replace(plain, learned=True)
    found = score_label(WHO, learned, replace(raw, per_run=False), **GIVEN)
    assert found.leakage is not None and found.leakage.protects is None
    assert found.score == fixed.score and found.undecided is not None
    assert found.undecided.startswith("1 training run, and 5 are needed: ")
    assert found.undecided.endswith("give them as --weights 'runs/{seed}' --seeds 5")


def test_nothing_holds_where_attackers_of_a_channel_fail_on_raw_video() -> None:
    score = Score(0.3, 0.2, 0.4, 40, 20)
    controls = [
        Control(kind="only motion", label="who", score=score, floor=0.25, passed=False),
        Control(kind="only appearance", label="who", score=score, floor=0.25, passed=False),
        Control(kind="only place", label="who", score=score, floor=0.1, passed=True),
    ]
    raw, hidden = given(WHO, ("eyes", EVERY, EVERY)), given(WHO, ("eyes", EVERY, NEVER))
    why = unread_channels(controls, build("skeleton"))["who"]  # it shows nobody's appearance
    assert why == (
        "no attacker succeeds by motion alone, on raw video either; "
        "no attacker of outline alone was used"
    )
    found = score_label(WHO, hidden, raw, **GIVEN, unread=why)
    assert found.undecided == why and found.leakage is not None
    assert found.leakage.protects is None
    assert "appearance" in unread_channels(controls, build("blur"))["who"]


@pytest.mark.parametrize(("low", "passed"), [(0.02, False), (0.085, False), (0.09, True)])
def test_a_channel_that_reads_no_more_than_counts_as_held_is_not_read(
    low: float, passed: bool
) -> None:
    """Of 128 people attackers of motion once named .03 in raw video: surely more than .01, and
    nothing that a method could have hidden."""
    raw = score_label(WHO, given(WHO, ("eyes", EVERY, EVERY)), None, **GIVEN)
    guess = replace(raw.score, value=0.01, low=0.01, high=0.01)
    found = replace(raw, floors={"constant": guess}, score=replace(raw.score, value=0.77))
    score = replace(raw.score, value=low + 0.01, low=low, high=low + 0.02)
    (control,) = channel_controls({"motion": score}, found)
    assert (control.kind, control.floor, control.passed) == ("only motion", 0.01, passed)


def test_a_score_near_the_guess_says_that_a_channel_was_not_read() -> None:
    """Also where the interval is too wide to hold; not where something is surely read."""
    raw, why = given(WHO, ("eyes", EVERY, EVERY)), "no attacker succeeds by motion alone"
    few = given(WHO, ("eyes", EVERY, np.arange(CLIPS) % 4 == 0))
    found = score_label(WHO, few, raw, **GIVEN, unread=why)
    assert found.leakage is not None and found.leakage.protects is False
    assert found.undecided == why
    leaking = score_label(WHO, given(WHO, ("eyes", EVERY, EVERY)), raw, **GIVEN, unread=why)
    assert leaking.undecided is None
    action = replace(WHO, use="utility")
    assert score_label(action, few, raw, **GIVEN, unread=why).undecided is None


def test_who_draws_a_class_at_random_is_a_floor_where_train_lacks_what_is_tested() -> None:
    """Folds of the same people hold out what train has least of, so that a constant is wrong."""
    labels = np.where(np.arange(CLIPS) % 4 > 0, FOLD, 1 - FOLD)  # three of four are of one class
    priors = []
    for fold in range(FOLDS):
        rates = np.bincount(labels[fold != FOLD], minlength=2) / (fold != FOLD).sum()
        priors.append(ActionPrior(np.arange(1), rates[None], rates))
    sheet = replace(
        truth(labels, np.arange(CLIPS), FOLD, "who"), fold_priors={"who": tuple(priors)}
    )
    floors = compute_floors(WHO, sheet, ())
    assert floors["constant"].value < 0.4 and floors["action prior"].value < 0.4
    assert floors["uniform guess"].value == 0.5
    unseen = replace(sheet, labels={"who": np.where(np.arange(CLIPS) % 2, labels, -1)})
    assert compute_floors(WHO, unseen, ())["uniform guess"].value == 0.5
    assert "uniform guess" not in compute_floors(replace(WHO, metric="AUROC"), sheet, ())


def test_below_chance_is_no_protection() -> None:
    wrong = given(RED, ("eyes", NEVER, NEVER))
    found = score_label(RED, wrong, None, predicted_actions=(), utility=0.8, void=None)
    assert found.score.value == 0 and found.f_half == pytest.approx(0.5 * 0.8 + 0.5 * 0.5)


def test_who_sees_the_background_alone_is_not_called_strongest_of_a_persons_attribute() -> None:
    mine = given(RED, ("sky", EVERY, NEVER), ("eyes", FOLD == 0, EVERY))
    sky, eyes = mine.outputs
    mine = replace(mine, outputs=(replace(sky, channels=frozenset({"place"})), eyes))
    assert score_label(RED, mine, None, **GIVEN).strongest == "eyes"
    age = replace(RED, metric="top-1")  # of several values
    assert [one.outputs.name for one in choosable_attackers(age, score_attackers(age, mine))] == [
        "eyes"
    ]
    room = replace(RED, name="object", of_people=False)
    assert [one.outputs.name for one in choosable_attackers(room, score_attackers(room, mine))] == [
        *("sky", "eyes")
    ]
    place = replace(WHO, columns=("who",))
    mine = given(place, ("sky", EVERY, NEVER), ("eyes", FOLD == 0, EVERY))
    assert score_label(place, mine, None, **GIVEN).strongest == "sky"  # of who it may be


def test_traits_of_people_are_told_from_who_and_where_they_are(tmp_path: Path) -> None:
    names = (
        *("action", "identity", "partner", "age", "clothes"),
        *("scene", "place_ward", "Room_number", "red", "tall"),
    )
    head = (
        ",".join(names)
        .replace("partner", "partner:identity")
        .replace("clothes", "clothes:multi-label")
    )
    rows = [
        f"{n}.mp4,walk{n % 2},a{n},b{n},old{n % 2},hat|coat,beach,ward,12,{n % 2},1" for n in (0, 1)
    ]
    path = tmp_path / "clips.csv"
    path.write_text("\n".join([f"path,{head}", *rows]))
    every = Protocol(name="x", labels=names, heads=names, folds=())
    traits = {spec.name: spec.of_people for spec in protocol_specs(read_manifest(path), every)}
    of_people = {name for name, trait in traits.items() if trait}
    assert of_people == {"age", "clothes", "red", "tall", "attributes"}


def test_a_void_label_that_the_background_tells_may_be_of_the_place() -> None:
    """Nothing told why, or what its column must be called to be attacked from there."""

    def noted(spec: MetricSpec, *, read: bool, place: bool) -> tuple[str, ...]:
        score = Score(value=0.9, low=0.8, high=1.0, n=9, clusters=9)
        found = [
            Control(kind=kind, label=spec.name, score=score, floor=0.5, passed=passed)
            for kind, passed in (("positive", read), ("only place", place))
        ]
        return notes_on_places(found, {"x": [spec]})

    (note,) = noted(RED, read=False, place=True)
    assert note.startswith("red is void as a label of people") and "place_red" in note
    assert not noted(RED, read=True, place=True) and not noted(RED, read=False, place=False)
    assert not noted(WHO, read=False, place=True)  # the background counts of who it is


def test_void_labels_are_left_out_of_means() -> None:
    mean = MetricSpec(
        name="attributes", columns=("a", "b", "c"), use="private", metric="AUROC", protocol="x"
    )
    specs, notes = without_void({"x": (WHO, mean)}, ["b", "who"])
    assert specs["x"] == (WHO, replace(mean, columns=("a", "c")))
    assert notes == (
        "attributes: the mean over a, c; left out, since no attacker reads it in raw video: b.",
    )
    whole, none = without_void({"x": (mean,)}, ["a", "b", "c"])
    assert whole["x"] == (mean,) and not none  # it is void itself


def test_a_mean_is_void_where_no_label_of_it_is_read() -> None:
    """Of each by itself nothing is sure, and it would be left out; of all together it is."""
    rng, names = np.random.default_rng(1), ("a", "b", "c")
    labels = {name: rng.permutation(np.arange(CLIPS) % 2) for name in names}
    read = {name: told(rng.random(CLIPS) < 0.6, labels[name]) for name in names}
    mine = given(RED, ("eyes", EVERY, EVERY))
    even = dict.fromkeys(names, mine.test.fold_priors["red"])
    sheet = replace(mine.test, labels=labels, fold_priors=even)
    eyes = replace(mine.outputs[0], validation=read, test=(read,))
    mine = replace(mine, validation=sheet, test=sheet, tests=(sheet,), outputs=(eyes,))
    known = GroundTruth(
        labels=labels,
        classes=dict.fromkeys(names, 2),
        action="a",
        shown=np.arange(CLIPS)[:, None],
        groups=np.arange(CLIPS),
        protocols={},
    )
    each = tuple(replace(RED, name=name, columns=(name,)) for name in names)
    specs = {"x": (replace(RED, name="attributes", columns=names), *each)}
    found = positive_controls({"x": mine}, [{"x": mine}], known, specs).controls
    assert (found[0].score.low or 0) > found[0].floor == 0.5
    assert [one.passed for one in found] == [False] * 4
    assert set(void_labels(found)) == {"attributes", *names}


def test_each_seed_holds_other_people_out(manifest: Manifest, tmp_path: Path) -> None:
    for protocol in protocols(manifest, folds=3):
        for fold in protocol.folds:
            seeds = [fold.for_seed(seed) for seed in range(3)]
            assert seeds[0] is not fold and np.array_equal(seeds[0].train, fold.train)
            for one in seeds:
                assert np.array_equal(one.test, fold.test)
                both = np.sort(np.concatenate([one.train, one.validation]))
                assert np.array_equal(both, np.sort(np.concatenate([fold.train, fold.validation])))
            held = [set(one.validation.tolist()) for one in seeds]
            assert not held[0] & held[1] and not held[1] & held[2]
    plan = replace(CONFIG, folds=2, seeds=2, attackers=("scratch",))
    lines = [EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2))]
    result = evaluate(manifest, lines, plan, data="x", folder=tmp_path)
    for finding in result.rows[1].findings:
        assert len(finding.chosen) == 2 and all(finding.chosen) and finding.highest
        assert finding.strongest in {name for names in finding.chosen for name in names}
    assert from_json(result.to_json()).rows[1].findings == result.rows[1].findings


def test_clips_of_one_person_tell_more_together() -> None:
    """Each clip is read wrong now and then; all of a person's together are not."""
    spec = replace(WHO, protocol=SAME)
    people = np.arange(CLIPS) // 10 % 4  # ten clips of each of two people in each fold
    mine = given(spec, ("eyes", EVERY, EVERY))
    p = np.eye(4)[people] * 0.3 + 0.1 + 0.5 * np.random.default_rng(1).random((CLIPS, 4))
    p /= p.sum(axis=1, keepdims=True)
    sheet = replace(mine.test, labels={"who": people}, groups=people)
    (eyes,) = mine.outputs
    outputs = (replace(eyes, test=({"who": p},)),)
    mine = replace(mine, test=sheet, tests=(sheet,), outputs=outputs)
    found = score_label(spec, mine, None, **GIVEN)
    assert found.pooled is not None and found.pooled.value == 1.0
    assert found.score.value is not None and 0.5 < found.score.value < 1.0
    assert found.pooled_floor == 0.25
    told = ActionPrior(np.arange(4), np.eye(4) * 0.2 + 0.2, np.full(4, 0.25))  # by who does what
    noisy = np.where(np.arange(CLIPS) % 10 < 6, people, (people + 1 + np.arange(CLIPS) % 3) % 4)
    acted = replace(sheet, actions=noisy, fold_priors={"who": (told,) * FOLDS})
    found = score_label(spec, replace(mine, test=acted, tests=(acted,)), None, **GIVEN)
    assert found.floors["action prior"].value == 0.6 and found.pooled_floor == 1.0
    more = replace(sheet, groups=np.arange(CLIPS) // 5)  # four of them would be sure of nothing
    found = score_label(spec, replace(mine, test=more, tests=(more,)), None, **GIVEN)
    assert found.pooled_leaks and found.leakage is not None and not found.leakage.protects
    alone = replace(mine, test=replace(sheet, labels={"who": np.arange(CLIPS)}))
    label = attack_label(spec, mine, (), None)
    assert score_pooled(replace(label, inputs=alone)) is None
