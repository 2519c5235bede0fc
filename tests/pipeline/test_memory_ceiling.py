"""The accounting of a run's memory: what is held at once is what is counted, and refused above."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import masquerade
from masquerade.errors import VideoError
from masquerade.pipeline import memory
from masquerade.pipeline.memory import check_memory, held_pictures, most_bytes
from masquerade.pipeline.stream import anonymize_stream, prefetch
from masquerade.regions import Faces, People, Union
from masquerade.regions.region import Region
from masquerade.video.decoding_process import DecoderSession
from masquerade.video.probe import VideoInfo


class Held:
    """A frame that is counted while anything holds it."""

    alive = most = 0
    lock = threading.Lock()
    width, height = 64, 48

    def __init__(self, index: int) -> None:
        self.index, self.picture = index, np.zeros(10, np.uint8)
        with Held.lock:
            Held.alive += 1
            Held.most = max(Held.most, Held.alive)

    def __del__(self) -> None:
        with Held.lock:
            Held.alive -= 1

    def rgb(self, size: tuple[int, int] | None = None) -> Any:
        return np.zeros((48, 64, 3), np.uint8)


@pytest.mark.parametrize(("look_ahead", "window"), [(0, 1), (17, 1), (17, 8), (60, 1)])
def test_no_more_pictures_are_held_than_are_counted(look_ahead: int, window: int) -> None:
    def regions(frames: Iterable[Any]) -> Iterator[Region]:
        waiting: deque[Any] = deque()
        for frame in frames:
            waiting.append(frame)
            if len(waiting) > look_ahead:
                waiting.popleft()
                yield Region(full_frame=True)
        for _ in waiting:
            yield Region(full_frame=True)

    Held.alive = Held.most = 0
    blacken = masquerade.build("blacken")
    items = anonymize_stream(map(Held, range(200)), blacken, regions, batch=window)
    converted = prefetch((item, item.pixels) for item in items)
    assert sum(1 for _ in converted) == 200
    assert look_ahead < Held.most <= held_pictures(10, look_ahead, window)


def video(width: int, height: int, pix_fmt: str = "yuv420p", bit_depth: int = 8) -> VideoInfo:
    own = {"width": width, "height": height, "pix_fmt": pix_fmt, "bit_depth": bit_depth}
    return VideoInfo(path=Path("a.mkv"), kind="video", container="", **own)


def ahead(frames: int) -> SimpleNamespace:
    """A region source that reads so many frames ahead."""
    return SimpleNamespace(look_ahead=frames)


def test_the_ceiling_grows_with_pictures_and_is_a_refusal() -> None:
    small, large = video(640, 480), video(8192, 8192)
    assert most_bytes(small, ahead(17), 1) < 2**31 < most_bytes(video(3840, 2160), ahead(17), 1)
    assert most_bytes(large, ahead(17), 1) > most_bytes(large, ahead(0), 1)
    check_memory(large, ahead(17), 1)
    for info, look_ahead, window in (
        (video(8192, 8192, "rgba64le", 16), 17, 1),
        (large, 17, 8),
        (large, 500, 1),
    ):
        with pytest.raises(VideoError, match=r"^a\.mkv at 8192x8192 may take \d+ GiB .*\.$"):
            check_memory(replace(info), ahead(look_ahead), window)


def test_what_a_source_holds_of_frames_that_wait_is_counted() -> None:
    """Of people a copy as networks see it, and a mask."""
    info = video(1920, 1080)
    small, large = People(scale=480), People(scale=None)
    assert small.held_bytes(info) == 3 * 480 * 270 + 1920 * 1080
    assert large.held_bytes(info) == 4 * 1920 * 1080
    more = most_bytes(info, large, 1) - most_bytes(info, small, 1)
    assert more == small.look_ahead * 3 * (1920 * 1080 - 480 * 270)
    both = Union(sources=[small, large])
    assert both.held_bytes(info) == small.held_bytes(info) + large.held_bytes(info)
    assert both.look_ahead == small.look_ahead and Faces().look_ahead
    assert most_bytes(info, Faces(), 1) == most_bytes(info, ahead(Faces().look_ahead), 1)


def test_above_the_ceiling_nothing_is_decoded(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = DecoderSession.open

    def counting(self: DecoderSession, what: str, **more: Any) -> Any:
        asked.append(what)
        return ask(self, what, **more)

    monkeypatch.setattr(DecoderSession, "open", counting)
    monkeypatch.setattr(memory, "MOST_BYTES", 2**30)
    with pytest.raises(VideoError, match="GiB of memory"):
        masquerade.anonymize_file(clip, tmp_path / "o.mp4", masquerade.build("blacken"))
    assert asked == ["probe"] and not list(tmp_path.iterdir())
