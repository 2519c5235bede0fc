"""Batches of clips, pairs of frames and pictures of a second data set."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_training import (
    ADVERSARIAL,
    FRAMES,
    LONG,
    NORMS,
    PRETRAIN,
    SIDE,
    batches_of,
    clips,
    data,
    recipe,
    register_painter,
)

from masquerade.datasets.augmentation import Augmentation
from masquerade.errors import UsageError
from masquerade.extraction.dataset import from_tensor
from masquerade.training.adversarial_data import AdversarialBatches
from masquerade.training.adversarial_training import (
    train_adversarially,
)
from masquerade.training.distributed import Processes
from masquerade.training.frame_pairs import Gap
from masquerade.training.objectives import Labels, MoCo, NTXent, Objective, ObjectiveBatch
from masquerade.training.recipe import (
    Adversary,
)

painter = pytest.fixture(autouse=True)(register_painter)


def test_the_adversary_may_learn_from_pictures_of_another_set() -> None:
    pictures, labels = clips(40, 5)
    stills = from_tensor(torch.stack([*pictures])[:, :, :1])
    own_data = data(
        stills=stills.take(range(30)),
        still_validation=stills.take(range(30, 40)),
        still_targets={"tint": labels["tint"]},
    )
    batch = next(
        batches_of(recipe(still_batch=6), own_data).training(0, torch.Generator().manual_seed(0))
    )
    assert batch.stills is not None and batch.stills.shape == (6, 3, 1, SIDE, SIDE)
    assert batch.clips.shape == (8, 3, FRAMES, SIDE, SIDE) and len(batch.private["tint"]) == 6
    history = train_adversarially(
        recipe(still_batch=6, phases=(PRETRAIN, LONG)), own_data, device="cpu"
    ).history
    assert history[-1]["val_tint"] > 0.9


def test_a_batch_knows_what_a_guess_by_the_labels_rates_loses_on_it() -> None:
    """Of all processes' clips; what the anonymizer gains against an adversary is measured by it."""
    rare = {"action": np.arange(48) % 2, "tint": (np.arange(48) % 16 == 0).astype(int)}
    own_data = data(targets=rare)
    for world in (1, 2):
        processes = replace(Processes(), world=world)
        batches = AdversarialBatches(recipe(), own_data, seed=0, processes=processes)
        found = [one.chances for one in batches.training(0, torch.Generator().manual_seed(0))]
        mean = sum(chance for (chance,) in found) / len(found)
        wanted = (2 * math.log(34 / 3) + 30 * math.log(34 / 31)) / 32  # two of 32, one more of each
        assert mean == pytest.approx(wanted, rel=1e-5) and mean < 0.25


def test_pairs_with_a_gap_are_frames_of_the_same_videos() -> None:
    near = Gap(most=2, frames=4, stride=2)
    frames = torch.arange(4) / 8 + torch.arange(48)[:, None] / 96
    apart = from_tensor(frames[:, None, :, None, None].expand(-1, 3, -1, SIDE, SIDE))
    train, validation = apart.take(range(32)), apart.take(range(32, 48))
    own_data = data(pairs=train, pair_validation=validation)
    given = recipe(gap=near, adversaries=(Adversary(network="tiny-2d", objective=NTXent(width=8)),))
    one = batches_of(given, own_data)
    held = list(one.held_out())
    for now, again in zip(held, one.held_out(), strict=True):
        assert torch.equal(now.stills, again.stills)
    stills = torch.cat([batch.stills for batch in held])
    assert stills.shape == (16, 3, 2, SIDE, SIDE)
    raw = torch.stack([*validation]).float() / 255
    for video, (a, b) in zip(raw, stills[:, 0, :, 0, 0].tolist(), strict=True):
        at = [int((video[0, :, 0, 0] - value).abs().argmin()) for value in (a, b)]
        assert abs(at[0] - at[1]) == 1 and video[0, at[0], 0, 0] == pytest.approx(a)
    batch = next(one.training(0, torch.Generator().manual_seed(0)))
    assert batch.stills.shape == (8, 3, 2, SIDE, SIDE) and batch.clips.shape[2] == FRAMES
    assert set(batch.private) == {"tint"} and len(batch.private["tint"]) == 8
    history = train_adversarially(
        replace(given, phases=(PRETRAIN, LONG)), own_data, device="cpu"
    ).history
    assert history[-1]["train_adversary"] < history[2]["train_adversary"]
    with pytest.raises(UsageError, match="of the same rows"):
        data(pairs=validation, pair_validation=validation)


