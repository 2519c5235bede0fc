"""The plan of a batch: which files are anonymized, and where each output goes."""

import glob
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.object_store import RemotePath, find_remote, path_of, remote_size
from masquerade.output_paths import place_keys, refuse_standard_output
from masquerade.pipeline.folder_files import files_inside, has_video_name
from masquerade.pipeline.outputs import FileTask, content_digest
from masquerade.video.encoding import suffix_for
from masquerade.video.probe import IMAGE_SUFFIXES, OWN_SUFFIX, RECEIPT_SUFFIX, SHEET_SUFFIX

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
    searched either. A file of a folder or a pattern is left out that an earlier run made.

    Raises:
        UsageError: there is nothing to anonymize, or two outputs would have one name, or `output`
            is a file, which has its name already, or "-", or `suffix` holds a slash.
        VideoError: there is nothing to anonymize that can be read.
    """
    refuse_standard_output(output or "")
    unread = {} if unread is None else unread
    skipped = [] if passed_over is None else passed_over
    folder_or_file = None if output is None else path_of(output)
    names_file = folder_or_file is not None and not (
        os.path.isdir(folder_or_file) or str(output).endswith("/") or folder_or_file.suffix == ""
    )
    if suffix and not {os.sep, "/", "\0"}.isdisjoint(suffix):
        raise UsageError("--suffix is put behind names, and names no folder: leave / and NUL out.")
    into = None if names_file else folder_or_file
    files = list(
        _expand(
            inputs,
            unread,
            skipped,
            recursive=recursive,
            sequence=sequence,
            output=into,
            suffix=suffix,
            beside=beside,
        )
    )
    if unread and not files:
        raise VideoError("; ".join(f"{path}: {why.rstrip('.')}" for path, why in unread.items()))
    if not files:
        raise UsageError("there is no video or image among the inputs; name one.")
    if folder_or_file is not None:
        if names_file and len(files) == 1:
            if suffix is not None or name != "keep":
                flag = "--suffix" if suffix is not None else "--name"
                raise UsageError(f"-o {output} names the file: leave {flag} out, or name a folder.")
            return [FileTask(files[0][0], folder_or_file)]
        if folder_or_file.is_file():
            raise UsageError(f"{output} is one file for {len(files)} inputs; name a folder.")
        if names_file:
            raise UsageError(
                f"{output} names one file for {len(files)} inputs; name a folder, and end it with "
                "a slash where it is not there yet."
            )
    tail = suffix if suffix is not None else (OWN_SUFFIX if output is None else "")
    tasks, equal = [], Counter[tuple[Path, str]]()
    for number, (src, below) in enumerate(files, 1):
        place = src if src.name not in ("", "..") else Path(os.path.abspath(src))
        folder = place.parent if folder_or_file is None else folder_or_file / below
        stem = f"{number:06d}"
        if name == "keep":
            stem = place.name if sequence else place.stem  # a folder's dots begin no ending
        if name == "hash":
            with suppress(MasqueradeError):  # what cannot be read fails when its turn comes
                stem = content_digest(src)[:16]
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
    outputs = {Path(os.path.realpath(path)) for path in (output, *beside) if path is not None}
    seen: set[Path] = set()
    for text in inputs:
        input_path = path_of(text)
        if isinstance(input_path, RemotePath):
            if sequence:
                raise UsageError(f"{text} is an address, and --sequence reads files: download it.")
            yield from _expand_remote(
                input_path, seen, passed_over, recursive=recursive, output=output, suffix=suffix
            )
            continue
        paths, root = [input_path], str(input_path)
        if not os.path.exists(root) and glob.has_magic(root):
            paths = [Path(match) for match in sorted(glob.glob(root, recursive=True))]
            root = os.path.dirname(root[: glob.magic_check.search(root).start()])  # type: ignore[attr-defined]
            receipts = [path.with_name(path.name + RECEIPT_SUFFIX) for path in paths]
            found = [*paths, *(receipt for receipt in receipts if os.path.exists(receipt))]
            itself = output is not None and os.path.realpath(output) == os.path.realpath(root)
            earlier = _made_before(found, suffix, beside, into_itself=itself)
            paths = [path for path in paths if path not in earlier]
        whole = Path(os.path.realpath(root))
        apart = outputs - {whole, *whole.parents}
        for path in paths:
            entries = [(path, Path())]
            if os.path.isdir(path) and not sequence:
                lost: dict[Path, str] = {}
                inside = list(files_inside(path, lost, recursive=recursive))
                itself = output is not None and os.path.realpath(output) == os.path.realpath(path)
                earlier = _made_before(inside, suffix, beside, into_itself=itself)
                sources = [file for file in inside if _is_input(file) and file not in earlier]
                files = _without_links_to_others(sources, path)
                places = {file: Path(os.path.realpath(file.parent)) for file in inside}
                passed_over += [
                    file
                    for file, place in places.items()
                    if not _is_known(file) and apart.isdisjoint((place, *place.parents))
                ]
                entries = [(file, file.parent.relative_to(path)) for file in files]
                for lost_path, why in lost.items():
                    place = Path(os.path.realpath(lost_path.parent))
                    # What has no video's name may be a folder.
                    wanted = _is_input(lost_path) or not has_video_name(lost_path)
                    if wanted and apart.isdisjoint((place, *place.parents)):
                        unread[lost_path] = why
            for file, below in entries:
                key = Path(os.path.realpath(file))  # a link to a file already listed adds nothing
                if not apart.isdisjoint(key.parents):  # what an earlier run wrote there
                    continue
                if key not in seen:
                    seen.add(key)
                    yield file, below


def _expand_remote(
    address: RemotePath,
    seen: set[Path],
    passed_over: list[Path],
    *,
    recursive: bool,
    output: Path | None,
    suffix: str | None,
) -> Iterator[tuple[Path, Path]]:
    """Expand an address as `_expand` does a path; adds the files to `seen`, those named before."""
    ours = output if output and address in output.parents else None  # of an earlier run
    listed = list(find_remote(address, recursive=recursive))
    itself = output == address
    earlier = _made_before([file for file, _ in listed], suffix, into_itself=itself)
    for there, below in listed:
        if there != address and there in earlier:
            continue
        wanted = there == address or _is_input(there)
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
    """Return those of the files that an earlier run made from others of them.

    Called _anonymized, they lie beside a file of that name, or have a receipt, beside them or in
    the folders `receipts`. With another suffix it takes both: by its name alone a source, such as
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
        existing = [path for path in elsewhere if path.exists()]
        return [beside, *existing] if beside in there else existing

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

    It counts if it has the size of the file. A public receipt names no source, which is then
    another file of the same name with another ending.
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
    planned, keys = tasks, place_keys(task.dst for task in tasks)
    counts = Counter(keys)
    tasks = [
        replace(task, dst=_with_ending_of_source(task, tail)) if counts[key] > 1 else task
        for task, key in zip(tasks, keys, strict=True)
    ]
    first: dict[str, FileTask] = {}
    for task, key in zip(planned, place_keys(task.dst for task in tasks), strict=True):
        earlier = first.setdefault(key, task)
        if earlier is not task:
            raise UsageError(
                f"{earlier.src} and {task.src} would both become {task.dst}; "
                "give --name sequential, or do them apart."
            )
    return tasks


def _with_ending_of_source(task: FileTask, tail: str) -> Path:
    stem = task.dst.stem.removesuffix(tail) + task.src.suffix + tail
    return task.dst.with_name(stem + task.dst.suffix)
