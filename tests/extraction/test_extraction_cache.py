"""Clips that are kept: under which key, for how long, within which limit, and damaged ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatch
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_videos import (
    Mark,
    counting,
    extract_clips,
    grains,
    manifest_of,
    pixels,
)

import masquerade
from masquerade.anonymizer import Person
from masquerade.datasets.manifest import Manifest
from masquerade.errors import MasqueradeError, UsageError
from masquerade.extraction.config import (
    HIDING_CODE,
    READING_CODE,
    REGION_CODE,
    WRITING_CODE,
    ExtractionConfig,
    UnionFactory,
    config_digest,
    region_cache_folder,
)
from masquerade.extraction.dataset import ClipDataset, MappedClips, clip_loader
from masquerade.extraction.extract_dataset import store_contents
from masquerade.extraction.on_the_fly import ClipsOnTheFly
from masquerade.extraction.region_cache import CachedRegions
from masquerade.extraction.store import ClipCache, stored_bytes
from masquerade.methods import build
from masquerade.pipeline.config import FileConfig
from masquerade.regions import WholeFrame
from masquerade.regions.boxes import Box
from masquerade.regions.key_extractors import build_key_extractor
from masquerade.regions.region import Region
from masquerade.regions.template import make_template
from masquerade.regions.template_library import Library
from masquerade.regions.template_regions import Templates
from masquerade.storage import code_digest, file_digest


def test_a_second_extraction_reads_the_store(data: Manifest, tmp_path: Path) -> None:
    given = {"frames": 4, "size": 16, "method": masquerade.build("selective"), "seed": 1}
    first = extract_clips(data, cache=tmp_path / "cache", **given)
    second = extract_clips(data, cache=tmp_path / "cache", **given)
    assert (first.passes, second.passes) == (2, 0)
    assert torch.equal(pixels(first), pixels(second))
    assert second.rows.tolist() == [0, 1, 2]


def test_a_method_in_training_goes_on_with_it(data: Manifest, tmp_path: Path) -> None:
    """Clips of it are as after training, and its own modes and gradients are as they were."""
    method = masquerade.build("bdq").train()
    config = ExtractionConfig(method=method, frames=4, size=16)
    store_contents(data, [config], cache=ClipCache(folder=tmp_path / "cache"))
    kept = extract_clips(data, cache=tmp_path / "cache", method=method, frames=4, size=16)
    assert kept.passes == 0  # which are found by the weights that it had
    assert all(part.training for part in method.modules())
    assert all(weight.requires_grad for weight in method.parameters())
    after = extract_clips(data, method=method.eval(), frames=4, size=16)
    assert torch.equal(pixels(kept), pixels(after))


SEARCHED: list[int] = []


class Left:
    """The left half, and how often it was searched for."""

    look_ahead = 0

    def __init__(self, *, width: int = 16) -> None:
        self.width = width

    def __call__(self, pictures: Iterable[Any]) -> Iterator[Region]:
        SEARCHED.append(self.width)
        for t, picture in enumerate(pictures):
            mask = np.zeros((picture.height, picture.width), np.uint8)
            mask[:, : self.width] = 255
            yield Region(boxes=(Box(0, 0, 1, 1, 0.5, track=t),), mask=mask, strength=mask // 2)


def test_regions_are_searched_once_for_all_methods(data: Manifest, tmp_path: Path) -> None:
    def clips(method: str, cache: Path | None, **given) -> torch.Tensor:
        regions = partial(Left, **given)
        how = {"frames": 4, "size": 16, "method": masquerade.build(method), "regions": regions}
        return pixels(extract_clips(data, cache=cache, seed=1, **how))

    cache = tmp_path / "cache"
    SEARCHED.clear()
    first, second = clips("blacken", cache), clips("pixelate", cache)
    assert SEARCHED == [16, 16]  # two files, once each
    assert torch.equal(first, clips("blacken", None))
    assert torch.equal(second, clips("pixelate", None))
    clips("blacken", cache, width=8)
    assert SEARCHED == [16] * 6 + [8] * 2
    for file in cache.glob("regions-*/*"):
        file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(clips("mask-mean", cache), clips("mask-mean", None))


FILES = [
    {"codec": "ffv1"}, {"crf": 40}, {"encoder_preset": "fast"}, {"lossless": True},
    {"bitrate": "80k"}, {"noise_qoffset": 0.5}, {"size": "model"},
]  # fmt: skip
"""One setting each that changes a file, or might."""


def test_all_that_changes_clips_is_in_the_key(data: Manifest, tmp_path: Path) -> None:
    def passes(**given) -> int:
        args = {"frames": 2, "size": 16, "method": masquerade.build("blur"), "seed": 1, **given}
        return extract_clips(data.take([0]), cache=tmp_path / "cache", **args).passes

    heavier = Mark()
    heavier.weight.data += 1
    kinds = [
        {},
        {"frames": 3},
        {"size": 12},
        {"stride": 2},
        {"seed": 2},
        {"method": None},
        {"method": masquerade.build("blur", sigma=3.0)},
        {"method": masquerade.build("pixelate")},
        {"method": Mark()},
        {"method": Mark(depth=2 / 255)},
        {"method": heavier},
        {"regions": partial(WholeFrame)},
        {"outside": "black"},
        {"through_file": True},
        *({"through_file": True, "file": FileConfig(**one)} for one in FILES),
        {"content": "packets"},
        {"content": "packets", "file": FileConfig(crf=40)},
        {"sample_first": True},
    ]
    assert [passes(**kind) for kind in kinds] == [1] * len(kinds)
    assert [passes(**kind) for kind in kinds] == [0] * len(kinds)
    counting(data.root / "a.mp4", 39)
    assert passes() == 1


def test_a_damaged_store_is_made_anew(data: Manifest, tmp_path: Path) -> None:
    given = {"frames": 2, "size": 16, "cache": tmp_path / "cache"}
    first = extract_clips(data, **given)
    for file in (tmp_path / "cache").glob("clips-*/*"):
        file.write_bytes(file.read_bytes()[:50])
    second = extract_clips(data, **given)
    assert second.passes == 2 and torch.equal(pixels(first), pixels(second))


def test_bad_clips_are_not_cached_as_good(data: Manifest, tmp_path: Path) -> None:
    rows = [("a.mp4", "x", "", ""), ("gone.mp4", "y", "", ""), ("x" * 300, "y", "", "")]
    broken = manifest_of(data.root, rows)
    for _ in range(2):
        assert set(extract_clips(broken, frames=2, size=16, cache=tmp_path / "c").skipped) == {1, 2}
    counting(data.root / "gone.mp4", 10)
    assert set(extract_clips(broken, frames=2, size=16, cache=tmp_path / "c").skipped) == {2}


def test_a_cache_that_cannot_be_written_is_refused(data: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MasqueradeError, match="cannot be written"):
        extract_clips(data, frames=2, size=16, cache=tmp_path / "file" / "cache")


def test_large_arguments_are_in_the_key(data: Manifest, tmp_path: Path) -> None:
    """The text of a large array leaves most of it out."""

    class Table(Mark):
        def __init__(self, *, table: np.ndarray) -> None:
            super().__init__()
            self.table = table

    one, other = np.zeros(4000), np.zeros(4000)
    other[2000] = 1
    given = {"frames": 2, "size": 16, "cache": tmp_path / "cache"}
    for table in (one, other, one.reshape(2, 2000)):
        assert extract_clips(data.take([0]), method=Table(table=table), **given).passes == 1
    assert extract_clips(data.take([0]), method=Table(table=other), **given).passes == 0


def test_nameless_makers_of_regions_are_not_cached(data: Manifest, tmp_path: Path) -> None:
    """Two of them bear one name."""
    given = {"frames": 2, "size": 16, "method": masquerade.build("blur")}
    for regions in (lambda: WholeFrame(), UnionFactory((WholeFrame, lambda: WholeFrame()))):
        with pytest.raises(UsageError, match="clips could not be told from others"):
            extract_clips(data, regions=regions, cache=tmp_path / "cache", **given)
        assert len(extract_clips(data.take([0]), regions=regions, **given)) == 1


def test_the_key_has_the_text_of_networks_and_shared_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    plain = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(path.name), plain(path))[1])
    code_digest.__wrapped__(*HIDING_CODE)
    assert {"optical_flow.py", "key_vit.py", "unet.py", "blend.py", "noise.py", "boxes.py"} <= set(
        read
    )
    read.clear()
    code_digest.__wrapped__(*REGION_CODE)
    assert "boxes.py" in read and "blend.py" not in read
    read.clear()
    code_digest.__wrapped__(*READING_CODE)
    assert {"read.py", "color.py", "extract_video.py", "stacked_clip.py", "optical_flow.py"} <= set(
        read
    )


def test_clips_of_other_code_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw video's too, which nothing was hidden in."""
    given = [ExtractionConfig(content=content) for content in ("frames", "stacked", "packets")]
    known = [config_digest(one) for one in given]
    assert [config_digest(one) for one in given] == known
    monkeypatch.setattr("masquerade.extraction.config.code_digest", lambda *patterns: "changed")
    assert not set(known) & {config_digest(one) for one in given}


