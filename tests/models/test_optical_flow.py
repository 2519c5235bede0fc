"""Optical flow: one direction for DIS and RAFT, and loading RAFT without torchvision."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import masquerade
from masquerade.checkpoint import describe
from masquerade.errors import MissingError, UsageError
from masquerade.evaluation.table_rows import arguments_as_json
from masquerade.methods.selective import Selective
from masquerade.models.optical_flow import (
    RAFT_MIN_SIDE,
    RAFT_STRIDE,
    Raft,
    dis_flow,
    grey,
    load_raft,
    remap,
    warp,
)


def pair(height: int, width: int, *, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Two RGB frames, t and t-1; the content of t lay at `shift` (x, y) from its place."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.random((height + 40, width + 40, 3), np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    x, y = shift
    return texture[20:-20, 20:-20].copy(), texture[20 - y :, 20 - x :][:height, :width].copy()


class Shifts(nn.Module):
    """Stands in for RAFT: finds the one whole-pixel shift from the first image to the second."""

    def __init__(self) -> None:
        super().__init__()
        self.here = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, first: Tensor, second: Tensor, *, num_flow_updates: int) -> list[Tensor]:
        assert first.min() >= -1 and first.max() <= 1 and num_flow_updates == 12
        self.seen.append(tuple(first.shape))
        best = min(
            ((x, y) for x in range(-6, 7) for y in range(-6, 7)),
            key=lambda s: float(
                (first - second.roll((-s[1], -s[0]), (2, 3)))[..., 8:24, 8:24].abs().sum()
            ),
        )
        flow = torch.tensor(best, dtype=torch.float32).view(1, 2, 1, 1)
        return [flow * 0, flow.expand(1, 2, *first.shape[2:])]


def test_remap_takes_x_and_y_in_pairs_or_apart() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    source = rng.uniform(-3, 42, (20, 25, 2)).astype(np.float32)
    for nearest in (False, True):
        apart = remap(image, (source[..., 0], source[..., 1]), nearest=nearest)
        np.testing.assert_array_equal(apart, remap(image, source, nearest=nearest))


@pytest.mark.parametrize("size", [(96, 128), (100, 75)])
def test_every_flow_leads_from_now_to_before(size: tuple[int, int]) -> None:
    now, before = pair(*size, shift=(3, -2))
    inner = slice(10, -10), slice(10, -10)
    for flow in (dis_flow(grey(now), grey(before)), Raft(Shifts()).flow(now, before)):
        assert flow.shape == (*size, 2)
        assert np.median(flow[inner].reshape(-1, 2), 0) == pytest.approx([3, -2], abs=0.3)
        back = warp(before, flow)
        assert np.abs(back[inner].astype(int) - now[inner]).mean() < 3


def test_raft_is_given_sizes_that_it_takes() -> None:
    network = Shifts()
    for size in ((50, 70), (300, 433), (700, 40)):
        flow = Raft(network).flow(*pair(*size, shift=(0, 0)))
        assert flow.shape == (*size, 2)
    assert all(
        side >= RAFT_MIN_SIDE and side % RAFT_STRIDE == 0
        for seen in network.seen
        for side in seen[2:]
    )


def test_flow_of_a_reduced_copy_is_in_pixels_of_the_full_one() -> None:
    small, large = (pair(60 * n, 160 * n, shift=(2 * n, n)) for n in (1, 4))
    flows = [Raft(Shifts()).flow(*frames)[30, 60] for frames in (small, large)]
    assert flows[0] == pytest.approx([2, 1])
    assert flows[1] == pytest.approx([8, 4])


def test_a_strip_too_thin_for_dis_has_no_flow() -> None:
    thin = np.zeros((20, 200), np.uint8)
    assert not dis_flow(thin, thin).any()


@pytest.mark.skipif(bool(importlib.util.find_spec("torchvision")), reason="torchvision is here")
def test_without_torchvision_raft_says_what_to_do() -> None:
    with pytest.raises(MissingError, match=r"\[zoo\].*dis"):
        Selective(flow="raft", flow_weights="raft.pth")


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A torchvision that has RAFT's two builders and nothing else."""
    flow: Any = ModuleType("torchvision.models.optical_flow")
    flow.raft_small = lambda: Shifts()
    flow.raft_large = lambda: nn.ModuleDict({"mask_predictor": nn.Linear(1, 1)})
    models: Any = ModuleType("torchvision.models")
    models.optical_flow = flow
    top: Any = ModuleType("torchvision")
    top.models = models
    for module in (top, models, flow):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return flow


def test_raft_takes_the_weights_of_a_file(torchvision: Any, tmp_path) -> None:
    for name, network in (("small", Shifts()), ("large", torchvision.raft_large())):
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
        for file in (f"{name}.pth", f"{name}.safetensors"):
            assert type(load_raft(tmp_path / file).network) is type(network)


def test_raft_moves_the_noise(torchvision: Any, tmp_path) -> None:
    torch.save(Shifts().state_dict(), tmp_path / "raft.pth")
    method = Selective(flow="raft", flow_weights=str(tmp_path / "raft.pth"))
    now, before = pair(64, 64, shift=(3, -2))
    out, _ = method.on_pixels(np.stack([before, now]), state=method.init_state(seed=1))
    assert np.array_equal(out[1][5:-5, 5:-5], np.roll(out[0], (2, -3), (0, 1))[5:-5, 5:-5])


def test_a_saved_method_names_no_folder_and_is_given_its_weights_again(
    torchvision: Any, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, saved = tmp_path / "raft.pth", tmp_path / "selective.safetensors"
    torch.save(Shifts().state_dict(), weights)
    method = Selective(flow="raft", flow_weights=str(weights))
    masquerade.save(method, saved)
    assert str(tmp_path).encode() not in saved.read_bytes()
    assert describe(method)["arguments"]["flow_weights"] == "raft.pth"
    assert arguments_as_json(method)["flow_weights"] == "raft.pth"
    monkeypatch.chdir("/")
    with pytest.raises(MissingError, match=r"--flow-weights FILE; raft\.pth is not there"):
        masquerade.load(saved)
    loaded: Any = masquerade.load(saved, flow_weights=str(weights))
    assert loaded.flow == "raft" and isinstance(loaded.raft.network, Shifts)


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_files_without_rafts_weights_are_refused(torchvision: Any, tmp_path, content) -> None:
    with pytest.raises(MissingError, match="flow-weights"):
        load_raft(tmp_path / "none.pth")
    with pytest.raises(MissingError, match="flow-weights"):
        load_raft(None)
    file = tmp_path / "other.pth"
    if content is None:
        torch.save({"weight": torch.zeros(3)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=r"other\.pth"):
        load_raft(file)
