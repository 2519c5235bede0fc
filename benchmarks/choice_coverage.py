"""How often an evaluation's intervals hold, with the choice among attackers and training runs.

    python benchmarks/choice_coverage.py               # 1,000 sets a row; writes docs/results/

Each set draws people, clips and the answers of twelve attackers, whose true accuracies are known,
and goes through the code that scores a table: the strongest are chosen by cross-validation and
averaged, then everything is reported as in any table. `chosen`: the interval of the score holds the
true accuracy of what was chosen, counted on 20,000 more clips of other people. `all`: the intervals
of all attackers hold theirs at once. `at most`: the highest upper end is not below the accuracy of
the attacker that is truly strongest, nor below that of what was chosen. `leakage`: its interval
holds the true leakage of what was chosen, beside what was chosen on raw video. `held`: the label
is said to be held. `held wrongly`: it is, though some attacker truly reads more than a tenth of the
way from the guess to raw video (an accuracy of .325, an AUROC of .549), up to which a label is
held. The last rows lie on both sides of that: where all guess, `held` is how often a table says so
when it is true. `gained`: how much more accurate what was chosen truly is than the one attacker
that validation puts first, in hundredths.
Of attributes, the mean AUROC of three binary labels that are a person's own, the same holds for
AUROC instead of accuracy; scores are normal, so that the true one follows from a formula.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attacker_choice import ScoringInput, choose, score_attackers
from masquerade.evaluation.attackers import TOGETHER, AttackOutputs
from masquerade.evaluation.calibration import sigmoid
from masquerade.evaluation.ground_truth import SplitTruth
from masquerade.evaluation.metric_specs import MEAN, MetricSpec
from masquerade.evaluation.results import LabelResult
from masquerade.evaluation.scoring import score_label
from masquerade.metrics.floors import ActionPrior
from masquerade.metrics.leakage import held_limit
from masquerade.metrics.statistic import Floats

Answers = Callable[[int, IntArray, IntArray], dict[str, Floats]]
"""Of an attacker, clips and their runs: the probabilities (n, C) of each label."""
REPORT = Path(__file__).parents[1] / "docs" / "results" / "choice-coverage.md"
CLASSES, ATTACKERS, FOLDS, SEEDS, HELD_OUT = 4, 12, 5, 3, 8
# of whom true accuracies are counted: many people, who differ more than their clips do
MORE_PEOPLE, MORE_CLIPS, MORE_RUNS = 4000, 5, 40
WHO = MetricSpec(name="who", columns=("who",), use="private", metric="top-1", protocol="x")
COLUMNS = ("red_top", "white_top", "black_jacket")
ATTRIBUTES = MetricSpec(name=MEAN, columns=COLUMNS, use="private", metric="AUROC", protocol="x")
NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Population:
    """How people and attackers are drawn."""

    what: str
    accuracies: tuple[float, ...]  # of the attackers; of attributes their AUROC
    spec: MetricSpec = WHO  # what is scored
    people: int = 20
    clips: int = 6  # of each person
    alike: float = 0.2  # correlation of a person's clips
    shared: float = 0.5  # share of that correlation that all attackers have in common
    runs: int = 1  # trained anonymizers, each attacked by itself
    between: float = 0.0  # standard deviation of accuracies over runs, of each attacker by itself
    shared_between: float = 0.0  # the same, of all attackers together: a run that leaks


EQUAL = (0.3,) * ATTACKERS
NEAR = (0.34,) * ATTACKERS  # a guess is .25, and up to .325 counts as held
GUESS = (0.25,) * ATTACKERS
BELOW, ABOVE = (*GUESS[1:], 0.28), (*GUESS[1:], 0.33)
NO_AUROC = (0.5,) * ATTACKERS
ON_RAW = tuple(np.linspace(0.8, 0.9, ATTACKERS))  # AUROC, or accuracy
SPREAD = tuple(np.linspace(0.2, 0.5, ATTACKERS))
RANKED = tuple(np.linspace(0.5, 0.8, ATTACKERS))  # AUROC
ONE = (*(0.25,) * (ATTACKERS - 1), 0.35)
POPULATIONS = (
    Population(what="twelve alike", accuracies=EQUAL),
    Population(what="one better", accuracies=ONE),
    Population(what="all different", accuracies=SPREAD),
    Population(what="all different, 60 people", accuracies=SPREAD, people=60, clips=5),
    Population(what="five runs, sd .05", accuracies=SPREAD, runs=5, between=0.05),
    Population(what="three runs, sd .05", accuracies=SPREAD, runs=3, between=0.05),
    Population(what="five runs, sd 0", accuracies=SPREAD, runs=5),
    Population(
        what="five runs that leak alike, sd .1", accuracies=SPREAD, runs=5, shared_between=0.1
    ),
    Population(
        what="three runs that leak alike, sd .1", accuracies=SPREAD, runs=3, shared_between=0.1
    ),
    Population(what="nearly held", accuracies=NEAR),
    Population(what="nearly held, 60 people", accuracies=NEAR, people=60, clips=5),
    Population(
        what="nearly held, five runs that leak alike, sd .03",
        accuracies=NEAR,
        runs=5,
        shared_between=0.03,
    ),
    Population(what="attributes, twelve alike", accuracies=(0.65,) * ATTACKERS, spec=ATTRIBUTES),
    Population(what="attributes, all different", accuracies=RANKED, spec=ATTRIBUTES),
    Population(
        what="attributes, 60 people", accuracies=RANKED, spec=ATTRIBUTES, people=60, clips=5
    ),
    Population(
        what="attributes, five runs, sd .05",
        accuracies=RANKED,
        spec=ATTRIBUTES,
        runs=5,
        between=0.05,
    ),
    Population(
        what="attributes, five runs that leak alike, sd .1",
        accuracies=RANKED,
        spec=ATTRIBUTES,
        runs=5,
        shared_between=0.1,
    ),
    *(
        Population(what=f"all guess, {n} people", accuracies=GUESS, people=n)
        for n in (20, 100, 300)
    ),
    Population(
        what="all guess, 300 people, five runs", accuracies=GUESS, people=300, runs=5, between=0.01
    ),
    Population(what="one at .28, 300 people", accuracies=BELOW, people=300),
    Population(what="one at .33, 300 people", accuracies=ABOVE, people=300),
    Population(
        what="one at .33, 300 people, five runs",
        accuracies=ABOVE,
        people=300,
        runs=5,
        between=0.01,
    ),
    Population(what="one at .33, 1,000 people, alike 0", accuracies=ABOVE, people=1000, alike=0.0),
    Population(
        what="attributes, all guess, 200 people",
        accuracies=NO_AUROC,
        spec=ATTRIBUTES,
        people=200,
        clips=8,
        alike=0.05,
    ),
    Population(
        what="attributes, one at .56, 200 people",
        accuracies=(*NO_AUROC[1:], 0.56),
        spec=ATTRIBUTES,
        people=200,
        clips=8,
        alike=0.05,
    ),
    *(  # as many runs that differ by about as much as the people of one run do
        Population(
            what=f"{name} runs, 100 people, sd .04",
            accuracies=SPREAD,
            people=100,
            runs=runs,
            between=0.04,
        )
        for name, runs in (("two", 2), ("three", 3), ("five", 5))
    ),
)


def simulate(rng: np.random.Generator, of: Population) -> tuple[ScoringInput, ScoringInput]:
    """One evaluation: what twelve attackers answer in every fold and seed, and of raw video."""
    person = np.repeat(np.arange(of.people), of.clips)
    if of.spec is ATTRIBUTES:  # a person's own; classes are a clip's
        halves = np.arange(of.people) % 2
        labels = {name: rng.permutation(halves)[person] for name in COLUMNS}
    else:
        labels = {"who": rng.integers(CLASSES, size=len(person))}
    fold_of = rng.permutation(of.people) % FOLDS
    count = of.runs if of.runs > 1 else SEEDS
    make = attribute_answers if of.spec is ATTRIBUTES else class_answers
    parts: list[tuple[IntArray, IntArray]] = []  # (clips, run) of validation, fold after fold
    for seed in range(count):
        for fold in range(FOLDS):
            train = rng.permutation(np.flatnonzero(fold_of != fold))
            held = train[: max(1, len(train) // HELD_OUT)]
            clips = np.flatnonzero(np.isin(person, held))
            parts.append((clips, np.full(len(clips), seed if of.runs > 1 else 0)))
    test = np.concatenate([np.flatnonzero(fold_of[person] == fold) for fold in range(FOLDS)])
    validation = np.concatenate([clips for clips, _ in parts])
    run = np.concatenate([runs for _, runs in parts])

    def truth(clips: IntArray, folds: IntArray, number: int) -> SplitTruth:
        classes = CLASSES if of.spec is WHO else 2
        even = np.full(classes, 1 / classes)
        prior = ActionPrior(np.arange(1), even[None], even)
        return SplitTruth(
            clips=clips,
            fold=folds,
            people=person[clips],
            groups=person[clips],
            labels={name: values[clips] for name, values in labels.items()},
            actions=np.zeros(len(clips), np.int64),
            fold_priors={name: (prior,) * number for name in labels},
        )

    folds = np.repeat(np.arange(len(parts)), [len(clips) for clips, _ in parts])

    def attacked(of: Population) -> ScoringInput:
        answers = make(rng, of, person, labels)
        runs = run if of.runs > 1 else np.zeros_like(run)
        return ScoringInput(
            validation=truth(validation, folds, len(parts)),
            test=truth(test, fold_of[person[test]], FOLDS),
            outputs=tuple(
                AttackOutputs(
                    family="scratch",
                    name=str(attacker),
                    validation=answers(attacker, validation, runs),
                    test=tuple(
                        answers(attacker, test, np.full(len(test), one)) for one in range(of.runs)
                    ),
                )
                for attacker in range(ATTACKERS)
            ),
            prior=False,
            clips=np.arange(len(person)),
            per_run=of.runs > 1,
        )

    return attacked(of), attacked(raw_video(of))


def raw_video(of: Population) -> Population:
    """The same people in raw video, which has no runs."""
    return replace(of, accuracies=ON_RAW, runs=1, between=0.0, shared_between=0.0)


def class_answers(
    rng: np.random.Generator, of: Population, person: IntArray, labels: dict[str, IntArray]
) -> Answers:
    """What an attacker answers of some clips' classes in some runs."""
    rates = accuracies(rng, of)  # (runs, attackers, people)

    def answers(attacker: int, clips: IntArray, runs: IntArray) -> dict[str, Floats]:
        true = labels["who"][clips]
        right = rng.random(len(clips)) < rates[runs, attacker, person[clips]]
        wrong = (true + rng.integers(1, CLASSES, size=len(clips))) % CLASSES
        return {"who": np.eye(CLASSES)[np.where(right, true, wrong)]}

    return answers


