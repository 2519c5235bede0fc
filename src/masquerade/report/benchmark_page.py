"""One self-contained HTML page about benchmarks, and a folder with the same as files.

Everything on the page is read from results; it needs no network, and no script to be read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2
from jinja2.utils import urlize
from markupsafe import Markup

from masquerade.benchmark.data_origins import DataOrigin
from masquerade.benchmark.suite import Ablation
from masquerade.benchmark.time_spent import TimeSpent
from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation.results import Control, Evaluation, LabelResult, Row
from masquerade.metrics.leakage import normalised
from masquerade.report.ablations import Panel, ablation_panels
from masquerade.report.benchmark_tables import csv_table, latex_table
from masquerade.report.chart_files import chart_files, file_words
from masquerade.report.embedded_clips import LIMIT, Clip, EmbeddedClip, embed_clips
from masquerade.report.figure_files import picture
from masquerade.report.numbers_and_columns import (
    judged_controls,
    main_columns,
    number,
    protocol_title,
    with_interval,
)
from masquerade.report.own_pages import linked_charts, read_own_page
from masquerade.report.printed_tables import Beside, printed_lines
from masquerade.report.svg_charts import Bar, Guide, Point, bars, scatter, strip
from masquerade.report.table import (
    BEST_ON_TEST,
    HINDSIGHT,
    HOW_TO_READ,
    notes,
    pooled,
)
from masquerade.report.trade_off import (
    axis_start,
    is_learned,
    trade_off_figure,
    trade_off_labels,
)
from masquerade.report.verdicts import (
    MEANING,
    Headline,
    Verdict,
    best_floor,
    beyond_chosen,
    floor_value,
    headline,
    headline_columns,
    held_below,
    measured_methods,
    other_columns,
    raw_beside,
    raw_score,
    row_verdict,
    title_of,
    verdict,
    verdict_on_all,
    void_mark,
)
from masquerade.report.weight_sweep import READS, WeightSweep, network_mean, weight_sweeps
from masquerade.text import readable
from masquerade.transaction import transaction

PAGE_FILES = ("index.html", "table.csv", "table.tex", "trade-off.png", "trade-off.svg")
"""What `write_report` writes under names that a user's own files may have."""
FAMILIES = {  # of attackers, in a few words
    "scratch": "learned from anonymized video",
    "finetuned": "learned from raw video, then from anonymized video",
    "motion": "sees only what changes between frames",
    "raw": "learned from raw video only",
    "background": "sees only what lies above people's heads",
    "pose": "sees only the poses of people",
    "gait": "sees only how people move, frame by frame, and their outline",
    "prior": "is told the true action besides",
    "transformed": "attacks raw video after doing to it what a method does",
    "reconstruction": "restores the raw picture first, then reads it",
    "side channel": "sees only packets' sizes or the receipt, no picture",
    "published": "starts from published weights",
    "together": "averages what the strongest of the others read",
}


@dataclass(frozen=True, kw_only=True)
class TableContext:
    """What the page says of an evaluation beside its results.

    Args:
        suite: the benchmark that it belongs to, where the page has several.
        origins: where its data come from, and their terms.
        videos: short outputs of methods, which are embedded; of the source only where nobody in it
            is real. Those that show the same stand side by side.
        left_out: sentences about what is not shown.
        ablations: rows that differ in one parameter; empty: they are told by their names.
        time: how long it took; None: that was not kept.
        outdated: whether the last run of the benchmark failed to make it again.
    """

    suite: str = ""
    origins: Sequence[DataOrigin] = ()
    videos: Sequence[Clip] = ()
    left_out: Sequence[str] = ()
    ablations: Sequence[Ablation] = ()
    time: TimeSpent | None = None
    outdated: bool = False


class Cell(NamedTuple):
    """One number of the main table, with all that must stand beside it."""

    title: str  # of its column
    value: float | None  # to sort by
    main: str  # .83
    void: bool  # whether it means nothing
    interval: str  # [.74, .90]
    spread: str  # ± .02 between training runs
    most: str  # at most .88, or highest .79
    beside: str  # guess .05, raw .94
    strip: Markup
    verdict: Verdict | None


class Line(NamedTuple):
    """One method of the main table."""

    id: str
    row: Row
    learned: bool
    verdict: Verdict | None  # None: raw video
    cells: tuple[Cell | None, ...]
    details: tuple[tuple[str, LabelResult, Verdict], ...]  # of every private label


