"""Re-identification across clips: found where people differ, at the floor where nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenes import CONFIG

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Clip, Manifest, make_manifest, read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.datasets.splits import grouped_folds
from masquerade.evaluation import Evaluation, from_json
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.kernel_ridge import extract_features
from masquerade.evaluation.people_across_clips import revise_identity_verdicts
from masquerade.evaluation.person_metric import principal_axes
from masquerade.evaluation.presets import STILL_KERNELS
from masquerade.evaluation.protocols import Fold, protocols, source_files
from masquerade.evaluation.reidentification import (
    EER,
    FUSION,
    IDENTIFIED,
    KNOWN,
    LINKAGE,
    MAP,
    MULTI,
    RANK,
    SINGLE,
    Comparison,
    Features,
    against_raw,
    by_row,
    compare_people,
    reidentify,
    succeeds,
)
from masquerade.evaluation.results import Reidentification, Row
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.methods import build
from masquerade.metrics.intervals import Score
from masquerade.report.table import markdown
from masquerade.report.verdicts import is_identity, verdict

MODELS = {name: STILL_KERNELS[f"kernel on {name}"] for name in ("the picture", "colours")}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Drawn people who look different, in clips of different actions and places."""
    folder = tmp_path_factory.mktemp("drawn") / "mimes"
    return read_manifest(write_mimes(folder, Mimes(size=48, frames=4, clips=144, people=24)))


def features_of(manifest: Manifest, method: Anonymizer | None) -> Features:
    config = ExtractionConfig(frames=4, size=48, method=method, seed=0)
    clips = extract_clips(manifest, config, workers=1)
    count = len(manifest)
    return {k: by_row(extract_features(clips, m), clips.rows, count) for k, m in MODELS.items()}


@pytest.fixture(scope="module")
def raw(drawn: Manifest) -> Features:
    return features_of(drawn, None)


@pytest.fixture(scope="module")
def comparison(drawn: Manifest) -> Comparison:
    truth = GroundTruth.of(drawn, protocols(drawn, folds=3))
    sources, clips = source_files(drawn), np.arange(len(drawn))
    found, why = compare_people(truth, sources, clips, seed=0)
    assert found is not None and why is None
    return found


def every(comparison: Comparison, features: Features) -> list[list[Features]]:
    return [[features] * len(comparison.folds)]


def value(found: Reidentification, name: str) -> float:
    score = found.scores[name].value
    assert score is not None
    return score


@pytest.mark.slow
def test_people_who_look_different_are_found_again_in_raw_video(
    comparison: Comparison, raw: Features
) -> None:
    found = reidentify(comparison, every(comparison, raw))
    assert value(found, RANK) > 0.9 and succeeds(found)
    assert value(found, MAP) > 0.9 and value(found, LINKAGE) > 0.9 and value(found, EER) < 0.15
    assert value(found, KNOWN) > 0.9 and value(found, IDENTIFIED) > 0.7  # an open set
    assert value(found, MULTI) >= value(found, SINGLE) > 0.9
    assert found.people == 24 and found.probes == 144 and len(found.chosen) == 3
    assert {one.name for one in found.attacks} == {*MODELS, FUSION}
    ends = [one.rank_1.high or 0 for one in found.attacks]
    assert found.highest_score is not None and found.highest_score.high in ends


@pytest.mark.slow
def test_known_people_are_found_by_a_weak_method_in_raw_video(
    drawn: Manifest, comparison: Comparison, raw: Features
) -> None:
    shown = features_of(drawn, build("pixelate", block=4))
    found = reidentify(comparison, every(comparison, shown), raw=raw)
    assert found.gallery == "raw" and value(found, RANK) > 0.6 and succeeds(found)


@pytest.mark.slow
def test_nobody_is_found_where_everything_is_black(
    drawn: Manifest, comparison: Comparison, raw: Features
) -> None:
    black = features_of(drawn, build("blacken"))
    for gallery in (None, raw):
        found = reidentify(comparison, every(comparison, black), raw=gallery)
        for name in (RANK, LINKAGE, EER, MULTI, SINGLE, KNOWN, IDENTIFIED):
            assert value(found, name) == pytest.approx(found.floors[name]), name
        assert value(found, MAP) <= (found.floors[MAP] or 0)  # that of galleries in random order
        assert not succeeds(found)


