"""Outputs of a run: which files it writes, and that none of them replaces what is to be kept."""

import errno
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.object_store import (
    RemotePath,
    refuse_address,
    refuse_existing_remote,
    remote_digest,
)
from masquerade.output_paths import place_keys, refuse_existing, refuse_standard_output
from masquerade.pipeline.config import FILES, PipelineConfig, encoding_for
from masquerade.ranges import flag_of
from masquerade.video.encoding import codec_for, container_for, lossless_for
from masquerade.video.probe import RECEIPT_SUFFIX, images_in, video_digest

EXPORT_SUFFIXES = {"report": RECEIPT_SUFFIX, "export_boxes": ".boxes.json", "export_masks": ".mkv"}
"""Of what is written beside outputs, by the field that names the file, or a folder of such."""
RECEIPT_KEYS = {"receipt", "source", "output", "method", "settings"}  # by which one is known


@dataclass(frozen=True)
class FileTask:
    """One file to anonymize."""

    src: Path
    dst: Path

    def outputs(self, config: PipelineConfig) -> list[Path]:
        """Every file that is written for it; the receipt is the last."""
        written = [None if config.shadow else self.dst, config.export_boxes, config.export_masks]
        receipt = receipt_path(self.dst, config) if config.receipt or config.shadow else None
        return [path for path in (*written, receipt) if path]

    def outdated_receipts(self, config: PipelineConfig) -> list[Path]:
        """The older receipt beside an output that this run replaces, if there is one."""
        if config.shadow or not config.overwrite:
            return []
        return outdated_receipts(self.dst, self.outputs(config))


def outdated_receipts(dst: Path, outputs: Sequence[Path]) -> list[Path]:
    """The older receipt beside an output that is replaced, unless one of `outputs` replaces it.

    It would tell another source or method of the new output. A file that is no receipt is not
    taken for one.
    """
    beside = dst.with_name(dst.name + RECEIPT_SUFFIX)
    if isinstance(beside, RemotePath):
        there = beside not in outputs and beside.exists()
    else:
        place, *written = place_keys([beside, *outputs])
        there = place not in written and beside.is_file() and not beside.is_symlink()
    try:
        receipt = json.loads(beside.read_text("utf-8")) if there else {}
    except (OSError, ValueError, RecursionError):
        return []
    known = isinstance(receipt, dict) and receipt.keys() >= RECEIPT_KEYS
    return [beside] if known else []


def receipt_path(dst: Path, config: PipelineConfig) -> Path:
    """Where the receipt of an output goes, or that of a run with `shadow`, which has no output."""
    ending = ".shadow.json" if config.shadow else RECEIPT_SUFFIX
    return config.report or dst.with_name(dst.name + ending)


def main_output(dst: Path, config: PipelineConfig) -> Path:
    """The file that a run makes: the output, or with `shadow` the receipt alone."""
    return receipt_path(dst, config) if config.shadow else dst


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a video, image or folder, on this machine or in an object store."""
    return remote_digest(path) if isinstance(path, RemotePath) else video_digest(path)


def config_of(task: FileTask, config: PipelineConfig, tasks: Sequence[FileTask]) -> PipelineConfig:
    """Return the configuration of one file, with its own paths of report, boxes and masks.

    In a batch, and where an existing folder is given, these are files in the folder that is given.
    """
    paths = {key: getattr(config, key) for key in EXPORT_SUFFIXES}
    named: dict[str, Any] = {
        key: named_after(task, path, key)
        for key, path in paths.items()
        if path and (len(tasks) > 1 or os.path.isdir(path))
    }
    return replace(config, **named)


def named_after(task: FileTask, folder: Path, key: str) -> Path:
    """The path in a folder of a video's receipt, boxes or masks; `key` is in `EXPORT_SUFFIXES`."""
    return folder / (task.dst.name + EXPORT_SUFFIXES[key])


def config_of_retry(task: FileTask, config: PipelineConfig) -> PipelineConfig:
    """The configuration by which a file is tried again after its worker died.

    Where nothing of its output is there before the first try, what is there later is of a try whose
    outcome alone was lost, and is replaced.
    """
    new = config.overwrite or not any(map(_may_exist, task.outputs(config)))
    return replace(config, overwrite=True) if new else config


def _may_exist(path: Path) -> bool:
    """Whether a file exists, or may: its folder cannot be read, or its store does not answer."""
    try:
        return path.exists()
    except (OSError, MasqueradeError):
        return True


