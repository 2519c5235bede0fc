"""A file of edits: what a person decided about one video, for the same run again.

It says how the video is hidden, who stays visible or is hidden by another method, which tracks are
one person, and what was drawn by hand. It holds no picture. JSON, version 1; tracks are the IDs of
`--list-people`, frames count from 0, and boxes are in pixels of the upright frame:

    {"edits": 1,
     "source": {"name": "ward.mp4", "sha256": "...", "width": 640, "height": 480},
     "settings": {"level": "person"},
     "method": {"name": "selective", "arguments": {}},
     "visible": [3], "only": [], "joined": [[3, 7]], "methods": {"5": "pixelate"},
     "numbered_by": "...",
     "drawn": [{"track": 900000000, "keys": [10], "boxes": {"10": [x0, y0, x1, y1]}}],
     "log": [{"at": "2026-01-31T12:00:00+00:00", "by": "", "what": "left 3 visible"}]}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from masquerade.anonymizer import Anonymizer
from masquerade.errors import UsageError
from masquerade.methods import build
from masquerade.pipeline.config import CHOICE_FIELDS
from masquerade.pipeline.coverage import MOST_NAMES
from masquerade.pipeline.levels import level_of
from masquerade.pipeline.track_methods import TrackMethod
from masquerade.regions.boxes import FARTHEST, NUMBER_LIMIT, by_number, parse_json
from masquerade.regions.chosen_people import ChosenPeople
from masquerade.regions.drawn import DRAWN_TRACKS, DrawnRegion
from masquerade.storage import atomic_write
from masquerade.text import name_some

VERSION = 1
KEYS = {
    *("edits", "source", "settings", "method", "visible", "only", "joined", "methods"),
    *("drawn", "log", "numbered_by"),
}
MOST_BYTES = 2**28  # of a file of edits


@dataclass(frozen=True, kw_only=True)
class EditedSource:
    """The video that edits are of."""

    name: str
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One line of who decided what."""

    at: str  # ISO 8601
    by: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What a person decided about one video.

    Args:
        source: the video.
        settings: fields of `PipelineConfig`, such as level, regions, threshold and audio; they are
            checked where the configuration is built.
        method: the name of the method; with a level it is the level's.
        arguments: of the method.
        visible: tracks that stay visible.
        only: tracks that alone are hidden; empty: all are.
        joined: tracks that are one person, two or more each.
        methods: names of other methods by track; those of who is visible are not used.
        drawn: regions drawn by hand.
        numbered_by: what people have their numbers from (`pipeline.config.numbering`); another
            detector gives others. None: whoever wrote the file answers for them.
        log: who decided what, in order.
    """

    source: EditedSource
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str = "selective"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    visible: tuple[int, ...] = ()
    only: tuple[int, ...] = ()
    joined: tuple[tuple[int, ...], ...] = ()
    methods: Mapping[int, str] = field(default_factory=dict)
    drawn: tuple[DrawnRegion, ...] = ()
    numbered_by: str | None = None
    log: tuple[Decision, ...] = ()

    @property
    def chooses(self) -> bool:
        """Whether tracks are left visible, hidden alone, joined or hidden by another method."""
        named = any(track < DRAWN_TRACKS for track in self.methods)
        return bool(self.visible or self.only or self.joined or named)

    def tracks_of_person(self, track: int) -> tuple[int, ...]:
        """All tracks of the person whom one track shows."""
        return next((tracks for tracks in self.joined if track in tracks), (track,))

    def ids(self, tracks: Sequence[int]) -> str | None:
        """A list such as "0,3" of tracks and all that are joined to them; None: there are none."""
        return ",".join(map(str, sorted(self._with_same(tracks)))) or None

    def _with_same(self, tracks: Sequence[int]) -> set[int]:
        """Tracks and all that are joined to them."""
        return {same for track in tracks for same in self.tracks_of_person(track)}

    def config_fields(self) -> dict[str, Any]:
        """The fields of `PipelineConfig` that the edits decide."""
        chosen = {"keep_visible": self.ids(self.visible), "hide_only": self.ids(self.only)}
        return {**self.settings, **{key: ids for key, ids in chosen.items() if ids}}

    def anonymizer(self) -> Anonymizer:
        """Build the method that hides all tracks but those in `methods`."""
        level = self.settings.get("level")
        return build(self.method if level is None else level_of(level).method, **self.arguments)

    def track_methods(self, label: str | None) -> list[TrackMethod]:
        """The methods other than the main one, with the tracks of the people whom they hide.

        Visible people are left out; their method stays in the file for when they are hidden again.

        Args:
            label: of the boxes whose tracks these are; see `config.followed_label`.
        """
        chosen = ChosenPeople.of(self._with_same(self.visible), self._with_same(self.only))
        tracks: dict[str, set[int]] = {}
        for track, name in self.methods.items():
            if track >= DRAWN_TRACKS or chosen.hides(track):
                tracks.setdefault(name, set()).update(self.tracks_of_person(track))
        return [
            TrackMethod(build(name), frozenset(own), label) for name, own in sorted(tracks.items())
        ]

    def check_source(self, sha256: str, name: str) -> None:
        """Refuse another video: its people have other numbers.

        Raises:
            UsageError: its content is another.
        """
        if sha256 != self.source.sha256:
            raise UsageError(
                f"these edits are of another video than {name} (of {self.source.name!r} as it was "
                "then): give that one, or edits of this one."
            )

    def check_drawn(self, hidden: Container[int], name: str) -> None:
        """Refuse drawn regions that hid nothing: whatever they were drawn over would be seen.

        Args:
            hidden: tracks of those that hid something.
            name: of the video.

        Raises:
            UsageError: there are some.
        """
        if unseen := [str(region.track) for region in self.drawn if region.track not in hidden]:
            raise UsageError(
                f"these edits draw regions that hide nothing in {name}: they lie outside its "
                "picture, after its end or where --region is black; correct or remove "
                f"{name_some(unseen, MOST_NAMES)}."
            )

    def digest(self) -> str:
        """The SHA-256 of what was decided, without the log of who did when."""
        text = replace(self, log=()).to_json()
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

    def to_json(self) -> str:
        """The file's text."""
        document = {
            "edits": VERSION,
            "source": vars(self.source),
            "settings": dict(self.settings),
            "method": {"name": self.method, "arguments": dict(self.arguments)},
            "visible": self.visible,
            "only": self.only,
            "joined": self.joined,
            "methods": {str(track): name for track, name in self.methods.items()},
            "drawn": [
                {"track": region.track, "keys": region.keys, "boxes": region.boxes}
                for region in self.drawn
            ],
            "numbered_by": self.numbered_by,
            "log": [vars(decision) for decision in self.log],
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: Path) -> None:
        """Write the file in one step, so that an interruption leaves the older one."""
        with atomic_write(path, overwrite=True, private=True) as part:
            part.write_text(self.to_json(), "utf-8", "backslashreplace")

    @classmethod
    def read(cls, path: Path) -> Edits:
        """Read a file of edits.

        Raises:
            UsageError: it cannot be read, or says something that no edits say.
        """
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("it is too large")
            text = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{path.name} is not a file of edits: {reason}.") from None
        return cls.parse(text, path.name)

    @classmethod
    def parse(cls, text: str, name: str) -> Edits:
        """The edits in a file's text; `name` is the file's, for what is said of it.

        Raises:
            UsageError: it says something that no edits say.
        """
        try:
            return _parse(parse_json(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise UsageError(f"{name} is not a file of edits: {reason}.") from None


def with_decision(edits: Edits, what: str, *, at: str, by: str = "") -> Edits:
    """The edits with one more line of who decided what."""
    return replace(edits, log=(*edits.log, Decision(at=at, by=by, what=what)))


def _parse(document: Any) -> Edits:
    if not isinstance(document, dict) or document.get("edits") != VERSION:
        raise ValueError(f'it does not say "edits": {VERSION}')
    if unknown := set(document) - KEYS:
        raise ValueError(f"{min(unknown)!r} is not a key of it")
    source, settings = document["source"], document.get("settings", {})
    method = document.get("method", {"name": "selective"})
    _expect(isinstance(source, dict), "source is no object")
    _expect(isinstance(settings, dict), "settings are no object")
    _expect(isinstance(method, dict) and isinstance(method.get("name"), str), "method has no name")
    _expect(set(method) <= {"name", "arguments"}, "a method has a name and arguments alone")
    _expect(
        not set(CHOICE_FIELDS) & set(settings),
        "settings hold keep_visible or hide_only; use visible or only",
    )
    arguments, names = method.get("arguments", {}), document.get("methods", {})
    _expect(isinstance(arguments, dict), "a method's arguments are no object")
    _expect(isinstance(names, dict), "methods are no object")
    _expect(all(isinstance(name, str) for name in names.values()), "a method is named by a text")
    edits = Edits(
        source=_parse_source(source),
        settings={key: _tuples(value) for key, value in settings.items()},
        method=method["name"],
        arguments={key: _tuples(value) for key, value in arguments.items()},
        visible=_tracks(document.get("visible", [])),
        only=_tracks(document.get("only", [])),
        joined=tuple(_tracks(tracks) for tracks in document.get("joined", [])),
        methods=by_number("track", names),
        drawn=tuple(_parse_drawn(region) for region in document.get("drawn", [])),
        numbered_by=document.get("numbered_by"),
        log=tuple(map(_parse_decision, document.get("log", []))),
    )
    joined = [track for tracks in edits.joined for track in tracks]
    _expect(len(joined) == len(set(joined)), "a track is joined twice")
    _expect(not (edits.visible and edits.only), "visible and only exclude each other")
    _expect(isinstance(edits.numbered_by, str | None), "numbered_by is no text")
    drawn = [region.track for region in edits.drawn]
    _expect(len(drawn) == len(set(drawn)), "two drawn regions have one number")
    level = edits.settings.get("level")
    return edits if level is None else replace(edits, method=level_of(level).method)


def _parse_source(source: dict[str, Any]) -> EditedSource:
    _expect(
        set(source) == {f.name for f in fields(EditedSource)},
        "source has other keys than name, sha256, width and height",
    )
    sizes = source["width"], source["height"]
    _expect(all(type(side) is int and side > 0 for side in sizes), "source has no size")
    _expect(isinstance(source["sha256"], str), "source has no sha256")
    return EditedSource(**{**source, "name": str(source["name"])})


def _parse_drawn(region: dict[str, Any]) -> DrawnRegion:
    _expect(
        isinstance(region, dict) and set(region) == {"track", "keys", "boxes"},
        "a drawn region has other keys than track, keys and boxes",
    )
    (track,), keys = _tracks([region["track"]]), _tracks(region["keys"])
    _expect(
        track >= DRAWN_TRACKS, f"a drawn region's track is below {DRAWN_TRACKS}, the lowest allowed"
    )
    _expect(isinstance(region["boxes"], dict), "a drawn region's boxes are no object")
    boxes = {}
    for frame, edges in by_number("frame", region["boxes"]).items():
        numbers = isinstance(edges, list) and len(edges) == 4
        numbers = numbers and all(type(x) in (int, float) and abs(x) <= FARTHEST for x in edges)
        _expect(numbers, "a box has four numbers, x0, y0, x1, y1")
        x0, y0, x1, y1 = map(float, edges)
        _expect(x0 < x1 and y0 < y1, "a box's x1 and y1 lie right of and below its x0 and y0")
        boxes[frame] = (x0, y0, x1, y1)
    _expect(
        bool(keys) and set(keys) <= set(boxes),
        "a drawn region lacks keys, or a box in one of its key frames",
    )
    return DrawnRegion(track, boxes, keys)


def _parse_decision(decision: dict[str, Any]) -> Decision:
    return Decision(**{key: str(value) for key, value in decision.items()})


def _tracks(numbers: Any) -> tuple[int, ...]:
    whole = isinstance(numbers, list) and all(
        type(n) is int and 0 <= n < NUMBER_LIMIT for n in numbers
    )
    _expect(whole, "tracks and frames are whole numbers")
    return tuple(numbers)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise ValueError(otherwise)
