"""HVU (Diba et al., ECCV 2020), and P-HVU, the part of it that SPAct and STPrivacy use.

`HVU_Train_V1.0.csv` and `HVU_Val_V1.0.csv` have Tags (joined by |), youtube_id, time_start and
time_end; `HVU_Tags_Categories_V1.0.csv` has the category of each tag. P-HVU keeps the clips that
have an action, an object and a scene; its own list is not published.
"""

from __future__ import annotations

import csv
from pathlib import Path

from masquerade.datasets.manifest import Clip, Kind, Manifest, make_manifest
from masquerade.errors import UsageError

CATEGORIES = ("action", "object", "scene")


def read_hvu(folder: Path, *, videos: Path | None = None, every: bool = False) -> Manifest:
    """HVU's clips with their actions, objects and scenes, each multi-label.

    Clips are named as its downloader names them: the video's id and both times, six digits each.

    Args:
        folder: of the three CSVs.
        videos: the folder of the clips; None: the same. Where given, clips that are not there
            are left out, since many were never downloadable.
        every: also the clips that lack one of the three, which P-HVU leaves out.
    """
    category = {
        row["Tag"]: row["Category"].lower()
        for row in _rows(folder / "HVU_Tags_Categories_V1.0.csv", ("Tag", "Category"))
    }
    columns = ("Tags", "youtube_id", "time_start", "time_end")
    clips = []
    for file, part in (("HVU_Train_V1.0.csv", "train"), ("HVU_Val_V1.0.csv", "test")):
        for row in _rows(folder / file, columns):
            clip = _clip(row, category, part, folder / file)
            whole = every or all(clip.cells[name] for name in CATEGORIES)
            if whole and (videos is None or (videos / clip.path).exists()):
                clips.append(clip)
    if not clips:
        raise UsageError(f"No clip of {folder} is in {videos}; point at the downloaded clips.")
    kinds: dict[str, Kind] = dict.fromkeys(CATEGORIES, "multi-label")
    return make_manifest(videos or folder, clips, kinds=kinds)


def _clip(row: dict[str, str], category: dict[str, str], part: str, file: Path) -> Clip:
    try:
        start, end = int(float(row["time_start"])), int(float(row["time_end"]))
    except ValueError:
        raise UsageError(f"{file}: a time of {row['youtube_id']} is no number.") from None
    tags = row["Tags"].split("|")
    cells = {
        name: "|".join(sorted(tag for tag in tags if category.get(tag) == name))
        for name in CATEGORIES
    }
    name = f"{row['youtube_id']}_{start:06d}_{end:06d}.mp4"
    return Clip(path=name, cells={**cells, "source": row["youtube_id"], "split": part})


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"Cannot read {path}: {why}.") from error
    missing = set(columns) - set(reader.fieldnames or ())
    if missing or any(row[name] is None for row in rows for name in columns):
        raise UsageError(f"{path} is not as published: it needs the columns {', '.join(columns)}.")
    return rows
