"""`masquerade anonymize`: files in, anonymized files out.

Its help is made of what is imported here; what imports torch is imported where it is used.
"""

import codecs
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from tyro.conf import Positional, UseAppendAction, arg

from masquerade.cli import INTERRUPTED
from masquerade.cli.arguments import default_method, flag_value, parse_with_method
from masquerade.cli.option_boxes import DETECTION, FILE, MASK, TEMPLATE
from masquerade.cli.standard_streams import refuse_closed
from masquerade.errors import MasqueradeError, UsageError
from masquerade.object_store import is_remote
from masquerade.output_paths import refuse_existing, refuse_standard_output
from masquerade.pipeline.config import (
    Engine,
    Pipeline,
    PipelineConfig,
    build_pipeline,
    source_names,
)
from masquerade.process_pool import start_fork_server
from masquerade.ranges import PositiveInt, UnitInterval, flag_of
from masquerade.text import escape, name_some

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymizer
    from masquerade.pipeline.file_outcome import FileOutcome
    from masquerade.pipeline.outputs import FileTask

MOST_NAMED = 5  # files of a folder that are left out
OF_OUTPUTS = (
    *("verify", "record", "resume", "skip_existing", "shadow", "export_boxes", "export_masks"),
    *("report", "public_receipt"),
)
"""Options that --list-people refuses, as it writes no anonymized video."""
EXAMPLE = "masquerade anonymize holiday.mp4 -o safe.mp4"
BOXES = {
    "": """inputs output level regions method weights outside audio preview threshold keep_visible
        recursive overwrite""",
    "people": "list_people hide_only edits",
    "detection": f"{DETECTION} region export_boxes export_masks shadow allow_empty allow_gaps",
    "template": f"hide at {TEMPLATE}",
    "mask": MASK,
    "method": "preset batch_size device amp seed",
    "output": f"""verify metadata {FILE} decoder force_8bit cfr threads receipt report
        public_receipt""",
    "batch": """suffix name skip_existing resume parts workers engine address record dry_run
        sequence salvage""",
    "message": "json quiet verbose profile no_progress",
    "deface's": "replacewith keep_audio keep_metadata",
}
"""The options in the boxes of the help; the short one shows the first."""


