"""Makes every sample file of these tests at run time, and reads outputs with a second reader.

Samples are made by Debian's ffmpeg, outputs are judged by its ffprobe: an FFmpeg of another version
than the one inside PyAV. Tests that need either skip without it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from masquerade.video.audio import audio_streams
from masquerade.video.encoding import Encoding, container_for
from masquerade.video.frame import Frame
from masquerade.video.metadata import MetadataSelection, select_metadata
from masquerade.video.read import Reader
from masquerade.video.write import Writer

WILD = Path(__file__).parents[2].parent / "shared" / "data" / "wild"
needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="Debian's ffmpeg and ffprobe are not installed",
)
needs_wild = pytest.mark.skipif(not WILD.is_dir(), reason="shared/data/wild is not here")
QUICK = Encoding(preset="ultrafast")


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg; its own message is the failure."""
    *options, path = map(str, arguments)
    one = ["-threads", "1"]  # libvpx's threads wait for each other for minutes on a busy machine
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *options, *one, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def make(
    path: Path, *options: object, size: str = "64x48", seconds: float = 1, rate: object = 25
) -> Path:
    """A moving test pattern as a video file; `options` are ffmpeg's output options."""
    source = f"testsrc2=s={size}:r={rate}:d={seconds}"
    quick = ("-preset", "ultrafast") if path.suffix in (".mp4", ".mov", ".mkv", ".ts") else ()
    ffmpeg("-f", "lavfi", "-i", source, *quick, "-pix_fmt", "yuv420p", *options, path)
    return path


def make_with_sound(path: Path, *options: object, seconds: float = 2, rate: object = 25) -> Path:
    """The same with a tone."""
    pattern = f"testsrc2=s=64x48:r={rate}:d={seconds}"
    tone = f"sine=frequency=440:sample_rate=48000:duration={seconds}"
    ffmpeg(
        *("-f", "lavfi", "-i", pattern, "-f", "lavfi", "-i", tone, "-pix_fmt", "yuv420p"),
        *(*options, path),
    )
    return path


def ffprobe(path: Path, *entries: str) -> dict[str, Any]:
    """What ffprobe says, as JSON."""
    command = ["ffprobe", "-v", "error", "-of", "json", *entries, f"file:{path}"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def streams(path: Path) -> list[dict[str, Any]]:
    """Every stream of a file."""
    found: list[dict[str, Any]] = ffprobe(path, "-show_streams")["streams"]
    return found


def video(path: Path) -> dict[str, Any]:
    """The one video stream of a file."""
    (stream,) = [s for s in streams(path) if s["codec_type"] == "video"]
    return stream


def times(path: Path) -> list[float]:
    """When ffprobe shows each frame, in seconds."""
    frames = ffprobe(
        path, "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time"
    )
    return [float(f["best_effort_timestamp_time"]) for f in frames["frames"]]


def length(path: Path) -> float:
    """Seconds, as ffprobe says of the file."""
    return float(ffprobe(path, "-show_format")["format"]["duration"])


def rewrite(
    source: Path,
    target: Path,
    *,
    audio: str = "drop",
    metadata: str = "strip",
    encoding: Encoding = QUICK,
    force_8bit: bool = False,
    salvage: bool = False,
) -> MetadataSelection:
    """Decode and encode a file unchanged, the way `stream.py` drives this room."""
    container = container_for(target, encoding)
    with Reader(source) as reader:
        sound = audio_streams(reader.info) if audio != "drop" else ()
        kept = select_metadata(reader, metadata, audio=sound)
    copy = (*(sound if audio == "keep" else ()), *kept.streams)
    shifted = sound if audio == "pitch" else ()
    with Reader(source, copy=copy, sound=shifted, force_8bit=force_8bit, salvage=salvage) as reader:
        voices = [reader.stream(i) for i in sound]
        others = [reader.stream(i) for i in kept.streams]
        with Writer(
            target,
            info=reader.info,
            container=container,
            encoding=encoding,
            copies=[*(voices if audio == "keep" else []), *others],
            voices=voices if audio == "pitch" else [],
            metadata=kept,
            start=reader.info.origin((*copy, *shifted)),
            force_8bit=force_8bit,
        ) as writer:
            for item in reader:
                if isinstance(item, Frame):
                    writer.write(item.rgb(), item)
                else:
                    writer.copy(item)
    return kept


def frames(path: Path, **options: Any) -> list[Frame]:
    """Every frame of a file."""
    with Reader(path, **options) as reader:
        return [item for item in reader if isinstance(item, Frame)]
