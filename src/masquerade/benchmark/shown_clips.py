"""Short clips of what each row of a table makes of the same videos, for the page of a benchmark.

They are made for looking: larger than what attackers see, and with noise of the operating system's
entropy, since the seed of the attackers' copies is known. Of real people nothing is shown in which
nobody was found to hide, and never raw video.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.errors import MasqueradeError, OutputError
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig
from masquerade.evaluation.evaluated_clips import RAW, example_of
from masquerade.evaluation.presets import get_preset
from masquerade.evaluation.protocols import action_column, protocols
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.extraction.store import ClipCache
from masquerade.storage import make_private
from masquerade.video.encoding import Encoding
from masquerade.video.probe import FOLDER_RATE, probe_in_process
from masquerade.video.write import write_video

FRAMES, RATE = 24, 12  # two seconds, at about twelve frames a second
LONGEST = 240  # pixels of the longer side
UNSURE = (
    "`anonymize` would not publish this clip, since nothing to hide was found in it, or in too few "
    "of its frames."
)
ENCODING = Encoding(crf=28, threads=1)  # ten rows of two clips stay below a megabyte or two


@dataclass(frozen=True, kw_only=True)
class ShownClip:
    """One clip of one row."""

    row: str  # its name in the table
    file: str  # its name in the folder of clips
    shows: str  # the action, and which of several clips of it


@dataclass(frozen=True, kw_only=True)
class ShownClips:
    """The clips of a table, and what is not shown."""

    clips: tuple[ShownClip, ...] = ()
    left_out: tuple[str, ...] = ()  # sentences, each of a row and why it is not shown


def show_clips(
    manifest: Manifest,
    lines: Sequence[EvaluatedMethod],
    config: EvaluationConfig,
    folder: Path,
    *,
    number: int,
    drawn: bool,
    cache: ClipCache,
    progress: Callable[[str, int, int], None] | None = None,
) -> ShownClips:
    """Write short clips of a table's rows into a folder, from which older ones are removed.

    Of a trained method it is the first run, and the clips are of its test split.

    Args:
        manifest: the clips that were attacked.
        lines: the rows of the table, without raw video.
        config: of the evaluation.
        folder: for the clips; one that is made is its owner's alone.
        number: how many clips of each row.
        drawn: whether nobody in the clips is real: then raw video is shown too.
        cache: of anonymized clips, so that they are made once.
        progress: called with (what, rows done, rows in all).
    """
    chosen = choose_clips(manifest, config, number)
    rows = [line for line in (*([RAW] * drawn), *lines) if not line.not_applicable]
    clips: list[ShownClip] = []
    left_out: list[str] = []
    if chosen:
        make_private(folder)
    for at, line in enumerate(rows if chosen else ()):
        for which, (row, shows) in enumerate(chosen, 1):
            file = f"{at:02d}-{which}-{_plain(line.name)}.mp4"
            make = partial(_extraction, line, example_of(line), config, drawn)
            try:
                _write(manifest.take([row]), make, folder / file, cache)
            except OutputError:
                left_out.append(f"{line.name}, {shows}: {UNSURE}")
                continue
            except MasqueradeError as error:  # it may fail on one clip; the table stands
                left_out.append(f"{line.name}, {shows}: {error}")
                continue
            clips.append(ShownClip(row=line.name, file=file, shows=shows))
        if progress:
            progress("clips for the page", at + 1, len(rows))
    files = {clip.file for clip in clips}
    for old in folder.glob("*.mp4"):
        if old.name not in files:
            old.unlink()
    return ShownClips(clips=tuple(clips), left_out=tuple(left_out))


def choose_clips(
    manifest: Manifest, config: EvaluationConfig, number: int
) -> list[tuple[int, str]]:
    """Rows of the manifest to show, of the first test split, with what they show.

    They are of as many actions as there are, in the manifest's order, and stills are not shown.
    """
    first = protocols(manifest, folds=config.folds, seed=config.seed, labels=config.labels)[0]
    actions = manifest.cells(action_column(manifest))
    waiting: dict[str, list[int]] = {}
    for row in first.folds[0].test.tolist():
        if actions[row]:
            waiting.setdefault(actions[row].replace("|", ", "), []).append(row)
    chosen: list[tuple[int, str]] = []
    turn = 0
    while len(chosen) < number and any(len(rows) > turn for rows in waiting.values()):
        for action, rows in waiting.items():
            if len(rows) > turn and len(chosen) < number:
                chosen.append((rows[turn], f"{action} ({turn + 1})" if turn else action))
        turn += 1
    return chosen


def _extraction(
    line: EvaluatedMethod,
    anonymizer: Anonymizer | None,
    config: EvaluationConfig,
    drawn: bool,
    *,
    size: tuple[int, int],
    stride: int,
) -> ExtractionConfig:
    """As attackers' clips are made, through files where those are, but larger, and unseeded.

    Their frames are consecutive, or nearly so.
    """
    return ExtractionConfig(
        frames=FRAMES,
        size=size,
        stride=stride,
        padding="palindrome",  # a short clip goes back and forth
        method=anonymizer,
        regions=line.regions,
        cover=line.cover,
        outside=line.outside,
        seed=None,
        file=line.file,
        through_file=config.through_file,
        sample_first=get_preset(config.preset).sample_first and not config.through_file,
        # real people who were not found would be shown as they are
        allow_empty=drawn and config.allow_empty,
        allow_gaps=drawn and config.allow_gaps,
    )


def _write(
    manifest: Manifest, make: Callable[..., ExtractionConfig], path: Path, cache: ClipCache
) -> None:
    info = probe_in_process(manifest.path(manifest.clips[0]), rate=FOLDER_RATE)
    scale = min(1.0, LONGEST / max(info.width, info.height))
    size = (_even(info.height * scale), _even(info.width * scale))
    stride = max(1, round(info.rate / RATE))
    clips = extract_clips(manifest, make(size=size, stride=stride), cache=cache)
    video = clips[0].float().div(255)[None]
    write_video(path, video, rate=info.rate / stride, encoding=ENCODING, overwrite=True)


def _even(pixels: float) -> int:
    return max(2, 2 * round(pixels / 2))


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)[:40]
