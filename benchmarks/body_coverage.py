"""How much of people `--regions people` hides in real clips, and of the ground beside them.

    python benchmarks/body_coverage.py [--data ../shared/data]   # docs/results/people-real.*
    python benchmarks/body_coverage.py --kinds "people, live" --keep   # beside what is there
    python benchmarks/body_coverage.py --kinds MediaPipe --keep --mediapipe-python PYTHON
    python benchmarks/body_coverage.py --labels benchmarks/body_labels_dev.json   # to choose by

Reads `body_labels.json`, points labelled by eye without any detector; of other labels the table is
printed and no page is written. A video is read from some frames before the labelled one to some
after it, as a run over all of it would; the frames of UCF11 are samples and are looked at one by
one. A point is hidden if the mask with a run's defaults covers it. MediaPipe's selfie segmentation
needs a Python of its own (mediapipe_people.py) and looks at each frame by itself.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from body_labels import LABELS, POSES, VIEWS, pictures
from face_recall import table
from numpy.typing import NDArray

from masquerade.metrics.intervals import score
from masquerade.metrics.statistic import mean
from masquerade.pipeline.config import PipelineConfig
from masquerade.pipeline.stream import Cover, region_mask
from masquerade.regions import People
from masquerade.regions.region import Region

REPORT = LABELS.parents[1] / "docs" / "results" / "people-real.md"
AROUND = 30  # frames read before and after a labelled one
TURNED = {"uti": 12, "ucf11": 24, "wild": 12}  # frames that are turned too
LARGE = 0.2  # of the frame's height: who is smaller has rows of their own
KINDS: dict[str, Callable[[], Any]] = {
    "people (the default)": People,
    "people, live": lambda: People(online=True),
    "hog (the detector of 2005)": lambda: People(detector="hog"),
}
OTHERS = "MediaPipe"  # a tool for people that is not ours
Labelled = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One labelled point and whether it was hidden."""

    clip: str
    source: str  # uti, ucf11 or wild
    part: str  # "" on the ground
    person: Labelled | None
    hidden: bool


class MediaPipe:
    """The region source of what MediaPipe's selfie segmentation takes for people."""

    def __init__(self, python: str) -> None:
        words = [python, str(Path(__file__).with_name("mediapipe_people.py")), "masks"]
        pipe = subprocess.PIPE
        self.running = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        asked, answer = self.running.stdin, self.running.stdout
        assert asked is not None and answer is not None
        for frame in frames:
            asked.write(struct.pack("<ii", frame.width, frame.height) + frame.rgb().tobytes())
            asked.flush()
            found = np.frombuffer(answer.read(frame.width * frame.height), np.uint8)
            yield Region(mask=255 * found.reshape(frame.height, frame.width))


