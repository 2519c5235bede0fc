"""SparseViT: the paper's parameter counts, keep masks, and masked equal to removed tokens."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from top_k_masks import top_k_keep
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.models.sparse_vit import (
    Predictor,
    SparseViT,
    block_on_kept,
    draw_top_k,
    kept_counts,
    log_odds,
    ratio_loss,
    sample_keep,
)
from masquerade.models.vit import Block
from masquerade.training.batch_share import BatchShare


def count(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


def small(**other: object) -> SparseViT:
    torch.manual_seed(0)
    sizes = {"shape": (4, 24, 32), "tubelet": (2, 8, 8), "width": 24, "depth": 4, "heads": 3}
    return SparseViT(**{**sizes, "places": (1, 2, 3), **other}).double()  # type: ignore[arg-type]


def clips(net: SparseViT, batch: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return torch.rand(batch, 3, *net.shape, dtype=torch.float64, generator=draw)


def test_parameters_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        assert count(SparseViT()) == 23_350_182
        assert count(Predictor(width=384)) == 241_250
        tiny = {"shape": (8, 32, 32), "tubelet": (2, 8, 8), "width": 96, "depth": 4, "heads": 3}
        assert count(SparseViT(**tiny, places=(1, 2, 3))) == 574_062  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keep", "per_slot"),
    [
        (0.7, (34, 24, 16)),
        (0.6, (29, 17, 10)),
        (0.8, (39, 31, 25)),
        (1.0, (49, 49, 49)),
        (0.01, (1, 1, 1)),
    ],
)
def test_how_many_of_49_are_kept(keep: float, per_slot: tuple[int, ...]) -> None:
    assert kept_counts(49, keep, 3) == per_slot


def test_a_count_that_floats_put_below_a_whole_number_is_that_number() -> None:
    assert kept_counts(100, 0.7, 2) == (70, 49)


def test_shapes_at_the_papers_setting() -> None:
    net = SparseViT(depth=3, places=(0, 1, 2))
    clip = torch.rand(1, 3, 16, 112, 112)
    assert net.embed(clip).shape == (1, 392, 384)
    tokens, keep = net.forward_gathered(clip, (34, 24, 16))
    assert tokens.shape == (1, 128, 384) and keep.shape == (1, 8, 49)
    assert (keep.sum(-1) == 16).all()
    assert net.decode(tokens, keep).shape == clip.shape


@settings(max_examples=20)
@given(st.tuples(*[st.integers(1, 3)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_any_sizes_that_divide(grid: tuple[int, int, int], tubelet: tuple[int, int, int]) -> None:
    shape = (grid[0] * tubelet[0], grid[1] * tubelet[1], grid[2] * tubelet[2])
    net = small(shape=shape, tubelet=tubelet, width=12, heads=2, depth=2, places=(0, 1))
    tokens, masks = net.forward_masked(clips(net), sample_keep)
    assert net.decode(tokens).shape == (2, 3, *shape)
    assert masks[0].shape == (2, grid[0], grid[1] * grid[2])


def test_tubelets_become_the_pixels_that_they_came_from() -> None:
    """Values by time, row, column, colour; token t * N + h * columns + w."""
    net = small()
    clip = clips(net)
    apart = clip.unfold(2, 2, 2).unfold(3, 8, 8).unfold(4, 8, 8)  # (B, 3, L, h, w, 2, 8, 8)
    values = apart.permute(0, 2, 3, 4, 5, 6, 7, 1).reshape(2, 2 * 3 * 4, -1)
    assert torch.equal(net.fold(values), clip)
    one = torch.zeros_like(values)
    one[:, 1 * 12 + 2 * 4 + 3] = 1
    lit = torch.zeros_like(clip)
    lit[:, :, 2:4, 16:24, 24:32] = 1
    assert torch.equal(net.fold(one), lit)


def test_masked_and_gathered_passes_agree() -> None:
    net = small()
    clip = clips(net)
    counts = kept_counts(net.slot, 0.7, 3)
    tokens, masks = net.forward_masked(clip, top_k_keep(counts))
    alone, keep = net.forward_gathered(clip, counts)
    assert torch.equal(keep, masks[-1] > 0)
    kept = tokens[keep.flatten(1)].reshape(alone.shape)
    assert (kept - alone).abs().max() < 1e-12
    shown = net.decode(tokens * keep.flatten(1)[..., None])
    shown = torch.where(net.fold(keep.reshape(2, -1, 1).expand(-1, -1, 384)), shown, 0)
    assert (net.decode(alone, keep) - shown).abs().max() < 1e-12
    for way in (keep, keep.double()):  # and from the first layer on
        through = net.forward_kept(clip, way)
        if way is not keep:
            through = through[keep.flatten(1)].reshape(alone.shape)
            assert (through - net.forward_kept(clip, keep)).abs().max() < 1e-12


def test_block_on_kept_equals_the_block() -> None:
    """Its gradients agree too, where dropped tokens' outputs are unused."""
    torch.manual_seed(0)
    block = Block(width=24, heads=3).double()
    start, upstream = torch.randn(2, 2, 70, 24, dtype=torch.float64).unbind(0)
    found = []
    for run in (block_on_kept, Block.__call__):
        tokens, keep = start.clone().requires_grad_(), (upstream[..., 0] > 0).double()
        keep.requires_grad_()
        out = run(block, run(block, tokens, keep), keep)
        loss = (out * upstream * keep[..., None]).sum()
        found.append((out, *torch.autograd.grad(loss, (tokens, keep, *block.parameters()))))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("choose", [sample_keep, draw_top_k((8, 5, 4))])
