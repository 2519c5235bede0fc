"""The clips of a training run, and which of them could not be read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from masquerade.datasets.manifest import Manifest
from masquerade.errors import MasqueradeError
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.extraction.store import ClipCache
from masquerade.training.frame_pairs import Gap
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.recipes.options import WHOLE_VIDEO_FIELDS
from masquerade.training.rows import LEAST_VALIDATION, TrainingRows


def clip_config(recipe: AdversarialRecipe) -> ExtractionConfig:
    """How a recipe's clips are cut."""
    return ExtractionConfig(
        frames=recipe.frames,
        size=recipe.size,
        aspect=recipe.aspect,
        stride=recipe.stride,
        windows=recipe.windows,
        padding=recipe.padding,
    )


def pair_recipe(recipe: AdversarialRecipe, gap: Gap) -> AdversarialRecipe:
    """Change a recipe so that its clips hold the frames from which pairs with a gap are drawn.

    Frames that are some stride apart come from as many places of the video as the recipe's clips,
    or where these are spread over all of it, from as many as the papers' recipes have.
    """
    windows = recipe.windows if recipe.stride else WHOLE_VIDEO_FIELDS["windows"]
    if gap.stride is None:
        windows = 1
    return replace(recipe, frames=gap.frames, stride=gap.stride, windows=windows, padding="repeat")


def still_recipe(recipe: AdversarialRecipe) -> AdversarialRecipe:
    """Change a recipe so that its clips are single, uncropped pictures (docs/papers.md 2.5)."""
    return replace(recipe, frames=1, stride=None, windows=1, aspect="squeeze")


def extract_training_clips(
    manifest: Manifest,
    rows: TrainingRows,
    recipe: AdversarialRecipe,
    *,
    workers: int = 1,
    cache: Path | ClipCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ClipDataset, ClipDataset]:
    """Extract a recipe's clips to learn from and held out, whose rows are those of the manifest."""
    used = np.sort(np.concatenate([rows.train, rows.validation]))
    extracted = extract_clips(
        manifest.take(used), clip_config(recipe), workers=workers, cache=cache, progress=progress
    )
    skipped = {int(used[row]): why for row, why in extracted.skipped.items()}
    dataset = replace(extracted, rows=used[extracted.rows], skipped=skipped)
    learn, held_out = dataset.of_rows(rows.train), dataset.of_rows(rows.validation)
    if min(len(learn), len(held_out)) < LEAST_VALIDATION:
        unread = describe_skipped(manifest, dataset)
        raise MasqueradeError(
            f"Training needs two clips and two others held out; there are {len(learn)} and "
            f"{len(held_out)}{f': {unread}' if unread else ''}. Give more clips."
        )
    return learn, held_out


def describe_skipped(manifest: Manifest, dataset: ClipDataset) -> str | None:
    """How many of a manifest's clips could not be read, and why the first; None: all were."""
    if not dataset.skipped:
        return None
    row, why = next(iter(dataset.skipped.items()))
    return (
        f"{len(dataset.skipped)} clips could not be read and are left out, such as "
        f"{manifest.clips[row].path}: {why.rstrip('.')}"
    )


def count_skipped(learn: ClipDataset, held_out: ClipDataset) -> str | None:
    """Say how many clips could not be read, without their names; None: all were read.

    A clip's name may tell who is in it, and weights, receipts and exported files are for others.
    """
    if not learn.skipped:
        return None
    count = len(learn.skipped)  # of both
    of = len(learn) + len(held_out) + count
    return f"{count} of {of} clips could not be read and were left out"