def attribute_answers(
    rng: np.random.Generator, of: Population, person: IntArray, labels: dict[str, IntArray]
) -> Answers:
    """How sure an attacker is that people have each attribute, of some clips in some runs.

    Scores of those who have it lie higher by a distance that gives the AUROC. Around that they vary
    by 1, of which people have a part of their own, partly the same for all attackers.
    """
    apart = distances(rng, of, of.runs)  # (runs, attackers)
    common = rng.standard_normal((len(COLUMNS), 1, of.people)) * np.sqrt(of.shared)
    own = rng.standard_normal((len(COLUMNS), ATTACKERS, of.people)) * np.sqrt(1 - of.shared)
    persons = np.sqrt(of.alike) * (common + own)  # (columns, attackers, people)

    def answers(attacker: int, clips: IntArray, runs: IntArray) -> dict[str, Floats]:
        found = {}
        for column, name in enumerate(COLUMNS):
            noise = np.sqrt(1 - of.alike) * rng.standard_normal(len(clips))
            has = (labels[name][clips] - 0.5) * apart[runs, attacker]
            p = sigmoid(has + persons[column, attacker, person[clips]] + noise)
            found[name] = np.stack([1 - p, p], axis=1)
        return found

    return answers


def distances(rng: np.random.Generator, of: Population, runs: int) -> Floats:
    """(runs, attackers), how far apart the scores of both classes lie, in standard deviations."""
    mean = np.array(of.accuracies) + over_runs(rng, of, runs)
    inverse = np.vectorize(NORMAL.inv_cdf)
    return np.sqrt(2) * np.asarray(inverse(mean.clip(0.02, 0.98)), np.float64)


