"""Live video goes on to a pipe, a server that takes it, and one that was away for a while."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from live_command import (
    HIDDEN,
    SLOWLY,
    free_port,
    live,
    shown_frames,
    wait_for,
    wait_for_handlers,
    wait_for_listener,
)

from masquerade import build
from masquerade.cli import main
from masquerade.errors import MasqueradeError, UsageError
from masquerade.pipeline.live import LiveFrame
from masquerade.pipeline.live_config import LiveConfig
from masquerade.pipeline.live_run import LiveSession
from masquerade.video import addresses, live_output
from masquerade.video.addresses import Address, parse_address
from masquerade.video.color import Color
from masquerade.video.encoding import CODECS, Codec, Encoding
from masquerade.video.probe import VideoInfo
from masquerade.video.read import Reader
from masquerade.video.timestamps import FrameTime

Feed = Callable[[Path], Path]


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_pipe_goes_on_to_a_pipe(name: str, clip: Path, tmp_path: Path, feed: Feed) -> None:
    words = [sys.executable, "-m", "masquerade", "live", "-", "-o", name, *HIDDEN]
    words += [*SLOWLY, "--duration", "1"]
    got, error = tmp_path / "got.ts", subprocess.PIPE
    with (
        feed(clip).open("rb") as source,
        got.open("wb") as target,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=target) as through,
    ):
        assert through.stdin is not None
        run = subprocess.run(words, stdin=source, stdout=through.stdin, stderr=error, text=True)
    assert run.returncode == 0, run.stderr
    assert f"{shown_frames(got)} of " in run.stderr  # what it says is not in the video


def test_ctrl_c_ends_the_wait_for_a_pipe_that_nobody_reads(
    clip: Path, tmp_path: Path, feed: Feed
) -> None:
    pipe = tmp_path / "out"
    os.mkfifo(pipe)
    with live(feed(clip), "-o", pipe, *HIDDEN) as run:
        wait_for_handlers(run)
        time.sleep(3)  # whether it waits for a reader by then or not, it ends in the same way
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and "interrupted" in said, said


def test_a_named_pipe_is_written_once_it_is_read(clip: Path, tmp_path: Path, feed: Feed) -> None:
    pipe, got = tmp_path / "out", tmp_path / "got.ts"
    os.mkfifo(pipe)
    with live(feed(clip), "-o", pipe, *HIDDEN, *SLOWLY, "--duration", 1) as run:
        time.sleep(5)
        with pipe.open("rb") as source:
            got.write_bytes(source.read())
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 0 and f"{shown_frames(got)} of " in said


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_disk_that_fills_is_said_with_the_files_own_name(
    clip: Path, tmp_path: Path, feed: Feed, full_after: Any, name: str
) -> None:
    out = tmp_path / name
    config = LiveConfig(regions="frame", crf=0, duration=10)
    words = [str(feed(clip)), str(out), build("selective"), config]
    with full_after(1_000_000), pytest.raises(MasqueradeError, match=name) as caught:
        LiveSession(*words).run()
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith((".", name))]
    assert "part" not in str(caught.value) and not left


def test_a_report_that_cannot_be_written_is_refused_before_the_first_frame(
    clip: Path, tmp_path: Path, feed: Feed
) -> None:
    """It was found at the end, and what had been sent by then had no receipt."""
    (tmp_path / "full").touch()  # no folder can be made there
    config = LiveConfig(regions="frame", duration=1, report=tmp_path / "full" / "receipt.json")
    address = f"udp://127.0.0.1:{free_port()}"
    session = LiveSession(str(feed(clip)), address, build("blacken"), config)
    shown: list[LiveFrame] = []
    with pytest.raises(MasqueradeError, match="full cannot be written"):
        session.run(lambda frame, *_: shown.append(frame))
    assert not shown


def test_a_pipe_whose_reader_has_gone_ends_the_run(clip: Path, tmp_path: Path, feed: Feed) -> None:
    """What it took until then is in the receipt."""
    report = tmp_path / "receipt.json"
    with live(feed(clip), "-o", "-", *HIDDEN, "--report", report) as run:
        assert run.stdout is not None and run.stderr is not None
        wait_for(run, "the first frame is shown")
        run.stdout.close()
        said = run.stderr.read()
        assert run.wait(timeout=60) == 1
    assert "standard output cannot be written to" in said and "Traceback" not in said
    receipt = json.loads(report.read_text())
    assert receipt["shown"] > 0 and "the destination was gone for good" in receipt["warnings"][0]


def test_of_a_destination_that_took_nothing_there_is_no_receipt(
    clip: Path, tmp_path: Path, feed: Feed
) -> None:
    report = tmp_path / "receipt.json"
    address = f"tcp://127.0.0.1:{free_port()}"
    assert main(["live", str(feed(clip)), "-o", address, *HIDDEN, "--report", str(report)]) == 1
    assert not report.exists()


def test_no_receipt_is_printed_into_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever standard output is called."""
    monkeypatch.setattr(os, "fstat", lambda number: os.stat(tmp_path))
    assert main(["live", "rtsp://127.0.0.1:1/a", "-o", str(tmp_path), *HIDDEN, "--json"]) == 2
    assert "--json would be written into the video" in capsys.readouterr().err


