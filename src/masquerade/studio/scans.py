"""Who is where in a video under its present settings: found in another process, kept for each."""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from masquerade.errors import MasqueradeError
from masquerade.pipeline.config import edited_config, followed_label, region_arguments
from masquerade.pipeline.edits import Edits
from masquerade.regions.boxes import covered_share
from masquerade.regions.drawn import DrawnRegion
from masquerade.regions.people_scores import UNSURE
from masquerade.regions.region import Region
from masquerade.regions.template_library import Library
from masquerade.studio.children import Child, last_words
from masquerade.studio.found_pieces import LENGTH, FoundReader

LONG = 24  # frames over which somebody was not seen, to be looked at
OVERLAP_PENALTY = 2.0  # how much less a sighting counts with others in the way


@dataclass
class SeenTrack:
    """One track: where it was seen, and where best."""

    id: int
    label: str
    frames: list[int] = field(default_factory=list)
    best: int = 0  # frame
    box: tuple[float, float, float, float] = (0, 0, 0, 0)  # in that frame
    size: float = 0.0

    def spans(self) -> list[tuple[int, int]]:
        """Spans of frames, first and last."""
        return frame_spans(self.frames, step=1)


class Scan:
    """What is found in a video under some settings, as far as it is known.

    Args:
        edits: the settings; who is chosen in them does not matter.
        video: the file.
        folder: an empty private folder.
        size: (w, h) of the copy's pictures.
        numbered: called once it is known what people have their numbers from.
        key_weights: of the network by which templates are compared; None: the fetched ones.
    """

    def __init__(
        self,
        edits: Edits,
        video: Path,
        folder: Path,
        size: tuple[int, int],
        numbered: Callable[[], None],
        key_weights: Path | None = None,
    ) -> None:
        self.numbered_by: str | None = None
        self._numbered = numbered
        self.kind = followed_label(edited_config(edits))
        self.state, self.done = "waiting", 0  # then running, done or failed
        self.error: str | None = None
        self.cuts: list[int] = []
        self.found: list[int] = []  # regions of each frame
        self.share: list[float] = []  # of each frame's area, about how much is hidden, 0 to 1
        self.tracks: dict[int, SeenTrack] = {}
        self.unsure: list[int] = []  # frames in which a person was found with little confidence
        self.filled: dict[int, int] = {}  # frames since a track was last detected
        self.gaps: list[tuple[int, int]] = []  # frames over which somebody was not detected
        self._folder, self._reader = folder, FoundReader(folder, size)
        self._area = float(edits.source.width * edits.source.height)
        self._lock = threading.Lock()
        request = folder / "edits.json"
        only_settings(edits).write(request)
        self._names = [str(request), str(video), str(folder)]
        self._names += [] if key_weights is None else [str(key_weights)]
        self._child: Child | None = None
        self._ended: Callable[[], None] = lambda: None

    def start(self, ended: Callable[[], None]) -> None:
        """Begin; `ended` is called when it has ended."""
        self.state, self._ended = "running", ended
        module = "masquerade.studio.scan_process"
        self._child = Child(module, *self._names, on_line=self._hear, on_end=self._end)

    @property
    def unfinished(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in ("waiting", "running")

    def region(self, frame: int) -> Region | None:
        """What was found in a frame, its masks at the copy's size; None: not yet known."""
        return self._reader.read(frame)

    def fail(self, sentence: str) -> None:
        """Say that it could not be begun."""
        self.state, self.error = "failed", sentence

    def pause(self) -> None:
        """Let it wait a moment: the page wants a picture, and the machine's caches are shared."""
        if self._child is not None and self.state == "running":
            self._child.nudge()

    def stop(self) -> None:
        """End it; what was found stays."""
        if self._child is not None and self.state == "running":
            self._child.stop()

    def discard(self) -> None:
        """Delete the files of this search, once it has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _hear(self, line: dict[str, Any]) -> None:
        if "error" in line:
            self.error = str(line["error"])
        if "numbered_by" in line:
            self.numbered_by = str(line["numbered_by"])
            self._numbered()
        self._take()

    def _end(self, code: int, stderr: str) -> None:
        self._take()
        if code and self.error is None:
            self.error = f"nothing more could be found: {last_words(code, stderr)}"
        self.state = "failed" if code else "done"
        self._ended()

    def _take(self) -> None:
        """Add up the pieces that came."""
        with self._lock:
            while self.done % LENGTH == 0:
                regions = self._reader.read_piece(self.done // LENGTH)
                if regions is None:
                    return
                for region in regions:
                    self._add(region)

    def _add(self, region: Region) -> None:
        frame = self.done
        self.found.append(1 if region.full_frame else len(region.boxes))
        # Beside faces or people, a part that was pointed at must not hide that none was found.
        strength = region.strength if self.kind is None else None
        if strength is not None and not region.boxes and strength.any():
            self.found[-1] = 1
        self.share.append(_share(region, self._area))
        if region.cut:
            self.cuts.append(frame)
        for box in region.boxes:
            if box.label == "person" and box.source == "detected" and box.score < UNSURE:
                self.unsure.append(frame)
            if box.track is None or box.label != self.kind:
                continue
            seen = self.tracks.setdefault(box.track, SeenTrack(box.track, box.label, best=frame))
            seen.frames.append(frame)
            missed = 0 if box.source == "detected" else self.filled.get(box.track, 0) + 1
            if not missed and self.filled.get(box.track, 0) >= LONG:
                self.gaps.append((frame - self.filled[box.track], frame - 1))
            self.filled[box.track] = missed
            same = (
                other for other in region.boxes if other is not box and other.label == box.label
            )
            overlap = sum(covered_share(box, other) for other in same)
            size = box.width * box.height / (1 + OVERLAP_PENALTY * overlap)
            if box.source == "detected" and size > 1.1 * seen.size:
                edges = (box.x0, box.y0, box.x1, box.y1)
                seen.size, seen.best, seen.box = size, frame, edges
            elif not seen.size and len(seen.frames) == 1:
                seen.box = (box.x0, box.y0, box.x1, box.y1)
        self.done += 1  # last: who reads how many are done finds all of them

    def marks(self, drawn: Sequence[DrawnRegion] = ()) -> list[dict[str, Any]]:
        """The frames that somebody should look at, such as those in which nothing was found.

        A drawn region may be off its place where it was followed. Marks that ask about it have the
        digest of its `boxes`: once they change, the mark counts as a new one.
        """
        by_hand = {t for region in drawn for t in region.keys}
        moved = {t for region in drawn for t in region.boxes}
        nothing = [t for t, n in enumerate(self.found) if not n and t not in by_hand]
        alone = [t for t in nothing if t in moved]
        nothing = [t for t in nothing if t not in moved]
        marks = [_mark(run, "nothing", "Nothing was found here.") for run in frame_spans(nothing)]
        text = "Only your own region hides something here: look whether it is still in its place."
        marks += [
            {**_mark(run, "unsure", text), "boxes": _boxes_digest(drawn, run)}
            for run in frame_spans(alone)
        ]
        text = "Somebody was not seen here for a while, and was filled in."
        marks += [_mark(run, "gap", text) for run in self.gaps]
        text = "Somebody was found here with little confidence."
        marks += [_mark(run, "unsure", text) for run in frame_spans(self.unsure)]
        marks += [_mark((cut, cut), "cut", "A new scene begins.") for cut in self.cuts]
        return sorted(marks, key=lambda mark: (mark["first"], mark["kind"]))


class ScanQueue:
    """Starts scans one after the other, the one asked for last first."""

    def __init__(self) -> None:
        self._waiting: list[Scan] = []
        self._running: Scan | None = None
        self._lock = threading.Lock()

    def add(self, scan: Scan) -> None:
        """Start a scan as soon as none runs."""
        with self._lock:
            self._waiting.append(scan)
        self._next(None)

    def remove(self, scan: Scan) -> None:
        """Stop a scan, or forget it where it has not begun."""
        with self._lock:
            if scan in self._waiting:
                self._waiting.remove(scan)
                return
        scan.stop()

    def pause(self) -> None:
        """Let the scan that runs wait a moment."""
        running = self._running
        if running is not None:
            running.pause()

    def _next(self, ended: Scan | None) -> None:
        with self._lock:
            if ended is not None and self._running is ended:
                self._running = None
            if self._running is not None or not self._waiting:
                return
            scan = self._running = self._waiting.pop()
            try:
                scan.start(lambda: self._next(scan))
                return
            except OSError as error:  # such as too many open files
                scan.fail(f"people could not be looked for: {error.strerror}.")
                self._running = None
        self._next(None)


def frame_spans(frames: Sequence[int], *, step: int = 2) -> list[tuple[int, int]]:
    """Spans of a sorted list of frames, first and last, without a gap above a step."""
    spans: list[tuple[int, int]] = []
    for frame in frames:
        if spans and frame <= spans[-1][1] + step:
            spans[-1] = spans[-1][0], frame
        else:
            spans.append((frame, frame))
    return spans


def only_settings(edits: Edits) -> Edits:
    """The settings of edits, with nobody chosen and nothing drawn."""
    nobody: dict[str, Any] = dict(visible=(), only=(), joined=(), methods={}, drawn=(), log=())
    return replace(edits, **nobody)


def scan_key(edits: Edits) -> str:
    """Equal for settings under which the same is found."""
    plain = only_settings(edits)
    config = edited_config(plain)
    sources = [
        (name, {key: str(value) for key, value in sorted(arguments.items())})
        for name, arguments in region_arguments(config)
    ]
    library, digests = Library(), []
    for name in named_templates(edits):
        with suppress(MasqueradeError):  # one that is missing is said where it is looked for
            digests.append(library.load(name).digest())
    return hashlib.sha256(json.dumps([sources, digests]).encode()).hexdigest()[:16]


def named_templates(edits: Edits) -> list[str]:
    """The templates by which something is found under the settings of edits."""
    sources = region_arguments(edited_config(only_settings(edits)))
    return [name for _, arguments in sources for name in arguments.get("templates") or ()]


def _share(region: Region, area: float) -> float:
    """About how much of the frame's area is hidden, 0 to 1."""
    if region.full_frame:
        return 1.0
    boxes = sum(box.width * box.height for box in region.boxes) / area
    masks = [float((m > 0).mean()) for m in (region.mask, region.strength) if m is not None]
    return round(max(masks) if masks else min(1.0, boxes), 4)


def _mark(run: tuple[int, int], kind: str, text: str) -> dict[str, Any]:
    return {"first": run[0], "last": run[1], "kind": kind, "text": text}


def _boxes_digest(drawn: Sequence[DrawnRegion], run: tuple[int, int]) -> str:
    """A digest of where drawn regions lie in these frames, which changes once one is moved."""
    inside = [
        [(t, box) for t, box in sorted(region.boxes.items()) if run[0] <= t <= run[1]]
        for region in drawn
    ]
    return hashlib.sha256(json.dumps([boxes for boxes in inside if boxes]).encode()).hexdigest()[
        :16
    ]
