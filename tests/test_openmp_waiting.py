"""Threads that wait for one another do not keep cores from other programs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from masquerade.openmp_waiting import CHOSEN_BY_USER, SPINS, shorten_spinning

COMMAND = "from masquerade.cli import main; main(['--version']); import torch"


def test_a_command_spins_shortly() -> None:
    """OpenMP says so of its settings as PyTorch, which a command loads later, loads it."""
    rest = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_USER}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        capture_output=True,
        text=True,
        env={**rest, "OMP_DISPLAY_ENV": "verbose"},
    )
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("PyTorch was not built with GNU's OpenMP")
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr


@pytest.mark.parametrize("name", CHOSEN_BY_USER)
def test_what_a_user_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in CHOSEN_BY_USER:
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setenv(name, "PASSIVE")
    assert not shorten_spinning()
    assert {one: os.environ.get(one) for one in CHOSEN_BY_USER if one in os.environ} == {
        name: "PASSIVE"
    }
