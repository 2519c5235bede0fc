"""Which published files are attacked, and the raw video of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from masquerade.errors import UsageError, VideoError
from masquerade.pipeline.folder_files import files_inside, has_video_name
from masquerade.video.container import printable
from masquerade.video.probe import IMAGE_SUFFIXES, OWN_SUFFIX, RECEIPT_SUFFIX


def list_published(
    paths: Sequence[Path],
) -> tuple[dict[Path, Path], tuple[Path, ...], dict[Path, str]]:
    """List the files to attack, each with its folder relative to the input that named it.

    With it the files in folders that are hidden or no video or image by their names, but for
    receipts beside their files, to whose attack they belong; and what cannot be read, with the
    reason.
    """
    files: dict[Path, Path] = {}
    other_files: dict[Path, None] = {}
    unread: dict[Path, str] = {}
    for path in paths:
        try:
            path.stat()
        except FileNotFoundError as error:
            says = f"{path} does not exist; name a video, an image or a folder of them."
            raise UsageError(says) from error
        except OSError as error:
            unread[path] = f"it cannot be read: {error.strerror}."
            continue
        if not path.is_dir():
            files.setdefault(path, Path())
            continue
        for file in sorted(files_inside(path, unread)):
            # what macOS writes beside files on other disks, such as ._safe.mp4, is no video
            if has_video_name(file) and not file.name.startswith("."):
                below = file.parent.relative_to(path)
                # of inputs that overlap: the longest tells its raw video from others of its name
                files[file] = max(
                    files.get(file, below), below, key=lambda folder: len(folder.parts)
                )
            elif not (file.name.endswith(RECEIPT_SUFFIX) and _receipt_owner(file).is_file()):
                other_files[file] = None
    if not files and not unread:
        raise UsageError("there is no video or image among the inputs; name one.")
    return files, tuple(other_files), unread


def _receipt_owner(receipt: Path) -> Path:
    return Path(str(receipt).removesuffix(RECEIPT_SUFFIX))


def pair_with_raw(
    files: Mapping[Path, Path], raw: Path | None
) -> tuple[dict[Path, Path | None], dict[Path, str]]:
    """Find the raw video of each published file; without one, say why there is none.

    `files` are published ones with their folders relative to the input's; `raw` is a raw video or a
    folder of them; None: there is none, of which nothing is said.

    Raises:
        UsageError: no file has one, or `raw` is one video of several published ones.
    """
    if raw is None:
        return dict.fromkeys(files), {}
    if not raw.exists():
        raise UsageError(f"{raw} does not exist; name a raw video or a folder of them.")
    if raw.is_file() and len(files) > 1:
        raise UsageError(f"{raw} is one raw video for {len(files)} published ones; name a folder.")
    beside: dict[Path, Path | None] = {}
    without: dict[Path, str] = {}
    for file, below in files.items():
        try:
            beside[file] = _raw_of(file, below, raw)
        except VideoError as error:
            beside[file], without[file] = None, str(error)
    if without and len(without) == len(files):  # another folder was meant
        raise UsageError(next(iter(without.values())))
    return beside, without


def _raw_of(published: Path, below: Path, raw: Path) -> Path:
    """Find the raw video of a published one; `below` is its folder relative to the input's.

    Raises:
        VideoError: it is not there, or several could be meant.
    """
    if raw.is_file():
        return _other_than(published, raw)
    stem, folder = published.stem.removesuffix(OWN_SUFFIX), raw
    try:
        folder = raw / below if (raw / below).is_dir() else raw
        inputs = [
            file for file in sorted(folder.iterdir()) if has_video_name(file) and file.is_file()
        ]
    except OSError as error:
        raise VideoError(f"{printable(folder)} cannot be read: {error.strerror}.") from error
    # `anonymize` names the output of a.avi beside an a.mp4 a.avi.mp4
    matching = [file for file in inputs if file.name in (stem + published.suffix, stem)]
    if not matching:
        matching = [file for file in inputs if file.stem == stem]
        alike = [file for file in matching if _is_picture(file) == _is_picture(published)]
        matching = alike or matching
    if len(matching) != 1:
        held = ", ".join(file.name for file in matching)
        held = (
            f"{len(matching)} videos called {stem} ({held})"
            if matching
            else f"no video called {stem}"
        )
        raise VideoError(f"{printable(folder)} holds {held}, for {printable(published)}.")
    return _other_than(published, matching[0])


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES


def _other_than(published: Path, raw: Path) -> Path:
    if raw.samefile(published):
        name = printable(raw)
        raise VideoError(f"{name} is the published file itself; name the raw video by --raw.")
    return raw
