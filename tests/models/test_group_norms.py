"""Group norms in place of batch norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from masquerade.models.recognizers import RECOGNIZERS, use_group_norm
from masquerade.training.adversarial_models import build_models
from masquerade.training.recipes import RECIPES


@pytest.mark.parametrize("name", ["tiny-3d", "tiny-2d"])
def test_group_norms_give_the_same_in_training_evaluation_and_any_batch(name: str) -> None:
    torch.manual_seed(0)
    clips = torch.rand(3, 3, 4, 32, 32)
    net = use_group_norm(RECOGNIZERS[name](heads={"action": 4}))
    learning = net.train()(clips)["action"]
    torch.testing.assert_close(net.eval()(clips)["action"], learning)
    torch.testing.assert_close(net(clips[:1])["action"], learning[:1])


def test_widths_that_eight_does_not_divide_are_one_group() -> None:
    net = use_group_norm(nn.Sequential(nn.BatchNorm2d(12), nn.Sequential(nn.BatchNorm3d(16))))
    assert [m.num_groups for m in net.modules() if isinstance(m, nn.GroupNorm)] == [1, 8]


@pytest.mark.parametrize("method", RECIPES)
def test_tiny_recipes_have_no_batch_norms(method: str) -> None:
    models = build_models(RECIPES[method](), utility={"action": 3}, private={"hat": 1}, seed=0)
    for name in ("utility", "adversary"):
        assert not any(isinstance(m, _BatchNorm) for m in models.get_submodule(name).modules())
