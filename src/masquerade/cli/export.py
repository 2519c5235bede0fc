"""`masquerade export`: a method or a recognizer as a file that runs without masquerade."""

import inspect
import json
import re
import sys
from collections import ChainMap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from masquerade.anonymizer import Anonymizer
from masquerade.cli.arguments import (
    HELP,
    flag_value,
    load_trained,
    method_constructor,
    trained_constructor,
)
from masquerade.cli.readable_help import Box, boxes_of, parse_boxes
from masquerade.errors import UsageError
from masquerade.export.graph import Graph, MethodGraph
from masquerade.export.recognizer_graph import RecognizerGraph
from masquerade.export.write import TOLERANCE, Exported, export
from masquerade.methods import METHODS
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.ranges import Checked, Count
from masquerade.storage import refuse_existing

EXAMPLE = "masquerade export spact --weights run/ --size 240x320 -o spact.onnx"
BOXES = {
    "": "name output weights preset size format overwrite json",
    "recognizers": "classes frames modality",
}
RECOGNIZER_ONLY = ("classes", "frames", "modality")


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """Write a method or a recognizer as an ONNX file, compared with PyTorch before it appears."""

    # a method or a recognizer. A method's own arguments follow.
    name: Positional[str]
    output: Annotated[Path, arg(aliases=["-o"])]  # the file, such as spact.onnx.
    # a training run or its weights; of a recognizer a file of weights.
    weights: Path | None = None
    # a named setting of a method; a learned one is then exported untrained, to try a file out.
    preset: str | None = None
    # height and width of frames, as 240x320; by default any, where one file can do that, and of a
    # recognizer as the papers have it.
    size: str | None = None
    format: Literal["onnx", "torch"] = "onnx"  # or a program for torch.export.load.
    overwrite: bool = False  # replace an existing file.
    json: bool = False  # print the result as JSON.
    classes: Count | None = None  # outputs of a recognizer; of several labels all of theirs.
    frames: Count | None = None  # of a recognizer's clips; by default as the papers sample them.
    # what a recognizer is fed of a clip: frames, stills, contrast, motion, both, background.
    modality: str = "frames"


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    options, graph = parse(argv)
    if not graph.trained:
        print(
            f"masquerade: {options.name} is exported untrained, with random weights: the file is "
            "for trying out, and neither hides nor reads anything.",
            file=sys.stderr,
        )
    made = export(graph, options.output, format=options.format, overwrite=options.overwrite)
    if options.json:
        print(json.dumps({**asdict(made), "tolerance": TOLERANCE}, indent=1))
    else:
        print("\n".join(_lines(made)))
    return 0


def parse(argv: list[str]) -> tuple[Options, Graph]:
    """Options, and the graph that they name."""
    name = argv[0] if argv and not argv[0].startswith("-") else ""
    if not name and not HELP & set(argv):
        raise UsageError(f"name a method or a recognizer first, as in: {EXAMPLE}")
    if name and name not in METHODS and name not in RECOGNIZERS:
        known = ", ".join([*METHODS, *RECOGNIZERS])
        raise UsageError(f"there is no method or recognizer {name!r}; choose one of {known}.")
    make = _constructor(name, argv) if name in METHODS else None
    own = {name: Box(make)} if make is not None and inspect.signature(make).parameters else {}
    boxes = boxes_of(Options, BOXES)
    parsed = parse_boxes(
        argv,
        {**boxes, **own},
        verb="masquerade export",
        description=f"{EXAMPLE}\n\n{Options.__doc__}",
        short={"": boxes[""], **own},
    )
    anonymizer = parsed.pop() if own else None
    options = Options(**ChainMap(*parsed))
    refuse_existing(options.output, overwrite=options.overwrite)
    size = None if options.size is None else parse_size(options.size)
    if make is None:
        return options, _recognizer(options, size)
    for field in RECOGNIZER_ONLY:
        if flag_value(argv, (f"--{field}",)) is not None:
            raise UsageError(f"--{field} is of recognizers; {name} is a method, so leave it out.")
    anonymizer = anonymizer or make()
    if options.preset is None:
        anonymizer.check_trained()
    return options, MethodGraph(anonymizer.eval(), size=size)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of 240x320."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None or "0" in (found[1], found[2]):
        raise UsageError(f"--size is a height and a width in pixels, as 240x320, not {text!r}.")
    return int(found[1]), int(found[2])


def _constructor(name: str, argv: list[str]) -> Callable[..., Anonymizer]:
    weights, preset = flag_value(argv, ("--weights",)), flag_value(argv, ("--preset",))
    if weights and preset:
        raise UsageError("weights have their settings with them; leave out --preset.")
    if weights:
        return trained_constructor(weights, load_trained(weights, name))
    return method_constructor(name, preset)


def _recognizer(options: Options, size: tuple[int, int] | None) -> RecognizerGraph:
    if options.classes is None:
        raise UsageError(f"give the number of outputs of {options.name} with --classes.")
    if options.preset is not None:
        raise UsageError(f"{options.name} is a recognizer, which has no --preset; leave it out.")
    return RecognizerGraph(
        options.name,
        classes=options.classes,
        weights=options.weights,
        frames=options.frames,
        size=size,
        modality=options.modality,
    )


def _lines(made: Exported) -> list[str]:
    """What was written, in words."""
    lines = []
    for title in ("inputs", "outputs"):
        for name, port in made.about[title].items():
            shape = ", ".join(map(str, port["shape"]))
            lines.append(f"  {title[:-1]} {name} ({shape}): {port['meaning']}")
    for warning in made.about.get("warnings", ()):
        lines.append(f"  its training said: {warning}")
    off = (
        f"{made.difference:.1e}" if made.jumped == 0 else f"a level in {made.jumped:.3%} of values"
    )
    return [
        f"{made.path}: {made.about['name']}",
        *lines,
        f"  {made.comparisons} outputs compared with PyTorch: at most {off} apart "
        f"(allowed: {TOLERANCE:.0e})",
    ]
