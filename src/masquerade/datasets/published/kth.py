"""Read KTH's labels (Schuldt et al., ICPR 2004): 6 actions x 25 people x 4 scenarios.

Clips are `person01_boxing_d1_uncomp.avi`; `00sequences.txt` lists the ranges of frames that show
the person. The official split has other people in test; Ilic et al. (CVPR 2024, 4.1) re-split the
four takes of a person and action 2/1/1, so that each person is in all three parts. The list that
they released, `metadata.csv` (columns video and set), has three takes in train and one in test, and
they read both action and person on it.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_csv, read_lines, videos_named
from masquerade.errors import UsageError

_NAME = r"(?P<name>person\d\d_[a-z]+_d[1-4])"
_CLIP = re.compile(rf"(?:^|/){_NAME}[^/]*$")
_LINE = re.compile(rf"{_NAME}\s+frames\s+(?P<ranges>[\d\s,-]+)$")
_TRAIN = {11, 12, 13, 14, 15, 16, 17, 18}
_VAL = {19, 20, 21, 23, 24, 25, 1, 4}


def read_kth(
    folder: Path, *, seed: int = 0, splits: Path | None = None, videos: Path | None = None
) -> Manifest:
    """Read KTH with both splits: `split_action` by person, `split_identity` by take, 2/1/1.

    Where `folder` holds `00sequences.txt`, a row is a range of frames, counted from 0, else a clip.
    The paper's seed of the split by take is not known. With `splits`, the folder of the list of
    Ilic et al., both splits are this list, whose takes, read whole, are the rows.
    """
    below = videos or folder
    paths: dict[str, str] = {}
    for path, match in videos_named(below, _CLIP):
        if (other := paths.setdefault(match["name"], path)) != path:
            raise UsageError(f"{below}: {other} and {path} are of one take; leave one there.")
    listed = folder / "00sequences.txt"
    whole: list[tuple[int | None, int | None]] = [(None, None)]
    listed_part = None if splits is None else _listed(splits / "metadata.csv", paths)
    if listed_part is not None:
        ranges = dict.fromkeys(listed_part, whole)
    else:
        ranges = _ranges(listed) if listed.exists() else dict.fromkeys(paths, whole)
    part = listed_part or _split_by_take(sorted(ranges), seed)
    clips = []
    for name, frame_ranges in sorted(ranges.items()):
        person, action, take = name.split("_")
        number = int(person.removeprefix("person"))
        by_person = "train" if number in _TRAIN else "val" if number in _VAL else "test"
        cells = {"action": action, "identity": person, "scene": take}
        official = by_person if listed_part is None else part[name]
        cells |= {"split_action": official, "split_identity": part[name]}
        file = paths.get(name, f"{name}_uncomp.avi")
        clips += [Clip(path=file, cells=cells, first=a, last=b) for a, b in frame_ranges]
    example = "person01_boxing_d1_uncomp.avi"
    return make_manifest(below, clips, error_if_empty=f"{below} holds no clip such as {example}.")


def _ranges(path: Path) -> dict[str, list[tuple[int | None, int | None]]]:
    found: dict[str, list[tuple[int | None, int | None]]] = {}
    for number, line in read_lines(path):
        match = _LINE.match(line)
        if match is None:
            continue  # prose at the beginning, and *missing* for one take
        wrong = f"{path}, line {number}: {match['ranges'][:40]!r} are no ranges of frames."
        try:
            edges = [int(n) for n in re.findall(r"\d+", match["ranges"])]
        except ValueError:  # more digits than Python reads
            raise UsageError(wrong) from None
        ranges = list(pairwise(edges))[::2]
        if len(edges) % 2 or any(not 0 < a <= b for a, b in ranges):
            raise UsageError(wrong)
        # The list counts from 1, and has a few ranges twice.
        found[match["name"]] = [(a - 1, b - 1) for a, b in dict.fromkeys(ranges)]
    return found


def _listed(path: Path, takes: Iterable[str]) -> dict[str, str]:
    """The part of each take in the list of Ilic et al."""
    header, *rows = [row for row in read_csv(path) if row] or [[]]
    if not {"video", "set"} <= set(header) or any(len(row) != len(header) for row in rows):
        raise UsageError(f"{path} is no list of Selective's authors: it lacks video or set.")
    video, part = header.index("video"), header.index("set")
    parts = {row[video].removesuffix("_uncomp"): row[part] for row in rows}
    if wrong := sorted(name for name in parts if not re.fullmatch(_NAME, name)):
        raise UsageError(f"{path}: {wrong[0]!r} is no take of KTH.")
    if wrong := sorted(set(parts.values()) - {"train", "test"}):
        raise UsageError(f"{path}: {wrong[0]!r} is neither train nor test.")
    if lacking := sorted(set(takes) - set(parts)):
        raise UsageError(f"{path} does not say where {lacking[0]} belongs.")
    return parts


def _split_by_take(names: list[str], seed: int) -> dict[str, str]:
    """Two takes of each person and action to train, one to val, one to test."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[str]] = {}
    for name in names:
        if name[:-3] not in parts:
            parts[name[:-3]] = rng.permutation(["train", "train", "val", "test"]).tolist()
    return {name: parts[name[:-3]][int(name[-1]) - 1] for name in names}
