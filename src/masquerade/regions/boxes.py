"""Bounding boxes, their geometry, and the JSON file of boxes that a user may edit.

The file is JSON, version 1; the sizes are pixels of the upright frame, frames count from 0, and
a frame without boxes may be left out. Of a box's keys only `box` is needed:

    {"version": 1, "width": 640, "height": 480, "frames": {
      "0": [{"box": [x0, y0, x1, y1], "score": 0.9, "track": 3, "source": "detected"}]
    }}
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from masquerade.errors import MasqueradeError, UsageError

Source = Literal["detected", "interpolated", "extrapolated"]
Array = NDArray[np.float64]
MOST_DIGITS = 18  # of a whole number in a file; what is longer fits no 64 bits
NUMBER_LIMIT = 10**9  # of frames and tracks in a file are below this: they have at most nine digits
MOST_DETECTIONS = 5000  # in one frame; all pairs of them are compared, here and with tracks
TRACK_OFFSET = 10_000_000  # between the tracks of two region sources that are one
FARTHEST = 1e6  # pixels from the frame; arithmetic with farther edges overflows
CHOOSE_OTHER_REGIONS = "nothing was written; choose another --regions or --detector."


class TooManyDetectionsError(UsageError):
    """A detector finds more in one frame than can be compared, as a threshold of 0 gives."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright frame, x to the right, y down.

    Pixels are unit squares, so a box of the whole frame is (0, 0, w, h).
    """

    x0: float  # left edge
    y0: float  # upper edge
    x1: float  # right edge
    y1: float  # lower edge
    score: float  # of the detector, 0 to 1
    track: int | None = None  # number of the track that it belongs to; None: unknown
    source: Source = "detected"  # or filled in by tracking: between detections, or beyond them
    label: str = "face"  # face, person, part (of one), hand, text, frame, drawn, template
    always_drawn: bool = False  # even where silhouettes cover it: they are of other people

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y1 - self.y0

    def clip(self, width: float, height: float) -> Box | None:
        """The part inside a frame of this size; None if it lies outside."""
        x0, y0 = max(0.0, self.x0), max(0.0, self.y0)
        x1, y1 = min(float(width), self.x1), min(float(height), self.y1)
        if x1 <= x0 or y1 <= y0:
            return None
        return replace(self, x0=x0, y0=y0, x1=x1, y1=y1)


def box_pixels(box: Box) -> tuple[slice, slice]:
    """The rows and columns of an image that a box touches, if only in part.

    Of an image that it lies outside of they select nothing.
    """
    top, left = max(0, math.floor(box.y0)), max(0, math.floor(box.x0))
    bottom, right = max(top, math.ceil(box.y1)), max(left, math.ceil(box.x1))
    return slice(top, bottom), slice(left, right)


def scaled_box(box: Box, scale: tuple[float, float]) -> Box:
    """The same box in pixels of a copy that is `scale`, (x, y), times as large."""
    x, y = scale
    return replace(box, x0=box.x0 * x, y0=box.y0 * y, x1=box.x1 * x, y1=box.y1 * y)


def mirrored_box(box: Box, width: int) -> Box:
    """The same box in a frame, of this width in pixels, that is mirrored left to right."""
    return replace(box, x0=width - box.x1, x1=width - box.x0)


def check_array(what: str, values: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return what a network gave, if it is finite numbers of this shape; None: any length.

    Anything else raises a MasqueradeError: a detector whose output is invalid may have missed
    somebody.
    """
    is_numeric = isinstance(values, np.ndarray) and values.dtype.kind in "fiub"
    if not is_numeric or len(values.shape) != len(shape) or not np.isfinite(values).all():
        raise MasqueradeError(
            f"{what} gave no finite numbers of {len(shape)} axes; {CHOOSE_OTHER_REGIONS}"
        )
    if any(want not in (None, have) for want, have in zip(shape, values.shape, strict=True)):
        raise MasqueradeError(f"{what} gave {values.shape}, not {shape}; {CHOOSE_OTHER_REGIONS}")
    return values


def corners(boxes: Sequence[Box]) -> Array:
    """(N, 4) of x0, y0, x1, y1."""
    return np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes], np.float64).reshape(-1, 4)


def to_boxes(rows: Array, scores: Array, label: str = "face") -> list[Box]:
    """(N, 4) of x0, y0, x1, y1 and (N,) of scores as boxes."""
    pairs = zip(rows.tolist(), scores.tolist(), strict=True)
    return [Box(x0, y0, x1, y1, score, label=label) for (x0, y0, x1, y1), score in pairs]


