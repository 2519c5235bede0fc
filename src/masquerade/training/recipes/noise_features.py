"""The training of noise features: the action's loss and the reconstruction, without an adversary.

Our reading of Collective (Zhang et al., ICDM 2019, as the "Noisy-Features" row of SPAct and the
"Collective" row of STPrivacy); docs/papers.md 4.
"""

from dataclasses import replace
from typing import Literal, Unpack

from masquerade.datasets.augmentation import SPACT
from masquerade.training.recipe import ROLES, AdversarialRecipe, OptimizerConfig, Phase
from masquerade.training.recipes import options

JOINT = Phase(
    name="joint",
    epochs=150,
    updates=(
        replace(options.ANONYMIZER_AND_UTILITY, losses={"utility": 1.0, "reconstruction": 1.0}),
    ),
    stop=(options.UTILITY_LEARNED,),
)
PAPER = AdversarialRecipe(
    method="noise-features",
    arguments={"noise": 0.5, "width": 64, "short": 112},
    utility="r3d-18",
    adversaries=(),
    phases=(JOINT,),
    optimizers=dict.fromkeys(ROLES, OptimizerConfig(kind="adam", lr=1e-4)),
    batch=24,
    augment=SPACT,
    **options.PAPER_FIELDS,
)
TINY = AdversarialRecipe(
    method="noise-features",
    arguments={"noise": 0.5, "width": 8, "halvings": 2, "short": 24},
    utility="tiny-3d",
    utility_modality="both",
    adversaries=(),
    phases=(replace(JOINT, epochs=20),),
    **options.TINY_FIELDS,
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
    return options.ablate(options.preset_recipe(PRESETS, preset), **ablations)
