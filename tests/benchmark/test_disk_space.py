"""How much disk a benchmark takes is printed before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from masquerade.cli import main
from masquerade.datasets.mimes import Mimes, write_mimes

DRAW = 'draw = "--clips 40 --people 10 --size 32 --frames 4 --actions walk squat"'
SUITE = f"""
title = "Small"
about = "seconds"
[data.drawn]
{DRAW}
[data.other]
{DRAW}
"""
TABLE = """
[[tables]]
name = "NAME"
title = "Drawn"
data = "DATA"
evaluate = "--preset many --folds 0 --seeds 1 --attackers background --allow-empty --allow-gaps"
rows = [{ name = "black", method = "blacken" }]
"""


class Usage(NamedTuple):
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of which 150 GB are free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(150_000_000_000))


def words(tmp_path: Path, *tables: str) -> list[str]:
    text = SUITE
    for table in tables:
        name, data = table.split(" of ")
        text += TABLE.replace("NAME", name).replace("DATA", data)
    (tmp_path / "small.toml").write_text(text)
    out = str(tmp_path / "out")
    return ["benchmark", str(tmp_path / "small.toml"), "-o", out, "--workers", "1"]


def make_data(tmp_path: Path) -> None:
    """Make the data of the suite, and let it name their manifest."""
    made = tmp_path / "drawn"
    actions = ("walk", "squat")
    write_mimes(made, Mimes(size=32, frames=4, clips=40, people=10, actions=actions))
    text = (tmp_path / "small.toml").read_text()
    (tmp_path / "small.toml").write_text(
        text.replace(DRAW, f'manifest = "{made}/manifest.csv"\norigin = "ours"\nlicence = "x"')
    )


@pytest.mark.slow
def test_a_run_says_first_how_much_disk_it_takes(
    tmp_path: Path, quick: None, free: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the limit allows as long as data are not made, and what is needed once they are."""
    command = [*words(tmp_path, "a of drawn"), "--device", "cpu", "--videos", "0"]
    main(command)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("size a: known once its data is made; at most 100 GB of copies")
    assert lines[1].startswith(f"size: at most 100.0 GB of copies in {tmp_path / 'out'}, as --sto")
    assert "; what they need is known later; 150.0 GB are free, " in lines[1]
    assert lines[2].startswith("data and training")
    later = [one for one in lines[3:] if one.startswith("size")]
    assert later[0].startswith("size a: 40 clips, raw and 1 times anonymized: at most 0.0 GB")
    assert later[1].startswith("size: at most 0.0 GB") and "later" not in later[1]
    begun = next(i for i, one in enumerate(lines) if one.startswith("About to anonymize"))
    assert lines.index(later[1]) < begun
    main(command)
    again = capsys.readouterr().err.splitlines()
    assert again[:2] == later and not any(one.startswith("size") for one in again[2:])
    main([*command, "--json"])
    assert "size" not in capsys.readouterr().err


def test_tables_of_the_same_data_share_what_the_limit_lets_them_take(
    tmp_path: Path, free: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*tables: str, limit: str) -> str:
        assert main([*words(tmp_path, *tables), "--list", "--store-limit", limit]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert "at most 100.0 GB" in said("a of drawn", "b of drawn", limit="100")
    assert "at most 200.0 GB" in said("a of drawn", "b of other", limit="100")
    assert "at most 0.5 GB" in said("a of drawn", limit=".5")


@pytest.mark.parametrize("space", [1, 10**12])
def test_a_disk_that_is_too_small_is_told(
    space: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(space))
    command = words(tmp_path, "a of drawn")
    make_data(tmp_path)
    assert main([*command, "--list"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert ("a smaller --store-limit needs less" in said) == (space == 1)


def test_an_attacker_that_there_is_not_is_refused_before_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(tmp_path, "a of drawn")
    make_data(tmp_path)
    suite = tmp_path / "small.toml"
    suite.write_text(suite.read_text().replace("--attackers background", "--attackers typo"))
    for more in ([], ["--list"]):
        assert main([*command, *more]) == 2
        said = capsys.readouterr()
        assert "table a: There is no attacker 'typo'; choose of scratch" in said.err, said.err
        assert "size" not in said.out
