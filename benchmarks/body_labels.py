"""Points on people and on the ground around them, labelled by eye in real frames.

    python benchmarks/body_labels.py --draw --seed 0 --labels frames.json  # frames, no labels yet
    python benchmarks/body_labels.py --grid out/     # frames under a grid, to read points off
    python benchmarks/body_labels.py --sheet out/    # frames under their labels, to check them
    python benchmarks/body_labels.py --draw --seed 1 --without body_labels.json --labels new.json

`body_labels.json` is for measuring: no setting may be chosen on it. Settings are chosen on
`body_labels_dev.json`, which the last line drew: it has no clip of the other file, and no group of
UCF11 (a person and place) of it. Neither holds pixels. Which frames are labelled follows from the
seed and from the tables of the data alone: no detector has a say in it. Points are fractions of the
width and height of the frame as a player shows it.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
LABELS = HERE / "body_labels.json"
UTI, UCF11 = 50, 55  # frames of as many clips
WILD = 4  # frames of a clip of `wild`, and of one as long as LONG more
TURNED, OF_TURNED = ("diving", "trampoline_jumping"), 14  # more frames, of clips where people turn
LONG, OF_LONG = 1000, 8
DEV_UTI, DEV_UCF11, DEV_TURNED = 12, 44, 8  # frames of as many clips, to choose settings on
SIDE = 1000  # pixels of the longer side of a drawn frame

# name: colour of its dots, as OpenCV counts channels
PARTS = {
    "head": (0, 0, 255),
    "neck": (0, 128, 255),
    "torso": (0, 255, 255),
    "upper_arm": (0, 255, 0),
    "lower_arm": (128, 255, 128),
    "hand": (255, 255, 0),
    "upper_leg": (255, 128, 0),
    "lower_leg": (255, 128, 128),
    "foot": (255, 0, 255),
}
POSES = ("standing", "walking", "sitting", "lying", "bending", "upside-down", "airborne")
VIEWS = ("front", "side", "back", "unclear")
SKINS = ("light", "medium", "dark", "unclear")
CONTRASTS = ("low", "medium", "high")
FLAGS = ("turned", "occluded", "cut", "close-up", "child", "depicted", "wheelchair")

ABOUT = (
    "Points on people and on the ground, labelled by eye, no pixels. Frames count from 0 in "
    "display order; points are fractions of width and height of the upright frame. A body point "
    "lies on what can be seen of the person: skin, hair, clothes, shoes and hats, not bags, "
    "bicycles or rackets. height: the extent of what is seen of the person over the frame's "
    "height. view: which side of the person faces the camera. skin: apparent tone, Monk scale 1-4 "
    "light, 5-7 medium, 8-10 dark. contrast: clothes against the ground. turned: the body lies "
    "sideways in the picture; occluded: a part is hidden by things or others; cut: by the frame's "
    "edge; close-up: the head alone takes a third of the frame's height; depicted: in a poster, "
    "mirror or screen. more_people: others are seen who have no points, such as a crowd. "
    "Background points lie on none of them. Frames drawn by benchmarks/body_labels.py --draw; "
    "labelled once, by one annotator, who saw no detector's output and looked at every point again "
    "on an enlarged cut-out. For measuring: no setting is chosen on these frames."
)
DEV_ABOUT = (
    "Points on people and on the ground, as in body_labels.json, on other clips and on other "
    "groups of UCF11: for choosing settings, not for measuring. Labelled once, by one annotator, "
    "who saw no detector's output and looked at every point again on the frame. Frames drawn by "
    "benchmarks/body_labels.py --draw --without body_labels.json."
)

Frame = dict[str, Any]
U8 = NDArray[np.uint8]


def rows(path: Path) -> list[dict[str, str]]:
    """A manifest's rows."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def dealt(
    clips: Sequence[dict[str, str]], by: str, apart: str, count: int, rng: np.random.Generator
) -> Iterator[tuple[str, int]]:
    """One frame of each of `count` clips, an equal share of each value of `by`.

    Within a value no two clips share `apart` until every one has been had.
    """
    piles: dict[str, list[dict[str, str]]] = {}
    for at in rng.permutation(len(clips)):
        piles.setdefault(clips[at][by], []).append(clips[at])
    had: set[tuple[str, str]] = set()
    while count > 0 and any(piles.values()):
        for name in [name for name in sorted(piles) if piles[name]][:count]:
            pile = piles[name]
            clip = next((c for c in pile if (name, c[apart]) not in had), pile[0])
            pile.remove(clip)
            had.add((name, clip[apart]))
            count -= 1
            yield clip["path"], int(rng.integers(int(clip["frames"])))


