"""Whose clips are pooled by attackers who know which of them show one person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from masquerade.evaluation.attacked_label import attack_label
from masquerade.evaluation.attacker_choice import ScoringInput
from masquerade.evaluation.attackers import AttackOutputs
from masquerade.evaluation.ground_truth import SplitTruth
from masquerade.evaluation.metric_specs import MetricSpec, compute_floors
from masquerade.evaluation.pooled_clips import score_pooled
from masquerade.evaluation.protocols import UNSEEN
from masquerade.metrics.floors import ActionPrior

COLOR = MetricSpec(name="color", columns=("color",), use="private", metric="top-1", protocol=UNSEEN)
CLIPS = np.arange(24)
PEOPLE = CLIPS // 3  # three clips each
RECORDINGS = CLIPS // 6  # of two people each, of whom one is of each class
COLORS = PEOPLE % 2


def attacked() -> ScoringInput:
    """An attacker who is a bit more right than wrong in the three clips of everybody."""
    even = ActionPrior(np.arange(1), np.full((1, 2), 0.5), np.full(2, 0.5))
    sheet = SplitTruth(
        clips=CLIPS,
        fold=CLIPS // 12,
        people=PEOPLE,
        groups=RECORDINGS,
        labels={"color": COLORS},
        actions=np.zeros(len(CLIPS), np.int64),
        fold_priors={"color": (even, even)},
    )
    right = np.where(CLIPS % 3 == 0, 0.4, 0.8)
    answers = np.where(np.eye(2)[COLORS] > 0, right[:, None], 1 - right[:, None])
    eyes = AttackOutputs(
        family="scratch", name="eyes", validation={"color": answers}, test=({"color": answers},)
    )
    return ScoringInput(
        validation=sheet, test=sheet, tests=(sheet,), outputs=(eyes,), prior=False, clips=CLIPS
    )


def pooled(inputs: ScoringInput, **changed: np.ndarray) -> float | None:
    mine = replace(inputs, test=replace(inputs.test, **changed))
    found = score_pooled(attack_label(COLOR, mine, (), None))
    return None if found is None else found[0].value


def test_clips_are_pooled_by_person_and_not_by_recording() -> None:
    inputs = attacked()
    assert pooled(inputs) == 1.0
    assert pooled(inputs, people=CLIPS) is None  # each shows another, whatever they share


def test_clips_of_unknown_people_are_pooled_by_group() -> None:
    inputs, unknown = attacked(), np.full(len(CLIPS), -1)
    assert pooled(inputs, people=unknown, groups=PEOPLE) == 1.0
    assert pooled(inputs, people=np.where(PEOPLE < 2, -1, PEOPLE), groups=PEOPLE) == 1.0


def test_the_tuned_guess_at_a_person_is_from_all_of_their_actions() -> None:
    """Clip by clip the first is told wrongly in one clip, and the other one too."""
    prior = ActionPrior(
        np.arange(2), np.array([[0.6, 0.4], [0.95, 0.05]]), np.full(2, 0.5), np.array([0.5, 0.15])
    )
    people, inputs = np.repeat([0, 1], 3), attacked()
    truth = replace(
        inputs.test.at(slice(6)),
        fold=np.zeros(6, np.int64),
        people=people,
        groups=people,
        labels={"color": 1 - people},
        actions=np.array([0, 0, 1, 1, 1, 0]),
        fold_priors={"color": (prior,)},
    )
    (eyes,) = inputs.outputs
    answers = {"color": eyes.test[0]["color"][:6]}
    few = replace(
        inputs,
        validation=truth,
        test=truth,
        tests=(truth,),
        outputs=(replace(eyes, validation=answers, test=(answers,)),),
        clips=CLIPS[:6],
    )
    f1 = replace(COLOR, metric="F1")
    found = score_pooled(attack_label(f1, few, (), None))
    assert found is not None and found[1] == 1.0
    assert compute_floors(f1, truth, ())["action prior, tuned on train"].value < 0.7
