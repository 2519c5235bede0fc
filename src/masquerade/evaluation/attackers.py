"""ATTACKERS, the one table: who tries to read the labels, and how their answers are put together.

After FACTS 9: A2 `raw`, A3 `retrained`, A4 `warm`, A12 `motion`, A1 and A5 `prior`, and `place`, a
control: what the scene above people's heads tells. Which of them is the worst is chosen on
validation; networks of several seeds answer together, since an attacker may train as many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from masquerade.errors import UsageError
from masquerade.evaluation.fit_predict import Start, Told
from masquerade.evaluation.metric_specs import Answers, mean_answers, recalibrated
from masquerade.evaluation.presets import Learner, Preset
from masquerade.evaluation.protocols import Protocol
from masquerade.metrics.statistic import Floats


@dataclass(frozen=True, kw_only=True)
class Family:
    """Attackers of one kind.

    Args:
        about: in a few words.
        start: what its networks start from; None: it has none of its own.
        takes: which learners of a preset belong to it.
        together: whether the mean of all its answers is an attacker too.
    """

    about: str
    start: Start | None
    takes: Callable[[Learner], bool]
    together: bool = False


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One attacker's answers to every label of a protocol, by seed.

    Args:
        family: in ATTACKERS.
        name: of the attacker.
        validation: one a seed, in the order of the validation sheet.
        test: one a seed, in the order of the test sheet.
        eligible: whether it may be chosen as the worst. Raw-trained networks that were not
            recalibrated say one class to all clips of a fold; the few groups of a validation part
            are soon all of that class.
    """

    family: str
    name: str
    validation: tuple[Answers, ...]
    test: tuple[Answers, ...]
    eligible: bool = True


def _people(learner: Learner) -> bool:
    return not learner.place


ATTACKERS: dict[str, Family] = {
    "retrained": Family(
        about="trained on anonymized video (A3)",
        start="fresh",
        takes=lambda one: not one.motion and not one.place,
        together=True,
    ),
    "warm": Family(
        about="raw-trained, then trained on anonymized video (A4)",
        start="warm",
        takes=_people,
        together=True,
    ),
    "motion": Family(
        about="trained on its motion only (A12)",
        start="fresh",
        takes=lambda one: one.motion,
        together=True,
    ),
    "raw": Family(about="trained on raw video only (A2)", start="raw", takes=_people),
    "place": Family(
        about="sees the top twelfth of the frame only", start="fresh", takes=lambda one: one.place
    ),
    "prior": Family(
        about="the best of the others, told the true action (A5)",
        start=None,
        takes=lambda one: False,
    ),
}

LONE_ON_RAW = ("raw", "warm")  # on raw video these are the retrained ones themselves


def on_raw(names: Sequence[str]) -> tuple[str, ...]:
    """The families that raw video needs: those asked for, and whose weights others start from.

    Args:
        names: of families.
    """
    return tuple(n for n in ATTACKERS if n in names or n in ("retrained", "motion"))


def families(names: Iterable[str]) -> tuple[str, ...]:
    """The families asked for, in the table's order.

    Args:
        names: in ATTACKERS.
    """
    wanted = list(names)
    for name in wanted:
        if name not in ATTACKERS:
            raise UsageError(f"There is no attacker {name!r}; choose of {', '.join(ATTACKERS)}.")
    if not any(name != "prior" for name in wanted):
        raise UsageError("Name one attacker or more besides prior, such as retrained.")
    return tuple(name for name in ATTACKERS if name in wanted)


def fits_of(names: Sequence[str], preset: Preset, *, raw: bool) -> list[tuple[str, Start]]:
    """The learners and starts that families need, each once.

    Args:
        names: of families.
        preset: whose learners.
        raw: whether this is raw video, on which everything is fresh.
    """
    found = []
    for name in names:
        family = ATTACKERS[name]
        if family.start is None or (raw and name in LONE_ON_RAW):
            continue
        found += [(key, family.start) for key, one in preset.learners.items() if family.takes(one)]
    return list(dict.fromkeys(found))


Answered = Mapping[tuple[str, Start], Sequence[Sequence[Told]]]
"""Learner and start to what each fold of each seed told: [seed][fold]."""


def candidates(
    names: Sequence[str], preset: Preset, protocol: Protocol, answered: Answered, rates: Answers
) -> list[Candidate]:
    """Every attacker of the families, but for the prior's, which depend on the label.

    Args:
        names: of families.
        preset: whose learners.
        protocol: whose folds.
        answered: what was told.
        rates: label to (F, C), training rates by fold, to recalibrate raw-trained networks.
    """
    found: list[Candidate] = []
    for name in names:
        family = ATTACKERS[name]
        mine = []
        for key, one in preset.learners.items():
            if family.start is None or not family.takes(one):
                continue
            if (key, family.start) not in answered:
                continue
            by_seed = answered[key, family.start]
            plain = _joined(name, f"{name} {key}", by_seed)
            mine.append(replace(plain, eligible=family.start != "raw"))
            if family.start == "raw":
                many = protocol.many
                right = [
                    [_recalibrated(t, rates, f, many) for f, t in enumerate(s)] for s in by_seed
                ]
                found.append(_joined(name, f"{name} {key}, recalibrated", right))
        found += mine
    return _ensembles(names, found) + found  # of equals the first is chosen


def _ensembles(names: Sequence[str], found: Sequence[Candidate]) -> list[Candidate]:
    """All of a family answering together; motion's networks join the retrained ones."""
    many = []
    for name in names:
        members = ("retrained", "motion") if name == "retrained" else (name,)
        mine = [one for one in found if one.family in members]
        if ATTACKERS[name].together and len(mine) > 1:
            many.append(
                Candidate(
                    family=name,
                    name=f"{name} together",
                    validation=_means([one.validation for one in mine]),
                    test=_means([one.test for one in mine]),
                )
            )
    return many


def _means(parts: Sequence[tuple[Answers, ...]]) -> tuple[Answers, ...]:
    return tuple(mean_answers(same_seed) for same_seed in zip(*parts, strict=True))


def _joined(family: str, name: str, by_seed: Sequence[Sequence[Told]]) -> Candidate:
    return Candidate(
        family=family,
        name=name,
        validation=tuple(_stacked([one.validation for one in folds]) for folds in by_seed),
        test=tuple(_stacked([one.test for one in folds]) for folds in by_seed),
    )


def _stacked(folds: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Folds one after the other; one without clips has nothing to say."""
    said = [fold for fold in folds if fold]
    return {label: np.concatenate([fold[label] for fold in said]) for label in said[0]}


def _recalibrated(told: Told, rates: Answers, fold: int, many: Sequence[str]) -> Told:
    def right(answers: Mapping[str, Floats]) -> dict[str, Floats]:
        return {
            label: recalibrated(p, told.train[label], rates[label][fold], many=label in many)
            for label, p in answers.items()
        }

    return Told(
        train={},
        validation=right(told.validation),
        test=right(told.test),
        cpu_seconds=told.cpu_seconds,
    )
