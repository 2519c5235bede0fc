"""Decoding in a process of its own: the same bits, and whatever ends it ends one file."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import ffmpeg, make, make_with_sound, needs_ffmpeg

from masquerade.errors import VideoError
from masquerade.video import decoding_process
from masquerade.video.decoding_child import Child
from masquerade.video.decoding_process import (
    Limits,
    count_frames,
    list_packets,
    probe,
    tally_frames,
)
from masquerade.video.frame import Frame
from masquerade.video.messages import receive
from masquerade.video.probe import (
    list_packets_in_process,
    probe_in_process,
    tally_frames_in_process,
)
from masquerade.video.read import Reader, read_video

pytestmark = needs_ffmpeg


def process_id() -> int:
    """The process that serves the next file."""
    return decoding_process._idle[-1].process.pid


def ends_soon(pid: int) -> bool:
    """Whether a process that is no child of this one ends, within seconds."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


SOURCES = {
    "sound.mp4": ("-c:v", "libx264", "-bf", 2, "-c:a", "aac"),
    "fields.mp4": ("-c:v", "libx264", "-flags", "+ilme+ildct", "-x264opts", "tff=1"),
    "deep.mkv": ("-c:v", "ffv1", "-pix_fmt", "yuv422p10le"),
    "jpeg.mov": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    "palette.gif": (),
    "clear.mov": ("-c:v", "png", "-pix_fmt", "rgba"),
    "old.avi": ("-c:v", "mpeg4", "-c:a", "mp3"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_it_gives_what_this_process_would(tmp_path, name):
    path = make_with_sound(tmp_path / name, *SOURCES[name], seconds=0.4)
    assert probe(path) == probe_in_process(path)
    assert tally_frames(path) == tally_frames_in_process(path)
    assert list_packets(path) == list_packets_in_process(path)
    with Reader(path) as reader, Reader(path, trusted=True) as here:
        assert (reader.tags, reader.chapters) == (here.tags, here.chapters)
        assert reader.stream_tags(0) == here.stream_tags(0)
        for one, other in zip(reader, here, strict=True):
            assert isinstance(one, Frame) and isinstance(other, Frame)
            assert (one.pts, one.duration, one.index) == (other.pts, other.duration, other.index)
            assert np.array_equal(one.rgb(), other.rgb())
            assert np.array_equal(one.rgb((41, 30)), other.rgb((41, 30)))
        assert (reader.damaged, reader.lost, reader.repaired_timestamps) == (
            here.damaged,
            here.lost,
            here.repaired_timestamps,
        )


def test_packets_and_sound_are_those_of_the_file(tmp_path):
    path = make_with_sound(tmp_path / "a.mp4", "-c:v", "libx264", "-c:a", "aac", seconds=0.4)
    for wanted in ({"copy": [1]}, {"sound": [1]}):
        found = []
        for trusted in (False, True):
            with Reader(path, trusted=trusted, **wanted) as reader:
                found.append([item for item in reader if not isinstance(item, Frame)])
        assert len(found[0]) > 10
        for one, other in zip(*found, strict=True):
            assert len(one.sound) == len(other.sound)
            for sound, same in zip(one.sound, other.sound, strict=True):
                assert (sound.pts, sound.time_base, sound.rate) == (
                    same.pts,
                    same.time_base,
                    same.rate,
                )
                assert np.array_equal(sound.to_ndarray(), same.to_ndarray())
            if one.packet is not None:
                times = [
                    (p.pts, p.dts, p.duration, p.time_base) for p in (one.packet, other.packet)
                ]
                assert bytes(one.packet) == bytes(other.packet) and times[0] == times[1]


def test_one_process_serves_one_file_after_another(tmp_path):
    path = make(tmp_path / "a.mp4")
    probe(path)
    pid = process_id()
    for _ in range(3):
        assert count_frames(path) == 25
        with Reader(path) as reader:
            assert sum(1 for _ in reader) == 25
        with Reader(path) as reader:
            next(iter(reader))  # and no more
        with pytest.raises(VideoError, match=r"^none\.mp4 does not exist\.$"):
            probe(tmp_path / "none.mp4")
        assert process_id() == pid


def test_three_processes_are_kept_for_files_that_are_read_side_by_side(tmp_path):
    path, kept = make(tmp_path / "a.mp4"), list[set[int]]()
    for _ in range(2):
        with Reader(path) as one, Reader(path) as other, Reader(path) as third:
            assert sum(1 for _ in zip(one, other, third, strict=True)) == 25
        kept.append({process.process.pid for process in decoding_process._idle})
    assert kept[0] == kept[1] and len(kept[0]) == 3
    with Reader(path), Reader(path), Reader(path), Reader(path):
        assert len(decoding_process._running) == 4
    assert len(decoding_process._running) == len(decoding_process._idle) == 3


def test_a_generator_that_is_not_read_to_its_end_leaves_its_process_to_the_next_file(tmp_path):
    def frames(path):
        with Reader(path) as reader:
            yield from reader

    path = make(tmp_path / "a.mp4")
    probe(path)
    pid = process_id()
    assert isinstance(next(frames(path)), Frame)
    assert process_id() == pid and count_frames(path) == 25


def test_it_imports_no_torch_and_hears_no_interrupt(tmp_path):
    code = "import sys, masquerade.video.decoding_child; print({'torch', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    probe(make(tmp_path / "a.mp4", seconds=0.2))
    assert "torch" not in Path(f"/proc/{process_id()}/maps").read_text()
    assert os.getsid(process_id()) != os.getsid(0)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_its_death_is_one_sentence_and_the_next_file_is_read(tmp_path, name):
    path = make(tmp_path / "a.mp4", seconds=4, size="320x240")
    probe(path)
    pid = process_id()
    with (
        pytest.raises(VideoError, match=rf"^a\.mp4 ended .*\({name}\).*\.$"),
        Reader(path) as reader,
    ):
        for frame in reader:
            assert isinstance(frame, Frame) and frame.rgb().any()
            if frame.index == 3:
                os.kill(pid, getattr(signal, name))
    assert not Path(f"/proc/{pid}").exists()
    with Reader(path) as reader:
        assert sum(1 for _ in reader) == 100
    assert process_id() != pid


def test_its_silence_ends_it(tmp_path):
    path = make(tmp_path / "a.mp4", seconds=4, size="320x240")
    probe(path)
    pid = process_id()
    said = r"^a\.mp4 gave no picture within 1 seconds; .*\.$"
    with pytest.raises(VideoError, match=said), Reader(path, limits=Limits(seconds=0.5)) as reader:
        for frame in reader:
            if frame.index == 1:
                os.kill(pid, signal.SIGSTOP)
    assert not Path(f"/proc/{pid}").exists()
    assert count_frames(path) == 100


def bomb(path: Path, *, samples: int) -> Path:
    """A small MP4 that claims so many samples, for each of which its reader makes an entry."""
    data = bytearray(make(path, "-bf", 0, seconds=0.2).read_bytes())
    count = samples.to_bytes(4, "big")
    for name, place in ((b"stsz", 12), (b"stsc", 16), (b"stts", 12)):
        start = data.index(name) + place
        data[start : start + 4] = count
    start = data.index(b"stsz") + 8
    data[start : start + 4] = (1).to_bytes(4, "big")  # byte, each of them
    path.write_bytes(data)
    return path


def test_an_interruption_in_the_middle_of_an_answer_ends_it(tmp_path, monkeypatch):
    """Else both wait for the other, until its time is over."""
    asked, receive, send = [], decoding_process.receive, decoding_process.send

    def interrupt(channel):
        monkeypatch.setattr(decoding_process, "receive", receive)
        raise KeyboardInterrupt

    def record(channel, message):
        asked.append(message["ask"])
        send(channel, message)

    source = make(tmp_path / "a.mp4", seconds=0.2)
    with pytest.raises(KeyboardInterrupt), Reader(source) as reader:
        process = decoding_process._running - set(decoding_process._idle)
        monkeypatch.setattr(decoding_process, "receive", interrupt)
        monkeypatch.setattr(decoding_process, "send", record)
        reader.stream(0)
    assert asked == ["template"]
    assert [one.process.returncode for one in process] == [-9]


def test_a_bomb_bursts_in_it(tmp_path):
    path = bomb(tmp_path / "bomb.mp4", samples=2**25)
    assert path.stat().st_size < 10**5
    with pytest.raises(VideoError, match=r"^bomb\.mp4 .*\.$"):
        probe(path, limits=Limits(memory=400 * 2**20))
    status = Path(f"/proc/{process_id()}/status").read_text().split()
    assert int(status[status.index("VmHWM:") + 1]) < 600 * 1024  # kB; without a limit, 800 MB more
    assert count_frames(make(tmp_path / "a.mp4", seconds=0.2)) == 5


def test_its_memory_is_limited_by_the_size_of_the_pictures(tmp_path):
    small, large = (make(tmp_path / f"{s}.mp4", size=s, seconds=0.2) for s in ("64x48", "1280x720"))
    found = []
    for path, threads in ((small, 0), (large, 0), (large, 1), (large, 16), (large, 1024)):
        with Reader(path, threads=threads) as reader:
            next(iter(reader))
            (busy,) = decoding_process._running - set(decoding_process._idle)
            limits = Path(f"/proc/{busy.process.pid}/limits").read_text()
            (line,) = [line for line in limits.splitlines() if line.startswith("Max data size")]
            found.append(int(line.split()[3]))
            assert "Max core file size        0" in limits
    assert 2**30 < found[0] < found[1] < 2**31
    assert found[3] - found[2] == 15 * reader.info.picture_bytes  # each thread holds a picture
    assert found[4] == found[3]  # no more than 16 decode


def test_nothing_stays_behind(tmp_path):
    path = make(tmp_path / "a.mp4", seconds=0.4)
    probe(path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with Reader(path) as reader:
            sum(1 for _ in reader)
    del reader
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(os.listdir(f"/proc/{process_id()}/fd")) <= 6


def test_it_ends_with_a_parent_that_was_killed(tmp_path):
    path = make(tmp_path / "a.mp4", seconds=4)
    code = (
        "import sys\nfrom masquerade.video.read import Reader\n"
        "from masquerade.video import decoding_process\n"
        "with Reader(sys.argv[1]) as reader:\n"
        "    next(iter(reader))\n"
        "    (busy,) = decoding_process._running\n"
        "    print(busy.process.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)  # it cannot see that its parent is gone
        parent.kill()
        parent.wait()
        os.kill(pid, signal.SIGCONT)
    assert ends_soon(pid)


def test_a_fork_has_its_own(tmp_path):
    path = make(tmp_path / "a.mp4", seconds=0.2)
    probe(path)
    pid = process_id()
    child = os.fork()
    if not child:
        try:
            probe(path)
            os._exit(0 if process_id() != pid else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert process_id() == pid and count_frames(path) == 5


def test_it_is_not_silent_while_it_probes_many_images(tmp_path):
    """A folder of 4K images takes longer than a file may without an answer."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=5:d=1", tmp_path / "%d.png")
    ours, theirs = socket.socketpair()
    given = {"memory": None, "rate": Fraction(5), "folder": os.getcwd()}
    with ours, theirs:
        theirs.settimeout(10)
        path = os.fsencode(tmp_path).hex()
        limits = resource.getrlimit(resource.RLIMIT_DATA)
        try:
            Child(ours)._answer({"ask": "probe", "path": path, **given})
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, limits)
        messages = [receive(theirs)[0] for _ in range(6)]
    assert messages[:5] == 5 * [{"alive": True}] and messages[5]["info"]["frames"] == 5
    assert probe(tmp_path, rate=Fraction(5)).frames == 5


def test_a_folder_of_images_goes_through_it(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    levels = list(range(20, 140, 10))  # of 12: as text 10.png comes before 2.png
    for number, level in enumerate(levels, 1):
        assert cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), level, np.uint8))
    with Reader(folder, rate=5) as reader, Reader(folder, rate=5, trusted=True) as here:
        shown = []
        for one, other in zip(reader, here, strict=True):
            assert np.array_equal(one.rgb(), other.rgb()) and one.pts == other.pts
            shown.append(int(one.rgb()[0, 0, 0]))
    assert shown == levels


def test_a_name_that_no_file_can_have_is_one_sentence_and_keeps_no_process(tmp_path):
    running = None
    for _ in range(3):
        with pytest.raises(VideoError) as caught:
            read_video(tmp_path / ("x" * 300))
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
        running = running or len(decoding_process._running)
        assert len(decoding_process._running) == running


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_file_that_another_process_shortens_is_one_sentence(tmp_path, name):
    large = (
        "-c:v",
        "mpeg4" if name == "a.avi" else "mpeg2video",
        "-q:v",
        1,
        "-vf",
        "noise=alls=60",
    )
    whole = make(tmp_path / name, *large, size="320x240")
    data = whole.read_bytes()
    assert len(data) > 2**19  # more than any buffer holds
    for part in (2, 5000):  # in the middle, and nearly nothing
        whole.write_bytes(data)
        with pytest.raises(VideoError) as caught, Reader(whole, threads=1) as reader:
            for number, _ in enumerate(reader):
                if number == 0:
                    os.truncate(whole, len(data) // part)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    whole.write_bytes(data)
    with Reader(whole) as reader:
        assert sum(1 for _ in reader) == 25


def test_a_file_that_shrinks_under_the_check_of_its_end_ends_its_process_alone(tmp_path):
    """Memory that is mapped to what a file no longer has is SIGBUS."""
    path = make(tmp_path / "a.ts", seconds=2, size="640x480")
    code = """
import os, sys
from pathlib import Path
from masquerade.video import truncation
path, mapped = Path(sys.argv[1]), truncation.mmap
truncation.mmap = lambda *given, **more: (mapped(*given, **more), os.truncate(path, 10))[0]
truncation.is_truncated(path, "mpegts")
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGBUS


def test_packets_are_listed_without_holding_them(tmp_path):
    path, size = tmp_path / "large.mov", "1024x768"
    ffmpeg("-f", "lavfi", "-i", f"color=s={size}:r=25:d=7", "-c:v", "rawvideo", path)
    assert path.stat().st_size > 200 * 10**6
    packets = list_packets(path, limits=Limits(memory=200 * 2**20))
    assert len(packets) == 175 and {one.bytes for one in packets} == {1024 * 768 * 3 // 2}
