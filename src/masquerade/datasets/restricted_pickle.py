"""Restricted unpickling of number arrays: nothing that the file names is imported or called.

A pickle is a program. This reader allows only the names that numpy writes for an array and maps
each to an inert stand-in, so that numpy's own code sees no data before shape and type are checked.
"""

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masquerade.errors import UsageError


class _Dtype:
    """Stand-in for numpy.dtype."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "|"

    order: str = "|"

    def to_numpy(self) -> np.dtype[Any]:
        if not re.fullmatch("b1|[iuf][1248]", str(self.code)):
            raise pickle.UnpicklingError(f"type {self.code!r} is neither number nor flag")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """Stand-in for numpy.ndarray."""

    shape: tuple[int, ...] = (0,)
    type: _Dtype
    data: bytes = b""
    order: str = "C"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.type, fortran, self.data = state
        self.order = "F" if fortran else "C"

    def to_numpy(self) -> NDArray[Any]:
        kind = self.type.to_numpy()
        data = self.data
        if not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("an array holds something other than bytes")
        if len(data) != math.prod(self.shape) * kind.itemsize:
            raise pickle.UnpicklingError(f"an array of shape {self.shape} has {len(data)} bytes")
        flat = np.frombuffer(data, dtype=kind)
        return flat.reshape(self.shape, order="F" if self.order == "F" else "C").copy()


class _Call(NamedTuple):
    """A function that a pickle may call but, unlike a plain function, cannot set attributes of."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _from_buffer(data: bytes, kind: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.data, array.type, array.shape, array.order = data, kind, shape, order
    return array


def _latin1(text: str, encoding: str) -> bytes:
    return text.encode("latin1") if encoding == "latin1" else b""  # how protocol 2 spells bytes


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Call(_latin1),
    **{
        (f"numpy.{c}.multiarray", "_reconstruct"): _Call(lambda *_: _Array())
        for c in ("core", "_core")
    },
    **{(f"numpy.{c}.numeric", "_frombuffer"): _Call(_from_buffer) for c in ("core", "_core")},
}


class _Unpickler(pickle._Unpickler):
    """Unpickles number arrays alone, and is based on Python's unpickler instead of that in C.

    The one in C keeps objects in an array as long as the largest index that the file names, so that
    nine bytes fill the memory.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a pickled dict of name to number array; anything else is refused, and nothing is run."""
    try:
        with path.open("rb") as file:
            content = _Unpickler(file).load()
        if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
            raise pickle.UnpicklingError("it is no dict with texts for keys")
        arrays = {}
        for name, value in content.items():
            if not isinstance(value, _Array):
                raise pickle.UnpicklingError(f"a {type(value).__name__} is no array")
            arrays[name] = value.to_numpy()
        return arrays
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.") from None
    except Exception as error:  # a hostile file can make the unpickler raise anything
        raise UsageError(
            f"{path} is not a plain dict of number arrays, so nothing of it was used: {error}."
        ) from error
