"""Suites in one process and in little time, for tests of what they are made of."""

from __future__ import annotations

import pytest
from one_process import make_quick

from masquerade.errors import MasqueradeError


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, few attackers, and no clip twice in an epoch; others have their own tests."""
    make_quick(monkeypatch)


@pytest.fixture
def not_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table fails before it is attacked, for tests of what is made before."""

    def failing(*given: object, **more: object) -> None:
        raise MasqueradeError("Enough.")

    monkeypatch.setattr("masquerade.cli.benchmark_run.run_table", failing)