@pytest.mark.slow
def test_people_who_are_shuffled_are_not_found(comparison: Comparison, raw: Features) -> None:
    """The labels move to other clips, within and across the folds."""
    clips = comparison.clips
    people = comparison.people.copy()
    for fold in comparison.folds:
        people[fold.test] = np.random.default_rng(1).permutation(people[fold.test])
    shuffled = replace(comparison, people=people, shown=people[:, None], groups=people)
    found = reidentify(shuffled, every(shuffled, raw))
    assert len(clips) == len(shuffled.clips)
    low, high = found.scores[LINKAGE].low, found.scores[LINKAGE].high
    assert low is not None and high is not None and low <= 0.55 and abs(0.5 - low) < 0.15
    assert not succeeds(found)


def test_a_clip_is_not_compared_with_its_own_recording(
    comparison: Comparison, raw: Features
) -> None:
    """Features that tell the recording and nothing else find nobody."""
    count = len(comparison.people)
    own = {"recording": np.random.default_rng(0).normal(size=(count, 300))}
    for gallery in (None, own):
        found = reidentify(comparison, every(comparison, own), raw=gallery)
        assert not succeeds(found) and value(found, RANK) < 0.3
    one_source = replace(comparison, sources=comparison.people)
    assert "0 people" in (one_source.why_not() or "")


def test_the_feature_is_chosen_on_training_people(comparison: Comparison) -> None:
    """A feature that is right in the test alone is highest there, and is not chosen."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(comparison.people.max() + 1, 6))[comparison.people]
    (fold,) = comparison.folds[:1]
    lucky = rng.normal(size=people.shape)
    sound = people + 0.4 * rng.normal(size=people.shape)
    one = replace(comparison, folds=(fold,))
    mixed = people.copy()
    mixed[comparison.learned(0)] = lucky[comparison.learned(0)]
    found = reidentify(one, [[{"sound": sound, "lucky": mixed}]])
    assert found.chosen[0] != "lucky"
    strength = {attack.name: attack.validation or 0 for attack in found.attacks}
    assert strength["sound"] > 0.8 > strength["lucky"]


def compare_takes(takes: Sequence[int], sources: Sequence[int]) -> Comparison:
    """So many clips of each person, cut from so many files, in three folds of people."""
    people = np.repeat(np.arange(len(takes)), takes)
    files = [f"{person}_{i % n}" for person, n in enumerate(sources) for i in range(takes[person])]
    fold_of = grouped_folds(people, 3, seed=0)
    return Comparison(
        people=people,
        shown=people[:, None],
        sources=np.unique(files, return_inverse=True)[1],
        groups=people,
        folds=tuple(
            Fold(
                train=np.flatnonzero(fold_of != k),
                validation=np.zeros(0, np.int64),
                test=np.flatnonzero(fold_of == k),
            )
            for k in range(3)
        ),
    )


def test_a_training_person_of_one_long_recording_hinders_nothing() -> None:
    """Of parts that features are chosen on one is this person's clips, without a pair."""
    comparison = compare_takes([40, *[2] * 11], [1, *[2] * 11])
    assert comparison.why_not() is None
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(12, 20))[comparison.people] + 0.2 * rng.normal(size=(62, 20))
    found = reidentify(comparison, every(comparison, {"look": looks}))
    assert found.people == 11 and value(found, LINKAGE) > 0.9
    assert (found.attacks[0].validation or 0) > 0.9


@pytest.mark.parametrize("takes", [150, 9])
def test_of_many_clips_some_of_each_person_are_compared(takes: int) -> None:
    """Whole people were left out: two were left of ten, which are too few."""
    people = 10 if takes == 150 else 300
    comparison = compare_takes([takes] * people, [3] * people)
    assert comparison.why_not() is None
    clips = comparison.clips
    assert len(clips) == 400 == len(np.unique(clips))
    persons, counts = np.unique(comparison.people[clips], return_counts=True)
    assert len(persons) == min(people, 100) and set(counts) == {400 // len(persons)}
    for person in persons:
        assert len(np.unique(comparison.sources[clips[comparison.people[clips] == person]])) == 3


def test_somebody_who_is_alone_in_a_fold_is_not_compared() -> None:
    """All clips of such a fold show them, so that a guess finds them, too."""
    comparison = compare_takes([2] * 12, [2] * 12)
    alone = [np.flatnonzero(comparison.people == person) for person in range(4)]
    folds = tuple(replace(comparison.folds[0], test=rows) for rows in alone)
    assert replace(comparison, folds=folds).why_not() == (
        "4 of 4 people of the test are alone in their fold, so that they can be taken for nobody "
        "else"
    )
    some = tuple(replace(comparison.folds[0], test=rows) for rows in (alone[0], np.arange(8, 24)))
    one_less = replace(comparison, folds=some)
    assert set(one_less.people[one_less.clips]) == set(range(4, 12))
    looks = np.random.default_rng(0).normal(size=(12, 20))[comparison.people]
    assert reidentify(one_less, every(one_less, {"look": looks})).floors[RANK] == pytest.approx(
        1 / 15
    )


def test_folds_whose_similarities_have_scales_of_their_own_are_scored_together() -> None:
    """People of a fold who look unlike those learned from are all alike to its metric."""
    comparison = compare_takes([4] * 24, [4] * 24)
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(24, 12))[comparison.people] + rng.normal(size=(96, 12))
    run = [{"look": looks.copy()} for _ in comparison.folds]
    for shift, (fold, features) in enumerate(zip(comparison.folds, run, strict=True)):
        features["look"][fold.test] += 3 * shift
    found = reidentify(comparison, [run])
    each = [
        reidentify(replace(comparison, folds=(fold,)), [[features]])
        for fold, features in zip(comparison.folds, run, strict=True)
    ]
    # in the open set other people are left out of the gallery of a single fold
    near = {LINKAGE: 0.02, EER: 0.02, KNOWN: 0.05, IDENTIFIED: 0.05, RANK: 1e-9, MAP: 1e-9}
    for name, least in near.items():
        mean = float(np.mean([value(one, name) for one in each]))
        assert value(found, name) == pytest.approx(mean, abs=least), name
    assert found.attacks[0].linkage.value == found.scores[LINKAGE].value


