"""Anonymize many files: find them, name their outputs, run them; a failed one stops no other."""

import glob
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from masquerade.anonymizer import Anonymizer
from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.freed_memory import keep_freed_memory
from masquerade.object_store import RemotePath, find_remote, path_of, remote_digest, remote_size
from masquerade.pipeline.config import Engine, Pipeline, PipelineConfig, with_region_source
from masquerade.pipeline.file_outcome import FileOutcome, failed, recover_folders, run_task
from masquerade.pipeline.file_parts import check_parts
from masquerade.pipeline.folder_files import files_inside, has_video_name
from masquerade.pipeline.outputs import (
    FileTask,
    check_outputs,
    config_of,
    config_of_retry,
    main_output,
    receipt_path,
)
from masquerade.pipeline.ray_batch import check_shared, run_on_ray, run_parts_on_ray
from masquerade.pipeline.receipt import VERSION
from masquerade.pipeline.single_file import OnProgress
from masquerade.process_pool import END_SIGNALS, end_with_parent, loader_of, worker_pool
from masquerade.ray_cluster import check_engine
from masquerade.storage import file_digest, place_keys, refuse_standard_output
from masquerade.video.encoding import suffix_for
from masquerade.video.probe import (
    IMAGE_SUFFIXES,
    OWN_SUFFIX,
    RECEIPT_SUFFIX,
    SHEET_SUFFIX,
    video_digest,
)

_busy = threading.Event()  # in a worker: it anonymizes a file
_received_signals: list[int] = []  # in a worker: the signals that it got
_regions: list[Any] = []  # in a worker, which does files of one batch alone: its region source
# of what runs write beside videos
SIDE_FILE_SUFFIXES = (RECEIPT_SUFFIX, ".shadow.json", ".boxes.json")
Naming = Literal["keep", "sequential", "hash"]


def plan_tasks(
    inputs: Iterable[str],
    *,
    output: str | None = None,
    recursive: bool = False,
    suffix: str | None = None,
    name: Naming = "keep",
    codec: str = "h264",
    sequence: bool = False,
    unread: dict[Path, str] | None = None,
    passed_over: list[Path] | None = None,
    beside: Collection[Path] = (),
) -> list[FileTask]:
    """Find the files to anonymize and name the output of each, before any work.

    `inputs` are files, folders and patterns; with `sequence` a folder is one video. `output` is a
    file if there is one input, else a folder (also if it ends in a slash); one inside an input's
    folder is not searched. `suffix` is put behind each name; None: "_anonymized" beside the input,
    nothing in a folder. The codec decides the container of videos. What cannot be read in folders
    is noted in `unread`, with the reason, and what is no video or image there by its name in
    `passed_over`. `beside` are folders for the run's boxes, masks and receipts, which are not
    searched either. A file of a folder is left out that an earlier run wrote there.

    Raises:
        UsageError: there is nothing to anonymize, or two outputs would have one name, or `output`
            is a file, which has its name already, or "-", or `suffix` holds a slash.
        VideoError: there is nothing to anonymize that can be read.
    """
    refuse_standard_output(output or "")
    unread = {} if unread is None else unread
    others = [] if passed_over is None else passed_over
    folder_or_file = None if output is None else path_of(output)
    names_file = folder_or_file is not None and not (
        os.path.isdir(folder_or_file) or str(output).endswith("/") or folder_or_file.suffix == ""
    )
    if suffix and not {os.sep, "/", "\0"}.isdisjoint(suffix):
        raise UsageError("--suffix is put behind names, and names no folder: leave / and NUL out.")
    into = None if names_file else folder_or_file
    found = list(
        _expand(
            inputs,
            unread,
            others,
            recursive=recursive,
            sequence=sequence,
            output=into,
            suffix=suffix,
            beside=beside,
        )
    )
    if unread and not found:
        raise VideoError("; ".join(f"{path}: {why.rstrip('.')}" for path, why in unread.items()))
    if not found:
        raise UsageError("there is no video or image among the inputs; name one.")
    if folder_or_file is not None:
        if names_file and len(found) == 1:
            if suffix is not None or name != "keep":
                flag = "--suffix" if suffix is not None else "--name"
                raise UsageError(f"-o {output} names the file: leave {flag} out, or name a folder.")
            return [FileTask(found[0][0], folder_or_file)]
        if folder_or_file.is_file():
            raise UsageError(f"{output} is one file for {len(found)} inputs; name a folder.")
        if names_file:
            raise UsageError(f"{output} names one file for {len(found)} inputs; name a folder.")
    tail = suffix if suffix is not None else (OWN_SUFFIX if output is None else "")
    tasks, equal = [], Counter[tuple[Path, str]]()
    for number, (src, below) in enumerate(found, 1):
        place = src if src.name not in ("", "..") else Path(os.path.abspath(src))
        folder = place.parent if folder_or_file is None else folder_or_file / below
        stem = f"{number:06d}"
        if name == "keep":
            stem = place.name if sequence else place.stem  # a folder's dots begin no ending
        if name == "hash":
            with suppress(MasqueradeError):  # what cannot be read fails when its turn comes
                stem = _digest(src)[:16]
                equal[folder, stem] += 1
                if (copy := equal[folder, stem]) > 1:
                    stem += f"-{copy}"
        tasks.append(FileTask(src, folder / f"{stem}{tail}{_extension(src, codec)}"))
    return _distinct(tasks, tail)


