"""STPrivacy's first phases: recognizers begin on raw video, the anonymizer by a class token."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from toy_training import losses_of

from masquerade.checkpoint import load, save
from masquerade.cli.train import parse
from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.methods import build
from masquerade.methods.stprivacy import STPrivacy
from masquerade.models.recognizers import RECOGNIZERS, Architecture, Sampling
from masquerade.models.recognizers.recognizer import IMAGENET
from masquerade.models.sparse_vit import SparseViT
from masquerade.models.vit import FrameViT, VideoViT
from masquerade.training.adversarial_data import AdversarialBatch, AdversarialData
from masquerade.training.adversarial_models import (
    AdversarialModels,
    ClassToken,
    build_models,
)
from masquerade.training.adversarial_training import AdversarialTrainer, train_adversarially
from masquerade.training.distributed import Processes
from masquerade.training.label_losses import label_loss
from masquerade.training.objectives import Labels
from masquerade.training.optimization import parameter_groups
from masquerade.training.recipe import (
    AdversarialRecipe,
    Adversary,
    OptimizerConfig,
    Phase,
    UpdateStep,
)
from masquerade.training.recipes.options import UTILITY_AND_ADVERSARY
from masquerade.training.recipes.stprivacy import stprivacy

OWN = {
    "frames": 4,
    "picture": (16, 16),
    "tubelet": (2, 8, 8),
    "width": 24,
    "heads": 3,
    "depth": 3,
    "places": (1, 2),
}
RAW = replace(UTILITY_AND_ADVERSARY, raw_clips=True)
BEGIN = UpdateStep(learns=("anonymizer", "auxiliary"), losses={"auxiliary": 1.0, "ratio": 1.0})
AGAINST = UpdateStep(
    learns=("anonymizer",), losses={"utility": 0.5, "adversarial": 0.5, "ratio": 1.0}
)


def recipe(**changes: object) -> AdversarialRecipe:
    phases = (
        Phase(name="warmup", epochs=2, updates=(RAW,)),
        Phase(name="initialise", epochs=12, updates=(BEGIN,)),
        Phase(
            name="adversarial", epochs=1, updates=(AGAINST, UTILITY_AND_ADVERSARY), same_batch=True
        ),
    )
    given: dict[str, object] = {
        "method": "stprivacy",
        "arguments": OWN,
        "utility": "tiny-3d",
        "widths": (8, 16),
        "adversaries": (Adversary(network="tiny-3d", objective=Labels()),),
        "phases": phases,
        "optimizers": dict.fromkeys(
            ("anonymizer", "utility", "adversary", "auxiliary"),
            OptimizerConfig(kind="adamw", lr=1e-2),
        ),
        "frames": 4,
        "size": (16, 16),
        "batch": 8,
    }
    return AdversarialRecipe(**{**given, **changes})


def clips(count: int = 48) -> tuple[ClipDataset, dict[str, np.ndarray]]:
    """The action is whether it is bright, which needs no sense of place."""
    draw = np.random.default_rng(0)
    action, tint = draw.integers(2, size=count), draw.integers(2, size=count)
    out = 0.3 + 0.05 * torch.from_numpy(draw.random((count, 3, 4, 16, 16))).float()
    for i in range(count):
        out[i] += 0.4 * float(action[i])
    return from_tensor(out), {"action": action, "tint": tint}


def data() -> AdversarialData:
    store, targets = clips()
    return AdversarialData(
        train=store.take(range(32)),
        validation=store.take(range(32, 48)),
        targets=targets,
        utility={"action": 2},
        private={"tint": 1},
    )


def batch_of() -> AdversarialBatch:
    store, targets = clips(8)
    codes = {name: torch.from_numpy(code) for name, code in targets.items()}
    return AdversarialBatch(
        clips=torch.stack([*store]).float() / 255,
        utility={"action": codes["action"]},
        private={"tint": codes["tint"]},
    )


def cast(given: AdversarialRecipe | None = None) -> AdversarialModels:
    return build_models(given or recipe(), utility={"action": 2}, private={"tint": 1}, seed=0)


def test_the_token_is_kept_when_all_else_is_dropped_and_no_predictor_reads_it() -> None:
    torch.manual_seed(0)
    net = SparseViT(
        shape=(4, 16, 16), tubelet=(2, 8, 8), width=24, depth=2, heads=3, places=(0,)
    ).double()
    clip, token = torch.rand(2, 3, 4, 16, 16).double(), torch.randn(1, 1, 24).double()
    asked: list[Tensor] = []

    def nobody(log_odds: Tensor, keep: Tensor, which: int) -> Tensor:
        asked.append(log_odds)
        return torch.zeros_like(keep)

    tokens, masks = net.forward_masked(clip, nobody, token=token)
    assert tokens.shape == (2, 9, 24) and masks[0].shape == (2, 2, 4)
    alone = token
    for block in net.blocks:
        alone = block(alone)
    assert torch.allclose(tokens[:, :1], alone.expand(2, -1, -1), atol=1e-12)
    net.forward_masked(clip, nobody, token=token + 1)
    net.forward_masked(clip, nobody)
    assert torch.equal(asked[0], asked[1]) and torch.equal(asked[0], asked[2])


def test_kept_tubelets_reach_the_token_and_dropped_ones_do_not() -> None:
    torch.manual_seed(0)
    net = SparseViT(
        shape=(4, 16, 16), tubelet=(2, 8, 8), width=24, depth=2, heads=3, places=(0,)
    ).double()
    clip = torch.rand(1, 3, 4, 16, 16).double().requires_grad_()

    def first(log_odds: Tensor, keep: Tensor, which: int) -> Tensor:
        return torch.zeros_like(keep).index_fill(2, torch.tensor([0]), 1.0)

    tokens, _ = net.forward_masked(clip, first, token=torch.randn(1, 1, 24).double())
    (back,) = torch.autograd.grad(tokens[:, 0].square().sum(), clip)
    assert back[..., :8, :8].abs().min() > 0
    assert back[..., 8:, :].abs().max() == 0 and back[..., :8, 8:].abs().max() == 0


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("mode", ["full", "sparsify-only", "anonymize-only"])
def test_the_action_read_inside_teaches_the_predictors(mode: str, strict: bool) -> None:
    own = cast(recipe(arguments={**OWN, "mode": mode, "strict": strict}))
    turn = replace(BEGIN, losses={"auxiliary": 1.0})
    terms = losses_of(own, recipe(), turn, batch_of())
    assert terms["auxiliary"].item() == pytest.approx(np.log(2), abs=0.5)
    terms["auxiliary"].backward()
    assert isinstance(own.anonymizer, STPrivacy)
    for name, value in own.anonymizer.net.named_parameters():
        drops = name.startswith("predictors") and mode != "anonymize-only"
        if drops or name.startswith(("patch", "blocks.0")):
            assert value.grad is not None and value.grad.abs().max() > 0, name


def test_recognizers_that_begin_on_raw_video_see_it() -> None:
    own, batch = cast(), batch_of()
    own.eval()
    terms = losses_of(own, recipe(), RAW, batch)
    wanted = label_loss(own.utility, batch.clips, batch.utility)
    assert terms["utility"].item() == wanted.item() and "ratio" not in terms
    hidden = losses_of(own, recipe(), UTILITY_AND_ADVERSARY, batch)
    assert hidden["utility"].item() != wanted.item()


def test_the_three_phases_are_played_and_the_token_is_thrown_away(tmp_path: Path) -> None:
    played = train_adversarially(recipe(), data(), device="cpu")
    raw, begun, last = (played.history[at] for at in (1, 13, 14))
    assert raw["val_reconstruction"] == 0 and begun["val_reconstruction"] > 0
    assert begun["val_auxiliary"] > 0.9  # the anonymizer knows what matters, and shows nothing yet
    assert np.isnan(raw["val_auxiliary"]) and np.isnan(last["val_auxiliary"])
    assert np.isnan(raw["train_ratio"]) and last["train_ratio"] >= 0
    save(played.anonymizer, tmp_path / "one.safetensors")
    again = load(tmp_path / "one.safetensors")
    assert set(again.state_dict()) == set(STPrivacy(**OWN).state_dict())


def test_who_starts_does_not_touch_recognizers() -> None:
    before = {k: v.clone() for k, v in cast().state_dict().items()}
    given = recipe(phases=(recipe().phases[1],))
    trainer = AdversarialTrainer(given, data(), seed=0, amp=False, processes=Processes())
    trainer.train_epoch(0)
    after = trainer.models.state_dict()
    for name, value in after.items():
        if name.startswith(("utility", "adversary")):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(after["auxiliary.cls_token"], before["auxiliary.cls_token"])


def test_positions_and_class_tokens_do_not_decay() -> None:
    token = ClassToken(width=24, heads={"action": 2})
    with torch.device("meta"):
        mvit = RECOGNIZERS["mvit-b"](classes=2)
    net = torch.nn.ModuleDict({"a": STPrivacy(**OWN), "t": token, "m": mvit})
    decays, others = parameter_groups(net, 0.05)
    free = {id(p) for p in others["params"]}
    named = dict(net.named_parameters())
    embeds = [name for name in named if "pos_embed" in name or "cls_token" in name]
    assert len(embeds) == 6 and all(id(named[name]) in free for name in embeds)
    assert all(p.ndim > 1 for p in decays["params"]) and decays["weight_decay"] == 0.05
    assert len(free) + len(decays["params"]) == len(named)


def test_the_papers_recipe_is_the_papers() -> None:
    """docs/papers.md 1.9 and 1.10."""
    given = stprivacy(preset="paper")
    for how in given.optimizers.values():
        assert (how.kind, how.weight_decay, how.cosine, how.warmup) == ("adamw", 0.05, True, 0)
        assert how.lr == 1e-3 * given.batch / 512 == 6.25e-5
    first, begin, contest = given.phases
    assert (first.epochs, begin.epochs, contest.epochs) == (80, 80, 40)
    assert first.raw_clips and first.updates[0].learns == ("utility", "adversary")
    assert begin.updates[0].losses == {"auxiliary": 1.0, "ratio": 1.0}
    against, both = contest.updates
    assert against.losses == {"utility": 0.5, "adversarial": 0.5, "ratio": 1.0}
    assert (against.learns, both.learns) == (("anonymizer",), ("utility", "adversary"))
    assert against.times == both.times == 1 and contest.same_batch
    assert (given.frames, given.size, given.stride, given.batch) == (16, (112, 112), 2, 32)
    assert not STPrivacy(**given.arguments).strict
    code = stprivacy(preset="code")
    assert STPrivacy(**code.arguments).softmax == "dynamicvit"


def test_weights_and_the_ratio_of_steps_are_flags() -> None:
    line = "stprivacy --preset paper --data x -o r --action-weight 0.1 --omega 1 --ratio 3"
    _, given = parse(line.split())
    against, both = given.phases[-1].updates
    assert (
        against.losses == {"utility": 0.1, "adversarial": 1.0, "ratio": 1.0} and against.times == 1
    )
    assert both.times == 3 and given.phases[0].updates[0].times == 1
    with pytest.raises(UsageError, match="1 or more"):
        parse([*line.split()[:-1], "0"])


def test_what_has_no_tokens_has_no_class_token() -> None:
    with pytest.raises(UsageError, match="no tokens"):
        cast(recipe(method="spact", arguments={"width": 8, "short": 16}))
    with pytest.raises(UsageError, match="learns nothing"):
        recipe(phases=(Phase(name="x", epochs=1, updates=(replace(AGAINST, raw_clips=True),)),))


def test_what_should_be_kept_follows_from_the_arguments() -> None:
    line = ["stprivacy", "--data", "x", "-o", "r"]
    _, given = parse([*line, "--keep", "0.5"])
    assert build("stprivacy", **given.arguments).expected_metrics() == {"kept_3": 0.125}
    assert given.tolerance == 0.1
    _, given = parse([*line, "--places", "1", "2", "--keep", "0.8"])
    expected = build("stprivacy", **given.arguments).expected_metrics()
    assert expected == {"kept_2": 40 / 64}  # of .64, as whole tubelets are drawn
    _, given = parse([*line, "--places", "1", "2", "--keep", "0.8", "--draw", "gumbel"])
    expected = build("stprivacy", **given.arguments).expected_metrics()
    assert expected == {"kept_2": pytest.approx(0.64)}
    _, given = parse([*line, "--mode", "anonymize-only"])
    assert build("stprivacy", **given.arguments).expected_metrics() == {}


def test_vits_begin_from_an_image_networks_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    image = FrameViT(classes=0, size=16, patch=8, width=24, depth=3, heads=3)
    save_file(image.state_dict(), tmp_path / "vit.safetensors")
    network = partial(
        VideoViT, frames=4, size=16, tubelet=(2, 8, 8), width=24, depth=3, attention_heads=3
    )
    make = Architecture(network=network, sampling=Sampling(4, 1, 16), normalization=IMAGENET)
    monkeypatch.setitem(RECOGNIZERS, "vit-small", make)
    given = recipe(
        utility="vit-small",
        adversaries=(Adversary(network="vit-small", objective=Labels()),),
        image_weights=str(tmp_path / "vit.safetensors"),
    )
    own = cast(given)
    for net in (own.anonymizer.net, own.utility.net, own.adversary[0].net):
        for name, value in image.blocks.named_parameters():
            assert torch.equal(net.blocks.get_parameter(name), value), name
    with pytest.raises(UsageError, match="--image-weights starts stprivacy"):
        plain = recipe(
            method="spact", arguments={"width": 8, "short": 16}, image_weights=given.image_weights
        )
        cast(replace(plain, phases=(plain.phases[0],)))
    given = replace(given, phases=(Phase(name="x", epochs=1, updates=(RAW,)),))
    kept, moved = tmp_path / "state.pt", tmp_path / "moved.safetensors"
    train_adversarially(given, data(), device="cpu", resume=kept)
    (tmp_path / "vit.safetensors").rename(moved)
    train_adversarially(replace(given, image_weights=str(moved)), data(), device="cpu", resume=kept)
    save_file({k: v + 1 for k, v in image.state_dict().items()}, tmp_path / "vit.safetensors")
    with pytest.raises(UsageError, match="another training"):
        train_adversarially(given, data(), device="cpu", resume=kept)
    line = "stprivacy --preset paper --data x -o r --image-weights vit.safetensors"
    assert parse(line.split())[1].image_weights == "vit.safetensors"
