"""What an evaluation says in words: a verdict for each label and method, and one sentence on top.

Held, undecided and leaks follow from the results alone; nothing is measured here.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from masquerade.evaluation.mask_only import shows_mask_alone
from masquerade.evaluation.metric_specs import MEAN, mean_name
from masquerade.evaluation.protocols import SAME
from masquerade.evaluation.results import Evaluation, LabelResult, Row
from masquerade.metrics.intervals import Score
from masquerade.metrics.leakage import (
    at_least_chance,
    f_lambda,
    held_limit,
    least_counted,
)
from masquerade.report.linked_clips import linked_clips
from masquerade.report.numbers_and_columns import (
    all_columns,
    highest_upper_end,
    main_columns,
    number,
)

Word = Literal["held", "undecided", "leaks", "n/a", "void"]
WORDS: tuple[Word, ...] = ("leaks", "undecided", "void", "n/a", "held")  # the gravest first
MEANING: dict[Word, str] = {
    "held": "Even the highest upper end of all attackers is within a tenth of the way from a guess "
    "to raw video. It says what these attackers read from these clips.",
    "undecided": "No attacker surely reads more than would count as held, but that does not show "
    "that nothing can be read: too few clips, too few training runs, or attackers that fail on raw "
    "video too.",
    "leaks": "Some attacker reads surely more than the best guess: its interval lies above it.",
    "n/a": "Raw video itself is not surely above a guess, so that nothing could be shown.",
    "void": "A control failed, and the number means nothing.",
}


NOT_SHOWN = "raw video itself is not surely above a guess"


class Verdict(NamedTuple):
    """Whether a private label is hidden, and why."""

    word: Word
    why: str


class Headline(NamedTuple):
    """What a reader should know after ten seconds."""

    claim: str  # one short sentence
    detail: str  # two sentences with numbers, in clips of a hundred


def void_mark(evaluation: Evaluation) -> str:
    """What stands behind the title of a chart whose numbers mean nothing; empty: they do."""
    return " (void)" if evaluation.void else ""


def is_identity(finding: LabelResult) -> bool:
    """Whether a label says who somebody is."""
    return finding.use == "private" and finding.protocol == SAME


def title_of(finding: LabelResult) -> str:
    """A label's name for people who do not know the manifest's columns."""
    if finding.use == "utility":
        return "Action kept"
    if is_identity(finding):
        # of several columns of people each has its own name
        return "Who it is" if finding.label == "identity" else f"Who it is ({finding.label})"
    return "Attributes" if finding.label == MEAN else finding.label


def headline_columns(evaluation: Evaluation) -> list[LabelResult]:
    """The numbers that matter first: the action, who it is, and the mean of the attributes.

    Where there is no such mean, all attributes of the main table.
    """
    columns = main_columns(evaluation)
    means = [column for column in columns if column.label == MEAN]
    attributes = means or [column for column in columns if _is_attribute(column)]
    action = [column for column in columns if column.use == "utility"]
    return [*action, *(column for column in columns if is_identity(column)), *attributes]


def other_columns(evaluation: Evaluation) -> list[LabelResult]:
    """All labels that are not in the headline."""
    first = headline_columns(evaluation)
    return [column for column in all_columns(evaluation) if column not in first]


def best_floor(finding: LabelResult) -> tuple[str, Score] | None:
    """The trivial attacker that scores highest, and its score."""
    known = [(name, floor) for name, floor in finding.floors.items() if floor.value is not None]
    return max(known, key=lambda pair: pair[1].value or 0.0, default=None)


def floor_value(finding: LabelResult | None) -> float | None:
    """The score of the best trivial attacker."""
    best = None if finding is None else best_floor(finding)
    return None if best is None else best[1].value


def raw_score(evaluation: Evaluation, label: str) -> Score | None:
    """What attackers read from raw video."""
    raw = next((row for row in evaluation.rows if row.method is None and row.findings), None)
    finding = None if raw is None else raw.finding(label)
    return None if finding is None else finding.score


def raw_beside(evaluation: Evaluation, finding: LabelResult) -> Score | None:
    """What attackers read from raw video of the clips that a method has, which may be fewer."""
    raw = None if finding.leakage is None else finding.leakage.raw
    return raw_score(evaluation, finding.label) if raw is None or raw.value is None else raw


def highest(finding: LabelResult) -> float | None:
    """The highest score on test of all attackers that count, whom nobody could have chosen
    beforehand."""
    scores = [attack.test.value for attack in finding.attacks if attack.counts]
    known = [value for value in scores if value is not None]
    return max(known, default=None)


def beyond_chosen(row: Row, finding: LabelResult) -> tuple[str, float] | None:
    """How far others than the chosen attackers may get: `at most` so far, or else, where results
    have no intervals that hold for all attackers at once, the `highest` score."""
    most, top = highest_upper_end(row, finding), highest(finding)
    if most is not None:
        return "at most", most
    if row.method is None or finding.use != "private" or top is None:
        return None
    return ("highest", top) if top > (finding.score.value or 0.0) else None


def held_below(finding: LabelResult) -> float | None:
    """What every upper end must be below to count as held; None: raw video does not show it."""
    leaked = finding.leakage
    if leaked is None or leaked.value is None:
        return None
    floor, raw = leaked.floor.value, leaked.raw.value
    return None if floor is None or raw is None else held_limit(floor, raw)


def verdict(row: Row, finding: LabelResult, *, void: str | None = None) -> Verdict:
    """Return whether a method hides a private label; `void`: why the evaluation is void, if so.

    A mean over attributes does not hold where a single one of them leaks.
    """
    own_verdict = _own_verdict(row, finding, void)
    if own_verdict.word != "held" or finding.label not in (MEAN, mean_name(finding.metric)):
        return own_verdict
    attributes = [
        attribute
        for attribute in row.findings
        if attribute.metric == "AUROC" and attribute.use == "private" and attribute.label != MEAN
    ]
    leaking = [
        attribute.label
        for attribute in attributes
        if _own_verdict(row, attribute, void).word == "leaks"
    ]
    if not leaking:
        return own_verdict
    return Verdict("leaks", f"of single attributes {', '.join(leaking)} can be read")


def _own_verdict(row: Row, finding: LabelResult, void: str | None) -> Verdict:
    """The verdict on a label by its own numbers, of a mean without a look at its attributes."""
    why = finding.void or void
    if why:
        return Verdict("void", why)
    leaked, limit, floor = finding.leakage, held_below(finding), floor_value(finding)
    if leaked is None or floor is None:
        return Verdict("n/a", NOT_SHOWN)
    surely = [score for score in _at_once(finding) if (score.low or 0.0) > floor]
    if leaked.value is None or limit is None:
        if (leaked.raw.low or 0.0) <= floor:
            return Verdict("n/a", NOT_SHOWN)
        few = "how much is left of what raw video shows cannot be told from so few clips"
        return _leaks(surely, floor) if surely else Verdict("undecided", few)
    if finding.pooled_leaks and finding.pooled is not None:
        reading = f"{number(finding.pooled.value)} is read from all clips of a person together"
        return Verdict("leaks", f"{reading}, where a guess has {number(finding.pooled_floor)}")
    doubted = bool(leaked.protects) or bool(finding.undecided)
    if not doubted and (surely or (leaked.low or 0.0) > 0):
        return _leaks(surely or [finding.score], floor)
    linked = linked_clips(row) if is_identity(finding) else None
    if linked is not None:
        reading = f"of {number(linked.value)} of {linked.probe} the most similar other one"
        reading += " shows the same"
        return Verdict("leaks", f"{reading}, where a guess has {number(linked.guess)}")
    if leaked.protects and finding.highest_score is None:
        return Verdict("undecided", "an earlier version did not look at all attackers at once")
    if leaked.protects:
        return Verdict("held", f"no attacker's upper end is above {number(limit)}")
    if finding.undecided:
        return Verdict("undecided", finding.undecided)
    most = highest_upper_end(row, finding)
    shown_most, shown_limit = _told_apart(most, limit)
    if row.runs > 1 and most is not None and most <= limit:
        return Verdict(
            "undecided",
            f"as much as {shown_most} may be read in the mean of {row.runs} training runs, but "
            f"in one of them more than {shown_limit}, which would count as held",
        )
    return Verdict(
        "undecided",
        f"no attacker is surely above a guess ({number(floor)}), but as much as {shown_most} may "
        f"be read, and {shown_limit} would count as held: more clips would tell",
    )


def _told_apart(most: float | None, limit: float) -> tuple[str, str]:
    """Two shares as text, with a third digit where two digits would be the same."""
    texts = number(most), number(limit)
    if texts[0] != texts[1]:
        return texts
    return number(most, digits=3), number(limit, digits=3)


def _at_once(finding: LabelResult) -> list[Score]:
    """What attackers read, by intervals that hold for all of them at once, and the chosen one's."""
    if finding.highest_score is None:  # of an earlier version, whose other intervals hold alone
        return [finding.score]
    return [
        finding.score,
        finding.highest_score,
        *(attack.test for attack in finding.attacks if attack.counts),
    ]


