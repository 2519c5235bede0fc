"""A training run from a manifest to a folder: clips, recipe, log, samples and the anonymizer."""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import STATE, WEIGHTS, arguments, load, read_provenance, write_weights
from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.overlap import UNKNOWN, fingerprints
from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.extraction.store import ClipCache
from masquerade.file_locks import claim_folder
from masquerade.methods import METHODS, method_name
from masquerade.storage import atomic_write
from masquerade.training.adversarial_data import AdversarialData
from masquerade.training.adversarial_models import build_models
from masquerade.training.adversarial_training import (
    OnStep,
    TrainedAnonymizer,
    TrainingProgress,
    train_adversarially,
)
from masquerade.training.clips import (
    count_skipped,
    describe_skipped,
    extract_training_clips,
    pair_recipe,
    still_recipe,
)
from masquerade.training.distributed import is_main_process
from masquerade.training.engine import digest_inputs
from masquerade.training.frame_pairs import FREE, Gap, frames_on_grid
from masquerade.training.objectives import ObjectiveBatch, Pairs
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.rows import TrainingRows
from masquerade.training.step_time import StepTimer

LOG, SAMPLES = "log.csv", "samples"
LOG_START = b"epoch,phase,updates,"  # other programs' logs begin with an epoch, too


def train(
    manifest: Manifest,
    recipe: AdversarialRecipe,
    rows: TrainingRows,
    folder: Path,
    *,
    private: Sequence[str] | None = None,
    stills: tuple[Manifest, TrainingRows] | None = None,
    seed: int = 0,
    device: str = "auto",
    amp: bool = False,
    workers: int = 1,
    cache: Path | ClipCache | None = None,
    start: Path | None = None,
    allow_chance: bool = False,
    shard: bool = False,
    command: str = "",
    report: Callable[[str], None] | None = None,
    loading: Callable[[int, int], None] | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
    stepped: OnStep | None = None,
) -> TrainedAnonymizer:
    """Train an anonymizer and leave it in a folder; interrupted, the same call resumes.

    Args:
        manifest: of the clips.
        recipe: the recipe.
        rows: of the manifest; only these are read.
        folder: gets the anonymizer, log.csv and samples/.
        private: label columns that are to go; None: all attributes.
        stills: a second data set for the adversary, such as pictures.
        seed: of everything that is drawn.
        device: auto, cpu, cuda, cuda:N, mps.
        amp: half precision in the networks.
        workers: processes that read videos.
        cache: a folder of clips, or one with a limit; None: a temporary one.
        start: another run of this recipe, from whose anonymizer this one starts.
        allow_chance: go on where the action was not learned, to try a training out.
        shard: divide the anonymizer among the processes that torchrun started.
        command: kept with the weights, as it is.
        report: called with a line about clips that are left out, before the first epoch.
        loading: called with (videos read, videos in all).
        progress: called after each epoch.
        stepped: called after each step.

    Raises:
        UsageError: the folder holds a finished run, another training is at work there, or labels
            are missing.
        MasqueradeError: clips cannot be read, or the action was not learned.
    """
    check_inputs(recipe, stills=stills is not None, private=private)
    _refuse_finished(folder)
    _refuse_file(folder)
    _refuse_others_files(folder)
    started = None if start is None else _load_start(start, recipe)
    if started is not None:
        recipe = recipe.for_started()
    extract = partial(extract_training_clips, workers=workers, cache=cache)
    data = _load_data(
        manifest,
        rows,
        recipe,
        private=private,
        stills=stills,
        extract=extract,
        loading=loading,
        least_actions=1 if allow_chance else 2,
    )
    left_out = [describe_skipped(manifest, data.train)]
    if stills is not None and data.stills is not None:
        left_out.append(describe_skipped(stills[0], data.stills))
    doubts = tuple(filter(None, left_out))
    if report is not None:
        for line in doubts:
            report(f"{line}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; choose another.") from error
    timer = StepTimer(folder=folder)

    def step(phase: str, done: int, most: int) -> None:
        if is_main_process():
            timer.follow(phase, done, most)
        if stepped is not None:
            stepped(phase, done, most)

    busy = f"another training is at work in {folder}: wait for its end, or choose another -o."
    with claim_folder(folder, busy) if is_main_process() else nullcontext():
        learned = []
        if is_main_process():
            _refuse_finished(folder)  # it may have ended while videos were read
            used = [(manifest, rows), *([] if stills is None else [stills])]
            learned = learned_fingerprints(used, start)  # now, while videos and start are there
        trained = train_adversarially(
            recipe,
            data,
            seed=seed,
            device=device,
            amp=amp,
            log=folder / LOG,
            samples=folder / SAMPLES,
            resume=folder / STATE,
            start=started,
            allow_chance=allow_chance,
            shard=shard,
            progress=progress,
            stepped=step,
        )
        if is_main_process():
            about = _provenance(trained, data, recipe, seed=seed, command=command)
            about["learned"] = learned
            trained.anonymizer.warnings = tuple(about["notes"])
            trained.anonymizer.provenance = about
            with atomic_write(folder / WEIGHTS) as part:
                write_weights(trained.anonymizer, part)
            (folder / STATE).unlink(missing_ok=True)
            timer.end()
    return replace(trained, warnings=(*doubts, *trained.warnings))