@dataclass(frozen=True, kw_only=True)
class Options(PipelineConfig):
    """Anonymize videos and images: hide who is in them and keep what they do."""

    # videos, pictures, folders, patterns, s3:// addresses, or - for a list on standard input.
    inputs: Positional[tuple[str, ...]] = ()
    # file or folder to write; by default NAME_anonymized beside the input.
    output: Annotated[str | None, arg(aliases=["-o"])] = None
    # how to hide it; `masquerade methods` lists them and what each can be told.
    method: str = "selective"
    replacewith: str | None = None  # the same as --method.
    hide: str | None = None  # templates, as in eye,hair: short for --regions templates:eye,hair.
    preset: str | None = None  # a named set of the method's arguments, such as paper.
    weights: Path | None = None  # a trained anonymizer, a file or a training run's folder.
    # also subfolders; the output folder mirrors them.
    recursive: Annotated[bool, arg(aliases=["-r"])] = False
    suffix: str | None = None  # appended to each output's name.
    # keep names, number them (sequential), or use a hash of the content, numbered for copies, which
    # tells whoever has a source which output is its.
    name: Literal["keep", "sequential", "hash"] = "keep"
    skip_existing: bool = False  # skip inputs whose output exists.
    # skip inputs that an earlier run finished with the same file and settings.
    resume: bool = False
    # files processed in parallel; by default 1, on a Ray cluster one for each core. With --parts:
    # parts of one file, by default one for each core.
    workers: PositiveInt | None = None
    # what runs several files: processes of this machine, or ray, on many machines.
    engine: Engine = "processes"
    # head of a running Ray cluster, as in 10.0.0.5:6379; by default $RAY_ADDRESS, else Ray is
    # started on this machine.
    address: str | None = None
    # a file to which a line of JSON is added for each input: source, output, their SHA-256,
    # settings, worker and status; it names the sources, so keep it private.
    record: Path | None = None
    # write a sheet of thumbnails of who is found, with their IDs, and nothing else; it shows them
    # as they are, so keep it private. -o names it.
    list_people: bool = False
    # attack each output before it gets its name, and delete it where what was to be hidden is still
    # there: a face, an unchanged person, or a line of text. It looks at 60 frames of a video,
    # spread evenly from the first to the last; `masquerade attack` looks at more.
    verify: bool = False
    dry_run: bool = False  # print what would be done and do nothing.
    json: bool = False  # print the receipts as JSON and nothing else.
    quiet: Annotated[bool, arg(aliases=["-q"])] = False  # print errors and warnings only.
    # print which tags and streams were removed or kept, on what device it ran and how long each
    # stage was busy, and where in the code an error that is not foreseen arose.
    verbose: Annotated[bool, arg(aliases=["-v"])] = False
    profile: bool = False  # print how long each stage of a run was busy.
    no_progress: bool = False  # show no progress bar.
    keep_audio: Annotated[bool, arg(aliases=["-k"])] = False  # short for --audio keep.
    keep_metadata: Annotated[bool, arg(aliases=["-m"])] = False  # short for --metadata keep.
    # lowest score hidden, 0 to 1; lower is safer. (default: faces .2; people .5, box .23;
    # text .5)
    threshold: Annotated[UnitInterval | None, arg(aliases=["-t"])] = None
    # size for detection: WxH, longest side, or full. (default: 960; faces full; --detector hog 480)
    scale: Annotated[str | None, arg(aliases=["-s"])] = None
    overwrite: Annotated[bool, arg(aliases=["-y"])] = False  # replace an existing output.
    # points FRAME:X,Y in this video, each with --at; what looks like them is hidden (regions:
    # templates).
    at: UseAppendAction[tuple[str, ...]] = ()

    def config(self) -> PipelineConfig:
        """The part of the options that configures the pipeline."""
        chosen = {field.name: getattr(self, field.name) for field in fields(PipelineConfig)}
        if self.keep_audio:
            chosen["audio"] = "keep"
        if self.keep_metadata:
            chosen["metadata"] = "keep"
        if self.hide or self.at:
            chosen["regions"] = _with_templates(self.regions, self.hide or "")
        return PipelineConfig(**chosen)


def _with_templates(regions: str | None, names: str) -> str:
    """Add templates to the regions that were named, if any were."""
    if regions is not None and "templates" in regions.partition(":")[0].split("+"):
        if names:
            raise UsageError("name templates once: with --hide or with --regions templates:...")
        return regions
    wanted = f"templates:{names}" if names else "templates"
    if regions is None:
        return wanted
    plain, colon, named = regions.partition(":")
    if not colon:
        return f"{plain}+{wanted}"
    if names:
        raise UsageError(
            f"--hide and --regions {regions} both name something, and only one can: choose one."
        )
    *leading, last = plain.split("+")  # whose name is behind the colon
    return "+".join([*leading, wanted, f"{last}:{named}"])


