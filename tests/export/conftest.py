"""Exported files that several tests use: each is made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from masquerade.anonymizer import Anonymizer
from masquerade.export.graph import MethodGraph
from masquerade.export.write import Exported, export

SIZE = (48, 64)


@pytest.fixture(scope="session")
def onnx_file(
    made: Callable[[str], Anonymizer], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Exported]:
    """Export a method, small, for frames of 48 x 64 or of any size."""

    @cache
    def make(name: str) -> Exported:
        method = made(name)
        path: Path = tmp_path_factory.mktemp(name) / "file.onnx"
        return export(MethodGraph(method, size=None if method.dynamic_size else SIZE), path)

    return make
