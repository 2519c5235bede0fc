"""One frame of the result as it would be, drawn at once from what is known of the video.

It is drawn from the copy's pictures, and who is left visible is cut out by their boxes: a picture
to decide by. The whole run reads the video itself.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from masquerade.anonymizer import Anonymizer, Pixels, first_state
from masquerade.errors import VideoError
from masquerade.pipeline.config import (
    PipelineConfig,
    build_region_source,
    edited_config,
    followed_label,
    source_names,
    with_default_regions,
    with_edits,
)
from masquerade.pipeline.edits import Edits
from masquerade.pipeline.stream import black_outside, cover_of, window_masks
from masquerade.pipeline.track_methods import TrackMethods
from masquerade.regions import REGIONS
from masquerade.regions.boxes import Box, scaled_box
from masquerade.regions.masks import Mask, rasterize
from masquerade.regions.region import ArrayFrame, Region
from masquerade.regions.union import default_shape
from masquerade.studio.copying import Pictures
from masquerade.studio.scans import only_settings, scan_key
from masquerade.studio.template_keys import TemplateKeys

NEAR = 1.15  # factor on the box of somebody visible: so far around it nothing else is hidden
KEPT_SOURCES, KEPT_FOUND = 4, 64
NO_DIGEST = bytes(32)  # the noise of a preview is not that of the run


class FrameDetectors:
    """Finds what is to be hidden in single frames, before a whole video was looked through.

    What was built and found is kept; detectors take their turns.

    Args:
        keys: what templates are compared by.
    """

    def __init__(self, keys: TemplateKeys) -> None:
        self._keys = keys
        self._sources: OrderedDict[str, Any] = OrderedDict()
        self._found: OrderedDict[tuple[str, str, int], Region] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, edits: Edits, video: str, pictures: Pictures, frame: int) -> Region:
        """What is found in one frame alone; `video` is its name among others."""
        own = scan_key(edits)
        key = own, video, frame
        with self._lock:
            if key in self._found:
                return self._found[key]
            if own not in self._sources:
                weights = self._keys.weights_of(edits)
                config = edited_config(only_settings(edits), key_weights=weights)
                self._sources[own] = build_region_source(config)
                _drop_oldest(self._sources, KEPT_SOURCES)
            info = pictures.info
            picture = ArrayFrame(pictures.read(frame), size=(info.width, info.height))
            region = next(iter(self._sources[own]([picture])))
            alone = tuple(replace(box, track=None) for box in region.boxes)  # numbers of no track
            self._found[key] = replace(_at_size(region, pictures.size), boxes=alone)
            _drop_oldest(self._found, KEPT_FOUND)
            return self._found[key]


class Preview:
    """Draws frames of the result.

    Args:
        pictures: the video's copy.
        find: what is found in a frame under some edits, its masks at the copy's size, and whether
            its tracks are those of the whole video.
    """

    def __init__(
        self, pictures: Pictures, find: Callable[[Edits, int], tuple[Region, bool]]
    ) -> None:
        self._pictures, self._find = pictures, find
        self._lock = threading.Lock()
        self._methods: OrderedDict[str, Anonymizer] = OrderedDict()

    def draw(self, edits: Edits, frame: int) -> Pixels:
        """The picture (h, w, 3) of one frame as these edits make it.

        Raises:
            VideoError: the frame is not there yet.
        """
        if frame < 0 or frame >= self._pictures.frames:
            raise VideoError(f"there is no frame {frame} yet.")
        anonymizer = self._method(edits)
        config = with_default_regions(with_edits(PipelineConfig(), edits), anonymizer)
        at = self._window(anonymizer, frame)
        regions = [self.region(edits, t) for t in at]
        pixels = np.stack([self._pictures.read(t) for t in at])
        masks = self._masks(config, regions)
        people = [scaled_people(region, self._scale) for region in regions]
        poses = {"people": people} if anonymizer.needs_people else {}
        with self._lock, torch.no_grad():
            state = first_state(anonymizer, digest=NO_DIGEST)
            out, _ = anonymizer.on_pixels(pixels, mask=masks, state=state, **poses)
            if edits.methods:
                track_methods = TrackMethods(
                    edits.track_methods(followed_label(config)), seed=None, digest=NO_DIGEST
                )
                scaled = [scaled_region(region, self._scale) for region in regions]
                out = track_methods.apply(out, pixels, masks, scaled)
        if masks is not None and config.outside == "black":
            out = black_outside(out, masks)
        return np.asarray(out[at.index(frame)], np.uint8)

    def region(self, edits: Edits, frame: int) -> Region:
        """What is hidden in a frame: found, chosen and drawn; in pixels of the video.

        Before a frame's people have numbers, all of them are hidden, whoever was chosen.
        """
        region, numbered = self._find(edits, frame)
        if not numbered:
            edits = replace(edits, visible=(), only=(), methods={})
        return chosen_region(region, edits, frame, self._scale)

    @property
    def _scale(self) -> tuple[float, float]:
        info, size = self._pictures.info, self._pictures.size
        return size[0] / info.width, size[1] / info.height

    def _window(self, anonymizer: Anonymizer, frame: int) -> list[int]:
        """Return the numbers of the frames that a method needs to anonymize this one."""
        if anonymizer.framewise or anonymizer.needs_people:
            return [frame]
        length = anonymizer.window or 2
        first = max(0, min(frame - length + 1, self._pictures.frames - length))
        return [min(t, self._pictures.frames - 1) for t in range(first, first + length)]

    def _masks(self, config: PipelineConfig, regions: Sequence[Region]) -> Any:
        found_by = [REGIONS[name] for name in source_names(config)]
        cover = cover_of(replace(config, shape=config.shape or default_shape(found_by)))
        width, height = self._pictures.size
        scaled = [scaled_region(region, self._scale) for region in regions]
        return window_masks(scaled, cover, width=width, height=height)

    def _method(self, edits: Edits) -> Anonymizer:
        key = f"{edits.settings.get('level')} {edits.method} {dict(edits.arguments)}"
        with self._lock:
            if key not in self._methods:
                self._methods[key] = edits.anonymizer()
                _drop_oldest(self._methods, KEPT_SOURCES)
            return self._methods[key]


def chosen_region(region: Region, edits: Edits, frame: int, scale: tuple[float, float]) -> Region:
    """A region without those who are left visible, and with what was drawn.

    Its masks are at the copy's size, which is `scale` (across, down) of the video's.
    """
    named = {k for track in (*edits.visible, *edits.only) for k in edits.tracks_of_person(track)}
    if named:
        kind = followed_label(edited_config(edits))
        people = [box for box in region.boxes if box.label == kind]
        besides = [box for box in region.boxes if box.label != kind]
        inside = [box for box in people if box.track in named]
        outside = [box for box in people if box.track not in named]
        hidden, visible = (inside, outside) if edits.only else (outside, inside)
        chosen = hidden if edits.only else []
        faces = [box for box in besides if _lies_in(box, chosen) or not _lies_in(box, visible)]
        region = replace(
            region,
            boxes=(*hidden, *faces),
            visible=tuple(visible),
            mask=_cut(region.mask, hidden, visible, scale, only=bool(edits.only)),
            people=tuple(p for p in region.people if (p.track in named) == bool(edits.only)),
        )
    drawn = tuple(box for drawing in edits.drawn if (box := drawing.box(frame)) is not None)
    return replace(region, boxes=(*region.boxes, *drawn)) if drawn else region


def _cut(
    mask: Mask | None,
    hidden: Sequence[Box],
    visible: Sequence[Box],
    scale: tuple[float, float],
    *,
    only: bool,
) -> Mask | None:
    """The mask where people are hidden; where both meet, hidden wins."""
    if mask is None:
        return None
    height, width = mask.shape
    own, rest = (
        rasterize(
            [scaled_box(box, scale) for box in boxes if box.label != "drawn"],
            width=width,
            height=height,
            shape="box",
            scale=NEAR,
        )
        for boxes in (hidden, visible)
    )
    gone = own == 0 if only else (rest > 0) & (own == 0)
    return np.where(gone, 0, mask).astype(np.uint8)


def _lies_in(box: Box, boxes: Sequence[Box]) -> bool:
    """Whether the middle of a box lies in any of these boxes."""
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return any(other.x0 <= x <= other.x1 and other.y0 <= y <= other.y1 for other in boxes)


def scaled_region(region: Region, scale: tuple[float, float]) -> Region:
    """A region whose boxes are in pixels of the copy, as its masks are."""
    return replace(region, boxes=tuple(scaled_box(box, scale) for box in region.boxes))


def scaled_people(region: Region, scale: tuple[float, float]) -> list[Any]:
    """The people of a region in pixels of the copy."""
    x, y = scale
    return [
        person._replace(
            box=(person.box[0] * x, person.box[1] * y, person.box[2] * x, person.box[3] * y),
            landmarks=person.landmarks * [x, y, x, 1, 1],
        )
        for person in region.people
    ]


def _at_size(region: Region, size: tuple[int, int]) -> Region:
    return replace(
        region,
        mask=None
        if region.mask is None
        else np.asarray(cv2.resize(region.mask, size, interpolation=cv2.INTER_AREA), np.uint8),
        strength=None
        if region.strength is None
        else np.asarray(cv2.resize(region.strength, size, interpolation=cv2.INTER_AREA), np.uint8),
    )


def _drop_oldest(cache: OrderedDict[Any, Any], most: int) -> None:
    while len(cache) > most:
        cache.popitem(last=False)
