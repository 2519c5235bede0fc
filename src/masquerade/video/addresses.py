"""Addresses of live video: cameras, network streams and pipes, by what they are called."""

import re
import stat
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from masquerade.errors import UsageError
from masquerade.text import escape

Kind = Literal["camera", "network", "pipe", "file"]
PROTOCOLS = {  # of addresses, with the protocols that FFmpeg may use for each
    "rtsp": "rtsp,rtp,srtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,udp,tcp,tls",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tcp,tls",
    "http": "http,tcp",
    "https": "https,http,tcp,tls",
    "udp": "udp",
    "tcp": "tcp",
    "srt": "srt",
}
MUXERS = {  # by which FFmpeg sends to an address
    "rtsp": "rtsp",
    "rtmp": "flv",
    "rtmps": "flv",
    "udp": "mpegts",
    "tcp": "mpegts",
    "srt": "mpegts",
}


class Address(NamedTuple):
    """Where live video comes from or goes to."""

    text: str  # as it was given: it may hold a password, so that no message shows it
    kind: Kind
    scheme: str = ""  # of a network stream
    output: bool = False  # whether video goes there

    @property
    def name(self) -> str:
        """The address as messages give it: of a network stream the scheme, host and port alone.

        The rest may hold a password: many cameras take it in the path, and RTMP the stream's key.
        """
        if self.kind != "network":
            standard = "standard output" if self.output else "standard input"
            return standard if self.text == "-" else escape(self.text)
        rest = self.text.partition("://")[2]
        place = re.split("[/?#]", rest, maxsplit=1)[0]
        try:
            parts = urlsplit(f"//{place}")
            host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
        except ValueError:  # an address that cannot be
            host = ""
        # A password may hold anything, also what ends a host's name: where an @ follows that, it is
        # not known which part is the host, and nothing is told.
        if "@" in rest[len(place) :] or not re.fullmatch(r"[\w.:%-]+", host):
            return f"{self.scheme}://"
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def parse_address(text: str, *, output: bool = False) -> Address:
    """What a word of the command line names: `-`, /dev/video0, rtsp://... or a file.

    `output` says that video goes there.

    Raises:
        UsageError: it is an address of a kind that is not known.
    """
    return Address(text, *_kind(text), output)


def _kind(text: str) -> tuple[Kind, str]:
    """The kind of an address, and the scheme of a network stream."""
    if text == "-":
        return "pipe", ""
    scheme = re.match("([A-Za-z][A-Za-z0-9+.-]+)://", text)
    if scheme is not None:
        name = scheme[1].lower()
        if name not in PROTOCOLS:
            known = ", ".join(f"{protocol}://" for protocol in PROTOCOLS)
            raise UsageError(f"there is no live video at {name}://; what is known is {known}.")
        return "network", name
    if re.fullmatch("/dev/video[0-9]+", text):
        return "camera", ""
    try:
        mode = Path(text).stat().st_mode
    except OSError:
        return "file", ""
    if stat.S_ISCHR(mode):
        return "camera", ""
    return "pipe" if stat.S_ISFIFO(mode) else "file", ""
