"""Faces labelled by eye without any detector: which frames, and what stands in `faces_by_eye.json`.

    python benchmarks/face_labels.py [--data ../shared/data]    # print the frames to label

The frames are drawn by a seed from the lists of clips alone; no detector or network had a say in
which frames were labelled or in any box.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SEED = 16
WILD = 4  # frames of each clip of wild, one in each equal stretch of its time
UTI = 7  # clips of each action of UT-Interaction, one frame of each
UCF11 = 3  # clips of each action of UCF11, each of another group, one frame of each
UPSIDE_DOWN = ("diving", "trampoline_jumping")  # twice as many: heads are turned there


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


def chosen(data: Path) -> list[tuple[str, int]]:
    """Clip and number of every frame to label, frames counted from 0 as they are shown."""
    rng = np.random.default_rng(SEED)
    return [
        *of_wild(data, rng),
        *of_actions(rows(data / "uti.csv"), rng, of_each=UTI, by_group=False),
        *of_actions(rows(data / "ucf11.csv"), rng, of_each=UCF11, by_group=True),
    ]


def main() -> None:
    """Print the frames to label."""
    parser = argparse.ArgumentParser(description="The frames in which faces are labelled by eye.")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    print(json.dumps(chosen(parser.parse_args().data), indent=0))


if __name__ == "__main__":
    main()
