"""Checks before a benchmark begins: of its folder, its data, and what its rows need."""

from collections.abc import Sequence
from pathlib import Path

from masquerade.benchmark.jobs import Places
from masquerade.benchmark.kept_tables import has_tables
from masquerade.benchmark.suite import Suite
from masquerade.cli import evaluate as evaluation
from masquerade.cli.benchmark_flags import naming
from masquerade.cli.benchmark_plan import PlannedTable
from masquerade.cli.benchmark_work import folder_of_attacks
from masquerade.datasets.manifest import read_manifest
from masquerade.errors import MissingError, UsageError
from masquerade.evaluation.evaluator import Evaluator
from masquerade.output_paths import refuse_existing, refuse_replacing
from masquerade.report.benchmark_page import PAGE_FILES


def check_folder(suite: Suite, file: Path, places: Places) -> None:
    """Refuse a folder in which the page would replace what is read, or what no benchmark wrote.

    Args:
        suite: whose manifests are read, and whatever else its data are made of.
        file: that the suite was read from.
        places: with the folder.
    """
    read = [file]
    for name, source in suite.data.items():
        read += [] if source.manifest is None else [places.whole(suite, name)]
        read += [places.given / need for need in source.needs]
        read += map(Path, source.words(places.given))
    ours = has_tables(places.folder)
    for name in PAGE_FILES:
        path = places.folder / name
        refuse_replacing(path, *read)
        refuse_existing(path, overwrite=True)
        if path.exists() and not ours:
            raise UsageError(
                f"{path} would be replaced by the benchmark's, and no results of a benchmark lie "
                "beside it: choose another -o, or move it away."
            )


def check_rows(suite: Suite, planned: Sequence[PlannedTable]) -> None:
    """Refuse rows that need a template or a model which is not here, unless they are optional.

    Raises:
        MissingError: there is one.
    """
    for table_plan in planned:
        for name, why in table_plan.lacking.items():
            raise MissingError(f"{suite.name}: row {name} of table {table_plan.table.name}: {why}")


def check_data(
    suite: Suite, wanted: Sequence[str], planned: Sequence[PlannedTable], places: Places
) -> None:
    """Refuse manifests that are there already, and cannot be used, before hours of work."""
    for name in wanted:
        if (path := places.whole(suite, name)).exists():
            read_manifest(path)
    for table_plan in planned:
        if all(places.manifest(suite, name).exists() for name in table_plan.table.attacked):
            with naming(f"{suite.name}: table {table_plan.table.name}"):
                check_table(table_plan, places)


def check_table(planned: PlannedTable, places: Places) -> None:
    """Refuse a table whose data, which are made, do not have what it asks for."""
    manifest, _ = evaluation.read_clips(planned.options)
    config = evaluation.config_of(planned.options)
    Evaluator(manifest, config, folder_of_attacks(places, planned.table), None)
