"""Planted faults are found: missing, broken and equal files, and leaks between splits."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from masquerade.datasets.check import SplitLeak, check_manifest, find_split_leaks
from masquerade.datasets.manifest import Clip, Manifest, make_manifest, read_manifest
from masquerade.video.decoding_process import count_frames, probe

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def film(path: Path, seed: int = 0, frames: int = 5, times: Sequence[int] | None = None) -> Path:
    codec = {".ts": "mpeg2video", ".webm": "libvpx"}.get(path.suffix, "mpeg4")
    path.parent.mkdir(parents=True, exist_ok=True)
    times = range(frames) if times is None else times
    noise = np.random.default_rng(seed).integers(0, 255, (len(times), 32, 32, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 32
        for image, time in zip(noise, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def image(path: Path, seed: int, side: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    png = path.suffix == ".png"
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png" if png else "mjpeg", rate=1)
        stream.width = stream.height = side
        stream.pix_fmt = "rgb24" if png else "yuvj444p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))


def clips(root: Path, *rows: tuple[str, str, str], **more: int) -> Manifest:
    return make_manifest(
        root,
        [
            Clip(path=path, cells={"identity": who, "action": "x", "split": split}, **more)
            for path, who, split in rows
        ],
    )


def test_a_sound_dataset_passes(tmp_path: Path) -> None:
    for i in range(3):
        film(tmp_path / f"{i}.mp4", seed=i)
    rows = [("0.mp4", "a", "train"), ("1.mp4", "a", "train"), ("2.mp4", "b", "test")]
    result = check_manifest(clips(tmp_path, *rows), every_frame=True)
    assert result.ok and (result.clips, result.files) == (3, 3)


def test_missing_broken_and_equal_files_are_named(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", seed=1)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_bytes(b"this is not a film" * 50)
    (tmp_path / "d.mp4").write_bytes(b"")
    (tmp_path / "e.mp4").write_text("#EXTM3U\n#EXTINF:1,\na.mp4\n")
    rows = [(f"{name}.mp4", name, "train") for name in "abcdef"]
    result = check_manifest(clips(tmp_path, *rows))
    assert not result.ok
    assert result.missing == ("f.mp4",)
    assert [each.path for each in result.unreadable] == ["c.mp4", "d.mp4", "e.mp4"]
    assert result.unreadable[2].why == "a playlist, not a video"
    assert result.duplicates == (("a.mp4", "b.mp4"),)
    assert not result.split_leaks


def test_a_file_of_the_same_size_and_other_content_is_no_duplicate(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 100)
    rows = [("a", "a", "train"), ("b", "b", "train")]
    assert check_manifest(clips(tmp_path, *rows)).duplicates == ()


def test_equal_files_on_both_sides_of_a_split_are_a_leak(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    result = check_manifest(clips(tmp_path, ("a.mp4", "p", "train"), ("b.mp4", "q", "test")))
    leak = SplitLeak(split="split", by="content", value="a.mp4", parts=("test", "train"), clips=2)
    assert result.split_leaks == (leak,)


def test_a_person_on_both_sides_is_a_leak_and_found_among_several(tmp_path: Path) -> None:
    rows = [("a", "p|q", "train"), ("b", "q", "val"), ("c", "r", "test"), ("d", "q", "")]
    (leak,) = find_split_leaks(clips(tmp_path, *rows))
    assert leak == SplitLeak(
        split="split", by="identity", value="q", parts=("train", "val"), clips=2
    )


def test_a_person_in_two_columns_is_a_leak_across_them(tmp_path: Path) -> None:
    rows = [("p", "q", "train"), ("r", "p", "test"), ("s", "s", "train"), ("t", "t", "test")]
    manifest = make_manifest(
        tmp_path,
        [
            Clip(path=str(i), cells={"person_a": a, "person_b": b, "source": a, "split": part})
            for i, (a, b, part) in enumerate(rows)
        ],
    )
    (leak,) = find_split_leaks(manifest)
    assert leak == SplitLeak(
        split="split", by="person_a and person_b", value="p", parts=("test", "train"), clips=2
    )


def test_one_file_on_both_sides_is_a_leak(tmp_path: Path) -> None:
    parts = [("train", 0, 9), ("test", 10, 19)]
    rows = [
        Clip(path="a", cells={"action": "x", "split": part}, first=first, last=last)
        for part, first, last in parts
    ]
    (leak,) = find_split_leaks(make_manifest(tmp_path, rows))
    assert (leak.by, leak.value) == ("file", "a")


def test_source_clips_may_not_straddle_even_where_people_are_to_be_known_again(
    tmp_path: Path,
) -> None:
    rows = [
        Clip(path=f"{i}", cells={"identity": "p", "group": "g", "split_identity": part})
        for i, part in enumerate(("train", "test"))
    ]
    manifest = make_manifest(tmp_path, rows)
    assert [each.by for each in find_split_leaks(manifest)] == ["group"]
    assert check_manifest(manifest, files=False).not_compared == ("split_identity: identity",)


@pytest.mark.parametrize("name", ["group", "source"])
def test_a_split_that_is_named_after_sources_keeps_them_apart(tmp_path: Path, name: str) -> None:
    """They were taken for people who are to be known again, and passed in train and in test."""
    rows = [
        Clip(path=f"{i}", cells={name: "g", "identity": "p", f"split_{name}": part})
        for i, part in enumerate(("train", "test"))
    ]
    manifest = make_manifest(tmp_path, rows)
    assert [each.by for each in find_split_leaks(manifest)] == [name, "identity"]
    assert check_manifest(manifest, files=False).not_compared == ()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.ts"])
def test_a_range_past_the_last_frame_is_found(tmp_path: Path, name: str) -> None:
    """Also in a file that does not tell how many frames it holds."""
    film(tmp_path / name, frames=5)
    inside = clips(tmp_path, (name, "p", "train"), first=0, last=4)
    past = clips(tmp_path, (name, "p", "train"), first=0, last=5)
    assert check_manifest(inside).ok
    assert (
        check_manifest(past).past_end == check_manifest(past, every_frame=True).past_end == (name,)
    )


def cut(path: Path, ticks: int) -> None:
    """Let an MP4's edit list show so many thousandths of a second, as a cut without encoding."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    data[at : at + 4] = ticks.to_bytes(4, "big")
    path.write_bytes(data)


