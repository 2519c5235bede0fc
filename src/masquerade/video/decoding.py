"""Decode a video in display order, and refuse one that is damaged.

This runs in the decoding process, see `decoding_process`, and imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf
from pathlib import Path
from typing import Any, NamedTuple, Self

import av
from av import AudioFrame, Packet, VideoFrame
from av.container import InputContainer

from masquerade.errors import VideoError
from masquerade.video.container import most_pixels, open_container, prepare_decoder, printable
from masquerade.video.gpu_decoding import PLANAR, as_planar, cuda_device, decodes_on_gpu
from masquerade.video.pictures import JPEG_FORMAT, PictureCounter, is_before_start, is_edited_out
from masquerade.video.probe import VideoInfo, first_frame, images_in, main_stream
from masquerade.video.stated_times import stated_end
from masquerade.video.stream_template import StreamTemplate
from masquerade.video.timestamps import SoundClock, TimestampRepair
from masquerade.video.truncation import is_truncated, mp4_end

INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "avi")  # their index names every packet
MOST_THREADS = 16  # of a decoder; so many FFmpeg starts by itself at most, too
MOST_PRIMING = 3  # packets that an AAC encoder puts before the sound, HE-AAC's 5186 samples too
LONGEST_PRIMING = 0.2  # seconds of sound that may be missing where a recording was cut
MUTE = "holds sound that cannot be decoded"
LEAP = 1  # seconds beyond all others that one packet alone is not believed to reach


class Losses(NamedTuple):
    """What was wrong with a video so far."""

    damaged: int = 0  # how often damage was met
    lost: int = 0  # frames that are missing, as far as the file tells
    repaired_timestamps: int = 0  # timestamps that were missing, repeated or backward
    end_unknown: bool = False  # nothing in the file says where it ends
    on_gpu: int = 0  # pictures that a GPU decoded, which is no loss


@dataclass(slots=True, eq=False)
class Decoded:
    """One picture in display order, and its time in ticks of the video's time base."""

    picture: VideoFrame
    pts: int  # strictly increasing over a video
    duration: int  # ticks until the next picture
    index: int  # 0 for the first picture


@dataclass(frozen=True)
class StreamPacket:
    """What comes of another stream than the video: a packet to copy, or the sound in it."""

    index: int  # of the stream
    packet: Packet[Any] | None
    sound: tuple[AudioFrame, ...] = ()

    @property
    def begins(self) -> Fraction | None:
        """Its start time in seconds; None: it has no timestamp."""
        first: Any = self.packet if self.packet is not None else next(iter(self.sound), None)
        if first is None or first.pts is None or first.time_base is None:
            return None
        return Fraction(first.pts * first.time_base)

    @property
    def length(self) -> Fraction:
        """Its duration in seconds; 0 where it is not known."""
        if self.packet is not None:
            return (self.packet.duration or 0) * (self.packet.time_base or Fraction(0))
        return sum(
            (Fraction(frame.samples, frame.sample_rate) for frame in self.sound), Fraction(0)
        )

    def move(self, seconds: Fraction) -> None:
        """Shift its timestamps by some seconds."""
        items: Any = (self.packet,) if self.packet is not None else self.sound
        for item in items:
            ticks = round(seconds / item.time_base) if item.time_base else 0
            item.pts = None if item.pts is None else item.pts + ticks
            if self.packet is not None and item.dts is not None:
                item.dts += ticks


