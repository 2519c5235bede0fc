"""The papers' tables as data: numbers as printed, complete, within range, and read strictly."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from masquerade.benchmark.published import (
    PAPERS,
    PublishedRow,
    PublishedTable,
    load_published,
    parse_datasets,
    parse_tables,
    published_datasets,
    published_tables,
)
from masquerade.benchmark.published_markdown import markdown
from masquerade.datasets import label_floors
from masquerade.datasets.published import READERS
from masquerade.errors import MasqueradeError, UsageError
from masquerade.methods import METHODS

ROOT = Path(__file__).parents[2]
PAPERS_PAGE = (ROOT / "docs" / "papers.md").read_text()
TABLES = published_tables()

# Copied by hand, row by row, from the papers.
SPOTS: dict[str, dict[str, tuple[float | None, ...]]] = {
    "stprivacy-known": {
        "Raw": (51.44, 0.673, 75.58, 84.20, 0.684, 76.62),
        "Blackening": (38.27, 0.649, 74.06, 69.41, 0.660, 75.37),
        "SPAct": (48.56, 0.642, 73.78, 78.40, 0.651, 75.29),
        "STPrivacy": (50.73, 0.613, 72.48, 82.55, 0.634, 73.79),
    },
    "stprivacy-unseen": {
        "VITA": (46.78, 0.621, 73.47, 77.48, 0.669, 76.02),
        "STPrivacy": (49.56, 0.595, 71.25, 81.04, 0.645, 74.60),
    },
    "stprivacy-frame": {"Raw": (51.23, 0.572, 71.12), "STPrivacy": (50.61, 0.523, 68.76)},
    "stprivacy-fapder": {
        "Blackening": (None, None, None),
        "Downsample-4x": (41.67, 0.244, 47.17),
        "STPrivacy": (71.37, 0.280, 59.30),
    },
    "stprivacy-ospar": {"Raw": (27.28, 15.72, 30.18), "STPrivacy": (26.42, 12.38, 25.64)},
    "stprivacy-ablations": {
        "sparsification only": (50.33, 0.648, 74.18, 81.74, 0.664, 75.98),
        "tubelet of 4 frames": (48.77, 0.629, 73.71, 80.03, 0.652, 75.15),
        "privacy weight 1": (49.36, 0.611, 71.78, 80.02, 0.627, 72.91),
    },
    "spact-ucf-vispr": {"Raw": (62.33, 64.41, 0.555), "SPAct": (62.03, 57.43, 0.473)},
    "spact-pa-hmdb": {"Raw": (43.6, 70.1, 0.401), "Supervised": (42.3, 62.3, 0.194)},
    "spact-hvu": {"Noisy-Features": (None, None, None), "SPAct": (18.01, 1.42, 9.91)},
    "spact-novel": {"SPAct": (34.1, 42.8, 47.1, 0.386, 18.01, 1.42)},
    "spact-ablations": {
        "frozen adversary": (62.2, 62.2, 0.535),
        "RotNet": (58.1, 60.2, 0.504),
        "ResNet-50 and MobileNetV1": (61.4, 56.20, 0.454),
    },
    "selective-1": {
        "X3D-L": (94.41, 94.00, 90.22, None, None, None),
        "ViT-B/32": (None, None, None, 90.38, 94.00, 78.72),
        "mean of networks": (88.05, 90.15, 86.31, 91.92, 91.87, 85.96),
    },
    "selective-2": {
        "Masking": (36.45, 64.87, 0.36, 37.54, 35.22, 0.51, 52.62, 30.1, 0.61),
        "BDQ": (81.00, 59.00, 0.61, 91.11, 7.15, 0.92, 84.04, 34.18, 0.75),
        "Ours": (87.11, 51.93, 0.68, 88.67, 5.46, 0.92, 86.74, 13.19, 0.87),
    },
    "selective-fig7": {"ELR s=8": (79.48, 70.08, 91.22, 91.58, 98.47, 84.04)},
}


def row_of(table: PublishedTable, name: str) -> PublishedRow:
    """The one row of this name."""
    (found,) = (row for row in table.rows if row.name == name)
    return found


def test_every_paper_has_its_tables() -> None:
    assert [table.name for table in TABLES] == [
        *("stprivacy-known", "stprivacy-unseen", "stprivacy-frame", "stprivacy-fapder"),
        *("stprivacy-ospar", "stprivacy-ablations"),
        *("spact-ucf-vispr", "spact-pa-hmdb", "spact-hvu", "spact-novel", "spact-ablations"),
        *("selective-1", "selective-2", "selective-fig5", "selective-fig7", "selective-fig8"),
    ]
    assert {table.paper for table in TABLES} == set(PAPERS)
    figures = {table.name for table in TABLES if not table.rows}
    assert figures == {"selective-fig5", "selective-fig8"}  # their numbers are not printed


@pytest.mark.parametrize("name", SPOTS)
def test_numbers_are_those_of_the_paper(name: str) -> None:
    table = load_published(name)
    for row, values in SPOTS[name].items():
        assert row_of(table, row).values == values, row


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_is_complete_and_in_range(table: PublishedTable) -> None:
    for row in table.rows:
        assert len(row.values) == len(table.columns)
        for value, column in zip(row.values, table.columns, strict=True):
            highest = 100 if column.unit == "%" else 1
            assert value is None or 0 <= value <= highest
            assert column.unit == "%" or value is None or "." in f"{value}"
    for column in table.columns:
        assert column.better == ("lower" if column.measures == "private" else "higher")
    assert set(table.datasets) <= set(published_datasets())
    assert json.loads(json.dumps(asdict(table)))["name"] == table.name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_mapped_method_can_be_built_so(table: PublishedTable) -> None:
    for row in table.rows:
        assert row.regions in (None, "people", "frame")
        if row.method is None:
            assert row.raw and row.preset is None and not row.arguments, row.name
            continue
        method = METHODS[row.method]
        preset = {} if row.preset is None else method.presets[row.preset]
        inspect.signature(method).bind(**{**preset, **row.arguments})


def test_trade_offs_follow_from_the_two_scores_beside_them() -> None:
    table = load_published("selective-2")
    for row in table.rows:
        for at in (0, 3, 6):
            action, private, both = row.values[at : at + 3]
            assert action is not None and private is not None and both is not None
            expected = (action / 100 + 1 - private / 100) / 2
            if row.name == "Original":
                continue  # the paper prints .48, .49 and .50
            assert abs(both - expected) <= 0.0101, (row.name, at)


def test_means_over_networks_are_those_of_the_networks() -> None:
    table = load_published("selective-1")
    for at, mean in enumerate(row_of(table, "mean of networks").values):
        each = [row.values[at] for row in table.rows if row.name != "mean of networks"]
        known = [value for value in each if value is not None]
        assert mean is not None and abs(sum(known) / len(known) - mean) < 0.6


def rows_of_papers_page(heading: str) -> list[list[float]]:
    """Numbers of each row of the first table under a heading of docs/papers.md."""
    section = PAPERS_PAGE.partition(heading)[2].partition("\n##")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    found = [re.findall(r"(?<![\w.])\d*\.\d+", line.partition("|")[2].partition("|")[2])
             for line in lines]  # fmt: skip
    return [[float(number) for number in numbers] for numbers in found if numbers]


def test_the_page_of_papers_has_the_same_numbers() -> None:
    known = [list(row.values) for row in load_published("stprivacy-known").rows]
    assert rows_of_papers_page("### 1.14") == known
    page = rows_of_papers_page("### 3.6")
    mine = [
        [value for at, value in enumerate(row.values) if at % 3 < 2]
        for row in load_published("selective-2").rows
        if row.name != "Ours, I3D and ResNet-50"
    ]
    assert page[:-1] == mine and page[-1] == [61.54, 4.00, 13.83]
    prose = PAPERS_PAGE.partition("### 2.7")[2].partition("\n##")[0].replace("\n", " ")
    for row in load_published("spact-ucf-vispr").rows:
        top_1, cmap, f1 = row.values
        assert f"{top_1:.2f}, {cmap:.2f}, {f1:.3f}".replace(" 0.", " .") in prose, row.name


def test_the_floors_of_labels_compare_with_the_same_numbers() -> None:
    table = load_published("stprivacy-known")
    for dataset, at in (("VP-HMDB51", 0), ("VP-UCF101", 3)):
        for video, name in (("raw", "Raw"), ("protected", "STPrivacy")):
            top_1, f1, cmap = row_of(table, name).values[at : at + 3]
            assert top_1 is not None and cmap is not None
            assert label_floors._ATTACKER[dataset][video] == (f1, pytest.approx(cmap / 100))
        assert label_floors._ACTION_ACCURACY[dataset] == pytest.approx(top_1 / 100)


def test_a_table_needs_what_it_learns_from_too() -> None:
    assert load_published("spact-pa-hmdb").datasets == ("PA-HMDB51", "HMDB51", "VISPR1")
    assert load_published("stprivacy-unseen").datasets == ("VP-HMDB51", "VP-UCF101")


def test_datasets_say_where_they_are_got_and_how_they_are_read() -> None:
    for dataset in published_datasets().values():
        assert dataset.holds.endswith(".") and dataset.terms.endswith(".")
        assert dataset.videos and dataset.labels and dataset.urls
        assert dataset.convert in READERS
    used = {name for table in TABLES for name in table.datasets}
    assert used == set(published_datasets())


def test_the_page_of_papers_names_a_command_and_data_for_every_table() -> None:
    page = PAPERS_PAGE.partition("## 12 ")[2]
    for table in TABLES:
        (line,) = re.findall(rf"^\| `{table.name}` \|.*", page, re.M)
        flag = "image" if table.name.startswith("stprivacy") else "key"
        wanted = "" if flag == "image" else "?"
        given = rf"( --{flag}-weights [\w.]+){wanted}"
        places = "--data /data -o bench/"  # without which it is refused
        assert re.search(rf"`masquerade benchmark {table.name}{given} {places}`", line)
        assert table.where in line
        for dataset in table.datasets:
            assert dataset in line, (table.name, dataset)
    for dataset in published_datasets().values():
        (line,) = re.findall(rf"^\| {dataset.name} \|.*", page, re.M)
        assert f"`{dataset.convert}`" in line
        for url in dataset.urls:
            assert url in line


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"no published table 'table-1'; choose one of stprivacy-k"
    ):
        load_published("table-1")


TABLE = """
citation = "Somebody, Something, 2020"
[methods]
"Raw" = { raw = true }
"Blur" = { method = "blur", preset = "weak" }
[[table]]
name = "demo-1"
where = "Table 1"
title = "demo"
protocol = "none."
source = "none."
columns = [
  { dataset = "KTH", metric = "top-1", label = "action", measures = "action" },
  { dataset = "KTH", metric = "F1", label = "identity", measures = "private" },
]
rows = [["Raw", 90.0, 0.5], ["Blur", 80, "-"]]
"""


def parse(text: str) -> list[PublishedTable]:
    return parse_tables(text, paper="demo", datasets=published_datasets())


def test_a_file_is_read_as_it_stands() -> None:
    (table,) = parse(TABLE)
    assert [row.values for row in table.rows] == [(90.0, 0.5), (80.0, None)]
    assert [row.printed for row in table.rows] == [("90.0", "0.5"), ("80", "")]
    assert [(row.raw, row.method) for row in table.rows] == [(True, None), (False, "blur")]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('["Raw", 90.0, 0.5]', '["Raw", 90.0]', "row 'Raw' has 1 scores and 2 columns"),
        ("90.0, 0.5", "90.0, 50", "50 is no F1 from 0 to 1; write '-'"),
        ("90.0, 0.5", "-1, 0.5", "-1 is no top-1 from 0 to 100"),
        ("90.0, 0.5", "nan, 0.5", "nan is no top-1"),
        ("90.0, 0.5", "true, 0.5", "True is no top-1"),
        ("90.0, 0.5", '"", 0.5', "'' is no top-1"),
        ('["Blur", 80', '["Blurred", 80', "'Blurred' is not among the file's methods"),
        ('["Blur", 80', '["Raw", 80', "two rows of the same name"),
        ('dataset = "KTH", metric = "F1"', 'dataset = "K", metric = "F1"', "unknown dataset 'K'"),
        ('metric = "F1"', 'metric = "recall"', "unknown metric 'recall'"),
        ('"private"', '"secret"', "unknown measures 'secret'"),
        ('where = "Table 1"\n', "", "lacks 'where'"),
        ('where = "Table 1"', "where = 1", "'where' has to be a str"),
        ('title = "demo"', 'title = "demo"\nyear = 2020', "unknown key 'year'"),
        ('name = "demo-1"', 'name = "table-1"', "has to start with demo-"),
        ("raw = true", 'raw = true, method = "blur"', "raw video and a method"),
        ('method = "blur", ', "", "arguments and no method"),
        (
            '"Raw" = {',
            '"Rare" = { raw = true }\n"Raw" = {',
            "no table has a row for the methods Rare",
        ),
        ("columns", 'learned_from = ["K"]\ncolumns', "learns from the unknown dataset K"),
        ("rows = [[", "rows = [", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_refused(old: str, new: str, message: str) -> None:
    assert old in TABLE
    with pytest.raises(MasqueradeError, match=re.escape(message)):
        parse(TABLE.replace(old, new, 1))


def test_a_table_is_not_there_twice() -> None:
    again = "[[table]]" + TABLE.partition("[[table]]")[2]
    with pytest.raises(MasqueradeError, match="demo-1 is there twice"):
        parse(TABLE + again)


def test_addresses_of_datasets_are_addresses() -> None:
    given: dict[str, Any] = {"holds": ".", "videos": "v", "labels": "l", "terms": "."}
    text = "[D]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    assert parse_datasets(text + "urls = []\n")["D"].convert is None
    with pytest.raises(MasqueradeError, match="dataset D: every address"):
        parse_datasets(text + 'urls = ["example.org"]\n')
    with pytest.raises(MasqueradeError, match="dataset D lacks 'urls'"):
        parse_datasets(text)


def test_no_name_of_ours_breaks_a_printed_table() -> None:
    table = load_published("stprivacy-known")
    (line,) = (
        line
        for line in markdown(table, here={"a\n<b>|c": {0: "47.00"}}).splitlines()
        if "here*" in line
    )
    assert line.startswith("| *a &lt;b>/c, here* | 47.00 |")
