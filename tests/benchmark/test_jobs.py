"""Jobs of a benchmark: real commands in processes of their own, side by side, resumed."""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from one_process import HereCommands

import masquerade
from masquerade.benchmark.commands import LocalCommands, RayCommands, visible_gpus
from masquerade.benchmark.durations import Durations, OpenJob, SpentTimes, TimeLeft
from masquerade.benchmark.jobs import (
    CONVERSION_CODE,
    TRAINING_CODE,
    Job,
    JobRunner,
    Places,
    TrainingRun,
    check_lacking,
    data_jobs,
    lacking_data,
    training_jobs,
)
from masquerade.benchmark.label_digest import label_digest
from masquerade.benchmark.suite import Suite, SuiteRow, SuiteTable, parse_suite
from masquerade.cli.benchmark import Options
from masquerade.cli.benchmark_run import trainings_at_once
from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.datasets.published import READERS
from masquerade.errors import UsageError

SOURCE = Path(masquerade.__file__).parent
SUITE = parse_suite(
    {
        "title": "S",
        "about": "a",
        "data": {
            "drawn": {"draw": "--clips 4 --size 32 --frames 2"},
            "kept": {"manifest": "{data}/kept.csv", "origin": "its authors", "licence": "Free."},
            "made": {
                "convert": "ucf11 {data}/UCF11 --test-share 0.4",
                "needs": ["UCF11"],
                "origin": "its authors",
                "licence": "Research only.",
            },
        },
        "tables": [
            {
                "name": "first",
                "title": "F",
                "data": "drawn",
                "evaluate": "--folds 0",
                "rows": [
                    {"name": "blur", "method": "blur"},
                    {"name": "a spact", "train": "spact --epochs 1 --stills {kept}"},
                ],
            },
            {
                "name": "second",
                "title": "S",
                "data": "kept",
                "rows": [{"name": "spact", "train": "spact", "start": "first/a spact"}],
            },
        ],
    },
    "mine",
)


def convert(folder: Path, name: str, *, after: tuple[str, ...] = (), words: tuple[str, ...] = ()):
    """A job that writes the manifest of two clips, which starts in little time."""
    clips, done = folder / "videos", folder / name / "manifest.csv"
    clips.mkdir(exist_ok=True)
    for clip in ("0_1_4.avi", "1_1_2.avi"):
        (clips / clip).touch()
    made = ("data", "convert", "ut-interaction", str(clips), "-o", str(done), *words)
    log = folder / f"{name}.log"
    return Job(name=name, kind="convert", words=made, done=done, log=log, after=after)


def runner_of(folder: Path, told: list[tuple[str, int, int, TimeLeft]]) -> JobRunner:
    return JobRunner(
        workers=2,
        durations=Durations(path=folder / "durations.json"),
        spent=SpentTimes(path=folder / "spent.json"),
        report=lambda *about: told.append(about),
    )


@pytest.mark.slow
def test_jobs_wait_for_those_before_them_and_are_done_once(tmp_path: Path) -> None:
    told: list[tuple[str, int, int, TimeLeft]] = []
    first, second = convert(tmp_path, "a"), convert(tmp_path, "b", after=("a",))
    runner = runner_of(tmp_path, told)
    runner.run([second, first])
    assert not runner.failures
    told[1:] = [about for about in told[1:] if about[0]]  # without those of the time alone
    assert [about[0] for about in told] == ["", "a", "b"]
    assert [about[1:3] for about in told] == [(0, 2), (1, 2), (2, 2)]
    assert told[0][3].seconds is None  # nothing is known yet of how long it takes
    assert told[1][3].seconds is not None and told[2][3].seconds == 0
    written = first.done.stat().st_mtime_ns
    again = runner_of(tmp_path, told)
    again.run([second, first])
    assert told[-1][1:3] == (2, 2) and first.done.stat().st_mtime_ns == written


@pytest.mark.slow
def test_the_time_of_jobs_side_by_side_is_shared_among_them(tmp_path: Path) -> None:
    runner = runner_of(tmp_path, [])
    jobs = [convert(tmp_path, "a"), convert(tmp_path, "b")]
    began = time.monotonic()
    runner.run(jobs)
    passed = time.monotonic() - began
    kept = SpentTimes(path=tmp_path / "spent.json")
    each = [kept.of_job(job.done).seconds for job in jobs]
    assert all(each) and sum(each) <= passed
    runner_of(tmp_path, []).run(jobs)
    assert SpentTimes(path=tmp_path / "spent.json").each == kept.each, "they are done already"


