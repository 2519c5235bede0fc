"""Feed mutated files of every container and codec to the reader, in a process with limits.

    python benchmarks/fuzz.py --inputs 50000 --seed 0 -o fuzz/
    python benchmarks/fuzz.py --replay fuzz/crash-0-1234.mp4

Small files of every kind are written by PyAV in the run and mutated by their structure
(`fuzz_structure.py`). Each is probed, counted and read to its end, every frame converted to RGB, in
one child process that is used again and again and restarted when it dies. A failure is a traceback
other than masquerade's own refusal, a crash, more time or more memory than the limit; its file is
kept, and `--replay` reads it again. The same seed and number give the same file. `--table FILE`
writes the results as a page; the exit code is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from fuzz_structure import mutate

SECONDS = 20  # of one input; 16 frames of 64 x 48 take a hundredth
MEGABYTES = 1536  # resident above what the child needs before; a frame of 2**27 pixels has 400
FRAMES = 200  # of one input that are read; what repeats a part 32 times has more
ROUND = 1000  # inputs after which the child is restarted, so that a leak shows and does not add up

# name: muxer, encoder, pixel format, options of the encoder, options of the muxer
SEEDS: dict[str, tuple[str, str, str, dict[str, str], dict[str, str]]] = {
    "mp4-h264": ("mp4", "libx264", "yuv420p", {"preset": "ultrafast", "bf": "2"}, {}),
    "mp4-fragmented": (
        "mp4", "libx264", "yuv420p", {"preset": "ultrafast", "g": "4"},
        {"movflags": "frag_keyframe+empty_moov"},
    ),
    "mp4-h265": ("mp4", "libx265", "yuv420p", {"x265-params": "log-level=none"}, {}),
    "mp4-av1": ("mp4", "libsvtav1", "yuv420p", {"preset": "12"}, {}),
    "mp4-mpeg4": ("mp4", "mpeg4", "yuv420p", {}, {}),
    "3gp-h263": ("3gp", "h263", "yuv420p", {}, {}),
    "mov-prores": ("mov", "prores_ks", "yuv422p10le", {}, {}),
    "mov-png": ("mov", "png", "rgba", {}, {}),
    "mov-qtrle": ("mov", "qtrle", "rgb24", {}, {}),
    "mov-mjpeg": ("mov", "mjpeg", "yuvj420p", {}, {}),
    "mkv-h264-10bit": ("matroska", "libx264", "yuv420p10le", {"preset": "ultrafast"}, {}),
    "mkv-ffv1": ("matroska", "ffv1", "yuv420p", {"level": "3"}, {}),
    "webm-vp8": ("webm", "libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, {}),
    "webm-vp9": ("webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, {}),
    "webm-av1": ("webm", "libsvtav1", "yuv420p", {"preset": "12"}, {}),
    "avi-mpeg4": ("avi", "mpeg4", "yuv420p", {"bf": "2"}, {}),
    "avi-mjpeg": ("avi", "mjpeg", "yuvj420p", {}, {}),
    "avi-raw": ("avi", "rawvideo", "bgr24", {}, {}),
    "avi-huffyuv": ("avi", "huffyuv", "yuv422p", {}, {}),
    "avi-msmpeg4": ("avi", "msmpeg4", "yuv420p", {}, {}),
    "mpeg-ps": ("mpeg", "mpeg2video", "yuv420p", {}, {}),
    "mpeg-1": ("mpeg1video", "mpeg1video", "yuv420p", {}, {}),
    "mpeg-2": ("mpeg2video", "mpeg2video", "yuv420p", {"bf": "2"}, {}),
    "ts-h264": ("mpegts", "libx264", "yuv420p", {"preset": "ultrafast"}, {}),
    "ts-mpeg2": ("mpegts", "mpeg2video", "yuv420p", {}, {}),
    "flv-h264": ("flv", "libx264", "yuv420p", {"preset": "ultrafast"}, {}),
    "flv-flv1": ("flv", "flv", "yuv420p", {}, {}),
    "asf-wmv2": ("asf", "wmv2", "yuv420p", {}, {}),
    "ogg-vp8": ("ogg", "libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, {}),
    "h264": ("h264", "libx264", "yuv420p", {"preset": "ultrafast"}, {}),
    "h265": ("hevc", "libx265", "yuv420p", {"x265-params": "log-level=none"}, {}),
    "ivf-vp9": ("ivf", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, {}),
    "mjpeg": ("mjpeg", "mjpeg", "yuvj420p", {}, {}),
    "gif": ("gif", "gif", "rgb8", {}, {}),
    "apng": ("apng", "apng", "rgba", {}, {}),
    "image-png": ("png", "png", "rgb48be", {}, {}),
    "image-jpeg": ("jpeg", "mjpeg", "yuvj420p", {}, {}),
    "image-bmp": ("bmp", "bmp", "bgr24", {}, {}),
    "image-tiff": ("tiff", "tiff", "rgb24", {}, {}),
    "image-webp": ("webp", "libwebp", "yuv420p", {}, {}),
}  # fmt: skip
SUFFIXES = {"matroska": ".mkv", "mpegts": ".ts", "jpeg": ".jpg"}


def write_seed(path: Path, name: str) -> None:
    """Write a seed file: 8 frames of 64 x 48 with a moving pattern, or one where it is an image."""
    import av
    import numpy as np

    from masquerade.video.encoding import open_encoder

    muxer, encoder, pixel_format, options, muxing = SEEDS[name]
    image = name.startswith("image-")
    y, x = np.mgrid[:48, :64]
    muxing = muxing | {"fflags": "bitexact"}  # else Matroska and Ogg draw numbers
    with av.open(str(path), "w", format="image2pipe" if image else muxer, options=muxing) as out:
        stream: Any = out.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        stream.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT
        stream.codec_context.thread_count = 1
        if encoder == "h263":
            stream.width, stream.height = 128, 96  # it knows five sizes
            y, x = np.mgrid[:96, :128]
        open_encoder(stream.codec_context)
        for t in range(1 if image else 8):
            planes = [(x * 4 + 9 * t) % 256, (y * 5 + 3 * t) % 256, (x * y + t) % 256]
            picture = np.stack(planes, -1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=pixel_format
            )
            frame.pts, frame.time_base = t, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def write_seeds(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """The seed files' bytes by name, and the names of those that this PyAV cannot write."""
    import av

    os.environ["SVT_LOG"] = "1"  # SVT-AV1 prints its settings else
    seeds, missing = {}, []
    for name in SEEDS:
        path = folder / name
        try:
            write_seed(path, name)
        except (av.FFmpegError, ValueError):
            missing.append(name)
            continue
        seeds[name] = path.read_bytes()
    return seeds, missing


