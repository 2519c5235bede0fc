"""STPrivacy: dropped means gone, kept means rewritten, and the dial turns without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from top_k_masks import top_k_keep
from torch import Tensor, nn
from torch.nn import functional as F

import masquerade
from masquerade.cli.anonymize import parse
from masquerade.errors import MissingError, UsageError
from masquerade.methods import PRESETS, stprivacy
from masquerade.methods.stprivacy import STPrivacy
from masquerade.models.vit import FrameViT
from masquerade.pipeline.stream import anonymize

SMALL: dict[str, Any] = {
    "frames": 4,
    "picture": (24, 32),
    "tubelet": (2, 8, 8),
    "width": 24,
    "heads": 3,
    "depth": 4,
    "places": (1, 2, 3),
}
MODES = ("full", "sparsify-only", "anonymize-only")


def small(**other: Any) -> STPrivacy:
    torch.manual_seed(0)
    return STPrivacy(**{**SMALL, **other}).eval()


def clip_of(t: int = 4, h: int = 24, w: int = 32, *, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, t, h, w, generator=torch.Generator().manual_seed(t * h + w))


def shown_by(out: masquerade.Anonymized) -> Tensor:
    assert out.hidden is not None
    return (out.hidden == 0).expand_as(out.clip)


def count(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


def test_parameters_of_the_presets() -> None:
    make = PRESETS["stprivacy"]
    with torch.device("meta"):
        assert count(make["paper"]()) == count(make["code"]()) == 23_350_182
        assert count(make["tiny"]()) == 543_150
        assert count(make["vit-ti"]()) < 23_350_182 / 3.5
    assert make["paper"]().strict is False and STPrivacy(**SMALL).strict is True


@pytest.mark.parametrize("keep", [0.3, 0.7, 1.0])
def test_every_slot_shows_as_many_tubelets_as_the_dial_says(keep: float) -> None:
    out = small(keep=keep)(clip_of())
    assert out.hidden is not None
    tubelets = out.hidden.reshape(2, 2, 2, 3, 8, 4, 8)  # (B, L, dT, h, dH, w, dW)
    assert torch.equal(tubelets.amax((2, 4, 6)), tubelets.amin((2, 4, 6)))
    kept = (1 - tubelets.amax((2, 4, 6))).sum((2, 3))
    assert (kept == max(1, int(12 * keep**3))).all()


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("out", ["sigmoid", "linear"])
@pytest.mark.parametrize("size", [(24, 32), (50, 70), (9, 200)])
def test_what_is_dropped_is_exactly_black(strict: bool, out: Any, size: tuple[int, int]) -> None:
    made = small(strict=strict, out=out)(clip_of(6, *size))
    shown = shown_by(made)
    assert made.clip.shape == (2, 3, 6, *size)
    assert (made.clip[~shown] == 0).all() and shown.any() and not shown.all()
    if out == "sigmoid":
        assert (made.clip[shown] > 0.02).all()  # and the rims of what is shown are not darkened


@pytest.mark.parametrize("size", [(24, 32), (50, 70), (12, 20)])
@pytest.mark.parametrize("fill", ["black", "mean"])
@pytest.mark.parametrize(
    ("mode", "sees"), [("full", "colours"), ("full", "changes"), ("sparsify-only", "colours")]
)
def test_strict_no_dropped_pixel_moves_any_published_one(
    mode: Any, sees: Any, fill: Any, size: tuple[int, int]
) -> None:
    """But through which tubelets are kept: the gradient, exactly."""
    clip = (0.4 + 0.1 * clip_of(4, *size)).requires_grad_()  # changes are within their range
    out = small(mode=mode, fill=fill, sees=sees)(clip)
    shown = shown_by(out)
    (out.clip * torch.rand_like(out.clip)).sum().backward()
    assert clip.grad is not None
    assert (clip.grad[~shown] == 0).all()
    assert (clip.grad[shown] != 0).float().mean() > 0.99


def test_as_in_the_paper_dropped_pixels_leak_into_kept_ones() -> None:
    clip = clip_of().requires_grad_()
    out = small(strict=False)(clip)
    out.clip.sum().backward()
    assert clip.grad is not None
    assert (clip.grad[~shown_by(out)] != 0).any()


def test_with_the_mask_held_other_dropped_pixels_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And do so as in the paper, where kept tokens have listened to them."""
    method, clip = small(), clip_of()
    _, keep = method.net.forward_gathered(method._preprocess(clip), (8, 5, 3), masks_only=True)
    monkeypatch.setattr(method.net, "forward_gathered", lambda *_, **__: (None, keep))
    monkeypatch.setattr(stprivacy, "sample_keep", lambda odds, *_: keep.to(odds.dtype))
    held = method(clip)  # three are kept where the method itself would keep four
    other = torch.where(shown_by(held), clip, 1 - clip)
    assert torch.equal(method(other).clip, held.clip)
    assert torch.equal(method.training_output(other).clip, method.training_output(clip).clip)
    method.strict = False
    monkeypatch.setattr(stprivacy, "sample_keep", after_the_last(keep))
    assert not torch.equal(method.training_output(other).clip, method.training_output(clip).clip)


