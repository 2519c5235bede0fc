"""Files of an object store: fetched, anonymized and put, whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from masquerade import anonymize_file, build
from masquerade.cli import main
from masquerade.errors import UsageError, VideoError
from masquerade.object_store import RemotePath, path_of
from masquerade.pipeline.plan import plan_tasks
from masquerade.storage import TEMPORARY
from masquerade.video.decoding_process import probe

fsspec = pytest.importorskip("fsspec")
BLACK = ("--method", "blacken", "--regions", "frame", "--preview", "0.2", "-q")


@pytest.fixture
def store() -> Iterator[Any]:
    """An object store in this process."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def listed(store: Any, folder: str) -> list[str]:
    return sorted(key.removeprefix(folder).lstrip("/") for key in store.find(folder))


def without_videos(store: Any, error: Exception) -> Callable[..., None]:
    """What puts a file as the store does, but for videos, at which it fails."""
    put = type(store).put_file

    def failing(self: Any, file: str, key: str, **more: Any) -> None:
        if key.endswith(".mp4"):
            raise error
        put(self, file, key, **more)

    return failing


def test_a_folder_of_a_store_is_anonymized_into_another(
    clip: Path, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("a.mp4", "more/b.mp4"):
        store.pipe(f"/in/{name}", clip.read_bytes())
    store.pipe("/in/bad.mp4", b"no video")
    store.pipe("/in/notes.txt", b"not asked for")
    record = tmp_path / "record.jsonl"
    words = ["anonymize", "memory://in", "-r", "-o", "memory://in/out/", *BLACK]
    assert main([*words, "--record", str(record)]) == 1
    made = ["a.mp4", "a.mp4.receipt.json", "more/b.mp4", "more/b.mp4.receipt.json"]
    assert listed(store, "/in/out") == made
    lines = {line["source"]: line for line in map(json.loads, record.read_text().splitlines())}
    assert lines["memory://in/bad.mp4"]["status"] == "failed"
    assert lines["memory://in/a.mp4"]["output"] == "memory://in/out/a.mp4"
    assert not list(tmp_path.glob(f"{TEMPORARY}*")), "the copies are gone"
    assert main([*words, "--resume"]) == 1, "what is done is skipped, and bad.mp4 fails again"
    assert main([*words, "--skip-existing"]) == 1
    store.rm_file("/in/bad.mp4")
    before = store.info("/in/out/a.mp4")["created"]
    assert main([*words, "--resume"]) == 0
    assert store.info("/in/out/a.mp4")["created"] == before
    assert main(words) == 1, "an output that is there is not replaced"
    assert store.info("/in/out/a.mp4")["created"] == before
    assert main([*words, "--overwrite"]) == 0
    assert store.info("/in/out/a.mp4")["created"] != before


@pytest.mark.parametrize("pattern", ["memory://ward/2026", "memory://ward/2026/*"])
def test_an_object_that_stands_for_a_folder_is_no_input(
    clip: Path, store: Any, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """As "Create folder" of a store's web page makes it; it was a file without an ending."""
    store.pipe("/ward/2026/a.mp4", clip.read_bytes())
    keys = ["/ward/2026/", "/ward/2026/a.mp4", "/ward/2026/more/"]
    monkeypatch.setattr(type(store), "find", lambda *_, **__: keys)
    monkeypatch.setattr(type(store), "glob", lambda *_, **__: keys)
    passed_over: list[Path] = []
    (task,) = plan_tasks([pattern], output="memory://o/", recursive=True, passed_over=passed_over)
    assert str(task.src) == "memory://ward/2026/a.mp4" and not passed_over


def test_files_go_from_and_to_this_machine(clip: Path, tmp_path: Path, store: Any) -> None:
    store.pipe("/in/a.mp4", clip.read_bytes())
    assert main(["anonymize", "memory://in/*.mp4", "-o", str(tmp_path / "o"), *BLACK]) == 0
    assert main(["anonymize", str(clip), "-o", "memory://out/b.mp4", *BLACK]) == 0
    assert main(["anonymize", str(clip), "-o", "memory://out/b.mp4", *BLACK]) == 2, "it is there"
    address = (tmp_path / "c.mp4").as_uri()
    assert main(["anonymize", clip.as_uri(), "-o", address, *BLACK]) == 0
    expected = (tmp_path / "o" / "a.mp4").read_bytes()
    assert store.cat("/out/b.mp4") == (tmp_path / "c.mp4").read_bytes() == expected
    assert main(["anonymize", "memory://in/a.mp4", *BLACK]) == 0
    assert listed(store, "/in") == ["a.mp4", "a_anonymized.mp4", "a_anonymized.mp4.receipt.json"]
    words = ["anonymize", "memory://in", "-o", "memory://in/", "--suffix", "_b", *BLACK]
    assert main(words) == 0 and store.exists("/in/a_b.mp4")


def test_a_disk_without_room_for_a_copy_is_not_told_as_a_store_that_is_not_reached(
    store: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    store.pipe("/in/a.mp4", b"a video")
    monkeypatch.setattr(type(store), "get_file", full)
    assert main(["anonymize", "memory://in/a.mp4", "-o", "memory://out/b.mp4", *BLACK]) == 1
    said = capsys.readouterr().err
    assert "no room for a copy of memory://in/a.mp4" in said and "network" not in said


def test_an_output_that_cannot_be_put_leaves_nothing(
    clip: Path, store: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = without_videos(store, RuntimeError("the key AKIA123 is wrong"))
    monkeypatch.setattr(type(store), "put_file", failing)
    assert main(["anonymize", str(clip), "-o", "memory://out/b.mp4", *BLACK]) == 1
    said = capsys.readouterr().err
    assert "memory://out/b.mp4 cannot be reached" in said and "AKIA" not in said
    assert not listed(store, "/out")


def test_where_the_video_cannot_be_put_nothing_stays_here_or_is_lost(
    clip: Path, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = without_videos(store, PermissionError(13, "denied"))
    monkeypatch.chdir(tmp_path)
    words = ["anonymize", str(clip), "-o", "memory://out/b.mp4", *BLACK]
    exports = ["--export-boxes", "b.json", "--export-masks", "m.mkv", "--report", "r.json"]
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_file", failing)
        assert main([*words, *exports]) == 1 and main([*words, "-y"]) == 1
        assert not list(tmp_path.iterdir()) and not listed(store, "/out")
    assert main([*words, *exports]) == 0 and listed(store, "/out") == ["b.mp4"]
    assert main([*words, "-y"]) == 0
    names = ["b.json", "m.mkv", "r.json"]
    before = [Path(name).read_bytes() for name in names] + [store.cat("/out/b.mp4.receipt.json")]
    monkeypatch.setattr(type(store), "put_file", failing)
    words += ["--crf", "45"]  # a video of the same bytes would do with either receipt
    assert main([*words, *exports, "-y"]) == 1 and main([*words, "-y"]) == 1
    after = [Path(name).read_bytes() for name in names] + [store.cat("/out/b.mp4.receipt.json")]
    assert after == before and sorted(path.name for path in tmp_path.iterdir()) == names


def test_the_receipt_of_an_output_that_is_replaced_goes_with_it(
    clip: Path, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = without_videos(store, PermissionError(13, "denied"))
    words = ["anonymize", str(clip), "-o", "memory://out/b.mp4", *BLACK]
    new = ["-y", "--crf", "45", "--report", str(tmp_path / "r.json")]
    assert main(words) == 0
    before = store.cat("/out/b.mp4.receipt.json")
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_file", failing)
        assert main([*words, *new]) == 1
    assert store.cat("/out/b.mp4.receipt.json") == before
    assert main([*words, *new]) == 0
    assert listed(store, "/out") == ["b.mp4"] and (tmp_path / "r.json").exists()
    store.pipe("/out/b.mp4.receipt.json", b'{"mine": 1}')  # no receipt
    assert main([*words, "-y", "--no-receipt"]) == 0
    assert store.cat("/out/b.mp4.receipt.json") == b'{"mine": 1}'


@pytest.mark.parametrize("suffix", [".mp4", ".json"])
def test_what_a_store_does_not_confirm_is_taken_back(
    clip: Path,
    store: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    suffix: str,
) -> None:
    """Else a video without a receipt stayed, or beside another's, and no later run got through."""
    info, sent = type(store).info, []
    put = type(store).put_file

    def note(self: Any, file: str, key: str, **more: Any) -> None:
        put(self, file, key, **more)
        sent.append(key)

    def silent(self: Any, key: str, **more: Any) -> Any:
        if sent and sent[-1].endswith(suffix) and key.endswith(suffix):
            raise OSError("timed out, AKIA123")
        return info(self, key, **more)

    words = ["anonymize", str(clip), "-o", "memory://out/b.mp4", *BLACK]
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_file", note)
        patched.setattr(type(store), "info", silent)
        assert main(words) == 1
    said = capsys.readouterr().err
    assert f"{suffix} was sent, but the store does not say that it came" in said
    assert "AKIA" not in said and not listed(store, "/out")
    assert main(words) == 0 and len(listed(store, "/out")) == 2
    older = store.cat("/out/b.mp4.receipt.json")
    sent.clear()
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_file", note)
        patched.setattr(type(store), "info", silent)
        assert main([*words, "-y"]) == 1
    assert len(listed(store, "/out")) == 2
    same = store.cat("/out/b.mp4.receipt.json") == older
    assert same == (suffix == ".json"), "the new video has its own receipt, and the older its own"


@pytest.mark.parametrize("address", ["memory://out", "sftp://host/out"])
def test_names_with_signs_of_addresses_keep_to_their_own_files(
    clip: Path, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """For fsspec `::` begins another address and `?` a query: other files were written or read."""
    names = ["cam1::north.mp4", "cam1::south.mp4", "cam1?a.mp4"]
    for name in names:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(clip.read_bytes())
    monkeypatch.setattr("fsspec.get_filesystem_class", lambda _: type(store))
    store.pipe("/out/cam1", b"somebody's")
    words = ["anonymize", str(tmp_path / "in"), "-o", address, *BLACK]
    assert main(words) == 0 and main([*words, "--overwrite"]) == 0
    receipts = [f"{name}.receipt.json" for name in names]
    assert listed(store, "/out") == sorted(["cam1", *names, *receipts])
    assert store.cat("/out/cam1") == b"somebody's"
    store.rm_file("/out/cam1")
    assert main(["anonymize", address, "-o", str(tmp_path / "back"), *BLACK]) == 0
    assert sorted(path.name for path in (tmp_path / "back").glob("*.mp4")) == names


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_a_video_that_came_before_an_error_has_its_own_receipt_or_is_taken_back(
    clip: Path, store: Any, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """As where somebody presses Ctrl-C, or the answer is lost, while the last part is sent."""
    put = type(store).put_file

    def late(self: Any, file: str, key: str, **more: Any) -> None:
        put(self, file, key, **more)
        if key.endswith(".mp4"):
            raise error

    words = ["anonymize", str(clip), "-o", "memory://out/b.mp4", *BLACK]
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_file", late)
        assert main(words) in (1, 130)
    assert not listed(store, "/out")
    assert main(words) == 0
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put_file", late)
        assert main([*words, "-y"]) in (1, 130)
    receipt = json.loads(store.cat("/out/b.mp4.receipt.json"))
    digest = hashlib.sha256(store.cat("/out/b.mp4")).hexdigest()
    assert receipt["output"]["sha256"] == digest


def test_an_interruption_ends_what_is_being_sent(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores such as S3 send in a thread of their own: the video came once all was taken back."""
    from fsspec.asyn import AsyncFileSystem

    held: dict[str, bytes] = {}
    ended: list[str] = []

    class Slow(AsyncFileSystem):
        protocol, cachable = "abfs", False

        async def _info(self, path: str, **_: Any) -> dict[str, Any]:
            key = self._strip_protocol(path)
            if key not in held:
                raise FileNotFoundError(key)
            return {"name": key, "size": len(held[key]), "type": "file"}

        async def _put_file(self, file: str, key: str, **_: Any) -> None:
            try:
                if key.endswith(".mp4"):
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    await asyncio.sleep(1)
                held[self._strip_protocol(key)] = Path(file).read_bytes()
            finally:
                ended.append(key)

        async def _rm_file(self, key: str, **_: Any) -> None:
            del held[self._strip_protocol(key)]

        async def _cat_file(self, key: str, *_: Any, **__: Any) -> bytes:
            return held[self._strip_protocol(key)]

    monkeypatch.setattr("fsspec.get_filesystem_class", lambda _: Slow)
    assert main(["anonymize", str(clip), "-o", "az://b/a.mp4", *BLACK]) == 130
    assert ended == ["b/a.mp4.receipt.json", "b/a.mp4"] and not held


def test_a_store_is_given_paths_and_no_addresses(
    clip: Path, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SFTP and SMB take some of their methods' paths as they are."""
    from fsspec.implementations.memory import MemoryFileSystem

    given: list[str] = []

    class Plain(MemoryFileSystem):
        protocol, cachable = "sftp", False

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name.startswith("_") or not callable(found):
                return found

            def noted(*words: Any, **more: Any) -> Any:
                given.extend(word for word in words if isinstance(word, str))
                return found(*words, **more)

            return noted

    monkeypatch.setattr("fsspec.get_filesystem_class", lambda _: Plain)
    store.pipe("/in/a.mp4", clip.read_bytes())
    words = ["anonymize", "sftp://host/in/a.mp4", "-o", "sftp://host/out/b.mp4", *BLACK]
    assert main(words) == 0 and main([*words, "--resume"]) == 0
    assert main([*words, "-y"]) == 0
    assert listed(store, "/out") == ["b.mp4", "b.mp4.receipt.json"]
    assert given and not [word for word in given if "://" in word or word.startswith("sftp:")]


def test_a_store_that_does_not_answer_for_one_file_stops_no_other(
    clip: Path,
    tmp_path: Path,
    store: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        store.pipe(f"/in/{name}", clip.read_bytes())
    exists = type(store).exists

    def silent(self: Any, key: str, **more: Any) -> bool:
        if key.endswith("out/b.mp4"):
            raise OSError("timed out")
        return bool(exists(self, key, **more))

    monkeypatch.setattr(type(store), "exists", silent)
    words = ["anonymize", "memory://in", "-o", "memory://out/", *BLACK]
    assert main([*words, "--skip-existing", "--dry-run"]) == 1
    planned = capsys.readouterr()
    assert len(planned.out.splitlines()) == 2 and "memory://in/b.mp4: " in planned.err
    assert main([*words, "--skip-existing"]) == 1
    made = [name for name in listed(store, "/out") if name.endswith(".mp4")]
    assert made == ["a.mp4", "c.mp4"]
    here = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    for path in here:
        path.write_bytes(clip.read_bytes())
    words = ["anonymize", str(tmp_path), "-o", "memory://other/out/", *BLACK[:-1], "--workers", "2"]
    assert main(words) == 0, "each worker has a store of its own, which answers"
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_one_file_that_cannot_be_read_stops_no_naming_by_content(
    clip: Path, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mp4", "b.mp4"):
        store.pipe(f"/in/{name}", clip.read_bytes())
    opened = type(store)._open

    def refusing(self: Any, key: str, *words: Any, **more: Any) -> Any:
        if key.endswith("a.mp4"):
            raise PermissionError(13, "InvalidObjectState")
        return opened(self, key, *words, **more)

    monkeypatch.setattr(type(store), "_open", refusing)
    words = ["anonymize", "memory://in", "-o", str(tmp_path / "o"), "--name", "hash", *BLACK]
    assert main(words) == 1
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    assert [path.stem for path in (tmp_path / "o").glob("*.mp4")] == [digest[:16]]


@pytest.mark.parametrize("receipt", [None, b"\xff"])
def test_what_exists_in_a_store_is_skipped_where_no_receipt_tells_what_it_is_of(
    clip: Path, store: Any, receipt: bytes | None
) -> None:
    store.pipe("/in/a.mp4", clip.read_bytes())
    words = ["anonymize", "memory://in", "-o", "memory://out/", "--no-receipt", *BLACK]
    assert main(words) == 0 and listed(store, "/out") == ["a.mp4"]
    if receipt is not None:
        store.pipe("/out/a.mp4.receipt.json", receipt)
    for more in ([], ["--dry-run"]):
        assert main([*words, "--skip-existing", *more]) == 0


def test_outputs_among_their_sources_in_a_store_are_no_sources_of_the_next_run(
    clip: Path, store: Any
) -> None:
    store.pipe("/in/a.avi", clip.read_bytes())
    words = ["anonymize", "memory://in", "-o", "memory://in/", "--skip-existing", *BLACK]
    made = ["a.avi", "a.mp4", "a.mp4.receipt.json"]
    for _ in range(2):
        assert main(words) == 0 and listed(store, "/in") == made
    store.pipe("/in/a.mp4", b"a new video, of which the receipt is not")
    assert [task.src.name for task in plan_tasks(["memory://in"], output="memory://in/")] == made[
        :2
    ]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["memory://in/none.mp4", "-o", "o.mp4"], 1, "memory://in/none.mp4 does not exist"),
        (["memory://in/", "-o", "o/"], 2, "there is no video or image"),
        (["memory://in/x?.mp4", "-o", "o/"], 2, "memory:// takes no '?': give * in a pattern"),
        (["s3://b/a.mp4?token=secret", "-o", "o/"], 2, "takes no '?'"),
        (["s3://me:se?secret@b/a.mp4", "-o", "o/"], 2, "a password or a query"),
        (["sftp://me:secret@host/a.mp4", "-o", "o.mp4"], 2, "a password or a query"),
        (["sftp://me:se/secret@host/a.mp4", "-o", "o.mp4"], 2, "a password or a query"),
        (["s3://me:secret@bucket/a.mp4", "-o", "o.mp4"], 2, "a password or a query"),
        (["s3://me:se/secret@bucket/a.mp4", "-o", "o.mp4"], 2, "a password or a query"),
        (["ftp://me:secret@host/a.mp4", "-o", "o.mp4", "--json"], 2, "at ftp://"),
        (["memory://in/a.mp4", "-o", "ftp://me:secret@host/o.mp4"], 2, "at ftp://"),
        (["simplecache::s3://me:secret@b/a.mp4", "-o", "o.mp4"], 2, "at simplecache::s3://"),
        (["memory://in/a.mp4", "-o", "zip::s3://me:secret@b/o.mp4"], 2, "at zip::s3://"),
        (["memory://in/a.mp4", "-o", "o.mp4", "--region=http://me:secret@a/b"], 2, "at http://"),
        (["s3://bucket/../a.mp4", "-o", "o.mp4"], 2, "without it"),
        (
            ["memory://in/a.mp4", "-o", "o.mp4", "--report", "s3://b/r.json"],
            2,
            "--report is a file",
        ),
        (["memory://in/a.mp4", "-o", "o.mp4", "--record", "s3://b/r"], 2, "--record is a file"),
        (["memory://in/a.mp4", "--list-people"], 2, "download the video"),
        (["CLIP", "--list-people", "-o", "memory://in/p.png"], 2, "the sheet here"),
        (["CLIP", "--list-people", "-o", "memory://in/sheets/"], 2, "the sheet here"),
        (["memory://in", "--sequence", "25", "-o", "o.mp4"], 2, "--sequence reads files"),
    ],
)
def test_addresses_that_cannot_be_served(
    words: list[str],
    code: int,
    says: str,
    store: Any,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "none" not in words[0] and not words[0].endswith("/"):
        store.pipe("/in/a.mp4", clip.read_bytes())
    words = [str(clip) if word == "CLIP" else word for word in words]
    assert main(["anonymize", *words, *BLACK]) == code
    printed = capsys.readouterr()
    assert says in printed.err and "secret" not in printed.err + printed.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/12:30 ward@night.mp4",
        "abfs://videos@account.dfs.core.windows.net/12:30@night.mp4",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/ward/@night.mp4",
    ],
)
def test_a_key_may_hold_a_colon_before_an_at_sign(text: str) -> None:
    assert str(path_of(text)) == text


def test_no_password_of_an_address_in_a_list_or_a_path_is_printed_or_recorded(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "rtsp://me:secret@cam/a.mp4"
    words = ["anonymize", "-", "-o", f"{tmp_path}/o/", "--json", "--record", f"{tmp_path}/r"]
    listed = io.TextIOWrapper(io.BytesIO(f"{clip}\n{address}\n".encode()))
    monkeypatch.setattr("sys.stdin", listed)
    assert main([*words, *BLACK]) == 2
    printed = capsys.readouterr()
    assert "at rtsp://: download it" in printed.err and not list(tmp_path.iterdir())
    assert "secret" not in printed.err + printed.out
    for read in (
        lambda: anonymize_file(address, tmp_path / "o.mp4", build("blacken")),
        lambda: probe(address),
    ):
        with pytest.raises(VideoError, match="at rtsp://: download it") as raised:
            read()
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "words",
    [
        ["data", "mimes", "memory://in/mimes", "--clips", "1"],
        ["data", "check", "s3://bucket/clips.csv"],
        ["export", "silhouette", "--output=s3://bucket/s.onnx"],
        ["train", "spact", "--data", "clips.csv", "-o", "s3://bucket/run"],
        ["evaluate", "--data", "sftp://me:secret@host/a.csv", "--method", "blur"],
        ["templates", "export", "-o", "gs://bucket/mine.safetensors"],
        ["templates", "add", "eye", "--image", "rtsp://me:secret@cam/a.mp4", "--at", "1,1"],
        ["demo", "rtsp://me:secret@cam/a.mp4"],
        ["attack", "http://me:secret@host/a.mp4"],
        ["data", "check", "http://me:secret@host/clips.csv"],
    ],
)
def test_a_verb_of_this_machine_refuses_an_address(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Taken for a path it would be a folder called `s3:` here."""
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{words[0]} reads and writes files of this machine alone" in said
    assert "secret" not in said and not list(tmp_path.iterdir())


def test_a_store_whose_package_does_not_start_is_one_short_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise OSError("Unable to load libjvm\n" + "dlopen(/usr/lib/jvm/libjvm.so)\n" * 100)

    monkeypatch.setattr("fsspec.get_filesystem_class", failing)
    assert main(["anonymize", "hdfs://bucket/a.mp4", "-o", "o.mp4", *BLACK]) == 1
    said = capsys.readouterr().err
    assert "hdfs://bucket/a.mp4 cannot be reached" in said and "dlopen" not in said


@pytest.mark.parametrize("key", ["/in/x/../../a.mp4", "/in//a.mp4", "/in/x/./a.mp4"])
@pytest.mark.parametrize("named", ["memory://in", "memory://in/**"])
def test_a_key_that_climbs_out_of_the_output_folder_or_is_no_path_is_refused(
    store: Any, key: str, named: str
) -> None:
    """One with `//` would be taken for the file without, and never be anonymized."""
    store.pipe("/in/a.mp4", b"")
    store.store[key] = store.store["/in/a.mp4"]
    with pytest.raises(UsageError, match="rename it"):
        plan_tasks([named], output="o", recursive=True)
    with pytest.raises(UsageError, match="without it"):
        path_of(f"memory:/{key}")


def test_a_file_whose_name_is_a_pattern_can_be_named(store: Any) -> None:
    for name in ("[cam1] a.mp4", "c a.mp4", "b.mp4"):
        store.pipe(f"/in/{name}", b"")
    assert [str(task.src) for task in plan_tasks(["memory://in/[cam1] a.mp4"])] == [
        "memory://in/[cam1] a.mp4"
    ]
    assert [str(task.src) for task in plan_tasks(["memory://in/[bc]*.mp4"])] == [
        "memory://in/b.mp4",
        "memory://in/c a.mp4",
    ]


def test_an_address_is_a_path() -> None:
    path = path_of("s3://bucket/folder/a.mp4")
    for other in ("s3a://bucket/folder/a.mp4", "S3://bucket/folder/a.mp4"):
        assert path_of(other) == path  # else an output would not be known to be a source
    assert str(path_of("gcs://b/a.mp4")) == "gs://b/a.mp4"
    assert str(path_of("az://b/a.mp4")) == "abfs://b/a.mp4" == str(path_of("abfss://b/a.mp4"))
    assert str(path_of("ssh://host/a.mp4")) == "sftp://host/a.mp4"
    assert isinstance(path, RemotePath) and str(path) == "s3://bucket/folder/a.mp4"
    assert str(path.with_name("b.json")) == "s3://bucket/folder/b.json"
    assert str(path.parent / "sub" / "c") == "s3://bucket/folder/sub/c"
    assert pickle.loads(pickle.dumps(path)) == path and path.name == "a.mp4"
    assert not isinstance(path_of("s3:/bucket/a.mp4"), RemotePath)


@pytest.mark.slow
def test_a_bucket_is_anonymized_into_another(
    clip: Path,
    tmp_path: Path,
    s3: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a server in another process, and the command in one of its own."""
    import s3fs

    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    bucket = s3fs.S3FileSystem()
    for name in ("private", "public"):
        bucket.mkdir(name)
    for name in ("a.mp4", "b.mp4"):
        bucket.put_file(str(clip), f"private/ward/{name}")
    bucket.pipe("private/ward/bad.mp4", b"no video")
    record = tmp_path / "record.jsonl"
    words = [sys.executable, "-m", "masquerade", "anonymize", "s3://private/ward"]
    words += ["-o", "s3://public/ward/", *BLACK[:-1], "--record", str(record)]
    done = subprocess.run([*words, "--workers", "2"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 1 and "bad.mp4 is not a video" in done.stderr, done.stderr
    bucket.invalidate_cache()
    made = ["a.mp4", "a.mp4.receipt.json", "b.mp4", "b.mp4.receipt.json"]
    assert sorted(Path(key).name for key in bucket.find("public")) == made
    receipt = bucket.cat("public/ward/a.mp4.receipt.json").decode()
    for secret in ("AKIATESTING", "very-secret"):
        assert not any(secret in text for text in (done.stderr, done.stdout, receipt))
        assert secret not in record.read_text()
    alone = tmp_path / "alone.mp4"
    assert main(["anonymize", str(clip), "-o", str(alone), *BLACK]) == 0
    assert bucket.cat("public/ward/a.mp4") == alone.read_bytes()
    capsys.readouterr()
    assert main([*words[3:], "--resume"]) == 1
    assert capsys.readouterr().err.count("done before") == 2
    assert main(["anonymize", "s3://nobody/a.mp4", "-o", str(tmp_path / "x.mp4"), *BLACK]) == 1
    assert capsys.readouterr().err.count("\n") == 1
