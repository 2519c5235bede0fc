"""The results of an evaluation: frozen dataclasses that turn into JSON and back.

Tables, figures and pages read this JSON and compute nothing. None is undefined or not applicable,
never 0. All scores lie in [0, 1]; in private labels more is worse for privacy.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from masquerade.errors import UsageError
from masquerade.metrics.intervals import Score
from masquerade.metrics.leakage import Leakage

SCHEMA = "masquerade-evaluation/2"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attacker on one label; predictions are averaged over seeds.

    Args:
        family: in ATTACKERS, such as scratch.
        name: of the attacker, such as `scratch tiny-3d`.
        validation: its score on validation, the only thing it may be chosen by.
        test: its score on test.
        seed_sd: standard deviation of the test score over single seeds; None for one seed.
    """

    family: str
    name: str
    validation: float | None
    test: Score
    seed_sd: float | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one label under one method.

    Args:
        label: a column of the manifest, or `attributes` for the mean over the binary ones, or
            `attributes by cMAP` for their mean in a metric that was asked for.
        use: `utility` (the action, to be kept) or `private` (to be hidden).
        metric: `top-1`, `AUROC`, `cMAP`, `F1`, or `F1 above .62`, the threshold of SPAct's code.
        protocol: `people unseen` or `same people`.
        floors: the trivial attackers by name.
        attacks: every attacker that was run.
        strongest: the name of the one with the best score on validation; None: none was run.
        score: its score on test.
        leakage: of private labels: beyond the best floor, 0 there and 1 on raw video.
        beyond_action: of private labels: how far the attacker who also knows the action lies above
            the one who knows only the action.
        retrained_gain: the best attacker that was trained on anonymized video (by validation) less
            the one trained on raw video alone.
        retrained_holds: whether the first is at least as strong within the interval.
        f_half: of private labels: f at lambda .5 with the action's score.
        void: why these numbers are void; None: they are not.
    """

    label: str
    use: str
    metric: str
    protocol: str
    floors: Mapping[str, Score]
    attacks: tuple[Attack, ...]
    strongest: str | None
    score: Score | None
    leakage: Leakage | None
    beyond_action: Score | None
    retrained_gain: Score | None
    retrained_holds: bool | None
    f_half: float | None
    void: str | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method, or raw video.

    Args:
        name: as the table calls it.
        method: its name in METHODS; None: raw video.
        arguments: of its constructor.
        regions: what was hidden.
        not_applicable: why it was not run; None: it was.
        clips: how many were scored.
        skipped: clips that could not be read, and why.
        cpu_seconds: of the attackers, over all processes; also of fits that were cached.
        findings: one a label.
        runs: anonymizers trained alike but for their seed, over which scores are averaged.
    """

    name: str
    method: str | None
    arguments: Mapping[str, Any]
    regions: str
    not_applicable: str | None
    clips: int
    skipped: Mapping[str, str]
    cpu_seconds: float
    findings: tuple[Finding, ...]
    runs: int = 1

    def finding(self, label: str) -> Finding | None:
        """The result of a label; None: it was not measured."""
        return next((found for found in self.findings if found.label == label), None)


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control of the evaluation itself.

    Args:
        kind: `positive` (the attacker succeeds on raw video), or `negative` (it is at chance where
            labels were shuffled), `clip size` or `clip size and length` (what those alone tell).
        label: as in Finding.
        score: of the attacker.
        floor: the best trivial attacker's value, or chance.
        passed: None where there is nothing to pass, as for clip sizes.
    """

    kind: str
    label: str
    score: Score
    floor: float
    passed: bool | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A whole table.

    Args:
        schema: of this JSON.
        data: name of the dataset.
        command: that made it.
        preset: of the recognizers.
        folds: of the cross-validation; 0: the manifest's own splits.
        seeds: networks of each kind, differing in their seed.
        attackers: the families in ATTACKERS that were run.
        through_file: whether attackers saw exported, re-decoded files.
        controls: of the evaluation itself, on raw video.
        void: why nothing of it is valid; None: it is.
        limits: of the data, to stand under every table.
        rows: raw video first.
    """

    schema: str
    data: str
    command: str
    preset: str
    folds: int
    seeds: int
    attackers: tuple[str, ...]
    through_file: bool
    controls: tuple[Control, ...]
    void: str | None
    limits: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> str:
        """The evaluation as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def from_json(text: str) -> Evaluation:
    """The evaluation that `to_json` wrote.

    Raises:
        UsageError: it is something else.
    """
    try:
        plain = json.loads(text)
        found = plain.get("schema")
        if found != SCHEMA:
            earlier = str(found).startswith(SCHEMA.partition("/")[0])
            raise UsageError(
                f"This is {f'a {found} file of another version' if earlier else 'no result'}, and "
                f"{SCHEMA} is wanted; make it anew with `masquerade evaluate -o`."
            )
        return _as(Evaluation, plain)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"This is no result of `masquerade evaluate`: {error}.") from error


def _as(kind: type[T], plain: Mapping[str, Any]) -> T:
    hints = get_type_hints(kind)
    every = fields(kind)  # type: ignore[arg-type]
    names = [one.name for one in every if one.name in plain or one.default is MISSING]
    return kind(**{name: _value(hints[name], plain[name]) for name in names})


def _value(hint: Any, plain: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        rest = [one for one in inner if one is not type(None)]
        return None if plain is None else _value(rest[0], plain)
    if origin is tuple:
        return tuple(_value(inner[0], one) for one in plain)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _value(inner[1], one) for key, one in plain.items()}
    return _as(hint, plain) if is_dataclass(hint) and isinstance(hint, type) else plain
