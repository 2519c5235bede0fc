"""A file in parts: the pictures, times, sound and receipt of a run without parts, or no file."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from masquerade.anonymizer import Anonymizer
from masquerade.cli import main
from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.methods import METHODS, build
from masquerade.object_store import path_of
from masquerade.pipeline import file_parts, single_file, verify
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.ray_batch import RayExecutor, check_shared
from masquerade.pipeline.single_file import anonymize_file, run_file
from masquerade.process_pool import worker_pool
from masquerade.ray_cluster import ray_cluster
from masquerade.storage import MARK
from masquerade.video.probe import video_digest

RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='needs Ray: pip install -e ".[ray]"'
)
FRAMES = 90
CUT = 52


def scene(t: int, shade: int) -> np.ndarray[Any, Any]:
    """A textured square that moves over a plain ground."""
    rng = np.random.default_rng(shade)
    out = np.full((96, 128, 3), (shade, 255 - shade, shade // 2), np.uint8)
    out[48:] = 255 - out[48:] if shade > 128 else out[48:]
    out[20:60, 10 + t % 60 : 50 + t % 60] = rng.integers(0, 256, (40, 40, 3), np.uint8)
    return out


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 frames of 40 or 20 ms with B-frames and sound, and a scene cut before frame 52."""
    path = tmp_path_factory.mktemp("parts") / "two_scenes.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"bf": "3", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        voice: Any = out.add_stream("aac", rate=16000)
        voice.codec_context.layout = "mono"
        at = 0
        for t in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(scene(t, 40 if t < CUT else 220), "rgb24")
            picture.pts, picture.time_base = at, Fraction(1, 1000)
            at += 20 if t % 7 == 3 else 40
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
        wave = np.sin(np.arange(16000 * at // 1000) / 20).astype(np.float32)[None]
        for start in range(0, wave.shape[1], 1024):
            part: Any = av.AudioFrame.from_ndarray(wave[:, start : start + 1024], "fltp", "mono")
            part.sample_rate, part.pts = 16000, start
            out.mux(voice.encode(part))
        out.mux(voice.encode(None))
    return path


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with worker_pool(os.cpu_count() or 1) as pool:
        yield pool


@pytest.fixture
def started_workers(workers: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run parts in processes that earlier tests started: each would import torch anew."""
    monkeypatch.setattr(file_parts, "worker_pool", lambda _: nullcontext(workers))


WARM = pytest.mark.usefixtures("started_workers")


@pytest.fixture
def boxes(tmp_path: Path) -> str:
    """A file of boxes over the square in all frames."""
    frames = {
        str(t): [{"box": [8 + t % 60, 18, 52 + t % 60, 62], "track": 0}] for t in range(FRAMES)
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"version": 1, "width": 128, "height": 96, "frames": frames}))
    return f"boxes:{path}"


def decoded(path: Path) -> tuple[list[np.ndarray[Any, Any]], list[float]]:
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [f.to_ndarray(format="rgb24") for f in frames], [f.time or 0.0 for f in frames]


def packets(path: Path, kind: str) -> list[tuple[int | None, int | None, bytes]]:
    with av.open(str(path)) as file:
        stream = next(s for s in file.streams if s.type == kind)
        return [(p.pts, p.dts, bytes(p)) for p in file.demux(stream) if p.size]


def both(video: Path, tmp_path: Path, method: Any, ending: str = ".mp4", **settings: Any) -> Any:
    """The outputs and receipts of a run without parts and of one with three."""
    whole, parts = tmp_path / f"whole{ending}", tmp_path / f"parts{ending}"
    one = anonymize_file(video, whole, method, **settings)
    three = anonymize_file(video, parts, method, parts=3, **settings)
    assert [path for path in tmp_path.iterdir() if MARK in path.name] == []
    return whole, parts, one, three


@WARM
def test_noise_without_a_seed_goes_on_from_part_to_part(
    video: Path, boxes: str, tmp_path: Path
) -> None:
    """It stays where nothing moves, also where a part ends; no part repeats another's."""
    out = tmp_path / "out.mkv"
    method = build("selective", std=(0.5, 0.5, 0.5))
    anonymize_file(video, out, method, parts=3, regions="frame", codec="ffv1")
    frames = np.stack(decoded(out)[0]).astype(float)[:, 70:, 100:]  # plain ground, in the corner
    steps = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    assert steps[29] < 15 and steps[CUT - 1] > 40  # at frame 60 the square jumps
    assert np.abs(frames[0] - frames[60]).mean() > 40


@WARM
@pytest.mark.usefixtures("few_more_files")
def test_a_network_of_many_weights_takes_no_open_files_for_each_part(
    video: Path, tmp_path: Path
) -> None:
    method = build("mask-mean")
    method.weights = torch.nn.ParameterList(torch.zeros(1) for _ in range(150))
    anonymize_file(video, tmp_path / "out.mp4", method, parts=3, regions="frame")
    assert len(decoded(tmp_path / "out.mp4")[0]) == FRAMES


@WARM
@pytest.mark.parametrize("method", ["blur", "pixelate", "blacken"])
def test_lossless_parts_have_the_pictures_of_one_run(
    video: Path, boxes: str, tmp_path: Path, method: str
) -> None:
    whole, parts, one, three = both(
        video, tmp_path, build(method), ".mkv", regions=boxes, codec="ffv1"
    )
    (expected, times), (found, stamps) = decoded(whole), decoded(parts)
    assert times == stamps and len(found) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    assert one.coverage == three.coverage
    assert one.residual_detail == three.residual_detail


@WARM
@pytest.mark.parametrize("method", ["frame-difference", "bdq", "stprivacy", "noise-features"])
def test_what_a_method_sees_of_other_frames_is_that_of_one_run(
    made: Callable[[str], Anonymizer],
    video: Path,
    tmp_path: Path,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans = started(monkeypatch)
    settings: dict[str, Any] = {"regions": "frame", "codec": "ffv1", "seed": 4}
    with pytest.warns(UserWarning, match="seed"):
        whole, parts, _, _ = both(video, tmp_path, made(method), ".mkv", **settings)
    cut = {"stprivacy": 32}.get(method, 30)  # in whole windows of 8
    assert spans[-3:] == [(0, cut), (cut, 2 * cut), (2 * cut, FRAMES)]
    expected, found = decoded(whole)[0], decoded(parts)[0]
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


class Following(Anonymizer):
    """Shades each frame by what a network makes of all frames up to it, to the last bit."""

    resumable = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = torch.nn.Linear(4, 4)

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> torch.Tensor:
        return torch.ones(4)

    def on_bytes(self, frames: Any, *, mask: Any = None, state: Any = None) -> Any:
        shades = []
        for frame in frames:
            state = self.network(state + float(frame.mean()) / 255).float().tanh()
            shades.append(int(state.sum() * 2**20) % 256)
        return np.zeros_like(frames) + np.array(shades, np.uint8)[:, None, None, None], state


@WARM
def test_half_precision_of_a_state_is_that_of_one_run(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "following", Following)
    settings: dict[str, Any] = {"regions": "frame", "codec": "ffv1", "device": "cpu"}
    whole, parts, _, _ = both(video, tmp_path, Following(), ".mkv", amp=True, **settings)
    full = tmp_path / "full.mkv"
    anonymize_file(video, full, Following(), **settings)
    expected, found, other = (np.stack(decoded(path)[0]) for path in (whole, parts, full))
    assert np.array_equal(expected, found)
    assert (expected != other).any((1, 2, 3)).mean() > 0.9  # each frame shows the precision


@pytest.mark.slow
def test_lossy_parts_have_the_times_the_sound_and_nearly_the_pictures_of_one_run(
    video: Path, boxes: str, tmp_path: Path
) -> None:
    whole, parts, _, three = both(
        video, tmp_path, build("pixelate"), regions=boxes, audio="keep", crf=14
    )
    (expected, times), (found, stamps) = decoded(whole), decoded(parts)
    assert times == stamps and len(found) == FRAMES
    errors = []
    for a, b in zip(expected, found, strict=True):
        errors.append(float(np.mean((a.astype(float) - b) ** 2)))
    assert max(errors) < 255**2 / 10**4  # a PSNR of 40 dB
    assert packets(whole, "audio") == packets(parts, "audio")
    decode_times = [dts for _, dts, _ in packets(parts, "video")]
    assert decode_times == [dts for _, dts, _ in packets(whole, "video")]
    assert any(pts != dts for pts, dts, _ in packets(parts, "video"))  # there are B-frames
    assert three.output is not None and three.output.frames == FRAMES


def test_wrong_times_of_sound_are_counted_in_parts_as_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two recordings behind each other, whose times begin again."""
    one, twice = tmp_path / "one.mpg", tmp_path / "twice.mpg"
    with av.open(str(one), "w") as out:
        stream: Any = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        voice: Any = out.add_stream("mp2", rate=16000)
        voice.codec_context.layout = "mono"
        for t in range(40):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(scene(t, 40), "rgb24")))
        out.mux(stream.encode(None))
        for start in range(0, 25600, 576):
            sound: Any = av.AudioFrame(format="s16", layout="mono", samples=576)
            sound.planes[0].update(bytes(1152))
            sound.sample_rate, sound.pts = 16000, start
            out.mux(voice.encode(sound))
        out.mux(voice.encode(None))
    twice.write_bytes(2 * one.read_bytes())
    monkeypatch.setattr(file_parts, "worker_pool", lambda _: ThreadPoolExecutor(1))
    for audio, least in (("drop", 40), ("keep", 60)):
        _, _, whole, parts = both(
            twice, tmp_path, build("blacken"), regions="frame", audio=audio, overwrite=True
        )
        assert whole.mended_timestamps == parts.mended_timestamps >= least
        assert whole.warnings == parts.warnings


@pytest.mark.slow
@WARM
@pytest.mark.parametrize("arguments", [{}, {"gait_jitter": 1.0}, {"warp": "first"}])
@pytest.mark.parametrize("regions", ["boxes", "frame"])
def test_noise_of_a_seed_is_that_of_one_run(
    video: Path, boxes: str, tmp_path: Path, arguments: dict[str, Any], regions: str
) -> None:
    method, where = build("selective", **arguments), boxes if regions == "boxes" else regions
    with pytest.warns(UserWarning, match="seed"):
        whole, parts, _, _ = both(
            video, tmp_path, method, ".mkv", regions=where, codec="ffv1", seed=3
        )
    expected, found = decoded(whole)[0], decoded(parts)[0]
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("parts", [1, 3])
def test_the_source_is_hashed_once_for_the_key_the_receipt_and_all_parts(
    video: Path, boxes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    hashed: list[Path] = []

    def digest(path: Path) -> str:
        hashed.append(path)
        return video_digest(path)

    for module in (single_file, verify):
        monkeypatch.setattr(module, "video_digest", digest)
    monkeypatch.setattr(file_parts, "worker_pool", lambda _: ThreadPoolExecutor(1))
    method = build("selective", key="a secret of six words or so")
    receipt = anonymize_file(video, tmp_path / "a.mp4", method, parts=parts, regions=boxes)
    assert hashed.count(video) == 1 and receipt.source.sha256 == video_digest(video)


def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Collects where parts begin and end."""
    spans: list[tuple[int, int]] = []
    original = file_parts.PartedRun._check

    def check(self: Any, writer: Any, parts: Any) -> None:
        spans.extend((part.start, part.stop) for part, _ in parts)
        original(self, writer, parts)

    monkeypatch.setattr(file_parts.PartedRun, "_check", check)
    return spans


@WARM
@pytest.mark.parametrize("method", ["selective", "blur"])
def test_parts_are_equally_long_wherever_scenes_begin(
    video: Path, boxes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    spans = started(monkeypatch)
    anonymize_file(video, tmp_path / "a.mp4", build(method), parts=3, regions=boxes)
    assert spans == [(0, 30), (30, 60), (60, 90)]


@WARM
@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "av1"])
@pytest.mark.slow
def test_every_codec_is_joined(video: Path, boxes: str, tmp_path: Path, codec: str) -> None:
    whole, parts, _, _ = both(video, tmp_path, build("blacken"), ".mkv", regions=boxes, codec=codec)
    assert decoded(whole)[1] == decoded(parts)[1]


@WARM
def test_a_preview_in_parts_ends_where_one_of_one_run_does(
    video: Path, boxes: str, tmp_path: Path
) -> None:
    whole, parts, _, _ = both(
        video, tmp_path, build("blacken"), regions=boxes, preview=2.0, allow_gaps=True
    )
    assert decoded(whole)[1] == decoded(parts)[1]


@pytest.mark.parametrize(
    "settings",
    [{"cfr": 25.0}, {"shadow": True}, {"salvage": True}, {"export_masks": Path("masks.mkv")}],
)
def test_what_needs_one_run_is_refused(
    video: Path, boxes: str, tmp_path: Path, settings: dict[str, Any]
) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(UsageError, match="leave --parts out"):
        anonymize_file(video, out, build("blur"), parts=3, regions=boxes, **settings)
    assert not out.exists()


def test_more_parts_than_files_may_be_open_are_refused_before_the_work(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part has three locked files."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (106, 106))
    out = tmp_path / "o" / "out.mp4"
    with pytest.raises(UsageError, match=r"3 parts take more open files .* at most --parts 2\.$"):
        anonymize_file(video, out, build("blur"), regions="frame", parts=3)
    assert not list(out.parent.iterdir())


def test_figures_in_the_filmed_scene_are_refused(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(UsageError, match="mannequin carries pictures of the scene"):
        anonymize_file(video, out, build("mannequin", ground="scene"), parts=3)
    assert not out.exists()


def test_a_method_that_says_nothing_of_its_frames_is_told_what_is_missing(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(type(build("blur"))):  # type: ignore[misc]
        framewise = False

    monkeypatch.setitem(METHODS, "own", Own)
    with pytest.raises(
        UsageError, match=r"own says neither .* \(framewise\) nor .*; leave --parts"
    ):
        anonymize_file(video, tmp_path / "out.mp4", Own(), regions="frame", parts=3)
    assert not list(tmp_path.iterdir())


def test_a_copy_that_one_machine_has_is_not_split_on_a_cluster() -> None:
    task = FileTask(path_of("s3://ward/a.mp4"), Path("a.mp4"))
    with pytest.raises(UsageError, match=r"parts of a\.mp4 cannot be done on a Ray cluster"):
        check_shared([task])
    check_shared([FileTask(Path("a.mp4"), Path("b.mp4"))])


ON_RAY = ["--parts", "3", "--engine", "ray", "--workers", "2", "--no-progress"]
COMMAND = [sys.executable, "-m", "masquerade", "anonymize"]


@RAY
@pytest.mark.slow
def test_parts_on_a_cluster_have_the_pictures_of_one_run(
    video: Path, boxes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By paths that begin in the folder of the command, and although a worker is killed."""
    (tmp_path / "in.mp4").write_bytes(video.read_bytes())
    words = ["in.mp4", "--method", "blur", "--regions", boxes, "--codec", "ffv1"]
    monkeypatch.chdir(tmp_path)
    assert main(["anonymize", *words, "-o", "whole.mkv", "--no-progress"]) == 0
    run = subprocess.Popen(
        [*COMMAND, *words, "-o", "parts.mkv", *ON_RAY],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert kill_one_that_writes(tmp_path, run)
    out, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert "parts.mkv" in out and not said
    (expected, times), (found, stamps) = (
        decoded(tmp_path / f"{n}.mkv") for n in ("whole", "parts")
    )
    assert times == stamps and len(found) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    assert [path for path in tmp_path.iterdir() if MARK in path.name] == []


def kill_one_that_writes(folder: Path, run: subprocess.Popen[str]) -> bool:
    """Kill the first other process that has a temporary file of a part open."""
    until = time.monotonic() + 120
    while run.poll() is None and time.monotonic() < until:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is somebody else's
                opened = [os.readlink(file) for file in (process / "fd").iterdir()]
                other = int(process.name) != run.pid
                if other and any(MARK in path and str(folder) in path for path in opened):
                    os.kill(int(process.name), signal.SIGKILL)
                    return True
    return False


@RAY
@pytest.mark.slow
def test_errors_of_a_cluster_are_those_of_the_part() -> None:
    with ray_cluster(workers=1) as ray, RayExecutor(ray, 0) as executor:
        assert executor.submit(os.getcwd).result(60) == os.getcwd()
        with pytest.raises(ValueError, match="invalid literal") as raised:
            executor.submit(int, "x").result(60)
        assert "Traceback" not in str(raised.value)
        with pytest.raises(BrokenProcessPool):  # after as many tries as a file of a batch has
            executor.submit(os._exit, 1).result(60)


def test_a_cluster_is_given_no_more_parts_at_once_than_workers_are_asked_for(
    video: Path, tmp_path: Path
) -> None:
    """It has cores for all of them."""
    given: list[Future[Any]] = []

    class Cluster(ThreadPoolExecutor):
        def submit(self, *task: Any, **more: Any) -> Future[Any]:
            assert all(one.done() for one in given)
            given.append(super().submit(*task, **more))
            return given[-1]

    pipeline = build_pipeline(build("blacken"), PipelineConfig(regions="frame", parts=3))
    pipeline = pipeline._replace(workers=1, open_executor=lambda: Cluster(3))
    run_file(video, tmp_path / "o.mp4", pipeline)
    assert len(given) == 3 and len(decoded(tmp_path / "o.mp4")[0]) == FRAMES


def test_a_part_that_fails_ends_the_pass_over_the_frames(video: Path, tmp_path: Path) -> None:
    """Which may take hours, while nothing can come of it any more."""
    given: list[Future[Any]] = []

    class Cluster(ThreadPoolExecutor):
        def submit(self, *task: Any, **more: Any) -> Future[Any]:
            given.append(Future())
            given[-1].set_exception(VideoError("the first part failed"))
            return given[-1]

    pipeline = build_pipeline(build("blacken"), PipelineConfig(regions="frame", parts=3))
    pipeline = pipeline._replace(open_executor=lambda: Cluster(1))
    with pytest.raises(VideoError, match="first part failed"):
        run_file(video, tmp_path / "o.mp4", pipeline)
    assert len(given) == 1 and not list(tmp_path.iterdir())


def test_a_killed_worker_leaves_no_file(
    video: Path, boxes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    original = file_parts.worker_pool

    def kill_first(pool: Any) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not killed:
            for child in list(pool._processes or ()):
                os.kill(child, signal.SIGKILL)
                killed.append(child)
            time.sleep(0.02)

    class Killing:
        def __init__(self, workers: int) -> None:
            self.own = original(workers)

        def __enter__(self) -> Any:
            pool = self.own.__enter__()
            threading.Thread(target=kill_first, args=(pool,), daemon=True).start()
            return pool

        def __exit__(self, *error: Any) -> Any:
            return self.own.__exit__(*error)

    monkeypatch.setattr(file_parts, "worker_pool", Killing)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(MasqueradeError, match="worker process of a part died"):
        anonymize_file(video, folder / "o.mp4", build("blur"), parts=3, regions=boxes)
    assert killed and list(folder.iterdir()) == []
