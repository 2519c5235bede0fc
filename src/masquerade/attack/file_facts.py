"""What a published file tells beside its pictures: tags, sound, other streams, a receipt."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from masquerade.anonymizer import Anonymizer
from masquerade.attack.finders import Kind
from masquerade.attack.finding import Finding
from masquerade.errors import MasqueradeError, VideoError
from masquerade.methods import METHODS, build
from masquerade.text import escape
from masquerade.video.addresses import Kind as AddressKind
from masquerade.video.container import printable
from masquerade.video.matroska_data import list_other_apps
from masquerade.video.probe import RECEIPT_SUFFIX, VideoInfo, remembered_digest
from masquerade.video.unread_data import list_unread_data

HARMLESS = frozenset(
    (
        *("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "language"),
        *("handler_name", "vendor_id", "software", "bps", "number_of_bytes", "number_of_frames"),
        *("_statistics_tags", "_statistics_writing_app"),
        "gamma",  # of a PNG's colours
        # of how a TIFF's picture is stored
        *("imagewidth", "imagelength", "bitspersample", "compression", "photometricinterpretation"),
        *("stripoffsets", "samplesperpixel", "rowsperstrip", "stripbytecounts", "xresolution"),
        *("yresolution", "resolutionunit", "planarconfiguration", "sampleformat", "predictor"),
        *("extrasamples", "colormap", "0x00fe"),
    )
)
"""Tags that tell of the container and its encoder, in lower case."""
TELLING_SIDE_DATA = {
    "A53_CC": "captions",
    "S12M_TIMECODE": "a time code",
    "GOP_TIMECODE": "a time code",
}
"""Side data of frames that may identify, by FFmpeg's name, in words: what is said, and when."""
LARGEST_PADDING = 63  # pixels on an axis, to whole blocks of HEVC; more was cropped
MOST_RECEIPT_BYTES = 2**27  # of a receipt that is read: one of our own has some bytes a frame
PRIMING_SECONDS = 0.3  # of sound, at most, that an encoder puts before the first that is heard
HIDES: Mapping[str, frozenset[Kind]] = {
    "people": frozenset(("person", "pose")),
    "text": frozenset(("text",)),
    "frame": frozenset(("person", "pose", "text")),
}
"""What region sources hide, beside faces."""


def read_tags(
    info: VideoInfo, *, frame_tags: Sequence[str] = (), other_messages: bool = False
) -> Finding:
    """Whether the file has tags such as the time, the place and the device of the recording.

    `frame_tags` are those of any frame, of which `info` has the first one's alone,
    and `other_messages` tells whether no known encoder wrote some of it.
    """
    names = dict.fromkeys([*info.tags, *frame_tags])
    telling = [_explain(name) for name in names if not _is_harmless(name)]
    exif = any(name.startswith("frame:") for name in info.tags)
    telling += list_unread_data(
        info.path, exif_is_read=exif, video=info.kind == "video", container=info.container
    )
    unusual = [escape(name) for name in info.other_texts]
    unusual += list_other_apps(info.path)
    unusual += ["a message between its frames"] if other_messages else []
    says = []
    if telling:
        names_told = ", ".join(map(escape, telling))
        says.append(f"The file tells more than its picture does, in {names_told}.")
    if unusual:
        says.append(
            f"What it says of its encoder is not what a known one writes, in {', '.join(unusual)}: "
            "it may name a device, a file or a person."
        )
    return Finding(
        attack="tags",
        level="recovered" if telling else "left" if unusual else "nothing",
        says=" ".join(says) or "The file has no tags but those of its container and encoder.",
        work="every tag of the file, of its streams and of its frames, and what else a JPEG, PNG, "
        "WebP, MP4, Matroska file or MPEG transport stream holds beside its picture, by name; of "
        "encoders' tags also the text",
    )


