"""`masquerade data ...`: what is printed, what is written and how each ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from masquerade.cli import data
from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.published import READERS
from masquerade.errors import UsageError


def run(*words: object) -> int:
    return data.main([str(word) for word in words])


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    return put(tmp_path / "m.csv", "path,identity,split\na.mp4,p[1],train\nb.mp4,p[1],test\n")


def test_check_ends_with_1_where_something_is_found(
    leaky: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", leaky) == 1
    out = capsys.readouterr().out
    assert "missing: 2" in out and "split: identity p[1] in test, train (2 clips)" in out
    assert run("check", leaky, "--columns-only", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["missing"] == [] and len(found["split_leaks"]) == 1


def test_what_a_manifest_says_gives_a_terminal_no_orders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "path,identity,split\na\x1b[2J.mp4,p\x1b]0;x\x07,train\nb.mp4,p\x1b]0;x\x07,test\n"
    assert run("check", put(tmp_path / "m.csv", rows)) == 1
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert r"a\x1b[2J.mp4" in out and r"identity p\x1b]0;x\x07 in" in out


def test_check_ends_with_0_where_nothing_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path / "m.csv", "path,action\na.mp4,x\n")
    assert run("check", path, "--columns-only") == 0
    assert "nothing found" in capsys.readouterr().out


def test_vote_writes_the_labels_and_prints_the_agreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        put(tmp_path / f"{i}.csv", f"path,hat:binary\na,{hat}\nb,{i % 2}\n")
        for i, hat in enumerate("110")
    ]
    assert run("vote", *files, "-o", tmp_path / "out.csv") == 0
    assert "hat" in capsys.readouterr().out
    assert read_manifest(tmp_path / "out.csv").cells("hat") == ("1", "0")
    assert run("vote", *files, "--json") == 0
    assert json.loads(capsys.readouterr().out)["agreement"][0]["rated"] == 2


def test_convert_writes_a_manifest_that_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for group in range(1, 11):
        put(tmp_path / f"v/golf/v_golf_{group:02d}/v_golf_{group:02d}_01.mpg", "x")
    out = tmp_path / "golf.csv"
    assert run("convert", "ucf11", tmp_path / "v", "-o", out, "--test-share", "0.4") == 0
    shown = capsys.readouterr()
    assert shown.out == "" and "10 clips" in shown.err
    manifest = read_manifest(out)
    assert manifest.cells("split").count("test") == 4
    assert all(manifest.path(clip).exists() for clip in manifest.clips)
    shares = ("--test-share", ".4", "--val-share", ".2")
    assert run("convert", "ucf11", tmp_path / "v", "-o", out, "-y", *shares) == 0
    assert set(read_manifest(out).cells("split")) == {"train", "val", "test"}
    assert "are wanted" not in capsys.readouterr().err
    for take in range(2, 31):
        put(tmp_path / f"v/golf/v_golf_01/v_golf_01_{take:02d}.mpg", "x")
    assert run("convert", "ucf11", tmp_path / "v", "-o", out, "-y", *shares[:2]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "split: test has 23% of the clips where 40% are wanted" in shown
    assert "the largest of which has 30 of 39. Clips are linked by identity" in shown


def test_an_option_of_another_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ucf11 takes no --fold"):
        run("convert", "ucf11", tmp_path, "-o", tmp_path / "m.csv", "--fold", 2)
    with pytest.raises(UsageError, match="vp needs --splits"):
        run("convert", "vp", tmp_path, "-o", tmp_path / "m.csv")


def test_what_would_change_nothing_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "v/golf/v_golf_01/v_golf_01_01.mpg", "x")
    convert = ("convert", "ucf11", tmp_path / "v", "-o", tmp_path / "m.csv")
    with pytest.raises(
        UsageError, match=r"ucf11 has no train to take val of: .* --test-share, too"
    ):
        run(*convert, "--val-share", "0.3", "--seed", "4")
    with pytest.raises(UsageError, match="ucf11 has no random split: leave out --seed"):
        run(*convert, "--seed", "4")
    listed = ("convert", "kth", tmp_path / "kth", "-o", tmp_path / "m.csv", "--splits", tmp_path)
    put(tmp_path / "kth/boxing/person11_boxing_d1_uncomp.avi", "x")
    row = "person11_boxing_d1_uncomp,boxing,,,360,test"
    put(tmp_path / "metadata.csv", f"video,action,person,background,frames,set\n{row}\n")
    with pytest.raises(UsageError, match="kth has the splits of --splits: leave out --seed"):
        run(*listed, "--seed", "4")
    with pytest.raises(UsageError, match=r"splits of its own \(split_action, split_identity\)"):
        run(*listed, "--test-share", "0.4")
    for part in ("train", "val"):
        put(tmp_path / f"vispr/{part}.json", json.dumps({"image_path": "a.jpg", "labels": []}))
        put(tmp_path / f"vispr/{part}2017.txt", f"{part}.json\n")
    vispr = ("convert", "vispr", tmp_path / "vispr", "-o", tmp_path / "m.csv")
    with pytest.raises(UsageError, match="vispr has val already: leave out --val-share"):
        run(*vispr, "--val-share", "0.3")
    assert not (tmp_path / "m.csv").exists()
    manifest = put(tmp_path / "f.csv", "path,action,split\na.mp4,x,train\nb.mp4,x,test\n")
    with pytest.raises(UsageError, match=r"f\.csv is no pickle, and --splits are the lists of one"):
        run("floors", manifest, "--splits", tmp_path)
    with pytest.raises(UsageError, match="--columns-only opens no file that --every-frame"):
        run("check", manifest, "--columns-only", "--every-frame")


def test_every_dataset_reader_is_a_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("convert", "--help")
    shown = capsys.readouterr().out.replace("\n", "").replace("│", "").replace(" ", "")
    assert ",".join(sorted(READERS)) in shown
    with pytest.raises(UsageError, match="no form 'ucf'; choose one of celebv-hq"):
        run("convert", "ucf", "lists", "-o", "m.csv")


def test_a_vote_does_not_replace_what_an_annotator_wrote(tmp_path: Path) -> None:
    one, two = (put(tmp_path / f"{n}.csv", "path,action\na.mp4,x\n") for n in "ab")
    (tmp_path / "link.csv").hardlink_to(two)
    for out, read in (("./a.csv", one), ("link.csv", two)):
        with pytest.raises(UsageError, match=f"would replace {read}, which is read"):
            run("vote", one, two, "-o", tmp_path / out, "-y")
        assert read.read_text() == "path,action\na.mp4,x\n"


@pytest.mark.parametrize("flag", ["--without", "--split-as"])
def test_convert_does_not_replace_the_manifest_that_it_reads(tmp_path: Path, flag: str) -> None:
    put(tmp_path / "v/golf/v_golf_01/v_golf_01_01.mpg", "x")
    test = put(tmp_path / "test.csv", "path,action,split\nv/golf/a.mpg,golf,test\n")
    before = test.read_text()
    with pytest.raises(UsageError, match="which is read"):
        run("convert", "ucf11", tmp_path / "v", "-o", test, flag, test, "-y")
    assert test.read_text() == before


def test_convert_does_not_replace_the_lists_that_it_reads(tmp_path: Path) -> None:
    for name in ("train", "test"):
        put(tmp_path / f"{name}list01.txt", f"Run/v_Run_g0{len(name)}_c01.avi 1\n")
    listed = tmp_path / "trainlist01.txt"
    with pytest.raises(UsageError, match="is no manifest"):
        run("convert", "ucf101", tmp_path, "-o", listed, "-y")
    assert listed.read_text().endswith("_c01.avi 1\n")
    for _ in range(2):  # its own manifest, which may lie beside the lists, is replaced
        assert run("convert", "ucf101", tmp_path, "-o", tmp_path / "ucf101.csv", "-y") == 0


@pytest.mark.parametrize(
    "words", [("floors", "m.csv"), ("convert", "kth", ".", "-o", "x.csv"), ("mimes", "m")]
)
def test_a_negative_seed_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--seed must be from 0"):
        run(*words, "--seed", "-1")


def test_convert_without_leaves_out_clips_of_another_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HMDB51 without PA-HMDB51's clips, and without those cut from the same films."""
    for name in ("May_wave_f_nm_np1_fr_med_1", "May_wave_f_nm_np1_fr_med_2", "Jo_wave_f_nm_np1_fr"):
        put(tmp_path / "videos" / "wave" / f"{name}.avi", name)
    lines = "May_wave_f_nm_np1_fr_med_1.avi 1\nMay_wave_f_nm_np1_fr_med_2.avi 2\n"
    put(tmp_path / "lists" / "wave_test_split1.txt", f"{lines}Jo_wave_f_nm_np1_fr.avi 1\n")
    ranges = {name: [[0, 9, 1]] for name in ("skin_color", "face", "gender", "nudity")}
    labels = {"May_wave_f_nm_np1_fr_med_1.avi": {**ranges, "relationship": [[0, 9, 0]]}}
    put(tmp_path / "pa" / "wave.json", json.dumps(labels))
    videos, pa = ("--videos", tmp_path / "videos"), tmp_path / "pa.csv"
    assert run("convert", "pa-hmdb51", tmp_path / "pa", *videos, "-o", pa, "--values", "vispr") == 0
    assert read_manifest(pa).cells("a4_gender") == ("1",)
    words = ("convert", "hmdb51", tmp_path / "lists", *videos, "-o", tmp_path / "h.csv")
    capsys.readouterr()
    assert run(*words, "--without", pa) == 0
    assert [clip.path for clip in read_manifest(tmp_path / "h.csv").clips] == [
        "videos/wave/Jo_wave_f_nm_np1_fr.avi"
    ]
    assert "1 clips. 2 are left out for pa.csv." in capsys.readouterr().err
    assert run(*words, "-y") == 0
    again = ("convert", "hmdb51", tmp_path / "lists", *videos, "-o", tmp_path / "again.csv")
    with pytest.raises(UsageError, match="Every clip shares a file, people or a source"):
        run(*again, "--without", tmp_path / "h.csv")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"golf/v_g\xe9_01_01.mpg", r"'golf/v_g\\udce9_01_01\.mpg' is not in UTF-8"),
        (b" golf/v_golf_01_01.mpg", "begins or ends with a space, which a manifest loses"),
    ],
)
def test_convert_refuses_names_that_no_manifest_can_have(
    tmp_path: Path, name: bytes, said: str
) -> None:
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir()
    path.write_bytes(b"x")
    out = tmp_path / "m.csv"
    with pytest.raises(UsageError, match=rf"{said}.*: rename it\.$"):
        run("convert", "ucf11", tmp_path, "-o", out)
    test = put(tmp_path / "test.csv", "path,action\nb.mpg,golf\n")
    with pytest.raises(UsageError, match=said):
        run("convert", "ucf11", tmp_path, "-o", out, "--without", test)
    assert not out.exists()


