"""Anonymizes a whole video, or attacks a result, in a process of its own.

Its arguments are one of

    anonymize EDITS VIDEO RESULT [--allow-empty] [--allow-gaps] [--key-weights FILE]
        [--templates FOLDER]
    attack RESULT PAGE VIDEO

Each line of the output is JSON: {"done": frames, "total": frames or null} as it goes on, then
{"summary": [sentences], "warnings": [sentences], "result_sha256": "..."}, of a run with "facts"
and of an attack with its "exit_code", or {"error": "a sentence", "exit_code": 4}.
"""

import argparse
import os
import shutil
import time
import warnings
from pathlib import Path

from masquerade.attack import AttackConfig, attack_files
from masquerade.errors import MasqueradeError
from masquerade.methods import METHODS
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.receipt import Receipt
from masquerade.pipeline.single_file import run_file
from masquerade.report.attack_page import render_attack_page
from masquerade.storage import atomic_write, file_digest
from masquerade.studio.children import NICE, end_with_parent, say

OFTEN = 0.2  # seconds between two lines of progress
LEVELS = {"recovered": "Recovered: ", "left": "Left: ", "nothing": ""}


def anonymize(words: list[str]) -> None:
    """Do the run that `masquerade anonymize --edits` does."""
    parser = argparse.ArgumentParser()
    for name in ("edits", "video", "result"):
        parser.add_argument(name, type=Path)
    for flag in ("--allow-empty", "--allow-gaps"):
        parser.add_argument(flag, action="store_true")
    for option in ("--key-weights", "--templates"):
        parser.add_argument(option, type=Path)
    settings = vars(parser.parse_args(words))
    video, result, templates = (settings.pop(name) for name in ("video", "result", "templates"))
    if templates is not None:  # as they were when the run was asked for
        os.environ["MASQUERADE_TEMPLATES"] = str(templates)
    config = PipelineConfig(**settings)
    try:
        receipt = run_file(video, result, build_pipeline(None, config), progress=Progress())
    finally:
        if templates is not None:  # they describe what was pointed at, and are of no more use
            shutil.rmtree(templates, ignore_errors=True)
    sha256 = receipt.output and receipt.output.sha256
    warned = list(receipt.warnings)
    say(summary=told(receipt), warnings=warned, facts=facts(receipt), result_sha256=sha256)


def attack(result: Path, page: Path, video: Path) -> None:
    """Try to recover what was hidden, beside the raw video, and write a page of it."""
    progress = Progress()
    report = attack_files([result], AttackConfig(), raw=video, progress=progress.step)
    with atomic_write(page, overwrite=True, private=True) as part:
        part.write_text(render_attack_page(report), encoding="utf-8")
    (attacked,) = report.videos
    if attacked.error and not attacked.recovered:
        raise MasqueradeError(f"the result could not be attacked: {attacked.error}")
    verdict = "These attacks recovered nothing; others may."
    if attacked.recovered:
        verdict = "Something was recovered: look at the frames before the result is released."
    sentences = [f"{LEVELS[finding.level]}{finding.says}" for finding in attacked.findings]
    warned = [f"It could not be attacked to its end: {attacked.error}"] if attacked.error else []
    if attacked.without_raw:
        warned.append(f"It was not compared with the raw video: {attacked.without_raw}")
    sha256, code = file_digest(page), report.exit_code
    say(summary=[verdict, *sentences], warnings=warned, exit_code=code, result_sha256=sha256)


def told(receipt: Receipt) -> list[str]:
    """A receipt in sentences."""
    coverage, method = receipt.coverage, receipt.hidden_by
    hidden = coverage.frames - coverage.empty
    sentences = [
        f"{hidden:,} of {coverage.frames:,} frames have something hidden by {method}; on average "
        f"{100 * sum(coverage.share) / max(1, coverage.frames):.0f} % of the picture."
    ]
    if coverage.missed:
        sentences.append(f"Nothing was found in {coverage.missed} frames between.")
    if coverage.tracks:
        sentences.append(
            f"People or faces followed: {coverage.tracks}; somebody and their face count as two, "
            "and so does one who was lost and found again."
        )
    if receipt.left_visible:
        sentences.append(f"Left visible on purpose: {len(receipt.left_visible)}.")
    if receipt.measured:
        sentences.append(f"What was measured of this level: {receipt.measured}.")
    if receipt.removed:
        sentences.append(f"Removed besides: {', '.join(receipt.removed)}.")
    sentences.append(f"Sound: {receipt.audio}.")
    return sentences


def facts(receipt: Receipt) -> dict[str, str]:
    """A receipt in short lines, the same for every run, so that two can be compared."""
    coverage, output, detail = receipt.coverage, receipt.output, receipt.residual_detail
    names = [str(receipt.method["name"]), *receipt.other_methods]
    share = 100 * sum(coverage.share) / max(1, coverage.frames)
    hidden = f"{coverage.frames - coverage.empty:,} of {coverage.frames:,} frames"
    regions = " and ".join(region.name for region in receipt.regions)
    lines = {
        "What is hidden": f"{regions}, by {receipt.hidden_by}",
        "Frames with something hidden": f"{hidden}; {share:.0f} % of the picture on average",
    }
    if output is not None:
        size = (
            f"{output.bytes / 1e6:.1f} MB"
            if output.bytes >= 1e6
            else f"{output.bytes / 1e3:.0f} kB"
        )
        lines["Size"] = f"{size}, {output.width} x {output.height}, {output.codec}"
    if detail is not None and detail.measured:
        lines["Fine detail left, measured in this run"] = (
            f"{100 * detail.left:.0f} % where most is left, in frame {detail.frame}"
        )
    lines["Measured of this setting before"] = receipt.measured or "nothing; try to undo it"
    undo = {name: METHODS[name].card.undo for name in names if name in METHODS}
    if undo:
        several = [f"{name}: {says}" for name, says in undo.items()]
        lines["Can it be undone?"] = "; ".join(several if len(undo) > 1 else undo.values())
    return lines


class Progress:
    """Tells how far it is, a few times a second at most."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._last >= OFTEN or done == total:
            self._last = now
            say(done=done, total=total)

    def step(self, what: str, done: int, total: int) -> None:
        """Tell how far one named step of an attack is."""
        self(done, total)


def main(argv: list[str]) -> int:
    """Run one job; returns 0 if it was done, whatever an attack recovered, or an error's code."""
    end_with_parent()
    os.nice(NICE)
    warnings.simplefilter("ignore")
    try:
        if argv[0] == "attack":
            attack(*map(Path, argv[1:]))
        else:
            anonymize(argv[1:])
    except KeyboardInterrupt:
        return 130
    except MasqueradeError as error:
        say(error=str(error), exit_code=error.exit_code)
        return error.exit_code
    except OSError as error:  # such as a full disk
        say(error=f"{error.strerror or error}.", exit_code=1)
        return 1
    return 0