def test_without_gradients_dropped_tokens_are_left_out_and_kept_ones_are_the_same(choose) -> None:
    net = small()
    clip, found = clips(net, batch=6), []
    for mode in (torch.enable_grad, torch.no_grad):
        torch.manual_seed(1)
        with mode():
            tokens, masks = net.forward_masked(clip, choose)
            found.append((tokens, masks[-1].flatten(1), net.forward_kept(clip, masks[-1])))
    (learned, keep, learned_kept), (tokens, again, kept) = found
    assert torch.equal(keep, again) and (keep == 0).any()
    assert ((tokens - learned) * keep[..., None]).abs().max() < 1e-12
    assert ((kept - learned_kept) * keep[..., None]).abs().max() < 1e-12
    assert (kept[keep == 0] == 0).all()


def test_a_clip_of_which_nothing_is_kept_is_left_out_whole() -> None:
    block, tokens = Block(width=24, heads=3), torch.randn(2, 5, 24)
    keep = torch.tensor([[0.0] * 5, [1, 0, 1, 1, 0]])
    with torch.no_grad():
        out = block_on_kept(block, tokens, keep)
        alone = block(tokens[1:, [0, 2, 3]])
    assert (out[0] == 0).all() and (out[1, [0, 2, 3]] - alone).abs().max() < 1e-5


def test_in_the_papers_code_they_do_not_agree() -> None:
    net = small(softmax="dynamicvit")
    clip, counts = clips(net), kept_counts(12, 0.7, 3)
    tokens, _ = net.forward_masked(clip, top_k_keep(counts))
    alone, keep = net.forward_gathered(clip, counts)
    assert (tokens[keep.flatten(1)].reshape(alone.shape) - alone).abs().max() > 1e-10