def check_inputs(recipe: AdversarialRecipe, *, stills: bool, private: Sequence[str] | None) -> None:
    """Raise UsageError where a recipe's adversaries can use no pictures, gaps or labels to hide."""
    _check_private(recipe, private)
    spaced = recipe.gap not in (None, FREE)  # else pairs are left out where there are pictures
    if (stills or recipe.gap is not None) and not METHODS[recipe.method].framewise:
        flag = "--stills" if stills else "--gap"
        raise UsageError(
            f"{recipe.method} needs the frames around each frame, so leave out {flag}."
        )
    if not stills:
        return
    objectives = [adversary.objective for adversary in recipe.adversaries]
    if not objectives:
        raise UsageError("There is no adversary here, so leave out --stills.")
    if spaced or any(isinstance(o, Pairs) and o.segments for o in objectives):
        raise UsageError("A picture is one frame: leave out --gap and --segments, or --stills.")


def _check_private(recipe: AdversarialRecipe, private: Sequence[str] | None) -> None:
    """Raise UsageError where private labels are named and no adversary learns labels."""
    if private is None or any(adversary.objective.needs_labels for adversary in recipe.adversaries):
        return
    if not recipe.adversaries:
        raise UsageError(f"{recipe.method} has no adversary here, so leave out --private.")
    raise UsageError(
        f"The adversary of {recipe.method} learns from frames without labels, so leave out "
        "--private, or give --objective labels."
    )


def _check_networks(
    recipe: AdversarialRecipe,
    *,
    utility: Mapping[str, int],
    private: Mapping[str, int],
    stills: bool,
) -> None:
    """Refuse networks and files of weights that cannot be used, before any video is read."""
    models = build_models(recipe, utility=utility, private=private, seed=0).eval()
    clip = torch.zeros(2, 3, recipe.frames, *recipe.size)
    pair = clip[:, :, :2] if stills or recipe.gap is not None else clip
    with torch.no_grad():
        models.utility(clip)
        for adversary, net in zip(recipe.adversaries, models.adversary, strict=True):
            objective = adversary.objective
            try:
                if objective.needs_labels:
                    net(clip[:, :, :1] if stills else clip)
                else:
                    objective.loss(net, ObjectiveBatch(pair, {}, torch.Generator()))
            except UsageError as error:
                raise UsageError(
                    f"--adversary {adversary.network} cannot read what it would be given: {error}"
                ) from error


def _refuse_finished(folder: Path) -> None:
    """Refuse a folder with weights, and remove the state that an interruption left beside them."""
    if (folder / WEIGHTS).exists():
        (folder / STATE).unlink(missing_ok=True)
        StepTimer(folder=folder).end()
        raise UsageError(f"{folder} holds a finished run; choose another -o.")


