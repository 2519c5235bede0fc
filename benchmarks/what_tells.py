"""People hidden and the scene kept, on UT-Interaction: what identifies the pair.

    python benchmarks/what_tells.py [--seeds 3] [--work FOLDER]   # docs/results/what_tells.md

Action, clothing and pair after `selective` on people, by the attacker that validation chose and by
attackers that see one thing only: the background (the top twelfth of the frame), motion (which is
gait), the outline (a video of the mask alone). An interrupted run resumes.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from masquerade.cli.progress import StepProgress
from masquerade.datasets.manifest import read_manifest
from masquerade.evaluation import EvaluatedMethod, Evaluation, EvaluationConfig, evaluate
from masquerade.evaluation.attackers import WITHOUT_FILES
from masquerade.evaluation.paired_comparison import PairedScores, paired_scores
from masquerade.evaluation.results import Finding, Row
from masquerade.methods.selective import Selective
from masquerade.methods.silhouette import Silhouette
from masquerade.metrics.intervals import Score
from masquerade.regions import People

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "uti.csv"
OUT = ROOT / "docs" / "results" / "what_tells.md"
BRIGHT, NARROW = (0.85, 0.85, 0.85), (0.15, 0.15, 0.15)  # noise that stands out from the scene
LABELS = {"action": "action", "attributes": "clothing", "identity": "pair"}


@dataclass(frozen=True)
class Line:
    """One line of the table: a video, and who looks at it."""

    name: str
    row: str
    families: tuple[str, ...]


LINES = (
    Line("raw video, all attackers", "raw", ()),
    Line("hidden, all attackers", "selective", ()),
    Line("hidden, motion alone", "selective", ("motion",)),
    Line("hidden, place alone", "selective", ("background",)),
    Line("hidden by bright noise, all attackers", "bright", ()),
    Line("outline alone", "outline", ()),
    Line("hidden, and the scene black, all attackers", "alone", ()),
)


def cell(finding: Finding | None, families: Sequence[str]) -> str:
    """The strongest by validation of some families, with its interval."""
    if finding is None:
        return ""
    if not families:
        return written(
            finding.score,
            next((a.seed_sd for a in finding.attacks if a.name == finding.strongest), None),
        )
    able = [one for one in finding.attacks if one.family in families and one.validation is not None]
    best = max(able, key=lambda one: one.validation or 0.0, default=None)
    return "" if best is None else written(best.test, best.seed_sd)


def written(score: Score | None, spread: float | None) -> str:
    """As .61 [.51, .70] ± .02."""
    if score is None or score.value is None:
        return "n/a"
    apart = "" if spread is None else f" ± {spread:.2f}"
    bounds = "" if score.low is None else f" [{score.low:.2f}, {score.high:.2f}]"
    return f"{score.value:.2f}{bounds}{apart}"


def page(result: Evaluation) -> str:
    """The results as Markdown."""
    rows: dict[str, Row] = {row.name: row for row in result.rows}
    raw = rows["raw"]
    out = [
        "# People hidden, the scene kept: what identifies the pair?",
        "",
        f"`{result.command}`",
        "",
        f"UT-Interaction, {result.folds} folds, networks of {result.seeds} seeds whose "
        "predictions are averaged (± is the standard deviation of single ones), 95 % intervals "
        "over pairs of "
        "people. Action: to be kept, top-1. Clothing: mean AUROC on people who are not in train, "
        "floor .50. Pair: top-1 of 20 pairs that are in train, in other clips, floor .05; the "
        "background alone reveals it too, and is kept on purpose.",
        "",
        "| | " + " | ".join(LABELS.values()) + " |",
        "|---|" + "---|" * len(LABELS),
    ]
    for line in LINES:
        row = rows.get(line.row, raw)
        cells = [cell(row.finding(label), line.families) for label in LABELS]
        out.append(f"| {line.name} | " + " | ".join(cells) + " |")
    return "\n".join([*out, ""])


def less_raw(action: PairedScores, names: Sequence[str]) -> str:
    """The action of some lines less that of raw video on the same clips, as Markdown."""
    out = [
        "Score of the action minus that of raw video on the same clips; 95 % of the time all "
        "intervals hold at once:",
        "",
    ]
    gaps = action.differences([(name, "raw") for name in names])
    for name, found in zip(names, gaps, strict=True):
        if found.value is not None and found.low is not None:
            out.append(f"- {name}: {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]")
    return "\n".join([*out, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "masquerade-real" / "uti"
    )
    chosen = parser.parse_args()
    if not DATA.exists():
        sys.exit("what_tells.py: ../shared/data is not here, so there is nothing to measure.")
    entries = [
        EvaluatedMethod(name="selective", method=Selective(), regions=partial(People)),
        EvaluatedMethod(
            name="bright", method=Selective(mean=BRIGHT, std=NARROW), regions=partial(People)
        ),
        EvaluatedMethod(name="outline", method=Silhouette(), regions=partial(People)),
        EvaluatedMethod(name="alone", method=Selective(), regions=partial(People), outside="black"),
    ]
    manifest = read_manifest(DATA)
    plan = EvaluationConfig(
        attackers=WITHOUT_FILES,
        folds=5,
        seeds=chosen.seeds,
        preset="tiny",
        workers=chosen.workers,
        allow_empty=True,  # both stand under the table
        allow_gaps=True,
    )
    with StepProgress(quiet=not sys.stderr.isatty()) as talk:
        result = evaluate(
            manifest,
            entries,
            plan,
            data="UT-Interaction",
            folder=chosen.work,
            command=f"python benchmarks/what_tells.py {shlex.join(sys.argv[1:])}".strip(),
            progress=talk.follow,
        )
        paired = paired_scores(manifest, entries, plan, folder=chosen.work, progress=talk.follow)[
            "action"
        ]
    text = page(result) + "\n" + less_raw(paired, [entry.name for entry in entries])
    OUT.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
