"""`masquerade attack`: what is recovered from published videos, and what is not."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from masquerade.attack import AttackConfig, AttackReport, VideoAttack, attack_files, file_facts
from masquerade.attack.file_facts import find_receipt, meant_to_hide, said_to_be_drawn
from masquerade.attack.finders import Finders, shrink
from masquerade.attack.finding import Finding, Level, spans, unique_names
from masquerade.attack.own_output import check_own_output
from masquerade.attack.published_detection import PublishedDetection
from masquerade.attack.raw_comparison import RawComparison
from masquerade.attack.run import attack_file
from masquerade.attack.undo import UNDO, deblur, smooth, stack_along_flow, stack_in_place
from masquerade.cli import main
from masquerade.cli.demo_clip import frames
from masquerade.errors import OutputError, UsageError
from masquerade.methods import METHODS
from masquerade.pipeline.live_run import LiveReceipt
from masquerade.pipeline.receipt import FileFacts, RegionRecord
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.region import ArrayFrame
from masquerade.regions.ssd_people import SsdPeople
from masquerade.report.attack_page import render_attack_page
from masquerade.report.page import embedded
from masquerade.storage import file_digest

DATA = Path(__file__).parents[3] / "shared" / "data"
COUNT = 25
FEW = 2  # frames that are attacked: in so many at least something must be seen again
Change = Callable[[np.ndarray, int], np.ndarray]


@cache
def demo(half: bool = True) -> list[np.ndarray]:
    """Mostly at half their size, at which networks take a fourth of the time."""
    size = (320, 240) if half else (640, 480)
    return [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in islice(frames(), COUNT)]


find_faces = cache(CenterFace)  # one network for all frames


def write(
    path: Path, change: Change | None = None, *, count: int = COUNT, half: bool = True
) -> Path:
    """The demo's frames, changed, as a file without tags and sound."""
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "12", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for number, frame in zip(range(count), cycle(demo(half)), strict=False):
            shown = frame if change is None else change(frame, number)
            if number == 0:
                stream.height, stream.width = shown.shape[:2]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def black(frame: np.ndarray, number: int) -> np.ndarray:
    return np.zeros_like(frame)


def faceless(frame: np.ndarray, number: int) -> np.ndarray:
    """With stripes instead of every face, and whoever has it left."""
    out = frame.copy()
    for face in find_faces()(ArrayFrame(frame)):
        x0, y0, x1, y1 = (round(value) for value in (face.x0, face.y0, face.x1, face.y1))
        part = out[max(0, y0) : y1, max(0, x0) : x1]
        part[:] = part.mean(axis=(0, 1))
        part[np.arange(len(part)) % 8 < 4] = 0
    return out


def mosaic(frame: np.ndarray, number: int) -> np.ndarray:
    small = cv2.resize(frame, (32, 24), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def noisy(frame: np.ndarray, number: int, sigma: float = 150) -> np.ndarray:
    noise = np.random.default_rng(number).normal(0, sigma, frame.shape)
    return (frame + noise).clip(0, 255).astype(np.uint8)


def drowned(frame: np.ndarray, number: int) -> np.ndarray:
    """In so much noise that a face is not seen in a smaller copy of one frame either."""
    return noisy(frame, number, 300)


@pytest.fixture(scope="module")
def raw(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(clip, tmp_path_factory.mktemp("raw") / "clip.mp4"))


def attacked(
    path: Path, *, raw: Path | None = None, quick: bool = True, count: int = FEW
) -> VideoAttack:
    (video,) = attack_files([path], AttackConfig(frames=count, quick=quick), raw=raw).videos
    assert video.error is None and len(video.attacked) == count
    return video


def found(video: VideoAttack, attack: str) -> Finding:
    return next(one for one in video.findings if one.attack == attack)


def test_everything_is_recovered_from_a_video_that_was_not_anonymized(raw: Path) -> None:
    video = attacked(raw)
    faces = found(video, "faces")
    assert faces.level == "recovered" and faces.frames == video.attacked
    proof = faces.proofs[0]
    assert proof.frame in video.attacked and proof.score > 0.5 and min(proof.picture.shape[:2]) > 30
    tags = found(video, "tags")
    assert tags.level == "recovered" and "location" in tags.says and "title" in tags.says
    assert "40.7" not in tags.says  # names only
    sound = found(video, "streams")
    assert sound.level == "left" and "audio" in sound.says


@pytest.mark.slow
def test_nothing_is_recovered_from_black_frames(tmp_path: Path) -> None:
    video = attacked(write(tmp_path / "black.mp4", black), quick=False)
    assert {one.level for one in video.findings} == {"nothing"} and not video.recovered
    assert not any(one.proofs for one in video.findings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "how"), [(mosaic, "a mosaic smoothed"), (drowned, "stacked along optical flow")]
)
def test_what_is_undone_is_named(tmp_path: Path, change: Change, how: str) -> None:
    """Neither shows a face as it is published."""
    published = write(tmp_path / "published.mp4", change, count=12, half=change is mosaic)
    video = attacked(published, quick=False)
    assert found(video, "faces").level == "nothing"
    undone = found(video, "undo")
    assert undone.level == "recovered" and how in undone.says and undone.proofs
    assert not attacked(published).recovered


def test_people_text_and_a_receipt_are_seen_where_they_are(tmp_path: Path) -> None:
    def sign(frame: np.ndarray, number: int) -> np.ndarray:
        out = cv2.resize(frame, (640, 480))
        out[20:90, 300:630] = 255
        return cv2.putText(
            out, "MAIN STREET", (310, 70), cv2.FONT_HERSHEY_DUPLEX, 1.5, (0, 0, 0), 3
        )

    video = write(tmp_path / "sign.mp4", sign, count=FEW)
    (tmp_path / "sign.mp4.receipt.json").write_text("{}")
    seen = attacked(video)
    for attack in ("people", "poses", "text", "receipt"):
        assert found(seen, attack).level == "left", attack
    assert len(found(seen, "text").frames) == FEW
    plain = attacked(write(tmp_path / "plain.mp4", count=FEW))
    assert found(plain, "text").level == found(plain, "receipt").level == "nothing"


