"""`masquerade data`: check and convert manifests, vote on labels, floors, the mimes benchmark."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from rich import markup
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from masquerade.cli.arguments import run_command
from masquerade.datasets.annotator_vote import Ties, VoteResult
from masquerade.datasets.annotator_vote import vote as vote_on
from masquerade.datasets.check import CheckResult, check_manifest
from masquerade.datasets.label_floors import FloorsResult, format_score, label_floors
from masquerade.datasets.manifest import Manifest, read_manifest, write_manifest
from masquerade.datasets.overlap import without_overlap
from masquerade.datasets.published import READERS
from masquerade.datasets.splits import carve_validation, copy_split, note_on_share, random_split
from masquerade.errors import UsageError
from masquerade.output_paths import refuse_existing, refuse_replacing
from masquerade.ranges import Allowed, Checked, PositiveInt, Seed, UnitInterval, at_least, checked
from masquerade.text import escape

Flag = tyro.conf.FlagCreatePairsOff[bool]
Json = Annotated[Flag, tyro.conf.arg(help="print the result as JSON.")]
Dataset = tyro.conf.arg(help=f"which published form: {', '.join(READERS)}.")
Output = tyro.conf.arg(aliases=["-o"])
Overwrite = Annotated[Flag, tyro.conf.arg(aliases=["-y"])]
Part = Annotated[float, Allowed("above 0 and below 1", lambda value: 0 < value < 1)]
Result = TypeVar("Result", CheckResult, VoteResult, FloorsResult)
_SHOWN = 20  # of each kind of finding; --json has them all
_WIDE = 10_000  # characters; no table is wider


def check(
    manifest: Annotated[Path, tyro.conf.Positional],
    *,
    columns_only: Flag = False,
    every_frame: Flag = False,
    json: Json = False,
) -> int:
    """Look for missing, unreadable and equal files, and for leaks between splits.

    Example: masquerade data check clips.csv

    Args:
        manifest: the CSV.
        columns_only: open no file; look for leaks in the manifest's columns.
        every_frame: decode whole files, not only a first frame.
    """
    if columns_only and every_frame:
        raise UsageError("--columns-only opens no file that --every-frame could decode; name one.")
    clips = read_manifest(manifest)
    result = check_manifest(clips, files=not columns_only, every_frame=every_frame)
    _print(result, _print_check, json=json)
    return 0 if result.ok else 1


def vote(
    annotators: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    out: Annotated[Path | None, Output] = None,
    ties: Ties = "unknown",
    overwrite: Overwrite = False,
    json: Json = False,
) -> int:
    """Merge the manifests of several annotators by majority vote and print their agreement.

    Example: masquerade data vote anna.csv ben.csv cem.csv -o labels.csv

    Args:
        annotators: one manifest each, with the same paths.
        out: the CSV to write; without, only the agreement is printed.
        ties: unknown leaves the label empty, and a set with a tied value; present calls a tied 0/1
            label 1, and a tied value of a set present; first takes the first annotator's.
        overwrite: replace an existing output.
    """
    once = {os.path.realpath(path): path for path in annotators}
    if len(once) < len(annotators):
        twice = next(p for p in annotators if once[os.path.realpath(p)] is not p)
        raise UsageError(f"{twice} is given twice: name the manifest of each annotator once.")
    if out is not None:
        refuse_replacing(out, *annotators)
        refuse_existing(out, overwrite=overwrite)
    result = vote_on([read_manifest(path) for path in annotators], ties=ties)
    if out is not None:
        write_manifest(result.manifest, out)
    _print(result, _print_vote, json=json)
    return 0


@checked
def floors(
    labels: Annotated[Path, tyro.conf.Positional],
    *,
    splits: Path | None = None,
    split: str = "1",
    action_accuracy: UnitInterval | None = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Print the floors: the scores of trivial attackers that never see a video.

    Example: masquerade data floors ucf101_privacy_attribute_label.pickle --splits lists --split 1

    Args:
        labels: a published VP-UCF101 or VP-HMDB51 pickle, or a manifest.
        splits: for a pickle, the folder of the dataset's official lists.
        split: for a pickle 1, 2 or 3; for a manifest the split column.
        action_accuracy: of an action recognizer, in [0, 1], for the floor from its guesses; for
            a pickle without, the published one on protected video.
        seed: of the random scores and the bootstrap.
    """
    result = label_floors(
        labels, splits=splits, split=split, action_accuracy=action_accuracy, seed=seed
    )
    _print(result, _print_floors, json=json)
    return 0


