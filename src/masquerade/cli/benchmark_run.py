"""What `masquerade benchmark` does: data, trainings, attacks and the report, in this order."""

import json
import os
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from masquerade import __version__
from masquerade.benchmark.attack_clock import AttackClock, TableWork
from masquerade.benchmark.beside import OurScores, beside_paper, our_scores
from masquerade.benchmark.commands import Commands, LocalCommands, RayCommands, visible_gpus
from masquerade.benchmark.data_origins import data_origins, origins_markdown
from masquerade.benchmark.durations import Durations, SpentTimes, TimeLeft
from masquerade.benchmark.jobs import (
    Job,
    JobRunner,
    MissingData,
    Places,
    check_lacking,
    data_jobs,
    lacking_data,
)
from masquerade.benchmark.kept_tables import (
    ABOUT,
    KeptTable,
    clips_folder,
    kept_tables,
    results_folder,
)
from masquerade.benchmark.published import load_published
from masquerade.benchmark.shown_clips import show_clips
from masquerade.benchmark.suite import (
    Suite,
    SuiteRow,
    SuiteTable,
    read_suite,
    suite_names,
)
from masquerade.benchmark.time_spent import time_spent
from masquerade.benchmark.try_out import VOID, small_suite, write_tried
from masquerade.cli import INTERRUPTED
from masquerade.cli import evaluate as evaluation
from masquerade.cli.arguments import command_to_keep
from masquerade.cli.benchmark import EXAMPLE, Options
from masquerade.cli.benchmark_checks import check_data, check_folder, check_rows, check_table
from masquerade.cli.benchmark_plan import (
    PlannedTable,
    datasets,
    places_of,
    plan,
    read_row,
    row_words,
    trainings_of,
)
from masquerade.cli.benchmark_sizes import size_lines
from masquerade.cli.benchmark_work import Lines, count_work, folder_of_attacks, lines_to_train
from masquerade.cli.progress import StepProgress
from masquerade.datasets.manifest import Manifest
from masquerade.device import choose_device
from masquerade.errors import MasqueradeError, UsageError, as_masquerade_error
from masquerade.evaluation import EvaluatedMethod, Evaluation, EvaluationConfig, evaluate
from masquerade.evaluation.chosen_recognizers import preset_of
from masquerade.evaluation.paired_comparison import paired_scores
from masquerade.evaluation.published_start import from_published, starts
from masquerade.extraction.store import ClipCache
from masquerade.file_locks import claim_folder
from masquerade.pipeline.receipt import library_versions
from masquerade.ray_cluster import check_engine, ray_cluster, wants_gpu
from masquerade.report.benchmark_page import TableContext, write_report
from masquerade.report.differences import differences_markdown
from masquerade.report.embedded_clips import Clip
from masquerade.report.printed_tables import Beside
from masquerade.report.table import show
from masquerade.storage import make_private
from masquerade.text import escape
from masquerade.training.distributed import refuse_torchrun


