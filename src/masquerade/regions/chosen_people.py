"""The people whom --keep-visible or --hide-only names, by track number.

A person who is lost and found again gets a new number; so does the track that is left when one
person passes in front of another. With --keep-visible a new number is hidden until it is named too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from masquerade.errors import UsageError
from masquerade.regions.boxes import Box
from masquerade.regions.masks import Mask
from masquerade.regions.region import Region

Earlier = dict[int, frozenset[int]]
"""For each number of a track or a followed box, the earlier tracks that may be the same person."""
NONE_EARLIER: Earlier = {}
MARGIN = 0.03  # of the frame's longer side: what moves this near to somebody is theirs


@dataclass(frozen=True)
class ChosenPeople:
    """Tracks that are left visible, or those that alone are hidden; neither: all are hidden."""

    visible: frozenset[int] = frozenset()
    only: frozenset[int] = frozenset()

    @classmethod
    def of(cls, visible: Iterable[int], only: Iterable[int]) -> "ChosenPeople":
        """The choice of two arguments, of which one may be given."""
        chosen = cls(frozenset(visible), frozenset(only))
        if chosen.visible and chosen.only:
            raise UsageError("--keep-visible and --hide-only exclude each other; give one of them.")
        return chosen

    def __bool__(self) -> bool:
        return bool(self.visible or self.only)

    def hides(self, track: int | None, earlier: Earlier = NONE_EARLIER) -> bool:
        """Whether to hide a track; what has no track is hidden unless `only` is given.

        With `only`, a track that may continue others (`earlier`) is hidden if any of them is named.
        With `visible` it is shown only if it is named itself.
        """
        if not self.only:
            return track not in self.visible
        return track is not None and not self.only.isdisjoint(_may_be(track, earlier))

    def divide(self, region: Region, earlier: Earlier = NONE_EARLIER) -> Region:
        """A region whose boxes are hidden, or `visible` on purpose."""
        if not self:
            return region
        hidden = tuple(box for box in region.boxes if self.hides(box.track, earlier))
        visible = tuple(box for box in region.boxes if not self.hides(box.track, earlier))
        return replace(region, boxes=hidden, visible=visible)

    def mask(self, hidden: Mask, visible: Mask, moving: Mask | None) -> Mask:
        """Return what to hide of silhouettes and moving foreground; where both meet, hidden wins.

        Foreground belongs to nobody: with `only` it is hidden only near hidden people, else
        everywhere but near visible ones.
        """
        if moving is None:
            return hidden
        if self.only:
            return np.maximum(hidden, np.minimum(moving, near(hidden)))
        return np.maximum(hidden, np.where(near(visible) > 0, 0, moving).astype(np.uint8))

    def hides_face(self, face: Box, hidden: Mask, visible: Mask) -> bool:
        """Whether to hide a face, by where its middle lies.

        Near a hidden silhouette it is hidden. Elsewhere it is shown if `only` is given, or if it
        lies in a visible silhouette: beside that it may be another person's.
        """
        height, width = hidden.shape
        x = int(np.clip((face.x0 + face.x1) / 2, 0, width - 1))
        y = int(np.clip((face.y0 + face.y1) / 2, 0, height - 1))
        reach = _reach(hidden)
        rows, columns = (slice(max(0, at - reach), at + reach + 1) for at in (y, x))
        if hidden[rows, columns].any():
            return True
        return not self.only and not visible[y, x]


def _may_be(track: int, earlier: Earlier) -> set[int]:
    """Return all track numbers that may be the same person as `track`, and its own."""
    found, left = {track}, [track]
    while left:
        new = earlier.get(left.pop(), frozenset()) - found
        found |= new
        left += new
    return found


def near(mask: Mask) -> Mask:
    """A mask with the margin around it."""
    side = 2 * _reach(mask) + 1
    return np.asarray(cv2.dilate(mask, np.ones((side, side), np.uint8)), np.uint8)


def _reach(mask: Mask) -> int:
    """The width in pixels of the margin around a mask."""
    return round(MARGIN * max(mask.shape))
