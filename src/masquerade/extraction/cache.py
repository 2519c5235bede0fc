"""Clips that were cut before, found again by what they were made of."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from masquerade import methods, models, regions
from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments
from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.extraction.extraction import Job, Pass, file_digest, region_class, source_of

MOTION = ("noise.py", "gait_jitter.py")  # of a method; no region source uses them


class ClipCache:
    """A folder with one small file a video, named by a digest of everything that went into it.

    What goes in: the video's bytes, the method's name, arguments, weights and source text, the
    regions, the sampling, masquerade's version and the source text of what finds regions and
    moves noise. A file that cannot be read is made anew.

    Args:
        folder: made where it is missing.
        how: what becomes of the videos.
    """

    def __init__(self, folder: Path, how: Pass) -> None:
        self.folder = folder
        self._told = digest_of(how)

    def path(self, job: Job) -> Path:
        """Where the clips of one video lie, or would."""
        about = f"{self._told} {file_digest(job.path)} {job.ranges}"
        return self.folder / f"{hashlib.sha256(about.encode()).hexdigest()[:40]}.safetensors"

    def recall(self, job: Job, into: dict[int, Tensor]) -> bool:
        """Add a video's clips by row, if they are here."""
        try:
            held = load_file(self.path(job))
            clips = [held[str(i)] for i in range(len(job.rows))]
        except (FileNotFoundError, SafetensorError, KeyError, VideoError, OSError):
            return False
        into.update(zip(job.rows, clips, strict=True))
        return True

    def keep(self, job: Job, clips: list[Tensor]) -> None:
        """Write a video's clips, whole or not at all."""
        path = self.path(job)
        part = path.with_name(f".{secrets.token_hex(8)}.part")  # other processes may write it too
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({str(i): clip.contiguous() for i, clip in enumerate(clips)}, part)
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or error
            raise MasqueradeError(f"{self.folder} cannot be written: {why}.") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def digest_of(how: Pass) -> str:
    """Everything about a pass that changes its clips, as one digest.

    Raises:
        UsageError: the method does not keep its arguments as attributes, or the regions are a
            finished source.
    """
    from masquerade import __version__

    about = {
        "masquerade": __version__,
        "sampling": [how.frames, how.height, how.width, how.stride, how.sample_first]
        + ([] if how.padding == "repeat" else [how.padding]),
        "regions": _regions(how),
        "cover": how.cover and [str(part) for part in how.cover[:3]],
        "within": how.cover and _bytes_of(how.cover.within),
        "seed": how.seed,
        "through_file": how.through_file,
        "method": None if how.method is None else _method(how.method),
        "vision": None if how.method is None else _vision(),
    }
    if how.outside != "keep":
        about["outside"] = how.outside
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def seen_by(folder: Path, how: Pass) -> Path | None:
    """Where the regions lie that a pass's region source finds; None: it hides the whole frame.

    Args:
        folder: of all that is kept.
        how: the pass.
    """
    about = _regions(how)
    if how.method is None or about[0] in ("frame", region_class("frame")[0]):
        return None
    told = json.dumps(
        [*about, _vision(but=(*MOTION, "selective.py")), how.sample_first],
        sort_keys=True,
        default=str,
    )
    return folder / f"regions-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _regions(how: Pass) -> list[Any]:
    """All that a region source depends on, but for the code and the video."""
    name, given = region_class(how.regions)
    return [name, {key: _content(value) for key, value in given.items()}, _templates(how)]


def _method(method: Anonymizer) -> dict[str, Any]:
    kind = type(method)
    try:
        given = arguments(method)
    except AttributeError as error:
        raise UsageError(
            f"{kind.__name__} keeps no attribute for one of its arguments ({error}), so that its "
            "clips could not be told from others; keep them all, or give no cache."
        ) from error
    weights = hashlib.sha256()
    for key, value in sorted(method.state_dict().items()):
        weights.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        weights.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return {
        "name": f"{kind.__module__}.{kind.__qualname__}",
        "arguments": {key: _plain(value) for key, value in given.items()},
        "weights": weights.hexdigest(),
        "source": _source(kind),
    }


def _plain(given: Any) -> Any:
    """An argument, and of one that is a method all that makes that method."""
    return _method(given) if isinstance(given, Anonymizer) else given


def _source(kind: type) -> str:
    """A digest of the file that defines a method, so that an edited one starts anew."""
    try:
        text = Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(text).hexdigest()


@functools.cache
def _vision(but: tuple[str, ...] = ()) -> str:
    """A digest of the source of everything that region sources and methods stand on.

    Args:
        but: files that do not count.
    """
    paths = [
        *Path(inspect.getfile(regions)).parent.glob("*.py"),
        *Path(inspect.getfile(models)).parent.glob("*flow.py"),
        *(Path(inspect.getfile(methods)).parent / "selective").glob("*.py"),
    ]
    texts = [path.read_bytes() for path in sorted(paths) if path.name not in but]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def _templates(how: Pass) -> list[str]:
    """What the templates of a library hold, whose names may come to mean something else."""
    if "templates" not in region_class(how.regions)[0].lower():
        return []
    source = source_of(how.regions)
    return [getattr(one, "content", "") for one in getattr(source, "sources", (source,))]


def _content(given: Any) -> Any:
    """An argument, and of a file what is in it: a hand may change the boxes that it names."""
    is_file = isinstance(given, Path) and given.is_file()
    return [given.name, file_digest(given)] if is_file else given


def _bytes_of(mask: Any) -> str | None:
    return None if mask is None else hashlib.sha256(mask.tobytes()).hexdigest() + str(mask.shape)
