"""How much fine detail each method leaves, and whether defects are caught, on many clips.

    python benchmarks/residual_detail.py CLIP... -o docs/results/residual-detail.md
    python benchmarks/residual_detail.py CLIP... --faces 2

On each clip's first frames every method runs at its default and its presets, over the whole frame,
over the faces that are found in it, and over boxes of 7 to 18 pixels that are drawn by the seed, as
small faces are; learned methods are built anew at their tiny presets, with random weights, and run
over the whole frame. Then two settings are encoded by every codec, and defects are run: a method
that returns its input at every codec and quality, and masks that are shifted, late, and small. A
clip's cell is the largest share of detail that any region of any frame kept; more than `MAX_LEFT`
is refused. The demo's clip, which is drawn, is always among the clips.
"""

import argparse
import json
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import torch

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.cli.demo_clip import compose
from masquerade.errors import OutputError
from masquerade.methods import METHODS, PRESETS, build
from masquerade.pipeline import residual_detail, single_file, stream
from masquerade.pipeline.residual_detail import RegionJudge
from masquerade.process_pool import worker_pool
from masquerade.regions.boxes import Box, BoxWriter, parse_boxes, read_box_file
from masquerade.video.probe import probe_in_process

CODECS: dict[str, dict[str, Any]] = {
    "h264": {},
    "h264, crf 38": {"crf": 38},
    "h264, crf 51": {"crf": 51},
    "h264, 100 kbit/s": {"bitrate": "100k"},
    "h264, lossless": {"lossless": True},
    "h265": {"codec": "h265"},
    "vp9": {"codec": "vp9"},
    "av1": {"codec": "av1", "encoder_preset": "10"},
    "mjpeg": {"codec": "mjpeg"},
    "prores": {"codec": "prores"},
    "ffv1": {"codec": "ffv1"},
}
SUFFIX = {"vp9": ".webm", "mjpeg": ".mov", "prores": ".mov", "ffv1": ".mkv"}
SIDES = (7, 9, 12, 15, 18)  # of small boxes, in pixels of a copy of 360 pixels
BOXES = 8  # small ones a clip


class Unchanged(Anonymizer):
    """A defect: returns its input."""

    card = Card("", "", "", "")

    def forward(self, clip: Any, *, mask: Any = None, state: Any = None) -> Anonymized:
        return Anonymized(clip, mask, state)


def methods(seed: int) -> dict[str, Anonymizer]:
    """Every method at its default and its presets; learned ones with random weights."""
    found = {}
    for name, method in METHODS.items():
        if method is Unchanged:
            continue
        if method.learned:
            torch.manual_seed(seed)
            found[f"{name}, tiny"] = PRESETS[name]["tiny"]().eval()
            found[f"{name}, tiny"].trained = True
            continue
        found[name] = build(name)
        for preset, arguments in method.presets.items():
            found[f"{name}, {preset}"] = build(name, **arguments)
    return found


