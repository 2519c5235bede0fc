"""How videos become clips, and the digest of all that changes the clips."""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from masquerade import methods, models, regions
from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments
from masquerade.datasets.clip_sampling import Padding, strided, uniform
from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.extraction.dataset import Shape
from masquerade.pipeline.stream import Cover
from masquerade.regions import REGIONS, Union
from masquerade.storage import file_digest, weights_digest

RegionFactory = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """How videos become clips; see `masquerade.extraction.extract.extract_clips`.

    Args:
        region_cache: a folder for the regions that are found; None: none is kept.
        scratch: a folder for files that are removed at once; None: the system's.
    """

    frames: int
    height: int
    width: int
    stride: int | None
    method: Anonymizer | None
    regions: RegionFactory | str | None
    cover: Cover | None
    seed: int | None
    through_file: bool
    sample_first: bool
    outside: Literal["keep", "black"] = "keep"
    padding: Padding = "repeat"
    region_cache: Path | None = None
    scratch: Path | None = None

    @property
    def shape(self) -> Shape:
        """(3, T, H, W) of a clip."""
        return (3, self.frames, self.height, self.width)

    def indices(self, first: int, last: int) -> IntArray:
        """(T,) frames of the video that make a clip of frames first to last."""
        count = last - first + 1
        if self.stride is None:
            return first + uniform(count, self.frames)
        return first + strided(count, self.frames, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class JoinedRegions:
    """Makes several region sources that hide together, as in `--regions faces+people`.

    Args:
        parts: what makes each of them.
    """

    parts: tuple[RegionFactory, ...]

    def __call__(self) -> Union:
        """A fresh region source."""
        return Union(sources=[make() for make in self.parts])

    @property
    def name(self) -> str:
        """The names of all of them, joined by +."""
        plain = [part.func if isinstance(part, partial) else part for part in self.parts]
        return "+".join(str(getattr(part, "name", part.__name__)) for part in plain)


def region_source(regions: RegionFactory | str | None) -> Any:
    """A fresh region source."""
    if regions is None or isinstance(regions, str):
        return REGIONS[regions or "frame"]()
    return regions()


def region_class(regions: RegionFactory | str | None) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of what makes a region source.

    Raises:
        UsageError: it is a finished source, which cannot be told from another; or an unknown name.
    """
    if regions is None:
        return "frame", {}
    if isinstance(regions, str):
        if regions not in REGIONS:
            raise UsageError(f"There are no regions {regions!r}; there are {', '.join(REGIONS)}.")
        return region_class(REGIONS[regions])
    if isinstance(regions, JoinedRegions):
        each = [region_class(part) for part in regions.parts]
        given = {f"{i} {key}": v for i, (_, one) in enumerate(each) for key, v in one.items()}
        return "+".join(name for name, _ in each), given
    if isinstance(regions, partial) and not regions.args:
        return region_class(regions.func)[0], dict(regions.keywords)
    name = getattr(regions, "__qualname__", None)
    if name is None:
        raise UsageError(
            f"{type(regions).__name__} is a finished region source; give what makes one, as in "
            f"functools.partial({type(regions).__name__}, ...): each video needs its own."
        )
    return f"{regions.__module__}.{name}", {}


def config_digest(config: ExtractionConfig) -> str:
    """SHA-256 of everything about an extraction, but for the videos, that changes its clips.

    These are the sampling, the method's name, arguments, weights and source text, the regions and
    the cover, the seed, masquerade's version, and the source text of what finds regions.

    Raises:
        UsageError: the method does not keep its arguments as attributes, or the regions are a
            finished source.
    """
    from masquerade import __version__

    content: dict[str, Any] = {
        "masquerade": __version__,
        "sampling": [
            *config.shape,
            config.stride,
            config.sample_first,
            config.padding,
        ],
        "through_file": config.through_file,
    }
    regions = _regions(config)
    if config.method is not None:
        content |= {
            "method": _method(config.method),
            "regions": regions,
            "sources": _code(),
            "cover": config.cover and [str(part) for part in config.cover[:3]],
            "within": config.cover and _mask_digest(config.cover.within),
            "outside": config.outside,
            "seed": config.seed,
        }
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, default=_as_text).encode()
    ).hexdigest()


def region_cache_folder(folder: Path, config: ExtractionConfig) -> Path | None:
    """Where the regions are kept that an extraction's region source finds.

    Args:
        folder: of all that is kept.
        config: of the extraction.

    Returns:
        None where the whole frame is hidden.
    """
    content = _regions(config)
    if config.method is None or content[0] in ("frame", region_class("frame")[0]):
        return None
    text = json.dumps(
        [*content, _code(of_methods=False), config.sample_first],
        sort_keys=True,
        default=_as_text,
    )
    return folder / f"regions-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _regions(config: ExtractionConfig) -> list[Any]:
    """All that a region source depends on, but for masquerade's code and the video."""
    name, given = region_class(config.regions)
    own = [_factory_source(one) for one in _factories(config.regions)]
    given = {key: _file_content(value) for key, value in given.items()}
    return [name, given, _templates(config), own]


def _factories(regions: RegionFactory | str | None) -> list[RegionFactory]:
    """The classes and functions that make a region source."""
    if regions is None or isinstance(regions, str):
        return []
    if isinstance(regions, JoinedRegions):
        return [one for part in regions.parts for one in _factories(part)]
    return _factories(regions.func) if isinstance(regions, partial) else [regions]


def _factory_source(factory: RegionFactory) -> str:
    if inspect.isfunction(factory) and (factory.__closure__ or factory.__name__ == "<lambda>"):
        raise UsageError(
            f"{factory.__qualname__} may make other regions at another time under the same name, "
            "so that its clips could not be told from others; give a class, or functools.partial "
            "of one, or give no cache."
        )
    return _source_text(factory)


def _method(method: Anonymizer) -> dict[str, Any]:
    kind = type(method)
    try:
        given = arguments(method)
    except AttributeError as error:
        raise UsageError(
            f"{kind.__name__} keeps no attribute for one of its arguments ({error}), so that its "
            "clips could not be told from others; keep them all, or give no cache."
        ) from error
    return {
        "name": f"{kind.__module__}.{kind.__qualname__}",
        "arguments": {
            key: _method(value) if isinstance(value, Anonymizer) else value
            for key, value in given.items()
        },
        "weights": weights_digest(method.state_dict()),
        "source": _source_text(kind),
    }


def _source_text(kind: Callable[..., Any]) -> str:
    """A digest of the file that defines a method or regions, so that an edited one starts anew."""
    try:
        return file_digest(Path(inspect.getfile(kind)))
    except (OSError, TypeError):
        return ""


@functools.cache
def _code(*, of_methods: bool = True) -> str:
    """A digest of the source text of all region sources and of the networks.

    Args:
        of_methods: of all methods too, which share files.
    """
    paths = [
        *Path(inspect.getfile(regions)).parent.glob("*.py"),
        *Path(inspect.getfile(models)).parent.glob("*.py"),
    ]
    if of_methods:
        paths += Path(inspect.getfile(methods)).parent.glob("**/*.py")
    texts = [path.read_bytes() for path in sorted(paths)]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def _templates(config: ExtractionConfig) -> list[str]:
    """The content of a library's templates, whose names may come to mean something else."""
    if "templates" not in region_class(config.regions)[0].lower():
        return []
    source = region_source(config.regions)
    return [getattr(one, "content", "") for one in getattr(source, "sources", (source,))]


def _file_content(given: Any) -> Any:
    """An argument; of a file its content, since the boxes in it may be edited."""
    is_file = isinstance(given, Path) and given.is_file()
    return [given.name, file_digest(given)] if is_file else given


def _as_text(given: Any) -> str:
    """An argument that JSON does not have; `str` would leave out most of a large array."""
    if isinstance(given, Tensor):
        given = given.detach().cpu().numpy()
    if isinstance(given, np.ndarray):
        return f"{given.dtype} {given.shape} {hashlib.sha256(given.tobytes()).hexdigest()}"
    return str(given)


def _mask_digest(mask: Any) -> str | None:
    return None if mask is None else hashlib.sha256(mask.tobytes()).hexdigest() + str(mask.shape)
