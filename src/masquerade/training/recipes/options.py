"""The flags of recipes, with their help and their ranges, and how each of them changes a recipe.

A recipe takes those of one TypedDict, of which tyro makes flags, and applies them with `ablate`.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

from typing_extensions import Doc
from tyro.constructors import PrimitiveConstructorSpec

from masquerade.datasets.augmentation import Augmentation
from masquerade.errors import UsageError
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.ranges import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Share,
    at_least,
    check_ranges,
    flag_of,
)
from masquerade.training.frame_pairs import FREE, GAPS, Gap
from masquerade.training.objectives import OBJECTIVES, Labels, MoCo, Objective, Pairs
from masquerade.training.recipe import (
    BLIND,
    ROLES,
    AdversarialRecipe,
    Adversary,
    OptimizerConfig,
    Phase,
    Role,
    Stop,
    UpdateStep,
)

Switch = Annotated[
    bool | None,
    PrimitiveConstructorSpec(
        nargs=0,
        metavar="",
        instance_from_str=lambda _: True,
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda _: [],
    ),
]
"""A flag without a value; of a plain bool that has no default tyro would make --no-NAME."""


class Schedule(TypedDict, total=False):
    """Flags of every recipe."""

    utility: Annotated[str, Doc("Train this action network, e.g. r3d-18; a wrong name lists all.")]
    image_weights: Annotated[
        Path, Doc("Start stprivacy and video ViTs from this file of an image ViT (DeiT, DINO).")
    ]
    epochs: Annotated[PositiveInt, Doc("End every phase after this many epochs at the latest.")]
    batch: Annotated[int, at_least(2), Doc("Train on this many clips a step.")]
    stride: Annotated[
        PositiveInt,
        Doc("Take frames of a clip that are this many source frames apart (2 under paper)."),
    ]
    aspect: Annotated[
        Literal["squeeze", "crop"],
        Doc("Squeeze whole frames to the clip's size, or keep their aspect and crop (paper)."),
    ]
    no_mirror: Annotated[
        Switch, Doc("Train without mirror images, for actions that have a left and a right.")
    ]


class UtilitySchedule(Schedule, total=False):
    """Flags of a recipe whose action network learns until a threshold."""

    until_utility: Annotated[
        PositiveFloat,
        Doc("End the warm-up at this loss of the action network, not a plateau (th_T0)."),
    ]


class Ablations(Schedule, total=False):
    """Flags of a recipe with adversaries."""

    omega: Annotated[NonNegativeFloat, Doc("Weight the adversarial loss by this (SPAct's omega).")]
    action_weight: Annotated[
        NonNegativeFloat, Doc("Weight the action's loss by this against adversaries.")
    ]
    segments: Annotated[Switch, Doc("Compare runs of frames, for networks that see motion.")]
    reversal: Annotated[Switch, Doc("Update all networks at once, by gradient reversal.")]
    frozen: Annotated[Switch, Doc("Stop the adversaries' learning before the last phase.")]
    no_adversary: Annotated[Switch, Doc("Train without any adversary.")]
    adversary: Annotated[
        tuple[str, ...], Doc("Train against these networks, such as mobilenet-v1 resnet-50.")
    ]
    objective: Annotated[
        Literal["labels", "nt-xent", "moco", "rotation"],
        Doc("Train the adversaries on labels, pairs of frames (nt-xent, moco) or rotations."),
    ]
    adversarial_loss: Annotated[
        Literal["negative", "entropy", "uniform", "ones"],
        Doc(
            "Let the anonymizer minimise this against adversaries that learn labels: their "
            "negative loss, their negative entropy, or the cross entropy to equal predictions or "
            "to all ones."
        ),
    ]
    temperature: Annotated[
        PositiveFloat, Doc("Divide a contrastive objective's similarities by this.")
    ]
    queue: Annotated[
        PositiveInt, Doc("Remember this many frames in the queue of --objective moco.")
    ]
    combine: Annotated[
        Literal["max", "mean", "sum"],
        Doc("Combine the anonymizer's losses of several adversaries, clip by clip, like this."),
    ]
    ratio: Annotated[
        PositiveInt,
        Doc("In the last phase, update the other networks this often per anonymizer update."),
    ]
    gate: Annotated[
        Share,
        Doc(
            "In every round, train the anonymizer and the action network on the action until this "
            "accuracy on a held-out batch, for 8 updates at most (VITA's monitored accuracy)."
        ),
    ]
    restart: Annotated[
        PositiveInt, Doc("Give the adversaries new weights every so many epochs of the last phase.")
    ]
    catch_up: Annotated[
        int, at_least(0), Doc("Let restarted adversaries learn alone this often (200 by default).")
    ]
    until_blind: Annotated[
        Share,
        Doc(
            "End the last phase once the adversaries' loss stays for 3 epochs at this share of "
            "chance or more, yet not much above chance (th_Bmax)."
        ),
    ]


class WarmupAblations(UtilitySchedule, Ablations, total=False):
    """Flags of a recipe with adversaries that warm up."""

    until_adversary: Annotated[
        PositiveFloat, Doc("End the warm-up at this adversary loss, too, not a plateau (th_B0).")
    ]


class PretrainAblations(WarmupAblations, total=False):
    """Flags of a recipe with adversaries that warm up, and a pretrained anonymizer of frames."""

    gap: Annotated[
        Literal["free", "far", "near"],
        Doc("Pair frames any distance apart (free), over 64 frames (far) or under 8 (near)."),
    ]
    anonymizer_norms: Annotated[
        Literal["running", "batch"],
        Doc("Normalise the anonymizer by these statistics while others learn."),
    ]
    until_pretrain: Annotated[PositiveFloat, Doc("End pretraining at this mean L1 to raw (th_A0).")]


PAIRS = (Pairs, "pairs (--objective nt-xent or moco)")
OBJECTIVES_OF_FLAGS: dict[str, tuple[type[Objective], str]] = {
    **dict.fromkeys(("gap", "segments", "temperature"), PAIRS),
    "adversarial_loss": (Labels, "--objective labels"),
    "queue": (MoCo, "--objective moco"),
}
"""The objective that each flag needs, as a class and in words."""
REPLACED = ("utility", "batch", "stride", "aspect")
"""Flags whose value is the recipe's field of their name."""
THRESHOLDS = {
    "until_pretrain": "val_reconstruction",
    "until_utility": "train_utility",
    "until_adversary": "train_adversary",
}
"""The column of the log whose threshold each flag sets."""
WITHOUT_ADVERSARY = {"until_pretrain", "until_utility", "anonymizer_norms", "no_adversary"}
"""What is of the anonymizer and the action network alone, beside the flags of every recipe."""
CATCH_UP = 200  # updates, as in VITA's code
PLATEAU = 4  # epochs without a better loss
BLIND_EPOCHS = 3  # in a row

