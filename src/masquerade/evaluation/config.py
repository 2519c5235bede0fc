"""Settings of an evaluation, and of each method that it compares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.clip_sampling import Padding
from masquerade.errors import UsageError
from masquerade.extraction import STORE_LIMIT_GB
from masquerade.extraction.config import PUBLISHED, Aspect, RegionFactory
from masquerade.pipeline.config import FileConfig
from masquerade.pipeline.stream import Cover
from masquerade.ranges import Share

SamplingChoice = Literal["preset", "own-frames", "own"]


@dataclass(frozen=True, kw_only=True)
class EvaluatedMethod:
    """A method to evaluate: one row of the table."""

    name: str
    anonymizer: Anonymizer | None = None  # None: raw video, or a row that is not run
    # instead of `anonymizer`: those of one recipe, runs[seed][fold], each trained without the
    # test split of its fold. Each is attacked by itself, so that no attacker sees several
    # anonymized versions of one clip, and scores are averaged over seeds
    runs: tuple[tuple[Anonymizer, ...], ...] = ()
    # what it hides; a name in REGIONS, or what makes a region source
    regions: RegionFactory | str | None = None
    cover: Cover | None = None  # how boxes become masks; None: the region source's own shape
    not_applicable: str | None = None  # why it is not run; None: it is
    outside: Literal["keep", "black"] = "keep"  # what becomes of all that is not hidden
    # how its files are sized and encoded where attackers see files; raw video's are as by default
    file: FileConfig = PUBLISHED

    def __post_init__(self) -> None:
        if self.runs and (self.anonymizer or len({len(folds) for folds in self.runs}) > 1):
            raise UsageError("A row has one method, or a run of each seed and fold.")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The settings of an evaluation."""

    # families in ATTACKERS; None: all, without those of poses where their networks are missing
    attackers: tuple[str, ...] | None = None
    folds: int = 5  # of the cross-validation; 0: the manifest's own splits
    seeds: int = 3  # networks of each kind
    preset: str = "tiny"  # in PRESETS
    stride: int | None = None  # source frames from one of a clip to the next; None: the preset's
    # windows in time and crops of frames that are tested, and whether frames are squeezed to the
    # preset's size or cropped; None: the preset's
    views: tuple[int, int] | None = None
    aspect: Aspect | None = None
    # of videos that end before a clip does, and the share of a frame's side, its middle, that
    # networks are tested on; None: the preset's
    padding: Padding | None = None
    test_crop: Share | None = None
    # learn from mirror images too, and average over both; off where an action has a side
    mirror: bool = True
    # what networks of frames see: clips of the preset, or of the frames and stride (`own-frames`),
    # and of the size too (`own`), that each one's published weights were trained on
    clip_sampling: SamplingChoice = "preset"
    # files of published weights, from which the family `published` starts: an image ViT's, for the
    # preset's video ViTs, and those of single attackers by their names in the preset
    image_weights: Path | None = None
    attacker_weights: Mapping[str, Path] = field(default_factory=dict)
    through_file: bool = False  # attack exported, re-decoded files
    workers: int = 0  # processes; 0: one a core
    device: str = "auto"  # auto, cpu, cuda, mps
    amp: bool = False  # networks of attackers learn in half precision
    # networks that attack and recognize in place of the preset's, by their names there or in
    # RECOGNIZERS; None: the preset's
    recognizers: tuple[str, ...] | None = None
    average: bool = False  # also report the mean over networks, as Ilic et al. print it
    # weights lambda of privacy at which f_lambda of each private label is reported, from 0 to 1
    lambdas: tuple[float, ...] = ()
    # of folds, shuffled labels, the clips that re-identification draws and, a stream for each
    # video, the methods' noise; those of attackers' weights and order are 0 to `seeds` - 1
    seed: int = 0
    labels: tuple[str, ...] | None = None  # the private ones that are attacked; None: all
    # of binary attributes, in METRICS: AUROC, which is always reported, and beside it the mean
    # over them by cMAP or F1
    metrics: tuple[str, ...] = ("auroc",)
    # also find people again in other clips, where the manifest names them
    reidentification: bool = True
    # GB that the clips of all methods may take; above it they are made on the fly
    store_limit: float = STORE_LIMIT_GB
    # also measure videos in which nothing was found, and those in which nothing was in many frames
    # or whole frames were hidden for want of certainty, none of which `anonymize` would publish
    allow_empty: bool = False
    allow_gaps: bool = False