def read_streams(info: VideoInfo, *, hidden: int = 0, hidden_sound: float = 0.0) -> Finding:
    """Whether sound, subtitles, data, chapters or more pictures are in the file.

    `hidden` is how many frames are in the file that players do not show. Nobody looks at these, nor
    at the pictures of other streams: they may be as they were. `hidden_sound` is how many seconds
    of sound are in it that players do not play.
    """
    beside: list[str] = [s.kind for s in info.streams if s.index != info.video_index]
    pictures = sum(kind in ("video", "picture") for kind in beside)
    beside += ["chapters"] if info.chapters else []
    border = info.hidden_border > LARGEST_PADDING
    says = "" if hidden or border else "The file holds nothing but the picture."
    if beside:
        says = f"Beside the picture the file holds {', '.join(dict.fromkeys(beside))}."
    if "audio" in beside:
        says += " Voices identify people."
    if hidden_sound > PRIMING_SECONDS:
        says += (
            f" {hidden_sound:.1f} seconds of sound are in the file that an edit list hides from "
            "players: encode the sound anew, or leave it out."
        )
    if pictures:
        says += " No attack looked at the pictures of other streams: remove these."
    if hidden:
        says += (
            f" {hidden:,} frames are in the file that an edit list hides from players, and from "
            "these attacks: encode it anew."
        )
    if border:
        says += (
            f" {info.hidden_border} pixels of the picture's border are in the file that it hides "
            "from players, and from these attacks: encode it anew."
        )
    if info.has_alpha:
        says += " Pixels may be transparent: all were looked at as if none were."
    return Finding(
        attack="streams",
        level="recovered" if pictures or hidden or border else "left" if beside else "nothing",
        says=says.strip(),
        work="the list of the file's streams, and of the frames of its picture; sound is not "
        "listened to",
    )


def find_receipt(path: Path) -> Finding:
    """Whether a receipt lies beside the file that names its source.

    A public one does not, nor does that of a recording of `masquerade live`.
    """
    beside = path.with_name(path.name + RECEIPT_SUFFIX)
    name = escape(beside.name)
    receipt = _receipt_beside(path)
    lies = os.path.exists(beside)  # unlike Path's, it bears a name that no file can have
    live = _is_live(receipt)
    left = lies and not live and not _is_public(receipt)
    if left:
        says = f"{name} lies beside the file: it names the source and its digest, so keep it to "
        says += "yourself."
    elif lies and live:
        says = f"{name} lies beside the file: it is of a live run, and does not name the source."
    elif lies:
        says = f"{name} lies beside the file: it is a public one, which does not name the source."
    else:
        says = "No receipt lies beside the file."
    visible = receipt.get("left_visible")
    if _is_of_another(path, receipt):
        visible = None
        says += " It is of another file, by the digest in it, so that what it says of this one is "
        says += "not believed: name what was hidden by --hidden."
    if isinstance(visible, dict) and visible:
        says += (
            f" It says that {len(visible)} of the people were left visible on purpose: what is "
            "recovered may be them, and is not told apart."
        )
    return Finding(
        attack="receipt",
        level="left" if left else "nothing",
        says=says,
        work="the file's own folder",
    )


def check_source(path: Path, raw: Path) -> None:
    """Refuse a raw video that is not the one that the receipt beside a published file names.

    Beside another video everything looks changed, so that nothing would seem to be left. What a
    receipt of another file says counts for nothing, as one that an earlier output left behind.

    Raises:
        VideoError: it is another one.
    """
    named = _source_in(_receipt_of(path)).get("sha256")
    if isinstance(named, str) and named != remembered_digest(raw):
        raise VideoError(
            f"{printable(raw)} is not the video that {printable(path)} was made from, by the "
            "receipt beside that: give --raw the one that was anonymized, as it was."
        )


def is_made_from(path: Path, raw: Path) -> bool:
    """Whether the file's own receipt, which has its digest, names this raw video."""
    receipt = _receipt_of(path)
    named = _source_in(receipt).get("sha256")
    return "output" in receipt and isinstance(named, str) and named == remembered_digest(raw)


def content_of(path: Path) -> str:
    """A key that all copies and links of a video share: its digest, if it can be read."""
    try:
        return remembered_digest(path)
    except (OSError, VideoError):
        return str(path.resolve())


