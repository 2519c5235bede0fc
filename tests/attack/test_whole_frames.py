"""What was to be hidden wholly and was not, and what of a folder is never looked at in silence."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from test_attack import black, mosaic, noisy, write

from masquerade.attack import AttackConfig, attack_files, run
from masquerade.attack.published_files import list_published, pair_with_raw
from masquerade.attack.raw_comparison import RawComparison
from masquerade.attack.whole_frames import LEAST_SHARE, WholeFrames, unchanged_share
from masquerade.cli import main
from masquerade.errors import UsageError, VideoError
from masquerade.report.attack_page import render_attack_page
from masquerade.storage import file_digest
from masquerade.video.write import write_video

QUICK = AttackConfig(frames=2, quick=True, hidden="frame")


@pytest.mark.parametrize(
    ("published", "raw"),
    [
        ("holiday.mp4", "holiday.mp4"),
        ("holiday_anonymized.mp4", "holiday.mp4"),
        ("holiday.jpg", "holiday.jpg"),
        ("IMG_1.mp4", "IMG_1.MOV"),
        ("IMG_1.jpg", "IMG_1.JPEG"),
        ("a.avi.mp4", "a.avi"),
    ],
)
def test_of_raw_files_of_one_name_that_of_the_same_kind_is_meant(
    published: str, raw: str, tmp_path: Path
) -> None:
    """As a phone gives a still and a video one name, and a player a video and its poster."""
    for name in ("holiday.mp4", "holiday.jpg", "IMG_1.MOV", "IMG_1.JPEG", "a.avi", "a.mp4"):
        (tmp_path / "raw" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "raw" / name).touch()
    (file := tmp_path / published).touch()
    beside, without = pair_with_raw({file: Path()}, tmp_path / "raw")
    assert beside == {file: tmp_path / "raw" / raw} and not without


def test_of_raw_files_of_one_name_and_kind_none_is_guessed(tmp_path: Path) -> None:
    for name in ("a.mov", "a.avi"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"2 videos called a \(a.avi, a.mov\)"):
        pair_with_raw({tmp_path / "a.mp4": Path()}, tmp_path)


def test_detail_that_was_removed_is_not_there() -> None:
    draw = np.random.default_rng(0)
    raw = cv2.resize(draw.integers(0, 256, (60, 80, 3), np.uint8), (320, 240))
    assert unchanged_share(raw, raw) == 1
    half = raw.copy()
    half[:, :160] = 128
    share = unchanged_share(half, raw)
    assert share is not None and abs(share - 0.5) < 0.1
    for hidden in (cv2.GaussianBlur(raw, (0, 0), 6), mosaic(raw, 0), noisy(raw, 0), raw[::-1]):
        share = unchanged_share(np.ascontiguousarray(hidden), raw)
        assert share is not None and share < LEAST_SHARE / 2
    assert unchanged_share(raw, np.full_like(raw, 90)) is None  # there is nothing to compare


@pytest.mark.parametrize("gain", [0.55, 1, -1], ids=["half contrast", "as it is", "negative"])
@pytest.mark.parametrize("blurred", [False, True])
def test_another_contrast_hides_no_detail(gain: float, blurred: bool) -> None:
    draw = np.random.default_rng(0)
    raw = cv2.resize(draw.integers(0, 256, (60, 80, 3), np.uint8), (320, 240))
    shown = cv2.GaussianBlur(raw, (0, 0), 6) if blurred else raw
    published = np.asarray((shown.astype(np.float64) - 127.5) * gain + 127.5, np.uint8)
    compared = RawComparison(full_frame=True)
    compared.compare(0, published, [raw])
    (found,) = [one for one in compared.findings() if one.attack == "raw frame"]
    assert found.level == ("nothing" if blurred else "recovered")


def test_raw_frames_without_detail_are_said_not_to_be_compared() -> None:
    frames, plain = WholeFrames(), np.full((240, 320, 3), 90, np.uint8)
    for number in range(2):
        frames.compare(number, plain, [plain])
    says = frames.finding().says
    assert says.startswith("None of 2 raw frames") and "detail enough to be compared" in says


def test_frames_that_were_to_be_hidden_and_are_as_they_were_are_recovered(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.mp4", count=6)
    for name, change, code in (("same", None, 4), ("black", black, 0)):
        published = write(tmp_path / f"{name}.mp4", change, count=6)
        report = attack_files([published], QUICK, raw=raw)
        (one,) = [x for x in report.videos[0].findings if x.attack == "raw frame"]
        assert report.exit_code == code and (one.level == "recovered") == (code == 4)


def test_the_published_file_is_no_raw_video(tmp_path: Path) -> None:
    published = write(tmp_path / "a.mp4", black, count=3)
    os.link(published, tmp_path / "b.mp4")
    with pytest.raises(UsageError, match="is the published file itself"):
        attack_files([published], QUICK, raw=tmp_path / "b.mp4")


def test_a_published_file_without_its_raw_video_stops_nothing_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, names in (("published", ("a", "b")), ("raw", ("a",))):
        (tmp_path / folder).mkdir()
        for name in names:
            write(tmp_path / folder / f"{name}.mp4", black, count=2 + (folder == "raw"))
    published, raw, page = tmp_path / "published", tmp_path / "raw", tmp_path / "page.html"
    words = ["attack", str(published), "--raw", str(raw), "--quick", "--frames", "1"]
    assert main([*words, "--json", "-o", str(page)]) == 1
    said = capsys.readouterr()
    report = json.loads(said.out)
    compared, alone = report["videos"]
    assert "raw" in {one["attack"] for one in compared["findings"]}
    assert {one["attack"] for one in alone["findings"]} >= {"faces", "tags"}  # all that needs none
    assert compared["without_raw"] is None and "no video called b" in alone["without_raw"]
    assert report["without_raw"] == [str(published / "b.mp4")] and not report["not_attacked"]
    assert "b.mp4 was not compared with a raw video:" in said.err
    assert "1 of 2 files was not compared" in page.read_text()
    (raw / "a.mp4").rename(raw / "c.mp4")  # none has one: another folder was meant
    assert main(words) == 2


def test_a_page_to_send_on_and_reasons_have_names_and_no_folders(tmp_path: Path) -> None:
    published, raw = tmp_path / "published", tmp_path / "raw"
    for folder in (published, raw):
        folder.mkdir()
    for name in ("another", "short", "none", "itself"):
        write(published / f"{name}.mp4", black, count=4)
    receipt = published / "another.mp4.receipt.json"
    receipt.write_text(json.dumps({"source": {"sha256": "0" * 64}}))
    write(raw / "another.mp4", count=2)
    write(raw / "short.mp4", count=1)
    os.link(published / "itself.mp4", raw / "itself.mp4")
    report = attack_files([published], AttackConfig(frames=1, quick=True), raw=raw)
    why = {one.path.stem: str(one.error or one.without_raw) for one in report.videos}
    assert why["another"].startswith("another.mp4 is not the video that another.mp4 was made from")
    assert why["short"].startswith("short.mp4 ends at")
    assert why["none"] == "raw holds no video called none, for none.mp4."
    assert why["itself"].startswith("itself.mp4 is the published file itself")
    page = render_attack_page(report, pictures=False)
    assert str(tmp_path) not in page and "as there is none" not in page
    assert "4 of 4 files were not compared with a raw video</b>: another.mp4, itself.mp4, " in page


@pytest.mark.parametrize("shown", [True, False])
def test_a_raw_video_that_ends_early_takes_nothing_back(tmp_path: Path, shown: bool) -> None:
    published = write(tmp_path / "a.mp4", None if shown else black, count=6)
    raw = write(tmp_path / "raw.mp4", count=2)
    report = attack_files([published], QUICK, raw=raw)
    (video,) = report.videos
    assert video.error is None and len(video.attacked) == 2
    assert "raw.mp4 ends at" in str(video.without_raw)
    assert "Only 1 of 2 frames were compared." in str(video.without_raw)
    found = {one.attack: one.level for one in video.findings}
    assert found["faces"] == found["raw frame"] == ("recovered" if shown else "nothing")
    assert report.exit_code == (4 if shown else 1)


def test_what_was_seen_before_a_published_video_breaks_off_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> None:
        raise VideoError(f"{path.name} cannot be read to its end.")

    published, page = write(tmp_path / "a.mp4", count=2), tmp_path / "page.html"
    monkeypatch.setattr(run, "list_frame_tags", refuse)
    words = ["attack", str(published), "--quick", "--frames", "1", "--json", "-o", str(page)]
    assert main(words) == 4
    said = capsys.readouterr()
    (video,) = json.loads(said.out)["videos"]
    assert video["error"] == "a.mp4 cannot be read to its end." and video["recovered"]
    assert {"tags", "streams", "receipt"} < {one["attack"] for one in video["findings"]}
    assert "a.mp4 could not be attacked to its end: a.mp4 cannot" in said.err
    text = page.read_text()
    assert "It could not be attacked to its end" in text and "Faces are seen" in text


def test_tags_streams_and_receipt_of_a_damaged_video_are_told(tmp_path: Path) -> None:
    published = write(tmp_path / "a.mp4", count=6)
    data = bytearray(published.read_bytes())
    begins, ends = data.index(b"mdat") + 4, data.index(b"moov") - 4
    for place in range((begins + ends) // 2, ends):
        data[place] ^= 0x5A
    data += struct.pack(">I4s", 24, b"uuid") + b"12 High Street.."
    published.write_bytes(data)
    (video,) = attack_files([published], QUICK).videos
    assert "cannot be decoded" in str(video.error)
    found = {one.attack: one for one in video.findings}
    assert found["tags"].level == "recovered" and "a uuid box" in found["tags"].says
    assert {"streams", "receipt"} < found.keys()


def test_a_receipt_of_an_earlier_output_refuses_no_raw_video(tmp_path: Path) -> None:
    published, raw = (still(tmp_path / f"{name}.png") for name in ("published", "raw"))
    receipt = tmp_path / "published.png.receipt.json"
    for made, refused in ((file_digest(published), True), ("1" * 64, False)):
        named = {"source": {"sha256": "0" * 64}, "output": {"sha256": made}}
        receipt.write_text(json.dumps(named))
        (video,) = attack_files([published], AttackConfig(quick=True), raw=raw).videos
        assert ("is not the video that" in str(video.without_raw)) is refused
        assert ("raw" in {one.attack for one in video.findings}) is not refused


def still(path: Path) -> Path:
    cv2.imwrite(str(path), np.full((48, 64, 3), len(path.name), np.uint8))
    return path


def test_inputs_that_overlap_keep_the_folder_of_a_file(tmp_path: Path) -> None:
    whole = tmp_path / "published"
    (whole / "a").mkdir(parents=True)
    one = still(whole / "a" / "x.png")
    (whole / "a" / "notes.txt").touch()
    for paths in ([whole, whole / "a"], [whole / "a", whole], [one, whole], [whole, one]):
        files, others, _ = list_published(paths)
        assert files == {one: Path("a")} and others == (whole / "a" / "notes.txt",)


def test_a_file_that_may_not_be_read_is_named_without_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = write(tmp_path / "a.mp4", black, count=1)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(run, "probe", refuse)
    (video,) = attack_files([published], AttackConfig(frames=1, quick=True)).videos
    assert video.error == "a.mp4 cannot be read: Permission denied."


def test_hidden_files_are_passed_over_and_named(tmp_path: Path) -> None:
    for name in ("safe.mp4", "._safe.mp4", ".hidden/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    files, others, unread = list_published([tmp_path])
    assert {path.name for path in files} == {"safe.mp4", "a.mp4"} and not unread
    assert others == (tmp_path / "._safe.mp4",)
    assert list(list_published([tmp_path / "._safe.mp4"])[0]) == [tmp_path / "._safe.mp4"]


def test_a_receipt_without_its_video_is_passed_over_and_named(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", black, count=1)
    for name in ("a.mp4", "gone.mp4", ""):
        (tmp_path / f"{name}.receipt.json").write_text("{}")
    report = attack_files([tmp_path], AttackConfig(frames=1, quick=True))
    named = {one.name for one in report.passed_over}
    assert named == {"gone.mp4.receipt.json", ".receipt.json"}


def test_linked_folders_are_attacked_and_broken_links_are_named(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw" / "face.mp4", count=3)
    place = tmp_path / "published"
    place.mkdir()
    write(place / "black.mp4", black, count=3)
    (place / "linked").symlink_to(tmp_path / "raw")
    (place / "back").symlink_to(place)
    (place / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    report = attack_files([place], AttackConfig(frames=1, quick=True))
    assert {one.path.name: one.recovered for one in report.videos} == {
        "black.mp4": False,
        "face.mp4": True,
        "gone.mp4": False,
    }
    assert [one.path.name for one in report.not_attacked] == ["gone.mp4"]
    assert report.exit_code == 4


@pytest.mark.slow
def test_raw_videos_of_another_frame_rate_are_compared_to_their_end(tmp_path: Path) -> None:
    noise = torch.rand(1, 3, 24, 48, 64, generator=torch.Generator().manual_seed(0))
    for folder, rate in (("published", 50), ("raw", 25)):
        (tmp_path / folder).mkdir()
        for name, video in (("a", noise), ("b", noise.flip(4))):
            clip = video[:, :, :: 50 // rate]
            write_video(tmp_path / folder / f"{name}.mp4", clip, rate=rate)
    config = AttackConfig(frames=1, quick=True)
    report = attack_files([tmp_path / "published"], config, raw=tmp_path / "raw")
    assert not report.not_attacked
    assert [one.attack for one in report.folder] == ["across", "source"]


def test_a_page_that_cannot_be_written_is_refused_before_the_attack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = write(tmp_path / "a.mp4", black, count=3)
    words = ["attack", str(published), "--quick", "--frames", "1", "-o"]
    assert main([*words, str(published / "x.html")]) != 0
    assert "cannot be written" in capsys.readouterr().err


def test_a_receipt_that_is_no_json_says_nothing(tmp_path: Path) -> None:
    published = write(tmp_path / "a.mp4", black, count=3)
    published.with_name("a.mp4.receipt.json").write_text("[" * 100_000)
    report = attack_files([published], AttackConfig(frames=1, quick=True))
    assert report.exit_code == 0 and json.dumps(report.plain())


def test_what_was_salvaged_can_be_verified(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", count=12)
    source = tmp_path / "cut.mkv"
    with av.open(str(whole)) as given, av.open(str(source), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 7 // 10])
    out_file = tmp_path / "out.mp4"
    words = ["anonymize", str(source), "-o", str(out_file), "--method", "blacken"]
    assert main([*words, "--regions", "frame", "--salvage", "--verify"]) == 0
    assert out_file.exists()
    # a raw video of which frames are lost is not compared: beside others they would look changed
    report = attack_files([out_file], AttackConfig(frames=1, quick=True), raw=source)
    assert report.exit_code == 1 and "damaged" in str(report.videos[0].without_raw)
