"""What a region source says of a frame, and which frames a source looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from masquerade.regions.boxes import Box
from masquerade.regions.cuts import THUMBNAIL, is_cut, thumbnail
from masquerade.regions.masks import Mask
from masquerade.regions.picture import Picture


@dataclass(frozen=True, slots=True)
class Region:
    """What may be hidden in one frame.

    Args:
        boxes: in pixels of the frame, with what their tracks add.
        mask: (H, W), 255 on a silhouette; None: there are only boxes.
        strength: (H, W), how far each pixel is to be hidden besides, 0 to 255, to be taken as it
            is, whatever shape boxes are drawn in; None: not at all.
        everywhere: the whole frame is to be hidden.
        cut: a scene cut lies before this frame.
        seen: a detector looked at this very frame.
    """

    boxes: tuple[Box, ...] = ()
    mask: Mask | None = None
    strength: Mask | None = None
    everywhere: bool = False
    cut: bool = False
    seen: bool = True


def with_cuts(pictures: Iterable[Picture]) -> Iterator[tuple[Picture, bool]]:
    """Each picture, and whether a scene cut lies before it."""
    before = None
    for picture in pictures:
        after = thumbnail(picture.rgb(THUMBNAIL))
        yield picture, is_cut(before, after)
        before = after


def looked_at(
    pictures: Iterable[tuple[Picture, bool]], every: int
) -> Iterator[tuple[Picture, bool, bool]]:
    """Picture, cut, and whether to look: at the first, the last, after a cut, every N-th since."""
    since = 0
    held: tuple[Picture, bool, bool] | None = None
    for picture, cut in pictures:
        if held is not None:
            yield held
        since = 0 if cut else since
        held = picture, cut, since % every == 0
        since += 1
    if held is not None:
        yield held[0], held[1], True
