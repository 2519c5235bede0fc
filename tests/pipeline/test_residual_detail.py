"""Detail that should have gone and is still there: every defect is refused, every method passes."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.errors import OutputError
from masquerade.methods import METHODS
from masquerade.pipeline import found_regions, pictures, single_file, stream
from masquerade.pipeline.found_regions import FoundRegions, FoundRegionsFile
from masquerade.pipeline.residual_detail import (
    MAX_LEFT,
    DetailCheck,
    FrameDetail,
    RegionJudge,
    Remains,
    remaining_detail,
    source_detail,
)
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.regions.region import Region

DRAWN = [name for name, method in METHODS.items() if not method.learned]


class Unchanged(Anonymizer):
    """Returns its input."""

    card = Card("", "", "", "")

    def forward(self, clip, *, mask=None, state=None) -> Anonymized:
        return Anonymized(clip, mask, state)


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt needs a name of the method."""
    monkeypatch.setitem(METHODS, "unchanged", Unchanged)


@pytest.fixture
def clip(half_size: Path) -> Path:
    return half_size


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A textured square that crosses a plain frame, 30 pixels a frame, and its boxes."""
    folder = tmp_path_factory.mktemp("fast")
    texture = np.kron(np.random.default_rng(0).integers(0, 255, (15, 15)), np.ones((4, 4)))
    frames = np.full((10, 240, 400, 3), 90, np.uint8)
    with BoxWriter(folder / "boxes.json", width=400, height=240) as writer:
        for t in range(10):
            x = 20 + 30 * t
            frames[t, 90:150, x : x + 60] = texture[..., None]
            writer.add(t, [Box(x, 90, x + 60, 150, 1.0)])
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 255
    masquerade.write_video(folder / "in.mp4", clip)
    return folder / "in.mp4", folder / "boxes.json"


@pytest.fixture
def faces(found_faces: str) -> dict[str, Any]:
    """A fifth of a second of the clip, whose face is found already."""
    return {"regions": found_faces, "preview": 0.2}


def refused(src: Path, dst: Path, method: Anonymizer, **settings: Any) -> None:
    with pytest.raises(OutputError, match="of the detail of a region in frame") as caught:
        masquerade.anonymize_file(src, dst, method, **settings)
    assert caught.value.exit_code == 4 and str(caught.value).startswith(dst.name)
    assert not list(dst.parent.glob(f"*{dst.name}*")) and not list(dst.parent.glob(".*"))


@pytest.mark.parametrize("name", DRAWN)
def test_every_method_leaves_less_than_half_of_the_limit(
    clip: Path, tmp_path: Path, name: str
) -> None:
    receipt = masquerade.anonymize_file(
        clip, tmp_path / "o.mp4", masquerade.build(name), preview=0.2, allow_gaps=True
    )
    assert receipt.residual_detail.left < MAX_LEFT / 2
    assert receipt.residual_detail.measured >= 5
    stored = json.loads((tmp_path / "o.mp4.receipt.json").read_text())
    assert stored["residual_detail"]["left"] == receipt.residual_detail.left


@pytest.mark.parametrize(
    ("suffix", "settings"),
    [
        ("mp4", {}),
        ("mp4", {"codec": "h265"}),
        ("webm", {"codec": "vp9"}),
        ("mkv", {"codec": "ffv1"}),
        ("mov", {"codec": "mjpeg"}),
        ("mp4", {"cfr": 10.0}),
        ("mp4", {"size": "model"}),
    ],
)
def test_a_method_that_returns_its_input_is_refused(
    clip: Path, faces: dict[str, Any], tmp_path: Path, suffix: str, settings: dict[str, Any]
) -> None:
    refused(clip, tmp_path / f"o.{suffix}", Unchanged(), **faces, **settings)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("blur", {"kernel": 1, "short": 0}),
        ("pixelate", {"block": 1, "short": 0}),
        ("downsample", {"factor": 1}),
    ],
)
def test_what_changes_nothing_is_refused(
    clip: Path, faces: dict[str, Any], tmp_path: Path, name: str, arguments: dict[str, Any]
) -> None:
    method = masquerade.build(name)
    for key, value in arguments.items():
        assert hasattr(method, key)
        setattr(method, key, value)  # past the ranges, on which the check does not rely
    refused(clip, tmp_path / "o.mp4", method, **faces)


def test_a_mask_that_is_small_shifted_or_late_is_refused(
    fast: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, boxes = fast
    real, before = stream.region_mask, []

    def shrunk(region, cover, **size):
        return real(region, cover._replace(scale=0.01), **size)

    def shifted(region, cover, **size):
        return np.roll(real(region, cover, **size), 50, 0)

    def late(region, cover, **size):
        before.append(real(region, cover, **size))
        return before[max(0, len(before) - 2)]

    settings = {"regions": f"boxes:{boxes}", "mask_scale": 1.3}
    masquerade.anonymize_file(src, tmp_path / "o.mp4", masquerade.build("blacken"), **settings)
    for defect in (shrunk, shifted, late):
        monkeypatch.setattr(stream, "region_mask", defect)
        refused(src, tmp_path / "x.mp4", masquerade.build("blacken"), **settings)


@pytest.mark.parametrize(("track", "frames"), [(7, 30), (None, 30), (3, 5)])
def test_small_faces_are_judged_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, track: int | None, frames: int
) -> None:
    """A face of 8 x 8 pixels has too few of them to be judged in one frame."""
    texture = np.random.default_rng(1).integers(0, 255, (120, 160, 1))
    clip = torch.from_numpy(np.repeat(texture, 3, 2)).permute(2, 0, 1)[None, :, None].float() / 255
    masquerade.write_video(tmp_path / "in.mp4", clip.expand(-1, -1, frames, -1, -1))
    box = Box(40, 40, 48, 48, 1.0, track=track)
    with BoxWriter(tmp_path / "boxes.json", width=160, height=120) as writer:
        for t in range(frames):
            writer.add(t, [box])
    settings = {"regions": f"boxes:{tmp_path / 'boxes.json'}"}
    for name in ("blacken", "selective", "blur", "pixelate"):
        method = masquerade.build(name)
        done = masquerade.anonymize_file(
            tmp_path / "in.mp4", tmp_path / f"{name}.mp4", method, **settings
        )
        assert done.residual_detail.left == 0 and done.residual_detail.measured >= frames - 3
    (tmp_path / "out").mkdir()
    refused(tmp_path / "in.mp4", tmp_path / "out" / "x.mp4", Unchanged(), **settings)


def test_small_regions_wait_for_the_next_ones_of_their_track() -> None:
    judge, small = RegionJudge(), Remains(60, 60, 60)
    for frame in range(2):
        judge.add(1, frame, small)
        judge.add(2, frame, small._replace(left_surely=0))
    assert (judge.left, judge.measured) == (0, 0)
    judge.add(2, 2, small._replace(left_surely=0))
    assert (judge.left, judge.measured) == (0, 3)
    judge.add(1, 2, small)
    assert (judge.left, judge.frame, judge.measured) == (1, 2, 6)
    judge.add(1, 3, Remains(0, 0, 0))
    judge.add(1, 4, small)
    judge.end(4)
    assert (judge.measured, judge.without_detail) == (6, 2)
    for track in range(3):  # at the end all tracks are judged together
        judge.add(track, 5, Remains(60, 0, 0))
    judge.end(5)
    assert (judge.measured, judge.without_detail) == (9, 2)


def test_regions_that_are_not_large_are_judged_by_stricter_limits() -> None:
    """Chance correlates some windows of a small region with what a method draws there."""
    judge = RegionJudge()
    judge.add(1, 0, Remains(390, 100, 0))
    assert (judge.left, judge.measured) == (0, 1)
    judge.add(1, 1, Remains(400, 100, 0))
    assert (judge.left, judge.frame, judge.measured) == (0.25, 1, 2)


def test_tracks_that_wait_are_bounded() -> None:
    judge = RegionJudge()
    for track in range(5000):
        judge.add(track, track, Remains(1, 0, 0))
    assert len(judge._pools) <= 1000 and judge.measured >= 4000


@pytest.mark.parametrize("settings", [{"crf": 38}, {"crf": 51}, {"bitrate": "20k"}])
def test_what_the_encoder_blurs_hides_no_defect(
    clip: Path, faces: dict[str, Any], tmp_path: Path, settings: dict[str, Any]
) -> None:
    """A face that was not hidden is refused though its fine detail is lost in the output."""
    refused(clip, tmp_path / "o.mp4", Unchanged(), **faces, **settings)


def test_raw_pictures_that_get_to_the_encoder_are_refused(
    clip: Path, faces: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoded output is compared too, whatever the method gave."""
    raw = iter((255 * masquerade.read_video(clip, stop=0.5).clip[0]).byte().permute(1, 2, 3, 0))
    monkeypatch.setattr(pictures, "_resize", lambda pixels, info: next(raw).numpy())
    refused(clip, tmp_path / "o.mp4", masquerade.build("blacken"), **faces)


