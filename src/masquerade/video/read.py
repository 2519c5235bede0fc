"""Read a video frame by frame in display order, and refuse one that is damaged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from masquerade.errors import UsageError
from masquerade.video import decoding_process
from masquerade.video.decoding import Decoded, Decoder, StreamPacket
from masquerade.video.decoding_process import LIMITS, Limits, RemoteDecoder
from masquerade.video.frame import Frame, YuvToRgb
from masquerade.video.probe import VideoInfo, probe_in_process
from masquerade.video.stream_template import StreamTemplate


class Reader:
    """A video as an iterator of frames, and of what comes of other streams.

    A frame whose size or pixel format differs from the first one's is scaled and converted to it.
    The attributes `copy` and `sound` may be set until the iteration begins.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        info: VideoInfo | None = None,  # of the same file, where it was probed before
        copy: Collection[int] = (),  # streams whose packets are to be given as they are met
        sound: Collection[int] = (),  # streams whose sound is to be decoded and given
        salvage: bool = False,  # go on after damage, and count it, instead of raising VideoError
        force_8bit: bool = False,  # give 8 bits even where the source has more
        opaque: bool = False,  # give the colours of transparent pixels, else blended over black
        rate: Fraction | None = None,  # images a second, where the path is a folder of images
        threads: int = 0,  # of the decoder, at most 16; 0: as many as there are cores
        gpu: bool = False,  # decode on an NVIDIA GPU, where there is one that can
        trusted: bool = False,  # a file of our own, which is decoded in this process
        limits: Limits = LIMITS,  # of the process that decodes
    ) -> None:
        self.path = Path(path)
        self.interlaced = 0  # how many pictures held two fields so far
        self.copy, self.sound = frozenset(copy), frozenset(sound)
        options: dict[str, Any] = {"salvage": salvage, "threads": threads, "gpu": gpu}
        self._decoder: Decoder | RemoteDecoder
        if trusted:
            self.info: VideoInfo = info or probe_in_process(self.path, rate=rate)
            self._decoder = Decoder(self.path, self.info, **options)
        else:
            self.info = info or decoding_process.probe(self.path, rate=rate, limits=limits)
            self._decoder = RemoteDecoder(self.path, self.info, **options, limits=limits)
        self._to_rgb = YuvToRgb(self.info, force_8bit=force_8bit, opaque=opaque)

    def __enter__(self) -> Self:
        self._decoder.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._decoder.__exit__(kind, *error)  # which ends it in the middle of a sentence

    @property
    def damaged(self) -> int:
        """How often damage was met so far."""
        return self._decoder.losses.damaged

    @property
    def lost(self) -> int:
        """Frames that are missing, as far as the file tells."""
        return self._decoder.losses.lost

    @property
    def end_unknown(self) -> bool:
        """Whether nothing in the file says where it ends, once it was read."""
        return self._decoder.losses.end_unknown

    @property
    def on_gpu(self) -> int:
        """How many pictures a GPU decoded so far."""
        return self._decoder.losses.on_gpu

    @property
    def repaired_timestamps(self) -> int:
        """How many timestamps were missing, repeated or backward so far."""
        return self._decoder.losses.repaired_timestamps

    @property
    def tags(self) -> dict[str, str]:
        """The file's own tags, with their values."""
        return self._decoder.tags

    @property
    def chapters(self) -> list[Any]:
        """The file's chapters, as PyAV gives them."""
        return self._decoder.chapters

    def stream_tags(self, index: int) -> dict[str, str]:
        """One stream's tags, with their values."""
        return self._decoder.stream_tags(index)

    def stream(self, index: int) -> StreamTemplate:
        """An input stream, as the template of an output stream."""
        self._decoder.sound = self.sound
        return self._decoder.template(index)

    def __iter__(self) -> Iterator[Frame | StreamPacket]:
        self._decoder.copy, self._decoder.sound = self.copy, self.sound
        base = self.info.time_base
        for item in self._decoder:
            if isinstance(item, Decoded):
                self.interlaced += item.picture.interlaced_frame
                times = {"pts": item.pts, "duration": item.duration, "index": item.index}
                yield Frame(item.picture, self._to_rgb, **times, time_base=base)
            else:
                yield item


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

    FFmpeg's fast conversion rounds RGB down: it is a little darker than the exact one, and a copy
    of a copy darker still. `anonymize_file` leaves what is not hidden as it was decoded.

    Args:
        path: a video or an image.
        stop: seconds after the first frame, where to stop; None: at the end.
        force_8bit: round deeper sources to 8 bits.

    Raises:
        UsageError: `stop` is not above 0.
        VideoError: the file cannot be read.
    """
    if stop is not None and not (isinstance(stop, Real) and stop > 0):
        raise UsageError(f"read_video takes a stop above 0 seconds, not {stop!r}.")
    frames: list[Tensor] = []
    times: list[float] = []
    with Reader(path, force_8bit=force_8bit) as reader:
        for frame in reader:
            assert isinstance(frame, Frame)
            if stop is not None and times and frame.time - times[0] + 1e-9 >= stop:  # rounding
                break
            pixels = frame.rgb()
            top = 255 if pixels.dtype.itemsize == 1 else 65535
            frames.append(torch.from_numpy(pixels).float() / top)
            times.append(frame.time)
    clip = torch.stack(frames).permute(3, 0, 1, 2)[None]  # (1, 3, T, H, W)
    return Video(clip.contiguous(), torch.tensor(times, dtype=torch.float64), reader.info)
