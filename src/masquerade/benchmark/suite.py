"""A suite is the tables of one benchmark, read from a small TOML file.

It has no options of its own for methods and protocols: it holds the flags of `masquerade data`,
`masquerade train` and `masquerade evaluate`, and what they can do it can do.
"""

import shlex
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_origin, get_type_hints

from masquerade.benchmark.published import load_published, published_datasets
from masquerade.errors import UsageError
from masquerade.evaluation.attackers import ATTACKERS
from masquerade.evaluation.config import EvaluationConfig
from masquerade.models.recognizers import RECOGNIZERS

SUITES = Path(__file__).parent / "suites"
FORMS = ("draw", "convert", "manifest")
"""How a dataset comes to be: by `data mimes`, by `data convert`, or it is a manifest."""
NAMES = "leave out slashes and a dot in front, and use 80 bytes at most"
"""What makes a name fit for a folder or file, as messages say it."""
FOLDS = EvaluationConfig.folds
_SHARED = (
    *("--data", "--private-data", "--score-on", "--held-out", "--method", "--level", "--json"),
    *("--device", "--workers", "-o", "--output", "-h", "--help", "--help-all"),
)
NOT_OF_A_SUITE = {
    "convert": ("-o", "--out"),
    "table": (*_SHARED, "--weights"),
    "method": (*_SHARED, "--actions"),
    "evaluate": (*_SHARED, "--actions", "--weights"),
    "train": (
        *("--data", "--folds", "--fold", "--seed", "--device", "--cache", "--json"),
        *("-o", "--output", "-h", "--help", "--help-all"),
    ),
}
"""Flags that the benchmark sets or that are not a row's to say, by the key of the suite."""
INSTEAD = {
    "--actions": "is of all rows: put it into evaluate of the table",
    "--level": "no table takes: give a method and --regions",
    **dict.fromkeys(("-h", "--help", "--help-all"), "does nothing but print: leave it out"),
    **dict.fromkeys(
        ("--private-data", "--score-on", "--held-out"), "is a key of the table: give it there"
    ),
}
T = TypeVar("T")
Fail = Callable[[str], NoReturn]
"""Refuses a suite, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset of a suite: exactly one of `draw`, `convert` and `manifest` is given."""

    draw: str | None = None  # the flags of `masquerade data mimes`
    # the words of `masquerade data convert`, with {data} for the folder of --data
    convert: str | None = None
    manifest: str | None = None  # a CSV that is there, with {data} for the folder of --data
    needs: tuple[str, ...] = ()  # files and folders in --data without which it cannot be made
    # its name among the datasets of the papers' tables, whose origin and terms it then has
    dataset: str | None = None
    origin: str = ""  # where they come from
    licence: str = ""  # what may be done with them

    def words(self, folder: Path) -> tuple[str, ...]:
        """The words of `convert` or `draw`, with the folder of --data filled in."""
        return split_words(self.convert or self.draw or "", folder)

    @property
    def about(self) -> str:
        """Where the files come from and what may be done with them, in sentences."""
        origin = f"It comes from {self.origin.removesuffix('.')}." if self.origin else ""
        return f"{origin} {self.licence}".strip()


