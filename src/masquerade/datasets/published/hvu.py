"""Read HVU's labels (Diba et al., ECCV 2020), and P-HVU, its part that SPAct and STPrivacy use.

`HVU_Train_V1.0.csv` and `HVU_Val_V1.0.csv` have Tags (joined by |), youtube_id, time_start and
time_end; `HVU_Tags_Categories_V1.0.csv` has the category of each tag. P-HVU keeps the clips that
have an action, an object and a scene; its own list is not published.
"""

from pathlib import Path

from masquerade.datasets.manifest import Clip, Kind, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_csv
from masquerade.errors import UsageError

CATEGORIES = ("action", "object", "scene")


def read_hvu(folder: Path, *, videos: Path | None = None, every: bool = False) -> Manifest:
    """Read HVU's clips with their actions, objects and scenes, each multi-label.

    Clips are named as its downloader names them: the video's id and both times, six digits each.
    Those that are not in `videos` are left out, since many cannot be downloaded; `every` keeps the
    clips that lack one of the three, which P-HVU leaves out. Of rows that differ in fractions of a
    second, whose clips have one name, the first counts.
    """
    tags = _columns(folder / "HVU_Tags_Categories_V1.0.csv", ("Tag", "Category"))
    category = {tag: name.lower() for tag, name in tags}
    columns = ("youtube_id", "time_start", "time_end", "Tags")
    clips: dict[str, Clip] = {}
    # Labels of two parts are published, so that the validation part is tested on.
    for file, part in (("HVU_Train_V1.0.csv", "train"), ("HVU_Val_V1.0.csv", "test")):
        for row in _columns(folder / file, columns):
            clip = _clip(row, category, part, folder / file)
            complete = every or all(clip.cells[name] for name in CATEGORIES)
            if complete and (videos is None or (videos / clip.path).exists()):
                clips.setdefault(clip.path, clip)
    missing = f"No clip of {folder} is in {videos}; point at the downloaded clips."
    kinds: dict[str, Kind] = dict.fromkeys(CATEGORIES, "multi-label")
    listed = list(clips.values())
    return make_manifest(videos or folder, listed, error_if_empty=missing, kinds=kinds)


def _clip(row: list[str], category: dict[str, str], part: str, file: Path) -> Clip:
    video, start, end, tags = row
    try:
        name = f"{video}_{int(float(start)):06d}_{int(float(end)):06d}.mp4"
    except (ValueError, OverflowError):
        raise UsageError(f"{file}: a time of {video} is no number.") from None
    cells = {
        name: "|".join(sorted(tag for tag in tags.split("|") if category.get(tag) == name))
        for name in CATEGORIES
    }
    return Clip(path=name, cells={**cells, "source": video, "split": part})


def _columns(path: Path, names: tuple[str, ...]) -> list[list[str]]:
    """The cells of these columns, row by row."""
    header, *rows = read_csv(path) or [[]]
    rows = [row for row in rows if row]
    places = [header.index(name) for name in names if name in header]
    if len(places) < len(names) or any(len(row) <= max(places) for row in rows):
        raise UsageError(f"{path} is not as published: it needs the columns {', '.join(names)}.")
    return [[row[place] for place in places] for row in rows]
