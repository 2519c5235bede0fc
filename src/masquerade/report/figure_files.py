"""Figures of Matplotlib as files, the same bytes each time."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure

MOST_PIXELS = 65_000  # on a side; Matplotlib draws fewer than 65,536

OTHER_SCRIPTS = (  # fonts for what DejaVu Sans has not, of Linux, macOS and Windows
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Nirmala UI",
)


def dots_per_inch(inches: Iterable[float], wanted: float) -> float:
    """The resolution of a figure of this size, lower than wanted where it would be too many."""
    return min(wanted, MOST_PIXELS / max(inches))


@contextmanager
def readable_fonts() -> Iterator[None]:
    """Draw names in any script for which a font is installed; other characters are boxes.

    Matplotlib warns of such a box, which nobody who has a table with such names can do much about.
    """
    installed = set(font_manager.get_font_names())
    own = matplotlib.rcParams["font.family"]
    fonts = [*own, *(name for name in OTHER_SCRIPTS if name in installed)]
    with warnings.catch_warnings(), matplotlib.rc_context({"font.family": fonts}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def picture(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """A figure as a file; the text of an SVG stays text."""
    out = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    dpi = dots_per_inch(figure.get_size_inches(), 110)
    with (
        readable_fonts(),
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "masquerade"}),
    ):
        figure.savefig(out, format=kind, dpi=dpi, metadata=metadata)
    return out.getvalue()
