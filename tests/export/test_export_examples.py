"""The examples that run exported files: a script without PyTorch, and a page in Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from masquerade.anonymizer import Anonymizer
from masquerade.export.write import Exported

pytest.importorskip("onnxscript", reason="the onnx extra is not installed")
EXAMPLES = Path(__file__).parents[2] / "examples"
WEB = Path(sys.prefix) / "share" / "masquerade" / "onnxruntime-web"
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
RUN = """
import runpy, sys
sys.modules["torch"] = sys.modules["masquerade"] = None  # importing them fails
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
assert sys.modules["torch"] is None and sys.modules["masquerade"] is None
"""


def run_example(*words: Path, code: int = 0) -> str:
    script = str(EXAMPLES / "onnx_python.py")
    done = subprocess.run(
        [sys.executable, "-c", RUN, script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


@pytest.mark.slow
def test_a_video_that_is_stored_turned_is_refused(
    onnx_file: Callable[[str], Exported], wild: Path, tmp_path: Path
) -> None:
    """It would be published lying, and a network of one size would see people squeezed."""
    turned, out = wild / "rotation_meta_90.mov", tmp_path / "safe.mp4"
    said = run_example(Path(onnx_file("pixelate").path), turned, out, code=1)
    assert said.startswith("turn the video upright first") and not list(tmp_path.iterdir())


def test_an_output_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    """It may be the only raw video."""
    source = tmp_path / "raw.mp4"
    source.write_bytes(b"raw")
    for words in ((), (tmp_path / "net.onnx", source, source)):
        assert run_example(*words, code=1).startswith("usage: ")
    assert source.read_bytes() == b"raw"


def made_clip(path: Path, *, width: int, pts: list[int]) -> Path:
    """A video of grey frames at some times, in milliseconds."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, 48, "yuv444p"
        stream.codec_context.time_base = Fraction(1, 1000)
        file.start_encoding()  # else there is no file without frames
        for number, time in enumerate(pts):
            grey = np.full((48, width, 3), 20 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "container"), [("safe.mp4", "mp4"), ("safe.webm", "webm")])