@pytest.mark.slow
def test_it_goes_on_to_an_rtmp_server(clip: Path, tmp_path: Path, feed: Feed) -> None:
    """FFmpeg waits for a sender, as a server that streams on does."""
    got, port = tmp_path / "got.mkv", free_port()
    address = f"rtmp://127.0.0.1:{port}/live/safe"
    words = ["ffmpeg", "-v", "error", "-listen", "1", "-i", address, "-c", "copy", str(got)]
    receiver = subprocess.Popen(words, stderr=subprocess.PIPE)
    try:
        wait_for_listener(port, receiver)
        with live(feed(clip), "-o", address, *HIDDEN, *SLOWLY, "--duration", 3) as run:
            _, errors = run.communicate(timeout=60)
        assert run.returncode == 0, errors
        receiver.wait(timeout=20)
    finally:
        receiver.kill()
        receiver.communicate()
    assert shown_frames(got) > 1


def test_a_destination_that_was_away_is_sent_to_again(
    clip: Path, tmp_path: Path, feed: Feed
) -> None:
    """What comes then begins with a key frame, and is hidden as it was before."""
    again, report = tmp_path / "again.ts", tmp_path / "report.json"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        live(
            *(feed(clip), "-o", f"tcp://127.0.0.1:{port_of(server)}"),
            *(*HIDDEN, "--report", report),
        ) as run,
    ):
        connection, _ = server.accept()
        with connection:
            assert connection.recv(188, socket.MSG_WAITALL)[0] == 0x47  # of MPEG-TS
        connection, _ = server.accept()
        with connection, again.open("wb") as file:
            file.write(connection.recv(50 * 188, socket.MSG_WAITALL))
            run.send_signal(signal.SIGTERM)
            while data := connection.recv(2**16):
                file.write(data)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert shown_frames(again) > 1
    assert errors.index("cannot be written to") < errors.index("the destination is back")
    receipt = json.loads(report.read_text())
    assert 0 < receipt["unsent"] < receipt["shown"]
    assert any("taken by nobody" in one for one in receipt["warnings"])
    assert "127.0.0.1" not in report.read_text()


DEAF = """import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
taken = server.accept()
time.sleep(15)
"""


