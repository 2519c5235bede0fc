"""People who walk on the spot, as pose networks would find them: known limbs and a known gait."""

from __future__ import annotations

import numpy as np

from masquerade.anonymizer import Person

SIZE = 160, 120  # (width, height) of the frames that they walk in


def walker(
    frame: int,
    *,
    x: float = 80.0,
    thigh: float = 0.4,
    steps: float = 1.0,
    phase: float = 0.0,
    track: int = 0,
) -> Person:
    """One frame of a person whose thighs have a length in metres, and who makes steps a second."""
    swing = 0.5 * np.sin(2 * np.pi * steps * frame / 25 + phase)
    world = np.zeros((33, 3))
    for side, sign in ((0, 1), (1, -1)):
        at = sign * 0.1
        world[[11 + side, 23 + side]] = (1.7 * at, -0.5, 0), (at, 0, 0)
        arm = np.array([np.sin(-sign * swing), np.cos(swing), 0])
        world[13 + side] = world[11 + side] + 0.28 * arm
        world[[15 + side, 17 + side, 19 + side, 21 + side]] = world[13 + side] + 0.25 * arm
        world[25 + side] = world[23 + side] + thigh * np.array(
            [np.sin(sign * swing), np.cos(swing), 0]
        )
        world[27 + side] = world[25 + side] + (0, 0.4, 0)
        world[[29 + side, 31 + side]] = world[27 + side] + (0.1, 0.03, 0)
    world[:11] = (0, -0.72, 0)
    world[7:9, 0] = 0.07, -0.07
    landmarks = np.ones((33, 5))
    landmarks[:, :3] = world * 50 + (x, 55, 0)
    return Person(track, 0.9, (x - 20, 5, x + 20, 110), landmarks, world)
