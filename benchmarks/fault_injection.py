"""Strike a run of the command with a fault, at a stage that is named.

`benchmarks/faults.py` asks this process for runs, which it forks, so that the libraries are loaded
once. A stage is a function of masquerade's that is wrapped; worker processes wrap it, too.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS = 300  # of one run
SIGNALS = {"kill": 9, "term": 15, "int": 2, "hang-up": 1}

# stage: (what is wrapped, the call that is struck)
STAGES: dict[str, tuple[str, int]] = {
    "open": ("masquerade.pipeline.single_file:probe", 1),
    "decode": ("masquerade.video.frame:Frame.rgb", 3),
    "detect": ("masquerade.regions.region_sources:Boxes.__call__", 1),
    "method": ("masquerade.methods.blacken:Blacken.on_bytes", 1),
    "encode": ("masquerade.video.write:Writer.write", 4),
    "flush": ("masquerade.video.write:Writer.__exit__", 1),
    "read back": ("masquerade.pipeline.single_file:verify_output", 1),
    "compare": ("masquerade.pipeline.residual_detail:DetailCheck.compare_next", 3),
    "receipt": ("masquerade.pipeline.receipt:Receipt.to_json", 1),
    "sync": ("masquerade.transaction:complete", 2),
    "journal": ("masquerade.transaction:sync_folder", 1),
    "publish": ("masquerade.transaction:publish", 1),
    "publish last": ("masquerade.transaction:publish", 2),
    "clean up": ("masquerade.transaction:_end", 1),
}
OTHER_STAGES = {  # of training and evaluation
    "store": ("masquerade.extraction.store:ClipStore._write", 1),
    "save": ("masquerade.storage:complete", 1),
}
LOCKED = ("journal", "publish", "publish last", "clean up")  # another run waits for this one there
LOCKED_SECONDS = 5  # after which this one goes on, else both would wait
VALUES = {"NaN": ("method",), "shape": ("method",), "device": ("method",)}
KINDS = (*SIGNALS, "parts", "disk full", "file limit", "rights", "gone", "error", "memory", "clock",
         "twice", *VALUES)  # fmt: skip


def install(fault: dict[str, Any]) -> None:
    """Strike when the stage is reached, in whichever process that is first."""
    from importlib import import_module

    place, nth = (STAGES | OTHER_STAGES)[fault["stage"]]
    module, _, name = place.partition(":")
    owner: Any = import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    real, count = getattr(owner, last), [0]

    def struck(*given: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] != nth or not _first(fault["flag"]):
            return real(*given, **more)
        if fault["kind"] in VALUES:
            return _wrong(fault["kind"], real(*given, **more))
        _strike(fault)
        return real(*given, **more)

    setattr(owner, last, struck)


def _first(flag: str) -> bool:
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _wrong(kind: str, value: tuple[Any, Any]) -> tuple[Any, Any]:
    import numpy as np
    import torch

    frames, state = value
    if kind == "NaN":
        return np.full(frames.shape, np.nan, np.float32), state
    if kind == "shape":
        return frames[:, :-2], state
    return torch.zeros(frames.shape, device="meta"), state


def _strike(fault: dict[str, Any]) -> None:
    kind, folder = fault["kind"], Path(fault["folder"])
    if kind in SIGNALS:
        os.kill(os.getpid(), SIGNALS[kind])
    elif kind == "disk full":
        with (folder / "filler").open("wb", 0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(512))
    elif kind == "file limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))
    elif kind == "rights":
        immutable(folder, True)
    elif kind == "parts":
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if status.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                    os.kill(int(status.parent.name), signal.SIGKILL)
    elif kind == "gone":
        folder.rename(folder.with_name("gone"))
    elif kind == "error":
        raise OSError(5, "Input/output error")
    elif kind == "memory":
        raise MemoryError
    elif kind == "clock":
        _shift_clocks(random.Random(fault["stage"]).choice((-1, 1)) * 400 * 86400)
    elif kind == "twice":
        words = [sys.executable, "-m", "masquerade", *fault["words"]]
        environment = {key: value for key, value in os.environ.items() if key != "FAULT"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        other = subprocess.Popen(words, env=environment, **quiet)
        atexit.register(other.wait)
        with suppress(subprocess.TimeoutExpired):
            other.wait(LOCKED_SECONDS if fault["stage"] in LOCKED else SECONDS)


def _shift_clocks(seconds: float) -> None:
    for name in ("time", "monotonic", "perf_counter"):
        real = getattr(time, name)
        setattr(time, name, lambda real=real: real() + seconds)


def immutable(folder: Path, on: bool) -> None:
    """Let nobody, root included, make or remove a name in a folder; or let them again."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        flags = ctypes.c_long(0)
        fcntl.ioctl(handle, 0x80086601, flags)  # FS_IOC_GETFLAGS
        flags.value = flags.value | 0x10 if on else flags.value & ~0x10  # FS_IMMUTABLE_FL
        fcntl.ioctl(handle, 0x40086602, flags)  # FS_IOC_SETFLAGS
    finally:
        os.close(handle)


def _stand_in() -> None:
    """Let a demo hide whole frames, as no face is in the drawn pattern; and let attackers learn for
    seconds."""
    from dataclasses import replace

    from masquerade.evaluation import presets
    from masquerade.regions.boxes import Box
    from masquerade.regions.region_sources import Faces

    def everything(frame: Any) -> Any:  # an ellipse around it reaches the corners
        wide, high = frame.width, frame.height
        return [Box(x0=-wide, y0=-high, x1=2 * wide, y1=2 * high, score=1.0)], None

    Faces._detector_of_a_video = lambda self: everything  # type: ignore[method-assign]
    few = {name: presets.TINY.attackers[name] for name in ("tiny-3d", "kernel on the picture")}
    few["tiny-3d"] = replace(few["tiny-3d"], widths=(4,), side=16)
    presets.PRESETS["tiny"] = replace(
        presets.TINY, attackers=few, frames=4, size=(16, 16), epochs=1
    )


def zygote() -> None:
    """Load the libraries, and fork a process for each run that is asked for on stdin."""
    import masquerade.cli.anonymize
    import masquerade.cli.demo
    import masquerade.cli.evaluate
    import masquerade.cli.train  # noqa: F401

    _stand_in()
    print(flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _run(job)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(job: dict[str, Any]) -> None:
    """Run the command in a forked process, and end as an interpreter does."""
    code: Any = 1
    os.setsid()
    with open(job["log"], "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        from masquerade.cli import main

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tempfile.tempdir = None
        os.environ["TMPDIR"] = job["temporary"]
        os.environ["FAULT_RUN"] = job["log"]  # by which its processes are found
        if job["fault"]:
            os.environ["FAULT"] = json.dumps(job["fault"])
            install(job["fault"])
        code = main(job["words"])
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as the command does
            signal.signal(number, signal.SIG_IGN)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code or 0))


if __name__ == "__main__":
    zygote()
if __name__ == "__mp_main__" and "FAULT" in os.environ:  # a worker process
    install(json.loads(os.environ["FAULT"]))
