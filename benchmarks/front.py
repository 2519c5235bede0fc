"""A plot of the action that each method keeps against the private labels that attackers read.

    python benchmarks/front.py uti       # docs/results/trained-uti.json to front-uti.png
    python benchmarks/front.py beyond    # docs/results/uti.json and more to front-beyond.png

Each method is a point with its 95 % intervals; up and to the left is better. Floors are lines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from masquerade.evaluation import from_json
from masquerade.evaluation.metric_specs import MEAN
from masquerade.report.figure_files import picture
from masquerade.report.trade_off import trade_off_figure

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
ASKED = {
    "uti": {"trained-uti": {"action": 0.75, "identity": 0.30, MEAN: 0.58}},
    "mimes": {"trained-mimes": {}},
    # beyond the papers: the action of raw video, and hardly more than a guess of everything else;
    # who people in shuffled looks are is told by their gait, of which it is twice a guess
    "beyond": {
        "uti": {"action": 0.94, "identity": 0.15, MEAN: 0.55},
        "uti-scene-kept": {"action": 0.94, "identity": 0.15, MEAN: 0.55},
        "identity-shuffled": {"action": 0.97, "identity": 0.12},
    },
}
"""By the name of a plot its tables, and the values that were wanted of their labels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=ASKED)
    chosen = parser.parse_args()
    asked = ASKED[chosen.name]
    tables = [from_json((RESULTS / f"{name}.json").read_text("utf-8")) for name in asked]
    figure = trade_off_figure(tables, aims=list(asked.values()))
    (RESULTS / f"front-{chosen.name}.png").write_bytes(picture(figure, "png"))


if __name__ == "__main__":
    main()
