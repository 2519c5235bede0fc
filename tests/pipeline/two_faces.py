"""Two people at fixed places, as a region source of faces finds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av

from masquerade.regions.boxes import Box
from masquerade.regions.chosen_people import ChosenPeople
from masquerade.regions.region import Region

LEFT, RIGHT = (20, 20, 60, 80), (90, 20, 130, 80)


class TwoFaces:
    """A face with ID 4 on the left, and one with ID 7 on the right that comes two frames later."""

    name, look_ahead, model_sha256 = "faces", 0, None

    def __init__(
        self, *, keep_visible: tuple[int, ...] = (), hide_only: tuple[int, ...] = ()
    ) -> None:
        self._chosen = ChosenPeople.of(keep_visible, hide_only)

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        for t, _ in enumerate(frames):
            boxes = [Box(*LEFT, 1.0, 4)] + [Box(*RIGHT, 1.0, 7)] * (t >= 2)
            yield self._chosen.divide(Region(boxes=tuple(boxes)))


def black(path: Path, box: tuple[int, int, int, int]) -> list[bool]:
    """Whether a place is black in each frame of a video."""
    x0, y0, x1, y1 = box
    with av.open(str(path)) as file:
        every = [one.to_ndarray(format="rgb24") for one in file.decode(video=0)]
    return [not one[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].any() for one in every]
