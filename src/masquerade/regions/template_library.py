"""The library: a folder that templates are stored in.

It holds keys, where they were picked and by which extractor, and no pictures. As a key still
describes the appearance of what was picked, protect a library as you would protect the pictures.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from masquerade.arrays import F32
from masquerade.errors import MissingError, UsageError
from masquerade.regions.key_extractors import key_width
from masquerade.regions.saliency import KeyCalibration
from masquerade.regions.template import (
    CONCEPTS,
    NAME,
    Pick,
    Template,
    check_name,
)
from masquerade.storage import atomic_write, file_digest
from masquerade.transaction import recover, transaction

VERSION = 1
LOCK = ".lock"  # held by whoever adds a template
DAMAGE = (OSError, ValueError, KeyError, TypeError, RecursionError)
"""Errors that reading a damaged template raises."""
LENGTHS = 1e-6, 1e6  # of keys; cosines with longer or shorter ones become 0, which hides nothing
FARTHEST = 2**31  # pixels and frames; further than any picture or video reaches


def library_folder() -> Path:
    """Where templates are kept: what MASQUERADE_TEMPLATES names, or the user's data folder."""
    if named := os.environ.get("MASQUERADE_TEMPLATES"):
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "masquerade" / "templates"


class Library:
    """A folder of templates, NAME.safetensors with NAME.json each.

    Args:
        folder: None: `library_folder()`.

    Raises:
        UsageError: it is a file.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        self.folder = folder or library_folder()
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):
            raise UsageError(
                f"{self.folder.name} is no folder; name a folder of templates by --library, or by "
                "MASQUERADE_TEMPLATES."
            )
        recover(self.folder)

    def names(self) -> list[str]:
        """All templates, in order."""
        return sorted(p.stem for p in self.folder.glob("*.json") if NAME.fullmatch(p.stem))

    def add(self, template: Template) -> Template:
        """Store a template and return it, merged with the stored one of that name.

        Raises:
            UsageError: the stored one was made with other keys.
        """
        with self._locked():
            merged = self._merged(template)
            self._write(merged)
        return merged

    def extractor(self, name: str) -> str:
        """What made a template's keys, as its fingerprint says; empty: it is damaged."""
        try:
            card = json.loads((self.folder / f"{check_name(name)}.json").read_text("utf-8"))
            return str(card["extractor"])
        except DAMAGE:
            return ""

    def load(self, name: str) -> Template:
        """Read a template.

        Raises:
            MissingError: there is none of that name.
            UsageError: its files are damaged.
        """
        check_name(name)
        try:
            return self._load(name)
        except UsageError:  # others may have added to it between the reads of its two files
            with self._locked():
                return self._load(name)

    def _load(self, name: str) -> Template:
        path = self.folder / f"{name}.json"
        if not path.is_file():
            hint = f": {CONCEPTS[name]}" if name in CONCEPTS else ""
            raise MissingError(
                f"there is no template {name}{hint}; point at one with `masquerade templates add "
                f"{name} --image FILE --at X,Y`, or in the video with --at FRAME:X,Y. It was "
                f"looked for in {self.folder}; MASQUERADE_TEMPLATES can name another folder."
            )
        try:
            card = json.loads(path.read_text("utf-8"))
            keys = path.with_suffix(".safetensors")
            if file_digest(keys) != card["sha256"]:
                raise ValueError("its two files do not belong together")
            return _template(card, _read(keys)[0]["keys"])
        except DAMAGE as error:
            raise UsageError(f"template {name} is damaged ({error}): remove and add it.") from None

    def remove(self, name: str) -> None:
        """Delete a template; MissingError if there is none of that name."""
        path = self.folder / f"{check_name(name)}.json"
        if not path.is_file():
            stored = ", ".join(self.names()) or "none"
            raise MissingError(f"there is no template {name}; there are: {stored}.")
        with self._locked():  # or it could take a file that is being added
            path.unlink(missing_ok=True)
            path.with_suffix(".safetensors").unlink(missing_ok=True)

    def export(self, file: Path, names: Iterable[str] = (), *, overwrite: bool = False) -> None:
        """Write the templates of these names, or all, into one .safetensors file.

        The names of the pictures that they were picked in, which may be of people, are left out.

        Raises:
            UsageError: the file lies in this library, or exists and `overwrite` is off.
        """
        if os.path.realpath(file.parent) == os.path.realpath(self.folder):
            raise UsageError(f"{file} lies among the templates themselves; choose another -o.")
        chosen = [self.load(name) for name in names or self.names()]
        if not chosen:
            raise UsageError(f"there are no templates in {self.folder.name} to export.")
        cards = json.dumps([_card(template, pictures=False) for template in chosen])
        content = _bytes({t.name: t.keys for t in chosen}, {"masquerade templates": cards})
        with atomic_write(file, overwrite=overwrite) as part:
            part.write_bytes(content)

    def import_(self, file: Path) -> list[str]:
        """Add the templates of an exported file and return their names.

        Raises:
            UsageError: it is no such file, or a template of that name, stored or in it too, has
                other keys.
        """
        if file.is_dir() or not file.exists():
            missing = "is a folder; name a file" if file.is_dir() else "does not exist; name a file"
            raise UsageError(f"{file} {missing} that `masquerade templates export` wrote.")
        try:
            keys, metadata = _read(file)
            cards = json.loads(metadata["masquerade templates"])
            templates = [_template(card, keys[card["name"]]) for card in cards]
        except DAMAGE as error:
            raise UsageError(f"{file.name} is no file of templates ({error}).") from None
        with self._locked():
            merged: dict[str, Template] = {}
            for template in templates:
                merged[template.name] = self._merged(template, merged.get(template.name))
            self._write(*merged.values())  # all of them or none
        return list(merged)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the library's lock, so that no two processes merge into one template at once."""
        with ExitStack() as stack:
            with suppress(OSError):  # a folder that cannot be written is refused by who writes
                self.folder.mkdir(parents=True, exist_ok=True)
                # A library that was unpacked may have a link to any file there.
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                lock = os.open(self.folder / LOCK, flags, 0o666)
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _merged(self, template: Template, before: Template | None = None) -> Template:
        """A template with what has its name already: before it in a file, or in the library."""
        if before is None and check_name(template.name) in self.names():
            before = self._load(template.name)
        return template if before is None else before.merge(template)

    def _write(self, *templates: Template) -> None:
        with transaction(overwrite=True) as part:
            for template in templates:
                path = self.folder / f"{template.name}.json"
                card, keys = part(path), part(path.with_suffix(".safetensors"))
                keys.write_bytes(_bytes({"keys": template.keys}, {}))
                about = {**_card(template), "sha256": file_digest(keys)}
                card.write_text(json.dumps(about, indent=1) + "\n", "utf-8")