@dataclass(frozen=True, kw_only=True)
class ReaderOptions(Checked):
    """What only some of the published forms need or take."""

    # the folder that the clips' (or images') paths start from, where it is another.
    videos: Path | None = None
    # for vp, the folder of the official split lists; for sbu and kth, of those of Selective's
    # authors.
    splits: Path | None = None
    split: Annotated[int, at_least(1, 3)] | None = None  # for hmdb51, ucf101 and vp: 1, 2 or 3.
    fold: Annotated[int, at_least(1, 5)] | None = None  # for sbu: 1 to 5, the fold to test on.
    # for pa-hmdb51: the published names, or 1 from value 1 on (any, and vispr under VISPR's
    # names), or from value 2 for face and nudity (most).
    values: Literal["published", "any", "most", "vispr"] | None = None
    by_frame: Flag = False  # for pa-hmdb51: a row for each frame, so that scores count frames.
    by_video: Flag = False  # for pa-hmdb51: a row for each video, with what any frame has.
    # for pa-hmdb51: cut ranges without a change into rows of at most so many frames.
    most_frames: PositiveInt | None = None
    attributes: Literal["vispr1", "vispr2"] | None = None  # for vispr: which seven.
    people: Path | None = None  # for ipn: the CSV with the gender of each person.
    suffix: str | None = None  # for vp: how your video files end, such as .avi.
    pauses: Flag = False  # for ipn: also the stretches without a gesture.
    every: Flag = False  # for hvu: also clips that lack an action, an object or a scene.


@checked
def convert(
    dataset: Annotated[str, tyro.conf.Positional, Dataset],
    source: Annotated[Path, tyro.conf.Positional],
    *,
    out: Annotated[Path, Output],
    reader: Annotated[ReaderOptions, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="dataset")],
    without: Path | None = None,
    seed: Seed | None = None,
    test_share: Part | None = None,
    val_share: Part | None = None,
    split_as: Path | None = None,
    overwrite: Overwrite = False,
) -> int:
    """Turn a dataset's published labels into a manifest.

    Example: masquerade data convert ucf101 ucfTrainTestlist --videos UCF-101 -o ucf101.csv

    Args:
        source: its folder or label file.
        out: the CSV to write.
        without: another manifest, the test set: clips of its files are left out of the training
            set that is written, and those that share people or a source with them in this dataset.
            Names of people are not compared between the two.
        seed: of the random splits: takes of kth and sbu, --test-share, --val-share.
        test_share: draw a train and a test split by groups; the share of test, such as 0.4.
        val_share: turn this share of train into val, by groups, such as 0.1.
        split_as: another manifest of the same files, whose splits are taken.
        overwrite: replace an existing output.
    """
    if split_as is not None and (test_share, val_share) != (None, None):
        raise UsageError("--split-as takes another's splits: leave out the shares.")
    refuse_replacing(out, source, without, split_as, reader.people)
    refuse_existing(out, overwrite=overwrite)
    _refuse_list(out, source, reader.splits)
    options = {k: v for k, v in vars(reader).items() if v is not None and v is not False}
    whole = manifest = _read(dataset, source, options, seed)
    random = "seed" in signature(READERS[dataset]).parameters and reader.splits is None
    drawn = random or test_share or val_share
    if seed is not None and not drawn:
        why = "has no random split" if reader.splits is None else "has the splits of --splits"
        raise UsageError(f"{dataset} {why}: leave out --seed, or give --test-share.")
    if without is not None:
        manifest = without_overlap(manifest, read_manifest(without))
    notes: list[str | None] = []
    if test_share is not None:
        if own := [column.name for column in manifest.of_role("split") if column.name != "split"]:
            raise UsageError(
                f"{dataset} has splits of its own ({', '.join(own)}), which are tested on in place "
                "of a drawn one: leave out --test-share."
            )
        manifest = random_split(manifest, test=test_share, seed=seed or 0)
        notes.append(note_on_share(manifest, "test", test_share, of=("train", "test")))
    if val_share is not None:
        without_val = [column for column in manifest.of_role("split") if "val" not in column.values]
        if not without_val:
            why = "has val already" if manifest.of_role("split") else "has no train to take val of"
            raise UsageError(
                f"{dataset} {why}: leave out --val-share, or draw a split by --test-share, too."
            )
        for column in without_val:
            manifest = carve_validation(
                manifest, name=column.name, fraction=val_share, seed=seed or 0
            )
            parts = ("train", "val")
            notes.append(note_on_share(manifest, "val", val_share, name=column.name, of=parts))
    if split_as is not None:
        manifest = copy_split(manifest, read_manifest(split_as))
    write_manifest(manifest, out)
    left_out = len(whole) - len(manifest)
    more = "" if without is None else f" {left_out} are left out for {without.name}."
    remarks = "".join(f" {note}" for note in notes if note)
    line = _plain(f"{out}: {len(manifest)} clips.{more}{remarks}")
    Console(stderr=True).print(line, soft_wrap=True)
    return 0


