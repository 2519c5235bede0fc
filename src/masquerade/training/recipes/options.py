"""Ablations that recipes have in common: their flags, and how they change a recipe.

A recipe names in its signature those that it has; tyro takes the help from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

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

Utility = Annotated[
    str | None, Doc("Another action network, such as r3d-18; a wrong name lists all.")
]
Epochs = Annotated[int | None, Doc("At most, of every phase.")]
Batch = Annotated[int | None, Doc("Clips a step.")]
ImageWeights = Annotated[
    Path | None,
    Doc("A file of an image ViT (DeiT, DINO), from which stprivacy and video ViTs start."),
]
Networks = Annotated[
    tuple[str, ...], Doc("Other networks of the adversaries, such as mobilenet-v1 resnet-50.")
]
ObjectiveName = Annotated[
    Literal["labels", "nt-xent", "moco", "rotation"] | None, Doc("What the adversaries learn.")
]
Wish = Annotated[
    Literal["negative", "entropy", "uniform", "ones"] | None,
    Doc("What the anonymizer minimises against adversaries that learn labels: their negative loss, "
        "their negative entropy, or the cross entropy to equal predictions or to all ones."),
]  # fmt: skip
GapName = Annotated[
    Literal["free", "far", "near"] | None,
    Doc("Between the two frames of a pair in the video: free (any of the clip), far (more than "
        "64) or near (fewer than 8)."),
]  # fmt: skip
Temperature = Annotated[float | None, Doc("Of the similarities in a contrastive objective.")]
Queue = Annotated[int | None, Doc("Frames in the queue of --objective moco.")]
Segments = Annotated[
    bool, Doc("Pairs are runs of frames instead of frames, for networks that see motion.")
]
Combine = Annotated[
    Literal["max", "mean", "sum"] | None,
    Doc("The anonymizer's loss of several adversaries: of each clip the highest, mean or sum."),
]
Omega = Annotated[
    float | None, Doc("Weight of the adversarial loss in the anonymizer's update (SPAct's omega).")
]
ActionWeight = Annotated[float | None, Doc("Weight of the action in the anonymizer's update.")]
Ratio = Annotated[
    int | None, Doc("Updates of the other networks to one of the anonymizer, in the last phase.")
]
Gate = Annotated[
    float | None,
    Doc("In every round the anonymizer and the action network learn the action until this accuracy "
        "on a held-out batch, for 8 updates at most (VITA's monitored accuracy)."),
]  # fmt: skip
Reversal = Annotated[bool, Doc("All networks update at once, the anonymizer by gradient reversal.")]
Idle = Annotated[
    Literal["running", "batch"] | None,
    Doc("How the anonymizer normalises while others learn: by its running statistics, or by those "
        "of the batch."),
]  # fmt: skip
Frozen = Annotated[bool, Doc("The adversaries stop learning when the anonymizer begins to work "
                             "against them.")]  # fmt: skip
Alone = Annotated[bool, Doc("No adversary at all.")]
Restart = Annotated[
    int | None,
    Doc("The adversaries begin from new weights every so many epochs of the last phase."),
]
CatchUp = Annotated[
    int | None, Doc("Updates that restarted adversaries learn alone; 200 where it is not given.")
]
UntilPretrain = Annotated[
    float | None, Doc("Ends the pretraining at this mean L1 to the raw clip (SPAct's th_A0).")
]
UntilUtility = Annotated[
    float | None,
    Doc("Ends the warm-up by this loss of the action network instead of a plateau (th_T0)."),
]
UntilAdversary = Annotated[
    float | None,
    Doc("The same of the adversaries (th_B0); the warm-up ends where both are reached."),
]
UntilBlind = Annotated[
    float | None,
    Doc("Ends the last phase once the adversaries' loss is this times chance, up to 1 (th_Bmax)."),
]

CATCH_UP = 200  # updates, as in VITA's code
GATE_UPDATES = 8

STORED = 32  # frames of a video that are extracted, any 16 in a row of which are a clip
PLATEAU = 4  # epochs without a better loss

BOTH = UpdateStep(learns=("utility", "adversary"), losses={"utility": 1.0, "adversary": 1.0})
"""The utility network and the adversaries learn from the same anonymized clips (SPAct eq. 8)."""


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
    if value is None or (
        math.isfinite(value)
        and (
            (least is None or value >= least) and (above is None or value > above) and value <= most
        )
    ):
        return
    bounds = f"{least} or more" if least is not None else f"above {above}"
    raise UsageError(f"{flag} must be {bounds}{f' and at most {most:g}' * math.isfinite(most)}.")


def anonymizer_losses(
    omega: float, action_weight: float | None, *, action: float = 1.0, **own: float
) -> dict[str, float]:
    """Weights of the anonymizer's update against the adversaries (SPAct eq. 9, STPrivacy eq. 13).

    Args:
        omega: of the adversarial loss.
        action_weight: of the action; None: `action`.
        action: the recipe's own.
        **own: of the anonymizer's own losses.
    """
    in_range("--omega", omega, least=0)
    in_range("--action-weight", action_weight, least=0)
    utility = action if action_weight is None else action_weight
    return {"utility": utility, "adversarial": omega, **own}


def change_schedule(
    recipe: AdversarialRecipe,
    *,
    utility: str | None,
    image_weights: Path | None,
    epochs: int | None,
    batch: int | None,
) -> AdversarialRecipe:
    """A recipe with another action network, fewer epochs, another batch or start weights."""
    in_range("--epochs", epochs, least=1)
    in_range("--batch", batch, least=2)
    _check_network(utility)
    phases = (replace(p, epochs=min(p.epochs, epochs or p.epochs)) for p in recipe.phases)
    return replace(
        recipe,
        utility=utility or recipe.utility,
        image_weights=str(image_weights) if image_weights is not None else recipe.image_weights,
        batch=batch or recipe.batch,
        phases=tuple(phases),
    )


def ablate(
    recipe: AdversarialRecipe,
    *,
    alone: bool = False,
    adversary: tuple[str, ...] = (),
    objective: str | None = None,
    adversarial_loss: str | None = None,
    temperature: float | None = None,
    queue: int | None = None,
    segments: bool = False,
    combine: Literal["max", "mean", "sum"] | None = None,
    ratio: int | None = None,
    gate: float | None = None,
    reversal: bool = False,
    frozen: bool = False,
    restart: int | None = None,
    catch_up: int | None = None,
    until_blind: float | None = None,
    gap: str | None = None,
    idle: Literal["running", "batch"] | None = None,
    **applied: object,
) -> AdversarialRecipe:
    """A recipe with other adversaries or none, and another order of updates in its last phase.

    Arguments are the ablations of those names; `applied` are others of the adversaries, which are
    in the recipe already.
    """
    if idle is not None:
        recipe = replace(recipe, phases=tuple(replace(p, idle=idle) for p in recipe.phases))
    if alone:
        given = dict(
            adversary=adversary,
            objective=objective,
            adversarial_loss=adversarial_loss,
            temperature=temperature,
            queue=queue,
            segments=segments,
            gap=gap,
            combine=combine,
            ratio=ratio,
            gate=gate,
            reversal=reversal,
            frozen=frozen,
            restart=restart,
            catch_up=catch_up,
            until_blind=until_blind,
            **applied,
        )
        for name, value in given.items():
            if value not in (None, False, ()):
                raise UsageError(
                    f"--alone is without an adversary, so leave out --{name.replace('_', '-')}."
                )
        return _without_adversaries(recipe)
    for name in adversary:
        _check_network(name)
    changed = _change_objective(
        recipe.adversaries[0].objective,
        objective,
        adversarial_loss,
        temperature=temperature,
        queue=queue,
        segments=segments,
        gap=gap,
    )
    if reversal:
        _check_reversal(changed, frozen=frozen, gate=gate, ratio=ratio, combine=combine)
    adversaries = tuple(replace(one, objective=changed) for one in recipe.adversaries)
    if adversary:
        adversaries = tuple(Adversary(network=name, objective=changed) for name in adversary)
    *before, last = recipe.phases
    learned = any("adversary" in step.learns for p in before for step in p.updates)
    if frozen and not learned:
        raise UsageError(
            f"{recipe.method} has no phase in which adversaries learn before the last one under "
            "this preset, so that --frozen ones would know nothing."
        )
    last = _change_updates(last, ratio=ratio, gate=gate, reversal=reversal)
    last = _change_restarts(last, restart, catch_up, frozen=frozen)
    last = _change_end(last, until_blind, frozen=frozen)
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
    objective: Objective,
    name: str | None,
    wish: str | None,
    *,
    temperature: float | None,
    queue: int | None,
    segments: bool,
    gap: str | None,
) -> Objective:
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
    given = {"wish": wish, "queue": queue, "temperature": temperature}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
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


def _without_adversaries(recipe: AdversarialRecipe) -> AdversarialRecipe:
    phases = [_without_losses(p, {"adversary", "adversarial"}) for p in recipe.phases]
    return replace(recipe, adversaries=(), phases=tuple(p for p in phases if p.updates))


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
