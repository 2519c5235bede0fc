"""What adversaries learn: each loss against its equation, and what the anonymizer wants of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.models.recognizers import RECOGNIZERS, EmbeddingRecognizer
from masquerade.training.adversarial_step import combine_losses
from masquerade.training.frame_pairs import FAR, NEAR, Gap, frame_pairs, segment_pairs
from masquerade.training.label_losses import head_loss, reverse_gradient
from masquerade.training.objectives import (
    OBJECTIVES,
    Labels,
    MoCo,
    MomentumEncoder,
    NTXent,
    Objective,
    ObjectiveBatch,
    Rotation,
    clip_losses,
    count_labels,
    info_nce,
    nt_xent,
    prior_loss,
)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def equation(a: Tensor, b: Tensor, temperature: float) -> list[float]:
    """SPAct's eq. 5 as it stands, one anchor after another, over pairs (a[i], b[i])."""

    def h(u: Tensor, v: Tensor) -> float:
        return math.exp(float(u @ v / (u.norm() * v.norm())) / temperature)

    found = []
    for i in range(len(a)):
        below = sum((j != i) * h(a[i], a[j]) + h(a[i], b[j]) for j in range(len(a)))
        found.append(-math.log(h(a[i], b[i]) / below))
    return found


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_the_papers_equation(temperature: float) -> None:
    a, b = torch.randn(2, 7, 5, generator=drawn(), dtype=torch.float64)
    one = nt_xent(a, b, temperature=temperature, symmetric=False)
    assert torch.allclose(one.double(), torch.tensor(equation(a, b, temperature)).double())
    both = nt_xent(a, b, temperature=temperature)
    wanted = equation(a, b, temperature) + equation(b, a, temperature)
    assert torch.allclose(both.double(), torch.tensor(wanted).double())


@pytest.mark.parametrize(("count", "wanted"), [(2, 1.0986), (8, 2.70805), (24, 3.85015)])
def test_embeddings_that_are_all_alike_give_the_blind_loss(count: int, wanted: float) -> None:
    same = torch.ones(count, 3)
    loss = nt_xent(same, same, temperature=0.1).mean()
    assert float(loss) == pytest.approx(wanted, abs=1e-4)
    assert NTXent().chance_loss({}, count, {}) == pytest.approx(wanted, abs=1e-4)


def test_perfect_and_swapped_pairs() -> None:
    eye = torch.eye(8)
    assert float(nt_xent(eye, eye, temperature=0.1).mean()) == pytest.approx(6.354e-4, abs=1e-6)
    two = torch.eye(2)
    swapped = nt_xent(two, two.flip(0), temperature=0.1).mean()
    assert float(swapped) == pytest.approx(10.00009, abs=1e-4)


@given(seed=st.integers(0, 99), count=st.integers(2, 6))
def test_order_of_views_and_of_pairs_does_not_matter(seed: int, count: int) -> None:
    a, b = torch.randn(2, count, 4, generator=drawn(seed))
    order = torch.randperm(count, generator=drawn(seed))
    plain = nt_xent(a, b, temperature=0.1).mean()
    assert torch.allclose(plain, nt_xent(b, a, temperature=0.1).mean(), atol=1e-5)
    assert torch.allclose(plain, nt_xent(a[order], b[order], temperature=0.1).mean(), atol=1e-5)


