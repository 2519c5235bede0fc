"""`masquerade train`: trains an anonymizer against adversaries that read what is private.

What imports torch is imported where it is used: the help does not wait for it.
"""

from __future__ import annotations

import json
import math
import sys
from collections import ChainMap
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from tyro.conf import Positional, arg

from masquerade.cli import INTERRUPTED
from masquerade.cli.arguments import HELP, asks_for_help, command_to_keep, flag_value, split_commas
from masquerade.cli.progress import StepProgress
from masquerade.cli.readable_help import Box, boxes_of, parse_boxes
from masquerade.datasets.manifest import Column, Manifest, read_manifest, select_actions
from masquerade.errors import MasqueradeError, UsageError
from masquerade.extraction import STORE_LIMIT_GB
from masquerade.ranges import Allowed, Checked, NonNegativeFloat, NonNegativeInt, PositiveInt, Seed
from masquerade.text import escape

if TYPE_CHECKING:
    from masquerade.training.adversarial_training import TrainedAnonymizer, TrainingProgress
    from masquerade.training.recipe import AdversarialRecipe
    from masquerade.training.rows import TrainingRows

Folds = Allowed("0, or 2 or more", lambda value: value == 0 or value >= 2)
BOXES = {
    "": "name data output private actions device seed",
    "data": "split folds fold stills",
    "run": "start allow_chance amp shard workers cache store_limit json",
}
"""The options in the boxes of the help; the short one shows the first, and the recipe's preset."""
EXAMPLE = "masquerade train spact --data mimes/manifest.csv -o run/"


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """Train an anonymizer: the action must stay readable, and what is private must not."""

    # the method: spact, vita, bdq, noise-features, stprivacy. Its own arguments follow.
    name: Positional[str]
    data: Path  # a manifest with splits; only its train and validation clips are read.
    # a new folder, or one of an interrupted run of this command, which is then resumed.
    output: Annotated[Path, arg(aliases=["-o"])]
    split: str | None = None  # the split column to use; by default all of them.
    # number of folds, cut as by `masquerade evaluate`, of which one is left out; split columns are
    # then ignored.
    folds: Annotated[int, Folds] = 0
    fold: NonNegativeInt = 0  # the fold that is left out, from 0.
    # train on clips of these actions only, separated by commas; by default all.
    actions: str | None = None
    private: str | None = None  # columns to hide, separated by commas; by default all attributes.
    # the folder of another run of this recipe, from whose weights this run starts.
    start: Path | None = None
    # go on where the action was not learned, to try a training out: what comes of it is no
    # anonymizer.
    allow_chance: bool = False
    # another manifest, such as one of pictures, on which the adversary is trained.
    stills: Path | None = None
    seed: Seed = 0  # random seed of initial weights, order of clips and everything else drawn.
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps.
    amp: bool = False  # half precision in the networks (bfloat16, where the device has it).
    # under torchrun, divide the anonymizer and its optimizer state among the processes (FSDP).
    shard: bool = False
    workers: PositiveInt = 1  # processes that read videos.
    # a folder for extracted clips, which other runs on the same data reuse.
    cache: Path | None = None
    # GB that clips may take on the disk; above it they are made anew from the videos whenever they
    # are read.
    store_limit: NonNegativeFloat = STORE_LIMIT_GB
    json: bool = False  # print the result as JSON.


@dataclass(frozen=True)
class _RecipeOptions:
    """Recipe options for the help without a method: a method's own would import torch."""

    # Take the settings of tiny (minutes on two cores), paper, or code (the paper's code, where
    # omega is 1).
    preset: Literal["tiny", "paper", "code"] = "tiny"


