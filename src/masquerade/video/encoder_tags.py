"""Tell tags that only name a known encoder from those that say more.

Such tags are in nearly every file, and tell nothing of a recording where they name a known encoder.
But cameras write their model and serial number there, and some programs the name of the source.
"""

import re

import av
from av import VideoFrame

from masquerade.video.side_data import side_data

_PROGRAM = (
    r"(?:lav[cf]|x26[45]|handbrake|mkvmerge|libebml|libmatroska|gpac|mp4box|l-smash|google|libvpx|"
    r"libaom|svt-av1|rav1e|obs|vlc|gimp|imagemagick|pillow|opencv|(?:avc|hevc) coding|"
    r"chrome|(?:qtmuxingapp)?libwebm|no_variable_data|gstreamer matroska ?mux(?:er)?(?: version)?)"
)
_VERSION = r"[\d\s.,:()+_/v-]*(?:\('[^']{0,60}'\)[\d\s.-]*)?(?:64-bit)?"  # mkvmerge has names
_ENCODER = re.compile(rf"(?:{_PROGRAM}{_VERSION})*(?:(?<!\S)(?P<codec>\S+))?", re.IGNORECASE)
_HANDLER = re.compile(
    r"\W*(?:core media |apple |l-smash |mainconcept |gpac iso |iso[ -]?media |bento4 )*"
    r"(?:video|sound|audio|subtitle|text|data|metadata|time ?code|hint|stereo|mono|vide|soun)?"
    r"(?: media)?[ _]?(?:handler|file produced by google inc\.?( created on: [\d/.]*)?)?",
    re.IGNORECASE,
)
_ENCODER_TAGS = ("encoder", "software", "_statistics_writing_app")
_MESSAGES = (
    bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"),  # x264's
    bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"),  # x265's
)
"""The identifiers of messages that encoders write between frames."""


def has_other_text(name: str, value: str) -> bool:
    """Whether a tag that is to name an encoder says something else."""
    value = value.strip("\0 \n")
    if name.lower() == "handler_name":
        return _HANDLER.fullmatch(value) is None
    if name.lower() not in _ENCODER_TAGS:
        return False
    match = _ENCODER.fullmatch(value)
    return match is None or match["codec"] not in (None, *av.codecs_available)


def has_other_message(frame: VideoFrame) -> bool:
    """Whether a frame has a message with it that no known encoder writes."""
    return any(
        name == "SEI_UNREGISTERED" and data[:16] not in _MESSAGES for name, data in side_data(frame)
    )
