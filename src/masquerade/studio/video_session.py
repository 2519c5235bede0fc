"""One video on the page: its pictures, what was found in it, and what was decided about it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from masquerade.errors import MissingError, UsageError, VideoError
from masquerade.pipeline.config import edited_config
from masquerade.pipeline.edits import Edits
from masquerade.pipeline.levels import level_of
from masquerade.pipeline.people_sheet import fit
from masquerade.regions.drawn import DrawnRegion, Edges
from masquerade.regions.following import follow
from masquerade.regions.region import Region
from masquerade.regions.template import check_extractor, make_template
from masquerade.regions.template_library import Library
from masquerade.report.heatmap import draw_heatmap
from masquerade.storage import file_signature
from masquerade.studio import decisions
from masquerade.studio.copying import Pictures
from masquerade.studio.history import ChangedError, History
from masquerade.studio.kept_edits import HeldBack, KeptEdits
from masquerade.studio.preview import FrameDetectors, Preview
from masquerade.studio.scans import Scan, ScanQueue, SeenTrack, scan_key
from masquerade.studio.template_keys import TemplateKeys, template_kinds
from masquerade.video.segments import Picture

MOST_FOLLOWED = 1800  # frames to each side of a drawn box
FORGOTTEN = (
    "This setting finds people in another way, or leaves nobody visible, so who was chosen is "
    "forgotten and everybody is hidden. Undo brings the choice back."
)


class VideoSession:
    """One video that is open on the page.

    Args:
        id: its name in addresses.
        name: the file's name.
        source: the file.
        folder: a private folder of its own.
        pictures: of the video.
        history: what was decided about it.
        kept: the files of decisions.
        detectors: find people in single frames.
        keys: what templates are compared by.
        queue: of scans of whole videos.
        template_changed: told the name of a template that was replaced or removed.
        saved_beside: whether results go into the source's folder.
    """

    def __init__(
        self,
        *,
        id: str,
        name: str,
        source: Path,
        folder: Path,
        pictures: Pictures,
        history: History,
        kept: KeptEdits,
        detectors: FrameDetectors,
        keys: TemplateKeys,
        queue: ScanQueue,
        template_changed: Callable[[str], None],
        saved_beside: bool = False,
    ) -> None:
        self.id, self.name, self.source, self.saved_beside = id, name, source, saved_beside
        self.signature = file_signature(source)  # another one once the file is replaced
        self._folder, self._detectors, self._queue = folder, detectors, queue
        self._keys, self._template_changed = keys, template_changed
        self.pictures, self.history, self._kept = pictures, history, kept
        self.notice: str | None = None  # what whoever looks at it has to be told
        self._preview = Preview(self.pictures, self._find)
        self._scans: dict[str, Scan] = {}
        self._numbers = count()  # of its searches
        self._lock = threading.RLock()
        self._lost: dict[int, list[str]] = {}
        self.scan()

    @property
    def edits(self) -> Edits:
        """What was decided so far."""
        return self.history.edits

    def close(self) -> None:
        """End all work on it."""
        for scan in self._scans.values():
            self._queue.remove(scan)
        self.pictures.close()

    # --- what is found ---

    def scan(self) -> Scan:
        """The scan of the whole video under the present settings; it is begun where it was not."""
        with self._lock:
            edits = self.edits
            key = scan_key(edits)
            unfinished: list[Scan] = []
            if key not in self._scans:
                unfinished = [old for old in self._scans.values() if old.unfinished]
                self._scans = {k: old for k, old in self._scans.items() if old not in unfinished}
                folder = self._folder / f"scan-{key}-{next(self._numbers)}"
                folder.mkdir(mode=0o700)
                size = self.pictures.size
                weights = self._keys.weights_of(edits)
                scan = Scan(edits, self.source, folder, size, self._forget_others, weights)
                self._scans[key] = scan
                self._queue.add(scan)
            scan = self._scans[key]
        for old in unfinished:  # which waits until it has ended: nobody waits for that meanwhile
            self._queue.remove(old)
            old.discard()
        return scan

    def _forget_others(self) -> None:
        """Forget who was chosen by numbers that people do not have, and say so."""
        before = self.edits
        with suppress(ChangedError):  # asked again once what the file says is taken over
            decision = "forget who was chosen, as people have other numbers now"
            # No step: taken back, it would be done again, and Undo would lead no further.
            self.history.amend(decision, self._by_present_numbers)
        if before.chooses and not self.edits.chooses:
            self.notice = (
                "People have other numbers now than when they were chosen, so everybody is hidden "
                "again: choose anew."
            )

    def _by_present_numbers(self, edits: Edits) -> Edits:
        """Edits without choices by numbers that people are known not to have."""
        scan = self._scans.get(scan_key(edits))
        by = None if scan is None else scan.numbered_by
        stale = by is not None and edits.chooses and edits.numbered_by not in (None, by)
        return decisions.without_choices(edits) if stale else edits

    def scan_anew(self) -> None:
        """Look for people under the present settings, also where it failed before."""
        with self._lock:
            failed = [scan for scan in self._scans.values() if scan.state == "failed"]
            self._scans = {k: scan for k, scan in self._scans.items() if scan not in failed}
        for scan in failed:
            scan.discard()
        self.scan()
        self._forget_others()  # where their numbers were known before

    def _find(self, edits: Edits, frame: int) -> tuple[Region, bool]:
        scan = self._scans.get(scan_key(edits))
        region = scan.region(frame) if scan is not None else None
        if region is not None:
            return region, True
        return self._detectors.find(edits, self.id, self.pictures, frame), False

    def tracks(self) -> list[SeenTrack]:
        """Everybody found so far, and what was drawn, by number."""
        drawn = [
            SeenTrack(
                region.track,
                "drawn",
                sorted(region.boxes),
                region.keys[0],
                region.boxes[region.keys[0]],
            )
            for region in self.edits.drawn
        ]
        return sorted([*self.scan().tracks.values(), *drawn], key=lambda track: track.id)

    def thumbnail(self, track: int) -> Picture:
        """The picture of somebody, where they are seen best."""
        seen_track = next((seen for seen in self.tracks() if seen.id == track), None)
        if seen_track is None:
            raise UsageError(f"there is nobody with number {track}.")
        across, down = self._scale
        x0, y0, x1, y1 = seen_track.box
        picture = self.pictures.read(min(seen_track.best, self.pictures.frames - 1))
        rows = slice(max(0, round(y0 * down)), max(1, round(y1 * down)))
        columns = slice(max(0, round(x0 * across)), max(1, round(x1 * across)))
        part = picture[rows, columns]
        return fit(part if part.size else picture)

    def filmed(self, frame: int) -> Picture:
        """A frame as it was filmed."""
        self._queue.pause()
        return self.pictures.read(frame)

    def result(self, frame: int, edits: Edits | None = None) -> Picture:
        """A frame of the result, under the present edits or others."""
        self._queue.pause()
        return np.asarray(self._preview.draw(edits or self.edits, frame), np.uint8)

    def region(self, frame: int) -> Region:
        """What is hidden and left visible in a frame, in pixels of the video."""
        return self._preview.region(self.edits, frame)

    def with_setting(self, setting: Mapping[str, str], edits: Edits | None = None) -> Edits:
        """Edits, the present ones by default, at a level, by a method with its defaults, or as is.

        Who is chosen stays where the level can show them.
        """
        edits = edits or self.edits
        if "level" in setting:
            return self._settled(edits, {"level": setting["level"]})
        if "method" in setting:
            return self._settled(edits, {"method": setting["method"], "arguments": {}})
        return edits

    # --- what is decided ---

    @property
    def held_back(self) -> HeldBack | None:
        """Why no run of it may begin; None: one may."""
        return self._kept.held_back(self.edits.source.sha256)

    def acknowledge(self) -> None:
        """Say that what was decided before cannot be used, and that this is known."""
        self._kept.acknowledge(self.edits.source.sha256)

    def reload(self) -> None:
        """Take over what another process decided about it."""
        self.history.reload(self._check_mine)
        self.scan_anew()

    def _check_mine(self, edits: Edits) -> None:
        edits.check_source(self.edits.source.sha256, self.name)
        decisions.check(edits)

    def set(self, changed: Mapping[str, Any]) -> None:
        """Change settings: any of level, method, arguments and the fields of `decisions.SHOWN`."""
        listed = ", ".join(
            f"{key.replace('_', ' ')} {'as by default' if value is None else value}"
            for key, value in changed.items()
        )
        before = self.edits
        self._decide(f"set {listed}", lambda edits: self._settled(edits, changed))
        if before.chooses and not self.edits.chooses:
            self.notice = FORGOTTEN
        self.scan_anew()

    def choose(
        self, track: int, choice: str | None, method: str | bool | None, seen: int | None = None
    ) -> None:
        """Hide somebody, leave them visible, or hide only them; or by another method.

        `method` False leaves the method as it is, and None takes another method back. All that is
        decided by a number is refused where `seen` is not the present revision: the number may be
        another person's then.
        """
        self.history.check_seen(seen)
        self._known(track)
        sentences = [f"{decisions.CHOICES[choice]} {decisions.name_of(track)}"] if choice else []
        if method is not False:
            by = method or "the method of all"
            sentences.append(f"hide {decisions.name_of(track)} by {by}")

        # Not in the change: who begins a search may wait for one that waits for the decisions.
        scan = self.scan()

        def change(edits: Edits) -> Edits:
            after = decisions.choose(self._by_present_numbers(edits), track, choice, scan.tracks)
            after = replace(after, numbered_by=scan.numbered_by or edits.numbered_by)
            return after if method is False else decisions.hide_by(after, track, str(method or ""))

        self._decide(", ".join(sentences), change, seen)

    def hide_all(self) -> None:
        """Hide everybody again, whoever was found so far."""
        self._decide("hide all", lambda edits: decisions.hide_all(self._by_present_numbers(edits)))

    def join(self, tracks: tuple[int, ...], seen: int | None = None) -> None:
        """Say that tracks are one person."""
        self.history.check_seen(seen)
        for track in tracks:
            self._known(track)
        names = " and ".join(map(decisions.name_of, tracks))
        by = self.scan().numbered_by

        def change(edits: Edits) -> Edits:
            after = decisions.join(self._by_present_numbers(edits), tracks)
            return replace(after, numbered_by=by or edits.numbered_by)

        self._decide(f"join {names}", change, seen)

    def split(self, track: int, seen: int | None = None) -> None:
        """Take back that tracks are one person."""
        name = decisions.name_of(track)
        self._decide(f"split {name}", lambda edits: decisions.split(edits, track), seen)

    def draw(self, frame: int, box: Edges) -> None:
        """Hide a box that was drawn in a frame, and follow it both ways in time."""
        boxes, lost = self._followed(frame, box)

        def change(edits: Edits) -> Edits:
            number = self.history.last_drawn + 1  # of no removed one, which a tab may still show
            self._lost[number] = lost
            return replace(edits, drawn=(*edits.drawn, DrawnRegion(number, boxes, (frame,))))

        self._decide(f"draw a region in frame {frame}", change)

    def correct(self, track: int, frame: int, box: Edges, seen: int | None = None) -> None:
        """Say where a drawn region is in another frame; it is followed anew from there."""
        self.history.check_seen(seen)
        self._drawn(track)
        boxes, lost = self._followed(frame, box)
        new = DrawnRegion(track, boxes, (frame,))

        def change(edits: Edits) -> Edits:
            self._lost[track] = lost
            old = next((region for region in edits.drawn if region.track == track), new)
            return decisions.replace_drawn(edits, track, decisions.corrected(old, new))

        self._decide(f"correct a region in frame {frame}", change, seen)

    def undraw(self, track: int, seen: int | None = None) -> None:
        """Forget a drawn region."""
        self.history.check_seen(seen)
        self._drawn(track)
        change = partial(decisions.replace_drawn, track=track, new=None)
        self._decide("remove a drawn region", change, seen)

    def lost(self, track: int) -> list[str]:
        """Why a drawn region ends where it does, in words."""
        return self._lost.get(track, [])

    def add_template(self, frame: int, x: float, y: float, name: str, kind: str) -> None:
        """Keep what is at a point as a template of the library, and hide what looks like it.

        Args:
            frame: the one that is pointed at.
            x: of the point, in pixels of the video.
            y: likewise.
            name: of the template; empty: the first free one of part, part-2, part-3 and so on.
            kind: of the keys by which it is compared.

        Raises:
            UsageError: what has this name is hidden already, or is compared by other keys.
        """
        self.history.check_file()
        extractor, kinds = self._keys.extractor(kind), template_kinds()
        hidden = decisions.template_names(self.edits)
        if name in hidden and name in kinds:  # else Undo would take back neither, or both
            raise UsageError(f"{name} is hidden already; choose another name, or delete it first.")
        name = name or _free_name({*hidden, *kinds})
        if clash := next((n for n in hidden if kinds.get(n, kind) != kind), None):
            raise UsageError(
                f"{clash} is hidden by {kinds[clash]} keys, and all parts that are hidden together "
                f"have one kind: turn it off, or point by {kinds[clash]}."
            )
        across, down = self._scale
        picture = self.pictures.read(frame)
        at = [(x * across, y * down)]
        Library().add(make_template(name, picture, at, extractor, image=self.name, frame=frame))
        self._template_changed(name)
        self.switch_template(name, on=True)

    def remove_template(self, name: str) -> None:
        """Take a template out of the library, and hide what looks like it no longer."""
        hidden = name in decisions.template_names(self.edits)
        if hidden:
            self.switch_template(name, on=False)
        try:
            Library().remove(name)
        except MissingError:
            if not hidden:  # else it was removed elsewhere, and is now hidden no longer
                raise
        self._template_changed(name)

    def switch_template(self, name: str, *, on: bool) -> None:
        """Hide what looks like a template, or do not."""

        def change(edits: Edits) -> Edits:
            names = [t for t in decisions.template_names(edits) if t != name] + [name] * on
            after = self._keys.fitted(decisions.with_templates(edits, names))
            if on and name in (kinds := template_kinds()):
                extractor = self._keys.extractor(kinds[name])
                check_extractor(Library().load(name), extractor.fingerprint)
            return after

        self._decide(f"{'hide' if on else 'do not hide'} what looks like {name}", change)
        self.scan_anew()

    def heat(self, frame: int, name: str) -> Picture:
        """A picture with how strongly each place looks like a template."""
        alone = replace(self.edits, settings={}, method="blur", arguments={})
        alone = self._keys.fitted(decisions.with_templates(alone, [name], plain=False))
        region = self._detectors.find(alone, self.id, self.pictures, frame)
        assert region.strength is not None
        return draw_heatmap(self.pictures.read(frame), region.strength)

    def undo(self, seen: int | None = None) -> None:
        """Take the last decision back; refused where `seen` is not the present revision."""
        self.history.undo(seen)
        self.notice = None
        self.scan_anew()

    def redo(self, seen: int | None = None) -> None:
        """Do again what was taken back."""
        self.history.redo(seen)
        self.notice = None
        self.scan_anew()

    def take(self, edits: Edits) -> None:
        """Replace what was decided by a file of edits of this video."""
        self._check_mine(edits)
        self._decide("take a file of edits", lambda now: replace(edits, log=now.log))
        self.scan_anew()

    def settings(self, edits: Edits) -> dict[str, Any]:
        """The settings of edits as the page shows them."""
        config = edited_config(edits)
        level = edits.settings.get("level")
        return {
            "level": level,
            "method": level_of(level).method if level else edits.method,
            "arguments": dict(edits.arguments),
            **{key: getattr(config, key) for key in decisions.SHOWN},
        }

    # --- parts of these ---

    @property
    def _scale(self) -> tuple[float, float]:
        info, (width, height) = self.pictures.info, self.pictures.size
        return width / info.width, height / info.height

    def _settled(self, edits: Edits, changed: Mapping[str, Any]) -> Edits:
        return self._keys.fitted(decisions.settled(edits, changed))

    def _decide(self, what: str, change: Callable[[Edits], Edits], seen: int | None = None) -> None:
        def checked(edits: Edits) -> Edits:
            after = change(edits)
            decisions.check(after)
            decisions.check_named(after, edits)
            return after

        self.history.decide(what, checked, seen)
        self.notice = None  # of what was decided before

    def _known(self, track: int) -> None:
        if not any(seen.id == track for seen in self.tracks()):
            raise UsageError(f"there is nobody with number {track}.")

    def _drawn(self, track: int) -> DrawnRegion:
        region = next((drawn for drawn in self.edits.drawn if drawn.track == track), None)
        if region is None:
            raise UsageError(f"no region with number {track} was drawn.")
        return region

    def _followed(self, frame: int, box: Edges) -> tuple[dict[int, Edges], list[str]]:
        """Where a box is in the frames around, in pixels of the video, and why it ends there."""
        info = self.pictures.info
        x0, x1 = (min(max(x, -1.0), info.width + 1.0) for x in (box[0], box[2]))
        y0, y1 = (min(max(y, -1.0), info.height + 1.0) for y in (box[1], box[3]))
        if not self.pictures.done:
            raise VideoError("the video is still being read; draw when it is whole.")
        if frame < 0 or frame >= self.pictures.frames:
            raise VideoError(f"there is no frame {frame} yet.")
        if x1 - x0 < 2 or y1 - y0 < 2 or x0 >= info.width or y0 >= info.height or min(x1, y1) <= 0:
            raise UsageError("draw a region of at least 2 pixels in the picture.")
        across, down = self._scale
        small = (x0 * across, y0 * down, x1 * across, y1 * down)
        last = self.pictures.frames - 1
        boxes, lost = {frame: (x0, y0, x1, y1)}, []
        for step, words in ((1, "behind"), (-1, "before")):
            end = min(last, frame + MOST_FOLLOWED) if step > 0 else max(0, frame - MOST_FOLLOWED)
            numbers = range(frame, end + step, step)
            went = follow((self.pictures.read(t) for t in numbers), small)
            for t, (a, b, c, d) in zip(numbers[1:], went.boxes, strict=False):
                boxes[t] = (a / across, b / down, c / across, d / down)
            reached = frame + step * len(went.boxes)
            if reached != (last if step > 0 else 0):
                why = went.lost or "it was followed no further"
                lost.append(f"{words} frame {reached}: {why}.")
        return boxes, lost


def _free_name(taken: Container[str]) -> str:
    """A name for a part that was given none."""
    return next(name for n in count(1) if (name := f"part-{n}" if n > 1 else "part") not in taken)
