"""The library: a folder that templates are stored in.

It holds keys, where they were picked and by which extractor, and no pictures. As a key still
describes the appearance of what was picked, protect a library as you would protect the pictures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from masquerade.errors import MissingError, UsageError
from masquerade.regions.saliency import Level
from masquerade.regions.templates import (
    CONCEPTS,
    F32,
    NAME,
    Pick,
    Template,
    check_extractor,
    check_name,
)
from masquerade.storage import atomic_write, file_digest

VERSION = 1


def library_folder() -> Path:
    """Where templates are kept: what MASQUERADE_TEMPLATES names, or the user's data folder."""
    named = os.environ.get("MASQUERADE_TEMPLATES")
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME")
    share = Path(data) if data else Path.home() / ".local" / "share"
    return share / "masquerade" / "templates"


class Library:
    """A folder of templates, NAME.safetensors with NAME.json each.

    Args:
        folder: None: `library_folder()`.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        self.folder = folder or library_folder()

    def names(self) -> list[str]:
        """All templates, in order."""
        return sorted(p.stem for p in self.folder.glob("*.json") if NAME.fullmatch(p.stem))

    def add(self, template: Template) -> Template:
        """Keep a template; where there is one of that name, its picks are added to it.

        Returns:
            What is kept now.

        Raises:
            UsageError: the one that is there was made with other keys.
        """
        if check_name(template.name) in self.names():
            template = self.load(template.name).merge(template)
        self._write(template)
        return template

    def load(self, name: str) -> Template:
        """One template.

        Raises:
            MissingError: there is none of that name.
            UsageError: its files are damaged.
        """
        path = self.folder / f"{check_name(name)}.json"
        if not path.is_file():
            hint = f": {CONCEPTS[name]}" if name in CONCEPTS else ""
            raise MissingError(
                f"there is no template {name}{hint}; point at one with `masquerade templates add "
                f"{name} --image FILE --at X,Y`, or in the video with --at FRAME:X,Y."
            )
        try:
            card = json.loads(path.read_text("utf-8"))
            keys = path.with_suffix(".safetensors")
            if file_digest(keys) != card["sha256"]:
                raise ValueError("its two files do not belong together")
            return _template(card, _tensors(keys.read_bytes())["keys"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"template {name} is damaged ({error}): remove and add it.") from None

    def remove(self, name: str) -> None:
        """Forget a template.

        Raises:
            MissingError: there is none of that name.
        """
        path = self.folder / f"{check_name(name)}.json"
        if not path.is_file():
            raise MissingError(f"there is no template {name}; there are: {self._listed()}.")
        path.unlink()
        path.with_suffix(".safetensors").unlink(missing_ok=True)

    def export(self, file: Path, names: Iterable[str] = ()) -> None:
        """Write templates into one file.

        Args:
            file: .safetensors; it is replaced.
            names: which; none: all.
        """
        chosen = [self.load(name) for name in names or self.names()]
        if not chosen:
            raise UsageError(f"there are no templates in {self.folder.name} to export.")
        cards = json.dumps([_card(template) for template in chosen])
        content = _bytes({t.name: t.keys for t in chosen}, {"masquerade templates": cards})
        with atomic_write(file, overwrite=True) as part:
            part.write_bytes(content)

    def import_(self, file: Path) -> list[str]:
        """Take the templates of an exported file; picks of names that are there are added.

        Returns:
            Their names.

        Raises:
            UsageError: it is no such file, or a template that is there has other keys.
        """
        try:
            content = file.read_bytes()
            cards = json.loads(_metadata(content)["masquerade templates"])
            keys = _tensors(content)
            found = [_template(card, keys[card["name"]]) for card in cards]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file.name} is no file of templates ({error}).") from None
        there = set(self.names())
        for template in found:  # all of them or none
            if template.name in there:
                check_extractor(template, self.load(template.name).extractor)
        return [self.add(template).name for template in found]

    def _write(self, template: Template) -> None:
        path = self.folder / f"{template.name}.json"
        keys = path.with_suffix(".safetensors")
        with atomic_write(keys, overwrite=True) as part:
            part.write_bytes(_bytes({"keys": template.keys}, {}))
        card = {**_card(template), "sha256": file_digest(keys)}
        with atomic_write(path, overwrite=True) as part:
            part.write_text(json.dumps(card, indent=1) + "\n", "utf-8")

    def _listed(self) -> str:
        return ", ".join(self.names()) or "none"


def _card(template: Template) -> dict[str, Any]:
    picks = [asdict(pick) for pick in template.picks]
    return {
        "version": VERSION,
        "name": template.name,
        "extractor": template.extractor,
        "picks": picks,
    }


def _template(card: dict[str, Any], keys: F32) -> Template:
    if card["version"] != VERSION:
        raise ValueError(f"version {card['version']}, not {VERSION}")
    entries = [{**p, "level": Level(**p["level"])} for p in card["picks"]]
    picks = tuple(Pick(**entry) for entry in entries)
    if keys.ndim != 2 or len(keys) != len(picks) or not np.isfinite(keys).all():
        raise ValueError("its keys do not fit its picks")
    return Template(
        name=check_name(card["name"]), extractor=str(card["extractor"]), keys=keys, picks=picks
    )


def _bytes(tensors: dict[str, F32], metadata: dict[str, str]) -> bytes:
    from safetensors.numpy import save  # here, so that training runs where only torch is

    return save({k: np.ascontiguousarray(v, np.float32) for k, v in tensors.items()}, metadata)


def _tensors(content: bytes) -> dict[str, F32]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return {name: np.asarray(value, np.float32) for name, value in load(content).items()}
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _metadata(content: bytes) -> dict[str, str]:
    """Of a safetensors file: 8 bytes of a length, and a JSON header."""
    size = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + size])
    return dict(header["__metadata__"])
