"""The clips and labels of an adversarial training, and its batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, repeat

import numpy as np
import torch
from torch import Tensor

from masquerade.datasets.augmentation import NONE, SPACT, augment
from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.methods import METHODS
from masquerade.training.batch_share import WHOLE_BATCH, BatchShare
from masquerade.training.distributed import Processes, epoch_batches
from masquerade.training.frame_pairs import frame_pairs, segment_pairs
from masquerade.training.label_losses import Codes, codes_by_head
from masquerade.training.objectives import Pairs, count_labels
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.seeds import Stream, derive_seed
from masquerade.training.views import random_windows, window_starts


@dataclass(frozen=True, kw_only=True)
class AdversarialData:
    """What an adversarial training learns from. Never give test clips."""

    train: ClipDataset
    validation: ClipDataset  # ends phases and shows collapse
    targets: Mapping[str, IntArray]  # codes by label, one a row of the manifest; -1: unknown
    utility: Mapping[str, int]  # outputs by label that must stay readable
    private: Mapping[str, int] = field(default_factory=dict)  # outputs by label to hide
    # A second data set, such as pictures, for the adversary, which then has its labels (UCF101 with
    # VISPR): each is given as two views of itself, or as one to adversaries that learn labels.
    stills: ClipDataset | None = None
    still_validation: ClipDataset | None = None
    still_targets: Mapping[str, IntArray] = field(default_factory=dict)
    # Frames of the same videos, from which a `Gap` takes its pairs.
    pairs: ClipDataset | None = None
    pair_validation: ClipDataset | None = None

    def __post_init__(self) -> None:
        if len(self.train) < 2 or len(self.validation) < 2:
            raise UsageError("Adversarial training needs at least two clips and two held out.")
        if (self.stills is None) != (self.still_validation is None):
            raise UsageError("A second data set needs clips to learn from and clips held out.")
        pairs = ((self.pairs, self.train), (self.pair_validation, self.validation))
        if any(a is not None and not np.array_equal(a.rows, clips.rows) for a, clips in pairs):
            raise UsageError(
                "pairs must be of the same rows of the manifest as the clips, in the same order."
            )

    @property
    def datasets(self) -> list[ClipDataset]:
        """All that there are, in a fixed order."""
        datasets = [self.train, self.validation, self.stills, self.still_validation]
        datasets += [self.pairs, self.pair_validation]
        return [dataset for dataset in datasets if dataset is not None]


@dataclass(frozen=True, kw_only=True)
class AdversarialBatch:
    """The clips (B, 3, T, H, W) of one step, in [0, 1], and their codes by label.

    Adversaries are given `stills` in place of `clips`, where there are any: (B', 3, 2, h, w), two
    views of each picture or two frames of each video with a gap between them; of adversaries that
    learn labels one view, (B', 3, 1, h, w). With `halves` the first and the second half of their
    frames are a pair. `private` are the codes of `stills`, or where there are none, of `clips`.
    """

    clips: Tensor
    utility: Codes
    private: Codes
    stills: Tensor | None = None
    share: BatchShare = WHOLE_BATCH  # which rows of all processes' batch these are
    still_share: BatchShare = WHOLE_BATCH
    halves: bool = False
    chances: Sequence[float] = ()  # by adversary, `Objective.chance_loss`; none: unknown


class AdversarialBatches:
    """The batches of an adversarial training; resumed, it gets the same ones of a seed."""

    def __init__(
        self, recipe: AdversarialRecipe, data: AdversarialData, *, seed: int, processes: Processes
    ) -> None:
        self.recipe, self.data, self.seed = recipe, data, seed
        self.processes, self.device = processes, processes.device
        # Two identical views of a picture would make the contrastive task trivial.
        contrastive = any(
            isinstance(adversary.objective, Pairs) for adversary in recipe.adversaries
        )
        self.halves = data.stills is None and METHODS[recipe.method].framewise
        self.halves &= any(
            isinstance(adversary.objective, Pairs) and adversary.objective.segments
            for adversary in recipe.adversaries
        )
        labelled = all(adversary.objective.needs_labels for adversary in recipe.adversaries)
        self.still_views = 1 if labelled else 2
        plain = contrastive and recipe.augment == NONE
        self.still_augment = SPACT if plain else recipe.augment
        own = data.targets if data.stills is None else data.still_targets
        self.codes = {}  # by part: of the utility's labels, and of private ones
        for part, clips, labelled_clips in (
            ("train", data.train, data.stills or data.train),
            ("validation", data.validation, data.still_validation or data.validation),
        ):
            utility = codes_by_head(data.targets, clips.rows, data.utility)
            self.codes[part] = utility, codes_by_head(own, labelled_clips.rows, data.private)
        private = self.codes["train"][1]
        self.seen = {name: count_labels(codes) for name, codes in private.items()}
        steps = -(-len(data.train) // recipe.batch)
        self.laps = -(-recipe.min_steps // steps)
        self.steps = self.laps * steps

    def training(self, epoch: int, generator: torch.Generator) -> Iterator[AdversarialBatch]:
        """Yield the batches of one epoch, counted from 0."""
        data, whole_order = self.data, list(self._order(epoch))
        whole_still_order = list(islice(self._still_order(epoch), len(whole_order))) or whole_order
        shares, still_shares = self._shares(whole_order), self._shares(whole_still_order)
        order = [share.take(rows) for share, rows in zip(shares, whole_order, strict=True)]
        still_order = [
            share.take(rows) for share, rows in zip(still_shares, whole_still_order, strict=True)
        ]
        loaded = zip(
            self._windows(order, shares, generator),
            _load(data.stills or data.pairs, still_order),
            strict=False,
        )
        for step, (clips, stored) in enumerate(loaded):
            share, still_share = shares[step], still_shares[step]
            with share.draws():
                clips = clips.to(self.device, non_blocking=True)
                runs = segment_pairs(clips, generator) if self.halves else ()
                clips = augment(clips, self.recipe.augment, generator)
            with still_share.draws():
                stills = self._stills(stored, generator, augmented=True)
                if runs:  # each by its own draw, as two frames
                    augmented = [augment(run, self.recipe.augment, generator) for run in runs]
                    stills = torch.cat(augmented, dim=2)
            batch = self._batch(clips, "train", order[step], still_order[step], stills)
            chances = self._chances(whole_still_order[step])
            yield replace(
                batch, share=share, still_share=still_share, halves=self.halves, chances=chances
            )

    def _windows(
        self, order: Sequence[Tensor], shares: Sequence[BatchShare], generator: torch.Generator
    ) -> Iterator[Tensor]:
        """Random windows of the training clips of each batch; nothing else of stored ones is read.

        Eight windows of 16 frames are stored of each video for the papers' recipes.
        """
        train, frames = self.data.train, self.recipe.frames
        if train.workers or train.shape[1] == frames:  # workers read whole clips ahead
            for share, clips in zip(shares, clip_loader(train, order), strict=True):
                with share.draws():
                    clips = random_windows(clips, frames, generator, step=frames)
                yield clips
            return
        for rows, share in zip(order, shares, strict=True):
            with share.draws():
                starts = window_starts(len(rows), train.shape[1], frames, generator, step=frames)
            assert starts is not None
            yield train.windows(rows, starts, frames)

    def held_out(self) -> Iterator[AdversarialBatch]:
        """Yield validation clips as they are, in order, with the same pairs every time.

        Pictures of a second data set come as two views, augmented as those that are learned from,
        and in a drawn order: the first ones of a sorted manifest may all have one label.
        """
        data, dataset = self.data, self.data.still_validation
        generator = torch.Generator().manual_seed(derive_seed(self.seed, Stream.HELD_OUT_PAIRS))
        order = torch.split(torch.arange(len(data.validation)), self.recipe.batch)
        still_order = order
        if dataset is not None:
            count = min(self.recipe.still_batch, len(dataset))  # none twice, as its own negative
            drawn = torch.randperm(len(dataset), generator=generator)
            turns = torch.arange(count * len(order)) % len(dataset)
            still_order = torch.split(drawn[turns], count)
        loaded = zip(
            order,
            still_order,
            clip_loader(data.validation, order),
            _load(dataset or data.pair_validation, still_order),
            strict=False,
        )
        for rows, still_rows, clips, stored in loaded:
            stills = self._stills(stored, generator, augmented=False)
            yield self._batch(self._whole(clips), "validation", rows, still_rows, stills)

    def random_held_out(self, generator: torch.Generator) -> AdversarialBatch:
        """Draw a random batch of validation clips, for an update step's `until_accuracy`."""
        data = self.data
        rows = torch.randint(len(data.validation), (self.recipe.batch,), generator=generator)
        return self._batch(self._whole(data.validation.batch(rows)), "validation", rows)

    def _stills(
        self, stored: Tensor | None, generator: torch.Generator, *, augmented: bool
    ) -> Tensor | None:
        """(B, 3, 2, H, W): views of each picture, always augmented, or two frames of each video.

        Adversaries that learn labels get one view of each picture, as they will see it.
        """
        if stored is None:
            return None
        if self.data.stills is None:
            gap = self.recipe.gap
            frames = None if gap is None else gap.frames
            stored = random_windows(stored, frames, generator, step=frames or 1)
            pair = [frame.to(self.device) for frame in frame_pairs(stored, generator, gap)]
            if not augmented:
                return torch.cat(pair, dim=2).float() / 255
            # Each by its own draw: one hue or one erased box of both would tell the pair.
            pair = [augment(frame, self.recipe.augment, generator) for frame in pair]
            return torch.cat(pair, dim=2)
        views = [
            augment(stored.to(self.device), self.still_augment, generator)
            for _ in range(self.still_views)
        ]
        return torch.cat([view[:, :, :1] for view in views], dim=2)

    def _order(self, epoch: int) -> Iterator[Tensor]:
        """Rows of each batch of all processes, as often as an epoch wants."""
        for lap in range(self.laps):
            seed = derive_seed(self.seed, Stream.LAP_ORDER, lap) if lap else self.seed
            yield from epoch_batches(
                len(self.data.train), self.recipe.batch, seed=seed, epoch=epoch
            )

    def _still_order(self, epoch: int) -> Iterator[Tensor]:
        """Rows of each batch of the second data set, repeated as often as the first one needs."""
        lap = 0
        while self.data.stills is not None:
            seed = derive_seed(self.seed, Stream.STILL_ORDER, lap)
            count, batch = len(self.data.stills), self.recipe.still_batch
            yield from epoch_batches(count, batch, seed=seed, epoch=epoch)
            lap += 1

    def _chances(self, rows: Tensor) -> list[float]:
        """By adversary, the loss on training clips of predicting the labels' rates alone."""
        private = {name: code[rows] for name, code in self.codes["train"][1].items()}
        objectives = [adversary.objective for adversary in self.recipe.adversaries]
        return [objective.chance_loss(private, len(rows), self.seen) for objective in objectives]

    def _shares(self, whole: Sequence[Tensor]) -> list[BatchShare]:
        return [self.processes.share(len(rows)) for rows in whole]

    def _whole(self, clips: Tensor) -> Tensor:
        """Clips as networks see them later: the middle window, in [0, 1]."""
        frames = self.recipe.frames
        if clips.shape[2] > frames:
            first = clips.shape[2] // frames // 2 * frames
            clips = clips[:, :, first : first + frames]
        return clips.to(self.device).float() / 255

    def _batch(
        self,
        clips: Tensor,
        part: str,
        rows: Tensor,
        private_rows: Tensor | None = None,
        stills: Tensor | None = None,
    ) -> AdversarialBatch:
        """Join clips with their codes; without private rows, with none of these."""
        utility, private = self.codes[part]
        if private_rows is None:
            private = {}
        return AdversarialBatch(
            clips=clips,
            utility={name: code[rows].to(self.device) for name, code in utility.items()},
            private={name: code[private_rows].to(self.device) for name, code in private.items()},
            stills=stills,
        )


def _load(dataset: ClipDataset | None, order: Sequence[Tensor]) -> Iterator[Tensor | None]:
    """Read the batches of a second data set, where there is one; else None for each batch."""
    return repeat(None) if dataset is None else clip_loader(dataset, order)
