"""VITA's training: against adversaries that learn labelled private attributes.

Wu, Wang, Wang, Wang, Wang and Jin, "Privacy-Preserving Deep Action Recognition", TPAMI 2020;
numbers: docs/papers.md 8.4.
"""

from dataclasses import replace
from typing import Literal, Unpack

from masquerade.training.objectives import Labels
from masquerade.training.recipe import AdversarialRecipe, Adversary, OptimizerConfig, Phase
from masquerade.training.recipes import options

AGAINST = options.against(adversarial=0.5)
PAPER = AdversarialRecipe(
    method="vita",
    arguments={"widths": (32, 64, 128), "blocks": 5, "short": 112},
    utility="r3d-18",
    adversaries=(Adversary(network="mobilenet-v2", objective=Labels()),),
    optimizers={
        "anonymizer": OptimizerConfig(lr=1e-4),
        "utility": OptimizerConfig(lr=1e-5),
        "adversary": OptimizerConfig(lr=1e-4),
    },
    phases=(
        options.pretrain(below=0.03, epochs=40),
        Phase(
            name="warmup",
            epochs=80,
            updates=(options.ANONYMIZER_AND_UTILITY, options.ADVERSARY_ALONE),
            same_batch=True,
            stop=options.BOTH_LEARNED,
        ),
        Phase(
            name="adversarial",
            epochs=100,
            updates=(
                AGAINST,
                replace(options.ANONYMIZER_AND_UTILITY, times=8, until_accuracy=0.7),
                replace(options.ADVERSARY_ALONE, times=5),
            ),
        ),
    ),
    batch=16,
    **options.PAPER_FIELDS,
)
TINY = AdversarialRecipe(
    method="vita",
    arguments={"widths": (8, 16, 32), "blocks": 2, "short": 24},
    utility="tiny-3d",
    utility_modality="both",
    adversaries=(Adversary(network="tiny-2d", objective=Labels()),),
    phases=(
        options.pretrain(below=0.06, epochs=20),
        options.WARMUP,
        Phase(  # an update each of the anonymizer and the utility network, two of the adversary
            name="adversarial",
            epochs=20,
            updates=(AGAINST, options.UTILITY_AND_ADVERSARY, options.ADVERSARY_ALONE),
            same_batch=True,
        ),
    ),
    **options.TINY_FIELDS,
)
# The code: the anonymizer wants every attribute to be called present.
CODE = options.ablate(PAPER, adversarial_loss="ones")
PRESETS = {"tiny": TINY, "paper": PAPER, "code": CODE}


def vita(
    *,
    preset: Literal["tiny", "paper", "code"] = "tiny",
    **ablations: Unpack[options.PretrainAblations],
) -> AdversarialRecipe:
    """VITA (TPAMI 2020): labelled adversaries, five updates of theirs to one of the anonymizer.

    The reconstruction is learned by L1, since the perceptual loss of the code needs VGG's weights.

    Args:
        preset: Take the settings of tiny (minutes on two cores), paper, or code (whose anonymizer
            wants every attribute to be called present).
    """
    return options.ablate(options.preset_recipe(PRESETS, preset), **ablations)
