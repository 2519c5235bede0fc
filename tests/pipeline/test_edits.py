"""Files of edits: what a person decided is what the run does, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_faces import LEFT, RIGHT, TwoFaces, black

import masquerade
from masquerade import anonymize_file
from masquerade.errors import UsageError
from masquerade.methods import METHODS, method_name
from masquerade.pipeline import config
from masquerade.pipeline.config import (
    PipelineConfig,
    build_pipeline,
    edited_config,
    followed_label,
)
from masquerade.pipeline.edits import Decision, EditedSource, Edits, with_decision
from masquerade.pipeline.file_outcome import run_task
from masquerade.pipeline.outputs import FileTask
from masquerade.regions import REGIONS
from masquerade.regions.boxes import Box
from masquerade.regions.drawn import DRAWN_TRACKS, DrawnRegion
from masquerade.studio.job_process import facts

SETTINGS = {"regions": "faces", "shape": "box", "mask_scale": 1.0}
PLACE = (60.0, 90.0, 100.0, 110.0)  # where nobody is found


@pytest.fixture
def video(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(REGIONS, "faces", TwoFaces)
    (tmp_path / "in.mp4").write_bytes(clip.read_bytes())
    return tmp_path / "in.mp4"


def edits(video: Path, **decided: Any) -> Edits:
    with av.open(str(video)) as file:
        size = file.streams.video[0]
        width, height = size.width, size.height
    sha256 = hashlib.sha256(video.read_bytes()).hexdigest()
    source = EditedSource(name=video.name, sha256=sha256, width=width, height=height)
    return Edits(source=source, **{"settings": SETTINGS, "method": "blacken", **decided})


def run(video: Path, decided: Edits, **settings: Any) -> Path:
    path = video.with_name("edits.json")
    decided.write(path)
    out = video.with_name("out.mkv")
    settings = {"preview": 0.2, "codec": "ffv1", "overwrite": True, **settings}
    anonymize_file(video, out, edits=path, **settings)
    return out


def test_who_is_left_visible_is_seen_and_a_person_is_all_tracks_joined(video: Path) -> None:
    out = run(video, edits(video, visible=(4,)))
    assert not any(black(out, LEFT)) and black(out, RIGHT)[2:] == [True] * 3
    out = run(video, edits(video, visible=(4,), joined=((4, 7),)), allow_empty=True)
    assert not any(black(out, LEFT)) and not any(black(out, RIGHT))
    out = run(video, edits(video, only=(7,)))
    assert not any(black(out, LEFT)) and black(out, RIGHT)[2:] == [True] * 3


def test_what_is_drawn_is_hidden_in_its_frames_alone(video: Path) -> None:
    drawn = DrawnRegion(DRAWN_TRACKS, {1: PLACE, 2: PLACE}, keys=(1,))
    out = run(video, edits(video, drawn=(drawn,)))
    place = tuple(map(round, PLACE))
    assert black(out, place) == [False, True, True, False, False]
    assert all(black(out, LEFT))


@pytest.mark.parametrize(
    ("boxes", "methods", "parts"),
    [
        ({1000: PLACE}, {}, 1),
        ({1: (1000.0, 90.0, 1040.0, 110.0)}, {}, 1),
        ({1: (-90.0, -90.0, -50.0, -50.0)}, {}, 1),
        ({1000: PLACE}, {DRAWN_TRACKS + 1: "blur"}, 1),
        ({1: (1000.0, 90.0, 1040.0, 110.0)}, {DRAWN_TRACKS + 1: "blur"}, 2),
    ],
)
def test_what_is_drawn_where_there_is_no_picture_is_refused(
    video: Path, boxes: Any, methods: dict[int, str], parts: int
) -> None:
    """Whoever drew it meant somebody, who would be seen; and receipts said that it was hidden."""
    seen = DrawnRegion(DRAWN_TRACKS, {1: PLACE}, keys=(1,))
    unseen = DrawnRegion(DRAWN_TRACKS + 1, boxes, keys=(*boxes,))
    given = edits(video, drawn=(seen, unseen), methods=methods)
    with pytest.raises(UsageError, match=f"hide nothing in in.mp4: .* or remove {unseen.track}"):
        run(video, given, preview=None, parts=parts)
    assert not video.with_name("out.mkv").exists()
    out = run(video, given, parts=parts)  # of the first frames, to which it need not belong
    receipt = json.loads(out.with_name("out.mkv.receipt.json").read_text())
    assert receipt["drawn"] == 1 and black(out, tuple(map(round, PLACE)))[1]


def test_one_person_is_hidden_by_another_method_and_all_are_hidden(video: Path) -> None:
    out = run(video, edits(video, methods={7: "mask-mean"}))
    with av.open(str(out)) as file:
        last = [one.to_ndarray(format="rgb24") for one in file.decode(video=0)][-1]
    x0, y0, x1, y1 = RIGHT
    inside = last[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
    assert (
        inside.any() and np.ptp(inside.reshape(-1, 3), axis=0).max() <= 2
    )  # one colour, not black
    assert all(black(out, LEFT))


def test_all_methods_and_what_was_drawn_are_told(video: Path, called: Callable[..., Any]) -> None:
    caution = METHODS["downsample"]().caution
    decided = edits(
        video,
        settings={"level": "face"},
        methods={4: "downsample"},
        joined=((4, 7),),
        drawn=(DrawnRegion(DRAWN_TRACKS, {1: PLACE}, (1,)),),
    )
    decided.write(video.with_name("edits.json"))
    words = ["--edits", "edits.json", "--preview", "0.2", "-o", "out.mkv", "--no-progress"]
    done = called("anonymize", "in.mp4", *words)
    assert done.returncode == 0, done.stderr
    assert "hidden by selective (ID 4, 7 by downsample) in" in done.stdout
    receipt = json.loads(video.with_name("out.mkv.receipt.json").read_text())
    assert receipt["method"]["name"] == "selective" and receipt["drawn"] == 1
    assert receipt["other_methods"] == {"downsample": [4, 7]} and caution in receipt["warnings"]
    assert receipt["measured"] is None  # with the level's own method alone
    alone = anonymize_file(video, video.with_name("a.mkv"), level="face", preview=0.2)
    assert alone.measured and facts(alone)["Can it be undone?"].startswith("no, ")
    mixed = facts(replace(alone, other_methods={"blur": (4,)}))
    assert mixed["What is hidden"] == "faces, by selective (ID 4 by blur)"
    assert mixed["Can it be undone?"].endswith(f"; blur: {METHODS['blur'].card.undo}")


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"visible": (3,)}, {"blur": {5}, "pixelate": {DRAWN_TRACKS}}),
        ({"visible": (7,), "joined": ((3, 7),)}, {"blur": {5}, "pixelate": {DRAWN_TRACKS}}),
        ({"only": (5,)}, {"blur": {5}, "pixelate": {DRAWN_TRACKS}}),
        ({"only": (7,), "joined": ((3, 7),)}, {"mask-mean": {3, 7}, "pixelate": {DRAWN_TRACKS}}),
    ],
)
def test_who_is_visible_is_hidden_by_no_method(
    video: Path, chosen: dict[str, Any], named: dict[str, set[int]]
) -> None:
    """The receipt named one of theirs, and them as left visible."""
    methods = {3: "mask-mean", 5: "blur", DRAWN_TRACKS: "pixelate"}
    found = edits(video, methods=methods, **chosen).track_methods("person")
    assert {method_name(one.anonymizer): set(one.tracks) for one in found} == named


@pytest.mark.parametrize(
    ("label", "hides"), [("person", True), ("drawn", True), ("face", False), ("text", False)]
)
def test_a_method_is_of_tracks_of_one_kind(label: str, hides: bool) -> None:
    """Faces beside people, and what other sources find, have numbers of their own."""
    one = Edits(
        source=EditedSource(name="a.mp4", sha256="", width=8, height=8),
        settings={"regions": "people"},
        method="blacken",
        methods={7: "blur"},
    )
    (method,) = one.track_methods(followed_label(edited_config(one)))
    assert method.hides(Box(0, 0, 4, 4, 1, track=7, label=label)) is hides
    assert not method.hides(Box(0, 0, 4, 4, 1, track=8, label=label))


@pytest.mark.filterwarnings("ignore:the noise comes from --seed")
def test_the_command_does_the_same_run(
    video: Path, called: Callable[..., Any], tmp_path: Path
) -> None:
    """The same bytes under a seed, from the library and from the command."""
    decided = edits(
        video,
        method="selective",
        visible=(4,),
        methods={7: "selective"},
        drawn=(DrawnRegion(DRAWN_TRACKS, {0: PLACE, 1: PLACE}, (0,)),),
    )
    one = run(video, decided, seed=3)
    words = ["--edits", "edits.json", "--preview", "0.2", "--codec", "ffv1", "--seed", "3"]
    done = called("anonymize", "in.mp4", *words, "-o", "again.mkv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.mkv").read_bytes() == one.read_bytes()
    receipt = json.loads((tmp_path / "again.mkv.receipt.json").read_text())
    assert receipt["settings"]["edits"] == decided.digest()
    assert receipt["left_visible"] == {"4": 5}


def test_edits_of_a_video_whose_name_is_no_text_have_a_digest(video: Path) -> None:
    """On Linux a file's name is bytes; such ones are read as surrogates."""
    decided = edits(video)
    named = replace(decided, source=replace(decided.source, name="in\udcff.mp4"))
    assert len(named.digest()) == 64 and named.digest() != decided.digest()