class HeatTable(NamedTuple):
    """The highest score of each family of attackers on one label."""

    found: LabelResult
    families: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str, int, bool], ...]], ...]  # text, title, %, chosen


class MeanTable(NamedTuple):
    """The scores of each method averaged over all networks, for each main label."""

    columns: tuple[LabelResult, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    averaged: tuple[str, ...]  # the names of the networks, by label


class Section(NamedTuple):
    """What the page shows of one evaluation."""

    id: str
    evaluation: Evaluation
    context: TableContext
    grids: tuple[tuple[str, tuple[EmbeddedClip, ...]], ...]  # of videos, by what they show
    left_out: tuple[str, ...]  # sentences about videos that are not shown
    headline: Headline
    tone: str  # CSS class: the best verdict that any method has on what the headline is of
    columns: tuple[LabelResult, ...]
    floors: tuple[str, ...]
    lines: tuple[Line, ...]
    plots: tuple[Markup, ...]
    sweeps: tuple[WeightSweep, ...]
    means: MeanTable | None
    attributes: tuple[tuple[LabelResult, Markup], ...]
    heat: tuple[HeatTable, ...]
    panels: tuple[Panel, ...]
    controls: tuple[Control, ...]
    notes: tuple[str, ...]


def render_benchmark(
    evaluations: Sequence[Evaluation],
    *,
    title: str,
    published: Sequence[Beside] = (),
    contexts: Sequence[TableContext] = (),
    about: Mapping[str, str] | None = None,
    files: Sequence[str] = (),
    limit: int = LIMIT,
) -> str:
    """Render benchmarks as one HTML page.

    Args:
        evaluations: one or more, a section each.
        title: of the page.
        published: printed tables to stand beside them.
        contexts: what else to say of each evaluation, in their order; empty: nothing.
        about: what else to say of how this was made, such as versions, by name.
        files: names of files beside the page that it should offer.
        limit: bytes of the page that videos may take, as many for each evaluation that has some;
            the page says which were left out.
    """
    sections = _sections(evaluations, contexts, limit)
    return _page(sections, title=title, published=published, about=about, files=files)


def _sections(
    evaluations: Sequence[Evaluation], contexts: Sequence[TableContext], limit: int
) -> list[Section]:
    if not evaluations:
        raise UsageError("A page of benchmarks needs the results of one evaluation or more.")
    limit //= max(1, sum(bool(context.videos) for context in contexts))
    section_contexts = list(contexts) or [TableContext()] * len(evaluations)
    return [
        _section(evaluation, context, f"data-{i}", limit)
        for i, (evaluation, context) in enumerate(
            zip(evaluations, section_contexts, strict=True), 1
        )
    ]


def _page(
    sections: Sequence[Section],
    *,
    title: str,
    published: Sequence[Beside],
    about: Mapping[str, str] | None,
    files: Sequence[str],
    charts: Sequence[str] = (),
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        interval=with_interval,
        judged_controls=judged_controls,
        pooled=pooled,
        title_of=title_of,
        protocol_title=protocol_title,
        sentence=_sentence,
        hyphenated=_hyphenated,
    )
    return environment.get_template("benchmark_page.html").render(
        title=title,
        sections=sections,
        published=[(beside, printed_lines(beside)) for beside in published],
        about=about or {},
        files=files,
        charts=charts,
        meaning=MEANING,
        families=FAMILIES,
        hindsight=HINDSIGHT,
        best_on_test=BEST_ON_TEST,
    )


def write_report(
    folder: Path,
    evaluations: Sequence[Evaluation],
    *,
    title: str,
    published: Sequence[Beside] = (),
    contexts: Sequence[TableContext] = (),
    about: Mapping[str, str] | None = None,
    results: Sequence[str] = (),
) -> None:
    """Write index.html, table.csv, table.tex, trade-off.png, trade-off.svg and the results as JSON.

    The other charts are SVG files in `charts/`; those that only the earlier page links to go away.
    A page with videos is its owner's alone, since a weak method shows people as they are.
    All of them appear together. The arguments are those of `render_benchmark`, and `results`: where
    the results as JSON lie already, from the folder on, so that they are not written again.

    Raises:
        UsageError: the folder has a page or a file of such a name that `write_report` did not
            write.
    """
    new = {} if results else dict(zip(_json_names(evaluations), evaluations, strict=True))
    tables = {
        "table.csv": csv_table(evaluations),
        "table.tex": latex_table(evaluations),
        **{name: evaluation.to_json() + "\n" for name, evaluation in new.items()},
    }
    try:
        page_before = read_own_page(folder / "index.html")
        if page_before is None and not results:  # before all is drawn
            _refuse_replacing(folder, _as_bytes({"index.html": "", **tables}))
    except OSError as error:
        raise _unwritable(folder, error) from error
    sections = _sections(evaluations, contexts, LIMIT)
    charts = chart_files(chart for section in sections for chart in _charts(section))
    page = _page(
        sections,
        title=title,
        published=published,
        about=about,
        files=(*PAGE_FILES[1:], *(results or new)),
        charts=list(charts),
    )
    figure = trade_off_figure(evaluations)
    written = _as_bytes({"index.html": page, **tables, **charts})
    written |= {f"trade-off.{kind}": picture(figure, kind) for kind in ("png", "svg")}
    try:
        if page_before is None and not results:
            _refuse_replacing(folder, written)
        linked = linked_charts(page_before or "")
        with transaction(overwrite=True) as path:
            for name, content in written.items():
                private = name == "index.html" and any(context.videos for context in contexts)
                path(folder / name, private=private).write_bytes(content)
        for old in linked - charts.keys():
            (folder / old).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _as_bytes(texts: Mapping[str, str]) -> dict[str, bytes]:
    return {name: readable(text).encode() for name, text in texts.items()}


def _unwritable(folder: Path, error: OSError) -> MasqueradeError:
    return MasqueradeError(f"{folder} cannot be written: {error.strerror}.")


def _refuse_replacing(folder: Path, written: Mapping[str, bytes]) -> None:
    """Refuse to replace a file that is there with other content than is written."""
    for name, content in written.items():
        path = folder / name
        if path.exists() and path.read_bytes() != content:
            raise UsageError(
                f"{path} would be replaced, and lies beside no page that write_report made: choose "
                "another folder, or move it away."
            )


def _hyphenated(name: str) -> str:
    """Add soft hyphens to the name of a kind of attackers, for the head of a narrow column."""
    return re.sub(r"\b(back|fine|recon|trans)(?=[a-z]{4})", "\\1\u00ad", name)


def _sentence(text: str) -> Markup:
    """A sentence of a suite, with its addresses as links and its `commands` as code."""
    ended = text if text.endswith(".") else f"{text}."
    linked = urlize(ended, rel="noreferrer")
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", linked))  # escaped by urlize


def _charts(section: Section) -> Iterator[tuple[str, Markup]]:
    """The charts of a section but the trade-off, which has files of its own, and what each is."""
    data = section.evaluation.data
    for sweep in section.sweeps:
        yield f"{data} weights {title_of(sweep.found)} by {sweep.read_by}", sweep.chart
    for label, chart in section.attributes:
        yield f"{data} label {title_of(label)}", chart
    for panel in section.panels:
        yield f"{data} parameter {panel.prefix}", panel.chart


def _json_names(evaluations: Sequence[Evaluation]) -> list[str]:
    if len(evaluations) == 1:
        return ["results.json"]
    slugs = [file_words(evaluation.data) for evaluation in evaluations]
    return [f"results-{i}{f'-{slug[:40]}' if slug else ''}.json" for i, slug in enumerate(slugs, 1)]


def _section(evaluation: Evaluation, context: TableContext, name: str, limit: int) -> Section:
    clips, left_out = embed_clips(context.videos, limit=limit)
    columns = headline_columns(evaluation)
    private = [column for column in columns if column.use == "private"]
    return Section(
        id=name,
        evaluation=evaluation,
        context=context,
        grids=tuple(
            (shows, tuple(clip for clip in clips if clip.shows == shows))
            for shows in dict.fromkeys(clip.shows for clip in clips)
        ),
        left_out=(
            *context.left_out,
            *(f"{clip.name}, {clip.shows}: {why}." for clip, why in left_out),
        ),
        headline=headline(evaluation),
        tone=_tone(evaluation, private),
        columns=tuple(columns),
        floors=tuple(_floor(column) for column in columns),
        lines=tuple(
            _table_line(evaluation, row, columns, f"{name}-row-{i}")
            for i, row in enumerate(evaluation.rows)
        ),
        plots=tuple(_plot(evaluation, label, name) for label in trade_off_labels(evaluation)),
        sweeps=tuple(sweep for label in private[:2] for sweep in weight_sweeps(evaluation, label)),
        means=_means(evaluation, columns),
        attributes=tuple(
            (label, _bars(evaluation, label)) for label in _each_attribute(evaluation)
        ),
        heat=tuple(
            _heat(evaluation, label)
            for label in sorted(
                (*columns, *other_columns(evaluation)),
                key=lambda label: (label not in columns, label.use == "utility"),
            )
        ),
        panels=tuple(ablation_panels(evaluation, context.ablations)),
        controls=evaluation.controls,
        notes=tuple(note for note in notes(evaluation) if note != HOW_TO_READ),
    )


def _tone(evaluation: Evaluation, private: Sequence[LabelResult]) -> str:
    first = private[0].label if private else ""
    findings = [(row, row.finding(first)) for row in measured_methods(evaluation)]
    words = {verdict_on_all(row, finding).word for row, finding in findings if finding}
    best = next((word for word in ("held", "undecided", "leaks") if word in words), "n/a")
    return "void" if evaluation.void else best.replace("/", "")


def _floor(finding: LabelResult) -> str:
    best = best_floor(finding)
    return "n/a" if best is None else f"{number(best[1].value)} ({best[0]})"


def _table_line(
    evaluation: Evaluation, row: Row, columns: Sequence[LabelResult], name: str
) -> Line:
    is_raw = row.method is None and bool(row.findings)
    findings = [row.finding(column.label) for column in (*columns, *other_columns(evaluation))]
    return Line(
        id=name,
        row=row,
        learned=is_learned(row),
        verdict=None
        if is_raw
        else row_verdict(row, main_columns(evaluation), void=evaluation.void),
        cells=tuple(_cell(evaluation, row, column) for column in columns),
        details=tuple(
            (title_of(finding), finding, verdict(row, finding, void=evaluation.void))
            for finding in findings
            if finding and finding.use == "private"
        ),
    )


def _cell(evaluation: Evaluation, row: Row, column: LabelResult) -> Cell | None:
    finding = row.finding(column.label)
    if finding is None:
        return None
    score, beyond = finding.score, beyond_chosen(row, finding)
    floor, raw = floor_value(finding), raw_beside(evaluation, finding)
    raw_value = None if raw is None else raw.value
    hides = finding.use == "private" and row.method is not None
    label_verdict = verdict(row, finding, void=evaluation.void) if hides else None
    kind = label_verdict.word.replace("/", "") if label_verdict else "plain"
    beside = f"guess\N{NO-BREAK SPACE}{number(floor)}"  # which may break after the comma alone
    if row.method is not None:
        beside += f", raw\N{NO-BREAK SPACE}{number(raw_value)}"
    title = f"{row.name}: {with_interval(score)}, {beside}"
    spread = row.runs > 1 and finding.runs_sd is not None
    return Cell(
        title=title_of(column),
        value=score.value,
        main=number(score.value),
        void=bool(finding.void) or (label_verdict is not None and label_verdict.word == "void"),
        interval="" if score.low is None else f"[{number(score.low)}, {number(score.high)}]",
        spread=f"± {number(finding.runs_sd)}" if spread else "",
        most="" if beyond is None else f"{beyond[0]} {number(beyond[1])}",
        beside=beside,
        strip=strip(
            score,
            floor=floor,
            raw=raw_value,
            most=None if beyond is None else beyond[1],
            kind=kind,
            title=title,
        ),
        verdict=label_verdict,
    )


def _plot(evaluation: Evaluation, label: LabelResult, section: str) -> Markup:
    utility = next((c for c in headline_columns(evaluation) if c.use == "utility"), None)
    points = []
    for index, row in enumerate(evaluation.rows):
        action = None if utility is None else row.finding(utility.label)
        private = row.finding(label.label)
        if action is None or private is None:
            continue
        label_verdict = None if row.method is None else verdict(row, private, void=evaluation.void)
        word = "raw video" if label_verdict is None else label_verdict.word
        points.append(
            Point(
                name=row.name,
                x=private.score,
                y=action.score,
                kind="raw" if label_verdict is None else word.replace("/", ""),
                shape="diamond"
                if row.method is None
                else "square"
                if is_learned(row)
                else "circle",
                title=f"{row.name}: action {with_interval(action.score)}, "
                f"{title_of(label).lower()} {with_interval(private.score)}: {word}",
                link=f"{section}-row-{index}",
            )
        )
    floor, limit = floor_value(label), held_below(label)
    vertical = [Guide(value=floor, kind="floor", name="best guess")] if floor is not None else []
    if limit is not None:
        vertical.append(Guide(value=limit, kind="limit", name=f"held: all below {number(limit)}"))
    base = floor_value(utility)
    return scatter(
        points,
        title=f"{evaluation.data}: the action that is kept against {title_of(label).lower()}"
        f"{void_mark(evaluation)}",
        across=f"{title_of(label)}: {label.metric} of attackers, less is better",
        up="Action: more is better" if utility is None else f"Action kept: {utility.metric}",
        least=axis_start(label, [point.x.value for point in points if point.x.value is not None]),
        vertical=vertical,
        horizontal=[Guide(value=base, kind="floor", name="best guess")] if base is not None else [],
    )


def _means(evaluation: Evaluation, columns: Sequence[LabelResult]) -> MeanTable | None:
    """The means over networks that the paper prints; None: they were not asked for."""
    rows: list[tuple[str, tuple[str, ...]]] = []
    averaged: dict[str, None] = {}
    for row in evaluation.rows:
        cells = []
        for column in columns:
            finding = row.finding(column.label)
            mean = None if finding is None else network_mean(row, finding)
            cells.append("" if mean is None else with_interval(mean.score))
            if mean is not None:
                names, kind = ", ".join(mean.networks), READS[mean.reads]
                described = f"{title_of(column)}: {len(mean.networks)} networks of {kind}: {names}"
                averaged[described] = None
        if any(cells):
            rows.append((row.name, tuple(cells)))
    return MeanTable(tuple(columns), tuple(rows), tuple(averaged)) if rows else None


def _each_attribute(evaluation: Evaluation) -> list[LabelResult]:
    columns = (*headline_columns(evaluation), *other_columns(evaluation))
    return [column for column in columns if column.use == "private"]


def _bars(evaluation: Evaluation, label: LabelResult) -> Markup:
    entries = []
    for row in evaluation.rows:
        finding = row.finding(label.label)
        if finding is None or row.method is None:
            continue
        label_verdict = verdict(row, finding, void=evaluation.void)
        title = (
            f"{row.name}: {with_interval(finding.score)}: {label_verdict.word}, {label_verdict.why}"
        )
        kind = label_verdict.word.replace("/", "")
        entries.append(Bar(name=row.name, score=finding.score, kind=kind, title=title))
    raw = raw_score(evaluation, label.label)
    return bars(
        entries,
        title=f"{title_of(label)} behind each method{void_mark(evaluation)}",
        floor=floor_value(label),
        raw=None if raw is None else raw.value,
    )


def _heat(evaluation: Evaluation, label: LabelResult) -> HeatTable:
    findings = [(row, finding) for row in evaluation.rows if (finding := row.finding(label.label))]
    ran = {attack.family for _, finding in findings for attack in finding.attacks}
    known = (*(name for name in FAMILIES if name in ran), *sorted(ran - FAMILIES.keys()))
    raw = raw_score(evaluation, label.label)
    rows = []
    for row, finding in findings:
        floor = floor_value(finding)
        names = {finding.strongest}.union(*finding.chosen)
        chosen = {attack.family for attack in finding.attacks if attack.name in names}
        cells = []
        for family in known:
            attacks = [attack for attack in finding.attacks if attack.family == family]
            best = max(attacks, key=lambda attack: attack.test.value or 0.0, default=None)
            if best is None or best.test.value is None:
                cells.append(("", "this attacker was not run", 0, False))
                continue
            share = None
            if raw is not None and raw.value is not None and floor is not None:
                share = normalised(best.test.value, raw.value, floor)
            heat = round(100 * min(1.0, share or 0.0))
            shown = f"{best.name}: {with_interval(best.test)}"
            cells.append((number(best.test.value), shown, heat, family in chosen))
        rows.append((row.name, tuple(cells)))
    return HeatTable(label, known, tuple(rows))
