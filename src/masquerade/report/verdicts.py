"""What an evaluation says in words: a verdict for each label and method, and one sentence on top.

Held, undecided and leaks follow from the results alone; nothing is measured here.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

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


def is_identity(found: LabelResult) -> bool:
    """Whether a label says who somebody is."""
    return found.use == "private" and found.protocol == SAME


def title_of(found: LabelResult) -> str:
    """A label's name for people who do not know the manifest's columns."""
    if found.use == "utility":
        return "Action kept"
    if is_identity(found):
        # of several columns of people each has its own name
        return "Who it is" if found.label == "identity" else f"Who it is ({found.label})"
    return "Attributes" if found.label == MEAN else found.label


def headline_columns(evaluation: Evaluation) -> list[LabelResult]:
    """The numbers that matter first: the action, who it is, and the mean of the attributes.

    Where there is no such mean, all attributes of the main table.
    """
    columns = main_columns(evaluation)
    means = [one for one in columns if one.label == MEAN]
    attributes = means or [one for one in columns if _is_attribute(one)]
    action = [one for one in columns if one.use == "utility"]
    return [*action, *(one for one in columns if is_identity(one)), *attributes]


def other_columns(evaluation: Evaluation) -> list[LabelResult]:
    """All labels that are not in the headline."""
    first = headline_columns(evaluation)
    return [one for one in all_columns(evaluation) if one not in first]


def best_floor(found: LabelResult) -> tuple[str, Score] | None:
    """The trivial attacker that scores highest, and its score."""
    known = [(name, one) for name, one in found.floors.items() if one.value is not None]
    return max(known, key=lambda pair: pair[1].value or 0.0, default=None)


def floor_value(found: LabelResult | None) -> float | None:
    """The score of the best trivial attacker."""
    best = None if found is None else best_floor(found)
    return None if best is None else best[1].value


def raw_score(evaluation: Evaluation, label: str) -> Score | None:
    """What attackers read from raw video."""
    raw = next((row for row in evaluation.rows if row.method is None and row.findings), None)
    found = None if raw is None else raw.finding(label)
    return None if found is None else found.score


def raw_beside(evaluation: Evaluation, found: LabelResult) -> Score | None:
    """What attackers read from raw video of the clips that a method has, which may be fewer."""
    raw = None if found.leakage is None else found.leakage.raw
    return raw_score(evaluation, found.label) if raw is None or raw.value is None else raw


def highest(found: LabelResult) -> float | None:
    """The highest score on test of all attackers that count, whom nobody could have chosen
    beforehand."""
    every = [one.test.value for one in found.attacks if one.counts]
    known = [value for value in every if value is not None]
    return max(known, default=None)


def beyond_chosen(row: Row, found: LabelResult) -> tuple[str, float] | None:
    """How far others than the chosen attackers may get: `at most` so far, or else, where results
    have no intervals that hold for all attackers at once, the `highest` score."""
    most, top = highest_upper_end(row, found), highest(found)
    if most is not None:
        return "at most", most
    if row.method is None or found.use != "private" or top is None:
        return None
    return ("highest", top) if top > (found.score.value or 0.0) else None


def held_below(found: LabelResult) -> float | None:
    """What every upper end must be below to count as held; None: raw video does not show it."""
    leaked = found.leakage
    if leaked is None or leaked.value is None:
        return None
    floor, raw = leaked.floor.value, leaked.raw.value
    return None if floor is None or raw is None else held_limit(floor, raw)


def verdict(row: Row, found: LabelResult, *, void: str | None = None) -> Verdict:
    """Return whether a method hides a private label; `void`: why the evaluation is void, if so.

    A mean over attributes does not hold where a single one of them leaks.
    """
    said = _own_verdict(row, found, void)
    if said.word != "held" or found.label not in (MEAN, mean_name(found.metric)):
        return said
    others = [
        one
        for one in row.findings
        if one.metric == "AUROC" and one.use == "private" and one.label != MEAN
    ]
    leaking = [one.label for one in others if _own_verdict(row, one, void).word == "leaks"]
    if not leaking:
        return said
    return Verdict("leaks", f"of single attributes {', '.join(leaking)} can be read")


def _own_verdict(row: Row, found: LabelResult, void: str | None) -> Verdict:
    """The verdict on a label by its own numbers, of a mean without a look at its attributes."""
    why = found.void or void
    if why:
        return Verdict("void", why)
    leaked, limit, floor = found.leakage, held_below(found), floor_value(found)
    if leaked is None or floor is None:
        return Verdict("n/a", NOT_SHOWN)
    surely = [one for one in _at_once(found) if (one.low or 0.0) > floor]
    if leaked.value is None or limit is None:
        if (leaked.raw.low or 0.0) <= floor:
            return Verdict("n/a", NOT_SHOWN)
        few = "how much is left of what raw video shows cannot be told from so few clips"
        return _leaks(surely, floor) if surely else Verdict("undecided", few)
    if found.pooled_leaks and found.pooled is not None:
        told = f"{number(found.pooled.value)} is read from all clips of a person together"
        return Verdict("leaks", f"{told}, where a guess has {number(found.pooled_floor)}")
    doubted = bool(leaked.protects) or bool(found.undecided)
    if not doubted and (surely or (leaked.low or 0.0) > 0):
        return _leaks(surely or [found.score], floor)
    linked = linked_clips(row) if is_identity(found) else None
    if linked is not None:
        told = f"of {number(linked.value)} of {linked.probe} the most similar other one"
        told += " shows the same"
        return Verdict("leaks", f"{told}, where a guess has {number(linked.guess)}")
    if leaked.protects and found.highest_score is None:
        return Verdict("undecided", "an earlier version did not look at all attackers at once")
    if leaked.protects:
        return Verdict("held", f"no attacker's upper end is above {number(limit)}")
    if found.undecided:
        return Verdict("undecided", found.undecided)
    most = highest_upper_end(row, found)
    if row.runs > 1 and most is not None and most <= limit:
        return Verdict(
            "undecided",
            f"as much as {number(most)} may be read in the mean of {row.runs} training runs, but "
            f"in one of them more than {number(limit)}, which would count as held",
        )
    return Verdict(
        "undecided",
        f"no attacker is surely above a guess ({number(floor)}), but as much as {number(most)} may "
        f"be read, and {number(limit)} would count as held: more clips would tell",
    )


def _at_once(found: LabelResult) -> list[Score]:
    """What attackers read, by intervals that hold for all of them at once, and the chosen one's."""
    if found.highest_score is None:  # of an earlier version, whose other intervals hold alone
        return [found.score]
    return [found.score, found.highest_score, *(one.test for one in found.attacks if one.counts)]


