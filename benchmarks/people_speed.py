"""Speed of the three levels on real people, beside plain transcoding of the same clip.

    python benchmarks/people_speed.py [--data ../shared/data] [--mediapipe-python PYTHON]
    # docs/results/people-speed.md

Clips are composed of UT-Interaction's, whose frames show one person or two: scaled into the cells
of a grid, played to and fro. Networks are loaded before the clock starts. "Transcoding" decodes and
encodes the same clip unchanged, with the codec and settings of a run. CPU time is of all threads
and processes, so that it says what a frame costs where others use the machine too. With a Python in
which MediaPipe runs, its selfie segmentation blurs people in the same clips (mediapipe_people.py).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import cv2
import numpy as np
from anonymize import RATE, processor_seconds, transcode
from checkout import commit
from numpy.typing import NDArray

from masquerade.methods.drawn_people import DrawnPeople
from masquerade.methods.selective import Selective
from masquerade.pipeline import stream
from masquerade.pipeline.config import Pipeline, PipelineConfig, build_pipeline
from masquerade.pipeline.levels import LEVELS, build_level
from masquerade.pipeline.residual_detail import DetailCheck
from masquerade.pipeline.single_file import run_file
from masquerade.regions.background_subtraction import BackgroundSubtraction
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.litert import LiteRtNetwork
from masquerade.regions.pose_landmarks import Pose
from masquerade.video.encoding import CODECS
from masquerade.video.frame import Frame

OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "people-speed.md"
ONE = ("uti/point/set1_28_5_3.mp4",)  # with one person
TWO = (  # with two people each
    "uti/handshake/set1_4_1_0.mp4",
    "uti/hug/set2_24_15_1.mp4",
    "uti/push/set1_5_1_5.mp4",
    "uti/handshake/set2_37_17_0.mp4",
)
SIZES = {(320, 240): 240, (640, 480): 240, (1280, 720): 60}  # and frames
PEOPLE = (1, 2, 4)
CROWD = ((1280, 720), 8)
PARTS_OF = (640, 480), 2
# What is timed in the table of parts: an owner, its method, and the row. Networks have a row each.
PARTS: tuple[tuple[Any, str, str], ...] = (
    (CenterFace, "_run", "network: faces"),
    (Pose, "silhouette", "silhouettes drawn"),
    (BackgroundSubtraction, "_reduce", "what moves"),
    (BackgroundSubtraction, "_subtract", "what moves"),
    (Frame, "rgb", "colours, and sizes that networks see"),
    (stream, "region_mask", "masks"),
    (Selective, "on_bytes", "noise"),
    (DrawnPeople, "on_pixels", "figures drawn"),
    (DetailCheck, "watch", "detail that is left"),
    (DetailCheck, "compare", "detail that is left"),
)
U8 = NDArray[np.uint8]
MEDIAPIPE = """

