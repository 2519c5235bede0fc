"""Decode on an NVIDIA GPU (NVDEC), where there is one that decodes a video's codec.

A GPU gives pictures whose two chroma planes are one. They are taken apart here, so that all else
sees what FFmpeg's own decoder gives.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import av
from av import VideoFrame
from av.codec.hwaccel import HWAccel

from masquerade.video.shared_picture import by_one_thread

PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le"}
"""By the format of a GPU's pictures: the same samples, in three planes."""


def cuda_device() -> HWAccel:
    """The GPU, for `av.open`; streams that it does not decode are decoded on the CPU."""
    return HWAccel("cuda", allow_software_fallback=True)


@cache
def decodes_on_gpu(codec: str) -> bool:
    """Whether this machine has an NVIDIA GPU, and FFmpeg decodes the codec on one."""
    try:
        context: Any = av.CodecContext.create(codec, "r", hwaccel=cuda_device())
    except (av.FFmpegError, ValueError, RuntimeError, OSError):  # no driver, no GPU, no decoder
        return False
    return bool(context.is_hwaccel)


def as_planar(picture: VideoFrame) -> VideoFrame:
    """The same picture in the format that FFmpeg's own decoder gives."""
    # of p010le, several threads would damage the planes
    return by_one_thread(picture.reformat, format=PLANAR[picture.format.name])