def test_convert_without_leaves_out_clips_of_a_test_set_whose_files_are_not_here(
    tmp_path: Path,
) -> None:
    """Its sizes are not known; before, every clip of it was then taken for another one."""
    for name in ("1", "2"):
        put(tmp_path / f"v/golf/v_golf_0{name}/v_golf_0{name}_01.mpg", name)
    test = put(tmp_path / "test.csv", "path,action\nelsewhere/v_golf_01_01.mpg,golf\n")
    out = tmp_path / "golf.csv"
    assert run("convert", "ucf11", tmp_path / "v", "-o", out, "--without", test) == 0
    assert [Path(clip.path).name for clip in read_manifest(out).clips] == ["v_golf_02_01.mpg"]


def test_a_manifest_votes_once(tmp_path: Path) -> None:
    """Named twice it would agree with itself."""
    one = put(tmp_path / "a.csv", "path,action\na.mp4,x\n")
    (tmp_path / "b.csv").symlink_to(one)
    with pytest.raises(UsageError, match=r"b.csv is given twice|a.csv is given twice"):
        run("vote", one, tmp_path / "b.csv")


def test_two_manifests_of_the_same_files_have_one_split(tmp_path: Path) -> None:
    """PA-HMDB51's videos, for their actions, and pieces of them, for attributes."""
    labels = {}
    for film in range(8):
        name = f"film{film}_wave_f_nm_np1_fr_med_0.avi"
        put(tmp_path / "videos" / "wave" / name, str(film))
        ranges = {one: [[0, 9 + film, 1]] for one in ("skin_color", "face", "gender", "nudity")}
        labels[name] = {**ranges, "relationship": [[0, 4, 0], [5, 9 + film, 1]]}
    put(tmp_path / "pa" / "wave.json", json.dumps(labels))
    words = ["convert", "pa-hmdb51", tmp_path / "pa", "--videos", tmp_path / "videos"]
    videos, pieces = tmp_path / "videos.csv", tmp_path / "else" / "pieces.csv"
    pieces.parent.mkdir()
    shares = ("--test-share", "0.4", "--val-share", "0.2")
    assert run(*words, "-o", videos, "--by-video", *shares) == 0
    assert run(*words, "-o", pieces, "--most-frames", 4, "--split-as", videos) == 0
    whole, cut = read_manifest(videos), read_manifest(pieces)
    parts = {clip.path.rpartition("/")[2]: clip.cells["split"] for clip in whole.clips}
    assert len(whole) == 8 and set(parts.values()) == {"train", "val", "test"}
    assert len(cut) > 24
    assert all(parts[clip.path.rpartition("/")[2]] == clip.cells["split"] for clip in cut.clips)
    with pytest.raises(UsageError, match="leave out the shares"):
        run(*words, "-o", pieces, "--split-as", videos, *shares)


