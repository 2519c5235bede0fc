"""Networks that read a clip, a frame or flow: what measures utility, and what attacks privacy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from masquerade.models import resnet3d
from masquerade.models.recognizers.clips import clip_recognizer, mvit, tiny_3d
from masquerade.models.recognizers.frames import NETS, frame_recognizer
from masquerade.models.recognizers.motion import e2s, flow_to_clip, tiny_flow, with_flow
from masquerade.models.recognizers.presets import ILIC_2024, SAMPLINGS, Sampling, Schedule
from masquerade.models.recognizers.projected import Projected
from masquerade.models.recognizers.published import load_published
from masquerade.models.recognizers.recognizer import Recognizer
from masquerade.models.recognizers.tokens import video_vit
from masquerade.models.recognizers.zoo import from_zoo

RECOGNIZERS: dict[str, Callable[..., Recognizer]] = {
    "tiny-3d": tiny_3d,
    "tiny-flow": tiny_flow,
    **{name: partial(frame_recognizer, name) for name in NETS},
    **{name: partial(clip_recognizer, name) for name in resnet3d.NAMES},
    "e2s-x3d-s": partial(e2s, "x3d-s"),
    "e2s-x3d-m": partial(e2s, "x3d-m"),
    "e2s-x3d-l": partial(e2s, "x3d-l"),
    "mvit-b": mvit,
    "vit-s-video": video_vit,
    "vit-ti-video": partial(video_vit, width=192, attention_heads=3),
}
"""Each takes `classes=` or `heads=` and gives a `Recognizer`; a new one is a file and a line."""

__all__ = [
    "ILIC_2024",
    "RECOGNIZERS",
    "SAMPLINGS",
    "Projected",
    "Recognizer",
    "Sampling",
    "Schedule",
    "flow_to_clip",
    "from_zoo",
    "load_published",
    "with_flow",
]
