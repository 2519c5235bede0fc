"""How much of motion is left after each method (Ilic et al., CVPR 2024, Figure 6).

    python benchmarks/motion_survival.py [--mimes 40] [--uti 12]

End-point error, in pixels a frame, between the flow estimated in the result (dense inverse
search) and the true flow of mimes, or on UT-Interaction that of the raw clip: inside the
region and outside. The floor is to say that nothing moves. UT-Interaction is read from
`../shared/data` and left out where that is not. Writes `docs/results/motion_survival.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Anonymizer
from masquerade.arrays import F32
from masquerade.datasets.mimes import Mimes
from masquerade.methods import PRESETS, build
from masquerade.methods.selective import Selective
from masquerade.models.optical_flow import NO_ARRAY, grey
from masquerade.pipeline.stream import Cover, anonymize_stream
from masquerade.regions import People
from masquerade.video.read import Reader

U8 = NDArray[np.uint8]
ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "results" / "motion_survival.md"
UTI = ROOT.parent / "shared" / "data" / "uti"
FRAMES = 48  # of a clip of UT-Interaction
SIZE = 128  # of mimes

METHODS: dict[str, Callable[[], Anonymizer] | None] = {
    "raw": None,
    "selective": lambda: Selective(),
    "selective, warp first": lambda: Selective(warp="first"),
    "selective, paper": PRESETS["selective"]["paper"],
    "selective, code": PRESETS["selective"]["code"],
    "selective, iid noise": lambda: Selective(noise="iid"),
    "selective, gait_jitter 1": lambda: Selective(gait_jitter=1.0),
    "blur strong": lambda: build("blur"),
    "pixelate 16": lambda: build("pixelate", block=16),
    "mask-mean": lambda: build("mask-mean"),
    "blacken": lambda: build("blacken"),
}


class Scene(NamedTuple):
    """One clip.

    frames: (T, H, W, 3). mask: (T, H, W), 255 where it is hidden. flow: (T - 1, H, W, 2), what
    is held to be true.
    """

    frames: U8
    mask: U8
    flow: F32


class Errors(NamedTuple):
    """Mean end-point errors in pixels: of what is found, and of saying that nothing moves."""

    inside: float
    outside: float
    still_inside: float
    still_outside: float


def found(frames: U8) -> F32:
    """(T - 1, H, W, 2), from frame t to t-1."""
    greys = [grey(np.ascontiguousarray(frame)) for frame in frames]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)  # on coarse copies noise is grey
    flows = [dis.calc(now, before, NO_ARRAY) for before, now in pairwise(greys)]
    return np.stack(flows).astype(np.float32)


def mimes(count: int) -> Iterator[Scene]:
    """Clips whose flow is known, the person hidden."""
    drawn = Mimes(size=SIZE, clips=max(count, 1))
    for i in range(count):
        clip = drawn.clip(i)
        frames = np.ascontiguousarray(clip.clip.transpose(1, 2, 3, 0))
        yield Scene(frames, clip.person.astype(np.uint8) * 255, clip.flow[1:])


def uti(count: int) -> Iterator[Scene]:
    """Real clips, people hidden as `--regions people` hides them."""
    for path in sorted(UTI.rglob("*.mp4"))[:: max(1, 120 // max(count, 1))][:count]:
        frames, mask = [], []
        with Reader(path) as reader:
            cover = Cover("silhouette", 1.0, 0.0)
            items = anonymize_stream(
                islice(reader, FRAMES), build("blacken"), People(), cover=cover
            )
            for item in items:
                frames.append(item.frame.rgb())
                full = np.full(frames[-1].shape[:2], 255, np.uint8)
                mask.append(full if item.mask is None else item.mask)
        pixels = np.stack(frames)
        yield Scene(pixels, np.stack(mask), found(pixels))


def errors(scene: Scene, make: Callable[[], Anonymizer] | None) -> Errors:
    """How far the flow of the result is from the true one."""
    frames = scene.frames
    if make is not None:
        method = make()
        out, _ = method.on_pixels(frames, mask=scene.mask, state=method.init_state())
        frames = np.asarray(out, np.uint8)
    off = np.linalg.norm(found(frames) - scene.flow, axis=-1)
    speed = np.linalg.norm(scene.flow, axis=-1)
    inside = scene.mask[1:] > 0
    parts = [values[at] for values in (off, speed) for at in (inside, ~inside)]
    return Errors(*(float(part.mean()) if part.size else np.nan for part in parts))


def table(title: str, scenes: list[Scene]) -> list[str]:
    """A table over methods."""
    rows, still = [], (np.nan, np.nan)
    for name, make in METHODS.items():
        means = np.nanmean([errors(scene, make) for scene in scenes], axis=0)
        still = means[2], means[3]
        rows.append(f"| {name} | {means[0]:.2f} | {means[1]:.2f} |")
        print(title, rows[-1], flush=True)
    floor = f"| nothing moves (floor) | {still[0]:.2f} | {still[1]:.2f} |"
    return [title, "", "| result | inside | outside |", "| --- | --- | --- |", floor, *rows, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mimes", type=int, default=40)
    parser.add_argument("--uti", type=int, default=12)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    lines = [
        "# How much of motion is left",
        "",
        f"Made by `python benchmarks/motion_survival.py --mimes {asked.mimes} --uti {asked.uti}`: "
        "end-point error in pixels a frame of the flow estimated in the result by dense inverse "
        "search, mean over clips of their means.",
        "",
        *table(f"## mimes, {SIZE} pixels, against true flow", list(mimes(asked.mimes))),
    ]
    if UTI.is_dir() and asked.uti:
        title = f"## UT-Interaction, first {FRAMES} frames, against the raw clip's flow"
        lines += table(title, list(uti(asked.uti)))
        lines += [
            "UT-Interaction (Ryoo and Aggarwal 2010). Region: `People()`. Raw is 0 by",
            "definition.",
        ]
    else:
        lines += ["UT-Interaction was left out: ../shared/data is not here, or none was asked for."]
    asked.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