def run(options: Options, argv: Sequence[str]) -> int:
    """Do what was asked for, and return the exit code: 1 where a part failed or a table is void."""
    refuse_torchrun("benchmark")
    console = Console(highlight=False, soft_wrap=True)
    if options.suite is None:
        if not options.list:
            raise UsageError(f"name a suite of {', '.join(suite_names())}, as in: {EXAMPLE}")
        for name in suite_names():
            console.print(f"{name:<20} {read_suite(name).about}", markup=False)
        return 0
    check_engine(options.engine, address=options.address, device=options.device)
    suite = read_suite(options.suite)
    suite = small_suite(suite) if options.try_out else suite
    if options.output is None and not options.list:
        raise UsageError(f"name a folder for the results, as in: {EXAMPLE}")
    places = places_of(suite, options)
    begun, planned = plan(suite, places, options)
    wanted = datasets(suite, [table_plan.table for table_plan in (*begun, *planned)])
    lacking = lacking_data(suite, places, wanted)
    making = data_jobs(suite, places, wanted)
    training = trainings_of([*begun, *planned])
    if options.list:
        say = partial(console.print, markup=False)
        print_plan(suite, places, options, planned, lacking, (making, training), say)
        check_data(suite, wanted, planned, places)
        return 0
    check_folder(suite, Path(options.suite), places)
    check_lacking(lacking)
    check_rows(suite, planned)
    check_data(suite, wanted, planned, places)
    began = time.monotonic()
    command = command_to_keep("benchmark", argv)
    durations = Durations(path=places.folder / "durations.json")
    spent = SpentTimes(path=places.folder / "spent.json")
    # two would train a row into one run, and each would write its own times over the other's
    busy = (
        f"another benchmark is at work in {places.folder}: wait until it has ended, or choose "
        "another -o."
    )
    with (
        claim_folder(places.folder, busy),
        StepProgress(quiet=options.json) as progress,
        _commands(options) as (commands, cores),
    ):
        lines, known = size_lines(suite, planned, training, places, options.store_limit)
        for line in lines:
            progress.print_line(line)
        clock = AttackClock(
            durations=durations,
            spent=spent,
            show=lambda what, done, of, left: progress.follow(what, done, of, left=left),
        )

        def report(what: str, done: int, of: int, left: TimeLeft) -> None:
            remaining = str(left.then(clock.left())) if done < of else ""
            progress.follow("data and training", done, of, now=what, left=remaining)

        runner = JobRunner(
            workers=options.workers or cores,
            commands=commands,
            durations=durations,
            spent=spent,
            report=report,
        )

        def attacked() -> list[PlannedTable]:
            """The tables whose data could be made, and have what they ask for."""
            failed = {name for name in wanted if f"data {name}" in runner.failures}
            return [
                table_plan
                for table_plan in planned
                if failed.isdisjoint(datasets(suite, [table_plan.table]))
                and f"table {table_plan.table.name}" not in runner.failures
            ]

        clock.works = works_of(suite, attacked(), places)
        runner.run(making, others=training)
        if places.tried:
            for name in (dataset for dataset in wanted if f"data {dataset}" not in runner.failures):
                with noting(f"data {name}", runner.failures):
                    write_tried(places.whole(suite, name), places.manifest(suite, name))
        begun, planned = plan(suite, places, options)  # runs are named after what was made
        for table_plan in attacked():
            with noting(f"table {table_plan.table.name}", runner.failures):
                check_table(table_plan, places)
        training = trainings_of([*begun, *attacked()])
        if not known:  # it is now
            lines, _ = size_lines(suite, attacked(), training, places, options.store_limit)
            for line in lines:
                progress.print_line(line)
        clock.works = works_of(suite, attacked(), places)
        # a GPU's memory is for one training, unless more are asked for
        runner.workers = options.workers or trainings_at_once(options, commands, cores)
        runner.run(training, others=making)
        results: dict[str, Evaluation] = {}
        errors = Console(stderr=True, highlight=False, soft_wrap=True)

        def page() -> None:
            missing = [
                table_plan.table.name
                for table_plan in planned
                if table_plan.table.name not in results
            ]
            runner.failures.pop("page", None)  # of the page before this table
            with noting("page", runner.failures):
                write_page(
                    places.folder,
                    command,
                    failed=[(suite.name, name) for name in missing],
                    report=partial(errors.print, markup=False),
                )

        for table_plan in attacked():
            if results:  # so that an interrupted run has one of what is done
                page()
            with noting(f"table {table_plan.table.name}", runner.failures):
                results[table_plan.table.name] = run_table(
                    suite,
                    table_plan,
                    places,
                    runner.failures,
                    command,
                    clock,
                    commands,
                    videos=options.videos,
                    on=made_on(cores, options.device),
                    report=progress.print_line,
                )
            clock.leave(table_plan.table.name)
    page()
    for name, why in runner.failures.items():
        errors.print(f"masquerade: {name}: {why}", markup=False)
    if options.json:
        print(json.dumps([json.loads(result.to_json()) for result in results.values()], indent=1))
    elif results:
        print_results(list(results.values()), places.folder, time.monotonic() - began, console)
    # a try-out always is void
    void = any(result.void for result in results.values()) and not places.tried
    return 1 if runner.failures or void else 0


