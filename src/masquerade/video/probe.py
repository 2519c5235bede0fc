"""Probe a file: size, time, colour, streams, and the names of its tags.

Functions called `..._in_process` parse and decode a file in the process that calls them. Those of
the same names in `decoding_process`, for files from strangers, ask a process of its own to.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Literal, NamedTuple

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from masquerade.errors import VideoError
from masquerade.storage import file_digest
from masquerade.video.color import RGB, UNTAGGED, Color, frame_color, has_alpha, matrix_for
from masquerade.video.container import (
    STILLS,
    most_pixels,
    open_container,
    prepare_decoder,
    printable,
)
from masquerade.video.encoder_tags import has_other_message, has_other_text
from masquerade.video.pictures import (
    JPEG_FORMAT,
    EarlyPictures,
    has_more_pictures,
    is_before_start,
    is_edited_out,
    is_hidden,
    may_show_nothing,
)
from masquerade.video.side_data import orientation, side_data
from masquerade.video.stated_times import stated_duration, stated_start
from masquerade.video.undisplayed import undisplayed_content, undisplayed_layers

Kind = Literal["video", "audio", "subtitle", "data", "attachment", "picture"]
OWN_SUFFIX = "_anonymized"  # of what is written beside an input
RECEIPT_SUFFIX = ".receipt.json"  # behind the whole name of an output
SHEET_SUFFIX = "_people_private"  # of the sheet of who is in it, which shows everybody
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
FOLDER_RATE = Fraction(25)  # images a second of a folder in a data set, which states none
MOST_SIDE = 32766  # pixels of a picture, as OpenCV moves pixels in pictures below 32767 alone
FRAMES_BETWEEN = 50  # after which it is told that a long look at a file goes on
_COLOR_IMAGE, _DEPTH_IMAGE = (re.compile(rf"{kind}_?[0-9]+") for kind in ("rgb", "depth"))


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file; `tags` holds names only, since a value may identify someone."""

    index: int
    kind: Kind
    codec: str
    tags: tuple[str, ...]
    start: Fraction | None = None  # seconds, when it begins


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video file says of itself, for upright pictures; None: it does not say."""

    path: Path
    kind: Literal["video", "image", "sequence"]  # a sequence is a folder of images
    container: str  # FFmpeg's name of the format found in the file
    width: int  # pixels, upright
    height: int
    rotation: int = 0  # degrees clockwise that turn the coded picture upright, in steps of 90
    mirrored: bool = False  # whether it is flipped left to right after that
    sample_aspect: Fraction = Fraction(1)  # width by height of one pixel, upright
    rate: Fraction = Fraction(25)  # frames a second on average
    even_rate: Fraction | None = None  # of most frames, where that is slightly more than on average
    time_base: Fraction = Fraction(1, 90000)  # seconds a tick of the frames' timestamps
    start: float = 0.0  # seconds, the first frame's time
    duration: float | None = None  # seconds, as the container claims
    frames: int | None = None  # as the container claims
    codec: str = ""  # FFmpeg's name
    pix_fmt: str = ""  # FFmpeg's name
    bit_depth: int = 8  # bits a sample
    color: Color = UNTAGGED
    bitrate: int | None = None  # bits a second of the video
    interlaced: bool = False  # whether the first frame holds two fields, which are kept as they are
    has_alpha: bool = False  # whether pixels may be transparent; they are blended over black
    video_index: int = 0  # the stream that is read
    streams: tuple[StreamInfo, ...] = ()  # every stream in the file
    tags: tuple[str, ...] = ()  # names of every tag and side datum, never a value
    other_texts: tuple[str, ...] = ()  # those that are to name an encoder and say something else
    hidden_border: int = 0  # columns or rows that are coded and not shown, whichever are more
    chapters: int = 0  # how many

    def origin(self, others: Collection[int] = ()) -> Fraction:
        """The second at which the first of the video and `others` begins; 0: the file begins then.

        What comes from a recorder, or is a part of a stream, may count from anywhere.
        """
        starts = {stream.index: stream.start for stream in self.streams}
        shown = (starts[s.index] for s in self.streams if s.kind in ("video", "audio"))
        known = [start for index in others if (start := starts.get(index)) is not None]
        video = starts.get(self.video_index)
        if video is None or any(start is not None and start <= 0 for start in shown):
            return Fraction(0)
        return max(Fraction(0), min([video, *known]))

    @property
    def picture_bytes(self) -> int:
        """Bytes of one decoded picture; eight a pixel where its format is unknown."""
        try:
            bits = av.VideoFormat(self.pix_fmt).padded_bits_per_pixel
        except ValueError:
            bits = 64
        return self.width * self.height * bits // 8

    @property
    def coded_size(self) -> tuple[int, int]:
        """(width, height) of the pictures as they are coded, before they are turned upright."""
        turned = self.rotation in (90, 270)
        return (self.height, self.width) if turned else (self.width, self.height)


def probe_in_process(
    path: Path | str,
    *,
    rate: Fraction | None = None,
    after_image: Callable[[], object] = lambda: None,
) -> VideoInfo:
    """What a video or an image holds, or a folder of `rate` images a second; decodes one frame.

    Of a folder each image's first frame is decoded, and `after_image` is called after each.
    """
    path = Path(path)
    if path.is_dir() and rate is not None:
        return _probe_folder(path, rate, after_image)
    with open_container(path) as container:
        stream = main_stream(container, path)
        check_size(stream.width, stream.height, path, most=most_pixels(container))
        if has_more_pictures(path, container.format.name):
            raise VideoError(
                f"{printable(path)} holds several pictures; save each as a file of its own."
            )
        if hidden := undisplayed_content(path, container.format.name):
            raise VideoError(f"{printable(path)} {hidden}.")
        frame = first_frame(container, stream, path)
        if hidden := undisplayed_layers(stream, frame):
            raise VideoError(f"{printable(path)} {hidden}.")
        return describe(container, stream, frame, path)


class StreamFrames(NamedTuple):
    """How many frames a video stream holds, and how much sound beside it is not played."""

    shown: int  # by players
    hidden: int  # in the file, but outside what its edit list says is to be shown
    hidden_sound: float = 0.0  # seconds of the stream that has most of it


def tally_frames_in_process(
    path: Path, *, after_frames: Callable[[], object] = lambda: None
) -> StreamFrames:
    """Count the frames that players show of a video, and those that its edit list leaves out.

    Reference pictures of VP8 and VP9 that no player shows are not counted, and of what precedes the
    first keyframe, which alone is decoded, only what a decoder gives. The whole is decoded where
    packets are no frames, and `after_frames` is called now and then: where H.264 may hold two
    fields of one frame apart, and MPEG-4 packets that show nothing.
    """
    with open_container(path) as container:
        stream, sounds = main_stream(container, path), container.streams.audio
        form = container.format.name
        codec = stream.codec_context.codec.canonical_name
        hidden: Counter[bool] = Counter()
        early, met, doubtful = EarlyPictures(form), 0, False
        unheard: Counter[int] = Counter()  # ticks
        with _naming_damage(path):
            for packet in container.demux(stream, *sounds):
                met += packet.stream_index == stream.index and packet.dts is not None
                if packet.stream_index == stream.index and packet.size:
                    doubtful |= may_show_nothing(packet, codec)
                    if not is_hidden(packet, codec):
                        hidden[is_edited_out(packet, form)] += 1
                        early.add(packet)
                elif is_edited_out(packet, form, length=packet.duration or 0):
                    unheard[packet.stream_index] += packet.duration or 0
        if "mp4" in form:  # FFmpeg gives hardly more than its edit list shows
            hidden[True] += max(0, stream.frames - met)
        silent = [float(unheard[s.index] * (s.time_base or 0)) for s in sounds]
    shown = 1 if form == JPEG_FORMAT else hidden[False]
    if doubtful or (codec == "h264" and _holds_fields(path)):
        shown = sum(1 for _ in _decoded_frames(path, after_frames))
    elif early.count and early.first is not None:
        shown -= max(0, early.count - _count_before(path, early.first))
    return StreamFrames(shown, hidden[True], max(silent, default=0.0))


def _holds_fields(path: Path) -> bool:
    """Whether a video's first picture is interlaced, so that packets may be fields."""
    with open_container(path) as container:
        return first_frame(container, main_stream(container, path), path).interlaced_frame


