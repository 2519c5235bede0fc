"""Validate an adversarial training after an epoch: columns of its log, and sample pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from masquerade.anonymizer import Anonymizer
from masquerade.metrics.classification import auroc, top_k
from masquerade.metrics.statistic import mean_of_defined
from masquerade.models.recognizers import with_keep_mask
from masquerade.storage import atomic_write
from masquerade.training.adversarial_data import AdversarialBatches, AdversarialData
from masquerade.training.adversarial_models import AdversarialModels
from masquerade.training.engine import Row
from masquerade.training.label_losses import Codes, probabilities
from masquerade.training.objectives import Labels, ObjectiveBatch
from masquerade.training.recipe import AdversarialRecipe, Phase

CLIPS, FRAMES = 4, 4  # of a picture
SIDE = 96  # pixels that a small frame is enlarged to at least


class _Variety:
    """The standard deviation of a pixel from clip to clip and from frame to frame, batch by batch.

    Batches are merged by the updating formula of Chan, Golub and LeVeque (1983), since all clips
    at once would not fit into memory.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.zeros(())  # per pixel: mean, squared deviations from it

    def add(self, clips: Tensor) -> None:
        """Count (B, 3, T, H, W), at most 24 pixels a side: content without its grain."""
        frames, height, width = clips.shape[2:]
        size = (frames, min(24, height), min(24, width))
        small = nn.functional.adaptive_avg_pool3d(clips, size).cpu().double()
        pictures = small.transpose(1, 2).flatten(0, 1)  # (B * T, 3, h, w)
        mean, count = pictures.mean(dim=0), len(pictures)
        step, total = mean - self._mean, self._count + count
        self._squares = (
            self._squares
            + (pictures - mean).square().sum(dim=0)
            + step.square() * (self._count * count / total)
        )
        self._mean = self._mean + step * (count / total)
        self._count = total

    @property
    def value(self) -> float:
        """The mean over pixels."""
        return float((self._squares / (self._count - 1)).sqrt().mean())


@torch.no_grad()
def validate(
    models: AdversarialModels,
    recipe: AdversarialRecipe,
    batches: AdversarialBatches,
    *,
    seed: int,
    phase: Phase | None = None,
) -> Row:
    """Return the validation columns of one epoch; in a phase of raw clips, with nothing hidden.

    `val_utility` is the mean top-1 over the utility's labels that held-out clips have, and
    `chance_utility` that of the most frequent label; `val_LABEL` is top-1, or of a binary label the
    AUROC; `val_adversary_share` is the adversaries' loss over that of predicting the training rates
    (the lowest of several; 1 is chance); `val_reconstruction` is the mean L1 to the raw clip;
    `val_variety` is how much outputs differ from clip to clip and from frame to frame, over how
    much raw clips do; `val_auxiliary` is the top-1 of the class token inside the anonymizer, where
    one learns.
    """
    raw = phase is not None and phase.raw_clips
    anonymizer = models.eval().anonymizer

    def show(clip: Tensor) -> tuple[Tensor, Tensor | None]:
        return (anonymizer.unhidden(clip), None) if raw else inference_output(anonymizer, clip)

    generator, epoch = torch.Generator().manual_seed(seed), _EpochOutputs()
    outputs, inputs = _Variety(), _Variety()
    objectives = [config.objective for config in recipe.adversaries]
    for batch in batches.held_out():
        clip, keep = show(batch.clips)
        if phase is not None and phase.uses_auxiliary:
            training = models.output_with_class_token(batch.clips)
        else:
            training = anonymizer.training_output(batch.clips)
        if training.class_token is not None:
            epoch.add_logits("auxiliary:", models.auxiliary(training.class_token), batch.utility)
        epoch.add_logits("", with_keep_mask(models.utility, keep)(clip), batch.utility)
        size = len(clip)
        epoch.add_means(size, reconstruction=float((clip - batch.clips).abs().mean()))
        epoch.add_means(size, **{name: float(loss) for name, loss in training.losses.items()})
        epoch.add_means(size, **training.metrics)
        outputs.add(clip)
        inputs.add(batch.clips)
        if batch.stills is not None:
            clip, keep = show(batch.stills)
        objective_batch = ObjectiveBatch(clip, batch.private, generator)
        for at, (objective, net) in enumerate(zip(objectives, models.adversary, strict=True)):
            adversary = with_keep_mask(net, keep if objective.needs_labels else None)
            if isinstance(objective, Labels):
                logits = adversary(clip)
                epoch.add_logits(f"{at}:", logits, objective_batch.codes)
                loss = objective.loss_of(logits, objective_batch)
            else:
                loss = objective.loss(adversary, objective_batch)
            chance = objective.chance_loss(objective_batch.codes, len(clip), batches.seen)
            epoch.add_means(
                len(clip), **{f"adversary{at}": float(loss.mean()), f"chance{at}": chance}
            )
    utility = {label: epoch.score(label) for label in batches.data.utility}
    known = [label for label, score in utility.items() if not math.isnan(score)]
    chances = [_chance(*epoch.joined(label)) for label in known]
    row: Row = {"val_utility": _mean(list(utility.values())), "chance_utility": _mean(chances)}
    row |= {f"val_{label}": value for label, value in utility.items()}
    row |= _adversary_scores(epoch, recipe, list(batches.data.private))
    if recipe.uses_auxiliary:
        names = [f"auxiliary:{label}" for label in utility if f"auxiliary:{label}" in epoch.logits]
        row["val_auxiliary"] = _mean([epoch.score(name) for name in names])
    own = [name for name in epoch.means if not name.startswith(("adversary", "chance"))]
    row |= {f"val_{name}": epoch.mean(name) for name in own}
    return row | {"val_variety": outputs.value / max(inputs.value, 1e-6)}


