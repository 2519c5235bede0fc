"""Read the side data that files attach to frames, such as the orientation."""

import math
import re
import struct
from fractions import Fraction
from typing import Any

from av import VideoFrame
from av.filter import Graph

UNNAMED = {28: "LCEVC", 29: "VIEW_ID", 30: "3D_REFERENCE_DISPLAYS", 31: "EXIF"}


def side_data(frame: VideoFrame) -> list[tuple[str, bytes]]:
    """Names and bytes of side data; the bytes are empty where PyAV cannot give them."""
    try:
        container: Any = frame.side_data  # PyAV's stubs say dict; it is a sequence
    except ValueError as error:  # one datum of a kind that PyAV has no name for hides them all
        number = int((re.findall(r"\d+", str(error)) or ["28"])[0])
        rest = _without_unnamed(frame)
        return [(UNNAMED.get(number, f"TYPE{number}"), b""), *side_data(rest)]
    return [(container[n].type.name, bytes(container[n])) for n in range(len(container))]


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Degrees clockwise, and whether to mirror afterwards, that make a frame upright."""
    for name, datum in side_data(frame):
        if name == "DISPLAYMATRIX" and len(datum) >= 36:
            a, b, _, c, d, *_ = struct.unpack("9i", datum[:36])
            mirrored = a * d - b * c < 0
            # The matrix maps (1, 0) to (a, b), y downwards; a flip afterwards negates x.
            turn = math.degrees(math.atan2(b, -a if mirrored else a))
            return round(turn / 90) * 90 % 360, mirrored
    return 0, False


def _without_unnamed(frame: VideoFrame) -> VideoFrame:
    """The frame without the side data that PyAV may have no name for, by FFmpeg's own filter."""
    graph = Graph()
    base = frame.time_base or Fraction(1, 25)
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=base
    )
    steps = [graph.add("sidedata", f"mode=delete:type={kind}") for kind in range(28, 44)]
    graph.link_nodes(source, *steps, graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.vpull()
