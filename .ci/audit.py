"""Judge the installed packages: licences that cannot be shipped with, and known vulnerabilities.

    python .ci/audit.py TOOLS PYTHON

TOOLS is the folder of pip-licenses' and pip-audit's commands, PYTHON the interpreter whose packages
are judged. A denied licence or a known vulnerability fails; a list that cannot be reached, or lacks
a package, is a warning, since a check that depends on a server must not stop a release.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DENIED = re.compile(
    r"\b(AGPL|Affero|(?<!L)GPL|SSPL|Server Side Public|BUSL|Business Source)"
    r"|(?<!Lesser )General Public|non-?commercial|\bCC[- ]BY[- ]NC|PolyForm|proprietary",
    re.I,
)
IGNORED = {"masquerade"}  # ourselves
NAMED = 3  # packages that a warning names


def denied_licences(packages: Iterable[Mapping[str, str]]) -> list[str]:
    """Packages under a denied licence, by pip-licenses' records; one of a choice may be taken."""
    found = []
    for package in packages:
        name, licence = package["Name"], package["License"].strip().split("\n")[0]
        choices = re.split(r"\s+OR\s+", licence)  # SPDX; ";" of classifiers means all of them
        if name not in IGNORED and all(DENIED.search(choice) for choice in choices):
            found.append(f"{name} {package['Version']} is under {licence}")
    return found


def vulnerabilities(packages: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """What pip-audit knows against packages, and the names of those that its list lacks."""
    known, unknown = [], []
    for package in packages:
        if "skip_reason" in package and package["name"] not in IGNORED:
            unknown.append(package["name"])
        for fault in package.get("vulns", ()):
            fixed = " or ".join(fault["fix_versions"]) or "none yet"
            known.append(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fixed}")
    return known, unknown


def _json(*command: str | Path) -> Any:
    """What a command writes, as JSON; None where it wrote none."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip() or "nothing").splitlines()[-1]
        print(f"{Path(command[0]).name} said: {last[:300]}", file=sys.stderr)
        return None


def main(tools: Path, python: Path) -> int:
    licences = _json(tools / "pip-licenses", "--python", python, "--format=json", "--from=mixed")
    if not licences:
        print("the licences of the installed packages could not be listed", file=sys.stderr)
        return 1
    faults = denied_licences(licences)
    places = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    audited = _json(
        *(tools / "pip-audit", "--path", places.strip(), "-f", "json", "--progress-spinner", "off")
    )
    warning = "the list of vulnerabilities could not be reached; nothing was checked against it"
    if audited is not None:
        known, unknown = vulnerabilities(audited["dependencies"])
        faults += known
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        warning = f"the list of vulnerabilities lacks {', '.join(unknown[:NAMED])}{more}"
        warning *= bool(unknown)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(licences)} packages, {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