def inference_output(anonymizer: Anonymizer, clip: Tensor) -> tuple[Tensor, Tensor | None]:
    """Anonymize a clip as it will be published, which may differ from the training output.

    With it, how far each pixel is shown, (B, T, H, W); None: everywhere alike.
    """
    out = anonymizer(clip, state=anonymizer.init_state(seed=0))
    return out.clip, None if out.hidden is None else 1 - out.hidden[:, 0]


def write_samples(
    anonymizer: Anonymizer, batches: AdversarialBatches, folder: Path | None, epoch: int
) -> None:
    """Write `folder/0007.png`: each held-out clip in two rows, raw above anonymized.

    It shows the originals: its owner alone can read it. Without a folder clips are only computed,
    as a sharded anonymizer needs all processes to compute.
    """
    raw = next(batches.held_out()).clips[:CLIPS]  # (B, 3, T, H, W)
    with torch.no_grad():
        out, _ = inference_output(anonymizer.eval(), raw)
    if folder is None:
        return
    frames = raw.shape[2]
    at = torch.linspace(0, frames - 1, min(FRAMES, frames)).round().long()
    both = torch.stack([raw, out], 1)[:, :, :, at.to(raw.device)]  # (B, 2, 3, t, H, W)
    pixels = (both.clamp(0, 1) * 255).round().byte().cpu()
    clips, _, colours, shown, height, width = pixels.shape
    rows = pixels.permute(0, 1, 4, 3, 5, 2)  # clip, raw or anonymized, y, frame, x, colour
    picture = rows.reshape(clips * 2 * height, shown * width, colours).numpy()
    times = max(1, round(SIDE / height))
    picture = picture.repeat(times, 0).repeat(times, 1)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)  # one that an earlier version made
    with atomic_write(folder / f"{epoch:04d}.png", overwrite=True, private=True) as part:
        done, png = cv2.imencode(".png", picture[..., ::-1])
        assert done
        part.write_bytes(png.tobytes())


def own_columns(row: Row, data: AdversarialData) -> list[str]:
    """Return the anonymizer's own losses and metrics among the columns of `validate`, by name."""
    others = {"utility", "adversary", "adversary_share", "auxiliary", "variety"}
    others |= {*data.utility, *data.private}
    names = [key.removeprefix("val_") for key in row if key.startswith("val_")]
    return [name for name in names if name not in others]


