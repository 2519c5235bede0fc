"""ONNX networks as LiteRT models: the same numbers as OpenCV's engine gives."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from frames import FACE, ArrayFrame, portrait

from masquerade.errors import MissingError
from masquerade.regions import face_detectors
from masquerade.regions.boxes import corners, iou
from masquerade.regions.face_detectors import OUTPUTS, CenterFace, centerface_file
from masquerade.regions.litert import LiteRtNetwork
from masquerade.regions.onnx_conversion import Network, Node, read_onnx, to_litert


@pytest.mark.parametrize("size", [(96, 160), (256, 224)])
def test_a_converted_network_gives_what_opencv_gives(size: tuple[int, int]) -> None:
    pixels = cv2.resize(portrait(), size[::-1])
    network = LiteRtNetwork("faces", model=to_litert(read_onnx(centerface_file()), *size, OUTPUTS))
    theirs = cv2.dnn.readNetFromONNX(str(centerface_file()))
    theirs.setInput(cv2.dnn.blobFromImage(pixels))
    for mine, other in zip(network(pixels), theirs.forward(list(OUTPUTS)), strict=True):
        assert mine.transpose(2, 0, 1) == pytest.approx(other[0], abs=1e-3)
        assert np.ptp(mine) > 0.1


def test_faces_are_found_without_litert_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Path) -> None:
        raise MissingError("LiteRT is not installed.")

    frame = ArrayFrame(portrait())
    (fast,) = CenterFace()(frame)
    monkeypatch.setattr(face_detectors, "read_onnx", missing)
    (slow,) = CenterFace()(frame)
    assert corners([fast]) == pytest.approx(corners([slow]), abs=0.1)
    assert iou(corners([slow]), np.array([FACE], float)).max() > 0.4


def test_a_network_of_other_operations_is_refused() -> None:
    with pytest.raises(ValueError, match="Softmax"):
        to_litert(Network([Node("Softmax", ["x"], "y", {})], {}, "x"), 32, 32, ["y"])
