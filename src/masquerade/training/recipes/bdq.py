"""BDQ's training: the encoder and the target network update together, then the adversary.

Kumawat and Nagahara, "Privacy-Preserving Action Recognition via Motion Difference Quantization",
ECCV 2022, section 3.4; numbers: docs/papers.md 8.2.
"""

from typing import Any, Literal, Unpack

from masquerade.errors import UsageError
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
    arguments={"sigma": 3.0, "bits": 4, "slope": 5.0, "short": 224},
    utility="i3d-r50",
    adversaries=(Adversary(network="resnet-50", objective=Labels(wish="entropy")),),
    optimizers=options.same_optimizer(
        OptimizerConfig(kind="sgd", lr=0.01, momentum=0.9, weight_decay=1e-5, cosine=True)
    ),
    size=(224, 224),
    stride=2,
    batch=256,
)
# The code publishes the output of its soft quantiser.
CODE = {**PAPER, "arguments": {**PAPER["arguments"], "soft": True}}
TINY: dict[str, Any] = dict(
    arguments={"sigma": 1.0, "short": 24},
    utility="tiny-3d",
    adversaries=(Adversary(network="tiny-2d", objective=Labels(wish="entropy")),),
    **options.TINY
    | {
        "optimizers": options.TINY["optimizers"]
        | {"anonymizer": OptimizerConfig(kind="sgd", lr=0.01, momentum=0.9)}
    },
)


def bdq(
    *,
    preset: Literal["tiny", "paper", "code"] = "tiny",
    omega: options.Omega = None,
    action_weight: options.ActionWeight = None,
    segments: options.Segments = False,
    reversal: options.Reversal = False,
    frozen: options.Frozen = False,
    alone: options.Alone = False,
    until_utility: options.UntilUtility = None,
    until_adversary: options.UntilAdversary = None,
    **ablations: Unpack[options.Ablations],
) -> AdversarialRecipe:
    """BDQ (ECCV 2022): the anonymizer maximises the entropy of the adversary's predictions.

    Args:
        preset: tiny (minutes on two cores, with a warm-up), paper, or code (which publishes what
            its soft quantiser gives).
    """
    options.check_preset(preset, bdq)
    tiny = preset == "tiny"
    weights = options.anonymizer_losses(2.0 if omega is None else omega, action_weight)
    # In ten epochs the adversary learns nothing yet, and the limits stay where they began.
    last = Phase(
        name="adversarial",
        epochs=60 if tiny else 100,
        updates=(
            UpdateStep(learns=("anonymizer", "utility"), losses=weights),  # eq. 6
            options.PRIVATE,  # eq. 7
        ),
        same_batch=True,
    )
    phases: tuple[Phase, ...] = (last,)
    if tiny:
        stop = options.until_learned(until_utility, until_adversary)
        warmup = Phase(name="warmup", epochs=12, updates=(options.BOTH,), stop=stop)
        phases = (warmup, last)
    elif until_utility is not None or until_adversary is not None:
        raise UsageError("bdq has no warm-up under this preset, so leave out --until-utility and "
                         "--until-adversary.")  # fmt: skip
    recipe = AdversarialRecipe(
        method="bdq", phases=phases, **{"tiny": TINY, "paper": PAPER, "code": CODE}[preset]
    )
    return options.ablate(
        recipe,
        alone=alone,
        frozen=frozen,
        reversal=reversal,
        segments=segments,
        applied=dict(omega=omega, action_weight=action_weight, until_adversary=until_adversary),
        **ablations,
    )
