"""Suites in one process and in little time, for tests of what they are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from one_process import HereCommands

from masquerade.errors import MasqueradeError
from masquerade.evaluation.presets import MANY, PRESETS
from masquerade.training.adversarial_data import AdversarialBatches
from masquerade.training.recipe import AdversarialRecipe

ATTACKERS = ("tiny-3d", "kernel on the picture", "kernel on background")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, few attackers, and no clip twice in an epoch; others have their own tests."""
    monkeypatch.setattr("masquerade.cli.benchmark_run.LocalCommands", HereCommands)
    few = {name: MANY.attackers[name] for name in ATTACKERS}
    monkeypatch.setitem(PRESETS, "many", replace(MANY, epochs=1, finetune_epochs=1, attackers=few))
    begin = AdversarialBatches.__init__

    def short(self: AdversarialBatches, recipe: AdversarialRecipe, *args: Any, **more: Any) -> None:
        begin(self, replace(recipe, min_steps=1), *args, **more)

    monkeypatch.setattr(AdversarialBatches, "__init__", short)


@pytest.fixture
def not_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table fails before it is attacked, for tests of what is made before."""

    def failing(*given: object, **more: object) -> None:
        raise MasqueradeError("Enough.")

    monkeypatch.setattr("masquerade.cli.benchmark_run.run_table", failing)