def over_runs(rng: np.random.Generator, of: Population, runs: int) -> Floats:
    """(runs, attackers), how much the accuracies of each run differ from their mean.

    Of the many runs on which the truth is counted they add up to 0, or it would itself be a draw.
    """
    own, shared = rng.standard_normal((runs, ATTACKERS)), rng.standard_normal((runs, 1))
    if runs >= MORE_RUNS:
        own, shared = own - own.mean(axis=0), shared - shared.mean(axis=0)
    return np.asarray(of.between * own + of.shared_between * shared)


def accuracies(rng: np.random.Generator, of: Population) -> Floats:
    """(runs, attackers, people): each person's own rate, and each run's, around an attacker's.

    People's rates differ by a two-point draw, so that a person's clips correlate by `alike`; which
    side a person is on is partly the same for all attackers, as some people are easy to tell.
    """
    mean = np.array(of.accuracies)[None, :, None] + over_runs(rng, of, of.runs)[..., None]
    mean = mean.clip(0.02, 0.98)
    common = rng.random(of.people) < 0.5
    own = rng.random((ATTACKERS, of.people)) < 0.5
    keep = rng.random((ATTACKERS, of.people)) < of.shared
    side = np.where(keep, common, own) * 2.0 - 1.0
    reach = np.minimum(np.sqrt(of.alike * mean * (1 - mean)), np.minimum(mean, 1 - mean))
    return np.asarray(mean + side * reach)


