"""Verbs, flags and public names do not change by accident: they are compared with a committed list.

`python tests/cli/test_frozen_interface.py` writes the list anew from the parsers.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
from importlib import import_module
from pathlib import Path
from unittest import mock

import masquerade
from masquerade.cli import VERBS
from masquerade.errors import MasqueradeError
from masquerade.methods import METHODS

FROZEN = Path(__file__).with_name("frozen_interface.txt")
UPDATE = "PYTHONPATH=src python tests/cli/test_frozen_interface.py"


def help_of(verb: str, *words: str) -> str:
    """What `masquerade VERB WORDS --help-all` prints; empty where the words are refused."""
    printed = io.TextIOWrapper(io.BytesIO(), "utf-8")
    wide = mock.patch.dict(os.environ, {"COLUMNS": "100"})
    with wide, contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        try:
            import_module(f"masquerade.cli.{verb}").main([*words, "--help-all"])
        except MasqueradeError:
            return ""
    printed.seek(0)
    return re.sub("\x1b\\[[0-9;]*m", "", printed.read())


def flags_of(text: str) -> set[str]:
    """The flags of a printed help, which begin the lines of its boxes; short ones with their long.

    A flag of one's own, such as `-o PATH, --output PATH`, becomes "-o, --output".
    """
    found = set()
    for line in text.splitlines():
        if re.match(r"│ -{1,2}[a-zA-Z]", line):
            names = re.split(r"\s{2,}|│$", line[2:])[0]
            found.add(", ".join(re.findall(r"(?<!\S)-{1,2}[a-zA-Z][\w-]*", names)))
    return found - {"-h, --help", "--help-all"}


def subcommands_of(text: str) -> list[str]:
    return re.findall(r"^  (\S+)", text, re.M) if "COMMAND" in text else []


def sections() -> dict[str, set[str]]:
    """Every command and its flags; a method's section lists what it adds to those of all."""
    found: dict[str, set[str]] = {}
    for verb in VERBS:
        plain = help_of(verb)
        if names := subcommands_of(plain):
            found |= {f"{verb} {name}": flags_of(help_of(verb, name)) for name in names}
        elif verb in ("anonymize", "train"):
            option = ["--method"] if verb == "anonymize" else []
            each = {name: flags_of(help_of(verb, *option, name)) for name in METHODS}
            each = {name: flags for name, flags in each.items() if flags}
            shared = set.intersection(*each.values())
            found[verb] = shared
            for name, flags in each.items():
                found[" ".join([verb, *option, name])] = flags - shared
        else:
            found[verb] = flags_of(plain)
    return found


def interface() -> str:
    lines = [
        "Every verb, flag and public name of masquerade.",
        f"Written by: {UPDATE}",
        "",
        "masquerade.__all__",
        *(f"  {name}" for name in sorted(masquerade.__all__)),
    ]
    for command, flags in sections().items():
        lines += ["", f"masquerade {command}"]
        lines += (f"  {flag}" for flag in sorted(flags, key=lambda flag: flag.split("--")[-1]))
    return "\n".join(lines) + "\n"


def test_verbs_flags_and_public_names_are_those_of_the_committed_list() -> None:
    before, now = FROZEN.read_text("utf-8"), interface()
    changes = difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=8)
    assert now == before, (
        "the interface is not the committed one. Where that is meant, note it in CHANGELOG.md and "
        f"write the list anew:\n\n    {UPDATE}\n\n" + "\n".join(list(changes)[2:])
    )


if __name__ == "__main__":
    FROZEN.write_text(interface(), "utf-8")
    print(FROZEN)
