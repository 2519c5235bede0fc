"""Inject faults at every stage of real runs, and check what each leaves and whether it can go on.

    python benchmarks/faults.py --seed 0 --table docs/results/faults.md
    python benchmarks/faults.py --only kill:encode:workers

A case is a fault, the stage that it strikes, and a way of running: one file, a folder, `--resume`,
`--workers 2`, exports, `--overwrite`, the demo. Each runs in processes of its own, which are forked
from one that has loaded the libraries, with real files. Afterwards the destination must hold
nothing, what was there before, or what a run without faults gives; no byte of it, of temporary
folders and of shared memory may be raw, partial files included: the source carries canaries in its
tags, its packets and its pixels, and whatever can be decoded is. Then the run is repeated: it must
complete, equal the reference and leave nothing else. The exit code is 1 where anything failed.

A full disk is a small tmpfs that is filled at the stage, and a limit on the size of files where
nothing can be mounted. Missing rights are the immutable attribute, since root passes by all modes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canaries import FRAMES, HEIGHT, WIDTH, annex_b, canaries, pictures, raw, write_source
from fault_injection import (
    KINDS,
    OTHER_STAGES,
    SECONDS,
    SIGNALS,
    STAGES,
    VALUES,
    immutable,
)
from safetensors import safe_open

from masquerade.file_locks import LOCK

WEIGHTS = "anonymizer.safetensors"
SLOW_STAGES = ("decode", "method", "compare", "publish last")
VERBS = ("train", "evaluate")
LAYOUTS = ("single", "folder", "resume", "workers", "exports", "overwrite")


@dataclass(frozen=True)
class Case:
    """One fault at one stage of one way of running."""

    kind: str
    stage: str
    layout: str
    seconds: float = 0.0  # after which a signal is sent, where the stage is a moment

    @property
    def name(self) -> str:
        moment = f"-{self.seconds:.2f}" if self.stage == "moment" else ""
        return f"{self.kind}:{self.stage}{moment}:{self.layout}".replace(" ", "_")


def all_cases(seed: int, moments: int) -> list[Case]:
    """Every kind at every stage of every way of running, and signals at random moments."""
    draw = random.Random(seed)
    cases = [
        Case(kind, stage, layout)
        for kind in KINDS
        for stage in VALUES.get(kind, STAGES)
        for layout in LAYOUTS
        if kind != "twice" or layout in ("single", "exports", "overwrite")
        if layout != "workers" or stage in SLOW_STAGES  # two processes start in each
    ]
    for kind in SIGNALS:
        for layout in (*LAYOUTS, "demo"):
            for _ in range(moments):
                cases.append(Case(kind, "moment", layout, round(draw.uniform(0, 2), 2)))
    cases += [
        Case(kind, stage, verb)
        for kind in ("kill", "term", "disk full", "error")
        for stage in OTHER_STAGES
        for verb in VERBS
    ]
    return cases


class Zygote:
    """The process from which runs are forked."""

    def __enter__(self) -> Zygote:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fault_injection.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "SVT_LOG": "1"},
        )
        self._line()
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def run(
        self, job: dict[str, Any], *, then: Callable[[int], None] = lambda pid: None
    ) -> tuple[int, str]:
        """Run a job; `then` is called with its process. Returns its exit code and its words."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        pid = int(self._line())
        late = threading.Timer(SECONDS, lambda: os.killpg(pid, signal.SIGKILL))
        late.start()
        then(pid)
        code = int(self._line())
        hung = not late.is_alive()
        late.cancel()
        end = time.monotonic() + 20
        mark = f"FAULT_RUN={job['log']}".encode()
        while _alive(pid, mark) and time.monotonic() < end:  # workers of one that was killed
            time.sleep(0.02)
        orphans = _alive(pid, mark)
        if orphans:
            os.killpg(pid, signal.SIGKILL)
        words = Path(job["log"]).read_text(errors="replace")
        return code, words + "HUNG" * hung + "ORPHANS" * orphans

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process from which runs are forked has died")
        return line