def main(argv: list[str]) -> int:
    """Run the verb, and return its exit code: 1 where what was trained has collapsed."""
    if asks_for_help(argv):
        parse(argv)
    from masquerade.checkpoint import STATE, WEIGHTS
    from masquerade.extraction.store import ClipCache
    from masquerade.training.distributed import (
        claim_failure,
        is_main_process,
        own_device,
        refuse_sharding_alone,
        under_torchrun,
    )
    from masquerade.training.run import SAMPLES, private_labels, train

    options, recipe = _parse_once(argv) if under_torchrun() else parse(argv)
    own_device(options.device)  # refused before videos are read
    if options.shard:
        refuse_sharding_alone()
    manifest = read_manifest(options.data)
    if options.actions is not None:
        manifest = select_actions(manifest, split_commas(options.actions))
    rows, stills = select_rows(manifest, options), _read_stills(options)
    private = None
    if options.private is not None:
        private = tuple(dict.fromkeys(split_commas(options.private)))
    try:
        with StepProgress(quiet=options.json or not is_main_process()) as progress:
            talk = progress.print_line
            if options.folds and manifest.of_role("split"):
                talk(
                    f"Fold {options.fold} of {options.folds} is left out; the manifest's own split "
                    "is ignored."
                )
            if (options.output / STATE).exists() and not (options.output / WEIGHTS).exists():
                talk(f"{options.output} holds an unfinished run: resuming it.")
            hidden = private_labels(*(stills or (manifest, rows)), private)
            talk(plan_line(recipe, rows, hidden))
            for note in filter(None, [rows.note, stills and stills[1].note]):
                talk(note)
            trained = train(
                manifest,
                recipe,
                rows,
                options.output,
                private=private,
                stills=stills,
                seed=options.seed,
                device=options.device,
                amp=options.amp,
                workers=options.workers,
                cache=ClipCache(folder=options.cache, limit=options.store_limit * 1e9, report=talk),
                start=options.start,
                allow_chance=options.allow_chance,
                shard=options.shard,
                command=command_to_keep("train", argv),
                report=talk,
                loading=partial(progress.follow, "reading videos"),
                progress=lambda epoch: talk(epoch_line(epoch)),
                stepped=lambda phase, done, of: progress.follow(
                    "training step", done, of, now=phase, most=True
                ),
            )
    except (KeyboardInterrupt, MasqueradeError) as error:
        # Of several processes one may find another gone before it hears of the interruption.
        if not (INTERRUPTED.is_set() or isinstance(error, KeyboardInterrupt)):
            raise
        has_state = (options.output / STATE).exists()
        hint = "run the same command again to resume" if has_state else "no epoch was done yet"
        if claim_failure():
            print(f"masquerade: interrupted; {hint}.", file=sys.stderr)
        return 130
    if not is_main_process():
        return 0
    if options.json:
        print(json.dumps(_as_json(trained, options.output), indent=1))
    else:
        print(f"{escape(options.output)}: {len(trained.history)} epochs in {trained.seconds:.0f} s")
        print(f"{escape(options.output / SAMPLES)} shows raw clips: give away {WEIGHTS} alone.")
    for note in trained.collapse:
        print(f"masquerade: this run has collapsed: {note}.", file=sys.stderr)
    for warning in trained.warnings:
        print(f"masquerade: this run is in doubt: {warning}.", file=sys.stderr)
    # Claimed before torchrun ends the others, so that none of them reports a failure.
    return 1 if trained.collapse and claim_failure() else 0


def parse(argv: list[str]) -> tuple[Options, AdversarialRecipe]:
    """Options, and the recipe that the flags ask for."""
    name = argv[0] if argv and not argv[0].startswith("-") else ""
    boxes = boxes_of(Options, BOXES)

    def words(method: str) -> dict[str, Any]:
        about = "`masquerade train METHOD --help-all` lists another's."
        description = f"{EXAMPLE}\n\n{Options.__doc__}\n\nThese are the flags of {method}; {about}"
        return {"verb": "masquerade train", "description": description}

    if not name and "--help-all" not in argv and {"-h", "--help"} & set(argv):
        short = {"": boxes[""], "recipe": Box(_RecipeOptions, ["preset"])}
        parse_boxes(argv, {**boxes, **short}, **words("spact"), short=short)
    import torch

    from masquerade.checkpoint import arguments
    from masquerade.methods import METHODS
    from masquerade.training.recipes import RECIPES, recipe_function

    if not name and not HELP & set(argv):
        raise UsageError(f"name a method of {', '.join(RECIPES)} first, as in: {EXAMPLE}")
    make_recipe = recipe_function(name or "spact")
    default = make_recipe(preset=flag_value(argv, ("--preset",)) or "tiny")
    make_method = partial(METHODS[default.method], **default.arguments)
    with torch.device("meta"):  # the network is built for its arguments alone, without weights
        *parsed, recipe, anonymizer = parse_boxes(
            argv,
            {**boxes, "recipe": Box(make_recipe), default.method: Box(make_method)},
            **words(default.method),
            short={"": boxes[""], "recipe": Box(make_recipe, ["preset"])},
        )
    options = Options(**ChainMap(*parsed))
    if options.start is not None and flag_value(argv, ("--until-pretrain",)) is not None:
        raise UsageError("--start leaves out the pretraining, so leave out --until-pretrain.")
    if options.fold and not options.folds:
        raise UsageError("--fold is one of --folds; give both.")
    if options.folds and options.split is not None:
        raise UsageError("--folds leaves no room for a --split; give one of them.")
    if options.folds and options.fold >= options.folds:
        raise UsageError("--fold is from 0 to below --folds.")
    return options, recipe.with_arguments(arguments(anonymizer))


