"""Run a benchmark's commands in the test's own process: each process of its own loads all anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from masquerade.errors import MasqueradeError
from masquerade.evaluation.presets import MANY, PRESETS
from masquerade.training.adversarial_data import AdversarialBatches
from masquerade.training.recipe import AdversarialRecipe

ATTACKERS = ("tiny-3d", "kernel on the picture", "kernel on background")


class HereCommands:
    """In place of `LocalCommands`, of which only the processes are left out."""

    def __init__(self, gpus: Sequence[str] = ()) -> None:
        assert not gpus

    def run(self, words: Sequence[str], log: Path, *, side_by_side: int) -> int:
        assert side_by_side == 1
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        try:
            return int(import_module(f"masquerade.cli.{words[0]}").main(list(words[1:])))
        except MasqueradeError as error:
            log.write_text(f"masquerade: {error}")
            return error.exit_code

    def stop(self) -> None:
        """Nothing runs once `run` has returned."""


def make_quick(patches: pytest.MonkeyPatch) -> None:
    """Let benchmarks take one process, few attackers, and no clip twice in an epoch."""
    patches.setattr("masquerade.cli.benchmark_run.LocalCommands", HereCommands)
    few = {name: MANY.attackers[name] for name in ATTACKERS}
    patches.setitem(PRESETS, "many", replace(MANY, epochs=1, finetune_epochs=1, attackers=few))
    begin = AdversarialBatches.__init__

    def short(self: AdversarialBatches, recipe: AdversarialRecipe, *args: Any, **more: Any) -> None:
        begin(self, replace(recipe, min_steps=1), *args, **more)

    patches.setattr(AdversarialBatches, "__init__", short)
