"""Every numeric option of every verb has a range, and refuses what lies outside before any work."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

import masquerade
from masquerade.cli import anonymize, data, demo, evaluate, main, templates, train
from masquerade.errors import UsageError
from masquerade.methods import METHODS
from masquerade.pipeline.config import PipelineConfig, build_pipeline, parse_scale
from masquerade.pipeline.live_config import LiveConfig
from masquerade.ranges import (
    Allowed,
    NonNegativeInt,
    PositiveInt,
    Share,
    UnitInterval,
    above,
    at_least,
    check_ranges,
    checked,
)
from masquerade.regions import REGIONS
from masquerade.training.recipes import RECIPES

NO_NUMBERS = [math.nan, math.inf, -math.inf, -1, "1", True]


def functions(module: Any) -> Iterator[Any]:
    """The verbs of a module, whose arguments are their flags."""
    for name, one in vars(module).items():
        own = inspect.isfunction(one) and one.__module__ == module.__name__
        if own and name != "main" and not name.startswith("_"):
            yield one


def owners() -> dict[str, Callable[..., Any]]:
    """Everything that has options, by a name for the report."""
    verbs = {f"{m.__name__}.{f.__name__}": f for m in (data, templates) for f in functions(m)}
    classes = (anonymize.Options, evaluate.Options, train.Options, demo.Options)
    more = (data.ReaderOptions, data.MimesOptions)
    options = {f"{one.__module__}.{one.__name__}": one for one in (*classes, *more)}
    return {**verbs, **options, **METHODS, **REGIONS}


def hints_of(owner: Any) -> dict[str, Any]:
    plain = owner.__init__ if inspect.isclass(owner) else owner
    hints = get_type_hints(plain, include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "return"}


def numbers_in(
    hint: Any, *, ranged: bool = False
) -> Iterator[tuple[bool, type, Callable[..., Any]]]:
    """The numbers of a type: whether each has a range, its kind, and what puts a value there."""
    origin, inside = get_origin(hint), get_args(hint)
    if hint in (int, float):
        yield ranged, hint, lambda value: value
    elif origin is Annotated:
        has = any(isinstance(mark, Allowed) for mark in inside[1:])
        yield from numbers_in(inside[0], ranged=ranged or has)
    elif origin in (Union, UnionType):
        for each in inside:
            yield from numbers_in(each, ranged=ranged)
    elif origin is tuple:
        count = 1 if inside[-1] is ... else len(inside)
        for each in inside:
            for has, kind, put in numbers_in(each, ranged=ranged):
                yield has, kind, lambda value, put=put: (put(value),) * count


NUMBERS = [
    pytest.param(owner, name, has, kind, put, id=f"{where}-{name}")
    for where, owner in owners().items()
    for name, hint in hints_of(owner).items()
    for has, kind, put in numbers_in(hint)
]


def test_many_options_are_numbers() -> None:
    assert len(NUMBERS) > 80


@pytest.mark.parametrize(("owner", "name", "ranged", "kind", "put"), NUMBERS)
def test_a_number_has_a_range_and_nothing_outside_passes(
    owner: Any, name: str, ranged: bool, kind: type, put: Callable[..., Any]
) -> None:
    assert ranged, f"{name} of {owner.__name__} has no range: annotate it as `ranges` says"
    parameters = inspect.signature(owner).parameters.values()
    needed = {p.name: "x" for p in parameters if p.default is p.empty and p.name != "kwargs"}
    for wrong in [*NO_NUMBERS, *([0.5] if kind is int else [])]:
        with pytest.raises(UsageError, match=rf"^--{name.replace('_', '-')} must be .*, not "):
            owner(**{**needed, name: put(wrong)})


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_ranges(name: str) -> None:
    (flags,) = get_args(get_type_hints(RECIPES[name], include_extras=True)["ablations"])
    for flag, hint in get_type_hints(flags, include_extras=True).items():
        for ranged, kind, put in numbers_in(hint):
            assert ranged, flag
            for wrong in [*NO_NUMBERS[:-1], *([0.5] if kind is int else [])]:
                with pytest.raises(UsageError, match=f"^--{flag.replace('_', '-')} must be "):
                    RECIPES[name](preset="tiny", **{flag: put(wrong)})


@pytest.mark.parametrize(
    "flags",
    [
        "--threshold 7",
        "--threshold nan",
        "--mask-scale 0",
        "--mask-scale -1",
        "--mask-scale .01",
        "--mask-scale 1e308",
        "--every 0",
        "--every 0 --dry-run",
        "--carry -1",
        "--gap -1",
        "--lookback -1",
        "--feather -1",
        "--preview -1",
        "--preview 0",
        "--batch-size -1",
        "--workers 0",
        "--min-size 50 --max-size 20",
        "--crf 99",
        "--crf -1",
        "--cfr 0",
        "--cfr 1e9",
        "--threads -1",
        "--seed -1",
        "--scale 0",
        "--scale 3x3",
        "--scale \N{SUPERSCRIPT TWO}00",
        "--bitrate \N{SUPERSCRIPT TWO}",
        "--bitrate 0",
        "--method blur --kernel 1 --short 0",
        "--method blur --kernel 4",
        "--method blur --sigma .001",
        "--method pixelate --block 1",
        "--method downsample --factor 1",
        "--method elr --factor 1",
        "--method elr --factor 64 --short 32",
        "--method selective --core 0",
        "--method selective --std 0 0 nan",
        "--method frame-difference --most nan",
    ],
)
def test_the_command_refuses_before_it_opens_anything(
    flags: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["anonymize", str(tmp_path / "none.mp4"), "-o", str(tmp_path / "o.mp4"), *flags.split()]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("masquerade: ") and told.count("\n") == 1
    assert "none.mp4" not in told
    assert not list(tmp_path.iterdir())


def test_a_number_of_thousands_of_digits_is_refused_and_not_echoed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["anonymize", str(tmp_path / "none.mp4"), "-o", str(tmp_path / "o.mp4")]
    assert main([*words, "--batch-size", "9" * 3000]) == 2
    told = capsys.readouterr().err
    assert "--batch-size must be a number of fewer digits, not 9999" in told and len(told) < 150


def test_settings_of_the_library_are_refused_alike(tmp_path: Path) -> None:
    for given in ({"threshold": 7}, {"mask_scale": 0.5}, {"every": 0}, {"shape": "star"}):
        with pytest.raises(UsageError, match="must be"):
            masquerade.anonymize_file(
                tmp_path / "a.mp4", tmp_path / "b.mp4", masquerade.build("blur"), **given
            )
    with pytest.raises(UsageError, match="--kernel must be an odd number from 3"):
        masquerade.build("blur", kernel=1)
    with pytest.raises(UsageError, match="--every must be from 1"):
        build_pipeline(masquerade.build("blur"), PipelineConfig(every=0))


def test_a_file_may_be_named_by_text_as_by_a_path() -> None:
    paths = [
        *("detector_weights", "models", "key_weights"),
        *("edits", "region", "report", "export_boxes", "export_masks"),
    ]
    texts: dict[str, Any] = {name: f"{name}.x" for name in paths}
    as_texts = PipelineConfig(**texts)
    as_paths = PipelineConfig(**{name: Path(text) for name, text in texts.items()})
    assert as_texts == as_paths and all(getattr(as_texts, name) for name in paths)
    assert {type(getattr(as_texts, name)) for name in paths} == {type(as_paths.report)}
    assert LiveConfig(report="r.json") == LiveConfig(report=Path("r.json"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--report must be a path, not 5"):
        PipelineConfig(report=5)  # type: ignore[arg-type]


def test_values_at_the_ends_of_a_range_pass() -> None:
    PipelineConfig(threshold=1, mask_scale=1, feather=0, preview=0.1, min_size=20, max_size=20)
    assert parse_scale("full") is None and parse_scale("640x360") == (640, 360)


def test_what_each_type_takes() -> None:
    def options(
        *,
        count: PositiveInt = 1,
        share: Share = 0.5,
        unit: UnitInterval = 0.5,
        rate: Annotated[float, at_least(2, 4)] | None = None,
        word: Literal["a", "b"] | None = None,
        name: str = "",
        flag: bool = False,
        pair: tuple[PositiveInt, str] = (1, ""),
        many: tuple[UnitInterval, ...] = (),
        either: int | str | None = None,
        path: Path | None = None,
    ) -> None:
        """Options of every checked type."""

    good: dict[str, list[Any]] = {
        "count": [1, 10**9],
        "share": [1e-9, 1, 1.0],
        "unit": [0, 1, 0.5],
        "rate": [2, 4, 3.5, None],
        "word": ["a", "b", None],
        "name": ["", "x"],
        "flag": [True, False],
        "pair": [(1, ""), [2, "x"]],
        "many": [(), [], (0, 1, 0.5)],
        "either": [1, "x", None],
        "path": [Path("x"), "x", None],
        "unknown": [3],
    }
    wrong: dict[str, list[Any]] = {
        "count": [0, 1.5, "1", None, True, math.inf],
        "share": [0, 1.01, math.nan, "x", None],
        "unit": [-0.01, 1.01, True],
        "rate": [1.99, 4.01, "3", True],
        "word": ["c", "", 0],
        "name": [1, None],
        "flag": [0, 1, None, "true"],
        "pair": [(1,), (1, "", ""), (0, ""), (1, 1), "1x", 5],
        "many": [(0, 2), 0.5, ("x",), (0.5, None)],
        "either": [1.5, True],
        "path": [3, True, b"x"],
    }
    for name, values in good.items():
        for value in values:
            check_ranges(options, {name: value})
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(UsageError, match=f"^--{name} must be "):
                check_ranges(options, {name: value})
            with pytest.raises(UsageError):
                check_ranges(options, {"count": 1, "path": None, name: value})


def test_a_checked_function_is_called_with_what_it_was_given_or_not_at_all() -> None:
    called = []

    @checked
    def work(first: PositiveInt, *, second: NonNegativeInt = 3) -> int:
        called.append((first, second))
        return first + second

    assert work(1) == 4 and work(2, second=0) == 2 and work.__name__ == "work"
    for arguments in ((0, 1), (1, -1)):
        with pytest.raises(UsageError):
            work(arguments[0], second=arguments[1])
    assert called == [(1, 3), (2, 0)]


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (at_least(2), [2, 2.5, 1e300], [1.99, math.inf, -math.inf, math.nan]),
        (at_least(2, 3), [2, 3], [1.99, 3.01]),
        (above(2), [2.01, 1e300], [2, math.inf, math.nan]),
        (above(2, 3), [2.01, 3], [2, 3.01]),
    ],
)
def test_ends_of_ranges(allowed: Allowed, inside: list[float], outside: list[float]) -> None:
    assert [allowed.test(value) for value in inside] == [True] * len(inside)
    assert [allowed.test(value) for value in outside] == [False] * len(outside)
