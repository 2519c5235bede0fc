"""Helpers for tests of published labels: files in a temporary folder and rows of a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from masquerade.datasets.manifest import Manifest

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
LABELS = REAL / "labels"
real = pytest.mark.skipif(not LABELS.is_dir(), reason="no shared data beside the repository")


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def row(manifest: Manifest, number: int) -> dict[str, Any]:
    clip = manifest.clips[number]
    return {"path": clip.path, **clip.cells, "first": clip.first, "last": clip.last}


def whole(path: str, **cells: str) -> dict[str, Any]:
    return {"path": path, **cells, "first": None, "last": None}
