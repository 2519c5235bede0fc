"""Anonymize in one process for an hour: do memory, descriptors, threads or files pile up?

    python benchmarks/soak.py --minutes 60 --seed 0 --write

A round anonymizes every source that the run drew (containers, codecs, sizes, with sound and
without) with drawn regions, methods, outputs and settings, and all that must fail: damaged and
foreign files, an existing output, nothing found, a method that hides nothing or raises, runs that
are cancelled at a drawn frame; every few rounds a folder goes through two worker processes. After
each round, when nothing runs, the process and its children are counted. `verdict` has the rule by
which they are flat. The exit code is 1 where they are not, or a run ended otherwise than it must.
`--write` makes docs/results/soak.md and soak.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from scipy.stats import theilslopes  # of scikit-learn, in the dev extra

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.cli.demo_clip import frames
from masquerade.errors import MasqueradeError
from masquerade.pipeline.batch import anonymize_batch
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.plan import plan_tasks

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 12
BATCH_EVERY = 4  # rounds
GROWTH = 0.02  # share of its memory that a process may gain in the second half of a run


class Source(NamedTuple):
    """A clip that the run draws: its file, encoder, pixel format, size, and encoder of sound."""

    name: str
    encoder: str
    pixels: str
    size: tuple[int, int]
    sound: str = ""


SOURCES = (
    Source("a.mp4", "libx264", "yuv420p", (320, 240), "aac"),
    Source("b.mkv", "libx264", "yuv420p10le", (256, 192), "libopus"),
    Source("c.webm", "libvpx-vp9", "yuv420p", (322, 242), "libopus"),
    Source("d.avi", "mpeg4", "yuv420p", (352, 288), "mp3"),
    Source("e.mov", "prores_ks", "yuv422p10le", (240, 320)),
    Source("f.ts", "mpeg2video", "yuv420p", (352, 240), "mp2"),
    Source("g.avi", "mjpeg", "yuvj420p", (200, 152)),
    Source("h.mkv", "ffv1", "yuv444p", (641, 481)),
    Source("i.gif", "gif", "rgb8", (160, 120)),
    Source("j.png", "png", "rgb24", (320, 240)),
)
METHODS = ("selective", "blacken", "mask-mean", "pixelate", "blur", "downsample", "elr",
           "frame-difference", "silhouette")  # fmt: skip
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"audio": "pitch"},
    {"audio": "keep", "metadata": "keep"},
    {"cfr": 12.5},
    {"preview": 0.2},
    {"outside": "black"},
    {"shadow": True},
    {"batch_size": 4, "public_receipt": True},
    {"salvage": True, "receipt": False},
)


class HidesNothing(Anonymizer):
    """A method that returns its input."""

    card = Card("", "", "", "")

    def forward(self, clip: Any, *, mask: Any = None, state: Any = None) -> Anonymized:
        return Anonymized(clip, mask, state)


class Raises(HidesNothing):
    """A method that raises at its fifth window."""

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Any:
        return 0

    def forward(self, clip: Any, *, mask: Any = None, state: Any = None) -> Anonymized:
        if state == 4:
            raise ArithmeticError("the fifth window")
        return Anonymized(clip * 0, mask, state + 1)


OWN = {"hides-nothing": HidesNothing, "raises": Raises}


def write_source(path: Path, source: Source) -> None:
    """Write a clip of the demo's portrait, with a tone where it has sound."""
    width, height = source.size
    still = source.name.endswith(".png")
    with av.open(str(path), "w", format="image2pipe" if still else None) as out:
        video: Any = out.add_stream(source.encoder, rate=25)
        video.width, video.height, video.pix_fmt = width, height, source.pixels
        sound: Any = source.sound and out.add_stream(source.sound, rate=48000, layout="mono")
        for number, picture in enumerate(islice(frames(), 1 if still else FRAMES)):
            small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(small, format="rgb24").reformat(format=source.pixels)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound:
            tone = np.sin(np.arange(48000 * FRAMES // 25) / 48000 * 2 * np.pi * 220)
            wave = av.AudioFrame.from_ndarray(
                (6000 * tone).astype(np.int16)[None], format="s16", layout="mono"
            )
            wave.sample_rate, wave.pts = 48000, 0
            resampler = av.AudioResampler(
                format=sound.format, layout="mono", rate=48000, frame_size=sound.frame_size
            )
            for part in (*resampler.resample(wave), *resampler.resample(None)):
                out.mux(sound.encode(part))
            out.mux(sound.encode(None))


@dataclass
class Round:
    """What is there after a round, when nothing runs, in the process and its children together."""

    minutes: float
    runs: int
    memory: float  # MB resident
    peak: float  # MB resident at most during the round, of the process itself
    descriptors: int
    threads: int
    children: int
    files: int  # temporary files and folders, and shared memory


def family(pid: int) -> Iterator[int]:
    """A process and all that it started, and they started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from family(int(child))


def resident(pid: int | str, field: str) -> float:
    """MB of a field of a process's status, such as VmRSS."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def shared(pid: int) -> int:
    """How many blocks of shared memory a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return len({line.split(None, 5)[5] for line in lines if " /dev/shm/" in line})


def count(minutes: float, runs: int, folder: Path) -> Round:
    """Count what is there now."""
    mine = list(family(os.getpid()))
    peak = resident("self", "VmHWM")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    outputs = [path for path in folder.glob("out/*") if path.name.startswith(".")]
    return Round(
        minutes=round(minutes, 2),
        runs=runs,
        memory=round(sum(resident(pid, "VmRSS") for pid in mine), 1),
        peak=round(peak, 1),
        descriptors=sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in mine),
        threads=sum(len(os.listdir(f"/proc/{pid}/task")) for pid in mine),
        children=len(mine) - 1,
        files=len([*folder.glob("tmp/**/*"), *outputs]) + sum(map(shared, mine)),
    )


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder with the sources, in which the library's temporary files lie too.

    While it is there, `OWN` are among the library's methods.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, before = Path(name), tempfile.tempdir
        for part in ("in", "out", "tmp", "batch"):
            (folder / part).mkdir()
        tempfile.tempdir = str(folder / "tmp")
        masquerade.METHODS.update(OWN)
        try:
            for source in SOURCES:
                write_source(folder / "in" / source.name, source)
            for source in SOURCES[:3]:
                os.link(folder / "in" / source.name, folder / "batch" / source.name)
            write_bad(folder)
            yield folder
        finally:
            tempfile.tempdir = before
            for name in OWN:
                del masquerade.METHODS[name]


def write_bad(folder: Path) -> None:
    """Files that must be refused."""
    whole = (folder / "in" / "a.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "foreign.mp4").write_bytes(b"no video " * 999)
    (folder / "empty.mp4").touch()
    (folder / "exists.mp4").write_bytes(whole)
    noise = np.random.default_rng(0).integers(0, 40, (240, 320, 3), np.uint8)
    cv2.imwrite(str(folder / "nobody.png"), noise)
    os.link(folder / "truncated.mp4", folder / "batch" / "truncated.mp4")


class Case(NamedTuple):
    """One run: what must come of it, the source's name, the method, and the settings."""

    must: str
    source: str
    method: Any
    settings: dict[str, Any]
    suffix: str = ".mp4"
    cancel_at: int = 0


def cases(draw: random.Random) -> list[Case]:
    """The runs of a round, in a drawn order."""
    found = []
    methods, variants = list(METHODS), list(VARIANTS)
    draw.shuffle(methods)
    draw.shuffle(variants)
    for number, source in enumerate(SOURCES):
        method = methods[number % len(methods)]
        settings = dict(variants[number % len(variants)])
        suffix = draw.choice([".mp4", ".mkv", ".mov"])
        whole = method in ("frame-difference", "elr", "downsample") or draw.random() < 0.3
        if source.name.endswith((".png", ".gif")):
            settings = {key: settings[key] for key in settings if key not in ("cfr", "preview")}
        if source.name.endswith(".png"):
            suffix = ".png"
        if settings.get("audio") == "keep":
            suffix = ".mkv"  # which holds every kind of sound
        if method == "silhouette":
            settings["regions"] = "people"
        elif method != "frame-difference":
            settings["regions"] = "frame" if whole else "faces"
        if number % 3 == 0 and not settings.get("shadow"):
            settings["export_boxes"] = True
            settings["export_masks"] = suffix != ".png"
        settings |= {"allow_gaps": True, "allow_empty": True}
        found.append(Case("done", source.name, masquerade.build(method), settings, suffix))
    blacken, frame = masquerade.build("blacken"), {"regions": "frame"}
    any_source = draw.choice([source.name for source in SOURCES[:8]])
    found += [
        Case("VideoError", "../truncated.mp4", blacken, frame),
        Case("VideoError", "../foreign.mp4", blacken, frame),
        Case("VideoError", "../empty.mp4", blacken, frame),
        Case("VideoError", "../missing.mp4", blacken, frame),
        Case("UsageError", "../exists.mp4", blacken, {**frame, "export_boxes": "exists.mp4"}),
        Case("UsageError", any_source, blacken, {"regions": "nobody"}),
        Case("UsageError", "b.mkv", blacken, {**frame, "audio": "keep"}, ".mov"),  # Opus
        Case("OutputError", "../nobody.png", blacken, {"regions": "faces"}, ".png"),
        Case("OutputError", any_source, HidesNothing(), frame),
        Case("ArithmeticError", any_source, Raises(), frame),
        Case("KeyboardInterrupt", any_source, masquerade.build("selective"), {}, ".mp4",
             draw.randint(1, FRAMES)),
        Case("KeyboardInterrupt", "a.mp4", blacken, {"audio": "pitch"}, ".mkv",
             draw.randint(1, FRAMES)),
    ]  # fmt: skip
    draw.shuffle(found)
    return found


def run(case: Case, folder: Path) -> str:
    """Anonymize one file into an empty folder; "done", or the name of what was raised."""
    out = folder / "out"
    settings = dict(case.settings)
    for key, name in (("export_boxes", "boxes.json"), ("export_masks", "masks.mkv")):
        given = settings.pop(key, None)
        if given:
            settings[key] = folder / given if isinstance(given, str) else out / name

    def progress(done: int, _: int | None) -> None:
        if 0 < done == case.cancel_at:
            raise KeyboardInterrupt

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            masquerade.anonymize_file(
                folder / "in" / case.source,
                out / f"o{case.suffix}",
                case.method,
                progress=progress,
                encoder_preset="ultrafast",
                threads=1,
                **settings,
            )
        outcome = "done"
    except (MasqueradeError, ArithmeticError, KeyboardInterrupt) as error:
        outcome = type(error).__name__
    left = [path.name for path in out.iterdir()]
    if (outcome == "done") != bool(left) and case.settings.get("receipt", True):
        outcome += f", and {len(left)} files"
    for path in out.iterdir():
        if not path.name.startswith("."):  # what is left of unfinished work is counted
            path.unlink()
    return outcome


def run_batch(folder: Path) -> Counter[str]:
    """Anonymize a folder, one of its files damaged, in two processes."""
    config = PipelineConfig(regions="frame", encoder_preset="ultrafast", threads=1)
    pipeline = build_pipeline(masquerade.build("blacken"), config)
    tasks = plan_tasks([str(folder / "batch")], output=f"{folder / 'out'}/")
    outcomes = Counter(one.status for one in anonymize_batch(tasks, pipeline, workers=2))
    for path in (folder / "out").iterdir():
        if not path.name.startswith("."):
            path.unlink()
    return outcomes


@dataclass
class Soak:
    """The whole run: its rounds, how its runs ended, and what ended otherwise than it must."""

    rounds: list[Round]
    outcomes: Counter[str]
    wrong: list[str]


def soak(*, minutes: float, seed: int, least: int = 1) -> Soak:
    """Run rounds until the time is over, and so many at least."""
    found, began = Soak([], Counter(), []), time.monotonic()
    draw = random.Random(seed)
    with work_folder() as folder:
        while time.monotonic() - began < 60 * minutes or len(found.rounds) < least:
            number = len(found.rounds)
            for case in cases(draw):
                outcome = run(case, folder)
                found.outcomes[case.must] += 1
                if outcome != case.must:
                    found.wrong.append(f"round {number}: {case.must} was {outcome}: {case}")
                    print(found.wrong[-1], flush=True)
            if number % BATCH_EVERY == 0:
                outcomes = run_batch(folder)
                found.outcomes.update({f"in workers, {key}": n for key, n in outcomes.items()})
                if outcomes != {"done": 3, "failed": 1}:
                    found.wrong.append(f"round {number}: the batch gave {dict(outcomes)}")
            here = count((time.monotonic() - began) / 60, found.outcomes.total(), folder)
            found.rounds.append(here)
            print(json.dumps(asdict(here)), flush=True)
    return found


class Growth(NamedTuple):
    """MB that memory gained in the second half, with a 95 % interval, and as a share of it."""

    value: float
    low: float
    high: float
    share: float  # of the interval's upper end


def growth(rounds: list[Round]) -> Growth:
    """Theil's and Sen's slope of the second half's memory, times its length."""
    memory, minutes = [r.memory for r in rounds], [r.minutes for r in rounds]
    slope, _, low, high = theilslopes(memory, minutes, 0.95)
    length = minutes[-1] - minutes[0]
    value, low, high = (float(x) * length for x in (slope, low, high))
    return Growth(value, low, high, high / float(np.median(memory)))


COUNTED = ("descriptors", "threads", "children", "files")


def verdict(found: Soak) -> tuple[bool, Growth]:
    """Whether the run was flat: the rule that the page states."""
    half = len(found.rounds) // 2
    first, second = found.rounds[:half], found.rounds[half:]
    grown = growth(second)
    same = all(
        max(getattr(r, key) for r in second) <= max(getattr(r, key) for r in first)
        for key in COUNTED
    )
    return same and grown.share <= GROWTH, grown


def page(found: Soak, results: dict[str, Any]) -> str:
    """The results as Markdown."""
    rounds, grown = found.rounds, results["growth_mb"]
    at = np.linspace(0, len(rounds) - 1, min(13, len(rounds))).astype(int)
    ends = ", ".join(f"{n} {name}" for name, n in sorted(found.outcomes.items()))
    return "\n".join(
        [
            "# Many runs in one process",
            "",
            f"Made by `{results['command']}` on commit {results['commit']}, Python "
            f"{platform.python_version()}, PyAV {av.__version__}.",
            f"{results['runs']} runs in {len(rounds)} rounds; they ended as they must "
            f"({ends}) but for {len(found.wrong)}.",
            "Counted after each round, when nothing runs, over the process and its children; the "
            "peak is the process's own during the round.",
            "*Flat*: in no round of the second half more descriptors, threads, child processes or "
            "temporary files than in some round of the first half, and memory's growth over the "
            "second half (Theil's and Sen's slope times its length) is at most "
            f"{GROWTH:.0%} of its median at the upper end of its 95 % interval.",
            "",
            f"Growth: {grown['value']:+.1f} MB [{grown['low']:+.1f}, {grown['high']:+.1f}] of "
            f"{results['memory_mb']:.0f} MB in {results['half_minutes']:.0f} minutes, at most "
            f"{grown['share']:.1%}. **{'Flat' if results['flat'] else 'Not flat'}.**",
            "",
            "| minutes | runs | memory, MB | peak, MB | descriptors | threads | children | files |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(
                f"| {r.minutes:.0f} | {r.runs} | {r.memory:.0f} | {r.peak:.0f} | {r.descriptors} "
                f"| {r.threads} | {r.children} | {r.files} |"
                for r in (rounds[i] for i in at)
            ),
            *(f"- {line}" for line in found.wrong),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write docs/results/soak.md and .json")
    asked = parser.parse_args()
    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    commit_name = subprocess.run(commit, capture_output=True, text=True).stdout.strip()
    found = soak(minutes=asked.minutes, seed=asked.seed)
    flat, grown = verdict(found)
    second = found.rounds[len(found.rounds) // 2 :]
    results = {
        "command": f"python benchmarks/soak.py --minutes {asked.minutes:g} --seed {asked.seed}",
        "commit": commit_name,
        "minutes": found.rounds[-1].minutes,
        "runs": found.outcomes.total(),
        "outcomes": dict(found.outcomes),
        "wrong": len(found.wrong),
        "flat": flat,
        "growth_mb": grown._asdict(),
        "memory_mb": float(np.median([r.memory for r in second])),
        "half_minutes": second[-1].minutes - second[0].minutes,
        "rounds": [list(asdict(r).values()) for r in found.rounds],
    }
    text = page(found, results)
    if asked.write:
        folder = ROOT / "docs" / "results"
        (folder / "soak.md").write_text(text)
        rounds = ",\n  ".join(json.dumps(r) for r in results.pop("rounds"))
        body = json.dumps(results, indent=1)[:-2]
        names = json.dumps(list(asdict(second[0])))
        (folder / "soak.json").write_text(
            f'{body},\n "columns": {names},\n "rounds": [\n  {rounds}\n ]\n}}\n'
        )
    print(text)
    if not flat or found.wrong:
        raise SystemExit("not flat" if not flat else "a run ended otherwise than it must")


if __name__ == "__main__":
    main()