def parse(argv: list[str]) -> tuple[Options, "Anonymizer"]:
    """Parse the options and build the anonymizer."""
    if flag_value(argv, ("--edits",)):
        for flag in ("--method", "--replacewith", "--weights", "--preset", "--hide"):
            if flag_value(argv, (flag,)):
                raise UsageError(f"a file of edits names its method; leave {flag} out, or --edits.")
    named = {flag: flag_value(argv, (flag,)) for flag in ("--method", "--replacewith")}
    if len(set(filter(None, named.values()))) > 1:
        raise UsageError("--replacewith is the same as --method; name one method.")
    options, anonymizer = parse_with_method(
        argv,
        Options,
        verb="masquerade anonymize",
        example=EXAMPLE,
        default=default_method(
            argv,
            beside=("--method", "--replacewith", "--regions", "--weights", "--hide", "--at"),
        ),
        boxes=BOXES,
        method=("--method", "--replacewith"),
    )
    shorts = {"--audio": ("-k", options.keep_audio), "--metadata": ("-m", options.keep_metadata)}
    for flag, (short, keep) in shorts.items():
        value = flag_value(argv, (flag,))
        if keep and value not in (None, "keep"):
            raise UsageError(f"{short} is short for {flag} keep; leave it or {flag} {value} out.")
    return options, anonymizer


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    side_by_side = flag_value(argv, ("--workers",)) not in (None, "1")
    if side_by_side and flag_value(argv, ("--engine",)) != "ray" and "--dry-run" not in argv:
        start_fork_server()  # it imports what workers need, as this process does meanwhile
    options, anonymizer = parse(argv)
    from masquerade.pipeline.file_outcome import exit_code

    config = options.config()
    if options.list_people:
        _refuse_beside_list_people(options)
    plan = _plan(options, config)
    if len(plan.tasks) == 1:
        options = _with_named_files(argv, options, plan.tasks[0])
        config = options.config()
    if plan.left_out:
        print(f"masquerade: {_left_out(plan.left_out)}", file=sys.stderr)
    _check_outputs(plan.tasks, options, config, anonymizer)
    _check_choices(plan.tasks, options, config)
    if options.dry_run:
        pipeline = _check_settings(plan.tasks, options, config, anonymizer)
        if options.list_people:
            task = replace(plan.tasks[0], dst=_sheet_path(plan.tasks[0], options))
            if options.json:
                print(json.dumps([_entry(task.src, task.dst, "planned")], indent=1))
            else:
                print(escape(f"{task.src} -> {task.dst}"))
            return 0
        return _print_plan(plan, pipeline, options)
    pipeline = _build(options, anonymizer)
    if options.list_people:
        return _list_people(plan.tasks[0], pipeline, options)
    for note in anonymizer.warnings:
        print(f"masquerade: these weights are in doubt: {escape(note)}.", file=sys.stderr)
    outcomes = _run(plan, pipeline, options)
    if options.json:
        _print_json(outcomes, plan.left_out, config)
    alone = len(plan.tasks) == 1 and not plan.unread
    if alone and outcomes[0].exit_code == UsageError.exit_code:
        return UsageError.exit_code  # such as sound that the output's container cannot hold
    return exit_code(outcomes)


class _Plan(NamedTuple):
    """The files of a run."""

    tasks: list["FileTask"]
    unread: dict[Path, str]  # what cannot be read in folders, with the reason
    left_out: list[Path]  # what is no video or image there by its name


def _refuse_beside_list_people(options: Options) -> None:
    """Refuse options that are about the output where --list-people is given, which has none."""
    for name in OF_OUTPUTS:
        if getattr(options, name):
            raise UsageError(
                "--list-people writes a sheet of who is found and hides nobody: leave out "
                f"--{name.replace('_', '-')}."
            )


def _plan(options: Options, config: PipelineConfig) -> _Plan:
    """Find the files to anonymize and name their outputs."""
    from masquerade.pipeline.plan import plan_tasks

    unread: dict[Path, str] = {}
    passed_over: list[Path] = []
    tasks = plan_tasks(
        _inputs(options),
        output=options.output,
        recursive=options.recursive,
        suffix=options.suffix,
        name=options.name,
        codec=config.codec or "h264",
        sequence=config.sequence is not None,
        unread=unread,
        passed_over=passed_over,
        beside=[path for path in (config.report, config.export_boxes, config.export_masks) if path],
    )
    named = {task.src for task in tasks}
    return _Plan(tasks, unread, [path for path in dict.fromkeys(passed_over) if path not in named])


def _with_named_files(argv: list[str], options: Options, task: "FileTask") -> Options:
    """Replace folders given as `--report DIR/` and the like by a file in them for one output."""
    from masquerade.pipeline.outputs import EXPORT_SUFFIXES, named_after

    words = {key: flag_value(argv, (flag_of(key),)) for key in EXPORT_SUFFIXES}
    named: dict[str, Any] = {
        key: named_after(task, getattr(options, key), key)
        for key, value in words.items()
        if value and value.endswith("/")
    }
    return replace(options, **named)


