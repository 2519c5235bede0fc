"""`masquerade benchmark` on a small suite: data, training, attacks and results, then again."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from one_process import make_quick
from safetensors.torch import save_file

from masquerade.benchmark.jobs import Places
from masquerade.benchmark.suite import SuiteRow, read_suite
from masquerade.cli import INTERRUPTED, main
from masquerade.cli.benchmark import Options
from masquerade.cli.benchmark_plan import choose, places_of, plan_table
from masquerade.cli.benchmark_run import lines_of, noting, own_limits
from masquerade.cli.benchmark_sizes import attacks_line, size_lines, trainings_line
from masquerade.cli.evaluate import config_of
from masquerade.datasets.manifest import read_manifest, write_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation import EvaluationConfig, from_json
from masquerade.evaluation.attackers import clip_bytes
from masquerade.evaluation.chosen_recognizers import preset_of
from masquerade.models.recognizers import build_recognizer
from masquerade.training.clips import clip_config
from masquerade.training.recipes import recipe_function
from masquerade.training.rows import training_rows

SMALL = "--width 2 --short 16 --epochs 1 --batch 8"
SUITE = """
title = "Small"
about = "seconds"

[data.drawn]
manifest = "{data}/mimes/manifest.csv"
origin = "ours"
licence = "For tests."