def test_half_precision_networks_are_compared_in_full() -> None:
    """In bfloat16 a likeness of 10 moves in steps of a sixteenth."""
    a, b, queue = torch.randn(3, 9, 16, generator=drawn())
    keys, queue = (nn.functional.normalize(x, dim=1) for x in (b, queue))
    whole = nt_xent(a, b, temperature=0.1), info_nce(a, keys, queue, temperature=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        half = nt_xent(a, b, temperature=0.1), info_nce(a, keys, queue, temperature=0.1)
        assert (a @ b.T).dtype == torch.bfloat16
    assert torch.equal(whole[0], half[0]) and torch.equal(whole[1], half[1])


def slow(width: int = 4, size: int = 6, keep: float = 0.9) -> MomentumEncoder:
    torch.manual_seed(0)
    net = RECOGNIZERS["tiny-2d"](heads={"projection": width})
    return MomentumEncoder(net, width=width, size=size, momentum=keep)


def test_the_queue_forgets_the_oldest_first() -> None:
    net = slow(width=1, size=5)
    for keys in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0, 7.0]):
        net.enqueue(torch.tensor(keys)[:, None])
    # seven went through five places: 6 and 7 lie where 1 and 2 did
    assert net.queue.flatten().tolist() == [6, 7, 3, 4, 5] and int(net.at) == 2
    net.enqueue(torch.arange(10.0, 22.0)[:, None])  # more than it holds: the last five
    assert sorted(net.queue.flatten().tolist()) == [17, 18, 19, 20, 21]
    net.enqueue(torch.tensor([[22.0]]))
    assert 17 not in net.queue


def test_the_slow_copy_keeps_m_of_itself() -> None:
    net, start = slow(keep=0.9), 0.0
    for value in net.slow.parameters():
        value.fill_(start)
    with torch.no_grad():
        for value in net.net.parameters():
            value.fill_(1.0)
    for step in range(1, 4):
        net.update_encoder()
        for value in net.slow.parameters():
            assert torch.allclose(value, torch.full_like(value, 1 - 0.9**step))
    assert all(float(value.detach().min()) == 1 for value in net.net.parameters())
    assert not any(value.requires_grad for value in net.slow.parameters())


def test_info_nce_is_its_equation() -> None:
    q, k = torch.randn(2, 3, 4, generator=drawn())
    keys, queue = (nn.functional.normalize(x, dim=1) for x in (k, torch.randn(5, 4)))
    found = info_nce(q, keys, queue, temperature=0.2)
    for i in range(3):
        h = [math.exp(float(q[i] @ one / q[i].norm()) / 0.2) for one in [keys[i], *queue]]
        assert float(found[i]) == pytest.approx(-math.log(h[0] / sum(h)), rel=1e-4)
    same = torch.ones(6, 4) / 2
    assert float(info_nce(same, same, same, temperature=0.1)[0]) == pytest.approx(math.log(7))
    assert MoCo(queue=6).chance_loss({}, 2, {}) == pytest.approx(math.log(7))


def test_a_step_asks_the_queue_before_it_joins_it() -> None:
    net, one = slow(), MoCo(width=4, queue=6)
    clip = torch.rand(2, 3, 1, 16, 16, generator=drawn())  # one frame: both views are the same
    before = net.queue.clone()
    net.train()
    loss = one.loss(net, ObjectiveBatch(clip, {}, drawn()))
    keys = net.keys(clip)
    assert torch.equal(net.queue[:2], keys) and torch.equal(net.queue[2:], before[2:])
    wanted = info_nce(net(clip)["projection"], keys, before, temperature=0.1)
    assert torch.allclose(loss, wanted, atol=1e-5)
    loss.sum().backward()
    with pytest.raises(UsageError, match="momentum encoder"):
        one.loss(net.net, ObjectiveBatch(clip, {}, drawn()))


def numbered(frames: int) -> Tensor:
    """(16, 3, T, 1, 1), every frame its own number."""
    return torch.arange(frames).float().expand(16, 3, 1, 1, frames).permute(0, 1, 4, 2, 3)


@given(seed=st.integers(0, 99), frames=st.integers(1, 20))
def test_without_a_gap_any_two_frames_are_a_pair(seed: int, frames: int) -> None:
    a, b = frame_pairs(numbered(frames), drawn(seed))
    apart = (a - b).abs()[:, 0].flatten()
    assert a.shape == b.shape == (16, 3, 1, 1, 1)
    assert (apart < frames).all() and (frames == 1 or (apart > 0).all())


@given(
    seed=st.integers(0, 99),
    gap=st.sampled_from([FAR, NEAR, Gap(least=3, most=9, frames=7, stride=2)]),
)
def test_frames_of_a_pair_are_as_far_apart_in_the_video_as_asked(seed: int, gap: Gap) -> None:
    a, b = frame_pairs(numbered(gap.frames), drawn(seed), gap)
    apart = (a - b).abs()[:, 0].flatten() * gap.stride  # in frames of the video
    assert (apart >= gap.least).all() and (apart <= (gap.most or 1000)).all()
    assert (a > b).any() and (b > a).any()


