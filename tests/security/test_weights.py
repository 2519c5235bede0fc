"""Weights are safetensors, whatever the file is called: anything else is refused by its content."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

import masquerade
from masquerade.checkpoint import FORMAT, load, read_provenance
from masquerade.errors import UsageError


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def _zip() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("anonymizer.safetensors", b"weights")
    return held.getvalue()


def _torch(value: object) -> bytes:
    held = io.BytesIO()
    torch.save(value, held)
    return held.getvalue()


def _header(header: bytes, *, length: int | None = None, rest: bytes = b"") -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + rest


def _tensor(**changes: object) -> bytes:
    about = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return json.dumps({"weight": about}).encode()


def _ours(**changes: str) -> bytes:
    about = {"format": FORMAT, "method": "blacken", "arguments": "{}", "provenance": "{}"}
    return save({}, {**about, **changes})


FILES: dict[str, Callable[[Path], bytes]] = {
    "a pickle": lambda ran: pickle.dumps(Evil(ran)),
    "a torch file with code": lambda ran: _torch({"model": Evil(ran)}),
    "a torch file of tensors": lambda ran: _torch({"weight": torch.zeros(3)}),
    "a zip": lambda ran: _zip(),
    "nothing": lambda ran: b"",
    "text": lambda ran: b"these are no weights",
    "a header longer than the file": lambda ran: _header(b"{}", length=10_000),
    "a header of 108 GB": lambda ran: _header(b"{}", length=108 * 10**9),
    "a header of 2**64 - 1": lambda ran: _header(b"{}", length=2**64 - 1),
    "a header that is no JSON": lambda ran: _header(b"{not JSON"),
    "a header that is no text": lambda ran: _header(b'{"\xff\xfe": 1}'),
    "a header that nests deeply": lambda ran: _header(b'{"a":' * 50_000),
    "offsets beyond the end": lambda ran: _header(_tensor(data_offsets=[0, 400]), rest=bytes(4)),
    "offsets that run backward": lambda ran: _header(_tensor(data_offsets=[4, 0]), rest=bytes(4)),
    "a shape that overflows": lambda ran: _header(_tensor(shape=[2**40, 2**40]), rest=bytes(4)),
    "bytes behind the tensors": lambda ran: _header(_tensor(), rest=bytes(400)),
    "weights of another program": lambda ran: save({"weight": torch.zeros(3)}),
    "arguments that are no JSON": lambda ran: _ours(arguments="{"),
    "arguments that are a list": lambda ran: _ours(arguments="[1]"),
    "a provenance that is no JSON": lambda ran: _ours(provenance="{"),
    "a provenance that is a number": lambda ran: _ours(provenance="3"),
    "notes that are a number": lambda ran: _ours(provenance='{"notes": 3}'),
    "clips that are nothing": lambda ran: _ours(provenance='{"learned": null}'),
    "clips that are numbers": lambda ran: _ours(provenance='{"learned": [1]}'),
    "a method that does not exist": lambda ran: _ours(method="os.system"),
    "arguments that do not exist": lambda ran: _ours(arguments='{"colour": 3}'),
    "arguments that nest deeply": lambda ran: _ours(arguments="[" * 50_000),
    "tensors that do not belong": lambda ran: save(
        {"weight": torch.zeros(3)}, {"format": FORMAT, "method": "blacken", "arguments": "{}"}
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_weights_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(FILES[kind](tmp_path / "ran"))
    with pytest.raises(UsageError) as refused:
        load(path)
    text = str(refused.value)
    assert path.name in text or kind.startswith(("a method", "arguments that do not exist"))
    assert text.endswith(".") and text.isprintable() and len(text) < 600
    with suppress(UsageError):  # some have a provenance, and it is read before the rest
        read_provenance(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["a pickle", "a torch file with code", "a header of 108 GB"])
def test_the_command_writes_nothing_with_them(
    kind: str, clip: Path, called: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "weights.safetensors").write_bytes(FILES[kind](tmp_path / "ran"))
    done = called("anonymize", clip, "-o", "out.mp4", "--weights", "weights.safetensors")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "weights.safetensors" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_small_file_takes_no_memory_for_the_large_network_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """180 bytes took 51 GB before they were found not to fit."""
    made = []

    def build(*given: str, **arguments: object) -> masquerade.Anonymizer:
        made.append(masquerade.build(*given, **arguments))
        return made[-1]

    monkeypatch.setattr("masquerade.checkpoint.build", build)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(_ours(method="spact", arguments='{"width": 48}'))
    with pytest.raises(UsageError, match="does not fit spact"):
        load(path)
    assert made and all(value.is_meta for one in made for value in one.parameters())
    masquerade.save(masquerade.build("spact", width=2), path)
    assert not any(value.is_meta for value in load(path).state_dict().values())


def test_the_proof_above_can_fail(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()
    (tmp_path / "weights.safetensors").write_bytes(_ours())
    assert isinstance(load(tmp_path / "weights.safetensors"), type(masquerade.build("blacken")))
