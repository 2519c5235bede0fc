"""Compares frames with their source as soon as they are encoded, while the file is being written.

Each packet of the encoder is decoded again at once, in a thread, so that the source need not be
decoded a second time when the file is finished. The finished file is then read once more: if its
packets are those that were compared, it shows what they show. If they are not, or if a packet
cannot be decoded, the whole file is compared instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import av
from av import Packet

from masquerade.pipeline.receipt import ResidualDetail
from masquerade.pipeline.residual_detail import DetailCheck
from masquerade.pipeline.stream import StageTimer
from masquerade.video.packet_digest import NAL_CODECS, PacketDigest, digest_of_file
from masquerade.video.shared_picture import plane_rows
from masquerade.video.write import Writer

MOST_PACKETS = 32  # that wait to be decoded; the encoder waits while there are more
EIGHT_BITS = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p")  # formats whose first plane is luma


class EncodedCheck:
    """Decodes and compares what one writer encodes; a context that is left after the writer is.

    Args:
        detail: compares; it keeps its sources while a writer is followed.
        timer: adds up the time that this takes.
    """

    def __init__(self, detail: DetailCheck, timer: StageTimer) -> None:
        self._detail, self._timer = detail, timer
        self._packets: SimpleQueue[tuple[bytes, int | None] | None] = SimpleQueue()
        self._taken: SimpleQueue[None] = SimpleQueue()
        self._ahead = 0
        self._writer: Writer | None = None
        self._thread: threading.Thread | None = None
        self._digest: PacketDigest | None = None
        self._error: Exception | None = None  # of the thread, to be raised in the caller's
        self._unlike = False  # something was not as it is known here

    def watch(self, writer: Writer) -> None:
        """Follow a writer from its first packet on, if its codec is known here."""
        if writer.codec in NAL_CODECS and writer.pixel_format in EIGHT_BITS:
            self._detail.keep_sources()
            self._writer = writer
            writer.on_packet = self._add

    def result_for(self, path: Path) -> ResidualDetail | None:
        """What is left in a finished file, if its packets are all those that were compared.

        Raises:
            OutputError: detail that should have gone is still there.
        """
        if self._digest is None or self._unlike or digest_of_file(path) != self._digest.value():
            return None
        return self._detail.compared()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._thread is not None:
            if kind is not None:
                self._unlike = True  # what waits is not looked at any more
            self._packets.put(None)
            self._thread.join()
        if self._writer is not None:  # each knows the other: nothing would be freed soon
            self._writer.on_packet = None
            self._writer = None
        self._detail.forget_sources()
        if kind is None and self._error is not None:
            raise self._error

    def _add(self, packet: Packet[Any]) -> None:
        """Take the next packet of the encoder; waits while too many are waiting."""
        if self._digest is None:
            assert self._writer is not None
            self._digest = PacketDigest(self._writer.extradata)
            self._thread = threading.Thread(target=self._work, args=(self._writer,), daemon=True)
            self._thread.start()
        if self._error is not None:
            raise self._error
        data = bytes(packet)
        self._digest.add(data)
        self._packets.put((data, packet.pts))
        self._ahead += 1
        if self._ahead > MOST_PACKETS:
            self._taken.get()
            self._ahead -= 1

    def _work(self, writer: Writer) -> None:
        """Decode and compare until the last packet; takes them all, whatever happens."""
        decoder: Any = None
        full_range, more = writer.color.full_range, True
        while more:
            item = self._packets.get()
            self._taken.put(None)
            more = item is not None
            if self._unlike or self._error is not None:
                continue
            try:
                if decoder is None:
                    decoder = av.CodecContext.create(writer.codec, "r")
                    decoder.extradata, decoder.thread_count = writer.extradata, 1
                with self._timer.measure("check"):
                    for luma in _lumas(decoder, item):
                        self._detail.compare_next(luma, full_range=full_range)
            except (av.FFmpegError, LookupError):
                self._unlike = True
                self._detail.forget_sources()  # which nothing would take any more
            except Exception as error:
                self._error = error


def _lumas(decoder: Any, item: tuple[bytes, int | None] | None) -> Iterator[Any]:
    """The luma (H, W) of each frame that a packet completes; None: of all that are left."""
    packet = None
    if item is not None:
        packet = Packet(item[0])
        packet.pts = item[1]
    for picture in decoder.decode(packet):
        yield plane_rows(picture.planes[0])[:, : picture.width]
