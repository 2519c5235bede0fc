"""Read UCF11's labels (YouTube actions; Liu et al., CVPR 2009): 11 actions of 25 groups.

Clips are `basketball/v_shooting_01/v_shooting_01_01.mpg`: the folder is the action, the first
number the group, which is one person in one place.
"""

import re
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.label_files import videos_named
from masquerade.errors import UsageError

_CLIP = re.compile(r"^(?P<above>(?:[^/]+/)*?)(?:v_[^/]+_\d\d/)?v_[^/]+_(?P<group>\d\d)_\d+$")


def read_ucf11(folder: Path) -> Manifest:
    """Read UCF11's clips; the group is the identity. No split is published: use grouped folds."""
    clips = []
    for path, match in videos_named(folder, _CLIP):
        action = match["above"].removesuffix("/")
        if not action or "/" in action:  # another folder's name would be the action of every clip
            raise UsageError(
                f"{path} does not lie in the folder of its action alone, as in "
                f"basketball/v_shooting_01/v_shooting_01_01.mpg: name the folder that holds those "
                "of the actions."
            )
        cells = {"action": action, "identity": f"{action}_g{match['group']}"}
        clips.append(Clip(path=path, cells=cells))
    example = "basketball/v_shooting_01_01.mpg"
    return make_manifest(folder, clips, error_if_empty=f"{folder} holds no clip such as {example}.")