@pytest.mark.parametrize("scheme", ["tcp", "rtmp", "rtsp"])
def test_a_destination_that_takes_nothing_is_given_up(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server accepts the connection and reads nothing, until it ends by itself."""
    monkeypatch.setattr(live_output, "SECONDS", 1.0)
    info = VideoInfo(path=Path("camera"), kind="video", container="", width=640, height=480)
    words = [sys.executable, "-c", DEAF]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        address = parse_address(f"{scheme}://127.0.0.1:{port}/a|b'c?key=d", output=True)
        began = time.monotonic()
        with pytest.raises(MasqueradeError, match=rf"127.0.0.1:{port}.* cannot be written to"):
            send_noise(address, info)
        assert time.monotonic() - began < 10
        server.kill()


def send_noise(address: Address, info: VideoInfo) -> None:
    """So many bits that all that lies between is full at once."""
    noise = np.random.default_rng(0)
    with live_output.LiveWriter(address, info=info, encoding=Encoding(crf=0)) as writer:
        for index in range(100):
            pixels = noise.integers(0, 256, (480, 640, 3), np.uint8)
            writer.write(pixels, FrameTime(index, 1, Fraction(1, 25)))


@pytest.mark.slow
def test_a_destination_that_stays_away_ends_the_run(clip: Path, feed: Feed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{port_of(server)}"
        with live(feed(clip), "-o", address, *HIDDEN, "--reconnect", 1) as run:
            server.accept()[0].close()
            server.close()
            _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert f"{address} cannot be written to" in errors and "Traceback" not in errors


def test_a_destination_that_is_not_there_ends_the_run_at_once(clip: Path, feed: Feed) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with live(feed(clip), "-o", address, *HIDDEN) as run:
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert f"{address} cannot be written to (connection refused)" in errors


WEBCAM = VideoInfo(
    path=Path("camera"),
    kind="video",
    container="",
    width=64,
    height=48,
    color=Color(primaries=1, transfer=1, matrix=5, full_range=True),
    sample_aspect=Fraction(4, 3),
)


def send_grey(address: Address, *, codec: Codec = "h264") -> None:
    encoding = Encoding(codec=codec, crf=1)
    with live_output.LiveWriter(address, info=WEBCAM, encoding=encoding) as writer:
        for index in range(50):
            writer.write(np.full((48, 64, 3), 200, np.uint8), FrameTime(index, 1, Fraction(1, 25)))


def test_colours_and_the_shape_of_pixels_go_on_as_they_came(tmp_path: Path) -> None:
    got = tmp_path / "got.ts"
    send_grey(Address(str(got), "pipe", output=True))
    with Reader(got) as reader:
        assert reader.info.color == WEBCAM.color
        assert reader.info.sample_aspect == WEBCAM.sample_aspect
        frames = [frame.rgb() for frame in reader if hasattr(frame, "rgb")]
    assert len(frames) == 50
    assert all(
        abs(int(level) - 200) <= 2 for frame in frames for level in (frame.min(), frame.max())
    )


def test_what_is_sent_to_standard_output_is_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small frames would wait in the buffer of Python's own stream, as they do in its default."""
    source, sink = os.pipe()
    with open(source, "rb", 0) as read, open(sink, "w") as standard_output:
        os.set_blocking(source, False)
        monkeypatch.setattr(sys, "stdout", standard_output)
        address, encoding = parse_address("-", output=True), Encoding(threads=1)
        with live_output.LiveWriter(address, info=WEBCAM, encoding=encoding) as writer:
            for index in range(5):
                black = np.zeros((48, 64, 3), np.uint8)
                writer.write(black, FrameTime(index, 1, Fraction(1, 25)))
                assert read.read(1 << 16)


def test_a_pipe_whose_name_holds_a_colon_is_no_protocol(tmp_path: Path) -> None:
    with chdir(tmp_path):
        send_grey(Address("cam:1", "pipe", output=True))
    with Reader(tmp_path / "cam:1") as reader:
        assert reader.info.width == 64


@pytest.mark.parametrize("codec", CODECS)
def test_a_pipe_gets_a_video_that_can_be_read_or_its_codec_is_refused(
    codec: Codec, tmp_path: Path
) -> None:
    """MPEG-TS takes all of them, and carries most as data that nobody knows."""
    got = tmp_path / "got.ts"
    address = Address(str(got), "pipe", output=True)
    try:
        live_output.check_codec(address, codec)
    except UsageError:
        assert codec not in ("h264", "h265")
        return
    send_grey(address, codec=codec)
    with Reader(got) as reader:
        assert sum(hasattr(frame, "rgb") for frame in reader) == 50


@pytest.mark.parametrize(
    ("address", "codec"),
    [
        *(("-", codec) for codec in ("vp9", "av1", "ffv1", "mjpeg", "prores")),
        ("udp://127.0.0.1:1", "av1"),
        ("srt://127.0.0.1:1", "vp9"),
        ("rtsp://127.0.0.1:1/safe", "vp9"),
        ("rtmp://127.0.0.1:1/safe", "ffv1"),
    ],
)
def test_a_codec_that_is_not_carried_is_refused_before_the_source_is_opened(
    address: str, codec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rtsp://127.0.0.1:1/ward", "-o", address, *HIDDEN, "--codec", codec]
    assert main(["live", *words]) == 2
    assert f"cannot be sent {codec}; choose --codec h264 or h265" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["source", "destination"])
def test_srt_is_refused_where_ffmpeg_lacks_it(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in PyAV's wheels: it would end in "protocol not found" once all else is ready."""
    monkeypatch.setattr(addresses, "_has_srt", lambda: False)
    named = {"source": "rtsp://127.0.0.1:1/ward", "destination": "udp://127.0.0.1:1"}
    named[place] = "srt://127.0.0.1:1"
    assert main(["live", named["source"], "-o", named["destination"], *HIDDEN]) == 2
    said = capsys.readouterr().err
    assert "is built without SRT" in said and "srt://" not in said
    with pytest.raises(UsageError, match="no live video at foo://") as caught:
        parse_address("foo://a")
    assert "srt://" not in str(caught.value)


def test_it_is_known_whether_ffmpeg_has_srt(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_there(name: str) -> None:
        raise av.ArgumentError(22, "Invalid argument", name)  # there is no host in it

    def is_missing(name: str) -> None:
        raise av.ProtocolNotFoundError(1, "Protocol not found", name)

    for opened, expected in ((is_there, True), (is_missing, False)):
        monkeypatch.setattr(av, "open", opened)
        assert addresses._has_srt.__wrapped__() is expected


@pytest.mark.parametrize("query", ["listen", "listen=1", "timeout=1&listen=2"])
def test_a_destination_that_would_wait_for_a_program_to_connect_is_refused(
    query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """FFmpeg would wait for it for ever, and no Ctrl-C be heard."""
    address = f"tcp://127.0.0.1:{free_port()}?{query}"
    assert main(["live", "rtsp://127.0.0.1:1/ward", "-o", address, *HIDDEN]) == 2
    assert "let the other program listen" in capsys.readouterr().err


@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "av1"])
def test_no_frame_waits_in_the_encoder(
    codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the receipt's latencies would not be those of what was sent."""
    monkeypatch.setattr(live_output, "_muxer", lambda address: "matroska")
    address = Address(str(tmp_path / "got"), "pipe", output=True)
    with live_output.LiveWriter(
        address, info=WEBCAM, encoding=Encoding(codec=codec, threads=1)
    ) as writer:
        muxed: list[int] = []
        mux = writer._out.mux
        writer._out = SimpleNamespace(
            mux=lambda packets: (muxed.append(len(packets)), mux(packets)), close=writer._out.close
        )
        for index in range(5):
            grey = np.full((48, 64, 3), 40 * index, np.uint8)
            writer.write(grey, FrameTime(index, 1, Fraction(1, 25)))
        assert muxed == [1] * 5


@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "av1"])
def test_who_tunes_in_waits_two_seconds_also_where_few_frames_are_shown(
    codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source has 25 frames a second, and three are shown."""
    monkeypatch.setattr(live_output, "_muxer", lambda address: "matroska")
    got = tmp_path / "got"
    address = Address(str(got), "pipe", output=True)
    encoding = Encoding(codec=codec, threads=1)
    with live_output.LiveWriter(address, info=WEBCAM, encoding=encoding) as writer:
        for index in range(20):
            grey = np.full((48, 64, 3), 10 * index, np.uint8)
            writer.write(grey, FrameTime(index * 8, 1, Fraction(1, 25)))
    with av.open(str(got)) as video:
        keys = [
            float(p.pts * p.time_base) for p in video.demux(video=0) if p.is_keyframe and p.size
        ]
    assert len(keys) == 3 and max(b - a for a, b in pairwise(keys)) < 2.3


def test_a_virtual_camera_which_has_no_tags_gets_what_programs_take_for_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands for it: levels over 16 to 235."""
    monkeypatch.setattr(live_output, "_muxer", lambda address: "rawvideo")
    got = tmp_path / "camera"
    send_grey(Address(str(got), "camera", output=True))
    assert set(got.read_bytes()[: 64 * 48]) == {16 + round(200 * 219 / 255)}


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])
