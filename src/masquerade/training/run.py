"""A training run from a manifest to a folder: clips, game, log, pictures, and the anonymizer."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import STATE, WEIGHTS, arguments, load, provenance_of, save
from masquerade.datasets.fingerprints import UNKNOWN, fingerprints
from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.splits import carve_validation
from masquerade.errors import MasqueradeError, UsageError
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.extraction.extract import extract_clips
from masquerade.methods import name_of
from masquerade.storage import atomic_write
from masquerade.training.game import Game, going_on
from masquerade.training.minimax import Played, Progress, play
from masquerade.training.pairs import Gap
from masquerade.training.ranks import speaks
from masquerade.training.record import digest
from masquerade.training.sides import Data

VALIDATION = 0.15  # of train, whole groups of people, where the manifest has no validation split
LOG, SAMPLES = "log.csv", "samples"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Rows of a manifest that a run may see; test rows are in neither.

    Args:
        train: to learn from.
        validation: to end phases by.
    """

    train: IntArray
    validation: IntArray


def train(
    manifest: Manifest,
    game: Game,
    parts: Parts,
    folder: Path,
    *,
    private: Sequence[str] | None = None,
    stills: tuple[Manifest, Parts] | None = None,
    seed: int = 0,
    device: str = "auto",
    amp: bool = False,
    workers: int = 1,
    cache: Path | None = None,
    start: Path | None = None,
    command: str = "",
    loading: Callable[[int, int], None] | None = None,
    progress: Progress | None = None,
) -> Played:
    """Train an anonymizer and leave it in a folder; interrupted, the same call goes on.

    Args:
        manifest: of the clips.
        game: the recipe.
        parts: rows of the manifest; only these are read.
        folder: gets the anonymizer, log.csv and samples/.
        private: label columns that are to go; None: all attributes.
        stills: a second data set for the adversary, such as pictures.
        seed: of everything that is drawn.
        device: auto, cpu, cuda, cuda:N, mps.
        amp: bfloat16 in the networks.
        workers: processes that read videos.
        cache: a folder for clips that were read before.
        start: another run of this recipe, which this one goes on from.
        command: kept beside the weights.
        loading: called with (videos read, videos in all).
        progress: called after each epoch.

    Raises:
        UsageError: the folder holds a finished run, or labels are missing.
        MasqueradeError: clips cannot be read, or the action was not learned.
    """
    if (folder / WEIGHTS).exists():
        raise UsageError(f"{folder} holds a finished run; choose another -o.")
    first = None if start is None else _first(start, game)
    if first is not None:
        game = going_on(game)
    own = private if stills is None else []  # else they are labels of the second data set
    sides = _data(manifest, game, parts, own, workers, cache, loading)
    if game.gap is not None:
        sides = _with_pairs(sides, game, game.gap, manifest, parts, workers, cache)
    if stills is not None:
        sides = _with_stills(sides, game, stills, private, workers, cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; choose another.") from error
    played = play(
        game,
        sides,
        seed=seed,
        device=device,
        amp=amp,
        log=folder / LOG,
        samples=folder / SAMPLES,
        resume=folder / STATE,
        start=first,
        progress=progress,
    )
    if speaks():
        about = _provenance(played, sides, game, seed=seed, command=command)
        seen = [(manifest, parts), *([] if stills is None else [stills])]
        about["learned"] = _learned(seen, start)
        with atomic_write(folder / WEIGHTS) as part:
            save(played.anonymizer, part, provenance=about)
        (folder / STATE).unlink(missing_ok=True)
    return played


def parts_of(manifest: Manifest, *, column: str | None = None, seed: int = 0) -> Parts:
    """The rows to learn from: train in every split column, so that no test split is seen.

    Args:
        manifest: of the clips.
        column: the one split column that counts; None: all of them.
        seed: of what is carved off for validation where there is none.
    """
    names = [column] if column else [one.name for one in manifest.of_role("split")]
    if not names:
        raise UsageError(
            "The manifest has no split column: what is tested must not be learned from; add one, "
            "or leave out a fold with --folds and --fold."
        )
    cells = np.array([manifest.cells(name) for name in names])  # (columns, rows)
    learn = np.flatnonzero((cells == "train").all(axis=0))
    held = np.flatnonzero((cells == "val").any(axis=0) & (cells != "test").all(axis=0))
    if not len(learn):
        raise UsageError(f"No clip is in train of {' and '.join(names)}; name one with --split.")
    if len(held) > 1:
        return Parts(train=learn, validation=held)
    return carved(manifest, learn, names[0], seed=seed)


def carved(manifest: Manifest, rows: IntArray, column: str, *, seed: int = 0) -> Parts:
    """Whole groups of people of some rows, held out for validation.

    Args:
        manifest: of the clips.
        rows: that may be learned from, all of them train in `column`.
        column: a split column.
        seed: which groups.
    """
    mine = carve_validation(manifest.take(rows), name=column, fraction=VALIDATION, seed=seed)
    cells = np.array(mine.cells(column))
    return Parts(train=rows[cells == "train"], validation=rows[cells == "val"])


def _data(
    manifest: Manifest,
    game: Game,
    parts: Parts,
    private: Sequence[str] | None,
    workers: int,
    cache: Path | None,
    loading: Callable[[int, int], None] | None = None,
) -> Data:
    actions = [one for one in manifest.of_role("action") if one.kind != "fact"]
    if not actions:
        raise UsageError("The manifest has no column with an action to keep.")
    for column in actions:
        if len(np.unique(manifest.targets(column.name)[parts.train])) < 2:
            raise UsageError(
                f"All clips to learn from have the same {column.name}, so there is none to tell "
                "from another; give clips of several."
            )
    learn, held = _clips(manifest, game, parts, workers, cache, loading)
    names = _private(manifest, parts, private)
    targets = {one.name: manifest.targets(one.name) for one in actions}
    targets |= {name: _known(manifest.targets(name), learn.rows) for name in names}
    return Data(
        train=learn,
        validation=held,
        targets=targets,
        utility={one.name: _outputs(manifest, one.name) for one in actions},
        private={name: _outputs(manifest, name) for name in names},
    )


def _with_pairs(
    data: Data,
    game: Game,
    gap: Gap,
    manifest: Manifest,
    parts: Parts,
    workers: int,
    cache: Path | None,
) -> Data:
    one = replace(game, frames=gap.frames, stride=gap.stride, stored=None, padding="repeat")
    learn, held = _clips(manifest, one, parts, workers, cache, None)
    short = 0
    for clips in clip_loader(learn, torch.split(torch.arange(len(learn)), 64)):
        late = clips[:, :, gap.steps[0] - 1 :]  # the last frame again, where the video has ended
        short += int((late == late[:, :, :1]).flatten(1).all(1).sum())
    if 2 * short > len(learn):
        raise UsageError(
            f"{short} of {len(learn)} videos are too short for pairs of frames that are "
            f"{gap.least} or more apart; give longer ones, or another --gap."
        )
    return replace(data, apart=learn, apart_validation=held)


def _with_stills(
    data: Data,
    game: Game,
    stills: tuple[Manifest, Parts],
    private: Sequence[str] | None,
    workers: int,
    cache: Path | None,
) -> Data:
    manifest, parts = stills
    one = replace(game, frames=1, stride=None, stored=None)
    learn, held = _clips(manifest, one, parts, workers, cache, None)
    names = _private(manifest, parts, private)
    return replace(
        data,
        private={name: _outputs(manifest, name) for name in names},
        stills=learn,
        still_validation=held,
        still_targets={name: _known(manifest.targets(name), learn.rows) for name in names},
    )


def _clips(
    manifest: Manifest,
    game: Game,
    parts: Parts,
    workers: int,
    cache: Path | None,
    loading: Callable[[int, int], None] | None,
) -> tuple[ClipDataset, ClipDataset]:
    """Clips to learn from and held out, their rows those of the whole manifest."""
    rows = np.sort(np.concatenate([parts.train, parts.validation]))
    try:
        found = extract_clips(
            manifest.take(rows),
            frames=game.stored or game.frames,
            size=game.size,
            stride=game.stride,
            padding=game.padding,
            workers=workers,
            cache=cache,
            progress=loading,
        )
    except UsageError as error:  # not one clip could be read: the data is at fault
        raise MasqueradeError(str(error)) from error
    store = replace(found, rows=rows[found.rows])
    return store.of_rows(parts.train), store.of_rows(parts.validation)


def _first(start: Path, game: Game) -> Anonymizer:
    """The anonymizer of another run, which must be of the same shape."""
    found = load(start)
    wanted = {
        key: value for key, value in game.arguments.items() if key not in found.inference_args
    }
    own = arguments(found)
    apart = sorted(key for key, value in wanted.items() if own.get(key, value) != value)
    if name_of(found) != game.method or apart:
        what = f"{apart[0]} {own[apart[0]]}" if apart else name_of(found)
        raise UsageError(f"{start} cannot be gone on from: it is of {what}; choose another run.")
    return found


def _private(manifest: Manifest, parts: Parts, wanted: Sequence[str] | None) -> list[str]:
    """Columns that are to go: those asked for, or all attributes that differ among the clips."""
    if wanted is not None:
        for name in wanted:
            if manifest.column(name).role != "attribute":
                raise UsageError(f"Column {name!r} is no private attribute; leave it out.")
        return list(wanted)
    found = []
    for column in manifest.of_role("attribute"):
        if column.kind != "fact" and len(np.unique(manifest.targets(column.name)[parts.train])) > 1:
            found.append(column.name)
    return found


def _outputs(manifest: Manifest, name: str) -> int:
    column = manifest.column(name)
    return 1 if column.kind == "binary" else len(column.values)


def _learned(sets: Sequence[tuple[Manifest, Parts]], start: Path | None) -> list[str]:
    """Fingerprints of all clips that a run saw, so that nobody tests it on one of them.

    Those too that the run before it saw; where that one kept none, that is among them.
    """
    before = [] if start is None else provenance_of(start).get("learned", [UNKNOWN])
    return [
        *(
            mark
            for manifest, parts in sets
            for mark in fingerprints(manifest, [*parts.train.tolist(), *parts.validation.tolist()])
        ),
        *before,
    ]


def _known(codes: IntArray, learned: IntArray) -> IntArray:
    """Labels that nobody could have learned, such as other people's names, count as unknown."""
    if codes.ndim == 2:
        return codes
    return np.where(np.isin(codes, codes[learned]), codes, -1)


def _provenance(
    played: Played, data: Data, game: Game, *, seed: int, command: str
) -> dict[str, Any]:
    """Where weights come from, so that somebody can make them again."""
    from masquerade import __version__

    codes = [torch.as_tensor(values) for values in data.targets.values()]
    last: Mapping[str, float] = played.history[-1]
    return {
        "command": command,
        "data": digest([data.train.digest, data.validation.digest], codes),
        "clips": {"train": len(data.train), "validation": len(data.validation)},
        "seed": seed,
        "recipe": str(game),
        "epochs": len(played.history),
        "last": {name: value for name, value in last.items() if value == value},
        "notes": [*(f"training collapsed: {note}" for note in played.notes), *played.doubts],
        "versions": {
            "masquerade": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
