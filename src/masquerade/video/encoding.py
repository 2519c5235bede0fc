"""Encoders: what each codec and container needs, and whether this machine has it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import av
from av import Packet
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream

from masquerade.errors import MissingError, UsageError

Codec = Literal["h264", "h265", "vp9", "av1", "ffv1", "mjpeg", "prores"]

LEAST_BITRATE, MOST_BITRATE = 1000, 2_000_000_000  # that encoders take


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the output video is compressed."""

    codec: Codec = "h264"  # h264 plays everywhere
    crf: int | None = None  # constant quality, lower is better (h264 0 to 51); None: the codec's
    preset: str | None = None  # the encoder's name of its speed; None: its default
    lossless: bool = False  # keep every pixel exactly
    # Bits a second instead of constant quality; "source": as many as the source has.
    bitrate: Literal["source"] | int | None = None
    hwaccel: Literal["none", "cuda"] = "none"  # cuda encodes on an NVIDIA GPU
    threads: int = 0  # of the encoder; 0: as many as there are cores

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise UsageError(f"No codec is called {self.codec}; choose of {', '.join(CODECS)}.")
        rate_options = {"crf": self.crf, "bitrate": self.bitrate, "lossless": self.lossless or None}
        chosen = [name for name, value in rate_options.items() if value is not None]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} exclude each other; give one of them.")
        spec = CODECS[self.codec]
        if self.crf is not None and not 0 <= self.crf <= spec.max_crf:
            raise UsageError(f"crf of {self.codec} goes from 0 to {spec.max_crf}, not {self.crf}.")
        if self.crf is not None and spec.crf is None:
            raise UsageError(f"{self.codec} has no crf; leave it out, or choose h264.")
        if self.crf == 0 and self.hwaccel == "cuda":
            raise UsageError("crf 0 lets a GPU choose; give 1 or more, or leave --hwaccel out.")
        if self.lossless and self.hwaccel != "none":
            raise UsageError(
                "A GPU does not encode without loss; leave --hwaccel or --lossless out."
            )
        if self.lossless and spec.lossless is None:
            raise UsageError(f"{self.codec} cannot keep every pixel; choose ffv1 or h264.")
        if self.preset is not None and not spec.presets:
            raise UsageError(f"{self.codec} has no presets; leave it out, or choose h264.")
        if isinstance(self.bitrate, int) and not LEAST_BITRATE <= self.bitrate <= MOST_BITRATE:
            raise UsageError(
                f"A bitrate of {self.bitrate} bits a second holds no video; give 1k to 2000M, such "
                "as 500k or 2M."
            )
        if self.threads < 0:
            raise UsageError(f"{self.threads} threads cannot work; give 0 for all cores, or more.")


@dataclass(frozen=True, kw_only=True)
class CodecSpec:
    """What one codec needs."""

    encoder: str  # FFmpeg's name
    crf: int | None  # the default quality; None: the codec has none
    max_crf: int = 51  # the largest crf
    # Pixel formats for 8 bits at even and at odd sizes, then for 10 bits; None: unsupported.
    formats: tuple[str, str, str | None, str | None]
    # The lossless encoder, its pixel formats for 8 and for more bits, and its options.
    lossless: tuple[str, str, str | None, dict[str, str]] | None = None
    options: dict[str, str]
    presets: bool = False  # whether the encoder has any
    cuda: str | None = None  # its encoder on an NVIDIA GPU
    says_range: bool = True  # whether it says that levels are full range; if not, all are limited

    def holds_deep(self, *, lossless: bool) -> bool:
        """Whether the codec keeps more than 8 bits a colour, without loss or with some."""
        deep = self.formats[2] if not lossless else self.lossless and self.lossless[2]
        return deep is not None


