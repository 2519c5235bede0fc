"""An evaluation with one method of every verdict."""

from __future__ import annotations

import pytest
from made_rows import HOSTILE, action, private, row, score

from masquerade.evaluation.results import SCHEMA, Control, Evaluation, PosesSeen


@pytest.fixture(scope="session")
def table() -> Evaluation:
    """Raw video, a method that holds, one that is undecided, two that leak, and one not run."""
    return Evaluation(
        schema=SCHEMA,
        data="Ward & <b>clinic</b>, 50 %",
        command="masquerade evaluate --data a_b.csv",
        preset="tiny",
        folds=5,
        seeds=1,
        attackers=("scratch", "motion"),
        through_file=False,
        controls=(
            Control(kind="positive", label="identity", score=score(0.9), floor=0.05, passed=True),
            Control(kind="negative", label="identity", score=score(0.04), floor=0.05, passed=False),
            Control(kind="clip size", label="identity", score=score(0.1), floor=0.05, passed=None),
        ),
        void=None,
        limits=("Few clips.",),
        rows=(
            row(
                "raw",
                None,
                action(0.8),
                private("identity", 0.9, protects=False),
                private("attributes", 0.9, protects=False),
                private("red_top", 0.9, protects=False),
                poses=(PosesSeen(content="poses", seen=10, frames=20),),
            ),
            row(
                "figure .5",
                "mannequin",
                action(0.7),
                private("identity", 0.06, half=0.02, protects=True),
                private("attributes", 0.51, half=0.02, protects=True),
                private("red_top", 0.5, half=0.02, protects=True),
            ),
            row(
                "figure .7",
                "mannequin",
                action(0.75),
                private("identity", 0.08, half=0.07, protects=False),
                private("attributes", 0.51, half=0.02, undecided="attackers of poses fail"),
                private("red_top", 0.5, half=0.02, protects=True),
                regions="people",
            ),
            row(
                HOSTILE,
                "spact",
                action(0.6),
                private("identity", 0.5, protects=False),
                private("attributes", 0.7, protects=False, runs_sd=0.03),
                private("red_top", 0.7, leakage=None, void="nobody reads it on raw video"),
                runs=3,
            ),
            row("[later]", None, not_applicable="frames are <missing>"),
        ),
    )