def compare_columns(*rows: tuple[str, str]) -> tuple[Comparison, Features]:
    """Clips of 12 groups, each with a look of its own, that name people in two columns.

    `rows` are the cells of each clip of a group, where {} is the group's number.
    """
    clips = [
        Clip(
            path=f"{group}_{i}.mp4",
            cells={
                "action": "walk" if i % 2 else "wave",
                "person_a": a.format(group),
                "person_b": b.format(group),
            },
        )
        for group in range(12)
        for i, (a, b) in enumerate(rows)
    ]
    manifest = make_manifest(Path(), clips)
    truth = GroundTruth.of(manifest, protocols(manifest, folds=3))
    clips_of_all = np.arange(len(manifest))
    found, why = compare_people(truth, source_files(manifest), clips_of_all, seed=0)
    assert found is not None, why
    looks = np.random.default_rng(0).normal(size=(12, 20)).repeat(len(rows), axis=0)
    noise = np.random.default_rng(1).normal(size=looks.shape)
    return found, {"look": looks + 0.2 * noise}


@pytest.mark.parametrize(
    "rows",
    [
        [("p{}", "q{}"), ("q{}", "p{}")] * 2,  # they change places
        [("p{}", "q{}"), ("r{}", "p{}"), ("p{}", "s{}"), ("t{}", "p{}")],
        [("p{}", ""), ("", "p{}")] * 2,
        [("p{}", "q{}"), ("r{}", "p{}")],  # nobody is in two clips by one column
    ],
)
def test_a_clip_that_names_somebody_by_another_column_shows_them(
    rows: list[tuple[str, str]],
) -> None:
    """It counted as a clip of somebody else, so that half of what was found was wrong."""
    comparison, looks = compare_columns(*rows)
    found = reidentify(comparison, every(comparison, looks))
    assert found.probes == len(comparison.people) and succeeds(found)
    assert value(found, RANK) > 0.95 and value(found, LINKAGE) > 0.95
    nothing = {"look": np.zeros_like(looks["look"])}
    hidden = reidentify(comparison, every(comparison, nothing))
    for name in (RANK, LINKAGE, EER, MULTI, SINGLE, KNOWN, IDENTIFIED):
        assert hidden.scores[name].value == pytest.approx(hidden.floors[name]), name


def test_nobody_is_called_unseen_whom_the_manifests_split_has_in_train_too() -> None:
    def compared(train: set[str]) -> tuple[Comparison | None, str | None]:
        clips = [
            Clip(
                path=f"{person}_{take}.mp4",
                cells={
                    "action": "walk" if take % 2 else "wave",
                    "identity": f"p{person}",
                    "split": "train" if person < 6 or f"{person}_{take}" in train else "test",
                },
            )
            for person in range(12)
            for take in range(4)
        ]
        manifest = make_manifest(Path(), clips)
        truth = GroundTruth.of(manifest, protocols(manifest, folds=0))
        return compare_people(truth, source_files(manifest), np.arange(len(manifest)), seed=0)

    assert compared(set())[0] is not None
    found, why = compared({"7_0"})
    assert found is None and why is not None
    assert "are in train, by the manifest's own split" in why


