"""Run the attacks on published videos, one after another."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
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
from masquerade.attack.aligned_frames import check_pair
from masquerade.attack.config import AttackConfig
from masquerade.attack.file_facts import (
    content_of,
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
from masquerade.attack.packet_sizes import compare_packet_sizes
from masquerade.attack.paired_frames import (
    FrameWindow,
    extra_raw_seconds,
    read_frames,
    read_windows,
    spread_numbers,
)
from masquerade.attack.published_detection import SEARCHED, Drawn, PublishedDetection
from masquerade.attack.published_files import list_published, pair_with_raw
from masquerade.attack.raw_comparison import RawComparison
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
from masquerade.errors import (
    MasqueradeError,
    MissingError,
    UsageError,
    as_masquerade_error,
    traceback_of,
)
from masquerade.pipeline.coverage import MOST_NAMES
from masquerade.pipeline.receipt import library_versions
from masquerade.regions.boxes import MOST_DETECTIONS, TooManyDetectionsError
from masquerade.video.container import printable
from masquerade.video.decoding_process import (
    count_frames,
    list_frame_tags,
    list_packets,
    probe,
    tally_frames,
)
from masquerade.video.probe import IMAGE_SUFFIXES, StreamFrames

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
    files, other_files, unread = list_published(paths)
    finders = Finders()  # a network that is missing fails here, before any work
    beside, without_raw = pair_with_raw(files, raw)
    tracebacks: list[str] = []
    restorations = {} if config.quick else _cross_fit_restorers(beside, progress, tracebacks)
    videos = []
    for file in files:
        video = attack_file(
            file, config, beside[file], progress, restorations.get(file), finders=finders
        )
        videos.append(replace(video, without_raw=video.without_raw or without_raw.get(file)))
    beside |= {video.path: None for video in videos if video.without_raw is not None}
    videos += [VideoAttack(path=path, error=why) for path, why in unread.items()]
    return AttackReport(
        videos=tuple(videos),
        folder=tuple(_attack_folder(videos, beside, progress, tracebacks)),
        passed_over=other_files,
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
    # an animated PNG is a video, and one that failed has no frames
    moving = [
        video
        for video in videos
        if video.frames > 1 or video.path.suffix.lower() not in IMAGE_SUFFIXES
    ]
    if len(moving) < 2:
        return
    left_out = {
        video.path: why for video in moving if (why := _why_not_compared(video)) is not None
    }
    counts = {video.path: video.frames for video in moving if video.path not in left_out}
    lost = [f" {printable(path)} was not compared: {why}." for path, why in left_out.items()]

    def with_lost(finding: Finding) -> Finding:
        more = f" {len(lost) - MOST_NAMES} more were not compared." * (len(lost) > MOST_NAMES)
        return replace(finding, says=f"{finding.says}{''.join(lost[:MOST_NAMES])}{more}")

    if len(counts) < 2:
        yield with_lost(compare_videos({}))
        return
    describer, shown = VideoDescriber(), {}

    def compared(compare: Callable[..., Finding], *by_path: Mapping[Path, object]) -> Finding:
        try:
            return compare(*by_path)
        except Exception as error:  # such as of too little memory: what was found stays
            lost.append(f" They could not be compared: {_why(error, Path('the videos'))}")
            tracebacks.extend(_unforeseen(error))
            return compare(*({} for _ in by_path))  # which says that there was nothing

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
                return describer.describe(count, (frame.pixels for frame in frames))
        except Exception as error:  # of whatever kind: it takes nothing back that was found
            lost.append(f" {printable(path)} was not compared: {_why(error, path)}")
            tracebacks.extend(_unforeseen(error))
            return None

    described: dict[Path, Described] = {}
    raw: dict[Path, Described] = {}
    for path in counts:
        if (description := describe(path, path)) is not None:
            described[path], shown[path] = description, describer.shown
    yield with_lost(compared(compare_videos, described, shown))
    lost.clear()
    sources: dict[Path, Path] = {}
    first: dict[str, Path] = {}  # of the raw videos of one content
    for path in described:
        source = beside.get(path)
        if source is not None and (description := describe(source, path)) is not None:
            raw[path], sources[path] = description, first.setdefault(content_of(source), source)
    if len(set(sources.values())) > 1 or lost:
        yield with_lost(compared(rank_sources, {p: described[p] for p in raw}, raw, sources))


def _why_not_compared(video: VideoAttack) -> str | None:
    """Why a video cannot be compared with others; None: it can."""
    if video.error is not None:
        return "it could not be attacked to its end"
    if video.frames < LEAST_FRAMES:
        return f"it has {video.frames} frames, and {LEAST_FRAMES} are needed"
    return None


def _frames_until(raw: Path, published: Path, count: int) -> int:
    """Count the raw video's frames up to the time at which `count` published ones end."""
    rates = [float(probe(file).rate or 0) for file in (raw, published)]
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
        raw: its raw video; None: there is none. One that cannot be read or compared is left out,
            and it is said (`without_raw`); in a check of an own output it is an error.
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
    raw_video = _RawVideo(raw, needed=own_output)
    result = VideoAttack(path=path)
    findings: list[Finding] = []
    beside: list[Finding] = []  # with the raw video, which come after those of the file
    failed: Exception | None = None
    attacks: _FrameAttacks | None = None
    try:
        info = probe(path)
        count, unseen, unheard = tally_frames(path) if info.kind == "video" else StreamFrames(1, 0)
        result = replace(result, frames=count, width=info.width, height=info.height)
        chosen = spread_numbers(count, config.frames)
        extra = raw_video.extra_seconds(path)
        attacks = _FrameAttacks.for_video(
            path, extra, config, finders, restoration, own_output=own_output
        )
        try:
            attacks.attack_video(path, raw_video, chosen, salvage=salvage, progress=progress)
        except Exception as error:  # the file is read for its tags all the same
            # no argument of the attack changes how much a detector finds in a frame
            of_request = isinstance(error, MissingError | UsageError)
            if of_request and not isinstance(error, TooManyDetectionsError):
                raise
            failed = error
        if attacks.looked or not chosen:
            findings += attacks.seen(path, raw_video, drawn)
            beside += attacks.compared_findings()
        whole = info.kind == "video" and not own_output  # which has no tags but its encoder's
        frame_tags, other_messages = list[str](), False
        try:
            if whole:
                frame_tags, other_messages = list_frame_tags(path)
        except Exception as error:  # its other tags are told all the same
            failed = failed or error
        findings += [
            read_tags(info, frame_tags=frame_tags, other_messages=other_messages),
            read_streams(info, hidden=unseen, hidden_sound=unheard),
            find_receipt(path),
        ]
        beside += raw_video.sizes(path) if whole else []
        if attacks.restoration and failed is None:
            beside.append(attacks.restoration.finding())
    except (MissingError, UsageError):
        raise
    except Exception as error:  # of whatever kind: the other videos are attacked all the same
        failed = failed or error
    looked = () if attacks is None else tuple(attacks.looked)
    errors = [error for error in (failed, raw_video.lost) if error is not None]
    return replace(
        result,
        attacked=looked,
        findings=(*findings, *beside),
        seconds=time.monotonic() - began,
        error=None if failed is None else _why(failed, path),
        traceback="".join(text for error in errors for text in _unforeseen(error)),
        without_raw=raw_video.why(len(looked), attacks.compared if attacks else None),
    )


