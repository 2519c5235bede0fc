"""The base class of methods that replace people by what is drawn from their poses."""

import secrets
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, People, Person, Pixels
from masquerade.arrays import U8
from masquerade.methods.ground import Background, drawn_floor, paint_out
from masquerade.methods.pose_filter import FilterState, Posed, filter_poses

Ground = Literal["floor", "black", "scene"]


class VideoState(NamedTuple):
    """State of one video: the pose filter's and, with `ground="scene"`, the background so far."""

    poses: FilterState
    background: Background | None = None


class DrawnPeople(Anonymizer):
    """Draw people by their poses on a ground; a subclass draws them in `_draw`.

    Args:
        ground: `floor` (drawn), `black`, or `scene` (what was filmed, people painted out).
        jitter: frames by which poses are late at most, see `filter_poses`.
    """

    needs_people = True
    export_refusal = "it draws figures from lists of people and their poses, which are no tensors"

    def __init__(self, *, ground: Ground, jitter: int = 0) -> None:
        super().__init__()
        self.ground, self.jitter = ground, jitter
        # The class says what is true of its default; a scene that is kept is not its regions alone.
        self.regions_only = ground != "scene"
        self.resumable = ground != "scene"  # whose state is a picture of the scene
        self.removed_channels = ("appearance", *(("place",) if self.regions_only else ()))

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Any:
        key = secrets.randbits(63) if seed is None else seed
        return VideoState(FilterState(key))

    def forward(
        self,
        clip: Tensor,
        *,
        mask: Tensor | None = None,
        people: Sequence[People] | None = None,
        state: Any = None,
    ) -> Anonymized:
        batch, frames = clip.shape[0], clip.shape[2]
        nobody: People = [()] * frames
        states = _states(self.init_state() if state is None else state, batch)
        out, after = torch.empty_like(clip), []
        for b in range(batch):
            now = states[b]
            for t in range(frames):
                pixels = _to_bytes(clip[b, :, t])
                covered = None if mask is None else _to_bytes(mask[b, :, t])[..., 0]
                present = (nobody if people is None else people[b])[t]
                canvas, now = self._frame(pixels, covered, present, now)
                drawn = torch.from_numpy(canvas).to(clip).permute(2, 0, 1) / 255
                if not self.regions_only and covered is not None:
                    # Not what was covered and looks the same in bytes: it may differ in less.
                    same = torch.from_numpy((canvas == pixels).all(-1) & (covered == 0))
                    same = same.to(clip.device)
                    drawn = torch.where(same, clip[b, :, t], drawn)
                out[b, :, t] = drawn
            after.append(now)
        return Anonymized(out, None if self.regions_only else mask, tuple(after))

    def on_pixels(
        self,
        frames: Pixels,
        *,
        mask: U8 | None = None,
        people: People | None = None,
        state: Any = None,
    ) -> tuple[Pixels, Any]:
        if frames.dtype != np.uint8:
            return super().on_pixels(frames, mask=mask, people=people, state=state)
        (now,) = _states(self.init_state() if state is None else state, 1)
        out = np.empty(frames.shape, np.uint8)
        for t, pixels in enumerate(np.ascontiguousarray(frames, np.uint8)):  # as OpenCV draws in
            covered = None if mask is None else mask[t]
            out[t], now = self._frame(pixels, covered, people[t] if people else (), now)
        return out, (now,)

    def _frame(
        self, pixels: U8, mask: U8 | None, people: Sequence[Person], state: VideoState
    ) -> tuple[U8, VideoState]:
        background = state.background
        if self.ground == "scene" and mask is not None:
            canvas, background = paint_out(pixels, (mask > 0).astype(np.uint8) * 255, background)
        elif self.ground == "floor":
            canvas = drawn_floor(*pixels.shape[:2])
        else:
            canvas = np.zeros_like(pixels)
        posed, poses = filter_poses(people, state.poses, jitter=self.jitter)
        for person in posed:
            if person.opacity < 1:
                layer = canvas.copy()
                self._draw(layer, [person])
                cv2.addWeighted(layer, person.opacity, canvas, 1 - person.opacity, 0, dst=canvas)
        self._draw(canvas, [person for person in posed if person.opacity == 1])
        return canvas, VideoState(poses, background)

    def drawn_joints(
        self, people: Sequence[Person], state: VideoState
    ) -> tuple[list[Person], VideoState]:
        """The joints of one frame's people as they are drawn, smoothed and late as these are.

        It is what somebody reads off the drawing without an error: landmarks that are not drawn
        have no visibility, and what the drawing does not tell is 0.

        Args:
            people: who was found in the frame.
            state: after the frame before; `init_state` before the first.
        """
        posed, poses = filter_poses(people, state.poses, jitter=self.jitter)
        return [self._joints(person) for person in posed], state._replace(poses=poses)

    def _joints(self, posed: Posed) -> Person:
        """The joints of one person as they are drawn."""
        raise NotImplementedError

    def _draw(self, canvas: U8, people: Sequence[Posed]) -> None:
        """Draw people into RGB (H, W, 3)."""
        raise NotImplementedError


def _to_bytes(picture: Tensor) -> U8:
    """(C, H, W) in [0, 1] to (H, W, C)."""
    levels = (picture * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())


def _states(state: Any, batch: int) -> tuple[VideoState, ...]:
    """One state for each clip; the clips of a batch begin with the same."""
    return (state,) * batch if isinstance(state, VideoState) else tuple(state)
