"""Figures of Matplotlib as files, the same bytes each time."""

import io
from typing import Literal

import matplotlib
from matplotlib.figure import Figure


def picture(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """A figure as a file; the text of an SVG stays text."""
    out = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "masquerade"}):
        figure.savefig(out, format=kind, dpi=110, metadata=metadata)
    return out.getvalue()
