"""Read SBU Kinect Interaction's labels (Yun et al., CVPRW 2012): 8 interactions of 21 pairs.

Folders `s01s02/03/001` of frames `rgb_*.png`: the pair, the interaction, the take. The depth images
beside them are no frames (`images_in`). The five published folds keep ordered pairs together; the
same people are in all of them, but of some pairs no take is in train, so that who is there needs
another split. Ilic et al. (CVPR 2024) released lists of takes, `train.txt` and `test.txt` (name,
first and last frame, pair, action), on which they read both action and pair: all 13 pairs are in
both.
"""

import re
from pathlib import Path

import numpy as np

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_csv
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
TEST_SHARE = 1 / 3
"""The share of each pair's takes in the identity's test split, as Ilic et al. have 94 of 282."""
_TAKE = re.compile(r"(?P<pair>s\d\ds\d\d)/(?P<action>0[1-8])/\d{3}$")


def read_sbu(
    folder: Path, *, fold: int | None = None, splits: Path | None = None, seed: int = 0
) -> Manifest:
    """Read SBU's takes, each a folder of frames; the identity is one of 13 unordered pairs.

    `split_action` is a published fold, `fold` from 1 to 5 (None: the first) to test on.
    `split_identity` has takes of each pair in train and in test, drawn by `seed`. With `splits`,
    the folder of the lists of Ilic et al., both are these lists, whose takes, read whole, are the
    rows.
    """
    if fold is not None and not 1 <= fold <= len(FOLDS):
        raise UsageError(f"Fold {fold} is not one of 1 to {len(FOLDS)}.")
    if fold is not None and splits is not None:
        raise UsageError("The lists of --splits are a split already: leave out --fold.")
    if splits is not None:
        listed = _listed(splits)
        clips = [_clip(take, action=part, identity=part) for take, part in listed.items()]
        return make_manifest(folder, clips, error_if_empty=f"The lists in {splits} are empty.")
    tested = FOLDS[(fold or 1) - 1]
    paths = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("s??s??/0?/*"))]
    takes = [take for take in paths if _TAKE.match(take) and any((folder / take).glob("rgb*"))]
    part = _split_by_take(takes, seed)
    clips = [
        _clip(take, action="test" if take[:6] in tested else "train", identity=part[take])
        for take in takes
    ]
    missing = f"{folder} holds no frames such as s01s02/01/001/rgb_000001.png."
    return make_manifest(folder, clips, error_if_empty=missing)


def _clip(take: str, *, action: str, identity: str) -> Clip:
    """Make a take's row of the manifest: its labels, and its part in each of the two splits."""
    pair, number, _ = take.split("/")
    cells = {"action": ACTIONS[int(number) - 1], "identity": _both(pair)}
    return Clip(path=take, cells=cells | {"split_action": action, "split_identity": identity})


def _both(pair: str) -> str:
    """The pair without its order: s01s02 of s02s01."""
    return "".join(sorted((pair[:3], pair[3:])))


def _split_by_take(takes: list[str], seed: int) -> dict[str, str]:
    """A third of each pair's takes to test; a pair's only take stays in train."""
    rng = np.random.default_rng(seed)
    part = dict.fromkeys(takes, "train")
    for pair in sorted({_both(take[:6]) for take in takes}):
        own = [take for take in takes if _both(take[:6]) == pair]
        count = min(max(1, round(TEST_SHARE * len(own))), len(own) - 1)
        part |= dict.fromkeys(rng.permutation(own)[:count].tolist(), "test")
    return part


def _listed(folder: Path) -> dict[str, str]:
    """The part of each take in the lists `train.txt` and `test.txt`."""
    found: dict[str, str] = {}
    for part in ("train", "test"):
        path = folder / f"{part}.txt"
        for number, row in enumerate(read_csv(path)[1:], start=2):
            if not row:
                continue
            if not _TAKE.fullmatch(row[0]):
                raise UsageError(f"{path}, line {number}: {row[0]!r} is no take of SBU.")
            if row[0] in found:
                raise UsageError(f"{path}, line {number}: {row[0]} is listed twice.")
            found[row[0]] = part
    return found