def _expand(
    inputs: Iterable[str],
    unread: dict[Path, str],
    passed_over: list[Path],
    *,
    recursive: bool,
    sequence: bool,
    output: Path | None,
    suffix: str | None,
    beside: Collection[Path],
) -> Iterator[tuple[Path, Path]]:
    """Each file once, with its folder below the input that named it."""
    made = {Path(os.path.realpath(path)) for path in (output, *beside) if path is not None}
    seen: set[Path] = set()
    for text in inputs:
        given = path_of(text)
        if isinstance(given, RemotePath):
            if sequence:
                raise UsageError(f"{text} is an address, and --sequence reads files: download it.")
            yield from _expand_remote(
                given, seen, passed_over, recursive=recursive, output=output, suffix=suffix
            )
            continue
        paths, root = [given], str(given)
        if not os.path.exists(root) and glob.has_magic(root):
            paths = [Path(match) for match in sorted(glob.glob(root, recursive=True))]
            root = os.path.dirname(root[: glob.magic_check.search(root).start()])  # type: ignore[attr-defined]
        whole = Path(os.path.realpath(root))
        apart = made - {whole, *whole.parents}
        for path in paths:
            entries = [(path, Path())]
            if os.path.isdir(path) and not sequence:
                lost: dict[Path, str] = {}
                inside = list(files_inside(path, lost, recursive=recursive))
                itself = output is not None and os.path.realpath(output) == os.path.realpath(path)
                earlier = _made_before(inside, suffix, beside, into_itself=itself)
                sources = [one for one in inside if _is_input(one) and one not in earlier]
                files = _without_links_to_others(sources, path)
                places = {one: Path(os.path.realpath(one.parent)) for one in inside}
                passed_over += [
                    one
                    for one, place in places.items()
                    if not _is_known(one) and apart.isdisjoint((place, *place.parents))
                ]
                entries = [(file, file.parent.relative_to(path)) for file in files]
                for one, why in lost.items():
                    place = Path(os.path.realpath(one.parent))
                    wanted = _is_input(one) or not has_video_name(one)  # or it is a folder
                    if wanted and apart.isdisjoint((place, *place.parents)):
                        unread[one] = why
            for file, below in entries:
                key = Path(os.path.realpath(file))  # a link to a file already listed adds nothing
                if not apart.isdisjoint(key.parents):  # what an earlier run wrote there
                    continue
                if key not in seen:
                    seen.add(key)
                    yield file, below


def _expand_remote(
    given: RemotePath,
    seen: set[Path],
    passed_over: list[Path],
    *,
    recursive: bool,
    output: Path | None,
    suffix: str | None,
) -> Iterator[tuple[Path, Path]]:
    """`_expand` of an address; files in `seen` were named before, and those here are added."""
    ours = output if output and given in output.parents else None  # of an earlier run
    listed = list(find_remote(given, recursive=recursive))
    itself = output == given
    earlier = _made_before([one for one, _ in listed], suffix, into_itself=itself)
    for there, below in listed:
        if there != given and there in earlier:
            continue
        wanted = there == given or _is_input(there)
        if not wanted and ours not in there.parents and not _is_known(there):
            passed_over.append(there)
        if wanted and there not in seen and ours not in there.parents:
            seen.add(there)
            yield there, below