@pytest.mark.slow
def test_one_estimate_has_what_another_call_does(tmp_path: Path) -> None:
    """A resumed run with its data made and a training to do does not say that nothing is left."""
    told: list[tuple[str, int, int, TimeLeft]] = []
    made, later = convert(tmp_path, "a"), replace(convert(tmp_path, "b"), kind="train")
    runner = runner_of(tmp_path, told)
    runner.run([made], others=[later])
    assert told[0][1:3] == (0, 2) and told[-1][1:3] == (1, 2)
    assert told[-1][3].seconds is None, "nobody knows yet how long a training takes"
    runner.durations.add("train", 3600.0)
    runner.run([made], others=[later])
    assert told[-1] == ("", 1, 2, TimeLeft(3600.0))
    runner.run([later], others=[made])
    assert told[-1] == ("b", 2, 2, TimeLeft(0.0))


def test_jobs_that_cannot_be_done_any_more_take_no_time(tmp_path: Path) -> None:
    told: list[tuple[str, int, int, TimeLeft]] = []
    bad = convert(tmp_path, "bad", words=("--test-share", "3"))
    after = replace(convert(tmp_path, "after", after=("bad",)), kind="train")
    runner_of(tmp_path, told).run([bad], others=[after])
    assert told[-1] == ("bad", 2, 2, TimeLeft(0.0))


def test_the_time_left_counts_what_runs_already_and_side_by_side(tmp_path: Path) -> None:
    known = Durations(path=tmp_path / "durations.json")
    known.add("train", 100.0)
    train, data = OpenJob(kind="train"), OpenJob(kind="data")
    assert known.left([train] * 4, side_by_side=2) == 200
    begun = OpenJob(kind="train", spent=90.0)
    assert known.left([begun, train], side_by_side=2) == 100, "the longest one"
    assert known.left([OpenJob(kind="train", spent=900.0)], side_by_side=2) == 0
    assert known.left([train, data], side_by_side=2) is None
    assert known.left([], side_by_side=2) == 0


@pytest.mark.parametrize(
    "text", ["", "[]", '{"train": 1}', '{"train": ["1"]}', '{"train": [NaN]}', "[" * 100_000]
)
def test_damaged_times_are_begun_anew(text: str, tmp_path: Path) -> None:
    spent = text.replace("[NaN]", '{"seconds": NaN, "videos": 0, "fits": 0}')
    (tmp_path / "spent.json").write_text(spent)
    assert SpentTimes(path=tmp_path / "spent.json").each == {}
    (tmp_path / "durations.json").write_text(text)
    known = Durations(path=tmp_path / "durations.json")
    assert known.mean("train") is None
    known.add("train", 100.0)
    assert Durations(path=tmp_path / "durations.json").mean("train") == 100


def test_a_training_is_judged_by_its_own_pace_too(tmp_path: Path) -> None:
    known = Durations(path=tmp_path / "durations.json")
    begun, later = OpenJob(kind="train", spent=30.0, left=90.0), OpenJob(kind="train")
    assert known.left([begun, later], side_by_side=1) == 90 + 120, "the first of its kind"
    assert known.left_of(begun) == 90 and known.left_of(later) is None
    known.add("train", 100.0)
    assert known.left_of(begun) == 70, "phases may end early, as they did before"
    assert known.left_of(replace(begun, left=5.0)) == 5, "it was begun by an earlier command"
    assert known.left_of(replace(begun, spent=110.0)) == 90, "it is slower than the others"