def _parse_once(argv: list[str]) -> tuple[Options, AdversarialRecipe]:
    """`parse` under torchrun: one process alone prints the help or the usage error."""
    from masquerade.training.distributed import claim_failure

    printed = StringIO()
    try:
        with redirect_stderr(printed), redirect_stdout(printed):
            return parse(argv)
    except SystemExit:
        if claim_failure():
            print(printed.getvalue(), end="", file=sys.stderr)
        raise


def select_rows(manifest: Manifest, options: Options) -> TrainingRows:
    """The rows that a run may use."""
    from masquerade.evaluation.protocols import protocols
    from masquerade.training.rows import hold_out_validation, training_rows

    if not options.folds:
        return training_rows(manifest, column=options.split, seed=options.seed)
    all_protocols = protocols(manifest, folds=options.folds)
    tested = np.concatenate([protocol.folds[options.fold].test for protocol in all_protocols])
    rows = np.setdiff1d(np.arange(len(manifest)), tested)
    column = Column(name="split", role="split", kind="classes")
    split = manifest.with_cells(column, ["train"] * len(manifest))
    return hold_out_validation(split, rows, "split", seed=options.seed)


def plan_line(recipe: AdversarialRecipe, rows: TrainingRows, private: Sequence[str]) -> str:
    """What is about to be done, in words."""
    phases = [f"{phase.name} (at most {phase.epochs})" for phase in recipe.phases]
    labelled = any(adversary.objective.needs_labels for adversary in recipe.adversaries)
    hidden = f" to hide {', '.join(private)}" if private and labelled else ""
    return (
        f"About to train {recipe.method}{hidden} on {len(rows.train)} clips, with "
        f"{len(rows.validation)} others held out to judge by. Phases, and their epochs: "
        f"{', '.join(phases)}."
    )


def epoch_line(progress: TrainingProgress) -> str:
    """One epoch in words."""
    row = progress.row
    line = (
        f"epoch {progress.epoch} of at most {progress.epochs}, {progress.phase}: "
        f"action {row['val_utility']:.2f} (chance {row['chance_utility']:.2f}), "
        f"L1 to raw {row['val_reconstruction']:.3f}"
    )
    if not math.isnan(row["val_adversary_share"]):
        line += f", adversary loss {row['val_adversary_share']:.2f} \N{MULTIPLICATION SIGN} chance"
    return "\n  ".join([line, *progress.collapse])


def _read_stills(options: Options) -> tuple[Manifest, TrainingRows] | None:
    if options.stills is None:
        return None
    from masquerade.training.rows import training_rows

    manifest = read_manifest(options.stills)
    if not manifest.of_role("split"):
        raise UsageError(
            f"{options.stills} has no split column: what is tested must not be learned from; "
            "add one, which is train, val or test."
        )
    return manifest, training_rows(manifest, seed=options.seed)


def _as_json(trained: TrainedAnonymizer, folder: Path) -> dict[str, Any]:
    last = {k: None if math.isnan(v) else v for k, v in trained.history[-1].items()}
    facts = {"run": str(folder), "epochs": len(trained.history), "seconds": trained.seconds}
    return {**facts, "last": last, "notes": [*trained.collapse], "warnings": [*trained.warnings]}
