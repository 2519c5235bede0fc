"""How far the scores of people are probabilities, and the calibration that makes them so.

    python benchmarks/people_calibration.py [--data ../shared/data]

Writes docs/results/people-calibration.md.
Each detection with the defaults of `--regions people` in a labelled frame is somebody if its box
holds at least half of the points that were labelled on one person. A logistic curve of the score's
log odds is fitted on `body_labels_dev.json`, one for scores of the landmark network and one for
those of the detector of boxes; its numbers stand in `regions/people_scores.py`. How well calibrated
the result is, is measured on `body_labels.json`, on which nothing is chosen. Frames with more
people than were labelled are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from body_labels import LABELS, pictures
from numpy.typing import NDArray

from masquerade.regions import People
from masquerade.regions.people_scores import KINDS, log_odds, probability
from masquerade.regions.pose_tracking import FIRST_BOX

OUT = LABELS.parents[1] / "docs" / "results" / "people-calibration.md"
DEV = LABELS.with_name("body_labels_dev.json")
AROUND = 8  # frames read before and after a labelled one
HELD = 0.5  # share of a person's points that a box of this person holds
BINS = (0.0, 0.5, 0.8, 0.95, 0.99, 1.0)  # of probabilities
STEPS, WEIGHT = 50, 1e-2  # of Newton's method, and of the penalty on the curve's slope
DRAWS = 2000  # of the bootstrap over clips
F64 = NDArray[np.float64]


class Found(NamedTuple):
    """One detection."""

    clip: str
    kind: str  # of its score, in KINDS
    score: float
    somebody: bool


def find(file: Path, data: Path) -> list[Found]:
    """The detections in the labelled frames, with whether somebody is there."""
    with patch.dict(KINDS, dict.fromkeys(KINDS, (1.0, 0.0))):  # scores as the networks give them
        return list(_find(file, data))


def _find(file: Path, data: Path) -> Iterator[Found]:
    source = People(poses_only=True)
    for one in json.loads(file.read_text())["frames"]:
        if one["more_people"]:
            continue
        single = one["path"].startswith("ucf11")  # samples, not successive frames
        first = one["frame"] if single else max(0, one["frame"] - AROUND)
        last = one["frame"] + (1 if single else AROUND + 1)
        frames = list(islice(pictures(data / one["path"]), first, last))
        region = list(source(iter(frames)))[one["frame"] - first]
        size = np.array([frames[0].width, frames[0].height])
        people = [np.array([point[1:] for point in p["points"]]) * size for p in one["people"]]
        for box in region.boxes:
            if box.source != "detected":
                continue
            low, high = (box.x0, box.y0), (box.x1, box.y1)
            held = [((p >= low) & (p <= high)).all(axis=1).mean() for p in people]
            kind = "box" if (box.track or 0) >= FIRST_BOX else "pose"
            yield Found(one["path"], kind, box.score, max(held, default=0.0) >= HELD)


def fit(found: Sequence[Found]) -> tuple[float, float]:
    """Slope and offset of the logistic curve over the log odds of scores; Platt's targets."""
    x = np.array([log_odds(one.score) for one in found])
    true = np.array([one.somebody for one in found])
    y = np.where(true, (true.sum() + 1) / (true.sum() + 2), 1 / ((~true).sum() + 2))
    given = np.stack([x, np.ones_like(x)], axis=1)
    curve = np.array([1.0, 0.0])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-given @ curve))
        slope = given.T @ (p - y) + WEIGHT * curve * [1, 0]
        bend = (given * (p * (1 - p))[:, None]).T @ given + WEIGHT * np.eye(2)
        curve = curve - np.linalg.solve(bend, slope)
    return float(curve[0]), float(curve[1])


def error(p: F64, true: F64) -> float:
    """The expected calibration error over `BINS`."""
    bins = np.clip(np.searchsorted(BINS, p, side="right") - 1, 0, len(BINS) - 2)
    gaps = [abs(p[bins == b].sum() - true[bins == b].sum()) for b in range(len(BINS) - 1)]
    return float(sum(gaps) / max(1, len(p)))


def interval(p: F64, true: F64, clips: Sequence[str]) -> tuple[float, float]:
    """95 % of `error`, by the bootstrap over clips."""
    rng = np.random.default_rng(0)
    names = sorted(set(clips))
    rows = {name: np.flatnonzero(np.array(clips) == name) for name in names}
    drawn = []
    for _ in range(DRAWS):
        at = np.concatenate([rows[names[i]] for i in rng.integers(0, len(names), len(names))])
        drawn.append(error(p[at], true[at]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def reliability(found: Sequence[Found], name: str) -> list[str]:
    """Rows of the table: raw scores and probabilities in bins, beside how often it is somebody."""
    true = np.array([one.somebody for one in found], np.float64)
    clips = [one.clip for one in found]
    lines = []
    for label, values in (
        ("score", [one.score for one in found]),
        ("probability", [probability(one.score, one.kind) for one in found]),
    ):
        p = np.array(values)
        bins = np.clip(np.searchsorted(BINS, p, side="right") - 1, 0, len(BINS) - 2)
        cells = []
        for b in range(len(BINS) - 1):
            here = bins == b
            share = f"{true[here].mean():.2f} of {here.sum()}" if here.any() else ""
            cells.append(share)
        low, high = interval(p, true, clips)
        ece = f"{error(p, true):.3f} [{low:.3f}, {high:.3f}]"
        lines.append(f"| {name}, {label} | {' | '.join(cells)} | {ece} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    args = parser.parse_args()
    dev = find(DEV, args.data)
    rows = []
    curves: dict[str, Any] = {}
    for kind in KINDS:
        own = [one for one in dev if one.kind == kind]
        slope, offset = curves[kind] = tuple(round(value, 2) for value in fit(own))
        nobody = sum(not one.somebody for one in own)
        rows.append(f"| {kind} | {len(own)} | {nobody} | {slope:.2f} | {offset:.2f} |")
        print(rows[-1], flush=True)
    test = find(LABELS, args.data)
    with patch.dict(KINDS, curves):
        tables = reliability(dev, "fitted on") + reliability(test, "measured on")
    heads = " | ".join(f"{a:g} to {b:g}" for a, b in pairwise(BINS))
    page = f"""# Scores of people as probabilities

`python benchmarks/people_calibration.py`

A detection is somebody if its box holds half of the points that were labelled on one person. The
probability is 1 / (1 + exp(-(a x + b))), x the log odds of the score, fitted on other frames than
those below it is measured on:

| score of | detections | of them nobody | a | b |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

How often a detection is somebody where the score, or the probability, lies within bounds; and the
expected calibration error with its 95 % interval over clips:

| | {heads} | error |
| --- |{" --- |" * (len(BINS) - 1)} --- |
{chr(10).join(tables)}

Few detections are nobody, so that the curves say little where the counts beside the shares are
small. Scores of faces, hands, text and templates are not calibrated.
"""
    OUT.write_text(page, "utf-8")
    print(page)


if __name__ == "__main__":
    main()
