"""The losses of one update, and which roles it changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toy_training import (
    AGAINST,
    FRAMES,
    MOCO,
    NORMS,
    SIDE,
    batches_of,
    data,
    losses_of,
    models_of,
    recipe,
    register_painter,
    same,
    weights_of,
)

from masquerade.errors import UsageError
from masquerade.training.adversarial_models import (
    build_models,
)
from masquerade.training.adversarial_training import (
    train_adversarially,
)
from masquerade.training.recipe import (
    UpdateStep,
)
from masquerade.training.recipes.options import UTILITY_AND_ADVERSARY

painter = pytest.fixture(autouse=True)(register_painter)


@pytest.mark.parametrize("norms", ["batch", "running"])
@pytest.mark.parametrize("learns", [("anonymizer",), ("utility", "adversary"), ("adversary",)])
def test_an_update_changes_only_the_roles_that_learn(learns, norms: str) -> None:
    """Neither weights nor the statistics of the others' norms move by one bit."""
    models = models_of(**NORMS)
    batch = next(batches_of(recipe()).held_out())
    before = {
        name: weights_of(models.of_role(name)) for name in ("anonymizer", "utility", "adversary")
    }
    terms = {
        "anonymizer": AGAINST.losses,
        "utility": UTILITY_AND_ADVERSARY.losses,
        "adversary": {"adversary": 1.0},
    }
    turn = UpdateStep(learns=learns, losses=terms[learns[0]])
    with models.set_trainable(learns, anonymizer_norms=norms):
        found = losses_of(models, recipe(), turn, batch)
        loss = torch.stack([found[name] * weight for name, weight in turn.losses.items()]).sum()
        loss.backward()
        everyone = [p for p in models.parameters() if p.grad is not None]
        torch.optim.SGD(everyone, lr=0.1).step()
    for name, was in before.items():
        assert same(was, weights_of(models.of_role(name))) != (name in learns), name


def test_the_idle_anonymizer_normalises_by_the_batch_or_by_its_running_statistics() -> None:
    models, clip = models_of(**NORMS), torch.rand(4, 3, FRAMES, SIDE, SIDE)
    outs = {}
    for norms in ("batch", "running"):
        with models.set_trainable(("utility",), anonymizer_norms=norms), torch.no_grad():
            outs[norms] = models.anonymizer.training_output(clip).clip
    with torch.no_grad():
        learned = models.anonymizer.eval().training_output(clip).clip
    assert torch.equal(outs["running"], learned)
    assert not torch.allclose(outs["batch"], learned, atol=1e-3)


def gradient(turn: UpdateStep, *chances: float) -> torch.Tensor:
    models = models_of()
    with models.set_trainable(turn.learns, anonymizer_norms="batch"):
        models.utility.eval()
        models.adversary.eval()
        batch = replace(next(batches_of(recipe()).held_out()), chances=chances)
        terms = losses_of(models, recipe(), turn, batch)
        torch.stack([weight * terms[name] for name, weight in turn.losses.items()]).sum().backward()
    return torch.cat(
        [p.grad.flatten() for p in models.parameters_of("anonymizer") if p.grad is not None]
    )


def test_the_anonymizers_gradient_is_utility_minus_omega_times_adversary() -> None:
    alone = {"learns": ("anonymizer",)}
    keep = gradient(UpdateStep(**alone, losses={"utility": 1.0}))
    read = gradient(UpdateStep(**alone, losses={"adversary": 1.0}))
    both = gradient(UpdateStep(**alone, losses={"utility": 1.0, "adversarial": 0.5}))
    assert read.abs().max() > 1e-6
    assert torch.allclose(both, keep - 0.5 * read, atol=1e-6)
    everyone = ("anonymizer", "utility", "adversary")
    turned = gradient(
        UpdateStep(learns=everyone, losses={"utility": 1.0, "adversary": 1.0}, reversal=0.5)
    )
    assert torch.allclose(both, turned, atol=1e-6)


def test_an_adversary_at_twice_its_chance_value_pulls_no_more() -> None:
    """As the anonymizer's own update has it, so a reversed gradient."""
    keep = gradient(UpdateStep(learns=("anonymizer",), losses={"utility": 1.0}))
    against = {"utility": 1.0, "adversarial": 0.5}
    apart = UpdateStep(learns=("anonymizer",), losses=against)
    once = UpdateStep(
        learns=("anonymizer", "utility", "adversary"),
        losses={"utility": 1.0, "adversary": 1.0},
        reversal=0.5,
    )
    for turn in (apart, once):
        assert torch.allclose(gradient(turn, 0.1), keep, atol=1e-7)
        assert not torch.allclose(gradient(turn, 0.6), keep, atol=1e-6)


def test_an_adversary_that_reads_pictures_needs_no_anonymized_clips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where an update is the adversary's alone."""
    models, batch = models_of(), next(batches_of(recipe()).held_out())
    batch = replace(batch, stills=batch.clips[:, :, :1])
    given, plain = [], type(models.anonymizer).training_output

    def training_output(self, clip, **named):
        given.append(clip.shape[2])
        return plain(self, clip, **named)

    monkeypatch.setattr(type(models.anonymizer), "training_output", training_output)
    alone = UpdateStep(learns=("adversary",), losses={"adversary": 1.0})
    assert set(losses_of(models, recipe(), alone, batch)) == {"adversary"} and given == [1]
    losses_of(models, recipe(), UTILITY_AND_ADVERSARY, batch)
    assert given == [1, FRAMES, 1]


def test_the_queue_moves_only_while_the_adversary_learns() -> None:
    models, batch = models_of(**MOCO), next(batches_of(recipe()).held_out())
    turn = UpdateStep(learns=("adversary",), losses={"adversary": 1.0})
    moved = []
    for now in (AGAINST, turn):
        before = weights_of(models.adversary)
        with models.set_trainable(now.learns, anonymizer_norms="running"):
            losses_of(models, recipe(**MOCO), now, batch)
        moved.append(not same(before, weights_of(models.adversary)))
    assert moved == [False, True]
    assert int(models.adversary[0].at) == len(batch.clips)
    learned = {id(weight) for weight in models.parameters_of("adversary")}
    assert learned == {id(weight) for weight in models.adversary[0].net.parameters()}


def test_networks_that_read_something_else_are_refused() -> None:
    with pytest.raises(UsageError, match="optical flow"):
        build_models(
            recipe(utility="tiny-flow"), utility={"action": 2}, private={"tint": 1}, seed=0
        )
    with pytest.raises(UsageError, match="one patch"):
        train_adversarially(recipe(utility="vit-b-32"), data(), device="cpu")