def print_plan(
    suite: Suite,
    places: Places,
    options: Options,
    planned: Sequence[PlannedTable],
    lacking: Sequence[MissingData],
    jobs: tuple[Sequence[Job], Sequence[Job]],
    say: Callable[[str], object],
) -> None:
    """Say what would be done, how large it is, and what is lacking or left out."""
    for file in lacking:
        paths = ", ".join(map(escape, file.paths))
        say(f"{file.data} lacks {paths}. {file.about}")
    making, training = jobs
    for job in (*making, *training):
        mark = "done" if job.done.exists() else "    "
        say(f"{mark} masquerade {shlex.join(job.words)}")
    for line in size_lines(suite, planned, training, places, options.store_limit)[0]:
        say(line)
    for table_plan in planned:
        for name, why in table_plan.left_out.items():
            say(f"{table_plan.table.name} leaves out {name}: {why}")
        for name, why in table_plan.lacking.items():
            say(f"{table_plan.table.name} lacks what {name} needs: {why}")


def print_results(
    results: Sequence[Evaluation], folder: Path, seconds: float, console: Console
) -> None:
    """Print the tables, and where the page with all of them lies."""
    for result in results:
        show(result, console)
    where = escape(folder / "index.html")
    console.print(f"{where} shows all of it; {seconds / 60:.0f} min.", markup=False)


@contextmanager
def noting(part: str, failures: dict[str, str]) -> Iterator[None]:
    """Note why a part of a benchmark failed, so that the others are done all the same."""
    try:
        yield
    except Exception as error:
        failure = as_masquerade_error(error)
        # An interruption may be why it failed.
        if INTERRUPTED.is_set() or not isinstance(failure, MasqueradeError):
            raise
        failures[part] = str(failure)


@contextmanager
def _commands(options: Options) -> Iterator[tuple[Commands, int]]:
    """What runs the jobs, and how many cores it has."""
    if options.engine == "processes":
        yield LocalCommands(gpus=visible_gpus(options.device)), os.cpu_count() or 1
        return
    with ray_cluster(options.address, workers=options.workers or None) as ray:
        commands = RayCommands(ray=ray, gpu=wants_gpu(ray, options.device))
        commands.check_machines()
        yield commands, commands.cores


def trainings_at_once(options: Options, commands: Commands, cores: int) -> int:
    """How many trainings run side by side: one for each core, or for each GPU that they use."""
    if isinstance(commands, RayCommands):
        return commands.at_once
    if choose_device(options.device).type == "cpu":
        return cores
    return max(1, len(visible_gpus(options.device)))


