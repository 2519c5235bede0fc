"""Read PA-HMDB51's labels (Wu et al., TPAMI 2020): five attributes of 515 clips by frame.

One JSON an action; per clip and attribute a list of [first, last, value], both ends inclusive,
value a number or, for several people, a list of them. A row of the manifest is a range of frames
in which no label changes, all of it or cut into pieces, or a whole video.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from masquerade.datasets.manifest import Clip, Kind, Manifest, make_manifest
from masquerade.datasets.published.hmdb51 import hmdb51_source
from masquerade.datasets.published.label_files import files_below, read_json
from masquerade.errors import UsageError


class Attribute(NamedTuple):
    """An attribute as the files have it."""

    key: str  # in the files
    vispr: str  # VISPR's name: SPAct's attackers trained on its stills are tested on these clips
    values: tuple[str, ...]
    graded: bool = False  # the values are ordered


ATTRIBUTES = {
    "skin": Attribute("skin_color", "a17_color", ("unidentifiable", "white", "yellow", "black")),
    "face": Attribute("face", "a10_face_partial", ("invisible", "partial", "complete"), True),
    "gender": Attribute("gender", "a4_gender", ("unidentifiable", "male", "female")),
    "nudity": Attribute("nudity", "a12_semi_nudity", ("none", "partial", "semi"), True),
    "relationship": Attribute("relationship", "a64_rel_personal", ("0", "1")),
}
"""By column, in the order of the VP labels."""

Range = tuple[int, int, tuple[int, ...]]


def read_pa_hmdb51(
    folder: Path,
    *,
    values: Literal["published", "any", "most", "vispr"] = "any",
    videos: Path | None = None,
    by_frame: bool = False,
    by_video: bool = False,
    most_frames: int | None = None,
) -> Manifest:
    """Read the labels of ranges of frames, as published or made binary.

    Of `values`, `published` keeps their names; `any` is 1 from value 1 on; `most` is 1 from value 2
    on for face and nudity, whose values are ordered. The papers do not say which they use. `vispr`
    is `any` under VISPR's names. With `by_frame` each labelled frame is a row of its own, so that
    scores count frames; with `most_frames` ranges are cut into rows of so many frames and a rest,
    so that they nearly do and methods see what moves. With `by_video` each video is one row, and
    has what any of its frames has.
    """
    if by_frame + by_video + (most_frames is not None) > 1:
        raise UsageError("Rows are videos, frames or cut ranges: choose one.")
    longest = 1 if by_frame else most_frames
    names = {ours: a.vispr if values == "vispr" else ours for ours, a in ATTRIBUTES.items()}
    clips: list[Clip] = []
    for path in files_below(folder, [".json"]):
        content = read_json(path)
        if not isinstance(content, dict):
            raise UsageError(f"{path} is not as published: it has no labels by clip.")
        for name, labels in sorted(content.items()):
            where = f"{path}, {name}"
            ranges = {ours: _ranges(where, labels, a) for ours, a in ATTRIBUTES.items()}
            source = hmdb51_source(Path(name).stem, path.stem)
            file, rows = f"{path.stem}/{name}", _stretches(where, ranges)
            if by_video:
                rows = [(rows[0][0], rows[-1][1])]
            for first, last in rows:
                cells = {"action": path.stem}
                for ours, attribute in ATTRIBUTES.items():
                    cells[names[ours]] = _cell(attribute, _in(ranges[ours], first, last), values)
                cells["group"] = source
                step = longest or last - first + 1
                clips += [
                    Clip(path=file, cells=cells, first=at, last=min(at + step - 1, last))
                    for at in range(first, last + 1, step)
                ]
    kind: Kind = "multi-label" if values == "published" else "binary"
    kinds: dict[str, Kind] = dict.fromkeys(names.values(), kind)
    kinds[names["relationship"]] = "binary"
    missing = f"{folder} holds no JSON of PA-HMDB51; point at PrivacyAttributes."
    return make_manifest(videos or folder, clips, error_if_empty=missing, kinds=kinds)


def _ranges(where: str, labels: Any, attribute: Attribute) -> list[Range]:
    name, most = attribute.key, len(attribute.values) - 1
    try:
        found = [
            (int(a), int(b), tuple(int(v) for v in (value if isinstance(value, list) else [value])))
            for a, b, value in labels[name]
        ]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UsageError(f"{where}: no ranges [first, last, value] for {name}.") from None
    if not all(0 <= a <= b for a, b, _ in found):
        raise UsageError(f"{where}: a range of {name} ends before it begins, or begins before 0.")
    if not all(0 <= value <= most for _, _, values in found for value in values):
        raise UsageError(f"{where}: {name} has a value other than 0 to {most}.")
    return found


def _stretches(where: str, ranges: dict[str, list[Range]]) -> list[tuple[int, int]]:
    edges = {
        edge
        for attribute_ranges in ranges.values()
        for a, b, _ in attribute_ranges
        for edge in (a, b + 1)
    }
    if not edges:
        raise UsageError(f"{where}: no frame has a label.")
    pairs = [(a, b - 1) for a, b in pairwise(sorted(edges))]
    return [
        (a, b)
        for a, b in pairs
        if any(_in(attribute_ranges, a, a) for attribute_ranges in ranges.values())
    ]


def _in(ranges: list[Range], first: int, last: int) -> tuple[int, ...]:
    return tuple({v: None for a, b, values in ranges if a <= last and first <= b for v in values})


def _cell(attribute: Attribute, values: tuple[int, ...], wanted: str) -> str:
    if not values:
        return ""
    if wanted == "published" and len(attribute.values) > 2:  # else it is one answer, yes or no
        return "|".join(attribute.values[v] for v in values)
    return str(int(max(values) >= (2 if wanted == "most" and attribute.graded else 1)))
