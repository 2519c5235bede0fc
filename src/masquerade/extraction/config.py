"""How videos become clips, and the digest of all that changes the clips."""

import hashlib
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments
from masquerade.datasets.clip_sampling import Padding, segment_middles, strided, window_indices
from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.extraction import flow_clip, packet_clip, stacked_clip
from masquerade.extraction.dataset import Shape
from masquerade.extraction.poses import CHANNELS, PEOPLE
from masquerade.extraction.store import ENTRY
from masquerade.methods.drawn_people import DrawnPeople
from masquerade.models.stgcn import LANDMARKS
from masquerade.pipeline.config import FileConfig, RegionConfig
from masquerade.pipeline.stream import Cover
from masquerade.regions import REGIONS, Union
from masquerade.storage import code_digest, computing_versions, file_digest, weights_digest

RegionFactory = Callable[[], Any]
PUBLISHED = FileConfig()
"""How `anonymize` sizes and encodes a file where nobody asks for something else."""
Content = Literal["frames", "stacked", "flow", "packets", "poses", "joints"]
Aspect = Literal["squeeze", "crop"]
PIXELS: tuple[Content, ...] = ("frames", "stacked", "flow")
"""Contents that are made of pixels of some frames, and held in bytes."""
READING_CODE = (
    *("extraction/*.py", "video/*.py", "models/optical_flow.py", "anonymizer.py"),
    "datasets/clip_sampling.py",
)
REGION_CODE = ("regions/*.py", "models/*.py")
HIDING_CODE = (
    *(*REGION_CODE, "methods/**/*.py", "anonymizer.py"),
    *("pipeline/stream.py", "pipeline/coverage.py"),
)
WRITING_CODE = ("pipeline/pictures.py", "pipeline/config.py")
"""The files whose code makes clips, regions, what is hidden and counted as hidden, and files that
are read again: all are made anew when it changes."""
WHOLE = ("squeeze", 1, 1)
"""The aspect, windows and crops of a clip that is one view of whole frames."""


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """How videos become clips.

    Args:
        frames: T of a clip.
        content: `frames`; `flow`, how consecutive frames from the middle of the video move, see
            `flow_clip`; `stacked`, pictures of many neighbouring frames each, see `stacked_clip`;
            `packets`, what the published file tells without its pixels, see `packet_clip`;
            `poses`, the landmarks that pose networks find in the frames as they are
            shown (of raw video those that `regions` come with, where these are given); or `joints`,
            those that a method which draws people draws.
        size: side, or (height, width), in pixels; frames are made as small by area.
        aspect: `squeeze` the whole frame to the size; or `crop`, keep its aspect and cut off what
            is left over on both sides of the middle.
        crops: of frames, evenly spaced along the side that is cut; of more than one the clip has
            the views one after another, see `windows`.
        stride: source frames from one frame of the clip to the next, from the video's start; None:
            the middles of T equal parts of the whole video.
        windows: of T frames, with starts evenly spaced over the whole video; a clip has all of them
            one after another, and of each its crops, so T x windows x crops frames. Of content
            `frames` only, as aspect and crops are.
        padding: of a video that is shorter than such a clip: its last frame again, or back and
            forth.
        method: an anonymizer, which is frozen; None: raw video.
        regions: what makes the region source of one video: a name in `REGIONS`, or a class or
            `functools.partial` of one; None: the whole frame.
        cover: how boxes become masks; None: the region source's own shape.
        outside: what becomes of all that is not hidden.
        seed: of the method's noise, another stream for each video; None: the system's entropy, so
            that a run without a cache differs from the one before.
        through_file: write each anonymized video to a file as a user would, and read it again.
        file: how that file is sized and encoded, and the one whose `packets` are told.
        sample_first: anonymize only the frames of the clip (the papers' protocol).
        allow_empty: also take videos in which nothing was found to hide.
        allow_gaps: also take those in which nothing was found in over 2 % of the frames between the
            first and the last find, or whole frames were hidden because nothing could be told apart
            in them.
        region_cache: a folder for the regions that are found, which `extract_clips` chooses; None:
            none is kept.
        region_limit: bytes that all regions kept beside it may take.
        scratch: a folder for files that are removed at once; None: the system's.
        device: where the method computes, as torch spells it: clips differ by its rounding alone.
            Those that are made on the fly are made on the CPU, since they have to be the same to
            the bit each time.
    """

    frames: int = 16
    content: Content = "frames"
    size: int | tuple[int, int] = 64
    aspect: Aspect = "squeeze"
    crops: int = 1
    stride: int | None = None
    windows: int = 1
    padding: Padding = "repeat"
    method: Anonymizer | None = None
    regions: RegionFactory | str | None = None
    cover: Cover | None = None
    outside: Literal["keep", "black"] = "keep"
    seed: int | None = None
    through_file: bool = False
    file: FileConfig = PUBLISHED
    sample_first: bool = False
    allow_empty: bool = False
    allow_gaps: bool = False
    region_cache: Path | None = None
    region_limit: float = math.inf
    scratch: Path | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(*self.shape, self.stride or 1, self.windows, self.crops) < 1:
            raise UsageError("Clips need at least one frame, one pixel and a stride of 1.")
        if self.windows > 1 and self.stride is None:
            raise UsageError(
                "Several windows of a video need a stride, such as 2: without one a clip is spread "
                "over the whole video."
            )
        if self.crops > 1 and self.aspect != "crop":
            raise UsageError("Several crops of a frame need aspect crop: a squeezed one has none.")
        if self.content == "joints" and not isinstance(self.method, DrawnPeople):
            raise UsageError("Only methods that draw people, such as mannequin, have drawn joints.")

    @property
    def shape(self) -> Shape:
        """(3, T, H, W) of a clip, or (C, T, V, M) of a pose sequence."""
        if self.content == "flow":
            return (flow_clip.CHANNELS, self.frames, flow_clip.ROWS, flow_clip.COLUMNS)
        if self.content == "stacked":
            return (3, self.frames, stacked_clip.ROWS, stacked_clip.COLUMNS)
        if self.content == "packets":
            return (packet_clip.CHANNELS, packet_clip.POSITIONS, 1, 1)
        if self.content != "frames":
            return (CHANNELS, self.frames, LANDMARKS, PEOPLE)
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return (3, self.frames * self.windows * self.crops, height, width)

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """Of the numbers of a clip: bytes, or of poses floats."""
        return np.uint8 if self.content in PIXELS else np.float32

    @property
    def clip_bytes(self) -> int:
        """Bytes of one clip."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def indices(self, first: int, last: int) -> IntArray:
        """(T,) frames of the video that make a clip of frames first to last.

        Of several windows they are (windows * T,), of flow T + 1, of stacked pictures all that are
        stacked, of packets all there are.
        """
        count = last - first + 1
        if self.content == "packets":
            return np.arange(first, last + 1)
        if self.content == "stacked":
            return first + stacked_clip.windows(count, self.frames).ravel()
        if self.content == "flow":
            start = max(0, (count - self.frames - 1) // 2)
            return first + strided(count, self.frames + 1, start=start, padding="palindrome")
        if self.stride is None:
            return first + segment_middles(count, self.frames)
        if self.windows > 1 and self.content == "frames":
            numbers = window_indices(
                count, self.frames, stride=self.stride, number=self.windows, padding=self.padding
            )
            return first + numbers.ravel()
        return first + strided(count, self.frames, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class UnionFactory:
    """Several region factories as one, whose sources hide together (`faces+people`)."""

    parts: tuple[RegionFactory, ...]

    def __call__(self) -> Union:
        """Make a fresh region source."""
        return Union(sources=[make() for make in self.parts])


def region_source(regions: RegionFactory | str | None) -> Any:
    """Make a fresh region source."""
    if regions is None or isinstance(regions, str):
        return REGIONS[regions or "frame"]()
    return regions()


def region_names(regions: RegionFactory | str | None) -> list[str]:
    """Return the names of the sources that a region factory makes."""
    if regions is None or isinstance(regions, str):
        return [regions or "frame"]
    if isinstance(regions, UnionFactory):
        return [name for part in regions.parts for name in region_names(part)]
    made = regions.func if isinstance(regions, partial) else regions
    if inspect.isfunction(made):  # only what it makes has a name
        made = regions()
    sources = getattr(made, "sources", (made,))
    return [
        str(getattr(source, "name", getattr(source, "__name__", type(source).__name__)))
        for source in sources
    ]


def describe_factory(regions: RegionFactory | str | None) -> tuple[str, dict[str, Any]]:
    """Return the name of a region factory and its keyword arguments.

    A finished source is refused, as it cannot be told from another.
    """
    if regions is None:
        return "frame", {}
    if isinstance(regions, str):
        if regions not in REGIONS:
            raise UsageError(f"There are no regions {regions!r}; there are {', '.join(REGIONS)}.")
        return describe_factory(REGIONS[regions])
    if isinstance(regions, UnionFactory):
        parts = [describe_factory(part) for part in regions.parts]
        keywords = {
            f"{i} {key}": v for i, (_, options) in enumerate(parts) for key, v in options.items()
        }
        return "+".join(name for name, _ in parts), keywords
    if isinstance(regions, partial) and not regions.args:
        return describe_factory(regions.func)[0], dict(regions.keywords)
    name = getattr(regions, "__qualname__", None)
    if name is None:
        raise UsageError(
            f"{type(regions).__name__} is a finished region source; give what makes one, as in "
            f"functools.partial({type(regions).__name__}, ...): each video needs its own."
        )
    return f"{regions.__module__}.{name}", {}


def config_digest(config: ExtractionConfig) -> str:
    """Return the SHA-256 of everything about an extraction but the videos that changes its clips.

    These are the sampling, the method's name, arguments, weights and source text, the regions and
    the cover, the seed, the versions of masquerade and of the libraries that compute, and its code
    that reads videos and finds regions.
    """
    from masquerade import __version__

    content: dict[str, Any] = {
        "masquerade": __version__,
        "code": code_digest(*READING_CODE),
        "libraries": computing_versions(),
        "sampling": [*config.shape, config.stride, config.sample_first, config.padding],
        "through_file": config.through_file,
        "index": ENTRY,
    }
    regions = _describe_regions(config.regions)
    if config.content == "frames" and (config.aspect, config.windows, config.crops) != WHOLE:
        content["views"] = [config.aspect, config.windows, config.crops]
    if config.content != "frames":
        content["content"] = config.content
    if config.through_file or config.content == "packets":
        content["file"] = asdict(config.file)
        content["written by"] = code_digest(*WRITING_CODE)
    if config.content in ("poses", "joints"):  # own code finds poses, on raw video too
        content |= {"regions": regions, "sources": code_digest(*HIDING_CODE)}
    if config.method is not None:
        within, plain = None, RegionConfig()
        own = f"source's own, {plain.mask_scale}, {plain.feather}"
        if config.cover is not None and (mask := config.cover.within) is not None:
            within = hashlib.sha256(mask.tobytes()).hexdigest() + str(mask.shape)
        content |= {
            "method": _describe_method(config.method),
            "regions": regions,
            "sources": code_digest(*HIDING_CODE),
            "cover": [str(part) for part in config.cover[:3]] if config.cover else own,
            "within": within,
            "outside": config.outside,
            "seed": config.seed,
        }
    return _json_digest(content)


def region_cache_folder(folder: Path, config: ExtractionConfig) -> Path | None:
    """Return where an extraction keeps regions in a folder; None where it hides whole frames."""
    content = _describe_regions(config.regions)
    searched = config.method is not None or config.content == "poses"
    if not searched or content[0] in ("frame", describe_factory("frame")[0]):
        return None
    content += [code_digest(*REGION_CODE, *READING_CODE), config.sample_first]
    content.append(computing_versions())
    return folder / f"regions-{_json_digest(content)[:12]}"


def _describe_regions(regions: RegionFactory | str | None) -> list[Any]:
    """Return all that a region source depends on, but for masquerade's code and the video."""
    name, keywords = describe_factory(regions)
    sources = [_factory_digest(factory) for factory in _factories(regions)]
    for key, value in keywords.items():
        if isinstance(value, Path) and value.is_file():  # its boxes may be edited, its weights too
            keywords[key] = [value.name, file_digest(value)]
    templates: list[str] = []
    if "templates" in name.lower():  # a template's name may come to mean something else
        source = region_source(regions)
        templates = [
            getattr(template, "content", "") for template in getattr(source, "sources", (source,))
        ]
    return [name, keywords, templates, sources]


