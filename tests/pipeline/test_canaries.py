"""Strings planted all over a source are in nothing that a run writes, prints or leaves behind."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import masquerade

pytestmark = pytest.mark.skipif(
    not shutil.which("ffmpeg"), reason="Debian's ffmpeg and ffprobe are not installed"
)
MARK = "CANARY"
CODEC_TAG = b"CNRY"


def ffmpeg(*words: object) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def plant(folder: Path, suffix: str) -> Path:
    """A file with a canary of its own in every place that its container has; its name is one."""
    path = folder / f"{MARK}-filename{suffix}"
    matroska = suffix == ".mkv"
    text, subtitle, meta = (folder / f"{MARK}-attached.{end}" for end in ("ttf", "srt", "txt"))
    text.write_text("OTTO" + f"{MARK}-attachment" * 9)  # as a font begins
    subtitle.write_text(f"1\n00:00:00,000 --> 00:00:00,400\n{MARK}-subtitle\n")
    chapter = f"[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle={MARK}-chapter\n"
    meta.write_text(f";FFMETADATA1\ntitle={MARK}-title\n{MARK}_KEY=x\nSIDE:{MARK}=x\n{chapter}")
    cover = folder / "cover.jpg"
    ffmpeg(*("-f", "lavfi", "-i", "testsrc=s=64x64", "-frames:v", 1, cover))
    comment = f"{MARK}-cover-picture".encode()  # a JPEG's own comment
    data = cover.read_bytes()
    cover.write_bytes(data[:2] + b"\xff\xfe\x00" + bytes([len(comment) + 2]) + comment + data[2:])
    attach: tuple[object, ...] = ("-map", 3, "-c:v:1", "copy", "-disposition:v:1", "attached_pic")
    if matroska:
        kinds = ("application/x-truetype-font", "image/jpeg")
        attach = ("-attach", text, "-attach", cover)
        for number, kind in enumerate(kinds):
            attach += (f"-metadata:s:t:{number}", f"mimetype={kind}")
        attach += ("-metadata:s:t:0", f"{MARK}_ATTACHED=x")
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4"),
        *("-i", subtitle, "-i", cover, "-f", "ffmetadata", "-i", meta, "-map", 0, "-map", 1),
        *("-map", 2, "-map_metadata", 4, "-map_chapters", 4, "-c:a", "aac", *attach),
        *("-c:v:0", "libx264", "-c:s", "srt" if matroska else "mov_text", "-pix_fmt", "yuv420p"),
        *("-metadata:s:v:0", f"handler_name={MARK}-handler", "-timecode", "01:02:03:04"),
        *("-metadata:s:v:0", f"reel_name={MARK}-data", "-metadata:s:a", f"{MARK}_STREAM=x"),
        *("-metadata:s:a", f"title={MARK}-stream-title", "-metadata:s:s", f"title={MARK}-s"),
        *("-bsf:v:0", f"h264_metadata=sei_user_data=086f3693b7b34f2c965321492feee5b8+{MARK}-sei"),
        *("-movflags", "use_metadata_tags") if not matroska else (),
        path,
    )
    if not matroska:
        path.write_bytes(path.read_bytes().replace(b"mp4a", CODEC_TAG, 1))
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_no_canary_of_the_source_leaves_it(
    called: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    source = plant(tmp_path, suffix)
    held = source.read_bytes()
    planted = [b"title", b"_KEY", b"chapter", b"subtitle", b"handler", b"sei"]
    planted += (
        [b"attachment", b"attached", b"_STREAM", b"cover-picture"]
        if suffix == ".mkv"
        else [b"data"]
    )
    for place in planted:
        assert f"{MARK}".encode() + place in held or f"{MARK}-".encode() + place in held, place
    left = tmp_path / "left"
    for name in ("tmp", "home", "cache", "out"):
        (left / name).mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(left / "tmp"))
    monkeypatch.setenv("HOME", str(left / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(left / "cache"))
    common = ("--regions", "frame", "--method", "blacken", "--public-receipt", "--overwrite")
    said = ""
    for name in ("a.mp4", "a.mkv", "a.mov"):
        for audio in ("drop", "pitch"):
            out = left / "out" / name
            done = called("anonymize", source, "-o", out, "--audio", audio, "-v", *common)
            assert done.returncode == 0, done.stderr
            said += (done.stdout + done.stderr).replace(str(source), "")
            report = json.loads(out.with_name(f"{name}.receipt.json").read_text())
            assert any("tags of other names" in item for item in report["removed"])
    exports = ("--export-boxes", left / "b.json", "--export-masks", left / "m.mkv")
    done = called("anonymize", source, "-o", left / "out" / "b.mp4", "-q", *exports, *common)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert MARK not in said, said
    files = [path for path in left.rglob("*") if path.is_file()]
    assert len(files) == 10
    for path in files:
        data = path.read_bytes()
        for mark in (MARK.encode(), MARK.lower().encode(), CODEC_TAG, b"01:02:03"):
            assert mark not in data and mark.decode() not in path.name, (path.name, mark)


def test_a_private_receipt_holds_the_sources_name_and_no_other_string(tmp_path: Path) -> None:
    source = plant(tmp_path, ".mkv")
    blacken = masquerade.build("blacken")
    receipt = masquerade.anonymize_file(source, tmp_path / "o.mp4", blacken, regions="frame")
    text = receipt.to_json().replace(source.name, "")
    assert MARK not in text and "tags of other names" in text
    assert {"title", "chapter0:title"} <= {name.lower() for name in receipt.removed}
    kept = masquerade.anonymize_file(
        source, tmp_path / "k.mkv", blacken, regions="frame", metadata="keep", audio="keep"
    )
    assert MARK not in json.dumps([kept.kept, kept.removed])


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "prores", "mjpeg"])
def test_no_name_of_an_encoder_is_in_mp4_mov_and_avi(tmp_path: Path, codec: str) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    name = {"prores": "o.mov", "mjpeg": "o.avi"}.get(codec, "o.mp4")
    masquerade.anonymize_file(
        tmp_path / "a.mp4",
        tmp_path / name,
        masquerade.build("blacken"),
        regions="frame",
        codec=codec,
    )
    data = (tmp_path / name).read_bytes()
    for word in (b"Lavf", b"Lavc", b"Handler", b"x264", b"x265", b"SVT"):
        assert word not in data, word


def test_a_public_receipt_names_no_file(short_clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "anna.mp4"
    source.write_bytes(short_clip.read_bytes())
    blacken, boxes = masquerade.build("blacken"), tmp_path / "anna.json"
    masquerade.anonymize_file(source, tmp_path / "s.mp4", blacken, export_boxes=boxes)
    given: dict[str, Any] = {"regions": f"boxes:{boxes}", "public_receipt": True}
    masquerade.anonymize_file(source, tmp_path / "anna_anonymized.mp4", blacken, **given)
    text = (tmp_path / "anna_anonymized.mp4.receipt.json").read_text()
    assert "anna" not in text and json.loads(text)["settings"]["regions"] == "boxes"
    assert json.loads(text)["output"]["sha256"]
