"""An adversarial training as a value: who plays, in which phases, and when each ends.

Three players: the anonymizer, the utility network that reads the action, and the adversary, which
may be several networks; where a recipe wants it an auxiliary, a class token that reads the action
inside the anonymizer while that begins to learn, and is thrown away. What differs between the
published methods is a `Game`; the loop that plays it is `masquerade.training.minimax`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from masquerade.datasets.augmentation import NONE, Augmentation
from masquerade.datasets.sampling import Padding
from masquerade.errors import UsageError
from masquerade.training.objectives import Objective
from masquerade.training.pairs import Gap
from masquerade.training.record import Row

Player = Literal["anonymizer", "utility", "adversary", "auxiliary"]
PLAYERS: tuple[Player, ...] = ("anonymizer", "utility", "adversary", "auxiliary")
TERMS = ("reconstruction", "utility", "adversary", "fooling")
"""The loop's own losses; an anonymizer's draft may bring more, by their names."""


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How one player steps.

    Args:
        kind: of the optimizer.
        lr: highest learning rate.
        decay: of weights; not of biases, norms and other vectors.
        momentum: of SGD.
        warmup: epochs over which the rate rises.
        cosine: whether it then falls along a cosine over the phase; else it stays.
        clip: largest norm of a player's gradient; None: any.
    """

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-4
    decay: float = 0.0
    momentum: float = 0.0
    warmup: int = 0
    cosine: bool = False
    clip: float | None = None


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One step: who is updated, by which losses.

    Args:
        learns: the players that step; all others stay to the bit.
        terms: weight by loss: reconstruction (L1 to the raw clip), utility, adversary (what the
            adversaries minimise), fooling (what the anonymizer wants of them), auxiliary (that of
            a class token that reads the action inside the anonymizer), and the draft's own.
        times: so often in a row.
        until: it is over for this round, repetitions and all, once the utility tells at least
            this share of a held-out batch right.
        reverse: the anonymizer gets the adversary's gradient times minus this (gradient reversal),
            so that all may step at once; None: it gets it as it is.
        raw: networks read the clips as they came, and not what the anonymizer makes of them.
    """

    learns: tuple[Player, ...]
    terms: Mapping[str, float]
    times: int = 1
    until: float | None = None
    reverse: float | None = None
    raw: bool = False


@dataclass(frozen=True, kw_only=True)
class Stop:
    """When a phase is over, by a column of the log.

    Args:
        column: as in log.csv.
        below: over once it is at most this.
        above: over once it is at least this.
        plateau: over once it has not fallen for so many epochs.
    """

    column: str
    below: float | None = None
    above: float | None = None
    plateau: int | None = None

    def reached(self, rows: Sequence[Row]) -> bool:
        """Whether the epochs of a phase suffice.

        Args:
            rows: of this phase, in order.
        """
        values = [row[self.column] for row in rows]
        if not values or math.isnan(values[-1]):
            return False
        if self.below is not None and values[-1] <= self.below:
            return True
        if self.above is not None and values[-1] >= self.above:
            return True
        return self.plateau is not None and len(values) - 1 - _lowest(values) >= self.plateau


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some epochs of the same turns.

    Args:
        name: as the log calls it.
        epochs: at most.
        turns: one after another, again and again.
        stop: what ends the phase earlier: all of them at once.
        same_batch: a round of turns shares one batch (STPrivacy); else each takes the next (SPAct).
        idle: how an anonymizer normalises while others learn: by its running statistics, as SPAct's
            code does and as what is published will be, or by the batch, as it learns itself.
        restart: the adversaries forget everything every so many epochs; None: never.
        catch_up: steps of the adversaries alone after they did.
        optims: where they differ from the game's.
        begins: whether it is for fresh weights only, and is left out where a run goes on from
            another's anonymizer.
    """

    name: str
    epochs: int
    turns: tuple[Turn, ...]
    stop: tuple[Stop, ...] = ()
    same_batch: bool = False
    idle: Literal["running", "batch"] = "running"
    restart: int | None = None
    catch_up: int = 0
    optims: Mapping[Player, Optim] = field(default_factory=dict)
    begins: bool = False

    @property
    def contested(self) -> bool:
        """Whether the anonymizer works against the adversary here."""
        return any("fooling" in turn.terms or turn.reverse for turn in self.turns)

    @property
    def raw(self) -> bool:
        """Whether nothing but raw clips is read here."""
        return all(turn.raw for turn in self.turns)

    @property
    def aided(self) -> bool:
        """Whether a class token reads the action inside the anonymizer here."""
        return any("auxiliary" in turn.learns for turn in self.turns)

    def over(self, rows: Sequence[Row]) -> bool:
        """Whether this phase's epochs are enough.

        Args:
            rows: of this phase, in order.
        """
        reached = bool(self.stop) and all(stop.reached(rows) for stop in self.stop)
        return len(rows) >= self.epochs or reached


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """One network that tries to read what is private.

    Args:
        network: in RECOGNIZERS.
        objective: what it learns.
        look: what it is shown, in MODALITIES.
    """

    network: str
    objective: Objective
    look: str = "frames"