def spread(frames: int, rng: np.random.Generator) -> list[int]:
    """Frames of a clip of `wild`: one at random in each of as many equal stretches."""
    count = min(OF_LONG if frames >= LONG else WILD, frames)
    edges = np.linspace(0, frames, count + 1).astype(int)
    return [int(rng.integers(a, b)) for a, b in pairwise(edges)]


def pictures(path: Path) -> Iterator[Any]:
    """The frames of a video, upright."""
    from masquerade.video.read import Reader

    with Reader(path, force_8bit=True) as reader:
        yield from (item for item in reader if hasattr(item, "rgb"))


def of_datasets(data: Path, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Paths and frames drawn of UT-Interaction and UCF11."""
    drawn = list(dealt(rows(data / "uti.csv"), "identity", "action", UTI, rng))
    return drawn + list(dealt(rows(data / "ucf11.csv"), "action", "identity", UCF11, rng))


def of_turned(
    ucf11: Sequence[dict[str, str]], had: Sequence[tuple[str, int]], count: int, seed: int
) -> list[tuple[str, int]]:
    """Paths and frames drawn of clips that were not had, of the actions in which people turn."""
    paths = {path for path, _ in had}
    left = [clip for clip in ucf11 if clip["action"] in TURNED and clip["path"] not in paths]
    rng = np.random.default_rng([seed, 1])
    return list(dealt(left, "action", "identity", count, rng))


def draw(data: Path, seed: int) -> list[Frame]:
    """The frames to be labelled, without labels."""
    rng = np.random.default_rng(seed)
    drawn = of_datasets(data, rng)
    for row in rows(data / "wild.csv"):
        path = f"wild/{row['file']}"
        frames = sum(1 for _ in pictures(data / path))
        drawn += [(path, frame) for frame in spread(frames, rng)]
    return unlabelled(drawn + of_turned(rows(data / "ucf11.csv"), drawn, OF_TURNED, seed))


def draw_others(data: Path, seed: int, without: Sequence[Frame]) -> list[Frame]:
    """Fewer frames, of clips and of groups of UCF11 that labelled frames do not show."""
    had = {frame["path"] for frame in without}
    ucf11 = rows(data / "ucf11.csv")
    groups = {clip["identity"] for clip in ucf11 if clip["path"] in had}
    ucf11 = [clip for clip in ucf11 if clip["identity"] not in groups]
    uti = [clip for clip in rows(data / "uti.csv") if clip["path"] not in had]
    rng = np.random.default_rng(seed)
    drawn = list(dealt(uti, "identity", "action", DEV_UTI, rng))
    drawn += dealt(ucf11, "action", "identity", DEV_UCF11, rng)
    return unlabelled(drawn + of_turned(ucf11, drawn, DEV_TURNED, seed))


def unlabelled(drawn: Iterable[tuple[str, int]]) -> list[Frame]:
    """Frames without labels."""
    return [
        {"path": path, "frame": frame, "more_people": False, "people": [], "background": []}
        for path, frame in drawn
    ]


def written(document: dict[str, Any]) -> str:
    """The document as JSON, a person and a frame's background a line each."""
    lines = []
    for frame in document["frames"]:
        people = ",\n".join(f"        {json.dumps(person)}" for person in frame["people"])
        first = {key: frame[key] for key in ("path", "frame", "more_people")}
        lines.append(
            f"    {{\n      {json.dumps(first)[1:-1]},\n"
            + (f'      "people": [\n{people}\n      ],\n' if people else '      "people": [],\n')
            + f'      "background": {json.dumps(frame["background"])}\n    }}'
        )
    rest = {key: value for key, value in document.items() if key != "frames"}
    head = json.dumps(rest, indent=2, ensure_ascii=False)[:-2]
    return f'{head},\n  "frames": [\n' + ",\n".join(lines) + "\n  ]\n}\n"


def pixels(data: Path, frames: Sequence[Frame]) -> Iterator[U8]:
    """The pixels of labelled frames, BGR; each clip is read once for neighbours in the list."""
    held: dict[int, U8] = {}
    path = ""
    for frame in frames:
        if frame["path"] != path:
            path = frame["path"]
            wanted = {f["frame"] for f in frames if f["path"] == path}
            held = {}
            for number, picture in enumerate(pictures(data / path)):
                if number in wanted:
                    held[number] = np.ascontiguousarray(picture.rgb()[..., ::-1])
                if number >= max(wanted):
                    break
        yield held[frame["frame"]]


def enlarged(image: U8) -> U8:
    """The frame with a longer side of SIDE pixels."""
    scale = SIDE / max(image.shape[:2])
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=way), np.uint8)


