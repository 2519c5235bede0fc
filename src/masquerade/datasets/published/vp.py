"""VP-HMDB51 and VP-UCF101 (Li et al., STPrivacy, ICCV 2023): five binary attributes a video.

Pickles of `"Action/clip.mp4": 1 x 5`, read by `restricted_pickle`. The order of the columns is not
documented with the files; it was inferred from the videos that PA-HMDB51 labels too.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from masquerade.datasets.manifest import Clip, IntArray, Manifest, make_manifest
from masquerade.datasets.published.hmdb51 import hmdb51_source, hmdb51_split
from masquerade.datasets.published.ucf101 import ucf101_group, ucf101_split
from masquerade.datasets.restricted_pickle import read_arrays
from masquerade.errors import UsageError

ATTRIBUTES = ("skin", "face", "gender", "nudity", "relationship")


def read_vp(
    labels: Path, *, splits: Path, split: int = 1, videos: Path | None = None, suffix: str = ""
) -> Manifest:
    """The video-level privacy labels of a pickle with an official split of UCF101 or HMDB51.

    Args:
        splits: the folder of the official lists.
        suffix: of the video files, such as .avi; empty: as in the labels.
    """
    of_ucf = (splits / "trainlist01.txt").exists()
    listed = ucf101_split(splits, split) if of_ucf else hmdb51_split(splits, split)
    part_of = {_key(name): (name, part) for name, part in listed.items()}
    flags = {name: _five(labels, name, value) for name, value in read_arrays(labels).items()}
    _check_match(labels, splits, {_key(name) for name in flags}, set(part_of))
    clips = []
    for name in sorted(flags):
        official, part = part_of[_key(name)]
        action, stem = official.split("/")[0], PurePosixPath(official).stem
        group = ucf101_group(stem, action) if of_ucf else hmdb51_source(stem, action)
        cells = {"action": action}
        cells |= {a: str(flag) for a, flag in zip(ATTRIBUTES, flags[name], strict=True)}
        path = str(PurePosixPath(name).with_suffix(suffix)) if suffix else name
        clips.append(Clip(path=path, cells={**cells, "group": group, "split": part}))
    return make_manifest(videos or labels.parent, clips, kinds=dict.fromkeys(ATTRIBUTES, "binary"))


def _five(labels: Path, name: str, value: IntArray) -> list[int]:
    flat = np.asarray(value).ravel()
    if "/" not in name or flat.shape != (5,) or not np.isin(flat, (0, 1)).all():
        raise UsageError(
            f"{labels}: {name!r} is no Action/clip with five labels of 0 or 1; "
            "is this a VP-HMDB51 or VP-UCF101 pickle?"
        )
    return [int(flag) for flag in flat]


def _key(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()


def _check_match(labels: Path, splits: Path, have: set[str], want: set[str]) -> None:
    for missing, where, lacks in ((want - have, labels, splits), (have - want, splits, labels)):
        if missing:
            raise UsageError(
                f"{where} lacks {len(missing)} clips of {lacks}, such as {min(missing)}; "
                "take the labels and the lists of one dataset."
            )
