"""What CI says of the installed packages' licences and vulnerabilities."""

from __future__ import annotations

import json
import runpy
import stat
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AUDIT = runpy.run_path(str(ROOT / ".ci" / "audit.py"))


def tools(folder: Path, **answers: object) -> Path:
    """Commands of these names that print an answer, or an error where it is None."""
    for name, answer in answers.items():
        path = folder / name.replace("_", "-")
        said = "echo no network >&2; exit 1" if answer is None else f"echo '{json.dumps(answer)}'"
        path.write_text(f"#!/bin/sh\n{said}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def package(licence: str, name: str = "thing") -> dict[str, str]:
    return {"Name": name, "Version": "1", "License": licence}


@pytest.mark.parametrize(
    "licence",
    [
        "GPL-3.0-only", "AGPL-3.0", "GNU General Public License v3 (GPLv3)", "SSPL-1.0",
        "GNU Affero General Public License v3", "CC-BY-NC-4.0", "CC BY-NC 4.0",
        "Free for non-commercial use", "GPL-2.0 OR AGPL-3.0", "MIT AND GPL-2.0", "GPLv2",
        "PolyForm-Noncommercial-1.0.0", "BUSL-1.1", "Other/Proprietary License",
    ],
)  # fmt: skip
def test_denied_licences(licence: str) -> None:
    assert AUDIT["denied_licences"]([package(licence)]) == [f"thing 1 is under {licence}"]


@pytest.mark.parametrize(
    "licence",
    [
        "MIT", "BSD License", "Apache-2.0", "MPL-2.0", "LGPL-3.0", "LGPLv2+", "GPL-2.0 OR MIT",
        "GNU Lesser General Public License v3 (LGPLv3)", "Python Software Foundation License",
    ],
)  # fmt: skip
def test_licences_that_may_be_used(licence: str) -> None:
    assert AUDIT["denied_licences"]([package(licence)]) == []


def run(folder: Path) -> int:
    return int(AUDIT["main"](folder, Path(sys.executable)))


FINE = [{"name": "thing", "version": "1", "vulns": []}]
FAULTY = [{"name": "thing", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]
ABSENT = [{"name": "thing", "skip_reason": "Dependency not found on PyPI"}]


@pytest.mark.parametrize(
    ("licences", "audited", "code", "says"),
    [
        ([package("MIT")], {"dependencies": FINE}, 0, ""),
        ([package("GPL-3.0")], {"dependencies": FINE}, 1, "thing 1 is under GPL-3.0"),
        ([package("MIT")], {"dependencies": FAULTY}, 1, "thing 1: CVE-1, fixed in 2"),
        (
            [package("MIT")],
            {"dependencies": ABSENT},
            0,
            "warning: the list of vulnerabilities",
        ),
        ([package("MIT")], None, 0, "warning: the list of vulnerabilities could not be reached"),
        ([package("GPL-3.0")], None, 1, "thing 1 is under GPL-3.0"),
        (None, {"dependencies": FINE}, 1, "could not be listed"),
    ],
)
def test_a_fault_fails_and_a_list_out_of_reach_warns(
    licences, audited, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tools(tmp_path, pip_licenses=licences, pip_audit=audited)) == code
    said = capsys.readouterr().err
    assert says in said and (says or not said)