class Decoder:
    """A video as an iterator of decoded pictures, and of what comes of other streams."""

    def __init__(
        self,
        path: Path,
        info: VideoInfo,  # of the same file
        *,
        salvage: bool = False,  # go on after damage, and count it, instead of raising VideoError
        threads: int = 0,  # at most `MOST_THREADS`; 0: as many as there are cores
        gpu: bool = False,  # decode on an NVIDIA GPU, where there is one that can
    ) -> None:
        self.path, self.info = path, info
        self._gpu = gpu and info.kind != "sequence" and decodes_on_gpu(info.codec)
        self._on_gpu = 0
        self.copy: Collection[int] = ()  # streams whose packets are to be given as they are met
        self.sound: Collection[int] = ()  # streams whose sound is to be decoded
        self._damaged = self._lost = 0
        self._end_unknown = False
        self._salvage = salvage
        self._threads = min(threads, MOST_THREADS)
        start = round(self.info.start / self.info.time_base)
        self._timestamps = TimestampRepair(
            rate=self.info.rate, time_base=self.info.time_base, start=start
        )
        self._resources = ExitStack()
        self._container: InputContainer | None = None
        self._packets = self._reached = 0
        self._expected = PictureCounter(self.info)
        self._first: int | None = None  # the first packet's decoding time
        self._delay: int | None = None  # the decoder's, in ticks
        self._seconds = self._stated = 0.0  # how far packets reach: by several, or by any one
        self._cut_before = 0.0  # seconds that an edit list cuts of the streams' start
        self._others = 0.0  # the same of streams without pictures and sound, such as subtitles
        # Of each copied stream: how many packets were cut, and the last of them.
        self._cut: dict[int, tuple[int, Packet[Any] | None]] = {}
        # Of each stream of sound: the second of the first packet that gave none; -inf: one did.
        self._mute: dict[int, float] = {}
        self._timed = {s.index for s in self.info.streams if s.kind in ("video", "audio")}
        self._doubted: set[int] = set()  # streams whose last packet leapt ahead of all others
        # Of each stream of sound: its clock, and what waits for the next to show its time wrong.
        self._clocks = {s.index: SoundClock() for s in self.info.streams if s.kind == "audio"}
        self._waiting: dict[int, StreamPacket] = {}

    def __enter__(self) -> Self:
        if self.info.kind != "sequence":
            opened = open_container(self.path, hwaccel=cuda_device() if self._gpu else None)
            self._container = self._resources.enter_context(opened)
        return self

    def __exit__(self, *_: object) -> None:
        self._container = None
        self._resources.close()

    @property
    def losses(self) -> Losses:
        """What was wrong so far."""
        repaired = self._timestamps.repaired + sum(
            clock.repaired for clock in self._clocks.values()
        )
        return Losses(self._damaged, self._lost, repaired, self._end_unknown, self._on_gpu)

    @property
    def tags(self) -> dict[str, str]:
        """The file's own tags, with their values."""
        return dict(self._container.metadata) if self._container else {}

    @property
    def chapters(self) -> list[Any]:
        """The file's chapters, as PyAV gives them."""
        return list(self._container.chapters()) if self._container else []

    @property
    def streams(self) -> int:
        """How many streams the file has."""
        return len(self._container.streams) if self._container else 0

    def stream_tags(self, index: int) -> dict[str, str]:
        """One stream's tags, with their values."""
        return dict(self._container.streams[index].metadata) if self._container else {}

    def template(self, index: int) -> StreamTemplate:
        """An input stream, as the template of an output stream."""
        return StreamTemplate.of(self._open().streams[index])

    def __iter__(self) -> Iterator[Decoded | StreamPacket]:
        pictures: Iterator[VideoFrame | StreamPacket]
        pictures = self._images() if self.info.kind == "sequence" else self._decoded()
        held: Decoded | None = None
        for picture in pictures:
            if isinstance(picture, StreamPacket):
                yield picture
                continue
            frame = self._frame(picture, held)
            if held is not None:
                held.duration = frame.pts - held.pts
                yield held
            held = frame
        if held is None:
            raise VideoError(f"{printable(self.path)} has no picture in it that can be decoded.")
        held.duration = self._last_duration(held)
        self._check_whole(held)
        yield held

    def _open(self) -> InputContainer:
        if self._container is None:
            raise VideoError(f"{printable(self.path)} is not open; use the reader in a with block.")
        return self._container

    def _frame(self, picture: VideoFrame, held: Decoded | None) -> Decoded:
        if picture.is_corrupt:
            self._damage("holds a damaged picture")
        if self._gpu and picture.format.name in PLANAR:
            if (picture.width, picture.height) != self.info.coded_size:
                raise VideoError(
                    f"{printable(self.path)} has a border that a GPU does not cut, or pictures of "
                    "several sizes; leave --decoder cuda out."
                )
            picture, self._on_gpu = as_planar(picture), self._on_gpu + 1
        shown, decoded = self._stamps(picture)
        if held is not None:
            held.pts = self._timestamps.last_before(shown)
        pts = self._timestamps.tick(shown, decoded)
        index, self._reached = self._reached, self._reached + 1
        duration = picture.duration or self._timestamps.step
        return Decoded(picture, pts, duration, index)

    def _stamps(self, picture: VideoFrame) -> tuple[int | None, int | None]:
        """The times to show and to decode a picture.

        AVI stores no time to show, and what FFmpeg makes up is wrong around B-frames. There,
        pictures are shown in the packets' own rhythm, less the decoder's delay.
        """
        if self.info.container != "avi" or self._first is None:
            return picture.pts, picture.dts
        if picture.dts is None:  # what the decoder still held at the end
            return self._timestamps.next_tick, None
        if self._delay is None:
            self._delay = picture.dts - self._first
        return picture.dts - self._delay, None

    def _last_duration(self, frame: Decoded) -> int:
        """What the container leaves for the last frame, if that is plausible."""
        if self.info.duration is None:
            return frame.duration
        end = round((self.info.start + self.info.duration) / self.info.time_base)
        left = end - frame.pts
        longest = 20 * max(frame.duration, self._timestamps.step)
        return left if 0 < left <= longest else frame.duration

    def _images(self) -> Iterator[VideoFrame]:
        for number, path in enumerate(images_in(self.path)):
            with open_container(path) as container:
                picture = first_frame(container, main_stream(container, path), path)
                picture.pts = number
                if is_truncated(path, container.format.name):  # which some decoders fill up
                    self._damage(f"holds {printable(path)}, which ends early,")
                yield picture

    def _decoded(self) -> Iterator[VideoFrame | StreamPacket]:
        container = self._open()
        video: Any = container.streams[self.info.video_index]
        prepare_decoder(video, most=most_pixels(container))
        video.codec_context.thread_type = "AUTO"
        video.codec_context.thread_count = self._threads
        # All streams, since how far the longest one reaches tells whether the file is whole.
        packets = container.demux()
        while (packet := self._next(packets)) is not None:
            index = packet.stream.index
            self._note(packet)
            if index in self.copy and packet.size:
                for item in self._to_copy(index, packet):
                    yield from self._in_time(item)
            if index in self.sound and packet.size:
                yield from self._in_time(StreamPacket(index, None, self._sound(packet)))
            if index != video.index or (not packet.size and packet.dts is not None):
                continue  # of the video an empty one says that the last picture stays
            self._packets += packet.size > 0
            self._expected.add(packet)
            self._first = packet.dts if self._first is None else self._first
            for picture in self._pictures(packet):
                if not is_before_start(picture.pts, self.info.container):
                    yield picture
                    if self.info.container == JPEG_FORMAT:
                        return
        for item in self._waiting.values():
            yield self._timed_by_clock(item, None)

    def _in_time(self, item: StreamPacket) -> Iterator[StreamPacket]:
        """Yield data of another stream with repaired times; doubtful sound waits for the next."""
        clock = self._clocks.get(item.index)
        if clock is None:
            yield item
        elif item.packet is not None or item.sound:
            if (before := self._waiting.pop(item.index, None)) is not None:
                yield self._timed_by_clock(before, item.begins)
            if clock.doubts(item.begins):
                self._waiting[item.index] = item
            else:
                yield self._timed_by_clock(item, None)

    def _timed_by_clock(self, item: StreamPacket, following: Fraction | None) -> StreamPacket:
        clock = self._clocks[item.index]
        tick = None if item.packet is None else item.packet.time_base
        seconds = clock.shift(item.begins, item.length, following, tick=tick)
        if seconds:
            item.move(seconds)
        return item

    def _to_copy(self, index: int, packet: Packet[Any]) -> Iterator[StreamPacket]:
        """A packet of a copied stream, unless an edit list cuts it: a copy would publish it.

        AAC is decoded from the packet before on. So the last one that its encoder put before the
        sound goes along, unless more are cut than an encoder puts there.
        """
        count, before = self._cut.get(index, (0, None))
        if is_edited_out(packet, self.info.container, length=packet.duration or 0):
            self._cut[index] = (count + 1, packet)
            return
        aac = self.info.streams[index].codec == "aac"
        if before is not None and aac and count <= MOST_PRIMING:
            yield StreamPacket(index, before)
        self._cut[index] = (MOST_PRIMING, None)  # later ones are no start of an encoder's
        yield StreamPacket(index, packet)

    def _next(self, packets: Iterator[Packet[Any]]) -> Packet[Any] | None:
        try:
            return next(packets, None)
        except IndexError:  # PyAV knows the streams that were there at first
            self._damage("has a stream that begins later, from where it cannot be read")
            return None
        except (av.FFmpegError, OSError, ValueError) as error:
            # The demuxer's generator is over after an error; what the decoder holds is lost.
            self._damage(f"cannot be read to its end ({getattr(error, 'strerror', error)})")
            return None

    def _pictures(self, packet: Packet[Any]) -> list[VideoFrame]:
        try:
            return packet.decode()
        except EOFError:
            return []
        except (av.FFmpegError, ValueError, RuntimeError, MemoryError):
            self._damage("holds a picture that cannot be decoded")
            return []

    def _sound(self, packet: Packet[Any]) -> tuple[AudioFrame, ...]:
        """The sound in a packet, if it can be decoded.

        Where a recording was cut, its first packets may lack what stood before them.
        """
        index, when = packet.stream.index, packet.dts if packet.pts is None else packet.pts
        second = float((when or 0) * (packet.time_base or 0))
        try:
            frames: Any = tuple(packet.decode())
        except EOFError:
            return ()
        except (av.FFmpegError, ValueError, RuntimeError, MemoryError):
            if second - self._mute.setdefault(index, second) > LONGEST_PRIMING:
                self._damage(MUTE)
            return ()
        if frames:
            if LONGEST_PRIMING < second - self._mute.get(index, second) < inf:
                self._damage(MUTE)
            self._mute[index] = -inf
        return tuple(frame for frame in frames if not self._is_edited_out(frame))

    def _is_edited_out(self, sound: AudioFrame) -> bool:
        """Whether decoded sound lies wholly before the start that the file's edit list sets."""
        tick = (sound.time_base or 0) * sound.sample_rate  # in samples
        length = ceil(sound.samples / tick) if tick else 0
        return is_before_start(sound.pts, self.info.container, length=length)

    def _note(self, packet: Packet[Any]) -> None:
        """Remember how far the file reaches, and refuse a damaged packet."""
        when = packet.pts if packet.pts is not None else packet.dts
        begin, end = 0.0, None
        if when is not None and packet.time_base:
            begin = float(when * packet.time_base)
            end = float((when + (packet.duration or 0)) * packet.time_base)
        if packet.stream.index not in self._timed:
            self._others = max(self._others, end or 0.0)
            return
        if end is not None:
            if "mp4" in self.info.container and not packet.is_discard:
                self._cut_before = max(self._cut_before, -begin)
            self._stated = max(self._stated, end)
            # One flipped bit in a time makes no hours of it.
            if end > self._seconds + LEAP and packet.stream.index not in self._doubted:
                self._doubted.add(packet.stream.index)
            else:
                self._doubted.discard(packet.stream.index)
                self._seconds = max(self._seconds, end)
        wanted = packet.stream.index in {self.info.video_index, *self.copy, *self.sound}
        if wanted and packet.is_corrupt and packet.size:
            cut = not self._salvage and mp4_end(self.path)[0]
            self._damage("ends early" if cut else "holds a damaged packet")

    def _damage(self, what: str, *, lost: int = 0) -> None:
        self._damaged += 1
        self._lost += lost
        if not self._salvage:
            raise VideoError(
                f"{printable(self.path)} {what} after {self._reached} frames; copy it again from "
                "where it came, or `anonymize --salvage` takes what is there."
            )

    def _check_whole(self, last: Decoded) -> None:
        """Compare what was read with what the container claims to hold."""
        if self.info.kind == "sequence":
            return
        truncated = is_truncated(self.path, self.info.container)
        self._end_unknown = truncated is None
        if self.info.kind == "image":
            if truncated:
                self._damage("ends early")
            return
        if any(start > -inf for start in self._mute.values()):
            self._damage(MUTE)
        container = self._open()
        index = container.streams[self.info.video_index].index_entries
        claimed = len(index) if self.info.container in INDEXED else 0
        if self._packets < claimed:
            lost = claimed - self._packets
            self._damage(f"ends early: {self._packets} of {claimed} frames are there", lost=lost)
        total = stated_end(container)
        reached = max(self._stated, float((last.pts + last.duration) * self.info.time_base))
        if truncated is False:  # Matroska's length is also that of a subtitle shown for longer
            reached = max(reached, self._others)
        # FFmpeg counts what is cut of fragments with the length, of sound from 0 on.
        short = total - self._cut_before - reached > max(0.5, 3 / float(self.info.rate))
        if truncated or short:
            own = total - float((last.pts + self._timestamps.step) * self.info.time_base)
            why = f"ends early: {reached:.1f} of {total:.1f} seconds are there"
            lost = 0 if claimed else max(0, round(own * self.info.rate))
            self._damage(why if short else "is damaged or ends early", lost=lost)
        alone = self._seconds - float((last.pts + last.duration) * self.info.time_base)
        if self._end_unknown and alone > max(2, 3 / float(self.info.rate)):
            lost = round(alone * self.info.rate)
            self._damage(f"goes on for {alone:.1f} seconds without pictures", lost=lost)
        if lost := self._expected.missing(self._reached, interlaced=last.picture.interlaced_frame):
            whole = self._reached + lost
            self._damage(f"is damaged: {lost} of {whole} pictures cannot be decoded", lost=lost)
