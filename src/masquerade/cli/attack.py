"""`masquerade attack`: try to recover from published videos what was hidden in them.

What imports torch is imported where it is used: the help does not wait for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from masquerade.attack import AttackConfig
from masquerade.cli.progress import StepProgress
from masquerade.cli.readable_help import Box, parse_boxes
from masquerade.errors import MasqueradeError, UsageError, as_masquerade_error
from masquerade.storage import atomic_write, temporary_file
from masquerade.text import escape, name_some, readable

if TYPE_CHECKING:
    from masquerade.attack import AttackReport, Finding, VideoAttack

MOST_NAMED = 10  # files that are passed over
MARKS = {"recovered": "[red bold]recovered[/]", "left": "[yellow]left[/]", "nothing": "nothing"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Try to recover from published videos what was hidden in them, without any label.

    Exit code 0: these attacks recovered nothing. 4: they recovered something. 1: they recovered
    nothing, but an input could not be attacked, or not be compared with the raw video of --raw.
    With 4 some may not have been attacked either: they are named on stderr in any case.
    """

    inputs: Positional[list[Path]]  # videos and images as they were published, or folders of them.
    raw: Path | None = None  # the raw video, or a folder of raw videos of the same names.
    # an HTML page with the frames that prove it; guard it.
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    # put frames into the page as proof; --no-pictures: write a page without any, to send on.
    pictures: bool = True
    overwrite: Annotated[bool, arg(aliases=["-y"])] = False  # replace an existing page.
    json: bool = False  # print JSON and nothing else.
    # print the verdict of each file and nothing else.
    quiet: Annotated[bool, arg(aliases=["-q"])] = False
    # print where in the code an error that is not foreseen arose, on stderr: report it.
    verbose: Annotated[bool, arg(aliases=["-v"])] = False


def parse(argv: list[str]) -> tuple[Options, AttackConfig]:
    """The options of the verb, and those of the attacks."""
    options, config = parse_boxes(
        argv,
        {"": Box(Options), "attack": Box(AttackConfig)},
        verb="masquerade attack",
        description=str(Options.__doc__),
    )
    return options, config


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    options, config = parse(argv)
    from masquerade.attack import attack_files

    if options.output is not None:
        if options.output.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{options.output} is no page: let its name end in .html.")
        with temporary_file(options.output, overwrite=options.overwrite):
            pass  # a place that takes no file is refused before the work of minutes, not after it
    with StepProgress(quiet=options.quiet or options.json) as progress:
        report = attack_files(options.inputs, config, raw=options.raw, progress=progress.follow)
    codes = []
    for step in (_write_page, _print_report):  # each also where the other fails, as on a full disk
        try:
            step(report, options)
        except (MasqueradeError, OSError) as error:
            print(f"masquerade: {as_masquerade_error(error)}", file=sys.stderr)
            codes.append(getattr(error, "exit_code", 1))
            options = replace(options, output=None)  # there is no page to speak of
    return report.exit_code or max(codes, default=0)  # nothing that was recovered is taken back


def _print_report(report: AttackReport, options: Options) -> None:
    """Print what was found, and on standard error what was not attacked."""
    if options.json:
        print(json.dumps(report.plain(), indent=1))
    else:
        _print(report, options)
        if options.output is not None and not options.quiet:
            shows = "shows the frames; guard it" if options.pictures else "has no frame in it"
            print(f"{escape(options.output)} {shows}.")
    for video in report.not_attacked:
        end = " to its end" if video.findings else ""
        says = f"{escape(video.path)} could not be attacked{end}: {escape(str(video.error))}"
        print(says, file=sys.stderr)
    if options.verbose:
        tracebacks = (*(attacked.traceback for attacked in report.videos), *report.tracebacks)
        print("".join(f"{text}\n" for text in tracebacks if text), file=sys.stderr, end="")
    for video in report.without_raw:
        says = f"{escape(video.path)} was not compared with a raw video: {video.without_raw}"
        print(says, file=sys.stderr)
    if report.passed_over:
        listed = name_some([escape(path) for path in report.passed_over], MOST_NAMED)
        print(f"Not attacked, as they are no videos by their names: {listed}", file=sys.stderr)


def _write_page(report: AttackReport, options: Options) -> None:
    """Write the page, if one is asked for."""
    from masquerade.report.attack_page import render_attack_page

    if options.output is None:
        return
    page = readable(render_attack_page(report, pictures=options.pictures))
    with atomic_write(
        options.output, overwrite=options.overwrite, private=options.pictures
    ) as part:
        part.write_text(page, "utf-8")


def _print(report: AttackReport, options: Options) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for video in report.videos:
        console.print(f"{escape(video.path)}: {_verdict(video)}", markup=False)
        _print_findings(video.findings if not options.quiet else (), console)
    if report.folder and not options.quiet:
        console.print("All videos together:")
        _print_findings(report.folder, console)


def _print_findings(findings: Sequence[Finding], console: Console) -> None:
    for finding in findings:
        console.print(f"  {MARKS[finding.level]}{' ' * (10 - len(finding.level))}", end="")
        console.print(finding.says, markup=False)


def _verdict(video: VideoAttack) -> str:
    if video.recovered:
        return "something was recovered."
    if video.error:
        return "could not be attacked" + (" to its end." if video.findings else ".")
    return "these attacks recovered nothing; others may."
