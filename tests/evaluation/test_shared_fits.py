"""Who takes fits under torchrun; `train` is tested with two processes, and their fits too."""

from __future__ import annotations

import pytest

from masquerade.errors import UsageError
from masquerade.evaluation.shared_fits import helps_with_fits


def started_as(patch: pytest.MonkeyPatch, *, rank: int, here: int, world: int) -> None:
    patch.setenv("TORCHELASTIC_RUN_ID", "test")
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", here)):
        patch.setenv(name, str(value))
    patch.setenv("WORLD_SIZE", str(world))


def test_all_but_the_first_process_take_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not helps_with_fits()  # one process, without torchrun
    started_as(monkeypatch, rank=0, here=2, world=2)
    assert not helps_with_fits()
    started_as(monkeypatch, rank=1, here=2, world=2)
    assert helps_with_fits()


def test_processes_of_several_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    started_as(monkeypatch, rank=0, here=2, world=4)
    with pytest.raises(UsageError, match="one machine: start torchrun with --nnodes 1"):
        helps_with_fits()