@dataclass(frozen=True, kw_only=True)
class MimesOptions(Checked):
    """What the drawn clips show."""

    clips: Annotated[int, at_least(1, 10_000_000)] = 1024  # how many.
    size: Annotated[int, at_least(32, 256)] = 64  # side of the frames in pixels.
    frames: Annotated[int, at_least(1, 10_000)] = 16  # of a clip.
    people: Annotated[int, at_least(1, 1_000_000)] = 128  # how many.
    seed: Seed = 0  # of everything; the same seed gives the same clips.
    correlation: UnitInterval = 0.0  # from 0 to 1, of the correlated attributes with the action.
    correlated: tuple[str, ...] = ("warm",)  # names of binary attributes.
    # whether each person has their own gait; --no-gait: let everybody move alike.
    gait: bool = True
    # whether each person has their own appearance; --no-looks: let everybody look alike, so that
    # gait is the only cue.
    looks: bool = True
    # show each person in every clip in somebody else's appearance, so that gait is the only cue.
    shuffle_looks: bool = False
    # with --no-looks: give each person their own build (height, breadths, lengths of limbs); with
    # --no-gait, too, build is the only cue.
    builds: bool = False
    actions: tuple[str, ...] = ()  # names of two or more; by default all.


def mimes(
    out: Annotated[Path, tyro.conf.Positional],
    *,
    benchmark: Annotated[MimesOptions, tyro.conf.OmitArgPrefixes],
    truth: Flag = False,
) -> int:
    """Draw mimes, the synthetic benchmark of acting people, as videos with a manifest.

    Example: masquerade data mimes mimes/ --clips 256

    Args:
        out: the folder to make, or an empty one.
        truth: also write part masks, keypoints and flow.
    """
    from masquerade.datasets.mimes import Mimes, write_mimes  # the help does not wait for torch

    if benchmark.correlated != ("warm",) and not benchmark.correlation:
        raise UsageError("--correlated changes nothing without --correlation: give one above 0.")
    drawn = Mimes(**{**vars(benchmark), "actions": benchmark.actions or None})
    path = write_mimes(out, drawn, truth=truth)
    Console(stderr=True).print(f"{_plain(path)}: {len(drawn)} clips.", soft_wrap=True)
    return 0


def main(argv: list[str]) -> int:
    """Run the verb and return its exit code."""
    commands = (check, vote, floors, convert, mimes)
    return run_command(
        argv, {command.__name__: command for command in commands}, verb="masquerade data"
    )


def _refuse_list(out: Path, *folders: Path | None) -> None:
    """Refuse to replace a file of published lists; a manifest may lie among them."""
    above = Path(os.path.realpath(out)).parents
    inside = any(folder and Path(os.path.realpath(folder)) in above for folder in folders)
    if inside and out.exists():
        try:
            read_manifest(out)
        except UsageError:
            raise UsageError(
                f"{out} is no manifest and may be read as one of the lists; choose another -o."
            ) from None


def _print(result: Result, show: Callable[[Result], None], *, json: bool) -> None:
    if json:
        sys.stdout.write(result.to_json() + "\n")
    else:
        show(result)


def _read(dataset: str, source: Path, options: dict[str, Any], seed: int | None) -> Manifest:
    if dataset not in READERS:
        raise UsageError(f"there is no form {dataset!r}; choose one of {', '.join(READERS)}.")
    reader = READERS[dataset]
    taken = signature(reader).parameters
    if seed is not None and "seed" in taken:
        options = {**options, "seed": seed}
    for name, parameter in taken.items():
        needed = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        if needed and name not in options:
            raise UsageError(f"{dataset} needs --{name.replace('_', '-')}.")
    for name in options:
        if name not in taken:
            raise UsageError(f"{dataset} takes no --{name.replace('_', '-')}.")
    return reader(source, **options)