def _decoded_frames(path: Path, after_frames: Callable[[], object]) -> Iterator[av.VideoFrame]:
    """Yield all frames of a video that can be decoded; damaged packets are passed over."""
    with open_container(path) as container, _naming_damage(path):
        stream, form = main_stream(container, path), container.format.name
        prepare_decoder(stream, most=most_pixels(container))
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 4
        for number, packet in enumerate(container.demux(stream)):
            with suppress(av.FFmpegError, ValueError, RuntimeError):
                yield from (f for f in packet.decode() if not is_before_start(f.pts, form))
            if number % FRAMES_BETWEEN == 0:
                after_frames()


def _count_before(path: Path, tick: int) -> int:
    """Count the frames that a decoder gives of a video before a time in ticks."""
    with open_container(path) as container, _naming_damage(path):
        times = (frame.pts for frame in container.decode(main_stream(container, path)))
        early = takewhile(lambda pts: pts is not None and pts < tick, times)
        return sum(not is_before_start(pts, container.format.name) for pts in early)


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Raise a VideoError that names the file where reading it fails."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        why = str(getattr(error, "strerror", None) or error).lower()
        raise VideoError(f"{printable(path)} cannot be read to its end ({why}).") from None


class PacketFacts(NamedTuple):
    """What a file tells of one frame without decoding it."""

    bytes: int
    key: bool  # whether it is decoded without others
    seconds: float  # how long it is shown


