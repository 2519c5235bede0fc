"""Charts of the page as SVG files, which bring the page's colours with them."""

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from markupsafe import Markup

from masquerade.text import escape as escape_unprintable

MARGIN = 12  # pixels, for names that are wider in another font; the page has room around a chart
UNDRAWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # what XML may not have
PAGE = Path(__file__).with_name("benchmark_page.html")
ROOT = re.compile(r"^  :root \{.*?\}\n", re.S | re.M)
CHARTS = re.compile(r"/\* charts \*/\n(.*?)\n  \.readout", re.S)


def chart_files(charts: Iterable[tuple[str, Markup]]) -> dict[str, str]:
    """The texts of SVG files by their names, such as `charts/ward-label-red-top.svg`.

    Args:
        charts: what each is, in words, and the chart as it stands on the page.
    """
    files: dict[str, str] = {}
    style = _style()
    for words, chart in charts:
        slug = file_words(words)[:80].rstrip("-") or "chart"
        name, number = f"charts/{slug}.svg", 2
        while name in files:
            name, number = f"charts/{slug}-{number}.svg", number + 1
        files[name] = UNDRAWN.sub(
            lambda char: escape_unprintable(char[0]), _with_style(chart, style)
        )
    return files


def file_words(text: str) -> str:
    """Text as part of a file's name: in lower case, with dashes between words."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _style() -> str:
    """The style sheet of a chart file: the page's light colours and its rules for charts."""
    page = PAGE.read_text("utf-8")
    root, rules = ROOT.search(page), CHARTS.search(page)
    assert root and rules
    return f"{root[0]}{rules[1]}\nsvg {{ background: var(--paper); color-scheme: light; }}"


def _with_style(chart: Markup, style: str) -> str:
    """A chart of the page as the text of an SVG file, with its size and style sheet."""
    start, title, rest = str(chart).partition("<title>")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', start)
    assert size
    width, height = (float(length) + 2 * MARGIN for length in size.groups())
    box = f'viewBox="{-MARGIN} {-MARGIN} {width:g} {height:g}"'
    own = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
    start = start.replace(size[0], box).replace("<svg ", own, 1)
    named, end, shapes = rest.partition("</title>")
    sheet = f"<style>{escape(style, quote=False)}</style>"
    return f"{start}{title}{named}{end}{sheet}{shapes}\n"
