"""The training of noise features: the action's loss and the reconstruction, without an adversary.

Our reading of Collective (Zhang et al., ICDM 2019, as the "Noisy-Features" row of SPAct and the
"Collective" row of STPrivacy); docs/papers.md 4.
"""

from typing import Any, Literal, Unpack

from masquerade.datasets.augmentation import SPACT
from masquerade.training.recipe import AdversarialRecipe, OptimizerConfig, Phase, UpdateStep
from masquerade.training.recipes import options

PAPER: dict[str, Any] = dict(
    arguments={"noise": 0.5, "width": 64, "short": 112},
    utility="r3d-18",
    optimizers=options.same_optimizer(OptimizerConfig(kind="adam", lr=1e-4)),
    size=(112, 112),
    stride=2,
    stored=options.STORED,
    padding="palindrome",
    batch=24,
    augment=SPACT,
)
TINY: dict[str, Any] = dict(
    arguments={"noise": 0.5, "width": 8, "halvings": 2, "short": 24},
    utility="tiny-3d",
    utility_modality="both",
    **options.TINY,
)


def noise_features(
    *,
    preset: Literal["tiny", "paper"] = "tiny",
    until_utility: options.UntilUtility = None,
    **ablations: Unpack[options.Schedule],
) -> AdversarialRecipe:
    """Noise features: the anonymizer and the action network learn together.

    Args:
        preset: tiny (minutes on two cores) or paper.
    """
    options.check_preset(preset, noise_features)
    tiny = preset == "tiny"
    both = UpdateStep(
        learns=("anonymizer", "utility"), losses={"utility": 1.0, "reconstruction": 1.0}
    )
    stop = options.until_learned(until_utility)[:1]
    recipe = AdversarialRecipe(
        method="noise-features",
        adversaries=(),
        phases=(Phase(name="joint", epochs=20 if tiny else 150, updates=(both,), stop=stop),),
        **(TINY if tiny else PAPER),
    )
    return options.schedule(recipe, **ablations)
