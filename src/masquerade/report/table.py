"""Show an evaluation as a table: on the terminal, and as markdown.

Reads results only; no number is computed here.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from masquerade.benchmark.published_markdown import markdown_cell, markdown_line
from masquerade.evaluation.protocols import SAME
from masquerade.evaluation.reidentification import LINKAGE, RANK
from masquerade.evaluation.results import Evaluation, LabelResult, PosesSeen, Row, TradeOff
from masquerade.metrics.intervals import Score
from masquerade.pipeline.coverage import MOST_NAMES
from masquerade.report.numbers_and_columns import (
    all_columns,
    highest_upper_end,
    judged_controls,
    main_columns,
    number,
    protocol_title,
    with_interval,
)
from masquerade.report.verdicts import verdict
from masquerade.text import escape, name_some

HOW_TO_READ = (
    "Each cell: the score of the strongest attackers, chosen for each test fold on clips that are "
    "not in it, of which up to ten are averaged, [its 95 % interval]; `at most`: the highest "
    "upper end of all attackers, of intervals that hold for all of them at once, so that no "
    "better choice among them reads more (of attributes of people without those who see the "
    "background alone); and leakage: 0 is what a guess from labels and actions "
    "scores, 1 is raw video; n/a where raw video itself is not surely above the guess, or so few "
    "clips cannot tell how far. `held`: no "
    "attacker's upper end is more than a tenth of the way from the guess to raw video. "
    "`undecided`: no attacker is surely above the guess, but some upper end is higher than that, "
    "so that more clips would tell; or none is, but attackers of some kind fail on raw video too, "
    "one is surely worse than chance, there are too few training runs, all clips of a person "
    "together or re-identification across clips may tell more, or could not be tried, or most "
    "frames were hidden whole because nothing could be told apart in them. Where neither stands, "
    "more than a guess is surely read, by an attacker or by such clips together. "
    "`background`: what is read from the top twelfth of the frame alone. A low score says what "
    "these attackers recovered from these clips, and nothing more."
)
RUNS = (
    "± is the standard deviation between runs of a trained anonymizer that differ in their seed "
    "alone; intervals are over {people} and over runs. Each run is attacked by one network of a "
    "kind; lines without training by the mean of all seeds, which scores a little higher. Leakage "
    "of trained lines is measured against single networks on raw video."
)
CONTROL_HEAD = ["control", "label", "score", "to be compared with", "passed"]
POSES = (
    "What attackers read from poses alone: landmarks that networks find again in the anonymized "
    "frames, and of methods that draw people also the joints as they are drawn, read without an "
    "error. n/a: there are too few poses, or those of raw video do not tell the label either."
)
RESTORED = (
    "How near attackers come to the raw picture, in small clips of test people. `network`: a small "
    "network that learned from pairs of anonymized and raw training clips. `noise known`: the "
    "noise is computed away by somebody who knows its seed; `noise guessed`: by somebody who does "
    "not. Published: the anonymized clip itself against the raw one, which is to be beaten. "
    "More is nearer: 60 dB and 1.00 are equal pictures, and a mean picture has 10 to 15 dB. "
    "`restored nothing`: the attacker gave back what was published, as it found nothing to add. "
    "What attackers read from restored clips is among the attackers above, as `reconstruction`."
)
RESTORED_HEAD = [
    "video",
    "attacker",
    "PSNR published, dB",
    "PSNR restored, dB",
    "gained, dB",
    "SSIM published",
    "SSIM restored",
]
REIDENTIFICATION = (
    "Clips of {people} who are in no training clip are compared with one another, by a metric that "
    "was learned on other {people}: which clip (the probe) shows whom, among many (the gallery)? "
    "Gallery `anonymized`: the other published clips of the method, which links videos with one "
    "another. Gallery `raw`: probes are published and the gallery is raw video of known {people}. "
    "A clip is never compared with another of its own recording. The feature is chosen on training "
    "{people}; `at most`: the upper end of the feature with the highest rank-1 on test, of "
    "intervals that hold for all features at once. rank-1: the most similar clip shows the right "
    "one; mAP: how far up all of theirs are; linkage AUC: two clips of one are more alike than two "
    "of two; EER: the error rate of telling such pairs apart, less is worse for privacy. "
    "Several clips pooled: half of somebody's clips are known to be of one, against other halves. "
    "Open set: in turn a third of the {people} is not in the gallery; AUROC of telling who is in "
    "it, and the share who are in it and rightly named where a tenth of the others is named too."
)
REIDENTIFICATION_HEAD = ["video", "gallery", "chosen feature", RANK, "highest feature"]
MEANS = (
    "The mean over networks, none of which is chosen, as Ilic et al. (CVPR 2024) print it: of the "
    "action over networks of clips, of privacy over networks of single frames (stills), all of "
    "them trained on raw video alone (raw; of raw video itself they are `scratch`). A weak network "
    "lowers such a mean, and protects nobody."
)
MEANS_HEAD = ["video", "label", "trained", "networks of", "networks", "mean"]
SWEEP = (
    "f_lambda = (1 - lambda) action + lambda (1 - private label) (Ilic et al., CVPR 2024), of the "
    "strongest attackers, and where means over networks were asked for, of those: of networks of "
    "clips on the action, and of clips or of single frames on the label. With its 95 % interval "
    "over {people}, and over training runs. Lambda is how much privacy counts: "
    "at 0 it is the action alone, at 1 the private label alone. More is better. A method that "
    "shows nothing reaches it at lambda 1 too, and no floor is in it: read it beside the leakage."
)
TRADE_OFF_HEAD = [
    "video",
    "label",
    "leakage",
    "f, action and privacy in equal parts",
    "gained by attackers who also know the action",
    "all clips of a person together",
    "gained by training on anonymized video",
    "at least as strong",
]
HINDSIGHT = "best on test, chosen with hindsight: an upper bound"
BEST_ON_TEST = (
    "The attackers that were chosen before the test, which the table has, beside the one that "
    "scored highest on the test clips themselves. Nobody can choose that one beforehand: of many "
    "attackers the highest is a little too high by chance, so that it bounds what a better choice "
    "among them would have read. Its interval holds for all attackers at once."
)
BEST_ON_TEST_HEAD = ["video", "label", "chosen before the test", HINDSIGHT, "its score"]
FEATURE_HEAD = ["video", "gallery", "feature", "validation", LINKAGE, RANK]
ATTACKER_HEAD = ["video", "label", "attacker", "validation", "test", "sd over seeds"]
YES_NO = {True: "yes", False: "NO", None: ""}


def headings(columns: Sequence[LabelResult], held_out: str = "people") -> list[str]:
    """The heading of each column, with the word for who is held out together."""
    use = {"utility": "keep", "private": "hide"}
    return [
        "video",
        *(f"{c.label} ({use[c.use]}; {c.metric}, {protocol_title(c, held_out)})" for c in columns),
    ]


def lines(evaluation: Evaluation, columns: Sequence[LabelResult]) -> list[list[str]]:
    """The table's cells: floors, the clips' size, then a line a method."""
    body = _floor_lines(columns)
    sized = [control for control in evaluation.controls if control.passed is None]
    sizes = {(control.kind, control.label): number(control.score.value) for control in sized}
    for kind in dict.fromkeys(kind for kind, _ in sizes):
        body.append([f"control: {kind}", *(sizes.get((kind, c.label), "") for c in columns)])
    for row in evaluation.rows:
        regions = "" if row.regions == "frame" else f" ({row.regions})"
        body.append(
            [f"{row.name}{regions}", *(_cell(row, c.label, evaluation.void) for c in columns)]
        )
    return body


def _floor_lines(columns: Sequence[LabelResult]) -> list[list[str]]:
    """One table line for each floor, with its value for each label.

    They are those of raw video: the action that is predicted behind a method tells less.
    """
    return [
        [
            f"floor: {'predicted action of raw video' if name == 'predicted action' else name}",
            *(number(c.floors[name].value) if name in c.floors else "" for c in columns),
        ]
        for name in dict.fromkeys(name for column in columns for name in column.floors)
    ]


def notes(evaluation: Evaluation) -> list[str]:
    """What must stand under the table: controls, whether training helped, the data's limits."""
    found = [HOW_TO_READ, _controls(evaluation), _retrained(evaluation.rows)]
    for row in evaluation.rows:
        found += [f"{row.name}, {f.label}: {f.undecided}." for f in row.findings if f.undecided]
        found += _reidentified(row, evaluation.held_out)
        if row.skipped:
            path, why = next(iter(row.skipped.items()))
            found.append(f"{row.name}: {len(row.skipped)} clips left out, as {path}: {why}")
        found += _covered(row)
    if any(row.runs > 1 for row in evaluation.rows):
        found.append(RUNS.format(people=evaluation.held_out))
    folds = f"{evaluation.folds}-fold cross-validation" if evaluation.folds else "Manifest's splits"
    files = "exported, re-decoded files" if evaluation.through_file else "frames before encoding"
    found.append(
        f"{folds}; predictions of {evaluation.seeds} seed(s) are averaged; preset "
        f"{evaluation.preset}; attackers: {', '.join(evaluation.attackers)}; on {files}."
    )
    return [note for note in (*found, *evaluation.limits) if note]


