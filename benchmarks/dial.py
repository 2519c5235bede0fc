"""Scores of one trained `stprivacy` by keep ratio: the action and private labels.

    python benchmarks/dial.py --weights run/ --data mimes/manifest.csv

Evaluates every run at alpha .3 to 1 (the share that each step keeps), without training it again,
and writes `docs/results/dial.md` and `docs/results/dial.png`: a curve a label, with 95 % intervals,
the best trivial attacker and raw video. Of several runs each is a thin line and their mean a thick
one. Retrained attackers, on the manifest's own split.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masquerade.checkpoint import load
from masquerade.cli.progress import StepProgress
from masquerade.datasets.manifest import dataset_name, read_manifest
from masquerade.evaluation import EvaluatedMethod, Evaluation, EvaluationConfig, evaluate
from masquerade.evaluation.results import Finding
from masquerade.metrics.intervals import Score
from masquerade.report.table import main_columns
from masquerade.storage import atomic_write

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Okabe and Ito's colours, which the colour-blind tell apart; each with a marker of its own.
LOOKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))
WIDE = 3  # panels side by side

Curve = list[list[Finding]]
"""Of one label: run by run, alpha by alpha."""


def name_of(run: Path, alpha: float) -> str:
    """How a line of the table is called."""
    return f"{run.name or 'run'} at {alpha:.1f}"


def curve_of(result: Evaluation, runs: Sequence[Path], alphas: Sequence[float], name: str) -> Curve:
    """What was found of one label.

    Args:
        result: of all runs and alphas.
        runs: as they were given.
        alphas: the same.
        name: of the label.
    """
    rows = {row.name: row.finding(name) for row in result.rows}
    found = [[rows[name_of(run, alpha)] for alpha in alphas] for run in runs]
    return [[one for one in line if one is not None] for line in found]


def best_floor(found: Finding) -> float:
    """The best trivial attacker; of the action the constant guess."""
    return max((one.value for one in found.floors.values() if one.value is not None), default=0.0)


def falls(line: Sequence[Finding]) -> list[int]:
    """Places at which a curve lies surely below some point before: not within intervals."""
    ends = [(one.score or Score(None, None, None, 0, 0)) for one in line]
    return [
        i
        for i in range(1, len(ends))
        if ends[i].high is not None
        and max(end.low or 0.0 for end in ends[:i]) > (ends[i].high or 0.0)
    ]


def cell(score: Score | None) -> str:
    """A score and its interval."""
    if score is None or score.value is None:
        return "n/a"
    if score.low is None or score.high is None:
        return f"{score.value:.2f}"
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"


def page(
    result: Evaluation, runs: Sequence[Path], alphas: Sequence[float], curves: dict[str, Curve]
) -> str:
    """The table as Markdown."""
    raw = {one.label: one for one in main_columns(result)}
    lines = [
        f"# Scores by keep ratio on {result.data}",
        "",
        f"    {result.command}",
        "",
        "One trained anonymizer, not trained again: alpha is the keep ratio, the share of tubelets "
        "that each step keeps. Cells: the score of the strongest attacker, trained at that alpha, "
        "and its 95 % interval.",
        "",
        "![action and leakage by alpha](dial.png)",
        "",
        "| run | alpha | " + " | ".join(f"{n} ({f.metric})" for n, f in raw.items()) + " |",
        "| --- " * (2 + len(raw)) + "|",
        "| raw video | | " + " | ".join(cell(one.score) for one in raw.values()) + " |",
        "| best guess | | " + " | ".join(f"{best_floor(one):.2f}" for one in raw.values()) + " |",
    ]
    for at, run in enumerate(runs):
        for place, alpha in enumerate(alphas):
            cells = [cell(curves[name][at][place].score) for name in raw]
            lines.append(f"| {run.name} | {alpha:.1f} | " + " | ".join(cells) + " |")
    lines.append("")
    for name in raw:
        low = [
            f"{runs[r].name} at {alphas[i]:.1f}"
            for r, c in enumerate(curves[name])
            for i in falls(c)
        ]
        said = f"falls at {', '.join(low)}" if low else "no step falls by more than its intervals"
        lines.append(f"- {name}: {said}.")
    void = [] if result.void is None else ["", f"**Void**: {result.void}"]
    return "\n".join([*lines, *void, ""])


def plot(result: Evaluation, alphas: Sequence[float], curves: dict[str, Curve], path: Path) -> None:
    """The curves, a panel a label, all on one scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    labels = main_columns(result)
    columns = min(WIDE, len(labels))
    lines = -(-len(labels) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(3.2 * columns, 2.9 * lines + 0.4),
        sharey=True,
        squeeze=False,
        dpi=150,
        layout="constrained",
    )
    for ax in axes.flat[len(labels) :]:
        ax.set_visible(False)
    for number, (found, ax) in enumerate(zip(labels, axes.flat, strict=False)):
        colour, marker = LOOKS[number % len(LOOKS)]
        curve = curves[found.label]
        values = np.array([[_value(one.score) for one in line] for line in curve])
        for line in values if len(values) > 1 else ():
            ax.plot(alphas, line, color=colour, alpha=0.4, linewidth=1)
        ax.plot(alphas, values.mean(axis=0), color=colour, marker=marker, linewidth=2)
        if len(values) == 1:
            ends = np.array([_ends(one.score) for one in curve[0]]).T
            ax.fill_between(alphas, *ends, color=colour, alpha=0.2)
        ax.axhline(best_floor(found), color="black", linestyle=":")
        ax.axhline(_value(found.score), color="black", linestyle="--")
        ax.set_title(f"{found.label} ({found.metric})", fontsize=10)
        ax.set_xlabel("alpha: share that each step keeps", fontsize=9)
        ax.set_ylim(0, 1.03)
        ax.grid(alpha=0.3)
        if number % columns == 0:
            ax.set_ylabel("strongest attacker's score", fontsize=9)
    one = len(next(iter(curves.values()))) == 1
    handles = [
        Line2D([], [], color="grey", marker="o", linewidth=2, label="model" if one else "mean"),
        Patch(color="grey", alpha=0.3, label="95 % interval")
        if one
        else Line2D([], [], color="grey", linewidth=1, alpha=0.5, label="each run"),
        Line2D([], [], color="black", linestyle=":", label="best guess"),
        Line2D([], [], color="black", linestyle="--", label="raw video"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.savefig(path, format="png")
    plt.close(figure)


def _value(score: Score | None) -> float:
    return np.nan if score is None or score.value is None else score.value


def _ends(score: Score | None) -> tuple[float, float]:
    if score is None or score.low is None or score.high is None:
        return _value(score), _value(score)
    return score.low, score.high


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="runs")
    parser.add_argument("--data", type=Path, required=True, help="a manifest with a split")
    parser.add_argument("--alphas", type=float, nargs="+", default=list(ALPHAS))
    parser.add_argument("--attackers", default="scratch,motion")
    parser.add_argument("--judge", default="many", help="preset of the attackers")
    parser.add_argument("--seeds", type=int, default=3, help="of the attackers")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for clips and fits; done ones are used again")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    if len({run.name for run in given.weights}) < len(given.weights):
        parser.error("give the runs folders of different names")
    entries = [
        EvaluatedMethod(name=name_of(run, alpha), method=load(run, keep=alpha))
        for run in given.weights
        for alpha in given.alphas
    ]
    plan = EvaluationConfig(
        attackers=tuple(given.attackers.split(",")),
        folds=0,
        seeds=given.seeds,
        preset=given.judge,
        workers=given.workers,
    )
    with StepProgress(quiet=not sys.stderr.isatty()) as talk:
        result = evaluate(
            read_manifest(given.data),
            entries,
            plan,
            data=dataset_name(given.data),
            folder=given.folder,
            command=f"python benchmarks/dial.py {shlex.join(argv or sys.argv[1:])}",
            progress=talk.follow,
        )
    curves = {
        one.label: curve_of(result, given.weights, given.alphas, one.label)
        for one in main_columns(result)
    }
    given.output.mkdir(parents=True, exist_ok=True)
    text = page(result, given.weights, given.alphas, curves)
    with atomic_write(given.output / "dial.md", overwrite=True) as part:
        part.write_text(text, "utf-8")
    with atomic_write(given.output / "dial.png", overwrite=True) as part:
        plot(result, given.alphas, curves, part)
    print(text)
    return 1 if result.void else 0


if __name__ == "__main__":
    sys.exit(main())
