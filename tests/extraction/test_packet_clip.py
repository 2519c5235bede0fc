"""Packet clips: what the published file and its receipt tell without the picture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.extraction.packet_clip import CHANNELS, FILE_FACTS, POSITIONS, packet_clip
from masquerade.methods import build
from masquerade.pipeline.single_file import anonymize_file
from masquerade.video.probe import PacketFacts, list_packets_in_process

SIZE = (64, 48)


def packets(sizes: list[int]) -> dict[int, PacketFacts]:
    return {i: PacketFacts(one, i == 0, 0.04) for i, one in enumerate(sizes)}


def fact(clip: np.ndarray, name: str) -> float:
    return float(clip[5, FILE_FACTS.index(name), 0, 0])


def test_facts_and_sizes_are_logarithms() -> None:
    clip = packet_clip(packets([1024] * 128), {}, np.arange(128), size=SIZE)
    assert clip.shape == (CHANNELS, POSITIONS, 1, 1) and clip.dtype == np.float32
    assert np.allclose(clip[0], 10)
    assert fact(clip, "bytes") == 17 and fact(clip, "frames") == 7
    assert fact(clip, "frames a second") == pytest.approx(np.log2(25), abs=1e-4)
    assert (fact(clip, "width"), fact(clip, "height")) == (6, pytest.approx(np.log2(48)))
    assert fact(clip, "share of key frames") == pytest.approx(1 / 128)
    assert clip[1, 0, 0, 0] == 0.5 and not clip[1, 1:].any()  # the first of two frames there
    assert not clip[3:5].any()  # no receipt


def test_a_rhythm_of_sizes_stands_in_the_spectrum() -> None:
    def spectrum(period: int) -> np.ndarray:
        sizes = [1000 + 900 * (t % period == 0) for t in range(96)]
        return packet_clip(packets(sizes), {}, np.arange(96), size=SIZE)[2, :, 0, 0]

    quick, slow = spectrum(4), spectrum(12)
    assert abs(int(quick.argmax()) - 2 * POSITIONS // 4) <= 1
    assert abs(int(slow[:16].argmax()) - 2 * POSITIONS // 12) <= 1


def test_a_row_of_some_frames_has_their_packets_and_their_receipt() -> None:
    said = {i: (0.25 if i < 10 else 0.5, 3) for i in range(20)}
    sizes = packets([100] * 10 + [1600] * 10)
    first = packet_clip(sizes, said, np.arange(10), size=SIZE)
    last = packet_clip(sizes, said, np.arange(10, 20), size=SIZE)
    assert (fact(last, "bytes") - fact(first, "bytes")) == pytest.approx(4)
    assert np.allclose(first[3], 0.25) and np.allclose(last[3], 0.5)
    assert np.allclose(first[4], 2)


def test_packets_are_those_of_the_file_that_anonymize_writes(tmp_path: Path) -> None:
    write_mimes(tmp_path / "mimes", Mimes(clips=2, frames=20, size=48))
    manifest = read_manifest(tmp_path / "mimes" / "manifest.csv")
    coarse = build("pixelate", block=8, short=0)

    def extract(**given: object) -> np.ndarray:
        config = ExtractionConfig(content="packets", **given)
        clips = extract_clips(manifest, config, cache=tmp_path / "cache")
        return clips.batch(torch.arange(2)).numpy()

    shown, raw = extract(method=coarse, regions="frame"), extract()
    source, out = manifest.path(manifest.clips[0]), tmp_path / "out.mp4"
    anonymize_file(source, out, coarse, regions="frame", threads=1)
    mine = packet_clip(
        dict(enumerate(list_packets_in_process(out))), {}, np.arange(20), size=(48, 48)
    )
    assert np.array_equal(mine[:3], shown[0, :3]) and np.array_equal(mine[5], shown[0, 5])
    assert (shown[:, 3] == 1).all() and not raw[:, 3].any()
    assert (fact(raw[0], "bytes") - fact(shown[0], "bytes")) > 0.3  # a mosaic needs fewer
    fresh = tmp_path / "fresh"
    again = extract_clips(manifest, ExtractionConfig(content="packets"), cache=fresh)
    assert np.array_equal(again.batch(torch.arange(2)).numpy(), raw)
    black = extract(method=build("blacken"))
    assert np.array_equal(black[0], black[1])
