"""A component that returns a wrong value stops the run with a sentence; nothing is published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from box_files import read_boxes
from hypothesis import example, given
from hypothesis import strategies as st

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation.predictions import Block
from masquerade.methods.blacken import Blacken
from masquerade.pipeline.config import Pipeline, PipelineConfig
from masquerade.pipeline.single_file import run_file
from masquerade.pipeline.stream import anonymize
from masquerade.regions import face_detectors
from masquerade.regions.boxes import Box, check_array
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.hog_keys import ColourHog
from masquerade.regions.person_detectors import HogPeople
from masquerade.regions.region import Region, check_region
from masquerade.regions.tracking import TrackingRules, track_regions
from masquerade.training.predict import predict
from masquerade.video.probe import probe_in_process

NAN, HUGE = float("nan"), 1e308
FACE = Box(8.0, 8.0, 40.0, 40.0, 0.9)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small frames of noise."""
    path = tmp_path_factory.mktemp("noise") / "clip.mp4"
    generator = torch.Generator().manual_seed(0)
    masquerade.write_video(path, torch.rand(1, 3, 8, 64, 96, generator=generator))
    return path


class Given(Anonymizer):
    """A method that gives what a function makes of the clip."""

    card = Card("", "", "", "")

    make: Callable[[torch.Tensor], Any]

    def forward(self, clip, *, mask=None, state=None) -> Any:
        return self.make(clip)


def nothing_is_written(clip: Path, folder: Path, pipeline: Pipeline | None, **given: Any) -> str:
    """The sentence with which a run is refused."""
    with pytest.raises(MasqueradeError) as refused:
        if pipeline is None:
            masquerade.anonymize_file(clip, folder / "o.mp4", masquerade.build("blacken"), **given)
        else:
            run_file(clip, folder / "o.mp4", pipeline)
    assert not list(folder.iterdir())
    return str(refused.value)


