"""SPAct's protocols through the command: two data sets, novel actions, novel attributes."""

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

from masquerade.checkpoint import read_provenance
from masquerade.cli import train
from masquerade.cli.evaluate import main
from masquerade.datasets.manifest import Column, Manifest, read_manifest, write_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.datasets.overlap import fingerprints
from masquerade.datasets.splits import linked_groups
from masquerade.errors import UsageError
from masquerade.evaluation.cross_dataset.merge import merge_datasets
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.protocols import protocols


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stills of people whose colour is private, and no action: what VISPR is to SPAct."""
    folder = tmp_path_factory.mktemp("pictures")
    with (folder / "pictures.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("path", "person", "red"))
        for person in range(scenes.PEOPLE):
            for take in range(3):
                frame = scenes.frames("down", person, seed=500 + 97 * person + 7 * take)[take]
                cv2.imwrite(str(folder / f"{person}_{take}.png"), frame[..., ::-1])
                out.writerow((f"{person}_{take}.png", f"q{person}", 1 - person % 2))
    return folder / "pictures.csv"


@pytest.fixture(scope="session")
def both(manifest: Manifest, pictures: Path) -> Manifest:
    """Actions of the videos, colours of the pictures."""
    return merge_datasets(manifest, read_manifest(pictures))


def evaluate_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([*words, *FAST]) in (0, 1)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def score(found: dict[str, Any], name: str, label: str) -> dict[str, Any]:
    row = next(row for row in found["rows"] if row["name"] == name)
    finding: dict[str, Any] = next(one for one in row["findings"] if one["label"] == label)
    return finding


def test_each_set_gives_its_own_side_alone(both: Manifest, manifest: Manifest) -> None:
    videos = len(manifest)
    action, red = both.targets("action"), both.targets("red")
    assert (action[:videos] == manifest.targets("action")).all() and (action[videos:] == -1).all()
    assert (red[:videos] == -1).all() and set(red[videos:]) == {0, 1}
    assert {one.name for one in both.of_role("attribute")} == {"red", "person"}
    assert all(both.path(clip).exists() for clip in both.clips)


def test_a_link_is_known_by_its_own_name(
    manifest: Manifest, pictures: Path, tmp_path: Path
) -> None:
    """Marks are made of names, so that both sets' clips keep theirs."""
    other = read_manifest(pictures)
    (tmp_path / "linked.png").symlink_to(other.path(other.clips[0]))
    linked = replace(other, root=tmp_path, clips=(replace(other.clips[0], path="linked.png"),))
    two = merge_datasets(manifest, linked)
    assert (
        fingerprints(two, [len(two) - 1]) == fingerprints(linked, [0]) != fingerprints(other, [0])
    )


def test_people_of_both_sets_stay_together(both: Manifest, manifest: Manifest) -> None:
    groups = linked_groups(both)
    assert len(set(groups)) == 2 * scenes.PEOPLE
    videos = len(manifest)
    assert (groups[:videos] == linked_groups(manifest)).all()
    for fold in protocols(both, folds=4)[0].folds:
        learned = np.concatenate([fold.train, fold.validation])
        assert not set(groups[learned]) & set(groups[fold.test])


def test_splits_of_either_kind_are_those_of_each(manifest: Manifest, pictures: Path) -> None:
    def fifths(one: Manifest, name: str) -> Manifest:
        cells = ["test" if row % 5 == 0 else "train" for row in range(len(one))]
        return one.with_cells(Column(name=name, role="split", kind="classes"), cells)

    two = merge_datasets(fifths(manifest, "split_action"), fifths(read_manifest(pictures), "split"))
    wanted = [row % 5 == 0 for row in range(len(manifest))]
    wanted += [row % 5 == 0 for row in range(len(two) - len(manifest))]
    assert [cell == "test" for cell in two.cells("split_action")] == wanted