def test_clips_by_other_libraries_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = ExtractionConfig(method=masquerade.build("blur"), regions="faces")
    known = config_digest(how), region_cache_folder(tmp_path, how)
    monkeypatch.setattr("masquerade.extraction.config.computing_versions", lambda: {"av": "0"})
    assert config_digest(how) != known[0] and region_cache_folder(tmp_path, how) != known[1]


def test_clips_are_made_anew_where_other_code_counts_what_was_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clips of packets hold the counts, and the index of each store does."""
    digested: set[str] = set()
    monkeypatch.setattr(
        "masquerade.extraction.config.code_digest",
        lambda *patterns: str(digested.update(patterns)),
    )
    config_digest(ExtractionConfig())
    assert "pipeline/coverage.py" not in digested
    config_digest(ExtractionConfig(method=masquerade.build("blur")))
    assert "pipeline/coverage.py" in digested


def test_a_method_that_hides_its_arguments_is_not_cached(data: Manifest, tmp_path: Path) -> None:
    class Secret(Mark):
        def __init__(self, *, amount: float = 1.0) -> None:
            super().__init__()

    with pytest.raises(MasqueradeError, match="amount"):
        extract_clips(data, frames=2, size=16, method=Secret(), cache=tmp_path / "cache")
    assert len(extract_clips(data, frames=2, size=16, method=Secret())) == 3


def test_a_template_that_was_picked_anew_is_another_cache_entry(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    looks, held = build_key_extractor("colour-hog"), Library(folder=tmp_path)
    regions = partial(Templates, templates=("spot",), library=tmp_path)
    how = ExtractionConfig(
        frames=4, size=16, method=masquerade.build("blacken"), regions=regions, seed=0
    )
    found = []
    for at in ((20, 20), (70, 40)):
        held.add(make_template("spot", pixels, [at], looks, image="a.png"))
        found.append(config_digest(how))
    assert found[0] != found[1]


def test_another_manifest_over_the_same_videos_reuses_their_clips(
    data: Manifest, tmp_path: Path
) -> None:
    given = {"frames": 2, "size": 16, "cache": tmp_path / "cache"}
    extract_clips(data.take([0, 1]), **given)
    other = manifest_of(data.root, [("b.mp4", "y", 0, 9), ("a.mp4", "x", "", "")])
    found = extract_clips(other, **given)
    assert found.passes == 1 and found.rows.tolist() == [0, 1]  # the new range alone
    assert torch.equal(pixels(found), pixels(extract_clips(other, frames=2, size=16)))
    assert extract_clips(data.take([1, 0]), **given).passes == 0


def test_with_frames_sampled_first_a_clip_depends_on_the_other_rows(
    data: Manifest, tmp_path: Path
) -> None:
    """A method with a state sees the frames of all of a video's rows."""
    given = {"frames": 3, "size": 16, "method": Mark(), "sample_first": True}
    rows = [("a.mp4", "x", 20, 29), ("a.mp4", "x", 0, 9)]
    one, two = manifest_of(data.root, rows[:1]), manifest_of(data.root, rows)
    for part in (one, two, one):
        stored = extract_clips(part, cache=tmp_path / "cache", **given)
        assert torch.equal(pixels(stored), pixels(extract_clips(part, **given)))
    assert stored.passes == 0


