"""Changes of a recipe that the papers' ablations make, each one flag of `masquerade train`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from masquerade.errors import UsageError
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.training.game import Adversary, Game, Phase, Stop, Turn
from masquerade.training.objectives import OBJECTIVES, Labels, MoCo, Objective, Pairs
from masquerade.training.pairs import GAPS

CATCH_UP = 200  # steps, as in VITA's code
Fool = Literal["negative", "entropy", "uniform", "ones"]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What differs from a recipe; None leaves a choice to it.

    Args:
        utility: another action network, such as r3d-18; a wrong name lists all.
        adversary: other networks of the adversaries, such as mobilenet-v1; several play together.
        objective: what they learn: labels, nt-xent, moco or rotation.
        fool: what the anonymizer wants of one that learns labels.
        gap: between the two frames of a pair in the video: free (any of the clip), far (more than
            64) or near (fewer than 8).
        queue: frames that an adversary of --objective moco remembers.
        combine: how the anonymizer takes several.
        omega: weight of fooling them, beside that of the action.
        action_weight: weight of the action, where the anonymizer works against them.
        ratio: steps of the other networks to one of the anonymizer there.
        gate: in every round the anonymizer and the action network learn the action until this share
            of a held-out batch is told right, 8 steps at most (VITA's monitored accuracy).
        reversal: all move at once, the anonymizer by the adversaries' reversed gradient.
        idle: how the anonymizer normalises while others learn: by its running statistics, or by
            the batch.
        frozen: adversaries that learn nothing while the anonymizer works against them.
        alone: no adversary at all.
        segments: adversaries that compare runs of frames (use a network that sees motion).
        restart: they forget everything every so many epochs.
        catch_up: steps that they then learn alone; without it 200.
        temperature: of the similarities by which adversaries of pairs tell clips apart.
        until_identity: mean L1 to the raw clip at which the anonymizer is a good enough copyist
            (th_A0 in SPAct's paper).
        until_utility: loss of the action network at which practice may end, plateau or not (th_T0).
        until_adversary: the same of the adversaries; practice ends where both are reached (th_B0).
        until_blind: the adversaries' share of the loss of who sees nothing, up to 1, that ends the
            contest (th_Bmax).
        image_weights: a file of an image ViT (DeiT, DINO), from which stprivacy and video ViTs
            begin; without it from random ones.
        epochs: at most, of every phase.
        batch: clips a step.
    """

    utility: str | None = None
    adversary: tuple[str, ...] = ()
    objective: str | None = None
    fool: Fool | None = None
    gap: Literal["free", "far", "near"] | None = None
    queue: int | None = None
    combine: Literal["max", "mean", "sum"] | None = None
    omega: float | None = None
    action_weight: float | None = None
    ratio: int | None = None
    gate: float | None = None
    reversal: bool = False
    idle: Literal["running", "batch"] | None = None
    frozen: bool = False
    alone: bool = False
    segments: bool = False
    restart: int | None = None
    catch_up: int | None = None
    temperature: float | None = None
    until_identity: float | None = None
    until_utility: float | None = None
    until_adversary: float | None = None
    until_blind: float | None = None
    image_weights: Path | None = None
    epochs: int | None = None
    batch: int | None = None


def changed(game: Game, changes: Changes) -> Game:
    """A recipe with some changes.

    Args:
        game: the recipe.
        changes: what differs.
    """
    _checked(game, changes)
    for name in (*changes.adversary, *([changes.utility] if changes.utility else [])):
        if name not in RECOGNIZERS:
            raise UsageError(f"there is no network {name!r}; choose of {', '.join(RECOGNIZERS)}.")
    phases = tuple(_phase(phase, changes) for phase in game.phases)
    return replace(
        game,
        utility=changes.utility or game.utility,
        adversaries=() if changes.alone else _rivals(game, changes),
        combine=changes.combine or game.combine,
        batch=changes.batch or game.batch,
        gap=game.gap if changes.gap is None else GAPS[changes.gap],
        image_weights=(
            game.image_weights if changes.image_weights is None else str(changes.image_weights)
        ),
        wanted=_wanted(game),
        phases=tuple(phase for phase in phases if phase.turns),
    )


OF_ADVERSARIES = (
    "adversary",
    "objective",
    "fool",
    "gap",
    "queue",
    "combine",
    "omega",
    "action_weight",
    "ratio",
    "gate",
    "reversal",
    "frozen",
    "segments",
    "restart",
    "catch_up",
    "temperature",
    "until_adversary",
    "until_blind",
)
LEAST = dict(ratio=1, queue=1, restart=1, catch_up=0, epochs=1, batch=2, omega=0, action_weight=0)
UNTIL = {
    "until_identity": "val_reconstruction",
    "until_utility": "train_utility",
    "until_adversary": "train_adversary",
    "until_blind": "val_adversary_share",
}
"""By flag the column whose stop it moves."""


