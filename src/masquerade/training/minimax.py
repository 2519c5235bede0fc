"""The one loop of adversarial training: an anonymizer, what it must keep, and who must not see.

Whatever differs between STPrivacy, SPAct, VITA and BDQ is in the `Game` that it is given. A player
steps only in its own turns; phases end on what held-out clips say, and one that works against an
adversary does not begin while the utility only guesses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.device import choose_device
from masquerade.errors import MasqueradeError, UsageError
from masquerade.models.recognizers import with_keep_mask
from masquerade.training.cast import Cast, cast_of, optimizer_of, rival_of
from masquerade.training.game import PLAYERS, TERMS, Game, Optim, Phase, Player, Turn
from masquerade.training.held_out import collapsed, doubted, drafted, practised, standing, tells
from masquerade.training.ranks import Ranks, ranks_here
from masquerade.training.record import (
    Log,
    Row,
    Snapshot,
    content,
    digest,
    load_snapshot,
    save_snapshot,
)
from masquerade.training.samples import write_samples
from masquerade.training.sides import Batch, Data, feed_of
from masquerade.training.steps import mixed, rate
from masquerade.training.terms import terms_of


@dataclass(frozen=True)
class Standing:
    """How far a game has come.

    Args:
        phase: by name.
        epoch: of all, counted from 1.
        epochs: at most.
        row: as logged.
        notes: what has collapsed, in words.
    """

    phase: str
    epoch: int
    epochs: int
    row: Row
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Played:
    """A game that is over.

    Args:
        anonymizer: in evaluation mode, on the CPU.
        history: one row an epoch.
        notes: what had collapsed at the end, in words; empty is well.
        doubts: what the log leaves in doubt, in words.
        seconds: of the wall, this process's share where it was resumed.
    """

    anonymizer: Anonymizer
    history: list[Row]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    seconds: float


Progress = Callable[[Standing], None]


def play(
    game: Game,
    data: Data,
    *,
    seed: int = 0,
    device: str = "auto",
    amp: bool = False,
    log: Path | None = None,
    samples: Path | None = None,
    resume: Path | None = None,
    start: Anonymizer | None = None,
    progress: Progress | None = None,
) -> Played:
    """Train an anonymizer against its adversaries.

    Started by torchrun, each process takes its share of every batch.

    Args:
        game: the recipe.
        data: both sides; test clips are not among them.
        seed: of weights, order, augmentation and all else that is drawn.
        device: auto, cpu, cuda, cuda:N, mps.
        amp: bfloat16 in the networks; on the CPU it seldom pays.
        log: a CSV file, one line an epoch.
        samples: a folder for a picture of raw and anonymized clips, one an epoch.
        resume: a file that holds everything after each epoch; where it exists, the game goes on
            from there and ends with the same weights to the bit.
        start: an anonymizer of the same shape, whose weights this one begins with.
        progress: called after each epoch.

    Raises:
        MasqueradeError: the utility did not learn its action, or a loss is no number any more.
    """
    if any(one.objective.labelled for one in game.adversaries) and not data.private:
        raise UsageError("This adversary learns private labels, and the data has none.")
    with ranks_here(device) as ranks:
        chosen = ranks.device or choose_device(device)
        match = _Match(game, data, seed, chosen, amp, ranks, start)
        with Log(log, None, quiet=ranks.rank > 0) as lines:
            return match.played(lines, samples if ranks.rank == 0 else None, resume, progress)


class _Match:
    """One game: what changes from epoch to epoch, and one epoch of it."""

    def __init__(
        self,
        game: Game,
        data: Data,
        seed: int,
        device: torch.device,
        amp: bool,
        ranks: Ranks,
        start: Anonymizer | None = None,
    ) -> None:
        self.game, self.data, self.seed = game, data, seed
        self.device, self.amp, self.ranks = device, amp, ranks
        cast = cast_of(game, utility=data.utility, private=data.private, seed=seed)
        if start is not None:
            cast.anonymizer.load_state_dict(start.state_dict())
        self.cast: Cast = cast.to(device)
        self.feed = feed_of(game, data, seed=seed, ranks=ranks, device=device)
        self.state = Snapshot(fit=self._digest(start), best={})
        self.optimizers: dict[Player, torch.optim.Optimizer] = {}
        self.turns = 0  # taken in this phase
        self.notes: tuple[str, ...] = ()

    def played(
        self, lines: Log, samples: Path | None, resume: Path | None, progress: Progress | None
    ) -> Played:
        """Play the epochs that are left."""
        began = time.perf_counter()
        self._restore(resume)
        lines.begin(self.state.history)
        while (number := self._phase()) is not None:
            phase = self.game.phases[number]
            if not self._rows(number):
                self._begin(phase, number)
            row = self._epoch(phase, number)
            self.state.history.append(row)
            lines.add(row)
            if samples is not None:
                write_samples(self.cast.anonymizer, self.feed, samples, int(row["epoch"]))
            if resume is not None and self.ranks.rank == 0:
                self._save(resume)
            if progress and self.ranks.rank == 0:
                most = sum(each.epochs for each in self.game.phases)
                progress(Standing(phase.name, int(row["epoch"]), most, row, self.notes))
        anonymizer = self.cast.anonymizer.eval().cpu()
        anonymizer.trained = True
        for weight in self.cast.weights("anonymizer"):
            weight.requires_grad_(True)
        history, seconds = list(self.state.history), time.perf_counter() - began
        return Played(anonymizer, history, self.notes, doubted(history, self.game), seconds)

    def _rows(self, number: int) -> list[Row]:
        return [row for row in self.state.history if row["phase"] == number + 1]

    def _phase(self) -> int | None:
        """The phase that the next epoch belongs to; None: all are over."""
        for number, phase in enumerate(self.game.phases):
            if not phase.over(self._rows(number)):
                return number
        return None

    def _begin(self, phase: Phase, number: int) -> None:
        """A phase starts with optimizers that remember nothing."""
        self.turns = 0
        self.optimizers = self._fresh(phase)
        taught = any(
            "utility" in turn.learns for each in self.game.phases[:number] for turn in each.turns
        )
        if phase.contested and taught:
            last = self.state.history[-1]
            if not practised(last, self.data):
                raise MasqueradeError(
                    f"The action was not learned before phase {phase.name}: top-1 is "
                    f"{last['val_utility']:.2f} and a guess gets {last['chance_utility']:.2f}; "
                    "give more clips, more epochs or another --utility, and a new folder."
                )

    def _fresh(self, phase: Phase) -> dict[Player, torch.optim.Optimizer]:
        return {
            name: optimizer_of(self.cast, name, self._optim(phase, name))
            for name in PLAYERS
            if self.cast.weights(name)
        }

    def _optim(self, phase: Phase, name: Player) -> Optim:
        return phase.optims.get(name) or self.game.optims.get(name) or Optim()

    def _epoch(self, phase: Phase, number: int) -> Row:
        began, epoch = time.perf_counter(), len(self.state.history)
        past = len(self._rows(number))
        draw = torch.Generator().manual_seed(mixed(self.seed, 3, epoch, self.ranks.rank))
        with torch.random.fork_rng(devices=self._cuda()):
            torch.manual_seed(mixed(self.seed, 4, epoch, self.ranks.rank))
            if phase.restart and past and past % phase.restart == 0:
                self._restart(phase, epoch, draw)
            sums = self._learn(phase, past, epoch, draw)
            self.ranks.share_buffers(self.cast)
            drawn = mixed(self.seed, 5)
            held = standing(self.cast, self.game, self.feed, seed=drawn, phase=phase)
        held = self.ranks.first(held)  # rounding may differ, and all must end a phase at once
        own = {name: self.ranks.mean(torch.stack(found).mean()) for name, found in sums.items()}
        names = [*TERMS, *(n for n in sums if n not in TERMS)]
        row: Row = {
            "epoch": epoch + 1,
            "phase": number + 1,
            "turns": self.turns,
            **{
                f"train_{name}": float(own.get(name, math.nan)) for name in self._named(names, held)
            },
            **held,
            "seconds": time.perf_counter() - began,
        }
        if any(math.isnan(float(value)) for value in own.values()):
            raise MasqueradeError("A loss is no number any more; lower the learning rates.")
        self.notes = self._wrong(phase, row)
        row["collapsed"] = float(len(self.notes))
        return row

    def _wrong(self, phase: Phase, row: Row) -> tuple[str, ...]:
        """What has collapsed, of a phase in which something may; the last one is published."""
        if not phase.contested and phase is not self.game.phases[-1]:
            return ()
        return collapsed(row, self.game, self.data)

    def _named(self, found: list[str], held: Row) -> list[str]:
        """The training columns, which are those of the first line."""
        if not self.state.history:  # a later phase may have what the first one has not
            later = [n for phase in self.game.phases for turn in phase.turns for n in turn.terms]
            return list(dict.fromkeys([*found, *later, *drafted(held, self.data)]))
        first = self.state.history[0]
        return [key.removeprefix("train_") for key in first if key.startswith("train_")]

    def _learn(
        self, phase: Phase, past: int, epoch: int, draw: torch.Generator
    ) -> dict[str, list[Tensor]]:
        """One epoch of turns; gives what was measured in them, by name."""
        sums: dict[str, list[Tensor]] = {}
        for step, batch in enumerate(self.feed.learned(epoch, draw)):
            self._rates(phase, past + step / self.feed.steps)
            for turn in self._turns(phase, draw):
                for name, value in self._step(phase, turn, batch, draw).items():
                    sums.setdefault(name, []).append(value)
        return sums

    def _turns(self, phase: Phase, draw: torch.Generator) -> Iterator[Turn]:
        """Who moves on a batch: all of a round, or the next; a round outlasts an epoch.

        A turn whose gate is reached is over, with all its repetitions that were left.
        """
        circle = [(turn, left) for turn in phase.turns for left in range(turn.times, 0, -1)]
        end = self.turns + len(circle)
        while self.turns < end:
            turn, left = circle[self.turns % len(circle)]
            sated = self._sated(turn, draw)
            self.turns += left if sated else 1
            if not sated:
                yield turn
                if not phase.same_batch:
                    return

    def _sated(self, turn: Turn, draw: torch.Generator) -> bool:
        """Whether a turn is left out because the utility is good enough."""
        if turn.until is None:
            return False
        batch = self.feed.glance(draw)
        self.cast.eval()
        with torch.no_grad():
            draft = self.cast.anonymizer.draft(batch.clips)
            told = with_keep_mask(self.cast.utility, draft.keep)
            share = torch.tensor(tells(told, draft.clip, batch.utility))
        return float(self.ranks.mean(share.to(self.device))) >= turn.until

    def _step(
        self, phase: Phase, turn: Turn, batch: Batch, draw: torch.Generator
    ) -> dict[str, Tensor]:
        """One step of those whose turn it is."""
        with self.cast.acting(turn.learns, idle=phase.idle):
            for name in turn.learns:
                self.cast.player(name).zero_grad(set_to_none=True)
            with self._autocast():
                terms, facts = terms_of(self.cast, self.game, turn, batch, draw, self.ranks)
                missing = set(turn.terms) - set(terms)
                if missing:
                    raise UsageError(f"No player has a loss named {', '.join(sorted(missing))}.")
                parts = [weight * terms[name] for name, weight in turn.terms.items()]
                loss = torch.stack(parts).sum()
            if loss.requires_grad:  # else there is no such player in this game
                loss.backward()  # type: ignore[no-untyped-call]
            for name in turn.learns:
                self._move(name, self._optim(phase, name))
        facts_now = {name: loss.new_tensor(value) for name, value in facts.items()}
        return {**{name: term.detach() for name, term in terms.items()}, **facts_now}

    def _move(self, name: Player, how: Optim) -> None:
        if name not in self.optimizers:
            return
        self.ranks.share_gradients(self.cast.player(name))
        if how.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.cast.weights(name), how.clip)
        self.optimizers[name].step()

    def _restart(self, phase: Phase, epoch: int, draw: torch.Generator) -> None:
        """The adversaries forget, and catch up alone: what fooled one may not fool the next."""
        for at, one in enumerate(self.game.adversaries):
            seed = mixed(self.seed, 2, epoch, at)
            fresh = rival_of(self.game, one, self.data.private, seed=seed)
            self.cast.adversary[at].load_state_dict(fresh.state_dict())
        self.optimizers["adversary"] = self._fresh(phase)["adversary"]
        alone = Turn(learns=("adversary",), terms={"adversary": 1.0})
        left, lap = phase.catch_up, 0
        while left > 0:
            for batch in self.feed.learned(mixed(self.seed, 6, epoch, lap), draw):
                if left > 0:
                    self._step(phase, alone, batch, draw)
                    left -= 1
            lap += 1

    def _rates(self, phase: Phase, at: float) -> None:
        for name, optimizer in self.optimizers.items():
            how, part = self._optim(phase, name), 1 / self.feed.steps
            now = how.lr
            if how.cosine:
                now = rate(how.lr, at, epochs=phase.epochs, warmup=how.warmup, step=part)
            elif at < how.warmup:
                now = how.lr * (at + part) / (how.warmup + part)
            for group in optimizer.param_groups:
                group["lr"] = now

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self.amp:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _cuda(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def _digest(self, start: Anonymizer | None) -> str:
        data = self.data
        first = [] if start is None else [value.cpu() for value in start.state_dict().values()]
        stores = [data.train, data.validation, data.stills, data.still_validation]
        stores += [data.apart, data.apart_validation]
        codes = [
            code for sides in self.feed.codes.values() for side in sides for code in side.values()
        ]
        clips = [store.digest for store in stores if store is not None]
        game, file = self.game, self.game.image_weights
        if file is not None:  # what is in it, wherever it lies now
            game = replace(game, image_weights=content(Path(file)))
        how = [str(game), str(self.seed), f"amp {self.amp}", f"processes {self.ranks.world}"]
        return digest([*how, *clips], [*codes, *first])

    def _save(self, path: Path) -> None:
        self.state.net = self.cast.state_dict()
        self.state.optimizer = {
            name: optimizer.state_dict() for name, optimizer in self.optimizers.items()
        }
        save_snapshot(self.state, path)

    def _restore(self, path: Path | None) -> None:
        found = load_snapshot(path, self.state.fit) if path is not None else None
        if found is not None:
            self.state = found
            self.cast.load_state_dict(found.net)
            number = int(found.history[-1]["phase"]) - 1
            phase = self.game.phases[number]
            self.optimizers = self._fresh(phase)
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(found.optimizer[name])
            self.turns = int(found.history[-1]["turns"])
            self.notes = self._wrong(phase, found.history[-1])
        self.ranks.share_weights(self.cast)