def test_regions_are_held_to_the_limit_of_the_folder_too(data: Manifest, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    how = {"frames": 2, "size": 16, "method": masquerade.build("blacken"), "regions": Left}
    extract_clips(data, cache=ClipCache(folder=cache, limit=0), **how)
    assert not list(cache.glob("regions-*"))
    extract_clips(data, cache=cache, **how)
    files = [*cache.glob("regions-*/*"), *cache.glob("*/clips.bin")]
    assert len(files) == 3 and stored_bytes(cache) == sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("together", [False, True])
def test_regions_that_are_found_do_not_take_more_than_the_limit(
    data: Manifest, tmp_path: Path, together: bool
) -> None:
    method, cache = masquerade.build("blacken"), tmp_path / "cache"
    config = ExtractionConfig(frames=2, size=16, method=method, regions=Left)
    clips = len(data) * config.clip_bytes
    for room, kept in ((1, 0), (10**6, 2)):
        small = ClipCache(folder=cache / str(room), limit=clips + room)
        if together:
            store_contents(data, [config], cache=small)
        else:
            extract_clips(data, cache=small, frames=2, size=16, method=method, regions=Left)
        assert small.folder is not None
        assert len(list(small.folder.glob("regions-*/*"))) == kept
        assert clips <= stored_bytes(small.folder) <= small.limit


def test_a_video_is_read_for_its_digest_once_however_often_it_is_extracted(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def digest(path: Path) -> str:
        read.append(path.name)
        return file_digest(path)

    monkeypatch.setattr("masquerade.video.probe.video_digest", digest)
    for size in (8, 16):
        extract_clips(data, cache=tmp_path / "cache", frames=2, size=size)
    assert sorted(read) == ["a.mp4", "b.mp4"]
    counting(tmp_path / "a.mp4", 41)
    assert extract_clips(data, cache=tmp_path / "cache", frames=2, size=8).passes == 1
    assert sorted(read) == ["a.mp4", "a.mp4", "b.mp4"]


def test_the_size_is_reported_before_anything_is_written(data: Manifest, tmp_path: Path) -> None:
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        assert not list((tmp_path / "cache").glob("*/*")) or len(lines) > 1

    cache = ClipCache(folder=tmp_path / "cache", report=report)
    given = {"frames": 4, "size": (12, 16), "cache": cache}
    extract_clips(data.take([0]), **given)
    extract_clips(data, **given)
    extract_clips(data, **given)  # nothing is written
    assert lines == [
        f"clips: 1 x 4 x 12 x 16, 0.0 MB in {tmp_path}/cache",
        f"clips: 3 x 4 x 12 x 16, 0.0 MB in {tmp_path}/cache, 0.0 MB of it new",
    ]


@pytest.mark.parametrize("together", [False, True])
def test_copies_of_clips_are_for_their_owner_alone(
    data: Manifest, tmp_path: Path, together: bool
) -> None:
    """A folder that somebody made before, such as for a group, keeps its rights."""
    made, given = tmp_path / "results" / "clips", tmp_path / "given"
    given.mkdir(mode=0o755)
    for folder in (made, given):
        if together:
            config = ExtractionConfig(frames=2, size=(16, 16), method=build("blur"))
            store_contents(data, [config], cache=ClipCache(folder=folder))
        else:
            extract_clips(data, frames=2, size=16, cache=folder)
        assert list(folder.glob("*/clips.bin"))
    assert [one.stat().st_mode & 0o077 for one in (made, given)] == [0, 0o055]


def test_clips_that_do_not_fit_on_the_disk_are_refused(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(MasqueradeError, match=r"clips take 0.0 MB .* has 0.0 MB left: free some"):
        extract_clips(data, frames=4, size=16, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seed", [1, None])
def test_above_the_limit_the_same_clips_are_made_on_the_fly(
    tmp_path: Path, seed: int | None, workers: int
) -> None:
    data = grains(tmp_path, 7)
    (tmp_path / "3.mp4").write_bytes(b"no video")
    given = {"frames": 3, "size": 16, "method": masquerade.build("selective"), "workers": workers}
    lines: list[str] = []
    given |= {"seed": seed}
    small = ClipCache(folder=tmp_path / "cache", limit=1e4, report=lines.append)
    fly = extract_clips(data, cache=small, **given)
    assert "on the fly" in lines[0] and not list(tmp_path.glob("cache/*/clips.bin"))
    assert set(fly.skipped) == {3} and fly.rows.tolist() == [0, 1, 2, 4, 5, 6]
    assert fly.workers == (workers if workers > 1 else 0)
    batches = torch.split(torch.tensor([5, 0, 2, 2, 1]), 2)
    found = torch.cat(list(clip_loader(fly, batches)))
    assert torch.equal(found, fly.batch(torch.cat(batches)))  # however often they are made
    if seed is not None:
        given["workers"] = 1
        again = extract_clips(data, cache=small, **given)
        stored = extract_clips(data, cache=tmp_path / "cache", **given)
        assert again.passes == 1 and stored.passes == 7  # digests alone are kept, but for 3.mp4
        assert torch.equal(pixels(fly), pixels(stored)) and fly.digest == stored.digest
        assert torch.equal(pixels(again), pixels(stored)) and again.digest == stored.digest


def test_an_unreadable_video_takes_no_space_of_the_limit(tmp_path: Path) -> None:
    data, cache = grains(tmp_path, 3), tmp_path / "cache"
    (tmp_path / "1.mp4").write_bytes(b"no video")
    (tmp_path / "2.mp4").unlink()
    given = {"frames": 2, "size": 16}
    first = extract_clips(data, cache=ClipCache(folder=cache), **given)
    full = ClipCache(folder=cache, limit=stored_bytes(cache))
    again = extract_clips(data, cache=full, **given)
    assert isinstance(again.source, MappedClips) and again.passes == 2  # they are tried again
    assert again.skipped == first.skipped and again.rows.tolist() == [0]
    grains(tmp_path, 3)  # files that came back are other ones, for which there is no space
    assert isinstance(extract_clips(data, cache=full, **given).source, ClipsOnTheFly)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_changes_is_noticed_on_the_fly(tmp_path: Path, workers: int) -> None:
    fly = extract_clips(grains(tmp_path, 2), frames=2, size=16, cache=ClipCache(limit=0))
    counting(tmp_path / "1.mp4", 30)
    assert len(fly[0])
    with pytest.raises(MasqueradeError, match=r"^A video .* has changed.*again\.$"):
        list(clip_loader(replace(fly, workers=workers), [torch.tensor([1])]))


def test_without_a_cache_nothing_is_left(
    data: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    found = extract_clips(data, frames=2, size=16)
    view = found.take([1])
    assert list((tmp_path / "tmp").glob("*/clips/clips.bin"))
    del found
    assert len(view[0])
    del view
    assert not list((tmp_path / "tmp").iterdir())


KILLED = """
import sys, os, signal, tempfile
from pathlib import Path
from masquerade.storage import TemporaryFolder
tempfile.tempdir = sys.argv[1]
folder = TemporaryFolder()
(folder.path / "clips.bin").write_text("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_clips_of_a_process_that_was_killed_are_removed_by_the_next(
    data: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    alive = extract_clips(data, frames=2, size=16)
    subprocess.run([sys.executable, "-c", KILLED, folder], check=False)
    (left,) = set(folder.iterdir()) - {alive.source.path.parent.parent}  # type: ignore[attr-defined]
    assert left.stat().st_mode & 0o777 == 0o700
    second = extract_clips(data, frames=2, size=16)
    assert not left.exists() and len(list(folder.iterdir())) == 2
    assert torch.equal(pixels(alive), pixels(second))


KILLED_WHILE_READING = """
import os, signal, sys, tempfile
from pathlib import Path
from masquerade.datasets.manifest import read_manifest
from masquerade.extraction import extract_video
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
tempfile.tempdir = sys.argv[2]
extract_video._read_again = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
extract_clips(
    read_manifest(Path(sys.argv[1])), ExtractionConfig(frames=2, size=16, through_file=True)
)
"""


@pytest.mark.slow
def test_a_raw_video_of_a_process_that_was_killed_is_removed_by_the_next(
    data: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    for i in range(2):
        counting(tmp_path / f"{i}.mp4", 6)
    (tmp_path / "two.csv").write_text("path,action\n0.mp4,x\n1.mp4,x\n")
    words = [sys.executable, "-c", KILLED_WHILE_READING, tmp_path / "two.csv", folder]
    run = subprocess.run(words, check=False, env={**os.environ, "TMPDIR": str(folder)})
    assert run.returncode == -signal.SIGKILL and list(folder.glob("**/anonymized*"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    found = extract_clips(data, frames=2, size=16, through_file=True)
    assert not list(folder.glob("**/anonymized*"))
    del found
    assert not list(folder.iterdir())


THROUGH_FILE = """
import sys, signal, tempfile
from pathlib import Path
from masquerade.datasets.manifest import read_manifest
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
tempfile.tempdir = sys.argv[2]
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    data = read_manifest(Path(sys.argv[1]))
    extract_clips(data, ExtractionConfig(frames=2, size=16, through_file=True), workers=2)
"""


@pytest.mark.slow
def test_videos_written_by_interrupted_processes_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    for i in range(6):
        counting(tmp_path / f"{i}.mp4", 2000)
    (tmp_path / "clips.csv").write_text("path,action\n" + "".join(f"{i}.mp4,x\n" for i in range(6)))
    (tmp_path / "work.py").write_text(THROUGH_FILE)
    environment = {**os.environ, "TMPDIR": str(folder)}  # of its processes too
    run = subprocess.Popen(
        [sys.executable, tmp_path / "work.py", tmp_path / "clips.csv", folder],
        env=environment,
        stderr=subprocess.PIPE,
    )
    while not list(folder.glob("**/*anonymized*")) and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=100)
    assert b"KeyboardInterrupt" in error
    assert not list(folder.glob("**/*.mp4"))


def test_regions_that_cannot_be_kept_cost_no_clip(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def full(*args: object, **kwargs: object) -> None:
        tried.append(args)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("masquerade.extraction.region_cache.np.lib.format.write_array", full)
    given = {"frames": 2, "size": 16, "method": masquerade.build("blur"), "regions": Left}
    assert not extract_clips(data, cache=tmp_path / "cache", **given).skipped
    assert tried


class Searched(Exception):
    """The regions of a video had to be found."""


class NotSearched:
    """A region source that is not to be asked."""

    look_ahead = 0

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        raise Searched


def stored(path: Path, *, frames: int) -> list[Region]:
    """The regions in a file; raises Searched where there are none, or it is damaged."""
    return list(CachedRegions(NotSearched(), path)([None] * frames))  # type: ignore[list-item]


def count_stored(path: Path) -> int:
    """The number of regions in a file that is not damaged."""
    return len(json.loads(np.load(path)["entries"].tobytes()))


class Silhouettes:
    """As many masks as there are frames, each of its own number."""

    look_ahead = 0

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        for at, _ in enumerate(frames):
            yield Region(mask=np.full((500, 500), at % 256, np.uint8))


def test_regions_of_a_long_video_are_kept_frame_by_frame(tmp_path: Path) -> None:
    """The masks of ten minutes of video are gigabytes."""
    path, count = tmp_path / "regions.npz", 200  # of 50 MB
    for source in (Silhouettes(), NotSearched()):
        tracemalloc.start()
        given: Iterator[Any] = iter(range(count))
        for at, region in enumerate(CachedRegions(source, path)(given)):
            assert region.mask is not None and region.mask[0, 0] == at == region.mask.max()
        assert at == count - 1 and tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()


def test_a_search_that_is_left_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "regions.npz"
    given: Iterator[Any] = iter(range(9))
    regions = CachedRegions(Silhouettes(), path)(given)
    next(regions)
    assert [one.suffix for one in tmp_path.iterdir()] == [".npz"]  # hidden and unfinished
    regions.close()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


class NumpyBoxes:
    """A region source of one's own, whose numbers are as arrays give them."""

    name, look_ahead = "numpy boxes", 0
    score: Any = np.float32(0.5)

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        edges = np.array([2, 3, 20, 25], np.float32)
        numbers = np.zeros((33, 5)), np.zeros((33, 3))
        who = Person(np.int64(3), np.float32(0.5), edges, *numbers)  # type: ignore[arg-type]
        for _ in frames:
            box = Box(*edges, self.score, track=np.int64(3))  # type: ignore[arg-type]
            yield Region(boxes=(box,), people=(who,))


class OddBoxes(NumpyBoxes):
    score = Fraction(1, 2)


def test_regions_of_numpys_numbers_are_kept(data: Manifest, tmp_path: Path) -> None:
    given = {"frames": 2, "size": 16, "method": masquerade.build("blacken")}
    one = data.take([0])
    for source, kept in ((NumpyBoxes, 1), (OddBoxes, 0)):
        folder = tmp_path / source.__name__
        assert not extract_clips(one, cache=folder, regions=source, **given).skipped
        files = list(folder.glob("regions-*/*.npz"))
        found = [stored(path, frames=count_stored(path)) for path in files]
        assert len(found) == kept
        for regions in found:
            assert regions[0].boxes == (Box(2, 3, 20, 25, 0.5, track=3),)
            assert regions[0].people[0][:3] == (3, 0.5, (2, 3, 20, 25))


@pytest.mark.slow
def test_damaged_regions_are_found_anew(data: Manifest, tmp_path: Path) -> None:
    def clips(method: str) -> ClipDataset:
        given = {"frames": 2, "size": 16, "method": masquerade.build(method), "regions": Left}
        return extract_clips(data.take([0]), cache=tmp_path / "cache", **given)

    clips("blur")
    (path,) = (tmp_path / "cache").glob("regions-*/*.npz")
    good = path.read_bytes()
    frames = count_stored(path)
    path.write_bytes(b"")
    clips("pixelate")
    assert path.read_bytes() == good
    for at in range(0, len(good), 41):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        with suppress(Searched):
            assert len(stored(path, frames=frames)) == frames


def test_an_interrupted_extraction_goes_on(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"frames": 2, "size": 16, "cache": tmp_path / "cache"}

    def interrupt(done: int, of: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_clips(data, progress=interrupt, **given)
    found = extract_clips(data, **given)
    assert found.passes == 1
    assert torch.equal(pixels(found), pixels(extract_clips(data, frames=2, size=16)))


def test_the_code_that_clips_are_kept_under_is_all_that_makes_them() -> None:
    """What it takes from other folders is listed as well, but for what changes no pixel."""
    package = Path(masquerade.__file__).parent
    taken = set()
    for path in (package / "extraction").glob("*.py"):
        for line in path.read_text("utf-8").splitlines():
            if found := re.match(r"(?:from|import) masquerade\.([\w.]+)", line):
                name = found[1].replace(".", "/")
                taken.add(f"{name}/__init__.py" if (package / name).is_dir() else f"{name}.py")
    patterns = [each.replace("**/", "") for each in (*READING_CODE, *HIDING_CODE, *WRITING_CODE)]
    listed = {one for one in taken if any(fnmatch(one, each) for each in patterns)}
    no_pixels = {
        *("arrays.py", "checkpoint.py", "datasets/manifest.py", "errors.py"),
        *("pipeline/region_image.py", "process_pool.py", "storage.py"),
        "file_locks.py",
    }
    assert taken - listed == no_pixels