def true_auroc(
    rng: np.random.Generator, of: Population, members: tuple[tuple[str, ...], ...], sizes: IntArray
) -> float:
    """The AUROC of what the folds chose, whose clips are ranked together, over people and runs.

    Those who are averaged have a spread of 1 each, and so has what each fold chose.
    """
    apart = distances(rng, of, MORE_RUNS * 10 if of.runs > 1 else 1)  # (runs, attackers)
    spread = np.sqrt(1 + (apart**2).mean(axis=0) / 4)
    together = of.alike * of.shared  # covariance of two attackers
    gaps, noises = [], []
    for names in members:
        some = [int(name) for name in names]
        gap = (apart[:, some] / spread[some]).sum(axis=1)  # (runs,)
        noise = together * (1 / spread[some]).sum() ** 2
        noise += (1 - together) * (1 / spread[some] ** 2).sum()
        scale = noise + (gap**2).mean() / 4
        gaps.append(gap / np.sqrt(scale))
        noises.append(noise / scale)
    share = sizes / sizes.sum()
    total = 0.0
    cdf = np.vectorize(NORMAL.cdf)
    for one, first in enumerate(share):
        for other, second in enumerate(share):
            z = (gaps[one] + gaps[other]) / 2 / np.sqrt(noises[one] + noises[other])
            total += first * second * float(cdf(z).mean())
    return total


def true_accuracy(
    rng: np.random.Generator, of: Population, members: tuple[tuple[str, ...], ...]
) -> dict[tuple[str, ...], float]:
    """By members the share that they answer rightly together, of many clips and runs."""
    several = of.runs > 1
    more = replace(of, people=MORE_PEOPLE, runs=MORE_RUNS if several else 1)
    rates = accuracies(rng, more)  # (runs, attackers, people)
    person = np.repeat(np.arange(MORE_PEOPLE), MORE_CLIPS)
    run = rng.integers(len(rates), size=len(person))
    labels = rng.integers(CLASSES, size=len(person))
    found = {}
    for names in set(members):
        votes = np.zeros((len(person), CLASSES))
        for name in names:
            right = rng.random(len(person)) < rates[run, int(name), person]
            wrong = (labels + rng.integers(1, CLASSES, size=len(person))) % CLASSES
            votes += np.eye(CLASSES)[np.where(right, labels, wrong)]
        found[names] = float((votes.argmax(axis=1) == labels).mean())
    return found


def true_score(
    rng: np.random.Generator, of: Population, members: tuple[tuple[str, ...], ...], sizes: IntArray
) -> float:
    """What those whom the folds chose read of many people, clips and runs."""
    if of.spec is ATTRIBUTES:
        return true_auroc(rng, of, members, sizes)
    true = true_accuracy(rng, of, members)
    return float(np.average([true[names] for names in members], weights=sizes))


