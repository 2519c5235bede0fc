"""Parts of people by their landmarks: head, eyes, hands, torso and others, inside the silhouette.

Body parts follow BlazePose's 33 landmarks (Bazarevsky et al., 2020), parts of faces the 468 of the
face mesh (Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile
GPUs", 2019) where a face is seen. The nine concepts of Ilic et al. (CVPR 2024, section 4.1) are
among them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import U8
from masquerade.errors import UsageError
from masquerade.regions.boxes import Array, Box
from masquerade.regions.face_mesh import POINTS, FaceMesh
from masquerade.regions.frame_people import FramePeople
from masquerade.regions.masks import resize_mask, share_inside
from masquerade.regions.people import PoseSource, frame_region
from masquerade.regions.pose_landmarks import Pose
from masquerade.regions.pose_tracking import COVERED
from masquerade.regions.region import Frame, Region
from masquerade.regions.scene_cuts import MarkedFrame, mark_cuts

Part = Literal[
    "head", "face", "hair", "forehead", "eyes", "cheeks", "lips",
    "neck", "torso", "arms", "hands", "legs", "feet",
]  # fmt: skip
Circles = tuple[tuple[tuple[int, ...], float], ...]
METRE = 1 / 1.12  # of a person, over half the side of the square
GROWN = 0.05  # metres by which a silhouette is grown before a part is cut out of it

BODY: dict[str, tuple[Circles, ...]] = {  # hulls of circles around means of landmarks, in metres
    "head": ((((7, 8), 0.16), ((0,), 0.1)),),
    "neck": ((((9, 10), 0.05), ((11, 12), 0.08)),),
    "torso": ((((11,), 0.1), ((12,), 0.1), ((23,), 0.12), ((24,), 0.12)),),
    "arms": tuple(
        (((a,), 0.09), ((b,), 0.08)) for a, b in ((11, 13), (13, 15), (12, 14), (14, 16))
    ),
    "hands": tuple(
        tuple(((joint,), 0.06) for joint in hand) for hand in ((15, 17, 19, 21), (16, 18, 20, 22))
    ),
    "legs": tuple((((a,), 0.14), ((b,), 0.1)) for a, b in ((23, 25), (25, 27), (24, 26), (26, 28))),
    "feet": tuple(
        tuple(((joint,), 0.08) for joint in foot) for foot in ((27, 29, 31), (28, 30, 32))
    ),
    # Without a mesh parts of a face are drawn around the landmarks that a pose has of it.
    "face": ((((2,), 0.07), ((5,), 0.07), ((0,), 0.07), ((9, 10), 0.07)),),
    "eyes": ((((2,), 0.035),), (((5,), 0.035),)),
    "lips": ((((9,), 0.025), ((10,), 0.025)),),
    "cheeks": ((((2, 9, 7), 0.04),), (((5, 10, 8), 0.04),)),
}
MESH: dict[str, tuple[tuple[int, ...], ...]] = {  # hulls of points of the face mesh
    "eyes": (
        (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
        (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
    ),
    "lips": ((61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37),),
    "forehead": (
        (54, 103, 67, 109, 10, 338, 297, 332, 284, 70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    ),
    "cheeks": (
        (116, 123, 147, 213, 192, 214, 212, 216, 206, 203, 36, 101, 118, 117, 111),
        (345, 352, 376, 433, 416, 434, 432, 436, 426, 423, 266, 330, 347, 346, 340),
    ),
    "face": (tuple(range(POINTS)),),
}
OF_FACE = ("face", "forehead", "eyes", "cheeks", "lips", "hair")


@dataclass(kw_only=True, eq=False)
class Parts(PoseSource):
    """Named parts of people, found by pose networks and cut out of their silhouettes.

    All of a person is hidden whose pose is not known: who was lost, so that only the silhouette is
    carried on, and who was found as a box alone. Arguments that are not listed are those of
    `PoseSource`.

    Args:
        parts: names of parts, see `Part`.
    """

    name = "parts"
    shape = "silhouette"

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parts(self.parts)
        self._tracker = self.pose_tracker()
        self.model_sha256 = self._tracker.model_sha256
        self.look_ahead = self._tracker.rules.look_ahead
        self._mesh = FaceMesh(folder=self.models) if set(self.parts) & set(OF_FACE) else None

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        return self.of_marked_frames(mark_cuts(frames))

    def of_marked_frames(self, frames: Iterable[MarkedFrame]) -> Iterator[Region]:
        """The same for frames that come with whether a cut lies before them."""
        return map(self._region, self._tracker(frames))

    def _region(self, people: FramePeople) -> Region:
        width, height = people.canvas
        out = np.zeros((height, width), np.uint8)
        silhouettes = people.silhouettes()
        posed = [silhouettes[track] for track in people.poses]
        for track, silhouette in silhouettes.items():
            pose = people.poses.get(track)
            if pose is None:
                # A second track of somebody whose pose is known is no reason to hide all.
                if not any(
                    share_inside(silhouette, pose_silhouette) >= COVERED
                    for pose_silhouette in posed
                ):
                    np.maximum(out, silhouette, out=out)
                continue
            metre = METRE * pose.square.half * people.scale
            reach = max(1, round(GROWN * metre))
            near = cv2.dilate(silhouette, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
            drawn = self._draw(people.pixels, pose, (height, width), people.scale)
            np.maximum(out, np.minimum(drawn, np.asarray(near, np.uint8)), out=out)
        np.maximum(out, people.draw_boxes(people.unposed), out=out)
        mask = resize_mask(out, people.frame.width, people.frame.height)
        region = frame_region(people, mask)
        return replace(region, boxes=_boxes(mask, region.boxes))

    def _draw(self, pixels: U8, pose: Pose, shape: tuple[int, int], scale: float) -> U8:
        """(h, w), 255 on the parts of one person."""
        out = np.zeros(shape, np.uint8)
        points = None
        if self._mesh is not None and (mesh := self._mesh(pixels, pose)) is not None:
            points = mesh * scale  # (468, 2)
        for part in self.parts:
            np.maximum(out, draw_part(part, pose, points, shape, scale), out=out)
        return out


def check_parts(parts: Sequence[str]) -> None:
    """Raise UsageError if no parts are named, or an unknown one."""
    known = get_args(Part)
    if not parts or (wrong := [part for part in parts if part not in known]):
        named = f"there are no parts {wrong[0]!r}" if parts else "name parts of people"
        raise UsageError(f"{named}; choose of {', '.join(known)}, as in parts:eyes,lips.")


def draw_part(
    part: str, pose: Pose, mesh: Array | None, shape: tuple[int, int], scale: float
) -> U8:
    """(h, w), 255 on one part of a person; `mesh` is (468, 2) in pixels of the mask."""
    out = np.zeros(shape, np.uint8)
    if part == "hair":  # the head without the face
        face = draw_part("face", pose, mesh, shape, scale)
        head = draw_part("head", pose, mesh, shape, scale)
        return np.asarray(np.where(face > 0, 0, head), np.uint8)
    if mesh is not None and part in MESH:
        for hull in MESH[part]:
            _fill(out, mesh[list(hull)])
        return out
    if part == "forehead":
        return _forehead(pose, shape, scale)
    metre = METRE * pose.square.half * scale
    for circles in BODY[part]:
        rims = [
            _rim(pose.landmarks[list(group), :2].mean(axis=0) * scale, radius * metre)
            for group, radius in circles
        ]
        _fill(out, np.concatenate(rims))
    return out


def _forehead(pose: Pose, shape: tuple[int, int], scale: float) -> U8:
    """As high above the eyes as the mouth is below them, half as high as wide."""
    eyes = pose.landmarks[[2, 5], :2].mean(axis=0)
    mouth = pose.landmarks[[9, 10], :2].mean(axis=0)
    out = np.zeros(shape, np.uint8)
    middle = (eyes + 0.8 * (eyes - mouth)) * scale
    side = (pose.landmarks[2, :2] - pose.landmarks[5, :2]) / 2 * scale
    radius = float(np.linalg.norm(eyes - mouth)) * 0.45 * scale
    _fill(out, np.concatenate([_rim(middle + side, radius), _rim(middle - side, radius)]))
    return out


def _rim(centre: Array, radius: float) -> Array:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return np.asarray(centre + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1))


def _fill(out: U8, points: NDArray[np.floating]) -> None:
    """Fill the convex hull of points (N, 2)."""
    hull = cv2.convexHull(np.rint(points.clip(-1e5, 1e5)).astype(np.int32))
    cv2.fillConvexPoly(out, hull, 255)


def _boxes(mask: U8, people: tuple[Box, ...]) -> tuple[Box, ...]:
    """The bounding boxes of what is hidden of each person."""
    out = []
    for box in people:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in (box.x0, box.y0, box.x1, box.y1))
        part = mask[y0:y1, x0:x1]
        x, y, width, height = cv2.boundingRect(part) if part.size else (0, 0, 0, 0)
        if width and height:
            left, top = float(x0 + x), float(y0 + y)
            edges = left, top, left + width, top + height
            out.append(Box(*edges, box.score, box.track, box.source, "part"))
    return tuple(out)