@dataclass(eq=False)
class _RawVideo:
    """The raw video of a published one, until it cannot be read or compared any more.

    The published one is attacked all the same, unless the raw one is `needed`.
    """

    path: Path | None
    needed: bool
    lost: Exception | None = None

    def extra_seconds(self, path: Path) -> float | None:
        """Seconds by which the raw video is longer; None: there is none to compare with."""
        if self.path is None:
            return None
        if self.needed:  # an output of our own, which has the shape and the length it was given
            return 0.0
        try:
            check_pair(path, self.path)
            return extra_raw_seconds(path, self.path)
        except Exception as error:  # of whatever kind
            self.lose(error)
            return None

    def sizes(self, path: Path) -> list[Finding]:
        """Compare the packet sizes of both videos; no raw video: no finding."""
        if self.path is None:
            return []
        try:
            return [compare_packet_sizes(path, self.path)]
        except Exception as error:  # of whatever kind
            list_packets(path)  # which raises what is wrong with the published one
            self.lose(error)
            return []

    def lose(self, error: Exception) -> None:
        """Go on without it, unless it is needed."""
        if self.needed or isinstance(error, MissingError | UsageError):
            raise error
        self.path, self.lost = None, error

    def why(self, looked: int, compared: RawComparison | None) -> str | None:
        """Why it was not compared, or how far; None: it was, or there is none."""
        if self.lost is None:
            return None
        # its name is in the sentence of every error that is foreseen
        says = _why(self.lost, Path("the raw video"))
        if compared is None or compared.looked in (0, looked):
            return says
        return f"{says} Only {compared.looked} of {looked} frames were compared."