def _leaks(read: Sequence[Score], floor: float) -> Verdict:
    """The verdict on a label which some attackers read surely above a guess."""
    most = max(score.value or 0.0 for score in read)
    return Verdict("leaks", f"{number(most)} is read where a guess has {number(floor)}")


def row_verdict(row: Row, columns: Sequence[LabelResult], *, void: str | None = None) -> Verdict:
    """Return the worst verdict of a method over its private labels, and the labels that have it.

    A single attribute that leaks counts too, though a mean over them all may hold; and nothing is
    held where one of `columns` could not be judged. `void` says why the whole evaluation is void.
    """
    if row.not_applicable:
        return Verdict("n/a", row.not_applicable)
    main = {column.label for column in columns if column.use == "private"}
    findings = [finding for finding in row.findings if finding.use == "private"]
    # without a look at the attributes behind a mean: single ones are named here themselves
    verdicts = [(finding, _own_verdict(row, finding, void)) for finding in findings]
    main_verdicts = [
        (finding, label_verdict) for finding, label_verdict in verdicts if finding.label in main
    ]
    if all(label_verdict.word != "leaks" for _, label_verdict in main_verdicts):
        main_verdicts += [
            (finding, label_verdict)
            for finding, label_verdict in verdicts
            if label_verdict.word == "leaks"
        ]
    telling = [
        (finding, label_verdict)
        for finding, label_verdict in main_verdicts
        if _is_judged(label_verdict)
    ]
    if unjudged := _unjudged_beside_held(main_verdicts):
        return unjudged
    main_verdicts = telling or main_verdicts
    if not main_verdicts:
        return Verdict("n/a", "no private label was measured")
    word = min((label_verdict.word for _, label_verdict in main_verdicts), key=WORDS.index)
    worst = [
        (finding, label_verdict)
        for finding, label_verdict in main_verdicts
        if label_verdict.word == word
    ]
    names = ", ".join(_plain(finding) for finding, _ in worst)
    if word == "leaks":
        return Verdict(word, names)
    reasons = list(dict.fromkeys(label_verdict.why for _, label_verdict in worst))
    return Verdict(word, f"{names}: {reasons[0]}" if len(reasons) == 1 else names)