@pytest.mark.slow
def test_the_time_left_of_a_training_is_known_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one, which nobody has measured before."""
    monkeypatch.setattr("masquerade.benchmark.jobs.TOLD_EVERY", 0.02)
    write_mimes(tmp_path / "d", Mimes(size=32, frames=2, clips=16, people=4))
    words = ("train", "spact", "--width", "2", "--short", "16", "--epochs", "1", "--batch", "8")
    words += ("--no-adversary", "--allow-chance", "--device", "cpu", "--workers", "1")
    run = tmp_path / "run"
    words += ("--data", str(tmp_path / "d" / "manifest.csv"), "-o", str(run))
    done, log = run / "anonymizer.safetensors", tmp_path / "run.log"
    job = Job(name="a", kind="train", words=words, done=done, log=log)
    other = replace(job, name="b", kind="another", done=tmp_path / "b")
    for others, until in (((), ""), ((other,), "the next job")):
        told: list[tuple[str, int, int, TimeLeft]] = []
        runner = replace(runner_of(tmp_path, told), workers=1, commands=HereCommands())
        runner.durations.seconds.clear()
        runner.run([job], others=others)
        assert not runner.failures
        during = [left for what, *_, left in told if not what and left.seconds is not None]
        assert during and {left.until for left in during} == {until}
        assert max(left.seconds or 0.0 for left in during) > 0
        assert not (run / "step-time.json").exists()
        shutil.rmtree(run)


def test_what_fails_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad = convert(tmp_path, "bad", words=("--test-share", "3"))
    boxed = convert(tmp_path, "boxed", words=("--no-such", "3"))  # tyro says what is wrong in a box
    jobs = [bad, convert(tmp_path, "after", after=("bad",)), convert(tmp_path, "good"), boxed]
    runner = runner_of(tmp_path, [])
    runner.run(jobs)
    assert set(runner.failures) == {"bad", "after", "boxed"}
    assert runner.failures["bad"] == "--test-share must be above 0 and below 1, not 3.0."
    assert runner.failures["boxed"] == "Unrecognized options: --no-such, 3."
    assert runner.failures["after"] == "bad failed."
    assert jobs[2].done.exists() and not jobs[1].log.exists()


def test_datasets_are_drawn_converted_or_there(tmp_path: Path) -> None:
    places = Places(folder=tmp_path / "out", given=tmp_path / "given")
    (drawn,) = data_jobs(SUITE, places, ["drawn"])
    assert drawn.words[:2] == ("data", "mimes")
    folder = Path(drawn.words[2])
    assert folder.parent == tmp_path / "out" / "data" and folder.name.startswith("drawn-")
    with pytest.raises(UsageError, match=r"kept needs .*kept\.csv.* It comes from its authors"):
        check_lacking(lacking_data(SUITE, places, ["kept"]))
    with pytest.raises(UsageError, match=r"UCF11, which is not there.*Research only\."):
        check_lacking(lacking_data(SUITE, places, ["made"]))
    (tmp_path / "given" / "UCF11").mkdir(parents=True)
    (tmp_path / "given" / "kept.csv").touch()
    assert lacking_data(SUITE, places, ["kept", "made"]) == ()
    (made,) = data_jobs(SUITE, places, ["kept", "made"])
    assert made.words[:4] == ("data", "convert", "ucf11", str(tmp_path / "given" / "UCF11"))
    assert made.done == places.manifest(SUITE, "made")


def test_every_seed_and_fold_is_trained_and_goes_on_from_its_own_seed(tmp_path: Path) -> None:
    places = Places(folder=tmp_path / "out", given=tmp_path)
    first, second = SUITE.tables
    (jobs,) = training_jobs(SUITE, first, places, seeds=2, folds=0, device="cpu").values()
    assert len(jobs) == 2 and jobs[0].after == ("data drawn", "data kept")
    assert str(tmp_path / "kept.csv") in jobs[0].words  # {kept} is that dataset's manifest
    (more,) = training_jobs(SUITE, second, places, seeds=2, folds=3, device="cpu").values()
    assert len(more) == 6
    last = more[-1]
    assert last.words[last.words.index("--fold") + 1] == "2"
    start = Path(last.words[last.words.index("--start") + 1])
    assert start / "anonymizer.safetensors" == jobs[1].done
    assert last.after == ("data kept", jobs[1].name)


def test_each_fold_goes_on_from_the_training_without_the_same_clips(tmp_path: Path) -> None:
    """Of the same data; of other data any fold will do, as none of its clips is tested."""
    places, first = Places(folder=tmp_path, given=tmp_path), SUITE.tables[0]
    begun = replace(first, name="begun", evaluate="--folds 3", rows=first.rows[1:])
    later = SuiteRow(name="later", train="spact", start="begun/a spact")
    ours = replace(begun, name="ours", rows=(later,))
    suite = replace(SUITE, tables=(begun, ours, replace(ours, name="else", data="kept")))

    def jobs(table: SuiteTable) -> tuple[Job, ...]:
        (found,) = training_jobs(suite, table, places, seeds=1, folds=3, device="cpu").values()
        return found

    def started(table: SuiteTable) -> list[Path]:
        return [Path(job.words[job.words.index("--start") + 1]) for job in jobs(table)]

    runs = [job.done.parent for job in jobs(begun)]
    assert started(suite.tables[1]) == runs and len(set(runs)) == 3
    assert [job.after[-1] for job in jobs(suite.tables[1])] == [job.name for job in jobs(begun)]
    assert started(suite.tables[2]) == [runs[0]] * 3


def test_a_training_follows_from_the_folds_of_what_it_goes_on_from(tmp_path: Path) -> None:
    """Of two suites with one folder, which differ in what the first training left out."""
    places, (first, second) = Places(folder=tmp_path, given=tmp_path), SUITE.tables
    cut = replace(SUITE, tables=(replace(first, evaluate="--folds 3"), second))
    runs = {places.run(one, second, second.rows[0], TrainingRun(0, 0, 0)) for one in (SUITE, cut)}
    assert len(runs) == 2


def test_trainings_with_and_without_folds_are_two(tmp_path: Path) -> None:
    places, (first, _) = Places(folder=tmp_path, given=tmp_path), SUITE.tables
    every = [
        *training_jobs(SUITE, first, places, seeds=1, folds=0, device="cpu").values(),
        *training_jobs(SUITE, first, places, seeds=1, folds=2, device="cpu").values(),
    ]
    names = [job.name for jobs in every for job in jobs]
    assert len(set(names)) == 3, "a job is known by its name, and of two of one name one is done"


def test_rows_that_are_trained_alike_share_their_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a suite, and over suites with one folder; other words, data or code: another."""
    places = Places(folder=tmp_path, given=tmp_path)
    first = SUITE.tables[0]

    def folders(table: SuiteTable, suite: Suite = SUITE) -> list[Path]:
        jobs = training_jobs(suite, table, places, seeds=1, folds=0, device="cpu")
        return [job.done for mine in jobs.values() for job in mine]

    def trained(words: str, **changes: Any) -> SuiteTable:
        row = SuiteRow(name="other", train=words)
        return replace(first, name="another", rows=(row,), **changes)

    same = folders(first)
    assert folders(trained("spact --epochs 1 --stills {kept}")) == same
    assert folders(trained("spact --epochs 1 --stills {kept}", data="kept", train_on="drawn"))
    assert folders(trained("spact --epochs 2 --stills {kept}")) != same
    assert folders(trained("spact --epochs 1 --stills {kept}", data="kept")) != same
    assert folders(replace(first, evaluate="--folds 3")) == same  # until it is asked for
    (cut,) = training_jobs(SUITE, first, places, seeds=1, folds=3, device="cpu").values()
    assert len({job.done for job in cut}) == 3 and same[0] not in {job.done for job in cut}
    words = "spact --epochs 1 --start {data}/run --image-weights={data}/images.pth"
    seen = [folders(trained(words))]
    for name in ("run/anonymizer.safetensors", "images.pth"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"weights")
        seen.append(folders(trained(words)))
        assert seen[-1] not in seen[:-1]
    assert folders(trained(words)) == seen[-1]
    monkeypatch.setattr("masquerade.benchmark.jobs.code_digest", lambda *patterns: "changed")
    assert folders(first) != same


