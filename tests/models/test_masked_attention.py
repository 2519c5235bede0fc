"""Masked attention: unmasked against torch's own, masked against loops and the paper's formula.

The gradient of the keep decision is checked against its closed form, derived by hand from
A_ij = e^S_ij M_ij / sum_k e^S_ik M_ik (STPrivacy, ICCV 2023, eq. 8 to 10).
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from masquerade.models.masked_attention import (
    Attention,
    dynamicvit_softmax,
    gather_kept,
    masked_attention,
    masked_mean,
)
from masquerade.models.vit import Block


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_mask(batch: int, count: int, kept: int, seed: int = 1) -> Tensor:
    order = double(batch, count, seed=seed).argsort(dim=1)
    return order < kept  # each row keeps `kept` tokens


def masked_softmax(scores: Tensor, keep: Tensor) -> Tensor:
    """The weights of fused attention: its output where keys and values are the identity."""
    count = scores.shape[-1]
    eye = torch.eye(count, dtype=scores.dtype).expand_as(scores)
    return masked_attention(scores * count**0.5, eye, eye, keep)


def attention_by_loops(scores: Tensor, keep: Tensor) -> Tensor:
    out = torch.zeros_like(scores)
    batch, heads, count, _ = scores.shape
    for b in range(batch):
        for h in range(heads):
            for i in range(count):
                weights = [
                    math.exp(scores[b, h, i, j]) * (1.0 if i == j else float(keep[b, j]))
                    for j in range(count)
                ]
                for j in range(count):
                    out[b, h, i, j] = weights[j] / sum(weights)
    return out


def test_unmasked_attention_is_that_of_torch() -> None:
    ours = Attention(width=24, heads=3).double()
    theirs = nn.MultiheadAttention(24, 3, batch_first=True).double()
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    tokens = double(2, 7, 24)
    expected, _ = theirs(tokens, tokens, tokens)
    assert torch.allclose(ours(tokens), expected, atol=1e-12)


def test_masked_softmax_is_the_papers_formula() -> None:
    scores, keep = double(2, 2, 6, 6), random_mask(2, 6, 3)
    got = masked_softmax(scores, keep.double())
    assert torch.allclose(got, attention_by_loops(scores, keep), atol=1e-14)


@settings(max_examples=50)
@given(st.lists(st.booleans(), min_size=2, max_size=9), st.floats(-60, 60))
def test_rows_sum_to_one_and_dropped_columns_are_exactly_zero(
    mask: list[bool], high: float
) -> None:
    keep = torch.tensor([mask])
    count = len(mask)
    scores = double(1, 1, count, count)
    scores[..., ~keep[0]] += high  # whatever the dropped tokens score
    weights = masked_softmax(scores, keep.double())[0, 0]
    away = ~keep.expand(count, count) & ~torch.eye(count, dtype=torch.bool)
    assert torch.allclose(weights.sum(dim=1), torch.ones(count, dtype=torch.float64))
    assert (weights[away] == 0).all()


@pytest.mark.parametrize("as_bool", [True, False])
def test_masked_blocks_equal_blocks_of_the_kept_tokens_alone(as_bool: bool) -> None:
    torch.manual_seed(0)
    blocks = [Block(width=24, heads=3).double() for _ in range(3)]
    tokens, keep = double(3, 10, 24), random_mask(3, 10, 4)
    masked, alone = tokens, gather_kept(tokens, keep)
    for block in blocks:
        masked = block(masked, keep if as_bool else keep.double())
        alone = block(alone)
    assert (gather_kept(masked, keep) - alone).abs().max() < 1e-12


def test_the_papers_code_leaks_dropped_tokens() -> None:
    torch.manual_seed(0)
    block = Block(width=24, heads=3, softmax="dynamicvit").double()
    tokens, keep = double(3, 10, 24), random_mask(3, 10, 4)
    gap = gather_kept(block(tokens, keep.double()), keep) - block(gather_kept(tokens, keep))
    assert gap.abs().max() > 1e-9


@pytest.mark.parametrize("score", [0, 10, 20])
def test_dropped_weight_of_the_papers_code_in_closed_form(score: float) -> None:
    scores, keep = torch.zeros(1, 1, 8, 8, dtype=torch.float64), torch.ones(1, 8).double()
    keep[0, 0] = 0
    scores[..., 0] = score
    leak = dynamicvit_softmax(scores, keep)[0, 0, 1:, 0]
    # seven kept columns beside the epsilon; at +20 they vanish beside it, and the row is uniform
    expected = torch.full_like(leak, 1e-6 / 8 / (7 * math.exp(-score) + 1e-6))
    assert torch.allclose(leak, expected, rtol=1e-9)
    assert score < 20 or 8 * leak.min() > 0.9
    assert (masked_softmax(scores, keep)[0, 0, 1:, 0] == 0).all()


def test_kept_rows_do_not_depend_on_dropped_tokens() -> None:
    attention = Attention(width=24, heads=3)
    tokens, keep = double(2, 10, 24).float(), random_mask(2, 10, 4)
    other = torch.where(keep[..., None], tokens, 50 * double(2, 10, 24, seed=9).float())
    for mask in (keep.float(), keep):
        before, after = attention(tokens, mask)[keep], attention(other, mask)[keep]
        assert torch.equal(before, after)


def test_gradient_of_the_keep_decision_for_kept_and_dropped_tokens() -> None:
    scores, upstream = double(2, 2, 7, 7), double(2, 2, 7, 7, seed=5)
    mask = random_mask(2, 7, 4)
    keep = mask.double().requires_grad_()
    (masked_softmax(scores, keep) * upstream).sum().backward()
    eye = torch.eye(7, dtype=torch.float64)
    columns = mask.double()[:, None, None] * (1 - eye) + eye
    total = (scores.exp() * columns).sum(dim=-1, keepdim=True)
    weights = scores.exp() * columns / total
    mean = (weights * upstream).sum(dim=-1, keepdim=True)
    by_entry = scores.exp() / total * (upstream - mean) * (1 - eye)
    expected = by_entry.sum(dim=(1, 2))  # over heads and rows: keep_j stands in column j
    assert keep.grad is not None
    assert (keep.grad - expected).abs().max() < 1e-10
    assert (keep.grad.abs() > 1e-6).all()  # dropped tokens too


def test_a_dropped_score_far_above_gives_no_nan() -> None:
    scores = torch.zeros(1, 1, 5, 5)
    scores[..., 2] = 100
    scores.requires_grad_()
    keep = torch.tensor([[1.0, 1, 0, 1, 0]], requires_grad=True)
    weights = masked_softmax(scores, keep)
    (weights * torch.arange(25.0).reshape(5, 5)).sum().backward()
    assert scores.grad is not None and keep.grad is not None
    assert weights.isfinite().all() and scores.grad.isfinite().all() and keep.grad.isfinite().all()
    assert keep.grad.square().sum().isfinite()  # so that gradients can be clipped by their norm
    assert (weights[0, 0, [0, 1, 3, 4], 2] == 0).all()


def test_gradients_of_soft_decisions_and_of_many_rows_are_those_of_the_formula() -> None:
    """More rows than one chunk, several heads, and keep values between 0 and 1."""
    count = 150
    q, k, v = (double(2, 3, count, 8, seed=s).requires_grad_() for s in range(3))
    keep = double(2, count, seed=4).sigmoid().round(decimals=1).requires_grad_()
    upstream = double(2, 3, count, 8, seed=5)
    ours = torch.autograd.grad((masked_attention(q, k, v, keep) * upstream).sum(), (q, k, v, keep))
    eye = torch.eye(count, dtype=torch.float64)
    weights = (q @ k.mT / 8**0.5).exp() * (keep[:, None, None] * (1 - eye) + eye)
    plain = weights / weights.sum(-1, keepdim=True) @ v
    theirs = torch.autograd.grad((plain * upstream).sum(), (q, k, v, keep))
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-10


@pytest.mark.cuda
@pytest.mark.parametrize("scores", [1 << 28, 1], ids=["all rows at once", "some at a time"])
def test_a_gpu_gives_the_cpus_gradients(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade.models.masked_attention.GPU_SCORES", scores)
    given = [double(2, 3, 150, 8, seed=s) for s in range(3)]
    given.append(double(2, 150, seed=4).sigmoid().round())
    upstream = double(2, 3, 150, 8, seed=5)
    upstream[:, :, ::3] = 0  # rows that nothing reads
    found = []
    for device in ("cpu", "cuda"):
        mine = [one.to(device).requires_grad_() for one in given]
        loss = (masked_attention(*mine) * upstream.to(device)).sum()
        found.append(torch.autograd.grad(loss, mine))
    for a, b in zip(*found, strict=True):
        assert (a - b.cpu()).abs().max() < 1e-10


def test_half_precision_decisions_get_a_gradient_near_that_of_double() -> None:
    scores, keep = double(1, 2, 6, 6), random_mask(1, 6, 3)
    grads = []
    for kind in (torch.float64, torch.bfloat16):
        wanted = keep.to(torch.float32 if kind == torch.bfloat16 else kind).requires_grad_()
        (masked_softmax(scores.to(kind), wanted) ** 2).sum().backward()
        assert wanted.grad is not None
        grads.append(wanted.grad.double())
    assert torch.allclose(*grads, rtol=0.1, atol=0.02)


def test_masked_mean_counts_only_the_kept_and_is_zero_where_none_is() -> None:
    tokens = double(2, 5, 3)
    keep = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).double()
    mean = masked_mean(tokens, keep)
    assert torch.allclose(mean[0], tokens[0, [0, 2]].mean(dim=0))
    assert (mean[1] == 0).all()
    assert torch.equal(masked_mean(tokens, None), tokens.mean(dim=1))
