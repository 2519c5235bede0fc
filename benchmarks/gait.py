"""Identity and action from gait alone, with and without `gait_jitter`.

    python benchmarks/gait.py [--clips 512] [--people 8] [--draws 3]

mimes whose people all look alike, so that identity is gait alone. The attacker sees the flow of the
output and nothing else: its spectrum over time in bands from head to foot around the centre of what
moves, then a linear classifier, ridge chosen on validation. It is trained anew on every
method's output, each clip anonymized `draws` times for it. Writes `docs/results/gait.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.mimes import Mimes
from masquerade.methods.selective import Selective
from masquerade.models.optical_flow import NO_ARRAY, grey

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "gait.md"
FRAMES = 32
ACTIONS = ("walk", "march", "kick", "squat")  # all of them with the legs
BANDS = 8  # from head to foot
PADDED, BINS = 128, 32  # of the spectrum over time
METHODS: dict[str, Callable[[], Anonymizer] | None] = {
    "raw": None,
    "selective": lambda: Selective(),
    "selective, gait_jitter 0.5": lambda: Selective(gait_jitter=0.5),
    "selective, gait_jitter 1": lambda: Selective(gait_jitter=1.0),
    "selective, gait_jitter 2": lambda: Selective(gait_jitter=2.0),
    "selective, iid noise": lambda: Selective(noise="iid"),
}


class Labels(NamedTuple):
    """Labels of one task: (N,) classes, and (N,) names of splits."""

    classes: NDArray[np.int64]
    parts: NDArray[np.str_]


def precise(now: U8, before: U8) -> NDArray[np.float32]:
    """Optical flow at full resolution, (H, W, 2), since noise averages out in coarse copies."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    return np.asarray(dis.calc(now, before, NO_ARRAY), np.float32)


def described(frames: U8) -> F64:
    """Features of a clip (T, H, W, 3): the spectrum over time of each band of the body."""
    greys = [grey(np.ascontiguousarray(frame)) for frame in frames]
    flow = np.stack([precise(now, before) for before, now in pairwise(greys)])
    speed = np.linalg.norm(flow, axis=-1).mean(0) + 1e-3  # (H, W)
    size = len(speed)
    x = int(np.average(np.arange(size), weights=speed.sum(0)))
    y = int(np.average(np.arange(size), weights=speed.sum(1)))
    wide = np.pad(flow, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    seen = wide[:, y : y + size, x : x + size]  # centred on what moves
    signals = np.concatenate([seen, np.abs(seen)], -1).mean(2)  # (T - 1, H, 4): left is right
    bands = signals.reshape(len(signals), BANDS, -1, 4).mean(2)
    window = np.hanning(len(bands))[:, None, None]
    spectrum = np.abs(np.fft.rfft((bands - bands.mean(0)) * window, n=PADDED, axis=0))[1:BINS]
    shape = spectrum / (spectrum.sum(0, keepdims=True) + 1e-3)
    parts = np.log(spectrum + 1e-2), shape, np.abs(bands.mean(0))
    return np.concatenate([part.ravel() for part in parts])


def hits(x: F64, labels: Labels) -> NDArray[np.bool_]:
    """Which test predictions are right: a linear classifier, ridge chosen on validation.

    Args:
        x: (N, draws, D).
    """
    train, val, test = (labels.parts == part for part in ("train", "val", "test"))
    mean, std = x[train].mean((0, 1)), x[train].std((0, 1)) + 1e-6
    x = (x - mean) / std
    fitted = x[train].reshape(-1, x.shape[-1])
    wanted = np.eye(labels.classes.max() + 1)[np.repeat(labels.classes[train], x.shape[1])]
    kernel = fitted @ fitted.T
    best: tuple[float, NDArray[np.bool_]] = (-1.0, np.zeros(0, bool))
    for ridge in (1e1, 1e2, 1e3, 1e4):
        weights = fitted.T @ np.linalg.solve(kernel + ridge * np.eye(len(kernel)), wanted)
        scores = (x @ weights).mean(1)  # over the copies that one clip has
        right = scores.argmax(-1) == labels.classes
        best = max(best, (float(right[val].mean()), right[test]), key=lambda pair: pair[0])
    return best[1]


def interval(right: NDArray[np.bool_]) -> str:
    """A share with its 95 % interval (Wilson)."""
    n, p, z = len(right), float(right.mean()), 1.96
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{p:.2f} ({middle - half:.2f} to {middle + half:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=512)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    mimes = Mimes(
        size=64,
        frames=FRAMES,
        clips=asked.clips,
        people=asked.people,
        looks=False,
        actions=ACTIONS,
    )
    cells = [mimes.labels(i) for i in range(len(mimes))]
    parts = np.array([cell["split_identity"] for cell in cells])
    tasks = {name: Labels(mimes.targets(name), parts) for name in ("action", "identity")}
    drawn = [mimes.clip(i) for i in range(len(mimes))]
    clips = [(np.ascontiguousarray(d.clip.transpose(1, 2, 3, 0)), d.person) for d in drawn]
    rows = []
    for name in asked.only:
        make = METHODS[name]
        x = np.stack([seen_of(*clip, make, asked.draws) for clip in clips])
        cell = [interval(hits(x, labels)) for labels in tasks.values()]
        rows.append(f"| {name} | {' | '.join(cell)} |")
        print(rows[-1], flush=True)
    floors = [f"{1 / (labels.classes.max() + 1):.2f}" for labels in tasks.values()]
    lines = [
        "# Identity from gait, and what `gait_jitter` leaves of it",
        "",
        f"Made by `python benchmarks/gait.py --clips {asked.clips} --people {asked.people} "
        f"--draws {asked.draws}`: mimes of {FRAMES} frames whose people all look alike, true "
        "person "
        "masks; people are in train with other clips. Top-1 with 95 % intervals over test clips; a "
        "linear attacker on "
        "flow, trained anew for each row. A stronger attacker may find more.",
        "",
        "| method | action | identity |",
        "| --- | --- | --- |",
        f"| floor (chance) | {' | '.join(floors)} |",
        *rows,
    ]
    asked.out.write_text("\n".join(lines) + "\n")


def seen_of(
    frames: U8, person: NDArray[np.bool_], make: Callable[[], Anonymizer] | None, draws: int
) -> F64:
    """(draws, D): several anonymized copies of one clip as the attacker sees them."""
    if make is None:
        return described(frames)[None]
    method, mask = make(), person.astype(np.uint8) * 255
    copies = [
        method.on_pixels(frames, mask=mask, state=method.init_state())[0] for _ in range(draws)
    ]
    return np.stack([described(np.asarray(copy, np.uint8)) for copy in copies])


if __name__ == "__main__":
    main()
