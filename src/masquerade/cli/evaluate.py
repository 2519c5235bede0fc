"""`masquerade evaluate`: how much a method keeps of the action, and what attackers still find.

What imports torch is imported where it is used: the help does not wait for it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Console
from tyro.conf import UseAppendAction, arg

from masquerade.cli.arguments import (
    HELP,
    asks_for_help,
    command_to_keep,
    default_method,
    flag_value,
    load_trained,
    parse_with_method,
    split_commas,
)
from masquerade.cli.option_boxes import DETECTION, FILE, MASK, TEMPLATE
from masquerade.cli.progress import StepProgress
from masquerade.datasets.manifest import Manifest, dataset_name, read_manifest, select_actions
from masquerade.errors import MasqueradeError, UsageError
from masquerade.extraction import STORE_LIMIT_GB
from masquerade.file_locks import claim_folder
from masquerade.pipeline.config import (
    FileConfig,
    PipelineConfig,
    RegionConfig,
    encoding_for,
    region_arguments,
    with_default_regions,
)
from masquerade.pipeline.levels import LevelName
from masquerade.ranges import (
    Allowed,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Share,
    flag_of,
)
from masquerade.text import escape, readable
from masquerade.transaction import transaction

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymizer
    from masquerade.evaluation import EvaluatedMethod, Evaluation, EvaluationConfig
    from masquerade.extraction.config import RegionFactory

EXAMPLE = "masquerade evaluate --data clips.csv --method blur --regions people -o results"
BOXES = {
    "": "data output level method weights regions labels preset folds seeds device workers",
    "data": "actions private_data score_on held_out",
    "method": "method_preset outside mask_only",
    "detection": f"threshold {DETECTION} region",
    "template": TEMPLATE,
    "mask": MASK,
    "file": f"through_file {FILE}",
    "clips": "clip_sampling stride views aspect padding test_crop mirror",
    "attack": "attackers recognizers average amp attacker_weights image_weights reidentification "
    "metrics lambdas allow_empty allow_gaps",
    "result": "store_limit json",
}
"""The options in the boxes of the help; the short one shows the first."""
Folds = Allowed("0, or 2 or more", lambda value: value == 0 or value >= 2)
INSTEAD_OF_SCORED = (
    "train it on clips that --score-on lacks, as `masquerade data convert --without` gives."
)


@dataclass(frozen=True, kw_only=True)
class Options(RegionConfig, FileConfig):
    """Attack anonymized video, and report how well action and private labels are recognised."""

    data: Path  # a manifest: path, action, private attributes; see `masquerade data`.
    # evaluate on clips of these actions only, separated by commas; by default all.
    actions: str | None = None
    labels: str | None = None  # private columns to attack, separated by commas; by default all.
    # another manifest, whose attributes are attacked instead of those of --data.
    private_data: Path | None = None
    # another manifest, on which the attackers of --data and --private-data are scored: on its test
    # clips, or on all where it has no split; wants --folds 0.
    score_on: Path | None = None
    # what the manifest's groups are, which are in train or in test, as tables call them: people,
    # or pairs, of whom one person may be in several; by default as its columns tell.
    held_out: str | None = None
    # face, person (with clothes), or figure (everybody drawn alike, without the scene); in place of
    # --regions and --method.
    level: LevelName | None = None
    # how people are hidden; `masquerade methods` lists them. Its own arguments follow.
    method: str | None = None
    method_preset: str | None = None  # a named setting of the method, such as strong.
    # a trained anonymizer, a file or a training run's folder; of several, as runs/{seed}/{fold},
    # each fold has its own.
    weights: Path | None = None
    # what is hidden: frame (also where `anonymize` hides people), faces, people, hands, text,
    # parts:NAME,..., templates:NAME,..., boxes:FILE, or several as in faces+people.
    regions: str | None = "frame"
    # an image of the size of all clips; nothing is hidden where it is black.
    region: Path | None = None
    # attack the mask alone too: which regions are hidden; of stprivacy what it keeps, and a random
    # and a fixed mask.
    mask_only: bool = False
    # families of attackers, separated by commas: scratch, finetuned, published, motion, raw,
    # background, pose, gait, side channel, reconstruction, prior; by default all.
    attackers: str | None = None
    # networks that attack and recognize, in place of the preset's: resnet-50, i3d-r50, ...,
    # separated by commas.
    recognizers: str | None = None
    # also report the mean over networks, of clips and of single frames, as Ilic et al. print it.
    average: bool = False
    # a file of an ImageNet ViT (timm, DeiT, DINO), from which the preset's video ViTs start too.
    image_weights: Path | None = None
    # published weights from which an attacker of the preset starts too, such as
    # resnet-50=resnet50.pth (torchvision's, timm's or masquerade's own); give it once for each.
    attacker_weights: UseAppendAction[tuple[str, ...]] = ()
    # also find people who are in no training clip again in their other clips;
    # --no-reidentification: leave that out.
    reidentification: bool = True
    # number of cross-validation folds; 0: the manifest's columns split_action and split_identity,
    # or split for both, of train, val and test.
    folds: Annotated[int, Folds] = 5
    # the attackers' networks and training: tiny (for a hundred clips), many (for a thousand),
    # bags (frames without order), paper.
    preset: str = "tiny"
    # clips of networks of frames: the preset's, or those that each one's published weights were
    # trained on, as Ilic et al.: their frames and stride (own-frames), or their size too (own).
    clip_sampling: Literal["preset", "own-frames", "own"] = "preset"
    # source frames from one frame of a clip to the next, from the video's start; by default the
    # preset's: all but paper (2) spread frames over the whole video.
    stride: PositiveInt | None = None
    # windows in time, or windows x crops along the longer side, whose predictions are averaged:
    # 5x3 as STPrivacy, 5 as SPAct; by default 1.
    views: str | None = None
    # squeeze whole frames to the preset's size, or keep their aspect and crop; by default the
    # preset's: crop of paper.
    aspect: Literal["squeeze", "crop"] | None = None
    # what of a video that ends before a clip of --stride does: its last frame again (repeat), or
    # back and forth (palindrome, as SPAct); by default the preset's, repeat.
    padding: Literal["repeat", "palindrome"] | None = None
    # test networks on the middle of frames, this share of the side, such as .8 as SPAct, and let
    # them learn from random crops of which it is the mean; stills are tested whole. By default 1.
    test_crop: Share | None = None
    # let networks learn from mirror images too, and average over both; --no-mirror: where an action
    # has a side, such as a throw to the left.
    mirror: bool = True
    # also measure videos in which nothing was found to hide; `anonymize` would not publish them.
    allow_empty: bool = False
    # also measure videos in which nothing was found in over 2 % of the frames between the first and
    # the last find, or in which whole frames were hidden for want of certainty.
    allow_gaps: bool = False
    # attack exported, re-decoded files instead of tensors; the options of files are theirs, and
    # raw video's file is as by default.
    through_file: bool = False
    # for binary attributes, separated by commas: auroc, which is always reported, and cmap, f1,
    # f1-spact (F1 at the threshold of SPAct's code), as papers print them.
    metrics: str = "auroc"
    # also report the trade-off f_lambda of Ilic et al. at these weights of privacy, from 0 to 1,
    # separated by commas: 0,0.25,0.5,0.75,1.
    lambdas: str | None = None
    seeds: PositiveInt = 3  # networks trained of each kind, each with its own seed.
    workers: NonNegativeInt = 0  # parallel processes; 0: one per core.
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps.
    # attackers' networks learn in half precision: in about half the time on a GPU, and on a CPU
    # that computes in bfloat16.
    amp: bool = False
    # GB that small copies of all clips may take on the disk; above it they are made anew from the
    # videos whenever they are read.
    store_limit: NonNegativeFloat = STORE_LIMIT_GB
    json: bool = False  # print the result as JSON.
    # a folder for the results and, so that nothing is computed twice, small copies of all clips,
    # raw ones too: protect it as you protect the videos.
    output: Annotated[Path | None, arg(aliases=["-o"])] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.through_file and (named := file_flags(self).split(" ", 1)[0]):
            raise UsageError(
                f"{named} is of files, and without --through-file attackers see frames before they "
                f"are encoded: give --through-file too, or leave {named} out."
            )


def file_flags(config: FileConfig) -> str:
    """The flags of what a configuration says of files and the default does not."""
    words, plain = [], FileConfig()
    for name in (field.name for field in fields(FileConfig)):
        if (value := getattr(config, name)) != getattr(plain, name):
            words.append(flag_of(name) if value is True else f"{flag_of(name)} {value}")
    return " ".join(words)


def parse(argv: list[str]) -> tuple[Options, Anonymizer]:
    """Options and the anonymizer, which must be named."""
    flags = ("--method", "--weights", "--level")
    if not any(flag_value(argv, (flag,)) for flag in flags) and not HELP & set(argv):
        raise UsageError(f"name a method, as in: {EXAMPLE}")
    weights = flag_value(argv, ("--weights",)) or ""
    first = fill_template(weights, 0, 0)
    options, anonymizer = parse_with_method(
        [word.replace(weights, first) if is_template(weights) else word for word in argv],
        Options,
        verb="masquerade evaluate",
        example=EXAMPLE,
        default=default_method(
            argv, beside=("--method", "--regions", "--weights"), otherwise="blur"
        ),
        boxes=BOXES,
        preset="--method-preset",
    )
    return replace(options, weights=Path(weights) if weights else None), anonymizer


def is_template(weights: str) -> bool:
    """Whether a path of weights stands for several, as runs/{seed}/{fold}."""
    return "{fold}" in weights or "{seed}" in weights


def fill_template(weights: str, seed: int, fold: int) -> str:
    """The path of one seed and fold."""
    return weights.replace("{seed}", str(seed)).replace("{fold}", str(fold))


def weights_of(options: Options) -> tuple[tuple[Path, ...], ...]:
    """The weights of every seed and fold; of one anonymizer the same for each fold."""
    weights = str(options.weights)
    seeds = options.seeds if "{seed}" in weights else 1
    return tuple(
        tuple(Path(fill_template(weights, seed, fold)) for fold in range(max(1, options.folds)))
        for seed in range(seeds)
    )


def main(argv: list[str]) -> int:
    """Run the verb, and return its exit code: 1 where the result is void."""
    if asks_for_help(argv):
        parse(argv)
    from masquerade.evaluation.shared_fits import end_sharing, help_with_fits, helps_with_fits
    from masquerade.training.distributed import under_torchrun

    if helps_with_fits():
        help_with_fits()
        return 0
    try:
        return _evaluate(argv)
    finally:
        if under_torchrun():
            end_sharing()


def _evaluate(argv: list[str]) -> int:
    options, anonymizer = parse(argv)
    from masquerade.evaluation import evaluate
    from masquerade.evaluation.results import command_of_results
    from masquerade.report.table import show

    command = command_to_keep("evaluate", argv)
    config, (manifest, limits) = config_of(options), read_clips(options)
    rows, notes = method_rows(options, anonymizer, manifest, config)
    limits += notes
    if options.output is not None:
        _check_folder(options.output)
        if (older := command_of_results(options.output)) not in (None, command):
            whose = f" of `{escape(older)}`" if older else ""
            print(f"The results{whose} in {options.output} will be replaced.", file=sys.stderr)
    with _claim_results_folder(options.output), StepProgress(quiet=options.json) as progress:
        result = evaluate(
            manifest,
            rows,
            config,
            data=data_name(options),
            folder=options.output,
            command=command,
            limits=limits,
            held_out=options.held_out,
            progress=progress.follow,
            report=progress.print_line,
        )
        if options.output is not None:
            write_results(result, options.output)
    if options.json:
        sys.stdout.write(result.to_json() + "\n")
    else:
        show(result, Console())
    return 1 if result.void else 0


def method_rows(
    options: Options,
    anonymizer: Anonymizer,
    manifest: Manifest,
    config: EvaluationConfig,
    *,
    name: str | None = None,
) -> tuple[list[EvaluatedMethod], tuple[str, ...]]:
    """Build the methods to evaluate, one a row of the table, and notes on trained methods.

    All of them are named after `name`; None: after the method.
    """
    from masquerade.evaluation.training_runs import (
        INSTEAD,
        check_different,
        check_unseen,
        run_warnings,
    )
    from masquerade.methods import method_name

    notes: tuple[str, ...] = ()
    method = method_name(anonymizer)
    row = method_row(name or method, anonymizer, pipeline_config(options))
    if options.weights is not None:
        paths = weights_of(options)
        instead = INSTEAD if options.score_on is None else INSTEAD_OF_SCORED
        unchecked = check_unseen(manifest, config, paths, instead=instead)
        notes += tuple(f"{row.name}: {note}" for note in unchecked)
        notes += run_warnings(row.name, paths)
        if is_template(str(options.weights)):
            arguments = {name: getattr(anonymizer, name) for name in anonymizer.inference_args}
            runs = tuple(
                tuple(load_trained(path, method, **arguments) for path in folds) for folds in paths
            )
            check_different(paths, runs)
            row = replace(row, anonymizer=None, runs=runs)
    if words := file_flags(options):
        notes += (f"{row.name}: its files are written with {words}, those of raw video without.",)
    if options.region is not None:
        name = escape(options.region.name)
        notes += (f"{row.name}: nothing is hidden where {name} (--region) is black.",)
    return [row, *(mask_only_rows(row) if options.mask_only else ())], notes


def config_of(options: Options) -> EvaluationConfig:
    """The configuration that options ask for."""
    from masquerade.evaluation import EvaluationConfig

    known = {field.name for field in fields(EvaluationConfig)}
    values = {name: value for name, value in vars(options).items() if name in known}
    for name in ("attackers", "labels", "metrics", "recognizers"):
        if values[name] is not None:
            values[name] = tuple(dict.fromkeys(split_commas(values[name])))
            if not values[name]:
                raise UsageError(f"--{name} names none; name some, or leave it out.")
    values["lambdas"] = parse_lambdas(options.lambdas)
    values["attacker_weights"] = parse_attacker_weights(options.attacker_weights)
    values["views"] = None if options.views is None else parse_views(options.views)
    return EvaluationConfig(**values)


def parse_views(words: str) -> tuple[int, int]:
    """Parse the value of --views: 5x3 is 5 windows of 3 crops, 5 is 5 windows of one."""
    match = re.fullmatch(r"([1-9]\d{0,2})(?:x([1-9]\d?))?", words)
    if match is None:
        raise UsageError(
            f"--views wants windows in time, or windows x crops, such as 5 or 5x3, not {words!r}."
        )
    return int(match[1]), int(match[2] or 1)


def parse_lambdas(words: str | None) -> tuple[float, ...]:
    """The weights of privacy in a list such as 0,0.5,1."""
    parts = () if words is None else split_commas(words)
    if words is not None and not parts:
        raise UsageError("--lambdas names none; name some, or leave it out.")
    try:
        return tuple(dict.fromkeys(float(word) for word in parts))
    except ValueError:
        raise UsageError(
            f"--lambdas wants numbers from 0 to 1, such as 0,0.5,1, not {words!r}."
        ) from None


def parse_attacker_weights(words: Sequence[str]) -> dict[str, Path]:
    """The files of weights by attacker, of words NAME=FILE."""
    files: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not name or not path:
            raise UsageError(
                f"--attacker-weights wants NAME=FILE, such as resnet-50=resnet50.pth, not {word!r}."
            )
        if name in files:
            raise UsageError(f"--attacker-weights names {name} twice: give it one file.")
        files[name] = Path(path)
    return files


def read_clips(options: Options) -> tuple[Manifest, tuple[str, ...]]:
    """The clips that options ask for, and notes on them to stand under the table."""
    from masquerade.evaluation.cross_dataset.merge import merge_datasets, split_columns
    from masquerade.evaluation.cross_dataset.transfer import transfer_dataset

    if options.score_on is not None and options.folds:
        raise UsageError("--score-on learns on one dataset and scores on another: give --folds 0.")
    actions = None if options.actions is None else split_commas(options.actions)
    limits = () if actions is None else (f"Only clips of these actions: {', '.join(actions)}.",)

    def read(path: Path, actions: tuple[str, ...] | None = None) -> tuple[str, Manifest]:
        manifest = read_manifest(path)
        named = manifest if actions is None else select_actions(manifest, actions)
        return dataset_name(path), named

    name, manifest = read(options.data, actions)
    private = None if options.private_data is None else read(options.private_data)
    if options.score_on is not None:
        scored = read(options.score_on, actions)
        manifest, notes = transfer_dataset((name, manifest), scored, private=private)
        return manifest, (*limits, *notes)
    if private is None:
        return manifest, limits
    for path, dataset in ((options.data, manifest), (options.private_data, private[1])):
        if not options.folds and not split_columns(dataset):
            raise UsageError(
                f"{path} has no split column, so nothing of it can be held out: add one, with "
                "train and test, or use --folds 5."
            )
    note = (
        f"The action is that of {name}, private labels are those of {private[0]}, whose actions "
        "are not used."
    )
    return merge_datasets(manifest, private[1]), (*limits, note)


def data_name(options: Options) -> str:
    """The name of the data, for the title of the table."""
    paths = [path for path in (options.data, options.private_data) if path is not None]
    scored = "" if options.score_on is None else f", scored on {dataset_name(options.score_on)}"
    return " and ".join(dataset_name(path) for path in paths) + scored


def _claim_results_folder(folder: Path | None) -> AbstractContextManager[None]:
    """Claim a folder of results, into which no other evaluation writes then."""
    busy = f"another evaluation is at work in {folder}: wait until it has ended, or choose another"
    return nullcontext() if folder is None else claim_folder(folder, f"{busy} -o.")


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written, before hours of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be a folder for the results: {error.strerror}; choose another -o."
        ) from error


def pipeline_config(options: Options) -> PipelineConfig:
    """What `anonymize` would be told about regions, masks and files."""
    names = [field.name for kind in (RegionConfig, FileConfig) for field in fields(kind)]
    values = {name: getattr(options, name) for name in ("level", "region", *names)}
    if options.level is not None:  # which names them
        values["regions"] = None
    return PipelineConfig(**values, device=options.device)


def method_row(name: str, anonymizer: Anonymizer, config: PipelineConfig) -> EvaluatedMethod:
    """A row of the table: regions, masks and files are as `anonymize` makes them of `config`."""
    from masquerade.evaluation import EvaluatedMethod
    from masquerade.extraction.config import UnionFactory
    from masquerade.pipeline.region_image import read_region_image
    from masquerade.pipeline.stream import cover_of
    from masquerade.regions import REGIONS
    from masquerade.video.encoding import check_encoder

    config = with_default_regions(config, anonymizer)
    if file_flags(config):  # a missing encoder is known before any work
        check_encoder(encoding_for(config), width=256, height=256, deep=False)
    parts = [partial(REGIONS[kind], **arguments) for kind, arguments in region_arguments(config)]
    source: RegionFactory = parts[0] if len(parts) == 1 else UnionFactory(tuple(parts))
    regions = source()  # a missing model is known before any work
    within = None if config.region is None else read_region_image(config.region)
    chosen = config.shape, config.mask_scale, config.feather
    default = chosen == (None, RegionConfig.mask_scale, RegionConfig.feather) and within is None
    return EvaluatedMethod(
        name=name,
        anonymizer=anonymizer,
        regions=source,
        cover=None if default else cover_of(config, regions, within=within),
        outside=config.outside,
        file=config.file,
    )


def mask_only_rows(row: EvaluatedMethod) -> list[EvaluatedMethod]:
    """The rows in which attackers see the mask of a method alone, or one of its controls.

    Of a method that hides regions they see where it hides, white on black, whatever it draws there.
    """
    from masquerade.evaluation import EvaluatedMethod
    from masquerade.evaluation.mask_only import NAMES, REGION_MASK, KeepMask
    from masquerade.extraction.config import region_names
    from masquerade.methods.silhouette import Silhouette
    from masquerade.methods.stprivacy import STPrivacy

    runs = row.runs or ((row.anonymizer,),)
    if not all(isinstance(anonymizer, STPrivacy) for folds in runs for anonymizer in folds):
        everywhere = any(
            anonymizer is None or anonymizer.full_frame for folds in runs for anonymizer in folds
        )
        if everywhere or "frame" in region_names(row.regions):
            raise UsageError(
                "--mask-only is of stprivacy, which drops tubelets, and of methods that hide "
                "regions, such as --regions people; leave it out."
            )
        name = f"{row.name}, {REGION_MASK}"
        return [replace(row, name=name, anonymizer=Silhouette(), runs=(), outside="keep")]
    rows = []
    for source, name in NAMES.items():
        masks = tuple(
            tuple(
                KeepMask(of=anonymizer, source=source)
                for anonymizer in folds
                if isinstance(anonymizer, STPrivacy)
            )
            for folds in runs
        )
        method = EvaluatedMethod(name=f"{row.name}, {name}", file=row.file)
        rows.append(
            replace(method, runs=masks) if row.runs else replace(method, anonymizer=masks[0][0])
        )
    return rows


def write_results(
    result: Evaluation,
    folder: Path,
    name: str = "results",
    *,
    more: str = "",
    others: Mapping[str, str] | None = None,
) -> None:
    """Write an evaluation as NAME.json and NAME.md, which `more` ends, into a folder, together.

    `others` are other files of the folder, texts by name, which appear with them.
    """
    from masquerade.report.table import markdown

    try:
        with transaction(overwrite=True) as path:
            path(folder / f"{name}.json").write_text(result.to_json() + "\n", "utf-8")
            text = "\n".join([markdown(result), *([more] if more else [])])
            path(folder / f"{name}.md").write_text(readable(text), "utf-8")
            for file, text in (others or {}).items():
                path(folder / file).write_text(readable(text), "utf-8")
    except OSError as error:
        raise MasqueradeError(f"{folder} cannot be written: {error.strerror}.") from error
