"""ATTACKERS, the one table of attacker families, and how a family's predictions are combined.

The strongest attacker of all families is chosen on validation. Predictions of several seeds are
averaged: an attacker may train several networks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from masquerade.errors import UsageError
from masquerade.evaluation.calibration import mean_probabilities, recalibrate
from masquerade.evaluation.ground_truth import Probabilities, SplitTruth
from masquerade.evaluation.predictions import Block, Initialisation, PredictionKey, Predictions
from masquerade.evaluation.presets import AttackerModel
from masquerade.metrics.statistic import Floats

Fit = tuple[str, Initialisation]
"""Name of a model in the preset, and its initialisation."""


@dataclass(frozen=True, kw_only=True)
class AttackerFamily:
    """Attackers of one kind."""

    about: str
    initialisation: Initialisation | None  # of its models; None: it has none of its own
    uses: Callable[[AttackerModel], bool]  # which models of a preset belong to it
    ensemble: bool = False  # whether the mean of all its predictions is an attacker too


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackOutputs:
    """Predictions of one attacker for every label of a protocol, by seed or run."""

    family: str  # in ATTACKERS
    name: str
    validation: tuple[Probabilities, ...]  # one a seed, in the order of the validation clips
    test: tuple[Probabilities, ...]  # one a seed, in the order of the test clips
    # whether it may be chosen as the strongest. Raw-trained networks that are not recalibrated
    # predict one class for all clips of a fold; the few groups of a validation split are soon all
    # of that class
    eligible: bool = True


def _sees_people(model: AttackerModel) -> bool:
    return not model.background


ATTACKERS: dict[str, AttackerFamily] = {
    "scratch": AttackerFamily(
        about="trained from scratch on anonymized video",
        initialisation="scratch",
        uses=lambda model: not model.motion and not model.background,
        ensemble=True,
    ),
    "finetuned": AttackerFamily(
        about="trained on raw video, then on anonymized video",
        initialisation="finetuned",
        uses=_sees_people,
        ensemble=True,
    ),
    "motion": AttackerFamily(
        about="trained from scratch on the motion alone",
        initialisation="scratch",
        uses=lambda model: model.motion,
        ensemble=True,
    ),
    "raw": AttackerFamily(
        about="trained on raw video alone", initialisation="raw", uses=_sees_people
    ),
    "background": AttackerFamily(
        about="sees only the top twelfth of the frame, above people's heads",
        initialisation="scratch",
        uses=lambda model: model.background,
    ),
    "prior": AttackerFamily(
        about="the strongest of the others, and the true action",
        initialisation=None,
        uses=lambda model: False,
    ),
}
SAME_ON_RAW = ("raw", "finetuned")  # on raw video these are those from scratch


def families_on_raw(names: Sequence[str]) -> tuple[str, ...]:
    """The families that raw video needs: those asked for, and whose weights others start from."""
    return tuple(n for n in ATTACKERS if n in names or n in ("scratch", "motion"))


def get_families(names: Iterable[str]) -> tuple[str, ...]:
    """The families asked for, in the table's order."""
    wanted = list(names)
    for name in wanted:
        if name not in ATTACKERS:
            raise UsageError(f"There is no attacker {name!r}; choose of {', '.join(ATTACKERS)}.")
    if not any(name != "prior" for name in wanted):
        raise UsageError("Name one attacker or more besides prior, such as scratch.")
    return tuple(name for name in ATTACKERS if name in wanted)


def required_fits(
    names: Sequence[str], models: Mapping[str, AttackerModel], *, raw: bool
) -> tuple[Fit, ...]:
    """The models and initialisations that families need, each once."""
    found: list[Fit] = []
    for name in names:
        family = ATTACKERS[name]
        if family.initialisation is None or (raw and name in SAME_ON_RAW):
            continue
        found += [(key, family.initialisation) for key, one in models.items() if family.uses(one)]
    return tuple(dict.fromkeys(found))


def attack_outputs(
    names: Sequence[str],
    models: Mapping[str, AttackerModel],
    predictions: Predictions,
    test: SplitTruth,
) -> tuple[AttackOutputs, ...]:
    """Every attacker of the families, but for the prior's, which depend on the label."""
    by_fit: dict[Fit, dict[tuple[int, int], dict[PredictionKey, Block]]] = {}
    for key, block in predictions.blocks.items():
        by_seed = by_fit.setdefault((key.attacker, key.initialisation), {})
        by_seed.setdefault((key.run, key.seed), {})[key] = block
    found: list[AttackOutputs] = []
    for name in names:
        family = ATTACKERS[name]
        plain = []
        for model, one in models.items():
            start = family.initialisation
            if start is None or not family.uses(one) or (model, start) not in by_fit:
                continue
            seeds = list(by_fit[model, start].values())
            outputs = _join_folds(name, f"{name} {model}", seeds)
            plain.append(replace(outputs, eligible=start != "raw"))
            if start == "raw":
                right = [_recalibrate(seed, test) for seed in seeds]
                found.append(_join_folds(name, f"{name} {model}, recalibrated", right))
        found += plain
    return (*_ensembles(names, found), *found)  # of equals the first is chosen


def _ensembles(names: Sequence[str], found: Sequence[AttackOutputs]) -> list[AttackOutputs]:
    """The mean of a family's predictions; motion's networks join those from scratch."""
    ensembles = []
    for name in names:
        members = ("scratch", "motion") if name == "scratch" else (name,)
        mine = [one for one in found if one.family in members]
        if ATTACKERS[name].ensemble and len(mine) > 1:
            ensembles.append(
                AttackOutputs(
                    family=name,
                    name=f"{name} ensemble",
                    validation=_means([one.validation for one in mine]),
                    test=_means([one.test for one in mine]),
                )
            )
    return ensembles


def _means(parts: Sequence[tuple[Probabilities, ...]]) -> tuple[Probabilities, ...]:
    return tuple(mean_probabilities(same_seed) for same_seed in zip(*parts, strict=True))


def _join_folds(
    family: str, name: str, seeds: Sequence[Mapping[PredictionKey, Block]]
) -> AttackOutputs:
    return AttackOutputs(
        family=family,
        name=name,
        validation=tuple(_concatenate(blocks, "validation") for blocks in seeds),
        test=tuple(_concatenate(blocks, "test") for blocks in seeds),
    )


def _concatenate(blocks: Mapping[PredictionKey, Block], split: str) -> dict[str, Floats]:
    """The folds one after another; one without clips has no predictions."""
    folds = {key.fold: one.probabilities for key, one in blocks.items() if key.split == split}
    parts = [folds[fold] for fold in sorted(folds) if folds[fold]]
    return {label: np.concatenate([part[label] for part in parts]) for label in parts[0]}


def _recalibrate(
    blocks: Mapping[PredictionKey, Block], test: SplitTruth
) -> dict[PredictionKey, Block]:
    """Each fold with the bias that makes its mean prediction in train the training rate."""
    train = {key.fold: one for key, one in blocks.items() if key.split == "train"}
    return {
        key: replace(
            one,
            probabilities={
                label: recalibrate(
                    p,
                    train[key.fold].probabilities[label],
                    test.fold_priors[label][key.fold].overall,
                    multi_label=test.labels[label].ndim == 2,
                )
                for label, p in one.probabilities.items()
            },
        )
        for key, one in blocks.items()
        if key.split != "train"
    }
