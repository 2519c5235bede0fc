"""Every network of the package is in some exported file, or docs/export.md says why not."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import masquerade
from masquerade.errors import UsageError
from masquerade.evaluation.presets import PRESETS as ATTACKER_PRESETS
from masquerade.export.graph import Graph
from masquerade.export.network_graph import NETWORK_GRAPHS, KeyGraph, network_graph
from masquerade.export.recognizer_graph import RecognizerGraph
from masquerade.export.write import TOLERANCE, export, trace
from masquerade.methods import METHODS, PRESETS
from masquerade.models.recognizers import RECOGNIZERS, build_recognizer
from masquerade.models.restoration_net import RestorationNet
from masquerade.regions.key_extractors import NETWORKS, ViTKeys, lanczos
from masquerade.storage import save_tensors

DOCS = Path(__file__).parents[2] / "docs"


def classes_below(kind: type) -> Iterator[type]:
    """Those derived from a class that no other class is derived from."""
    for one in kind.__subclasses__():
        if one.__subclasses__():
            yield from classes_below(one)
        elif one.__module__.startswith("masquerade."):
            yield one


def exported() -> Iterator[nn.Module]:
    """Whatever `masquerade export` writes, without weights."""
    with torch.device("meta"):
        for name, kind in METHODS.items():
            if not kind.export_refusal:
                yield from (make() for make in PRESETS.get(name, {"": kind}).values())
        for name, architecture in RECOGNIZERS.items():
            if architecture.channels != 3 or architecture.poses:
                yield architecture(classes=2)
            else:
                yield build_recognizer(name, heads={"logits": 2}, modality="motion")
        for shape in NETWORKS.values():
            yield shape.build(shape.stride)
        yield RestorationNet()


def drawn(name: str, size: tuple[int, int] | None) -> Graph:
    """The graph of a network of which no parameter is zero, as what it multiplies would be lost."""
    torch.manual_seed(0)
    graph = network_graph(name, size=size)
    for value in graph.parameters():
        if not value.detach().any():
            nn.init.normal_(value, std=0.02)
    return graph


def test_every_network_is_in_a_file_or_the_docs_say_why_not() -> None:
    for module in pkgutil.walk_packages(masquerade.__path__, "masquerade."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    inside = {type(part) for network in exported() for part in network.modules()}
    missing = {one.__name__ for one in classes_below(nn.Module) if not issubclass(one, Graph)}
    missing -= {one.__name__ for one in inside}
    refused = {kind.__name__ for kind in METHODS.values() if kind.export_refusal}
    section = (DOCS / "export.md").read_text().partition("## What is in no file")[2]
    told = set(re.findall(r"`(\w+)`", section.partition("\n## ")[0]))
    assert missing - refused == told & missing, sorted(missing - refused - told)
    assert told == missing - refused, "and of no others"


def test_every_network_beside_the_recognizers_has_a_row_of_figures() -> None:
    """Made by benchmarks/export_parity.py."""
    for name in NETWORK_GRAPHS:
        assert f"| `{name}` |" in (DOCS / "results" / "export.md").read_text(), name
        assert f"`{name}`" in (DOCS / "export.md").read_text(), name


# They have the blocks of a smaller one, only more, wider or on more tokens.
LARGER = {"vit-b-16", "vit-s-video", "resnet-101", "x3d-m", "x3d-l", "e2s-x3d-m", "e2s-x3d-l"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECOGNIZERS if name not in LARGER])
def test_every_recognizer_is_traced_with_an_open_batch(name: str) -> None:
    """docs/results/export.md has how far the files of all are from PyTorch."""
    graph = RecognizerGraph(name, classes=3)
    program = trace(graph)
    (clip,) = (node for node in program.graph.nodes if node.name == "clip")
    batch, *rest = clip.meta["val"].shape
    assert not isinstance(batch, int) and tuple(rest) == graph.inputs["clip"].shape[1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dino-s16", "dinov2-s14"])
def test_keys_are_exported_for_frames_of_any_size(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In three blocks, as twelve are alike."""
    monkeypatch.setitem(NETWORKS, name, replace(NETWORKS[name], depth=3))
    found = export(drawn(name, None), tmp_path / "file.onnx")
    assert found.comparisons == 4 and found.difference <= TOLERANCE
    assert found.about["inputs"]["frames"]["shape"] == ("batch", 3, "height", "width")


@pytest.mark.slow
def test_a_restoration_network_is_exported_for_one_size(tmp_path: Path) -> None:
    found = export(drawn("restoration-net", (30, 41)), tmp_path / "file.onnx")
    assert found.comparisons == 4 and found.difference <= TOLERANCE


def test_a_restoration_network_reads_what_an_evaluation_wrote(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = RestorationNet().eval()
    nn.init.normal_(net.leave.weight, std=0.1)
    save_tensors(net.state_dict(), tmp_path / "a.restoration")
    graph = network_graph("restoration-net", weights=tmp_path / "a.restoration", size=(18, 25))
    found = export(graph, tmp_path / "file.pt2", format="torch")
    assert found.about["trained"] and found.difference <= TOLERANCE
    frames = torch.rand(2, 6, 18, 25)
    (restored,) = torch.export.load(tmp_path / "file.pt2").module()(frames=frames)
    assert torch.allclose(restored, net(frames), atol=1e-5)


def test_keys_are_those_that_templates_are_compared_with(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = NETWORKS["dino-s16"]
    weights = KeyGraph("dino-s16").net.state_dict()
    torch.save({"teacher": {f"backbone.{k}": v for k, v in weights.items()}}, tmp_path / "a.pth")
    graph = KeyGraph("dino-s16", weights=tmp_path / "a.pth", size=(32, 48), stride=16)
    assert graph.trained and graph.outputs["keys"].shape == ("batch", 2, 3, shape.width)
    picture = torch.randint(256, (32, 48, 3)).numpy().astype("uint8")
    keys = ViTKeys("dino-s16", weights=tmp_path / "a.pth", stride=16, short=32)(picture).keys
    frames = torch.from_numpy(lanczos(picture, 32, 48)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        assert torch.allclose(graph(frames)[0][0], torch.from_numpy(keys), atol=1e-5)


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    save_tensors(RestorationNet().state_dict(), tmp_path / "a.pth")
    for name in ("dino-s8", "dinov2-s14"):
        with pytest.raises(UsageError, match=f"does not hold the weights of {name}"):
            network_graph(name, weights=tmp_path / "a.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "b.pth")
    with pytest.raises(UsageError, match=r"b\.pth is not for this network"):
        network_graph("restoration-net", weights=tmp_path / "b.pth", size=(18, 25))


def test_the_sizes_at_which_attackers_read_are_those_of_the_docs() -> None:
    """A file of an attacker's weights at another size passes its check, and reads wrongly."""
    text = (DOCS / "export.md").read_text()
    (example,) = re.findall(r"export tiny-3d .*", text)
    table = text.partition("| preset | network |")[2].partition("\n\n")[0].splitlines()
    for name, model in [("tiny", "tiny-3d"), ("tiny", "tiny-3d on motion"), ("bags", "tiny-2d")]:
        preset = ATTACKER_PRESETS[name]
        one = preset.attackers[model]
        words = f"--modality {one.modality} --frames {preset.frames} --size {one.side}x{one.side}"
        assert any(f"`{model}`" in row and words in row for row in table), (model, words)
        assert model != "tiny-3d" or words in example
    side = ATTACKER_PRESETS["paper"].size
    sized = f"--frames {ATTACKER_PRESETS['paper'].frames} --size {side[0]}x{side[1]}"
    assert any("`paper`" in row and sized in row for row in table)
