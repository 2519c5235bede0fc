"""Live video over a real network protocol: an RTSP server on the loopback, lost and found again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from live_command import (
    HIDDEN,
    SLOWLY,
    free_port,
    live,
    receipt_of,
    shown_frames,
    wait_for,
    wait_for_listener,
)

SERVER = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"  # whose packages Debian installs


def gstreamer() -> bool:
    try:
        script = "import gi; gi.require_version('GstRtspServer', '1.0')"
        return not subprocess.run([PYTHON, "-c", script], capture_output=True).returncode
    except OSError:
        return False


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (gstreamer() and shutil.which("ffmpeg")),
        reason="no RTSP server: apt install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good "
        "python3-gi ffmpeg",
    ),
]


@pytest.fixture(scope="module")
def video(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute in H.264 that an RTSP server sends as it is."""
    return coded(clip, tmp_path_factory.mktemp("rtsp") / "ward.mp4", seconds=30, group=10)


def coded(clip: Path, path: Path, *, seconds: int, group: int) -> Path:
    """A clip again and again, with a key frame at the head of each group of so many frames."""
    words = ["ffmpeg", "-v", "error", "-stream_loop", str(seconds - 1), "-i", clip, "-an"]
    words += ["-c:v", "libx264", "-preset", "ultrafast", "-g", str(group), path]
    subprocess.run(words, check=True)
    return path


@contextmanager
def served(video: Path, port: int = 0) -> Iterator[int]:
    server = subprocess.Popen(
        [PYTHON, SERVER, str(video), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


def test_a_stream_that_is_lost_is_found_again(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with ExitStack() as servers:
        port = servers.enter_context(served(video))
        address = f"rtsp://127.0.0.1:{port}/ward"
        with live(address, "-o", out, *HIDDEN, *SLOWLY, "--stall", 3) as run:
            wait_for(run, "the first frame is shown")
            time.sleep(1)
            servers.close()
            wait_for(run, "it is opened again")
            servers.enter_context(served(video, port))
            wait_for(run, "is back")
            time.sleep(2)
            run.send_signal(signal.SIGTERM)
            _, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    receipt = receipt_of(out)
    assert receipt["reconnections"] == 1 and receipt["warnings"] == []
    assert shown_frames(out) == receipt["shown"]


def test_a_stream_that_is_gone_for_good_leaves_what_was_shown(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    words = [*HIDDEN, "--stall", 2, "--reconnect", 1]
    with ExitStack() as servers:
        port = servers.enter_context(served(video))
        with live(f"rtsp://nurse:secret@127.0.0.1:{port}/ward", "-o", out, *words) as run:
            wait_for(run, "the first frame is shown")
            servers.close()
            _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "rtsp://127.0.0.1" in errors and "secret" not in errors and "Traceback" not in errors
    receipt = receipt_of(out)
    assert shown_frames(out) == receipt["shown"]
    assert "the source was lost for good." in receipt["warnings"]
    assert not any(word in str(receipt) for word in ("127.0.0.1", "ward"))


def test_a_camera_is_shown_from_its_first_key_frame_on(clip: Path, tmp_path: Path) -> None:
    """It has no other one, as cameras that save bits have few."""
    out = tmp_path / "out.mp4"
    with (
        served(coded(clip, tmp_path / "ward.mp4", seconds=30, group=750)) as port,
        live(f"rtsp://127.0.0.1:{port}/ward", "-o", out, *HIDDEN, *SLOWLY, "--duration", 2) as run,
    ):
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert shown_frames(out) == receipt_of(out)["shown"] > 1


def test_it_goes_on_to_an_rtsp_server(video: Path, tmp_path: Path) -> None:
    """FFmpeg waits for a sender, as a server that records does."""
    got, port = tmp_path / "got.mkv", free_port()
    address = f"rtsp://127.0.0.1:{port}/safe"
    words = ["ffmpeg", "-v", "error", "-rtsp_flags", "listen", "-i", address, "-c", "copy", got]
    receiver = subprocess.Popen(words, stderr=subprocess.PIPE)
    try:
        wait_for_listener(port, receiver)
        with (
            served(video) as source,
            live(
                f"rtsp://127.0.0.1:{source}/ward",
                *("-o", address, *HIDDEN, *SLOWLY, "--duration", "4", "--json"),
            ) as run,
        ):
            said, errors = run.communicate(timeout=60)
        assert run.returncode == 0, errors
        receiver.wait(timeout=20)
    finally:
        receiver.kill()
        receiver.communicate()
    assert json.loads(said)["destination"] == "network"
    assert shown_frames(got) > 1
