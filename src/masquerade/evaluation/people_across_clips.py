"""Re-identify the people of every row of a table across their clips."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attackers import Fit
from masquerade.evaluation.config import EvaluatedMethod
from masquerade.evaluation.evaluated_clips import RAW, AttackedMethod, EvaluatedClips
from masquerade.evaluation.fit_predict import kernel_clips
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.kernel_ridge import extract_features
from masquerade.evaluation.presets import AttackerModel
from masquerade.evaluation.protocols import SAME, source_files
from masquerade.evaluation.reidentification import (
    MULTI,
    RANK,
    Comparison,
    Features,
    against_raw,
    by_row,
    compare_people,
    reidentify,
)
from masquerade.evaluation.results import LabelResult, Reidentification, Row
from masquerade.metrics.leakage import exceeds_held_limit, held_limit


def revise_identity_verdicts(row: Row, why: str = "its clips were not compared") -> Row:
    """Make verdicts on identity agree with re-identification across clips.

    Surely re-identified: it leaks. Perhaps, or not compared (`why`): `held` becomes undecided.
    """
    if any(map(_surely_found, row.reidentification)):
        return replace(row, findings=tuple(map(_leaking, row.findings)))
    found = [one.not_applicable or _doubt_found(one) for one in row.reidentification] or [why]
    reason = next(filter(None, found), None)
    if reason is None:
        return row
    undecided = f"whether clips of one person are found among others is not known: {reason}"
    findings = tuple(
        replace(one, leakage=replace(one.leakage, protects=None), undecided=undecided)
        if one.protocol == SAME and one.leakage is not None and one.leakage.protects
        else one
        for one in row.findings
    )
    return replace(row, findings=findings)


def _surely_found(one: Reidentification) -> bool:
    """Whether people are surely found again, by one clip or by several pooled."""
    names = (RANK, MULTI)
    return any(exceeds_held_limit(one.scores.get(n), one.floors.get(n), 1.0) for n in names)


def _leaking(one: LabelResult) -> LabelResult:
    """Return a finding as leaking, if it is of identity and was held or undecided."""
    if one.protocol != SAME or one.leakage is None:
        return one
    if not one.leakage.protects and one.undecided is None:
        return one
    return replace(one, leakage=replace(one.leakage, protects=False), undecided=None)


def _doubt_found(one: Reidentification) -> str | None:
    """Return why people may be found again, so that identity is not `held`; None: they are not.

    Upper ends count: of one clip by every feature, of several pooled by the chosen ones.
    """
    for name, probe in ((RANK, ""), (MULTI, " to several of one person")):
        rank, guess = one.scores.get(name), one.floors.get(name)
        if rank is None or rank.value is None or guess is None:
            return f"nothing is known of the most similar clip{probe}"
        every = (rank, one.highest_score) if name == RANK else (rank,)
        ends = [each.high for each in every if each is not None]
        known = [end for end in ends if end is not None]
        if len(known) < len(ends) or max(known) > held_limit(guess, 1.0):
            most = "more" if len(known) < len(ends) else f"{max(known):.2f}"
            return (
                f"the most similar one{probe} may show the same in {most}, where a guess has "
                f"{guess:.2f}"
            )
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class PeopleAcrossClips:
    """What all rows of a table share when their people are compared."""

    clips: EvaluatedClips
    truth: GroundTruth
    models: Mapping[str, AttackerModel]
    fits: Callable[[EvaluatedMethod], Sequence[Fit]]  # the attackers of a row

    def reidentify(
        self, attacked: Sequence[AttackedMethod], rows: Sequence[Row]
    ) -> tuple[tuple[Row, ...], str | None]:
        """Add to each row of a table how well its people are found again in their other clips.

        The first row is of raw video. Beside the rows stands why this was left out, or None where
        it was not, or was not asked for. Where it was left out, nobody is said to be hidden.
        """
        config, manifest = self.clips.config, self.clips.manifest
        identity = [c.name for c in manifest.of_role("attribute") if c.kind == "identity"]
        asked = config.labels is None or set(identity) & set(config.labels)
        if not identity or not config.reidentification or not asked:
            left_out = "re-identification was left out"
            return tuple(revise_identity_verdicts(row, left_out) for row in rows), None
        there = [one.clips.rows for one in attacked if one.clips is not None]
        clips = reduce(np.intersect1d, there)
        comparison, why = compare_people(
            self.truth, source_files(manifest), clips, seed=config.seed
        )
        raw = self._features(attacked[0], None, clips) if comparison else {}
        if comparison is None or not raw:
            why = why or "the attackers that were asked for have no features to compare clips by"
            doubted = tuple(revise_identity_verdicts(row, why) for row in rows)
            return doubted, f"Re-identification across clips is left out: {why}."
        found: list[Row] = []
        for one, row in zip(attacked, rows, strict=True):
            if self.clips.progress:
                what = "finding people again in other clips"
                self.clips.progress(what, len(found), len(rows))
            again = self._reidentify(one, comparison, raw, clips)
            found.append(replace(row, reidentification=again))
        return tuple(map(revise_identity_verdicts, against_raw(found))), None

    def _reidentify(
        self, attacked: AttackedMethod, comparison: Comparison, raw: Features, clips: IntArray
    ) -> tuple[Reidentification, ...]:
        method, folds = attacked.method, len(comparison.folds)
        if attacked.clips is None:
            return ()
        every: list[list[Anonymizer | None]] = [list(run) for run in method.runs]
        every = every or [[method.anonymizer] * folds]
        different = {id(one): one for run in every for one in run}
        held = {
            key: raw if method is RAW else self._features(attacked, one, clips)
            for key, one in different.items()
        }
        runs = [[held[id(one)] for one in run] for run in every]
        if not all(runs[0]):
            why = "its clips have no features to be compared by"
            return (Reidentification(gallery="anonymized", not_applicable=why),)
        found = reidentify(comparison, runs)
        if method is RAW:
            return (found,)
        known = {name: raw[shown] for name in runs[0][0] if (shown := self._shown(name)) in raw}
        both = [[{name: one[name] for name in known} for one in run] for run in runs]
        return (found, *([reidentify(comparison, both, raw=known)] if known else []))

    def _shown(self, name: str) -> str:
        """The attacker of raw video that reads what this one reads: poses instead of joints."""
        model = self.models[name]
        plain = replace(model, content="poses") if model.content == "joints" else model
        return next(other for other, one in self.models.items() if one == plain)

    def _features(
        self, attacked: AttackedMethod, anonymizer: Anonymizer | None, wanted: IntArray
    ) -> Features:
        """What the clips of a row are compared by, for each of its attackers without a network."""
        gone = {one.content for one in attacked.poses if one.left_out}
        found = {}
        for name in dict.fromkeys(name for name, _ in self.fits(attacked.method)):
            model, content = self.models[name], self.models[name].content
            if model.network is None and content != "restored" and content not in gone:
                clips = self.clips.of(attacked.method, anonymizer, content)
                clips = kernel_clips(clips, model, self.clips.preset)
                if np.isin(wanted, clips.rows).all():
                    features = extract_features(clips, model)
                    found[name] = by_row(features, clips.rows, len(self.clips.manifest))
        return found