# Odd sizes: 4:2:0 halves the colour, and H.264 and H.265 can only crop by whole colour samples, so
# neither can hold an odd size in it. In 4:4:4 they hold any size, and browsers decode that too.
# VP9, AV1 and FFV1 hold odd sizes in 4:2:0.
CODECS: dict[Codec, CodecSpec] = {
    "h264": CodecSpec(
        encoder="libx264",
        crf=20,
        formats=("yuv420p", "yuv444p", "yuv420p10le", "yuv444p10le"),
        lossless=("libx264rgb", "rgb24", None, {"qp": "0"}),
        # Noise costs an encoder much. Without the second option x264 gives other bytes each time,
        # on one thread too.
        options={"preset": "veryfast", "x264-params": "cpu-independent=1"},
        presets=True,
        cuda="h264_nvenc",
    ),
    "h265": CodecSpec(
        encoder="libx265",
        crf=23,
        formats=("yuv420p", "yuv444p", "yuv420p10le", "yuv444p10le"),
        lossless=("libx265", "gbrp", None, {"x265-params": "log-level=none:info=0:lossless=1"}),
        options={"x265-params": "log-level=none:info=0"},
        presets=True,
        cuda="hevc_nvenc",
    ),
    "vp9": CodecSpec(
        encoder="libvpx-vp9",
        crf=31,
        max_crf=63,
        formats=("yuv420p", "yuv420p", None, None),
        lossless=("libvpx-vp9", "gbrp", None, {"lossless": "1", "row-mt": "1", "cpu-used": "4"}),
        options={"row-mt": "1", "cpu-used": "4"},
    ),
    "av1": CodecSpec(
        encoder="libsvtav1",
        crf=32,
        max_crf=63,
        formats=("yuv420p", "yuv420p", "yuv420p10le", "yuv420p10le"),
        options={"preset": "8"},
        presets=True,
        cuda="av1_nvenc",
    ),
    "ffv1": CodecSpec(
        encoder="ffv1",
        crf=None,
        formats=("bgr0", "bgr0", "gbrp16le", "gbrp16le"),
        lossless=("ffv1", "bgr0", "gbrp16le", {}),
        options={"level": "3", "slices": "4", "slicecrc": "1"},
    ),
    "mjpeg": CodecSpec(
        encoder="mjpeg",
        crf=None,
        formats=("yuvj420p", "yuvj420p", None, None),
        options={"qmin": "2", "qmax": "4"},
    ),
    "prores": CodecSpec(
        encoder="prores_ks",
        crf=None,
        formats=("yuv422p10le", "yuv444p10le", "yuv422p10le", "yuv444p10le"),
        options={"vendor": "apl0"},
        says_range=False,
    ),
}

_ON_GPU = {"yuv420p10le": "p010le", "yuv444p10le": "yuv444p16le"}
CONTAINERS: dict[str, tuple[str, ...]] = {
    "mp4": ("h264", "h265", "av1", "vp9"),
    "mov": ("h264", "h265", "prores", "mjpeg"),
    "matroska": ("h264", "h265", "av1", "vp9", "ffv1", "mjpeg", "prores"),
    "webm": ("vp9", "av1"),
    "avi": ("h264", "mjpeg", "ffv1"),
}


@dataclass(frozen=True)
class ImageSpec:
    """How one kind of image file is written."""

    muxer: str  # image2pipe writes the encoder's bytes as they are
    encoder: str
    formats: tuple[str, str | None]  # pixel formats for 8 and for 16 bits
    moving: bool = False  # whether it may hold several frames
    exact: bool = True  # whether it keeps every pixel


IMAGES = {
    "png": ImageSpec("image2pipe", "png", ("rgb24", "rgb48be")),
    "jpeg": ImageSpec("image2pipe", "mjpeg", ("yuvj420p", None), exact=False),
    "bmp": ImageSpec("image2pipe", "bmp", ("bgr24", None)),
    "tiff": ImageSpec("image2pipe", "tiff", ("rgb24", "rgb48le")),
    "webp": ImageSpec("image2pipe", "libwebp", ("bgra", None), exact=False),
    "gif": ImageSpec("gif", "gif", ("pal8", None), moving=True, exact=False),
}
_SUFFIXES = {
    "mp4": "mp4", "m4v": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm", "avi": "avi",
    "gif": "gif", "png": "png", "jpg": "jpeg", "jpeg": "jpeg", "bmp": "bmp", "tif": "tiff",
    "tiff": "tiff", "webp": "webp",
}  # fmt: skip
_USUAL_SUFFIXES = {"matroska": "mkv", "jpeg": "jpg"}  # where it is not the container's name


