"""What several tests need: a pipe into which a file is played, and an S3 server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def half_size(demo_second: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`demo_second` at half its width and height, without sound, for tests that ask for neither."""
    from torch.nn.functional import interpolate

    from masquerade import read_video, write_video

    path, whole = tmp_path_factory.mktemp("half") / "person.mp4", read_video(demo_second)
    small = interpolate(whole.clip, scale_factor=(1, 0.5, 0.5), mode="area")
    write_video(path, replace(whole, clip=small))
    return path


@pytest.fixture(scope="session")
def found_faces(half_size: Path) -> str:
    """What `regions` takes for the face of `half_size`, which was found once for all tests."""
    from masquerade import anonymize_file, build

    boxes = half_size.with_name("boxes.json")
    anonymize_file(
        half_size, boxes.with_name("o.mp4"), build("blacken"), regions="faces", export_boxes=boxes
    )
    return f"boxes:{boxes}"


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Play a file into a named pipe, as a camera's driver would."""
    if not shutil.which("ffmpeg"):
        pytest.skip("Debian's ffmpeg and ffprobe are not installed")
    players = []

    def play(video: Path) -> Path:
        pipe = tmp_path / "camera"
        os.mkfifo(pipe)
        words = ["ffmpeg", "-v", "error", "-y", "-re", "-stream_loop", "-1", "-i", video, "-an"]
        words += ["-t", "60", "-c:v", "mpeg2video", "-f", "mpegts", pipe]
        players.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        return pipe

    yield play
    for player in players:
        player.kill()
        player.wait()


def _moto() -> str | None:
    beside = Path(sys.prefix) / "moto" / "bin" / "moto_server"
    return str(beside) if beside.exists() else shutil.which("moto_server")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment in which an S3 server of this machine is found."""
    s3fs = pytest.importorskip("s3fs", reason='needs s3fs: pip install -e ".[remote]"')
    server = _moto()
    if server is None:
        pytest.skip("needs moto_server, in a venv of its own: see .ci/run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKIATESTING",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    process = subprocess.Popen(
        [server, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield {**os.environ, **own}
    finally:
        process.terminate()
        process.wait(30)
        s3fs.S3FileSystem.clear_instance_cache()  # the next server has another port
