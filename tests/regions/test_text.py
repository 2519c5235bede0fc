"""Text: what the map of probabilities becomes, drawn text, and faces that are none."""

from __future__ import annotations

from math import cos, radians, sin
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from frames import ArrayFrame, clip

from masquerade.errors import MasqueradeError, MissingError
from masquerade.pipeline.stream import Cover, region_mask
from masquerade.regions import Text
from masquerade.regions.boxes import Box
from masquerade.regions.text import TextDetector, lines

W, H = 320, 240


def _map(angle: float = 0.0, level: float = 0.9, height: int = 10) -> np.ndarray:
    """A core of 60 pixels around (160, 120)."""
    drawn = np.zeros((H, W), np.uint8)
    corners = cv2.boxPoints(((160.0, 120.0), (60.0, float(height)), angle))
    cv2.fillConvexPoly(drawn, np.rint(corners).astype(np.int32), 255)
    return drawn.astype(np.float32) / 255 * np.float32(level)


@pytest.mark.parametrize("angle", [0.0, 90.0, 30.0])
def test_a_core_grows_by_its_area_over_its_perimeter(angle: float) -> None:
    (row,), (score,) = lines(_map(angle), threshold=0.5)
    assert score == pytest.approx(0.9, abs=0.01)
    grown = 1.6 * 60 * 10 / 70  # both sides together
    a, b = (60 + grown) / 2, (10 + grown) / 2
    c, s = abs(cos(radians(angle))), abs(sin(radians(angle)))
    wide, high = a * c + b * s, a * s + b * c
    assert row == pytest.approx([160 - wide, 120 - high, 160 + wide, 120 + high], abs=1.5)


@pytest.mark.parametrize("given", [{"level": 0.45}, {"height": 1}, {"level": 0.0}])
def test_what_is_unsure_or_thin_is_no_line(given: dict[str, Any]) -> None:
    rows, scores = lines(_map(**given), threshold=0.5)
    assert rows.shape == (0, 4)
    assert scores.shape == (0,)


@pytest.mark.parametrize("shape", ["ring", "frame"])
def test_a_word_in_a_ring_or_a_frame_of_text_is_found(shape: str) -> None:
    drawn = np.zeros((H, W), np.uint8)
    if shape == "ring":
        cv2.circle(drawn, (160, 120), 60, 255, 8)
    else:
        cv2.rectangle(drawn, (90, 80), (230, 160), 255, 8)
    around = drawn.astype(np.float32) / 255 * np.float32(0.9)
    rows, _ = lines(np.maximum(around, _map()), threshold=0.5)
    (alone,), _ = lines(_map(), threshold=0.5)
    assert len(rows) == 2 and any(row == pytest.approx(alone) for row in rows)


def _plate(size: int, x: int = 60, y: int = 100, word: str = "KX 7491 B") -> tuple[Any, Any]:
    """A frame with a plate, and the box of its letters, `size` pixels high."""
    shade = np.linspace(60, 180, W, dtype=np.uint8)
    pixels = np.repeat(np.tile(shade, (H, 1))[..., None], 3, axis=2)
    scale, thick = size / 22, max(1, round(size / 11))
    (wide, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    third = size // 3
    cv2.rectangle(
        pixels, (x - third, y - size - third), (x + wide + third, y + third), (225,) * 3, -1
    )
    cv2.putText(
        pixels, word, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (20,) * 3, thick, cv2.LINE_AA
    )
    return pixels, (x, y - size, x + wide, y)


@pytest.mark.parametrize("size", [8, 12, 20])
def test_drawn_text_is_found_and_covered(size: int) -> None:
    pixels, (x0, y0, x1, y1) = _plate(size)
    (region,) = Text()([ArrayFrame(pixels)])
    mask = region_mask(region, Cover("box", 1.0), width=W, height=H)
    assert mask is not None
    assert (mask[y0:y1, x0:x1] == 255).mean() > 0.98
    assert (mask > 0).mean() < 0.15
    assert {box.label for box in region.boxes} == {"text"}


def test_text_that_moves_is_hidden_in_every_frame() -> None:
    drawn = [_plate(14, x=20 + 6 * t) for t in range(17)]
    regions = list(Text(every=4)([ArrayFrame(pixels) for pixels, _ in drawn]))
    assert 4 <= sum(region.detected for region in regions) < len(drawn)
    for region, (_, (x0, y0, x1, y1)) in zip(regions, drawn, strict=True):
        mask = region_mask(region, Cover("box", 1.6), width=W, height=H)
        assert mask is not None
        assert (mask[y0:y1, x0:x1] == 255).mean() > 0.98


def test_a_scene_without_text_has_none() -> None:
    shade = np.linspace(40, 200, W, dtype=np.uint8)
    pixels = np.repeat(np.tile(shade, (H, 1))[..., None], 3, axis=2)
    cv2.line(pixels, (0, 200), (W, 120), (90, 140, 200), 3)
    assert [region.boxes for region in Text()([ArrayFrame(pixels)] * 3)] == [()] * 3


@pytest.mark.parametrize(
    ("face", "kept"),
    [
        ((58, 48, 92, 74), False),
        ((64, 51, 84, 69), False),
        ((0, 0, 160, 200), False),  # with an eye that looks like a letter
        ((40, 40, 100, 120), True),  # of somebody before whom a caption is, or with it on a cap
        ((64, 52, 74, 64), True),  # of a badge or poster, in a line of text
        ((200, 40, 260, 120), True),
    ],
)
def test_what_is_a_face_is_no_text(
    monkeypatch: pytest.MonkeyPatch, face: tuple[float, ...], kept: bool
) -> None:
    text = Text()
    monkeypatch.setattr(text, "_detector", lambda p: (np.array([[60.0, 50, 90, 70]]), np.ones(1)))
    monkeypatch.setattr(text, "_faces", lambda frame: [Box(*face, 0.9)])
    (region,) = text([ArrayFrame(np.zeros((H, W, 3), np.uint8))])
    assert bool(region.boxes) == kept


@pytest.mark.parametrize("found", [np.zeros((1, 1, 8, 8)), np.full((1, 1, 224, 320), np.nan)])
def test_wrong_values_of_the_network_end_the_run(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    class Network:
        def setInput(self, given: Any) -> None:
            assert given.shape == (1, 3, 224, 320)

        def forward(self) -> Any:
            return found

    detector = TextDetector()
    monkeypatch.setattr(detector, "_network", Network())
    with pytest.raises(MasqueradeError, match="text detector"):
        detector(np.zeros((224, 320, 3), np.uint8))


def test_without_the_network_text_is_refused_and_says_what_adds_it(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="take it out of rapidocr-onnxruntime") as caught:
        Text(models=tmp_path)
    assert caught.value.exit_code == 3


def test_a_real_face_that_looks_like_a_character_is_no_text() -> None:
    regions = list(Text()(clip("wild/talk_face_480_aac.mp4", 6, step=10)))
    assert len(regions) == 6
    assert not any(region.boxes for region in regions)
