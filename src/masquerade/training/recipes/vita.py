"""VITA's training: against adversaries that learn labelled private attributes.

Wu, Wang, Wang, Wang, Wang and Jin, "Privacy-Preserving Deep Action Recognition", TPAMI 2020;
numbers: docs/papers.md 8.4.
"""

from dataclasses import replace
from typing import Any, Literal, Unpack

from masquerade.training.objectives import Labels
from masquerade.training.recipe import (
    AdversarialRecipe,
    Adversary,
    OptimizerConfig,
    Phase,
    UpdateStep,
)
from masquerade.training.recipes import options

PAPER: dict[str, Any] = dict(
    arguments={"widths": (32, 64, 128), "blocks": 5, "short": 112},
    utility="r3d-18",
    adversaries=(Adversary(network="mobilenet-v2", objective=Labels()),),
    optimizers={
        "anonymizer": OptimizerConfig(lr=1e-4),
        "utility": OptimizerConfig(lr=1e-5),
        "adversary": OptimizerConfig(lr=1e-4),
    },
    size=(112, 112),
    stride=2,
    stored=options.STORED,
    padding="palindrome",
    batch=16,
)
# The code: the anonymizer wants every attribute to be called present.
CODE = {**PAPER, "adversaries": (Adversary(network="mobilenet-v2", objective=Labels(wish="ones")),)}
TINY: dict[str, Any] = dict(
    arguments={"widths": (8, 16, 32), "blocks": 2, "short": 24},
    utility="tiny-3d",
    utility_modality="both",
    adversaries=(Adversary(network="tiny-2d", objective=Labels()),),
    **options.TINY,
)
ACTION = UpdateStep(learns=("anonymizer", "utility"), losses={"utility": 1.0})


def vita(
    *,
    preset: Literal["tiny", "paper", "code"] = "tiny",
    omega: options.Omega = None,
    action_weight: options.ActionWeight = None,
    segments: options.Segments = False,
    gap: options.GapName = None,
    idle: options.Idle = None,
    reversal: options.Reversal = False,
    frozen: options.Frozen = False,
    alone: options.Alone = False,
    until_pretrain: options.UntilPretrain = None,
    until_utility: options.UntilUtility = None,
    until_adversary: options.UntilAdversary = None,
    **ablations: Unpack[options.Ablations],
) -> AdversarialRecipe:
    """VITA (TPAMI 2020): labelled adversaries, five updates of theirs to one of the anonymizer.

    The reconstruction is learned by L1, since the perceptual loss of the code needs VGG's weights.

    Args:
        preset: tiny (minutes on two cores), paper, or code (whose anonymizer wants every attribute
            to be called present).
    """
    options.check_preset(preset, vita)
    tiny = preset == "tiny"
    against = UpdateStep(
        learns=("anonymizer",),
        losses=options.anonymizer_losses(0.5 if omega is None else omega, action_weight),
    )
    stop = options.until_learned(until_utility, until_adversary)
    if tiny:  # one update of the anonymizer, one of the utility network, two of the adversary
        warmup = Phase(name="warmup", epochs=12, updates=(options.BOTH,), stop=stop)
        updates: tuple[UpdateStep, ...] = (against, options.BOTH, options.PRIVATE)
        last = Phase(name="adversarial", epochs=20, updates=updates, same_batch=True)
    else:
        updates = (ACTION, options.PRIVATE)
        warmup = Phase(name="warmup", epochs=80, updates=updates, same_batch=True, stop=stop)
        updates = (against, replace(ACTION, times=8, until=0.7), replace(options.PRIVATE, times=5))
        last = Phase(name="adversarial", epochs=100, updates=updates)
    threshold = 0.06 if tiny else 0.03
    first = options.pretrain(
        threshold if until_pretrain is None else until_pretrain, epochs=20 if tiny else 40
    )
    recipe = AdversarialRecipe(
        method="vita",
        phases=(first, warmup, last),
        **{"tiny": TINY, "paper": PAPER, "code": CODE}[preset],
    )
    return options.ablate(
        recipe,
        alone=alone,
        frozen=frozen,
        reversal=reversal,
        segments=segments,
        gap=gap,
        idle=idle,
        applied=dict(omega=omega, action_weight=action_weight, until_adversary=until_adversary),
        **ablations,
    )