def test_a_video_keeps_the_times_of_its_frames(
    name: str, container: str, onnx_file: Callable[[str], Exported], tmp_path: Path
) -> None:
    """Also where they are uneven, as of a telephone; and its name says what is in it."""
    times = [0, 40, 80, 400, 440, 1000]
    source = made_clip(tmp_path / "source.mkv", width=64, pts=times)
    run_example(Path(onnx_file("pixelate").path), source, tmp_path / name)
    with av.open(str(tmp_path / name)) as video:
        assert container in video.format.name
        found = [frame.time for frame in video.decode(video=0)]
    assert [round(1000 * (time - found[0])) for time in found] == times
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "source.mkv"])


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that the script refuses, each for its own reason, and a whole one."""
    from masquerade.export.graph import MethodGraph
    from masquerade.export.recognizer_graph import RecognizerGraph
    from masquerade.export.write import export
    from masquerade.methods import PRESETS, build

    folder = tmp_path_factory.mktemp("files")
    export(MethodGraph(PRESETS["noise-features"]["tiny"]().eval(), size=(24, 32)), folder / "new")
    export(RecognizerGraph("tiny-2d", classes=2, size=(24, 32)), folder / "reader")
    export(MethodGraph(build("pixelate"), size=(49, 64)), folder / "odd")
    export(MethodGraph(build("pixelate"), size=(48, 96)), folder / "wide")
    export(MethodGraph(build("mask-mean"), size=None), folder / "fine")
    return folder


@pytest.mark.parametrize(
    ("network", "pts", "output", "said"),
    [
        ("new", [0, 40], "safe.mp4", "no trained method"),
        ("reader", [0, 40], "safe.mp4", "no trained method"),
        ("odd", [0, 40], "safe.mp4", "turn the video upright first, or export for frames of its"),
        ("wide", [0, 40], "safe.mp4", "turn the video upright first, or export for frames of its"),
        ("fine", [], "safe.mp4", "the video has no frames"),
        ("fine", [0, 40], "safe", "usage: "),
    ],
)
def test_what_would_not_be_hidden_or_be_squeezed_is_refused_in_one_line(
    network: str, pts: list[int], output: str, said: str, small_files: Path, tmp_path: Path
) -> None:
    source = made_clip(tmp_path / ("source.mkv" if pts else "source.avi"), width=64, pts=pts)
    told = run_example(small_files / network, source, tmp_path / output, code=1)
    assert told.startswith(said) and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == [source]


def test_no_other_file_is_written_over_or_left(small_files: Path, tmp_path: Path) -> None:
    """Such as one with the name that a half-made video had; the source, too, may have it."""
    source = made_clip(tmp_path / "safe.part.mp4", width=64, pts=[0, 40])
    before = source.read_bytes()
    run_example(small_files / "fine", source, tmp_path / "safe.mp4")
    run_example(small_files / "fine", source, tmp_path / "safe.nonsense", code=1)
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["safe.mp4", "safe.part.mp4"]


def test_a_video_of_an_odd_size_loses_a_column(
    onnx_file: Callable[[str], Exported], tmp_path: Path
) -> None:
    """No codec that is written takes it."""
    source = made_clip(tmp_path / "source.mkv", width=63, pts=[0, 40])
    run_example(Path(onnx_file("mask-mean").path), source, tmp_path / "safe.mp4")
    assert frames_of(tmp_path / "safe.mp4").shape == (2, 48, 62, 3)


def test_the_examples_have_at_most_40_lines() -> None:
    for name in ("onnx_python.py", "onnx_web.html"):
        assert len((EXAMPLES / name).read_text().splitlines()) <= 40


def frames_of(path: Path, **size: int) -> np.ndarray:
    """(T, H, W, 3), at a size."""
    with av.open(str(path)) as video:
        each = [frame.to_ndarray(format="rgb24", **size) for frame in video.decode(video=0)]
    return np.stack(each)


@pytest.mark.parametrize(
    "name",
    ["pixelate", pytest.param("frame-difference", marks=pytest.mark.slow)],
)
def test_a_video_is_anonymized_without_pytorch(
    name: str,
    made: Callable[[str], Anonymizer],
    onnx_file: Callable[[str], Exported],
    clip: Path,
    tmp_path: Path,
) -> None:
    method = made(name)
    run_example(Path(onnx_file(name).path), clip, tmp_path / "safe.mp4")
    size = {} if method.dynamic_size else {"height": 48, "width": 64}
    source, found = frames_of(clip, **size), frames_of(tmp_path / "safe.mp4")
    expected, _ = method.forward_on_pixels(source)
    assert found.shape == source.shape
    off = np.abs(found - expected.astype(float)).mean()  # but for the codec
    assert off < 8 and 2 * off < np.abs(found - source.astype(float)).mean()
    assert [path.name for path in tmp_path.iterdir()] == ["safe.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stprivacy", "noise-features"])
def test_a_video_goes_through_windows_and_noise(
    name: str, onnx_file: Callable[[str], Exported], clip: Path, tmp_path: Path
) -> None:
    run_example(Path(onnx_file(name).path), clip, tmp_path / "safe.mp4")
    found = frames_of(tmp_path / "safe.mp4")
    source = frames_of(clip, height=48, width=64)
    assert found.shape == source.shape and found.std() > 1
    assert np.abs(found - source.astype(float)).mean() > 12


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a line in the log for each."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a folder with the page and the files of onnxruntime-web."""
    if not (WEB / "ort.wasm.min.js").is_file():
        pytest.skip("onnxruntime-web is not installed; make test installs it")
    for path in (*WEB.iterdir(), EXAMPLES / "onnx_web.html"):
        shutil.copy(path, tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
@pytest.mark.parametrize("name", ["mask-mean", "spact", "bdq"])
def test_a_picture_is_anonymized_in_a_page(
    name: str,
    made: Callable[[str], Anonymizer],
    onnx_file: Callable[[str], Exported],
    served: str,
    tmp_path: Path,
) -> None:
    from playwright.sync_api import sync_playwright

    method, elsewhere = made(name), []
    shutil.copy(onnx_file(name).path, tmp_path / "file.onnx")
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
    alpha = np.full((48, 64, 1), 255, np.uint8)
    alpha[:, :9] = 0  # as of a picture that somebody cut out; it is read over black
    cv2.imwrite(str(tmp_path / "picture.png"), np.concatenate([picture[..., ::-1], alpha], axis=2))
    picture[:, :9] = 0
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        page.on("request", lambda asked: elsewhere.append(asked.url))
        page.goto(f"{served}onnx_web.html?network=file.onnx")
        page.set_input_files("#picture", str(tmp_path / "picture.png"))
        page.wait_for_function("document.querySelector('#said').value")
        page.wait_for_selector("#picture:enabled")
        said = page.text_content("#said")
        pixels = page.evaluate(
            """() => {
                const shown = document.querySelector("#anonymized");
                const { width, height } = shown;
                if (!width) return [];
                return [...shown.getContext("2d").getImageData(0, 0, width, height).data];
            }"""
        )
        (tmp_path / "note.txt").write_text("no picture")
        page.set_input_files("#picture", str(tmp_path / "note.txt"))
        page.wait_for_selector("#picture:enabled")
        assert page.text_content("#said").startswith("nothing is shown: ")
        assert page.evaluate("document.querySelector('#anonymized').width") == 0
        browser.close()
    assert all(url.startswith((served, "blob:", "data:")) for url in elsewhere), elsewhere
    if name == "bdq":
        assert said == "nothing is shown: this method wants the frames of a video, or noise"
        assert not pixels
        return
    assert said == "anonymized"
    found = np.array(pixels, np.uint8).reshape(48, 64, 4)[..., :3]
    expected, _ = method.forward_on_pixels(picture[None])
    assert np.abs(found.astype(int) - expected[0]).max() <= 1  # rounding
    assert set(pixels[3::4]) == {255}, "the outline of what was cut out is not hidden"