def _refuse_file(folder: Path) -> None:
    """Refuse a folder that is a file, or below one, before any video is read."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
        raise UsageError(f"{there} is a file; choose another -o, a folder.")


def _refuse_others_files(folder: Path) -> None:
    """Refuse a folder in which a run would replace what no run wrote.

    A run writes its log, empty at first, before anything else.
    """
    log, samples = folder / LOG, folder / SAMPLES
    named = SAMPLES if samples.is_dir() and any(samples.iterdir()) else None
    try:
        with log.open("rb") as file:
            begun = file.read(len(LOG_START))
        if begun:
            named = None if begun == LOG_START else LOG
    except FileNotFoundError:
        pass
    except OSError:  # such as a folder of that name
        named = LOG
    if named is not None:
        raise UsageError(f"{folder} holds a {named} that no training wrote; choose another -o.")


def _load_data(
    manifest: Manifest,
    rows: TrainingRows,
    recipe: AdversarialRecipe,
    *,
    private: Sequence[str] | None,
    stills: tuple[Manifest, TrainingRows] | None,
    extract: Callable[..., tuple[ClipDataset, ClipDataset]],
    loading: Callable[[int, int], None] | None,
    least_actions: int = 2,  # among held-out clips
) -> AdversarialData:
    """Read the labels, and extract the clips by `extract_training_clips`."""
    actions = [column.name for column in manifest.of_role("action") if column.kind != "fact"]
    if not actions:
        raise UsageError("The manifest has no column with an action to keep.")
    _check_actions(manifest, actions, rows.train)
    _check_held_out(manifest, actions, rows.validation, least_actions)
    labelled, labelled_rows = (manifest, rows) if stills is None else stills
    names = private_labels(labelled, labelled_rows, private)
    utility = {name: _outputs(manifest, name) for name in actions}
    hidden = {name: _outputs(labelled, name) for name in names}
    if not hidden and any(adversary.objective.needs_labels for adversary in recipe.adversaries):
        raise UsageError(
            "This adversary learns private labels, and no attribute has two values or more among "
            "the clips to learn from: add a column such as identity, or take an adversary that "
            "needs no labels, such as spact's."
        )
    _check_networks(recipe, utility=utility, private=hidden, stills=stills is not None)
    learn, held_out = extract(manifest, rows, recipe, progress=loading)
    gap = recipe.gap if stills is None else None
    pairs: ClipDataset | None = None
    pair_validation: ClipDataset | None = None
    if gap is not None:
        pairs, pair_validation = extract(manifest, rows, pair_recipe(recipe, gap))
        learn, pairs = _in_common(learn, pairs)
        held_out, pair_validation = _in_common(held_out, pair_validation)
    _check_actions(manifest, actions, learn.rows)  # again, without clips that cannot be read
    _check_held_out(manifest, actions, held_out.rows, least_actions)
    targets = {name: manifest.targets(name) for name in actions}
    data = AdversarialData(
        train=learn,
        validation=held_out,
        targets=targets,
        utility=utility,
        private=hidden,
        pairs=pairs,
        pair_validation=pair_validation,
    )
    if gap is not None and gap.stride is not None and pairs is not None:
        _check_lengths(pairs, gap)
    if stills is None:
        codes = {name: _learnable(manifest.targets(name), learn.rows) for name in names}
        return replace(data, targets={**data.targets, **codes})
    learn, held_out = extract(*stills, still_recipe(recipe))
    codes = {name: _learnable(labelled.targets(name), learn.rows) for name in names}
    return replace(data, stills=learn, still_validation=held_out, still_targets=codes)


def _in_common(clips: ClipDataset, pairs: ClipDataset) -> tuple[ClipDataset, ClipDataset]:
    """Keep the rows that both clips and pairs have: a video may be lost between their readings."""
    skipped = {**clips.skipped, **pairs.skipped}
    both = clips.of_rows(pairs.rows), pairs.of_rows(clips.rows)
    return replace(both[0], skipped=skipped), replace(both[1], skipped=skipped)


def _check_actions(manifest: Manifest, actions: Sequence[str], rows: IntArray) -> None:
    """Refuse clips to learn from that have one action only."""
    learned = manifest.take(rows)
    for name in actions:
        if learned.count_values(name) < 2:
            raise UsageError(
                f"All clips to learn from have the same {name} or none, so there is nothing to "
                "tell from another; give clips of several."
            )


def _check_held_out(manifest: Manifest, actions: Sequence[str], rows: IntArray, least: int) -> None:
    """Refuse held-out clips of fewer than `least` actions: a single one is always guessed right."""
    held_out = manifest.take(rows)
    if all(held_out.count_values(name) < least for name in actions):
        raise UsageError(
            "The clips that are held out have one action or none, so that nothing would tell "
            f"whether it is still recognised; give clips of two or more values of "
            f"{' or '.join(actions)} in val."
        )


def _check_lengths(learn: ClipDataset, gap: Gap) -> None:
    """Refuse videos of which most are too short for pairs of frames with a gap."""
    short = 0
    for clips in clip_loader(learn, torch.split(torch.arange(len(learn)), 64)):
        short += int((frames_on_grid(clips[:, :, : gap.frames], gap) <= gap.steps[0]).sum())
    if 2 * short > len(learn):
        raise UsageError(
            f"{short} of {len(learn)} videos are too short for pairs of frames that are "
            f"{gap.least} or more apart; give longer ones, or another --gap."
        )


def _load_start(start: Path, recipe: AdversarialRecipe) -> Anonymizer:
    """Load the anonymizer of another run, which must be of the same shape."""
    anonymizer = load(start)
    own = arguments(anonymizer)
    wanted = {k: v for k, v in recipe.arguments.items() if k not in anonymizer.inference_args}
    different = sorted(key for key, value in wanted.items() if own.get(key, value) != value)
    if method_name(anonymizer) != recipe.method or different:
        what = f"{different[0]} {own[different[0]]}" if different else method_name(anonymizer)
        raise UsageError(f"Training cannot start from {start}: it is of {what}; name another run.")
    return anonymizer


def private_labels(
    manifest: Manifest, rows: TrainingRows, wanted: Sequence[str] | None
) -> list[str]:
    """Return the private labels asked for, or all attributes that differ among the clips."""
    learned = manifest.take(rows.train)
    if wanted is None:
        names = [column.name for column in manifest.of_role("attribute") if column.kind != "fact"]
        return [name for name in names if learned.count_values(name) > 1]
    if not wanted:
        raise UsageError("--private names no column; name some, or leave it out to hide all.")
    for name in wanted:
        if manifest.column(name).role != "attribute":
            raise UsageError(f"Column {name!r} is no private attribute; leave it out.")
        if learned.count_values(name) < 2:
            raise UsageError(
                f"Column {name!r} has one value or none in all clips to learn from, so there is "
                "nothing to hide; leave it out."
            )
    return list(wanted)


def _outputs(manifest: Manifest, name: str) -> int:
    column = manifest.column(name)
    return 1 if column.kind == "binary" else len(column.values)


def learned_fingerprints(
    used: Sequence[tuple[Manifest, TrainingRows]], start: Path | None
) -> list[str]:
    """Return fingerprints of all clips that a run learned from, which may not test it."""
    marks: list[str] = []
    for manifest, rows in used:
        marks += fingerprints(manifest, [*rows.train.tolist(), *rows.validation.tolist()])
    return marks + ([] if start is None else read_provenance(start).get("learned", [UNKNOWN]))


def _learnable(codes: IntArray, train_rows: IntArray) -> IntArray:
    """Count labels that no training clip has, such as other people's names, as unknown."""
    if codes.ndim == 2:
        return np.where((codes[train_rows] > 0).any(axis=0), codes, -1)
    return np.where(np.isin(codes, codes[train_rows]), codes, -1)


def _provenance(
    trained: TrainedAnonymizer,
    data: AdversarialData,
    recipe: AdversarialRecipe,
    *,
    seed: int,
    command: str,
) -> dict[str, Any]:
    """Where weights come from, so that somebody can make them again; it names no folder."""
    from masquerade import __version__

    codes = [torch.as_tensor(values) for values in data.targets.values()]
    if recipe.image_weights is not None:
        recipe = replace(recipe, image_weights=Path(recipe.image_weights).name)
    sides = [(data.train, data.validation), (data.stills, data.still_validation)]
    unread = [count_skipped(a, b) for a, b in sides if a is not None and b is not None]
    return {
        "command": command,
        "data": digest_inputs([data.train.digest, data.validation.digest], codes),
        "clips": {"train": len(data.train), "validation": len(data.validation)},
        "seed": seed,
        "recipe": str(recipe),
        "epochs": len(trained.history),
        "last": {k: value for k, value in trained.history[-1].items() if value == value},
        "notes": [*trained.anonymizer.warnings, *filter(None, unread)],
        "versions": {
            "masquerade": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
