"""Restore the clips of a table's rows, attack what was restored, and compare it with raw video."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from masquerade.evaluation.attackers import Fit
from masquerade.evaluation.config import EvaluatedMethod
from masquerade.evaluation.evaluated_clips import EvaluatedClips
from masquerade.evaluation.executor import Executor
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.noise_inversion import inversions
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import AttackerModel
from masquerade.evaluation.restoration import (
    Quality,
    clip_quality,
    compare,
    mean_of_both,
    why_not_comparable,
)
from masquerade.evaluation.results import Restored
from masquerade.extraction.dataset import ClipDataset


@dataclass(frozen=True, kw_only=True, eq=False)
class RestorationAttack:
    """Attacks rows by clips that a network restored, and measures how near these come to raw."""

    clips: EvaluatedClips
    truth: GroundTruth
    models: Mapping[str, AttackerModel]
    executor: Executor
    measure_quality: bool = True  # whether to measure their PSNR and SSIM

    def why_not(self, method: EvaluatedMethod, raw: ClipDataset) -> str | None:
        """Why a row's clips cannot be restored and compared with raw ones; None: they can."""
        reasons = (why_not_comparable(clips, raw) for clips in self.clips.of_each(method))
        return next(filter(None, reasons), None)

    def restore(
        self, method: EvaluatedMethod, raw: ClipDataset, fits: Sequence[Fit]
    ) -> tuple[list[Predictions], tuple[Restored, ...]]:
        """What attackers read from restored clips, and how near these come to the raw picture.

        `fits` are all that attack the row, of which those that see restored clips are done.
        """
        fits = [fit for fit in fits if self.models[fit[0]].content == "restored"]
        predictions: list[Predictions] = []
        by_run: dict[int, list[tuple[Quality, Quality]]] = {}  # published and restored
        preset, first = self.clips.preset, next(iter(self.truth.protocols.values()))
        per_seed = len(method.runs[0]) if method.runs else 1
        for number, clips in enumerate(self.clips.of_each(method)):
            run, fold = divmod(number, per_seed)
            done: dict[str, Any] = {"seeds": [run], "folds": [fold]} if method.runs else {}
            shown, raw_view = preset.middle_view(clips), preset.middle_view(raw)
            restored = self.executor.restore(method.name, shown, self.truth, raw=raw_view, **done)
            how = {**done, "raw": raw, "run": run, "restored": restored}
            predictions.append(self.executor.predict(method.name, clips, fits, self.truth, **how))
            known: dict[tuple[int, int], tuple[Quality, Quality]] = {}  # several seeds share clips
            for (protocol, _, at), restored_clips in restored.items():
                if protocol != first.name or not self.measure_quality:
                    continue
                if (id(restored_clips), at) not in known:
                    test = first.folds[at].of_clips(clips.rows).test
                    before, after = (
                        clip_quality(c.of_rows(test), raw_view) for c in (shown, restored_clips)
                    )
                    known[id(restored_clips), at] = before, after
                by_run.setdefault(run, []).append(known[id(restored_clips), at])
        if not self.measure_quality:
            return predictions, ()
        runs, groups = list(map(mean_of_both, by_run.values())), self.truth.groups
        published, nearer = mean_of_both(runs)
        quality = [compare("network", published, nearer, groups, runs=runs)]
        for attacker, inverse in inversions(method):
            clips = self.clips.of(inverse, inverse.anonymizer, "frames")
            shown, raw_view = preset.middle_view(clips), preset.middle_view(raw)
            tested = clip_quality(shown.of_rows(list(published)), raw_view)
            quality.append(compare(attacker, published, tested, groups))
        return predictions, tuple(quality)
