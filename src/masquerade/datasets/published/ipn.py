"""IPN Hand (Benitez-Garcia et al., ICPR 2020): 200 videos of 50 people, 13 gestures in a row.

`trainlistall.txt` and `vallistall.txt` have `./frames/VIDEO class first last`, frames counted
from 1 and inclusive; `classIndAll.txt` names the classes. A video is called after its person:
`1CM1_4_R_#229` is one of four of `1CM1_4`. Who is a woman or a man is in a table of its own.
"""

from __future__ import annotations

import csv
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.files import read_lines
from masquerade.errors import UsageError

_SEX = ("label", "sex", "gender")
NO_GESTURE = "D0X"


def read_ipn(
    folder: Path,
    *,
    people: Path | None = None,
    videos: Path | None = None,
    pauses: bool = False,
) -> Manifest:
    """IPN Hand's gestures as ranges of frames; its validation list is the test split.

    Args:
        folder: of the published lists.
        people: a CSV whose first column is the video and which has a column label, sex or gender;
            None: no gender.
        videos: the folder that `frames/VIDEO` starts from; None: the same.
        pauses: also the stretches without a gesture (class D0X), which the paper leaves out.
    """
    names = _classes(folder / "classIndAll.txt")
    gender = _genders(people) if people else {}
    clips = []
    for file, part in (("trainlistall.txt", "train"), ("vallistall.txt", "test")):
        for number, line in read_lines(folder / file):
            clip = _clip(folder / file, number, line, names)
            if clip.cells["action"] == NO_GESTURE and not pauses:
                continue
            video = clip.path.rpartition("/")[2]
            if people and video not in gender:
                raise UsageError(f"{people} says nothing of {video}.")
            more = {"gender": gender[video]} if people else {}
            clips.append(
                Clip(
                    path=clip.path,
                    cells={**clip.cells, **more, "split": part},
                    first=clip.first,
                    last=clip.last,
                )
            )
    return make_manifest(videos or folder, clips)


def _classes(path: Path) -> dict[str, str]:
    pairs = [line.split() for _, line in read_lines(path)]
    if not all(len(pair) == 2 for pair in pairs):
        raise UsageError(f"{path} is not as published: a line is a number and a class.")
    return {number: name for number, name in pairs}


def _clip(path: Path, number: int, line: str, names: dict[str, str]) -> Clip:
    try:
        video, action, first, last = line.split()
        span = int(first) - 1, int(last) - 1
        person = "_".join(video.rpartition("/")[2].split("_")[:2])
        cells = {"action": names[action], "identity": person}
    except (ValueError, KeyError):
        raise UsageError(f"{path}, line {number}: {line!r} is no video class first last.") from None
    if not 0 <= span[0] <= span[1]:
        raise UsageError(f"{path}, line {number}: frames {first} to {last} are no range.")
    return Clip(path=video.removeprefix("./"), cells=cells, first=span[0], last=span[1])


def _genders(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UsageError(f"Cannot read {path}: {error}.") from error
    places = [i for i, name in enumerate(header) if name.strip().lower() in _SEX]
    if not places or any(len(row) != len(header) for row in rows):
        raise UsageError(f"{path} has no column called label, sex or gender.")
    return {row[0].strip(): row[places[0]].strip() for row in rows}
