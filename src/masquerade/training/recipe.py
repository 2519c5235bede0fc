"""`AdversarialRecipe`: networks, phases and update steps of an adversarial training.

What differs between the published methods is an `AdversarialRecipe` (`training.recipes`); the
losses of an update are in `training.adversarial_step`, the epochs in
`training.adversarial_training`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from masquerade.datasets.augmentation import NONE, Augmentation
from masquerade.datasets.clip_sampling import Padding
from masquerade.errors import UsageError
from masquerade.extraction.config import Aspect
from masquerade.training.engine import Row
from masquerade.training.frame_pairs import Gap
from masquerade.training.objectives import Objective

Role = Literal["anonymizer", "utility", "adversary", "auxiliary"]
"""Auxiliary: a class token that reads the action inside the anonymizer; it is not saved."""
ROLES: tuple[Role, ...] = ("anonymizer", "utility", "adversary", "auxiliary")
BLIND = 0.95
"""An adversary counts as blind where its loss is at least this share of the chance loss."""
LOSSES = ("reconstruction", "utility", "adversary", "adversarial")
"""Losses of every training; an anonymizer's `TrainingOutput` may bring more."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer of one role."""

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-4  # the highest
    weight_decay: float = 0.0  # not of biases, norms and other vectors
    momentum: float = 0.0  # of SGD
    warmup: int = 0  # epochs over which the rate rises
    cosine: bool = False  # whether it then falls along a cosine over the phase
    clip: float | None = None  # largest norm of a role's gradient; None: any


@dataclass(frozen=True, kw_only=True)
class UpdateStep:
    """One optimizer step: which roles are updated, by which losses."""

    learns: tuple[Role, ...]  # the others' weights and statistics stay to the bit
    losses: Mapping[str, float]
    """Weight by loss: reconstruction (L1 to the raw clip), utility, adversary (what the adversaries
    minimise), adversarial (what the anonymizer minimises against them), auxiliary (of the class
    token inside the anonymizer), and the anonymizer's own."""
    times: int = 1  # how often in a row
    until_accuracy: float | None = None
    """It is left out for the rest of the round once the utility network's accuracy on a held-out
    batch is at least this (VITA's monitored accuracy); None: never."""
    reversal: float | None = None
    """The anonymizer gets the adversary's gradient times minus this (gradient reversal), so that
    all may step at once; None: it gets it as it is."""
    raw_clips: bool = False  # the networks are given raw clips instead of anonymized ones


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Ends a phase by a column of log.csv."""

    column: str
    below: float | None = None  # end once it is at most this
    above: float | None = None  # end once it is at least this, and at most `most`
    most: float = math.inf
    times: int = 1  # epochs in a row that must be in that range
    plateau: int | None = None  # end once it has not fallen for so many epochs

    def reached(self, rows: Sequence[Row]) -> bool:
        """Return whether the epochs of a phase, `rows` in order, suffice."""
        values = [row[self.column] for row in rows]
        if not values or math.isnan(values[-1]):
            return False
        if self.below is not None and values[-1] <= self.below:
            return True
        least = math.inf if self.above is None else self.above
        in_range = [least <= value <= self.most for value in values[-self.times :]]
        if len(in_range) == self.times and all(in_range):
            return True
        waited = len(values) - 1 - values.index(min(values))
        return self.plateau is not None and waited >= self.plateau


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A training phase: one cycle of update steps, repeated for some epochs."""

    name: str  # in messages
    epochs: int  # at most
    updates: tuple[UpdateStep, ...]
    stop: tuple[Stop, ...] = ()  # the phase ends early once all of these are reached
    same_batch: bool = False  # one batch a round (STPrivacy), not one an update (SPAct)
    anonymizer_norms: Literal["running", "batch"] = "running"
    """How an anonymizer normalises while others learn: by its running statistics, as SPAct's code
    does and as it will be used, or by those of the batch."""
    restart: int | None = None  # adversaries get new weights every so many epochs; None: never
    catch_up: int = 0  # steps of the adversaries alone after that
    optimizers: Mapping[Role, OptimizerConfig] = field(default_factory=dict)  # over the recipe's
    skip_if_started: bool = False  # where training starts from another run's anonymizer

    @property
    def adversarial(self) -> bool:
        """Whether the anonymizer works against the adversaries."""
        return any("adversarial" in update.losses or update.reversal for update in self.updates)

    @property
    def raw_clips(self) -> bool:
        """Whether networks are given raw clips only."""
        return all(update.raw_clips for update in self.updates)

    @property
    def uses_auxiliary(self) -> bool:
        return any("auxiliary" in update.learns for update in self.updates)

    def is_over(self, rows: Sequence[Row]) -> bool:
        """Return whether the epochs of this phase, `rows`, suffice."""
        reached = bool(self.stop) and all(stop.reached(rows) for stop in self.stop)
        return len(rows) >= self.epochs or reached


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """One network that learns to read what is private."""

    network: str  # in RECOGNIZERS
    objective: Objective
    modality: str = "frames"  # what it is fed of a clip, in MODALITIES