@dataclass(frozen=True, kw_only=True)
class SuiteRow:
    """A line of a table: a method as it is, one that is trained first, or raw video."""

    name: str  # of a table beside a paper's: as it is printed there
    # raw video, which stands first in every table; this says what the paper calls it
    raw: bool = False
    # of raw video: the one of the preset's networks that the paper's line is of
    network: str | None = None
    method: str | None = None  # the name and flags of `masquerade evaluate --method`
    train: str | None = None  # the name and flags of `masquerade train`, for each seed and fold
    # of a trained method: table and row, as in `mimes/spact`, whose run each run goes on from
    start: str | None = None
    evaluate: str = ""  # flags of `masquerade evaluate` for this row of a trained method
    # whether it is left out, and the reason said, where templates or weights it needs are not here
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class NetworkLine:
    """A line beside the paper of what two of the preset's networks read behind a row."""

    name: str  # as it is printed
    row: str  # the name of our row
    action: str  # the network that reads the action
    private: str  # the one that reads private labels


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Rows of a table that differ in one parameter, which the page draws as one chart."""

    parameter: str  # as a reader calls it
    rows: Mapping[str, str]  # by the parameter's value, in the order of the chart


@dataclass(frozen=True, kw_only=True)
class SuiteTable:
    """One table: its data, its protocol and its rows."""

    name: str
    title: str
    data: str  # in the suite's datasets
    rows: tuple[SuiteRow, ...]
    private_data: str | None = None  # as --private-data
    score_on: str | None = None  # as --score-on
    train_on: str | None = None  # the dataset that methods are trained on, where it is another
    evaluate: str = ""  # flags of `masquerade evaluate` for all rows
    published: str | None = None  # the paper's table that it stands beside
    # the attackers whose scores stand beside the paper's, as `raw`; None: the strongest of all
    published_attackers: str | None = None
    # what the groups are that are in train or in test; None: as the manifest's columns tell
    held_out: str | None = None
    # lines beside the paper's that are of one network of the action and one of privacy
    network_lines: tuple[NetworkLine, ...] = ()
    # rows, `raw` among them, that every row is compared with on the same clips
    compared_with: tuple[str, ...] = ()
    # what its rows show, one parameter at a time; none: rows are grouped by their names
    ablations: tuple[Ablation, ...] = ()
    # notes on the data, to stand under the table, with {starts} for what attackers start from
    limits: tuple[str, ...] = ()

    @property
    def attacked(self) -> tuple[str, ...]:
        """The datasets that its methods are attacked on."""
        names = (self.data, self.private_data, self.score_on)
        return tuple(name for name in names if name is not None)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that it is of, without those that flags name."""
        return self.attacked + (() if self.train_on is None else (self.train_on,))

    @property
    def learned(self) -> str:
        """The dataset that its methods are trained on."""
        return self.train_on or self.data

    @property
    def folds(self) -> int:
        """Of --folds in its flags; as many as `masquerade evaluate` has without."""
        words = shlex.split(self.evaluate.replace("--folds=", "--folds "))
        return int(words[words.index("--folds") + 1]) if "--folds" in words else FOLDS


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The tables of a benchmark, and the datasets that they are of."""

    title: str
    about: str  # what it shows and how long it takes
    data: Mapping[str, Source] = field(default_factory=dict)
    tables: tuple[SuiteTable, ...] = ()
    name: str = ""  # of its file

    def table(self, name: str) -> SuiteTable:
        """A table by its name."""
        return next(table for table in self.tables if table.name == name)


def suite_names() -> tuple[str, ...]:
    """The suites that come with masquerade."""
    return tuple(sorted(path.stem for path in SUITES.glob("*.toml")))


def read_suite(name: str) -> Suite:
    """Read a suite that comes with masquerade, or one from a TOML file.

    Raises:
        UsageError: there is no such suite, or it is no suite.
    """
    path = SUITES / f"{name}.toml" if name in suite_names() else Path(name)
    if not path.is_file():
        known = ", ".join(suite_names())
        raise UsageError(f"There is no suite {name}; choose of {known}, or name a TOML file.")
    try:
        plain = tomllib.loads(path.read_text("utf-8-sig"))  # some editors begin a file with a mark
    except (OSError, ValueError, RecursionError) as error:  # or of too many brackets
        raise UsageError(f"{path} is no TOML file: {error}.") from error
    return parse_suite(plain, path.stem)


def parse_suite(plain: Mapping[str, Any], name: str) -> Suite:
    """A suite from what a TOML file says; `name` is the file's, for messages and folders."""
    if "name" in plain:
        raise UsageError(f"{name}: a suite is called as its file: leave the name at its top out.")
    tables = []
    for table in _list(plain, "tables", name):
        where = f"table {table.get('name', '')}"
        rows = tuple(_as(SuiteRow, row, name, where) for row in _list(table, "rows", name))
        ablations = tuple(
            _as(Ablation, ablation, name, where) for ablation in _list(table, "ablations", name)
        )
        lines = tuple(
            _as(NetworkLine, line, name, where) for line in _list(table, "network_lines", name)
        )
        record = {**table, "rows": rows, "ablations": ablations, "network_lines": lines}
        tables.append(_as(SuiteTable, record, name, where))
    sources = plain.get("data", {})
    if not isinstance(sources, Mapping):
        raise UsageError(f"{name}: data is to be tables, as [data.mimes].")
    data = {key: _source(source, name, f"data {key}") for key, source in sources.items()}
    suite = _as(Suite, {**plain, "data": data, "tables": tuple(tables), "name": name}, name, "it")
    _check(suite)
    return replace(suite, tables=tuple(map(_with_raw, suite.tables)))