def test_both_frames_of_a_pair_are_augmented_apart() -> None:
    """A box erased from both, or one hue for both, would tell the pair whatever is anonymized."""
    grey = from_tensor(torch.full((48, 3, 4, SIDE, SIDE), 128, dtype=torch.uint8))
    own_data = data(pairs=grey.take(range(32)), pair_validation=grey.take(range(32, 48)))
    adversary = Adversary(network="tiny-2d", objective=NTXent(width=8))
    erasing = Augmentation(brightness=0.3, erase=0.5, box=(0.4, 0.6))
    given = recipe(gap=Gap(frames=4, stride=1), adversaries=(adversary,), augment=erasing)

    def pairs(processes: Processes) -> torch.Tensor:
        batches = AdversarialBatches(given, own_data, seed=0, processes=processes)
        training = batches.training(0, torch.Generator().manual_seed(0))
        return torch.stack([batch.stills for batch in training])  # (steps, rows, 3, 2, H, W)

    views = pairs(Processes()).flatten(0, 1)
    first, second = views.unbind(2)
    holes = (views == 0).all(1).flatten(2).any(2)  # (pairs, 2)
    assert 5 < (holes[:, 0] != holes[:, 1]).sum() < 27
    assert (first.amax((1, 2, 3)) - second.amax((1, 2, 3))).abs().min() > 1e-4
    each = [pairs(replace(Processes(), rank=rank, world=2)) for rank in (0, 1)]
    assert torch.equal(torch.stack(each, 2).flatten(1, 2).flatten(0, 1), views)


def test_held_out_pictures_are_two_views_and_none_is_its_own_negative() -> None:
    pictures, targets = clips(16, 3)
    own_data = data(
        stills=pictures.take(range(10)),
        still_validation=pictures.take(range(10, 16)),
        still_targets=targets,
    )
    given = recipe(augment=Augmentation(brightness=0.2), still_batch=64)
    adversary = Adversary(network="tiny-2d", objective=NTXent(width=8))
    one = batches_of(replace(given, adversaries=(adversary,)), own_data)
    for batch, again in zip(one.held_out(), one.held_out(), strict=True):
        assert batch.stills.shape[0] == 6 == len(batch.private["tint"])
        assert torch.equal(batch.stills, again.stills)
        first, second = batch.stills.unbind(2)
        assert (first - second).abs().amax((1, 2, 3)).min() > 1e-3
        assert len({tuple(code.flatten().tolist()) for code in first}) == 6


def test_held_out_pictures_are_of_all_of_a_sorted_manifest() -> None:
    """Of one class alone nothing tells whether an adversary still reads the label."""
    pictures = from_tensor(torch.zeros((138, 3, 1, SIDE, SIDE)))
    own_data = data(
        stills=pictures.take(range(10)),
        still_validation=pictures.take(range(10, 138)),
        still_targets={"tint": np.repeat([0, 1, 0, 1], [5, 5, 64, 64])},
    )
    own_data = replace(own_data, validation=own_data.validation.take(range(8)))
    (batch,) = batches_of(recipe(still_batch=64), own_data).held_out()
    assert len(batch.private["tint"]) == 64
    assert set(batch.private["tint"].tolist()) == {0, 1}


@pytest.mark.parametrize("objective", [NTXent(width=8), MoCo(width=8), Labels()])
def test_no_picture_is_a_pair_with_itself(objective: Objective) -> None:
    """Where the recipe changes no clip, pictures are changed all the same, but for labels, whose
    adversary sees each once."""
    pictures, targets = clips(16, 3)
    pictures = from_tensor(torch.stack([*pictures])[:, :, :1])
    own_data = data(
        stills=pictures.take(range(10)),
        still_validation=pictures.take(range(10, 16)),
        still_targets=targets,
    )
    given = recipe(adversaries=(Adversary(network="tiny-2d", objective=objective),), still_batch=6)
    one = batches_of(given, own_data)
    learned = list(one.training(0, torch.Generator().manual_seed(0)))
    raw = {tuple(clip.flatten().tolist()) for clip in own_data.train}
    for batch in [*learned, *one.held_out()]:
        first, *others = batch.stills.unbind(2)
        assert bool(others) is not objective.needs_labels
        assert all((first - other).abs().amax((1, 2, 3)).min() > 1e-3 for other in others)
    for batch in learned:  # the action's clips stay as the recipe wants them
        assert {tuple((c * 255).round().byte().flatten().tolist()) for c in batch.clips} <= raw


def test_runs_of_frames_are_augmented_apart() -> None:
    """One brightness of both told the pair whatever the anonymizer hid."""
    grey = from_tensor(torch.full((16, 3, 4, SIDE, SIDE), 0.4))
    own = data(train=grey, targets={name: code[:16] for name, code in data().targets.items()})
    own = replace(own, validation=grey)
    runs = (Adversary(network="tiny-3d", objective=NTXent(width=8, segments=True)),)
    given = recipe(
        **NORMS,
        frames=4,
        adversaries=runs,
        augment=Augmentation(brightness=0.5),
        phases=(replace(ADVERSARIAL, epochs=1),),
    )
    batch = next(batches_of(given, own).training(0, torch.Generator().manual_seed(0)))
    assert batch.halves and batch.stills is not None and batch.stills.shape[2] == 4
    a, b = runs[0].objective.pairs(
        ObjectiveBatch(batch.stills, {}, torch.Generator(), halves=batch.halves)
    )
    one, other = (run.mean((1, 2, 3, 4)) for run in (a, b))
    assert a.shape == b.shape == (8, 3, 2, SIDE, SIDE)
    assert ((one - other).abs() > 0.001).sum() >= 7
    done = train_adversarially(given, own, device="cpu", allow_chance=True)
    assert done.history[-1]["train_adversary"] > 0
