"""Convert upright RGB or planes to an encoder's pictures, the inverse of `frame.YuvToRgb`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import av
import numpy as np
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import Interpolation, VideoReformatter

from masquerade.anonymizer import Pixels, Planes
from masquerade.video.color import BT709, FULL, LIMITED, RGB, Color, matrix_for
from masquerade.video.frame import PLANES
from masquerade.video.probe import VideoInfo
from masquerade.video.shared_picture import by_one_thread, plane_rows


class RgbToYuv:
    """Converts upright RGB to an encoder's pixel format, with the source's matrix and range.

    `says_range` is of the codec: where it is false, levels are always of limited range.
    """

    def __init__(self, info: VideoInfo, format: str, *, says_range: bool = True) -> None:
        self.color = colors_for(info, format, says_range=says_range)
        scaler = VideoReformatter()
        self._reformat: Callable[..., VideoFrame] = scaler.reformat
        if any(component.bits > 8 for component in av.VideoFormat(format).components):
            self._reformat = partial(by_one_thread, scaler.reformat)
        self._format = format
        self._rgb = self.color.matrix == RGB
        self._matrix = matrix_for(self.color, info.coded_size[1])
        self._palette = _palette_graph(info) if format == "pal8" else None

    def convert(self, pixels: Pixels) -> VideoFrame:
        """The encoder's picture of pixels (H, W, 3), uint8 or uint16."""
        name = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
        rows: Any = np.ascontiguousarray(pixels)
        picture = av.VideoFrame.from_numpy_buffer(rows, format=name)
        full = FULL if self.color.full_range else LIMITED
        if self._palette is not None:
            self._palette.push(picture)
            return self._palette.vpull()
        out = self._reformat(
            picture,
            format=self._format,
            # Colour is averaged over the four pixels that share it, the inverse of how it is read.
            interpolation=Interpolation.AREA,
            dst_colorspace=None if self._rgb else self._matrix,
            dst_color_range=None if self._rgb else full,
        )
        return self._tag(out)

    def tag_encoder(self, context: Any) -> None:
        """Tag an encoder's stream with the colours of these pictures."""
        color = self.color
        context.color_primaries, context.color_trc = color.primaries, color.transfer
        context.colorspace = color.matrix
        context.color_range = FULL if color.full_range else LIMITED

    def from_planes(self, planes: Planes) -> VideoFrame:
        """The encoder's picture of planes, where `has_same_planes`."""
        height, width = planes.y.shape
        out = av.VideoFrame(width, height, self._format)
        for plane, samples in zip(out.planes, planes[:3], strict=True):
            plane_rows(plane)[:, : plane.width] = samples
        return self._tag(out)

    def _tag(self, picture: VideoFrame) -> VideoFrame:
        if not self._rgb:
            full = FULL if self.color.full_range else LIMITED
            picture.colorspace, picture.color_range = self.color.matrix, full
        picture.color_primaries = self.color.primaries
        picture.color_trc = self.color.transfer
        return picture


def has_same_planes(info: VideoInfo, format: str) -> bool:
    """Whether an output in a pixel format may be given planes of its source, of the same size."""
    source_colors, made = info.color, colors_for(info, format)
    alike = (source_colors.matrix, source_colors.full_range) == (made.matrix, made.full_range)
    return alike and format in PLANES and not (info.width % 2 or info.height % 2)


def colors_for(info: VideoInfo, format: str, *, says_range: bool = True) -> Color:
    """The colour tags of an output in a pixel format: the source's if both are YUV.

    In a codec that does not say its range, whatever decodes it takes it for limited.
    """
    source = info.color
    if format.startswith(("rgb", "bgr", "gbr", "pal")):
        return Color(source.primaries, source.transfer, RGB, full_range=True)
    if format.startswith("yuvj"):  # what JPEG is, whatever the source was
        return Color(source.primaries, source.transfer, 5, full_range=True)
    if source.matrix == RGB:
        return Color(source.primaries, source.transfer, BT709, full_range=False)
    return source if says_range else replace(source, full_range=False)


def _palette_graph(info: VideoInfo) -> Any:
    """A filter that chooses the 256 best colours for every frame."""
    graph = Graph()
    plain: Any = "rgb24"
    source = graph.add_buffer(
        width=info.width, height=info.height, format=plain, time_base=info.time_base
    )
    split, sink = graph.add("split"), graph.add("buffersink")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use = graph.add("paletteuse", "new=1")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph
