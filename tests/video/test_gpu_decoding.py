"""Decoding on an NVIDIA GPU gives the CPU's pictures, and without one the CPU decodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av import Packet, VideoFrame

import masquerade
from masquerade.errors import VideoError
from masquerade.video import decoding
from masquerade.video.decoding import Decoded, Decoder
from masquerade.video.frame import Frame
from masquerade.video.gpu_decoding import PLANAR, as_planar, decodes_on_gpu
from masquerade.video.probe import probe_in_process
from masquerade.video.read import Reader
from masquerade.video.shared_picture import plane_rows

GPU = decodes_on_gpu("h264")
NO_CUDA = pytest.mark.skipif(GPU, reason="an NVIDIA GPU that decodes is here")


def planes(picture: VideoFrame) -> list[np.ndarray]:
    """Each plane's samples, without the padding of rows."""
    deep = 2 if "10" in picture.format.name else 1
    return [plane_rows(plane)[:, : plane.width * deep].copy() for plane in picture.planes]


@pytest.mark.parametrize("semi_planar", PLANAR)
@pytest.mark.parametrize("size", [(64, 48), (50, 34), (642, 362)])
def test_a_gpus_pictures_are_taken_apart_without_a_change(
    semi_planar: str, size: tuple[int, int]
) -> None:
    picture = VideoFrame(*size, PLANAR[semi_planar])
    drawn = np.random.default_rng(0)
    for plane in picture.planes:
        if semi_planar == "nv12":
            plane.update(drawn.integers(256, size=plane.buffer_size, dtype=np.uint8).tobytes())
        else:
            samples = drawn.integers(1024, size=plane.buffer_size // 2, dtype=np.uint16)
            plane.update(samples.tobytes())
    picture.pts, picture.colorspace, picture.color_range = 7, 1, 2
    found = as_planar(picture.reformat(format=semi_planar))
    assert found.format.name == picture.format.name
    assert all(map(np.array_equal, planes(found), planes(picture)))
    assert (found.pts, found.colorspace, found.color_range) == (7, 1, 2)


class GpuDecoder(Decoder):
    """Gives pictures as a GPU does."""

    def _pictures(self, packet: Packet[Any]) -> list[VideoFrame]:
        return [picture.reformat(format="nv12") for picture in super()._pictures(packet)]


def test_pictures_of_a_gpu_are_counted_and_are_those_of_the_cpu(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "decodes_on_gpu", lambda codec: True)
    monkeypatch.setattr(decoding, "cuda_device", lambda: None)
    info = probe_in_process(clip)
    with Decoder(clip, info) as plain, GpuDecoder(clip, info, gpu=True) as other:
        pairs = list(zip(plain, other, strict=True))
        for one, two in pairs:
            assert isinstance(one, Decoded) and isinstance(two, Decoded)
            assert one.picture.format.name == two.picture.format.name == "yuv420p"
            assert all(map(np.array_equal, planes(one.picture), planes(two.picture)))
            assert (one.pts, one.duration) == (two.pts, two.duration)
        assert (plain.losses.on_gpu, other.losses.on_gpu) == (0, len(pairs))


def test_pictures_of_a_gpu_with_a_border_that_it_does_not_cut_are_refused(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU cuts what is hidden at the right and the bottom alone."""
    monkeypatch.setattr(decoding, "decodes_on_gpu", lambda codec: True)
    monkeypatch.setattr(decoding, "cuda_device", lambda: None)
    info = probe_in_process(clip)
    narrower = replace(info, width=info.width - 8)
    with (
        GpuDecoder(clip, narrower, gpu=True) as decoder,
        pytest.raises(VideoError, match="leave --decoder cuda out"),
    ):
        next(iter(decoder))


def test_a_file_of_semi_planar_pictures_stays_as_it_is_on_the_cpu(clip: Path) -> None:
    with GpuDecoder(clip, probe_in_process(clip)) as decoder:
        first = next(iter(decoder))
        assert isinstance(first, Decoded) and first.picture.format.name == "nv12"
        assert decoder.losses.on_gpu == 0


@NO_CUDA
@pytest.mark.parametrize("codec", ["h264", "rawvideo", "no-such-codec"])
def test_without_a_gpu_nothing_is_decoded_on_one(codec: str) -> None:
    assert not decodes_on_gpu(codec)


@NO_CUDA
def test_without_a_gpu_the_cpu_decodes_and_one_sentence_says_so(clip: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"regions": "frame", "preview": 0.2, "threads": 1}
    outputs = []
    for decoder in ("cpu", "cuda"):
        dst = tmp_path / f"{decoder}.mp4"
        receipt = masquerade.anonymize_file(
            clip, dst, masquerade.build("blacken"), decoder=decoder, **settings
        )
        outputs.append(dst.read_bytes())
        said = [text for text in receipt.warnings if text.startswith("decoded on the CPU: ")]
        assert len(said) == (decoder == "cuda")
    assert outputs[0] == outputs[1]


@pytest.mark.cuda
@pytest.mark.skipif(not GPU, reason="no NVIDIA GPU that decodes is here")
def test_a_gpu_decodes_the_cpus_pictures(clip: Path) -> None:
    with Reader(clip) as plain, Reader(clip, gpu=True) as other:
        for one, two in zip(plain, other, strict=True):
            assert isinstance(one, Frame) and isinstance(two, Frame)
            assert all(map(np.array_equal, planes(one.picture), planes(two.picture)))
        assert other.on_gpu > 0