def test_trained_anonymizers_are_averaged_over_runs(comparison: Comparison, raw: Features) -> None:
    black = {name: np.zeros_like(one) for name, one in raw.items()}
    one, none = (every(comparison, features)[0] for features in (raw, black))
    both, first, second = (reidentify(comparison, r) for r in ([one, none], [one], [none]))
    assert value(both, RANK) == pytest.approx((value(first, RANK) + value(second, RANK)) / 2)
    assert len(both.chosen) == 2 * len(comparison.folds)


def test_a_row_says_nothing_where_raw_video_does_not_either(comparison: Comparison) -> None:
    def row(found: Reidentification) -> Row:
        return Row(
            name="x",
            method=None,
            arguments={},
            regions="frame",
            not_applicable=None,
            clips=1,
            skipped={},
            cpu_seconds=0.0,
            findings=(),
            reidentification=(found,),
        )

    count = len(comparison.people)
    weak = reidentify(comparison, every(comparison, {"nothing": np.zeros((count, 2))}))
    told = {"people": np.random.default_rng(0).normal(size=(count, 6))[comparison.people]}
    strong = reidentify(comparison, every(comparison, told))
    _, hidden, leak = against_raw([row(weak), row(weak), row(strong)])
    assert "raw video" in (hidden.reidentification[0].not_applicable or "")
    assert leak.reidentification[0].not_applicable is None  # a leak is told all the same
    assert against_raw([row(strong), row(weak)])[1].reidentification[0].scores
    low = Score(0.2, 0.04, 0.4, 40, 20)
    pooled = replace(
        weak,
        scores={RANK: low, MULTI: Score(0.8, 0.6, 0.9, 40, 20)},
        floors={RANK: 0.05, MULTI: 0.1},
    )
    kept = against_raw([row(weak), row(pooled)])[1].reidentification[0]
    assert kept.scores == pooled.scores  # found by several clips at once, which is a leak
    unsure = replace(pooled, scores={RANK: low, MULTI: replace(low, low=0.15)})
    assert against_raw([row(weak), row(unsure)])[1].reidentification[0].not_applicable


def test_an_evaluation_has_it_by_default(evaluation: Evaluation) -> None:
    raw, black, copy, later = (row.reidentification for row in evaluation.rows)
    assert [one.gallery for one in raw] == ["anonymized"] and later == ()
    assert [one.gallery for one in copy] == ["anonymized", "raw"]
    assert succeeds(raw[0]) and all(map(succeeds, copy)) and not any(map(succeeds, black))
    text = markdown(evaluation)
    assert "## Re-identification across clips, people unseen" in text
    pairs = markdown(replace(evaluation, held_out="pairs"))
    assert "across clips, pairs unseen" in pairs and "Clips of pairs who" in pairs
    assert from_json(evaluation.to_json()) == evaluation


def with_held(row: Row, *found: Reidentification) -> Row:
    """The row, of which it is claimed that nobody can be named, with these comparisons."""
    held = tuple(
        replace(one, leakage=one.leakage and replace(one.leakage, protects=True), undecided=None)
        for one in row.findings
    )
    return replace(row, findings=held, reidentification=found)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (False, "re-identification was left out"),
        (True, "1 people of the test are in two recordings, and 4 must be"),
    ],
)
def test_nobody_is_hidden_whose_clips_were_not_compared(
    manifest: Manifest, kept: Path, evaluation: Evaluation, wanted: bool, why: str
) -> None:
    """Of who it is alone; an attribute needs no comparison."""
    run = Evaluator(manifest, replace(CONFIG, reidentification=wanted), kept, None)
    few = replace(run.raw, clips=run.raw.clips and run.raw.clips.of_rows(np.arange(4)))
    (_, found), _ = run.reidentify([few, few], [evaluation.rows[0], with_held(evaluation.rows[2])])
    who, red = found.finding("identity"), found.finding("red")
    assert who is not None and who.leakage is not None and who.leakage.protects is None
    assert (
        who.undecided == f"whether clips of one person are found among others is not known: {why}"
    )
    assert verdict(found, who) == ("undecided", who.undecided)
    assert red is not None and red.leakage is not None and red.leakage.protects


def test_nobody_is_hidden_where_nobody_is_found_again_in_raw_video(evaluation: Evaluation) -> None:
    copy = evaluation.rows[2]
    nothing = Reidentification(gallery="anonymized", not_applicable="too few people")
    found = revise_identity_verdicts(with_held(copy, nothing))
    (who,) = (one for one in found.findings if is_identity(one))
    assert who.undecided is not None and who.undecided.endswith("is not known: too few people")
    leaks = replace(copy, reidentification=())
    assert revise_identity_verdicts(leaks, "why") == leaks


