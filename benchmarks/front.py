"""A plot of the action that each method keeps against the private labels that attackers read.

    python benchmarks/front.py uti     # docs/results/trained-uti.json to docs/results/front-uti.png

Each method is a point with its 95 % intervals; up and to the left is better. Floors are lines.
"""

from __future__ import annotations

import argparse
import math
from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from masquerade.evaluation import Evaluation, from_json
from masquerade.evaluation.metric_specs import MEAN
from masquerade.evaluation.results import Finding, Row

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
ASKED = {"uti": {"action": 0.75, "identity": 0.30, MEAN: 0.58}, "mimes": {}}
AXES = {
    "identity": "identity, top-1: people in train, other clips",
    MEAN: "attributes, AUROC: people not in train",
}
TRAINED = ("noise-features", "spact", "vita", "bdq", "stprivacy")
LEARNED, PLAIN, RAW = "#d55e00", "#0072b2", "#000000"  # distinguishable to colour-blind readers


def spot(axes: Axes, row: Row, action: Finding, private: Finding) -> None:
    """One method."""
    x, y = private.score, action.score
    if x.value is None or y.value is None or None in (x.low, x.high, y.low, y.high):
        return
    trained = row.name in TRAINED
    colour = RAW if row.name == "raw" else LEARNED if trained else PLAIN
    axes.errorbar(
        x.value,
        y.value,
        xerr=[[x.value - (x.low or 0)], [(x.high or 0) - x.value]],
        yerr=[[y.value - (y.low or 0)], [(y.high or 0) - y.value]],
        fmt="s" if trained else "o",
        color=colour,
        markersize=6,
        elinewidth=0.6,
        alpha=0.9,
    )


def named(axes: Axes, points: list[tuple[float, float, str]]) -> None:
    """Place each name at the nearest position that overlaps no point and no other name."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    spots = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    places = list(product((7, 18, 30, 42, 56, 70), (0.3, -0.3, 2.84, -2.84, 1.2, -1.2, -1.9)))
    for x, y, name in sorted(points, key=lambda point: -point[1]):
        for far, side in places:
            at = (far * math.cos(side), far * math.sin(side))
            text = axes.annotate(
                name,
                (x, y),
                at,
                textcoords="offset points",
                fontsize=8,
                ha="left" if at[0] > 0 else "right",
                va="center",
                bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "grey"}
                if far > 10
                else None,
            )
            text.update_positions(figure.canvas.get_renderer())  # type: ignore[attr-defined]
            box = Text.get_window_extent(text)  # without its arrow
            inside = axes.bbox.x0 < box.x0 and box.x1 < figure.bbox.x1 and box.y1 < axes.bbox.y1
            free = inside and not any(box.overlaps(other) for other in taken)
            if free or (far, side) == places[-1]:  # a name too many is better than a nameless point
                taken.append(box)
                break
            text.remove()


def panel(
    axes: Axes, found: Evaluation, label: str, asked: dict[str, float]
) -> list[tuple[float, float, str]]:
    """Plot all methods on one private label; returns the points and their names."""
    points = []
    for row in found.rows:
        action, private = row.finding("action"), row.finding(label)
        if action is None or private is None:
            continue
        spot(axes, row, action, private)
        if action.score.value is not None and private.score.value is not None:
            points.append((private.score.value, action.score.value, row.name))
    raw = found.rows[0]
    for finding, line in (
        (raw.finding(label), axes.axvline),
        (raw.finding("action"), axes.axhline),
    ):
        if finding is not None:
            floor = max((s.value or 0.0 for s in finding.floors.values()), default=0.0)
            line(floor, color="grey", linewidth=0.8, linestyle=":")
    if label in asked:
        axes.axvline(asked[label], color="green", linewidth=0.8)
        axes.axhline(asked["action"], color="green", linewidth=0.8)
    axes.set_xlabel(f"{AXES[label]} (less is better)")
    axes.set_ylabel("action, top-1: people not in train (more is better)")
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0 if label == "identity" else 0.35, right=1.05)
    axes.spines[["top", "right"]].set_visible(False)
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=ASKED)
    chosen = parser.parse_args()
    found = from_json((RESULTS / f"trained-{chosen.name}.json").read_text("utf-8"))
    figure, axes = plt.subplots(1, 2, figsize=(13, 5.6), layout="constrained")
    points = [
        panel(each, found, label, ASKED[chosen.name])
        for each, label in zip(axes, ("identity", MEAN), strict=True)
    ]
    figure.suptitle(
        f"{found.data}: squares are trained, dots are not, lines are 95 % intervals; dotted: "
        "floors" + ("; green: the aim" if ASKED[chosen.name] else ""),
        fontsize=10,
    )
    figure.canvas.draw()  # the layout decides where points come to lie
    figure.set_layout_engine("none")
    for each, own in zip(axes, points, strict=True):
        named(each, own)
    figure.savefig(RESULTS / f"front-{chosen.name}.png", dpi=110)


if __name__ == "__main__":
    main()