def _alive(group: int, mark: bytes) -> bool:
    """Whether a process of a run lives: of its group, or with its mark in what it inherited."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            theirs = int(fields[2]) == group or mark in (folder / "environ").read_bytes()
            if theirs and fields[0] != "Z":
                return True
    return False


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_of(tensors: Any) -> str:
    """A digest of the numbers in an open safetensors file, whatever stands beside them."""
    content = hashlib.sha256()
    for name in sorted(tensors.keys()):
        content.update(name.encode() + tensors.get_tensor(name).tobytes())
    return content.hexdigest()


class Workplace:
    """The folders of one case, its command, and what it must give."""

    def __init__(self, root: Path, layout: str, reference: dict[str, Any]) -> None:
        self.layout, self.reference = layout, reference
        self.input, self.output = root / "in", root / "mount" / "out"
        self.temporary, self.log, self.root = root / "tmp", root / "log", root
        for folder in (self.input, self.temporary, self.root / "mount"):
            folder.mkdir(parents=True)
        self.mounted = False

    def fill(self) -> None:
        """Write the sources, and what an earlier run left."""
        self.output.mkdir()
        both = self.layout in ("folder", "resume", "workers")
        for name in ("a.mp4", "b.mp4") if both else ("a.mp4",):
            shutil.copyfile(self.reference["folder"] / name, self.input / name)
        (self.root / "boxes.json").write_bytes(self.reference["boxes"])

    def mount(self) -> bool:
        """Put the outputs on a disk of their own, which can be filled."""
        words = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(self.root / "mount")]
        self.mounted = subprocess.run(words, capture_output=True).returncode == 0
        return self.mounted

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.root / "mount")], check=True)
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def words(self) -> list[str]:
        """The command of this way of running."""
        if self.layout == "demo":
            words = ["demo", str(self.input / "a.mp4"), "-o", str(self.output)]
            return [*words, "--method", "blacken"]
        if self.layout in VERBS:
            words = [self.layout, "--data", str(self.reference["people"]), "-o", str(self.output),
                     "--device", "cpu"]  # fmt: skip
            if self.layout == "evaluate":
                return [*words, "--method", "blacken", "--regions", "frame", "--folds", "0",
                        "--seeds", "1", "--attackers", "scratch", "--workers", "1"]  # fmt: skip
            return [*words[:1], "spact", *words[1:], "--width", "2", "--short", "16", "--epochs",
                    "1", "--batch", "8", "--no-adversary"]  # fmt: skip
        many = self.layout in ("folder", "resume", "workers")
        source = self.input if many else self.input / "a.mp4"
        out = f"{self.output}/" if many else str(self.output / "a.mp4")
        words = ["anonymize", str(source), "-o", out, "--method", "blacken", "--regions",
                 f"boxes:{self.root}/boxes.json", "--shape", "box", "--no-progress", "--threads",
                 "1"]  # fmt: skip
        words += ["--resume"] if self.layout == "resume" else []
        words += ["--workers", "2"] if self.layout == "workers" else []
        if self.layout in ("exports", "overwrite"):
            words += ["--export-boxes", str(self.output / "a.boxes.json")]
            words += ["--export-masks", str(self.output / "a.masks.mkv")]
        return words + (["--overwrite"] if self.layout == "overwrite" else [])

    def job(self, fault: dict[str, Any] | None, words: list[str] | None = None) -> dict[str, Any]:
        return {
            "words": words or self.words,
            "fault": fault,
            "log": str(self.log),
            "temporary": str(self.temporary),
        }

    def files(self) -> dict[str, Path]:
        if not self.output.is_dir():
            return {}
        return {path.name: path for path in self.output.iterdir()}

    def sets(self) -> list[set[str]]:
        """The names that belong together."""
        if self.layout == "demo":
            stem = ("anonymized.mp4", "anonymized.mp4.receipt.json", "report.html")
            return [{f"a_{name}" for name in (*stem, "side_by_side_private.mp4")}]
        if self.layout in VERBS:
            return [{"results.json", "results.md"}] if self.layout == "evaluate" else [{WEIGHTS}]
        stems = ["a", "b"] if (self.input / "b.mp4").exists() else ["a"]
        sets = [{f"{stem}.mp4", f"{stem}.mp4.receipt.json"} for stem in stems]
        if self.layout in ("exports", "overwrite"):
            sets[0] |= {"a.boxes.json", "a.masks.mkv"}
        return sets

    def judge(self, old: dict[str, str], *, killed: bool) -> list[str]:
        """What is wrong with the destination."""
        files, wrong = self.files(), []
        pending = any(".masquerade-journal" in name for name in files)
        for names in self.sets():
            states = {name: self._state(name, files, old) for name in names}
            wrong += [f"{name} is neither old nor right" for name in names if not states[name]]
            if not {"old", "right"}.intersection(*states.values()) and not (killed and pending):
                wrong.append(f"some appeared without the others: {states}")
        hidden = [name for name in files if name.startswith(".")]
        if hidden and not killed:
            wrong.append(f"left behind: {hidden}")
        return wrong

    def _state(self, name: str, files: dict[str, Path], old: dict[str, str]) -> set[str]:
        """Whether a file is as before, what a run without faults gives, or both."""
        if name not in files:
            return {"old"} if name not in old else set()
        found = {"old"} if old.get(name) == digest(files[name]) else set()
        return found | ({"right"} if self._right(name, files) else set())

    def _right(self, name: str, files: dict[str, Path]) -> bool:
        """Whether a file is what a run without faults gives."""
        path = files[name]
        if name.endswith(".receipt.json"):
            receipt, output = json.loads(path.read_text()), files.get(path.name[:-13])
            frames = receipt["output"]["frames"] == FRAMES
            return frames and (output is None or True) and receipt["receipt"] > 0
        if name == WEIGHTS:
            with safe_open(path, "np") as tensors:  # the same numbers as without a fault
                return digest_of(tensors) == self.reference["weights"]
        if path.suffix in (".json", ".html", ".md"):
            return path.stat().st_size > 0 and path.read_bytes().rstrip()[-1:] in b"}>.|"
        shown = pictures(path)
        if len(shown) != FRAMES:
            return False
        if "side_by_side" in name:
            return True
        level = 255 if "masks" in name else 0
        return bool(all(abs(picture.astype(int) - level).max() < 12 for picture in shown))

    def complete(self) -> list[str]:
        """What is missing or left over after a run that went well."""
        expected = set().union(*self.sets())
        files = self.files()
        wrong = [f"{name} is missing or wrong" for name in sorted(expected)
                 if name not in files or not self._right(name, files)]  # fmt: skip
        extra = {name for name in files if self.layout not in VERBS or name.startswith(".")}
        wrong += [f"left behind: {name}" for name in extra - expected]
        for name in files.keys() & expected:
            if name.endswith(".receipt.json"):
                told = json.loads(files[name].read_text())["output"]["sha256"]
                if name[:-13] in files and told != digest(files[name[:-13]]):
                    wrong.append(f"{name} is of another output")
        left = [path.name for path in self.temporary.iterdir()]
        left = [name for name in left if not name.startswith("torch")]  # its own, of programs
        return wrong + ([f"left in temporary places: {left}"] if left else [])


def run_case(case: Case, zygote: Zygote, root: Path, reference: dict[str, Any]) -> list[str] | None:
    """What is wrong after a case and after its repetition; None: it cannot be made here."""
    place = Workplace(root / case.name, case.layout, reference)
    try:
        if case.kind == "disk full" and not place.mount():
            return None
        place.fill()
        return _faults_of(case, zygote, place, reference)
    finally:
        place.close()


def _faults_of(case: Case, zygote: Zygote, place: Workplace, known: dict[str, Any]) -> list[str]:
    old: dict[str, str] = {}
    if case.layout == "overwrite" or case.layout == "resume":
        earlier = list(place.words)
        if case.layout == "resume":
            earlier[1:4] = [str(place.input / "a.mp4"), "-o", str(place.output / "a.mp4")]
        else:
            earlier += ["--crf", "40"]  # so that the older output differs
        code, words = zygote.run(place.job(None, earlier))
        assert code == 0, words
        old = {name: digest(path) for name, path in place.files().items()}
    shared = _shared()
    fault = None
    if case.stage != "moment":
        fault = {"kind": case.kind, "stage": case.stage, "flag": str(place.root / "flag"),
                 "folder": str(place.output), "words": place.words}  # fmt: skip

    def strike(pid: int) -> None:
        if case.stage == "moment":
            time.sleep(case.seconds)
            with suppress(ProcessLookupError):
                os.killpg(pid, SIGNALS[case.kind])

    code, words = zygote.run(place.job(fault), then=strike)
    wrong = []
    struck = case.stage == "moment" or (place.root / "flag").exists()
    if not struck:
        return [f"the stage was never reached: {code} {words[-300:]}"]
    if any(word in words for word in ("Traceback", "HUNG", "ORPHANS", "Error:")):
        wrong.append(f"it said: {words[-600:]}")
    if code not in (0, 1, 2, 3, 4, 130, -9) and case.stage != "moment":
        wrong.append(f"exit code {code}")
    held = [place.output, place.temporary]
    if case.kind == "rights":
        immutable(place.output, False)
    if case.kind == "gone" and (place.root / "mount" / "gone").exists():
        shutil.rmtree(place.output, ignore_errors=True)
        (place.root / "mount" / "gone").rename(place.output)
    wrong += [f"left in shared memory: {path.name}" for path in _shared() - shared]
    skip = "side_by_side" if case.layout == "demo" else "-"
    # The demo shows both and attackers see raw video: their owner alone may read what is left.
    if case.layout in VERBS or (case.layout == "demo" and case.kind == "kill"):
        wrong += [
            f"{path.name} can be read by others"
            for path in (*place.temporary.glob("masq*"), *place.output.glob(".*"))
            if path.stat().st_mode & 0o077
            if "journal" not in path.name and path.name != LOCK  # which hold no clips
        ]
    else:
        wrong += raw(held, known["canaries"], known["parameters"], skip)
    with suppress(FileNotFoundError):
        (place.output / "filler").unlink()
    forgiving = case.kind in ("kill", "rights", "gone") or code < 0
    wrong += place.judge(old, killed=forgiving)
    again, said = zygote.run(place.job(None))
    done = again == 0 or (again == 1 and place.layout in VERBS)  # 1: it found something wrong
    if not done and not (again in (1, 2) and "exists already" in said):
        wrong.append(f"the repetition ended with {again}: {said[-400:]}")
    return wrong + [f"after the repetition, {what}" for what in place.complete()]


def _shared() -> set[Path]:
    """Files in shared memory that can hold something; other programs' semaphores come and go."""
    return {path for path in Path("/dev/shm").iterdir() if not path.name.startswith("sem.")}