def test_a_range_past_the_last_frame_that_is_shown_is_found(tmp_path: Path) -> None:
    """A file may claim more frames: it passed, and its rows were lost where frames are needed."""
    cut(film(tmp_path / "cut.mp4", frames=20), 400)
    film(tmp_path / "dropped.avi", times=[*range(9), 19])
    for name in ("cut.mp4", "dropped.avi"):
        assert (probe(tmp_path / name).frames, count_frames(tmp_path / name)) == (20, 10)
        assert check_manifest(clips(tmp_path, (name, "p", "train"), first=0, last=9)).ok
        past = clips(tmp_path, (name, "p", "train"), first=0, last=10)
        assert check_manifest(past).past_end == (name,)


def test_a_file_of_many_ranges_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mkv", "whole.mkv"):
        film(tmp_path / name, seed=len(name), frames=5)
    counted: list[str] = []

    def count(path: Path) -> int:
        counted.append(path.name)
        return count_frames(path)

    monkeypatch.setattr("masquerade.datasets.check.count_frames", count)
    rows = [Clip(path="a.mkv", cells={"action": "x"}, first=i, last=i) for i in range(5)]
    rows.append(Clip(path="whole.mkv", cells={"action": "x"}))
    assert check_manifest(make_manifest(tmp_path, rows)).ok and counted == ["a.mkv"]


def test_a_film_that_is_cut_off_is_found_by_decoding_it_whole(tmp_path: Path) -> None:
    for name in ("a.avi", "b.mkv"):
        whole = film(tmp_path / name, frames=40).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    rows = [(name, "p", "train") for name in ("a.avi", "b.mkv")]
    assert check_manifest(clips(tmp_path, *rows)).ok  # the first frame is there
    manifest = clips(tmp_path, *rows, first=0, last=39)
    assert check_manifest(manifest).past_end == ("a.avi", "b.mkv")  # their packets are counted
    result = check_manifest(manifest, every_frame=True)
    assert [each.path for each in result.unreadable] == ["a.avi", "b.mkv"]


def test_nothing_but_the_file_itself_is_opened(tmp_path: Path) -> None:
    """A name may be a pattern, and a text may list other files, to FFmpeg."""
    image(tmp_path / "f000.png", 1)
    (tmp_path / "f%03d.png").write_bytes(b"no picture" * 50)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'f000.png'\n")
    os.mkfifo(tmp_path / "pipe.mp4")  # waits for ever for a writer
    names = ("f000.png", "f%03d.png", "list.mp4", "pipe.mp4")
    result = check_manifest(clips(tmp_path, *((name, name, "train") for name in names)))
    assert [each.path for each in result.unreadable] == list(names[1:])
    assert result.unreadable[1].why == "a playlist, not a video"


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path: Path) -> None:
    result = check_manifest(clips(tmp_path, ("x" * 300, "p", "train")))
    assert result.missing == ("x" * 300,)


