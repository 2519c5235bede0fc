"""Motion-consistent noise over chosen regions: appearance is replaced, motion stays visible.

Ilic et al., "Selective, Interpretable and Motion Consistent Privacy Attribute Obfuscation for
Action Recognition", CVPR 2024, eq. 3 to 5. Hides what lies under `mask`; keeps the rest of the
frame, and how the region moves (so also a person's gait, unless `gait_jitter` bends it). What
`mask` comes from is not its affair: faces, people, boxes, or the paper's templates.

Differs from the paper by default: `warp="cumulative"` moves the noise with the content, where eq. 4
read literally warps the first frame's noise by each single step, which stands still under constant
motion; and saliency of at least `core` is replaced wholly, where the paper leaves 1 - S of every
pixel, which can be undone (FACTS 3.7). `paper()` is the paper's setting, `code()` that of its code.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import partial
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.errors import UsageError
from masquerade.methods.blend import U8, bounds, mix
from masquerade.methods.selective import gait_jitter
from masquerade.methods.selective.noise import (
    BLOCK,
    Field,
    Part,
    Secret,
    advected,
    moved_as_in_code,
    moved_once,
    new_field,
    stretched,
    uniform,
)
from masquerade.models.optical_flow import F32, dis_flow, grey
from masquerade.models.raft import Raft, load_raft
from masquerade.regions.cuts import is_cut, thumbnail

SEEN_AROUND = 16  # pixels around a region that its flow is searched in
GIVEN = "given, not kept"  # what is recorded of a key


class Noise(NamedTuple):
    """What one video's noise remembers from frame to frame."""

    key: Secret
    frame: int = 0
    field: Field = Field(np.empty((0, 0, 3), np.uint8), np.empty((0, 0, 2), np.float32))
    before: U8 = np.empty((0, 0), np.uint8)  # the frame before, as the flow wants it
    glance: U8 | None = None  # (36, 64, 3): the frame before, to tell a cut from motion
    past: gait_jitter.Past = gait_jitter.Past()


class Drawn(NamedTuple):
    """The noise of one frame, over the part of it that is hidden."""

    part: Part
    noise: U8  # (h, w, 3)
    more: U8 | None  # (h, w), 255 where `gait_jitter` hides beyond the region


