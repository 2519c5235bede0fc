"""BDQ's training: the encoder and the target network update together, then the adversary.

Kumawat and Nagahara, "Privacy-Preserving Action Recognition via Motion Difference Quantization",
ECCV 2022, section 3.4; numbers: docs/papers.md 8.2.
"""

from dataclasses import replace
from typing import Literal, Unpack

from masquerade.training.objectives import Labels
from masquerade.training.recipe import ROLES, AdversarialRecipe, Adversary, OptimizerConfig, Phase
from masquerade.training.recipes import options

LAST = Phase(
    name="adversarial",
    epochs=100,
    updates=(
        replace(options.against(adversarial=2.0), learns=("anonymizer", "utility")),  # eq. 6
        options.ADVERSARY_ALONE,  # eq. 7
    ),
    same_batch=True,
)
PAPER = AdversarialRecipe(
    method="bdq",
    arguments={"sigma": 3.0, "bits": 4, "slope": 5.0, "short": 224},
    utility="i3d-r50",
    adversaries=(Adversary(network="resnet-50", objective=Labels(anonymizer_loss="entropy")),),
    phases=(LAST,),
    optimizers=dict.fromkeys(
        ROLES, OptimizerConfig(kind="sgd", lr=0.01, momentum=0.9, weight_decay=1e-5, cosine=True)
    ),
    # at this size eight windows of each video would be much to keep
    **options.WHOLE_VIDEO_FIELDS | {"size": (224, 224), "windows": 4},
    batch=256,
)
# The code publishes the output of its soft quantiser.
CODE = PAPER.with_arguments({**PAPER.arguments, "soft": True})
SGD = OptimizerConfig(kind="sgd", lr=0.01, momentum=0.9)
TINY = AdversarialRecipe(
    method="bdq",
    arguments={"sigma": 1.0, "short": 24},
    utility="tiny-3d",
    adversaries=(Adversary(network="tiny-2d", objective=Labels(anonymizer_loss="entropy")),),
    # In ten epochs the adversary learns nothing yet, and the limits stay where they began.
    phases=(options.WARMUP, replace(LAST, epochs=60)),
    **options.TINY_FIELDS | {"optimizers": options.TINY_FIELDS["optimizers"] | {"anonymizer": SGD}},
)
PRESETS = {"tiny": TINY, "paper": PAPER, "code": CODE}


def bdq(
    *,
    preset: Literal["tiny", "paper", "code"] = "tiny",
    **ablations: Unpack[options.WarmupAblations],
) -> AdversarialRecipe:
    """BDQ (ECCV 2022): the anonymizer maximises the entropy of the adversary's predictions.

    Args:
        preset: Take the settings of tiny (minutes on two cores, with a warm-up), paper, or code
            (which publishes what its soft quantiser gives).
    """
    return options.ablate(options.preset_recipe(PRESETS, preset), **ablations)
