"""Threads that wait for one another do not keep cores from other programs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from masquerade.openmp_waiting import CHOSEN_BY_USER, SPINS


def settings_in_a_command(**environment: str) -> str:
    """What OpenMP says of its settings as it is loaded by a command."""
    rest = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_USER}
    done = subprocess.run(
        [sys.executable, "-m", "masquerade", "doctor"],
        capture_output=True,
        text=True,
        env={**rest, **environment, "OMP_DISPLAY_ENV": "verbose"},
    )
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("PyTorch was not built with GNU's OpenMP")
    return done.stderr


def test_a_command_spins_shortly() -> None:
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in settings_in_a_command()


@pytest.mark.parametrize(
    ("name", "value"), [("GOMP_SPINCOUNT", "77"), ("OMP_WAIT_POLICY", "ACTIVE")]
)
def test_what_a_user_set_stays(name: str, value: str) -> None:
    assert f"{name} = '{value}'" in settings_in_a_command(**{name: value})
