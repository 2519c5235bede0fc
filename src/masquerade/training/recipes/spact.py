"""SPAct's training: against adversaries that tell frames of one video, without private labels.

Dave, Chen and Shah, "SPAct: Self-supervised Privacy Preservation for Action Recognition", CVPR
2022, section 3.3; numbers: docs/papers.md 2.3 and 2.4.
"""

from dataclasses import replace
from typing import Literal, Unpack

from masquerade.datasets.augmentation import SPACT
from masquerade.training.frame_pairs import FREE
from masquerade.training.objectives import NTXent
from masquerade.training.recipe import ROLES, AdversarialRecipe, Adversary, OptimizerConfig, Phase
from masquerade.training.recipes import options

# eq. 9 and 8; omega is 0 to 1
UPDATES = (options.against(adversarial=0.5), options.UTILITY_AND_ADVERSARY)
RISING = OptimizerConfig(kind="adam", lr=1e-3, warmup=5)
PAPER = AdversarialRecipe(
    method="spact",
    arguments={"width": 64, "short": 112},
    utility="r3d-18-spact",
    adversaries=(Adversary(network="resnet-50", objective=NTXent()),),
    optimizers=dict.fromkeys(ROLES, OptimizerConfig(kind="adam", lr=1e-4)),
    phases=(
        # Eq. 4; the paper gives no th_A0.
        options.pretrain(below=0.01, epochs=80, optimizers={"anonymizer": RISING}),
        Phase(  # eq. 6 and 7
            name="warmup",
            epochs=150,
            updates=(options.UTILITY_AND_ADVERSARY,),
            stop=options.BOTH_LEARNED,
            optimizers={"utility": RISING, "adversary": RISING},
        ),
        Phase(
            name="adversarial",
            epochs=300,
            updates=UPDATES,
            stop=(options.at_chance(),),
        ),
    ),
    batch=24,
    still_batch=64,
    gap=FREE,
    augment=SPACT,
    **options.PAPER_FIELDS,
)
TINY = AdversarialRecipe(
    method="spact",
    arguments={"width": 8, "short": 24},
    utility="tiny-3d",
    utility_modality="both",
    adversaries=(Adversary(network="tiny-2d", objective=NTXent(width=32)),),
    phases=(
        options.pretrain(below=0.05, epochs=20),
        options.WARMUP,
        # With ten clips held out some epochs at chance are chance: it runs all its epochs.
        Phase(name="adversarial", epochs=20, updates=UPDATES),
    ),
    **options.TINY_FIELDS,
)
PRESETS = {"tiny": TINY, "paper": PAPER, "code": options.ablate(PAPER, omega=1.0)}


def spact(
    *,
    preset: Literal["tiny", "paper", "code"] = "tiny",
    **ablations: Unpack[options.PretrainAblations],
) -> AdversarialRecipe:
    """SPAct (CVPR 2022): reproduce the input, warm up, then update on alternating batches.

    With --objective labels it is the "supervised" row of the paper's tables.

    Args:
        preset: Take the settings of tiny (minutes on two cores), paper, or code (the paper's code,
            where omega is 1).
    """
    recipe = options.ablate(options.preset_recipe(PRESETS, preset), **ablations)
    labelled = any(adversary.objective.needs_labels for adversary in recipe.adversaries)
    return _supervised(recipe) if labelled and preset != "tiny" else recipe


def _supervised(recipe: AdversarialRecipe) -> AdversarialRecipe:
    """The recipe with the adversary's learning rate and batch that SPAct's code has for labels."""
    optimizers = {**recipe.optimizers, "adversary": OptimizerConfig(kind="adam", lr=5e-5)}
    return replace(recipe, optimizers=optimizers, still_batch=24)
