"""Ablations of STPrivacy: its Table 5 (preprint), on any manifest with a split.

    python benchmarks/stprivacy_ablation.py --data mimes/manifest.csv -o ablation/

Trains a run of each variant (folders `runs/NAME`; a finished one is used again, a stopped one goes
on) and writes one table of all of them, `results.md`, with the floors, intervals and controls of
`masquerade evaluate`. Of both weights one variant may be what the recipe has anyway (`tiny` has 1
for the action). A variant that cannot be trained is a line that says why. `--train` hands
further words to every training, as in `--train "--epochs 5"`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from masquerade.checkpoint import load
from masquerade.cli.evaluate import write_results
from masquerade.cli.progress import StepProgress
from masquerade.cli.train import main as train
from masquerade.cli.train import parse
from masquerade.datasets.manifest import dataset_name, read_manifest
from masquerade.errors import MasqueradeError
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig, evaluate
from masquerade.report.table import show

VARIANTS: dict[str, str] = {
    "default": "",
    "sparsify-only": "--mode sparsify-only",
    "anonymize-only": "--mode anonymize-only",
    "alpha .6": "--keep 0.6",
    "alpha .8": "--keep 0.8",
    "depth 1": "--tubelet 1",
    "depth 4": "--tubelet 4",
    "action .1": "--action-weight 0.1",
    "action 1": "--action-weight 1",
    "privacy .1": "--omega 0.1",
    "privacy 1": "--omega 1",
}
"""By name, the words that are added to the training; of a tubelet its depth alone is given."""


def words_of(name: str, given: argparse.Namespace) -> list[str]:
    """The words after `masquerade train` of one variant.

    Args:
        name: in VARIANTS.
        given: the options.
    """
    run = given.output / "runs" / name.replace(" ", "-")
    words = ["stprivacy", "--data", str(given.data), "--preset", given.preset, "-o", str(run)]
    words += ["--seed", str(given.seed), *shlex.split(given.train)]
    own = VARIANTS[name].split()
    if own[:1] == ["--tubelet"]:  # rows and columns are those of the recipe
        _, game = parse(words)
        own += [str(side) for side in game.arguments["tubelet"][1:]]
    return [*words, *own]


def entry_of(name: str, given: argparse.Namespace) -> EvaluatedMethod:
    """A line of the table; trains it where there is no finished run.

    Args:
        name: in VARIANTS.
        given: the options.
    """
    words = words_of(name, given)
    run = Path(words[words.index("-o") + 1])
    try:
        if not (run / "anonymizer.safetensors").exists():
            train(words)  # says itself where a run has collapsed; the table shows what that means
        return EvaluatedMethod(name=name, method=load(run))
    except MasqueradeError as error:
        return EvaluatedMethod(name=name, method=None, not_applicable=str(error))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a manifest with a split")
    parser.add_argument("-o", "--output", type=Path, default=Path("ablation"))
    parser.add_argument("--only", default="", help=f"of {', '.join(VARIANTS)}; by commas")
    parser.add_argument("--preset", default="tiny", help="of the recipe")
    parser.add_argument("--train", default="", help="further words of every training")
    parser.add_argument("--seed", type=int, default=0, help="of every training")
    parser.add_argument("--attackers", default="scratch,finetuned,motion")
    parser.add_argument("--judge", default="many", help="preset of the attackers")
    parser.add_argument("--seeds", type=int, default=3, help="of the attackers")
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args(argv)
    names = [name.strip() for name in given.only.split(",") if name.strip()] or list(VARIANTS)
    if set(names) - set(VARIANTS):
        parser.error(f"--only takes of {', '.join(VARIANTS)}")
    entries = [entry_of(name, given) for name in names]
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
            data=f"{dataset_name(given.data)}: parts of stprivacy",
            folder=given.output,
            command=f"python benchmarks/stprivacy_ablation.py {shlex.join(argv or sys.argv[1:])}",
            progress=talk.follow,
        )
    write_results(result, given.output)
    show(result, Console())
    return 1 if result.void else 0


if __name__ == "__main__":
    sys.exit(main())
