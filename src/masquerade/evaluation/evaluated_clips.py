"""The clips of each row of a table, extracted when they are first asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError
from masquerade.evaluation.attacker_choice import ScoringInput
from masquerade.evaluation.config import EvaluatedMethod, EvaluationConfig
from masquerade.evaluation.executor import Progress
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import ClipSampling, Preset
from masquerade.evaluation.results import PosesSeen, Restored
from masquerade.extraction.config import Content, ExtractionConfig, RegionFactory, describe_factory
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.extract_dataset import extract_clips, store_contents
from masquerade.extraction.store import ClipCache
from masquerade.process_pool import OpenExecutor
from masquerade.regions import People

RAW = EvaluatedMethod(name="raw")
POSE_CONTENTS = ("poses", "joints")
ANONYMIZING, READING = "anonymizing videos", "reading videos"
"""What is done for a row, as its progress is told."""
ClipKind = tuple[Content, ClipSampling | None]
"""What clips are made of, and the sampling of one network; None: the preset's."""
SAMPLED = 48  # clips of a row in which poses are looked for first, of twice as many or more


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackedMethod:
    """A row of the table with its attackers' predictions, before it is scored."""

    method: EvaluatedMethod  # what it is of
    clips: ClipDataset | None = None  # anonymized; None: it was not run
    predictions: Predictions | None = None  # of all attackers
    poses: tuple[PosesSeen, ...] = ()  # what attackers of poses saw
    restored: tuple[Restored, ...] = ()  # how near attackers come to the raw picture
    unrestored: str | None = None  # why none restored it; None: nothing hindered it
    # the predictions beside the truth, by protocol
    inputs: Mapping[str, ScoringInput] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class EvaluatedClips:
    """The clips of all rows of a table."""

    manifest: Manifest
    truth: GroundTruth  # of its clips
    config: EvaluationConfig
    preset: Preset  # how clips are cut
    cache: ClipCache
    workers: int
    open_executor: OpenExecutor | None  # what reaches as many processes; None: new ones
    progress: Progress | None
    device: str = "cpu"  # where networks of methods compute, as torch spells it
    # what finds people on raw video; None: the networks alone
    people: RegionFactory | str | None = None
    _held: dict[tuple[EvaluatedMethod, Anonymizer | None, ClipKind], ClipDataset] = field(
        default_factory=dict, init=False, repr=False
    )

    def of(
        self,
        method: EvaluatedMethod,
        anonymizer: Anonymizer | None,
        content: Content = "frames",
        sampling: ClipSampling | None = None,
    ) -> ClipDataset:
        """The clips of one anonymizer of a row, of one content; without one raw clips.

        Those of frames may have the sampling of one network; None: the preset's.
        """
        known = method, anonymizer, (content, sampling)
        if known not in self._held:
            self._held[known] = self._extract(method, anonymizer, (content, sampling))
        return self._held[known]

    def of_each(self, method: EvaluatedMethod, content: Content = "frames") -> list[ClipDataset]:
        """The clips of each anonymizer of a row."""
        return [self.of(method, anonymizer, content) for anonymizer in _anonymizers(method)]

    def poses_in_sample(
        self, method: EvaluatedMethod, kinds: Sequence[ClipKind]
    ) -> ClipDataset | None:
        """The poses in a sample of evenly spaced clips; None: there are too few clips to sample.

        Clips of all given contents are stored with them, for which each video is anonymized once.
        """
        step = len(self.manifest) // SAMPLED
        anonymizer = _anonymizers(method)[0]
        if step < 2 or anonymizer is None:
            return None
        sample = self.manifest.take(range(0, len(self.manifest), step))
        self._store(sample, method, anonymizer, kinds)
        config = self._config(method, anonymizer, ("poses", None))
        return extract_clips(
            sample,
            # whether enough was found is judged over all videos, by `extract`
            replace(config, allow_empty=True, allow_gaps=True),
            cache=self.cache,
            workers=self.workers,
            open_executor=self.open_executor,
            progress=self._follow(method, ANONYMIZING),
        )

    def extract(self, method: EvaluatedMethod, kinds: Sequence[ClipKind]) -> None:
        """Anonymize each video once and store its clips of all given contents and samplings."""
        for anonymizer in _anonymizers(method):
            self._store(self.manifest, method, anonymizer, kinds)
            for kind in kinds:
                self.of(method, anonymizer, *kind)

    def check_same(self, method: EvaluatedMethod, kinds: Sequence[ClipKind]) -> None:
        """Refuse a row of which a clip is there in some contents and lacks in others.

        Attackers who see other clips cannot be scored together.

        Raises:
            UsageError: there is such a clip.
        """
        for anonymizer in _anonymizers(method):
            datasets = [self.of(method, anonymizer, *kind) for kind in kinds]
            for dataset, kind in zip(datasets, kinds, strict=True):
                lacking = [
                    row for other in datasets for row in np.setdiff1d(other.rows, dataset.rows)
                ]
                if lacking:
                    first = int(min(lacking))
                    why = dataset.skipped.get(first, "it was left out.")
                    raise UsageError(
                        f"{self.manifest.clips[first].path} cannot be attacked by all that attack "
                        f"{method.name}, for want of its {kind[0]}; mend it or take it out of the "
                        f"manifest: {why}"
                    )

    def _store(
        self,
        manifest: Manifest,
        method: EvaluatedMethod,
        anonymizer: Anonymizer | None,
        kinds: Sequence[ClipKind],
    ) -> None:
        """Store clips of all contents but joints, for which no frame is made."""
        store_contents(
            manifest,
            [self._config(method, anonymizer, kind) for kind in kinds if kind[0] != "joints"],
            cache=self.cache,
            workers=self.workers,
            open_executor=self.open_executor,
            progress=self._follow(method, ANONYMIZING),
        )

    def _extract(
        self, method: EvaluatedMethod, anonymizer: Anonymizer | None, kind: ClipKind
    ) -> ClipDataset:
        doing = READING if anonymizer is None else ANONYMIZING
        if kind[0] in POSE_CONTENTS:
            doing = f"looking for the {kind[0]} of people in videos"
        clips = extract_clips(
            self.manifest,
            self._config(method, anonymizer, kind),
            cache=self.cache,
            workers=self.workers,
            open_executor=self.open_executor,
            progress=self._follow(method, doing),
        )
        if kind[0] not in POSE_CONTENTS:  # attackers of poses are left out where some lack them
            self._refuse_too_few(method, clips)
        return clips

    def _refuse_too_few(self, method: EvaluatedMethod, clips: ClipDataset) -> None:
        """Refuse a method of which no clip of a split, or with a value of a label, could be read.

        Raises:
            UsageError: none of these could be read.
        """
        if not clips.skipped:
            return
        for need in self.truth.needed_clips(self.config.seeds):
            if not np.isin(need.clips, clips.rows).any():
                first = int(need.clips[0])
                raise UsageError(
                    f"Not one {need.what} ({need.protocol}) could be read for {method.name}, and "
                    "attackers need one: mend these videos or choose another split; the first, "
                    f"{self.manifest.clips[first].path}, was left out because: "
                    f"{clips.skipped[first]}"
                )

    def _follow(self, method: EvaluatedMethod, doing: str) -> Callable[[int, int], None] | None:
        return self.progress and partial(self.progress, f"{method.name}: {doing}")

    def _config(
        self, method: EvaluatedMethod, anonymizer: Anonymizer | None, kind: ClipKind
    ) -> ExtractionConfig:
        content, preset = kind[0], self.preset.sampled(kind[1])
        people = content in POSE_CONTENTS and anonymizer is None
        return ExtractionConfig(
            frames=preset.frames_of(content),
            content=content,
            size=preset.size,
            aspect=preset.aspect if content == "frames" else "squeeze",
            stride=preset.stride,
            padding=preset.padding,
            windows=preset.views[0] if content == "frames" else 1,
            crops=preset.views[1] if content == "frames" else 1,
            method=anonymizer,
            regions=self.people if people else method.regions,
            cover=method.cover,
            outside=method.outside,
            file=method.file,
            seed=self.config.seed,
            through_file=self.config.through_file,
            sample_first=preset.sample_first and not self.config.through_file,
            allow_empty=self.config.allow_empty,
            allow_gaps=self.config.allow_gaps,
            device=self.device if self._on_device(anonymizer) else "cpu",
        )

    def _on_device(self, anonymizer: Anonymizer | None) -> bool:
        """Whether a method is a network, and computed on this machine, whose device is known."""
        return anonymizer is not None and anonymizer.learned and self.open_executor is None


