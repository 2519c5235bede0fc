"""Tell pages that `write_report` wrote from a user's own, and what files they link to."""

import re
from pathlib import Path
from urllib.parse import unquote

OWN = (  # in every page that `write_report` wrote, now or in an earlier version
    '<meta name="generator" content="masquerade">',
    'The same as files: <a href="table.csv">table.csv</a>, <a href="table.tex">table.tex</a>',
)
CHART_LINK = re.compile(r"charts/[a-z0-9-]+\.svg")


def read_own_page(path: Path) -> str | None:
    """Read a page if `write_report` wrote it; None: there is none, or somebody else wrote it.

    Raises:
        OSError: it cannot be read.
    """
    if not path.exists():
        return None
    page = path.read_text("utf-8", "replace")  # one that somebody else wrote need not be in UTF-8
    return page if any(mark in page for mark in OWN) else None


def linked_files(page: str) -> set[str]:
    """The files of a page's folder, and of those below it, that the page links to."""
    links = {unquote(link) for link in re.findall(r'<a href="([^"#?:]+)"', page)}
    return {link for link in links if not link.startswith("/") and ".." not in link.split("/")}


def linked_charts(page: str) -> set[str]:
    """The charts that a page links to: `write_report` removes those of an earlier page."""
    return set(filter(CHART_LINK.fullmatch, linked_files(page)))
