"""How many small faults of the fail-closed pipeline its tests notice: a mutation score.

    pip install -e ".[dev,mutation]"
    python benchmarks/mutation.py --seed 0 --mutants 400 --page docs/results

Faults are made by the operators of mutmut, and drawn by a seed from all that it finds in FILES.
What cannot be told from the original, or only by its wording, is left out by the rules of
`is_left_out` before the draw, and nothing after it. The tests that run a fault's line (recorded by
coverage.py in the same run, with the decoder in a thread, where its lines are seen) are run on it,
quickest first, until one fails. For that everything is imported and collected once, and each fault
is swapped into a forked process; one of a module or a class is imported anew there. It also lies in
a copy of the repository, where processes that tests start find it. A fault is killed if a test
fails, if nothing can be imported, or if a test takes several times its time; it counts as alive if
none of those that fit into --seconds fails. Every tenth run is a control: the same tests without a
fault, which have to pass. What timed out is judged once more at the end, by one worker alone, and
counts as killed only if it does so again.

`--resume` keeps the verdicts that are in the folder already; `--again` judges those anew that
survived, by tests that were written since or with more `--seconds`. `--page` writes the page and
the verdicts as JSON. The exit code is 1 below `--least`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import gc
import inspect
import io
import itertools
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "src/masquerade"
# What stands between a source and a published output: reading, finding, hiding, checking, writing.
# Left out: methods, which tests/test_contract.py judges by what they hide, networks, and messages.
FILES = (
    "pipeline/*.py",
    "video/*.py",
    "regions/boxes.py",
    "regions/face_detectors.py",
    "regions/masks.py",
    "regions/region.py",
    "regions/region_sources.py",
    "regions/tracking.py",
    "anonymizer.py",
    "process_pool.py",
    "ranges.py",
    "storage.py",
    "transaction.py",
)
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
    "tests/test_storage.py",
    "tests/test_transaction.py",
)
PATIENCE = 5  # times its recorded time, and half a minute, after which a test counts as hanging
IDLE = 45  # seconds without any work of the processor after which a test waits for nothing
CONTROLS = 10  # one control for so many mutants


@dataclass(frozen=True)
class Mutant:
    """One fault: a file and what it says instead."""

    file: str  # below src/masquerade
    line: int
    diff: str
    code: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    status: str  # killed, timed out or survived
    tests: int  # how many were selected
    by: str = ""  # the test that failed
    seconds: float = 0.0
    control: bool = False


def files() -> list[str]:
    """The files that mutants are drawn from."""
    folder = ROOT / SOURCE
    found = {path for pattern in FILES for path in folder.glob(pattern)}
    return sorted(str(path.relative_to(folder)) for path in found if path.name != "__init__.py")


def is_left_out(parents: Any, node: Any, mutated: Any) -> bool:
    """The rules by which a mutant is left out before the draw.

    mutmut itself leaves out annotations, docstrings, decorated functions, calls of len and
    isinstance, and what is marked as such (nothing is).
    """
    import libcst as cst

    if isinstance(node, cst.SimpleString):
        text = node.evaluated_value
        if not isinstance(text, str) or not mutated.value.strip("bru")[1:].startswith("XX"):
            return True  # of the three faults of a string only the first: the others are like it
        if " " in text or text == "utf-8":
            return True  # the wording of a message; another case of the same name
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value == "zip":
        return len(mutated.args) < len(node.args) and "strict" in _keywords(node) - _keywords(
            mutated
        )
    inside = node
    while inside in parents:
        above = parents[inside]
        if isinstance(above, cst.Raise):
            return True  # the wording of a refusal
        if isinstance(above, cst.Arg) and above.keyword and above.keyword.value == "strict":
            return True  # an assertion that never fails
        if isinstance(above, cst.Assign | cst.AnnAssign) and _is_type(above.value):
            return True
        inside = above
    return isinstance(node, cst.Assign | cst.AnnAssign) and _is_type(node.value)


def _keywords(call: Any) -> set[str]:
    return {arg.keyword.value for arg in call.args if arg.keyword}


def _is_type(value: Any) -> bool:
    """Whether an assigned value is a type for the checker: Literal[...], TypeVar(...)."""
    import libcst as cst

    if isinstance(value, cst.Subscript):
        return isinstance(value.value, cst.Name) and value.value.value in TYPES
    return (
        isinstance(value, cst.Call)
        and isinstance(value.func, cst.Name)
        and (value.func.value in ("TypeVar", "NewType"))
    )


TYPES = ("Annotated", "Callable", "Literal", "NDArray", "tuple")


class Source:
    """A file and what mutmut would change in it."""

    def __init__(self, file: str) -> None:
        from libcst.metadata import MetadataWrapper, ParentNodeProvider
        from mutmut.mutation.file_mutation import create_mutations

        self.file, self.code = file, (ROOT / SOURCE / file).read_text("utf-8")
        self.module, mutations, *_ = create_mutations(file, self.code)
        wrapper = MetadataWrapper(self.module, unsafe_skip_copy=True)
        self.parents = wrapper.resolve(ParentNodeProvider)
        pairs = [(one.original_node, one.mutated_node) for one in mutations]
        self.pairs = [pair for pair in pairs if not is_left_out(self.parents, *pair)]
        parts = (*self.module.header, *self.module.body, *self.module.footer)
        self.pieces = [self.module.code_for_node(part) for part in parts]

    def mutant(self, node: Any, mutated: Any) -> Mutant | None:
        """One of the pairs, written out; None: it is no Python, or the same."""
        top = node
        while self.parents[top] is not self.module:
            top = self.parents[top]
        at = len(self.module.header) + self.module.body.index(top)
        piece = self.module.code_for_node(top.deep_replace(node, mutated))
        changed = "".join([*self.pieces[:at], piece, *self.pieces[at + 1 :]])
        try:
            compile(changed, self.file, "exec")
        except SyntaxError:
            return None
        lines = self.code.splitlines(), changed.splitlines()
        diff = list(difflib.unified_diff(*lines, n=0, lineterm=""))
        if not diff:
            return None
        line = int(diff[2].split()[1].lstrip("-").partition(",")[0])
        return Mutant(self.file, line, "\n".join(diff[3:]), changed)


def draw(count: int, seed: int) -> tuple[list[Mutant], Counter[str]]:
    """So many mutants of all files, each as likely as any other; and how many there are."""
    sources = [Source(file) for file in files()]
    pairs = [(source, pair) for source in sources for pair in source.pairs]
    every = Counter({source.file: len(source.pairs) for source in sources})
    random.Random(seed).shuffle(pairs)
    written = (source.mutant(*pair) for source, pair in pairs)
    return list(itertools.islice(filter(None, written), count)), every


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
            command = [sys.executable, __file__, *words]
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


class Swap:
    """Functions of loaded modules, whose code is replaced in place instead of importing anew."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.alive: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        for thing in gc.get_objects():
            if type(thing) is FunctionType and SOURCE in thing.__code__.co_filename:
                self.alive[_name(thing.__code__)].append(thing)

    def __call__(self, mutant: Mutant) -> bool:
        """Whether the fault is in functions alone, all of which now have it."""
        path = str(self.tree / SOURCE / mutant.file)
        original = compile((ROOT / SOURCE / mutant.file).read_text("utf-8"), path, "exec")
        before = _functions(original)
        after = _functions(compile(mutant.code, path, "exec"))
        changed = [
            (one, other)
            for one, other in zip(before, after, strict=True)
            if _shape(one) != _shape(other)
        ]
        if len(changed) != 1:
            return False  # it is of the module or a class
        for one, other in changed:
            found = self.alive.get(_name(one), [])
            if not found or len(one.co_freevars) != len(other.co_freevars):
                return False
            for function in found:
                function.__code__ = other
        return True