def _check_outputs(
    tasks: list["FileTask"], options: Options, config: PipelineConfig, anonymizer: "Anonymizer"
) -> None:
    """Refuse outputs that would overwrite kept files, or that --resume could not recognize.

    Raises:
        UsageError: there are such.
    """
    from masquerade.pipeline.batch import check_resume
    from masquerade.pipeline.file_outcome import recover_folders
    from masquerade.pipeline.outputs import check_outputs

    if options.resume:
        check_resume(config, anonymizer)
    by_names = options.skip_existing or (options.resume and not options.overwrite)
    if by_names and options.name == "sequential":
        flag = "--skip-existing" if options.skip_existing else "--resume"
        raise UsageError(
            f"{flag} goes by names, and --name sequential gives another file the same one when "
            "files come or go: give --name hash."
        )
    read = [path for path in (options.weights, config.edits, options.record) if path]
    if not options.dry_run and len(tasks) == 1:
        recover_folders([(tasks[0], config)])  # what a killed run published in part is not there
    # of several inputs those whose outputs are there fail, and the rest are done
    check_outputs(tasks, config, inputs=read, overwrite=_may_exist(options) or len(tasks) > 1)


def _may_exist(options: Options) -> bool:
    """Whether a run may find files where its outputs would go."""
    return any((options.overwrite, options.skip_existing, options.resume, options.list_people))


def _check_choices(tasks: list["FileTask"], options: Options, config: PipelineConfig) -> None:
    """Refuse options that do not go together, and a region image that cannot be read.

    Raises:
        UsageError: there is such an option.
    """
    from masquerade.pipeline.region_image import read_region_image
    from masquerade.ray_cluster import check_engine

    refuse_standard_output(str(options.record), "--record")
    check_engine(options.engine, address=options.address, device=config.device)
    if options.public_receipt and options.name == "hash":
        raise UsageError(
            "--name hash publishes the source's digest, which --public-receipt leaves out: give "
            "--name sequential, or leave one of them out."
        )
    if options.list_people and (is_remote(tasks[0].src) or is_remote(tasks[0].dst)):
        raise UsageError(
            "--list-people reads and writes files of this machine: download the video, and name "
            "the sheet here with -o."
        )
    if (options.list_people or _chooses(config)) and len(tasks) > 1:
        raise UsageError("IDs of people are of one video; name one input.")
    if config.at and len(tasks) > 1:
        raise UsageError("points of --at are of one video; name one input.")
    if config.region:
        read_region_image(config.region)


def _chooses(config: PipelineConfig) -> bool:
    """Whether a configuration chooses people by their IDs, to be hidden or left visible."""
    return bool(config.keep_visible or config.hide_only or config.edits)


def _check_settings(
    tasks: list["FileTask"], options: Options, config: PipelineConfig, anonymizer: "Anonymizer"
) -> Pipeline:
    """Refuse for a dry run what a run would refuse as it begins, and return its pipeline.

    Raises:
        MasqueradeError: the settings contradict each other, or something is not here.
    """
    from masquerade.device import check_half, choose_device

    if config.amp:
        check_half(choose_device(config.device))
    planned = _build(options, anonymizer)
    if config.parts > 1:
        from masquerade.pipeline.file_parts import check_parts
        from masquerade.pipeline.ray_batch import check_shared

        check_parts(planned)
        if options.engine == "ray":
            check_shared(tasks)
    return planned


def _run(plan: _Plan, pipeline: Pipeline, options: Options) -> list["FileOutcome"]:
    """Anonymize the files, print and record what becomes of each, and return it."""
    from masquerade.cli.progress import BatchProgress
    from masquerade.pipeline.batch import anonymize_batch
    from masquerade.pipeline.file_outcome import FileOutcome
    from masquerade.pipeline.outputs import FileTask
    from masquerade.pipeline.run_record import run_record

    tasks, unread = plan.tasks, plan.unread
    outcomes: list[FileOutcome] = []
    quiet = options.quiet or options.json
    bar = not (options.no_progress or quiet)
    side_by_side = options.engine == "ray" or ((options.workers or 1) > 1 and len(tasks) > 1)
    together = side_by_side and options.parts == 1
    with (
        BatchProgress(
            files=len(tasks) + len(unread),
            bar=bar,
            quiet=quiet,
            verbose=options.verbose,
            profile=options.profile,
            together=together,
        ) as progress,
        run_record(options.record, settings_sha256=pipeline.fingerprint()) as add_to_record,
        closing(  # an interruption ends its processes too
            anonymize_batch(
                tasks,
                pipeline,
                workers=options.workers,
                engine=options.engine,
                address=options.address,
                resume=options.resume,
                skip_existing=options.skip_existing,
                progress=progress.start_file,
            )
        ) as batch,
    ):
        for outcome in batch:
            if INTERRUPTED.is_set():
                raise KeyboardInterrupt
            progress.print_outcome(outcome)
            add_to_record(outcome)
            # receipts tell of each frame: those of all files of a night would fill the memory
            outcomes.append(outcome if options.json else replace(outcome, receipt=None))
        for path, why in unread.items():
            outcome = FileOutcome(FileTask(path, Path(options.output or path)), "failed", why, 1)
            progress.print_outcome(outcome)
            add_to_record(outcome)
            outcomes.append(outcome)
    return outcomes


