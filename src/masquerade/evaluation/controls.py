"""The controls of an evaluation: does the attacker work, and does it find what is not there.

Positive: on raw video it must lie above the best trivial attacker. Negative: where labels were
dealt at random it must not. Beside them, what the clips' sizes alone tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masquerade.datasets.manifest import Clip, IntArray, Manifest
from masquerade.evaluation.metric_specs import (
    Sheet,
    Target,
    classes_of,
    guesses_of,
    known,
    many_hot,
    measured,
)
from masquerade.evaluation.protocols import Protocol
from masquerade.evaluation.results import Control, Finding
from masquerade.extraction.video_clips import FOLDER_RATE
from masquerade.metrics.intervals import score
from masquerade.metrics.statistic import Floats, Statistic

Chance = tuple[Statistic, float, IntArray]
"""A learner's statistic, what chance gives, and the groups of the clips."""

DEALS = 2
"""Shuffles. A sound evaluation fails one in forty times; only one that fails twice counts."""


def positive(found: Finding) -> Control:
    """Whether the attacker succeeds on raw video; where test clips are all of one class, it cannot.

    Args:
        found: of raw video.
    """
    floors = [one.value for one in found.floors.values() if one.value is not None]
    floor = max(floors, default=1.0)
    assert found.score is not None
    low = found.score.low
    passed = low is not None and low > floor
    return Control(
        kind="positive", label=found.label, score=found.score, floor=floor, passed=passed
    )


def negative(target: Target, tests: Sequence[Chance]) -> Control:
    """Whether one learner is at chance where labels were shuffled; the best shuffle counts.

    Args:
        target: the label.
        tests: of each shuffle.
    """
    scored = [(score(one, clusters=groups), chance) for one, chance, groups in tests]
    best, chance = min(scored, key=lambda pair: (pair[0].low or 0.0) - pair[1])
    passed = best.low is None or best.low <= chance
    return Control(kind="negative", label=target.name, score=best, floor=chance, passed=passed)


def chance_of(target: Target, sheet: Sheet) -> float:
    """What guessing gives: of classes at least one in so many.

    Args:
        target: the label.
        sheet: of the test clips.
    """
    guess = _guess(target, sheet)
    if target.metric != "top-1":
        return guess
    return max(guess, 1 / sheet.rates[target.columns[0]].shape[1])


SIZES = {"clip size": 2, "clip size and length": 3}
"""How many of width, height and frames the nearest clip is found by."""


def clip_size(
    manifest: Manifest, protocol: Protocol, target: Target, sheet: Sheet, clusters: IntArray
) -> list[Control]:
    """What the nearest clip by width and height, and by length too, tells: no pixel is looked at.

    Args:
        manifest: the clips.
        protocol: whose folds.
        target: the label.
        sheet: of the test clips.
        clusters: (n,) groups of them.
    """
    sizes = sizes_of(manifest, protocol.everyone)
    floor = _guess(target, sheet)
    found = []
    for kind, facts in SIZES.items():
        answers = {
            name: _told_by(sizes[:, :facts], manifest, name, protocol) for name in target.columns
        }
        told = score(measured(target, sheet, answers), clusters=clusters)
        found.append(Control(kind=kind, label=target.name, score=told, floor=floor, passed=None))
    return found


def sizes_of(manifest: Manifest, rows: IntArray) -> Floats:
    """(N, 3) logarithms of width, height and frames, from the manifest or else from the files.

    Args:
        manifest: the clips.
        rows: those that are looked at; the others get nan.
    """
    sizes = np.full((len(manifest), 3), np.nan)
    for row in rows:
        sizes[row] = _size(manifest, manifest.clips[row])
    return sizes


def _guess(target: Target, sheet: Sheet) -> float:
    """The score of the best guess of one who looks at nothing."""
    return max(one.value for one in guesses_of(target, sheet).values())


def _size(manifest: Manifest, clip: Clip) -> list[float]:
    told = [clip.cells.get(name, "") for name in ("width", "height", "frames")]
    if not all(told):
        from masquerade.video.probe import probe

        path = manifest.path(clip)
        info = probe(path, rate=FOLDER_RATE if path.is_dir() else None)
        told = [str(info.width), str(info.height), str(info.frames or 1)]
    if clip.first is not None and clip.last is not None:
        told[2] = str(clip.last - clip.first + 1)
    return [float(np.log(max(1.0, float(number)))) for number in told]


def _told_by(sizes: Floats, manifest: Manifest, label: str, protocol: Protocol) -> Floats:
    codes = manifest.targets(label)
    parts = [
        _nearest(sizes, codes, np.concatenate([f.train, f.validation]), f.test)
        for f in protocol.folds
    ]
    hot = many_hot(np.concatenate(parts), classes_of(manifest, label))
    return 0.9 * hot + 0.1 / hot.shape[1]


def _nearest(sizes: Floats, codes: IntArray, learned: IntArray, asked: IntArray) -> IntArray:
    learned = learned[known(codes[learned])]
    spread = sizes[learned].std(axis=0)
    scaled = sizes / np.where(spread > 0, spread, 1.0)
    apart = ((scaled[asked][:, None] - scaled[learned][None]) ** 2).sum(axis=2)
    return np.asarray(codes[learned[apart.argmin(axis=1)]], np.int64)


def void_of(controls: tuple[Control, ...], utility: str) -> str | None:
    """Why a whole evaluation says nothing; None: it does.

    Args:
        controls: positive and negative ones.
        utility: the action's column.
    """
    found = [one.label for one in controls if one.kind == "negative" and one.passed is False]
    if found:
        return (
            f"labels that were shuffled were found all the same ({', '.join(found)}): "
            "train and test are not apart, look for clips that are in both."
        )
    working = [one for one in controls if one.kind == "positive" and one.passed]
    if not any(one.label == utility for one in working):
        return f"the recognizer does not learn {utility} even from raw video: train it longer."
    if any(one.kind == "positive" and one.label != utility for one in controls) and not any(
        one.label != utility for one in working
    ):
        return "no attacker finds any private label even in raw video: train it longer."
    return None