def run_table(
    suite: Suite,
    planned: PlannedTable,
    places: Places,
    failures: dict[str, str],
    command: str,
    clock: AttackClock,
    commands: Commands,
    *,
    videos: int,
    on: str,
    report: Callable[[str], None],
) -> Evaluation:
    """Attack the rows of a table, and write its results and the clips that its page shows.

    A row that `anonymize` would not publish is not applicable, and one of the `failures`.
    """
    table, options = planned.table, planned.options
    config, open_executor = evaluation.config_of(options), None
    if isinstance(commands, RayCommands):
        config = replace(config, workers=config.workers or commands.cores)
        open_executor = commands.open_executor
    manifest, limits = evaluation.read_clips(options)
    by_row: list[tuple[SuiteRow, list[EvaluatedMethod]]] = []
    for row in (r for r in table.rows if not r.raw):
        if (why := planned.left_out.get(row.name)) is not None:
            by_row.append((row, [EvaluatedMethod(name=row.name, not_applicable=why)]))
            continue
        jobs = planned.trainings.get(row.name, ())
        failed = [failures[job.name] for job in jobs if job.name in failures]
        if failed:
            why = f"training: {failed[0]}"
            by_row.append((row, [EvaluatedMethod(name=row.name, not_applicable=why)]))
            continue
        if row.name in planned.methods:
            row_options, anonymizer = planned.methods[row.name]
        else:
            row_options, anonymizer = read_row(suite, planned, row, places)
        methods, notes = evaluation.method_rows(
            row_options, anonymizer, manifest, config, name=row.name
        )
        limits += notes
        by_row.append((row, methods))
    lines = [line for _, row_lines in by_row for line in row_lines]
    folder = folder_of_attacks(places, table)
    make_private(folder.parent)
    work = table_work(suite, planned, places, by_row, (manifest, config))
    clock.begin(work)
    unpublished: dict[str, str] = {}
    result = evaluate(
        manifest,
        lines,
        config,
        data=table.title,
        folder=folder,
        command=command,
        limits=(*own_limits(table, config, places), *limits),
        held_out=table.held_out,
        open_executor=open_executor,
        progress=clock.follow,
        report=report,
        leave_out=unpublished.__setitem__,
    )
    failures |= {f"row {row} of table {table.name}": why for row, why in unpublished.items()}
    lines = [
        replace(line, not_applicable=unpublished.get(line.name, line.not_applicable))
        for line in lines
    ]
    result = replace(result, void=VOID) if places.tried else result
    ours, origins = our_scores(suite, table, result), data_origins(suite, datasets(suite, [table]))
    more = [origins_markdown(origins), beside_paper(table, ours)]
    known = [row.name for row in result.rows]
    if compared := [name for name in table.compared_with if name in known]:
        unread = [c.label for c in result.controls if c.kind == "positive" and not c.passed]
        paired = paired_scores(
            manifest, lines, config, folder=folder, void=unread, progress=clock.follow
        )
        more.append(differences_markdown(result, paired, compared))
    shown_clips = show_clips(
        manifest,
        lines,
        config,
        clips_folder(places.folder, suite.name, table.name),
        number=videos,
        drawn=all(suite.data[name].draw is not None for name in table.attacked),
        cache=ClipCache(folder=folder / "clips", limit=config.store_limit * 1e9),
        progress=clock.follow,
    )
    clock.end()
    time = time_spent(clock.spent, work, planned.trainings, on=on)
    more.insert(0, time.markdown())
    kept_table = KeptTable(
        name=table.name,
        suite=suite.name,
        title=suite.title,
        place=[suite_table.name for suite_table in suite.tables].index(table.name),
        masquerade=__version__,
        published=table.published,
        ours=ours,
        origins=origins,
        shown=shown_clips,
        ablations=table.ablations,
        time=time,
        versions=library_versions(),
    )
    evaluation.write_results(
        result,
        results_folder(places.folder, suite.name),
        table.name,
        more="\n".join(filter(None, more)),
        others={f"{table.name}{ABOUT}": kept_table.to_json()},
    )
    return result


def own_limits(table: SuiteTable, config: EvaluationConfig, places: Places) -> list[str]:
    """The notes of a suite on a table, and what networks start from."""
    preset, _ = from_published(preset_of(config)[0], config.attacker_weights, config.image_weights)
    notes = [note.replace("{starts}", starts(preset)) for note in table.limits]
    if config.seeds > 1 and any(row.train is not None for row in table.rows):
        notes.append(
            "Rows of trained methods are means over runs of several seeds, each attacked by "
            "networks of its own: no attacker gets two anonymized versions of one clip."
        )
    begun = [row.name for row in table.rows if row.train is not None and places.start_words(row)]
    if begun and places.image_weights is not None:
        file = places.image_weights.name
        notes.append(f"Trainings of {', '.join(begun)} start from {file}, those of others do not.")
    return notes