def _print_json(
    outcomes: list["FileOutcome"], left_out: list[Path], config: PipelineConfig
) -> None:
    """Print what became of each file, with its receipt as it is written, as JSON."""
    entries = [_entry(path, None, "left out") for path in left_out]
    print(json.dumps([*(_as_json(outcome, config) for outcome in outcomes), *entries], indent=1))


def _build(options: Options, anonymizer: "Anonymizer") -> Pipeline:
    """Build the pipeline of a run; with --verify it attacks each output before publishing it."""
    pipeline = build_pipeline(None if options.edits else anonymizer, options.config())
    if options.verify:
        check = _output_check(pipeline.config, pipeline.anonymizer)
        pipeline = pipeline._replace(check_output=check)
    return pipeline


def _output_check(
    config: PipelineConfig, anonymizer: "Anonymizer"
) -> Callable[[Path, Path | None, str], None]:
    """The attack on each output of a run.

    Raises:
        UsageError: there is no output, or faces are left on purpose: every output would be deleted.
    """
    from masquerade.attack.file_facts import HIDES, shows_no_pixel
    from masquerade.attack.own_output import check_own_output

    if config.shadow:
        raise UsageError("--shadow writes no output that --verify could look at; leave out one.")
    some = config.keep_visible, config.hide_only, config.region, config.min_size, config.max_size
    if any(some):
        raise UsageError("--verify looks for anybody's face; leave it out where some stay visible.")
    names = source_names(config)
    parts = (config.regions or "").partition(":")[2].split(",") if "parts" in names else ()
    if not {"faces", "people", "frame"} & set(names) and not {"head", "face"} & set(parts):
        raise UsageError(f"--verify looks for faces, which --regions {config.regions} leaves.")
    people = any("person" in HIDES.get(name, ()) for name in names)
    return partial(
        check_own_output,
        people=people,
        text="text" in names,
        salvage=config.salvage,
        drawn=shows_no_pixel(anonymizer),
    )


def _print_plan(plan: _Plan, pipeline: Pipeline, options: Options) -> int:
    """Print what a run would do with each file, for `--dry-run`, and return the exit code."""
    from masquerade.pipeline.batch import is_finished, output_exists
    from masquerade.pipeline.outputs import check_outputs, config_of, main_output
    from masquerade.pipeline.source_file import check_source

    tasks, failed, entries = plan.tasks, dict(plan.unread), []
    config = options.config()
    for task in tasks:
        line, status = f"{task.src} -> {task.dst}", "planned"
        try:
            if not is_remote(task.src):
                check_source(task.src, sequence=config.sequence)
            own_config = config_of(task, config, tasks)
            check_outputs([task], own_config, overwrite=_may_exist(options))
            there = main_output(task.dst, own_config)
            if options.skip_existing and output_exists(task, own_config):
                line, status = f"{there} exists: {task.src} is skipped", "skipped"
            elif options.resume:
                own = pipeline._replace(config=config_of(task, pipeline.config, tasks))
                if is_finished(task, own):
                    line, status = f"{there} is done: {task.src} is skipped", "skipped"
        except MasqueradeError as error:
            failed[task.src] = str(error)
            entries.append(_entry(task.src, task.dst, "failed", str(error)))
            continue
        entries.append(_entry(task.src, task.dst, status))
        if not options.json:
            print(escape(line))
    if options.json:
        into = options.output
        for path, why in plan.unread.items():
            entries.append(_entry(path, Path(into or path), "failed", why))
        entries += [_entry(path, None, "left out") for path in plan.left_out]
        print(json.dumps(entries, indent=1))
    for path, why in failed.items():
        print(f"masquerade: {escape(path)}: {escape(why)}", file=sys.stderr)
    return 1 if failed else 0


