"""The ranges of options, said once in their types and checked before any work.

`def f(*, workers: PositiveInt = 1)` takes whole numbers of 1 and more. A dataclass that is
`Checked`, a function that is `checked`, and every `Anonymizer` refuse any other value as they are
called.
"""

import functools
import inspect
import math
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from masquerade.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Allowed:
    """The values that an option takes, in words and as a test."""

    words: str
    test: Callable[[float], bool]


def at_least(least: float, most: float = math.inf) -> Allowed:
    """Return the finite numbers from `least` to `most`, both included."""
    words = f"{least} or more" if most == math.inf else f"from {least} to {most}"
    return Allowed(words, lambda value: least <= value <= most and value < math.inf)


def above(least: float, most: float = math.inf) -> Allowed:
    """Return the finite numbers above `least`, up to and including `most`."""
    words = f"above {least}" + ("" if most == math.inf else f" and at most {most}")
    return Allowed(words, lambda value: least < value <= most and value < math.inf)


PositiveInt = Annotated[int, at_least(1)]
NonNegativeInt = Annotated[int, at_least(0)]
Seed = Annotated[int, at_least(0, 2**63 - 1)]
NonNegativeFloat = Annotated[float, at_least(0)]
PositiveFloat = Annotated[float, above(0)]
Share = Annotated[float, above(0, 1)]
UnitInterval = Annotated[float, at_least(0, 1)]
FEWER_DIGITS = "a number of fewer digits"
Kinds: dict[type, tuple[Any, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
    Path: ((str, os.PathLike), "a path"),
}


def check_ranges(owner: Any, values: Mapping[str, Any]) -> None:
    """Raise UsageError if a value is not of the type, or not in the range, of its option.

    Args:
        owner: the function or class whose annotations give both.
        values: by the names of its options; a name that it lacks is left to the caller.
    """
    hints = _hints(owner)
    for name, value in values.items():
        wanted = _refusal(hints[name], value) if name in hints else None
        if wanted is not None:
            raise UsageError(f"{flag_of(name)} must be {wanted}, not {reprlib.repr(value)}.")


def flag_of(name: str) -> str:
    """The flag of an option, such as --mask-scale of `mask_scale`."""
    return "--" + name.replace("_", "-")


def range_words(hint: Any) -> str:
    """The range of an option's type in words; empty where it names none."""
    marks = getattr(hint, "__metadata__", ())
    return " and ".join(mark.words for mark in marks if isinstance(mark, Allowed))


@functools.cache
def _hints(owner: Any) -> dict[str, Any]:
    """Of a class those of its fields and those of its constructor's arguments."""
    parts = (owner, owner.__init__) if inspect.isclass(owner) else (owner,)
    return {k: v for part in parts for k, v in get_type_hints(part, include_extras=True).items()}


def _refusal(hint: Any, value: Any) -> str | None:
    """Return what a value of this type must be, in words; None: `value` is valid, or not checked.

    Of a sequence each element is checked.
    """
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        plain, *marks = inside
        ranges = [mark for mark in marks if isinstance(mark, Allowed)]
        words = " and ".join(allowed.words for allowed in ranges)
        wrong = _refusal(plain, value)
        if (
            wrong is None
            and value is not None
            and not all(allowed.test(value) for allowed in ranges)
        ):
            return words
        return wrong if wrong == FEWER_DIGITS else wrong and (words or wrong)
    if origin in (Union, UnionType):
        refusals = [_refusal(option, value) for option in inside]
        reasons = (refusal for refusal in refusals if refusal not in (None, "left out"))
        return None if None in refusals else next(reasons, "left out")
    if origin is Literal:
        return None if value in inside else "one of " + ", ".join(map(str, inside))
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return "a list"
        hints = inside[:1] * len(value) if inside[-1] is ... else inside
        if len(hints) != len(value):
            return f"{len(hints)} values"
        refusals = [_refusal(item_hint, item) for item_hint, item in zip(hints, value, strict=True)]
        return next((wrong for wrong in refusals if wrong is not None), None)
    if hint in (None, NoneType):
        return None if value is None else "left out"
    if hint is bool:
        return None if isinstance(value, bool) else "true or false"
    if hint not in Kinds:
        return None
    kind, words = Kinds[hint]
    try:
        finite = not isinstance(value, Real) or math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits, which no float can be
        return FEWER_DIGITS
    fits = isinstance(value, kind) and not isinstance(value, bool) and finite
    return None if fits else words


def checked(function: Function) -> Function:
    """Make a function or constructor refuse values outside its ranges before it does anything."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        check_ranges(function, signature.bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


class Checked:
    """A dataclass whose fields are checked as soon as they are set; a path may be given as text."""

    def __post_init__(self) -> None:
        owner: Any = type(self)
        check_ranges(owner, vars(self))
        for name, hint in _hints(owner).items():
            value = vars(self).get(name)
            if isinstance(value, str | os.PathLike) and Path in (hint, *get_args(hint)):
                object.__setattr__(self, name, Path(value))  # it may be frozen