def show(evaluation: Evaluation, console: Console) -> None:
    """Print the table."""
    columns = main_columns(evaluation)
    table = Table(title=Text(escape(evaluation.data)), title_justify="left")
    for heading in headings(columns, evaluation.held_out):
        table.add_column(Text(escape(heading)), overflow="fold")
    for line in lines(evaluation, columns):
        table.add_row(*(Text(escape(cell)) for cell in line))
    if evaluation.void:
        console.print(f"VOID: {escape(evaluation.void)}", style="bold red", markup=False)
    console.print(table)
    restored = _restored_lines(evaluation)
    if restored:
        pictures = Table(title="Restored pictures", title_justify="left")
        for heading in RESTORED_HEAD:
            pictures.add_column(heading, overflow="fold")
        for line in restored:
            pictures.add_row(*(Text(escape(cell)) for cell in line))
        console.print(pictures)
    for note in notes(evaluation):
        console.print(f"- {escape(note)}", markup=False, highlight=False)


def markdown(evaluation: Evaluation) -> str:
    """The page for `docs/results`: the command, the table, every attacker, the limits."""
    columns = main_columns(evaluation)
    parts = [f"# {markdown_line(evaluation.data)}", ""]
    if evaluation.command:
        parts += ["```", evaluation.command, "```", ""]
    if evaluation.void:
        parts += [f"**VOID: {markdown_line(evaluation.void)}**", ""]
    parts += [
        *markdown_table(headings(columns, evaluation.held_out), lines(evaluation, columns)),
        "",
    ]
    parts += [f"- {markdown_line(note)}" for note in notes(evaluation)]
    rest = [column for column in all_columns(evaluation) if column not in columns]
    if rest:
        parts += ["", "## Each attribute", ""]
        parts += markdown_table(headings(rest, evaluation.held_out), lines(evaluation, rest))
    controls = [
        [
            control.kind,
            control.label,
            with_interval(control.score),
            number(control.floor),
            YES_NO[control.passed],
        ]
        for control in evaluation.controls
    ]
    if evaluation.rows and evaluation.rows[0].poses:
        parts += ["", "## Poses alone", "", POSES, ""]
        head = [*headings(all_columns(evaluation), evaluation.held_out), "poses"]
        parts += markdown_table(head, _pose_lines(evaluation))
    restored = _restored_lines(evaluation)
    if restored:
        parts += ["", "## Restored pictures", "", RESTORED, ""]
        parts += markdown_table(RESTORED_HEAD, restored)
    if any(row.reidentification for row in evaluation.rows):
        people = evaluation.held_out
        title = f"Re-identification across clips, {people} unseen"
        parts += ["", f"## {title}", "", REIDENTIFICATION.format(people=people), ""]
        parts += markdown_table(*_reidentification_lines(evaluation))
        parts += ["", *markdown_table(FEATURE_HEAD, _feature_lines(evaluation))]
    sweep = _sweep_lines(evaluation)
    if sweep:
        parts += ["", "## f_lambda", "", SWEEP.format(people=evaluation.held_out), ""]
        parts += markdown_table(sweep[0], sweep[1:])
    means = _mean_lines(evaluation)
    if means:
        parts += ["", "## Mean over networks", "", MEANS, "", *markdown_table(MEANS_HEAD, means)]
    for title, head, body in (
        ("Controls", CONTROL_HEAD, controls),
        ("Trade-off, and what else attackers know", TRADE_OFF_HEAD, _trade_off_lines(evaluation)),
        ("Every attacker", ATTACKER_HEAD, _attacker_lines(evaluation)),
    ):
        parts += ["", f"## {title}", "", *markdown_table(head, body)]
    best = _best_on_test_lines(evaluation)
    if best:
        parts += ["", "<details>", f"<summary>The {HINDSIGHT}</summary>", "", BEST_ON_TEST, ""]
        parts += [*markdown_table(BEST_ON_TEST_HEAD, best), "", "</details>"]
    return "\n".join(parts) + "\n"