def test_what_was_found_in_a_long_video_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found_regions, "IN_MEMORY", 10_000)
    size, rng = (320, 240), np.random.default_rng(0)
    shapes = rng.random((4, 240, 320)) < 0.5  # which compress badly

    def found(t: int) -> FoundRegions:
        boxes = np.full((t % 3, 4), t, np.float32)
        silhouette = None if t % 2 else shapes[t % 4]
        return FoundRegions(boxes, np.arange(t % 3), silhouette, t % 5 == 0)

    with closing(FoundRegionsFile(size)) as file:
        tracemalloc.start()
        for t in range(400):
            file.append(found(t))
        assert tracemalloc.get_traced_memory()[0] < 50_000  # and 2 MB were written
        tracemalloc.stop()
        count = 0
        for t, one in enumerate(file.read()):
            for mine, theirs in zip(one, found(t), strict=True):
                assert np.array_equal(mine, theirs)
            count += 1
    assert count == 400


def turned(src: Path, dst: Path) -> Path:
    """The same pictures with a note to be turned by 90 degrees."""
    import av

    with av.open(str(src)) as source, av.open(str(dst), "w") as out:
        template = source.streams.video[0]
        stream = out.add_stream_from_template(template)
        for packet in source.demux(template):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    data = dst.read_bytes()
    upright = b"".join(v.to_bytes(4, "big") for v in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    spun = [0, 1 << 16, 0, (-1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30]
    at = data.rindex(upright)
    matrix = b"".join(v.to_bytes(4, "big") for v in spun)
    dst.write_bytes(data[:at] + matrix + data[at + 36 :])
    return dst


def test_pictures_that_are_turned_are_compared_upright(clip: Path, tmp_path: Path) -> None:
    src = turned(clip, tmp_path / "turned.mp4")
    assert masquerade.read_video(src, stop=0.05).clip.shape[-2:] == (320, 240)
    settings = {"regions": "frame", "preview": 0.2}
    blacken = masquerade.build("blacken")
    receipt = masquerade.anonymize_file(src, tmp_path / "o.mp4", blacken, **settings)
    assert receipt.residual_detail.left == 0 and receipt.residual_detail.measured == 5
    refused(src, tmp_path / "x.mp4", Unchanged(), **settings)


@pytest.mark.slow
def test_images_and_folders_of_them_are_compared(clip: Path, tmp_path: Path) -> None:
    import cv2

    from masquerade.cli.demo_clip import portrait

    (tmp_path / "in").mkdir()
    for number in range(3):
        picture = cv2.cvtColor(portrait(), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), picture)
    one = tmp_path / "in" / "0.png"
    for src, dst, more in (
        (one, "o.png", {}),
        (one, "o.jpg", {}),
        (tmp_path / "in", "o.mp4", {"sequence": 5.0}),
    ):
        refused(src, tmp_path / dst, Unchanged(), **more)
        done = masquerade.anonymize_file(src, tmp_path / dst, masquerade.build("blur"), **more)
        assert done.residual_detail.left < MAX_LEFT / 2


def test_ten_bits_and_gifs_are_compared(clip: Path, tmp_path: Path) -> None:
    import av
    from PIL import Image

    pictures = masquerade.read_video(clip, stop=0.15).clip[0].permute(1, 2, 3, 0)
    frames = [(255 * picture).byte().numpy() for picture in pictures]
    (tmp_path / "in").mkdir()
    deep, gif = tmp_path / "in" / "deep.mkv", tmp_path / "in" / "a.gif"
    with av.open(str(deep), "w") as out:
        video = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p10le"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number
            out.mux(video.encode(picture.reformat(format="yuv420p10le")))
        out.mux(video.encode(None))
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(gif, save_all=True, append_images=others, duration=40)
    for src, dst, codec in ((deep, "deep.mkv", "h265"), (gif, "gif.mp4", "h264")):
        refused(src, tmp_path / dst, Unchanged(), regions="frame", codec=codec)
        pixelate = masquerade.build("pixelate")
        done = masquerade.anonymize_file(
            src, tmp_path / dst, pixelate, regions="frame", codec=codec
        )
        assert done.residual_detail.left < MAX_LEFT / 2
        assert done.residual_detail.measured == len(frames)


def test_flat_areas_pass_and_are_counted(tmp_path: Path) -> None:
    masquerade.write_video(tmp_path / "in.mp4", torch.full((1, 3, 5, 64, 64), 0.4))
    receipt = masquerade.anonymize_file(
        tmp_path / "in.mp4", tmp_path / "o.mp4", Unchanged(), regions="frame"
    )
    found = receipt.residual_detail
    assert (found.left, found.measured, found.without_detail) == (0, 0, 5)


def test_the_measure() -> None:
    rng = np.random.default_rng(1)
    a, noise = rng.normal(100, 20, (2, 64, 64)).astype(np.float32)
    mask = np.zeros((64, 64), bool)
    mask[10:50, 10:50] = True
    detail = source_detail(a, mask)
    assert remaining_detail(detail, a) == (1600, 1600, 1600)
    assert remaining_detail(detail, 50 + 0.5 * a)[1] == 1600  # fainter, and still there
    assert remaining_detail(detail, 50 + 0.2 * a)[1] == 0  # a trace
    assert remaining_detail(detail, noise)[1] == 0
    assert remaining_detail(detail, 0.6 * a + noise)[1] == 0  # drowned in noise
    assert remaining_detail(detail, np.where(mask, noise, a))[1] == 0  # outside it nothing counts
    assert remaining_detail(source_detail(np.full_like(a, 9), mask), a) == (0, 0, 0)


def test_an_output_with_other_frames_is_refused(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_file.DetailCheck, "wrote", lambda *_: None)
    with pytest.raises(OutputError, match="more frames"):
        masquerade.anonymize_file(clip, tmp_path / "o.mp4", masquerade.build("blur"), preview=0.1)
    assert not list(tmp_path.iterdir())


def test_a_warning_is_no_error_in_shadow(clip: Path, faces: dict[str, Any], tmp_path: Path) -> None:
    receipt = masquerade.anonymize_file(clip, tmp_path / "o.mp4", Unchanged(), shadow=True, **faces)
    assert receipt.residual_detail is None


@pytest.mark.parametrize("mask", [None, np.zeros((240, 320), np.uint8)])
def test_a_frame_in_which_nothing_was_found_is_counted_and_not_looked_at(mask: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    detail, judge = FrameDetail(size=(320, 240), shape="silhouette"), RegionJudge()
    region = Region(mask=mask)
    found, luma = detail.found_in(region), detail.luma(pixels)
    detail.judge(judge, 0, detail.of_source(luma, found), luma)
    with closing(DetailCheck(name="o", size=(320, 240), shape="silhouette")) as check:
        none = stream.NO_PIXELS
        check.watch(stream.AnonymizedFrame(SimpleNamespace(index=0), none, region, None), none)
        assert vars(check._made) == vars(judge)
        person = Region(boxes=(Box(20, 20, 90, 90, 1.0),))
        shown = stream.AnonymizedFrame(SimpleNamespace(index=1), pixels, person, None)
        with pytest.raises(OutputError, match="in frame 1"):
            check.watch(shown, pixels)
