"""Manifest of a dataset: a CSV with a path, labels, splits and groups, one row a clip.

    path,action,identity,red_top,split_action,first,last
    uti/hug/a.mp4,hug,pair02,0,train,,

The role and kind of a column follow from its name and values, unless the header declares the kind
as `name:kind`. The first word of a name tells what it is, as in `identity`, `person_a` or
`source_video`; one that ends in a measure, as `people_count` and `source_fps` do, names no people
and no sources. Paths are relative to the manifest. An empty cell is an unknown label; in a
multi-label column `|` alone says that the clip has none of the values.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from masquerade.errors import MasqueradeError, UsageError
from masquerade.storage import atomic_write
from masquerade.text import readable

Kind = Literal["binary", "classes", "identity", "multi-label", "fact"]
"""Binary: 0 or 1; identity: classes that are people; multi-label: values joined by `|`."""
Role = Literal["action", "attribute", "split", "group", "fact"]
"""An action to keep, an attribute to hide, a split, a group (people or source clips that must not
be in several parts of a split), or a fact, which is ignored."""
IntArray = NDArray[np.signedinteger[Any]]

SPLITS = ("train", "val", "test", "")
"""Values of a split column; empty: the clip is in none of them."""

NO_VALUES = "|"
"""The cell of a multi-label column of which a clip has no value, as is known."""

SIZE_FACTS = ("width", "height", "frames")
"""Facts by which a clip's size is known without opening it."""
_FACTS = {"width", "height", "fps", "frames", "duration", "bytes", "sha256", "start", "end", "note"}
_PEOPLE = {"identity", "person", "people", "subject", "pair"}
_GROUPS = {"group", "source"}
# last words of columns that say something about people or sources, and not which they are
_MEASURES = _FACTS - {"sha256"} | {"age", "camera", "codec", "count", "gender", "sex", "size"}
_NO_LABEL = {"nan", "<na>", "n/a", "#n/a", "null"}  # what other programs write for an empty cell
_NOBODY = {"none", "?", "-", "unknown", "na"}  # of people: such clips would be of one person
_NO_NUMBER = _NO_LABEL | _NOBODY  # in a column of 0 and 1


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a manifest."""

    name: str  # as in the header
    role: Role
    kind: Kind
    values: tuple[str, ...] = ()  # all that occur, sorted; class i of `targets` is values[i]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One row: a file, or a range of its frames."""

    path: str  # relative to the manifest's root, with forward slashes
    cells: Mapping[str, str]  # column name to text; empty: unknown
    first: int | None = None  # frame, counted from 0; None: the whole file
    last: int | None = None  # inclusive

    @property
    def key(self) -> tuple[str, int | None, int | None]:
        """Path and frames, which identify the clip in its manifest."""
        return (self.path, self.first, self.last)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The clips of a dataset with their labels, splits and groups."""

    root: Path  # the folder that the clips' paths start from
    columns: tuple[Column, ...]  # in the order of the file, without path, first and last
    clips: tuple[Clip, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def of_role(self, role: Role) -> tuple[Column, ...]:
        """The columns of a role."""
        return tuple(column for column in self.columns if column.role == role)

    def column(self, name: str) -> Column:
        """The column of this name."""
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns) or "none"
        raise UsageError(f"The manifest has no column {name!r}; it has: {known}.")

    def cells(self, name: str) -> tuple[str, ...]:
        """The cells of one column, one a clip."""
        self.column(name)
        return tuple(clip.cells[name] for clip in self.clips)

    def path(self, clip: Clip) -> Path:
        """The path of a clip's file."""
        return self.root / clip.path

    def targets(self, name: str) -> IntArray:
        """The labels of one column as numbers; -1 where unknown.

        (N,) indices into `column.values` (for binary: 0 or 1), or for multi-label (N, len(values))
        of 0 and 1.
        """
        column = self.column(name)
        if column.kind == "fact":
            raise UsageError(f"Column {name!r} holds facts, not labels.")
        values = ("0", "1") if column.kind == "binary" else column.values
        place = {value: i for i, value in enumerate(values)}
        if column.kind != "multi-label":
            return np.array([place.get(cell, -1) for cell in self.cells(name)], dtype=np.int64)
        hot = np.zeros((len(self), len(place)), dtype=np.int8)  # large data sets have thousands
        for row, cell in zip(hot, self.cells(name), strict=True):
            row[:] = 0 if cell else -1
            row[[place[value] for value in cell.split("|") if value]] = 1
        return hot

    def count_values(self, name: str) -> int:
        """How many values of a label occur; of several a clip 2 if any value varies, else 1."""
        codes = self.targets(name)
        if codes.ndim == 1:
            return len(np.unique(codes[codes >= 0]))
        known = codes[(codes >= 0).all(axis=1)]
        return 2 if len(known) and (known.min(axis=0) < known.max(axis=0)).any() else 1

    def take(self, which: Iterable[int]) -> Manifest:
        """The clips of these rows; columns keep their values, so that targets stay the same."""
        return replace(self, clips=tuple(self.clips[i] for i in which))

    def where(self, name: str, value: str) -> Manifest:
        """The clips with this cell in this column, such as `where("split", "train")`."""
        return self.take(i for i, cell in enumerate(self.cells(name)) if cell == value)

    def with_cells(self, column: Column, cells: Sequence[str]) -> Manifest:
        """The manifest with one column added or replaced; its values are those of the cells."""
        if len(cells) != len(self):
            raise UsageError(f"{len(cells)} cells do not fit {len(self)} clips.")
        full = replace(column, values=_values(cells, column.kind))
        others = tuple(c for c in self.columns if c.name != column.name)
        clips = tuple(
            replace(clip, cells={**clip.cells, column.name: cell})
            for clip, cell in zip(self.clips, cells, strict=True)
        )
        return replace(self, columns=(*others, full), clips=clips)


