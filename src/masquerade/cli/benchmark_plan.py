"""What a benchmark's command asks for: tables with their protocols, rows and trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from masquerade.anonymizer import Anonymizer
from masquerade.benchmark.jobs import (
    Job,
    Places,
    TrainingRun,
    training_jobs,
    with_needed,
)
from masquerade.benchmark.suite import (
    Suite,
    SuiteRow,
    SuiteTable,
    cut_of,
    first_of,
    named_data,
    split_words,
)
from masquerade.benchmark.try_out import attacked_words
from masquerade.cli import evaluate as evaluation
from masquerade.cli.arguments import flag_value, split_commas
from masquerade.cli.benchmark import Options
from masquerade.cli.benchmark_flags import naming, read_training, read_untrained
from masquerade.errors import MissingError, UsageError
from masquerade.evaluation.chosen_recognizers import preset_of
from masquerade.evaluation.published_start import from_published


@dataclass(frozen=True, kw_only=True)
class PlannedTable:
    """A table with its protocol, as the flags of `masquerade evaluate` say it."""

    table: SuiteTable
    words: tuple[str, ...]  # of `masquerade evaluate`, but for the rows' own
    options: evaluation.Options  # what they mean
    trainings: Mapping[str, tuple[Job, ...]]  # by row
    # what the rows say that are not trained, so that a wrong one is refused before all work
    methods: Mapping[str, tuple[evaluation.Options, Anonymizer]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)  # by optional row: what is not here
    lacking: Mapping[str, str] = field(default_factory=dict)  # the same by any other row


def plan(
    suite: Suite, places: Places, options: Options
) -> tuple[list[PlannedTable], list[PlannedTable]]:
    """Plan the tables that were asked for, and before them those whose trainings they start from.

    A training is named after the content of its data, so that it has another name before they are
    made.
    """
    planned = [plan_table(suite, table, places, options) for table in choose(suite, options)]
    begun = [plan_table(suite, table, places, options) for table in first_runs(suite, planned)]
    check_seeds(suite, [*begun, *planned])
    return begun, planned


def trainings_of(planned: Sequence[PlannedTable]) -> list[Job]:
    """The training jobs of tables, each once."""
    jobs = [
        job
        for table_plan in planned
        for row_jobs in table_plan.trainings.values()
        for job in row_jobs
    ]
    return list({job.done: job for job in reversed(jobs)}.values())[::-1]


def choose(suite: Suite, options: Options) -> list[SuiteTable]:
    """The tables that were asked for, with the rows that were asked for."""
    tables = list(suite.tables)
    if options.tables is not None:
        wanted = _names(options.tables, [table.name for table in tables], "table")
        tables = [table for table in tables if table.name in wanted]
    if options.rows is not None:
        wanted = _names(options.rows, [row.name for table in tables for row in table.rows], "row")
        tables = [
            replace(table, rows=rows)
            for table in tables
            if (rows := tuple(row for row in table.rows if row.name in wanted))
        ]
    return tables


def _names(text: str, known: Sequence[str], what: str) -> list[str]:
    """Split a list of names at its commas, but not at those inside a known name."""
    words, names = split_commas(text), []
    if not words:
        choices = ", ".join(dict.fromkeys(known))
        raise UsageError(f"--{what}s names no {what}: choose of {choices}, or leave it out.")
    split = {name: split_commas(name) for name in known}
    while words:
        many = next((n for n in range(len(words), 0, -1) if words[:n] in split.values()), 0)
        if not many:
            choices = ", ".join(dict.fromkeys(known))
            raise UsageError(f"There is no {what} {words[0]}; choose of {choices}.")
        names += [name for name, parts in split.items() if parts == words[:many]]
        words = words[many:]
    return names


def first_runs(suite: Suite, planned: Sequence[PlannedTable]) -> list[SuiteTable]:
    """Tables with the rows whose trainings others go on from, and which were not asked for."""
    there = {
        f"{table_plan.table.name}/{row.name}"
        for table_plan in planned
        for row in table_plan.table.rows
    }
    starts = {f"{table.name}/{row.name}": row.start for table in suite.tables for row in table.rows}
    lacking: set[str] = set()
    for name in there:
        start = starts[name]
        while start is not None:
            lacking |= {start} - there
            start = starts[start]
    lacking_tables = []
    for table in suite.tables:
        rows = tuple(row for row in table.rows if f"{table.name}/{row.name}" in lacking)
        if rows:
            lacking_tables.append(replace(table, rows=rows))
    return lacking_tables


def check_seeds(suite: Suite, planned: Sequence[PlannedTable]) -> None:
    """Refuse rows of which each seed goes on from that of another row, which has fewer."""
    seeds = {table_plan.table.name: table_plan.options.seeds for table_plan in planned}
    for table_plan in planned:
        for row in table_plan.table.rows:
            if row.start is None:
                continue
            start_seeds = seeds[first_of(suite, row.start)[0].name]
            if start_seeds < table_plan.options.seeds:
                raise UsageError(
                    f"{suite.name}: row {row.name} of {table_plan.table.name} has "
                    f"{table_plan.options.seeds} seeds and starts from {row.start}, which has "
                    f"{start_seeds}: give both tables the same --seeds."
                )


def places_of(suite: Suite, options: Options) -> Places:
    """Where a benchmark keeps what it makes; a try-out in a folder of its own."""
    folder = (options.output or Path(suite.name)).absolute()
    folder = folder / "try-out" if options.try_out else folder
    if options.key_weights is not None and not options.key_weights.is_file():
        raise UsageError(f"--key-weights: there is no file {options.key_weights}.")
    start = None if options.try_out else options.image_weights  # its networks are tiny
    return Places(
        folder=folder,
        given=options.data,
        tried=options.try_out,
        image_weights=start,
        key_weights=options.key_weights,
    )


def datasets(suite: Suite, tables: Sequence[SuiteTable]) -> list[str]:
    """The names of all datasets of some tables, with those that their flags name."""
    names: list[str] = []
    for table in tables:
        names += table.datasets
        names += named_data(
            suite, " ".join([table.evaluate, *(row.train or "" for row in table.rows)])
        )
    return list(with_needed(suite, names))


def plan_table(suite: Suite, table: SuiteTable, places: Places, options: Options) -> PlannedTable:
    """The protocol of a table and the trainings that it needs."""
    words = list(attacked_words(places.fill(suite, table.evaluate), tried=places.tried))
    words += ["--data", str(places.manifest(suite, table.data))]
    more = {"--private-data": table.private_data, "--score-on": table.score_on}
    for flag, name in more.items():
        words += [] if name is None else [flag, str(places.manifest(suite, name))]
    words += ["--device", options.device, "--workers", str(options.workers)]
    seeds = 1 if options.try_out and options.seeds is None else options.seeds
    for flag, value in {"--seeds": seeds, "--store-limit": options.store_limit}.items():
        words += [] if value is None else [flag, str(value)]
    with naming(f"{suite.name}: evaluate of table {table.name}"):
        parsed, _ = evaluation.parse([*words, "--method", "blur"])
        evaluation.config_of(parsed)
    if not places.tried and (options.image_weights or options.attacker_weights):
        words += weights_words(options, parsed.attackers)
        parsed, _ = evaluation.parse([*words, "--method", "blur"])
        config = evaluation.config_of(parsed)  # a file that does not fit is refused before all work
        from_published(preset_of(config)[0], config.attacker_weights, config.image_weights)
    trainings = training_jobs(
        suite,
        table,
        places,
        seeds=parsed.seeds,
        folds=parsed.folds,
        device=options.device,
        store_limit=options.store_limit,
    )
    planned = PlannedTable(table=table, words=tuple(words), options=parsed, trainings=trainings)
    for row in table.rows:
        if row.train is not None:
            check_training(suite, planned, row, places)
    methods = {
        row.name: read_row(suite, planned, row, places)
        for row in table.rows
        if row.method is not None
    }
    lacks = {
        row.name: why
        for row in table.rows
        if row.name in methods
        and (
            why := _lacks(
                f"{suite.name}: method of row {row.name} of {table.name}", *methods[row.name]
            )
        )
    }
    optional = {row.name for row in table.rows if row.optional}
    return replace(
        planned,
        methods=methods,
        left_out={name: why for name, why in lacks.items() if name in optional},
        lacking={name: why for name, why in lacks.items() if name not in optional},
    )


def _lacks(whose: str, options: evaluation.Options, anonymizer: Anonymizer) -> str | None:
    """What a row needs that is not here, such as a template; None: nothing."""
    with naming(whose):
        try:
            evaluation.method_row("", anonymizer, evaluation.pipeline_config(options))
        except MissingError as error:
            return str(error)
    return None


def weights_words(options: Options, attackers: str | None) -> list[str]:
    """The flags of `masquerade evaluate` by which attackers start from published weights too."""
    words = [] if options.image_weights is None else ["--image-weights", str(options.image_weights)]
    for named in options.attacker_weights:
        words += ["--attacker-weights", named]
    return words if attackers is None else [*words, "--attackers", f"{attackers},published"]


def read_row(
    suite: Suite, planned: PlannedTable, row: SuiteRow, places: Places
) -> tuple[evaluation.Options, Anonymizer]:
    """What a row's flags say; of one that is trained, once it is."""
    table, key = planned.table, "evaluate" if row.method is None else "method"
    words = [*planned.words, *row_words(suite, table, row, places)]
    with naming(f"{suite.name}: {key} of row {row.name} of {table.name}"):
        options, anonymizer = evaluation.parse(words)
    check_protocol(suite, planned, row, options)
    return options, anonymizer


