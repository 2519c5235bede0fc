"""Read a video frame by frame in display order, and refuse one that is damaged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import torch
from av import Packet, VideoFrame
from av.container import InputContainer
from av.stream import Stream
from torch import Tensor

from masquerade.errors import VideoError
from masquerade.video.container import most_pixels, open_container, printable
from masquerade.video.frame import Frame, YuvToRgb
from masquerade.video.pictures import PictureCounter
from masquerade.video.probe import VideoInfo, first_frame, images_in, main_stream, probe
from masquerade.video.timestamps import TimestampRepair
from masquerade.video.truncation import is_truncated

INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "avi")  # their index names every packet


class Reader:
    """A video as an iterator of frames, and of packets of the streams to copy.

    A frame whose size or pixel format differs from the first one's is scaled and converted to it.
    The attribute `copy` may be set until the iteration begins.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        info: VideoInfo | None = None,  # of the same file, where it was probed before
        copy: Collection[int] = (),  # streams whose packets are to be given as they are met
        salvage: bool = False,  # go on after damage, and count it, instead of raising VideoError
        force_8bit: bool = False,  # give 8 bits even where the source has more
        rate: Fraction | None = None,  # images a second, where the path is a folder of images
        threads: int = 0,  # of the decoder; 0: as many as there are cores
    ) -> None:
        self.path = Path(path)
        self.info: VideoInfo = info or probe(self.path, rate=rate)
        self.damaged = 0  # how often damage was met
        self.lost = 0  # frames that are missing, as far as the file tells
        self.copy = frozenset(copy)
        self._salvage = salvage
        self._threads = threads
        self._to_rgb = YuvToRgb(self.info, force_8bit=force_8bit)
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
        self._seconds = 0.0
        self._timed = {s.index for s in self.info.streams if s.kind in ("video", "audio")}

    def __enter__(self) -> Self:
        if self.info.kind != "sequence":
            self._container = self._resources.enter_context(open_container(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        self._container = None
        self._resources.close()

    @property
    def repaired(self) -> int:
        """How many timestamps were missing, repeated or backward so far."""
        return self._timestamps.repaired

    @property
    def tags(self) -> dict[str, str]:
        """The file's own tags, with their values."""
        return dict(self._container.metadata) if self._container else {}

    @property
    def chapters(self) -> list[Any]:
        """The file's chapters, as PyAV gives them."""
        return list(self._container.chapters()) if self._container else []

    def stream_tags(self, index: int) -> dict[str, str]:
        """One stream's tags, with their values."""
        return dict(self._container.streams[index].metadata) if self._container else {}

    def stream(self, index: int) -> Stream:
        """An input stream, as the template of an output stream."""
        return self._open().streams[index]

    def __iter__(self) -> Iterator[Frame | Packet[Any]]:
        pictures: Iterator[VideoFrame | Packet[Any]]
        pictures = self._images() if self.info.kind == "sequence" else self._decoded()
        held: Frame | None = None
        for picture in pictures:
            if isinstance(picture, av.Packet):
                yield picture
                continue
            frame = self._frame(picture)
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

    def _frame(self, picture: VideoFrame) -> Frame:
        if picture.is_corrupt:
            self._damage("holds a damaged picture")
        pts = self._timestamps.tick(*self._stamps(picture))
        index, self._reached = self._reached, self._reached + 1
        duration = picture.duration or self._timestamps.step
        base = self.info.time_base
        return Frame(picture, self._to_rgb, pts=pts, duration=duration, time_base=base, index=index)

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

    def _last_duration(self, frame: Frame) -> int:
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
                yield picture

    def _decoded(self) -> Iterator[VideoFrame | Packet[Any]]:
        container = self._open()
        video = container.streams[self.info.video_index]
        video.codec_context.options = {"max_pixels": str(most_pixels(container))}
        video.codec_context.thread_type = "AUTO"
        video.codec_context.thread_count = self._threads
        # All streams, since how far the longest one reaches tells whether the file is whole.
        packets = container.demux()
        while (packet := self._next(packets)) is not None:
            index = packet.stream.index
            self._note(packet)
            if index in self.copy and packet.size:
                yield packet
            if index != video.index or (not packet.size and packet.dts is not None):
                continue  # of the video an empty one says that the last picture stays
            self._packets += packet.size > 0
            self._expected.add(packet)
            self._first = packet.dts if self._first is None else self._first
            yield from self._pictures(packet)

    def _next(self, packets: Iterator[Packet[Any]]) -> Packet[Any] | None:
        try:
            return next(packets, None)
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

    def _note(self, packet: Packet[Any]) -> None:
        """Remember how far the file reaches, and refuse a damaged packet."""
        when = packet.pts if packet.pts is not None else packet.dts
        if packet.stream.index not in self._timed:
            return
        if when is not None and packet.time_base:
            end = float((when + (packet.duration or 0)) * packet.time_base)
            self._seconds = max(self._seconds, end)
        wanted = packet.stream.index in {self.info.video_index, *self.copy}
        if wanted and packet.is_corrupt and packet.size:
            self._damage("holds a damaged packet")

    def _damage(self, what: str, *, lost: int = 0) -> None:
        self.damaged += 1
        self.lost += lost
        if not self._salvage:
            raise VideoError(
                f"{printable(self.path)} {what} after {self._reached} frames; "
                "ask for salvage to anonymize what is there."
            )

    def _check_whole(self, last: Frame) -> None:
        """Compare what was read with what the container claims to hold."""
        if self.info.kind == "sequence":
            return
        truncated = is_truncated(self.path, self.info.container)
        if self.info.kind == "image":
            if truncated:
                self._damage("ends early")
            return
        container = self._open()
        index = container.streams[self.info.video_index].index_entries
        claimed = len(index) if self.info.container in INDEXED else 0
        if self._packets < claimed:
            lost = claimed - self._packets
            self._damage(f"ends early: {self._packets} of {claimed} frames are there", lost=lost)
        total = (container.duration or 0) / 1e6 + max(container.start_time or 0, 0) / 1e6
        reached = max(self._seconds, last.time + float(last.duration * last.time_base))
        short = total - reached > max(0.5, 3 / float(self.info.rate))
        if truncated or short:
            own = total - float((last.pts + self._timestamps.step) * last.time_base)
            why = f"ends early: {reached:.1f} of {total:.1f} seconds are there"
            lost = 0 if claimed else max(0, round(own * self.info.rate))
            self._damage(why if short else "is damaged or ends early", lost=lost)
        if lost := self._expected.missing(self._reached, interlaced=last.picture.interlaced_frame):
            whole = self._reached + lost
            self._damage(f"is damaged: {lost} of {whole} pictures cannot be decoded", lost=lost)


@dataclass(frozen=True)
class Video:
    """A whole video in memory.

    Args:
        clip: (1, 3, T, H, W), RGB in [0, 1].
        times: (T,) seconds.
        info: the file it came from; None: it came from none.
    """

    clip: Tensor
    times: Tensor
    info: VideoInfo | None = None


def read_video(path: Path | str, *, stop: float | None = None, force_8bit: bool = True) -> Video:
    """Read a short video into memory; long ones are for `Reader`.

    Args:
        path: a video or an image.
        stop: seconds, where to stop; None: at the end.
        force_8bit: round deeper sources to 8 bits.
    """
    frames: list[Tensor] = []
    times: list[float] = []
    with Reader(path, force_8bit=force_8bit) as reader:
        for frame in reader:
            assert isinstance(frame, Frame)
            if stop is not None and frame.time >= stop and frames:
                break
            pixels = frame.rgb()
            top = 255 if pixels.dtype.itemsize == 1 else 65535
            frames.append(torch.from_numpy(pixels).float() / top)
            times.append(frame.time)
    clip = torch.stack(frames).permute(3, 0, 1, 2)[None]  # (1, 3, T, H, W)
    return Video(clip.contiguous(), torch.tensor(times, dtype=torch.float64), reader.info)
