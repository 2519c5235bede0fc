"""Try a suite out: a few clips of each dataset, tiny networks, one epoch, and void results.

Everything of a suite is done once, so that a missing file or a wrong label is found in minutes
and not after days. Nothing is learned in so little, and no number of it means anything.
"""

import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from masquerade.benchmark.suite import Suite
from masquerade.datasets.manifest import Clip, Column, Manifest, read_manifest, write_manifest
from masquerade.errors import MasqueradeError

CLIPS = 2  # of each value of each label in each part of a split
MOST = 60  # clips of each part in all; datasets of many labels have too many values
DRAWN = {"--clips": 24, "--people": 6, "--frames": 8, "--size": 64}  # at most
FOLDS = {"--folds": 3}  # at most: each is a training, and attackers
TRAINING = "--preset tiny --epochs 1 --batch 2 --allow-chance"
ATTACKS = "--preset many --attackers raw,background"
LARGE = ("--recognizers", "--views", "--padding", "--test-crop")
"""Of whole experiments: large networks, and how their clips of one stride are cut.

`--clip-sampling` stays: small networks have a sampling of their own, too.
"""
VOID = (
    "this is a try-out on a few clips, by networks that learned next to nothing: its numbers mean "
    "nothing"
)


def small_suite(suite: Suite) -> Suite:
    """The suite that a try-out runs: the same tables, with fewer clips drawn, and fewer folds."""
    drawn = {
        name: source if source.draw is None else replace(source, draw=_at_most(source.draw, DRAWN))
        for name, source in suite.data.items()
    }
    tables = tuple(
        replace(table, evaluate=_at_most(table.evaluate, FOLDS)) for table in suite.tables
    )
    return replace(suite, data=drawn, tables=tables)


def _at_most(words: str, most: Mapping[str, int]) -> str:
    """Lower the numbers of some flags to at most these, and add the flags that are not there."""
    for flag, limit in most.items():
        match = re.search(rf"{flag}[ =]+(\d+)", words)
        if match is None:
            words = f"{words} {flag} {limit}"
        elif int(match[1]) > limit:
            words = f"{words[: match.start(1)]}{limit}{words[match.end(1) :]}"
    return words


def trained_words(words: Sequence[str], *, tried: bool = True) -> tuple[str, ...]:
    """The words of `masquerade train`: as they are, or those of a try-out."""
    return _instead(words, TRAINING) if tried else tuple(words)


def attacked_words(words: Sequence[str], *, tried: bool = True) -> tuple[str, ...]:
    """The words of `masquerade evaluate`: as they are, or those of a try-out."""
    return _instead(words, ATTACKS, without=LARGE) if tried else tuple(words)


def _instead(
    words: Sequence[str], replacement: str, *, without: Collection[str] = ()
) -> tuple[str, ...]:
    """Replace flags of a command by those of `replacement`, and remove those of `without`."""
    new = shlex.split(replacement)
    flags = {*without, *(word for word in new if word.startswith("--"))}
    rest: list[str] = []
    dropping = False
    for word in words:
        if word.startswith("--"):
            dropping = word.partition("=")[0] in flags
        if not dropping:
            rest.append(word)
    return (*rest, *new)


def write_tried(whole: Path, out: Path) -> None:
    """Write the manifest of a try-out, with clips whose files are there.

    One that is there already is replaced where it would have other clips by now, as where files
    were added.
    """
    manifest = shrink(read_manifest(whole))
    if not len(manifest):
        raise MasqueradeError(f"None of the files of {whole} is there.")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists() or _clips(read_manifest(out)) != _clips(manifest):
        write_manifest(manifest, out)


def _clips(manifest: Manifest) -> list[tuple[object, ...]]:
    """Real path, frame range and labels of each clip, to compare manifests of two folders."""
    return [
        (os.path.realpath(manifest.path(clip)), clip.first, clip.last, dict(clip.cells))
        for clip in manifest.clips
    ]


def shrink(manifest: Manifest, *, clips: int = CLIPS, most: int = MOST) -> Manifest:
    """Take a few clips: in each part of the splits so many of each value of each label."""
    splits = [column.name for column in manifest.of_role("split")]
    labels = [
        column
        for column in manifest.columns
        if column.role in ("action", "attribute") and column.kind != "fact"
    ]
    seen: Counter[tuple[str, ...]] = Counter()
    taken = []
    for number, clip in enumerate(manifest.clips):
        part = tuple(clip.cells[name] for name in splits)
        values = [(*part, column.name, value) for column in labels for value in _of(clip, column)]
        wanted = any(seen[value] < clips for value in values) and seen[part] < most
        if wanted and (not splits or any(part)) and manifest.path(clip).exists():
            taken.append(number)
            seen.update([part, *values])
    return manifest.take(taken)


def _of(clip: Clip, column: Column) -> list[str]:
    return [value for value in clip.cells[column.name].split("|") if value]