def make_manifest(
    root: Path,
    clips: Sequence[Clip],
    *,
    roles: Mapping[str, Role] | None = None,
    kinds: Mapping[str, Kind] | None = None,
    error_if_empty: str | None = None,
) -> Manifest:
    """Make a manifest of clips that have the same columns.

    Roles and kinds follow from the columns' names and values where `roles` and `kinds` (by column
    name) do not give them. `error_if_empty` is the message where there are no clips.
    """
    if error_if_empty and not clips:
        raise UsageError(error_if_empty)
    names = list(clips[0].cells) if clips else []
    columns = []
    for name in names:
        role = (roles or {}).get(name) or role_of(name)
        cells = [clip.cells[name] for clip in clips]
        kind = (kinds or {}).get(name) or kind_of(name, role, cells)
        columns.append(Column(name=name, role=role, kind=kind, values=_values(cells, kind)))
    return Manifest(root=root, columns=tuple(columns), clips=tuple(clips))


def select_actions(manifest: Manifest, names: Sequence[str]) -> Manifest:
    """The clips of some actions; every column keeps only the values that occur among them."""
    columns = [column for column in manifest.of_role("action") if column.kind == "classes"]
    if len(columns) != 1:
        raise UsageError("--actions needs a manifest with one column of one action a clip.")
    unknown = [name for name in names if name not in columns[0].values]
    if unknown or not names:
        wrong = (
            f"There is no {columns[0].name} {', '.join(unknown)}"
            if names
            else "--actions names none"
        )
        raise UsageError(f"{wrong}; choose of {', '.join(columns[0].values)}.")
    cells = manifest.cells(columns[0].name)
    return make_manifest(
        manifest.root,
        [clip for clip, cell in zip(manifest.clips, cells, strict=True) if cell in names],
        roles={column.name: column.role for column in manifest.columns},
        kinds={column.name: column.kind for column in manifest.columns},
    )


def role_of(name: str) -> Role:
    """The role of a column, inferred from its name."""
    stem = name.split("_")[0].lower()
    if name.lower() in _FACTS:
        return "fact"
    if stem == "split":
        return "split"
    if stem in _GROUPS:
        return "fact" if stem == "source" and _is_measure(name) else "group"
    return "action" if stem in ("action", "actions") else "attribute"


def names_people(name: str) -> bool:
    """Whether a column of this name holds people."""
    return name.split("_")[0].lower() in _PEOPLE and not _is_measure(name)


def _is_measure(name: str) -> bool:
    return name.split("_")[-1].lower() in _MEASURES


