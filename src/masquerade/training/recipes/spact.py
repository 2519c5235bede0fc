"""SPAct's training: against adversaries that tell frames of one video, without private labels.

Dave, Chen and Shah, "SPAct: Self-supervised Privacy Preservation for Action Recognition", CVPR
2022, section 3.3; numbers: docs/papers.md 2.3 and 2.4.
"""

from typing import Any, Literal, Unpack

from masquerade.datasets.augmentation import SPACT
from masquerade.training.objectives import NTXent
from masquerade.training.recipe import (
    AdversarialRecipe,
    Adversary,
    OptimizerConfig,
    Phase,
    Stop,
    UpdateStep,
)
from masquerade.training.recipes import options

PAPER: dict[str, Any] = dict(
    arguments={"width": 64, "short": 112},
    utility="r3d-18-spact",
    adversaries=(Adversary(network="resnet-50", objective=NTXent()),),
    optimizers=options.same_optimizer(OptimizerConfig(kind="adam", lr=1e-4)),
    size=(112, 112),
    stride=2,
    stored=options.STORED,
    padding="palindrome",
    batch=24,
    still_batch=64,
    augment=SPACT,
)
TINY: dict[str, Any] = dict(
    arguments={"width": 8, "short": 24},
    utility="tiny-3d",
    utility_modality="both",
    adversaries=(Adversary(network="tiny-2d", objective=NTXent(width=32)),),
    **options.TINY,
)
OMEGA = {"tiny": 0.5, "paper": 0.5, "code": 1.0}  # the paper: between 0 and 1


def spact(
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
    """SPAct (CVPR 2022): reproduce the input, warm up, then update on alternating batches.

    Args:
        preset: tiny (minutes on two cores), paper, or code (the paper's code, where omega is 1).
    """
    options.check_preset(preset, spact)
    tiny = preset == "tiny"
    first = OptimizerConfig(kind="adam", lr=1e-3, warmup=5)
    weights = options.anonymizer_losses(OMEGA[preset] if omega is None else omega, action_weight)
    threshold = 0.05 if tiny else 0.01  # the paper gives no th_A0
    recipe = AdversarialRecipe(
        method="spact",
        phases=(
            options.pretrain(  # eq. 4
                threshold if until_pretrain is None else until_pretrain,
                epochs=20 if tiny else 80,
                optimizers={} if tiny else {"anonymizer": first},
            ),
            Phase(  # eq. 6 and 7
                name="warmup",
                epochs=12 if tiny else 150,
                updates=(options.BOTH,),
                stop=options.until_learned(until_utility, until_adversary),
                optimizers={} if tiny else {"utility": first, "adversary": first},
            ),
            Phase(
                name="adversarial",
                epochs=20 if tiny else 300,
                updates=(
                    UpdateStep(learns=("anonymizer",), losses=weights),  # eq. 9
                    options.BOTH,  # eq. 8
                ),
                # With ten clips held out one epoch at chance is chance: tiny runs all its epochs.
                stop=() if tiny else (Stop(column="val_adversary_share", above=0.95),),
            ),
        ),
        **(TINY if tiny else PAPER),
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