UTILITY_AND_ADVERSARY = UpdateStep(
    learns=("utility", "adversary"), losses={"utility": 1.0, "adversary": 1.0}
)
"""The utility network and the adversaries learn from the same anonymized clips (SPAct eq. 8)."""
ADVERSARY_ALONE = UpdateStep(learns=("adversary",), losses={"adversary": 1.0})
ANONYMIZER_AND_UTILITY = UpdateStep(learns=("anonymizer", "utility"), losses={"utility": 1.0})
UTILITY_LEARNED = Stop(column="train_utility", plateau=PLATEAU)
BOTH_LEARNED = (UTILITY_LEARNED, Stop(column="train_adversary", plateau=PLATEAU))
WARMUP = Phase(name="warmup", epochs=12, updates=(UTILITY_AND_ADVERSARY,), stop=BOTH_LEARNED)
"""Of the tiny presets."""

TINY_FIELDS: dict[str, Any] = dict(
    widths=(16, 32, 64, 128),
    group_norm=True,
    optimizers=dict.fromkeys(ROLES, OptimizerConfig(kind="adam", lr=1e-3, clip=1.0)),
    frames=8,
    size=(24, 32),
    batch=16,
    min_steps=24,
    augment=Augmentation(crop=(0.8, 1.0), flip=0.5),
)
"""Fields that the tiny presets have in common."""
WHOLE_VIDEO_FIELDS: dict[str, Any] = dict(size=(112, 112), aspect="crop", stride=2, windows=8)
"""Eight windows of 16 frames are stored of each video, 4.8 MB together; training draws one."""
PAPER_FIELDS: dict[str, Any] = WHOLE_VIDEO_FIELDS | dict(padding="palindrome")
"""The same; short videos are played back and forth (SPAct)."""


