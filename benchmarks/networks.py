"""Speed of the methods with a network, beside each written out in plain PyTorch.

    python benchmarks/networks.py    # writes docs/results/networks-speed.md; needs no data

The reference is what one writes first: all frames of a clip in one batch, in PyTorch's default
memory layout, each layer by its function. It has the weights of ours, and how many pixels differ is
printed. Ours takes a frame at a time, as in a video, whose memory must not grow. Both take
turns in one process, on one thread. STPrivacy has a page of its own (stprivacy.py).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from checkout import commit
from people_speed import processor
from torch import Tensor
from torch.nn import functional as F

import masquerade
from masquerade import Anonymizer

REPORT = Path(__file__).parents[1] / "docs" / "results" / "networks-speed.md"
SIZE, FRAMES = (480, 640), 16
SAME = 2e-3  # of a pixel in [0, 1], half a level of a byte: less is no difference
Weights = Mapping[str, Tensor]


def small(frames: Tensor, short: int) -> Tensor:
    """Frames (T, 3, H, W) with `short` rows."""
    size = short, round(frames.shape[-1] * short / frames.shape[-2])
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True)


def large(frames: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True).clamp(0, 1)


def double_conv(x: Tensor, w: Weights, name: str) -> Tensor:
    """Two convolutions, each with a batch norm of running statistics and a ReLU."""
    for conv, norm in ((0, 1), (3, 4)):
        x = F.conv2d(x, w[f"{name}.{conv}.weight"], w[f"{name}.{conv}.bias"], padding=1)
        of = {part: w[f"{name}.{norm}.{part}"] for part in ("running_mean", "running_var")}
        x = F.batch_norm(x, **of, weight=w[f"{name}.{norm}.weight"], bias=w[f"{name}.{norm}.bias"])
        x = F.relu(x)
    return x


def encoded(x: Tensor, w: Weights, halvings: int) -> list[Tensor]:
    """The stages of a UNet's contracting path."""
    stages = [double_conv(x, w, "net.enter")]
    for step in range(halvings):
        stages.append(double_conv(F.max_pool2d(stages[-1], 2), w, f"net.down.{step}"))
    return stages


def spact(frames: Tensor, method: Anonymizer) -> Tensor:
    """SPAct's UNet (Dave et al., CVPR 2022, 3.1)."""
    w = method.state_dict()
    *skips, x = encoded(small(frames, 112), w, 4)
    for step, skip in enumerate(reversed(skips)):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
        x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        x = double_conv(torch.cat([skip, x], 1), w, f"net.up.{step}")
    out = F.conv2d(x, w["net.leave.weight"], w["net.leave.bias"])
    return large(out.sigmoid(), frames)


def noise_features(frames: Tensor, method: Anonymizer) -> Tensor:
    """The UNet without skip connections, with noise on its code; here with none."""
    w, seen = method.state_dict(), small(frames, 112)
    x = encoded(seen, w, 4)[-1]
    x = x + 0 * x.std(dim=(1, 2, 3), keepdim=True) * torch.randn_like(x[:1])
    for step in range(4):
        size = [side >> (3 - step) for side in seen.shape[-2:]]
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
        x = double_conv(x, w, f"net.up.{step}")
    out = F.conv2d(x, w["net.leave.weight"], w["net.leave.bias"])
    return large(out.sigmoid(), frames)


def vita(frames: Tensor, method: Anonymizer) -> Tensor:
    """VITA's network, that of Johnson et al. (ECCV 2016)."""
    w, seen = method.state_dict(), small(frames, 112)

    def conv(x: Tensor, name: str, *, stride: int = 1, up: bool = False) -> Tensor:
        weight = w[f"net.{name}.0.weight"]
        pad = weight.shape[-1] // 2
        if up:
            x = F.conv_transpose2d(x, weight, stride=2, padding=pad, output_padding=1)
        else:
            x = F.conv2d(x, weight, stride=stride, padding=pad)
        scale, shift = w[f"net.{name}.1.weight"], w[f"net.{name}.1.bias"]
        return F.instance_norm(x, weight=scale, bias=shift, eps=1e-3)

    x = F.relu(conv(seen, "enter"))
    for step in range(2):
        x = F.relu(conv(x, f"down.{step}", stride=2))
    for block in range(5):
        x = x + conv(F.relu(conv(x, f"blocks.{block}.first")), f"blocks.{block}.second")
    for step in range(2):
        x = F.relu(conv(x, f"up.{step}", up=True))
    x = x[..., : seen.shape[-2], : seen.shape[-1]]
    return large((torch.tanh(conv(x, "leave")) + 1) / 2, frames)


