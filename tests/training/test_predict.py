"""Views and their average, and what a head owes its label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.extraction.dataset import from_tensor
from masquerade.models.recognizers import RECOGNIZERS, build_recognizer
from masquerade.training.fit_config import tiny
from masquerade.training.label_losses import head_loss, probabilities
from masquerade.training.predict import predict
from masquerade.training.supervised import fit
from masquerade.training.views import Views, iterate_views, random_windows


class Reads(nn.Module):
    """Logits are the mean level and its negative; it remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, clip: Tensor) -> Tensor:
        self.seen.append(tuple(clip.shape))
        level = clip.mean(dim=(1, 2, 3, 4))
        return torch.stack([level, -level], 1)


def ramp(frames: int = 12, height: int = 8, width: int = 20) -> Tensor:
    """One clip whose level is frame number + column / 100, in thousandths."""
    t = torch.arange(frames)[:, None, None]
    level = (t + torch.arange(width) / 100).expand(frames, height, width) / 1000
    return level.expand(1, 3, -1, -1, -1)


def test_five_views_of_the_middle_and_their_mean() -> None:
    net = Reads()
    said = predict(net, ramp(), views=Views(times=5, crop=0.5), frames=4)["label"]
    assert net.seen == [(1, 3, 4, 4, 4)] * 5
    parts = [ramp()[:, :, t : t + 4, 2:6, 8:12] for t in (0, 2, 4, 6, 8)]
    wanted = torch.stack([net(part).softmax(1) for part in parts]).mean(0)
    assert np.allclose(said, wanted, atol=1e-7)


def test_identical_views_give_the_probabilities_of_one() -> None:
    still = torch.full((2, 3, 8, 6, 9), 0.3)
    net = Reads()
    once = predict(net, still)["label"]
    many = predict(net, still, views=Views(times=5, mirror=True), frames=4)["label"]
    assert np.allclose(once, many, atol=1e-7)


def test_one_view_is_the_middle_or_the_whole() -> None:
    (whole,) = iterate_views(ramp(), Views())
    assert torch.equal(whole, ramp())
    (middle,) = iterate_views(ramp(), Views(crop=0.5), frames=4)
    assert torch.equal(middle, ramp()[:, :, 4:8, 2:6, 8:12])


def test_mirrored_views_follow_their_own() -> None:
    a, b = iterate_views(ramp(), Views(mirror=True))
    assert torch.equal(b, a.flip(-1))


def test_random_windows_run_on_and_reach_everywhere() -> None:
    clips = ramp().expand(200, -1, -1, -1, -1)
    out = random_windows(clips, 9, torch.Generator().manual_seed(0))
    first = (out[:, 0, 0, 0, 0] * 1000).round().int()
    assert set(first.tolist()) == {0, 1, 2, 3}
    steps = (out[:, 0, :, 0, 0] * 1000).round().int()
    assert (steps.diff(dim=1) == 1).all()


def test_predictions_depend_neither_on_bytes_or_floats_nor_on_batches() -> None:
    torch.manual_seed(0)
    net = RECOGNIZERS["tiny-3d"](heads={"a": 3, "b": 1}, widths=(4,)).eval()
    store = from_tensor(torch.rand(7, 3, 2, 8, 8))
    said = predict(net, store)
    small = predict(net, torch.stack([*store]).float() / 255, batch=2)
    assert said["a"].shape == (7, 3) and said["b"].shape == (7, 1)
    for label in said:
        assert np.allclose(said[label], small[label], atol=1e-6)


def test_losses_against_torch() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=draw)
    codes = torch.tensor([0, 3, -1, 2, 1, -1])
    known = codes >= 0
    assert torch.allclose(head_loss(logits, codes), F.cross_entropy(logits[known], codes[known]))
    one, bits = logits[:, :1], torch.tensor([1, 0, -1, 1, 0, -1])
    wanted = F.binary_cross_entropy_with_logits(one[known, 0], bits[known].float())
    assert torch.allclose(head_loss(one, bits), wanted)
    hot = torch.randint(2, (6, 4), generator=draw)
    wanted = F.binary_cross_entropy_with_logits(logits[1:], hot[1:].float())
    hot[0] = -1
    assert torch.allclose(head_loss(logits, hot), wanted)
    assert head_loss(logits, torch.full((6,), -1)) == 0


def test_probabilities() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, -1.0]])
    assert torch.allclose(probabilities(logits).sum(1), torch.ones(2))
    assert torch.equal(probabilities(logits, multi_label=True), logits.sigmoid())
    assert torch.equal(probabilities(logits[:, :1]), logits[:, :1].sigmoid())


def test_a_recipe_fits_and_predicts() -> None:
    """Everything of it reaches the loop; a small copy of it learns what is easy."""
    draw = np.random.default_rng(0)
    bright = draw.integers(2, size=24)
    clips = torch.rand(24, 3, 4, 16, 16) * 0.2
    clips[:, :, ::2] += 0.7 * torch.from_numpy(bright).float()[:, None, None, None, None]
    small = replace(tiny(), frames=4, size=16, widths=(8, 16), epochs=6, lr=1e-2, batch=8)
    for look in ("frames", "motion", "both"):
        torch.manual_seed(0)
        net = small.network("tiny-3d", heads={"bright": 1}, modality=look)
        store, targets = from_tensor(clips), {"bright": bright}
        fitted = fit(net, store, store, targets=targets, device="cpu", **small.fit_arguments())
        said = predict(fitted.net, store, views=small.views)["bright"][:, 0]
        assert ((said > 0.5) == bright).mean() > 0.9


def test_a_network_of_stills_averages_over_its_frames() -> None:
    torch.manual_seed(0)
    net = build_recognizer("tiny-2d", heads={"who": 3}).eval()
    clip = torch.rand(1, 3, 16, 24, 24)
    each = torch.stack([net(clip[:, :, t : t + 1])["who"] for t in range(16)])
    assert torch.allclose(net(clip)["who"], each.mean(dim=0), atol=1e-5)
