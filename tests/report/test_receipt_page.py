"""The page about one anonymized file says who is hidden by what."""

from __future__ import annotations

import re

import pytest

from masquerade.pipeline.coverage import Coverage
from masquerade.pipeline.receipt import FileFacts, Receipt, RegionRecord
from masquerade.report.page import render_page

FACTS = FileFacts(
    name="clip.mp4",
    sha256="0" * 64,
    bytes=1,
    container="mp4",
    codec="h264",
    width=64,
    height=48,
    seconds=1.0,
    frames=25,
)


@pytest.mark.parametrize(
    ("drawn", "beside"),
    [(0, ""), (1, " and 1 region drawn by hand"), (2, " and 2 regions drawn by hand")],
)
def test_the_page_names_every_method_what_is_drawn_and_warnings_as_they_are(
    drawn: int, beside: str
) -> None:
    receipt = Receipt(
        source=FACTS,
        output=FACTS,
        method={"name": "blur", "arguments": {}},
        regions=(RegionRecord(name="people", arguments={}, model_sha256=None),),
        settings={},
        coverage=Coverage(frames=25, share=(0.1,) * 25, regions=(1,) * 25),
        residual_detail=None,
        noise="none",
        audio="none",
        other_methods={"blacken": (1, 2)},
        drawn=drawn,
        warnings=("left visible: ID 3 of Clip_A.MP4, in H.264.",),
    )
    page = render_page(receipt)
    assert "<b>blur (ID 1, 2 by blacken)</b>" in page
    assert f'<p class="lead">People{beside} of clip.mp4 hidden by' in page
    assert re.findall(r'class="warning">(.*?)</p>', page) == [
        "Left visible: ID 3 of Clip_A.MP4, in H.264."
    ]