def _checked(game: Game, changes: Changes) -> None:
    """Raise UsageError where a change makes no sense, or would change nothing."""
    for name, least in LEAST.items():
        value = getattr(changes, name)
        if value is not None and not least <= value < math.inf:  # nor is nan
            raise UsageError(f"{_flag(name)} is {least} or more.")
    for name in ("temperature", *UNTIL):
        value = getattr(changes, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{_flag(name)} must be above 0.")
    if changes.until_blind is not None and changes.until_blind > 1:
        raise UsageError("--until-blind is 1 at most, the loss of an adversary that sees nothing.")
    if changes.gate is not None and not 0 < changes.gate <= 1:
        raise UsageError("--gate is a share of clips, above 0 and at most 1.")
    given = [name for name in OF_ADVERSARIES if getattr(changes, name) not in (None, False, ())]
    if not game.adversaries and (given or changes.alone):
        flag = _flag((given or ["alone"])[0])
        raise UsageError(f"{game.method} is trained without an adversary, so leave out {flag}.")
    if changes.alone and given:
        raise UsageError(f"--alone is without an adversary, so leave out {_flag(given[0])}.")
    if changes.frozen and changes.restart:
        raise UsageError("--frozen adversaries would never learn again after a --restart.")
    if changes.catch_up is not None and not changes.restart:
        raise UsageError("--catch-up comes after a --restart EPOCHS.")
    if changes.frozen and changes.until_blind is not None:
        raise UsageError("--frozen adversaries go blind at once, so leave out --until-blind.")
    for name, column in UNTIL.items():
        if getattr(changes, name) is not None and not any(_ends(p, column) for p in game.phases):
            raise UsageError(
                f"No phase of {game.method} ends by {column} under this preset, so leave out "
                f"{_flag(name)}."
            )
    if changes.reversal:
        _check_reversal(game, changes)
    if changes.gap is not None and changes.segments:
        raise UsageError("--gap is between two frames, and --segments compares runs of them.")
    before = [phase for phase in game.phases if not phase.contested]
    if changes.frozen and not any("adversary" in t.learns for p in before for t in p.turns):
        raise UsageError(
            f"{game.method} has no phase in which adversaries learn before the contest under this "
            "preset, so that --frozen ones would know nothing."
        )


def _check_reversal(game: Game, changes: Changes) -> None:
    """Raise UsageError where there is nobody to reverse, or no loss that is the other's negated."""
    for name in ("frozen", "gate", "ratio", "combine"):
        if getattr(changes, name) not in (None, False):
            raise UsageError(f"With --reversal all take one step, so leave out {_flag(name)}.")
    wish = changes.fool or getattr(game.adversaries[0].objective, "fool", "negative")
    if wish != "negative" and changes.objective in (None, "labels"):
        raise UsageError(f"--reversal negates the adversaries' loss: not --fool {wish}.")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _wanted(game: Game) -> dict[str, tuple[float, float]]:
    """What stprivacy should keep at the end, by the arguments that it has now; as it was, else."""
    if not game.wanted or "keep" not in game.arguments:
        return dict(game.wanted)
    if game.arguments["mode"] == "anonymize-only":
        return {}
    _, tolerance = next(iter(game.wanted.values()))
    steps = len(game.arguments["places"])
    return {f"kept_{steps}": (game.arguments["keep"] ** steps, tolerance)}


def _rivals(game: Game, changes: Changes) -> tuple[Adversary, ...]:
    if not game.adversaries:
        return ()
    first = game.adversaries[0]
    objective = _objective(first.objective, changes)
    if not changes.adversary:
        return tuple(replace(one, objective=objective) for one in game.adversaries)
    return tuple(Adversary(network=name, objective=objective) for name in changes.adversary)


def _objective(objective: Objective, changes: Changes) -> Objective:
    if changes.objective is not None:
        if changes.objective not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise UsageError(f"there is no objective {changes.objective!r}; choose of {known}.")
        if not isinstance(objective, OBJECTIVES[changes.objective]):
            objective = _turned(objective, OBJECTIVES[changes.objective])
    if changes.fool is not None:
        if not isinstance(objective, Labels):
            raise UsageError("--fool is of an adversary that learns labels: --objective labels.")
        objective = replace(objective, fool=changes.fool)
    if changes.gap is not None or changes.segments:
        if not isinstance(objective, Pairs):
            raise UsageError("--gap and --segments are of pairs: --objective nt-xent or moco.")
        objective = replace(objective, segments=changes.segments)
    if changes.temperature is not None:
        if not isinstance(objective, Pairs):
            raise UsageError("--temperature is of pairs: --objective nt-xent or moco.")
        objective = replace(objective, temperature=changes.temperature)
    if changes.queue is not None:
        if not isinstance(objective, MoCo):
            raise UsageError("--queue is of --objective moco.")
        objective = replace(objective, queue=changes.queue)
    return objective


def _turned(objective: Objective, kind: type[Objective]) -> Objective:
    """Another objective, with what both have: the pairs of one are those of the other."""
    both = {one.name for one in fields(objective)} & {one.name for one in fields(kind)}
    return kind(**{name: getattr(objective, name) for name in both})


def _phase(phase: Phase, changes: Changes) -> Phase:
    phase = replace(phase, epochs=min(phase.epochs, changes.epochs or phase.epochs))
    for name, column in UNTIL.items():
        asked = getattr(changes, name)
        if asked is not None and _ends(phase, column):
            phase = _until(phase, column, asked)
    if changes.alone:
        phase = _without_terms(phase, {"adversary", "fooling"})
    if changes.idle is not None:
        phase = replace(phase, idle=changes.idle)
    if phase.contested:
        phase = replace(phase, turns=tuple(_weighed(turn, changes) for turn in phase.turns))
        phase = _gated(phase, changes.gate) if changes.gate is not None else phase
        phase = _reversed(phase) if changes.reversal else phase
        if changes.frozen:
            phase = _without_learning(phase)
        if changes.restart is not None:
            steps = phase.catch_up or CATCH_UP if changes.catch_up is None else changes.catch_up
            phase = replace(phase, restart=changes.restart, catch_up=steps)
    return phase


def _ends(phase: Phase, column: str) -> bool:
    """Whether a column ends a phase, or in a contest may."""
    blind = phase.contested and column == UNTIL["until_blind"]
    return blind or any(one.column == column for one in phase.stop)


def _until(phase: Phase, column: str, asked: float) -> Phase:
    """A phase that goes on until a threshold, and no longer until a plateau, of a column."""
    above = column == UNTIL["until_blind"]
    bound = Stop(column=column, above=asked) if above else Stop(column=column, below=asked)
    others = (one for one in phase.stop if one.column != column)
    return replace(phase, stop=(*others, bound))


def _weighed(turn: Turn, changes: Changes) -> Turn:
    """A turn against the adversaries with other weights; any other as often as is asked."""
    if "fooling" not in turn.terms:
        alone = "anonymizer" not in turn.learns
        return replace(turn, times=changes.ratio) if changes.ratio and alone else turn
    given = {"fooling": changes.omega, "utility": changes.action_weight}
    own = {name: weight for name, weight in given.items() if weight is not None}
    return replace(turn, terms={**turn.terms, **own})


def _gated(phase: Phase, share: float) -> Phase:
    """A contest in which the action comes first, up to a share that is told right (VITA)."""
    first = Turn(learns=("anonymizer", "utility"), terms={"utility": 1.0}, times=8, until=share)
    others = [turn for turn in phase.turns if turn.until is None]
    at = next(i for i, turn in enumerate(others) if "fooling" in turn.terms) + 1
    return replace(phase, turns=(*others[:at], first, *others[at:]))


def _reversed(phase: Phase) -> Phase:
    """A contest in one step of everybody (Ganin & Lempitsky, ICML 2015)."""
    terms = next(turn.terms for turn in phase.turns if "fooling" in turn.terms)
    kept = {name: weight for name, weight in terms.items() if name != "fooling"}
    once = Turn(
        learns=("anonymizer", "utility", "adversary"),
        terms={**kept, "adversary": 1.0},
        reverse=terms["fooling"],
    )
    return replace(phase, turns=(once,))


def _without_terms(phase: Phase, names: set[str]) -> Phase:
    """Neither these losses nor players that have no other; nor stops that wait for them."""
    turns = []
    for turn in phase.turns:
        terms = {name: weight for name, weight in turn.terms.items() if name not in names}
        learns = tuple(player for player in turn.learns if player != "adversary")
        if terms and learns:
            turns.append(replace(turn, terms=terms, learns=learns))
    return replace(phase, turns=tuple(turns), stop=_of_others(phase))


def _without_learning(phase: Phase) -> Phase:
    """The adversaries stay as they were before this phase."""
    turns = []
    for turn in phase.turns:
        learns = tuple(player for player in turn.learns if player != "adversary")
        terms = {k: w for k, w in turn.terms.items() if k != "adversary"}
        if learns and terms:
            turns.append(replace(turn, learns=learns, terms=terms))
    # One that cannot answer is fooled within an epoch or two, which is no reason to end.
    return replace(phase, turns=tuple(turns), stop=_of_others(phase))


def _of_others(phase: Phase) -> tuple[Stop, ...]:
    """The stops that do not wait for adversaries."""
    return tuple(one for one in phase.stop if "adversary" not in one.column)
