"""Readers of labels of UCF101, HMDB51 and PA-HMDB51, on small files in the published layout.

Where the real files lie beside the repository they are read, too.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_layouts import LABELS, put, real, row, whole

from masquerade.datasets.check import find_split_leaks
from masquerade.datasets.manifest import read_manifest, write_manifest
from masquerade.datasets.overlap import find_overlap, fingerprints
from masquerade.datasets.published import READERS
from masquerade.datasets.published.hmdb51 import hmdb51_source, read_hmdb51
from masquerade.datasets.published.pa_hmdb51 import ATTRIBUTES
from masquerade.datasets.published.vispr import SETS
from masquerade.errors import UsageError

# UCF101 and its VP labels: the lists and the labels spell one class in two ways.


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    lists = tmp_path / "lists"
    put(lists / "trainlist01.txt", "HandStandPushups/v_HandStandPushups_g08_c01.avi 38\n")
    put(lists / "testlist01.txt", "Archery/v_Archery_g01_c02.avi\n")
    return lists


def labels(path: Path, **flags: list[int]) -> Path:
    rows = {name.replace("__", "/") + ".mp4": np.array([flag]) for name, flag in flags.items()}
    path.write_bytes(pickle.dumps(rows))
    return path


def test_ucf101(ucf: Path, tmp_path: Path) -> None:
    manifest = READERS["ucf101"](ucf, videos=tmp_path / "UCF-101")
    assert row(manifest, 0) == whole(
        "HandStandPushups/v_HandStandPushups_g08_c01.avi",
        action="HandStandPushups",
        group="HandStandPushups_g08",
        split="train",
    )
    assert manifest.cells("split") == ("train", "test")
    assert manifest.root == tmp_path / "UCF-101"


def test_vp_matches_classes_without_regard_to_case(ucf: Path, tmp_path: Path) -> None:
    path = labels(
        tmp_path / "vp.pickle",
        HandstandPushups__v_HandStandPushups_g08_c01=[1, 0, 1, 0, 1],
        Archery__v_Archery_g01_c02=[0, 0, 0, 1, 1],
    )
    for suffix in ("/avi", "."):
        with pytest.raises(UsageError, match=r"such as \.avi, not"):
            READERS["vp"](path, splits=ucf, suffix=suffix)
    assert READERS["vp"](path, splits=ucf, suffix="avi").clips[1].path.endswith("_c01.avi")
    manifest = READERS["vp"](path, splits=ucf, suffix=".avi")
    assert row(manifest, 1) == whole(
        "HandstandPushups/v_HandStandPushups_g08_c01.avi",
        action="HandStandPushups",
        skin="1",
        face="0",
        gender="1",
        nudity="0",
        relationship="1",
        group="HandStandPushups_g08",
        split="train",
    )
    assert {manifest.column(name).kind for name in ATTRIBUTES} == {"binary"}


def test_videos_are_found_however_their_folder_spells_a_class(ucf: Path, tmp_path: Path) -> None:
    """The list says HandStandPushups, the folder HandstandPushups: it was of missing files."""
    videos = tmp_path / "UCF-101"
    file = put(videos / "HandstandPushups" / "v_HandStandPushups_g08_c01.avi")
    path = labels(
        tmp_path / "vp.pickle",
        HandStandPushups__v_handstandpushups_g08_c01=[1, 0, 1, 0, 1],
        Archery__v_Archery_g01_c02=[0, 0, 0, 1, 1],
    )
    for manifest in (
        READERS["ucf101"](ucf, videos=videos),
        READERS["vp"](path, splits=ucf, videos=videos, suffix=".avi"),
    ):
        (clip,) = (one for one in manifest.clips if manifest.path(one) == file)
        assert clip.cells["action"] == "HandStandPushups"  # as the official list spells it
        (other,) = (one for one in manifest.clips if one != clip)
        assert other.path == "Archery/v_Archery_g01_c02.avi"  # which is not there


def test_vp_of_another_dataset_is_refused(ucf: Path, tmp_path: Path) -> None:
    path = labels(tmp_path / "vp.pickle", Archery__v_Archery_g01_c02=[0, 0, 0, 1, 1])
    with pytest.raises(UsageError, match=r"lacks 1 clips of .*handstandpushups"):
        READERS["vp"](path, splits=ucf)
    with pytest.raises(UsageError, match="five labels of 0 or 1"):
        READERS["vp"](labels(tmp_path / "x", Archery__v=[0, 0, 0, 2, 1]), splits=ucf)


def test_a_list_that_says_the_same_clip_twice_is_refused(ucf: Path) -> None:
    put(ucf / "testlist01.txt", "Archery/v_Archery_g01_c02.avi\nArchery/v_Archery_g01_c02.avi\n")
    with pytest.raises(UsageError, match=r"testlist01.txt, line 2"):
        READERS["ucf101"](ucf)


@pytest.mark.slow
@real
@pytest.mark.parametrize(
    ("dataset", "split", "train", "test"),
    [("ucf101", 1, 9537, 3783), ("ucf101", 2, 9586, 3734), ("ucf101", 3, 9624, 3696)]
    + [("hmdb51", split, 3570, 1530) for split in (1, 2, 3)],
)
def test_the_official_splits_have_their_sizes_and_every_label(
    dataset: str, split: int, train: int, test: int
) -> None:
    path = LABELS / "stprivacy" / f"{dataset}_privacy_attribute_label.pickle"
    lists = LABELS / f"{dataset}_splits"
    manifest = READERS["vp"](path, splits=lists, split=split)
    sizes = Counter(manifest.cells("split"))
    assert (sizes["train"], sizes["test"]) == (train, test)
    assert len(manifest) == len(READERS[dataset](lists, split=split))
    assert len(manifest.column("action").values) == {"ucf101": 101, "hmdb51": 51}[dataset]


@real
def test_ucf101_keeps_its_source_videos_apart_and_hmdb51_does_not() -> None:
    assert not find_split_leaks(READERS["ucf101"](LABELS / "ucf101_splits"))
    found = find_split_leaks(READERS["hmdb51"](LABELS / "hmdb51_splits"))
    assert "Prelinger_HabitPat1954" in {each.value for each in found}


# HMDB51


def test_hmdb51(tmp_path: Path) -> None:
    put(
        tmp_path / "brush_hair_test_split2.txt",
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \nA;B_brush_hair_h_cm_np2_ri_med_3.avi 0 \n",
    )
    put(tmp_path / "wave_test_split2.txt", "May_wave_f_nm_np1_fr_med_1.avi 2 \n")
    manifest = read_hmdb51(tmp_path, split=2)
    assert manifest.cells("split") == ("train", "", "test")
    assert manifest.cells("group") == ("April_09", "A;B", "May")
    assert manifest.clips[2].path == "wave/May_wave_f_nm_np1_fr_med_1.avi"
    with pytest.raises(UsageError, match="no list of split 1"):
        read_hmdb51(tmp_path)
    put(tmp_path / "wave_test_split2.txt", "May_wave_f_nm_np1_fr_med_1.avi 3\n")
    with pytest.raises(UsageError, match=r"wave_test_split2.txt, line 1"):
        read_hmdb51(tmp_path, split=2)


@pytest.mark.parametrize(
    ("stem", "action", "source"),
    [
        ("Faith_Rewarded_swing_baseball_f_nm_np1_ba_bad_54", "swing_baseball", "Faith_Rewarded"),
        ("brushing_hair_brush_hair_f_nm_np1_ri_goo_1", "brush_hair", "brushing_hair"),
        ("run_run_f_cm_np1_fr_bad_3", "run", "run"),
    ],
)
def test_the_source_of_a_clip_is_read_off_its_name(stem: str, action: str, source: str) -> None:
    assert hmdb51_source(stem, action) == source


# PA-HMDB51


def pa(tmp_path: Path, **changes: Any) -> Path:
    clip = {
        "skin_color": [[0, 9, [1, 3]]],
        "face": [[0, 4, 2], [5, 9, 1]],
        "gender": [[0, 9, 2]],
        "nudity": [[0, 9, 0]],
        "relationship": [[0, 6, 0], [7, 9, 1]],
        "review": True,
        "note": "",
        **changes,
    }
    put(tmp_path / "wave.json", json.dumps({"May_wave_f_nm_np1_fr_med_1.avi": clip}))
    return tmp_path


def test_pa_hmdb51_is_cut_where_a_label_changes_and_both_ends_count(tmp_path: Path) -> None:
    manifest = READERS["pa-hmdb51"](pa(tmp_path), values="published")
    assert [(c.first, c.last) for c in manifest.clips] == [(0, 4), (5, 6), (7, 9)]
    assert manifest.cells("face") == ("complete", "partial", "partial")
    assert manifest.cells("skin") == ("white|black",) * 3
    assert manifest.cells("relationship") == ("0", "0", "1")
    assert (manifest.column("skin").kind, manifest.column("relationship").kind) == (
        "multi-label",
        "binary",
    )


def test_pa_hmdb51_by_frame_has_each_labelled_frame_once(tmp_path: Path) -> None:
    folder = pa(tmp_path)
    whole, single = (READERS["pa-hmdb51"](folder, by_frame=each) for each in (False, True))
    assert [(c.first, c.last) for c in single.clips] == [(at, at) for at in range(10)]
    for name in ATTRIBUTES:
        spread = [
            cell
            for clip, cell in zip(whole.clips, whole.cells(name), strict=True)
            for _ in range(clip.first or 0, (clip.last or 0) + 1)
        ]
        assert list(single.cells(name)) == spread
    assert len(set(single.cells("group"))) == 1  # all of a source on one side of a split


def test_pa_hmdb51_by_video_has_what_any_frame_has(tmp_path: Path) -> None:
    whole = READERS["pa-hmdb51"](pa(tmp_path, face=[[0, 4, 1], [5, 9, 0]]), by_video=True)
    assert [(c.first, c.last) for c in whole.clips] == [(0, 9)]
    assert [whole.cells(name) for name in ("face", "nudity", "relationship")] == [
        ("1",),
        ("0",),
        ("1",),
    ]
    published = READERS["pa-hmdb51"](pa(tmp_path), values="published", by_video=True)
    assert set(published.cells("face")[0].split("|")) == {"complete", "partial"}


def test_pa_hmdb51s_ranges_are_cut_into_rows_of_so_many_frames(tmp_path: Path) -> None:
    cut = READERS["pa-hmdb51"](pa(tmp_path), most_frames=2, values="published")
    ends = [(0, 1), (2, 3), (4, 4), (5, 6), (7, 8), (9, 9)]
    assert [(c.first, c.last) for c in cut.clips] == ends
    assert cut.cells("face") == ("complete",) * 3 + ("partial",) * 3
    with pytest.raises(UsageError, match="choose one"):
        READERS["pa-hmdb51"](pa(tmp_path), by_frame=True, most_frames=2)


def test_pa_hmdb51_made_binary(tmp_path: Path) -> None:
    any_, most = (READERS["pa-hmdb51"](pa(tmp_path), values=v) for v in ("any", "most"))
    assert (any_.cells("face"), most.cells("face")) == (("1", "1", "1"), ("1", "0", "0"))
    assert any_.cells("skin") == most.cells("skin") == ("1", "1", "1")
    assert any_.cells("nudity") == ("0", "0", "0")


def test_pa_hmdb51_under_visprs_names(tmp_path: Path) -> None:
    """Labels as `any` has them, in columns that VISPR's first set of seven has too."""
    each = {"face": [[0, 4, 2], [5, 9, 0]], "gender": [[0, 9, 0]], "nudity": [[0, 4, 0], [5, 9, 2]]}
    folder = pa(tmp_path, **each)  # no two alike
    any_, vispr = (READERS["pa-hmdb51"](folder, values=v) for v in ("any", "vispr"))
    assert len({any_.cells(ours) for ours in ATTRIBUTES}) == len(ATTRIBUTES)
    names = {
        "gender": "a4_gender",
        "face": "a10_face_partial",
        "nudity": "a12_semi_nudity",
        "skin": "a17_color",
        "relationship": "a64_rel_personal",
    }
    assert {column.name for column in vispr.of_role("attribute")} == set(names.values())
    assert set(names.values()) <= set(SETS["vispr1"])
    for ours, theirs in names.items():
        assert vispr.cells(theirs) == any_.cells(ours) and vispr.column(theirs).kind == "binary"


