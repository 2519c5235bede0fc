"""What `torch.compile` brings to each large network, and what compiling costs.

    python benchmarks/compiled.py --device cuda --output docs/results/compiled-gpu.md

Each network computes in bfloat16 on random clips of 16 frames of 112 x 112 pixels: as written,
with weights and pictures in `channels_last` order where it convolves, and compiled, in that order
too. Ways take turns in one process. Needs no data.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from masquerade.methods import build
from masquerade.models.recognizers import build_recognizer
from masquerade.regions.key_extractors import NETWORKS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "compiled-gpu.md"
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
WAYS = ("as written", "channels last", "compiled")


class Case(NamedTuple):
    """A network, what it is given, and whether it learns."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of its input
    learns: bool
    convolves: bool


def cases(batch: int) -> list[Case]:
    """The networks that the papers' trainings and files need most of their time for."""
    clips, pictures = (batch, 3, 16, 112, 112), (16 * batch, 3, 112, 112)

    def recognizer(name: str) -> Callable[[], nn.Module]:
        return lambda: build_recognizer(name, heads={"action": 10})

    def stprivacy() -> nn.Module:
        return build("stprivacy", width=384, heads=6, picture=(112, 112))

    return [
        Case("STPrivacy, ViT-S, anonymizes", stprivacy, clips, False, False),
        Case("SPAct's UNet, learns", lambda: build("spact", width=64).net, pictures, True, True),
        Case("R3D-18, learns", recognizer("r3d-18"), clips, True, True),
        Case(
            "DINO's S/16, one key frame",
            lambda: NETWORKS["dino-s16"].build(16).to_empty(device="cpu"),
            (1, 3, 224, 304),
            False,
            False,
        ),
    ]


def first_tensor(out: object) -> Tensor:
    """The tensor of a network's output that is a clip, picture, keys or logits."""
    if isinstance(out, Tensor):
        return out
    values = list(out.values()) if isinstance(out, dict) else list(out)  # type: ignore[call-overload]
    return first_tensor(values[0])


class Measured(NamedTuple):
    """Of one way to run a network."""

    first: float  # seconds of the first call: what compiling costs
    median: float  # seconds of a later one
    apart: float  # norm of the difference of the outputs from the first way's, over its norm


def run(net: nn.Module, given: Tensor, *, learns: bool) -> Tensor:
    """One call, in bfloat16; with the backward pass if the network learns."""
    with torch.autocast(given.device.type, torch.bfloat16), torch.set_grad_enabled(learns):
        out = first_tensor(net.keys(given) if hasattr(net, "keys") else net(given))
        if learns:
            net.zero_grad(set_to_none=True)
            out.float().square().mean().backward()
    if given.device.type == "cuda":
        torch.cuda.synchronize()
    return out.detach().float()


def measure(case: Case, *, device: str, turns: int) -> dict[str, Measured]:
    """All ways that a network has."""
    draw = torch.Generator().manual_seed(0)
    given = torch.rand(case.shape, generator=draw).to(device)
    nets: dict[str, tuple[nn.Module, Tensor]] = {}
    for way in WAYS:
        if way == "channels last" and not case.convolves:
            continue
        torch.manual_seed(0)
        net = case.build().to(device).train(case.learns)
        if hasattr(net, "keys"):
            for one in (*net.parameters(), *net.buffers()):
                one.data.normal_(std=0.02)
        what = given
        if case.convolves and way != WAYS[0]:
            layout = LAYOUTS[given.dim()]
            net, what = net.to(memory_format=layout), given.contiguous(memory_format=layout)
        if way == "compiled":
            if hasattr(net, "keys"):
                net.keys = torch.compile(net.keys)  # type: ignore[assignment]
            else:
                net.compile()
        nets[way] = net, what
    first, outs, spent = {}, {}, {way: [] for way in nets}  # type: ignore[var-annotated]
    for way, (net, what) in nets.items():
        began = time.perf_counter()
        outs[way] = run(net, what, learns=case.learns)
        first[way] = time.perf_counter() - began
    for turn in range(turns + 2):
        for way, (net, what) in nets.items():
            began = time.perf_counter()
            run(net, what, learns=case.learns)
            if turn > 1:
                spent[way].append(time.perf_counter() - began)
    plain = outs[WAYS[0]]
    return {
        way: Measured(
            first[way],
            statistics.median(spent[way]),
            ((outs[way] - plain).norm() / plain.norm()).item(),
        )
        for way in nets
    }


def write_page(given: argparse.Namespace) -> None:
    """The committed page, written anew after each network, so that a cut run leaves the others."""
    where = platform.machine() if given.device == "cpu" else torch.cuda.get_device_name()
    lines = [
        "# What `torch.compile` brings",
        "",
        f"`python benchmarks/compiled.py --batch {given.batch} --turns {given.turns} --device "
        f"{given.device}` on {where} with PyTorch {torch.__version__}, load "
        f"{os.getloadavg()[0]:.1f} at the start: {given.batch} clips of 16 x 112², bfloat16; "
        f"milliseconds are medians of {given.turns} calls that take turns. Speed-ups are over the "
        "network as it is written; *pays after* is how many calls make up for the seconds of the "
        "first one; outputs apart are the norm of the difference over the norm. Rounding decides "
        "which tubelets STPrivacy drops, so that its outputs differ more.",
        "",
        "| network | ms as written | channels last | compiled | seconds to compile | pays after "
        "| outputs apart |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in cases(given.batch):
        found = measure(case, device=given.device, turns=given.turns)
        base = found[WAYS[0]]
        gains = [f"{base.median / found[w].median:.2f}" if w in found else "" for w in WAYS[1:]]
        made, cost = found["compiled"], found["compiled"].first - base.first
        saved = base.median - made.median
        after = f"{cost / saved:,.0f}" if saved > 0 else "never"
        apart = max(one.apart for one in found.values())
        lines.append(
            f"| {case.name} | {1000 * base.median:.1f} | {' | '.join(gains)} | {cost:.0f} | "
            f"{after} | {apart:.1e} |"
        )
        print(lines[-1], flush=True)
        given.output.write_text("\n".join([*lines, ""]))
        torch.compiler.reset()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=PAGE)
    given = parser.parse_args()
    write_page(given)


if __name__ == "__main__":
    main()