def _cell(row: Row, label: str, void: str | None) -> str:
    finding = row.finding(label)
    if finding is None:
        return "n/a" if row.not_applicable else ""
    text = with_interval(finding.score) + _between_runs(row, finding)
    if finding.use == "utility":
        return text
    if finding.void:
        return f"{text} void"
    background = _background(finding) if finding.protocol == SAME else ""
    leakage = number(None if finding.leakage is None else finding.leakage.value)
    word = "" if row.method is None else verdict(row, finding, void=void).word
    suffix = f", {word}" if word in ("held", "undecided", "void") else ""
    return f"{text}{_at_most(row, finding)} leakage {leakage}{suffix}{background}"


def _at_most(row: Row, finding: LabelResult) -> str:
    most = highest_upper_end(row, finding)
    return "" if most is None else f" at most {number(most)}"


def _between_runs(row: Row, finding: LabelResult) -> str:
    return f" ± {number(finding.runs_sd)}" if row.runs > 1 and finding.runs_sd is not None else ""


def _background(finding: LabelResult) -> str:
    best = finding.best("background")
    return "" if best is None else f", background {number(best.test.value)}"


def _controls(evaluation: Evaluation) -> str:
    together, alone = judged_controls(evaluation.controls)
    if not together:
        return "No controls were run: a low score may mean only that attackers are weak."
    failed = [control for control in together if not control.passed]
    if failed:
        names = "; ".join(f"{control.kind} control of {control.label}" for control in failed)
        says = f"{len(failed)} of {len(together)} controls failed: {names}. What rests on them is "
        says += "void."
    else:
        says = f"All {len(together)} controls passed: attackers succeed on raw video, and are at "
        says += "chance where labels were shuffled."
    if unread := [control for control in alone if not control.passed]:
        says += f" {len(unread)} of {len(alone)} controls of one kind of attacker alone failed: "
        says += "; ".join(f"{control.kind}, {control.label}" for control in unread)
        says += ". Where one fails, a low score of that kind says nothing."
    return says


