"""The rules of coverage and receipts at their limits: one frame more, one name more, one stream."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import masquerade
from masquerade.cli.progress import summary
from masquerade.errors import OutputError, VideoError
from masquerade.pipeline import verify
from masquerade.pipeline.coverage import (
    Coverage,
    CoverageCounter,
    DatasetCoverage,
    FrameCounts,
    check_dataset_coverage,
    check_file_coverage,
    coverage_warnings,
    find_gaps,
    template_warnings,
)
from masquerade.pipeline.receipt import (
    FileFacts,
    Receipt,
    RegionRecord,
    config_hash,
    library_versions,
    noise_origin,
    region_records,
)
from masquerade.pipeline.verify import file_facts, verify_output
from masquerade.regions.boxes import Box
from masquerade.regions.region import Region

FULL = FrameCounts(frames=100, empty=0, missed=0, span=100, filled_whole=0)
LOST = FrameCounts(frames=100, empty=3, missed=3, span=100)
UNSURE = FrameCounts(frames=100, filled_whole=1, span=100)
EMPTY = FrameCounts(frames=7, empty=7)


@pytest.mark.parametrize(
    ("missed", "span", "lost"),
    [(0, 0, False), (1, 50, False), (1, 49, True), (2, 100, False), (3, 100, True), (0, 5, False)],
)
def test_a_gap_is_more_than_two_in_a_hundred(missed: int, span: int, lost: bool) -> None:
    counts = FrameCounts(frames=200, missed=missed, span=span)
    assert bool(find_gaps(counts, ["faces"])) is lost
    assert bool(find_gaps(counts, ["faces", "boxes"])) is lost
    assert find_gaps(counts, ["boxes"]) == []  # they are its author's word
    assert len(find_gaps(FrameCounts(missed=missed, span=span, filled_whole=1), ["boxes"])) == 1


def test_gaps_say_how_many_frames() -> None:
    both = FrameCounts(frames=90, missed=11, span=83, filled_whole=5)
    lost, whole = find_gaps(both, ["people"])
    assert "11" in lost and "83" in lost and "5 " in whole and "11" not in whole
    assert coverage_warnings(FULL, ["faces"]) == []
    for words, counts in ((1, LOST), (1, UNSURE), (1, EMPTY), (2, both)):
        found = coverage_warnings(counts, ["faces"])
        assert len(found) == words
        assert all(a in b for a, b in zip(find_gaps(counts, ["faces"]), found, strict=False))
    twice = FrameCounts(frames=4, empty=4, missed=1, span=1)
    assert len(coverage_warnings(twice, ["faces"])) == 2


def test_what_is_left_out_of_the_hidden_part_is_no_sighting() -> None:
    counter, mask = CoverageCounter(["faces"]), np.zeros((40, 40), np.uint8)
    mask[:20] = 255  # as by --region with the upper half
    inside, outside = Box(5, 5, 15, 15, 0.9, 0), Box(5, 25, 15, 35, 0.9, 1)
    for boxes in ((inside, outside), (outside,), (inside,)):
        shown = mask if inside in boxes else np.zeros_like(mask)
        counter.add(Region(boxes=boxes), shown)
    total = counter.total()
    assert total.regions == (1, 0, 1) and (total.missed, total.span) == (1, 3)
    assert (total.seen, total.tracks) == (2, 1)


def test_what_shows_through_a_faint_mask_is_not_hidden() -> None:
    counter, faint = CoverageCounter(["templates"]), np.full((40, 40), 13, np.uint8)
    faint[:10] = 255
    counter.add(Region(strength=faint), faint)
    assert counter.total().share == (0.25,)


def test_a_drawn_region_is_neither_found_nor_a_gap() -> None:
    counter = CoverageCounter(["faces"])
    for source in ("detected", *("interpolated",) * 8):
        counter.add(Region(boxes=(Box(1, 1, 9, 9, 1.0, 5, source, "drawn"),)), None)
    total = counter.total()
    assert (total.longest_gap, total.seen, total.filled) == (0, 0, 0) and counter.drawn == {5}


def test_people_of_a_file_of_boxes_are_not_unsure() -> None:
    """Their scores may be of any detector."""
    for sources, unsure in ((["boxes"], 0), (["people"], 1)):
        counter = CoverageCounter(sources)
        counter.add(Region(boxes=(Box(1, 1, 9, 9, 0.1, label="person"),)), None)
        assert counter.total().unsure == unsure


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_what_is_refused_is_what_is_not_allowed(empty: bool, gaps: bool) -> None:
    allowed = {"allow_empty": empty, "allow_gaps": gaps}
    check_file_coverage(FULL, ["faces"], name="a.mp4", **allowed)
    for counts, passes in ((EMPTY, empty), (LOST, gaps), (UNSURE, gaps)):
        for check in (
            lambda one: check_file_coverage(one, ["faces"], name="a.mp4", **allowed),
            lambda one: check_dataset_coverage({"a.mp4": one}, ["faces"], **allowed),
        ):
            if passes:
                check(counts)
                continue
            with pytest.raises(OutputError, match=r"a\.mp4"):
                check(counts)
    check_file_coverage(LOST, ["boxes"], name="a.mp4", allow_empty=False, allow_gaps=False)


def test_a_file_of_boxes_for_fewer_frames_is_told() -> None:
    """One of a fixed camera may serve many clips, of which some are longer."""
    counts = FrameCounts(frames=30, empty=20, span=10)
    (said,) = coverage_warnings(counts, ["boxes"])
    assert said.startswith("no box hides anything in 20 of 30 frames")
    assert not coverage_warnings(counts, ["faces", "boxes"])
    assert not coverage_warnings(FrameCounts(frames=30, span=30), ["boxes"])


@pytest.mark.parametrize(
    ("sources", "method", "outside", "warns"),
    [
        (["templates"], "blur", "keep", True),
        (["people", "templates"], "blur", "keep", False),
        (["people"], "blur", "keep", False),
        (["templates"], "blur", "black", False),  # all else is black
        (["templates"], "silhouette", "keep", False),
    ],
)
def test_who_names_templates_alone_is_told_that_people_stay_visible(
    sources: list[str], method: str, outside: str, warns: bool
) -> None:
    found = template_warnings(sources, masquerade.build(method), outside=outside)
    assert len(found) == warns


def test_nothing_means_every_frame() -> None:
    assert EMPTY.hid_nothing and FrameCounts().hid_nothing
    assert not FrameCounts(frames=7, empty=6).hid_nothing


def test_a_dataset_adds_up_and_names_what_is_wrong() -> None:
    videos = {"d": LOST, "b": FULL, "c": EMPTY, "a": UNSURE}
    found = check_dataset_coverage(videos, ["faces"], allow_empty=True, allow_gaps=True)
    assert found == DatasetCoverage(
        videos=4,
        counts=FrameCounts(frames=307, empty=10, missed=3, span=300, filled_whole=1),
        unpublished=found.unpublished,
    )
    assert list(found.unpublished) == ["a", "c", "d"]
    assert found.unpublished["d"] == find_gaps(LOST, ["faces"])[0]
    both = FrameCounts(frames=9, missed=2, span=9, filled_whole=1)
    words = check_dataset_coverage({"e": both}, ["faces"], allow_empty=True, allow_gaps=True)
    assert all(one in words.unpublished["e"] for one in find_gaps(both, ["faces"]))
    with pytest.raises(OutputError) as caught:
        check_dataset_coverage(videos, ["faces"], allow_empty=False, allow_gaps=False)
    said = str(caught.value)
    assert "1 of 4 videos (c)" in said and "2 of 4 videos (d, a)" in said
    faint = FrameCounts(frames=9, empty=9, missed=3, span=9)  # found, and hidden nowhere
    told = check_dataset_coverage({"f": faint}, ["faces"], allow_empty=True, allow_gaps=True)
    (lost,) = find_gaps(faint, ["faces"])
    assert told.unpublished == {"f": f"nothing to hide was found and {lost}"}
    none = check_dataset_coverage({}, ["faces"], allow_empty=False, allow_gaps=False)
    assert none == DatasetCoverage(videos=0, counts=FrameCounts(), unpublished={})


@pytest.mark.parametrize(("count", "more"), [(1, 0), (20, 0), (21, 1), (25, 5)])
def test_a_message_names_twenty_videos_and_counts_the_rest(count: int, more: int) -> None:
    videos = {f"v{i:02}": EMPTY for i in range(count)}
    with pytest.raises(OutputError) as caught:
        check_dataset_coverage(videos, ["faces"], allow_empty=False, allow_gaps=False)
    said = str(caught.value)
    shown = ", ".join(list(videos)[:20])
    assert shown + (f" and {more} more)" if more else ")") in said


def test_a_gap_of_one_track_ends_where_it_is_seen_or_gone() -> None:
    def box(track: int | None, source: Any) -> Box:
        return Box(0, 0, 9, 9, 1.0, track, source)

    counter = CoverageCounter(["faces"])
    for sources in (
        {1: "interpolated", 2: "interpolated"},
        {1: "interpolated", 2: "detected"},
        {1: "extrapolated", 2: "interpolated"},
        {1: "interpolated"},
        {1: "interpolated", 2: "interpolated"},
        {1: "interpolated", None: "interpolated"},
    ):
        boxes = tuple(box(track, source) for track, source in sources.items())
        counter.add(Region(boxes=boxes), np.full((9, 9), 255, np.uint8))
    assert counter.longest_gap == 3  # of the first track, in the last three frames
    assert (counter.seen, counter.filled, counter.tracks) == (1, 10, {("face", 1), ("face", 2)})
    assert counter.total().longest_gap == 3
    counter.add(Region(), np.zeros((9, 9), np.uint8))
    assert counter.longest_gap == 3  # the longest stays


def test_shares_are_of_the_area_to_five_places() -> None:
    counter = CoverageCounter(["faces"])
    mask = np.zeros((3, 7), np.uint8)
    mask[1, 2], mask[2, 5], mask[2, 6] = 128, 127, 255
    counter.add(Region(), mask)
    counter.add(Region(full_frame=True), mask)
    assert [*counter.share] == [round(2 / 21, 5)] * 2 and [*counter.regions] == [1, 1]
    assert (counter.empty, counter.filled_whole) == (0, 1)
    assert counter.total() == Coverage(
        frames=2, span=2, filled_whole=1, share=(0.09524, 0.09524), regions=(1, 1)
    )


def facts(**changes: Any) -> FileFacts:
    given = {"name": "in.mkv", "sha256": "ab", "bytes": 77, "container": "matroska"}
    given |= {"codec": "h264", "width": 64, "height": 48, "seconds": 1.5, "frames": 9}
    return FileFacts(**(given | changes))


def receipt(**changes: Any) -> Receipt:
    given: dict[str, Any] = {
        "source": facts(),
        "output": facts(name="out.mp4", sha256="cd", bytes=55),
        "method": {"name": "blur"},
        "regions": (
            RegionRecord(
                name="templates", arguments={"templates": ["a"], "x": 1}, model_sha256="m", keys="k"
            ),
            RegionRecord(name="faces", arguments={"threshold": 0.2}, model_sha256=None),
        ),
        "settings": {"regions": "boxes:secret.json", "region": "r.png", "crf": 20},
        "coverage": Coverage(frames=9),
        "residual_detail": None,
        "noise": "none",
        "audio": "removed",
    }
    return Receipt(**(given | changes))


def test_a_public_receipt_keeps_all_but_what_identifies_the_source() -> None:
    whole = receipt()
    public = whole.public()
    assert public.source == facts(name=None, sha256=None, bytes=0)
    assert public.output == facts(name=None, sha256="cd", bytes=55)
    hidden = dict.fromkeys(("detector_weights", "key_weights", "models"))
    assert public.settings == {"regions": "boxes", "crf": 20, "region": True, **hidden}
    assert receipt(settings={"regions": "faces"}).public().settings["region"] is None
    first, second = public.regions
    assert first.arguments == {"templates": None, "x": 1} and second == whole.regions[1]
    assert (first.name, first.model_sha256, first.keys) == ("templates", "m", "k")
    for name in ("method", "coverage", "residual_detail", "noise", "audio", "receipt", "device"):
        assert getattr(public, name) == getattr(whole, name)
    given = {"name": "selective", "arguments": {"flow_weights": "/home/anna/x.pth", "sigma": 3}}
    told = receipt(method=given, settings_sha256="ab", exports={"boxes": "cd"}).public()
    assert told.method["arguments"] == {"flow_weights": None, "sigma": 3}
    assert told.settings_sha256 == "" and not told.exports  # of what can be guessed
    assert receipt(output=None).public().output is None
    for metadata, left in (("keep", "keep"), ("keep:patient_4711", "keep what was named")):
        public = receipt(settings={"regions": "faces", "metadata": metadata}).public()
        assert public.settings["metadata"] == left
    assert receipt(settings={"regions": "faces+people"}).public().settings["regions"] == (
        "faces+people"
    )


def test_the_line_of_a_file_says_in_words_what_was_followed() -> None:
    coverage = Coverage(frames=30, empty=24, share=(0.1,) * 30, tracks=2, seen=12, filled=9)
    people = (RegionRecord(name="people", arguments={"every": 4}, model_sha256=None),)
    source = facts(frames=30)
    assert summary(receipt(source=source, regions=people, coverage=coverage)) == (
        "people hidden by blur in 6 of 30 frames (detector run on one frame in 4; "
        "2 regions followed: found 12 times, and filled in 9 times without a detection)"
    )
    alone = replace(coverage, tracks=1, filled=0, unsure=3)
    left = receipt(source=source, regions=people, coverage=alone, left_visible={0: 30, 4: 2})
    assert summary(left) == (
        "people (all but ID 0, 4) hidden by blur in 6 of 30 frames (detector run on one frame in "
        "4; 1 region followed: found 12 times, 3 of them unsure)"
    )
    untracked = receipt(regions=people, coverage=replace(coverage, tracks=0, filled=0))
    assert summary(untracked).endswith("in 4; regions found 12 times)")
    brief = receipt(regions=people, coverage=replace(coverage, seen=1, filled=1))
    assert summary(brief).endswith("followed: found once, and filled in once without a detection)")


def test_a_receipt_says_nothing_it_was_not_told() -> None:
    plain = receipt()
    assert (plain.removed, plain.kept, plain.warnings) == ((), (), ())
    assert (plain.mended_timestamps, plain.damaged_frames, plain.lost_frames) == (0, 0, 0)
    assert plain.end_unknown is False and plain.device == "cpu" and plain.settings_sha256 == ""
    assert (plain.stage_seconds, plain.versions, plain.receipt) == ({}, {}, 1)


def test_a_receipt_is_json_that_a_person_can_read() -> None:
    text = receipt(source=facts(name="Ä\udcff.mkv")).to_json()
    assert text.endswith("}\n") and "Ä" in text and '\n "source": {\n' in text
    assert "\\udcff" in text and text.encode("utf-8")
    document = json.loads(text)
    assert document["source"]["frames"] == 9 and document["coverage"]["share"] == []
    assert document["regions"][0]["keys"] == "k"


def test_region_records_leave_paths_out_and_name_models() -> None:
    one = SimpleNamespace(model_sha256="m", fingerprint="f")
    two = SimpleNamespace(model_sha256=None)
    given = [("a", {"file": Path("x"), "n": 3, "s": "x"}), ("b", {})]
    assert region_records(given, SimpleNamespace(sources=(one, two))) == (
        RegionRecord(name="a", arguments={"n": 3, "s": "x"}, model_sha256="m", keys="f"),
        RegionRecord(name="b", arguments={}, model_sha256=None, keys=None),
    )
    assert RegionRecord(name="b", arguments={}, model_sha256=None).keys is None
    (alone,) = region_records(given[:1], one)
    assert (alone.name, alone.keys) == ("a", "f")


def test_hashes_and_versions_can_be_computed_by_anyone() -> None:
    settings = {"b": 2, "a": Path("x/y"), "c": None}
    text = '{"a": "x/y", "b": 2, "c": null}'
    assert config_hash(settings) == hashlib.sha256(text.encode()).hexdigest()
    names = ("masquerade", "torch", "numpy", "av", "opencv-contrib-python-headless")
    assert library_versions() == {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
    assert len({noise_origin(1, keyed=True), *(noise_origin(None, keyed=k) for k in (0, 1))}) == 3
    assert noise_origin(1, keyed=True) == noise_origin(0, keyed=False)


@pytest.mark.parametrize(
    ("kinds", "others", "empty", "passes"),
    [
        (["video"], 0, 0, True),
        (["video", "audio"], 1, 0, True),
        (["video", "audio"], 0, 0, False),
        (["video"], 1, 0, False),
        (["video"], 1, 1, True),
        (["video"], 2, 1, False),
        (["video", "audio"], 2, 1, True),
        (["video", "audio", "audio"], 2, 1, True),
        (["video", "audio", "audio"], 1, 1, False),
        (["video", "video"], 1, 0, False),
        (["audio"], 0, 0, False),
        (["audio"], 1, 1, False),
        ([], 0, 0, False),
    ],
)
def test_an_output_holds_one_video_and_what_was_put_there(
    monkeypatch: pytest.MonkeyPatch, kinds: list[str], others: int, empty: int, passes: bool
) -> None:
    info = SimpleNamespace(streams=[SimpleNamespace(kind=kind) for kind in kinds])
    asked = []
    monkeypatch.setattr(verify, "probe_in_process", lambda path: asked.append(path) or info)
    part, dst = Path("dir/.part"), Path("dir/final.mp4")
    if passes:
        assert verify_output(part, dst, others=others, empty=empty) is info
        if not empty:
            assert verify_output(part, dst, others=others) is info
    else:
        with pytest.raises(OutputError, match=r"^final\.mp4"):
            verify_output(part, dst, others=others, empty=empty)
        if not empty:
            with pytest.raises(OutputError):
                verify_output(part, dst, others=others)
    assert set(asked) == {part}


def test_what_cannot_be_read_back_is_refused_by_its_final_name(tmp_path: Path) -> None:
    (tmp_path / "part.mp4").write_bytes(b"no video")
    with pytest.raises(OutputError, match=r"final\.mp4") as caught:
        verify_output(tmp_path / "part.mp4", tmp_path / "final.mp4", others=0)
    assert isinstance(caught.value.__cause__, VideoError)


def test_file_facts_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / ".part"
    path.write_bytes(b"12345")
    info: Any = SimpleNamespace(container="mp4", codec="av1", width=31, height=17, duration=2.5)
    assert file_facts(path, tmp_path / "named.mp4", info, 42) == FileFacts(
        name="named.mp4",
        sha256=hashlib.sha256(b"12345").hexdigest(),
        bytes=5,
        container="mp4",
        codec="av1",
        width=31,
        height=17,
        seconds=2.5,
        frames=42,
    )