@pytest.mark.parametrize(
    ("high", "of_all", "held"),
    [
        (0.14, 0.14, True),
        (0.16, 0.14, False),
        (None, 0.14, False),
        (0.14, 0.16, False),
        (0.14, None, False),
    ],
)
def test_nobody_is_hidden_whose_clips_may_be_found_again(
    evaluation: Evaluation, high: float | None, of_all: float | None, held: bool
) -> None:
    """A tenth of the way from a guess (.05) to always is .145, by every feature."""
    copy = evaluation.rows[2]
    (one, _), low = copy.reidentification, Score(0.05, 0.0, high, 40, 20)
    one = replace(one, scores={**one.scores, RANK: low}, floors={**one.floors, RANK: 0.05})
    pooled, many = {MULTI: replace(low, high=0.14)}, {MULTI: 0.05}
    one = replace(one, highest_score=replace(low, high=of_all))
    one = replace(one, scores={**one.scores, **pooled}, floors={**one.floors, **many})
    found = revise_identity_verdicts(with_held(copy, one))
    (who,) = (each for each in found.findings if is_identity(each))
    assert who.leakage is not None and bool(who.leakage.protects) == held
    assert held or (who.undecided or "").endswith("a guess has 0.05")


@pytest.mark.parametrize(("low", "high", "held"), [(0.0, 0.14, True), (0.1, 0.2, False)])
def test_nobody_is_hidden_of_whom_several_clips_together_may_be_found_again(
    evaluation: Evaluation, low: float, high: float, held: bool
) -> None:
    """Each from a guess of its own; whoever has a folder of clips has several of each person."""
    copy = evaluation.rows[2]
    (one, _), single = copy.reidentification, Score(0.05, 0.0, 0.14, 40, 20)
    scores = {**one.scores, RANK: single, MULTI: Score(0.1, low, high, 40, 20)}
    floors = {**one.floors, RANK: 0.05, MULTI: 0.05}
    one = replace(one, scores=scores, floors=floors, highest_score=single)
    found = revise_identity_verdicts(with_held(copy, one))
    (who,) = (each for each in found.findings if is_identity(each))
    assert who.leakage is not None and bool(who.leakage.protects) == held
    assert held or "to several of one person may show the same" in (who.undecided or "")


@pytest.mark.parametrize(("low", "leaks"), [(0.14, False), (0.15, True)])
@pytest.mark.parametrize("name", [RANK, MULTI])
@pytest.mark.parametrize("undecided", [None, "no attacker of motion alone was used"])
def test_who_is_surely_found_again_leaks_and_is_not_undecided(
    evaluation: Evaluation, low: float, leaks: bool, name: str, undecided: str | None
) -> None:
    copy = evaluation.rows[2]
    (one, _), score = copy.reidentification, Score(0.3, low, 0.5, 40, 20)
    other = dict.fromkeys((RANK, MULTI), Score(0.05, 0.0, 0.14, 40, 20))
    floors = {**one.floors, RANK: 0.05, MULTI: 0.05}
    one = replace(one, scores={**one.scores, **other, name: score}, floors=floors)
    given = with_held(copy, one)
    protects = None if undecided else True
    findings = tuple(
        replace(
            each,
            leakage=each.leakage and replace(each.leakage, protects=protects),
            undecided=undecided,
        )
        for each in given.findings
    )
    found = revise_identity_verdicts(replace(given, findings=findings))
    (who,) = (each for each in found.findings if is_identity(each))
    assert who.leakage is not None
    assert (who.leakage.protects, who.undecided is None) == (
        (False, True) if leaks else (None, False)
    )
    red = found.finding("red")
    assert red is not None and red.leakage is not None and red.leakage.protects is protects


def test_results_without_it_are_read(evaluation: Evaluation, tmp_path: Path) -> None:
    rows = tuple(replace(row, reidentification=()) for row in evaluation.rows)
    before = replace(evaluation, rows=rows)
    text = before.to_json().replace('"reidentification": []', '"earlier": []')
    assert '"reidentification"' not in text and from_json(text) == before


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (12, 12), (3, 1)])
def test_principal_axes_are_those_of_a_singular_value_decomposition(
    shape: tuple[int, int],
) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=shape) * np.exp(-np.arange(shape[1]) / 8)
    features -= features.mean(axis=0)
    _, spread, axes = np.linalg.svd(features, full_matrices=False)
    known = axes[spread > 1e-6]
    found = principal_axes(features).T
    assert found.shape == known.shape
    np.testing.assert_allclose(np.abs(found @ known.T), np.eye(len(known)), atol=1e-6)
    assert principal_axes(np.zeros(shape)).shape == (shape[1], 0)
