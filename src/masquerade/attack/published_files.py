"""Which published files are attacked, and the raw video of each."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from masquerade.attack.file_facts import RECEIPT
from masquerade.errors import UsageError, VideoError
from masquerade.pipeline.batch import VIDEOS
from masquerade.video.probe import IMAGE_SUFFIXES


def list_published(
    paths: Sequence[Path],
) -> tuple[dict[Path, Path], tuple[Path, ...], dict[Path, str]]:
    """List the files to attack, each with its folder relative to the input that named it.

    With it the files in folders that are no video or image by their names, but for receipts, which
    belong to the attack on their files; and what cannot be read, with the reason.
    """
    found: dict[Path, Path] = {}
    others: list[Path] = []
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
            found[path] = Path()
            continue
        for one in _inside(path, unread):
            if _is_input(one):
                found[one] = one.parent.relative_to(path)
            elif one.suffix.lower() in VIDEOS | IMAGE_SUFFIXES:
                unread[one] = "it is no file, or a link to nothing."
            elif not one.name.endswith(RECEIPT):
                others.append(one)
    if not found and not unread:
        raise UsageError("there is no video or image among the inputs; name one.")
    return found, tuple(others), unread


def _inside(folder: Path, unread: dict[Path, str]) -> Iterator[Path]:
    """All files below a folder, in order, also by links to folders; those not read are noted."""

    def note(error: OSError) -> None:
        unread[Path(error.filename)] = f"it cannot be read: {error.strerror}."

    seen: set[tuple[int, int]] = set()
    found = []
    for place, folders, names in os.walk(folder, onerror=note, followlinks=True):
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in seen:  # by a link that leads back
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        found += [Path(place, name) for name in names]
    yield from sorted(found)


def _is_input(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS | IMAGE_SUFFIXES and path.is_file()


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
    stem = published.stem.removesuffix("_anonymized")
    folder = raw / below if (raw / below).is_dir() else raw
    try:
        inputs = [one for one in sorted(folder.iterdir()) if _is_input(one)]
    except OSError as error:
        raise VideoError(f"{folder} cannot be read: {error.strerror}.") from error
    # `anonymize` names the output of a.avi beside an a.mp4 a.avi.mp4
    found = [one for one in inputs if one.name == stem] or [x for x in inputs if x.stem == stem]
    if len(found) != 1:
        held = ", ".join(one.name for one in found)
        held = f"{len(found)} videos called {stem} ({held})" if found else f"no video called {stem}"
        raise VideoError(f"{folder} holds {held}, for {published}.")
    return _other_than(published, found[0])


def _other_than(published: Path, raw: Path) -> Path:
    if raw.samefile(published):
        raise VideoError(f"{raw} is the published file itself; name the raw video by --raw.")
    return raw