@dataclass(frozen=True, kw_only=True, eq=False)
class _FrameAttacks:
    """The attacks on the frames of one video; an attack that is left out is None."""

    finders: Finders
    detection: PublishedDetection
    noise: KnownNoise | None
    compared: RawComparison | None  # with the raw video
    restoration: Restoration | None
    looked: list[int] = field(default_factory=list)  # numbers of the frames

    @classmethod
    def for_video(
        cls,
        path: Path,
        extra_seconds: float | None,
        config: AttackConfig,
        finders: Finders,
        restoration: Restoration | None,
        *,
        own_output: bool,
    ) -> "_FrameAttacks":
        """The attacks on one video; `extra_seconds` are those of its raw video, if it has one.

        The other arguments are those of `attack_file`.
        """
        hidden = meant_to_hide(path, config.hidden)
        compared = None
        if extra_seconds is not None:
            left: Level | None = None if own_output else "left"
            compared = RawComparison(
                extra_seconds=extra_seconds,
                people="recovered" if "person" in hidden else left,
                full_frame=not own_output and hides_whole_frames(path, config.hidden),
                text=finders if "text" in hidden.intersection(finders.kinds) else None,
            )
        else:
            restoration = None  # which needs raw frames
        return cls(
            finders=finders,
            detection=PublishedDetection(
                undo=() if config.quick else tuple(UNDO),
                hidden=hidden,
                finders=finders,
                kinds=finders.kinds[:1] if own_output else finders.kinds,
            ),
            noise=None if config.quick else KnownNoise(finders, hidden=hidden),
            compared=compared,
            restoration=restoration and replace(restoration, hidden=hidden),
        )

    def attack_video(
        self,
        path: Path,
        raw_video: _RawVideo,
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

        def windows(numbers: Sequence[int]) -> Iterator[FrameWindow]:
            # an output's check keeps the error of a raw video that is lost as it arose
            on_lost = None if raw_video.needed else raw_video.lose
            return read_windows(path, raw_video.path, numbers, salvage=salvage, on_lost=on_lost)

        if self.noise is not None:
            start = next(windows([0]))
            self.noise.compare(start.published, *start.raw[:1])
        for done, window in enumerate(windows(chosen), 1):
            source = window.raw[0] if window.raw else None
            self.detection.detect(
                window.number, window.frames, window.at, source, search=window.number in searched
            )
            if self.compared is not None and window.raw:
                self.compared.compare(
                    window.number, window.published, window.raw, turned=window.turned
                )
            if self.restoration is not None and window.number in restored and window.raw:
                pair = FramePair.of_window(window.frames, window.at, window.raw[0])
                self.restoration.restore_frame(window.number, pair, self.finders)
            self.looked.append(window.number)
            if progress:
                progress(path.name, done, len(chosen))

    def seen(self, path: Path, raw_video: _RawVideo, drawn: bool | None) -> list[Finding]:
        """Return the findings of the detectors, and of the noise attack, in published frames."""
        # beside a part of the raw video no receipt is borne out
        compared = None if raw_video.lost else self.compared
        says = _who_says_drawn(path, compared, drawn)
        findings = self.detection.findings(says, self.compared_findings())
        return [*findings, self.noise.finding()] if self.noise else findings

    def compared_findings(self) -> list[Finding]:
        """Return the findings of the comparison with raw frames; none were compared: nothing."""
        return self.compared.findings() if self.compared and self.compared.looked else []


def _who_says_drawn(path: Path, compared: RawComparison | None, drawn: bool | None) -> Drawn:
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
    if isinstance(error, TooManyDetectionsError):
        name = printable(path)
        return (
            f"{name} cannot be looked at to its end: in one frame a detector finds more than "
            f"{MOST_DETECTIONS:,} things."
        )
    error = as_masquerade_error(error)
    if isinstance(error, MasqueradeError):
        return str(error)
    return f"an unexpected error: {error!r}; report it with what --verbose prints."


def _unforeseen(error: Exception) -> list[str]:
    """An error's traceback, if it says more than the sentence of `_why`."""
    foreseen = isinstance(as_masquerade_error(error), MasqueradeError)
    return [] if foreseen else [traceback_of(error)]


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
    contents = {raw: content_of(raw) for raw in set(pairs.values())}
    alone = len(set(contents.values())) == 1
    shared = 1 if alone else len(pairs)  # pairs among which one network's patches are divided
    patches: dict[Path, Tensor] = {}
    found_for: dict[Path, Restoration] = {}  # also of the unread, why nothing was tried
    for done, (path, raw) in enumerate(pairs.items(), 1):
        try:
            check_pair(path, raw)
            count = count_frames(path) if probe(path).kind == "video" else 1
            frames = min(LEARNED_FRAMES, max(1, PATCHES // shared))
            chosen = spread_numbers(count // 2 if alone else count, frames)
            count_each = -(-PATCHES // max(1, shared * len(chosen)))
            cut = cut_patches(_frame_pairs(path, raw, chosen), count_each)
        except Exception as error:  # of whatever kind: the others go on
            why = f"this pair could not be read to learn from: {_why(error, path).rstrip('.')}"
            found_for[path] = Restoration(net=None, learned=why)
            tracebacks.extend(_unforeseen(error))
        else:
            if alone:  # at once: as many patches of each would fill the memory
                words = (
                    "learned from the first half of the video, and restored frames of the second"
                )
                first = (count + 1) // 2
                found_for[path] = _learn([cut], words, tracebacks, first=first)
            else:
                patches[path] = cut
        if progress:
            progress("pairs to learn from", done, len(pairs))
    sources = list(dict.fromkeys(contents[pairs[path]] for path in patches))
    groups = min(NETWORKS, len(sources))
    for group in range(groups):
        dealt = sources[group::groups]
        restored = [path for path in patches if contents[pairs[path]] in dealt]
        learned_from = [tensor for path, tensor in patches.items() if path not in restored]
        words = f"learned from {len(learned_from)} other pairs of videos"
        restoration = _learn(learned_from, words, tracebacks)
        found_for |= {
            path: Restoration(net=restoration.net, learned=restoration.learned) for path in restored
        }
        if progress:
            progress("networks that restore", group + 1, groups)
    return found_for


def _learn(
    patches: Sequence[Tensor], learned: str, tracebacks: list[str], *, first: int = 0
) -> Restoration:
    if not patches:
        why = "no other pair of published and raw video can be read to learn from"
        return Restoration(net=None, learned=why)
    joined = torch.cat(list(patches))
    if not len(joined):
        why = f"there are too few frames of {SIDE} pixels a side or more to learn from"
        return Restoration(net=None, learned=why)
    try:
        net = fit_on_patches(joined)
    except Exception as error:  # of whatever kind: no other attack needs the network
        tracebacks.extend(_unforeseen(error))
        why = _why(error, Path("the network")).rstrip(".")
        return Restoration(net=None, learned=f"the network could not be trained: {why}")
    return Restoration(net=net, learned=f"{learned}, by {len(joined):,} patches", first=first)


def _frame_pairs(path: Path, raw: Path, chosen: Sequence[int]) -> Iterator[FramePair]:
    for window in read_windows(path, raw, chosen):
        yield FramePair.of_window(window.frames, window.at, window.raw[0])