def test_data_and_trainings_follow_from_the_words_that_data_is_made_by(tmp_path: Path) -> None:
    """Unchanged words, also of a moved folder, are the same; changed ones, and files, are not."""

    def places_of(data: dict[str, Any], given: str = "given") -> tuple[Path, Path]:
        """Where the manifest lies, and the training of a row."""
        plain = {
            "title": "S",
            "about": "a",
            "data": {"other": {"draw": "--clips 4"}, "mine": data},
            "tables": [
                {
                    "name": "t",
                    "title": "T",
                    "data": "mine",
                    "rows": [{"name": "s", "train": "vita"}],
                }
            ],
        }
        suite = parse_suite(plain, "mine")
        places = Places(folder=tmp_path / "out", given=tmp_path / given)
        (jobs,) = training_jobs(
            suite, suite.tables[0], places, seeds=1, folds=0, device="cpu"
        ).values()
        tried = replace(places, tried=True)
        assert tried.manifest(suite, "mine").stem.startswith("mine-")
        return places.whole(suite, "mine"), jobs[0].done

    drawn = places_of({"draw": "--clips 16 --size 32"})
    assert drawn[0].parent.name.startswith("mine-")
    assert places_of({"draw": "--clips  16 --size 32"}) == drawn
    more = places_of({"draw": "--clips 40 --size 32"})
    assert more[0] != drawn[0] and more[1] != drawn[1]

    made = places_of({"convert": "ucf11 {data}/UCF11"})
    assert places_of({"convert": "ucf11 {data}/UCF11"}) == made
    other = places_of({"convert": "ucf11 {data}/UCF11 --seed 1"})
    assert other[0] != made[0] and other[1] != made[1]
    moved = places_of({"convert": "ucf11 {data}/UCF11"}, given="moved")
    assert moved[0] != made[0] and moved[1] == made[1]

    kept = tmp_path / "given" / "kept.csv"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("path,action\na.mp4,walk\n")
    first = places_of({"manifest": "{data}/kept.csv"})
    assert places_of({"manifest": "{data}/kept.csv"}) == first
    kept.write_text("path,action\na.mp4,run\n")
    again = places_of({"manifest": "{data}/kept.csv"})
    assert again[0] == first[0] == kept and again[1] != first[1]


