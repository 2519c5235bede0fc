"""Scores of trained anonymizers, beside methods that need no training.

    python benchmarks/trained.py uti     # 5 folds; writes docs/results/trained-uti.md, .json
    python benchmarks/trained.py mimes   # drawn on the spot: docs/results/trained-mimes.md, .json
    python benchmarks/trained.py uti --methods bdq --beside "" --merge    # one row anew

Every method is trained by `masquerade train` (recipe `tiny`) for each seed and fold, on clips that
are in no test of that fold, and every fold is attacked behind its own anonymizer. On UT-Interaction
training goes on from the same seed's run on mimes, as the papers go on from published weights.
An interrupted run resumes: runs, clips, fits and predictions lie under `--work`.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

from merged import lines_kept, merged
from real import BENCHMARKS, DATA, RESULTS, manifest_of
from rich.console import Console

from masquerade.checkpoint import load
from masquerade.cli.evaluate import write_results
from masquerade.cli.progress import StepProgress
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig, evaluate, from_json
from masquerade.evaluation.attackers import WITHOUT_FILES
from masquerade.evaluation.paired_comparison import PairedScores, paired_scores
from masquerade.evaluation.training_runs import check_unseen, run_warnings
from masquerade.metrics.intervals import Score
from masquerade.report.table import show

TRAINED = ("noise-features", "spact", "vita", "bdq", "stprivacy")
APART = (
    "Rows of trained methods are means over runs of several seeds, each attacked by networks of "
    "its "
    "own: no attacker gets two anonymized versions of one clip."
)
BESIDE = (
    "downsample 4",
    "elr 16",
    "pixelate 16",
    "blur strong",
    "blacken",
    "mask-mean",
    "selective",
    "silhouette",
    "frame difference",
)
FIRST = {"uti": "mimes"}  # where training begins
FEWER = 6  # epochs of each phase where it goes on from another run


@dataclass(frozen=True, kw_only=True)
class Training:
    """One run of `masquerade train`.

    Args:
        method: in TRAINED.
        data: the benchmark.
        seed: of the run.
        fold: that it leaves out; None: the manifest's own split.
        work: folder of all runs.
    """

    method: str
    data: str
    seed: int
    fold: int | None
    work: Path

    @property
    def folder(self) -> Path:
        """Where it lies."""
        part = "split" if self.fold is None else f"fold{self.fold}"
        return self.work / self.data / "runs" / self.method / f"seed{self.seed}-{part}"

    @property
    def start(self) -> Path | None:
        """The run that it goes on from."""
        if self.data not in FIRST:
            return None
        return replace(self, data=FIRST[self.data], fold=None).folder

    @property
    def done(self) -> bool:
        """Whether its weights are there."""
        return (self.folder / "anonymizer.safetensors").exists()

    def command(self, manifest: Path) -> list[str]:
        """What is run."""
        words = [sys.executable, "-m", "masquerade", "train", self.method, "--data", str(manifest)]
        words += ["-o", str(self.folder), "--seed", str(self.seed)]
        words += ["--cache", str(self.work / self.data / "seen"), "--device", "cpu"]
        if self.fold is not None:
            folds = BENCHMARKS[self.data].folds
            words += ["--folds", str(folds), "--fold", str(self.fold)]
        if self.start is not None:
            words += ["--start", str(self.start), "--epochs", str(FEWER)]
        return words

    def run(self, manifest: Path) -> str:
        """Train, unless that was done; gives what the run said last."""
        if self.done:
            return "done before"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "said.txt").open("w", encoding="utf-8") as said:
            subprocess.run(self.command(manifest), stderr=said, stdout=said, check=False)
        return (self.folder / "said.txt").read_text("utf-8").strip().splitlines()[-1]


def trainings(data: str, methods: Sequence[str], seeds: int, work: Path) -> list[Training]:
    """All runs that a table needs, those that others go on from first."""
    folds = BENCHMARKS[data].folds
    parts = list(range(folds)) if folds else [None]
    mine = [
        Training(method=method, data=data, seed=seed, fold=fold, work=work)
        for method in methods
        for seed in range(seeds)
        for fold in parts
    ]
    before = trainings(FIRST[data], methods, seeds, work) if data in FIRST else []
    return before + mine


def trained(runs: Sequence[Training], workers: int) -> None:
    """Run what is not done yet, several side by side."""
    for data in dict.fromkeys(run.data for run in runs):
        folder = runs[0].work / data
        folder.mkdir(parents=True, exist_ok=True)
        manifest_of(BENCHMARKS[data].data, folder, 0)
        path = folder / "drawn" / "manifest.csv" if data == "mimes" else DATA / f"{data}.csv"
        mine = [run for run in runs if run.data == data]
        with ThreadPoolExecutor(workers) as pool:
            for run, said in zip(mine, pool.map(Training.run, mine, repeat(path)), strict=True):
                print(f"{run.method} seed {run.seed} fold {run.fold}: {said}", flush=True)


def lines(
    data: str, methods: Sequence[str], seeds: int, work: Path, *, began: bool = False
) -> list[EvaluatedMethod]:
    """The trained ones; where training went on from other clips, as they `began` too."""
    found = []
    for method in methods:
        runs = [one for one in trainings(data, [method], seeds, work) if one.data == data]
        lacking = [one for one in runs if not one.done]
        if lacking:
            said = (lacking[0].folder / "said.txt").read_text("utf-8").strip().splitlines()[-1]
            found.append(EvaluatedMethod(name=method, method=None, not_applicable=said))
            continue
        each = [
            tuple(load(one.folder) for one in runs if one.seed == seed) for seed in range(seeds)
        ]
        found.append(EvaluatedMethod(name=method, runs=tuple(each)))
        if began and data in FIRST:
            name, folds = f"{method}, {FIRST[data]} only", BENCHMARKS[data].folds
            starts = [next(run.start for run in runs if run.seed == seed) for seed in range(seeds)]
            before = tuple((load(start),) * folds for start in starts if start is not None)
            found.append(EvaluatedMethod(name=name, runs=before))
    return found


def warnings(data: str, methods: Sequence[str], seeds: int, work: Path) -> list[str]:
    """Diagnostics of runs, and of those that they continued."""
    found = []
    for method in methods:
        runs = [one for one in trainings(data, [method], seeds, work) if one.done]
        for part in dict.fromkeys(one.data for one in runs):
            name = method if part == data else f"{method}, on {part} before"
            found += run_warnings(name, [[one.folder for one in runs if one.data == part]])
    return found


def differences(
    found: dict[str, PairedScores], names: Sequence[str], kept: Sequence[str] = ()
) -> str:
    """Trained methods less others on the same clips, as Markdown; lines that are `kept` first."""
    known = [label for label in ("action", "attributes", "identity") if label in found]
    out = [
        "## On the same clips",
        "",
        "Score of a trained method less that of another, each read by single networks. Intervals "
        "hold for people and for training runs, and 95 % of the time for all lines of a column at "
        "once.",
        "",
        "| | " + " | ".join(known) + " |",
        "|---|" + "---|" * len(known),
        *kept,
    ]
    pairs = [(name, other) for name in names for other in ("raw", *BESIDE)]
    columns = [less(found[label], pairs) for label in known]
    for (name, other), *cells in zip(pairs, *columns, strict=True):
        if any(cells):
            out.append(f"| {name} less {other} | " + " | ".join(cells) + " |")
    return "\n".join([*out, ""])


def less(found: PairedScores, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Each as -.21 [-.30, -.12]; nothing where a line was not run."""
    measured = [pair for pair in pairs if set(pair) <= set(found.scores)]
    gaps = dict(zip(measured, found.differences(measured), strict=True))
    return [_gap(gaps[pair]) if pair in gaps else "" for pair in pairs]