def test_a_public_receipt_says_that_there_were_edits_and_no_digest_of_them(video: Path) -> None:
    decided = edits(video, visible=(4,))
    out = run(video, decided, public_receipt=True)
    text = out.with_name("out.mkv.receipt.json").read_text()
    assert json.loads(text)["settings"]["edits"] is True and decided.digest() not in text


def test_a_worker_does_what_was_decided(video: Path) -> None:
    """It gets all of the pipeline but the detector, which it loads itself."""
    decided = edits(
        video,
        visible=(4,),
        methods={7: "mask-mean"},
        drawn=(DrawnRegion(DRAWN_TRACKS, {1: PLACE}, (1,)),),
        numbered_by=config.numbering(PipelineConfig(**SETTINGS), TwoFaces()),
    )
    expected = run(video, decided).read_bytes()
    settings = PipelineConfig(edits=video.with_name("edits.json"), preview=0.2, codec="ffv1")
    attacked: list[str] = []
    sent = build_pipeline(None, settings)._replace(
        regions=None, check_output=lambda part, source, name: attacked.append(name)
    )
    task = FileTask(video, video.with_name("again.mkv"))
    assert run_task(task, sent).error == ""
    assert task.dst.read_bytes() == expected and attacked == ["again.mkv"]
    other = sent._replace(edits=replace(decided, numbered_by="0"))
    assert "other numbers" in run_task(FileTask(video, video.with_name("no.mkv")), other).error


