"""The results of an evaluation: frozen dataclasses that turn into JSON and back.

Tables, figures and pages read this JSON and compute nothing. None is undefined or not applicable,
never 0. All scores lie in [0, 1]; in private labels more is worse for privacy.
"""

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from masquerade.errors import UsageError
from masquerade.metrics.intervals import Score
from masquerade.metrics.leakage import Leakage, exceeds_held_limit
from masquerade.pipeline.coverage import DatasetCoverage
from masquerade.text import readable

SCHEMA = "masquerade-evaluation/2"
T = TypeVar("T")
ROUNDING = 0.0005  # of PSNR, in decibels, and SSIM, below which two are the same


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attacker on one label; predictions are averaged over seeds."""

    family: str  # in ATTACKERS, such as scratch
    name: str  # of the attacker, such as `scratch tiny-3d`
    validation: float | None  # its score on validation, the only thing it may be chosen by
    test: Score  # its score on test
    # standard deviation of the test score over single seeds; None for one seed
    seed_sd: float | None
    # whether its score counts against a method; on traits of people, not that of an attacker who
    # sees only the background
    counts: bool = field(default=True, metadata={"left out": True})


Reads = Literal["clips", "stills"]
"""What networks read: whole clips, or a few single frames."""


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """f_lambda of the action and one private label, both as the same attackers read them."""

    weight: float = field(metadata={"json": "lambda"})  # of privacy, 0 to 1
    score: Score  # (1 - weight) action + weight (1 - private label)


@dataclass(frozen=True, kw_only=True)
class NetworkMean:
    """The mean score of several networks on one label, none of which is chosen."""

    family: str  # in ATTACKERS; Ilic et al.'s are trained on raw video alone: raw
    reads: Reads
    networks: tuple[str, ...]  # their names
    score: Score
    # of a private label: with the mean of the same family's networks of clips on the action
    trade_offs: tuple[TradeOff, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """The result of one label under one method."""

    # a column of the manifest, or `attributes` for the mean over the binary ones, or `attributes
    # by cMAP` for their mean in a metric that was asked for
    label: str
    use: str  # `utility` (the action, to be kept) or `private` (to be hidden)
    metric: str  # `top-1`, `AUROC`, `cMAP`, `F1`, or `F1 above .62`, the threshold of SPAct's code
    protocol: str  # `people unseen` or `same people`
    floors: Mapping[str, Score]  # the trivial attackers by name
    attacks: tuple[Attack, ...]  # every attacker that was run
    strongest: str  # the name of the one that the most test folds chose
    score: Score  # on test of those that were chosen; its interval is of that choice alone
    leakage: Leakage | None  # of private labels: beyond the best floor, 0 there and 1 on raw video
    # of private labels: how far the attacker that also knows the action lies above the one that
    # knows only the action
    beyond_action: Score | None
    # the best attacker that was trained on anonymized video (by validation) less the one trained
    # on raw video alone
    retrained_gain: Score | None
    retrained_holds: bool | None  # whether the first is at least as strong within the interval
    f_half: float | None  # of private labels: f at lambda .5 with the action's score
    void: str | None  # why these numbers are void; None: they are not
    # by test fold the names of those whose predictions are averaged, chosen on validation clips
    # that are not in it, the strongest first
    chosen: tuple[tuple[str, ...], ...] = field(default=(), metadata={"json": "together"})
    # the attacker with the highest score on test, which nobody could have known before, and that
    # score; its interval, as those of all attacks, is wide enough for all of them at once
    highest: str = ""
    highest_score: Score | None = None
    runs_sd: float | None = None  # standard deviation of the score over training runs
    # the score where attackers know which test clips show one person; None: each shows another
    pooled: Score | None = None
    pooled_floor: float | None = None  # of the best guess there, from all that a person does
    undecided: str | None = None  # why a leakage within a tenth does not count as held
    means: tuple[NetworkMean, ...] = ()  # over networks, by family; none: they were not asked for
    # of private labels: f_lambda at each weight that was asked for
    trade_offs: tuple[TradeOff, ...] = ()

    @property
    def pooled_leaks(self) -> bool:
        """Whether all clips of a person, pooled, surely reveal more than may count as held.

        What hardly shows in one may show in many, and who has a folder of somebody's has them.
        """
        raw = None if self.leakage is None else self.leakage.raw.value
        return exceeds_held_limit(self.pooled, self.pooled_floor, raw)

    def best(self, family: str) -> Attack | None:
        """The attacker of a family with the best score on validation; None: there is none."""
        return best_on_validation([attack for attack in self.attacks if attack.family == family])


def best_on_validation(attacks: Sequence[Attack]) -> Attack | None:
    """The attacker with the best score on validation clips; None: there is none."""
    scores = [-1.0 if attack.validation is None else attack.validation for attack in attacks]
    return attacks[scores.index(max(scores))] if attacks else None


@dataclass(frozen=True, kw_only=True)
class PosesSeen:
    """How much of a method's output attackers that see poses only could read."""

    content: str  # `poses` that networks found in the output, or `joints` as the method draws them
    seen: int  # sampled frames with somebody in them
    frames: int  # sampled frames in all
    left_out: str | None = None  # why they were not attacked; None: they were


