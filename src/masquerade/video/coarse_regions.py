"""Ask the encoder to spend less on places that hold nothing but noise.

Noise cannot be predicted, so that an encoder of constant quality spends most of a file's bits on
it. FFmpeg hands regions of interest to encoders that know them (H.264, H.265, VP9, AV1): there the
quantizer is raised by a share of its range. Others ignore them.
"""

from fractions import Fraction

import numpy as np
from av import VideoFrame
from av.filter import Graph
from numpy.typing import NDArray

from masquerade.arrays import U8

COARSE = ("h264", "h265", "vp9", "av1")  # codecs whose encoders may know regions of interest
BLOCK = 16  # pixels of a macroblock's side, by which encoders choose quantizers
FULL = 250  # of 255, from which a pixel of the mask counts as hidden
MOST = 24  # rectangles in one frame, the largest
Rectangle = tuple[int, int, int, int]  # x, y, width, height


def mark_coarse(picture: VideoFrame, mask: U8 | None, offset: float) -> VideoFrame:
    """The picture, with the blocks marked that a mask (H, W) hides wholly; None: all of it is.

    Args:
        picture: what the encoder is given; its samples stay as they are.
        mask: 0 to 255, how far each pixel is hidden.
        offset: by how much the quantizer is raised there, in parts of its range.
    """
    whole = [(0, 0, picture.width, picture.height)]
    rectangles = whole if mask is None else hidden_rectangles(mask)
    if not rectangles:
        return picture
    if picture.time_base is None:
        picture.time_base = Fraction(1, 90_000)  # a graph must know one
    graph = Graph()
    nodes = [
        graph.add_buffer(
            width=picture.width,
            height=picture.height,
            format=picture.format,
            time_base=picture.time_base,
        )
    ]
    for x, y, width, height in rectangles:
        nodes.append(graph.add("addroi", f"x={x}:y={y}:w={width}:h={height}:qoffset={offset:g}"))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.push(picture)
    marked: VideoFrame = graph.vpull()
    return marked


def hidden_rectangles(mask: U8) -> list[Rectangle]:
    """Rectangles of whole blocks in which a mask (H, W) hides every pixel, the largest first."""
    high, wide = (side // BLOCK for side in mask.shape)
    if not high or not wide:
        return []
    cut = mask[: high * BLOCK, : wide * BLOCK]
    rows = cut.reshape(high, BLOCK, -1).min(axis=1)  # far faster than over both axes at once
    blocks = rows.reshape(high, wide, BLOCK).min(axis=2) >= FULL  # (high, wide)
    open_runs: dict[tuple[int, int], int] = {}  # first and last column, and the row they began in
    rectangles: list[Rectangle] = []
    for row in range(high + 1):
        runs = _runs(blocks[row]) if row < high else []
        for run in [run for run in open_runs if run not in runs]:
            first = open_runs.pop(run)
            size = (run[1] - run[0]) * BLOCK, (row - first) * BLOCK
            rectangles.append((run[0] * BLOCK, first * BLOCK, *size))
        for run in runs:
            open_runs.setdefault(run, row)
    return sorted(rectangles, key=lambda rectangle: -rectangle[2] * rectangle[3])[:MOST]


def _runs(row: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The first column and the one behind the last of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
