"""Names and times in the structure of a file, of which FFmpeg gives no tag."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from clips import ffmpeg, make, needs_ffmpeg

from masquerade.attack.file_facts import read_tags
from masquerade.attack.finding import Finding
from masquerade.cli import main
from masquerade.video.decoding_process import list_frame_tags
from masquerade.video.matroska_data import list_other_apps
from masquerade.video.probe import probe_in_process
from masquerade.video.unread_data import list_unread_data

pytestmark = needs_ffmpeg


def tags(path: Path) -> Finding:
    names, other = list_frame_tags(path)
    return read_tags(probe_in_process(path), frame_tags=names, other_messages=other)


def test_the_service_of_a_transport_stream_is_told(tmp_path: Path) -> None:
    path, named = make(tmp_path / "a.ts", "-c:v", "libx264"), tmp_path / "b.ts"
    assert tags(path).level == "nothing"
    ward = "service_name=St Mary Ward 7" + " of the second house on the right" * 5
    told = ("-metadata", ward, "-metadata", "service_provider=Dr Smith")
    ffmpeg("-i", path, "-c", "copy", *told, named)  # the name fills more than one packet
    assert list_unread_data(named) == ("service_provider", "service_name")
    assert tags(named).level == "recovered" and "Smith" not in tags(named).says
    m2ts = tmp_path / "c.m2ts"
    ffmpeg("-i", path, "-c", "copy", *told[:2], "-f", "mpegts", "-mpegts_m2ts_mode", 1, m2ts)
    assert list_unread_data(m2ts) == ("service_name",)


@pytest.mark.parametrize("cut", [101, 188, 5000])
def test_a_service_is_told_wherever_the_file_begins(tmp_path: Path, cut: int) -> None:
    """A recording that was cut need not begin with a whole packet, nor go on with one."""
    path, named = make(tmp_path / "a.ts"), tmp_path / "b.ts"
    ffmpeg("-i", path, "-c", "copy", "-metadata", "service_name=Dr Smith", named)
    whole = named.read_bytes()
    again = whole.rindex(b"Dr Smith") - 188
    path.write_bytes(path.read_bytes()[cut:] + whole[again:])
    assert list_unread_data(path) == ("service_name",)
    path.write_bytes(whole[: 2 * 188])  # two packets are a transport stream, too
    assert list_unread_data(path) == ("service_name",)


def service_table(name: bytes, table: int = 0x42) -> bytes:
    """A description of one service, with no checksum, or the like of another table."""
    said = b"\x01\0" + bytes([len(name)]) + name
    services = b"\0\x01\xfc\x80" + bytes([len(said) + 2, 0x48, len(said)]) + said
    content = bytes(8) + services * bool(name) + bytes(4)
    return bytes([table, 0xF0, len(content)]) + content


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ((service_table(b"", 0x4A), service_table(b"Dr Smith")), ("service_name",)),
        ((service_table(b""), service_table(b"Dr Smith", 0x46)), ("service_name",)),
        ((service_table(b"Service01"), b"\xff", service_table(b"Dr Smith")), ()),  # is padding
    ],
    ids=["bouquets first", "none first", "behind padding"],
)
def test_every_table_of_services_in_a_packet_is_read(
    tmp_path: Path, sections: tuple[bytes, ...], told: tuple[str, ...]
) -> None:
    path = make(tmp_path / "a.ts", seconds=0.2)
    packet = b"G\x40\x11\x10\0" + b"".join(sections)
    path.write_bytes(path.read_bytes() + packet.ljust(188, b"\xff"))
    assert list_unread_data(path) == told


def test_damaged_tables_of_services_are_passed_over(tmp_path: Path) -> None:
    path = make(tmp_path / "a.ts", seconds=0.2)
    data = bytearray(path.read_bytes())
    table = data.index(b"G\x40\x11")
    for place in range(table + 3, table + 60):
        for value in (0, 1, 0x48, 0x7F, 0xFF):
            changed = data.copy()
            changed[place] = value
            path.write_bytes(changed)
            assert set(list_unread_data(path)) <= {"service_provider", "service_name"}
    for size in range(table, table + 64):
        path.write_bytes(bytes(7 * [*b"G", *bytes(187)]) + data[: size + 188])
        list_unread_data(path)


@pytest.mark.parametrize("box", ["mvhd", "tkhd", "mdhd"])
@pytest.mark.parametrize("version", [0, 1])
def test_a_time_that_ffmpeg_does_not_read_is_told(tmp_path: Path, box: str, version: int) -> None:
    path = make(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    assert tags(path).level == "nothing"
    place = data.index(box.encode()) + 4
    data[place] = version
    changed = place + (12 if version else 8)
    data[changed : changed + 4] = struct.pack(">I", 3_780_000_000)
    path.write_bytes(data)
    assert list_unread_data(path) == (f"a time in a {box} box",)


def put_into_entry(data: bytes, track: int, more: bytes) -> bytes:
    """Put more into the first sample entry of a track, and into the sizes of what holds it."""
    changed, place = bytearray(data), data.index(b"moov")
    places = [place]
    for _ in range(track + 1):
        place = data.index(b"trak", place + 4)
    places.append(place)
    for name in (b"mdia", b"minf", b"stbl", b"stsd"):
        place = data.index(name, place)
        places.append(place)
    places.append(place + 16)  # the entry's own
    for one in places:
        size = int.from_bytes(data[one - 4 : one], "big") + len(more)
        changed[one - 4 : one] = struct.pack(">I", size)
    end = places[-1] - 4 + int.from_bytes(data[places[-1] - 4 : places[-1]], "big")
    return bytes(changed[:end] + more + changed[end:])


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("track", [0, 1], ids=["pictures", "sound"])
def test_what_a_sample_entry_holds_beside_its_codec_is_told(
    tmp_path: Path, name: str, track: int
) -> None:
    path = tmp_path / name
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=s=64x48:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4"),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", path),
    )
    data = path.read_bytes()
    assert list_unread_data(path) == ()
    entry = ("an avc1", "a mp4a")[track]
    for more, named in (
        (struct.pack(">I4s", 24, b"uuid") + b"a picture, whole", "a uuid box"),
        (struct.pack(">I4s", 24, b"free") + b"a picture, whole", "data in a free box"),
        (b"Jane Doe", f"data in {entry} box"),
    ):
        path.write_bytes(put_into_entry(data, track, more))
        assert list_unread_data(path) == (named,)
    path.write_bytes(put_into_entry(data, track, struct.pack(">I4s", 12, b"free") + bytes(4)))
    assert list_unread_data(path) == ()


@pytest.mark.parametrize(
    "options",
    [
        "-c:v qtrle -pix_fmt rgb24",
        "-c:v rawvideo -pix_fmt pal8",
        "-c:v prores",
        "-c:v dnxhd -profile:v dnxhr_hq -pix_fmt yuv422p -vf scale=256:128",
        "-c:v libx265 -tag:v hvc1",
        "-c:a pcm_f32le",
        "-c:a alac",
        "-c:a pcm_s16be -ar 96000",
    ],
)
def test_sample_entries_of_other_codecs_tell_nothing(tmp_path: Path, options: str) -> None:
    path = tmp_path / "a.mov"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=s=64x48:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4"),
        *(*options.split(), path),
    )
    assert list_unread_data(path) == ()


def test_programs_that_wrote_a_matroska_file_are_told_where_they_are_unknown(
    tmp_path: Path,
) -> None:
    path = make(tmp_path / "a.mkv")
    data = path.read_bytes()
    assert tags(path).level == "nothing" and list_other_apps(path) == ()
    for number, name in ((b"\x57\x41", "WritingApp"), (b"\x4d\x80", "MuxingApp")):
        start = data.index(number) + 3
        length = data[start - 1] & 0x7F
        said = b"Dr Smith, Ward 7"[:length].ljust(length)
        path.write_bytes(data[:start] + said + data[start + length :])
        assert list_other_apps(path) == (name,)
        assert tags(path).level == "left" and f"in {name}:" in tags(path).says
    assert list_other_apps(make(tmp_path / "a.mp4")) == ()


def test_what_is_written_over_in_a_matroska_file_is_told(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv")
    data = path.read_bytes()
    void = data.index(b"\xec\x01" + bytes(5)) + 9  # room for an index
    path.write_bytes(data[:void] + b"Jane Doe" + data[void + 8 :])
    assert tags(path).level == "recovered"
    assert list_unread_data(path) == ("data in a Void element",)
    start = data.index(b"\x57\x41")
    path.write_bytes(data[:start] + b"\x73\x84" + data[start + 2 :])
    assert list_unread_data(path) == ("a SegmentFilename",)


@pytest.mark.parametrize(
    "options",
    ["-f matroska", "-f matroska -live 1", "-f webm -c:v libvpx -cluster_size_limit 900"],
    ids=["matroska", "live", "webm"],
)
@pytest.mark.parametrize("piped", [False, True], ids=["file", "recording"])
def test_what_lies_behind_a_matroska_file_is_told(
    tmp_path: Path, options: str, *, piped: bool
) -> None:
    """Also behind a recording, whose segment says no size, and behind several in one file."""
    path = tmp_path / "a.mkv"
    source = ("-y", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:d=0.4")
    command = ["ffmpeg", *source, "-pix_fmt", "yuv420p", *options.split()]
    with path.open("wb") as file:
        subprocess.run([*command, "pipe:" if piped else str(path)], check=True, stdout=file)
    whole = path.read_bytes()
    for more in (b"", bytes(10), whole, b"\xec\x84" + bytes(4)):
        path.write_bytes(whole + more)
        assert list_unread_data(path) == ()
    for more in (b"Dr Smith, Ward 7", b"\xff\xd8\xff\xe0 JFIF", bytes(10) + b"\xff\xd8\xff"):
        for before in (whole, 2 * whole):
            path.write_bytes(before + more)
            assert list_unread_data(path) == ("data behind the picture",)
    for size in range(len(whole) // 2, len(whole), 3):  # cut short
        path.write_bytes(whole[:size])
        assert list_unread_data(path) == ()


@pytest.mark.parametrize("name", ["o.mp4", "o.mov", "o.mkv", "o.webm", "o.avi"])
def test_our_own_videos_tell_nothing(tmp_path: Path, name: str) -> None:
    source, out = tmp_path / "a.mp4", tmp_path / name
    make(source, "-metadata", "creation_time=2024-03-05T10:00:00Z", seconds=0.4)
    assert tags(source).level == "recovered"
    words = ["anonymize", str(source), "-o", str(out), "--method", "blacken"]
    assert main([*words, "--regions", "frame"]) == 0
    assert tags(out).level == "nothing", tags(out).says
