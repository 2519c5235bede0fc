"""Recognizers that take a keep mask are told, while they learn, which tubelets were dropped."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_training import losses_of

from masquerade.extraction.dataset import from_tensor
from masquerade.models.recognizers import (
    RECOGNIZERS,
    Architecture,
    Recognizer,
    Sampling,
    with_keep_mask,
)
from masquerade.models.recognizers.modalities import ModalityRecognizer
from masquerade.models.recognizers.recognizer import IMAGENET, MaskedRecognizer
from masquerade.models.vit import VideoViT
from masquerade.training.adversarial_data import (
    AdversarialBatch,
    AdversarialBatches,
    AdversarialData,
)
from masquerade.training.adversarial_models import build_models
from masquerade.training.distributed import Processes
from masquerade.training.objectives import Labels
from masquerade.training.recipe import AdversarialRecipe, Adversary, Phase, UpdateStep
from masquerade.training.validation import validate

SMALL = {"frames": 4, "tubelet": (2, 8, 8), "width": 24}
GRID = (2, 2, 2)
ADVERSARIAL = UpdateStep(
    learns=("anonymizer",), losses={"utility": 1.0, "adversarial": 0.5, "ratio": 1.0}
)


@pytest.fixture(autouse=True)
def small_vit(monkeypatch: pytest.MonkeyPatch) -> None:
    network = partial(VideoViT, size=16, depth=2, attention_heads=3, **SMALL)
    make = Architecture(network=network, sampling=Sampling(4, 1, 16), normalization=IMAGENET)
    monkeypatch.setitem(RECOGNIZERS, "vit-small", make)


def recipe(network: str = "vit-small", **own: object) -> AdversarialRecipe:
    arguments = {"picture": (16, 16), "heads": 3, "depth": 3, "places": (1, 2), **SMALL, **own}
    return AdversarialRecipe(
        method="stprivacy",
        arguments=arguments,
        utility=network,
        adversaries=(Adversary(network=network, objective=Labels()),),
        phases=(Phase(name="adversarial", epochs=1, updates=(ADVERSARIAL,)),),
        optimizers={},
        frames=4,
        size=(16, 16),
        batch=4,
    )


def batch_of(count: int = 4) -> AdversarialBatch:
    draw = torch.Generator().manual_seed(0)
    code = torch.arange(count) % 2
    return AdversarialBatch(
        clips=torch.rand(count, 3, 4, 16, 16, generator=draw),
        utility={"action": code},
        private={"tint": code},
    )


def awake(net: nn.Module) -> nn.Module:
    """Heads that start at zero say the same of everything; these do not."""
    assert isinstance(net, Recognizer)
    nn.init.normal_(net.net.head.weight, std=0.5)  # type: ignore[union-attr,arg-type]
    return net.eval()


def net_of(name: str = "vit-small", **given: Any) -> nn.Module:
    torch.manual_seed(0)
    return RECOGNIZERS[name](heads={"action": 2}, **given)


def test_what_a_dropped_tubelet_shows_changes_nothing() -> None:
    net, clip = awake(net_of()), batch_of().clips
    keep = torch.ones(4, *GRID)
    keep[:, 1, 0, 1] = 0
    other = clip.clone()
    other[:, :, 2:, :8, 8:] = torch.rand(4, 3, 2, 8, 8)
    assert torch.equal(
        with_keep_mask(net, keep)(other)["action"], with_keep_mask(net, keep)(clip)["action"]
    )
    assert not torch.equal(net(other)["action"], net(clip)["action"])


def test_a_recognizer_that_masks_black_drops_what_is_black() -> None:
    net, masking = awake(net_of()), awake(net_of(masks_black=True))
    masking.load_state_dict(net.state_dict())
    clip, keep = batch_of().clips.clamp(min=0.05), torch.ones(4, *GRID)
    assert torch.equal(masking(clip)["action"], net(clip)["action"])
    clip[:, :, 2:, :8, 8:] = 0
    keep[:, 1, 0, 1] = 0
    given = with_keep_mask(net, keep)(clip)["action"]
    assert torch.equal(masking(clip)["action"], given) and not torch.equal(
        given, net(clip)["action"]
    )
    ringing = torch.randint(9, (4, 3, 2, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    clip[:, :, 2:, :8, 8:] = ringing  # of a codec, around what is shown
    wanted = with_keep_mask(net, keep)(clip)["action"]
    assert torch.equal(masking(clip)["action"], wanted)
    black = torch.zeros_like(clip)
    assert torch.equal(masking(black)["action"], net(black)["action"]), "nothing is kept of it"


def test_networks_without_a_mask_are_called_as_before() -> None:
    keep = torch.ones(4, *GRID)
    plain = net_of("tiny-3d")
    looking = ModalityRecognizer(net_of("tiny-3d"), modality="frames")
    assert with_keep_mask(plain, keep) is plain and with_keep_mask(looking, keep) is looking
    net = net_of()
    assert with_keep_mask(net, None) is net


def test_a_mask_of_another_grid_or_of_pixels_is_the_share_that_is_kept() -> None:
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0]).reshape(1, 4, 1, 1).expand(1, 4, 2, 2)
    told = with_keep_mask(net_of(), keep)
    assert isinstance(told, MaskedRecognizer)
    assert torch.equal(told.keep, torch.tensor([0.5, 1.0])[None, :, None].expand(1, 2, 4))
    cells = torch.arange(8.0).reshape(1, *GRID)
    pixels = cells.repeat_interleave(2, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)
    told = with_keep_mask(net_of(), pixels)
    assert isinstance(told, MaskedRecognizer)
    assert torch.equal(told.keep, torch.arange(8.0).reshape(1, 2, 4))


def recorded(net: nn.Module, found: list[Tensor | None]) -> None:
    def note(_: nn.Module, args: object, given: dict[str, Tensor]) -> None:
        found.append(given.get("keep"))

    net.register_forward_pre_hook(note, with_kwargs=True)


def test_training_tells_both_recognizers_and_the_decision_learns_from_them() -> None:
    given = recipe()
    models = build_models(given, utility={"action": 2}, private={"tint": 1}, seed=0)
    for net in (models.utility, models.adversary[0]):
        awake(net)
    seen: list[Tensor | None] = []
    recorded(models.utility, seen)
    recorded(models.adversary[0], seen)
    terms = losses_of(models, given, ADVERSARIAL, batch_of())
    assert len(seen) == 2
    for keep in seen:
        assert keep is not None and keep.shape == (4, 2, 4)
        (back,) = torch.autograd.grad(
            terms["utility"] + terms["adversarial"], keep, retain_graph=True
        )
        assert back.abs().max() > 0


def test_held_out_clips_are_read_with_the_published_mask() -> None:
    given = recipe()
    models = build_models(given, utility={"action": 2}, private={"tint": 1}, seed=0)
    clips = from_tensor(batch_of(8).clips)
    code = np.arange(8) % 2
    data = AdversarialData(
        train=clips,
        validation=clips,
        targets={"action": code, "tint": code},
        utility={"action": 2},
        private={"tint": 1},
    )
    batches = AdversarialBatches(replace(given, batch=8), data, seed=0, processes=Processes())
    seen: list[Tensor | None] = []
    recorded(models.utility, seen)
    validate(models, given, batches, seed=0)
    (keep,) = seen
    assert keep is not None  # .7 of 4, and .7 of that: one tubelet of each slot
    assert torch.equal(keep.sum(2), torch.ones(8, 2)) and set(keep.unique().tolist()) == {0.0, 1.0}


def test_where_nothing_is_dropped_nobody_is_told() -> None:
    given = recipe(mode="anonymize-only")
    models = build_models(given, utility={"action": 2}, private={"tint": 1}, seed=0)
    assert models.anonymizer.training_output(batch_of().clips).keep is None