@dataclass
class Tally:
    """Cases and failures by fault and by way of running."""

    cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[Case, list[str]]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def make_reference(folder: Path) -> dict[str, Any]:
    """The sources and what is searched for."""
    import av

    for number, name in enumerate(("a.mp4", "b.mp4")):
        write_source(folder / name, number)
    box = {"x0": 0, "y0": 0, "x1": WIDTH, "y1": HEIGHT, "score": 1.0}
    from masquerade.datasets.mimes import Mimes, write_mimes
    from masquerade.regions.boxes import Box, BoxWriter

    with BoxWriter(folder / "boxes.json", width=WIDTH, height=HEIGHT) as writer:
        for number in range(FRAMES):
            writer.add(number, [Box(**box)])
    with av.open(str(folder / "a.mp4")) as file:
        extra = bytes(file.streams.video[0].codec_context.extradata)
    sources = [folder / "a.mp4", folder / "b.mp4"]
    drawn = Mimes(size=32, frames=4, clips=40, people=10, actions=("walk", "squat"))
    return {
        "people": write_mimes(folder / "mimes", drawn),
        "folder": folder,
        "boxes": (folder / "boxes.json").read_bytes(),
        "canaries": canaries(sources),
        "parameters": annex_b(extra),
    }


def inject(cases: list[Case], *, seconds: float = 1e9, jobs: int = 1) -> Tally:
    """Run cases, `jobs` at a time, as many as there is time for."""
    tally, began, left = Tally(), time.monotonic(), iter(cases)
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        sources = Path(name) / "sources"
        sources.mkdir()
        reference = make_reference(sources)

        trained = threading.Lock()

        def work(_: int) -> None:
            with Zygote() as zygote:
                while time.monotonic() - began < seconds and (case := next(left, None)):
                    with trained:
                        if case.layout == "train" and "weights" not in reference:
                            _train(zygote, sources, reference)
                    _count(tally, case, run_case(case, zygote, Path(name), reference))

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, range(jobs)))
    tally.seconds = time.monotonic() - began
    return tally


