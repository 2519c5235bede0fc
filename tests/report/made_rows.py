"""Rows and findings made by hand, with names that would break a careless page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from masquerade.evaluation.results import (
    Attack,
    LabelResult,
    Row,
)
from masquerade.metrics.intervals import Score
from masquerade.metrics.leakage import Leakage

HOSTILE = '<script>alert("&")</script>'


def score(value: float, half: float = 0.05) -> Score:
    """A score with its interval."""
    return Score(value, max(0.0, value - half), min(1.0, value + half), 120, 20)


def attack(family: str, test: Score) -> Attack:
    """An attacker of a family."""
    return Attack(family=family, name=f"{family} tiny", validation=0.5, test=test, seed_sd=None)


def action(value: float) -> LabelResult:
    """The action behind a method."""
    return finding("action", "utility", "top-1", "people unseen", score(value), {"constant": 0.17})


def private(
    label: str, value: float, *, half: float = 0.05, protects: bool | None = None, **more: Any
) -> LabelResult:
    """A private label behind a method; floor and raw video are .05 and .9, or .5 and .9."""
    same = label == "identity"
    floor = 0.05 if same else 0.5
    mine = score(value, half)
    span = (value - floor) / (0.9 - floor)
    leaked = Leakage(
        max(0.0, span),
        max(0.0, span - half),
        span + half,
        protects,
        mine,
        score(0.9),
        Score(floor, floor, floor, 120, 20),
        "constant",
    )
    return finding(
        label,
        "private",
        "top-1" if same else "AUROC",
        "same people" if same else "people unseen",
        mine,
        {"constant": floor, "action prior": floor - 0.01},
        **{"leakage": leaked, "f_half": 0.5, **more},
    )


def finding(
    label: str,
    use: str,
    metric: str,
    protocol: str,
    mine: Score,
    floors: Mapping[str, float],
    **more: Any,
) -> LabelResult:
    """A finding of two attackers, of which the first was chosen."""
    other = score((mine.value or 0.0) - 0.01, 0.02)
    given: dict[str, Any] = {
        "leakage": None,
        "f_half": None,
        "highest": "scratch tiny",
        "highest_score": mine,
        "void": None,
        **more,
    }
    return LabelResult(
        label=label,
        use=use,
        metric=metric,
        protocol=protocol,
        floors={name: Score(value, value, value, 120, 20) for name, value in floors.items()},
        attacks=(attack("scratch", mine), attack("motion", other)),
        strongest="scratch tiny",
        score=mine,
        beyond_action=None,
        retrained_gain=None,
        retrained_holds=None,
        **given,
    )


def row(name: str, method: str | None, *findings: LabelResult, **more: Any) -> Row:
    """A method's row."""
    given: dict[str, Any] = {"arguments": {}, "regions": "frame", "not_applicable": None, **more}
    return Row(
        name=name,
        method=method,
        clips=120,
        skipped={},
        cpu_seconds=1.0,
        findings=findings,
        **given,
    )
