"""Read SBU Kinect Interaction's labels (Yun et al., CVPRW 2012): 8 interactions of 21 pairs.

Folders `s01s02/03/001` of frames `rgb_*.png`: the pair, the interaction, the take. The five
published folds keep ordered pairs together; the same people are in all of them.
"""

import re
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.errors import UsageError

ACTIONS = (  # in the order of the folders, which are only numbered
    "approaching",
    "departing",
    "kicking",
    "pushing",
    "shaking_hands",
    "hugging",
    "exchanging",
    "punching",
)
FOLDS = (
    ("s01s02", "s03s04", "s05s02", "s06s04"),
    ("s02s03", "s02s07", "s03s05", "s05s03"),
    ("s01s03", "s01s07", "s07s01", "s07s03"),
    ("s02s01", "s02s06", "s03s02", "s03s06"),
    ("s04s02", "s04s03", "s04s06", "s06s02", "s06s03"),
)
_TAKE = re.compile(r"(?P<pair>s\d\ds\d\d)/(?P<action>0[1-8])/\d{3}$")


def read_sbu(folder: Path, *, fold: int = 1) -> Manifest:
    """Read SBU's takes, each a folder of frames; the identity is one of 13 unordered pairs.

    `fold`, 1 to 5, is the published fold that is the test split.
    """
    if not 1 <= fold <= len(FOLDS):
        raise UsageError(f"Fold {fold} is not one of 1 to {len(FOLDS)}.")
    clips = []
    for path in sorted(folder.glob("s??s??/0?/*")):
        match = _TAKE.search(path.relative_to(folder).as_posix())
        if match is None or not any(path.glob("rgb*")):
            continue
        pair = match["pair"]
        part = "test" if pair in FOLDS[fold - 1] else "train"
        both = "".join(sorted((pair[:3], pair[3:])))
        cells = {"action": ACTIONS[int(match["action"]) - 1], "identity": both}
        cells |= {"group": pair, "split": part}
        clips.append(Clip(path=match[0], cells=cells))
    missing = f"{folder} holds no frames such as s01s02/01/001/rgb_000001.png."
    return make_manifest(folder, clips, error_if_empty=missing)
