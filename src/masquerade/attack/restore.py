"""Train a network on pairs of published and raw video, and restore what it has not seen.

An attacker who has the method makes such pairs of own videos. Here the pairs are the auditor's: the
network that restores a video has learned from those of other raw videos (or, where there is one raw
video, from the first half of its frames), so that nothing it shows was shown to it. It sees small
patches, and cannot learn where in the frame something stands.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.arrays import U8
from masquerade.attack.finders import NAMES, UNCHANGED_LEVELS, Finders, Kind, at_size, crop
from masquerade.attack.finding import Finding, Proof, surest
from masquerade.attack.restored_detections import FrameComparison, RestoredDetections
from masquerade.metrics.picture_quality import MOST_PSNR, psnr, ssim
from masquerade.models.restoration_net import RestorationNet
from masquerade.regions.boxes import Box
from masquerade.training.restoration import RestorationConfig, fit_restoration, restore_frames

Flags = NDArray[np.bool_]

PATCHES, SIDE = 2000, 64  # that a network learns from, and their pixels a side
STEPS, BATCH = 300, 16  # of its training: under a minute on one core
SEED = 0  # of patches and of training: the same videos give the same finding
NETWORKS = 3  # trained at most, however many raw videos there are
LEARNED_FRAMES = 24  # of a video that patches are cut from
RESTORED_FRAMES = 12  # of a video that are restored
LEAST_HIDDEN = 200  # pixels of a frame, below which it is not restored: of a face of 10 x 10
NEAR = 15  # pixels a side over which differences are averaged
GAIN = 1.5  # decibels by which a restored picture must be nearer than published, and than a guess
SMALL = 160  # pixels of the longer side of the frame on which surroundings are continued


@dataclass(frozen=True, kw_only=True, eq=False)
class FramePair:
    """A frame to learn restoration from, (H, W, 3): published, mean of its neighbours, and raw."""

    published: U8
    around: U8
    raw: U8

    @classmethod
    def of_window(cls, frames: Sequence[U8], at: int, raw: U8) -> "FramePair":
        """The pair of one frame among its neighbours."""
        around = np.mean(frames, axis=0).round().astype(np.uint8)
        published = frames[at]
        raw = at_size(raw, (published.shape[1], published.shape[0]))
        return cls(published=published, around=around, raw=raw)

    @property
    def hidden(self) -> Flags:
        """(H, W), where published and raw differ."""
        differs = cv2.absdiff(self.published, self.raw).astype(np.float32).mean(axis=2)
        return np.asarray(cv2.blur(differs, (NEAR, NEAR)) > UNCHANGED_LEVELS)

    def tensor(self) -> Tensor:
        """(9, H, W) in bytes: published, around, raw."""
        whole = np.concatenate([self.published, self.around, self.raw], axis=2)
        return torch.from_numpy(whole).permute(2, 0, 1)


def cut_patches(pairs: Iterable[FramePair], count: int) -> Tensor:
    """(n, 9, 64, 64) in bytes, about so many of each pair; most show something that is hidden."""
    rng = np.random.default_rng(SEED)
    cut = []
    for pair in pairs:
        height, width = pair.raw.shape[:2]
        if min(height, width) < SIDE:
            continue
        whole, (rows, columns) = pair.tensor(), np.nonzero(pair.hidden)
        for number in range(count):
            y, x = rng.integers(height), rng.integers(width)
            if len(rows) and number % 4:
                pixel = rng.integers(len(rows))
                y, x = rows[pixel], columns[pixel]
            top = int(np.clip(y - rng.integers(SIDE), 0, height - SIDE))
            left = int(np.clip(x - rng.integers(SIDE), 0, width - SIDE))
            cut.append(whole[:, top : top + SIDE, left : left + SIDE].clone())
    return torch.stack(cut) if cut else torch.zeros(0, 9, SIDE, SIDE, dtype=torch.uint8)


def fit_on_patches(patches: Tensor) -> RestorationNet:
    """Train a network on patches (n, 9, 64, 64)."""

    def sample(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch = patches[torch.randint(len(patches), (BATCH,), generator=generator)].float() / 255
        return batch[:, :6], batch[:, 6:]

    return fit_restoration(sample, config=RestorationConfig(steps=STEPS), seed=SEED)


@dataclass(eq=False)
class Restoration:
    """What a network restored of one video's frames, beside the raw ones.

    Args:
        net: trained without these frames; None: there was nothing to learn from.
        learned: what it learned from, in words.
        first: number of the first frame that it may restore.
        hidden: what the publisher means to hide.
    """

    net: RestorationNet | None
    learned: str
    first: int = 0
    hidden: frozenset[Kind] = frozenset(("face",))
    _before: list[tuple[float, float, float]] = field(default_factory=list)  # see `_measure`
    _after: list[tuple[float, float]] = field(default_factory=list)
    _pictures: list[Proof] = field(default_factory=list)
    _looked: int = 0
    _left_out: int = 0  # frames in which too little is hidden

    def __post_init__(self) -> None:
        self._again = RestoredDetections(hidden=self.hidden)

    def restore_frame(self, number: int, pair: FramePair, finders: Finders) -> None:
        """Restore a published frame by the network, measure how near it is to raw, and search it.

        `finders` are of what is looked for in it.
        """
        if self.net is None or number < self.first:
            return
        hidden = pair.hidden
        if hidden.sum() < LEAST_HIDDEN:
            self._left_out += 1
            return
        self._looked += 1
        inputs = pair.tensor()[None, :6].float() / 255
        restored = restore_frames(self.net, inputs)[0].permute(1, 2, 0).numpy()
        restored = np.where(hidden[..., None], restored, pair.published)
        published = psnr(pair.published[hidden], pair.raw[hidden])
        guessed = max(psnr(guess[hidden], pair.raw[hidden]) for guess in _guesses(pair.raw, hidden))
        self._before.append((published, guessed, ssim(pair.published, pair.raw)))
        after = psnr(restored[hidden], pair.raw[hidden]), ssim(restored, pair.raw)
        self._after.append(after)
        comparison = FrameComparison(number, pair.published, finders, raw=pair.raw)
        self._again.detect(comparison, "", restored, finders.kinds)
        says = f"restored beside raw, {after[0]:.1f} dB where it was hidden"
        box = _bounds(hidden)
        self._pictures.append(
            Proof(
                frame=number,
                score=min(1.0, max(0.0, after[0] / MOST_PSNR)),
                says=says,
                picture=_beside(restored, pair.raw, box),
                parts=2,
            )
        )

    def finding(self) -> Finding:
        """What was restored in all frames that were looked at."""
        work = f"{self._looked} frames restored by a network of {STEPS} steps; {self.learned}"
        if self._left_out:
            work += f"; {self._left_out} left out, with fewer than {LEAST_HIDDEN} pixels hidden"
        if self.net is None or not self._looked:
            why = "no frame that it may restore was looked at: --frames takes more of them"
            if self.net is None:
                why = self.learned
            elif self._left_out:
                why = f"fewer than {LEAST_HIDDEN} pixels of these frames are hidden"
            return Finding(
                attack="restore",
                level="nothing",
                says=f"No network was asked to restore frames: {why}.",
                work=work,
            )
        before = np.mean([measured[:2] for measured in self._before], axis=0)  # published, guessed
        after = float(np.mean([measured[0] for measured in self._after]))
        alike = (
            np.mean([measured[2] for measured in self._before]),
            np.mean([measured[1] for measured in self._after]),
        )
        seen, frames = self._again.counted(), self._again.frames()
        nearer = after >= max(before) + GAIN
        says = f"Where something was hidden, a network came from {before[0]:.1f} to {after:.1f} dB "
        says += f"of the raw picture (who sees nothing there guesses {before[1]:.1f}), and the "
        says += f"frames' SSIM from {alike[0]:.2f} to {alike[1]:.2f}"
        if seen:
            names = " and ".join(NAMES[kind] for kind in seen)
            verb = "is" if list(seen) == ["text"] else "are"
            says += f"; {names} {verb} seen again in {len(frames)} of {self._looked} frames"
        else:
            says += f"; in none of {self._looked} frames is anything seen again that is looked for"
        says += self._again.meaning()
        pictures = tuple(surest(self._pictures))
        proofs = self._again.proofs() if seen else pictures if nearer else ()
        return Finding(
            attack="restore",
            level="recovered" if nearer else self._again.level(),
            says=f"{says}.",
            work=f"{work}; recovered: {GAIN:g} dB nearer than the published picture and than the "
            "mean colour and the surroundings continued, or what is seen again; "
            f"{self._again.rule()}",
            frames=frames or tuple(sorted(proof.frame for proof in proofs)),
            proofs=proofs,
        )


def _guesses(raw: U8, hidden: Flags) -> list[U8]:
    """What is guessed without seeing what is hidden: its mean colour, its surroundings continued.

    The first is more than an attacker knows.
    """
    mean = np.where(hidden[..., None], raw[hidden].mean(axis=0).round(), raw).astype(np.uint8)
    if hidden.all():
        return [mean]
    height, width = hidden.shape
    scale = min(1.0, SMALL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(mean, size, interpolation=cv2.INTER_AREA)
    covered = cv2.resize(hidden.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    filled = cv2.inpaint(small, covered.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return [mean, np.where(hidden[..., None], large, raw).astype(np.uint8)]


def _bounds(hidden: Flags) -> Box:
    """The box of all that is hidden."""
    x, y, width, height = cv2.boundingRect(hidden.astype(np.uint8))
    return Box(x, y, x + width, y + height, score=1.0)


def _beside(restored: U8, raw: U8, box: Box) -> U8:
    """The restored part of a frame on the left, the raw one on the right."""
    return np.ascontiguousarray(np.hstack([crop(restored, box), crop(raw, box)]), np.uint8)