def _without_links_to_others(files: Iterable[Path], folder: Path) -> list[Path]:
    """The files of a folder, less those that are links to others of them."""
    real = {file: Path(os.path.realpath(file)) for file in files}
    root = Path(os.path.realpath(folder))
    lies_there = {file for file, place in real.items() if place == root / file.relative_to(folder)}
    places = {real[file] for file in lies_there}
    return [file for file in real if file in lies_there or real[file] not in places]


def _made_before(
    files: Collection[Path],
    suffix: str | None,
    receipts: Collection[Path] = (),
    *,
    into_itself: bool,
) -> set[Path]:
    """The files that an earlier run made of others among them.

    Called _anonymized, they lie beside one of that name, or have a receipt, beside them or in the
    folders `receipts`. With another suffix it takes both: by its name alone a source, such as
    cam_2.mp4 beside cam.mp4, could be taken for one, and be replaced. Where the folder of outputs
    is that of the sources (`into_itself`), receipts that name another of the files tell it.
    """
    there = set(files)
    names = Counter(
        (file.parent, name) for file in files if _is_input(file) for name in (file.stem, file.name)
    )

    def held(file: Path) -> list[Path]:
        beside = file.with_name(file.name + RECEIPT_SUFFIX)
        elsewhere = [folder / beside.name for folder in receipts]
        found = [path for path in elsewhere if path.exists()]
        return [beside, *found] if beside in there else found

    def is_made(file: Path) -> bool:
        for end in {OWN_SUFFIX, suffix or OWN_SUFFIX}:
            if file.stem.endswith(end):
                signs = [(file.parent, file.stem.removesuffix(end)) in names, bool(held(file))]
                if all(signs) or (end == OWN_SUFFIX and any(signs)):
                    return True
        return into_itself and any(_names_source(path, file, there, names) for path in held(file))

    return set(filter(is_made, files))