@dataclass(frozen=True, kw_only=True)
class AdversarialRecipe:
    """A recipe of adversarial training."""

    method: str  # in METHODS
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of its constructor
    utility: str  # the action network, in RECOGNIZERS
    utility_modality: str = "frames"  # what it is fed of a clip, in MODALITIES
    widths: tuple[int, ...] | None = None  # of `tiny-3d` networks; None: their own
    group_norm: bool = False  # utility and adversaries normalise each clip by itself
    adversaries: tuple[Adversary, ...]  # none is an ablation
    combine: Literal["max", "mean", "sum"] = "max"  # the losses against several, clip by clip
    phases: tuple[Phase, ...]
    optimizers: Mapping[Role, OptimizerConfig]
    frames: int = 16  # T of a clip
    size: tuple[int, int]  # (height, width) of the clips in pixels
    stride: int | None = None  # source frames from one to the next; None: over the whole video
    # of a video, with starts evenly spaced over all of it; an epoch draws one of them as the clip
    windows: int = 1
    aspect: Aspect = "squeeze"  # of the frame, squeezed to the size; or crop, kept and cut
    padding: Padding = "repeat"  # how a video shorter than a clip is filled up
    batch: int = 16  # clips a step
    min_steps: int = 1  # of an epoch: few clips are repeated
    still_batch: int = 64  # clips of a second data set a step
    gap: Gap | None = None  # between the frames of a pair; None: any two of the clip
    augment: Augmentation = NONE  # of training clips
    image_weights: str | None = None  # of an image ViT, from which stprivacy and video ViTs start
    tolerance: float | None = None  # of `expected_metrics` at the end; None: not checked

    @property
    def uses_auxiliary(self) -> bool:
        return any(phase.uses_auxiliary for phase in self.phases)

    def __post_init__(self) -> None:
        if not self.phases or any(p.epochs < 1 or not p.updates for p in self.phases):
            raise UsageError("A recipe needs phases, each of at least one epoch and one update.")
        updates = [update for phase in self.phases for update in phase.updates]
        if any(update.times < 1 or not update.learns for update in updates):
            raise UsageError(
                "An update step must train one role or more (learns), once or more (times)."
            )
        if any(update.raw_clips and "anonymizer" in update.learns for update in updates):
            raise UsageError("An anonymizer learns nothing from raw clips.")
        if self.windows < 1 or (self.windows > 1 and self.stride is None):
            raise UsageError("windows must be 1 or more; more than one need a stride.")
        if self.batch < 2:
            raise UsageError("An adversarial step needs a batch of at least two clips.")

    def with_arguments(self, arguments: Mapping[str, Any]) -> AdversarialRecipe:
        """Return the recipe for an anonymizer that is built with other arguments.

        Clips have as many frames as the anonymizer takes, and at least its input size in pixels.
        """
        frames = arguments.get("frames", self.frames)
        height, width = arguments.get("picture", self.size)
        larger = max(1.0, arguments.get("short", 0) / min(height, width))
        size = round(height * larger), round(width * larger)
        return replace(self, arguments=dict(arguments), frames=frames, size=size)

    def for_started(self) -> AdversarialRecipe:
        """Return the recipe of an anonymizer that was trained before: without its pretraining."""
        return replace(self, phases=tuple(p for p in self.phases if not p.skip_if_started))
