"""`benchmarks/soak.py`: what piles up over many runs in one process is seen."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import soak

    yield soak
    sys.modules.pop("soak", None)


def test_a_soak_that_leaks_is_not_flat(soak: ModuleType) -> None:
    noise = np.random.default_rng(0).normal(0, 5, 120)
    flat = [
        soak.Round(
            minutes=m / 2, runs=20 * m, memory=600 + noise[m], peak=650, descriptors=11, threads=3,
            children=1, files=0,
        )
        for m in range(120)
    ]  # fmt: skip

    def verdict(rounds: list) -> bool:
        return soak.verdict(soak.Soak(rounds, Counter(), []))[0]

    assert verdict(flat)
    assert verdict([replace(r, memory=r.memory + min(100, 10 * r.minutes)) for r in flat])
    assert not verdict([replace(r, memory=r.memory + r.minutes) for r in flat])
    for name in ("descriptors", "threads", "children", "files"):
        last = replace(flat[-1], **{name: getattr(flat[-1], name) + 1})
        assert not verdict([*flat[:-1], last]), name


@pytest.mark.slow
def test_nothing_piles_up_over_runs_that_end_in_every_way(soak: ModuleType) -> None:
    found = soak.soak(minutes=0, seed=7, least=3)  # whatever else the machine does
    assert not found.wrong and found.outcomes["done"] > 20
    half = len(found.rounds) // 2
    for name in soak.COUNTED:
        counts = [getattr(one, name) for one in found.rounds]
        # The last file's decoder may keep its threads until the next one is opened.
        spare = 4 if name == "threads" else 0
        assert max(counts[half:]) <= max(counts[:half]) + spare, name
