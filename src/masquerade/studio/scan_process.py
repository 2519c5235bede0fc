"""Finds what is to be hidden in a whole video, in a process of its own.

Its arguments are EDITS VIDEO FOLDER [KEY_WEIGHTS].

EDITS says how people are found, and nobody in it is chosen. Pieces of what was found appear in
FOLDER, and each line of the output is JSON: {"numbered_by": "..."}, {"done": frames} as it goes on,
then {"end": true}, or {"error": "a sentence"}.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from masquerade.errors import MasqueradeError
from masquerade.pipeline.config import (
    build_region_source,
    edited_config,
    numbering,
)
from masquerade.pipeline.edits import Edits
from masquerade.studio.children import NICE, end_with_parent, say
from masquerade.studio.found_pieces import LENGTH, FoundWriter
from masquerade.video.frame import Frame
from masquerade.video.read import Reader
from masquerade.video.segments import copy_size

REST = 1.0  # seconds that the search waits when the page asks for a picture: caches are shared


class Pauses:
    """Holds a search back for a moment, each time that it is asked to."""

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self) -> None:
        """Wait from now on."""
        self._until = time.monotonic() + REST

    def wait(self) -> None:
        """Return when nothing was asked for a while."""
        while (left := self._until - time.monotonic()) > 0:
            time.sleep(left)


def scan(
    pauses: Pauses, edits: Path, video: Path, folder: Path, key_weights: Path | None = None
) -> None:
    """Find what is to be hidden in every frame, and write it."""
    decided = Edits.read(edits)
    config = edited_config(decided, key_weights=key_weights)
    source = build_region_source(config)  # faces and poses alike, whatever the method shows
    say(numbered_by=numbering(config, source))
    with Reader(video, force_8bit=True) as reader:
        writer = FoundWriter(folder, copy_size(reader.info.width, reader.info.height))
        for done, region in enumerate(source(_frames(reader, pauses)), 1):
            writer.add(region)
            if done % LENGTH == 0:
                say(done=done)
        writer.flush()
    say(end=True)


def _frames(reader: Reader, pauses: Pauses) -> Iterator[Frame]:
    for item in reader:
        if isinstance(item, Frame):
            pauses.wait()
            yield item


def main(argv: list[str]) -> int:
    """Run one scan; returns the exit code."""
    pauses = Pauses()
    end_with_parent(pauses.begin)
    os.nice(NICE)
    try:
        scan(pauses, *map(Path, argv))
    except KeyboardInterrupt:
        return 130
    except (MasqueradeError, OSError) as error:
        say(error=str(error))
        return 1
    return 0
