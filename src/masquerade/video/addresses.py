"""Addresses of live video: cameras, network streams and pipes, by what they are called."""

import re
import stat
from collections.abc import Iterable
from functools import cache
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


def check_protocol(address: Address) -> None:
    """Refuse an address whose protocol FFmpeg lacks here, or whose listener would hear no Ctrl-C.

    Raises:
        UsageError: it is one.
    """
    if address.scheme == "srt" and not _has_srt():
        raise UsageError(
            "the FFmpeg in this PyAV is built without SRT: send or receive by another of "
            f"{known_schemes(MUXERS)}, or install a PyAV that has it."
        )
    words = re.split("[?&]", address.text)[1:]
    if address.output and address.scheme == "tcp" and any(w.startswith("listen") for w in words):
        raise UsageError(
            f"{address.name} cannot wait for a program to connect, as no Ctrl-C would be heard "
            "meanwhile: let the other program listen, or write to a named pipe."
        )


def known_schemes(schemes: Iterable[str]) -> str:
    """Schemes as a sentence lists them, without what FFmpeg lacks here."""
    return ", ".join(f"{name}://" for name in schemes if name != "srt" or _has_srt())


@cache
def _has_srt() -> bool:
    """Whether the FFmpeg of this PyAV knows SRT, as that of its wheels does not."""
    import av  # here: most addresses are told apart without it

    try:
        av.open("srt://").close()
    except av.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, OSError):  # such as that there is no host
        pass
    return True


def _kind(text: str) -> tuple[Kind, str]:
    """The kind of an address, and the scheme of a network stream."""
    if text == "-":
        return "pipe", ""
    scheme = re.match("([A-Za-z][A-Za-z0-9+.-]+)://", text)
    if scheme is not None:
        name = scheme[1].lower()
        if name not in PROTOCOLS:
            raise UsageError(
                f"there is no live video at {name}://; what is known is {known_schemes(PROTOCOLS)}."
            )
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
