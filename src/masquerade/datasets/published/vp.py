"""Read VP-HMDB51's and VP-UCF101's labels (STPrivacy, ICCV 2023): five binary attributes a video.

Pickles of `"Action/clip.mp4": 1 x 5`, read by `restricted_pickle`. The order of the columns is not
documented with the files; it was inferred from the videos that PA-HMDB51 labels too.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from masquerade.datasets.manifest import Clip, IntArray, Manifest, make_manifest
from masquerade.datasets.published.hmdb51 import read_hmdb51
from masquerade.datasets.published.label_files import spelled_as_below
from masquerade.datasets.published.ucf101 import read_ucf101
from masquerade.datasets.restricted_pickle import read_arrays
from masquerade.errors import UsageError

ATTRIBUTES = ("skin", "face", "gender", "nudity", "relationship")


def read_vp(
    labels: Path, *, splits: Path, split: int = 1, videos: Path | None = None, suffix: str = ""
) -> Manifest:
    """Read video-level privacy labels from a pickle, with an official split of UCF101 or HMDB51.

    `splits` is the folder of the official lists, `suffix` that of the video files, such as .avi.
    """
    read_split = read_ucf101 if (splits / "trainlist01.txt").exists() else read_hmdb51
    official = {_key(clip.path): clip.cells for clip in read_split(splits, split=split).clips}
    flags = {name: _five(labels, name, value) for name, value in read_arrays(labels).items()}
    have = {_key(name) for name in flags}
    for missing, where, lacks in (
        (official.keys() - have, labels, splits),
        (have - official.keys(), splits, labels),
    ):
        if missing:
            raise UsageError(
                f"{where} lacks {len(missing)} clips of {lacks}, such as {min(missing)}; "
                "take the labels and the lists of one dataset."
            )
    clips = []
    for name in sorted(flags):
        cells = official[_key(name)]  # action, group and split
        path = _with_suffix(name, suffix) if suffix else name
        clips.append(Clip(path=path, cells={"action": cells["action"], **flags[name], **cells}))
    clips = spelled_as_below(videos, clips)
    return make_manifest(videos or labels.parent, clips, kinds=dict.fromkeys(ATTRIBUTES, "binary"))


def _with_suffix(name: str, suffix: str) -> str:
    try:
        return str(PurePosixPath(name).with_suffix(f".{suffix.removeprefix('.')}"))
    except ValueError:
        raise UsageError(
            f"--suffix is the ending of files, such as .avi, not {suffix!r}."
        ) from None


def _five(labels: Path, name: str, value: IntArray) -> dict[str, str]:
    flat = np.asarray(value).ravel()
    if "/" not in name or flat.shape != (5,) or not np.isin(flat, (0, 1)).all():
        raise UsageError(
            f"{labels}: {name!r} is no Action/clip with five labels of 0 or 1; "
            "is this a VP-HMDB51 or VP-UCF101 pickle?"
        )
    return {a: str(int(flag)) for a, flag in zip(ATTRIBUTES, flat, strict=True)}


def _key(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()
