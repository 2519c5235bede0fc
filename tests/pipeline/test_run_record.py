"""The record of a batch: a line for each file, which is there as soon as the file is."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from masquerade.cli import main
from masquerade.errors import MasqueradeError
from masquerade.pipeline.file_outcome import FileOutcome
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.run_record import run_record
from masquerade.video.probe import video_digest

BLACK = ("--method", "blacken", "--regions", "frame", "--preview", "0.2", "-q")


@pytest.fixture
def folder(clip: Path, tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (made / name).write_bytes(clip.read_bytes())
    (made / "bad.mp4").write_bytes(b"no video")
    return made


def test_a_record_says_what_was_done_to_each_file(folder: Path, tmp_path: Path) -> None:
    record, out = tmp_path / "new" / "record.jsonl", tmp_path / "out"
    words = ["anonymize", str(folder), "-o", str(out), *BLACK, "--record", str(record)]
    assert main(words) == 1
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [line["status"] for line in lines] == ["done", "done", "failed"]
    first, _, bad = lines
    receipt = json.loads((out / "a.mp4.receipt.json").read_text())
    assert first["source"] == str(folder / "a.mp4") and first["output"] == str(out / "a.mp4")
    assert first["source_sha256"] == video_digest(folder / "a.mp4")
    assert first["output_sha256"] == video_digest(out / "a.mp4")
    assert first["settings_sha256"] == receipt["settings_sha256"]
    assert first["worker"] and first["masquerade"] and first["exit_code"] == 0
    assert bad["exit_code"] == 1 and "not a video" in bad["error"] and not bad["output_sha256"]
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    with record.open("a") as file:
        file.write('{"cut in the mid')  # as a process leaves it that is killed
    assert main([*words, "--resume"]) == 1
    lines = record.read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines[4:]] == ["skipped", "skipped", "failed"]


def test_public_receipts_are_what_json_prints_and_a_record_knows_the_source(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, out, source = tmp_path / "record.jsonl", tmp_path / "out.mp4", video_digest(clip)
    words = ["anonymize", str(clip), "-o", str(out), *BLACK, "--json", "--record", str(record)]
    assert main([*words, "--public-receipt"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed["receipt"] == json.loads((tmp_path / "out.mp4.receipt.json").read_text())
    assert printed["receipt"]["source"]["sha256"] is None and source not in json.dumps(printed)
    assert json.loads(record.read_text())["source_sha256"] == source
    assert main([*words, "--overwrite"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed["receipt"]["source"]["sha256"] == source


def test_a_full_disk_leaves_no_half_of_a_line(
    tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    record = tmp_path / "record.jsonl"
    outcome = FileOutcome(FileTask(Path("a.mp4"), Path("b.mp4")), "skipped")
    with run_record(record, settings_sha256="0") as add:
        add(outcome)
        whole = record.read_bytes()
        with (
            full_after(len(whole) + 20),
            pytest.raises(MasqueradeError, match=r"record\.jsonl cannot be written: File too"),
        ):
            add(outcome)
        assert record.read_bytes() == whole
        add(outcome)
    assert record.read_bytes() == whole * 2


def test_a_file_that_is_no_record_is_left_as_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "a.mp4").read_bytes()
    words = ["anonymize", str(folder), "-o", str(tmp_path / "out"), *BLACK, "--record"]
    assert main([*words, str(folder / "a.mp4")]) == 2
    assert "is no record" in capsys.readouterr().err
    assert (folder / "a.mp4").read_bytes() == before and not (tmp_path / "out").exists()
    deep = tmp_path / "deep"
    deep.write_text("[" * 100_000)
    assert main([*words, str(deep)]) == 2
    assert "is no record" in capsys.readouterr().err
    assert main([*words, "/dev/null"]) == 2
    assert "is a device or a pipe" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "out" / "a.mp4")]) == 2
    assert "would replace" in capsys.readouterr().err
    assert main([*words, str(tmp_path)]) == 1
    assert "choose another --record" in capsys.readouterr().err