def _with_raw(table: SuiteTable) -> SuiteTable:
    """A table that calls rows of raw video `raw` where it names them, as its results do."""
    named = {row.name: "raw" for row in table.rows if row.raw}
    return replace(
        table,
        compared_with=tuple(dict.fromkeys(named.get(name, name) for name in table.compared_with)),
        ablations=tuple(
            replace(
                ablation, rows={value: named.get(row, row) for value, row in ablation.rows.items()}
            )
            for ablation in table.ablations
        ),
    )


def _check(suite: Suite) -> None:
    """Refuse a suite that names what it does not have."""

    def fail(why: str) -> NoReturn:
        raise UsageError(f"{suite.name}: {why}")

    _check_data(suite, fail)
    _check_names(suite, fail)
    _check_words(suite, fail)
    trained = {
        f"{table.name}/{row.name}"
        for table in suite.tables
        for row in table.rows
        if row.train is not None
    }
    for table in suite.tables:
        _check_table(suite, table, fail)
        for row in table.rows:
            _check_row(table, row, trained, fail)
    _check_cycles(suite, fail)
    _check_networks(suite, fail)
    _check_seen(suite, fail)


def _check_data(suite: Suite, fail: Fail) -> None:
    """Refuse data with an invalid name, or with no source or several."""
    for key, source in suite.data.items():
        if _is_no_name(key):  # it names a folder or file
            fail(f"data cannot be called {key!r}: {NAMES}.")
        if key == "data":
            fail("data cannot be called 'data': {data} is the folder of --data.")
        if sum(getattr(source, form) is not None for form in FORMS) != 1:
            fail(f"data {key} is to have one of {', '.join(FORMS)}.")


def _check_names(suite: Suite, fail: Fail) -> None:
    """Refuse names of tables and rows that are invalid, missing or there twice."""
    if not suite.tables:
        fail("a suite has one table or more, as [[tables]].")
    names = [table.name for table in suite.tables]
    if len(set(names)) < len(names):
        fail("two tables have one name.")
    for name in names:
        if _is_no_name(name):  # it names a folder of results
            fail(f"a table cannot be called {name!r}: {NAMES}.")
        if name.endswith(".about"):  # where what the page says of another table would be
            fail(f"a table cannot be called {name!r}: leave the .about at its end out.")
    for table in suite.tables:
        for row in table.rows:
            if not row.name:
                fail(f"table {table.name}: a row has no name.")
            if row.name == "raw" and not row.raw:
                fail(f"table {table.name}: a row cannot be called {row.name!r}, as raw video is.")


def _check_table(suite: Suite, table: SuiteTable, fail: Fail) -> None:
    """Refuse a table that names unknown data, attackers or rows."""
    for data in table.datasets:
        if data not in suite.data:
            fail(f"table {table.name} is of {data}, which is not in its data.")
    if table.published is not None:
        printed = dict.fromkeys(
            column.dataset for column in load_published(table.published).columns
        )
        scored = table.attacked if table.score_on is None else (table.score_on,)
        if all(suite.data[name].dataset not in printed for name in scored):
            fail(
                f"table {table.name} is of no dataset of {table.published}, so that none of "
                f"its numbers would stand there: give its data one of {', '.join(printed)} as "
                "dataset, or leave published out."
            )
    if table.published_attackers not in (None, *ATTACKERS):
        known = ", ".join(ATTACKERS)
        fail(f"published_attackers of {table.name} is none of {known}.")
    rows = [row.name for row in table.rows]
    if not rows or len(set(rows)) < len(rows):
        fail(f"table {table.name} is to have rows, each of another name.")
    for reference in table.compared_with:
        if reference not in ("raw", *rows):
            fail(f"table {table.name} is compared with {reference}, which is none of its rows.")
    for line in table.network_lines:
        if line.row not in rows:
            fail(f"line {line.name} of {table.name} is of {line.row}, which is none of its rows.")
    for ablation in table.ablations:
        values = ablation.rows.values() if isinstance(ablation.rows, Mapping) else [""]
        if lacking := [str(row) for row in values if row not in ("raw", *rows)]:
            fail(
                f"ablation {ablation.parameter} of {table.name} names {lacking[0] or 'no rows'}"
                ", which is none of its rows: give rows = { VALUE = ROW, ... }."
            )