def _unjudged_beside_held(verdicts: Sequence[tuple[LabelResult, Verdict]]) -> Verdict | None:
    """Undecided, where some labels hold and all others could not be judged; None: elsewhere."""
    words = {label_verdict.word for _, label_verdict in verdicts}
    if "held" not in words or not words <= {"held", "n/a", "void"}:
        return None
    return next(
        (
            Verdict("undecided", f"{_plain(finding)}: {label_verdict.why}")
            for finding, label_verdict in verdicts
            if label_verdict.word != "held"
        ),
        None,
    )


def verdict_on_all(row: Row, finding: LabelResult) -> Verdict:
    """The verdict on a label; on who people are, the worst of all columns that say it.

    Undecided where some of these columns hold and the others could not be judged.
    """
    if not is_identity(finding):
        return verdict(row, finding)
    columns = [column for column in row.findings if is_identity(column)]
    verdicts = [verdict(row, column) for column in columns]
    if unjudged := _unjudged_beside_held(list(zip(columns, verdicts, strict=True))):
        return unjudged
    telling = [label_verdict for label_verdict in verdicts if _is_judged(label_verdict)]
    return min(telling or verdicts, key=lambda label_verdict: WORDS.index(label_verdict.word))


def _is_judged(label_verdict: Verdict) -> bool:
    return label_verdict.word not in ("n/a", "void")