def after_the_last(keep: Tensor) -> Callable[[Tensor, Tensor, int], Tensor]:
    """Drop nothing before the last predictor, and then this."""
    return lambda odds, before, which: keep.to(odds.dtype) if which == 2 else before


def test_sparsify_only_shows_kept_pixels_as_they_are_at_any_size() -> None:
    clip = clip_of(4, 100, 90)
    out = small(mode="sparsify-only")(clip)
    shown = shown_by(out)
    assert torch.equal(out.clip[shown], clip[shown]) and (out.clip[~shown] == 0).all()


def test_anonymize_only_drops_nothing_and_rewrites_all() -> None:
    clip = clip_of()
    out = small(mode="anonymize-only")(clip)
    assert out.hidden is not None and (out.hidden == 0).all()
    assert (out.clip != clip).float().mean() > 0.99


def test_the_mean_that_fills_is_that_of_what_is_kept() -> None:
    out = small(mode="sparsify-only", fill="mean")(clip_of())
    shown = shown_by(out)
    for b in range(2):
        for c in range(3):
            kept, rest = (out.clip[b, c][part[b, c]] for part in (shown, ~shown))
            assert torch.allclose(rest, kept.mean(), atol=1e-5)


def test_blur_shows_what_was_dropped_and_so_is_refused_under_strict() -> None:
    with pytest.raises(UsageError, match="--no-strict"):
        small(fill="blur")
    clip = clip_of(4, 50, 70)
    out = small(fill="blur", strict=False, mode="sparsify-only")(clip)
    rest = ~shown_by(out)
    assert 0 < (out.clip - clip)[rest].abs().mean() < clip[rest].mean()


def test_who_sees_changes_sees_nothing_that_stands_still() -> None:
    method, still, moving = small(sees="changes"), clip_of(1), clip_of(4) / 4
    place = still.expand_as(moving) / 4
    one, other = method(moving), method(moving + place)
    assert torch.equal(one.hidden, other.hidden) and torch.allclose(one.clip, other.clip, atol=1e-5)
    colours = torch.tensor([0.1, -0.06, -0.04]).reshape(1, 3, 1, 1, 1) * clip_of(4)[:, :1]
    assert torch.allclose(method(moving + 0.2 + colours).clip, one.clip, atol=1e-5)
    grey = method.unhidden(place + (torch.arange(4) % 2 * 0.04).reshape(1, 1, 4, 1, 1))
    assert torch.allclose(grey[:, :, ::2], torch.tensor(0.4)) and torch.allclose(
        grey[:, :, 1::2], torch.tensor(0.6)
    )
    assert torch.equal(small().unhidden(place), place)
    raw = small(sees="changes", mode="sparsify-only")  # shows what it keeps as it is
    assert torch.equal(raw.unhidden(place), place)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("sees", ["colours", "changes"])
