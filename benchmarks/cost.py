"""What anonymizing costs: against pixels, frames, faces, people and tubelets, and for 1,000 hours.

    python benchmarks/cost.py [--data ../shared/data]    # docs/results/cost.md and cost.png
    python benchmarks/cost.py --hours-only               # the page's last table alone

One thing grows at a time. Cost is CPU time of all threads, which other users of the machine change
less than time by the clock; each is the lower of two runs. The exponent is the slope of the line
through the logarithms of size and cost: 1 is linear, and less where a part of the cost is fixed.
Networks are loaded before the clock starts. For 1,000 hours time by the clock counts too: nothing
else may run meanwhile, and the page says how much of the cores each way used.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from anonymize import RATE, transcode
from checkout import commit
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from people_speed import compose, cost, names_of, pipeline, processor
from stprivacy import method_of

from masquerade.pipeline.levels import LEVELS
from masquerade.pipeline.single_file import run_file

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
COLOURS = {"transcoding": "#000000", "face": "#0072b2", "person": "#d55e00", "figure": "#009e73"}
GPU_TABLE = "stprivacy-speed-gpu.md"
COLOURS |= {"STPrivacy, ViT-Ti": "#cc79a7"}
PIXELS = ((320, 240), (640, 480), (960, 720), (1280, 960))
FRAMES, PEOPLE, SIDES = (30, 60, 120, 240), (1, 2, 4, 8), (64, 96, 128, 192, 256)
FEW = 30  # frames of a clip
CROWD = (1280, 720)
FACE = "wild/talk_face_480_aac.mp4"
HD, HD_FRAMES, HOURS = (1920, 1080), 125, 1000
REPEATS, HD_REPEATS = 2, 3
Line = dict[float, float]  # size to CPU seconds
Lines = dict[str, Line]


def measured(action: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """The lower of some runs: seconds by the clock, and of the CPU."""
    runs = [cost(action) for _ in range(repeats)]
    return min(one[0] for one in runs), min(one[1] for one in runs)


def ways(src: Path, out: Path) -> Mapping[str, Callable[[], object]]:
    """Transcoding, and the three levels."""
    runs: dict[str, Callable[[], object]] = {"transcoding": partial(transcode, src, out)}
    return runs | {name: partial(run_file, src, out, pipeline(name)) for name in LEVELS}


def load_networks(data: Path, folder: Path) -> None:
    """Run each way once, so that no clock measures how networks are loaded."""
    src, out = folder / "in.mp4", folder / "out.mp4"
    compose(src, data, names_of(2), (320, 240), 6)
    for run in ways(src, out).values():
        run()


def grown(folder: Path, clips: Mapping[float, Callable[[Path], None]]) -> Lines:
    """CPU seconds of each way, where `clips` writes the clip of a size."""
    found: Lines = {}
    src, out = folder / "in.mp4", folder / "out.mp4"
    for size, write in clips.items():
        write(src)
        for name, run in ways(src, out).items():
            found.setdefault(name, {})[size] = measured(run)[1]
            print(size, name, f"{found[name][size]:.2f} s", flush=True)
    return found


def tubelets() -> Lines:
    """CPU seconds of STPrivacy's tiny network on one clip of 16 frames, by its tubelets."""
    line = Line()
    for side in SIDES:
        method = method_of("ti", strict=True, picture=(side, side)).eval()
        clip = torch.rand(1, 3, 16, side, side)
        with torch.no_grad():
            method(clip)
            line[16 // 2 * (side // 16) ** 2] = measured(partial(method, clip))[1]
    return {"STPrivacy, ViT-Ti": line}


def seconds_of(line: Line) -> str:
    """The CPU seconds of a line, from the smallest size to the largest."""
    return ", ".join(f"{line[size]:.2f}" for size in sorted(line))


def exponent(line: Line) -> float:
    """The slope of the line through the logarithms."""
    sizes, seconds = (np.log(list(one)) for one in (line.keys(), line.values()))
    return float(np.polyfit(sizes, seconds, 1)[0])


def steepest(line: Line) -> float:
    """The largest slope between two neighbouring sizes: above 1 cost grows faster than size."""
    return max(np.log(line[b] / line[a]) / np.log(b / a) for a, b in pairwise(sorted(line)))


def draw(found: Mapping[str, Lines], path: Path) -> None:
    """A panel for each thing that grows, both axes logarithmic; the dotted line is linear."""
    mpl.rcParams["axes.spines.top"] = mpl.rcParams["axes.spines.right"] = False
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(2, 3).flat)
    for axes, (what, lines) in zip(grid, found.items(), strict=False):
        for name, line in lines.items():
            axes.plot(line.keys(), line.values(), "o-", color=COLOURS[name], label=name)
        sizes = sorted(next(iter(lines.values())))
        least = min(min(line.values()) for line in lines.values())
        linear = [least * 0.8 * x / sizes[0] for x in sizes]
        axes.plot(sizes, linear, ":", color="#888888", label="linear")
        axes.set(xscale="log", yscale="log", xlabel=what, ylabel="CPU seconds")
        axes.set_xticks(sizes, [f"{x:.2g}" if x < 10 else f"{x:g}" for x in sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    for empty in grid[len(found) :]:
        empty.set_axis_off()
    shown = {
        text: line
        for a in figure.axes
        for line, text in zip(*a.get_legend_handles_labels(), strict=True)
    }
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=110)


def on_a_gpu() -> str:
    """What is known of 1,000 hours on a GPU: from the committed table of STPrivacy's speed."""
    table = (RESULTS / GPU_TABLE).read_text("utf-8")
    (speed,) = re.findall(r"^\| strict \| [\d,]+ \| ([\d,]+) \|$", table, re.MULTILINE)
    (card,) = re.findall(r"clips of 16 x 112², ([^,]+),", table)
    clips = HOURS * 3600 * RATE / 16
    spent = clips / int(speed.replace(",", "")) / 3600
    text = GPU_PAGE.format(
        hours=HOURS, clips=clips / 1e6, speed=speed, card=card, spent=spent, table=GPU_TABLE
    )
    return "\n".join([*textwrap.wrap(text, 100), ""])


def hours(data: Path, folder: Path) -> str:
    """The section of 1,000 hours of 1080p."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    src, out = folder / "in.mp4", folder / "out.mp4"
    compose(src, data, names_of(2), HD, HD_FRAMES)
    rows = []
    for name, run in ways(src, out).items():
        wall, cpu = (HOURS * RATE * one / HD_FRAMES for one in measured(run, HD_REPEATS))
        days, shared = wall / 24, wall / 100
        row = [name, f"{HOURS / wall:.2f}", f"{cpu:,.0f}", f"{cpu / wall / cores:.0%}"]
        row += [f"{days:,.0f}", f"{shared:,.0f}"]
        rows.append(f"| {' | '.join(row)} |")
        print(rows[-1], flush=True)
    return HOURS_PAGE.format(
        cores=cores, processor=processor(), load=load, rows="\n".join(rows), hd=HD_FRAMES,
        repeats=HD_REPEATS, hours=HOURS, commit=commit(), gpu=on_a_gpu(),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=RESULTS / "cost.md")
    parser.add_argument("--hours-only", action="store_true", help="the last table alone")
    chosen = parser.parse_args()
    data = chosen.data
    if chosen.hours_only:
        with tempfile.TemporaryDirectory() as name:
            load_networks(data, Path(name))
            section = hours(data, Path(name))
        page = chosen.out.read_text("utf-8").partition(f"## {HOURS:,} hours")[0]
        chosen.out.write_text(page + section, "utf-8")
        return

    def clip(
        names: Sequence[str], size: tuple[int, int], count: int = FEW
    ) -> Callable[[Path], None]:
        return lambda path: compose(path, data, names, size, count)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        two = names_of(2)
        load_networks(data, folder)
        found = {
            "megapixels a frame": grown(
                folder, {w * h / 1e6: clip(two, (w, h)) for w, h in PIXELS}
            ),
            "frames": grown(folder, {n: clip(two, (320, 240), n) for n in FRAMES}),
            "people": grown(folder, {n: clip(names_of(n), CROWD) for n in PEOPLE}),
            "faces": grown(folder, {n: clip((FACE,) * n, CROWD) for n in PEOPLE}),
            "tubelets": tubelets(),
        }
        section = hours(data, folder)
    draw(found, chosen.out.with_suffix(".png"))
    lines = [
        f"| {what} | {name} | {seconds_of(line)} | {exponent(line):.2f} | {steepest(line):.2f} |"
        for what, growing in found.items()
        for name, line in growing.items()
    ]
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    chosen.out.write_text(
        PAGE.format(
            cores=cores, processor=processor(), load=load, lines="\n".join(lines),
            few=FEW, repeats=REPEATS, commit=commit(),
        )
        + section,
        "utf-8",
    )  # fmt: skip


PAGE = """# What anonymizing costs

Measured at {commit} by `python benchmarks/cost.py`.

{cores} cores ({processor}), load {load:.1f} at the end. CPU seconds of all threads, the lower of
{repeats} runs; clips of UT-Interaction's people, or of one who talks, in a grid, {few} frames each
unless frames grow. People and faces are counted as they were put there.

![CPU seconds against what grows, both axes logarithmic](cost.png)

Exponents of the line through the logarithms, and the largest between two neighbouring sizes: 1 is
linear.

| what grows | | CPU seconds, from the smallest on | exponent | largest |
| --- | --- | --- | --- | --- |
{lines}

The face network sees every pixel, those of people and of poses a picture of a fixed size and a cut
of each person: so pixels cost most at the face level, and people at the others. Faces cost little
by their number.

"""
HOURS_PAGE = """## {hours:,} hours of 1080p at 25 frames a second

Two people in the picture, measured at {commit} on {hd} frames, the lower of {repeats} runs, and
multiplied; {cores} cores ({processor}), load {load:.1f} when it began. Speed is in times of real
time, of one file at a time; 100 workers are 100 such machines, files spread evenly among them. What
is left of the cores is for a second file at the same time.

| | speed | CPU hours | of the cores | days on this machine | hours of 100 workers |
| --- | --- | --- | --- | --- | --- |
{rows}

### On a GPU

{gpu}"""
GPU_PAGE = (
    "No row was measured on a GPU. Much of their work stays on the CPU there: the detectors of "
    "faces, people, hands and text, so that masks are the same bytes on every machine; the check, "
    "which decodes the source again; and flow, noise and drawn figures, which are no networks. "
    "Networks of learned methods run on a GPU, decoding and encoding where it can. One figure is "
    "known: STPrivacy's ViT-S, strict and in bfloat16, takes [{speed} clips of 16 frames a "
    "second]({table}) on one {card}. {hours:,} hours are {clips:.1f} million such clips, "
    "{spent:.1f} hours for this network alone. That is a lower bound, and no measurement of a run: "
    "its pictures of 112 x 112 lie on the GPU before the clock starts, so that decoding, resizing, "
    "encoding and the check are left out."
)


if __name__ == "__main__":
    main()