@pytest.mark.parametrize("tried", [False, True])
def test_a_training_follows_from_the_videos_of_its_data(tmp_path: Path, tried: bool) -> None:
    """Under one and the same manifest; of what it learns from and of stills, wherever they lie."""
    plain = {
        "title": "S",
        "about": "a",
        "data": {
            "kept": {"manifest": "{data}/kept.csv"},
            "made": {"convert": "ucf11 {data}/UCF11"},
        },
        "tables": [
            {
                "name": name,
                "title": "T",
                "data": data,
                "rows": [{"name": "s", "train": f"spact {more}"}],
            }
            for name, data, more in (
                ("kept", "kept", ""),
                ("made", "made", ""),
                ("stills", "made", "--stills {kept}"),
                ("path", "made", "--stills {data}/kept.csv"),
            )
        ],
    }
    suite = parse_suite(plain, "mine")

    def runs(given: Path) -> list[str]:
        places = Places(folder=tmp_path / "out", given=given, tried=tried)
        run = TrainingRun(0, 0)
        return [places.run(suite, one, one.rows[0], run).parent.name for one in suite.tables]

    given = tmp_path / "given"
    places = Places(folder=tmp_path / "out", given=given, tried=tried)
    given.mkdir()
    unmade = runs(given)

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        video = os.path.relpath(given, path.parent)
        path.write_text(f"path,action\n{video}/a.avi,walk\n{video}/b.avi,run\n")

    write(given / "kept.csv")
    write(places.manifest(suite, "kept"))
    write(places.manifest(suite, "made"))
    first = runs(given)
    assert not {*unmade} & {*first}
    for name in ("a.avi", "b.avi"):
        (given / name).write_bytes(b"0" * 300_000)
    there = runs(given)
    assert not {*first} & {*there} and runs(given) == there
    (given / "b.avi").write_bytes(b"0" * 299_999 + b"1")
    assert not {*runs(given)} & {*there}
    (given / "b.avi").write_bytes(b"0" * 300_000)
    assert runs(given) == there
    made = places.manifest(suite, "made")
    made.write_text(made.read_text().replace("run", "jump"))
    assert runs(given)[0] == there[0] and not {*runs(given)[1:]} & {*there}


