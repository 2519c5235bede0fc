"""What the adversary contributes: refreshed, frozen or none, and with all, half or no labels.

    python benchmarks/adversary.py [--data clips.csv] [--seeds 3]     # docs/results/adversary.md

SPAct's largest ablation (CVPR 2022; docs/papers.md 2.7) on one data set: `spact` against the same
with `--frozen` and with `--no-adversary`; `vita` with every private label; and `vita` with half of
them (`--private`), attacked on the other half, which SPAct did not have either. Attackers are those
of `masquerade evaluate`, trained anew on each run's output. Without --data mimes is drawn. A run is
trained once for each seed; an interrupted one resumes from what lies under `--work`.
With --trained the unchanged `spact` and `vita` are those of `benchmarks/trained.py mimes`, which
trains them by the same recipe on the same clips.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masquerade.checkpoint import WEIGHTS, load, read_provenance
from masquerade.cli.progress import StepProgress
from masquerade.datasets.manifest import Column, Manifest, dataset_name, read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, EvaluationConfig, evaluate
from masquerade.evaluation.paired_comparison import PairedScores, paired_scores
from masquerade.evaluation.protocols import (
    UNSEEN,
    action_column,
    label_columns,
    protocols,
    split_column,
)
from masquerade.metrics.intervals import Score, Variance, max_t_quantile, score
from masquerade.metrics.statistic import Statistic, average, difference
from masquerade.training.engine import digest_inputs
from masquerade.training.recipes import RECIPES
from masquerade.training.run import train, training_rows

OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "adversary.md"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way of training.

    Args:
        method: in RECIPES.
        ablations: of its recipe.
        half: whether only half of the private labels are named.
    """

    method: str
    ablations: Mapping[str, Any] = field(default_factory=dict)
    half: bool = False