def test_training_and_inference_give_the_same_pixels(
    mode: Any, strict: bool, sees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same tubelets kept, the training pass gives the pixels of the deployed one."""
    method, clip = small(mode=mode, strict=strict, sees=sees).double(), clip_of().double()
    deployed = method(clip)
    monkeypatch.setattr(stprivacy, "sample_keep", stprivacy_best(method))
    output = method.training_output(clip)
    assert torch.allclose(output.clip, deployed.clip, atol=1e-10)


def stprivacy_best(method: STPrivacy) -> Callable[[Tensor, Tensor, int], Tensor]:
    from masquerade.models.sparse_vit import kept_counts

    return top_k_keep(kept_counts(method.net.slot, method.keep, len(method.places)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strict", [True, False])
def test_training_output_has_its_losses_and_every_weight_in_use_learns(
    mode: Any, strict: bool
) -> None:
    method = small(mode=mode, strict=strict).train()
    output = method.training_output(clip_of(batch=4))
    assert output.clip.shape == (4, 3, 4, 24, 32)
    if mode == "anonymize-only":
        assert output.losses["ratio"] == 0 and not output.metrics
    else:
        assert 0 < output.losses["ratio"] < 1
        kept = [output.metrics[f"kept_{m}"] for m in (1, 2, 3)]
        assert 1 > kept[0] > kept[1] > kept[2] >= 0
    (output.clip.square().mean() + sum(output.losses.values(), torch.zeros(()))).backward()
    unused = {"anonymize-only": ("predictors",), "sparsify-only": ("decoder", "norm", "blocks.3")}
    for name, value in method.net.named_parameters():
        if not name.startswith(unused.get(mode, ())):
            assert value.grad is not None and value.grad.isfinite().all(), name
            assert value.grad.abs().max() > 0, name


@pytest.mark.parametrize("draw", ["gumbel", "top-k"])
def test_predictors_learn_which_tubelets_matter(draw: Any) -> None:
    """A few steps against what shows the bright half: its tubelets are no longer chosen."""
    method = small(mode="sparsify-only", keep=0.6, draw=draw).train()
    clip = clip_of(batch=8) * 0.2
    clip[..., 16:] += 0.7
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    for _ in range(40):
        output = method.training_output(clip)
        loss = output.clip[..., 16:].mean() + 10 * output.losses["ratio"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    out = method.eval()(clip)
    assert shown_by(out)[..., :16].float().mean() > 4 * shown_by(out)[..., 16:].float().mean()


@pytest.mark.parametrize("keep", [0.3, 0.7, 1.0])
def test_training_draws_as_many_tubelets_as_are_shown_in_use(keep: float) -> None:
    method = small(keep=keep, draw="top-k").train()
    output = method.training_output(clip_of())
    assert output.keep is not None  # (B, L, h, w)
    assert (output.keep.sum((2, 3)) == max(1, int(12 * keep**3))).all()
    (expected,) = method.expected_metrics().items()
    assert expected == ("kept_3", pytest.approx(output.metrics["kept_3"]))


def test_windows_do_not_overlap_and_the_tail_is_played_back_and_forth() -> None:
    method, clip = small(), clip_of(7)
    method.trained = True
    whole = method(clip).clip
    assert torch.equal(whole[:, :, :4], method(clip[:, :, :4]).clip)
    assert torch.equal(whole[:, :, 4:], method(clip[:, :, [4, 5, 6, 5]]).clip[:, :, :3])
    assert torch.equal(anonymize(clip, method), whole)


@pytest.mark.parametrize(
    ("source", "carried"),
    [
        ((1080, 1920), (112, 199)),
        ((1920, 1080), (199, 112)),
        ((48, 64), (48, 64)),
        ((16, 4000), (16, 4000)),
        ((112, 112), (112, 112)),
    ],
)
def test_an_output_is_as_large_as_what_the_network_carries(
    source: tuple[int, int], carried: tuple[int, int]
) -> None:
    """At the aspect of the source, and no larger than it."""
    with torch.device("meta"):
        assert STPrivacy().size(*source) == carried


@pytest.mark.slow
def test_a_file_in_is_a_file_out_at_the_models_size_or_its_own(clip: Path, tmp_path: Path) -> None:
    method = small()
    method.trained = True
    for size in ("source", "model"):
        masquerade.anonymize_file(clip, tmp_path / f"{size}.mkv", method, codec="ffv1", size=size)
    source, own = masquerade.read_video(clip).clip, masquerade.read_video(tmp_path / "source.mkv")
    assert own.clip.shape == source.shape
    assert masquerade.read_video(tmp_path / "model.mkv").clip.shape[3] == 24
    expected = anonymize(source, method)
    black = (expected == 0).all(1)
    assert own.clip.transpose(0, 1)[:, black].max() < 0.01
    assert np.abs((own.clip - expected).numpy()).mean() < 0.02  # 4:2:0 colours of the file


def test_other_regions_are_refused(clip: Path, tmp_path: Path) -> None:
    method = small()
    method.trained = True
    with pytest.raises(UsageError, match="rewrites whole frames"):
        masquerade.anonymize_file(clip, tmp_path / "o.mp4", method, regions="people")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inflation", ["average", "central"])
def test_it_starts_from_an_image_networks_file(tmp_path: Path, inflation: Any) -> None:
    """In the names of DeiT and timm; positions go from 14 x 14 to 7 x 7, repeated in time."""
    torch.manual_seed(1)
    image = FrameViT(classes=7, size=224, width=24, depth=4, heads=3)
    for value in image.parameters():
        nn.init.normal_(value)
    save_file(image.state_dict(), tmp_path / "deit.safetensors")
    torch.save({"model": image.state_dict()}, tmp_path / "deit.pth")
    for file in ("deit.safetensors", "deit.pth"):
        method = STPrivacy(width=24, depth=4, heads=3, places=(1, 2, 3), inflation=inflation)
        fresh = method.init_from_image_weights(tmp_path / file)
        assert {name.split(".")[0] for name in fresh} == {"predictors", "norm", "decoder"}
        net, patch = method.net, image.patch_embed.proj.weight
        assert torch.equal(net.blocks[3].mlp.fc1.weight, image.blocks[3].mlp.fc1.weight)
        filled = (
            [patch / 2, patch / 2] if inflation == "average" else [torch.zeros_like(patch), patch]
        )
        assert torch.equal(net.patch_embed.proj.weight, torch.stack(filled, 2))
        square = image.pos_embed[:, 1:].reshape(1, 14, 14, 24).permute(0, 3, 1, 2)
        square = F.interpolate(square, size=(7, 7), mode="bicubic", align_corners=False)
        for slot in net.pos_embed.reshape(8, 49, 24):
            assert torch.allclose(slot, square[0].flatten(1).T, atol=1e-6)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_file(
        FrameViT(classes=7, width=48, depth=4, heads=3).state_dict(), tmp_path / "w.safetensors"
    )
    with pytest.raises(UsageError, match="another shape"):
        small().init_from_image_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"keep": 0.0}, "keep must be above 0"),
        ({"keep": 1.1}, "keep must be above 0"),
        ({"keep": 1.0, "mode": "sparsify-only"}, "drops no tubelet"),
        ({"places": ()}, "places"),
        ({"picture": (25, 32)}, "does not divide"),
        ({"sees": "changes", "tubelet": (1, 8, 8)}, "--sees colours"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        small(**given)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training run's folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    method = small()
    method.trained = True
    masquerade.save(method, folder / "anonymizer.safetensors")
    return folder


def test_the_dial_turns_at_deployment(run: Path) -> None:
    words = ["a.mp4", "--method", "stprivacy", "--weights", str(run)]
    _, as_trained = parse(words)
    _, turned = parse([*words, "--keep", "0.4", "--mode", "sparsify-only", "--fill", "mean"])
    assert isinstance(as_trained, STPrivacy) and isinstance(turned, STPrivacy)
    assert (as_trained.keep, as_trained.mode, as_trained.strict) == (0.7, "full", True)
    assert (turned.keep, turned.mode, turned.fill) == (0.4, "sparsify-only", "mean")
    for name, value in as_trained.state_dict().items():
        assert torch.equal(value, turned.state_dict()[name])
    _, loose = parse([*words[:1], "--weights", str(run), "--no-strict", "--fill", "blur"])
    assert isinstance(loose, STPrivacy) and not loose.strict
    with pytest.raises(UsageError, match="keep must be above 0"):
        parse([*words, "--keep", "2"])


def test_the_command_with_its_dial(
    called: Callable[..., Any], clip: Path, run: Path, tmp_path: Path
) -> None:
    words = ("anonymize", clip, "--method", "stprivacy", "--preview", "0.3")
    done = called(*words, "-o", "out.mp4", "--weights", "run", "--keep", "0.5")
    assert done.returncode == 0, done.stderr
    assert "all of" in done.stdout and "hidden by stprivacy" in done.stdout
    receipt = (tmp_path / "out.mp4.receipt.json").read_text()
    assert '"keep": 0.5' in receipt and '"name": "frame"' in receipt
    shown = called("anonymize", "--weights", "run", "--help").stdout
    assert "--keep" in shown and "--fill" in shown and "--width" not in shown
    done = called(*words, "-o", "b.mp4", "--weights", "run", "--width", "48")
    assert done.returncode == 2 and not (tmp_path / "b.mp4").exists()


def test_without_weights_nothing_is_published(
    called: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    done = called("anonymize", clip, "-o", "out.mp4", "--method", "stprivacy", "--preset", "tiny")
    assert done.returncode == 3 and not list(tmp_path.iterdir())
    assert done.stderr.count("\n") == 1 and "--weights" in done.stderr
    done = called("anonymize", "--method", "stprivacy", "--help")
    assert done.returncode == 0 and "--keep" in done.stdout
    with pytest.raises(MissingError, match="has not been trained"):
        masquerade.anonymize_file(clip, tmp_path / "out.mp4", small())


@pytest.mark.parametrize("mode", ["full", "anonymize-only"])
def test_what_is_rebuilt_is_judged_only_where_it_is_shown(mode: Any) -> None:
    """A sigmoid of nothing is grey, a half off black, however little of it is kept."""
    method = small(mode=mode).train()
    for weight in method.net.decoder.parameters():
        torch.nn.init.zeros_(weight)
    output = method.training_output(torch.zeros_like(clip_of(batch=4)))
    assert output.losses["rebuilt"].item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("draw", ["gumbel", "top-k"])
def test_what_is_easy_to_reconstruct_does_not_decide_what_is_kept(draw: Any) -> None:
    """The loss of reconstruction gives the predictors no gradient, and the picture does."""
    method = small(draw=draw).train()
    torch.manual_seed(0)
    output = method.training_output(clip_of())
    output.losses["rebuilt"].backward(retain_graph=True)
    weights = [predictor.read.weight for predictor in method.net.predictors]
    assert all(weight.grad is None or not weight.grad.any() for weight in weights)
    output.clip.mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in weights)
