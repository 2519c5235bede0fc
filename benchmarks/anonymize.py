"""Speed of anonymizing, beside plain transcoding, ffmpeg's filters and deface, in one run.

    python benchmarks/anonymize.py [--deface-python PYTHON] [--seconds 8] [--repeats 3]
    python benchmarks/anonymize.py --checks   # what the checks cost; writes check-cost.md alone

The clip is the demo's, at three sizes. "Limit" decodes and encodes it unchanged with the same
codec, preset, crf and threads, frames going from the decoder to the encoder as they are. Ours and
the limit run in this process, ffmpeg in one of its own with the same encoder; on faces ours and
deface run as processes of their own, start-up included. What the check of each frame costs (its
detail is compared with the source's, once as it is made and once as it is decoded again) is shown
by a second run without it, which only this benchmark can do.
Every ratio is the median over repeats of the ratio within one repeat, so that a machine that others
use cancels out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import cv2
from checkout import commit

import masquerade
from masquerade.cli.demo_clip import frames
from masquerade.pipeline.encoded_check import EncodedCheck
from masquerade.pipeline.receipt import ResidualDetail
from masquerade.pipeline.residual_detail import DetailCheck
from masquerade.pipeline.single_file import FileRun
from masquerade.pipeline.stream import prefetch
from masquerade.video import decoding_process
from masquerade.video.encoding import CODECS

SIZES = [(320, 240), (640, 480), (1280, 720)]
RATE = 25
FULL: dict[str, Any] = {
    "downsample 4": lambda: masquerade.build("downsample", factor=4),
    "downsample 16": lambda: masquerade.build("downsample", factor=16),
    "pixelate 4": lambda: masquerade.build("pixelate", block=4),
    "pixelate 16": lambda: masquerade.build("pixelate", block=16),
    "blur weak": lambda: masquerade.build("blur", kernel=13, sigma=10.0, short=224),
    "blur strong": lambda: masquerade.build("blur", kernel=21, sigma=10.0, short=224),
    "blur (default)": lambda: masquerade.build("blur"),
    "selective": lambda: masquerade.build("selective"),
}
CHECKED = ("pixelate 16", "blur (default)")  # whose checks are timed part by part
FACES = {  # settings of a row, by its name; the last looks for faces half as often as by default
    "selective": {"method": "selective"},
    "blacken": {"method": "blacken"},
    "blacken, every 6": {"method": "blacken", "every": "6"},
}
FILTERS = {
    "ffmpeg, unchanged": "null",
    "ffmpeg boxblur": "boxblur=10",
    "ffmpeg pixelize": "pixelize",
}


def write_clip(path: Path, size: tuple[int, int], seconds: float, *, in_order: bool = False) -> int:
    """The demo's picture at a size, played to and fro; gives the number of frames.

    `in_order` frames are coded in the order in which they are shown.
    """
    count = round(seconds * RATE)
    with av.open(str(path), "w") as out:
        options = {"crf": "18", **({"bf": "0"} if in_order else {})}
        stream = out.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, frame in zip(range(count), looped(), strict=False):
            picture = av.VideoFrame.from_ndarray(cv2.resize(frame, size), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return count


def looped() -> Iterator[Any]:
    kept = list(frames())
    while True:
        yield from kept


def transcode(src: Path, dst: Path) -> None:
    """The limit: frames go from the decoder to the encoder unchanged, on two threads as ours do."""
    recipe = CODECS["h264"]
    with av.open(str(src)) as source, av.open(str(dst), "w") as out:
        inside = source.streams.video[0]
        inside.thread_type = "AUTO"
        options = {"crf": str(recipe.crf), **recipe.options}
        stream = out.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = inside.width, inside.height, "yuv420p"
        for picture in prefetch(source.decode(video=0)):
            picture.pict_type = 0
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def process(words: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a command."""
    began = time.perf_counter()
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(words)}")
    return time.perf_counter() - began, used.ru_maxrss / 1024


def ours(
    src: Path, dst: Path, method: masquerade.Anonymizer, regions: str, **settings: Any
) -> None:
    allowed = {"allow_empty": True, "allow_gaps": True, **settings}
    masquerade.anonymize_file(
        src, dst, method, regions=regions, overwrite=True, receipt=False, **allowed
    )


NOTHING = ResidualDetail(left=0.0, frame=0, measured=0, without_detail=0)
NOT_AS_MADE = (DetailCheck, "watch", lambda *_: None)
NOT_DECODED = (
    (EncodedCheck, "watch", lambda *_: None),
    (FileRun, "_compare", lambda *_: NOTHING),
)
NOT_AS_DECODED = (DetailCheck, "compare_next", lambda check, *_, **__: count_frame(check))


def count_frame(check: Any) -> None:
    check._compared += 1


def without(run: Callable[[], object], *parts: Any) -> None:
    """Run with some parts of the checks replaced by nothing."""
    with ExitStack() as stack:
        for owner, name, instead in parts:
            stack.enter_context(patch.object(owner, name, instead))
        run()


