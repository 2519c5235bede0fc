"""The training of noise features: the action's loss and the reconstruction, without an adversary.

Our reading of Collective (Zhang et al., ICDM 2019, as the "Noisy-Features" row of SPAct and the
"Collective" row of STPrivacy); docs/papers.md 4.
"""

from dataclasses import replace
from typing import Any, Literal, Unpack

from masquerade.datasets.augmentation import SPACT
from masquerade.training.recipe import AdversarialRecipe, OptimizerConfig, Phase
from masquerade.training.recipes import options

PAPER: dict[str, Any] = dict(
    arguments={"noise": 0.5, "width": 64, "short": 112},
    utility="r3d-18",
    optimizers=options.same_optimizer(OptimizerConfig(kind="adam", lr=1e-4)),
    adversaries=(),
    batch=24,
    augment=SPACT,
    **options.PAPER,
)
TINY: dict[str, Any] = dict(
    arguments={"noise": 0.5, "width": 8, "halvings": 2, "short": 24},
    utility="tiny-3d",
    utility_modality="both",
    adversaries=(),
    **options.TINY,
)
PRESETS = {"tiny": TINY, "paper": PAPER}


def noise_features(
    *,
    preset: Literal["tiny", "paper"] = "tiny",
    **ablations: Unpack[options.UtilitySchedule],
) -> AdversarialRecipe:
    """Noise features: the anonymizer and the action network learn together.

    Args:
        preset: Take the settings of tiny (minutes on two cores) or paper.
    """
    joint = Phase(
        name="joint",
        epochs=20 if preset == "tiny" else 150,
        updates=(replace(options.ACTION, losses={"utility": 1.0, "reconstruction": 1.0}),),
        stop=(options.UTILITY_LEARNED,),
    )
    return options.build("noise-features", PRESETS, preset, (joint,), **ablations)
