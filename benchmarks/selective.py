"""Time of a frame of `selective`, stage by stage.

    python benchmarks/selective.py [--frames 40] [--sizes 320x240 640x480 1280x720] [--device cuda]

Medians over frames of a moving texture, every pixel hidden: keys of one key frame (colour-hog, and
ViTs with random weights, which cost the same), flow, warp of the noise, blend, and the codec
(decode and encode). Stages without a network run on the CPU wherever the rest does. Freed memory
stays in the process, as in every command. Writes `docs/results/selective.md`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from checkout import commit
from numpy.typing import NDArray

from masquerade import anonymize_file, read_video, write_video
from masquerade.freed_memory import keep_freed_memory
from masquerade.methods.blend import blend_bytes
from masquerade.methods.selective import Selective
from masquerade.methods.selective.noise import advect, new_field, uniform
from masquerade.models.optical_flow import dis_flow, grey
from masquerade.regions.key_extractors import NETWORKS, build_key_extractor, short_size

U8 = NDArray[np.uint8]
OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "selective.md"
ALL = "all of the method"
VITS = (("dino-s16", 16), ("dino-s16", 8), ("dino-s8", 4))  # name, stride


def moving(width: int, height: int, frames: int) -> list[U8]:
    """Frames (H, W, 3) of a texture that travels."""
    rng = np.random.default_rng(0)
    shape = (height + 2 * frames, width + 3 * frames, 3)
    texture = cv2.GaussianBlur(rng.random(shape, np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return [texture[2 * t :, 3 * t :][:height, :width].copy() for t in range(frames)]


def median_ms(calls: Sequence[Callable[[], Any]], *, device: str = "cpu") -> float:
    """Milliseconds of a call, the first left out."""
    spent = []
    for call in calls:
        began = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent[1:])


def drawn(key: bytes, count: int) -> U8:
    """Fresh noise, as the method draws it."""
    return uniform(key, f"fresh {count}", count, 3)


def stages(frames: list[U8]) -> dict[str, float]:
    """Milliseconds a frame of each stage on the CPU."""
    height, width = frames[0].shape[:2]
    greys = [grey(frame) for frame in frames]
    pairs = list(pairwise(greys))
    flows = [dis_flow(now, before) for before, now in pairs]
    field = new_field(uniform(b"key", "new", height, width, 3))
    whole = slice(0, height), slice(0, width)
    table, full = np.arange(256, dtype=np.uint8)[None], np.full((height, width), 255, np.uint8)
    method = Selective()
    state: Any = method.init_state(seed=0)

    def hide(frame: U8) -> None:
        nonlocal state
        _, state = method.on_bytes(frame[None], state=state)

    def blend(frame: U8) -> U8:
        return blend_bytes(frame, np.asarray(cv2.LUT(field.noise, table), np.uint8), full)

    return {
        "flow": median_ms([partial(dis_flow, now, before) for before, now in pairs]),
        "warp": median_ms(
            [partial(advect, field, whole, flow, partial(drawn, b"key")) for flow in flows]
        ),
        "blend": median_ms([partial(blend, frame) for frame in frames]),
        ALL: median_ms([partial(hide, frame) for frame in frames]),
    }


def codec(frames: list[U8]) -> dict[str, float]:
    """Milliseconds a frame of writing and reading a file."""
    clip = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None] / 255
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, clip)  # the first call is slower
        began = time.perf_counter()
        write_video(path, clip, overwrite=True)
        written = time.perf_counter()
        read_video(path)
        read = time.perf_counter()
    count = len(frames) / 1000
    return {"decode": (read - written) / count, "encode": (written - began) / count}


def keys(frames: list[U8], device: str) -> dict[str, float]:
    """Milliseconds of one key frame."""
    few = frames[:4]
    out = {}
    if device == "cpu":
        hog = build_key_extractor("colour-hog")
        out["keys, colour-hog"] = median_ms([partial(hog, frame) for frame in few])
    for name, stride in VITS:
        net = NETWORKS[name].build(stride).to_empty(device=device).eval()
        for weights in (*net.parameters(), *net.buffers()):
            weights.data.normal_(std=0.02)
        height, width = short_size(*frames[0].shape[:2], 224)
        picture = torch.zeros(1, 3, height, width, device=device)
        with torch.inference_mode():
            spent = median_ms([partial(net.keys, picture)] * 4, device=device)
        out[f"keys, {name}, stride {stride}"] = spent
    return out


def whole(width: int, height: int, frames: int, device: str) -> dict[str, float]:
    """Milliseconds a frame of the whole command: a point followed by the keys of an S/16.

    What a longer video takes more than a shorter one, so that start-up is left out.
    """
    net = NETWORKS["dino-s16"].build(16).to_empty(device="cpu")
    for weights in (*net.parameters(), *net.buffers()):
        weights.data.normal_(std=0.02)
    out = {}
    lengths = (frames, 4 * frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(net.state_dict(), folder / "random.pth")
        for length in lengths:
            clip = torch.from_numpy(np.stack(moving(width, height, length)))
            write_video(folder / f"{length}.mp4", clip.permute(3, 0, 1, 2)[None] / 255)
        how = {"at": ("40,40",), "keys": "dino-s16", "key_weights": folder / "random.pth"}
        for every in (6, 12):
            spent = []
            for length in (frames, *lengths):  # the first warms up
                began = time.perf_counter()
                anonymize_file(
                    folder / f"{length}.mp4",
                    folder / "out.mp4",
                    Selective(),
                    regions="templates",
                    every=every,
                    overwrite=True,
                    allow_empty=True,
                    allow_gaps=True,
                    device=device,
                    **how,
                )
                spent.append(time.perf_counter() - began)
            each = 1000 * (spent[2] - spent[1]) / (lengths[1] - lengths[0])
            out[f"the whole command, S/16 keys in one frame of {every}"] = each
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--sizes", nargs="*", default=["320x240", "640x480", "1280x720"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    keep_freed_memory()
    devices = ["cpu"] if asked.device == "cpu" else ["cpu", asked.device]
    columns = []
    for size in asked.sizes:
        width, height = map(int, size.split("x"))
        frames = moving(width, height, asked.frames)
        column = stages(frames) | codec(frames)
        for device in devices:
            found = keys(frames, device) | whole(width, height, asked.frames, device)
            every = found["keys, dino-s16, stride 16"] / 6
            found["all of the method, and S/16 keys in one frame of 6"] = every + column[ALL]
            where = "" if device == "cpu" else f" ({device})"
            column |= {name + where: spent for name, spent in found.items()}
        columns.append(column)
    rows = [
        f"| {name} | {' | '.join(f'{column[name]:.1f}' for column in columns)} |"
        for name in columns[0]
    ]
    card = torch.cuda.get_device_name() if asked.device.startswith("cuda") else "no GPU"
    gpu = "" if asked.device == "cpu" else " on a GPU"
    words = f"--frames {asked.frames}"
    words += "" if asked.out == OUT else f" --sizes {' '.join(asked.sizes)} --out {asked.out}"
    lines = [
        f"# Time of a frame of selective{gpu}, by stage",
        "",
        f"Measured at {commit()} by `python benchmarks/selective.py {words}` on {os.cpu_count()} "
        f"cores and {card}: milliseconds a frame, medians, every pixel hidden, stages run one "
        "after another. Keys are those of one key frame (short side 224). The paper reports about "
        "100 ms a frame on an RTX 4080, without saying for which frame size and which stages.",
        "",
        f"| stage, ms | {' | '.join(asked.sizes)} |",
        f"| --- |{' --- |' * len(asked.sizes)}",
        *rows,
    ]
    asked.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