def _name(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _functions(code: CodeType) -> list[CodeType]:
    """The outermost functions of a module and its classes."""
    found = []
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found += [part] if part.co_flags & inspect.CO_OPTIMIZED else _functions(part)
    return found


def _shape(code: CodeType) -> Any:
    """What a function does, without the lines that it stands on."""
    consts = [_shape(c) if isinstance(c, CodeType) else (type(c), repr(c)) for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, consts


class Worker:
    """A pytest plugin: in place of running what was collected, it judges mutants.

    Everything is imported and collected once. A mutant in a function is swapped into it in a forked
    process, and chosen tests are run there; any other is imported anew in that process. Either way
    it also lies in the copy of the repository, where processes that tests start find it.
    """

    def __init__(self, tree: Path, records: Records, todo: Any, done: Any) -> None:
        self.tree, self.records, self.todo, self.done = tree, records, todo, done

    def pytest_runtestloop(self, session: Any) -> bool:
        if session.testsfailed:
            return False  # something cannot be collected: the process ends, and `run` says so
        self.items = {item.nodeid: item for item in session.items}
        self.swap = Swap(self.tree)
        gc.freeze()
        while (mutant := self.todo.get()) is not None:
            self.done.put(self.judge(mutant))
        return True

    def judge(self, mutant: Mutant) -> Verdict:
        """Run the tests that may notice a mutant in a forked process; a control has no code."""
        place, said = self.tree / SOURCE / mutant.file, self.tree / "verdict"
        tests, imported = self.records.tests_of(mutant.file, mutant.line)
        tests = [test for test in tests if test in self.items]
        began = time.monotonic()
        said.write_text("")
        if mutant.code:
            place.write_text(mutant.code, "utf-8")
        pid = os.fork()
        if not pid:
            self._run(mutant, tests, said, anew=imported)
        status, running, since = "timed out", "", began
        worked, active, looked = 0.0, began, began
        while time.monotonic() - since < self.limit(running):
            if (now := said.read_text()) != running:
                running, since = now, time.monotonic()
            if time.monotonic() - looked > 1:
                looked, spent = time.monotonic(), _processor_time(pid)
                if abs(spent - worked) > 0.1:
                    worked, active = spent, looked
                elif looked - active > IDLE:
                    break
            done, ended = os.waitpid(pid, os.WNOHANG)
            if done:
                hung = os.WIFSIGNALED(ended) and os.WTERMSIG(ended) in (
                    signal.SIGXCPU,
                    signal.SIGKILL,
                )
                status = "survived" if ended == 0 else "timed out" if hung else "killed"
                break
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if status == "timed out":
            os.waitpid(pid, 0)
        shutil.copy2(ROOT / SOURCE / mutant.file, place)
        by = said.read_text() if status != "survived" else ""
        took = round(time.monotonic() - began, 1)
        return Verdict(mutant, status, len(tests), by, took, not mutant.code)

    def limit(self, running: str) -> float:
        """Seconds that a test, or what is imported before the first, may take as others run too."""
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        return busy * (60 + 4 * PATIENCE * self.records.seconds.get(running, 3.0))

    def _run(self, mutant: Mutant, tests: list[str], said: Path, *, anew: bool) -> None:
        """In the forked process: run tests until one fails, and end with 1 if one did."""
        code = 99
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
            temporary = self.tree / "tmp" / str(os.getpid())
            temporary.mkdir()
            os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
            judge = Judge(tests, self.records.seconds, said)
            if mutant.code and (anew or not self.swap(mutant)):
                code = judge.import_and_run(temporary)
            else:
                code = judge.run([self.items[test] for test in tests])
            shutil.rmtree(temporary, ignore_errors=True)
        finally:
            os._exit(code)


class Judge:
    """Runs chosen tests, quickest first, and keeps the name of the first that fails.

    The name of the one that runs stands in a file, so that its time can be limited from outside.
    """

    def __init__(self, tests: list[str], seconds: dict[str, float], running: Path) -> None:
        self.place = {test: i for i, test in enumerate(tests)}
        self.seconds, self.running, self.by = seconds, running, ""

    def run(self, items: list[Any]) -> int:
        """Run tests that were collected already."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.pluginmanager.register(self, "judge")
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            item.config.pluginmanager.unregister(self)
            if self.by:
                return 1
        return 0

    def import_and_run(self, temporary: Path) -> int:
        """Import the package and collect anew; no test at all is no test that fails."""
        import pytest

        ours = [name for name, module in sys.modules.items() if _is_ours(module)]
        for name in ours:
            del sys.modules[name]
        places = sorted({test.partition("::")[0] for test in self.place})
        options = ["-x", "-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={temporary}/pytest"]
        code = pytest.main([*options, *places], plugins=[self])
        return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else int(code)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        kept = [item for item in items if item.nodeid in self.place]
        if not kept:  # a fault that changes the names of all cases: take the tests whole
            names = {test.partition("[")[0] for test in self.place}
            kept = [item for item in items if item.nodeid.partition("[")[0] in names]
        items[:] = sorted(kept, key=lambda item: self.place.get(item.nodeid, 0))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running.write_text(nodeid)
        spent = sum(os.times()[:2])
        processor = int(spent + 30 + PATIENCE * self.seconds.get(nodeid, 0.0))
        resource.setrlimit(resource.RLIMIT_CPU, (processor, resource.RLIM_INFINITY))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.by:
            self.by = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.by:
            self.by = f"import: {report.nodeid}"


def _processor_time(session: int) -> float:
    """Seconds of the processor that the processes of a session took, those that run now."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _is_ours(module: Any) -> bool:
    """Whether a module is of this repository: the package, or a test."""
    file = getattr(module, "__file__", None) or ""
    return f"/{SOURCE}/" in file or "/tests/" in file.partition("/tree")[2]


def _work(number: int, folder: Path, records: Records, todo: Any, done: Any) -> None:
    """One worker: its own copy of the repository, and one fork a mutant."""
    tree = folder / f"tree{number}"
    names = subprocess.check_output(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT
    )
    for name in filter(None, names.decode().split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, tree / name)
    (tree / "tmp").mkdir()
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    beside = ROOT / "benchmarks"
    sys.path[:] = [str(tree / "src"), *(e for e in sys.path if Path(e or ".").resolve() != beside)]
    import pytest

    # bytecode is kept from before the first mutant, and never made from one
    subprocess.run([sys.executable, "-m", "compileall", "-q", "src"], check=True)
    os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        plugin = Worker(tree, records, todo, done)
        pytest.main(["-n0", "-q", "-p", "no:cacheprovider", *JUDGES], plugins=[plugin])


def run(mutants: list[Mutant], records: Records, workers: int) -> Iterator[Verdict]:
    """Judge mutants, and every so many a control, in several processes."""
    context = multiprocessing.get_context("fork")
    todo, done = context.SimpleQueue(), context.SimpleQueue()
    items = []
    for index, mutant in enumerate(mutants):
        items.append(mutant)
        if index % CONTROLS == 0:
            items.append(replace(mutant, code="", diff=""))
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        arguments = [(number, Path(folder), records, todo, done) for number in range(workers)]
        processes = [context.Process(target=_work, args=one) for one in arguments]
        for process in processes:
            process.start()
        waiting = iter(items)
        for mutant in itertools.islice(waiting, 2 * workers):
            todo.put(mutant)
        for _ in items:
            while done.empty():
                if not all(process.is_alive() for process in processes):
                    for process in processes:
                        process.terminate()
                    raise RuntimeError("a worker has ended; run pytest on JUDGES to see why")
                time.sleep(0.01)
            verdict = done.get()
            for mutant in itertools.islice(waiting, 1):
                todo.put(mutant)
            yield verdict
        for _ in processes:
            todo.put(None)
        for process in processes:
            process.join()


def main() -> int:
    """Draw, judge, and write the page and the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of the tests that are run on one mutant"
    )
    parser.add_argument("--least", type=float, default=0.85, help="share that is to be killed")
    parser.add_argument("--list", action="store_true", help="print the draw, and run nothing")
    parser.add_argument("--resume", action="store_true", help="keep verdicts and records")
    parser.add_argument("--again", action="store_true", help="--resume, but judge survivors anew")
    parser.add_argument("-o", "--out", type=Path, default=Path("mutation"))
    parser.add_argument("--page", type=Path, help="folder for mutation.md and mutation.json")
    parser.add_argument("--note", default="", help="what the page says of this draw")
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.paths, arguments.record)
        return 0
    drawn, every = draw(arguments.mutants, arguments.seed)
    if arguments.list:
        for mutant in drawn:
            print(f"{mutant.file}:{mutant.line}\n{mutant.diff}")
        return 0
    kept = arguments.out / f"seed{arguments.seed}.jsonl"
    if not (arguments.resume or arguments.again):
        shutil.rmtree(arguments.out / "records", ignore_errors=True)
        kept.unlink(missing_ok=True)
    record_all(arguments.out / "records", arguments.workers)
    records = Records(arguments.out / "records", arguments.seconds)
    lines = kept.read_text("utf-8").splitlines() if kept.exists() else []
    read = [_read(json.loads(line)) for line in lines]
    verdicts = {_place(one.mutant, one.control): one for one in read}
    left = ("survived", "timed out") if arguments.again else ()
    known = {key for key, one in verdicts.items() if one.status not in left}
    waiting = [mutant for mutant in drawn if _place(mutant) not in known]
    with kept.open("a", encoding="utf-8") as log:

        def judge(mutants: list[Mutant], workers: int) -> None:
            for verdict in run(mutants, records, workers):
                short = replace(verdict, mutant=replace(verdict.mutant, code=""))
                verdicts[_place(short.mutant, short.control)] = short
                print(json.dumps(asdict(short)), file=log, flush=True)
                print(f"{len(verdicts)}: {verdict.status} {verdict.mutant.file}", file=sys.stderr)

        if waiting:
            judge(waiting, arguments.workers)
        slow = {key for key, one in verdicts.items() if one.status == "timed out"}
        if late := [one for one in waiting if _place(one) in slow]:
            judge(late, 1)
    own = set(map(_place, drawn))
    found = [one for key, one in verdicts.items() if one.control or key in own]
    print(report(found, every))
    if arguments.page:
        head = ["git", "rev-parse", "--short", "HEAD"]
        arguments.commit = subprocess.check_output(head, cwd=ROOT, text=True).strip()
        write_page(arguments.page, found, every, arguments)
    judged = [one for one in found if not one.control]
    killed = sum(one.status != "survived" for one in judged)
    return int(killed < arguments.least * len(judged))


def _place(mutant: Mutant, control: bool = False) -> tuple[str, int, str, bool]:
    """What tells a mutant or a control from any other."""
    return mutant.file, mutant.line, mutant.diff, control


def _read(verdict: dict[str, Any]) -> Verdict:
    return Verdict(**{**verdict, "mutant": Mutant(**verdict["mutant"])})


def share(killed: int, judged: int) -> str:
    """A share in words, with Wilson's interval."""
    z, n, p = 1.96, judged, killed / judged
    middle, spread = p + z * z / 2 / n, z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    low, high = ((middle + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    return f"{100 * p:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def report(verdicts: list[Verdict], every: Counter[str]) -> str:
    """What was killed, by file, and what survived."""
    out = io.StringIO()
    judged = [one for one in verdicts if not one.control]
    controls = [one for one in verdicts if one.control]
    killed = sum(one.status != "survived" for one in judged)
    passed = sum(one.status == "survived" for one in controls)
    slow = sum(one.status == "timed out" for one in judged)
    print(f"**{killed} of {len(judged)} were killed: {share(killed, len(judged))}**,", file=out)
    print(
        f"{slow} of them because tests did not end. Of {len(controls)} controls without", file=out
    )
    print(f"a fault {passed} passed.\n", file=out)
    print("| file | mutants in it | drawn | killed | timed out | survived |", file=out)
    print("| --- | --- | --- | --- | --- | --- |", file=out)
    groups = [(file, [one for one in judged if one.mutant.file == file]) for file in sorted(every)]
    for file, mine in [*groups, ("**all**", judged)]:
        count = Counter(one.status for one in mine)
        total = every[file] if file in every else every.total()
        cells = (file, total, len(mine), count["killed"], count["timed out"], count["survived"])
        print("| " + " | ".join(str(cell) for cell in cells) + " |", file=out)
    print("\nWhat survived:\n\n```diff", file=out)
    for one in sorted(judged, key=lambda one: (one.mutant.file, one.mutant.line)):
        if one.status == "survived":
            lines = [line[:1] + line[1:].strip() for line in one.mutant.diff.splitlines()]
            print(f"# {one.mutant.file}:{one.mutant.line}", *lines[:6], sep="\n", file=out)
    print("```", file=out)
    return out.getvalue()


PAGE = """# How many small faults the tests notice

    pip install -e ".[dev,mutation]"
    {command}

Faults ("mutants") are made by the operators of mutmut 3.8: another number, operator or word, an
argument that is `None` or missing, a condition turned round. They are drawn by the seed, each as
likely as any other, from all {every:,} in the files that stand between a source and its published
output. Left out before the draw, by the rules of `is_left_out`: what stands in a `raise`, words of
more than one word, a second and third fault of the same word, `strict=` of `zip`, and types.
Nothing is left out after it: what cannot be told from the original counts as alive.

On each the tests are run that run its line, as coverage.py recorded them, quickest first and those
of one kind in turns, until one fails: at most {seconds:.0f} seconds of the processor, by their
recorded time. Where these are not used up, those follow that run anything else of its file, as
processes that a test starts are not seen. It is killed if a test fails, if nothing can be imported
any more, or if one test hangs, twice: it takes the processor for more than five times its time and
half a minute, or does nothing for 45 seconds. It is alive if no test fails. Every tenth run is a
control: the same without a fault.

## Seed {seed} at commit {commit}

{found}
## Every draw that was made

{draws}

## Known faults

Four faults were known to leave every test green. Each fails one now: a receipt that counts no empty
frames (`tests/pipeline/test_verify.py`), weights of raw-trained attackers that are never loaded
(`tests/evaluation/test_fit_predict.py`), an action prior that says the same of all clips
(`tests/evaluation/test_scoring.py`), and validation that is cut by clips instead of people
(`tests/evaluation/test_protocols.py`).
"""


def write_page(folder: Path, found: list[Verdict], every: Counter[str], about: Any) -> None:
    """Write mutation.md and mutation.json; the latter keeps all draws that were ever made."""
    kept = folder / "mutation.json"
    draws = json.loads(kept.read_text("utf-8")).get("draws", []) if kept.exists() else []
    draws = [one for one in draws if (one["seed"], one["commit"]) != (about.seed, about.commit)]
    judged = [one for one in found if not one.control]
    killed = sum(one.status != "survived" for one in judged)
    own = {"seed": about.seed, "commit": about.commit, "judged": len(judged), "killed": killed}
    draws.append({**own, "note": about.note})
    rows = ["| seed | commit | judged | killed | | |", "| --- | --- | --- | --- | --- | --- |"]
    for one in draws:
        part = share(one["killed"], one["judged"])
        cells = (one["seed"], one["commit"], one["judged"], one["killed"], part, one["note"])
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    command = f"python benchmarks/mutation.py --seed {about.seed} --mutants {about.mutants}"
    page = PAGE.format(
        command=f"{command} --seconds {about.seconds:.0f} --page docs/results",
        every=every.total(),
        seconds=about.seconds,
        seed=about.seed,
        commit=about.commit,
        found=report(found, every),
        draws="\n".join(rows),
    )
    (folder / "mutation.md").write_text(page, "utf-8")
    verdicts = [asdict(one) for one in found]
    kept.write_text(json.dumps({**own, "draws": draws, "verdicts": verdicts}, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
