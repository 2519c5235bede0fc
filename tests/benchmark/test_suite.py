"""Suites: what a TOML file may say, and that those which come with masquerade can be run."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from masquerade.benchmark.jobs import Places
from masquerade.benchmark.published import PublishedTable, published_tables
from masquerade.benchmark.suite import Source, parse_suite, read_suite, suite_names
from masquerade.cli import evaluate, train
from masquerade.cli.benchmark import Options
from masquerade.cli.benchmark_plan import plan_table
from masquerade.cli.data import MimesOptions
from masquerade.cli.readable_help import Box, parse_boxes
from masquerade.datasets.published import READERS
from masquerade.errors import UsageError

TABLE: dict[str, Any] = {
    "name": "t",
    "title": "T",
    "data": "d",
    "rows": [{"name": "b", "method": "blur"}],
}
SUITE: dict[str, Any] = {
    "title": "S",
    "about": "nothing",
    "data": {"d": {"draw": "--clips 8"}},
    "tables": [TABLE],
}


def test_a_suite_holds_tables_of_rows() -> None:
    suite = parse_suite(SUITE, "mine")
    assert (suite.name, suite.title) == ("mine", "S")
    assert suite.table("t").rows[0].method == "blur"
    assert suite.data["d"].words(Path("x")) == ("--clips", "8")


def table(**changes: Any) -> dict[str, Any]:
    return {**SUITE, "tables": [{**TABLE, **changes}]}


def test_rows_of_raw_video_may_be_named_as_they_are_called() -> None:
    """What was compared with them, or drawn beside them, was left out without a word."""
    rows = [{"name": "Original", "raw": True}, *TABLE["rows"]]
    ablations = [{"parameter": "size", "rows": {"0": "Original", "2": "b", "1": "raw"}}]
    plain = table(rows=rows, compared_with=["Original", "b", "raw"], ablations=ablations)
    (found,) = parse_suite(plain, "mine").tables
    assert found.compared_with == ("raw", "b")
    assert found.ablations[0].rows == {"0": "raw", "2": "b", "1": "raw"}
    assert [row.name for row in found.rows] == ["Original", "b"]


def test_a_suite_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = 'title = "S"\nabout = "a"\n[data.d]\ndraw = ""\n[[tables]]\nname = "t"\n'
    path.write_text(
        text + 'title = "T"\ndata = "d"\nrows = [{ name = "b", method = "blur" }]\n', "utf-8-sig"
    )
    assert read_suite(str(path)).title == "S"


@pytest.mark.parametrize("origin", ["our cameras", "our cameras."])
def test_an_origin_may_end_in_a_dot(origin: str) -> None:
    assert Source(draw="", origin=origin).about == "It comes from our cameras."


def made(**words: str) -> dict[str, Any]:
    """A suite of datasets that are converted."""
    return {
        **SUITE,
        "data": SUITE["data"] | {name: {"convert": one} for name, one in words.items()},
    }


def row(**keys: Any) -> dict[str, Any]:
    """A suite of one row b, of one table t."""
    return table(rows=[{"name": "b", **keys}])


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        ({**SUITE, "tables": []}, "one table or more"),
        ({**SUITE, "tables": [TABLE, TABLE]}, "two tables have one name"),
        ({**SUITE, "tables": "x"}, "tables is to be a list of tables"),
        ({**SUITE, "data": {"d": {}}}, "data d is to have one of draw, convert, manifest"),
        ({**SUITE, "data": {"d": {"draw": "", "manifest": "x"}}}, "is to have one of"),
        ({**SUITE, "data": {"d": {"draw": 3}}}, "draw of data d is to be text"),
        ({**SUITE, "tabels": []}, "no key 'tabels'"),
        (table(data="e"), "table t is of e, which is not in its data"),
        (table(rows=[]), "is to have rows"),
        (table(rows=TABLE["rows"] * 2), "each of another name"),
        (table(rows=[{"name": "b"}]), "either method or train"),
        (table(rows=[{"name": "b", "method": "blur", "train": "spact"}]), "either method or train"),
        (table(rows=[{"name": "b", "method": "blur", "start": "t/b"}]), "starts from t/b"),
        (table(rows=[{"name": "b", "train": "spact", "start": "t/c"}]), "starts from t/c"),
        (table(rows=[{"name": "b", "train": "spact", "start": "t/b"}]), "t/b starts from itself"),
        (
            table(
                rows=[
                    {"name": "b", "train": "spact", "start": "t/c"},
                    {"name": "c", "train": "spact", "start": "t/b"},
                ]
            ),
            "t/b starts from itself",
        ),
        (table(rows=[{"name": "b", "method": "blur", "raw": True}]), "either method or train"),
        (table(rows=[{"name": "b", "raw": "yes"}]), "raw of table t is to be true or false"),
        (table(rows=[{"name": "b", "method": "blur", "network": "x"}]), "has a network"),
        (row(raw=True, network="resnet-5000"), "row b of t is of network resnet-5000, which is no"),
        (
            table(network_lines=[{"name": "l", "row": "b", "action": "i3d", "private": "i3d"}]),
            "line l of t is of network i3d, which is none of tiny-3d, ",
        ),
        ({**SUITE, "name": "mine"}, "leave the name at its top out"),
        (table(name="t.about"), "leave the .about at its end out"),
        (table(compared_with=["c"]), "table t is compared with c, which is none of its rows"),
        (
            table(ablations=[{"parameter": "size", "rows": {"2": "c"}}]),
            "ablation size of t names c, which is none of its rows",
        ),
        (table(published="demo"), "no published table 'demo'"),
        (
            table(published="selective-2"),
            "table t is of no dataset of selective-2, .* one of IPN, KTH, SBU as dataset",
        ),
        (table(evaluate="--folds 3 --seeds 2 --folds=2"), "evaluate of table t has --folds twice"),
        (table(published_attackers="none"), "published_attackers of t is none of scratch"),
        (table(rows=[{"method": "blur"}]), "lacks its name"),
        (table(limits=[3]), "limits of table t is to be text"),
        (table(limits="A note."), r"limits of table t is to be a list, as in limits = \["),
        (table(compared_with="b"), "compared_with of table t is to be a list"),
        ({**SUITE, "data": {"d": {"draw": "", "needs": "UCF11"}}}, "needs of data d is to be a l"),
        ({**SUITE, "data": {"../d": {"draw": ""}}}, "data cannot be called '../d': leave out sl"),
        ({**SUITE, "data": {".d": {"draw": ""}}}, "data cannot be called '.d'"),
        ({**SUITE, "data": {"d" * 81: {"draw": ""}}}, "data cannot be called 'dddd"),
        (table(name="é" * 41), "a table cannot be called 'éé.*': leave out .* 80 bytes at most"),
        ({**SUITE, "data": {"data": {"draw": ""}}}, "{data} is the folder of --data"),
        ({**SUITE, "data": {"d": {"convert": "kth 'a"}}}, "convert of data d cannot be split into"),
        ({**SUITE, "data": {"d": {"convert": " "}}}, "convert of data d is empty"),
        (made(a="vispr --without {a}"), "data a is made with itself"),
        (
            made(c="kth {a}", a="vispr --without {b}", b="vispr --without {a} --without {d}"),
            r"data [ab] is made with itself, by way of what it is made with",
        ),
        (table(evaluate='--labels "a'), "evaluate of table t cannot be split .*: no closing quot"),
        (table(evaluate="--folds"), "evaluate of table t has --folds without a whole number"),
        (table(evaluate="--folds=x"), "evaluate of table t has --folds without a whole number"),
        (row(method="blur 'a"), "method of row b of t cannot be split into words as a shell does"),
        (row(train="spact 'a"), "train of row b of t cannot be split"),
        (row(train="spact", evaluate="'a"), "evaluate of row b of t cannot be split"),
        (row(method=""), "method of row b of t is empty"),
        (row(train=" "), "train of row b of t is empty"),
        (row(method="blur", evaluate="--mask-only"), "row b of t has evaluate, which is of rows"),
    ],
)
def test_what_is_wrong_is_said(plain: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_suite(plain, "mine")


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        (table(evaluate="--data x.csv"), "evaluate of table t has --data, which the benchmark set"),
        (table(evaluate="--workers=2"), "evaluate of table t has --workers, which the benchmark"),
        (table(evaluate="--private_data x"), "has --private-data, which is a key of the table"),
        (table(evaluate="--level face"), "has --level, which no table takes: give a method and"),
        (row(method="blur -o x"), "method of row b of t has -o, which the benchmark sets itself"),
        (row(method="blur --actions run"), "has --actions, which is of all rows: put it into eval"),
        (row(train="spact", evaluate="--weights x"), "evaluate of row b of t has --weights, which"),
        (row(train="spact --seed 3"), "train of row b of t has --seed, which the benchmark sets"),
        (row(train="spact --fold 1"), "train of row b of t has --fold, which the benchmark sets"),
        (row(train="spact --start x", start="t/c"), "row b of t has a start: leave --start out"),
        ({**SUITE, "data": {"d": {"convert": "kth x -o y.csv"}}}, "convert of data d has -o, whi"),
    ],
)
def test_flags_that_a_benchmark_sets_itself_are_refused(plain: dict[str, Any], why: str) -> None:
    """They were passed over, or won over what the benchmark was told."""
    with pytest.raises(UsageError, match=why):
        parse_suite(plain, "mine")


def started(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """A suite in which a row of table second starts from a training of table first."""
    begun = {**TABLE, "name": "first", "rows": [{"name": "a", "train": "spact"}], **first}
    later = [{"name": "b", "train": "spact", "start": "first/a"}]
    data = {name: {"draw": f"--clips {8 * len(name)}"} for name in ("d", "dd")}
    ours = {**TABLE, "name": "second", "rows": later, **second}
    return {**SUITE, "data": data, "tables": [begun, ours]}


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        ({"evaluate": "--folds 3"}, {"evaluate": "--folds 3"}, True),
        ({"evaluate": "--folds 0"}, {"evaluate": "--folds 0"}, True),
        ({"evaluate": "--folds 3"}, {"evaluate": "--folds 4"}, False),
        ({"evaluate": "--folds 3"}, {"evaluate": "--folds 0"}, False),
        ({"evaluate": "--folds 0"}, {"evaluate": "--folds 3"}, False),
        ({"data": "dd"}, {"evaluate": "--folds 3"}, True),
        ({"data": "dd", "train_on": "d"}, {}, False),
        ({}, {"train_on": "dd"}, False),
        ({"data": "dd"}, {"private_data": "dd"}, False),
        ({"evaluate": "--folds 0"}, {"data": "dd", "score_on": "d", "evaluate": "--folds 0"}, True),
        (
            {"evaluate": "--folds 3"},
            {"data": "dd", "score_on": "d", "evaluate": "--folds 0"},
            False,
        ),
    ],
)
def test_a_row_starts_from_no_training_that_learned_from_its_test_clips(
    first: dict[str, Any], second: dict[str, Any], fits: bool
) -> None:
    """Where it would, hours of training could never be evaluated."""
    plain = started(first, second)
    if fits:
        assert parse_suite(plain, "mine").table("second").rows[0].start == "first/a"
        return
    with pytest.raises(UsageError, match="row b of second starts from first/a, which learned from"):
        parse_suite(plain, "mine")


def test_what_a_start_started_from_is_not_tested_on_either() -> None:
    plain = started({"data": "dd"}, {"evaluate": "--folds 0"})
    between = {"name": "a", "train": "spact", "start": "third/c"}
    third = {**TABLE, "name": "third", "rows": [{"name": "c", "train": "spact"}]}
    plain["tables"] = [{**plain["tables"][0], "rows": [between]}, plain["tables"][1], third]
    with pytest.raises(UsageError, match="row b of second starts from third/c, which learned from"):
        parse_suite(plain, "mine")


def test_a_suite_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"choose of .*quick"):
        read_suite("quack")
    for text in ("title = ", "title = " + "[" * 100_000):
        (tmp_path / "x.toml").write_text(text)
        with pytest.raises(UsageError, match="is no TOML file"):
            read_suite(str(tmp_path / "x.toml"))


def test_a_file_of_ones_own_is_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "S"\nabout = "a"\n[data.d]\nmanifest = "{data}/clips.csv"\n'
        '[[tables]]\nname = "t"\ntitle = "T"\ndata = "d"\n'
        'rows = [{ name = "b", method = "blur" }]\n'
    )
    assert read_suite(str(path)).data["d"].manifest == "{data}/clips.csv"


@pytest.mark.parametrize("name", suite_names())
def test_suites_that_come_with_masquerade_can_be_read(name: str) -> None:
    suite = read_suite(name)
    assert suite.name == name and suite.title and suite.about
    for source in suite.data.values():
        assert source.draw is not None or source.origin, "where its files come from is said"
        assert source.draw is not None or source.licence, "what may be done with them is said"
    for note in (note for table in suite.tables for note in table.limits):
        assert "random weights" not in note, "what attackers start from follows from what is given"


@pytest.mark.parametrize("name", suite_names())
@pytest.mark.slow
def test_their_flags_are_those_of_the_commands(name: str, tmp_path: Path) -> None:
    """Everything but the data is parsed, and each method built, as the command does.

    Planning parses the flags of trainings, and asks whether their inputs are given.
    """
    suite, places = read_suite(name), Places(folder=tmp_path, given=tmp_path)
    options = Options(suite=name, output=tmp_path)
    for source in suite.data.values():
        words = source.words(tmp_path)
        if source.draw is not None:
            parse_boxes(words, {"": Box(MimesOptions)}, verb="x", description="x")
        elif source.convert is not None:
            assert words[0] in READERS
    for table in suite.tables:
        planned = plan_table(suite, table, places, options)
        for name, (given, anonymizer) in planned.methods.items():
            if name not in planned.left_out:  # which needs weights that are not here
                evaluate.method_row(name, anonymizer, evaluate.pipeline_config(given))


@pytest.mark.parametrize("name", suite_names())
def test_its_flags_can_be_tried_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed, parse = list[Any](), train.parse
    monkeypatch.setattr(train, "parse", lambda words: parsed.append(parse(words)) or parsed[-1])
    # detectors are made to see whether any is missing, and find nobody here
    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter.allocate_tensors", lambda _: None)
    suite, places = read_suite(name), Places(folder=tmp_path, given=tmp_path, tried=True)
    options = Options(suite=name, output=tmp_path, try_out=True)
    for table in suite.tables:
        planned = plan_table(suite, table, places, options)
        assert (planned.options.preset, planned.options.seeds) == ("many", 1)
        assert len(parsed) == len(planned.trainings)  # the first of each row, as it is planned
        for given, recipe in parsed:
            assert given.allow_chance and {phase.epochs for phase in recipe.phases} == {1}
        parsed.clear()


def test_every_ablation_of_stprivacy_changes_one_thing_of_the_recipe() -> None:
    rows = read_suite("stprivacy-drawn").table("ablations").rows
    more = ["--data", "x.csv", "-o", "x"]
    given = {row.name: [*shlex.split(row.train or ""), *more] for row in rows}
    recipes = {name: train.parse(words)[1] for name, words in given.items()}
    assert len({str(one) for one in recipes.values()}) == len(rows)
    assert recipes["keep ratio 0.8"].arguments["keep"] == 0.8
    still = recipes[
        "tubelet of 1 frame, colours seen"
    ].arguments  # beside another that sees colours
    assert still == {**recipes["colours seen"].arguments, "tubelet": (1, 4, 4)}
    for name, loss in {"action weight 0.1": "utility", "privacy weight 0.1": "adversarial"}.items():
        updates = recipes[name].phases[-1].updates
        assert next(one for one in updates if "adversarial" in one.losses).losses[loss] == 0.1


def test_suites_of_the_papers_hide_people_and_parts_as_they_are_found() -> None:
    """Docs/papers.md 6, #38; by default what hides them reaches beyond them."""
    hidden = [
        (name, row.name, row.method)
        for name in suite_names()
        for table in read_suite(name).tables
        if table.published
        for row in table.rows
        if row.method and re.search("--regions (people|parts)", row.method)
    ]
    assert len(hidden) > 50
    assert [one for one in hidden if "--mask-scale 1" not in one[2]] == []