def _train(zygote: Zygote, folder: Path, reference: dict[str, Any]) -> None:
    """What a training gives that nothing strikes."""
    place = Workplace(folder / "trained", "train", reference)
    code, words = zygote.run(place.job(None))
    if code not in (0, 1):
        raise RuntimeError(words)
    with safe_open(place.output / WEIGHTS, "np") as tensors:
        reference["weights"] = digest_of(tensors)


def _count(tally: Tally, case: Case, wrong: list[str] | None) -> None:
    if wrong is None:
        tally.left_out[case.kind] += 1
        return
    tally.cases[case.kind, case.layout] += 1
    if wrong:
        tally.failures.append((case, wrong))
        print(f"{case.name}: {'; '.join(wrong)}", flush=True)
    elif tally.cases.total() % 50 == 0:
        print(f"{tally.cases.total()} cases, {len(tally.failures)} failed", flush=True)


HEAD = """\
# Faults

Made by `python benchmarks/faults.py{words}` in {minutes:.0f} minutes of two cores that did other
work too. **{runs} runs were struck and repeated; {failed} failed.** They were drawn from {all}
cases. The stages are {stages}, and random moments of signals; of
training and evaluation {others}.

A case fails if the destination holds anything but nothing, what was there before, or what a run
without faults gives; if a partial file is left that nobody holds (but after a kill, and where
nothing can be removed); if any byte, or any picture that can be decoded, of outputs, partial files,
temporary folders and shared memory is raw; if a traceback is printed, a process lives on or hangs;
or if the repetition does not complete, differs, or leaves anything else.

*parts*: every process that the struck one started is killed. *gone*: the folder of outputs is moved
away. *rights*: nothing can be made or removed in it. *file limit*: no file grows. *clock*: all
clocks jump by 400 days. *twice*: another run on the same destination begins at that stage, and ends
there unless it has to wait for the first.
*NaN*, *shape*, *device*: what the method returns.

Each cell: cases, and in brackets how many failed.
"""


