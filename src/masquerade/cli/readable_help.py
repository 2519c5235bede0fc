"""A help that a person can read: options in boxes, values in plain words, no `None`."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass, make_dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_type_hints, is_typeddict

import docstring_parser
import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, PositionalMetavarFromFieldName, arg
from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from masquerade.pipeline.levels import HELP as LEVELS_HELP
from masquerade.ranges import range_words

KINDS = {
    int: ("N", "a whole number"),
    float: ("N", "a number"),
    str: ("TEXT", "a text"),
    Path: ("PATH", "a path"),
}
"""By type: the placeholder of a value in the help, and its name in messages."""
METAVARS = {
    **dict.fromkeys(("level", "method", "preset", "method_preset", "device", "detector"), "NAME"),
    **{"inputs": "IN ...", "regions": "WHAT", "hide": "NAME,...", "output": "PATH"},
    **{"attacker_weights": "NAME=FILE", "recognizers": "NAME,...", "lambdas": "N,..."},
    **{"at": "FRAME:X,Y", "annotators": "CSV ...", "places": "N ..."},
    **dict.fromkeys(("keep_visible", "hide_only"), "ID,..."),
    **dict.fromkeys(("adversary", "correlated"), "NAME ..."),
    **{"scale": "WxH", "preview": "SECONDS", "cfr": "FPS", "sequence": "FPS"},
}
"""Placeholders of the values of single options in the help, by the options' names."""
HELPS = {"level": LEVELS_HELP}
"""Helps of options that are not the comments beside them, by the options' names."""
RULES = ConstructorRegistry()
"""What tyro is told of types."""


class Box:
    """A constructor whose arguments are the options of one box of the help.

    With `names` it is of these arguments of a dataclass alone, and gives them as a dict.
    """

    def __init__(self, make: Callable[..., Any], names: Collection[str] | None = None) -> None:
        self.make, self.names = make, names
        self.__doc__ = None if names is not None else inspect.getdoc(make)

    def __call__(self, **values: Any) -> Any:
        return self.make(**values) if self.names is None else values


def boxes_of(options: type, titled: Mapping[str, str]) -> dict[str, Box]:
    """The boxes of a dataclass's options, by their titles; those not named come last."""
    named = {title: names.split() for title, names in titled.items()}
    known = {name for names in named.values() for name in names}
    named["other"] = [field.name for field in fields(options) if field.name not in known]
    return {title: Box(options, names) for title, names in named.items() if names}


def parse_boxes(
    argv: list[str],
    boxes: Mapping[str, Box],
    *,
    verb: str,
    description: str,
    short: Mapping[str, Box] | None = None,
) -> list[Any]:
    """Parse a command line whose flags are the options of several boxes; call these.

    `--help` lists the options of `short` alone, where it is given, and `--help-all` those of all
    `boxes`, each under its title; those of the title "" are beside --help.
    """
    if short is None:
        argv = ["--help" if word == "--help-all" else word for word in argv]
        short = boxes
    help_all: Any = Annotated[bool, arg(help="list all options, in groups.", help_behavior_hint="")]
    more = [] if short is boxes else [("help_all", help_all, False)]
    if {"-h", "--help"} & set(argv) and "--help-all" not in argv:
        boxes, argv = short, ["--help"]
    groups: list[Any] = [
        (f"box{number}", Annotated[box, OmitArgPrefixes, arg(name=title)])
        for number, (title, box) in enumerate(boxes.items())
    ]
    parsed: object = tyro.cli(
        make_dataclass("CommandLine", [*groups, *more]),
        args=["--help"] if "--help-all" in argv else argv,
        prog=verb,
        description=description,
        config=(FlagCreatePairsOff, PositionalMetavarFromFieldName),
        registry=RULES,
    )
    return [value for name, value in vars(parsed).items() if name != "help_all"]


@RULES.primitive_rule
def _value(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """How the help names the values of an option: choices as one|other, of `X | None` only X."""
    kind: Any = info.type
    origin: Any = info.type_origin
    inside = get_args(kind)
    if origin is Literal:
        choices = {str(choice): choice for choice in inside}
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="|".join(choices),
            instance_from_str=lambda words: choices[words[0]],
            is_instance=lambda value: value in inside,
            str_from_instance=lambda value: [str(value)],
            choices=tuple(choices),
        )
    if kind in KINDS:
        metavar, words = KINDS[kind]

        def read(texts: list[str]) -> Any:
            try:
                return kind(texts[0])
            except ValueError:
                raise ValueError(f"{texts[0]!r} is not {words}.") from None

        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            instance_from_str=read,
            is_instance=lambda value: isinstance(value, kind),
            str_from_instance=lambda value: [
                f"{value:g}" if value.__class__ is float else str(value)
            ],
        )
    hints = [hint for hint in inside if hint is not NoneType]
    if origin in (Union, UnionType) and len(hints) == 1:
        spec = ConstructorRegistry.get_primitive_spec(
            PrimitiveTypeInfo.make(hints[0], info.markers)
        )
        return spec if isinstance(spec, PrimitiveConstructorSpec) else None
    return None