def _list_people(task: "FileTask", pipeline: Pipeline, options: Options) -> int:
    """Write the sheet of people, and print their IDs."""
    from masquerade.cli.progress import BatchProgress
    from masquerade.pipeline.people_sheet import find_people, when, write_sheet

    path = _sheet_path(task, options)
    quiet = options.quiet or options.json
    bar = not (options.no_progress or quiet)
    with BatchProgress(files=1, bar=bar, quiet=quiet, verbose=False) as progress:
        people = find_people(task.src, pipeline, progress.start_file(task))
    missing = write_sheet(people, path, overwrite=options.overwrite)
    if options.json:
        print(json.dumps([{"id": seen.id, "frames": seen.frames} for seen in people], indent=1))
    elif not quiet:
        for person in people:
            print(f"ID {person.id}: {when(person)}")
        if not people:
            print(f"Nobody was found in {escape(task.src)}, whom an ID could name.")
    if not options.quiet:
        less = f"; {missing} of {len(people)} people, those seen shortest, are not on it"
        note = f"shows the original: not for release{less if missing else ''}"
        print(f"{escape(path)}  ({note})", file=sys.stderr)
    return 0


def _sheet_path(task: "FileTask", options: Options) -> Path:
    """Where the sheet of people goes.

    Raises:
        UsageError: it would be no PNG, or a file is there already.
    """
    from masquerade.video.probe import SHEET_SUFFIX

    named = task.src.with_name(f"{task.src.stem}{SHEET_SUFFIX}.png")
    path = named if options.output is None else task.dst
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path} is no PNG; give --list-people an -o that ends in .png.")
    refuse_existing(path, overwrite=options.overwrite)
    return path


def _left_out(files: list[Path]) -> str:
    """Return a sentence that names the files of folders that are not anonymized."""
    names = name_some([escape(path.name) for path in files], MOST_NAMED)
    few = ("is", "its name") if len(files) == 1 else ("are", "their names")
    return (
        f"{len(files)} of the folder's files {few[0]} left out, as no video or image by {few[1]}: "
        f"{names}; a file is taken that is named by itself."
    )


def _inputs(options: Options) -> list[str]:
    if not options.inputs:
        raise UsageError(f"name a video, as in: {EXAMPLE}")
    if "-" in options.inputs:
        refuse_closed("stdin")
    lists = (_listed(sys.stdin.buffer.read()) if word == "-" else [word] for word in options.inputs)
    return [word for words in lists for word in words]


def _listed(lines: bytes) -> list[str]:
    """The names in a list, one a line or each before a NUL, whatever their bytes are."""
    if lines.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError("the list on standard input is in UTF-16; save it in UTF-8.")
    lines = lines.removeprefix(codecs.BOM_UTF8)  # which some editors put there
    if b"\0" in lines:  # as `find -print0` writes them
        return [os.fsdecode(name) for name in lines.split(b"\0") if name.strip()]
    return [os.fsdecode(line.rstrip(b"\r")) for line in lines.split(b"\n") if line.strip()]


def _as_json(outcome: "FileOutcome", config: PipelineConfig) -> dict[str, Any]:
    """An input's entry in the output of --json, with its receipt, public where that is asked."""
    task, receipt = outcome.task, outcome.receipt and outcome.receipt.published(config)
    entry = _entry(task.src, task.dst, outcome.status, outcome.error)
    return entry | {"receipt": receipt and asdict(receipt)}


def _entry(source: Path, output: Path | None, status: str, error: str = "") -> dict[str, Any]:
    """An input's entry in the output of --json, of one that has no receipt."""
    return {
        "source": str(source),
        "output": None if output is None else str(output),
        "status": status,
        "error": error,
        "receipt": None,
    }