class Selective(Anonymizer):
    """Replace the chosen regions by noise that moves as they do.

    Args:
        noise: "motion" moves with the content; "iid" is new in every frame and hides motion too.
        warp: how noise moves: "cumulative" along all flow so far, "first" (the paper's eq. 4)
            along the last step only, "forward" as the authors' code does (FACTS 3.5, 4 to 6).
        sampling: how warp="first" looks noise up; "bilinear" (the paper) flattens it where motion
            is fractional.
        flow: "dis" needs nothing; "raft" needs torchvision and `flow_weights`.
        flow_weights: file with torchvision's weights of RAFT, small or large.
        core: saliency from which a pixel is replaced wholly; 1 leaves 1 - S of the original
            everywhere else, as the paper does, and so can be undone.
        mean: centre of the noise for R, G, B in [0, 1].
        std: half its range for R, G, B.
        spread: "both": uniform over mean - std to mean + std (eq. 3); "above": over mean to
            mean + std, as in the authors' code.
        gait_jitter: how far motion and outline are bent, so that a gait is harder to know again;
            0: not at all, 1: clearly. Beyond the paper.
        key: your secret. One source has the same noise in every copy made under it, so that
            averaging copies gains nothing; without it each copy has its own. Never recorded.
    """

    card = Card(
        hides="the appearance of the region; motion, gait and outline stay",
        undo="no where the region is fully covered (the default); whoever knows a seed or key can",
        needs="nothing; optical flow on the CPU",
        paper="Ilic et al. CVPR 2024",
    )

    def __init__(
        self,
        *,
        noise: Literal["motion", "iid"] = "motion",
        warp: Literal["cumulative", "first", "forward"] = "cumulative",
        sampling: Literal["nearest", "bilinear"] = "nearest",
        flow: Literal["dis", "raft"] = "dis",
        flow_weights: str | None = None,
        core: float = 0.6,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        spread: Literal["both", "above"] = "both",
        gait_jitter: float = 0.0,
        key: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 < core <= 1:
            raise UsageError(f"selective needs core above 0 and at most 1, got {core}.")
        if not 0 <= gait_jitter < float("inf"):
            raise UsageError(f"selective needs gait_jitter of 0 or more, got {gait_jitter}.")
        if gait_jitter and (noise == "iid" or warp != "cumulative"):
            raise UsageError("gait_jitter bends noise that moves: it needs --warp cumulative.")
        if key in ("", GIVEN):
            raise UsageError("no file holds a key; give your own secret with --key.")
        self.noise, self.warp, self.sampling = noise, warp, sampling
        self.flow, self.flow_weights = flow, flow_weights
        self.core, self.mean, self.std, self.spread = core, tuple(mean), tuple(std), spread
        self.gait_jitter = gait_jitter
        self.raft: Raft | None = load_raft(flow_weights) if flow == "raft" else None
        self.key = None if key is None else GIVEN
        self._secret = None if key is None else stretched(key)

    @property
    def keyed(self) -> bool:
        """Whether there is a `key`."""
        return self._secret is not None

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Secret:
        """The key of a new video's noise.

        Args:
            seed: for science only; None draws from the operating system's entropy.
            source: a digest of the source's content, which a `key` needs: two videos must not
                share noise.
        """
        if seed is not None and self.keyed:
            raise UsageError("give a key or a seed, not both.")
        if seed is not None:
            return Secret(hashlib.sha256(f"masquerade seed {seed}".encode()).digest())
        if self._secret is None:
            return Secret(secrets.token_bytes(32))
        if not source:
            raise UsageError(
                "a key needs to know the source: call init_state(source=digest) first."
            )
        return Secret(hmac.digest(self._secret, source, "sha256"))

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        states = _states(self.init_state() if state is None else state, len(clip))
        strength = clip.new_ones(clip[:, :1].shape) if mask is None else self._strength(mask)
        noise = torch.zeros_like(clip)
        levels = torch.from_numpy(self.levels()).to(clip)  # (256, 3)
        frames = (clip * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()
        strong = strength[:, 0]  # (B, T, H, W)
        masks = (strong * 255).round().clamp(min=strong > 0).byte().cpu().numpy()
        for b, state in enumerate(states):
            for t in range(clip.shape[2]):
                drawn, state = self._draw(state, frames[b, t], masks[b, t])
                if drawn is None:
                    continue
                values = torch.tensor(drawn.noise, device=clip.device).long()  # (h, w, 3)
                noise[b, :, t, *drawn.part] = torch.stack(
                    [levels[:, c][values[..., c]] for c in range(3)]
                )
                if drawn.more is not None:
                    more = torch.tensor(drawn.more, device=clip.device) > 0
                    strength[b, 0, t, *drawn.part].masked_fill_(more, 1)
            states[b] = state
        return Anonymized(clip.lerp(noise, strength), strength, tuple(states))  # eq. 5

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        (state,) = _states(self.init_state() if state is None else state, 1)
        table = (self.levels() * 255).round().astype(np.uint8)[None]  # (1, 256, 3)
        strength = np.minimum(np.arange(256) / self.core, 255).round().astype(np.uint8)
        out = frames.copy()
        for t, frame in enumerate(frames):
            full = np.full(frame.shape[:2], 255, np.uint8)
            hidden = full if mask is None else strength[mask[t]]
            drawn, state = self._draw(state, frame, hidden)
            if drawn is not None:
                over = hidden[drawn.part]
                if drawn.more is not None:
                    over = cv2.max(over, drawn.more)
                noise = np.asarray(cv2.LUT(drawn.noise, table), np.uint8)
                out[t][drawn.part] = mix(frame[drawn.part], noise, np.asarray(over, np.uint8))
        return out, (state,)

    def levels(self) -> F32:
        """(256, 3): the noise value in [0, 1] of each byte, uniform over the spread (eq. 3)."""
        mean, std = np.array(self.mean), np.array(self.std)
        uniform = (np.arange(256)[:, None] + 0.5) / 256  # in [0, 1]
        if self.spread == "both":
            uniform = 2 * uniform - 1
        return (mean + std * uniform).clip(0, 1).astype(np.float32)

    def _strength(self, mask: Tensor) -> Tensor:
        return (mask / self.core).clamp(max=1)

    def _draw(self, state: Noise, frame: U8, mask: U8) -> tuple[Drawn | None, Noise]:
        """The noise of what is hidden of one frame, and the next state.

        Args:
            mask: (H, W), 0 where nothing is hidden, 255 where all is.
        """
        if self.noise == "iid":
            part = _part(mask)
            drawn = part and Drawn(part, _new(state, *mask[part].shape), None)
            return drawn, state._replace(frame=state.frame + 1)
        now, glance = frame if self.raft else grey(frame), thumbnail(frame)
        height, width = mask.shape
        fits = state.before.shape == now.shape
        if not fits or is_cut(state.glance, glance):
            field = new_field(_new(state, height, width))
            state = state._replace(field=field, before=now, past=gait_jitter.Past())
        drawn, state = self._moved(state, now, mask)
        return drawn, state._replace(frame=state.frame + 1, before=now, glance=glance)

    def _moved(self, state: Noise, now: U8, mask: U8) -> tuple[Drawn | None, Noise]:
        """The noise of what is hidden, and the state with the noise where it is now."""
        part, more = _part(mask), None
        flow = None if part is None else self._flow(state, now, part)
        if self.gait_jitter:
            known = state.key, state.frame, self.gait_jitter
            past = gait_jitter.remembered(
                state.past, flow, part, np.where(mask == 255, mask, 0), known[2]
            )
            state, more = state._replace(past=past), gait_jitter.widened(past, *known)
            part = _part(np.maximum(mask, more))
            flow = None if part is None else gait_jitter.bent(past, part, *known)
        if part is None or flow is None:
            return None, state
        if self.warp == "cumulative":
            field = advected(state.field, part, flow, partial(_fresh, state))
            drawn = Drawn(part, field.noise[part], None if more is None else more[part])
            return drawn, state._replace(field=field)
        noise = state.field.noise
        if self.warp == "first":  # N(p, t) = N(p + v(p, t), 1): eq. 4 as printed
            noise = moved_once(noise, part, flow, self.sampling)
        else:
            noise = moved_as_in_code(noise, part, flow) if state.frame else noise[part]
        return Drawn(part, noise, None), state

    def _flow(self, state: Noise, now: U8, part: Part) -> F32:
        """Flow of one part of the frame, searched in its surroundings: (h, w, 2)."""
        rows, columns = part
        top, left = max(0, rows.start - SEEN_AROUND), max(0, columns.start - SEEN_AROUND)
        seen = slice(top, rows.stop + SEEN_AROUND), slice(left, columns.stop + SEEN_AROUND)
        pair = (state.before, now) if self.warp == "forward" else (now, state.before)
        search = self.raft.flow if self.raft else dis_flow
        flow = search(pair[0][seen], pair[1][seen])
        return flow[rows.start - top :, columns.start - left :][
            : rows.stop - rows.start, : columns.stop - columns.start
        ]


def _states(state: Any, batch: int) -> list[Noise]:
    """One state a clip, from a video's key or from the window before."""
    if isinstance(state, bytes):
        return [Noise(key=Secret(bytes(state) + bytes([b]))) for b in range(batch)]
    return list(state)


def _part(mask: U8) -> Part | None:
    """The rows and columns of (H, W) that hold all of a mask, in whole blocks of the noise."""
    part = bounds(mask, step=BLOCK)
    if part is None:
        return None
    rows, columns = (
        slice(side.start, min(side.stop, most)) for side, most in zip(part, mask.shape, strict=True)
    )
    return rows, columns


def _new(state: Noise, height: int, width: int) -> U8:
    """(height, width, 3), all of a frame's noise."""
    return uniform(state.key, f"new {state.frame}", height, width, 3)


def _fresh(state: Noise, count: int) -> U8:
    """(count, 3), what a frame's noise lacks."""
    return uniform(state.key, f"fresh {state.frame}", count, 3)


def paper() -> Selective:
    """The paper's setting: eq. 4 as printed, saliency used as it is. It can be undone."""
    return Selective(warp="first", sampling="bilinear", core=1.0)


def code() -> Selective:
    """What the authors' public code makes of it, as far as pixels go. It can be undone.

    Of the differences in FACTS 3.5 it has 1 (noise above the mean only), 4 (forward flow, read at
    the later frame), 5 (nearest; beyond the frame the unmoved noise), 6 (its grid), and of 3 that
    the first frame's noise is not moved. Left out on purpose: 2, the fixed seed, and so 3's restart
    after 301 frames. No part of the method: 7 (RAFT's weights and upsampling), 8 (order of
    resizing), 9 to 15 (data, training, other baselines).
    """
    return Selective(warp="forward", core=1.0, spread="above")