@pytest.mark.parametrize(
    "boxes",
    [
        None,
        [None],
        [(8, 8, 40, 40)],
        7,
        [replace(FACE, x0=NAN)],
        [replace(FACE, y1=float("inf"))],
        [replace(FACE, x1=HUGE)],
        [replace(FACE, x0=-HUGE)],
        [replace(FACE, x0=41.0)],
        [replace(FACE, y1=8.0)],
        [replace(FACE, score=NAN)],
        [replace(FACE, x0=None)],  # type: ignore[arg-type]
        [FACE, replace(FACE, x0="8")],  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("tracked", [True, False])
def test_what_a_detector_finds_must_be_boxes(boxes: Any, tracked: bool) -> None:
    class Sized:
        width, height = 64, 48

    frames = [(Sized(), False, True)] * 3
    rules = TrackingRules() if tracked else None
    with pytest.raises(MasqueradeError, match="a detector gave"):
        list(track_regions(frames, lambda _: (boxes, None), rules))


def no_numbers(kind: str, shape: tuple[int, ...]) -> Any:
    """Network output that is none."""
    good = np.full(shape, 0.5, np.float32)
    bad = good.copy()
    bad.flat[-1] = {"inf": np.inf}.get(kind, NAN)
    made = {"None": None, "list": good.tolist(), "shape": good[..., :-1], "axes": good[None]}
    return made.get(kind, bad)


@pytest.mark.parametrize(
    ("which", "kind"),
    [(0, kind) for kind in ("None", "list", "shape", "axes", "nan", "inf")]
    + [(1, "nan"), (1, "shape"), (2, "nan"), (2, "shape")],
)
def test_what_the_face_network_gives_must_be_maps(
    kind: str, which: int, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = probe_in_process(clip)
    size = -(-info.height // 32) * 8, -(-info.width // 32) * 8

    class Network:
        def __call__(self, given: Any, outputs: tuple[str, ...]) -> list[Any]:
            maps: list[Any] = [np.zeros((1, c, *size), np.float32) for c in (1, 2, 2)]
            maps[which] = no_numbers(kind, maps[which].shape)
            return maps

    monkeypatch.setattr(face_detectors, "OnnxNetwork", lambda model: Network())
    assert "CenterFace gave" in nothing_is_written(clip, tmp_path, None, regions="faces")


@pytest.mark.parametrize(
    ("rows", "scores"),
    [
        (None, None),
        (np.full((2, 4), NAN), np.ones(2)),
        (np.ones((2, 5)), np.ones(2)),
        (np.ones((2, 4)), np.ones(3)),
        (np.ones((2, 4)), np.array([1, NAN])),
    ],
)
def test_what_the_face_detector_gives_must_be_boxes(
    rows: Any, scores: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CenterFace, "_detect", lambda self, frame: (rows, scores, (64, 48)))
    told = nothing_is_written(clip, tmp_path, None, regions="faces", detector="centerface")
    assert "the face detector gave" in told


@pytest.mark.parametrize("found", [None, [Box(NAN, 0, 1, 1, 1.0)], "boxes"])
def test_what_the_pedestrian_detector_gives_must_be_boxes(
    found: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HogPeople, "__call__", lambda self, frame: found)
    told = nothing_is_written(clip, tmp_path, None, regions="people", detector="hog")
    assert "a detector gave" in told


@pytest.mark.parametrize("wrong", ["None", "nan", "shape", "size"])
def test_keys_must_be_finite_and_of_the_picture(
    wrong: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ColourHog.__call__

    def keys(self: ColourHog, pixels: Any) -> Any:
        grid = right(self, pixels)
        changed = {"nan": grid.keys * NAN, "shape": grid.keys[1:]}
        if wrong == "None":
            return None
        return grid._replace(width=9) if wrong == "size" else grid._replace(keys=changed[wrong])

    monkeypatch.setattr(ColourHog, "__call__", keys)
    told = nothing_is_written(clip, tmp_path, None, regions="templates", at=("0:20,20",))
    assert "keys colour-hog" in told


def a_region(**given: Any) -> Any:
    return lambda frame: Region(**given)


REGIONS: dict[str, Any] = {
    "None": lambda frame: None,
    "tuple": lambda frame: (0, 0, 9, 9),
    "NaN box": a_region(boxes=(replace(FACE, x0=NAN),)),
    "huge box": a_region(boxes=(replace(FACE, x0=-HUGE, x1=HUGE),)),
    "inverted box": a_region(boxes=(replace(FACE, x0=50.0),)),
    "no boxes": a_region(boxes=None),
    "no visible boxes": a_region(visible=None),
    "NaN visible box": a_region(visible=(replace(FACE, x0=NAN),)),
    "text for a track": a_region(boxes=(replace(FACE, track="3"),)),
    "truth for a track": a_region(boxes=(replace(FACE, track=True),)),
    "unknown source": a_region(boxes=(replace(FACE, source="guessed"),)),
    "no label": a_region(boxes=(replace(FACE, label=None),)),
    "small mask": a_region(mask=np.zeros((4, 4), np.uint8)),
    "turned mask": lambda frame: Region(mask=np.zeros((frame.width, frame.height), np.uint8)),
    "float mask": lambda frame: Region(mask=np.ones((frame.height, frame.width))),
    "list mask": a_region(mask=[[0]]),
    "NaN strength": lambda frame: Region(strength=np.full((frame.height, frame.width), NAN)),
    "deep strength": lambda frame: Region(
        strength=np.zeros((frame.height, frame.width, 1), np.uint8)
    ),
    "NaN flag": a_region(full_frame=NAN),
}


@pytest.mark.parametrize("kind", REGIONS)
def test_a_region_source_must_give_regions(kind: str, clip: Path, tmp_path: Path) -> None:
    def source(frames: Any) -> Iterator[Any]:
        for number, frame in enumerate(frames):
            yield Region(full_frame=True) if number < 5 else REGIONS[kind](frame)

    pipeline = Pipeline(Blacken(), PipelineConfig(), source)
    assert "a region source gave" in nothing_is_written(clip, tmp_path, pipeline)


def fewer(frames: Any) -> Iterator[Region]:
    return (Region(full_frame=True) for number, _ in enumerate(frames) if number)


def more(frames: Any) -> Iterator[Region]:
    yield from (Region(full_frame=True) for _ in frames)
    yield Region()


def ahead(frames: Any) -> Iterator[Region]:
    yield Region(full_frame=True)
    yield from (Region(full_frame=True) for _ in frames)


def stops(frames: Any) -> Iterator[Region]:
    next(iter(frames))
    yield Region(full_frame=True)


def closes(frames: Any) -> Iterator[Region]:
    next(frames)
    yield Region(full_frame=True)
    frames.close()


@pytest.mark.parametrize("source", [fewer, more, ahead, stops, closes, iter])
def test_a_region_source_must_give_one_region_a_frame(
    source: Any, clip: Path, tmp_path: Path
) -> None:
    pipeline = Pipeline(Blacken(), PipelineConfig(), source)
    assert "a region source gave" in nothing_is_written(clip, tmp_path, pipeline)


CLIPS: dict[str, Callable[[torch.Tensor], Any]] = {
    "None": lambda clip: None,
    "tensor": lambda clip: clip * 0,
    "NaN": lambda clip: Anonymized(clip * NAN),
    "one NaN": lambda clip: Anonymized(clip.index_fill(3, torch.tensor([1]), NAN)),
    "infinite": lambda clip: Anonymized(clip + float("inf")),
    "above 1": lambda clip: Anonymized(clip + 2),
    "small": lambda clip: Anonymized(clip[..., 1:]),
    "fewer frames": lambda clip: Anonymized(clip[:, :, 1:]),
    "grey": lambda clip: Anonymized(clip[:, :1]),
    "no clip": lambda clip: Anonymized(None),  # type: ignore[arg-type]
    "hidden elsewhere": lambda clip: Anonymized(clip * 0, clip[:, :1, ..., 1:]),
    "hidden NaN": lambda clip: Anonymized(clip * 0, clip[:, :1] * NAN),
}


@pytest.mark.parametrize("kind", CLIPS)
def test_a_method_must_give_clips_in_range(
    kind: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(masquerade.METHODS, "given", Given)
    method = Given()
    method.make = CLIPS[kind]
    with pytest.raises(MasqueradeError, match="the method"):
        anonymize(torch.rand(1, 3, 2, 8, 8), method)
    with pytest.raises(MasqueradeError, match="the method"):
        method.on_pixels(np.zeros((2, 8, 8, 3), np.uint16))
    if kind == "NaN":
        with pytest.raises(MasqueradeError, match="the method"):
            masquerade.anonymize_file(clip, tmp_path / "o.mp4", method, regions="frame")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["None", "alone", "float", "shape", "frames", "list"])
def test_a_fast_path_must_give_frames(
    kind: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_bytes(self: Blacken, frames: Any, **_: Any) -> Any:
        changed = {"float": frames / 255, "shape": frames[:, 1:], "frames": frames[1:], "list": []}
        return {"None": None, "alone": frames}[kind] if kind not in changed else (changed[kind], 0)

    monkeypatch.setattr(Blacken, "on_planes", Anonymizer.on_planes)  # it has no way by planes
    monkeypatch.setattr(Blacken, "on_bytes", on_bytes)
    assert "the method gave" in nothing_is_written(clip, tmp_path, None, regions="frame")


def test_a_clip_in_memory_and_its_mask_are_checked() -> None:
    clip, method = torch.rand(1, 3, 2, 8, 8), Blacken()
    with pytest.raises(UsageError, match="finite numbers"):
        anonymize(clip * NAN, method)
    with pytest.raises(UsageError, match="finite numbers"):
        anonymize(clip.byte(), method)
    for beyond in (clip * 255, clip - 1, clip + 0.01 + clip.max()):
        with pytest.raises(UsageError, match=r"in \[0, 1\]"):
            anonymize(beyond, method)
    for empty in (clip[:, :, :0], clip[..., :0, :]):
        with pytest.raises(UsageError, match="with pixels in them"):
            anonymize(empty, method)
    for kind in (torch.bool, torch.int64, torch.float64):
        hidden = anonymize(clip, method, mask=torch.ones(1, 1, 2, 8, 8, dtype=kind))
        assert hidden.dtype == clip.dtype and not hidden.any()
    assert anonymize(torch.full_like(clip, 1 + 1e-6), method).shape == clip.shape  # by rounding
    for mask in (clip[:, :1] * NAN, clip[:, :1] + 1, clip[:, :1, ..., 1:], clip[:, :1] - 1):
        with pytest.raises(UsageError, match="takes masks"):
            anonymize(clip, method, mask=mask)


numbers = st.floats(allow_nan=True, allow_infinity=True)


near_numbers = st.floats(-1e6, 1e6)


@example(edges=(0.0, 0.0, 1.0, 1.0), score=0.0)
@given(
    edges=st.tuples(*[numbers] * 4) | st.tuples(*[near_numbers] * 4), score=numbers | near_numbers
)
def test_a_box_passes_exactly_when_it_is_a_near_finite_rectangle(
    edges: tuple[float, float, float, float], score: float
) -> None:
    class Sized:
        width, height = 64, 48

    x0, y0, x1, y1 = edges
    fits = all(abs(x) <= 1e6 for x in edges) and x0 < x1 and y0 < y1 and np.isfinite(score)
    region = Region(boxes=(Box(*edges, score),))
    if fits:
        assert check_region(region, Sized()) == region
        return
    with pytest.raises(MasqueradeError, match="finite rectangles"):
        check_region(region, Sized())


@given(st.lists(st.integers(0, 3), max_size=4), st.lists(st.integers(0, 3), max_size=4))
def test_output_passes_exactly_when_its_shape_does(have: list[int], want: list[int]) -> None:
    if have == want:
        assert check_array("it", np.zeros(have), tuple(want)).shape == tuple(want)
        return
    with pytest.raises(MasqueradeError, match="it gave"):
        check_array("it", np.zeros(have), tuple(want))


def test_a_file_of_boxes_has_no_endless_ones(tmp_path: Path) -> None:
    box = '{"box": [-1e308, 0, 1e308, 9]}'
    text = f'{{"version": 1, "width": 9, "height": 9, "frames": {{"0": [{box}]}}}}'
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(UsageError, match="within 1,000,000 pixels"):
        read_boxes(tmp_path / "b.json")


def test_what_attackers_predict_must_be_finite() -> None:
    class Net(torch.nn.Module):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            return clip.mean((1, 2, 3, 4), keepdim=True).flatten(1) * NAN

    with pytest.raises(MasqueradeError, match="not finite"):
        predict(Net(), torch.rand(4, 3, 2, 8, 8))
    for wrong in (np.full((2, 3), NAN), np.ones((1, 3))):
        with pytest.raises(MasqueradeError, match="not finite numbers, one row a clip"):
            Block(clips=np.arange(2), probabilities={"action": wrong})
