"""Estimate the disk space of the copies of clips that a benchmark makes, for its `--list`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from masquerade.benchmark.jobs import Job
from masquerade.cli import evaluate as evaluation
from masquerade.cli import train as training
from masquerade.cli.arguments import flag_value, split_commas
from masquerade.datasets.manifest import read_manifest, select_actions
from masquerade.evaluation.attackers import clip_bytes
from masquerade.evaluation.chosen_recognizers import preset_of
from masquerade.extraction.config import ExtractionConfig
from masquerade.storage import STORE_LIMIT
from masquerade.training.run import clip_config, of_pairs, of_stills, training_rows


def attacks_line(
    table: str, manifests: Sequence[Path], methods: int, options: evaluation.Options
) -> str:
    """How much disk a table's attackers need, where its datasets are made already."""
    if not all(path.exists() for path in manifests):
        return f"size {table}: known once its data is made"
    config = evaluation.config_of(options)
    clips = sum(len(read_manifest(path)) for path in manifests)
    each = clip_bytes(preset_of(config)[0], config.attackers)
    copies = _at_most(clips * (1 + methods) * each, config.store_limit)
    return f"size {table}: {clips:,} clips, raw and {methods} times anonymized: {copies}"


def trainings_line(jobs: Sequence[Job], limit: float | None) -> str:
    """How much disk trainings need, which share copies, where their data is made already."""
    parts = {(job.kind, flag_value([*job.words], ("--fold",))): job for job in jobs}
    learned: dict[tuple[Path, ExtractionConfig], set[int]] = {}
    try:
        for job in parts.values():  # seeds learn from the same clips
            for path, config, rows in _clips_of(job):
                learned.setdefault((path, config), set()).update(rows)
    except FileNotFoundError:
        return "size trainings: known once their data is made"
    size = sum(len(rows) * config.clip_bytes for (_, config), rows in learned.items())
    copies = _at_most(size, STORE_LIMIT if limit is None else limit)
    return f"size trainings: the clips that all of them learn from: {copies}"


def _clips_of(job: Job) -> Iterator[tuple[Path, ExtractionConfig, Sequence[int]]]:
    """What a training reads: rows of a manifest, and how their clips are cut.

    Raises:
        FileNotFoundError: a manifest is not made yet.
    """
    options, recipe = training.parse(list(job.words[1:]))
    for path in (options.data, options.stills):
        if path is not None and not path.exists():
            raise FileNotFoundError(path)
    manifest = read_manifest(options.data)
    if options.actions is not None:
        manifest = select_actions(manifest, split_commas(options.actions))
    rows = training.select_rows(manifest, options)
    read = [*rows.train.tolist(), *rows.validation.tolist()]
    yield options.data, clip_config(recipe), read
    if options.stills is not None:
        found = training_rows(read_manifest(options.stills), seed=options.seed)
        of = [*found.train.tolist(), *found.validation.tolist()]
        yield options.stills, clip_config(of_stills(recipe)), of
    elif recipe.gap is not None:
        yield options.data, clip_config(of_pairs(recipe, recipe.gap)), read


def _at_most(size: int, limit: float) -> str:
    over = ", so some are made anew whenever they are read" * (size > limit * 1e9)
    return f"at most {size / 1e9:.1f} GB of copies (--store-limit {limit:g}{over})"
