"""What files say of their encoders, and what of it says more."""

from __future__ import annotations

import pytest

from masquerade.video.encoder_tags import has_other_text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("encoder", ""),
        ("encoder", "Lavf62.12.102"),
        ("ENCODER", "Lavc61.19.101 libvpx-vp9"),
        ("encoder", "HandBrake 1.8.1 2024062200"),
        ("encoder", "libebml v1.4.4 + libmatroska v1.7.1"),
        ("encoder", "AVC Coding"),
        ("_STATISTICS_WRITING_APP", "mkvmerge v79.0 ('Funeral Pyres') 64-bit"),
        ("encoder", "Chrome"),
        ("encoder", "QTmuxingAppLibWebM-0.0.1"),
        ("encoder", "GStreamer matroskamux version 1.20.3"),
        ("handler_name", "VideoHandler"),
        ("handler_name", "Core Media Video"),
        ("handler_name", "\x1fMainconcept Video Media Handler"),
        ("handler_name", "ISO Media file produced by Google Inc. Created on: 08/10/2023."),
        ("title", "judged by its name"),
    ],
)
def test_a_known_encoder_says_no_more(name: str, text: str) -> None:
    assert not has_other_text(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("encoder", "GoPro HERO9 SN C3461324"),
        ("encoder", "Lavc maria"),
        ("Software", "HDR+ 1.0 of a telephone"),
        ("handler_name", "maria_lopez_2024-03-05.h264@GPAC0.5.2"),
        ("handler_name", "Maria's VideoHandler"),
    ],
)
def test_a_device_a_file_or_a_person_is_more(name: str, text: str) -> None:
    assert has_other_text(name, text)
