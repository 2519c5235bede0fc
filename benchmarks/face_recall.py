"""Faces that `--regions faces` leaves bare, on labels that no detector has pointed at.

    python benchmarks/face_recall.py [--data ../shared/data]    # writes docs/results/face_recall.md

Reads `faces_by_eye.json` and runs every face detector on the labelled frames, each by itself;
CenterFace also on the frame turned by 90, 180 and 270 degrees and at twice its size; and
`--regions faces` with its defaults over the clips whose frames follow each other, as they are and
turned as a whole.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from face_labels import HERE, LABELS, RECOGNIZABLE, ROLLS, SKIN, VIEWS, Face, Labelled, read
from faces import inside, our_mask, upright
from numpy.typing import ArrayLike, NDArray

from masquerade.metrics.intervals import score
from masquerade.metrics.statistic import mean
from masquerade.pipeline.live_run import SCALE
from masquerade.pipeline.stream import Cover
from masquerade.regions import Faces
from masquerade.regions.boxes import Box, area, corners, intersection, nms
from masquerade.regions.face_detectors import NMS_IOU, CenterFace
from masquerade.regions.rotated_faces import RotatedFrame

REPORT = HERE.parent / "docs" / "results" / "face_recall.md"
COVERED = 0.9  # share of a face's box inside the mask from which it counts as hidden
BARE = 0.5  # share below which it counts as bare
TOUCHES = 0.3  # of the smaller of two boxes: below it, a box is beside a face and not on it
SURE = 0.5  # score from which a face in a turned picture counts, in one of the rows
TURNS = (90, 180, 270)
SIZES = (0, 12, 20, 32, 64, np.inf)  # pixels from forehead to chin
BEFORE = 20  # frames read before a labelled one
LARGEST = 1280  # pixels of the longer side up to which a frame is enlarged
FEW = 10  # a group with fewer faces has counts instead of an interval


@dataclass(frozen=True, slots=True)
class View:
    """A frame turned clockwise and enlarged, as a detector sees it."""

    frame: Any
    turn: int = 0
    factor: int = 1

    @property
    def turned(self) -> Any:
        """The frame at its own size."""
        return RotatedFrame(self.frame, self.turn) if self.turn else self.frame

    @property
    def width(self) -> int:
        """Pixels."""
        return self.factor * int(self.turned.width)

    @property
    def height(self) -> int:
        """Pixels."""
        return self.factor * int(self.turned.height)

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The pixels (h, w, 3), of size (w, h)."""
        return np.asarray(self.turned.rgb(size or (self.width, self.height)), np.uint8)

    def back(self, box: Box) -> Box:
        """A box of this view as a box of the frame."""
        x0, y0, x1, y1 = (float(edge) / self.factor for edge in corners([box])[0])
        small = replace(box, x0=x0, y0=y0, x1=x1, y1=y1)
        return RotatedFrame(self.frame, self.turn).in_frame(small) if self.turn else small


LOOKS: dict[str, dict[str, int]] = {
    "as it is": {},
    **{f"turned {turn}": {"turn": turn} for turn in TURNS},
    "enlarged": {"factor": 2},
}
QUARTERS = ("turned 90", "turned 270")
ALL_TURNS = ("turned 90", "turned 180", "turned 270")