Gallery = Literal["anonymized", "raw"]
"""Among which clips a person is looked for: other published ones, or raw ones of known people."""


@dataclass(frozen=True, kw_only=True)
class ReidentificationAttack:
    """One feature by which clips are compared."""

    name: str  # `colours`, or `all features` together
    validation: float | None  # its linkage AUC on training people, by which it may be chosen
    linkage: Score  # its linkage AUC on test
    rank_1: Score  # on test, of an interval wide enough for all features at once


@dataclass(frozen=True, kw_only=True)
class Reidentification:
    """How well clips of one person are found by another, of people who are in no training clip."""

    gallery: Gallery
    not_applicable: str | None = None  # why it was not measured; None: it was
    people: int = 0  # or pairs, who are held out together
    probes: int = 0  # clips, each of which is looked for among all others of its fold
    chosen: tuple[str, ...] = ()  # the feature by run and test fold, chosen on training people
    scores: Mapping[str, Score] = field(default_factory=dict)  # `rank-1` and others by name
    floors: Mapping[str, float | None] = field(default_factory=dict)  # a guess's, of the same names
    # the feature with the highest rank-1 on test, which nobody could have known before
    highest: str = ""
    highest_score: Score | None = None  # its interval is wide enough for all features at once
    attacks: tuple[ReidentificationAttack, ...] = ()  # every feature