def test_data_follow_from_the_content_of_label_files(tmp_path: Path) -> None:
    """A corrected list in an unchanged --data is another dataset, and another training."""
    given = tmp_path / "given"
    plain = {
        "title": "S",
        "about": "a",
        "data": {
            "mine": {"convert": "ucf101 {data}/lists --videos {data}/UCF-101"},
            "kth": {"convert": "kth {data}/KTH"},
        },
        "tables": [
            {"name": "t", "title": "T", "data": "mine", "rows": [{"name": "s", "train": "vita"}]}
        ],
    }
    suite = parse_suite(plain, "mine")

    def places_of(folder: Path = given) -> tuple[Path, Path, Path]:
        """Where two manifests lie, and the training of a row."""
        places = Places(folder=tmp_path / "out", given=folder)
        (jobs,) = training_jobs(
            suite, suite.tables[0], places, seeds=1, folds=0, device="cpu"
        ).values()
        return places.whole(suite, "mine"), places.whole(suite, "kth"), jobs[0].done

    def put(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    listed, video = given / "lists" / "trainlist01.txt", given / "UCF-101" / "a.avi"
    named = given / "KTH" / "boxing" / "person01_boxing_d1_uncomp.avi"
    for path in (listed, video, named):
        put(path, "1")
    first = places_of()
    for path in (video, given / "UCF-101" / "b.avi", named, given / "lists" / ".notes.txt"):
        put(path, "2")
    assert places_of() == first, "videos are compared by whoever reads them"
    put(listed, "2")
    changed = places_of()
    assert changed[0] != first[0] and changed[2] != first[2] and changed[1] == first[1]
    put(listed, "1")
    assert places_of() == first
    put(named.with_name("person02_boxing_d1_uncomp.avi"), "1")
    assert places_of()[1] != first[1] and places_of()[0] == first[0], "its names are its labels"
    given.rename(tmp_path / "moved")
    assert places_of(tmp_path / "moved")[2] == first[2]


@pytest.mark.parametrize(
    "words", ["{data}/l", "FOLDER/l", "{data}/x --splits={data}/l", "{data}/x --splits FOLDER/l"]
)
def test_labels_are_found_wherever_words_name_them(tmp_path: Path, words: str) -> None:
    listed = tmp_path / "l" / "trainlist01.txt"
    listed.parent.mkdir()
    given = ["vp", *words.replace("FOLDER", str(tmp_path)).split(), "--videos={data}/l"]
    listed.write_text("1")
    first = label_digest(given, tmp_path)
    listed.write_text("2")
    assert label_digest(given, tmp_path) != first
    assert label_digest(["vp", *given[-1:]], tmp_path) == label_digest(["vp"], tmp_path)


def test_labels_of_any_ending_and_below_linked_folders_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "data" / "lists").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "up").symlink_to(tmp_path / "data")  # a circle
    for words, changed in (
        (["vp", "{data}/labels.p"], tmp_path / "data" / "labels.p"),
        (["vp", "{data}"], tmp_path / "data" / "labels.p"),
        (["vp", "{data}/labels.mine"], tmp_path / "data" / "labels.mine"),
        (["vp", "{data}"], tmp_path / "disk" / "list.txt"),
    ):
        changed.write_text("1")
        first = label_digest(words, tmp_path / "data")
        changed.write_text("2")
        assert label_digest(words, tmp_path / "data") != first, (words, changed)


def test_what_a_run_writes_below_its_data_is_no_label(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "list.txt").write_text("1")
    given = ["ucf11", "{data}"]
    first = label_digest(given, tmp_path, made=tmp_path / "bench")
    (tmp_path / "bench" / "spent.json").write_text("{}")
    assert label_digest(given, tmp_path, made=tmp_path / "bench") == first
    assert label_digest(given, tmp_path) != first


def test_a_changed_list_is_read_again_when_a_suite_goes_on(tmp_path: Path) -> None:
    suite = parse_suite(
        {
            "title": "S",
            "about": "a",
            "data": {"mine": {"convert": "ucf101 {data}/lists --videos {data}"}},
            "tables": [
                {
                    "name": "t",
                    "title": "T",
                    "data": "mine",
                    "rows": [{"name": "b", "method": "blur"}],
                }
            ],
        },
        "mine",
    )

    def actions() -> set[str]:
        places = Places(folder=tmp_path / "out", given=tmp_path)
        runner = runner_of(tmp_path / "out", [])
        runner.run(data_jobs(suite, places, ["mine"]))
        assert not runner.failures
        return set(read_manifest(places.whole(suite, "mine")).cells("action"))

    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "trainlist01.txt").write_text("Jump/v_Jump_g01_c01.avi 1\n")
    (lists / "testlist01.txt").write_text("Jump/v_Jump_g02_c01.avi\n")
    assert actions() == {"Jump"}
    (lists / "trainlist01.txt").write_text("Run/v_Run_g01_c01.avi 1\n")
    assert actions() == {"Jump", "Run"}


