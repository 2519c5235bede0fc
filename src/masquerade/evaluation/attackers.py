"""ATTACKERS, the one table of attacker families, and how a family's predictions are combined.

The strongest attacker of all families is chosen on validation. Predictions of several seeds are
averaged: an attacker may train several networks.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation.calibration import mean_probabilities, recalibrate
from masquerade.evaluation.ground_truth import Probabilities, SplitTruth
from masquerade.evaluation.predictions import ByLabel, Initialisation, Predictions
from masquerade.evaluation.presets import AttackerModel, Channel, Preset, Seen
from masquerade.extraction.config import ExtractionConfig

Fit = tuple[str, Initialisation]
"""Name of a model in the preset, and its initialisation."""


@dataclass(frozen=True)
class AttackerFamily:
    """Attackers of one kind."""

    initialisation: Initialisation  # of its models
    uses: Callable[[AttackerModel], bool]  # which models of a preset belong to it
    ensemble: bool = False  # whether the mean of all its predictions is an attacker too
    network_initialisation: Initialisation | None = None  # of its networks; None: the same

    def initialisation_of(self, model: AttackerModel) -> Initialisation:
        """The initialisation of one of its models."""
        if model.network and self.network_initialisation is not None:
            return self.network_initialisation
        return self.initialisation


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackOutputs:
    """Predictions of one attacker for every label of a protocol, by seed or run."""

    # in ATTACKERS, or `transformed`: of raw video, behind a method's own transform, or `together`
    family: str
    name: str
    # of the validation clips of all seeds, one after another: each seed holds other people out
    validation: Probabilities
    test: tuple[Probabilities, ...]  # one a seed, in the order of the test clips
    # whether it may be chosen as the strongest. Networks trained on raw video that are not
    # recalibrated may predict one class for all clips, which a small validation split rewards
    # where its few groups happen to be of that class
    eligible: bool = True
    channels: frozenset[Channel] = frozenset()  # that it reads; of an ensemble those of all


def _sees_people(model: AttackerModel) -> bool:
    """Whether a model sees pixels, and of them not the background alone."""
    return model.content in ("frames", "stacked") and not model.background


ATTACKERS = {
    # trained from scratch on anonymized video
    "scratch": AttackerFamily(
        "scratch", lambda model: _sees_people(model) and not model.motion, ensemble=True
    ),
    # trained on raw video, then on anonymized video
    "finetuned": AttackerFamily("finetuned", _sees_people, ensemble=True),
    # started from published weights, such as ImageNet's, then trained on anonymized video
    "published": AttackerFamily(
        "published", lambda model: model.published is not None, ensemble=True
    ),
    # trained from scratch on the motion alone
    "motion": AttackerFamily("scratch", lambda model: model.motion, ensemble=True),
    # trained on raw video alone, from published weights where there are any
    "raw": AttackerFamily("raw", _sees_people),
    # sees only the top twelfth of the frame, above people's heads
    "background": AttackerFamily("scratch", lambda model: model.background),
    # sees the poses of people only: how they are built and how they move
    "pose": AttackerFamily(
        "scratch", lambda model: model.content in ("poses", "joints"), ensemble=True
    ),
    # sees how people move and their outline, at the video's own rate
    "gait": AttackerFamily("scratch", lambda model: model.content == "flow", ensemble=True),
    # sees what the file and its receipt tell without the picture
    "side channel": AttackerFamily(
        "scratch", lambda model: model.content == "packets", ensemble=True
    ),
    # sees clips that a network restored, which learned from pairs of anonymized and raw training
    # clips: networks that know raw video alone, and kernel machines that learn restored clips
    "reconstruction": AttackerFamily(
        "scratch", lambda model: model.content == "restored", network_initialisation="raw"
    ),
    # the strongest of the others, and the true action: it has no models of its own
    "prior": AttackerFamily("scratch", lambda model: False),
}
WITHOUT_FILES = tuple(name for name in ATTACKERS if name != "published")
"""The families that start from nothing but clips."""
TRANSFORMED = "transformed"  # the family of attackers of raw video that transform it first
TOGETHER = "together"  # the family of those that average several others
TOGETHER_NAME = "the strongest together"
# on raw video the first two would be the same fits as `scratch`, and there is nothing to restore
SAME_ON_RAW = ("raw", "finetuned", "reconstruction")


def families_on_raw(names: Sequence[str]) -> tuple[str, ...]:
    """The families that raw video needs: those asked for, and whose weights others start from."""
    return tuple(n for n in ATTACKERS if n in names or n in ("scratch", "motion"))


def get_families(
    names: Iterable[str] | None, models: Mapping[str, AttackerModel]
) -> tuple[str, ...]:
    """The families asked for, in the table's order; None: all.

    Args:
        names: in ATTACKERS.
        models: of the preset, of which they must have one.
    """
    from_files = any(model.published for model in models.values())
    available = tuple(ATTACKERS) if from_files else WITHOUT_FILES
    wanted = list(available if names is None else names)
    for name in wanted:
        if name not in ATTACKERS:
            raise UsageError(f"There is no attacker {name!r}; choose of {', '.join(ATTACKERS)}.")
    if from_files and "published" not in wanted:
        raise UsageError("Files of weights are for the attackers published: name them too.")
    if not from_files and "published" in wanted:
        raise UsageError(
            "The attackers published start from files of weights: give --attacker-weights "
            "NAME=FILE or --image-weights FILE."
        )
    if not any(name != "prior" for name in wanted):
        raise UsageError("Name one attacker or more besides prior, such as scratch.")
    if not required_fits(wanted, models, raw=False):
        raise UsageError(
            f"The preset has no attackers of {', '.join(wanted)}; choose another, or others."
        )
    return tuple(name for name in ATTACKERS if name in wanted)


def required_fits(
    names: Sequence[str], models: Mapping[str, AttackerModel], *, raw: bool
) -> tuple[Fit, ...]:
    """The models and initialisations that families need, each once."""
    families = [ATTACKERS[name] for name in names if not (raw and name in SAME_ON_RAW)]
    fits = [
        (key, family.initialisation_of(model))
        for family in families
        for key, model in models.items()
        if family.uses(model)
    ]
    return tuple(dict.fromkeys(fits))


def learned_channels(
    names: Sequence[str], models: Mapping[str, AttackerModel]
) -> frozenset[Channel]:
    """The channels that attackers of some families read, of those trained on a method's output.

    Those trained on raw video alone are left out: they may fail for that reason only.
    """
    fits = required_fits(names, models, raw=False)
    return frozenset(models[key].channel for key, start in fits if start != "raw")


def clip_bytes(preset: Preset, names: Sequence[str] | None = None) -> int:
    """Bytes of the copies of one clip of one method, for all families or some."""
    fits = required_fits(tuple(ATTACKERS) if names is None else names, preset.attackers, raw=False)
    cut: list[tuple[Seen, Preset]] = [("frames", preset)]
    seen = [preset.attackers[name] for name, _ in fits]
    cut += [(model.content, preset.sampled(model.sampling)) for model in seen]
    total = 0
    # a network's own sampling may be that of others, whose clips it shares
    kinds = [
        (content, sampled.frames_of(content), sampled.stride, sampled.size)
        for content, sampled in cut
    ]
    for content, frames, _, size in dict.fromkeys(kinds):
        if content != "restored" and content != "joints":  # computed anew, and of few methods
            views = math.prod(preset.views) if content == "frames" else 1
            total += ExtractionConfig(frames=frames * views, content=content, size=size).clip_bytes
    return total


def attack_outputs(
    names: Sequence[str],
    models: Mapping[str, AttackerModel],
    predictions: Predictions,
    tests: Mapping[int, SplitTruth],
) -> tuple[AttackOutputs, ...]:
    """Return all attackers of the families; `prior` has none here, as it depends on the label.

    `tests` are the test clips by seed, with the rates of what that seed's attackers learned from.
    """
    attackers: list[AttackOutputs] = []
    for name in names:
        family, plain = ATTACKERS[name], []
        for model in [key for key, attacker_model in models.items() if family.uses(attacker_model)]:
            start = family.initialisation_of(models[model])
            fits = predictions.select(attacker=model, initialisation=start)
            runs = sorted({(key.run, key.seed) for key in fits.blocks})
            seeds = {seed: fits.select(run=run, seed=seed) for run, seed in runs}
            for seed, predicted in seeds.items():
                _check_clips(model, predicted, tests[seed])
            if seeds:
                raw, channel = start == "raw", models[model].channel
                seed_predictions = list(seeds.values())
                plain.append(
                    _join_folds(
                        name, f"{name} {model}", seed_predictions, channel, eligible=not raw
                    )
                )
                if raw:
                    right = [
                        _recalibrate(predicted, tests[seed]) for seed, predicted in seeds.items()
                    ]
                    attackers.append(
                        _join_folds(name, f"{name} {model}, recalibrated", right, channel)
                    )
        attackers += plain
    return (*_ensembles(names, attackers), *attackers)  # of equals the first is chosen


def _check_clips(model: str, predictions: Predictions, test: SplitTruth) -> None:
    """Refuse predictions that are not of the test clips: they would be scored as those of others.

    Raises:
        MasqueradeError: they are not.
    """
    blocks = predictions.select(split="test").blocks
    clips = [block.clips for _, block in sorted(blocks.items(), key=lambda item: item[0].fold)]
    if not np.array_equal(np.concatenate(clips), test.clips):
        raise MasqueradeError(
            f"{model} predicts other clips than the others: nothing can be scored from that; run "
            "the evaluation anew with another -o."
        )


def transformed(outputs: Sequence[AttackOutputs], method: str) -> tuple[AttackOutputs, ...]:
    """Attackers of a method's output as attackers of raw video, which they first transform so."""
    return tuple(
        replace(attacker, family=TRANSFORMED, name=f"{attacker.name}, behind {method}")
        for attacker in outputs
        if ATTACKERS[attacker.family].initialisation != "raw" and attacker.eligible
    )