def input_of(seeds: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes, bool]:
    """One input: the name of the seed file, the mutated bytes, and whether damage is salvaged."""
    draw = random.Random(f"{seed}:{number}")
    names = list(seeds)
    name, other = names[number % len(names)], draw.choice(names)
    salvage = draw.random() < 0.5
    data = mutate(seeds[name], SEEDS[name][0], seeds[other], SEEDS[other][0], draw)
    return name, data, salvage


def read(path: Path, salvage: bool) -> dict[str, Any]:
    """What the reader makes of a file, or the traceback of what it should not raise."""
    from masquerade.errors import MasqueradeError
    from masquerade.video.frame import Frame
    from masquerade.video.probe import count_frames, probe
    from masquerade.video.read import Reader

    frames = 0
    try:
        info = probe(path)
        with suppress(MasqueradeError):  # it has no salvage, and the reader may
            count_frames(path)
        with Reader(path, info=info, salvage=salvage, threads=1, trusted=True) as reader:
            for item in reader:
                if isinstance(item, Frame):
                    shape = item.rgb().shape
                    assert shape == (info.height, info.width, 3), (shape, info)
                    frames += 1
                if frames == FRAMES:
                    break
            return {"outcome": "salvaged" if reader.damaged else "read", "frames": frames}
    except MasqueradeError as refused:
        sentence = str(refused)
        if not sentence.isprintable() or not sentence.endswith("."):
            return {"outcome": "traceback", "detail": f"not one sentence: {sentence!r}"}
        return {"outcome": "refused", "detail": sentence}
    except Exception:
        return {"outcome": "traceback", "detail": traceback.format_exc()}


def memory() -> tuple[int, int]:
    """This process's resident megabytes, at their peak and now; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return int(found["VmHWM"].split()[0]) >> 10, int(found["VmRSS"].split()[0]) >> 10


def child() -> None:
    """Read files by their names on stdin and answer with a line of JSON each."""
    import masquerade.video.read  # noqa: F401  # before the limits, which count from here

    faulthandler.enable()
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    ceiling = virtual + 4 * MEGABYTES * 2**20  # of address space, so that a bomb ends here
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = memory()[1]
        answer = read(Path(asked["path"]), asked["salvage"])
        answer["megabytes"] = max(0, memory()[0] - before)
        print(json.dumps(answer), file=answers, flush=True)


class Child:
    """The process that reads, restarted when it dies or takes too long."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process; the next file starts another."""
        if self._process is not None:
            with self._process:  # closes its pipes
                self._process.kill()
            self._process = None

    def read(self, path: Path, *, salvage: bool) -> dict[str, Any]:
        """What becomes of one file: `read`'s answer, or a crash, a hang or a want of memory."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps({"path": str(path), "salvage": salvage}) + "\n")
        self._process.stdin.flush()
        answer = self._answer(SECONDS)
        if answer is None:
            return {"outcome": "hang", "detail": f"more than {SECONDS} seconds"}
        if "code" in answer:
            return {"outcome": "crash", "detail": f"{answer['code']}\n{self._words()}"}
        if answer["megabytes"] > MEGABYTES:
            return {**answer, "outcome": "memory", "detail": f"{answer['megabytes']} MB"}
        return answer

    def _start(self) -> None:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        if self._answer(120) != {}:
            raise RuntimeError(f"the child did not start: {self._words()}")

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """The next answer, the exit code of a child that died, or None after a time."""
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            self.stop()
            return None
        line = self._process.stdout.readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        code = self._process.wait()
        self.stop()
        return {"code": signal.Signals(-code).name if code < 0 else f"exit {code}"}

    def _words(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


@dataclass
class Tally:
    """Outcomes by seed file, and what failed."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    megabytes: int = 0
    slowest: float = 0.0
    inputs: int = 0
    seconds: float = 0.0