def scaled_boxes(
    rows: Array, scores: Array, size: tuple[int, int], full: tuple[int, int], label: str = "face"
) -> list[Box]:
    """`to_boxes` from a scaled copy of (w, h) pixels to a frame of (W, H)."""
    return to_boxes(rows * np.array([full[0] / size[0], full[1] / size[1]] * 2), scores, label)


def unrotate_boxes(rows: Array, angle: int, size: tuple[int, int]) -> Array:
    """Map boxes (N, 4) of a rotated frame to the frame before its rotation.

    Args:
        rows: x0, y0, x1, y1 each.
        angle: 90, 180 or 270 degrees clockwise.
        size: width and height of the frame before.
    """
    (width, height), (x0, y0, x1, y1) = size, rows.T
    edges = {
        90: (y0, height - x1, y1, height - x0),
        180: (width - x1, height - y1, width - x0, height - y0),
        270: (width - y1, x0, width - y0, x1),
    }[angle]
    return np.stack(edges, axis=1)


def intersection(a: Array, b: Array) -> Array:
    """Intersection areas of all pairs, (N, 4) and (M, 4) to (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])  # (N, M, 2)
    return (high - low).clip(min=0).prod(axis=2)


def area(a: Array) -> Array:
    """Areas, (N, 4) to (N,)."""
    return (a[:, 2:] - a[:, :2]).clip(min=0).prod(axis=1)


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of all pairs, (N, 4) and (M, 4) to (N, M)."""
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def covered_share(box: Box, other: Box) -> float:
    """Share of a box's area that lies in another box, 0 to 1; of a box without area it is 0."""
    own = corners([box])
    size = float(area(own)[0])
    return float(intersection(own, corners([other]))[0, 0]) / size if size else 0.0


def check_detection_count(count: int) -> None:
    """Refuse a frame with more detections than can be compared.

    Raises:
        TooManyDetectionsError: there are more than `MOST_DETECTIONS`.
    """
    if count > MOST_DETECTIONS:
        raise TooManyDetectionsError(
            f"{count:,} places of one frame reach the threshold, and {MOST_DETECTIONS:,} are the "
            "most; raise --threshold."
        )


def nms(boxes: Array, scores: Array, threshold: float) -> NDArray[np.intp]:
    """Non-maximum suppression: the rows that are kept, best first.

    Boxes are (N, 4), scores (N,). One whose IoU with a better one reaches `threshold` is dropped.
    More than `MOST_DETECTIONS` are refused.
    """
    check_detection_count(len(boxes))
    order = np.argsort(-scores, kind="stable")
    keep: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(int(best))
        order = rest[iou(boxes[[best]], boxes[rest])[0] < threshold]
    return np.array(keep, np.intp)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _parse_box(entry: Any) -> Box:
    if not isinstance(entry, dict) or not isinstance(entry.get("box"), list):
        raise ValueError('a box is written as {"box": [x0, y0, x1, y1]}')
    if unknown := set(entry) - {"box", "score", "track", "source", "label"}:
        raise ValueError(f"{min(unknown)!r} is not a key of a box")
    if len(entry["box"]) != 4:
        raise ValueError("a box has four numbers, x0, y0, x1, y1")
    x0, y0, x1, y1 = (_number(v) for v in entry["box"])
    if max(map(abs, (x0, y0, x1, y1))) > FARTHEST:
        raise ValueError(f"a box lies within {FARTHEST:,.0f} pixels")
    if x1 <= x0 or y1 <= y0:
        raise ValueError("a box's x1 and y1 lie right of and below its x0 and y0")
    track, source = entry.get("track"), entry.get("source", "detected")
    if track is not None and (type(track) is not int or abs(track) >= NUMBER_LIMIT):
        raise ValueError("a track is a whole number of at most nine digits, or null")
    if source not in get_args(Source):
        raise ValueError("a source is one of " + ", ".join(get_args(Source)))
    label = str(entry.get("label", "face"))
    return Box(x0, y0, x1, y1, _number(entry.get("score", 1)), track, source, label)


def _parse_frame(number: int, entries: Any) -> list[Box]:
    if not isinstance(entries, list):
        raise ValueError(f"frame {number} has no list of boxes")
    try:
        return [_parse_box(entry) for entry in entries]
    except ValueError as error:
        raise ValueError(f"frame {number}: {error}") from None