class Turned:
    """A frame that is turned by quarters of a circle."""

    def __init__(self, frame: Any, quarters: int) -> None:
        self.pixels = np.ascontiguousarray(np.rot90(frame.rgb(), quarters))
        self.height, self.width = self.pixels.shape[:2]

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """(h, w, 3), of a size (w, h)."""
        if size in (None, (self.width, self.height)):
            return self.pixels
        return np.asarray(cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def masks(
    frames: Iterable[Any], wanted: set[int], first: int, make: Callable[[], Any]
) -> dict[int, NDArray[np.bool_]]:
    """(H, W) of each wanted frame: what is hidden with a run's defaults."""
    cover = Cover("silhouette", PipelineConfig.mask_scale)
    held: list[Any] = list(frames)
    out = {}
    for number, (region, frame) in enumerate(zip(make()(iter(held)), held, strict=True), first):
        if number in wanted:
            mask = region_mask(region, cover, width=frame.width, height=frame.height)
            full = np.ones((frame.height, frame.width), np.bool_)
            out[number] = full if mask is None else mask > 127
    return out


def measure(
    labels: Sequence[Labelled], data: Path, make: Callable[[], Any], quarters: int = 0
) -> list[Point]:
    """All labelled points, with whether they were hidden; frames are turned by so many quarters."""
    points: list[Point] = []
    for one in labels:
        source, number = one["path"].split("/")[0], one["frame"]
        first = number if source == "ucf11" else max(0, number - AROUND)
        last = number + (1 if source == "ucf11" else AROUND + 1)
        read: Iterable[Any] = islice(pictures(data / one["path"]), first, last)
        if quarters:
            read = (Turned(frame, quarters) for frame in read)
        mask = np.rot90(masks(read, {number}, first, make)[number], -quarters)
        height, width = mask.shape

        def hidden(x: float, y: float, mask: Any = mask, h: int = height, w: int = width) -> bool:
            return bool(mask[min(h - 1, int(y * h)), min(w - 1, int(x * w))])

        for person in one["people"]:
            for part, x, y in person["points"]:
                points.append(Point(one["path"], source, part, person, hidden(x, y)))
        for x, y in one["background"]:
            points.append(Point(one["path"], source, "", None, hidden(x, y)))
    return points


def large(point: Point) -> bool:
    """Whether it lies on somebody of at least a fifth of the frame's height."""
    return point.person is not None and point.person["height"] >= LARGE


GROUPS: dict[str, Callable[[Point], bool]] = {
    "**bodies**": large,
    "**heads**": lambda p: large(p) and p.part == "head",
    "**ground**": lambda p: p.person is None,
    "smaller people": lambda p: p.person is not None and not large(p),
    **{
        f"{name}, {what}": lambda p, n=name, w=what: (
            p.source == n and (large(p) if w == "bodies" else p.person is None)
        )
        for name in ("uti", "ucf11", "wild")
        for what in ("bodies", "ground")
    },
    **{f"{v}": lambda p, v=v: large(p) and p.person["pose"] == v for v in POSES},
    **{f"seen from: {v}": lambda p, v=v: large(p) and p.person["view"] == v for v in VIEWS},
    **{
        f"apparent skin: {v}": lambda p, v=v: large(p) and p.person["skin"] == v
        for v in ("light", "medium", "dark")
    },
    **{
        f"clothes against the ground: {v}": lambda p, v=v: large(p) and p.person["contrast"] == v
        for v in ("low", "medium", "high")
    },
    **{
        f"{v}": lambda p, v=v: large(p) and v in p.person["flags"]
        for v in ("turned", "occluded", "cut", "close-up", "child")
    },
    "hands and feet": lambda p: large(p) and p.part in ("hand", "foot"),
}


def shares(points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """By group: the number of its points, the per cent that are hidden, and the interval."""
    found = {}
    for name, group in GROUPS.items():
        own = [point for point in points if group(point)]
        if own:
            hidden = np.array([point.hidden for point in own], float)
            one = score(mean(hidden), clusters=[point.clip for point in own])
            each = {"hidden": one.value, "low": one.low, "high": one.high}
            found[name.strip("*")] = {
                "points": len(own),
                **{key: round(100 * (value or 0.0), 1) for key, value in each.items()},
            }
    return found


def groups(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The table of all groups, by kind of eyes."""
    rows = []
    for name in GROUPS:
        each = [found.get(name.strip("*")) for found in results.values()]
        cells = [
            f"{one['hidden']:.1f} ({one['low']:.0f} to {one['high']:.0f})" if one else "-"
            for one in each
        ]
        count = next((one["points"] for one in each if one), 0)
        rows.append([name, str(count) if count else "none labelled", *cells])
    return table(["points", "number", *results], rows)


def some(labels: Sequence[Labelled], seed: int = 0) -> list[Labelled]:
    """The frames that are turned too, drawn by a seed."""
    rng = np.random.default_rng(seed)
    chosen: list[Labelled] = []
    for name, count in TURNED.items():
        own = [one for one in labels if one["path"].startswith(name)]
        chosen += [own[i] for i in sorted(rng.permutation(len(own))[:count])]
    return chosen


def page(
    results: dict[str, dict[str, dict[str, float]]],
    turned: dict[str, dict[str, dict[str, float]]],
    frames: int,
) -> str:
    """The report."""
    return f"""# People hidden in real clips

    python benchmarks/body_coverage.py

The column of MediaPipe, by the same command with `--kinds MediaPipe --keep --mediapipe-python
PYTHON`, is a tool for who sits before a camera: its selfie segmentation, frame by frame, with the
margin that a run adds to any mask.

Points of `benchmarks/body_labels.json` that are hidden, per cent, in {frames} frames of
UT-Interaction, UCF11 and the wild clips; in brackets the 95 % interval, by clips. Bodies and heads
are those of people of at least a fifth of the frame's height. UCF11 are single frames: nobody is
followed there. The points were labelled by eye, by one person who saw no detector's output; no
setting was chosen on them, but on `body_labels_dev.json`. The detector of 2005 hides as many points
because it hides most of the ground, and single frames whole.

{groups(results)}
## Turned clips

{sum(TURNED.values())} of the frames, drawn by a seed, turned before people are looked for; what is
upright there lies on its side, or upside down, as people do who fall.

{groups(turned)}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=LABELS.parents[2] / "shared" / "data")
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--report", type=Path, default=REPORT, help="of the labels to measure on")
    known = [*KINDS, OTHERS]
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=known)
    parser.add_argument("--mediapipe-python", help="a Python in which MediaPipe and PyAV run")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="take what is not asked for from the report that is there",
    )
    given = parser.parse_args()
    kept = given.report.with_suffix(".json")
    there = json.loads(kept.read_text("utf-8")) if given.keep else {"eyes": {}}
    labels = json.loads(given.labels.read_text("utf-8"))["frames"]
    results = {}
    kinds = dict(KINDS)
    if given.mediapipe_python:
        other = MediaPipe(given.mediapipe_python)
        kinds[OTHERS] = lambda: other
    elif OTHERS in given.kinds:
        parser.error(f"{OTHERS} needs --mediapipe-python.")
    for kind in known:
        if kind not in given.kinds:
            results |= {kind: there["eyes"][kind]} if kind in there["eyes"] else {}
            continue
        began = time.monotonic()
        results[kind] = shares(measure(labels, given.data, kinds[kind]))
        print(f"{kind}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if given.labels.resolve() != LABELS:
        print(groups(results), end="")
        return
    turned = there.get("turned") or {
        f"{90 * quarters} degrees": shares(measure(some(labels), given.data, People, quarters))
        for quarters in range(4)
    }
    given.report.write_text(page(results, turned, len(labels)))
    measured = {"frames": len(labels), "eyes": results, "turned": turned}
    kept.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
