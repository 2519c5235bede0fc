"""`masquerade methods`: what each method hides, whether it can be undone, what it needs."""

import inspect
import json
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from masquerade.cli.readable_help import Box, parse_boxes
from masquerade.methods import METHODS, PRESETS
from masquerade.regions import REGIONS


@dataclass(frozen=True, kw_only=True)
class Options:
    """List the methods and the regions."""

    json: bool = False  # print JSON and nothing else.


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    (options,) = parse_boxes(
        argv, {"": Box(Options)}, verb="masquerade methods", description=str(Options.__doc__)
    )
    rows = {
        name: {
            **method.card._asdict(),
            "arguments": {k: v.default for k, v in inspect.signature(method).parameters.items()},
            "presets": sorted(PRESETS.get(name, {})),
        }
        for name, method in METHODS.items()
    }
    regions = {name: (inspect.getdoc(kind) or "").splitlines()[0] for name, kind in REGIONS.items()}
    if options.json:
        print(json.dumps({"methods": rows, "regions": regions}, indent=1))
        return 0
    table = Table(show_lines=True)
    for title in ("--method", "what it hides", "can it be undone?", "needs", "from"):
        table.add_column(title, overflow="fold")
    for name, row in rows.items():
        presets = f"\n--preset {'|'.join(row['presets'])}" if row["presets"] else ""
        table.add_row(name + presets, row["hides"], row["undo"], row["needs"], row["paper"])
    console = Console()
    console.print(table)
    for name, text in regions.items():
        console.print(f"--regions {name}: {text}", markup=False, highlight=False)
    return 0
