"""People who stand with the arms out, as pose networks would find them."""

from __future__ import annotations

import numpy as np

from masquerade.anonymizer import People, Person

JOINTS = {  # of a person who stands with the arms out, in metres from the hips; y points down
    **{0: (0, -0.62, -0.1), 7: (0.07, -0.63, 0), 8: (-0.07, -0.63, 0)},
    **{11: (0.17, -0.45, 0), 12: (-0.17, -0.45, 0), 13: (0.4, -0.45, 0), 14: (-0.4, -0.45, 0)},
    **{15: (0.62, -0.45, 0), 16: (-0.62, -0.45, 0), 19: (0.7, -0.45, 0), 20: (-0.7, -0.45, 0)},
    **{23: (0.1, 0, 0), 24: (-0.1, 0, 0), 25: (0.1, 0.4, 0), 26: (-0.1, 0.4, 0)},
    **{27: (0.1, 0.8, 0), 28: (-0.1, 0.8, 0), 31: (0.1, 0.85, -0.2), 32: (-0.1, 0.85, -0.2)},
}


def person(*, x: float = 64.0, y: float = 48.0, scale: float = 40.0, track: int = 0) -> Person:
    world = np.zeros((33, 3))
    for joint, at in JOINTS.items():
        world[joint] = at
    landmarks = np.ones((33, 5))
    landmarks[:, :3] = world * scale + [x, y, 0]
    box = (x - 20, y - 40, x + 20, y + 40)
    return Person(track, 0.9, box, landmarks, world)


def passers_by(frames: int, height: int, width: int, *, seed: int = 0) -> People:
    """Two people of each frame, who go sideways; others, and elsewhere, by another seed."""
    rng = np.random.default_rng(seed)
    starts, sizes = rng.uniform(0.1, 0.7, 2), rng.uniform(0.2, 0.4, 2)
    return [
        [
            person(x=width * (at + 0.02 * t), y=height * 0.5, scale=height * size, track=track)
            for track, (at, size) in enumerate(zip(starts, sizes, strict=True))
        ]
        for t in range(frames)
    ]