@given(seed=st.integers(0, 99), length=st.integers(66, 104))
def test_pairs_of_a_video_that_ends_early_are_no_nearer(seed: int, length: int) -> None:
    """Frames 0, 13, ... of so many, the last one again where they end."""
    shown = numbered(9) * 13
    a, b = frame_pairs(shown.clamp(max=length - 1), drawn(seed), FAR)
    apart = (a - b).abs()[:, 0].flatten()
    assert (apart >= 65).all()


def test_far_is_more_than_64_frames_and_near_fewer_than_8() -> None:
    assert (FAR.least, FAR.most) == (65, None) and (NEAR.least, NEAR.most) == (1, 7)


@pytest.mark.parametrize("given", [{"least": 65, "frames": 5}, {"least": 9, "most": 8}])
def test_a_gap_must_fit_the_frames_that_it_reads(given: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="so far apart"):
        Gap(**{"frames": 8, "stride": 13, **given})


@given(seed=st.integers(0, 99), frames=st.integers(2, 20))
def test_runs_of_frames_differ_and_are_half_a_clip(seed: int, frames: int) -> None:
    a, b = segment_pairs(numbered(frames), drawn(seed))
    assert a.shape == b.shape == (16, 3, frames // 2, 1, 1)
    for run in (a[0, 0].flatten(), b[0, 0].flatten()):
        assert (run.diff() == 1).all()
    assert not torch.equal(a, b)


def test_clip_by_clip_losses_average_to_the_batchs() -> None:
    one_of, codes = torch.randn(6, 3, generator=drawn()), torch.tensor([0, 2, 1, 1, 0, 2])
    assert torch.allclose(clip_losses(one_of, codes).mean(), head_loss(one_of, codes))
    binary, bits = torch.randn(6, 1, generator=drawn()), torch.tensor([0, 1, 1, 0, 0, 1])
    assert torch.allclose(clip_losses(binary, bits).mean(), head_loss(binary, bits))
    many = torch.randint(2, (6, 4), generator=drawn())
    logits = torch.randn(6, 4, generator=drawn())
    assert torch.allclose(clip_losses(logits, many).mean(), head_loss(logits, many))
    assert clip_losses(one_of, torch.full((6,), -1)).abs().sum() == 0


@pytest.mark.parametrize("several", [False, True])
def test_clips_without_a_label_do_not_weaken_the_adversary(several: bool) -> None:
    """Else omega shrank with the share of clips that have a label."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 3, generator=draw)
    known = torch.tensor([[0, 1, 1], [1, 0, 0]]) if several else torch.tensor([0, 2])
    codes = torch.cat([known, torch.full((8, *known.shape[1:]), -1)])
    clip, seen = torch.zeros(10, 3, 1, 4, 4), {"x": count_labels(known)}

    def of(rows: int) -> tuple[float, float]:
        batch = ObjectiveBatch(clip[:rows], {"x": codes[:rows]}, draw)
        loss = Labels().loss_of({"x": logits[:rows]}, batch)
        assert loss.shape == (rows,)
        return float(loss.mean()), Labels().chance_loss(batch.codes, rows, seen)

    assert of(10) == pytest.approx(of(2), rel=1e-6)
    assert of(10)[0] == pytest.approx(float(head_loss(logits, codes)), rel=1e-6)


class Says(nn.Module):
    """Gives the same logits for whatever comes in."""

    def __init__(self, **logits: list[float]) -> None:
        super().__init__()
        self.logits = {name: torch.tensor(values) for name, values in logits.items()}

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        return {name: value.expand(len(clip), -1) for name, value in self.logits.items()}


CLIP = torch.zeros(2, 3, 1, 4, 4)
CODES = {"bit": torch.tensor([1, 1]), "who": torch.tensor([0, 0])}


@pytest.mark.parametrize(
    ("fool", "wanted"),
    [
        # BCE of logit 2 at label 1, and CE of logits (0, 0) at label 0
        ("negative", -(math.log1p(math.exp(-2)) + math.log(2)) / 2),
        # binary entropy of sigmoid(2), and ln 2
        ("entropy", -(0.365334 + math.log(2)) / 2),
        # BCE of logit 2 towards a half, and CE towards equal shares
        ("uniform", (math.log1p(math.exp(-2)) + 1 + math.log(2)) / 2),
        # VITA's code: always there
        ("ones", (math.log1p(math.exp(-2)) + math.log(2)) / 2),
    ],
)
def test_what_the_anonymizer_wants_of_labels(fool, wanted: float) -> None:
    net = Says(bit=[2.0], who=[0.0, 0.0])
    found = Labels(anonymizer_loss=fool).adversarial_loss(net, ObjectiveBatch(CLIP, CODES, drawn()))
    assert found.shape == (2,)
    assert found.tolist() == pytest.approx([wanted] * 2, abs=1e-5)


def test_a_negated_loss_has_a_bottom() -> None:
    """At twice what a guess by the label's rates loses, of the batch's mean."""

    def wish(objective: Objective, losses: list[float], chance: float) -> tuple[Tensor, Tensor]:
        logits = torch.tensor(losses).expm1().log()[:, None].neg().requires_grad_()
        net = Says(bit=[0.0])
        net.forward = lambda clip: {"bit": logits}  # whose losses at label 1 these are
        codes = {"bit": torch.ones(len(losses), dtype=torch.long)}
        clip = torch.zeros(len(losses), 3, 1, 4, 4)
        found = objective.adversarial_loss(net, ObjectiveBatch(clip, codes, drawn(), chance=chance))
        found.mean().backward()
        assert logits.grad is not None
        return found.detach(), logits.grad

    found, gradient = wish(Labels(), [1.9, 0.01, 0.01, 0.01], 0.25)  # one that fools it already
    assert found.tolist() == pytest.approx([-1.9, -0.01, -0.01, -0.01], abs=1e-4)
    assert (gradient != 0).all()
    found, gradient = wish(Labels(), [1.9, 0.2, 0.1, 0.1], 0.25)
    assert float(found.mean()) == pytest.approx(-0.5) and not gradient.any()
    assert wish(Labels(), [40.0, 20.0], math.inf)[1].all()
    wrong = Says(quarters=[-50.0, -50.0, 50.0, -50.0])
    clip = torch.rand(16, 3, 2, 8, 8)
    free = Rotation().adversarial_loss(wrong, ObjectiveBatch(clip, {}, drawn()))
    capped = Rotation().adversarial_loss(
        wrong, ObjectiveBatch(clip, {}, drawn(), chance=math.log(4))
    )
    assert float(free.min()) == -100
    assert float(capped.mean()) == pytest.approx(-2 * math.log(4))


def test_chance_is_the_loss_of_who_knows_the_rates_only() -> None:
    learned = torch.tensor([0, 0, 0, 1, -1])  # with one more of each: four of six, two of six
    lost = prior_loss(torch.tensor([1, 0, -1]), count_labels(learned))
    assert lost.tolist() == pytest.approx([math.log(3), math.log(1.5), 0])
    three = prior_loss(torch.tensor([2]), count_labels(torch.tensor([0, 0, 1, 2])))
    assert float(three) == pytest.approx(-math.log(2 / 7))
    unseen = prior_loss(torch.tensor([2]), count_labels(torch.tensor([0, 0, 1])))
    assert float(unseen) == pytest.approx(math.log(6))
    seen = count_labels(torch.tensor([[0, 1], [0, 1], [0, 0], [-1, -1]]))
    assert seen.tolist() == [[3, 1], [0, 2]]
    many = prior_loss(torch.tensor([[1, -1], [0, 0], [-1, -1]]), seen)
    assert many.tolist() == pytest.approx([math.log(5), (math.log(1.25) + math.log(2.5)) / 2, 0])
    codes = {"a": torch.tensor([0, 1]), "b": torch.tensor([1, 1])}
    known = {"a": torch.tensor([1, 1]), "b": torch.tensor([2, 0])}
    wanted = (math.log(2) + math.log(4)) / 2
    assert Labels().chance_loss(codes, 2, known) == pytest.approx(wanted)
    assert Rotation().chance_loss({}, 8, {}) == pytest.approx(math.log(4))


@pytest.mark.parametrize("classes", [2, 3])
def test_held_out_clips_that_are_all_alike_still_have_a_floor(classes: int) -> None:
    """Of their own labels' rates it would be 0, and every adversary infinitely worse than blind."""
    learned = torch.arange(30) % classes
    floor = float(prior_loss(torch.zeros(10, dtype=torch.long), count_labels(learned)).mean())
    assert floor == pytest.approx(math.log(classes), rel=0.01)
    one_class = torch.zeros(30, dtype=torch.long)
    assert prior_loss(one_class[:10], count_labels(one_class)).min() > 0.01


def test_a_turned_frame_is_told_by_who_sees_which_side_is_up() -> None:
    class Up(nn.Module):
        def forward(self, clip: Tensor) -> dict[str, Tensor]:
            f = clip[:, 0, 0]  # (B, S, S)
            sides = [f[:, 0], f[:, :, 0], f[:, -1], f[:, :, -1]]  # top, left, bottom, right
            return {"quarters": 100 * torch.stack([side.mean(1) for side in sides], 1)}

    clip = torch.zeros(32, 3, 2, 6, 8)
    clip[:, :, :, 0] = 1  # bright above; a quarter counter-clockwise brings it to the left
    assert Rotation().loss(Up(), ObjectiveBatch(clip, {}, drawn())).max() < 1e-3


def test_the_reversed_gradient_is_the_explicit_one() -> None:
    clip = torch.randn(2, 3, generator=drawn(), requires_grad=True)
    (0.7 * -(clip**2).sum()).backward()
    explicit, clip.grad = clip.grad, None
    out = reverse_gradient(clip, 0.7)
    assert torch.equal(out, clip)
    (out**2).sum().backward()
    assert explicit is not None and clip.grad is not None
    assert torch.allclose(clip.grad, explicit)


def test_several_adversaries_are_taken_together() -> None:
    wishes = [torch.tensor([1.0, -2.0]), torch.tensor([0.0, 4.0])]
    assert float(combine_losses(wishes, "max")) == 2.5  # of each sample the one hardest to fool
    assert float(combine_losses(wishes, "mean")) == 0.75
    assert float(combine_losses(wishes, "sum")) == 1.5
    assert float(combine_losses([torch.tensor([1.0, 3.0]), torch.tensor([7.0])], "max")) == 7


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns_and_can_be_fooled(name: str) -> None:
    objective = OBJECTIVES[name]()
    torch.manual_seed(0)
    net = objective.wrap(RECOGNIZERS["tiny-2d"](heads=objective.heads({"bit": 1, "who": 2})))
    net.eval()  # a queue, where there is one, moves while its network learns
    clip = torch.rand(4, 3, 4, 32, 32, generator=drawn(), requires_grad=True)
    codes = {"bit": torch.tensor([0, 1, 1, -1]), "who": torch.tensor([0, 1, 0, 1])}
    seen = {name: count_labels(code) for name, code in codes.items()}
    assert objective.chance_loss(codes, 4, seen) > 0
    loss = objective.loss(net, ObjectiveBatch(clip, codes, drawn(1)))
    wish = objective.adversarial_loss(net, ObjectiveBatch(clip, codes, drawn(1)))
    assert loss.ndim == 1 and loss.shape == wish.shape
    assert torch.allclose(wish, -loss, atol=1e-5)
    assert torch.autograd.grad(wish.mean(), clip)[0].abs().sum() > 0


def test_the_papers_self_supervised_adversary_has_its_size() -> None:
    net = EmbeddingRecognizer(RECOGNIZERS["resnet-50"](classes=1), heads={"projection": 128})
    assert sum(p.numel() for p in net.parameters()) == 27_966_656
