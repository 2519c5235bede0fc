"""Verification of a finished output, which is opened again before it gets its name."""

from collections.abc import Sequence
from pathlib import Path

from masquerade.errors import OutputError, VideoError
from masquerade.pipeline.receipt import FileFacts
from masquerade.video.container import open_container
from masquerade.video.metadata import CHAPTER_TRACK
from masquerade.video.probe import VideoInfo, images_in, probe_in_process, stream_info, video_digest


def verify_output(
    part: Path, dst: Path, *, others: int, empty: int = 0, titles: Sequence[str] = ()
) -> VideoInfo:
    """Open an output that will be called `dst`: it must hold one video and `others` streams.

    Of those the `empty` ones may be missing. One more, in which MP4 holds chapters as text, may
    hold their `titles` and nothing else. Its frames are counted when it is decoded.
    """
    try:
        info = probe_in_process(part)
    except VideoError as error:
        raise OutputError(f"{dst.name} could not be read back: {error}") from error
    kinds = [stream.kind for stream in info.streams]
    if titles and _chapter_texts(part) == [_as_text(title.encode()) for title in titles]:
        kinds.remove("data")
    if kinds.count("video") != 1 or not others - empty < len(kinds) <= 1 + others:
        raise OutputError(f"{dst.name} held streams {kinds}, so it was deleted.")
    return info


def _as_text(title: bytes) -> bytes:
    """A chapter's title as FFmpeg's muxer writes it: its size, itself, and that it is UTF-8."""
    size = (len(title) & 0xFFFF).to_bytes(2, "big")
    return size + title + b"\0\0\0\x0cencd\0\0\1\0"


def _chapter_texts(path: Path) -> list[bytes]:
    """What the one stream of chapters in an MP4 holds; nothing: there is none, or another one."""
    with open_container(path) as container, path.open("rb") as file:
        chapters = [s for s in container.streams if stream_info(s).codec == CHAPTER_TRACK]
        if len(chapters) != 1:
            return []
        texts = []
        for entry in chapters[0].index_entries:
            file.seek(entry.pos)
            texts.append(file.read(entry.size))
        return texts


def file_facts(
    path: Path, named: Path, info: VideoInfo, frames: int, *, sha256: str | None = None
) -> FileFacts:
    """What a receipt records of the file at `path` that is called `named`.

    `sha256` is its digest; None: it is read for it.
    """
    return FileFacts(
        name=named.name,
        sha256=sha256 or video_digest(path),
        bytes=sum(file.stat().st_size for file in (images_in(path) if path.is_dir() else [path])),
        container=info.container,
        codec=info.codec,
        width=info.width,
        height=info.height,
        seconds=info.duration,
        frames=frames,
    )
