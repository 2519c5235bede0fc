"""One self-contained HTML page about one anonymized file, from its receipt."""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import jinja2
from matplotlib.figure import Figure

from masquerade.anonymizer import Pixels
from masquerade.pipeline.receipt import Receipt
from masquerade.report.figure_files import picture

INK, SHARE, COUNT = "#1d2433", "#2f6fde", "#e08a2c"


def render_page(receipt: Receipt, *, stills: Sequence[Pixels] = ()) -> str:
    """Render a receipt as HTML, with stills (H, W, 3) of the output; never of the source."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True
    )
    return environment.get_template("page.html").render(
        receipt=asdict(receipt),
        hidden_by=receipt.hidden_by,
        chart=coverage_chart(receipt),
        stills=[embedded(s) for s in stills],
    )


def coverage_chart(receipt: Receipt) -> str:
    """An SVG of how much of each frame is hidden, and how many regions that is."""
    coverage = receipt.coverage
    frames = range(len(coverage.share))
    figure = Figure(figsize=(8.4, 2.6), layout="constrained")
    axes = figure.subplots()
    percent = [100 * share for share in coverage.share]
    axes.fill_between(frames, percent, color=SHARE, alpha=0.25, linewidth=0)
    axes.plot(frames, percent, color=SHARE, linewidth=1.6)
    axes.set_ylim(0, max(1.0, 1.15 * max(percent, default=1.0)))
    axes.set_xlim(0, max(1, len(percent) - 1))
    axes.set_xlabel("frame")
    axes.set_ylabel("hidden, % of the frame", color=SHARE)
    counts = axes.twinx()
    counts.step(frames, coverage.regions, where="mid", color=COUNT, linewidth=1.2)
    top = max(coverage.regions, default=1)
    counts.set_ylim(0, max(2, top + 1))
    counts.set_yticks(range(0, top + 2, max(1, (top + 1) // 4)))
    counts.set_ylabel("regions", color=COUNT)
    for side in (axes, counts):
        side.spines["top"].set_visible(False)
        side.tick_params(colors=INK)
    text = picture(figure, "svg").decode()
    return text[text.index("<svg") :]


def embedded(pixels: Pixels, *, width: int | None = None) -> str:
    """A small picture as a data URL, at most 420 pixels wide, or enlarged to a width."""
    scale = min(1.0, 420 / pixels.shape[1]) if width is None else width / pixels.shape[1]
    way = cv2.INTER_AREA if scale <= 1 else cv2.INTER_CUBIC
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small = cv2.resize(pixels, size, interpolation=way)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
