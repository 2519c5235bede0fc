"""Packets that wait because a machine is too slow are known by the times that they carry."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from masquerade.errors import MasqueradeError, VideoError
from masquerade.video import decoding_child, live_decoding, live_source
from masquerade.video.addresses import parse_address
from masquerade.video.container import printable
from masquerade.video.live_backlog import MAX_BACKLOG, Backlog
from masquerade.video.live_decoding import LiveDecoder, Received
from masquerade.video.live_source import LiveSource
from masquerade.video.messages import receive

RATE = 25
needs_ffmpeg = pytest.mark.skipif(
    not shutil.which("ffmpeg"), reason="Debian's ffmpeg is not installed"
)


def follow(
    decoding: Callable[[int], float],
    *,
    sent: Callable[[int], float],
    count: int = 500,
    opening: float = 0.0,
) -> tuple[list[float], list[float], int]:
    """A reader that decodes each packet for some seconds; gives what is said to wait, what does,
    and after how many packets it is said to grow (`count`: never)."""
    backlog, now, told, true, grew = Backlog(), opening, [], [], count
    backlog.emptied = 0.0  # when the source was opened, which took so long
    for number in range(count):
        waited = sent(number) > now
        now = max(now, sent(number))
        backlog.add(number / RATE, now, waited=waited)
        told.append(backlog.seconds)
        true.append(now - sent(number))
        if backlog.grows(now):
            grew = min(grew, number)
        now += decoding(number)
    return told, true, grew


def in_time(number: int) -> float:
    return number / RATE


def test_a_slow_machine_knows_how_old_its_pictures_are() -> None:
    told, true, grew = follow(lambda _: 0.06, sent=in_time)
    assert told == pytest.approx(true, abs=1e-6) and true[-1] > 9
    assert MAX_BACKLOG < true[grew] < MAX_BACKLOG + 1  # a second after it was too much


def test_what_came_while_the_source_was_opened_is_as_old_as_it_is() -> None:
    """Also where decoding is so slow that it is never caught up with."""
    told, true, grew = follow(lambda _: 0.045, sent=in_time, opening=1.5)
    assert told == pytest.approx(true, abs=1e-6) and true[0] == 1.5 and grew < 500
    told, true, _ = follow(lambda _: 0.01, sent=in_time, opening=1.5)
    assert told == pytest.approx(true, abs=1e-6) and true[-1] < 1e-6  # by then it was waited for


def test_a_pause_that_is_caught_up_leaves_nothing_out() -> None:
    """As where other programs had the processor for two seconds."""
    told, true, grew = follow(lambda number: 2.0 if number == 50 else 0.01, sent=in_time)
    assert grew == 500 and max(told) == pytest.approx(max(true)) and told[-1] == 0


@pytest.mark.parametrize(
    "sent",
    [
        lambda number: 0.0,  # a file that comes through a pipe as fast as it is read
        lambda number: (number // 50 + 1) * 2.0,  # in bursts of two seconds
        lambda number: number / RATE + (3.0 if number > 100 else 0.0),  # the network stood still
        lambda number: number / RATE * 1.001,  # the camera's clock is slow
    ],
    ids=["file", "bursts", "network", "clock"],
)
def test_what_waits_elsewhere_is_no_backlog(sent: Callable[[int], float]) -> None:
    told, _, grew = follow(lambda _: 0.01, sent=sent)
    assert grew == 500 and max(told) < MAX_BACKLOG


def test_a_source_that_counts_time_anew_is_followed() -> None:
    backlog = Backlog()
    for start in (0.0, 5000.0, 3.0):  # forward, and back to the beginning
        for number in range(100):
            backlog.add(start + number / RATE, 100 + number / RATE, waited=False)
            assert backlog.seconds < 1e-6


def test_what_is_forgotten_is_no_backlog() -> None:
    backlog = Backlog()
    backlog.add(0.0, 0.0, waited=True)
    backlog.add(0.04, 8.0, waited=False)
    assert backlog.seconds == pytest.approx(7.96)
    backlog.forget()
    assert backlog.seconds == 0 and not backlog.grows(9.0)
    backlog.add(0.08, 8.04, waited=False)
    assert backlog.seconds == 0


def test_of_packets_without_times_it_is_known_for_how_long_they_waited_at_most() -> None:
    """As raw H.264 has none: it is the time since the reader had read all that came."""
    backlog = Backlog()
    backlog.add(None, 1.0, waited=True)
    assert backlog.seconds == 0
    for read in (1.5, 2.0, 2.5, 3.0, 3.5):
        backlog.add(None, read, waited=False)
        assert backlog.seconds == read - 1.0
        assert backlog.grows(read) == (read == 3.5)  # a second after it was more than one
    backlog.add(None, 4.0, waited=True)
    assert backlog.seconds == 0 and not backlog.grows(4.0)


@pytest.mark.parametrize("sent", [None, 0.0, 5000.0])
def test_what_came_while_a_source_was_opened_waited_since_then_at_most(sent: float | None) -> None:
    backlog = Backlog(emptied=1.0)
    backlog.add(sent, 2.5, waited=False)
    assert backlog.seconds == 1.5


@pytest.mark.parametrize(
    ("wait", "decoding", "keeps_up"),
    [(0.0053, 0.003, True), (0.002, 0.0147, True), (0.0003, 0.05, False)],
    ids=["many pictures a second", "hardly fast enough", "too slow"],
)
def test_a_reader_that_waits_for_a_short_time_each_time_has_read_all(
    wait: float, decoding: float, keeps_up: bool
) -> None:
    decoder = LiveDecoder(PIPE, descriptor=None, size="", rate=0, seconds=1)
    decoder._read_at = now = 100.0
    for _ in range(500):
        now += wait
        decoder._measure(SimpleNamespace(dts=None, time_base=None), now, wait)
        now += decoding
    assert (decoder._backlog.seconds == 0) == keeps_up


PIPE = parse_address("-")


def coded(path: Path, *words: str) -> Path:
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=2", "-c:v", "libx264"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *words, str(path)], check=True)
    return path


@needs_ffmpeg
def test_a_picture_is_as_old_as_its_packet_which_the_decoder_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures with B-frames come in another order than they are shown in."""
    path = coded(tmp_path / "a.mkv", "-bf", "3", "-b_strategy", "0")
    with av.open(str(path)) as video:
        order = [packet.pts for packet in video.demux(video=0) if packet.size]
    made: list[Received] = []
    reads = count()

    def number(self: LiveDecoder, packet: Any, came: float, wait: float) -> None:
        packet.opaque = next(reads)

    def keep(*given: Any) -> Received:
        made.append(Received(*given))
        return made[-1]

    monkeypatch.setattr(LiveDecoder, "_measure", number)
    monkeypatch.setattr(live_decoding, "Received", keep)
    descriptor = os.open(path, os.O_RDONLY)
    with LiveDecoder(PIPE, descriptor=descriptor, size="", rate=0, seconds=10) as decoder:
        decoder.start()
        assert decoder._thread is not None
        decoder._thread.join(60)
    shown, ticks = sorted(order), [one.pts for one in made]
    assert len(made) == 50 and ticks == sorted(set(ticks))
    behind = made[10:]  # by then `number` counts, as of the packets for the first picture none was
    came = sorted(behind, key=lambda one: one.arrived)
    assert [one.arrived for one in behind] != [one.arrived for one in came]
    times = [one.picture.pts for one in came]
    assert times == [time for time in order if time in times] and times != shown[10:]


