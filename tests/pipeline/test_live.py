"""Live video: no frame is shown that is not hidden in time, whatever is slow, lost or wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_command import (
    HIDDEN,
    SLOWLY,
    free_port,
    live,
    needs_ffmpeg,
    receipt_of,
    wait_for,
    wait_for_listener,
)

from masquerade.anonymizer import Anonymizer
from masquerade.cli import main
from masquerade.errors import MasqueradeError, OutputError, UsageError, VideoError
from masquerade.methods import build
from masquerade.pipeline import live as module
from masquerade.pipeline import live_run
from masquerade.pipeline.config import Pipeline, PipelineConfig
from masquerade.pipeline.live import LiveCounts, LiveFrame, LiveJudge, LiveRun
from masquerade.pipeline.live_config import LiveConfig
from masquerade.pipeline.live_run import build_live_pipeline
from masquerade.regions.boxes import Box
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.region import Region
from masquerade.storage import file_digest
from masquerade.video.addresses import Address, parse_address
from masquerade.video.live_decoding import TICKS, LiveDecoder, arrival_tick
from masquerade.video.live_source import LiveSource
from masquerade.video.probe import VideoInfo
from masquerade.video.read import Reader

SIZE = 64, 48
INFO = VideoInfo(path=Path("camera"), kind="video", container="", width=64, height=48)
FACE = Region(boxes=(Box(16, 12, 48, 36, 1.0, 1),))


class Picture:
    """A textured frame that arrived some time ago."""

    width, height = SIZE
    time_base = Fraction(1, 25)
    duration = 1

    def __init__(self, index: int) -> None:
        self.index = self.pts = index
        self.time = index / 25
        self.age = 0.0
        self.pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)

    def rgb(self, size: tuple[int, int] | None = None) -> Any:
        return self.pixels


def run_of(
    finds: Callable[[Iterable[Any]], Iterator[Region]],
    *,
    method: Anonymizer | None = None,
    **settings: Any,
) -> LiveRun:
    config = PipelineConfig(**{"regions": "faces", "shape": "box", "mask_scale": 1.0, **settings})
    pipeline = Pipeline(method or build("blacken"), config, finds)
    return LiveRun(pipeline, info=INFO, max_latency=0.5, age=lambda frame: frame.age)  # type: ignore[attr-defined]


def always(region: Region) -> Callable[[Iterable[Any]], Iterator[Region]]:
    return lambda frames: (region for _ in frames)


def test_each_frame_comes_out_before_the_next_one_is_read() -> None:
    read: list[int] = []

    def frames() -> Iterator[Picture]:
        for index in range(4):
            read.append(index)
            yield Picture(index)

    for shown in run_of(always(FACE))(frames()):  # type: ignore[arg-type]
        assert read[-1] == shown.frame.index
        assert (shown.pixels[12:36, 16:48] == 0).all()
        assert np.array_equal(shown.pixels[:12], shown.frame.pixels[:12])  # type: ignore[attr-defined]
    assert read == [0, 1, 2, 3]


def test_a_detector_that_stalls_shows_nothing_and_never_a_raw_frame() -> None:
    stalled = {3, 4, 7}

    def slow(frames: Iterable[Any]) -> Iterator[Region]:
        for frame in frames:
            frame.age = 0.6 if frame.index in stalled else 0.1
            yield FACE

    run, shown = run_of(slow), []
    for one in run(Picture(i) for i in range(10)):  # type: ignore[arg-type]
        one.frame.age = 0.7 if one.frame.index == 9 else one.frame.age  # type: ignore[attr-defined]
        run.sent(one)
        shown.append(one)
    assert {one.frame.index for one in shown} == set(range(10)) - stalled
    assert all((one.pixels[12:36, 16:48] == 0).all() for one in shown)
    assert (run.counts.shown, run.counts.late) == (7, 3)
    assert run.counts.latency(0.5) == 0.1 and run.counts.latency(1) == 0.7
    assert run.counts.sent_late == 1  # it took long to be encoded and sent


@pytest.mark.slow
def test_while_a_detector_sleeps_nothing_is_shown_and_no_face_at_any_time(
    clip: Path,
    tmp_path: Path,
    feed: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    """By the clock, from a pipe to a file, with the network that finds faces.

    The detector sleeps once something was shown, however late a busy machine comes to that.
    """
    real, sent, slept = CenterFace.__call__, LiveRun.sent, [False]
    were_shown: list[LiveFrame] = []

    def slow(self: CenterFace, picture: Any) -> list[Box]:
        if len(were_shown) > 1 and not slept[0]:
            slept[0] = True
            time.sleep(2.5)
        return real(self, picture)

    def counted(self: LiveRun, one: LiveFrame, *, taken: bool = True) -> None:
        were_shown.append(one)
        sent(self, one, taken=taken)

    monkeypatch.setattr(CenterFace, "__call__", slow)
    monkeypatch.setattr(LiveRun, "sent", counted)
    out = tmp_path / "out.mp4"
    words = [str(feed(clip)), "-o", str(out), "--method", "blacken", "--regions", "faces"]
    report = tmp_path / "receipt.json"
    words += ["--max-latency", "1.5", "--duration", "5", "--stall", "2", "--report", str(report)]
    assert main(["live", *words]) == 0
    receipt, said = json.loads(report.read_text()), capsys.readouterr().err
    assert said.index("has been worked on for 2 s") < said.index("it goes on, after a standstill")
    assert any("nothing was shown for" in one for one in receipt["warnings"])
    assert receipt["late"] >= 1 and receipt["shown"] > 1
    assert receipt["pictures"] == receipt["shown"] + receipt["dropped"] + receipt["late"]
    monkeypatch.undo()
    find = CenterFace(threshold=0.5)
    with Reader(out) as reader:
        frames = [frame for frame in reader if hasattr(frame, "rgb")]
        assert not any(find(frame) for frame in frames)
    times = [frame.time for frame in frames]
    assert max(b - a for a, b in pairwise(times)) > 1.5


def test_where_nobody_is_found_everything_is_hidden_unless_it_is_allowed() -> None:
    run = run_of(always(Region()))
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert not shown.pixels.any()
    assert (run.counts.hidden_whole, run.counts.empty) == (1, 0)
    run = run_of(always(Region()), allow_empty=True)
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert np.array_equal(shown.pixels, Picture(0).pixels)
    assert (run.counts.hidden_whole, run.counts.empty) == (0, 1)


def strengths(most: int) -> Any:
    """Those of a weak match in a corner of the picture."""
    found = np.zeros(SIZE[::-1], np.uint8)
    found[:6, :6] = most
    return found


NEARLY_NOTHING = [
    Region(strength=strengths(12)),
    Region(strength=np.full(SIZE[::-1], 200, np.uint8)),  # as of --no-calibrated
    Region(boxes=(Box(100, 10, 140, 40, 1.0, 1),)),
    Region(boxes=(Box(4, 4, 30, 30, 1.0, 1, label="part"),), mask=strengths(0)),
]
KINDS = ["weak", "half", "beside the picture", "no outline"]


@pytest.mark.parametrize("region", NEARLY_NOTHING, ids=KINDS)
def test_where_nearly_nothing_would_be_hidden_everything_is_unless_it_is_allowed(
    region: Region,
) -> None:
    run = run_of(always(region), shape="silhouette")
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert not shown.pixels.any()
    assert (run.counts.hidden_whole, run.counts.empty) == (1, 0)
    run = run_of(always(region), shape="silhouette", allow_empty=True)
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert shown.pixels.any()
    assert (run.counts.hidden_whole, run.counts.empty) == (0, 1)


TEXT = Box(2, 2, 30, 10, 1.0, 3, label="text")
HAND = Box(2, 2, 30, 20, 1.0, 4, label="hand")
OTHERS = [
    ("faces+text", Region(boxes=(TEXT,))),
    ("people+text", Region(boxes=(TEXT,), mask=strengths(0))),
    ("people+hands", Region(boxes=(HAND,), mask=strengths(255))),
    ("faces+hands", Region(boxes=(replace(HAND, label="part"),), mask=strengths(255))),
    ("faces+templates", Region(strength=strengths(255))),
]


@pytest.mark.parametrize(("regions", "region"), OTHERS, ids=[regions for regions, _ in OTHERS])
def test_a_sign_or_a_hand_does_not_show_a_scene_in_which_nobody_was_found(
    regions: str, region: Region
) -> None:
    """The detector of people may have missed one, as where nothing else is in view."""
    shape = "silhouette" if region.mask is not None else "box"
    run = run_of(always(region), regions=regions, shape=shape)
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert not shown.pixels.any()
    assert (run.counts.hidden_whole, run.counts.empty) == (1, 0)
    run = run_of(always(region), regions=regions.partition("+")[2], shape=shape)
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert shown.pixels.any() and not run.counts.hidden_whole


@pytest.mark.parametrize(
    ("regions", "region"),
    [
        ("faces+text", Region(boxes=(TEXT, *FACE.boxes))),
        ("people+text", Region(boxes=(TEXT,), mask=strengths(255))),  # what moves
        ("people+hands", Region(boxes=(replace(HAND, label="person"),), mask=strengths(255))),
    ],
    ids=["a face", "what moves", "a person"],
)
def test_who_is_found_beside_a_sign_or_a_hand_is_hidden_alone(regions: str, region: Region) -> None:
    shape = "silhouette" if region.mask is not None else "box"
    run = run_of(always(region), regions=regions, shape=shape)
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert shown.pixels.any() and not run.counts.hidden_whole


def test_a_sure_match_is_hidden_where_it_is() -> None:
    run = run_of(always(Region(strength=strengths(250))), regions="templates")
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert shown.pixels[:6, :6].max() < 6
    assert np.array_equal(shown.pixels[6:], Picture(0).pixels[6:])
    assert (run.counts.hidden_whole, run.counts.empty) == (0, 0)


def test_a_frame_into_whose_mask_nothing_was_drawn_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever was found: what is drawn decides."""
    monkeypatch.setattr("masquerade.pipeline.stream.rasterize", lambda *_, **__: strengths(0))
    monkeypatch.setattr(LiveJudge, "refuses", lambda *_: False)
    monkeypatch.setattr(module, "MOST_REFUSED", 5)
    run = run_of(always(FACE))
    assert not list(run(Picture(i) for i in range(4)))  # type: ignore[arg-type]
    assert (run.counts.refused, run.counts.shown, run.counts.empty) == (4, 0, 0)
    with pytest.raises(OutputError, match="5 frames in a row"):
        list(run(Picture(i) for i in range(9)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mannequin", "skeleton"])
def test_a_scene_that_is_kept_is_hidden_where_nobody_is_found(name: str) -> None:
    run = run_of(always(Region()), method=build(name, ground="scene"))
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert not shown.pixels.any()
    assert (run.counts.hidden_whole, run.counts.empty) == (1, 0)


def test_a_drawn_floor_on_which_nobody_is_found_is_no_empty_frame() -> None:
    run = run_of(always(Region()), method=build("mannequin"))
    (shown,) = run([Picture(0)])  # type: ignore[list-item]
    assert not np.array_equal(shown.pixels, Picture(0).pixels)
    assert (run.counts.hidden_whole, run.counts.empty) == (0, 0)


class Sometimes(Anonymizer):
    """A method that forgets to hide every third frame."""

    card = build("blacken").card

    def init_state(self, *, seed: int | None = None) -> int:
        return 0

    def on_pixels(self, pixels: Any, *, mask: Any = None, state: Any = None) -> Any:
        hidden = state % 3 == 2
        return (pixels.copy() if hidden else np.zeros_like(pixels)), state + 1


def test_a_frame_that_a_method_did_not_hide_is_not_shown() -> None:
    run = run_of(always(FACE), method=Sometimes())
    shown = list(run(Picture(i) for i in range(9)))  # type: ignore[arg-type]
    assert [one.frame.index for one in shown] == [0, 1, 3, 4, 6, 7]
    assert run.counts.refused == 3


def test_a_method_that_hides_nothing_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REFUSED", 5)
    run = run_of(always(FACE), method=Nothing())
    with pytest.raises(OutputError, match="5 frames in a row"):
        list(run(Picture(i) for i in range(9)))  # type: ignore[arg-type]
    assert run.counts.shown == 0


@pytest.mark.parametrize(("side", "most"), [(6, 4), (8, 0), (10, 0), (14, 0), (20, 0)])
def test_a_small_face_that_is_not_hidden_is_not_shown_for_long(
    side: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little is seen of the smallest to judge single frames; once refused they stay so."""
    monkeypatch.setattr(module, "MOST_REFUSED", 20)
    small = Region(boxes=(Box(20, 12, 20 + side, 12 + side, 1.0, 0),))
    run = run_of(always(small), method=Nothing())
    with pytest.raises(OutputError, match="20 frames in a row"):
        list(run(Picture(i) for i in range(90)))  # type: ignore[arg-type]
    assert run.counts.shown <= most


@pytest.mark.parametrize("tracks", [(1, 2), (None, None)], ids=["tracked", "--no-track"])
def test_a_large_face_that_is_hidden_does_not_excuse_a_small_one_that_is_not(
    tracks: tuple[int | None, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REFUSED", 20)
    large, small = Box(6, 10, 38, 38, 1.0, tracks[0]), Box(50, 20, 57, 27, 1.0, tracks[1])
    run = run_of(always(Region(boxes=(small, large))), method=OnlyLarge())
    with pytest.raises(OutputError, match="20 frames in a row"):
        list(run(Picture(i) for i in range(90)))  # type: ignore[arg-type]
    assert run.counts.shown <= 4


class OnlyLarge(Sometimes):
    """A method that hides the face on the left alone."""

    def on_pixels(self, pixels: Any, *, mask: Any = None, state: Any = None) -> Any:
        out = pixels.copy()
        out[:, :, :44] = 0
        return out, state


def test_who_is_hidden_again_is_shown_again() -> None:
    small = Region(boxes=(Box(20, 12, 30, 22, 1.0, 0),))
    run = run_of(always(small), method=Late())
    shown = [one.frame.index for one in run(Picture(i) for i in range(12))]  # type: ignore[arg-type]
    assert shown[0] > 3 and shown == list(range(shown[0], 12))


class Late(Sometimes):
    """A method that hides from the fifth frame on."""

    def on_pixels(self, pixels: Any, *, mask: Any = None, state: Any = None) -> Any:
        return (pixels.copy() if state < 4 else np.zeros_like(pixels)), state + 1


class Nothing(Sometimes):
    """A method that gives back what it was given."""

    def on_pixels(self, pixels: Any, *, mask: Any = None, state: Any = None) -> Any:
        return pixels.copy(), state


def test_methods_that_need_more_frames_than_the_latency_holds_are_refused() -> None:
    method = build("blacken")
    method.window = 16  # type: ignore[misc]
    with pytest.raises(UsageError, match=r"--max-latency 1\.3"):
        run_of(always(FACE), method=method)


def test_latencies_are_counted_in_bounded_memory() -> None:
    counts = LiveCounts()
    assert counts.latency(0.5) is None
    for ms in range(1, 101):
        counts.add_latency(ms / 1000)
    counts.add_latency(10_000)
    assert (counts.latency(0.5), counts.latency(0.95)) == (0.051, 0.096)
    assert counts.latencies.nbytes < 2**20


@pytest.mark.parametrize("regions", ["faces", "people", "parts:head", "hands", "text"])
def test_region_sources_read_one_frame_ahead_at_most(regions: str) -> None:
    pipeline = build_live_pipeline(build("blacken"), LiveConfig(regions=regions))
    assert pipeline.regions.look_ahead <= 1


def test_a_method_in_training_goes_on_with_it() -> None:
    method = build("blacken").train()
    pipeline = build_live_pipeline(method, LiveConfig(regions="frame"))
    assert method.training and not pipeline.anonymizer.training


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"every": 3}, "--every needs later frames"),
        ({"detector": "motion"}, "need later frames"),
        ({"regions": "boxes:faces.json"}, "leave boxes:FILE out"),
        ({"regions": "people+boxes:faces.json"}, "leave boxes:FILE out"),
        ({"bitrate": "source"}, "no bitrate"),
        ({"max_latency": 61}, "--max-latency must be above 0 and at most 60"),
    ],
)
def test_settings_of_files_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_live_pipeline(build("blacken"), LiveConfig(**settings))


def test_a_pipe_becomes_a_file_in_which_nobody_is_seen(
    clip: Path, tmp_path: Path, feed: Callable[[Path], Path], capsys: Any
) -> None:
    out = tmp_path / "out.mp4"
    words = [str(feed(clip)), "-o", str(out), *HIDDEN, *SLOWLY]
    assert main(["live", *words, "--duration", "1", "--json"]) == 0
    receipt = json.loads(capsys.readouterr().out)
    with Reader(out) as reader:
        frames = [frame for frame in reader if hasattr(frame, "rgb")]
        assert (reader.info.width, reader.info.height) == (640, 480)
        assert all(int(frame.rgb().max()) < 8 for frame in frames)
        seconds = frames[-1].time - frames[0].time
    assert len(frames) == receipt["shown"] > 1 and 0 < seconds <= 1
    assert receipt["pictures"] == receipt["shown"] + receipt["dropped"] + receipt["late"]
    assert (receipt["source"], receipt["destination"]) == ("pipe", "file")
    assert [record["name"] for record in receipt["regions"]] == ["frame"]
    assert receipt["output"]["sha256"] == file_digest(out)
    assert receipt["output"]["frames"] == receipt["shown"]
    saved = (tmp_path / "out.mp4.receipt.json").read_text()
    assert json.loads(saved) == receipt and "camera" not in saved


@pytest.mark.parametrize("beside", [True, False], ids=["receipt of a recording", "another file"])
def test_the_receipt_of_a_recording_that_is_replaced_goes_with_it(
    beside: bool, clip: Path, tmp_path: Path, feed: Callable[[Path], Path]
) -> None:
    out, old = tmp_path / "out.mp4", tmp_path / "out.mp4.receipt.json"
    out.touch()
    keys = ("receipt", "source", "output", "method", "settings")
    old.write_text(json.dumps(dict.fromkeys(keys) if beside else {"mine": 1}))
    words = [str(feed(clip)), "-o", str(out), *HIDDEN, *SLOWLY, "--duration", "0.5"]
    words += ["-y", "--report", str(tmp_path / "new.json")]
    assert main(["live", *words]) == 0
    assert out.stat().st_size and (tmp_path / "new.json").exists()
    assert old.exists() is not beside


def test_warnings_are_printed_also_where_nothing_else_is(
    clip: Path,
    tmp_path: Path,
    feed: Callable[[Path], Path],
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = ["7 frames were taken by nobody."]
    monkeypatch.setattr(live_run.LiveSession, "_warnings", lambda *_: gone)
    words = [str(feed(clip)), "-o", str(tmp_path / "out.mp4"), *HIDDEN, *SLOWLY]
    assert main(["live", *words, "--duration", "0.4", "-q"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"warning: {gone[0]}\n")


def test_receipts_keep_only_the_name_of_the_weights_of_flow(
    clip: Path, tmp_path: Path, feed: Callable[[Path], Path]
) -> None:
    method = ["--method", "selective", "--flow-weights", str(tmp_path / "raft.pth")]
    words = [*method, "--regions", "frame", "-o", str(tmp_path / "out.mp4")]
    for command in (
        ["live", str(feed(clip)), "--duration", "0.5", *SLOWLY],
        ["anonymize", str(clip), "--overwrite", "--preview", "0.2"],
    ):
        assert main([*command, *words]) == 0
        receipt = receipt_of(tmp_path / "out.mp4")
        arguments = receipt["method"]["arguments"]
        assert arguments["flow_weights"] == "raft.pth" and str(tmp_path) not in str(receipt)


def test_it_is_said_while_it_lasts_that_every_frame_is_late(
    clip: Path, tmp_path: Path, feed: Callable[[Path], Path], capsys: Any
) -> None:
    words = [str(feed(clip)), "-o", str(tmp_path / "out.mp4"), *HIDDEN, "--max-latency", "1e-9"]
    assert main(["live", *words, "--stall", "1", "--duration", "3.5"]) == 1
    said = capsys.readouterr().err
    assert said.count("nothing has been shown for 1 s: ") == 1
    assert said.index("were dropped; choose a smaller --scale") < said.index("so there is no file")


@needs_ffmpeg
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["lost", "silent"])
def test_the_time_is_over_without_another_picture(how: signal.Signals, tmp_path: Path) -> None:
    """The source is not waited for, nor opened again, for longer than the run was to take."""
    out, address = tmp_path / "out.mp4", f"tcp://127.0.0.1:{free_port()}"
    words = ["ffmpeg", "-v", "error", "-re", *ONE_KEY_FRAME, "-g", "10", "-f", "mpegts"]
    with subprocess.Popen([*words, f"{address}?listen=1"]) as player:
        wait_for_listener(int(address.rpartition(":")[2]), player)
        words = ["-o", out, *HIDDEN, *SLOWLY, "--duration", 2, "--reconnect", 20]
        with live(address, *words) as run:
            wait_for(run, "the first frame is shown")
            player.send_signal(how)
            _, errors = run.communicate(timeout=60)
        player.kill()
    assert run.returncode == 0, errors
    receipt = receipt_of(out)
    assert receipt["seconds"] < 6 and not receipt["warnings"]


def test_a_source_that_was_stopped_before_it_is_opened_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # which says nothing
        source = LiveSource(parse_address(f"tcp://127.0.0.1:{server.getsockname()[1]}"), stall=20)
        source.stop()
        began = time.monotonic()
        with pytest.raises(VideoError), source:
            pass
        assert time.monotonic() - began < 15


ONE_KEY_FRAME = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=4", "-c:v", "libx264", "-g", "250"]


@needs_ffmpeg
@pytest.mark.parametrize(
    "form", [["mpegts"], ["matroska"], ["mp4", "-movflags", "frag_keyframe+empty_moov"]]
)
def test_no_picture_is_lost_that_came_while_a_pipe_was_opened(
    form: list[str], tmp_path: Path, capsys: Any
) -> None:
    """All depend on the one key frame, with which the stream begins."""
    pipe, out = tmp_path / "camera", tmp_path / "out.mp4"
    os.mkfifo(pipe)
    words = ["ffmpeg", "-v", "error", "-y", *ONE_KEY_FRAME, "-f", *form, str(pipe)]
    with subprocess.Popen(words):
        words = [str(pipe), "-o", str(out), *HIDDEN, *SLOWLY]
        assert main(["live", *words, "--json"]) == 0
    receipt = json.loads(capsys.readouterr().out)
    assert receipt["pictures"] == 100
    assert receipt["pictures"] == receipt["shown"] + receipt["dropped"] + receipt["late"]


@needs_ffmpeg
def test_live_pictures_are_those_that_players_show(tmp_path: Path) -> None:
    """What an edit list cuts is passed over, and a coded border at the left is cut."""
    whole, stream = tmp_path / "whole.mp4", tmp_path / "stream.mp4"
    words = ["ffmpeg", "-v", "error", "-y"]
    pattern = ["-f", "lavfi", "-i", "testsrc2=s=64x48:d=2:r=25", "-pix_fmt", "yuv420p", "-bf", "0"]
    border = ["-bsf:v", "h264_metadata=crop_left=8", "-movflags", "frag_keyframe+delay_moov"]
    subprocess.run([*words, *pattern, whole], check=True)
    subprocess.run([*words, "-ss", "0.48", "-i", whole, "-c", "copy", *border, stream], check=True)
    address, descriptor = Address(str(stream), "pipe"), os.open(stream, os.O_RDONLY)
    with LiveDecoder(address, descriptor=descriptor, size="", rate=0, seconds=10) as decoder:
        assert decoder.start().width == 56
        last = 0
        with suppress(EOFError):
            while True:
                last = decoder.take().index
        decoder._thread.join()  # or the pipe was left to it
    assert last == 37


@needs_ffmpeg
def test_the_first_picture_given_is_the_newest_of_those_that_came_during_the_opening(
    tmp_path: Path,
) -> None:
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    words = ["ffmpeg", "-v", "error", "-y", "-re", *ONE_KEY_FRAME, "-f", "mpegts", str(pipe)]
    with subprocess.Popen(words) as player:
        address, descriptor = parse_address(str(pipe)), os.open(pipe, os.O_RDONLY)
        with LiveDecoder(address, descriptor=descriptor, size="", rate=0, seconds=10) as decoder:
            decoder.start()
            # FFmpeg looks at a second of a stream before it says what it is
            assert decoder.take().index > 5
            player.kill()
            with pytest.raises(EOFError):
                while True:
                    decoder.take()


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("form", ["mpegts", "h264"])
def test_a_machine_that_decodes_too_slowly_leaves_out_what_waits(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From key frame to key frame; what it gives is as old as it says, or less without times."""
    pipe, whole = tmp_path / "camera", LiveDecoder._pictures
    os.mkfifo(pipe)
    decoded: list[Any] = []

    def slowly(self: LiveDecoder, packet: Any, path: Path) -> Any:
        decoded.append(packet)
        time.sleep(0.08)  # of pictures that come each .04 s
        return whole(self, packet, path)

    monkeypatch.setattr(LiveDecoder, "_pictures", slowly)
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=12", "-c:v", "libx264", "-g", "25"]
    words = ["ffmpeg", "-v", "error", "-y", "-re", *source, "-f", form, str(pipe)]
    ages, last = [], 0
    with subprocess.Popen(words):
        address, descriptor = parse_address(str(pipe)), os.open(pipe, os.O_RDONLY)
        with LiveDecoder(address, descriptor=descriptor, size="", rate=0, seconds=10) as decoder:
            decoder.start()
            with pytest.raises(EOFError):
                while True:
                    taken = decoder.take()
                    ages.append((arrival_tick() - taken.arrived) / TICKS)
                    last = taken.index
            assert decoder._thread is not None
            decoder._thread.join(10)  # it holds the pipe until it has ended
    assert last > 250 and len(decoded) < 250  # of 300
    assert max(ages) > 0.9 and min(ages[len(ages) // 2 :]) < 0.7


@needs_ffmpeg
def test_who_joins_a_stream_waits_for_its_next_key_frame(tmp_path: Path, capsys: Any) -> None:
    """Until then nothing can be decoded, here for longer than a hundred frames."""
    pipe, out, whole = (tmp_path / name for name in ("camera", "out.mp4", "whole.ts"))
    os.mkfifo(pipe)
    words = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=20"]
    words += ["-c:v", "libx264", "-g", "250", "-sc_threshold", "0", str(whole)]
    subprocess.run(words, check=True)
    # packets of MPEG-TS have 188 bytes: these are without the first key frame
    words = ["dd", "status=none", "conv=notrunc", "bs=188", "skip=50", f"if={whole}", f"of={pipe}"]
    with subprocess.Popen(words):
        words = [str(pipe), "-o", str(out), *HIDDEN, *SLOWLY]
        assert main(["live", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 250


@needs_ffmpeg
def test_a_pipe_without_a_video_is_closed(tmp_path: Path, capsys: Any) -> None:
    """Its writer ends then, as it does where any reader goes away."""
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)
    words = ["ffmpeg", "-v", "quiet", "-y", "-f", "lavfi", "-i", "sine", "-f", "mpegts", str(pipe)]
    with subprocess.Popen(words):
        words = [str(pipe), "-o", str(tmp_path / "out.mp4"), "--method", "blacken"]
        assert main(["live", *words, "--regions", "frame"]) == 1
    assert "holds no video, only audio" in capsys.readouterr().err


def test_a_pipe_to_which_nobody_writes_is_given_up(tmp_path: Path, capsys: Any) -> None:
    pipe, out = tmp_path / "camera", tmp_path / "out.mp4"
    os.mkfifo(pipe)
    words = [str(pipe), "-o", str(out), "--method", "blacken", "--regions", "frame"]
    assert main(["live", *words, "--stall", "0.2"]) == 1
    assert "start the program that writes to it" in capsys.readouterr().err


def test_ctrl_c_ends_the_wait_for_a_pipe_to_which_nobody_writes(tmp_path: Path) -> None:
    pipe, out = tmp_path / "camera", tmp_path / "out.mp4"
    os.mkfifo(pipe)
    with live(pipe, "-o", out, *HIDDEN, "--stall", 300) as run:
        until = time.monotonic() + 30
        while str(pipe) not in map(os.path.realpath, Path(f"/proc/{run.pid}/fd").iterdir()):
            assert time.monotonic() < until and run.poll() is None
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and "interrupted" in said and not out.exists()


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_why_nothing_was_shown_is_said(clip: Path, tmp_path: Path, suffix: str) -> None:
    stream = tmp_path / "clip.ts"
    convert = ["ffmpeg", "-v", "error", "-i", str(clip), "-an", "-c", "copy", str(stream)]
    subprocess.run(convert, check=True)
    out = tmp_path / f"out{suffix}"
    words = ["live", "-", "-o", str(out), *HIDDEN, "--max-latency", "0.0001"]
    run = subprocess.run(
        [sys.executable, "-m", "masquerade", *words],
        input=stream.read_bytes(),
        stderr=subprocess.PIPE,
    )
    assert run.returncode == 1
    said = run.stderr.decode()
    assert "no frame was shown, so there is no file: " in said
    assert "frames came later than 0.0001 s" in said


def test_a_recording_on_standard_input_is_refused(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It is there at once, so that nearly all of its frames would be left out."""
    with clip.open("rb") as played:
        monkeypatch.setattr(sys, "stdin", played)
        assert main(["live", "-", "-o", str(tmp_path / "out.mp4"), *HIDDEN]) == 2
    assert "`masquerade anonymize`" in capsys.readouterr().err and not list(tmp_path.iterdir())


@needs_ffmpeg
def test_a_recording_on_a_web_server_is_refused(clip: Path, tmp_path: Path, capsys: Any) -> None:
    """It would be played again and again."""
    (tmp_path / "www").mkdir()
    convert = ["ffmpeg", "-v", "error", "-i", str(clip), "-an", "-c", "copy"]
    subprocess.run([*convert, str(tmp_path / "www" / "a.mkv")], check=True)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        name = f"http://127.0.0.1:{server.server_port}"
        code = main(["live", f"{name}/a.mkv", "-o", str(tmp_path / "out.mp4"), *HIDDEN])
        server.shutdown()
        thread.join()
    assert code == 2 and not (tmp_path / "out.mp4").exists()
    assert f"{name} is a recording, of which live video" in capsys.readouterr().err


def test_what_is_no_video_on_standard_input_is_said_with_what_to_send(tmp_path: Path) -> None:
    words = ["live", "-", "-o", str(tmp_path / "out.mp4"), *HIDDEN]
    run = subprocess.run(
        [sys.executable, "-m", "masquerade", *words], input=b"hello", stderr=subprocess.PIPE
    )
    said = run.stderr.decode()
    assert run.returncode == 1
    assert "standard input is no video that can be read" in said and "send MPEG-TS" in said


def test_ctrl_c_ends_it_and_keeps_what_was_shown(
    clip: Path, tmp_path: Path, feed: Callable[[Path], Path]
) -> None:
    out = tmp_path / "out.mkv"
    words = ["live", feed(clip), "-o", out, "--method", "blacken", "--regions", "frame"]
    run = subprocess.Popen(
        [sys.executable, "-m", "masquerade", *words], stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None and "Ctrl-C ends it" in run.stderr.readline()
    time.sleep(0.5)  # for some frames more
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    with Reader(out) as reader:
        assert sum(hasattr(item, "rgb") for item in reader)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rtsp://admin:password@10.0.0.9/stream?token=9", "rtsp://10.0.0.9"),
        ("rtsp://admin:pa[ss@10.0.0.9/stream", "rtsp://"),
        ("rtsp://admin:se/cret@cam/stream", "rtsp://"),
        ("rtsp://admin:1/2?3#4@cam:8554/stream?token=9", "rtsp://"),
        ("rtsp://admin:a@b@[::1]:8554/stream", "rtsp://[::1]:8554"),
        ("rtsp://cam:554/user=admin&password=Secret1&channel=1", "rtsp://cam:554"),
        ("rtsp://cam/user=admin&password=a@Secret1&channel=1", "rtsp://"),
        ("rtsp://cam;pwd=Secret1", "rtsp://"),
        ("srt://cam:9000/key", "srt://cam:9000"),
        ("rtsp://[", "rtsp://"),
        ("rtsp://cam:99999999/stream", "rtsp://"),
    ],
)
def test_no_part_of_a_password_is_in_an_addresss_name(text: str, name: str) -> None:
    assert parse_address(text).name == name


def test_a_source_that_cannot_be_opened_is_one_sentence_without_its_password(
    tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out.mp4"
    address = "rtsp://nurse:secret@127.0.0.1:1/user=nurse&password=secret?key=secret"
    words = [address, "-o", str(out), "--method", "blacken", "--regions", "frame"]
    assert main(["live", *words, "--reconnect", "0"]) == 1
    said = capsys.readouterr().err
    assert "rtsp://127.0.0.1:1 cannot be opened" in said
    assert "secret" not in said and "nurse" not in said
    assert not list(tmp_path.iterdir())


def test_the_key_of_a_stream_is_in_no_message(tmp_path: Path, capsys: Any) -> None:
    """RTMP has it at the end of the path."""
    words = ["rtmp://127.0.0.1:1/live/secret", "-o", str(tmp_path / "out.mp4"), *HIDDEN]
    assert main(["live", *words, "--reconnect", "0"]) == 1
    assert "masquerade: rtmp://127.0.0.1:1 cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "name a source and a destination"),
        (["/dev/video99", "-o", "out.mp4"], 1, "cannot be opened"),
        (["rtsp://127.0.0.1/a", "-o", "out.xyz"], 2, "No video is written as"),
        (["rtsp://127.0.0.1/a", "-o", "out.gif"], 2, "end in .mp4, .mkv, .mov or .webm."),
        (["rtsp://127.0.0.1/a", "-o", "out.avi"], 2, "out.avi would count frames"),
        (["rtsp://127.0.0.1/a", "-o", "out.jpg"], 2, "out.jpg would be a picture"),
        (["rtsp://127.0.0.1/a", "-o", "safe/"], 2, "name a file in it: safe/safe.mp4"),
        (["rtsp://127.0.0.1/a", "-o", "."], 2, "names a folder"),
        (["-", "-o", "out.mp4", "--report", "s3://bucket/r.json"], 2, "--report is a file of this"),
        (["here.mp4", "-o", "out.mp4"], 2, "is no camera, network stream or pipe"),
        (["gopher://127.0.0.1/a", "-o", "out.mp4"], 2, "no live video at gopher://"),
        (
            ["rtsp://127.0.0.1/a", "-o", "a.mp4", "--camera-size", "9x9"],
            2,
            "--camera-size is asked",
        ),
        (["rtsp://127.0.0.1/a", "-o", "a.mp4", "--camera-rate", "9"], 2, "--camera-rate is asked"),
        (["rtsp://127.0.0.1/a", "-o", "/dev/video99", "--codec", "h265"], 2, "leave --codec out"),
        (["rtsp://127.0.0.1/a", "-o", "/dev/video99", "--crf", "0"], 2, "leave --crf out"),
        (["rtsp://127.0.0.1/a", "-o", "/dev/video99", "--bitrate", "2M"], 2, "leave --bitrate out"),
        (["-", "-o", "-", "--json"], 2, "--json"),
        (["-", "-o", "out.mp4", "--stall", "1e10"], 2, "--stall must be"),
        (["-", "-o", "out.mp4", "--duration", "1e10"], 2, "--duration must be"),
        (["-", "-o", "out.mp4", "--level", "face", "--method", "blur"], 2, "--level chooses"),
    ],
)
def test_wrong_usage_is_one_sentence(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["live", *words]) == code
    captured = capsys.readouterr().err
    assert said in captured and "Traceback" not in captured
    assert not list(tmp_path.iterdir())


def test_a_receipt_that_is_there_is_refused_before_anything_is_recorded(
    tmp_path: Path, capsys: Any
) -> None:
    report = tmp_path / "receipt.json"
    report.write_text("another run's")
    words = ["rtsp://127.0.0.1:1/ward", "-o", str(tmp_path / "out.mp4"), "--report", str(report)]
    assert main(["live", *words, "--method", "blacken", "--regions", "frame"]) == 2
    assert "receipt.json" in capsys.readouterr().err
    assert report.read_text() == "another run's"


def test_a_receipt_that_cannot_be_written_is_refused_before_the_first_frame(
    clip: Path, tmp_path: Path, feed: Callable[[Path], Path]
) -> None:
    (tmp_path / "full").touch()  # no folder can be made there
    config = LiveConfig(regions="frame", duration=1, report=tmp_path / "full" / "receipt.json")
    source, out = str(feed(clip)), tmp_path / "out.mp4"
    session = live_run.LiveSession(source, str(out), build("blacken"), config)
    shown: list[LiveFrame] = []
    with pytest.raises(MasqueradeError, match="full cannot be written"):
        session.run(lambda frame, *_: shown.append(frame))
    assert not shown and not out.exists()


@pytest.mark.parametrize("options", [[], ["-y"]], ids=["new", "overwrite"])
def test_a_receipt_in_place_of_the_recording_is_refused_before_it(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    words = ["rtsp://127.0.0.1:1/ward", "-o", str(out), "--report", str(tmp_path / "out.mp4")]
    assert main(["live", *words, *options]) == 2
    assert "name another file by --report" in capsys.readouterr().err


def test_a_receipt_that_is_there_is_no_more_overwritten_than_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    receipt = tmp_path / "out.mp4.receipt.json"
    receipt.write_text("another run's")
    assert main(["live", "rtsp://127.0.0.1:1/ward", "-o", str(out)]) == 2
    assert "out.mp4.receipt.json" in capsys.readouterr().err
    assert receipt.read_text() == "another run's"


def test_a_recording_and_its_receipt_appear_together_or_not_at_all(
    clip: Path,
    tmp_path: Path,
    feed: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Else a video would lie beside the receipt of another one."""
    out, receipt = tmp_path / "out.mp4", tmp_path / "out.mp4.receipt.json"

    verify_output = live_run.verify_output

    def verify(*given: Any, **named: Any) -> VideoInfo:
        receipt.write_text("another run's")  # which began meanwhile
        return verify_output(*given, **named)

    monkeypatch.setattr(live_run, "verify_output", verify)
    words = [str(feed(clip)), "-o", str(out), "--method", "blacken", "--regions", "frame"]
    assert main(["live", *words, "--duration", "1"]) != 0
    assert "appeared meanwhile" in capsys.readouterr().err
    assert not out.exists() and receipt.read_text() == "another run's"


def test_a_smaller_picture_is_for_faces_alone() -> None:
    found = build_live_pipeline(build("blacken"), LiveConfig(regions="faces"))
    assert found.config.scale == "640"
    found = build_live_pipeline(build("blacken"), LiveConfig(regions="frame"))
    assert found.config.scale is None


def test_an_error_of_the_detector_leaves_no_file(
    clip: Path, tmp_path: Path, feed: Callable[[Path], Path], monkeypatch: Any, capsys: Any
) -> None:
    def broken(self: Any, frames: Iterable[Any]) -> Iterator[Region]:
        for number, _ in enumerate(frames):
            if number == 3:
                raise MasqueradeError("the detector is out of order.")
            yield Region(full_frame=True)

    monkeypatch.setattr("masquerade.regions.region_sources.WholeFrame.__call__", broken)
    out = tmp_path / "out.mp4"
    words = [str(feed(clip)), "-o", str(out), "--method", "blacken", "--regions", "frame"]
    assert main(["live", *words]) == 1
    assert "out of order" in capsys.readouterr().err
    assert not [one for one in tmp_path.iterdir() if one.name != "camera"]
