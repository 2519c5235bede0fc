"""Noise features: an auto-encoder of frames with Gaussian noise on its code.

The "Noisy-Features" row of SPAct and "Collective" of STPrivacy. Both cite Zhang et al. (ICDM 2019),
a method for wearable sensors, without saying how they apply it to video; **this is our reading of
it** (docs/papers.md 4): noise of `noise` times the code's standard deviation, and training for
action recognition and reconstruction, without an adversary (`masquerade train noise-features`).
Hides fine detail, keeps what the decoder reconstructs.

A whole video shares one draw of noise, as fresh noise on each frame would average out over a static
scene. It comes from the operating system's entropy and is not stored. In training a clip has one.
"""

import secrets
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Card, GraphStateSpec, Presets, TrainingOutput
from masquerade.errors import UsageError
from masquerade.methods.blend import blend
from masquerade.methods.framewise import FramewiseAnonymizer, Side
from masquerade.models.per_frame import transform_frames, working_size
from masquerade.models.unet import AutoEncoder
from masquerade.ranges import at_least

KEY_BITS = 128


class NoiseFeatures(FramewiseAnonymizer):
    """Encode every frame, add noise to the code, and decode it.

    Args:
        noise: standard deviation of the noise, in standard deviations of the code.
        width: channels of the first stage.
        halvings: how often the encoder halves the size, 1 to 4; after four the code has eight times
            `width` channels at a sixteenth of the size.
        short: shorter side in pixels of the network's input.
    """

    card = Card(
        hides="fine detail, by noise added to a small encoding",
        undo="partly: it is trained without an adversary, and networks learn to read it",
        needs="training: masquerade train noise-features",
        paper="Noisy-Features of SPAct, Collective of STPrivacy, after Zhang et al. ICDM 2019",
    )

    graph_state_spec = GraphStateSpec(
        ("batch", None, None, None),
        "noise that is added to the code of every frame; draw it once a video and keep it secret",
        "normal",
        changes=False,
    )
    presets: ClassVar[Presets] = {
        # as wide as SPAct's UNet, at its size; the papers specify no network
        "paper": {"noise": 0.5, "width": 64, "short": 112},
        # trains in minutes on two cores; halved twice, as 24 rows halved four times are one
        "tiny": {"noise": 0.5, "width": 8, "halvings": 2, "short": 24},
    }

    def __init__(
        self,
        *,
        noise: Annotated[float, at_least(0.01, 100)] = 0.5,
        width: Annotated[int, at_least(1, 1024)] = 16,
        halvings: Annotated[int, at_least(1, 4)] = 4,
        short: Side = 112,
    ) -> None:
        super().__init__(short=short)
        self.noise, self.width, self.halvings = noise, width, halvings
        self.net = AutoEncoder(width=width, halvings=halvings)

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> int:
        """The key from which a video's noise is drawn."""
        return secrets.randbits(KEY_BITS) if seed is None else seed % 2**KEY_BITS

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        key = self.init_state() if state is None else int(state)
        videos = [
            transform_frames(partial(self._transform, key=(key, at)), video, short=self.short)
            for at, video in enumerate(torch.split(clip, 1))
        ]
        return Anonymized(blend(clip, torch.cat(videos), mask), mask, key)

    def graph(self, clip: Tensor, *, mask: Tensor | None, state: Tensor | None) -> Anonymized:
        if state is None:
            raise UsageError("a graph of noise-features takes the noise of its clips as its state.")
        noise = state[:, None].expand(-1, clip.shape[2], -1, -1, -1).flatten(0, 1)
        add = partial(self._transform, drawn=noise)
        rewritten = transform_frames(add, clip, short=self.short, batched=True)
        return Anonymized(blend(clip, rewritten, mask))

    def graph_state(self, state: Any, clip: Tensor) -> Tensor:
        """The noise of each clip's frames, (B, channels, rows, columns) of their code."""
        size = working_size(clip.shape[3], clip.shape[4], self.short)
        with torch.no_grad():
            code = self.net.encode(clip.new_zeros(1, 3, *size))
        return torch.cat([_normal((int(state), at), code) for at in range(len(clip))])

    def training_output(self, clip: Tensor, *, class_token: Tensor | None = None) -> TrainingOutput:
        add = partial(self._transform, each=clip.shape[2])
        return TrainingOutput(transform_frames(add, clip, short=self.short, batched=True))

    def add_noise(
        self,
        code: Tensor,
        key: tuple[int, int] | None = None,
        drawn: Tensor | None = None,
        each: int = 1,
    ) -> Tensor:
        """Add noise to a code (N, C, h, w).

        It is as `drawn`, or one for all N from a key, or new for each `each` frames in a row.
        """
        if drawn is None and key is not None:
            drawn = _normal(key, code)
        elif drawn is None:
            drawn = torch.randn_like(code[::each]).repeat_interleave(each, dim=0)
        spread = code.std(dim=(1, 2, 3), keepdim=True, correction=0)
        return code + self.noise * spread * drawn

    def _transform(
        self,
        frames: Tensor,
        key: tuple[int, int] | None = None,
        drawn: Tensor | None = None,
        each: int = 1,
    ) -> Tensor:
        height, width = frames.shape[-2:]
        code = self.add_noise(self.net.encode(frames), key, drawn, each)
        return self.net.decode(code, (height, width)).sigmoid()


def _normal(key: tuple[int, int], like: Tensor) -> Tensor:
    """The noise of a key for one frame, repeated for all frames."""
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    return torch.from_numpy(draw.standard_normal(like.shape[1:])).to(like).expand_as(like)