def said_to_be_drawn(path: Path) -> bool:
    """Whether the file's own receipt names a method that shows no pixel of the source.

    The receipt lies beside it and has its digest, so that no other file's is taken for it. But it
    is not signed: whoever gives the file may have written it.
    """
    receipt = _receipt_beside(path)
    try:
        made, method = receipt["output"]["sha256"], receipt["method"]
        if made != remembered_digest(path):
            return False
        # no other is built: a stranger's arguments may ask for any network, or name any file
        if method["name"] not in METHODS or not METHODS[method["name"]].regions_only:
            return False
        return shows_no_pixel(build(method["name"], **method["arguments"]))
    except (OSError, ValueError, TypeError, KeyError, MasqueradeError):
        return False


def shows_no_pixel(method: Anonymizer) -> bool:
    """Whether no pixel of the source is in a method's output: what looks like a face is drawn."""
    return {"appearance", "place"} <= {*method.removed_channels}


def _is_public(receipt: Mapping[str, Any]) -> bool:
    """Whether a receipt names neither its source nor that one's digest."""
    source = _source_in(receipt)  # without these keys nobody knows what is in it
    return {"name", "sha256"} <= source.keys() and source["name"] is source["sha256"] is None


def _is_live(receipt: Mapping[str, Any]) -> bool:
    """Whether a receipt is of `masquerade live`, which says only of what kind its source is."""
    return receipt.get("kind") == "live" and receipt.get("source") in get_args(AddressKind)


def _receipt_beside(path: Path) -> Mapping[str, Any]:
    """The content of the receipt beside a file; empty where none can be read.

    A stranger may have put anything there: a pipe, which is never read to its end, or a huge file.
    """
    beside = path.with_name(path.name + RECEIPT_SUFFIX)
    try:
        if not beside.is_file() or beside.stat().st_size > MOST_RECEIPT_BYTES:
            return {}
        receipt = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return receipt if isinstance(receipt, dict) else {}


def _receipt_of(path: Path) -> Mapping[str, Any]:
    """The content of the receipt beside a file; empty where it is of another file.

    As where a run without a receipt, or with one elsewhere, replaced the file and left the old one.
    """
    receipt = _receipt_beside(path)
    return {} if _is_of_another(path, receipt) else receipt


def _is_of_another(path: Path, receipt: Mapping[str, Any]) -> bool:
    """Whether a receipt names the digest of another file than this one; without one it does not."""
    output = receipt.get("output")
    named = output.get("sha256") if isinstance(output, dict) else None
    return isinstance(named, str) and named != remembered_digest(path)


def _source_in(receipt: Mapping[str, Any]) -> Mapping[str, Any]:
    source = receipt.get("source")
    return source if isinstance(source, dict) else {}


def meant_to_hide(path: Path, hidden: str) -> frozenset[Kind]:
    """What a publisher means to hide: faces, and what an option or the receipt beside a file says.

    `hidden` is that of `AttackConfig`.
    """
    faces = frozenset[Kind](("face",))
    names = _hidden_regions(path, hidden)
    return faces.union(*(HIDES.get(name, frozenset()) for name in names))


def hides_whole_frames(path: Path, hidden: str) -> bool:
    """Whether a publisher means to hide whole frames; `hidden` is that of `AttackConfig`."""
    return "frame" in _hidden_regions(path, hidden)


def _hidden_regions(path: Path, hidden: str) -> set[str]:
    """The names of the regions that an option names, or the receipt beside a file."""
    if hidden != "auto":
        return set(hidden.split("+"))
    try:
        return {str(region["name"]) for region in _receipt_of(path)["regions"]}
    except (TypeError, KeyError):
        return set()  # there is none, or it is another's


def _is_harmless(name: str) -> bool:
    plain = name.rpartition(":")[2]
    if name.startswith("side:"):
        return plain not in TELLING_SIDE_DATA
    return plain.lower() in HARMLESS


def _explain(name: str) -> str:
    """A tag's name, with words where it is FFmpeg's short name of side data."""
    words = TELLING_SIDE_DATA.get(name.removeprefix("side:"))
    return f"{words} in its frames" if words else name
