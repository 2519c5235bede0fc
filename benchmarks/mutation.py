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
import contextlib
import gc
import inspect
import io
import itertools
import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from checkout import commit
from mutants import ROOT, SOURCE, Mutant, draw
from mutation_records import JUDGES, Records, record, record_all

PATIENCE = 5  # times its recorded time, and half a minute, after which a test counts as hanging
IDLE = 45  # seconds without any work of the processor after which a test waits for nothing
CONTROLS = 10  # one control for so many mutants


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    status: str  # killed, timed out or survived
    tests: int  # how many were selected
    by: str = ""  # the test that failed
    seconds: float = 0.0
    control: bool = False


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
        arguments.commit = commit()
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