def parse_json(text: str) -> Any:
    """Parse JSON in which no key is there twice and no whole number is huge.

    Raises:
        ValueError: it is none, a key is there twice, or a whole number has too many digits.
    """
    return json.loads(text, object_pairs_hook=_refuse_duplicates, parse_int=_whole_number)


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number has more than {MOST_DIGITS} digits")
    return int(digits)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json keeps the last of two equal keys: a frame that was copied would lose its first boxes
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return entries


def by_number(what: str, entries: Mapping[str, Any]) -> dict[int, Any]:
    """The entries of a JSON object by its keys, which are numbers of frames or tracks.

    Raises:
        ValueError: a key is no such number, or a number is there twice, as "3" and "03" are.
    """
    numbered: dict[int, Any] = {}
    for key, entry in entries.items():
        if not re.fullmatch("[0-9]{1,9}", key):
            raise ValueError(f"{key[:20]!r} is no {what}'s number")
        if int(key) in numbered:
            raise ValueError(f"{what} {int(key)} is there twice")
        numbered[int(key)] = entry
    return numbered


def read_box_file(path: str | Path) -> bytes:
    """The content of a file of boxes, for `parse_boxes`.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{Path(path).name} is not a file of boxes: {reason}.") from None


def parse_boxes(data: bytes, name: str) -> tuple[tuple[int, int], dict[int, list[Box]]]:
    """Parse the content of a file of boxes called `name`: its frame size and its boxes by frame.

    Raises:
        UsageError: it has another schema.
    """
    try:
        document = parse_json(data.decode("utf-8"))
        if not isinstance(document, dict) or document.get("version") != 1:
            raise ValueError('it does not say "version": 1')
        size: tuple[Any, Any] = document.get("width"), document.get("height")
        if not all(type(side) is int and side > 0 for side in size):
            raise ValueError("width and height are whole numbers above 0")
        if not isinstance(document.get("frames"), dict):
            raise ValueError("frames is not an object")
        entries = by_number("frame", document["frames"])
        frames = {number: _parse_frame(number, boxes) for number, boxes in entries.items()}
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not a file of boxes: {error}.") from None
    return size, frames


def renumber_tracks(frames: Mapping[int, list[Box]]) -> dict[int, list[Box]]:
    """Renumber the tracks of a file of boxes from 0 on if one is below 0 or too high.

    Too high is from `TRACK_OFFSET` on, as in a file of several region sources: beside other sources
    these would be others' tracks, or higher than a file may have.
    """
    tracks = dict.fromkeys(
        box.track for at in sorted(frames) for box in frames[at] if box.track is not None
    )
    if all(0 <= track < TRACK_OFFSET for track in tracks):
        return dict(frames)
    anew: dict[int | None, int | None] = {None: None}
    anew |= {track: number for number, track in enumerate(tracks)}
    return {
        at: [replace(box, track=anew[box.track]) for box in boxes] for at, boxes in frames.items()
    }


def check_boxes_size(size: tuple[int, int], name: str, *, width: int, height: int) -> None:
    """Refuse boxes, of a file called `name`, that were made for another frame size.

    Raises:
        UsageError: they are for another size.
    """
    if (width, height) != size:
        raise UsageError(
            f"{name} is for frames of {size[0]}x{size[1]}, "
            f"but the video has {width}x{height}: take the boxes made for it."
        )


class BoxWriter(AbstractContextManager["BoxWriter"]):
    """Writes a file of boxes frame by frame, so that a long video costs no memory.

    The file is complete once the `with` block ends; width and height are those of upright frames.
    """

    def __init__(self, path: str | Path, *, width: int, height: int) -> None:
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 (closed by `__exit__`)
        self._file.write(f'{{"version": 1, "width": {width}, "height": {height}, "frames": {{')
        self._separator = "\n"

    def add(self, frame: int, boxes: Sequence[Box]) -> None:
        """Write the boxes of one frame, numbered from 0; frames without boxes are left out."""
        if boxes:
            entries = ",\n  ".join(_to_json(box) for box in boxes)
            self._file.write(f'{self._separator}"{frame}": [\n  {entries}]')
            self._separator = ",\n"

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:  # else it does not parse, so it cannot be mistaken for a complete file
            self._file.write("\n}}\n")
        self._file.close()


def _to_json(box: Box) -> str:
    fields = asdict(box)
    del fields["always_drawn"]  # the box is read without the silhouettes
    edges = [fields.pop(key) for key in ("x0", "y0", "x1", "y1")]
    return json.dumps({"box": edges, **fields}, allow_nan=False)
