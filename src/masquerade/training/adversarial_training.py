"""Adversarial training: phases of update steps of the anonymizer, utility network and adversaries.

What differs between STPrivacy, SPAct, VITA and BDQ is in their `AdversarialRecipe`; the losses are
in `adversarial_step`. Phases end on what held-out clips say, and one that works against an
adversary does not begin while the utility network is at chance.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.errors import MasqueradeError, UsageError
from masquerade.methods import build
from masquerade.models.recognizers import with_keep_mask
from masquerade.storage import file_digest
from masquerade.training.adversarial_data import (
    AdversarialBatch,
    AdversarialBatches,
    AdversarialData,
)
from masquerade.training.adversarial_models import (
    AdversarialModels,
    build_adversary,
    build_models,
)
from masquerade.training.adversarial_step import AdversarialStep
from masquerade.training.diagnostics import (
    find_collapse,
    find_warnings,
    has_learned_action,
    with_last_known_loss,
)
from masquerade.training.distributed import Processes, join_processes, refuse_sharding_alone
from masquerade.training.engine import Row, Trainer, digest_inputs
from masquerade.training.optimization import build_optimizer, learning_rate
from masquerade.training.recipe import (
    LOSSES,
    ROLES,
    AdversarialRecipe,
    OptimizerConfig,
    Phase,
    Role,
    UpdateStep,
)
from masquerade.training.seeds import Stream, derive_seed
from masquerade.training.sharding import full_state, shard
from masquerade.training.validation import accuracy, own_columns, validate, write_samples

OnStep = Callable[[str, int, int], None]
"""Called with the phase, the steps done, and how many there are at most."""


@dataclass(frozen=True)
class TrainingProgress:
    """How far an adversarial training has come."""

    phase: str
    epoch: int  # counted from 1, over all phases
    epochs: int  # at most
    row: Row
    collapse: tuple[str, ...]  # how the anonymizer has collapsed, in words


@dataclass(frozen=True)
class TrainedAnonymizer:
    """The result of an adversarial training: an anonymizer in evaluation mode, on the CPU."""

    anonymizer: Anonymizer
    history: list[Row]
    collapse: tuple[str, ...]  # how it had collapsed at the end, in words; empty is well
    warnings: tuple[str, ...]  # what the log leaves in doubt, in words
    seconds: float  # of the wall, since it was last resumed


def train_adversarially(
    recipe: AdversarialRecipe,
    data: AdversarialData,
    *,
    seed: int = 0,
    device: str = "auto",
    amp: bool = False,
    log: Path | None = None,
    samples: Path | None = None,
    resume: Path | None = None,
    start: Anonymizer | None = None,
    allow_chance: bool = False,
    shard: bool = False,
    progress: Callable[[TrainingProgress], None] | None = None,
    stepped: OnStep | None = None,
) -> TrainedAnonymizer:
    """Train an anonymizer against its adversaries.

    Started by torchrun, each process takes its share of every batch.

    Args:
        recipe: networks, losses and phases.
        data: clips and labels; test clips are not among them.
        seed: of weights, order, augmentation and all else that is drawn.
        device: auto, cpu, cuda, cuda:N, mps.
        amp: half precision in the networks; on the CPU it is bfloat16 and seldom pays.
        log: a CSV file, one line an epoch.
        samples: a folder for a picture of raw and anonymized clips, one an epoch.
        resume: a file that holds everything after each epoch; where it exists, training goes on
            from there and ends with the same weights to the bit.
        start: an anonymizer of the same shape, from whose weights this one starts.
        allow_chance: go on where the action was not learned, to try a training out.
        shard: divide the anonymizer's weights and optimizer state among the processes (FSDP).
        progress: called after each epoch.
        stepped: called after each step.

    Raises:
        MasqueradeError: the action was not learned, or losses or weights are no finite numbers.
    """
    if (
        any(adversary.objective.needs_labels for adversary in recipe.adversaries)
        and not data.private
    ):
        raise UsageError("This adversary learns private labels, and the data has none.")
    if shard:
        refuse_sharding_alone()
    with join_processes(device) as processes:
        trainer = AdversarialTrainer(
            recipe,
            data,
            seed=seed,
            amp=amp,
            processes=processes,
            start=start,
            samples=samples,
            allow_chance=allow_chance,
            shard=shard,
            progress=progress,
            stepped=stepped,
        )
        trainer.run(log=log, resume=resume)
        return trainer.result()


class AdversarialTrainer(Trainer):
    """One adversarial training; its arguments are those of `train_adversarially`."""

    models: AdversarialModels

    def __init__(
        self,
        recipe: AdversarialRecipe,
        data: AdversarialData,
        *,
        seed: int,
        amp: bool,
        processes: Processes,
        start: Anonymizer | None = None,
        samples: Path | None = None,
        allow_chance: bool = False,
        shard: bool = False,
        progress: Callable[[TrainingProgress], None] | None = None,
        stepped: OnStep | None = None,
    ) -> None:
        self.recipe, self.data, self.seed = recipe, data, seed
        self.allow_chance, self.shard = allow_chance, shard
        self.samples, self.progress, self.stepped = samples, progress, stepped
        models = build_models(recipe, utility=data.utility, private=data.private, seed=seed)
        if start is not None:
            models.anonymizer.load_state_dict(start.state_dict())
        self.batches = AdversarialBatches(recipe, data, seed=seed, processes=processes)
        digest = self._digest(amp, start)
        super().__init__(models, digest=digest, amp=amp, processes=processes)
        self.updates = 0  # since the phase began
        self.began = time.perf_counter()

    def shard_models(self) -> None:
        if self.shard:
            shard(self.models.anonymizer, self.processes)
            self.models.record_trainable()

    def result(self) -> TrainedAnonymizer:
        for weight in self.models.parameters_of("anonymizer"):
            weight.requires_grad_(True)
        anonymizer = self.models.anonymizer
        if self.shard:
            weights = full_state(anonymizer.state_dict())
            anonymizer = build(self.recipe.method, **self.recipe.arguments)
            anonymizer.load_state_dict(weights)
        anonymizer = anonymizer.eval().cpu()
        anonymizer.trained = True
        history, seconds = list(self.history), time.perf_counter() - self.began
        collapse = self._find_collapse(history[-1])
        warnings = find_warnings(history, self.recipe, self.data)
        collapsed = tuple(f"training collapsed: {note}" for note in collapse)
        anonymizer.warnings = (*collapsed, *warnings)
        return TrainedAnonymizer(anonymizer, history, collapse, warnings, seconds)

    def is_finished(self) -> bool:
        return self._next_phase() is None

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self._fresh_optimizers(self._phase_of(self.history[-1]))

    def train_epoch(self, epoch: int) -> Row:
        number = self._next_phase()
        assert number is not None
        phase, past = self.recipe.phases[number], len(self._rows(number))
        if not past:
            self._begin(phase, number)
        self.updates = int(self.history[-1]["updates"]) if past else 0
        began = time.perf_counter()
        # The same in every process, which draws for the whole batch (`BatchShare.draws`).
        generator = torch.Generator().manual_seed(derive_seed(self.seed, Stream.BATCHES, epoch, 0))
        with self.seeded(derive_seed(self.seed, Stream.LAYERS, epoch, 0)):
            if phase.restart and past and past % phase.restart == 0:
                self._restart_adversaries(phase, epoch, generator)
            measured = self._train_updates(phase, past, epoch, generator)
            means = {
                name: self.processes.mean(torch.stack(values).mean())
                for name, values in measured.items()
            }
            self._check_finite(means)
            self.processes.broadcast(self.models.buffers())
            seed = derive_seed(self.seed, Stream.VALIDATION)
            held_out = validate(self.models, self.recipe, self.batches, seed=seed, phase=phase)
        held_out = self.processes.broadcast_numbers(held_out)  # all must end a phase at once
        names = self._training_columns([*LOSSES, *measured], held_out)
        row: Row = {
            "epoch": epoch + 1,
            "phase": number + 1,
            "updates": self.updates,
            **{f"train_{name}": float(means.get(name, math.nan)) for name in names},
            **held_out,
            "seconds": time.perf_counter() - began,
        }
        row["collapsed"] = float(len(self._find_collapse(row)))
        return row

    def report(self, row: Row) -> None:
        epoch = int(row["epoch"])
        is_main = self.processes.rank == 0
        if self.samples is not None and (is_main or self.shard):  # divided, all must compute
            folder = self.samples if is_main else None
            write_samples(self.models.anonymizer, self.batches, folder, epoch)
        if self.progress is not None and is_main:
            most = sum(phase.epochs for phase in self.recipe.phases)
            name, collapse = self._phase_of(row).name, self._find_collapse(row)
            self.progress(TrainingProgress(name, epoch, most, row, collapse))

    def _rows(self, number: int) -> list[Row]:
        return [row for row in self.history if row["phase"] == number + 1]

    def _next_phase(self) -> int | None:
        """Return the phase of the next epoch, from 0; None: all are over."""
        left = (n for n, p in enumerate(self.recipe.phases) if not p.is_over(self._rows(n)))
        return next(left, None)

    def _phase_of(self, row: Row) -> Phase:
        return self.recipe.phases[int(row["phase"]) - 1]

    def _begin(self, phase: Phase, number: int) -> None:
        """Begin a phase with fresh optimizers."""
        self.optimizers = self._fresh_optimizers(phase)
        before = [update for earlier in self.recipe.phases[:number] for update in earlier.updates]
        if not phase.adversarial or not any("utility" in update.learns for update in before):
            return
        last = with_last_known_loss(self.history[-1], self.history)
        if not self.allow_chance and not has_learned_action(last, self.data):
            score, chance = last["val_utility"], last["chance_utility"]
            why = f"it scores {score:.2f}, and chance {chance:.2f}"
            if math.isnan(score):
                why = "the held-out clips are all of one kind, by which nothing can be told"
            raise MasqueradeError(
                f"The action was not learned before phase {phase.name}: {why}; give more clips, "
                "more epochs or another --utility, and a new folder."
            )

    def _fresh_optimizers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        optimizers: dict[str, torch.optim.Optimizer] = {}
        for role in ROLES:
            for weight in self.models.parameters_of(role):  # the last update froze other roles'
                weight.requires_grad_(True)
            if self.models.parameters_of(role):
                config = self._optimizer_config(phase, role)
                optimizers[role] = build_optimizer(self.models.of_role(role), config)
        return optimizers

    def _optimizer_config(self, phase: Phase, role: Role) -> OptimizerConfig:
        return phase.optimizers.get(role) or self.recipe.optimizers.get(role) or OptimizerConfig()

    def _find_collapse(self, row: Row) -> tuple[str, ...]:
        """Find collapse in phases that can collapse, and in the last one, which is published."""
        phase = self._phase_of(row)
        if not phase.adversarial and phase is not self.recipe.phases[-1]:
            return ()
        expected = self.models.anonymizer.expected_metrics()
        row = with_last_known_loss(row, self.history)
        return find_collapse(row, self.data, expected=expected, tolerance=self.recipe.tolerance)

    def _training_columns(self, names: list[str], held_out: Row) -> list[str]:
        """Return the training columns, the same in every line of the log."""
        if self.history:
            first = self.history[0]
            return [key.removeprefix("train_") for key in first if key.startswith("train_")]
        updates = [update for phase in self.recipe.phases for update in phase.updates]
        later = [name for update in updates for name in update.losses]
        return list(dict.fromkeys([*names, *later, *own_columns(held_out, self.data)]))

    def _train_updates(
        self, phase: Phase, past: int, epoch: int, generator: torch.Generator
    ) -> dict[str, list[Tensor]]:
        """Take the updates of one epoch, and return the losses and metrics of each, by name."""
        measured: dict[str, list[Tensor]] = {}
        steps, done = self.batches.steps, len(self.history)
        left = sum(later.epochs for later in self.recipe.phases[self._next_phase() :]) - past
        for step, batch in enumerate(self.batches.training(epoch, generator)):
            self._set_rates(phase, past + step / steps)
            for update in self._next_updates(phase, generator):
                for name, value in self._update(phase, update, batch, generator).items():
                    measured.setdefault(name, []).append(value)
            if self.stepped is not None and self.processes.rank == 0:
                self.stepped(phase.name, done * steps + step + 1, (done + left) * steps)
        return measured

    def _next_updates(self, phase: Phase, generator: torch.Generator) -> Iterator[UpdateStep]:
        """Yield a batch's updates: a whole round, or the next one; a round may outlast an epoch."""
        round_ = [(update, left) for update in phase.updates for left in range(update.times, 0, -1)]
        end = self.updates + len(round_)
        while self.updates < end:
            update, left = round_[self.updates % len(round_)]
            skipped = self._is_accurate_enough(update, generator)
            self.updates += left if skipped else 1
            if not skipped:
                yield update
                if not phase.same_batch:
                    return

    def _is_accurate_enough(self, update: UpdateStep, generator: torch.Generator) -> bool:
        if update.until_accuracy is None:
            return False
        batch = self.batches.random_held_out(generator)
        self.models.eval()
        with torch.no_grad():
            output = self.models.anonymizer.training_output(batch.clips)
            utility = with_keep_mask(self.models.utility, output.keep)
            value = torch.tensor(accuracy(utility, output.clip, batch.utility))
        return float(self.processes.mean(value.to(self.device))) >= update.until_accuracy

    def _update(
        self, phase: Phase, update: UpdateStep, batch: AdversarialBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Take one update step, and return its losses and metrics."""
        adversarial = AdversarialStep(recipe=self.recipe, update=update, generator=generator)
        with self.models.set_trainable(update.learns, anonymizer_norms=phase.anonymizer_norms):
            with self.autocast():
                losses = adversarial.compute(self.models, batch)
                missing = set(update.losses) - set(losses)
                if missing:
                    raise UsageError(f"There is no loss named {', '.join(sorted(missing))}.")
                weighted = [weight * losses[name] for name, weight in update.losses.items()]
                loss = torch.stack(weighted).sum()
            self.step(
                loss,
                {role: self.models.of_role(role) for role in update.learns},
                {role: self._optimizer_config(phase, role).clip for role in update.learns},
            )
        return {name: value.detach() for name, value in losses.items()}

    def _check_finite(self, losses: Mapping[str, Tensor]) -> None:
        """End the training if a loss or a weight is not finite.

        Weights that are not may show in no loss until the next step.
        """
        parts = [  # of a divided network this process's own
            weight.to_local() if hasattr(weight, "to_local") else weight
            for weight in self.models.state_dict().values()
        ]
        sound = torch.stack([torch.isfinite(part).all() for part in parts])
        everywhere = float(self.processes.mean(sound.all().float()))
        if everywhere < 1 or any(math.isnan(float(value)) for value in losses.values()):
            raise MasqueradeError(
                "the training diverged: its numbers are no longer finite; give another --seed, a "
                "larger --batch or no --amp, and a new folder."
            )

    def _restart_adversaries(self, phase: Phase, epoch: int, generator: torch.Generator) -> None:
        """Give the adversaries new weights and let them catch up alone (VITA, model restarting)."""
        for at, adversary in enumerate(self.recipe.adversaries):
            seed = derive_seed(self.seed, Stream.RESTARTED_ADVERSARIES, epoch, at)
            fresh = build_adversary(self.recipe, adversary, self.data.private, seed=seed)
            self.models.adversary[at].load_state_dict(fresh.state_dict())
        self.optimizers["adversary"] = self._fresh_optimizers(phase)["adversary"]
        update = UpdateStep(learns=("adversary",), losses={"adversary": 1.0})
        for lap in range(math.ceil(phase.catch_up / self.batches.steps)):
            seed = derive_seed(self.seed, Stream.CATCH_UP, epoch, lap)  # taken as an epoch's number
            left = phase.catch_up - lap * self.batches.steps
            for batch in islice(self.batches.training(seed, generator), left):
                self._update(phase, update, batch, generator)

    def _set_rates(self, phase: Phase, at: float) -> None:
        for role in ROLES:
            if role not in self.optimizers:
                continue
            config = self._optimizer_config(phase, role)
            rate = learning_rate(
                config.lr,
                at,
                epochs=phase.epochs,
                warmup=config.warmup,
                step=1 / self.batches.steps,
                cosine=config.cosine,
            )
            for group in self.optimizers[role].param_groups:
                group["lr"] = rate

    def _digest(self, amp: bool, start: Anonymizer | None) -> str:
        started = [] if start is None else [value.cpu() for value in start.state_dict().values()]
        codes = [c for pair in self.batches.codes.values() for side in pair for c in side.values()]
        recipe = self.recipe
        if recipe.image_weights is not None:  # what is in the file, wherever it lies now
            recipe = replace(recipe, image_weights=file_digest(Path(recipe.image_weights)))
        settings = [str(recipe), str(self.seed), f"amp {amp}"]
        # values of clips that are not learned from have outputs, too
        settings += [str(dict(outputs)) for outputs in (self.data.utility, self.data.private)]
        clips = [dataset.digest for dataset in self.data.datasets]
        return digest_inputs([*settings, *clips], [*codes, *started])
