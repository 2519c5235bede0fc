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
)
from masquerade.training.recipes import options

PAPER: dict[str, Any] = dict(
    arguments={"width": 64, "short": 112},
    utility="r3d-18-spact",
    adversaries=(Adversary(network="resnet-50", objective=NTXent()),),
    optimizers=options.same_optimizer(OptimizerConfig(kind="adam", lr=1e-4)),
    batch=24,
    still_batch=64,
    augment=SPACT,
    **options.PAPER,
)
TINY: dict[str, Any] = dict(
    arguments={"width": 8, "short": 24},
    utility="tiny-3d",
    utility_modality="both",
    adversaries=(Adversary(network="tiny-2d", objective=NTXent(width=32)),),
    **options.TINY,
)
PRESETS = {"tiny": TINY, "paper": PAPER, "code": PAPER}
RISING = OptimizerConfig(kind="adam", lr=1e-3, warmup=5)


def spact(
    *,
    preset: Literal["tiny", "paper", "code"] = "tiny",
    **ablations: Unpack[options.PretrainAblations],
) -> AdversarialRecipe:
    """SPAct (CVPR 2022): reproduce the input, warm up, then update on alternating batches.

    Args:
        preset: Take the settings of tiny (minutes on two cores), paper, or code (the paper's code,
            where omega is 1).
    """
    tiny = preset == "tiny"
    omega = 1.0 if preset == "code" else 0.5  # the paper: between 0 and 1
    phases = (
        options.pretrain(  # eq. 4
            below=0.05 if tiny else 0.01,  # the paper gives no th_A0
            epochs=20 if tiny else 80,
            optimizers={} if tiny else {"anonymizer": RISING},
        ),
        Phase(  # eq. 6 and 7
            name="warmup",
            epochs=12 if tiny else 150,
            updates=(options.BOTH,),
            stop=options.BOTH_LEARNED,
            optimizers={} if tiny else {"utility": RISING, "adversary": RISING},
        ),
        Phase(
            name="adversarial",
            epochs=20 if tiny else 300,
            updates=(options.against(adversarial=omega), options.BOTH),  # eq. 9 and 8
            # With ten clips held out one epoch at chance is chance: tiny runs all its epochs.
            stop=() if tiny else (Stop(column="val_adversary_share", above=0.95),),
        ),
    )
    return options.build("spact", PRESETS, preset, phases, **ablations)