def against(*, adversarial: float, utility: float = 1.0, **own: float) -> UpdateStep:
    """Return the anonymizer's update against the adversaries, by the weights of its losses."""
    losses = {"utility": utility, "adversarial": adversarial, **own}
    return UpdateStep(learns=("anonymizer",), losses=losses)


def at_chance(share: float = BLIND) -> Stop:
    """Return the stop of a phase whose adversaries' loss stays near that of a guess (SPAct).

    `share` is the least share of a guess's loss. An adversary whose anonymizer has just moved is
    confidently wrong: its loss is above chance, or passes it by in one epoch, while all that it
    read is still there. Hence a range of losses and several epochs in a row.
    """
    most = 2 - min(share, BLIND)
    return Stop(column="val_adversary_share", above=share, most=most, times=BLIND_EPOCHS)


def pretrain(
    *, below: float, epochs: int, optimizers: Mapping[Role, OptimizerConfig] | None = None
) -> Phase:
    """Return the phase in which the anonymizer learns to reproduce its input (SPAct eq. 4)."""
    return Phase(
        name="pretrain",
        epochs=epochs,
        updates=(UpdateStep(learns=("anonymizer",), losses={"reconstruction": 1.0}),),
        stop=(Stop(column="val_reconstruction", below=below),),
        optimizers=optimizers or {},
        skip_if_started=True,
    )


def preset_recipe(presets: Mapping[str, AdversarialRecipe], preset: str) -> AdversarialRecipe:
    """Return the recipe of one preset; refuse an unknown one."""
    if preset not in presets:
        method = next(iter(presets.values())).method
        raise UsageError(f"{method} has no preset {preset!r}; it has {', '.join(presets)}.")
    return presets[preset]


def ablate(recipe: AdversarialRecipe, **given: Unpack[PretrainAblations]) -> AdversarialRecipe:
    """Return the recipe with the changes that the given flags ask for."""
    flags: dict[str, Any] = {k: v for k, v in given.items() if v is not None and v is not False}
    _check_flags(flags)
    recipe = _change_schedule(recipe, flags)
    if "no_adversary" in flags:
        return _without_adversary(recipe, flags)
    return _change_adversaries(recipe, flags) if recipe.adversaries else recipe


def _check_flags(flags: Mapping[str, Any]) -> None:
    """Refuse values that no recipe takes, and flags that contradict each other."""
    if flags.get("adversary") == ():
        raise UsageError("--adversary names no network: name some, or give --no-adversary.")
    for network in (*flags.get("adversary", ()), flags.get("utility")):
        if network is not None and network not in RECOGNIZERS:
            known = ", ".join(RECOGNIZERS)
            raise UsageError(f"there is no network {network!r}; choose of {known}.")
    check_ranges(PretrainAblations, flags)
    if {"frozen", "restart"} <= flags.keys():
        raise UsageError("--frozen adversaries would never learn again after a --restart.")
    if {"frozen", "until_blind"} <= flags.keys():
        raise UsageError("--frozen adversaries are at chance soon, so leave out --until-blind.")
    if {"gap", "segments"} <= flags.keys():
        raise UsageError("--gap is between two frames, and --segments compares runs of them.")
    for name in ("frozen", "gate", "ratio", "combine"):
        if {"reversal", name} <= flags.keys():
            raise UsageError(f"With --reversal all take one step, so leave out --{name}.")


