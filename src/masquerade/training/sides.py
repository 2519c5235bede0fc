"""The two sides of a game: clips whose action is to stay, and what of them is to go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from masquerade.datasets.augmentation import NONE, SPACT, Augmentation, augment
from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset
from masquerade.training.game import Game
from masquerade.training.losses import as_codes
from masquerade.training.objectives import Pairs
from masquerade.training.pairs import Gap, frame_pairs
from masquerade.training.ranks import Ranks
from masquerade.training.steps import batches, mixed
from masquerade.training.views import windows

Codes = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a game is played on. Test clips have no business here.

    Args:
        train: clips to learn from.
        validation: clips that end phases and show collapse.
        targets: codes by label, one a row of the manifest that the clips came from; -1: unknown.
        utility: outputs by label of what is to stay.
        private: outputs by label of what is to go; empty where no adversary needs labels.
        stills: a second data set, whose labels are `still_targets`: then the adversary sees these
            and the utility `train` (UCF101 with VISPR). Each is given as two views of itself.
        still_validation: of the second data set.
        still_targets: codes by private label of its rows.
        apart: frames of the same videos as `train`, from which a `Gap` takes its pairs.
        apart_validation: of the same as `validation`.
    """

    train: ClipDataset
    validation: ClipDataset
    targets: Mapping[str, IntArray]
    utility: Mapping[str, int]
    private: Mapping[str, int] = field(default_factory=dict)
    stills: ClipDataset | None = None
    still_validation: ClipDataset | None = None
    still_targets: Mapping[str, IntArray] = field(default_factory=dict)
    apart: ClipDataset | None = None
    apart_validation: ClipDataset | None = None

    def __post_init__(self) -> None:
        if len(self.train) < 2 or len(self.validation) < 2:
            raise UsageError("A game needs at least two clips to learn from and two held out.")
        if (self.stills is None) != (self.still_validation is None):
            raise UsageError("A second data set needs clips to learn from and clips held out.")
        pairs = ((self.apart, self.train), (self.apart_validation, self.validation))
        if any(a is not None and not np.array_equal(a.rows, clips.rows) for a, clips in pairs):
            raise UsageError("Pairs are of other videos than the clips.")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The clips of one step.

    Args:
        clips: (B, 3, T, H, W) in [0, 1].
        utility: codes by label.
        private: codes by label, of `stills` where there are any.
        stills: (B', 3, 2, h, w), two views of each, or two frames of each video that lie apart;
            None: `clips` serve both sides.
    """

    clips: Tensor
    utility: Codes
    private: Codes
    stills: Tensor | None = None


class Feed:
    """Batches of a game, the same for a seed however often it is stopped.

    Args:
        data: both sides.
        batch: clips a step, over all processes.
        least: steps an epoch, at least: few clips come round several times.
        stills: of the second data set a step.
        gap: between two frames of a pair, where the data has frames for that; None: any.
        frames: T that networks see, a window of longer clips; None: all.
        augment: of training clips.
        still_augment: of the two views of a picture of the second data set; None: `augment`.
        seed: of order and augmentation.
        ranks: the processes.
        device: where batches go.
    """

    def __init__(
        self,
        data: Data,
        *,
        batch: int,
        least: int = 1,
        stills: int,
        gap: Gap | None = None,
        frames: int | None,
        augment: Augmentation,
        still_augment: Augmentation | None = None,
        seed: int,
        ranks: Ranks,
        device: torch.device,
    ) -> None:
        self.data, self.batch, self.stills, self.frames = data, batch, stills, frames
        self.augment, self.seed, self.ranks, self.device = augment, seed, ranks, device
        self.gap = gap
        self.still_augment = still_augment or augment
        own = data.targets if data.stills is None else data.still_targets
        self.codes = {
            part: (
                as_codes(data.targets, clips.rows, data.utility),
                as_codes(own, aside.rows, data.private),
            )
            for part, clips, aside in self._parts()
        }
        lap = -(-len(data.train) // batch)
        self.laps = -(-least // lap)
        self.steps = self.laps * lap

    def learned(self, epoch: int, draw: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch.

        Args:
            epoch: counted from 0.
            draw: of windows and augmentation.
        """
        data, aside = self.data, self._stills(epoch)
        for picked in self._order(epoch):
            clips = self._changed(data.train, picked, draw)
            utility, private = self.codes["train"]
            if data.stills is None:
                two = self._apart(data.apart, picked, draw)
                if two is not None:
                    two = augment(two.to(self.device), self.augment, draw)
                yield self._batch(clips, _at(utility, picked), _at(private, picked), two)
                continue
            also = next(aside)
            views = [self._changed(data.stills, also, draw) for _ in range(2)]
            two = torch.cat([view[:, :, :1] for view in views], dim=2)
            yield self._batch(clips, _at(utility, picked), _at(private, also), two)

    def held_out(self) -> Iterator[Batch]:
        """Validation clips as they are, in order; of pairs the same draws every time.

        Pictures of a second data set come as two views, changed as those that are learned from:
        one beside itself would be found again by whoever sees next to nothing.
        """
        data, draw = self.data, torch.Generator().manual_seed(mixed(self.seed, 9))
        aside = data.still_validation
        utility, private = self.codes["validation"]
        for at, picked in enumerate(torch.split(torch.arange(len(data.validation)), self.batch)):
            clips = self._seen(data.validation.batch(picked))
            if aside is None:
                two = self._apart(data.apart_validation, picked, draw)
                two = None if two is None else two.to(self.device).float() / 255
                yield self._batch(clips, _at(utility, picked), _at(private, picked), two)
                continue
            count = min(self.stills, len(aside))  # none twice: it would be its own negative
            also = (at * count + torch.arange(count)) % len(aside)
            views = [self._changed(aside, also, draw)[:, :, :1] for _ in range(2)]
            yield self._batch(clips, _at(utility, picked), _at(private, also), torch.cat(views, 2))

    def glance(self, draw: torch.Generator) -> Batch:
        """Some validation clips, of which a turn's gate is read off."""
        data = self.data
        picked = torch.randint(len(data.validation), (self.batch,), generator=draw)
        clips = self._seen(data.validation.batch(picked))
        return self._batch(clips, _at(self.codes["validation"][0], picked), {})

    def _apart(
        self, store: ClipDataset | None, picked: Tensor, draw: torch.Generator
    ) -> Tensor | None:
        """(B, 3, 2, H, W) uint8, two frames of each video that lie as far apart as is asked."""
        if store is None:
            return None
        return torch.cat(frame_pairs(store.batch(picked), draw, self.gap), dim=2)

    def _order(self, epoch: int) -> Iterator[Tensor]:
        """Rows of the first data set, as often as an epoch wants."""
        for lap in range(self.laps):
            seed = mixed(self.seed, 8, lap) if lap else self.seed
            yield from batches(
                len(self.data.train), self.batch, seed=seed, epoch=epoch, ranks=self.ranks
            )

    def _parts(self) -> list[tuple[str, ClipDataset, ClipDataset]]:
        data = self.data
        return [
            ("train", data.train, data.stills or data.train),
            ("validation", data.validation, data.still_validation or data.validation),
        ]

    def _stills(self, epoch: int) -> Iterator[Tensor]:
        """Rows of the second data set, anew from the start as often as the first one needs."""
        lap = 0
        while self.data.stills is not None:
            seed = mixed(self.seed, 7, lap)
            yield from batches(
                len(self.data.stills), self.stills, seed=seed, epoch=epoch, ranks=self.ranks
            )
            lap += 1

    def _changed(self, store: ClipDataset, picked: Tensor, draw: torch.Generator) -> Tensor:
        clips, how = store.batch(picked), self.still_augment
        if store is self.data.train:
            clips, how = windows(clips, self.frames, draw), self.augment
        return augment(clips.to(self.device, non_blocking=True), how, draw)

    def _seen(self, clips: Tensor) -> Tensor:
        if self.frames is not None and clips.shape[2] > self.frames:
            first = (clips.shape[2] - self.frames) // 2
            clips = clips[:, :, first : first + self.frames]
        return clips.to(self.device).float() / 255

    def _batch(
        self, clips: Tensor, utility: Codes, private: Codes, stills: Tensor | None = None
    ) -> Batch:
        return Batch(
            clips=clips,
            utility={name: code.to(self.device) for name, code in utility.items()},
            private={name: code.to(self.device) for name, code in private.items()},
            stills=stills,
        )


def feed_of(game: Game, data: Data, *, seed: int, ranks: Ranks, device: torch.device) -> Feed:
    """The batches that a recipe wants.

    Args:
        game: the recipe.
        data: both sides.
        seed: of order and augmentation.
        ranks: the processes.
        device: where batches go.
    """
    pairs = any(isinstance(one.objective, Pairs) for one in game.adversaries)
    return Feed(
        data,
        batch=game.batch,
        least=game.steps,
        stills=game.stills,
        gap=game.gap,
        frames=game.frames,
        augment=game.augment,
        # A picture beside itself is a pair that is found by whoever sees next to nothing.
        still_augment=SPACT if pairs and game.augment == NONE else None,
        seed=seed,
        ranks=ranks,
        device=device,
    )


def majority(codes: Tensor) -> float:
    """The share of the most frequent answer, which who sees nothing gets; 1 of none."""
    known = codes[codes >= 0].numpy()
    return float(np.bincount(known).max() / len(known)) if len(known) else 1.0


def _at(codes: Codes, picked: Tensor) -> dict[str, Tensor]:
    return {name: code[picked] for name, code in codes.items()}
