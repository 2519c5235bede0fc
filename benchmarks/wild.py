"""Size, length, timestamps and sound of real clips of many formats after anonymizing.

    python benchmarks/wild.py [--data ../shared/data] [--keep FOLDER]

Every clip of the folder `wild` and the demo's is anonymized three ways with its sound kept, and the
result is read again: every frame's time against the source's, and where the sound starts and ends
against where the picture does. With `--keep` the outputs stay, and a sheet of frames of each.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

import masquerade
from masquerade.cli.demo_clip import compose
from masquerade.video.audio import can_hold
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

WAYS: list[tuple[str, str]] = [("selective", "faces"), ("blacken", "people"), ("pixelate", "frame")]


def times_of(path: Path) -> list[float]:
    with Reader(path) as reader:
        return [item.time for item in reader if isinstance(item, Frame)]


def sound_span(path: Path) -> tuple[float, float] | None:
    """Seconds from the first picture to the first and to the last sound."""
    with av.open(str(path)) as source:
        if not source.streams.audio:
            return None
        sounds = [
            float(packet.pts * packet.time_base)
            for packet in source.demux(audio=0)
            if packet.pts is not None
        ]
    first = times_of(path)[0]
    return min(sounds) - first, max(sounds) - first


def sheet(before: Path, after: Path, picture: Path) -> None:
    """Four moments, before above after."""
    total = len(times_of(before))
    wanted = {total * i // 8 for i in (1, 3, 5, 7)}
    rows = []
    for path in (before, after):
        with Reader(path, force_8bit=True) as reader:
            frames = [f.rgb() for f in reader if isinstance(f, Frame) and f.index in wanted]
        rows.append(np.hstack([cv2.resize(f, None, fx=0.5, fy=0.5) for f in frames]))
    cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def one(src: Path, folder: Path, method: str, regions: str, *, look: bool) -> str:
    """The row of one clip and one way."""
    dst = folder / f"{src.stem}-{method}-{regions}.mp4"
    with Reader(src) as reader:
        info = reader.info
    sounds = [s.codec for s in info.streams if s.kind == "audio"]
    if any(not can_hold("mp4", codec) for codec in sounds):
        dst = dst.with_suffix(".mkv")
    made: Any = masquerade.anonymize_file(
        src,
        dst,
        masquerade.build(method),
        regions=regions,
        audio="keep",
        overwrite=True,
        allow_empty=True,
        allow_gaps=True,
    )
    before, after = times_of(src), times_of(dst)
    worst = max(abs((a - after[0]) - (b - before[0])) for a, b in zip(after, before, strict=True))
    frame = float(1 / info.rate)
    sound = "none"
    spans = sound_span(src), sound_span(dst)
    if spans[0] and spans[1]:
        drift = max(abs(a - b) for a, b in zip(*spans, strict=True))
        sound = f"{1000 * drift:.0f} ms" + ("" if drift <= frame + 1e-3 else " **off**")
    if look:
        sheet(src, dst, dst.with_suffix(".png"))
    same = (made.source.width, made.source.height) == (made.output.width, made.output.height)
    size = f"{made.output.width}x{made.output.height}" + ("" if same else " **changed**")
    seconds = f"{after[-1] - after[0] + frame:.2f}"
    cells = [src.name, f"{method}, {regions}", size, f"{len(before)} / {len(after)}", seconds]
    cells += [f"{1000 * worst:.1f} ms", sound]
    cells.append(f"{made.coverage.seen} / {made.coverage.filled} / {made.coverage.empty}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    home = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=home.parent / "shared" / "data")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("-o", type=Path, default=home / "docs" / "results" / "wild.md")
    chosen = parser.parse_args()
    lines = [
        "# Real clips of many formats",
        "",
        "Made by `python benchmarks/wild.py`: thirteen real clips and the demo's, three ways each,",
        "with sound kept. Frames in / out; seconds; the largest error of a frame's time; how far",
        "the sound's start or end moved against the picture (correct within a frame); regions "
        "found",
        "by the detector / added by tracking / frames in which nothing was hidden.",
        "",
        "| clip | way | size | frames | s | time off | sound off | found / added / empty |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        compose(folder / "demo.mp4")
        clips = [p for p in sorted((chosen.data / "wild").iterdir()) if p.is_file()]
        for src in [folder / "demo.mp4", *clips]:
            for method, regions in WAYS:
                lines.append(one(src, folder, method, regions, look=chosen.keep is not None))
                print(lines[-1], flush=True)
    chosen.o.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