def kind_of(name: str, role: Role, cells: Iterable[str]) -> Kind:
    """The kind of a column, inferred from its name, role and cells."""
    if role in ("fact", "split"):
        return "fact" if role == "fact" else "classes"
    known = {cell for cell in cells if cell}
    if any("|" in cell for cell in known):
        return "multi-label"
    if role == "attribute" and names_people(name):
        return "identity"
    return "binary" if role == "attribute" and known and known <= {"0", "1"} else "classes"


def dataset_name(path: Path) -> str:
    """The name of a manifest's data set: of its file, or of its folder for a `manifest.csv`."""
    return readable(path.resolve().parent.name if path.stem == "manifest" else path.stem)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest from a CSV; paths in it are relative to its folder."""
    lines = _lines(path)
    header, kinds = _header(path, lines[0][1])
    clips = []
    line_of: dict[tuple[str, int | None, int | None], int] = {}
    for number, row in lines[1:]:
        clip = _clip(path, number, header, row)
        if line_of.setdefault(clip.key, number) != number:
            raise UsageError(
                f"{path}, line {number}: repeats line {line_of[clip.key]}; "
                "put several labels of one clip into one row, joined by |."
            )
        clips.append(clip)
    missing = f"{path} has a header and no rows; add one row a clip."
    manifest = make_manifest(path.parent, clips, kinds=kinds, error_if_empty=missing)
    for column in manifest.columns:
        wrong = _wrong_cells(column, declared=column.name in kinds)
        for (number, _), cell in zip(lines[1:], manifest.cells(column.name), strict=True):
            if reason := wrong(cell):
                where = f"{path}, line {number}, column {column.name}"
                raise UsageError(f"{where}: {cell[:40]!r} {reason}")
    return manifest


def _wrong_cells(column: Column, *, declared: bool) -> Callable[[str], str | None]:
    """Tell why a cell cannot stand in a column; None: it can."""
    values = {value.lower() for value in column.values}
    binary = column.kind == "binary"
    if column.kind == "classes" and column.role == "attribute" and not declared:
        numbers = values - _NO_NUMBER
        binary = bool(numbers) and numbers <= {"0", "1", "0.0", "1.0"}
    if column.role == "split" or binary:
        allowed = SPLITS if column.role == "split" else ("0", "1", "")
        known = ", ".join(value or "nothing" for value in allowed)
        return lambda cell: None if cell in allowed else f"is none of {known}."
    if column.name in SIZE_FACTS:
        number = "is no number; leave the cell of an unknown size empty."
        return lambda cell: None if re.fullmatch(r"([0-9]{1,18}(\.[0-9]+)?)?", cell) else number
    if column.role == "fact" or declared:
        name = column.name if names_people(column.name) else f"people_{column.name}"
        several = (
            "names several people, and each set of them would be somebody else; call the column "
            f"{name}, without :identity, or write a pair as p1+p2."
        )
        is_one = column.kind == "identity"
        return lambda cell: several if is_one and "|" in cell else None
    no_label = _NO_LABEL | (_NOBODY if names_people(column.name) else set())
    empty = (
        "is no label; leave the cell of an unknown label empty, or where it is one call the column "
        f"{column.name}:{column.kind}."
    )
    return lambda cell: empty if no_label & set(cell.lower().split("|")) else None


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as a CSV, atomically, with paths relative to the CSV's folder."""
    lines = _rows(manifest, path.parent)
    with atomic_write(path, overwrite=True) as part:
        try:
            with part.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(lines)
        except OSError as error:
            raise MasqueradeError(f"{path} cannot be written: {error.strerror}.") from error


