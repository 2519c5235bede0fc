"""STPrivacy's ViT-S and SPAct's UNet, trained at the papers' sizes on drawn clips, on a GPU.

    masquerade data mimes mimes/ --size 128 --clips 1024 --correlation 0.5
    python benchmarks/paper_training.py train stprivacy --epochs 40 --data mimes/manifest.csv
    python benchmarks/paper_training.py train spact --epochs 8 --data mimes/manifest.csv
    python benchmarks/paper_training.py attack --data mimes/manifest.csv
    python benchmarks/paper_training.py page [spact]    # docs/results/paper-training[-spact].md

Each step leaves its numbers in --work, of which the last one makes the page. Trainings are the
recipes' presets `paper`, with a batch and few epochs of each phase that are asked for: networks,
clips of 16 frames of 112 x 112 pixels, losses and phases are the papers'. Attackers are those of
the table `mimes` (preset `many`), but one seed of each, and none that reads poses.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import platform
import statistics
import textwrap
from pathlib import Path
from typing import Any

import matplotlib
import torch

from masquerade.checkpoint import load
from masquerade.datasets.manifest import read_manifest
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig, evaluate, from_json
from masquerade.evaluation.results import Row
from masquerade.training.recipes import RECIPES
from masquerade.training.rows import training_rows
from masquerade.training.run import LOG, train

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
TABLE = "results.json"
METHODS = {"stprivacy": "STPrivacy, ViT-S", "spact": "SPAct, UNet"}
FAMILIES = ("scratch", "finetuned", "raw", "motion", "background", "prior")
SHOWN = ("action", "attributes", "identity")
NOTHING_LEARNED = (
    "Where no more of the action is read than by chance, so few steps have taught nothing: "
    "networks begin with random weights here, the papers' with those of ImageNet and Kinetics. "
    "Such a training measures time and memory alone."
)
LINES = {  # of a log
    "val_utility": "action read (top-1)",
    "chance_utility": "chance",
    "val_adversary_share": "adversary's loss / at chance",
    "val_reconstruction": "mean difference to raw",
}


def run_training(given: argparse.Namespace) -> None:
    """Train one method, and write how long it took and what it needed."""
    recipe = RECIPES[given.name](preset="paper", epochs=given.epochs, batch=given.batch, stride=1)
    manifest = read_manifest(given.data)
    rows = training_rows(manifest)
    folder = given.work / given.name
    on_gpu = torch.device(given.device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    train(
        manifest,
        recipe,
        rows,
        folder,
        device=given.device,
        amp=given.amp,
        workers=given.workers,
        cache=given.work / "clips",
        allow_chance=True,
        progress=lambda one: print(
            f"{given.name} {one.phase} {one.epoch}/{one.epochs}", flush=True
        ),
    )
    facts = {
        "clips": len(rows.train),
        "held_out": len(rows.validation),
        "batch": recipe.batch,
        "epochs": given.epochs,
        "phases": [phase.name for phase in recipe.phases],
        "amp": given.amp,
        "gigabytes": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None,
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "torch": torch.__version__,
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))


def run_attack(given: argparse.Namespace) -> None:
    """Attack both as the table of drawn people attacks its methods."""
    names = [name for name in METHODS if (given.work / name / "facts.json").exists()]
    lines = [EvaluatedMethod(name=one, anonymizer=load(given.work / one)) for one in names]
    config = EvaluationConfig(
        attackers=FAMILIES,
        folds=0,
        seeds=1,
        preset="many",
        device=given.device,
        workers=given.workers,
        allow_empty=True,
        allow_gaps=True,
    )
    found = evaluate(read_manifest(given.data), lines, config, data="mimes", folder=given.work)
    (given.work / TABLE).write_text(found.to_json())


def read_log(folder: Path) -> list[dict[str, float]]:
    """The lines of a training's log."""
    with (folder / LOG).open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def draw_curves(logs: dict[str, list[dict[str, float]]], path: Path) -> None:
    """What is held out, by epoch; one panel a method, dotted where a phase begins."""
    figure, panels = plt.subplots(1, len(logs), figsize=(5 * len(logs) + 2.5, 3.4), squeeze=False)
    for panel, (name, log) in zip(panels[0], logs.items(), strict=True):
        epochs = [row["epoch"] for row in log]
        for column, label in LINES.items():
            if column in log[0]:
                style = "--" if column == "chance_utility" else "-"
                panel.plot(epochs, [row.get(column) for row in log], style, label=label)
        for before, now in itertools.pairwise(log):
            if before["phase"] != now["phase"]:
                panel.axvline(now["epoch"] - 0.5, color="grey", linestyle=":")
        panel.set(title=METHODS[name], xlabel="epoch", ylim=(0, 1.3))
    panels[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def speed(log: list[dict[str, float]], clips: int) -> list[str]:
    """Clips a second of each phase: of its epochs the median, validation included."""
    phases = sorted({row["phase"] for row in log})
    spent = [[row["seconds"] for row in log if row["phase"] == phase] for phase in phases]
    return [f"{clips / statistics.median(seconds):,.0f}" for seconds in spent]


def share(value: float) -> str:
    """A share of 1 in the style of all tables."""
    return f"{value:.2f}".removeprefix("0")


def cell(row: Row, label: str) -> str:
    """A score of a method with its interval."""
    found = {one.label: one.score for one in row.findings}.get(label)
    if found is None:
        return "n/a"
    return f"{share(found.value)} [{share(found.low)}, {share(found.high)}]"


def guess(row: Row, label: str) -> str:
    """The best floor of a label: what is read of it without any video."""
    floors = [one.floors for one in row.findings if one.label == label]
    known = [score.value for each in floors for score in each.values() if score.value is not None]
    return share(max(known)) if known else "n/a"


def write_page(given: argparse.Namespace) -> None:
    """The page and its figure, of one method if it is named."""
    wanted = [given.name] if given.name else list(METHODS)
    names = [name for name in wanted if (given.work / name / "facts.json").exists()]
    stem = "-".join(["paper-training", *([given.name] if given.name else [])])
    facts = {name: json.loads((given.work / name / "facts.json").read_text()) for name in names}
    logs = {name: read_log(given.work / name) for name in names}
    first = facts[names[0]]
    about = (
        f"Made by `python benchmarks/paper_training.py` on one {first['device']} with PyTorch "
        f"{first['torch']}: the recipes' presets `paper` on drawn clips of 16 frames, cropped to "
        f"112 x 112 pixels, {first['clips']} to learn from and {first['held_out']} held out. "
        "Epochs are those of each phase, far fewer than the papers'. Clips a second are those "
        "that pass through a phase, its validation included."
    )
    lines = ["# Trainings at the papers' sizes on a GPU", "", *textwrap.wrap(about, 120), ""]
    lines += [
        "| method | batch | epochs a phase | phases: clips a second | memory, GB | minutes "
        "| action read at the end | chance |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        one: dict[str, Any] = facts[name]
        each = zip(one["phases"], speed(logs[name], one["clips"]), strict=False)
        minutes = sum(row["seconds"] for row in logs[name]) / 60
        memory = "n/a" if one["gigabytes"] is None else f"{one['gigabytes']:.1f}"
        lines.append(
            f"| {METHODS[name]}{', bfloat16' if one['amp'] else ''} | {one['batch']} | "
            f"{one['epochs']} | {'; '.join(f'{phase} {n}' for phase, n in each)} | {memory} | "
            f"{minutes:.1f} | {share(logs[name][-1]['val_utility'])} | "
            f"{share(logs[name][-1]['chance_utility'])} |"
        )
    if any(log[-1]["val_utility"] <= log[-1]["chance_utility"] for log in logs.values()):
        lines += ["", *textwrap.wrap(NOTHING_LEARNED, 120)]
    lines += ["", f"![What was read of held-out clips, by epoch]({stem}.png)", ""]
    if (given.work / TABLE).exists():
        table = from_json((given.work / TABLE).read_text())
        lines += [f"| video | {' | '.join(SHOWN)} |", f"|---|{'---|' * len(SHOWN)}"]
        guesses = [guess(table.rows[0], label) for label in SHOWN]
        lines.append(f"| best guess | {' | '.join(guesses)} |")
        for row in table.rows:
            lines.append(f"| {row.name} | {' | '.join(cell(row, label) for label in SHOWN)} |")
        said = (
            "Scores of the chosen attackers (preset `many`, one seed, families "
            f"{', '.join(table.attackers)}) with their 95 % intervals over people; action and "
            "attributes of people unseen, identity of people seen. One training each: nothing is "
            "said of other seeds."
        )
        lines += ["", *textwrap.wrap(said, 120)]
    given.output.mkdir(parents=True, exist_ok=True)
    draw_curves(logs, given.output / f"{stem}.png")
    (given.output / f"{stem}.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


STEPS = {"train": run_training, "attack": run_attack, "page": write_page}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("name", nargs="?", choices=METHODS, help="what is trained, or shown")
    parser.add_argument("--data", type=Path, help="a manifest of clips")
    parser.add_argument("--work", type=Path, default=Path("paper-training"))
    parser.add_argument("--epochs", type=int, default=8, help="of each phase at most")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-amp", dest="amp", action="store_false")
    parser.add_argument("--workers", type=int, default=1, help="processes that read videos")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="a folder for the page")
    given = parser.parse_args()
    STEPS[given.step](given)


if __name__ == "__main__":
    main()