def _pose_lines(evaluation: Evaluation) -> list[list[str]]:
    """Table lines of what poses alone tell: the floors of each label, then a line a method."""
    columns = all_columns(evaluation)
    labels = {
        control.label
        for control in evaluation.controls
        if control.kind == "poses" and control.passed
    }
    body = [[*line, ""] for line in _floor_lines(columns)]
    for row in evaluation.rows:
        cells = []
        for column in columns:
            finding = row.finding(column.label)
            pose = None if finding is None or column.label not in labels else finding.best("pose")
            cells.append(with_interval(None if pose is None else pose.test))
        body.append([row.name, *cells, "; ".join(map(_seen, row.poses))])
    return body


def _reidentification_lines(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The heading, then of each line and gallery the floors and the scores."""
    results = [(row, result) for row in evaluation.rows for result in row.reidentification]
    scored = dict.fromkeys(name for _, result in results for name in result.scores)
    names = [name for name in scored if name != RANK]
    body = []
    floors = dict.fromkeys(
        (result.gallery, tuple(result.floors.items())) for _, result in results if result.floors
    )
    for gallery, items in floors:
        floor = dict(items)
        cells = (number(floor.get(name)) for name in names)
        body.append(["floor", gallery, "", number(floor.get(RANK)), "", *cells])
    for row, result in results:
        if result.not_applicable:
            empty = ["n/a"] * len(names)
            body.append([row.name, result.gallery, "", f"n/a: {result.not_applicable}", "", *empty])
            continue
        most = (
            "" if result.highest_score is None else f" at most {number(result.highest_score.high)}"
        )
        cells = (with_interval(result.scores.get(name)) for name in names)
        chosen = ", ".join(dict.fromkeys(result.chosen))
        highest = f"{result.highest} {with_interval(result.highest_score)}"
        rank = with_interval(result.scores.get(RANK)) + most
        body.append([row.name, result.gallery, chosen, rank, highest, *cells])
    return [*REIDENTIFICATION_HEAD, *names], body


def _feature_lines(evaluation: Evaluation) -> list[list[str]]:
    return [
        [
            row.name,
            result.gallery,
            feature.name,
            number(feature.validation),
            with_interval(feature.linkage),
            with_interval(feature.rank_1),
        ]
        for row in evaluation.rows
        for result in row.reidentification
        for feature in result.attacks
    ]


def _seen(poses: PosesSeen) -> str:
    if poses.left_out:
        return f"n/a: {poses.left_out}"
    how = "found by networks" if poses.content == "poses" else "as drawn"
    return f"{how}, in {poses.seen:,} of {poses.frames:,} frames"


def _restored_lines(evaluation: Evaluation) -> list[list[str]]:
    """How near each attacker of each method comes to the raw picture."""
    body = []
    for row in evaluation.rows:
        for restored in row.restored:
            gained = (
                "restored nothing" if restored.restored_nothing else _decibels(restored.gained_psnr)
            )
            decibels = (*map(_decibels, (restored.published_psnr, restored.psnr)), gained)
            alike = map(with_interval, (restored.published_ssim, restored.ssim))
            body.append([row.name, restored.attacker, *decibels, *alike])
        if row.unrestored:
            body.append([row.name, f"n/a: {row.unrestored}", *[""] * 5])
    return body


def _decibels(score: Score) -> str:
    """19.2 [18.1, 20.3], or n/a."""
    if score.value is None:
        return "n/a"
    return f"{score.value:z.1f} [{score.low:z.1f}, {score.high:z.1f}]"


def _reidentified(row: Row, people: str) -> list[str]:
    """How well people are found again in other clips, in a line for each gallery."""
    return [
        f"{row.name}, re-identification of {people} unseen across clips, gallery {result.gallery}: "
        + (
            f"n/a: {result.not_applicable}."
            if result.not_applicable
            else f"{RANK} {with_interval(result.scores.get(RANK))} beside a guess's "
            f"{number(result.floors.get(RANK))}, {LINKAGE} "
            f"{with_interval(result.scores.get(LINKAGE))} beside .50."
        )
        for result in row.reidentification
    ]


def _covered(row: Row) -> list[str]:
    """How many frames were hidden, and the videos that `anonymize` would not publish."""
    if row.coverage is None or row.regions == "frame":
        return []
    counts, left = row.coverage.counts, row.coverage.unpublished
    found = [
        f"{row.name}: something was hidden in {counts.frames - counts.empty:,} of "
        f"{counts.frames:,} frames of {row.coverage.videos} videos; nothing was found in "
        f"{counts.missed:,} frames between the first and the last sighting in their video, and "
        f"{counts.filled_whole:,} were hidden whole because nothing could be told apart in them."
    ]
    if left:
        reasons = [f"{path}: {why}" for path, why in left.items()]
        found.append(
            f"{row.name}: {len(left)} of these videos `anonymize` would not publish, and they are "
            f"measured all the same: {name_some(reasons, MOST_NAMES, separator='; ')}."
        )
    return found


def _retrained(rows: Sequence[Row]) -> str:
    pairs = [(row, finding) for row in rows for finding in row.findings]
    known = [(row, finding) for row, finding in pairs if finding.retrained_holds is not None]
    if not known:
        return ""
    weaker = [
        f"{row.name}: {finding.label}" for row, finding in known if not finding.retrained_holds
    ]
    if not weaker:
        return (
            "Attackers trained on anonymized video are at least as strong as those trained on raw "
            "video, within intervals."
        )
    return (
        "Attackers trained on anonymized video are WEAKER than those trained on raw video, so too "
        f"weak, on {', '.join(weaker)}."
    )


def _trade_off_lines(evaluation: Evaluation) -> list[list[str]]:
    return [
        [
            row.name,
            finding.label,
            "void" if finding.void and finding.leakage is None else with_interval(finding.leakage),
            number(finding.f_half),
            with_interval(finding.beyond_action),
            pooled(finding),
            with_interval(finding.retrained_gain) if finding.retrained_gain else "",
            YES_NO[finding.retrained_holds],
        ]
        for row in evaluation.rows
        for finding in row.findings
        if finding.use == "private"
    ]


def pooled(finding: LabelResult) -> str:
    """What all clips of a person tell together, beside a guess from as many."""
    if finding.pooled is None:
        return ""
    floor = finding.pooled_floor
    beside = "" if floor is None else f", a guess {number(floor)}"
    return f"{with_interval(finding.pooled)}{beside}"


def _sweep_lines(evaluation: Evaluation) -> list[list[str]]:
    """The heading, then f_lambda of each line and private label; nothing if unasked for."""
    swept: list[tuple[list[str], tuple[TradeOff, ...]]] = []
    for row in evaluation.rows:
        for finding in row.findings:
            label = finding.label + (" (void)" if finding.void else "")
            swept.append(([row.name, label, "the strongest"], finding.trade_offs))
            swept += [
                (
                    [row.name, label, f"mean of {mean.reads} networks, {mean.family}"],
                    mean.trade_offs,
                )
                for mean in finding.means
            ]
    swept = [(words, trade_offs) for words, trade_offs in swept if trade_offs]
    if not swept:
        return []
    head = ["video", "label", "attackers"]
    head += [f"lambda {trade_off.weight:g}" for trade_off in swept[0][1]]
    return [
        head,
        *(
            [*words, *(with_interval(trade_off.score) for trade_off in trade_offs)]
            for words, trade_offs in swept
        ),
    ]


def _mean_lines(evaluation: Evaluation) -> list[list[str]]:
    findings = [(row, finding) for row in evaluation.rows for finding in row.findings]
    return [
        [
            row.name,
            finding.label,
            mean.family,
            mean.reads,
            ", ".join(mean.networks),
            f"{with_interval(mean.score)}{' void' if finding.void else ''}",
        ]
        for row, finding in findings
        for mean in finding.means
    ]


def _best_on_test_lines(evaluation: Evaluation) -> list[list[str]]:
    """The chosen attackers' score of each label beside the highest of all."""
    return [
        [
            row.name,
            finding.label,
            with_interval(finding.score),
            finding.highest,
            with_interval(finding.highest_score),
        ]
        for row in evaluation.rows
        for finding in row.findings
        if finding.highest_score is not None
    ]


def _attacker_lines(evaluation: Evaluation) -> list[list[str]]:
    return [
        [
            row.name,
            finding.label,
            _marked(attack.name, finding),
            number(attack.validation),
            with_interval(attack.test),
            "" if attack.seed_sd is None else number(attack.seed_sd),
        ]
        for row in evaluation.rows
        for finding in row.findings
        for attack in finding.attacks
    ]


def _marked(name: str, finding: LabelResult) -> str:
    """An attacker's name, bold where some test fold chose it, and how many did where not all."""
    chosen = finding.chosen or ((finding.strongest,),)
    count = sum(name in names for names in chosen)
    out = f"**{name}**" if count else name
    out += f" ({count} of {len(chosen)} folds)" if 0 < count < len(chosen) else ""
    return f"{out}, best on test" if name == finding.highest else out


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    first, *rest = [f"| {' | '.join(map(markdown_cell, line))} |" for line in (head, *body)]
    return [first, f"|{'|'.join(['---'] * len(head))}|", *rest]
