"""Rows that need a template or weights are left out with the reason, until these are here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from masquerade.benchmark.suite import read_suite
from masquerade.cli import main
from masquerade.cli.benchmark import Options
from masquerade.cli.benchmark_plan import places_of, row_words
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.errors import UsageError
from masquerade.evaluation import from_json
from masquerade.evaluation.results import Row

SUITE = """
title = "Small"
about = "seconds"

[data.drawn]
manifest = "{data}/mimes/manifest.csv"

[[tables]]
name = "drawn"
title = "24 drawn clips"
data = "drawn"
evaluate = "--preset many --folds 0 --seeds 1 --attackers background --allow-empty --allow-gaps"
rows = [
  { name = "badge", method = "selective --regions templates:badge", optional = true },
  { name = "dino", method = "selective --regions templates:badge --keys dino-s8", optional = true },
]
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASQUERADE_TEMPLATES", str(tmp_path / "library"))
    monkeypatch.setenv("MASQUERADE_WEIGHTS", str(tmp_path / "weights"))
    path = tmp_path / "small.toml"
    path.write_text(SUITE)
    return path


@pytest.mark.slow
def test_a_row_whose_template_is_not_here_is_left_out_and_measured_once_it_is(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = Mimes(size=32, frames=4, clips=24, people=6, actions=("walk", "squat"))
    write_mimes(tmp_path / "mimes", drawn)
    words = ["benchmark", str(suite), "-o", str(tmp_path / "out"), "--data", str(tmp_path)]
    words += ["--workers", "1", "--device", "cpu", "--videos", "0"]

    def rows() -> dict[str, Row]:
        main(words)
        found = from_json((tmp_path / "out" / "results" / "small" / "drawn.json").read_text())
        return {row.name: row for row in found.rows}

    assert main([*words, "--list"]) == 0
    said = capsys.readouterr().out
    assert "drawn leaves out badge: there is no template badge" in said
    assert "drawn leaves out dino: the weights of dino-s8 are not here" in said
    assert "no template badge" in (rows()["badge"].not_applicable or "")
    picture = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "picture.png"), picture)
    added = ["templates", "add", "badge", "--image", str(tmp_path / "picture.png"), "--at", "9,9"]
    assert main(added) == 0
    now = rows()
    assert now["badge"].not_applicable is None and now["badge"].findings
    assert "dino-s8" in (now["dino"].not_applicable or "")


def test_a_row_that_is_not_optional_is_refused_before_all_work(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It took its table down once all was trained, and was not named."""
    suite.write_text(SUITE.replace(", optional = true", "", 1))
    write_mimes(tmp_path / "mimes", Mimes(size=32, frames=4, clips=8, people=4))
    words = ["benchmark", str(suite), "--data", str(tmp_path), "--device", "cpu"]
    words += ["-o", str(tmp_path / "out")]
    assert main(words) == 3
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("masquerade: small: row badge of table drawn: there is no template badg")
    assert not (tmp_path / "out").exists()
    assert main([*words, "--list"]) == 0
    listed = capsys.readouterr().out
    assert "drawn lacks what badge needs: there is no template badge" in listed
    assert "drawn leaves out dino" in listed


def test_key_weights_are_for_rows_that_name_a_network(suite: Path, tmp_path: Path) -> None:
    small = read_suite(str(suite))
    options = Options(suite=str(suite), key_weights=tmp_path / "dino.pth")
    with pytest.raises(UsageError, match=r"--key-weights: there is no file .*dino\.pth"):
        places_of(small, options)
    (tmp_path / "dino.pth").touch()
    (table,) = small.tables
    plain, dino = (row_words(small, table, row, places_of(small, options)) for row in table.rows)
    assert "--key-weights" not in plain
    assert dino[-2:] == ["--key-weights", str(tmp_path / "dino.pth")]


def test_only_a_method_may_be_optional(suite: Path) -> None:
    trained = '  { name = "spact", train = "spact", optional = true },\n]\n'
    suite.write_text(SUITE.removesuffix("]\n") + trained)
    with pytest.raises(UsageError, match="row spact of drawn is optional, which only methods"):
        read_suite(str(suite))