def _check_row(table: SuiteTable, row: SuiteRow, trained: Collection[str], fail: Fail) -> None:
    """Refuse a row of several kinds or none, and flags of another kind than its own.

    `trained` are the rows that others can start from.
    """
    if (row.method is not None) + (row.train is not None) + row.raw != 1:
        fail(f"row {row.name} of {table.name} is to have either method or train, or raw.")
    if row.optional and row.method is None:
        fail(f"row {row.name} of {table.name} is optional, which only methods can be.")
    if row.evaluate and row.train is None:
        fail(
            f"row {row.name} of {table.name} has evaluate, which is of rows to train: give "
            "the flags of a method behind its name."
        )
    if row.network is not None and not row.raw:
        fail(f"row {row.name} of {table.name} has a network, which only raw video has.")
    if row.start is not None and (row.train is None or row.start not in trained):
        fail(f"row {row.name} of {table.name} starts from {row.start}, which is not here.")


def _check_cycles(suite: Suite, fail: Fail) -> None:
    """Refuse trainings that start from themselves, and data that is made with itself."""
    starts = {
        f"{table.name}/{row.name}": [] if row.start is None else [row.start]
        for table in suite.tables
        for row in table.rows
    }
    if (cyclic := _find_cycle(starts)) is not None:
        fail(f"{cyclic} starts from itself, by way of what it starts from.")
    made = {key: named_data(suite, source.convert or "") for key, source in suite.data.items()}
    if (cyclic := _find_cycle(made)) is not None:
        fail(f"data {cyclic} is made with itself, by way of what it is made with.")


def _check_networks(suite: Suite, fail: Fail) -> None:
    """Refuse networks that there are not, whose lines would be left out without a word."""
    named: list[tuple[str | None, str]] = []
    for table in suite.tables:
        named += [(row.network, f"row {row.name} of {table.name}") for row in table.rows]
        for line in table.network_lines:
            where = f"line {line.name} of {table.name}"
            named += [(line.action, where), (line.private, where)]
    for network, where in named:
        if network not in (None, *RECOGNIZERS):
            fail(f"{where} is of network {network}, which is none of {', '.join(RECOGNIZERS)}.")


def _find_cycle(named: Mapping[str, Iterable[str]]) -> str | None:
    """Return one name of a cycle in a graph of names, each with those it needs; None: no cycle."""
    try:
        TopologicalSorter(named).prepare()
    except CycleError as error:
        return str(error.args[1][0])
    return None


def _check_seen(suite: Suite, fail: Fail) -> None:
    """Refuse trainings that go on from others which learned from clips that they are tested on."""
    for table in suite.tables:
        cut = table.folds if table.folds > 1 else 0
        for row in table.rows:
            start, each_fold = row.start, cut_of(table, cut) == cut
            while start is not None:
                start_table, start_row = first_of(suite, start)
                like = cut_of(start_table, start_table.folds) == cut
                each_fold = each_fold and like and start_table.learned == table.learned
                if start_table.learned in table.attacked and not (each_fold if cut else like):
                    fail(
                        f"row {row.name} of {table.name} starts from {start}, which learned from "
                        f"clips of {start_table.learned} that {table.name} is tested on: give both "
                        "tables the same data and --folds."
                    )
                start = start_row.start


def cut_of(table: SuiteTable, folds: int) -> int:
    """In how many folds the data is cut that a table's methods are trained on; 0: in none."""
    return folds if table.train_on is None and folds > 1 else 0


def first_of(suite: Suite, start: str) -> tuple[SuiteTable, SuiteRow]:
    """The table and row that a row's `start` names."""
    where, name = start.split("/", 1)
    table = suite.table(where)
    return table, next(row for row in table.rows if row.name == name)


def _is_no_name(name: str) -> bool:
    """Whether a name is unfit for a folder or file.

    80 bytes leave room for the names of three datasets in one, of 255 bytes at most.
    """
    return not name or "/" in name or name.startswith(".") or len(name.encode()) > 80


