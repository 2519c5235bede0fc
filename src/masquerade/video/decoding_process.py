"""Probe and decode files from strangers in another process, so that no codec can take this one.

A process is started when the first file is opened, serves one file after another, and is replaced
when it dies; files that are open at once have one each, of which three are kept for later files.
Its pictures come through shared memory, and all else as plain data (`messages`).
"""

import atexit
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

from masquerade.errors import MasqueradeError, VideoError
from masquerade.video.container import MAX_PIXELS, printable
from masquerade.video.decoding import Decoded, Losses, StreamPacket
from masquerade.video.messages import (
    Message,
    info_from_plain,
    info_to_plain,
    packet_from_plain,
    receive,
    send,
    sound_from_plain,
)
from masquerade.video.probe import PacketFacts, StreamFrames, VideoInfo, check_size
from masquerade.video.shared_picture import Properties, SharedPictureReader, byte_count
from masquerade.video.stream_template import StreamTemplate, open_skeleton

SLOTS = 3  # pictures in shared memory, fewer where they are large
MOST_IDLE = 3  # processes that are kept: an attack reads a video, and beside it a raw one twice
SLOT_BYTES = 2**28  # of all of them, unless one takes more
_START = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from masquerade.video.decoding_child import main
main(int(sys.argv[2]), int(sys.argv[3]))"""


class Limits(NamedTuple):
    """What a file may take before its process is ended."""

    seconds: float = 60.0  # without an answer, and one more for each `BYTES_A_SECOND` of the file
    memory: int | None = None  # bytes; None: by the size of its pictures


LIMITS = Limits()
BYTES_A_SECOND = 10**7  # that a slow disk reads


class DecodingProcess:
    """A child process that probes and decodes for this one."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        own = str(theirs.fileno()), str(os.getpid())
        try:
            with theirs:
                self.process = subprocess.Popen(
                    # -P: the current folder may be a stranger's, and hold a json.py
                    [sys.executable, "-P", "-c", _START, json.dumps(sys.path), *own],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C of a terminal goes to all of a session's group
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                )
        except OSError as error:
            ours.close()
            raise MasqueradeError(
                f"the process that decodes cannot be started: {error.strerror}."
            ) from error
        self.channel = ours

    @property
    def alive(self) -> bool:
        """Whether it can serve."""
        return self.process.poll() is None

    def end(self) -> int:
        """End it at once, and return its exit status, negative for a signal."""
        self.channel.close()
        self.process.kill()
        return self.process.wait()


_idle: list[DecodingProcess] = []  # waiting for the next file, which the last one takes
_running: set[DecodingProcess] = set()
_forgotten: list[DecodingProcess] = []  # of the parent of a fork


def _forget() -> None:
    """A forked process leaves those of its parent alone."""
    _forgotten.extend(_running)
    _idle.clear()
    _running.clear()


def _end_all() -> None:
    for process in list(_running):
        process.end()


os.register_at_fork(after_in_child=_forget)
atexit.register(_end_all)