def test_data_and_trainings_follow_from_the_code_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn data from what draws them, converted ones from readers, trainings from clips."""
    places = Places(folder=tmp_path / "out", given=tmp_path)
    monkeypatch.setattr("masquerade.benchmark.jobs.code_digest", lambda *which: repr(which))
    assert places.data_digest(SUITE, "drawn") != places.data_digest(SUITE, "made")
    converted_by, learned_from = (
        {path for one in files for path in SOURCE.glob(one)}
        for files in (CONVERSION_CODE, TRAINING_CODE)
    )
    assert {SOURCE / file for file in CONVERSION_CODE if "*" not in file} <= converted_by
    for read in READERS.values():
        assert Path(inspect.getfile(read)) in converted_by
    for file in ("extraction/extract_video.py", "video/read.py", "evaluation/protocols.py"):
        assert SOURCE / file in learned_from
    for file in ("datasets/splits.py", "datasets/manifest.py"):
        assert SOURCE / file in converted_by & learned_from


def test_data_that_leaves_other_data_out_follows_from_the_others_words(tmp_path: Path) -> None:
    def whole(words: str) -> Path:
        plain = {
            "title": "S",
            "about": "a",
            "data": {
                "made": {"convert": words},
                "less": {"convert": "ucf11 {data}/UCF11 --without {made}"},
            },
            "tables": [
                {
                    "name": "t",
                    "title": "T",
                    "data": "less",
                    "rows": [{"name": "b", "method": "blur"}],
                }
            ],
        }
        return Places(folder=tmp_path, given=tmp_path).whole(parse_suite(plain, "mine"), "less")

    assert whole("ucf11 {data}/UCF11") != whole("ucf11 {data}/UCF11 --seed 1")


def test_methods_that_can_start_from_image_weights_do(tmp_path: Path) -> None:
    """STPrivacy's runs follow from the file's content; SPAct's, a UNet, stay as they are."""
    file = tmp_path / "vit.safetensors"
    file.write_bytes(b"weights")
    rows = tuple(SuiteRow(name=name, train=name) for name in ("stprivacy", "spact"))
    table = replace(SUITE.tables[0], rows=rows)

    def jobs(weights: Path | None) -> dict[str, Job]:
        places = Places(folder=tmp_path, given=tmp_path, image_weights=weights)
        made = training_jobs(SUITE, table, places, seeds=1, folds=0, device="cpu")
        return {name: job for name, (job,) in made.items()}

    without, given = jobs(None), jobs(file)
    assert given["spact"] == without["spact"]
    words = given["stprivacy"].words
    assert words[words.index("--image-weights") + 1] == str(file)
    assert "--image-weights" not in without["stprivacy"].words
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"weights")
    assert jobs(other)["stprivacy"].done == given["stprivacy"].done
    other.write_bytes(b"others")
    done = {one["stprivacy"].done for one in (without, given, jobs(other))}
    assert len(done) == 3


def test_data_is_made_after_the_data_that_it_leaves_out(tmp_path: Path) -> None:
    ucf = {"convert": "ucf11 {data}/UCF11", "needs": ["UCF11"]}
    without = {"convert": "ucf11 {data}/UCF11 --without {kept} --without {made}"}
    plain = {
        "title": "S",
        "about": "a",
        "data": {"kept": {"manifest": "{data}/kept.csv"}, "made": ucf, "less": without},
        "tables": [
            {"name": "t", "title": "T", "data": "less", "rows": [{"name": "b", "method": "blur"}]}
        ],
    }
    suite, places = parse_suite(plain, "mine"), Places(folder=tmp_path, given=tmp_path)
    made, less = data_jobs(suite, places, ["less"])
    assert less.after == (made.name,) and str(made.done) in less.words
    assert str(tmp_path / "kept.csv") in less.words
    assert [one.data for one in lacking_data(suite, places, ["less"])] == ["kept", "made"]


def running_commands() -> str:
    """The words of all processes, which `ps` would cut off at the width of the screen."""
    ps = ["ps", "-ww", "-eo", "args"]
    return subprocess.run(ps, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_an_interruption_ends_the_commands_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade.benchmark.jobs.TOLD_EVERY", 0.1)
    out = tmp_path / "long"
    words = ("data", "mimes", str(out), "--clips", "100000", "--size", "32", "--frames", "2")
    log, done = tmp_path / "long.log", out / "manifest.csv"
    long = Job(name="long", kind="draw", words=words, done=done, log=log)

    until = time.monotonic() + 300

    def interrupt(*told: object) -> None:
        """Ask this process to end, once the command has drawn a clip."""
        assert time.monotonic() < until
        if any(tmp_path.rglob("clips/*")):
            assert str(out) in running_commands()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            replace(runner_of(tmp_path, []), report=interrupt).run([long])
    finally:
        signal.signal(signal.SIGINT, before)
    assert str(out) not in running_commands()
    assert not any(tmp_path.glob("*/clips")), "what it drew is removed"


needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='needs Ray: pip install -e ".[ray]"'
)


def run_program(program: str, folder: Path, **environment: str) -> None:
    """Run a program in a process of its own; it must end well."""
    filled = program.format(tests=str(Path(__file__).parent), folder=str(folder))
    words, environ = [sys.executable, "-c", filled], {**os.environ, **environment}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environ)
    assert done.returncode == 0, done.stderr


