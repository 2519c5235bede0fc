"""The losses of one update step of an adversarial training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from masquerade.anonymizer import TrainingOutput
from masquerade.errors import UsageError
from masquerade.models.recognizers import with_keep_mask
from masquerade.training.adversarial_data import AdversarialBatch
from masquerade.training.adversarial_models import AdversarialModels
from masquerade.training.distributed import SINGLE_PROCESS, Processes
from masquerade.training.label_losses import label_loss, reverse_gradient
from masquerade.training.objectives import ObjectiveBatch
from masquerade.training.recipe import AdversarialRecipe, UpdateStep


@dataclass(frozen=True, kw_only=True)
class AdversarialStep:
    """One update of a recipe, on whatever batch it is given."""

    recipe: AdversarialRecipe
    update: UpdateStep
    generator: torch.Generator
    processes: Processes = SINGLE_PROCESS

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
        wanted = self.update.losses
        output = _anonymize(models, self.update, batch.clips)
        losses = dict(output.losses)
        if "auxiliary" in wanted:
            if output.class_token is None:
                raise UsageError("The auxiliary loss needs an update in which auxiliary learns.")
            losses["auxiliary"] = label_loss(models.auxiliary, output.class_token, batch.utility)
        if "reconstruction" in wanted:
            losses["reconstruction"] = (output.clip - batch.clips).abs().mean()
        if "utility" in wanted:
            utility = with_keep_mask(models.utility, output.keep)
            losses["utility"] = label_loss(utility, output.clip, batch.utility)
        device = output.clip.device
        metrics = {
            name: torch.tensor(value, device=device) for name, value in output.metrics.items()
        }
        against = [name for name in ("adversary", "adversarial") if name in wanted]
        if not against or not self.recipe.adversaries:  # none is an ablation
            return losses | dict.fromkeys(against, output.clip.new_zeros(())) | metrics
        if batch.stills is not None:
            output = _anonymize(models, self.update, batch.stills)
        clip, keep = output.clip, output.keep
        if self.update.reversal is not None:
            clip = reverse_gradient(clip, self.update.reversal)
            keep = None if keep is None else reverse_gradient(keep, self.update.reversal)
        adversaries = [
            (one.objective, with_keep_mask(net, keep if one.objective.needs_labels else None))
            for one, net in zip(self.recipe.adversaries, models.adversary, strict=True)
        ]
        given = ObjectiveBatch(clip, batch.private, self.generator, self.processes)
        if "adversary" in against:
            each = [objective.loss(net, given).mean() for objective, net in adversaries]
            losses["adversary"] = torch.stack(each).sum()
        if "adversarial" in against:
            each = [objective.adversarial_loss(net, given) for objective, net in adversaries]
            losses["adversarial"] = combine_losses(each, self.recipe.combine)
        return losses | metrics


def _anonymize(models: AdversarialModels, update: UpdateStep, clips: Tensor) -> TrainingOutput:
    if update.raw_clips:
        return TrainingOutput(clips)
    if "auxiliary" in update.losses:
        return models.output_with_class_token(clips)
    if "anonymizer" in update.learns:
        return models.anonymizer.training_output(clips)
    with torch.no_grad():
        return models.anonymizer.training_output(clips)


def combine_losses(each: list[Tensor], how: str) -> Tensor:
    """Combine the anonymizer's losses against several adversaries, each (n,), in one number."""
    if len({len(loss) for loss in each}) > 1:  # of different objectives: no common samples
        each = [loss.mean(0, keepdim=True) for loss in each]
    every = torch.stack(each)  # (adversaries, n)
    if how == "max":
        return every.amax(0).mean()
    return every.sum(0).mean() if how == "sum" else every.mean()