def check_training(suite: Suite, planned: PlannedTable, row: SuiteRow, places: Places) -> None:
    """Refuse flags of a row that is trained before hours of work."""
    table, (first, *_) = planned.table, planned.trainings[row.name]
    _check_folds(suite, planned, row, first.words)
    with naming(f"{suite.name}: train of row {row.name} of {table.name}"):
        recipe = read_training(first.words[1:])
    words = [*planned.words, *row_words(suite, table, row, places)]
    with naming(f"{suite.name}: evaluate of row {row.name} of {table.name}"):
        options = read_untrained(words, recipe)
    check_protocol(suite, planned, row, options)


def _check_folds(
    suite: Suite, planned: PlannedTable, row: SuiteRow, training: Sequence[str]
) -> None:
    """Refuse to train on folds that are not those that the table tests on.

    They are cut of other clips. Else it is refused once it is done, for having learned from clips
    that test it.
    """
    table = planned.table
    if cut_of(table, table.folds) == 0:
        return
    learned, tested = (
        frozenset(split_commas(flag_value([*words], ("--actions",)) or ""))
        for words in (training, planned.words)
    )
    if learned != tested or table.private_data is not None:
        own = "--actions" if learned != tested else "private_data"
        raise UsageError(
            f"{suite.name}: row {row.name} of {table.name} is trained on folds that are cut of "
            f"other clips than the table's, which has {own} of its own: give evaluate --folds 0, "
            "and a manifest with a column split."
        )


def check_protocol(
    suite: Suite, planned: PlannedTable, row: SuiteRow, options: evaluation.Options
) -> None:
    """Refuse a row with another protocol than its table, whose rows are compared."""
    if evaluation.config_of(options) != evaluation.config_of(planned.options):
        raise UsageError(
            f"{suite.name}: row {row.name} has another protocol than its table "
            f"{planned.table.name}: put flags such as --folds into the table's evaluate."
        )


def row_words(suite: Suite, table: SuiteTable, row: SuiteRow, places: Places) -> list[str]:
    """The flags of `masquerade evaluate` that a row has of its own."""
    if row.method is not None:
        words = ["--method", *split_words(row.method, places.given)]
        if "--keys" in words and places.key_weights is not None:
            words += ["--key-weights", str(places.key_weights)]
        return words
    folds = cut_of(table, table.folds)
    runs = places.run(suite, table, row, TrainingRun("{seed}", "{fold}" if folds else 0, folds))
    return ["--weights", str(runs), *split_words(row.evaluate, places.given)]