def _ensembles(names: Sequence[str], attackers: Sequence[AttackOutputs]) -> list[AttackOutputs]:
    """The mean of a family's predictions; motion's networks join those from scratch."""
    ensembles = []
    for name in names:
        members = ("scratch", "motion") if name == "scratch" else (name,)
        averaged = [attacker for attacker in attackers if attacker.family in members]
        if ATTACKERS[name].ensemble and len(averaged) > 1:
            ensembles.append(
                AttackOutputs(
                    family=name,
                    name=f"{name} ensemble",
                    validation=mean_probabilities([attacker.validation for attacker in averaged]),
                    test=_means([attacker.test for attacker in averaged]),
                    channels=frozenset[Channel]().union(
                        *(attacker.channels for attacker in averaged)
                    ),
                )
            )
    return ensembles


def _means(parts: Sequence[tuple[Probabilities, ...]]) -> tuple[Probabilities, ...]:
    return tuple(mean_probabilities(same_seed) for same_seed in zip(*parts, strict=True))


def _join_folds(
    family: str,
    name: str,
    seeds: Sequence[Predictions],
    channel: Channel,
    *,
    eligible: bool = True,
) -> AttackOutputs:
    return AttackOutputs(
        family=family,
        name=name,
        validation=_join([_concatenate(seed.select(split="validation")) for seed in seeds]),
        test=tuple(_concatenate(seed.select(split="test")) for seed in seeds),
        eligible=eligible,
        channels=frozenset({channel}),
    )


def _concatenate(predictions: Predictions) -> Probabilities:
    """The folds one after another; a fold without clips has no predictions."""
    folds = {key.fold: block.probabilities for key, block in predictions.blocks.items()}
    return _join([folds[fold] for fold in sorted(folds) if folds[fold]])


def _join(parts: Sequence[Probabilities]) -> Probabilities:
    return ByLabel(parts[0], lambda label: np.concatenate([part[label] for part in parts]))


def _recalibrate(predictions: Predictions, test: SplitTruth) -> Predictions:
    """Each fold with the bias that makes its mean prediction in train the training rate."""
    train = {key.fold: block for key, block in predictions.select(split="train").blocks.items()}
    blocks = {}
    for key, block in predictions.select(split=("validation", "test")).blocks.items():
        right = {
            label: recalibrate(
                p,
                train[key.fold].probabilities[label],
                test.fold_priors[label][key.fold].overall,
                multi_label=test.labels[label].ndim == 2,
            )
            for label, p in block.probabilities.items()
        }
        blocks[key] = replace(block, probabilities=right)
    return replace(predictions, blocks=blocks)
