"""Published weights of the key networks: their addresses and digests, and downloading them.

Nothing else in this package opens a network connection, and this only on request
(`templates fetch`).
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from masquerade.errors import MissingError, OutputError, UsageError
from masquerade.storage import atomic_write, file_digest


class Published(NamedTuple):
    """One published file of weights."""

    url: str
    sha256: str | None  # None: unknown


HOST = "https://dl.fbaipublicfiles.com"
PUBLISHED: dict[str, Published] = {
    "dino-s8": Published(
        f"{HOST}/dino/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth", None
    ),
    "dino-s16": Published(
        f"{HOST}/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth", None
    ),
    "dinov2-s14": Published(
        f"{HOST}/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    ),
}


def weights_folder() -> Path:
    """The folder of downloaded weights: MASQUERADE_WEIGHTS, or in the user's cache folder."""
    if named := os.environ.get("MASQUERADE_WEIGHTS"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "masquerade" / "weights"


def downloaded_file(name: str) -> Path | None:
    """The file that `fetch` downloaded, or None."""
    entry = PUBLISHED.get(name)
    path = weights_folder() / entry.url.rpartition("/")[2] if entry else None
    return path if path and path.is_file() else None


def advice(name: str) -> str:
    """How to come by the weights of a network in `PUBLISHED`, for messages."""
    entry = PUBLISHED[name]
    if entry.sha256 is None:  # which is not fetched
        return f"get {entry.url} and give --key-weights FILE"
    return f"give --key-weights FILE, or run `masquerade templates fetch {name}` once"


def fetch(name: str) -> Path:
    """Download a network's published weights by its name in `PUBLISHED`, unless they are there.

    Raises:
        UsageError: no such network.
        MissingError: its SHA-256 is not known, or it cannot be reached.
        OutputError: the file is not the published one; it was deleted.
    """
    if name not in PUBLISHED:
        raise UsageError(
            f"there are no weights {name!r} to fetch; choose of {downloadable_names()}."
        )
    entry = PUBLISHED[name]
    if entry.sha256 is None:
        raise MissingError(
            f"the SHA-256 of {name} is not known here, so it is not fetched unchecked: get "
            f"{entry.url} yourself and give --key-weights FILE."
        )
    path = weights_folder() / entry.url.rpartition("/")[2]
    if not path.is_file() or file_digest(path) != entry.sha256:
        _download(entry, path)
    return path


def downloadable_names() -> str:
    """The networks whose weights can be downloaded, as a list for messages."""
    return ", ".join(name for name, entry in PUBLISHED.items() if entry.sha256)


def _download(entry: Published, path: Path) -> None:
    """Fetch a file; unlike `torch.hub.download_url_to_file` with a timeout and a locked file."""
    try:
        with atomic_write(path, overwrite=True) as part:
            with urlopen(entry.url, timeout=60) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
            if file_digest(part) != entry.sha256:
                raise OutputError(
                    f"{entry.url} did not give the published file (its SHA-256 differs): try "
                    "again, or give --key-weights FILE."
                )
    except (URLError, TimeoutError, ConnectionError) as error:
        raise MissingError(
            f"{entry.url} cannot be reached: fetch it on another machine and "
            "give --key-weights FILE."
        ) from error