[[tables]]
name = "drawn"
title = "48 drawn clips"
data = "drawn"
evaluate = "--preset many --folds 0 --seeds 1 --attackers background --allow-empty"
limits = ["A note on the data."]
compared_with = ["raw"]
rows = [
  { name = "black", method = "blacken" },
  { name = "trained", train = "spact QUICK" },
  { name = "failed", train = "spact WITH LABELS --private nothing" },
]
"""
SUITE = SUITE.replace("QUICK", f"{SMALL} --no-adversary")
SUITE = SUITE.replace("WITH LABELS", f"{SMALL} --objective labels")


def words(suite: Path, folder: Path) -> list[str]:
    data = ["--data", str(suite.parent), "--workers", "1", "--device", "cpu"]
    return ["benchmark", str(suite), "-o", str(folder), *data]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "small.toml"
    path.write_text(SUITE)
    drawn = Mimes(size=32, frames=4, clips=40, people=10, actions=("walk", "squat"))
    write_mimes(path.parent / "mimes", drawn)
    return path


@pytest.fixture(scope="module")
def done(suite: Path) -> Path:
    folder = suite.parent / "out"
    with pytest.MonkeyPatch.context() as patches:
        make_quick(patches)
        assert main(words(suite, folder)) == 1  # one row failed
    return folder


@pytest.mark.slow
def test_a_suite_trains_attacks_and_writes_its_tables(done: Path) -> None:
    results = done / "results" / "small"
    result = from_json((results / "drawn.json").read_text())
    assert [row.name for row in result.rows] == ["raw", "black", "trained", "failed"]
    assert result.rows[1].not_applicable is None
    assert result.rows[2].not_applicable is None
    assert result.rows[2].method == "spact" and result.rows[2].runs == 1
    assert "training" in (result.rows[3].not_applicable or "")
    assert "A note on the data." in result.limits
    assert "masquerade benchmark" in result.command
    markdown = (results / "drawn.md").read_text()
    assert "## Data\n\n- **drawn**: Origin: ours.\n  **Terms:** For tests." in markdown
    assert "| black less raw | -" in markdown and "| trained less raw | " in markdown
    assert "failed less raw" not in markdown
    page = (done / "index.html").read_text()
    assert "48 drawn clips" in page and "trained" in page and "For tests." in page
    shown = re.findall('<video.*? aria-label="(.*?): .*?" .*?src="data:video/mp4;base64,', page)
    assert sorted(shown) == ["black", "black", "trained", "trained"]
    assert len(list((results / "drawn-clips").glob("*.mp4"))) == 4 and len(page) < 1_000_000
    assert (done / "table.csv").exists() and (done / "trade-off.png").exists()
    assert [(done / one).stat().st_mode & 0o077 for one in ("attacks", "seen")] == [0, 0]
    spent = json.loads((done / "spent.json").read_text())
    black = next(one for name, one in spent.items() if name.startswith("small/drawn/black "))
    assert black["videos"] == 40 and black["fits"] > 0 and black["seconds"] > 0
    known = json.loads((done / "durations.json").read_text())
    for kind in ("anonymize by blacken on drawn", "anonymize by reading", "attack by", "score by"):
        assert any(name.startswith(kind) for name in known), kind


@pytest.mark.slow
def test_what_is_done_is_not_done_again(
    done: Path,
    suite: Path,
    quick: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def again(*args: object) -> None:
        raise AssertionError("a fit was done twice")

    monkeypatch.setattr("masquerade.evaluation.executor.fit_predict", again)
    code = main([*words(suite, done), "--rows", "black,trained", "--json"])
    (result,) = json.loads(capsys.readouterr().out)
    assert code == (1 if result["void"] else 0)
    assert [row["name"] for row in result["rows"]] == ["raw", "black", "trained"]


@pytest.mark.slow
def test_what_would_be_done_is_listed(
    done: Path, suite: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(suite, done), "--list"]) == 0
    *lines, size, trainings, together = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["done", "    "]
    assert "train spact --width 2" in lines[0]
    copies = 40 * 4 * 16 * 48 * 64 * 3 / 1e9  # raw and three rows
    assert f"size drawn: 40 clips, raw and 3 times anonymized: at most {copies:.1f} GB" in size
    assert trainings.startswith("size trainings: the clips that all of them learn from: at most ")
    assert re.fullmatch(
        rf"size: at most .* of copies in {done}; .* GB are free, .*already\.", together
    )
    assert main(["benchmark", "--list"]) == 0
    assert "quick" in capsys.readouterr().out


def test_rows_with_commas_in_their_names_can_be_chosen() -> None:
    wanted = "vita, spact, no adversary,spact,vita, half of the labels"
    tables = choose(read_suite("trained"), Options(tables="adversary", rows=wanted))
    (rows,) = ([row.name for row in one.rows] for one in tables)
    assert rows == ["spact", "spact, no adversary", "vita", "vita, half of the labels"]
    with pytest.raises(UsageError, match="There is no row half of the labels; choose of spact"):
        choose(read_suite("trained"), Options(tables="adversary", rows="half of the labels"))


@pytest.mark.parametrize("given", ["blur,strong", "blur, strong", "black,blur,strong"])
def test_a_comma_in_a_name_needs_no_space_behind_it(suite: Path, given: str) -> None:
    small = read_suite(str(suite))
    black, *_ = small.tables[0].rows
    rows = (black, replace(black, name="blur,strong"), replace(black, name="strong"))
    table = replace(small.tables[0], rows=rows)
    (found,) = choose(replace(small, tables=(table,)), Options(rows=given))
    assert [row.name for row in found.rows if row.name != "black"] == ["blur,strong"]


@pytest.mark.slow
def test_other_words_for_a_dataset_make_it_anew(tmp_path: Path, quick: None) -> None:
    """With one -o: the new clips are attacked, and what the old words made is still there."""
    rows = '  { name = "black", method = "blacken" },\n]\n'
    text = SUITE.partition('  { name = "black"')[0] + rows
    path, folder = tmp_path / "small.toml", tmp_path / "out"

    def attacked(clips: int) -> tuple[int, set[Path]]:
        """How many clips of a row were scored, and the manifests."""
        draw = f'draw = "--clips {clips} --people 10 --size 32 --frames 4 --actions walk squat"'
        path.write_text(text.replace('manifest = "{data}/mimes/manifest.csv"', draw))
        main([*words(path, folder), "--videos", "0"])
        found = from_json((folder / "results" / "small" / "drawn.json").read_text())
        return found.rows[1].clips, set(folder.glob("data/drawn-*/manifest.csv"))

    few, first = attacked(24)
    more, both = attacked(40)
    assert more > few and len(first) == 1 and len(both) == 2 and first < both
    assert attacked(24) == (few, both)


@pytest.mark.slow
def test_other_videos_are_learned_from_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quick: None, not_attacked: None
) -> None:
    """Trainings of data that one command makes are known to the next, until a video changes."""
    before, _, after = SUITE.partition('manifest = "{data}/mimes/manifest.csv"')
    draw = 'draw = "--clips 40 --people 10 --size 32 --frames 4 --actions walk squat"'
    path, folder = tmp_path / "small.toml", tmp_path / "out"
    path.write_text(before + draw + after)
    command = [*words(path, folder), "--rows", "trained"]

    def listed() -> list[str]:
        assert main([*command, "--list"]) == 0
        return [line[:4] for line in capsys.readouterr().out.splitlines() if "masquerade" in line]

    assert listed() == ["    ", "    "]
    main(command)
    capsys.readouterr()
    assert listed() == ["done", "done"]
    one, other = sorted(folder.glob("data/*/clips/*"))[:2]
    one.write_bytes(other.read_bytes())
    assert listed() == ["done", "    "]
    main(command)
    capsys.readouterr()
    assert listed() == ["done", "done"] and len([*folder.glob("runs/*/*/*.safetensors")]) == 2


def test_a_manifest_is_read_for_its_digest_once_it_changed(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning asks for it for each row and fold."""
    there = read_manifest(suite.parent / "mimes" / "manifest.csv")
    write_manifest(there, path := tmp_path / "manifest.csv")
    places = Places(folder=tmp_path, given=tmp_path)
    before = places._clips_digest(path)
    with monkeypatch.context() as patched:
        for name in ("file_digest", "read_manifest"):
            patched.setattr(f"masquerade.benchmark.jobs.{name}", None)
        assert places._clips_digest(path) == before
    write_manifest(there.take(range(8)), path)
    assert places._clips_digest(path) != before


