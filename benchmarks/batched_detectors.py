"""Whether detectors are faster where they are given several frames at once.

    python benchmarks/batched_detectors.py       # docs/results/batched-detectors.md; a minute

Each network of LiteRT that finds people, faces or hands is given 1, 2, 4 and 8 pictures at once, on
one thread. Several networks can run side by side on as many cores, as the pipeline does.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert

from masquerade.regions.model_files import MODEL_FILES, model_file

OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "batched-detectors.md"
SIZES = (1, 2, 4, 8)
TURNS = 15
PAGE = """# Detectors given several frames at once

Made by `python benchmarks/batched_detectors.py` on one thread: milliseconds of processor time a
picture, medians of {turns} runs. A dash: the network cannot take several, as its file fixes the
shape of what is between its layers. A batch is hardly faster anywhere, so that frames are given one
by one, and networks run side by side instead.

| network | {sizes} |
|---|{rules}|
{lines}
"""


def milliseconds(name: str, size: int) -> float | None:
    """Processor time of one picture in a batch of this size; None: the network takes no batch."""
    network: Any = litert.Interpreter(model_path=str(model_file(name)), num_threads=1)
    (given,) = network.get_input_details()
    shape = (size, *(int(side) for side in given["shape"][1:]))
    try:
        network.resize_tensor_input(given["index"], shape)
        network.allocate_tensors()
        network.invoke()
    except RuntimeError:
        return None
    pictures = np.random.default_rng(0).random(shape, np.float32)
    spent = []
    for _ in range(TURNS):
        began = time.thread_time()
        network.set_tensor(given["index"], pictures)
        network.invoke()
        spent.append(time.thread_time() - began)
    return 1000 * statistics.median(spent) / size


def main() -> None:
    lines = []
    for name, model in MODEL_FILES.items():
        if not model.name.endswith(".tflite"):
            continue
        found = [milliseconds(name, size) for size in SIZES]
        cells = ["—" if one is None else f"{one:.1f}" for one in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    page = PAGE.format(
        turns=TURNS,
        sizes=" | ".join("1 picture" if size == 1 else f"{size} at once" for size in SIZES),
        rules="|".join("---" for _ in SIZES),
        lines="\n".join(lines),
    )
    OUT.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