def test_folders_of_frames_are_files_too(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        for i in range(3):
            image(tmp_path / folder / f"rgb_{i:03d}.png", seed + i)
    (tmp_path / "d").mkdir()
    rows = [(name, name, "train") for name in "abcd"]
    result = check_manifest(clips(tmp_path, *rows))
    assert result.duplicates == (("a", "b"),)
    assert [(each.path, each.why) for each in result.unreadable] == [
        ("d", "holds no image; png, jpg, bmp, webp and tiff are read.")
    ]
    past = clips(tmp_path, ("a", "p", "train"), first=0, last=3)
    assert check_manifest(past).past_end == ("a",)


def test_a_folder_with_a_cut_image_is_found_by_decoding_all(tmp_path: Path) -> None:
    for folder in "ab":
        for i in range(3):
            image(tmp_path / folder / f"{i}.jpg", i, side=64)
    cut = tmp_path / "b" / "2.jpg"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    manifest = clips(tmp_path, ("a", "p", "train"), ("b", "p", "train"))
    (found,) = check_manifest(manifest, every_frame=True).unreadable
    assert found.path == "b"
    assert str(tmp_path) not in found.why


def test_images_of_two_sizes_are_no_video(tmp_path: Path) -> None:
    for i in range(3):
        image(tmp_path / "a" / f"{i}.png", i, side=32 if i == 2 else 16)
    manifest = clips(tmp_path, ("a", "p", "train"))
    (found,) = check_manifest(manifest, every_frame=True).unreadable
    why = "2.png is 32x32 and 0.png 16x16; images of one folder must have one size."
    assert (found.path, found.why) == ("a", why)


def test_of_depth_images_beside_frames_nothing_is_checked(tmp_path: Path) -> None:
    for take in "ab":
        for i in range(3):
            image(tmp_path / take / f"rgb_{i:06d}.png", i)
            (tmp_path / take / f"depth_{i:06d}.png").write_bytes(f"{take} no image".encode())
    result = check_manifest(clips(tmp_path, ("a", "p", "train"), ("b", "p", "train")))
    assert result.unreadable == () and result.duplicates == (("a", "b"),)
    past = clips(tmp_path, ("a", "p", "train"), first=0, last=3)
    assert check_manifest(past, every_frame=True).past_end == ("a",)


def test_without_files_only_the_columns_are_looked_at(tmp_path: Path) -> None:
    assert check_manifest(clips(tmp_path, ("none.mp4", "p", "train")), files=False).ok


def test_the_result_turns_into_json(tmp_path: Path) -> None:
    rows = [("a", "p", "train"), ("b", "p", "test")]
    found = json.loads(check_manifest(clips(tmp_path, *rows)).to_json())
    assert found["ok"] is False
    assert found["missing"] == ["a", "b"]
    assert found["split_leaks"][0]["value"] == "p"


@pytest.mark.skipif(not REAL.is_dir(), reason="no shared data beside the repository")
def test_the_real_clips_are_sound_and_a_planted_leak_is_not() -> None:
    manifest = read_manifest(REAL / "uti.csv")
    assert check_manifest(manifest).ok
    split = manifest.column("split_action")
    cells = list(manifest.cells("split_action"))
    cells[0] = "test" if cells[0] == "train" else "train"
    (leak,) = find_split_leaks(manifest.with_cells(split, cells))
    assert leak.by == "identity" and leak.value == manifest.clips[0].cells["identity"]


def test_who_is_in_a_clip_and_is_not_told_is_noted(tmp_path: Path) -> None:
    rows = [
        Clip(path=f"{i}", cells={"Identity": name, "split": part})
        for i, (name, part) in enumerate([("p", "train"), ("", "test"), ("q", "test")])
    ]
    result = check_manifest(make_manifest(tmp_path, rows), files=False)
    assert result.ok and "Who is in 1 of 3 clips is unknown (Identity" in result.notes[0]
    nobody = [replace(one, cells={"split": one.cells["split"]}) for one in rows]
    (note,) = check_manifest(make_manifest(tmp_path, nobody), files=False).notes
    assert note.startswith("No column names the people")
