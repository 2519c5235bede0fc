"""Attackers that learn from two data sets and are scored on a third: SPAct's PA-HMDB51 protocol."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scenes
from scenes import COPY, FAST

from masquerade.checkpoint import save
from masquerade.cli import main as masquerade
from masquerade.cli.evaluate import main
from masquerade.datasets.manifest import Column, Manifest, make_manifest, read_manifest
from masquerade.datasets.overlap import find_overlap, fingerprints
from masquerade.datasets.splits import linked_groups
from masquerade.errors import UsageError
from masquerade.evaluation.cross_dataset.transfer import transfer_dataset
from masquerade.evaluation.protocols import Fold, protocols
from masquerade.methods import build

NEW = range(20, 30)  # people whom nobody learned from
MET = 8  # rows of one person in the films: two ranges of each of the four clips


@pytest.fixture(scope="session")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with two private labels, of which one is known elsewhere; some are test."""
    folder = tmp_path_factory.mktemp("stills")
    with (folder / "stills.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("path", "red", "odd", "split"))
        for number in range(36):
            frame = scenes.frames("down", number % 14, seed=900 + number)[number % 8]
            cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
            part = "test" if number % 6 == 5 else "train"
            out.writerow((f"{number}.png", 1 - number % 14 % 2, number % 2, part))
    return folder / "stills.csv"


@pytest.fixture(scope="session")
def films(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ranges of new videos, and of the first person's videos, which are learned from elsewhere."""
    place = tmp_path_factory.mktemp("films")
    with (place / "films.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("path", "action", "identity", "red", "blue", "first", "last"))
        for person in NEW:
            for action in scenes.STEPS:
                name = f"{action}_{person}.mkv"
                scenes.write(place / name, scenes.frames(action, person, seed=31 * person))
                out.writerow((name, action, f"p{person - 20}", 1 - person % 2, person % 2, 0, 7))
        for action in scenes.STEPS:
            for take, last in ((0, 3), (0, 7), (1, 3), (1, 7)):
                name = (folder / f"{action}_0_{take}.mkv").as_posix()
                out.writerow((name, action, "p99", 1, 0, last - 3, last))
    return place / "films.csv"


@pytest.fixture(scope="session")
def whole(manifest: Manifest, stills: Path, films: Path) -> tuple[Manifest, tuple[str, ...]]:
    """Actions of the videos, labels of the stills, both to be scored on the films."""
    private, scored = ("stills", read_manifest(stills)), ("films", read_manifest(films))
    return transfer_dataset(("clips", manifest), scored, private=private)


def fold_of(one: Manifest) -> Fold:
    (found,) = protocols(one, folds=0)
    return found.folds[0]


def rows_of(one: Manifest, suffix: str) -> list[int]:
    return [row for row, clip in enumerate(one.clips) if clip.path.endswith(suffix)]


def as_split(one: Manifest, *parts: str, by: int = 1) -> Manifest:
    cells = [parts[row // by % len(parts)] for row in range(len(one))]
    return one.with_cells(Column(name="split", role="split", kind="classes"), cells)


def test_labels_go_by_their_columns(
    whole: tuple[Manifest, tuple[str, ...]], films: Path, stills: Path
) -> None:
    one, notes = whole
    assert {column.name for column in one.of_role("attribute")} == {"red"}
    fold, pictures = fold_of(one), rows_of(one, ".png")
    action, red = one.targets("action"), one.targets("red")
    scored = read_manifest(films)
    assert (action[fold.test] == scored.targets("action")).all()
    assert (red[fold.test] == scored.targets("red")).all()
    learned = np.r_[fold.train, fold.validation]
    assert set(red[pictures]) == {0, 1} and (action[pictures] == -1).all()
    videos = np.setdiff1d(learned, pictures)
    assert set(action[videos]) == {0, 1} and (red[videos] == -1).all()
    own = {Path(clip.path).name: clip.cells["red"] for clip in read_manifest(stills).clips}
    assert all(own[Path(one.clips[r].path).name] == one.cells("red")[r] for r in pictures)
    assert "Not attacked, since films does not have them: odd." in notes
    assert "Not attacked, since they cannot be learned from stills: blue." in notes


def test_what_is_scored_is_never_learned_from(
    whole: tuple[Manifest, tuple[str, ...]], films: Path, manifest: Manifest
) -> None:
    """Neither its files nor its people: the first person's other clips are left out as well."""
    one, notes = whole
    fold = fold_of(one)
    learned = np.r_[fold.train, fold.validation]
    assert len(fold.test) == len(read_manifest(films)) == 2 * len(NEW) + MET
    assert not {one.path(one.clips[r]) for r in learned} & {
        one.path(one.clips[r]) for r in fold.test
    }
    groups = linked_groups(one)
    assert not set(groups[learned]) & set(groups[fold.test])
    assert not set(groups[fold.train]) & set(groups[fold.validation])
    videos = [r for r in learned if one.clips[r].path.endswith(".mkv")]
    assert len(videos) == len(manifest) - 4
    assert notes[0] == (
        "Attackers learned the action from clips and private labels from stills, and are scored on "
        "films."
    )
    assert notes[1].startswith("Not learned from, of clips: 4 that films has too, and 0 that share")
    assert notes[2].startswith("Not learned from, of stills: 0 that films has too, and 0 that")
    assert all(one.path(clip).exists() for clip in one.clips)


def test_relatives_of_a_scored_clip_are_counted_apart(manifest: Manifest) -> None:
    """A range of one file is scored: another range of it, and other clips of that person, go."""
    mine = replace(manifest.clips[0], first=0, last=3)
    ranges = (mine, replace(mine, first=4, last=7), *manifest.clips[1:])
    cut = make_manifest(manifest.root, ranges)
    found = find_overlap(cut, replace(cut, clips=(replace(mine, first=2, last=3),)))
    assert (found.same_frames.tolist(), found.related.tolist()) == ([0], [1, 2, 3, 4])
    assert not len(find_overlap(manifest, manifest.take([])).rows)


def test_each_side_is_chosen_on_its_own_clips(whole: tuple[Manifest, tuple[str, ...]]) -> None:
    one, _ = whole
    validation = fold_of(one).validation
    for label in ("action", "red"):
        codes = one.targets(label)[validation]
        assert set(codes[codes >= 0]) == {0, 1}


def test_splits_of_either_side_are_kept(manifest: Manifest, films: Path) -> None:
    """Test clips are not learned from; of what is scored those alone, where there are any."""
    learned = as_split(manifest, "train", "val", "train", "test", "", by=4)  # by person
    scored = as_split(read_manifest(films), "train", "test")
    one, notes = transfer_dataset(("clips", learned), ("films", scored))
    fold = fold_of(one)
    assert len(fold.test) == scored.cells("split").count("test")
    # the first person, of whose clips the even rows of films are not scored, is of train
    assert len(fold.train) == learned.cells("split").count("train") - 4
    assert len(fold.validation) == learned.cells("split").count("val")
    assert notes[1].startswith("Not learned from, of clips: 4 that films has too, and 0 that")


def test_relatives_through_a_clip_that_is_not_learned_from_are_left_out(
    manifest: Manifest, films: Path
) -> None:
    """Of the first person one clip is scored, which is of the learners' test; the rest is train."""
    scored = read_manifest(films)
    one = [row for row in range(len(scored)) if scored.clips[row].path.endswith("down_0_0.mkv")]
    scored = scored.take([*one, *range(10)])
    (test,) = rows_of(manifest, "down_0_0.mkv")
    cells = ["test" if row == test else "train" for row in range(len(manifest))]
    learned = manifest.with_cells(Column(name="split", role="split", kind="classes"), cells)
    whole, notes = transfer_dataset(("clips", learned), ("films", scored))
    assert notes[1].startswith("Not learned from, of clips: 0 that films has too, and 3 that share")
    fold = fold_of(whole)
    assert len(fold.train) + len(fold.validation) == len(manifest) - 4


def test_without_other_private_data_the_first_has_the_labels(
    manifest: Manifest, films: Path
) -> None:
    one, notes = transfer_dataset(("clips", manifest), ("films", read_manifest(films)))
    assert {column.name for column in one.of_role("attribute")} == {"red"}
    assert (one.targets("red")[fold_of(one).train] >= 0).all()
    assert notes[0] == "Attackers learned from clips and are scored on films."


def test_several_people_in_a_clip_are_no_label_of_two_datasets(
    manifest: Manifest, films: Path
) -> None:
    """They are other people there, whatever they are called."""
    column = Column(name="identity", role="attribute", kind="multi-label")
    pairs = [
        one.with_cells(column, [f"{name}|{name}b" for name in one.cells("identity")])
        for one in (manifest, read_manifest(films))
    ]
    one, _ = transfer_dataset(("clips", pairs[0]), ("films", pairs[1]))
    assert {column.name for column in one.of_role("attribute")} == {"red"}
    groups, fold = linked_groups(one), fold_of(one)
    assert not np.intersect1d(groups[fold.train], groups[fold.test]).size


def test_an_action_that_nobody_learned_is_unknown(manifest: Manifest, films: Path) -> None:
    scored = read_manifest(films)
    cells = ["fly" if row < 3 else cell for row, cell in enumerate(scored.cells("action"))]
    scored = scored.with_cells(scored.column("action"), cells)
    one, notes = transfer_dataset(("clips", manifest), ("films", scored))
    assert one.column("action").values == ("down", "right")
    assert (one.targets("action")[fold_of(one).test] == -1).sum() == 3
    assert "Of films 3 show an action that was not learned: unknown." in notes


@pytest.mark.parametrize(
    ("name", "kind", "cell", "said"),
    [
        ("red", "classes", "warm", "No private attribute can be learned from clips and"),
        ("red", "binary", "", "No private attribute"),
        ("action", "classes", "fly", "No clip of films shows an action that clips"),
        ("action", "multi-label", "down|right", "no column action of classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    manifest: Manifest, films: Path, name: str, kind: Any, cell: str, said: str
) -> None:
    scored, learned = read_manifest(films), manifest
    column = replace(scored.column(name), kind=kind)
    if cell:
        scored = scored.with_cells(column, [cell] * len(scored))
    else:  # all who are learned from are red
        learned = manifest.with_cells(manifest.column(name), ["1"] * len(manifest))
    with pytest.raises(UsageError, match=said):
        transfer_dataset(("clips", learned), ("films", scored))


def test_what_leaves_nothing_is_refused(manifest: Manifest, films: Path) -> None:
    bare = replace(manifest, columns=tuple(c for c in manifest.columns if c.name != "red"))
    with pytest.raises(UsageError, match="the one has none, the other red, blue"):
        transfer_dataset(
            ("clips", manifest), ("films", read_manifest(films)), private=("bare", bare)
        )
    with pytest.raises(UsageError, match="Nothing of clips is left to learn from"):
        transfer_dataset(("clips", manifest), ("again", manifest))
    scored = as_split(read_manifest(films), "train")
    with pytest.raises(UsageError, match="Column split of films says test of no clip"):
        transfer_dataset(("clips", manifest), ("films", scored))


def test_folds_are_refused(folder: Path, films: Path) -> None:
    words = [
        "--data",
        str(folder / "clips.csv"),
        "--score-on",
        str(films),
        *COPY,
        *FAST,
    ]
    for more in ([], ["--folds", "4"]):
        with pytest.raises(UsageError, match="give --folds 0"):
            main([*words, *more])


def words_of(folder: Path, stills: Path, films: Path) -> list[str]:
    words = ["--data", str(folder / "clips.csv"), "--private-data", str(stills)]
    return [*words, "--score-on", str(films), "--folds", "0", *FAST]


@pytest.mark.slow
def test_a_planted_leak_is_found_where_nobody_learned(
    folder: Path, stills: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole protocol through the command: colours learned from stills, found in films."""
    words = [*words_of(folder, stills, films), "-o", str(tmp_path / "kept")]

    def findings(*more: str) -> tuple[dict[str, Any], dict[str, Any]]:
        assert main([*words, *more]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found, {one["label"]: one for one in found["rows"][1]["findings"]}

    found, copied = findings(*COPY)
    assert found["void"] is None and found["data"] == "clips and stills, scored on films"
    assert set(copied) == {"action", "red"}
    assert copied["action"]["score"]["value"] > 0.9 and copied["red"]["score"]["value"] > 0.9
    assert any("4 that films has too" in limit for limit in found["limits"])
    _, hidden = findings("--method", "blacken")
    assert hidden["red"]["score"]["value"] < 0.6


@pytest.mark.slow
def test_the_anonymizer_has_not_met_what_is_scored(
    folder: Path, manifest: Manifest, stills: Path, films: Path, tmp_path: Path
) -> None:
    """It may have learned from all that attackers learn from, and from no frame of the films."""

    def run(name: str, learned: list[str]) -> list[str]:
        path = tmp_path / name / "anonymizer.safetensors"
        path.parent.mkdir()
        method = build("bdq")
        method.trained = True
        save(method, path, provenance={"learned": learned})
        return ["--weights", str(path.parent)]

    words, rows = words_of(folder, stills, films), range(len(manifest))
    first = [row for row in rows if manifest.cells("identity")[row] == "p0"]
    with pytest.raises(UsageError, match=r"from 8 of the 28 .*`masquerade data convert --without`"):
        main([*words, *run("met", fingerprints(manifest, first))])
    others = [row for row in rows if row not in first]
    assert (
        main([*words, *run("unmet", fingerprints(manifest, others)), "--attackers", "scratch"]) == 0
    )


def hmdb51(folder: Path) -> None:
    """Lists and videos as HMDB51 has them, and PA-HMDB51's labels of the last three people's."""
    (folder / "lists").mkdir()
    for action in scenes.STEPS:
        lines, labels = [], {}
        (folder / "videos" / action).mkdir(parents=True)
        for person in range(9):
            name = f"film{person}_{action}_f_cm_np1_fr_med_0.avi"
            video = folder / "videos" / action / name
            scenes.write(video, scenes.frames(action, person, seed=97 * person))
            lines.append(f"{name} {2 if person > 6 else 1} ")
            flags = [[0, 7, person % 2]]
            each = dict.fromkeys(("skin_color", "face", "nudity", "relationship"), flags)
            gender = [[0, 3, 0], [4, 7, 2]] if person == 6 else flags
            labels[name] = {**each, "gender": gender}
        listed = folder / "lists" / f"{action}_test_split1.txt"
        listed.write_text("\n".join(lines))
        some = dict(list(labels.items())[-3:])
        (folder / "pa").mkdir(exist_ok=True)
        (folder / "pa" / f"{action}.json").write_text(json.dumps(some))


def vispr(folder: Path) -> None:
    """Lists, one JSON a picture, and pictures as VISPR has them."""
    for part, numbers in {"train": range(24), "val": range(24, 32), "test": range(32, 36)}.items():
        for number in numbers:
            picture = scenes.frames("down", number % 14, seed=600 + number)[number % 8]
            cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])
            labels = ["a4_gender", "a17_color"] if number % 2 else ["a9_face_complete"]
            about = {"image_path": f"{number}.png", "labels": labels}
            (folder / f"{number}.json").write_text(json.dumps(about))
        listed = "\n".join(f"{number}.json" for number in numbers)
        (folder / f"{part}2017.txt").write_text(listed)


@pytest.mark.slow
def test_the_papers_protocol_from_the_datasets_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/evaluate-papers.md has it: convert, train on two data sets, score on the third."""
    (tmp_path / "vispr").mkdir()
    hmdb51(tmp_path)
    vispr(tmp_path / "vispr")
    known, seen, pictures = (str(tmp_path / f"{name}.csv") for name in ("pa", "hmdb51", "vispr"))
    lists, videos = str(tmp_path / "lists"), ["--videos", str(tmp_path / "videos")]
    convert = ["data", "convert"]
    labels = ["pa-hmdb51", str(tmp_path / "pa"), *videos, "--values", "vispr", "-o", known]
    assert masquerade([*convert, *labels]) == 0
    assert masquerade([*convert, "vispr", str(tmp_path / "vispr"), "-o", pictures]) == 0
    every = ["hmdb51", lists, *videos, "-o", seen]
    assert masquerade([*convert, *every, "--without", known]) == 0
    run = str(tmp_path / "run")
    words = ["train", "vita", "--data", seen, "--stills", pictures, "-o", run, "--device", "cpu"]
    words += ["--private", "a4_gender", "--epochs", "1", "--short", "16"]
    assert masquerade(words) in (0, 1) and (tmp_path / "run" / "anonymizer.safetensors").exists()
    asked = ["evaluate", "--private-data", pictures, "--score-on", known, "--weights", run]
    asked += ["--folds", "0", "--attackers", "scratch", *FAST, "--data"]
    capsys.readouterr()
    assert masquerade([*asked, seen]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert "Not learned from, of hmdb51: 0 that pa has too" in " ".join(found["limits"])
    tested = {one["label"] for one in found["rows"][1]["findings"]}
    assert tested == {"action", "a4_gender", "a17_color", "attributes"}
    # with those that are in both, which are then left out here
    assert masquerade([*convert, *every, "--overwrite"]) == 0
    private = ("vispr", read_manifest(Path(pictures)))
    learned, scored = ("hmdb51", read_manifest(Path(seen))), ("pa", read_manifest(Path(known)))
    assert transfer_dataset(learned, scored, private=private)[1][1] == (
        "Not learned from, of hmdb51: 2 that pa has too, and 0 that share people, a source or a "
        "file with clips of it."
    )
