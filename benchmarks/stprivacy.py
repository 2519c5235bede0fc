"""Speed of STPrivacy: its training step beside the paper's, and dropping tubelets in deployment.

    python benchmarks/stprivacy.py                # writes docs/results/stprivacy-speed.md

The reference is the paper's masked softmax written out (ICCV 2023, eq. 8 to 10) over all tokens, in
the same network; ours is fused, and only kept tokens learn. Both take turns in one process, and
their gradients are compared. Peak memory is that of a process of its own for each. Needs no data.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from masquerade.methods.stprivacy import STPrivacy
from masquerade.models import masked_attention, sparse_vit
from masquerade.models.sparse_vit import kept_counts
from masquerade.models.vit import Block
from masquerade.pipeline.stream import precision_of

REPORT = Path(__file__).parents[1] / "docs" / "results" / "stprivacy-speed.md"
FUSED, LAYER = masked_attention.masked_attention, sparse_vit.block_on_kept


def written_out(q: Tensor, k: Tensor, v: Tensor, keep: Tensor) -> Tensor:
    """The paper's attention, every score in memory at once."""
    own = torch.eye(keep.shape[1], device=keep.device)
    mask = keep[:, None, None, :] * (1 - own) + own
    scores = (q @ k.transpose(-2, -1)).float() * q.shape[-1] ** -0.5  # (B, heads, N, N)
    top = scores.detach().masked_fill(mask == 0, -torch.inf).amax(-1, keepdim=True)
    weights = (scores - top).clamp(max=masked_attention.MAX_LOG_ODDS).exp() * mask
    return (weights / weights.sum(-1, keepdim=True)).to(v.dtype) @ v


WAYS = ("written out", "ours")
WHY_NOT_LESS = (
    "Dropped tokens cannot be left out of a training step: the keep mask learns from what they",
    "would have added to later layers, so that their keys and values are computed there, too. What",
    "is left out is their backward pass.",
)


@contextmanager
def using(name: str) -> Iterator[None]:
    """Let the network train as it does ("ours"), or with all scores and tokens written out."""
    if name == "written out":
        masked_attention.masked_attention, sparse_vit.block_on_kept = written_out, Block.__call__
    try:
        yield
    finally:
        masked_attention.masked_attention, sparse_vit.block_on_kept = FUSED, LAYER


def method_of(
    size: str, *, strict: bool, keep: float = 0.7, picture: tuple[int, int] = (112, 112)
) -> STPrivacy:
    """A network of random weights, the same each time, that keeps the share it is asked for."""
    torch.manual_seed(0)
    wide = {"s": (384, 6), "ti": (192, 3)}[size]
    method = STPrivacy(width=wide[0], heads=wide[1], strict=strict, keep=keep, picture=picture)
    for predictor in method.net.predictors:
        predictor.decide[-1].bias.data = torch.tensor([keep, 1 - keep]).log()
    return method


def step(method: STPrivacy, clip: Tensor, *, amp: bool) -> None:
    """Forward and backward of a training step, the same draws each time."""
    torch.manual_seed(1)
    method.zero_grad(set_to_none=True)
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=amp):
        out = method.training_output(clip)
        loss = (out.clip.float() - clip).square().mean() + out.losses["ratio"]
    loss.backward()


def clock(device: str) -> float:
    """Seconds of this process's work; on a GPU those that pass until it is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(runs: dict[str, Callable[[], object]], *, device: str, turns: int) -> dict[str, float]:
    """Median seconds of each, taking turns, after one turn to warm up."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            began = clock(device)
            run()
            if turn:
                spent[name].append(clock(device) - began)
    return {name: statistics.median(times) for name, times in spent.items()}


def gradients(method: STPrivacy) -> list[Tensor]:
    """That of each parameter."""
    return [x.grad for x in method.parameters() if x.grad is not None]


class Steps(NamedTuple):
    """Seconds of a training step by attention and precision, and how far gradients are apart."""

    seconds: dict[str, float]
    apart: float


