"""How much of people, and of the background, is hidden: true masks of mimes.

    python benchmarks/people.py [--clips 24] [--seed 0]      # writes docs/results/people.md

Three courses: the character acts at once; stands still for a second and then acts; acts and then
stands. Where it stands, each frame is the same but for sensor noise, so that nothing tells it from
the ground but its looks.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.mimes import Mimes
from masquerade.pipeline.config import PipelineConfig
from masquerade.pipeline.stream import Cover, region_mask
from masquerade.regions import People

OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "people.md"
STANDS = 30  # frames
NOISE = 2  # levels of 255
COURSES: dict[str, tuple[int, int]] = {
    "acts": (0, 0),
    "stands, then acts": (STANDS, 0),
    "acts, then stands": (0, STANDS),
}  # frames before and after
KINDS: dict[str, tuple[Callable[[], Any], str]] = {
    "people (networks and motion; the default)": (lambda: People(), "silhouette"),
    "the detector of 2005 (hog, and motion)": (lambda: People(detector="hog"), "silhouette"),
    "what moves alone": (lambda: People(detector="motion"), "silhouette"),
}
U8 = NDArray[np.uint8]


class Shown:
    """A picture over an array."""

    def __init__(self, pixels: U8) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def rgb(self, size: tuple[int, int] | None = None) -> U8:
        """The pixels, or a scaled copy."""
        import cv2

        if size is None:
            return self.pixels
        return np.asarray(cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def course(clip: U8, person: NDArray[np.bool_], before: int, after: int, seed: int) -> Any:
    """Pictures and true masks of one clip, (3, T, H, W) and (T, H, W), with the ends held."""
    at = [0] * before + list(range(clip.shape[1])) + [clip.shape[1] - 1] * after
    rng = np.random.default_rng(seed)
    frames = clip[:, at].transpose(1, 2, 3, 0).astype(np.int16)
    frames += rng.integers(-NOISE, NOISE + 1, frames.shape, np.int16)
    return [Shown(frame) for frame in frames.clip(0, 255).astype(np.uint8)], person[at]


def hidden(pictures: list[Shown], truth: NDArray[np.bool_], make: Any, shape: Any) -> U8:
    """(T, 2) of each frame: the share of the person that is hidden, and of the background."""
    cover = Cover(shape, PipelineConfig.mask_scale, 0.0, None)
    shares = []
    for region, picture, person in zip(make()(pictures), pictures, truth, strict=True):
        mask = region_mask(region, cover, width=picture.width, height=picture.height)
        inside = np.ones(person.shape, np.bool_) if mask is None else mask > 127
        shares.append((inside[person].mean() if person.any() else np.nan, inside[~person].mean()))
    return np.array(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    mimes = Mimes(size=240, frames=64, clips=args.clips, people=args.clips, seed=args.seed)
    clips = [mimes.clip(i) for i in range(args.clips)]
    lines = [
        "# How much of drawn people is hidden",
        "",
        f"`python benchmarks/people.py {shlex.join(sys.argv[1:])}`".replace(" `", "`"),
        "",
        f"{args.clips} mimes of as many characters, 240 pixels, 64 frames; standing lasts "
        f"{STANDS} frames more. The share of the person's pixels that is hidden (mean over frames; "
        "the worst twentieth of frames has at most the number in brackets), and of the ground.",
        "",
        "| | course | person hidden | background hidden |",
        "|---|---|---|---|",
    ]
    for kind, (make, shape) in KINDS.items():
        for name, (before, after) in COURSES.items():
            found = np.concatenate(
                [
                    hidden(*course(one.clip, one.person, before, after, i), make, shape)
                    for i, one in enumerate(clips)
                ]
            )
            mean, low = np.nanmean(found[:, 0]), np.nanquantile(found[:, 0], 0.05)
            ground = found[:, 1].mean()
            lines.append(f"| {kind} | {name} | {mean:.2f} [{low:.2f}] | {ground:.2f} |")
            print(lines[-1], flush=True)
    lines += [
        "",
        "mimes are drawn: networks and detectors were made for photographs and find fewer of them. "
        "How much of real people is hidden is in [people-real.md](people-real.md).",
        "",
    ]
    OUT.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    main()