def unchecked(run: Callable[[], object]) -> None:
    """Run without comparing frames with their source."""
    without(run, NOT_AS_MADE, *NOT_DECODED)


def processor_seconds() -> float:
    """Of this process and of those that decode for it."""
    total = time.process_time()
    for each in decoding_process._running:
        fields = Path(f"/proc/{each.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return total


WANTED = 0.9  # of the limit's speed
CHECKS = (
    "Each row does what the row above does, and something more; the first is the limit. To run at "
    "{wanted} of its speed, a command may take {most:.1f} ms a frame, {left:.1f} ms more than the "
    "limit. Hiding a frame, without any check, takes {hiding} ms more, which makes {unchecked} of "
    "the limit's speed; part of that is decoding in [a process of its own](decoding.md). The "
    "check takes another {checking} ms: each frame is compared with its source as it is made, and "
    "once more as it is decoded from what was written. Together that makes {reached} of the "
    "limit's speed."
)
TOO_MUCH = (
    " While every published frame is checked, {wanted} of the limit is not reached, however fast a "
    "method is: the check alone takes more than {left:.1f} ms. It stays, since without it a fault "
    "of a method or of the encoder would be published."
)


def explained(clock: dict[str, list[float]]) -> str:
    """What a table of milliseconds a frame by the clock shows: of each row, by method."""

    def span(values: Iterable[float], form: str) -> str:
        return " to ".join(dict.fromkeys(format(one, form) for one in sorted(values)))

    limits, plain, *_, whole = clock.values()
    limit = statistics.mean(limits)
    left = limit / WANTED - limit
    checks = [b - a for a, b in zip(plain, whole, strict=True)]
    text = CHECKS + (TOO_MUCH if min(checks) > left else "")
    return text.format(
        wanted=WANTED,
        most=limit / WANTED,
        left=left,
        hiding=span((b - a for a, b in zip(limits, plain, strict=True)), ".1f"),
        unchecked=span((a / b for a, b in zip(limits, plain, strict=True)), ".2f"),
        checking=span(checks, ".1f"),
        reached=span((a / b for a, b in zip(limits, whole, strict=True)), ".2f"),
    )


def what_checks_cost(repeats: int) -> list[str]:
    """A page of milliseconds a frame with more and more of the checks, in turn."""
    size, seconds = (640, 480), 16
    lines = [
        "# What the check of each frame costs",
        "",
        *textwrap.wrap(
            f"Measured at {commit()} by `python benchmarks/anonymize.py --checks --repeats "
            f"{repeats}` on {os.cpu_count()} cores: {size[0]} x {size[1]}, every pixel hidden. "
            "Milliseconds a frame by the clock, and of all processors together; medians.",
            100,
        ),
        "",
        "| | " + " | ".join(f"{name}, clock | processors" for name in CHECKED) + " |",
        "| --- " * (1 + 2 * len(CHECKED)) + "|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        src, out = folder / "clip.mp4", folder / "o.mp4"
        count = write_clip(src, size, seconds)
        spent: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for _ in range(repeats):
            for method in CHECKED:
                run = partial(ours, src, out, FULL[method](), "frame")
                for part, action in {
                    "decoded and encoded, unchanged": partial(transcode, src, out),
                    "hidden, not checked": partial(unchecked, run),
                    "and compared as made": partial(without, run, *NOT_DECODED),
                    "and decoded again": partial(without, run, NOT_AS_DECODED),
                    "and compared again: the command": run,
                }.items():
                    before = processor_seconds()
                    clock = seconds_of(action)
                    both = clock, processor_seconds() - before
                    spent.setdefault((part, method), []).append(both)
        for part in dict.fromkeys(part for part, _ in spent):
            cells = [
                f"{1000 / count * statistics.median(one):.1f}"
                for method in CHECKED
                for one in zip(*spent[part, method], strict=True)
            ]
            lines.append(f"| {part} | {' | '.join(cells)} |")
    clock: dict[str, list[float]] = {}
    for (part, _), both in spent.items():
        median = statistics.median(one for one, _ in both)
        clock.setdefault(part, []).append(1000 / count * median)
    return [*lines, "", *textwrap.wrap(explained(clock), 100)]


def command(src: Path, dst: Path, *more: str) -> list[str]:
    """The words that hide faces by the installed command, with some of its flags."""
    code = "import sys; from masquerade.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "anonymize", str(src), "-o", str(dst), "-y", "-q"]
    words += ["--regions", "faces", "--allow-empty", "--allow-gaps"]
    return [*words, *more]


def ffmpeg(src: Path, dst: Path, picture_filter: str) -> None:
    """A filter of ffmpeg's between its decoder and the encoder that ours have."""
    recipe = CODECS["h264"]
    options = [word for key, value in recipe.options.items() for word in (f"-{key}", value)]
    words = ["ffmpeg", "-y", "-i", str(src), "-vf", picture_filter, "-c:v", "libx264"]
    process([*words, "-crf", str(recipe.crf), *options, str(dst)])


def full_frame(src: Path, folder: Path, count: int, repeats: int) -> list[str]:
    """Rows of ffmpeg's filters and of the full-frame methods beside the limit."""
    rows, out = [], folder / "o.mp4"
    transcode(src, out)  # warm
    runs: dict[str, Callable[[], object]] = {}
    if shutil.which("ffmpeg"):
        runs |= {name: partial(ffmpeg, src, out, one) for name, one in FILTERS.items()}
    runs |= {n: lambda make=make: ours(src, out, make(), "frame") for n, make in FULL.items()}
    for name, run in runs.items():
        ratios, speeds, limits, own, plain = [], [], [], [], []
        for _ in range(repeats):
            limit = seconds_of(lambda: transcode(src, out))
            spent = seconds_of(run)
            if name in FULL:
                plain.append(limit / seconds_of(partial(unchecked, run)))
            again = seconds_of(lambda: transcode(out, folder / "again.mp4"))
            ratios.append(limit / spent)
            own.append(again / spent)
            speeds.append(count / spent)
            limits.append(count / limit)
        row = [name, f"{statistics.median(speeds):.0f}", f"{statistics.median(limits):.0f}"]
        row += [f"{statistics.median(ratios):.2f}"]
        row += [f"{statistics.median(plain):.2f}" if plain else ""]
        row += [f"{statistics.median(own):.2f}"]
        rows.append(f"| {' | '.join(row)} |")
        print(rows[-1], flush=True)
    return rows


def on_faces(src: Path, folder: Path, count: int, repeats: int, deface: str | None) -> list[str]:
    """Rows of the methods on faces beside deface, processes both, in turn."""
    out = folder / "o.mp4"
    theirs: list[float] = []
    spent: dict[str, list[float]] = {name: [] for name in FACES}
    for _ in range(repeats):
        if deface:
            theirs.append(process([deface, "-m", "deface.deface", str(src), "-o", str(out)])[0])
        for name, settings in FACES.items():
            words = [word for key, value in settings.items() for word in (f"--{key}", value)]
            spent[name].append(process(command(src, out, *words, "--no-receipt"))[0])
    rows = []
    for name, seconds in spent.items():
        method = masquerade.build(FACES[name]["method"])
        every = {key: int(n) for key, n in FACES[name].items() if key == "every"}
        run = partial(ours, src, out, method, "faces", **every)
        inside = seconds_of(run)
        row = [name, f"{count / inside:.1f}", f"{count / statistics.median(seconds):.1f}", "", ""]
        if theirs:
            ratios = [other / own for other, own in zip(theirs, seconds, strict=True)]
            row[3:] = [
                f"{count / statistics.median(theirs):.1f}",
                f"{statistics.median(ratios):.1f}",
            ]
        rows.append(f"| {' | '.join(row)} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deface-python", help="a Python in which deface runs")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--checks", action="store_true", help="what the checks cost, alone")
    parser.add_argument("-o", default="docs/results/anonymize.md")
    chosen = parser.parse_args()
    if chosen.checks:
        page = Path(chosen.o).with_name("check-cost.md")
        page.write_text("\n".join([*what_checks_cost(chosen.repeats), ""]), "utf-8")
        return
    words = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    made = " ".join(words).replace(str(chosen.deface_python), "PYTHON")
    lines = [
        "# Speed of anonymizing",
        "",
        f"Measured at {commit()} by `{made}`",
    ]
    lines[-1] += (
        f" on {os.cpu_count()} cores; medians of {chosen.repeats} repeats, fps = frames a second."
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in SIZES:
            src = folder / "clip.mp4"
            count = write_clip(src, size, chosen.seconds)
            print(size, flush=True)
            lines += ["", f"## {size[0]} x {size[1]}", "", "Every pixel hidden, beside the limit"]
            lines[-1] += " (decode and encode unchanged; same codec, preset, crf, threads):"
            lines += [
                "",
                "| method | fps | limit, fps | ratio | ratio, frames not checked "
                "| ratio to transcoding its own result |",
            ]
            lines += ["| --- | --- | --- | --- | --- | --- |"]
            lines += full_frame(src, folder, count, chosen.repeats)
            lines += [
                "",
                "Faces hidden (detector, look-ahead and mode as by default; `every 6` looks",
            ]
            lines[-1] += (
                " for them half as often), whole processes with their start-up, beside deface"
            )
            lines[-1] += " at its defaults. How many faces each covers is in [faces.md](faces.md):"
            lines += ["", "| method | fps once started | fps | deface, fps | ratio |"]
            lines += ["| --- | --- | --- | --- | --- |"]
            longer = 3 if size[0] <= 640 else 2  # start-up must not decide
            count = write_clip(src, size, longer * chosen.seconds)
            times = chosen.repeats if size[0] <= 640 else 1
            lines += on_faces(src, folder, count, times, chosen.deface_python)
    Path(chosen.o).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
