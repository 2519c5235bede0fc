"""`masquerade export`: a method or a network as a file that runs without masquerade.

What imports torch is imported where it is used: the help does not wait for it.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from masquerade.cli.arguments import (
    HELP,
    flag_value,
    load_trained,
    method_constructor,
    trained_constructor,
)
from masquerade.cli.readable_help import Box, boxes_of, parse_boxes
from masquerade.errors import UsageError
from masquerade.output_paths import refuse_existing, refuse_replacing
from masquerade.ranges import Checked, PositiveInt, at_least
from masquerade.text import escape

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymizer
    from masquerade.export.graph import Graph
    from masquerade.export.write import Exported, Format

EXAMPLE = "masquerade export spact --weights run/ --size 240x320 -o spact.onnx"
BOXES = {
    "": "name output weights preset size format overwrite json",
    "recognizers": "classes frames modality",
    "key networks": "stride",
}
FORMATS: Mapping[str, Format] = {".onnx": "onnx", ".pt2": "torch"}
"""Formats by the suffixes of their files."""
OF_NETWORKS = {"recognizers": ("classes", "frames", "modality"), "key networks": ("stride",)}
"""Flags that only one kind of network takes, by the kind."""


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """Write a method or a network as an ONNX file that gives what PyTorch gives: it is compared."""

    # a method, a recognizer, or a network of keys or restoration. A method's own arguments follow.
    name: Positional[str]
    output: Annotated[Path, arg(aliases=["-o"])]  # the file, such as spact.onnx.
    # a training run or its weights; of a network a file of weights.
    weights: Path | None = None
    # a named setting of a method; a learned one is then exported untrained, to try a file out.
    preset: str | None = None
    # height and width of frames, as 240x320; by default any, where one file can do that, and of a
    # recognizer as the papers have it.
    size: str | None = None
    # onnx, or torch: a program for torch.export.load; by default as the file's name says: torch of
    # one that ends in .pt2, else onnx.
    format: Literal["onnx", "torch"] | None = None
    overwrite: Annotated[bool, arg(aliases=["-y"])] = False  # replace an existing file.
    json: bool = False  # print the result as JSON.
    # outputs of a recognizer; of several labels all of theirs.
    classes: Annotated[int, at_least(1, 1_000_000)] | None = None
    # of a recognizer's clips; by default as the papers sample them.
    frames: Annotated[int, at_least(1, 10_000)] | None = None
    # what a recognizer is fed of a clip: frames, stills, contrast, motion, both, background; frames
    # by default, and to be said of one that has weights.
    modality: str | None = None
    stride: PositiveInt | None = None  # pixels from key to key; by default the network's own.


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    options, graph = parse(argv)
    from masquerade.export.write import TOLERANCE, export

    if not graph.trained:
        print(
            f"masquerade: {options.name} is exported untrained, with random weights: the file is "
            "for trying out, and neither hides nor reads anything.",
            file=sys.stderr,
        )
    exported = export(graph, options.output, format=format_of(options), overwrite=options.overwrite)
    if options.json:
        print(json.dumps({**asdict(exported), "tolerance": TOLERANCE}, indent=1))
    else:
        print("\n".join(_lines(exported)))
    return 0


def parse(argv: list[str]) -> tuple[Options, Graph]:
    """Options, and the graph that they name."""
    name = argv[0] if argv and not argv[0].startswith("-") else ""
    if not name and not HELP & set(argv):
        raise UsageError(f"name a method or a network first, as in: {EXAMPLE}")
    boxes = boxes_of(Options, BOXES)
    description = f"{EXAMPLE}\n\n{Options.__doc__}"
    if not name:
        parse_boxes(
            argv,
            boxes,
            verb="masquerade export",
            description=description,
            short={"": boxes[""]},
        )
    from masquerade.checkpoint import WEIGHTS
    from masquerade.export.graph import MethodGraph
    from masquerade.export.network_graph import NETWORK_GRAPHS
    from masquerade.methods import METHODS
    from masquerade.models.recognizers import RECOGNIZERS
    from masquerade.regions.key_extractors import NETWORKS

    known = [*METHODS, *RECOGNIZERS, *NETWORK_GRAPHS]
    if name not in known:
        raise UsageError(
            f"there is no method or network {name!r}; choose one of {', '.join(known)}."
        )
    make = _constructor(name, argv) if name in METHODS else None
    parameters = set() if make is None else {*inspect.signature(make).parameters}
    boxes = {  # --frames is of recognizers, and of stprivacy, which then has it alone
        title: Box(box.make, [field for field in box.names or () if field not in parameters])
        for title, box in boxes.items()
    }
    own = {name: Box(make)} if make is not None and parameters else {}
    parsed = parse_boxes(
        argv,
        {**boxes, **own},
        verb="masquerade export",
        description=description,
        short={"": boxes[""], **own},
    )
    anonymizer = parsed.pop() if own else None
    options = Options(**ChainMap(*parsed))
    format_of(options)  # refused before any work
    weights = options.weights  # a file, or a run's folder
    refuse_replacing(options.output, weights, weights and weights / WEIGHTS)
    refuse_existing(options.output, overwrite=options.overwrite)
    size = None if options.size is None else parse_size(options.size)
    tables = {"recognizers": {*RECOGNIZERS}, "key networks": {*NETWORKS}}
    for whose, fields_of in OF_NETWORKS.items():
        for field in {*fields_of} - parameters if name not in tables[whose] else ():
            if flag_value(argv, (f"--{field}",)) is not None:
                raise UsageError(f"--{field} is of {whose}; {name} is none, so leave it out.")
    if make is None:
        return options, _network(options, size)
    anonymizer = anonymizer or make()
    if options.preset is None:
        anonymizer.check_trained()
    return options, MethodGraph(anonymizer.eval(), size=size)


def format_of(options: Options) -> Format:
    """The format that is asked for, or the one that the file's suffix stands for.

    Raises:
        UsageError: the suffix stands for another format than the one that is asked for.
    """
    suffix = options.output.suffix.lower()
    format = options.format or FORMATS.get(suffix, "onnx")
    if FORMATS.get(suffix, format) != format:
        ending = next(end for end, of in FORMATS.items() if of == format)
        raise UsageError(
            f"{options.output} is named as another format than --format {format}: end its name in "
            f"{ending}, or leave --format out."
        )
    return format


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of 240x320."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None or 0 in map(int, match.groups()):
        raise UsageError(f"--size is a height and a width in pixels, as 240x320, not {text!r}.")
    return int(match[1]), int(match[2])


def _constructor(name: str, argv: list[str]) -> Callable[..., Anonymizer]:
    weights, preset = flag_value(argv, ("--weights",)), flag_value(argv, ("--preset",))
    if weights and preset:
        raise UsageError("weights have their settings with them; leave out --preset.")
    if weights:
        return trained_constructor(weights, load_trained(weights, name))
    return method_constructor(name, preset)


def _network(options: Options, size: tuple[int, int] | None) -> Graph:
    from masquerade.export.network_graph import network_graph
    from masquerade.export.recognizer_graph import RecognizerGraph
    from masquerade.models.recognizers import RECOGNIZERS

    if options.preset is not None:
        raise UsageError(f"{options.name} is no method and has no --preset; leave it out.")
    if options.name not in RECOGNIZERS:
        return network_graph(
            options.name, weights=options.weights, size=size, stride=options.stride
        )
    if options.classes is None:
        raise UsageError(f"give the number of outputs of {options.name} with --classes.")
    return RecognizerGraph(
        options.name,
        classes=options.classes,
        weights=options.weights,
        frames=options.frames,
        size=size,
        modality=options.modality,
    )


def _lines(exported: Exported) -> list[str]:
    """What was written, in words."""
    from masquerade.export.write import TOLERANCE

    lines = []
    for title in ("inputs", "outputs"):
        for name, port in exported.about[title].items():
            shape = ", ".join(map(str, port["shape"]))
            lines.append(f"  {title[:-1]} {name} ({shape}): {port['meaning']}")
    for warning in exported.about.get("warnings", ()):
        lines.append(f"  its training said: {escape(warning)}")
    off = (
        f"{exported.difference:.1e}"
        if exported.jumped == 0
        else f"a level in {exported.jumped:.3%} of values"
    )
    return [
        f"{escape(exported.path)}: {exported.about['name']}",
        *lines,
        f"  {exported.comparisons} outputs compared with PyTorch: at most {off} apart "
        f"(allowed: {TOLERANCE:.0e})",
    ]
