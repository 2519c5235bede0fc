"""Reading and writing manifests; malformed ones are refused with the line and column."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade.datasets.manifest import (
    Clip,
    Column,
    Manifest,
    Role,
    make_manifest,
    read_manifest,
    select_actions,
    write_manifest,
)
from masquerade.datasets.mimes import ACTION_SETS, Mimes
from masquerade.datasets.splits import group_columns
from masquerade.errors import MasqueradeError, UsageError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
real = pytest.mark.skipif(not REAL.is_dir(), reason="no shared data beside the repository")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "clips.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_roles_and_kinds_follow_from_names_and_values(tmp_path: Path) -> None:
    manifest = read_manifest(
        written(
            tmp_path,
            "path,fps,action,identity,red_top,scene,objects,group,split_action\n"
            "a.mp4,25,wave,anna,0,lawn,cup|hat,g1,train\n"
            "b.mp4,25,walk,ben,1,,cup,g2,test\n",
        )
    )
    told = {c.name: (c.role, c.kind, c.values) for c in manifest.columns}
    assert told == {
        "fps": ("fact", "fact", ()),
        "action": ("action", "classes", ("walk", "wave")),
        "identity": ("attribute", "identity", ("anna", "ben")),
        "red_top": ("attribute", "binary", ("0", "1")),
        "scene": ("attribute", "classes", ("lawn",)),
        "objects": ("attribute", "multi-label", ("cup", "hat")),
        "group": ("group", "classes", ("g1", "g2")),
        "split_action": ("split", "classes", ("test", "train")),
    }
    assert manifest.path(manifest.clips[0]) == tmp_path / "a.mp4"


@pytest.mark.parametrize(
    ("name", "role", "people"),
    [
        ("person_a", "attribute", True),
        ("subject_id", "attribute", True),
        ("people_count", "attribute", False),
        ("person_gender", "attribute", False),
        ("Subject_Height", "attribute", False),
        ("source_video", "group", False),
        ("source_sha256", "group", False),
        ("source_fps", "fact", False),
        ("source_camera", "fact", False),
        ("group_camera", "group", False),  # whatever is to link
    ],
)
def test_measures_of_people_and_sources_link_nothing(name: str, role: Role, people: bool) -> None:
    clips = [Clip(path=f"{i}.mp4", cells={name: value}) for i, value in enumerate("123")]
    (column,) = make_manifest(Path(), clips).columns
    assert column.role == role
    assert (column.kind == "identity") == people
    assert bool(group_columns(make_manifest(Path(), clips))) == (people or role == "group")


def test_targets_count_from_the_sorted_values_and_mark_unknown(tmp_path: Path) -> None:
    manifest = read_manifest(
        written(
            tmp_path,
            "path,action,tall,objects\na,wave,1,cup|hat\nb,walk,,\nc,,0,hat\n",
        )
    )
    assert manifest.targets("action").tolist() == [1, 0, -1]
    assert manifest.targets("tall").tolist() == [1, -1, 0]
    assert manifest.targets("objects").tolist() == [[1, 1], [-1, -1], [0, 1]]


def test_a_binary_column_of_one_value_still_counts_zero_and_one(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, "path,hat\na,1\nb,1\n"))
    assert manifest.targets("hat").tolist() == [1, 1]


def test_a_declared_kind_overrides_the_inferred_one(tmp_path: Path) -> None:
    path = written(tmp_path, "path,age:classes,who:identity\na,0,x\nb,1,y\n")
    assert read_manifest(path).column("age").kind == "classes"
    assert read_manifest(path).column("who").kind == "identity"


def test_a_subset_keeps_the_codes(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, "path,action,split\na,run,train\nb,walk,test\n"))
    assert manifest.where("split", "test").targets("action").tolist() == [1]


def test_frame_ranges_count_from_zero_and_may_be_missing(tmp_path: Path) -> None:
    manifest = read_manifest(
        written(tmp_path, "path,action,first,last\na,x,0,9\na,y,10,10\nb,x,,\n")
    )
    assert [(c.first, c.last) for c in manifest.clips] == [(0, 9), (10, 10), (None, None)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("path,action\n", "no rows"),
        ("file,action\na,x\n", "line 1: no column is called path"),
        ("path;action\na;x\n", "separate them by commas"),
        ("path,action,action\na,x,y\n", "line 1: column 'action' appears twice"),
        ("path,,action\na,x,y\n", "line 1: a column has no name"),
        ("path,hat:maybe\na,1\n", "line 1, column 'hat': 'maybe' is none of"),
        ("path\nhttps://a.b/c.mp4\n", "line 2, column path: 'https://a.b/c.mp4' is an address"),
        ("path,first\na,0\n", "line 1: a frame range needs both"),
        ("path,action\na,x\nb\n", "line 3: 1 cells under 2 columns"),
        ("path,action\na,x\n\n,y\n", "line 4, column path: is empty"),
        ("path,first,last\na,0,x\n", "line 2, column last: 'x' is no frame"),
        (f"path,first,last\na,0,{'9' * 5000}\n", "line 2, column last: '999"),
        ("path,first,last\na,-1,3\n", "line 2, column first: '-1' is no frame"),
        ("path,first,last\na,5,3\n", "line 2, columns first and last"),
        ("path,first,last\na,5,\n", "line 2, columns first and last"),
        ("path,split\na,train\nb,training\n", "line 3, column split: 'training' is none of"),
        ("path,hat:binary\na,1\nb,yes\n", "line 3, column hat: 'yes' is none of 0, 1, nothing"),
        ("path,action\na,x\nb,x\na,y\n", "line 4: repeats line 2"),
        ('path,action\n"a,x\n', "is not a CSV"),
    ],
)
def test_a_malformed_manifest_is_refused_and_the_place_named(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        read_manifest(written(tmp_path, text))


def test_other_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no manifest at"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("path,action\nä,x\n".encode("latin1"))
    with pytest.raises(UsageError, match="UTF-8"):
        read_manifest(tmp_path / "latin.csv")
    with pytest.raises(UsageError, match="Cannot read"):
        read_manifest(tmp_path)


def test_a_file_that_a_spreadsheet_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes("\ufeffpath,action\r\na.mp4,wave\r\n".encode())
    assert read_manifest(path).clips[0] == Clip(path="a.mp4", cells={"action": "wave"})


def test_an_unknown_column_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    path = written(tmp_path, "path,action\na,x\n")
    with pytest.raises(UsageError, match="no column 'acton'; it has: action"):
        read_manifest(path).targets("acton")


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n|"), max_size=6).map(
    str.strip
)
cells = st.fixed_dictionaries(
    {
        "action": texts,
        "identity": texts,
        "hat": st.sampled_from(["0", "1", ""]),
        "objects": st.lists(texts.filter(bool), max_size=3).map("|".join),
        "split": st.sampled_from(["train", "val", "test", ""]),
    }
)
ranges = st.one_of(
    st.just((None, None)), st.tuples(st.integers(0, 9), st.integers(9, 99)).map(tuple)
)


@settings(max_examples=40)  # a busy machine is no failure
@given(rows=st.lists(st.tuples(cells, ranges), min_size=1, max_size=5))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[dict[str, str], tuple[int, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    clips = [
        Clip(path=f"v/{i}.mp4", cells=cell, first=first, last=last)
        for i, (cell, (first, last)) in enumerate(rows)
    ]
    kinds = {"hat": "binary", "objects": "multi-label", "action": "classes", "identity": "identity"}
    manifest = make_manifest(folder, clips, kinds=kinds)  # type: ignore[arg-type]
    write_manifest(manifest, folder / "m.csv")
    assert read_manifest(folder / "m.csv") == manifest


def test_paths_are_rewritten_relative_to_where_the_manifest_goes(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    manifest = make_manifest(tmp_path / "videos", [Clip(path="a/b.mp4", cells={"action": "x"})])
    write_manifest(manifest, tmp_path / "lists" / "m.csv")
    again = read_manifest(tmp_path / "lists" / "m.csv")
    assert again.clips[0].path == "../videos/a/b.mp4"
    assert again.path(again.clips[0]).resolve() == tmp_path / "videos" / "a" / "b.mp4"


@pytest.mark.parametrize(
    ("videos", "written_to"),
    [("videos", "link"), ("link", "lists"), ("link", "link/new"), ("link/..", "videos")],
)
def test_a_manifest_through_a_linked_folder_names_the_same_files(
    tmp_path: Path, videos: str, written_to: str
) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "videos").mkdir()
    (tmp_path / "link").symlink_to("elsewhere/deep")
    root = tmp_path / videos
    (root / "original").write_text("right")
    (root / "a.mkv").symlink_to("original")
    for other in ("a.mkv", "videos/a.mkv", "elsewhere/a.mkv"):
        if not (tmp_path / other).exists():
            (tmp_path / other).write_text("wrong")
    manifest = make_manifest(root, [Clip(path="a.mkv", cells={"action": "x"})])
    out = tmp_path / written_to / "m.csv"
    write_manifest(manifest, out)
    again = read_manifest(out)
    path = again.path(again.clips[0])
    assert path.name == "a.mkv" and path.read_text() == "right"


def test_a_role_that_the_name_does_not_tell_cannot_be_written(tmp_path: Path) -> None:
    clip = Clip(path="a", cells={"town": "x"})
    manifest = make_manifest(tmp_path, [clip], roles={"town": "group"})
    with pytest.raises(UsageError, match="call it group_town"):
        write_manifest(manifest, tmp_path / "m.csv")


@pytest.mark.parametrize("mark", ["\r", "\n", "\0"])
def test_a_line_break_in_a_label_cannot_be_written(tmp_path: Path, mark: str) -> None:
    manifest = make_manifest(tmp_path, [Clip(path="a", cells={"action": f"x{mark}y"})])
    with pytest.raises(UsageError, match="line break"):
        write_manifest(manifest, tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        *(("path", name) for name in (" basket", "basket ", "\u00a0", "bask\udce9t")),
        ("action", "bask\udce9t"),
    ],
)
def test_what_would_be_read_back_otherwise_is_not_written(
    tmp_path: Path, column: str, cell: str
) -> None:
    row = {"path": "a", "action": "x"} | {column: cell}
    manifest = make_manifest(tmp_path, [Clip(path=row["path"], cells={"action": row["action"]})])
    with pytest.raises(UsageError, match=r"(a space, which|not in UTF-8, as) .* rename it\.$"):
        write_manifest(manifest, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


def test_labels_are_written_without_the_spaces_around_them(tmp_path: Path) -> None:
    """As they are read: published lists have some."""
    clips = [
        Clip(path=name, cells={"action": action}) for name, action in (("a", " x"), ("b", "x"))
    ]
    write_manifest(make_manifest(tmp_path, clips), tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv").cells("action") == ("x", "x")


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    good = make_manifest(tmp_path, [Clip(path="a", cells={"action": "x"})])
    bad = make_manifest(
        tmp_path, [Clip(path=str(i), cells={"action": "y" if i else "y\n"}) for i in (1, 0)]
    )
    write_manifest(good, tmp_path / "new" / "m.csv")
    with pytest.raises(UsageError, match="line break"):
        write_manifest(bad, tmp_path / "new" / "m.csv")
    assert read_manifest(tmp_path / "new" / "m.csv").cells("action") == ("x",)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.csv"]
    with pytest.raises(MasqueradeError, match="cannot be written"):
        write_manifest(good, tmp_path / "new" / "m.csv" / "m.csv")


def test_added_cells_must_fit(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path, [Clip(path="a", cells={"action": "x"})])
    column = Column(name="split", role="split", kind="classes")
    assert manifest.with_cells(column, ["val"]).cells("split") == ("val",)
    with pytest.raises(UsageError, match="2 cells do not fit 1"):
        manifest.with_cells(column, ["val", "test"])


@real
@pytest.mark.parametrize(
    ("file", "clips", "actions", "people"), [("uti.csv", 120, 6, 20), ("ucf11.csv", 1599, 11, 275)]
)
def test_the_shared_manifests_serve_unchanged(
    file: str, clips: int, actions: int, people: int
) -> None:
    manifest = read_manifest(REAL / file)
    assert len(manifest) == clips
    assert len(manifest.column("action").values) == actions
    assert (manifest.column("identity").kind, manifest.targets("identity").max()) == (
        "identity",
        people - 1,
    )
    assert all(manifest.path(clip).is_file() for clip in manifest.clips)


@real
def test_the_clothing_flags_are_binary() -> None:
    manifest = read_manifest(REAL / "uti.csv")
    flags = ("red_top", "white_top", "black_jacket")
    assert {manifest.column(name).kind for name in flags} == {"binary"}
    assert np.stack([manifest.targets(name) for name in flags]).max() == 1


def test_two_sets_of_actions_share_no_clip_and_no_class() -> None:
    whole = Mimes(size=32, frames=2, clips=64, people=8).manifest
    parts = [select_actions(whole, names) for names in ACTION_SETS]
    paths = [{clip.path for clip in part.clips} for part in parts]
    assert not paths[0] & paths[1] and len(paths[0] | paths[1]) == 64
    for part, names in zip(parts, ACTION_SETS, strict=True):
        assert part.column("action").values == tuple(sorted(names))
        assert set(part.targets("action")) == set(range(len(names)))
        assert [c.name for c in part.columns] == [c.name for c in whole.columns]
        assert {c.name: c.role for c in part.columns} == {c.name: c.role for c in whole.columns}


def manifest_of(**columns: list[str]) -> Manifest:
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return make_manifest(Path(), [Clip(path=f"{i}.mp4", cells=c) for i, c in enumerate(rows)])


def test_selected_actions_keep_only_their_own_values() -> None:
    given = manifest_of(action=["a", "b", "a"], place=["in", "out", "in"], hat=["0", "1", "1"])
    left = select_actions(given, ["a"])
    assert left.column("place").values == ("in",)
    assert np.array_equal(left.targets("hat"), [0, 1])
    only = select_actions(given, ["b"])
    assert only.column("hat").kind == "binary" and np.array_equal(only.targets("hat"), [1])


@pytest.mark.parametrize(
    ("given", "names", "said"),
    [
        (manifest_of(action=["a", "b"]), ["a", "c", "d"], "no action c, d; choose of a, b"),
        (manifest_of(action=["a", "b"]), [], "choose of a, b"),
        (manifest_of(hat=["0", "1"]), ["a"], "one column of one action"),
        (manifest_of(action=["a", "b"], action_2=["a", "b"]), ["a"], "one column of one action"),
    ],
)
def test_unknown_actions_are_refused(given: Manifest, names: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        select_actions(given, names)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (("0", "1", "nan"), "line 4, column hat: 'nan' is none of 0, 1, nothing."),
        (("0", "1", "None"), "'None' is none of 0, 1"),
        (("0.0", "1.0", ""), "line 2, column hat: '0.0' is none of 0, 1"),
        (("red", "NaN", "blue"), "line 3, column hat: 'NaN' is no label; leave the cell"),
    ],
)
def test_what_other_programs_write_for_an_unknown_label_is_no_class(
    cells: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    rows = "".join(f"{i}.mp4,walk,{cell}\n" for i, cell in enumerate(cells))
    (tmp_path / "m.csv").write_text(f"path,action,hat\n{rows}")
    with pytest.raises(UsageError, match=re.escape(says)):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text(f"path,action,hat:classes\n{rows}")
    assert read_manifest(tmp_path / "m.csv").column("hat").kind == "classes"


@pytest.mark.parametrize("name", ["width", "height", "frames", "frames:fact"])
@pytest.mark.parametrize("cell", ["abc", "nan", "inf", "-5", "1_000", "9" * 400])
def test_a_size_that_is_no_number_is_refused_where_it_stands(
    name: str, cell: str, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(f"path,action,{name}\na.mp4,run,320.0\nb.mp4,sit,{cell}\n")
    plain = name.removesuffix(":fact")
    says = f"line 3, column {plain}: {cell[:40]!r} is no number; leave the cell of an unknown size"
    with pytest.raises(UsageError, match=re.escape(says)):
        read_manifest(tmp_path / "m.csv")


def test_sizes_may_be_unknown_and_other_facts_are_anything(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,action,width,note\na.mp4,run,,x\nb.mp4,sit,64,nan\n")
    assert read_manifest(tmp_path / "m.csv").cells("width") == ("", "64")


def test_somebody_who_is_called_null_is_read_back(tmp_path: Path) -> None:
    """The kind is declared where a label would else be taken for none."""
    names, marks = ("Null", "Na", "Ann"), ("0", "1", "none")
    clips = [
        Clip(path=f"{i}.mp4", cells={"identity": name, "mark": mark})
        for i, (name, mark) in enumerate(zip(names, marks, strict=True))
    ]
    manifest = make_manifest(tmp_path, clips)
    write_manifest(manifest, tmp_path / "m.csv")
    header = (tmp_path / "m.csv").read_text().splitlines()[0]
    assert header == "path,identity:identity,mark:classes"
    assert read_manifest(tmp_path / "m.csv") == manifest


def test_a_declared_identity_is_one_value_a_clip(tmp_path: Path) -> None:
    """Each set was somebody else, whom nobody may recognise as the same."""
    for name, better in (("identity", "identity"), ("who", "people_who")):
        path = written(tmp_path, f"path,{name}:identity\na,p1|p2\nb,p1|p3\n")
        told = rf"line 2, column {name}: 'p1\|p2' names several .* call the column {better}, "
        with pytest.raises(UsageError, match=told):
            read_manifest(path)
    path = written(tmp_path, "path,identity\na,p1|p2\nb,p1|p3\n")
    assert read_manifest(path).column("identity").kind == "multi-label"


@pytest.mark.parametrize("cell", ["unknown", "?", "Unknown", "p1|none", "-", "NA"])
def test_a_person_who_is_unknown_is_nobody(tmp_path: Path, cell: str) -> None:
    """All such clips were of one person, whom nobody could recognise."""
    path = written(tmp_path, f"path,person_a\na,p1\nb,{cell}\n")
    with pytest.raises(
        UsageError, match=r"line 3, column person_a: .* leave the cell of an unknown"
    ):
        read_manifest(path)


def test_none_is_a_class_among_others(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,glasses\na.mp4,none\nb.mp4,round\n")
    assert read_manifest(tmp_path / "m.csv").column("glasses").values == ("none", "round")


def test_one_file_has_one_spelling_and_a_header_any_case(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,Action,Identity\n./a.mp4,run,p\nb//c.mp4,sit,q\n")
    manifest = read_manifest(tmp_path / "m.csv")
    assert [clip.path for clip in manifest.clips] == ["a.mp4", "b/c.mp4"]
    assert [(one.role, one.kind) for one in manifest.columns] == [
        ("action", "classes"),
        ("attribute", "identity"),
    ]


def test_a_clip_that_is_there_twice_is_not_written(tmp_path: Path) -> None:
    """No command would read the manifest."""
    clips = [Clip(path=path, cells={"action": "x"}) for path in ("a.mp4", "b.mp4", "./a.mp4")]
    with pytest.raises(UsageError, match=r"a\.mp4 is there twice"):
        write_manifest(make_manifest(tmp_path, clips), tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()
    ranges = [replace(clips[0], first=first, last=9) for first in (0, 5)]
    write_manifest(make_manifest(tmp_path, ranges), tmp_path / "m.csv")
    assert len(read_manifest(tmp_path / "m.csv")) == 2
