"""Feed mutated files of every container and codec to the reader, in a process with limits.

    python benchmarks/fuzz.py --inputs 50000 --seed 0 -o fuzz/
    python benchmarks/fuzz.py --replay fuzz/crash-0-1234.mp4

Small files of every kind are written by PyAV in the run and mutated by their structure
(`fuzz_structure.py`). Each is probed, counted and read to its end, every frame converted to RGB, in
one child process that is used again and again and restarted when it dies. A failure is a traceback
other than masquerade's own refusal, a crash, more time or more memory than the limit; its file is
kept, and `--replay` reads it again. The same seed and number give the same file. Of every eleventh
input all that can be read is also blackened as `masquerade anonymize` would, with whatever else is
in it kept: its decoding process must not die, and no picture of the output may show anything.
`--table FILE` writes the results as a page; the exit code is 1 where anything failed.
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
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from fuzz_structure import mutate

SECONDS = 20  # of one input; 16 frames of 64 x 48 take a hundredth
MEGABYTES = 4096  # resident above what the child needs before; as a process that decodes may take
PUBLISHED = 11  # of so many inputs one is anonymized
BLACK = 16  # of 255, how bright what is blackened may be after it was encoded
FRAMES = 200  # of one input that are read; what repeats a part 32 times has more
ROUND = 1000  # inputs after which the child is restarted, so that a leak shows and does not add up

_X264, _VPX = {"preset": "ultrafast"}, {"deadline": "realtime", "cpu-used": "8"}
_X265, _SVT = {"x265-params": "log-level=none"}, {"preset": "12"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
_DASH = {"movflags": "dash+frag_keyframe+empty_moov+global_sidx"}
# name: muxer, encoder, pixel format, options of the encoder, options of the muxer
Seed = tuple[str, str, str, dict[str, str], dict[str, str]]
SEEDS: dict[str, Seed] = {
    "mp4-h264": ("mp4", "libx264", "yuv420p", _X264 | {"bf": "2"}, {}),
    "mp4-h264-444": ("mp4", "libx264", "yuv444p", _X264, {}),
    "mp4-fragmented": ("mp4", "libx264", "yuv420p", _X264 | {"g": "4"}, _FRAGMENTS),
    "mp4-dash": ("mp4", "libx264", "yuv420p", _X264 | {"g": "4"}, _DASH),
    "mp4-h265": ("mp4", "libx265", "yuv420p", _X265, {}),
    "mp4-h265-10bit": ("mp4", "libx265", "yuv420p10le", _X265, {}),
    "mp4-av1": ("mp4", "libsvtav1", "yuv420p", _SVT, {}),
    "mp4-vp9": ("mp4", "libvpx-vp9", "yuv420p", _VPX, {}),
    "mp4-mpeg4": ("mp4", "mpeg4", "yuv420p", {}, {}),
    "mp4-mpeg2": ("mp4", "mpeg2video", "yuv420p", {}, {}),
    "mp4-mjpeg": ("mp4", "mjpeg", "yuvj420p", {}, {}),
    "mp4-jpeg2000": ("mp4", "jpeg2000", "yuv420p", {}, {}),
    "3gp-h263": ("3gp", "h263", "yuv420p", {}, {}),
    "mov-h264": ("mov", "libx264", "yuv420p", _X264, {}),
    "mov-prores": ("mov", "prores_ks", "yuv422p10le", {}, {}),
    "mov-dnxhr": ("mov", "dnxhd", "yuv422p", {"profile": "dnxhr_hq"}, {}),
    "mov-cfhd": ("mov", "cfhd", "yuv422p10le", {}, {}),
    "mov-png": ("mov", "png", "rgba", {}, {}),
    "mov-qtrle": ("mov", "qtrle", "rgb24", {}, {}),
    "mov-svq1": ("mov", "svq1", "yuv410p", {}, {}),
    "mov-rpza": ("mov", "rpza", "rgb555le", {}, {}),
    "mov-mjpeg": ("mov", "mjpeg", "yuvj420p", {}, {}),
    "mov-tiff": ("mov", "tiff", "rgb24", {}, {}),
    "mov-targa": ("mov", "targa", "bgr24", {}, {}),
    "mov-v210": ("mov", "v210", "yuv422p10le", {}, {}),
    "mov-raw": ("mov", "rawvideo", "rgb24", {}, {}),
    "mkv-h264-10bit": ("matroska", "libx264", "yuv420p10le", _X264, {}),
    "mkv-live": ("matroska", "libx264", "yuv420p", _X264, {"live": "1"}),
    "mkv-h265": ("matroska", "libx265", "yuv420p", _X265, {}),
    "mkv-mpeg2": ("matroska", "mpeg2video", "yuv420p", {"bf": "2"}, {}),
    "mkv-mpeg4": ("matroska", "mpeg4", "yuv420p", {}, {}),
    "mkv-ffv1": ("matroska", "ffv1", "yuv420p", {"level": "3"}, {}),
    "mkv-ffv1-16bit": ("matroska", "ffv1", "gbrp16le", {"level": "3", "coder": "1"}, {}),
    "mkv-prores": ("matroska", "prores", "yuv422p10le", {}, {}),
    "mkv-snow": ("matroska", "snow", "yuv420p", {"strict": "-2"}, {}),
    "mkv-raw": ("matroska", "rawvideo", "yuv420p", {}, {}),
    "webm-vp8": ("webm", "libvpx", "yuv420p", _VPX, {}),
    "webm-vp9": ("webm", "libvpx-vp9", "yuv420p", _VPX, {}),
    "webm-av1": ("webm", "libsvtav1", "yuv420p", _SVT, {}),
    "avi-mpeg4": ("avi", "mpeg4", "yuv420p", {"bf": "2"}, {}),
    "avi-h264": ("avi", "libx264", "yuv420p", _X264 | {"bf": "0"}, {}),
    "avi-mjpeg": ("avi", "mjpeg", "yuvj420p", {}, {}),
    "avi-ljpeg": ("avi", "ljpeg", "yuvj420p", {}, {}),
    "avi-amv": ("avi", "amv", "yuvj420p", {}, {}),
    "avi-raw": ("avi", "rawvideo", "bgr24", {}, {}),
    "avi-ffv1": ("avi", "ffv1", "yuv420p", {}, {}),
    "avi-huffyuv": ("avi", "huffyuv", "yuv422p", {}, {}),
    "avi-ffvhuff": ("avi", "ffvhuff", "yuv420p", {}, {}),
    "avi-utvideo": ("avi", "utvideo", "yuv420p", {}, {}),
    "avi-magicyuv": ("avi", "magicyuv", "yuv420p", {}, {}),
    "avi-cinepak": ("avi", "cinepak", "rgb24", {}, {}),
    "avi-msvideo1": ("avi", "msvideo1", "rgb555le", {}, {}),
    "avi-zmbv": ("avi", "zmbv", "bgr0", {}, {}),
    "avi-asv1": ("avi", "asv1", "yuv420p", {}, {}),
    "avi-asv2": ("avi", "asv2", "yuv420p", {}, {}),
    "avi-speedhq": ("avi", "speedhq", "yuv420p", {}, {}),
    "avi-png": ("avi", "png", "rgb24", {}, {}),
    "avi-y41p": ("avi", "y41p", "yuv411p", {}, {}),
    "avi-wmv1": ("avi", "wmv1", "yuv420p", {}, {}),
    "avi-msmpeg4v2": ("avi", "msmpeg4v2", "yuv420p", {}, {}),
    "avi-msmpeg4": ("avi", "msmpeg4", "yuv420p", {}, {}),
    "avi-mpeg2": ("avi", "mpeg2video", "yuv420p", {}, {}),
    "avi-h263p": ("avi", "h263p", "yuv420p", {}, {}),
    "mpeg-ps": ("mpeg", "mpeg2video", "yuv420p", {}, {}),
    "mpeg-ps-h264": ("mpeg", "libx264", "yuv420p", _X264, {}),
    "mpeg-vob": ("vob", "mpeg2video", "yuv420p", {}, {}),
    "mpeg-vcd": ("vcd", "mpeg1video", "yuv420p", {}, {}),
    "mpeg-1": ("mpeg1video", "mpeg1video", "yuv420p", {}, {}),
    "mpeg-2": ("mpeg2video", "mpeg2video", "yuv420p", {"bf": "2"}, {}),
    "ts-h264": ("mpegts", "libx264", "yuv420p", _X264, {}),
    "ts-h265": ("mpegts", "libx265", "yuv420p", _X265, {}),
    "ts-mpeg2": ("mpegts", "mpeg2video", "yuv420p", {}, {}),
    "ts-mpeg4": ("mpegts", "mpeg4", "yuv420p", {}, {}),
    "m2ts-h264": ("mpegts", "libx264", "yuv420p", _X264, {"mpegts_m2ts_mode": "1"}),
    "flv-h264": ("flv", "libx264", "yuv420p", _X264, {}),
    "flv-h265": ("flv", "libx265", "yuv420p", _X265, {}),
    "flv-av1": ("flv", "libsvtav1", "yuv420p", _SVT, {}),
    "flv-flv1": ("flv", "flv", "yuv420p", {}, {}),
    "flv-flashsv": ("flv", "flashsv", "bgr24", {}, {}),
    "flv-flashsv2": ("flv", "flashsv2", "bgr24", {}, {}),
    "asf-wmv2": ("asf", "wmv2", "yuv420p", {}, {}),
    "asf-wmv1": ("asf", "wmv1", "yuv420p", {}, {}),
    "asf-msmpeg4": ("asf", "msmpeg4", "yuv420p", {}, {}),
    "asf-h264": ("asf", "libx264", "yuv420p", _X264, {}),
    "ogg-vp8": ("ogg", "libvpx", "yuv420p", _VPX, {}),
    "h264": ("h264", "libx264", "yuv420p", _X264, {}),
    "h264-10bit": ("h264", "libx264", "yuv420p10le", _X264, {}),
    "h265": ("hevc", "libx265", "yuv420p", _X265, {}),
    "ivf-vp8": ("ivf", "libvpx", "yuv420p", _VPX, {}),
    "ivf-vp9": ("ivf", "libvpx-vp9", "yuv420p", _VPX, {}),
    "ivf-av1": ("ivf", "libsvtav1", "yuv420p", _SVT, {}),
    "mjpeg": ("mjpeg", "mjpeg", "yuvj420p", {}, {}),
    "gif": ("gif", "gif", "rgb8", {}, {}),
    "gif-bgr8": ("gif", "gif", "bgr8", {}, {}),
    "apng": ("apng", "apng", "rgba", {}, {}),
    "apng-16bit": ("apng", "apng", "rgba64be", {}, {}),
    "image-png": ("png", "png", "rgb48be", {}, {}),
    "image-png-gray": ("png", "png", "gray16be", {}, {}),
    "image-png-alpha": ("png", "png", "rgba", {}, {}),
    "image-jpeg": ("jpeg", "mjpeg", "yuvj420p", {}, {}),
    "image-jpeg-444": ("jpeg", "mjpeg", "yuvj444p", {}, {}),
    "image-jpeg-lossless": ("jpeg", "ljpeg", "bgr24", {}, {}),
    "image-bmp": ("bmp", "bmp", "bgr24", {}, {}),
    "image-tiff": ("tiff", "tiff", "rgb24", {}, {}),
    "image-tiff-lzw": ("tiff", "tiff", "rgb24", {"compression_algo": "lzw"}, {}),
    "image-tiff-deflate": ("tiff", "tiff", "rgb48le", {"compression_algo": "deflate"}, {}),
    "image-webp": ("webp", "libwebp", "yuv420p", {}, {}),
    "image-webp-lossless": ("webp", "libwebp", "bgra", {"lossless": "1"}, {}),
}  # fmt: skip
LARGER = {"h263": (128, 96), "dnxhd": (256, 128)}  # than 64 x 48, which they do not know
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
        if encoder in LARGER:
            stream.width, stream.height = LARGER[encoder]
            y, x = np.mgrid[: stream.height, : stream.width]
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
    from masquerade.video.probe import probe_in_process, tally_frames_in_process
    from masquerade.video.read import Reader

    frames = 0
    try:
        info = probe_in_process(path)
        with suppress(MasqueradeError):  # it has no salvage, and the reader may
            tally_frames_in_process(path)
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


def publish(path: Path, salvage: bool) -> dict[str, Any]:
    """Blacken a file that can be read, and look at the output if there is one."""
    import av

    import masquerade
    from masquerade.errors import MasqueradeError

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = Path(name) / "output.mkv"
        settings = {"salvage": salvage, "metadata": "keep", "threads": 1}
        try:
            masquerade.anonymize_file(
                path, output, masquerade.build("blacken"), regions="frame", preview=4.0, **settings
            )
        except MasqueradeError as refused:
            if "ended the process" in str(refused):
                return {"outcome": "crash", "detail": str(refused)}
            left = [each.name for each in Path(name).iterdir()]
            return {"outcome": "raw", "detail": f"refused, and left {left}"} if left else {}
        except Exception:
            return {"outcome": "traceback", "detail": traceback.format_exc()}
        with av.open(str(output)) as container:
            pictures = [stream for stream in container.streams if stream.type == "video"]
            if len(pictures) != 1:
                return {"outcome": "raw", "detail": f"{len(pictures)} streams of pictures"}
            for frame in container.decode(video=0):
                brightest = int(frame.to_ndarray(format="rgb24").max())
                if brightest > BLACK:
                    return {"outcome": "raw", "detail": f"a picture shows {brightest} of 255"}
    return {"published": True}


def memory() -> tuple[int, int]:
    """This process's resident megabytes, at their peak and now; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return int(found["VmHWM"].split()[0]) >> 10, int(found["VmRSS"].split()[0]) >> 10