def split(one: Manifest, *parts: str, name: str = "split") -> Manifest:
    """Clips of whole people dealt to these parts in turn."""
    groups = linked_groups(one)
    cells = [parts[group % len(parts)] for group in groups]
    return one.with_cells(Column(name=name, role="split", kind="classes"), cells)


def test_attackers_of_either_side_are_chosen_on_clips_of_its_own(
    manifest: Manifest, pictures: Path
) -> None:
    """UCF101's lists have train and test alone, VISPR's validation too."""
    stills = split(read_manifest(pictures), "train", "val", "test")
    two = merge_datasets(split(manifest, "train", "train", "test"), stills)
    fold = protocols(two, folds=0)[0].folds[0]
    chosen_on = {label: two.targets(label)[fold.validation] for label in ("action", "red")}
    assert all(len(set(codes[codes >= 0])) == 2 for codes in chosen_on.values())
    groups = linked_groups(two)
    assert not set(groups[fold.validation]) & set(groups[np.r_[fold.train, fold.test]])
    assert two.cells("split_action")[len(manifest) :] == stills.cells("split")


def test_a_set_without_a_split_is_named(folder: Path, pictures: Path) -> None:
    words = ["--data", str(folder / "clips.csv"), "--private-data", str(pictures), "--folds", "0"]
    with pytest.raises(UsageError, match=r"(clips|pictures)\.csv has no split column"):
        main([*words, *COPY, *FAST])


def test_where_the_action_is_unknown_its_floor_is_the_rate(manifest: Manifest) -> None:
    """All red ones who go right are unknown: whoever is known to go right is not red."""
    action, red = manifest.cells("action"), manifest.cells("red")
    pairs = zip(action, red, strict=True)
    cells = ["" if pair == ("right", "1") else pair[0] for pair in pairs]
    some = manifest.with_cells(manifest.column("action"), cells)
    protocol = protocols(some, folds=4)[0]
    truth = GroundTruth.of(some, (protocol,)).split(protocol.name, "test")
    known = truth.labels["action"]
    unknown = known < 0
    assert np.array_equal(truth.priors["red"][unknown], truth.rates["red"][unknown])
    assert (truth.priors["red"][known == 1, 1] == 0).all()
    assert (truth.rates["red"][unknown, 1] > 0.3).all()


@pytest.mark.slow
def test_a_planted_leak_of_the_other_set_is_found(
    folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(folder / "clips.csv"), "--private-data", str(pictures), "--folds", "4"]
    words += ["-o", str(tmp_path / "kept")]  # so that raw video is attacked once
    found = evaluate_json([*words, *COPY], capsys)
    assert found["void"] is None and found["data"] == "clips and pictures"
    assert any("pictures" in limit for limit in found["limits"])
    assert score(found, "raw", "action")["score"]["value"] > 0.9
    assert score(found, "downsample", "red")["leakage"]["value"] > 0.85
    red = score(found, "raw", "red")["floors"]
    assert red["action prior"]["value"] == red["constant"]["value"] == 0.5
    hidden = evaluate_json([*words, "--method", "blacken"], capsys)
    assert score(hidden, "blacken", "red")["leakage"]["value"] < 0.1


def test_labels_that_are_not_asked_for_are_not_attacked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(folder / "clips.csv"), "--folds", "4", *COPY]
    found = evaluate_json([*words, "--labels", "red", "--attackers", "scratch"], capsys)
    labels = [one["label"] for one in found["rows"][0]["findings"]]
    assert labels == ["action", "red"]


