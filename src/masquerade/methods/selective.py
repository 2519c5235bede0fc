"""Motion-consistent noise over chosen regions: appearance is replaced, motion stays visible.

Ilic et al., "Selective, Interpretable and Motion Consistent Privacy Attribute Obfuscation for
Action Recognition", CVPR 2024, eq. 3 to 5. Hides what lies under `where`; keeps the rest of the
frame, and how the region moves (so also a person's gait). What `where` comes from is not its
affair: faces, people, boxes, or the paper's templates.

Differs from the paper by default: `warp="cumulative"` moves the noise with the content, where eq. 4
read literally warps the first frame's noise by each single step, which stands still under constant
motion; and saliency of at least `core` is replaced wholly, where the paper leaves 1 - S of every
pixel, which can be undone (FACTS 3.7). `paper()` is the paper's setting.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.errors import UsageError
from masquerade.methods.blend import U8, bounds, mix
from masquerade.vision.cuts import is_cut, thumbnail
from masquerade.vision.flow import F32, dis_flow, look_up, positions

Part = tuple[slice, slice]
SEEN_AROUND = 16  # pixels around a region that its flow is searched in
FAR = 8192  # pixels after which a look-up starts again: OpenCV counts them in 16 bits


class Noise(NamedTuple):
    """What one video's noise remembers from frame to frame."""

    key: bytes
    frame: int = 0
    field: U8 = np.empty((0, 0, 3), np.uint8)  # (H, W, 3): the noise of the first frame
    source: F32 = np.empty((0, 0, 2), np.float32)  # (H, W, 2): where in `field` each pixel looks
    before: U8 = np.empty((0, 0), np.uint8)  # (H, W): the frame before, grey
    glance: U8 | None = None  # (36, 64, 3): the frame before, to tell a cut from motion