def _rows(manifest: Manifest, folder: Path) -> list[list[str]]:
    ranged = any(clip.first is not None for clip in manifest.clips)
    header = ["path", *(_header_cell(manifest, column) for column in manifest.columns)]
    rows = [header + ["first", "last"] * ranged]
    there: set[tuple[str, int | None, int | None]] = set()
    # the system takes .. of a link for the folder above the one that it leads to, relpath does not;
    # a clip that is a link keeps its own name
    root, here = (os.path.realpath(path) for path in (manifest.root, folder))
    for clip in manifest.clips:
        start = Path(os.path.relpath(os.path.join(root, clip.path), here)).as_posix()
        row = [start, *(clip.cells[column.name] for column in manifest.columns)]
        if any(mark in cell for cell in row for mark in "\r\n\0"):
            raise UsageError(f"A line break or a NUL in a cell of {clip.path!r}: remove it.")
        if start != start.strip():
            raise UsageError(
                f"{start!r} begins or ends with a space, which a manifest loses: rename it."
            )
        row = [cell.strip() for cell in row]  # of labels, as they are read
        if lost := [cell for cell in row if any("\ud800" <= char <= "\udfff" for char in cell)]:
            raise UsageError(f"{lost[0]!r} is not in UTF-8, as a manifest is: rename it.")
        if (key := (start, clip.first, clip.last)) in there:
            raise UsageError(f"{start} is there twice with the same frames: leave one of them out.")
        there.add(key)
        if ranged:
            row += ["" if frame is None else str(frame) for frame in (clip.first, clip.last)]
        rows.append(row)
    return rows


def _values(cells: Iterable[str], kind: Kind) -> tuple[str, ...]:
    if kind == "fact":
        return ()
    known = {cell for cell in cells if cell}
    if kind == "multi-label":
        known = {part for cell in known for part in cell.split("|") if part}
    return tuple(sorted(known))


def _header_cell(manifest: Manifest, column: Column) -> str:
    if column.role != role_of(column.name):
        raise UsageError(
            f"Column {column.name!r} is a {column.role} but its name does not say so; "
            f"call it {column.role}_{column.name}."
        )
    cells = manifest.cells(column.name)
    inferred = kind_of(column.name, column.role, cells)
    plain = inferred == column.kind and not any(map(_wrong_cells(column, declared=False), cells))
    return column.name if plain else f"{column.name}:{column.kind}"


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise UsageError(f"There is no manifest at {path}.") from None
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV in UTF-8: {error}.") from error
    if not lines:
        raise UsageError(f"{path} is empty; its first line names the columns, path among them.")
    return lines


def _header(path: Path, cells: Sequence[str]) -> tuple[list[str], dict[str, Kind]]:
    """The names of the columns, and the kinds that the header declares."""
    declared: dict[str, Kind] = {}
    names = []
    for cell in cells:
        name, _, kind = cell.strip().partition(":")
        names.append(name)
        if kind and kind not in get_args(Kind):
            known = ", ".join(get_args(Kind))
            raise UsageError(f"{path}, line 1, column {name!r}: {kind!r} is none of {known}.")
        if kind:
            declared[name] = kind  # type: ignore[assignment]  # checked above
    if "path" not in names:
        hint = " (separate them by commas)" if ";" in "".join(cells) else ""
        raise UsageError(f"{path}, line 1: no column is called path; found {names}{hint}.")
    for name in names:
        if not name or names.count(name) > 1:
            what = f"column {name!r} appears twice" if name else "a column has no name"
            raise UsageError(f"{path}, line 1: {what}.")
    if ("first" in names) != ("last" in names):
        raise UsageError(f"{path}, line 1: a frame range needs both columns, first and last.")
    return names, declared


def _clip(path: Path, number: int, header: Sequence[str], row: Sequence[str]) -> Clip:
    where = f"{path}, line {number}"
    if len(row) != len(header):
        raise UsageError(f"{where}: {len(row)} cells under {len(header)} columns.")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    file = cells.pop("path")
    # one spelling of several values: `a | b` is `a|b`
    cells = {n: re.sub(r"\s*\|\s*", "|", c) if "|" in c else c for n, c in cells.items()}
    if not file:
        raise UsageError(f"{where}, column path: is empty.")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", file):
        raise UsageError(
            f"{where}, column path: {file!r} is an address; download it, and name the file."
        )
    edges = {name: cells.pop(name, "") for name in ("first", "last")}
    for name, cell in edges.items():
        if cell and not re.fullmatch("[0-9]{1,18}", cell):
            raise UsageError(f"{where}, column {name}: {cell[:40]!r} is no frame; count from 0.")
    first, last = (int(cell) if cell else None for cell in edges.values())
    if (first is None) != (last is None) or (first or 0) > (last or 0):
        raise UsageError(
            f"{where}, columns first and last: "
            "give both or neither, and last not before first (it is inclusive)."
        )
    # one spelling of a file: ./a.mp4 is a.mp4
    return Clip(path=Path(os.path.normpath(file)).as_posix(), cells=cells, first=first, last=last)
