"""What face detectors make of their networks' numbers, on numbers made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from frames import ArrayFrame

from masquerade.regions.boxes import Array
from masquerade.regions.face_detectors import FaceDetector, decode
from masquerade.regions.region import Frame, fit_size


def test_a_cell_is_decoded_to_the_box_that_the_paper_says() -> None:
    heatmap = np.zeros((4, 6), np.float32)
    heatmap[2, 3], heatmap[1, 5], heatmap[0, 0] = 0.8, 0.3, 0.2
    sizes, offsets = np.zeros((2, 4, 6), np.float32), np.zeros((2, 4, 6), np.float32)
    sizes[:, 2, 3], offsets[:, 2, 3] = np.log([2, 3]), (0.25, -0.5)
    boxes, scores = decode(heatmap, sizes, offsets, 0.2)
    # the first cell's score is the threshold and not above it
    assert scores.tolist() == pytest.approx([0.3, 0.8])
    assert boxes[1].tolist() == pytest.approx([12 - 6, 11 - 4, 12 + 6, 11 + 4])
    assert boxes[0].tolist() == pytest.approx([22 - 2, 6 - 2, 22 + 2, 6 + 2])


class Fixed(FaceDetector):
    """A detector that gives these boxes on a copy of a quarter of the frame's width."""

    def __post_init__(self) -> None:
        self.rows = np.array([[2, 4, 12, 24], [2, 5, 12, 24], [30, 4, 31, 40], [5, 5, 5, 9]], float)

    def _detect(self, frame: Frame) -> tuple[Array, Array, tuple[int, int]]:
        return self.rows, np.array([0.5, 0.9, 0.4, 0.7]), (frame.width // 4, frame.height // 2)


def test_boxes_are_scaled_to_the_frame_and_kept_best_first_without_doubles() -> None:
    frame = ArrayFrame(np.zeros((100, 200, 3), np.uint8))
    found = Fixed()(frame)
    assert [(b.x0, b.y0, b.x1, b.y1, b.score) for b in found] == [
        (8, 10, 48, 48, 0.9),
        (120, 8, 124, 80, 0.4),
    ]


@pytest.mark.parametrize(
    ("limits", "sides"),
    [
        ({"min_size": 40}, [40, 72]),
        ({"min_size": 40.5}, [72]),
        ({"max_size": 72}, [40, 72]),
        ({"max_size": 71.5}, [40]),
        ({"min_size": 73}, []),
    ],
)
def test_the_longer_side_decides_and_limits_belong_to_what_is_kept(
    limits: dict[str, float], sides: list[float]
) -> None:
    found = Fixed(**limits)(ArrayFrame(np.zeros((100, 200, 3), np.uint8)))
    assert [max(box.width, box.height) for box in found] == sides


def test_a_detector_sees_no_more_than_its_scale_and_never_an_enlarged_frame() -> None:
    frame = ArrayFrame(np.zeros((100, 250, 3), np.uint8))
    assert fit_size(frame, None) == (250, 100)
    assert fit_size(frame, 125) == (125, 50)
    assert fit_size(frame, (200, 20)) == (50, 20)
    assert fit_size(frame, (50, 90)) == (50, 20)
    assert fit_size(frame, 400) == (250, 100)
    assert fit_size(frame, (2, 2)) == (2, 1) and fit_size(frame, 1) == (1, 1)
