"""Motion-consistent noise over chosen regions: appearance is replaced, motion stays visible.

Ilic et al., "Selective, Interpretable and Motion Consistent Privacy Attribute Obfuscation for
Action Recognition", CVPR 2024, eq. 3 to 5. Hides the appearance of the masked regions; keeps the
rest of the frame and the regions' motion (a person's gait too, unless `gait_jitter` perturbs it).
The paper's masks are template saliency; any other region source works as well.

Differs from the paper by default: `warp="cumulative"` moves the noise with the content, where eq. 4
read literally warps the first frame's noise by each single step, which stands still under constant
motion; and saliency of at least `core` is replaced completely, where the paper leaves 1 - S of
every pixel, which can be inverted (docs/papers.md 3.7). `--preset paper` is the paper's setting,
`code` that of its code.
"""

import hashlib
import hmac
import secrets
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card, Pixels, Presets
from masquerade.arrays import F32, U8
from masquerade.errors import UsageError
from masquerade.methods.blend import blend_bytes, bounds
from masquerade.methods.selective import gait_jitter
from masquerade.methods.selective.noise import (
    BLOCK,
    NoiseField,
    Part,
    Secret,
    advect,
    derive_key,
    new_field,
    uniform,
    warp_forward,
    warp_once,
)
from masquerade.models.optical_flow import MIN_SIDE, Raft, dis_flow, grey, load_raft
from masquerade.ranges import Share, UnitInterval, at_least
from masquerade.regions.scene_cuts import is_cut, thumbnail

FLOW_MARGIN = 16  # pixels around a region that its flow is computed on
RECORDED_KEY = "given, not kept"  # what is recorded of a key
NO_NOISE = NoiseField(np.empty((0, 0, 3), np.uint8), np.empty((0, 0, 2), np.float32))


class NoiseState(NamedTuple):
    """The state of one video's noise."""

    key: Secret
    frame: int = 0
    field: NoiseField = NO_NOISE
    before: U8 = np.empty((0, 0), np.uint8)  # the last frame, as the flow takes it
    thumbnail: U8 | None = None  # (36, 64, 3), the last frame, to detect cuts
    history: gait_jitter.History = gait_jitter.History()

    def draw(self, purpose: str, *shape: int) -> U8:
        """New noise for this frame, (*shape, 3), that depends on the key and the purpose alone."""
        return uniform(self.key, f"{purpose} {self.frame}", *shape, 3)


class FrameNoise(NamedTuple):
    """The noise of one frame, over the part of it that is hidden."""

    part: Part
    noise: U8  # (h, w, 3)
    extra: U8 | None  # (h, w), 255 where `gait_jitter` hides beyond the region


