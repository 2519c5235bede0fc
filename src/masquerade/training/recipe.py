"""An adversarial training as a value: networks, phases of update steps, and when each phase ends.

What differs between the published methods is an `AdversarialRecipe` (`training.recipes`); the
losses of an update are in `training.adversarial`, the epochs in `training.adversarial_training`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from masquerade.datasets.augmentation import NONE, Augmentation
from masquerade.datasets.clip_sampling import Padding
from masquerade.errors import UsageError
from masquerade.training.engine import Row
from masquerade.training.frame_pairs import Gap
from masquerade.training.objectives import Objective

Role = Literal["anonymizer", "utility", "adversary", "auxiliary"]
"""Auxiliary: a class token that reads the action inside the anonymizer; it is not saved."""
ROLES: tuple[Role, ...] = ("anonymizer", "utility", "adversary", "auxiliary")
LOSSES = ("reconstruction", "utility", "adversary", "adversarial")
"""Losses of every training; an anonymizer's `TrainingOutput` may bring more."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer of one role.

    Args:
        kind: adam, adamw or sgd.
        lr: highest learning rate.
        weight_decay: not of biases, norms and other vectors.
        momentum: of SGD.
        warmup: epochs over which the rate rises.
        cosine: whether it then falls along a cosine over the phase; else it stays.
        clip: largest norm of a role's gradient; None: any.
    """

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-4
    weight_decay: float = 0.0
    momentum: float = 0.0
    warmup: int = 0
    cosine: bool = False
    clip: float | None = None


@dataclass(frozen=True, kw_only=True)
class UpdateStep:
    """One optimizer step: which roles are updated, by which losses.

    Args:
        learns: the roles that step; weights and statistics of all others stay to the bit.
        losses: weight by loss: reconstruction (L1 to the raw clip), utility, adversary (what the
            adversaries minimise), adversarial (what the anonymizer minimises against them),
            auxiliary (of the class token inside the anonymizer), and the anonymizer's own.
        times: how often in a row.
        until_accuracy: it is left out for the rest of the round once the utility network's accuracy
            on a held-out batch is at least this (VITA's monitored accuracy); None: never.
        reversal: the anonymizer gets the adversary's gradient times minus this (gradient reversal),
            so that all may step at once; None: it gets it as it is.
        raw_clips: the networks are given raw clips instead of anonymized ones.
    """

    learns: tuple[Role, ...]
    losses: Mapping[str, float]
    times: int = 1
    until_accuracy: float | None = None
    reversal: float | None = None
    raw_clips: bool = False


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Ends a phase by a column of the log.

    Args:
        column: as in log.csv.
        below: end once it is at most this.
        above: end once it is at least this.
        plateau: end once it has not fallen for so many epochs.
    """

    column: str
    below: float | None = None
    above: float | None = None
    plateau: int | None = None

    def reached(self, rows: Sequence[Row]) -> bool:
        """Whether the epochs of a phase suffice; `rows` are those, in order."""
        values = [row[self.column] for row in rows]
        if not values or math.isnan(values[-1]):
            return False
        if self.below is not None and values[-1] <= self.below:
            return True
        if self.above is not None and values[-1] >= self.above:
            return True
        waited = len(values) - 1 - values.index(min(values))
        return self.plateau is not None and waited >= self.plateau


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some epochs of the same update steps.

    Args:
        name: in messages.
        epochs: at most.
        updates: one after another, again and again.
        stop: what ends the phase earlier: all of them at once.
        same_batch: a round of updates shares one batch (STPrivacy); else each takes the next one
            (SPAct).
        anonymizer_norms: how an anonymizer normalises while others learn: by its running
            statistics, as SPAct's code does and as it will be used, or by those of the batch.
        restart: the adversaries begin from new weights every so many epochs; None: never.
        catch_up: steps of the adversaries alone after that.
        optimizers: by role, where they differ from the recipe's.
        skip_if_started: left out where training starts from another run's anonymizer.
    """

    name: str
    epochs: int
    updates: tuple[UpdateStep, ...]
    stop: tuple[Stop, ...] = ()
    same_batch: bool = False
    anonymizer_norms: Literal["running", "batch"] = "running"
    restart: int | None = None
    catch_up: int = 0
    optimizers: Mapping[Role, OptimizerConfig] = field(default_factory=dict)
    skip_if_started: bool = False

    @property
    def adversarial(self) -> bool:
        """Whether the anonymizer works against the adversaries."""
        return any("adversarial" in step.losses or step.reversal for step in self.updates)

    @property
    def raw_clips(self) -> bool:
        """Whether networks are given raw clips only."""
        return all(step.raw_clips for step in self.updates)

    @property
    def uses_auxiliary(self) -> bool:
        return any("auxiliary" in step.learns for step in self.updates)

    def is_over(self, rows: Sequence[Row]) -> bool:
        """Whether the epochs of this phase, `rows`, suffice."""
        reached = bool(self.stop) and all(stop.reached(rows) for stop in self.stop)
        return len(rows) >= self.epochs or reached


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """One network that learns to read what is private.

    Args:
        network: in RECOGNIZERS.
        objective: what it learns.
        modality: what it is fed of a clip, in MODALITIES.
    """

    network: str
    objective: Objective
    modality: str = "frames"


@dataclass(frozen=True, kw_only=True)
class AdversarialRecipe:
    """A recipe of adversarial training.

    Args:
        method: in METHODS.
        arguments: of its constructor.
        utility: the action network, in RECOGNIZERS.
        utility_modality: what it is fed of a clip, in MODALITIES.
        widths: of `tiny-3d` networks; None: their own.
        group_norm: utility and adversaries normalise each clip by itself instead of by batches.
        adversaries: one or more; none is an ablation.
        combine: the anonymizer's loss of several: of each clip the highest, or the mean or sum.
        phases: in order.
        optimizers: by role.
        frames: T of a clip.
        size: (height, width) of the clips in pixels.
        stride: source frames from one to the next; None: spread over the whole video.
        stored: frames that are extracted of each video, a random window of which is a training
            clip; None: `frames`.
        padding: of a video that ends before.
        batch: clips a step.
        min_steps: of an epoch: few clips are repeated.
        still_batch: clips of a second data set a step.
        gap: between the frames of a pair that an adversary compares; None: any two of the clip.
        augment: of training clips.
        image_weights: a file of an image ViT's weights, from which stprivacy and video ViTs start.
        tolerance: of the anonymizer's `expected_metrics` at the end; None: not checked.
    """

    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    utility: str
    utility_modality: str = "frames"
    widths: tuple[int, ...] | None = None
    group_norm: bool = False
    adversaries: tuple[Adversary, ...]
    combine: Literal["max", "mean", "sum"] = "max"
    phases: tuple[Phase, ...]
    optimizers: Mapping[Role, OptimizerConfig]
    frames: int = 16
    size: tuple[int, int]
    stride: int | None = None
    stored: int | None = None
    padding: Padding = "repeat"
    batch: int = 16
    min_steps: int = 1
    still_batch: int = 64
    gap: Gap | None = None
    augment: Augmentation = NONE
    image_weights: str | None = None
    tolerance: float | None = None

    @property
    def uses_auxiliary(self) -> bool:
        return any(phase.uses_auxiliary for phase in self.phases)

    def __post_init__(self) -> None:
        if not self.phases or any(p.epochs < 1 or not p.updates for p in self.phases):
            raise UsageError("A recipe needs phases, each of at least one epoch and one update.")
        steps = [step for phase in self.phases for step in phase.updates]
        if any(step.times < 1 or not step.learns for step in steps):
            raise UsageError("An update step is of at least one role, and taken at least once.")
        if any(step.raw_clips and "anonymizer" in step.learns for step in steps):
            raise UsageError("An anonymizer learns nothing from raw clips.")
        if self.stored is not None and (self.stride is None or self.stored < self.frames):
            raise UsageError("A clip is cut from as many frames as it has, or more, of one stride.")
        if self.batch < 2:
            raise UsageError("An adversarial step needs a batch of at least two clips.")

    def with_arguments(self, arguments: Mapping[str, Any]) -> AdversarialRecipe:
        """The same recipe of an anonymizer with other constructor arguments."""
        frames = arguments.get("frames", self.frames)
        return replace(self, arguments=dict(arguments), frames=frames)

    def for_started(self) -> AdversarialRecipe:
        """The same recipe for an anonymizer that was trained before: without its pretraining."""
        return replace(self, phases=tuple(p for p in self.phases if not p.skip_if_started))
