"""Read CelebV-HQ's labels (Zhu et al., ECCV 2022): emotions are actions, appearance is private.

So it is used as FAPDER by STPrivacy (Li et al., ICCV 2023). `celebvhq_info.json` has the names of
the appearance flags and, for each clip, the flags and one emotion or several with their times.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_json
from masquerade.errors import UsageError

ATTRIBUTES = ("young", "pointy_nose", "male", "rosy_cheeks", "brown_hair")  # as STPrivacy


def read_celebv_hq(folder: Path, *, videos: Path | None = None) -> Manifest:
    """Read CelebV-HQ's clips with the longest emotion as the action and some appearance flags.

    The source video stands for the person, whom the file does not name. No split is published.
    """
    path = folder if folder.is_file() else folder / "celebvhq_info.json"
    if not path.exists():
        raise UsageError(
            f"{folder} holds no {path.name}; point at the folder of the published files."
        )
    info = read_json(path)
    try:
        meta = info.get("meta_info") or info["mete_info"]  # the published description's spelling
        names = [name.lower().replace(" ", "_") for name in meta["appearance_mapping"]]
        place = {name: names.index(name) for name in ATTRIBUTES}
        clips = [_clip(name, clip, place) for name, clip in info["clips"].items()]
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path} is not CelebV-HQ's info as published: {error}.") from error
    return make_manifest(videos or path.parent, clips, kinds=dict.fromkeys(ATTRIBUTES, "binary"))


def _clip(name: str, clip: dict[str, Any], place: dict[str, int]) -> Clip:
    flags = clip["attributes"]["appearance"]
    cells = {"action": _emotion(clip["attributes"]["emotion"])}
    chosen = {attribute: flags[i] for attribute, i in place.items()}
    if other := [flag for flag in chosen.values() if flag not in (0, 1)]:
        raise ValueError(f"{name} has the flag {other[0]}, which is neither 0 nor 1")
    cells |= {attribute: str(int(flag)) for attribute, flag in chosen.items()}
    source = clip["ytb_id"]
    if not isinstance(source, str | int):
        raise ValueError(f"{name} has the ytb_id {source!r}")  # null: clips would be of one source
    return Clip(path=f"{name}.mp4", cells={**cells, "source": str(source)})


def _emotion(emotion: dict[str, Any]) -> str:
    if not emotion["sep_flag"]:
        return str(emotion["labels"])
    seconds: dict[str, float] = defaultdict(float)
    for part in emotion["labels"]:
        seconds[part["emotion"]] += part["end_sec"] - part["start_sec"]
    return str(max(seconds, key=lambda label: seconds[label]))
