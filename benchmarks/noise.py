"""Statistics of the noise of `selective` after it was warped for many frames.

    python benchmarks/noise.py [--frames 10000] [--size 64]

Runs `selective` over textures that travel, zoom, turn and shake, every pixel hidden, and compares
the noise of each frame with the nominal uniform one: mean, variance, and how alike neighbours are.
Beside it the same motion with nothing drawn anew. Writes `docs/results/noise.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.methods.selective import Selective
from masquerade.models.optical_flow import dis_flow, grey, pixel_grid, remap

U8 = NDArray[np.uint8]
OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "noise.md"
MOTIONS = ("travel", "zoom in", "zoom out", "turn", "shake")
CONTROL = 500  # frames of the control, which is worn out long before
LAP = 60  # frames after which a zoom starts again


class Spread(NamedTuple):
    """One frame's noise.

    mean: of its bytes. variance: of its bytes. alike: correlation of neighbours, the larger of
    across and down.
    """

    mean: float
    variance: float
    alike: float


NOMINAL = Spread(127.5, (256**2 - 1) / 12, 0.0)


def scene(motion: str, frames: int, size: int) -> Iterator[U8]:
    """Frames (size, size, 3) of a texture that moves."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.random((4 * size, 4 * size, 3), np.float32), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    middle = 2.0 * size
    for t in range(frames):
        angle, scale, shift = 0.0, 1.0, np.zeros(2)
        if motion == "travel":
            shift = np.array([1.3, 0.45]) * t
        if motion.startswith("zoom"):
            lap, back = divmod(t, LAP)  # there and back would undo itself
            scale = 1.02 ** (back if motion == "zoom in" else LAP - back)
            shift = np.array([37.0, 11.0]) * lap
        if motion == "turn":
            angle = 1.5 * t
        if motion == "shake":
            shift = rng.normal(0, 1.5, 2)
        matrix = cv2.getRotationMatrix2D((middle, middle), angle, scale)
        matrix[:, 2] -= middle - size / 2 - shift % (4 * size)
        yield cv2.warpAffine(texture, matrix, (size, size), borderMode=cv2.BORDER_WRAP)  # type: ignore[misc]


def spread_of(noise: U8) -> Spread:
    """What is measured of a frame's noise, (H, W, 3)."""
    values = noise.astype(np.float64)
    centred = values - values.mean()
    across = (centred[:, 1:] * centred[:, :-1]).mean() / max(centred.var(), 1e-9)
    down = (centred[1:] * centred[:-1]).mean() / max(centred.var(), 1e-9)
    return Spread(values.mean(), values.var(), max(across, down, key=abs))


def ours(frames: Iterator[U8]) -> Iterator[U8]:
    """The noise bytes as `selective` moves them."""
    method = Selective()
    state = method.init_state()
    for frame in frames:
        _, state = method.on_bytes(frame[None], state=state)
        yield state[0].field.noise


def starved(frames: Iterator[U8]) -> Iterator[U8]:
    """The control: the image of the noise moved by the same flow, nothing drawn anew."""
    noise, before = None, None
    for frame in frames:
        now = grey(frame)
        if noise is None:
            noise = np.random.default_rng(1).integers(0, 256, frame.shape, np.uint8)
        else:
            there = pixel_grid(*now.shape) + dis_flow(now, before)
            noise = remap(noise, there, nearest=True)
        before = now
        yield noise


def row(name: str, motion: str, noises: Iterator[U8]) -> str:
    """One line of the table: the worst frame, and the last."""
    seen = [spread_of(noise) for noise in noises]
    mean = max(abs(s.mean / NOMINAL.mean - 1) for s in seen)
    variance = max(abs(s.variance / NOMINAL.variance - 1) for s in seen)
    alike = max(abs(s.alike) for s in seen)
    cells = [f"{100 * mean:.1f} %", f"{100 * variance:.1f} %", f"{alike:.3f}"]
    return f"| {motion} | {name} | {' | '.join([*cells, f'{seen[-1].alike:.3f}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args()
    rows = []
    for motion in MOTIONS:
        for name, run in (("selective", ours), ("nothing drawn anew", starved)):
            frames = asked.frames if run is ours else min(asked.frames, CONTROL)
            rows.append(row(name, motion, run(scene(motion, frames, asked.size))))
            print(rows[-1], flush=True)
    lines = [
        "# Statistics of noise that is warped for many frames",
        "",
        f"Made by `python benchmarks/noise.py --frames {asked.frames} --size {asked.size}`: every "
        "pixel hidden, flow searched in the frames.",
        f"The control runs for {min(asked.frames, CONTROL)} frames. Deviations from the uniform "
        "noise's own mean and variance are those of the worst single "
        "frame; neighbours' correlation is 0 in independent noise, and its sampling error here is "
        f"{1 / (3**0.5 * asked.size):.3f}.",
        "",
        "| content | noise | mean off | variance off | correlation of neighbours, worst | in the "
        "last |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        "Each pixel of the frame before is used at most once, and what is missing is drawn anew. "
        "Which pixel goes where depends on the flow and never on the values, so that the noise of "
        "every frame is exactly independent and uniform, however long the video.",
    ]
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
