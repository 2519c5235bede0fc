"""Which tests run which line, and how long each takes, as coverage.py records them."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from mutants import ROOT, SOURCE, files

MAIN = Path(__file__).with_name("mutation.py")  # which is started again for each test file
# The tests that may judge them: those of the same rooms, and those of the command.
JUDGES = (
    "tests/pipeline",
    "tests/video",
    "tests/regions",
    "tests/cli/test_cli.py",
    "tests/security/test_numerics.py",
    "tests/test_anonymizer.py",
    "tests/test_contract.py",
    "tests/test_process_pool.py",
    "tests/test_ranges.py",
    "tests/test_file_locks.py",
    "tests/test_output_paths.py",
    "tests/test_storage.py",
    "tests/test_transaction.py",
)


class Recorder:
    """A pytest plugin that records which lines each test runs, and how long it takes."""

    def __init__(self, coverage: Any) -> None:
        self.coverage, self.seconds, self.failed = coverage, defaultdict(float), set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)
        self.began = sum(os.times()[:4])  # of the processor, of this process and those it started

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] = sum(os.times()[:4]) - self.began

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.outcome != "passed":
            self.failed.add(report.nodeid)


class DecodingThread:
    """What stands in for the process that decodes while tests are recorded, to see its lines."""

    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair()
        self.thread = threading.Thread(target=self._serve, args=(theirs,), daemon=True)
        self.thread.start()

    def _serve(self, channel: socket.socket) -> None:
        from masquerade.video.decoding_child import Child

        with channel, contextlib.suppress(OSError):
            Child(channel).serve()

    @property
    def alive(self) -> bool:
        """Whether it can serve."""
        return self.thread.is_alive()

    def end(self) -> int:
        """End it as soon as it listens."""
        self.channel.close()
        self.thread.join(5)
        return 0


def record(paths: list[str], out: Path) -> None:
    """Run test files in this process; write which lines each test runs, and its time."""
    sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "benchmarks"]
    import coverage  # not the benchmark of that name
    import pytest

    places = [f"*/{SOURCE}/{file}" for file in files()]
    measured = coverage.Coverage(data_file=None, include=places, config_file=False)
    recorder = Recorder(measured)
    measured.start()
    if not any(path.endswith("test_decoding_process.py") for path in paths):
        from masquerade.video import decoding_child, decoding_process

        setattr(decoding_process, "DecodingProcess", DecodingThread)  # noqa: B010
        setattr(decoding_child, "limit_memory", lambda count: None)  # noqa: B010
    pytest.main([*paths, "-n0", "-p", "no:cacheprovider"], plugins=[recorder])
    measured.stop()
    data = measured.get_data()
    lines: dict[str, dict[int, list[str]]] = {}
    imported: dict[str, list[int]] = {}  # lines that ran outside of tests, too
    for file in data.measured_files():
        name = file.partition(f"{SOURCE}/")[2]
        found = data.contexts_by_lineno(file).items()
        lines[name] = {line: sorted(set(tests) - {""} - recorder.failed) for line, tests in found}
        imported[name] = [line for line, tests in found if "" in tests]
    seconds = {test: took for test, took in recorder.seconds.items() if test not in recorder.failed}
    failed = sorted(recorder.failed)
    found = {"seconds": seconds, "lines": lines, "imported": imported, "failed": failed}
    out.write_text(json.dumps(found))


class Records:
    """Which tests run which line; `most` are the seconds of those that are run on one mutant."""

    def __init__(self, folder: Path, most: float) -> None:
        self.most = most
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.imported: dict[str, set[int]] = defaultdict(set)
        for path in folder.glob("*.json"):
            one = json.loads(path.read_text())
            self.seconds |= one["seconds"]
            for file, lines in one["lines"].items():
                self.imported[file] |= set(one.get("imported", {}).get(file, ()))
                for line, tests in lines.items():
                    self.lines[file][int(line)] |= set(tests)

    def tests_of(self, file: str, line: int) -> tuple[list[str], bool]:
        """The tests that run a statement, quickest first; and whether imports run it.

        Behind them come those that run anything else of its file, as processes that a test starts
        are not seen; of what imports run, in whichever test comes first, it is all of these.
        """
        covered, places = self.lines[file], _statement(file, line)
        found = {test for tests in covered.values() for test in tests}
        sure = {test for at in places for test in covered.get(at, ())}
        if not _is_in_function(file, line):
            sure = found
        chosen, spent, cases = [], 0.0, Counter[str]()
        order = []  # one case of each test first, then a second of each, and so on
        for test in sorted(found, key=lambda test: (self.seconds[test], test)):
            cases[test.partition("[")[0]] += 1
            case = cases[test.partition("[")[0]]
            order.append((test not in sure, case, self.seconds[test], test))
        for *_, test in sorted(order):
            if chosen and spent + self.seconds[test] > self.most:
                continue
            spent += self.seconds[test]
            chosen.append(test)
        return chosen, any(at in self.imported[file] for at in places)


def _is_in_function(file: str, line: int) -> bool:
    tree = ast.parse((ROOT / SOURCE / file).read_text("utf-8"))
    return any(
        node.body[0].lineno <= line <= (node.end_lineno or line)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )


def _statement(file: str, line: int) -> range:
    """The lines of the innermost statement around a line; of a compound one its head."""
    best = range(line, line + 1)
    for node in ast.walk(ast.parse((ROOT / SOURCE / file).read_text("utf-8"))):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno
            if line <= (end or line):
                best = range(node.lineno, (end or line) + 1)
    return best


def record_all(folder: Path, workers: int) -> None:
    """Record the tests of JUDGES, each file in a process, unless they were since they changed."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [path for place in JUDGES for path in _test_files(ROOT / place)]
    waiting = [path for path in found if not _is_newer(folder / f"{path.stem}.json", path)]
    running: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    while waiting or running:
        while waiting and len(running) < workers:  # each a process, so that none sees another's
            path = waiting.pop(0)
            words = [str(path.relative_to(ROOT)), "--record", str(folder / f"{path.stem}.json")]
            command = [sys.executable, str(MAIN), *words]
            print(f"recording {path.stem}", file=sys.stderr)
            running.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            )
        running = [process for process in running if process.poll() is None]
        time.sleep(0.1)


def _is_newer(made: Path, source: Path) -> bool:
    return made.exists() and made.stat().st_mtime > source.stat().st_mtime


def _test_files(place: Path) -> list[Path]:
    return sorted(place.glob("test_*.py")) if place.is_dir() else [place]
