"""ST-GCN: the graph, its convolution against a plain one, and that it learns a gait."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from walkers import SIZE, walker

from masquerade.datasets.augmentation import Augmentation, augment, mirror
from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset, TensorClips
from masquerade.extraction.poses import pose_sequence
from masquerade.models.recognizers import build_recognizer
from masquerade.models.stgcn import (
    ALPHA,
    BONES,
    JOINTS,
    MIRROR,
    STGCN,
    GraphConvolution,
    distances_to_trunk,
    partitioned_adjacency,
)
from masquerade.training.predict import predict
from masquerade.training.supervised import fit
from masquerade.training.views import Views


def walking(**how: float) -> np.ndarray:
    return pose_sequence({t: [walker(t, **how)] for t in range(24)}, np.arange(24), size=SIZE)


def test_the_parts_of_the_adjacency_are_the_bones_each_once() -> None:
    parts, far = partitioned_adjacency() > 0, distances_to_trunk()
    whole = torch.eye(len(JOINTS), dtype=torch.bool)
    for a, b in BONES:
        i, j = JOINTS.index(a), JOINTS.index(b)
        whole[i, j] = whole[j, i] = True
        if far[a] != far[b]:
            near, away = (i, j) if far[a] < far[b] else (j, i)
            assert parts[1, away, near] and parts[2, near, away]
    assert torch.equal(parts.sum(dim=0), whole.long())


def test_the_graph_convolution_is_the_sum_over_neighbours() -> None:
    torch.manual_seed(0)
    layer, x = GraphConvolution(2, 3), torch.rand(1, 2, 4, len(JOINTS))
    torch.nn.init.uniform_(layer.importance)
    parts = (partitioned_adjacency() > 0).float()
    weights, biases = layer.weight.weight.reshape(3, 3, 2), layer.weight.bias.reshape(3, 3)
    expected = torch.zeros(1, 3, 4, len(JOINTS))
    for j in range(3):
        for v in range(len(JOINTS)):
            for w in range(len(JOINTS)):
                degrees = (parts[j, v].sum() + ALPHA) * (parts[j, :, w].sum() + ALPHA)
                share = parts[j, v, w] / degrees.sqrt() * layer.importance[j, v, w]
                expected[0, :, :, v] += share * (weights[j] @ x[0, :, :, w] + biases[j][:, None])
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_the_order_of_people_does_not_matter_and_those_who_are_nowhere_are_0() -> None:
    torch.manual_seed(0)
    net, poses = STGCN(classes=4).eval(), torch.rand(3, 3, 24, 33, 2)
    assert torch.allclose(net(poses), net(poses.flip(-1)), atol=1e-6)
    assert net(0 * poses).isfinite().all()


def test_a_mirrored_body_swaps_its_sides() -> None:
    assert [MIRROR[MIRROR[i]] for i in range(33)] == list(range(33))
    assert (MIRROR[0], MIRROR[7], MIRROR[11], MIRROR[19], MIRROR[32]) == (0, 8, 12, 20, 31)
    poses = torch.from_numpy(walking(x=60))[None]
    other = mirror(poses)
    assert torch.equal(mirror(other), poses)
    assert torch.allclose(other[:, [1, 2, 4, 5]], poses[:, [1, 2, 4, 5]][..., list(MIRROR), :])
    # Who walks left of the middle walks right of it, with the other leg in front.
    expected = torch.from_numpy(walking(x=100))[None]
    legs = [23, 24, 25, 26, 27, 28]
    assert torch.allclose(other[..., legs, 0], expected[..., legs, 0], atol=1e-5)
    drawn = augment(poses.expand(40, -1, -1, -1, -1), Augmentation(flip=0.5), torch.Generator())
    flipped = (drawn == other).flatten(1).all(dim=1)
    assert 5 < flipped.sum() < 35 and (drawn[~flipped] == poses).all()


def test_it_learns_a_gait_in_a_moment_and_keeps_it_in_a_file(tmp_path: Path) -> None:
    rows = np.arange(8)
    poses = np.stack([walking(steps=1 + i % 2, phase=i, x=60 + i)[..., :1] for i in rows])
    labels = {"gait": rows % 2, "who": rows % 3}
    clips = ClipDataset(source=TensorClips(torch.from_numpy(poses)), places=rows, rows=rows)
    torch.manual_seed(0)
    net = build_recognizer("st-gcn", heads={"gait": 2, "who": 3}, modality="poses")
    how = {"epochs": 20, "batch": 8, "lr": 1e-2, "warmup": 1, "device": "cpu"}
    fit(net, clips, None, targets=labels, augment=Augmentation(flip=0.5), **how)
    said = predict(net, clips, views=Views(mirror=True))
    assert (said["gait"].argmax(axis=1) == labels["gait"]).mean() > 0.9
    assert said["who"].shape == (8, 3)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    again = build_recognizer("st-gcn", heads={"gait": 2, "who": 3}, modality="poses")
    again.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert np.array_equal(predict(again, clips)["gait"], predict(net, clips)["gait"])


def test_pixels_are_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="st-gcn reads sequences of landmarks"):
        STGCN(classes=2)(torch.rand(1, 3, 4, 16, 16))
