"""List the files of a folder and its subfolders, following links; note what cannot be read."""

import os
from collections.abc import Iterator
from pathlib import Path

from masquerade.video.probe import IMAGE_SUFFIXES

VIDEOS = {  # by the readers of `DEMUXERS`
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mj2",
    ".mkv", ".mk3d", ".webm", ".avi", ".divx",
    ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".m2p", ".vob", ".ts", ".mts", ".m2ts", ".m2t",
    ".ogv", ".ogg", ".ogm", ".flv", ".wmv", ".asf", ".gif", ".apng",
    ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg", ".ivf",
}  # fmt: skip


def has_video_name(path: Path) -> bool:
    """Whether a file's name ends like that of a video or an image, as in .mp4 or .png."""
    return path.suffix.lower() in VIDEOS | IMAGE_SUFFIXES


def files_inside(
    folder: Path, unread: dict[Path, str], *, recursive: bool = True
) -> Iterator[Path]:
    """The files of a folder, each folder's in order, and with `recursive` of those below it.

    Links to folders are followed once all others are done, so that a folder that is reached by both
    goes by its own name, and each once. What cannot be read is noted in `unread`, with the reason.
    """

    def note(error: OSError) -> None:
        unread[Path(error.filename)] = f"it cannot be read: {error.strerror}."

    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        for place, folders, names in os.walk(waiting.pop(0), onerror=note):
            about = os.stat(place)
            if (about.st_dev, about.st_ino) in seen:  # by a link that leads back
                folders.clear()
                continue
            seen.add((about.st_dev, about.st_ino))
            folders[:] = sorted(folders) if recursive else []
            waiting += [path for name in folders if (path := Path(place, name)).is_symlink()]
            for path in (Path(place, name) for name in sorted(names)):
                if not os.path.isfile(path) and has_video_name(path):
                    unread[path] = "it is no file that can be read, or a link to nothing."
                else:
                    yield path
