"""The papers' printed tables as data: what STPrivacy, SPAct and Selective report.

The numbers were copied from the papers, not measured by us; docs/papers.md says what they mean.
Files of `tables/` hold them, one a paper, and `datasets.toml` says where the data come from. They
are read strictly: a wrong count of cells, an unknown key or a score out of its range is an error.
Two papers' tables are never mixed: baselines of the same name have other attackers and splits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal, Self

from masquerade.errors import MasqueradeError, UsageError

UNITS: dict[str, Literal["%", "1"]] = {"top-1": "%", "cMAP": "%", "F1": "1", "f_.5": "1"}
NOT_PRINTED = "-"  # in the files; None in a row's values
PAPERS = ("stprivacy", "spact", "selective")  # files of `tables/`, in the order of a listing


class _Written(float):
    """A number that remembers the digits it is written with."""

    text: str

    def __new__(cls, text: str) -> Self:
        """The number that a text says."""
        number = super().__new__(cls, text)
        number.text = text
        return number


@dataclass(frozen=True, kw_only=True)
class PublishedDataset:
    """Data that a printed table was measured on, and where one gets them."""

    name: str  # as the columns of tables have it, such as VP-HMDB51
    holds: str  # what is in it, in a sentence
    videos: str  # where the videos (or images) come from
    labels: str  # where the labels come from
    terms: str  # under which they are given, as far as they are stated
    urls: tuple[str, ...]  # pages of both; empty where none could be confirmed
    convert: str | None  # its name in `masquerade data convert`; None: no reader


@dataclass(frozen=True, kw_only=True)
class PublishedColumn:
    """A column of a printed table: a metric of one label on one dataset."""

    dataset: str  # name of a PublishedDataset
    metric: str  # a key of UNITS: top-1, cMAP, F1, or f_.5 (action and privacy in equal parts)
    label: str  # what is recognized: action, private attributes, gender, objects, ...
    measures: Literal["action", "private", "trade-off"]

    @property
    def unit(self) -> Literal["%", "1"]:
        """`%`: from 0 to 100, `1`: from 0 to 1, as printed."""
        return UNITS[self.metric]

    @property
    def better(self) -> Literal["higher", "lower"]:
        """Whether a higher or a lower score is better; lower of private labels."""
        return "lower" if self.measures == "private" else "higher"


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A method's (or variant's) scores in one table."""

    name: str  # of the method, after the paper
    raw: bool  # whether it is raw video, which nothing hides
    method: str | None  # our method in METHODS; None for raw video and where we have none
    preset: str | None  # of our method, where one stands for this row
    arguments: Mapping[str, Any]  # of our method beyond the preset, such as {"factor": 2}
    regions: str | None  # `people` or `frame`: what was hidden; None: the method chooses itself
    note: str  # what differs from the other rows, such as other attackers; "" for nothing
    values: tuple[float | None, ...]  # one a column; None where not printed
    printed: tuple[str, ...]  # the same with the paper's own digits, such as 74.60; "" for None


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """A table or figure of a paper. Figures whose numbers are not printed have no rows."""

    name: str  # such as stprivacy-known
    paper: str  # key of the paper: stprivacy, spact or selective
    citation: str  # of the paper
    where: str  # it is printed, such as Table 1
    title: str  # what it is about, in a few words
    protocol: str  # who learns on what and is scored on what, in a sentence
    source: str  # what to know of the numbers, such as versions of the paper that differ
    learned_from: tuple[str, ...]  # datasets that are learned from and have no column
    columns: tuple[PublishedColumn, ...]
    rows: tuple[PublishedRow, ...]

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets that it needs, each once: the columns' ones first."""
        scored = dict.fromkeys(column.dataset for column in self.columns)
        return (*scored, *self.learned_from)


