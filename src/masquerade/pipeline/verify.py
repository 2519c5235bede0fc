"""Verification of a finished output, which is opened again before it gets its name."""

from pathlib import Path

from masquerade.errors import OutputError, VideoError
from masquerade.pipeline.receipt import FileFacts
from masquerade.video.probe import VideoInfo, probe, video_digest


def verify_output(part: Path, dst: Path, *, others: int, empty: int = 0) -> VideoInfo:
    """Open an output that will be called `dst`: it must hold one video and `others` streams.

    Of those the `empty` ones may be missing. Its frames are counted when it is decoded.
    """
    try:
        info = probe(part)
    except VideoError as error:
        raise OutputError(f"{dst.name} could not be read back: {error}") from error
    kinds = [stream.kind for stream in info.streams]
    if kinds.count("video") != 1 or not others - empty < len(kinds) <= 1 + others:
        raise OutputError(f"{dst.name} held streams {kinds}, so it was deleted.")
    return info


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