def _card(template: Template, *, pictures: bool = True) -> dict[str, Any]:
    unnamed: dict[str, str] = {} if pictures else {"image": ""}
    return {
        "version": VERSION,
        "name": template.name,
        "extractor": template.extractor,
        "picks": [asdict(pick) | unnamed for pick in template.picks],
    }


def _template(card: dict[str, Any], keys: F32) -> Template:
    if card["version"] != VERSION:
        raise ValueError(f"version {card['version']}, not {VERSION}")
    picks = tuple(
        Pick(**{**pick, "level": KeyCalibration(**pick["level"])}) for pick in card["picks"]
    )
    if not all(map(_is_place, picks)):
        raise ValueError("its picks are not places in pictures")
    if keys.ndim != 2 or not 0 < len(keys) == len(picks) or not np.isfinite(keys).all():
        raise ValueError("its keys do not fit its picks")
    width = key_width(str(card["extractor"]))
    if width not in (None, keys.shape[1]):
        raise ValueError(f"its keys have {keys.shape[1]} numbers, and not {width}")
    lengths = np.linalg.norm(keys.astype(np.float64), axis=1)
    if not LENGTHS[0] < lengths.min() <= lengths.max() < LENGTHS[1]:
        raise ValueError("its keys are not of a length to compare")
    return Template(
        name=check_name(card["name"]), extractor=str(card["extractor"]), keys=keys, picks=picks
    )


def _is_place(pick: Pick) -> bool:
    """Whether a pick that was read has the types and ranges of one that was made."""
    numbers = (pick.x, pick.y, 0 if pick.frame is None else pick.frame)
    return (
        type(pick.image) is str
        and all(type(number) in (int, float) and 0 <= number < FARTHEST for number in numbers)
        and type(numbers[2]) is int
    )


def _bytes(tensors: dict[str, F32], metadata: dict[str, str]) -> bytes:
    from safetensors.numpy import save  # here, so that training runs where only torch is

    return save({k: np.ascontiguousarray(v, np.float32) for k, v in tensors.items()}, metadata)


def _read(file: Path) -> tuple[dict[str, F32], dict[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as content:
            names = content.keys()
            tensors = {k: np.asarray(content.get_tensor(k), np.float32) for k in names}
            return tensors, content.metadata() or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