def _change_schedule(recipe: AdversarialRecipe, flags: Mapping[str, Any]) -> AdversarialRecipe:
    """Change the action network, start weights, batch, epochs, norms and thresholds."""
    below = {column: flags[name] for name, column in THRESHOLDS.items() if name in flags}
    if not below.keys() <= {stop.column for phase in recipe.phases for stop in phase.stop}:
        raise UsageError(
            f"{recipe.method} has no warm-up under this preset, so leave out --until-utility and "
            "--until-adversary."
        )
    phases = []
    for phase in recipe.phases:
        epochs = min(phase.epochs, flags.get("epochs", phase.epochs))
        norms = flags.get("anonymizer_norms", phase.anonymizer_norms)
        stop = list(phase.stop)
        for at, condition in enumerate(phase.stop):
            if condition.column in below:
                stop[at] = Stop(column=condition.column, below=below[condition.column])
        phases.append(replace(phase, epochs=epochs, anonymizer_norms=norms, stop=tuple(stop)))
    changes = {name: flags[name] for name in REPLACED if name in flags}
    if "stride" in flags and recipe.stride is None:  # else clips were of the first frames alone
        changes["windows"] = WHOLE_VIDEO_FIELDS["windows"]
    if "no_mirror" in flags:
        changes["augment"] = replace(recipe.augment, flip=0.0)
    if "image_weights" in flags:
        changes["image_weights"] = str(flags["image_weights"])
    return replace(recipe, phases=tuple(phases), **changes)


def _without_adversary(recipe: AdversarialRecipe, flags: Mapping[str, Any]) -> AdversarialRecipe:
    for name, value in flags.items():
        if value and name not in WITHOUT_ADVERSARY | Schedule.__annotations__.keys():
            flag = flag_of(name)
            raise UsageError(f"--no-adversary is without an adversary, so leave out {flag}.")
    phases = [_without_losses(p, {"adversary", "adversarial"}) for p in recipe.phases]
    return replace(recipe, adversaries=(), gap=None, phases=tuple(p for p in phases if p.updates))


def _change_adversaries(recipe: AdversarialRecipe, flags: Mapping[str, Any]) -> AdversarialRecipe:
    """Change the adversaries, and the updates and the end of the last phase."""
    objective = _change_objective(recipe.adversaries[0].objective, flags)
    adversaries = tuple(replace(adversary, objective=objective) for adversary in recipe.adversaries)
    if flags.get("adversary"):
        adversaries = tuple(
            Adversary(network=name, objective=objective) for name in flags["adversary"]
        )
    loss = getattr(objective, "anonymizer_loss", "negative")
    if "reversal" in flags and loss != "negative":
        raise UsageError(
            f"--reversal negates the adversaries' loss, and here the anonymizer's is {loss}: give "
            "--adversarial-loss negative."
        )
    *before, last = recipe.phases
    if "frozen" in flags:
        if not any("adversary" in update.learns for phase in before for update in phase.updates):
            raise UsageError(
                f"{recipe.method} has no phase in which adversaries learn before the last one "
                "under this preset, so that --frozen ones would know nothing."
            )
        last = _without_losses(last, {"adversary"})
    last = _change_updates(last, flags)
    if "restart" in flags:
        last = replace(last, restart=flags["restart"], catch_up=flags.get("catch_up", CATCH_UP))
    elif "catch_up" in flags:
        raise UsageError(
            "--catch-up trains adversaries that a --restart has reset: give --restart EPOCHS too."
        )
    if "until_blind" in flags:
        others = (stop for stop in last.stop if stop.column != "val_adversary_share")
        last = replace(last, stop=(*others, at_chance(flags["until_blind"])))
    return replace(
        recipe,
        adversaries=adversaries,
        combine=flags.get("combine", recipe.combine),
        gap=_gap(recipe, objective, flags),
        phases=(*before, last),
    )


