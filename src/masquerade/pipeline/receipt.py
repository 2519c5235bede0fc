"""Receipts: what was done to a file, for others to verify, without anything that undoes it."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from masquerade.pipeline.config import FILES, PipelineConfig
from masquerade.pipeline.coverage import Coverage
from masquerade.storage import code_digest
from masquerade.text import readable

VERSION = 1  # of the format of receipts
CODE = "**/*.py"  # whatever of masquerade's own code may change an output, and its checks


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """One file by name and content. A public receipt leaves out names, and this of the source."""

    name: str | None
    sha256: str | None
    bytes: int
    container: str
    codec: str
    width: int
    height: int
    seconds: float | None
    frames: int


@dataclass(frozen=True, kw_only=True)
class RegionRecord:
    """One region source: its arguments, and the detector's model or the template keys it used."""

    name: str
    arguments: dict[str, Any]
    model_sha256: str | None
    keys: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResidualDetail:
    """How much of the source's fine detail was left where it should have gone."""

    left: float  # share of the detail of the region where most is left, 0 to 1: the least change
    frame: int  # of the source, where that is
    measured: int  # regions of frames that were compared
    without_detail: int  # those that passed for want of detail in the source


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The record of one anonymized file."""

    source: FileFacts
    output: FileFacts | None
    method: dict[str, Any]
    regions: tuple[RegionRecord, ...]
    settings: dict[str, Any]
    coverage: Coverage
    residual_detail: ResidualDetail | None  # None: nothing was written
    noise: str
    audio: str
    removed: tuple[str, ...] = ()  # names of tags and streams of the source
    kept: tuple[str, ...] = ()  # those of them that the output holds
    warnings: tuple[str, ...] = ()
    # frames by the ID of each person who was left visible on purpose
    left_visible: dict[int, int] = field(default_factory=dict)
    # by the name of another method than `method`: the IDs of those whom it hides, by edits
    other_methods: dict[str, tuple[int, ...]] = field(default_factory=dict)
    drawn: int = 0  # regions that a person drew by hand, hidden besides what was found
    # the SHA-256 of what was exported, by what it holds: boxes, masks
    exports: dict[str, str] = field(default_factory=dict)
    verified: bool = False  # whether --verify attacked the output before it got its name
    measured: str | None = None  # what was measured of the level, if one was asked for
    mended_timestamps: int = 0
    damaged_frames: int = 0
    lost_frames: int = 0  # of the source, as far as it tells
    end_unknown: bool = False  # whether nothing in the source says where it ends
    device: str = "cpu"
    seconds: float = 0.0  # from opening the source until the output was verified
    stage_seconds: dict[str, float] = field(default_factory=dict)  # in which each part was busy
    versions: dict[str, str] = field(default_factory=dict)
    settings_sha256: str = ""
    code_sha256: str = field(default_factory=partial(code_digest, CODE))
    receipt: int = VERSION

    @property
    def hidden_by(self) -> str:
        """The names of all methods, and whom others than the main one hide."""
        whom = "; ".join(
            f"ID {', '.join(map(str, tracks))} by {name}"
            for name, tracks in self.other_methods.items()
        )
        return f"{self.method['name']} ({whom})" if whom else str(self.method["name"])

    def public(self) -> Self:
        """Without what identifies the source: its hash, its size in bytes, and names of files.

        The output's often holds the source's, and those of boxes, masks and templates what is seen.
        So may the tags that --metadata names, of which those that are known are in `kept`.
        The digests of the settings, the edits and exports go with them: what they are of, such as
        a name, can be guessed by one.
        """
        kind = str(self.settings.get("regions")).partition(":")[0]
        how, colon, _ = str(self.settings.get("metadata")).partition(":")
        return replace(
            self,
            source=replace(self.source, name=None, sha256=None, bytes=0),
            output=self.output and replace(self.output, name=None),
            settings={
                **self.settings,
                **dict.fromkeys(FILES),
                # that there was one, as something was left visible by it
                "region": self.settings.get("region") and True,
                **({"edits": True} if "edits" in self.settings else {}),
                **({"metadata": f"{how} what was named"} if colon else {}),
                "regions": kind,
            },
            method=_without_files(self.method),
            exports={},
            settings_sha256="",
            regions=tuple(
                replace(record, arguments={**record.arguments, "templates": None})
                if "templates" in record.arguments
                else record
                for record in self.regions
            ),
        )

    def published(self, config: PipelineConfig) -> Self:
        """The receipt as a run with this configuration gives it away: public where it asks so."""
        return self.public() if config.public_receipt else self

    def to_json(self) -> str:
        """The receipt as indented JSON; bytes of names that are no UTF-8 are escaped."""
        return readable(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def _without_files(method: dict[str, Any]) -> dict[str, Any]:
    """What is said of a method, less the files that its arguments name, such as weights of flow."""
    arguments = method.get("arguments", {})
    plain = {key: None if "weights" in key else value for key, value in arguments.items()}
    return {**method, "arguments": plain} if arguments else method


def region_records(
    named: Sequence[tuple[str, dict[str, Any]]], source: Any
) -> tuple[RegionRecord, ...]:
    """The records of one region source or of several together; paths are left out.

    `given` are the names and arguments that `source` was built from.
    """
    sources = getattr(source, "sources", (source,))
    return tuple(
        RegionRecord(
            name=name,
            arguments={
                k: getattr(region, k, v) if k == "scale" else v  # which HOG has of its own
                for k, v in arguments.items()
                if not isinstance(v, Path)
            },
            model_sha256=region.model_sha256,
            keys=getattr(region, "fingerprint", None),
        )
        for (name, arguments), region in zip(named, sources, strict=True)
    )


def noise_origin(seed: int | None, *, keyed: bool) -> str:
    """Where the noise comes from, in a few words."""
    if seed is not None:
        return "seed given, which undoes it"
    return "a key's, not kept" if keyed else "operating system's entropy, not kept"


def config_hash(config: dict[str, Any]) -> str:
    """The SHA-256 of a configuration as sorted JSON."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """The versions of the packages that determine pixels."""
    from masquerade import __version__
    from masquerade.storage import package_version

    packages = ("torch", "numpy", "av", "opencv-contrib-python-headless")
    own = {"python": platform.python_version(), "masquerade": __version__}
    return own | {name: package_version(name) for name in packages}