class Selective(Anonymizer):
    """Replace the chosen regions by noise that moves as they do.

    Args:
        noise: "motion" moves with the content; "iid" is new in every frame and hides motion too.
        warp: how noise moves: "cumulative" along all flow so far, "first" (the paper's eq. 4)
            along the last step only.
        sampling: how `warp="first"` looks noise up; "bilinear" (the paper) flattens it where motion
            is fractional.
        core: saliency from which a pixel is replaced wholly; 1 leaves 1 - S of the original
            everywhere else, as the paper does, and so can be undone.
        mean: centre of the noise for R, G, B in [0, 1].
        std: half its range for R, G, B.
    """

    card = Card(
        hides="the appearance of the region; motion, gait and outline stay",
        undo="no where the region is fully covered (the default); with `--seed` whoever knows it",
        needs="nothing; optical flow on the CPU",
        paper="Ilic et al. CVPR 2024",
    )

    def __init__(
        self,
        *,
        noise: Literal["motion", "iid"] = "motion",
        warp: Literal["cumulative", "first"] = "cumulative",
        sampling: Literal["nearest", "bilinear"] = "nearest",
        core: float = 0.6,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        if not 0 < core <= 1:
            raise UsageError(f"selective needs core above 0 and at most 1, got {core}.")
        self.noise, self.warp, self.sampling = noise, warp, sampling
        self.core, self.mean, self.std = core, tuple(mean), tuple(std)

    def start(self, *, seed: int | None = None) -> bytes:
        if seed is None:
            return secrets.token_bytes(32)
        return hashlib.sha256(f"masquerade seed {seed}".encode()).digest()

    def forward(
        self, clip: Tensor, *, where: Tensor | None = None, carry: Any = None
    ) -> Anonymized:
        states = _states(self.start() if carry is None else carry, len(clip))
        strength = clip.new_ones(clip[:, :1].shape) if where is None else self._strength(where)
        noise = torch.zeros_like(clip)
        levels = torch.from_numpy(self.levels()).to(clip)  # (256, 3)
        frames = (clip * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()
        masks = (strength[:, 0] > 0).byte().cpu().numpy() * 255  # (B, T, H, W)
        for b, state in enumerate(states):
            for t in range(clip.shape[2]):
                part, drawn, state = self._draw(state, frames[b, t], masks[b, t])
                if part is not None:
                    values = torch.tensor(drawn, device=clip.device).long()  # (h, w, 3)
                    noise[b, :, t, *part] = torch.stack(
                        [levels[:, c][values[..., c]] for c in range(3)]
                    )
            states[b] = state
        return Anonymized(clip.lerp(noise, strength), strength, tuple(states))  # eq. 5

    def on_bytes(self, frames: U8, *, where: U8 | None = None, carry: Any = None) -> tuple[U8, Any]:
        (state,) = _states(self.start() if carry is None else carry, 1)
        table = (self.levels() * 255).round().astype(np.uint8)[None]  # (1, 256, 3)
        strength = np.minimum(np.arange(256) / self.core, 255).round().astype(np.uint8)
        out = frames.copy()
        for t, frame in enumerate(frames):
            mask = np.full(frame.shape[:2], 255, np.uint8) if where is None else where[t]
            part, drawn, state = self._draw(state, frame, mask)
            if part is not None:
                noise = np.asarray(cv2.LUT(drawn, table), np.uint8)
                out[t][part] = mix(frame[part], noise, strength[mask[part]])
        return out, (state,)

    def levels(self) -> F32:
        """(256, 3): the noise value in [0, 1] of each byte, uniform over mean +- std (eq. 3)."""
        mean, std = np.array(self.mean), np.array(self.std)
        uniform = (np.arange(256)[:, None] + 0.5) / 128 - 1
        return (mean + std * uniform).clip(0, 1).astype(np.float32)

    def _strength(self, where: Tensor) -> Tensor:
        return (where / self.core).clamp(max=1)

    def _draw(self, state: Noise, frame: U8, mask: U8) -> tuple[Part | None, U8, Noise]:
        """The noise bytes (h, w, 3) over the part of (H, W) that is hidden, and the next state."""
        height, width = mask.shape
        part = bounds(mask)
        if self.noise == "iid":
            state = state._replace(frame=state.frame + 1)
            if part is None:
                return None, mask, state
            h, w = mask[part].shape
            return part, _bytes(state, "iid", (h, w, 3)), state
        grey = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
        if state.field.shape[:2] != (height, width):
            field = _bytes(state, "field", (height, width, 3))
            state = state._replace(field=field, source=positions(height, width), before=grey)
        glance = thumbnail(frame)
        if is_cut(state.glance, glance):
            moved = positions(height, width) + _offset(state, height, width)
            state = state._replace(source=moved, before=grey)
        drawn = mask
        if part is not None:
            flow = _flow(grey, state.before, part)
            here = positions(*flow.shape[:2]) + np.array([part[1].start, part[0].start], "f4")
            if self.warp == "first":  # N(p, t) = N(p + v(p, t), 1): eq. 4 as printed
                drawn = look_up(state.field, here + flow, nearest=self.sampling == "nearest")
            else:
                moved = _moved(state, here, here + flow)
                source = state.source.copy()
                source[part] = moved
                state = state._replace(source=source)
                drawn = look_up(state.field, moved, nearest=True)
        return part, drawn, state._replace(frame=state.frame + 1, before=grey, glance=glance)


def _states(carry: Any, batch: int) -> list[Noise]:
    """One state a clip, from a video's key or from the window before."""
    if isinstance(carry, bytes):
        return [Noise(key=carry + bytes([b])) for b in range(batch)]
    return list(carry)


def _bytes(state: Noise, purpose: str, shape: tuple[int, ...]) -> U8:
    """Uniform bytes that depend on the key, the purpose and the frame alone.

    SHAKE-256 of a key from the operating system: no part of the noise that is published tells
    another part, as the state of a common random generator would.
    """
    stream = hashlib.shake_256(state.key + f"{purpose} {state.frame}".encode())
    return np.frombuffer(stream.digest(int(np.prod(shape))), np.uint8).reshape(shape)


def _offset(state: Noise, height: int, width: int) -> F32:
    """A whole-pixel shift, new in every frame, to where fresh noise is taken from."""
    draw = _bytes(state, "offset", (4,)).astype(np.int64)
    return np.array([(draw[0] * 256 + draw[1]) % width, (draw[2] * 256 + draw[3]) % height], "f4")


def _flow(now: U8, before: U8, part: Part) -> F32:
    """Flow of one part of the frame, searched in its surroundings: (h, w, 2)."""
    rows, columns = part
    top, left = max(0, rows.start - SEEN_AROUND), max(0, columns.start - SEEN_AROUND)
    seen = slice(top, rows.stop + SEEN_AROUND), slice(left, columns.stop + SEEN_AROUND)
    flow = dis_flow(now[seen], before[seen])
    return flow[rows.start - top :, columns.start - left :][
        : rows.stop - rows.start, : columns.stop - columns.start
    ]


def _moved(state: Noise, here: F32, there: F32) -> F32:
    """Where pixels look after one more step: N(p, t) = N(p + v(p, t), t-1), eq. 4 advected.

    The look-up keeps the fraction of a pixel that rounding cuts off, so that noise neither blurs
    nor lags. Where the step leaves the frame, or two neighbours would show the same noise (the
    content stretches), fresh noise comes in: else it would streak and starve.

    Args:
        here: (h, w, 2), pixels (x, y) of frame t.
        there: (h, w, 2), where they were in frame t-1.
    """
    height, width = state.before.shape
    nearest = np.rint(there)
    moved = look_up(state.source, nearest, nearest=True) + (there - nearest)
    x, y = nearest[..., 0], nearest[..., 1]
    fresh = np.asarray((x < 0) | (x >= width) | (y < 0) | (y >= height))
    seen = np.rint(moved).astype(np.int32).view(np.int64)[..., 0]  # (x, y) as one number
    fresh[:, 1:] |= seen[:, 1:] == seen[:, :-1]
    fresh[1:] |= seen[1:] == seen[:-1]
    moved[fresh] = here[fresh] + _offset(state, height, width)
    if cv2.norm(moved.reshape(-1), cv2.NORM_INF) > FAR:
        moved %= (width, height)
    return moved


def paper() -> Selective:
    """The paper's setting: eq. 4 as printed, saliency used as it is. It can be undone."""
    return Selective(warp="first", sampling="bilinear", core=1.0)
