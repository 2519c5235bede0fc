"""Run the attacks on published videos, one after another."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from masquerade.attack.across_videos import (
    LEAST_FRAMES,
    Described,
    VideoDescriber,
    compare_videos,
    rank_sources,
)
from masquerade.attack.beside_raw import BesideRaw
from masquerade.attack.config import AttackConfig
from masquerade.attack.file_facts import (
    check_source,
    find_receipt,
    hides_whole_frames,
    meant_to_hide,
    read_streams,
    read_tags,
    said_to_be_drawn,
)
from masquerade.attack.finders import Finders
from masquerade.attack.finding import AttackReport, Finding, Level, VideoAttack
from masquerade.attack.known_noise import KnownNoise
from masquerade.attack.look_again import SEARCHED, Drawn, LookAgain
from masquerade.attack.packet_sizes import compare_packet_sizes
from masquerade.attack.paired_frames import (
    read_frames,
    read_windows,
    rest_of_raw,
    spread_numbers,
)
from masquerade.attack.published_files import list_published, pair_with_raw
from masquerade.attack.restore import (
    LEARNED_FRAMES,
    NETWORKS,
    PATCHES,
    RESTORED_FRAMES,
    SIDE,
    FramePair,
    Restoration,
    cut_patches,
    fit_on_patches,
)
from masquerade.attack.undo import UNDO
from masquerade.errors import MissingError, UsageError, VideoError, traceback_of
from masquerade.pipeline.receipt import library_versions
from masquerade.video.container import printable
from masquerade.video.decoding_process import count_frames, list_side_data, probe, tally_frames
from masquerade.video.probe import FrameCount

ATTACKS = {
    "faces": "look again for faces in what was published, at low scores",
    "undo": "stretch contrast, stack neighbours, smooth mosaics, deconvolve; then look for faces, "
    "people, poses and text",
    "noise": "look for noise that anybody can draw anew, subtract it, and look for all behind it",
    "people": "look for people",
    "poses": "look for poses of bodies",
    "text": "look for lines of text",
    "tags": "read the file's tags",
    "streams": "list what is in the file beside the picture",
    "receipt": "look for a receipt beside the file",
    "raw": "look for faces of the raw video that are unchanged",
    "raw people": "look for people of the raw video who are unchanged",
    "raw frame": "look for detail of the raw frames, where all of them was to be hidden",
    "raw text": "look for lines of text of the raw video, where text was to be hidden",
    "sizes": "compare how large packets are over time with those of the raw file",
    "restore": "train a network on other pairs of published and raw video; restore, then look for "
    "faces, people, poses and text",
    "across": "compare the videos with one another: which may show the same person or scene?",
    "source": "look for each video's raw source among all raw videos",
}
"""The attacks by name, each with what it does, in the order in which they run.