def test_folds_do_not_depend_on_what_is_attacked(manifest: Manifest) -> None:
    """Identity keeps people together also where nobody asks for it."""
    every, some = (protocols(manifest, folds=4, labels=labels)[0] for labels in (None, ("red",)))
    for a, b in zip(every.folds, some.folds, strict=True):
        assert all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("train", "test"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--labels", "blue"], "no column 'blue'"),
        (["--labels", "action"], "no private attribute"),
        (["--actions", "down,fly"], "no action fly; choose of down, right"),
        (["--actions", "down"], "two or more to keep"),
    ],
)
def test_what_cannot_be_asked_is_said(folder: Path, more: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        main(["--data", str(folder / "clips.csv"), *COPY, *FAST, *more])


def test_a_second_set_without_attributes_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("path,action\na.png,x\n")
    with pytest.raises(UsageError, match="no column with an attribute"):
        words = ["--data", str(folder / "clips.csv"), "--private-data", str(tmp_path / "none.csv")]
        main([*words, *COPY, *FAST])


@pytest.mark.slow
def test_learned_on_some_and_scored_on_what_it_never_met(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Novel actions and novel attributes: an anonymizer that saw neither."""
    drawn = Mimes(size=32, frames=4, clips=96, people=12, actions=("walk", "march", "bow", "kick"))
    data = str(write_mimes(tmp_path / "mimes", drawn))
    run = tmp_path / "run"
    words = ["vita", "--data", data, "-o", str(run), "--actions", "walk,march"]
    words += ["--private", "scene,object", "--epochs", "1", "--short", "16", "--allow-chance"]
    assert train.main([*words, "--device", "cpu"]) in (0, 1)
    known = (run / "log.csv").read_text().splitlines()[0].split(",")
    assert {"val_scene", "val_object"} <= {*known} and not {"val_warm", "val_dark"} & {*known}
    everyone = read_manifest(Path(data))
    met = set(read_provenance(run)["learned"])
    for row, mark in enumerate(fingerprints(everyone, range(len(everyone)))):
        here = everyone.cells("action")[row] in ("walk", "march")
        splits = [everyone.cells(one.name)[row] for one in everyone.of_role("split")]
        # held out are other people, by the split that keeps them apart
        held_out = everyone.cells("split")[row] == "val" and "test" not in splits
        assert (mark in met) == (here and (set(splits) == {"train"} or held_out))
    about = next(run.glob("*.safetensors"))
    capsys.readouterr()
    asked = ["--data", data, "--weights", str(about), "--actions", "bow,kick", "--folds", "0"]
    found = evaluate_json([*asked, "--labels", "warm,dark", "--attackers", "scratch"], capsys)
    assert any("bow, kick" in limit for limit in found["limits"])
    labels = {one["label"] for one in found["rows"][1]["findings"]}
    assert labels == {"action", "attributes", "warm", "dark"}
    assert found["rows"][1]["method"] == "vita"
    clips = read_manifest(Path(data)).cells("action")
    assert found["rows"][1]["clips"] == sum(cell in ("bow", "kick") for cell in clips)
    assert about.exists() and "--actions walk,march" in about.read_bytes().decode("latin1")


@pytest.mark.slow
def test_learned_on_two_sets_and_scored_on_both(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SPAct's cross-dataset protocol from end to end: actions of videos, colours of stills."""
    drawn = Mimes(size=32, frames=4, clips=96, people=12, actions=("walk", "march", "bow", "kick"))
    data, stills = str(write_mimes(tmp_path / "mimes", drawn)), pictures.with_name("split.csv")
    marked = split(read_manifest(pictures), "train", "train", "val", "train", "test")
    write_manifest(marked, stills)
    run = tmp_path / "run"
    words = ["vita", "--data", data, "--stills", str(stills), "--private", "red", "--epochs", "1"]
    words += ["--short", "16", "--actions", "walk,march", "--device", "cpu", "--allow-chance"]
    assert train.main([*words, "-o", str(run)]) in (0, 1)
    capsys.readouterr()
    asked = ["--data", data, "--private-data", str(stills), "--weights", str(run), "--folds", "0"]
    found = evaluate_json([*asked, "--labels", "red", "--attackers", "scratch"], capsys)
    assert {one["label"] for one in found["rows"][1]["findings"]} == {"action", "red"}
    assert score(found, "vita", "red")["score"]["value"] is not None
    tests = [row for row, cell in enumerate(marked.cells("split")) if cell == "test"]
    assert not {*fingerprints(marked, tests)} & {*read_provenance(run)["learned"]}