def left(src: Path, dst: Path, method: Anonymizer, **settings: Any) -> list[float] | None:
    """Of one run the largest share that is left, and how many regions were compared; None: none."""
    dst = dst.with_suffix(SUFFIX.get(settings.get("codec", ""), ".mp4"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        receipt = masquerade.anonymize_file(
            src, dst, method, overwrite=True, allow_empty=True, allow_gaps=True, **settings
        )
    found = receipt.residual_detail
    return [found.left, found.measured] if found and found.measured else None


def face_boxes(src: Path, folder: Path, seconds: float) -> Path | None:
    """A file of the faces in a clip's first frames; None: there are none."""
    file = folder / f"{src.stem}-faces.json"
    masquerade.anonymize_file(
        src, folder / "x.mp4", build("blacken"), regions="faces", preview=seconds, shadow=True,
        export_boxes=file, overwrite=True, report=folder / "report.json",
    )  # fmt: skip
    _, boxes = parse_boxes(read_box_file(file), file.name)
    return file if any(boxes.values()) else None


def small_boxes(src: Path, folder: Path, seed: int) -> Path:
    """A file of small boxes that lie still."""
    info, file = probe_in_process(src), folder / f"{src.stem}-small.json"
    scale = max(1.0, min(info.width, info.height) / residual_detail.SHORT)
    draw = random.Random(f"{seed} {src.name}")
    boxes = []
    for _ in range(BOXES):
        side = min(scale * draw.choice(SIDES), info.width, info.height)
        x, y = draw.uniform(0, info.width - side), draw.uniform(0, info.height - side)
        boxes.append(Box(x, y, x + side, y + side, 1.0))
    with BoxWriter(file, width=info.width, height=info.height) as writer:
        for number in range(100):
            writer.add(number, boxes)
    return file


@contextmanager
def masks(change: Callable[[list[Any]], Any]) -> Iterator[None]:
    """Put another mask in place of each; `change` is given those of the video so far."""
    real, seen = stream.region_mask, []

    def changed(*args: Any, **size: Any) -> Any:
        seen.append(real(*args, **size))
        return change(seen)

    with patch.object(stream, "region_mask", changed):
        yield


DEFECTS: dict[str, Callable[[list[Any]], Any]] = {
    "a mask that does nothing": lambda seen: np.zeros_like(seen[-1]),
    "a mask half the frame away": lambda seen: np.roll(seen[-1], seen[-1].shape[0] // 2, 0),
    "a mask that comes a frame late": lambda seen: (
        seen[-2] if len(seen) > 1 else np.zeros_like(seen[-1])
    ),
    "a mask of a tenth of the width": lambda seen: narrow(seen[-1]),
}


def narrow(mask: Any) -> Any:
    """A mask without nine tenths of its columns."""
    columns = np.flatnonzero(mask.any(axis=0))
    out = mask.copy()
    out[:, columns[max(1, len(columns) // 10) :]] = 0
    return out


TITLE = """# Detail that is left, and defects that are caught

`python benchmarks/residual_detail.py CLIP... -o docs/results/residual-detail.md`

The [check](../checks.md#what-is-still-there) refuses an output in which more than 10 % of the
detail of any region is still there. A cell is the largest share over all clips, then the number of
regions that were compared and of clips that had any. Small boxes are of 7 to 18 pixels where the
frame is 360 pixels high, drawn by the seed. Learned methods have random weights, so that theirs
says only that the check lets them pass. A defect is not refused on a clip in which no box has
detail, nor where a mask that is moved by half the frame's height still covers a large face.
"""


WAYS = ("frame", "faces", "small")
HEADINGS = {
    "methods": ("method", "whole frame", "faces", "small boxes"),
    "codecs": ("codec and quality", "pixelate, fine, whole frame", "selective, faces"),
    "defects": ("defect, on how many clips it is refused", "whole frame", "faces", "small boxes"),
}
Cells = dict[tuple[str, str, str], Any]
"""Of one clip: by table, line and column, what is left, or whether a defect was refused."""


def measure(video: Path, seconds: float, seed: int, kept: Path | None) -> Cells:
    """Every method, codec and defect on one clip; what an earlier run kept is not done again."""
    file = None if kept is None else kept / f"{video.name}.json"
    if file is not None and file.exists():
        return {(a, b, c): found for a, b, c, found in json.loads(file.read_text())}
    torch.set_num_threads(1)
    METHODS["unchanged"] = Unchanged  # a receipt needs a name
    seconds = max(seconds, 2.5 / float(probe_in_process(video).rate))  # three frames at least
    preview, cells = {"preview": seconds}, Cells()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out, faces = folder / "out", face_boxes(video, folder, seconds)
        regions = {"frame": "frame", "small": f"boxes:{small_boxes(video, folder, seed)}"}
        regions |= {"faces": f"boxes:{faces}"} if faces else {}
        with patch.object(residual_detail, "MAX_LEFT", 2.0):  # measure, and refuse nothing
            for line, method in methods(seed).items():
                for way in ("frame",) if method.full_frame or method.learned else regions:
                    found = left(video, out, method, regions=regions[way], **preview)
                    cells["methods", line, way] = found
            fine = build("pixelate", **METHODS["pixelate"].presets["fine"])
            columns = [("pixelate, fine, whole frame", fine, "frame")]
            columns += [("selective, faces", build("selective"), "faces")] if faces else []
            for line, settings in CODECS.items():
                for column, method, way in columns:
                    found = left(video, out, method, regions=regions[way], **preview, **settings)
                    cells["codecs", line, column] = found
        for way, where in regions.items():

            def refused(method: Anonymizer, change: Any = None, **settings: Any) -> bool:
                try:
                    with masks(change or (lambda seen: seen[-1])):
                        left(video, out, method, regions=where, **preview, **settings)  # noqa: B023
                except OutputError as error:
                    return "of the detail of a region" in str(error)
                return False

            for line, settings in CODECS.items():
                name = f"a method that returns its input, {line}"
                cells["defects", name, way] = refused(Unchanged(), **settings)
            for line, change in DEFECTS.items():
                if way != "frame":  # which has no mask
                    cells["defects", line, way] = refused(build("blacken"), change)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([[*key, found] for key, found in cells.items()]))
    return cells


class Sizes(RegionJudge):
    """Counts faces by the pixels in them that have detail."""

    found: ClassVar[list[int]] = []

    def add(self, track: int, frame: int, found: residual_detail.Remains) -> None:
        self.found.append(found.detailed)
        super().add(track, frame, found)


def sizes(given: tuple[Path, float]) -> tuple[list[int], int]:
    """The pixels with detail of each face in a clip, and how many of the faces are compared."""
    video, seconds = given
    Sizes.found.clear()
    with tempfile.TemporaryDirectory() as name, patch.object(residual_detail, "RegionJudge", Sizes):
        settings = {"regions": "faces", "preview": seconds}
        remains = left(video, Path(name) / "out", build("blacken"), **settings)
    found = Sizes.found[: len(Sizes.found) // 2]  # each face is compared twice
    return list(found), 0 if remains is None else int(remains[1])


def small_faces(pool: Any, videos: list[Path], seconds: float) -> str:
    """How many faces are too small to be judged alone, and how many are compared nevertheless."""
    each = list(pool.map(sizes, [(video, seconds) for video in videos]))
    found = [detailed for one, _ in each for detailed in one]
    few = sum(0 < detailed < residual_detail.MIN_PIXELS for detailed in found)
    with_faces = [(one, measured) for one, measured in each if one]
    alone = sum(max(one) < residual_detail.MIN_PIXELS for one, _ in with_faces)
    return (
        f"In the first {seconds:g} s of {len(videos)} clips {len(found):,} faces were found, in "
        f"{len(with_faces)} clips; {few:,} of them have fewer than {residual_detail.MIN_PIXELS} "
        f"pixels with detail, and {found.count(0):,} have none. In {alone} clips no face has more. "
        f"Judged together with the next ones of their track, "
        f"{sum(measured for _, measured in each):,} faces are compared."
    )


def tables(clips: list[Cells]) -> Iterator[str]:
    """The lines of all tables."""
    for table, headings in HEADINGS.items():
        yield from ("", f"| {' | '.join(headings)} |", "|" + " --- |" * len(headings))
        columns = WAYS if table != "codecs" else headings[1:]
        lines = dict.fromkeys(line for one in clips for kind, line, _ in one if kind == table)
        for line in lines:
            cells = [[one.get((table, line, column)) for one in clips] for column in columns]
            yield f"| {line} | {' | '.join(map(cell, cells))} |"


def cell(found: list[Any]) -> str:
    """The largest share left and how much was compared; or of how many clips one was refused."""
    known = [one for one in found if one is not None]
    if known and isinstance(known[0], bool):
        return f"{sum(known)} of {len(known)}"
    regions = sum(one[1] for one in known)
    most = max((one[0] for one in known), default=0)
    return f"{100 * most:.1f} % ({regions:,} in {len(known)})" if known else ""


def cost(video: Path, out: Path) -> float:
    """CPU time of this process with the check over that without it, each the best of three."""

    def seconds() -> float:
        began = time.process_time()
        left(video, out, build("selective"))
        return time.process_time() - began

    checked = min(seconds() for _ in range(3))
    with (
        patch.object(single_file.FileRun, "_compare", lambda *_: None),
        patch.object(single_file.DetailCheck, "watch", lambda *_: None),
    ):
        return checked / min(seconds() for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder of what was measured on each clip")
    parser.add_argument("--faces", type=float, help="only count the faces of so many seconds")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, worker_pool(options.workers) as pool:
        demo = Path(name) / "demo.mp4"
        compose(demo, seconds=2)
        videos = [demo, *options.videos]
        if options.faces:
            print(small_faces(pool, videos, options.faces))
            return
        clips: list[tuple[str, Cells]] = []
        waiting = {
            pool.submit(measure, video, options.seconds, options.seed, options.keep): video.name
            for video in videos
        }
        for done in as_completed(waiting):
            clips.append((waiting[done], done.result()))
            print(clips[-1][0], flush=True)
            write(options.output, clips)
        ratio = cost(demo, Path(name) / "out")
    write(
        options.output,
        clips,
        f"CPU time with the check over that without it, on the demo's clip: {ratio:.2f}.",
    )


def write(output: Path | None, clips: list[tuple[str, Cells]], end: str = "") -> None:
    """Write the page of the clips so far."""
    names = ", ".join(sorted(name for name, _ in clips))
    lines = [*tables([cells for _, cells in clips]), "", f"{len(clips)} clips: {names}."]
    text = TITLE + "\n".join([*lines, *(["", end] if end else [])]) + "\n"
    if output:
        output.write_text(text)
    elif end:
        print(text)


if __name__ == "__main__":
    main()