def measured_methods(evaluation: Evaluation) -> list[Row]:
    """The rows of methods that were measured, without those in which attackers see a mask alone.

    Such a mask, or its control, shows nobody, so that it would seem the best method of all.
    """
    return [
        row
        for row in evaluation.rows
        if row.method is not None and row.findings and not shows_mask_alone(row.name)
    ]


def headline(evaluation: Evaluation) -> Headline:
    """The result of a whole table in three sentences."""
    if evaluation.void:
        return Headline("These numbers are void.", _sentence(evaluation.void))
    columns = headline_columns(evaluation)
    private = next((column for column in columns if column.use == "private"), None)
    measured = measured_methods(evaluation)
    findings = [
        (row, finding)
        for row in measured
        if private is not None
        and (finding := row.finding(private.label)) is not None
        and finding.score.value is not None  # 0 is a score, too
    ]
    if private is None or not findings:
        return Headline("No method was measured.", "There is nothing to compare.")
    verdicts = [(row, verdict_on_all(row, finding)) for row, finding in findings]
    what = "who people are" if is_identity(private) else f"the {_plain(private)}"
    held = [row.name for row, finding in findings if _is_hidden(row, finding)]
    open_ = [row.name for row, label_verdict in verdicts if label_verdict.word == "undecided"]
    untold = sum(not _is_judged(label_verdict) for _, label_verdict in verdicts)
    if untold == len(verdicts):
        claim = f"Whether any method hides {what} cannot be told from these clips."
    elif held:
        claim = f"{_listed(held)} {_hides(held)} {what} from these attackers."
    elif open_:
        more = "" if len(open_) == len(verdicts) else "; every other method leaks it"
        if untold:
            more = f"; of {untold} other method{'s' * (untold > 1)} it cannot be told"
        claim = f"Whether {_listed(open_)} {_hides(open_)} {what} is undecided{more}."
    else:
        claim = f"No method of this table {'is shown to hide' if untold else 'hides'} {what}."
    detail = _void(private, findings) or _least_read(evaluation, private, findings)
    for column in columns:
        again = is_identity(column) and is_identity(private)  # the claim is of all these columns
        if column.use == "private" and column.label != private.label and not again:
            detail += f" {_hidden_by(measured, column)}"
    return Headline(claim[:1].upper() + claim[1:], detail)


def privacy_value(finding: LabelResult) -> float | None:
    """What f_lambda takes: a score below chance is no protection, as a guess could be turned."""
    value = finding.score.value
    return None if value is None else at_least_chance(value, finding.metric)


def _void(column: LabelResult, findings: Sequence[tuple[Row, LabelResult]]) -> str:
    """Say why a label is void behind all methods; empty: it is not."""
    why = [finding.void for _, finding in findings]
    return _sentence(f"{_plain(column)}: void, because {why[0]}") if why and all(why) else ""


