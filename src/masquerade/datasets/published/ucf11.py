"""Read UCF11's labels (YouTube actions; Liu et al., CVPR 2009): 11 actions of 25 groups.

Clips are `basketball/v_shooting_01/v_shooting_01_01.mpg`: the folder is the action, the first
number the group, which is one person in one place.
"""

import re
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.label_files import videos_named

_CLIP = re.compile(r"^(?P<action>[^/]+)/(?:.+/)?v_[^/]+_(?P<group>\d\d)_\d+$")


def read_ucf11(folder: Path) -> Manifest:
    """Read UCF11's clips; the group is the identity. No split is published: use grouped folds."""
    clips = []
    for path, match in videos_named(folder, _CLIP):
        cells = {"action": match["action"], "identity": f"{match['action']}_g{match['group']}"}
        clips.append(Clip(path=path, cells=cells))
    example = "basketball/v_shooting_01_01.mpg"
    return make_manifest(folder, clips, error_if_empty=f"{folder} holds no clip such as {example}.")