def test_a_folder_is_of_one_benchmark_at_a_time(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would train one row into one run; the second is let in once the first has ended."""
    black, seen = [*words(suite, tmp_path), "--rows", "black"], []

    def other(*given: object, **more: object) -> None:
        if not seen:
            seen.append(main(black))
        raise MasqueradeError("Enough.")

    monkeypatch.setattr("masquerade.cli.benchmark_run.run_table", other)
    assert main(black) == 1 and seen == [2]
    said = capsys.readouterr().err
    assert f"another benchmark is at work in {tmp_path}: wait until it has ended" in said
    assert main(black) == 1 and "another benchmark" not in capsys.readouterr().err


def test_what_is_lacking_is_listed_with_its_origin_and_terms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hmdb51").mkdir()
    words = ["benchmark", "stprivacy-unseen", "--data", str(tmp_path), "--seeds", "1"]
    assert main([*words, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, second = (line for line in lines if " lacks " in line)
    assert first.startswith("vp-hmdb51 lacks ") and f"{tmp_path / 'hmdb51'}," not in first
    assert "hmdb51_privacy_attribute_label.pickle, " in first and "testTrainMulti" in first
    assert "https://github.com/ming1993li/stprivacy" in second and "MIT licence." in second
    assert sum("masquerade data convert vp" in line for line in lines) == 2
    assert sum("masquerade train stprivacy --preset paper" in line for line in lines) == 2
    assert main([*words, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "vp-hmdb51 needs" in said and "1 more datasets lack files; --list says which" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "name a suite"),
        (["quick"], "name a folder for the results"),
        (["quack", "-o", "x"], "There is no suite quack"),
        (["quick", "-o", "x", "--rows", "blue"], "There is no row blue"),
        (["quick", "-o", "x", "--tables", "blue"], "There is no table blue"),
        (["quick", "-o", "x", "--tables", ""], "--tables names no table: choose of mimes, or"),
        (["quick", "-o", "x", "--rows", " ,"], "--rows names no row: choose of downsample 4, sel"),
    ],
)
def test_wrong_usage_is_one_sentence(
    given: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *given]) == 2
    said = capsys.readouterr().err
    assert why in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "frames"),
    [("", 16), ("--views 5x3", 16 * 15), ("--views 2x1 --recognizers r3d-18,e2s-x3d-s", 16 * 2)],
)
def test_copies_of_views_and_recognizers_are_counted(
    suite: Path, tmp_path: Path, flags: str, frames: int
) -> None:
    """As many bytes as an extraction makes of a clip for the attackers' networks."""
    small = read_suite(str(suite))
    paper = f"--preset paper --folds 0 --attackers scratch {flags}"
    table = replace(small.tables[0], evaluate=paper)
    options = Options(data=suite.parent, output=tmp_path)
    planned = plan_table(small, table, places_of(small, options), options)
    clips, many = 40 * 3 * 112 * 112, [suite.parent / "mimes" / "manifest.csv"] * 100
    said, counted = attacks_line("drawn", many, 3, planned.options)
    assert "size drawn: 4,000 clips, raw and 3 times anonymized: at most " in said
    size = float(said.partition("at most ")[2].split()[0])
    assert counted == pytest.approx(size * 1e9, abs=1e8)
    least = 4 * 100 * clips * frames / 1e9
    assert least <= size < least + 4 * 100 * clips * 16 / 1e9
    assert ("made anew whenever they are read" in said) == (size > 100)


def test_trainings_that_read_the_same_clips_are_counted_once(suite: Path, tmp_path: Path) -> None:
    small = read_suite(str(suite))
    manifest = read_manifest(suite.parent / "mimes" / "manifest.csv")
    learned = training_rows(manifest, column="split_identity")
    clips = len(learned.train) + len(learned.validation)

    def said(*trained: str) -> str:
        rows = tuple(SuiteRow(name=words, train=words) for words in trained)
        table = replace(small.tables[0], rows=rows, compared_with=())
        options = Options(data=suite.parent, output=tmp_path, seeds=3, store_limit=1)
        planned = plan_table(small, table, places_of(small, options), options)
        jobs = [job for mine in planned.trainings.values() for job in mine]
        assert len(jobs) == 3 * len(trained) and all("--store-limit" in job.words for job in jobs)
        return trainings_line(jobs * 50, 0.001)[0]

    plain = "stprivacy --preset paper --split split_identity"
    recipe = recipe_function("stprivacy")(preset="paper")
    size = clips * clip_config(recipe).clip_bytes / 1e9
    one = said(plain)
    assert f"at most {size:.1f} GB of copies (--store-limit 0.001, so some" in one and size > 0.1
    assert said(plain, f"{plain} --batch 2") == one
    pairs = said(plain, plain.replace("stprivacy", "spact"))
    assert pairs != one, "other frames"


STARTED = """
title = "Three trainings, each from the one before"
about = "nothing"
[data.d]
draw = "--clips 8 --size 32 --frames 4"
[[tables]]
name = "t"
title = "T"
data = "d"
evaluate = "--preset many --folds 2 --seeds 1"
rows = [
  { name = "a", train = "spact --epochs 1" },
  { name = "b", train = "spact --epochs 1", start = "t/a" },
  { name = "c", train = "spact --epochs 1", start = "t/b" },
]
"""


def test_trainings_that_others_go_on_from_are_done_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those that are two steps away from the row that was asked for."""
    path = tmp_path / "s.toml"
    path.write_text(STARTED)
    assert main(["benchmark", str(path), "--list", "--rows", "c", "--device", "cpu"]) == 0
    lines = [one for one in capsys.readouterr().out.splitlines() if " train spact" in one]
    runs = [line.partition(" -o ")[2].split()[0] for line in lines]
    begun = [line.partition(" --start ")[2].split()[0] for line in lines if "--start" in line]
    assert len(set(runs)) == 6 and set(begun) < set(runs)


def test_a_row_of_more_seeds_than_what_it_starts_from_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = STARTED.partition("[[tables]]")[2]
    more = tables.replace('name = "t"', 'name = "u"').replace("--seeds 1", "--seeds 2")
    path = tmp_path / "s.toml"
    path.write_text(STARTED + "[[tables]]" + more)
    words = ["benchmark", str(path), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "row b of u has 2 seeds and starts from t/a, which has 1: give both tables" in said
    assert not (tmp_path / "out").exists()
    assert main([*words, "--seeds", "2", "--list"]) == 0, "then both have as many"


def test_attackers_start_from_weights_that_are_given(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = read_suite(str(suite))
    (table,) = small.tables
    file = tmp_path / "r3d.safetensors"
    weights = build_recognizer("r3d-18", heads={"action": 5}).net.state_dict()
    save_file({name: weight.clone() for name, weight in weights.items()}, file)
    full = replace(table, evaluate=table.evaluate.replace("many", "paper"))
    options = Options(data=suite.parent, output=tmp_path, attacker_weights=(f"r3d-18={file}",))
    planned = plan_table(small, full, places_of(small, options), options).options
    assert planned.attackers == "background,published"
    assert planned.attacker_weights == (f"r3d-18={file}",)
    said, _ = attacks_line("drawn", [suite.parent / "mimes" / "manifest.csv"], 2, planned)
    assert said.startswith("size drawn: 40 clips, raw and 2 times anonymized: at most ")
    said = replace(full, limits=("Attackers start from {starts}.",))
    (first,) = own_limits(said, config_of(planned), places_of(small, options))
    assert first == "Attackers start from random weights, and besides r3d-18 from r3d.safetensors."
    rows = (*small.tables[0].rows[:2], SuiteRow(name="ours", train="stprivacy"))
    own = Places(folder=tmp_path, given=tmp_path, image_weights=file)
    assert own_limits(replace(said, rows=rows[:1]), EvaluationConfig(), own) == [
        "Attackers start from random weights."
    ]
    first, runs, last = own_limits(replace(said, rows=rows), EvaluationConfig(), own)
    assert runs.startswith("Rows of trained methods are means over runs of several seeds")
    assert [first, last] == [
        "Attackers start from random weights.",
        "Trainings of ours start from r3d.safetensors, those of others do not.",
    ]
    tried = replace(options, try_out=True)
    planned = plan_table(small, full, places_of(small, tried), tried).options
    assert planned.attacker_weights == (), "a try-out has other networks"
    given = ["--attacker-weights", f"r3d-18={tmp_path / 'missing.pth'}"]
    path = tmp_path / "full.toml"
    path.write_text(SUITE.replace("--preset many", "--preset paper"))
    assert main([*words(path, tmp_path / "out"), *given]) == 2
    assert "missing.pth" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "row", "why"),
    [
        ("--no-such 3", 'method = "blur"', "evaluate of table t: Unrecognized options: --no-such"),
        ("--views x", 'method = "blur"', "evaluate of table t: --views wants windows in time"),
        ("", 'method = "blur --no-such"', "method of row b of t: Unrecognized options: --no-such"),
        ("", 'method = "blurr"', "method of row b of t: there is no method 'blurr'"),
        ("", 'train = "nothing"', "train of row b of t: "),
        (
            "",
            'train = "spact --no-such 3"',
            "train of row b of t: Unrecognized options: --no-such, 3.",
        ),
        ("", 'train = "spact --epochs x"', "parsing --epochs: 'x' is not a whole number."),
        ("", 'train = "spact --preset none"', "train of row b of t: spact has no preset 'none'"),
        (
            "--folds 2",
            'train = "spact --split a"',
            "train of row b of t: --folds leaves no room for",
        ),
        ("", 'train = "bdq --stills {d}"', "train of row b of t: bdq needs the frames around"),
        ("", 'train = "spact"\nevaluate = "--keep .5"', "evaluate of row b of t: Unrecognized opt"),
        (
            "",
            'train = "spact"\nevaluate = "--folds 3"',
            "row b has another protocol than its table",
        ),
        (
            "--folds 2 --actions walk,wave",
            'train = "spact"',
            "row b of t is trained on folds that are cut of other clips than the table's",
        ),
    ],
)
def test_wrong_flags_are_found_before_all_work(
    table: str, row: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of trainings, which were found once all before them was done."""
    path, out = tmp_path / "s.toml", tmp_path / "out"
    path.write_text(
        'title = "S"\nabout = "a"\n[data.d]\ndraw = "--clips 8"\n[[tables]]\nname = "t"\n'
        f'title = "T"\ndata = "d"\nevaluate = "{table}"\n[[tables.rows]]\nname = "b"\n{row}\n'
    )
    assert main(["benchmark", str(path), "-o", str(out), "--device", "cpu"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("masquerade: s: ") and why in said and not out.exists()


def test_flags_of_a_trained_method_that_need_no_training_are_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    text = STARTED.replace('"spact --epochs 1" }', '"stprivacy", evaluate = "--keep .5" }')
    path.write_text(text)
    assert main(["benchmark", str(path), "--list", "--rows", "a", "--device", "cpu"]) == 0


def test_masks_of_a_row_are_named_after_the_row(suite: Path, tmp_path: Path) -> None:
    """Two rows of one method would share the names of their lines, and so be mixed up."""
    small = read_suite(str(suite))
    hidden = "--regions text --mask-only"
    rows = (
        SuiteRow(name="thin", method=f"blacken {hidden}"),
        SuiteRow(name="wide", method=f"blacken {hidden} --shape box"),
        SuiteRow(name="few", train="stprivacy", evaluate="--mask-only --keep .5"),
    )
    table = replace(small.tables[0], rows=rows, compared_with=())
    options = Options(data=suite.parent, output=tmp_path)
    planned = plan_table(small, table, places_of(small, options), options)
    manifest = read_manifest(suite.parent / "mimes" / "manifest.csv")
    names = [[line.name for line in lines_of(row, planned, manifest)] for row in rows]
    assert names == [
        ["thin", "thin, region mask only"],
        ["wide", "wide, region mask only"],
        ["few", "few, keep mask only", "few, random mask", "few, fixed mask"],
    ]


@pytest.mark.parametrize(("attackers", "inverted"), [("background", 0), ("reconstruction", 2)])
def test_copies_of_masks_and_of_inverted_noise_are_counted(
    suite: Path, tmp_path: Path, attackers: str, inverted: int
) -> None:
    small = read_suite(str(suite))
    rows = (
        SuiteRow(name="thin", method="blacken --regions text --mask-only"),  # twice
        SuiteRow(name="noise", method="selective --regions text"),  # once, and inverted twice
        SuiteRow(name="few", train="stprivacy", evaluate="--mask-only"),  # four times a seed
    )
    words = f"--preset many --folds 0 --seeds 3 --attackers {attackers}"
    table = replace(small.tables[0], rows=rows, compared_with=(), evaluate=words)
    options = Options(data=suite.parent, output=tmp_path)
    places = places_of(small, options)
    planned = plan_table(small, table, places, options)
    (said, _), known = size_lines(small, [planned], [], places, None)
    assert known and said.startswith("size drawn: 40 clips, raw and 15 times anonymized: at most ")
    many, config = [places.manifest(small, "drawn")] * 100, config_of(planned.options)
    (_, without), (_, size) = (
        attacks_line("", many, 15, planned.options, inverted=times) for times in (0, 2)
    )
    frames = clip_bytes(preset_of(config)[0], ())
    assert without is not None and size == without + 4000 * inverted * frames


FAILING = """
title = "One of two tables fails"
about = "seconds"
[data.d]
draw = "--clips 32 --people 8 --size 32 --frames 4 --actions walk squat"
[[tables]]
name = "failing"
title = "F"
data = "d"
evaluate = "--preset many --folds 0 --seeds 1 --labels nobody"
rows = [{ name = "black", method = "blacken" }]
[[tables]]
name = "good"
title = "G"
data = "d"
evaluate = "--preset many --folds 0 --seeds 1 --attackers background --labels dark --allow-empty"
rows = [{ name = "black", method = "blacken" }]
"""


@pytest.mark.slow
def test_a_table_that_fails_leaves_the_others_and_is_known_at_once_the_next_time(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "failing.toml", tmp_path / "out"
    path.write_text(FAILING)
    given = ["benchmark", str(path), "-o", str(out), "--device", "cpu", "--workers", "1"]
    assert main([*given, "--videos", "0", "--json"]) == 1
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)
    assert result["data"] == "G" and "G" in (out / "index.html").read_text()
    (why,) = (line for line in printed.err.splitlines() if line.startswith("masquerade: "))
    assert why.startswith("masquerade: table failing: ") and "nobody" in why
    (out / "index.html").unlink()
    for more in ([], ["--list"]):
        assert main([*given, *more]) == 2, "the data are there, so that it is known before all work"
        printed = capsys.readouterr()
        said = printed.err
        assert said.startswith("masquerade: failing: table failing: ") and "nobody" in said
        assert ("size failing" in printed.out) == (more == ["--list"])
    assert not (out / "index.html").exists()


def test_nothing_is_trained_for_a_table_that_its_data_cannot_have(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """What labels there are is known once its data are made; trainings take hours."""
    path, out = tmp_path / "failing.toml", tmp_path / "out"
    path.write_text(FAILING.replace('method = "blacken"', 'train = "bdq --epochs 1"', 1))
    given = ["benchmark", str(path), "-o", str(out), "--device", "cpu", "--tables", "failing"]
    given += ["--workers", "1"]
    assert main(given) == 1
    said = capsys.readouterr().err
    assert "masquerade: table failing: The manifest has no column 'nobody'" in said
    assert not (out / "runs").exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError("half a frame")])
def test_who_interrupts_it_is_told_how_to_go_on(
    failure: BaseException,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*args: object) -> None:
        INTERRUPTED.set()
        raise failure

    monkeypatch.setattr("masquerade.cli.benchmark_run.check_lacking", interrupted)
    assert main(["benchmark", "quick", "-o", str(tmp_path), "--device", "cpu"]) == 130
    INTERRUPTED.clear()
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("masquerade: interrupted; ")
    assert said.endswith(": run the same command again to resume.")


def test_an_interruption_is_no_failure_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg may swallow it and fail for another reason, and the others are not to begin then."""
    failures: dict[str, str] = {}
    with noting("table t", failures):
        raise MasqueradeError("why")
    assert failures == {"table t": "why"}
    monkeypatch.setattr(INTERRUPTED, "is_set", lambda: True)
    with pytest.raises(MasqueradeError), noting("table u", failures):
        raise MasqueradeError("why")
    assert list(failures) == ["table t"]


def test_a_full_disk_fails_one_table_and_an_error_of_ours_ends_all() -> None:
    failures: dict[str, str] = {}
    with noting("table t", failures):
        raise OSError(errno.ENOSPC, "No space left on device", "fits/a.npz")
    with noting("table u", failures):
        raise MemoryError
    assert failures["table t"] == "fits/a.npz: No space left on device."
    assert failures["table u"].startswith("there was not enough memory")
    with pytest.raises(KeyError), noting("table v", failures):
        raise KeyError("a fault of the program")


def test_a_manifest_that_is_there_is_read_before_all_work(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = (suite.parent / "mimes" / "manifest.csv").read_text()
    folder = tmp_path / "mimes"
    folder.mkdir()
    (folder / "manifest.csv").write_text(made + made.splitlines()[-1] + "\n")
    (tmp_path / "small.toml").write_text(SUITE)
    assert main(words(tmp_path / "small.toml", tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert "manifest.csv, line 42: repeats line 41" in said and not (tmp_path / "out").exists()


def test_a_row_may_not_have_a_protocol_of_its_own(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.toml"
    own = SUITE.replace('"blacken"', '"blacken --folds 3"').split('  { name = "trained"')[0]
    path.write_text(own + "]\n")
    data = str(suite.parent)
    assert main(["benchmark", str(path), "-o", str(tmp_path / "out"), "--data", data]) == 2
    assert "row black has another protocol" in capsys.readouterr().err
