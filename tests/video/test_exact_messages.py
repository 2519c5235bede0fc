"""What two processes tell each other of a video arrives as it was, in numbers and in bytes."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from masquerade.errors import VideoError
from masquerade.video import decoding_process, messages
from masquerade.video.color import Color
from masquerade.video.decoding import Decoded, Decoder, Losses
from masquerade.video.decoding_child import Child
from masquerade.video.messages import (
    info_from_plain,
    info_to_plain,
    packet_from_plain,
    packet_to_plain,
    receive,
    send,
    sound_from_plain,
    sound_to_plain,
)
from masquerade.video.probe import StreamInfo, VideoInfo, probe_in_process, tally_frames_in_process
from masquerade.video.shared_picture import (
    SharedPictureReader,
    byte_count,
    chroma_place,
    properties_of,
    put,
)
from masquerade.video.stream_template import SKELETONS, open_skeleton


def passed(message: Any, *parts: Any) -> tuple[Any, bytes]:
    one, other = socket.socketpair()
    with one, other:
        other.settimeout(5)
        send(one, message, *parts)
        found, data = receive(other)
        return found, bytes(data)


def said(raw: bytes) -> Any:
    one, other = socket.socketpair()
    with one, other:
        other.settimeout(5)
        one.sendall(raw)
        one.close()
        return receive(other)


def test_a_message_arrives_as_it_was() -> None:
    message = {"a": [Fraction(-3, 7), None, 1.5, {"/": 1, "b": 2}], "b": {"c": Fraction(2)}}
    wide = np.arange(600, dtype=np.uint16)
    assert passed(message, b"one", wide, b"") == (message, b"one" + wide.tobytes())
    assert passed({}) == ({}, b"")
    with pytest.raises(TypeError):
        passed({"a": object()})


def test_a_message_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    head = struct.Struct("<II")
    assert said(head.pack(2, 3) + b"{}abc") == ({}, bytearray(b"abc"))
    assert said(head.pack(9, 0) + b'{"/":"x"}')[0] == {"/": "x"}, "a tag that is called so"
    for raw in (
        b"", head.pack(2, 0)[:7], head.pack(3, 0) + b"{}", head.pack(2, 1) + b"{}",
        head.pack(2, 0) + b"[]", head.pack(2, 0) + b"{]", head.pack(4, 0) + b"null",
        head.pack(11, 0) + b'{"/":[1,0]}',
    ):  # fmt: skip
        with pytest.raises(ConnectionError):
            said(raw)
    monkeypatch.setattr(messages, "MOST_BYTES", 5)
    assert said(head.pack(2, 3) + b"{}abc")[0] == {}
    with pytest.raises(ConnectionError):
        said(head.pack(2, 4) + b"{}abcd")
    deep = b"[" * 100_000
    monkeypatch.setattr(messages, "MOST_BYTES", 2**30)
    with pytest.raises(ConnectionError):
        said(head.pack(len(deep), 0) + deep)


def test_a_description_arrives_as_it_was() -> None:
    info = VideoInfo(
        path=Path("x.mp4"), kind="video", container="mov", width=3, height=5, rotation=90,
        mirrored=True, sample_aspect=Fraction(4, 3), rate=Fraction(30000, 1001), start=0.25,
        time_base=Fraction(1, 777), duration=None, frames=9, codec="c", pix_fmt="p", bit_depth=10,
        color=Color(1, 2, 3, full_range=True), bitrate=7, interlaced=True, has_alpha=True,
        video_index=1, streams=(StreamInfo(0, "audio", "aac", ("a", "b")),), tags=("t", "u"),
        chapters=2,
    )  # fmt: skip
    plain, _ = passed(info_to_plain(info))
    assert info_from_plain(plain, Path("y.mp4")) == replace(info, path=Path("y.mp4"))
    assert "x.mp4" not in json.dumps(info_to_plain(info), default=str)


def test_a_packet_arrives_as_it_was() -> None:
    packet = av.Packet(b"payload")
    packet.pts, packet.dts, packet.duration, packet.time_base = 5, -3, 7, Fraction(1, 90)
    for name, content in (("new_extradata", b"first!"), ("skip_samples", bytes(range(10)))):
        datum = av.packet.PacketSideData(
            av.packet.packet_sidedata_type_from_literal(name),  # type: ignore[arg-type]
            len(content),
        )
        datum.update(content)
        packet.set_sidedata(datum)
    for key in (True, False):
        packet.is_keyframe = key
        plain, data = passed(*(lambda about, parts: (about, *parts))(*packet_to_plain(packet)))
        again = packet_from_plain(plain, memoryview(data))
        assert (bytes(again), again.pts, again.dts, again.duration) == (b"payload", 5, -3, 7)
        assert (again.time_base, again.is_keyframe) == (Fraction(1, 90), key)
        held = {datum.data_type: bytes(datum) for datum in again.iter_sidedata()}
        assert held == {"new_extradata": b"first!", "skip_samples": bytes(range(10))}


@pytest.mark.parametrize(
    ("kind", "layout", "rows"),
    [("s16", "mono", 1), ("s16", "stereo", 1), ("fltp", "stereo", 2), ("s16p", "7.1", 8),
     ("u8", "5.1", 1), ("dblp", "mono", 1)],
)  # fmt: skip
def test_sound_arrives_as_it_was(kind: str, layout: str, rows: int) -> None:
    channels = av.AudioLayout(layout).nb_channels
    frames = []
    for number, samples in enumerate((100, 37)):
        frame = av.AudioFrame(kind, layout, samples)
        size = samples * frame.format.bytes * (channels // rows)
        for place in range(rows):
            content = (np.arange(size) * 7 + place + number) % 251
            plane = frame.planes[place]
            plane.update(content.astype(np.uint8).tobytes().ljust(plane.buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = 8000 + number, 5, Fraction(1, 9)
        frames.append(frame)
    about, parts = sound_to_plain(frames)
    plain, data = passed({"sound": about}, *parts)
    assert len(data) == 137 * frames[0].format.bytes * channels
    again = sound_from_plain(plain["sound"], memoryview(data))
    for old, new in zip(frames, again, strict=True):
        assert (new.format.name, new.layout.name, new.samples) == (kind, layout, old.samples)
        assert (new.sample_rate, new.pts, new.time_base) == (old.sample_rate, 5, Fraction(1, 9))
        size = old.samples * old.format.bytes * (channels // rows)
        for place in range(rows):
            assert bytes(new.planes[place])[:size] == bytes(old.planes[place])[:size]


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (33, 17), (200, 6), (1, 1)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "rgb24", "gray", "rgba64le", "gbrp"])
def test_a_picture_arrives_as_it_was(name: str, size: tuple[int, int]) -> None:
    picture = av.VideoFrame(*size, name)
    for number, plane in enumerate(picture.planes):
        content = (np.arange(plane.buffer_size) * 31 + number) % 251
        plane.update(content.astype(np.uint8).tobytes())
    picture.colorspace, picture.color_range = 6, 2
    picture.color_primaries, picture.color_trc = 5, 4
    of = properties_of(picture, "topleft")
    assert of == (*size, name, "topleft", False, 6, 2, 5, 4)
    count = byte_count(*size, name)
    assert count >= sum(plane.width for plane in picture.planes)
    memory = memoryview(bytearray(count + 5))
    put(picture, memory)
    assert bytes(memory[count:]) == bytes(5)
    maker = SharedPictureReader()
    for interlaced in (False, True, True):
        again = maker.take(memory, of._replace(interlaced=interlaced))
        assert properties_of(again, "topleft") == of._replace(interlaced=interlaced)
        for old, new in zip(picture.planes, again.planes, strict=True):
            used = old.width * old.height  # at least a byte a sample
            rows = [np.frombuffer(p, np.uint8).reshape(p.height, -1) for p in (old, new)]
            width = min(row.shape[1] for row in rows)
            assert used <= old.buffer_size and width >= old.width
            assert (rows[0][:, :width] == rows[1][:, :width]).all()


@pytest.mark.parametrize("place", ["left", "topleft", "top", "bottomleft", "bottom"])
def test_where_chroma_lies_is_found_out(place: str) -> None:
    for width in (16, 64):
        of = properties_of(av.VideoFrame(width, 48, "yuv420p"), place)
        picture = SharedPictureReader().take(memoryview(bytearray(byte_count(*of[:3]))), of)
        assert picture.width == width
        assert chroma_place(picture) == place


@pytest.mark.parametrize(
    ("slot", "slots"),
    [(1000, 3), (2**26, 3), (2**27, 2), (2**28 // 3, 3), (2**28 // 3 + 1, 2), (2**28 + 4096, 1)],
)
def test_large_pictures_get_fewer_places(
    monkeypatch: pytest.MonkeyPatch, slot: int, slots: int
) -> None:
    told: list[Any] = []
    sizes: list[int] = []

    def give(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)

    session: Any = SimpleNamespace(
        send=lambda ask, **more: told.append((ask, more)), send_file=give
    )
    with decoding_process.share_memory(session, slot) as shared:
        assert len(shared) == slot * slots
    assert told == [("ring", {"slots": slots})] and sizes == [slot * slots]


def stamped(path: Path, *stamps: int, step: int = 100, container: str = "matroska") -> Path:
    with av.open(str(path), "w", format=container) as out:
        stream: Any = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuvj420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in stamps:
            picture = av.VideoFrame(32, 16, "yuvj420p")
            for plane in picture.planes:
                plane.update(bytes([stamp % 200]) * plane.buffer_size)
            picture.pts, picture.time_base = stamp, Fraction(1, 1000)
            for packet in stream.encode(picture):
                packet.duration = step
                out.mux(packet)
        out.mux(stream.encode(None))
    return path


def decoded(path: Path, info: VideoInfo, **options: Any) -> tuple[list[Decoded], Losses]:
    with Decoder(path, info, **options) as decoder:
        return [item for item in decoder if isinstance(item, Decoded)], decoder.losses


def test_the_last_picture_stays_as_long_as_the_file_says_if_that_is_plausible(
    tmp_path: Path,
) -> None:
    path = stamped(tmp_path / "a.mkv", 0, 100, 250)
    info = replace(probe_in_process(path), rate=Fraction(10))
    assert info.time_base == Fraction(1, 1000) and tally_frames_in_process(path).shown == 3
    for seconds, last in (
        (0.35, 100), (0.3, 50), (0.251, 1), (0.25, 100), (0.2, 100), (2.25, 2000), (2.251, 100),
        (None, 100),
    ):  # fmt: skip
        found, losses = decoded(path, replace(info, duration=seconds))
        assert [(one.pts, one.duration) for one in found] == [(0, 100), (100, 150), (250, last)]
        assert [one.index for one in found] == [0, 1, 2]
        assert losses == Losses()
    found, _ = decoded(path, replace(info, start=0.05, duration=0.25))
    assert found[-1].duration == 50


def test_pictures_that_the_claimed_length_lacks_are_counted(tmp_path: Path) -> None:
    path = stamped(tmp_path / "a.mkv", *range(0, 1000, 100))
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3
    assert struct.unpack(">d", data[place : place + 8])[0] == pytest.approx(1000)
    for claimed, lost in ((1499, 0), (1501, 5), (3000, 20)):
        data[place : place + 8] = struct.pack(">d", claimed)
        path.write_bytes(data)
        info = probe_in_process(path)
        found, losses = decoded(path, info, salvage=True)
        assert len(found) == 10
        assert losses == Losses(damaged=int(lost > 0), lost=lost)
        if lost:
            with pytest.raises(VideoError):
                decoded(path, info)


def test_pictures_without_times_begin_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as out:
        stream: Any = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for number in range(3):
            picture = av.VideoFrame(32, 16, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    info = replace(
        probe_in_process(path), rate=Fraction(10), time_base=Fraction(1, 1000), start=0.5
    )
    with Decoder(path, info) as decoder:
        stamps = [decoder._timestamps.tick(None, None) for _ in range(3)]
    assert stamps == [500, 600, 700]


def test_lost_pictures_of_a_file_that_ends_early_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream: Any = out.add_stream("mjpeg", rate=10, width=64, height=48, pix_fmt="yuvj420p")
        for t in range(30):
            pixels = np.random.default_rng(t).integers(0, 255, (48, 64, 3), np.uint8)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = t
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found, losses = decoded(path, probe_in_process(path), salvage=True)
    assert 5 < len(found) < 25 and losses.damaged > 0 and losses.end_unknown is False
    assert len(found) + losses.lost == 30


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (VideoError("a sentence."), {"error": "a sentence."}),
        (
            MemoryError(),
            {"error": None, "why": "asks for more memory than pictures of its size take"},
        ),
        (
            OSError(5, "Input/output error"),
            {"error": None, "why": "cannot be read (input/output error)"},
        ),
        (ValueError("An odd thing"), {"error": None, "why": "cannot be read (an odd thing)"}),
    ],
)
def test_whatever_a_file_does_to_the_decoding_process_is_answered(
    error: Exception, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Child, request: Any) -> None:
        raise error

    monkeypatch.setattr(Child, "_answer", failing)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with suppress(ConnectionError):  # the end of its parent is its own
            Child(theirs).serve()

    with ours, theirs:
        thread = threading.Thread(target=serve)
        thread.start()
        for _ in range(2):  # it goes on after the first
            send(ours, {"ask": "probe"})
            assert receive(ours)[0] == answer
        ours.shutdown(socket.SHUT_WR)
        thread.join()


@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "mpeg4"), ("mov", "mpeg4"), ("nut", "mpeg4"), ("avi", "mpeg4"), ("flv", "flv")],
)
def test_a_skeleton_is_opened_as_nothing_but_a_few_containers(container: str, codec: str) -> None:
    made = io.BytesIO()
    with av.open(made, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=10, width=64, height=48, pix_fmt="yuv420p")
        picture = av.VideoFrame(64, 48, "yuv420p")
        picture.pts = 0
        out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    if container in SKELETONS:
        with open_skeleton(made.getvalue()) as opened:
            assert opened.streams[0].type == "video"
        return
    for data in (made.getvalue(), b"ffconcat version 1.0\nfile 'a.mkv'\n", b"#EXTM3U\na.mkv\n"):
        with pytest.raises((av.FFmpegError, ValueError)):
            open_skeleton(data).close()