def suffix_of(container: str) -> str:
    """The usual file suffix of a container, with its dot."""
    return "." + _USUAL_SUFFIXES.get(container, container)


def suffix_for(codec: str) -> str:
    """The usual file suffix of a video in this codec, with its dot."""
    return suffix_of(next(name for name, codecs in CONTAINERS.items() if codec in codecs))


def codec_for(path: Path | str) -> Codec:
    """The codec that a file name asks for where none is named: the first of its container's."""
    return cast(Codec, CONTAINERS.get(_SUFFIXES.get(_suffix(path), ""), ("h264",))[0])


def lossless_for(path: Path | str, *, threads: int = 0) -> Encoding:
    """Return the lossless encoding for a file of masks: ffv1 where its container holds that.

    Raises:
        UsageError: the named kind of picture does not keep them.
    """
    container = _SUFFIXES.get(_suffix(path), "")
    if container in IMAGES and container != "gif" and not IMAGES[container].exact:
        raise UsageError(  # a GIF keeps black and white
            f".{_suffix(path)} does not keep every pixel of masks; name a picture .png and a video "
            ".mkv."
        )
    held = CONTAINERS.get(container, ("ffv1",))
    codec: Codec = "ffv1" if "ffv1" in held else codec_for(path)
    return Encoding(codec=codec, lossless=codec != "ffv1", threads=threads)


def _suffix(path: Path | str) -> str:
    """The suffix of a file name, or a suffix alone, in small letters without its dot."""
    name = str(path)
    alone = name.startswith(".") and "/" not in name
    return (name[1:] if alone else Path(path).suffix[1:]).lower()


def container_for(path: Path | str, encoding: Encoding) -> str:
    """The container that a file name or suffix asks for; mp4 where it has no suffix."""
    suffix = _suffix(path)
    container = _SUFFIXES.get(suffix, None if suffix else "mp4")
    if container is None:
        raise UsageError(
            f"No video is written as .{suffix}; name it .mp4, .mkv, .mov or .webm, or end a "
            "folder's name with a slash."
        )
    if container in CONTAINERS and encoding.codec not in CONTAINERS[container]:
        fits = next(name for name, codecs in CONTAINERS.items() if encoding.codec in codecs)
        raise UsageError(
            f"{suffix or container} cannot hold {encoding.codec}; name the file "
            f"{suffix_of(fits)}, or choose --codec {CONTAINERS[container][0]}."
        )
    if encoding.lossless and container in IMAGES and not IMAGES[container].exact:
        raise UsageError(
            f".{suffix} does not keep every pixel, as --lossless asks; name a picture .png and a "
            "video .mkv, or leave --lossless out."
        )
    return container


def pixel_format(encoding: Encoding, container: str, *, width: int, height: int, deep: bool) -> str:
    """The pixel format for a size and a bit depth; UsageError where the codec cannot keep them."""
    if container in IMAGES:
        image = IMAGES[container].formats[deep]
        if image is None:
            raise UsageError(f"{container} holds 8 bits and the source more; add --force-8bit.")
        return image
    spec = CODECS[encoding.codec]
    if encoding.lossless and spec.lossless:
        chosen = spec.lossless[2] if deep else spec.lossless[1]
    else:
        chosen = spec.formats[2 * deep + (width % 2 or height % 2)]
    if chosen is None:
        lossless, held = encoding.lossless, CONTAINERS.get(container, ())
        deeper = [name for name, one in CODECS.items() if one.holds_deep(lossless=lossless)]
        fits = [name for name in deeper if name in held]
        better = f"--codec {' or '.join(fits)}" if fits else f"--codec {deeper[-1]} and a .mkv file"
        raise UsageError(
            f"{encoding.codec}{' without loss' if lossless else ''} holds 8 bits only and the "
            f"video has more; add --force-8bit, or choose {better}."
        )
    return _ON_GPU.get(chosen, chosen) if encoding.hwaccel == "cuda" else chosen