def _check_words(suite: Suite, fail: Fail) -> None:
    """Refuse quotes that are not closed, empty commands, and flags that the benchmark sets."""
    commands = [("convert", f"data {key}", source.convert) for key, source in suite.data.items()]
    commands += [("draw", f"data {key}", source.draw) for key, source in suite.data.items()]
    for table in suite.tables:
        commands.append(("table", f"table {table.name}", table.evaluate))
        for row in table.rows:
            where = f"row {row.name} of {table.name}"
            commands += [("method", where, row.method), ("train", where, row.train)]
            commands.append(("evaluate", where, row.evaluate))
            if row.start is not None and "--start" in (row.train or ""):
                fail(f"{where} has a start: leave --start out of its train.")
    for kind, where, text in commands:
        key = "evaluate" if kind == "table" else kind
        try:
            words = shlex.split(text or "")
        except ValueError as error:  # quotes that are not closed
            why = str(error).lower()
            fail(f"{key} of {where} cannot be split into words as a shell does: {why}.")
        if not words and text is not None and kind in ("convert", "method", "train"):
            fail(f"{key} of {where} is empty.")
        for word in words:
            flag = word.partition("=")[0].replace("_", "-")
            if flag in NOT_OF_A_SUITE.get(kind, ()):
                why = INSTEAD.get(flag, "the benchmark sets itself: leave it out")
                fail(f"{key} of {where} has {flag}, which {why}.")
    for table in suite.tables:
        try:
            _ = table.folds
        except (ValueError, IndexError):
            fail(f"evaluate of table {table.name} has --folds without a whole number.")
        words = [word.partition("=")[0] for word in shlex.split(table.evaluate)]
        if words.count("--folds") > 1:  # methods would be trained without other folds than attacked
            fail(f"evaluate of table {table.name} has --folds twice: give it once.")


def _source(plain: Mapping[str, Any], name: str, where: str) -> Source:
    """A dataset; of one of the papers' tables, origin and terms are those that stand there."""
    source = _as(Source, plain, name, where)
    if source.dataset is None:
        return source
    if source.origin or source.licence:
        raise UsageError(f"{name}: {where} has a dataset, so leave out origin and licence.")
    known = published_datasets()
    if source.dataset not in known:
        raise UsageError(
            f"{name}: {where} is of no dataset {source.dataset!r}; choose of {', '.join(known)}."
        )
    of = known[source.dataset]
    origin = f"{of.videos}; labels: {of.labels} ({', '.join(of.urls)})"
    return replace(source, origin=origin, licence=of.terms)


def named_data(suite: Suite, words: str) -> tuple[str, ...]:
    """The datasets whose manifests flags name, as {vispr1} in `--without {vispr1}`."""
    return tuple(name for name in suite.data if f"{{{name}}}" in words)


def split_words(words: str, folder: Path) -> tuple[str, ...]:
    """Words of a command as a shell splits them, with {data} replaced by a folder."""
    return tuple(word.replace("{data}", str(folder)) for word in shlex.split(words))


def _list(plain: Mapping[str, Any], key: str, name: str) -> Sequence[Mapping[str, Any]]:
    tables = plain.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise UsageError(f"{name}: {key} is to be a list of tables, as [[{key}]].")
    return tables


def _as(kind: type[T], plain: Mapping[str, Any], name: str, where: str) -> T:
    """A dataclass from a TOML table; keys that it lacks, and values of other types, are refused."""
    hints = get_type_hints(kind)
    known_fields = {known_field.name: known_field for known_field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(plain, Mapping):
        raise UsageError(f"{name}: {where} is to be a table of keys and values.")
    for key in plain:
        if key not in known_fields:
            raise UsageError(
                f"{name}: {where} has no key {key!r}; choose of {', '.join(known_fields)}."
            )
    for key, known_field in known_fields.items():
        needed = known_field.default is MISSING and known_field.default_factory is MISSING
        if needed and key not in plain:
            raise UsageError(f"{name}: {where} lacks its {key}.")
    values = {}
    for key, value in plain.items():
        several = get_origin(hints[key]) is tuple
        if several and isinstance(value, list):
            value = tuple(value)
        if several and not isinstance(value, tuple):
            raise UsageError(f'{name}: {key} of {where} is to be a list, as in {key} = ["..."].')
        texts = value if several else [value]
        wants_text = hints[key] in (str, str | None, tuple[str, ...])
        if wants_text and not all(isinstance(text, str) for text in texts):
            raise UsageError(f"{name}: {key} of {where} is to be text.")
        if hints[key] is bool and not isinstance(value, bool):
            raise UsageError(f"{name}: {key} of {where} is to be true or false.")
        values[key] = value
    return kind(**values)
