"""How far exported files are from PyTorch: every method and every network, as ONNX.

    python benchmarks/export_parity.py [NAME ...] [-o docs/results/export.md]

Methods have their `paper` preset where there is one, for frames of 112 x 112, as has
`restoration-net`; recognizers read clips as the papers sample them, into 10 classes, and key
networks frames of any size. All have random weights of seed 0: a trained file is compared by
`masquerade export` itself. Parameters that begin as zeros are drawn, as what they multiply would
not be compared.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from torch import nn

from masquerade import __version__
from masquerade.errors import MasqueradeError
from masquerade.export.graph import Graph, MethodGraph
from masquerade.export.network_graph import NETWORK_GRAPHS, network_graph
from masquerade.export.recognizer_graph import RecognizerGraph
from masquerade.export.write import TOLERANCE, export
from masquerade.methods import METHODS, PRESETS
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.regions.key_extractors import NETWORKS

SIZE = (112, 112)
CLASSES = 10


def draw_zeros(net: nn.Module) -> None:
    """Give parameters that are all zero small random values."""
    for value in net.parameters():
        if not value.detach().any():
            nn.init.normal_(value, std=0.02)


def graph_of(name: str) -> Graph:
    torch.manual_seed(0)
    if name in RECOGNIZERS:
        graph: Graph = RecognizerGraph(name, classes=CLASSES)
        draw_zeros(graph)
        return graph
    if name in NETWORK_GRAPHS:
        graph = network_graph(name, size=None if name in NETWORKS else SIZE)
        draw_zeros(graph)
        return graph
    method = PRESETS.get(name, {}).get("paper", METHODS[name])().eval()
    draw_zeros(method)
    return MethodGraph(method, size=None if method.dynamic_size else SIZE)


def row(name: str, folder: Path) -> str:
    path = folder / "file.onnx"
    try:
        graph = graph_of(name)
        done = export(graph, path, overwrite=True)
    except MasqueradeError as error:
        return f"| `{name}` | refused: {str(error).split(': ', 1)[-1]} | | |"
    first = next(iter(graph.inputs.values()))
    shape = " x ".join(map(str, first.shape))
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    return f"| `{name}` | {shape} | {done.difference:.1e} | {size} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    names = given.names or [*METHODS, *RECOGNIZERS, *NETWORK_GRAPHS]
    lines = [
        "# How far exported files are from PyTorch",
        "",
        "By `python benchmarks/export_parity.py -o docs/results/export.md`, seed 0, masquerade "
        f"{__version__}, torch {torch.__version__}.",
        f"Random weights. Allowed is {TOLERANCE:.0e}, of pixels in [0, 1] or of the largest logit"
        " or key.",
        "",
        "| | input | largest difference | file |",
        "| --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            lines.append(row(name, Path(folder)))
            print(lines[-1], flush=True)
    if given.output:
        given.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