def child() -> None:
    """Read files by their names on stdin and answer with a line of JSON each."""
    import masquerade.video.read  # noqa: F401  # before the limits, which count from here

    faulthandler.enable()
    status = Path("/proc/self/status").read_text()
    held = int(status.split("VmData:")[1].split()[0]) * 1024
    ceiling = held + MEGABYTES * 2**20  # so that a bomb ends here, as in a process that decodes
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = memory()[1]
        path, salvage = Path(asked["path"]), asked["salvage"]
        answer = read(path, salvage)
        if asked["publish"] and answer["outcome"] in ("read", "salvaged"):
            answer |= publish(path, salvage)
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

    def read(self, path: Path, *, salvage: bool, publish: bool = False) -> dict[str, Any]:
        """What becomes of one file: `read`'s answer, or a crash, a hang or a want of memory."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        asked = {"path": str(path), "salvage": salvage, "publish": publish}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        seconds = SECONDS * (6 if publish else 1)  # the first one imports the pipeline
        answer = self._answer(seconds)
        if answer is None:
            return {"outcome": "hang", "detail": f"more than {seconds} seconds"}
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
    published: int = 0
    seconds: float = 0.0


FAILURES = ("traceback", "crash", "hang", "memory", "raw")


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
            publishing = number % PUBLISHED == 0
            answer = reader.read(target, salvage=salvage, publish=publishing)
            tally.published += "published" in answer
            tally.slowest = max(tally.slowest, time.monotonic() - started)
            tally.megabytes = max(tally.megabytes, answer.get("megabytes", 0))
            tally.outcomes.setdefault(kind, Counter())[answer["outcome"]] += 1
            tally.inputs += 1
            if answer["outcome"] in FAILURES:
                keep.mkdir(parents=True, exist_ok=True)
                suffix = SUFFIXES.get(SEEDS[kind][0], f".{SEEDS[kind][0]}")
                word = "-salvage" * salvage + "-published" * publishing
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
            words = {word: f"-{word}" in path.name for word in ("salvage", "published")}
            answer = reader.read(
                path.resolve(), salvage=words["salvage"], publish=words["published"]
            )
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
        "traceback, a crash, a hang, memory above the limit, or a published picture that shows "
        "anything.",
        f"{tally.published} of those that could be read were also blackened by the whole pipeline, "
        "decoded in a process of their own, and nothing was to be seen in the outputs.",
        "",
        "The first column names container and codec; these are all that FFmpeg's encoders in PyAV "
        "write of what is read. Not covered, as nothing here writes it: VC-1, Theora, VVC, DNxHD "
        "at its fixed sizes, DV, RealVideo, Sorenson 3, Indeo and cameras' own codecs; HEVC of "
        "several layers; MPEG-2 and H.264 in single fields.",
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