def test_an_existing_manifest_is_replaced_only_when_asked(tmp_path: Path) -> None:
    old = put(tmp_path / "out.csv", "kept")
    put(tmp_path / "v/golf/v_golf_01/v_golf_01_01.mpg", "x")
    both = [put(tmp_path / f"{n}.csv", "path,hat:binary\na,1\n") for n in "ab"]
    for words in (("vote", *both), ("convert", "ucf11", tmp_path / "v")):
        with pytest.raises(UsageError, match="exists already"):
            run(*words, "-o", old)
        assert old.read_text() == "kept"
    assert run("vote", *both, "-o", old, "-y") == 0
    assert read_manifest(old).cells("hat") == ("1",)


def test_floors_show_whole_headers_and_say_what_their_metrics_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"attribute_with_a_long_name_{number}" for number in range(9)]
    marks = ",".join("1" * 9), ",".join("0" * 9)
    rows = [f"{n},x,{marks[n % 2]},p{n % 2},{'test' if n > 3 else 'train'}" for n in range(8)]
    head = f"path,action,{','.join(names)},identity,split"
    path = put(tmp_path / "m.csv", "\n".join([head, *rows]) + "\n")
    assert run("floors", path) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in names) and "…" not in printed
    metrics = {row["metric"] for row in floors_of(path, capsys)}
    for metric in {one.partition(" of ")[0] for one in metrics}:
        assert f"\n{metric}: " in printed
    assert {"cMAP", "F1", "BCE", "top-1", "balanced accuracy", "positive rate"} <= metrics


def floors_of(path: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert run("floors", path, "--json") == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    return [row for table in tables for row in table["floors"]]


def test_names_in_brackets_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "a,x,1,0,train\nb,y,0,1,train\nc,x,1,1,test\nd,y,0,0,test\n"
    path = put(tmp_path / "m.csv", f"path,action,hair[/dark],hat,split\n{rows}")
    assert run("floors", path) == 0
    assert "[/dark]" in capsys.readouterr().out