def test_one_name_is_one_dataset_in_all_suites() -> None:
    """Suites with one -o share what they make."""
    known: dict[str, Any] = {}
    for name in suite_names():
        for key, source in read_suite(name).data.items():
            assert known.setdefault(key, source) == source, f"{name}: {key}"


@pytest.mark.parametrize("table", published_tables(), ids=lambda one: one.name)
def test_every_printed_table_has_a_suite_of_its_name(table: PublishedTable) -> None:
    suite = read_suite(table.name)
    printed = {row.name: row for row in table.rows}
    of = {"mask-mean": "mask-mean"}
    scored = set()
    for one in suite.tables:
        assert one.published == table.name
        for row in one.rows:
            if printed:
                name = row.name.removesuffix(", by pose")  # beside the paper's own way
                assert name in printed, "rows stand beside those of their name"
                mine = printed[name]
                words = (row.method or row.train or "").split()
                assert row.raw == mine.raw
                assert not words or of.get(words[0], words[0]) == mine.method
        for line in one.network_lines:
            assert line.name.replace(", by pose", "") in printed
        each = (one.data, one.private_data, one.score_on)
        scored |= {suite.data[name].dataset for name in each if name is not None}
    assert {column.dataset for column in table.columns} <= scored


def test_a_dataset_of_the_papers_tables_has_its_origin_and_terms() -> None:
    given = {"manifest": "{data}/kth.csv", "dataset": "KTH"}
    source = parse_suite({**SUITE, "data": {"d": given}}, "mine").data["d"]
    assert "https://www.csc.kth.se/cvap/actions/" in source.about and "citation" in source.licence
    with pytest.raises(UsageError, match="leave out origin and licence"):
        parse_suite({**SUITE, "data": {"d": {**given, "licence": "Free."}}}, "mine")
    with pytest.raises(UsageError, match="of no dataset 'K'; choose of VP-HMDB51"):
        parse_suite({**SUITE, "data": {"d": {**given, "dataset": "K"}}}, "mine")


def test_the_files_are_installed_with_the_code() -> None:
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    packaged = tomllib.loads(project.read_text())["tool"]["setuptools"]["package-data"]
    assert "benchmark/suites/*.toml" in packaged["masquerade"]


@pytest.mark.parametrize(
    ("table", "row", "said"),
    [("../../out", "black", "a table cannot be called"), ("x", "raw", "as raw video is")],
)
def test_names_that_stand_for_something_else_are_refused(
    table: str, row: str, said: str, tmp_path: Path
) -> None:
    """A table names a folder of results, and comparisons mean raw video by `raw`."""
    path = tmp_path / "own.toml"
    path.write_text(
        'title = "t"\nabout = "a"\n[data.d]\ndraw = "--clips 8"\n'
        f'[[tables]]\nname = "{table}"\ntitle = "t"\ndata = "d"\nevaluate = "--folds 2"\n'
        f'rows = [{{ name = "{row}", method = "blacken" }}]\n'
    )
    with pytest.raises(UsageError, match=said):
        read_suite(str(path))
