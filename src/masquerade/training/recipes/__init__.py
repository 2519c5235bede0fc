"""Published recipes of adversarial training; RECIPES, one table.

Each function applies the flags of `masquerade train` to a preset: `paper` is what the paper says,
`code` what its code does where it differs, `tiny` what learns in minutes on two cores. Thresholds
that no paper gives are ours.
"""

from collections.abc import Callable

from masquerade.errors import UsageError
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.recipes.bdq import bdq
from masquerade.training.recipes.noise_features import noise_features
from masquerade.training.recipes.spact import spact
from masquerade.training.recipes.stprivacy import stprivacy
from masquerade.training.recipes.vita import vita

RECIPES: dict[str, Callable[..., AdversarialRecipe]] = {
    "spact": spact,
    "vita": vita,
    "bdq": bdq,
    "noise-features": noise_features,
    "stprivacy": stprivacy,
}
"""By method; a new recipe is a file and a line."""


def recipe_function(name: str) -> Callable[..., AdversarialRecipe]:
    """The function of a recipe, by the method's name in RECIPES."""
    if name not in RECIPES:
        raise UsageError(f"there is no recipe for {name!r}; choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]
