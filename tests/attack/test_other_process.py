"""Files are opened in another process alone, and what ends that process ends one file's attack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from masquerade.attack import AttackConfig, attack_files, restore, run
from masquerade.attack.across_videos import VideoDescriber
from masquerade.cli import main
from masquerade.video import decoding_process

DIES = """
import os, signal
from masquerade.video import decoding_child
listed = decoding_child.{name}_in_process
def die(path, *given, **more):
    if os.path.basename(path) == "bad.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return listed(path, *given, **more)
decoding_child.{name}_in_process = die
"""


@pytest.fixture
def new_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let processes that decode start anew, and end those of the test after it."""
    before = set(decoding_process._running)
    monkeypatch.setattr(decoding_process, "_idle", [])
    yield
    for process in decoding_process._running - before:
        decoding_process._running.discard(process)
        process.end()


@pytest.mark.usefixtures("new_processes")
@pytest.mark.parametrize("name", ["probe", "tally_frames", "list_packets"])
def test_a_file_that_ends_the_process_is_one_entry_and_the_others_are_attacked(
    videos: Path,
    raw_videos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    start, end = decoding_process._START.split("from", 1)
    monkeypatch.setattr(decoding_process, "_START", f"{start}{DIES.format(name=name)}\nfrom{end}")
    words = ["attack", str(videos), "--raw", str(raw_videos), "--quick", "--frames", "1", "--json"]
    assert main(words) == 1
    said = capsys.readouterr()
    report = json.loads(said.out)
    bad, fine = report["videos"]
    assert bad["error"].startswith("bad.mp4 ended the process that decoded it (SIGSEGV); ")
    assert bad["error"].endswith(": leave it out.")
    assert bool(bad["findings"]) == (name == "list_packets")  # what was seen before is kept
    assert fine["error"] is None and {"faces", "raw", "sizes"} <= {
        one["attack"] for one in fine["findings"]
    }
    assert report["not_attacked"] == [str(videos / "bad.mp4")]
    (line,) = [one for one in said.err.splitlines() if "could not be attacked" in one]
    end = " to its end" if bad["findings"] else ""
    assert line.startswith(f"{videos / 'bad.mp4'} could not be attacked{end}: bad.mp4 ended ")


@pytest.mark.usefixtures("nothing_undone")
def test_no_file_is_opened_in_the_process_of_the_attack(
    videos: Path, raw_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def record(file: object, *_: object, **__: object) -> None:
        opened.append(file)
        raise AssertionError("opened here")

    def describe(_: object, count: int, frames: Iterator[object]) -> dict[str, object]:
        """Read all frames, without the networks, which take most of the time."""
        assert sum(1 for _ in frames) == count
        return {}

    monkeypatch.setattr(VideoDescriber, "describe", describe)
    monkeypatch.setattr(restore, "STEPS", 1)
    monkeypatch.setattr(run, "PATCHES", 32)
    monkeypatch.setattr(av, "open", record)
    report = attack_files([videos], AttackConfig(frames=1), raw=raw_videos)
    assert [one.error for one in report.videos] == [None, None]
    assert "was not compared" not in "".join(one.says for one in report.folder)
    assert not opened