class DecoderSession:
    """One file's use of a decoding process; the process's death or silence is an error."""

    def __init__(self, path: Path | str, limits: Limits) -> None:
        self._path, self._limits = path, limits  # of live video, its name
        self._process: DecodingProcess | None = None
        self._seconds = limits.seconds + _size(path) / BYTES_A_SECOND
        while self._process is None:
            try:
                waiting = _idle.pop()
            except IndexError:  # none, or another thread took it
                self._process = DecodingProcess()
                _running.add(self._process)
                break
            if waiting.alive:
                self._process = waiting
            else:
                _running.discard(waiting)
                waiting.end()
        self._process.channel.settimeout(self._seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._process is not None and kind is not None:  # perhaps in the middle of an answer
            self.end()
        self.release()

    @property
    def closed(self) -> bool:
        """Whether the process was ended or left to another file."""
        return self._process is None

    def open(self, ask: str, **more: Any) -> Message:
        """Send the first request, and return the answer, which may be a while in coming."""
        path = os.fsencode(self._path).hex()
        try:
            folder = os.getcwd()
        except FileNotFoundError:  # it was removed
            folder = "/"
        self.send(ask, path=path, folder=folder, memory=self._limits.memory, **more)
        message, _ = self.receive()
        while "alive" in message:
            message, _ = self.receive()
        return message

    def send(self, ask: str, **more: Any) -> None:
        """Send a request to the process."""
        assert self._process is not None
        try:
            send(self._process.channel, {"ask": ask, **more})
        except OSError:
            self._died()

    def send_file(self, descriptor: int) -> None:
        """Hand an open file descriptor to the process."""
        assert self._process is not None
        try:
            socket.send_fds(self._process.channel, [b"."], [descriptor])
        except OSError:
            self._died()

    def receive(self) -> tuple[Message, bytearray]:
        """Wait for the next answer of the process.

        Raises:
            VideoError: the file cannot be read, or its process died or is silent.
        """
        assert self._process is not None
        try:
            message, data = receive(self._process.channel)
        except TimeoutError:
            self.end()
            hint = "; leave it out, or convert it first" if isinstance(self._path, Path) else ""
            raise VideoError(
                f"{printable(self._path)} gave no picture within {self._seconds:.0f} seconds{hint}."
            ) from None
        except OSError:
            self._died()
        if "error" in message:
            self.release()
            text = message["error"] or f"{printable(self._path)} {message['why']}; leave it out."
            raise VideoError(text)
        return message, data

    def wait_at_most(self, seconds: float) -> None:
        """Take the process for silent after so many seconds without an answer."""
        assert self._process is not None
        self._seconds = seconds
        self._process.channel.settimeout(seconds)

    def interrupt(self) -> None:
        """Make a waiting `receive` fail; a signal handler or another thread may call this."""
        process = self._process  # which its own thread may give up meanwhile
        if process is not None:
            with suppress(OSError):
                process.channel.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Leave the process to the next file."""
        process, self._process = self._process, None
        if process is None:
            return
        if len(_idle) >= MOST_IDLE:
            _running.discard(process)
            process.end()
        else:
            _idle.append(process)

    def end(self) -> int:
        """End the process."""
        process, self._process = self._process, None
        assert process is not None
        _running.discard(process)
        return process.end()

    def _died(self) -> NoReturn:
        status = self.end()
        how = signal.Signals(-status).name if status < 0 else f"exit {status}"
        raise VideoError(
            f"{printable(self._path)} ended the process that decoded it ({how}); it is damaged, or "
            "made to do so: leave it out."
        )


def _size(path: Path | str) -> int:
    """A file's size in bytes; 0 where it cannot be looked at, for which the process says why."""
    try:
        return path.stat().st_size if isinstance(path, Path) and path.is_file() else 0
    except OSError:
        return 0


def probe(path: Path | str, *, rate: Fraction | None = None, limits: Limits = LIMITS) -> VideoInfo:
    """What a video or an image holds, as `probe_in_process`, but found in a process of its own."""
    path = Path(path)
    with DecoderSession(path, limits) as session:
        return info_from_plain(session.open("probe", rate=rate)["info"], path)


def tally_frames(path: Path) -> StreamFrames:
    """Count the frames of a video in the decoding process; see `probe.tally_frames_in_process`."""
    with DecoderSession(path, LIMITS) as session:
        return StreamFrames(*session.open("tally", rate=None)["tally"])


def count_frames(path: Path) -> int:
    """Count the frames that are shown of a video, in the process that decodes."""
    return tally_frames(path).shown


def list_frame_tags(path: Path, *, limits: Limits = LIMITS) -> tuple[list[str], bool]:
    """List all frames' tags in the decoding process; see `probe.list_frame_tags_in_process`."""
    with DecoderSession(path, limits) as session:
        names, other_messages = session.open("frame tags", rate=None)["frame tags"]
        return names, other_messages


def list_packets(path: Path, *, limits: Limits = LIMITS) -> list[PacketFacts]:
    """List the packets of a video in the decoding process; see `probe.list_packets_in_process`."""
    with DecoderSession(path, limits) as session:
        return [PacketFacts(*facts) for facts in session.open("packets", rate=None)["packets"]]


def list_used_bytes(path: Path) -> list[tuple[int, int]]:
    """List which bytes packets take as `mp4_data.list_used_bytes` does, in the decoding process."""
    with DecoderSession(path, LIMITS) as session:
        return [(start, end) for start, end in session.open("used", rate=None)["used"]]


class RemoteDecoder:
    """A `decoding.Decoder` in a process of its own."""

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        *,
        salvage: bool = False,
        threads: int = 0,
        gpu: bool = False,
        limits: Limits = LIMITS,
    ) -> None:
        self.path, self.info = path, info
        self.copy: Collection[int] = ()
        self.sound: Collection[int] = ()
        self.losses = Losses()
        self._options = {"salvage": salvage, "threads": threads, "gpu": gpu}
        self._limits = limits
        self._session: DecoderSession | None = None
        self._about: Message = {"tags": {}, "chapters": [], "streams": []}
        self._skeletons: list[Any] = []  # open files of one stream and no packets

    def __enter__(self) -> Self:
        self._session = DecoderSession(self.path, self._limits)
        info = info_to_plain(self.info)
        self._about = self._session.open("read", rate=None, info=info, **self._options)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        session, self._session = self._session, None
        done = kind is None or kind is GeneratorExit  # of a generator that is not read to its end
        for skeleton in self._skeletons:
            skeleton.close()
        assert session is not None
        with session, suppress(VideoError):
            if done and not session.closed:
                session.send("close")
                while "closed" not in session.receive()[0]:
                    pass
            elif not session.closed:
                session.end()

    @property
    def tags(self) -> dict[str, str]:
        """The file's own tags, with their values."""
        return dict(self._about["tags"])

    @property
    def chapters(self) -> list[Any]:
        """The file's chapters, as PyAV gives them."""
        return list(self._about["chapters"])

    def stream_tags(self, index: int) -> dict[str, str]:
        """One stream's tags, with their values."""
        streams = self._about["streams"]
        return dict(streams[index]) if streams else {}

    def template(self, index: int) -> StreamTemplate:
        """An input stream, as the template of an output stream."""
        session = self._open()
        session.send("template", index=index, skeleton=index not in self.sound)
        message, data = session.receive()
        template = StreamTemplate(**message["template"])
        if not data:
            return template
        self._skeletons.append(open_skeleton(data))
        return replace(template, stream=self._skeletons[-1].streams[0])

    def __iter__(self) -> Iterator[Decoded | StreamPacket]:
        session, maker, slot = self._open(), SharedPictureReader(), 0
        shared: mmap.mmap | None = None
        session.send("go", copy=sorted(self.copy), sound=sorted(self.sound))
        while True:
            message, data = session.receive()
            if "losses" in message:
                self.losses = Losses(*message["losses"])
            if "closed" in message:
                session.release()
                return
            if "room" in message:
                slot = message["room"]
                shared = share_memory(session, slot)
            elif "picture" in message:
                of = Properties(*message["picture"])
                check_size(of.width, of.height, self.path, most=MAX_PIXELS)
                assert shared is not None and byte_count(*of[:3]) <= slot
                start = message["slot"] * slot
                picture = maker.take(memoryview(shared)[start : start + slot], of)
                session.send("next", slot=message["slot"])
                yield Decoded(picture, message["pts"], message["duration"], message["index"])
            elif "packet" in message:
                packet = packet_from_plain(message["packet"], memoryview(data))
                yield StreamPacket(message["index"], packet)
            else:
                sound = sound_from_plain(message["sound"], memoryview(data))
                yield StreamPacket(message["index"], None, sound)

    def _open(self) -> DecoderSession:
        if self._session is None:
            raise VideoError(f"{printable(self.path)} is not open; use the reader in a with block.")
        return self._session


def share_memory(session: DecoderSession, slot: int, *, most: int = SLOTS) -> mmap.mmap:
    """Shared memory for pictures of so many bytes, without a name; it goes with its last user."""
    slots = max(1, min(most, SLOT_BYTES // max(1, slot)))
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, slots * slot)
        if hasattr(os, "memfd_create"):  # so that reading it cannot end this process
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        shared = mmap.mmap(descriptor, slots * slot)
        session.send("ring", slots=slots)
        session.send_file(descriptor)
    finally:
        os.close(descriptor)
    return shared
