"""People blurred by MediaPipe's selfie segmentation: what `people_speed.py` compares with.

    PYTHON benchmarks/mediapipe_people.py blur IN OUT OPTIONS   # prints seconds by clock and CPU
    PYTHON benchmarks/mediapipe_people.py masks                 # frames on stdin, masks on stdout

PYTHON is one in which mediapipe 0.10 and PyAV are installed. MediaPipe wants another NumPy than
masquerade, so that it runs in a process of its own, and nothing of masquerade is imported here. It
is used as its documentation shows: each frame goes to the solution, and where it says 0.5 or more a
blurred copy is shown. OPTIONS are x264's, as JSON: those of a run of masquerade.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from typing import Any

import av
import cv2
import mediapipe as mp
import numpy as np

SIZE = struct.Struct("<ii")  # width and height of a frame, before its pixels in RGB
LIMIT = 0.5


def people() -> Any:
    """MediaPipe's network of 256 x 256, which it calls the general one."""
    return mp.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)


def blurred(pixels: Any, mask: Any) -> Any:
    """The pixels (H, W, 3), blurred where a mask (H, W) is true."""
    side = max(pixels.shape[:2]) // 12
    return np.where(mask[..., None], cv2.blur(pixels, (side, side)), pixels)


def blur(src: str, dst: str, options: str) -> None:
    """Write a video whose people are blurred, and print what that took, without the start."""
    with people() as solution, av.open(src) as source, av.open(dst, "w") as out:
        solution.process(np.zeros((256, 256, 3), np.uint8))  # loads the network
        began, spent = time.perf_counter(), time.process_time()
        inside = source.streams.video[0]
        inside.thread_type = "AUTO"
        rate, chosen = inside.average_rate, json.loads(options)
        stream = out.add_stream("libx264", rate=rate, options=chosen)
        stream.width, stream.height, stream.pix_fmt = inside.width, inside.height, "yuv420p"
        for frame in source.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24")
            mask = solution.process(pixels).segmentation_mask >= LIMIT
            shown = av.VideoFrame.from_ndarray(blurred(pixels, mask), format="rgb24")
            shown.pts, shown.time_base = frame.pts, frame.time_base
            out.mux(stream.encode(shown))
        out.mux(stream.encode(None))
        print(time.perf_counter() - began, time.process_time() - spent)


def masks() -> None:
    """Answer each frame with its mask, a byte a pixel."""
    read, written = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # MediaPipe writes on the standard output
    with people() as solution:
        while header := read.read(SIZE.size):
            width, height = SIZE.unpack(header)
            pixels = np.frombuffer(read.read(width * height * 3), np.uint8)
            found = solution.process(pixels.reshape(height, width, 3)).segmentation_mask
            written.write((found >= LIMIT).astype(np.uint8).tobytes())
            written.flush()


if __name__ == "__main__":
    masks() if sys.argv[1] == "masks" else blur(*sys.argv[2:])
