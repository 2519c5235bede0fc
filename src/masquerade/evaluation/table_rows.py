"""Build the rows of a table of results from attacked methods and their scores."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments, without_folder
from masquerade.datasets.manifest import Manifest
from masquerade.evaluation.controls import CheckedControls, attacked_channels, unread_channels
from masquerade.evaluation.evaluated_clips import AttackedMethod, example_of
from masquerade.evaluation.metric_specs import MetricSpec, notes_on_mean
from masquerade.evaluation.presets import Channel
from masquerade.evaluation.protocols import counted_wrong
from masquerade.evaluation.results import LabelResult, Row
from masquerade.extraction.config import as_text, region_names
from masquerade.methods import METHODS, method_name
from masquerade.pipeline.coverage import DatasetCoverage


def table_row(
    attacked: AttackedMethod, findings: tuple[LabelResult, ...], manifest: Manifest
) -> Row:
    """The row of an attacked method, before its people are looked for in other clips."""
    method, clips = attacked.method, attacked.clips
    example = example_of(method)
    skipped = {} if clips is None else clips.skipped
    return Row(
        name=method.name,
        method=None if example is None else class_or_method_name(example),
        arguments={} if example is None else arguments_as_json(example),
        regions="+".join(region_names(method.regions))
        + ("" if method.outside == "keep" else " alone"),
        not_applicable=method.not_applicable,
        clips=0 if clips is None else len(clips),
        skipped={manifest.clips[row].path: why for row, why in skipped.items()},
        cpu_seconds=round(attacked.predictions.cpu_seconds, 1) if attacked.predictions else 0.0,
        findings=findings,
        runs=max(1, len(method.runs)),
        coverage=clips.coverage if clips else None,
        poses=attacked.poses,
        restored=attacked.restored,
        unrestored=attacked.unrestored,
    )


def why_undecided(
    attacked: AttackedMethod, checked: CheckedControls, manifest: Manifest
) -> Mapping[str, str]:
    """Reasons, by label, why a score near a guess does not mean that a method hides it."""
    coverage = attacked.clips.coverage if attacked.clips else None
    channels = attacked_channels(attacked.inputs)
    return why_row_undecided(coverage, example_of(attacked.method), channels, checked, manifest)


def why_row_undecided(
    coverage: DatasetCoverage | None,
    method: Anonymizer | None,
    channels: Collection[Channel],
    checked: CheckedControls,
    manifest: Manifest,
) -> Mapping[str, str]:
    """What `why_undecided` says, of a row that may have been scored before.

    Args:
        coverage: how much of its videos was hidden; None: nothing is known of that.
        method: what hid people in it; None: raw video.
        channels: that its attackers see alone.
        checked: the controls of the table.
        manifest: its clips.
    """
    counts = coverage.counts if coverage else None
    if counts and counts.filled_whole > counts.frames / 2:  # that is no work of the method
        why = (
            f"{counts.filled_whole:,} of {counts.frames:,} frames were hidden whole, as "
            "nothing could be told apart in them"
        )
        return {spec.name: why for specs in checked.specs.values() for spec in specs}
    unread = unread_channels(checked.controls, method, channels)
    return unread | counted_wrong(manifest)


def notes_on_means(
    attacked: Sequence[AttackedMethod], specs: Mapping[str, Sequence[MetricSpec]]
) -> tuple[str, ...]:
    """How many attributes are in the means that were asked for, row by row."""
    return tuple(
        note
        for attacked_method in attacked
        for protocol, inputs in attacked_method.inputs.items()
        for spec in specs[protocol]
        for note in notes_on_mean(attacked_method.method.name, spec, inputs.test)
    )


def class_or_method_name(method: Anonymizer) -> str:
    """The name of a method in METHODS, or of its class where it is not there, as a user's own."""
    return method_name(method) if type(method) in METHODS.values() else type(method).__qualname__


def arguments_as_json(method: Anonymizer) -> dict[str, Any]:
    """A method's arguments as values of JSON; one that is a method has its name and arguments.

    Of a path stays the file's name, and of what else JSON lacks, such as an array, some text.
    """
    plain: dict[str, Any] = {}
    for key, value in arguments(method).items():
        if isinstance(value, Anonymizer):
            plain[key] = {"method": class_or_method_name(value), **arguments_as_json(value)}
        else:
            argument = without_folder(key, value)
            plain[key] = json.loads(json.dumps(argument, default=_name_or_text))
    return plain


def _name_or_text(value: Any) -> str:
    return value.name if isinstance(value, Path) else as_text(value)