def load_published(name: str) -> PublishedTable:
    """The table of this name, such as stprivacy-known.

    Raises:
        UsageError: there is none; the message lists them.
    """
    for table in published_tables():
        if table.name == name:
            return table
    names = ", ".join(table.name for table in published_tables())
    raise UsageError(f"there is no published table {name!r}; choose one of {names}.")


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """All tables, paper by paper."""
    datasets = published_datasets()
    tables: list[PublishedTable] = []
    for paper in PAPERS:
        tables += parse_tables(read_packaged(paper), paper=paper, datasets=datasets)
    return tuple(tables)


@cache
def published_datasets() -> Mapping[str, PublishedDataset]:
    """All datasets of the tables by name."""
    return MappingProxyType(parse_datasets(read_packaged("datasets")))


def read_packaged(stem: str) -> str:
    """The text of one of this room's files of data."""
    return (files("masquerade.benchmark") / "tables" / f"{stem}.toml").read_text("utf-8")


def parse_datasets(text: str) -> dict[str, PublishedDataset]:
    """Datasets from the text of `datasets.toml`."""
    datasets = {}
    for name, plain in parse_toml(text, "datasets").items():
        where = f"dataset {name}"
        record = take(
            plain,
            where,
            {"holds": str, "videos": str, "labels": str, "terms": str, "urls": list},
            {"convert": str},
        )
        urls = tuple(record.pop("urls"))
        if not all(isinstance(url, str) and url.startswith("https://") for url in urls):
            raise MasqueradeError(f"{where}: every address of urls has to start with https://.")
        convert = record.pop("convert", None)
        datasets[name] = PublishedDataset(name=name, urls=urls, convert=convert, **record)
    return datasets


def parse_tables(
    text: str, *, paper: str, datasets: Mapping[str, PublishedDataset]
) -> list[PublishedTable]:
    """Tables from the text of a paper's file.

    Raises:
        MasqueradeError: something in it is wrong; the message says which table and row.
    """
    plain = parse_toml(text, paper, number=_Written)
    record = take(plain, paper, {"citation": str, "methods": dict, "table": list})
    methods = {
        name: _method(method, f"{paper}, {name}") for name, method in record["methods"].items()
    }
    tables: list[PublishedTable] = []
    for plain_table in record["table"]:
        table = _table(plain_table, paper, record["citation"], methods, datasets)
        if table.name in {earlier.name for earlier in tables}:
            raise MasqueradeError(f"{table.name} is there twice; rename one of the two tables.")
        tables.append(table)
    used = {row.name for table in tables for row in table.rows}
    if unused := ", ".join(sorted(methods.keys() - used)):
        raise MasqueradeError(f"{paper}: no table has a row for the methods {unused}.")
    return tables


def parse_toml(text: str, where: str, *, number: Callable[[str], float] = float) -> dict[str, Any]:
    """The content of a TOML file, in which `number` reads what has a decimal point.

    Raises:
        MasqueradeError: it is no TOML.
    """
    try:
        return tomllib.loads(text, parse_float=number)
    except tomllib.TOMLDecodeError as error:
        raise MasqueradeError(f"{where} is not TOML: {error}.") from error