def _names_source(
    receipt: Path, file: Path, there: Collection[Path], names: Counter[tuple[Path, str]]
) -> bool:
    """Whether a receipt says that a file was made from another file of its folder.

    It counts if it has the size of the file. A public one names no source, which is then another
    file of the same name with another ending.
    """
    try:
        content = json.loads(receipt.read_text("utf-8"))
        name, size = content["source"]["name"], content["output"]["bytes"]
        if size != (remote_size(file) if isinstance(file, RemotePath) else file.stat().st_size):
            return False
        if name is None:
            return names[file.parent, file.stem] > 1
        return name != file.name and file.with_name(name) in there
    except (OSError, MasqueradeError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_input(file: Path) -> bool:
    """Whether a file of a folder is a video or image by its name, and no sheet of people."""
    return (
        has_video_name(file)
        and not file.name.startswith(".")
        and not file.name.endswith(f"{SHEET_SUFFIX}.png")
    )


def _is_known(file: Path) -> bool:
    """Whether a file of a folder is a video or image by its name, hidden, or written by a run."""
    return (
        has_video_name(file) or file.name.startswith(".") or file.name.endswith(SIDE_FILE_SUFFIXES)
    )


def _extension(src: Path, codec: str) -> str:
    if src.suffix.lower() in IMAGE_SUFFIXES and not src.is_dir():
        return src.suffix
    return suffix_for(codec)


def _distinct(tasks: list[FileTask], tail: str) -> list[FileTask]:
    """Give tasks whose outputs would have one name the suffix of their source as well.

    So a.avi and a.mp4 of one folder become a.avi.mp4 and a.mp4.mp4, and with a `tail` such as _safe
    a.avi_safe.mp4 and a.mp4_safe.mp4.

    Raises:
        UsageError: two outputs would have one name all the same.
    """
    given, keys = tasks, place_keys(task.dst for task in tasks)
    counts = Counter(keys)
    tasks = [
        replace(task, dst=_with_ending_of_source(task, tail)) if counts[key] > 1 else task
        for task, key in zip(tasks, keys, strict=True)
    ]
    first: dict[str, FileTask] = {}
    for task, key in zip(given, place_keys(task.dst for task in tasks), strict=True):
        other = first.setdefault(key, task)
        if other is not task:
            raise UsageError(
                f"{other.src} and {task.src} would both become {task.dst}; "
                "give --name sequential, or do them apart."
            )
    return tasks


def _with_ending_of_source(task: FileTask, tail: str) -> Path:
    stem = task.dst.stem.removesuffix(tail) + task.src.suffix + tail
    return task.dst.with_name(stem + task.dst.suffix)


def check_resume(config: PipelineConfig, anonymizer: Anonymizer) -> None:
    """Refuse to resume a run where no receipt tells whether a file was done with these settings.

    Raises:
        UsageError: receipts do not hold what is needed.
    """
    if config.public_receipt:
        raise UsageError("--resume needs the full receipt; leave --public-receipt out.")
    if not (config.receipt or config.shadow):
        raise UsageError(
            "--resume goes by receipts; leave --no-receipt out, or give --skip-existing."
        )
    keyed = anonymizer.needs_source_digest
    if keyed or config.seed is not None:
        flag = "--key" if keyed else "--seed"
        raise UsageError(
            f"--resume cannot tell what was done with this {flag}, as no receipt holds it: leave "
            "one of them out, or give --skip-existing."
        )


def output_exists(task: FileTask, config: PipelineConfig) -> bool:
    """Whether the output of a task exists, so that `skip_existing` leaves the task out.

    Raises:
        UsageError: its receipt tells that it is of another source, by name or by size.
    """
    path = main_output(task.dst, config)
    if not _exists(path):
        return False
    try:
        receipt = json.loads(receipt_path(task.dst, config).read_text("utf-8"))
        name, size = receipt["source"]["name"], receipt["source"]["bytes"]
        read = task.src.stat().st_size if size and task.src.is_file() else size
        of_output = None if config.shadow else receipt["output"]["sha256"]
    except (OSError, VideoError, ValueError, KeyError, TypeError, RecursionError):
        return True  # no receipt tells what it is of
    if name in (None, task.src.name) and size == read:  # a public receipt has neither
        return True
    if of_output is not None and of_output != _digest(path):
        return True  # the receipt is of an output that was replaced
    raise UsageError(
        f"{path} exists, and its receipt says that it is of another video than this one: choose "
        "another -o, or give --overwrite."
    )


def _exists(path: Path) -> bool:
    """Whether a file exists; one with a name that the file system refuses does not."""
    try:
        return path.exists()
    except OSError:
        return False


def is_finished(task: FileTask, pipeline: Pipeline) -> bool:
    """Whether an earlier run made this output from this source with this method and configuration.

    It must also have attacked the output where this run would, and written the exports asked for.
    Other `threads`, or a stricter --allow-empty or --allow-gaps then, make no difference.
    A receipt of another version of masquerade is refused, unless the output may be replaced.
    """
    config = pipeline.config
    path = receipt_path(task.dst, config)
    try:
        receipt = json.loads(path.read_text("utf-8"))
        version = receipt["receipt"]
        if version == VERSION:
            earlier = receipt["settings"]
            same = replace(
                config,
                threads=earlier["threads"],
                allow_empty=config.allow_empty and earlier["allow_empty"],
                allow_gaps=config.allow_gaps and earlier["allow_gaps"],
            )
            return bool(
                (pipeline.check_output is None or receipt["verified"] is True)
                and receipt["settings_sha256"] == pipeline._replace(config=same).fingerprint()
                and receipt["source"]["sha256"] == _digest(task.src)
                and (config.shadow or receipt["output"]["sha256"] == _digest(task.dst))
                and all(
                    receipt["exports"][kind] == file_digest(file)
                    for kind, file in config.exports.items()
                )
            )
    except (OSError, VideoError, ValueError, KeyError, TypeError, RecursionError):
        return False
    if config.overwrite:
        return False
    raise UsageError(
        f"{path.name} is of format {version} and this version of masquerade reads {VERSION}, so it "
        "cannot be resumed: give --overwrite to do that file again."
    )


def _digest(path: Path) -> str:
    return remote_digest(path) if isinstance(path, RemotePath) else video_digest(path)


def anonymize_batch(
    tasks: list[FileTask],
    pipeline: Pipeline,
    *,
    workers: int | None = None,
    engine: Engine = "processes",
    address: str | None = None,
    resume: bool = False,
    skip_existing: bool = False,
    progress: Callable[[FileTask], OnProgress | None] = lambda task: None,
) -> Generator[FileOutcome, None, None]:
    """Anonymize files, in this process, in several or on a cluster; yield the outcome of each.

    `workers` are how many files are done side by side; None: one, or on a Ray cluster, which is
    that at `address`, as many as it has cores. With `parts` in the configuration one file is done
    after the other, and `workers` are how many of its parts are done side by side. `resume` leaves
    out files that `is_finished`, `skip_existing` files whose output exists. `progress` is called
    with each task that begins in this process, and gives its callback. Whoever leaves before the
    end closes it, which ends the processes and removes what they left.
    """
    check_outputs(tasks, pipeline.config)
    check_engine(engine, address=address, device=pipeline.config.device)
    if resume:
        check_resume(pipeline.config, pipeline.anonymizer)
    in_parts = pipeline.config.parts > 1
    if in_parts:
        check_parts(pipeline)
        if engine == "ray":
            check_shared(tasks)
        pipeline = pipeline._replace(workers=workers)
    configs = {task: config_of(task, pipeline.config, tasks) for task in tasks}
    recover_folders(configs.items())
    todo = []
    for task in tasks:
        own = pipeline._replace(config=configs[task])
        try:
            done = (skip_existing and output_exists(task, own.config)) or (
                resume and is_finished(task, own)
            )
        except MasqueradeError as error:  # such as a store that does not answer
            yield FileOutcome(task, "failed", str(error), error.exit_code)
            continue
        if done:
            yield FileOutcome(task, "skipped")
        else:
            todo.append((task, own))
    if engine == "ray":
        if in_parts:
            yield from run_parts_on_ray(todo, progress, address=address, workers=workers)
        else:
            yield from run_on_ray(todo, address=address, workers=workers)
        return
    if workers is not None and workers > 1 and len(todo) > 1 and not in_parts:
        yield from _run_in_processes(todo, workers)
        return
    for task, own in todo:
        yield run_task(task, own, progress(task))


def _run_in_worker(
    load: Callable[[], Pipeline], task: FileTask, config: PipelineConfig
) -> FileOutcome:
    """`run_task` in a process that ends with it on a signal, and does not take the next task.

    Also where a library swallowed the exception and the task went on: nobody would end it later.
    """
    outcome = None
    with suppress(SystemExit):
        _busy.set()
        outcome = run_task(task, load()._replace(config=config), build=_with_kept_regions)
    _busy.clear()
    if _received_signals or outcome is None:
        os._exit(128 + _received_signals[0] if _received_signals else 1)
    return outcome


def _with_kept_regions(pipeline: Pipeline) -> Pipeline:
    """Add the worker's region source, which is built for its first file and serves all others."""
    if not _regions:
        _regions.append(with_region_source(pipeline).regions)
    return pipeline._replace(regions=_regions[0])


def _run_in_processes(todo: list[tuple[FileTask, Pipeline]], workers: int) -> Iterator[FileOutcome]:
    """Run files in parallel. If a process dies, each unfinished file is rerun in one of its own."""
    broken = []
    try:
        with worker_pool(workers, initializer=_start_worker, signals=END_SIGNALS) as pool:
            load = loader_of(pool, todo[0][1]._replace(regions=None))
            futures: dict[Future[FileOutcome], tuple[FileTask, Pipeline]] = {}
            for task, own in todo:
                retry = own._replace(config=config_of_retry(task, own.config))
                try:
                    future = pool.submit(_run_in_worker, load, task, own.config)
                    futures[future] = (task, retry)
                except BrokenProcessPool:
                    broken.append((task, retry))
            for future in as_completed(futures):
                task, retry = futures.pop(future)  # and with it the outcome, which may be large
                try:
                    yield future.result()
                except BrokenProcessPool:
                    broken.append((task, retry))
                except Exception as error:  # such as a network for which a worker has no memory
                    yield failed(task, error)
    finally:
        # a worker that ends at once leaves the file that it was writing
        recover_folders((task, own.config) for task, own in todo)
    if len(todo) == 1 and broken:
        why = "its worker process died, perhaps for want of memory; use fewer --workers."
        yield FileOutcome(todo[0][0], "failed", why, 1)
        return
    for one in broken:  # any of them may have been the one
        yield from _run_in_processes([one], 1)


def _start_worker() -> None:
    keep_freed_memory()
    _exit_on_signals()


def _exit_on_signals() -> None:
    """In a worker: raise SystemExit on the first signal, so that a half-made output is removed.

    Those that it was started to ignore stay ignored.
    """

    def end(received: int, frame: object) -> None:
        # before the next signal, which may come inside of the next line
        first = not _received_signals
        _received_signals.append(received)
        if not _busy.is_set():  # an exception would be printed, and there is nothing to remove
            os._exit(128 + received)
        if first:
            sys.exit(128 + received)

    for number in END_SIGNALS:
        # nohup lets a hang-up be ignored; by SIGTERM the parent ends its workers
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
    end_with_parent()