def test_edits_of_another_video_are_refused(video: Path) -> None:
    decided = edits(video)
    video.write_bytes(video.read_bytes() + b"\0")
    with pytest.raises(UsageError, match="of another video"):
        run(video, decided)
    assert not video.with_name("out.mkv").exists()


@pytest.mark.parametrize("decided", [{"visible": (5,)}, {"methods": {5: "pixelate"}}])
def test_an_id_that_nobody_has_is_refused(video: Path, decided: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="nobody with ID 5"):
        run(video, edits(video, **decided))
    assert not video.with_name("out.mkv").exists()


def test_choices_of_other_numbers_are_refused(video: Path) -> None:
    """As after an upgrade of the detector: 4 may be somebody else now."""
    own = config.numbering(PipelineConfig(regions="faces", shape="box", mask_scale=1.0), TwoFaces())
    assert not all(black(run(video, edits(video, visible=(4,), numbered_by=own)), LEFT))
    for chosen in ({"visible": (4,)}, {"only": (7,)}, {"methods": {4: "blur"}}):
        with pytest.raises(UsageError, match="other numbers"):
            run(video, edits(video, numbered_by="0", **chosen))
    run(video, edits(video, numbered_by="0"))  # nobody is chosen


@pytest.mark.parametrize(
    ("name", "other"),
    [("platform.machine", lambda: "other"), ("package_version", lambda name: "0")],
)
def test_choices_of_another_machine_or_library_are_refused(
    video: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: Any
) -> None:
    own = config.numbering(PipelineConfig(regions="faces", shape="box", mask_scale=1.0), TwoFaces())
    monkeypatch.setattr(f"masquerade.storage.{name}", other)
    with pytest.raises(UsageError, match="other numbers"):
        run(video, edits(video, visible=(4,), numbered_by=own))


