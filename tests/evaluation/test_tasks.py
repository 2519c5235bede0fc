"""STPrivacy's tasks from the datasets' own folders to a table, as docs/tasks.md has them."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import scenes

from masquerade.cli import evaluate as evaluate_verb
from masquerade.cli import main
from masquerade.cli import train as train_verb
from masquerade.datasets.manifest import read_manifest
from masquerade.evaluation.protocols import protocols
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.recipes import RECIPES
from masquerade.training.recipes.stprivacy import stprivacy

PEOPLE = range(8)
TESTED = 5  # and those after
SMALL = "--width 24 --depth 3 --places 1 2 --frames 8 --picture 16 16"


def quick_stprivacy(*, preset: Literal["quick"] = "quick") -> AdversarialRecipe:
    """The tiny recipe's last phase alone, for one epoch; no number is asked for here."""
    whole = stprivacy()
    last = replace(whole.phases[-1], epochs=1)
    return replace(whole, phases=(last,), batch=8, size=(16, 16), tolerance=None, min_steps=1)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    RECIPES["stprivacy"] = quick_stprivacy
    yield
    RECIPES["stprivacy"] = stprivacy


def draw(path: Path, action: str, person: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scenes.write(path, scenes.frames(action, person, seed=97 * person))


def five(person: int) -> np.ndarray:
    return np.array([[person % 2, person // 2 % 2, person % 2, 0, int(person % 3 == 0)]])


def vp_hmdb51(folder: Path) -> list[str]:
    """`wave_test_split1.txt`, `wave/NAME_wave_f_cm_np1_fr_med_0.avi`, a pickle."""
    labels: dict[str, np.ndarray] = {}
    (folder / "splits").mkdir(parents=True)
    for action in scenes.STEPS:
        lines = []
        for person in PEOPLE:
            name = f"movie{person}_{action}_f_cm_np1_fr_med_0"
            draw(folder / "videos" / action / f"{name}.avi", action, person)
            labels[f"{action}/{name}.avi"] = five(person)
            lines.append(f"{name}.avi {2 if person >= TESTED else 1} ")
        (folder / "splits" / f"{action}_test_split1.txt").write_text("\n".join(lines))
    (folder / "labels.pickle").write_bytes(pickle.dumps(labels))
    return vp(folder)


def vp_ucf101(folder: Path) -> list[str]:
    """`trainlist01.txt`, `Down/v_Down_g01_c01.avi`, a pickle."""
    labels: dict[str, np.ndarray] = {}
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for number, action in enumerate(scenes.STEPS, 1):
        for person in PEOPLE:
            name = f"{action.title()}/v_{action.title()}_g{person + 1:02d}_c01.avi"
            draw(folder / "videos" / name, action, person)
            labels[name] = five(person)
            part = "test" if person >= TESTED else "train"
            lists[part].append(f"{name} {number}" if part == "train" else name)
    (folder / "splits").mkdir(parents=True)
    for part, lines in lists.items():
        (folder / "splits" / f"{part}list01.txt").write_text("\n".join(lines))
    (folder / "labels.pickle").write_bytes(pickle.dumps(labels))
    return vp(folder)


def vp(folder: Path) -> list[str]:
    given = ["--splits", str(folder / "splits"), "--videos", str(folder / "videos")]
    return ["vp", str(folder / "labels.pickle"), *given, "--val-share", "0.25"]


def pa_hmdb51(folder: Path) -> list[str]:
    """`PrivacyAttributes/wave.json`: [first, last, value] of each attribute."""
    (folder / "PrivacyAttributes").mkdir(parents=True)
    for action in scenes.STEPS:
        labels = {}
        for person in PEOPLE:
            name = f"movie{person}_{action}_f_cm_np1_fr_med_0.avi"
            draw(folder / "videos" / action / name, action, person)
            flag = person % 2
            labels[name] = {
                "skin_color": [[0, 7, flag]],
                "face": [[0, 3, flag], [4, 7, 1 - flag]],
                "gender": [[0, 7, [flag, 0]]],
                "nudity": [[0, 7, person // 2 % 2]],
                "relationship": [[0, 7, int(person % 3 == 0)]],
            }
        (folder / "PrivacyAttributes" / f"{action}.json").write_text(json.dumps(labels))
    drawn = ["--test-share", "0.4", "--val-share", "0.25"]
    return ["pa-hmdb51", str(folder), "--videos", str(folder / "videos"), *drawn]


def celebv_hq(folder: Path) -> list[str]:
    """`celebvhq_info.json`, `videos/ID_0.mp4`."""
    names = ["Male", "Young", "Pointy_Nose", "Rosy_Cheeks", "Brown_Hair"]
    clips = {}
    for number, action in enumerate(scenes.STEPS):
        for person in PEOPLE:
            name = f"id{person}_{number}"
            draw(folder / "videos" / f"{name}.mkv", action, person)
            (folder / "videos" / f"{name}.mkv").rename(folder / "videos" / f"{name}.mp4")
            emotion = {"sep_flag": False, "labels": ["happy", "neutral"][number]}
            flags = {"appearance": five(person)[0].tolist(), "emotion": emotion}
            clips[name] = {"ytb_id": f"yt{person}", "attributes": flags}
    info = {"meta_info": {"appearance_mapping": names}, "clips": clips}
    (folder / "celebvhq_info.json").write_text(json.dumps(info))
    drawn = ["--test-share", "0.4", "--val-share", "0.25"]
    return ["celebv-hq", str(folder), "--videos", str(folder / "videos"), *drawn]


def p_hvu(folder: Path) -> list[str]:
    """`HVU_Train_V1.0.csv`, `HVU_Val_V1.0.csv`, `HVU_Tags_Categories_V1.0.csv`, `ID_T0_T1.mp4`."""
    rows: dict[str, list[tuple[str, str, int, int]]] = {"Train": [], "Val": []}
    for number, action in enumerate(scenes.STEPS):
        for person in PEOPLE:
            name = f"id{person}_{number:06d}_{number + 8:06d}"
            draw(folder / "videos" / f"{name}.mkv", action, person)
            (folder / "videos" / f"{name}.mkv").rename(folder / "videos" / f"{name}.mp4")
            tags = ["moving", action, "square", "red" if person % 2 else "blue"]
            tags.append("indoors" if person // 2 % 2 else "outdoors")
            part = "Val" if person >= TESTED else "Train"
            rows[part].append(("|".join(tags), f"id{person}", number, number + 8))
    kinds = {"moving": "action", **dict.fromkeys(scenes.STEPS, "action")}
    kinds |= {"square": "object", "red": "object", "blue": "object"}
    kinds |= {"indoors": "scene", "outdoors": "scene"}
    for part, lines in rows.items():
        with (folder / f"HVU_{part}_V1.0.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(("Tags", "youtube_id", "time_start", "time_end"))
            out.writerows(lines)
    with (folder / "HVU_Tags_Categories_V1.0.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("Tag", "Category"))
        out.writerows((tag, kind.title()) for tag, kind in kinds.items())
    return ["hvu", str(folder), "--videos", str(folder / "videos"), "--val-share", "0.25"]


TASKS: dict[str, tuple[Callable[[Path], list[str]], str, set[str]]] = {
    "vp-hmdb51": (vp_hmdb51, "top-1", {"skin", "face", "gender", "relationship", "attributes"}),
    "vp-ucf101": (vp_ucf101, "top-1", {"skin", "face", "gender", "relationship", "attributes"}),
    "pa-hmdb51": (
        pa_hmdb51,
        "top-1",
        {"skin", "face", "gender", "nudity", "relationship", "attributes"},
    ),
    "celebv-hq": (
        celebv_hq,
        "top-1",
        {"young", "pointy_nose", "male", "brown_hair", "attributes"},
    ),
    "p-hvu": (p_hvu, "cMAP", {"object", "scene"}),
}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The manifest of a task's drawn folder, as `data convert` makes it."""
    root, made = tmp_path_factory.mktemp("tasks"), dict[str, Path]()

    def manifest(name: str) -> Path:
        if name not in made:
            (root / name).mkdir()
            words = TASKS[name][0](root / name)
            made[name] = root / f"{name}.csv"
            assert main(["data", "convert", *words, "-o", str(made[name])]) == 0
        return made[name]

    return manifest


def test_p_hvu_is_tested_on_its_own_validation_part(manifests: Callable[[str], Path]) -> None:
    """Train and validation of attackers are cut from the published train part alone."""
    manifest = read_manifest(manifests("p-hvu"))
    for one in protocols(manifest, folds=0):
        (fold,) = one.folds
        people = {
            split: {Path(manifest.clips[row].path).name[2] for row in fold.rows(split)}
            for split in ("train", "validation", "test")
        }
        assert people["test"] == {str(person) for person in PEOPLE if person >= TESTED}
        assert people["train"] | people["validation"] == {str(p) for p in range(TESTED)}
        assert not people["train"] & people["validation"]


def trained(data: Path, run: Path) -> Path:
    words = ["stprivacy", "--data", str(data), "-o", str(run), "--preset", "quick"]
    train_verb.main([*words, *SMALL.split(), "--device", "cpu"])
    assert (run / "anonymizer.safetensors").exists()
    return run


def evaluated(data: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    words = ["--data", str(data), "--weights", str(run), "--preset", "quick", "--folds", "0"]
    more = ["--seeds", "1", "--workers", "1", "--attackers", "scratch,prior", "--json"]
    capsys.readouterr()
    evaluate_verb.main([*words, *more])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", TASKS)
def test_a_task_runs_from_the_datasets_folder_to_its_table(
    name: str,
    manifests: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, metric, private = TASKS[name]
    data = manifests(name)
    run = trained(data, tmp_path / "run")
    raw, mine = evaluated(data, run, capsys)["rows"]
    assert (raw["name"], mine["name"]) == ("raw", "stprivacy") and not mine["skipped"]
    by_label = {one["label"]: one for one in mine["findings"]}
    assert by_label["action"]["metric"] == metric
    assert set(by_label) - {"action"} == private
    for label in private:
        assert {"constant", "action prior"} <= set(by_label[label]["floors"])
        assert by_label[label]["score"] is not None


def test_frames_are_a_label_of_their_own(manifests: Callable[[str], Path]) -> None:
    """Frame level: where an attribute changes a clip is cut in two."""
    manifest = read_manifest(manifests("pa-hmdb51"))
    assert len(manifest) == 2 * len(scenes.STEPS) * len(PEOPLE)
    assert {(clip.first, clip.last) for clip in manifest.clips} == {(0, 3), (4, 7)}


def test_trained_on_one_dataset_and_attacked_on_another(
    manifests: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(manifests("vp-hmdb51"), tmp_path / "run")
    found = evaluated(manifests("vp-ucf101"), run, capsys)
    assert found["data"] == "vp-ucf101" and found["rows"][1]["clips"] == 16


def test_a_label_that_test_clips_do_not_vary_in_is_no_reason_to_stop(
    manifests: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = manifests("vp-ucf101").read_text().splitlines()
    at = text[0].split(",").index("face")
    part = text[0].split(",").index("split")
    rows = [line.split(",") for line in text[1:]]
    for row in rows:
        row[at] = "1" if row[part] == "test" else row[at]
    path = manifests("vp-ucf101").with_name("even.csv")
    path.write_text("\n".join([text[0], *(",".join(row) for row in rows)]) + "\n")
    found = evaluated(path, trained(path, tmp_path / "run"), capsys)
    assert "face" not in [one["label"] for one in found["rows"][1]["findings"]]
    assert any("face has one value only" in note for note in found["limits"])
