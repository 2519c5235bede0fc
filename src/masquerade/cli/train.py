"""`masquerade train`: an anonymizer is trained against those who would see who it is."""

from __future__ import annotations

import json
import math
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import STATE, arguments
from masquerade.cli.arguments import flag_value, split_commas, with_annotations, with_defaults
from masquerade.datasets.manifest import Column, Manifest, read_manifest, select_actions
from masquerade.errors import UsageError
from masquerade.evaluation.protocols import protocols
from masquerade.methods import METHODS
from masquerade.methods.rewriter import Rewriter
from masquerade.training.ablations import Changes, changed
from masquerade.training.game import Game, going_on
from masquerade.training.games import GAMES, game_of
from masquerade.training.minimax import Played, Standing
from masquerade.training.objectives import Pairs
from masquerade.training.ranks import speaks
from masquerade.training.run import Parts, carved, parts_of, train

EXAMPLE = "masquerade train spact --data mimes/manifest.csv -o run/"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train an anonymizer: the action must stay readable, and what is private must not.

    Args:
        name: the method: spact, vita, bdq, noise-features, stprivacy. Its own arguments follow.
        data: a manifest with splits; only its train and validation clips are read.
        output: a new folder, or one of an interrupted run of this command, which then goes on.
        preset: of the recipe: tiny (minutes on two cores), paper, code (where it differs).
        split: the split column that counts; without it all of them.
        folds: leave out one fold of that many, as `masquerade evaluate` cuts them; split columns
            then do not count.
        fold: which, from 0.
        actions: learn from clips of these alone, separated by commas; without it all.
        private: columns that are to go, separated by commas; without it all attributes.
        start: another run of this recipe, such as on more clips, which this one goes on from.
        stills: another manifest, on whose clips the adversary learns, such as one of pictures.
        seed: of weights, order and all else that is drawn.
        device: auto, cpu, cuda, cuda:N, mps.
        amp: bfloat16 in the networks.
        workers: processes that read videos.
        cache: a folder for clips that were read before.
        json: print the result as JSON.
    """

    name: Positional[str]
    data: Path
    output: Annotated[Path, arg(aliases=["-o"])]
    preset: str = "tiny"
    split: str | None = None
    folds: int = 0
    fold: int = 0
    actions: str | None = None
    private: str | None = None
    start: Path | None = None
    stills: Path | None = None
    seed: int = 0
    device: str = "auto"
    amp: bool = False
    workers: int = 1
    cache: Path | None = None
    json: bool = False


def main(argv: list[str]) -> int:
    """Run the verb; gives its exit code: 1 where what was trained has collapsed."""
    options, game = parse(argv)
    _suits(game, stills=options.stills is not None)
    manifest = read_manifest(options.data)
    if options.actions is not None:
        manifest = select_actions(manifest, split_commas(options.actions))
    talk = Console(stderr=True, highlight=False, soft_wrap=True, quiet=options.json)
    if options.folds and manifest.of_role("split"):
        talk.print(
            f"Fold {options.fold} of {options.folds} is left out; the manifest's own split "
            "does not count.",
            markup=False,
        )
    if (options.output / STATE).exists():
        talk.print(f"{options.output} holds a run that has not ended: going on with it.")
    try:
        played = train(
            manifest,
            game,
            rows_of(manifest, options),
            options.output,
            private=split_commas(options.private) if options.private else None,
            stills=_stills(options),
            seed=options.seed,
            device=options.device,
            amp=options.amp,
            workers=options.workers,
            cache=options.cache,
            start=options.start,
            command=f"masquerade train {shlex.join(argv)}",
            progress=lambda standing: talk.print(line_of(standing), markup=False),
        )
    except KeyboardInterrupt:
        kept = (options.output / STATE).exists()
        hint = "run the same command again to go on" if kept else "no epoch was done yet"
        print(f"masquerade: interrupted; {hint}.", file=sys.stderr)
        return 130
    if not speaks():
        return 0
    if options.json:
        print(json.dumps(_as_json(played, options.output), indent=1))
    else:
        print(f"{options.output}: {len(played.history)} epochs in {played.seconds:.0f} s")
    for note in played.notes:
        print(f"masquerade: this run has collapsed: {note}.", file=sys.stderr)
    for doubt in played.doubts:
        print(f"masquerade: this run is in doubt: {doubt}.", file=sys.stderr)
    return 1 if played.notes else 0


def parse(argv: list[str]) -> tuple[Options, Game]:
    """Options, and the recipe with the changes that they ask for."""
    name = argv[0] if argv and not argv[0].startswith("-") else ""
    if not name and not {"-h", "--help"} & set(argv):
        raise UsageError(f"name a method of {', '.join(GAMES)} first, as in: {EXAMPLE}")
    game = game_of(name or "spact", flag_value(argv, ("--preset",)) or "tiny")
    make = with_defaults(METHODS[game.method], game.arguments)

    def call(**given: Any) -> tuple[Options, Changes, Anonymizer]:
        return given["general"], given["recipe"], given["method"]

    kinds = {
        "general": Annotated[Options, OmitArgPrefixes],
        "recipe": Annotated[Changes, OmitArgPrefixes],
        "method": Annotated[make, OmitArgPrefixes],
    }
    options, changes, anonymizer = tyro.cli(
        with_annotations(call, kinds),
        args=argv,
        prog="masquerade train",
        description=(
            f"{EXAMPLE}\n\n{(Options.__doc__ or '').splitlines()[0]} These are "
            f"the flags of {game.method}: `masquerade train METHOD --help` lists another's."
        ),
        config=(FlagCreatePairsOff,),
    )
    own = arguments(anonymizer)
    game = replace(game, arguments=own, frames=own.get("frames", game.frames))
    if options.start is not None:
        changed(going_on(game), changes)  # refuses what is of a phase that is left out
    return options, changed(game, changes)


def rows_of(manifest: Manifest, options: Options) -> Parts:
    """The rows that a run may see."""
    if not options.folds:
        if options.fold:
            raise UsageError("--fold is one of --folds; give both.")
        return parts_of(manifest, column=options.split, seed=options.seed)
    if options.split is not None:
        raise UsageError("--folds leaves no room for a --split; give one of them.")
    if not 0 <= options.fold < options.folds or options.folds < 2:
        raise UsageError("--folds is 2 or more, and --fold from 0 to below it.")
    tested = {
        int(row)
        for protocol in protocols(manifest, folds=options.folds)
        for row in protocol.folds[options.fold].test
    }
    rows = np.array([row for row in range(len(manifest)) if row not in tested])
    column = Column(name="split", role="split", kind="classes")
    marked = manifest.with_cells(column, ["train"] * len(manifest))
    return carved(marked, rows, "split", seed=options.seed)


def line_of(standing: Standing) -> str:
    """One epoch in words."""
    row = standing.row
    words = [
        f"epoch {standing.epoch} of at most {standing.epochs}, {standing.phase}:",
        f"action {row['val_utility']:.2f} (a guess {row['chance_utility']:.2f}),",
        f"L1 to raw {row['val_reconstruction']:.3f}",
    ]
    if not math.isnan(row["val_adversary_share"]):
        words[-1] += ","
        words.append(f"adversary's loss {row['val_adversary_share']:.2f} of who sees nothing")
    return " ".join([*words, *(f"\n  {note}" for note in standing.notes)])


def _suits(game: Game, *, stills: bool) -> None:
    """Raise UsageError where adversaries cannot be shown what the flags ask for."""
    alone = issubclass(METHODS[game.method], Rewriter)  # else a frame depends on others
    if (stills or game.gap is not None) and not alone:
        flag = "--stills" if stills else "--gap"
        raise UsageError(f"{game.method} rewrites frames by those beside them: leave out {flag}.")
    if not stills:
        return
    objectives = [one.objective for one in game.adversaries]
    if not objectives:
        raise UsageError("Nobody plays against the anonymizer here, so leave out --stills.")
    if game.gap is not None or any(isinstance(o, Pairs) and o.segments for o in objectives):
        raise UsageError("A picture is one frame: leave out --gap and --segments, or --stills.")


def _stills(options: Options) -> tuple[Manifest, Parts] | None:
    if options.stills is None:
        return None
    manifest = read_manifest(options.stills)
    if not manifest.of_role("split"):
        raise UsageError(
            f"{options.stills} has no split column: what is tested must not be learned from; "
            "add one, which is train, val or test."
        )
    return manifest, parts_of(manifest, seed=options.seed)


def _as_json(played: Played, folder: Path) -> dict[str, Any]:
    last = {k: None if math.isnan(v) else v for k, v in played.history[-1].items()}
    return {
        "run": str(folder),
        "epochs": len(played.history),
        "seconds": played.seconds,
        "last": last,
        "notes": list(played.notes),
        "doubts": list(played.doubts),
    }