def _factories(regions: RegionFactory | str | None) -> list[RegionFactory]:
    """Return the classes and functions that make a region source."""
    if regions is None or isinstance(regions, str):
        return []
    if isinstance(regions, UnionFactory):
        return [factory for part in regions.parts for factory in _factories(part)]
    return _factories(regions.func) if isinstance(regions, partial) else [regions]


def _factory_digest(factory: RegionFactory) -> str:
    if inspect.isfunction(factory) and (factory.__closure__ or factory.__name__ == "<lambda>"):
        raise UsageError(
            f"{factory.__qualname__} may make other regions at another time under the same name, "
            "so that its clips could not be told from others; give a class, or functools.partial "
            "of one, or give no cache."
        )
    return _definition_digest(factory)


def _describe_method(method: Anonymizer) -> dict[str, Any]:
    kind = type(method)
    return {
        "name": f"{kind.__module__}.{kind.__qualname__}",
        "arguments": {
            key: _describe_method(value) if isinstance(value, Anonymizer) else value
            for key, value in arguments(method).items()
        },
        "weights": weights_digest(method.state_dict()),
        "source": _definition_digest(kind),
    }


def _definition_digest(kind: Callable[..., Any]) -> str:
    """Digest the file that defines a method or regions, so that an edited one starts anew."""
    try:
        return file_digest(Path(inspect.getfile(kind)))
    except (OSError, TypeError):
        return ""


def _json_digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=as_text)
    return hashlib.sha256(text.encode()).hexdigest()


def as_text(argument: Any) -> str:
    """Return an argument that JSON lacks as text; `str` would leave out most of a large array."""
    if isinstance(argument, Tensor):
        argument = argument.detach().cpu().numpy()
    if isinstance(argument, np.ndarray):
        return f"{argument.dtype} {argument.shape} {hashlib.sha256(argument.tobytes()).hexdigest()}"
    return str(argument)
