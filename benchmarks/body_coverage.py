"""How much of people `--regions people` hides in real clips, and of the ground beside them.

    python benchmarks/body_coverage.py [--data ../shared/data]   # docs/results/people-real.md
    python benchmarks/body_coverage.py --labels benchmarks/body_labels_dev.json   # to choose by

Reads `body_labels.json`, points labelled by eye without any detector; of other labels the table is
printed and no page is written. A video is read from some frames before the labelled one to some
after it, as a run over all of it would; the frames of UCF11 are samples and are looked at one by
one. A point is hidden if the mask with a run's defaults covers it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from body_labels import LABELS, POSES, VIEWS, pictures
from face_recall import percent, table
from numpy.typing import NDArray

from masquerade.pipeline.config import PipelineConfig
from masquerade.pipeline.stream import Cover, region_mask
from masquerade.regions import People

REPORT = LABELS.parents[1] / "docs" / "results" / "people-real.md"
AROUND = 30  # frames read before and after a labelled one
LARGE = 0.2  # of the frame's height: who is smaller has rows of their own
KINDS: dict[str, Callable[[], Any]] = {
    "people (pose networks)": People,
    "hog (the detector of 2005)": lambda: People(detector="hog"),
}
Labelled = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One labelled point and whether it was hidden."""

    clip: str
    source: str  # uti, ucf11 or wild
    part: str  # "" on the ground
    person: Labelled | None
    hidden: bool


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


def measure(labels: Sequence[Labelled], data: Path, make: Callable[[], Any]) -> list[Point]:
    """All labelled points, with whether they were hidden."""
    points: list[Point] = []
    for one in labels:
        source, number = one["path"].split("/")[0], one["frame"]
        first = number if source == "ucf11" else max(0, number - AROUND)
        last = number + (1 if source == "ucf11" else AROUND + 1)
        read = islice(pictures(data / one["path"]), first, last)
        mask = masks(read, {number}, first, make)[number]
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


def row(name: str, group: Callable[[Point], bool], results: dict[str, list[Point]]) -> list[str]:
    """A group's number of points, and the share hidden by each kind."""
    cells, count = [], 0
    for points in results.values():
        own = [point for point in points if group(point)]
        count = len(own)
        if own:
            hidden = np.array([point.hidden for point in own])
            cells.append(percent(hidden, [point.clip for point in own]))
        else:
            cells.append("none labelled")
    return [name, str(count), *cells]


def groups(results: dict[str, list[Point]]) -> str:
    """The table of all groups."""
    rows = [row(name, group, results) for name, group in GROUPS.items()]
    return table(["points", "number", *results], rows)


def page(results: dict[str, list[Point]], frames: int) -> str:
    """The report."""
    return f"""# People hidden in real clips

    python benchmarks/body_coverage.py

Points of `benchmarks/body_labels.json` that are hidden, per cent, in {frames} frames of
UT-Interaction, UCF11 and the wild clips; in brackets the 95 % interval, by clips. Bodies and heads
are those of people of at least a fifth of the frame's height. The points were labelled by eye, by
one person who saw no detector's output; no setting was chosen on them. Labels of people who lie or
are upside down are few or none: read nothing into such rows.

{groups(results)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=LABELS.parents[2] / "shared" / "data")
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--report", type=Path, default=REPORT, help="of the labels to measure on")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    given = parser.parse_args()
    labels = json.loads(given.labels.read_text("utf-8"))["frames"]
    results = {}
    for kind in given.kinds:
        began = time.monotonic()
        results[kind] = measure(labels, given.data, KINDS[kind])
        print(f"{kind}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if given.labels.resolve() == LABELS:
        given.report.write_text(page(results, len(labels)))
    else:
        print(groups(results), end="")


if __name__ == "__main__":
    main()
