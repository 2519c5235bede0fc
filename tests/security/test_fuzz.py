"""`benchmarks/fuzz.py`: mutated files of every kind never get past the reader's own refusal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from masquerade.errors import VideoError
from masquerade.video.probe import probe_in_process, stream_info, tally_frames_in_process

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# In place of the package: what a file says is what befalls the process that reads it.
STUBS = {
    "__init__.py": "",
    "errors.py": "class MasqueradeError(Exception): ...\n",
    "video/__init__.py": "",
    "video/frame.py": "class Frame: ...\n",
    "video/read.py": """
from masquerade.errors import MasqueradeError
class Reader:
    damaged = 0
    def __init__(self, path, **_): ...
    __enter__ = lambda self: self
    __exit__ = lambda self, *_: None
    __iter__ = lambda self: iter(())
""",
    "video/probe.py": """
import os, time
from masquerade.errors import MasqueradeError
def probe_in_process(path):
    word = path.read_text()
    if word == "crash": os.abort()
    if word == "hang": time.sleep(60)
    if word == "memory": bytearray(b"1" * (200 << 20))
    if word == "raise": raise KeyError("what")
    if word == "refuse": raise MasqueradeError("This is no video.")
    if word == "lines": raise MasqueradeError("two\\nlines.")
def tally_frames_in_process(path): ...
""",
}


@pytest.fixture
def fuzzer(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import fuzz  # type: ignore[import-not-found]

    yield fuzz
    for name in ("fuzz", "fuzz_structure"):
        sys.modules.pop(name, None)


def test_every_seed_file_is_read_whole(fuzzer: ModuleType, tmp_path: Path) -> None:
    """Otherwise its mutations would show nothing."""
    seeds, missing = fuzzer.write_seeds(tmp_path)
    assert len(seeds) >= 90 and len(seeds) + len(missing) == len(fuzzer.SEEDS)
    for name in seeds:
        answer = fuzzer.read(tmp_path / name, False)
        frames = 1 if name.startswith("image-") else 8
        assert (answer["outcome"], answer.get("frames")) == ("read", frames), (name, answer)


def test_an_input_follows_from_its_seed_and_number(fuzzer: ModuleType, tmp_path: Path) -> None:
    seeds, _ = fuzzer.write_seeds(tmp_path)
    drawn = {fuzzer.input_of(seeds, 5, number) for number in range(400)}
    assert drawn == {fuzzer.input_of(seeds, 5, number) for number in range(400)}
    assert len({data for _, data, _ in drawn}) > 380  # few mutations meet, or change nothing
    assert drawn != {fuzzer.input_of(seeds, 6, number) for number in range(400)}


def test_a_few_mutations_of_every_seed_file(fuzzer: ModuleType, tmp_path: Path) -> None:
    tally = fuzzer.fuzz(inputs=200, seed=1, keep=tmp_path)
    assert not tally.failures
    assert tally.inputs == 200 and len(tally.outcomes) >= 90


@pytest.mark.slow
def test_thousands_of_mutations(fuzzer: ModuleType, tmp_path: Path) -> None:
    tally = fuzzer.fuzz(inputs=4000, seed=0, keep=tmp_path)
    assert not tally.failures
    assert tally.inputs == 4000


def test_every_kind_of_failure_is_noticed_and_the_next_file_is_read(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in STUBS.items():
        (tmp_path / "masquerade" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "masquerade" / name).write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(fuzzer, "SECONDS", 3)
    monkeypatch.setattr(fuzzer, "MEGABYTES", 100)
    path, wanted = tmp_path / "input", {
        "crash": "crash", "hang": "hang", "memory": "memory", "raise": "traceback",
        "refuse": "refused", "lines": "traceback", "fine": "read",
    }  # fmt: skip
    with fuzzer.Child(tmp_path / "log") as child:
        found = {}
        for word in wanted:
            path.write_text(word)
            answer = child.read(path, salvage=False)
            found[word] = answer["outcome"]
            if word == "crash":
                assert "SIGABRT" in answer["detail"] and "in probe" in answer["detail"]
            if word == "raise":
                assert "KeyError: 'what'" in answer["detail"]
    assert found == wanted


def test_an_output_that_shows_anything_is_a_failure(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mkv"
    fuzzer.write_seed(path, "mkv-ffv1")
    assert fuzzer.publish(path, False) == {"published": True}
    monkeypatch.setattr(fuzzer, "BLACK", -1)
    assert fuzzer.publish(path, False)["outcome"] == "raw"


@pytest.mark.slow
def test_a_failure_is_kept_and_read_again(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    class Broken(fuzzer.Child):  # type: ignore[misc, name-defined]
        def read(self, path: Path, **_: object) -> dict[str, str]:
            return {"outcome": "crash", "detail": "SIGSEGV"}

    with monkeypatch.context() as patch:
        patch.setattr(fuzzer, "Child", Broken)
        tally = fuzzer.fuzz(inputs=3, seed=8, keep=tmp_path / "kept")
        assert fuzzer.replay([path for path, _ in tally.failures]) == 1
        assert "SIGSEGV" in fuzzer.page(tally, seed=8)
    kept = [path for path, _ in tally.failures]
    assert len(kept) == 3 and all(path.name.startswith("crash-8-") for path in kept)
    seeds, _ = fuzzer.write_seeds(tmp_path)
    for number, path in enumerate(kept):
        assert path.read_bytes() == fuzzer.input_of(seeds, 8, number)[1]
    assert fuzzer.replay(kept) == 0
    assert str(kept[0]) in capsys.readouterr().out


# What it found.


def test_a_file_whose_demuxer_fails_is_refused_by_the_count(
    fuzzer: ModuleType, tmp_path: Path
) -> None:
    """Counting the packets of a damaged file, as the check of an output does, was a traceback."""
    seeds, _ = fuzzer.write_seeds(tmp_path)
    first, _, rest = seeds["apng"].rpartition(b"fdAT")
    path = tmp_path / "odd.apng"
    path.write_bytes(first + b"fcTL" + rest)
    with pytest.raises(VideoError, match=r"odd\.apng cannot be read to its end \(.*\)\.$"):
        tally_frames_in_process(path)


def test_a_stream_of_an_unknown_codec_has_no_name(fuzzer: ModuleType, tmp_path: Path) -> None:
    """A second video stream that FFmpeg knows no decoder for was a traceback."""
    import av

    seeds, _ = fuzzer.write_seeds(tmp_path)
    data = bytearray(seeds["flv-h264"])
    place = 13
    while data[place] != 9:  # the first tag of video
        place += 15 + int.from_bytes(data[place + 1 : place + 4], "big")
    size = 15 + int.from_bytes(data[place + 1 : place + 4], "big")
    extra = bytearray(data[place : place + size])
    extra[11] = extra[11] & 0xF0 | 0x0F  # no codec has this number
    path = tmp_path / "two.flv"
    path.write_bytes(data[:place] + data[place : place + size] + extra + data[place + size :])
    with av.open(str(path)) as container:
        assert len(container.streams) == 2
        codecs = [stream_info(stream).codec for stream in container.streams]
    assert codecs == ["h264", "unknown"]
    assert [stream.codec for stream in probe_in_process(path).streams] == codecs
