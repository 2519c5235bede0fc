"""Frames of trained anonymizers' output: raw, and a row a run.

    python benchmarks/figure.py --weights run/ --data mimes/manifest.csv -o docs/stprivacy.png
    python benchmarks/figure.py --weights spact/ vita/ bdq/ --data mimes/manifest.csv

Four actions, of each a clip from the test split; of a run of stprivacy also what it keeps, as in
the paper's Figure 3. It shows raw frames: publish it only of drawn clips, or of people who agreed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import load
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.errors import UsageError
from masquerade.evaluation.protocols import action_column
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.methods import method_name
from masquerade.methods.stprivacy import STPrivacy
from masquerade.storage import atomic_write

OUT = Path(__file__).resolve().parents[1] / "docs" / "trained.png"
FRAMES = 3  # of a clip
SIDE = 112  # pixels
DECODED = 12  # frames that are read of a clip; those shown are among its middle ones


def rows_of(manifest: Manifest, actions: list[str]) -> dict[str, int]:
    """A clip of each action: the first that is in a test split, where there is one.

    Args:
        manifest: of the clips.
        actions: which; empty: the first four that there are.
    """
    column = action_column(manifest)
    cells = manifest.cells(column)
    splits = [one.name for one in manifest.of_role("split")]
    tested = [
        i for i in range(len(manifest)) if any(manifest.cells(s)[i] == "test" for s in splits)
    ]
    order = [*tested, *range(len(manifest))]
    names = actions or sorted({name for name in cells if name})[:4]
    missing = [name for name in names if name not in cells]
    if missing:
        raise UsageError(f"No clip shows {', '.join(missing)}; choose other --actions.")
    return {name: next(i for i in order if cells[i] == name) for name in names}


def shown(manifest: Manifest, rows: list[int], method: Anonymizer | None) -> Tensor:
    """(N, FRAMES, H, W, 3) uint8 of these clips under a method; None: as they are."""
    config = ExtractionConfig(frames=DECODED, size=SIDE, method=method, seed=0)
    found = extract_clips(manifest.take(rows), config)
    clips = torch.stack([*found])
    at = torch.linspace(0, DECODED - 1, FRAMES + 2).round().long()[1:-1]
    return clips[:, :, at].permute(0, 2, 3, 4, 1)


def draw(parts: dict[str, Tensor], actions: list[str], path: Path) -> None:
    """The grid: a block of frames an action, a row a treatment.

    Args:
        parts: name of a treatment to (N, FRAMES, H, W, 3).
        actions: N names.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    blocks = min(2, len(actions))  # side by side; the others below
    lines = -(-len(actions) // blocks)
    wide, high = 1.15 * FRAMES * blocks + 1.0, (1.15 * len(parts) + 0.4) * lines
    figure = plt.figure(figsize=(wide, high), dpi=150)
    outer = figure.add_gridspec(
        lines,
        blocks,
        left=0.9 / wide,
        right=1 - 0.1 / wide,
        top=1 - 0.35 / high,
        bottom=0.1 / high,
        hspace=0.4 * lines / high,
        wspace=0.05,
    )
    for number, action in enumerate(actions):
        place = outer[number // blocks, number % blocks]
        inner = place.subgridspec(len(parts), FRAMES, hspace=0.04, wspace=0.04)
        for line, (name, frames) in enumerate(parts.items()):
            for at in range(FRAMES):
                ax = figure.add_subplot(inner[line, at])
                ax.imshow(frames[number, at].numpy(), interpolation="nearest")
                ax.set_xticks([])
                ax.set_yticks([])
                if line == 0 and at == FRAMES // 2:
                    ax.set_title(action, fontsize=10, pad=4)
                if at == 0 and number % blocks == 0:
                    ax.set_ylabel(name, fontsize=8)
    figure.savefig(path, format="png")
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="runs")
    parser.add_argument("--data", type=Path, required=True, help="a manifest")
    parser.add_argument("--actions", default="", help="which, separated by commas; the first four")
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    given = parser.parse_args(argv)
    manifest = read_manifest(given.data)
    wanted = [name.strip() for name in given.actions.split(",") if name.strip()]
    rows = rows_of(manifest, wanted)
    at = list(rows.values())
    parts = {"raw": shown(manifest, at, None)}
    for run in given.weights:
        method = load(run)
        if isinstance(method, STPrivacy):
            parts["sparsified"] = shown(manifest, at, load(run, mode="sparsify-only"))
        parts[method_name(method)] = shown(manifest, at, method)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(given.output, overwrite=True) as part:
        draw(parts, list(rows), part)
    print(given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
