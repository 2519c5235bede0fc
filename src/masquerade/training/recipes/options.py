"""Ablations that recipes have in common: their flags, and how they change a recipe.

A recipe names in its signature those that it has; tyro takes the help from here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack, get_args, get_type_hints

from typing_extensions import Doc

from masquerade.datasets.augmentation import Augmentation
from masquerade.errors import UsageError
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.training.frame_pairs import GAPS
from masquerade.training.objectives import OBJECTIVES, Labels, MoCo, Objective, Pairs
from masquerade.training.recipe import (
    AdversarialRecipe,
    Adversary,
    OptimizerConfig,
    Phase,
    Role,
    Stop,
    UpdateStep,
)

GapName = Annotated[
    Literal["free", "far", "near"] | None,
    Doc("Between the two frames of a pair in the video: free, far (over 64) or near (under 8)."),
]
Segments = Annotated[bool, Doc("Pairs are runs of frames, for networks that see motion.")]
Omega = Annotated[
    float | None, Doc("Weight of the adversarial loss in the anonymizer's update (SPAct's omega).")
]
ActionWeight = Annotated[float | None, Doc("Weight of the action in the anonymizer's update.")]
Reversal = Annotated[bool, Doc("All networks update at once, by gradient reversal.")]
Idle = Annotated[
    Literal["running", "batch"] | None,
    Doc("The anonymizer's norms while others learn: running statistics, or those of the batch."),
]
Frozen = Annotated[bool, Doc("The adversaries stop learning before the last phase.")]
Alone = Annotated[bool, Doc("No adversary at all.")]
UntilPretrain = Annotated[
    float | None, Doc("Ends the pretraining at this mean L1 to the raw clip (SPAct's th_A0).")
]
UntilUtility = Annotated[
    float | None, Doc("Ends the warm-up at this loss of the action network, not a plateau (th_T0).")
]
UntilAdversary = Annotated[
    float | None, Doc("The same of the adversaries (th_B0); the warm-up ends by both.")
]


class Schedule(TypedDict, total=False):
    """Flags of every recipe."""

    utility: Annotated[str, Doc("Another action network, such as r3d-18; a wrong name lists all.")]
    image_weights: Annotated[
        Path, Doc("A file of an image ViT (DeiT, DINO), from which stprivacy and video ViTs start.")
    ]
    epochs: Annotated[int, Doc("At most, of every phase.")]
    batch: Annotated[int, Doc("Clips a step.")]


class Ablations(Schedule, total=False):
    """Flags of every recipe with adversaries.

    Args:
        adversary: Other networks of the adversaries, such as mobilenet-v1 resnet-50.
        objective: What the adversaries learn.
        adversarial_loss: What the anonymizer minimises against adversaries that learn labels: their
            negative loss, their negative entropy, or the cross entropy to equal predictions or
            to all ones.
        temperature: Of the similarities in a contrastive objective.
        queue: Frames in the queue of --objective moco.
        combine: The anonymizer's loss of several adversaries: of each clip the highest, mean or
            sum.
        ratio: Updates of the other networks to one of the anonymizer, in the last phase.
        gate: In every round the anonymizer and the action network learn the action until this
            accuracy on a held-out batch, for 8 updates at most (VITA's monitored accuracy).
        restart: The adversaries get new weights every so many epochs of the last phase.
        catch_up: Updates that restarted adversaries learn alone; 200 where it is not given.
        until_blind: Ends the last phase once the adversaries' loss is this times chance, up to 1
            (th_Bmax).
    """

    adversary: tuple[str, ...]
    objective: Literal["labels", "nt-xent", "moco", "rotation"]
    adversarial_loss: Literal["negative", "entropy", "uniform", "ones"]
    temperature: float
    queue: int
    combine: Literal["max", "mean", "sum"]
    ratio: int
    gate: float
    restart: int
    catch_up: int
    until_blind: float


SCHEDULE = set(Schedule.__annotations__)
CATCH_UP = 200  # updates, as in VITA's code
GATE_UPDATES = 8

STORED = 32  # frames of a video that are extracted, any 16 in a row of which are a clip
PLATEAU = 4  # epochs without a better loss

BOTH = UpdateStep(learns=("utility", "adversary"), losses={"utility": 1.0, "adversary": 1.0})
"""The utility network and the adversaries learn from the same anonymized clips (SPAct eq. 8)."""
PRIVATE = UpdateStep(learns=("adversary",), losses={"adversary": 1.0})


def same_optimizer(how: OptimizerConfig) -> dict[Role, OptimizerConfig]:
    """One optimizer of all roles."""
    return dict.fromkeys(("anonymizer", "utility", "adversary", "auxiliary"), how)


TINY: dict[str, Any] = dict(
    widths=(16, 32, 64, 128),
    group_norm=True,
    optimizers=same_optimizer(OptimizerConfig(kind="adam", lr=1e-3, clip=1.0)),
    frames=8,
    size=(24, 32),
    batch=16,
    min_steps=24,
    augment=Augmentation(crop=(0.8, 1.0), flip=0.5),
)
"""What the tiny presets have in common."""


def pretrain(
    below: float, epochs: int, optimizers: Mapping[Role, OptimizerConfig] | None = None
) -> Phase:
    """The anonymizer learns to reproduce its input, up to a threshold (SPAct eq. 4)."""
    in_range("--until-pretrain", below, above=0)
    return Phase(
        name="pretrain",
        epochs=epochs,
        updates=(UpdateStep(learns=("anonymizer",), losses={"reconstruction": 1.0}),),
        stop=(Stop(column="val_reconstruction", below=below),),
        optimizers=optimizers or {},
        skip_if_started=True,
    )


def until_learned(
    utility: float | None = None, adversary: float | None = None
) -> tuple[Stop, Stop]:
    """Ends a warm-up once both losses are at a threshold, or where there is none, at a plateau."""
    in_range("--until-utility", utility, above=0)
    in_range("--until-adversary", adversary, above=0)
    return (
        Stop(column="train_utility", below=utility, plateau=None if utility else PLATEAU),
        Stop(column="train_adversary", below=adversary, plateau=None if adversary else PLATEAU),
    )


def in_range(
    flag: str,
    value: float | None,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float = math.inf,
) -> None:
    """Raise UsageError unless a value is None or finite and in a range."""
    if value is None:
        return
    enough = value >= least if least is not None else above is None or value > above
    if enough and value <= most and math.isfinite(value):
        return
    bounds = f"{least} or more" if least is not None else f"above {above}"
    raise UsageError(f"{flag} must be {bounds}{f' and at most {most:g}' * math.isfinite(most)}.")


def anonymizer_losses(
    omega: float, action_weight: float | None, *, action: float = 1.0, **own: float
) -> dict[str, float]:
    """Weights of the anonymizer's adversarial update (SPAct eq. 9, STPrivacy eq. 13)."""
    in_range("--omega", omega, least=0)
    in_range("--action-weight", action_weight, least=0)
    utility = action if action_weight is None else action_weight
    return {"utility": utility, "adversarial": omega, **own}


def schedule(recipe: AdversarialRecipe, **given: Unpack[Schedule]) -> AdversarialRecipe:
    """A recipe with another action network, fewer epochs, another batch or start weights."""
    epochs, path = given.get("epochs"), given.get("image_weights")
    in_range("--epochs", epochs, least=1)
    in_range("--batch", given.get("batch"), least=2)
    _check_network(given.get("utility"))
    return replace(
        recipe,
        utility=given.get("utility", recipe.utility),
        image_weights=recipe.image_weights if path is None else str(path),
        batch=given.get("batch", recipe.batch),
        phases=tuple(replace(p, epochs=min(p.epochs, epochs or p.epochs)) for p in recipe.phases),
    )


def ablate(
    recipe: AdversarialRecipe,
    *,
    alone: bool = False,
    frozen: bool = False,
    reversal: bool = False,
    segments: bool = False,
    gap: str | None = None,
    idle: Literal["running", "batch"] | None = None,
    applied: Mapping[str, object] | None = None,
    **given: Unpack[Ablations],
) -> AdversarialRecipe:
    """A recipe with other adversaries or none, and another order of updates in its last phase.

    Arguments are the ablations of those names; `applied` are those of the adversaries that are in
    the recipe already.
    """
    recipe = schedule(recipe, **{k: v for k, v in given.items() if k in SCHEDULE})  # type: ignore
    if idle is not None:
        recipe = replace(recipe, phases=tuple(replace(p, idle=idle) for p in recipe.phases))
    if alone:
        own = dict(frozen=frozen, reversal=reversal, segments=segments, gap=gap)
        for name, value in {**given, **own, **(applied or {})}.items():
            if name not in SCHEDULE and value not in (None, False, ()):
                flag = name.replace("_", "-")
                raise UsageError(f"--alone is without an adversary, so leave out --{flag}.")
        phases = [_without_losses(p, {"adversary", "adversarial"}) for p in recipe.phases]
        return replace(recipe, adversaries=(), phases=tuple(p for p in phases if p.updates))
    networks, combine = given.get("adversary", ()), given.get("combine")
    ratio, gate = given.get("ratio"), given.get("gate")
    for name in networks:
        _check_network(name)
    objective = _change_objective(recipe.adversaries[0].objective, given, segments, gap)
    if reversal:
        _check_reversal(objective, frozen=frozen, gate=gate, ratio=ratio, combine=combine)
    adversaries = tuple(replace(one, objective=objective) for one in recipe.adversaries)
    if networks:
        adversaries = tuple(Adversary(network=name, objective=objective) for name in networks)
    *before, last = recipe.phases
    if frozen and not any("adversary" in step.learns for p in before for step in p.updates):
        raise UsageError(
            f"{recipe.method} has no phase in which adversaries learn before the last one under "
            "this preset, so that --frozen ones would know nothing."
        )
    last = _change_updates(last, ratio=ratio, gate=gate, reversal=reversal)
    last = _change_restarts(last, given.get("restart"), given.get("catch_up"), frozen=frozen)
    last = _change_end(last, given.get("until_blind"), frozen=frozen)
    return replace(
        recipe,
        adversaries=adversaries,
        combine=combine or recipe.combine,
        gap=recipe.gap if gap is None else GAPS[gap],
        phases=(*before, _without_losses(last, {"adversary"}) if frozen else last),
    )


def _change_updates(
    phase: Phase, *, ratio: int | None, gate: float | None, reversal: bool
) -> Phase:
    in_range("--ratio", ratio, least=1)
    in_range("--gate", gate, above=0, most=1)
    if ratio is not None:
        phase = replace(phase, updates=tuple(_repeated(step, ratio) for step in phase.updates))
    if gate is not None:
        phase = _gated(phase, gate)
    return _reversed(phase) if reversal else phase


def _change_restarts(
    phase: Phase, restart: int | None, catch_up: int | None, *, frozen: bool
) -> Phase:
    in_range("--restart", restart, least=1)
    in_range("--catch-up", catch_up, least=0)
    if restart is None and catch_up is not None:
        raise UsageError("--catch-up comes after a --restart EPOCHS.")
    if restart is None:
        return phase
    if frozen:
        raise UsageError("--frozen adversaries would never learn again after a --restart.")
    return replace(phase, restart=restart, catch_up=CATCH_UP if catch_up is None else catch_up)


def _change_end(phase: Phase, until_blind: float | None, *, frozen: bool) -> Phase:
    in_range("--until-blind", until_blind, above=0, most=1)
    if until_blind is None:
        return phase
    if frozen:
        raise UsageError("--frozen adversaries are at chance soon, so leave out --until-blind.")
    others = (stop for stop in phase.stop if stop.column != "val_adversary_share")
    return replace(phase, stop=(*others, Stop(column="val_adversary_share", above=until_blind)))


def _change_objective(
    objective: Objective, given: Ablations, segments: bool, gap: str | None
) -> Objective:
    name, wish = given.get("objective"), given.get("adversarial_loss")
    temperature, queue = given.get("temperature"), given.get("queue")
    in_range("--queue", queue, least=1)
    in_range("--temperature", temperature, above=0)
    if name is not None and name not in OBJECTIVES:
        raise UsageError(f"there is no objective {name!r}; choose of {', '.join(OBJECTIVES)}.")
    if name is not None and not isinstance(objective, OBJECTIVES[name]):
        kind = OBJECTIVES[name]  # with what both have, such as the width of pairs
        both = {one.name for one in fields(objective)} & {one.name for one in fields(kind)}
        objective = kind(**{key: getattr(objective, key) for key in both})
    if gap is not None and segments:
        raise UsageError("--gap is between two frames, and --segments compares runs of them.")
    of_pairs = {"--gap": gap, "--segments": segments or None, "--temperature": temperature}
    for flag, value in of_pairs.items():
        if value is not None and not isinstance(objective, Pairs):
            raise UsageError(f"{flag} is of pairs: --objective nt-xent or moco.")
    if wish is not None and not isinstance(objective, Labels):
        raise UsageError("--adversarial-loss is of --objective labels.")
    if queue is not None and not isinstance(objective, MoCo):
        raise UsageError("--queue is of --objective moco.")
    asked = {"wish": wish, "queue": queue, "temperature": temperature}
    changes: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    return replace(objective, **changes, **({"segments": True} if segments else {}))


def check_preset(preset: str, recipe: Callable[..., AdversarialRecipe]) -> None:
    """Raise UsageError for a preset that is not in a recipe's signature."""
    known = get_args(get_type_hints(recipe)["preset"])
    if preset not in known:
        name = recipe.__name__.replace("_", "-")
        raise UsageError(f"{name} has no preset {preset!r}; it has {', '.join(known)}.")


def _check_network(name: str | None) -> None:
    if name is not None and name not in RECOGNIZERS:
        raise UsageError(f"there is no network {name!r}; choose of {', '.join(RECOGNIZERS)}.")


def _repeated(step: UpdateStep, times: int) -> UpdateStep:
    others = "adversarial" not in step.losses and "anonymizer" not in step.learns
    return replace(step, times=times) if others else step


def _gated(phase: Phase, accuracy: float) -> Phase:
    """The action is learned up to an accuracy, right after the anonymizer's update (VITA)."""
    first = UpdateStep(
        learns=("anonymizer", "utility"),
        losses={"utility": 1.0},
        times=GATE_UPDATES,
        until=accuracy,
    )
    others = [step for step in phase.updates if step.until is None]
    at = next(i for i, step in enumerate(others) if "adversarial" in step.losses) + 1
    return replace(phase, updates=(*others[:at], first, *others[at:]))


def _check_reversal(objective: Objective, **given: object) -> None:
    for name, value in given.items():
        if value not in (None, False):
            raise UsageError(f"With --reversal all take one step, so leave out --{name}.")
    wish = getattr(objective, "wish", "negative")
    if wish != "negative":
        raise UsageError(
            f"--reversal negates the adversaries' loss: leave out --adversarial-loss {wish}."
        )


def _reversed(phase: Phase) -> Phase:
    """All roles in one update, by gradient reversal (Ganin & Lempitsky, ICML 2015)."""
    losses = next(step.losses for step in phase.updates if "adversarial" in step.losses)
    kept = {name: weight for name, weight in losses.items() if name != "adversarial"}
    once = UpdateStep(
        learns=("anonymizer", "utility", "adversary"),
        losses={**kept, "adversary": 1.0},
        reversal=losses["adversarial"],
    )
    return replace(phase, updates=(once,))


def _without_losses(phase: Phase, dropped: set[str]) -> Phase:
    """Without these losses, updates of adversaries, and stops that wait for adversaries."""
    updates = []
    for step in phase.updates:
        losses = {name: weight for name, weight in step.losses.items() if name not in dropped}
        learns = tuple(role for role in step.learns if role != "adversary")
        if losses and learns:
            updates.append(replace(step, losses=losses, learns=learns))
    stop = tuple(one for one in phase.stop if "adversary" not in one.column)
    return replace(phase, updates=tuple(updates), stop=stop)