KINDS = {
    "spact": Kind(method="spact"),
    "spact, frozen adversary": Kind(method="spact", ablations={"frozen": True}),
    "spact, no adversary": Kind(method="spact", ablations={"no_adversary": True}),
    "vita, every label named": Kind(method="vita"),
    "vita, half of them named": Kind(method="vita", half=True),
}
FIRST = "spact"
BETWEEN = "[95 % interval over people and runs, for all lines at once] ± standard error over runs"
Half = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One run, or why there is none.

    Args:
        name: as the evaluation calls it.
        kind: in KINDS.
        entry: for the evaluation.
        notes: what was said of it.
    """

    name: str
    kind: str
    entry: EvaluatedMethod
    notes: tuple[str, ...]


def drawn(work: Path, clips: int) -> Path:
    """The manifest of mimes, as `benchmarks/real.py` draws it; found again where it is there."""
    folder = work / "drawn"
    if not (folder / "manifest.csv").exists():
        write_mimes(folder, Mimes(clips=clips or 1024, correlation=0.5))
    return folder / "manifest.csv"


def with_split(manifest: Manifest) -> Manifest:
    """The manifest with a split of people apart, which evaluation and training both keep to.

    Where there is none, a fifth of the people is held out for the test.
    """
    if split_column(manifest, UNSEEN):
        return manifest
    fold = protocols(manifest, folds=5, labels=())[0].folds[0]
    cells = np.full(len(manifest), "train", dtype=object)
    cells[fold.validation], cells[fold.test] = "val", "test"
    column = Column(name="split", role="split", kind="classes")
    return manifest.with_cells(column, cells.tolist())


def halves(labels: Sequence[str], named: Sequence[str]) -> tuple[Half, Half]:
    """Labels that `vita` with half of them learns, and the others; every second by default."""
    learned = tuple(named) or tuple(labels[0::2])
    unknown = [name for name in learned if name not in labels]
    other = tuple(name for name in labels if name not in learned)
    if unknown or not other:
        raise UsageError(
            f"--private names some of {', '.join(labels)}, and not all of them; "
            f"got {', '.join(learned)}."
        )
    return learned, other


def trained(
    manifest: Manifest, halved: tuple[Half, Half], given: argparse.Namespace
) -> Iterator[Trained]:
    """Every run of every kind, trained unless it was."""
    for seed in range(given.seeds):
        for name, kind in KINDS.items():
            if given.only and name not in given.only:
                continue
            labels = halved[0] if kind.half else None  # None: all attributes
            run, folder = f"{name}, seed {seed}", folder_of(name, labels, seed, given)
            try:
                _trained(manifest, kind, labels, folder, seed, given)
            except MasqueradeError as error:  # the action was not learned, for instance
                entry = EvaluatedMethod(name=run, method=None, not_applicable=str(error))
                yield Trained(name=run, kind=name, entry=entry, notes=(str(error),))
                continue
            entry = EvaluatedMethod(name=run, method=load(folder))
            yield Trained(
                name=run,
                kind=name,
                entry=entry,
                notes=tuple(read_provenance(folder).get("notes", ())),
            )


def folder_of(name: str, private: Half | None, seed: int, given: argparse.Namespace) -> Path:
    """The folder of a run; runs with other labels have other folders."""
    kind = KINDS[name]
    runs: Path = given.work / "runs"
    if given.trained and kind == Kind(method=kind.method):
        found = runs / kind.method / f"seed{seed}-split"
        if not (found / WEIGHTS).exists():
            raise UsageError(f"{found} holds no finished run; train it, or leave out --trained.")
        return found
    about = digest_inputs([str(private), str(given.epochs)], [])[:8]
    return runs / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}-{about}"


def _trained(
    manifest: Manifest,
    kind: Kind,
    private: Half | None,
    folder: Path,
    seed: int,
    given: argparse.Namespace,
) -> None:
    if (folder / WEIGHTS).exists():
        return
    print(f"training {folder.name}", file=sys.stderr, flush=True)
    train(
        manifest,
        RECIPES[kind.method](epochs=given.epochs, **kind.ablations),
        training_rows(manifest),
        folder,
        private=private,
        seed=seed,
        device=given.device,
        workers=given.workers or 1,
        cache=given.work / "trained-on",
        command=f"benchmarks/adversary.py: {kind}",
    )


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the table is made of.

    Args:
        manifest: the clips.
        runs: all of them.
        found: by label.
        columns: title to the labels whose scores are averaged in it.
    """

    manifest: Manifest
    runs: Sequence[Trained]
    found: Mapping[str, PairedScores]
    columns: Mapping[str, Half]

    def kinds(self) -> list[str]:
        """Those of which there is a run."""
        return [name for name in KINDS if self._names(name)]

    def statistic(self, names: Sequence[str], column: str) -> Statistic:
        """The mean over some lines and over the labels of a column."""
        labels = self.columns[column]
        return average([self.found[label].scores[name] for name in names for label in labels])

    def line(self, title: str, names: Sequence[str]) -> str:
        """One line of the table: mean [interval] ± deviation between runs."""
        cells = []
        for column in self.columns:
            values = [self.statistic([name], column).value for name in names]
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
            mean = score(self.statistic(names, column), clusters=self._clusters(column))
            cells.append(written(mean, spread))
        return f"| {title} | " + " | ".join(cells) + " |"

    def kind(self, name: str) -> str:
        """The line of a kind."""
        return self.line(name, self._names(name))

    def difference(self, name: str) -> str:
        """How much more attackers read than behind the first kind."""
        cells = []
        for column in self.columns:
            groups = self._clusters(column)
            others = [one for one in self.kinds() if one != FIRST]
            gaps = [self._gap(one, column) for one in others]
            between = self._between(name, column)
            gap = score(
                self._gap(name, column),
                clusters=groups,
                quantile=max_t_quantile(gaps, clusters=groups),
                between=between,
            )
            cells.append(written(gap, None if between is None else between.value**0.5, sign=True))
        return f"| {name} | " + " | ".join(cells) + " |"

    def _gap(self, name: str, column: str) -> Statistic:
        return difference(*(self.statistic(self._names(one), column) for one in (name, FIRST)))

    def _between(self, name: str, column: str) -> Variance | None:
        """The variance, over runs, of a kind's mean less the first kind's; None for one run."""
        value, freedom = 0.0, 0
        for kind in (name, FIRST):
            values = [self.statistic([one], column).value for one in self._names(kind)]
            if len(values) < 2:
                return None
            value += float(np.var(values, ddof=1)) / len(values)
            freedom += len(values) - 1
        return Variance(value, freedom)

    def _names(self, kind: str) -> list[str]:
        return [one.name for one in self.runs if one.kind == kind and one.entry.method is not None]

    def _clusters(self, column: str) -> NDArray[np.int64]:
        return self.found[self.columns[column][0]].groups


def written(found: Score, spread: float | None = None, *, sign: bool = False) -> str:
    """As .61 [.51, .70] ± .02."""
    if found.value is None:
        return "n/a"
    how = "+.2f" if sign else ".2f"
    apart = "" if spread is None or math.isnan(spread) else f" ± {spread:.2f}"
    bounds = "" if found.low is None else f" [{found.low:{how}}, {found.high:{how}}]"
    return f"{found.value:{how}}{bounds}{apart}"


def columns_of(
    manifest: Manifest, halved: tuple[Half, Half], found: Mapping[str, PairedScores]
) -> dict[str, Half]:
    """Title to labels: the action, the binary labels of each half, and each label of classes."""
    action = action_column(manifest)
    columns: dict[str, Half] = {f"{action} (keep)": (action,)}
    for title, labels in zip(("named to the half", "never named to it"), halved, strict=True):
        read = [name for name in labels if name in found]  # the test clips may not differ in it
        binary = tuple(name for name in read if manifest.column(name).kind == "binary")
        if binary:
            columns[f"{', '.join(binary)} ({title})"] = binary
        columns |= {f"{name} ({title})": (name,) for name in read if name not in binary}
    return columns