def test_a_pictures_own_colour_facts_tell_nothing_of_the_recording(tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    words = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=gray:size=64x48", "-frames:v"]
    subprocess.run([*words, "1", still], check=True)
    (video,) = attack_files([still], AttackConfig(quick=True)).videos
    assert found(video, "tags").level == "nothing", found(video, "tags").says


def test_raw_video_tells_which_faces_were_left(raw: Path, tmp_path: Path) -> None:
    def lapses(frame: np.ndarray, number: int) -> np.ndarray:
        return frame if 8 <= number < 17 else black(frame, number)

    video = attacked(write(tmp_path / "published.mp4", lapses), raw=raw, count=4)
    left = found(video, "raw")
    shown = tuple(number for number in video.attacked if 8 <= number < 17)
    assert left.level == "recovered" and left.frames == shown and left.proofs
    assert "Of 4 faces in 4 raw frames 2 were changed" in left.says
    assert "up to 8 apart, over which nobody is followed surely: --frames takes more" in left.says
    hidden = found(attacked(write(tmp_path / "black.mp4", black), raw=raw), "raw")
    assert hidden.level == "nothing" and "2 were changed, and 100%" in hidden.says
    people = found(video, "raw people")
    assert people.level == "left" and people.frames == shown


def test_whole_people_who_are_unchanged_are_recovered_where_people_are_to_be_hidden(
    tmp_path: Path,
) -> None:
    """By the option, or by the receipt beside the file; nobody's face is seen here."""
    raw, published = write(tmp_path / "raw.mp4", faceless, count=2), tmp_path / "published.mp4"
    published.write_bytes(raw.read_bytes())
    receipt = tmp_path / "published.mp4.receipt.json"

    def level(hidden: str) -> str:
        config = AttackConfig(frames=1, quick=True, hidden=hidden)  # type: ignore[arg-type]
        (video,) = attack_files([published], config, raw=raw).videos
        assert found(video, "raw").level == "nothing"
        return found(video, "raw people").level

    assert [level("auto"), level("people")] == ["left", "recovered"]
    receipt.write_text(json.dumps({"regions": [{"name": "faces"}, {"name": "people"}]}))
    assert level("auto") == "recovered"


COLOURS = {
    "range": np.eye(3, 4) * 219 / 255 + [[0, 0, 0, 16]],
    "grey": np.array([[0.299, 0.587, 0.114, 0]] * 3),
    "white balance": np.diag([0.8, 1, 1.25, 1])[:3],
    "negative": np.eye(3, 4) * -1 + [[0, 0, 0, 255]],
    "bright": np.array([[1, 0, 0, 30], [0, 1, 0, 30], [0, 0, 1, 30]], float),
    "dark": np.eye(3, 4) * 0.7,
    "sepia": np.array([[0.39, 0.77, 0.19, 0], [0.35, 0.69, 0.17, 0], [0.27, 0.53, 0.13, 0]]),
}


def encoded(frame: np.ndarray) -> np.ndarray:
    """With the noise of an encoder."""
    _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("colours", COLOURS)
def test_other_colours_of_the_whole_picture_hide_nobody(colours: str) -> None:
    """They change every pixel by more than what counts as unchanged."""
    left, hidden = RawComparison(people="left"), RawComparison(people="left")
    for number in range(FEW):
        raw = demo()[number]
        for compared, shown in ((left, raw), (hidden, faceless(raw, number))):
            published = np.asarray(cv2.transform(shown, COLOURS[colours]), np.uint8)
            compared.compare(number, encoded(published), [encoded(raw)])
    faces, people = left.findings()
    assert faces.frames == people.frames == tuple(range(FEW))
    assert "colours differ from the raw ones' in 2 frames" in faces.says
    faces, _ = hidden.findings()
    assert not faces.frames and "2 were changed" in faces.says


def test_other_colours_of_a_whole_video_hide_nobody(tmp_path: Path) -> None:
    def shifted(frame: np.ndarray, number: int) -> np.ndarray:
        return grey(frame)

    def hidden(frame: np.ndarray, number: int) -> np.ndarray:
        return grey(faceless(frame, number))

    raw = write(tmp_path / "raw.mp4", count=FEW)
    left = attacked(write(tmp_path / "left.mp4", shifted, count=FEW), raw=raw)
    assert found(left, "raw").frames == found(left, "raw people").frames == left.attacked
    assert "colours differ from the raw ones' in 2 frames" in found(left, "raw").says
    kept = attacked(write(tmp_path / "hidden.mp4", hidden, count=FEW), raw=raw)
    assert not found(kept, "raw").frames and "2 were changed" in found(kept, "raw").says


@pytest.mark.parametrize("colours", COLOURS)
def test_other_colours_of_all_but_a_face_do_not_hide_it(colours: str) -> None:
    """As under a spotlight, or where what hides was laid on everything else."""
    raw = demo()[0]
    published = np.asarray(cv2.transform(raw, COLOURS[colours]), np.uint8)
    for face in find_faces()(ArrayFrame(raw)):
        area = np.s_[round(face.y0) : round(face.y1), round(face.x0) : round(face.x1)]
        published[area] = raw[area]
    faces, _ = beside(published, raw)
    assert faces.frames == (0,) and "differ from the raw" in faces.says


def beside(published: np.ndarray, raw: np.ndarray) -> tuple[Finding, Finding]:
    compared = RawComparison()
    compared.compare(0, published, [raw])
    faces, people = compared.findings()
    return faces, people


def grey(frame: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.transform(frame, COLOURS["grey"]), np.uint8)


def test_a_copy_is_not_said_to_have_other_colours() -> None:
    faces, people = beside(demo()[0], demo()[0])
    assert faces.frames == people.frames == (0,) and "differ from the raw" not in faces.says


def test_noise_of_an_encoder_is_no_change_of_colours() -> None:
    """It leaves some pixels just beyond what counts as unchanged, by which nothing is explained."""
    rng = np.random.default_rng(0)
    raw = cv2.resize(rng.integers(60, 190, (12, 16, 3), np.uint8), (160, 120))
    published = raw + 2  # which a change of colours explains
    published[50:53, 70:73] += 7
    assert "differ from the raw" not in beside(published, raw)[0].says
    published = raw + 12
    assert "differ from the raw" in beside(published, raw)[0].says


def test_pictures_of_few_pixels_are_compared_as_they_are() -> None:
    for side in (1, 2, 4):
        raw = np.full((side, side, 3), 90, np.uint8)
        assert "0% of the picture" in beside(raw + 40, raw)[0].says


def test_somebody_small_and_colourful_in_a_grey_scene_is_not_hidden_by_grey() -> None:
    """Nearly all of the picture is as it was with and without colours."""
    raw = grey(demo()[0])
    for face in find_faces()(ArrayFrame(raw)):
        part = raw[round(face.y0) : round(face.y1), round(face.x0) : round(face.x1)]
        part[:] = (part * [1.0, 0.7, 0.6]).astype(np.uint8)
    assert beside(grey(raw), raw)[0].frames == (0,)


def soft(frame: np.ndarray, number: int) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 3), np.uint8)