def page(tally: Tally, *, words: str, all_: int) -> str:
    """The results as Markdown."""
    layouts = [
        layout
        for layout in (*LAYOUTS, "demo", *VERBS)
        if any(key[1] == layout for key in tally.cases)
    ]
    failed = Counter((case.kind, case.layout) for case, _ in tally.failures)
    about = HEAD.format(
        words=words, minutes=tally.seconds / 60, runs=tally.cases.total(),
        stages=", ".join(STAGES), others=", ".join(OTHER_STAGES), failed=len(tally.failures),
        all=f"{all_:,}",
    )  # fmt: skip
    lines = [
        about,
        f"| fault | {' | '.join(layouts)} |",
        f"| --- |{' --- |' * len(layouts)}",
    ]
    for kind in KINDS:
        if not any(key[0] == kind for key in tally.cases):
            continue
        cells = [f"{tally.cases[kind, layout]} ({failed[kind, layout]})" for layout in layouts]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    total = [sum(n for key, n in tally.cases.items() if key[1] == layout) for layout in layouts]
    lines.append(f"| all | {' | '.join(map(str, total))} |")
    for kind, count in tally.left_out.items():
        lines += ["", f"{count} cases of {kind} could not be made here."]
    if tally.failures:
        lines += ["", "Failures:", ""]
        lines += [f"- `{case.name}`: {'; '.join(wrong)[:200]}" for case, wrong in tally.failures]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--moments", type=int, default=3, help="random moments of each signal")
    parser.add_argument("--cases", type=int, help="draw so many of all cases")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--only", help="cases whose name holds this")
    parser.add_argument("--table", type=Path, help="write the results to this page")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    asked = parser.parse_args()
    cases = all_cases(asked.seed, asked.moments)
    drawn_from = len(cases)
    random.Random(asked.seed).shuffle(cases)
    if asked.only:
        cases = [case for case in cases if asked.only in case.name]
    tally = inject(cases[: asked.cases], seconds=asked.seconds, jobs=asked.jobs)
    words = f" --seed {asked.seed}" + (f" --cases {asked.cases}" if asked.cases else "")
    words += f" --seconds {asked.seconds:.0f}" if asked.seconds < 1e9 else ""
    words += f" --jobs {asked.jobs}" if asked.jobs != parser.get_default("jobs") else ""
    text = page(tally, words=words, all_=drawn_from)
    if asked.table:
        asked.table.write_text(text)
    print(text)
    return int(bool(tally.failures))


if __name__ == "__main__":
    sys.exit(main())