@pytest.mark.parametrize("choose", [sample_keep, draw_top_k((8, 5, 4)), top_k_keep((8, 5, 4))])
def test_masks_only_ever_shrink(choose) -> None:
    net = small()
    torch.manual_seed(1)
    _, masks = net.forward_masked(clips(net, batch=8), choose)
    for before, after in pairwise(masks):
        assert (after <= before).all() and (after < before).any()
    assert set(torch.cat(masks).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_tokens_are_kept_as_often_as_their_probability_says(probability: float) -> None:
    odds = torch.tensor([probability, 1 - probability]).log().expand(1, 1, 200_000, 2)
    torch.manual_seed(0)
    kept = sample_keep(odds, torch.ones(1, 1, 200_000))
    assert kept.mean().item() == pytest.approx(probability, abs=0.005)


def test_a_decision_is_hard_and_its_gradient_soft() -> None:
    odds = torch.randn(1, 2, 50, 2).log_softmax(-1).requires_grad_()
    kept = sample_keep(odds, torch.ones(1, 2, 50))
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    kept.sum().backward()
    assert odds.grad is not None and (odds.grad != 0).all()


@pytest.mark.parametrize("alike", [False, True])
def test_as_many_tokens_are_drawn_as_inference_keeps(alike: bool) -> None:
    net, counts = small(), kept_counts(9, 0.7, 3)
    clip = torch.full_like(clips(net), 0.5) if alike else clips(net)
    torch.manual_seed(0)
    _, masks = net.forward_masked(clip, draw_top_k(counts))
    assert [mask.sum(dim=-1).unique().tolist() for mask in masks] == [[n] for n in counts]


def test_all_tokens_are_kept_where_none_is_to_be_dropped() -> None:
    keep = torch.ones(2, 3, 5)
    odds = torch.randn(2, 3, 5, 2).log_softmax(-1)
    assert draw_top_k((5,))(odds, keep, 0) is keep


def test_the_probable_tokens_are_drawn_more_often_and_the_others_sometimes() -> None:
    odds = torch.tensor([0.2, 0.4, 0.6, 0.8])
    log_probs = torch.stack([odds.log(), (1 - odds).log()], dim=-1).expand(4_000, 1, 4, 2)
    torch.manual_seed(0)
    often = draw_top_k((2,))(log_probs, torch.ones(4_000, 1, 4), 0).mean(dim=0)[0]
    assert (often.diff() > 0.1).all() and often[0] > 0.02 and often[3] < 0.98


def test_a_drawn_token_is_hard_and_every_one_that_may_be_drawn_gets_a_gradient() -> None:
    odds = torch.randn(1, 2, 50, 2).log_softmax(-1).requires_grad_()
    keep = torch.ones(1, 2, 50)
    keep[..., :20] = 0
    weights = torch.randn(1, 2, 50)
    kept = draw_top_k((10,))(odds, keep, 0)
    assert set(kept.unique().tolist()) == {0.0, 1.0} and not kept[..., :20].any()
    (kept * weights).sum().backward()
    assert odds.grad is not None and (odds.grad[..., 20:, :] != 0).all()


def test_half_precision_draws_no_more_tokens_than_are_kept_in_use() -> None:
    """In bfloat16 the last score that is drawn and the first that is not are equal at times."""
    torch.manual_seed(0)
    logits = torch.randn(500, 2, 12, 2).bfloat16()
    kept = draw_top_k((5,))(logits, torch.ones(500, 2, 12), 0)
    assert (kept.sum(-1) == 5).all()


def test_half_precision_does_not_draw_fewer_tokens() -> None:
    """In bfloat16 both draws of a token are equal once in 200 times, which counted as dropped."""
    torch.manual_seed(0)
    logits = torch.zeros(2_000, 1_000, 1, 2).bfloat16()
    often = sample_keep(logits, torch.ones(2_000, 1_000, 1)).mean().item()
    assert often == pytest.approx(0.5, abs=1e-3)  # three standard errors


@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_draw_the_tokens_that_one_would(rank: int) -> None:
    odds, keep = torch.randn(5, 2, 12, 2).log_softmax(-1), torch.ones(5, 2, 12)
    share = BatchShare(rank=rank, world=2, total=5)
    torch.manual_seed(0)
    whole = draw_top_k((6,))(odds, keep, 0)
    torch.manual_seed(0)
    with share.draws():
        own = draw_top_k((6,))(share.take(odds), share.take(keep), 0)
    assert torch.equal(own, share.take(whole))


def test_ratio_loss_in_closed_form() -> None:
    every = [torch.ones(2, 8, 49)] * 3
    assert ratio_loss(every, 0.7).item() == pytest.approx(
        ((0.3) ** 2 + 0.51**2 + 0.657**2) / 3, abs=1e-6
    )
    near = [(torch.arange(49) < k).float().expand(2, 8, 49) for k in (34, 24, 17)]
    assert ratio_loss(near, 0.7).item() == pytest.approx(1.77e-5, rel=0.01)
    uneven = torch.cat([torch.ones(1, 1, 10), torch.zeros(1, 1, 10)], 1)  # half of all, of no slot
    assert ratio_loss([uneven], 0.5).item() == pytest.approx(0.25)


def test_predictors_read_their_token_slot_and_clip_but_no_dropped_token() -> None:
    torch.manual_seed(0)
    net = Predictor(width=12).double()
    tokens = torch.randn(1, 2, 3, 12, dtype=torch.float64)
    keep = torch.tensor([[[1.0, 1, 0], [1, 0, 1]]]).double()
    base = net(tokens, keep)

    def changed(slot: int, place: int) -> Tensor:
        other = tokens.clone()
        other[0, slot, place, 0] += 1  # one feature: a layer norm would cancel a change of all
        return (net(other, keep) - base).abs().amax(-1)[0] > 1e-9  # (L, N)

    assert changed(0, 0).all()  # kept: read by all
    assert changed(0, 2).tolist() == [[False, False, True], [False] * 3]  # dropped: by itself
    away = torch.tensor([[[1.0, 1, 0], [0, 0, 0]]]).double()
    assert torch.equal(net(tokens, torch.ones(1, 2, 3).double()), net(tokens))
    assert net(tokens, away).isfinite().all()


@pytest.mark.parametrize("clip", [slice(0, 1), slice(0, 2)])
def test_no_kept_token_gives_no_nan_and_gradients_that_are_numbers(clip: slice) -> None:
    """Nothing is kept of one clip or of all; nothing of one slot or of all."""
    net = small()

    def none_of_one_slot(odds: Tensor, keep: Tensor, which: int) -> Tensor:
        keep = sample_keep(odds, keep)
        away = torch.ones_like(keep)
        away[clip] = 0
        away[1, 0] = 0
        return keep * away

    tokens, masks = net.forward_masked(clips(net), none_of_one_slot)
    (net.decode(tokens).square().mean() + ratio_loss(masks, 0.7)).backward()
    assert tokens.isfinite().all()
    for name, value in net.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all(), name


def test_predictors_get_gradients_from_the_output() -> None:
    net = small()
    torch.manual_seed(2)
    tokens, masks = net.forward_masked(clips(net), sample_keep)
    published = net.decode(tokens).reshape(2, -1).mean() * masks[-1].mean()
    published.backward()
    for predictor in net.predictors:
        weight = predictor.read.weight
        assert weight.grad is not None and weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"shape": (4, 20, 32)}, "does not divide"),
        ({"width": 26, "heads": 2}, "divides by 3"),
        ({"width": 24, "heads": 5}, "5 heads"),
        ({"places": (2, 1)}, "in order"),
        ({"places": (4,)}, "before layers 0 to 3"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        small(**sizes)


def test_probabilities_that_round_to_one_number_are_still_ranked() -> None:
    logits = torch.zeros(1, 1, 4, 2)
    logits[..., 0] = torch.tensor([30.0, 32.0, 31.0, 29.0])  # of each p is 1 in float32
    assert torch.equal(logits.softmax(dim=-1)[..., 0], torch.ones(1, 1, 4))
    assert log_odds(logits).topk(2).indices.tolist() == [[[1, 2]]]
    logits[..., 0] = torch.tensor([3e-8, 1e-8, 2e-8, 4e-8])
    assert log_odds(logits).topk(2).indices.tolist() == [[[3, 0]]]