def _plain(text: object) -> str:
    """Text with control characters and rich's markup escaped."""
    return markup.escape(escape(text))


def _print_check(result: CheckResult) -> None:
    console = Console()
    console.print(f"{result.clips} clips in {result.files} files")
    findings = {
        "missing": list(result.missing),
        "unreadable": [f"{file.path}: {file.why}" for file in result.unreadable],
        "range past the last frame": list(result.past_end),
        "equal content": [" = ".join(group) for group in result.duplicates],
        "in several parts of a split": [
            f"{leak.split}: {leak.by} {leak.value} in {', '.join(leak.parts)} ({leak.clips} clips)"
            for leak in result.split_leaks
        ],
    }
    for title, lines in findings.items():
        if lines:
            console.print(f"\n[bold red]{title}: {len(lines)}[/]")
            listed = "\n".join(_plain(line) for line in lines[:_SHOWN])
            console.print(listed, highlight=False, soft_wrap=True)
        if len(lines) > _SHOWN:
            console.print(f"... and {len(lines) - _SHOWN} more; --json has them all")
    if result.not_compared:
        pairs = _plain("; ".join(result.not_compared))
        console.print(f"\nnot checked, since they share people on purpose: {pairs}")
    for note in result.notes:
        console.print(f"\n{_plain(note)}", soft_wrap=True, highlight=False)
    if result.ok:
        console.print("[green]nothing found[/]")


def _print_vote(result: VoteResult) -> None:
    table = Table("column", "clips", "rated twice or more", "Fleiss' κ", "ties")
    for row in result.agreement:
        kappa = "n/a" if row.kappa is None else f"{row.kappa:.3f}"
        table.add_row(_plain(row.column), str(row.clips), str(row.rated), kappa, str(row.ties))
    Console().print(table)


_METRICS = {
    "positive rate": "share of clips that have the attribute, in percent; no attacker's score",
    "top-1": "share of clips whose label is guessed right, in percent",
    "balanced accuracy": "the same, as the mean over labels: rare ones count as much as any",
    "cMAP": "mean over attributes of the average precision: how far up clips that have it are "
    "ranked, in percent",
    "F1": "how right and how complete the guesses of yes are together, 0 to 1",
    "BCE": "binary cross-entropy: how far guessed probabilities are from the truth; 0 is exact",
    "standard error": "how far a score may be off by the choice of the test clips",
}
_ATTACKERS = (
    "None of these sees a video. A constant says how common the attribute is in train, train "
    "majority the commonest label there; coins guess at random; an action prior says what is "
    "commonest in train for the true action, and predicted action for one that a recognizer reads."
)


def _print_floors(result: FloorsResult) -> None:
    """Print the tables, wide enough for whole headers where no terminal's width limits them."""
    console = Console()
    for table in result.tables:
        title = f"{result.labels}, split {result.split}: {table.train} train, {table.test} test"
        left_out = f", {table.left_out} without a label" if table.left_out else ""
        several = len(table.attributes) > 1
        scores = ("mean", *table.attributes) if several else table.attributes
        heads = ("attacker", "metric", *map(_plain, scores))
        shape = Table(*heads, title=_plain(title + left_out))
        for row in table.floors:
            sd = f" ± {format_score(row, row.sd)}" if row.sd else ""
            texts = [format_score(row, value) for value in row.per_attribute or () if several]
            shape.add_row(row.name, row.metric, format_score(row, row.value) + sd, *texts)
        for column in shape.columns:
            column.overflow = "fold"
        whole = Measurement.get(console, console.options.update(width=_WIDE), shape).maximum
        width = console.width if console.is_terminal else max(console.width, whole)
        Console(width=width).print(shape)
    metrics = {row.metric for table in result.tables for row in table.floors}
    for metric, meaning in _METRICS.items():
        if any(name.startswith(metric) for name in metrics):
            console.print(f"{metric}: {meaning}.", soft_wrap=True, highlight=False)
    console.print(_ATTACKERS, soft_wrap=True, highlight=False)
    for note in result.notes:
        console.print(_plain(note), soft_wrap=True)