def test_choices_by_other_code_are_refused(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one version, too: what follows people is changed more often than the version."""
    own = config.numbering(PipelineConfig(regions="faces", shape="box", mask_scale=1.0), TwoFaces())
    asked: set[str] = set()
    monkeypatch.setattr(config, "code_digest", lambda *patterns: asked.update(patterns) or "other")
    with pytest.raises(UsageError, match="other numbers"):
        run(video, edits(video, visible=(4,), numbered_by=own))
    of = {path for one in asked for path in Path(masquerade.__file__).parent.glob(one)}
    assert {"pose_tracking.py", "optical_flow.py", "read.py"} <= {path.name for path in of}


@pytest.mark.parametrize("flags", [["--regions", "faces"], ["--level", "face"], ["--no-track"]])
def test_flags_do_not_contradict_edits(
    video: Path, called: Callable[..., Any], flags: list[str]
) -> None:
    edits(video).write(video.with_name("edits.json"))
    done = called("anonymize", "in.mp4", "--edits", "edits.json", *flags)
    assert done.returncode == 2 and "--edits" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--method", "--hide", "--weights"])
def test_the_method_is_that_of_the_edits(
    video: Path, called: Callable[..., Any], flag: str
) -> None:
    edits(video).write(video.with_name("edits.json"))
    done = called("anonymize", "in.mp4", "--edits", "edits.json", flag, "blur")
    assert done.returncode == 2 and f"leave {flag} out" in done.stderr


@pytest.mark.parametrize("name", ["overwrite", "export_boxes", "seed", "nonsense"])
def test_edits_decide_nothing_else(video: Path, name: str) -> None:
    with pytest.raises(UsageError, match="decides nothing about"):
        run(video, edits(video, settings={**SETTINGS, name: "x"}))


@pytest.mark.parametrize("method", ["silhouette", "mannequin", "stprivacy"])
def test_a_method_of_whole_frames_stands_beside_no_other(video: Path, method: str) -> None:
    with pytest.raises(UsageError, match="changes more than the people"):
        run(video, edits(video, methods={4: method}))


def drawn_text(boxes: str, more: str = "") -> str:
    source = '{"name": "a", "sha256": "b", "width": 4, "height": 4}'
    region = f'{{"track": {DRAWN_TRACKS}, "keys": [3], "boxes": {boxes}}}'
    return f'{{"edits": 1, "source": {source}, "drawn": [{region}]{more}}}'


WRONG = [
    ("[]", "does not say"),
    # json takes the last of two: what else was drawn would be seen
    (drawn_text('{"3": [0, 0, 1, 1]}', ', "drawn": []'), "'drawn' is there twice"),
    (drawn_text('{"3": [0, 0, 1, 1], "3": [2, 0, 3, 1]}'), "'3' is there twice"),
    (drawn_text('{"3": [0, 0, 1, 1], "03": [2, 0, 3, 1]}'), "frame 3 is there twice"),
    (drawn_text('{"\u0663": [0, 0, 1, 1]}'), "no frame's number"),
    (drawn_text("[]"), "are no object"),
    ({"methods": {"3": "blur", "03": "pixelate"}}, "track 3 is there twice"),
    ({"methods": {"1_0": "blur"}}, "no track's number"),
    ('{"edits": 2}', "does not say"),
    ('{"edits": 1}', "'source' is missing"),
    ("{", "not a file of edits"),
    ({"extra": 1}, "'extra' is not a key"),
    ({"visible": ["3"]}, "whole numbers"),
    ({"visible": [True]}, "whole numbers"),
    ({"visible": [1], "only": [2]}, "exclude each other"),
    ({"joined": [[1, 2], [2, 3]]}, "joined twice"),
    ({"drawn": [{"track": 3, "keys": [], "boxes": {}}]}, "is below"),
    ({"drawn": [{"track": DRAWN_TRACKS, "keys": [], "boxes": {"0": [2, 0, 1, 1]}}]}, "right of"),
    ({"drawn": [{"track": DRAWN_TRACKS, "keys": [], "boxes": {"x": [0, 0, 1, 1]}}]}, "frame"),
    ({"drawn": [{"track": DRAWN_TRACKS, "keys": [], "boxes": {"0": [0, 0, 1e9, 1]}}]}, "four"),
    ({"method": {"name": 3}}, "no name"),
    ({"methods": {"x": "blur"}}, "not a file of edits"),
    ({"methods": {"3": 4}}, "named by a text"),
    ({"source": {"name": "x"}}, "source has other keys"),
    ({"log": [{"what": "x"}]}, "not a file of edits"),
    ({"settings": {"level": "person", "keep_visible": "1"}}, "use visible or only"),
    ({"drawn": [{"track": DRAWN_TRACKS, "keys": [], "boxes": {}}]}, "lacks keys"),
    ({"drawn": [{"track": DRAWN_TRACKS, "keys": [9], "boxes": {"3": [0, 0, 1, 1]}}]}, "lacks keys"),
    (
        {"drawn": [{"track": DRAWN_TRACKS, "keys": [0], "boxes": {"0": [0, 0, 1, 1]}}] * 2},
        "one num",
    ),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_file_that_is_none_is_refused_in_a_sentence(
    change: Any, said: str, tmp_path: Path
) -> None:
    text = change
    if isinstance(change, dict):
        source = {"name": "a", "sha256": "b", "width": 4, "height": 4}
        text = json.dumps({"edits": 1, "source": source, **change})
    path = tmp_path / "edits.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        Edits.read(path)


def test_a_missing_file_or_an_unknown_method_is_refused(video: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        build_pipeline(None, PipelineConfig(edits=video.with_name("none.json")))
    with pytest.raises(UsageError, match="no method 'magic'"):
        run(video, edits(video, method="magic"))


whole = st.integers(0, 10**6)
edges = st.tuples(*[st.floats(0, 1e3)] * 2, *[st.floats(1001, 1e4)] * 2)


@given(
    visible=st.lists(whole, unique=True, max_size=4),
    joined=st.lists(whole, unique=True, min_size=2, max_size=6),
    boxes=st.dictionaries(whole, edges, min_size=1, max_size=4),
    methods=st.dictionaries(whole, st.sampled_from(["blur", "pixelate"]), max_size=3),
    name=st.text(max_size=8),
)
def test_a_file_says_what_was_decided(
    visible: list[int], joined: list[int], boxes: Any, methods: dict[int, str], name: str
) -> None:
    decided = Edits(
        source=EditedSource(name=name, sha256="0", width=640, height=480),
        settings={"level": "person", "at": ("0:1,2",)},
        visible=tuple(visible),
        joined=(tuple(joined),),
        methods=methods,
        drawn=(DrawnRegion(DRAWN_TRACKS, boxes, tuple(boxes)[:1]),),
        log=(Decision(at="2026-01-31T12:00:00+00:00", by=name, what="left 3 visible"),),
    )
    again = Edits.parse(decided.to_json(), "edits.json")
    assert again == decided and again.digest() == decided.digest()
    assert with_decision(again, "more", at="later").digest() == decided.digest()