def write_page(
    folder: Path,
    command: str,
    *,
    failed: Collection[tuple[str, str]] = (),
    report: Callable[[str], None],
) -> None:
    """Write the report of all tables that were ever measured in a folder.

    `failed` are suites and tables of which there is no newer result; without any table there is no
    page.
    """
    tables = kept_tables(folder, report=report)
    if not tables:
        return
    titles = list(dict.fromkeys(table.title for table, _ in tables))
    versions = [
        ", ".join(f"{name} {version}" for name, version in table.versions.items())
        for table, _ in tables
        if table.versions
    ]
    printed: dict[str, list[OurScores]] = {}
    for table, _ in tables:
        if table.published is not None and table.ours is not None:
            printed.setdefault(table.published, []).append(table.ours)
    write_report(
        folder,
        [result for _, result in tables],
        title=titles[0] if len(titles) == 1 else f"Tables of {len(titles)} benchmarks",
        published=[Beside(table=load_published(name), ours=ours) for name, ours in printed.items()],
        contexts=[
            replace(
                _context(folder, table, several=len(titles) > 1),
                outdated=(table.suite, table.name) in failed,
            )
            for table, _ in tables
        ],
        about={
            "masquerade": ", ".join(dict.fromkeys(table.masquerade for table, _ in tables)),
            **({"made with": "; ".join(dict.fromkeys(versions))} if versions else {}),
            "last command": command,
        },
        results=[f"{results_folder(Path(), table.suite) / table.name}.json" for table, _ in tables],
    )


def _context(folder: Path, table: KeptTable, *, several: bool) -> TableContext:
    clips = clips_folder(folder, table.suite, table.name)
    return TableContext(
        suite=table.title if several else "",
        origins=table.origins,
        videos=[
            Clip(clip.row, clips / clip.file, clip.shows)
            for clip in table.shown.clips
            if (clips / clip.file).exists()  # people may remove what they do not want to be shown
        ],
        left_out=table.shown.left_out,
        ablations=table.ablations,
        time=table.time,
    )


def made_on(cores: int, device: str) -> str:
    """The machine, in words."""
    chosen = choose_device(device).type
    of = f"{cores} core{'s' * (cores > 1)}"
    return of if chosen == "cpu" else f"{of} and {chosen}"


def works_of(
    suite: Suite, planned: Sequence[PlannedTable], places: Places
) -> list[TableWork] | None:
    """What the attacks of tables take; None: that cannot be told before their data are made."""
    works = []
    for table_plan in planned:
        if not all(places.manifest(suite, name).exists() for name in table_plan.table.attacked):
            return None
        config = evaluation.config_of(table_plan.options)
        try:
            manifest, _ = evaluation.read_clips(table_plan.options)
            lines: Lines = [
                (row, lines_of(row, table_plan, manifest))
                for row in table_plan.table.rows
                if not row.raw
            ]
            works.append(table_work(suite, table_plan, places, lines, (manifest, config)))
        except MasqueradeError:  # it is said when the table is attacked
            return None
    return works


def lines_of(row: SuiteRow, planned: PlannedTable, manifest: Manifest) -> list[EvaluatedMethod]:
    """The lines of a row, of one that is to be trained by name alone."""
    if row.name in planned.left_out:
        return []
    if row.name not in planned.methods:
        return lines_to_train(row)
    config = evaluation.config_of(planned.options)
    options, anonymizer = planned.methods[row.name]
    return evaluation.method_rows(options, anonymizer, manifest, config, name=row.name)[0]


def table_work(
    suite: Suite,
    planned: PlannedTable,
    places: Places,
    lines: Lines,
    clips: tuple[Manifest, EvaluationConfig],
) -> TableWork:
    """What the attacks of a table take."""
    table = planned.table
    return count_work(
        suite,
        table,
        places,
        lines,
        words=planned.words,
        row_words={row.name: row_words(suite, table, row, places) for row, _ in lines},
        trainings=planned.trainings,
        clips=clips,
    )