MediaPipe is a kept tool that sees people: its selfie segmentation looks at every frame, and what it
takes for people is blurred, as its documentation shows. It follows nobody, checks nothing, and is
made for who sits before a camera: how much of people it hides is in
[people-real.md](people-real.md), beside `--regions people`."""
Way = Callable[[Path, Path], tuple[float, float]]
"""Of two videos, writes one from the other; gives seconds by the clock and of the CPU."""


def names_of(people: int) -> tuple[str, ...]:
    """Clips that together show so many people."""
    return ONE if people == 1 else TWO[: people // 2]


def compose(
    path: Path, data: Path, names: Sequence[str], size: tuple[int, int], count: int
) -> None:
    """Write a clip in whose cells these play."""
    columns = 1 if len(names) == 1 else 2
    rows = -(-len(names) // columns)
    cell = size[0] // columns, size[1] // rows
    cells = [list(scaled(data / name, cell)) for name in names]
    with av.open(str(path), "w") as out:
        made = out.add_stream("libx264", rate=RATE, options={"crf": "18"})
        made.width, made.height, made.pix_fmt = *size, "yuv420p"
        for t in range(count):
            shown = [frames[to_and_fro(t, len(frames))] for frames in cells]
            grid = [np.hstack(shown[r * columns : (r + 1) * columns]) for r in range(rows)]
            picture = av.VideoFrame.from_ndarray(np.vstack(grid), format="rgb24")
            picture.pts, picture.time_base = t, Fraction(1, RATE)
            out.mux(made.encode(picture))
        out.mux(made.encode(None))


def to_and_fro(t: int, count: int) -> int:
    return min(t % (2 * count - 2), -t % (2 * count - 2))


def scaled(path: Path, size: tuple[int, int]) -> Iterator[U8]:
    """The frames of a clip, as large as they fit into a size (w, h); its edges fill the rest."""
    with av.open(str(path)) as source:
        for frame in source.decode(video=0):
            factor = min(size[0] / frame.width, size[1] / frame.height)
            wide, high = round(frame.width * factor), round(frame.height * factor)
            small = cv2.resize(frame.to_ndarray(format="rgb24"), (wide, high))
            left, top = (size[0] - wide) // 2, (size[1] - high) // 2
            sides = top, size[1] - high - top, left, size[0] - wide - left
            yield np.asarray(cv2.copyMakeBorder(small, *sides, cv2.BORDER_REPLICATE), np.uint8)


def pipeline(level: str) -> Pipeline:
    config = PipelineConfig(level=level, overwrite=True, allow_empty=True, allow_gaps=True)  # type: ignore[arg-type]
    return build_pipeline(build_level(level), config)


def cost(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the CPU."""
    cpu, began = processor_seconds(), time.perf_counter()
    action()
    return time.perf_counter() - began, processor_seconds() - cpu


