"""Read the flags of a suite as the commands do, and say of which row those are that are wrong."""

import sys
from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from masquerade.benchmark.commands import reason_in
from masquerade.cli import evaluate as evaluation
from masquerade.cli import train as training
from masquerade.cli.arguments import split_commas, with_inference_args
from masquerade.cli.readable_help import Box, boxes_of, parse_boxes
from masquerade.errors import MasqueradeError, UsageError
from masquerade.methods import METHODS
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.run import check_inputs


@contextmanager
def naming(whose: str) -> Iterator[None]:
    """Say whose flags they are that are refused, in one sentence and without a box."""
    printed = StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield
    except SystemExit as end:
        raise UsageError(f"{whose}: {reason_in(printed.getvalue())}") from end
    except MasqueradeError as error:
        raise type(error)(f"{whose}: {error}") from error
    sys.stderr.write(printed.getvalue())


def read_training(words: Sequence[str]) -> AdversarialRecipe:
    """The recipe that the words of `masquerade train` ask for; what they cannot mean is refused."""
    options, recipe = training.parse(list(words))
    private = None if options.private is None else split_commas(options.private)
    check_inputs(recipe, stills=options.stills is not None, private=private)
    return recipe


def read_untrained(words: Sequence[str], recipe: AdversarialRecipe) -> evaluation.Options:
    """Parse flags of `masquerade evaluate` for a method whose weights are not trained yet."""

    def given(**chosen: Any) -> dict[str, Any]:
        return chosen

    method = METHODS[recipe.method]
    own = Box(with_inference_args(given, method, recipe.arguments))
    boxes = boxes_of(evaluation.Options, evaluation.BOXES)
    boxes |= {recipe.method: own} if method.inference_args else {}
    parsed = parse_boxes(list(words), boxes, verb="masquerade evaluate", description="")
    return evaluation.Options(**ChainMap(*parsed[: len(parsed) - bool(method.inference_args)]))
