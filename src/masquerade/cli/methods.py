"""`masquerade methods`: what each method hides, whether it can be undone, what it needs."""

import inspect
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from masquerade.cli.arguments import method_constructor
from masquerade.cli.readable_help import Box, parse_boxes


@dataclass(frozen=True, kw_only=True)
class Options:
    """List the methods and the regions, or say all about one method."""

    name: Positional[str | None] = None  # a method, as in `masquerade methods blur`.
    json: bool = False  # print JSON and nothing else.


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    (options,) = parse_boxes(
        argv, {"": Box(Options)}, verb="masquerade methods", description=str(Options.__doc__)
    )
    from masquerade.methods import METHODS, PRESETS  # the help does not wait for torch
    from masquerade.regions import REGIONS

    rows = {
        name: {
            **method.card._asdict(),
            "arguments": {k: v.default for k, v in inspect.signature(method).parameters.items()},
            "presets": sorted(PRESETS.get(name, {})),
        }
        for name, method in METHODS.items()
    }
    if options.name is not None:
        return _print_card(options.name, rows, as_json=options.json)
    regions = {name: (inspect.getdoc(kind) or "").splitlines()[0] for name, kind in REGIONS.items()}
    if options.json:
        print(json.dumps({"methods": rows, "regions": regions}, indent=1))
        return 0
    console, table = Console(highlight=False), Table(show_lines=True)
    table.add_column("--method", no_wrap=True)
    for title in ("what it hides", "can it be undone?", "needs"):
        table.add_column(title, overflow="fold")
    for name, row in rows.items():
        table.add_row(name, row["hides"], row["undo"], row["needs"])
    console.print(table)
    table = Table("--regions", "what is hidden", show_lines=True)
    for name, text in regions.items():
        table.add_row(name, text)
    console.print(table)
    console.print("`masquerade methods NAME` says more of a method, with its options.")
    return 0


def _print_card(name: str, rows: dict[str, dict[str, Any]], *, as_json: bool) -> int:
    """Print what one method hides, and its options with their defaults and ranges."""
    method = method_constructor(name, None)
    if as_json:
        print(json.dumps({name: rows[name]}, indent=1))
        return 0
    row = rows[name]
    lines = [
        (inspect.getdoc(method) or "").splitlines()[0],
        f"It hides {row['hides']}.",
        f"Can it be undone? {row['undo'].capitalize()}.",
        f"It needs {row['needs']}.",
        f"From: {row['paper']}.",
    ]
    if row["presets"]:
        lines.append(f"Named settings: --preset {' or '.join(row['presets'])}.")
    verb = f"masquerade anonymize IN ... --method {name}"
    with suppress(SystemExit):
        parse_boxes(["--help"], {"": Box(method)}, verb=verb, description="\n\n".join(lines))
    return 0
