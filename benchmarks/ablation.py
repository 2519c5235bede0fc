"""Ablations of `selective`: Ilic et al. (CVPR 2024), Figures 8 and 5, on any manifest.

    python benchmarks/ablation.py noise --data clips.csv --regions people -o results/
    python benchmarks/ablation.py templates --data clips.csv --hide eye,hair,torso -o results/

`noise`: noise that moves with the content against noise that is new in every frame. `templates`:
each template alone, and all together. Both print the table of `masquerade evaluate`: the action and
private labels, beside floors and raw video. The paper chose its templates by their test scores
(docs/papers.md 3.1): choose yours on clips that you do not report.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from masquerade.cli.evaluate import method_line, write_results
from masquerade.cli.progress import StepProgress
from masquerade.datasets.manifest import dataset_name, read_manifest
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig, evaluate
from masquerade.methods.selective import Selective
from masquerade.pipeline.config import PipelineConfig
from masquerade.report.table import show


def entries(which: str, *, regions: str, names: list[str]) -> list[EvaluatedMethod]:
    """The lines of the table after raw video."""
    if which == "noise":
        where = PipelineConfig(regions=regions)
        return [
            method_line("noise that moves", Selective(), where),
            method_line("noise that is new in every frame", Selective(noise="iid"), where),
        ]
    every = {**{name: name for name in names}, "all together": ",".join(names)}
    return [
        method_line(line, Selective(), PipelineConfig(regions=f"templates:{hidden}"))
        for line, hidden in every.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("which", choices=("noise", "templates"))
    parser.add_argument("--data", type=Path, required=True, help="a manifest")
    parser.add_argument("--regions", default="people", help="where noise lies")
    parser.add_argument("--hide", default="", help="templates, separated by commas")
    parser.add_argument("--attackers", default="raw,scratch,motion")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, required=True)
    chosen = parser.parse_args()
    names = [name for name in chosen.hide.split(",") if name]
    if chosen.which == "templates" and not names:
        parser.error("name templates, as in --hide eye,hair; see masquerade templates --help")
    plan = EvaluationConfig(
        attackers=tuple(chosen.attackers.split(",")),
        folds=chosen.folds,
        seeds=chosen.seeds,
        preset=chosen.preset,
        allow_empty=True,  # both stand under the table
        allow_gaps=True,
    )
    with StepProgress(quiet=not sys.stderr.isatty()) as talk:
        result = evaluate(
            read_manifest(chosen.data),
            entries(chosen.which, regions=chosen.regions, names=names),
            plan,
            data=f"{dataset_name(chosen.data)}: {chosen.which}",
            folder=chosen.output,
            command=f"python benchmarks/ablation.py {shlex.join(sys.argv[1:])}",
            progress=talk.follow,
        )
    write_results(result, chosen.output)
    show(result, Console())
    return 1 if result.void else 0


if __name__ == "__main__":
    sys.exit(main())
