"""Run the same commands in two checkouts and compare everything they write, to the bit.

    python benchmarks/golden.py --reference ../before --video clip.mp4 -o golden/

Used when code is rearranged: `--reference` is a checkout of the commit before. Compared are the
results JSON of a small evaluation, receipts, decoded frames of every method, and log.csv and the
weights of every `tiny` training recipe. Old names are translated by `golden_names.json`; columns
of time are left out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

METHODS = [
    "selective",
    "blacken",
    "mask-mean",
    "pixelate",
    "blur",
    "silhouette",
    "frame-difference",
    "downsample",
    "elr",
]
RECIPES = {
    "spact": ["--epochs", "3"],
    "vita": ["--epochs", "3"],
    "bdq": ["--epochs", "3"],
    "noise-features": ["--epochs", "3"],
    "stprivacy": ["--epochs", "6"],
}
IGNORED = {
    "seconds",
    "cpu_seconds",
    "versions",
    "command",
    "started",
    "created",
    "elapsed",
    "stages",
    "stage_seconds",
    "speed",
}
"""Keys whose values differ between two runs of the same code."""

NAMES = json.loads(Path(__file__).with_name("golden_names.json").read_text())


def run(checkout: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """`masquerade WORDS` as the checkout has it."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "masquerade", *map(str, words)]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


def capture(checkout: Path, folder: Path, data: Path, video: Path) -> dict[str, Any]:
    """Everything that the commands write, as digests and plain JSON, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name, more in RECIPES.items():
        target = folder / f"run-{name}"
        if not target.exists():
            run(
                checkout,
                folder,
                "train",
                name,
                "--data",
                data,
                "-o",
                target,
                *more,
                "--device",
                "cpu",
            )
        found[f"train {name}"] = trained(target)
    out = folder / "evaluate"
    words = ["evaluate", "--data", data, "--method", "blur", "--preset", "many", "--folds", "0"]
    words += [
        "--seeds",
        "1",
        "--labels",
        "warm,identity",
        "-o",
        out,
        "--device",
        "cpu",
        "--workers",
        "2",
    ]
    done = run(checkout, folder, *words, "--json")
    found["evaluate"] = stripped(json.loads(done.stdout)) if done.stdout else done.stderr
    lossless = ["--codec", "ffv1", "--lossless", "--seed", "0", "--preview", "1", "--overwrite"]
    for name in METHODS:
        for regions in ("frame", "faces"):
            found[f"{name} {regions}"] = anonymized(
                checkout, folder, video, [*lossless, "--method", name, "--regions", regions]
            )
    for name in RECIPES:
        weights = folder / f"run-{name}"
        found[f"{name} frame"] = anonymized(
            checkout, folder, video, [*lossless, "--weights", str(weights)]
        )
    return found


def trained(folder: Path) -> dict[str, Any]:
    """log.csv and a digest of each weight of a run."""
    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    weights = folder / "anonymizer.safetensors"
    tensors = load_file(weights) if weights.exists() else {}
    digests = {key: hashlib.sha256(value.tobytes()).hexdigest() for key, value in tensors.items()}
    return {"log": stripped(rows), "weights": digests}


def anonymized(checkout: Path, folder: Path, video: Path, words: list[str]) -> dict[str, Any]:
    """A digest of each decoded frame, and the receipt, of one anonymized video."""
    import av

    out = folder / "out.mkv"
    done = run(checkout, folder, "anonymize", video, "-o", out, *words, "--report", "receipt.json")
    if done.returncode:
        return {"failed": done.stderr.strip()}
    with av.open(str(out)) as container:
        frames = [
            hashlib.sha256(frame.to_ndarray(format="rgb24").tobytes()).hexdigest()
            for frame in container.decode(video=0)
        ]
    receipt = folder / "receipt.json"
    return {"frames": frames, "receipt": stripped(json.loads(receipt.read_text()))}


def stripped(value: Any) -> Any:
    """JSON without what differs from run to run, in today's names."""
    if isinstance(value, dict):
        return {
            NAMES.get(key, key): stripped(item) for key, item in value.items() if key not in IGNORED
        }
    if isinstance(value, list):
        return [stripped(item) for item in value]
    return NAMES.get(value, value) if isinstance(value, str) else value


def differences(before: Any, after: Any, at: str = "") -> list[str]:
    """Where two captures differ, one line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in sorted({*before, *after})
            for line in differences(before.get(key), after.get(key), f"{at} / {key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for i, (b, a) in pairs for line in differences(b, a, f"{at}[{i}]")]
    return [] if before == after else [f"{at}: {str(before)[:100]} -> {str(after)[:100]}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--reference", type=Path, required=True, help="the checkout of before")
    parser.add_argument("--data", type=Path, required=True, help="a small manifest with splits")
    parser.add_argument("--video", type=Path, required=True, help="any short video")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for both runs")
    given = parser.parse_args()
    folder, data, video = (path.resolve() for path in (given.output, given.data, given.video))
    kept = folder / "before.json"
    if not kept.exists():
        before = capture(given.reference.resolve(), folder / "before", data, video)
        kept.write_text(json.dumps(before, indent=1))
    here = Path(__file__).resolve().parents[1]
    after = capture(here, folder / "after", data, video)
    (folder / "after.json").write_text(json.dumps(after, indent=1))
    lines = differences(stripped(json.loads(kept.read_text())), after)
    print("\n".join(lines) or f"{len(after)} captures are equal to the bit.")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
