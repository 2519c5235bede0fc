"""HMDB51's official split lists (Kuehne et al., ICCV 2011): `brush_hair_test_split1.txt`, ...

A line is `clip.avi 0|1|2`: unused, train, test. A clip is named after the video that it was cut
from, its action and how it was filmed.
"""

import re
from pathlib import Path

from masquerade.datasets.manifest import Manifest
from masquerade.datasets.published.label_files import manifest_of_split, read_lines
from masquerade.errors import UsageError

_PART = {"0": "", "1": "train", "2": "test"}


def hmdb51_split(folder: Path, split: int = 1) -> dict[str, str]:
    """`action/clip.avi` to train, test or "" (unused), of the official split 1, 2 or 3."""
    ending = f"_test_split{split}.txt"
    found: dict[str, str] = {}
    for path in sorted(folder.glob(f"*{ending}")):
        for number, line in read_lines(path):
            file, _, part = line.rpartition(" ")
            name = f"{path.name.removesuffix(ending)}/{file.strip()}"
            if part not in _PART or not file or name in found:
                raise UsageError(f"{path}, line {number}: {line!r} is no new clip with 0, 1 or 2.")
            found[name] = _PART[part]
    if not found:
        raise UsageError(f"{folder} holds no list of split {split} (such as wave{ending}).")
    return found


def hmdb51_source(stem: str, action: str) -> str:
    """The video that a clip was cut from: its name up to the action and the filming codes."""
    match = re.match(rf"(.+?)_?{re.escape(action)}_[a-z]+_[a-z]+_np\d", stem, re.IGNORECASE)
    return match[1] if match else re.sub(r"_\d+$", "", stem)


def read_hmdb51(folder: Path, *, split: int = 1, videos: Path | None = None) -> Manifest:
    """HMDB51 with one of its official splits and the source video as the group."""
    return manifest_of_split(videos or folder, hmdb51_split(folder, split), hmdb51_source)
