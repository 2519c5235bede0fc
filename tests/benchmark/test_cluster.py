"""A whole benchmark on a Ray cluster gives the tables of one machine's processes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from masquerade.cli import main
from masquerade.datasets.mimes import Mimes, write_mimes

SUITE = """
title = "Small"
about = "seconds"

[data.drawn]
manifest = "{data}/mimes/manifest.csv"

[[tables]]
name = "drawn"
title = "32 drawn clips"
data = "drawn"
evaluate = "--preset many --folds 0 --seeds 1 --attackers background --allow-empty"
rows = [{ name = "coarse", method = "pixelate --block 16" }]
"""


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='needs Ray: pip install -e ".[ray]"'
)
@pytest.mark.slow
def test_a_cluster_anonymizes_and_attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.toml").write_text(SUITE)
    drawn = Mimes(size=32, frames=4, clips=32, people=8, actions=("walk", "squat"))
    write_mimes(tmp_path / "mimes", drawn)

    def rows(*engine: str) -> list[dict[str, Any]]:
        folder = tmp_path / "-".join(["out", *engine])
        words = ["benchmark", str(tmp_path / "small.toml"), "--data", str(tmp_path), "--json"]
        words += ["-o", str(folder), "--workers", "2", "--device", "cpu", "--videos", "0"]
        main([*words, *engine])
        found = json.loads((folder / "results" / "small" / "drawn.json").read_text())["rows"]
        return [{**row, "cpu_seconds": 0} for row in found]

    def refused(*given: object) -> None:
        raise AssertionError("work was done by processes of this machine")

    here = rows()
    for module in ("evaluation.executor", "extraction.extract_video"):
        monkeypatch.setattr(f"masquerade.{module}.worker_pool", refused)
    assert rows("--engine", "ray") == here