def text(image: U8, words: str, at: tuple[int, int], size: float = 0.4) -> None:
    """Words in white on black."""
    for colour, wide in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(image, words, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, wide, cv2.LINE_AA)


def under_grid(image: U8) -> U8:
    """The frame with a line each tenth and a tick each twentieth, on a border with the numbers."""
    image = enlarged(image)
    high, wide = image.shape[:2]
    lines = image.copy()
    for step in range(1, 10):
        x, y = step * wide // 10, step * high // 10
        cv2.line(lines, (x, 0), (x, high), (255, 255, 255), 1)
        cv2.line(lines, (0, y), (wide, y), (255, 255, 255), 1)
    image = cv2.addWeighted(image, 0.6, lines, 0.4, 0).astype(np.uint8)
    out = cv2.copyMakeBorder(image, 24, 12, 34, 12, cv2.BORDER_CONSTANT).astype(np.uint8)
    for step in range(21):
        x, y = 34 + step * wide // 20, 24 + step * high // 20
        cv2.line(out, (x, 18), (x, 24), (255, 255, 255), 1)
        cv2.line(out, (28, y), (34, y), (255, 255, 255), 1)
        if step % 2 == 0 or wide > 500:
            text(out, f".{5 * step:02d}" if step < 20 else "1", (x - 9, 14))
        text(out, f".{5 * step:02d}" if step < 20 else "1", (2, y + 4))
    return out


def under_labels(image: U8, frame: Frame) -> U8:
    """The frame with a dot of its part's colour a body point, and a black cross a background point.

    Each person's number stands at its first point.
    """
    out = enlarged(image)
    high, wide = out.shape[:2]

    def at(point: Sequence[float]) -> tuple[int, int]:
        return round(point[-2] * wide), round(point[-1] * high)

    for number, person in enumerate(frame["people"]):
        for point in person["points"]:
            cv2.circle(out, at(point), 5, (0, 0, 0), -1, cv2.LINE_AA)
            cv2.circle(out, at(point), 4, PARTS[point[0]], -1, cv2.LINE_AA)
        x, y = at(person["points"][0])
        text(out, str(number), (x + 6, y - 6), 0.5)
    for point in frame["background"]:
        cv2.drawMarker(out, at(point), (255, 255, 255), cv2.MARKER_TILTED_CROSS, 14, 4)
        cv2.drawMarker(out, at(point), (0, 0, 0), cv2.MARKER_TILTED_CROSS, 12, 2)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Points on people, labelled by eye.")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draw", action="store_true", help="write frames without labels")
    parser.add_argument("--without", type=Path, help="labels whose clips and groups are not drawn")
    parser.add_argument("--grid", type=Path, help="a folder for frames under a grid")
    parser.add_argument("--sheet", type=Path, help="a folder for frames under their labels")
    args = parser.parse_args()
    if args.draw:
        if args.labels.exists():
            parser.error(f"{args.labels} is there: name another file with --labels")
        if args.without:
            without = json.loads(args.without.read_text("utf-8"))["frames"]
            about, frames = DEV_ABOUT, draw_others(args.data, args.seed, without)
        else:
            about, frames = ABOUT, draw(args.data, args.seed)
        document = {"version": 1, "about": about, "seed": args.seed, "frames": frames}
        args.labels.write_text(written(document), "utf-8")
        return
    frames = json.loads(args.labels.read_text("utf-8"))["frames"]
    for folder in filter(None, (args.grid, args.sheet)):
        folder.mkdir(parents=True, exist_ok=True)
    for number, (frame, image) in enumerate(zip(frames, pixels(args.data, frames), strict=True)):
        if args.grid:
            cv2.imwrite(str(args.grid / f"{number:03}.png"), under_grid(image))
        if args.sheet:
            cv2.imwrite(str(args.sheet / f"{number:03}.png"), under_labels(image, frame))


if __name__ == "__main__":
    main()
