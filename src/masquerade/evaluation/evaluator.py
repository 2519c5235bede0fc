"""Evaluate methods: extract clips, fit attackers, choose on validation, score and report.

The attacker moves last: it is fitted after the anonymizer is frozen. Controls are of raw
video; where they fail the result is void.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from masquerade.datasets.manifest import Manifest
from masquerade.device import choose_device
from masquerade.errors import MasqueradeError, MissingError, OutputError, UsageError
from masquerade.evaluation.attacker_choice import Joined, join_table
from masquerade.evaluation.attackers import (
    ATTACKERS,
    SAME_ON_RAW,
    Fit,
    attack_outputs,
    families_on_raw,
    get_families,
    learned_channels,
    required_fits,
)
from masquerade.evaluation.chosen_recognizers import models_within_limit, preset_of
from masquerade.evaluation.config import EvaluatedMethod, EvaluationConfig
from masquerade.evaluation.controls import (
    SHUFFLES,
    CheckedControls,
    clip_size_controls,
    clip_sizes,
    least_above_chance,
    negative_control,
    notes_on_places,
    positive_controls,
    raw_controls,
    void_labels,
    void_reason,
)
from masquerade.evaluation.evaluated_clips import (
    POSE_CONTENTS,
    RAW,
    AttackedMethod,
    ClipKind,
    EvaluatedClips,
    example_of,
    has_learned,
    regions_with_poses,
)
from masquerade.evaluation.executor import Executor, Progress
from masquerade.evaluation.ground_truth import GroundTruth, Probabilities, SplitTruth
from masquerade.evaluation.held_out import describe_held_out
from masquerade.evaluation.metric_specs import MetricSpec, metric_specs
from masquerade.evaluation.own_sampling import sampling_of_networks
from masquerade.evaluation.people_across_clips import PeopleAcrossClips
from masquerade.evaluation.pose_attackers import HARDLY_SEEN, LEAST_SEEN, count_seen
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import ClipSampling, Seen
from masquerade.evaluation.protocols import (
    label_columns,
    notes_on_unreported,
    protocols,
)
from masquerade.evaluation.published_start import from_published
from masquerade.evaluation.restoration_attack import RestorationAttack
from masquerade.evaluation.results import (
    SCHEMA,
    Control,
    Evaluation,
    PosesSeen,
    Restored,
    Row,
    command_of_results,
)
from masquerade.evaluation.scoring import (
    score_table,
    scoring_inputs,
)
from masquerade.evaluation.table_rows import notes_on_means, table_row, why_undecided
from masquerade.evaluation.trade_offs import check_weights
from masquerade.extraction.config import Content
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.poses import pose_tracker
from masquerade.extraction.store import ClipCache
from masquerade.methods.drawn_people import DrawnPeople
from masquerade.process_pool import OpenExecutor
from masquerade.storage import TemporaryFolder

PREDICTIONS = "predictions.npz"
JOINED_BYTES = 1 << 30  # of all predictions, above which they stay in the files of their fits


def evaluate(
    manifest: Manifest,
    methods: Sequence[EvaluatedMethod],
    config: EvaluationConfig,
    *,
    data: str,
    folder: Path | None = None,
    command: str = "",
    limits: Sequence[str] = (),
    held_out: str | None = None,
    open_executor: OpenExecutor | None = None,
    progress: Progress | None = None,
    report: Callable[[str], None] | None = None,
    leave_out: Callable[[str, str], None] | None = None,
) -> Evaluation:
    """Measure utility and leakage of methods on a labelled dataset; raw video comes first.

    Args:
        manifest: the clips and their labels.
        methods: without raw video.
        config: how.
        data: the dataset's name.
        folder: for clips, weights and predictions; what is there is not done again. None: nothing
            is kept.
        command: that asks for this, to stand beside the numbers.
        limits: of the data, to stand under the table.
        held_out: what the groups in train or in test are called; None: as the manifest tells.
        open_executor: opens what reaches `config.workers` processes of other machines, which see
            the folder and the videos; None: the work is done on this one.
        progress: called with (what, fits done, fits in all).
        report: called with a line about what is to be done, and about the size of a method's clips
            before they are written.
        leave_out: told the name of a method that leaves videos which `anonymize` would not
            publish, and why: it is not applicable then, and the others are measured. None: all is
            refused.

    Raises:
        OutputError: `anonymize` would not publish videos of a method, and nothing leaves it out.
    """
    names = [RAW.name, *(method.name for method in methods)]
    if twice := [name for name in names if names.count(name) > 1]:  # their blocks would be mixed up
        raise UsageError(f"two methods are called {twice[-1]}: give each a name of its own.")
    with ExitStack() as stack:
        scratch = stack.enter_context(TemporaryFolder())
        evaluator = Evaluator(manifest, config, folder or scratch, progress, report, open_executor)
        stack.enter_context(evaluator.executor.opened())
        if report:
            report(evaluator.plan(methods))
        # Poses on raw video are read where the search for the people to hide has found them.
        evaluator.clips.people = regions_with_poses(methods)
        # before hours of attacks: this may refuse, and its clips are kept
        methods = [evaluator.extract_or_leave_out(method, leave_out) for method in methods]
        attacked = [evaluator.raw, *map(evaluator.predict, methods)]
        if folder is not None:  # before minutes of scoring
            tables = [row.predictions for row in attacked if row.predictions is not None]
            predictions = tables[0].merge(tables[1:])
            if predictions.size_in_memory(evaluator.truth.classes) <= JOINED_BYTES:
                predictions.save(folder / PREDICTIONS)
            else:  # an earlier table would be taken for this one
                (folder / PREDICTIONS).unlink(missing_ok=True)
            if command_of_results(folder) != command:  # they are not of these predictions
                for name in ("results.json", "results.md"):
                    (folder / name).unlink(missing_ok=True)
        joined = join_table([(row.method.name, row.inputs) for row in attacked])
        checked = evaluator.controls(joined)
        rows = evaluator.score(attacked, joined, checked)
        rows, why_not_reidentified = evaluator.reidentify(attacked, rows)
    on_means = notes_on_means(attacked, checked.specs)
    notes = (*evaluator.notes, *checked.notes, *on_means, *why_not_reidentified)
    return Evaluation(
        schema=SCHEMA,
        data=data,
        command=command,
        preset=config.preset,
        folds=config.folds,
        seeds=config.seeds,
        attackers=evaluator.families,
        through_file=config.through_file,
        controls=checked.controls,
        void=void_reason(checked.controls, evaluator.truth.action, config.preset),
        limits=(*limits, *dict.fromkeys(notes)),  # each note once
        rows=rows,
        held_out=held_out or evaluator.held_out,
        sampling=sampling_of_networks(evaluator.preset),
    )


@dataclass(eq=False)
class Evaluator:
    """One evaluation: what all rows of its table share; its fields are arguments of `evaluate`."""

    manifest: Manifest
    config: EvaluationConfig
    folder: Path
    progress: Progress | None
    report: Callable[[str], None] | None = None
    open_executor: OpenExecutor | None = None
    measure_quality: bool = True  # whether to measure PSNR and SSIM of restored clips
    _sampled: dict[EvaluatedMethod, PosesSeen | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        manifest, config = self.manifest, self.config
        check_weights(config.lambdas)
        preset, sampling = preset_of(config)
        self.preset, starts = from_published(preset, config.attacker_weights, config.image_weights)
        used_protocols = protocols(
            manifest, folds=config.folds, seed=config.seed, labels=config.labels
        )
        self.truth, unlearned = GroundTruth.of(manifest, used_protocols).without_unlearned(
            config.seeds
        )
        used_protocols = tuple(self.truth.protocols.values())
        self.specs = metric_specs(manifest, used_protocols, config.metrics)
        unasked = label_columns(manifest, config.labels)[2]
        left_out = (*unasked, *unlearned, *notes_on_unreported(used_protocols))
        self.held_out, on_people = describe_held_out(manifest, used_protocols)
        self.models, too_large = models_within_limit(self.preset.attackers, self.truth)
        asked = get_families(config.attackers, self.models)
        self.families, missing = self._without_missing_networks(asked)
        self.notes = (*on_people, *sampling, *starts, *left_out, *too_large, *missing)
        self.executor = Executor(
            folder=self.folder / "fits",
            preset=self.preset,
            seeds=config.seeds,
            workers=config.workers or os.cpu_count() or 1,
            open_executor=self.open_executor,
            device=str(choose_device(config.device)),
            progress=self.progress,
        )
        self.clips = EvaluatedClips(
            manifest=manifest,
            truth=self.truth,
            config=config,
            preset=self.preset,
            cache=ClipCache(
                folder=self.folder / "clips", limit=config.store_limit * 1e9, report=self.report
            ),
            workers=self.executor.workers,
            open_executor=(
                self.open_executor if self.executor.fits_here else self.executor.open_pool
            ),
            progress=self.progress,
            device=self.executor.device,
        )

    @cached_property
    def raw(self) -> AttackedMethod:
        """Raw video, attacked when it is first asked for."""
        return self._attack(RAW, None)

    def plan(self, methods: Sequence[EvaluatedMethod]) -> str:
        """What is about to be done, in words."""
        on_raw, on_method = self.attackers_of(RAW), max(map(self.attackers_of, methods), default=0)
        return (
            f"About to anonymize {len(self.manifest)} videos by "
            f"{', '.join(method.name for method in methods)}, to train {on_raw} attackers on raw "
            f"video and {on_method} on each method's, and a few on shuffled labels, as a control; "
            "then all are scored."
        )

    def attackers_of(self, method: EvaluatedMethod) -> int:
        """How many attackers are trained on a row, over all seeds and folds."""
        return len(self._trained_on(method)) * self._seeds_and_folds()

    def networks_of(self, method: EvaluatedMethod) -> int:
        """How many of these are networks, which take nearly all of the time."""
        models = [self.models[name] for name, _ in self._trained_on(method)]
        return sum(model.network is not None for model in models) * self._seeds_and_folds()

    def _trained_on(self, method: EvaluatedMethod) -> tuple[Fit, ...]:
        return () if method.not_applicable else self._fits(method)

    def _seeds_and_folds(self) -> int:
        all_protocols = self.truth.protocols.values()
        return self.config.seeds * sum(len(protocol.folds) for protocol in all_protocols)

    def extract(self, method: EvaluatedMethod) -> None:
        """Anonymize the clips by each anonymizer of a row, to be attacked later."""
        if not method.not_applicable:
            self.clips.extract(method, self._kinds(method, self._contents(method)))
            self._check_clips(method)

    def extract_or_leave_out(
        self, method: EvaluatedMethod, leave_out: Callable[[str, str], None] | None
    ) -> EvaluatedMethod:
        """Return the row as it was, or as not applicable where it cannot be published."""
        try:
            self.extract(method)
        except OutputError as error:
            if leave_out is None:
                raise OutputError(f"{method.name}: {error}") from error
            leave_out(method.name, str(error))
            return replace(method, not_applicable=str(error))
        return method

    def _check_clips(self, method: EvaluatedMethod) -> None:
        """Refuse a row whose attackers would see different clips; without poses it may go on."""
        contents = [
            content for content in self._extractable(method) if content not in POSE_CONTENTS
        ]
        kinds: list[ClipKind] = [
            (content, sampling)
            for content in contents
            for sampling in self._by_sampling(method, content)
        ]
        self.clips.check_same(method, kinds)

    def _kinds(self, method: EvaluatedMethod, contents: Sequence[Content]) -> list[ClipKind]:
        """The contents and samplings in which attackers see a row's clips."""
        kinds = [
            (content, sampling)
            for content in contents
            for sampling in self._by_sampling(method, content)
        ]
        return list(dict.fromkeys([("frames", None), *kinds]))

    def predict(self, method: EvaluatedMethod) -> AttackedMethod:
        """Anonymize the clips and let every attacker predict their labels."""
        if method.not_applicable:
            return AttackedMethod(method=method)
        return self._attack(method, self.raw.clips)

    def _attack(self, method: EvaluatedMethod, raw: ClipDataset | None) -> AttackedMethod:
        self._check_clips(method)  # before any is trained
        clips, predictions = self._predict(method, raw, "frames")
        poses: list[PosesSeen] = []
        restored: tuple[Restored, ...] = ()
        unrestored: str | None = None
        if hardly := self._hardly_seen(method):
            poses.append(hardly)
        for content in self._contents(method):
            if content not in (*POSE_CONTENTS, "frames"):
                predictions = predictions.merge([self._predict(method, raw, content)[1]])
            elif content in POSE_CONTENTS:
                seen = self._poses_seen(method, clips, content)
                poses.append(seen)
                if seen.left_out is None:
                    predictions = predictions.merge([self._predict(method, raw, content)[1]])
        if raw is not None and "restored" in self._seen(method):
            restoration = RestorationAttack(
                clips=self.clips,
                truth=self.truth,
                models=self.models,
                executor=self.executor,
                measure_quality=self.measure_quality,
            )
            unrestored = restoration.why_not(method, raw)
            if unrestored is None:
                on_restored, restored = restoration.restore(method, raw, self._fits(method))
                predictions = predictions.merge(on_restored)
        if not predictions.blocks:
            why = "; ".join(
                filter(None, [*(poses_seen.left_out for poses_seen in poses), unrestored])
            )
            return AttackedMethod(method=replace(method, not_applicable=why), poses=tuple(poses))
        how = {"per_run": bool(method.runs), "learned": has_learned(method)}
        inputs = scoring_inputs(predictions, self.truth, self._names(method), self.models, **how)
        return AttackedMethod(
            method=method,
            clips=clips,
            predictions=predictions,
            inputs=inputs,
            poses=tuple(poses),
            restored=restored,
            unrestored=unrestored,
        )

    def _names(self, method: EvaluatedMethod) -> tuple[str, ...]:
        """The families that attack a row."""
        return families_on_raw(self.families) if method is RAW else self.families

    def _seen(self, method: EvaluatedMethod) -> list[Seen]:
        """What the attackers of a row see."""
        return list(dict.fromkeys(self.models[name].content for name, _ in self._fits(method)))

    def _contents(self, method: EvaluatedMethod) -> list[Content]:
        """What is extracted of a row's clips, without poses where hardly anybody is seen."""
        contents = self._extractable(method)
        if self._hardly_seen(method):
            contents.remove("poses")
        return contents

    def _extractable(self, method: EvaluatedMethod) -> list[Content]:
        """What can be extracted of a row's clips; restored ones are made from their frames."""
        return [content for content in self._seen(method) if content != "restored"]

    def _hardly_seen(self, method: EvaluatedMethod) -> PosesSeen | None:
        """The count of frames with people in a sample of clips, if too few to search all clips.

        Poses take longer than all else that is made of a clip.
        """
        if method not in self._sampled and "poses" in self._seen(method):
            self._sampled[method] = None
            kinds = self._kinds(method, self._extractable(method))
            sample = self.clips.poses_in_sample(method, kinds)
            seen, frames = count_seen(sample) if sample else (0, 0)
            if sample and seen < HARDLY_SEEN * frames:
                where = f"{seen:,} of {frames:,} frames only, of {len(sample):,} clips"
                why = f"the pose networks see somebody in {where} drawn evenly"
                few = PosesSeen(content="poses", seen=seen, frames=frames, left_out=why)
                self._sampled[method] = few
        return self._sampled.get(method)

    def _fits(self, method: EvaluatedMethod) -> tuple[Fit, ...]:
        """The models and initialisations that attack a row."""
        fits = required_fits(self._names(method), self.models, raw=method is RAW)
        if isinstance(example_of(method), DrawnPeople):
            return fits
        return tuple(fit for fit in fits if self.models[fit[0]].content != "joints")

    def _by_sampling(
        self, method: EvaluatedMethod, content: Seen
    ) -> dict[ClipSampling | None, list[Fit]]:
        """What attacks a row's clips of one content, by the sampling that it sees."""
        fits: dict[ClipSampling | None, list[Fit]] = {}
        for fit in self._fits(method):
            model = self.models[fit[0]]
            if model.content == content:
                fits.setdefault(model.sampling, []).append(fit)
        return fits

    def _predict(
        self, method: EvaluatedMethod, raw: ClipDataset | None, content: Content
    ) -> tuple[ClipDataset, Predictions]:
        """The clips of a row, of one content, and the predictions of the attackers that see it.

        Attackers with a sampling of their own see other clips of that content.
        """
        fits = {None: list[Fit](), **self._by_sampling(method, content)}
        both = [
            self._predict_sampled(method, raw, (content, sampling), fits[sampling])
            for sampling in fits
        ]
        return both[0][0], both[0][1].merge([predictions for _, predictions in both[1:]])

    def _predict_sampled(
        self, method: EvaluatedMethod, raw: ClipDataset | None, kind: ClipKind, fits: Sequence[Fit]
    ) -> tuple[ClipDataset, Predictions]:
        if raw is not None and any(start != "scratch" for _, start in fits):
            raw = self.clips.of(RAW, None, *kind)  # whose fits of these models others start from
        if method.runs:
            return self._predict_runs(method, fits, raw, kind)
        clips = self.clips.of(method, method.anonymizer, *kind)
        return clips, self.executor.predict(method.name, clips, fits, self.truth, raw=raw)

    def _poses_seen(
        self, method: EvaluatedMethod, clips: ClipDataset, content: Content
    ) -> PosesSeen:
        """In how many frames of a row's output somebody's pose is seen."""
        seen = frames = 0
        left_out = None
        for poses in self.clips.of_each(method, content):
            counts = count_seen(poses)
            seen, frames = seen + counts[0], frames + counts[1]
            if not np.array_equal(poses.rows, clips.rows):
                left_out = "not every clip has poses"
        if seen < LEAST_SEEN * frames:
            left_out = f"the pose networks see somebody in {seen:,} of {frames:,} frames only"
        elif method is not RAW and all(poses_seen.left_out for poses_seen in self.raw.poses):
            left_out = f"on raw video {self.raw.poses[0].left_out}"
        return PosesSeen(content=content, seen=seen, frames=frames, left_out=left_out)

    def _without_missing_networks(
        self, families: tuple[str, ...]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The families without that of poses where its networks are missing, and a note on it.

        Where families were named, a missing network is refused.
        """
        fits = required_fits(families_on_raw(families), self.models, raw=True)
        if not any(self.models[name].content == "poses" for name, _ in fits):
            return families, ()
        try:
            pose_tracker()
        except MissingError as error:
            if self.config.attackers is not None:
                raise
            left = tuple(name for name in families if name != "pose")
            return left, (f"Attackers that see poses only are left out: {error}",)
        return families, ()

    def _predict_runs(
        self,
        method: EvaluatedMethod,
        fits: Sequence[Fit],
        raw: ClipDataset | None,
        kind: ClipKind,
    ) -> tuple[ClipDataset, Predictions]:
        """Each seed's fold by an anonymizer of its own, and the predictions of its attackers."""
        folds = max(1, self.config.folds)
        if len(method.runs[0]) != folds:
            raise UsageError(
                f"{method.name} has {len(method.runs[0])} trained anonymizers a seed, and there "
                f"are {folds} folds: each fold needs one that has not seen its test."
            )
        if len(method.runs) > self.config.seeds:
            raise UsageError(f"{method.name} has {len(method.runs)} seeds; give as many --seeds.")
        datasets, predictions = [], []
        for seed, run in enumerate(method.runs):
            for fold, anonymizer in enumerate(run):
                datasets.append(self.clips.of(method, anonymizer, *kind))
                attack = partial(self.executor.predict, run=seed, seeds=[seed], folds=[fold])
                predictions.append(attack(method.name, datasets[-1], fits, self.truth, raw=raw))
        if len({dataset.rows.tobytes() for dataset in datasets}) > 1:
            raise MasqueradeError(f"{method.name}: not every trained anonymizer got every clip.")
        return datasets[0], predictions[0].merge(predictions[1:])

    def score(
        self, attacked: Sequence[AttackedMethod], joined: Joined, checked: CheckedControls
    ) -> tuple[Row, ...]:
        """The rows of the table, of what `controls` says is to be scored."""
        findings = score_table(
            joined,
            self.truth,
            checked.specs,
            void=void_labels(checked.controls),
            unread=[
                why_undecided(attacked_method, checked, self.manifest)
                for attacked_method in attacked
            ],
            means_of=self.models if self.config.average else None,
            lambdas=self.config.lambdas,
        )
        return tuple(
            table_row(attacked_method, row_findings, self.manifest)
            for attacked_method, row_findings in zip(attacked, findings, strict=True)
        )

    def reidentify(
        self, attacked: Sequence[AttackedMethod], rows: Sequence[Row]
    ) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        """The rows of the table with how well people are found again in their other clips.

        Beside them stands a note where that was left out.
        """
        people = PeopleAcrossClips(
            clips=self.clips, truth=self.truth, models=self.models, fits=self._fits
        )
        reidentified, note = people.reidentify(attacked, rows)
        return reidentified, () if note is None else (note,)

    def controls(self, joined: Joined) -> CheckedControls:
        """Positive and negative controls on raw video, and what clips' sizes tell of each label."""
        positive = positive_controls(self.raw.inputs, joined, self.truth, self.specs)
        specs, channels = positive.specs, learned_channels(self.families, self.models)
        controls = raw_controls(positive, self.raw.inputs, channels)
        people = {name: model for name, model in self.models.items() if not model.background}
        pixels = {name: model for name, model in people.items() if model.content == "frames"}
        kernels = [name for name, model in pixels.items() if model.network is None][:1]
        networks = [name for name, model in pixels.items() if model.network is not None][:1]
        poses = [
            name
            for name, model in people.items()
            if model.content == "poses" and model.network is None
        ]
        if not any(poses_seen.left_out is None for poses_seen in self.raw.poses):
            poses = []
        for protocol in self.truth.protocols:
            for attacker in (*networks, *kernels, *poses[:1]):
                controls += self._negative_controls(protocol, attacker, specs[protocol])
        read = {name: self.truth.of_clips(inputs.clips) for name, inputs in self.raw.inputs.items()}
        rows = [truth.protocols[name].clips for name, truth in read.items()]
        sizes = clip_sizes(self.manifest, np.unique(np.concatenate(rows)))
        for name, truth in read.items():
            controls += clip_size_controls(sizes, truth, name, specs[name])
        notes = (*positive.notes, *notes_on_places(controls, specs))
        return CheckedControls(specs=specs, controls=tuple(controls), notes=notes)

    def _negative_controls(
        self, protocol: str, attacker: str, specs: Sequence[MetricSpec]
    ) -> list[Control]:
        """A control passes at chance in the first shuffle, or else in the second.

        Those whose shuffled test clips are of one class measure nothing, and are left out.
        """
        controls: list[Control] = []
        for shuffle in range(1, SHUFFLES + 1):
            test, predicted = self._attack_shuffled(protocol, attacker, shuffle)
            of_shuffle = [negative_control(spec, test, predicted) for spec in specs]
            controls = list(map(least_above_chance, controls or of_shuffle, of_shuffle))
            if all(control.passed for control in controls):
                break
        return [control for control in controls if control.passed is not None]

    def _attack_shuffled(
        self, protocol: str, attacker: str, shuffle: int
    ) -> tuple[SplitTruth, Probabilities]:
        """Shuffled labels of the test clips, and what an attacker that learned such predicts."""
        model = self.models[attacker]
        assert model.content != "restored"
        clips = self.clips.of(RAW, None, model.content, model.sampling)
        truth = replace(self.truth, protocols={protocol: self.truth.protocols[protocol]})
        truth = truth.shuffled(self.config.seed + shuffle)
        predictions = self.executor.predict(
            "raw", clips, [(attacker, "scratch")], truth, shuffle=shuffle, seeds=[0]
        )
        test = truth.of_clips(clips.rows).split(protocol, "test")
        families = tuple(name for name in ATTACKERS if name not in SAME_ON_RAW)
        (output, *_) = attack_outputs(families, {attacker: model}, predictions, {0: test})
        return test, output.test[0]
