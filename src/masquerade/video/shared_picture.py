"""A decoded picture in shared memory: one process puts it there, another one takes it out.

What converts a picture to RGB also reads whether it is interlaced, and where its chroma samples
lie. PyAV can set neither of a new picture, but FFmpeg's filter `nullsrc` makes empty ones so.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import VideoReformatter

from masquerade.arrays import U8

# FFmpeg's places of chroma samples that its scaler tells apart; the first one is its default.
_PLACES = ("unspecified", "left", "topleft", "top", "bottomleft", "bottom")


class Properties(NamedTuple):
    """What is to be known of a picture beside its samples."""

    width: int  # pixels, as coded
    height: int
    format: str  # FFmpeg's pixel format
    chroma: str  # where the chroma samples lie, by FFmpeg's name
    interlaced: bool
    colorspace: int  # FFmpeg's numbers
    color_range: int
    color_primaries: int
    color_trc: int


def properties_of(picture: VideoFrame, chroma: str) -> Properties:
    """The properties of a decoded picture whose chroma samples lie at `chroma`."""
    return Properties(
        picture.width,
        picture.height,
        picture.format.name,
        chroma,
        picture.interlaced_frame,
        int(picture.colorspace),
        int(picture.color_range),
        int(picture.color_primaries),
        int(picture.color_trc),
    )


def chroma_place(picture: VideoFrame) -> str:
    """Where a picture's chroma samples lie, by FFmpeg's name.

    PyAV does not tell. So a small picture with the same properties is filled with a pattern, and
    scaled as it is and with each place in turn: the one that gives the same pixels is it.
    """
    side = 32 if picture.width == 16 else 16  # of the same size it would be the picture itself
    small = picture.reformat(width=side, height=side, format="yuv420p")
    for plane in small.planes:
        plane.update((np.arange(plane.buffer_size) * 97 % 251).astype(np.uint8).tobytes())
    own = _scaled(small)
    for place in _PLACES:
        graph = Graph()
        source = graph.add_buffer(
            width=side, height=side, format=small.format, time_base=picture.time_base
        )
        tagged = graph.add("setparams", f"chroma_location={place}")
        graph.link_nodes(source, tagged, graph.add("buffersink")).configure()
        graph.push(small)
        if np.array_equal(own, _scaled(graph.vpull())):
            return place
    return _PLACES[0]


def _scaled(picture: VideoFrame) -> Any:
    return VideoReformatter().reformat(picture, width=8, height=8, format="rgb24").to_ndarray()


def byte_count(width: int, height: int, format: str) -> int:
    """How many bytes a picture takes in shared memory."""
    return sum(rows * bytes_ for rows, bytes_ in _layout(width, height, format))


def put(picture: VideoFrame, memory: memoryview) -> None:
    """Copy a picture's samples into shared memory."""
    for own, shared in _pairs(picture, memory):
        shared[:, : own.shape[1]] = own[:, : shared.shape[1]]


class SharedPictureReader:
    """Makes pictures of what `put` left in shared memory; keeps nothing of that memory."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._made: tuple[object, ...] = ()

    def take(self, memory: memoryview, of: Properties) -> VideoFrame:
        """A copy of the picture in shared memory, with its properties."""
        if self._made != of[:5]:
            self._graph, self._made = _empty_pictures(of), of[:5]
        picture: VideoFrame = self._graph.vpull()
        for own, shared in _pairs(picture, memory):
            own[:, : shared.shape[1]] = shared[:, : own.shape[1]]
        picture.colorspace, picture.color_range = of.colorspace, of.color_range
        picture.color_primaries, picture.color_trc = of.color_primaries, of.color_trc
        return picture


def _empty_pictures(of: Properties) -> Any:
    graph = Graph()
    field = "tff" if of.interlaced else "prog"
    graph.link_nodes(
        graph.add("nullsrc", f"size={of.width}x{of.height}"),
        graph.add("format", f"pix_fmts={of.format}"),
        graph.add("setparams", f"field_mode={field}:chroma_location={of.chroma}"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _pairs(picture: VideoFrame, memory: memoryview) -> Iterator[tuple[U8, U8]]:
    """Each plane's rows in a picture and in shared memory."""
    shape = picture.width, picture.height, picture.format.name
    start = 0
    for plane, (rows, count) in zip(picture.planes, _layout(*shape), strict=True):
        own = plane_rows(plane)
        shared = np.frombuffer(memory, np.uint8, rows * count, start).reshape(rows, count)
        start += rows * count
        yield own, shared


def by_one_thread(reformat: Callable[..., VideoFrame], *picture: Any, **wanted: Any) -> VideoFrame:
    """What PyAV's `reformat` makes, of a frame or of a reformatter, by one thread of swscale.

    Where several write samples of more than 8 bits, each writes a few beyond its rows into those of
    the next, at widths that 16 does not divide: specks in what is hidden.
    """
    try:
        return reformat(*picture, **wanted, threads=1)
    except TypeError:  # PyAV before 17 has one thread only
        return reformat(*picture, **wanted)


def plane_rows(plane: Any) -> U8:
    """The bytes of a picture's plane, a row of samples and its padding in each, from the top."""
    rows: U8 = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
    return rows[::-1] if plane.line_size < 0 else rows  # stored from the last row upwards


@lru_cache(maxsize=4)
def _layout(width: int, height: int, format: str) -> tuple[tuple[int, int], ...]:
    """Rows, and bytes a row, of each plane in shared memory."""
    planes = VideoFrame(width, height, format).planes
    return tuple((plane.height, plane.buffer_size // plane.height) for plane in planes)
