"""Real clips in many containers: the first frames of each, with the default settings."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import masquerade
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

CLIPS = [
    "asl_fullrange_yuvj420p.mkv",
    "baseball_xvid_noaudio.avi",
    "corridor_139s_10fps.mp4",
    "crowd_mp4_named_avi.avi",
    "face_car_176x144.mp4",
    "golf_odd_mjpeg.mov",
    "golf_portrait_aac.mp4",
    "juggle_av1.mp4",
    "makeup_xvid_mp3.avi",
    "pancake_h264_opus.mkv",
    "rotation_meta_90.mov",
    "talk_face_480_aac.mp4",
    "walk_vp9_in_mp4.mp4",
]


@pytest.mark.parametrize("name", CLIPS)
def test_the_first_frames_keep_their_times(wild: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.mp4"
    receipt = masquerade.anonymize_file(
        wild / name,
        out,
        masquerade.build("selective"),
        preview=0.2,
        audio="drop",
        allow_empty=True,
        allow_gaps=True,
    )
    with Reader(wild / name) as reader:
        info = reader.info
        wanted = [f.time for _, f in zip(range(receipt.output.frames), reader, strict=False)]
    with Reader(out) as reader:
        made = [frame for frame in reader if isinstance(frame, Frame)]
    assert (made[0].width, made[0].height) == (info.width, info.height)
    found = np.array([frame.time for frame in made])
    assert np.abs(found - found[0] - (np.array(wanted) - wanted[0])).max() < 1e-3
    assert found[-1] - found[0] < 0.2 + 1 / float(info.rate)


def test_ffprobe_finds_one_stream_and_no_tag(wild: Path, tmp_path: Path) -> None:
    """ffprobe, which shares nothing with how we read."""
    if not shutil.which("ffprobe"):
        pytest.skip("Debian's ffmpeg and ffprobe are not installed")
    out = tmp_path / "out.mp4"
    masquerade.anonymize_file(
        wild / "talk_face_480_aac.mp4", out, masquerade.build("blacken"), preview=0.3
    )
    words = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format", str(out)]
    found = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    (stream,) = found["streams"]
    assert stream["codec_type"] == "video" and stream["pix_fmt"] == "yuv420p"
    harmless = {"major_brand", "minor_version", "compatible_brands"}
    assert set(found["format"].get("tags", {})) <= harmless
    assert set(stream.get("tags", {})) <= {"language", "handler_name", "vendor_id"}
