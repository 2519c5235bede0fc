"""A suite whose process is killed at any moment, and run again, gives the table of one run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SUITE = """
title = "Killed"
about = "seconds"

[data.drawn]
draw = "--clips 20 --people 5 --size 32 --frames 6 --actions walk squat"

[[tables]]
name = "drawn"
title = "20 drawn clips"
data = "drawn"
evaluate = "--preset many --folds 0 --seeds 1 --attackers background --allow-empty --allow-gaps"
rows = [
  { name = "black", method = "blacken" },
  { name = "trained", train = "spact --width 2 --short 16 --epochs 1 --batch 8 PLAIN" },
]
""".replace("PLAIN", "--no-adversary --allow-chance")
LONG = 1800  # seconds that nothing takes, on however busy a machine


def fits(out: Path) -> list[Path]:
    """The predictions of attackers that are done."""
    return sorted(out.glob("attacks/drawn/fits/*/*.npz"))


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "while data are drawn": lambda out: (out / "data").exists(),
    "while a method is trained": lambda out: any(out.glob("runs/*/*/*")),
    "while clips are extracted": lambda out: any(out.glob("attacks/drawn/clips/*/*")),
    "after the first attacker": lambda out: len(fits(out)) > 0,
    "after some attackers": lambda out: len(fits(out)) > 3,
}


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The same words in every folder, since they stand in the table."""
    folder.mkdir(exist_ok=True)
    (folder / "killed.toml").write_text(SUITE)
    words = ["benchmark", "killed.toml", "-o", "out", "--device", "cpu", "--workers", "1"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "masquerade", *words], cwd=folder, stdout=log, stderr=log
        )


def wait_for(process: subprocess.Popen[bytes], came: Callable[[], bool], moment: str) -> None:
    until = time.monotonic() + LONG
    while not came():
        assert process.poll() is None, f"it ended before the moment {moment}"
        assert time.monotonic() < until, moment
        time.sleep(0.01)


def results(folder: Path) -> tuple[dict[str, Any], str]:
    """The results and the table, without the times that it took."""
    place = folder / "out" / "results" / "killed"
    result = json.loads((place / "drawn.json").read_text())
    for row in result["rows"]:
        del row["cpu_seconds"]
    before, _, rest = (place / "drawn.md").read_text().partition("## Time\n")
    return result, before + rest.partition("\n\n")[2].partition("\n\n")[2]


def made(folder: Path) -> dict[str, list[str]]:
    """The names of what lies there, by kind: datasets, trainings, clips and fits."""
    out = folder / "out"
    patterns = {
        "data": "data/*/manifest.csv",
        "videos": "data/*/clips/*",
        "runs": "runs/*/*/anonymizer.safetensors",
        "clips": "attacks/drawn/clips/*",
    }
    found = {kind: sorted(map(str, out.glob(pattern))) for kind, pattern in patterns.items()}
    found["fits"] = [str(path) for path in fits(out)]
    return {kind: [name.removeprefix(str(out)) for name in each] for kind, each in found.items()}


@pytest.mark.skipif(sys.platform != "linux", reason="a killed process ends its commands on Linux")
@pytest.mark.slow
def test_a_suite_that_is_killed_goes_on_to_the_same_table(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code = start(whole).wait(LONG)
    for moment, came in MOMENTS.items():
        process = start(killed)
        wait_for(process, lambda came=came: came(killed / "out"), moment)  # type: ignore[misc]
        process.kill()
        assert process.wait(60) == -signal.SIGKILL, moment
        assert not (killed / "out" / "results").exists(), moment
    assert start(killed).wait(LONG) == code
    assert results(killed) == results(whole)
    assert made(killed) == made(whole), "nothing is there twice"
    assert all(made(whole).values())
    spent = [json.loads((one / "out" / "spent.json").read_text()) for one in (killed, whole)]
    # of data that was made just before the kill nobody could note the time any more
    assert all(name.startswith("data/") for name in set(spent[0]) ^ set(spent[1]))
    for mine, its in ((one, spent[1][name]) for name, one in spent[0].items()):
        assert mine["fits"] == its["fits"] and mine["videos"] <= its["videos"], "counted twice"
