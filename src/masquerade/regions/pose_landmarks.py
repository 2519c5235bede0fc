"""The 33 landmarks and the silhouette of one person, by BlazePose's second network.

Bazarevsky et al., "BlazePose" (2020). It sees the turned square of a person and gives, beside the
landmarks, how sure it is that somebody is there, a mask of that person alone, and two points from
which the square of the next frame follows, so that the detector need not run.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.regions.boxes import Array
from masquerade.regions.litert import LiteRtNetwork, sigmoid
from masquerade.regions.pose_detection import Square, crop

LANDMARKS = 33
CALM = 0.1  # farthest that a landmark moves between two frames, in half sides of the square, if
# silhouettes in both cover the limb on its way: limbs and the margin around them are wider
SAME_LANDMARKS = 0.2  # mean distance of two poses' landmarks, in half sides, of one person
LARGEST_STEP = 0.6  # of a square's centre from one frame to the next, in half sides
LARGEST_GROWTH = 1.5  # of a square's side from one frame to the next
FOLLOW = 0.4  # score from which a person who is followed is still there
SILHOUETTE = 0.3  # probability from which a pixel belongs to the person
LEAST_SILHOUETTE = 0.01  # share of the square; of real people it is several times as much


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One person in one frame; coordinates are in pixels of the picture that the network ran on."""

    square: Square  # in which the network saw the person
    next_square: Square  # in which to look in the next frame
    score: float  # 0 to 1, that a person is there
    landmarks: Array  # (33, 5): x, y, depth in pixels; visibility and presence, 0 to 1
    world: Array  # (33, 3), in metres, from the middle of the hips
    inside: U8  # (256, 256), 255 times the probability of the silhouette, in the square
    interpolated: bool = False  # half-way between two, in a frame that no network ran on

    def silhouette(self, width: int, height: int, *, scale: float = 1.0) -> U8:
        """(height, width), 255 on the person, in a picture that is `scale` larger."""
        side = len(self.inside)
        matrix = self.square.scaled(scale).matrix(side)
        soft = cv2.warpAffine(self.inside, matrix, (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray((soft >= 255 * SILHOUETTE) * np.uint8(255), np.uint8)


def shows_somebody(pose: Pose) -> bool:
    """Whether a pose is surely of a person and has a silhouette by which they can be hidden."""
    silhouette = (pose.inside >= 255 * SILHOUETTE).mean()
    return bool(pose.score >= FOLLOW and silhouette >= LEAST_SILHOUETTE)


def continues(pose: Pose) -> bool:
    """Whether a person who was followed into a square is still in it."""
    a, b = pose.square, pose.next_square
    step = np.hypot(a.x - b.x, a.y - b.y) / a.half
    ratio = b.half / a.half
    return bool(
        shows_somebody(pose)
        and step <= LARGEST_STEP
        and 1 / LARGEST_GROWTH <= ratio <= LARGEST_GROWTH
    )


def moved_calmly(a: Pose, b: Pose) -> bool:
    """Whether a person moved so little between two frames that both cover the one between."""
    farthest = np.hypot(*(a.landmarks[:, :2] - b.landmarks[:, :2]).T).max()
    return bool(farthest <= CALM * min(a.square.half, b.square.half))


def same_pose(a: Pose, b: Pose) -> bool:
    """Whether two poses in one frame are of one person."""
    distance = np.hypot(*(a.landmarks[:, :2] - b.landmarks[:, :2]).T).mean()
    return bool(distance < SAME_LANDMARKS * min(a.square.half, b.square.half))


def middle_pose(a: Pose, b: Pose) -> Pose:
    """The pose half-way between two of one person, with the silhouettes of both."""
    side = len(b.inside)
    whole = np.array([[0.0, 0.0, 1.0]])
    from_b = np.concatenate([b.square.matrix(side), whole])
    from_a = np.concatenate([a.square.matrix(side), whole])
    moved = cv2.warpAffine(a.inside, (np.linalg.inv(from_b) @ from_a)[:2], (side, side))
    return replace(
        b,
        score=min(a.score, b.score),
        landmarks=(a.landmarks + b.landmarks) / 2,
        world=(a.world + b.world) / 2,
        inside=np.asarray(np.maximum(b.inside, moved), np.uint8),
        interpolated=True,
    )


class PoseLandmarks:
    """BlazePose's landmark network; an instance serves one thread at a time.

    Args:
        folder: of the model files; None: the installed package.

    Raises:
        MissingError: LiteRT or the network is not installed.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        self._network = LiteRtNetwork("pose landmarks", folder=folder)

    def __call__(self, pixels: U8, square: Square) -> Pose:
        """The person in a square of a picture (h, w, 3)."""
        side = self._network.side
        patch = crop(pixels, square, side) / np.float32(255)
        values, presence, mask, _, world = self._network(patch)
        rows = values.reshape(-1, 5).astype(np.float64)  # (39, 5)
        points = square.to_picture(rows[:, :2], side)
        depth = rows[:, 2:3] * 2 * square.half / side
        landmarks = np.concatenate([points, depth, sigmoid(rows[:, 3:])], axis=1)
        metres = world.reshape(-1, 3)[:LANDMARKS].astype(np.float64)
        metres[:, :2] = metres[:, :2] @ square.axes().T
        hips, rim = points[LANDMARKS], points[LANDMARKS + 1]
        return Pose(
            square=square,
            next_square=Square.around(hips, rim),
            score=float(presence[0].clip(0, 1)),
            landmarks=landmarks[:LANDMARKS],
            world=metres,
            inside=np.asarray(np.rint(255 * sigmoid(mask[..., 0])), np.uint8),
        )