FAILURES = ("traceback", "crash", "hang", "memory")


def fuzz(*, inputs: int, seed: int, keep: Path, first: int = 0, seconds: float = 1e9) -> Tally:
    """Read `inputs` mutated files, fewer where the time is over; keep those that fail."""
    tally, began = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as name, Child(Path(name) / "log") as reader:
        folder = Path(name)
        seeds, tally.missing = write_seeds(folder)
        target = folder / "input"
        for number in range(first, first + inputs):
            if time.monotonic() - began > seconds:
                break
            kind, data, salvage = input_of(seeds, seed, number)
            target.write_bytes(data)
            started = time.monotonic()
            answer = reader.read(target, salvage=salvage)
            tally.slowest = max(tally.slowest, time.monotonic() - started)
            tally.megabytes = max(tally.megabytes, answer.get("megabytes", 0))
            tally.outcomes.setdefault(kind, Counter())[answer["outcome"]] += 1
            tally.inputs += 1
            if answer["outcome"] in FAILURES:
                keep.mkdir(parents=True, exist_ok=True)
                suffix = SUFFIXES.get(SEEDS[kind][0], f".{SEEDS[kind][0]}")
                word = "-salvage" if salvage else ""
                path = keep / f"{answer['outcome']}-{seed}-{number}{word}{suffix}"
                path.write_bytes(data)
                path.with_name(f"{path.name}.txt").write_text(answer["detail"])
                tally.failures.append((path, answer["detail"]))
                print(f"{path}: {answer['detail'].strip().splitlines()[-1]}", flush=True)
            if tally.inputs % ROUND == 0:
                reader.stop()
                print(f"{tally.inputs} inputs, {len(tally.failures)} failures", flush=True)
    tally.seconds = time.monotonic() - began
    return tally


def replay(paths: list[Path]) -> int:
    """Read kept files again and say what becomes of each; 1 where one still fails."""
    failed = 0
    with tempfile.TemporaryDirectory() as name, Child(Path(name) / "log") as reader:
        for path in paths:
            answer = reader.read(path.resolve(), salvage="-salvage" in path.name)
            failed |= answer["outcome"] in FAILURES
            print(f"{path}: {answer['outcome']} {answer.get('detail', '')}".rstrip())
    return failed


def page(tally: Tally, *, seed: int) -> str:
    """The results as Markdown."""
    import av

    versions = ".".join(str(number) for number in av.library_versions["libavcodec"])
    lines = [
        "# Mutated files",
        "",
        f"Made by `python benchmarks/fuzz.py --inputs {tally.inputs} --seed {seed}` with PyAV "
        f"{av.__version__} (libavcodec {versions}).",
        "Every input is probed, counted and read to its end in a process with limits: "
        f"{SECONDS} seconds, {MEGABYTES} MB.",
        f"All together took {tally.seconds / 60:.0f} minutes of one process; the slowest input "
        f"{tally.slowest:.1f} s, the largest {tally.megabytes} MB.",
        "*Salvaged*: read with damage counted, as half of the inputs ask for. *Failed*: a "
        "traceback, a crash, a hang, or memory above the limit.",
        "",
        "| seed file | inputs | read | salvaged | refused | failed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    total: Counter[str] = Counter()
    for name, outcomes in [*tally.outcomes.items(), ("all", total)]:
        failed = sum(outcomes[kind] for kind in FAILURES)
        shown = [outcomes.total(), *(outcomes[k] for k in ("read", "salvaged", "refused")), failed]
        lines.append(f"| {name} | {' | '.join(str(number) for number in shown)} |")
        total.update(outcomes)
    if tally.missing:
        lines += ["", f"Not written by this PyAV: {', '.join(tally.missing)}."]
    if tally.failures:
        lines += ["", "Failures:", ""]
        for path, detail in tally.failures:
            lines.append(f"- `{path.name}`: {detail.strip().splitlines()[-1]}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time")
    parser.add_argument("-o", "--keep", type=Path, default=Path("fuzz"), help="failures go here")
    parser.add_argument("--table", type=Path, help="write the results to this page")
    parser.add_argument("--replay", type=Path, nargs="+", help="read these kept files again")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child()
        return 0
    if asked.replay:
        return replay(asked.replay)
    tally = fuzz(
        inputs=asked.inputs, seed=asked.seed, keep=asked.keep, first=asked.first,
        seconds=asked.seconds,
    )  # fmt: skip
    text = page(tally, seed=asked.seed)
    if asked.table:
        asked.table.write_text(text)
    print(text)
    return int(bool(tally.failures))


if __name__ == "__main__":
    sys.exit(main())