def list_packets_in_process(path: Path) -> list[PacketFacts]:
    """List the packets of the frames that are shown, in presentation order.

    The bytes of a reference picture that is not shown count to the next one that is: they are sent
    together.
    """
    with open_container(path) as container:
        stream = main_stream(container, path)
        base, codec = stream.time_base or Fraction(0), stream.codec_context.codec.canonical_name
        facts: list[tuple[int, PacketFacts]] = []  # not the packets, which hold all of the file
        before = 0  # bytes
        for packet in container.demux(stream):
            if not packet.size or is_edited_out(packet, container.format.name):
                continue
            if is_hidden(packet, codec):
                before += packet.size
                continue
            seconds = float((packet.duration or 0) * base)
            facts.append(
                (packet.pts or 0, PacketFacts(before + packet.size, packet.is_keyframe, seconds))
            )
            before = 0
    return [fact for _, fact in sorted(facts, key=lambda timed: timed[0])]


def images_in(folder: Path) -> list[Path]:
    """The images of a folder in natural order: 2 before 10.

    What `anonymize` wrote beside an image, as 2_anonymized.png, is no frame of the video, nor is a
    sheet of people, nor what a depth camera saw, as depth_2.png in a folder that holds rgb_2.png,
    nor a hidden file: macOS puts ._2.png beside 2.png on disks of others.
    """
    try:
        shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
        images = [p for p in shown if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    except OSError as error:
        raise VideoError(f"{printable(folder)} cannot be listed: {error.strerror}.") from None
    if not images:
        raise VideoError(
            f"{printable(folder)} holds no image; png, jpg, bmp, webp and tiff are read."
        )
    stems = {p.stem for p in images}
    left_out = written_beside(stems)
    if any(map(_COLOR_IMAGE.fullmatch, stems)):
        left_out |= set(filter(_DEPTH_IMAGE.fullmatch, stems))
    return sorted((p for p in images if p.stem not in left_out), key=_natural)


def written_beside(stems: Collection[str]) -> set[str]:
    """Those of some names without endings that `anonymize` gave to what it wrote beside others."""
    known = set(stems)
    copies = {s for s in known if s.endswith(OWN_SUFFIX) and s.removesuffix(OWN_SUFFIX) in known}
    return copies | {s for s in known if s.endswith(SHEET_SUFFIX)}


def video_digest(path: Path) -> str:
    """SHA-256 of a video file, or of the names and contents of a folder's images in their order."""
    if os.path.isdir(path):  # unlike Path's, it bears a name that no file can have
        lines = [f"{image.name} {video_digest(image)}" for image in images_in(path)]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    try:
        return file_digest(path)
    except OSError as error:
        raise VideoError(f"{printable(path)} cannot be read: {error.strerror}.") from error


def remembered_digest(path: Path) -> str:
    """`video_digest`, for which a file that stays as it is is read once by this process."""
    # of a folder the signature has an entry for each of its images
    return _digest_of(path, hashlib.sha256(repr(video_signature(path)).encode()).digest())


@lru_cache(maxsize=1 << 16)  # files of a dataset, each of which is asked for once a content
def _digest_of(path: Path, signature: bytes) -> str:
    return video_digest(path)


def video_signature(path: Path) -> tuple[object, ...]:
    """What changes once a video file, or an image of a folder, is written to or replaced.

    Sizes and times of writing alone: a backup that links files changes the rest, and on disks of
    other machines inodes may change by themselves.
    """
    files = images_in(path) if os.path.isdir(path) else [path]
    try:
        stats = [(file.name, file.stat()) for file in files]
        return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    except OSError as error:
        raise VideoError(f"{printable(path)} cannot be read: {error.strerror}.") from error


def _natural(path: Path) -> tuple[list[tuple[int, int | str]], bytes]:
    """A key that sorts numbers in names by their value, and equal names by their bytes."""
    parts = re.split(r"([0-9]+)", path.name)
    keys = [(0, int(p)) if p.isascii() and p.isdigit() else (1, p) for p in parts]
    return keys, os.fsencode(path)


def _probe_folder(folder: Path, rate: Fraction, after_image: Callable[[], object]) -> VideoInfo:
    """A folder as one video, after probing every image in it."""
    if rate <= 0:
        raise VideoError(f"A rate of {rate} images a second makes no video; give a positive one.")
    images = images_in(folder)
    infos = []
    for image in images:
        try:
            infos.append(info := probe_in_process(image))
            if info.kind != "image":  # of which only the first picture would be read
                raise VideoError(f"{printable(image)} is a video; give its pictures as images.")
        except VideoError as error:
            advice = f"Take {printable(image)} out of the folder, or replace it"
            raise VideoError(f"{advice}: {error}") from error
        after_image()
    first = infos[0]
    for image, info in zip(images, infos, strict=True):
        if (info.rotation, info.mirrored) != (first.rotation, first.mirrored):
            raise VideoError(
                f"{printable(image)} and {printable(images[0])} are tagged to be turned "
                "differently; turn them upright first."
            )
        if (info.width, info.height) != (first.width, first.height):
            raise VideoError(
                f"{printable(image)} is {info.width}x{info.height} and {printable(images[0])} "
                f"{first.width}x{first.height}; images of one folder must have one size."
            )
    color = _color_of_all(infos)
    tags = tuple(dict.fromkeys(tag for info in infos for tag in info.tags))
    return replace(
        first,
        path=folder,
        kind="sequence",
        rate=rate,
        even_rate=None,
        time_base=1 / rate,
        duration=float(len(images) / rate),
        frames=len(images),
        bit_depth=max(info.bit_depth for info in infos),
        color=color,
        has_alpha=any(info.has_alpha for info in infos),
        bitrate=None,
        tags=tags,
    )


def _color_of_all(infos: Sequence[VideoInfo]) -> Color:
    """The tags by which all images become RGB: of the first that is not RGB itself, as JPEG."""
    coded = [info for info in infos if info.color.matrix != RGB and info.pix_fmt != "pal8"]
    if not coded:
        return infos[0].color
    colored = [info for info in coded if not info.pix_fmt.startswith(("gray", "ya"))]
    first = (colored or coded)[0]
    matrix = matrix_for(first.color, first.coded_size[1])
    for info in coded:
        other_matrix = matrix_for(info.color, info.coded_size[1]) != matrix
        # grey JPEGs are tagged with no range, and are read like those of colours
        if info in colored and (other_matrix or info.color.full_range != first.color.full_range):
            raise VideoError(
                f"{printable(info.path)} and {printable(first.path)} hold colours in different "
                "ways; save all images of one folder as PNG."
            )
    return first.color


def main_stream(container: InputContainer, path: Path) -> VideoStream:
    """The video stream to read: the default one, else the first, and never a cover picture."""
    videos = [s for s in container.streams if _kind(s) == "video"]
    if not videos:
        held = " and ".join(sorted({_kind(s) for s in container.streams})) or "nothing"
        raise VideoError(f"{printable(path)} holds no video, only {held}.")
    default = [s for s in videos if s.disposition & av.stream.Disposition.default]
    stream = (default or videos)[0]
    if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
        raise VideoError(f"{printable(path)} uses a video codec that cannot be decoded here.")
    return stream


def check_size(width: int, height: int, path: Path | str, *, most: int) -> None:
    """Refuse pictures without a size, or with one that no camera makes."""
    if width < 1 or height < 1:
        raise VideoError(f"{printable(path)} has no picture in it that can be decoded.")
    if max(width, height) > MOST_SIDE:
        raise VideoError(
            f"{printable(path)} claims {width}x{height} pixels and a side may have {MOST_SIDE}; "
            "make it smaller first."
        )
    if width * height > most:
        raise VideoError(
            f"{printable(path)} claims {width}x{height} pixels and {most} are the most; "
            "make it smaller first."
        )


def first_frame(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    """Decode the first frame that is shown and can be decoded."""
    most = most_pixels(container)
    prepare_decoder(stream, most=most)
    failures = 0
    packets = container.demux(stream)
    while failures <= 100:
        try:
            for frame in next(packets).decode():
                check_size(frame.width, frame.height, path, most=most)
                if not is_before_start(frame.pts, container.format.name):
                    return frame
        except StopIteration:
            break
        except (av.FFmpegError, ValueError, RuntimeError, MemoryError):
            failures += 1
    raise VideoError(f"{printable(path)} has no picture in it that can be decoded.")


def _kind(stream: Stream) -> Kind:
    if stream.type == "video":
        still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        return "picture" if stream.disposition & still else "video"
    return stream.type if stream.type in ("audio", "subtitle", "attachment") else "data"


def stream_info(stream: Stream, first: av.VideoFrame | None = None) -> StreamInfo:
    """A stream's index, kind, codec, names of tags and start: that of its `first` picture."""
    codec: str | None
    if stream.codec_context:
        codec = stream.codec_context.codec.canonical_name
    else:  # an attachment's name is that of a file, and what FFmpeg does not know has none
        codec = getattr(stream, "name", None) if stream.type == "data" else None
    start, base = stream.start_time, stream.time_base
    if first is not None and (first.pts is not None or first.dts is not None):
        start, base = first.dts if first.pts is None else first.pts, first.time_base
    begins = None if start is None or not base else start * base
    return StreamInfo(
        stream.index, _kind(stream), codec or "unknown", tuple(stream.metadata), begins
    )


def describe(
    container: InputContainer, stream: VideoStream, frame: av.VideoFrame, path: Path
) -> VideoInfo:
    """Everything that a container, its video stream and the first decoded frame tell."""
    rotation, mirrored = orientation(frame)
    turned = rotation in (90, 270)
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    rate = _rate(stream)
    image = container.format.name in STILLS
    start = stated_start(container, stream)
    first = {} if container.format.name == "avi" else {stream.index: frame}  # see `Decoder._stamps`
    return VideoInfo(
        path=path,
        kind="image" if image else "video",
        container=container.format.name,
        width=width,
        height=height,
        rotation=rotation,
        mirrored=mirrored,
        sample_aspect=1 / aspect if turned else aspect,
        rate=rate,
        even_rate=_even_rate(stream, rate),
        time_base=stream.time_base or 1 / rate,
        start=start,
        duration=None if image else stated_duration(container, stream, start),
        frames=1 if image else stream.frames or None,
        codec=stream.codec_context.codec.canonical_name,
        pix_fmt=frame.format.name,
        bit_depth=max(c.bits for c in frame.format.components),
        color=frame_color(frame),
        bitrate=None if image else _bitrate(container, stream),
        interlaced=frame.interlaced_frame,
        has_alpha=has_alpha(frame),
        video_index=stream.index,
        streams=tuple(stream_info(s, first.get(s.index)) for s in container.streams),
        tags=_tags(container, frame),
        other_texts=_other_texts(container, frame),
        hidden_border=_hidden_border(stream, frame),
        chapters=len(container.chapters()),
    )


def _rate(stream: VideoStream) -> Fraction:
    """Frames a second on average; 25 where the file says nothing plausible."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= 1000:
            return rate
    return Fraction(25)


def _even_rate(stream: VideoStream, average: Fraction) -> Fraction | None:
    """FFmpeg's guess, if the average is a bit less: one long frame of a fragment is enough."""
    guess = stream.guessed_rate
    return guess if guess and average < guess <= average * Fraction(51, 50) else None


def _bitrate(container: InputContainer, stream: VideoStream) -> int | None:
    """The video's bits a second; where only the file's are known, less those of its audio."""
    if stream.codec_context.bit_rate:
        return int(stream.codec_context.bit_rate)
    audio = [s.codec_context for s in container.streams.audio if s.codec_context]
    sound = sum(context.bit_rate or 0 for context in audio)
    rest = (container.bit_rate or 0) - sound
    return rest if rest > 0 else None


def _hidden_border(stream: VideoStream, frame: av.VideoFrame) -> int:
    """How many columns or rows are coded and not shown, whichever are more."""
    context = stream.codec_context
    wider, higher = context.coded_width - frame.width, context.coded_height - frame.height
    return max(0, wider, higher) if context.name in ("h264", "hevc") else 0


def list_frame_tags_in_process(
    path: Path, *, after_frames: Callable[[], object] = lambda: None
) -> tuple[list[str], bool]:
    """List the names of all frames' tags, and tell whether no known encoder wrote some of them.

    Damaged frames are left out. `after_frames` is called now and then, as this decodes the whole
    video.
    """
    names: dict[str, None] = {}
    other_messages = False
    for frame in _decoded_frames(path, after_frames):
        names |= dict.fromkeys(_frame_tags(frame))
        other_messages = other_messages or has_other_message(frame)
    return list(names), other_messages


def _other_texts(container: InputContainer, frame: av.VideoFrame) -> tuple[str, ...]:
    held = {"": container.metadata, "frame:": frame.metadata}
    held |= {f"stream{stream.index}:": stream.metadata for stream in container.streams}
    return tuple(
        f"{of}{name}"
        for of, tags in held.items()
        for name, text in tags.items()
        if has_other_text(name, text)
    )


def _tags(container: InputContainer, frame: av.VideoFrame) -> tuple[str, ...]:
    names = list(container.metadata)
    for stream in container.streams:
        names += [f"stream{stream.index}:{name}" for name in stream.metadata]
    for number, chapter in enumerate(container.chapters()):
        names += [f"chapter{number}:{name}" for name in chapter["metadata"]]
    return tuple(dict.fromkeys([*names, *_frame_tags(frame)]))


def _frame_tags(frame: av.VideoFrame) -> list[str]:
    """The names of a frame's own tags and of the side data that lies beside it."""
    names = [f"frame:{name}" for name in frame.metadata]
    return names + [f"side:{name}" for name, _ in side_data(frame)]