def _gap(recipe: AdversarialRecipe, objective: Objective, flags: Mapping[str, Any]) -> Gap | None:
    """The gap whose frames pairs are drawn from; None: pairs come from the clip's own frames."""
    if not isinstance(objective, Pairs) or objective.segments:
        return None
    gap = GAPS[flags["gap"]] if "gap" in flags else recipe.gap
    return None if gap == FREE and recipe.stride is None else gap


def _change_objective(objective: Objective, flags: Mapping[str, Any]) -> Objective:
    name = flags.get("objective")
    if name is not None and not isinstance(objective, OBJECTIVES[name]):
        kind = OBJECTIVES[name]  # with what both have, such as the width of pairs
        both = {setting.name for setting in fields(objective)} & {
            setting.name for setting in fields(kind)
        }
        objective = kind(**{key: getattr(objective, key) for key in both})
    for name, (kind, words) in OBJECTIVES_OF_FLAGS.items():
        if name in flags and not isinstance(objective, kind):
            flag = flag_of(name)
            raise UsageError(f"{flag} is of {words}; leave it out, or change --objective.")
    changes = {key: flags[key] for key in ("segments", "temperature", "queue") if key in flags}
    if "adversarial_loss" in flags:
        changes["anonymizer_loss"] = flags["adversarial_loss"]
    return replace(objective, **changes)


def _change_updates(phase: Phase, flags: Mapping[str, Any]) -> Phase:
    """Change the weights, repetitions and order of a phase's updates."""
    asked = {"adversarial": flags.get("omega"), "utility": flags.get("action_weight")}
    weights = {loss: weight for loss, weight in asked.items() if weight is not None}
    updates, learned = [], set[Role]()
    for update in phase.updates:
        if "adversarial" in update.losses:
            update = replace(update, losses={**update.losses, **weights})
        elif "anonymizer" not in update.learns and "ratio" in flags:
            if learned.issuperset(update.learns):  # they have had theirs, as in vita's tiny recipe
                continue
            update = replace(update, times=flags["ratio"])
            learned.update(update.learns)
        updates.append(update)
    if "gate" in flags:
        updates = [update for update in updates if update.until_accuracy is None]
        at = next(i for i, update in enumerate(updates) if "adversarial" in update.losses)
        gate = replace(ANONYMIZER_AND_UTILITY, times=8, until_accuracy=flags["gate"])
        updates.insert(at + 1, gate)  # right after the anonymizer's update (VITA)
    if "reversal" in flags:  # Ganin & Lempitsky, ICML 2015
        losses = dict(next(update.losses for update in updates if "adversarial" in update.losses))
        reversal = losses.pop("adversarial")
        roles: tuple[Role, ...] = ("anonymizer", "utility", "adversary")
        updates = [UpdateStep(learns=roles, losses={**losses, "adversary": 1.0}, reversal=reversal)]
    return replace(phase, updates=tuple(updates))


def _without_losses(phase: Phase, dropped: set[str]) -> Phase:
    """Leave out these losses, updates of adversaries, and stops that wait for adversaries."""
    updates = []
    for update in phase.updates:
        losses = {name: weight for name, weight in update.losses.items() if name not in dropped}
        learns = tuple(role for role in update.learns if role != "adversary")
        if losses and learns:
            updates.append(replace(update, losses=losses, learns=learns))
    stop = tuple(condition for condition in phase.stop if "adversary" not in condition.column)
    return replace(phase, updates=tuple(updates), stop=stop)