def steps(args: argparse.Namespace, *, strict: bool) -> Steps:
    """Both attentions, in full precision and in bfloat16."""
    method, clip = method_of(args.size, strict=strict).to(args.device), clips(args)

    def run(name: str, amp: bool) -> None:
        with using(name):
            step(method, clip, amp=amp)

    found = {}
    for name in WAYS:
        run(name, False)
        found[name] = gradients(method)
    pairs = zip(found["ours"], found["written out"], strict=True)
    apart = max(((a - b).norm() / b.norm()).item() for a, b in pairs)
    runs = {
        f"{name}{' bf16' if amp else ''}": lambda name=name, amp=amp: run(name, amp)
        for amp in (False, True)
        for name in WAYS
    }
    return Steps(timed(runs, device=args.device, turns=args.turns), apart)


def clips(args: argparse.Namespace) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    return torch.rand(args.batch, 3, 16, 112, 112, generator=draw).to(args.device)


def peak(args: argparse.Namespace, name: str) -> int:
    """Bytes that one training step adds to the process at its peak."""
    method, clip = method_of(args.size, strict=True).to(args.device), clips(args)
    torch.set_num_threads(args.threads)
    if args.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of what imported us
        before = highest()
    with using(name):
        step(method, clip, amp=False)
    if args.device != "cpu":
        return torch.cuda.max_memory_allocated() - before
    return highest() - before


