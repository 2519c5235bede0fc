"""Read HMDB51's official split lists (Kuehne et al., ICCV 2011): `*_test_split1.txt`, ...

A line is `clip.avi 0|1|2`: unused, train, test. A clip is named after the video that it was cut
from, its action and how it was filmed.
"""

import re
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_lines
from masquerade.errors import UsageError

_PART = {"0": "", "1": "train", "2": "test"}


def read_hmdb51(folder: Path, *, split: int = 1, videos: Path | None = None) -> Manifest:
    """Read HMDB51 with one of its official splits, and the source video as the group."""
    ending = f"_test_split{split}.txt"
    clips: dict[str, Clip] = {}
    for path in sorted(folder.glob(f"*{ending}")):
        action = path.name.removesuffix(ending)
        for number, line in read_lines(path):
            file, _, part = line.rpartition(" ")
            name = f"{action}/{file.strip()}"
            if part not in _PART or not file or name in clips:
                raise UsageError(f"{path}, line {number}: {line!r} is no new clip with 0, 1 or 2.")
            group = hmdb51_source(Path(name).stem, action)
            cells = {"action": action, "group": group, "split": _PART[part]}
            clips[name] = Clip(path=name, cells=cells)
    missing = f"{folder} holds no list of split {split} (such as wave{ending})."
    return make_manifest(videos or folder, list(clips.values()), error_if_empty=missing)


def hmdb51_source(stem: str, action: str) -> str:
    """The video that a clip was cut from: its name up to the action and the filming codes."""
    match = re.match(rf"(.+?)_?{re.escape(action)}_[a-z]+_[a-z]+_np\d", stem, re.IGNORECASE)
    return match[1] if match else re.sub(r"_\d+$", "", stem)
