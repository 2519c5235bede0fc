"""How large files with noise become, by how coarsely the encoder quantizes it, and what it costs.

    python benchmarks/noise_size.py [--clips 12] [--out docs/results/noise-size.md]

People of UT-Interaction are hidden by `selective` once, and encoded in H.264 with each offset of
the quantizer where only noise is. Beside the size in times the source's, encoded alike: the error
of the optical flow that is found in the decoded file where people are hidden, against the raw
clip's;
the PSNR of the decoded file outside of it, against what was encoded; and three attempts to read the
hidden picture from the decoded file, by the correlation of its fine detail with the raw one's:
frames as they are, smoothed, and averaged over nine frames. It needs ../shared/data.
"""

from __future__ import annotations

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from motion_survival import ROOT, U8, UTI, Scene, found, uti

from masquerade.methods.selective import Selective
from masquerade.video.coarse_regions import mark_coarse
from masquerade.video.encoding import Encoding
from masquerade.video.probe import VideoInfo
from masquerade.video.read import Reader
from masquerade.video.timestamps import FrameTime
from masquerade.video.write import Writer

OUT = ROOT / "docs" / "results" / "noise-size.md"
OFFSETS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
STACKED = 9  # frames that an attacker averages


def encoded(frames: U8, mask: U8 | None, offset: float, folder: Path) -> tuple[int, U8]:
    """The bytes of a file of frames (T, H, W, 3), and what is decoded of it."""
    height, width = frames.shape[1:3]
    path = folder / "clip.mp4"
    base = Fraction(1, 30)
    info = VideoInfo(
        path=path, kind="video", container="", width=width, height=height, rate=1 / base,
        time_base=base,
    )  # fmt: skip
    with Writer(path, info=info, container="mp4", encoding=Encoding()) as writer:
        for t, pixels in enumerate(frames):
            picture = writer.to_picture(pixels)
            if mask is not None and offset:
                picture = mark_coarse(picture, mask[t], offset)
            writer.write(picture, FrameTime(t, 1, base))
    with Reader(path, trusted=True) as reader:
        shown = np.stack([frame.rgb() for frame in reader if hasattr(frame, "rgb")])
    return path.stat().st_size, shown


def detail(frames: U8, *, smooth: float = 0.0) -> np.ndarray:
    """(T, H, W), the fine detail of the luma."""
    out = []
    for pixels in frames:
        luma = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)
        if smooth:
            luma = cv2.GaussianBlur(luma, (0, 0), smooth)
        out.append(luma - cv2.GaussianBlur(luma, (0, 0), 1.0 + 2 * smooth))
    return np.stack(out)


def correlation(shown: np.ndarray, raw: np.ndarray, inside: np.ndarray) -> float:
    """Of two pictures' detail where people are hidden."""
    a, b = shown[inside].astype(np.float64), raw[inside].astype(np.float64)
    both = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / both) if both else 0.0


def stacked(frames: U8) -> U8:
    """Each frame averaged with its neighbours."""
    sums = np.cumsum(np.pad(frames.astype(np.float32), ((1, 0), (0, 0), (0, 0), (0, 0))), 0)
    first = np.clip(np.arange(len(frames)) - STACKED // 2, 0, max(0, len(frames) - STACKED))
    last = np.minimum(first + STACKED, len(frames))
    return np.stack([(sums[j] - sums[i]) / (j - i) for i, j in zip(first, last, strict=True)])


def row(scene: Scene, made: U8, offset: float, raw_bytes: int, folder: Path) -> list[float]:
    """Size, flow error, PSNR outside, and the correlations of one clip."""
    size, shown = encoded(made, scene.mask, offset, folder)
    inside = scene.mask > 0
    off = np.linalg.norm(found(shown) - scene.flow, axis=-1)
    outside = ((shown.astype(float) - made) ** 2)[~inside].mean()
    raw = detail(scene.frames)
    looks = [
        correlation(detail(shown), raw, inside),
        correlation(detail(shown, smooth=2.0), detail(scene.frames, smooth=2.0), inside),
        correlation(detail(stacked(shown).astype(np.uint8)), raw, inside),
    ]
    return [size / raw_bytes, off[inside[1:]].mean(), 10 * np.log10(255**2 / outside), *looks]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    if not UTI.is_dir():
        raise SystemExit(
            "noise_size.py: ../shared/data is not here, so there is nothing to measure."
        )
    results: dict[float, list[list[float]]] = {offset: [] for offset in OFFSETS}
    still = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for scene in uti(asked.clips):
            method = Selective()
            out, _ = method.on_pixels(
                scene.frames, mask=scene.mask, state=method.init_state(seed=0)
            )
            raw_bytes, _ = encoded(scene.frames, None, 0.0, folder)
            still.append(np.linalg.norm(scene.flow, axis=-1)[scene.mask[1:] > 0].mean())
            for offset in OFFSETS:
                made = np.asarray(out, np.uint8)
                results[offset].append(row(scene, made, offset, raw_bytes, folder))
    lines = [
        "# How large files with noise become",
        "",
        f"    python benchmarks/noise_size.py --clips {asked.clips}",
        "",
        f"People in {asked.clips} clips of UT-Interaction (Ryoo and Aggarwal 2010), hidden by "
        "`selective` with a seed and encoded in H.264",
        "at the default quality; means over clips. Size: in times the source's, encoded alike. "
        "Flow: mean end-point error in",
        "pixels a frame of the flow that is found in the file where people are hidden, against the "
        f"raw clip's; {np.mean(still):.2f} if nothing",
        "moved. PSNR: outside, of the file against what was encoded. Read back: correlation of the "
        "fine detail of the file with",
        "the raw clip's where people are hidden, of frames as they are, smoothed (sigma 2), and "
        f"averaged over {STACKED} frames; raw is 1,",
        "and 0 is nothing. The default, 0.15, was chosen on these clips.",
        "",
        "| `--noise-qoffset` | size | flow | PSNR, dB | read back | smoothed | averaged |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for offset, rows in results.items():
        size, flow, psnr, *looks = np.mean(rows, axis=0)
        shown = " | ".join(f"{value:.3f}" for value in looks)
        lines.append(f"| {offset:g} | {size:.1f} | {flow:.2f} | {psnr:.1f} | {shown} |")
    text = "\n".join(lines) + "\n"
    asked.out.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