@dataclass(frozen=True, kw_only=True)
class Game:
    """A recipe of adversarial training.

    Args:
        method: in METHODS.
        arguments: of its constructor.
        utility: the action network, in RECOGNIZERS.
        utility_look: what it is shown, in MODALITIES.
        widths: of `tiny-3d` networks; None: their own.
        grouped: whether utility and adversaries normalise each clip by itself, not by batches.
        adversaries: all play; none at all is an ablation.
        combine: how the anonymizer takes several: the hardest to fool for each sample, or all.
        phases: in order.
        optims: by player.
        frames: T of a clip.
        size: (height, width) of the clips in pixels.
        stride: source frames from one to the next; None: spread over the whole video.
        stored: frames that are read of each video, among which a clip begins anywhere, each time
            anew; None: `frames`.
        padding: of a video that ends before.
        batch: clips a step.
        steps: of an epoch, at least: few clips come round several times.
        stills: of a second data set a step.
        gap: between the frames of a pair that an adversary compares; None: any two of the clip.
        augment: of training clips.
        image_weights: a file of an image ViT's weights, from which stprivacy and video ViTs begin.
        wanted: facts of the draft, such as a kept ratio, to the (value, tolerance) they should have
            at the end.
    """

    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    utility: str
    utility_look: str = "frames"
    widths: tuple[int, ...] | None = None
    grouped: bool = False
    adversaries: tuple[Adversary, ...]
    combine: Literal["max", "mean", "sum"] = "max"
    phases: tuple[Phase, ...]
    optims: Mapping[Player, Optim]
    frames: int = 16
    size: tuple[int, int]
    stride: int | None = None
    stored: int | None = None
    padding: Padding = "repeat"
    batch: int = 16
    steps: int = 1
    stills: int = 64
    gap: Gap | None = None
    augment: Augmentation = NONE
    image_weights: str | None = None
    wanted: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def aided(self) -> bool:
        """Whether it has a phase with a class token inside the anonymizer."""
        return any(phase.aided for phase in self.phases)

    def __post_init__(self) -> None:
        if not self.phases or any(p.epochs < 1 or not p.turns for p in self.phases):
            raise UsageError("A game needs phases, each of at least one epoch and one turn.")
        if any(turn.times < 1 or not turn.learns for p in self.phases for turn in p.turns):
            raise UsageError("A turn is of at least one player, and taken at least once.")
        every = [turn for phase in self.phases for turn in phase.turns]
        if any(turn.raw and "anonymizer" in turn.learns for turn in every):
            raise UsageError("An anonymizer learns nothing from clips that it did not touch.")
        if self.stored is not None and (self.stride is None or self.stored < self.frames):
            raise UsageError("A clip is cut from as many frames as it has, or more, of one stride.")
        if self.batch < 2:
            raise UsageError("An adversarial step needs a batch of at least two clips.")


def going_on(game: Game) -> Game:
    """A recipe without what only fresh weights need.

    Args:
        game: the recipe.
    """
    return replace(game, phases=tuple(phase for phase in game.phases if not phase.begins))


def _lowest(values: Sequence[float]) -> int:
    """Where the lowest value stands; the first of several."""
    return min(range(len(values)), key=lambda at: values[at])
