"""The page of a suite, of its tables as they are committed, for whoever has not the data.

    python benchmarks/committed_page.py real uti ucf11

`masquerade benchmark real` writes the same page at the end of its measurement; here nothing is
measured, and without the data there are no clips on it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from masquerade import __version__
from masquerade.benchmark.data_origins import data_origins
from masquerade.benchmark.suite import read_suite
from masquerade.evaluation import from_json
from masquerade.report.benchmark_page import TableContext, render_benchmark

RESULTS = Path(__file__).resolve().parents[1] / "docs/results"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suite")
    parser.add_argument(
        "tables", nargs="+", help="as the suite and the files in --results name them"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    suite = read_suite(given.suite)
    files = [f"{name}.json" for name in given.tables]
    words = " ".join((given.suite, *given.tables))
    page = render_benchmark(
        [from_json((given.results / file).read_text("utf-8")) for file in files],
        title=suite.title,
        contexts=[
            TableContext(origins=data_origins(suite, suite.table(name).attacked))
            for name in given.tables
        ],
        about={
            "masquerade": __version__,
            "last command": f"python benchmarks/committed_page.py {words}",
        },
        files=files,
    )
    (given.results / f"{given.suite}.html").write_text(page, "utf-8")


if __name__ == "__main__":
    main()
