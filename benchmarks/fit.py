"""Speed of fitting recognizers, and the time that stored clips save.

    python benchmarks/fit.py                      # writes docs/results/fit.md

Clips a second are of fitting: forward, backward and step on noise, so no data is needed. The cache
is timed on generated videos with `selective` over the whole frame.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import masquerade
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.training.fit_config import tiny
from masquerade.training.predict import predict
from masquerade.training.supervised import fit
from masquerade.video.write import write_video

REPORT = Path(__file__).parents[1] / "docs" / "results" / "fit.md"
HEADS = {"action": 6, "identity": 20, "red_top": 1, "white_top": 1, "black_jacket": 1}
TINY = {"tiny-3d": (16, 32), "tiny-flow": (16, 32), "tiny-2d": (4, 64)}  # frames, size


@dataclass(frozen=True)
class Speed:
    """One recognizer's fit: clips a second, by wall and processor; the network's share of time."""

    name: str
    shape: str
    wall: float
    cpu: float
    share: float


def labels(count: int) -> dict[str, np.ndarray]:
    """Random labels for every head."""
    draw = np.random.default_rng(0)
    return {name: draw.integers(max(2, n), size=count) for name, n in HEADS.items()}


def noise(count: int, channels: int, frames: int, size: int) -> ClipDataset:
    """Clips of noise; a network is not faster on them."""
    shape = (count, channels, frames, size, size)
    draw = torch.Generator().manual_seed(0)
    return from_tensor(torch.randint(256, shape, generator=draw, dtype=torch.uint8))


def speed(name: str, *, frames: int, size: int, count: int, amp: bool, device: str) -> Speed:
    """Fit one epoch to warm up, and then a few."""
    wide = {"widths": tiny().widths} if name in ("tiny-3d", "tiny-flow") else {}
    net = RECOGNIZERS[name](heads=HEADS, **wide)
    channels = RECOGNIZERS[name].channels
    clips, targets = noise(count, channels, frames, size), labels(count)
    given = {"targets": targets, "batch": min(16, count), "amp": amp, "device": device}
    fit(net, clips.take(range(min(16, count))), None, epochs=1, **given)  # type: ignore[arg-type]
    epochs = 3 if name in TINY else 1
    began = os.times()
    fitted = fit(net, clips, None, epochs=epochs, augment=tiny().augment, **given)  # type: ignore[arg-type]
    ended = os.times()
    done = epochs * count
    cpu = ended.user + ended.system - began.user - began.system
    shape = f"{frames} x {size}²"
    return Speed(
        name, shape, done / fitted.seconds, done / cpu, fitted.network_seconds / fitted.seconds
    )


def dataset(folder: Path, *, videos: int, frames: int) -> Manifest:
    """Videos of drifting noise, and their manifest."""
    draw = torch.Generator().manual_seed(0)
    with (folder / "data.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "action"])
        for i in range(videos):
            still = torch.rand(1, 3, 1, 60, 80, generator=draw)
            big = torch.nn.functional.interpolate(still[:, :, 0], scale_factor=4)[:, :, None]
            clip = torch.cat([big.roll(2 * t * (1 + i % 2), 4) for t in range(frames)], 2)
            write_video(folder / f"{i}.mp4", clip)
            out.writerow([f"{i}.mp4", i % 2])
    return read_manifest(folder / "data.csv")


def evaluation(data: Manifest, cache: Path) -> tuple[float, float, int]:
    """One evaluation in small: seconds for the clips, for a fit and its predictions; and passes."""
    began = time.perf_counter()
    method = masquerade.build("selective")
    clips = extract_clips(data, ExtractionConfig(method=method, seed=0), cache=cache)
    cut = time.perf_counter()
    net = RECOGNIZERS["tiny-3d"](heads={"action": 2})
    targets = {"action": data.targets("action")}
    fitted = fit(
        net, clips, None, targets=targets, epochs=4, amp=True, resume=cache / "fit.pt", device="cpu"
    )
    predict(fitted.net, clips)
    return cut - began, time.perf_counter() - cut, clips.passes


def report(speeds: list[Speed], runs: list[tuple[float, float, int]], head: list[str]) -> str:
    """The committed page."""
    lines = [
        "# Fitting",
        "",
        *head,
        "",
        "| recognizer | clip | clips/s (wall) | clips/s (one core's time) | in the network |",
        "| --- | --- | --- | --- | --- |",
    ]
    for s in speeds:
        lines.append(f"| {s.name} | {s.shape} | {s.wall:.1f} | {s.cpu:.1f} | {s.share:.0%} |")
    (cut, fitted, passes), (again, refitted, none) = runs
    total, second = cut + fitted, again + refitted
    lines += [
        "",
        "## The same method evaluated again",
        "",
        "| | videos anonymized | clips | fit and predictions | both |",
        "| --- | --- | --- | --- | --- |",
        f"| first | {passes} | {cut:.2f} s | {fitted:.2f} s | {total:.2f} s |",
        f"| second | {none} | {again:.2f} s | {refitted:.2f} s | {second:.2f} s |",
        f"| times faster | | {cut / again:.0f} | {fitted / refitted:.0f} | {total / second:.0f} |",
        "",
        "The clips come from the store of `extract_clips`, the fit from its finished snapshot "
        "(`resume=`); another attacker on the same clips pays for its own fit only.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", nargs="*", default=["tiny-3d", "tiny-flow", "tiny-2d", "r3d-18"])
    parser.add_argument("--clips", type=int, default=96, help="of the tiny ones; others take 2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch; two fits side by side")
    parser.add_argument("--no-amp", action="store_true", help="in full precision")
    parser.add_argument("--output", type=Path, default=REPORT)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    speeds = []
    for name in args.names:
        sampling = RECOGNIZERS[name].sampling
        frames, size = TINY.get(name, (sampling.frames, sampling.size))
        count = args.clips if name in TINY else 2
        found = speed(
            name, frames=frames, size=size, count=count, amp=not args.no_amp, device=args.device
        )
        print(found, flush=True)
        speeds.append(found)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = dataset(folder, videos=12, frames=60)
        runs = [evaluation(data, folder / "cache") for _ in range(2)]
    load = os.getloadavg()[0]
    head = [
        "`python benchmarks/fit.py`",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the end, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{'full precision' if args.no_amp else 'bfloat16 in the network'}, five heads, "
        "batch 16 (2 for networks that are not tiny), augmented as in the tiny recipe. "
        "Wall times are of a shared machine; processor times are not affected.",
    ]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(report(speeds, runs, head), "utf-8")
    print(args.output.read_text("utf-8"))


if __name__ == "__main__":
    main()
