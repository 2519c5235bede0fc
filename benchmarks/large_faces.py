"""Are faces found that fill a large picture? By CenterFace alone, and with smaller copies, too.

    python benchmarks/large_faces.py [--data ../shared/data]    # writes docs/results/large_faces.md

The faces of `faces_by_eye.json` of 32 pixels and more are cut out of their frames, so that they
have half of the picture's height, and enlarged. No detector had a part in these labels. Covered and
bare are those of `face_recall.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from face_labels import HERE, Face, Labelled, read
from face_recall import BARE, COVERED, clips, percent, threshold
from faces import inside, our_mask, upright
from numpy.typing import NDArray

from masquerade.regions import face_detectors
from masquerade.regions.boxes import Box
from masquerade.regions.face_detectors import CenterFace

REPORT = HERE.parent / "docs" / "results" / "large_faces.md"
LEAST = 32  # pixels of a face in its frame
PIXELS = (64, 128, 256, 512, 1024)  # of a face in the picture
HIGH, WIDE = 2.0, 3.5  # of a picture, in the face's height
WAYS = {"alone": (), "with copies": face_detectors.COPIES}  # and the copies' longest sides


class Picture:
    """A close-up, as a detector reads it."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The pixels (h, w, 3), of size (w, h)."""
        if size in (None, (self.width, self.height)):
            return self.pixels
        return np.asarray(cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def close_up(frame: Any, face: Face, pixels: int) -> tuple[Picture, Box]:
    """The picture around a face that is then so large, and where it is there."""
    box, whole = face.box, frame.rgb()
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    rows, columns = (
        (max(0, round(at - reach)), min(most, round(at + reach)))
        for at, reach, most in (
            (y, HIGH * face.pixels / 2, frame.height),
            (x, WIDE * face.pixels / 2, frame.width),
        )
    )
    k = pixels / face.pixels
    cut = np.ascontiguousarray(whole[slice(*rows), slice(*columns)])
    large = np.asarray(cv2.resize(cut, None, fx=k, fy=k, interpolation=cv2.INTER_CUBIC), np.uint8)
    x0, x1 = ((one - columns[0]) * k for one in (box.x0, box.x1))
    y0, y1 = ((one - rows[0]) * k for one in (box.y0, box.y1))
    return Picture(large), replace(box, x0=x0, y0=y0, x1=x1, y1=y1)


Shares = dict[tuple[int, str], list[float]]


def shares(frames: list[Labelled], data: Path) -> tuple[Shares, list[str]]:
    """How much of each face is hidden, by its size and by how it is looked for; and its clip."""
    found, names = Shares(), list[str]()
    detectors = {name: CenterFace(threshold=threshold()) for name in WAYS}
    for path, wanted in clips(frames).items():
        for number, frame in enumerate(upright(data / path)):
            faces = wanted[number].faces if number in wanted else ()
            for face in (one for one in faces if one.pixels >= LEAST):
                names.append(path)
                for pixels in PIXELS:
                    picture, box = close_up(frame, face, pixels)
                    for name, copies in WAYS.items():
                        with patch.object(face_detectors, "COPIES", copies):
                            boxes = detectors[name](picture)
                        mask = our_mask(boxes, picture.width, picture.height)
                        found.setdefault((pixels, name), []).append(inside(mask, box))
            if number == max(wanted):
                break
    return found, names


def cell(shares: list[float], names: list[str]) -> str:
    """Per cent covered with its 95 % interval, and bare."""
    share = np.array(shares)
    return f"{percent(share >= COVERED, names)}; {100 * np.mean(share < BARE):.0f}"


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=REPORT)
    chosen = parser.parse_args()
    found, names = shares(read(), chosen.data)
    count = len(names)
    lines = [
        "# Faces that fill the picture",
        "",
        "`python benchmarks/large_faces.py`",
        "",
        f"{count} faces of `faces_by_eye.json` of {LEAST} pixels and more, each cut out so that it",
        f"has 1/{HIGH:g} of the picture's height, and enlarged, as in a video of a higher",
        "resolution that was filmed from near. Per cent of the faces that are covered by what is",
        "hidden (90 % of them or more) with 95 % intervals over clips; and, behind them, bare",
        "(less than half hidden). CenterFace alone is what was done before: it sees about 500",
        "pixels at once. Now copies of 160, 320 and 640 pixels are looked at, too, where they are",
        "smaller than the picture; their sizes were chosen with these same faces in view.",
        "",
        "| pixels of the face | CenterFace alone: covered; bare | with smaller copies |",
        "| --- | --- | --- |",
    ]
    for pixels in PIXELS:
        cells = [cell(found[pixels, name], names) for name in WAYS]
        lines.append(f"| {pixels} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    print(text)
    chosen.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