def _anonymizers(method: EvaluatedMethod) -> list[Anonymizer | None]:
    """The anonymizers of a row: one of each training, or the method as it is."""
    anonymizers: list[Anonymizer | None] = [anonymizer for run in method.runs for anonymizer in run]
    return anonymizers or [method.anonymizer]


def example_of(method: EvaluatedMethod) -> Anonymizer | None:
    """One anonymizer of a row; those of a row are alike but for their training."""
    return method.runs[0][0] if method.runs else method.anonymizer


def has_learned(method: EvaluatedMethod) -> bool:
    """Whether a row is of a method that was trained, or of the mask of one."""
    example = example_of(method)
    parts = [] if example is None else example.modules()
    return any(isinstance(module, Anonymizer) and module.learned for module in parts)


def finds_poses(regions: RegionFactory | str | None) -> bool:
    """Whether a region factory makes a source that finds the poses of all people."""
    name, arguments = describe_factory(regions)
    chosen = arguments.get("keep_visible") or arguments.get("hide_only")
    plain = arguments.get("detector", "pose") == "pose" and not chosen
    return name == describe_factory(People)[0] and plain


def regions_with_poses(methods: Sequence[EvaluatedMethod]) -> RegionFactory | str | None:
    """The first region factory of the methods whose source finds all people's poses."""
    return next((method.regions for method in methods if finds_poses(method.regions)), None)
