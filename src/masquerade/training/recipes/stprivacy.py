"""STPrivacy: recognizers learn raw video, the anonymizer is initialised, then trained against them.

Li et al., "STPrivacy: Spatio-Temporal Privacy-Preserving Action Recognition", ICCV 2023, section
4.3, and its preprint; numbers: docs/papers.md 1.9, 1.10 and 8.1.
"""

from dataclasses import replace
from typing import Literal, Unpack

from masquerade.methods import METHODS
from masquerade.training.objectives import Labels
from masquerade.training.recipe import (
    ROLES,
    AdversarialRecipe,
    Adversary,
    OptimizerConfig,
    Phase,
    UpdateStep,
)
from masquerade.training.recipes import options

LR_OF_512 = 1e-3  # the highest learning rate of AdamW at a batch of 512
RAW = replace(options.UTILITY_AND_ADVERSARY, raw_clips=True)
INITIALISE = UpdateStep(  # preprint, eq. 12
    learns=("anonymizer", "auxiliary"), losses={"auxiliary": 1.0, "ratio": 1.0}
)
AGAINST = options.against(utility=0.5, adversarial=0.5, ratio=1.0)  # eq. 13
PAPER = AdversarialRecipe(
    method="stprivacy",
    arguments={"strict": False, "out": "linear"},
    utility="vit-s-video",
    # The negated loss is capped, since eq. 13 is not bounded below.
    adversaries=(Adversary(network="vit-s-video", objective=Labels()),),
    phases=(
        Phase(name="warmup", epochs=80, updates=(RAW,)),
        Phase(name="initialise", epochs=80, updates=(INITIALISE,)),
        Phase(
            name="adversarial",
            epochs=40,
            updates=(AGAINST, options.UTILITY_AND_ADVERSARY),
            same_batch=True,
        ),
    ),
    optimizers=dict.fromkeys(
        ROLES,
        OptimizerConfig(kind="adamw", lr=LR_OF_512 * 32 / 512, weight_decay=0.05, cosine=True),
    ),
    batch=32,
    tolerance=0.05,
    **options.WHOLE_VIDEO_FIELDS,
)
# The attention of the code, through which dropped tokens leak (docs/papers.md 1.5).
CODE = PAPER.with_arguments({**PAPER.arguments, "softmax": "dynamicvit"})
ADAMW = OptimizerConfig(kind="adamw", lr=1e-3, weight_decay=0.05, warmup=1, cosine=True, clip=1.0)
KEEP = {"rebuilt": 1.0, "ratio": 4.0}
SELECT = UpdateStep(learns=("anonymizer",), losses={"utility": 1.0, "ratio": 4.0})
LEARN = UpdateStep(learns=("anonymizer", "utility"), losses={"utility": 1.0, **KEEP})
TINY = AdversarialRecipe(
    method="stprivacy",
    arguments=METHODS["stprivacy"].presets["tiny"],
    utility="tiny-3d",  # a small CNN, as is the adversary (docs/papers.md 8.5)
    utility_modality="both",
    adversaries=(Adversary(network="tiny-3d", objective=Labels()),),
    phases=(
        # It begins by reproducing what it keeps: no network reads an action from random pixels.
        Phase(
            name="pretrain",
            epochs=3,
            updates=(UpdateStep(learns=("anonymizer",), losses=KEEP),),
            optimizers={"anonymizer": replace(ADAMW, lr=2e-3)},
            skip_if_started=True,
        ),
        # Recognizers learn what it would give if it hid nothing.
        Phase(name="warmup", epochs=5, updates=(RAW,)),
        # Pretraining leaves to chance what is dropped, and recognizers that learn along get used to
        # any choice (one seed in five dropped what moves): fixed ones first lead it to what moves.
        # Reconstruction has no say here: it shares features with the predictors and would pull them
        # back.
        Phase(name="select", epochs=2, updates=(SELECT,)),
        Phase(
            name="initialise", epochs=12, updates=(LEARN, options.ADVERSARY_ALONE), same_batch=True
        ),
        Phase(
            name="adversarial",
            epochs=10,
            updates=(options.against(adversarial=1.0, ratio=8.0), options.UTILITY_AND_ADVERSARY),
            same_batch=True,
            # At the others' rate and with `draw` gumbel one seed in two dropped all.
            optimizers={"anonymizer": replace(ADAMW, lr=3e-4)},
        ),
    ),
    tolerance=0.1,
    **options.TINY_FIELDS
    | {
        "optimizers": dict.fromkeys(ROLES, ADAMW),
        "size": (32, 32),
        "min_steps": 112,  # predictors need some 1,300 steps to find people; few clips are repeated
    },
)
PRESETS = {"tiny": TINY, "paper": PAPER, "code": CODE}


def stprivacy(
    *,
    preset: Literal["tiny", "paper", "code"] = "tiny",
    **ablations: Unpack[options.Ablations],
) -> AdversarialRecipe:
    """STPrivacy (ICCV 2023): 80 epochs of initialisation, 40 against the recognizers.

    Args:
        preset: Take the settings of tiny (minutes on two cores), paper, or code (whose attention
            leaks dropped tokens).
    """
    recipe = options.ablate(options.preset_recipe(PRESETS, preset), **ablations)
    if preset == "tiny":
        return recipe
    # 1e-3 x batch / 512 (docs/papers.md 1.10): a larger batch takes larger steps.
    scaled = {
        role: replace(optimizer, lr=LR_OF_512 * recipe.batch / 512)
        for role, optimizer in recipe.optimizers.items()
    }
    return replace(recipe, optimizers=scaled)
