"""Faces labelled by eye without any detector: which frames, and what stands in `faces_by_eye.json`.

    python benchmarks/face_labels.py [--data ../shared/data]    # print the frames to label

Most frames are drawn by a seed from the lists of clips alone. Heads that are turned are rare in
them, so that some frames were picked for such heads, by eye on thumbnails of two actions of UCF11.
No detector or network had a say in which frames were labelled or in any box.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from masquerade.regions.boxes import Box

HERE = Path(__file__).resolve().parent
LABELS = HERE / "faces_by_eye.json"
SEED = 16
WILD = 4  # frames of each clip of wild, one in each equal stretch of its time
UTI = 7  # clips of each action of UT-Interaction, one frame of each
UCF11 = 3  # clips of each action of UCF11, each of another group, one frame of each
UPSIDE_DOWN = ("diving", "trampoline_jumping")  # twice as many: heads are turned there
# Frames of UCF11 picked by eye for heads that lie, hang or lean; scored in rows of their own.
TURNED = {
    "trampoline_jumping/v_jumping_10_04": (0,),
    "trampoline_jumping/v_jumping_10_06": (4,),
    "trampoline_jumping/v_jumping_10_05": (4,),
    "trampoline_jumping/v_jumping_10_01": (4,),
    "trampoline_jumping/v_jumping_04_04": (2,),
    "trampoline_jumping/v_jumping_04_05": (4,),
    "trampoline_jumping/v_jumping_11_02": (2,),
    "trampoline_jumping/v_jumping_11_04": (0,),
    "trampoline_jumping/v_jumping_01_04": (4,),
    "trampoline_jumping/v_jumping_14_01": (4,),
    "trampoline_jumping/v_jumping_20_04": (4,),
    "swing/v_swing_03_01": (3,),
    "swing/v_swing_03_04": (3,),
    "swing/v_swing_11_02": (1,),
    "swing/v_swing_11_05": (1, 3),
    "swing/v_swing_16_04": (3,),
    "swing/v_swing_17_01": (3,),
    "swing/v_swing_17_02": (1,),
    "swing/v_swing_17_03": (3,),
    "swing/v_swing_17_04": (1,),
    "swing/v_swing_24_02": (1,),
    "swing/v_swing_14_02": (1,),
    "swing/v_swing_25_04": (1,),
    "swing/v_swing_21_01": (3,),
    "swing/v_swing_01_05": (1,),
}

VIEWS = ("front", "three-quarter", "profile", "back, part visible")
ROLLS = ("upright", "tilted over 30 degrees", "sideways", "upside down")
RECOGNIZABLE = ("yes", "hardly", "no")
SKIN = ("light", "medium", "dark", "cannot tell")
OCCLUDED = ("hand", "hair", "glasses", "sunglasses", "mask", "hat", "other")
SHOWN = ("live", "screen")  # in the scene itself, or on a screen, a poster or in a mirror


@dataclass(frozen=True, slots=True)
class Face:
    """One face as it was labelled; the box is in pixels of the frame as a player shows it."""

    box: Box
    view: str
    roll: str
    recognizable: str
    skin: str
    occluded: tuple[str, ...]
    shown: str

    @property
    def pixels(self) -> float:
        """From forehead to chin."""
        return self.box.width if self.roll == "sideways" else self.box.height


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled frame.

    Args:
        path: the clip, relative to the data.
        frame: its number, from 0, as shown.
        size: width and height in pixels.
        chosen: by `seed`, or by eye for a `turned` head.
        faces: what there is to hide.
        heads: heads of which no face can be seen.
        unclear: where people are too small or too blurred to tell; a box there is no false alarm.
    """

    path: str
    frame: int
    size: tuple[int, int]
    chosen: str
    faces: tuple[Face, ...]
    heads: tuple[Box, ...]
    unclear: tuple[Box, ...]


def read(path: Path = LABELS) -> list[Labelled]:
    """The labelled frames."""
    return [_labelled(row) for row in json.loads(path.read_text("utf-8"))["frames"]]


def _labelled(row: dict[str, Any]) -> Labelled:
    wide, high = row["size"]

    def box(edges: list[float]) -> Box:
        x, y, w, h = edges
        return Box(x * wide, y * high, (x + w) * wide, (y + h) * high, 1.0)

    faces = [
        Face(
            box=box(face["box"]),
            view=face["view"],
            roll=face["roll"],
            recognizable=face["recognizable"],
            skin=face["skin"],
            occluded=tuple(face.get("occluded", ())),
            shown=face.get("shown", "live"),
        )
        for face in row["faces"]
    ]
    heads, unclear = (tuple(map(box, row.get(name, ()))) for name in ("heads", "unclear"))
    return Labelled(
        row["path"], row["frame"], (wide, high), row["chosen"], tuple(faces), heads, unclear
    )


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def length(path: Path) -> int:
    """How many frames a video shows."""
    from masquerade.video.read import Reader

    with Reader(path, force_8bit=True) as reader:
        return sum(hasattr(item, "rgb") for item in reader)


def of_wild(data: Path, rng: np.random.Generator) -> Iterator[tuple[str, int]]:
    """Frames of every clip of wild, spread in time."""
    for name in sorted(row["file"] for row in rows(data / "wild.csv")):
        frames = length(data / "wild" / name)
        edges = np.linspace(0, frames, min(WILD, frames) + 1).astype(int)
        for low, high in pairwise(edges):
            yield f"wild/{name}", int(rng.integers(low, high))


def of_actions(
    table: list[dict[str, str]], rng: np.random.Generator, *, of_each: int, by_group: bool
) -> Iterator[tuple[str, int]]:
    """One frame of each of some clips of every action."""
    for action in sorted({row["action"] for row in table}):
        clips = sorted((r for r in table if r["action"] == action), key=lambda r: r["path"])
        many = of_each * (2 if action in UPSIDE_DOWN else 1)
        taken: list[dict[str, str]] = []
        for k in rng.permutation(len(clips)):
            known = {row["identity"] for row in taken} if by_group else set()
            if len(taken) < many and clips[k]["identity"] not in known:
                taken.append(clips[k])
        for row in taken:
            yield row["path"], int(rng.integers(int(row["frames"])))


def turned() -> list[tuple[str, int]]:
    """Clip and number of the frames that were picked for heads that lie, hang or lean."""
    return [(f"ucf11/{clip}.mp4", k) for clip, numbers in TURNED.items() for k in numbers]


def chosen(data: Path) -> list[tuple[str, int]]:
    """Clip and number of every frame to label, frames counted from 0 as they are shown."""
    rng = np.random.default_rng(SEED)
    return [
        *of_wild(data, rng),
        *of_actions(rows(data / "uti.csv"), rng, of_each=UTI, by_group=False),
        *of_actions(rows(data / "ucf11.csv"), rng, of_each=UCF11, by_group=True),
        *turned(),
    ]


def main() -> None:
    """Print the frames to label."""
    parser = argparse.ArgumentParser(description="The frames in which faces are labelled by eye.")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    print(json.dumps(chosen(parser.parse_args().data), indent=0))


if __name__ == "__main__":
    main()
