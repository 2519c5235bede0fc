"""How a game stands on clips that nobody learned from, and whether it has collapsed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from masquerade.anonymizer import Anonymizer
from masquerade.metrics.classification import auroc, top_k
from masquerade.models.recognizers import with_keep_mask
from masquerade.training.cast import Cast
from masquerade.training.game import Game, Phase
from masquerade.training.losses import probabilities
from masquerade.training.record import Row
from masquerade.training.sides import Data, Feed, majority

BLIND = 0.95  # of the chance loss: an adversary's that sees next to nothing
FLAT = 0.02  # of the raw clips' variety: an output that shows nothing any more
FEW = 30  # held-out clips that tell too little
LEARNED = 0.75  # of the loss of who sees nothing
COLUMNS = {
    "val_reconstruction": "the mean L1 to the raw clip",
    "val_adversary_share": "the adversaries' share of the loss of who sees nothing",
    "train_utility": "the action network's loss",
    "train_adversary": "the adversaries' loss",
}
"""What a column of the log is, in words."""
SURE = 1.64  # standard errors above a guess


@dataclass
class _Sums:
    """What is gathered over the batches."""

    said: dict[str, list[Tensor]] = field(default_factory=dict)
    codes: dict[str, list[Tensor]] = field(default_factory=dict)
    numbers: dict[str, list[float]] = field(default_factory=dict)

    def add(self, part: str, said: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> None:
        for name, code in codes.items():
            self.said.setdefault(f"{part}{name}", []).append(said[name].float().cpu())
            self.codes.setdefault(f"{part}{name}", []).append(code.cpu())

    def count(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.numbers.setdefault(name, []).append(float(number))


@torch.no_grad()
def standing(cast: Cast, game: Game, feed: Feed, *, seed: int, phase: Phase | None = None) -> Row:
    """The validation columns of a line of the log.

    `val_utility` is the mean top-1 over the utility's labels and `chance_utility` what the most
    frequent answer gets; `val_LABEL` is top-1, or of a binary label the AUROC;
    `val_adversary_share` is the adversaries' loss over that of who sees nothing and answers as
    often as was true in training (the lowest of several: 1 is blind); `val_reconstruction` is the
    mean L1 to the raw clip; `val_variety` is how much outputs differ from clip to clip and from
    place to place, over how much raw clips do; `val_auxiliary` is the top-1 of the class token
    inside the anonymizer, where one learns.

    Args:
        cast: the players.
        game: the recipe.
        feed: of the held-out clips.
        seed: of the pairs that an adversary compares.
        phase: that is played; in one that has only raw clips, networks are shown those here too.
    """
    raw, aided = phase is not None and phase.raw, phase is not None and phase.aided
    cast.eval()
    draw, sums = torch.Generator().manual_seed(seed), _Sums()
    _, learned = feed.codes["train"]
    outs: list[Tensor] = []
    raws: list[Tensor] = []
    for batch in feed.held_out():
        shown, keep = (batch.clips, None) if raw else published(cast.anonymizer, batch.clips)
        draft = cast.draft(batch.clips) if aided else cast.anonymizer.draft(batch.clips)
        if draft.read is not None:
            sums.add("auxiliary:", cast.auxiliary(draft.read), batch.utility)
        sums.add("", with_keep_mask(cast.utility, keep)(shown), batch.utility)
        sums.count(reconstruction=float((shown - batch.clips).abs().mean()))
        sums.count(**{name: float(term) for name, term in draft.terms.items()}, **draft.facts)
        outs.append(_small(shown))
        raws.append(_small(batch.clips))
        private = shown
        if batch.stills is not None:
            private, keep = (
                (batch.stills, None) if raw else published(cast.anonymizer, batch.stills)
            )
        for at, (one, rival) in enumerate(zip(game.adversaries, cast.adversary, strict=True)):
            objective = one.objective
            net = with_keep_mask(rival, keep if objective.labelled else None)
            loss = objective.loss(net, private, batch.private, draw).mean()
            sums.count(**{f"adversary{at}": float(loss)})
            blind = objective.chance(batch.private, len(private), learned)
            sums.count(**{f"blind{at}": blind})
            if objective.labelled:
                sums.add(f"{at}:", net(private), batch.private)
    return {
        **_scores(sums, list(feed.data.utility)),
        **_rivals(sums, game, list(feed.data.private)),
        **({"val_auxiliary": _auxiliary(sums, list(feed.data.utility))} if game.aided else {}),
        **{f"val_{name}": _mean(sums.numbers[name]) for name in _own(sums)},
        "val_variety": _variety(torch.cat(outs)) / max(_variety(torch.cat(raws)), 1e-6),
    }


def drafted(row: Row, data: Data) -> list[str]:
    """What an anonymizer's draft says of itself, by the names in a line of the log.

    Args:
        row: with the columns of `standing`.
        data: whose labels have columns too.
    """
    others = {"utility", "adversary", "adversary_share", "auxiliary", "variety"}
    others |= {*data.utility, *data.private}
    names = [key.removeprefix("val_") for key in row if key.startswith("val_")]
    return [name for name in names if name not in others]


def published(anonymizer: Anonymizer, clip: Tensor) -> tuple[Tensor, Tensor | None]:
    """A clip as a user would get it, which may differ from the draft that is trained.

    Args:
        anonymizer: in evaluation mode.
        clip: (B, 3, T, H, W).

    Returns:
        The clip, and how far each pixel is shown, (B, T, H, W); None: everywhere alike.
    """
    out = anonymizer(clip, state=anonymizer.init_state(seed=0))
    return out.clip, None if out.hidden is None else 1 - out.hidden[:, 0]


def above_chance(row: Row, count: int) -> bool:
    """Whether the utility tells more than a guess, beyond what chance gives so many clips.

    Args:
        row: of the log.
        count: held-out clips.
    """
    floor = row["chance_utility"]
    return row["val_utility"] > floor + SURE * math.sqrt(floor * (1 - floor) / count)


def practised(row: Row, data: Data) -> bool:
    """Whether the action was learned before a contest, by the utility or inside the anonymizer.

    An anonymizer that was initialised through a class token alone shows nothing yet: its last layer
    has learned nothing. A dozen held-out clips cannot tell a fair recognizer from a guess; there
    the loss on training clips must have fallen by a quarter instead.

    Args:
        row: of the log.
        data: both sides.
    """
    aided = row.get("val_auxiliary", math.nan)
    best = row["val_utility"] if math.isnan(aided) else max(row["val_utility"], aided)
    return _told({**row, "val_utility": best}, data)


def _told(row: Row, data: Data) -> bool:
    if above_chance(row, len(data.validation)):
        return True
    blind = _mean([math.log(max(outputs, 2)) for outputs in data.utility.values()])
    learned = row.get("train_utility", math.nan) < LEARNED * blind
    return len(data.validation) < FEW and learned


def collapsed(row: Row, game: Game, data: Data) -> tuple[str, ...]:
    """What is wrong with an anonymizer that looks well by its losses; one sentence each.

    Args:
        row: of the log.
        game: the recipe.
        data: both sides; a dozen held-out clips alone accuse nobody, as in `practised`.
    """
    said = []
    flat = row["val_variety"] < FLAT
    if flat:
        said.append("the output is the same whatever comes in")
    if not _told(row, data):
        said.append(
            f"the action is at chance ({row['val_utility']:.2f}; "
            f"a guess gets {row['chance_utility']:.2f})"
        )
    if flat and row["val_adversary_share"] >= BLIND:
        said.append("the adversary sees nothing only because there is nothing to see")
    for name, (value, tolerance) in game.wanted.items():
        found = row.get(f"val_{name}", math.nan)
        if not abs(found - value) <= tolerance:
            said.append(f"{name} is {found:.2f} and should be {value:.2f}")
    return tuple(said)


def doubted(history: Sequence[Row], game: Game) -> tuple[str, ...]:
    """What a run's log leaves in doubt, though nothing collapsed; one sentence each.

    Args:
        history: all of its epochs.
        game: the recipe.
    """
    said = []
    shares = [row["val_adversary_share"] for row in history]
    seen = [share for share in shares if not math.isnan(share)]
    if seen and min(seen) >= BLIND:
        said.append(
            f"no adversary ever saw more than next to nothing (its loss was {min(seen):.2f} of who "
            "sees nothing, at best), so nothing was hidden from it"
        )
    for number, phase in enumerate(game.phases):
        rows = [row for row in history if row["phase"] == number + 1]
        for stop in phase.stop:
            asked = stop.below if stop.above is None else stop.above
            if asked is not None and rows and not stop.reached(rows):
                bound = "at most" if stop.above is None else "at least"
                said.append(
                    f"phase {phase.name} ended after all its epochs with {COLUMNS[stop.column]} "
                    f"at {rows[-1][stop.column]:.2f} instead of {bound} {asked:.2f} "
                    f"({stop.column})"
                )
    return tuple(said)


def tells(net: nn.Module, clip: Tensor, codes: Mapping[str, Tensor]) -> float:
    """The mean share of known labels that a network tells right.

    Args:
        net: gives logits by label.
        clip: (B, 3, T, H, W).
        codes: by label.
    """
    said = net(clip)
    return _mean([_score(said[name].float().cpu(), code.cpu()) for name, code in codes.items()])


def _scores(sums: _Sums, labels: Sequence[str]) -> Row:
    found = {label: _score(*_joined(sums, label)) for label in labels}
    chance = [_guess(*_joined(sums, label)) for label in labels]
    row: Row = {"val_utility": _mean(list(found.values())), "chance_utility": _mean(chance)}
    return {**row, **{f"val_{label}": value for label, value in found.items()}}


def _auxiliary(sums: _Sums, labels: Sequence[str]) -> float:
    found = [f"auxiliary:{label}" for label in labels if f"auxiliary:{label}" in sums.said]
    return _mean([_score(*_joined(sums, one)) for one in found])


def _rivals(sums: _Sums, game: Game, labels: Sequence[str]) -> Row:
    """The strongest of several adversaries: loss, its share of blindness, and its scores."""
    row: Row = {"val_adversary": math.nan, "val_adversary_share": math.nan}
    if not game.adversaries:
        return row
    losses = [_mean(sums.numbers[f"adversary{at}"]) for at in range(len(game.adversaries))]
    blind = [_mean(sums.numbers[f"blind{at}"]) for at in range(len(losses))]
    known = [(loss / floor, loss) for loss, floor in zip(losses, blind, strict=True) if floor]
    if known:  # none where no held-out clip has a label
        row["val_adversary_share"], row["val_adversary"] = min(known)
    seen = [at for at, one in enumerate(game.adversaries) if one.objective.labelled]
    for label in labels if seen else ():
        scores = [_score(*_joined(sums, f"{at}:{label}")) for at in seen]
        row[f"val_{label}"] = max(scores) if not any(map(math.isnan, scores)) else math.nan
    return row


def _joined(sums: _Sums, label: str) -> tuple[Tensor, Tensor]:
    return torch.cat(sums.said[label]), torch.cat(sums.codes[label])


def _score(logits: Tensor, codes: Tensor) -> float:
    """Top-1; AUROC of a binary label; of several labels at once the mean AUROC."""
    if codes.ndim == 2:
        parts = [
            _score(one[:, None], code)
            for one, code in zip(logits.unbind(1), codes.unbind(1), strict=True)
        ]
        known = [part for part in parts if not math.isnan(part)]
        return _mean(known)
    known_rows = codes >= 0
    said, wanted = probabilities(logits)[known_rows].numpy(), codes[known_rows].numpy()
    if not len(wanted):
        return math.nan
    if said.shape[1] == 1:
        return auroc(wanted.astype(float), said[:, 0].astype(float)).value
    return top_k(wanted, said).value


def _guess(logits: Tensor, codes: Tensor) -> float:
    return 0.5 if codes.ndim == 2 or logits.shape[1] == 1 else majority(codes)


def _own(sums: _Sums) -> list[str]:
    """The numbers that are the draft's, and the reconstruction."""
    return [name for name in sums.numbers if not name.startswith(("adversary", "blind"))]


def _small(clip: Tensor) -> Tensor:
    """(B, 3, T, h, w) of at most 24 pixels a side, for what is shown and not its grain."""
    height, width = (min(24, side) for side in clip.shape[-2:])
    return nn.functional.adaptive_avg_pool3d(clip, (clip.shape[2], height, width)).cpu()


def _variety(clips: Tensor) -> float:
    """The standard deviation of a pixel from clip to clip and from frame to frame."""
    over = clips.transpose(1, 2).flatten(0, 1)  # (N * T, 3, h, w)
    return float(over.std(dim=0).mean())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
