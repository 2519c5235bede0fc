"""A digest of a video's packets that is the same before and after a container holds them.

H.264 and H.265 packets are sequences of NAL units. Encoders put a start code before each (Annex B
of both standards), MP4 and Matroska its length instead; so units are hashed, not packets.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from masquerade.video.container import open_container

NAL_CODECS = ("h264", "hevc")  # FFmpeg's names
_START = b"\x00\x00\x01"


class PacketDigest:
    """Hashes the packets of one H.264 or H.265 stream, in their order.

    Args:
        extradata: the stream's header, which says how its units are separated.
    """

    def __init__(self, extradata: bytes | None) -> None:
        header = extradata or _START
        self._prefixed = not header.startswith((_START, b"\x00" + _START))
        self._hash = hashlib.sha256()
        self.packets = 0

    def add(self, data: bytes) -> None:
        """Hash the next packet."""
        self.packets += 1
        for unit in _prefixed_units(data) if self._prefixed else _separated_units(data):
            self._hash.update(len(unit).to_bytes(8, "little"))
            self._hash.update(unit)

    def value(self) -> tuple[int, bytes]:
        """How many packets there were, and the SHA-256 of their units."""
        return self.packets, self._hash.digest()


def digest_of_file(path: Path) -> tuple[int, bytes]:
    """The packets of a finished file's one video, and their digest; none of them is decoded."""
    with open_container(path) as container:
        stream = container.streams.video[0]
        digest = PacketDigest(stream.codec_context.extradata)
        for packet in container.demux(stream):
            if packet.size:
                digest.add(bytes(packet))
    return digest.value()


def _separated_units(data: bytes) -> Iterator[bytes]:
    """Split a packet into its NAL units at start codes; zeros before a code belong to it."""
    for unit in data.split(_START):
        if whole := unit.rstrip(b"\x00"):
            yield whole


def _prefixed_units(data: bytes) -> Iterator[bytes]:
    """Split a packet into its NAL units, where each follows its length in four bytes."""
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : end]
        at = end