def _gap(gap: Score) -> str:
    if gap.value is None or gap.low is None:
        return "n/a"
    return f"{gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Train, attack, write the table; gives its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=("uti", "mimes"))
    parser.add_argument("--methods", default=",".join(TRAINED), help="separated by commas")
    parser.add_argument("--beside", default=",".join(BESIDE), help="other lines, by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="runs and fits side by side")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument(
        "--began", action="store_true", help="a line more for what training went on from"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "masquerade-real"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--merge", action="store_true", help="keep the other rows of the table that is there"
    )
    chosen = parser.parse_args(argv)
    benchmark, methods = BENCHMARKS[chosen.name], chosen.methods.split(",")
    json, page = (chosen.out / f"trained-{chosen.name}{tail}" for tail in (".json", ".md"))
    if chosen.merge and not json.exists():  # said before hours of work
        parser.error(f"--merge keeps rows of {json}, which is not there: leave it out.")
    there = from_json(json.read_text("utf-8")) if chosen.merge else None
    kept = lines_kept(page.read_text("utf-8"), methods) if chosen.merge else []
    runs = trainings(chosen.name, methods, chosen.seeds, chosen.work)
    trained(runs, chosen.workers)
    if chosen.train_only:
        return 0
    plan = EvaluationConfig(
        attackers=WITHOUT_FILES,
        folds=benchmark.folds,
        seeds=chosen.seeds,
        preset=benchmark.preset,
        workers=chosen.workers,
        device="cpu",
    )
    given = sys.argv[1:] if argv is None else argv
    folder = chosen.work / chosen.name
    manifest = manifest_of(benchmark.data, folder, 0)
    wanted = chosen.beside.split(",")
    beside = [one for one in benchmark.rows(benchmark.people) if one.name in wanted]
    table = beside + lines(chosen.name, methods, chosen.seeds, chosen.work, began=chosen.began)
    known = warnings(chosen.name, methods, chosen.seeds, chosen.work)
    for line in table:
        mine = [one for one in runs if (one.method, one.data) == (line.name, chosen.name)]
        if line.runs and mine:
            by_seed = [[one.folder for one in mine if one.seed == s] for s in range(chosen.seeds)]
            known += [f"{line.name}: {one}" for one in check_unseen(manifest, plan, by_seed)]
    with StepProgress(quiet=not sys.stderr.isatty()) as talk:
        result = evaluate(
            manifest,
            table,
            plan,
            data=f"{benchmark.title}, trained anonymizers",
            folder=folder,
            command=f"python benchmarks/trained.py {shlex.join(given)}",
            limits=(*benchmark.limits, APART, *known),
            progress=talk.follow,
        )
        paired = paired_scores(manifest, table, plan, folder=folder, progress=talk.follow)
    if there is not None:
        result = merged(there, result, (*BESIDE, *TRAINED))
    write_results(result, json.parent, json.stem)
    with page.open("a", encoding="utf-8") as file:
        file.write("\n" + differences(paired, methods, kept))
    show(result, Console(width=200))
    return 1 if result.void else 0


if __name__ == "__main__":
    sys.exit(main())
