"""Options and a method's own arguments in one command line, for every verb that takes a method."""

from __future__ import annotations

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
    """Options and the anonymizer that they ask for.

    Args:
        argv: the words behind the verb.
        options: a dataclass of the verb's own.
        verb: as `masquerade evaluate`.
        example: a line to copy.
        default: the method where none is named.
        method: flags that name it.
        preset: the flag that names a setting of it.
    """
    wanted, weights = flag_value(argv, method), flag_value(argv, ("--weights",))
    if weights:
        trained = load(weights)
        name = name_of(trained)
        if wanted not in (None, name):
            raise UsageError(f"{weights} holds {name}, not {wanted}.")
        make = _loader(trained, weights)
    else:
        name = wanted or default
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
    """A function as though its keyword arguments were of these kinds, of which tyro makes flags.

    Args:
        call: takes any keyword arguments; it is changed.
        kinds: annotation by argument.
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(key, keyword, annotation=kind) for key, kind in kinds.items()]
    )
    call.__annotations__ = dict(kinds)
    return call


def flag_value(argv: list[str], flags: tuple[str, ...]) -> str | None:
    """The value of a flag, before the real parser runs: its choices depend on it."""
    for i, word in enumerate(argv):
        for flag in flags:
            if word == flag and i + 1 < len(argv):
                return argv[i + 1]
            if word.startswith(flag + "="):
                return word.partition("=")[2]
    return None


def split_commas(text: str) -> tuple[str, ...]:
    """What commas separate."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def method_constructor(name: str, preset: str | None) -> Callable[..., Anonymizer]:
    """A method's constructor, its defaults those of a preset; tyro makes flags of it."""
    if name not in METHODS:
        raise UsageError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}.")
    method = METHODS[name]
    presets = PRESETS.get(name, {})
    if preset is None:
        return method
    if preset not in presets:
        known = ", ".join(presets) or "none"
        raise UsageError(f"{name} has no preset {preset!r}; it has {known}.")
    return with_defaults(method, arguments(presets[preset]()))


def with_defaults(
    method: type[Anonymizer], defaults: Mapping[str, Any]
) -> Callable[..., Anonymizer]:
    """A method's constructor with other defaults; tyro makes flags of it.

    Args:
        method: of METHODS.
        defaults: by argument; those left out are the method's own.
    """
    own = inspect.signature(method).parameters.values()
    return _asking_for(method, {p.name: defaults.get(p.name, p.default) for p in own}, method)


def _loader(trained: Anonymizer, path: str) -> Callable[..., Anonymizer]:
    """What loads a trained method again; tyro makes flags of its inference arguments alone."""
    now = arguments(trained)
    given = {name: now[name] for name in trained.inference_args}
    return _asking_for(type(trained), given, partial(load, path))


def _asking_for(
    method: type[Anonymizer], defaults: Mapping[str, Any], make: Callable[..., Anonymizer]
) -> Callable[..., Anonymizer]:
    """`make` with those arguments of a method's constructor that have a default here."""

    def called(**chosen: Any) -> Anonymizer:
        return make(**chosen)

    signature = inspect.signature(method)
    parameters = [
        p.replace(default=defaults[p.name])
        for p in signature.parameters.values()
        if p.name in defaults
    ]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    hints = get_type_hints(method.__init__)
    called.__annotations__ = {name: hints[name] for name in defaults}
    called.__doc__ = method.__doc__
    return called
