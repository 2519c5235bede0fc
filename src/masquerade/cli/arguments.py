"""Parse a verb's options and a method's arguments from one command line.

Without a method that is named, the help is made of the verb's options alone: it does not wait for
torch, which is imported with the methods.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shlex
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from rich.console import Console
from rich.table import Table

from masquerade.cli.readable_help import Box, boxes_of, parse_boxes
from masquerade.errors import UsageError
from masquerade.pipeline.levels import LEVELS
from masquerade.text import readable

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymizer

Options = TypeVar("Options")
HELP = {"-h", "--help", "--help-all"}
BEFORE_VALUE = re.compile(r"(--[^=]*=|-[^-]=?)?([\w.-]+[=:](?!//))?")
"""What stands before a path in one word: `--output=`, `-o`, `NAME=`, `boxes:`, or nothing."""


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether a command asks for its help alone; under torchrun one of the processes gives it."""
    return bool(HELP & set(argv)) and "TORCHELASTIC_RUN_ID" not in os.environ


def parse_with_method(
    argv: list[str],
    options: type[Options],
    *,
    verb: str,
    example: str,
    default: str,
    boxes: Mapping[str, str],
    method: tuple[str, ...] = ("--method",),
    preset: str = "--preset",
) -> tuple[Options, Anonymizer]:
    """Parse a verb's options and build the anonymizer that they name.

    `method` are the flags that name the method, which is `default` where none does, `preset` is
    the flag of its preset, and `example` a line to copy for the help, whose `boxes` are names of
    options by title: what is under "" is all that the short help shows.
    """
    name, weights = flag_value(argv, method), flag_value(argv, ("--weights",))
    general = boxes_of(options, boxes)
    description = f"{example}\n\n{(inspect.getdoc(options) or '').splitlines()[0]}"
    if not (name or weights or "--help-all" in argv) and {"-h", "--help"} & set(argv):
        parse_boxes(argv, general, verb=verb, description=description, short={"": general[""]})
    from masquerade.methods import method_name

    make: Callable[..., Anonymizer]
    if weights:
        trained = load_trained(weights, name)
        name, make = method_name(trained), trained_constructor(weights, trained)
    else:
        name = name or default
        make = method_constructor(name, flag_value(argv, (preset,)))
    own = {name: Box(make)} if inspect.signature(make).parameters else {}
    named = flag_value(argv, method) or weights
    parsed = parse_boxes(
        argv,
        {**general, **own},
        verb=verb,
        description=description,
        short={"": general[""], **(own if named else {})},
    )
    anonymizer = parsed.pop() if own else make()
    anonymizer.check_trained()
    return options(**ChainMap(*parsed)), anonymizer


def default_method(
    argv: list[str], *, beside: tuple[str, ...], otherwise: str = "selective"
) -> str:
    """The name of the method if none is given: that of `--level`, or without one `otherwise`.

    Raises:
        UsageError: one of the flags `beside` stands beside a level, which chooses for them.
    """
    level = flag_value(argv, ("--level",))
    if level not in LEVELS:
        return otherwise
    for flag in beside:
        if flag_value(argv, (flag,)):
            raise UsageError(f"--level chooses regions and a method; leave {flag} out, or --level.")
    return LEVELS[level].method


def load_trained(path: str | Path, name: str | None = None, **inference_args: Any) -> Anonymizer:
    """Load a trained anonymizer. A method that learns nothing is given by name, with its arguments.

    Raises:
        UsageError: the file holds another method than the `name` given, or one that learns nothing.
    """
    from masquerade.checkpoint import load, read_method
    from masquerade.methods import METHODS

    method = read_method(path)
    if method in METHODS and not METHODS[method].learned:  # `load` may ask for its key first
        raise UsageError(f"{path} holds {method}, which learns nothing: give --method {method}.")
    trained = load(path, **inference_args)
    if name not in (None, method):
        raise UsageError(f"{path} holds {method}, not {name}.")
    return trained


