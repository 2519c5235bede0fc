"""SPAct and VITA: networks of single frames, any size in, and nothing learned from neighbours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import masquerade
from masquerade.anonymizer import Anonymizer
from masquerade.errors import UsageError
from masquerade.methods import METHODS, PRESETS, build
from masquerade.pipeline.config import PipelineConfig, with_default_regions

LEARNED = pytest.mark.parametrize("name", ["spact", "vita"])


def small(name: str) -> Anonymizer:
    torch.manual_seed(0)
    return PRESETS[name]["tiny"]().eval()


@LEARNED
def test_the_papers_networks_have_their_size(name: str) -> None:
    wanted = {"spact": 17_267_523, "vita": 1_677_638}[name]
    assert sum(p.numel() for p in PRESETS[name]["paper"]().parameters()) == wanted


@LEARNED
def test_a_frame_depends_on_no_other_and_not_on_its_company(name: str) -> None:
    method, clip = small(name), torch.rand(2, 3, 3, 40, 50)
    whole = method(clip).clip
    other = clip.clone()
    other[1] = 0
    other[:, :, 1:] = 1
    assert torch.equal(method(other).clip[:1, :, :1], whole[:1, :, :1])


@LEARNED
def test_training_sees_what_is_published_but_for_rounding(name: str) -> None:
    method, clip = small(name), torch.rand(2, 3, 3, 40, 50)
    with torch.no_grad():
        assert torch.allclose(method.training_output(clip).clip, method(clip).clip, atol=1e-5)
    method.train()
    method.training_output(clip).clip.sum().backward()
    assert all(p.grad is not None for p in method.parameters())


@LEARNED
def test_no_more_detail_comes_out_than_its_size_carries(name: str) -> None:
    assert small(name).size(480, 640) == (24, 32)
    assert small(name).size(20, 26) == (20, 26)
    assert METHODS[name].learned
    with pytest.raises(UsageError, match="--short must be from 16"):
        masquerade.build(name, short=8)


def test_grey_output_has_equal_channels() -> None:
    out = masquerade.build("vita", grey=True, short=16)(torch.rand(1, 3, 2, 20, 20)).clip
    assert torch.equal(out[:, 0], out[:, 2])


def test_a_trained_one_rewrites_the_whole_frame_unless_regions_are_named(
    made: Callable[[str], Anonymizer],
) -> None:
    method = made("spact")
    assert with_default_regions(PipelineConfig(), method).regions == "frame"
    for named in ("people", "faces"):
        assert with_default_regions(PipelineConfig(regions=named), method).regions == named
        with pytest.raises(UsageError, match="rewrites whole frames"):
            with_default_regions(PipelineConfig(regions=named), made("stprivacy"))
    assert with_default_regions(PipelineConfig(), build("blur")).regions == "people"