def test_pa_hmdb51_with_odd_ranges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"wave.json, May.*range of face ends before"):
        READERS["pa-hmdb51"](pa(tmp_path, face=[[9, 0, 1]]))
    with pytest.raises(UsageError, match=r"no ranges .* for nudity"):
        READERS["pa-hmdb51"](pa(tmp_path, nudity=3))
    with pytest.raises(UsageError, match=r"wave.json, May.*range of gender ends before"):
        READERS["pa-hmdb51"](pa(tmp_path, gender=[[-1, 9, 1]]))
    with pytest.raises(UsageError, match=r"no ranges .* for face"):
        READERS["pa-hmdb51"](pa(tmp_path, face=[[0, float("inf"), 1]]))


@pytest.mark.parametrize("values", ["published", "any"])
def test_pa_hmdb51_with_a_value_that_is_none_is_refused(tmp_path: Path, values: str) -> None:
    for name, value in (("skin_color", 4), ("skin_color", [1, -1]), ("relationship", 2)):
        with pytest.raises(UsageError, match=rf"wave.json, May.*: {name} has a value other than 0"):
            READERS["pa-hmdb51"](pa(tmp_path, **{name: [[0, 9, value]]}), values=values)
    put(tmp_path / "wave.json", "[1, 2]")
    with pytest.raises(UsageError, match=r"wave.json is not as published"):
        READERS["pa-hmdb51"](tmp_path, values=values)


