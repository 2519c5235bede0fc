"""A plot of the action that each method keeps against the private labels that attackers read.

    python benchmarks/front.py uti       # docs/results/trained-uti.json to front-uti.png
    python benchmarks/front.py beyond    # docs/results/uti.json to front-beyond.png

Each method is a point with its 95 % intervals; up and to the left is better. Floors are lines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from masquerade.evaluation import from_json
from masquerade.evaluation.metric_specs import MEAN
from masquerade.report.trade_off import picture, trade_off_figure

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
ASKED = {
    "uti": {"action": 0.75, "identity": 0.30, MEAN: 0.58},
    "mimes": {},
    # beyond the papers: the action of raw video, and hardly more than a guess of everything else
    "beyond": {"action": 0.94, "identity": 0.15, MEAN: 0.55},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=ASKED)
    chosen = parser.parse_args()
    source = "uti" if chosen.name == "beyond" else f"trained-{chosen.name}"
    found = from_json((RESULTS / f"{source}.json").read_text("utf-8"))
    figure = trade_off_figure([found], aims=ASKED[chosen.name])
    (RESULTS / f"front-{chosen.name}.png").write_bytes(picture(figure, "png"))


if __name__ == "__main__":
    main()