class Selective(Anonymizer):
    """Replace the chosen regions by noise that moves as they do.

    Args:
        noise: "motion" moves with the content; "iid" is new in every frame: motion inside the
            region is disturbed, outline and gait stay (see `gait_jitter`).
        warp: how noise moves: "cumulative" along all flow so far, "first" (the paper's eq. 4)
            along the last step only, "forward" as in the authors' code (docs/papers.md 3.5).
        sampling: interpolation under warp="first"; "bilinear" (the paper) flattens the noise where
            motion is fractional.
        flow: optical flow: "dis" needs nothing; "raft" needs torchvision and `flow_weights`.
        flow_weights: file with torchvision's weights of RAFT, small or large.
        core: mask value from which a pixel is replaced completely. At 1 a part of the original
            stays in every pixel below 1, as in the paper, and can be recovered.
        mean: centre of the noise for R, G, B in [0, 1].
        std: half its range for R, G, B.
        spread: "both": uniform from mean - std to mean + std (eq. 3); "above": from mean to
            mean + std, as in the authors' code.
        gait_jitter: how far motion and outline are perturbed, so that a gait is harder to
            recognize; 0: not at all, 1: clearly. Beyond the paper.
        key: your secret. All copies of one source made with it and the same settings have the same
            noise, so that averaging copies gains nothing; without it each copy has its own, as have
            copies made with other settings. Never recorded.
    """

    noisy = True
    resumable = True
    export_refusal = (
        "its noise is drawn from a secret and follows the optical flow of each video, which are no "
        "operations on tensors"
    )
    card = Card(
        hides="appearance in the region; motion, gait and outline stay",
        undo="no, where the region is fully covered (the default), except with the seed or key",
        needs="nothing; optical flow on the CPU",
        paper="Ilic et al. CVPR 2024",
    )

    inference_args: ClassVar[tuple[str, ...]] = ("key", "flow_weights")  # no file holds them
    presets: ClassVar[Presets] = {  # both can be inverted
        # Eq. 4 as printed, saliency unchanged
        "paper": {"warp": "first", "sampling": "bilinear", "core": 1.0},
        # The authors' public code. docs/papers.md 3.5 numbers how it differs from their paper. The
        # preset has differences 1 (noise above the mean only), 4 (forward flow, read at the later
        # frame), 5 (nearest; outside the frame the unmoved noise), 6 (its grid), and of 3 that the
        # first frame's noise is not moved. It leaves out 2, the fixed seed, and so 3's restart
        # after 301 frames; the others are no part of the method: 7 (RAFT's weights and upsampling),
        # 8 (order of resizing), 9 to 15 (data, training, other baselines).
        "code": {"warp": "forward", "core": 1.0, "spread": "above"},
    }

    def __init__(
        self,
        *,
        noise: Literal["motion", "iid"] = "motion",
        warp: Literal["cumulative", "first", "forward"] = "cumulative",
        sampling: Literal["nearest", "bilinear"] = "nearest",
        flow: Literal["dis", "raft"] = "dis",
        flow_weights: str | None = None,
        core: Share = 0.6,
        mean: tuple[UnitInterval, UnitInterval, UnitInterval] = (0.485, 0.456, 0.406),
        std: tuple[UnitInterval, UnitInterval, UnitInterval] = (0.229, 0.224, 0.225),
        spread: Literal["both", "above"] = "both",
        gait_jitter: Annotated[float, at_least(0, 100)] = 0.0,
        key: str | None = None,
    ) -> None:
        super().__init__()
        if gait_jitter and (noise == "iid" or warp != "cumulative"):
            raise UsageError("gait_jitter needs moving noise: use it with --warp cumulative.")
        if key in ("", RECORDED_KEY):
            raise UsageError("a file never contains the key; give your own secret with --key.")
        self.noise, self.warp, self.sampling = noise, warp, sampling
        self.flow, self.flow_weights = flow, flow_weights
        self.core, self.mean, self.std, self.spread = core, tuple(mean), tuple(std), spread
        self.gait_jitter, self.hides_beyond = gait_jitter, gait_jitter > 0
        self.raft: Raft | None = load_raft(flow_weights) if flow == "raft" else None
        self.key = None if key is None else RECORDED_KEY
        self._secret = None if key is None else derive_key(key)
        self.needs_source_digest = key is not None

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Secret:
        """The key of a new video's noise.

        A user's `key` needs a digest besides, of the source and of all that makes its mask.
        """
        if seed is not None and self.needs_source_digest:
            raise UsageError("give a key or a seed, not both.")
        if seed is not None:
            return Secret(hashlib.sha256(f"masquerade seed {seed}".encode()).digest())
        if self._secret is None:
            return Secret(secrets.token_bytes(32))
        if not source:
            raise UsageError(
                "a key needs a digest of the source: call init_state(source=digest) first."
            )
        # Two mixtures with one noise are two equations, which give the picture.
        colours = (float(value) for value in (*self.mean, *self.std))
        kind = self.noise, self.warp, self.sampling, self.flow, self.spread
        mixture = repr((*kind, float(self.core), float(self.gait_jitter), *colours))
        own = hmac.digest(self._secret, source, "sha256")
        return Secret(hmac.digest(own, mixture.encode(), "sha256"))

    def detach_state(self, state: Any) -> tuple[NoiseState, ...]:
        nothing = np.empty((0, 0), np.uint8)
        return tuple(video._replace(before=nothing, thumbnail=None) for video in _states(state, 1))

    def attach_state(self, state: tuple[NoiseState, ...], before: Pixels) -> tuple[NoiseState, ...]:
        top = np.iinfo(before.dtype).max
        # rounded as in `forward`
        now, small = self._seen((before.astype(np.float32) / top * 255).round().astype(np.uint8))
        return tuple(video._replace(before=now, thumbnail=small) for video in state)

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        states = _states(self.init_state() if state is None else state, len(clip))
        strength = (
            clip.new_ones(clip[:, :1].shape) if mask is None else (mask / self.core).clamp(max=1)
        )
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
                noise[b, :, t, *drawn.part] = levels[values, torch.arange(3)].movedim(-1, 0)
                if drawn.extra is not None:
                    extra = torch.tensor(drawn.extra, device=clip.device) > 0
                    strength[b, 0, t, *drawn.part].masked_fill_(extra, 1)
            states[b] = state
        return Anonymized(clip.lerp(noise, strength), strength, tuple(states))  # eq. 5

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        (state,) = _states(self.init_state() if state is None else state, 1)
        table = (self.levels() * 255).round().astype(np.uint8)[None]  # (1, 256, 3)
        strength = self.strengths()
        out = frames.copy()
        for t, frame in enumerate(frames):
            if mask is None:
                hidden = np.full(frame.shape[:2], 255, np.uint8)
            else:  # a quarter of the time of strength[mask[t]]
                hidden = np.asarray(cv2.LUT(mask[t], strength), np.uint8)
            drawn, state = self._draw(state, frame, hidden)
            if drawn is not None:
                part, over = drawn.part, hidden[drawn.part]
                if drawn.extra is not None:
                    over = cv2.max(over, drawn.extra)
                noise = np.asarray(cv2.LUT(drawn.noise, table), np.uint8)
                out[t][part] = blend_bytes(frame[part], noise, np.asarray(over, np.uint8))
        return out, (state,)

    def strengths(self) -> U8:
        """(256,): how much of a pixel is noise, of 255, at each byte of a mask."""
        return np.minimum(np.arange(256) / self.core, 255).round().astype(np.uint8)

    def levels(self) -> F32:
        """(256, 3): the noise value in [0, 1] of each byte (eq. 3)."""
        mean, std = np.array(self.mean), np.array(self.std)
        share = (np.arange(256)[:, None] + 0.5) / 256  # uniform in [0, 1]
        if self.spread == "both":
            share = 2 * share - 1
        return (mean + std * share).clip(0, 1).astype(np.float32)

    def _draw(self, state: NoiseState, frame: U8, mask: U8) -> tuple[FrameNoise | None, NoiseState]:
        """The noise of one frame where its mask (H, W) is not 0, and the next state."""
        if self.noise == "iid":
            part = bounds(mask, step=BLOCK)
            drawn = part and FrameNoise(part, state.draw("new", *mask[part].shape), None)
            return drawn, state._replace(frame=state.frame + 1)
        now, small = self._seen(frame)
        height, width = mask.shape
        same_size = state.before.shape == now.shape
        if not same_size or is_cut(state.thumbnail, small):
            field = new_field(state.draw("new", height, width))
            state = state._replace(field=field, before=now, history=gait_jitter.History())
        drawn, state = self._move(state, now, mask)
        return drawn, state._replace(frame=state.frame + 1, before=now, thumbnail=small)

    def _seen(self, frame: U8) -> tuple[U8, U8]:
        """What is remembered of a frame (H, W, 3): as the flow takes it, and its thumbnail."""
        return frame if self.raft else grey(frame), thumbnail(frame)

    def _move(self, state: NoiseState, now: U8, mask: U8) -> tuple[FrameNoise | None, NoiseState]:
        """The noise moved to the present frame, and the next state."""
        part, extra = bounds(mask, step=BLOCK), None
        flow = None if part is None else self._flow(state, now, part)
        if self.gait_jitter:
            key, frame, strength = state.key, state.frame, self.gait_jitter
            outline = np.where(mask == 255, mask, 0)
            history = gait_jitter.push(state.history, flow, part, outline, strength)
            state = state._replace(history=history)
            extra = gait_jitter.widen_outline(history, key, frame, strength)
            part = bounds(np.maximum(mask, extra), step=BLOCK)
            if part is not None:
                flow = gait_jitter.perturb_flow(history, part, key, frame, strength)
        if part is None or flow is None:
            return None, state
        if self.warp == "cumulative":
            field = advect(state.field, part, flow, partial(state.draw, "fresh"))
            drawn = FrameNoise(part, field.noise[part], None if extra is None else extra[part])
            return drawn, state._replace(field=field)
        noise = state.field.noise
        if self.warp == "first":  # eq. 4 as printed: N(p, t) = N(p + v(p, t), 1)
            noise = warp_once(noise, part, flow, self.sampling)
        else:
            noise = warp_forward(noise, part, flow) if state.frame else noise[part]
        return FrameNoise(part, noise, None), state

    def _flow(self, state: NoiseState, now: U8, part: Part) -> F32:
        """Optical flow of one part of the frame, computed with a margin around it: (h, w, 2)."""
        crop, inside = [], []
        for side, length in zip(part, now.shape[:2], strict=True):
            low = max(0, side.start - FLOW_MARGIN)
            high = min(length, side.stop + FLOW_MARGIN)
            lacking = max(0, MIN_SIDE - (high - low))  # at an edge of the frame; else flow is 0
            low = max(0, low - lacking)
            crop.append(slice(low, high + lacking))
            inside.append(slice(side.start - low, side.stop - low))
        pair = (state.before, now) if self.warp == "forward" else (now, state.before)
        estimate = self.raft.flow if self.raft else dis_flow
        return estimate(pair[0][*crop], pair[1][*crop])[*inside]


def _states(state: Any, batch: int) -> list[NoiseState]:
    """One state per clip, from a video's key or from the last window."""
    if isinstance(state, bytes):
        at = [bytes([b]) if b < 256 else b.to_bytes(4) for b in range(batch)]
        return [NoiseState(key=Secret(bytes(state) + number)) for number in at]
    return list(state)