def take(
    plain: Any, where: str, needed: Mapping[str, type], optional: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """A copy of a TOML table after its keys and their types were checked.

    Raises:
        MasqueradeError: a key is missing, unknown or of another type.
    """
    if not isinstance(plain, dict):
        raise MasqueradeError(f"{where} has to be a table of keys and values.")
    known = {**needed, **(optional or {})}
    for key in needed:
        if key not in plain:
            raise MasqueradeError(f"{where} lacks {key!r}.")
    for key, value in plain.items():
        if key not in known:
            raise MasqueradeError(f"{where} has an unknown key {key!r}; known: {', '.join(known)}.")
        number = known[key] is float and type(value) is int
        if type(value) is not known[key] and not number:
            raise MasqueradeError(f"{where}: {key!r} has to be a {known[key].__name__}.")
    return dict(plain)


def _method(plain: Any, where: str) -> dict[str, Any]:
    """Read which of our methods a row of a paper is: all fields of a PublishedRow but scores."""
    optional = {"raw": bool, "method": str, "preset": str, "arguments": dict}
    record = take(plain, where, {}, {**optional, "regions": str, "note": str})
    if record.get("raw") and "method" in record:
        raise MasqueradeError(f"{where} is raw video and a method; leave one out.")
    if "method" not in record and record.keys() & {"preset", "arguments"}:
        raise MasqueradeError(f"{where} has arguments and no method; name the method.")
    nothing: dict[str, Any] = {"raw": False, "method": None, "preset": None, "regions": None}
    arguments = {key: _argument(value) for key, value in record.pop("arguments", {}).items()}
    return {**nothing, "note": "", **record, "arguments": arguments}


def _argument(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_argument(item) for item in value)
    return float(value) if isinstance(value, float) else value


def _table(
    plain: Any,
    paper: str,
    citation: str,
    methods: Mapping[str, dict[str, Any]],
    datasets: Mapping[str, PublishedDataset],
) -> PublishedTable:
    texts = {"name": str, "where": str, "title": str, "protocol": str, "source": str}
    needed = {**texts, "columns": list, "rows": list}
    record = take(plain, f"a table of {paper}", needed, {"learned_from": list})
    name = record["name"]
    learned_from = tuple(record.pop("learned_from", ()))
    if unknown := ", ".join(str(dataset) for dataset in learned_from if dataset not in datasets):
        raise MasqueradeError(f"{name} learns from the unknown dataset {unknown}.")
    if not name.startswith(f"{paper}-"):
        raise MasqueradeError(f"{name}: a table's name has to start with {paper}-.")
    columns = tuple(_column(column, name, datasets) for column in record.pop("columns"))
    if not columns:
        raise MasqueradeError(f"{name} has no columns.")
    rows = tuple(_row(row, name, columns, methods) for row in record.pop("rows"))
    if len({row.name for row in rows}) < len(rows):
        raise MasqueradeError(f"{name} has two rows of the same name.")
    return PublishedTable(
        paper=paper,
        citation=citation,
        learned_from=learned_from,
        columns=columns,
        rows=rows,
        **record,
    )


def _column(plain: Any, table: str, datasets: Mapping[str, PublishedDataset]) -> PublishedColumn:
    where = f"{table}, a column"
    record = take(plain, where, {"dataset": str, "metric": str, "label": str, "measures": str})
    for key, known in (
        ("dataset", tuple(datasets)),
        ("metric", tuple(UNITS)),
        ("measures", ("action", "private", "trade-off")),
    ):
        if record[key] not in known:
            raise MasqueradeError(
                f"{where} has the unknown {key} {record[key]!r}; known: {', '.join(known)}."
            )
    return PublishedColumn(**record)


def _row(
    plain: Any,
    table: str,
    columns: tuple[PublishedColumn, ...],
    methods: Mapping[str, dict[str, Any]],
) -> PublishedRow:
    if not isinstance(plain, list) or not plain or not isinstance(plain[0], str):
        raise MasqueradeError(f"{table}: a row has to be a list that starts with a name.")
    name, *cells = plain
    if name not in methods:
        raise MasqueradeError(f"{table}: the row {name!r} is not among the file's methods.")
    if len(cells) != len(columns):
        raise MasqueradeError(
            f"{table}: the row {name!r} has {len(cells)} scores and {len(columns)} columns."
        )
    values = tuple(
        None if cell == NOT_PRINTED else _score(cell, column, f"{table}, {name}")
        for cell, column in zip(cells, columns, strict=True)
    )
    printed = tuple(
        "" if cell == NOT_PRINTED else getattr(cell, "text", str(cell)) for cell in cells
    )
    return PublishedRow(name=name, values=values, printed=printed, **methods[name])


def _score(cell: Any, column: PublishedColumn, where: str) -> float:
    highest = 100.0 if column.unit == "%" else 1.0
    if type(cell) not in (int, float, _Written) or not 0 <= cell <= highest:
        raise MasqueradeError(
            f"{where}: {cell!r} is no {column.metric} from 0 to {highest:g}; "
            f"write {NOT_PRINTED!r} where nothing is printed."
        )
    return float(cell)
