"""Where the data of a table come from, and their terms."""

from __future__ import annotations

from masquerade.benchmark.data_origins import UNKNOWN, data_origins, origins_markdown
from masquerade.benchmark.suite import parse_suite, read_suite, suite_names

ROWS = [{"name": "blur", "method": "blur"}]
DATA = {
    "drawn": {"draw": "--clips 4"},
    "ward": {"manifest": "ward.csv", "origin": "our cameras", "licence": "Internal use only."},
    "found": {"manifest": "found.csv"},
    "faces": {"manifest": "faces.csv", "dataset": "CelebV-HQ"},
}
SUITE = parse_suite(
    {
        "title": "S",
        "about": "a",
        "data": DATA,
        "tables": [{"name": "t", "title": "T", "data": "ward", "rows": ROWS}],
    },
    "mine",
)


def test_origin_and_terms_are_the_suites_or_the_papers() -> None:
    drawn, ward, found, faces = data_origins(SUITE, ["drawn", "ward", "found", "faces", "ward"])
    assert "`masquerade data mimes --clips 4`" in drawn.origin and "no real people" in drawn.origin
    assert (ward.origin, ward.terms) == ("our cameras", "Internal use only.")
    assert found.origin == found.terms == UNKNOWN
    assert faces.name == "CelebV-HQ" and "no redistribution" in faces.terms
    assert faces.holds.startswith("35,666 videos") and "https://celebv-hq.github.io" in faces.origin


def test_a_results_file_names_them() -> None:
    text = origins_markdown(data_origins(SUITE, ["ward"]))
    assert "- **ward**: Origin: our cameras.\n  **Terms:** Internal use only.\n" in text


def test_every_suite_says_both_of_all_its_data() -> None:
    for name in suite_names():
        suite = read_suite(name)
        for one in data_origins(suite, list(suite.data)):
            assert UNKNOWN not in (one.origin, one.terms), (name, one.name)