_asked: list[Any] = []  # types whose options tyro's own rules are being asked for


@RULES.struct_rule
def _options(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The options of a box, dataclass or TypedDict, each as the help should say it."""
    kind: Any = info.type
    if kind in _asked:
        return None
    box = kind if isinstance(kind, Box) else None
    if box is not None:
        spec: Any = _of_dataclass(box.make) if is_dataclass(box.make) else _of_function(box.make)
    else:
        _asked.append(info.type)
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            _asked.pop()
    if not isinstance(spec, StructConstructorSpec):
        return None
    by_name = {field.name: field for field in spec.fields}
    named = by_name if box is None or box.names is None else box.names
    spelled = tuple(_spelled(by_name[name], unset=is_typeddict(kind)) for name in named)
    if box is not None and box.names is not None:
        return StructConstructorSpec(box, spelled)
    return replace(spec, fields=spelled)


@cache
def _of_dataclass(cls: type) -> Any:
    """The options that are a dataclass's fields, which all of its boxes are made of."""
    _asked.append(cls)
    try:
        info = StructTypeInfo.make(cls, MISSING_NONPROP, in_union_context=False)
        return ConstructorRegistry.get_struct_spec(info)
    finally:
        _asked.pop()


def _of_function(make: Callable[..., Any]) -> StructConstructorSpec:
    """The options that are a function's parameters, or a class's of its constructor."""
    inner: Any = make.func if isinstance(make, partial) else make
    names = inspect.signature(make).parameters
    about = docstring_parser.parse(inspect.getdoc(inner) or "").params
    helps = {entry.arg_name: _as_flags(entry.description or "", names) for entry in about}
    hints = get_type_hints(inner.__init__ if inspect.isclass(inner) else inner, include_extras=True)
    specs, several = [], None
    for name, parameter in names.items():
        default = MISSING_NONPROP if parameter.default is parameter.empty else parameter.default
        hint = hints[name]
        if parameter.kind is parameter.VAR_KEYWORD:  # of Unpack[TypedDict]
            several, hint = name, Annotated[get_args(hint)[0], arg(name="")]
        if words := range_words(hint):
            hint = Annotated[hint, arg(help_behavior_hint=f"(default: {{}}; {words})".format)]
        specs.append(StructFieldSpec(name, hint, default, helps.get(name)))

    def call(**values: Any) -> Any:
        more = values.pop(several) if several else {}
        return make(**values, **more)

    return StructConstructorSpec(call, tuple(specs))


def _as_flags(text: str, names: Collection[str]) -> str:
    """Rewrite what a docstring says of an argument for the command's help: `name` is --name there.

    Args:
        text: of the docstring.
        names: arguments that are flags of the command.
    """
    text = re.sub(r"`?\b(\w+)=\"(\w+)\"`?", r"--\1 \2", " ".join(text.split()))
    for name in names:
        text = text.replace(f"`{name}`", f"--{name.replace('_', '-')}")
    return re.sub(r"`(\w+)`", r"\1", text)


def _spelled(option: StructFieldSpec, *, unset: bool) -> StructFieldSpec:
    """Describe an option for the help, without a default that tells nothing, such as None.

    Of an option that is on unless --no-NAME is given, the help says what --no-NAME does. With
    `unset` no default is shown.
    """
    kind: Any = option.type
    if option.name in METAVARS:
        kind = Annotated[kind, arg(metavar=METAVARS[option.name])]
    silent = option.default in ((), None, MISSING_NONPROP)
    if unset or silent or isinstance(option.default, bool):
        kind = Annotated[kind, arg(help_behavior_hint="")]
    help_ = HELPS.get(option.name, option.helptext)
    negated = f"--no-{option.name.replace('_', '-')}: "

    if isinstance(next(iter(get_args(kind)), None), Box):
        # A Box has its own text; tyro would read the source of `types` for a comment.
        return replace(option, type=kind, helptext=lambda: None)

    def text() -> str | None:
        words = help_() if callable(help_) else help_
        return (words and words.partition(negated)[2]) or words

    return replace(option, type=kind, helptext=text if option.default is True else help_)