def encoder_for(encoding: Encoding, *, bitrate: int | None) -> tuple[str, dict[str, str]]:
    """FFmpeg's encoder and its options; `bitrate` in bits a second, None: constant quality."""
    spec = CODECS[encoding.codec]
    name, options = spec.encoder, dict(spec.options)
    if encoding.lossless and spec.lossless:
        name, _, _, options = spec.lossless
        options = dict(options)
    elif encoding.hwaccel == "cuda":
        name, options = spec.cuda or "", {}
        if not name:
            raise UsageError(f"No GPU encodes {encoding.codec}; choose h264, h265 or av1.")
    if encoding.preset is not None:
        options["preset"] = encoding.preset
    crf = spec.crf if encoding.crf is None else encoding.crf
    if crf is not None and bitrate is None and not encoding.lossless:
        options["cq" if encoding.hwaccel == "cuda" else "crf"] = str(crf)
    return name, options


def open_encoder(context: Any) -> None:
    """Open an encoder and leave the priority of this process's threads as it was.

    SVT-AV1, where it may, as root may, turns the thread that opens it and its own into real-time
    ones: everything else on the machine would wait for them, and whatever this process starts.
    """
    if sys.platform != "linux" or context.name != "libsvtav1":
        context.open()
        return
    own = os.sched_getscheduler(0), os.sched_getparam(0)
    context.open()
    for thread in map(int, os.listdir("/proc/self/task")):
        with suppress(ProcessLookupError):  # it has ended
            if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                os.sched_setscheduler(thread, *own)


def check_encoder(encoding: Encoding, *, width: int, height: int, deep: bool) -> None:
    """Encode one black picture, so that a missing encoder is known before anything is written."""
    name, options = encoder_for(encoding, bitrate=None)
    try:
        context: Any = av.CodecContext.create(name, "w")
    except (av.FFmpegError, ValueError):
        raise MissingError(f"This build of PyAV has no {name} encoder; choose h264.") from None
    format = pixel_format(encoding, "", width=width, height=height, deep=deep)
    width, height = (side if side < 256 else 256 + side % 2 for side in (width, height))
    context.width, context.height, context.pix_fmt = width, height, format
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = options
    picture = av.VideoFrame(width, height, format)
    for plane in picture.planes:  # it holds chance, and 16 chance bits abort a 10-bit encoder
        plane.update(bytes(plane.buffer_size))
    try:
        open_encoder(context)
        context.encode(picture)
        context.encode(None)
    except (av.FFmpegError, ValueError, OSError):
        if encoding.hwaccel == "cuda":
            but = ";"
            if deep and encoding.codec == "h264":  # of which most GPUs take 8 bits alone
                but = " with more than 8 bits; choose h265, or"
            raise MissingError(
                f"{name} does not work on this machine{but} leave --hwaccel out to encode on the "
                "CPU."
            ) from None
        what = f"cannot encode pictures of {width}x{height} here; choose h264."
        if encoding.preset is not None:
            what = f"refuses the preset {encoding.preset}; try medium, or for av1 a number 0 to 13."
        raise UsageError(f"{name} {what}") from None


def without_sei(stream: VideoStream) -> Callable[[Packet[Any]], list[Packet[Any]]]:
    """Make a filter that removes the encoder's version and settings from H.264 packets."""
    if stream.codec_context.codec.canonical_name != "h264":
        return lambda packet: [packet]
    filters: list[BitStreamFilterContext] = []

    def strip(packet: Packet[Any]) -> list[Packet[Any]]:
        if not filters:  # the encoder's header is known from the first packet on
            filters.append(BitStreamFilterContext("filter_units=remove_types=6", stream))
        return filters[0].filter(packet)

    return strip