@dataclass(frozen=True, kw_only=True)
class Restored:
    """How near an attacker comes to the raw picture, on test clips of the first protocol.

    PSNR is in decibels (60 where nothing differs), SSIM at most 1; both are means over clips.
    """

    attacker: str  # `network`, which learned from pairs; `noise known`, `noise guessed`
    published_psnr: Score  # of the anonymized clips against the raw ones
    psnr: Score  # of what the attacker made of them
    gained_psnr: Score  # the second less the first, clip by clip
    published_ssim: Score
    ssim: Score

    @property
    def restored_nothing(self) -> bool:
        """Whether the attacker gave back what it was given, to within rounding."""
        pairs = ((self.published_psnr, self.psnr), (self.published_ssim, self.ssim))
        return all(
            a is not None and b is not None and abs(a - b) < ROUNDING
            for published, restored in pairs
            for a, b in zip(_numbers(published), _numbers(restored), strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method, or raw video."""

    name: str  # as the table calls it
    method: str | None  # its name in METHODS; None: raw video
    arguments: Mapping[str, Any]  # of its constructor
    regions: str  # what was hidden
    not_applicable: str | None  # why it was not run; None: it was
    clips: int  # how many were scored
    skipped: Mapping[str, str]  # clips that could not be read, and why
    # of the attackers' fits, over all processes, also of those that were cached
    cpu_seconds: float
    findings: tuple[LabelResult, ...]  # one a label
    runs: int = 1  # anonymizers trained alike but for their seed, over which scores are averaged
    coverage: DatasetCoverage | None = None  # how much of the videos was hidden; None: raw video
    poses: tuple[PosesSeen, ...] = ()  # what attackers of poses saw; none: they were not run
    restored: tuple[Restored, ...] = ()  # of attackers that restore the picture
    unrestored: str | None = None  # why no attacker restored the picture; None: nothing hindered it
    # across clips of unseen people, among published and among raw clips; none: not measured
    reidentification: tuple[Reidentification, ...] = ()

    def finding(self, label: str) -> LabelResult | None:
        """The result of a label; None: it was not measured."""
        return next((finding for finding in self.findings if finding.label == label), None)


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control of the evaluation itself."""

    # `positive` (the attacker succeeds on raw video), `poses` (so do attackers of poses alone),
    # `only motion` and so on (so do attackers of one channel of a video alone),
    # `negative` (it is at chance where labels were shuffled), `clip size` or `clip size and length`
    # (what those alone tell)
    kind: str
    label: str  # as in LabelResult
    score: Score  # of the attacker
    floor: float  # the best trivial attacker's value, or chance
    passed: bool | None  # None where there is nothing to pass, as for clip sizes


@dataclass(frozen=True, kw_only=True)
class NetworkSampling:
    """How the clips of one network were sampled, which has a sampling of its own."""

    attacker: str  # its name in the preset
    frames: int  # of a clip
    stride: int | None  # source frames from one to the next; None: spread over the whole video
    height: int  # in pixels
    width: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A whole table."""

    schema: str  # of this JSON
    data: str  # name of the dataset
    command: str  # that made it
    preset: str  # of the recognizers
    folds: int  # of the cross-validation; 0: the manifest's own splits
    seeds: int  # networks of each kind, differing in their seed
    attackers: tuple[str, ...]  # the families in ATTACKERS that were run
    through_file: bool  # whether attackers saw exported, re-decoded files
    controls: tuple[Control, ...]  # of the evaluation itself, on raw video
    void: str | None  # why nothing of it is valid; None: it is
    limits: tuple[str, ...]  # of the data, to stand under every table
    rows: tuple[Row, ...]  # raw video first
    # what the table calls those who are held out together: people, pairs, takes, groups, source
    # videos or clips
    held_out: str = "people"
    # of networks that have clips of their own; none: all see the preset's, and JSON has no such key
    sampling: tuple[NetworkSampling, ...] = field(default=(), metadata={"left out": ()})

    def to_json(self) -> str:
        """The evaluation as JSON; bytes of names that are no UTF-8 are escaped."""
        return readable(json.dumps(self, default=_plain, indent=1, ensure_ascii=False))


def command_of_results(folder: Path) -> str | None:
    """The command whose results lie in a folder, "" of a script; None: there are none to read."""
    try:
        results = json.loads((folder / "results.json").read_text("utf-8"))
        return str(results["command"] or "")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def from_json(text: str) -> Evaluation:
    """Read the evaluation that `to_json` wrote; anything else is refused with a UsageError."""
    try:
        plain = json.loads(text)
        schema = plain.get("schema")
        if schema != SCHEMA:
            earlier = str(schema).startswith(SCHEMA.partition("/")[0])
            raise UsageError(
                f"This is {f'a {schema} file of another version' if earlier else 'no result'}, and "
                f"{SCHEMA} is wanted; make it anew with `masquerade evaluate -o`."
            )
        return _as(Evaluation, plain)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"This is no result of `masquerade evaluate`: {error}.") from error


def _numbers(score: Score) -> tuple[float | None, float | None, float | None]:
    return score.value, score.low, score.high


def _key(item: Field[Any]) -> str:
    """The key of a field in JSON: its name, or the one that earlier results have for it."""
    return item.metadata.get("json", item.name)


def _has_default(item: Field[Any]) -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _plain(instance: Any) -> dict[str, Any]:
    pairs = ((item, getattr(instance, item.name)) for item in fields(instance))
    return {
        _key(item): value
        for item, value in pairs
        if "left out" not in item.metadata or value != item.metadata["left out"]
    }


def _as(kind: type[T], plain: Mapping[str, Any]) -> T:
    hints = get_type_hints(kind)
    items = fields(kind)  # type: ignore[arg-type]
    present = [item for item in items if _key(item) in plain or not _has_default(item)]
    return kind(**{item.name: _value(hints[item.name], plain[_key(item)]) for item in present})


def _value(hint: Any, plain: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        rest = [member for member in inner if member is not type(None)]
        return None if plain is None else _value(rest[0], plain)
    if origin is tuple:
        return tuple(_value(inner[0], item) for item in plain)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _value(inner[1], item) for key, item in plain.items()}
    return _as(hint, plain) if is_dataclass(hint) and isinstance(hint, type) else plain