ON_TWO_MACHINES = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from ray.cluster_utils import Cluster
from masquerade.benchmark.commands import RayCommands
from masquerade.errors import MissingError
from masquerade.ray_cluster import ray_cluster
from test_jobs import convert, runner_of
folder = Path({folder!r})
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0))
with ray_cluster(cluster.address) as ray:
    try:
        RayCommands(ray=ray, gpu=False).check_machines()
    except MissingError as error:
        assert "no machine of the Ray cluster has a core" in str(error)
    else:
        raise AssertionError("it has none")
for _ in range(2):
    cluster.add_node(num_cpus=1)
with ray_cluster(cluster.address) as ray:
    commands = RayCommands(ray=ray, gpu=False)
    commands.check_machines()
    assert commands.cores == 2
    runner = runner_of(folder, [])
    runner.commands, runner.workers = commands, 1  # whose threads no machine has together
    runner.run([convert(folder, "a")])
    assert not runner.failures, runner.failures
    runner.workers = 2
    lost, failing = (convert(folder, name, words=("--no",)) for name in ("lost", "failing"))
    lost.log.mkdir(parents=True)  # as where a machine cannot write it
    runner.run([convert(folder, "c", after=("b",)), convert(folder, "b"), failing, lost])
    assert sorted(runner.failures) == ["failing", "lost"], runner.failures
    assert "do all machines see this folder" in runner.failures["lost"], runner.failures
"""


@needs_ray
@pytest.mark.slow
def test_jobs_run_on_a_ray_cluster(tmp_path: Path) -> None:
    """As tasks, in their order, and those that fail stop no other.

    One asks for no more cores than one machine has: else it would wait for ever, without a word.
    """
    run_program(ON_TWO_MACHINES, tmp_path, RAY_AUTH_MODE="disabled")
    made = [tmp_path / name / "manifest.csv" for name in ("a", "b", "c")]
    times = [path.stat().st_mtime_ns for path in made]
    assert times == sorted(times)
    assert "--no" in (tmp_path / "failing.log").read_text()


def test_as_many_jobs_run_at_a_time_as_the_cluster_has_gpus(tmp_path: Path) -> None:
    """Those that wait for one would count as running, and the time left be too short."""

    class Cluster:
        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 64.0, "GPU": 4.0}

    options = Options(suite="quick", output=tmp_path, engine="ray")
    for gpu, most in ((True, 4), (False, 64)):
        assert trainings_at_once(options, RayCommands(ray=Cluster(), gpu=gpu), 64) == most


def test_a_command_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    """Else it would write beside its next try."""
    words = ("data", "mimes", str(tmp_path / "long"), "--clips", "100000", "--size", "32")
    program = (
        "from masquerade.benchmark.commands import run_command\n"
        f"run_command({words!r}, {str(tmp_path / 'long.log')!r}, 1, '.')"
    )
    worker = subprocess.Popen([sys.executable, "-c", program])
    until = time.monotonic() + 60
    command = f"-m masquerade data mimes {tmp_path / 'long'}"
    while command not in running_commands():
        assert time.monotonic() < until
        time.sleep(0.1)
    worker.kill()
    worker.wait(60)
    while command in running_commands():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_commands_are_shared_out_among_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sees one, and as many run at a time as there are, unless more are asked for."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus("auto") == visible_gpus("cuda") == ("0", "1")
    assert visible_gpus("cuda:1") == visible_gpus("cpu") == ()
    options = Options(suite="quick", output=tmp_path)
    here = LocalCommands()
    assert trainings_at_once(options, here, 16) == 2
    assert trainings_at_once(replace(options, device="cuda:1"), here, 16) == 1
    assert trainings_at_once(replace(options, device="cpu"), here, 16) == 16
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert visible_gpus("auto") == ("5", "7")
    seen = []

    class Process:
        def __init__(self, *given: object, env: dict[str, str], **more: object) -> None:
            seen.append(env["CUDA_VISIBLE_DEVICES"])

        def wait(self) -> int:
            if len(seen) < 3:  # the next begin while it runs
                commands.run(["--version"], tmp_path / "log", side_by_side=3)
            return 0

    monkeypatch.setattr("subprocess.Popen", Process)
    commands = LocalCommands(gpus=visible_gpus("auto"))
    assert commands.run(["--version"], tmp_path / "log", side_by_side=3) == 0
    assert seen == ["5", "7", "5"]
    assert commands._used.total() == 0