def check_outputs(
    tasks: Sequence[FileTask],
    config: PipelineConfig,
    *,
    inputs: Sequence[Path] = (),
    overwrite: bool = True,
) -> None:
    """Refuse tasks whose outputs cannot be written, or would replace something.

    Refused are outputs that are read, equal to another, or in a container that cannot hold the
    codec; without `overwrite` also those that exist. So are receipt flags with --no-receipt, and
    --sequence with files. `inputs` are files and folders read beside the sources and those that
    `config` names.
    """
    if not (config.receipt or config.shadow) and (config.report or config.public_receipt):
        flag = "--report" if config.report else "--public-receipt"
        raise UsageError(f"--no-receipt writes no receipt; leave it or {flag} out.")
    if config.sequence is not None and (
        files := [task.src for task in tasks if os.path.isfile(task.src)]
    ):
        raise UsageError(
            f"--sequence reads folders of images, and {files[0]} is a file; leave one of them out."
        )
    for key, ending in EXPORT_SUFFIXES.items():
        path = getattr(config, key)
        refuse_standard_output(str(path), flag_of(key))
        of_one = path and path.name.endswith(os.path.splitext(f"x{ending}")[1])
        if len(tasks) > 1 and of_one and not os.path.isdir(path):
            raise UsageError(
                f"{flag_of(key)} {path} names one file for {len(tasks)} inputs; name a folder."
            )
    kind, _, boxes = (config.regions or "").partition(":")
    networks = (getattr(config, name) for name in FILES)
    named = (config.region, config.edits, *networks, boxes and "boxes" in kind and Path(boxes))
    sources = [task.src for task in tasks]
    beside = [*inputs, *(Path(path) for path in named if path)]
    read = [*sources, *beside]
    read += [file for path in beside if path.is_dir() for file in path.iterdir()]
    for folder in filter(os.path.isdir, sources):
        with suppress(VideoError):  # one without images fails when its turn comes
            read += images_in(folder)
    held = {os.path.realpath(path): path for path in read}
    inodes = {(s.st_dev, s.st_ino): path for path in read if (s := _stat(path))}
    outputs: list[Path] = []
    flags: dict[Path | None, str] = {}
    for task in tasks:
        own = config_of(task, config, tasks)
        written = task.outputs(own)
        # of several files, one whose name is too long fails alone, when its turn comes
        if _is_reached(task.src) and (len(tasks) == 1 or all(map(_can_be_named, written))):
            outputs += written
        flags |= {own.report: "--report", own.export_boxes: "--export-boxes"}
        flags |= {own.export_masks: "--export-masks", task.dst: "-o"}
    for path in outputs:
        refuse_address(path, flags.get(path, "-o"))
    for task in tasks if not config.shadow else ():
        container_for(task.dst, encoding_for(config, codec_for(task.dst)))
    if config.export_masks and len(tasks) == 1:
        container_for(config.export_masks, lossless_for(config.export_masks))
    first: set[str] = set()
    for path, key in zip(outputs, place_keys(outputs), strict=True):
        flag, folders = flags.get(path, "-o"), flags.get(path) == "-o"
        refuse_existing(path, overwrite=True, flag=flag, folders=folders)
        about = _stat(path)
        source = held.get(os.path.realpath(path)) or (
            inodes.get((about.st_dev, about.st_ino)) if about else None
        )
        if source is not None:
            raise UsageError(
                f"{path} would replace {source}, which is read; choose another -o or --suffix."
            )
        if key in first:
            raise UsageError(f"two outputs would be called {path}; give each its own name.")
        first.add(key)
        refuse_existing(path, overwrite=overwrite, flag=flag)
        if isinstance(path, RemotePath) and not overwrite:
            refuse_existing_remote(path)


def _can_be_named(path: Path) -> bool:
    """Whether the file system accepts a name, which may be too long."""
    try:
        path.lstat()
    except (OSError, ValueError) as error:
        return getattr(error, "errno", None) not in (None, errno.ENAMETOOLONG)
    return True


def _is_reached(src: Path) -> bool:
    """Whether a source's folder can be entered; if not, that is reported when its turn comes."""
    try:
        os.stat(src)
    except PermissionError:
        return False
    except (OSError, ValueError):
        pass
    return True


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None
