"""Readers of VISPR, HVU, CelebV-HQ, KTH, IPN, SBU, UT-Interaction and UCF11, on small files.

Where the real files lie beside the repository they are read, too.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_layouts import LABELS, REAL, put, real, row, whole

from masquerade.cli import main
from masquerade.datasets.check import find_split_leaks
from masquerade.datasets.manifest import Manifest, read_manifest, write_manifest
from masquerade.datasets.published import READERS
from masquerade.datasets.published.sbu import FOLDS
from masquerade.datasets.splits import random_split
from masquerade.errors import UsageError
from masquerade.evaluation.protocols import SAME, UNSEEN, protocols

# VISPR


def vispr(tmp_path: Path) -> Path:
    for part, found in (("train", ["a4_gender", "a11_tattoo"]), ("test", ["a0_safe"])):
        note = f"annotations/{part}2017/2017_1.json"
        image = {"image_path": f"images/{part}2017/2017_1.jpg", "labels": found}
        put(tmp_path / note, json.dumps(image))
        put(tmp_path / f"{part}2017.txt", note + "\n")
    return tmp_path


def test_vispr_has_two_sets_of_seven(tmp_path: Path) -> None:
    one = READERS["vispr"](vispr(tmp_path))
    assert [c.name for c in one.of_role("attribute")] == [
        "a17_color",
        "a4_gender",
        "a9_face_complete",
        "a10_face_partial",
        "a12_semi_nudity",
        "a64_rel_personal",
        "a65_rel_social",
    ]
    assert (one.cells("a4_gender"), one.cells("split")) == (("1", "0"), ("train", "test"))
    assert one.clips[0].path == "images/train2017/2017_1.jpg"
    two = READERS["vispr"](tmp_path, attributes="vispr2")
    assert len(two.of_role("attribute")) == 7 and two.cells("a11_tattoo") == ("1", "0")
    put(tmp_path / "annotations/test2017/2017_1.json", "[]")
    with pytest.raises(UsageError, match=r"test2017.txt, line 1"):
        READERS["vispr"](tmp_path)


@pytest.mark.parametrize(
    ("name", "content"), [("labels", None), ("labels", "a4_gender"), ("image_path", 3)]
)
def test_an_odd_annotation_of_vispr_is_refused(tmp_path: Path, name: str, content: Any) -> None:
    path = vispr(tmp_path) / "annotations/test2017/2017_1.json"
    put(path, json.dumps({**json.loads(path.read_text("utf-8")), name: content}))
    with pytest.raises(UsageError, match=r"test2017.txt, line 1: .* is it an annotation of VISPR"):
        READERS["vispr"](tmp_path)


def test_a_list_of_vispr_with_a_path_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    put(vispr(tmp_path) / "test2017.txt", "annotations/\0.json\n")
    with pytest.raises(UsageError, match=r"Cannot read .*annotations/\\x00\.json: .*\.$"):
        READERS["vispr"](tmp_path)


# HVU


def hvu(tmp_path: Path) -> Path:
    tags = 'Tag,Category\nrunning,action\nball,object\n"park, big",scene\nsunny,attribute\n'
    put(tmp_path / "HVU_Tags_Categories_V1.0.csv", tags)
    head = "Tags,youtube_id,time_start,time_end\n"
    train = head + '"running|ball|park, big|sunny",-abc,5,15\nrunning|ball,def,0,10\n'
    put(tmp_path / "HVU_Train_V1.0.csv", train)
    put(tmp_path / "HVU_Val_V1.0.csv", head + '"ball|park, big|running",ghi,100.0,110.0\n')
    return tmp_path


def test_hvu_keeps_clips_with_all_three_kinds(tmp_path: Path) -> None:
    manifest = READERS["hvu"](hvu(tmp_path))
    assert row(manifest, 0) == whole(
        "-abc_000005_000015.mp4",
        action="running",
        object="ball",
        scene="park, big",
        source="-abc",
        split="train",
    )
    assert manifest.cells("split") == ("train", "test")
    assert {c.kind for c in manifest.columns if c.name in ("action", "object", "scene")} == {
        "multi-label"
    }
    assert len(READERS["hvu"](tmp_path, every=True)) == 3


def test_hvu_leaves_out_what_was_never_downloaded(tmp_path: Path) -> None:
    put(tmp_path / "v" / "ghi_000100_000110.mp4")
    manifest = READERS["hvu"](hvu(tmp_path), videos=tmp_path / "v")
    assert [clip.path for clip in manifest.clips] == ["ghi_000100_000110.mp4"]
    with pytest.raises(UsageError, match="No clip of"):
        READERS["hvu"](tmp_path, videos=tmp_path / "elsewhere")
    put(tmp_path / "HVU_Val_V1.0.csv", "Tags,id\na,b\n")
    with pytest.raises(UsageError, match=r"HVU_Val_V1.0.csv is not as published"):
        READERS["hvu"](tmp_path)


def test_two_stretches_of_hvu_in_one_file_are_one_clip(tmp_path: Path) -> None:
    """A file is named by whole seconds: the first row counts, and no file is in both parts."""
    rows = '"running|ball|park, big",def,0.2,10.2\n"running|ball|park, big",def,0.7,10.7\n'
    head = "Tags,youtube_id,time_start,time_end\n"
    put(hvu(tmp_path) / "HVU_Train_V1.0.csv", head + rows)
    put(tmp_path / "HVU_Val_V1.0.csv", head + '"running|ball|park, big|",def,0,10\n')
    out = tmp_path / "hvu.csv"
    assert main(["data", "convert", "hvu", str(tmp_path), "-o", str(out)]) == 0
    manifest = read_manifest(out)
    assert [clip.path for clip in manifest.clips] == ["def_000000_000010.mp4"]
    assert manifest.cells("split") == ("train",)
    put(tmp_path / "HVU_Val_V1.0.csv", head + '"running|ball|park, big|",ghi,0,inf\n')
    with pytest.raises(UsageError, match=r"HVU_Val_V1.0.csv: a time of ghi is no number"):
        READERS["hvu"](tmp_path)


# CelebV-HQ


def celebv(tmp_path: Path) -> Path:
    def clip(video: str, flags: list[int], emotion: dict[str, Any]) -> dict[str, Any]:
        attributes = {"appearance": flags, "action": [0], "emotion": emotion}
        return {"ytb_id": video, "attributes": attributes, "version": "v0.1"}

    several = [
        {"emotion": "neutral", "start_sec": 0, "end_sec": 0.3},
        {"emotion": "happy", "start_sec": 1.3, "end_sec": 3.3},
    ]
    names = ["Blurry", "Male", "Young", "Pointy_nose", "Rosy_cheeks", "Brown_hair"]
    info = {
        "meta_info": {"appearance_mapping": names, "action_mapping": ["blow"]},
        "clips": {
            "M2_1": clip("M2", [0, 1, 0, 0, 0, 1], {"sep_flag": False, "labels": "anger"}),
            "M2_2": clip("M2", [0, 1, 1, 0, 0, 1], {"sep_flag": True, "labels": several}),
            "_0t_0": clip("_0t", [1, 0, 1, 1, 1, 0], {"sep_flag": False, "labels": "fear"}),
        },
    }
    return put(tmp_path / "celebvhq_info.json", json.dumps(info)).parent


def test_celebv_hq_has_the_longest_emotion_and_five_looks(tmp_path: Path) -> None:
    manifest = READERS["celebv-hq"](celebv(tmp_path))
    assert row(manifest, 1) == whole(
        "M2_2.mp4",
        action="happy",
        young="1",
        pointy_nose="0",
        male="1",
        rosy_cheeks="0",
        brown_hair="1",
        source="M2",
    )
    split = random_split(manifest, test=0.4, seed=0)
    assert set(split.cells("split")) == {"train", "test"} and not find_split_leaks(split)
    path = tmp_path / "celebvhq_info.json"
    text = path.read_text(encoding="utf-8")
    put(path, text.replace("Young", "Freckles"))
    with pytest.raises(UsageError, match="not CelebV-HQ"):
        READERS["celebv-hq"](tmp_path)
    for flag in (2, float("inf"), "1"):
        info = json.loads(text)
        info["clips"]["M2_2"]["attributes"]["appearance"] = [flag] * 40
        put(path, json.dumps(info))
        with pytest.raises(UsageError, match=r"M2_2 has the flag .*, which is neither 0 nor 1"):
            READERS["celebv-hq"](tmp_path)


def test_celebv_hq_may_number_its_sources(tmp_path: Path) -> None:
    path = celebv(tmp_path) / "celebvhq_info.json"
    text = path.read_text(encoding="utf-8")
    put(path, text.replace('"M2"', "12"))
    write_manifest(READERS["celebv-hq"](tmp_path), tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv").cells("source") == ("12", "12", "_0t")
    put(path, text.replace('"M2"', "null"))
    with pytest.raises(UsageError, match=r"M2_1 has the ytb_id None\.$"):
        READERS["celebv-hq"](tmp_path)


def test_celebv_hq_may_number_its_emotions(tmp_path: Path) -> None:
    path = celebv(tmp_path) / "celebvhq_info.json"
    text = path.read_text(encoding="utf-8")
    put(path, text.replace('"happy"', "3"))
    assert READERS["celebv-hq"](tmp_path).cells("action") == ("anger", "3", "fear")
    put(path, text.replace("3.3", "1" + 400 * "0"))
    with pytest.raises(UsageError, match="not CelebV-HQ's info as published"):
        READERS["celebv-hq"](tmp_path)


@pytest.mark.parametrize("text", [100_000 * "[", "9" * 5000, "{"], ids=["deep", "long", "cut"])
def test_json_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    put(tmp_path / "celebvhq_info.json", text)
    with pytest.raises(UsageError, match=r"celebvhq_info\.json cannot be read as JSON: .*\.$"):
        READERS["celebv-hq"](tmp_path)


# KTH

SEQUENCES = """Some prose that opens the list, with person01 in it.
person01_boxing_d1\t\tframes\t1-95, 96-185, 186-245, 246-360
person01_boxing_d2\t\tframes\t1-106, 1-106, 110-114
person01_boxing_d3\t\tframes\t1-50
person01_boxing_d4\t\tframes\t1-50
person13_handclapping_d3\t*missing*
person19_running_d1\t\tframes\t2-30
person22_walking_d1\t\tframes\t1-36
"""


def test_kth_cuts_takes_into_stretches_counted_from_zero(tmp_path: Path) -> None:
    put(tmp_path / "00sequences.txt", SEQUENCES)
    put(tmp_path / "boxing" / "person01_boxing_d1_uncomp.avi")
    manifest = READERS["kth"](tmp_path)
    first = [c for c in manifest.clips if c.path == "boxing/person01_boxing_d1_uncomp.avi"]
    assert [(c.first, c.last) for c in first] == [(0, 94), (95, 184), (185, 244), (245, 359)]
    assert len(manifest) == 4 + 2 + 1 + 1 + 1 + 1
    people = dict(zip(manifest.cells("identity"), manifest.cells("split_action"), strict=True))
    assert people == {"person01": "val", "person19": "val", "person22": "test"}
    for ranges in ("1-95, 96-5", f"1-{5000 * '9'}"):
        put(tmp_path / "00sequences.txt", f"person01_boxing_d1 frames {ranges}\n")
        with pytest.raises(UsageError, match=r"00sequences.txt, line 1: .* are no ranges"):
            READERS["kth"](tmp_path)


@pytest.mark.parametrize("ending", [".avi", ".mp4"])
@pytest.mark.parametrize("listed", [False, True])
def test_kth_is_not_what_was_anonymized_beside_it(
    tmp_path: Path, ending: str, listed: bool
) -> None:
    if listed:
        put(tmp_path / "00sequences.txt", "person01_boxing_d1 frames 1-95\n")
    put(tmp_path / "person01_boxing_d1_uncomp.avi")
    put(tmp_path / f"person01_boxing_d1_uncomp_anonymized{ending}")
    (clip,) = READERS["kth"](tmp_path).clips
    assert clip.path == "person01_boxing_d1_uncomp.avi"
    put(tmp_path / f"safe/person01_boxing_d1_uncomp_anonymized{ending}")
    with pytest.raises(UsageError, match=r"boxing_d1_uncomp.avi and safe/person01.* of one take"):
        READERS["kth"](tmp_path)
    assert len(READERS["kth"](tmp_path / "safe")) == 1  # it may be read on its own


def test_kth_is_read_below_linked_folders_but_not_in_circles(tmp_path: Path) -> None:
    put(tmp_path / "disk" / "boxing" / "person01_boxing_d1_uncomp.avi")
    put(tmp_path / "KTH" / "walking" / "person01_walking_d1_uncomp.avi")
    (tmp_path / "KTH" / "boxing").symlink_to(tmp_path / "disk" / "boxing")
    (tmp_path / "KTH" / "walking" / "up").symlink_to(tmp_path / "KTH")
    assert [clip.path for clip in READERS["kth"](tmp_path / "KTH").clips] == [
        "boxing/person01_boxing_d1_uncomp.avi",
        "walking/person01_walking_d1_uncomp.avi",
    ]


def test_kth_resplit_is_two_one_one_of_each_persons_takes(tmp_path: Path) -> None:
    for person in (1, 2, 11):
        for action in ("boxing", "walking"):
            for take in range(1, 5):
                put(tmp_path / f"person{person:02d}_{action}_d{take}_uncomp.avi")
    manifest = READERS["kth"](tmp_path, seed=5)
    names = zip(
        manifest.cells("identity"),
        manifest.cells("action"),
        manifest.cells("split_identity"),
        strict=True,
    )
    counts = Counter(names)
    assert len(manifest) == 24 and len(counts) == 18
    assert all(count == (2 if part == "train" else 1) for (_, _, part), count in counts.items())
    again, other = (READERS["kth"](tmp_path, seed=s).cells("split_identity") for s in (5, 6))
    assert again == manifest.cells("split_identity") != other
    assert not find_split_leaks(manifest)  # split_identity is there to know people again


def test_kth_with_a_missing_take_gives_the_others_the_same_parts(tmp_path: Path) -> None:
    for take in range(1, 5):
        put(tmp_path / f"person13_handclapping_d{take}_uncomp.avi")
    full = READERS["kth"](tmp_path).cells("split_identity")
    (tmp_path / "person13_handclapping_d3_uncomp.avi").unlink()
    assert READERS["kth"](tmp_path).cells("split_identity") == (*full[:2], full[3])


def test_the_list_of_selectives_authors_splits_kth_by_take(tmp_path: Path) -> None:
    names = [f"person{person}_boxing_d{take}_uncomp" for person in (11, 12) for take in (1, 2)]
    for name in names:
        put(tmp_path / "boxing" / f"{name}.avi")
    head = "video,action,person,background,frames,set"
    lines = [f"{name},boxing,,,360,{'test' if 'd2' in name else 'train'}" for name in names]
    put(tmp_path / "lists" / "metadata.csv", "\n".join([head, *lines]))
    manifest = READERS["kth"](tmp_path, splits=tmp_path / "lists")
    for column in ("split_action", "split_identity"):
        assert manifest.cells(column) == ("train", "test", "train", "test")
    assert manifest.cells("identity") == ("person11", "person11", "person12", "person12")
    put(tmp_path / "00sequences.txt", "person11_boxing_d1 frames 1-95, 96-185\n")
    (tmp_path / "boxing" / f"{names[1]}.avi").unlink()
    again = READERS["kth"](tmp_path, splits=tmp_path / "lists")
    assert again.cells("split_action") == manifest.cells("split_action")
    assert {(clip.first, clip.last) for clip in again.clips} == {(None, None)}
    assert again.clips[1].path == f"{names[1]}.avi"  # which `data check` says is missing
    put(tmp_path / "lists" / "metadata.csv", "\n".join([head, *lines[1:]]))
    with pytest.raises(UsageError, match="does not say where person11_boxing_d1 belongs"):
        READERS["kth"](tmp_path, splits=tmp_path / "lists")
    put(tmp_path / "lists" / "metadata.csv", "\n".join([head, *lines]).replace("test", "val"))
    with pytest.raises(UsageError, match="'val' is neither train nor test"):
        READERS["kth"](tmp_path, splits=tmp_path / "lists")
    put(tmp_path / "lists" / "metadata.csv", "\n".join([head, "boxing,boxing,,,360,train"]))
    with pytest.raises(UsageError, match="'boxing' is no take of KTH"):
        READERS["kth"](tmp_path, splits=tmp_path / "lists")
    put(tmp_path / "lists" / "metadata.csv", "name,person\n")
    with pytest.raises(UsageError, match="lacks video or set"):
        READERS["kth"](tmp_path, splits=tmp_path / "lists")


# IPN


def test_ipn(tmp_path: Path) -> None:
    put(tmp_path / "classIndAll.txt", "1 D0X\n2 B0A\n3 B0B\n")
    put(
        tmp_path / "trainlistall.txt",
        "./frames/1CM1_4_R_#229 1 1 17\n./frames/1CM1_4_R_#229 2 18 55\n",
    )
    put(tmp_path / "vallistall.txt", "./frames/4CM11_24_L_#61 3 1 9\n")
    who = put(tmp_path / "who.csv", "video,frames,label\n1CM1_4_R_#229,10,W\n4CM11_24_L_#61,9,M\n")
    manifest = READERS["ipn"](tmp_path, people=who)
    assert row(manifest, 0) == {
        "path": "frames/1CM1_4_R_#229",
        "action": "B0A",
        "identity": "1CM1_4",
        "gender": "W",
        "split": "train",
        "first": 17,
        "last": 54,
    }
    assert manifest.cells("split") == ("train", "test")
    assert len(READERS["ipn"](tmp_path, pauses=True)) == 3
    put(who, "video,frames,label\n1CM1_4_R_#229,10,0\n4CM11_24_L_#61,9,1\n")
    coded = READERS["ipn"](tmp_path, people=who)  # of two classes: the paper prints top-1
    assert coded.column("gender").kind == manifest.column("gender").kind == "classes"
    put(tmp_path / "vallistall.txt", "./frames/4CM11_24_L_#61 3 9 1\n")
    with pytest.raises(UsageError, match=r"vallistall.txt, line 1"):
        READERS["ipn"](tmp_path)
    put(tmp_path / "vallistall.txt", "./frames/9CM11_24_L_#61 3 1 9\n")
    with pytest.raises(UsageError, match="says nothing of 9CM11"):
        READERS["ipn"](tmp_path, people=who)


@real
def test_the_real_ipn_lists_have_50_people_none_on_both_sides() -> None:
    manifest = READERS["ipn"](LABELS / "IPN-hand")
    assert len(manifest.column("identity").values) == 50
    assert len(manifest.column("action").values) == 13
    videos = {
        part: {c.path for c in manifest.where("split", part).clips} for part in ("train", "test")
    }
    assert {part: len(each) for part, each in videos.items()} == {"train": 148, "test": 52}
    assert not find_split_leaks(manifest)


# SBU


def sbu_folder(folder: Path) -> Path:
    """The published layout: 21 ordered pairs, 8 interactions, one take or two of each."""
    for at, pair in enumerate(pair for fold in FOLDS for pair in fold):
        for action in range(1, 9):
            for take in range(1, 2 + (at + action) % 2):
                put(folder / f"{pair}/{action:02d}/{take:03d}/rgb_000001.png")
    return folder


def parts_of(manifest: Manifest, column: str) -> dict[str, set[str]]:
    """The identities in each part of a split."""
    found: dict[str, set[str]] = {}
    for who, part in zip(manifest.cells("identity"), manifest.cells(column), strict=True):
        found.setdefault(part, set()).add(who)
    return found


def test_sbu(tmp_path: Path) -> None:
    for take in ("s01s02/01/001", "s02s01/08/002", "s03s04/03/001"):
        put(tmp_path / take / "rgb_000001.png")
    put(tmp_path / "s01s02/01/009/depth_000001.png")
    manifest = READERS["sbu"](tmp_path)
    first = row(manifest, 0)
    assert first.pop("split_identity") in ("train", "test")
    assert first == whole(
        "s01s02/01/001", action="approaching", identity="s01s02", split_action="test"
    )
    assert manifest.cells("identity") == ("s01s02", "s01s02", "s03s04")
    assert manifest.cells("action") == ("approaching", "punching", "kicking")
    assert manifest.cells("split_action") == ("test", "train", "test")
    assert [each.value for each in find_split_leaks(manifest)] == ["s01s02"]
    with pytest.raises(UsageError, match="not one of 1 to 5"):
        READERS["sbu"](tmp_path, fold=6)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_pair_of_sbu_is_tested_and_has_other_takes_in_train(
    tmp_path: Path, seed: int
) -> None:
    """Of the published folds alone some test pairs have no take in train."""
    manifest = READERS["sbu"](sbu_folder(tmp_path), seed=seed)
    by_fold, by_take = (parts_of(manifest, name) for name in ("split_action", "split_identity"))
    assert by_fold["test"] - by_fold["train"]
    assert len(by_take["train"]) == 13 and by_take["test"] == by_take["train"]
    assert manifest.cells("split_identity").count("test") == pytest.approx(len(manifest) / 3, abs=6)
    again = READERS["sbu"](tmp_path, seed=seed + 1)
    assert again.cells("split_identity") != manifest.cells("split_identity")
    found = {protocol.name: protocol for protocol in protocols(manifest, folds=0)}
    (fold,) = found[SAME].folds
    who = np.array(manifest.cells("identity"))
    assert set(who[fold.test]) | set(who[fold.validation]) <= set(who[fold.train])
    assert not set(fold.train) & {*fold.validation, *fold.test}
    (fold,) = found[UNSEEN].folds
    action = np.array(manifest.cells("split_action"))
    assert set(action[fold.test]) == {"test"} and set(action[fold.train]) == {"train"}


def test_validation_of_sbu_is_of_pairs_for_the_action_and_of_takes_for_the_pair(
    tmp_path: Path,
) -> None:
    out = tmp_path / "sbu.csv"
    words = ["data", "convert", "sbu", str(sbu_folder(tmp_path / "SBU")), "-o", str(out)]
    assert main([*words, "--fold", "2", "--val-share", "0.1"]) == 0
    manifest = read_manifest(out)
    by_fold, by_take = (parts_of(manifest, name) for name in ("split_action", "split_identity"))
    assert by_fold["val"] and not by_fold["val"] & by_fold["train"]
    assert by_take["val"] and by_take["val"] <= by_take["train"]


def test_the_lists_of_selectives_authors_split_sbu_by_take(tmp_path: Path) -> None:
    header = "name,t_start,t_end,person,action\n"
    put(tmp_path / "train.txt", header + "s03s04/01/002,1,23,6,0\ns04s03/02/001,1,13,6,1\n")
    put(tmp_path / "test.txt", header + "s03s04/08/002,1,14,6,7")
    manifest = READERS["sbu"](tmp_path, splits=tmp_path)
    assert row(manifest, 2) == whole(
        "s03s04/08/002",
        action="punching",
        identity="s03s04",
        split_action="test",
        split_identity="test",
    )
    assert manifest.cells("split_action") == ("train", "train", "test")
    with pytest.raises(UsageError, match="leave out --fold"):
        READERS["sbu"](tmp_path, splits=tmp_path, fold=1)
    put(tmp_path / "test.txt", header + "s03s04/01/002,1,14,6,7")
    with pytest.raises(UsageError, match=r"test.txt, line 2: s03s04/01/002 is listed twice"):
        READERS["sbu"](tmp_path, splits=tmp_path)
    put(tmp_path / "test.txt", header + "boxing,1,14,6,7")
    with pytest.raises(UsageError, match=r"test.txt, line 2: 'boxing' is no take of SBU"):
        READERS["sbu"](tmp_path, splits=tmp_path)


# UT-Interaction

SHEET = """,,,,Top-Left Point,,Bottom-Right Point,,
sequence #,Activity Class ID,Starting Frame #,Ending Frame #,X-Cord,Y-Cord,X-Cord,Y-Cord,Main actor
seq1,4,762,841,220,113,620,410,1
seq11,0.0,158.0,225.0,168,119,444,357,-1
"""


def test_ut_interaction_by_clip_names(tmp_path: Path) -> None:
    for name in ("segmented_set1/0_1_4.avi", "segmented_set2/0_11_0.avi"):
        put(tmp_path / name)
    manifest = READERS["ut-interaction"](tmp_path)
    assert row(manifest, 0) == whole(
        "segmented_set1/0_1_4.avi", action="punch", identity="pair01", scene="parking_lot"
    )
    assert manifest.cells("identity") == ("pair01", "pair11")
    assert manifest.cells("scene") == ("parking_lot", "lawn")


def test_ut_interaction_is_no_other_csv_beside_it(tmp_path: Path) -> None:
    """As the manifest of a first conversion, by which a second one was refused."""
    manifest, sheet = tmp_path / "uti.csv", tmp_path / "Set1.csv"
    put(manifest, "path,action\n0_1_4.avi,punch\n")
    for given in (tmp_path, manifest):
        with pytest.raises(UsageError, match="begins with seq1 or the like"):
            READERS["ut-interaction"](given)
    put(tmp_path / "0_1_4.avi")
    assert [one.path for one in READERS["ut-interaction"](tmp_path).clips] == ["0_1_4.avi"]
    put(sheet, SHEET)
    assert READERS["ut-interaction"](tmp_path) == READERS["ut-interaction"](sheet)


def test_ut_interaction_by_a_sheet_saved_as_csv(tmp_path: Path) -> None:
    manifest = READERS["ut-interaction"](put(tmp_path / "Set1.csv", SHEET))
    assert row(manifest, 0) == {
        "path": "seq1.avi",
        "action": "punch",
        "identity": "pair01",
        "scene": "parking_lot",
        "first": 762,
        "last": 841,
    }
    assert manifest.cells("action") == ("punch", "handshake")
    for cells in ("seq1,4,x,841", f"seq{5000 * '1'},4,762,841"):
        put(tmp_path / "Set1.csv", cells + "\n")
        with pytest.raises(UsageError, match=r"Set1.csv, line 1"):
            READERS["ut-interaction"](tmp_path / "Set1.csv")
    with pytest.raises(UsageError, match="Save each sheet"):
        READERS["ut-interaction"](tmp_path / "labels.xls")


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("0,50,10", "frames 50 to 10 are no range"),
        ("0,-5,10", "frames -5 to 10 are no range"),
        ("-1,5,10", "class -1 is none of 0 to 5"),
        ("6,5,10", "class 6 is none of 0 to 5"),
        ("0,5,inf", "no pair, or no class, first and last frame"),
    ],
)
def test_a_sheet_of_ut_interaction_with_an_odd_row_is_refused(
    tmp_path: Path, cells: str, reason: str
) -> None:
    sheet = put(tmp_path / "Set1.csv", f"seq1,4,762,841\nseq2,{cells}\n")
    with pytest.raises(UsageError, match=rf"Set1.csv, line 2: {reason}"):
        READERS["ut-interaction"](sheet)


@real
def test_the_clip_names_of_ut_interaction_say_what_the_manifest_says() -> None:
    named = READERS["ut-interaction"](REAL / "uti")
    told = read_manifest(REAL / "uti.csv")
    for column in ("action", "identity", "scene"):
        by_path = {f"uti/{c.path}": c.cells[column] for c in named.clips}
        wanted = {c.path: c.cells[column].removeprefix("uti_") for c in told.clips}
        assert by_path == wanted


# UCF11


def test_ucf11(tmp_path: Path) -> None:
    put(tmp_path / "basketball/v_shooting_01/v_shooting_01_02.mpg")
    put(tmp_path / "basketball/Annotation/notes.mpg")
    manifest = READERS["ucf11"](tmp_path)
    assert row(manifest, 0) == whole(
        "basketball/v_shooting_01/v_shooting_01_02.mpg",
        action="basketball",
        identity="basketball_g01",
    )
    assert len(manifest) == 1
    put(tmp_path / "basketball/v_shooting_02_01.mpg")  # without the group's folder
    assert {one.cells["action"] for one in READERS["ucf11"](tmp_path).clips} == {"basketball"}


@pytest.mark.parametrize("given", [".", "UCF11/basketball"])
def test_ucf11_from_a_folder_above_or_below_is_refused(given: str, tmp_path: Path) -> None:
    """All clips would have one action, or that of their group."""
    put(tmp_path / "UCF11/basketball/v_shooting_01/v_shooting_01_02.mpg")
    with pytest.raises(UsageError, match="name the folder that holds those of the actions"):
        READERS["ucf11"](tmp_path / given)


@real
def test_the_clip_names_of_ucf11_say_what_the_manifest_says() -> None:
    named = READERS["ucf11"](REAL / "ucf11")
    told = read_manifest(REAL / "ucf11.csv")
    for column in ("action", "identity"):
        by_path = {f"ucf11/{c.path}": c.cells[column] for c in named.clips}
        assert by_path == {c.path: c.cells[column] for c in told.clips}


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_reader_refuses_an_empty_folder_in_a_sentence(name: str, tmp_path: Path) -> None:
    more = {"splits": tmp_path} if name == "vp" else {}
    with pytest.raises(UsageError, match=r"\.$"):
        READERS[name](tmp_path, **more)
    with pytest.raises(UsageError, match=r"\.$"):
        READERS[name](tmp_path / "none", **more)