@needs_ffmpeg
def test_a_pipe_that_does_not_wait_where_it_is_empty_is_read_to_its_end(tmp_path: Path) -> None:
    """As the parent of this process may have made it."""
    path, (source, sink) = coded(tmp_path / "a.ts"), os.pipe()
    os.set_blocking(source, False)
    words = ["ffmpeg", "-v", "error", "-re", "-i", str(path), "-c", "copy", "-f", "mpegts", "-"]
    last = None
    with subprocess.Popen(words, stdout=sink):
        os.close(sink)
        with LiveDecoder(PIPE, descriptor=source, size="", rate=0, seconds=10) as decoder:
            decoder.start()
            with pytest.raises(EOFError):
                while True:
                    last = decoder.take()
            assert decoder._thread is not None
            decoder._thread.join(10)  # it holds the pipe until it has ended
    assert last is not None and last.index == 49


def test_a_source_whose_decoding_process_cannot_be_started_is_lost_as_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tried again, and what was recorded is kept, which other errors delete."""

    def refuse(*_: object) -> None:
        raise MasqueradeError("the process that decodes cannot be started: out of processes.")

    monkeypatch.setattr(live_source, "DecoderSession", refuse)
    with (
        pytest.raises(VideoError, match="cannot be started"),
        LiveSource(parse_address("tcp://127.0.0.1:1")),
    ):
        pass


@needs_ffmpeg
@pytest.mark.parametrize("length", [True, False], ids=["recording", "live"])
def test_a_web_server_that_says_where_its_video_ends_has_a_recording(
    length: bool, tmp_path: Path
) -> None:
    """MP4 in fragments states a duration in either case: that of what came so far."""
    data = coded(tmp_path / "a.mp4", "-movflags", "frag_keyframe+empty_moov").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if length:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = parse_address(f"http://127.0.0.1:{server.server_port}/a.mp4")
        with LiveDecoder(address, descriptor=None, size="", rate=0, seconds=10) as decoder:
            assert (decoder.start().duration is not None) == length
            assert decoder._thread is not None
            decoder._thread.join(10)


@pytest.mark.parametrize("name", ["tcp://127.0.0.1:8940", "rtsp://[::1]:554", "https://camera"])
def test_messages_name_a_sources_scheme_host_and_port(name: str) -> None:
    assert parse_address(f"{name}/path").name == name
    for given in (name, Path(name)):
        assert printable(given) == name
    assert printable("/videos/a.mp4") == "a.mp4"


def test_while_packets_are_left_out_it_is_told_that_they_come() -> None:
    decoder = LiveDecoder(PIPE, descriptor=None, size="", rate=0, seconds=0.2)
    decoder._catching_up = False
    decoder._left_out_since = time.monotonic()
    decoder._left_out = time.monotonic() + 60
    assert decoder.take() is None
    began = decoder._left_out = time.monotonic() - 1  # none comes any more: the source is silent

    def end() -> None:
        with decoder._changed:
            decoder._failure = ""
            decoder._changed.notify()

    threading.Timer(0.5, end).start()
    with pytest.raises(EOFError):
        decoder.take()
    assert time.monotonic() - began > 1.4


@pytest.mark.slow
@needs_ffmpeg
def test_a_slow_machine_waits_for_a_late_key_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, whole = tmp_path / "camera", LiveDecoder._pictures

    def slowly(self: LiveDecoder, packet: Any, path: Path) -> Any:
        time.sleep(0.12)  # of pictures that come each .04 s
        return whole(self, packet, path)

    monkeypatch.setattr(LiveDecoder, "_pictures", slowly)
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=8", "-c:v", "libx264", "-g", "300"]
    os.mkfifo(pipe)
    words = ["ffmpeg", "-v", "error", "-y", "-re", *source, "-f", "mpegts", str(pipe)]
    with subprocess.Popen(words):
        address, descriptor, taken = parse_address(str(pipe)), os.open(pipe, os.O_RDONLY), []
        with LiveDecoder(address, descriptor=descriptor, size="", rate=0, seconds=1) as decoder:
            decoder.start()
            with pytest.raises(EOFError):
                while True:
                    taken.append(decoder.take())
            assert decoder._thread is not None
            decoder._thread.join(10)  # it holds the pipe until it has ended
    assert taken[0] is not None and taken[-1] is None


def test_the_process_that_decodes_passes_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = [None, None, EOFError()]

    class Decoder:
        def __init__(self, address: Any, **_: Any) -> None: ...

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

        def start(self) -> Any:
            return None

        def take(self) -> None:
            if (one := told.pop(0)) is not None:
                raise one

    monkeypatch.setattr(decoding_child, "LiveDecoder", Decoder)
    monkeypatch.setattr(decoding_child, "info_to_plain", lambda info: {})
    for name in ("limit_memory", "memory_limit"):
        monkeypatch.setattr(decoding_child, name, lambda *_: 0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = {"ask": "watch", "address": list(parse_address("rtsp://a/b")), "memory": None}
        decoding_child.Child(theirs)._watch({**request, "size": "", "rate": 0, "seconds": 1})
        heard = [receive(ours)[0] for _ in range(4)]
    assert heard == [{"info": {}}, {"left out": True}, {"left out": True}, {"closed": True}]


def test_a_source_whose_packets_are_left_out_is_not_lost() -> None:
    said: list[str] = []
    answers: Iterator[Any] = iter([{"left out": True}] * 3 + [{"closed": True}])
    source = LiveSource(PIPE, say=said.append)
    source._session = SimpleNamespace(receive=lambda: (next(answers), b""))  # type: ignore[assignment]
    source._to_rgb = object()  # type: ignore[assignment]
    assert list(source._frames()) == []
    assert said == [
        f"{PIPE.name} sends more than this machine decodes; it goes on with the next key frame."
    ]
