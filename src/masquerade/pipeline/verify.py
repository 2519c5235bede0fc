"""Verification of a run: what was found, and the finished output, which is opened again."""

from pathlib import Path

from masquerade.errors import OutputError, VideoError
from masquerade.pipeline.config import DEFAULT_REGIONS, PipelineConfig
from masquerade.pipeline.receipt import Coverage, FileFacts
from masquerade.video.probe import VideoInfo, count_frames, probe, video_digest

MAX_MISSED = 0.02  # of the frames between the first and the last sighting; more is a gap


def check_coverage(coverage: Coverage, config: PipelineConfig, name: str) -> None:
    """Refuse to publish where nothing was found, or where what was found got lost for a while.

    Raises:
        OutputError: so it is, and the configuration does not allow it.
    """
    if coverage.nothing and not config.allow_empty:
        raise OutputError(
            f"nothing to hide was found in {name}, so there is no output; lower --threshold or "
            "choose other --regions, or give --allow-empty if nobody is in it."
        )
    gaps = _gaps(coverage, config)
    if gaps and not config.allow_gaps:
        raise OutputError(
            f"in {name} {' and '.join(gaps)}, so there is no output; lower --threshold, choose "
            "other --regions or correct boxes by hand, or give --allow-gaps after a look at them."
        )


def coverage_warnings(coverage: Coverage, config: PipelineConfig) -> list[str]:
    """What `check_coverage` refuses, as warnings for a run in which it is allowed."""
    empty = ["nothing was found to hide: look at the output before it is released."]
    gaps = [
        f"{gap}: look at them before the output is released." for gap in _gaps(coverage, config)
    ]
    return (empty if coverage.nothing else []) + gaps


def _gaps(coverage: Coverage, config: PipelineConfig) -> list[str]:
    found = []
    # Gaps in a file of boxes are its author's word; a region source's are misses.
    if _source_names(config) != ["boxes"] and coverage.missed > MAX_MISSED * coverage.span:
        found.append(
            f"nothing was found in {coverage.missed} of the {coverage.span} frames between the "
            "first and the last sighting"
        )
    if coverage.filled_whole:
        found.append(
            f"{coverage.filled_whole} frames were hidden whole because nothing could be told apart "
            "in them"
        )
    return found


def is_asked_whole(config: PipelineConfig) -> bool:
    """Whether the whole of every frame is hidden by request, and not for want of certainty."""
    return "frame" in _source_names(config)


def _source_names(config: PipelineConfig) -> list[str]:
    return (config.regions or DEFAULT_REGIONS).partition(":")[0].split("+")


def verify_output(part: Path, dst: Path, *, frames: int, others: int) -> FileFacts:
    """Read an output that will be called `dst` back, and compare it with what was written.

    It must hold so many `frames`, and so many `others` streams beside the video.
    """
    try:
        info, found = probe(part), count_frames(part)
    except VideoError as error:
        raise OutputError(f"{dst.name} could not be read back: {error}") from error
    kinds = [stream.kind for stream in info.streams]
    if found != frames:
        raise OutputError(f"{dst.name} held {found} of {frames} frames, so it was deleted.")
    if kinds.count("video") != 1 or len(kinds) != 1 + others:
        raise OutputError(f"{dst.name} held streams {kinds}, so it was deleted.")
    return file_facts(part, dst, info, found)


def file_facts(path: Path, named: Path, info: VideoInfo, frames: int) -> FileFacts:
    """What a receipt records of the file at `path` that is called `named`."""
    return FileFacts(
        name=named.name,
        sha256=video_digest(path),
        bytes=path.stat().st_size,
        container=info.container,
        codec=info.codec,
        width=info.width,
        height=info.height,
        seconds=info.duration,
        frames=frames,
    )
