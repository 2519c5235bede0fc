"""Read UT-Interaction's labels (Ryoo & Aggarwal, 2010): 6 interactions of 20 acting pairs.

Cut clips are `NUMBER_PAIR_CLASS.avi` in a folder of their set (or with the set in front of the
name). The annotation of the whole recordings is a spreadsheet in an old binary format: save each
of its sheets as CSV. Its rows are `seq1, class, first, last, box, ...`, frames counted from 0.
"""

import re
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest, make_manifest
from masquerade.datasets.published.label_files import read_csv, videos_named
from masquerade.errors import UsageError

ACTIONS = ("handshake", "hug", "kick", "point", "punch", "push")
PLACES = {1: "parking_lot", 2: "lawn"}
_CLIP = re.compile(r"(?:^|_|/)(?P<number>\d+)_(?P<pair>\d+)_(?P<action>[0-5])$")


def read_ut_interaction(folder: Path, *, videos: Path | None = None) -> Manifest:
    """Read the cut clips, or the annotated stretches of the whole recordings.

    `folder` holds the cut clips, or CSVs made from the annotation's sheets, or is such a CSV. For
    CSVs, `videos` is the folder of `seq1.avi` and the others.
    """
    if folder.suffix.lower() == ".xls":
        raise UsageError(f"Save each sheet of {folder} as CSV and give their folder.")
    if folder.is_file():
        missing = f"No row of {folder} begins with seq1 or the like."
        return make_manifest(videos or folder.parent, _annotated(folder), error_if_empty=missing)
    # a CSV may be something else, such as the manifest that is written beside the clips
    if rows := [clip for sheet in sorted(folder.glob("*.csv")) for clip in _annotated(sheet)]:
        return make_manifest(videos or folder, rows)
    clips = [
        Clip(path=path, cells=_cells(int(match["pair"]), int(match["action"])))
        for path, match in videos_named(folder, _CLIP)
    ]
    missing = (
        f"{folder} holds no clip named NUMBER_PAIR_CLASS, such as 0_1_4.avi, and no CSV with a row "
        "that begins with seq1 or the like."
    )
    return make_manifest(folder, clips, error_if_empty=missing)


def _annotated(sheet: Path) -> list[Clip]:
    clips = []
    for number, row in enumerate(read_csv(sheet), start=1):
        match = re.fullmatch(r"seq(\d+)", row[0].strip()) if row else None
        if match is None:
            continue  # the two lines of titles
        where = f"{sheet}, line {number}"
        try:
            pair = int(match[1])
            action, first, last = (int(float(cell)) for cell in row[1:4])
        except (ValueError, OverflowError):
            raise UsageError(f"{where}: no pair, or no class, first and last frame.") from None
        if not 0 <= action < len(ACTIONS):
            raise UsageError(f"{where}: class {action} is none of 0 to {len(ACTIONS) - 1}.")
        if not 0 <= first <= last:
            raise UsageError(f"{where}: frames {first} to {last} are no range.")
        cells = _cells(pair, action)
        clips.append(Clip(path=f"{row[0].strip()}.avi", cells=cells, first=first, last=last))
    return clips


def _cells(pair: int, action: int) -> dict[str, str]:
    if not 1 <= pair <= 20:
        raise UsageError(f"UT-Interaction has pairs 1 to 20, not {pair}.")
    place = PLACES[1 if pair <= 10 else 2]  # recordings 1 to 10 are set 1
    return {"action": ACTIONS[action], "identity": f"pair{pair:02d}", "scene": place}