DEFAULT = "`centerface` (default)"
FOUR_TURNS = "and turned by 90, 180 and 270"
ENLARGED = "and at twice the size"
# What is detected: looks whose boxes are joined, and the lowest score in all but the first.
DETECTORS: dict[str, tuple[tuple[str, ...], float]] = {
    DEFAULT: (("as it is",), 0),
    "and turned by 90 and 270": (("as it is", *QUARTERS), 0),
    FOUR_TURNS: (("as it is", *ALL_TURNS), 0),
    f"{FOUR_TURNS}, score {SURE} or more": (("as it is", *ALL_TURNS), SURE),
    ENLARGED: (("as it is", "enlarged"), 0),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one detector left of the labelled frames.

    Args:
        shares: of the faces' boxes inside the mask, in the order of `faces_of`.
        alarms: boxes of each frame that are on no face, no head and in no unclear zone.
        hidden: share of each frame that the mask takes.
    """

    shares: NDArray[np.float64]
    alarms: NDArray[np.float64]
    hidden: NDArray[np.float64]


def faces_of(frames: Iterable[Labelled]) -> list[tuple[Labelled, Face]]:
    """Every face with its frame."""
    return [(frame, face) for frame in frames for face in frame.faces]


def joined(looks: dict[str, list[Box]], names: Sequence[str], least: float) -> list[Box]:
    """The boxes of several looks without those that a better one lies on."""
    first, *more = names
    boxes = [*looks[first], *(b for name in more for b in looks[name] if b.score >= least)]
    return [boxes[k] for k in nms(corners(boxes), np.array([b.score for b in boxes]), NMS_IOU)]


def touches(boxes: Sequence[Box], others: Sequence[Box]) -> NDArray[np.bool_]:
    """Which boxes lie on one of the others, or hold it."""
    a, b = corners(boxes), corners(others)
    smaller = np.minimum(area(a)[:, None], area(b)[None])
    return np.asarray((intersection(a, b) >= TOUCHES * smaller).any(axis=1))


def outcome(frames: Sequence[Labelled], found: Callable[[Labelled], list[Box]]) -> Outcome:
    """Faces covered, false alarms and area hidden by the boxes of every frame."""
    shares, alarms, hidden = [], [], []
    for frame in frames:
        boxes = found(frame)
        mask = our_mask(boxes, *frame.size)
        shares += [inside(mask, face.box) for face in frame.faces]
        right = [*(face.box for face in frame.faces), *frame.heads, *frame.unclear]
        alarms.append(float((~touches(boxes, right)).sum()))
        hidden.append(float(np.mean(mask > 0)))
    return Outcome(np.array(shares), np.array(alarms), np.array(hidden))


def clips(frames: Iterable[Labelled]) -> dict[str, dict[int, Labelled]]:
    """The labelled frames of every clip."""
    found: dict[str, dict[int, Labelled]] = {}
    for frame in frames:
        found.setdefault(frame.path, {})[frame.frame] = frame
    return found


Key = tuple[str, int]
Looks = dict[Key, dict[str, list[Box]]]


def threshold() -> float:
    """The default score from which a box is hidden."""
    return float((Faces.__init__.__kwdefaults__ or {})["threshold"])


def look(frames: Sequence[Labelled], data: Path) -> tuple[Looks, dict[str, float]]:
    """What is found in every labelled frame by every look, and the seconds that each took."""
    # One a look: the network is read anew where the size of its input changes.
    detectors = {name: CenterFace(threshold=threshold()) for name in LOOKS}
    found: Looks = {}
    seconds = dict.fromkeys(LOOKS, 0.0)
    for path, wanted in clips(frames).items():
        print(path, file=sys.stderr)
        for number, picture in enumerate(upright(data / path)):
            if number in wanted:
                found[path, number] = {}
                for name, how in LOOKS.items():
                    view = View(picture, **how)
                    if view.factor > 1 and max(view.width, view.height) > LARGEST:
                        found[path, number][name] = []
                        continue
                    started = time.perf_counter()
                    boxes = detectors[name](view)
                    seconds[name] += time.perf_counter() - started
                    found[path, number][name] = [view.back(box) for box in boxes]
            if number == max(wanted):
                break
        else:
            raise SystemExit(f"{path} has fewer frames than were labelled: is it the same file?")
    return found, seconds


def track(
    frames: Sequence[Labelled],
    data: Path,
    *,
    turn: int = 0,
    turned: bool = True,
    online: bool = False,
) -> tuple[dict[Key, list[Box]], float]:
    """What `--regions faces` hides in the labelled frames of clips, and the time of the processor.

    It reads from some frames before each to as many after it as a run over all of the clip would.

    Args:
        turn: of the whole clip before its faces are looked for, clockwise.
        turned: look for turned faces.
        online: as `masquerade live` does, which reads one frame ahead and sees smaller pictures.
    """
    found: dict[Key, list[Box]] = {}
    seconds = 0.0
    source = Faces(turned=turned, online=online, scale=int(SCALE) if online else None)
    for frame in frames:
        path, number = frame.path, frame.frame
        print(f"{path} {number}, tracked, turned by {turn}, {turned=}", file=sys.stderr)
        first = max(0, number - BEFORE)
        read = islice(upright(data / path), first, number + source.look_ahead + 1)
        views = [View(picture, turn) for picture in read]
        started = time.process_time()
        region = next(islice(source(views), number - first, None))
        seconds += time.process_time() - started
        found[path, number] = [views[number - first].back(box) for box in region.boxes]
    return found, seconds


# What is tracked, and in what time: by the clip's turn and by whether turned faces are looked for.
Tracked = dict[tuple[int, bool], tuple[dict[Key, list[Box]], float]]
Group = tuple[str, Callable[[Labelled, Face], bool]]


def sized(low: float, high: float) -> Group:
    """Faces of a range of sizes."""
    if not np.isfinite(high):
        return f"{low:g} pixels and more", lambda _, face: face.pixels >= low
    name = f"{low:g} to {high:g} pixels" if low else f"under {high:g} pixels"
    return name, lambda _, face: low <= face.pixels < high


def of(attribute: str, value: str, name: str = "") -> Group:
    """Faces of one label."""
    return name or value, lambda _, face: getattr(face, attribute) == value


def source(name: str) -> Group:
    """Faces of one data set."""
    return f"`{name}`", lambda frame, _: frame.path.startswith(f"{name}/")


DRAWN: list[Group] = [
    ("all that the seed drew", lambda *_: True),
    *map(source, ("wild", "uti", "ucf11")),
    *(sized(low, high) for low, high in pairwise(SIZES)),
    *(of("view", view) for view in VIEWS),
    *(of("recognizable", r, f"recognizable by it: {r}") for r in RECOGNIZABLE),
    *(of("skin", tone, f"skin in the picture: {tone}") for tone in SKIN),
    ("not occluded", lambda _, face: not face.occluded),
    ("occluded", lambda _, face: bool(face.occluded)),
]
TURNED: list[Group] = [
    *(of("roll", roll) for roll in ROLLS),
    ("in the frames picked for turned heads", lambda frame, _: frame.chosen == "turned"),
]


def members(group: Group, faces: Sequence[tuple[Labelled, Face]]) -> NDArray[np.bool_]:
    """Which faces belong to a group."""
    return np.array([group[1](*item) for item in faces], bool)


def percent(values: NDArray[np.bool_], names: ArrayLike) -> str:
    """A share in per cent with its interval over clips, or counts where there are few."""
    if len(values) < FEW:
        return f"{int(values.sum())} of {len(values)}" if len(values) else "-"
    found = score(mean(values.astype(float)), clusters=names)
    value, low, high = (100 * (x or 0.0) for x in (found.value, found.low, found.high))
    return f"{value:.0f} ({low:.0f} to {high:.0f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = (" | ".join(row) for row in (head, ["---"] * len(head), *rows))
    return "".join(f"| {line} |\n" for line in lines)


def drawn(frames: Iterable[Labelled]) -> list[Labelled]:
    """The frames that the seed drew."""
    return [frame for frame in frames if frame.chosen == "seed"]


def of_videos(frames: Iterable[Labelled]) -> list[Labelled]:
    """Those of clips whose frames follow each other in time."""
    return [frame for frame in drawn(frames) if not frame.path.startswith("ucf11/")]


def group_rows(
    frames: Sequence[Labelled], outcomes: Sequence[Outcome], groups: Iterable[Group]
) -> Iterator[list[str]]:
    """One row a group: how many faces of how many clips, and how many are covered by each."""
    faces = faces_of(frames)
    paths = np.array([frame.path for frame, _ in faces])
    for group in groups:
        own = members(group, faces)
        covered = (percent(o.shares[own] >= COVERED, paths[own]) for o in outcomes)
        yield [group[0], str(own.sum()), str(len(set(paths[own]))), *covered]


DETECTOR_HEAD = ("detector", "covered", "bare", "false alarms", "hidden", "time")


def detector_rows(
    frames: Sequence[Labelled], outcomes: dict[str, Outcome], seconds: dict[str, float]
) -> Iterator[list[str]]:
    """One row a detector: covered, bare, false alarms, area and time."""
    paths = [frame.path for frame, _ in faces_of(frames)]
    for name, result in outcomes.items():
        cost = sum(seconds[one] for one in DETECTORS[name][0]) / seconds["as it is"]
        yield [
            name,
            percent(result.shares >= COVERED, paths),
            percent(result.shares < BARE, paths),
            f"{result.alarms.mean():.2f}",
            f"{100 * result.hidden.mean():.1f}",
            f"{cost:.1f}",
        ]


def bare(frames: Sequence[Labelled], result: Outcome, recognizable: str) -> list[str]:
    """Faces of which most is left, with their place."""
    items = zip(faces_of(frames), result.shares, strict=True)
    return [
        f"`{frame.path}` frame {frame.frame} ({face.pixels:.0f} px, {face.view}, {face.roll})"
        for (frame, face), share in items
        if share < BARE and face.recognizable == recognizable
    ]


def page(
    frames: Sequence[Labelled],
    found: Looks,
    seconds: dict[str, float],
    tracked: dict[Key, list[Box]],
    live: dict[Key, list[Box]],
    sides: Tracked,
) -> str:
    """The whole of `face_recall.md`."""
    own = drawn(frames)
    results = {name: outcome(own, by(found, *how)) for name, how in DETECTORS.items()}
    video = of_videos(frames)
    once = outcome(video, by(found, *DETECTORS[DEFAULT]))
    over_time, while_filmed = outcome(video, over(tracked)), outcome(video, over(live))
    faces, picked = len(faces_of(own)), len(faces_of(frames)) - len(faces_of(own))
    shown = [DEFAULT, FOUR_TURNS, ENLARGED]
    head = ["faces", "number", "clips", *shown]
    kinds = group_rows(own, [results[name] for name in shown], DRAWN)
    turned = group_rows(
        frames, [outcome(frames, by(found, *DETECTORS[name])) for name in shown], TURNED
    )
    left = bare(video, over_time, "yes")
    return f"""# How many faces are missed

Made by `python benchmarks/face_recall.py` on {faces + picked} faces in {len(frames)} frames
(`faces_by_eye.json`: boxes only). **No detector had a part in choosing the frames or in drawing
the boxes**, unlike those of [faces.md](faces.md), by which CenterFace finds every face and 98 to
99 % are covered: a face that it does not see is not among those. {len(own)} frames with {faces}
faces were drawn by a seed: four of each clip of `wild` (one has only three), one each of 42 clips
of UT-Interaction (two people side on, seen from above) and of 39 of UCF11 (320 x 240, much
compressed); {sum(not frame.faces for frame in own)} of them show no face.
{len(frames) - len(own)} frames of UCF11 with {picked} faces were picked by eye for heads that lie,
hang or lean, and count only where it says so. In per cent with 95 % intervals over clips; counts
where faces are fewer than {FEW}.

- covered: {COVERED:.0%} or more of the face's box (forehead to chin, ear to ear or nose tip) lies
  in what is hidden by default (score {threshold()} or more, ellipse, margin {Cover().scale}).
  Bare: less than {BARE:.0%} does.
- false alarms: boxes a frame that lie on no face, on no head seen from behind, and in no zone where
  nobody could tell. Hidden: of the frame. Time: in times CenterFace's on the frame as it is.
- Faces were labelled once, by one annotator, those of 12 pixels to a pixel or so. View,
  recognizability and skin are judgements, the last of how it looks in that light and compression.

## Detectors, each frame by itself

{table(DETECTOR_HEAD, detector_rows(own, results, seconds))}
Twice the size: frames of up to {LARGEST // 2} pixels, others as they are. Faces in a turned or
enlarged picture are joined to those in the frame as it is; of boxes on each other the surest stays.

## By kind of face: covered

{table(head, kinds)}
With the frames that were picked for turned heads:

{table(head, turned)}
## Over time: covered

`--regions faces` with its defaults (detected in every third frame, tracked) from {BEFORE} frames
before each labelled one of `wild` and `uti`, beside CenterFace on every frame by itself. False
alarms a frame: {once.alarms.mean():.2f} by itself, {over_time.alarms.mean():.2f} tracked; hidden:
{100 * once.hidden.mean():.1f} and {100 * over_time.hidden.mean():.1f} % of the frame. Live: as
`masquerade live` looks for them, without frames of the future and in pictures of {SCALE} pixels, on
a machine that keeps up with every frame; {while_filmed.alarms.mean():.2f} false alarms a frame,
{100 * while_filmed.hidden.mean():.1f} % hidden.

{
        table(
            [*head[:3], "by itself", "live", "tracked"],
            group_rows(video, [once, while_filmed, over_time], DRAWN),
        )
    }
Bare although somebody who knows the person would know them by this face:
{"; ".join(left) if left else "none"}. Bare, and hardly to be known by it:
{len(bare(video, over_time, "hardly"))}.

## A clip on its side

The clips of UT-Interaction turned as a whole, as though the files had lost their rotation: covered
by CenterFace in each picture as it then is, and by `--regions faces`, which turns pictures where
that shows faces. Time: of the processor, without decoding, in times that of the same clips as they
are without looking for turned faces.

{table(SIDE_HEAD, side_rows(of_uti(video), found, sides))}"""


def of_uti(frames: Iterable[Labelled]) -> list[Labelled]:
    """Those of UT-Interaction."""
    return [frame for frame in frames if frame.path.startswith("uti/")]


def by(found: Looks, names: Sequence[str], least: float = 0) -> Callable[[Labelled], list[Box]]:
    """The boxes of a frame by some of the looks at it."""
    return lambda frame: joined(found[frame.path, frame.frame], names, least)


def over(boxes: dict[Key, list[Box]]) -> Callable[[Labelled], list[Box]]:
    """The boxes of a frame that were tracked."""
    return lambda frame: boxes[frame.path, frame.frame]


SIDES = (0, 90, 180)  # turns of whole clips
SIDE_HEAD = "the clip is", "by itself", "covered", "bare", "false alarms", "time"


def side_rows(video: Sequence[Labelled], found: Looks, sides: Tracked) -> Iterator[list[str]]:
    """One row a turn of the whole clip."""
    paths = [frame.path for frame, _ in faces_of(video)]
    for turn in SIDES:
        name = f"turned {turn}" if turn else "as it is"
        boxes, seconds = sides[turn, True]
        single, result = outcome(video, by(found, (name,))), outcome(video, over(boxes))
        yield [
            name,
            percent(single.shares >= COVERED, paths),
            percent(result.shares >= COVERED, paths),
            percent(result.shares < BARE, paths),
            f"{result.alarms.mean():.2f}",
            f"{seconds / sides[0, False][1]:.1f}",
        ]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Faces that no detector pointed at, and missed.")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--out", type=Path, default=REPORT)
    asked = parser.parse_args()
    frames = read(asked.labels)
    if missing := [f.path for f in frames if not (asked.data / f.path).is_file()]:
        raise SystemExit(f"{len(missing)} clips are not in {asked.data}, such as {missing[0]}.")
    found, seconds = look(frames, asked.data)
    video = of_videos(frames)
    tracked, _ = track(video, asked.data)
    live, _ = track(video, asked.data, online=True)
    sides = {
        (turn, turned): track(of_uti(video), asked.data, turn=turn, turned=turned)
        for turn, turned in ((0, False), *((turn, True) for turn in SIDES))
    }
    text = page(frames, found, seconds, tracked, live, sides)
    asked.out.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
