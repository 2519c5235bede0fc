"""The controls of an evaluation: does the attacker work, and does it find what is not there.

Positive: on raw video its score must lie above the floors; so must that of attackers of poses
alone, or their rows say nothing. Negative: with shuffled labels it must
not lie above chance. Beside them, what the clips' sizes alone tell.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import SIZE_FACTS, IntArray, Manifest
from masquerade.evaluation.attacker_choice import Joined, ScoringInput
from masquerade.evaluation.attackers import ATTACKERS
from masquerade.evaluation.ground_truth import (
    GroundTruth,
    Probabilities,
    SplitTruth,
    is_known,
    multi_hot,
)
from masquerade.evaluation.metric_specs import (
    MetricSpec,
    constant_floors,
    measure,
    without_void,
)
from masquerade.evaluation.presets import Channel
from masquerade.evaluation.protocols import Protocol
from masquerade.evaluation.results import Control, LabelResult
from masquerade.evaluation.scoring import (
    channel_scores,
    score_method,
    with_transforming_attackers,
)
from masquerade.metrics.intervals import Score, score
from masquerade.metrics.leakage import held_limit
from masquerade.metrics.statistic import Floats
from masquerade.video.probe import images_in

CHANNEL = "only "  # before the name of the channel that a control is of
OF_PICTURES: tuple[Channel, ...] = ("appearance", "motion", "outline", "place")
SHUFFLES = 2
"""A sound evaluation fails one in forty times; only one that fails twice counts."""


def positive_control(result: LabelResult) -> Control:
    """Whether the attacker succeeds on raw video; where test clips are of one class, it cannot."""
    floor = _highest_floor(result)
    passed = result.score.low is not None and result.score.low > floor
    return Control(
        kind="positive", label=result.label, score=result.score, floor=floor, passed=passed
    )


@dataclass(frozen=True, kw_only=True)
class PositiveControls:
    """Whether attackers succeed on raw video, label by label."""

    specs: dict[str, tuple[MetricSpec, ...]]  # means are over labels that are read in it
    notes: tuple[str, ...]  # on labels that are left out of means
    alone: tuple[LabelResult, ...]  # by attackers of raw video itself
    rescored: tuple[
        LabelResult, ...
    ]  # the same, with scores by attackers who may anonymize it first
    controls: tuple[Control, ...]


@dataclass(frozen=True, kw_only=True)
class CheckedControls:
    """All controls of an evaluation, and what follows from them for its scores."""

    specs: Mapping[str, Sequence[MetricSpec]]  # that are scored, by protocol
    controls: tuple[Control, ...]
    notes: tuple[str, ...]  # on labels that are left out of means, or are void


def positive_controls(
    raw: Mapping[str, ScoringInput],
    joined: Joined,
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
) -> PositiveControls:
    """Whether attackers succeed on raw video, including those who may anonymize it first.

    `joined` are the rows of the table, raw video first.
    """

    def check(
        of: Mapping[str, Sequence[MetricSpec]],
    ) -> tuple[tuple[LabelResult, ...], tuple[LabelResult, ...], tuple[Control, ...]]:
        alone = score_method(raw, truth, of)
        rescored = with_transforming_attackers(alone, joined, truth, of)
        return alone, rescored, tuple(map(positive_control, rescored))

    all_specs = {name: tuple(protocol_specs) for name, protocol_specs in specs.items()}
    alone, rescored, controls = check(all_specs)
    left, notes = without_void(
        all_specs, [control.label for control in controls if not control.passed]
    )
    if left != all_specs:
        alone, rescored, controls = check(left)
    failed = {control.label for control in controls if not control.passed}
    # a mean over labels of which none is read by itself: all would be left out of it
    void = {
        spec.name
        for protocol_specs in left.values()
        for spec in protocol_specs
        if len(spec.columns) > 1 and failed.issuperset(spec.columns)
    }
    controls = tuple(
        replace(control, passed=control.passed and control.label not in void)
        for control in controls
    )
    return PositiveControls(
        specs=left, notes=notes, alone=alone, rescored=rescored, controls=controls
    )


def raw_controls(
    positive: PositiveControls, raw: Mapping[str, ScoringInput], channels: Collection[Channel]
) -> list[Control]:
    """The positive controls of all attackers, of each channel alone and of poses alone."""
    controls = list(positive.controls)
    for name, inputs in raw.items():
        for spec in positive.specs[name]:
            read = next(result for result in positive.rescored if result.label == spec.name)
            controls += channel_controls(channel_scores(spec, inputs, channels), read)
    poses = map(pose_control, positive.alone)
    return [*controls, *(control for control in poses if control is not None)]


def pose_control(result: LabelResult) -> Control | None:
    """Whether attackers that see poses only succeed on raw video; None: there are none."""
    best = result.best("pose")
    if best is None:
        return None
    return replace(positive_control(replace(result, score=best.test)), kind="poses")


def channel_controls(scores: Mapping[Channel, Score], result: LabelResult) -> list[Control]:
    """Check on raw video that attackers who see one channel alone succeed, channel by channel.

    They do where they surely read more than counts as held, a tenth of the way from the guess to
    what all attackers together read: less could not tell a method that hides the channel from one
    that does not.

    Args:
        scores: what attackers of each channel read.
        result: what all of them read of the label on raw video, after a method too, by which is
            judged what counts as held.
    """
    floor, raw = _highest_floor(result), result.score.value
    least = floor if raw is None else held_limit(floor, max(floor, raw))
    return [
        Control(
            kind=CHANNEL + channel,
            label=result.label,
            score=channel_score,
            floor=floor,
            passed=channel_score.low is not None and channel_score.low > least,
        )
        for channel, channel_score in scores.items()
    ]


def _highest_floor(result: LabelResult) -> float:
    """The score of the best guess; of labels without any, 1, which nothing is above."""
    return max(
        (floor.value for floor in result.floors.values() if floor.value is not None), default=1.0
    )


def attacked_channels(inputs: Mapping[str, ScoringInput]) -> frozenset[Channel]:
    """Channels of which a row has an attacker that sees nothing else and trained on its output.

    Those of poses may be left out of some rows of a table, and attack others.
    """
    outputs = [
        attacker for protocol_inputs in inputs.values() for attacker in protocol_inputs.outputs
    ]
    return frozenset(
        channel
        for attacker in outputs
        if attacker.eligible
        and len(attacker.channels) == 1
        and ATTACKERS[attacker.family].initialisation != "raw"
        for channel in attacker.channels
    )


def unread_channels(
    controls: Sequence[Control],
    method: Anonymizer | None,
    attacked: Collection[Channel] = OF_PICTURES,
) -> dict[str, str]:
    """By label, why it cannot count as held: channels that stay and that no attacker reads alone.

    Of each channel that `method` leaves, an attacker who sees it alone must succeed on raw video
    (`controls`) and have attacked this row (`attacked`): otherwise a low score says nothing of it.
    The side channel is not checked: packet sizes follow from the pictures, whose channels are, and
    that they tell nothing on raw video is a result. Its attackers have tests (docs/attackers.md).
    """
    gone = method.removed_channels if method is not None else ()
    left = [channel for channel in OF_PICTURES if channel not in gone]
    passed: dict[str, dict[str, bool]] = {}  # by label and channel
    for control in controls:
        by_channel = passed.setdefault(control.label, {})
        if control.kind.startswith(CHANNEL):
            by_channel[control.kind.removeprefix(CHANNEL)] = bool(control.passed)
    why = {}
    for label, of_channels in passed.items():
        failed = [name for name in left if of_channels.get(name) is False]
        absent = [
            name
            for name in left
            if name not in of_channels or (name not in attacked and name not in failed)
        ]
        reasons = []
        if failed:
            names = " or ".join(failed)
            reasons.append(f"no attacker succeeds by {names} alone, on raw video either")
        if absent:
            reasons.append(f"no attacker of {' or '.join(absent)} alone was used")
        if reasons:
            why[label] = "; ".join(reasons)
    return why


def negative_control(spec: MetricSpec, truth: SplitTruth, predicted: Probabilities) -> Control:
    """Whether one attacker is at chance with shuffled labels; None: they are of one class."""
    result = score(measure(spec, truth, predicted), clusters=truth.groups)
    chance = chance_score(spec, truth)
    passed = None if result.value is None else result.low is None or result.low <= chance
    return Control(kind="negative", label=spec.name, score=result, floor=chance, passed=passed)


def least_above_chance(first: Control, second: Control) -> Control:
    """Choose between the controls of two shuffles: the less above chance of those measured."""

    def above(control: Control) -> tuple[bool, float]:
        return control.passed is None, (control.score.low or 0.0) - control.floor

    return min(first, second, key=above)


def chance_score(spec: MetricSpec, truth: SplitTruth) -> float:
    """The score of guessing; of classes at least one in so many."""
    guess = _best_constant(spec, truth)
    if spec.metric != "top-1":
        return guess
    return max(guess, 1 / truth.rates[spec.columns[0]].shape[1])


SIZES = {"clip size": 2, "clip size and length": 3}
"""How many of width, height and frames the nearest clips are found by."""


def clip_size_controls(
    sizes: Floats, truth: GroundTruth, protocol: str, specs: Sequence[MetricSpec]
) -> list[Control]:
    """Score labels predicted from the clips of the nearest size: what is told without any pixel.

    These are found once by width and height, and once by the number of frames too. `sizes`
    are those of `clip_sizes`, of all clips of the protocol.
    """
    protocol_folds, test = truth.protocols[protocol], truth.split(protocol, "test")
    controls = []
    for spec in specs:
        floor = _best_constant(spec, test)
        for kind, facts in SIZES.items():
            predicted = {
                name: _predict_by_size(sizes[:, :facts], truth, name, protocol_folds)
                for name in spec.columns
            }
            result = score(measure(spec, test, predicted), clusters=test.groups)
            if result.value is None:
                continue
            controls.append(
                Control(kind=kind, label=spec.name, score=result, floor=floor, passed=None)
            )
    return controls


def clip_sizes(manifest: Manifest, rows: IntArray) -> Floats:
    """(N, 3) logarithms of width, height and frames, from the manifest or else from the files."""
    sizes, of_file = np.full((len(manifest), 3), np.nan), cache(_file_size)
    for row in rows:
        clip = manifest.clips[row]
        facts = [float(clip.cells.get(name) or 0) for name in SIZE_FACTS]
        length = None if clip.first is None or clip.last is None else clip.last - clip.first + 1
        if not all(facts):
            facts = [float(fact) for fact in of_file(manifest.path(clip), length is None)]
        if length is not None:
            facts[2] = length
        sizes[row] = np.log(np.maximum(1.0, facts))
    return sizes


def _best_constant(spec: MetricSpec, truth: SplitTruth) -> float:
    return max(floor.value for floor in constant_floors(spec, truth).values())


def _file_size(path: Path, counted: bool) -> tuple[int, int, int]:
    """The width and height of a video, and its number of frames; 1 unless they are `counted`."""
    from masquerade.video.decoding_process import count_frames, probe

    images = images_in(path) if path.is_dir() else []
    info = probe(images[0] if images else path)
    # a file may hold frames that no attacker is shown
    frames = (len(images) or count_frames(path)) if counted else 1
    return info.width, info.height, frames


def _predict_by_size(sizes: Floats, truth: GroundTruth, label: str, protocol: Protocol) -> Floats:
    codes, classes = truth.labels[label], truth.classes[label]
    shares = [
        _shares_of_nearest(sizes, codes, classes, np.concatenate([f.train, f.validation]), f.test)
        for f in protocol.folds
    ]
    return 0.9 * np.concatenate(shares) + 0.1 / classes


def _shares_of_nearest(
    sizes: Floats, codes: IntArray, classes: int, train: IntArray, test: IntArray
) -> Floats:
    """How often each class occurs (m, C) among the training clips nearest in size to test clips.

    Many clips have one size, so that many are the nearest.
    """
    train = train[is_known(codes[train])]
    hot = multi_hot(codes[train], classes)
    sd = sizes[train].std(axis=0)
    scaled = sizes / np.where(sd > 0, sd, 1.0)
    known, group = np.unique(scaled[train], axis=0, return_inverse=True)
    shares = np.stack([hot[group.ravel() == number].mean(axis=0) for number in range(len(known))])
    # One size at a time: few differ, and all distances at once would need much memory.
    different, index = np.unique(scaled[test], axis=0, return_inverse=True)
    nearest = []
    for size in different:
        distance = ((size - known) ** 2).sum(axis=1)
        nearest.append(shares[distance == distance.min()].mean(axis=0))
    return np.stack(nearest)[index.ravel()]


def void_labels(controls: Sequence[Control]) -> dict[str, str]:
    """The reason why numbers are void, for each label that no attacker reads in raw video."""
    failed = [
        control.label for control in controls if control.kind == "positive" and not control.passed
    ]
    return dict.fromkeys(failed, "the attacker does not succeed on raw video")


def notes_on_places(
    controls: Sequence[Control], specs: Mapping[str, Sequence[MetricSpec]]
) -> tuple[str, ...]:
    """Notes on void labels that the background alone surely tells in raw video.

    It does not count of traits of people, and a label of the place may be taken for one.
    """
    void, of_place = void_labels(controls), CHANNEL + "place"
    read = {control.label for control in controls if control.kind == of_place and control.passed}
    all_specs = [spec for protocol_specs in specs.values() for spec in protocol_specs]
    traits = [spec.name for spec in all_specs if spec.of_people and spec.columns == (spec.name,)]
    return tuple(
        f"{name} is void as a label of people, though the background alone tells it in raw video: "
        f"if it is of the place, rename the column to place_{name}."
        for name in traits
        if name in void and name in read
    )


STRONGER: Mapping[str, str] = {"tiny": "many, paper", "many": "paper"}
"""By preset, the presets with stronger attackers; a preset that is not here has none."""


def void_reason(controls: Sequence[Control], utility: str, preset: str) -> str | None:
    """Why a whole evaluation with this preset is void, and what to do; None: it is not."""
    failed = [
        control.label
        for control in controls
        if control.kind == "negative" and control.passed is False
    ]
    if failed:
        return (
            f"labels that were shuffled were found all the same ({', '.join(failed)}): "
            "rows of the manifest are in train and in test, or labels of test clips reach "
            "attackers otherwise. Copies of a clip in other rows are not found so, as each row is "
            "shuffled by itself: `masquerade data check` looks for them."
        )
    names = STRONGER.get(preset)
    advice = "give more clips or more --seeds"
    if names is not None:
        advice = f"give more clips, a --preset of stronger attackers ({names}) or more --seeds"
    passed = {control.label: control.passed for control in controls if control.kind == "positive"}
    if not passed.pop(utility, True):  # it is not among them where no unseen people can be tested
        return f"the recognizer does not learn {utility} even from raw video: {advice}."
    if passed and not any(passed.values()):
        return f"no attacker finds any private label even in raw video: {advice}."
    return None