def _leaks(read: Sequence[Score], floor: float) -> Verdict:
    """The verdict on a label which some attackers read surely above a guess."""
    most = max(one.value or 0.0 for one in read)
    return Verdict("leaks", f"{number(most)} is read where a guess has {number(floor)}")


def row_verdict(row: Row, columns: Sequence[LabelResult], *, void: str | None = None) -> Verdict:
    """Return the worst verdict of a method over its private labels, and the labels that have it.

    A single attribute that leaks counts too, though a mean over them all may hold; and nothing is
    held where one of `columns` could not be judged. `void` says why the whole evaluation is void.
    """
    if row.not_applicable:
        return Verdict("n/a", row.not_applicable)
    main = {one.label for one in columns if one.use == "private"}
    found = [one for one in row.findings if one.use == "private"]
    every = [(one, _own_verdict(row, one, void)) for one in found]  # names single attributes
    each = [(one, said) for one, said in every if one.label in main]
    if all(said.word != "leaks" for _, said in each):
        each += [(one, said) for one, said in every if said.word == "leaks"]
    telling = [(one, said) for one, said in each if said.word in ("leaks", "undecided", "held")]
    unjudged = [(one, said) for one, said in each if said.word in ("n/a", "void")]
    if unjudged and telling and all(said.word == "held" for _, said in telling):
        (one, said), *_ = unjudged
        return Verdict("undecided", f"{_plain(one)}: {said.why}")
    each = telling or each
    if not each:
        return Verdict("n/a", "no private label was measured")
    word = min((said.word for _, said in each), key=WORDS.index)
    mine = [(one, said) for one, said in each if said.word == word]
    names = ", ".join(_plain(one) for one, _ in mine)
    if word == "leaks":
        return Verdict(word, names)
    reasons = list(dict.fromkeys(said.why for _, said in mine))
    return Verdict(word, f"{names}: {reasons[0]}" if len(reasons) == 1 else names)


def verdict_on_all(row: Row, found: LabelResult) -> Verdict:
    """The worst verdict of a row's columns of people, or another label's own verdict."""
    if not is_identity(found):
        return verdict(row, found)
    said = [verdict(row, one) for one in row.findings if is_identity(one)]
    telling = [one for one in said if one.word in ("leaks", "undecided", "held")]
    return min(telling or said, key=lambda one: WORDS.index(one.word))


