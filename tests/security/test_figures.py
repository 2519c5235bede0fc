"""`benchmarks/security.py`: the table of the threat model says what the files of results say."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def security(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import security

    yield security
    sys.modules.pop("security", None)


def test_what_has_no_file_is_not_measured(security: ModuleType, tmp_path: Path) -> None:
    rows = security.table(tmp_path).splitlines()[2:]
    assert len(rows) == 6 and all("| not measured |" in row for row in rows)
    (tmp_path / "fuzz.md").write_text("no table")
    assert "[inputs tried](results/fuzz.md) | not measured |" in security.table(tmp_path)


def test_figures_are_those_of_the_files(security: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "fuzz.md").write_text(
        "Made by `python benchmarks/fuzz.py --inputs 700` with\n| all | 700 | 1 | 2 | 695 | 2 |\n"
    )
    (tmp_path / "faults.md").write_text("**80 runs were struck and repeated; 3 failed.**")
    (tmp_path / "mutation.md").write_text(
        "    python benchmarks/m.py\n1,159 of 1,381 were\nkilled."
    )
    room = {"pipeline": {"share": 0.951}, "video": {"share": 0.9449}}
    made = {"command": "python x.py", "commit": "abc1234"}
    (tmp_path / "code-coverage.json").write_text(json.dumps({**made, "rooms": room}))
    soak = {"flat": False, "runs": 9, "minutes": 60.2, "wrong": 1, "growth_mb": {"value": 2.0}}
    (tmp_path / "soak.json").write_text(json.dumps({**made, **soak}))
    held = {"held": 4, "promises": 5, "passed": 7, "skipped": 1}
    (tmp_path / "promises.json").write_text(json.dumps({**made, **held}))
    table = security.table(tmp_path)
    for figure in (
        "700 mutated files, 2 failures | `benchmarks/fuzz.py --inputs 700`",
        "77 of 80 runs",
        "1,159 of 1,381: 83.9 % | `benchmarks/m.py`",
        "pipeline 95.1 %, video 94.5 %, on abc1234",
        "not flat: 9 runs in 60 minutes, 1 ended wrongly; +2.0 MB",
        "4 of 5, by 7 tests (1 skipped), on abc1234; of the ",
        " are newer and not in this count | ",
    ):
        assert figure in table, table


def test_only_what_is_between_the_marks_changes(security: ModuleType) -> None:
    page = f"before\n{security.BEGIN}\nold\n{security.END}\nafter"
    new = security.with_table(page, "new")
    assert new.startswith("before\n") and new.endswith("\nafter") and "old" not in new
    assert security.with_table(new, "new") == new
    with pytest.raises(SystemExit, match="lacks"):
        security.with_table("before", "new")


def test_every_row_of_the_promises_is_run(security: ModuleType) -> None:
    page = (ROOT / security.PAGE).read_text()
    rows = security.named_tests(page)
    assert len(rows) > 40 and all(rows)
    assert security.BEGIN in page and security.END in page