def run_command(argv: list[str], commands: Mapping[str, Callable[..., int]], *, verb: str) -> int:
    """Run the function that the first word names, with the flags that follow as its arguments."""
    if not argv or argv[0] in HELP | {"help"}:
        console, table = Console(highlight=False), Table.grid("", "", padding=(0, 2))
        for name, function in commands.items():
            table.add_row(f"  {name}", (inspect.getdoc(function) or "").splitlines()[0])
        console.print(f"usage: {verb} COMMAND ...\n")
        console.print(table)
        console.print(f"\n`{verb} COMMAND --help` lists its options.")
        return 0 if argv else 2
    if argv[0] not in commands:
        raise UsageError(f"{verb} has no {argv[0]!r}; choose one of {', '.join(commands)}.")
    command = commands[argv[0]]
    about = (inspect.getdoc(command) or "").partition("\n\nArgs:")[0]
    (code,) = parse_boxes(argv[1:], {"": Box(command)}, verb=f"{verb} {argv[0]}", description=about)
    return int(code)


def flag_value(argv: list[str], flags: tuple[str, ...]) -> str | None:
    """The value of one flag, needed before the parser can be built: other flags depend on it.

    As for that parser, `_` in a flag is `-`.
    """
    hyphened = [
        name.replace("_", "-") + sign + value if name.startswith("--") else name + sign + value
        for name, sign, value in (word.partition("=") for word in argv)
    ]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*(flag.replace("_", "-") for flag in flags), dest="value", nargs="?")
    value: str | None = parser.parse_known_args(hyphened)[0].value
    return value


def command_to_keep(verb: str, argv: Sequence[str]) -> str:
    """The command line, of a path only the last part, as weights and results keep it.

    They are given away, and folders may tell who made them, and of whom. Names that are no UTF-8
    are escaped, as files of weights and of results cannot hold them.
    """
    return readable(f"masquerade {verb} {shlex.join(map(_without_folders, argv))}")


def _without_folders(word: str) -> str:
    begin = BEFORE_VALUE.match(word).end()  # type: ignore[union-attr]
    return word[:begin] + (Path(word[begin:]).name if "/" in word[begin:] else word[begin:])


def split_commas(text: str) -> tuple[str, ...]:
    """The words of a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def method_constructor(name: str, preset: str | None) -> Callable[..., Anonymizer]:
    """A method's constructor with the defaults of a preset; tyro makes flags of it."""
    from masquerade.checkpoint import arguments
    from masquerade.methods import METHODS, PRESETS

    if name not in METHODS:
        raise UsageError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}.")
    presets = PRESETS.get(name, {})
    if preset is None:
        return METHODS[name]
    if preset not in presets:
        known = ", ".join(presets) or "none"
        raise UsageError(f"{name} has no preset {preset!r}; it has {known}.")
    return partial(METHODS[name], **arguments(presets[preset]()))


def trained_constructor(weights: str, trained: Anonymizer) -> Callable[..., Anonymizer]:
    """`load` of trained weights as a function of the arguments that may still change."""

    from masquerade.checkpoint import load

    def load_with(**chosen: Any) -> Anonymizer:
        return load(weights, **chosen)

    defaults = {name: getattr(trained, name) for name in trained.inference_args}
    return with_inference_args(load_with, type(trained), defaults)


def with_inference_args(
    make: Callable[..., Any], method: type[Anonymizer], defaults: Mapping[str, Any]
) -> Callable[..., Any]:
    """Give a function the arguments of a method that may change without new training."""
    free = [
        parameter.replace(default=defaults[name])
        for name, parameter in inspect.signature(method).parameters.items()
        if name in method.inference_args
    ]
    hints = get_type_hints(method.__init__)
    make.__signature__ = inspect.Signature(free)  # type: ignore[attr-defined]
    make.__annotations__ = {parameter.name: hints[parameter.name] for parameter in free}
    make.__doc__ = method.__doc__
    return make