@pytest.mark.parametrize("by_video", [False, True])
def test_pa_hmdb51s_relationship_is_one_answer(tmp_path: Path, by_video: bool) -> None:
    """As its column says, also where the clip's people, or its frames, have both."""
    both = pa(tmp_path, relationship=[[0, 4, [0, 1]], [5, 9, [1, 0]]])
    manifest = READERS["pa-hmdb51"](both, values="published", by_video=by_video)
    write_manifest(manifest, tmp_path / "pa.csv")
    assert set(read_manifest(tmp_path / "pa.csv").cells("relationship")) == {"1"}
    mixed = READERS["pa-hmdb51"](pa(tmp_path), values="published", by_video=by_video)
    assert mixed.cells("relationship") == (("1",) if by_video else ("0", "0", "1"))


@real
@pytest.mark.parametrize(
    ("values", "rates", "by_frame", "by_video"),
    [
        ("any", [0.972, 0.750, 0.980, 0.597, 0.157], (69.12, 0.770), (70.52, 0.782)),
        ("most", [0.972, 0.368, 0.980, 0.154, 0.157], (52.60, 0.610), (55.92, 0.641)),
    ],
)
def test_pa_hmdb51_gives_the_known_rates(
    values: str, rates: list[float], by_frame: tuple[float, float], by_video: tuple[float, float]
) -> None:
    manifest = READERS["pa-hmdb51"](LABELS / "PA-HMDB51", values=values)
    frames = np.array([(c.last or 0) - (c.first or 0) + 1 for c in manifest.clips])
    assert (frames.sum(), len({c.path for c in manifest.clips})) == (52413, 515)
    on = np.stack([manifest.targets(name) == 1 for name in ATTRIBUTES], axis=1)
    p = (on * frames[:, None]).sum(axis=0) / frames.sum()
    assert p.round(3).tolist() == rates
    assert (round(100 * p.mean(), 2), round((2 * p / (1 + p)).mean(), 3)) == by_frame
    video = np.unique([clip.path for clip in manifest.clips], return_inverse=True)[1]
    p = np.stack([on[video == i].any(axis=0) for i in range(515)]).mean(axis=0)
    assert (round(100 * p.mean(), 2), round((2 * p / (1 + p)).mean(), 3)) == by_video


@real
def test_pa_hmdb51s_videos_are_among_hmdb51s() -> None:
    """All 515; and of the train clips of split 1 many more are cut from the same films."""
    every = READERS["hmdb51"](LABELS / "hmdb51_splits")
    scored = READERS["pa-hmdb51"](LABELS / "PA-HMDB51")
    found = find_overlap(every, scored)
    train = np.array(every.cells("split")) == "train"
    assert len(found.same_frames) == 515
    assert (train.sum(), train[found.same_frames].sum(), train[found.related].sum()) == (
        3570,
        286,
        1156,
    )


def test_a_path_with_a_nul_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"path,action\na\0b.mp4,run\nc.mp4,run\n")
    (tmp_path / "c.mp4").write_bytes(b"c")
    manifest = read_manifest(tmp_path / "m.csv")
    assert len(set(fingerprints(manifest, [0, 1]))) == 2