`raw` and those that begin so, `sizes`, `restore` and `source` need raw video, `across` and `source`
several videos."""


Progress = Callable[[str, int, int], None]


def attack_files(
    paths: Sequence[Path],
    config: AttackConfig,
    *,
    raw: Path | None = None,
    progress: Progress | None = None,
) -> AttackReport:
    """Attack published videos and images, and report what was recovered from each.

    Args:
        paths: files, and folders whose videos and images are attacked, with those in folders below.
        config: how.
        raw: the raw video of one file, or a folder of raw videos by the names of the published
            ones, with or without what `anonymize` puts behind a name, in the same folders below it
            or in none; None: there is none.
        progress: called with (file, frames done, frames in all).

    Raises:
        UsageError: there is nothing to attack, or no raw video belongs to any of the files.
        MissingError: a network is not installed.
    """
    files, others, unread = list_published(paths)
    finders = Finders()  # a network that is missing fails here, before any work
    beside, without_raw = pair_with_raw(files, raw)
    tracebacks: list[str] = []
    restorations = {} if config.quick else _cross_fit_restorers(beside, progress, tracebacks)
    videos = [
        replace(
            attack_file(
                file, config, beside[file], progress, restorations.get(file), finders=finders
            ),
            without_raw=without_raw.get(file),
        )
        for file in files
    ]
    videos += [VideoAttack(path=path, error=why) for path, why in unread.items()]
    return AttackReport(
        videos=tuple(videos),
        folder=tuple(_attack_folder(videos, beside, progress, tracebacks)),
        passed_over=others,
        arguments=asdict(config) | {"raw": None if raw is None else str(raw)},
        versions=library_versions(),
        tracebacks=tuple(tracebacks),
    )


def _attack_folder(
    videos: Sequence[VideoAttack],
    beside: Mapping[Path, Path | None],
    progress: Progress | None,
    tracebacks: list[str],
) -> Iterator[Finding]:
    """Compare videos with one another, and with all raw ones.

    To `tracebacks` those of errors that are not foreseen are added.
    """
    counts = {one.path: one.frames for one in videos if one.error is None}
    files = [path for path, count in counts.items() if count >= LEAST_FRAMES]
    if len(files) < 2:
        return
    describer, shown = VideoDescriber(), {}
    lost: list[str] = []  # why videos drop out

    def describe(path: Path, published: Path) -> Described | None:
        if progress:
            progress(f"comparing {path.name}", 0, 1)
        try:
            # as long as was published: the rest of a longer raw video is not compared
            count = counts[published]
            count = count if path == published else _frames_until(path, published, count)
            opaque = path == published or _shows_transparent(published, path)
            with ExitStack() as stack:
                frames = read_frames(stack, path, opaque=opaque)
                return describer.describe(count, (one.pixels for one in frames))
        except Exception as error:  # of whatever kind: it takes nothing back that was found
            lost.append(f" {printable(path)} was not compared: {_why(error, path)}")
            tracebacks.extend(_unforeseen(error))
            return None

    def with_lost(found: Finding) -> Finding:
        return replace(found, says=f"{found.says}{''.join(lost)}")

    described: dict[Path, Described] = {}
    raw: dict[Path, Described] = {}
    for path in files:
        if (one := describe(path, path)) is not None:
            described[path], shown[path] = one, describer.shown
    yield with_lost(compare_videos(described, shown))
    lost.clear()
    sources: dict[Path, Path] = {}
    for path in described:
        source = beside.get(path)
        if source is not None and (one := describe(source, path)) is not None:
            raw[path], sources[path] = one, source.resolve()
    if len(set(sources.values())) > 1 or lost:
        yield with_lost(rank_sources({path: described[path] for path in raw}, raw, sources))


def _frames_until(raw: Path, published: Path, count: int) -> int:
    """Count the raw video's frames up to the time at which `count` published ones end."""
    rates = [float(probe(one).rate or 0) for one in (raw, published)]
    wanted = round(count * rates[0] / rates[1]) if all(rates) else count
    return min(wanted, count_frames(raw))


def _shows_transparent(published: Path, raw: Path) -> bool:
    """Whether a published video shows the colours that are under transparent raw pixels."""
    return probe(raw).has_alpha and next(read_windows(published, raw, [0])).opaque


