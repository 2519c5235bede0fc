"""What attacks on published videos found: in words, with frames as proof."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from masquerade.anonymizer import Pixels
from masquerade.text import name_some

Level = Literal["recovered", "left", "nothing"]
"""`recovered`: what the publisher meant to hide; `left`: what identifies people and was not hidden;
`nothing`: this attack, with the work it was given, found nothing."""
MOST_PROOFS = 6  # pictures of a finding


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A part of a frame that shows what was found."""

    frame: int  # number in the published video
    score: float  # of the detector, 0 to 1
    says: str  # what is seen, such as `face, 24 x 31 pixels`
    picture: Pixels  # (H, W, 3)
    parts: int = 1  # pictures of one place in it, side by side


def surest(proofs: Iterable[Proof]) -> list[Proof]:
    """The proofs with the highest scores, as many as a finding shows.

    An attack keeps these alone, again whenever it finds more: pictures of all would fill memory.
    """
    return sorted(proofs, key=lambda proof: -proof.score)[:MOST_PROOFS]


def surest_of_frames(proofs: Iterable[Proof]) -> list[Proof]:
    """The proof with the highest score of each frame, for as many frames as a finding shows."""
    best = {proof.frame: proof for proof in sorted(proofs, key=lambda proof: proof.score)}
    return surest(best.values())


@dataclass(frozen=True, kw_only=True)
class PartlyHiddenPerson:
    """Somebody of the raw video who is hidden in some frames and not in others."""

    first: int  # number of the frame from which on they are followed
    last: int
    looked: int  # frames in which they were looked at
    unchanged: tuple[int, ...]  # numbers of those in which they are as they were

    def __str__(self) -> str:
        hidden = self.looked - len(self.unchanged)
        return (
            f"followed from frame {self.first} to {self.last}: hidden in {hidden} of "
            f"{self.looked}, unchanged in {spans(self.unchanged)}"
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one attack found in one video."""

    attack: str  # in ATTACKS
    level: Level
    says: str  # one sentence
    work: str  # what was done: frames that were looked at, and how
    frames: tuple[int, ...] = ()  # numbers of the frames concerned
    proofs: tuple[Proof, ...] = ()
    gaps: tuple[PartlyHiddenPerson, ...] = ()  # by a comparison with the raw video

    def plain(self) -> dict[str, Any]:
        """As JSON has it: without pictures."""
        values = asdict(self) | {"frames": list(self.frames)}
        values["proofs"] = [
            {"frame": proof.frame, "score": round(proof.score, 3), "says": proof.says}
            for proof in self.proofs
        ]
        return values


@dataclass(frozen=True, kw_only=True)
class VideoAttack:
    """All that was found in one video."""

    path: Path
    frames: int = 0
    width: int = 0
    height: int = 0
    attacked: tuple[int, ...] = ()  # numbers of the frames that were looked at
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    error: str | None = None  # why it could not be attacked, or not to its end
    traceback: str = ""  # where in the code these two arose, if they are not foreseen
    # why it was not compared, or not wholly, with a raw video, where it was to be
    without_raw: str | None = None

    @property
    def recovered(self) -> bool:
        """Whether something was recovered that was meant to be hidden."""
        return any(finding.level == "recovered" for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """The attacks on one or several videos."""

    videos: tuple[VideoAttack, ...]
    arguments: Mapping[str, Any]  # of the attacks
    versions: Mapping[str, str]  # of what they were made with
    folder: tuple[Finding, ...] = ()  # of all videos together, where there are several
    # files in the folders that are no video or image by their names, and no receipt beside one
    passed_over: tuple[Path, ...] = ()
    # of errors that are not foreseen, beside those of `videos`; neither they nor these are in JSON
    # or on the page, which may be sent on: they name folders of this machine
    tracebacks: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """4 where something was recovered, 1 where an input was not attacked or compared, else 0.

        A file that was not attacked does not take back what was recovered from another: 4 wins, and
        `not_attacked` and `without_raw` say which files have yet to be looked at.
        """
        if any(video.recovered for video in self.videos):
            return 4
        return 1 if self.not_attacked or self.without_raw else 0

    @property
    def not_attacked(self) -> tuple[VideoAttack, ...]:
        """The inputs that could not be attacked to their end, each with its `error`."""
        return tuple(video for video in self.videos if video.error is not None)

    @property
    def without_raw(self) -> tuple[VideoAttack, ...]:
        """The files compared with no raw video, or only in part; their `without_raw` says why."""
        return tuple(video for video in self.videos if video.without_raw is not None)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "schema": "masquerade-attack/1",
            "arguments": dict(self.arguments),
            "versions": dict(self.versions),
            "exit_code": self.exit_code,
            "not_attacked": [str(video.path) for video in self.not_attacked],
            "without_raw": [str(video.path) for video in self.without_raw],
            "passed_over": [str(path) for path in self.passed_over],
            "videos": [_plain(video) for video in self.videos],
            "folder": [finding.plain() for finding in self.folder],
        }


def _plain(video: VideoAttack) -> dict[str, Any]:
    return {
        "path": str(video.path),
        "frames": video.frames,
        "width": video.width,
        "height": video.height,
        "attacked": list(video.attacked),
        "seconds": round(video.seconds, 1),
        "error": video.error,
        "without_raw": video.without_raw,
        "recovered": video.recovered,
        "findings": [finding.plain() for finding in video.findings],
    }


def unique_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Give each file a unique display name: its name, and as many parent folders as needed."""
    names: dict[Path, str] = {}
    left, count = [*dict.fromkeys(paths)], 1
    while left:
        ends = {path: path.parts[-count:] for path in left}
        shared = Counter(ends.values())
        unique = [path for path in left if shared[ends[path]] == 1 or count >= len(path.parts)]
        names |= {path: str(Path(*ends[path])) for path in unique}
        left, count = [path for path in left if path not in names], count + 1
    return names


def spans(numbers: Sequence[int]) -> str:
    """Frame numbers in words: `3, 7 to 9`."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    words = [str(p[0]) if len(p) == 1 else f"{p[0]} to {p[-1]}" for p in parts]
    return name_some(words, 12)