def _least_read(
    evaluation: Evaluation, private: LabelResult, findings: Sequence[tuple[Row, LabelResult]]
) -> str:
    """Say behind which method least is read of a label, and which has the best balance."""
    columns = headline_columns(evaluation)
    # what could not be judged says nothing beside what could
    judged = [(row, finding) for row, finding in findings if _is_judged(verdict(row, finding))]
    findings = judged or [(row, finding) for row, finding in findings if not finding.void]
    # who is found again in other clips is known, though no attacker may name them
    least = min(findings, key=lambda pair: (_is_linked(*pair), _read(pair[1])))
    raw, floor = raw_beside(evaluation, least[1]), floor_value(least[1])
    in_clips = is_identity(private) and private.metric == "top-1"
    show = _hundred if in_clips else number
    unit = " of 100 clips" if in_clips else f" ({private.metric})"
    reads = "an attacker still says who it is in" if in_clips else f"{_plain(private)} are read at"
    beyond = beyond_chosen(*least)
    most = f" ({beyond[0]} {show(beyond[1])})" if beyond else ""
    detail = (
        f"Least is read behind {least[0].name}: {reads} {show(least[1].score.value)}{unit}{most}, "
        f"where a guess has {show(floor)} and raw video {show(raw.value if raw else None)}"
        f"{_action(least[0], columns)}."
    )
    balanced = _best_balance(findings, columns)
    if balanced is not None and balanced[0].name != least[0].name:
        detail += (
            f" The best balance of both is {balanced[0].name}: {show(balanced[1].score.value)}"
            f"{unit}{_action(balanced[0], columns)}."
        )
    return detail


def _is_linked(row: Row, finding: LabelResult) -> bool:
    """Whether a label says who somebody is, and people are surely found again in other clips."""
    return is_identity(finding) and linked_clips(row) is not None


def _read(finding: LabelResult) -> tuple[float, float]:
    """A key to sort scores by; one that is surely below chance counts by its distance above it."""
    value, chance = finding.score.value or 0.0, least_counted(finding.metric)
    if finding.score.high is not None and finding.score.high < chance:
        return 2 * chance - value, value
    return at_least_chance(value, finding.metric), value


def _best_balance(
    findings: Sequence[tuple[Row, LabelResult]], columns: Sequence[LabelResult]
) -> tuple[Row, LabelResult] | None:
    utility = next((column.label for column in columns if column.use == "utility"), None)
    known = []
    for row, finding in findings:
        action = row.finding(utility) if utility is not None else None
        value, private = action.score.value if action else None, privacy_value(finding)
        if value is not None and private is not None:
            known.append((f_lambda(value, private), row, finding))
    best = max(known, key=lambda candidate: candidate[0], default=None)
    return None if best is None else (best[1], best[2])


def _hidden_by(rows: Sequence[Row], column: LabelResult) -> str:
    findings = [
        (row, finding) for row in rows if (finding := row.finding(column.label)) is not None
    ]
    if void := _void(column, findings):
        return void
    held = [row.name for row, finding in findings if _is_hidden(row, finding)]
    if held:
        return _sentence(f"{_plain(column)}: hidden by {_listed(held)}")
    return _sentence(f"{_plain(column)}: no method is shown to hide this")


def _is_hidden(row: Row, finding: LabelResult) -> bool:
    """Whether a label holds; of who somebody is, in all columns of people."""
    return verdict_on_all(row, finding).word == "held"


def _is_attribute(finding: LabelResult) -> bool:
    return finding.use == "private" and not is_identity(finding)


def _plain(finding: LabelResult) -> str:
    return title_of(finding).replace("Who", "who") if is_identity(finding) else finding.label


def _hides(names: Sequence[str]) -> str:
    return "hides" if len(names) == 1 else "hide"


def _action(row: Row, columns: Sequence[LabelResult]) -> str:
    utility = next((column for column in columns if column.use == "utility"), None)
    finding = None if utility is None else row.finding(utility.label)
    if utility is None or finding is None or finding.score.value is None:
        return ""
    raw = _hundred(utility.score.value)
    value = _hundred(finding.score.value)
    return f"; the action is recognized in {value} of 100 (raw video: {raw})"


def _hundred(value: float | None) -> str:
    # rounded as `number` rounds what stands in the table below
    return "n/a" if value is None else f"{100 * round(value, 2):.0f}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} other methods"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