@pytest.mark.parametrize("change", [soft, mosaic, noisy, black])
def test_less_contrast_makes_nobody_unhidden(
    change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Levels that are nearer to one another differ less, whatever hides the frame or a face."""
    raw = demo(half=False)[0]
    parts, found = raw.copy(), find_faces()(ArrayFrame(raw))
    compared = RawComparison(people=None)
    monkeypatch.setattr(compared, "_find_faces", lambda _: found)  # those of the one raw frame
    for face in found:
        area = np.s_[round(face.y0) : round(face.y1), round(face.x0) : round(face.x1)]
        parts[area] = change(raw, 0)[area]
    for published in (change(raw, 0), parts):
        compared.compare(0, published, [raw])
        for colours in COLOURS.values():
            for dim in (1.0, 0.55):
                shown = np.asarray(cv2.transform(published, dim * colours), np.uint8)
                compared.compare(0, shown, [raw])
    (faces,) = compared.findings()
    assert faces.says.startswith("Of 30 faces") and not faces.frames


def test_people_who_were_to_be_hidden_and_are_seen_are_said_to_be(tmp_path: Path) -> None:
    """What hides them looks like somebody, too, so that only the raw video tells."""
    video = write(tmp_path / "out.mp4", faceless, count=1)
    raw = write(tmp_path / "raw.mp4", faceless, count=1)
    for hidden in ("people", "faces"):
        config = AttackConfig(frames=1, quick=True, hidden=hidden)  # type: ignore[arg-type]
        (one,) = attack_files([video], config).videos
        says = found(one, "people").says
        assert ("people were to be hidden, and --raw tells" in says) == (hidden == "people")
        (one,) = attack_files([video], config, raw=raw).videos
        says, line = found(one, "people").says, found(one, "raw people").attack
        assert (f"to be hidden, and the line on {line} says" in says) == (hidden == "people")
        assert "--raw" not in says


@pytest.mark.slow
def test_captions_between_the_frames_are_told(tmp_path: Path) -> None:
    """They hold what is said, and begin once somebody speaks."""
    caption = bytes.fromhex("b50031474139340341fffc9420ff")  # CEA-608, as ATSC A/53 wraps it
    unit = b"\0\0\0\1\x06\x04" + bytes([len(caption)]) + caption + b"\x80"
    for path, prefix in ((tmp_path / "captions.ts", unit), (tmp_path / "none.ts", b"")):
        with av.open(str(path), "w", format="mpegts") as out:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
            packets = []
            for number in range(3):
                picture = av.VideoFrame.from_ndarray(demo()[number], format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, 25)
                packets += stream.encode(picture)
            for number, packet in enumerate([*packets, *stream.encode(None)]):
                marked = av.Packet((prefix if number == 2 else b"") + bytes(packet))
                marked.pts, marked.dts, marked.time_base = packet.pts, packet.dts, packet.time_base
                marked.stream, marked.is_keyframe = stream, packet.is_keyframe
                out.mux(marked)
        tags = found(attacked(path, count=1), "tags")
        assert tags.level == ("recovered" if prefix else "nothing"), tags.says
        assert ("captions in its frames" in tags.says) == bool(prefix)


def test_videos_in_folders_below_are_attacked_beside_their_own_raw_ones(tmp_path: Path) -> None:
    raw = write(tmp_path / "whole.mp4", count=4)
    for folder, change in (("a", black), ("b/c", lambda frame, number: frame)):
        (tmp_path / "published" / folder).mkdir(parents=True)
        write(tmp_path / "published" / folder / "clip_anonymized.mp4", change, count=4)
        (tmp_path / "raw" / folder).mkdir(parents=True)
        (tmp_path / "raw" / folder / "clip.mp4").write_bytes(raw.read_bytes())
    config, published = AttackConfig(frames=1, quick=True), tmp_path / "published"
    report = attack_files([published], config, raw=tmp_path / "raw")
    assert [one.path.parent.name for one in report.videos] == ["a", "c"]
    assert [found(one, "raw").level for one in report.videos] == ["nothing", "recovered"]
    assert report.exit_code == 4


def fps(source: Path, out: Path, rate: int) -> Path:
    words = ["ffmpeg", "-v", "error", "-i", source, "-an", "-vf", f"fps={rate}", "-crf", "12", out]
    subprocess.run(words, check=True)
    return out


@pytest.mark.slow
def test_raw_frames_are_those_of_the_same_time(raw: Path, tmp_path: Path) -> None:
    """Another frame rate gives other frame numbers; nothing in these files is hidden."""
    for rate in (10, 50):
        copy = fps(raw, tmp_path / f"{rate}.mp4", rate)
        left = found(attacked(copy, raw=raw), "raw")
        assert (
            left.level == "recovered" and "Of 2 faces in 2 raw frames 0 were changed" in left.says
        )


@pytest.mark.slow
def test_a_raw_video_of_another_length_is_said_or_refused(raw: Path, tmp_path: Path) -> None:
    short = attacked(write(tmp_path / "short.mp4", black, count=10), raw=raw)
    assert "the raw video goes on for 0.6 s" in found(short, "raw").says
    long = write(tmp_path / "long.mp4", black, count=2 * COUNT)
    (video,) = attack_files([long], AttackConfig(frames=FEW, quick=True), raw=raw).videos
    assert video.error is None and "ends at" in str(video.without_raw)


@pytest.mark.slow
def test_another_raw_video_than_the_receipt_names_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside it all would look changed; without a receipt it is said how little is alike."""
    raw = write(tmp_path / "raw.mp4", count=FEW, half=False)
    out, page = tmp_path / "out.mp4", str(tmp_path / "page.html")
    words = ["anonymize", str(raw), "-o", str(out), "--method", "blacken", "--regions", "faces"]
    assert main([*words, "-q"]) == 0
    scene = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    scene = cv2.resize(scene, (640, 480))
    other = write(tmp_path / "other.mp4", lambda *_: scene, count=FEW)
    attack = ["attack", str(out), "--quick", "--frames", "2", "-o", page, "--overwrite", "--raw"]
    assert main([*attack, str(raw)]) == 0
    capsys.readouterr()
    assert main([*attack, str(other)]) == 1
    said = "".join(capsys.readouterr())
    assert "other.mp4 is not the video that out.mp4 was made from" in " ".join(said.split())
    (tmp_path / "out.mp4.receipt.json").unlink()
    unlike = found(attacked(out, raw=other), "raw").says
    assert re.search(r" \d% of the picture is as it was; make sure", unlike)
    alike = found(attacked(out, raw=raw), "raw").says
    assert re.search(r" [6-9]\d% of the picture is as it was\.", alike)


@pytest.mark.slow
def test_a_person_of_whom_the_detector_is_unsure_is_compared_where_nobody_is_sure(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a close-up; where somebody is sure, an unsure find beside is none."""
    published = write(tmp_path / "clip.mp4", count=2)
    boxes = np.array([[10.0, 10.0, 200.0, 300.0], [300.0, 10.0, 500.0, 300.0]])
    for scores, count in (([0.3, 0.25], 2), ([0.6, 0.3], 1)):
        given = boxes, np.array(scores)
        monkeypatch.setattr(SsdPeople, "__call__", lambda self, *_, given=given, **__: given)
        people = found(attacked(published, raw=raw), "raw people")
        assert people.says.startswith(f"Of {2 * count} people in 2 raw frames 0 were changed")


@pytest.mark.parametrize("times", [1, 4])
def test_a_face_is_seen_in_the_raw_frame_however_small_the_published_one_is(times: int) -> None:
    raw = demo()[0]
    size = raw.shape[1] // times, raw.shape[0] // times
    compared = RawComparison(people=None)
    compared.compare(0, cv2.resize(raw, size, interpolation=cv2.INTER_AREA), [raw])
    (faces,) = compared.findings()
    assert faces.level == "recovered" and "in 1 raw frames 0 were changed" in faces.says


@pytest.mark.parametrize("others", [[], [[5.0, 5.0, 100.0, 150.0]]], ids=["alone", "beside"])
def test_who_is_under_a_pixel_of_the_published_frame_is_not_said_to_be_changed(
    monkeypatch: pytest.MonkeyPatch, others: list[list[float]]
) -> None:
    raw = demo()[0]
    published = cv2.resize(black(raw, 0), (16, 12), interpolation=cv2.INTER_AREA)
    small = [[150.0, 5.0, 165.0, 50.0], [-45.0, 5.0, -3.0, 50.0]]  # .75 pixels wide; outside
    boxes = np.array([*small, *others]), np.full(2 + len(others), 0.6)
    monkeypatch.setattr(SsdPeople, "__call__", lambda self, *_, **__: boxes)
    compared = RawComparison(people="recovered")
    for number in range(2):
        compared.compare(number, published, [raw])
    people = next(one for one in compared.findings() if one.attack == "raw people")
    assert people.level == "nothing"
    if others:
        assert people.says.startswith("Of 2 people in 2 raw frames 2 were changed, and 100% of")
        assert "; 4 more are under a pixel of the published frame, and were not" in people.says
    else:
        assert people.says.startswith("The 4 people in raw frames are under a pixel of the publis")
        assert "changed" not in people.says


def test_a_sure_person_of_another_frame_takes_back_no_unsure_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One hidden person seen surely once says nothing of who is unchanged in all other frames."""
    raw = demo()[0]
    published = raw.copy()
    published[:, 150:] = 0
    hidden, unchanged = [155.0, 5.0, 250.0, 150.0], [5.0, 5.0, 100.0, 150.0]
    compared = RawComparison(people="recovered")
    for number in range(4):
        given = (hidden, 0.55) if number == 1 else (unchanged, 0.45)
        boxes = np.array([given[0]]), np.array([given[1]])
        monkeypatch.setattr(SsdPeople, "__call__", lambda self, *_, boxes=boxes, **__: boxes)
        compared.compare(number, published, [raw])
    people = next(one for one in compared.findings() if one.attack == "raw people")
    assert people.level == "recovered" and people.frames == (0, 2, 3), people.says


def say_it_is_drawn(path: Path) -> None:
    """Write a receipt beside a file, as anybody can."""
    method = {"name": "mannequin", "arguments": {}}
    receipt = {"method": method, "output": {"sha256": file_digest(path)}}
    path.with_name(path.name + ".receipt.json").write_text(json.dumps(receipt))


def test_a_forged_receipt_takes_back_no_face_that_is_seen(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(raw.read_bytes())
    say_it_is_drawn(path)
    assert main(["attack", str(path), "--frames", "1", "--quick"]) == 4
    assert "says that they are drawn heads, which nobody checked" in capsys.readouterr().out
    faces = found(attacked(path, raw=raw), "faces")
    assert faces.level == "recovered" and "does not bear it out" in faces.says


def moved(frame: np.ndarray, number: int) -> np.ndarray:
    """With everybody elsewhere, and the scene behind them much the same."""
    return np.roll(frame[:, ::-1], (60, 150), (0, 1))


def redrawn(frame: np.ndarray, number: int) -> np.ndarray:
    """With a face that was not in the raw video, and nothing that was."""
    return moved(frame, number) // 2 + 100


@pytest.mark.slow
def test_a_receipt_that_says_drawn_is_believed_where_all_of_the_raw_video_was_changed(
    raw: Path, tmp_path: Path
) -> None:
    for change, level in ((moved, "recovered"), (redrawn, "left")):
        path = write(tmp_path / f"{change.__name__}.mp4", change, count=FEW, half=False)
        assert found(attacked(path, raw=raw), "faces").level == "recovered"  # without a receipt
        say_it_is_drawn(path)
        video = attacked(path, raw=raw)
        assert found(video, "faces").level == level
        assert found(video, "raw").level == found(video, "raw people").level == "nothing"
    assert found(attacked(path), "faces").level == "recovered"  # without the raw video


def test_where_nobody_of_the_raw_video_was_compared_a_receipt_is_not_borne_out() -> None:
    compared = RawComparison(people=None)
    compared.compare(0, np.full((60, 80, 3), 200, np.uint8), [np.zeros((60, 80, 3), np.uint8)])
    assert not compared.nothing_unchanged


def test_a_receipt_of_another_file_or_method_says_not_that_it_is_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / "out.mp4", count=1)
    receipt = path.with_name("out.mp4.receipt.json")

    def said(name: str, arguments: dict[str, object], digest: str) -> bool:
        method = {"name": name, "arguments": arguments}
        receipt.write_text(json.dumps({"method": method, "output": {"sha256": digest}}))
        return said_to_be_drawn(path)

    mine = file_digest(path)
    assert said("mannequin", {"ground": "floor", "gait_jitter": 0}, mine)
    assert said("silhouette", {}, mine)
    assert not said("mannequin", {"ground": "scene"}, mine)
    assert not said("blacken", {}, mine)
    assert not said("mannequin", {"ground": "floor"}, file_digest(receipt))
    assert not said("of nobody", {}, mine)


def test_no_network_is_built_by_what_a_receipt_says(tmp_path: Path) -> None:
    """It could be of any size, or made of a file of this machine."""
    path = write(tmp_path / "out.mp4", count=1)
    receipt = path.with_name("out.mp4.receipt.json")
    for name, method in METHODS.items():
        if method.regions_only:
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(METHODS, name, type(name, (method,), {"__init__": refuse}))
            said = {"name": name, "arguments": {"width": 10**6, "weights": "/etc/passwd"}}
            text = json.dumps({"method": said, "output": {"sha256": file_digest(path)}})
            receipt.write_text(text)
            assert not said_to_be_drawn(path)
    assert main(["attack", str(path), "--frames", "1", "--quick"]) == 4


def refuse(*_: object, **__: object) -> None:
    raise RuntimeError("it was built")


def test_a_receipt_that_cannot_be_read_to_its_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"published")
    receipt = tmp_path / "out.mp4.receipt.json"
    os.mkfifo(receipt)
    assert not said_to_be_drawn(path) and find_receipt(path).level == "left"
    receipt.unlink()
    say_it_is_drawn(path)
    assert said_to_be_drawn(path)
    with receipt.open("a") as file:
        file.truncate(file_facts.MOST_RECEIPT_BYTES + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_text", refuse)
        assert not said_to_be_drawn(path)


def test_a_file_whose_receipt_would_have_too_long_a_name_is_read_for_its_tags(
    tmp_path: Path,
) -> None:
    path = tmp_path / f"{'a' * 246}.mp4"
    words = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=gray:size=64x48:d=0.2"]
    subprocess.run([*words, "-metadata", "title=Jane", path], check=True)
    assert main(["attack", str(path), "--frames", "1", "--quick"]) == 4


def test_a_file_is_read_for_its_digest_once_while_it_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, raw, read = tmp_path / "out.mp4", tmp_path / "raw.mp4", list[str]()

    def reading(one: Path) -> str:
        read.append(one.name)
        return file_digest(one)

    monkeypatch.setattr("masquerade.video.probe.video_digest", reading)
    path.write_bytes(b"published")
    raw.write_bytes(b"raw")
    receipt = {"output": {"sha256": file_digest(path)}, "source": {"sha256": file_digest(raw)}}
    path.with_name("out.mp4.receipt.json").write_text(json.dumps(receipt))
    for _ in range(2):
        file_facts.check_source(path, raw)
        assert file_facts.is_made_from(path, raw)
    assert read == ["out.mp4", "raw.mp4"]
    raw.write_bytes(b"another")
    assert not file_facts.is_made_from(path, raw)
    path.write_bytes(b"replaced")
    file_facts.check_source(path, raw)  # by no receipt of this file
    assert read == ["out.mp4", "raw.mp4", "raw.mp4", "out.mp4"]


@pytest.mark.slow
def test_drawn_figures_pass_the_check_of_their_output(tmp_path: Path) -> None:
    path = DATA / "uti" / "kick" / "set2_42_18_2.mp4"
    if not path.exists():
        pytest.skip("the clips are not here")
    out = tmp_path / "out.mp4"
    words = ["anonymize", str(path), "-o", str(out), "--level", "figure", "--verify", "-q"]
    assert main([*words, "--preview", "0.4"]) == 0
    faces = found(attacked(out, raw=path, count=6), "faces")
    assert faces.level == "left" and "drawn heads by the receipt" in faces.says


@pytest.mark.slow
def test_somebody_who_is_unchanged_now_and_then_has_gaps(raw: Path, tmp_path: Path) -> None:
    def lapses(frame: np.ndarray, number: int) -> np.ndarray:
        return frame if number in (3, 4) else black(frame, number)

    published = write(tmp_path / "published.mp4", lapses, count=8)
    (video,) = attack_files([published], AttackConfig(quick=True), raw=raw).videos
    (gap,) = found(video, "raw").gaps
    assert str(gap) == "followed from frame 0 to 7: hidden in 6 of 8, unchanged in 3 to 4"
    report = AttackReport(videos=(video,), arguments={"raw": "clip.mp4", "frames": 60}, versions={})
    shared = render_attack_page(report, pictures=False)
    assert str(gap) in shared and "unchanged face" in shared and "score" in shared
    assert "data:" not in shared and "<img" not in shared  # no frame of any video
    assert "data:image" in render_attack_page(report)
    tried, _, not_tried = shared.rpartition("<td>not tried</td>")
    assert "<td>raw people</td>" in tried and "undo, noise, " in not_tried  # left out by quick
    says = found(video, "raw").says
    assert "apart" not in says  # every frame was looked at
    assert "2 frames (3 to 4), at most 2 of those looked at in a row" in says
    assert "1 of 1 faces followed over frames have gaps" in says


def test_the_command_says_it_by_its_exit_code_and_writes_a_private_page(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden, page = write(tmp_path / "black.mp4", black), tmp_path / "page.html"
    words = ["attack", str(hidden), "--frames", "1", "--quick"]
    assert main([*words, "-o", str(page)]) == 0
    assert "recovered nothing; others may" in capsys.readouterr().out
    assert main([*words, "-o", str(page)]) == 2  # it is there
    assert main(["attack", str(raw), *words[2:], "-o", str(page), "--overwrite"]) == 4
    assert "recovered Faces are seen" in re.sub(r"\s+", " ", capsys.readouterr().out)
    text = page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "data:image/jpeg;base64," in text and "http" not in text
    assert "Something was recovered from 1 of 1 file<" in text


def test_one_bad_file_of_a_folder_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "black.mp4", black, count=5)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "notes.txt").write_text("not looked at")
    words = ["attack", str(tmp_path), "--json", "--quick", "--frames", "2"]
    assert main(words) == 1
    said = capsys.readouterr()
    report = json.loads(said.out)
    videos = report["videos"]
    assert [Path(one["path"]).name for one in videos] == ["bad.mp4", "black.mp4"]
    assert videos[0]["error"] and videos[1]["error"] is None and not videos[1]["recovered"]
    assert report["exit_code"] == 1 and report["not_attacked"] == [str(tmp_path / "bad.mp4")]
    assert "bad.mp4 could not be attacked:" in said.err
    assert report["passed_over"] == [str(tmp_path / "notes.txt")]
    assert f"no videos by their names: {tmp_path / 'notes.txt'}\n" in said.err


def test_json_is_plain_whatever_a_terminal_can_show(tmp_path: Path) -> None:
    path = tmp_path / "é.mp4"
    path.write_bytes(b"no video")
    words = [sys.executable, "-m", "masquerade", "attack", path, "--json", "--quick"]
    run = subprocess.run(
        words, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert run.returncode == 1
    assert json.loads(run.stdout)["not_attacked"] == [str(path)]


def test_a_frame_of_two_rows_is_made_small() -> None:
    (small,), ratio = shrink([np.zeros((2, 8192, 3), np.uint8)])
    assert small.shape == (1, 1280, 3) and ratio == 1280 / 8192


def test_a_very_wide_or_high_proof_is_shown() -> None:
    for shape in ((1, 280, 3), (280, 1, 3)):
        assert embedded(np.zeros(shape, np.uint8), width=140).startswith("data:image/jpeg")
        assert embedded(np.zeros((1, 2000, 3), np.uint8)).startswith("data:image/jpeg")


def test_what_is_recovered_hides_no_file_that_was_not_attacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "plain.mp4", count=3)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    page = tmp_path / "page.html"
    assert main(["attack", str(tmp_path), "--quick", "--frames", "1", "-o", str(page), "-q"]) == 4
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    said = capsys.readouterr()
    assert "bad.mp4 could not be attacked:" in said.err and "something was recovered" in said.out
    text = page.read_text()
    assert text.index("1 of 2 files could not be attacked") < text.index("<h2>")


@pytest.mark.parametrize(("level", "code"), [("recovered", 4), ("nothing", 2)])
def test_a_page_that_cannot_be_written_takes_nothing_back(
    level: Level,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "page.html"

    def attack(paths: list[Path], *_: object, **__: object) -> AttackReport:
        page.write_text("another one")  # which appears during the work
        seen = Finding(attack="faces", level=level, says="Faces.", work="1 frame")
        video = VideoAttack(path=paths[0], frames=1, findings=(seen,))
        return AttackReport(videos=(video,), arguments={}, versions={})

    monkeypatch.setattr("masquerade.attack.attack_files", attack)
    assert main(["attack", "safe.mp4", "-o", str(page)]) == code
    said = capsys.readouterr()
    assert "Faces." in said.out and "page.html" not in said.out
    assert "page.html exists already; choose another -o" in said.err
    assert page.read_text() == "another one"
    assert main(["attack", "safe.mp4", "-o", str(page), "--overwrite"]) == (
        code if code == 4 else 0
    )
    assert "page.html shows the frames; guard it." in capsys.readouterr().out


def test_what_makes_no_sense_is_refused_before_any_work(raw: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, why in (
        (["/nowhere.mp4"], "does not exist"),
        ([str(empty)], "no video or image"),
        ([str(raw), "--raw", str(empty)], "holds no video called clip"),
        ([str(raw), "--raw", "/nowhere"], "does not exist"),
        ([str(raw), "-o", str(tmp_path / "page.txt")], "ends? in .html"),
    ):
        with pytest.raises(UsageError, match=why):
            from masquerade.cli.attack import main as verb

            verb(words)


def test_stacking_and_filters_restore_what_they_claim() -> None:
    rng = np.random.default_rng(0)
    plain = cv2.GaussianBlur(rng.integers(0, 255, (96, 96, 3)).astype(np.uint8), (0, 0), 4)
    plain = cv2.normalize(plain, None, 0, 255, cv2.NORM_MINMAX)

    def error(picture: np.ndarray) -> float:
        return float(np.abs(picture.astype(float) - plain).mean())

    noise = [noisy(plain, number) for number in range(17)]
    assert error(stack_in_place(noise, 8)) < 0.5 * error(noise[8])
    assert error(stack_along_flow([plain] * 5, 2)) < 1
    blurred = cv2.GaussianBlur(plain, (0, 0), 4)
    assert error(deblur(4.0)([blurred], 0)) < 0.6 * error(blurred)
    blocks = cv2.resize(cv2.resize(plain, (12, 12)), (96, 96), interpolation=cv2.INTER_NEAREST)
    assert np.abs(np.diff(smooth(8.0)([blocks], 0).astype(int), axis=1)).max() < 40
    for restore in UNDO.values():
        out = restore([plain] * 3, 1)
        assert out.shape == plain.shape and out.dtype == np.uint8


@pytest.mark.slow
def test_large_frames_are_undone_small_and_faces_seen_before_are_not_new() -> None:
    frame = cv2.resize(next(iter(frames())), (1600, 1200), interpolation=cv2.INTER_CUBIC)
    detection = PublishedDetection(finders=Finders(kinds=("face",)))
    for number in range(2):
        detection.detect(number, [frame] * 3, 1)
    faces, undone, *_ = detection.findings()
    assert faces.level == "recovered" and faces.frames == (0, 1)
    assert undone.level == "nothing" and not undone.proofs


def test_frame_numbers_are_said_in_words() -> None:
    assert spans([3, 9, 7, 8, 3]) == "3, 7 to 9"
    assert spans(range(0, 60, 2)).endswith("and 18 more")


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    paths = [Path(one) for one in ("/p/a/x.mp4", "/p/b/x.mp4", "/q/b/x.mp4", "/p/y.mp4")]
    assert list(unique_names(paths).values()) == ["y.mp4", "a/x.mp4", "p/b/x.mp4", "q/b/x.mp4"]
    assert unique_names([Path("x.mp4"), Path("b/x.mp4")])[Path("x.mp4")] == "x.mp4"
    videos = tuple(VideoAttack(path=path, error="it is black") for path in paths)
    page = render_attack_page(AttackReport(videos=videos, arguments={}, versions={}))
    assert "<h2>a/x.mp4</h2>" in page and "a/x.mp4, p/b/x.mp4, q/b/x.mp4, y.mp4" in page


def test_a_page_of_a_file_that_was_attacked_in_part_says_so() -> None:
    """It said that nothing could be attacked, above the attacks that were done."""
    nothing = Finding(attack="faces", level="nothing", says="No face is seen.", work="8 frames")
    video = VideoAttack(path=Path("x.mp4"), findings=(nothing,), error="it ends in frame 8")
    page = render_attack_page(AttackReport(videos=(video,), arguments={}, versions={}))
    assert "Nothing could be attacked" not in page and "These attacks recovered nothing" in page
    assert "or not reached, as a file could not be attacked to its end</td>" in page
    page = render_attack_page(
        AttackReport(videos=(replace(video, findings=()),), arguments={}, versions={})
    )
    assert "Nothing could be attacked" in page
    whole = replace(video, error=None)
    page = render_attack_page(AttackReport(videos=(whole,), arguments={}, versions={}))
    assert "not reached" not in page


def test_a_page_of_attacks_that_recovered_nothing_says_what_it_shows() -> None:
    """It said at once that nothing and that something was recovered."""
    report = AttackReport(videos=(VideoAttack(path=Path("x.mp4")),), arguments={}, versions={})
    page = render_attack_page(report)
    assert "These attacks recovered nothing" in page and "what was recovered" not in page
    assert "This page shows frames of your videos: guard it" in page


def test_a_receipt_of_a_live_run_names_no_source_and_says_what_was_to_be_hidden(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"recorded")
    output = FileFacts(
        name=out.name,
        sha256=file_digest(out),
        bytes=out.stat().st_size,
        container="mp4",
        codec="h264",
        width=64,
        height=48,
        seconds=1.0,
        frames=9,
    )
    receipt = LiveReceipt(
        source="camera",
        destination="file",
        output=output,
        method={"name": "mannequin", "arguments": {}},
        regions=(RegionRecord(name="people", arguments={}, model_sha256=None),),
        settings={},
        seconds=1.0,
        **dict.fromkeys(("pictures", "dropped", "late", "refused", "shown", "hidden_whole"), 0),
        **dict.fromkeys(("empty", "reconnections", "sent_late", "unsent"), 0),
        latency_median=None,
        latency_95=None,
        max_latency=1.0,
    )
    out.with_name("out.mp4.receipt.json").write_text(receipt.to_json())
    finding = find_receipt(out)
    assert finding.level == "nothing" and "of a live run" in finding.says
    assert "person" in meant_to_hide(out, "auto") and said_to_be_drawn(out)
    named = json.loads(receipt.to_json()) | {"source": "holiday.mp4"}  # no live run wrote that
    out.with_name("out.mp4.receipt.json").write_text(json.dumps(named))
    assert find_receipt(out).level == "left"


def test_a_public_receipt_is_not_said_to_name_the_source(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    words = ["anonymize", str(clip), "-o", str(out), "--method", "blacken", "--regions", "frame"]
    for more, level, says in (
        ([], "left", "names the source"),
        (["--public-receipt", "-y"], "nothing", "does not name the source"),
    ):
        assert main([*words, "--preview", "0.1", "-q", *more]) == 0
        finding = find_receipt(out)
        assert finding.level == level and says in finding.says
    out.with_name("out.mp4.receipt.json").write_text("{}")
    assert find_receipt(out).level == "left"  # nobody knows what is in it


def test_who_was_left_visible_on_purpose_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    receipt = tmp_path / "out.mp4.receipt.json"
    for visible, told in (({"0": 45, "3": 2}, True), ({}, False), ([1], False)):
        receipt.write_text(json.dumps({"left_visible": visible}))
        assert ("2 of the people were left visible" in find_receipt(out).says) is told


def test_anonymize_can_attack_its_own_output_and_deletes_what_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write(tmp_path / "clip.mp4", count=FEW), tmp_path / "out.mp4"
    words = ["anonymize", str(source), "-o", str(out), "--regions", "faces", "--verify", "-q"]
    assert main([*words, "--method", "blur", "--preset", "weak"]) == 4
    error = capsys.readouterr().err
    assert "did not pass --verify, and was deleted: Faces are seen in 2 of 2 frames" in error
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert main([*words, "--method", "blacken"]) == 0 and out.exists()


@pytest.mark.parametrize("own", [False, True])
def test_a_check_of_an_own_output_is_asked_for_and_not_guessed_from_the_detectors(
    tmp_path: Path, own: bool
) -> None:
    path = write(tmp_path / "black.mp4", black, count=1)
    config, finders = AttackConfig(quick=True), Finders(kinds=("face", "text"))
    video = attack_file(path, config, None, finders=finders, own_output=own)
    assert video.error is None
    assert ("text" in {one.attack for one in video.findings}) is not own


@pytest.mark.slow
def test_outputs_of_several_processes_are_attacked_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write(folder / name, count=1)
    words = ["anonymize", str(folder), "-o", str(out), "--regions", "faces", "--verify", "-q"]
    assert main([*words, "--workers", "2", "--method", "blur", "--preset", "weak"]) == 4
    assert capsys.readouterr().err.count("did not pass --verify, and was deleted") == 2
    assert not list(out.iterdir())


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["", "dry"])
def test_what_an_attack_on_the_output_cannot_check_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    source = write(tmp_path / "clip.mp4", count=3)
    door = tmp_path / "door.png"
    with av.open(str(source)) as video:
        next(video.decode(video=0)).to_image().save(door)
    words = ["anonymize", str(source), "-o", str(tmp_path / "no.mp4"), "--verify", *dry]
    for wrong in (
        ["--regions", "text"],
        ["--regions", "parts:torso,eyes"],
        ["--regions", "faces", "--keep-visible", "0"],
        ["--regions", "faces", "--shadow"],
        ["--regions", "faces", "--region", str(door)],
        ["--regions", "faces", "--min-size", "20"],
        ["--regions", "faces", "--max-size", "200"],
    ):
        assert main([*words, *wrong]) == 2 and "--verify" in capsys.readouterr().err
    for right in ("parts:torso,head", "text+parts:face", "faces+parts:torso"):
        assert main([*words[:5], "--dry-run", "--regions", right]) == 0


def test_an_output_whose_heads_alone_are_hidden_is_attacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write(tmp_path / "clip.mp4", count=1), tmp_path / "out.mp4"
    words = ["anonymize", str(source), "-o", str(out), "--regions", "parts:head", "--verify", "-q"]
    assert main([*words, "--method", "blacken"]) == 0 and out.exists()
    assert main([*words, "--method", "blur", "--preset", "weak", "-y"]) == 4
    assert "did not pass --verify" in capsys.readouterr().err


@pytest.mark.slow
def test_an_output_with_an_unchanged_person_does_not_pass_where_people_are_hidden(
    tmp_path: Path,
) -> None:
    source, output = write(tmp_path / "clip.mp4", faceless, count=3), tmp_path / "part.mp4"
    output.write_bytes(source.read_bytes())
    check_own_output(output, source, "out.mp4")
    with pytest.raises(OutputError, match=r"unchanged people are in 3 frames.* a lower --thr"):
        check_own_output(output, source, "out.mp4", people=True)
    words = ["anonymize", str(source), "-o", str(tmp_path / "out.mp4"), "--verify", "-q"]
    assert main([*words, "--regions", "people"]) == 0