def headline(evaluation: Evaluation) -> Headline:
    """The result of a whole table in three sentences."""
    if evaluation.void:
        return Headline("These numbers are void.", _sentence(evaluation.void))
    columns = headline_columns(evaluation)
    private = next((one for one in columns if one.use == "private"), None)
    measured = [row for row in evaluation.rows if row.method is not None and row.findings]
    found = [
        (row, one)
        for row in measured
        if private is not None
        and (one := row.finding(private.label)) is not None
        and one.score.value is not None  # 0 is a score, too
    ]
    if private is None or not found:
        return Headline("No method was measured.", "There is nothing to compare.")
    said = [(row, verdict_on_all(row, one)) for row, one in found]
    what = "who people are" if is_identity(private) else f"the {_plain(private)}"
    held = [row.name for row, one in found if _is_hidden(row, one)]
    open_ = [row.name for row, one in said if one.word == "undecided"]
    if all(one.word in ("n/a", "void") for _, one in said):
        claim = f"Whether any method hides {what} cannot be told from these clips."
    elif held:
        claim = f"{_listed(held)} {_hides(held)} {what} from these attackers."
    elif open_:
        more = "" if len(open_) == len(said) else "; every other method leaks it"
        claim = f"Whether {_listed(open_)} {_hides(open_)} {what} is undecided{more}."
    else:
        claim = f"No method of this table hides {what}."
    detail = _void(private, found) or _least_read(evaluation, private, found)
    for one in columns:
        again = is_identity(one) and is_identity(private)  # the claim is of all these columns
        if one.use == "private" and one.label != private.label and not again:
            detail += f" {_hidden_by(measured, one)}"
    return Headline(claim[:1].upper() + claim[1:], detail)


def privacy_value(found: LabelResult) -> float | None:
    """What f_lambda takes: a score below chance is no protection, as a guess could be turned."""
    value = found.score.value
    return None if value is None else at_least_chance(value, found.metric)


def _void(column: LabelResult, found: Sequence[tuple[Row, LabelResult]]) -> str:
    """Say why a label is void behind all methods; empty: it is not."""
    why = [one.void for _, one in found]
    return _sentence(f"{_plain(column)}: void, because {why[0]}") if why and all(why) else ""


def _least_read(
    evaluation: Evaluation, private: LabelResult, found: Sequence[tuple[Row, LabelResult]]
) -> str:
    """Say behind which method least is read of a label, and which has the best balance."""
    columns = headline_columns(evaluation)
    found = [(row, one) for row, one in found if not one.void]
    # who is found again in other clips is known, though no attacker may name them
    least = min(found, key=lambda pair: (_is_linked(*pair), _read(pair[1])))
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
    balanced = _best_balance(found, columns)
    if balanced is not None and balanced[0].name != least[0].name:
        detail += (
            f" The best balance of both is {balanced[0].name}: {show(balanced[1].score.value)}"
            f"{unit}{_action(balanced[0], columns)}."
        )
    return detail


def _is_linked(row: Row, found: LabelResult) -> bool:
    """Whether a label says who somebody is, and people are surely found again in other clips."""
    return is_identity(found) and linked_clips(row) is not None


def _read(found: LabelResult) -> tuple[float, float]:
    """A key to sort scores by; one that is surely below chance counts by its distance above it."""
    value, chance = found.score.value or 0.0, least_counted(found.metric)
    if found.score.high is not None and found.score.high < chance:
        return 2 * chance - value, value
    return at_least_chance(value, found.metric), value


def _best_balance(
    found: Sequence[tuple[Row, LabelResult]], columns: Sequence[LabelResult]
) -> tuple[Row, LabelResult] | None:
    utility = next((one.label for one in columns if one.use == "utility"), None)
    known = []
    for row, one in found:
        action = row.finding(utility) if utility is not None else None
        value, private = action.score.value if action else None, privacy_value(one)
        if value is not None and private is not None:
            known.append((f_lambda(value, private), row, one))
    best = max(known, key=lambda three: three[0], default=None)
    return None if best is None else (best[1], best[2])


def _hidden_by(rows: Sequence[Row], column: LabelResult) -> str:
    found = [(row, one) for row in rows if (one := row.finding(column.label)) is not None]
    if void := _void(column, found):
        return void
    held = [row.name for row, one in found if _is_hidden(row, one)]
    if held:
        return _sentence(f"{_plain(column)}: hidden by {_listed(held)}")
    return _sentence(f"{_plain(column)}: no method is shown to hide this")


def _is_hidden(row: Row, found: LabelResult) -> bool:
    """Whether a label holds; of who somebody is, in all columns of people."""
    return verdict_on_all(row, found).word == "held"


def _is_attribute(found: LabelResult) -> bool:
    return found.use == "private" and not is_identity(found)


def _plain(found: LabelResult) -> str:
    return title_of(found).replace("Who", "who") if is_identity(found) else found.label


def _hides(names: Sequence[str]) -> str:
    return "hides" if len(names) == 1 else "hide"


def _action(row: Row, columns: Sequence[LabelResult]) -> str:
    utility = next((one for one in columns if one.use == "utility"), None)
    found = None if utility is None else row.finding(utility.label)
    if utility is None or found is None or found.score.value is None:
        return ""
    raw = _hundred(utility.score.value)
    value = _hundred(found.score.value)
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