@contextmanager
def parts_timed(seconds: dict[str, float]) -> Iterator[None]:
    """Add the CPU time of `PARTS` and of each network, in the thread that calls them."""

    def timed(run: Callable[..., Any], row: str | None) -> Callable[..., Any]:
        def replaced(*given: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return run(*given, **named)
            finally:
                seconds[row or f"network: {given[0].name}"] += time.thread_time() - began

        return replaced

    patches = [patch.object(o, n, timed(getattr(o, n), row)) for o, n, row in PARTS]
    patches.append(patch.object(LiteRtNetwork, "__call__", timed(LiteRtNetwork.__call__, None)))
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # what other threads of OpenCV compute would be nobody's
    for one in patches:
        one.start()
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        for one in patches:
            one.stop()


def by_mediapipe(python: str) -> Callable[[Path, Path], tuple[float, float]]:
    """What blurs the people of a clip in a process of its own, and gives the seconds it says."""
    spec = CODECS["h264"]
    options = json.dumps({"crf": str(spec.crf), **spec.options})
    words = [python, str(Path(__file__).with_name("mediapipe_people.py")), "blur"]

    def run(src: Path, out: Path) -> tuple[float, float]:
        said = subprocess.check_output(
            [*words, str(src), str(out), options], stderr=subprocess.DEVNULL
        )
        wall, cpu = map(float, said.split()[-2:])
        return wall, cpu

    return run


def speeds(
    data: Path, folder: Path, ways: dict[str, Way], most: int, repeats: int
) -> Iterator[str]:
    """A row for each size, number of people and way; medians over repeats, which take turns."""
    cases = [(size, people) for size in SIZES for people in PEOPLE] + [CROWD]
    for size, people in cases:
        src, out, count = folder / "in.mp4", folder / "out.mp4", min(most, SIZES[size])
        compose(src, data, names_of(people), size, count)
        found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        for _ in range(repeats):
            limit, spent = cost(lambda src=src, out=out: transcode(src, out))
            for name, way in ways.items():
                wall, cpu = way(src, out)
                found[name].append((count / wall, limit / wall, 1000 * cpu / count, cpu / spent))
        for name, each in found.items():
            fps, ratio, took, times = map(statistics.median, zip(*each, strict=True))
            row = [f"{size[0]} x {size[1]}", str(people), name, f"{fps:.1f}"]
            row += [f"{ratio:.2f}", f"{took:.0f}", f"{times:.1f}"]
            yield f"| {' | '.join(row)} |"


def where_time_goes(data: Path, folder: Path, built: dict[str, Pipeline], most: int) -> list[str]:
    """CPU milliseconds a frame of each part."""
    size, people = PARTS_OF
    src, count = folder / "in.mp4", min(most, SIZES[size])
    compose(src, data, names_of(people), size, count)
    found: dict[str, dict[str, float]] = {}
    for level, made in built.items():
        found[level] = seconds = defaultdict(float)
        with parts_timed(seconds):
            _, cpu = cost(lambda made=made: run_file(src, folder / "out.mp4", made))
        seconds["all else: decoding, encoding, tracking"] = cpu - sum(seconds.values())
        seconds["**together**"] = cpu
    rows = sorted(
        {row for one in found.values() for row in one},
        key=lambda row: (row.startswith("**"), row.startswith("all else"), row),
    )
    lines = []
    for row in rows:
        cells = [f"{1000 * found[k][row] / count:.1f}" if row in found[k] else "" for k in built]
        lines.append(f"| {' | '.join([row, *cells])} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--frames", type=int, default=240, help="of a clip, at most")
    parser.add_argument("--repeats", type=int, default=5, help="of each row, whose medians count")
    parser.add_argument("--mediapipe-python", help="a Python in which MediaPipe and PyAV run")
    parser.add_argument("-o", type=Path, default=OUT)
    args = parser.parse_args()
    at, built = commit(), {level: pipeline(level) for level in LEVELS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm = folder / "in.mp4"
        compose(warm, args.data, names_of(2), (320, 240), 6)
        for one in built.values():
            run_file(warm, folder / "out.mp4", one)
        ways: dict[str, Way] = {
            level: lambda src, out, one=one: cost(lambda: run_file(src, out, one))
            for level, one in built.items()
        }
        if args.mediapipe_python:
            ways["MediaPipe"] = by_mediapipe(args.mediapipe_python)
        rows = []
        for row in speeds(args.data, folder, ways, args.frames, args.repeats):
            print(row, flush=True)
            rows.append(row)
        parts = where_time_goes(args.data, folder, built, args.frames)
    cores = len(os.sched_getaffinity(0))
    words = f"--frames {args.frames} --repeats {args.repeats}"
    words += " --mediapipe-python PYTHON" if args.mediapipe_python else ""
    page = f"""# Speed of the three levels

`python benchmarks/people_speed.py {words}`

At {at}, on {cores} cores ({processor()}); the load was {os.getloadavg()[0]:.1f} at the end, where
this command alone makes about 3.

Clips are composed of UT-Interaction's, whose frames show one person or two. Networks are loaded
before the clock starts. The limit is transcoding: the same clip decoded and encoded unchanged, with
the same settings. CPU time is of all threads, so that it says what a frame costs where others use
the machine too. Medians of {args.repeats} runs, which take turns; a ratio is to the limit of the
same turn.{MEDIAPIPE if args.mediapipe_python else ""}

| frame | people | level | frames a second | ratio to the limit | CPU ms a frame | ratio |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

## Where the time goes

CPU milliseconds a frame, {PARTS_OF[0][0]} x {PARTS_OF[0][1]}, {PARTS_OF[1]} people:

| | {" | ".join(built)} |
| --- |{" --- |" * len(built)}
{chr(10).join(parts)}

`figure` looks for poses alone: it shows nothing of the scene, so that faces and what moves beside
them would change nothing. Each person costs a run of the landmark network, in every frame or, while
the person hardly moves, in every other one; pixels cost faces, noise, colours and encoding.
"""
    args.o.write_text(page, "utf-8")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return named[0] if named else "unknown"


if __name__ == "__main__":
    main()
