"""Peak memory of anonymizing, by the size of the pictures.

    python benchmarks/memory_sizes.py [--frames 80]

The videos are long enough to fill what reads ahead and the queues behind it; fewer frames are
refused. MJPEG of noise-free pictures at three sizes, the default method on faces, on people and
over whole frames. Beside the peak stands the most that the run may take, see
`masquerade.pipeline.memory`; what may take more than a run is allowed is refused, and its row says
so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
from anonymize import frames

from masquerade.methods import build
from masquerade.pipeline.memory import MOST_BYTES, most_bytes
from masquerade.regions import REGIONS
from masquerade.video.probe import probe_in_process

SIZES = [(640, 480), (3840, 2160), (8192, 8192)]
IN_QUEUES = 30  # frames between decoder and encoder, see `masquerade.pipeline.memory`
CODE = """
import resource, sys
from masquerade.cli import main
code = main()
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def write_clip(path: Path, size: tuple[int, int], count: int) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        for number, frame in zip(range(count), frames(), strict=False):
            picture = av.VideoFrame.from_ndarray(cv2.resize(frame, size), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=80, help="of each video")
    count = parser.parse_args().frames
    sources = {name: REGIONS[name]() for name in ("frame", "faces", "people")}
    least = max(source.look_ahead for source in sources.values()) + IN_QUEUES
    if count < least:
        raise SystemExit(f"with fewer than {least} frames queues stay empty; give --frames.")
    lines = [
        "# Memory by the size of the pictures",
        "",
        f"Made by `python benchmarks/memory_sizes.py --frames {count}`: peak memory,",
        "selective, MJPEG, of the process that runs, without the one that decodes for it.",
        "",
        "| | peak, MiB | ceiling, MiB |",
        "| --- | --- | --- |",
    ]
    out = Path(__file__).resolve().parents[1] / "docs/results/memory-sizes.md"
    with tempfile.TemporaryDirectory() as name:
        for size in SIZES:
            for regions in sources:
                src, dst = Path(name) / "in.mkv", Path(name) / "out.mov"
                write_clip(src, size, count)
                words = ["anonymize", str(src), "-o", str(dst), "-y", "-q", "--regions", regions]
                words += ["--allow-empty", "--allow-gaps", "--codec", "mjpeg", "--threads", "2"]
                done = subprocess.run(
                    [sys.executable, "-c", CODE, *words],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                most = most_bytes(
                    probe_in_process(src), sources[regions], build("selective").window
                )
                if done.returncode and most <= MOST_BYTES:
                    raise SystemExit(done.stderr)
                peak = int(done.stdout.split("peak")[1]) // 1024
                own = "refused" if done.returncode else str(peak)
                row = f"{size[0]} x {size[1]}, {regions} | {own} | {most // 2**20}"
                lines.append(f"| {row} |")
                print(lines[-1], flush=True)
                out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
