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
    surely_found,
)
from masquerade.evaluation.results import LabelResult, Reidentification, Row
from masquerade.metrics.leakage import held_limit


def revise_identity_verdicts(row: Row, why: str = "its clips were not compared") -> Row:
    """Make verdicts on identity agree with re-identification across clips.

    Surely re-identified: it leaks. Perhaps, or not compared (`why`): `held` becomes undecided.
    """
    if any(map(surely_found, row.reidentification)):
        return replace(row, findings=tuple(map(_leaking, row.findings)))
    doubts = [result.not_applicable or _doubt_found(result) for result in row.reidentification]
    reason = next(filter(None, doubts or [why]), None)
    if reason is None:
        return row
    undecided = f"whether clips of one person are found among others is not known: {reason}"
    findings = tuple(
        replace(finding, leakage=replace(finding.leakage, protects=None), undecided=undecided)
        if finding.protocol == SAME and finding.leakage is not None and finding.leakage.protects
        else finding
        for finding in row.findings
    )
    return replace(row, findings=findings)


def _leaking(finding: LabelResult) -> LabelResult:
    """Return a finding as leaking, if it is of identity and was held or undecided."""
    if finding.protocol != SAME or finding.leakage is None:
        return finding
    if not finding.leakage.protects and finding.undecided is None:
        return finding
    return replace(finding, leakage=replace(finding.leakage, protects=False), undecided=None)


def _doubt_found(result: Reidentification) -> str | None:
    """Return why people may be found again, so that identity is not `held`; None: they are not.

    Upper ends count: of one clip by every feature, of several pooled by the chosen ones.
    """
    for name, probe in ((RANK, ""), (MULTI, " to several of one person")):
        rank, guess = result.scores.get(name), result.floors.get(name)
        if rank is None or rank.value is None or guess is None:
            return f"nothing is known of the most similar clip{probe}"
        scores = (rank, result.highest_score) if name == RANK else (rank,)
        ends = [score.high for score in scores if score is not None]
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
        clip_rows = [
            attacked_method.clips.rows
            for attacked_method in attacked
            if attacked_method.clips is not None
        ]
        clips = reduce(np.intersect1d, clip_rows)
        comparison, why = compare_people(
            self.truth, source_files(manifest), clips, seed=config.seed
        )
        raw = self._features(attacked[0], None, clips) if comparison else {}
        if comparison is None or not raw:
            why = why or "the attackers that were asked for have no features to compare clips by"
            doubted = tuple(revise_identity_verdicts(row, why) for row in rows)
            return doubted, f"Re-identification across clips is left out: {why}."
        compared: list[Row] = []
        for attacked_method, row in zip(attacked, rows, strict=True):
            if self.clips.progress:
                what = "finding people again in other clips"
                self.clips.progress(what, len(compared), len(rows))
            again = self._reidentify(attacked_method, comparison, raw, clips)
            compared.append(replace(row, reidentification=again))
        return tuple(map(revise_identity_verdicts, against_raw(compared))), None

    def _reidentify(
        self, attacked: AttackedMethod, comparison: Comparison, raw: Features, clips: IntArray
    ) -> tuple[Reidentification, ...]:
        method, folds = attacked.method, len(comparison.folds)
        if attacked.clips is None:
            return ()
        anonymizers: list[list[Anonymizer | None]] = [list(run) for run in method.runs]
        anonymizers = anonymizers or [[method.anonymizer] * folds]
        different = {id(anonymizer): anonymizer for run in anonymizers for anonymizer in run}
        held = {
            key: raw if method is RAW else self._features(attacked, anonymizer, clips)
            for key, anonymizer in different.items()
        }
        runs = [[held[id(anonymizer)] for anonymizer in run] for run in anonymizers]
        if not all(runs[0]):
            why = "its clips have no features to be compared by"
            return (Reidentification(gallery="anonymized", not_applicable=why),)
        among_anonymized = reidentify(comparison, runs)
        if method is RAW:
            return (among_anonymized,)
        known = {name: raw[shown] for name in runs[0][0] if (shown := self._shown(name)) in raw}
        both = [[{name: features[name] for name in known} for features in run] for run in runs]
        return (among_anonymized, *([reidentify(comparison, both, raw=known)] if known else []))

    def _shown(self, name: str) -> str:
        """The attacker of raw video that reads what `name` reads: poses instead of joints."""
        model = self.models[name]
        plain = replace(model, content="poses") if model.content == "joints" else model
        return next(other for other, candidate in self.models.items() if candidate == plain)

    def _features(
        self, attacked: AttackedMethod, anonymizer: Anonymizer | None, rows: IntArray
    ) -> Features:
        """What the clips of a row are compared by, for each of its attackers without a network."""
        gone = {poses_seen.content for poses_seen in attacked.poses if poses_seen.left_out}
        by_name = {}
        for name in dict.fromkeys(name for name, _ in self.fits(attacked.method)):
            model, content = self.models[name], self.models[name].content
            if model.network is None and content != "restored" and content not in gone:
                clips = self.clips.of(attacked.method, anonymizer, content)
                clips = kernel_clips(clips, model, self.clips.preset)
                if np.isin(rows, clips.rows).all():
                    features = extract_features(clips, model)
                    by_name[name] = by_row(features, clips.rows, len(self.clips.manifest))
        return by_name
