"""Predicted probabilities of every attacker for every clip: one table, saved as one file."""

from __future__ import annotations

import errno
import json
import math
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray
from masquerade.errors import MasqueradeError, UsageError
from masquerade.metrics.statistic import Floats
from masquerade.storage import atomic_write

SCHEMA = "masquerade-predictions/1"
KEPT_BYTES = 4 << 20  # of an array that is kept once it was made
Split = Literal["train", "validation", "test"]
Initialisation = Literal["scratch", "finetuned", "published", "raw"]
"""Trained on anonymized clips; trained on raw clips and then on these; published weights that are
trained on these; trained on raw clips only.

A kernel machine has no weights to start from: a finetuned one learns both sets of clips together.
"""


class ByLabel(Mapping[str, NDArray[Any]]):
    """Label to an array, which is made when it is asked for, and kept where it is small.

    Predictions of thousands of labels for as many clips do not fit into memory all at once.
    """

    def __init__(self, labels: Iterable[str], make: Callable[[str], NDArray[Any]]) -> None:
        self._make = make
        self._made: dict[str, NDArray[Any] | None] = dict.fromkeys(labels)

    def __getitem__(self, label: str) -> NDArray[Any]:
        made = self._made[label]
        if made is None:
            made = self._make(label)
            if made.nbytes <= KEPT_BYTES:
                self._made[label] = made
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


class PredictionKey(NamedTuple):
    """What a block of predictions is of."""

    protocol: str  # `people unseen` or `same people`, whose folds are meant
    method: str  # the row of the table, such as `raw` or `blur`
    run: int  # number of the trained anonymizer, of several that differ in their seed
    attacker: str  # name of its model in the preset
    initialisation: Initialisation
    seed: int
    fold: int
    split: Split


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Predictions of one attacker for the clips of one split."""

    clips: IntArray  # (n,) rows of the manifest
    # label to (n, C). Empty where only the clips matter: those of train tell what was learned
    # from, and are predicted by raw-trained attackers alone
    probabilities: Mapping[str, Floats] = field(default_factory=dict)
    # of fitting and predicting all splits, without features that kernel machines share
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.probabilities, ByLabel):  # checked when they are read
            return
        for label, values in self.probabilities.items():
            check_predictions(label, values, len(self.clips))


def check_predictions(label: str, values: Floats, clips: int) -> None:
    """Refuse predictions (n, C) of a label that are not finite numbers, one row a clip."""
    if len(values) != clips or not np.isfinite(values).all():
        raise MasqueradeError(
            f"an attacker's predictions of {label} are not finite numbers, one row a clip: "
            "nothing can be scored from them; run the evaluation anew."
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """One table of predictions, and who is in each clip."""

    blocks: Mapping[PredictionKey, Block]  # the predictions by key
    people: IntArray  # (N,) person of each clip of the manifest; -1 unknown
    groups: IntArray  # (N,) group of people and sources that share something

    def select(self, **fields: Any) -> Predictions:
        """The blocks whose key has these values, or one of these where several are in a tuple."""
        allowed = {k: v if isinstance(v, tuple) else (v,) for k, v in fields.items()}
        blocks = {
            key: block
            for key, block in self.blocks.items()
            if all(getattr(key, name) in values for name, values in allowed.items())
        }
        return replace(self, blocks=blocks)

    def merge(self, others: Iterable[Predictions]) -> Predictions:
        """One table of this one and others of the same clips; of equal keys the last counts."""
        tables = [self, *others]
        return replace(
            self, blocks={k: block for table in tables for k, block in table.blocks.items()}
        )

    @property
    def clips(self) -> IntArray:
        """(n,) every clip that is in some split, ascending."""
        return np.unique(np.concatenate([block.clips for block in self.blocks.values()]))

    @property
    def cpu_seconds(self) -> float:
        """Of all fits."""
        fits = {key._replace(split="test"): block.cpu_seconds for key, block in self.blocks.items()}
        return sum(fits.values())

    def size_in_memory(self, classes: Mapping[str, int]) -> int:
        """How many bytes these take, roughly, without reading those that are on the disk."""
        return sum(
            8 * len(block.clips) * sum(classes[label] for label in block.probabilities)
            for block in self.blocks.values()
        )

    def save(self, path: Path) -> None:
        """Write the table as one .npz, completely or not at all."""
        arrays: dict[str, NDArray[Any]] = {"people": self.people, "groups": self.groups}
        blocks = list(self.blocks.values())
        about = {"schema": SCHEMA, "keys": list(self.blocks)}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        arrays["cpu_seconds"] = np.array([block.cpu_seconds for block in blocks], np.float64)
        arrays["sizes"] = np.array([len(block.clips) for block in blocks], np.int64)
        arrays["clips"] = np.concatenate([block.clips for block in blocks])
        for label in dict.fromkeys(name for block in blocks for name in block.probabilities):
            at = [i for i, block in enumerate(blocks) if label in block.probabilities]
            arrays[f"blocks/{label}"] = np.array(at, np.int64)
            parts = [blocks[i].probabilities[label] for i in at]
            # in the order of its rows, of which a large file is read in parts
            arrays[f"probabilities/{label}"] = np.ascontiguousarray(np.concatenate(parts))
        with atomic_write(path, overwrite=True) as part, part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read the table that `save` wrote; any other file is refused with a UsageError."""
        arrays: dict[str, NDArray[Any]] = {}
        stored: dict[str, _Stored] = {}
        try:
            large = path.stat().st_size > KEPT_BYTES
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                for name in file.files:
                    if large and name.startswith("probabilities/"):
                        stored[name] = _find_member(path, file.zip, name)
                    else:
                        arrays[name] = file[name]
            about = json.loads(arrays["about"].tobytes())
            schema = about["schema"]
        except Exception as error:  # of a damaged file numpy raises much more than it says
            raise _read_error(path, error) from error
        if schema != SCHEMA:
            raise UsageError(f"{path} is no {SCHEMA} file; make it anew: `masquerade evaluate -o`.")
        sizes = arrays["sizes"]
        clips = _split(arrays["clips"], sizes)
        probabilities: list[dict[str, Any]] = [{} for _ in sizes]
        for name in (*arrays, *stored):
            kind, _, label = name.partition("/")
            if kind == "probabilities":
                at = arrays[f"blocks/{label}"]
                of = sizes[at]
                parts = stored[name].split(of) if large else _split(arrays[name], of)
                for i, part in zip(at, parts, strict=True):
                    probabilities[i][label] = part
        blocks = {
            PredictionKey(*key): Block(
                clips=clips[i],
                probabilities=_read_later(probabilities[i], len(clips[i]))
                if large
                else probabilities[i],
                cpu_seconds=float(arrays["cpu_seconds"][i]),
            )
            for i, key in enumerate(about["keys"])
        }
        return cls(blocks=blocks, people=arrays["people"], groups=arrays["groups"])


