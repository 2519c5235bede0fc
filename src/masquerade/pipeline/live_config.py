"""The configuration of a live run: what a user may choose besides the method and its arguments."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from masquerade.errors import UsageError
from masquerade.pipeline.config import (
    EncoderConfig,
    PipelineConfig,
    RegionConfig,
    source_names,
)
from masquerade.pipeline.levels import LevelName
from masquerade.ranges import PositiveFloat, above, at_least

MAX_LATENCY = 60  # seconds; the counts of latencies reach no further
Seconds = Annotated[float, at_least(0, 86_400)]


@dataclass(frozen=True, kw_only=True)
class LiveConfig(RegionConfig, EncoderConfig):
    """The settings of a live run; None takes the default of the region source, method or codec."""

    # face, person (with clothes), or figure (everybody drawn alike, without the scene); in place of
    # --regions and --method.
    level: LevelName | None = None
    # seconds from a frame's arrival after which it is dropped instead of shown, at most 60.
    max_latency: Annotated[float, above(0, MAX_LATENCY)] = 1.0
    # show the scene where nobody is found; otherwise the whole frame is hidden there.
    allow_empty: bool = False
    camera_size: str | None = None  # WxH that a camera is asked for.
    camera_rate: PositiveFloat | None = None  # frames a second that a camera is asked for.
    # seconds without a picture after which the source is taken for lost, and seconds of work on one
    # picture after which it is said that this hangs.
    stall: Annotated[float, above(0, 86_400)] = 10.0
    # seconds for which a lost source or destination is opened again and again; 0: not at all.
    reconnect: Seconds = 60.0
    # end after so many seconds; by default at Ctrl-C.
    duration: Annotated[float, above(0, 100_000_000)] | None = None
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps.
    # half precision in networks; on a CPU bfloat16, faster where the processor computes in it.
    amp: bool = False
    threads: Annotated[int, at_least(0, 1024)] = 0  # threads of the encoder; 0: all cores.
    overwrite: bool = False  # replace an existing output.
    report: Path | None = (
        None  # path of the receipt; by default beside the output, if it is a file.
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if named := [
            name for name in ("every", "gap", "lookback") if getattr(self, name) is not None
        ]:
            raise UsageError(
                f"--{named[0]} needs later frames, which live video does not have; leave it out."
            )
        if "boxes" in source_names(self):
            raise UsageError(
                "a file of boxes says in which frame of a recording each lies, and live video "
                "drops frames; leave boxes:FILE out, or record and use `masquerade anonymize`."
            )
        if self.bitrate == "source":
            raise UsageError("live video has no bitrate that is known; give bits, such as 2M.")

    def for_pipeline(self) -> PipelineConfig:
        """The settings that a run over a file has, too."""
        shared = {field.name for field in fields(PipelineConfig)}
        chosen = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name in shared
        }
        return PipelineConfig(**chosen)
