"""Frames are compared with their source as they are encoded, and files by their packets."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import masquerade
from masquerade.errors import OutputError
from masquerade.pipeline import encoded_check, pictures, single_file
from masquerade.pipeline.receipt import ResidualDetail
from masquerade.pipeline.residual_detail import MAX_LEFT, DetailCheck
from masquerade.video.write import Writer


@pytest.fixture
def clip(half_size: Path, found_faces: str) -> Path:
    return half_size


def anonymized(clip: Path, out: Path, **settings: Any) -> ResidualDetail:
    """What is left in half a second of a clip, whose face is found already."""
    method = masquerade.build(settings.pop("method", "blur"))
    found = f"boxes:{clip.with_name('boxes.json')}"
    settings = {"preview": 0.5, "allow_gaps": True, "regions": found, **settings}
    left = masquerade.anonymize_file(clip, out, method, **settings).residual_detail
    assert left is not None
    return left


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded once more, and compared whole."""
    files: list[Path] = []
    whole = single_file.FileRun._compare

    def compare(self: Any, part: Path, info: Any) -> ResidualDetail:
        files.append(part)
        return whole(self, part, info)

    monkeypatch.setattr(single_file.FileRun, "_compare", compare)
    return files


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("o.mp4", {}),
        ("o.mkv", {"regions": "faces"}),
        ("o.mov", {"regions": "people", "method": "selective"}),
        ("o.avi", {}),
        ("o.mp4", {"codec": "h265"}),
        ("o.mkv", {"codec": "h265"}),
        ("o.mp4", {"cfr": 60}),
        ("o.mp4", {"cfr": 7}),
    ],
)
def test_a_file_is_not_decoded_again_if_its_packets_were_compared(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compared: list[Path],
    name: str,
    settings: dict[str, Any],
) -> None:
    found = anonymized(clip, tmp_path / name, **settings)
    assert not compared and found.measured > 0
    monkeypatch.setattr(single_file.EncodedCheck, "result_for", lambda *_: None)
    whole = anonymized(clip, tmp_path / f"whole_{name}", **settings)
    assert len(compared) == 1
    assert found.measured == pytest.approx(whole.measured, rel=0.1)
    assert max(found.left, whole.left) < MAX_LEFT


@pytest.mark.parametrize(
    ("name", "settings"),
    [("o.mp4", {"lossless": True}), ("o.webm", {}), ("o.mkv", {"codec": "mjpeg"}), ("o.gif", {})],
)
def test_other_codecs_are_compared_when_the_file_is_finished(
    clip: Path, tmp_path: Path, compared: list[Path], name: str, settings: dict[str, Any]
) -> None:
    anonymized(clip, tmp_path / name, preview=0.2, **settings)
    assert len(compared) == 1


def test_a_file_with_other_packets_is_decoded_and_refused(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the muxer wrote the source's pictures, of which nobody saw a packet."""
    raw = tmp_path / "raw.mp4"
    masquerade.write_video(raw, masquerade.read_video(clip, stop=0.5))
    close = Writer.close

    def replaced(self: Writer) -> None:
        close(self)
        shutil.copy(raw, self.path)

    monkeypatch.setattr(Writer, "close", replaced)
    with pytest.raises(OutputError, match="of the detail of a region"):
        anonymized(clip, tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


def test_what_was_encoded_is_refused_before_the_file_is_finished(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: list[Path]
) -> None:
    raw = iter((255 * masquerade.read_video(clip, stop=1).clip[0]).byte().permute(1, 2, 3, 0))
    monkeypatch.setattr(pictures, "_resize", lambda pixels, info: next(raw).numpy())
    with pytest.raises(OutputError, match="of the detail of a region"):
        anonymized(clip, tmp_path / "o.mp4", method="blacken")
    assert not compared and not list(tmp_path.iterdir())


def test_packets_that_cannot_be_decoded_leave_it_to_the_whole_file(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: list[Path]
) -> None:
    forgot, forget = [], DetailCheck.forget_sources

    def noted(check: DetailCheck) -> None:
        forgot.append(threading.current_thread())
        forget(check)

    monkeypatch.setattr(DetailCheck, "forget_sources", noted)
    monkeypatch.setattr(encoded_check, "Packet", lambda data: encoded_check.av.Packet(data[::-1]))
    assert anonymized(clip, tmp_path / "o.mp4").measured > 0
    assert forgot[0] is not threading.main_thread()  # not only at the end of the file
    assert len(compared) == 1


def test_an_error_of_the_comparison_ends_the_run(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(DetailCheck, "compare_next", broken)
    monkeypatch.setattr(encoded_check, "MOST_PACKETS", 1)  # nobody waits for a thread that failed
    with pytest.raises(RuntimeError, match="broken"):
        anonymized(clip, tmp_path / "o.mp4", preview=None)
    assert not list(tmp_path.iterdir())


def test_a_decoder_that_cannot_be_made_ends_the_run(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no decoder")

    without = SimpleNamespace(
        CodecContext=SimpleNamespace(create=broken), FFmpegError=encoded_check.av.FFmpegError
    )
    monkeypatch.setattr(encoded_check, "av", without)
    monkeypatch.setattr(encoded_check, "MOST_PACKETS", 1)
    with pytest.raises(RuntimeError, match="no decoder"):
        anonymized(clip, tmp_path / "o.mp4")
    assert not list(tmp_path.iterdir())