def floor(result: Evaluation, columns: Mapping[str, Half]) -> str:
    """The line of the best trivial attacker of each label."""
    cells = []
    for labels in columns.values():
        best = []
        for label in labels:
            finding = result.rows[0].finding(label)
            values = [one.value for one in finding.floors.values()] if finding else []
            best.append(max((value for value in values if value is not None), default=math.nan))
        cells.append(f"{np.mean(best):.2f}")
    return "| a guess | " + " | ".join(cells) + " |"


def page(result: Evaluation, table: Page) -> str:
    """The results as Markdown."""
    head = "| | " + " | ".join(table.columns) + " |\n" + "|---" * (len(table.columns) + 1) + "|"
    notes = [f"- {one.name}: {note.rstrip('.')}." for one in table.runs for note in one.notes]
    clips = next(iter(table.found.values())).scores["raw"].n
    groups = len(set(next(iter(table.found.values())).groups.tolist()))
    out = [
        "# Must the adversary go on learning?",
        "",
        f"`{result.command}`",
        "",
        f"{result.data}: {clips} test clips of {groups} groups of people who are not in train. "
        "Each "
        "number is the score of the strongest attacker, chosen on validation and trained anew on a "
        "run's output "
        f"(preset {result.preset}; {', '.join(result.attackers)}): AUROC of binary labels, top-1 "
        "of others and of the action. Mean over runs of different seeds [95 % interval over "
        "people] ± deviation between runs.",
        *(["", f"**Void**: {result.void}"] if result.void else []),
        "",
        head,
        floor(result, table.columns),
        table.line("raw video", ["raw"]),
        *(table.kind(name) for name in table.kinds()),
    ]
    others = [name for name in table.kinds() if name != FIRST]
    if FIRST in table.kinds() and others:
        out += ["", f"How much more is read than after {FIRST}, on the same clips {BETWEEN}:"]
        out += ["", head]
        out += [table.difference(name) for name in others]
    return "\n".join([*out, *(["", "Diagnostics of runs:", "", *notes] if notes else []), ""])


def arguments() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="a manifest; without it mimes is drawn")
    parser.add_argument("--clips", type=int, default=0, help="of mimes")
    parser.add_argument("--private", default="", help="labels of vita with half of them, by commas")
    parser.add_argument("--only", nargs="*", choices=list(KINDS), help="these kinds of training")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--epochs", type=int, help="at most, of every phase of training")
    parser.add_argument("--networks", type=int, default=1, help="attackers' networks of each kind")
    parser.add_argument("--preset", default="many", help="of the attackers")
    parser.add_argument("--attackers", default="scratch,finetuned,motion")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one a core")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, help="of mimes: where trained.py keeps it, too")
    parser.add_argument(
        "--trained", action="store_true", help="spact and vita are those that trained.py left"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is not trained, attack it, and write the table; gives the exit code."""
    given = arguments().parse_args(argv)
    if given.work is None:
        root, data = Path(tempfile.gettempdir()), given.data
        given.work = root / "masquerade-real" / "mimes"
        if data is not None:  # most are called manifest.csv, and runs of two must not meet
            given.work = (
                root / "masquerade-adversary" / digest_inputs([str(data.resolve())], [])[:12]
            )
    manifest = with_split(read_manifest(given.data or drawn(given.work, given.clips)))
    labels = label_columns(manifest)[0]
    halved = halves(labels, [name for name in given.private.split(",") if name])
    runs = list(trained(manifest, halved, given))
    entries = [one.entry for one in runs]
    plan = EvaluationConfig(
        attackers=tuple(given.attackers.split(",")),
        folds=0,
        seeds=given.networks,
        preset=given.preset,
        workers=given.workers,
        device=given.device,
        labels=labels,
    )
    words = shlex.join(sys.argv[1:] if argv is None else argv)
    with StepProgress(quiet=not sys.stderr.isatty()) as talk:
        result = evaluate(
            manifest,
            entries,
            plan,
            data=dataset_name(given.data) if given.data else "mimes",
            folder=given.work,
            command=f"python benchmarks/adversary.py {words}".strip(),
            progress=talk.follow,
        )
        found = paired_scores(manifest, entries, plan, folder=given.work, progress=talk.follow)
    columns = columns_of(manifest, halved, found)
    text = page(result, Page(manifest=manifest, runs=runs, found=found, columns=columns))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text, "utf-8")
    print(text)
    return 1 if result.void else 0


if __name__ == "__main__":
    sys.exit(main())
