"""The losses of one update step of an adversarial training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from masquerade.anonymizer import TrainingOutput
from masquerade.errors import UsageError
from masquerade.models.recognizers import with_keep_mask
from masquerade.training.adversarial_data import AdversarialBatch
from masquerade.training.adversarial_models import AdversarialModels
from masquerade.training.batch_share import BatchShare
from masquerade.training.label_losses import label_loss, reverse_gradient
from masquerade.training.objectives import ObjectiveBatch
from masquerade.training.recipe import AdversarialRecipe, UpdateStep


@dataclass(frozen=True, kw_only=True)
class AdversarialStep:
    """Computes the losses of one optimizer step of a recipe, on whatever batch it is given."""

    recipe: AdversarialRecipe
    update: UpdateStep
    generator: torch.Generator

    def compute(self, models: AdversarialModels, batch: AdversarialBatch) -> dict[str, Tensor]:
        """Return the losses of one update by name, unweighted, and the anonymizer's metrics.

        With f the anonymizer, T the utility network and B the adversaries (SPAct, Dave et al., CVPR
        2022; the same up to the objective in VITA, BDQ and STPrivacy):

            reconstruction  |f(x) - x|, L1                     (SPAct eq. 4)
            utility         L_T(T(f(x)), action)               (SPAct eq. 6 and 8)
            adversary       L_B(B(f(x)), private), summed      (SPAct eq. 7 and 8)
            adversarial     what f minimises against B, -L_B   (SPAct eq. 9, STPrivacy eq. 13)
            auxiliary       of a class token inside f          (STPrivacy's preprint, eq. 12)
        """
        against = [name for name in ("adversary", "adversarial") if name in self.update.losses]
        alone = set(self.update.losses) == {"adversary"}
        if alone and batch.stills is not None and self.recipe.adversaries:
            return self._still_losses(models, batch, batch.stills)
        with batch.share.draws():
            output, losses = self._clip_losses(models, batch)
        if not against or not self.recipe.adversaries:  # none is an ablation
            return losses | dict.fromkeys(against, output.clip.new_zeros(()))
        if batch.stills is not None:
            return losses | self._still_losses(models, batch, batch.stills)
        with batch.share.draws():
            return losses | self._adversary_losses(models, batch, output, batch.share)

    def _still_losses(
        self, models: AdversarialModels, batch: AdversarialBatch, stills: Tensor
    ) -> dict[str, Tensor]:
        """Return the adversaries' losses on anonymized pictures or frames of pairs."""
        with batch.still_share.draws():
            output = _anonymize(models, self.update, stills)
            return self._adversary_losses(models, batch, output, batch.still_share)

    def _clip_losses(
        self, models: AdversarialModels, batch: AdversarialBatch
    ) -> tuple[TrainingOutput, dict[str, Tensor]]:
        """Return the anonymized clips, and all losses but the adversaries', with the metrics."""
        wanted, share = self.update.losses, batch.share
        output = _anonymize(models, self.update, batch.clips)
        losses = {name: share.weigh(loss) for name, loss in output.losses.items()}
        if "auxiliary" in wanted:
            if output.class_token is None:
                raise UsageError("The auxiliary loss needs an update in which auxiliary learns.")
            token = output.class_token
            losses["auxiliary"] = label_loss(models.auxiliary, token, batch.utility, share)
        if "reconstruction" in wanted:
            losses["reconstruction"] = share.weigh((output.clip - batch.clips).abs().mean())
        if "utility" in wanted:
            utility = with_keep_mask(models.utility, output.keep)
            losses["utility"] = label_loss(utility, output.clip, batch.utility, share)
        device = output.clip.device
        for name, value in output.metrics.items():
            losses[name] = share.weigh(torch.tensor(value, device=device))
        return output, losses

    def _adversary_losses(
        self,
        models: AdversarialModels,
        batch: AdversarialBatch,
        output: TrainingOutput,
        share: BatchShare,
    ) -> dict[str, Tensor]:
        """Return what the adversaries minimise, and what the anonymizer does against them."""
        wanted, reversal = self.update.losses, self.update.reversal
        adversary, adversarial = [], []
        chances = batch.chances or [math.inf] * len(models.adversary)
        for config, net, chance in zip(
            self.recipe.adversaries, models.adversary, chances, strict=True
        ):
            objective, clip, keep = config.objective, output.clip, output.keep
            pull = clip.new_tensor(reversal or 0.0)  # read in the backward pass
            if reversal is not None:
                clip = reverse_gradient(clip, pull)
                keep = None if keep is None else reverse_gradient(keep, pull)
            net = with_keep_mask(net, keep if objective.needs_labels else None)
            objective_batch = ObjectiveBatch(
                clip, batch.private, self.generator, share, chance, halves=batch.halves
            )
            if "adversary" in wanted:
                loss = objective.loss(net, objective_batch)
                pull.masked_fill_(objective.is_capped(loss, chance), 0)
                adversary.append(loss.mean())
            if "adversarial" in wanted:
                adversarial.append(objective.adversarial_loss(net, objective_batch))
        losses = {}
        if adversary:
            losses["adversary"] = torch.stack(adversary).sum()
        if adversarial:
            losses["adversarial"] = combine_losses(adversarial, self.recipe.combine)
        return losses


def _anonymize(models: AdversarialModels, update: UpdateStep, clips: Tensor) -> TrainingOutput:
    if update.raw_clips:
        with torch.no_grad():
            return TrainingOutput(models.anonymizer.unhidden(clips))
    if "auxiliary" in update.losses:
        return models.output_with_class_token(clips)
    if "anonymizer" in update.learns:
        return models.anonymizer.training_output(clips)
    with torch.no_grad():
        return models.anonymizer.training_output(clips)


def combine_losses(losses: list[Tensor], how: str) -> Tensor:
    """Combine the anonymizer's losses against several adversaries, each (n,), in one number."""
    if len({len(loss) for loss in losses}) > 1:  # of different objectives: no common samples
        losses = [loss.mean(0, keepdim=True) for loss in losses]
    stacked = torch.stack(losses)  # (adversaries, n)
    if how == "max":
        return stacked.amax(0).mean()
    return stacked.sum(0).mean() if how == "sum" else stacked.mean()
