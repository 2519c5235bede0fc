"""Estimate the disk space of the copies of clips that a benchmark makes, before it makes them."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from masquerade.benchmark.jobs import Job, Places
from masquerade.benchmark.suite import Suite, SuiteRow
from masquerade.cli import evaluate as evaluation
from masquerade.cli import train as training
from masquerade.cli.arguments import flag_value, split_commas
from masquerade.cli.benchmark_flags import naming
from masquerade.cli.benchmark_plan import PlannedTable
from masquerade.cli.benchmark_work import folder_of_attacks, lines_to_train
from masquerade.datasets.manifest import read_manifest, select_actions
from masquerade.errors import MasqueradeError
from masquerade.evaluation import EvaluatedMethod
from masquerade.evaluation.attackers import clip_bytes, get_families, required_fits
from masquerade.evaluation.chosen_recognizers import preset_of
from masquerade.evaluation.mask_only import NAMES
from masquerade.evaluation.noise_inversion import inversions
from masquerade.evaluation.published_start import from_published
from masquerade.extraction import STORE_LIMIT_GB
from masquerade.extraction.config import ExtractionConfig
from masquerade.methods.stprivacy import STPrivacy
from masquerade.text import escape
from masquerade.training.clips import clip_config, pair_recipe, still_recipe
from masquerade.training.rows import training_rows


def size_lines(
    suite: Suite,
    planned: Sequence[PlannedTable],
    training: Sequence[Job],
    places: Places,
    limit: float | None,
) -> tuple[list[str], bool]:
    """How much disk the copies of clips take at most, by table and in all; whether that is known.

    What is not known before data are made is what the limit lets them take.
    """
    most = STORE_LIMIT_GB if limit is None else limit
    lines: list[str] = []
    stores: dict[Path, list[int | None]] = {}  # by folder, which is held to the limit
    for table_plan in planned:
        manifests = [places.manifest(suite, name) for name in table_plan.table.attacked]
        anonymized = sum(_times_anonymized(table_plan, row) for row in table_plan.table.rows)
        inverted = sum(_times_inverted(table_plan, row) for row in table_plan.table.rows)
        # as of an attacker there is not
        with naming(f"{suite.name}: table {table_plan.table.name}"):
            line, size = attacks_line(
                table_plan.table.name, manifests, anonymized, table_plan.options, inverted=inverted
            )
        lines.append(line)
        stores.setdefault(folder_of_attacks(places, table_plan.table), []).append(size)
    if training:
        line, size = trainings_line(training, limit)
        lines.append(line)
        stores[places.folder] = [size]
    known = [
        sum(known_sizes)
        for sizes in stores.values()
        if len(known_sizes := _known(sizes)) == len(sizes)
    ]
    unknown = len(stores) - len(known)
    size = sum(min(total, round(most * 1e9)) for total in known) + round(unknown * most * 1e9)
    there = next(folder for folder in (places.folder, *places.folder.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    line = f"size: at most {_gigabytes(size)} of copies in {escape(places.folder)}"
    line += ", as --store-limit lets them take; what they need is known later" if unknown else ""
    line += f"; {_gigabytes(free)} are free, beside what lies there already"
    line += ": a smaller --store-limit needs less" if size > free and not unknown else ""
    return [*lines, f"{line}."], not unknown


def _times_anonymized(planned: PlannedTable, row: SuiteRow) -> int:
    """How often clips are anonymized for a row: by each training, and for each line of masks."""
    if row.raw or row.name in planned.left_out:
        return 0
    if row.name not in planned.methods:
        return len(planned.trainings[row.name]) * len(lines_to_train(row))
    options, anonymizer = planned.methods[row.name]
    of_masks = len(NAMES) if isinstance(anonymizer, STPrivacy) else 1
    return 1 + of_masks * options.mask_only


def _times_inverted(planned: PlannedTable, row: SuiteRow) -> int:
    """How many copies of a row's clips are made with their noise inverted, to be attacked."""
    if row.name not in planned.methods or row.name in planned.left_out:
        return 0
    return len(inversions(EvaluatedMethod(name=row.name, anonymizer=planned.methods[row.name][1])))


def _known(sizes: Sequence[int | None]) -> list[int]:
    return [size for size in sizes if size is not None]


def attacks_line(
    table: str,
    manifests: Sequence[Path],
    methods: int,
    options: evaluation.Options,
    *,
    inverted: int = 0,
) -> tuple[str, int | None]:
    """A line that says how much disk the clips of a table need, and the bytes; None: not known.

    Clips are anonymized `methods` times, and noise is taken out of them again `inverted` times.
    """
    config = evaluation.config_of(options)
    if not all(path.exists() for path in manifests):
        return f"size {table}: known once its data is made; {_held(config.store_limit)}", None
    clips = sum(len(read_manifest(path)) for path in manifests)
    preset, _ = from_published(preset_of(config)[0], config.attacker_weights, config.image_weights)
    families = get_families(config.attackers, preset.attackers)
    size = clips * (1 + methods) * clip_bytes(preset, families)
    fits = required_fits(families, preset.attackers, raw=False)
    if any(preset.attackers[name].content == "restored" for name, _ in fits):
        size += clips * inverted * clip_bytes(preset, ())  # frames alone
    copies = _at_most(size, config.store_limit)
    return f"size {table}: {clips:,} clips, raw and {methods} times anonymized: {copies}", size


def trainings_line(jobs: Sequence[Job], limit: float | None) -> tuple[str, int | None]:
    """A line that says how much disk trainings need for clips, and the bytes; None: not known."""
    most = STORE_LIMIT_GB if limit is None else limit
    parts = {(job.kind, flag_value([*job.words], ("--fold",))): job for job in jobs}
    learned: dict[tuple[Path, ExtractionConfig], set[int]] = {}
    for job in parts.values():  # seeds learn from the same clips
        try:
            for path, config, rows in _clips_of(job):
                learned.setdefault((path, config), set()).update(rows)
        except FileNotFoundError:
            return f"size trainings: known once their data is made; {_held(most)}", None
        except MasqueradeError:  # it is said when that training begins, which copies nothing
            continue
    size = sum(len(rows) * config.clip_bytes for (_, config), rows in learned.items())
    return f"size trainings: the clips that all of them learn from: {_at_most(size, most)}", size


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
        still_rows = training_rows(read_manifest(options.stills), seed=options.seed)
        of = [*still_rows.train.tolist(), *still_rows.validation.tolist()]
        yield options.stills, clip_config(still_recipe(recipe)), of
    elif recipe.gap is not None:
        yield options.data, clip_config(pair_recipe(recipe, recipe.gap)), read


def _at_most(size: int, limit: float) -> str:
    over = ", so some are made anew whenever they are read" * (size > limit * 1e9)
    return f"at most {_gigabytes(size)} of copies (--store-limit {limit:g}{over})"


def _held(limit: float) -> str:
    return f"at most {limit:g} GB of copies (--store-limit {limit:g})"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
