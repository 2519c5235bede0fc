"""Read IPN Hand's labels (Benitez-Garcia et al., ICPR 2020): gestures as ranges of frames.

`trainlistall.txt` and `vallistall.txt` have `./frames/VIDEO class first last`, frames counted
from 1 and inclusive; `classIndAll.txt` names the classes. A video is named after its person:
`1CM1_4_R_#229` is one of four of `1CM1_4`. The gender of each person is in a separate table.
"""

from pathlib import Path

from masquerade.datasets.manifest import Clip, Kind, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_csv, read_lines
from masquerade.errors import UsageError

_SEX = ("label", "sex", "gender")
NO_GESTURE = "D0X"


def read_ipn(
    folder: Path, *, people: Path | None = None, videos: Path | None = None, pauses: bool = False
) -> Manifest:
    """Read IPN Hand's gestures as ranges of frames; its validation list is the test split.

    `people` is a CSV whose first column is the video and which has a column label, sex or gender;
    `pauses` keeps the stretches without a gesture (class D0X), which the paper leaves out.
    """
    classes = folder / "classIndAll.txt"
    pairs = [line.split() for _, line in read_lines(classes)]
    if not all(len(pair) == 2 for pair in pairs):
        raise UsageError(f"{classes} is not as published: a line is a number and a class.")
    names = dict(pairs)
    gender = _genders(people) if people else None
    clips = []
    for file, part in (("trainlistall.txt", "train"), ("vallistall.txt", "test")):
        for number, line in read_lines(folder / file):
            where = f"{folder / file}, line {number}"
            try:
                path, action, *frames = line.split()
                first, last = (int(frame) - 1 for frame in frames)
                video = path.rpartition("/")[2]
                cells = {"action": names[action], "identity": "_".join(video.split("_")[:2])}
            except (ValueError, KeyError):
                raise UsageError(f"{where}: {line!r} is no video class first last.") from None
            if not 0 <= first <= last:
                raise UsageError(f"{where}: frames {first + 1} to {last + 1} are no range.")
            if cells["action"] == NO_GESTURE and not pauses:
                continue
            if gender is not None:
                if video not in gender:
                    raise UsageError(f"{people} says nothing of {video}.")
                cells["gender"] = gender[video]
            cells["split"] = part
            clips.append(Clip(path=path.removeprefix("./"), cells=cells, first=first, last=last))
    # a released table may have the sexes as 0 and 1, which are two classes, too: top-1, not AUROC
    kinds: dict[str, Kind] = {} if gender is None else {"gender": "classes"}
    return make_manifest(videos or folder, clips, kinds=kinds)


def _genders(path: Path) -> dict[str, str]:
    header, *rows = [row for row in read_csv(path) if row] or [[]]
    places = [i for i, name in enumerate(header) if name.strip().lower() in _SEX]
    if not places or any(len(row) != len(header) for row in rows):
        raise UsageError(f"{path} has no column called label, sex or gender.")
    return {row[0].strip(): row[places[0]].strip() for row in rows}
