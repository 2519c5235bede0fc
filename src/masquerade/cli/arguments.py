"""One command line for a verb's options and a method's own arguments."""

import argparse
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments, load
from masquerade.errors import UsageError
from masquerade.methods import METHODS, PRESETS, name_of

Options = TypeVar("Options")


def parse_with_method(
    argv: list[str],
    options: type[Options],
    *,
    verb: str,
    example: str,
    default: str,
    method: tuple[str, ...] = ("--method",),
    preset: str = "--preset",
) -> tuple[Options, Anonymizer]:
    """Parse a verb's options and build the anonymizer that they name.

    Args:
        argv: the words behind the verb.
        options: the verb's dataclass of options.
        verb: as `masquerade evaluate`.
        example: a line to copy, for the help.
        default: the method where none is named.
        method: flags that name it.
        preset: the flag that names a preset of it.
    """
    name, weights = flag_value(argv, method), flag_value(argv, ("--weights",))
    make: Callable[..., Anonymizer]
    if weights:
        trained = load(weights)
        if name not in (None, name_of(trained)):
            raise UsageError(f"{weights} holds {name_of(trained)}, not {name}.")
        name, now = name_of(trained), arguments(trained)
        given = {argument: now[argument] for argument in trained.inference_args}
        make = _with_signature(type(trained), given, partial(load, weights))
    else:
        name = name or default
        make = method_constructor(name, flag_value(argv, (preset,)))

    def call(**parts: Any) -> tuple[Options, Anonymizer]:
        chosen, *anonymizer = parts.values()
        return chosen, anonymizer[0] if anonymizer else make()

    kinds: dict[str, Any] = {"general": Annotated[options, OmitArgPrefixes]}
    if inspect.signature(make).parameters:
        kinds[name.replace("-", "_")] = Annotated[make, OmitArgPrefixes]
    chosen, anonymizer = tyro.cli(
        with_annotations(call, kinds),
        args=argv,
        prog=verb,
        description=f"{example}\n\n{(inspect.getdoc(options) or '').splitlines()[0]}",
        config=(FlagCreatePairsOff,),
    )
    anonymizer.check_trained()
    return chosen, anonymizer


def with_annotations(call: Callable[..., Any], kinds: Mapping[str, Any]) -> Callable[..., Any]:
    """Set the keyword arguments and annotations of a function, of which tyro makes flags."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(key, keyword, annotation=kind) for key, kind in kinds.items()]
    )
    call.__annotations__ = dict(kinds)
    return call


def flag_value(argv: list[str], flags: tuple[str, ...]) -> str | None:
    """The value of one flag, needed before the parser can be built: other flags depend on it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*flags, dest="value", nargs="?")
    value: str | None = parser.parse_known_args(argv)[0].value
    return value


def split_commas(text: str) -> tuple[str, ...]:
    """The words of a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def method_constructor(name: str, preset: str | None) -> Callable[..., Anonymizer]:
    """A method's constructor with the defaults of a preset; tyro makes flags of it."""
    if name not in METHODS:
        raise UsageError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}.")
    presets = PRESETS.get(name, {})
    if preset is None:
        return METHODS[name]
    if preset not in presets:
        known = ", ".join(presets) or "none"
        raise UsageError(f"{name} has no preset {preset!r}; it has {known}.")
    return with_defaults(METHODS[name], arguments(presets[preset]()))


def with_defaults(
    method: type[Anonymizer], defaults: Mapping[str, Any]
) -> Callable[..., Anonymizer]:
    """A method's constructor with other defaults; those left out stay the method's own."""
    own = inspect.signature(method).parameters.values()
    return _with_signature(method, {p.name: defaults.get(p.name, p.default) for p in own}, method)


def _with_signature(
    method: type[Anonymizer], defaults: Mapping[str, Any], make: Callable[..., Anonymizer]
) -> Callable[..., Anonymizer]:
    """`make` as a function of those arguments of a method that have a default here."""

    def called(**chosen: Any) -> Anonymizer:
        return make(**chosen)

    hints = get_type_hints(method.__init__)
    signature = inspect.signature(method)
    called.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            p.replace(default=defaults[p.name])
            for p in signature.parameters.values()
            if p.name in defaults
        ]
    )
    called.__annotations__ = {name: hints[name] for name in defaults}
    called.__doc__ = method.__doc__
    return called
