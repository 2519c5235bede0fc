"""What several test files need: the demo's clip, short, and the command as a real process."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from masquerade.anonymizer import Anonymizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
# How long an example takes, or is in being drawn, says nothing on a machine that does other work.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

NO_FFMPEG = "Debian's ffmpeg and ffprobe are not installed"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no NVIDIA GPU is here")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say once what is not installed, which tests that leaves out, and how to install it."""
    if not any(map(shutil.which, ("chromium", "chromium-browser"))):
        terminalreporter.write_line(
            "The studio's tests in a browser (make test-slow) are left out, as Debian's chromium "
            "is not installed: apt install chromium",
            yellow=True,
        )
    reports = terminalreporter.stats.get("skipped", ())
    count = sum(NO_FFMPEG in str(report.longrepr) for report in reports)
    if count:
        terminalreporter.write_line(
            f"{count} tests make videos with ffmpeg or judge them with ffprobe, which are not "
            "installed, and were skipped: apt install ffmpeg",
            yellow=True,
        )


@pytest.fixture(scope="session")
def clip(demo_second: Path) -> Path:
    """One second of the demo's clip; some modules have one of their own under this name."""
    return demo_second


@pytest.fixture(scope="session")
def demo_second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of the demo's clip: a face, sound, and tags."""
    from masquerade.cli.demo_clip import compose

    path = tmp_path_factory.mktemp("clip") / "person.mp4"
    compose(path, seconds=1)
    return path


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first ten frames, for tests to which the length means nothing."""
    from masquerade.cli.demo_clip import compose

    path = tmp_path_factory.mktemp("short_clip") / "person.mp4"
    compose(path, seconds=0.4)
    return path


@pytest.fixture
def few_more_files() -> Iterator[None]:
    """Let this process have no more than 64 files open beside those that it has."""
    from masquerade.process_pool import start_fork_server

    start_fork_server()  # which serves other tests, too
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/dev/fd"))) + 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def full_after() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file of this process grow above so many bytes, for a while."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def made() -> Callable[[str], Anonymizer]:
    """Make a method as a user has it; a learned one small, and as though it had been trained."""
    import torch

    from masquerade.methods import METHODS, PRESETS, build

    def make(name: str) -> Anonymizer:
        if not METHODS[name].learned:
            return build(name)
        torch.manual_seed(0)
        method = PRESETS[name]["tiny"]().eval()
        method.trained = True
        return method

    return make


@pytest.fixture(scope="session")
def wild() -> Path:
    """The folder of clips as people have them."""
    folder = DATA / "wild"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here")
    return folder


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `masquerade` as a process of its own in an empty folder."""

    def run(*words: str | Path, code: str | None = None, **kwargs) -> subprocess.CompletedProcess:
        start = code or "import sys; from masquerade.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", start, *map(str, words)],
            cwd=kwargs.pop("cwd", tmp_path),
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "COLUMNS": "100"},
            **kwargs,
        )

    return run


@pytest.fixture
def called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Run `masquerade` as `command` does, but in this process, which starts it in no time."""
    from masquerade.cli import main

    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        capfd.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return run
