"""UCF101's official split lists (Soomro et al., 2012): `trainlist01.txt`, `testlist01.txt`, ...

The lists and the labels made for them later spell one class in two ways (HandStandPushups,
HandstandPushups), so clips are matched without regard to case.
"""

import re
from pathlib import Path

from masquerade.datasets.manifest import Manifest
from masquerade.datasets.published.label_files import manifest_of_split, read_lines
from masquerade.errors import UsageError

_CLIP = re.compile(r"v_(?P<name>.+)_g(?P<group>\d+)_c\d+$")


def ucf101_split(folder: Path, split: int = 1) -> dict[str, str]:
    """`Class/clip.avi` to train or test, of the official split 1, 2 or 3."""
    found: dict[str, str] = {}
    for part in ("train", "test"):
        path = folder / f"{part}list{split:02d}.txt"
        for number, line in read_lines(path):
            name = line.split()[0]
            if name.count("/") != 1 or name in found:
                raise UsageError(f"{path}, line {number}: {name!r} is no new Class/clip.")
            found[name] = part
    return found


def ucf101_group(stem: str, action: str) -> str:
    """The source video of a clip: its class and the number after _g."""
    match = _CLIP.match(stem)
    if match is None:
        raise UsageError(f"{stem!r} is not named like a clip of UCF101 (v_Class_g01_c01).")
    return f"{action}_g{match['group']}"


def read_ucf101(folder: Path, *, split: int = 1, videos: Path | None = None) -> Manifest:
    """UCF101 with one of its official splits and the source video as the group."""
    return manifest_of_split(videos or folder, ucf101_split(folder, split), ucf101_group)