def attack_file(
    path: Path,
    config: AttackConfig,
    raw: Path | None,
    progress: Progress | None = None,
    restoration: Restoration | None = None,
    *,
    finders: Finders,
    own_output: bool = False,
    salvage: bool = False,
    drawn: bool | None = None,
) -> VideoAttack:
    """Attack one published video or image; see `attack_files`.

    Args:
        path: the video or image.
        config: how.
        raw: its raw video; None: there is none.
        progress: called with (file, frames done, frames in all).
        restoration: has a network that has not seen it; None: it is not restored.
        finders: of what is looked for.
        own_output: a check of what this program has just written: faces are looked for in it, and
            the rest in the raw video alone, where it was to be hidden.
        salvage: what is left of a damaged raw video is compared.
        drawn: no pixel of the source is shown, as `shows_no_pixel` says; None: the receipt beside
            the file tells, where the raw video does not speak against it.
    """
    began = time.monotonic()
    try:
        info = probe(path)
        count, unseen, unheard = tally_frames(path) if info.kind == "video" else FrameCount(1, 0)
        chosen = spread_numbers(count, config.frames)
        attacks = _FrameAttacks.on(path, raw, config, finders, restoration, own_output=own_output)
        attacks.look(path, raw, chosen, salvage=salvage, progress=progress)
        whole = info.kind == "video" and not own_output  # which has no side data but its encoder's
        side_data, other_messages = list_side_data(path) if whole else ((), False)
        findings = [
            *attacks.detection.findings(_who_says_drawn(path, attacks.compared, drawn)),
            *([attacks.noise.finding()] if attacks.noise else []),
            read_tags(info, side_data=side_data, other_messages=other_messages),
            read_streams(info, hidden=unseen, hidden_sound=unheard),
            find_receipt(path),
            *(attacks.compared.findings() if attacks.compared else []),
        ]
        if raw is not None and info.kind == "video" and not own_output:
            findings.append(compare_packet_sizes(path, raw))
        findings += [attacks.restoration.finding()] if attacks.restoration else []
    except (MissingError, UsageError):
        raise
    except Exception as error:  # of whatever kind: the other videos are attacked all the same
        return VideoAttack(
            path=path, error=_why(error, path), traceback="".join(_unforeseen(error))
        )
    return VideoAttack(
        path=path,
        frames=count,
        width=info.width,
        height=info.height,
        attacked=tuple(chosen),
        findings=tuple(findings),
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _FrameAttacks:
    """The attacks on the frames of one video; an attack that is left out is None."""

    finders: Finders
    detection: LookAgain
    noise: KnownNoise | None
    compared: BesideRaw | None  # with the raw video
    restoration: Restoration | None

    @classmethod
    def on(
        cls,
        path: Path,
        raw: Path | None,
        config: AttackConfig,
        finders: Finders,
        restoration: Restoration | None,
        *,
        own_output: bool,
    ) -> "_FrameAttacks":
        """The attacks on one video; the arguments are those of `attack_file`."""
        hidden = meant_to_hide(path, config.hidden)
        compared = None
        if raw is not None:
            check_source(path, raw)
            left: Level | None = None if own_output else "left"
            compared = BesideRaw(
                rest=rest_of_raw(path, raw),
                people="recovered" if "person" in hidden else left,
                whole=not own_output and hides_whole_frames(path, config.hidden),
                text=finders if "text" in hidden.intersection(finders.kinds) else None,
            )
        return cls(
            finders=finders,
            detection=LookAgain(
                undo=() if config.quick else tuple(UNDO),
                hidden=hidden,
                finders=finders,
                kinds=finders.kinds[:1] if own_output else finders.kinds,
            ),
            noise=None if config.quick else KnownNoise(finders, hidden=hidden),
            compared=compared,
            restoration=restoration and replace(restoration, hidden=hidden),
        )

    def look(
        self,
        path: Path,
        raw: Path | None,
        chosen: Sequence[int],
        *,
        salvage: bool,
        progress: Progress | None,
    ) -> None:
        """Look at the chosen frames of a video, beside those of the raw one."""
        first = None if self.restoration is None else self.restoration.first
        later = [number for number in chosen if first is not None and number >= first]
        restored = {later[i] for i in spread_numbers(len(later), RESTORED_FRAMES)}
        searched = {chosen[i] for i in spread_numbers(len(chosen), SEARCHED)}
        if self.noise is not None:
            start = next(read_windows(path, raw, [0], salvage=salvage))
            self.noise.look(start.published, *start.raw[:1])
        for done, one in enumerate(read_windows(path, raw, chosen, salvage=salvage), 1):
            source = one.raw[0] if one.raw else None
            self.detection.look(
                one.number, one.frames, one.at, source, search=one.number in searched
            )
            if self.compared is not None:
                self.compared.look(one.number, one.published, one.raw)
            if self.restoration is not None and one.number in restored:
                pair = FramePair.of_window(one.frames, one.at, one.raw[0])
                self.restoration.look(one.number, pair, self.finders)
            if progress:
                progress(path.name, done, len(chosen))


def _who_says_drawn(path: Path, compared: BesideRaw | None, drawn: bool | None) -> Drawn:
    """Whether what is seen in a file is drawn, and who says so; `drawn` is that of `attack_file`.

    A receipt alone takes back no face that is seen: anybody can write one.
    """
    if drawn is not None:
        return "surely" if drawn else "no"
    if not said_to_be_drawn(path):
        return "no"
    if compared is None:
        return "said"
    return "said, and changed" if compared.nothing_unchanged else "said, and unchanged"


def _why(error: Exception, path: Path) -> str:
    """Why a file could not be attacked, without its folder: the page may be sent on."""
    if isinstance(error, OSError):
        name = printable(str(error.filename or path))
        return f"{name} cannot be read: {error.strerror or error}."
    if isinstance(error, VideoError):
        return str(error)
    return f"an unexpected error: {error!r}; report it with what --verbose prints."


def _unforeseen(error: Exception) -> list[str]:
    """An error's traceback, if it says more than the sentence of `_why`."""
    return [] if isinstance(error, OSError | VideoError) else [traceback_of(error)]


def _cross_fit_restorers(
    beside: Mapping[Path, Path | None], progress: Progress | None, tracebacks: list[str]
) -> dict[Path, Restoration]:
    """For each video with a raw one, fit a network that restores it on the other pairs.

    Videos are dealt into three groups at most, those of one raw video into the same; each is
    restored by what learned from the other groups. Where all have one raw video, each is restored
    in its second half by what learned from its first. To `tracebacks` those of errors that are not
    foreseen are added.
    """
    pairs = {path: raw for path, raw in beside.items() if raw is not None}
    alone = len({raw.resolve() for raw in pairs.values()}) == 1
    shared = 1 if alone else len(pairs)  # pairs among which one network's patches are divided
    patches: dict[Path, Tensor] = {}
    found_for: dict[Path, Restoration] = {}  # also of the unread, why nothing was tried
    for done, (path, raw) in enumerate(pairs.items(), 1):
        try:
            check_source(path, raw)
            count = count_frames(path) if probe(path).kind == "video" else 1
            frames = min(LEARNED_FRAMES, max(1, PATCHES // shared))
            chosen = spread_numbers(count // 2 if alone else count, frames)
            each = -(-PATCHES // max(1, shared * len(chosen)))
            cut = cut_patches(_frame_pairs(path, raw, chosen), each)
        except Exception as error:  # of whatever kind: the others go on
            why = f"this pair could not be read to learn from: {_why(error, path).rstrip('.')}"
            found_for[path] = Restoration(net=None, learned=why)
            tracebacks.extend(_unforeseen(error))
        else:
            if alone:  # at once: as many patches of each would fill the memory
                words = (
                    "learned from the first half of the video, and restored frames of the second"
                )
                found_for[path] = _learn([cut], words, first=(count + 1) // 2)
            else:
                patches[path] = cut
        if progress:
            progress("pairs to learn from", done, len(pairs))
    sources = list(dict.fromkeys(pairs[path].resolve() for path in patches))
    groups = min(NETWORKS, len(sources))
    for group in range(groups):
        dealt = sources[group::groups]
        mine = [path for path in patches if pairs[path].resolve() in dealt]
        others = [one for path, one in patches.items() if path not in mine]
        words = f"learned from {len(others)} other pairs of videos"
        one = _learn(others, words)
        found_for |= {path: Restoration(net=one.net, learned=one.learned) for path in mine}
        if progress:
            progress("networks that restore", group + 1, groups)
    return found_for


def _learn(patches: Sequence[Tensor], learned: str, *, first: int = 0) -> Restoration:
    if not patches:
        why = "no other pair of published and raw video can be read to learn from"
        return Restoration(net=None, learned=why)
    every = torch.cat(list(patches))
    if not len(every):
        why = f"there are too few frames of {SIDE} pixels a side or more to learn from"
        return Restoration(net=None, learned=why)
    net = fit_on_patches(every)
    return Restoration(net=net, learned=f"{learned}, by {len(every):,} patches", first=first)


def _frame_pairs(path: Path, raw: Path, chosen: Sequence[int]) -> Iterator[FramePair]:
    for one in read_windows(path, raw, chosen):
        yield FramePair.of_window(one.frames, one.at, one.raw[0])