def accuracy(net: nn.Module, clip: Tensor, codes: Codes) -> float:
    """Return a network's mean score over labels on (B, 3, T, H, W); NaN if none is known."""
    logits = net(clip)
    return _mean([_score(logits[name].float().cpu(), code.cpu()) for name, code in codes.items()])


@dataclass
class _EpochOutputs:
    """Logits, codes and mean losses by name, batch by batch."""

    logits: dict[str, list[Tensor]] = field(default_factory=dict)
    codes: dict[str, list[Tensor]] = field(default_factory=dict)
    # with the number of clips that each is the mean over: the last batch may have fewer
    means: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def add_logits(self, prefix: str, logits: Mapping[str, Tensor], codes: Codes) -> None:
        for name, code in codes.items():
            self.logits.setdefault(f"{prefix}{name}", []).append(logits[name].float().cpu())
            self.codes.setdefault(f"{prefix}{name}", []).append(code.cpu())

    def add_means(self, clips: int, /, **means: float) -> None:
        """Add means over this number of clips."""
        for name, mean in means.items():
            self.means.setdefault(name, []).append((float(mean), clips))

    def mean(self, name: str) -> float:
        """The mean over the clips of all batches."""
        total = sum(clips for _, clips in self.means[name])
        return sum(mean * clips for mean, clips in self.means[name]) / total

    def joined(self, name: str) -> tuple[Tensor, Tensor]:
        return torch.cat(self.logits[name]), torch.cat(self.codes[name])

    def score(self, name: str) -> float:
        return _score(*self.joined(name))


def _adversary_scores(
    epoch: _EpochOutputs, recipe: AdversarialRecipe, labels: Sequence[str]
) -> Row:
    """Return the strongest adversary's loss, its loss over chance, and its scores."""
    row: Row = {"val_adversary": math.nan, "val_adversary_share": math.nan}
    if not recipe.adversaries:
        return row
    losses = [epoch.mean(f"adversary{at}") for at in range(len(recipe.adversaries))]
    chance = [epoch.mean(f"chance{at}") for at in range(len(losses))]
    known = [(loss / floor, loss) for loss, floor in zip(losses, chance, strict=True) if floor]
    if known:  # none where no held-out clip has a label
        row["val_adversary_share"], row["val_adversary"] = min(known)
    labelled = [
        at for at, adversary in enumerate(recipe.adversaries) if adversary.objective.needs_labels
    ]
    for label in labels if labelled else ():
        scores = [epoch.score(f"{at}:{label}") for at in labelled]
        row[f"val_{label}"] = max(scores) if not any(map(math.isnan, scores)) else math.nan
    return row


def _score(logits: Tensor, codes: Tensor) -> float:
    """Top-1; AUROC of a binary label; of several labels at once the mean AUROC."""
    if codes.ndim == 2:
        parts = [
            _score(column[:, None], code)
            for column, code in zip(logits.unbind(1), codes.unbind(1), strict=True)
        ]
        return _mean(parts)
    known = codes >= 0
    predicted, wanted = probabilities(logits)[known].numpy(), codes[known].numpy()
    if not len(wanted):
        return math.nan
    if predicted.shape[1] == 1:
        return auroc(wanted.astype(float), predicted[:, 0].astype(float)).value
    return top_k(wanted, predicted).value


def _chance(logits: Tensor, codes: Tensor) -> float:
    """Return what guessing scores: .5 of an AUROC, else the share of the most frequent label."""
    if codes.ndim == 2 or logits.shape[1] == 1:
        return 0.5
    known = codes[codes >= 0].numpy()
    return float(np.bincount(known).max() / len(known)) if len(known) else 1.0


def _mean(scores: Sequence[float]) -> float:
    """The mean of the scores, without NaN, which labels have that no clip has."""
    return float(mean_of_defined(np.array(scores, dtype=float)))
