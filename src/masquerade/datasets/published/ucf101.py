"""Read UCF101's official split lists (Soomro et al., 2012): `trainlist01.txt`, ...

The lists and the labels made for them later spell one class in two ways (HandStandPushups,
HandstandPushups), and so do the folders of videos, so clips are matched without regard to case.
"""

import re
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_lines, spelled_as_below
from masquerade.errors import UsageError

_CLIP = re.compile(r"v_(?P<name>.+)_g(?P<group>\d+)_c\d+$")


def read_ucf101(folder: Path, *, split: int = 1, videos: Path | None = None) -> Manifest:
    """Read UCF101 with one of its official splits, and the source video as the group."""
    clips: dict[str, Clip] = {}
    for part in ("train", "test"):
        path = folder / f"{part}list{split:02d}.txt"
        for number, line in read_lines(path):
            name = line.split()[0]
            if name.count("/") != 1 or name in clips:
                raise UsageError(f"{path}, line {number}: {name!r} is no new Class/clip.")
            action, stem = name.split("/")[0], Path(name).stem
            match = _CLIP.match(stem)
            if match is None:
                raise UsageError(f"{stem!r} is not named like a clip of UCF101 (v_Class_g01_c01).")
            cells = {"action": action, "group": f"{action}_g{match['group']}", "split": part}
            clips[name] = Clip(path=name, cells=cells)
    return make_manifest(videos or folder, spelled_as_below(videos, clips.values()))