class _Stored(NamedTuple):
    """Where an array lies in a file, from which it is read whenever it is asked for.

    A map of the file would keep it open, and an evaluation has more files than may be open.
    """

    path: Path
    offset: int  # of its first byte
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self) -> NDArray[Any]:
        try:
            count = math.prod(self.shape)
            values = np.fromfile(self.path, self.dtype, count, offset=self.offset)
            return values.reshape(self.shape)
        except (OSError, ValueError) as error:
            raise _read_error(self.path, error) from error

    def split(self, sizes: IntArray) -> list[_Stored]:
        """Its rows, so many for each part."""
        row = self.dtype.itemsize * math.prod(self.shape[1:])
        firsts = np.cumsum(sizes) - sizes
        return [
            self._replace(offset=self.offset + row * int(first), shape=(int(n), *self.shape[1:]))
            for first, n in zip(firsts, sizes, strict=True)
        ]


def _find_member(path: Path, archive: zipfile.ZipFile, name: str) -> _Stored:
    """Where an array of an .npz that is not compressed lies; its bytes are checked."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        while stream.read(1 << 20):  # which raises at the end where the checksum is another
            pass
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)  # of a local header, where its lengths stand
        file.seek(member.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))))
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return _Stored(path, file.tell(), dtype, shape)


def _read_error(path: Path, error: Exception) -> MasqueradeError:
    """Return the error to raise for a file that is damaged, or that the system could not read."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a wrong offset
        return MasqueradeError(
            f"{path} cannot be read ({error.strerror}): see to that, and run the command again."
        )
    return UsageError(
        f"{path} is damaged, or no table of predictions ({error}): remove it, and run the command "
        "again."
    )


def _read_later(stored: Mapping[str, _Stored], clips: int) -> ByLabel:
    """Arrays that are read from their files, and checked, when they are asked for."""

    def read(label: str) -> Floats:
        values = stored[label].read()
        check_predictions(label, values, clips)
        return values

    return ByLabel(stored, read)


def _split(array: NDArray[Any], sizes: IntArray) -> list[NDArray[Any]]:
    return np.split(array, np.cumsum(sizes)[:-1])
