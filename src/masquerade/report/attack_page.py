"""One self-contained HTML page about what attacks on published videos recovered."""

from pathlib import Path

import jinja2

from masquerade.attack.finding import AttackReport, unique_names
from masquerade.attack.run import ATTACKS
from masquerade.report.page import embedded

PROOF_WIDTH = 140  # pixels of each picture of a place, to which small ones are enlarged


def render_attack_page(report: AttackReport, *, pictures: bool = True) -> str:
    """Render a report as HTML.

    With its proofs as pictures it has to be guarded as the videos are. Without `pictures` no frame
    of any video is in it: what was seen stands there in words, with its frame and its size.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True
    )
    environment.filters["picture"] = lambda pixels, parts: embedded(
        pixels, width=PROOF_WIDTH * parts
    )
    called = unique_names([*(video.path for video in report.videos), *report.passed_over])
    environment.filters["called"] = called.__getitem__
    findings = [*report.folder, *(finding for video in report.videos for finding in video.findings)]
    tried = {finding.attack for finding in findings}
    return environment.get_template("attack_page.html").render(
        report=report,
        called=called,
        tried={name: what for name, what in ATTACKS.items() if name in tried},
        left_out=[name for name in ATTACKS if name not in tried],
        pictures=pictures,
    )