def highest() -> int:
    """Bytes of memory that this process has held at most (Linux)."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024


def peaks(args: argparse.Namespace) -> dict[str, int]:
    """The peak of each attention, in a fresh process each."""
    found = {}
    for name in WAYS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(peak, (args, name))
    return found


def operations(method: STPrivacy) -> dict[str, float]:
    """Multiplications of a clip: without dropping, as in the paper, and strictly."""
    slots, slot, width, depth = method.net.grid[0], method.net.slot, method.width, method.depth
    left = (slot, *kept_counts(slot, method.keep, len(method.places)))
    paper = [slots * left[sum(at >= place for place in method.places)] for at in range(depth)]
    strict = paper[: method.places[-1]] + [slots * left[-1]] * depth
    pixels = width * 3 * math.prod(method.tubelet)  # of a token in or out

    def total(counts: list[int], passes: int) -> float:
        layers = sum(12 * n * width**2 + 2 * n**2 * width for n in counts)
        return layers + pixels * (passes * slots * slot + counts[-1])

    return {
        "dense": total([slots * slot] * depth, 1),
        "paper": total(paper, 1),
        "strict": total(strict, 2),
    }


def deployment(args: argparse.Namespace, keep: float) -> list[str]:
    """Rows of the table of one alpha."""
    method, clip = method_of(args.size, strict=True, keep=keep).to(args.device).eval(), clips(args)
    counts = operations(method)

    def run(mode: str, strict: bool) -> None:
        method.mode, method.strict = mode, strict  # type: ignore[assignment]
        with torch.no_grad():
            method(clip)

    seconds = timed(
        {
            "dense": lambda: run("anonymize-only", False),
            "paper": lambda: run("full", False),
            "strict": lambda: run("full", True),
        },
        device=args.device,
        turns=args.turns,
    )
    rows = []
    for name in ("paper", "strict"):
        counted = counts[name] / counts["dense"]
        measured = seconds[name] / seconds["dense"]
        off = f"{measured / counted - 1:+.0%}"
        rows.append(f"| {keep} | {name} | {counted:.2f} | {measured:.2f} | {off} |")
    return rows


def throughput(args: argparse.Namespace) -> list[str]:
    """Rows of clips a second: anonymized with all tubelets, as in the paper, strictly; learned."""
    method, clip = method_of(args.size, strict=True).to(args.device), clips(args)

    def run(mode: str, strict: bool, amp: bool) -> None:
        method.mode, method.strict = mode, strict  # type: ignore[assignment]
        if mode == "train":
            method.mode = "full"
            step(method.train(), clip, amp=amp)
            return
        with torch.inference_mode(), torch.autocast(clip.device.type, torch.bfloat16, enabled=amp):
            method.eval()(clip)

    ways = {
        "all tubelets": ("anonymize-only", False),
        "paper": ("full", False),
        "strict": ("full", True),
        "training step, strict": ("train", True),
    }
    seconds = timed(
        {
            f"{name} {amp}": lambda way=way, amp=amp: run(*way, amp)
            for name, way in ways.items()
            for amp in (False, True)
        },
        device=args.device,
        turns=args.turns,
    )
    rows = []
    for name in ways:
        full, half = (len(clip) / seconds[f"{name} {amp}"] for amp in (False, True))
        rows.append(f"| {name} | {full:,.0f} | {half:,.0f} |")
    return rows


def video(args: argparse.Namespace, size: str, *, amp: bool) -> float:
    """Frames a second of a video of 320 x 240, by the network and all around it but the codecs.

    `amp`: the network in half precision, as by `masquerade anonymize --amp`.
    """
    method = method_of(size, strict=True, keep=0.7).to(args.device).eval()
    clip = torch.rand(1, 3, 16, 240, 320, device=args.device)

    def run() -> None:
        with torch.no_grad(), precision_of(method, amp=amp):
            method(clip)

    torch.set_num_threads(os.cpu_count() or 1)  # all of them, as a command has
    run()
    began = time.perf_counter()
    for _ in range(args.turns):
        run()
        if args.device != "cpu":
            torch.cuda.synchronize()
    fps = 16 * args.turns / (time.perf_counter() - began)
    torch.set_num_threads(args.threads)
    return fps


def report(args: argparse.Namespace) -> str:
    """The committed page."""
    rows = []
    for strict in (False, True):
        seconds, apart = steps(args, strict=strict)
        base = seconds["written out"]
        gains = [
            f"{base / seconds[name]:.2f}" for name in ("ours", "written out bf16", "ours bf16")
        ]
        kind = "strict (default)" if strict else "as in the paper"
        rows.append(f"| {kind} | {' | '.join(gains)} | {apart:.1e} |")
        print(rows[-1], flush=True)
    memory = peaks(args)
    share = memory["ours"] / memory["written out"]
    where = platform.machine() if args.device == "cpu" else torch.cuda.get_device_name()
    output = "" if args.output == REPORT else f" --output {args.output}"
    words = f"--batch {args.batch} --turns {args.turns} --threads {args.threads} --size {args.size}"
    lines = [
        f"# STPrivacy's speed{'' if args.device == 'cpu' else ' on a GPU'}",
        "",
        f"`python benchmarks/stprivacy.py {words} --device {args.device}{output}`",
        "",
        f"ViT-{args.size.capitalize()}, {args.batch} clips of 16 x 112², {where}, torch "
        f"{torch.__version__}, {args.threads} threads, load {os.getloadavg()[0]:.1f} at the end. "
        f"Ratios of medians of {args.turns} turns in one process"
        f"{', of processor time' if args.device == 'cpu' else ''}.",
        "",
        "## A training step, forward and backward",
        "",
        "Speed-up over the paper's masked softmax written out, in full precision; and "
        "how far the gradients of the two are apart in full precision (norm of the difference over "
        "norm, of the parameter where that is largest).",
        "",
        "| | ours | written out, bfloat16 | ours, bfloat16 | gradients apart |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"Memory that a step (strict, full precision) adds at its peak: {share:.2f} of what the "
        f"written-out one adds ({memory['ours'] / 2**20:.0f} of "
        f"{memory['written out'] / 2**20:.0f} MiB).",
        "",
        *WHY_NOT_LESS,
        "",
        "## Dropping tubelets in deployment",
        "",
        "Time over that of the same network with all tubelets (`anonymize-only`), predicted by the "
        "count of multiplications and measured. Strict has two passes: one to select, one over "
        "what is kept.",
        "",
        "| keep | | counted | measured | off |",
        "| --- | --- | --- | --- | --- |",
        *(row for keep in (0.7, 0.5) for row in deployment(args, keep)),
        "",
        "## Clips a second",
        "",
        "Of 16 x 112², at a keep ratio of 0.7, by the network alone.",
        "",
        "| | full precision | bfloat16 |",
        "| --- | --- | --- |",
        *throughput(args),
        "",
        "## A video of 320 x 240",
        "",
        "Frames a second of the method alone, on all cores: resizing, both passes, and filling; "
        "and with `--amp`, networks in half precision. A video has 25 or 30.",
        "",
        "| ViT | full precision | half precision |",
        "| --- | --- | --- |",
        *(
            f"| {size.capitalize()} | {video(args, size, amp=False):.0f} "
            f"| {video(args, size, amp=True):.0f} |"
            for size in ("ti", "s")
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", choices=("s", "ti"), default="s")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=REPORT)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    page = report(args)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