def holds(
    rng: np.random.Generator, of: Population, mine: ScoringInput, raw: ScoringInput
) -> dict[str, float]:
    """Whether each claim about one simulated evaluation is true, and what was gained."""
    found: LabelResult = score_label(
        of.spec, mine, raw, predicted_actions=(), utility=None, void=None
    )
    known = np.array(of.accuracies)
    sizes = np.bincount(mine.test.fold, minlength=FOLDS)
    chosen = true_score(rng, of, found.chosen, sizes)
    on_raw = choose(of.spec, raw, score_attackers(of.spec, raw)).chosen
    read = true_score(rng, raw_video(of), on_raw, sizes)
    guess = 0.5 if of.spec is ATTRIBUTES else 1 / CLASSES
    true = max(0.0, (chosen - guess) / (read - guess))  # less than a guess is reported as 0, too
    leaked = found.leakage
    assert leaked is not None and leaked.low is not None and leaked.high is not None
    first = float(np.average([known[int(names[0])] for names in found.chosen], weights=sizes))
    single = [one for one in found.attacks if one.family != TOGETHER]
    ends = {int(one.name): (one.test.low or 0.0, one.test.high or 1.0) for one in single}
    return {
        "chosen": (found.score.low or 0.0) <= chosen <= (found.score.high or 1.0),
        "all": all(low <= known[at] <= high for at, (low, high) in ends.items()),
        "at most": max(one.test.high or 1.0 for one in found.attacks) >= max(known.max(), chosen),
        "leakage": leaked.low <= true <= leaked.high,
        "held": bool(leaked.protects),
        "held wrongly": bool(leaked.protects)
        and max(known.max(), chosen) > held_limit(guess, read),
        "gained": chosen - first,
    }


def kept_rows(page: Path) -> dict[str, str]:
    """The rows of a page by the name of their population."""
    if not page.exists():
        return {}
    lines = page.read_text().splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if "% |" in line}


def write_page(page: Path, rows: dict[str, str], names: list[str]) -> None:
    """Write the page of rows by the name of their population, in the order of `POPULATIONS`."""
    off = {sets: 196 * (0.95 * 0.05 / sets) ** 0.5 for sets in (500, 1000)}
    head = [
        "# How often intervals hold, with the choice among attackers and training runs",
        "",
        f"`python benchmarks/choice_coverage.py`, rows of 500 sets with `--sets 500`. "
        f"{(__doc__ or '').split(chr(10) * 2)[2]}",
        "",
        "Of 20 people with 6 clips unless it says otherwise. A true 95 shows as "
        f"{95 - off[1000]:.1f} to {95 + off[1000]:.1f} in 1,000 sets, and as "
        f"{95 - off[500]:.1f} to {95 + off[500]:.1f} in 500.",
        "",
        f"| attackers | sets | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    ordered = [rows[of.what] for of in POPULATIONS if of.what in rows]
    page.write_text("\n".join([*head, *ordered]) + "\n")


def row_of(of: Population, sets: int, found: list[dict[str, float]]) -> str:
    """The row of a population: percent of its sets, and what was gained in hundredths."""
    share = {name: 100 * float(np.mean([one[name] for one in found])) for name in found[0]}
    gained = share.pop("gained")
    cells = [f"{value:.1f}%" for value in share.values()]
    return f"| {of.what} | {sets:,} | {' | '.join(cells)} | {gained:.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="populations whose name holds this")
    parser.add_argument("--out", type=Path, default=REPORT, help="other rows of it are kept")
    asked = parser.parse_args()
    began, rows = time.perf_counter(), kept_rows(asked.out)
    for number, of in enumerate(POPULATIONS):
        if asked.only not in of.what:
            continue
        rng = np.random.default_rng([asked.seed, number])
        found = [holds(rng, of, *simulate(rng, of)) for _ in range(asked.sets)]
        rows[of.what] = row_of(of, asked.sets, found)
        print(rows[of.what], flush=True)
        write_page(asked.out, rows, list(found[0]))
    print(f"{time.perf_counter() - began:.0f} s, {time.process_time():.0f} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
