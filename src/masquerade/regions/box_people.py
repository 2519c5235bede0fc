"""Link the tracks of boxes and of poses that may be of the same person.

Boxes and poses are followed each by themselves, under numbers of their own. Of somebody whose pose
is lost a box may be left, and in a box a pose may begin again: it may be the same person.
"""

from collections.abc import Iterable, Sequence

from masquerade.regions.boxes import Box, corners, intersection
from masquerade.regions.chosen_people import Earlier
from masquerade.regions.frame_people import FramePeople

MAX_LINK_FRAMES = 30  # from a pose's end to a box linked to it, or its start to the box around it


class BoxPoseLinks:
    """Links followed boxes to the tracks of poses that may be the same person, frame by frame.

    Args:
        earlier: for each box or track number, the earlier tracks that may be the same person;
            links are added.
    """

    def __init__(self, earlier: Earlier) -> None:
        self._earlier = earlier
        self._places: dict[int, tuple[int, Box]] = {}  # by track: when it was seen last, and where
        self._begun: dict[int, int] = {}  # and when it was seen first
        self._now = -1

    def link_boxes(self, people: FramePeople, boxes: Iterable[Box]) -> list[Box]:
        """Link a frame's boxes to tracks, frame by frame; returns those without a silhouette."""
        self._now += 1
        if people.cut:
            self._places.clear()
            self._begun.clear()
        silhouettes, without = people.silhouettes(), []
        for track in silhouettes:
            self._begun.setdefault(track, self._now)
        for box in boxes:
            tracks = [k for k, silhouette in silhouettes.items() if people.holds(box, silhouette)]
            self._link(box, tracks, silhouettes.keys())
            if not tracks:
                without.append(box)
        for track, silhouette in silhouettes.items():
            if (edges := people.edges(silhouette)) is not None:
                self._places[track] = self._now, Box(*edges, 1.0, track)
        return without

    def _link(self, box: Box, tracks: Sequence[int], seen: Iterable[int]) -> None:
        """Link a box and the tracks in it; `seen` are all tracks of the frame."""
        assert box.track is not None
        before = self._earlier.get(box.track)
        for track in tracks:
            if (
                before and self._now - self._begun[track] <= MAX_LINK_FRAMES
            ):  # its pose begins in this box
                self._earlier[track] = self._earlier.get(track, frozenset()) | before
        if before is None and not tracks:
            tracks = self._lost_beside(box, set(seen))
        self._earlier[box.track] = (before or frozenset()).union(tracks)

    def _lost_beside(self, box: Box, seen: set[int]) -> list[int]:
        """Return the tracks that ended at most `MAX_LINK_FRAMES` frames ago, and overlap a box."""
        lost = {
            track: place
            for track, (when, place) in self._places.items()
            if track not in seen and self._now - when <= MAX_LINK_FRAMES
        }
        shared = intersection(corners([*lost.values()]), corners([box]))[:, 0]
        return [track for track, area in zip(lost, shared, strict=True) if area > 0]