def bdq(frames: Tensor, method: Anonymizer) -> Tensor:
    """Blur, difference and quantisation (Kumawat and Nagahara, ECCV 2022), with ours' settings."""
    scale = frames.shape[-2] / 224
    reach = round(2 * scale)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / (3.0 * scale)) ** 2)
    line = line / line.sum()
    kernel = torch.outer(line, line).expand(3, 1, -1, -1)
    padded = F.pad(frames, [reach] * 4, mode="replicate")
    blurred = F.conv2d(padded, kernel, groups=3)
    steps = blurred - torch.cat([blurred[:1], blurred[:-1]])
    levels = (steps + 1) / 2 * 15 + 0.25
    return sum((levels >= limit).float() for limit in method.state_dict()["limits"]) / 15


METHODS: dict[str, tuple[str, Callable[[Tensor, Anonymizer], Tensor]]] = {
    "the paper's UNet of 64 channels": ("spact", spact),
    "the paper's network": ("vita", vita),
    "as wide as SPAct's UNet": ("noise-features", noise_features),
    "the paper's blur, 4 bits": ("bdq", bdq),
}


def ours(frames: Tensor, method: Anonymizer) -> Tensor:
    """A frame at a time, handing the state on."""
    state, out = method.init_state(seed=0), []
    for frame in frames:
        done = method(frame[None, :, None], state=state)
        state = done.state
        out.append(done.clip[0, :, 0])
    return torch.stack(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("-o", type=Path, default=REPORT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    frames = F.interpolate(torch.rand(FRAMES, 3, 30, 40), SIZE, mode="bilinear")
    rows = []
    for about, (name, plain) in METHODS.items():
        kind = masquerade.METHODS[name]
        method = kind(**kind.presets["paper"]).eval()
        if hasattr(method, "noise"):
            method.noise = 0.0  # so that pictures can be compared
        ways = {"ours": ours, "plain": plain}
        spent: dict[str, list[float]] = {way: [] for way in ways}
        shown = {}
        with torch.no_grad():
            for turn in range(given.turns + 1):
                for way, run in ways.items():
                    began = time.process_time()
                    shown[way] = run(frames, method)
                    if turn:  # the first one warms up
                        spent[way].append((time.process_time() - began) * 1000 / FRAMES)
        apart = float(((shown["ours"] - shown["plain"]).abs() > SAME).float().mean())
        ratio = statistics.median(b / a for a, b in zip(spent["ours"], spent["plain"], strict=True))
        each = [f"{statistics.median(spent[way]):.1f}" for way in ways]
        rows.append(f"| {name}, {about} | {' | '.join(each)} | {ratio:.2f} | {apart:.2%} |")
        print(rows[-1], flush=True)
    table = "\n".join(rows)
    given.o.write_text(
        f"""# Speed of methods with a network

`python benchmarks/networks.py --turns {given.turns}`

At {commit()}, on one thread of {processor()}, torch {torch.__version__}, load
{os.getloadavg()[0]:.1f} at the end. Milliseconds of processor time for a frame
of {SIZE[1]} x {SIZE[0]}, medians of {given.turns} turns, without the codec; a ratio is
the median over turns, and above 1 where ours is faster.
Weights are untrained.

The reference is each method written out in plain PyTorch, as one does it first: {FRAMES} frames in
one batch, in the default memory layout. It has ours' weights; `apart` is the share of pixels that
differ by more than half a level of a byte: of `bdq` those that lie on the border of two of its
levels. Ours takes one frame after the other, so that memory does not grow with a video.

| method | ours, ms | plain, ms | times as fast | apart |
| --- | --- | --- | --- | --- |
{table}
""",
        "utf-8",
    )


if __name__ == "__main__":
    main()
