"""STPrivacy's recognizers: a video ViT that takes the keep mask with the clip (ICCV 2023, 4.3).

Both of the paper's recognizers are this network, the action's with its classes, the privacy one
with an output for each attribute. A tiny one does not learn motion from scratch (FACTS 8.5): give
it an image ViT's weights, or use `tiny-3d`.
"""

from __future__ import annotations

from collections.abc import Mapping

from masquerade.models.recognizers.recognizer import IMAGENET, Recognizer, outputs
from masquerade.models.vit import Inflation, VideoViT


def video_vit(
    *,
    classes: int | None = None,
    heads: Mapping[str, int] | None = None,
    in_channels: int = 3,
    frames: int = 16,
    size: int = 112,
    tubelet: tuple[int, int, int] = (2, 16, 16),
    width: int = 384,
    depth: int = 12,
    attention_heads: int = 6,
    inflation: Inflation = "average",
) -> Recognizer:
    """A masked ViT over tubelets; frames of another size are resized to its own.

    Args:
        classes: outputs of the one label.
        heads: outputs by label, instead of `classes`.
        in_channels: of a frame.
        frames: T of the clips.
        size: side in pixels it works at.
        tubelet: frames, rows and columns of one token.
        width: of a token; 384 is S, 192 is Ti.
        depth: layers.
        attention_heads: of each layer.
        inflation: how an image ViT's patch becomes a tubelet when its weights are loaded.
    """
    net = VideoViT(
        classes=outputs(classes, heads),
        in_channels=in_channels,
        frames=frames,
        size=size,
        tubelet=tubelet,
        width=width,
        depth=depth,
        heads=attention_heads,
        inflation=inflation,
    )
    return Recognizer(
        net, heads=heads, scale=IMAGENET, in_channels=in_channels, sees_keep=True, size=size
    )
